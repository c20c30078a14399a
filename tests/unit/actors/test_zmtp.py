"""ZmtpLink against a peer of this test's own: the bytes on the socket, and peers that misbehave.

That it keeps the contract of links, also with libzmq at the other end, is in test_mailbox.py.
"""

from __future__ import annotations

import itertools
import select
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.zmtp import GREETING, HELLO, READY, ProtocolError, ZmtpLink

PATIENCE_SECONDS = 5.0
MORE = 0x01
LONG = 0x02
COMMAND = 0x04


def frame(body: bytes, flags: int = 0) -> bytes:
    """A message or command as ZMTP has it, with the shortest length."""
    if len(body) > 255:
        return bytes([flags | LONG]) + len(body).to_bytes(8, "big") + body
    return bytes([flags, len(body)]) + body


def is_due(link: ZmtpLink, seconds: float = 0.0) -> bool:
    """Whether the link's descriptor is readable, or becomes so in that time."""
    return bool(select.select([link.fileno()], [], [], seconds)[0])


def fetch(link: ZmtpLink) -> bytes:
    """The next message, waited for as an event loop does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (message := link.fetch()) is None:
        assert time.monotonic() < deadline, "the message has not come"
        assert is_due(link, PATIENCE_SECONDS)
    return message


class Peer:
    """A plain socket at the other end of a link that binds."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.link = ZmtpLink(f"ipc://{path}/link", True)
        stack.callback(self.link.close)
        self.socket = stack.enter_context(socket.socket(socket.AF_UNIX))
        self.socket.settimeout(PATIENCE_SECONDS)
        self.socket.connect(f"{path}/link")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self, n: int) -> bytes:
        data = b""
        while len(data) < n:
            data += self.socket.recv(n - len(data))
        return data


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    with ExitStack() as stack:
        yield Peer(tmp_path, stack)


@pytest.fixture
def greeted(peer: Peer) -> Peer:
    """One whose handshake is done."""
    peer.send(HELLO)
    assert peer.link.fetch() is None
    assert peer.receive(len(HELLO)) == HELLO
    return peer


def test_the_handshake_is_that_of_the_specification() -> None:
    assert len(GREETING) == 64
    assert GREETING[:12] == b"\xff\0\0\0\0\0\0\0\0\x7f\x03\x01"
    assert GREETING[12:] == b"NULL".ljust(52, b"\0")
    assert GREETING + frame(READY, COMMAND) == HELLO


def test_no_message_goes_before_the_handshake_is_over(peer: Peer) -> None:
    """libzmq takes it for an unexpected command, and closes."""
    peer.link.post(b"m")
    assert peer.link.fetch() is None
    assert peer.receive(len(HELLO)) == HELLO
    peer.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.socket.recv(1)
    peer.send(HELLO)
    assert peer.link.fetch() is None
    assert peer.receive(3) == frame(b"m")


@pytest.mark.parametrize("size", [0, 255, 256, 70_000])
def test_messages_are_framed_as_specified(greeted: Peer, size: int) -> None:
    greeted.link.post(b"x" * size)
    expected = frame(b"x" * size)
    assert greeted.receive(len(expected)) == expected


@given(
    messages=st.lists(st.binary(max_size=400) | st.integers(0, 300_000).map(bytes), max_size=8),
    cuts=st.lists(st.integers(0, 2000), max_size=12),
)
def test_messages_may_come_in_any_pieces(messages: list[bytes], cuts: list[int]) -> None:
    stream = HELLO + b"".join(map(frame, messages))
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    found = []
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        peer = Peer(Path(directory), stack)
        peer.socket.setblocking(False)
        for begin, end in itertools.pairwise(places):
            while begin < end:  # the socket takes less than a large message at a time
                begin += peer.socket.send(stream[begin:end])
                while (message := peer.link.fetch()) is not None:
                    found.append(message)
    assert found == messages


@pytest.mark.parametrize(
    ("stream", "complaint"),
    [
        (b"\x7f" + HELLO[1:], "does not speak ZMTP 3"),
        (b"*1\r\n$4\r\nPING\r\n".ljust(64), "does not speak ZMTP 3"),
        (GREETING[:10] + b"\1" + GREETING[11:], "does not speak ZMTP 3"),
        (GREETING[:12] + b"PLAIN".ljust(52, b"\0"), "mechanism is not NULL"),
        (GREETING + frame(b"early"), "a message before READY"),
        (GREETING + frame(b"\5ERROR\4oops", COMMAND), "instead of a DEALER's READY"),
        (GREETING + frame(READY.replace(b"DEALER", b"PUBLIC"), COMMAND), "instead of a DEALER's"),
        (HELLO + frame(b"a part", MORE), "flags 0x1 of a message"),
        (HELLO + frame(b"", 0x80), "flags 0x80 of a message"),
    ],
)
def test_a_peer_that_speaks_otherwise_is_an_error(
    peer: Peer, stream: bytes, complaint: str
) -> None:
    peer.send(stream)
    with pytest.raises(ProtocolError, match=complaint):
        peer.link.fetch()


