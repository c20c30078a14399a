from typing import final

from shards.lane.context import Context

def dump(ctx: Context, key: bytes, database: int | None = None) -> bytes | None:
    """A key's value with version and checksum, as DUMP gives it; None without the key. O(n)"""

def as_restore(ctx: Context, key: bytes, database: int | None = None) -> list[bytes]:
    """What gives a key its value and expiry anywhere: a RESTORE, or a DEL without the key. O(n)"""

@final
class Restored:
    """A value out of a dump, not yet a key's."""

    def put(
        self, expire_ms: int = -1, idle_seconds: int = -1, frequency: int = -1
    ) -> None: ...  # replaces what was there

def is_intact(payload: bytes) -> bool:
    """Whether version and checksum of a dump are right."""

def restore(
    ctx: Context,
    key: bytes,
    payload: bytes,
    database: int | None = None,
) -> Restored | None:
    """What an intact dump holds, encoded as the limits ask for; None if it is broken. O(n)"""
