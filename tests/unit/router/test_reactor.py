"""The reactor, over real sockets; the test plays the shards."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.commands import Command
from sessions.clients import kill_clients
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
    connection.sendall(encode("RENAMENX", rig.key(0), rig.key(1)) + encode("PING"))
    connection.shutdown(socket.SHUT_WR)
    rig.tick()
    rig.tick()
    ((session, _, _),) = rig.barriers
    session.complete_barrier(b":1\r\n")
    rig.tick()
    assert received(connection) == b":1\r\n+PONG\r\n"
    assert received(connection) == b""


def test_what_a_pause_holds_back_is_forgotten_when_the_client_goes(
    rig: Rig, connection: socket.socket
) -> None:
    rig.dispatcher.set_pause(True, False)
    connection.sendall(encode("GET", rig.key(0)) + encode("SET", rig.key(0), "v"))
    connection.shutdown(socket.SHUT_WR)
    rig.tick()
    rig.tick()
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(reply_to(run, b"$1\r\nv\r\n"))
    rig.tick()
    assert received(connection) == b"$1\r\nv\r\n"
    assert received(connection) == b""
    rig.dispatcher.set_pause(False, False)
    rig.tick()
    assert rig.shards[0].runs() == []


def test_what_stands_behind_a_large_reply_keeps_no_processor_busy(
    rig: Rig, connection: socket.socket
) -> None:
    """It can't be written before that, however much room the socket has."""
    connection.sendall(encode("GET", rig.key(0)) + encode("PING"))
    rig.tick()
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(reply_to(run, b"", bulk=1))
    rig.tick()
    assert received(connection) is None
    assert not select.select([rig.reactor.fileno()], [], [], 0)[0]
    rig.shards[0].bulk.post(b"$70000\r\n" + b"x" * 70_000 + b"\r\n")
    rig.tick()
    reply = received(connection)
    assert reply is not None
    assert reply.endswith(b"x\r\n+PONG\r\n")


def test_a_large_reply_is_written_in_turns(rig: Rig) -> None:
    """The socket of a client that reads as fast is never full: others would wait for all of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * MIB)
        listener.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * MIB)
        client.connect(listener.getsockname())
        rig.reactor.listen(listener)
        rig.tick()
        client.sendall(encode("GET", rig.key(0)))
        rig.tick()
        (run,) = rig.shards[0].runs()
        rig.shards[0].answer(reply_to(run, b"", bulk=1))
        rig.shards[0].bulk.post(b"x" * 3 * MIB)
        rig.tick()
        rig.tick()
        assert 0 < rig.reactor.output_bytes <= 2 * MIB
        left = 3 * MIB
        while left:
            rig.tick()
            left -= len(client.recv(MIB))
        client.close()
        rig.tick()
        rig.reactor.stop_listening()
    assert rig.taken() == 0


def test_clients_may_be_closed_whose_events_are_under_way(rig: Rig, tmp_path: Path) -> None:
    """A batch of events names sessions by address: freed too early, one would be a wild read."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "many"))
    listener.listen()
    listener.setblocking(False)
    rig.reactor.listen(listener)
    clients = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    for client in clients:
        client.connect(str(tmp_path / "many"))
    rig.tick()

    callers = []

    def close_all(session: Any, command: Command, args: list[bytes]) -> None:
        kill_clients(rig.dispatcher, {"skipme": True}, session.id)
        callers.append(session)

    # Each needs a number of its own: the rig gives all that connect the same.
    for number, session in enumerate(filter(None, rig.dispatcher.sessions), 1):
        session.id = number
    rig.run_barrier = close_all  # type: ignore[method-assign]
    for client in clients:
        client.sendall(encode("CLIENT", "KILL", "TYPE", "normal") + encode("PING"))
    rig.tick()
    (caller,) = callers
    caller.complete_barrier(b":20\r\n")
    rig.tick()
    assert rig.taken() == 1
    answers = []
    for client in clients:
        with contextlib.suppress(ConnectionResetError):
            answers.append(received(client))
    assert [answer for answer in answers if answer] == [b":20\r\n+PONG\r\n"]
    for client in clients:
        client.close()
    rig.tick()
    rig.reactor.stop_listening()
    listener.close()


def test_a_half_closed_client_that_is_held_back_is_not_forgotten(
    rig: Rig, connection: socket.socket
) -> None:
    """With all answered that was admitted, it was closed although more was in its input."""
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
