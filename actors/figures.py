"""What a process knows about itself: its part of INFO's memory and CPU figures."""

from __future__ import annotations

import os
import resource
from typing import Final, TypedDict

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class ProcessFigures(TypedDict):
    """Figures of the operating system about one process."""

    pid: int
    rss: int  # bytes
    cpu_user: float  # seconds
    cpu_system: float


def process_figures() -> ProcessFigures:
    """The figures of the calling process. Two system calls and one read of /proc."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "pid": os.getpid(),
        "rss": resident_bytes(os.getpid()),
        "cpu_user": usage.ru_utime,
        "cpu_system": usage.ru_stime,
    }


def resident_bytes(pid: int) -> int:
    """How much memory of a process is resident; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0
