"""Make a failing list as short as it can be while it still fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def shrink(
    items: Sequence[Item], fails: Callable[[list[Item]], bool], *, seconds: float = 30.0
) -> list[Item]:
    """A part of `items`, in their order, that fails and (time allowing) no item of it can go.

    Removes runs of items, halving their length from half the list down to one; a length is
    repeated as long as it removes anything. About n log n trials for a failure of few items,
    n squared at worst. `items` itself must fail.
    """
    kept = list(items)
    deadline = time.monotonic() + seconds
    length = max(1, len(kept) // 2)
    while True:
        removed = False
        # From the end: what comes after the failure goes first, cheaply.
        at = len(kept) - length
        while at > -length and time.monotonic() < deadline:
            start = max(at, 0)
            trial = kept[:start] + kept[start + length :]
            if len(trial) < len(kept) and trial and fails(trial):
                kept = trial
                removed = True
            at -= length
        if time.monotonic() >= deadline:
            return kept
        if length == 1 and not removed:
            return kept
        if not removed or length > len(kept):
            length = max(1, length // 2)
