"""Transactions and blocking commands, interleaved with redis-server: throughput and wake-ups.

Two scenarios. `transactions` measures rates, in rounds as `throughput` does. `blocked` makes ten
thousand clients wait on a thousand keys: what one of them costs, how long a push takes to wake the
right one, and whether a million timeouts leave anything.
"""

from __future__ import annotations

import random
import socket
import statistics
import time
from binascii import crc_hqx
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.macro import process
from bench.macro.cases import encode
from bench.macro.fixed_load import Connection, Load, connected
from bench.macro.scenarios import Options, say, session
from bench.macro.servers import Server, ServerFailed, Variant, exchange
from bench.macro.targets import BASELINE, TRANSACTIONS
from bench.macro.throughput import table


def upper_half(key: str) -> bool:
    """Whether a key without a tag is in the second of two shards."""
    return crc_hqx(key.encode(), 0) % 16384 >= 8192


CLIENTS = 50
WARM_SECONDS = 0.3
BLOCKED_CLIENTS = 10_000
BLOCKED_KEYS = 1_000
WAKES = 2_000
TIMEOUTS = 1_000_000
EXPIRING_CLIENTS = 500
SETTLE_SECONDS = 1.5
KEYS = 10_000  # to draw from
# Counters of the lower and of the upper half of the slots.
HALVES = tuple(
    [key for key in (f"counter{number}" for number in range(KEYS)) if upper_half(key) is upper]
    for upper in (False, True)
)


def words(text: str) -> bytes:
    return encode(text.encode().split())


@dataclass(frozen=True, slots=True)
class Rate:
    """A case whose figure is a rate: what each of its clients sends, and how often that counts."""

    name: str
    make: Callable[[list[socket.socket]], list[Connection]]
    clients: int = CLIENTS
    counts: int = 1  # transactions in one request


def drawn(
    request: Callable[[random.Random], bytes], lines: int, times: int
) -> Callable[[list[socket.socket]], list[Connection]]:
    """Each client sends a pipeline of its own, of so many requests over keys drawn once."""

    def make(sockets: list[socket.socket]) -> list[Connection]:
        draw = random.Random(1)
        return [
            Connection(one, b"".join(request(draw) for _ in range(times)), lines * times)
            for one in sockets
        ]

    return make


def increments(keys: Sequence[str]) -> bytes:
    inside = b"".join(words(f"INCR {key}") for key in keys)
    return words("MULTI") + inside + words("EXEC")


def in_one_shard(draw: random.Random) -> bytes:
    """Four counters with one tag."""
    tag = draw.randrange(KEYS)
    return increments([f"{{t{tag}}}{number}" for number in range(4)])


def in_two_shards(draw: random.Random) -> bytes:
    """Two counters of each half of the slots."""
    return increments([draw.choice(HALVES[number % 2]) for number in range(4)])


def pairs(sockets: list[socket.socket], timeout: int = 0) -> list[Connection]:
    """Each pair has one ball: who gets it pushes it to the other's list and waits at its own."""
    made = []
    for number, (left, right) in enumerate(zip(sockets[::2], sockets[1::2], strict=True)):
        there, back = (words(f"RPUSH {name}{number} x") for name in ("there", "back"))
        at_there, at_back = (words(f"BLPOP {name}{number} {timeout}") for name in ("there", "back"))
        one = Connection(left, there + at_back, 6)
        other = Connection(right, back + at_there, 6)
        other.send(at_there, 5)
        made += [one, other]
    return made


def queue(sockets: list[socket.socket]) -> list[Connection]:
    """Half of them push to a list, the others pop from it; each push and each pop counts."""
    half = len(sockets) // 2
    made = [Connection(one, words("BLPOP jobs 0"), 5) for one in sockets[:half]]
    return made + [Connection(one, words("RPUSH jobs job"), 1) for one in sockets[half:]]


EXEC_LINES = 1 + 4 + 1 + 4
RATES = [
    Rate("EXEC of 4 INCR (one shard) P=1", drawn(in_one_shard, EXEC_LINES, 1)),
    Rate("EXEC of 4 INCR (one shard) P=16", drawn(in_one_shard, EXEC_LINES, 16), counts=16),
    Rate("EXEC of 4 INCR (two shards) P=1", drawn(in_two_shards, EXEC_LINES, 1)),
    Rate("EXEC of 4 INCR (two shards) P=16", drawn(in_two_shards, EXEC_LINES, 16), counts=16),
    Rate("BLPOP/RPUSH in 50 pairs", pairs, 2 * CLIENTS),
    Rate("queue of 10 + 10", queue, 20),
]


