"""Grammar of the set commands.

What is popped by chance differs between the servers, so it is popped where only the number of
members shows afterwards: from keys of its own, whose members are new each time. From the others
all is popped, or nothing.
"""

from __future__ import annotations

from tests.differential.families.generic import PATTERNS
from tests.differential.families.strings import optional
from tests.differential.grammar import INTEGERS, MIXED_KEYS, Args, Draw, Family

SETS = Family("sets", weight=2.6)
KEYS = [b"s", b"s1", b"s2", b"s3", b"{x}s", b"{x}s2"]
STORED_SETS = [b"d", b"d1", b"d2"]
POPPED_KEYS = [b"pop:i", b"pop:l", b"pop:h"]
ALL = b"100000"  # more members than any set here has; as grammar.is_unfit knows
MEMBERS = [
    *(b"a", b"b", b"c", b"d", b"e", b"f", b"0", b"1", b"2", b"3", b"4", b"5", b"-1", b"70000"),
    *(b"007", b"+1", b"-0", b"", b"\x00\xff\r\n", b"m" * 64, b"m" * 65, b"*", b"[a]", b"1.5"),
    b"9223372036854775808",
]
# What decides the encoding, and small enough that a few members exceed it. Only the first of them
# is known to Redis 7.0.
SET_LIMITS = {
    b"set-max-intset-entries": [b"512", b"512", b"0", b"1", b"3", b"8"],
    b"set-max-listpack-entries": [b"128", b"128", b"0", b"1", b"3", b"8"],
    b"set-max-listpack-value": [b"64", b"64", b"0", b"1", b"2", b"8", b"100000"],
}
LIMITS_SINCE_72 = [b"set-max-listpack-entries", b"set-max-listpack-value"]


def any_key(draw: Draw) -> bytes:
    """A key that holds a set, nothing, or sometimes a string."""
    return draw.choice(KEYS) if draw.chance(0.9) else draw.key()


def sources(draw: Draw) -> Args:
    """Sets; the same ones again, missing ones and strings are wanted."""
    kinds = [*KEYS, *STORED_SETS]
    if draw.chance(0.1):
        kinds += [draw.key(), draw.choice(MIXED_KEYS)]
    return [draw.choice(kinds) for _ in range(draw.choice([1, 2, 2, 3, 4]))]


def member(draw: Draw) -> bytes:
    kind = draw.random()
    if kind < 0.7:
        return draw.choice(MEMBERS)
    return draw.choice(INTEGERS) if kind < 0.92 else draw.value()


def members(draw: Draw, most: int) -> Args:
    kind = draw.random()
    count = draw.randint(1, most)
    if kind < 0.35:
        return [b"%d" % draw.randint(-2, 12) for _ in range(count)]
    if kind < 0.4:
        return [draw.choice(INTEGERS) for _ in range(count)]
    return [member(draw) for _ in range(count)]


@SETS.command(weight=5)
def add(draw: Draw) -> list[Args]:
    return [[b"SADD", draw.choice(KEYS), *members(draw, draw.choice([1, 3, 9]))]]


@SETS.command(weight=0.5)
def add_many(draw: Draw) -> list[Args]:
    """About as many as a listpack or an intset may have, or more than one bucket of a table."""
    key = draw.choice(KEYS)
    count = draw.choice([7, 8, 9, 30, 127, 128, 129, 511, 512, 513, 700])
    start = draw.choice([0, 0, 500, 40_000])
    form = draw.choice([b"%d", b"%d", b"n%d"])
    names = [form % i for i in range(start, start + count)]
    commands = [[b"SADD", key, *names], [b"OBJECT", b"ENCODING", key]]
    if draw.chance(0.5):
        commands = [[b"SADD", key, name] for name in names[:140]] + commands[1:]
    if draw.chance(0.5):
        commands += [[b"SREM", key, *names[:: draw.choice([2, 4, 6])]], [b"SCARD", key]]
    return commands


@SETS.command(weight=2.5)
def remove(draw: Draw) -> list[Args]:
    key = draw.choice(KEYS)
    return [[b"SREM", key, *members(draw, draw.choice([2, 4, 30]))], [b"EXISTS", key]]


@SETS.command(weight=2)
def has(draw: Draw) -> list[Args]:
    return [[b"SISMEMBER", any_key(draw), member(draw)]]


@SETS.command(weight=1.5)
def has_many(draw: Draw) -> list[Args]:
    return [[b"SMISMEMBER", any_key(draw), *members(draw, 6)]]


@SETS.command(weight=3)
def whole(draw: Draw) -> list[Args]:
    return [[draw.choice([b"SMEMBERS", b"SMEMBERS", b"SCARD"]), any_key(draw)]]


@SETS.command(weight=1.5)
def move(draw: Draw) -> list[Args]:
    source, target = any_key(draw), any_key(draw)
    return [[b"SMOVE", source, target, member(draw)], [b"EXISTS", source], [b"SCARD", target]]


@SETS.command(weight=4)
def combine(draw: Draw) -> list[Args]:
    return [[draw.choice([b"SINTER", b"SUNION", b"SDIFF"]), *sources(draw)]]


