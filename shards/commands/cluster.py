"""The subcommands of CLUSTER that look at the keys of a slot, in the one database of a node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.commands import F, command
from protocol.errors import CLUSTER_DISABLED, NOT_INTEGER, CommandError
from protocol.numbers import parse_int64
from protocol.slots import SLOTS

if TYPE_CHECKING:
    from protocol.reply import Reply
    from shards.lane.context import Context


def number(argument: bytes) -> int:
    value = parse_int64(argument)
    if value is None:
        raise CommandError(NOT_INTEGER)
    return value


@command(
    "CLUSTER|COUNTKEYSINSLOT",
    arity=3,
    flags=F.STALE,
    route_at=2,  # no key, but the endpoint asks the slot's shard
)
def count_keys_in_slot(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Count the keys of a slot. O(1)."""
    if not ctx.settings.cluster_enabled:
        raise CommandError(CLUSTER_DISABLED)
    slot = number(args[2])
    if not 0 <= slot < SLOTS:
        raise CommandError(b"ERR Invalid slot")
    reply.integer(ctx.keyspace.slot_size(0, slot))


@command(
    "CLUSTER|GETKEYSINSLOT",
    arity=4,
    flags=F.STALE,
    tips=("nondeterministic_output",),
    route_at=2,
)
def get_keys_in_slot(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Show some keys of a slot. O(N) for N keys."""
    if not ctx.settings.cluster_enabled:
        raise CommandError(CLUSTER_DISABLED)
    slot, count = number(args[2]), number(args[3])
    if not 0 <= slot < SLOTS or count < 0:
        raise CommandError(b"ERR Invalid slot or number of keys")
    reply.bulks(ctx.keyspace.slot_keys(0, slot, min(count, ctx.keyspace.slot_size(0, slot))))
