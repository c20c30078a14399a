"""MULTI, EXEC and WATCH answer what redis-server does, over one and over several shards.

Each script runs on both servers, in RESP2 and RESP3; ours has one or three shards. A script is a
sequence of (client, command); the raw replies are compared. The keys lie on different shards.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence

import pytest

from tests.support.resp_client import RespClient
from tests.support.servers import Configuration, Oracle, Server, ServerPool, Shardis

Script = Sequence[tuple[int, str]]


def alone(*calls: str) -> Script:
    return [(0, call) for call in calls]


SCRIPTS: dict[str, Script] = {
    "one key": alone("MULTI", "SET a 1", "INCR a", "GET a", "EXEC", "GET a"),
    "many keys": alone("MULTI", "SET a 1", "SET b 2", "SET c 3", "MGET a b c d", "EXEC"),
    "nothing": alone("MULTI", "EXEC", "EXEC"),
    "outside": alone("EXEC", "DISCARD", "UNWATCH", "WATCH", "EXEC x"),
    "nested": alone("MULTI", "MULTI", "WATCH a", "SET a 1", "EXEC"),
    "discard": alone("MULTI", "SET a 1", "DISCARD", "GET a", "EXEC"),
    "unknown command": alone("MULTI", "SET a 1", "NOSUCH x", "EXEC", "GET a", "EXEC"),
    "unknown subcommand": alone("MULTI", "OBJECT NOSUCH a", "EXEC"),
    "arity": alone("MULTI", "SET a", "SET b 1", "EXEC", "GET b"),
    "arity over shards": alone("MULTI", "SET a 1", "SET b 1", "GET", "EXEC", "MGET a b"),
    "arity of EXEC": alone("MULTI", "SET a 1", "EXEC now", "EXEC", "GET a"),
    "not allowed inside": alone("MULTI", "SHUTDOWN", "EXEC"),
    "errors inside": alone("MULTI", "SET a x", "INCR a", "LPUSH a 1", "SET b 2", "EXEC", "GET b"),
    "session commands": alone("MULTI", "PING", "ECHO hi", "SET a 1", "CLIENT GETNAME", "EXEC"),
    "router commands": alone("MULTI", "CONFIG GET maxmemory", "SET a 1", "GET b", "EXEC"),
    "databases": alone(
        "MULTI", "SET a 0", "SELECT 3", "SET a 3", "GET a", "SWAPDB 0 3", "GET a", "EXEC", "GET a",
        "SELECT 0", "GET a",
    ),
    "bad database": alone("MULTI", "SELECT 99", "SET a 1", "EXEC", "GET a"),
    "whole server": alone(
        "MSET a 1 b 2 c 3", "MULTI", "DBSIZE", "DEL a b", "DBSIZE", "KEYS *", "FLUSHALL",
        "DBSIZE", "SCAN 0", "RANDOMKEY", "EXEC", "DBSIZE",
    ),
    "over shards": alone(
        "RPUSH l 1 2 3", "SADD s 1 2", "MULTI", "RENAME l m", "LMOVE m n LEFT RIGHT", "SMOVE s t 1",
        "SINTERSTORE u s t", "COPY n o", "MSETNX x 1 y 2", "MSETNX y 3 z 4", "LRANGE o 0 -1",
        "LMPOP 2 nosuch m LEFT", "EXEC", "MGET x y z",
    ),
    "sort by others": alone(
        "RPUSH l 3 1 2", "MSET w_1 3 w_2 1 w_3 2", "MULTI", "SORT l BY w_* GET # GET w_*",
        "SORT l BY w_* STORE m", "LRANGE m 0 -1", "EXEC",
    ),
    "nothing waits": alone(
        "MULTI", "BLPOP q 0", "BLMOVE q r LEFT LEFT 0", "BZPOPMIN z 0", "XREAD BLOCK 0 STREAMS s $",
        "BRPOP a b c 0", "RPUSH c 1", "BRPOP a b c 0", "WAIT 0 0", "EXEC",
    ),
    "reset": alone("MULTI", "SET a 1", "RESET", "EXEC", "GET a"),
    "watched in vain": [
        (0, "WATCH a b"), (1, "SET b 1"), (0, "MULTI"), (0, "SET c 1"), (0, "EXEC"), (0, "GET c"),
        (0, "MULTI"), (0, "SET c 2"), (0, "EXEC"),
    ],
    "watched": [
        (0, "WATCH a b c d"), (1, "SET e 1"), (0, "MULTI"), (0, "SET c 1"), (0, "EXEC"),
    ],
    "watched by itself": alone("WATCH a", "SET a 1", "MULTI", "GET a", "EXEC"),
    "watched and only that": [
        (0, "WATCH a"), (0, "MULTI"), (0, "EXEC"), (0, "WATCH a"), (1, "SET a 1"), (0, "MULTI"),
        (0, "EXEC"),
    ],
    "unwatched": [
        (0, "WATCH a b"), (1, "SET a 1"), (0, "UNWATCH"), (0, "MULTI"), (0, "GET a"), (0, "EXEC"),
    ],
    "discarded watch": [
        (0, "WATCH a b"), (0, "MULTI"), (0, "DISCARD"), (1, "SET a 1"), (0, "MULTI"), (0, "GET a"),
        (0, "EXEC"),
    ],
    "reset watch": [
        (0, "WATCH a"), (0, "RESET"), (1, "SET a 1"), (0, "MULTI"), (0, "GET a"), (0, "EXEC"),
    ],
    "unwatch inside": [
        (0, "WATCH a"), (1, "SET a 1"), (0, "MULTI"), (0, "UNWATCH"), (0, "GET a"), (0, "EXEC"),
    ],
    "watch a database": [
        (0, "SELECT 1"), (0, "WATCH a"), (1, "SET a 0"), (0, "MULTI"), (0, "GET a"), (0, "EXEC"),
        (0, "WATCH a"), (1, "SELECT 1"), (1, "SET a 1"), (0, "MULTI"), (0, "GET a"), (0, "EXEC"),
    ],
    "flush of nothing": [
        (0, "WATCH a"), (1, "SET b 1"), (1, "FLUSHALL"), (0, "MULTI"), (0, "PING"), (0, "EXEC"),
    ],
    "flush": [
        (0, "SET a 1"), (0, "WATCH a"), (1, "FLUSHDB"), (0, "MULTI"), (0, "PING"), (0, "EXEC"),
    ],
    "swap": [
        (1, "SELECT 1"), (1, "SET a 1"), (0, "WATCH a"), (1, "SWAPDB 0 1"), (0, "MULTI"),
        (0, "GET a"), (0, "EXEC"),
    ],
    "swap of nothing": [
        (0, "WATCH a"), (1, "SET b 1"), (1, "SWAPDB 0 1"), (0, "MULTI"), (0, "GET a"), (0, "EXEC"),
    ],
    "renamed over": [
        (1, "SET b 1"), (0, "WATCH a"), (1, "RENAME b a"), (0, "MULTI"), (0, "GET a"), (0, "EXEC"),
    ],
    "stored": [
        (1, "SADD b 1"), (0, "WATCH a"), (1, "SINTERSTORE a b b"), (0, "MULTI"), (0, "EXEC"),
        (0, "WATCH a"), (1, "SORT b STORE a"), (0, "MULTI"), (0, "EXEC"),
    ],
    "taken": [
        (1, "RPUSH a 1 2"), (0, "WATCH a"), (1, "LMOVE a b LEFT LEFT"), (0, "MULTI"), (0, "EXEC"),
    ],
    "stream groups": [
        (1, "XADD a 1-1 f v"), (1, "XGROUP CREATE a g 0"), (0, "WATCH a"),
        (1, "XREADGROUP GROUP g c STREAMS a >"), (0, "MULTI"), (0, "EXEC"), (0, "WATCH a"),
        (1, "XACK a g 1-1"), (0, "MULTI"), (0, "EXEC"), (0, "WATCH a"), (1, "XGROUP SETID a g 0"),
        (0, "MULTI"), (0, "EXEC"), (0, "WATCH a"), (1, "XGROUP CREATECONSUMER a g d"), (0, "MULTI"),
        (0, "EXEC"), (0, "WATCH a"), (1, "XDEL a 9-9"), (0, "MULTI"), (0, "EXEC"), (0, "WATCH a"),
        (1, "XGROUP DESTROY a g"), (0, "MULTI"), (0, "EXEC"),
    ],
    "changes nothing": [
        (1, "SET a 1"), (1, "SADD s 1"), (0, "WATCH a s l"), (1, "GET a"), (1, "EXPIRE no 100"),
        (1, "SADD s 1"), (1, "DEL no"), (1, "SETNX a 2"), (1, "LPUSHX l 1"), (0, "MULTI"),
        (0, "PING"), (0, "EXEC"),
    ],
    "expiry set": [
        (1, "SET a 1"), (0, "WATCH a"), (1, "EXPIRE a 1000"), (0, "MULTI"), (0, "EXEC"),
        (0, "WATCH a"), (1, "PERSIST a"), (0, "MULTI"), (0, "EXEC"),
    ],
    "replies off": alone("MULTI", "SET a 1", "CLIENT REPLY ON", "GET a", "EXEC"),
}  # fmt: skip


@pytest.fixture(params=[1, 3], ids=lambda shards: f"{shards}-shards")
def ours(request: pytest.FixtureRequest, server_pool: ServerPool) -> Shardis:
    return server_pool.get(Configuration(shards=request.param))


def play(server: Server, script: Script, resp: int) -> list[bytes]:
    """The replies of a script, from an empty server."""
    with server.client() as upkeep:
        upkeep.call("FLUSHALL")
    clients: dict[int, RespClient] = {}
    replies = []
    try:
        for number, call in script:
            if number not in clients:
                clients[number] = server.client(resp=resp)
            replies.append(clients[number].call(*call.split()))
    finally:
        for client in clients.values():
            client.close()
    return replies


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("name", SCRIPTS)
def test_transactions_answer_as_redis_does(
    ours: Shardis, oracle: Oracle, name: str, resp: int
) -> None:
    script = SCRIPTS[name]
    expected = play(oracle, script, resp)
    for step, got, wanted in zip(script, play(ours, script, resp), expected, strict=True):
        if step[1] in ("KEYS *",):
            continue
        assert got == wanted, step


@pytest.mark.usefixtures("ours_only")
def test_a_watched_key_that_expires_has_changed(ours: Shardis) -> None:
    with ours.client() as client, ours.client() as upkeep:
        upkeep.call("DEBUG", "SET-ACTIVE-EXPIRE", "0")
        try:
            client.call("SET", "a", "1", "PX", "30")
            client.call("SET", "b", "1", "PX", "1")
            time.sleep(0.01)
            client.call("WATCH", "b")  # had expired: that it goes is no change
            upkeep.call("GET", "b")
            client.call("MULTI")
            assert client.call("EXEC") == b"*0\r\n"
            client.call("WATCH", "a")
            time.sleep(0.04)
            client.call("MULTI")
            assert client.call("EXEC") == b"*-1\r\n"
        finally:
            upkeep.call("DEBUG", "SET-ACTIVE-EXPIRE", "1")


@pytest.mark.usefixtures("ours_only")
def test_a_large_transaction_runs_whole(ours: Shardis) -> None:
    value = b"x" * 70_000
    with ours.client() as client:
        client.call("MULTI")
        for number in range(3000):
            assert client.call("SET", f"k{number}", number) == b"+QUEUED\r\n"
        client.call("MSET", "large1", value, "large2", value)
        client.call("GET", "large2")
        assert client.call("EXEC") == (
            b"*3002\r\n" + b"+OK\r\n" * 3001 + b"$70000\r\n%b\r\n" % value
        )
        assert client.call("DBSIZE") == b":3002\r\n"


@pytest.mark.usefixtures("ours_only")
def test_a_transaction_counts_as_its_commands_do(ours: Shardis) -> None:
    with ours.client() as client:
        client.call("CONFIG", "RESETSTAT")
        for call in ("MULTI", "SET a 1", "SET b x", "INCR b", "EXEC"):
            client.call(*call.split())
        stats = client.call("INFO", "commandstats")
        for line in (b"cmdstat_set:calls=2,", b"cmdstat_incr:calls=1,", b"cmdstat_exec:calls=1,"):
            assert line in stats, stats
        assert b"shardis" not in stats


@pytest.mark.usefixtures("ours_only")
def test_client_list_shows_what_is_queued(ours: Shardis, oracle: Oracle) -> None:
    found = []
    for server in (ours, oracle):
        with server.client() as client, server.client() as other:
            client.call("CLIENT", "SETNAME", "me")
            for call in ("MULTI", "SET a 1", "MGET a b"):
                client.call(*call.split())
            (line,) = [
                line for line in other.call("CLIENT", "LIST").split(b"\n") if b"=me " in line
            ]
            fields = dict(word.split(b"=", 1) for word in line.split())
            found.append([fields[name] for name in (b"multi", b"multi-mem", b"flags")])
    assert found[0] == found[1]


@pytest.mark.usefixtures("ours_only")
def test_nothing_is_kept_once_a_command_was_refused(ours: Shardis) -> None:
    with ours.client() as client:
        client.call("MULTI")
        client.call("NOSUCH")
        assert client.call("SET", "a", "1") == b"+QUEUED\r\n"
        with ours.client() as other:
            assert b" multi=0 " in other.call("CLIENT", "LIST")


@pytest.fixture
def lone(own_server: Callable[..., Shardis]) -> Shardis:
    return own_server(shards=3, workers=1)


@pytest.mark.usefixtures("ours_only")
def test_what_a_lost_shard_has_watched_counts_as_changed(lone: Shardis) -> None:
    with lone.client() as client:
        client.call("WATCH", "a", "b", "c")
        os.kill(lone.shard_pids()[0], signal.SIGKILL)
        deadline = time.monotonic() + 10
        while client.call("DBSIZE").startswith(b"-") and time.monotonic() < deadline:
            time.sleep(0.02)
        client.call("MULTI")
        assert client.call("PING") == b"+QUEUED\r\n"
        assert client.call("EXEC") == b"*-1\r\n"
