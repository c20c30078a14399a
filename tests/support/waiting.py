"""Several clients that wait in blocking commands, and what each step of theirs is answered.

A story is a list of steps `(client, words)`, done one after another. Before the next one, all is
settled: each client has been answered, or is blocked, which INFO tells. `tell` gives, for each
step, the replies that came, `[(client, raw reply), ...]`, those of waiting clients sorted.

Words of its own: ["CLOSE"] closes the client's connection, ["END"] its sending side, and
["NAP", ms] lets time pass; {N} among the words is client N's CLIENT ID.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence

from tests.support.resp_client import RespClient, encode
from tests.support.servers import Server

SETTLED_SECONDS = 10.0
POLL_SECONDS = 0.0005
CLOSED = b"(closed)"
Story = Sequence[tuple[int, Sequence[object]]]
Replies = list[list[tuple[int, bytes]]]


class Room:
    """Clients of one server; what they were not answered yet is known."""

    def __init__(
        self, server: Server, clients: int, resp: int = 2, port: int | None = None
    ) -> None:
        self.server = server
        self.resp = resp
        self.port = port
        self.observer = self._connect()
        self.clients = [self._connect() for _ in range(clients)]
        self.ids = [int(client.call("CLIENT", "ID")[1:]) for client in self.clients]
        self.waiting: set[int] = set()

    def _connect(self) -> RespClient:
        client = self.server.client() if self.port is None else RespClient(self.port, timeout=10.0)
        client.call("HELLO", self.resp)
        return client

    def close(self) -> None:
        for client in (self.observer, *self.clients):
            client.close()

    def blocked(self) -> int:
        found = re.search(rb"blocked_clients:(\d+)", self.observer.call("INFO", "clients"))
        assert found is not None
        return int(found[1])

    def settle(self) -> list[tuple[int, bytes]]:
        """Wait until everybody is answered or blocked; the replies that came meanwhile."""
        came: list[tuple[int, bytes]] = []
        deadline = time.monotonic() + SETTLED_SECONDS
        while True:
            for at in sorted(self.waiting):
                client = self.clients[at]
                replies = [] if client.is_quiet(0) else client.read_available(1)
                for reply in replies or [CLOSED] * client.closed:
                    came.append((at, reply))
                    self.waiting.discard(at)
            if self.blocked() == len(self.waiting):
                # Nobody is answered between the two looks, as nobody does anything.
                return sorted(came)
            assert time.monotonic() < deadline, (came, self.waiting, self.blocked())
            time.sleep(POLL_SECONDS)

    def step(self, at: int, words: Sequence[object]) -> list[tuple[int, bytes]]:
        client = self.clients[at]
        if words[0] == "NAP":
            time.sleep(float(str(words[1])) / 1000)
            return self.settle()
        if words[0] == "END":
            client.end_sending()
            return self.settle()
        if words[0] == "CLOSE":
            client.close()
            self.waiting.discard(at)
            came = self.settle()
            self.clients[at] = self._connect()
            self.ids[at] = int(self.clients[at].call("CLIENT", "ID")[1:])
            return came
        if at in self.waiting:
            return []
        client.send(
            encode(*(self.ids[int(str(word)[1])] if is_id(word) else word for word in words))  # type: ignore[arg-type]
        )
        self.waiting.add(at)
        return self.settle()


def is_id(word: object) -> bool:
    return isinstance(word, str) and re.fullmatch(r"\{\d\}", word) is not None


def tell(
    server: Server, clients: int, story: Story, resp: int = 2, port: int | None = None
) -> Replies:
    """What each step of a story is answered; the keyspace is empty before it."""
    room = Room(server, clients, resp, port)
    with contextlib.closing(room):
        room.observer.call("FLUSHALL")
        return [room.step(at, words) for at, words in story]
