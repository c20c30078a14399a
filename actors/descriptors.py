"""The limit of open files, which bounds how many clients a process can hold.

Each worker may have to hold every client, so the limit of one process follows `maxclients`. The
router has no clients, but sockets to every process.
"""

from __future__ import annotations

import contextlib
import logging
import resource
from collections.abc import Mapping
from typing import Any, Final

OWN_DESCRIPTORS: Final = 64
"""What a process has open beside its clients and links: libraries, the log, control, listeners."""
LINK_DESCRIPTORS: Final = 5
"""Of the two links to one shard or worker; one to spare, as old ones may outlive a restart."""
CHILD_DESCRIPTORS: Final = 5
"""Of the router, for each process it runs; one to spare, for the same reason."""

logger = logging.getLogger("shardis")
Settings = Mapping[str, Any]


class TooFewDescriptors(Exception):
    """Not even a single client could be served; the reason has been logged."""


def reserved_descriptors(settings: Settings) -> int:
    """What a worker or shard needs beside its clients."""
    peers: int = max(settings["shards"], settings["io-workers"])
    return OWN_DESCRIPTORS + LINK_DESCRIPTORS * peers


def router_descriptors(settings: Settings) -> int:
    """What the router needs, with the ports of shards in cluster mode."""
    children: int = settings["shards"] + settings["io-workers"]
    listeners: int = 0
    if settings["cluster-enabled"]:
        ports = bool(settings["port"]) + bool(settings["tls-port"])
        listeners = ports * len(settings["bind"].split()) * settings["shards"]
    return OWN_DESCRIPTORS + CHILD_DESCRIPTORS * children + listeners


def needed_descriptors(clients: int, settings: Settings) -> int:
    """The limit that suffices for every process, with so many clients."""
    return max(clients + reserved_descriptors(settings), router_descriptors(settings))


def allow_clients(clients: int, settings: Settings) -> int:
    """Raise this process's limit for so many clients; for how many it then suffices."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed_descriptors(clients, settings)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # Beyond the hard limit for those who may; else as far as it goes.
        for limits in ((wanted, max(wanted, hard)), (min(wanted, hard), hard)):
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                break
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return clients
    if soft < router_descriptors(settings):
        return 0
    return min(clients, soft - reserved_descriptors(settings))


def clients_at_start(maxclients: int, settings: Settings) -> int:
    """What maxclients can be, after raising the limit; logged as redis-server does.

    Raises TooFewDescriptors.
    """
    before = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    allowed = allow_clients(maxclients, settings)
    now = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    wanted = needed_descriptors(maxclients, settings)
    if allowed < 1:
        logger.warning(
            "Your current 'ulimit -n' of %d is not enough for the server to start. Please increase "
            "your open file limit to at least %d. Exiting.",
            before,
            wanted,
        )
        raise TooFewDescriptors
    if allowed < maxclients:
        logger.warning(
            "You requested maxclients of %d requiring at least %d max file descriptors.",
            maxclients,
            wanted,
        )
        logger.warning(
            "Server can't set maximum open files to %d because of OS error: %s.",
            wanted,
            "Operation not permitted",
        )
        logger.warning(
            "Current maximum open files is %d. maxclients has been reduced to %d to compensate for "
            "low ulimit. If you need higher maxclients increase 'ulimit -n'.",
            now,
            allowed,
        )
    elif now != before:
        logger.info(
            "Increased maximum number of open files to %d (it was originally set to %d).",
            now,
            before,
        )
    return allowed
