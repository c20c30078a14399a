"""INFO: the figures of the server, added up over its processes, in Redis's format.

Every section is a function from `Figures`; SECTIONS has their names and order. Only fields that
already mean something here are printed: a tool that looks for another finds it missing, which is
better than a wrong number.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import platform
import re
import resource
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from actors.container import memory_bytes
from actors.figures import resident_bytes
from protocol.commands import F, Place, Request, Response, command
from protocol.version import REDIS_VERSION, SHARDIS_VERSION
from router import listeners
from router.commands.latency import command_histograms
from router.stats import (
    Histogram,
    allocator_resident,
    average,
    largest,
    merged_commands,
    merged_databases,
    merged_errors,
    percentile,
    total,
)

if TYPE_CHECKING:
    from protocol.reply import Reply
    from router.admin import Admin, Caller

DAY_SECONDS: Final = 86400
BUILD_ID: Final = hashlib.sha1(SHARDIS_VERSION.encode()).hexdigest()[:16]
NO_REPLICATION_ID: Final = "0" * 40
Fields = list[tuple[str, Any]]


@dataclass(slots=True)
class Figures:
    """What the sections are made from: one question to each process, for all sections."""

    admin: Admin
    workers: list[Any]  # WorkerStats, or None: no answer
    shards: list[Any]  # ShardStats, or None
    histograms: dict[str, Histogram]  # by command; empty unless latencystats was asked for
    node: int | None = None  # asked at this shard's own port: the figures of that node alone
    clients: list[Any] = field(init=False)  # ClientStats of workers and of shards' ports

    def __post_init__(self) -> None:
        if self.node is not None:
            self.workers, self.shards = [], self.shards[self.node : self.node + 1]
        ports = [shard["clients"] for shard in self.shards if shard and "clients" in shard]
        self.clients = [*self.workers, *ports]

    @property
    def processes(self) -> list[Any]:
        if self.node is not None:
            return [*self.clients, *self.shards]
        own = {"commands": self.admin.commands, "errors": self.admin.errors}
        return [*self.clients, *self.shards, own]

    @property
    def process_id(self) -> int:
        return os.getpid() if self.node is None else self.admin.supervisor.shards[self.node].pid

    @property
    def used_memory(self) -> int:
        """What the shards say now; for one that doesn't answer, what it said to the page last."""
        page = self.admin.supervisor.plan.page
        return sum(
            shard["used_memory"] if shard else page.shard(number, "used_memory")
            for number, shard in enumerate(self.shards, self.node or 0)
        )


def human(size: int) -> str:
    """A size as INFO's *_human fields have it."""
    if size < 1024:
        return f"{size}B"
    value = float(size)
    for unit in "KMGTP":
        value /= 1024
        if value < 1024 or unit == "P":
            return f"{value:.2f}{unit}"
    raise AssertionError("unreachable")


def safe(text: str) -> str:
    """A name without the characters that have a meaning in INFO."""
    return text.translate(str.maketrans("#:\n\r", "____"))


def cpu_seconds(figure: dict[str, Any]) -> str:
    """The processor time of one process since its start, as its line in INFO has it."""
    return f"{figure.get('cpu_user', 0.0) + figure.get('cpu_system', 0.0):.6f}"


