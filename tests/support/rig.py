"""A worker's core without processes: real sessions and dispatcher; a test plays the shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from actors.mailbox import MemoryLink
from protocol.table import NativeTable
from router.dispatch import WorkerDispatcher
from router.table import full_table
from sessions.reactor import Reactor
from tests.support.envelopes import (
    PART_DONE,
    Part,
    Run,
    bytes_read,
    cancelled,
    read_requests,
    replies,
)
from tests.support.resp_client import encode
from tests.support.slots import SLOTS, slot

if TYPE_CHECKING:
    from protocol.commands import Command

TABLE = NativeTable(full_table())


class Client:
    """A session's driver that keeps what the client would receive."""

    def __init__(self, rig: Rig, number: int) -> None:
        self.received = b""
        self.closed = False
        self.session: Any = rig.dispatcher.open_session(number)
        self.session.driver = self

    def flush_session(self, session: Any) -> None:
        self.received += session.take_output()

    def close_session(self, session: Any) -> None:
        self.closed = True
        session.closed_by_driver()

    def take(self) -> bytes:
        received, self.received = self.received, b""
        return received


class Shard:
    """The test's ends of the links of one incarnation."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.read: list[int] = []  # what the worker has reported
        self.gone: list[int] = []  # slots of clients that the worker has said to have gone
        self.link_of_worker, self.link = MemoryLink.pair("link")
        self.bulk_of_worker, self.bulk = MemoryLink.pair("bulk")

    def runs(self) -> list[Run]:
        """All runs that have come and were not yet taken."""
        found = []
        while (message := self.link.fetch()) is not None:
            if (read := bytes_read(message)) is not None:
                self.read.append(read)
                continue
            if (client := cancelled(message)) is not None:
                self.gone.append(client)
                continue
            epoch, runs = read_requests(message)
            assert epoch == self.epoch
            found += runs
        return found

    def answer(self, *parts: Part, epoch: int | None = None) -> None:
        self.link.post(replies(self.epoch if epoch is None else epoch, parts))


def reply_to(run: Run, data: bytes, status: int = PART_DONE, **more: Any) -> Part:
    """The whole answer to a run."""
    return Part(run.client, run.sequence, data, len(run.commands), status, **more)


class Rig:
    """It is the dispatcher's host, too: barrier commands wait in `barriers`."""

    databases = 16

    def __init__(self, shards: int = 3) -> None:
        self.settings: dict[str, object] = {}
        self.dispatcher = WorkerDispatcher(TABLE, shards)
        self.dispatcher.batch_bytes_held_max = 0  # each tick sends, whatever is unanswered
        self.dispatcher.host = self
        self.reactor = Reactor(self.dispatcher, lambda connection, peer: (1, "", ""))
        self.barriers: list[tuple[Any, Command, list[bytes]]] = []
        self.gone = 0
        self.ended: list[Any] = []  # sessions that send no more while they are held
        self.input_ended = self.ended.append
        self.broken: list[int] = []  # shards whose messages can't be right
        self.shards = [Shard(1) for _ in range(shards)]
        self.dispatcher.set_slots(
            1,
            [(SLOTS * i // shards, SLOTS * (i + 1) // shards - 1, i) for i in range(shards)],
        )
        for index, shard in enumerate(self.shards):
            self.up(index, shard)
        self.opened = 0

    def up(self, index: int, shard: Shard) -> None:
        self.shards[index] = shard
        self.dispatcher.shard_up(index, shard.epoch, shard.link_of_worker, shard.bulk_of_worker)

    def run_barrier(self, session: Any, command: Command, args: list[bytes]) -> None:
        self.barriers.append((session, command, args))

    def closed(self, session: Any) -> None:
        self.gone += 1

    def link_broken(self, shard: int) -> None:
        self.broken.append(shard)
        self.dispatcher.shard_down(shard)

    def client(self) -> Client:
        self.opened += 1
        return Client(self, self.opened)

    def tick(self) -> None:
        self.dispatcher.collect()
        self.reactor.tick()

    def send(self, client: Client, *commands: Sequence[bytes | str | int]) -> None:
        """One input with all the commands, and a tick."""
        client.session.push(b"".join(encode(*command) for command in commands))
        self.tick()

    def key(self, shard: int, number: int = 0) -> bytes:
        """A key of this shard."""
        return next(key for i, key in enumerate(self.keys(shard)) if i == number)

    def keys(self, shard: int) -> Iterator[bytes]:
        for i in range(100_000):
            key = b"k%d" % i
            if self.dispatcher.shard_of(slot(key)) == shard:
                yield key

    def in_flight(self, shard: int) -> int:
        figures: list[dict[str, int]] = self.dispatcher.statistics()
        return figures[shard]["bytes_in_flight"]

    def taken(self) -> int:
        """How many slots are taken by sessions."""
        return sum(session is not None for session in self.dispatcher.sessions)
