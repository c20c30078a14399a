"""Commands about clients over several workers; where redis-server can say the same, it does."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.resp_client import RespClient, encode, parse
from tests.support.servers import Configuration, Oracle, ServerPool, Shardis

pytestmark = pytest.mark.usefixtures("ours_only")
MANY = 12


@pytest.fixture
def server(server_pool: ServerPool) -> Shardis:
    return server_pool.get(Configuration(shards=2, workers=2))


@pytest.fixture
def clients(server: Shardis) -> Iterator[list[RespClient]]:
    """Enough connections that both workers have some."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server.client()) for _ in range(MANY)]


def ids(clients: list[RespClient]) -> list[int]:
    return [int(client.call("CLIENT", "ID")[1:]) for client in clients]


def listed(client: RespClient, *options: object) -> dict[int, dict[str, str]]:
    text = parse(client.call("CLIENT", "LIST", *options)).value.decode()
    lines = [dict(word.split("=", 1) for word in line.split(" ")) for line in text.splitlines()]
    return {int(line["id"]): line for line in lines}


def is_closed(client: RespClient) -> bool:
    with contextlib.suppress(OSError, EOFError):
        client.call("PING")
        return False
    return True


def test_the_list_has_the_clients_of_all_workers(clients: list[RespClient]) -> None:
    known = ids(clients)
    clients[3].call("CLIENT", "SETNAME", "third")
    found = listed(clients[0])
    assert set(known) <= set(found)
    assert list(found) == sorted(found)
    assert found[known[3]]["name"] == "third"
    assert found[known[0]]["cmd"] == "client|list"
    assert listed(clients[0], "ID", known[5], known[2], 999_999).keys() == {known[5], known[2]}
    assert listed(clients[0], "TYPE", "pubsub") == {}


def test_closing_reaches_all_workers(clients: list[RespClient]) -> None:
    known = ids(clients)
    assert clients[0].call("CLIENT", "KILL", "ID", known[1]) == b":1\r\n"
    assert is_closed(clients[1])
    address = listed(clients[0])[known[2]]["addr"]
    assert clients[0].call("CLIENT", "KILL", address) == b"+OK\r\n"
    assert clients[0].call("CLIENT", "KILL", address) == b"-ERR No such client\r\n"
    killed = int(clients[0].call("CLIENT", "KILL", "TYPE", "normal")[1:])
    assert killed >= MANY - 3
    assert all(is_closed(client) for client in clients[1:])
    assert int(clients[0].call("CLIENT", "KILL", "SKIPME", "no")[1:]) >= 1
    assert is_closed(clients[0])


def test_a_pause_holds_on_every_worker_until_it_is_ended(clients: list[RespClient]) -> None:
    first, *others = clients
    first.call("SET", "n", 0)
    assert first.call("CLIENT", "PAUSE", 60_000, "WRITE") == b"+OK\r\n"
    try:
        for client in others:
            client.send(b"GET n\r\nINCR n\r\n")
        assert [client.read_reply() for client in others] == [b"$1\r\n0\r\n"] * len(others)
        assert f"blocked_clients:{len(others)}".encode() in first.call("INFO", "clients")
        assert first.call("GET", "n") == b"$1\r\n0\r\n"
    finally:
        assert first.call("CLIENT", "UNPAUSE") == b"+OK\r\n"
    counts = sorted(int(client.read_reply()[1:]) for client in others)
    assert counts == list(range(1, len(others) + 1))
    assert b"blocked_clients:0" in first.call("INFO", "clients")


def test_a_pause_ends_by_itself(clients: list[RespClient]) -> None:
    begun = time.monotonic()
    clients[0].call("CLIENT", "PAUSE", 300)
    clients[0].call("CLIENT", "PAUSE", 10, "WRITE")
    for client in clients:
        client.send(b"PING\r\n")
    assert {client.read_reply() for client in clients} == {b"+PONG\r\n"}
    assert 0.3 <= time.monotonic() - begun < 3


