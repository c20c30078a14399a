"""The I/O worker process: connections, sessions and the paths that are not hot, on one uvloop."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from functools import partial
from typing import Any

import uvloop
import zmq

from actors.boot import Boot, Topology, coordinator, link_path
from actors.control import ControlLink
from actors.diagnosis import apply_diagnosis
from actors.failure import end_on_failure
from actors.figures import process_figures
from actors.links import SocketLink, open_links
from actors.scheduling import apply_scheduling
from protocol.table import NativeTable
from router.host import Host
from sessions import clients, slowlog
from sessions.admission import Admission
from sessions.cluster import Cluster
from sessions.connections import Connections, ask_router
from sessions.session import Session
from sessions.slowlog import Monitor

GARBAGE_INTERVAL_SECONDS = 5.0
CRON_SECONDS = 0.1
IDLE_CRON_SECONDS = 0.5
LINGER_SECONDS = 0.001
"""How long a few replies wait for others of the same pipeline."""
SHUTDOWN_POLL_SECONDS = 0.002


class Worker(Host):
    """A worker process: the host, its listeners, ZeroMQ links and the control link."""

    def __init__(self, boot: Boot, table: NativeTable) -> None:
        super().__init__(table, len(boot.topology.shards), boot.config, uvloop.new_event_loop())
        self.boot = boot
        self.coordinator.incarnation = coordinator(boot.index, boot.epoch)
        if boot.nodes:
            self.dispatcher.cluster = Cluster(boot.nodes, self.settings)
        self.zmq = zmq.Context(1)
        self.control: ControlLink | None = None
        page, index = boot.page, boot.index
        self.connections = Connections(
            self.dispatcher,
            self.reactor,
            Admission(
                self.settings,
                partial(page.connect, index),
                partial(page.disconnect, index),
                page.next_client_id,
            ),
            self.settings,
            self.loop,
            self.schedule_flush,
            self.spawn,
        )
        self.connections.tls.context = boot.tls
        self.collected_at = time.monotonic()
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
        self.connections.listen(self.boot.listeners)  # before the link, which may bring others
        self.control = await ControlLink.connect(
            self.boot.control, self._on_control, lambda: os._exit(1)
        )
        self.loop.add_reader(self.reactor.fileno(), self.reactor.tick)
        self.reactor.on_linger = self._linger
        self.reactor.on_more = partial(self.loop.call_soon, self.reactor.tick)
        self._cron()
        self.control.notify({"op": "ready"})

    # Links

    def connect(self, shard: int, epoch: int, turn: int = 0) -> tuple[SocketLink, SocketLink]:
        path = link_path(self.boot.directory, shard, epoch, self.boot.index, self.boot.epoch, turn)
        io_threads = bool(self.settings["zeromq-io-threads"])
        link, bulk = open_links(self.zmq, path, bind=False, io_threads=io_threads)
        self.loop.add_reader(link.fileno(), self._answers, shard, False)
        self.loop.add_reader(bulk.fileno(), self._answers, shard, True)
        return link, bulk

    def disconnect(self, link: SocketLink) -> None:
        self.loop.remove_reader(link.fileno())
        link.close()

    def link_broken(self, shard: int) -> None:
        super().link_broken(shard)
        if self.control is not None:
            self.control.notify({"op": "broken", "shard": shard})

    def _reconnect(self, shard: int, epoch: int, turn: int) -> None:
        """Speak to a shard again that was left; not to one that has died since."""
        if self.epochs[shard] == epoch and not self.dispatcher.is_up(shard):
            self.dispatcher.shard_up(shard, epoch, *self.connect(shard, epoch, turn))

    def _answers(self, shard: int, bulk: bool) -> None:
        """A shard's link has become readable."""
        self.dispatcher.wake(shard, bulk)
        self.reactor.collect()

    def _linger(self) -> None:
        self.loop.call_later(LINGER_SECONDS, self.reactor.flush_lingering)

    # Connections

    def accept(self, connection: Any, peer: Any) -> tuple[int, str, str] | None:
        return self.connections.admission.accept(connection, peer)

    def connection_closed(self, session: Session) -> None:
        self.connections.admission.closed(session)

    async def ask_router(self, session: Session, args: list[bytes]) -> bytes:
        return await ask_router(self.control, session, args)

    # Control

    def _on_control(self, message: dict[str, Any]) -> Any:
        match message["op"]:
            case "topology":
                self.install(Topology.of(message))
            case "links":
                self._reconnect(message["shard"], message["epoch"], message["turn"])
            case "config":
                self._apply(message["changes"])
                self.connections.apply_tls(message["changes"])  # at the start it was inherited
            case "listeners":
                self.connections.take_over(self.boot.descriptors, message["kinds"])
            case "heartbeat":
                return None
            case "stats":
                return self.statistics()
            case "resetstat":
                self.connections.reset_statistics()
                self.cron_us = 0
            case "histograms":
                return self.histograms()
            case "slowlog":
                return {**self.monitor.answer(message), "clients": self.slow_clients}
            case operation if operation in slowlog.OPERATIONS:
                return self.monitor.answer(message)
            case "pause-cron":
                self.cron_paused = bool(message["paused"])
            case "shutdown":
                return self._shut_down()
            case operation if operation in clients.OPERATIONS:
                return self.clients.answer(message)
            case operation:
                raise ValueError(f"unknown control operation {operation!r}")
        return None

    def _apply(self, changes: dict[str, Any]) -> None:
        self.settings.update(changes)
        apply_diagnosis(changes)
        self.connections.apply(changes)
        self.dispatcher.strict_order = self.settings["pipeline-order"] == "strict"
        self.monitor.apply(self.settings)
        self.dispatcher.set_monitor(self.monitor, bool(self.settings["latency-tracking"]))
        self.reactor.spin_ns = int(self.settings.get("spin-microseconds", 0)) * 1000

    async def _shut_down(self) -> None:
        """Accept nobody, finish what was admitted, end.

        What waits for the router may be the SHUTDOWN itself, and who is blocked may be so for ever.
        """
        self.connections.listen(())
        while self.barriers or any(  # noqa: ASYNC110
            session is not None and session.unanswered and not session.blocked
            for session in self.dispatcher.sessions
        ):
            # An event would have to be set on the hot path, for something that happens once.
            await asyncio.sleep(SHUTDOWN_POLL_SECONDS)
        self.reactor.flush_sessions()
        self.loop.call_soon(os._exit, 0)

    def histograms(self) -> dict[str, list[tuple[int, int]]]:
        """Execution times of the commands that ran here: router.stats.merged_histograms."""
        return {
            self.table.by_id[id].name.lower(): pairs
            for id, pairs in self.dispatcher.counts.histograms.pairs().items()
        }

    def statistics(self) -> dict[str, Any]:
        """The answer to {"op": "stats"}: router.stats.WorkerStats."""
        return {
            **process_figures(),
            **self.connections.statistics(),
            "blocked_clients": len(self.blocked_tasks),
            "cron_us": self.cron_us,
            "links": self.dispatcher.statistics(),
        }

    def _cron(self) -> None:
        if self.cron_paused:
            self.loop.call_later(IDLE_CRON_SECONDS, self._cron)
            return
        page, index = self.boot.page, self.boot.index
        busy = self.reactor.input_bytes != self.published_input_bytes
        self.published_input_bytes = self.reactor.input_bytes
        page.set_worker(index, "commands", self.dispatcher.counts.commands)
        page.set_worker(index, "input_bytes", self.reactor.input_bytes)
        page.set_worker(index, "output_bytes", self.reactor.output_bytes)
        page.set_worker(index, "cycles", self.reactor.cycles)
        page.set_worker(index, "cycle_us", self.reactor.cycle_ns // 1000)
        now = time.monotonic()
        self.connections.sweep()
        if now - self.collected_at > GARBAGE_INTERVAL_SECONDS:
            self.collected_at = now
            gc.collect()
        elapsed_ns = int((time.monotonic() - now) * 1e9)
        self.cron_us += elapsed_ns // 1000
        self.reactor.cycles += 1  # the loop has turned for this alone
        self.reactor.cycle_ns += elapsed_ns
        self.loop.call_later(CRON_SECONDS if busy else IDLE_CRON_SECONDS, self._cron)


def worker_main(boot: Boot, table: NativeTable) -> None:
    """The life of a worker process; ends by os._exit."""
    apply_scheduling(bool(boot.config["sched-batch"]), str(boot.config["worker-cpulist"]))
    Worker(boot, table).run()
