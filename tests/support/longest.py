"""The longest single commands while a collection grows to many elements and shrinks to none.

    python -m tests.support.longest hash native 1000000 [threshold in us]

A life is a sequence of commands: of growing, of probing at each stage, and of shrinking. Each one
is executed by itself by a shard's executor, over links in memory, and its thread CPU time is taken.
A step that took more than the threshold is measured again in further lives from the start, which
are the same command by command; the least time counts, as anything else was the machine's doing.
Each life is in a process of its own, whose heap holds nothing but that life: a second one in the
same heap would find its pages there, and hide what it costs to get them.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from random import Random

from actors.mailbox import MemoryLink
from protocol.table import NativeTable
from router.table import full_table
from shards.commands import native
from shards.execution.executor import Executor
from shards.execution.runner import Runner
from shards.keyspace.keyspace import Keyspace, tune_allocator
from shards.lane.context import Context, Settings
from shards.lane.handler import NativeLane
from tests.support.envelopes import PART, REPLY_HEADER, Run, read_replies, requests
from tests.support.resp_client import encode
from tests.support.slots import slot

LIMIT_US = 1000.0
REPEATS = 5
START_MS = 1_700_000_000_000
STAGES = 60  # at which a life is probed, beside the small sizes
SMALL = 1200  # beyond every limit of a small encoding
SMALL_STEP = 8
ENDINGS_COUNT = 20_000  # elements of a collection that ends in all ways
TAGS = 2048  # slots that spread keys are in
HOLE = b"\xff" * 8  # what a template's words have in place of a member
REPLY_AT = REPLY_HEADER.size + PART.size
TABLE = NativeTable(full_table())

Word = bytes | str | int
Template = tuple[bytes, ...]
Step = tuple[bytes, bool]  # a message, and whether its time counts
Life = Generator[Step, bytes, None]


def message(*words: Word) -> bytes:
    """The request message of one command."""
    raw = encode(*words)
    args = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    number = TABLE.lookup(args)
    keys = TABLE.keys(number, args)
    header = (len(raw), 0, 0, number, 0)
    if keys:
        at = len(b"*%d\r\n" % len(args)) + sum(
            len(b"$%d\r\n%b\r\n" % (len(arg), arg)) for arg in args[: keys[0]]
        )
        key = args[keys[0]]
        at += len(b"$%d\r\n" % len(key))
        header = (len(raw), at, len(key), number, slot(key))
    return requests(1, [Run(commands=[header], raw=raw)])


def template(*words: Word) -> Template:
    """A message to be joined with a member of 8 bytes, wherever HOLE was."""
    return tuple(message(*words).split(HOLE))


def text(n: int) -> bytes:
    """A member; also an integer, which all encodings know."""
    return b"%d" % (10_000_000 + n)


def word(n: int) -> bytes:
    """A member that is not an integer."""
    return b"m%07d" % n


def cursor_of(reply: bytes) -> bytes:
    """The cursor of a SCAN's reply."""
    return reply.split(b"\r\n", 3)[2]


class Driver:
    """A shard without a process."""

    def __init__(self, native_lane: bool) -> None:
        self.now_ms = START_MS
        self.keyspace = Keyspace(16, bytes(16), 1)
        self.keyspace.start_reaper()
        lane = NativeLane()
        native.register(lane)
        context = Context(self.keyspace, Settings({}), TABLE.table, 16, Random(0))
        self.executor = Executor(
            Runner(TABLE, self.keyspace, context, lane, lambda: self.now_ms), 1
        )
        self.executor.runner.native_lane = native_lane
        self.executor.unread_bytes_max = 1 << 62  # it never hears what was read
        (self.link, far), (self.bulk, far_bulk) = MemoryLink.pair("main"), MemoryLink.pair("bulk")
        self.executor.add_links(far, far_bulk)

    def execute(self, message: bytes, refused: bool = False) -> tuple[int, bytes]:
        """Thread CPU time in nanoseconds, and the first reply message: no error, unless it may be.

        After a large reply another message says that this was the last.
        """
        clock, which = time.clock_gettime_ns, time.CLOCK_THREAD_CPUTIME_ID
        self.link.post(message)
        service = self.executor.service
        before = clock(which)
        service()
        spent = clock(which) - before
        reply = self.link.fetch()
        assert reply is not None
        if not refused and reply[REPLY_AT : REPLY_AT + 1] == b"-":
            raise AssertionError((message, reply))
        for link in (self.link, self.bulk):
            while link.fetch() is not None:
                pass
        return spent, reply

    def wait_for_reaper(self) -> None:
        """Its thread's work is not the shard's; but the allocator's locks are both's."""
        while self.keyspace.lazyfree_pending:
            time.sleep(0.001)


