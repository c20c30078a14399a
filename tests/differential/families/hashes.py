"""Grammar of the hash commands."""

from __future__ import annotations

from tests.differential.families.generic import PATTERNS
from tests.differential.families.strings import optional
from tests.differential.grammar import Args, Draw, Family

HASHES = Family("hashes", weight=4.0)
KEYS = [b"h", b"h1", b"h2", b"{x}h", b"{x}h2"]
FIELDS = [
    *(b"f1", b"f2", b"f3", b"f4", b"f5", b"f6", b"10", b"-1", b"007", b"9223372036854775807"),
    *(b"", b"\x00\xff\r\n", b"f" * 64, b"f" * 65, b"*", b"9223372036854775808"),
]
# What decides the encoding, and small enough that a few fields exceed it.
LIMITS = {
    b"hash-max-listpack-entries": [b"512", b"512", b"0", b"1", b"3", b"8"],
    b"hash-max-listpack-value": [b"64", b"64", b"0", b"2", b"8", b"20", b"100000"],
}


def hash_key(draw: Draw) -> bytes:
    """A key that holds a hash, nothing, or sometimes a string."""
    return draw.choice(KEYS)


def any_key(draw: Draw) -> bytes:
    return hash_key(draw) if draw.chance(0.9) else draw.key()


def field(draw: Draw) -> bytes:
    return draw.choice(FIELDS) if draw.chance(0.9) else draw.value()


def fields(draw: Draw, most: int) -> Args:
    return [field(draw) for _ in range(draw.randint(1, most))]


@HASHES.command(weight=4)
def set_fields(draw: Draw) -> list[Args]:
    name = draw.choice([b"HSET", b"HSET", b"HMSET"])
    some = fields(draw, 4)
    if draw.chance(0.05):
        some = some[:1] * draw.choice([2, 4, 9])
    pairs = [word for one in some for word in (one, draw.value())]
    return [[name, hash_key(draw), *pairs]]


@HASHES.command(weight=0.3)
def set_many(draw: Draw) -> list[Args]:
    """About as many as a listpack may have, or more than one bucket of a table."""
    key = hash_key(draw)
    count = draw.choice([7, 8, 9, 30, 511, 512, 513, 700])
    start = draw.choice([0, 0, 500])
    pairs = [word for i in range(start, start + count) for word in (b"n%d" % i, b"%d" % (i * 7))]
    commands = [[b"HSET", key, *pairs], [b"OBJECT", b"ENCODING", key], [b"HLEN", key]]
    if draw.chance(0.5):
        commands.append([b"HDEL", key, *pairs[:: draw.choice([2, 4, 6])]])
    return commands


@HASHES.command()
def set_missing(draw: Draw) -> list[Args]:
    return [[b"HSETNX", hash_key(draw), field(draw), draw.value()]]


@HASHES.command(weight=3)
def get(draw: Draw) -> list[Args]:
    name = draw.choice([b"HGET", b"HGET", b"HEXISTS", b"HSTRLEN"])
    return [[name, any_key(draw), field(draw)]]


@HASHES.command(weight=2)
def many_get(draw: Draw) -> list[Args]:
    return [[b"HMGET", any_key(draw), *fields(draw, 6)]]


@HASHES.command(weight=3)
def whole(draw: Draw) -> list[Args]:
    return [[draw.choice([b"HGETALL", b"HGETALL", b"HKEYS", b"HVALS", b"HLEN"]), any_key(draw)]]


@HASHES.command(weight=2.5)
def delete(draw: Draw) -> list[Args]:
    key = hash_key(draw)
    count = draw.choice([2, 4, 30])
    return [[b"HDEL", key, *fields(draw, count)], [b"EXISTS", key]]


@HASHES.command(weight=2)
def increment(draw: Draw) -> list[Args]:
    """Half of them on a number just set, or most replies would be errors."""
    key, one = hash_key(draw), field(draw)
    change = [b"HINCRBY", key, one, draw.integer()]
    return [change] if draw.chance(0.5) else [[b"HSET", key, one, draw.integer()], change]


@HASHES.command(weight=2)
def increment_float(draw: Draw) -> list[Args]:
    key, one = hash_key(draw), field(draw)
    change = [b"HINCRBYFLOAT", key, one, draw.float()]
    if draw.chance(0.5):
        return [change]
    return [[b"HSET", key, one, draw.float()], change, change]


@HASHES.command(weight=1.5)
def random_field(draw: Draw) -> list[Args]:
    options: Args = []
    if draw.chance(0.8):
        options = [b"%d" % draw.choice([0, 1, 2, 3, 10, 600, -1, -2, -3, -20])]
        if draw.chance(0.15):
            options = [draw.choice([b"-9223372036854775808", b"9223372036854775807", b"x", b""])]
        if draw.chance(0.5):
            options.append(draw.cased(b"WITHVALUES" if draw.chance(0.95) else b"bad"))
    return [[b"HRANDFIELD", any_key(draw), *options]]


@HASHES.command(weight=1.5)
def scan(draw: Draw) -> list[Args]:
    odd = [b"5", b"17", b"abc", b"-1", b"", b"99999999999999999999", b"18446744073709551615"]
    cursor = b"0" if draw.chance(0.8) else draw.choice(odd)
    options = optional(
        draw,
        [b"MATCH", draw.choice([*PATTERNS, b"f*", b"n*", b"n?1*"])],
        [b"COUNT", draw.choice([b"1", b"3", b"10", b"100", b"1000", b"0", b"-1", b"abc"])],
        *([[b"TYPE", b"hash"]] if draw.chance(0.05) else []),
        *([[b"bad"]] if draw.chance(0.05) else []),
    )
    return [[b"HSCAN", any_key(draw), cursor, *options]]


@HASHES.command()
def encoding(draw: Draw) -> list[Args]:
    return [[b"OBJECT", b"ENCODING", hash_key(draw)]]


@HASHES.command(weight=0.7)
def limits(draw: Draw) -> list[Args]:
    name = draw.choice(list(LIMITS))
    return [[b"CONFIG", b"SET", name, draw.choice(LIMITS[name])]]


@HASHES.command(weight=0.7)
def other_use(draw: Draw) -> list[Args]:
    """What makes a hash's key something else, or something else of it."""
    key = hash_key(draw)
    source, target = any_key(draw), any_key(draw)
    return draw.choice(
        [
            [[b"SET", key, draw.value()]],
            [[draw.choice([b"GET", b"INCR", b"STRLEN", b"GETDEL"]), key]],
            [[b"DEL", key]],
            [[b"UNLINK", key]],
            [[b"TYPE", key]],
            [[b"PERSIST", key]],
            [[b"EXPIREAT", key, b"4102444800"], [b"EXPIRETIME", key]],
            [[draw.choice([b"RENAME", b"RENAMENX", b"COPY"]), source, target]],
            [[b"COPY", source, target, b"REPLACE"], [b"HGETALL", target]],
            [[b"MOVE", key, b"1"]],
        ]
    )
