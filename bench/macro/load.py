"""The load: redis-benchmark runs, and a pipelining loader for big keyspaces."""

from __future__ import annotations

import csv
import socket
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import BinaryIO

from bench.macro import process
from bench.macro.cases import Case, wire
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
    """One of redis-benchmark's own tests. Raises ServerFailed as `benchmark` does."""
    own = ["-t", test.lower(), "-d", str(VALUE_BYTES)]
    return benchmark(server, f"{test} at P={depth}", [], own, depth, requests, keys)


def run_case(server: Server, case: Case, depth: int, requests: int) -> Sample:
    """One run of a case, whose data is in place. Raises ServerFailed as `benchmark` does."""
    span = max(1, case.needed(requests, CLIENTS * depth) or case.span)
    words = case.command.split()
    name = f"{case.name} at P={depth}"
    return benchmark(server, name, words, [], depth, requests, span)


def benchmark(
    server: Server,
    name: str,
    words: Sequence[str],
    own: Sequence[str],
    depth: int,
    requests: int,
    span: int,
) -> Sample:
    """One redis-benchmark run. Raises ServerFailed on error replies, a timeout or a dead server.

    redis-benchmark ends at the first error reply, so no server looks fast by refusing.
    """
    command = [
        *("redis-benchmark", "-h", "127.0.0.1", "-p", str(server.port), *own),
        *("-c", str(CLIENTS), "-r", str(span), "-P", str(depth)),
        *("-n", str(requests), "--csv", *words),
    ]
    before = process.cpu_seconds(server.roots)
    try:
        done = subprocess.run(command, capture_output=True, timeout=RUN_SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        raise ServerFailed(f"{name} took over {RUN_SECONDS_MAX:.0f} s") from None
    after = process.cpu_seconds(server.roots)
    server.assert_alive()
    # Warnings may be before the header.
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    header, *rows = [line for line in out.splitlines() if line.startswith('"')] or [""]
    if done.returncode != 0 or "Error from server" in out + err or not rows:
        said = " ".join((err + out).split())[-200:]
        raise ServerFailed(f"{name}: redis-benchmark says {said!r}")
    # The first column is the command itself, quotes and all, unescaped: only what follows is read.
    fields = next(csv.reader([header]))[1:]
    values = next(csv.reader([rows[-1]]))[-len(fields) :]
    row = dict(zip(fields, values, strict=True))
    return Sample(
        rps=float(row["rps"]),
        p50_ms=float(row["p50_latency_ms"]),
        p99_ms=float(row["p99_latency_ms"]),
        cpu_us=(after - before) * 1e6 / requests,
    )


def calibrate(server: Server, test: str, depth: int, keys: int, seconds: float) -> int:
    """How many requests keep this server busy for about so many seconds."""
    probe = run(server, test, depth, 30_000 if depth == 1 else 200_000, keys)
    requests = max(10_000, int(probe.rps * seconds))
    return int(float(f"{requests:.1e}"))  # two significant digits are easier to read


def calibrate_case(server: Server, case: Case, depth: int, seconds: float) -> int:
    """How many requests of a case keep this server busy for about so many seconds.

    Commands differ a thousandfold, so a short probe sizes a longer one. Its runs also warm up.
    """
    requests = 2 * CLIENTS * depth
    for wanted in (seconds / 8, seconds):
        prepare(server, case, depth, requests)
        probe = run_case(server, case, depth, requests)
        requests = max(2 * CLIENTS * depth, int(probe.rps * wanted))
    return int(float(f"{requests:.1e}"))


def prepare(server: Server, case: Case, depth: int, requests: int) -> None:
    """Renew what a run of the case takes away."""
    needed = case.needed(requests, CLIENTS * depth)
    if needed:
        pipeline(server, (part for fill in case.fills for part in wire(fill, fill.count or needed)))


def load_case(server: Server, case: Case) -> None:
    """Put the case's lasting data in place. A case that drains is filled before each run."""
    if not case.drain:
        pipeline(server, (part for fill in case.fills for part in wire(fill, fill.count)))


def pipeline(server: Server, chunks: Iterable[tuple[bytes, int]]) -> None:
    """Send each chunk and read its replies. Raises ServerFailed on an error reply."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.settimeout(RUN_SECONDS_MAX)
        replies = connection.makefile("rb")
        for request, count in chunks:
            connection.sendall(request)
            skip_replies(replies, count)


def skip_replies(replies: BinaryIO, count: int) -> None:
    """Read so many RESP2 replies and forget them. Raises ServerFailed on an error."""
    while count:
        line = replies.readline()
        count -= 1
        kind = line[:1]
        if kind == b"$":
            size = int(line[1:])
            if size >= 0:
                replies.read(size + 2)
        elif kind == b"*":
            count += max(0, int(line[1:]))
        elif kind not in (b"+", b":"):
            raise ServerFailed(f"an answer to the preload is {line[:80]!r}")


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
