"""The scenarios about data types: speed of commands, and memory of each kind of collection."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence
from typing import Any

from bench.macro import load, process
from bench.macro.cases import Case, Fill, wire
from bench.macro.load import Sample
from bench.macro.scenarios import Options, Session, say, session
from bench.macro.servers import Server, ServerFailed, Variant
from bench.macro.targets import BASELINE
from bench.macro.type_cases import DATASETS

SETTLE_SECONDS = 1.5
WARM_UP = Fill("EXISTS key:__rand_int__", 20_000)

Samples = list[dict[str, Any]]
Broken = dict[str, dict[str, str]]


def types_memory(variants: Sequence[Variant], options: Options) -> dict[str, Any]:
    """Growth of RSS and used_memory by each dataset, loaded into a fresh server."""
    rows: dict[str, dict[str, dict[str, float]]] = {variant.name: {} for variant in variants}

    def measure(server: Server, fill: Fill) -> dict[str, float]:
        # Buffers and code that any command touches are no part of the data.
        load.pipeline(server, wire(WARM_UP, WARM_UP.count))
        time.sleep(SETTLE_SECONDS)
        rss, used = process.rss_bytes(server.roots), server.used_memory()
        load.pipeline(server, wire(fill, fill.count))
        time.sleep(SETTLE_SECONDS)
        return {
            "rss": process.rss_bytes(server.roots) - rss,
            "used": server.used_memory() - used,
        }

    with session() as opened:
        for name, fill in DATASETS.items():
            for variant in variants:
                if variant.name in opened.failed:
                    continue
                say(f"{name}: {variant.name}")
                server = opened.start(variant)
                if server is not None:
                    measured = opened.attempt(variant.name, measure, server, fill)
                    if measured is not None:
                        rows[variant.name][name] = measured
                    opened.stop(variant.name)
        failed = dict(opened.failed)
    return {"rows": rows, "failed": failed}


class Comparison:
    """Cases measured on the servers of a session; keeps samples, and what broke where.

    A case that fails on a server is left out there from then on; the server's other cases go on
    unless it died.
    """

    def __init__(self, opened: Session, options: Options) -> None:
        self.opened = opened
        self.options = options
        self.order = random.Random(options.seed)
        self.samples: Samples = []
        self.requests: dict[tuple[str, int], int] = {}
        self.broken: Broken = {}

    def start(self, variants: Sequence[Variant]) -> None:
        for variant in variants:
            self.opened.start(variant)
        if BASELINE not in self.opened.servers:
            raise ServerFailed(f"{BASELINE} is needed to compare with: {self.opened.failed}")

    def load(self, case: Case, *, emptied: bool) -> None:
        """Put the case's data into every server, which is emptied first when asked to."""
        for name, server in list(self.opened.servers.items()):
            try:
                if emptied:
                    load.pipeline(server, wire(Fill("FLUSHALL"), 1))
                load.load_case(server, case)
            except (ServerFailed, OSError) as failure:
                self._broke(name, case, failure)

    def calibrate(self, case: Case, depth: int) -> None:
        """Decide on the number of requests by redis-server, then warm the others up with them."""
        baseline = self.opened.servers.get(BASELINE)
        if baseline is None:
            raise ServerFailed(f"{BASELINE} is gone: {self.opened.failed}")
        try:
            count = load.calibrate_case(baseline, case, depth, self.options.seconds)
        except (ServerFailed, OSError) as failure:
            self._broke(BASELINE, case, failure)
            return
        self.requests[case.name, depth] = count
        for name in list(self.opened.servers):
            if name != BASELINE:
                self._run(name, case, depth, max(count // 10, 2 * load.CLIENTS * depth))

    def round(self, number: int, case: Case, depth: int) -> None:
        """One sample from each server, in an order that the seed decides."""
        count = self.requests.get((case.name, depth))
        if count is None:
            return
        names = list(self.opened.servers)
        self.order.shuffle(names)
        for name in names:
            sample = self._run(name, case, depth, count)
            if sample is not None:
                key = {"row": name, "round": number, "depth": depth, "test": case.name}
                self.samples.append({**key, **sample.as_dict()})

    def _run(self, name: str, case: Case, depth: int, count: int) -> Sample | None:
        server = self.opened.servers.get(name)
        if server is None or case.name in self.broken.get(name, {}):
            return None
        try:
            load.prepare(server, case, depth, count)
            return load.run_case(server, case, depth, count)
        except (ServerFailed, OSError) as failure:
            self._broke(name, case, failure)
            return None

    def _broke(self, name: str, case: Case, failure: Exception) -> None:
        say(f"{name}, {case.name}: {failure}")
        self.broken.setdefault(name, {})[case.name] = str(failure)
        self.opened.attempt(name, self.opened.servers[name].assert_alive)

    def result(self, cases: Sequence[Case]) -> dict[str, Any]:
        counts = self.requests.items()
        return {
            "samples": self.samples,
            "failed": dict(self.opened.failed),
            "broken": self.broken,
            "requests": {f"{name} P={depth}": count for (name, depth), count in counts},
            "commands": {case.name: case.command for case in cases},
        }


def rounds_of_all(
    variants: Sequence[Variant], options: Options, cases: Sequence[Case]
) -> dict[str, Any]:
    """Every round measures every case at every depth: for a few cases that have to be exact.

    The data of all cases is there all the time, so their keys have to differ.
    """
    with session() as opened:
        comparison = Comparison(opened, options)
        comparison.start(variants)
        kinds = list(itertools.product(options.depths, cases))
        loaded: set[tuple[Fill, ...]] = set()
        for case in cases:
            if case.fills not in loaded:
                comparison.load(case, emptied=False)
                loaded.add(case.fills)
        for depth, case in kinds:
            comparison.calibrate(case, depth)
        for number in range(options.rounds):
            begin = time.monotonic()
            for depth, case in kinds:
                comparison.round(number, case, depth)
            took = time.monotonic() - begin
            say(f"round {number + 1} of {options.rounds}: {took:.0f} s")
        return comparison.result(cases)


def case_by_case(
    variants: Sequence[Variant], options: Options, cases: Sequence[Case]
) -> dict[str, Any]:
    """All rounds of one case, then the next on emptied servers: for a survey of many cases."""
    with session() as opened:
        comparison = Comparison(opened, options)
        comparison.start(variants)
        for done, case in enumerate(cases):
            if done % 25 == 0:
                say(f"{done} of {len(cases)} commands")
            comparison.load(case, emptied=True)
            for depth in options.depths:
                comparison.calibrate(case, depth)
                for number in range(options.rounds):
                    comparison.round(number, case, depth)
        return comparison.result(cases)
