"""Commands between our own processes: how one shard's keys reach a command that runs in another.

A client that names one gets "unknown command". A worker uses them for commands whose keys lie on
several shards (router/multi_shard.py): EXPORT where keys are, WITH where the command runs, and
IMPORT for those that it has changed. SWAP is SWAPDB's; DIGEST, HTSTATS and POPULATE are DEBUG's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from persistence.dump import dump, restore
from protocol.commands import F, Keys, command
from protocol.errors import CommandError
from protocol.reply import Reply
from protocol.slots import key_slot
from shards.context import NeedKeys
from shards.hashtables import pack
from shards.views.digest import of_database
from shards.views.layout import table_figures

if TYPE_CHECKING:
    from shards.context import Context

SINCE = "7.2.0"


@command(
    "SHARDIS.EXPORT",
    arity=-2,
    flags=F.READONLY | F.INTERNAL,
    keys=Keys(1, -1, flags="RO ACCESS"),
    since=SINCE,
    complexity="O(N) for N bytes",
)
def export(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Give keys as they are lent: [value, expiry in ms or -1, encoding] each."""
    reply.array(len(args) - 1)
    for key in args[1:]:
        reply.bulks([*value_of(ctx, key)])


def store(ctx: Context, key: bytes, value: bytes, expire_ms: bytes, encoding: bytes) -> None:
    """Set a key to what another shard gave; nothing (b"") deletes it."""
    if not value:
        ctx.delete(key)
        return
    restored = restore(ctx, key, value, encoding=encoding)
    assert restored is not None, "another shard sent a broken value"
    restored.put(int(expire_ms))


@command(
    "SHARDIS.IMPORT",
    arity=-5,
    flags=F.WRITE | F.INTERNAL,
    keys=Keys(1, flags="OW UPDATE"),
    since=SINCE,
    complexity="O(N) for N bytes",
)
def import_key(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Take back a key that was lent, and its events: key, value, expiry, encoding, event ...

    The change was counted where it was made.
    """
    store(ctx, *args[1:5])
    for event in args[5:]:
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
    """Run a command lent foreign keys: count, (key, value, expiry, encoding) each, then the call.

    They are put into the keyspace while it runs, in slots that are not ours, so that handlers and
    views know nothing of this. The answer is [reply, changed keys], these as IMPORT takes them; or
    [keys] that the command must be lent, too.
    """
    count = int(args[1])
    lent = [args[at : at + 4] for at in range(2, 2 + 4 * count, 4)]
    call = args[2 + 4 * count :]
    declared = ctx.table[call[0].decode().upper()]
    assert declared.handler is not None
    inner = Reply(reply.resp)
    for one in lent:
        store(ctx, *one)
    ctx.overlay = {key: [] for key, *_ in lent}
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
        changed = [
            [one[0], *value_of(ctx, one[0]), *events[one[0]]]
            for one in lent
            if events[one[0]] or bool(one[1]) is not ctx.exists(one[0])
        ]
        for one in lent:
            ctx.delete(one[0])
    reply.array(2)
    reply.bulk(inner.take())
    reply.array(len(changed))
    for fields in changed:
        reply.bulks(fields)


def value_of(ctx: Context, key: bytes) -> tuple[bytes, bytes, bytes]:
    """Value, expiry and encoding of a key, all of them empty without it."""
    value = dump(ctx, key)
    if value is None:
        return b"", b"-1", b""
    encoding = ctx.keyspace.encoding(ctx.database, key) or b""
    return value, b"%d" % (ctx.expire_ms(key) or -1), encoding


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
    pack(
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
