"""The sorted set family: members in the order of their scores, and of their bytes among equals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isnan
from operator import itemgetter
from typing import TYPE_CHECKING

from protocol.commands import F, Keys, command
from protocol.errors import NOT_FLOAT, SYNTAX, CommandError
from protocol.numbers import parse_double
from shards.arguments.options import INT64_MAX, Option, Options, as_is, int64, quoted, word
from shards.arguments.ranges import Range
from shards.arguments.timeouts import timeout_ms
from shards.commands.drawing import NOT_A_COUNT, check_count, drawn
from shards.commands.generic import scan_cursor
from shards.kernels.glob import matching
from shards.views.set import SetView
from shards.views.zset import ADD_GT, ADD_LT, ADD_NX, ADD_XX, ZsetView

if TYPE_CHECKING:
    from protocol.reply import Reply
    from shards.lane.context import Context

Item = tuple[bytes, float]

NX_AND_XX = b"ERR XX and NX options at the same time are not compatible"
GT_LT_NX = b"ERR GT, LT, and/or NX options at the same time are not compatible"
INCR_ONE = b"ERR INCR option supports a single increment-element pair"
LIMIT_BY_RANK = (
    b"ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"
)
SCORES_BY_LEX = b"ERR syntax error, WITHSCORES not supported in combination with BYLEX"
WEIGHT = b"ERR weight value is not a float"
LIMIT_NEGATIVE = b"ERR LIMIT can't be negative"
COUNT_NEGATIVE = b"ERR value is out of range, must be positive"
COUNT_TOO_LARGE = b"ERR value is out of range"
NUMKEYS = b"ERR numkeys should be greater than 0"
COUNT = b"ERR count should be greater than 0"

READ = Keys(1, flags="RO access")
REMOVE = Keys(1, flags="RW delete")
POP = Keys(1, flags="RW access delete")
STORE = Keys(1, flags="OW update")
READ_MANY = Keys(2, count_at=1, flags="RO access")
STORE_MANY = (STORE, Keys(3, count_at=2, flags="RO access"))
ACL = ("sortedset",)

RANDOM_RATIO = 3
"""Of members to those wanted: from here on they are drawn one by one, below all are shuffled."""


def score_of(argument: bytes, error: bytes = NOT_FLOAT) -> float:
    """A score, which may be infinite. Raises `error`."""
    score = parse_double(argument)
    if score is None:
        raise CommandError(error)
    return score


def reply_items(reply: Reply, items: list[Item], with_scores: bool) -> None:
    """Members, or members and scores: flat in RESP2, pairs in RESP3."""
    reply.array(2 * len(items) if with_scores and reply.resp == 2 else len(items))
    write_items(reply, items, with_scores)


def write_items(reply: Reply, items: list[Item], with_scores: bool) -> None:
    """Those of an array that is announced."""
    for member, score in items:
        if with_scores and reply.resp == 3:
            reply.array(2)
        reply.bulk(member)
        if with_scores:
            reply.double(score)


def item_bytes(item: Item) -> int:
    return len(item[0])


def reply_pairs(reply: Reply, items: list[Item]) -> None:
    reply.array(len(items))
    for member, score in items:
        reply.array(2)
        reply.bulk(member)
        reply.double(score)


def reply_score(reply: Reply, score: float | None) -> None:
    if score is None:
        reply.null()
    else:
        reply.double(score)


def emptied(ctx: Context, key: bytes, view: ZsetView) -> None:
    """Say so if the change that was just recorded took the last member."""
    if not len(view):
        ctx.notify(key, b"del")


def store(
    ctx: Context, key: bytes, items: list[Item], event: bytes, reply: Reply, count: int = 1
) -> None:
    """Set a key of any type to what a command has computed, or delete it if that is nothing."""
    if items:
        ZsetView.store(ctx, key, items)
        ctx.changed(key, event, count)
    elif ctx.clear(key):
        ctx.changed(key, b"del")
    reply.integer(len(items))


# Adding

ADD_WORDS = {b"NX": ADD_NX, b"XX": ADD_XX, b"GT": ADD_GT, b"LT": ADD_LT}


def add(
    ctx: Context, args: list[bytes], reply: Reply, increment: bool, rewritten: bool = False
) -> None:
    """ZADD and ZINCRBY, which takes the same words before its increment.

    Every score is read before the key is opened: one bad score must leave it untouched. Rewritten:
    these are not the arguments of the call, but what is to be logged in their place.
    """
    key, flags, show_changed, at = args[1], 0, False, 2
    while at < len(args):
        option = word(args[at])
        if option in ADD_WORDS:
            flags |= ADD_WORDS[option]
        elif option == b"CH":
            show_changed = True
        elif option == b"INCR":
            increment = True
        else:
            break
        at += 1
    if at == len(args) or (len(args) - at) % 2:
        raise CommandError(SYNTAX)
    if flags & ADD_NX and flags & ADD_XX:
        raise CommandError(NX_AND_XX)
    if (flags & (ADD_NX | ADD_GT | ADD_LT)).bit_count() > 1:
        raise CommandError(GT_LT_NX)
    if increment and len(args) - at > 2:
        raise CommandError(INCR_ONE)
    scores = [score_of(argument) for argument in args[at::2]]

    view = ZsetView.open(ctx, key, write=True)
    if increment:
        score, changed = view.increment(scores[0], args[at + 1], flags)
        if changed:
            ctx.changed(key, b"zincr")
        reply_score(reply, score)
        return
    added, updated = view.add(scores, args[at + 1 :: 2], flags)
    if added + updated:
        if rewritten:
            ctx.propagate(args)
        ctx.changed(key, b"zadd", added + updated)
    reply.integer(added + updated if show_changed else added)


@command(
    "ZADD",
    arity=-4,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=Keys(1, flags="RW update"),
)
def zadd(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Add members with scores to a sorted set, or change their scores. O(log n) for each."""
    add(ctx, args, reply, increment=False)


