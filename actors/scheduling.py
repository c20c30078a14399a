"""How the kernel schedules a process: opt-ins, to be applied before it starts any thread."""

from __future__ import annotations

import os
from typing import Final

PROCESSOR_MAX: Final = 65535


def parse_cpulist(text: str) -> set[int]:
    """The processors of a list such as "0,2,4-8" or "0-7:2". Raises ValueError."""
    processors: set[int] = set()
    for part in text.split(",") if text else ():
        span, _, step = part.partition(":")
        first, dash, last = span.partition("-")
        low, high, stride = int(first), int(last if dash else first), int(step or 1)
        if not 0 <= low <= high <= PROCESSOR_MAX or stride < 1:
            raise ValueError(f"not a list of processors: {text!r}")
        processors.update(range(low, high + 1, stride))
    return processors


def apply_scheduling(batch: bool, cpulist: str) -> None:
    """Use SCHED_BATCH, and only these processors ("": all). Threads started later inherit both.

    SCHED_BATCH does not preempt who runs when this process wakes up: larger batches, a later
    start. Raises OSError when the kernel refuses (no such processor), ValueError.
    """
    if batch:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    processors = parse_cpulist(cpulist)
    if processors:
        os.sched_setaffinity(0, processors)
