from typing import final

from shards.lane.context import Context

def lend(ctx: Context, key: bytes) -> bytes | int:
    """The parcel of a key, or the number of its bytes, for `piece`. O(n); O(1) for a long string"""

def piece(ctx: Context, key: bytes, offset: int) -> bytes:
    """What a parcel has from there on, as much as goes in one piece. O(that)"""

@final
class Parcel:
    """A parcel that comes in pieces, until it is put under a key."""

    def add(self, piece: bytes) -> None: ...
    def put(self, ctx: Context, key: bytes) -> None: ...

def pack(ctx: Context, key: bytes) -> bytes:
    """A key of the context's database; b"" without it. It does not count as used by that. O(n)"""

def unpack(ctx: Context, key: bytes, parcel: bytes) -> None:
    """Make a key of the context's database what `pack` was given elsewhere. O(n)"""

def usage(ctx: Context, key: bytes) -> int:
    """A key's LRU clock or LFU, as its entry has it; -1 without the key. O(1)"""

def set_usage(ctx: Context, key: bytes, lru: int) -> None:
    """Give a key, if it exists, what `usage` has said elsewhere. O(1)"""