@command(
    "ZINCRBY",
    arity=4,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=Keys(1, flags="RW access update"),
)
def zincrby(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Add to the score of a member, which is 0 if it is new. O(log n)."""
    add(ctx, args, reply, increment=True)


# Looking at members


@command(
    "ZCARD",
    arity=2,
    flags=F.READONLY | F.FAST,
    keys=Keys(1, flags="RO"),
)
def zcard(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Count the members of a sorted set. O(1)."""
    reply.integer(len(ZsetView.open(ctx, args[1])))


@command(
    "ZSCORE",
    arity=3,
    flags=F.READONLY | F.FAST,
    keys=READ,
)
def zscore(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the score of a member. O(1)."""
    reply_score(reply, ZsetView.open(ctx, args[1]).score(args[2]))


@command(
    "ZMSCORE",
    arity=-3,
    flags=F.READONLY | F.FAST,
    keys=READ,
)
def zmscore(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the scores of members. O(1) for each."""
    view = ZsetView.open(ctx, args[1])
    reply.array(len(args) - 2)
    for member in args[2:]:
        reply_score(reply, view.score(member))


def rank(ctx: Context, args: list[bytes], reply: Reply, backwards: bool) -> None:
    name = b"zrevrank" if backwards else b"zrank"
    if len(args) > 4:
        raise CommandError(b"ERR wrong number of arguments for '%s' command" % name)
    with_score = len(args) == 4
    if with_score and word(args[3]) != b"WITHSCORE":
        raise CommandError(SYNTAX)
    view = ZsetView.open(ctx, args[1])
    found = view.rank(args[2])
    if found is None:
        (reply.null_array if with_score else reply.null)()
        return
    if with_score:
        reply.array(2)
    reply.integer(len(view) - 1 - found[0] if backwards else found[0])
    if with_score:
        reply.double(found[1])


@command(
    "ZRANK",
    arity=-3,
    flags=F.READONLY | F.FAST,
    keys=READ,
)
def zrank(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return how many members come before a member. O(log n)."""
    rank(ctx, args, reply, backwards=False)


@command(
    "ZREVRANK",
    arity=-3,
    flags=F.READONLY | F.FAST,
    keys=READ,
)
def zrevrank(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return how many members stand after a member. O(log n)."""
    rank(ctx, args, reply, backwards=True)


@command(
    "ZCOUNT",
    arity=4,
    flags=F.READONLY | F.FAST,
    keys=READ,
)
def zcount(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Count the members with scores in a range. O(log n)."""
    within = Range.scores(args[2], args[3])
    reply.integer(ZsetView.open(ctx, args[1]).count(within))


@command(
    "ZLEXCOUNT",
    arity=4,
    flags=F.READONLY | F.FAST,
    keys=READ,
)
def zlexcount(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Count the members in a range by their bytes. O(log n)."""
    within = Range.members(args[2], args[3])
    reply.integer(ZsetView.open(ctx, args[1]).count(within))


# Ranges


class Ranged:
    """The arguments of a ZRANGE of any kind, from the key of the sorted set on."""

    __slots__ = ("backwards", "first", "key", "last", "limit", "offset", "with_scores", "within")

    def __init__(
        self,
        args: list[bytes],
        at: int,
        *,
        by: bytes | None = None,
        backwards: bool | None = None,
        stores: bool = False,
    ) -> None:
        """`by` and `backwards` are what the command's name says; None: its options do."""
        self.key = args[at]
        self.with_scores = False
        self.offset, self.limit = 0, -1
        index, end = at + 3, len(args)
        while index < end:
            option = word(args[index])
            if option == b"WITHSCORES" and not stores:
                self.with_scores = True
            elif option == b"LIMIT" and index + 2 < end:
                self.offset, self.limit = int64(args[index + 1]), int64(args[index + 2])
                index += 2
            elif option == b"REV" and backwards is None:
                backwards = True
            elif option in (b"BYLEX", b"BYSCORE") and by is None:
                by = option
            else:
                raise CommandError(SYNTAX)
            index += 1
        self.backwards = bool(backwards)
        if self.limit != -1 and by in (None, b"BYRANK"):
            raise CommandError(LIMIT_BY_RANK)
        if self.with_scores and by == b"BYLEX":
            raise CommandError(SCORES_BY_LEX)

        minimum, maximum = args[at + 1], args[at + 2]
        self.within: Range | None = None
        self.first = self.last = 0
        if by in (None, b"BYRANK"):
            self.first, self.last = int64(minimum), int64(maximum)
            return
        if self.backwards:
            minimum, maximum = maximum, minimum
        make = Range.scores if by == b"BYSCORE" else Range.members
        self.within = make(minimum, maximum)

    def read(self, ctx: Context) -> list[Item]:
        """The members of the range. O(log n + m)."""
        view = ZsetView.open(ctx, self.key)
        if self.within is None:
            return view.slice(self.first, self.last, self.backwards)
        return view.between(self.within, self.backwards, self.offset, self.limit)


def show(ctx: Context, ranged: Ranged, reply: Reply) -> None:
    reply_items(reply, ranged.read(ctx), ranged.with_scores)


@command(
    "ZRANGE",
    arity=-4,
    flags=F.READONLY,
    keys=READ,
)
def zrange(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the members of a range by rank, score or bytes. O(log n + m)."""
    show(ctx, Ranged(args, 1), reply)


@command(
    "ZREVRANGE",
    arity=-4,
    flags=F.READONLY,
    keys=READ,
)
def zrevrange(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the members of a range by rank, the highest first. O(log n + m)."""
    show(ctx, Ranged(args, 1, by=b"BYRANK", backwards=True), reply)


@command(
    "ZRANGEBYSCORE",
    arity=-4,
    flags=F.READONLY,
    keys=READ,
)
def zrangebyscore(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the members of a range by score. O(log n + m)."""
    show(ctx, Ranged(args, 1, by=b"BYSCORE", backwards=False), reply)


@command(
    "ZREVRANGEBYSCORE",
    arity=-4,
    flags=F.READONLY,
    keys=READ,
)
def zrevrangebyscore(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the members of a range by score, the highest first. O(log n + m)."""
    show(ctx, Ranged(args, 1, by=b"BYSCORE", backwards=True), reply)


@command(
    "ZRANGEBYLEX",
    arity=-4,
    flags=F.READONLY,
    keys=READ,
)
def zrangebylex(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the members of a range by their bytes. O(log n + m)."""
    show(ctx, Ranged(args, 1, by=b"BYLEX", backwards=False), reply)


@command(
    "ZREVRANGEBYLEX",
    arity=-4,
    flags=F.READONLY,
    keys=READ,
)
def zrevrangebylex(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the members of a range by their bytes, the last first. O(log n + m)."""
    show(ctx, Ranged(args, 1, by=b"BYLEX", backwards=True), reply)


@command(
    "ZRANGESTORE",
    arity=-5,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=(STORE, Keys(2, flags="RO access")),
)
def zrangestore(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Store the members of a range in another key. O(log n + m log m)."""
    ranged = Ranged(args, 2, stores=True)
    items = ranged.read(ctx)
    if ranged.backwards:
        items.reverse()
    store(ctx, args[1], items, b"zrangestore", reply)


# Removing


def removed(ctx: Context, view: ZsetView, key: bytes, event: bytes, count: int) -> int:
    """Record that so many members went."""
    if count:
        ctx.changed(key, event, count)
        emptied(ctx, key, view)
    return count


@command(
    "ZREM",
    arity=-3,
    flags=F.WRITE | F.FAST,
    verbatim=True,
    keys=REMOVE,
)
def zrem(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Remove members from a sorted set. O(log n) for each."""
    view = ZsetView.open(ctx, args[1], write=True)
    reply.integer(removed(ctx, view, args[1], b"zrem", view.remove(args[2:])))


@command(
    "ZREMRANGEBYRANK",
    arity=4,
    flags=F.WRITE,
    verbatim=True,
    keys=REMOVE,
)
def zremrangebyrank(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Remove the members of a range by rank. O(log n + m)."""
    first, last = int64(args[2]), int64(args[3])
    view = ZsetView.open(ctx, args[1], write=True)
    count = view.remove_slice(first, last)
    reply.integer(removed(ctx, view, args[1], b"zremrangebyrank", count))


@command(
    "ZREMRANGEBYSCORE",
    arity=4,
    flags=F.WRITE,
    verbatim=True,
    keys=REMOVE,
)
def zremrangebyscore(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Remove the members of a range by score. O(log n + m)."""
    within = Range.scores(args[2], args[3])
    view = ZsetView.open(ctx, args[1], write=True)
    count = view.remove_between(within)
    reply.integer(removed(ctx, view, args[1], b"zremrangebyscore", count))


@command(
    "ZREMRANGEBYLEX",
    arity=4,
    flags=F.WRITE,
    verbatim=True,
    keys=REMOVE,
)
def zremrangebylex(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Remove the members of a range by their bytes. O(log n + m)."""
    within = Range.members(args[2], args[3])
    view = ZsetView.open(ctx, args[1], write=True)
    count = view.remove_between(within)
    reply.integer(removed(ctx, view, args[1], b"zremrangebylex", count))


# Popping


def pop(ctx: Context, view: ZsetView, key: bytes, count: int, last: bool) -> list[Item]:
    """Take members off one end, and record it. O(log n) for each."""
    items = view.pop(count, last)
    removed(ctx, view, key, b"zpopmax" if last else b"zpopmin", len(items))
    return items


def pop_one_key(ctx: Context, args: list[bytes], reply: Reply, last: bool) -> None:
    if len(args) > 3:
        raise CommandError(SYNTAX)
    count = 1
    if len(args) == 3:
        count = int64(args[2], COUNT_NEGATIVE)
        if count < 0:
            raise CommandError(COUNT_NEGATIVE)
    view = ZsetView.open(ctx, args[1], write=True)
    items = pop(ctx, view, args[1], count, last)
    if len(args) == 3 and reply.resp > 2:
        reply_pairs(reply, items)
        return
    reply.array(2 * len(items))
    for member, score in items:
        reply.bulk(member)
        reply.double(score)


@command(
    "ZPOPMIN",
    arity=-2,
    flags=F.WRITE | F.FAST,
    verbatim=True,
    keys=POP,
)
def zpopmin(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Remove and return the members with the lowest scores. O(log n) for each."""
    pop_one_key(ctx, args, reply, last=False)


@command(
    "ZPOPMAX",
    arity=-2,
    flags=F.WRITE | F.FAST,
    verbatim=True,
    keys=POP,
)
def zpopmax(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Remove and return the members with the highest scores. O(log n) for each."""
    pop_one_key(ctx, args, reply, last=True)


def first_with_members(ctx: Context, keys: Iterable[bytes]) -> tuple[bytes, ZsetView] | None:
    """The first of these keys that exists. Raises WRONGTYPE if it is no sorted set."""
    for key in keys:
        view = ZsetView.open(ctx, key, write=True)
        if len(view):
            return key, view
    return None


def pop_many_keys(ctx: Context, args: list[bytes], reply: Reply, at: int) -> None:
    """ZMPOP and BZMPOP, `at` being where the number of keys stands."""
    numkeys = int64(args[at], NUMKEYS)
    if numkeys < 1:
        raise CommandError(NUMKEYS)
    index = at + numkeys + 1
    if index >= len(args) or word(args[index]) not in (b"MIN", b"MAX"):
        raise CommandError(SYNTAX)
    last = word(args[index]) == b"MAX"
    count = None
    for option in range(index + 1, len(args), 2):
        if count is not None or word(args[option]) != b"COUNT" or option + 1 == len(args):
            raise CommandError(SYNTAX)
        count = int64(args[option + 1], COUNT)
        if count < 1:
            raise CommandError(COUNT)
    deadline_ms = timeout_ms(args[1], ctx.now_ms) if at == 2 else 0

    found = first_with_members(ctx, args[at + 1 : at + 1 + numkeys])
    if found is None:
        if at != 2 or not ctx.block(b"zset", at + 1, index, deadline_ms):
            reply.null_array()
        return
    key, view = found
    count = min(count or 1, len(view))
    ctx.propagate([b"ZPOPMAX" if last else b"ZPOPMIN", key, b"%d" % count])
    items = pop(ctx, view, key, count, last)
    reply.array(2)
    reply.bulk(key)
    reply_pairs(reply, items)


@command(
    "ZMPOP",
    arity=-4,
    flags=F.WRITE,
    keys=Keys(2, count_at=1, flags="RW access delete"),
)
def zmpop(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Remove and return members at one end of the first sorted set that has any. O(k + m log n)."""
    pop_many_keys(ctx, args, reply, 1)


@command(
    "BZMPOP",
    arity=-5,
    flags=F.WRITE | F.BLOCKING,
    keys=Keys(3, count_at=2, flags="RW access delete"),
)
def bzmpop(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """ZMPOP that waits for members if there are none. O(k + m log n)."""
    pop_many_keys(ctx, args, reply, 2)


def pop_or_wait(ctx: Context, args: list[bytes], reply: Reply, last: bool) -> None:
    deadline_ms = timeout_ms(args[-1], ctx.now_ms)
    found = first_with_members(ctx, args[1:-1])
    if found is None:
        if not ctx.block(b"zset", 1, len(args) - 1, deadline_ms):
            reply.null_array()
        return
    key, view = found
    ctx.propagate([b"ZPOPMAX" if last else b"ZPOPMIN", key])
    [(member, score)] = pop(ctx, view, key, 1, last)
    reply.array(3)
    reply.bulk(key)
    reply.bulk(member)
    reply.double(score)


@command(
    "BZPOPMIN",
    arity=-3,
    flags=F.WRITE | F.BLOCKING | F.FAST,
    keys=Keys(1, -2, flags="RW access delete"),
)
def bzpopmin(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """ZPOPMIN of the first sorted set that is there, or wait for one. O(log n)."""
    pop_or_wait(ctx, args, reply, last=False)


@command(
    "BZPOPMAX",
    arity=-3,
    flags=F.WRITE | F.BLOCKING | F.FAST,
    keys=Keys(1, -2, flags="RW access delete"),
)
def bzpopmax(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """ZPOPMAX of the first sorted set that is there, or wait for one. O(log n)."""
    pop_or_wait(ctx, args, reply, last=True)


# Chance and scans


def distinct(ctx: Context, view: ZsetView, count: int) -> list[Item]:
    """`count` different members, fewer than there are. O(count), or O(n) if that is not far off."""
    if count * RANDOM_RATIO > len(view):
        return ctx.random.sample(view.items(), count)
    chosen: dict[bytes, float] = {}
    while len(chosen) < count:
        chosen.update(view.random(count - len(chosen)))
    return list(chosen.items())


@command(
    "ZRANDMEMBER",
    arity=-2,
    flags=F.READONLY,
    keys=READ,
    tips=("nondeterministic_output",),
)
def zrandmember(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return random members of a sorted set. O(count), or O(n) for most of them."""
    if len(args) == 2:
        view = ZsetView.open(ctx, args[1])
        reply.bulk_or_null(view.random(1)[0][0] if len(view) else None)
        return
    count = int64(args[2])
    if count < -INT64_MAX:
        raise CommandError(NOT_A_COUNT % (-INT64_MAX, INT64_MAX))
    with_scores = len(args) == 4 and word(args[3]) == b"WITHSCORES"
    if len(args) > 3 and not with_scores:
        raise CommandError(SYNTAX)
    if with_scores and abs(count) > INT64_MAX // 2:
        raise CommandError(COUNT_TOO_LARGE)

    view = ZsetView.open(ctx, args[1])
    if count < 0 and len(view):
        check_count(ctx, count)
        reply.array(-count * 2 if with_scores and reply.resp == 2 else -count)
        for items in drawn(ctx, reply, -count, view.random, item_bytes):
            write_items(reply, items, with_scores)
        return
    everything = count >= len(view)
    items = view.slice(0, -1, backwards=True) if everything else distinct(ctx, view, count)
    reply_items(reply, items, with_scores)


def scan_count(argument: bytes) -> int:
    count = int64(argument)
    if count < 1:
        raise CommandError(SYNTAX)
    return count


SCAN_OPTIONS = Options(Option(b"COUNT", scan_count), Option(b"MATCH", as_is))
SCAN_COUNT = 10


@command(
    "ZSCAN",
    arity=-3,
    flags=F.READONLY,
    keys=READ,
    tips=("nondeterministic_output",),
)
def zscan(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Iterate over members and scores in small steps. O(1) for each call.

    A key that is missing hides mistakes in the options, as in Redis.
    """
    cursor = scan_cursor(args[2])
    view = ZsetView.open(ctx, args[1])
    pairs: list[tuple[bytes, bytes]] = []
    if len(view):
        options = SCAN_OPTIONS.parse(args, 3)
        cursor, pairs = view.scan(cursor, options.get(b"COUNT", SCAN_COUNT))
        if b"MATCH" in options:
            kept = set(matching(options[b"MATCH"], [member for member, _ in pairs]))
            pairs = [pair for pair in pairs if pair[0] in kept]
    else:
        cursor = 0
    reply.array(2)
    reply.bulk(b"%d" % cursor)
    reply.bulks([text for pair in pairs for text in pair])


# Several sorted sets


class Operands:
    """The keys of ZUNION and its like with their weights, and the options after them."""

    __slots__ = ("aggregate", "limit", "sources", "weights", "with_scores")

    def __init__(
        self,
        ctx: Context,
        args: list[bytes],
        at: int,
        *,
        weighs: bool = True,
        shows: bool = True,
        limits: bool = False,
    ) -> None:
        """`at` is where the number of keys stands. The keys are opened before options are read.

        weighs: it takes WEIGHTS and AGGREGATE; shows: WITHSCORES; limits: LIMIT, and only that.
        """
        numkeys = int64(args[at])
        if numkeys < 1:
            name = quoted(args[0]).lower()
            raise CommandError(b"ERR at least 1 input key is needed for '%s' command" % name)
        index = at + 1 + numkeys
        if index > len(args):
            raise CommandError(SYNTAX)
        self.sources = [open_source(ctx, key) for key in args[at + 1 : index]]
        self.weights = [1.0] * numkeys
        self.aggregate: Callable[[float, float], float] = add_scores
        self.with_scores = False
        self.limit = 0
        while index < len(args):
            option, left = word(args[index]), len(args) - index
            if option == b"WEIGHTS" and weighs and left > numkeys:
                self.weights = [
                    score_of(weight, WEIGHT) for weight in args[index + 1 : index + 1 + numkeys]
                ]
                index += numkeys
            elif option == b"AGGREGATE" and weighs and left > 1:
                index += 1
                aggregate = AGGREGATES.get(word(args[index]))
                if aggregate is None:
                    raise CommandError(SYNTAX)
                self.aggregate = aggregate
            elif option == b"WITHSCORES" and shows:
                self.with_scores = True
            elif option == b"LIMIT" and limits and left > 1:
                index += 1
                self.limit = int64(args[index], LIMIT_NEGATIVE)
                if self.limit < 0:
                    raise CommandError(LIMIT_NEGATIVE)
            else:
                raise CommandError(SYNTAX)
            index += 1

    def by_size(self) -> list[tuple[Source, float]]:
        """Sources and weights, the smallest first: in this order scores are added up."""
        return sorted(zip(self.sources, self.weights, strict=True), key=lambda pair: len(pair[0]))


class SetSource:
    """A set as ZUNION and its like read it: each member has the score 1."""

    __slots__ = ("view",)

    def __init__(self, view: SetView) -> None:
        self.view = view

    def __len__(self) -> int:
        return len(self.view)

    def items(self) -> list[Item]:
        return [(member, 1.0) for member in self.view.members()]

    def score(self, member: bytes) -> float | None:
        return 1.0 if member in self.view else None


Source = ZsetView | SetSource


def open_source(ctx: Context, key: bytes) -> Source:
    """A sorted set or a set, to be read. Raises WRONGTYPE."""
    if ctx.type(key, counted=False) == b"set":
        return SetSource(SetView.open(ctx, key))
    return ZsetView.open(ctx, key)


def add_scores(score: float, other: float) -> float:
    """Infinities of both signs add up to 0."""
    score += other
    return 0.0 if isnan(score) else score


AGGREGATES: dict[bytes, Callable[[float, float], float]] = {
    b"SUM": add_scores,
    b"MIN": lambda score, other: other if other < score else score,
    b"MAX": lambda score, other: other if other > score else score,
}


def weighted(score: float, weight: float) -> float:
    score *= weight
    return 0.0 if isnan(score) else score


BY_SCORE_AND_MEMBER = itemgetter(1, 0)


def in_order(scores: Iterable[Item]) -> list[Item]:
    return sorted(scores, key=BY_SCORE_AND_MEMBER)


def union(operands: Operands) -> list[Item]:
    """The members of any source. O(n log n) of all members."""
    aggregate = operands.aggregate
    scores: dict[bytes, float] = {}
    for source, weight in operands.by_size():
        items = source.items()
        if weight != 1.0:
            items = [(member, weighted(score, weight)) for member, score in items]
        if not scores:
            scores.update(items)
            continue
        for member, score in items:
            before = scores.get(member)
            scores[member] = score if before is None else aggregate(before, score)
    return in_order(scores.items())


def intersection(operands: Operands, limit: int = 0) -> list[Item]:
    """The members of all sources, not in order; at most `limit` unless that is 0. O(n k)."""
    aggregate = operands.aggregate
    (smallest, weight), *others = operands.by_size()
    found = []
    for member, score in smallest.items():
        if weight != 1.0:
            score = weighted(score, weight)
        for other, other_weight in others:
            other_score = other.score(member)
            if other_score is None:
                break
            score = aggregate(score, other_score * other_weight)
        else:
            found.append((member, score))
            if len(found) == limit:
                break
    return found


def difference(operands: Operands) -> list[Item]:
    """The members of the first source that no other has. O(n k), or O(n of all)."""
    first, *others = operands.sources
    items: list[Item] = first.items()
    for other in sorted(others, key=len, reverse=True):
        if len(other) > len(items):
            items = [item for item in items if other.score(item[0]) is None]
        else:
            gone = {member for member, _ in other.items()}
            items = [item for item in items if item[0] not in gone]
    return in_order(items)


@command(
    "ZUNION",
    arity=-3,
    flags=F.READONLY,
    keys=READ_MANY,
)
def zunion(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the members of any of several sorted sets. O(n log n)."""
    operands = Operands(ctx, args, 1)
    reply_items(reply, union(operands), operands.with_scores)


@command(
    "ZUNIONSTORE",
    arity=-4,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=STORE_MANY,
)
def zunionstore(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Store the members of any of several sorted sets. O(n log n)."""
    items = union(Operands(ctx, args, 2, shows=False))
    store(ctx, args[1], items, b"zunionstore", reply)


@command(
    "ZINTER",
    arity=-3,
    flags=F.READONLY,
    keys=READ_MANY,
)
def zinter(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the members that several sorted sets have in common. O(n k)."""
    operands = Operands(ctx, args, 1)
    reply_items(reply, in_order(intersection(operands)), operands.with_scores)


@command(
    "ZINTERSTORE",
    arity=-4,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=STORE_MANY,
)
def zinterstore(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Store the members that several sorted sets have in common. O(n k)."""
    items = in_order(intersection(Operands(ctx, args, 2, shows=False)))
    store(ctx, args[1], items, b"zinterstore", reply)


@command(
    "ZINTERCARD",
    arity=-3,
    flags=F.READONLY,
    keys=READ_MANY,
)
def zintercard(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Count the members that several sorted sets have in common. O(n k)."""
    operands = Operands(ctx, args, 1, weighs=False, shows=False, limits=True)
    reply.integer(len(intersection(operands, operands.limit)))


@command(
    "ZDIFF",
    arity=-3,
    flags=F.READONLY,
    keys=READ_MANY,
)
def zdiff(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the members of a sorted set that several others don't have. O(n)."""
    operands = Operands(ctx, args, 1, weighs=False)
    reply_items(reply, difference(operands), operands.with_scores)


@command(
    "ZDIFFSTORE",
    arity=-4,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=STORE_MANY,
)
def zdiffstore(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Store the members of a sorted set that several others don't have. O(n log n)."""
    items = difference(Operands(ctx, args, 2, weighs=False, shows=False))
    store(ctx, args[1], items, b"zdiffstore", reply)
