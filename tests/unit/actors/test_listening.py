"""Listening sockets on their way between processes."""

from __future__ import annotations

import socket

import pytest

from actors.listening import Listener, receive_listeners, send_listeners


@pytest.fixture
def channel() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def listening() -> Listener:
    listener = Listener(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def test_listeners_arrive_with_their_kinds(channel: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = channel
    with ours, theirs, listening() as one, listening() as two:
        send_listeners(ours, [one, two])
        got = receive_listeners(theirs, ["tcp", "tls"])
        assert [listener.kind for listener in got] == ["tcp", "tls"]
        assert [listener.getsockname() for listener in got] == [
            one.getsockname(),
            two.getsockname(),
        ]
        assert all(not listener.getblocking() for listener in got)
        for listener in got:
            listener.close()


def test_none_at_all_arrive_as_none(channel: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = channel
    with ours, theirs:
        send_listeners(ours, [])
        assert receive_listeners(theirs, []) == []


def test_others_than_announced_are_refused(channel: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = channel
    with ours, theirs, listening() as one:
        send_listeners(ours, [one])
        with pytest.raises(ValueError, match="1 listeners came where 2"):
            receive_listeners(theirs, ["tcp", "tcp"])
