from collections.abc import Callable
from typing import final

from shards.lane.context import Context
from shards.lane.effects import Effects

@final
class Contract:
    """Reports keys that a command has changed without before_change or changed naming them."""

    report: Callable[[str], object] | None  # None: the process ends

    def __init__(self, effects: Effects, report: Callable[[str], object] | None = None) -> None: ...
    def detach(self) -> None: ...
    def check(self) -> None:
        """Compare with what was there at the last check; done after each command. O(n)"""

def watch(ctx: Context) -> Contract | None:
    """In a debug build, let a shard end when it breaks the contract. None in others."""
