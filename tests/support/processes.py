"""What /proc tells about the processes of a server: its tree, memory, processor time, roles."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table."""

    pid: int
    name: str
    state: str
    parent: int
    session: int
    cpu_seconds: float


def process(pid: int) -> Process | None:
    """The process as /proc shows it, or None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name may hold spaces and brackets; the fields begin after its last bracket.
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    return Process(
        pid=pid,
        name=name,
        state=fields[0],
        parent=int(fields[1]),
        session=int(fields[3]),
        cpu_seconds=(int(fields[11]) + int(fields[12])) / CLOCK_TICKS,
    )


def all_processes() -> list[Process]:
    found = (process(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
    return [one for one in found if one is not None]


def tree(pid: int) -> list[int]:
    """The living processes that descend from `pid`, or belong to the session it leads.

    The session catches a child whose parent has died. Zombies don't count: they hold nothing.
    """
    children: dict[int, list[int]] = {}
    members: set[int] = set()
    alive: set[int] = set()
    for one in all_processes():
        if one.state in "ZX":
            continue
        alive.add(one.pid)
        children.setdefault(one.parent, []).append(one.pid)
        if one.session == pid:
            members.add(one.pid)
    todo = [pid] if pid in alive else []
    while todo:
        current = todo.pop()
        members.add(current)
        todo.extend(child for child in children.get(current, ()) if child not in members)
    return sorted(members)


def is_alive(pid: int) -> bool:
    one = process(pid)
    return one is not None and one.state not in "ZX"


def wait_gone(pids: list[int], seconds: float) -> list[int]:
    """Wait until none of these processes lives; the ones that still do at the end."""
    deadline = time.monotonic() + seconds
    while True:
        left = [pid for pid in pids if is_alive(pid)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.01)


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return ""


def memory_bytes(pids: list[int], field: str = "Rss") -> int:
    """The sum over processes of a field of smaps_rollup: Rss, or Pss, which shares fairly."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(field + ":"):
                    total += int(line.split()[1]) * 1024
    return total


def peak_bytes(pid: int) -> int:
    """The most memory that was resident since the last `reset_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("a kernel without VmHWM")


def reset_peak(pid: int) -> int:
    """Let `peak_bytes` begin anew; what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak_bytes(pid)


def cpu_seconds(pids: list[int]) -> float:
    return sum(one.cpu_seconds for one in map(process, pids) if one is not None)
