"""The shard process: mailbox, executor and cron on one uvloop."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable
from typing import Any

import uvloop
import zmq

from actors.boot import Boot, Topology, coordinator, link_path
from actors.control import ControlLink
from actors.diagnosis import apply_diagnosis
from actors.failure import end_on_failure
from actors.figures import process_figures, resident_bytes
from actors.links import open_links
from actors.scheduling import apply_scheduling
from protocol.slots import SLOTS
from protocol.table import NativeTable
from sessions import clients, slowlog
from sessions.slowlog import Monitor
from shards.commands import native
from shards.execution.executor import Executor
from shards.execution.runner import Runner
from shards.inspect import contract
from shards.keyspace.keyspace import Keyspace, allocator_figures, trim_memory, tune_allocator
from shards.lane.context import Context, Settings
from shards.lane.handler import NativeLane
from shards.process.port import ShardPort

SLOW_CYCLE_SHARE = 0.25
"""Of each cron period that active expiry may use at most, as redis-server's slow cycle."""
GARBAGE_INTERVAL_SECONDS = 5.0
"""How often Python's cycle collector runs; never inside a batch."""


class ShardProcess:
    """One shard incarnation."""

    def __init__(self, boot: Boot, table: NativeTable) -> None:
        config = boot.config
        self.boot = boot
        self.settings = Settings(config)
        self.keyspace = Keyspace(
            int(config["databases"]), boot.hash_seed, int.from_bytes(os.urandom(8), "little")
        )
        self.keyspace.start_reaper()
        context = Context(self.keyspace, self.settings, table.table, int(config["databases"]))
        lane = NativeLane()
        native.register(lane)
        self.runner = Runner(table, self.keyspace, context, lane)
        self.contract = contract.watch(context)  # of effects, in debug builds
        self.runner.set_slots(self._own_slots())
        self.runner.native_lane = bool(config["native-lane"])
        self.executor = Executor(self.runner, boot.epoch)
        self.zmq = zmq.Context(1)
        self.links: dict[int, tuple[int, int]] = {}  # worker -> (its epoch, link number)
        self.expire_cycle_us = 0
        self.cron_us = 0
        self.commands_at_once = 0  # the most that one wake-up has brought
        self.collected_at = time.monotonic()
        self.expire_from = 0.0  # CLIENT PAUSE: keys do not expire before
        self.cron_paused = False  # DEBUG PAUSE-CRON
        self.serve_due = False  # a call of _serve is scheduled
        self.deadline_timer: asyncio.TimerHandle | None = None  # of commands that wait
        self.executor.serving.on_deadline = self._await_deadline
        self.startup_memory = self.keyspace.used_memory
        self.startup_rss = 0  # of the process before the first key: mostly the interpreter
        self.startup_active = 0  # of that, what the allocator had from the system
        self.monitor = Monitor(boot.page.next_slow_id)
        self.loop = uvloop.new_event_loop()
        self.control: ControlLink | None = None
        self.values = dict(config)  # of all directives
        self.paused = self.values.pop("client-pause", ("", 0.0))  # mode and end when it started
        self.port: ShardPort | None = None
        if boot.nodes:
            self.port = ShardPort(
                table,
                self.executor,
                self.values,
                index=boot.index,
                nodes=boot.nodes,
                page=boot.page,
                loop=self.loop,
                tls=boot.tls,
            )
            self.port.install(boot.topology)

    def run(self) -> None:
        asyncio.set_event_loop(self.loop)
        end_on_failure(self.loop)
        self.loop.run_until_complete(self._start())
        gc.collect()
        gc.freeze()
        gc.disable()
        self.loop.run_forever()

    async def _start(self) -> None:
        self._apply(self.boot.config)
        for worker, epoch in self.boot.topology.workers:
            self._link(worker, epoch)
        self.control = await ControlLink.connect(
            self.boot.control, self._on_control, lambda: os._exit(1)
        )
        mode, until = self.paused
        self.expire_from = until if mode else 0.0
        if self.port is not None:
            self.port.dispatcher.on_granted = self._serve_more
            self.executor.serving.on_answered = self.port.schedule_resume
            self.port.clients.set_pause(mode, until)
            self.port.listen(self.boot.listeners, self.control)
        self._cron()
        self.startup_rss = resident_bytes(os.getpid())
        self.startup_active = allocated_and_active()["allocator_active"]
        self.control.notify({"op": "ready"})

    # Links

    def _link(self, worker: int, epoch: int, turn: int = 0) -> None:
        """Be reachable for this incarnation of a worker, and no longer for earlier ones.

        A `turn` other than 0 begins anew: what was on its way is forgotten.
        """
        known = self.links.get(worker)
        if known is not None:
            if known[0] == epoch and not turn:
                return
            self._unlink(worker)
        directory, index, own_epoch = self.boot.directory, self.boot.index, self.boot.epoch
        path = link_path(directory, index, own_epoch, worker, epoch, turn)
        io_threads = bool(self.values["zeromq-io-threads"])
        link, bulk = open_links(self.zmq, path, bind=True, io_threads=io_threads)
        number = self.executor.add_links(link, bulk)
        self.links[worker] = epoch, number
        self.loop.add_reader(link.fileno(), self._serve, self.executor.serve, number)
        self.loop.add_reader(bulk.fileno(), self._serve, self.executor.serve_bulk, number)

    def _unlink(self, worker: int) -> None:
        """Close the links to a worker that has died; what they still hold is discarded."""
        _, number = self.links.pop(worker)
        for link in self.executor.remove_links(number):
            self.loop.remove_reader(link.fileno())
            link.close()
        self._serve_rest()  # those who waited for keys that it held have been let go on

    def _fence(self, worker: int, epoch: int) -> list[tuple[int, bool]]:
        """Hear nothing more of a dead worker; its transactions, and whether they were executed."""
        known = self.links.get(worker)
        if known is not None and known[0] == epoch:
            self._unlink(worker)
        return list(self.executor.open_transactions(coordinator(worker, epoch)).items())

    def _serve(self, serve: Callable[[int], object], link: int) -> None:
        before = self.runner.commands_processed
        serve(link)
        self.commands_at_once = max(self.commands_at_once, self.runner.commands_processed - before)
        self._serve_more()

    def _serve_more(self) -> None:
        if self.executor.has_more and not self.serve_due:
            self.serve_due = True
            self.loop.call_soon(self._serve_rest)

    def _serve_rest(self) -> None:
        self.serve_due = False
        self._serve(lambda _: self.executor.service(), 0)

    # Commands that wait

    def _await_deadline(self) -> None:
        """Wake up when the first of those that wait has waited long enough."""
        if self.deadline_timer is not None:
            self.deadline_timer.cancel()
        # Its time is up once the clock is beyond it.
        until_ms = self.executor.serving.blocking.deadline_ms + 1 - time.time() * 1000
        self.deadline_timer = self.loop.call_later(max(until_ms, 0.0) / 1000, self._expire_waiters)

    def _expire_waiters(self) -> None:
        self.deadline_timer = None
        if self.executor.expire_waiters():
            self._await_deadline()
        self._serve_more()

    # Control

    def _on_control(self, message: dict[str, Any]) -> Any:
        match message["op"]:
            case "topology":
                topology = Topology.of(message)
                for worker, epoch in topology.workers:
                    self._link(worker, epoch)
                if self.port is not None:
                    self.port.install(topology)
            case "links":
                worker, epoch = message["worker"], message["epoch"]
                if self.links.get(worker, (0, 0))[0] <= epoch:  # else it has a successor
                    self._link(worker, epoch, message["turn"])
            case "fence":
                return self._fence(message["worker"], message["epoch"])
            case "resolve":
                self.executor.resolve(message["commit"], message["drop"])
                self._serve_more()
            case "config":
                self._apply(message["changes"])
                if self.port is not None:
                    self.port.connections.apply_tls(message["changes"])
            case "heartbeat":
                return None
            case "stats":
                return self.statistics()
            case "histograms":
                table = self.runner.table.table
                found = self.runner.histograms.pairs()
                if self.port is not None:  # of other commands: those that run in the session
                    found = {**self.port.dispatcher.counts.histograms.pairs(), **found}
                return {table.by_id[id].name.lower(): pairs for id, pairs in found.items()}
            case "purge":
                trim_memory()
            case "malloc":
                return allocator_figures()
            case operation if operation in slowlog.OPERATIONS:
                return self.monitor.answer(message)
            case "resetstat":
                self.runner.reset_statistics()
                self.keyspace.reset_statistics()
                self.expire_cycle_us = 0
                self.cron_us = 0
                self.commands_at_once = 0
                if self.port is not None:
                    self.port.connections.reset_statistics()
            case "pause":
                self.expire_from = message["until"] if message["mode"] else 0.0
                if self.port is not None:
                    return self.port.clients.answer(message)
            case operation if self.port is not None and operation in clients.OPERATIONS:
                return self.port.clients.answer(message)
            case "listeners" if self.port is not None:
                self.port.connections.take_over(self.boot.descriptors, message["kinds"])
            case "pause-cron":
                self.cron_paused = bool(message["paused"])
            case "shutdown":
                if self.port is not None:
                    self.port.finish()
                self.executor.service()
                while self.executor.has_more:
                    self.executor.service()
                self.loop.call_soon(self._exit)
            case operation:
                raise ValueError(f"unknown control operation {operation!r}")
        return None

    def _exit(self) -> None:
        os._exit(0)

    def _apply(self, changes: dict[str, Any]) -> None:
        self.settings.update(changes)
        apply_diagnosis(changes)
        self.values.update(changes)
        if self.port is not None:
            self.port.apply(changes)
        if "native-lane" in changes:
            self.runner.native_lane = bool(changes["native-lane"])
        self.runner.set_limits(self.settings.proto_max_bulk_len)
        self.monitor.apply(self.values)
        tracking = bool(self.values["latency-tracking"])
        self.runner.set_monitor(self.monitor, tracking)
        if self.port is not None:
            self.port.dispatcher.set_monitor(self.monitor, tracking)
        self.keyspace.set_limits(changes)
        self.keyspace.lfu = b"lfu" in self.settings.maxmemory_policy
        self.keyspace.lfu_log_factor = self.settings.lfu_log_factor
        self.keyspace.lfu_decay_minutes = self.settings.lfu_decay_time

    def _own_slots(self) -> bytes | None:
        """A byte for each slot, 1 for ours; None: there is no other shard."""
        slots = self.boot.topology.slots
        if all(owner == self.boot.index for _, _, owner in slots):
            return None
        own = bytearray(SLOTS)
        for first, last, owner in slots:
            if owner == self.boot.index:
                own[first : last + 1] = b"\1" * (last + 1 - first)
        return bytes(own)

    def statistics(self) -> dict[str, Any]:
        """The answer to {"op": "stats"}: router.stats.ShardStats."""
        keyspace = self.keyspace
        self.runner.refresh_time()
        return {
            **process_figures(),
            "processed": self.runner.commands_processed,
            "commands": self.runner.command_statistics(),
            "errors": {code.decode(errors="replace"): n for code, n in self.runner.errors.items()},
            "used_memory": keyspace.used_memory,
            "startup_memory": self.startup_memory,
            "startup_rss": self.startup_rss,
            "startup_active": self.startup_active,
            **allocated_and_active(),
            "overhead_memory": keyspace.overhead,
            "lazyfree_pending": keyspace.lazyfree_pending,
            "lazyfreed": keyspace.lazyfreed,
            "expired_stale_percent": keyspace.expired_stale_percent,
            "databases": {
                number: [
                    keyspace.size(number),
                    keyspace.expiring_size(number),
                    keyspace.average_ttl_ms(number),
                    keyspace.index_bytes(number),
                    keyspace.index_bytes(number, expiring=True),
                ]
                for number in range(self.runner.context.databases)
                if keyspace.size(number)
            },
            "hits": keyspace.hits,
            "misses": keyspace.misses,
            "expired": keyspace.expired,
            "expired_time_cap_reached": keyspace.expired_time_cap_reached,
            "expire_cycle_us": self.expire_cycle_us,
            "cron_us": self.cron_us,
            "commands_at_once": self.commands_at_once,
            "changes": keyspace.changes,
            "blocked_clients": self.executor.serving.blocking.clients,
            "blocking_keys": self.executor.serving.blocking.waited_keys,
            "blocking_keys_on_nokey": self.executor.serving.blocking.removal_keys,
            **({"clients": self.port.connections.statistics()} if self.port is not None else {}),
        }

    # Cron

    def _cron(self) -> None:
        period = 1 / max(1, self.settings.hz)
        if self.cron_paused:
            self.loop.call_later(period, self._cron)
            return
        started = time.monotonic()
        if self.settings.active_expire and started >= self.expire_from:
            self.runner.refresh_time()
            self.keyspace.active_expire(
                int(period * SLOW_CYCLE_SHARE * 1e6), self.settings.active_expire_effort
            )
            self.executor.serve_waiters()
            self._serve_more()
        self.executor.serving.blocking.rest()
        page, index = self.boot.page, self.boot.index
        page.set_shard(index, "used_memory", self.keyspace.used_memory)
        page.set_shard(index, "keys", self.keyspace.total_size)
        processed = self.runner.commands_processed
        if self.port is not None:
            self.port.cron()
            processed += self.port.dispatcher.counts.commands
            page.set_shard(index, "cycles", self.port.reactor.cycles)
            page.set_shard(index, "cycle_us", self.port.reactor.cycle_ns // 1000)
        page.set_shard(index, "commands", processed)
        ended = time.monotonic()
        self.expire_cycle_us += int((ended - started) * 1e6)
        threshold = self.monitor.threshold_ms
        if threshold and (ended - started) * 1e3 >= threshold:
            self.monitor.latency.add("expire-cycle", int((ended - started) * 1e3))
        if ended - self.collected_at > GARBAGE_INTERVAL_SECONDS:
            self.collected_at = ended
            gc.collect()
        self.cron_us += int((time.monotonic() - started) * 1e6)
        self.loop.call_later(period, self._cron)


def allocated_and_active() -> dict[str, int]:
    """What the allocator has given out, and what it has from the system for that."""
    figures = allocator_figures()
    return {
        "allocator_allocated": figures["in_use"] + figures["mapped"],
        "allocator_active": figures["arena"] + figures["mapped"],
    }


def shard_main(boot: Boot, table: NativeTable) -> None:
    """The life of a shard process; ends by os._exit."""
    apply_scheduling(bool(boot.config["sched-batch"]), str(boot.config["shard-cpulist"]))
    tune_allocator()
    ShardProcess(boot, table).run()
