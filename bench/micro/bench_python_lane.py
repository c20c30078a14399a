"""What a command costs in a shard, for each one that is worth a look, beside redis-server.

    python -m bench.micro.bench_python_lane [name prefix ... [path of a redis-server]]

Ours is the shard's half alone, in one process: an envelope in, replies out, over memory links.
Redis's is the CPU time of its process for pipelines of 16 over a socket, system calls included. The
ratio of the two is thus no ratio of throughputs, but it ranks the commands by how far ours fall
after.
"""

from __future__ import annotations

import gc
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from actors.mailbox import MemoryLink
from bench.macro.servers import Server, free_port
from protocol.table import NativeTable
from router.dispatch import WorkerDispatcher
from router.table import full_table
from shards.commands import native
from shards.execution.executor import Executor
from shards.execution.runner import Runner
from shards.keyspace.keyspace import Keyspace
from shards.lane.context import Context, Settings
from shards.lane.handler import NativeLane

DEPTH = 16
COMMANDS = 4_800
ROUNDS = 2
STREAM_ENTRIES = 2 * ROUNDS * COMMANDS
END = "the-end-of-a-pipeline"
ENDED = b"\r\n" + END.encode() + b"\r\n"

SETUP = """
    SET s:1 hello:world ; SET s:2 hello:there ; SET n:1 10 ; SET f:1 10.5 ; SET b:1 foobarfoobar
    SET b:2 abcdefabcdef ; HSET h:1 a 1 b 2 c 3 d four e 5.5 ; RPUSH l:1 a b c d e f g h i j
    RPUSH l:2 3 1 2 ; RPUSH l:3 x ; SADD t:1 a b c d e ; SADD t:2 c d e f g ; SADD t:3 1 2 3
    ZADD z:1 1 a 2 b 3 c 4 d 5 e ; ZADD z:2 2 b 3 c 9 x ; ZADD y:1 0 a 0 b 0 c 0 d 0 e
    PFADD p:1 a b c d e ; PFADD p:2 c d e f ; GEOADD g:1 13.361 38.115 Palermo 15.087 37.502 Catania
    XADD x:1 1-1 f v ; XADD x:1 2-1 f v ; XADD x:1 3-1 f v ; XADD x:1 4-1 f v ; XADD x:1 5-1 f v
    XGROUP CREATE x:1 g 0 ; XREADGROUP GROUP g c STREAMS x:1 >
    XGROUP CREATE x:2 g 0 MKSTREAM ; XGROUP CREATE x:3 g 0 MKSTREAM
"""

