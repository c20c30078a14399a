"""What every process does about its own diagnosis: how much it logs, and what a crash leaves.

A process that dies of a fatal signal writes where each of its threads was, to the descriptor that
the log has (`crash-log-enabled`). The handlers are inherited through fork.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
from collections.abc import Mapping
from typing import Any, Final

from actors.process import announce_crashes

VERBOSE: Final = 15
LEVELS: Final = {
    "debug": logging.DEBUG,
    "verbose": VERBOSE,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "nothing": logging.CRITICAL + 1,
}

FATAL: Final = (signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL)
"""What faulthandler handles."""


class CrashReports:
    """Where crash reports of this process, and of those it forks, are written."""

    descriptor = -1  # -1: nowhere


def keep_crash_reports(path: str) -> frozenset[int]:
    """Write crash reports to this file, or to the standard output; the descriptors to keep.

    The file stays open, unlike the log: a dying process can open nothing. Raises OSError.
    """
    if not path:
        CrashReports.descriptor = 1
        return frozenset()
    CrashReports.descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    return frozenset({CrashReports.descriptor})


def apply_diagnosis(settings: Mapping[str, Any]) -> None:
    """Act on `loglevel` and `crash-log-enabled`, as far as they are among the settings."""
    if "loglevel" in settings:
        logging.getLogger("shardis").setLevel(LEVELS[settings["loglevel"]])
    if "crash-log-enabled" in settings:
        if settings["crash-log-enabled"] and CrashReports.descriptor >= 0:
            if not faulthandler.is_enabled():
                faulthandler.enable(CrashReports.descriptor)
                announce_crashes(CrashReports.descriptor, FATAL)
        else:
            faulthandler.disable()
