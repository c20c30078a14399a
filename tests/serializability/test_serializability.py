"""Strict serializability as clients see it: seconds with every test, minutes in the soak.

`make soak TESTS=tests/serializability ARGS=-s` runs all workloads in turn for SHARDIS_SOAK_SECONDS
(600), while shards and workers are stopped and continued at random and workers are killed.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from tests.serializability.driver import Driver
from tests.serializability.workloads import (
    AllOrNothing,
    Appends,
    CompareAndSet,
    Queues,
    Registers,
    Rings,
    Transfers,
    Workload,
)
from tests.support import processes
from tests.support.servers import Configuration, ServerPool, Shardis

SECONDS = 1.0
SOAK_SECONDS = float(os.environ.get("SHARDIS_SOAK_SECONDS", "600"))
SEED = int(os.environ.get("SHARDIS_SOAK_SEED", "1"))
CLIENTS = 24
DONE_MIN = 50  # transactions in a run that means anything, on however slow a machine
Kind = Callable[..., Workload]
# What clients do, and whether they use MULTI.
CASES: list[tuple[Kind, bool]] = [
    *((kind, False) for kind in (Registers, AllOrNothing, Rings, Queues)),
    *((kind, True) for kind in (Appends, CompareAndSet, Registers, AllOrNothing)),
    *((kind, True) for kind in (Transfers, Rings, Queues)),
]
SHAPES = [(2, 2), (3, 1)]
SOAK_SHAPE = Configuration(shards=3, workers=2)
SOAK_PART_SECONDS = 15.0  # one workload, before the next has its turn
STOPPED_SECONDS_MAX = 0.7
QUIET_SECONDS_MAX = 0.5
KILL_CHANCE = 0.15


def name_of(case: tuple[Kind, bool]) -> str:
    kind, multi = case
    return f"{getattr(kind, '__name__', kind)}-{'multi' if multi else 'single'}"


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"s{shape[0]}w{shape[1]}")
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_nothing_is_torn_lost_or_out_of_order(
    case: tuple[Kind, bool], shape: tuple[int, int], server_pool: ServerPool
) -> None:
    kind, multi = case
    shards, workers = shape
    server = server_pool.get(Configuration(shards=shards, workers=workers))
    workload = kind(shards=shards, seed=SEED, transactions=multi)
    problems = workload.run(Driver(server.port), CLIENTS, SECONDS)
    assert not problems, "\n".join(problems)
    assert workload.done > DONE_MIN


@pytest.mark.usefixtures("ours_only")
def test_without_multi_the_checker_finds_what_is_wrong(server_pool: ServerPool) -> None:
    """The same operations in pipelines: they go to their shards on their own."""
    server = server_pool.get(Configuration(shards=2, workers=2))
    for seed in range(10):
        server.flush()
        workload = Appends(shards=2, seed=seed, transactions=False)
        if workload.run(Driver(server.port), CLIENTS, SECONDS):
            break
    kinds = {problem.partition(":")[0] for problem in workload.problems}
    assert kinds & {"G0", "G1c", "G-single", "G2"}, kinds


# --- The soak -----------------------------------------------------------------------------------


class Troublemaker:
    """Stops and continues processes of a server, and kills its workers, at random."""

    def __init__(self, server: Shardis, seed: int) -> None:
        self.server = server
        self.draw = random.Random(seed)
        self.stopped: dict[int, float] = {}  # pid -> when it goes on
        self.next = time.monotonic()
        self.stops = 0
        self.kills = 0

    def __call__(self) -> None:
        now = time.monotonic()
        for pid, until in list(self.stopped.items()):
            if until <= now:
                del self.stopped[pid]
                self._signal(pid, signal.SIGCONT)
        if now < self.next:
            return
        self.next = now + self.draw.random() * QUIET_SECONDS_MAX
        workers, shards = self._processes("worker"), self._processes("shard")
        if workers and self.draw.random() < KILL_CHANCE:
            self._signal(self.draw.choice(workers), signal.SIGKILL)
            self.kills += 1
            return
        for pid in self.draw.sample(workers + shards, self.draw.randint(1, 2)):
            self._signal(pid, signal.SIGSTOP)
            self.stopped[pid] = now + self.draw.random() * STOPPED_SECONDS_MAX
            self.stops += 1

    def rest(self) -> None:
        """Continue all that is stopped."""
        for pid in self.stopped:
            self._signal(pid, signal.SIGCONT)
        self.stopped.clear()

    def _processes(self, role: str) -> list[int]:
        """By name: INFO would come from processes that may be stopped."""
        found = map(processes.process, self.server.pids())
        return [one.pid for one in found if one and one.name.startswith(f"shardis-{role[0]}")]

    @staticmethod
    def _signal(pid: int, which: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, which)


@pytest.mark.slow
@pytest.mark.usefixtures("ours_only")
def test_soak_with_processes_stopped_and_killed(own_server: Callable[..., Shardis]) -> None:
    server = own_server(shards=SOAK_SHAPE.shards, workers=SOAK_SHAPE.workers)
    trouble = Troublemaker(server, SEED)
    ends = time.monotonic() + SOAK_SECONDS
    turn = 0
    while time.monotonic() < ends:
        kind, multi = CASES[turn % len(CASES)]
        workload = kind(shards=SOAK_SHAPE.shards, seed=SEED + turn, transactions=multi)
        seconds = min(SOAK_PART_SECONDS, SOAK_SECONDS / len(CASES))
        problems = workload.run(
            Driver(server.port), CLIENTS, seconds, each=trouble, rest=trouble.rest
        )
        print(
            f"{name_of((kind, multi))} seed {SEED + turn}: {workload.done} done,"
            f" {workload.lost} lost, {trouble.stops} stops, {trouble.kills} kills"
        )
        assert not problems, "\n".join(problems)
        assert workload.done > DONE_MIN
        server.flush()
        turn += 1
    assert trouble.stops
    assert trouble.kills
