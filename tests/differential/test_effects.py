"""The effects of commands against redis-server's: its keyspace events, and what a replica is sent.

Goal: a client that listens to keyspace events, a replica or a log sees of a command here what it
would see there, in the same order. Method: random commands of all families, from the grammar of the
differential machine, run in a shard's executor with a consumer that records everything, in both
lanes, and in redis-server, whose events and replication stream are read beside it.

What may differ has a name in DIFFERENCES, and nothing else may.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import pytest

from actors.mailbox import MemoryLink
from protocol.commands import Place
from protocol.table import NativeTable
from router.table import full_table
from shards.commands import native
from shards.execution.executor import Executor
from shards.execution.runner import Runner
from shards.inspect.contract import Contract
from shards.keyspace.keyspace import Keyspace
from shards.lane.context import Context, Settings
from shards.lane.handler import NativeLane
from tests.differential import machine
from tests.differential.conftest import is_72
from tests.support.effects import Event, Logged, Stream, Told, Witness
from tests.support.envelopes import RUN_MULTI, Run, read_replies, requests
from tests.support.resp_client import encode
from tests.support.servers import Oracle
from tests.support.slots import slot

TABLE = NativeTable(full_table())
COMMANDS = int(os.environ.get("SHARDIS_EFFECTS_COMMANDS", "400"))
# Not about keys, or about settings that only sessions and the router have.
LEFT_OUT = {
    b"DEBUG",
    b"MEMORY",
    b"COMMAND",
    b"CLUSTER",
    b"CLIENT",
    b"CONFIG",
    b"PUBLISH",
    b"LOLWUT",
}
TIME_SLACK_MS = 10_000


class Recorder:
    """A consumer that records everything; `take` is what the last command did."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.logged: list[Logged] = []
        self.stream = Stream()

    def changed(self, database: int, key: bytes, event: bytes, kind: int, count: int) -> None:
        if event:
            self.events.append((database, event, key))

    def record(
        self, transaction: int, time_ns: int, database: int, last_database: int, data: bytes
    ) -> None:
        self.stream.database = database
        for words in split(data):
            logged = self.stream.take(words)
            if logged is not None:
                self.logged.append(logged)
        assert self.stream.database == last_database

    def take(self) -> tuple[list[Event], list[Logged]]:
        taken = self.events, self.logged
        self.events, self.logged = [], []
        return taken


def split(data: bytes) -> Iterator[list[bytes]]:
    """The commands in RESP."""
    at = 0
    while at < len(data):
        end = data.index(b"\r\n", at)
        count, at = int(data[at + 1 : end]), end + 2
        words = []
        for _ in range(count):
            end = data.index(b"\r\n", at)
            length = int(data[at + 1 : end])
            words.append(data[end + 2 : end + 2 + length])
            at = end + 4 + length
        yield words


class Shard:
    """An executor of ours with one client."""

    def __init__(self, native_lane: bool) -> None:
        self.keyspace = Keyspace(16, bytes(16), 1)
        lane = NativeLane()
        native.register(lane)
        context = Context(self.keyspace, Settings({}), TABLE.table, 16, Random(0))
        runner = Runner(TABLE, self.keyspace, context, lane)
        runner.native_lane = native_lane
        self.executor = Executor(runner)
        self.link, far = MemoryLink.pair("main")
        self.bulk, far_bulk = MemoryLink.pair("bulk")
        self.executor.add_links(far, far_bulk)
        self.recorder = Recorder()
        context.effects.attach(self.recorder)
        self.broken: list[str] = []
        self.contract = Contract(context.effects, self.broken.append)
        self.database = 0

    def run(self, args: Sequence[bytes]) -> Told:
        if args[0].upper() == b"SELECT":
            self.database = int(args[1])
            return Told(b"+OK\r\n")
        words = list(args)
        number = TABLE.lookup(words)
        keys = TABLE.keys(number, words)
        raw = encode(*words)
        header = len(raw), 0, 0, number, 0
        if keys:
            at = len(b"*%d\r\n" % len(words))
            at += sum(len(b"$%d\r\n%b\r\n" % (len(word), word)) for word in words[: keys[0]])
            key = words[keys[0]]
            header = len(raw), at + len(b"$%d\r\n" % len(key)), len(key), number, slot(key)
        self.link.post(
            requests(1, [Run(commands=[header], raw=raw, database=self.database, flags=RUN_MULTI)])
        )
        self.executor.service()
        reply = b""
        while (message := self.link.fetch()) is not None:
            reply += b"".join(part.data for part in read_replies(message)[1])
        while (message := self.bulk.fetch()) is not None:
            reply += bytes(message)
        return Told(reply, *self.recorder.take())


