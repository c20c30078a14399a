"""A small RESP client for shardctl: one connection, one command at a time, RESP2."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import Any, Final

LINE_BYTES_MAX: Final = 64 * 1024
BULK_BYTES_MAX: Final = 512 * 1024 * 1024
DEPTH_MAX: Final = 32
TIMEOUT_SECONDS: Final = 10.0
"""Longer than INFO waits for a process that is busy, so that the others are shown."""


class ServerError(Exception):
    """The server answered with an error."""


class ProtocolError(Exception):
    """What answers there does not speak RESP, or is not shardis."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is, and how to be let in."""

    host: str = "127.0.0.1"
    port: int = 6379
    path: str = ""  # of a unix socket; instead of host and port
    user: str = ""
    password: str = ""
    tls: bool = False
    ca_file: str = ""  # empty: the system's authorities
    certificate_file: str = ""
    key_file: str = ""
    verify: bool = True
    timeout_seconds: float = TIMEOUT_SECONDS

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"

    def context(self) -> ssl.SSLContext:
        """What TLS needs. Raises OSError for files that cannot be read."""
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate_file:
            context.load_cert_chain(self.certificate_file, self.key_file or None)
        return context


class Client:
    """A connection to a server; a context manager."""

    def __init__(self, target: Target) -> None:
        """Connect, and authenticate if there is a password. Raises OSError, ServerError."""
        self._socket = _connected(target)
        self._file = self._socket.makefile("rb")
        if target.password or target.user:
            try:
                user = [target.user] if target.user else []
                self.call("AUTH", *user, target.password)
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def call(self, *words: str) -> Any:
        """The reply to a command. Raises ServerError, ProtocolError, OSError."""
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            data = word.encode("utf-8", "surrogateescape")
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


def _connected(target: Target) -> socket.socket:
    """A connected socket, behind TLS if wanted. Raises OSError."""
    if target.path:
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        plain.settimeout(target.timeout_seconds)
        try:
            plain.connect(target.path)
        except OSError:
            plain.close()
            raise
    else:
        address = (target.host, target.port)
        plain = socket.create_connection(address, target.timeout_seconds)
    if not target.tls:
        return plain
    try:
        return target.context().wrap_socket(plain, server_hostname=target.host)
    except OSError:
        plain.close()
        raise
