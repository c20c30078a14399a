"""What workers and shards answer to {"op": "stats"}, and how it is added up.

    shard  -> ShardStats      worker -> WorkerStats

Figures count from the start of the process or the last {"op": "resetstat"}, whichever came
later, except those that are levels (keys, connections, memory). A figure that a process cannot
give may be left out: it counts as 0.

Who counts what, so that nothing is counted twice:
- A command counts once, in the process that executed it (shard, worker for SESSION commands,
  router for ADMIN commands); a command split over shards counts where it was split.
- `rejected` counts where a command was refused before it ran (arity, state, ACL).
- `errors` counts by the first word of the error, in the process that wrote the error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypedDict

CommandFigures = list[int]
"""[calls, microseconds, rejected, failed calls], by full name in lower case ("config|get")."""


class ProcessStats(TypedDict, total=False):
    """What both kinds of processes answer; `actors.figures.process_figures` gives the first."""

    pid: int
    rss: int
    cpu_user: float
    cpu_system: float
    processed: int  # commands
    commands: dict[str, CommandFigures]
    errors: dict[str, int]


class ClientStats(TypedDict, total=False):
    """The figures of the clients of one process: a worker, or a shard with a port of its own."""

    connections: int  # now
    connections_by_kind: dict[str, int]  # of those, "tcp", "tls" and "unix"
    failed_handshakes: int
    total_connections: int
    rejected_connections: int
    input_bytes: int
    output_bytes: int
    reads: int  # system calls that brought bytes
    writes: int
    cycles: int  # turns of the loop
    cycle_us: int  # how long they took, all and the longest
    cycle_us_max: int
    client_bytes: int  # buffers of clients
    denied_auth: int  # failed attempts to authenticate
    query_buffer_bytes_max: int  # the largest of a client's buffers in the last seconds
    output_buffer_bytes_max: int
    paused_clients: int  # whose next command waits for the end of a CLIENT PAUSE
    processed: int  # commands, as in ProcessStats; a shard's own count without these
    commands: dict[str, CommandFigures]
    errors: dict[str, int]


class ShardStats(ProcessStats, total=False):
    """The figures of one shard."""

    used_memory: int
    # By number: keys, keys with a TTL, average TTL in ms, bytes of the tables of both.
    databases: dict[int, list[int]]
    hits: int
    misses: int
    expired: int
    expired_time_cap_reached: int
    expire_cycle_us: int
    cron_us: int  # periodic work
    commands_at_once: int  # the most that were executed between two looks at the links
    changes: int  # writes since the start: nothing is saved yet
    blocked_clients: int  # that wait here
    blocking_keys: int  # for which somebody waits
    blocking_keys_on_nokey: int  # of those, whose removal somebody waits for as well
    startup_memory: int  # used_memory before the first key
    startup_rss: int  # rss before the first key: the interpreter's, mostly
    startup_active: int  # allocator_active before the first key
    allocator_allocated: int  # by malloc, to whomever
    allocator_active: int  # what malloc has from the system
    overhead_memory: int  # of used_memory: not entries
    lazyfree_pending: int
    lazyfreed: int
    expired_stale_percent: float
    clients: ClientStats  # of its own port, in cluster mode


class WorkerStats(ProcessStats, ClientStats, total=False):
    """The figures of one worker."""

    cron_us: int  # periodic work
    blocked_clients: int  # that wait for keys of several shards


def allocator_resident(shards: Iterable[ShardStats | None]) -> int:
    """Memory that the shards have from the system through their allocators, interpreters left out.

    That is what they had at the start, and what they have grown by since.
    """
    return sum(
        max(
            shard.get("allocator_allocated", 0),
            shard.get("startup_active", 0) + shard["rss"] - shard.get("startup_rss", 0),
        )
        for shard in shards
        if shard
    )


Histogram = dict[int, int]
"""Calls by the highest number of nanoseconds that their counter stands for."""


def merged_histograms(answers: Iterable[Any]) -> dict[str, Histogram]:
    """Execution times added up over processes, by command in the order of the names."""
    merged: dict[str, Histogram] = {}
    for answer in answers:
        for name, pairs in (answer or {}).items():
            histogram = merged.setdefault(name, {})
            for nanoseconds, count in pairs:
                histogram[nanoseconds] = histogram.get(nanoseconds, 0) + count
    return dict(sorted(merged.items()))


def percentile(histogram: Histogram, percent: float) -> int:
    """The nanoseconds that so many percent of the calls did not exceed. O(N log N)"""
    left = max(1, int(percent / 100 * sum(histogram.values()) + 0.5))
    for nanoseconds, count in sorted(histogram.items()):
        left -= count
        if left <= 0:
            return nanoseconds
    return 0


def total(answers: Iterable[Any], figure: str) -> int:
    """The sum of one figure; a process without an answer counts as 0."""
    return sum(int(answer.get(figure, 0)) for answer in answers if answer)


def average(answers: Iterable[Any], figure: str) -> float:
    """The mean of one figure over the processes that have it; 0 without any."""
    values = [float(answer[figure]) for answer in answers if answer and figure in answer]
    return sum(values) / len(values) if values else 0.0


def largest(answers: Iterable[Any], figure: str) -> int:
    """The largest of one figure."""
    return max((int(answer.get(figure, 0)) for answer in answers if answer), default=0)


def merged_commands(answers: Iterable[Any]) -> dict[str, CommandFigures]:
    """Command figures added up over processes, in the order of the names."""
    merged: dict[str, CommandFigures] = {}
    for answer in answers:
        for name, figures in (answer or {}).get("commands", {}).items():
            known = merged.setdefault(name, [0, 0, 0, 0])
            for index, figure in enumerate(figures[:4]):
                known[index] += figure
    return dict(sorted(merged.items()))


def merged_errors(answers: Iterable[Any]) -> dict[str, int]:
    """Error counts added up over processes, in the order of the codes."""
    merged: dict[str, int] = {}
    for answer in answers:
        for code, count in (answer or {}).get("errors", {}).items():
            merged[code] = merged.get(code, 0) + count
    return dict(sorted(merged.items()))


class Database(NamedTuple):
    """The figures of one database."""

    keys: int
    expiring: int  # keys with a TTL
    average_ttl_ms: int
    table_bytes: int
    expiring_table_bytes: int


def merged_databases(answers: Iterable[Any]) -> dict[int, Database]:
    """The figures of each database that is not empty, added up over shards, by number.

    Average TTLs are weighted by the keys they are about.
    """
    sums: dict[int, list[int]] = {}
    for answer in answers:
        for number, figures in (answer or {}).get("databases", {}).items():
            keys, expiring, average_ms, *tables = figures
            added = [keys, expiring, expiring * average_ms, *tables]
            known = sums.get(number)
            sums[number] = (
                [sum(pair) for pair in zip(known, added, strict=True)] if known else added
            )
    return {
        number: Database(keys, expiring, weighted // expiring if expiring else 0, *tables)
        for number, (keys, expiring, weighted, *tables) in sorted(sums.items())
        if keys
    }
