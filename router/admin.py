"""ADMIN commands: what a client asks of the server as a whole, executed in the router process.

A worker sends {"op": "admin", "caller", "args"}; `Admin.dispatch` finds the handler in the command
table, runs it `async (admin, caller, args, reply)`, and answers {"reply": RESP bytes}. Handlers
are in router/commands.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from actors.control import Message
from actors.supervisor import Supervisor
from protocol.commands import Command, CommandTable, F
from protocol.errors import CommandError
from protocol.histogram import Histograms
from protocol.reply import Reply
from router.client_pause import ClientPause
from router.config import Config, SetError, is_sensitive
from router.endpoint import Endpoint
from router.shutdown import Shutdown
from sessions.slowlog import DIRECTIVES, REDACTED, Monitor

ASK_SECONDS_MAX: Final = 5.0
"""How long INFO waits for a busy process before it goes on without its figures."""
NAME_BYTES_SHOWN: Final = 128
SAMPLES: Final = 16
SAMPLE_SECONDS: Final = 0.1

Caller = dict[str, Any]
_log = logging.getLogger("shardis")


class Rates:
    """What happens per second, averaged over the last 1.6 seconds as Redis does."""

    FIGURES: Final = ("commands", "input_bytes", "output_bytes", "cycles", "cycle_us")

    def __init__(self, read: Callable[[str], int]) -> None:
        self._read = read
        self._last = (time.monotonic(), *map(read, self.FIGURES))
        self._samples: dict[str, deque[float]] = {
            figure: deque([0.0] * SAMPLES, SAMPLES) for figure in self.FIGURES
        }

    def sample(self) -> None:
        """Take one sample. O(processes)."""
        now = (time.monotonic(), *map(self._read, self.FIGURES))
        seconds = max(now[0] - self._last[0], 1e-6)
        for index, figure in enumerate(self.FIGURES, 1):
            # A process that died took its figures with it: a rate is never negative.
            self._samples[figure].append(max(0, now[index] - self._last[index]) / seconds)
        self._last = now

    def __getitem__(self, figure: str) -> float:
        return sum(self._samples[figure]) / SAMPLES


class Admin:
    """What the handlers of ADMIN commands see.

    They run in the router process, one at a time for each caller. `caller` is a dict with the
    client's id, name, address, database, resp and user.
    """

    def __init__(
        self,
        config: Config,
        table: CommandTable,
        supervisor: Supervisor,
        apply: Callable[[dict[str, Any]], None],
        shutdown: Shutdown,
        endpoint: Endpoint,
    ) -> None:
        self.config = config
        self.table = table
        self.supervisor = supervisor
        self.shutdown = shutdown
        self.endpoint = endpoint
        self.cron_paused = False  # DEBUG PAUSE-CRON
        self.replication_id = supervisor.plan.run_id
        self.started = time.time()
        self._begin_rates()
        self.peak_memory = 0
        self.pause = ClientPause()
        self.commands: dict[str, list[int]] = {}  # as router.stats.ProcessStats
        self.errors: dict[str, int] = {}
        self.monitor = Monitor(supervisor.plan.page.next_slow_id)
        self.monitor.apply({name: config[name] for name in DIRECTIVES})
        self.histograms = Histograms(len(table))
        self._apply = apply
        self._changing = asyncio.Lock()

    async def ask_shards(self, request: Message) -> list[Any]:
        """Send a control request to every shard; their answers in shard order (None: down)."""
        return await self.supervisor.ask(self.supervisor.shards, request, ASK_SECONDS_MAX)

    async def ask_workers(self, request: Message) -> list[Any]:
        """Send a control request to every worker; their answers in worker order."""
        return await self.supervisor.ask(self.supervisor.workers, request, ASK_SECONDS_MAX)

    async def ask_client_holders(self, request: Message, node: int | None = None) -> list[Any]:
        """The answers of every process that may hold connections; without those that have none.

        `node`: the shard at whose own port the caller is, which speaks for its clients only.
        """
        holders = list(self.supervisor.workers)
        if node is not None:
            holders = [self.supervisor.shards[node]]
        elif self.config["cluster-enabled"]:
            holders += self.supervisor.shards
        answers = await self.supervisor.ask(holders, request, ASK_SECONDS_MAX)
        return [answer for answer in answers if answer is not None]

    async def broadcast(self, request: Message) -> None:
        """Send to all workers and shards, and return when every living one has acknowledged."""
        everyone = [*self.supervisor.workers, *self.supervisor.shards]
        await self.supervisor.ask(everyone, request)

    async def change(self, pairs: list[tuple[bytes, bytes]], local: bool = False) -> None:
        """CONFIG SET: all pairs or none; +OK may follow once this returns. Raises SetError.

        Changes are made one after the other, so that all processes see them in one order. `local`
        says that the client is on this machine.
        """
        async with self._changing:
            changes = self.config.prepare(pairs, local)
            staged = self.endpoint.stage(changes)
            try:
                self._apply(changes)
            except SetError:
                staged.abandon()
                raise
            self.config.commit(changes)
            self.endpoint.commit(staged)
            self.monitor.apply({name: self.config[name] for name in DIRECTIVES})
            await self.broadcast({"op": "config", "changes": changes})
            await self.endpoint.hand_over(staged)

    async def dispatch(self, message: Message) -> Message:
        """Run one ADMIN command that a worker has sent on; the answer holds its reply."""
        caller: Caller = message["caller"]
        args: list[bytes] = message["args"]
        reply = Reply(caller.get("resp", 2))
        command = self._find(args)
        if isinstance(command, bytes):
            self._error(reply, command)
            return {"reply": reply.take()}
        figures = self.commands.setdefault(command.name.lower(), [0, 0, 0, 0])
        if not _fits(command, len(args)) or command.handler is None:
            figures[2] += 1
            name = command.name.lower().encode()
            self._error(reply, b"ERR wrong number of arguments for '%s' command" % name)
            return {"reply": reply.take()}
        begun = time.perf_counter_ns()
        try:
            await command.handler(self, caller, args, reply)
        except CommandError as error:
            self._error(reply, error.message)
        except Exception:
            _log.exception("%s failed", command.name)
            self._error(reply, b"ERR internal error")
        figures[0] += 1
        elapsed = time.perf_counter_ns() - begun
        figures[1] += elapsed // 1000
        if self.config["latency-tracking"]:
            self.histograms.record(command.id, elapsed)
        if elapsed // 1000 >= self.monitor.least_us:
            self.monitor.note(
                _without_secrets(args),
                elapsed // 1000,
                caller.get("id", 0),
                caller.get("address", ""),
                caller.get("name", b""),
                fast=F.FAST in command.flags,
            )
        figures[3] += bool(reply.errors)
        return {"reply": reply.take()}

    async def sample(self) -> None:
        """Keep the rates and the peak of the memory; runs as long as the server."""
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            if self.cron_paused:
                continue
            for rates in (self.rates, *self.node_rates):
                rates.sample()
            self.peak_memory = max(self.peak_memory, self.supervisor.plan.page.total("used_memory"))

    def histogram_figures(self) -> dict[str, list[tuple[int, int]]]:
        """Execution times of the commands that ran here: router.stats.merged_histograms."""
        return {
            self.table.by_id[id].name.lower(): pairs
            for id, pairs in self.histograms.pairs().items()
        }

    def reset_stats(self) -> None:
        """The router's own part of CONFIG RESETSTAT."""
        self.commands.clear()
        self.errors.clear()
        self.histograms.clear()
        self.peak_memory = 0
        self._begin_rates()

    def _begin_rates(self) -> None:
        page = self.supervisor.plan.page
        self.rates = Rates(page.total)
        self.node_rates = [  # of what each shard does, for its own port
            Rates(partial(page.shard, index)) for index in range(self.supervisor.plan.shards)
        ]

    def _find(self, args: list[bytes]) -> Command | bytes:
        """The command of these arguments, or the text of the error."""
        name = args[0].decode("latin-1").upper()
        if name not in self.table:
            shown = args[0][:NAME_BYTES_SHOWN]
            return b"ERR unknown command '%s', with args beginning with: " % shown
        command = self.table[name]
        if command.subcommands and len(args) > 1:
            full = f"{name}|{args[1].decode('latin-1').upper()}"
            if full not in self.table:
                shown = args[1][:NAME_BYTES_SHOWN]
                return b"ERR unknown subcommand '%s'. Try %s HELP." % (shown, name.encode())
            command = self.table[full]
        return command

    def _error(self, reply: Reply, message: bytes) -> None:
        code = message.partition(b" ")[0].decode("latin-1")
        self.errors[code] = self.errors.get(code, 0) + 1
        reply.error(message)


def _fits(command: Command, count: int) -> bool:
    return count == command.arity if command.arity > 0 else count >= -command.arity


def _without_secrets(args: list[bytes]) -> list[bytes]:
    """The arguments without the values of CONFIG SET that the slow log must not show."""
    if [arg.lower() for arg in args[:2]] != [b"config", b"set"]:
        return args
    return [
        REDACTED if index >= 3 and index % 2 and is_sensitive(args[index - 1]) else arg
        for index, arg in enumerate(args)
    ]
