"""Grammar of the sorted set commands.

Few members, so that commands meet each other's; now and then many at once, or a long one, or a
limit of encodings that is changed, so that listpacks become skip lists. Ranges by bytes are asked
for on sorted sets of one score only: on others the answer of a skip list is a matter of chance.
"""

from __future__ import annotations

from tests.differential.families.strings import optional
from tests.differential.grammar import MIXED_KEYS, TIMEOUTS, Args, Draw, Exact, Family

ZSETS = Family("zset", weight=3.5)

KEYS = [b"z1", b"z2", b"z3", b"{x}z1", b"{x}z2", b"z\x00\xff\r\n"]
LEX_KEYS = [b"lex", b"lex1", b"{x}lex"]
SETS = [b"zs", b"zs2"]  # which ZUNION and its like read too
LONG = [b"m" * 8, b"n" * 64, b"o" * 65, b"\x00" * 63, b"p" * 300]
MEMBERS = [
    *(b"a", b"b", b"c", b"d", b"aa", b"ab", b"b\x00", b"", b"\xff", b"A", b"0", b"1", b"-1", b"10"),
    *(b"9999", b"01", b"1.5", b"-0", b"9223372036854775807", b"9223372036854775808", b"\r\n"),
]
SCORES = [
    *(b"0", b"1", b"1", b"2", b"3", b"-1", b"-5", b"10", b"1.5", b"-2.5", b"0.1", b"3.0", b"1e3"),
    *(b"1e17", b"1e20", b"1.7976931348623157e308", b"-1e308", b"5e-324", b"0.30000000000000004"),
    *(
        b"4611686018427387904",
        b"9007199254740993",
        b"123456789012345678",
        b"3.14159265358979323846",
    ),
    *(b"inf", b"-inf", b"+inf", b"Infinity", b"0x10", b".5", b"7.", b"-0", b"1e-7", b"-0.000001"),
]
BAD_SCORES = [b"nan", b"-nan", b"abc", b"", b" 1", b"1 ", b"1e400", b"--1", b"1_0", b"1\x00"]
SCORE_ENDS = [
    *(b"-inf", b"+inf", b"0", b"(0", b"1", b"(1", b"2", b"(2", b"3", b"1.5", b"(-inf", b"(+inf"),
    *(b"-5", b"(10", b"1e20", b"0.1", b"(0.1"),
]
BAD_SCORE_ENDS = [b"", b"(", b"nan", b"(nan", b"abc", b"[1", b"1x", b" 1", b"1\x00x", b"((1", b"-"]
LEX_ENDS = [b"-", b"+", b"[a", b"(a", b"[b", b"(b", b"[", b"(", b"[aa", b"[c", b"(\xff", b"[1"]
BAD_LEX_ENDS = [b"", b"a", b"--", b"++", b"1", b"-\x00", b"+x"]
# The first value is Redis's default, which the machine restores after each case.
ZSET_DIRECTIVES: dict[bytes, list[bytes]] = {
    b"zset-max-listpack-entries": [b"128", b"128", b"5", b"3", b"0"],
    b"zset-max-listpack-value": [b"64", b"64", b"2"],
}
WIDE_COUNT = 140  # more than a listpack takes


def key(draw: Draw) -> bytes:
    if draw.chance(0.05):
        return draw.key()
    return draw.choice(KEYS if draw.chance(0.85) else LEX_KEYS)


def keys(draw: Draw, most: int = 4) -> Args:
    """Sources; the same ones again, missing ones and sets are wanted."""
    kinds = [*KEYS, *LEX_KEYS, *SETS, b"none", draw.key(), draw.choice(MIXED_KEYS)]
    if draw.chance(0.4):
        kinds = [b"{x}z1", b"{x}z2", b"{x}lex", b"{x}none"]
    return [draw.choice(kinds) for _ in range(draw.randint(1, most))]


def numbered(draw: Draw, names: Args) -> Args:
    """Keys after their number, which is sometimes wrong."""
    if draw.chance(0.93):
        return [b"%d" % len(names), *names]
    wrong = [b"0", b"-1", b"%d" % (len(names) + 1), b"abc", b"", b"9223372036854775807", b"1.0"]
    return [draw.choice(wrong), *names]


