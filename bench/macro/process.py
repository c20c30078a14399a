"""What a tree of processes has used: CPU, RSS, PSS; read from /proc."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on (the state is index 0); None: it is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def tree(root: int) -> list[int]:
    """`root` and all its living descendants. O(processes of the machine)."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields is not None:
                children[int(fields[1])].append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting.extend(children[pid])
    return found


def started(pid: int) -> str | None:
    """When a process started, in clock ticks since boot: tells a pid from its later reuse."""
    fields = _stat(pid)
    return None if fields is None else fields[19]


def cpu_seconds(roots: list[int]) -> float:
    """User and system time of the trees, every thread included."""
    ticks = 0
    for root in roots:
        for pid in tree(root):
            fields = _stat(pid)
            if fields is not None:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_SECOND


def _sum_kib(roots: list[int], file: str, field: str) -> int:
    total = 0
    for root in roots:
        for pid in tree(root):
            try:
                lines = (PROC / str(pid) / file).read_text().splitlines()
            except (FileNotFoundError, ProcessLookupError):
                continue
            for line in lines:
                if line.startswith(field):
                    total += int(line.split()[1]) * 1024
                    break
    return total


def rss_bytes(roots: list[int]) -> int:
    """Resident bytes of the trees. Shared pages count in each process: compare growth only."""
    return _sum_kib(roots, "status", "VmRSS:")


def pss_bytes(roots: list[int]) -> int:
    """Proportional set size of the trees: shared pages are divided among those that map them."""
    return _sum_kib(roots, "smaps_rollup", "Pss:")
