"""User-mode cost of the hot path, in one process: session, dispatcher, executor, over memory links.

    python -m bench.micro.bench_hot_path [pipeline depth]

Prints nanoseconds per command for the worker's half (scan, route, batch; demultiplex, order) and
the shard's half (execute, reply). No kernel, no ZeroMQ: compare with itself, not with a server.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable

from actors.mailbox import MemoryLink
from protocol.table import NativeTable
from router.dispatch import WorkerDispatcher
from router.table import full_table
from shards.commands import native
from shards.execution.executor import Executor
from shards.execution.locks import CHANGES
from shards.execution.runner import Runner
from shards.keyspace.keyspace import Keyspace
from shards.lane.context import Context, Settings
from shards.lane.handler import NativeLane

KEYS = 100_000
COMMANDS = 400_000
CLIENTS = 50


class Host:
    databases = 16

    def __init__(self) -> None:
        self.settings: dict[str, object] = {}

    def closed(self, session: object) -> None:
        """Nothing to do."""


def command(*args: bytes) -> bytes:
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in args)


def main() -> None:
    depth = int(sys.argv[1]) if len(sys.argv) > 1 else 16
    table = NativeTable(full_table())
    dispatcher = WorkerDispatcher(table, 1)
    dispatcher.host = Host()
    dispatcher.set_slots(1, [(0, 16383, 0)])
    keyspace = Keyspace(16, bytes(16), 1)
    lane = NativeLane()
    native.register(lane)
    executor = Executor(Runner(table, keyspace, Context(keyspace, Settings({}), table.table), lane))
    near, far = MemoryLink.pair("main")
    near_bulk, far_bulk = MemoryLink.pair("bulk")
    dispatcher.shard_up(0, 1, near, near_bulk)
    executor.add_links(far, far_bulk)
    sessions = [dispatcher.open_session(number) for number in range(CLIENTS)]
    draw = random.Random(1)
    kinds: dict[str, Callable[[bytes], bytes]] = {
        "SET": lambda key: command(b"SET", key, b"xxx"),
        "GET": lambda key: command(b"GET", key),
        "LOCK": lambda key: command(b"GET", key),  # with another key locked
        "INCR": lambda key: command(b"INCR", b"counter:" + key[4:]),
    }
    for name, make in kinds.items():
        ticket = executor.locks.ticket({b"locked": True}, CHANGES, None)
        if name == "LOCK":
            executor.locks.request(ticket)
        batches = [
            b"".join(make(b"key:%012d" % draw.randrange(KEYS)) for _ in range(depth))
            for _ in range(COMMANDS // depth)
        ]
        best = [1e9, 1e9, 1e9]
        for _ in range(3):
            spent = [0, 0, 0]
            for first in range(0, len(batches) - CLIENTS, CLIENTS):
                t0 = time.perf_counter_ns()
                for session, data in zip(sessions, batches[first : first + CLIENTS], strict=True):
                    session.push(data)
                dispatcher.post()
                t1 = time.perf_counter_ns()
                executor.service()
                t2 = time.perf_counter_ns()
                dispatcher.collect()
                for session in sessions:
                    session.take_output()
                t3 = time.perf_counter_ns()
                spent[0] += t1 - t0
                spent[1] += t2 - t1
                spent[2] += t3 - t2
            count = (len(batches) - CLIENTS) // CLIENTS * CLIENTS * depth
            best = [min(b, s / count) for b, s in zip(best, spent, strict=True)]
        executor.locks.release(ticket)
        print(
            f"{name:5} P={depth}: worker in {best[0]:6.1f}  shard {best[1]:6.1f}  "
            f"worker out {best[2]:6.1f}  total {sum(best):6.1f} ns/command"
        )


if __name__ == "__main__":
    main()