def member(draw: Draw) -> bytes:
    if draw.chance(0.03):
        return draw.choice(LONG)
    return draw.choice(MEMBERS)


def score(draw: Draw) -> bytes:
    if draw.chance(0.04):
        return draw.choice(BAD_SCORES)
    return draw.choice(SCORES)


def score_end(draw: Draw) -> bytes:
    return draw.choice(SCORE_ENDS if draw.chance(0.93) else BAD_SCORE_ENDS)


def lex_end(draw: Draw) -> bytes:
    return draw.choice(LEX_ENDS if draw.chance(0.93) else BAD_LEX_ENDS)


def limit(draw: Draw) -> Args:
    return [b"LIMIT", draw.small(), draw.small()]


def encoding(name: bytes) -> Args:
    return [b"OBJECT", b"ENCODING", name]


@ZSETS.command(weight=7)
def add(draw: Draw) -> list[Args]:
    name = draw.choice(KEYS)
    options = optional(draw, [b"NX"], [b"XX"], [b"GT"], [b"LT"], [b"CH"], [b"INCR"], chance=0.13)
    count = 1 if b"INCR" in [option.upper() for option in options] else draw.randint(1, 6)
    if draw.chance(0.03):
        count += 1
    pairs = [word for _ in range(count) for word in (score(draw), member(draw))]
    return [[b"ZADD", name, *options, *pairs], encoding(name)]


@ZSETS.command(weight=2)
def add_alike(draw: Draw) -> list[Args]:
    """Members of one score, for ranges by bytes."""
    name = draw.choice(LEX_KEYS)
    pairs = [word for _ in range(draw.randint(1, 8)) for word in (b"7", member(draw))]
    return [Exact([b"ZADD", name, *pairs]), encoding(name)]


@ZSETS.command(weight=0.3)
def add_many(draw: Draw) -> list[Args]:
    name = draw.choice(KEYS)
    first = draw.randint(0, 300)
    count = draw.choice([100, 127, 128, 129, WIDE_COUNT])
    pairs = [
        word for i in range(count) for word in (b"%d" % (i % 50), b"%s%d" % (b"m:", first + i))
    ]
    return [[b"ZADD", name, *pairs], encoding(name), [b"ZCARD", name]]


@ZSETS.command(weight=0.3)
def limits_of_encoding(draw: Draw) -> list[Args]:
    directive = draw.choice(list(ZSET_DIRECTIVES))
    return [[b"CONFIG", b"SET", directive, draw.choice(ZSET_DIRECTIVES[directive])]]


@ZSETS.command(weight=2)
def increment(draw: Draw) -> list[Args]:
    return [[b"ZINCRBY", draw.choice(KEYS), score(draw), member(draw)]]


@ZSETS.command(weight=2)
def look(draw: Draw) -> list[Args]:
    name = key(draw)
    return [
        draw.choice(
            [
                [b"ZCARD", name],
                [b"ZSCORE", name, member(draw)],
                [b"ZMSCORE", name, *(member(draw) for _ in range(draw.randint(1, 4)))],
                [b"TYPE", name],
                encoding(name),
            ]
        )
    ]


@ZSETS.command(weight=2)
def rank(draw: Draw) -> list[Args]:
    command = [draw.choice([b"ZRANK", b"ZREVRANK"]), key(draw), member(draw)]
    if draw.chance(0.3):
        command.append(draw.choice([b"WITHSCORE", b"withscore", b"WITHSCORES", b"x"]))
    return [command]


@ZSETS.command(weight=2)
def count(draw: Draw) -> list[Args]:
    if draw.chance(0.6):
        return [[b"ZCOUNT", key(draw), score_end(draw), score_end(draw)]]
    return [[b"ZLEXCOUNT", draw.choice(LEX_KEYS), lex_end(draw), lex_end(draw)]]