def stages(count: int) -> Iterator[tuple[int, bool]]:
    """Each size up to `count`, and whether the collection is to be probed there."""
    step = max(count // STAGES, 1)
    for n in range(count):
        yield n, n % step == 0 or (n < SMALL and n % SMALL_STEP == 0) or n == count - 1


def probe(probes: list[bytes | Callable[[bytes], Life]]) -> Life:
    """Run fixed messages, and SCANs that go on from the last one's cursor."""
    for one in probes:
        if isinstance(one, bytes):
            yield one, True
        else:
            yield from one(b"0")


def scan(*words: Word) -> Callable[[bytes], Life]:
    """A few pages of an SCAN command, from the start."""

    def pages(cursor: bytes) -> Life:
        for _ in range(4):
            reply = yield message(*(cursor if part == "cursor" else part for part in words)), True
            cursor = cursor_of(read_replies(reply)[1][0].data)

    return pages


COMMON: list[bytes | Callable[[bytes], Life]] = [
    message("TYPE", "key"),
    message("OBJECT", "ENCODING", "key"),
    message("MEMORY", "USAGE", "key"),
    message("MEMORY", "USAGE", "key", "SAMPLES", 5),
    message("EXISTS", "key"),
    message("EXPIRE", "key", 1000),
    message("TTL", "key"),
    message("PERSIST", "key"),
    message("RENAME", "key", "{key}2"),
    message("RENAME", "{key}2", "key"),
    message("MOVE", "key", 1),
    message("SWAPDB", 0, 1),
]


ENDINGS_OF_ALL: list[list[Word]] = [["UNLINK", "{key}2"], ["TYPE", "{key}2"], ["FLUSHDB", "ASYNC"]]
ENDINGS: list[list[Word]] = [
    ["DEL", "{key}2"],
    ["SET", "{key}2", "x"],
    ["RENAME", "{key}3", "{key}2"],
    ["COPY", "{key}3", "{key}2", "REPLACE"],
    ["SORT", "none", "STORE", "{key}2"],
    ["SUNIONSTORE", "{key}2", "{key}4"],
    ["ZUNIONSTORE", "{key}2", 1, "{key}4"],
    ["EXPIRE", "{key}2", -1],
    *ENDINGS_OF_ALL,
]


def endings(driver: Driver, several: bool) -> Life:
    """The ways in which a large collection, or a database that has one, goes.

    That takes a copy for each, so the largest one goes in a few ways only.
    """
    for ending in ENDINGS if several else ENDINGS_OF_ALL:
        yield message("COPY", "key", "{key}2", "REPLACE"), False
        yield message("SET", "{key}3", "x"), False
        yield message("DEL", "{key}4"), False
        yield message("SADD", "{key}4", "x"), False
        if ending[0] == "TYPE":
            yield message("PEXPIRE", "{key}2", 5), False
            driver.now_ms += 10
        if ending[0] == "FLUSHDB":
            yield message("MOVE", "{key}2", 2), False
            yield message("SWAPDB", 0, 2), False
        yield message(*ending), True
        if ending[0] == "FLUSHDB":
            yield message("SWAPDB", 0, 2), False
        driver.wait_for_reaper()
        # What was freed is in the allocator's hands: it may have to sort it for the next ones.
        for size in (10, 30, 100, 300, 1000, 3000, 10_000):
            yield message("SET", "{key}4", "x" * size), True
    yield message("DEL", "{key}2", "{key}3", "{key}4"), False


def simple(
    driver: Driver,
    count: int,
    add: list[Template],
    member: Callable[[int], bytes],
    probes: list[bytes | Callable[[bytes], Life]],
    remove: list[Template],
) -> Life:
    """Grow member by member, go in all ways, and shrink in an order that is not that of growing."""
    for n, staged in stages(count):
        yield member(n * 7919 % count).join(add[n % len(add)]), True
        if staged:
            yield from probe(probes)
            yield from probe(COMMON)
        if n == min(count, ENDINGS_COUNT) // 2:
            yield from endings(driver, True)
    yield from endings(driver, False)
    left = count
    for n, staged in stages(count):
        yield member(n * 104729 % count).join(remove[n % len(remove)]), True
        left -= 1
        if staged and left > 1:
            yield from probe(probes)


def hash_life(driver: Driver, count: int) -> Life:
    probes: list[bytes | Callable[[bytes], Life]] = [
        message("HSET", "key", "one", "value"),
        message("HGET", "key", "one"),
        message("HSET", "key", "one", "a longer value"),
        message("HSETNX", "key", "one", "value"),
        message("HINCRBY", "key", "number", 1),
        message("HINCRBYFLOAT", "key", "number", "1"),
        message("HMGET", "key", "one", "number", "none"),
        message("HEXISTS", "key", "one"),
        message("HSTRLEN", "key", "one"),
        message("HLEN", "key"),
        message("HRANDFIELD", "key"),
        message("HRANDFIELD", "key", 3, "WITHVALUES"),
        message("HRANDFIELD", "key", -10),
        scan("HSCAN", "key", "cursor", "COUNT", 10),
        message("HDEL", "key", "one"),
    ]
    yield from simple(
        driver,
        count,
        [template("HSET", "key", HOLE, "value")],
        word,
        probes,
        [template("HDEL", "key", HOLE)],
    )


def set_probes() -> list[bytes | Callable[[bytes], Life]]:
    return [
        message("SADD", "key", "20000000"),
        message("SISMEMBER", "key", "20000000"),
        message("SMISMEMBER", "key", "20000000", "none"),
        message("SCARD", "key"),
        message("SRANDMEMBER", "key"),
        message("SRANDMEMBER", "key", 3),
        message("SRANDMEMBER", "key", -10),
        message("SADD", "{key}small", "20000000", "1"),
        message("SINTER", "key", "{key}small"),
        message("SINTERCARD", 2, "key", "{key}small", "LIMIT", 1),
        message("SDIFF", "{key}small", "key"),
        message("SMOVE", "key", "{key}other", "20000000"),
        message("SMOVE", "{key}other", "key", "20000000"),
        message("SMOVE", "key", "{key}other", "20000000"),
        scan("SSCAN", "key", "cursor", "COUNT", 10),
        message("DEL", "{key}other"),
    ]


def set_life(driver: Driver, count: int) -> Life:
    add, remove = template("SADD", "key", HOLE), template("SREM", "key", HOLE)
    yield from simple(driver, count, [add], word, set_probes(), [remove])


def intset_life(driver: Driver, count: int) -> Life:
    """The members are integers; shrunk by chance, which leaves SPOP's order to the shard."""
    add, pop = template("SADD", "key", HOLE), message("SPOP", "key")
    yield from simple(driver, count, [add], text, set_probes(), [(pop,)])


def zset_life(driver: Driver, count: int) -> Life:
    probes: list[bytes | Callable[[bytes], Life]] = [
        message("ZADD", "key", 15_000_000, "one"),
        message("ZINCRBY", "key", 1, "one"),
        message("ZADD", "key", "GT", 10, "one"),
        message("ZSCORE", "key", "one"),
        message("ZMSCORE", "key", "one", "none"),
        message("ZRANK", "key", "one"),
        message("ZREVRANK", "key", "one", "WITHSCORE"),
        message("ZCARD", "key"),
        message("ZRANGE", "key", 0, 9, "WITHSCORES"),
        message("ZRANGE", "key", -10, -1),
        message("ZRANGE", "key", count // 2, count // 2 + 9),
        message("ZRANGE", "key", "(10500000", "+inf", "BYSCORE", "LIMIT", 5, 10),
        message("ZREVRANGEBYSCORE", "key", "+inf", 10_500_000, "LIMIT", 5, 10),
        message("ZRANGEBYLEX", "key", "-", "+", "LIMIT", 0, 10),
        message("ZCOUNT", "key", 10_100_000, 10_900_000),
        message("ZLEXCOUNT", "key", "-", "+"),
        message("ZRANDMEMBER", "key"),
        message("ZRANDMEMBER", "key", 3, "WITHSCORES"),
        message("ZRANDMEMBER", "key", -10),
        message("ZRANGESTORE", "{key}other", "key", 0, 9),
        message("ZREM", "key", "one"),
        message("ZADD", "key", 1, "first", 99_000_000, "last"),
        message("ZPOPMIN", "key"),
        message("ZPOPMAX", "key"),
        message("ZADD", "key", 1, "first", 99_000_000, "last"),
        message("ZREMRANGEBYRANK", "key", 0, 0),
        message("ZREMRANGEBYSCORE", "key", 99_000_000, 99_000_000),
        scan("ZSCAN", "key", "cursor", "COUNT", 10),
        message("DEL", "{key}other"),
    ]
    yield from simple(
        driver,
        count,
        [template("ZADD", "key", HOLE, HOLE)],
        text,
        probes,
        [
            template("ZREM", "key", HOLE),
            (message("ZPOPMIN", "key"),),
            (message("ZREMRANGEBYRANK", "key", -1, -1),),
        ],
    )


def list_life(driver: Driver, count: int, size: int = -2, depth: int = 0) -> Life:
    driver.keyspace.set_limits({"list-max-listpack-size": size, "list-compress-depth": depth})
    probes: list[bytes | Callable[[bytes], Life]] = [
        message("LPUSH", "key", "first"),
        message("RPUSH", "key", "last"),
        message("LPUSHX", "key", "first"),
        message("RPUSHX", "key", "last"),
        message("LLEN", "key"),
        message("LINDEX", "key", 0),
        message("LINDEX", "key", -1),
        message("LRANGE", "key", 0, 9),
        message("LRANGE", "key", -10, -1),
        message("LSET", "key", 0, "another first"),
        message("LSET", "key", -1, "another last"),
        message("LPOS", "key", "another first"),
        message("LPOS", "key", "another last", "RANK", -1),
        message("LINSERT", "key", "BEFORE", "another first", "new"),
        message("LREM", "key", 1, "new"),
        message("LMOVE", "key", "key", "LEFT", "RIGHT"),
        message("RPOPLPUSH", "key", "key"),
        message("LMOVE", "key", "{key}other", "RIGHT", "LEFT"),
        message("LMPOP", 1, "key", "LEFT"),
        message("LPOP", "key"),
        message("RPOP", "key", 1),
        message("LTRIM", "key", 0, -1),
        message("DEL", "{key}other"),
    ]
    yield from simple(
        driver,
        count,
        [template("RPUSH", "key", HOLE), template("LPUSH", "key", HOLE)],
        word,
        probes,
        [(message("LPOP", "key"),), (message("RPOP", "key"),), (message("LPOP", "key", 1),)],
    )


def compressed_life(driver: Driver, count: int) -> Life:
    """The largest nodes, all but the ends compressed."""
    yield from list_life(driver, count, -5, 1)


def stream_life(driver: Driver, count: int) -> Life:
    """Every entry is delivered once and stays pending; then all are acknowledged, and deleted."""
    probes: list[bytes | Callable[[bytes], Life]] = [
        message("XLEN", "key"),
        message("XRANGE", "key", "-", "+", "COUNT", 10),
        message("XREVRANGE", "key", "+", "-", "COUNT", 10),
        message("XRANGE", "key", 10_500_000, "+", "COUNT", 10),
        message("XREAD", "COUNT", 1, "STREAMS", "key", 0),
        message("XINFO", "STREAM", "key"),
        message("XINFO", "GROUPS", "key"),
        message("XINFO", "CONSUMERS", "key", "group"),
        message("XPENDING", "key", "group"),
        message("XPENDING", "key", "group", "-", "+", 10),
        message("XPENDING", "key", "group", "-", "+", 10, "consumer"),
        message("XCLAIM", "key", "group", "another", 0, "10000000-0"),
        message("XAUTOCLAIM", "key", "group", "consumer", 0, "0", "COUNT", 10),
        message("XREADGROUP", "GROUP", "group", "consumer", "COUNT", 1, "STREAMS", "key", 0),
        message("XTRIM", "key", "MAXLEN", "~", count),
        message("XGROUP", "CREATE", "key", "second", 0),
        message("XREADGROUP", "GROUP", "second", "c", "COUNT", 1, "STREAMS", "key", ">"),
        message("XGROUP", "CREATECONSUMER", "key", "second", "d"),
        message("XGROUP", "DELCONSUMER", "key", "second", "c"),
        message("XGROUP", "DESTROY", "key", "second"),
    ]
    read = message("XREADGROUP", "GROUP", "group", "consumer", "COUNT", 1, "STREAMS", "key", ">")
    added = [
        template("XADD", "key", HOLE, "field", "value"),
        template("XADD", "key", "MAXLEN", "~", count * 2, HOLE, "field", "value"),
    ]
    yield message("XGROUP", "CREATE", "key", "group", "$", "MKSTREAM"), False
    for n, staged in stages(count):
        yield text(n).join(added[n & 1]), True
        yield read, True
        if staged:
            yield from probe(probes)
            yield from probe(COMMON)
    yield from endings(driver, count <= ENDINGS_COUNT)
    acknowledge, delete = template("XACK", "key", "group", HOLE), template("XDEL", "key", HOLE)
    for n, staged in stages(count):
        yield text(n * 104729 % count).join(acknowledge), True
        if staged:
            yield from probe(probes)
    for n, staged in stages(count // 2):
        yield text(n * 2).join(delete), True
        if staged:
            yield from probe(probes)
    # Whole nodes go by approximate trimming, a few with each entry that is added.
    for n in range(count // 200):
        yield message("XTRIM", "key", "MAXLEN", "~", count // 2 - n * 100, "LIMIT", 200), True


def bitmap_life(driver: Driver, count: int) -> Life:
    """A string that grows by 8 bytes at a time, by a bit and by an APPEND in turn."""
    for n, staged in stages(count):
        if n & 1:
            yield message("SETBIT", "key", n * 64 + 63, 1), True
        else:
            yield message("APPEND", "key", b"8 bytes."), True
        if staged:
            yield from probe(
                [
                    message("SETBIT", "key", 7, 1),
                    message("GETBIT", "key", n * 64),
                    message("BITFIELD", "key", "SET", "u8", n * 32, 200, "INCRBY", "i16", 16, 1),
                    message("SETRANGE", "key", n * 4, "some"),
                    message("GETRANGE", "key", -10, -1),
                    message("STRLEN", "key"),
                    message("BITCOUNT", "key", 0, 100),
                    message("BITPOS", "key", 1),
                    *COMMON,
                ]
            )
    yield from endings(driver, True)


def log_life(driver: Driver, count: int) -> Life:
    """A HyperLogLog, which becomes dense on its way."""
    add = template("PFADD", "key", HOLE)
    for n, staged in stages(count):
        yield text(n).join(add), True
        if staged:
            yield from probe([message("PFCOUNT", "key"), *COMMON])


def keyspace_life(driver: Driver, count: int, tags: int) -> Life:
    """Keys with a TTL, in so many slots."""
    names = [b"{%d}" % tag for tag in range(tags)]
    changes = [
        [template(words[0], name + HOLE, *words[1:]) for name in names]
        for words in (
            ["SET", "value", "EX", "1000"],
            ["SET", "value"],
            ["EXPIRE", "1000"],
            ["PERSIST"],
            ["DEL"],
            ["UNLINK"],
        )
    ]
    probes: list[bytes | Callable[[bytes], Life]] = [
        scan("SCAN", "cursor", "COUNT", 10),
        scan("SCAN", "cursor", "COUNT", 10, "TYPE", "hash"),
        message("RANDOMKEY"),
        message("DBSIZE"),
        message("SET", "{0}one", "value"),
        message("GET", "{0}one"),
        message("INCR", "{0}number"),
        message("RENAME", "{0}one", "{0}two"),
        message("COPY", "{0}two", "{0}one"),
        message("MSET", "{0}one", "1", "{0}two", "2"),
        message("TOUCH", "{0}one", "{0}two"),
        message("DEL", "{0}one", "{0}two", "{0}number"),
        message("SWAPDB", 0, 1),
        message("SWAPDB", 0, 1),
    ]
    for n, staged in stages(count):
        key = n * 7919 % count
        yield word(key).join(changes[n & 1][key % tags]), True
        if staged:
            yield from probe(probes)
    for turn in (2, 3, 2):
        for n, staged in stages(count):
            key = n * 104729 % count
            yield word(key).join(changes[turn][key % tags]), True
            if staged:
                yield from probe(probes)
    for n, staged in stages(count):
        key = n * 15485863 % count
        yield word(key).join(changes[4 + (n & 1)][key % tags]), True
        if staged:
            yield from probe(probes)


def slot_life(driver: Driver, count: int) -> Life:
    yield from keyspace_life(driver, count, 1)


def spread_life(driver: Driver, count: int) -> Life:
    yield from keyspace_life(driver, count, TAGS)
    yield message("SET", "last", "value"), True
    yield message("FLUSHALL", "ASYNC"), True


LIVES: dict[str, Callable[[Driver, int], Life]] = {
    "hash": hash_life,
    "set": set_life,
    "intset": intset_life,
    "zset": zset_life,
    "list": list_life,
    "compressed-list": compressed_life,
    "stream": stream_life,
    "bitmap": bitmap_life,
    "hyperloglog": log_life,
    "slot": slot_life,
    "spread": spread_life,
}


def shown(message: bytes) -> str:
    """The command of a message, for people."""
    words = message[message.index(b"*") :].split(b"\r\n")[2::2]
    return " ".join(word[:20].decode("latin-1") for word in words[:6])


def live(name: str, native_lane: bool, count: int, threshold_us: float,
         steps_max: int = sys.maxsize) -> dict[int, tuple[float, str]]:  # fmt: skip
    """One life, or its first steps: those above the threshold, with their times."""
    driver = Driver(native_lane)
    steps = LIVES[name](driver, count)
    threshold = int(threshold_us * 1000)
    found: dict[int, tuple[float, str]] = {}
    number = 0
    one, counts = next(steps)
    while number < steps_max:
        spent, reply = driver.execute(one)
        if counts and spent > threshold:
            found[number] = spent / 1000, shown(one)
        number += 1
        try:
            one, counts = steps.send(reply)
        except StopIteration:
            break
    return found


def longest(name: str, native_lane: bool, count: int,
            threshold_us: float = LIMIT_US) -> dict[int, tuple[float, str]]:  # fmt: skip
    """The steps that took longer in each of some lives: their number, least time and command."""

    def once(*args: int) -> dict[int, tuple[float, str]]:
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as alone:
            return alone.submit(live, name, native_lane, count, threshold_us, *args).result()

    found = once()
    for _ in range(REPEATS - 1):
        if not found:
            break
        again = once(max(found) + 1)
        found = {
            step: min(found[step], again[step]) for step in found.keys() & again.keys()
        }  # a step that was quick once costs no more than that
    return found


def measure(names: list[str], lane: str, count: int, threshold_us: float = LIMIT_US) -> list[str]:
    """`longest` of some lives in a process of their own; a line for each step."""
    words = [sys.executable, "-m", __name__, ",".join(names), lane, str(count), str(threshold_us)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found


def main() -> None:
    tune_allocator()
    gc.collect()
    gc.freeze()
    gc.disable()
    lane, count = sys.argv[2], int(sys.argv[3])
    threshold_us = float(sys.argv[4]) if len(sys.argv) > 4 else LIMIT_US
    lines = []
    for name in sys.argv[1].split(","):
        found = longest(name, lane == "native", count, threshold_us)
        for step, (us, command) in sorted(found.items()):
            lines.append(f"{name}, step {step}: {us:.0f} us: {command}")
    print(json.dumps(lines))


if __name__ == "__main__":
    main()
