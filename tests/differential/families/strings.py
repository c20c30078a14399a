"""Grammar of the string commands."""

from __future__ import annotations

from tests.differential.grammar import Args, Draw, Family

STRINGS = Family("strings", weight=4.0)


def optional(draw: Draw, *options: Args, chance: float = 0.3) -> Args:
    """Some of the options, in any order, words in any case."""
    chosen = [option for option in options if draw.chance(chance)]
    draw.shuffle(chosen)
    return [
        draw.cased(option[0]) if i == 0 else word
        for option in chosen
        for i, word in enumerate(option)
    ]


def looked_at(args: Args, key: bytes) -> list[Args]:
    """The command, and a look at its key: one that is already expired is gone for sure then."""
    return [args, [b"EXISTS", key]]


@STRINGS.command(weight=4)
def set_value(draw: Draw) -> list[Args]:
    key = draw.key()
    args = [b"SET", key, draw.value()]
    if draw.chance(0.4):
        return [args]
    args += optional(
        draw, [b"NX"], [b"XX"], [b"GET"], draw.expiry_option(), [b"KEEPTTL"], [b"bad"], chance=0.22
    )
    return looked_at(args, key)


@STRINGS.command(weight=3)
def get(draw: Draw) -> list[Args]:
    return [[draw.choice([b"GET", b"GET", b"STRLEN", b"GETDEL"]), draw.key()]]


@STRINGS.command()
def getset(draw: Draw) -> list[Args]:
    return [[draw.choice([b"GETSET", b"SETNX"]), draw.key(), draw.value()]]


@STRINGS.command(weight=1.5)
def getex(draw: Draw) -> list[Args]:
    key = draw.key()
    options = optional(draw, [b"PERSIST"], draw.expiry_option(), [b"bad"], chance=0.3)
    return looked_at([b"GETEX", key, *options], key)


@STRINGS.command()
def setex(draw: Draw) -> list[Args]:
    name = draw.choice([b"SETEX", b"PSETEX"])
    when = draw.expiry(milliseconds=name == b"PSETEX", absolute=False)
    return [[name, draw.key(), when, draw.value()]]


@STRINGS.command(weight=2)
def append(draw: Draw) -> list[Args]:
    return [[b"APPEND", draw.key(), draw.value()]]


@STRINGS.command(weight=1.5)
def setrange(draw: Draw) -> list[Args]:
    offset = (
        b"%d" % draw.choice([0, 1, 3, 7, 43, 100, 1000])
        if draw.chance(0.8)
        else draw.choice(
            [
                b"-1",
                b"536870912",
                b"2147483648",
                b"9223372036854775807",
                b"-9223372036854775808",
                b"abc",
                b"",
                b"1.5",
                b"9223372036854775808",
            ]
        )
    )
    return [[b"SETRANGE", draw.key(), offset, draw.value()]]


@STRINGS.command(weight=1.5)
def getrange(draw: Draw) -> list[Args]:
    return [[draw.choice([b"GETRANGE", b"SUBSTR"]), draw.key(), draw.small(), draw.small()]]


@STRINGS.command(weight=2)
def increment(draw: Draw) -> list[Args]:
    return [[draw.choice([b"INCR", b"DECR"]), draw.key()]]


@STRINGS.command(weight=2)
def increment_by(draw: Draw) -> list[Args]:
    return [[draw.choice([b"INCRBY", b"DECRBY"]), draw.key(), draw.integer()]]


@STRINGS.command(weight=2)
def increment_by_float(draw: Draw) -> list[Args]:
    """Mostly on a number just set, or nearly every reply would be an error."""
    key = draw.key()
    change = [b"INCRBYFLOAT", key, draw.float()]
    if draw.chance(0.5):
        return [change]
    return [[b"SET", key, draw.float()], change, change]


@STRINGS.command(weight=2)
def many_get(draw: Draw) -> list[Args]:
    return [[b"MGET", *draw.keys(8)]]


@STRINGS.command(weight=2)
def many_set(draw: Draw) -> list[Args]:
    pairs = [word for key in draw.keys(5) for word in (key, draw.value())]
    return [[draw.choice([b"MSET", b"MSET", b"MSETNX"]), *pairs]]


@STRINGS.command(weight=1.5)
def longest_common(draw: Draw) -> list[Args]:
    options = optional(
        draw,
        [b"LEN"],
        [b"IDX"],
        [b"WITHMATCHLEN"],
        [b"MINMATCHLEN", draw.small()],
        [b"bad"],
        chance=0.25,
    )
    first, second = draw.key(), draw.key()
    lcs = [b"LCS", first, second, *options]
    if draw.chance(0.4):
        return [lcs]
    words = [draw.choice([b"ohmytext", b"mynewtext", b"aaab", b"abab", b""]) for _ in range(2)]
    # The strings are set here, so that the quadratic algorithm meets short ones.
    return [[b"MSET", first, words[0], second, words[1]], lcs]
