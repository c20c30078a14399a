"""Grammar of the stream commands.

Ids are small, so that they meet each other. Where the server chooses one, the stream has an id of
the year 2128 before, so that the clock has no say in it.
"""

from __future__ import annotations

from tests.differential.families.strings import optional
from tests.differential.grammar import Args, Draw, Exact, Family

STREAMS = Family("streams", weight=3.1)

KEYS = [b"x1", b"x2", b"x3", b"{x}x1", b"{x}x2"]
GROUPS = [b"g1", b"g2", b"g", b"", b"\x00g"]
CONSUMERS = [b"alice", b"bob", b"al", b"", b"\xff"]
FIELDS = [b"f", b"g", b"field", b"1", b"-5", b""]
ODD_IDS = [
    *(b"0", b"0-0", b"0-*", b"-", b"+", b"5-", b"-5", b"5--3", b"5--03", b" 5", b"+5", b"005-01"),
    *(b"18446744073709551615", b"18446744073709551615-18446744073709551615", b"abc", b"", b"1-2-3"),
    *(
        b"18446744073709551616",
        b"9223372036854775808-9223372036854775808",
        b"5-18446744073709551615",
    ),
    *(b"$", b">", b"*x", b"1.5", b"5\x00-3", b"6-x", b"7" * 130, b"0-1", b"-0-1", b"3- 1"),
]
FAR_MS = b"5000000000000"


def stream_key(draw: Draw) -> bytes:
    """A key to look at; streams are only made under keys of their own."""
    return draw.choice(KEYS) if draw.chance(0.9) else draw.key()


def entry_id(draw: Draw) -> bytes:
    kind = draw.random()
    if kind < 0.15:
        return draw.choice(ODD_IDS)
    if kind < 0.35:
        return b"%d" % draw.randint(1, 40)
    return b"%d-%d" % (draw.randint(1, 40), draw.randint(0, 3))


def rising_id(draw: Draw) -> bytes:
    """Mostly one that can be added."""
    kind = draw.random()
    if kind < 0.45:
        return b"40-*"
    if kind < 0.7:
        return b"%d-*" % draw.randint(1, 40)
    return entry_id(draw)


def group_name(draw: Draw) -> bytes:
    return b"g1" if draw.chance(0.85) else draw.choice(GROUPS)


def few(draw: Draw) -> int:
    """A sequence, mostly the same."""
    return 0 if draw.chance(0.85) else draw.randint(0, 3)


def existing_ids(draw: Draw) -> Args:
    """Some ids of which a few may be there, and at times one that is none."""
    ids = [b"%d-%d" % (draw.randint(1, 20), few(draw)) for _ in range(draw.randint(1, 12))]
    return [*ids, entry_id(draw)] if draw.chance(0.2) else ids


@STREAMS.command(weight=2.5)
def scene(draw: Draw) -> list[Args]:
    """A stream of rising ids, a group of it, and consumers that have read some of them."""
    key = draw.choice(KEYS)
    commands: list[Args] = [[b"DEL", key]]
    ms = 0
    for _ in range(draw.randint(1, 10)):
        ms += draw.randint(1, 4)
        words = [b"f", draw.choice([b"v", b"1", b"-70000"]), draw.choice(FIELDS), b"w"]
        commands.append([b"XADD", key, b"%d-%d" % (ms, few(draw)), *words])
    commands.append([b"XGROUP", b"CREATE", key, b"g1", draw.choice([b"0", b"0", b"5", b"$"])])
    if draw.chance(0.3):
        commands[-1] += [b"ENTRIESREAD", draw.choice([b"0", b"2"])]
    for _ in range(draw.randint(0, 3)):
        count = b"%d" % draw.randint(1, 4)
        who = [b"GROUP", b"g1", draw.choice(CONSUMERS), b"COUNT", count]
        commands.append([b"XREADGROUP", *who, b"STREAMS", key, b">"])
    for _ in range(draw.randint(0, 2)):
        commands.append(
            [
                b"XDEL",
                key,
                *(b"%d-%d" % (draw.randint(1, ms), few(draw)) for _ in range(6)),
            ]
        )
    return commands


def bound(draw: Draw) -> bytes:
    kind = draw.random()
    if kind < 0.35:
        return draw.choice([b"-", b"+"])
    if kind < 0.5:
        return b"(" + entry_id(draw)
    return entry_id(draw)


def fields(draw: Draw) -> Args:
    if draw.chance(0.5):
        return [b"f", draw.value(), b"g", draw.value()]
    pairs = draw.choice([1, 1, 2, 3, 3, 40])
    return [word for _ in range(pairs) for word in (draw.choice(FIELDS), draw.value())]


def trimming(draw: Draw) -> Args:
    strategy = draw.chance(0.6)
    how = draw.choice([[], [b"="], [b"~"], [b"~"]])
    threshold = draw.small() if strategy else entry_id(draw)
    words = [draw.cased(b"MAXLEN" if strategy else b"MINID"), *how, threshold]
    if draw.chance(0.5 if how == [b"~"] else 0.05):
        words += [draw.cased(b"LIMIT"), draw.choice([b"0", b"1", b"5", b"100", draw.small()])]
    return words


