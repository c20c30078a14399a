"""The list family. What blocks in Redis answers as inside MULTI: it never waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.commands import F, Keys, command
from protocol.errors import NO_SUCH_KEY, SYNTAX, CommandError
from shards.arguments.options import INT64_MAX, INT64_MIN, Option, Options, int64, word
from shards.arguments.timeouts import timeout_ms
from shards.views.list import ListView

if TYPE_CHECKING:
    from protocol.reply import Reply
    from shards.lane.context import Context

NOT_POSITIVE = b"ERR value is out of range, must be positive"
INDEX_OUT_OF_RANGE = b"ERR index out of range"
RANK_IS_ZERO = (
    b"ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
    b"or use negative to start from the end of the list"
)
RANK_OUT_OF_RANGE = b"ERR value is out of range, value must between %d and %d" % (
    -INT64_MAX,
    INT64_MAX,
)

PUSHED = Keys(1, flags="RW insert")
POPPED = Keys(1, flags="RW access delete")
READ = Keys(1, flags="RO access")
DELETED = Keys(1, flags="RW delete")
MOVED = (Keys(1, flags="RW access delete"), Keys(2, flags="RW insert"))

SIDES = {b"LEFT": False, b"RIGHT": True}
"""Of a list, as whether it is the tail."""


def side(argument: bytes) -> bool:
    """Whether LEFT or RIGHT means the tail."""
    at_tail = SIDES.get(word(argument))
    if at_tail is None:
        raise CommandError(SYNTAX)
    return at_tail


def at_least(argument: bytes, least: int, error: bytes) -> int:
    """An int64 that is not below `least`; one text for whatever is wrong with it."""
    value = int64(argument, error)
    if value < least:
        raise CommandError(error)
    return value


def rank(argument: bytes) -> int:
    value = int64(argument)
    if value == INT64_MIN:
        raise CommandError(RANK_OUT_OF_RANGE)
    if value == 0:
        raise CommandError(RANK_IS_ZERO)
    return value


POSITION_OPTIONS = Options(
    Option(b"RANK", rank),
    Option(b"COUNT", lambda argument: at_least(argument, 0, b"ERR COUNT can't be negative")),
    Option(b"MAXLEN", lambda argument: at_least(argument, 0, b"ERR MAXLEN can't be negative")),
)
POP_OPTIONS = Options(
    Option(
        b"COUNT",
        lambda argument: at_least(argument, 1, b"ERR count should be greater than 0"),
        excludes=(b"COUNT",),
    )
)


# Pushing and popping


def push(ctx: Context, args: list[bytes], reply: Reply, at_tail: bool, only: bool) -> None:
    """Put elements at an end; with `only`, of a list that exists."""
    view = ListView.open(ctx, args[1], write=True)
    if only and not view:
        reply.integer(0)
        return
    length = view.push(args[2:], at_tail)
    ctx.changed(args[1], b"rpush" if at_tail else b"lpush", len(args) - 2)
    reply.integer(length)


@command(
    "LPUSH",
    arity=-3,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=PUSHED,
)
def lpush(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Put elements at the front of a list, one after the other. O(1) for each element."""
    push(ctx, args, reply, at_tail=False, only=False)


