"""Commands between our own processes: what a transaction over shards is made of, and DEBUG's needs.

A client that names one gets "unknown command". A worker uses them in the runs of a transaction
(router/transactions.py, protocol/envelope.pxd): LOCK asks for keys, LEND reads one for another
shard (a large one by one PIECE after the other), which is given it by BORROW and uses it in WITH or
STORE; DROP and POP are what a source owes a target; COMMIT executes the part that a shard holds,
RELEASE ends it all. What locks and parts mean is the executor's to know (shards/execution). SWAP is
SWAPDB's; DIGEST, HTSTATS and POPULATE are DEBUG's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from persistence.dump import as_restore
from persistence.parcel import lend as lent
from persistence.parcel import piece as next_piece
from persistence.parcel import set_usage, usage
from protocol.commands import F, Keys, command
from protocol.errors import NO_SUCH_KEY, CommandError
from protocol.reply import Reply
from protocol.slots import key_slot
from shards.commands.generic import swap_databases
from shards.commands.stream import shown
from shards.inspect.digest import of_database
from shards.inspect.hashtables import pack as pack_figures
from shards.inspect.layout import table_figures
from shards.lane.context import NeedKeys
from shards.views.list import ListView
from shards.views.stream import LOWEST, StreamView

if TYPE_CHECKING:
    from shards.lane.context import Context

SINCE = "7.2.0"


@command("SHARDIS.LOCK", arity=-3, flags=F.READONLY | F.INTERNAL)
def lock(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Lock keys: try or wait, mode, then (key, w alone or r shared) each. Gives this shard's clock.

    The mode is `keys`; or the whole shard is locked, too: `reads` (nothing changes), `alone`.

    The executor takes the locks before it calls this. With `try`, it answers the whole run with
    -REFUSED if it would have to wait. RELEASE ends it.
    """
    reply.integer(ctx.now_ms)