@STREAMS.command(weight=8)
def add(draw: Draw) -> list[Args]:
    options: Args = []
    if draw.chance(0.25):
        options += trimming(draw)
    if draw.chance(0.1):
        options.insert(0 if draw.chance(0.5) else len(options), draw.cased(b"NOMKSTREAM"))
    return [[b"XADD", draw.choice(KEYS), *options, rising_id(draw), *fields(draw)]]


@STREAMS.command(weight=1)
def add_with_chosen_id(draw: Draw) -> list[Args]:
    key = b"{x}far" if draw.chance(0.7) else draw.choice(KEYS)
    first = Exact([b"XADD", key, FAR_MS + b"-1", *fields(draw)])
    trim = trimming(draw) if draw.chance(0.3) else []
    return [first, Exact([b"XADD", key, *trim, b"*", *fields(draw)])]


@STREAMS.command(weight=1)
def add_many(draw: Draw) -> list[Args]:
    key = draw.choice(KEYS)
    return [
        [b"XADD", key, b"%d-*" % draw.randint(1, 40), b"f", b"%d" % i]
        for i in range(draw.randint(3, 12))
    ]


@STREAMS.command(weight=2)
def trim(draw: Draw) -> list[Args]:
    return [[b"XTRIM", stream_key(draw), *trimming(draw)]]


@STREAMS.command(weight=2.5)
def delete(draw: Draw) -> list[Args]:
    ids = existing_ids(draw)
    return [[b"XDEL", stream_key(draw), *ids]]


@STREAMS.command(weight=0.7)
def drop(draw: Draw) -> list[Args]:
    return [[b"DEL", stream_key(draw)]]


@STREAMS.command(weight=0.7)
def set_id(draw: Draw) -> list[Args]:
    options = optional(
        draw, [b"ENTRIESADDED", draw.small()], [b"MAXDELETEDID", entry_id(draw)], chance=0.4
    )
    key = stream_key(draw)
    # An id that may be below a deleted one is refused by 7.2 only: the stream goes then.
    if draw.chance(0.6):
        low = Exact([b"XSETID", key, entry_id(draw), *options])
        return [low, Exact([b"DEL", key])]
    return [Exact([b"XSETID", key, b"18446744073709551615-5", *options])]


@STREAMS.command(weight=1.5)
def length(draw: Draw) -> list[Args]:
    return [[b"XLEN", stream_key(draw)]]


@STREAMS.command(weight=3)
def interval(draw: Draw) -> list[Args]:
    name = draw.choice([b"XRANGE", b"XREVRANGE"])
    count = [draw.cased(b"COUNT"), draw.small()] if draw.chance(0.4) else []
    return [[name, stream_key(draw), bound(draw), bound(draw), *count]]


@STREAMS.command(weight=1)
def whole(draw: Draw) -> list[Args]:
    key = stream_key(draw)
    return [[b"XRANGE", key, b"-", b"+"], [b"XREVRANGE", key, b"+", b"-"]]


def sources(draw: Draw, *special: bytes) -> tuple[Args, Args]:
    """Keys, and an id for each."""
    keys = [stream_key(draw) for _ in range(draw.choice([1, 1, 1, 2, 3]))]
    return keys, [draw.choice(special) if draw.chance(0.5) else entry_id(draw) for _ in keys]


def reading(draw: Draw) -> Args:
    return optional(draw, [b"COUNT", draw.small()], [b"BLOCK", draw.choice([b"0", b"-1", b"5x"])])


@STREAMS.command(weight=2)
def read(draw: Draw) -> list[Args]:
    keys, ids = sources(draw, b"0", b"0", b"$", b"5", b"10-1")
    options = optional(draw, [b"COUNT", draw.small()])
    return [[b"XREAD", *options, draw.cased(b"STREAMS"), *keys, *ids]]


@STREAMS.command(weight=4)
def read_group(draw: Draw) -> list[Args]:
    keys, ids = sources(draw, b">", b">", b">", b"0")
    group = [draw.cased(b"GROUP"), group_name(draw), draw.choice(CONSUMERS)]
    options = optional(draw, [b"COUNT", draw.small()], [b"NOACK"], chance=0.25)
    return [[b"XREADGROUP", *group, *options, draw.cased(b"STREAMS"), *keys, *ids]]


