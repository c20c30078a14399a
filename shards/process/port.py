"""A shard's own port: cluster-aware clients are served by the shard itself, without a worker.

`ShardPort` is the host of a LocalDispatcher (see sessions.dispatcher.Dispatcher), and owns the
listening sockets that the router has bound for this shard. Everything runs in the shard's one
thread; what only the router can answer (CONFIG, INFO) goes over the shard's control link.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from actors.boot import Topology
from actors.control import ControlLink
from actors.listening import Listener
from actors.page import SharedPage
from protocol.commands import Command, Place
from protocol.errors import CommandError
from protocol.slots import SLOTS
from protocol.table import NativeTable
from sessions.admission import Admission
from sessions.barriers import Barriers
from sessions.clients import ClientControl
from sessions.cluster import Cluster
from sessions.connections import Connections, ask_router
from sessions.reactor import Reactor
from sessions.session import Session
from shards.execution.executor import Executor
from shards.process.debug import debug
from shards.process.dispatcher import LocalDispatcher

DATABASES: Final = 1
"""A node of a cluster has one."""
ROUNDS_MAX: Final = 8
"""How often a tick of busy clients looks again before the event loop, and with it the workers'
links, have their turn. Answers are there at once, so a look is cheaper than a turn of the loop."""


class ShardPort(Barriers):
    """The connections of one shard. `settings` is its live configuration, by directive name."""

    dispatcher: LocalDispatcher

    def __init__(
        self,
        table: NativeTable,
        executor: Executor,
        settings: dict[str, Any],
        *,
        index: int,
        nodes: Sequence[Sequence[Any]],
        page: SharedPage,
        loop: asyncio.AbstractEventLoop,
        tls: Any,
    ) -> None:
        self.settings = settings
        self.databases = DATABASES
        self.index = index
        self.page = page
        super().__init__(loop)
        self.cluster = Cluster(nodes, settings, myself=index, is_node=True)
        self.dispatcher = LocalDispatcher(table, executor, index)
        self.dispatcher.host = self
        self.dispatcher.cluster = self.cluster
        admission = Admission(
            settings,
            partial(page.connect_shard, index),
            partial(page.disconnect_shard, index),
            page.next_client_id,
        )
        self.reactor = Reactor(self.dispatcher, admission.accept)
        self.reactor.rounds_max = ROUNDS_MAX
        self.connections = Connections(
            self.dispatcher,
            self.reactor,
            admission,
            settings,
            loop,
            self.schedule_flush,
            self.spawn,
        )
        self.connections.tls.context = tls
        self.clients = ClientControl(self.dispatcher, loop, self.schedule_flush)
        self.control: ControlLink | None = None

    def listen(self, listeners: Sequence[Listener], control: ControlLink) -> None:
        """Serve clients from now on."""
        self.control = control
        self.connections.listen(listeners)
        self.loop.add_reader(self.reactor.fileno(), self.reactor.tick)

    def install(self, topology: Topology) -> None:
        """Redirect by these slots."""
        self.cluster.update(topology.slots, topology.shards, time.time_ns() // 1_000_000)
        self.dispatcher.set_slots(topology.slots)
        self.refresh()

    def apply(self, changes: Mapping[str, Any]) -> None:
        """CONFIG SET: `settings` has the new values already."""
        self.connections.apply(changes)
        self.refresh()

    def refresh(self) -> None:
        """See whether the cluster is down by now; due now and then, as time makes it so."""
        self.dispatcher.set_down(
            self.cluster.is_down(time.time_ns() // 1_000_000),
            bool(self.settings["cluster-allow-reads-when-down"]),
        )

    def closed(self, session: Session) -> None:
        if session.id:  # else it was ours
            session.unwatch()
            self.connections.admission.closed(session)

    def finish(self) -> None:
        """Accept nobody any more, and answer what has come."""
        self.connections.listen(())
        self.reactor.tick()

    # Commands that waited

    def schedule_resume(self) -> None:
        """A client that waited has been answered: it goes on when nothing is being executed."""
        self.loop.call_soon(self._resume)

    def _resume(self) -> None:
        for session in self.dispatcher.executor.serving.take_answered():
            if not session.closed:
                session.resume()
        self.schedule_flush()

    # What this port cannot do alone

    async def ask_shards(self, session: Session, command: Command, args: list[bytes]) -> bytes:
        if command.name == "EXEC":
            return await execute(self, session)
        return await debug(Node(self, session), args)

    async def ask_router(self, session: Session, args: list[bytes]) -> bytes:
        """The raw reply of an ADMIN command."""
        return await ask_router(self.control, session, args, self.index)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Hold the whole shard for what runs inside."""
        executor = self.dispatcher.executor
        granted = self.loop.create_future()
        ticket = executor.lock_alone(lambda _: granted.set_result(None))
        try:
            if not ticket.granted:
                await granted
            yield
        finally:
            executor.unlock(ticket)
            self.schedule_flush()

    def call(self, args: Sequence[bytes], resp: int) -> bytes:
        """Run a command of our own here and now, in the node's one database; the raw reply."""
        session = self.dispatcher.open_session(0)
        session.pinned = self.index
        session.resp = resp
        session.push(
            b"*%d\r\n%b" % (len(args), b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args))
        )
        reply = session.take_output()
        session.closed_by_driver()
        return reply

    # Upkeep and figures

    def cron(self) -> None:
        """Due a few times a second."""
        self.refresh()
        self.connections.sweep()
        self.page.set_shard(self.index, "input_bytes", self.reactor.input_bytes)
        self.page.set_shard(self.index, "output_bytes", self.reactor.output_bytes)


