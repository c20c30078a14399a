"""A RESP client over a plain blocking socket that hands out replies as the raw bytes received.

Tests compare bytes, so nothing here decodes a reply unless asked to (`parse`). What is found out
about the input is only where one reply ends, in RESP2 and RESP3, also when it arrives in pieces:
`ReplySplitter` never looks at a byte twice, apart from the line it is waiting to complete.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

LINE_TYPES = b"+-:_#,("
BULK_TYPES = b"$!="
AGGREGATES = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2, ord("|"): 2}

# What is sent without a look at what comes back, and at once.
UNREAD_BYTES_MAX = 1 << 16
SEND_BYTES = 1 << 18
TLS_SEND_BYTES = 1 << 14  # one record: a partly sent one would wait

# An inline command or a length line longer than this is no reply of any server.
LINE_BYTES_MAX = 1 << 20


class MalformedReplyError(Exception):
    """The bytes can't be a RESP reply; the server is wrong, or the test lost its place."""


def encode(*args: bytes | str | int) -> bytes:
    """One command as a RESP array of bulk strings."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        data = arg if isinstance(arg, bytes) else str(arg).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


class ReplySplitter:
    """Cut a stream of bytes into raw replies. O(n) in the bytes fed."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._position = 0  # all before it belongs to the reply under way
        self._bulk_left = -1  # bytes of a bulk body, its CR LF included; -1: not in one
        self._open = 1  # replies still needed to complete the one under way
        self._ready: deque[bytes] = deque()

    def feed(self, data: bytes) -> None:
        """Take bytes as they came; complete replies are then in `take`."""
        self._data += data
        while self._advance():
            pass

    def take(self) -> bytes | None:
        """The next complete reply, or None."""
        return self._ready.popleft() if self._ready else None

    @property
    def ready(self) -> int:
        return len(self._ready)

    @property
    def rest(self) -> bytes:
        """Bytes of an incomplete reply."""
        return bytes(self._data)

    def drain(self) -> bytes:
        """Take all bytes, complete replies or not."""
        everything = b"".join([*self._ready, bytes(self._data)])
        self.__init__()  # type: ignore[misc]
        return everything

    def _advance(self) -> bool:
        data = self._data
        if self._bulk_left >= 0:
            if len(data) - self._position < self._bulk_left:
                return False
            self._position += self._bulk_left
            self._bulk_left = -1
            return self._close_one()
        if self._position >= len(data):
            return False
        end = data.find(b"\r\n", self._position)
        if end < 0:
            if len(data) - self._position > LINE_BYTES_MAX:
                raise MalformedReplyError(bytes(data[self._position : self._position + 80]))
            return False
        kind = data[self._position]
        line = data[self._position + 1 : end]
        if kind in LINE_TYPES:
            self._position = end + 2
            return self._close_one()
        if kind not in BULK_TYPES and kind not in AGGREGATES:
            raise MalformedReplyError(bytes(data[self._position : self._position + 80]))
        try:
            length = int(line)
        except ValueError as error:
            raise MalformedReplyError(bytes(data[self._position : end])) from error
        self._position = end + 2
        if kind in BULK_TYPES:
            if length < 0:
                return self._close_one()
            self._bulk_left = length + 2
            return True
        # An attribute is followed by the reply it belongs to, so it doesn't close anything.
        self._open += max(length, 0) * AGGREGATES[kind] + (kind == ord("|"))
        return self._close_one()

    def _close_one(self) -> bool:
        self._open -= 1
        if self._open == 0:
            self._ready.append(bytes(self._data[: self._position]))
            del self._data[: self._position]
            self._position = 0
            self._open = 1
        return True


class Node(NamedTuple):
    """A parsed reply: the type byte as a string, and bytes, a list of nodes, or None (null)."""

    kind: str
    value: Any

    def dump(self) -> bytes:
        """The reply's bytes again."""
        kind = self.kind.encode()
        if self.kind in "+-:_#,(":
            line: bytes = kind + self.value + b"\r\n"
            return line
        if self.value is None:
            return kind + b"-1\r\n"
        if self.kind in "$!=":
            return kind + b"%d\r\n%s\r\n" % (len(self.value), self.value)
        count = len(self.value) // AGGREGATES[ord(self.kind)]
        return kind + b"%d\r\n" % count + b"".join(child.dump() for child in self.value)


def parse(raw: bytes) -> Node:
    """The tree of one complete raw reply."""
    node, end = _parse_at(raw, 0)
    if end != len(raw):
        raise MalformedReplyError(raw[:80])
    return node


def _parse_at(raw: bytes, position: int) -> tuple[Node, int]:
    end = raw.index(b"\r\n", position)
    kind = chr(raw[position])
    line = raw[position + 1 : end]
    position = end + 2
    if kind in "+-:_#,(":
        return Node(kind, line), position
    length = int(line)
    if length < 0:
        return Node(kind, None), position
    if kind in "$!=":
        return Node(kind, raw[position : position + length]), position + length + 2
    children = []
    for _ in range(length * AGGREGATES[ord(kind)]):
        child, position = _parse_at(raw, position)
        children.append(child)
    return Node(kind, children), position


