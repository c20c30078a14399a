"""Not acted on yet: directives that are known, but that nothing in the server follows so far.

Who makes one of them work deletes its line here, and its line in docs/configuration.md; nothing
else has to change for it to be accepted. A test holds the page against this table.

refuses(reason)          the server starts with the default only, and CONFIG SET refuses all others:
                         for what promises safety, which must not be promised in vain
harmless(reason)         any value is taken, without effect; the log says so at the start
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Pending:
    """Why a directive has no effect, and whether its values are taken nevertheless."""

    reason: str
    taken: bool = True  # other values than the default are
    allowed: tuple[str, ...] = ()  # further values that are as good as the default


def refuses(reason: str, *allowed: str) -> Pending:
    return Pending(reason, taken=False, allowed=allowed)


def harmless(reason: str) -> Pending:
    return Pending(reason)


DURABILITY: Final = "this version keeps data in memory only; persistence is not supported yet"
LIMIT: Final = "a memory limit is not supported yet"
REPLICATION: Final = "replication is not supported yet"
TLS: Final = "TLS between servers is not supported yet"
USERS: Final = "users and passwords are not supported yet"
MODULES: Final = "modules are not supported"
DEFRAGMENTATION: Final = (
    "Active defragmentation cannot be enabled: it requires a Redis server compiled with a modified "
    "Jemalloc like the one shipped by default with the Redis source distribution"
)

SO_FAR: Final = "nothing follows it so far"
WITH_DURABILITY: Final = "persistence is not there yet"
WITH_REPLICATION: Final = "replication is not there yet"
TLS_CACHE: Final = "the TLS library has no setting for it"
WITH_CLUSTER: Final = "nodes of other servers cannot join the cluster yet"
WITH_LIMIT: Final = "a memory limit is not there yet"
NOT_NEEDED: Final = "there is nothing here it could act on"

NOT_ACTED_ON: Final[dict[str, Pending]] = {
    # Promises of safety
    "aclfile": refuses(USERS),
    "activedefrag": refuses(DEFRAGMENTATION),
    "appendonly": refuses(DURABILITY),
    "loadmodule": refuses(MODULES),
    "maxmemory": refuses(LIMIT),
    "maxmemory-clients": refuses(LIMIT),
    "min-replicas-to-write": refuses(REPLICATION),
    "rename-command": refuses("renaming commands is not supported yet"),
    "replicaof": refuses(REPLICATION),
    "save": refuses(DURABILITY),
    "sentinel": refuses("the sentinel mode is not supported yet"),
    "tls-cluster": refuses(TLS),
    "tls-replication": refuses(TLS),
    "user": refuses(USERS),
    # Without effect
    "acl-pubsub-default": harmless(SO_FAR),
    "acllog-max-len": harmless(SO_FAR),
    "active-defrag-cycle-max": harmless(NOT_NEEDED),
    "active-defrag-cycle-min": harmless(NOT_NEEDED),
    "active-defrag-ignore-bytes": harmless(NOT_NEEDED),
    "active-defrag-max-scan-fields": harmless(NOT_NEEDED),
    "active-defrag-threshold-lower": harmless(NOT_NEEDED),
    "active-defrag-threshold-upper": harmless(NOT_NEEDED),
    "activerehashing": harmless(NOT_NEEDED),
    "aof-disable-auto-gc": harmless(WITH_DURABILITY),
    "aof-load-truncated": harmless(WITH_DURABILITY),
    "aof-rewrite-incremental-fsync": harmless(WITH_DURABILITY),
    "aof-timestamp-enabled": harmless(WITH_DURABILITY),
    "aof-use-rdb-preamble": harmless(WITH_DURABILITY),
    "aof_rewrite_cpulist": harmless(NOT_NEEDED),
    "appenddirname": harmless(WITH_DURABILITY),
    "appendfilename": harmless(WITH_DURABILITY),
    "appendfsync": harmless(WITH_DURABILITY),
    "auto-aof-rewrite-min-size": harmless(WITH_DURABILITY),
    "auto-aof-rewrite-percentage": harmless(WITH_DURABILITY),
    "bgsave_cpulist": harmless(NOT_NEEDED),
    "bind-source-addr": harmless(WITH_REPLICATION),
    "bio_cpulist": harmless(NOT_NEEDED),
    "busy-reply-threshold": harmless(SO_FAR),
    "cluster-allow-pubsubshard-when-down": harmless(WITH_CLUSTER),
    "cluster-allow-replica-migration": harmless(WITH_CLUSTER),
    "cluster-announce-human-nodename": harmless(WITH_CLUSTER),
    "cluster-link-sendbuf-limit": harmless(WITH_CLUSTER),
    "cluster-migration-barrier": harmless(WITH_CLUSTER),
    "cluster-ping-interval": harmless(WITH_CLUSTER),
    "cluster-replica-no-failover": harmless(WITH_CLUSTER),
    "cluster-replica-validity-factor": harmless(WITH_CLUSTER),
    "crash-memcheck-enabled": harmless(NOT_NEEDED),
    "dbfilename": harmless(WITH_DURABILITY),
    "disable-thp": harmless(SO_FAR),
    "dynamic-hz": harmless(NOT_NEEDED),
    "enable-module-command": harmless(NOT_NEEDED),
    "ignore-warnings": harmless(NOT_NEEDED),
    "io-threads": harmless(NOT_NEEDED),
    "io-threads-do-reads": harmless(NOT_NEEDED),
    "jemalloc-bg-thread": harmless(NOT_NEEDED),
    "key-load-delay": harmless(WITH_DURABILITY),
    "lazyfree-lazy-eviction": harmless(WITH_LIMIT),
    "lazyfree-lazy-expire": harmless(SO_FAR),
    "lazyfree-lazy-server-del": harmless(SO_FAR),
    "lazyfree-lazy-user-del": harmless(SO_FAR),
    "loading-process-events-interval-bytes": harmless(WITH_DURABILITY),
    "locale-collate": harmless(SO_FAR),
    "masterauth": harmless(WITH_REPLICATION),
    "masteruser": harmless(WITH_REPLICATION),
    "maxmemory-eviction-tenacity": harmless(WITH_LIMIT),
    "maxmemory-samples": harmless(WITH_LIMIT),
    "min-replicas-max-lag": harmless(WITH_REPLICATION),
    "notify-keyspace-events": harmless("no events are published yet"),
    "no-appendfsync-on-rewrite": harmless(WITH_DURABILITY),
    "propagation-error-behavior": harmless(WITH_REPLICATION),
    "rdb-del-sync-files": harmless(WITH_REPLICATION),
    "rdb-key-save-delay": harmless(WITH_DURABILITY),
    "rdb-save-incremental-fsync": harmless(WITH_DURABILITY),
    "rdbchecksum": harmless(WITH_DURABILITY),
    "rdbcompression": harmless(WITH_DURABILITY),
    "repl-backlog-size": harmless(WITH_REPLICATION),
    "repl-backlog-ttl": harmless(WITH_REPLICATION),
    "repl-disable-tcp-nodelay": harmless(WITH_REPLICATION),
    "repl-diskless-load": harmless(WITH_REPLICATION),
    "repl-diskless-sync": harmless(WITH_REPLICATION),
    "repl-diskless-sync-delay": harmless(WITH_REPLICATION),
    "repl-diskless-sync-max-replicas": harmless(WITH_REPLICATION),
    "repl-ping-replica-period": harmless(WITH_REPLICATION),
    "repl-timeout": harmless(WITH_REPLICATION),
    "replica-announce-ip": harmless(WITH_REPLICATION),
    "replica-announce-port": harmless(WITH_REPLICATION),
    "replica-announced": harmless(WITH_REPLICATION),
    "replica-ignore-disk-write-errors": harmless(WITH_REPLICATION),
    "replica-ignore-maxmemory": harmless(WITH_REPLICATION),
    "replica-lazy-flush": harmless(WITH_REPLICATION),
    "replica-priority": harmless(WITH_REPLICATION),
    "replica-read-only": harmless(WITH_REPLICATION),
    "replica-serve-stale-data": harmless(WITH_REPLICATION),
    "sanitize-dump-payload": harmless(SO_FAR),
    "server_cpulist": harmless(NOT_NEEDED),
    "stop-writes-on-bgsave-error": harmless(WITH_DURABILITY),
    "tls-client-cert-file": harmless(WITH_REPLICATION),
    "tls-client-key-file": harmless(WITH_REPLICATION),
    "tls-client-key-file-pass": harmless(WITH_REPLICATION),
    "tls-session-cache-size": harmless(TLS_CACHE),
    "tls-session-cache-timeout": harmless(TLS_CACHE),
    "tracking-table-max-keys": harmless(SO_FAR),
    "use-exit-on-panic": harmless(NOT_NEEDED),
    "watchdog-period": harmless(SO_FAR),
}
