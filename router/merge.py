"""One reply from the raw replies of several shards, by the command's response policy.

Pure functions: raw RESP in shard order in, raw RESP out. An error of any shard wins where all
must succeed; which one is the first in shard order, so that a repeated call answers the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random

from protocol.commands import Response
from protocol.replies import ReplyError, elements

AGGREGATES = b"*~>%"


def is_error(reply: bytes) -> bool:
    """Whether a raw reply is an error, of either RESP version."""
    return reply[:1] in (b"-", b"!")


def is_null(reply: bytes) -> bool:
    """Whether a raw reply is a null, of either RESP version."""
    return reply in (b"$-1\r\n", b"*-1\r\n", b"_\r\n")


def first_error(replies: Iterable[bytes]) -> bytes | None:
    """The first error among the replies."""
    return next((reply for reply in replies if is_error(reply)), None)


def integer(reply: bytes) -> int:
    """The number of an integer reply. Raises ReplyError."""
    digits = reply[1:-2]
    unsigned = digits[1:] if digits[:1] == b"-" else digits
    if reply[:1] != b":" or reply[-2:] != b"\r\n" or not unsigned.isdigit() or len(unsigned) > 19:
        raise ReplyError("not an integer")
    return int(digits)


def all_succeeded(replies: Sequence[bytes]) -> bytes:
    """The first error, or else the first reply (they are alike)."""
    return first_error(replies) or replies[0]


def one_succeeded(replies: Sequence[bytes]) -> bytes:
    """The first reply that is no error, or else the first error."""
    return next((reply for reply in replies if not is_error(reply)), replies[0])


def aggregate(replies: Sequence[bytes], combine: Callable[[Iterable[int]], int]) -> bytes:
    """Integers combined into one; arrays of integers (SCRIPT EXISTS) position by position."""
    error = first_error(replies)
    if error is not None:
        return error
    if replies[0][:1] != b"*":
        return b":%d\r\n" % combine(integer(reply) for reply in replies)
    rows = [_elements(reply) for reply in replies]
    if len({len(row) for row in rows}) != 1:
        raise ReplyError("arrays of different lengths")
    columns = zip(*rows, strict=True)
    return array(aggregate(column, combine) for column in columns)


def agg_sum(replies: Sequence[bytes]) -> bytes:
    """The sum."""
    return aggregate(replies, sum)


def agg_min(replies: Sequence[bytes]) -> bytes:
    """The smallest."""
    return aggregate(replies, min)


def agg_max(replies: Sequence[bytes]) -> bytes:
    """The largest."""
    return aggregate(replies, max)


def agg_logical_and(replies: Sequence[bytes]) -> bytes:
    """1 when all are not 0."""
    return aggregate(replies, lambda values: int(all([value != 0 for value in values])))


def agg_logical_or(replies: Sequence[bytes]) -> bytes:
    """1 when one is not 0."""
    return aggregate(replies, lambda values: int(any([value != 0 for value in values])))


POLICIES: dict[Response, Callable[[Sequence[bytes]], bytes]] = {
    Response.ALL_SUCCEEDED: all_succeeded,
    Response.ONE_SUCCEEDED: one_succeeded,
    Response.AGG_SUM: agg_sum,
    Response.AGG_MIN: agg_min,
    Response.AGG_MAX: agg_max,
    Response.AGG_LOGICAL_AND: agg_logical_and,
    Response.AGG_LOGICAL_OR: agg_logical_or,
}


def merge(policy: Response, replies: Sequence[bytes]) -> bytes:
    """One reply by a policy. Without a policy: a keyless command's arrays one after the other.

    SPECIAL has no general rule: its callers know the command. Raises ReplyError.
    """
    if not replies:
        raise ReplyError("no reply to merge")
    if policy is Response.DEFAULT:
        return concatenate(replies)
    if policy is Response.SPECIAL:
        raise ReplyError("a special policy is the command's own")
    return POLICIES[policy](replies)


def array(items: Iterable[bytes], kind: bytes = b"*") -> bytes:
    """An aggregate of raw replies."""
    parts = list(items)
    count = len(parts) // 2 if kind == b"%" else len(parts)
    return b"%b%d\r\n%b" % (kind, count, b"".join(parts))


def concatenate(replies: Sequence[bytes]) -> bytes:
    """The elements of all arrays (sets, maps) in one of the same kind (KEYS). O(bytes)."""
    error = first_error(replies)
    if error is not None:
        return error
    full = [reply for reply in replies if not is_null(reply)]
    if not full:
        return replies[0]
    kind = full[0][:1]
    if any(reply[:1] != kind for reply in full):
        raise ReplyError("aggregates of different kinds")
    return array((item for reply in full for item in _elements(reply)), kind)


def interleave(replies: Sequence[bytes], positions: Sequence[Sequence[int]]) -> bytes:
    """The elements of all arrays at their original positions (MGET). O(bytes).

    `positions[i]` are where the elements of `replies[i]` belong; together they are 0 to n - 1.
    """
    error = first_error(replies)
    if error is not None:
        return error
    items: list[bytes | None] = [None] * sum(len(places) for places in positions)
    for reply, places in zip(replies, positions, strict=True):
        found = _elements(reply)
        if len(found) != len(places):
            raise ReplyError(f"{len(found)} elements for {len(places)} positions")
        for place, item in zip(places, found, strict=True):
            items[place] = item
    complete = [item for item in items if item is not None]
    if len(complete) != len(items):
        raise ReplyError("a position without an element")
    return array(complete)


def random_key(replies: Sequence[bytes], sizes: Sequence[int], random: Random) -> bytes:
    """One shard's key, each shard by its share of the keys (RANDOMKEY); null when none has one.

    A shard whose last keys expired meanwhile answers null and is left out, whatever its size.
    """
    error = first_error(replies)
    if error is not None:
        return error
    candidates = [
        (reply, max(size, 1))
        for reply, size in zip(replies, sizes, strict=True)
        if not is_null(reply)
    ]
    if not candidates:
        return replies[0]
    keys, weights = zip(*candidates, strict=True)
    chosen: bytes = random.choices(keys, weights)[0]
    return chosen


def _elements(reply: bytes) -> list[bytes]:
    found = elements(reply)
    if found is None:
        raise ReplyError("a null instead of an array")
    return found
