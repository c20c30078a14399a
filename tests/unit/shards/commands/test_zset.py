"""Sorted sets and geo as a client sees them, in both lanes, and what they tell the shard."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from protocol.reply import Reply
from shards.commands import geo, zset
from shards.keyspace.keyspace import Keyspace
from tests.unit.shards.execution.test_executor import Shard

Call = Callable[..., bytes]
SYNTAX = b"-ERR syntax error\r\n"
NOT_FLOAT = b"-ERR value is not a valid float\r\n"
NOT_INTEGER = b"-ERR value is not an integer or out of range\r\n"
WRONG_TYPE = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
SCORES = b"-ERR min or max is not a float\r\n"
MEMBERS = b"-ERR min or max not valid string range item\r\n"
GT_LT_NX = b"-ERR GT, LT, and/or NX options at the same time are not compatible\r\n"


@pytest.fixture(params=[True, False], ids=["native", "python"])
def call(request: pytest.FixtureRequest) -> Call:
    return Shard(native_lane=request.param).call


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("ZADD z 1 a 2", SYNTAX),
        ("ZADD z NX CH", SYNTAX),
        (
            "ZADD z NX XX 1 a",
            b"-ERR XX and NX options at the same time are not compatible\r\n",
        ),
        ("ZADD z GT LT 1 a", GT_LT_NX),
        ("ZADD z nx gt 1 a", GT_LT_NX),
        (
            "ZADD z INCR 1 a 2 b",
            b"-ERR INCR option supports a single increment-element pair\r\n",
        ),
        ("ZADD z 1 a nan b", NOT_FLOAT),
        ("ZINCRBY z x a", NOT_FLOAT),
        ("ZINCRBY z ch a", SYNTAX),
        ("ZINCRBY z -inf top", b"-ERR resulting score is not a number (NaN)\r\n"),
        ("ZADD z INCR -inf top", b"-ERR resulting score is not a number (NaN)\r\n"),
        ("ZRANK z a b", SYNTAX),
        ("ZRANK z a b c", b"-ERR wrong number of arguments for 'zrank' command\r\n"),
        ("ZCOUNT z a 1", SCORES),
        ("ZLEXCOUNT z a [b", MEMBERS),
        ("ZRANGE z a 1", NOT_INTEGER),
        ("ZRANGE z 0 1 BYSCORE BYLEX", SYNTAX),
        ("ZRANGE z 0 1 LIMIT 0", SYNTAX),
        (
            "ZRANGE z 0 1 LIMIT 0 1",
            b"-ERR syntax error, LIMIT is only supported in combination with either BYSCORE or "
            b"BYLEX\r\n",
        ),
        (
            "ZRANGE z - + BYLEX WITHSCORES",
            b"-ERR syntax error, WITHSCORES not supported in combination with BYLEX\r\n",
        ),
        ("ZREVRANGE z 0 1 REV", SYNTAX),
        ("ZRANGEBYSCORE z (x 1", SCORES),
        ("ZRANGESTORE y z 0 1 WITHSCORES", SYNTAX),
        ("ZREMRANGEBYRANK z 0 x", NOT_INTEGER),
        ("ZPOPMIN z 1 2", SYNTAX),
        ("ZPOPMIN z -1", b"-ERR value is out of range, must be positive\r\n"),
        ("ZMPOP 0 z MIN", b"-ERR numkeys should be greater than 0\r\n"),
        ("ZMPOP 1 z MID", SYNTAX),
        ("ZMPOP 1 z MIN COUNT 0", b"-ERR count should be greater than 0\r\n"),
        ("BZPOPMIN z x", b"-ERR timeout is not a float or out of range\r\n"),
        ("BZMPOP -1 1 z MIN", b"-ERR timeout is negative\r\n"),
        ("ZRANDMEMBER z 1 x", SYNTAX),
        ("ZSCAN z 0 COUNT 0", SYNTAX),
        ("ZSCAN z x", b"-ERR invalid cursor\r\n"),
        ("ZUNION 0 z", b"-ERR at least 1 input key is needed for 'zunion' command\r\n"),
        ("ZUNION 2 z", SYNTAX),
        ("ZUNION 1 z WEIGHTS x", b"-ERR weight value is not a float\r\n"),
        ("ZUNION 1 z AGGREGATE AVG", SYNTAX),
        ("ZUNIONSTORE y 1 z WITHSCORES", SYNTAX),
        ("ZINTERCARD 1 z LIMIT -1", b"-ERR LIMIT can't be negative\r\n"),
        ("ZDIFF 1 z WEIGHTS 1", SYNTAX),
        ("ZADD s 1 a", WRONG_TYPE),
        ("ZUNION 2 z s", WRONG_TYPE),
        (
            "GEOADD z 181 0 a",
            b"-ERR invalid longitude,latitude pair 181.000000,0.000000\r\n",
        ),
        ("GEODIST z a b yd", b"-ERR unsupported unit provided. please use M, KM, FT, MI\r\n"),
        ("GEORADIUS z 0 0 x km", b"-ERR need numeric radius\r\n"),
        ("GEORADIUS z 0 0 1 km COUNT 0", b"-ERR COUNT must be > 0\r\n"),
        ("GEORADIUS z 0 0 1 km ANY", b"-ERR the ANY argument requires COUNT argument\r\n"),
        ("GEORADIUSBYMEMBER z none 1 km", b"-ERR could not decode requested zset member\r\n"),
        (
            "GEOSEARCH z BYRADIUS 1 km ASC COUNT 1",
            b"-ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GEOSEARCH\r\n",
        ),
    ],
)
def test_mistakes_are_told_as_redis_does_and_change_nothing(
    call: Call, command: str, error: bytes
) -> None:
    call("ZADD", "z", "1", "a", "inf", "top")
    call("SET", "s", "v")
    assert call(*command.split()) == error
    assert call("ZRANGE", "z", 0, -1) == b"*2\r\n$1\r\na\r\n$3\r\ntop\r\n"


def test_pairs_are_flat_in_resp2_and_nested_in_resp3(call: Call) -> None:
    call("ZADD", "z", "1.5", "a", "2", "b")
    assert call("ZRANGE", "z", 0, 0, "WITHSCORES") == b"*2\r\n$1\r\na\r\n$3\r\n1.5\r\n"
    assert call("ZRANGE", "z", 0, 0, "WITHSCORES", resp=3) == b"*1\r\n*2\r\n$1\r\na\r\n,1.5\r\n"
    assert call("ZSCORE", "z", "none", resp=3) == b"_\r\n"
    assert call("ZRANK", "z", "b", "WITHSCORE", resp=3) == b"*2\r\n:1\r\n,2\r\n"
    assert call("ZRANK", "z", "none", "WITHSCORE") == b"*-1\r\n"
    assert call("ZPOPMIN", "z", resp=3) == b"*2\r\n$1\r\na\r\n,1.5\r\n"
    assert call("ZPOPMIN", "z", 5, resp=3) == b"*1\r\n*2\r\n$1\r\nb\r\n,2\r\n"
    assert call("EXISTS", "z") == b":0\r\n"


def test_a_skip_list_may_stand_where_its_listpack_stood(call: Call) -> None:
    """One ZADD moves the listpack and then converts it: the old address may be used again."""
    for size in range(1, 60):
        key = f"z{size}"
        call("ZADD", key, 0, "first")
        pairs = [word for i in range(size) for word in (i, f"m{i}")]
        call("ZADD", key, *pairs, 1, "long" * 20)
        assert call("ZCARD", key) == b":%d\r\n" % (size + 2)
        assert call("OBJECT", "ENCODING", key) == b"$8\r\nskiplist\r\n"
        assert call("ZSCORE", key, "long" * 20) == b"$1\r\n1\r\n"


class Recorder:
    """A context that writes down what handlers record."""

    def __init__(self) -> None:
        self.keyspace = Keyspace()
        self.database = 0
        self.now_ms = 0
        self.random = Random(1)
        self.overlay = None
        self.events: list[tuple[bytes, int]] = []
        self.logged: list[list[bytes]] = []

    def type(self, key: bytes, counted: bool = True) -> bytes | None:
        return self.keyspace.type(0, key, counted)

    def changed(self, key: bytes, event: bytes, count: int = 1) -> None:
        self.events.append((event, count))

    def notify(self, key: bytes, event: bytes) -> None:
        self.events.append((event, 0))

    def propagate(self, args: list[bytes]) -> None:
        self.logged.append(args)

    def delete(self, key: bytes) -> bool:
        return self.keyspace.delete(0, key)

    clear = delete

    def run(self, command: str) -> list[tuple[bytes, int]]:
        words = command.encode().split()
        handler = vars(geo if words[0].startswith(b"GEO") else zset)[words[0].decode().lower()]
        self.events = []
        handler(self, words, Reply())
        return self.events


def test_events_are_those_of_redis() -> None:
    recorder = Recorder()
    assert recorder.run("ZADD z 1 a 2 b 3 c") == [(b"zadd", 3)]
    assert recorder.run("ZADD z 1 a") == []
    assert recorder.run("ZINCRBY z 5 a") == [(b"zincr", 1)]
    assert recorder.run("ZINCRBY z 0 a") == []
    assert recorder.run("ZRANGESTORE y z 0 -1") == [(b"zrangestore", 1)]
    assert recorder.run("ZUNIONSTORE y 1 none") == [(b"del", 1)]
    assert recorder.run("ZREM z a none") == [(b"zrem", 1)]
    assert recorder.run("ZREMRANGEBYRANK z 0 0") == [(b"zremrangebyrank", 1)]
    assert recorder.logged == []
    assert recorder.run("BZPOPMIN z 0") == [(b"zpopmin", 1), (b"del", 0)]
    assert recorder.run("GEOADD z 1 1 a") == [(b"zadd", 1)]
    assert recorder.run("ZMPOP 1 z MAX COUNT 9") == [(b"zpopmax", 1), (b"del", 0)]
    assert recorder.logged == [
        [b"ZPOPMIN", b"z"],
        [b"zadd", b"z", b"3377822707026402", b"a"],
        [b"ZPOPMAX", b"z", b"1"],
    ]
