"""The log, in redis-server's line format: `pid:role date sign message`.

All processes of a server write to the same place. A file is opened for each line, as redis-server
does, so that a rotation that renames it needs no signal; a line is one write, so that lines of
several processes never mix.
"""

from __future__ import annotations

import contextlib
import logging
import os
import syslog
import time
from typing import Final

from actors.diagnosis import VERBOSE

FACILITIES: Final = {
    "user": syslog.LOG_USER,
    **{f"local{number}": getattr(syslog, f"LOG_LOCAL{number}") for number in range(8)},
}

logger = logging.getLogger("shardis")


class LineFormatter(logging.Formatter):
    """One line as redis-server writes it; the role is M in the router, C in what it forked."""

    def __init__(self) -> None:
        super().__init__()
        self._router = os.getpid()

    def format(self, record: logging.LogRecord) -> str:
        sign = "#" if record.levelno >= logging.WARNING else "*"
        if record.levelno < logging.INFO:
            sign = "-" if record.levelno >= VERBOSE else "."
        moment = time.strftime("%d %b %Y %H:%M:%S", time.localtime(record.created))
        pid = os.getpid()
        role = "M" if pid == self._router else "C"
        return f"{pid}:{role} {moment}.{int(record.msecs):03d} {sign} {message_of(record)}"


def message_of(record: logging.LogRecord) -> str:
    """The text of a record, with its traceback if it has one."""
    message = record.getMessage()
    if record.exc_info:
        message = f"{message}\n{logging.Formatter().formatException(record.exc_info)}"
    return message


class LineHandler(logging.Handler):
    """Writes lines to a file, or to the standard output when the path is empty."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        self.write(self.format(record) + "\n")

    def write(self, text: str) -> None:
        """Write a text as it is. What cannot be written is lost: a log must not stop a server."""
        data = text.encode("utf-8", "backslashreplace")
        with contextlib.suppress(OSError):
            if not self._path:
                os.write(1, data)
                return
            descriptor = os.open(
                self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666
            )
            try:
                os.write(descriptor, data)
            finally:
                os.close(descriptor)


class SyslogHandler(logging.Handler):
    """Sends messages to syslog."""

    def __init__(self, ident: str, facility: str) -> None:
        super().__init__()
        syslog.openlog(ident, syslog.LOG_PID, FACILITIES[facility])
        # A child closes all descriptors it does not know; the C library must not use one of the
        # same number afterwards. It opens its own with the next message.
        os.register_at_fork(after_in_child=lambda: self._reopen(ident, facility))

    @staticmethod
    def _reopen(ident: str, facility: str) -> None:
        syslog.closelog()
        syslog.openlog(ident, syslog.LOG_PID, FACILITIES[facility])

    def emit(self, record: logging.LogRecord) -> None:
        priority = syslog.LOG_WARNING
        if record.levelno < VERBOSE:
            priority = syslog.LOG_DEBUG
        elif record.levelno < logging.INFO:
            priority = syslog.LOG_INFO
        elif record.levelno < logging.WARNING:
            priority = syslog.LOG_NOTICE
        syslog.syslog(priority, message_of(record).replace("\0", "\\0"))


def set_up(path: str) -> LineHandler:
    """Log to a file, or to the standard output. Raises OSError when the file cannot be written."""
    if path:
        with open(path, "ab"):
            path = os.path.abspath(path)
    handler = LineHandler(path)
    handler.setFormatter(LineFormatter())
    logger.handlers[:] = [handler]
    logger.propagate = False
    return handler


def add_syslog(ident: str, facility: str) -> None:
    """Log to syslog, too."""
    logger.addHandler(SyslogHandler(ident, facility))
