"""The private directory: nobody else's start takes it away."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.directory import UNLOCKED_PREFIX, private_directory

STARTERS = 6
STARTS = 60


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder whose path is short enough: tmp_path would be passed over."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def start_often(base: str, failures: multiprocessing.queues.Queue[str]) -> None:
    os.environ["XDG_RUNTIME_DIR"] = base
    for _ in range(STARTS):
        try:
            with private_directory() as path:
                Path(path, "endpoint").touch()
                for _ in range(3):
                    if not Path(path, "endpoint").exists():
                        failures.put("lost")
        except OSError as error:
            failures.put(repr(error))


def test_concurrent_starts_leave_each_other_s_directory_alone(base: Path) -> None:
    """37 of 2,400 starts failed or lost theirs, which was looked at before it was locked."""
    context = multiprocessing.get_context("fork")
    failures = context.Queue()
    starters = [
        context.Process(target=start_often, args=(str(base), failures)) for _ in range(STARTERS)
    ]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join(60)
    assert failures.empty()
    assert list(base.iterdir()) == []


def test_what_killed_servers_have_left_is_removed(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
    left = base / "shardis-1-abandoned"
    left.mkdir()
    (left / "lock").touch()
    young, old = (base / f"{UNLOCKED_PREFIX}{name}" for name in ("young", "old"))
    for folder in (young, old):
        folder.mkdir()
    os.utime(old, (time.time() - 3600, time.time() - 3600))
    with private_directory() as path:
        assert sorted(base.iterdir()) == sorted([Path(path), young])
