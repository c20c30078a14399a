"""The stream family as a client sees it, in both lanes, and what its changes tell the shard."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from protocol.errors import CommandError
from protocol.reply import Reply
from shards.commands import stream as family
from shards.keyspace.keyspace import Keyspace
from shards.lane.effects import GROUP_STATE
from shards.views.stream import StreamView
from tests.unit.shards.execution.test_executor import START_MS, Shard

Call = Callable[..., bytes]
WRONG_TYPE = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
BAD_ID = b"ERR Invalid stream ID specified as stream command argument"
LOW_ID = b"ERR The ID specified in XADD is equal or smaller than the target stream top item"


@pytest.fixture(params=[True, False], ids=["native", "python"])
def shard(request: pytest.FixtureRequest) -> Shard:
    return Shard(native_lane=request.param)


@pytest.fixture
def call(shard: Shard) -> Call:
    return shard.call


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(value), value)


def entry(id: bytes, *words: bytes) -> bytes:
    return b"*2\r\n" + bulk(id) + b"*%d\r\n" % len(words) + b"".join(map(bulk, words))


def test_ids_are_given_chosen_in_part_or_chosen(call: Call) -> None:
    now = b"%d" % START_MS
    assert call("XADD", "s", "5-3", "f", "v") == bulk(b"5-3")
    assert call("XADD", "s", "5-*", "f", "v") == bulk(b"5-4")
    assert call("XADD", "s", "7", "f", "v") == bulk(b"7-0")
    assert call("XADD", "s", "*", "f", "v") == bulk(now + b"-0")
    assert call("XADD", "s", "*", "f", "v") == bulk(now + b"-1")
    assert call("XADD", "s", b"%d-7" % (START_MS + 1), "f", "v") == bulk(b"1700000000001-7")
    # A clock that goes back changes nothing.
    assert call("XADD", "s", "*", "f", "v") == bulk(b"1700000000001-8")
    assert call("XADD", "zero", "0-*", "f", "v") == bulk(b"0-1")
    assert call("XLEN", "s") == b":7\r\n"
    assert call("XLEN", "none") == b":0\r\n"


def test_the_highest_id_is_the_last_one(call: Call) -> None:
    highest = b"18446744073709551615-18446744073709551615"
    assert call("XADD", "s", highest[:-1] + b"4", "f", "v") == bulk(highest[:-1] + b"4")
    assert call("XADD", "s", "*", "f", "v") == bulk(highest)
    exhausted = b"-ERR The stream has exhausted the last possible ID, unable to add more items\r\n"
    assert call("XADD", "s", "*", "f", "v") == exhausted


def test_trimming_by_length_and_by_id(call: Call) -> None:
    for i in range(1, 6):
        call("XADD", "s", i, "f", i)
    assert call("XADD", "s", "MAXLEN", "=", 4, "6", "f", "6") == bulk(b"6-0")
    assert call("XRANGE", "s", "-", "+", "COUNT", 1) == b"*1\r\n" + entry(b"3-0", b"f", b"3")
    assert call("XTRIM", "s", "MINID", "5") == b":2\r\n"
    assert call("XTRIM", "s", "MAXLEN", "~", 1) == b":0\r\n"
    assert call("XADD", "s", "maxlen", 0, "9", "f", "v") == bulk(b"9-0")
    assert call("XLEN", "s") == b":0\r\n"
    assert call("EXISTS", "s") == b":1\r\n"


def test_an_approximate_trim_takes_whole_nodes_up_to_a_limit(shard: Shard, call: Call) -> None:
    shard.keyspace.set_limits({"stream-node-max-entries": 10})
    for i in range(1, 101):
        call("XADD", "s", i, "f", i)
    assert call("XTRIM", "s", "MAXLEN", "~", 5, "LIMIT", 25) == b":20\r\n"
    assert call("XTRIM", "s", "MAXLEN", "~", 5, "LIMIT", 0) == b":70\r\n"
    assert call("XADD", "s", "MAXLEN", "~", 5, "200", "f", "v") == bulk(b"200-0")
    assert call("XLEN", "s") == b":11\r\n"


def test_reading_behind_an_id(call: Call) -> None:
    call("XADD", "{a}1", "1-1", "f", "v")
    call("XADD", "{a}2", "2-1", "f", "w")
    both = call("XREAD", "COUNT", 5, "STREAMS", "{a}1", "{a}2", "0", "1")
    first = bulk(b"{a}1") + b"*1\r\n" + entry(b"1-1", b"f", b"v")
    second = bulk(b"{a}2") + b"*1\r\n" + entry(b"2-1", b"f", b"w")
    assert both == b"*2\r\n*2\r\n" + first + b"*2\r\n" + second
    assert call("XREAD", "STREAMS", "{a}1", "0", resp=3) == b"%1\r\n" + first
    assert call("XREAD", "BLOCK", 0, "STREAMS", "{a}1", "$") == b"*-1\r\n"
    assert call("XREAD", "STREAMS", "{a}1", "1-1", resp=3) == b"_\r\n"


def test_a_group_shares_entries_until_they_are_acknowledged(call: Call) -> None:
    for i in range(1, 5):
        call("XADD", "s", i, "f", i)
    assert call("XGROUP", "CREATE", "s", "g", 0) == b"+OK\r\n"
    read = ("XREADGROUP", "GROUP", "g")
    one = call(*read, "alice", "COUNT", 1, "STREAMS", "s", ">")
    assert one == b"*1\r\n*2\r\n" + bulk(b"s") + b"*1\r\n" + entry(b"1-0", b"f", b"1")
    call(*read, "bob", "COUNT", 2, "STREAMS", "s", ">")
    summary = call("XPENDING", "s", "g")
    assert summary == (
        b"*4\r\n:3\r\n" + bulk(b"1-0") + bulk(b"3-0") + b"*2\r\n"
        b"*2\r\n" + bulk(b"alice") + bulk(b"1") + b"*2\r\n" + bulk(b"bob") + bulk(b"2")
    )
    assert call("XACK", "s", "g", 2, 9) == b":1\r\n"
    assert call("XCLAIM", "s", "g", "alice", 0, 3, "JUSTID") == b"*1\r\n" + bulk(b"3-0")
    assert call("XDEL", "s", 3) == b":1\r\n"
    gone = b"*2\r\n" + bulk(b"3-0") + b"*-1\r\n"
    history = b"*1\r\n*2\r\n" + bulk(b"s") + b"*2\r\n" + entry(b"1-0", b"f", b"1") + gone
    assert call(*read, "alice", "STREAMS", "s", 0) == history
    claimed = b"*1\r\n" + bulk(b"1-0")
    assert call("XAUTOCLAIM", "s", "g", "bob", 0, "-", "JUSTID") == (
        b"*3\r\n" + bulk(b"0-0") + claimed + b"*1\r\n" + bulk(b"3-0")
    )
    assert call("XGROUP", "DELCONSUMER", "s", "g", "bob") == b":1\r\n"
    assert call("XGROUP", "DESTROY", "s", "g") == b":1\r\n"


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("XADD s 1 f", b"ERR wrong number of arguments for 'xadd' command"),
        ("XADD s 6 f v g", b"ERR wrong number of arguments for 'xadd' command"),
        ("XADD s 0-0 f v", b"ERR The ID specified in XADD must be greater than 0-0"),
        ("XADD s 5-0 f v", LOW_ID),
        ("XADD s 4-* f v", LOW_ID),
        ("XADD s x f v", BAD_ID),
        ("XADD s -05-* f v", BAD_ID),
        ("XADD s MAXLEN -1 * f v", b"ERR The MAXLEN argument must be >= 0."),
        ("XADD s MAXLEN 1x * f v", b"ERR value is not an integer or out of range"),
        (
            "XADD s MAXLEN 1 LIMIT 5 * f v",
            b"ERR syntax error, LIMIT cannot be used without the special ~ option",
        ),
        (
            "XTRIM s LIMIT 5",
            b"ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
        ),
        (
            "XTRIM s MAXLEN 1 MINID 1",
            b"ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
        ),
        ("XRANGE s (18446744073709551615 + x y", b"ERR syntax error"),
        ("XRANGE s (18446744073709551615-18446744073709551615 +", family.BAD_START),
        ("XRANGE s - (0-0", family.BAD_END),
        (
            "XREAD STREAMS s t 0",
            b"ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be "
            b"specified.",
        ),
        ("XREAD STREAMS s >", family.NEW_WITHOUT_GROUP),
        ("XREADGROUP GROUP g c STREAMS s $", family.DOLLAR_IN_GROUP),
        (
            "XREADGROUP GROUP x c STREAMS s >",
            b"NOGROUP No such key 's' or consumer group 'x' in XREADGROUP with GROUP option",
        ),
        ("XGROUP CREATE s g $", b"BUSYGROUP Consumer Group name already exists"),
        ("XGROUP CREATE none g $", family.NO_KEY_FOR_GROUP),
        ("XGROUP SETID s x $", b"NOGROUP No such consumer group 'x' for key name 's'"),
        ("XCLAIM s g c x 1", b"ERR Invalid min-idle-time argument for XCLAIM"),
        ("XCLAIM s g c 0 1 NO", b"ERR Unrecognized XCLAIM option 'NO'"),
        ("XAUTOCLAIM s g c 0 - COUNT 0", b"ERR COUNT must be > 0"),
        ("XPENDING s g - +", b"ERR syntax error"),
        ("XPENDING none g", b"NOGROUP No such key 'none' or consumer group 'g'"),
        ("XSETID none 1", b"ERR no such key"),
        ("XINFO STREAM none", b"ERR no such key"),
        (
            "XINFO STREAM s COUNT",
            b"ERR unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP.",
        ),
    ],
)
def test_mistakes_change_nothing(shard: Shard, call: Call, command: str, error: bytes) -> None:
    call("XADD", "s", "5-0", "f", "v")
    call("XGROUP", "CREATE", "s", "g", "0")
    changes, memory = shard.keyspace.changes, shard.keyspace.used_memory
    assert call(*command.split()) == b"-" + error + b"\r\n"
    assert (shard.keyspace.changes, shard.keyspace.used_memory) == (changes, memory)


@pytest.mark.parametrize(
    "command",
    [
        *("XADD k * f v", "XLEN k", "XRANGE k - +", "XDEL k 1", "XTRIM k MAXLEN 1", "XACK k g 1"),
        *("XREAD STREAMS k 0", "XGROUP CREATE k g 0", "XPENDING k g", "XINFO STREAM k"),
        *("XCLAIM k g c 0 1", "XAUTOCLAIM k g c 0 -", "XSETID k 1"),
    ],
)
def test_another_type_is_refused(call: Call, command: str) -> None:
    call("SET", "k", "v")
    assert call(*command.split()) == WRONG_TYPE


class Recorder:
    """What a handler tells its shard."""

    def __init__(self) -> None:
        self.keyspace = Keyspace()
        self.keyspace.now_ms = self.now_ms = START_MS
        self.database = 0
        self.logs = True
        self.random = Random(0)
        self.told: list[tuple[Any, ...]] = []

    def changed(self, key: bytes, event: bytes, count: int = 1) -> None:
        if count:
            self.told.append((event, count))

    def notify(self, key: bytes, event: bytes) -> None:
        self.told.append((event, 0))

    def propagate(self, args: list[bytes]) -> None:
        self.told.append(tuple(args))

    def exists(self, key: bytes, touch: bool = False) -> bool:
        return self.keyspace.exists(0, key, touch)

    def propagate_raw(self) -> None:
        """It is logged as it came."""

    def propagate_nothing(self) -> None:
        """Whoever would log the call as it came must not."""

    def run(self, handler: Callable[..., None], command: str) -> list[tuple[Any, ...]]:
        self.told.clear()
        handler(self, command.encode().split(), Reply(2))
        return list(self.told)


def test_what_the_server_chose_is_logged() -> None:
    shard = Recorder()
    id = b"%d-0" % START_MS
    logged = (b"XADD", b"s", id, b"f", b"v")
    assert shard.run(family.xadd, "XADD s * f v") == [logged, (b"xadd", 1)]
    assert shard.run(family.xadd, "XADD s MAXLEN 1 9999999999999-1 f v") == [
        (b"xadd", 1),
        (b"xtrim", 0),
    ]
    assert shard.run(family.xadd, "XADD s NOMKSTREAM MAXLEN ~ 1 LIMIT 5 9999999999999-* f v") == [
        (
            *(b"XADD", b"s", b"NOMKSTREAM", b"MAXLEN", b"=", b"2", b"LIMIT", b"5"),
            *(b"9999999999999-2", b"f", b"v"),
        ),
        (b"xadd", 1),
    ]
    assert shard.run(family.xtrim, "XTRIM s MINID 9999999999999-2") == [(b"xtrim", 1)]
    assert shard.run(family.xdel, "XDEL s 9999999999999-2 1") == [(b"xdel", 1)]


def test_deliveries_are_logged_as_claims() -> None:
    shard = Recorder()
    shard.run(family.xadd, "XADD s 1-1 f v")
    shard.run(family.xadd, "XADD s 2-1 f v")
    assert shard.run(family.xgroup_create, "XGROUP CREATE s g 0") == [(b"xgroup-create", 1)]
    now = b"%d" % START_MS
    options = (b"TIME", now, b"RETRYCOUNT", b"1", b"FORCE", b"JUSTID", b"LASTID", b"1-1")
    assert shard.run(family.xreadgroup, "XREADGROUP GROUP g c COUNT 1 STREAMS s >") == [
        (b"xgroup-createconsumer", 1),
        (b"XCLAIM", b"s", b"g", b"c", b"0", b"1-1", *options),
        (GROUP_STATE, 1),
    ]
    assert shard.run(family.xreadgroup, "XREADGROUP GROUP g c NOACK STREAMS s >") == [
        (b"XGROUP", b"SETID", b"s", b"g", b"2-1", b"ENTRIESREAD", b"2"),
        (GROUP_STATE, 1),
    ]
    assert shard.run(family.xreadgroup, "XREADGROUP GROUP g c STREAMS s >") == []
    shard.run(family.xdel, "XDEL s 1-1")
    options = (b"TIME", now, b"RETRYCOUNT", b"1", b"FORCE", b"JUSTID", b"LASTID", b"2-1")
    assert shard.run(family.xclaim, "XCLAIM s g d 0 1-1") == [
        (b"xgroup-createconsumer", 1),
        (b"XCLAIM", b"s", b"g", b"c", b"0", b"1-1", *options),
        (GROUP_STATE, 1),
    ]
    assert shard.run(family.xreadgroup, "XREADGROUP GROUP g e NOACK STREAMS s >") == [
        (b"xgroup-createconsumer", 1),
        (b"XGROUP", b"CREATECONSUMER", b"s", b"g", b"e"),
    ]


def test_each_read_of_a_history_is_a_change(shard: Shard) -> None:
    """As in Redis, where it counts even if nothing is pending; a new consumer is one more."""

    def changes(words: str) -> int:
        before = shard.keyspace.changes
        shard.call(*words.split())
        return shard.keyspace.changes - before

    for key in ("s", "t"):
        shard.call("XADD", key, "1-1", "f", "v")
        shard.call("XGROUP", "CREATE", key, "g", "0")
    assert changes("XREADGROUP GROUP g c NOACK STREAMS s 0") == 2
    assert changes("XREADGROUP GROUP g d STREAMS s 0") == 2
    assert changes("XREADGROUP GROUP g d STREAMS s 0") == 1
    assert changes("XREADGROUP GROUP g c STREAMS s >") == 1
    assert changes("XREADGROUP GROUP g c STREAMS s 0") == 1
    assert changes("XREADGROUP GROUP g c STREAMS s >") == 0
    assert changes("XREADGROUP GROUP g e STREAMS s t 0 0") == 4
    assert changes("XREADGROUP GROUP g e STREAMS s t 0 0") == 2
    shard.call("XDEL", "s", "1-1")
    assert changes("XREADGROUP GROUP g c STREAMS s 0") == 1


def test_a_mistake_raises_before_anything_is_told() -> None:
    shard = Recorder()
    with pytest.raises(CommandError):
        shard.run(family.xadd, "XADD s 1-x f v")
    assert shard.told == []
    assert shard.keyspace.size(0) == 0


def test_thousands_of_groups_come_and_go_in_any_order(shard: Shard) -> None:
    """Names lie in blocks, which split, fill up in a row, are put together and go."""
    random = Random(3)
    shard.call("XADD", "s", "1-1", "f", "v")
    for number in range(1500):
        assert shard.call("XGROUP", "CREATE", "s", f"row:{number:05}", "0") == b"+OK\r\n"
    names = [f"{random.randrange(10**9):09}" for _ in range(2500)]
    for name in dict.fromkeys(names):
        assert shard.call("XGROUP", "CREATE", "s", name, "0") == b"+OK\r\n"
        assert shard.call("XGROUP", "CREATE", "s", name, "0").startswith(b"-BUSYGROUP")
    shard.keyspace.check()
    left = sorted({*names, *(f"row:{number:05}" for number in range(1500))})

    def listed() -> list[str]:
        view = StreamView.open(shard.executor.runner.context, b"s")
        assert view is not None
        return [group[0].decode() for group in view.groups()]

    assert listed() == left
    shard.call("COPY", "s", "copied")
    while left:
        for name in random.sample(left, len(left) // 2 + 1):
            assert shard.call("XGROUP", "DESTROY", "s", name) == b":1\r\n"
            assert shard.call("XGROUP", "DESTROY", "s", name) == b":0\r\n"
            left.remove(name)
        shard.keyspace.check()
        assert listed() == left
    assert shard.call("XGROUP", "CREATE", "s", "again", "0") == b"+OK\r\n"
    shard.keyspace.check()
