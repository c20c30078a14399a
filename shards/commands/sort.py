"""SORT and SORT_RO: the elements of a collection in an order, or what they refer to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from protocol.commands import F, Keys, command
from protocol.errors import SYNTAX, WRONG_TYPE, CommandError
from protocol.numbers import parse_int64
from shards.arguments.options import int64, word
from shards.views.hash import HashView
from shards.views.list import ListView
from shards.views.set import SetView
from shards.views.zset import ZsetView

if TYPE_CHECKING:
    from protocol.reply import Reply
    from shards.lane.context import Context

DENIED = b"ERR %b option of SORT denied in Cluster mode."
NOT_A_NUMBER = b"ERR One or more scores can't be converted into double"
# What C's strtod takes a whole text for, but for nan.
NUMBER = re.compile(
    rb"[ \t\n\v\f\r]*([+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?))", re.IGNORECASE
)
HEXADECIMAL = re.compile(
    rb"[ \t\n\v\f\r]*([+-]?0x(?:[\da-f]+\.?[\da-f]*|\.[\da-f]+)(?:p[+-]?\d+)?)", re.IGNORECASE
)
EXACT_DIGITS = 16  # a double has any number of fewer digits
SMALLEST_NORMAL = 2.0**-1022


class Sorting:
    """What the options of a call ask for."""

    __slots__ = ("alpha", "by", "descending", "gets", "limit", "start", "store")

    def __init__(self, args: list[bytes], may_store: bool, cluster: bool) -> None:
        """Read the options; at a shard's own port none may name further keys.

        Raises CommandError for the first mistake.
        """
        self.descending = self.alpha = False
        self.start, self.limit = 0, -1
        self.by: bytes | None = None
        self.store: bytes | None = None
        self.gets: list[bytes] = []
        at = 2
        while at < len(args):
            name, left = word(args[at]), len(args) - at - 1
            at += 1
            if name in (b"ASC", b"DESC"):
                self.descending = name == b"DESC"
            elif name == b"ALPHA":
                self.alpha = True
            elif name == b"LIMIT" and left >= 2:
                self.start, self.limit = int64(args[at]), int64(args[at + 1])
                at += 2
            elif left >= 1 and (name in (b"BY", b"GET") or (name == b"STORE" and may_store)):
                if name == b"BY":
                    self.by = args[at]
                    if cluster and b"*" in self.by:
                        raise CommandError(DENIED % name)
                elif name == b"GET":
                    if cluster:
                        raise CommandError(DENIED % name)
                    self.gets.append(args[at])
                else:
                    self.store = args[at]
                at += 1
            else:
                raise CommandError(SYNTAX)

    def slice_of(self, count: int) -> tuple[int, int]:
        """The first of so many elements that is wanted, and the one after the last."""
        if self.start == 0 and self.limit == -1:
            return 0, count
        start = min(max(self.start, 0), count)
        limit = min(max(self.limit, -1), count)
        return start, count if limit < 0 else min(start + limit, count)


def elements_of(ctx: Context, key: bytes) -> tuple[bytes | None, list[bytes]]:
    """A key's type and elements; a list's and a sorted set's are in their order. O(n)"""
    match ctx.type(key, counted=False):
        case None:
            ctx.read_string(key)  # a miss, as any other
            return None, []
        case b"list":
            return b"list", ListView.open(ctx, key).range(0, -1)
        case b"set":
            return b"set", SetView.open(ctx, key).members()
        case b"zset":
            view = ZsetView.open(ctx, key)
            view.unpack()
            return b"zset", [member for member, _ in view.items()]
    ctx.exists(key, touch=True)  # a look that counts, as any other
    raise CommandError(WRONG_TYPE)


def reference(pattern: bytes, element: bytes) -> tuple[bytes, bytes | None] | None:
    """The key that a pattern with a `*` means for an element, and the field after a `->`."""
    star = pattern.find(b"*")
    if star < 0:
        return None
    arrow = pattern.find(b"->", star + 1)
    if arrow < 0 or arrow + 2 == len(pattern):
        return pattern[:star] + element + pattern[star + 1 :], None
    return pattern[:star] + element + pattern[star + 1 : arrow], pattern[arrow + 2 :]


def referred(ctx: Context, pattern: bytes, element: bytes) -> bytes | None:
    """What a pattern means for an element: itself (`#`), a string, or a field of a hash."""
    if pattern == b"#":
        return element
    place = reference(pattern, element)
    if place is None:
        return None
    key, field = place
    kind = ctx.type(key, counted=False)
    if field is not None and kind == b"hash":
        return HashView.open(ctx, key).get(field)
    if field is None and kind == b"string":
        return ctx.read_string(key)
    ctx.exists(key, touch=True)  # a look that counts, as any other
    return None


def need(ctx: Context, patterns: list[bytes], elements: list[bytes]) -> None:
    """Have the keys at hand that patterns mean; those of other shards are fetched."""
    places = [reference(pattern, element) for pattern in patterns for element in elements]
    ctx.need([place[0] for place in places if place is not None])


