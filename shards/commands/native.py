"""All native handlers, for whoever makes a shard. One name for each family that has some."""

from __future__ import annotations

from shards.commands import (
    bitmap_native,
    generic_native,
    geo_native,
    hash_native,
    list_native,
    set_native,
    sort_native,
    stream_native,
    string_native,
    zset_native,
)
from shards.lane.handler import NativeLane

LANES = (
    bitmap_native,
    generic_native,
    geo_native,
    hash_native,
    list_native,
    set_native,
    sort_native,
    stream_native,
    string_native,
    zset_native,
)


def register(lane: NativeLane) -> None:
    """Add the native handlers of all families to a shard's lane."""
    for family in LANES:
        family.register(lane)
