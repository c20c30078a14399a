"""A shard's half of WATCH: commands between our own processes.

Which keys a client watches, and whether one has changed, is known where the keys are
(shards/execution/watches). A client at a shard's own port comes to the same table without these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.commands import F, command

if TYPE_CHECKING:
    from protocol.reply import Reply
    from shards.lane.context import Context


@command("SHARDIS.WATCH", arity=-3, flags=F.READONLY | F.INTERNAL)
def watch(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Watch keys for a client: CLIENT ID, keys. O(keys)"""
    for key in args[2:]:
        ctx.watches.watch(int(args[1]), ctx.database, key)
    reply.ok()


@command("SHARDIS.UNCHANGED", arity=2, flags=F.READONLY | F.INTERNAL)
def unchanged(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Say whether nothing that a client watches has changed: CLIENT ID. O(keys)"""
    reply.integer(ctx.watches.unchanged(int(args[1])))


@command("SHARDIS.UNWATCH", arity=2, flags=F.READONLY | F.INTERNAL)
def unwatch(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Forget what a client watches: CLIENT ID. O(keys)"""
    ctx.watches.unwatch(int(args[1]))
    reply.ok()