class RespClient:
    """One connection. Every read has a deadline, so that a test fails rather than hangs."""

    def __init__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        timeout: float = 10.0,
        path: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Connect to a port, with TLS if a context is given, or to the unix socket at `path`."""
        self.timeout = timeout
        self.closed = False  # the server has ended the connection
        self.splitter = ReplySplitter()
        if path:
            self.socket = socket.socket(socket.AF_UNIX)
            # Blocking: with a timeout, a full backlog is an error at once on a unix socket.
            self.socket.connect(path)
            self.socket.settimeout(timeout)
            return
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")

    def __enter__(self) -> RespClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def end_sending(self) -> None:
        """Close our sending side; what the server still sends can be read."""
        # Not SSLSocket's own, which forgets the keys.
        with contextlib.suppress(OSError):  # the server may have closed already
            socket.socket.shutdown(self.socket, socket.SHUT_WR)

    def abort(self) -> None:
        """Close with a reset instead of an orderly end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def send(self, data: bytes, cuts: Sequence[int] = (), *, receive: bool = True) -> None:
        """Send bytes, in several writes when `cuts` names offsets.

        Replies that come meanwhile are taken in, so that a server that waits for its replies to
        be read before it reads on is no deadlock; `receive=False` leaves them to another thread.
        A connection that the server has closed is no error here: the reader sees it.
        """
        last = 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            for cut in (*cuts, len(data)):
                if receive and cut - last > UNREAD_BYTES_MAX:
                    self._send_and_receive(memoryview(data)[last:cut])
                elif cut > last:
                    self.socket.sendall(data[last:cut])
                last = max(last, cut)

    def _send_and_receive(self, data: memoryview) -> None:
        deadline = time.monotonic() + self.timeout
        most = TLS_SEND_BYTES if isinstance(self.socket, ssl.SSLSocket) else SEND_BYTES
        while data and not self.closed:
            readable, writable = self._poll(deadline - time.monotonic(), writing=True)
            if writable:
                data = data[self.socket.send(data[:most]) :]
                deadline = time.monotonic() + self.timeout
            elif not readable:
                raise TimeoutError(f"the server takes no more input; {len(data)} bytes are left")
            if readable and isinstance(self.socket, ssl.SSLSocket):
                # What has arrived may be of the protocol itself: tickets are no data.
                with contextlib.suppress(TimeoutError):
                    self._receive(time.monotonic() + 0.001)
            elif readable:
                self._receive(deadline)

    def _poll(self, seconds: float, *, writing: bool = False) -> tuple[bool, bool]:
        """Whether the socket can be read (or has ended), and written, within a time."""
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            seconds = 0
        else:
            seconds = max(seconds, 0)
        poll = select.poll()
        poll.register(self.socket, select.POLLIN | (select.POLLOUT if writing else 0))
        events = dict(poll.poll(seconds * 1000)).get(self.socket.fileno(), 0)
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            events |= select.POLLIN  # decrypted already, which the kernel doesn't know of
        return bool(events & ~select.POLLOUT), bool(events & select.POLLOUT)

    def read_reply(self, timeout: float | None = None) -> bytes:
        """The next raw reply. Raises TimeoutError, or ConnectionError when the server closed."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            raw = self.splitter.take()
            if raw is not None:
                return raw
            self._receive(deadline)
            if self.closed and not self.splitter.ready:
                raise ConnectionError(f"closed by the server; left: {self.splitter.rest[:200]!r}")

    def read_replies(self, count: int, timeout: float | None = None) -> list[bytes]:
        return [self.read_reply(timeout) for _ in range(count)]

    def read_available(self, count: int, timeout: float | None = None) -> list[bytes]:
        """Up to `count` replies: fewer when the server closes (see `closed`) or time is up."""
        replies: list[bytes] = []
        with contextlib.suppress(ConnectionError, TimeoutError):
            while len(replies) < count:
                replies.append(self.read_reply(timeout))
        return replies

    def read_to_end(self, timeout: float | None = None) -> bytes:
        """All bytes until the server closes. Raises TimeoutError when it doesn't."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        received = bytearray(self.splitter.drain())
        while not self.closed:
            data = self._receive_bytes(deadline)
            received += data
        return bytes(received)

    def read_until_quiet(self, seconds: float) -> bytes:
        """All bytes until the server closes (see `closed`), or nothing came for that long."""
        received = bytearray(self.splitter.drain())
        with contextlib.suppress(TimeoutError):
            while not self.closed:
                received += self._receive_bytes(time.monotonic() + seconds)
        return bytes(received)

    def call(self, *args: bytes | str | int, timeout: float | None = None) -> bytes:
        """Send one command and return its raw reply."""
        self.send(encode(*args))
        return self.read_reply(timeout)

    def pipeline(self, commands: Iterable[Sequence[bytes | str | int]]) -> list[bytes]:
        """Send commands in one write and return their raw replies."""
        encoded = [encode(*command) for command in commands]
        self.send(b"".join(encoded))
        return self.read_replies(len(encoded))

    def is_quiet(self, seconds: float) -> bool:
        """True when nothing arrives, and the server doesn't close, for that long."""
        if self.splitter.ready or self.closed:
            return False
        return not self._poll(seconds)[0]

    def _receive(self, deadline: float) -> None:
        data = self._receive_bytes(deadline)
        if data:
            self.splitter.feed(data)

    def _receive_bytes(self, deadline: float) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no reply in time; received so far: {self.splitter.rest[:200]!r}")
        self.socket.settimeout(left)
        try:
            data: bytes = self.socket.recv(1 << 18)
        except (ConnectionResetError, ssl.SSLEOFError):
            data = b""
        except TimeoutError as error:
            raise TimeoutError(
                f"no reply in time; received so far: {self.splitter.rest[:200]!r}"
            ) from error
        finally:
            self.socket.settimeout(self.timeout)
        if not data:
            self.closed = True
        return data


def simple(text: str) -> bytes:
    return b"+" + text.encode() + b"\r\n"


def integer(value: int) -> bytes:
    return b":%d\r\n" % value


def bulk(value: bytes | None) -> bytes:
    return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)
