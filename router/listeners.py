"""The listening sockets: bound once by the router, exclusively, and inherited by all workers.

Because the router holds them, a worker that dies loses no connection that waits to be accepted,
and a second server on the same port is refused at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import Final

from router.config import Config
from router.log import logger

NOT_SUPPORTED: Final = {
    errno.EADDRNOTAVAIL,
    errno.ENOPROTOOPT,
    errno.EPROTONOSUPPORT,
    errno.ESOCKTNOSUPPORT,
    errno.EPFNOSUPPORT,
    errno.EAFNOSUPPORT,
}
"""What an optional address (with a leading dash) may fail with."""
WILDCARDS: Final = {"*": "0.0.0.0", "::*": "::"}


class ListenError(Exception):
    """The server cannot listen; the reason has been logged."""


def open_listeners(config: Config) -> list[socket.socket]:
    """All listening sockets of the configuration. Raises ListenError."""
    listeners: list[socket.socket] = []
    try:
        if config["port"]:
            listeners += listen_at(config, config["port"])
        if config["unixsocket"]:
            listeners.append(_unix(config))
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    if not listeners:
        logger.warning("Configured to not listen anywhere, exiting.")
        raise ListenError
    return listeners


def close_listeners(config: Config, listeners: list[socket.socket]) -> None:
    """Close them, and remove the name of the unix socket."""
    for listener in listeners:
        listener.close()
    if config["unixsocket"]:
        with contextlib.suppress(OSError):
            os.unlink(config["unixsocket"])


def describe(listener: socket.socket) -> str:
    """The address of a listening socket, as a client would write it."""
    if listener.family == socket.AF_UNIX:
        return str(listener.getsockname())
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen_at(config: Config, port: int) -> list[socket.socket]:
    """Sockets for this port on all addresses of `bind`. Raises ListenError."""
    listeners: list[socket.socket] = []
    for word in config["bind"].split():
        optional = word.startswith("-")
        address = word[1:] if optional else word
        try:
            listeners += _bind(WILDCARDS.get(address, address), port, config["tcp-backlog"])
        except OSError as error:
            if optional and (error.errno in NOT_SUPPORTED or isinstance(error, socket.gaierror)):
                continue
            reason = error.strerror or str(error)
            logger.warning(
                "Warning: Could not create server TCP listening socket %s:%d: bind: %s",
                address,
                port,
                reason,
            )
            for listener in listeners:
                listener.close()
            listeners.clear()
            break
    if not listeners:
        logger.warning("Failed listening on port %d (tcp), aborting.", port)
        raise ListenError
    return listeners


def _bind(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Sockets for the addresses of one name; the first that can be bound, as Redis does."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    problem: OSError | None = None
    for family, kind, protocol, _, address in found:
        try:
            listener = socket.socket(family, kind, protocol)
        except OSError as error:
            problem = problem or error
            continue
        try:
            # No SO_REUSEPORT: two servers on one port would share its clients without a word.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(backlog)
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            problem = problem or error
            continue
        return [listener]
    raise problem or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))


def _unix(config: Config) -> socket.socket:
    path: str = config["unixsocket"]
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # of an earlier server, as redis-server does
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        listener.listen(config["tcp-backlog"])
        listener.setblocking(False)
        if config["unixsocketperm"]:
            os.chmod(path, config["unixsocketperm"])
    except OSError as error:
        listener.close()
        logger.warning("Failed opening Unix socket: bind: %s", error.strerror or error)
        raise ListenError from None
    return listener
