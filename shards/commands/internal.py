"""Commands between our own processes: how one shard's keys reach a command that runs in another.

A client that names one gets "unknown command". A worker uses them for commands whose keys lie on
several shards (router/multi_shard.py): LOCK or TRYLOCK wherever keys are, which are lent by that,
WITH where the command runs, IMPORT for those that it has changed, and UNLOCK. What a lock means is
the executor's to know (shards/execution). SWAP is SWAPDB's; DIGEST, HTSTATS and POPULATE are
DEBUG's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from persistence.parcel import pack, set_usage, unpack, usage
from protocol.commands import F, Keys, command
from protocol.errors import CommandError
from protocol.reply import Reply
from protocol.slots import key_slot
from shards.inspect.digest import of_database
from shards.inspect.hashtables import pack as pack_figures
from shards.inspect.layout import table_figures
from shards.lane.context import NeedKeys

if TYPE_CHECKING:
    from shards.lane.context import Context

SINCE = "7.2.0"


@command(
    "SHARDIS.LOCK",
    arity=-5,
    flags=F.READONLY | F.INTERNAL,
    keys=Keys(3, -1, 2, flags="RO ACCESS"),
    since=SINCE,
    complexity="O(N) for N bytes lent",
)
@command(
    "SHARDIS.TRYLOCK",
    arity=-5,
    flags=F.READONLY | F.INTERNAL,
    keys=Keys(3, -1, 2, flags="RO ACCESS"),
    since=SINCE,
    complexity="O(N) for N bytes lent",
)
def lock(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Hold keys: number, 1 if they are lent, (key, w alone or r shared) each. Gives their parcels.

    The executor takes the locks before it calls this. LOCK waits for them; to TRYLOCK it answers
    with a null array if it would have to. UNLOCK with the same number ends it.
    """
    keys = args[3::2] if args[2] == b"1" else []
    reply.bulks([pack(ctx, key) for key in keys])


@command(
    "SHARDIS.UNLOCK",
    arity=-2,
    flags=F.READONLY | F.INTERNAL,
    since=SINCE,
    complexity="O(N) for N keys",
)
def unlock(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Let go what LOCK of this number holds: number, (key, usage) of those that were only used.

    The executor releases the locks when this is done.
    """
    for at in range(2, len(args), 2):
        set_usage(ctx, args[at], int(args[at + 1]))
    reply.ok()


@command(
    "SHARDIS.IMPORT",
    arity=-3,
    flags=F.WRITE | F.INTERNAL,
    keys=Keys(1, flags="OW UPDATE"),
    since=SINCE,
    complexity="O(N) for N bytes",
)
def import_key(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Take back a key that was lent, and its events: key, parcel, event ...

    The change was counted where it was made.
    """
    unpack(ctx, args[1], args[2])
    for event in args[3:]:
        ctx.notify(args[1], event)
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
    complexity="That of the command, and O(N) for N bytes lent",
)
def with_keys(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Run a command lent foreign keys: count, (key, parcel) each, then the call.

    They are put into the keyspace while it runs, in slots that are not ours, so that handlers and
    views know nothing of this. The answer is [reply, changed keys, used keys]: the changed ones as
    IMPORT takes them, and (key, usage) of others whose LRU clock or LFU is another by now. Or
    [keys] that the command must be lent, too.
    """
    count = int(args[1])
    lent = {args[at]: args[at + 1] for at in range(2, 2 + 2 * count, 2)}
    call = args[2 + 2 * count :]
    declared = ctx.table[call[0].decode().upper()]
    assert declared.handler is not None
    inner = Reply(reply.resp)
    for key, parcel in lent.items():
        unpack(ctx, key, parcel)
    used_before = {key: usage(ctx, key) for key in lent}
    ctx.overlay = {key: [] for key in lent}
    try:
        declared.handler(ctx, call, inner)
    except CommandError as error:
        inner.take()
        inner.error(error.message)
    except NeedKeys as needed:
        reply.array(1)
        reply.bulks(needed.keys)
        return
    finally:
        events, ctx.overlay = ctx.overlay, None
        used = {key: usage(ctx, key) for key in lent}
        changed = [
            [key, pack(ctx, key), *events[key]]
            for key, parcel in lent.items()
            if events[key] or bool(parcel) is not (used[key] >= 0)
        ]
        for key in lent:
            ctx.delete(key)
    done = {change[0] for change in changed}
    reply.array(3)
    reply.bulk(inner.take())
    reply.array(len(changed))
    for fields in changed:
        reply.bulks(fields)
    reply.bulks(
        [
            word
            for key in lent
            if key not in done and used[key] != used_before[key]
            for word in (key, b"%d" % used[key])
        ]
    )


@command(
    "SHARDIS.DIGEST",
    arity=1,
    flags=F.READONLY | F.INTERNAL,
    since=SINCE,
    complexity="O(N) for N bytes",
)
def digest(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """DEBUG DIGEST: the digest of each database, empty without keys."""
    reply.array(ctx.databases)
    for number in range(ctx.databases):
        ctx.database = number
        reply.bulk(of_database(ctx) if ctx.keyspace.size(number) else b"")


@command(
    "SHARDIS.HTSTATS",
    arity=3,
    flags=F.READONLY | F.INTERNAL,
    since=SINCE,
    complexity="O(N) for N keys if chains are wanted",
)
def hash_tables(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """DEBUG HTSTATS: database, and 1 if chains are wanted. The figures of keys, then of TTLs."""
    number, full = int(args[1]), args[2] == b"1"
    pack_figures(
        reply,
        [
            *table_figures(ctx.keyspace, number, False, full),
            *table_figures(ctx.keyspace, number, True, full),
        ],
    )


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
