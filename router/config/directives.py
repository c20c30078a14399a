"""The table of directives: all of Redis 7.2's, and our own.

A directive is one line: name, kind of value, default, flags, alias. What nothing acts on yet stands
in `pending.py` as well. An alias is a second name with the same value, listed by CONFIG GET too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto
from typing import Any, Final

from router.config.kinds import (
    INT_MIN,
    LONG_MAX,
    UINT_MAX,
    ULONG_MAX,
    Addresses,
    Bool,
    Choice,
    Directory,
    Events,
    Integer,
    Kind,
    Master,
    OomScores,
    OutputLimits,
    Percentiles,
    SavePoints,
    ShutdownOptions,
    Text,
    file_name,
    host_name,
    node_name,
    processor_list,
    title_template,
)
from router.config.words import text_of

PROCESSES_MAX: Final = 1024
STUCK_SECONDS_MAX: Final = 86400
DATABASES_MAX: Final = 65536
"""Their numbers have 16 bits on the way to a shard."""
BACKLOG_BYTES_MIN: Final = 16 * 1024


class Mark(Flag):
    """What is special about a directive."""

    NONE = 0
    IMMUTABLE = auto()  # only the file and the command line set it
    PROTECTED = auto()  # CONFIG SET needs enable-protected-configs
    SENSITIVE = auto()  # its value must not be shown in SLOWLOG and MONITOR
    HIDDEN = auto()  # CONFIG GET shows it only by its whole name


@dataclass(frozen=True, slots=True)
class Directive:
    """One line of the table."""

    name: str
    kind: Kind
    default: str
    marks: Mark = Mark.NONE
    alias: str = ""
    clamp: tuple[int, int] | None = None  # values beyond are accepted and moved, as Redis does

    def default_value(self) -> Any:
        """The value without any configuration."""
        if not self.kind.several:
            return self.kind.parse([self.default], None)
        return self.kind.parse(self.default.split(), None) if self.default else ""


IMMUTABLE: Final = Mark.IMMUTABLE
HIDDEN: Final = Mark.HIDDEN
YES_NO_LOCAL: Final = Choice(("no", "yes", "local"))
PORT: Final = Integer(0, 65535)
COUNT: Final = Integer(0, LONG_MAX)  # a size_t in redis-server, with the bounds of a long
SIZE: Final = Integer(0, LONG_MAX, memory=True, unsigned=True)
OWN: Final = (
    # Only this server has these; configs/shardis.conf explains each.
    Directive("io-workers", Integer(0, PROCESSES_MAX), "0", IMMUTABLE),
    Directive("shards", Integer(0, PROCESSES_MAX), "0", IMMUTABLE),
    Directive("native-lane", Bool(), "yes"),
    Directive("pipeline-order", Choice(("concurrent", "strict")), "concurrent"),
    Directive("zeromq-io-threads", Bool(), "no", IMMUTABLE),
    Directive("sched-batch", Bool(), "no", IMMUTABLE),
    Directive("worker-cpulist", Text(unset=True, check=processor_list), "", IMMUTABLE),
    Directive("shard-cpulist", Text(unset=True, check=processor_list), "", IMMUTABLE),
    Directive("spin-microseconds", Integer(0, 1_000_000), "0", IMMUTABLE),
    Directive("worker-stuck-timeout", Integer(0, STUCK_SECONDS_MAX), "10"),
    Directive("shard-stuck-timeout", Integer(0, STUCK_SECONDS_MAX), "0"),
)

DIRECTIVES: Final[tuple[Directive, ...]] = (
    # Network
    # redis-server without a file listens everywhere and relies on protected-mode; we begin with the
    # addresses that its shipped file has.
    Directive("bind", Addresses(), "127.0.0.1 -::1"),
    Directive("bind-source-addr", Text(unset=True), ""),
    Directive("protected-mode", Bool(), "yes"),
    Directive("port", PORT, "6379"),
    Directive("tcp-backlog", Integer(), "511", IMMUTABLE),
    Directive("unixsocket", Text(unset=True), "", IMMUTABLE),
    Directive("unixsocketperm", Integer(0, 0o777, octal=True, unsigned=True), "0", IMMUTABLE),
    Directive("timeout", Integer(), "0"),
    Directive("tcp-keepalive", Integer(), "300"),
    Directive("socket-mark-id", Integer(0, UINT_MAX, unsigned=True), "0", IMMUTABLE),
    # TLS
    Directive("tls-port", PORT, "0"),
    Directive("tls-cluster", Bool(), "no"),
    Directive("tls-replication", Bool(), "no"),
    Directive("tls-auth-clients", Choice(("no", "yes", "optional")), "yes"),
    Directive("tls-cert-file", Text(unset=True), ""),
    Directive("tls-key-file", Text(unset=True), ""),
    Directive("tls-key-file-pass", Text(unset=True), "", Mark.SENSITIVE),
    Directive("tls-client-cert-file", Text(unset=True), ""),
    Directive("tls-client-key-file", Text(unset=True), ""),
    Directive("tls-client-key-file-pass", Text(unset=True), "", Mark.SENSITIVE),
    Directive("tls-dh-params-file", Text(unset=True), ""),
    Directive("tls-ca-cert-file", Text(unset=True), ""),
    Directive("tls-ca-cert-dir", Text(unset=True), ""),
    Directive("tls-protocols", Text(unset=True), ""),
    Directive("tls-ciphers", Text(unset=True), ""),
    Directive("tls-ciphersuites", Text(unset=True), ""),
    Directive("tls-prefer-server-ciphers", Bool(), "no"),
    Directive("tls-session-caching", Bool(), "yes"),
    Directive("tls-session-cache-size", Integer(), "20480"),
    Directive("tls-session-cache-timeout", Integer(), "300"),
    # General
    Directive("daemonize", Bool(), "no", IMMUTABLE),
    Directive("supervised", Choice(("upstart", "systemd", "auto", "no")), "no", IMMUTABLE),
    Directive("pidfile", Text(unset=True), "", IMMUTABLE),
    Directive("loglevel", Choice(("debug", "verbose", "notice", "warning", "nothing")), "notice"),
    Directive("logfile", Text(), "", IMMUTABLE),
    Directive("syslog-enabled", Bool(), "no", IMMUTABLE),
    Directive("syslog-ident", Text(), "redis", IMMUTABLE),
    Directive(
        "syslog-facility",
        Choice(("user", *(f"local{number}" for number in range(8)))),
        "local0",
        IMMUTABLE,
    ),
    Directive("crash-log-enabled", Bool(), "yes"),
    Directive("crash-memcheck-enabled", Bool(), "yes"),
    Directive("use-exit-on-panic", Bool(), "no", HIDDEN),
    Directive("watchdog-period", Integer(), "0", HIDDEN),
    Directive("ignore-warnings", Text(), ""),
    Directive("databases", Integer(1, served=DATABASES_MAX), "16", IMMUTABLE),
    Directive("always-show-logo", Bool(), "no", IMMUTABLE),
    Directive("set-proc-title", Bool(), "yes", IMMUTABLE),
    Directive(
        "proc-title-template",
        Text(check=title_template),
        "{title} {listen-addr} {server-mode}",
    ),
    Directive("locale-collate", Text(), ""),
    Directive("dir", Directory(), ".", Mark.PROTECTED),
    Directive("shutdown-timeout", Integer(), "10"),
    Directive("shutdown-on-sigint", ShutdownOptions(), "default"),
    Directive("shutdown-on-sigterm", ShutdownOptions(), "default"),
    Directive("disable-thp", Bool(), "yes", IMMUTABLE),
    Directive(
        "oom-score-adj",
        Choice(("no", "yes", "relative", "absolute"), same=(("relative", "yes"),)),
        "no",
    ),
    Directive("oom-score-adj-values", OomScores(), "0 200 800"),
    Directive("jemalloc-bg-thread", Bool(), "yes"),
    Directive("server_cpulist", Text(unset=True), "", IMMUTABLE),
    Directive("bio_cpulist", Text(unset=True), "", IMMUTABLE),
    Directive("aof_rewrite_cpulist", Text(unset=True), "", IMMUTABLE),
    Directive("bgsave_cpulist", Text(unset=True), "", IMMUTABLE),
    Directive("io-threads", Integer(1, 128), "1", IMMUTABLE),
    Directive("io-threads-do-reads", Bool(), "no", IMMUTABLE),
    # Security
    Directive("requirepass", Text(unset=True, binary=True), "", Mark.SENSITIVE),
    Directive("aclfile", Text(), "", IMMUTABLE),
    Directive("acllog-max-len", COUNT, "128"),
    Directive("acl-pubsub-default", Choice(("allchannels", "resetchannels")), "resetchannels"),
    Directive("enable-protected-configs", YES_NO_LOCAL, "no", IMMUTABLE),
    Directive("enable-debug-command", YES_NO_LOCAL, "no", IMMUTABLE),
    Directive("enable-module-command", YES_NO_LOCAL, "no", IMMUTABLE),
    # Clients
    Directive("maxclients", Integer(1, UINT_MAX, unsigned=True), "10000"),
    Directive("maxmemory-clients", Integer(-100, LONG_MAX, memory=True, percent=True), "0"),
    Directive(
        "client-query-buffer-limit", Integer(1 << 20, LONG_MAX, memory=True, unsigned=True), "1gb"
    ),
    Directive(
        "client-output-buffer-limit",
        OutputLimits(),
        "normal 0 0 0 slave 256mb 64mb 60 pubsub 32mb 8mb 60",
    ),
    Directive("proto-max-bulk-len", Integer(1 << 20, LONG_MAX, memory=True), "512mb"),
    Directive("tracking-table-max-keys", Integer(0, LONG_MAX, unsigned=True), "1000000"),
    Directive("notify-keyspace-events", Events(), ""),
    # Snapshots
    Directive("save", SavePoints(), ""),
    Directive(
        "dbfilename", Text(check=file_name("dbfilename", empty=True)), "dump.rdb", Mark.PROTECTED
    ),
    Directive("stop-writes-on-bgsave-error", Bool(), "yes"),
    Directive("rdbcompression", Bool(), "yes"),
    Directive("rdbchecksum", Bool(), "yes", IMMUTABLE),
    Directive("rdb-del-sync-files", Bool(), "no"),
    Directive("rdb-save-incremental-fsync", Bool(), "yes"),
    Directive("rdb-key-save-delay", Integer(INT_MIN), "0", HIDDEN),
    Directive("key-load-delay", Integer(INT_MIN), "0", HIDDEN),
    Directive("loading-process-events-interval-bytes", Integer(1024), "2097152", HIDDEN),
    Directive("sanitize-dump-payload", Choice(("no", "yes", "clients")), "no"),
    # Append only file
    Directive("appendonly", Bool(), "no"),
    Directive(
        "appendfilename", Text(check=file_name("appendfilename")), "appendonly.aof", IMMUTABLE
    ),
    Directive(
        "appenddirname",
        Text(check=file_name("appenddirname", "dirname")),
        "appendonlydir",
        IMMUTABLE,
    ),
    Directive("appendfsync", Choice(("everysec", "always", "no")), "everysec"),
    Directive("no-appendfsync-on-rewrite", Bool(), "no"),
    Directive("auto-aof-rewrite-percentage", Integer(), "100"),
    Directive("auto-aof-rewrite-min-size", Integer(0, LONG_MAX, memory=True), "64mb"),
    Directive("aof-load-truncated", Bool(), "yes"),
    Directive("aof-use-rdb-preamble", Bool(), "yes"),
    Directive("aof-timestamp-enabled", Bool(), "no"),
    Directive("aof-rewrite-incremental-fsync", Bool(), "yes"),
    Directive("aof-disable-auto-gc", Bool(), "no", HIDDEN),
    # Replication
    Directive("replicaof", Master(), "", IMMUTABLE, alias="slaveof"),
    Directive("masterauth", Text(unset=True, binary=True), "", Mark.SENSITIVE),
    Directive("masteruser", Text(unset=True), "", Mark.SENSITIVE),
    Directive("replica-serve-stale-data", Bool(), "yes", alias="slave-serve-stale-data"),
    Directive("replica-read-only", Bool(), "yes", alias="slave-read-only"),
    Directive("replica-lazy-flush", Bool(), "no", alias="slave-lazy-flush"),
    Directive("replica-ignore-maxmemory", Bool(), "yes", alias="slave-ignore-maxmemory"),
    Directive("replica-ignore-disk-write-errors", Bool(), "no"),
    Directive("replica-announced", Bool(), "yes"),
    Directive("replica-announce-ip", Text(unset=True), "", alias="slave-announce-ip"),
    Directive("replica-announce-port", PORT, "0", alias="slave-announce-port"),
    Directive("replica-priority", Integer(), "100", alias="slave-priority"),
    Directive("repl-diskless-sync", Bool(), "yes"),
    Directive("repl-diskless-sync-delay", Integer(), "5"),
    Directive("repl-diskless-sync-max-replicas", Integer(), "0"),
    Directive("repl-diskless-load", Choice(("disabled", "on-empty-db", "swapdb")), "disabled"),
    Directive("repl-ping-replica-period", Integer(1), "10", alias="repl-ping-slave-period"),
    Directive("repl-timeout", Integer(1), "60"),
    Directive("repl-disable-tcp-nodelay", Bool(), "no"),
    Directive(
        "repl-backlog-size",
        Integer(1, LONG_MAX, memory=True),
        "1mb",
        clamp=(BACKLOG_BYTES_MIN, LONG_MAX),
    ),
    Directive("repl-backlog-ttl", COUNT, "3600"),
    Directive("min-replicas-to-write", Integer(), "0", alias="min-slaves-to-write"),
    Directive("min-replicas-max-lag", Integer(), "10", alias="min-slaves-max-lag"),
    Directive(
        "propagation-error-behavior", Choice(("ignore", "panic", "panic-on-replicas")), "ignore"
    ),
    # Cluster
    Directive("cluster-enabled", Bool(), "no", IMMUTABLE),
    Directive("cluster-config-file", Text(), "nodes.conf", IMMUTABLE),
    Directive("cluster-node-timeout", COUNT, "15000"),
    Directive("cluster-ping-interval", COUNT, "0", HIDDEN),
    Directive("cluster-port", PORT, "0", IMMUTABLE),
    Directive(
        "cluster-replica-validity-factor", Integer(), "10", alias="cluster-slave-validity-factor"
    ),
    Directive("cluster-migration-barrier", Integer(), "1"),
    Directive("cluster-allow-replica-migration", Bool(), "yes"),
    Directive("cluster-require-full-coverage", Bool(), "yes"),
    Directive("cluster-replica-no-failover", Bool(), "no", alias="cluster-slave-no-failover"),
    Directive("cluster-allow-reads-when-down", Bool(), "no"),
    Directive("cluster-allow-pubsubshard-when-down", Bool(), "yes"),
    Directive("cluster-link-sendbuf-limit", Integer(0, ULONG_MAX, memory=True, unsigned=True), "0"),
    Directive("cluster-announce-ip", Text(unset=True), ""),
    Directive("cluster-announce-port", PORT, "0"),
    Directive("cluster-announce-tls-port", PORT, "0"),
    Directive("cluster-announce-bus-port", PORT, "0"),
    Directive("cluster-announce-hostname", Text(unset=True, check=host_name), ""),
    Directive("cluster-announce-human-nodename", Text(unset=True, check=node_name), ""),
    Directive(
        "cluster-preferred-endpoint-type", Choice(("ip", "hostname", "unknown-endpoint")), "ip"
    ),
    # Memory
    Directive("maxmemory", Integer(0, ULONG_MAX, memory=True, unsigned=True), "0"),
    Directive(
        "maxmemory-policy",
        Choice(
            (
                "volatile-lru",
                "volatile-lfu",
                "volatile-random",
                "volatile-ttl",
                "allkeys-lru",
                "allkeys-lfu",
                "allkeys-random",
                "noeviction",
            )
        ),
        "noeviction",
    ),
    Directive("maxmemory-samples", Integer(1), "5"),
    Directive("maxmemory-eviction-tenacity", Integer(0, 100), "10"),
    Directive("lfu-log-factor", Integer(), "10"),
    Directive("lfu-decay-time", Integer(), "1"),
    Directive("lazyfree-lazy-eviction", Bool(), "no"),
    Directive("lazyfree-lazy-expire", Bool(), "no"),
    Directive("lazyfree-lazy-server-del", Bool(), "no"),
    Directive("lazyfree-lazy-user-del", Bool(), "no"),
    Directive("lazyfree-lazy-user-flush", Bool(), "no"),
    Directive("activerehashing", Bool(), "yes"),
    Directive("activedefrag", Bool(), "no"),
    Directive("active-defrag-cycle-min", Integer(1, 99), "1"),
    Directive("active-defrag-cycle-max", Integer(1, 99), "25"),
    Directive("active-defrag-threshold-lower", Integer(0, 1000), "10"),
    Directive("active-defrag-threshold-upper", Integer(0, 1000), "100"),
    Directive(
        "active-defrag-ignore-bytes", Integer(1, LONG_MAX, memory=True, unsigned=True), "100mb"
    ),
    Directive("active-defrag-max-scan-fields", Integer(1, LONG_MAX), "1000"),
    # Timers
    Directive("hz", Integer(), "10", clamp=(1, 500)),
    Directive("dynamic-hz", Bool(), "yes"),
    Directive("active-expire-effort", Integer(1, 10), "1"),
    Directive("busy-reply-threshold", COUNT, "5000", alias="lua-time-limit"),
    # Encodings
    Directive(
        "hash-max-listpack-entries",
        Integer(0, LONG_MAX, unsigned=True),
        "512",
        alias="hash-max-ziplist-entries",
    ),
    Directive("hash-max-listpack-value", SIZE, "64", alias="hash-max-ziplist-value"),
    Directive("list-max-listpack-size", Integer(INT_MIN), "-2", alias="list-max-ziplist-size"),
    Directive("list-compress-depth", Integer(), "0"),
    Directive("set-max-intset-entries", Integer(0, LONG_MAX, unsigned=True), "512"),
    Directive("set-max-listpack-entries", Integer(0, LONG_MAX, unsigned=True), "128"),
    Directive("set-max-listpack-value", Integer(0, LONG_MAX, unsigned=True), "64"),
    Directive(
        "zset-max-listpack-entries",
        Integer(0, LONG_MAX, unsigned=True),
        "128",
        alias="zset-max-ziplist-entries",
    ),
    Directive("zset-max-listpack-value", SIZE, "64", alias="zset-max-ziplist-value"),
    Directive("hll-sparse-max-bytes", SIZE, "3000"),
    Directive("stream-node-max-bytes", SIZE, "4096"),
    Directive("stream-node-max-entries", COUNT, "100"),
    # Diagnosis
    Directive("slowlog-log-slower-than", Integer(-1, LONG_MAX), "10000"),
    Directive("slowlog-max-len", COUNT, "128"),
    Directive("latency-monitor-threshold", COUNT, "0"),
    Directive("latency-tracking", Bool(), "yes"),
    Directive("latency-tracking-info-percentiles", Percentiles(), "50 99 99.9"),
    *OWN,
)

BY_NAME: Final[dict[str, Directive]] = {
    name: directive
    for directive in DIRECTIVES
    for name in (directive.name, directive.alias)
    if name
}

FORGOTTEN: Final = frozenset(
    {"list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"}
)
"""Directives of older versions: a file may still have them, with one argument, for nothing."""
LINES_ONLY: Final = frozenset({"include", "rename-command", "user", "loadmodule", "sentinel"})
"""What is in files only, and is no value: CONFIG GET does not know it."""


def is_sensitive(name: bytes) -> bool:
    """Whether CONFIG SET's value for this name must not be shown in SLOWLOG and MONITOR."""
    directive = BY_NAME.get(text_of(name).lower())
    return directive is not None and Mark.SENSITIVE in directive.marks
