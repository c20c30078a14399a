"""Finds processes that no longer turn: `Watchdog`, run by the supervisor.

Every LOOK_SECONDS each process is sent a heartbeat over its control link. Its event loop answers
between two batches of commands, so one that has not answered for STALE_LOOKS looks is either *busy*
with one long command, or *stuck*: then it does not even use processor time (it is stopped, say, or
waits for a disk). Looks are counted, not seconds: when the whole machine was suspended, nobody is
to blame.

What to do about a stuck process is the configuration's: `worker-stuck-timeout` and
`shard-stuck-timeout`, after which it is killed, and so started again. A worker owns no data, but
may hold locks for its transactions; a shard without persistence has its keys in memory only.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from actors.supervisor import Child, Supervisor

LOOK_SECONDS: Final = 0.5
STALE_LOOKS: Final = 3
"""So that a stuck process is known within two seconds."""
HEARTBEAT: Final = {"op": "heartbeat"}

_log = logging.getLogger("shardis")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def processor_ticks(pid: int) -> int:
    """The processor time that a process and its threads have used, in clock ticks; 0 without it."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


class Pulse:
    """What is known of one incarnation of a process."""

    def __init__(self, child: Child) -> None:
        self.epoch = child.epoch
        self.answer: asyncio.Future[Any] | None = None
        self.missed = 0  # looks in a row without the answer
        self.still = 0  # of those, looks in a row without processor time
        self.ticks = 0
        self.told = False

    def look(self, child: Child, ticks: int) -> str:
        """One look, and the next heartbeat; "up", "busy" or "stuck"."""
        if self.answer is not None and not self.answer.done():
            self.missed += 1
            self.still = self.still + 1 if ticks == self.ticks else 0
        else:
            self.missed = self.still = 0
            if self.answer is not None:
                self.answer.exception()  # nobody else asks
            assert child.link is not None
            self.answer = child.link.start_request(HEARTBEAT)
        self.ticks = ticks
        if self.missed < STALE_LOOKS:
            return "up"
        return "stuck" if self.still >= STALE_LOOKS - 1 else "busy"


class Watchdog:
    """Looks after the children of a supervisor. `timeouts` gives seconds by role; 0: never."""

    def __init__(
        self,
        supervisor: Supervisor,
        timeouts: Callable[[], dict[str, int]],
        ticks: Callable[[int], int] = processor_ticks,
    ) -> None:
        self._supervisor = supervisor
        self._timeouts = timeouts
        self._ticks = ticks
        self._pulses: dict[Child, Pulse] = {}

    async def run(self) -> None:
        """Look for as long as the server runs."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Look at all processes once. O(processes)."""
        for child in (*self._supervisor.workers, *self._supervisor.shards):
            if not child.ready or child.link is None:
                self._pulses.pop(child, None)
                continue
            pulse = self._pulses.get(child)
            if pulse is None or pulse.epoch != child.epoch:
                pulse = self._pulses[child] = Pulse(child)
            before = child.health
            child.health = pulse.look(child, self._ticks(child.pid))
            if child.health == "stuck":
                self._stuck(child, pulse)
            elif pulse.told and child.health == "up":
                pulse.told = False
                _log.warning("%s (pid %d) answers again", child.name, child.pid)
            if child.health != before:
                self._supervisor.health_changed.set()

    def _stuck(self, child: Child, pulse: Pulse) -> None:
        limit = self._timeouts()[child.role.value]
        seconds = pulse.missed * LOOK_SECONDS
        if not pulse.told:
            pulse.told = True
            _log.warning(
                "%s (pid %d) is stuck: no answer for %.1f seconds, and it does not run%s",
                child.name,
                child.pid,
                seconds,
                f"; it will be killed after {limit} seconds" if limit else "",
            )
        if limit and seconds >= limit:
            _log.warning("%s (pid %d) is killed, as it is stuck", child.name, child.pid)
            self._supervisor.kill_child(child)
