"""A shard's own port: cluster-aware clients are served by the shard itself, without a worker.

`ShardPort` is the host of a LocalDispatcher (see sessions.session.Dispatcher), and owns the
listening sockets that the router has bound for this shard. Everything runs in the shard's one
thread; what only the router can answer (CONFIG, INFO) goes over the shard's control link.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from actors.boot import Topology
from actors.control import ControlClosed, ControlFailure, ControlLink
from actors.page import SharedPage
from protocol.commands import Command
from protocol.errors import INTERNAL_ERROR
from protocol.table import NativeTable
from sessions.admission import PROTECTED, TOO_MANY, address_of, is_protected, keep_alive, refuse
from sessions.cluster import Cluster
from sessions.reactor import Reactor
from sessions.session import Session
from shards.executor import Executor
from shards.local import LocalDispatcher

DATABASES: Final = 1
"""A node of a cluster has one."""
ROUNDS_MAX: Final = 8
"""How often a tick of busy clients looks again before the event loop, and with it the workers'
links, have their turn. Answers are there at once, so a look is cheaper than a turn of the loop."""
logger = logging.getLogger("shardis")


class ShardPort:
    """The connections of one shard. `settings` is its live configuration, by directive name."""

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
    ) -> None:
        self.settings = settings
        self.databases = DATABASES
        self.index = index
        self.page = page
        self.loop = loop
        self.cluster = Cluster(nodes, settings, myself=index, is_node=True)
        self.dispatcher = LocalDispatcher(table, executor, index)
        self.dispatcher.host = self
        self.dispatcher.cluster = self.cluster
        self.reactor = Reactor(self.dispatcher, self.accept)
        self.reactor.rounds_max = ROUNDS_MAX
        self.control: ControlLink | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self.flush_due = False
        self.connections = 0
        self.total_connections = 0
        self.rejected_connections = 0

    def listen(self, listeners: Sequence[socket.socket], control: ControlLink) -> None:
        """Serve clients from now on."""
        self.control = control
        for listener in listeners:
            listener.setblocking(False)
            self.reactor.listen(listener)
        self.loop.add_reader(self.reactor.fileno(), self.reactor.tick)

    def install(self, topology: Topology) -> None:
        """Redirect by these slots."""
        self.cluster.update(topology.slots, topology.shards, time.time_ns() // 1_000_000)
        self.dispatcher.set_slots(topology.slots)
        self.refresh()

    def apply(self, changes: Mapping[str, Any]) -> None:
        """CONFIG SET: `settings` has the new values already."""
        self.dispatcher.set_limits(
            int(self.settings["proto-max-bulk-len"]),
            int(self.settings["client-query-buffer-limit"]),
        )
        self.refresh()

    def refresh(self) -> None:
        """See whether the cluster is down by now; due now and then, as time makes it so."""
        self.dispatcher.set_down(
            self.cluster.is_down(time.time_ns() // 1_000_000),
            bool(self.settings["cluster-allow-reads-when-down"]),
        )

    # Connections

    def accept(self, connection: socket.socket, peer: Any) -> tuple[int, str, str] | None:
        """A new connection: its client id and addresses, or None to refuse it.

        Raises OSError for a peer that has gone, before the connection is counted.
        """
        keep_alive(connection, int(self.settings["tcp-keepalive"]))
        local = connection.getsockname()
        reason = b""
        if is_protected(connection, peer, self.settings):
            reason = PROTECTED
        elif self.page.connect_shard(self.index) > self.settings["maxclients"]:
            self.page.disconnect_shard(self.index)
            reason = TOO_MANY
        if reason:
            self.rejected_connections += 1
            refuse(connection, reason)
            return None
        self.connections += 1
        self.total_connections += 1
        return (
            self.page.next_client_id(),
            address_of(connection.family, peer),
            address_of(connection.family, local),
        )

    def closed(self, session: Session) -> None:
        self.connections -= 1
        self.page.disconnect_shard(self.index)

    def finish(self) -> None:
        """Accept nobody any more, and answer what has come."""
        self.reactor.stop_listening()
        self.reactor.tick()

    # Commands of the router

    def run_barrier(self, session: Session, command: Command, args: list[bytes]) -> None:
        """Start an ADMIN command: the session is held until the router has answered."""
        task = self.loop.create_task(self._ask_router(session, args))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _ask_router(self, session: Session, args: list[bytes]) -> None:
        caller = {
            "id": session.id,
            "name": session.name,
            "address": session.address,
            "database": session.database,
            "resp": session.resp,
            "user": session.user,
            "node": self.index,
        }
        assert self.control is not None
        try:
            answer = await self.control.request({"op": "admin", "caller": caller, "args": args})
            reply: bytes = answer["reply"]
        except (ControlClosed, ControlFailure):
            reply = b"-" + INTERNAL_ERROR + b"\r\n"
        session.complete_barrier(reply)
        self.schedule_flush()

    def schedule_flush(self) -> None:
        """Send what was queued outside a tick, once, at the end of this turn of the loop."""
        if not self.flush_due:
            self.flush_due = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self.flush_due = False
        self.reactor.flush_sessions()

    # Figures

    def publish(self) -> None:
        """Put the figures that others add up into the shared page."""
        self.page.set_shard(self.index, "input_bytes", self.reactor.input_bytes)
        self.page.set_shard(self.index, "output_bytes", self.reactor.output_bytes)

    def reset_statistics(self) -> None:
        self.dispatcher.reset_statistics()
        self.total_connections = 0
        self.rejected_connections = 0
        self.reactor.input_bytes = 0
        self.reactor.output_bytes = 0
        self.reactor.reads = 0
        self.reactor.writes = 0

    def statistics(self) -> dict[str, Any]:
        """The figures of the connections: router.stats.ClientStats."""
        return {
            "processed": self.dispatcher.commands_processed,
            "commands": self.dispatcher.command_statistics(),
            "errors": {
                code.decode(errors="replace"): n for code, n in self.dispatcher.errors.items()
            },
            "connections": self.connections,
            "total_connections": self.total_connections,
            "rejected_connections": self.rejected_connections,
            "input_bytes": self.reactor.input_bytes,
            "output_bytes": self.reactor.output_bytes,
            "reads": self.reactor.reads,
            "writes": self.reactor.writes,
            **self.dispatcher.client_figures(),
        }