def is_for_a_shard(args: Sequence[bytes]) -> bool:
    """Whether it is one that the executor would be sent, by a worker that has checked it."""
    name = args[0].upper()
    if name in LEFT_OUT:
        return False
    if name == b"SELECT":
        return len(args) == 2 and args[1] in (b"0", b"1", b"2", b"15")
    number = TABLE.lookup(list(args))
    if number < 0:
        return False
    command = TABLE.table.by_id[number]
    arity = command.arity
    if command.place not in (Place.SHARD, Place.FANOUT):
        return False
    return len(args) == arity if arity > 0 else len(args) >= -arity


# --- What may differ ----------------------------------------------------------------------------

Pair = tuple[Told, Told]  # of ours and theirs, reduced to what must be equal
Difference = Callable[[Sequence[bytes], Told, Told], Pair | None]


@dataclass(frozen=True, slots=True)
class Named:
    """A difference that is allowed.

    `reduce` gives what must be equal, or None if it isn't about this command.
    """

    reason: str
    reduce: Difference
    since_72: bool  # it is a matter of Redis 7.0


DIFFERENCES: list[Named] = []


def difference(reason: str, *, since_72: bool = False) -> Callable[[Difference], Difference]:
    def declare(function: Difference) -> Difference:
        DIFFERENCES.append(Named(reason, function, since_72))
        return function

    return declare


def differ(args: Sequence[bytes], ours: Told, theirs: Told, *, is_72: bool) -> str:
    """What is different, for a failure's message; empty: nothing."""
    mine, yours = ours, theirs
    for named in DIFFERENCES:
        if mine.same_effects(yours):
            return ""
        if named.since_72 and is_72:
            continue
        result = named.reduce(args, mine, yours)
        if result is not None:
            mine, yours = result
    text = ""
    if mine.events != yours.events:
        text += f"\n  events: oracle {theirs.events}\n          ours   {ours.events}"
    if mine.logged != yours.logged:
        text += f"\n  logged: oracle {shown(theirs.logged)}\n          ours   {shown(ours.logged)}"
    return text


def shown(logged: list[Logged]) -> list[tuple[int, list[bytes]]]:
    return [(database, [word[:60] for word in words]) for database, words in logged]


def is_time(word: bytes) -> bool:
    return re.fullmatch(rb"\d{13,19}(-0)?", word) is not None


@difference("two clocks tell times some milliseconds apart")
def times(args: Sequence[bytes], ours: Told, theirs: Told) -> Pair | None:
    if len(ours.logged) != len(theirs.logged):
        return None
    logged = []
    for (database, mine), (_, yours) in zip(ours.logged, theirs.logged, strict=True):
        words = list(mine)
        if len(mine) == len(yours):
            for at, (a, b) in enumerate(zip(mine, yours, strict=True)):
                if (
                    is_time(a)
                    and is_time(b)
                    and abs(int(a.removesuffix(b"-0")) - int(b.removesuffix(b"-0")))
                    <= TIME_SLACK_MS
                ):
                    words[at] = b
        logged.append((database, tuple(words)))
    return Told(ours.reply, ours.events, logged), theirs


@difference("which members are popped is up to chance; how many are is compared")
def popped(args: Sequence[bytes], ours: Told, theirs: Told) -> Pair | None:
    if args[0].upper() != b"SPOP":
        return None

    def reduced(told: Told) -> Told:
        logged = [
            (database, (*words[:2], b"%d" % (len(words) - 2)) if words[0] == b"SREM" else words)
            for database, words in told.logged
        ]
        return Told(told.reply, told.events, logged)

    return reduced(ours), reduced(theirs)


@difference("in which order SCAN meets keys is that of the tables")
def scanned(args: Sequence[bytes], ours: Told, theirs: Told) -> Pair | None:
    if args[0].upper() != b"SCAN":
        return None

    def reduced(told: Told) -> Told:
        return Told(told.reply, sorted(told.events), sorted(told.logged))

    return reduced(ours), reduced(theirs)


