"""Many clients in one thread, each a generator that yields what it sends and is sent the replies.

    def client(number: int) -> Client:
        replies = yield [("MULTI",), ("INCR", "a"), ("EXEC",)]

All that a client yields is sent in one write, and its replies are handed over together. With `Wait`
a client lets time pass. When its connection ends, ConnectionLost is raised in the generator at the
`yield`, and the next thing it yields goes over a new connection. So the requests of different
clients overlap at the server as those of different programs do, while each of their times is taken
by one clock: before the first byte is sent, and after the last one has come.
"""

from __future__ import annotations

import contextlib
import heapq
import selectors
import socket
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field

from tests.support.resp_client import ReplySplitter, encode

Call = tuple[bytes | str | int, ...]
REPLY_SECONDS = 60.0  # who is not answered for so long would not be for ever
RECEIVE_BYTES = 1 << 16


class ConnectionLost(Exception):
    """The connection ended before all replies had come; `replies` are those that did."""

    def __init__(self, replies: Sequence[bytes]) -> None:
        super().__init__(f"the connection ended after {len(replies)} replies")
        self.replies = list(replies)


@dataclass(frozen=True, slots=True)
class Wait:
    """Let so much time pass."""

    seconds: float


Client = Generator[Sequence[Call] | Wait, list[bytes], None]


@dataclass(slots=True, eq=False)
class _Connection:
    client: Client
    socket: socket.socket | None = None
    splitter: ReplySplitter = field(default_factory=ReplySplitter)
    unsent: bytes = b""
    expected: int = 0
    since: float = 0.0


class Driver:
    """Runs clients against a server until all have ended.

    `drive` raises what a client raises, and TimeoutError when one is not answered.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._selector = selectors.DefaultSelector()
        self._waiting: list[tuple[float, int, _Connection]] = []
        self._running = 0
        self._ticket = 0

    def drive(self, clients: Iterable[Client], each: Callable[[], None] = lambda: None) -> None:
        """Run them all; `each` is called now and then, some times in a second at least."""
        connections = [_Connection(client) for client in clients]
        self._running = len(connections)
        try:
            for connection in connections:
                self._advance(connection, None)
            while self._running:
                self._turn()
                each()
        finally:
            for connection in connections:
                connection.client.close()
                self._disconnect(connection)
            self._selector.close()

    def _turn(self) -> None:
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            self._advance(heapq.heappop(self._waiting)[2], [])
        until = min(0.2, self._waiting[0][0] - now) if self._waiting else 0.2
        for key, events in self._selector.select(max(until, 0)):
            if events & selectors.EVENT_WRITE:
                self._send(key.data)
            if events & selectors.EVENT_READ and key.data.socket is not None:
                self._receive(key.data)
        for key in list(self._selector.get_map().values()):
            if key.data.expected and key.data.since < now - REPLY_SECONDS:
                raise TimeoutError(f"{key.data.expected} replies have not come")

    def _advance(self, connection: _Connection, replies: list[bytes] | None) -> None:
        """Hand a client its replies, and send what it wants next. None begins it."""
        try:
            sends = next(connection.client) if replies is None else connection.client.send(replies)
            self._begin(connection, sends)
        except StopIteration:
            self._end(connection)

    def _begin(self, connection: _Connection, sends: Sequence[Call] | Wait) -> None:
        if isinstance(sends, Wait):
            self._ticket += 1
            entry = (time.monotonic() + sends.seconds, self._ticket, connection)
            heapq.heappush(self._waiting, entry)
            return
        connection.unsent = b"".join(encode(*call) for call in sends)
        connection.expected = len(sends)
        connection.since = time.monotonic()
        if connection.socket is None:
            connection.socket = socket.create_connection(("127.0.0.1", self.port), REPLY_SECONDS)
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.socket.setblocking(False)
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        self._send(connection)

    def _send(self, connection: _Connection) -> None:
        assert connection.socket is not None
        try:
            sent = connection.socket.send(connection.unsent) if connection.unsent else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # reading tells
        connection.unsent = connection.unsent[sent:]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        if self._selector.get_key(connection.socket).events != events:
            self._selector.modify(connection.socket, events, connection)

    def _receive(self, connection: _Connection) -> None:
        assert connection.socket is not None
        data = b""
        with contextlib.suppress(ConnectionError):
            data = connection.socket.recv(RECEIVE_BYTES)
        if not data:
            self._lose(connection)
            return
        connection.splitter.feed(data)
        if connection.expected and connection.splitter.ready >= connection.expected:
            replies = self._taken(connection, connection.expected)
            assert not connection.splitter.ready, "more replies than commands"
            connection.expected = 0
            self._advance(connection, replies)

    @staticmethod
    def _taken(connection: _Connection, count: int) -> list[bytes]:
        replies = [connection.splitter.take() for _ in range(count)]
        return [reply for reply in replies if reply is not None]

    def _lose(self, connection: _Connection) -> None:
        replies = self._taken(connection, connection.splitter.ready)
        awaited = connection.expected
        self._disconnect(connection)
        if not awaited:
            return  # it waits for its time, and will connect anew
        try:
            self._begin(connection, connection.client.throw(ConnectionLost(replies)))
        except StopIteration:
            self._end(connection)

    def _end(self, connection: _Connection) -> None:
        self._running -= 1
        self._disconnect(connection)

    def _disconnect(self, connection: _Connection) -> None:
        if connection.socket is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(connection.socket)
            connection.socket.close()
        connection.socket = None
        connection.splitter = ReplySplitter()
        connection.unsent = b""
        connection.expected = 0
