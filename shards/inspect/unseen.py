"""Looks at keys of which nothing tells later, for DEBUG, OBJECT and digests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shards.lane.context import Context


@contextmanager
def unseen(ctx: Context) -> Iterator[None]:
    """Let looks leave no trace, and see keys that have expired but are still there.

    No key may be changed meanwhile.
    """
    kept = ctx.keyspace.begin_unseen()
    try:
        yield
    finally:
        ctx.keyspace.end_unseen(kept)