def server(figures: Figures) -> Fields:
    admin = figures.admin
    config, now = admin.config, time.time()
    own = listeners.of_node(config.values, figures.node)
    system = os.uname()
    uptime = int(now - admin.started)
    return [
        ("redis_version", REDIS_VERSION),
        ("redis_git_sha1", "00000000"),
        ("redis_git_dirty", 0),
        ("redis_build_id", BUILD_ID),
        ("redis_mode", "standalone" if figures.node is None else "cluster"),
        ("shardis_version", SHARDIS_VERSION),
        ("os", f"{system.sysname} {system.release} {system.machine}"),
        ("arch_bits", struct.calcsize("P") * 8),
        ("monotonic_clock", "X86 TSC" if system.machine == "x86_64" else "ARM CNTVCT"),
        ("multiplexing_api", "epoll"),
        ("atomicvar_api", "c11-builtin"),
        (
            "gcc_version",
            "".join(re.findall(r"GCC ([0-9.]+)", platform.python_compiler())) or "0.0.0",
        ),
        ("python_version", ".".join(map(str, sys.version_info[:3]))),
        ("process_id", figures.process_id),
        ("process_supervised", "no"),
        ("run_id", admin.supervisor.plan.run_id),
        ("tcp_port", own["port"] or own["tls-port"]),
        ("server_time_usec", int(now * 1e6)),
        ("uptime_in_seconds", uptime),
        ("uptime_in_days", uptime // DAY_SECONDS),
        ("hz", config["hz"]),
        ("configured_hz", config["hz"]),
        ("lru_clock", int(now) & ((1 << 24) - 1)),
        ("executable", os.path.abspath(sys.argv[0])),
        ("config_file", config.file),
        ("io_threads_active", 0),
        *((f"listener{index}", text) for index, text in enumerate(listeners.fields(own))),
    ]


def clients(figures: Figures) -> Fields:
    return [
        ("connected_clients", total(figures.clients, "connections")),
        ("cluster_connections", 0),
        ("maxclients", figures.admin.config["maxclients"]),
        ("client_recent_max_input_buffer", largest(figures.clients, "query_buffer_bytes_max")),
        ("client_recent_max_output_buffer", largest(figures.clients, "output_buffer_bytes_max")),
        (
            "blocked_clients",
            total(figures.shards, "blocked_clients")
            + total(figures.workers, "blocked_clients")
            + total(figures.clients, "paused_clients"),
        ),
        ("tracking_clients", 0),
        ("clients_in_timeout_table", 0),
        ("total_blocking_keys", total(figures.shards, "blocking_keys")),
        ("total_blocking_keys_on_nokey", total(figures.shards, "blocking_keys_on_nokey")),
    ]


def memory(figures: Figures) -> Fields:
    admin = figures.admin
    used = figures.used_memory
    shard_resident = total(figures.shards, "rss")
    resident = total(figures.workers, "rss") + shard_resident
    data = allocator_resident(figures.shards)
    allocated = total(figures.shards, "allocator_allocated")
    active = total(figures.shards, "allocator_active")
    startup = total(figures.shards, "startup_memory")
    overhead = total(figures.shards, "overhead_memory")
    peak = used  # a node keeps no peak of its own
    if figures.node is None:
        resident += resident_bytes(os.getpid())
        peak = admin.peak_memory = max(admin.peak_memory, used)
    installed = memory_bytes()
    limit = admin.config["maxmemory"]
    return [
        ("used_memory", used),
        ("used_memory_human", human(used)),
        ("used_memory_rss", resident),
        ("used_memory_rss_human", human(resident)),
        ("used_memory_peak", peak),
        ("used_memory_peak_human", human(peak)),
        ("used_memory_peak_perc", f"{used * 100 / peak if peak else 0:.2f}%"),
        ("used_memory_overhead", overhead),
        ("used_memory_startup", startup),
        ("used_memory_dataset", max(used - overhead, 0)),
        (
            "used_memory_dataset_perc",
            f"{max(used - overhead, 0) * 100 / max(used - startup, 1):.2f}%",
        ),
        ("allocator_allocated", allocated),
        ("allocator_active", active),
        ("allocator_resident", active),
        ("total_system_memory", installed),
        ("total_system_memory_human", human(installed)),
        # No scripts and functions yet: there is nothing that could take memory.
        ("used_memory_lua", 0),
        ("used_memory_vm_eval", 0),
        ("used_memory_lua_human", human(0)),
        ("used_memory_scripts_eval", 0),
        ("number_of_cached_scripts", 0),
        ("number_of_functions", 0),
        ("number_of_libraries", 0),
        ("used_memory_vm_functions", 0),
        ("used_memory_vm_total", 0),
        ("used_memory_vm_total_human", human(0)),
        ("used_memory_functions", 0),
        ("used_memory_scripts", 0),
        ("used_memory_scripts_human", human(0)),
        ("maxmemory", limit),
        ("maxmemory_human", human(limit)),
        ("maxmemory_policy", admin.config["maxmemory-policy"]),
        ("allocator_frag_ratio", f"{active / max(allocated, 1):.2f}"),
        ("allocator_frag_bytes", active - allocated),
        ("allocator_rss_ratio", "1.00"),
        ("allocator_rss_bytes", 0),
        ("rss_overhead_ratio", f"{resident / max(shard_resident, 1):.2f}"),
        ("rss_overhead_bytes", resident - shard_resident),
        # Of the allocators that hold the data: interpreters would drown it on small servers.
        ("mem_fragmentation_ratio", f"{data / max(allocated, 1):.2f}"),
        ("mem_fragmentation_bytes", data - allocated),
        ("mem_not_counted_for_evict", 0),
        ("mem_replication_backlog", 0),
        ("mem_total_replication_buffers", 0),
        ("mem_clients_slaves", 0),
        ("mem_clients_normal", total(figures.clients, "client_bytes")),
        ("mem_cluster_links", 0),
        ("mem_aof_buffer", 0),
        ("mem_allocator", "libc"),
        ("active_defrag_running", 0),
        ("lazyfree_pending_objects", total(figures.shards, "lazyfree_pending")),
        ("lazyfreed_objects", total(figures.shards, "lazyfreed")),
    ]


def persistence(figures: Figures) -> Fields:
    loading = any(not shard.ready for shard in figures.admin.supervisor.shards)
    return [
        ("loading", int(loading)),
        ("async_loading", 0),
        # Snapshots do not fork: no page is ever copied on write.
        ("current_cow_peak", 0),
        ("current_cow_size", 0),
        ("current_cow_size_age", 0),
        ("current_fork_perc", "0.00"),
        ("current_save_keys_processed", 0),
        ("current_save_keys_total", 0),
        ("rdb_changes_since_last_save", total(figures.shards, "changes")),
        ("rdb_bgsave_in_progress", 0),
        ("rdb_last_save_time", int(figures.admin.started)),
        ("rdb_last_bgsave_status", "ok"),
        ("rdb_last_bgsave_time_sec", -1),
        ("rdb_current_bgsave_time_sec", -1),
        ("rdb_saves", 0),
        ("rdb_last_cow_size", 0),
        ("rdb_last_load_keys_expired", 0),
        ("rdb_last_load_keys_loaded", 0),
        ("aof_enabled", 0),
        ("aof_rewrite_in_progress", 0),
        ("aof_rewrite_scheduled", 0),
        ("aof_last_rewrite_time_sec", -1),
        ("aof_current_rewrite_time_sec", -1),
        ("aof_last_bgrewrite_status", "ok"),
        ("aof_rewrites", 0),
        ("aof_rewrites_consecutive_failures", 0),
        ("aof_last_write_status", "ok"),
        ("aof_last_cow_size", 0),
        ("module_fork_in_progress", 0),
        ("module_fork_last_cow_size", 0),
    ]


def stats(figures: Figures) -> Fields:
    shards, rates = figures.shards, figures.admin.rates
    if figures.node is not None:
        rates = figures.admin.node_rates[figures.node]
    own = 0
    if figures.node is None:
        own = sum(calls for calls, *_ in figures.admin.commands.values())
    command_us = sum(us for _, us, *_ in merged_commands(figures.processes).values())
    return [
        ("total_connections_received", total(figures.clients, "total_connections")),
        ("total_commands_processed", total([*figures.clients, *shards], "processed") + own),
        ("instantaneous_ops_per_sec", round(rates["commands"])),
        ("total_net_input_bytes", total(figures.clients, "input_bytes")),
        ("total_net_output_bytes", total(figures.clients, "output_bytes")),
        ("total_net_repl_input_bytes", 0),
        ("total_net_repl_output_bytes", 0),
        ("instantaneous_input_kbps", f"{rates['input_bytes'] / 1024:.2f}"),
        ("instantaneous_output_kbps", f"{rates['output_bytes'] / 1024:.2f}"),
        ("instantaneous_input_repl_kbps", "0.00"),
        ("instantaneous_output_repl_kbps", "0.00"),
        ("rejected_connections", total(figures.clients, "rejected_connections")),
        ("sync_full", 0),
        ("sync_partial_ok", 0),
        ("sync_partial_err", 0),
        ("expired_keys", total(shards, "expired")),
        ("expired_stale_perc", f"{average(shards, 'expired_stale_percent'):.2f}"),
        ("expired_time_cap_reached_count", total(shards, "expired_time_cap_reached")),
        ("expire_cycle_cpu_milliseconds", total(shards, "expire_cycle_us") // 1000),
        ("evicted_keys", 0),
        ("evicted_clients", 0),
        ("total_eviction_exceeded_time", 0),
        ("current_eviction_exceeded_time", 0),
        ("keyspace_hits", total(shards, "hits")),
        ("keyspace_misses", total(shards, "misses")),
        ("pubsub_channels", 0),
        ("pubsub_patterns", 0),
        ("pubsubshard_channels", 0),
        ("latest_fork_usec", 0),
        ("total_forks", 0),
        ("migrate_cached_sockets", 0),
        ("slave_expires_tracked_keys", 0),
        ("active_defrag_hits", 0),
        ("active_defrag_misses", 0),
        ("active_defrag_key_hits", 0),
        ("active_defrag_key_misses", 0),
        ("total_active_defrag_time", 0),
        ("current_active_defrag_time", 0),
        ("tracking_total_keys", 0),
        ("tracking_total_items", 0),
        ("tracking_total_prefixes", 0),
        ("unexpected_error_replies", 0),
        ("total_error_replies", sum(merged_errors(figures.processes).values())),
        ("dump_payload_sanitizations", 0),
        ("total_reads_processed", total(figures.clients, "reads")),
        ("total_writes_processed", total(figures.clients, "writes")),
        ("io_threaded_reads_processed", 0),
        ("io_threaded_writes_processed", 0),
        ("reply_buffer_shrinks", 0),  # they have no fixed part that could be resized
        ("reply_buffer_expands", 0),
        ("acl_access_denied_auth", total(figures.clients, "denied_auth")),
        ("acl_access_denied_cmd", 0),
        ("acl_access_denied_key", 0),
        ("acl_access_denied_channel", 0),
        # The event loops that clients are served by: those of workers and of shards with a port.
        ("eventloop_cycles", total(figures.clients, "cycles")),
        ("eventloop_duration_sum", total(figures.clients, "cycle_us")),
        ("eventloop_duration_cmd_sum", command_us),
        ("instantaneous_eventloop_cycles_per_sec", round(rates["cycles"])),
        (
            "instantaneous_eventloop_duration_usec",
            round(rates["cycle_us"] / rates["cycles"]) if rates["cycles"] else 0,
        ),
    ]


def replication(figures: Figures) -> Fields:
    return [
        ("role", "master"),
        ("connected_slaves", 0),
        ("master_failover_state", "no-failover"),
        ("master_replid", figures.admin.replication_id),
        ("master_replid2", NO_REPLICATION_ID),
        ("master_repl_offset", 0),
        ("second_repl_offset", -1),
        ("repl_backlog_active", 0),
        ("repl_backlog_size", figures.admin.config["repl-backlog-size"]),
        ("repl_backlog_first_byte_offset", 0),
        ("repl_backlog_histlen", 0),
    ]


def cpu(figures: Figures) -> Fields:
    own = resource.getrusage(resource.RUSAGE_SELF)
    processes = [answer for answer in (*figures.workers, *figures.shards) if answer]
    system = sum(answer.get("cpu_system", 0.0) for answer in processes)
    user = sum(answer.get("cpu_user", 0.0) for answer in processes)
    if figures.node is None:
        system += own.ru_stime
        user += own.ru_utime
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)  # processes that died
    return [
        ("used_cpu_sys", f"{system:.6f}"),
        ("used_cpu_user", f"{user:.6f}"),
        ("used_cpu_sys_children", f"{ended.ru_stime:.6f}"),
        ("used_cpu_user_children", f"{ended.ru_utime:.6f}"),
        ("used_cpu_sys_main_thread", f"{own.ru_stime:.6f}"),
        ("used_cpu_user_main_thread", f"{own.ru_utime:.6f}"),
    ]


def modules(figures: Figures) -> Fields:
    return []


def commandstats(figures: Figures) -> Fields:
    return [
        (
            f"cmdstat_{safe(name)}",
            f"calls={calls},usec={usec},usec_per_call={usec / calls if calls else 0:.2f}"
            f",rejected_calls={rejected},failed_calls={failed}",
        )
        for name, (calls, usec, rejected, failed) in merged_commands(figures.processes).items()
        if calls or rejected or failed
    ]


def errorstats(figures: Figures) -> Fields:
    return [
        (f"errorstat_{safe(code)}", f"count={count}")
        for code, count in merged_errors(figures.processes).items()
    ]


def latencystats(figures: Figures) -> Fields:
    words = str(figures.admin.config["latency-tracking-info-percentiles"]).split()
    percents = [float(word) for word in words]
    return [
        (
            f"latency_percentiles_usec_{safe(name)}",
            ",".join(
                f"p{percent:g}={percentile(histogram, percent) / 1000:.3f}" for percent in percents
            ),
        )
        for name, histogram in figures.histograms.items()
    ]


def cluster(figures: Figures) -> Fields:
    return [("cluster_enabled", int(figures.admin.config["cluster-enabled"]))]


def keyspace(figures: Figures) -> Fields:
    return [
        (f"db{number}", f"keys={one.keys},expires={one.expiring},avg_ttl={one.average_ttl_ms}")
        for number, one in merged_databases(figures.shards).items()
        if figures.node is None or number == 0  # a node has no other
    ]


def debug(figures: Figures) -> Fields:
    """Figures for who works on the server itself."""
    # The router runs its commands one by one.
    own = int(figures.node is None and bool(figures.admin.commands))
    return [
        ("eventloop_duration_aof_sum", 0),  # nothing is appended yet
        ("eventloop_duration_cron_sum", total([*figures.workers, *figures.shards], "cron_us")),
        ("eventloop_duration_max", largest(figures.clients, "cycle_us_max")),
        ("eventloop_cmd_per_cycle_max", max(own, largest(figures.shards, "commands_at_once"))),
    ]


def shards(figures: Figures) -> Fields:
    supervisor = figures.admin.supervisor
    owned: dict[int, int] = {}
    for first, last, shard in supervisor.plan.slots:
        owned[shard] = owned.get(shard, 0) + last - first + 1
    fields: Fields = [("shards", len(supervisor.shards))]
    children = supervisor.shards if figures.node is None else [supervisor.shards[figures.node]]
    for child, answer in zip(children, figures.shards, strict=True):
        figure = answer or {}
        keys = sum(entry[0] for entry in figure.get("databases", {}).values())
        fields.append(
            (
                f"shard{child.index}",
                f"state={child.state},pid={child.pid},epoch={child.epoch}"
                f",restarts={child.restarts},slots={owned.get(child.index, 0)},keys={keys}"
                f",used_memory={figure.get('used_memory', 0)},rss={figure.get('rss', 0)}"
                f",commands={figure.get('processed', 0)},cpu={cpu_seconds(figure)}",
            )
        )
    return fields


def workers(figures: Figures) -> Fields:
    supervisor = figures.admin.supervisor
    fields: Fields = [("workers", len(supervisor.workers))]
    children = supervisor.workers if figures.node is None else []
    for child, answer in zip(children, figures.workers, strict=True):
        figure = answer or {}
        fields.append(
            (
                f"worker{child.index}",
                f"state={child.state},pid={child.pid},epoch={child.epoch}"
                f",restarts={child.restarts},connections={figure.get('connections', 0)}"
                f",tls_connections={figure.get('connections_by_kind', {}).get('tls', 0)}"
                f",unix_connections={figure.get('connections_by_kind', {}).get('unix', 0)}"
                f",failed_handshakes={figure.get('failed_handshakes', 0)}"
                f",rss={figure.get('rss', 0)},input_bytes={figure.get('input_bytes', 0)}"
                f",output_bytes={figure.get('output_bytes', 0)}"
                f",messages={sum(link['messages'] for link in figure.get('links', ()))}"
                f",commands={figure.get('processed', 0)},cpu={cpu_seconds(figure)}",
            )
        )
    return fields


def router(figures: Figures) -> Fields:
    own = resource.getrusage(resource.RUSAGE_SELF)
    figure = {"cpu_user": own.ru_utime, "cpu_system": own.ru_stime}
    commands = sum(calls for calls, *_ in figures.admin.commands.values())
    return [
        (
            "router",
            f"state=up,pid={os.getpid()},rss={resident_bytes(os.getpid())},commands={commands}"
            f",cpu={cpu_seconds(figure)}",
        )
    ]


def slots(figures: Figures) -> Fields:
    """Which shard owns which slots, one field for each range."""
    return [
        (f"slots_{first}-{last}", f"shard={shard}")
        for first, last, shard in figures.admin.supervisor.plan.slots
    ]


Section = Callable[[Figures], Fields]
SECTIONS: Final[dict[str, Section]] = {
    "server": server,
    "clients": clients,
    "memory": memory,
    "persistence": persistence,
    "stats": stats,
    "replication": replication,
    "cpu": cpu,
    "modules": modules,
    "commandstats": commandstats,
    "errorstats": errorstats,
    "latencystats": latencystats,
    "cluster": cluster,
    "keyspace": keyspace,
    "shards": shards,
    "workers": workers,
    "router": router,
    "slots": slots,
    "debug": debug,
}
HIDDEN: Final = frozenset({"debug"})
"""Shown only by name, as in redis-server."""
NOT_DEFAULT: Final = (
    frozenset({"commandstats", "latencystats", "shards", "workers", "router", "slots"}) | HIDDEN
)
TITLES: Final = {"cpu": "CPU"}
ALIASES: Final = {"module_list": "modules"}


def chosen_sections(words: list[bytes]) -> set[str]:
    """The sections that INFO's arguments mean; unknown ones mean nothing."""
    if not words:
        words = [b"default"]
    chosen: set[str] = set()
    for word in words:
        name = word.decode("latin-1").lower()
        if name in ("all", "everything"):
            chosen.update(SECTIONS.keys() - HIDDEN)
        elif name == "default":
            chosen.update(SECTIONS.keys() - NOT_DEFAULT)
        else:
            chosen.add(ALIASES.get(name, name))
    return chosen


@command(
    "INFO",
    arity=-1,
    flags=F.LOADING | F.STALE,
    place=Place.ADMIN,
    request=Request.ALL_SHARDS,
    response=Response.SPECIAL,
    tips=("nondeterministic_output",),
    acl=("dangerous",),
    group="server",
)
async def info(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Show figures about the server and its processes."""
    chosen = chosen_sections(args[1:])
    request = {"op": "stats"}
    worker_figures, shard_figures = await asyncio.gather(
        admin.ask_workers(request), admin.ask_shards(request)
    )
    histograms = await command_histograms(admin) if "latencystats" in chosen else {}
    figures = Figures(admin, worker_figures, shard_figures, histograms, caller.get("node"))
    reply.verbatim(render(figures, chosen), b"txt")


def render(figures: Figures, chosen: set[str]) -> bytes:
    """The text of the chosen sections, in the order of SECTIONS."""
    parts: list[str] = []
    for name, section in SECTIONS.items():
        if name in chosen:
            title = TITLES.get(name, name.capitalize())
            lines = [f"# {title}", *(f"{key}:{value}" for key, value in section(figures))]
            parts.append("".join(f"{line}\r\n" for line in lines))
    return "\r\n".join(parts).encode("utf-8", "surrogateescape")
