"""A load generator for what redis-benchmark can't send: transactions, and clients that block.

It never looks into a reply. Each connection sends the same bytes again when it has received as many
lines as the answer to them is known to have, so that one thread of Python keeps a server busy: some
10 us for a pipeline, however long.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.macro.servers import Server, ServerFailed

REPLY_SECONDS_MAX = 30.0
RECEIVE_BYTES = 1 << 18


@dataclass(slots=True, eq=False)
class Connection:
    """One client: what it sends again and again, and how many lines the answer to it has."""

    socket: socket.socket
    request: bytes
    lines: int
    left: int = 0  # lines of the answer under way
    answered: int = 0
    sent_at: float = 0.0
    waits: list[float] = field(default_factory=list)  # seconds, of each answer

    def send(self, request: bytes = b"", lines: int = 0) -> None:
        """Begin the next request: its own, unless another one is given."""
        self.left += lines or self.lines
        self.sent_at = time.perf_counter()
        self.socket.sendall(request or self.request)


@contextlib.contextmanager
def connected(server: Server, count: int) -> Iterator[list[socket.socket]]:
    """So many connections."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for _ in range(count):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 30))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sockets.append(one)
        yield sockets


class Load:
    """Connections that are driven together."""

    def __init__(self, connections: Sequence[Connection]) -> None:
        self.by_descriptor = {one.socket.fileno(): one for one in connections}
        self.epoll = select.epoll()
        for descriptor in self.by_descriptor:
            self.epoll.register(descriptor, select.EPOLLIN)
        self.buffer = bytearray(RECEIVE_BYTES)

    def close(self) -> None:
        self.epoll.close()

    def turn(self, seconds: float) -> list[Connection]:
        """Receive what has come within a time; whose answers are complete. Sends nothing."""
        complete = []
        for descriptor, _ in self.epoll.poll(seconds):
            one = self.by_descriptor[descriptor]
            count = one.socket.recv_into(self.buffer)
            if not count:
                raise ServerFailed("it closed a connection")
            one.left -= self.buffer.count(b"\n", 0, count)
            if one.left < 0 or self.buffer[0] == ord("-"):
                raise ServerFailed(f"it answers {bytes(self.buffer[: min(count, 100)])!r}")
            if one.left == 0:
                one.answered += 1
                one.waits.append(time.perf_counter() - one.sent_at)
                complete.append(one)
        return complete

    def run(self, seconds: float) -> tuple[int, float]:
        """Let all send again as they are answered; how many answers, and in which time.

        Whoever has nothing under way begins. In the end some may still wait for each other.
        """
        before = sum(one.answered for one in self.by_descriptor.values())
        began = time.perf_counter()
        for one in self.by_descriptor.values():
            if not one.left:
                one.send()
        while (now := time.perf_counter()) < began + seconds:
            complete = self.turn(REPLY_SECONDS_MAX)
            if not complete and time.perf_counter() - now >= REPLY_SECONDS_MAX:
                raise ServerFailed("it does not answer any more")
            for one in complete:
                one.send()
        after = sum(one.answered for one in self.by_descriptor.values())
        return after - before, now - began