@command(
    "RPUSH",
    arity=-3,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=PUSHED,
)
def rpush(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Put elements at the end of a list. O(1) for each element."""
    push(ctx, args, reply, at_tail=True, only=False)


@command(
    "LPUSHX",
    arity=-3,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=PUSHED,
)
def lpushx(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Put elements at the front of a list that exists. O(1) for each element."""
    push(ctx, args, reply, at_tail=False, only=True)


@command(
    "RPUSHX",
    arity=-3,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=PUSHED,
)
def rpushx(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Put elements at the end of a list that exists. O(1) for each element."""
    push(ctx, args, reply, at_tail=True, only=True)


def take(ctx: Context, key: bytes, view: ListView, at_tail: bool, count: int) -> list[bytes]:
    """Take elements off an end of a list that exists, and record it."""
    values = view.pop(at_tail, count)
    ctx.changed(key, b"rpop" if at_tail else b"lpop", len(values))
    if not view:
        ctx.notify(key, b"del")
    return values


def pop(ctx: Context, args: list[bytes], reply: Reply, at_tail: bool) -> None:
    """Take one element off an end, or with a count an array of them."""
    key = args[1]
    if len(args) > 3:
        raise CommandError(b"ERR wrong number of arguments for '%s' command" % args[0].lower())
    if len(args) == 2:
        view = ListView.open(ctx, key, write=True)
        reply.bulk_or_null(take(ctx, key, view, at_tail, 1)[0] if view else None)
        return
    count = at_least(args[2], 0, NOT_POSITIVE)
    view = ListView.open(ctx, key, write=True)
    if not view:
        reply.null_array()
    elif not count:
        reply.array(0)
    else:
        reply.bulks(take(ctx, key, view, at_tail, count))


@command(
    "LPOP",
    arity=-2,
    flags=F.WRITE | F.FAST,
    verbatim=True,
    keys=POPPED,
)
def lpop(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Take elements off the front of a list. O(N) for N elements taken."""
    pop(ctx, args, reply, at_tail=False)


@command(
    "RPOP",
    arity=-2,
    flags=F.WRITE | F.FAST,
    verbatim=True,
    keys=POPPED,
)
def rpop(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Take elements off the end of a list, the last one first. O(N) for N elements taken."""
    pop(ctx, args, reply, at_tail=True)


# Reading


@command(
    "LLEN",
    arity=2,
    flags=F.READONLY | F.FAST,
    keys=Keys(1, flags="RO"),
)
def llen(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return how many elements a list has, 0 for a missing key. O(1)."""
    reply.integer(len(ListView.open(ctx, args[1])))


@command(
    "LRANGE",
    arity=4,
    flags=F.READONLY,
    keys=READ,
)
def lrange(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the elements between two positions, both included. O(S+N) for N elements.

    Positions below zero count from the end.
    """
    start, stop = int64(args[2]), int64(args[3])
    reply.bulks(ListView.open(ctx, args[1]).range(start, stop))


@command(
    "LINDEX",
    arity=3,
    flags=F.READONLY,
    keys=READ,
)
def lindex(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the element at a position. O(S), S nodes away from the nearer end.

    The key is looked at before the position: a missing key hides a bad number.
    """
    view = ListView.open(ctx, args[1])
    reply.bulk_or_null(view.get(int64(args[2])) if view else None)


@command(
    "LPOS",
    arity=-3,
    flags=F.READONLY,
    keys=READ,
)
def lpos(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return where in a list an element is. O(N) for N elements compared."""
    options = POSITION_OPTIONS.parse(args, 3)
    wanted = options.get(b"RANK", 1)
    count = options.get(b"COUNT")
    found = ListView.open(ctx, args[1]).positions(
        args[2],
        abs(wanted),
        1 if count is None else count,
        options.get(b"MAXLEN", 0),
        backwards=wanted < 0,
    )
    if count is not None:
        reply.array(len(found))
        for position in found:
            reply.integer(position)
    elif found:
        reply.integer(found[0])
    else:
        reply.null()


# Changing what is inside


@command(
    "LSET",
    arity=4,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=Keys(1, flags="RW update"),
)
def lset(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Replace the element at a position. O(S), S nodes away from the nearer end."""
    key = args[1]
    view = ListView.open(ctx, key, write=True)
    if not view:
        raise CommandError(NO_SUCH_KEY)
    if not view.set(int64(args[2]), args[3]):
        raise CommandError(INDEX_OUT_OF_RANGE)
    ctx.changed(key, b"lset")
    reply.ok()


@command(
    "LINSERT",
    arity=5,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=PUSHED,
)
def linsert(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Put an element before or after the first one that equals a pivot. O(N) to find it."""
    _, key, where, pivot, value = args
    behind = {b"AFTER": True, b"BEFORE": False}.get(word(where))
    if behind is None:
        raise CommandError(SYNTAX)
    view = ListView.open(ctx, key, write=True)
    if not view:
        reply.integer(0)
    elif view.insert(pivot, value, behind):
        ctx.changed(key, b"linsert")
        reply.integer(len(view))
    else:
        reply.integer(-1)


@command(
    "LREM",
    arity=4,
    flags=F.WRITE,
    verbatim=True,
    keys=DELETED,
)
def lrem(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Delete elements that equal a value, from either end. O(N) for N elements compared.

    A count above zero starts from the front, one below from the end; zero means all.
    """
    key, count = args[1], int64(args[2])
    view = ListView.open(ctx, key, write=True)
    removed = view.remove(args[3], abs(count) or INT64_MAX, backwards=count < 0)
    if removed:
        ctx.changed(key, b"lrem", removed)
        if not view:
            ctx.notify(key, b"del")
    reply.integer(removed)


@command(
    "LTRIM",
    arity=4,
    flags=F.WRITE,
    verbatim=True,
    keys=DELETED,
)
def ltrim(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Delete all but the elements between two positions. O(N) for N elements deleted.

    As in Redis the key counts as touched even when nothing goes.
    """
    key, start, stop = args[1], int64(args[2]), int64(args[3])
    view = ListView.open(ctx, key, write=True)
    if view:
        removed = view.trim(start, stop)
        if removed:
            ctx.changed(key, b"ltrim", removed)
        else:
            ctx.notify(key, b"ltrim")
        if not view:
            ctx.notify(key, b"del")
    reply.ok()


# Moving


def move(
    ctx: Context,
    source: bytes,
    target: bytes,
    ends: tuple[bool, bool],
    reply: Reply,
    logged: list[bytes] | None = None,
    deadline_ms: int = 0,
) -> None:
    """Move an element from an end of one list to an end of another, or of the same one.

    The change is counted once, with the target's event. `logged` is the call without
    blocking, of one that may block until `deadline_ms`.
    """
    from_tail, to_tail = ends
    taken_from = ListView.open(ctx, source, write=True)
    if not taken_from:
        if logged is None or not ctx.block(b"list", 1, 2, deadline_ms):
            reply.null()
        return
    put_to = ListView.open(ctx, target, write=True)
    if source == target:
        value = taken_from.rotate(from_tail, to_tail)
    else:
        (value,) = taken_from.pop(from_tail)
        put_to.push([value], to_tail)
    if logged is not None:
        ctx.propagate(logged)
    ctx.changed(target, b"rpush" if to_tail else b"lpush")
    ctx.notify(source, b"rpop" if from_tail else b"lpop")
    if not taken_from:
        ctx.notify(source, b"del")
    reply.bulk_or_null(value)


@command(
    "LMOVE",
    arity=5,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=MOVED,
)
def lmove(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Move an element from an end of one list to an end of another. O(1)."""
    move(ctx, args[1], args[2], (side(args[3]), side(args[4])), reply)


@command(
    "RPOPLPUSH",
    arity=3,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=MOVED,
)
def rpoplpush(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Move the last element of one list to the front of another. O(1)."""
    move(ctx, args[1], args[2], (True, False), reply)


@command(
    "BLMOVE",
    arity=6,
    flags=F.WRITE | F.DENYOOM | F.BLOCKING,
    keys=MOVED,
)
def blmove(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Move an element as LMOVE does, and wait for one if there is none. O(1)."""
    ends = side(args[3]), side(args[4])
    deadline_ms = timeout_ms(args[5], ctx.now_ms)
    move(ctx, args[1], args[2], ends, reply, [b"LMOVE", *args[1:5]], deadline_ms)


@command(
    "BRPOPLPUSH",
    arity=4,
    flags=F.WRITE | F.DENYOOM | F.BLOCKING,
    keys=MOVED,
)
def brpoplpush(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Move an element as RPOPLPUSH does, and wait for one if there is none. O(1)."""
    deadline_ms = timeout_ms(args[3], ctx.now_ms)
    move(ctx, args[1], args[2], (True, False), reply, [b"RPOPLPUSH", *args[1:3]], deadline_ms)


# The first list of several


def first_list(ctx: Context, keys: list[bytes]) -> tuple[bytes, ListView] | None:
    """The first key that exists, which must be a list. O(N) for N keys."""
    for key in keys:
        view = ListView.open(ctx, key, write=True)
        if view:
            return key, view
    return None


def pop_many(
    ctx: Context, args: list[bytes], count_at: int, reply: Reply, blocking: bool = False
) -> None:
    """LMPOP and BLMPOP: a number of keys, the keys, a side and maybe COUNT, from `count_at` on."""
    number = at_least(args[count_at], 1, b"ERR numkeys should be greater than 0")
    side_at = count_at + 1 + number
    if side_at >= len(args):
        raise CommandError(SYNTAX)
    at_tail = side(args[side_at])
    count = POP_OPTIONS.parse(args, side_at + 1).get(b"COUNT", 1)
    deadline_ms = timeout_ms(args[1], ctx.now_ms) if blocking else 0
    found = first_list(ctx, args[count_at + 1 : side_at])
    if found is None:
        if not blocking or not ctx.block(b"list", count_at + 1, side_at, deadline_ms):
            reply.null_array()
        return
    key, view = found
    count = min(count, len(view))
    ctx.propagate([b"RPOP" if at_tail else b"LPOP", key, b"%d" % count])
    values = take(ctx, key, view, at_tail, count)
    reply.array(2)
    reply.bulk(key)
    reply.bulks(values)


@command(
    "LMPOP",
    arity=-4,
    flags=F.WRITE,
    keys=Keys(2, count_at=1, flags="RW access delete"),
)
def lmpop(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Take elements off the first of several lists that has any. O(N+M) for N keys, M elements."""
    pop_many(ctx, args, 1, reply)


@command(
    "BLMPOP",
    arity=-5,
    flags=F.WRITE | F.BLOCKING,
    keys=Keys(3, count_at=2, flags="RW access delete"),
)
def blmpop(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Take elements as LMPOP does, and wait for some if there are none. O(N+M)."""
    pop_many(ctx, args, 2, reply, blocking=True)


def blocking_pop(ctx: Context, args: list[bytes], reply: Reply, at_tail: bool) -> None:
    """BLPOP and BRPOP: keys, and a timeout."""
    deadline_ms = timeout_ms(args[-1], ctx.now_ms)
    found = first_list(ctx, args[1:-1])
    if found is None:
        if not ctx.block(b"list", 1, len(args) - 1, deadline_ms):
            reply.null_array()
        return
    key, view = found
    ctx.propagate([b"RPOP" if at_tail else b"LPOP", key])
    reply.bulks([key, *take(ctx, key, view, at_tail, 1)])


@command(
    "BLPOP",
    arity=-3,
    flags=F.WRITE | F.BLOCKING,
    keys=Keys(1, -2, flags="RW access delete"),
)
def blpop(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Take the first element of the first list that has one, or wait for it. O(N) for N keys."""
    blocking_pop(ctx, args, reply, at_tail=False)


@command(
    "BRPOP",
    arity=-3,
    flags=F.WRITE | F.BLOCKING,
    keys=Keys(1, -2, flags="RW access delete"),
)
def brpop(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Take the last element of the first list that has one, or wait for it. O(N) for N keys."""
    blocking_pop(ctx, args, reply, at_tail=True)
