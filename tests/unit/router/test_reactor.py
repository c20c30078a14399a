"""The reactor, over real sockets; the test plays the shards."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.resp_client import encode
from tests.support.rig import Rig, reply_to

MIB = 1 << 20


@pytest.fixture
def rig() -> Rig:
    return Rig(2)


@pytest.fixture
def connection(rig: Rig, tmp_path: Path) -> Iterator[socket.socket]:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.listen()
    listener.setblocking(False)
    rig.reactor.listen(listener)
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(tmp_path / "socket"))
    client.setblocking(False)
    rig.tick()
    yield client
    client.close()
    rig.tick()
    rig.reactor.stop_listening()
    listener.close()
    assert rig.taken() == 0


def received(connection: socket.socket) -> bytes | None:
    """What has come; None: nothing, b"": the end."""
    with contextlib.suppress(BlockingIOError):
        return connection.recv(MIB)
    return None


def test_a_half_closed_client_gets_its_replies_before_the_end(
    rig: Rig, connection: socket.socket
) -> None:
    connection.sendall(encode("GET", rig.key(0)) + encode("PING"))
    connection.shutdown(socket.SHUT_WR)
    rig.tick()
    rig.tick()
    assert received(connection) is None
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(reply_to(run, b"$1\r\nv\r\n"))
    rig.tick()
    assert received(connection) == b"$1\r\nv\r\n+PONG\r\n"
    assert received(connection) == b""


def test_a_half_closed_client_gets_the_reply_of_its_barrier(
    rig: Rig, connection: socket.socket
) -> None:
    connection.sendall(encode("DEL", rig.key(0), rig.key(1)) + encode("PING"))
    connection.shutdown(socket.SHUT_WR)
    rig.tick()
    rig.tick()
    ((session, _, _),) = rig.barriers
    session.complete_barrier(b":2\r\n")
    rig.tick()
    assert received(connection) == b":2\r\n+PONG\r\n"
    assert received(connection) == b""


def test_a_half_closed_client_that_is_held_back_is_not_forgotten(
    rig: Rig, connection: socket.socket
) -> None:
    """With all answered that was admitted, it was closed although more stood in its input."""
    connection.sendall(encode("SET", rig.key(0), "v"))
    for other in [rig.client() for _ in range(70)]:
        for _ in range(17):
            other.session.push(encode("SET", rig.key(0), b"v" * 60_000))
    rig.tick()
    connection.sendall(encode("PING"))
    rig.tick()
    own = next(run for run in rig.shards[0].runs() if run.client == 0)
    rig.shards[0].answer(reply_to(own, b"+OK\r\n"))
    rig.tick()
    assert received(connection) == b"+OK\r\n"
    connection.shutdown(socket.SHUT_WR)
    rig.tick()
    assert received(connection) is None
    rig.dispatcher.shard_down(0)
    rig.tick()
    assert received(connection) == b"+PONG\r\n"
    assert received(connection) == b""


def test_a_client_that_resets_is_forgotten(rig: Rig, connection: socket.socket) -> None:
    connection.sendall(encode("GET", rig.key(0)))
    rig.tick()
    connection.close()
    rig.tick()
    rig.tick()
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    assert rig.taken() == 0


def test_a_reply_larger_than_the_socket_takes_comes_in_pieces(
    rig: Rig, connection: socket.socket
) -> None:
    value = b"x" * (3 * MIB)
    connection.sendall(encode("GET", rig.key(0)))
    rig.tick()
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(reply_to(run, b"$%d\r\n%b\r\n" % (len(value), value)))
    rig.tick()
    whole = b""
    for _ in range(1000):
        whole += received(connection) or b""
        rig.tick()
    assert whole == b"$%d\r\n%b\r\n" % (len(value), value)


def test_few_replies_wait_a_moment_for_the_rest_of_their_pipeline(
    rig: Rig, connection: socket.socket
) -> None:
    started: list[bool] = []
    rig.reactor.on_linger = lambda: started.append(True)
    connection.sendall(encode("GET", rig.key(0)) + encode("GET", rig.key(1)))
    rig.tick()
    first, second = rig.shards[0].runs()[0], rig.shards[1].runs()[0]
    rig.shards[0].answer(reply_to(first, b"$1\r\na\r\n"))
    rig.tick()
    assert received(connection) is None
    assert started == [True]
    rig.reactor.flush_lingering()
    assert received(connection) == b"$1\r\na\r\n"
    rig.shards[1].answer(reply_to(second, b"$1\r\nb\r\n"))
    rig.tick()
    assert received(connection) == b"$1\r\nb\r\n"
