"""Jobs for RQ's workers. Their connection is the worker's own."""

from __future__ import annotations

import rq


def add(left: int, right: int) -> int:
    return left + right


def note(name: str) -> int:
    """Leave a mark that it was run; how many there are."""
    connection = rq.get_current_job().connection
    return int(connection.rpush("marks", name))


def fail_until(times: int) -> int:
    """Fail at first, and succeed when it is run for this time."""
    tries = int(rq.get_current_job().connection.incr("tries"))
    if tries < times:
        raise RuntimeError(f"try {tries}")
    return tries
