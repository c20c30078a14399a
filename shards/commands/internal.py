"""Commands between our own processes: how one shard's keys reach a command that runs in another.

A client that names one gets "unknown command". A worker uses them for commands whose keys lie on
several shards (router/multi_shard.py): EXPORT on the source, IMPORT on the target, FORGET on the
source; or WITH, which runs an ordinary command in one shard while it sees foreign keys as if they
were here. SWAP is SWAPDB's, POPULATE DEBUG's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.commands import F, Keys, command
from protocol.slots import key_slot

if TYPE_CHECKING:
    from protocol.reply import Reply
    from shards.context import Context

SINCE = "7.2.0"


@command(
    "SHARDIS.EXPORT",
    arity=2,
    flags=F.READONLY | F.INTERNAL,
    keys=Keys(1, flags="RO ACCESS"),
    since=SINCE,
    complexity="O(N) for N bytes",
)
def export(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Give a key as [type, encoding, expiry in ms or -1, value], or null if there is none."""
    key = args[1]
    kind = ctx.type(key)
    if kind is None:
        reply.null_array()
        return
    expire_ms = ctx.expire_ms(key)
    reply.array(4)
    reply.bulk(kind)
    reply.bulk(ctx.keyspace.encoding(ctx.database, key) or b"")
    reply.integer(-1 if expire_ms is None else expire_ms)
    reply.bulk(ctx.write_string(key) or b"")


@command(
    "SHARDIS.IMPORT",
    arity=6,
    flags=F.WRITE | F.INTERNAL,
    keys=Keys(1, flags="OW UPDATE"),
    since=SINCE,
    complexity="O(N) for N bytes",
)
def import_key(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Store what EXPORT gave: key, event, encoding, expiry, value. Replaces an existing key."""
    _, key, event, encoding, expire_ms, value = args
    ctx.delete(key)
    ctx.set_string(key, value, int(expire_ms), raw=encoding == b"raw", encode=encoding == b"int")
    ctx.changed(key, event)
    reply.ok()


@command(
    "SHARDIS.FORGET",
    arity=3,
    flags=F.WRITE | F.INTERNAL,
    keys=Keys(1, flags="RM DELETE"),
    since=SINCE,
    complexity="O(1)",
)
def forget(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Delete a key that was imported elsewhere, where the change was counted: key, event."""
    if ctx.delete(args[1]):
        ctx.notify(args[1], args[2])
    reply.ok()


@command(
    "SHARDIS.SWAP",
    arity=3,
    flags=F.WRITE | F.INTERNAL,
    since=SINCE,
    complexity="O(1)",
)
def swap(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """SWAPDB in all shards but the first, which has checked the numbers and counted the change."""
    ctx.swap(int(args[1]), int(args[2]))
    reply.ok()


@command(
    "SHARDIS.WITH",
    arity=-3,
    flags=F.WRITE | F.INTERNAL,
    since=SINCE,
    complexity="That of the command",
)
def with_keys(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Run a command that reads foreign keys: count, (key, 0 or 1, value) each, then the call."""
    count = int(args[1])
    foreign = {
        args[i]: args[i + 2] if args[i + 1] == b"1" else None for i in range(2, 2 + 3 * count, 3)
    }
    call = args[2 + 3 * count :]
    declared = ctx.table[call[0].decode().upper()]
    assert declared.handler is not None
    ctx.overlay = foreign
    try:
        declared.handler(ctx, call, reply)
    finally:
        ctx.overlay = None


@command(
    "SHARDIS.POPULATE",
    arity=5,
    flags=F.WRITE | F.INTERNAL,
    since=SINCE,
    complexity="O(N) for N keys",
)
def populate(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """DEBUG POPULATE: count, prefix, size (0: as it comes), and a byte for each slot, 1 for ours.

    No slots stand for all of them. As in Redis, keys that exist stay as they are, and nothing
    counts as a change, so that nothing is saved or propagated because of it.
    """
    prefix, size, slots = args[2], int(args[3]), args[4]
    for number in range(int(args[1])):
        key = b"%b:%d" % (prefix, number)
        if (slots and not slots[key_slot(key)]) or ctx.exists(key):
            continue
        value = b"value:%d" % number
        ctx.set_string(key, value[:size].ljust(size, b"\0") if size else value, encode=False)
        ctx.notify(key, b"new")
    reply.ok()
