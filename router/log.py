"""The log, in redis-server's line format: `pid:role date sign message`."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import Final

VERBOSE: Final = 15
LEVELS: Final = {
    "debug": logging.DEBUG,
    "verbose": VERBOSE,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "nothing": logging.CRITICAL + 1,
}

logger = logging.getLogger("shardis")


class LineFormatter(logging.Formatter):
    """One line as redis-server writes it; M is the role of a master."""

    def format(self, record: logging.LogRecord) -> str:
        sign = "#" if record.levelno >= logging.WARNING else "*"
        if record.levelno < logging.INFO:
            sign = "-" if record.levelno >= VERBOSE else "."
        moment = time.strftime("%d %b %Y %H:%M:%S", time.localtime(record.created))
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        return f"{os.getpid()}:M {moment}.{int(record.msecs):03d} {sign} {message}"


def set_up(level: str, path: str) -> frozenset[int]:
    """Log to a file, or to the standard output; the descriptors children must keep.

    Raises OSError when the file cannot be written.
    """
    handler: logging.Handler
    descriptors: frozenset[int] = frozenset()
    if path:
        file_handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
        if file_handler.stream is not None:
            descriptors = frozenset({file_handler.stream.fileno()})
        handler = file_handler
    else:
        handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(LineFormatter())
    logger.handlers[:] = [handler]
    logger.propagate = False
    set_level(level)
    return descriptors


def set_level(level: str) -> None:
    """Log from this level of Redis's on."""
    logger.setLevel(LEVELS[level])
