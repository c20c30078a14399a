"""MULTI, EXEC and WATCH at a shard's port answer what a node of a Redis Cluster does.

Ours has one shard, which owns all slots, as the redis-server has. What several nodes add is below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from tests.support.resp_client import RespClient
from tests.support.servers import ClusterOracle, Configuration, ServerPool

Script = Sequence[tuple[int, str]]
CLUSTER = ("--cluster-enabled", "yes")


def alone(*calls: str) -> Script:
    return [(0, call) for call in calls]


SCRIPTS: dict[str, Script] = {
    "one slot": alone("MULTI", "SET {x}a 1", "MSET {x}b 1 {x}c 2", "MGET {x}a {x}b", "EXEC"),
    "two slots": alone("MULTI", "SET a 1", "SET b 1", "EXEC", "GET a", "EXEC"),
    "two slots and an error": alone("MULTI", "SET a 1", "SET b 1", "NOSUCH", "EXEC", "GET a"),
    "two slots in a command": alone("MULTI", "MSET a 1 b 2", "SET a 1", "EXEC", "EXEC"),
    "router": alone("MULTI", "SET a 1", "PING", "CONFIG GET maxmemory", "DBSIZE", "EXEC"),
    "session": alone("MULTI", "CLIENT GETNAME", "ECHO x", "SET a 1", "KEYS *", "EXEC"),
    "databases": alone("MULTI", "SELECT 1", "SET a 1", "SELECT 0", "EXEC"),
    "whole node": alone("SET a 1", "MULTI", "FLUSHALL", "DBSIZE", "SET a 2", "EXEC"),
    "watched": [
        (0, "WATCH a"), (1, "SET a 1"), (0, "MULTI"), (0, "GET a"), (0, "EXEC"), (0, "MULTI"),
        (0, "GET a"), (0, "EXEC"),
    ],
    "watched two slots": [
        (0, "WATCH a b"), (0, "WATCH a"), (0, "WATCH b"), (1, "SET b 1"), (0, "MULTI"),
        (0, "GET a"), (0, "EXEC"),
    ],
    "unwatched": [
        (0, "WATCH a"), (1, "SET a 1"), (0, "UNWATCH"), (0, "MULTI"), (0, "GET a"), (0, "EXEC"),
    ],
    "errors": alone("MULTI", "NOSUCH", "SET", "EXEC", "MULTI", "MULTI", "WATCH a", "EXEC"),
    "nothing waits": alone("RPUSH q 1", "MULTI", "BLPOP q 0", "BLPOP q 0", "EXEC"),
    "reset": alone("MULTI", "SET a 1", "RESET", "EXEC", "DISCARD"),
}  # fmt: skip


def play(port: int, script: Script, resp: int) -> list[bytes]:
    with RespClient(port) as upkeep:
        upkeep.call("FLUSHALL")
    clients: dict[int, RespClient] = {}
    replies = []
    try:
        for number, call in script:
            if number not in clients:
                clients[number] = RespClient(port)
                clients[number].call("HELLO", resp)
            replies.append(clients[number].call(*call.split()))
    finally:
        for client in clients.values():
            client.close()
    return replies


@pytest.fixture(scope="module")
def node() -> Iterator[ClusterOracle]:
    oracle = ClusterOracle()
    oracle.start()
    yield oracle
    oracle.stop()


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("name", SCRIPTS)
def test_transactions_at_a_port_answer_as_a_node_does(
    node: ClusterOracle, server_pool: ServerPool, name: str, resp: int
) -> None:
    ours = server_pool.get(Configuration(shards=1, extra=CLUSTER))
    script = SCRIPTS[name]
    expected = play(node.port, script, resp)
    for step, got, wanted in zip(script, play(ours.port + 1, script, resp), expected, strict=True):
        assert got == wanted, step


def test_a_key_of_another_node_is_refused_when_it_is_queued_or_watched(
    server_pool: ServerPool,
) -> None:
    ours = server_pool.get(Configuration(shards=3, extra=CLUSTER))
    with RespClient(ours.port + 1) as client:
        client.call("MULTI")
        queued = [client.call("SET", key, "1") for key in "abc"]
        assert sorted(reply[:7] for reply in queued) == [b"+QUEUED", b"-MOVED ", b"-MOVED "]
        assert client.call("EXEC").startswith(b"-EXECABORT")
        watched = [client.call("WATCH", key) for key in "abc"]
        assert sorted(reply[:6] for reply in watched) == [b"+OK\r\n", b"-MOVED", b"-MOVED"]
        client.call("MULTI")
        client.call("PING")
        assert client.call("EXEC") == b"*1\r\n+PONG\r\n"
