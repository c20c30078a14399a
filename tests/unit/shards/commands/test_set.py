"""The set family as a client sees it, in both lanes, and what its changes tell the shard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol.errors import CommandError
from protocol.reply import Reply
from shards.commands import set as family
from shards.keyspace.keyspace import Keyspace
from tests.unit.shards.execution.test_executor import Shard

Call = Callable[..., bytes]
WRONG_TYPE = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"


@pytest.fixture(params=[True, False], ids=["native", "python"])
def shard(request: pytest.FixtureRequest) -> Shard:
    return Shard(native_lane=request.param)


@pytest.fixture
def call(shard: Shard) -> Call:
    return shard.call


def encoding(call: Call, key: str) -> str:
    return call("OBJECT", "ENCODING", key).split(b"\r\n")[1].decode()


def members(reply: bytes) -> list[bytes]:
    """The elements of a flat array or set."""
    return sorted(reply.split(b"\r\n")[2::2])


def test_members_are_added_found_and_removed(call: Call) -> None:
    assert call("SADD", "s", "a", "b", "a") == b":2\r\n"
    assert call("SADD", "s", "b", "c") == b":1\r\n"
    assert call("SCARD", "s") == b":3\r\n"
    assert call("SISMEMBER", "s", "a") == b":1\r\n"
    assert call("SISMEMBER", "s", "x") == b":0\r\n"
    assert call("SMISMEMBER", "s", "c", "x", "b") == b"*3\r\n:1\r\n:0\r\n:1\r\n"
    assert call("SMEMBERS", "s") == b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"
    assert call("SREM", "s", "a", "a", "x") == b":1\r\n"
    assert call("SREM", "s", "b", "c", "d") == b":2\r\n"
    assert call("EXISTS", "s") == b":0\r\n"


def test_sets_have_a_type_of_their_own_in_resp3(call: Call) -> None:
    call("SADD", "s", "1")
    for words in (["SMEMBERS", "s"], ["SINTER", "s"], ["SUNION", "s"], ["SDIFF", "s"]):
        assert call(*words) == b"*1\r\n$1\r\n1\r\n"
        assert call(*words, resp=3) == b"~1\r\n$1\r\n1\r\n"
        assert call(words[0], "none", resp=3) == b"~0\r\n"
    assert call("SRANDMEMBER", "s", 5, resp=3) == b"*1\r\n$1\r\n1\r\n"
    assert call("SRANDMEMBER", "none", 5, resp=3) == b"*0\r\n"
    assert call("SRANDMEMBER", "none", resp=3) == b"_\r\n"
    assert call("SPOP", "none", resp=3) == b"_\r\n"
    assert call("SPOP", "none", 1, resp=3) == b"~0\r\n"
    assert call("SPOP", "s", 0, resp=3) == b"~0\r\n"
    assert call("SPOP", "s", 5, resp=3) == b"~1\r\n$1\r\n1\r\n"
    assert call("SMISMEMBER", "none", "a", "b") == b"*2\r\n:0\r\n:0\r\n"


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("SPOP s x", b"ERR value is out of range, must be positive"),
        ("SPOP s -1", b"ERR value is out of range, must be positive"),
        ("SPOP s 9223372036854775808", b"ERR value is out of range, must be positive"),
        ("SPOP s 1 2", b"ERR syntax error"),
        ("SRANDMEMBER s x", b"ERR value is not an integer or out of range"),
        ("SRANDMEMBER s 1 2", b"ERR syntax error"),
        (
            "SRANDMEMBER s -9223372036854775808",
            b"ERR value is out of range, value must between -9223372036854775807 and"
            b" 9223372036854775807",
        ),
        (
            "SRANDMEMBER s -67108865",
            b"ERR value is out of range, value must between -67108864 and 9223372036854775807",
        ),
        ("SINTERCARD 0 s", b"ERR numkeys should be greater than 0"),
        ("SINTERCARD x s", b"ERR numkeys should be greater than 0"),
        ("SINTERCARD 3 s s", b"ERR Number of keys can't be greater than number of args"),
        ("SINTERCARD 1 s LIMIT", b"ERR syntax error"),
        ("SINTERCARD 1 s s", b"ERR syntax error"),
        ("SINTERCARD 1 s LIMIT -1", b"ERR LIMIT can't be negative"),
        ("SINTERCARD 1 s LIMIT x", b"ERR LIMIT can't be negative"),
        ("SSCAN s x", b"ERR invalid cursor"),
        ("SSCAN s 0 COUNT 0", b"ERR syntax error"),
        ("SSCAN s 0 COUNT x", b"ERR value is not an integer or out of range"),
        ("SSCAN s 0 TYPE set", b"ERR syntax error"),
        ("SSCAN s 0 MATCH", b"ERR syntax error"),
    ],
)
def test_mistakes_have_redis_texts_and_change_nothing(
    shard: Shard, call: Call, command: str, error: bytes
) -> None:
    call("SADD", "s", "1", "b")
    before = call("SMEMBERS", "s"), shard.keyspace.changes
    assert call(*command.split()) == b"-" + error + b"\r\n"
    assert (call("SMEMBERS", "s"), shard.keyspace.changes) == before


@pytest.mark.parametrize(
    "command",
    [
        *("SADD k m", "SREM k m", "SISMEMBER k m", "SMISMEMBER k m", "SCARD k", "SMEMBERS k"),
        *("SPOP k", "SPOP k 1", "SRANDMEMBER k", "SRANDMEMBER k 1", "SSCAN k 0"),
        *("SMOVE k s m", "SMOVE s k m", "SINTER none k", "SINTERCARD 2 s k", "SUNION s k"),
        *("SDIFF none k", "SINTERSTORE d none k", "SUNIONSTORE d s k", "SDIFFSTORE d none k"),
    ],
)
def test_other_types_are_refused(call: Call, command: str) -> None:
    call("SADD", "s", "m")
    call("SET", "k", "v")
    assert call(*command.split()) == WRONG_TYPE
    assert call("GET", "k") == b"$1\r\nv\r\n"


def test_a_missing_key_hides_mistakes_that_come_behind_it(call: Call) -> None:
    call("SET", "k", "v")
    assert call("SSCAN", "none", 7, "COUNT", "x") == b"*2\r\n$1\r\n0\r\n*0\r\n"
    assert call("SMOVE", "none", "k", "m") == b":0\r\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["1"], "intset"),
        ([str(i) for i in range(512)], "intset"),
        # More than an intset may have, if one by one: never a listpack.
        ([str(i) for i in range(513)], "hashtable"),
        (["007"], "listpack"),
        (["1", "a"], "listpack"),
        ([f"m{i}" for i in range(128)], "listpack"),
        ([f"m{i}" for i in range(129)], "hashtable"),
        (["m" * 64], "listpack"),
        (["m" * 65], "hashtable"),
        ([str(i) for i in range(128)] + ["a"], "hashtable"),
        ([str(i) for i in range(127)] + ["a"], "listpack"),
    ],
)
def test_a_set_converts_at_the_limits(call: Call, words: list[str], expected: str) -> None:
    for word in words:
        call("SADD", "one", word)
    assert encoding(call, "one") == expected
    call("SADD", "all", *words)
    assert encoding(call, "all") == expected


def test_the_number_of_members_given_decides_before_they_are_looked_at(shard: Shard) -> None:
    shard.keyspace.set_limits({"set-max-intset-entries": 2, "set-max-listpack-entries": 3})
    shard.call("SADD", "three", "1", "1", "1")
    assert encoding(shard.call, "three") == "listpack"
    shard.call("SADD", "four", "1", "1", "1", "1")
    assert encoding(shard.call, "four") == "hashtable"
    shard.call("SADD", "s", "1")
    shard.call("SADD", "s", "1", "1", "1")
    assert encoding(shard.call, "s") == "hashtable"


def test_a_stored_set_has_the_encoding_that_suits_it(call: Call) -> None:
    call("SADD", "numbers", *range(300), "x" * 100)
    call("SADD", "some", *range(5), "y" * 100)
    assert encoding(call, "numbers") == encoding(call, "some") == "hashtable"
    assert call("SINTERSTORE", "d", "numbers", "some") == b":5\r\n"
    assert encoding(call, "d") == "intset"
    call("SADD", "words", "a", "b")
    assert call("SUNIONSTORE", "d", "words", "d") == b":7\r\n"
    assert encoding(call, "d") == "listpack"
    assert call("SDIFFSTORE", "d", "d", "words") == b":5\r\n"
    assert encoding(call, "d") == "intset"


def test_several_sets_are_combined(call: Call) -> None:
    call("SADD", "a", *"1234", "x")
    call("SADD", "b", *"345", "x", "y")
    call("SADD", "c", "3", "x", "z")
    assert members(call("SINTER", "a", "b", "c")) == [b"3", b"x"]
    assert members(call("SUNION", "b", "none", "c")) == [b"3", b"4", b"5", b"x", b"y", b"z"]
    assert members(call("SDIFF", "a", "b", "none", "c")) == [b"1", b"2"]
    assert call("SDIFF", "a", "b", "a") == call("SINTER", "a", "none") == b"*0\r\n"
    assert call("SDIFF", "none", "a") == b"*0\r\n"
    assert call("SINTERCARD", 2, "a", "b") == b":3\r\n"
    assert call("SINTERCARD", 2, "a", "b", "limit", 2) == b":2\r\n"
    assert call("SINTERCARD", 2, "a", "b", "LIMIT", 0) == b":3\r\n"
    assert call("SINTERCARD", 2, "a", "none") == b":0\r\n"


def test_a_stored_result_replaces_whatever_was_there(call: Call) -> None:
    call("SADD", "s", "a")
    call("SET", "d", "string", "EX", 100)
    assert call("SUNIONSTORE", "d", "s") == b":1\r\n"
    assert call("TTL", "d") == b":-1\r\n"
    assert call("SINTERSTORE", "d", "s", "none") == b":0\r\n"
    assert call("EXISTS", "d") == b":0\r\n"
    assert call("SUNIONSTORE", "s", "s", "s") == b":1\r\n"
    assert call("SDIFFSTORE", "s", "s", "s") == b":0\r\n"
    assert call("EXISTS", "s") == b":0\r\n"


def test_a_member_is_moved(call: Call) -> None:
    call("SADD", "a", "1", "m")
    assert call("SMOVE", "a", "b", "m") == b":1\r\n"
    assert call("SMOVE", "a", "b", "m") == b":0\r\n"
    assert call("SMOVE", "a", "a", "1") == b":1\r\n"
    assert call("SMOVE", "a", "a", "2") == b":0\r\n"
    assert call("SMOVE", "a", "b", "1") == b":1\r\n"
    assert call("EXISTS", "a") == b":0\r\n"
    assert members(call("SMEMBERS", "b")) == [b"1", b"m"]


def test_the_expiry_stays_and_goes_with_the_last_member(call: Call) -> None:
    call("SADD", "s", *range(700))
    call("EXPIREAT", "s", 4102444800)
    call("SPOP", "s", 690)
    assert encoding(call, "s") == "listpack"
    assert call("EXPIRETIME", "s") == b":4102444800\r\n"
    call("SPOP", "s", 10)
    call("SADD", "s", "1")
    assert call("EXPIRETIME", "s") == b":-1\r\n"


@pytest.mark.parametrize("form", ["{}", "m{}"])
@pytest.mark.parametrize("size", [1, 9, 700])
def test_chance_takes_different_members(call: Call, form: str, size: int) -> None:
    names = [form.format(i) for i in range(size)]
    everything = sorted(name.encode() for name in names)
    for count in (0, 1, size // 3, size // 2, size - 1, size, size + 1):
        call("DEL", "s")
        call("SADD", "s", *names)
        drawn = members(call("SRANDMEMBER", "s", count))
        assert len(drawn) == len(set(drawn)) == min(count, size)
        popped = members(call("SPOP", "s", count))
        assert len(popped) == min(count, size)
        assert sorted(popped + members(call("SMEMBERS", "s"))) == everything
    call("SADD", "s", *names)
    assert call("SRANDMEMBER", "s", -2500).startswith(b"*2500\r\n")
    for _ in range(size):
        one = call("SPOP", "s").split(b"\r\n")[1]
        everything.remove(one)
    assert not everything
    assert call("EXISTS", "s") == b":0\r\n"


def test_a_scan_goes_through_a_table_in_steps(call: Call) -> None:
    names = [f"m{i}" for i in range(1000)]
    call("SADD", "s", *names)
    found: set[bytes] = set()
    cursor, steps = b"0", 0
    while True:
        reply = call("SSCAN", "s", cursor, "COUNT", 20, "MATCH", "m*5")
        words = reply.split(b"\r\n")
        cursor, steps = words[2], steps + 1
        found.update(words[5::2])
        if cursor == b"0":
            break
    assert found == {name.encode() for name in names if name.endswith("5")}
    assert 20 < steps < 60


def test_changes_are_counted_by_member(shard: Shard, call: Call) -> None:
    def changes(*words: str | int) -> int:
        before = shard.keyspace.changes
        call(*words)
        return shard.keyspace.changes - before

    assert changes("SADD", "s", "a", "b", "a") == 2
    assert changes("SADD", "s", "a") == 0
    assert changes("SREM", "s", "a", "a", "x") == 1
    assert changes("SREM", "s", "x") == 0
    assert changes("SADD", "t", *range(10)) == 10
    assert changes("SPOP", "t") == 1
    assert changes("SPOP", "t", 3) == 3
    assert changes("SPOP", "t", 100) == 6
    assert changes("SADD", "t", "c") == 1
    assert changes("SMOVE", "s", "t", "b") == 2
    call("SADD", "s", "b")
    assert changes("SMOVE", "s", "t", "b") == 1
    assert changes("SUNIONSTORE", "d", "t") == 1
    assert changes("SINTERSTORE", "d", "none") == 1
    assert changes("SINTERSTORE", "d", "none") == 0


class Recorder:
    """A context that remembers what handlers tell it."""

    def __init__(self) -> None:
        self.keyspace = Keyspace()
        self.database = 0
        self.told: list[tuple[Any, ...]] = []

    def meet(self, key: bytes) -> None:
        """Nothing has expired here."""

    def exists(self, key: bytes, touch: bool = False) -> bool:
        return self.keyspace.exists(0, key, touch)

    def changed(self, key: bytes, event: bytes, count: int = 1) -> None:
        self.told.append((event, key, count))

    def notify(self, key: bytes, event: bytes) -> None:
        self.told.append((event, key))

    def propagate(self, args: list[bytes]) -> None:
        self.told.append(tuple(args))

    def run(self, handler: Callable[..., None], *words: bytes) -> list[tuple[Any, ...]]:
        """What one command tells; its name doesn't matter to the handler."""
        self.told = []
        handler(self, [b"", *words], Reply())
        return self.told


