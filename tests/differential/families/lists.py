"""Grammar of the list commands.

Limits are made tiny in places, so that listpacks become quicklists, and nodes split and merge, in
small lists; OBJECT ENCODING and DEBUG OBJECT show whether both servers did so alike.

Whatever would wait in Redis is given a timeout of a millisecond, which ends it in the same reply.
"""

from __future__ import annotations

from tests.differential.families.strings import optional
from tests.differential.grammar import (
    MIXED_KEYS,
    TIMEOUTS,
    VALUES,
    Args,
    Draw,
    Family,
    is_beyond_int,
)

LISTS = Family("lists", weight=4.7)
KEYS = [b"l1", b"l3", b"{l}1", b"{l}2"]
BINARY_KEYS = [b"{l}", b"l\x00\xff\r\n", b"{l} "]
SHORT = [b"a", b"b", b"c", b"0", b"1", b"-1", b"127", b"128", b"4095", b"-4097", b"", b"aa", b"01"]
# The first value is the default, which the machine restores after each case.
LIST_DIRECTIVES: dict[bytes, list[bytes]] = {
    b"list-max-listpack-size": [b"-2", b"1", b"2", b"4", b"5", b"-1", b"-5", b"0", b"100"],
    b"list-compress-depth": [b"0", b"1", b"2"],
}
THRESHOLDS = [b"0", b"1b", b"12b", b"1kb", b"100", b"4gb", b"abc", b"-1", b"", b"1mb", b"5gb"]


def list_key(draw: Draw) -> bytes:
    if draw.chance(0.03):
        return draw.choice(MIXED_KEYS)
    return draw.choice(KEYS if draw.chance(0.92) else BINARY_KEYS)


def list_keys(draw: Draw, most: int = 4) -> Args:
    return [list_key(draw) for _ in range(draw.randint(1, most))]


def element(draw: Draw) -> bytes:
    kind = draw.random()
    if kind < 0.75:
        return draw.choice(SHORT)
    if kind < 0.85:
        return draw.choice(VALUES)
    return draw.value()


def side(draw: Draw) -> bytes:
    return draw.cased(draw.choice([b"LEFT", b"RIGHT"])) if draw.chance(0.95) else b"MIDDLE"


def count(draw: Draw) -> bytes:
    return draw.choice([b"0", b"1", b"1", b"2", b"3", b"10"]) if draw.chance(0.8) else draw.small()


def shown(key: bytes) -> list[Args]:
    """What tells of a list all that replies can."""
    return [[b"LRANGE", key, b"0", b"-1"], [b"OBJECT", b"ENCODING", key]]


@LISTS.command(weight=6)
def push(draw: Draw) -> list[Args]:
    name = draw.choice([b"LPUSH", b"RPUSH", b"RPUSH", b"LPUSHX", b"RPUSHX"])
    most = draw.choice([1, 1, 3, 8, 30])
    return [[name, list_key(draw), *(element(draw) for _ in range(draw.randint(1, most)))]]


@LISTS.command(weight=0.5)
def push_many(draw: Draw) -> list[Args]:
    """A list of many nodes even under the usual limits."""
    size = draw.choice([3, 40, 300, 3000])
    values = [b"%d:" % number + bytes([97 + number % 3]) * size for number in range(40)]
    key = list_key(draw)
    return [[b"DEL", key], [b"RPUSH", key, *values], [b"DEBUG", b"OBJECT", key]]


@LISTS.command(weight=4)
def pop(draw: Draw) -> list[Args]:
    args = [draw.choice([b"LPOP", b"RPOP"]), list_key(draw)]
    if draw.chance(0.5):
        args.append(count(draw))
    return [args]


@LISTS.command(weight=3)
def read(draw: Draw) -> list[Args]:
    key = list_key(draw)
    kind = draw.randrange(3)
    if kind == 0:
        return [[b"LLEN", key]]
    if kind == 1:
        return [[b"LINDEX", key, draw.small()]]
    return [[b"LRANGE", key, draw.small(), draw.small()]]


@LISTS.command(weight=2)
def show(draw: Draw) -> list[Args]:
    return shown(list_key(draw))


