"""The hash family: fields with values under one key."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from protocol.commands import F, Keys, command
from protocol.errors import NAN_OR_INFINITY, NOT_FLOAT, SYNTAX, CommandError
from protocol.numbers import add_long_doubles, parse_int64
from shards.arguments.options import INT64_MAX, INT64_MIN, Option, Options, as_is, int64, word
from shards.commands.drawing import NOT_A_COUNT, check_count, drawn
from shards.commands.generic import SCAN_COUNT, count_of_keys, scan_cursor
from shards.kernels.glob import match
from shards.views.hash import HashView

if TYPE_CHECKING:
    from protocol.reply import Reply
    from shards.lane.context import Context

Pair = tuple[bytes, bytes]

NO_INTEGER = b"ERR hash value is not an integer"
NO_FLOAT = b"ERR hash value is not a float"
INFINITE_INCREMENT = b"ERR value is NaN or Infinity"
INCREMENT_OVERFLOW = b"ERR increment or decrement would overflow"
OUT_OF_RANGE = b"ERR value is out of range"

READ = Keys(1, flags="RO access")
LOOK = Keys(1, flags="RO")
UPDATE = Keys(1, flags="RW update")
CHANGE = Keys(1, flags="RW access update")

HSCAN_OPTIONS = Options(Option(b"COUNT", count_of_keys), Option(b"MATCH", as_is))

SPARSE_SHARE = 3  # so many times fewer fields than there are: they are drawn one by one


@command(
    "HSET",
    arity=-4,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=UPDATE,
)
def hset(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Set fields of a hash, and count the new ones. O(N) for N fields."""
    reply.integer(set_fields(ctx, args))