def test_changes_are_told_by_redis_events() -> None:
    context = Recorder()
    assert context.run(family.sadd, b"s", b"a", b"b") == [(b"sadd", b"s", 2)]
    assert context.run(family.sadd, b"s", b"a") == []
    assert context.run(family.srem, b"s", b"x") == []
    assert context.run(family.smove, b"s", b"t", b"a") == [(b"srem", b"s", 1), (b"sadd", b"t", 1)]
    moved = [(b"srem", b"s", 1), (b"del", b"s"), (b"sadd", b"t", 1)]
    assert context.run(family.smove, b"s", b"t", b"b") == moved
    assert context.run(family.sunionstore, b"d", b"t") == [(b"sunionstore", b"d", 1)]
    assert context.run(family.sdiffstore, b"d", b"t") == [(b"sdiffstore", b"d", 1)]
    assert context.run(family.sinterstore, b"d", b"t") == [(b"sinterstore", b"d", 1)]
    assert context.run(family.sinterstore, b"d", b"none") == [(b"del", b"d", 1)]
    assert context.run(family.sinterstore, b"d", b"none") == []
    assert context.run(family.srem, b"t", b"a", b"b") == [(b"srem", b"t", 2), (b"del", b"t")]


def test_what_is_popped_is_logged_as_what_it_came_to() -> None:
    context = Recorder()
    context.run(family.sadd, b"s", *(b"%d" % i for i in range(3000)))
    popped = context.run(family.spop, b"s", b"2500")
    assert [told[0] for told in popped] == [b"SREM"] * 3 + [b"spop"]
    assert popped[-1] == (b"spop", b"s", 2500)
    logged = {member for told in popped[:-1] for member in told[2:]}
    assert len(logged) == 2500
    assert context.run(family.spop, b"s", b"0") == []
    (log, event) = context.run(family.spop, b"s")
    assert (log[:2], event) == ((b"SREM", b"s"), (b"spop", b"s", 1))
    rest = [(b"DEL", b"s"), (b"spop", b"s", 499), (b"del", b"s")]
    assert context.run(family.spop, b"s", b"499") == rest
    assert context.run(family.spop, b"s") == []


def test_a_wrong_type_is_raised_before_anything_is_told() -> None:
    context = Recorder()
    context.keyspace.set_string(0, b"k", b"v")
    context.run(family.sadd, b"s", b"m")
    with pytest.raises(CommandError, match="WRONGTYPE"):
        context.run(family.smove, b"s", b"k", b"m")
    assert context.told == []
    context.run(family.sadd, b"s", b"n")
    assert context.run(family.scard, b"s") == []