@ZSETS.command(weight=4)
def range_by_rank(draw: Draw) -> list[Args]:
    command = [draw.choice([b"ZRANGE", b"ZRANGE", b"ZREVRANGE"]), key(draw)]
    ends = [b"0", b"-1"] if draw.chance(0.5) else [draw.small(), draw.small()]
    options = optional(draw, [b"WITHSCORES"], [b"REV"], chance=0.4)
    if draw.chance(0.1):
        options += draw.choice([[b"BYLEX"], limit(draw), [b"LIMIT", b"0", b"-1"], [b"bad"]])
    return [[*command, *ends, *options]]


@ZSETS.command(weight=4)
def range_by_score(draw: Draw) -> list[Args]:
    options = optional(draw, [b"WITHSCORES"], limit(draw), chance=0.4)
    ends = [score_end(draw), score_end(draw)]
    if draw.chance(0.5):
        if draw.chance(0.3):
            options.append(b"REV")
        return [[b"ZRANGE", key(draw), *ends, b"BYSCORE", *options]]
    return [[draw.choice([b"ZRANGEBYSCORE", b"ZREVRANGEBYSCORE"]), key(draw), *ends, *options]]


@ZSETS.command(weight=2)
def range_by_lex(draw: Draw) -> list[Args]:
    options = optional(draw, limit(draw), chance=0.4)
    if draw.chance(0.05):
        options.append(b"WITHSCORES")
    ends = [lex_end(draw), lex_end(draw)]
    if draw.chance(0.5):
        if draw.chance(0.3):
            options.append(b"REV")
        return [[b"ZRANGE", draw.choice(LEX_KEYS), *ends, b"BYLEX", *options]]
    name = draw.choice([b"ZRANGEBYLEX", b"ZREVRANGEBYLEX"])
    return [[name, draw.choice(LEX_KEYS), *ends, *options]]


@ZSETS.command(weight=1.5)
def range_store(draw: Draw) -> list[Args]:
    target, source = draw.choice(KEYS), key(draw)
    if draw.chance(0.4):
        options = optional(draw, [b"REV"], chance=0.4)
        command = [b"ZRANGESTORE", target, source, draw.small(), draw.small(), *options]
    else:
        options = optional(draw, [b"REV"], limit(draw), chance=0.3)
        ends = [score_end(draw), score_end(draw)]
        command = [b"ZRANGESTORE", target, source, *ends, b"BYSCORE", *options]
    return [command, encoding(target), [b"ZRANGE", target, b"0", b"-1", b"WITHSCORES"]]


@ZSETS.command(weight=2)
def remove(draw: Draw) -> list[Args]:
    name = key(draw)
    return [[b"ZREM", name, *(member(draw) for _ in range(draw.randint(1, 4)))], [b"EXISTS", name]]


@ZSETS.command(weight=1.5)
def remove_range(draw: Draw) -> list[Args]:
    name = key(draw)
    kind = draw.random()
    if kind < 0.4:
        command = [b"ZREMRANGEBYRANK", name, draw.small(), draw.small()]
    elif kind < 0.75:
        command = [b"ZREMRANGEBYSCORE", name, score_end(draw), score_end(draw)]
    else:
        name = draw.choice(LEX_KEYS)
        command = [b"ZREMRANGEBYLEX", name, lex_end(draw), lex_end(draw)]
    return [command, [b"ZRANGE", name, b"0", b"-1"]]


@ZSETS.command(weight=2)
def pop(draw: Draw) -> list[Args]:
    command = [draw.choice([b"ZPOPMIN", b"ZPOPMAX"]), key(draw)]
    if draw.chance(0.5):
        command.append(draw.small())
    return [command]


@ZSETS.command(weight=1)
def pop_of_several(draw: Draw) -> list[Args]:
    names = keys(draw, 3)
    where = draw.choice([b"MIN", b"MAX", b"min", b"mid"])
    options = optional(draw, [b"COUNT", draw.small()], chance=0.5)
    return [[b"ZMPOP", *numbered(draw, names), where, *options]]