@command(
    "HMSET",
    arity=-4,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=UPDATE,
)
def hmset(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Set fields of a hash. O(N) for N fields."""
    set_fields(ctx, args)
    reply.ok()


def set_fields(ctx: Context, args: list[bytes]) -> int:
    """What HSET and HMSET do; returns how many fields are new."""
    if len(args) % 2:
        raise CommandError(b"ERR wrong number of arguments for '%s' command" % args[0].lower())
    view = HashView.open(ctx, args[1], write=True)
    added = view.set_many(args, 2)
    ctx.changed(args[1], b"hset", len(args) // 2 - 1)
    return added


@command(
    "HSETNX",
    arity=4,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=Keys(1, flags="RW insert"),
)
def hsetnx(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Set a field of a hash unless it exists. O(1)."""
    view = HashView.open(ctx, args[1], write=True)
    if args[2] in view:
        reply.integer(0)
        return
    view.set_many(args, 2)
    ctx.changed(args[1], b"hset")
    reply.integer(1)


@command(
    "HGET",
    arity=3,
    flags=F.READONLY | F.FAST,
    keys=READ,
)
def hget(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the value of a field. O(1)."""
    reply.bulk_or_null(HashView.open(ctx, args[1]).get(args[2]))


@command(
    "HMGET",
    arity=-3,
    flags=F.READONLY | F.FAST,
    keys=READ,
)
def hmget(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the values of several fields; null for a missing one. O(N) for N fields."""
    view = HashView.open(ctx, args[1])
    reply.array(len(args) - 2)
    for field in args[2:]:
        reply.bulk_or_null(view.get(field))


@command(
    "HGETALL",
    arity=2,
    flags=F.READONLY,
    keys=READ,
    tips=("nondeterministic_output_order",),
)
def hgetall(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return all fields of a hash with their values. O(N) for N fields."""
    pairs = HashView.open(ctx, args[1]).items()
    reply.map(len(pairs))
    for field, value in pairs:
        reply.bulk(field)
        reply.bulk(value)


@command(
    "HKEYS",
    arity=2,
    flags=F.READONLY,
    keys=READ,
    tips=("nondeterministic_output_order",),
)
def hkeys(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return all fields of a hash. O(N) for N fields."""
    reply.bulks(HashView.open(ctx, args[1]).fields())


@command(
    "HVALS",
    arity=2,
    flags=F.READONLY,
    keys=READ,
    tips=("nondeterministic_output_order",),
)
def hvals(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return all values of a hash. O(N) for N fields."""
    reply.bulks(HashView.open(ctx, args[1]).values())


@command(
    "HLEN",
    arity=2,
    flags=F.READONLY | F.FAST,
    keys=LOOK,
)
def hlen(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return how many fields a hash has. O(1)."""
    reply.integer(len(HashView.open(ctx, args[1])))


@command(
    "HSTRLEN",
    arity=3,
    flags=F.READONLY | F.FAST,
    keys=LOOK,
)
def hstrlen(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the length of a field's value, 0 for a missing one. O(1)."""
    reply.integer(HashView.open(ctx, args[1]).value_length(args[2]))


@command(
    "HEXISTS",
    arity=3,
    flags=F.READONLY | F.FAST,
    keys=LOOK,
)
def hexists(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return whether a hash has a field. O(1)."""
    reply.integer(int(args[2] in HashView.open(ctx, args[1])))


@command(
    "HDEL",
    arity=-3,
    flags=F.WRITE | F.FAST,
    verbatim=True,
    keys=Keys(1, flags="RW delete"),
)
def hdel(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Delete fields of a hash, and count them. O(N) for N fields."""
    view = HashView.open(ctx, args[1], write=True)
    deleted = view.delete(args[2:])
    if deleted:
        ctx.changed(args[1], b"hdel", deleted)
        if not len(view):
            ctx.notify(args[1], b"del")
    reply.integer(deleted)


@command(
    "HINCRBY",
    arity=4,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=CHANGE,
)
def hincrby(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Add a number to the integer in a field; a missing field counts as 0. O(1)."""
    by = int64(args[3])
    view = HashView.open(ctx, args[1], write=True)
    stored = view.get(args[2])
    value = 0 if stored is None else parse_int64(stored)
    if value is None:
        raise CommandError(NO_INTEGER)
    if not INT64_MIN <= value + by <= INT64_MAX:
        raise CommandError(INCREMENT_OVERFLOW)

    view.set(args[2], b"%d" % (value + by))
    ctx.changed(args[1], b"hincrby")
    reply.integer(value + by)


@command(
    "HINCRBYFLOAT",
    arity=4,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    keys=CHANGE,
)
def hincrbyfloat(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Add a floating point number to the number in a field. O(1).

    It is logged as the HSET of its result: another machine may round or write it differently.
    """
    key, field, by = args[1:]
    try:
        add_long_doubles(None, by)
    except CommandError as error:
        if error.message == NAN_OR_INFINITY:
            raise CommandError(INFINITE_INCREMENT) from None
        raise
    view = HashView.open(ctx, key, write=True)
    try:
        result = add_long_doubles(view.get(field), by)
    except CommandError as error:
        if error.message == NOT_FLOAT:
            raise CommandError(NO_FLOAT) from None
        raise

    view.set(field, result)
    ctx.propagate([b"HSET", key, field, result])
    ctx.changed(key, b"hincrbyfloat")
    reply.bulk(result)


@command(
    "HRANDFIELD",
    arity=-2,
    flags=F.READONLY,
    keys=READ,
    tips=("nondeterministic_output",),
)
def hrandfield(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return fields of a hash chosen by chance. O(N) for N fields returned.

    A count below zero may choose a field more than once; one above chooses different fields, in no
    order that could be relied upon.
    """
    if len(args) == 2:
        view = HashView.open(ctx, args[1])
        reply.bulk_or_null(draw(ctx, view, 1)[0][0] if len(view) else None)
        return
    count = int64(args[2])
    if count == INT64_MIN:
        raise CommandError(NOT_A_COUNT % (-INT64_MAX, INT64_MAX))
    if len(args) > 4 or (len(args) == 4 and word(args[3]) != b"WITHVALUES"):
        raise CommandError(SYNTAX)
    with_values = len(args) == 4
    if with_values and abs(count) > INT64_MAX // 2:
        raise CommandError(OUT_OF_RANGE)

    view = HashView.open(ctx, args[1])
    if count >= 0 or not len(view):
        count = min(max(count, 0), len(view))
        start_pairs(reply, count, with_values)
        write_pairs(reply, different(ctx, view, count), with_values)
        return
    check_count(ctx, count)
    start_pairs(reply, -count, with_values)
    for pairs in drawn(ctx, reply, -count, partial(draw, ctx, view), pair_bytes):
        write_pairs(reply, pairs, with_values)


def pair_bytes(pair: Pair) -> int:
    return len(pair[0]) + len(pair[1])


def draw(ctx: Context, view: HashView, count: int) -> list[Pair]:
    """So many fields of a hash that is not empty, each drawn from all of them."""
    return view.random_items([ctx.random.getrandbits(64) for _ in range(count)])


def different(ctx: Context, view: HashView, count: int) -> Iterable[Pair]:
    """So many different fields of a hash, which has at least as many. O(count)."""
    if count == 0:
        return []
    if count * SPARSE_SHARE > len(view):
        items = view.items()
        return items if count == len(items) else ctx.random.sample(items, count)
    # Drawn again if they were there already: that is less than every second time.
    found: dict[bytes, bytes] = {}
    while len(found) < count:
        found.update(draw(ctx, view, count - len(found)))
    return found.items()


def start_pairs(reply: Reply, count: int, with_values: bool) -> None:
    """Announce fields, or fields with values: flat in RESP2, each a pair of its own in RESP3."""
    reply.array(count * 2 if with_values and reply.resp == 2 else count)


def write_pairs(reply: Reply, pairs: Iterable[Pair], with_values: bool) -> None:
    for field, value in pairs:
        if with_values and reply.resp == 3:
            reply.array(2)
        reply.bulk(field)
        if with_values:
            reply.bulk(value)


@command(
    "HSCAN",
    arity=-3,
    flags=F.READONLY,
    keys=READ,
    tips=("nondeterministic_output",),
)
def hscan(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Iterate over the fields of a hash in small steps. O(1) for each call.

    A small hash comes as a whole. The options are not looked at if there is no such key.
    """
    cursor = scan_cursor(args[2])
    view = HashView.open(ctx, args[1])
    pairs: list[Pair] = []
    if len(view):
        options = HSCAN_OPTIONS.parse(args, 3)
        cursor, pairs = view.scan(cursor, options.get(b"COUNT", SCAN_COUNT))
        pattern = options.get(b"MATCH", b"*")
        if pattern != b"*":
            pairs = [pair for pair in pairs if match(pattern, pair[0])]
    else:
        cursor = 0
    reply.array(2)
    reply.bulk(b"%d" % cursor)
    reply.bulks([text for pair in pairs for text in pair])
