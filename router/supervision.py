"""Whoever supervises this server: upstart, which waits for SIGSTOP, or systemd, which is told.

systemd reads datagrams of VARIABLE=value lines from the socket that $NOTIFY_SOCKET names. The
router is the process that it started, so `Type=notify` needs no NotifyAccess.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import Final

from router.log import logger

STATUS_LOADING: Final = "STATUS=shardis is loading...\n"
STATUS_READY: Final = "STATUS=Ready to accept connections\n"
READY: Final = "READY=1\n"
STOPPING: Final = "STOPPING=1\n"


class Supervision:
    """What `supervised` came to; without a supervisor, telling it does nothing."""

    def __init__(self, mode: str) -> None:
        if mode == "auto":
            if os.environ.get("UPSTART_JOB"):
                mode = "upstart"
            elif os.environ.get("NOTIFY_SOCKET"):
                mode = "systemd"
        self.mode = "no"
        if (mode == "upstart" and _stop_for_upstart()) or (
            mode == "systemd" and _notify(STATUS_LOADING)
        ):
            self.mode = mode
        if self.mode == "systemd":
            logger.info(
                "Supervised by systemd: TimeoutStartSec and TimeoutStopSec of the unit should "
                "leave time to load and to end"
            )

    def __bool__(self) -> bool:
        return self.mode != "no"

    def tell(self, *lines: str) -> None:
        """Tell systemd, if it is the supervisor."""
        if self.mode == "systemd":
            _notify("".join(lines))


def _stop_for_upstart() -> bool:
    if not os.environ.pop("UPSTART_JOB", ""):
        logger.warning("upstart supervision requested, but UPSTART_JOB not found!")
        return False
    logger.info("supervised by upstart, will stop to signal readiness.")
    os.kill(os.getpid(), signal.SIGSTOP)
    return True


def _notify(text: str) -> bool:
    """Send a datagram to systemd; False when there is no systemd to be told."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        logger.warning("systemd supervision error: NOTIFY_SOCKET not found!")
        return False
    if path.startswith("@"):
        path = "\0" + path[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
            notifier.setblocking(False)  # nobody may keep the server waiting
            notifier.sendto(text.encode(), path)
    except OSError as error:
        logger.warning("systemd supervision error: %s", error.strerror or error)
        return False
    return True