async def execute(port: ShardPort, session: Session) -> bytes:
    """EXEC of commands among which are some that only the router can answer; the raw reply.

    The shard is held for it alone meanwhile. Raises CommandError.
    """
    async with port.alone():
        if session.watched and not port.dispatcher.executor.watches.unchanged(session.id):
            session.discard()
            return b"*-1\r\n" if session.resp == 2 else b"_\r\n"
        session.unwatch()
        commands, _ = session.take_queue()
        replies = []
        for id, args in commands:
            command = session.table.by_id[id]
            try:
                if command.place is Place.ADMIN:
                    replies.append(await port.ask_router(session, args))
                elif command.place is Place.SESSION:
                    replies.append(session.run_inside(id, args))
                elif command.name == "DEBUG":
                    replies.append(await debug(Node(port, session), args))
                else:
                    started = time.perf_counter_ns()
                    reply = port.call(args, session.resp)
                    elapsed = time.perf_counter_ns() - started
                    port.dispatcher.count_call(session, id, elapsed, args, reply)
                    replies.append(reply)
            except CommandError as error:
                replies.append(b"-%b\r\n" % error.message)
        return b"*%d\r\n%b" % (len(replies), b"".join(replies))


class Node:
    """This node as DEBUG sees the shards that it concerns: shards.process.debug.Targets."""

    def __init__(self, port: ShardPort, session: Session) -> None:
        self.port = port
        self.session = session
        self.settings = port.settings
        self.resp = session.resp
        self.databases = port.databases
        self.count = 1

    def of(self, key: bytes) -> int:
        return 0

    async def run(self, shard: int, args: Sequence[bytes]) -> bytes:
        return self.port.call(args, self.resp)

    async def everywhere(self, args: Sequence[Sequence[bytes]]) -> bytes:
        return self.port.call(args[0], self.resp)

    def slots_of(self, shard: int) -> bytes:
        """A byte for each slot, 1 if it is this node's."""
        owned = bytearray(SLOTS)
        for first, last in self.port.cluster.owned(self.port.index):
            owned[first : last + 1] = b"\x01" * (last - first + 1)
        return bytes(owned)

    async def ask_router(self, args: list[bytes]) -> bytes:
        return await self.port.ask_router(self.session, args)