# What is measured: the words of a command, or of several in turn. {n} is a number that counts up.
CASES = """
    GET s:1
    SET s:9 value
    GETEX s:1
    SET s:8 value EX 100
    INCRBYFLOAT f:1 0.5
    LCS s:1 s:2
    MSETNX s:1 a s:2 b
    SETBIT b:9 7 1
    BITCOUNT b:1
    BITPOS b:1 1
    BITFIELD b:8 INCRBY u8 0 1
    BITFIELD_RO b:1 GET u8 0
    BITOP AND b:3 b:1 b:2
    EXPIRE s:1 10000
    TTL s:1
    TYPE s:1
    OBJECT ENCODING s:1
    RENAME s:9 s:7 ; RENAME s:7 s:9
    RENAMENX s:1 s:2
    COPY s:1 s:6 REPLACE
    DUMP s:1
    SCAN 0
    SCAN 0 MATCH s:* COUNT 10
    RANDOMKEY
    KEYS nothing
    SORT l:2
    SORT_RO l:2 DESC LIMIT 0 2
    MEMORY USAGE s:1
    HGET h:1 a
    HMSET h:2 a 1 b 2
    HEXISTS h:1 a
    HKEYS h:1
    HSTRLEN h:1 d
    HSETNX h:1 a x
    HINCRBYFLOAT h:3 a 0.5
    HSCAN h:1 0
    HRANDFIELD h:1
    LPUSH l:9 a ; LPOP l:9
    LSET l:1 2 x
    LINSERT l:3 BEFORE x y ; LREM l:3 1 y
    LREM l:1 1 nothing
    LTRIM l:1 0 9
    LPOS l:1 d
    LMOVE l:1 l:1 LEFT RIGHT
    RPOPLPUSH l:1 l:1
    LMPOP 1 l:8 LEFT
    LRANGE l:1 0 -1
    SISMEMBER t:1 a
    SMISMEMBER t:1 a b
    SINTER t:1 t:2
    SUNION t:1 t:2
    SDIFF t:1 t:2
    SINTERCARD 2 t:1 t:2
    SINTERSTORE t:4 t:1 t:2
    SUNIONSTORE t:4 t:1 t:2
    SDIFFSTORE t:4 t:1 t:2
    SMOVE t:1 t:2 nothing
    SSCAN t:1 0
    SRANDMEMBER t:1 2
    ZADD z:9 1 a
    ZADD z:9 GT CH 1 a
    ZMSCORE z:1 a b
    ZCOUNT z:1 2 4
    ZLEXCOUNT y:1 [b [d
    ZRANGE z:1 0 -1
    ZREVRANGE z:1 0 -1
    ZRANGEBYSCORE z:1 2 4
    ZRANGE z:1 2 4 BYSCORE
    ZRANGE z:1 0 -1 REV WITHSCORES
    ZRANGEBYLEX y:1 [b [d
    ZREVRANGEBYLEX y:1 [d [b
    ZRANDMEMBER z:1
    ZREMRANGEBYSCORE z:1 8 9
    ZREMRANGEBYRANK z:1 8 9
    ZREMRANGEBYLEX y:1 [x [y
    ZMPOP 1 z:8 MIN
    ZUNION 2 z:1 z:2
    ZINTER 2 z:1 z:2
    ZDIFF 2 z:1 z:2
    ZINTERCARD 2 z:1 z:2
    ZUNIONSTORE z:4 2 z:1 z:2
    ZINTERSTORE z:4 2 z:1 z:2
    ZDIFFSTORE z:4 2 z:1 z:2
    ZRANGESTORE z:4 z:1 0 -1
    ZSCAN z:1 0
    PFADD p:1 a
    PFADD p:3 {n}
    PFCOUNT p:1
    PFCOUNT p:1 p:2
    PFMERGE p:4 p:1 p:2
    GEOADD g:1 13.361 38.115 Palermo
    GEOPOS g:1 Palermo
    GEODIST g:1 Palermo Catania
    GEOHASH g:1 Palermo
    GEOSEARCH g:1 FROMLONLAT 15 37 BYRADIUS 200 km ASC
    GEORADIUS g:1 15 37 200 km
    XADD x:9 MAXLEN ~ 1000 * f v
    XADD x:8 MINID ~ 1 * f v
    XADD x:8 NOMKSTREAM * f v
    XLEN x:1
    XRANGE x:1 - + COUNT 5
    XREVRANGE x:1 + - COUNT 1
    XREAD COUNT 2 STREAMS x:1 0
    XREAD STREAMS x:1 $
    XREADGROUP GROUP g c COUNT 1 STREAMS x:2 >
    XREADGROUP GROUP g c COUNT 1 NOACK STREAMS x:3 >
    XREADGROUP GROUP g c STREAMS x:1 >
    XREADGROUP GROUP g c COUNT 2 STREAMS x:1 0
    XACK x:2 g {n}-1
    XPENDING x:1 g
    XPENDING x:1 g - + 2
    XCLAIM x:1 g c 0 1-1
    XCLAIM x:1 g c 0 1-1 JUSTID
    XAUTOCLAIM x:1 g c 0 0 COUNT 2
    XDEL x:1 9-9
    XTRIM x:1 MAXLEN 100
    XSETID x:7 5000000000000
    XINFO STREAM x:1
    XINFO GROUPS x:1
    XINFO CONSUMERS x:1 g
    XGROUP CREATECONSUMER x:1 g c
"""


class Host:
    databases = 16

    def __init__(self) -> None:
        self.settings: dict[str, object] = {}

    def closed(self, session: object) -> None:
        """Nothing to do."""


def encoded(words: str, number: int = 0) -> bytes:
    args = [word.replace("{n}", str(number)).encode() for word in words.split()]
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in args)


def setup() -> list[bytes]:
    commands = [encoded(words) for line in SETUP.splitlines() for words in line.split(" ; ")]
    commands = [command for command in commands if command != b"*0\r\n"]
    commands.append(encoded("XADD x:7 1-1 f v"))
    for number in range(1, STREAM_ENTRIES):
        commands.append(encoded("XADD x:2 {n}-1 field value", number))
        commands.append(encoded("XADD x:3 {n}-1 field value", number))
    return commands


