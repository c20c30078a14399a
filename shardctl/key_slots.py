"""Hash slots without the server's kernels: shardctl runs from a tree where nothing was built.

The server's own are in `protocol.slots`; tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from crcmod.predefined import mkPredefinedCrcFun
from sortedcontainers import SortedDict

SLOTS: Final = 16384

_crc16 = mkPredefinedCrcFun("xmodem")


def key_slot(key: bytes) -> int:
    """The slot of a key: of what its first braces hold, if they hold something. O(length)."""
    tag, closed, _ = key.partition(b"{")[2].partition(b"}")
    slot: int = _crc16(tag if closed and tag else key) % SLOTS
    return slot


class Owners:
    """Who owns which slots, by ranges in any order that do not overlap."""

    def __init__(self, ranges: Iterable[Mapping[str, int]]) -> None:
        self._by_last: SortedDict = SortedDict(
            {one["last"]: (one["first"], one["shard"]) for one in ranges}
        )

    def of(self, slot: int) -> int | None:
        """The shard that owns a slot, or None. O(log ranges)."""
        at = self._by_last.bisect_left(slot)
        if at == len(self._by_last):
            return None
        first, shard = self._by_last.peekitem(at)[1]
        return shard if first <= slot else None