@command(
    "SHARDIS.LEND",
    arity=2,
    flags=F.READONLY | F.INTERNAL,
    keys=Keys(1, flags="RO ACCESS"),
)
def lend(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Give a key's parcel, which is empty without the key, or if it is large, its size, for PIECE.

    O(N) for N bytes; O(1) for a long string
    """
    parcel = lent(ctx, args[1])
    if isinstance(parcel, int):
        reply.integer(parcel)
    else:
        reply.bulk(parcel)


@command(
    "SHARDIS.PIECE",
    arity=3,
    flags=F.READONLY | F.INTERNAL,
    keys=Keys(1, flags="RO ACCESS"),
)
def piece(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Give a piece of a lent key's parcel, from an offset on. O(1): 256 KiB at most"""
    reply.bulk(next_piece(ctx, args[1], int(args[2])))


@command("SHARDIS.BORROW", arity=3, flags=F.READONLY | F.INTERNAL)
def borrow(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Keep the next piece of a parcel that another shard lends: key, piece. O(N) for N bytes."""
    ctx.transaction.borrow(args[1], args[2])
    reply.ok()


class Written:
    """A consumer that notes which keys were changed, in which database."""

    def __init__(self) -> None:
        self.keys: dict[tuple[int, bytes], None] = {}

    def changed(self, database: int, key: bytes, event: bytes, kind: int, count: int) -> None:
        if event not in (b"keymiss", b"new"):
            self.keys[database, key] = None


@contextmanager
def logged_as_values(ctx: Context) -> Iterator[None]:
    """Log what a command has made of our keys, instead of the command, which reads lent ones."""
    if not ctx.logs:
        yield
        return
    written = Written()
    mark = ctx.effects.log_mark()
    ctx.effects.attach(written)
    try:
        yield
    finally:
        ctx.effects.detach(written)
    ctx.effects.rewind_log(mark)
    for database, key in written.keys:
        ctx.propagate(as_restore(ctx, key, database), database)


@command("SHARDIS.WITH", arity=-2, flags=F.WRITE | F.INTERNAL)
def with_keys(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Run a command lent what was borrowed: it may read these keys, not change them.

    They are put into the keyspace while it runs, in slots that are not ours, so that handlers and
    views know nothing of this. The answer is [reply, used keys]: (key, usage) of those whose LRU
    clock or LFU is another by now. Or [keys] that the command must be lent, too.
    """
    lent = ctx.transaction.borrowed
    inner = Reply(reply.resp)
    used: list[bytes] = []
    lookups = ctx.keyspace.lookups
    ctx.runner.lend(lent)
    try:
        for key, parcel in lent.items():
            parcel.put(ctx, key)
        before = {key: usage(ctx, key) for key in lent}
        with logged_as_values(ctx):
            ctx.runner.run_arguments(args[1:], inner)
        for key in lent:
            after = usage(ctx, key)
            if after not in (before[key], -1):
                used += (key, b"%d" % after)
    except NeedKeys as needed:
        ctx.keyspace.lookups = lookups
        reply.array(1)
        reply.bulks(needed.keys)
        return
    finally:
        for key in lent:
            ctx.delete(key)
        ctx.runner.end_loan()
    reply.array(2)
    reply.bulk(inner.take())
    reply.bulks(used)


@command(
    "SHARDIS.STORE",
    arity=3,
    flags=F.WRITE | F.INTERNAL,
    keys=Keys(1, flags="OW UPDATE"),
)
def store(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Make a key what the one borrowed parcel says, as RENAME's target: key, event. O(N)"""
    (parcel,) = ctx.transaction.borrowed.values()
    parcel.put(ctx, args[1])
    if ctx.logs:  # it costs as much as the value is long
        ctx.propagate(as_restore(ctx, args[1]))
    ctx.changed(args[1], args[2])
    reply.ok()


@command(
    "SHARDIS.DROP",
    arity=3,
    flags=F.WRITE | F.INTERNAL,
    keys=Keys(1, flags="RM DELETE"),
)
def drop(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Delete a key whose value is another's by now, as RENAME's source: key, event.

    The change was counted where the value went. O(1), and the size of a collection
    """
    if ctx.delete(args[1]):
        ctx.propagate([b"DEL", args[1]])
        ctx.notify(args[1], args[2])
    reply.ok()


@command(
    "SHARDIS.POP",
    arity=3,
    flags=F.WRITE | F.INTERNAL,
    keys=Keys(1, flags="RW ACCESS DELETE"),
)
def pop(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Take the element that LMOVE has put elsewhere off its list: key, LEFT or RIGHT. O(1)

    The change was counted where the element went.
    """
    source = ListView.open(ctx, args[1], write=True)
    at_head = args[2] == b"LEFT"
    source.pop(not at_head)
    ctx.propagate([b"LPOP" if at_head else b"RPOP", args[1]])
    ctx.notify(args[1], b"lpop" if at_head else b"rpop")
    if not len(source):
        ctx.notify(args[1], b"del")
    reply.ok()


@command(
    "SHARDIS.MEET",
    arity=2,
    flags=F.READONLY | F.INTERNAL,
    keys=Keys(1, flags="RO ACCESS"),
)
def meet(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Look a key up for nothing but that an expired one goes by it. O(1)"""
    ctx.meet(args[1])
    reply.ok()


@command(
    "SHARDIS.GROUP",
    arity=3,
    flags=F.READONLY | F.INTERNAL,
    keys=Keys(1, flags="RO ACCESS"),
)
def has_group(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Say OK if a key is a stream that has this group, else an error of no matter. O(1)"""
    stream = StreamView.open(ctx, args[1])
    if stream is None or not stream.has_group(args[2]):
        raise CommandError(NO_SUCH_KEY)
    reply.ok()


@command(
    "SHARDIS.LASTID",
    arity=2,
    flags=F.READONLY | F.INTERNAL,
    keys=Keys(1, flags="RO ACCESS"),
)
def last_id(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Give the last id of a stream: what `$` stands for in XREAD. O(1)"""
    stream = StreamView.open(ctx, args[1])
    reply.bulk(shown(LOWEST if stream is None else stream.last_id))


@command("SHARDIS.WAIT", arity=-4, flags=F.READONLY | F.INTERNAL)
def wait(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Leave the transaction a place in keys' queues: type, whether removals count, keys. O(keys)

    The worker hears of it by claim messages when its turn has come (protocol/envelope.pxd).
    """
    wants = (b"", b"list", b"zset", b"stream").index(args[1])
    transaction = ctx.transaction
    ctx.serving.register(
        transaction.id, transaction.link, ctx.database, wants, args[2] == b"1", args[3:]
    )
    reply.ok()


@command("SHARDIS.TURN", arity=2, flags=F.READONLY | F.INTERNAL)
def turn(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Say of the transaction, which waits, whether it wants turns: PAUSE or RESUME. O(keys)"""
    ctx.serving.pause(ctx.transaction.id, args[1] == b"PAUSE")
    reply.ok()


@command("SHARDIS.COMMIT", arity=1, flags=F.WRITE | F.INTERNAL)
def commit(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Stand for a command of the part that this shard holds, which the executor runs instead."""
    raise AssertionError("SHARDIS.COMMIT outside of a COMMIT run")


@command("SHARDIS.RELEASE", arity=-1, flags=F.READONLY | F.INTERNAL)
def release(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """End a transaction on this shard: (key, usage) of what was lent and used. O(keys)

    The executor releases the locks when this is done.
    """
    for at in range(1, len(args), 2):
        set_usage(ctx, args[at], int(args[at + 1]))
    if ctx.transaction is not None:
        ctx.transaction.borrowed.clear()
    reply.ok()


@command(
    "SHARDIS.SWAP",
    arity=3,
    flags=F.WRITE | F.INTERNAL,
)
def swap(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """SWAPDB in all shards but the first, which counts the change. What one refuses, all do."""
    swap_databases(ctx, args)
    ctx.propagate([b"SWAPDB", *args[1:]])
    reply.ok()


@command(
    "SHARDIS.DIGEST",
    arity=1,
    flags=F.READONLY | F.INTERNAL,
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
    reply.ok()