@difference("7.0 logs a command for each member that is popped", since_72=True)
def popped_one_by_one(args: Sequence[bytes], ours: Told, theirs: Told) -> Pair | None:
    if args[0].upper() != b"SPOP":
        return None

    def reduced(told: Told) -> Told:
        members = sum(int(words[2]) for _, words in told.logged if words[0] == b"SREM")
        rest = [one for one in told.logged if one[1][0] not in (b"SREM", b"MULTI", b"EXEC")]
        return Told(told.reply, told.events, [*rest, (0, (b"%d members" % members,))])

    return reduced(ours), reduced(theirs)


@difference("7.0 logs a SET with PXAT without its other words", since_72=True)
def set_at(args: Sequence[bytes], ours: Told, theirs: Told) -> Pair | None:
    upper = [arg.upper() for arg in args]
    if upper[0] != b"SET" or b"PXAT" not in upper[3:] or len(ours.logged) != 1:
        return None
    database, words = ours.logged[0]
    when = words[[word.upper() for word in words].index(b"PXAT", 3) + 1]
    logged: list[Logged] = [(database, (b"SET", words[1], words[2], b"PXAT", when))]
    return Told(ours.reply, ours.events, logged), theirs


@difference("7.0 makes a consumer only when it gives it something", since_72=True)
def made_later(args: Sequence[bytes], ours: Told, theirs: Told) -> Pair | None:
    upper = [arg.upper() for arg in args]
    if upper[:2] in ([b"XGROUP", b"CREATECONSUMER"], [b"XGROUP", b"DELCONSUMER"]):
        return theirs, theirs
    if upper[0] not in (b"XREADGROUP", b"XCLAIM", b"XAUTOCLAIM"):
        return None

    def reduced(told: Told) -> Told:
        events = [event for event in told.events if event[1] != b"xgroup-createconsumer"]
        logged = [
            (database, words)
            for database, words in told.logged
            if words[1:2] != (b"CREATECONSUMER",) and words not in ((b"MULTI",), (b"EXEC",))
        ]
        return Told(told.reply, events, logged)

    return reduced(ours), reduced(theirs)


@difference("ZRANK ... WITHSCORE is new in 7.2", since_72=True)
def rank_with_score(args: Sequence[bytes], ours: Told, theirs: Told) -> Pair | None:
    if args[0].upper() not in (b"ZRANK", b"ZREVRANK") or len(args) != 4:
        return None
    return theirs, theirs


@difference("a BITFIELD that only adds zeros, as all else overflows, is in the log here")
def only_grown(args: Sequence[bytes], ours: Told, theirs: Told) -> Pair | None:
    if args[0].upper() != b"BITFIELD" or theirs.logged or b"FAIL" not in map(bytes.upper, args):
        return None
    return Told(ours.reply, ours.events, []), theirs


@difference("a mistake in the words is found here before a key is looked up")
def missed_before_a_mistake(args: Sequence[bytes], ours: Told, theirs: Told) -> Pair | None:
    if theirs.reply[:1] != b"-" or ours.reply != theirs.reply:
        return None

    def reduced(told: Told) -> Told:
        events = [event for event in told.events if event[1] != b"keymiss"]
        return Told(told.reply, events, told.logged)

    return reduced(ours), reduced(theirs)


# --- Running ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def witness(oracle_server: Oracle) -> Iterator[Witness]:
    made = Witness(oracle_server)
    yield made
    made.close()
    with oracle_server.client() as client:  # other tests compare what it is set to
        for name, value in (("notify-keyspace-events", ""), ("repl-ping-replica-period", "10")):
            assert client.call("CONFIG", "SET", name, value) == b"+OK\r\n"


def compare(
    witness: Witness, oracle: Oracle, native_lane: bool, commands: list[tuple[bytes, ...]]
) -> list[str]:
    """What is different, command by command; the contract of effects must hold, too."""
    shard = Shard(native_lane)
    found = []
    for args, theirs in zip(commands, witness.run(commands), strict=True):
        ours = shard.run(args)
        if text := differ(args, ours, theirs, is_72=is_72(oracle)):
            found.append(f"{[arg[:60] for arg in args]}{text}")
    assert shard.broken == []
    return found