def measure_rate(server: Server, rate: Rate, seconds: float) -> dict[str, float]:
    """Rate per second and processor time of the server's processes for one. Raises ServerFailed."""
    exchange(server.port, words("FLUSHALL"))
    with connected(server, rate.clients) as sockets:
        load = Load(rate.make(sockets))
        load.run(WARM_SECONDS)
        before = process.cpu_seconds(server.roots)
        answers, took = load.run(seconds)
        used = process.cpu_seconds(server.roots) - before
        load.close()
    server.assert_alive()
    done = answers * rate.counts
    return {"rate": done / took, "cpu_us": used * 1e6 / max(done, 1)}


def transactions(
    variants: Sequence[Variant], options: Options, rates: Sequence[Rate]
) -> dict[str, Any]:
    """Samples of every row, round and case, interleaved in an order the seed decides."""
    order = random.Random(options.seed)
    samples: list[dict[str, Any]] = []
    with session() as opened:
        for variant in variants:
            opened.start(variant)
        for number in range(options.rounds):
            for rate in rates:
                names = list(opened.servers)
                order.shuffle(names)
                for name in names:
                    server = opened.servers[name]
                    sample = opened.attempt(name, measure_rate, server, rate, options.seconds)
                    if sample is not None:
                        key = {"row": name, "round": number, "case": rate.name}
                        samples.append({**key, **sample})
            say(f"round {number + 1} of {options.rounds}")
        failed = dict(opened.failed)
    return {"samples": samples, "failed": failed}


# --- Ten thousand that wait ---------------------------------------------------------------------


def figures(server: Server, section: str) -> dict[str, str]:
    """The fields of a section of INFO."""
    text = exchange(server.port, words(f"INFO {section}")).decode(errors="replace")
    return dict(line.partition(":")[::2] for line in text.splitlines() if ":" in line)


def wait_blocked(server: Server, count: int) -> None:
    deadline = time.monotonic() + 60
    while int(figures(server, "clients")["blocked_clients"]) != count:
        if time.monotonic() > deadline:
            raise ServerFailed(f"not {count} clients are blocked")
        time.sleep(0.02)


@contextmanager
def quiet_load(connections: list[Connection]) -> Iterator[Load]:
    load = Load(connections)
    try:
        yield load
    finally:
        load.close()


def measure_blocked(server: Server, seed: int) -> dict[str, float]:
    """Memory of a blocked client beyond an idle one, wake-ups, and what timeouts leave."""
    draw = random.Random(seed)
    exchange(server.port, words(f"CONFIG SET maxclients {BLOCKED_CLIENTS + 100}"))
    with connected(server, BLOCKED_CLIENTS + 1) as sockets:
        pusher, *waiting = sockets
        clients = [
            Connection(one, words(f"BLPOP wait{number % BLOCKED_KEYS} 0"), 5)
            for number, one in enumerate(waiting)
        ]
        for client in clients:  # all have sent something, as idle clients of a server have
            client.send(words("PING"), 1)
        with quiet_load(clients) as load:
            while any(client.left for client in clients):
                load.turn(10.0)
            time.sleep(SETTLE_SECONDS)
            idle = process.rss_bytes(server.roots)
            for client in clients:
                client.send()
            wait_blocked(server, BLOCKED_CLIENTS)
            time.sleep(SETTLE_SECONDS)
            blocked = process.rss_bytes(server.roots)
            wakes = measure_wakes(load, clients, pusher, draw)
        clients_left = expire(server, waiting)
    time.sleep(SETTLE_SECONDS)
    return {
        "bytes_per_client": (blocked - idle) / BLOCKED_CLIENTS,
        "wake_p50_ms": statistics.median(wakes) * 1e3,
        "wake_p99_ms": sorted(wakes)[int(len(wakes) * 0.99)] * 1e3,
        **clients_left,
    }


def measure_wakes(
    load: Load, clients: list[Connection], pusher: socket.socket, draw: random.Random
) -> list[float]:
    """Seconds from a push to the pop of the one that has waited longest at this key."""
    waiting: dict[int, list[Connection]] = {key: [] for key in range(BLOCKED_KEYS)}
    for number, client in enumerate(clients):
        waiting[number % BLOCKED_KEYS].append(client)
    waits = []
    for _ in range(WAKES):
        key = draw.randrange(BLOCKED_KEYS)
        client = waiting[key].pop(0)
        began = time.perf_counter()
        pusher.sendall(words(f"RPUSH wait{key} x"))
        woken: list[Connection] = []
        while not woken:
            woken = load.turn(10.0)
            if not woken and time.perf_counter() - began > 10:
                raise ServerFailed("a push wakes nobody")
        waits.append(time.perf_counter() - began)
        if woken != [client]:
            raise ServerFailed("a push wakes another one than who has waited longest")
        pusher.recv(64)
        client.send()
        waiting[key].append(client)
    return waits


