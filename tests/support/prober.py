"""Measure the latency of PING and GET from a process of its own, until standard input closes.

Run as `python -m tests.support.prober PORT KEY`. The process that moves large values is busy
itself, and would measure its own waiting. Prints one JSON list of seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from tests.support.resp_client import RespClient
from tests.support.servers import ROOT

PAUSE_SECONDS = 0.001


def probe(port: int, key: str) -> list[float]:
    """Latencies of PING and GET in turn, a pause between them; of PING alone without a key."""
    seconds = []
    with RespClient(port, timeout=60.0) as client:
        number = 0
        while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
            started = time.perf_counter()
            client.call(*(("PING",) if number % 2 or not key else ("GET", key)))
            seconds.append(time.perf_counter() - started)
            number += 1
    return seconds


class Latencies(list[float]):
    """Latencies in seconds, filled when the measuring has ended."""

    @property
    def p99(self) -> float:
        return statistics.quantiles(self, n=100)[98]

    def __str__(self) -> str:
        return (
            f"{len(self)} probes: median {statistics.median(self) * 1000:.2f} ms, "
            f"p99 {self.p99 * 1000:.2f} ms, worst {max(self) * 1000:.2f} ms"
        )


@contextlib.contextmanager
def latencies(port: int, key: str = "probe") -> Iterator[Latencies]:
    """Probe a server while the body runs; the list is full after it."""
    found = Latencies()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.prober", str(port), key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        time.sleep(0.3)  # its interpreter starts
        yield found
        output, _ = process.communicate(timeout=60)
        found.extend(json.loads(output))
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    print(json.dumps(probe(int(sys.argv[1]), sys.argv[2])))