def test_a_pause_beyond_all_time_is_refused(clients: list[RespClient]) -> None:
    answer = clients[0].call("CLIENT", "PAUSE", 2**63 - 1)
    assert answer == b"-ERR timeout is out of range\r\n"


def test_a_password_holds_from_its_setting_on(server: Shardis, clients: list[RespClient]) -> None:
    assert clients[0].call("CONFIG", "SET", "requirepass", "a b\x00c") == b"+OK\r\n"
    try:
        strangers = [RespClient(server.port) for _ in range(MANY)]
        for stranger in strangers:
            assert stranger.call("GET", "k").startswith(b"-NOAUTH")
            assert stranger.call("AUTH", "a b").startswith(b"-WRONGPASS")
            assert stranger.call("AUTH", "a b\x00c") == b"+OK\r\n"
            assert stranger.call("GET", "k").startswith(b"$")
            stranger.close()
        assert all(client.call("PING") == b"+PONG\r\n" for client in clients)
    finally:
        assert clients[0].call("CONFIG", "SET", "requirepass", "") == b"+OK\r\n"


def test_who_does_not_read_is_closed(server: Shardis, clients: list[RespClient]) -> None:
    first = clients[0]
    first.call("SET", "big", b"x" * 60_000)
    limit = "client-output-buffer-limit"
    assert first.call("CONFIG", "SET", limit, "normal 3mb 0 0") == b"+OK\r\n"
    try:
        with socket.create_connection(("127.0.0.1", server.port)) as lazy:
            lazy.settimeout(10)
            with pytest.raises(ConnectionError):
                ask_without_reading(lazy)
        assert "scheduled to be closed ASAP for overcoming of output buffer limits" in server.log()
    finally:
        assert first.call("CONFIG", "SET", limit, "normal 0 0 0") == b"+OK\r\n"


@pytest.mark.parametrize(
    ("fill", "ask"),
    [
        (("HSET", "many", "f", "v"), ("HRANDFIELD", "many", -(10**12))),
        (("SADD", "many", "m"), ("SRANDMEMBER", "many", -(2**26))),
        (("ZADD", "many", 1, "m"), ("ZRANDMEMBER", "many", -(10**12), "WITHSCORES")),
    ],
)
def test_a_reply_that_nobody_may_have_is_not_made(
    server: Shardis, clients: list[RespClient], fill: tuple[Any, ...], ask: tuple[Any, ...]
) -> None:
    first, greedy = clients[:2]
    limit = "client-output-buffer-limit"
    assert first.call("DEL", "many").startswith(b":")
    assert first.call(*fill) == b":1\r\n"
    assert first.call("CONFIG", "SET", limit, "normal 1mb 0 0") == b"+OK\r\n"
    try:
        greedy.send(encode(*ask))
        assert greedy.read_to_end() == b""
        assert first.call("EXISTS", "many") == b":1\r\n"
    finally:
        assert first.call("CONFIG", "SET", limit, "normal 0 0 0") == b"+OK\r\n"


def ask_without_reading(connection: socket.socket) -> None:
    for _ in range(2000):
        connection.sendall(b"GET big\r\n" * 10)
        time.sleep(0.001)


def test_idle_clients_are_closed_everywhere(server: Shardis, clients: list[RespClient]) -> None:
    assert clients[0].call("CONFIG", "SET", "timeout", 1) == b"+OK\r\n"
    try:
        deadline = time.monotonic() + 8
        while len(listed(clients[0])) > 1 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert len(listed(clients[0])) == 1
    finally:
        assert clients[0].call("CONFIG", "SET", "timeout", 0) == b"+OK\r\n"
    assert all(is_closed(client) for client in clients[1:])