def number(text: bytes) -> float:
    """A number as C's strtod reads it. Raises CommandError."""
    text = text.partition(b"\0")[0]
    if not text:
        return 0.0
    found = NUMBER.fullmatch(text)
    if found is not None:
        value = float(found[1])
        lower = found[1].lower()
        if b"inf" not in lower and abs(value) in (float("inf"),):
            raise CommandError(NOT_A_NUMBER)
        if abs(value) < SMALLEST_NORMAL and re.search(rb"[1-9]", lower.partition(b"e")[0]):
            raise CommandError(NOT_A_NUMBER)
        return value
    found = HEXADECIMAL.fullmatch(text)
    if found is None:
        raise CommandError(NOT_A_NUMBER)
    try:
        return float.fromhex(found[1].decode())
    except OverflowError:
        raise CommandError(NOT_A_NUMBER) from None


def in_order(ctx: Context, wanted: Sorting, elements: list[bytes]) -> list[bytes]:
    """The elements sorted. O(n log n)

    Texts are compared as in the C locale, up to a NUL unless the result is stored.
    """
    by = wanted.by
    if by is None and not wanted.alpha:
        numbers: list[float] = [
            # Nearly all are short integers, which compare as the doubles that they stand for.
            value
            if len(one) < EXACT_DIGITS and (value := parse_int64(one)) is not None
            else number(one)
            for one in elements
        ]
        pairs = sorted(zip(numbers, elements, strict=True), reverse=wanted.descending)
        return [element for _, element in pairs]
    weights: list[bytes | None] = list(elements)
    if by is not None:
        need(ctx, [by], elements)
        weights = [referred(ctx, by, element) for element in elements]
    keys: list[tuple[object, ...]]
    if not wanted.alpha:
        scores = [0.0 if weight is None else number(weight) for weight in weights]
        keys = list(zip(scores, elements, strict=True))
    elif wanted.store is not None:
        keys = [(weight is not None, weight or b"") for weight in weights]
    else:
        keys = [(weight is not None, (weight or b"").partition(b"\0")[0]) for weight in weights]
    order = sorted(range(len(elements)), key=keys.__getitem__, reverse=wanted.descending)
    return [elements[at] for at in order]


def sort_key(ctx: Context, wanted: Sorting, key: bytes, reply: Reply) -> None:
    """Sort a key's elements, then give or store them, or what GET makes of them."""
    kind, elements = elements_of(ctx, key)
    sorts = wanted.by is None or b"*" in wanted.by
    if not sorts and kind == b"set" and wanted.store is not None:
        # The order of a set is up to chance, and must not get into what is stored.
        sorts, wanted.alpha, wanted.by = True, True, None
    if sorts:
        elements = in_order(ctx, wanted, elements)
    elif wanted.descending and kind != b"set":
        elements.reverse()
    start, end = wanted.slice_of(len(elements))
    elements = elements[start:end]
    if not wanted.gets and wanted.store is None:
        reply.bulks(elements)
        return
    result: list[bytes | None] = list(elements)
    if wanted.gets:
        need(ctx, wanted.gets, elements)
        result = [
            referred(ctx, pattern, element) for element in elements for pattern in wanted.gets
        ]

    if wanted.store is None:
        reply.array(len(result))
        for value in result:
            reply.bulk_or_null(value)
        return
    if result:
        ListView.store(ctx, wanted.store, [one or b"" for one in result])
        ctx.changed(wanted.store, b"sortstore", len(result))
    elif ctx.clear(wanted.store):
        ctx.changed(wanted.store, b"del")
    reply.integer(len(result))


@command(
    "SORT",
    arity=-2,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=(
        Keys(1, flags="RO access"),
        Keys(
            0,
            flags="RO access",
            notes="For the optional BY/GET keyword. It is marked 'unknown' because the key names"
            " derive from the content of the key we sort",
        ),
        Keys(
            0,
            flags="OW update",
            notes="For the optional STORE keyword. It is marked 'unknown' because the keyword can"
            " appear anywhere in the argument array",
        ),
    ),
    acl=("set", "sortedset", "list", "dangerous"),
    group="generic",
)
def sort(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Sort a list, set or sorted set, and optionally store the result. O(N*log(N))."""
    sort_key(ctx, Sorting(args, may_store=True, cluster=ctx.cluster), args[1], reply)


@command(
    "SORT_RO",
    arity=-2,
    flags=F.READONLY,
    keys=(
        Keys(1, flags="RO access"),
        Keys(
            0,
            flags="RO access",
            notes="For the optional BY/GET keyword. It is marked 'unknown' because the key names"
            " derive from the content of the key we sort",
        ),
    ),
    acl=("set", "sortedset", "list", "dangerous"),
    group="generic",
)
def sort_ro(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Sort a list, set or sorted set. O(N*log(N))."""
    sort_key(ctx, Sorting(args, may_store=False, cluster=ctx.cluster), args[1], reply)