def expire(server: Server, sockets: list[socket.socket]) -> dict[str, float]:
    """A million timeouts: some come to their end, the others are dropped as a push serves."""
    for one in sockets:
        one.close()
    wait_blocked(server, 0)
    ending = words("BLPOP nothing 0.001")
    made = 0
    rss = memory = 0.0
    began = time.perf_counter()
    with connected(server, EXPIRING_CLIENTS + 2 * CLIENTS) as few:
        clients = [Connection(one, ending * 10, 10) for one in few[:EXPIRING_CLIENTS]]
        served = pairs(few[EXPIRING_CLIENTS:], timeout=100)
        counts = {id(one): 10 for one in clients}
        with quiet_load(clients + served) as load:
            for client in (*clients, *served[::2]):
                client.send()
            while made < TIMEOUTS:
                for client in load.turn(10.0):
                    made += counts.get(id(client), 1)
                    client.send()
                if not rss and made > TIMEOUTS // 10:
                    # What the first tenth needs at the same time is no leak.
                    rss = process.rss_bytes(server.roots)
                    memory = float(figures(server, "memory")["used_memory"])
        took = time.perf_counter() - began
    wait_blocked(server, 0)
    time.sleep(SETTLE_SECONDS)
    return {
        "timeouts_seconds": took,
        "timeouts_rss_growth": process.rss_bytes(server.roots) - rss,
        "timeouts_used_memory_growth": float(figures(server, "memory")["used_memory"]) - memory,
    }


def blocked(variants: Sequence[Variant], options: Options) -> dict[str, Any]:
    """Each row once: the others are away meanwhile, as it is latencies that count."""
    rows: dict[str, dict[str, float]] = {}
    with session() as opened:
        for variant in variants:
            say(f"{BLOCKED_CLIENTS:,} clients wait at {variant.name}")
            server = opened.start(variant)
            if server is not None:
                row = opened.attempt(variant.name, measure_blocked, server, options.seed)
                if row is not None:
                    rows[variant.name] = row
                opened.stop(variant.name)
        failed = dict(opened.failed)
    return {"rows": rows, "failed": failed}


# --- Tables -------------------------------------------------------------------------------------


def render_transactions(result: dict[str, Any]) -> str:
    """Rates, ratios within rounds, and verdicts."""
    found = {(s["row"], s["case"], s["round"]): s for s in result["samples"]}
    rounds = sorted({s["round"] for s in result["samples"]})
    lines: list[list[str]] = []
    verdicts: list[str] = []
    for name in dict.fromkeys(s["case"] for s in result["samples"]):
        cells = [name]
        for row in result["rows"]:
            own = [found[row, name, n] for n in rounds if (row, name, n) in found]
            both = [
                found[row, name, n]["rate"] / found[BASELINE, name, n]["rate"]
                for n in rounds
                if (row, name, n) in found and (BASELINE, name, n) in found
            ]
            if not own or not both:
                cells.append("failed")
                continue
            per_second = statistics.median(sample["rate"] for sample in own) / 1e3
            cpu = statistics.median(sample["cpu_us"] for sample in own)
            ratio = statistics.median(both)
            cells.append(f"{per_second:,.1f} ({ratio:.2f}), {cpu:.1f} us")
            goal = TRANSACTIONS.get((row, name))
            if goal is not None:
                verdicts.append(
                    f"- {row}, {name}: {ratio:.2f} of redis-server (must {goal.must:.2f}, "
                    f"target {goal.target:.2f}): **{goal.verdict(ratio)}**"
                )
        lines.append(cells)
    header = ["k/s (ratio), CPU each", *result["rows"]]
    return table(header, lines) + "\n\n" + "\n".join(verdicts)


def render_blocked(result: dict[str, Any]) -> str:
    names = {
        "bytes_per_client": "bytes of a blocked client beyond an idle one",
        "wake_p50_ms": "push to pop, p50 ms",
        "wake_p99_ms": "push to pop, p99 ms",
        "timeouts_seconds": "seconds for a million timeouts",
        "timeouts_rss_growth": "RSS growth by them, bytes",
        "timeouts_used_memory_growth": "used_memory growth by them, bytes",
    }
    rows = [
        [
            text,
            *(
                f"{result['measured'][row][name]:,.2f}" if row in result["measured"] else "failed"
                for row in result["rows"]
            ),
        ]
        for name, text in names.items()
    ]
    return table(["", *result["rows"]], rows)
