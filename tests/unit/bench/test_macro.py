"""The side-by-side benchmark: its arithmetic on made-up samples, and what it does with failures."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.macro import process, report, scenarios
from bench.macro.servers import Server, ServerFailed, Variant
from bench.macro.targets import Goal
from bench.macro.throughput import TESTS, Throughput


def result(rows: dict[str, float], failed: dict[str, str] | None = None) -> dict[str, Any]:
    """Three rounds in which the machine gets slower, each row at a constant ratio to the first."""
    kinds = itertools.product(rows.items(), range(3), (1, 16, 50), TESTS)
    samples = [
        {
            **{"row": row, "round": number, "depth": depth, "test": test},
            **{"rps": 1e5 / (number + 1) * ratio, "p50_ms": 0.2, "p99_ms": 0.5, "cpu_us": 5.0},
        }
        for (row, ratio), number, depth, test in kinds
    ]
    names = list(dict.fromkeys([*rows, *(failed or {})]))
    options = {"preload": 0, "keys": 100_000, "rounds": 3, "seed": 1}
    machine = dict.fromkeys(
        ("cpu", "cores", "memory_gib", "kernel", "python", "redis", "commit", "time"), "?"
    )
    return {
        "scenario": "throughput",
        "machine": {**machine, "dirty": False},
        "options": options,
        "rows": names,
        "samples": samples,
        "failed": failed or {},
    }


def test_a_ratio_is_taken_within_a_round() -> None:
    figures = Throughput(result({"redis-server": 1.0, "shardis-1+1": 1.5}))
    assert figures.ratios("shardis-1+1", 16, "GET") == pytest.approx([1.5, 1.5, 1.5])
    assert figures.mean_ratio("shardis-1+1", 16) == pytest.approx(1.5)


def test_the_mean_over_commands_is_geometric() -> None:
    measured = result({"redis-server": 1.0, "shardis-1+1": 1.0})
    for sample in measured["samples"]:
        if sample["row"] == "shardis-1+1":
            sample["rps"] *= {"SET": 4.0, "GET": 2.0, "INCR": 1.0}[sample["test"]]
    assert Throughput(measured).mean_ratio("shardis-1+1", 1) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.84, "missed"), (0.85, "must"), (0.99, "must"), (1.0, "target"), (3.0, "target")],
)
def test_a_goal_is_target_must_or_missed(value: float, verdict: str) -> None:
    assert Goal(must=0.85, target=1.0).verdict(value) == verdict


def test_the_report_marks_every_goal() -> None:
    rows = {"redis-server": 1.0, "twemproxy": 0.7, "shardis-1+1": 1.4, "shardis-1+2": 0.6}
    text = report.render(result(rows))
    assert "shardis-1+1, P=1: 1.40 of redis-server (must 0.85, target 1.00): **target**" in text
    assert "shardis-1+1, P=16: 1.40 of redis-server (must 1.30, target 1.60): **must**" in text
    assert "shardis-1+1, P=50: 1.40 of redis-server (must 1.50, target 2.10): **missed**" in text
    assert "shardis-1+1, ahead of twemproxy at every depth: **target**" in text
    assert "shardis-1+2, ahead of twemproxy at every depth: **missed** (P=1, P=16, P=50)" in text


def test_a_failed_row_misses_its_goals_and_spoils_nothing_else() -> None:
    rows = {"redis-server": 1.0, "shardis-1+2": 1.0}
    text = report.render(result(rows, {"shardis-1+1": "exit status 1"}))
    assert "| shardis-1+1 | failed |" in text
    assert "shardis-1+1, P=1: failed (must 0.85, target 1.00): **missed**" in text
    assert "shardis-1+2, P=1: 1.00 of redis-server" in text
    assert "- shardis-1+1 failed: exit status 1" in text


def test_a_server_that_does_not_start_is_noted_and_left_out(tmp_path: Path) -> None:
    def start() -> Server:
        server = Server(1, [1], tmp_path / "server")
        server.directory.mkdir()
        server.launch(sys.executable, "-c", "raise SystemExit('no, thanks')")
        try:
            server.wait_ready()
        finally:
            server.stop()
        return server

    with scenarios.session() as opened:
        assert opened.start(Variant("broken", "", start)) is None
        assert "no, thanks" in opened.failed["broken"]
        assert opened.servers == {}


def test_stopping_a_server_ends_its_descendants_too(tmp_path: Path) -> None:
    server = Server(1, [1], tmp_path / "server")
    server.directory.mkdir()
    orphan = "import time; time.sleep(600)"
    code = (
        "import signal, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {orphan!r}], start_new_session=True)\n"
        "time.sleep(600)\n"
    )
    server.launch(sys.executable, "-c", code)
    deadline = time.monotonic() + 20
    while len(family := process.tree(server.roots[0])) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(family) == 2
    server.stop()
    while any(is_running(pid) for pid in family) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(is_running(pid) for pid in family)
    assert not server.directory.exists()


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # an orphan's zombie belongs to init


def test_cpu_and_memory_cover_the_whole_tree() -> None:
    burn = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
    parent = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {burn!r} + 'time.sleep(600)'])\n"
        "time.sleep(600)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", parent], start_new_session=True)
    try:
        deadline = time.monotonic() + 20
        while process.cpu_seconds([child.pid]) < 0.3 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.cpu_seconds([child.pid]) >= 0.3
        assert process.rss_bytes([child.pid]) > process.pss_bytes([child.pid]) > 0
    finally:
        os.killpg(child.pid, 9)
        child.wait()


def test_a_server_that_lacks_used_memory_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.macro.servers.exchange", lambda port, request: b"$0\r\n\r\n")
    with pytest.raises(ServerFailed):
        Server(1, [1], tmp_path).used_memory()