@STREAMS.command(weight=3)
def group(draw: Draw) -> list[Args]:
    key, name = draw.choice(KEYS), draw.choice(GROUPS[:3])
    start = draw.choice([b"$", b"0", b"0", entry_id(draw)])
    read = [draw.cased(b"ENTRIESREAD"), draw.choice([b"0", b"-1", b"3", b"-2", draw.small()])]
    kind = draw.random()
    if kind < 0.6:
        options = optional(draw, [b"MKSTREAM"], read, chance=0.4)
        return [[b"XGROUP", draw.cased(b"CREATE"), key, name, start, *options]]
    if kind < 0.75:
        options = read if draw.chance(0.4) else []
        return [[b"XGROUP", draw.cased(b"SETID"), key, name, start, *options]]
    if kind < 0.8:
        return [[b"XGROUP", b"DESTROY", key, name]]
    if kind < 0.98:
        sub = draw.choice([b"CREATECONSUMER", b"CREATECONSUMER", b"DELCONSUMER"])
        return [[b"XGROUP", draw.cased(sub), key, name, draw.choice(CONSUMERS)]]
    return [[b"XGROUP", draw.choice([b"nosuch", b"CREATE", b"SETID"]), key]]


@STREAMS.command(weight=3)
def acknowledge(draw: Draw) -> list[Args]:
    ids = existing_ids(draw)
    return [[b"XACK", stream_key(draw), group_name(draw), *ids]]


@STREAMS.command(weight=2)
def pending(draw: Draw) -> list[Args]:
    args = [b"XPENDING", stream_key(draw), group_name(draw)]
    if draw.chance(0.4):
        return [args]
    if draw.chance(0.2):
        args += [draw.cased(b"IDLE"), draw.choice([b"0", b"-5", b"10000000", b"abc"])]
    args += [bound(draw), bound(draw), draw.choice([b"10", b"100", draw.small()])]
    if draw.chance(0.3):
        args.append(draw.choice(CONSUMERS))
    return [args]


@STREAMS.command(weight=4)
def claim(draw: Draw) -> list[Args]:
    idle = draw.choice([b"0", b"0", b"0", b"0", b"-1", b"10000000", b"abc"])
    ids = existing_ids(draw)
    options = optional(
        draw,
        [b"FORCE"],
        [b"JUSTID"],
        [b"IDLE", draw.choice([b"0", b"-5", b"1000000", b"1x"])],
        [b"TIME", draw.choice([b"1000", b"-1", b"99999999999999"])],
        [b"RETRYCOUNT", draw.choice([b"0", b"3", b"-1", b"x"])],
        [b"LASTID", entry_id(draw)],
        [b"bad"],
        chance=0.12,
    )
    key = stream_key(draw)
    return [[b"XCLAIM", key, group_name(draw), draw.choice(CONSUMERS), idle, *ids, *options]]


@STREAMS.command(weight=3)
def claim_idle(draw: Draw) -> list[Args]:
    idle = draw.choice([b"0", b"0", b"0", b"0", b"-1", b"10000000", b"abc"])
    options = optional(
        draw, [b"COUNT", draw.choice([b"1", b"2", b"0", b"-1", b"1x", b"9"])], [b"JUSTID"], [b"bad"]
    )
    who = [stream_key(draw), group_name(draw), draw.choice(CONSUMERS)]
    return [[b"XAUTOCLAIM", *who, idle, bound(draw), *options]]


@STREAMS.command(weight=4)
def info(draw: Draw) -> list[Args]:
    kind = draw.random()
    key = stream_key(draw)
    if kind < 0.3:
        return [[b"XINFO", draw.cased(b"STREAM"), key]]
    if kind < 0.6:
        options: Args = [draw.cased(b"FULL")]
        if draw.chance(0.5):
            options += [draw.cased(b"COUNT"), draw.small()]
        return [[b"XINFO", draw.cased(b"STREAM"), key, *options]]
    if kind < 0.8:
        return [[b"XINFO", draw.cased(b"GROUPS"), key]]
    if kind < 0.97:
        return [[b"XINFO", draw.cased(b"CONSUMERS"), key, group_name(draw)]]
    return [[b"XINFO", draw.choice([b"nosuch", b"STREAM", b"GROUPS"])]]


@STREAMS.command(weight=0.8)
def moved(draw: Draw) -> list[Args]:
    source, target = draw.choices(KEYS, k=2)
    look = [b"XINFO", b"STREAM", target, b"FULL"]
    if draw.chance(0.3):
        return [[draw.choice([b"RENAME", b"RENAMENX"]), source, target], look]
    return [[b"COPY", source, target, *optional(draw, [b"REPLACE"], chance=0.8)], look]


@STREAMS.command(weight=0.3)
def another_type(draw: Draw) -> list[Args]:
    return [[b"SET", draw.choice(KEYS), b"v"]]


@STREAMS.command(weight=0.5)
def kind_of_key(draw: Draw) -> list[Args]:
    key = stream_key(draw)
    return [[b"TYPE", key], [b"OBJECT", b"ENCODING", key]]


@STREAMS.command(weight=0.8)
def limits(draw: Draw) -> list[Args]:
    name, value = draw.choice(
        [
            *((b"stream-node-max-entries", value) for value in (b"100", b"0", b"1", b"2", b"5")),
            *((b"stream-node-max-bytes", value) for value in (b"4096", b"0", b"1", b"50", b"300")),
        ]
    )
    return [Exact([b"CONFIG", b"SET", name, value])]