def commands_of(seed: str, family: machine.Family) -> list[tuple[bytes, ...]]:
    case = machine.steps(seed, COMMANDS, mostly=family)
    return [
        command.args
        for step in case
        if not step.pause_ms and not step.iterate
        for command in step.commands
        if command.args and is_for_a_shard(command.args)
    ]


# One after the other: what random commands seldom come to, such as keys that expire on the way.
SCRIPT = """
xadd x nomkstream maxlen ~ 100 limit 5 1-* f v
xadd x maxlen ~ 100 limit 5 1-* f v
xadd x nomkstream maxlen ~ 100 limit 5 2-* f v
xadd x nomkstream maxlen ~ 1 limit 5 3-1 f v
xadd x MINID ~ 1 3-2 f v
xadd x MINID 1 3-3 f v
xadd x 3-4 f v
xadd x MINID = 1 limit 3 3-5 f v
xtrim x maxlen 100
xtrim x maxlen ~ 1
xtrim x maxlen 2
xtrim x minid ~ 3-5 limit 4
xadd x 4-1 f v
xadd x 4-2 f v
xadd x 4-3 f v
xadd x 4-4 f v
xadd x 4-5 f v
xtrim x maxlen ~ 3 limit 100
xtrim x minid ~ 4-3
xgroup create x g1 0
xreadgroup group g1 bob count 2 streams x >
xreadgroup group g1 al count 2 streams x >
xreadgroup group g1 al count 2 streams x >
xreadgroup group g1 bob count 2 streams x 0
xreadgroup group g1 carl count 2 streams x 0
xreadgroup group g1 dan count 2 noack streams x >
xadd x 5-1 f v
xadd x 5-2 f v
xadd x 5-3 f v
xreadgroup group g1 dan count 2 noack streams x >
xreadgroup group g1 ed count 2 streams x >
xreadgroup group g1 ed count 2 streams x >
xautoclaim x g1 bob 0 0
xautoclaim x g1 zed 0 0 count 1
xautoclaim x g1 zed2 99999999 0 count 1
xclaim x g1 new1 0 4-4
xclaim x g1 new1 0 4-4
xclaim x g1 new1 0 4-4 justid lastid 7-0
xclaim x g1 new1 0 9-9 lastid 9-0
xclaim x g1 new2 0 9-9
xack x g1 4-4
xack x g1 4-4
xgroup setid x g1 0
xgroup setid x g1 0 entriesread 3
xgroup delconsumer x g1 bob
xgroup delconsumer x g1 nob
xgroup createconsumer x g1 nob
xgroup createconsumer x g1 nob
xgroup destroy x g1
xgroup destroy x g1
xgroup create y g1 $ mkstream
xsetid y 5-5
xsetid y 5-5
xadd y * f v
sadd s a
spop s
sadd s a b c
spop s 1
spop s 5
sadd s a
spop s 1
sadd s 1 2 3
spop s 3
set k v
dump k
set k v2
set k v EX 100
getex k EX 200
getex k PXAT 33177117420000
getex k persist
getex k exat 1
set k v PX 100 NX GET
set k v PXAT 33177117420000 GET
set k v PXAT 1
get k
set k v get
set k v2 XX GET KEEPTTL
setex k 10 v
getset k 1
incrbyfloat k 1.5
hincrbyfloat h f 2.5
expire k 100 XX
expire k 1000 GT
pexpire k 0
rename k k
copy h h2
copy h h2 replace
set k v
sort l store k
zadd z 1 a 2 b
zmpop 1 z min count 5
bzpopmin z 0.01
zadd z 1 a 2 b
bzpopmin z 0.01
bzmpop 0.01 1 z max count 3
geoadd g nx ch 13.5 38.1 m
geoadd g 13.5 38.1 m
geoadd g xx 13.6 38.1 m
geosearchstore g2 g fromlonlat 13 38 bybox 200 200 km
georadius g 13 38 200 km store g3
rpush l 1 2 3
blmove l l2 left right 0.1
brpoplpush l l2 0.1
lmpop 2 a l left count 10
blpop l2 0.01
pfadd hll a b
pfadd hll a
pfcount hll
pfmerge hll2 hll
pfcount hll2
pfcount hll2 hll
flushall
flushall
flushdb async
select 1
set a b
move a 2
swapdb 1 2
set a b px 1000000
unlink a b
select 0
mset a 1 b 2
msetnx a 1 b 2
setrange k 0 x
setrange none 0 x
append k x
lpush l a
linsert l before a b
lrem l 0 zz
lset l 0 q
ltrim l 1 0
object freq l
touch l
persist a
set e v pxat 1
set e w
set e v pxat 1
expire e 100
set e v pxat 1
append e x
set e v pxat 1
rename e f
set f v pxat 1
set g w
rename g f
set f v pxat 1
copy g f
set e v pxat 1
del e
sadd s 1 2
set s2 v pxat 1
sunionstore s2 s
select 3
set e v pxat 1
select 0
set e v
move e 3
expireat f 4102444800
persist f
getex f pxat 33177117420000
xadd mk * f v
xadd mk maxlen ~ 1 5000000000000-* f v
xgroup create mk g $
xadd mk 5000000000001-1 f v
xadd mk 5000000000002-1 f v
xreadgroup group g a streams mk >
xdel mk 5000000000001-1
xautoclaim mk g b 0 0
xclaim mk g c 0 5000000000002-1 justid
rpush q 3 1 2
sort q store q2
sort q store q2
sort q limit 0 0 store q2
zadd z1 1 a 2 b
zunionstore z2 1 z1
zrangestore z2 z1 5 6
set e v pxat 1
set e2 v pxat 1
set e3 v pxat 1
scan 0 count 1000
select 5
set e v pxat 1
randomkey
dbsize
select 0
keys *
bitfield bf overflow fail set u1 7 5
setbit bf 100 1
geoadd geo 13.5 38.1 m 14.5 38.2 n
georadiusbymember geo m 500 km store geo2
geosearchstore geo2 geo fromlonlat 0 0 byradius 1 m
hincrby h n 5
hset h n x
hincrby h n 5
lmove q q3 left right
rpoplpush q q3
swapdb 0 3
flushall
"""


