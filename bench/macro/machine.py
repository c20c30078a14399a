"""Where a result was measured: machine, versions and commit. A number without these is noise."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def _output(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _field(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def describe() -> dict[str, Any]:
    """Facts about this machine and this tree, for the head of a result file."""
    memory_kib = _field("/proc/meminfo", "MemTotal").split() or ["0"]
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": os.cpu_count(),
        "cores_allowed": len(os.sched_getaffinity(0)),
        "scheduling_class": os.sched_getscheduler(0),
        "memory_gib": round(int(memory_kib[0]) / 2**20, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "redis": _output("redis-server", "--version"),
        "commit": _output("git", "rev-parse", "--short=12", "HEAD") or "unknown",
        # Untracked files count too: an uncommitted kernel is a change all the same.
        "dirty": bool(_output("git", "status", "--porcelain", "--", ".", ":!bench/results")),
    }
