"""The load: redis-benchmark runs, and a pipelining loader for big keyspaces."""

from __future__ import annotations

import csv
import socket
import subprocess
from dataclasses import asdict, dataclass

from bench.macro import process
from bench.macro.servers import Server, ServerFailed

CLIENTS = 50
VALUE_BYTES = 3
RUN_SECONDS_MAX = 120.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of redis-benchmark."""

    rps: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # of the server's whole process tree, for one command

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def run(server: Server, test: str, depth: int, requests: int, keys: int) -> Sample:
    """One redis-benchmark run. Raises ServerFailed on error replies, a timeout or a dead server.

    redis-benchmark ends at the first error reply, so no server looks fast by refusing.
    """
    command = [
        *("redis-benchmark", "-h", "127.0.0.1", "-p", str(server.port), "-t", test.lower()),
        *("-c", str(CLIENTS), "-d", str(VALUE_BYTES), "-r", str(keys), "-P", str(depth)),
        *("-n", str(requests), "--csv"),
    ]
    before = process.cpu_seconds(server.roots)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=RUN_SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        raise ServerFailed(f"{test} at P={depth} took over {RUN_SECONDS_MAX:.0f} s") from None
    after = process.cpu_seconds(server.roots)
    server.assert_alive()
    # Warnings may stand before the header.
    lines = [line for line in done.stdout.splitlines() if line.startswith('"')]
    rows = list(csv.DictReader(lines))
    if done.returncode != 0 or "Error from server" in done.stdout + done.stderr or not rows:
        words = " ".join((done.stderr + done.stdout).split())[-200:]
        raise ServerFailed(f"{test} at P={depth}: redis-benchmark says {words!r}")
    return Sample(
        rps=float(rows[-1]["rps"]),
        p50_ms=float(rows[-1]["p50_latency_ms"]),
        p99_ms=float(rows[-1]["p99_latency_ms"]),
        cpu_us=(after - before) * 1e6 / requests,
    )


def calibrate(server: Server, test: str, depth: int, keys: int, seconds: float) -> int:
    """How many requests keep this server busy for about so many seconds."""
    probe = run(server, test, depth, 30_000 if depth == 1 else 200_000, keys)
    requests = max(10_000, int(probe.rps * seconds))
    return int(float(f"{requests:.1e}"))  # two significant digits are easier to read


def fill(server: Server, keys: int, value_bytes: int, batch: int = 1000) -> None:
    """SET `key:%012d` for 0 <= n < keys, in pipelines. Raises ServerFailed on any other reply.

    These are the names redis-benchmark draws from with `-r keys`.
    """
    head = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:"
    tail = b"\r\n$%d\r\n%s\r\n" % (value_bytes, b"x" * value_bytes)
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.settimeout(RUN_SECONDS_MAX)
        replies = connection.makefile("rb")
        for first in range(0, keys, batch):
            count = min(batch, keys - first)
            connection.sendall(
                b"".join(b"%s%012d%s" % (head, n, tail) for n in range(first, first + count))
            )
            answer = replies.read(5 * count)
            if answer != b"+OK\r\n" * count:
                raise ServerFailed(f"SET answered {answer[:80]!r}")
