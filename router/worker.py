"""The I/O worker process: connections, sessions and the paths that are not hot, on one uvloop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import time
from collections.abc import Sequence
from typing import Any

import uvloop
import zmq

from actors.boot import Boot, Topology, link_path
from actors.control import ControlClosed, ControlFailure, ControlLink
from actors.failure import end_on_failure
from actors.figures import process_figures
from actors.mailbox import DIRECT, PyzmqLink, ZmqLink
from protocol.commands import Command, Place
from protocol.errors import INTERNAL_ERROR, CommandError
from protocol.table import NativeTable
from router.dispatch import WorkerDispatcher
from router.multi_shard import run_multi_shard
from router.reactor import Reactor
from sessions.session import Session

GARBAGE_INTERVAL_SECONDS = 5.0
CRON_SECONDS = 0.1
SHUTDOWN_POLL_SECONDS = 0.002

logger = logging.getLogger("shardis")


class ShardLost(Exception):
    """A shard died with a call unanswered; whether it was executed is unknown."""


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


class Worker:
    """The host of the dispatcher (see sessions.session.Dispatcher)."""

    def __init__(self, boot: Boot, table: NativeTable) -> None:
        self.boot = boot
        self.table = table.table
        self.settings = dict(boot.config)
        self.databases = int(boot.config["databases"])
        self.dispatcher = WorkerDispatcher(table, len(boot.topology.shards))
        self.dispatcher.host = self
        self.reactor = Reactor(self.dispatcher, self.accept)
        self.zmq = zmq.Context(1)
        self.epochs: list[int] = [0] * len(boot.topology.shards)  # 0: no links
        self.tasks: set[asyncio.Task[None]] = set()
        self.loop = uvloop.new_event_loop()
        self.control: ControlLink | None = None
        self.first_slots: list[tuple[int, int]] = []  # each shard's first slot, ascending
        self.connections = 0
        self.total_connections = 0
        self.rejected_connections = 0
        self.flush_due = False
        self.collected_at = time.monotonic()

    def run(self) -> None:
        asyncio.set_event_loop(self.loop)
        end_on_failure(self.loop)
        self.loop.run_until_complete(self._start())
        gc.collect()
        gc.freeze()
        gc.disable()
        self.loop.run_forever()

    async def _start(self) -> None:
        self._apply(self.settings)
        self._install(self.boot.topology)
        self.control = await ControlLink.connect(
            self.boot.control, self._on_control, lambda: os._exit(1)
        )
        for listener in self.boot.listeners:
            listener.setblocking(False)
            self.reactor.listen(listener)
        self.loop.add_reader(self.reactor.fileno(), self.reactor.tick)
        self._cron()
        self.control.notify({"op": "ready"})

    # Topology

    def _install(self, topology: Topology) -> None:
        self.dispatcher.set_slots(topology.version, topology.slots)
        firsts: dict[int, int] = {}
        for first, _, shard in sorted(topology.slots):
            firsts.setdefault(shard, first)
        self.first_slots = [(first, shard) for shard, first in firsts.items()]
        for shard, epoch, up in topology.shards:
            if self.epochs[shard] and (not up or self.epochs[shard] != epoch):
                self.epochs[shard] = 0
                for link in self.dispatcher.shard_down(shard):
                    self.loop.remove_reader(link.fileno())
                    link.close()
                self.schedule_flush()
            if up and not self.epochs[shard]:
                path = link_path(
                    self.boot.directory, shard, epoch, self.boot.index, self.boot.epoch
                )
                kind = ZmqLink if DIRECT else PyzmqLink
                link = kind(self.zmq, path, False)
                bulk = kind(self.zmq, path + ".bulk", False)
                self.dispatcher.shard_up(shard, epoch, link, bulk)
                self.epochs[shard] = epoch
                for end in (link, bulk):
                    self.loop.add_reader(end.fileno(), self.reactor.answers)

    # Connections

    def accept(
        self, connection: socket.socket, peer: Any
    ) -> tuple[int, str, str] | None:
        """A new connection: its client id and addresses, or None to refuse it.

        Raises OSError for a peer that has gone, before the connection is counted.
        """
        keepalive = int(self.settings.get("tcp-keepalive", 300))
        if keepalive and connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, keepalive)
            connection.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, keepalive // 3)
            )
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        local = connection.getsockname()
        page = self.boot.page
        if page.connect(self.boot.index) > self.settings["maxclients"]:
            page.disconnect(self.boot.index)
            self.rejected_connections += 1
            try:
                connection.send(b"-ERR max number of clients reached\r\n")
            except OSError:
                pass
            return None
        self.connections += 1
        self.total_connections += 1
        if connection.family == socket.AF_UNIX:
            path = str(local)
            return page.next_client_id(), f"{path}:0", f"{path}:0"
        return (
            page.next_client_id(),
            _address(connection.family, peer),
            _address(connection.family, local),
        )

    def closed(self, session: Session) -> None:
        if not isinstance(session.driver, _Call):
            self.connections -= 1
            self.boot.page.disconnect(self.boot.index)

    # Slow paths

    def schedule_flush(self) -> None:
        """Send what was queued outside a tick, once, at the end of this turn of the loop."""
        if not self.flush_due:
            self.flush_due = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self.flush_due = False
        self.reactor.flush_sessions()

    def run_barrier(self, session: Session, command: Command, args: list[bytes]) -> None:
        """Start a command that needs more than this process and one shard."""
        task = self.loop.create_task(self._run_barrier(session, command, args))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _run_barrier(self, session: Session, command: Command, args: list[bytes]) -> None:
        started = time.perf_counter_ns()
        try:
            if command.place is Place.ADMIN:
                reply = await self._ask_router(session, args)
            else:
                reply = await run_multi_shard(self, session, command, args)
                microseconds = (time.perf_counter_ns() - started) // 1000
                self.dispatcher.count_call(command.id, microseconds, reply)
        except CommandError as error:
            reply = b"-" + error.message + b"\r\n"
            self.dispatcher.count_call(command.id, 0, reply)
        except ShardLost:
            # As when redis-server dies: a write may or may not have happened, so no reply is true.
            session.abort()
            session.complete_barrier(b"")
            self.schedule_flush()
            return
        except Exception:
            # A mistake of ours; the client must not wait for ever.
            logger.exception("%s failed", command.name)
            reply = b"-" + INTERNAL_ERROR + b"\r\n"
            self.dispatcher.count_call(command.id, 0, reply)
        session.complete_barrier(reply)
        self.schedule_flush()

    async def _ask_router(self, session: Session, args: list[bytes]) -> bytes:
        caller = {
            "id": session.id,
            "name": session.name,
            "address": session.address,
            "database": session.database,
            "resp": session.resp,
            "user": session.user,
        }
        assert self.control is not None
        try:
            answer = await self.control.request({"op": "admin", "caller": caller, "args": args})
        except (ControlClosed, ControlFailure):
            return b"-" + INTERNAL_ERROR + b"\r\n"
        reply: bytes = answer["reply"]
        return reply

    def call(
        self,
        shard: int,
        commands: Sequence[Sequence[bytes]],
        database: int,
        resp: int,
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
        session.push(
            b"".join(
                b"*%d\r\n%b"
                % (len(args), b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args))
                for args in commands
            )
        )
        self.schedule_flush()
        return future

    # Control

    def _on_control(self, message: dict[str, Any]) -> Any:
        match message["op"]:
            case "topology":
                self._install(
                    Topology(
                        message["version"],
                        [tuple(shard) for shard in message["shards"]],
                        [tuple(worker) for worker in message["workers"]],
                        [tuple(slots) for slots in message["slots"]],
                    )
                )
            case "config":
                self._apply(message["changes"])
            case "stats":
                return self.statistics()
            case "resetstat":
                self._reset_statistics()
            case "shutdown":
                return self._shut_down()
            case operation:
                raise ValueError(f"unknown control operation {operation!r}")
        return None

    def _apply(self, changes: dict[str, Any]) -> None:
        self.settings.update(changes)
        self.dispatcher.set_limits(
            int(self.settings["proto-max-bulk-len"]),
            int(self.settings["client-query-buffer-limit"]),
        )
        self.reactor.spin_ns = int(self.settings.get("spin-microseconds", 0)) * 1000

    async def _shut_down(self) -> None:
        """Accept nobody, finish what was admitted, end."""
        self.reactor.stop_listening()
        while any(
            session is not None and session.unanswered for session in self.dispatcher.sessions
        ):
            await asyncio.sleep(SHUTDOWN_POLL_SECONDS)
        self.reactor.flush_sessions()
        self.loop.call_soon(os._exit, 0)

    def _reset_statistics(self) -> None:
        self.dispatcher.reset_statistics()
        self.total_connections = 0
        self.rejected_connections = 0
        self.reactor.input_bytes = 0
        self.reactor.output_bytes = 0
        self.reactor.reads = 0
        self.reactor.writes = 0

    def statistics(self) -> dict[str, Any]:
        """The answer to {"op": "stats"}: router.stats.WorkerStats."""
        sessions = [session for session in self.dispatcher.sessions if session is not None]
        return {
            **process_figures(),
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
            "query_buffer_bytes_max": max((session.input_bytes for session in sessions), default=0),
            "output_buffer_bytes_max": max(
                (session.output_bytes for session in sessions), default=0
            ),
            "links": self.dispatcher.statistics(),
        }

    def _cron(self) -> None:
        page, index = self.boot.page, self.boot.index
        page.set_worker(index, "commands", self.dispatcher.commands_processed)
        page.set_worker(index, "input_bytes", self.reactor.input_bytes)
        page.set_worker(index, "output_bytes", self.reactor.output_bytes)
        now = time.monotonic()
        if now - self.collected_at > GARBAGE_INTERVAL_SECONDS:
            self.collected_at = now
            gc.collect()
        self.loop.call_later(CRON_SECONDS, self._cron)


def _address(family: int, name: Any) -> str:
    return f"[{name[0]}]:{name[1]}" if family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


def worker_main(boot: Boot, table: NativeTable) -> None:
    """The life of a worker process; ends by os._exit."""
    Worker(boot, table).run()