@SETS.command(weight=3)
def combine_and_store(draw: Draw) -> list[Args]:
    """The encoding is looked at where it doesn't depend on the order of a hash table.

    Under a low limit for intsets it does: integers before the first other member exceed it.
    """
    name = draw.choice([b"SINTERSTORE", b"SUNIONSTORE", b"SDIFFSTORE"])
    target = draw.choice(STORED_SETS)
    reset = [b"CONFIG", b"SET", b"set-max-intset-entries", b"512"]
    if draw.chance(0.3):
        return [[name, target, *sources(draw)], [b"SMEMBERS", target]]
    return [
        reset,
        reset,
        [name, target, *sources(draw)],
        [b"OBJECT", b"ENCODING", target],
        [b"SMEMBERS", target],
    ]


@SETS.command(weight=1.5)
def count_common(draw: Draw) -> list[Args]:
    keys = sources(draw)
    count = b"%d" % len(keys)
    if draw.chance(0.1):
        count = draw.choice([b"0", b"-1", b"9", b"x", b"", b"9223372036854775808", b"1"])
    limit = draw.choice([b"0", b"1", b"3", b"100", b"-1", b"x", b"9223372036854775808"])
    options = optional(draw, [b"LIMIT", limit], *([[b"bad"]] if draw.chance(0.1) else []))
    return [[b"SINTERCARD", count, *keys, *options]]


@SETS.command(weight=2)
def pop(draw: Draw) -> list[Args]:
    """By chance, from members that nobody has seen."""
    key = draw.choice(POPPED_KEYS)
    count = {b"pop:i": 40, b"pop:l": 60, b"pop:h": 300}[key]
    names = [b"%d" % draw.randrange(-(1 << 62), 1 << 62) for _ in range(draw.randint(1, count))]
    if key != b"pop:i":
        names = [b"n" + name for name in names]
    size = len(names)
    some = draw.choice([1, 2, size // 2, size * 4 // 5, size * 5 // 6, size - 1, size, size + 1])
    counts = [] if draw.chance(0.3) else [b"%d" % max(some, 0)]
    return [
        [b"DEL", key],
        [b"SADD", key, *names],
        [b"SPOP", key, *counts],
        [b"SCARD", key],
        [b"OBJECT", b"ENCODING", key],
    ]


@SETS.command()
def pop_all(draw: Draw) -> list[Args]:
    key = any_key(draw)
    count = draw.choice([ALL, b"9223372036854775807", b"0", b"-1", b"x", b"9223372036854775808"])
    return [[b"SPOP", key, count], [b"EXISTS", key]]


@SETS.command(weight=1.5)
def random_member(draw: Draw) -> list[Args]:
    counts = []
    if draw.chance(0.8):
        counts = [b"%d" % draw.choice([0, 1, 2, 3, 10, 200, 600, -1, -2, -3, -20])]
        if draw.chance(0.15):
            counts = [draw.choice([b"-9223372036854775808", b"9223372036854775807", b"x", b""])]
    return [[b"SRANDMEMBER", any_key(draw), *counts]]


@SETS.command(weight=1.5)
def scan(draw: Draw) -> list[Args]:
    odd = [b"5", b"17", b"abc", b"-1", b"", b"99999999999999999999", b"18446744073709551615"]
    cursor = b"0" if draw.chance(0.8) else draw.choice(odd)
    options = optional(
        draw,
        [b"MATCH", draw.choice([*PATTERNS, b"m*", b"n*", b"n?1*", b"[0-9]"])],
        [b"COUNT", draw.choice([b"1", b"3", b"10", b"100", b"1000", b"0", b"-1", b"abc"])],
        *([[b"TYPE", b"set"]] if draw.chance(0.05) else []),
        *([[b"bad"]] if draw.chance(0.05) else []),
    )
    return [[b"SSCAN", any_key(draw), cursor, *options]]


@SETS.command(weight=1.5)
def encoding(draw: Draw) -> list[Args]:
    return [[b"OBJECT", b"ENCODING", draw.choice(KEYS)]]


@SETS.command(weight=0.7)
def limits(draw: Draw) -> list[Args]:
    name = draw.choice(list(SET_LIMITS))
    return [[b"CONFIG", b"SET", name, draw.choice(SET_LIMITS[name])]]


@SETS.command()
def other_use(draw: Draw) -> list[Args]:
    """What makes a set's key something else, or something else of it."""
    key = draw.choice(KEYS)
    pair = [any_key(draw), any_key(draw)]
    return draw.choice(
        [
            [[b"SET", key, draw.value()]],
            [[draw.choice([b"GET", b"INCR", b"STRLEN", b"GETDEL"]), key]],
            [[b"DEL", key]],
            [[b"UNLINK", key]],
            [[b"TYPE", key]],
            [[b"PERSIST", key]],
            [[b"EXPIREAT", key, b"4102444800"], [b"EXPIRETIME", key]],
            [[draw.choice([b"RENAME", b"RENAMENX", b"COPY"]), *pair], [b"SMEMBERS", pair[1]]],
            [[b"COPY", *pair, b"REPLACE"], [b"OBJECT", b"ENCODING", pair[1]]],
            [[b"MOVE", key, b"1"]],
        ]
    )