def test_maxclients_holds_over_all_workers(own_server: object) -> None:
    server = own_server(shards=1, workers=2, extra=("--maxclients", "5"))  # type: ignore[operator]
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(5):
            client = stack.enter_context(server.client())
            assert client.call("PING") == b"+PONG\r\n"
            opened.append(client)
        refused = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        refused.settimeout(5)
        assert refused.recv(100) == b"-ERR max number of clients reached\r\n"
        assert opened[0].call("CONFIG", "SET", "maxclients", 6) == b"+OK\r\n"
        late = stack.enter_context(server.client())
        assert late.call("PING") == b"+PONG\r\n"
        assert b"rejected_connections:1" in late.call("INFO", "stats")


PIPELINES = {
    "silence": "CLIENT REPLY OFF;SET k 1;GET k;NOSUCH;MGET a b c d;DBSIZE;CLIENT REPLY ON;GET k",
    "skipping a command of one shard": "SET k 1;CLIENT REPLY SKIP;GET k;GET k",
    "skipping one of several": "CLIENT REPLY SKIP;MSET a 1 b 2 c 3;MGET a b c",
    "skipping one of the server": "CLIENT REPLY SKIP;CONFIG GET port;PING",
    "skipping an error": "CLIENT REPLY SKIP;GET;CLIENT REPLY SKIP;NOSUCH a;PING",
    "skipping twice": "CLIENT REPLY SKIP;CLIENT REPLY SKIP;PING;ECHO a",
    "skipping nothing": "CLIENT REPLY SKIP;;GET k;PING",
    "a reset in silence": "CLIENT REPLY OFF;CLIENT SETNAME x;RESET;CLIENT GETNAME",
    "leaving in silence": "PING;CLIENT REPLY OFF;PING;QUIT",
    "a large reply in silence": "SETRANGE big 300000 x;CLIENT REPLY SKIP;GET big;STRLEN big",
    "bad filters": "CLIENT KILL;CLIENT KILL 1;CLIENT KILL ID 0;CLIENT KILL ID x;CLIENT KILL ID 1 x;"
    "CLIENT KILL TYPE x;CLIENT KILL USER x;CLIENT KILL SKIPME x;CLIENT KILL FOO x;"
    "CLIENT KILL TYPE master;CLIENT KILL ID 999999",
    "bad lists": "CLIENT LIST x;CLIENT LIST TYPE;CLIENT LIST TYPE x;CLIENT LIST ID;"
    "CLIENT LIST ID x;CLIENT LIST TYPE normal x;CLIENT LIST ID 999999",
    "bad pauses": "CLIENT PAUSE;CLIENT PAUSE x;CLIENT PAUSE -1;CLIENT PAUSE 1 x;CLIENT PAUSE 0;"
    "CLIENT PAUSE 9223372036854775808;CLIENT PAUSE 1 WRITE x;CLIENT UNPAUSE;CLIENT UNPAUSE x",
    "others": "CLIENT UNBLOCK 1;CLIENT UNBLOCK x;CLIENT UNBLOCK 1 x;CLIENT UNBLOCK x TIMEOUT;"
    "CLIENT UNBLOCK 1 ERROR x;CLIENT NO-EVICT ON;CLIENT NO-EVICT x;CLIENT GETREDIR;"
    "CLIENT TRACKINGINFO;CLIENT REPLY x;CLIENT REPLY;AUTH a;AUTH default a;AUTH x a;AUTH a b c",
}


@pytest.mark.parametrize("lines", PIPELINES.values(), ids=PIPELINES.keys())
@pytest.mark.parametrize("resp", [2, 3])
def test_pipelines_are_answered_as_by_redis(
    server: Shardis, oracle: Oracle, lines: str, resp: int
) -> None:
    server.flush()
    expected, answered = (everything(one.port, lines, resp) for one in (oracle, server))
    assert answered == expected


def everything(port: int, lines: str, resp: int) -> bytes:
    """All that comes back for a pipeline, HELLO's reply and the port left out."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(10)
        connection.sendall(f"HELLO {resp}\r\n".encode())
        while not connection.recv(4096).endswith(b"*0\r\n"):
            pass
        connection.sendall("".join(line + "\r\n" for line in lines.split(";")).encode())
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while data := connection.recv(65536):
            received += data
    return received.replace(b"%d" % port, b"PORT")