def test_later_minor_versions_and_other_commands_are_understood(peer: Peer) -> None:
    peer.send(GREETING[:11] + b"\x09" + GREETING[12:] + frame(READY + b"\1X\0\0\0\0", COMMAND))
    peer.send(frame(b"\4PING\0\0", COMMAND) + frame(b"\4PING" + bytes(300), COMMAND) + frame(b"m"))
    assert fetch(peer.link) == b"m"


def test_an_announced_length_costs_nothing(greeted: Peer) -> None:
    """Memory follows what comes, so that the largest length there is can be announced."""
    greeted.send(bytes([LONG]) + b"\xff" * 8 + b"x" * 10_000)
    assert greeted.link.fetch() is None
    greeted.socket.close()
    assert greeted.link.fetch() is None


def test_what_a_peer_sent_before_it_died_still_arrives(greeted: Peer) -> None:
    greeted.send(frame(b"last words") + frame(b"cut off")[:4])
    greeted.socket.close()
    for _ in range(3):
        greeted.link.post(b"into the void")
    assert fetch(greeted.link) == b"last words"
    assert greeted.link.fetch() is None
    assert not is_due(greeted.link), "a dead peer would keep the event loop busy"
    greeted.link.post(b"to nobody")


def test_a_link_is_due_when_there_is_something_to_do(greeted: Peer) -> None:
    assert not is_due(greeted.link)
    greeted.send(frame(b"m"))
    assert is_due(greeted.link, PATIENCE_SECONDS)
    assert greeted.link.fetch() == b"m"
    assert greeted.link.fetch() is None
    assert not is_due(greeted.link)


def test_what_the_socket_does_not_take_follows_in_order(greeted: Peer) -> None:
    messages = [bytes([65 + i]) * 3_000_000 for i in range(8)] + [b"a small one", b""]
    for message in messages:
        greeted.link.post(message)
    assert not is_due(greeted.link), "there is no room yet"
    expected = b"".join(map(frame, messages))
    done = 0
    while done < len(expected):
        received = greeted.socket.recv(1 << 18)
        assert received == expected[done : done + len(received)]
        done += len(received)
        assert greeted.link.fetch() is None  # there is room again
    assert not is_due(greeted.link)


def test_the_connecting_end_waits_until_somebody_listens(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/link"
    early = ZmtpLink(endpoint, False)
    early.post(b"first")
    started = time.monotonic()
    for _ in range(5):
        assert is_due(early, PATIENCE_SECONDS)
        assert early.fetch() is None
    assert time.monotonic() - started > 0.025, "it tries each 10 ms"
    late = ZmtpLink(endpoint, True)
    early.post(b"second")
    deadline = time.monotonic() + PATIENCE_SECONDS
    found: list[bytes] = []
    while len(found) < 2:
        assert time.monotonic() < deadline
        is_due(early, 0.02)
        early.fetch()
        message = late.fetch()
        found += [] if message is None else [message]
    assert found == [b"first", b"second"]
    assert not is_due(early), "the timer has ended"
    early.close()
    late.close()


def test_nothing_stays_in_the_directory(peer: Peer, tmp_path: Path) -> None:
    assert list(tmp_path.iterdir()) != []
    assert peer.link.fetch() is None  # has accepted: nobody else can come
    assert list(tmp_path.iterdir()) == []
    ZmtpLink(f"ipc://{tmp_path}/other", True).close()
    assert list(tmp_path.iterdir()) == []


def test_endpoints_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no ipc endpoint"):
        ZmtpLink("tcp://127.0.0.1:1", True)
    with pytest.raises(OSError, match="too long"):
        ZmtpLink(f"ipc://{tmp_path}/{'x' * 100}", True)
    first = ZmtpLink(f"ipc://{tmp_path}/link", True)
    with pytest.raises(OSError, match="in use"):
        ZmtpLink(f"ipc://{tmp_path}/link", True)
    first.close()