@ZSETS.command(weight=1)
def pop_without_waiting(draw: Draw) -> list[Args]:
    """Of a key that has members, or with a moment's wait, or a timeout that is refused."""
    name = draw.choice([b"full", b"{x}full"])
    fill = [b"ZADD", name, b"1", b"a", b"2", b"b"]
    timeout = draw.choice([b"0.001", *TIMEOUTS])
    if draw.chance(0.6):
        pop_name = draw.choice([b"BZPOPMIN", b"BZPOPMAX"])
        return [fill, [pop_name, b"none", name, timeout]]
    options = optional(draw, [b"COUNT", draw.small()], chance=0.5)
    where = draw.choice([b"MIN", b"MAX"])
    return [fill, [b"BZMPOP", timeout, b"2", b"none", name, where, *options]]


@ZSETS.command(weight=1)
def random_member(draw: Draw) -> list[Args]:
    command = [b"ZRANDMEMBER", key(draw)]
    if draw.chance(0.8):
        command.append(
            draw.choice(
                [b"%d" % draw.randint(-9, 12), b"-9223372036854775808", b"abc", b"", b"200"]
            )
        )
        if draw.chance(0.4):
            command.append(draw.choice([b"WITHSCORES", b"withscores", b"x"]))
    return [command]


@ZSETS.command(weight=1)
def scan(draw: Draw) -> list[Args]:
    options = optional(
        draw, [b"COUNT", b"100000"], [b"MATCH", draw.choice([b"*", b"m*", b"[a-c]"])], chance=0.5
    )
    if draw.chance(0.1):
        options += draw.choice([[b"COUNT", b"0"], [b"COUNT", b"x"], [b"TYPE", b"zset"], [b"MATCH"]])
    if b"COUNT" not in [option.upper() for option in options]:
        options += [b"COUNT", b"100000"]
    return [[b"ZSCAN", key(draw), draw.choice([b"0", b"0", b"0", b"x", b"", b"-1"]), *options]]


def combining(draw: Draw, operands: Args, shows: bool) -> Args:
    options: Args = []
    if draw.chance(0.35):
        weights = [score(draw) for _ in operands]
        if draw.chance(0.05):
            weights.append(b"1")
        options += [b"WEIGHTS", *weights]
    options += optional(
        draw, [b"AGGREGATE", draw.choice([b"SUM", b"MIN", b"MAX", b"min", b"avg"])], chance=0.4
    )
    if shows and draw.chance(0.6):
        options.append(b"WITHSCORES")
    return options


@ZSETS.command(weight=3)
def combine(draw: Draw) -> list[Args]:
    operands = keys(draw, 3)
    name = draw.choice([b"ZUNION", b"ZINTER", b"ZDIFF", b"ZINTERCARD"])
    if name == b"ZINTERCARD":
        options = optional(draw, [b"LIMIT", draw.small()], chance=0.5)
    elif name == b"ZDIFF":
        options = optional(draw, [b"WITHSCORES"], chance=0.6)
    else:
        options = combining(draw, operands, shows=True)
    return [[name, *numbered(draw, operands), *options]]


@ZSETS.command(weight=2)
def combine_and_store(draw: Draw) -> list[Args]:
    operands = keys(draw, 3)
    target = draw.choice(KEYS)
    name = draw.choice([b"ZUNIONSTORE", b"ZINTERSTORE", b"ZDIFFSTORE"])
    options = [] if name == b"ZDIFFSTORE" else combining(draw, operands, shows=False)
    return [
        [name, target, *numbered(draw, operands), *options],
        encoding(target),
        [b"ZRANGE", target, b"0", b"-1", b"WITHSCORES"],
    ]


@ZSETS.command(weight=0.5)
def other_types(draw: Draw) -> list[Args]:
    name = draw.choice([*KEYS, b"{x}lex"])
    if draw.chance(0.5):
        words = [draw.choice(MEMBERS) for _ in range(draw.randint(1, 5))]
        return [[b"SADD", draw.choice([draw.choice(KEYS), *SETS]), *words]]
    return [draw.choice([[b"SET", name, b"v"], [b"DEL", name], [b"PEXPIRE", name, b"100000000"]])]