def batches(case: str, first: int) -> list[bytes]:
    """Pipelines of DEPTH commands; {n} counts from `first` on."""
    parts = case.split(" ; ")
    made = [encoded(parts[n % len(parts)], first + n) for n in range(COMMANDS)]
    return [b"".join(made[n : n + DEPTH]) for n in range(0, COMMANDS, DEPTH)]


class Ours:
    """A dispatcher and an executor in this process."""

    def __init__(self) -> None:
        self.table = NativeTable(full_table())
        self.dispatcher = WorkerDispatcher(self.table, 1)
        self.dispatcher.host = Host()
        self.dispatcher.set_slots(1, [(0, 16383, 0)])
        keyspace = Keyspace(16, bytes(16), 1)
        lane = NativeLane()
        native.register(lane)
        context = Context(keyspace, Settings({}), self.table.table)
        self.executor = Executor(Runner(self.table, keyspace, context, lane))
        near, far = MemoryLink.pair("main")
        near_bulk, far_bulk = MemoryLink.pair("bulk")
        self.dispatcher.shard_up(0, 1, near, near_bulk)
        self.executor.add_links(far, far_bulk)
        self.session = self.dispatcher.open_session(1)

    def run(self, data: bytes) -> int:
        """What the shard took, in nanoseconds."""
        self.session.push(data)
        self.dispatcher.post()
        started = time.thread_time_ns()
        self.executor.service()
        spent = time.thread_time_ns() - started
        self.dispatcher.collect()
        self.session.take_output()
        return spent

    def measure(self, pipelines: list[bytes]) -> float:
        """Microseconds a command."""
        return sum(self.run(data) for data in pipelines) / 1000 / COMMANDS


class Theirs:
    """A redis-server and one connection."""

    def __init__(self, binary: str) -> None:
        port = free_port()
        self.server = Server(port, [port], Path(tempfile.mkdtemp()))
        self.server.launch(binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "")
        self.server.wait_ready()
        self.stat = Path(f"/proc/{self.server.children[0].pid}/schedstat")
        self.connection = socket.create_connection(("127.0.0.1", port))

    def cpu_ns(self) -> int:
        return int(self.stat.read_text().split()[0])

    def run(self, data: bytes) -> None:
        """Send, and read up to the reply of a last command that is no part of what is measured."""
        self.connection.sendall(data + encoded("ECHO " + END))
        got = self.connection.recv(1 << 20)
        while not got.endswith(ENDED):
            got = got[-len(ENDED) :] + self.connection.recv(1 << 20)

    def measure(self, pipelines: list[bytes]) -> float:
        """Microseconds a command."""
        started = self.cpu_ns()
        for data in pipelines:
            self.run(data)
        return (self.cpu_ns() - started) / 1000 / COMMANDS


def load(run: Callable[[bytes], object]) -> None:
    commands = setup()
    for first in range(0, len(commands), 200):
        run(b"".join(commands[first : first + 200]))


def main() -> None:
    binary = next((word for word in sys.argv[1:] if os.sep in word), shutil.which("redis-server"))
    prefixes = tuple(word.upper() for word in sys.argv[1:] if os.sep not in word)
    cases = [case.strip() for case in CASES.splitlines() if case.strip()]
    ours = Ours()
    theirs = Theirs(binary) if binary else None
    try:
        load(ours.run)
        if theirs is not None:
            load(theirs.run)
        gc.freeze()
        for case in cases:
            name = case.split()[0]
            if prefixes and not name.startswith(prefixes):
                continue
            best, best_theirs = 1e9, 1e9
            for number in range(ROUNDS):
                pipelines = batches(case, 1 + number * COMMANDS)
                best = min(best, ours.measure(pipelines))
                if theirs is not None:
                    best_theirs = min(best_theirs, theirs.measure(pipelines))
            text = f"{case:58} {best:7.2f} us"
            if theirs is not None:
                text += f"   redis {best_theirs:6.2f} us   {best_theirs / best:5.2f}"
            print(text, flush=True)
    finally:
        if theirs is not None:
            theirs.server.stop()


if __name__ == "__main__":
    main()
