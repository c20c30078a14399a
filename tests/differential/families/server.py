"""Grammar of the commands on the server as a whole."""

from __future__ import annotations

from tests.differential.families.strings import optional
from tests.differential.grammar import Args, Draw, Family

SERVER = Family("server", weight=0.9)

# Directives that change little of what other commands show, with what to set them to; the first
# value is Redis's default, which the machine restores after each case.
DIRECTIVES: dict[bytes, list[bytes]] = {
    b"slowlog-log-slower-than": [b"10000", b"0", b"-1", b"abc"],
    b"slowlog-max-len": [b"128", b"0", b"1", b"-1"],
    b"maxmemory-samples": [b"5", b"10", b"0", b"-1"],
    b"latency-monitor-threshold": [b"0", b"100", b"-1"],
    b"lfu-log-factor": [b"10", b"1", b"-1", b"1x"],
    b"proto-max-bulk-len": [b"536870912", b"512mb", b"100mb", b"1", b"10kbx"],
    b"timeout": [b"0", b"100000", b"-1"],
    b"stream-node-max-entries": [b"100", b"0", b"3", b"-1"],
    b"stream-node-max-bytes": [b"4096", b"0", b"100", b"-1"],
}
COMMANDS = [
    *(b"APPEND", b"DECR", b"DECRBY", b"GET", b"GETDEL", b"GETEX", b"GETRANGE", b"GETSET", b"INCR"),
    *(b"INCRBY", b"INCRBYFLOAT", b"LCS", b"MGET", b"MSET", b"MSETNX", b"PSETEX", b"SET", b"SETEX"),
    *(b"SETNX", b"SETRANGE", b"STRLEN", b"SUBSTR", b"DEL", b"UNLINK", b"EXISTS", b"TOUCH", b"TYPE"),
    *(b"EXPIRE", b"PEXPIRE", b"EXPIREAT", b"PEXPIREAT", b"TTL", b"PTTL", b"EXPIRETIME"),
    *(b"PEXPIRETIME", b"PERSIST", b"RENAME", b"RENAMENX", b"COPY", b"MOVE", b"SCAN", b"KEYS"),
    *(b"RANDOMKEY", b"PING", b"ECHO", b"SELECT", b"QUIT", b"SWAPDB", b"FLUSHDB", b"FLUSHALL"),
    *(b"DBSIZE", b"TIME", b"HELLO", b"INFO"),
]


@SERVER.command(weight=0.6)
def flush(draw: Draw) -> list[Args]:
    args = [draw.choice([b"FLUSHDB", b"FLUSHDB", b"FLUSHALL"])]
    if draw.chance(0.5):
        args.append(draw.cased(draw.choice([b"SYNC", b"ASYNC", b"bad"])))
    return [args]


@SERVER.command(weight=2)
def size(draw: Draw) -> list[Args]:
    return [[b"DBSIZE"]]


@SERVER.command(weight=1)
def swap(draw: Draw) -> list[Args]:
    return [[b"SWAPDB", draw.database(), draw.database()]]


@SERVER.command(weight=0.5)
def time(draw: Draw) -> list[Args]:
    return [[b"TIME"]]


@SERVER.command(weight=1)
def info(draw: Draw) -> list[Args]:
    sections = [b"keyspace", b"server", b"clients", b"memory", b"stats", b"replication", b"cpu"]
    sections += [b"nosuch", b"default", b"all", b"everything", b"KEYSPACE"]
    return [[b"INFO", *(draw.choice(sections) for _ in range(draw.choice([0, 1, 1, 2])))]]


@SERVER.command(weight=2)
def config(draw: Draw) -> list[Args]:
    names = draw.choices(list(DIRECTIVES), k=draw.choice([1, 1, 2, 3]))
    if draw.chance(0.5):
        cased = [draw.cased(name) for name in names]
        cased += [b"no-such-directive"] if draw.chance(0.1) else []
        return [[b"CONFIG", draw.cased(b"GET"), *cased]]
    pairs = [word for name in names for word in (name, draw.choice(DIRECTIVES[name]))]
    if draw.chance(0.05):
        pairs += [b"no-such-directive", b"1"]
    changed = [b"CONFIG", draw.cased(b"SET"), *pairs]
    # Bulks must not be refused by the limit that the change is about.
    return [
        changed,
        [b"CONFIG", b"GET", *names],
        [b"CONFIG", b"SET", b"proto-max-bulk-len", b"536870912"],
    ]


@SERVER.command(weight=1.5)
def command(draw: Draw) -> list[Args]:
    kind = draw.randrange(3)
    if kind == 0:
        names = [draw.cased(draw.choice(COMMANDS)) for _ in range(draw.randint(1, 3))]
        return [[b"COMMAND", draw.cased(b"INFO"), *names, *optional(draw, [b"nosuch"], chance=0.2)]]
    if kind == 1:
        name = draw.choice(COMMANDS)
        return [[b"COMMAND", b"GETKEYS", name, *(draw.key() for _ in range(draw.randrange(5)))]]
    return [[b"COMMAND", b"COUNT"] if draw.chance(0.7) else [b"COMMAND", b"nosuch"]]


@SERVER.command(weight=1)
def debug(draw: Draw) -> list[Args]:
    kind = draw.randrange(3)
    if kind == 0:
        return [[b"DEBUG", draw.cased(b"SLEEP"), draw.choice([b"0", b"0.001", b"0.0"])]]
    if kind == 1:
        return [[b"DEBUG", draw.cased(b"OBJECT"), draw.key()]]
    return [[b"DEBUG", draw.cased(b"SET-ACTIVE-EXPIRE"), draw.choice([b"0", b"1"])]]


@SERVER.command(weight=1)
def memory(draw: Draw) -> list[Args]:
    args = [b"MEMORY", draw.cased(b"USAGE"), draw.key()]
    if draw.chance(0.3):
        args += [draw.cased(b"SAMPLES"), draw.choice([b"0", b"5", b"-1", b"abc"])]
    return [args]
