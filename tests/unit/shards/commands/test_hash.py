"""The hash family as a client sees it, in both lanes, and what its changes tell the shard."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from protocol.errors import CommandError
from protocol.reply import Reply
from shards.commands import hash as family
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


def test_fields_are_set_read_and_deleted(call: Call) -> None:
    assert call("HSET", "h", "a", "1", "b", "2", "a", "3") == b":2\r\n"
    assert call("HGET", "h", "a") == b"$1\r\n3\r\n"
    assert call("HMGET", "h", "a", "x", "b") == b"*3\r\n$1\r\n3\r\n$-1\r\n$1\r\n2\r\n"
    assert call("HSETNX", "h", "a", "4") == b":0\r\n"
    assert call("HSETNX", "h", "c", "5") == b":1\r\n"
    assert call("HMSET", "h", "c", "66") == b"+OK\r\n"
    assert call("HLEN", "h") == b":3\r\n"
    assert call("HSTRLEN", "h", "c") == b":2\r\n"
    assert call("HEXISTS", "h", "c") == b":1\r\n"
    assert call("HKEYS", "h") == b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"
    assert call("HVALS", "h") == b"*3\r\n$1\r\n3\r\n$1\r\n2\r\n$2\r\n66\r\n"
    assert call("HDEL", "h", "a", "a", "x") == b":1\r\n"
    assert call("HDEL", "h", "b", "c", "d") == b":2\r\n"
    assert call("EXISTS", "h") == b":0\r\n"


def test_pairs_are_flat_in_resp2_and_shaped_in_resp3(call: Call) -> None:
    call("HSET", "h", "f", "v")
    assert call("HGETALL", "h") == b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n"
    assert call("HGETALL", "h", resp=3) == b"%1\r\n$1\r\nf\r\n$1\r\nv\r\n"
    assert call("HGETALL", "none", resp=3) == b"%0\r\n"
    assert call("HKEYS", "none", resp=3) == b"*0\r\n"
    assert call("HGET", "h", "none", resp=3) == b"_\r\n"
    assert call("HRANDFIELD", "h", 1, "WITHVALUES") == b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n"
    nested = b"*2\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n"
    assert call("HRANDFIELD", "h", -2, "withvalues", resp=3) == nested
    assert call("HSCAN", "h", 0, resp=3) == b"*2\r\n$1\r\n0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n"


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("HSET h f", b"ERR wrong number of arguments for 'hset' command"),
        ("HSET h f v g", b"ERR wrong number of arguments for 'hset' command"),
        ("HMSET h f v g", b"ERR wrong number of arguments for 'hmset' command"),
        ("HINCRBY h n 1.0", b"ERR value is not an integer or out of range"),
        ("HINCRBY h word 1", b"ERR hash value is not an integer"),
        ("HINCRBY h n 9223372036854775807", b"ERR increment or decrement would overflow"),
        ("HINCRBY s word x", b"ERR value is not an integer or out of range"),
        ("HINCRBYFLOAT h n x", b"ERR value is not a valid float"),
        ("HINCRBYFLOAT h n nan", b"ERR value is not a valid float"),
        ("HINCRBYFLOAT h n inf", b"ERR value is NaN or Infinity"),
        ("HINCRBYFLOAT h word 1", b"ERR hash value is not a float"),
        ("HINCRBYFLOAT h huge 1.1e4932", b"ERR increment would produce NaN or Infinity"),
        ("HRANDFIELD h x", b"ERR value is not an integer or out of range"),
        (
            "HRANDFIELD h -9223372036854775808",
            b"ERR value is out of range, value must between -9223372036854775807 and"
            b" 9223372036854775807",
        ),
        ("HRANDFIELD h 4611686018427387904 WITHVALUES", b"ERR value is out of range"),
        ("HRANDFIELD h 1 WITHSCORES", b"ERR syntax error"),
        ("HRANDFIELD h 1 WITHVALUES more", b"ERR syntax error"),
        ("HSCAN h x", b"ERR invalid cursor"),
        ("HSCAN h 0 COUNT 0", b"ERR syntax error"),
        ("HSCAN h 0 COUNT x", b"ERR value is not an integer or out of range"),
        ("HSCAN h 0 TYPE hash", b"ERR syntax error"),
    ],
)
def test_mistakes_have_redis_texts_and_change_nothing(
    shard: Shard, call: Call, command: str, error: bytes
) -> None:
    call("HSET", "h", "n", "5", "word", "five", "huge", "1.1e4932")
    call("SET", "s", "v")
    before = call("HGETALL", "h"), shard.keyspace.changes
    assert call(*command.split()) == b"-" + error + b"\r\n"
    assert (call("HGETALL", "h"), shard.keyspace.changes) == before


@pytest.mark.parametrize(
    "command",
    [
        *("HSET s f v", "HMSET s f v", "HSETNX s f v", "HGET s f", "HMGET s f", "HGETALL s"),
        *("HKEYS s", "HVALS s", "HLEN s", "HSTRLEN s f", "HEXISTS s f", "HDEL s f"),
        *("HINCRBY s f 1", "HINCRBYFLOAT s f 1", "HRANDFIELD s", "HRANDFIELD s 1", "HSCAN s 0"),
    ],
)
def test_other_types_are_refused(call: Call, command: str) -> None:
    call("SET", "s", "v")
    assert call(*command.split()) == WRONG_TYPE
    assert call("GET", "s") == b"$1\r\nv\r\n"


def test_a_scan_of_a_missing_key_does_not_look_at_its_options(call: Call) -> None:
    assert call("HSCAN", "none", 7, "COUNT", "x") == b"*2\r\n$1\r\n0\r\n*0\r\n"


def test_numbers_in_fields_are_changed_in_both_encodings(shard: Shard, call: Call) -> None:
    for entries in (512, 0):
        shard.keyspace.set_limits({"hash-max-listpack-entries": entries})
        call("DEL", "h")
        assert call("HINCRBY", "h", "n", "-9223372036854775808") == b":-9223372036854775808\r\n"
        assert call("HINCRBY", "h", "n", "9223372036854775807") == b":-1\r\n"
        assert call("HINCRBYFLOAT", "h", "n", "3.0e-5") == b"$8\r\n-0.99997\r\n"
        encoding = b"$8\r\nlistpack\r\n" if entries else b"$9\r\nhashtable\r\n"
        assert call("OBJECT", "ENCODING", "h") == encoding


@pytest.mark.parametrize(
    ("pairs", "encoding"),
    [
        ([("f", "v" * 64)] * 1, b"listpack"),
        ([("f", "v" * 65)] * 1, b"hashtable"),
        ([("f" * 65, "v")] * 1, b"hashtable"),
        ([(f"f{i}", "v") for i in range(512)], b"listpack"),
        ([(f"f{i}", "v") for i in range(513)], b"hashtable"),
        # That they are one field is found out too late.
        ([("f", "v")] * 513, b"hashtable"),
    ],
)
def test_a_hash_converts_at_the_limits(
    call: Call, pairs: list[tuple[str, str]], encoding: bytes
) -> None:
    call("HSET", "h", *(word for pair in pairs for word in pair))
    assert call("OBJECT", "ENCODING", "h") == b"$%d\r\n%b\r\n" % (len(encoding), encoding)


def test_a_hash_never_becomes_small_again(call: Call) -> None:
    call("HSET", "h", "f", "v" * 65, "g", "v")
    call("HDEL", "h", "f")
    assert call("OBJECT", "ENCODING", "h") == b"$9\r\nhashtable\r\n"
    assert call("HGETALL", "h") == b"*2\r\n$1\r\ng\r\n$1\r\nv\r\n"


def test_the_expiry_stays_and_goes_with_the_last_field(call: Call) -> None:
    call("HSET", "h", "f", "v")
    call("EXPIREAT", "h", 4102444800)
    call("HSET", "h", "g", "w")
    assert call("EXPIRETIME", "h") == b":4102444800\r\n"
    call("HDEL", "h", "f", "g")
    call("HSET", "h", "f", "v")
    assert call("EXPIRETIME", "h") == b":-1\r\n"


def test_random_fields_are_different_unless_the_count_is_below_zero(call: Call) -> None:
    for fields in (9, 700):
        call("DEL", "h")
        call("HSET", "h", *(word for i in range(fields) for word in (f"f{i}", f"v{i}")))
        for count in (0, 1, 5, 40, 128, 129, fields - 1, fields, fields + 1):
            drawn = call("HRANDFIELD", "h", count).split(b"\r\n")[2::2]
            assert len(drawn) == len(set(drawn)) == min(count, fields)
        for count in (1, 20, 128, 129, 2500):
            drawn = call("HRANDFIELD", "h", -count).split(b"\r\n")
            assert drawn[0] == b"*%d" % count
            assert len(drawn[2::2]) == count
        pairs = call("HRANDFIELD", "h", 7, "WithValues").split(b"\r\n")[2::2]
        assert [name.replace(b"f", b"v") for name in pairs[::2]] == pairs[1::2]
    assert call("HRANDFIELD", "none") == b"$-1\r\n"
    assert call("HRANDFIELD", "none", -5) == b"*0\r\n"


@pytest.mark.parametrize("fields", [8, 600])
@pytest.mark.parametrize("count", [3, -3])
def test_every_field_is_as_likely(call: Call, fields: int, count: int) -> None:
    call("HSET", "h", *(word for i in range(fields) for word in (f"f{i}", "v")))
    seen = {b"f%d" % i: 0 for i in range(fields)}
    calls = fields * 40
    for _ in range(calls):
        for one in call("HRANDFIELD", "h", count).split(b"\r\n")[2::2]:
            seen[one] += 1
    expected = calls * 3 / fields
    spread = sum((times - expected) ** 2 / expected for times in seen.values())
    assert spread < fields + 6 * (2 * fields) ** 0.5  # chi squared


def test_changes_are_counted_by_field(shard: Shard, call: Call) -> None:
    def changes(*words: str | int) -> int:
        before = shard.keyspace.changes
        call(*words)
        return shard.keyspace.changes - before

    assert changes("HSET", "h", "a", 1, "b", 2, "a", 3) == 3
    assert changes("HSETNX", "h", "a", 1) == 0
    assert changes("HSETNX", "h", "c", 1) == 1
    assert changes("HINCRBY", "h", "a", 1) == 1
    assert changes("HDEL", "h", "a", "a", "none", "b") == 2
    assert changes("HDEL", "h", "none") == 0
    assert changes("HDEL", "h", "c", "c") == 1


class Recorder:
    """A context that remembers what handlers tell it."""

    def __init__(self) -> None:
        self.keyspace = Keyspace()
        self.database = 0
        self.random = Random(0)
        self.told: list[tuple[Any, ...]] = []

    def changed(self, key: bytes, event: bytes, count: int = 1) -> None:
        self.told.append((event, key, count))

    def notify(self, key: bytes, event: bytes) -> None:
        self.told.append((event, key))

    def propagate(self, args: list[bytes]) -> None:
        self.told.append(tuple(args))


def test_events_are_those_of_redis_and_floats_are_logged_as_their_result() -> None:
    context: Any = Recorder()

    def told(handler: Callable[..., None], *words: bytes) -> list[tuple[Any, ...]]:
        context.told.clear()
        handler(context, [b"NAME", *words], Reply())
        return list(context.told)

    assert told(family.hset, b"h", b"f", b"1", b"g", b"2") == [(b"hset", b"h", 2)]
    assert told(family.hsetnx, b"h", b"i", b"1") == [(b"hset", b"h", 1)]
    assert told(family.hincrby, b"h", b"f", b"1") == [(b"hincrby", b"h", 1)]
    assert told(family.hincrbyfloat, b"h", b"f", b"0.5") == [
        (b"HSET", b"h", b"f", b"2.5"),
        (b"hincrbyfloat", b"h", 1),
    ]
    assert told(family.hdel, b"h", b"f") == [(b"hdel", b"h", 1)]
    assert told(family.hdel, b"h", b"g", b"i") == [(b"hdel", b"h", 2), (b"del", b"h")]
    with pytest.raises(CommandError):
        told(family.hset, b"h", b"f")
