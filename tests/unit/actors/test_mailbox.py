"""All kinds of link, by the same tests: the contract in actors/mailbox.pxd."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from actors.links import open_links
from actors.mailbox import DIRECT, MemoryLink, PyzmqLink, ZmqLink
from actors.zmtp import ZmtpLink

Pair = tuple[Any, Any]
WAIT_SECONDS = 5


def zmtp_link(context: Any, endpoint: str, bind: bool) -> ZmtpLink:
    return ZmtpLink(endpoint, bind)


KINDS: dict[str, Callable[[Any, str, bool], Any]] = {
    "zmtp": zmtp_link,
    "zmq": ZmqLink,
    "pyzmq": PyzmqLink,
}
# Who binds, who connects. All of them put the same bytes on the socket.
PAIRS = (
    *((kind, kind) for kind in KINDS),
    ("zmtp", "zmq"),
    ("zmq", "zmtp"),
    ("pyzmq", "zmq"),
)


@pytest.fixture(params=["memory", *PAIRS], ids=lambda kinds: "-".join(kinds[:2]))
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    if request.param == "memory":
        yield MemoryLink.pair("pair")
        return
    if "zmq" in request.param and not DIRECT:
        pytest.skip("libzmq's functions were not found")
    context = zmq.Context(1)
    endpoint = f"ipc://{tmp_path}/link"
    first, second = (
        KINDS[kind](context, endpoint, bind)
        for kind, bind in zip(request.param, (True, False), strict=True)
    )
    meet(first, second)
    yield first, second
    first.close()
    second.close()
    context.term()


def meet(bound: Any, connected: Any) -> None:
    """The connecting end speaks first, as workers do: without a peer, messages are dropped."""
    connected.post(b"hello")
    assert fetch(bound, connected) == b"hello"


def fetch(link: Any, peer: Any) -> bytes:
    """The next message, which may still be under way. Both ends look, as their event loops do."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (message := link.fetch()) is None:
        assert time.monotonic() < deadline, "the message has not come"
        assert peer.fetch() is None
    assert isinstance(message, bytes)
    return message


def test_messages_keep_their_order_both_ways(pair: Pair) -> None:
    for source, target in (pair, pair[::-1]):
        for i in range(1000):
            source.post(b"%d" % i)
        assert [fetch(target, source) for _ in range(1000)] == [b"%d" % i for i in range(1000)]
        assert target.fetch() is None


@pytest.mark.parametrize("size", [0, 1, 33, 255, 256, 65_537, 5_000_000])
def test_messages_of_every_size_arrive_whole(pair: Pair, size: int) -> None:
    message = bytes(range(256)) * (size // 256 + 1)
    pair[0].post(message[:size])
    assert fetch(pair[1], pair[0]) == message[:size]


def test_nothing_is_received_when_nothing_was_sent(pair: Pair) -> None:
    assert pair[0].fetch() is None
    assert pair[1].fetch() is None


def test_a_closed_link_neither_sends_nor_receives(pair: Pair) -> None:
    pair[0].close()
    assert not pair[0].open
    pair[0].post(b"lost")
    assert pair[0].fetch() is None
    pair[0].close()
    pair[1].post(b"to nobody")
    assert pair[1].fetch() is None


def test_many_messages_wait_for_a_slow_receiver(pair: Pair) -> None:
    """There is no high-water mark: backpressure is counted in bytes, by the dispatcher."""
    for _ in range(5000):
        pair[0].post(b"x" * 100)
    assert sum(len(fetch(*pair[::-1])) for _ in range(5000)) == 500_000


@pytest.mark.parametrize("io_threads", [False, True])
def test_a_worker_and_a_shard_open_two_links_each(tmp_path: Path, io_threads: bool) -> None:
    context: zmq.Context[Any] = zmq.Context(1)
    path = f"ipc://{tmp_path}/link"
    bound = open_links(context, path, bind=True, io_threads=io_threads)
    connected = open_links(context, path, bind=False, io_threads=False)
    for here, there in zip(bound, connected, strict=True):
        meet(here, there)
        here.post(b"back")
        assert fetch(there, here) == b"back"
    assert len({link.fileno() for link in (*bound, *connected)}) == 4
    for link in (*bound, *connected):
        link.close()
    context.term()


def test_carry_decides_when_a_message_arrives() -> None:
    carried: list[tuple[MemoryLink, bytes]] = []
    first, second = MemoryLink.pair("pair", lambda link, data: carried.append((link, data)))
    first.post(b"one")
    second.post(b"two")
    assert carried == [(first, b"one"), (second, b"two")]
    assert second.fetch() is None
    for link, data in carried:
        link.peer.deliver(data)
    assert (first.fetch(), second.fetch()) == (b"two", b"one")
    second.close()
    second.deliver(b"late")
    assert second.fetch() is None
