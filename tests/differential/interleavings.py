"""The grammar of concurrent programs: transactions, blocking commands, and what meets them.

Few keys, so that clients meet. Nothing is drawn whose answer depends on chance or on the clock, but
timeouts of a moment, which are waited for. Each program comes from its seed alone.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.differential.concurrent import CLIENTS, Args, Step
from tests.differential.grammar import Draw

LISTS = [b"l1", b"l2", b"l3"]
ZSETS = [b"z1", b"z2"]
STREAMS = [b"s1", b"s2"]
STRINGS = [b"a", b"b", b"c"]
KEYS = [*LISTS, *ZSETS, *STREAMS, *STRINGS]
ELEMENTS = [b"x", b"y", b"z", b"w"]
GROUPS = [b"g1", b"g2"]
MOMENT = b"0.02"
WRONG_KEY_CHANCE = 0.06
PIPELINE_CHANCE = 0.1
CLOSE_CHANCE = 0.03
# Since 7.2 who is woken runs its command anew: before, it took the key that had become ready first,
# passed over one of a wrong type, and XREADGROUP had errors of its own for a group that is gone.
SINCE_72 = {b"XREADGROUP", b"XGROUP", b"XREAD"}

Idea = Callable[["Maker"], list[Args]]


class Maker:
    """Draws commands; remembers the last id of each stream, as ids must grow."""

    def __init__(self, draw: Draw, *, is_72: bool) -> None:
        self.draw = draw
        self.wrong_key_chance = WRONG_KEY_CHANCE if is_72 else 0.0
        self.waits_for_max = 3 if is_72 else 1
        self.ids = 0

    def key(self, of: list[bytes]) -> bytes:
        return self.draw.choice(KEYS if self.draw.chance(self.wrong_key_chance) else of)

    def keys(self, of: list[bytes], most: int = 3) -> list[bytes]:
        return [self.key(of) for _ in range(self.draw.randint(1, most))]

    def waits_for(self, of: list[bytes]) -> list[bytes]:
        """The keys of a blocking command."""
        return self.keys(of, self.waits_for_max)

    def elements(self) -> list[bytes]:
        return [self.draw.choice(ELEMENTS) for _ in range(self.draw.choice([1, 1, 1, 2, 3]))]

    def side(self) -> bytes:
        return self.draw.choice([b"LEFT", b"RIGHT"])

    def count(self) -> list[bytes]:
        return [b"COUNT", b"%d" % self.draw.randint(1, 3)] if self.draw.chance(0.5) else []

    def id(self) -> bytes:
        self.ids += 1
        return b"%d-1" % self.ids


def one(*args: bytes) -> list[Args]:
    return [args]


def push(m: Maker) -> list[Args]:
    name = m.draw.choice([b"RPUSH", b"RPUSH", b"LPUSH", b"RPUSHX"])
    return one(name, m.key(LISTS), *m.elements())


def list_change(m: Maker) -> list[Args]:
    key = m.key(LISTS)
    return m.draw.choice(
        [
            one(b"LPOP", key),
            one(b"RPOP", key, b"2"),
            one(b"LLEN", key),
            one(b"LRANGE", key, b"0", b"-1"),
            one(b"LTRIM", key, b"0", b"0"),
            one(b"LINSERT", key, b"BEFORE", b"x", b"n"),
            one(b"LREM", key, b"1", b"x"),
            one(b"LMOVE", key, m.key(LISTS), m.side(), m.side()),
            one(b"RPOPLPUSH", key, m.key(LISTS)),
            one(b"LMPOP", b"2", key, m.key(LISTS), m.side(), *m.count()),
            one(b"SORT", key, b"ALPHA", b"STORE", m.key(LISTS)),
        ]
    )


def list_block(m: Maker) -> list[Args]:
    keys = m.waits_for(LISTS)
    return m.draw.choice(
        [
            one(b"BLPOP", *keys, b"0"),
            one(b"BRPOP", *keys, b"0"),
            one(b"BLPOP", *keys, b"0"),
            one(b"BLMOVE", keys[0], m.key(LISTS), m.side(), m.side(), b"0"),
            one(b"BRPOPLPUSH", keys[0], m.key(LISTS), b"0"),
            one(b"BLMPOP", b"0", b"%d" % len(keys), *keys, m.side(), *m.count()),
        ]
    )


def zset_change(m: Maker) -> list[Args]:
    key = m.key(ZSETS)
    pairs = [arg for element in m.elements() for arg in (b"%d" % m.draw.randint(1, 5), element)]
    return m.draw.choice(
        [
            one(b"ZADD", key, *pairs),
            one(b"ZADD", key, *pairs),
            one(b"ZINCRBY", key, b"2", m.draw.choice(ELEMENTS)),
            one(b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"),
            one(b"ZREM", key, *m.elements()),
            one(b"ZPOPMIN", key),
            one(b"ZUNIONSTORE", key, b"2", m.key(ZSETS), m.key(ZSETS)),
            one(b"ZRANGESTORE", key, m.key(ZSETS), b"0", b"-1"),
        ]
    )


def zset_block(m: Maker) -> list[Args]:
    keys = m.waits_for(ZSETS)
    return m.draw.choice(
        [
            one(b"BZPOPMIN", *keys, b"0"),
            one(b"BZPOPMAX", *keys, b"0"),
            one(
                *(b"BZMPOP", b"0", b"%d" % len(keys), *keys),
                *(m.draw.choice([b"MIN", b"MAX"]), *m.count()),
            ),
        ]
    )


def stream_change(m: Maker) -> list[Args]:
    key = m.key(STREAMS)
    return m.draw.choice(
        [
            one(b"XADD", key, m.id(), b"f", m.draw.choice(ELEMENTS)),
            one(b"XADD", key, m.id(), b"f", m.draw.choice(ELEMENTS)),
            one(b"XLEN", key),
            one(b"XDEL", key, b"%d-1" % m.ids),
            one(b"XTRIM", key, b"MAXLEN", b"1"),
            one(b"XREAD", b"COUNT", b"2", b"STREAMS", key, b"0"),
        ]
    )


def stream_block(m: Maker) -> list[Args]:
    keys = list(dict.fromkeys(m.keys(STREAMS, 2)))
    ids = [m.draw.choice([b"$", b"$", b"0", b"%d-1" % m.ids]) for _ in keys]
    return one(b"XREAD", *m.count(), b"BLOCK", b"0", b"STREAMS", *keys, *ids)


def group(m: Maker) -> list[Args]:
    key, name = m.key(STREAMS), m.draw.choice(GROUPS)
    return m.draw.choice(
        [
            one(b"XGROUP", b"CREATE", key, name, b"$", b"MKSTREAM"),
            one(b"XGROUP", b"CREATE", key, name, b"0", b"MKSTREAM"),
            one(b"XGROUP", b"DESTROY", key, name),
            one(b"XGROUP", b"DELCONSUMER", key, name, b"me"),
            one(b"XGROUP", b"SETID", key, name, b"0"),
            one(b"XACK", key, name, b"%d-1" % m.ids),
            one(*(b"XREADGROUP", b"GROUP", name, b"me", b"STREAMS", key, b">")),
        ]
    )


def group_block(m: Maker) -> list[Args]:
    keys = list(dict.fromkeys(m.keys(STREAMS, 2)))
    reads = (b"XREADGROUP", b"GROUP", m.draw.choice(GROUPS), b"me", *m.count(), b"BLOCK", b"0")
    return one(*reads, b"STREAMS", *keys, *(b">" for _ in keys))


def string_change(m: Maker) -> list[Args]:
    key = m.key(STRINGS)
    return m.draw.choice(
        [
            one(b"SET", key, m.draw.choice(ELEMENTS)),
            one(b"GET", key),
            one(b"INCR", key),
            one(b"APPEND", key, b"1"),
            one(b"MSET", key, b"1", m.key(STRINGS), b"2"),
            one(b"MGET", key, m.key(STRINGS), m.key(STRINGS)),
            one(b"MSETNX", key, b"1", m.key(STRINGS), b"2"),
            one(b"SETRANGE", key, b"0", b""),
        ]
    )


def key_change(m: Maker) -> list[Args]:
    of = m.draw.choice([LISTS, LISTS, ZSETS, STREAMS, STRINGS])
    key = m.key(of)
    return m.draw.choice(
        [
            one(b"DEL", *m.keys(of)),
            one(b"UNLINK", key),
            one(b"EXISTS", *m.keys(of)),
            one(b"RENAME", key, m.key(of)),
            one(b"RENAMENX", key, m.key(of)),
            one(b"COPY", key, m.key(of), b"REPLACE"),
            one(b"MOVE", key, b"1"),
            one(b"EXPIRE", key, b"1000"),
            one(b"PERSIST", key),
            one(b"TOUCH", *m.keys(of)),
            one(b"TYPE", key),
            one(b"PEXPIREAT", key, b"1"),
            one(b"SET", key, b"v"),
        ]
    )


def server_change(m: Maker) -> list[Args]:
    return m.draw.choice(
        [
            one(b"FLUSHALL"),
            one(b"FLUSHDB"),
            one(b"SWAPDB", b"0", b"1"),
            one(b"DBSIZE"),
            one(b"SELECT", m.draw.choice([b"0", b"0", b"1"])),
            one(b"SELECT", b"0"),
            one(b"PING"),
            one(b"ECHO", b"hi"),
            one(b"RESET"),
        ]
    )


def client_change(m: Maker) -> list[Args]:
    other = b"@%d" % m.draw.randrange(CLIENTS)
    return m.draw.choice(
        [
            one(b"CLIENT", b"UNBLOCK", other),
            one(b"CLIENT", b"UNBLOCK", other, b"TIMEOUT"),
            one(b"CLIENT", b"UNBLOCK", other, b"ERROR"),
            one(b"CLIENT", b"SETNAME", m.draw.choice(ELEMENTS)),
            one(b"CLIENT", b"GETNAME"),
        ]
    )


def begin(m: Maker) -> list[Args]:
    return one(b"MULTI")


def end(m: Maker) -> list[Args]:
    return one(m.draw.choice([b"EXEC"] * 6 + [b"DISCARD"]))


def whole(m: Maker) -> list[Args]:
    """A transaction in one pipeline."""
    inside = [call for _ in range(m.draw.randint(1, 4)) for call in inner(m)]
    return [(b"MULTI",), *inside, (m.draw.choice([b"EXEC"] * 9 + [b"DISCARD"]),)]


def watch(m: Maker) -> list[Args]:
    if m.draw.chance(0.15):
        return one(b"UNWATCH")
    return one(b"WATCH", *(m.key(KEYS) for _ in range(m.draw.randint(1, 3))))


def mistake(m: Maker) -> list[Args]:
    return m.draw.choice(
        [
            one(b"NOSUCH", b"x"),
            one(b"GET"),
            one(b"BLPOP", b"l1"),
            one(b"BLPOP", b"l1", b"-1"),
            one(b"BLPOP", b"l1", b"soon"),
            one(b"BLMPOP", b"0", b"0", b"l1", b"LEFT"),
            one(b"XREAD", b"BLOCK", b"-1", b"STREAMS", b"s1", b"$"),
            one(b"INCR", b"l1"),
            one(b"LPUSH", b"a"),
        ]
    )


CHANGES: list[Idea] = [push, push, list_change, zset_change, stream_change, string_change]
BLOCKS: list[Idea] = [list_block, list_block, zset_block, stream_block, group_block]
OTHERS: list[Idea] = [group, key_change, key_change, server_change, client_change]


def inner(m: Maker) -> list[Args]:
    """A command as it may stand in a transaction."""
    ideas = m.draw.choice([CHANGES, CHANGES, CHANGES, BLOCKS, OTHERS])
    return m.draw.choice(ideas)(m)


def control(m: Maker) -> list[Args]:
    if m.draw.chance(0.03):
        return m.draw.choice([one(b"EXEC", b"x"), one(b"MULTI", b"x"), one(b"WATCH")])
    return m.draw.choice([begin, end, end, watch])(m)


def change(m: Maker) -> list[Args]:
    return m.draw.choice(CHANGES)(m)


def block(m: Maker) -> list[Args]:
    return m.draw.choice(BLOCKS)(m)


def other(m: Maker) -> list[Args]:
    return m.draw.choice(OTHERS)(m)


# What a program is about: how likely each kind of command is.
THEMES: dict[str, dict[Idea, float]] = {
    "blocking": {change: 45, block: 40, other: 15, mistake: 2},
    "transactions": {change: 35, other: 15, whole: 15, control: 33, mistake: 2},
    "both": {change: 30, block: 25, other: 12, whole: 11, control: 20, mistake: 2},
}


def momentary(commands: list[Args]) -> list[Args]:
    """The blocking command with a timeout that is waited for."""
    args = list(commands[0])
    if args[0] in (b"XREAD", b"XREADGROUP"):
        args[args.index(b"BLOCK") + 1] = b"20"
    elif args[0] in (b"BLMPOP", b"BZMPOP"):
        args[1] = MOMENT
    else:
        args[-1] = MOMENT
    return [tuple(args)]


def program(seed: str, length: int, theme: str, *, is_72: bool) -> list[Step]:
    """The program of a seed, about one of THEMES."""
    ideas, weights = zip(*THEMES[theme].items(), strict=True)
    draw = Draw(seed)
    maker = Maker(draw, is_72=is_72)
    steps: list[Step] = []
    while len(steps) < length:
        client = draw.randrange(CLIENTS)
        if draw.chance(CLOSE_CHANCE):
            steps.append(Step(client))
            continue
        if draw.chance(0.05):
            commands, awaits = momentary(block(maker)), True
        else:
            commands, awaits = [], False
            while not commands or draw.chance(PIPELINE_CHANCE):
                commands += draw.choices(ideas, weights)[0](maker)
        if not is_72 and any(command[0] in SINCE_72 for command in commands):
            continue
        steps.append(Step(client, tuple(commands), awaits))
    return steps
