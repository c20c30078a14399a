"""What this process may use of the machine: its affinity, and the limits of its control group.

A container sees all processors and all memory of its host; how much of them it may use is said by
its control group, in files that differ between version 1 and version 2. What can't be read is no
limit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
MEMBERSHIP: Final = Path("/proc/self/cgroup")
UNLIMITED_BYTES: Final = 1 << 60
"""Version 1 says so with a number near 2^63."""


def processors(root: Path = ROOT, membership: Path = MEMBERSHIP) -> int:
    """How many processors' time this process may use, rounded up; at least 1."""
    available = len(os.sched_getaffinity(0))
    quota = min(_cpu_quotas(root, membership), default=math.inf)
    return max(1, min(available, math.ceil(quota) if quota != math.inf else available))


def memory_bytes(root: Path = ROOT, membership: Path = MEMBERSHIP) -> int:
    """How much memory this process may use: the machine's, or its group's limit."""
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([installed, *_memory_limits(root, membership)])


def _cpu_quotas(root: Path, membership: Path) -> Iterator[float]:
    for folder in _folders(root, membership, ""):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            yield int(quota) / int(period)
    for folder in _folders(root, membership, "cpu"):
        quota = _read(folder / "cpu.cfs_quota_us")  # -1: none
        period = _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):
            yield int(quota) / int(period)


def _memory_limits(root: Path, membership: Path) -> Iterator[int]:
    for controller, name in (("", "memory.max"), ("memory", "memory.limit_in_bytes")):
        for folder in _folders(root, membership, controller):
            limit = _read(folder / name)
            if limit.isdigit() and 0 < int(limit) < UNLIMITED_BYTES:
                yield int(limit)


def _folders(root: Path, membership: Path, controller: str) -> Iterator[Path]:
    """The group's folder and those above it; "" for version 2, else a controller of version 1.

    Inside a container the path may be the host's, of which only the end is there, or nothing.
    """
    for line in _read(membership).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller:
            if controller not in controllers.split(","):
                continue
            mounts = [root / controllers, root / controller]
        elif number == "0" and not controllers:
            mounts = [root, root / "unified"]
        else:
            continue
        for mount in mounts:
            folder = mount / path.lstrip("/")
            while True:
                if folder.is_dir():
                    yield folder
                if folder == mount:
                    break
                folder = folder.parent


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
