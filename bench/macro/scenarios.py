"""The scenarios: each starts its servers, measures them and returns raw samples."""

from __future__ import annotations

import itertools
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from bench.macro import load, process
from bench.macro.servers import Server, ServerFailed, Variant
from bench.macro.targets import BASELINE

TESTS = ("SET", "GET", "INCR")
MEMORY_VALUE_BYTES = 10
SETTLE_SECONDS = 2.0

Params = ParamSpec("Params")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line decided; stored with every result."""

    rounds: int
    seconds: float  # wanted length of one run on redis-server
    depths: tuple[int, ...]
    seed: int
    keys: int  # redis-benchmark draws from so many
    preload: int  # keys loaded before measuring; 0: none
    memory_keys: int
    starts: int
    idle_seconds: float


def say(text: str) -> None:
    """Progress goes to stderr: stdout is for the table."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Session:
    """The servers of one scenario and which of them have failed. Stops all of them at its end."""

    def __init__(self) -> None:
        self.servers: dict[str, Server] = {}
        self.failed: dict[str, str] = {}

    def attempt(
        self,
        name: str,
        action: Callable[Params, Result],
        *args: Params.args,
        **kwargs: Params.kwargs,
    ) -> Result | None:
        """Run an action of one row; a failure is noted, and the row is left out from then on."""
        try:
            return action(*args, **kwargs)
        except (ServerFailed, OSError, ValueError, KeyError) as failure:
            self.failed[name] = f"{type(failure).__name__}: {failure}"
            say(f"{name} failed: {failure}")
            self.stop(name)
            return None

    def start(self, variant: Variant) -> Server | None:
        server = self.attempt(variant.name, variant.start)
        if server is not None:
            self.servers[variant.name] = server
        return server

    def stop(self, name: str) -> None:
        server = self.servers.pop(name, None)
        if server is not None:
            server.stop()


@contextmanager
def session() -> Iterator[Session]:
    opened = Session()
    try:
        yield opened
    finally:
        for name in list(opened.servers):
            opened.stop(name)


def throughput(variants: Sequence[Variant], options: Options) -> dict[str, Any]:
    """Samples of every row, round, depth and test, interleaved in an order the seed decides."""
    order = random.Random(options.seed)
    samples: list[dict[str, Any]] = []
    requests: dict[tuple[str, int], int] = {}
    with session() as opened:
        for variant in variants:
            server = opened.start(variant)
            if server is not None and options.preload:
                say(f"loading {options.preload:,} keys into {variant.name}")
                opened.attempt(variant.name, load.fill, server, options.preload, load.VALUE_BYTES)
        # One run of each kind that is not counted warms every server up: tables grow, pages are
        # touched. On redis-server it is also the calibration.
        baseline = opened.servers.get(BASELINE)
        if baseline is None:
            raise ServerFailed(f"{BASELINE} is needed to compare with: {opened.failed}")
        kinds = list(itertools.product(options.depths, TESTS))
        for depth, test in kinds:
            requests[test, depth] = load.calibrate(
                baseline, test, depth, options.keys, options.seconds
            )
        for name, server in list(opened.servers.items()):
            for depth, test in kinds:
                if name != BASELINE and name in opened.servers:
                    count = max(10_000, requests[test, depth] // 4)
                    opened.attempt(name, load.run, server, test, depth, count, options.keys)
        for number in range(options.rounds):
            begin = time.monotonic()
            # All servers run one test before the next test comes: what is compared is as close
            # in time as it can, since the speed of a shared machine drifts within seconds.
            for depth, test in kinds:
                names = list(opened.servers)
                order.shuffle(names)
                count = requests[test, depth]
                for name in names:
                    sample = opened.attempt(
                        name, load.run, opened.servers[name], test, depth, count, options.keys
                    )
                    if sample is not None:
                        key = {"row": name, "round": number, "depth": depth, "test": test}
                        samples.append({**key, **sample.as_dict()})
            took = time.monotonic() - begin
            say(f"round {number + 1} of {options.rounds}: {took:.0f} s")
        failed = dict(opened.failed)
    return {
        "samples": samples,
        "failed": failed,
        "requests": {f"{test} P={depth}": count for (test, depth), count in requests.items()},
    }


def memory(variants: Sequence[Variant], options: Options) -> dict[str, Any]:
    """Growth of RSS and of used_memory per key, loading into one fresh server after the other."""
    rows: dict[str, dict[str, float]] = {}

    def measure(server: Server) -> dict[str, float]:
        rss, used = process.rss_bytes(server.roots), server.used_memory()
        load.fill(server, options.memory_keys, MEMORY_VALUE_BYTES)
        time.sleep(SETTLE_SECONDS)
        return {
            "rss_before_bytes": rss,
            "used_before_bytes": used,
            "rss_per_key": (process.rss_bytes(server.roots) - rss) / options.memory_keys,
            "used_per_key": (server.used_memory() - used) / options.memory_keys,
        }

    with session() as opened:
        for variant in variants:
            say(f"loading {options.memory_keys:,} keys into {variant.name}")
            server = opened.start(variant)
            if server is not None:
                row = opened.attempt(variant.name, measure, server)
                if row is not None:
                    rows[variant.name] = row
                opened.stop(variant.name)
        failed = dict(opened.failed)
    return {"rows": rows, "failed": failed}


def startup(variants: Sequence[Variant], options: Options) -> dict[str, Any]:
    """From exec to the first PONG, then CPU while idle and PSS of the last one started."""
    rows: dict[str, dict[str, Any]] = {}

    def idle(server: Server) -> dict[str, float]:
        time.sleep(SETTLE_SECONDS)  # what a server does once after its start is not idling
        before = process.cpu_seconds(server.roots)
        time.sleep(options.idle_seconds)
        server.assert_alive()
        used = process.cpu_seconds(server.roots) - before
        return {
            "idle_cpu_percent": 100 * used / options.idle_seconds,
            "pss_bytes": process.pss_bytes(server.roots),
            "processes": sum(len(process.tree(root)) for root in server.roots),
        }

    with session() as opened:
        for variant in variants:
            times: list[float] = []
            for number in range(options.starts):
                server = opened.start(variant)
                if server is None:
                    break
                times.append(server.ready_seconds)
                if number + 1 < options.starts:
                    opened.stop(variant.name)
            server = opened.servers.get(variant.name)
            if server is not None:
                row = opened.attempt(variant.name, idle, server)
                if row is not None:
                    ready = statistics.median(times)
                    rows[variant.name] = {"ready_seconds": ready, "starts": times, **row}
                opened.stop(variant.name)
        failed = dict(opened.failed)
    return {"rows": rows, "failed": failed}
