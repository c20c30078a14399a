"""Limits of control groups, read from files like those of version 1 and version 2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actors.container import memory_bytes, processors


@pytest.fixture(autouse=True)
def many_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))


def files(root: Path, contents: dict[str, str]) -> tuple[Path, Path]:
    """A tree of groups, and the file that says which is ours."""
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root / "sys", root / "membership"


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 64)],
)
def test_the_quota_of_version_2_counts(tmp_path: Path, quota: str, expected: int) -> None:
    places = files(tmp_path, {"sys/cpu.max": quota, "membership": "0::/"})
    assert processors(*places) == expected


def test_the_tightest_group_on_the_way_up_counts(tmp_path: Path) -> None:
    places = files(
        tmp_path,
        {
            "sys/pod/cpu.max": "300000 100000",
            "sys/pod/one/cpu.max": "max 100000",
            "sys/pod/one/memory.max": "1073741824",
            "sys/pod/memory.max": "max",
            "membership": "0::/pod/one",
        },
    )
    assert processors(*places) == 3
    assert memory_bytes(*places) == 1 << 30


def test_version_1_has_a_folder_for_each_controller(tmp_path: Path) -> None:
    places = files(
        tmp_path,
        {
            "sys/cpu,cpuacct/docker/x/cpu.cfs_quota_us": "400000",
            "sys/cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000",
            "sys/memory/docker/x/memory.limit_in_bytes": "536870912",
            "membership": "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x",
        },
    )
    assert processors(*places) == 4
    assert memory_bytes(*places) == 512 << 20


def test_a_path_of_the_host_that_is_not_there_leaves_the_group_at_the_mount(
    tmp_path: Path,
) -> None:
    places = files(tmp_path, {"sys/cpu.max": "200000 100000", "membership": "0::/../host/path"})
    assert processors(*places) == 2


def test_without_limits_or_files_there_is_what_the_machine_has(tmp_path: Path) -> None:
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    places = files(tmp_path, {"membership": "0::/"})
    assert processors(*places) == 64
    assert memory_bytes(*places) == installed
    assert processors(tmp_path / "nothing", tmp_path / "nothing") == 64
    huge = files(
        tmp_path,
        {
            "sys/memory/memory.limit_in_bytes": "9223372036854771712",
            "membership": "4:memory:/",
        },
    )
    assert memory_bytes(*huge) == installed
