"""The I/O worker process: connections, sessions and the paths that are not hot, on one uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import time
from typing import Any

import uvloop
import zmq

from actors.boot import Boot, Topology, link_path
from actors.control import ControlClosed, ControlFailure, ControlLink
from actors.diagnosis import apply_diagnosis
from actors.failure import end_on_failure
from actors.figures import process_figures
from actors.listening import Listener, receive_listeners
from actors.mailbox import DIRECT, PyzmqLink, ZmqLink
from actors.scheduling import apply_scheduling
from protocol.errors import INTERNAL_ERROR
from protocol.table import NativeTable
from router import tls
from router.descriptors import allow_clients
from router.host import Host
from sessions.clients import OPERATIONS
from sessions.session import Session
from sessions.slowlog import Monitor
from sessions.tls import TlsDriver

GARBAGE_INTERVAL_SECONDS = 5.0
CRON_SECONDS = 0.1
IDLE_CRON_SECONDS = 0.5
LINGER_SECONDS = 0.001
"""How long a few replies wait for others of the same pipeline."""
SHUTDOWN_POLL_SECONDS = 0.002
PROTECTED = (
    b"-DENIED Redis is running in protected mode because protected mode is enabled and no password"
    b" is set for the default user. Connect from this host, or switch it off there: CONFIG SET"
    b" protected-mode no. Nobody may then keep others out but your network.\r\n"
)


class Worker(Host):
    """A worker process: the host, its listeners, ZeroMQ links and the control link."""

    def __init__(self, boot: Boot, table: NativeTable) -> None:
        super().__init__(table, len(boot.topology.shards), boot.config, uvloop.new_event_loop())
        self.boot = boot
        self.zmq = zmq.Context(1)
        self.control: ControlLink | None = None
        self.tls = TlsDriver(self, self.dispatcher)
        self.tls.context = boot.tls
        self.listeners: list[Listener] = []
        self.connections: dict[str, int] = dict.fromkeys(("tcp", "tls", "unix"), 0)
        self.total_connections = 0
        self.rejected_connections = 0
        self.collected_at = time.monotonic()
        self.swept_at = time.monotonic()
        self.published_input_bytes = 0
        self.cron_us = 0
        self.monitor = Monitor(boot.page.next_slow_id)
        self.cron_paused = False  # DEBUG PAUSE-CRON

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
        self.clients.set_pause(*self.settings.pop("client-pause", ("", 0.0)))
        self.install(self.boot.topology)
        self._listen(self.boot.listeners)  # before the link, which may bring others
        self.control = await ControlLink.connect(
            self.boot.control, self._on_control, lambda: os._exit(1)
        )
        self.loop.add_reader(self.reactor.fileno(), self.reactor.tick)
        self.reactor.on_linger = self._linger
        self._cron()
        self.control.notify({"op": "ready"})

    # Links

    def connect(self, shard: int, epoch: int) -> tuple[Any, Any]:
        path = link_path(self.boot.directory, shard, epoch, self.boot.index, self.boot.epoch)
        kind = ZmqLink if DIRECT else PyzmqLink
        link = kind(self.zmq, path, False)
        bulk = kind(self.zmq, path + ".bulk", False)
        self.loop.add_reader(link.fileno(), self._answers, shard, False)
        self.loop.add_reader(bulk.fileno(), self._answers, shard, True)
        return link, bulk

    def disconnect(self, link: Any) -> None:
        self.loop.remove_reader(link.fileno())
        link.close()

    def _answers(self, shard: int, bulk: bool) -> None:
        """A shard's link has become readable."""
        self.dispatcher.wake(shard, bulk)
        self.reactor.collect()

    def _linger(self) -> None:
        self.loop.call_later(LINGER_SECONDS, self.reactor.flush_lingering)

    # Connections

    def _listen(self, listeners: list[Listener]) -> None:
        """Accept from these, and no longer from those before."""
        given_up, self.listeners = self.listeners, listeners
        self.reactor.stop_listening()
        for listener in listeners:
            self.reactor.listen(listener, self.tls.take if listener.kind == "tls" else None)
        for listener in given_up:
            listener.close()

    def accept(self, connection: socket.socket, peer: Any) -> tuple[int, str, str] | None:
        """A new plain connection: its client id and addresses, or None to refuse it.

        Raises OSError for a peer that has gone, before the connection is counted.
        """
        refusal = self.admit(connection)
        if refusal is None:
            refusal = self.refusal(connection, peer)
            if refusal is None:
                kind = "unix" if connection.family == socket.AF_UNIX else "tcp"
                return self.register(connection, peer, kind)
            self.release()
        with contextlib.suppress(OSError):
            connection.send(refusal)
        return None

    def admit(self, connection: socket.socket) -> bytes | None:
        """Count a new connection, or the reason to refuse it."""
        keepalive = int(self.settings.get("tcp-keepalive", 300))
        if keepalive and connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, keepalive)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, keepalive // 3))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        page = self.boot.page
        if page.connect(self.boot.index) > self.settings["maxclients"]:
            page.disconnect(self.boot.index)
            self.rejected_connections += 1
            return b"-ERR max number of clients reached\r\n"
        return None

    def release(self) -> None:
        """A connection that was admitted has ended before it was registered."""
        self.boot.page.disconnect(self.boot.index)

    def refusal(self, connection: socket.socket, peer: Any) -> bytes | None:
        """The error for a peer from elsewhere while nothing but this protects the server."""
        if (
            self.settings["protected-mode"]
            and not self.settings["requirepass"]
            and not _is_local(connection.family, peer)
        ):
            self.rejected_connections += 1
            return PROTECTED
        return None

    def register(self, connection: socket.socket, peer: Any, kind: str) -> tuple[int, str, str]:
        """The client id and the addresses of an admitted connection."""
        local = connection.getsockname()
        self.connections[kind] += 1
        self.total_connections += 1
        client_id = self.boot.page.next_client_id()
        if connection.family == socket.AF_UNIX:
            return client_id, f"{local}:0", f"{local}:0"
        return (
            client_id,
            _address(connection.family, peer),
            _address(connection.family, local),
        )

    def connection_closed(self, session: Session) -> None:
        self.connections[session.transport] -= 1
        self.release()

    # ADMIN commands

    async def ask_router(self, session: Session, args: list[bytes]) -> bytes:
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

    # Control

    def _on_control(self, message: dict[str, Any]) -> Any:
        match message["op"]:
            case "topology":
                self.install(
                    Topology(
                        message["version"],
                        [tuple(shard) for shard in message["shards"]],
                        [tuple(worker) for worker in message["workers"]],
                        [tuple(slots) for slots in message["slots"]],
                    )
                )
            case "config":
                self._apply(message["changes"])
                self._apply_tls(message["changes"])  # at the start it was inherited
            case "listeners":
                assert self.boot.descriptors is not None
                self._listen(receive_listeners(self.boot.descriptors, message["kinds"]))
            case "stats":
                return self.statistics()
            case "resetstat":
                self._reset_statistics()
            case "histograms":
                return self.histograms()
            case "slowlog":
                return {"entries": list(self.monitor.entries), "clients": self.slow_clients}
            case "slowlog-reset":
                self.monitor.entries.clear()
            case "latency":
                return self.monitor.latency.figures()
            case "latency-reset":
                self.monitor.latency.reset(message["events"])
            case "pause-cron":
                self.cron_paused = bool(message["paused"])
            case "shutdown":
                return self._shut_down()
            case operation if operation in OPERATIONS:
                return self.clients.answer(message)
            case operation:
                raise ValueError(f"unknown control operation {operation!r}")
        return None

    def _apply(self, changes: dict[str, Any]) -> None:
        self.settings.update(changes)
        apply_diagnosis(changes)
        self.dispatcher.set_limits(
            int(self.settings["proto-max-bulk-len"]),
            int(self.settings["client-query-buffer-limit"]),
        )
        self.dispatcher.set_password_required(bool(self.settings["requirepass"]))
        self.dispatcher.set_output_limits(self.settings["client-output-buffer-limit"])
        self.dispatcher.idle_seconds_max = int(self.settings["timeout"])
        self.dispatcher.strict_order = self.settings["pipeline-order"] == "strict"
        if "maxclients" in changes:
            allow_clients(self.settings["maxclients"])
        self.monitor.apply(self.settings)
        self.dispatcher.set_monitor(self.monitor, bool(self.settings["latency-tracking"]))
        self.reactor.spin_ns = int(self.settings.get("spin-microseconds", 0)) * 1000

    def _apply_tls(self, changes: dict[str, Any]) -> None:
        """Make new TLS connections use the directives, and the files, as they are now."""
        if not self.settings["tls-port"]:
            self.tls.context = None
        elif self.tls.context is None or not tls.DIRECTIVES.isdisjoint(changes):
            # The router has made such a context already: it would have met and told any error.
            with contextlib.suppress(tls.TlsError):
                self.tls.context = tls.server_context(self.settings)

    async def _shut_down(self) -> None:
        """Accept nobody, finish what was admitted, end."""
        self._listen([])
        while any(  # noqa: ASYNC110
            session is not None and session.unanswered for session in self.dispatcher.sessions
        ):
            # An event would have to be set on the hot path, for something that happens once.
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
        self.reactor.cycles = 0
        self.reactor.cycle_ns = 0
        self.reactor.cycle_ns_max = 0
        self.cron_us = 0

    def histograms(self) -> dict[str, list[tuple[int, int]]]:
        """Execution times of the commands that ran here: router.stats.merged_histograms."""
        return {
            self.table.by_id[id].name.lower(): pairs
            for id, pairs in self.dispatcher.histograms.pairs().items()
        }

    def statistics(self) -> dict[str, Any]:
        """The answer to {"op": "stats"}: router.stats.WorkerStats."""
        return {
            **process_figures(),
            "processed": self.dispatcher.commands_processed,
            "commands": self.dispatcher.command_statistics(),
            "errors": {
                code.decode(errors="replace"): n for code, n in self.dispatcher.errors.items()
            },
            "connections": sum(self.connections.values()),
            "connections_by_kind": self.connections,
            "failed_handshakes": self.tls.failed_handshakes,
            "total_connections": self.total_connections,
            "rejected_connections": self.rejected_connections,
            "input_bytes": self.reactor.input_bytes,
            "output_bytes": self.reactor.output_bytes,
            "reads": self.reactor.reads,
            "writes": self.reactor.writes,
            "cycles": self.reactor.cycles,
            "cycle_us": self.reactor.cycle_ns // 1000,
            "cycle_us_max": self.reactor.cycle_ns_max // 1000,
            "cron_us": self.cron_us,
            **self.dispatcher.client_figures(),
            "links": self.dispatcher.statistics(),
        }

    def _cron(self) -> None:
        if self.cron_paused:
            self.loop.call_later(IDLE_CRON_SECONDS, self._cron)
            return
        page, index = self.boot.page, self.boot.index
        busy = self.reactor.input_bytes != self.published_input_bytes
        self.published_input_bytes = self.reactor.input_bytes
        page.set_worker(index, "commands", self.dispatcher.commands_processed)
        page.set_worker(index, "input_bytes", self.reactor.input_bytes)
        page.set_worker(index, "output_bytes", self.reactor.output_bytes)
        page.set_worker(index, "cycles", self.reactor.cycles)
        page.set_worker(index, "cycle_us", self.reactor.cycle_ns // 1000)
        now = time.monotonic()
        self.dispatcher.trim_idle()
        # Everybody once in a second.
        elapsed, self.swept_at = now - self.swept_at, now
        self.dispatcher.sweep(int(len(self.dispatcher.sessions) * elapsed) + 1)
        self.schedule_flush()
        if now - self.collected_at > GARBAGE_INTERVAL_SECONDS:
            self.collected_at = now
            gc.collect()
        elapsed_ns = int((time.monotonic() - now) * 1e9)
        self.cron_us += elapsed_ns // 1000
        self.reactor.cycles += 1  # the loop has turned for this alone
        self.reactor.cycle_ns += elapsed_ns
        self.loop.call_later(CRON_SECONDS if busy else IDLE_CRON_SECONDS, self._cron)


def _is_local(family: int, peer: Any) -> bool:
    return family == socket.AF_UNIX or peer[0].startswith("127.") or peer[0] == "::1"


def _address(family: int, name: Any) -> str:
    return f"[{name[0]}]:{name[1]}" if family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


def worker_main(boot: Boot, table: NativeTable) -> None:
    """The life of a worker process; ends by os._exit."""
    apply_scheduling(bool(boot.config["sched-batch"]), str(boot.config["worker-cpulist"]))
    Worker(boot, table).run()
