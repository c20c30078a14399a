"""Grammar of the commands on keys of any type."""

from __future__ import annotations

from tests.differential.families.strings import optional
from tests.differential.grammar import Args, Draw, Family

GENERIC = Family("generic", weight=5.2)
PATTERNS = [
    *(
        b"*",
        b"a",
        b"?",
        b"k*",
        b"[abc]",
        b"[^a]",
        b"\\*",
        b"{x}*",
        b"",
        b"*{*",
        b"[a-c]",
        b"[",
        b"k?",
    ),
    *(b"**1", b"[a-", b"\\", b"*:?"),
]


@GENERIC.command(weight=2)
def counted(draw: Draw) -> list[Args]:
    return [[draw.choice([b"DEL", b"UNLINK", b"EXISTS", b"TOUCH"]), *draw.keys(6)]]


@GENERIC.command()
def type_of(draw: Draw) -> list[Args]:
    return [[b"TYPE", draw.key()]]


@GENERIC.command(weight=3)
def expire(draw: Draw) -> list[Args]:
    name = draw.choice([b"EXPIRE", b"PEXPIRE", b"EXPIREAT", b"PEXPIREAT"])
    when = draw.expiry(milliseconds=name[:1] == b"P", absolute=name.endswith(b"AT"))
    options = optional(draw, [b"NX"], [b"XX"], [b"GT"], [b"LT"], chance=0.15)
    if draw.chance(0.03):
        options.append(b"bad")
    relative = name in (b"EXPIRE", b"PEXPIRE") and when.isdigit()
    if relative and {b"GT", b"LT"} & {option.upper() for option in options}:
        # Two relative times that differ by what passed between them can't be compared.
        when = b"%d" % draw.randint(200_000, 4_000_000)
        when += b"000" if name == b"PEXPIRE" else b""
    return [[name, draw.key(), when, *options]]


@GENERIC.command(weight=3)
def remaining(draw: Draw) -> list[Args]:
    names = [b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME", b"PERSIST"]
    return [[draw.choice(names), draw.key()]]


@GENERIC.command(weight=2)
def rename(draw: Draw) -> list[Args]:
    source, target = draw.key(), draw.key()
    if draw.chance(0.1):
        target = source
    return [[draw.choice([b"RENAME", b"RENAMENX"]), source, target]]


@GENERIC.command(weight=2)
def copy(draw: Draw) -> list[Args]:
    options = optional(draw, [b"DB", draw.database()], [b"REPLACE"], [b"bad"], chance=0.25)
    return [[b"COPY", draw.key(), draw.key(), *options]]


@GENERIC.command()
def move(draw: Draw) -> list[Args]:
    return [[b"MOVE", draw.key(), draw.database()]]


@GENERIC.command()
def scan(draw: Draw) -> list[Args]:
    cursor = (
        b"0"
        if draw.chance(0.6)
        else draw.choice(
            [
                b"5",
                b"17",
                b"abc",
                b"-1",
                b"",
                b"99999999999999999999",
                b"18446744073709551615",
                b"1 ",
            ]
        )
    )
    return [[b"SCAN", cursor, *scan_options(draw)]]


def scan_options(draw: Draw) -> Args:
    """Options of SCAN, right ones mostly; also for full iterations."""
    return optional(
        draw,
        [b"MATCH", draw.choice(PATTERNS)],
        [b"COUNT", draw.choice([b"1", b"3", b"10", b"100", b"1000"])],
        [b"TYPE", draw.choice([b"string", b"STRING", b"hash", b"nosuchtype"])],
        *([[b"COUNT", draw.choice([b"0", b"-1", b"abc"])]] if draw.chance(0.1) else []),
    )


@GENERIC.command()
def keys(draw: Draw) -> list[Args]:
    return [[b"KEYS", draw.choice(PATTERNS)]]


@GENERIC.command(weight=0.5)
def random_key(draw: Draw) -> list[Args]:
    return [[b"RANDOMKEY"]]


@GENERIC.command(weight=2)
def object_facts(draw: Draw) -> list[Args]:
    word = draw.choice([b"ENCODING", b"ENCODING", b"REFCOUNT", b"IDLETIME", b"FREQ", b"nosuch"])
    return [[b"OBJECT", draw.cased(word), draw.key()]]
