"""Blocking commands at a shard's own port and over TLS, and what happens to those who wait.

What they answer, and in which order, is compared with redis-server in tests/differential.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable

import pytest

from tests.support.resp_client import RespClient, encode, parse
from tests.support.servers import Configuration, ServerPool, Shardis
from tests.support.slots import slot
from tests.support.waiting import tell

pytestmark = pytest.mark.usefixtures("ours_only")
CLUSTER = Configuration(shards=2, extra=("--cluster-enabled", "yes"))


def steps(*lines: str) -> list[tuple[int, list[object]]]:
    return [(int(line[0]), [*line.split()[1:]]) for line in lines]


def port_of(server: Shardis, key: str) -> int:
    with server.client() as client:
        for node in parse(client.call("CLUSTER", "SLOTS")).value:
            first, last, (_, port, *_) = (item.value for item in node.value[:3])
            if int(first) <= slot(key.encode()) <= int(last):
                return int(port.value)
    raise AssertionError(key)


def blocked(client: RespClient) -> int:
    found = re.search(rb"blocked_clients:(\d+)", client.call("INFO", "clients"))
    assert found is not None
    return int(found[1])


def test_at_a_shard_s_port(server_pool: ServerPool) -> None:
    server = server_pool.get(CLUSTER)
    story = steps(
        "0 BLPOP {k}a {k}b 0", "1 BLMOVE {k}b {k}c LEFT RIGHT 0", "2 BLPOP {k}c 0",
        "3 RPUSH {k}b 1 2", "0 BLPOP {k}a 0.1", "3 NAP 200", "0 BLPOP {k}a 0",
        "3 CLIENT UNBLOCK {0} ERROR", "0 BLPOP {k}a 0", "0 CLOSE", "1 BLPOP {k}a 0", "1 END",
        "3 RPUSH {k}a x", "3 LLEN {k}a",
    )  # fmt: skip
    told = tell(server, 4, story, port=port_of(server, "{k}a"))
    assert told[3] == [
        (0, b"*2\r\n$4\r\n{k}b\r\n$1\r\n1\r\n"),
        (1, b"$1\r\n2\r\n"),
        (2, b"*2\r\n$4\r\n{k}c\r\n$1\r\n2\r\n"),
        (3, b":2\r\n"),
    ]
    assert told[5] == [(0, b"*-1\r\n")]
    assert [client for client, _ in told[7]] == [0, 3]
    assert told[13] == [(3, b":1\r\n")]


def test_a_push_at_the_endpoint_wakes_a_client_at_a_port_and_the_reverse(
    server_pool: ServerPool,
) -> None:
    server = server_pool.get(CLUSTER)
    with server.client() as here, RespClient(port_of(server, "k")) as there:
        for waiting, pushing in ((here, there), (there, here)):
            waiting.send(encode("BLPOP", "k", 0) + encode("PING"))
            while not blocked(pushing):
                time.sleep(0.001)
            assert pushing.call("RPUSH", "k", "v") == b":1\r\n"
            assert waiting.read_reply() == b"*2\r\n$1\r\nk\r\n$1\r\nv\r\n"
            assert waiting.read_reply() == b"+PONG\r\n"


@pytest.mark.parametrize("keys", [("a",), ("a", "b", "c")], ids=["one", "several"])
@pytest.mark.parametrize("transport", ["tcp", "tls", "unix"])
def test_over_every_transport(
    server_pool: ServerPool, transport: str, keys: tuple[str, ...]
) -> None:
    server = server_pool.get(Configuration(shards=3, transport=transport))
    server.flush()
    with server.client() as first, server.client() as second, server.client() as other:
        first.send(encode("BLPOP", *keys, 0))
        second.send(encode("BLPOP", *keys, 0))
        while blocked(other) < 2:
            time.sleep(0.001)
        first.close()
        while blocked(other) > 1:
            time.sleep(0.001)
        assert other.call("RPUSH", keys[-1], "v") == b":1\r\n"
        assert second.read_reply() == b"*2\r\n$1\r\n%b\r\n$1\r\nv\r\n" % keys[-1].encode()
        assert other.call("EXISTS", *keys) == b":0\r\n"


@pytest.mark.parametrize("keys", [("k1",), ("k1", "k2", "k3", "k4")], ids=["one", "several"])
def test_a_shard_that_dies_costs_its_clients_the_connection(
    own_server: Callable[..., Shardis], keys: tuple[str, ...]
) -> None:
    server = own_server(shards=2)
    with server.client() as other, server.client() as waiting:
        waiting.send(encode("BLPOP", *keys, 0))
        while not blocked(other):
            time.sleep(0.001)
        os.kill(server.shard_pids()[slot(b"k1") * 2 // 16384], signal.SIGKILL)
        with pytest.raises(ConnectionError):
            waiting.read_reply()
        deadline = time.monotonic() + 10
        while other.call("RPUSH", "k1", "v") != b":1\r\n":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert other.call("LPOP", "k1") == b"$1\r\nv\r\n"
        assert blocked(other) == 0


@pytest.mark.parametrize("keys", [("k1",), ("k1", "k2", "k3", "k4")], ids=["one", "several"])
def test_who_waits_is_listed_and_does_not_keep_a_pause_or_the_end_waiting(
    own_server: Callable[..., Shardis], keys: tuple[str, ...]
) -> None:
    server = own_server(shards=2)
    with server.client() as other, server.client() as waiting:
        number = waiting.call("CLIENT", "ID")[1:-2].decode()
        waiting.send(encode("BLPOP", *keys, 0))
        while not blocked(other):
            time.sleep(0.001)
        assert b" flags=b " in other.call("CLIENT", "LIST", "ID", number)
        assert b"total_blocking_keys:%d\r\n" % len(keys) in other.call("INFO", "clients")
        assert other.call("CLIENT", "PAUSE", "5", "WRITE") == b"+OK\r\n"
        assert other.call("CLIENT", "UNBLOCK", number) == b":1\r\n"
        assert waiting.read_reply() == b"*-1\r\n"
        waiting.send(encode("BLPOP", *keys, 0))
        while not blocked(other):
            time.sleep(0.001)
        other.send(encode("SHUTDOWN", "NOSAVE"))
        with pytest.raises(ConnectionError):
            other.read_reply()
