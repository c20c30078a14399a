"""The limit of open files, which bounds how many clients a process can hold.

Each worker may have to hold every client, so the limit of one process follows `maxclients`.
"""

from __future__ import annotations

import contextlib
import logging
import resource
from typing import Final

OWN_DESCRIPTORS: Final = 64
"""What a process has open beside its clients and links: libraries, the log, control, listeners."""
LINK_DESCRIPTORS: Final = 5
"""Of the two links to one shard or worker; one to spare, as old ones may outlive a restart."""

logger = logging.getLogger("shardis")


class TooFewDescriptors(Exception):
    """Not even a single client could be served; the reason has been logged."""


def reserved_descriptors(peers: int) -> int:
    """What a process needs beside its clients, with links to so many shards or workers."""
    return OWN_DESCRIPTORS + LINK_DESCRIPTORS * peers


def allow_clients(clients: int, peers: int) -> int:
    """Raise this process's limit for so many clients; for how many it then suffices."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = clients + reserved_descriptors(peers)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # Beyond the hard limit for those who may; else as far as it goes.
        for limits in ((wanted, max(wanted, hard)), (min(wanted, hard), hard)):
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                break
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return clients
    return min(clients, soft - reserved_descriptors(peers))


def clients_at_start(maxclients: int, peers: int) -> int:
    """What maxclients can be, after raising the limit; logged as redis-server does.

    Raises TooFewDescriptors.
    """
    before = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    allowed = allow_clients(maxclients, peers)
    now = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    wanted = maxclients + reserved_descriptors(peers)
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
