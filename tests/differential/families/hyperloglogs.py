"""Grammar of the HyperLogLog commands, on keys of their own.

Other commands could break a value, of which a failing PFADD leaves some changes in Redis, but
nothing here. Values are looked at by GET, so that the bytes of sparse and dense ones are compared.
"""

from __future__ import annotations

from tests.differential.grammar import Args, Draw, Exact, Family

HYPERLOGLOGS = Family("hyperloglogs", weight=3.0)
KEYS = [b"{p}1", b"p", b"p1", b"p2", b"p3"]
# The first value is the default, which the machine restores before each case.
HLL_DIRECTIVES: dict[bytes, list[bytes]] = {
    b"hll-sparse-max-bytes": [b"3000", b"0", b"18", b"30", b"100", b"1000", b"20000"],
}
HEADER = b"HYLL\x01\x00\x00\x00" + bytes(7) + b"\x80"
EMPTY = HEADER + b"\x7f\xff"
CRAFTED = [
    *(EMPTY, HEADER, HEADER + b"\x7f\xff\x00", HEADER + b"\x7f\xfe\x80"),
    *(
        HEADER + b"\x80" * 40,
        HEADER + b"\x7f\xff\x7f\xff",
        EMPTY[:15],
        b"HYLL",
        b"hyll" + EMPTY[4:],
    ),
    *(b"HYLL\x00" + EMPTY[5:], b"HYLL\x02" + EMPTY[5:], EMPTY[:15] + b"\x00\x7f\xff"),
    *(HEADER + b"\x3f" * 256, HEADER + b"\x3f" * 255 + b"\x3e\x80", HEADER + b"\x83" * 4096),
    b"HYLL" + bytes(12300),
    b"HYLL" + bytes(11) + b"\x80" + bytes(range(256)) * 48,
]


def hll_key(draw: Draw) -> bytes:
    return draw.choice(KEYS)


def elements(draw: Draw) -> Args:
    """A few of a small alphabet, or so many new ones that runs get long and become dense."""
    if draw.chance(0.7):
        return [b"%d" % draw.randrange(300) for _ in range(draw.randint(0, 8))]
    if draw.chance(0.5):
        return [draw.value() for _ in range(draw.randint(1, 4))]
    start = draw.randrange(100_000)
    return [b"e%d" % number for number in range(start, start + draw.choice([20, 100, 1000]))]


@HYPERLOGLOGS.command(weight=5)
def add(draw: Draw) -> list[Args]:
    key = hll_key(draw)
    look = [[b"GET", key]] if draw.chance(0.3) else []
    return [[b"PFADD", key, *elements(draw)], *look]


@HYPERLOGLOGS.command(weight=3)
def count(draw: Draw) -> list[Args]:
    keys = [hll_key(draw) for _ in range(draw.choice([1, 1, 2, 3]))]
    return [[b"PFCOUNT", *keys], [b"OBJECT", b"ENCODING", keys[0]]]


@HYPERLOGLOGS.command(weight=2)
def merge(draw: Draw) -> list[Args]:
    keys = [hll_key(draw) for _ in range(draw.randint(1, 4))]
    return [[b"PFMERGE", *keys], [b"GET", keys[0]], [b"PFCOUNT", keys[0]]]


@HYPERLOGLOGS.command(weight=2)
def inside(draw: Draw) -> list[Args]:
    words = [b"GETREG", b"DECODE", b"DECODE", b"ENCODING", b"ENCODING", b"TODENSE", b"nosuch"]
    return [[b"PFDEBUG", draw.cased(draw.choice(words)), hll_key(draw)]]


@HYPERLOGLOGS.command(weight=1)
def crafted(draw: Draw) -> list[Args]:
    """A value that somebody else wrote. What a failing PFADD leaves behind is not compared."""
    key = hll_key(draw)
    command = draw.choice(
        [[b"PFCOUNT", key], [b"PFADD", key, *elements(draw)[:1]], [b"PFCOUNT", key, b"{p}1"]]
    )
    return [[b"SET", key, draw.choice(CRAFTED)], command, Exact([b"DEL", key])]


@HYPERLOGLOGS.command(weight=0.7)
def limits(draw: Draw) -> list[Args]:
    name = draw.choice(list(HLL_DIRECTIVES))
    return [[b"CONFIG", b"SET", name, draw.choice(HLL_DIRECTIVES[name])]]


@HYPERLOGLOGS.command(weight=1)
def gone(draw: Draw) -> list[Args]:
    return [[b"DEL", hll_key(draw)]]
