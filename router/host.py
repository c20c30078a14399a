"""What a worker does beside parsing and routing, without a socket of its own; see `Host`.

A worker process (router/worker.py) adds listeners, ZeroMQ links and the control link; the
simulation (tests/sim) adds links in memory and a loop whose time it decides. Both run this code.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from actors.boot import Topology
from protocol.commands import Command, Place
from protocol.table import NativeTable
from router.dispatch import WorkerDispatcher
from router.multi_shard import ShardLost, run_multi_shard
from sessions.barriers import Barriers
from sessions.clients import ClientControl
from sessions.reactor import Reactor
from sessions.session import Session

SLOW_CLIENTS_MAX = 1024
"""Clients remembered for the shards' slow logs, which outlive them."""


class _Call:
    """The driver of an internal session: commands of this worker itself for one shard."""

    def __init__(self, future: asyncio.Future[bytes]) -> None:
        self.future = future
        self.parts: list[bytes] = []

    def flush_session(self, session: Session) -> None:
        self.parts.append(session.take_output())
        if session.unanswered == 0 and session.output_bytes == 0 and not session.waits:
            session.closed_by_driver()
            if not self.future.done():
                self.future.set_result(b"".join(self.parts))

    def close_session(self, session: Session) -> None:
        session.closed_by_driver()
        if not self.future.done():
            self.future.set_exception(ShardLost())


class Host(Barriers):
    """The host of a dispatcher (see sessions.dispatcher.Dispatcher), and the topology it works in.

    Subclasses say how connections come (`accept`), what their end means (`connection_closed`), how
    shards are reached (`connect`, `disconnect`) and who answers ADMIN commands (`ask_router`).
    """

    dispatcher: WorkerDispatcher

    def __init__(
        self,
        table: NativeTable,
        shard_count: int,
        settings: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.table = table.table
        self.settings = dict(settings)
        self.databases = int(settings["databases"])
        super().__init__(loop)
        self.dispatcher = WorkerDispatcher(table, shard_count)
        self.dispatcher.host = self
        self.reactor = Reactor(self.dispatcher, self.accept)
        self.epochs: list[int] = [0] * shard_count  # 0: no links
        self.barriers: set[asyncio.Task[None]] = set()  # those of `tasks` that work on shards
        self.clients = ClientControl(
            self.dispatcher, loop, self.schedule_flush, lambda: self.barriers
        )
        self.first_slots: list[tuple[int, int]] = []  # each shard's first slot, ascending
        self.locks_taken = 0  # a number for each command that holds keys of several shards
        self.slow_clients: dict[int, tuple[str, bytes]] = {}  # id -> address, name; oldest first

    def accept(self, connection: Any, peer: Any) -> tuple[int, str, str] | None:
        """A new connection: its client id and addresses, or None to refuse it."""
        raise NotImplementedError

    def connection_closed(self, session: Session) -> None:
        """A client's connection has gone."""

    def connect(self, shard: int, epoch: int) -> tuple[Any, Any]:
        """Links to this incarnation of a shard: the main one and the bulk one."""
        raise NotImplementedError

    def disconnect(self, link: Any) -> None:
        """Close a link that `connect` gave."""
        raise NotImplementedError

    def note_slow_client(self, session: Session) -> None:
        """A shard has put a command of this client into its slow log, without its name."""
        self.slow_clients.pop(session.id, None)
        self.slow_clients[session.id] = session.address, session.name
        if len(self.slow_clients) > SLOW_CLIENTS_MAX:
            del self.slow_clients[next(iter(self.slow_clients))]

    # Topology

    def install(self, topology: Topology) -> None:
        """Leave the shards that have died, link to those that are up, route by the new slots."""
        self.dispatcher.set_slots(topology.version, topology.slots)
        if self.dispatcher.cluster is not None:
            now_ms = time.time_ns() // 1_000_000
            self.dispatcher.cluster.update(topology.slots, topology.shards, now_ms)
        firsts: dict[int, int] = {}
        for first, _, shard in sorted(topology.slots):
            firsts.setdefault(shard, first)
        self.first_slots = [(first, shard) for shard, first in firsts.items()]
        for shard, epoch, up in topology.shards:
            if self.epochs[shard] and (not up or self.epochs[shard] != epoch):
                self.epochs[shard] = 0
                for link in self.dispatcher.shard_down(shard):
                    self.disconnect(link)
                self.schedule_flush()
            if up and not self.epochs[shard]:
                self.dispatcher.shard_up(shard, epoch, *self.connect(shard, epoch))
                self.epochs[shard] = epoch

    # Slow paths

    def closed(self, session: Session) -> None:
        if not isinstance(session.driver, _Call):
            self.connection_closed(session)

    def run_barrier(self, session: Session, command: Command, args: list[bytes]) -> None:
        """Start a command that needs more than this process and one shard."""
        task = self.spawn(self.answer_barrier(session, command, args))
        if command.place is not Place.ADMIN:
            self.barriers.add(task)
            task.add_done_callback(self.barriers.discard)

    async def ask_shards(self, session: Session, command: Command, args: list[bytes]) -> bytes:
        return await run_multi_shard(self, session, command, args)

    def call(
        self,
        shard: int,
        commands: Sequence[Sequence[bytes]],
        database: int,
        resp: int,
        *,
        no_touch: bool = False,
        takes_locks: bool = False,
    ) -> asyncio.Future[bytes]:
        """Run commands on one shard, in order and in one run; the raw replies, one after another.

        An unanswered read on a dying shard gives its LOADING error as the reply; a write raises
        ShardLost.
        """
        future: asyncio.Future[bytes] = self.loop.create_future()
        session = self.dispatcher.open_session(0)
        session.driver = _Call(future)
        session.pinned = shard
        session.database = database
        session.resp = resp
        session.no_touch = no_touch
        session.takes_locks = takes_locks
        session.push(
            b"".join(
                b"*%d\r\n%b"
                % (len(args), b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args))
                for args in commands
            )
        )
        self.schedule_flush()
        return future