@LISTS.command(weight=2)
def describe(draw: Draw) -> list[Args]:
    return [[b"DEBUG", b"OBJECT", list_key(draw)]]


@LISTS.command(weight=3)
def replace(draw: Draw) -> list[Args]:
    index = draw.small()
    if is_beyond_int(index):
        index = b"-1"
    return [[b"LSET", list_key(draw), index, element(draw)]]


@LISTS.command(weight=3)
def insert(draw: Draw) -> list[Args]:
    where = draw.choice([b"BEFORE", b"AFTER"]) if draw.chance(0.95) else b"INSIDE"
    return [[b"LINSERT", list_key(draw), draw.cased(where), element(draw), element(draw)]]


@LISTS.command(weight=2)
def remove(draw: Draw) -> list[Args]:
    return [[b"LREM", list_key(draw), draw.small(), element(draw)]]


@LISTS.command(weight=1.5)
def trim(draw: Draw) -> list[Args]:
    return [[b"LTRIM", list_key(draw), draw.small(), draw.small()]]


@LISTS.command(weight=2)
def positions(draw: Draw) -> list[Args]:
    options = optional(
        draw,
        [b"RANK", draw.small()],
        [b"COUNT", count(draw)],
        [b"MAXLEN", count(draw)],
        [b"bad"] if draw.chance(0.2) else [b"COUNT", b"0"],
        chance=0.35,
    )
    return [[b"LPOS", list_key(draw), element(draw), *options]]


@LISTS.command(weight=2)
def move(draw: Draw) -> list[Args]:
    source, target = list_key(draw), list_key(draw)
    kind = draw.randrange(4)
    if kind == 0:
        return [[b"RPOPLPUSH", source, target]]
    if kind == 1:
        return [[b"BRPOPLPUSH", source, target, draw.choice(TIMEOUTS)]]
    if kind == 2:
        return [[b"BLMOVE", source, target, side(draw), side(draw), draw.choice(TIMEOUTS)]]
    return [[b"LMOVE", source, target, side(draw), side(draw)]]


@LISTS.command(weight=1.5)
def pop_of_many(draw: Draw) -> list[Args]:
    keys = list_keys(draw)
    number = b"%d" % len(keys) if draw.chance(0.9) else draw.choice([b"0", b"-1", b"abc", b"9"])
    rest = [number, *keys, side(draw), *optional(draw, [b"COUNT", count(draw)], chance=0.4)]
    if draw.chance(0.03):
        rest += [b"COUNT", b"1"]
    if draw.chance(0.5):
        return [[b"LMPOP", *rest]]
    return [[b"BLMPOP", draw.choice(TIMEOUTS), *rest]]


@LISTS.command(weight=1.5)
def blocking_pop(draw: Draw) -> list[Args]:
    return [[draw.choice([b"BLPOP", b"BRPOP"]), *list_keys(draw), draw.choice(TIMEOUTS)]]


@LISTS.command(weight=1.5)
def limits(draw: Draw) -> list[Args]:
    name = draw.choice(list(LIST_DIRECTIVES))
    return [[b"CONFIG", b"SET", name, draw.choice(LIST_DIRECTIVES[name])]]


@LISTS.command(weight=0.5)
def packed_threshold(draw: Draw) -> list[Args]:
    return [[b"DEBUG", draw.cased(b"QUICKLIST-PACKED-THRESHOLD"), draw.choice(THRESHOLDS)]]


@LISTS.command(weight=0.3)
def structure(draw: Draw) -> list[Args]:
    name = draw.choice([b"LISTPACK", b"QUICKLIST"])
    return [[b"DEBUG", draw.cased(name), list_key(draw)]]


@LISTS.command(weight=1.5)
def whole_key(draw: Draw) -> list[Args]:
    key = list_key(draw)
    return draw.choice(
        [
            [[b"DEL", key]],
            [[b"SET", key, element(draw)]],
            [[b"GET", key]],
            [[b"TYPE", key]],
            [[b"COPY", key, list_key(draw), b"REPLACE"]],
            [[b"RENAME", key, list_key(draw)]],
            [[b"EXPIRE", key, b"100000"]],
            [[b"TTL", key]],
            [[b"EXISTS", *KEYS]],
        ]
    )
