"""A minimal RESP client for shardctl: one connection, one command at a time, RESP2."""

from __future__ import annotations

import socket
from typing import Any, Final

LINE_BYTES_MAX: Final = 64 * 1024
BULK_BYTES_MAX: Final = 512 * 1024 * 1024
DEPTH_MAX: Final = 32


class ServerError(Exception):
    """The server answered with an error."""


class ProtocolError(Exception):
    """What answers there does not speak RESP."""


class Client:
    """A connection to a server; a context manager."""

    def __init__(self, host: str, port: int, timeout_seconds: float, path: str = "") -> None:
        """Connect over TCP, or over a unix socket when `path` is given. Raises OSError."""
        if path:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(timeout_seconds)
            self._socket.connect(path)
        else:
            self._socket = socket.create_connection((host, port), timeout_seconds)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def call(self, *words: str) -> Any:
        """The reply to a command. Raises ServerError, ProtocolError, OSError."""
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            data = word.encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
        self._socket.sendall(b"".join(parts))
        return self._reply(0)

    def _reply(self, depth: int) -> Any:
        line = self._file.readline(LINE_BYTES_MAX)
        if not line:
            raise ConnectionError("the server closed the connection")
        if not line.endswith(b"\r\n") or depth > DEPTH_MAX:
            raise ProtocolError("the answer is not RESP")
        kind, text = line[:1], line[1:-2].decode("utf-8", "replace")
        if kind == b"+":
            return text
        if kind == b"-":
            raise ServerError(text)
        try:
            number = int(text)
        except ValueError:
            raise ProtocolError("the answer is not RESP") from None
        if kind == b":":
            return number
        if kind == b"$" and number < BULK_BYTES_MAX:
            return self._bulk(number)
        if kind == b"*" and number < BULK_BYTES_MAX:
            return None if number < 0 else [self._reply(depth + 1) for _ in range(number)]
        raise ProtocolError("the answer is not RESP")

    def _bulk(self, length: int) -> str | None:
        if length < 0:
            return None
        data = self._file.read(length + 2)
        if len(data) != length + 2:
            raise ConnectionError("the server closed the connection")
        return data[:-2].decode("utf-8", "replace")