@pytest.mark.parametrize("native_lane", [True, False], ids=["native", "python"])
def test_the_effects_of_a_script_are_those_of_redis(
    witness: Witness, oracle_server: Oracle, native_lane: bool
) -> None:
    lines = ["select 0", "flushall", *SCRIPT.strip().split("\n")]
    found = compare(
        witness, oracle_server, native_lane, [tuple(line.encode().split()) for line in lines]
    )
    assert not found, f"{len(found)} differ\n" + "\n".join(found)


def test_restored_keys_have_the_effects_of_redis(witness: Witness, oracle_server: Oracle) -> None:
    witness.run([(b"SELECT", b"0"), (b"FLUSHALL",), (b"SET", b"k", b"v")])
    (dumped,) = witness.run([(b"DUMP", b"k")])
    payload = dumped.reply.split(b"\r\n", 1)[1][:-2]
    commands = [
        (b"SELECT", b"0"),
        (b"FLUSHALL",),
        (b"RESTORE", b"k", b"0", payload),
        (b"RESTORE", b"k", b"0", payload),
        (b"RESTORE", b"k", b"1000000", payload, b"REPLACE"),
        (b"RESTORE", b"k", b"4102444800000", payload, b"ABSTTL", b"REPLACE"),
        (b"RESTORE", b"k", b"1", payload, b"ABSTTL", b"REPLACE"),
        (b"RESTORE", b"k", b"1", payload, b"ABSTTL"),
        (b"GET", b"k"),
    ]
    assert compare(witness, oracle_server, True, commands) == []


@pytest.mark.parametrize("native_lane", [True, False], ids=["native", "python"])
@pytest.mark.parametrize("family", machine.FAMILIES, ids=lambda family: family.name)
def test_the_effects_of_commands_are_those_of_redis(
    witness: Witness, oracle_server: Oracle, family: machine.Family, native_lane: bool
) -> None:
    seed = os.environ.get("SHARDIS_SEED", f"effects {family.name}")
    commands = [(b"SELECT", b"0"), (b"FLUSHALL",), *commands_of(seed, family)]
    found = compare(witness, oracle_server, native_lane, commands)
    assert not found, f"seed {seed!r}: {len(found)} differ\n" + "\n".join(found[:30])
