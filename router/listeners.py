"""The endpoint's listening sockets: bound by the router, exclusively, and shared by all workers.

Because the router holds them, a worker that dies loses no connection that waits to be accepted,
and a second server on the same port is refused at once.

    start:       Listeners.open -> workers inherit them
    CONFIG SET:  stage (binds what is new) -> commit -> workers take them over -> +OK

Nothing is given up before everything new is bound, so that a change that fails changes nothing.
What can be kept is kept: the same address and port stay the same socket, with what waits in its
queue, whatever is spoken on it afterwards.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from actors.listening import Listener

NOT_SUPPORTED: Final = {
    errno.ENOPROTOOPT,
    errno.EPROTONOSUPPORT,
    errno.ESOCKTNOSUPPORT,
    errno.EPFNOSUPPORT,
    errno.EAFNOSUPPORT,
}
"""What any address may fail with: the kernel lacks its family."""
SO_MARK: Final = 36
SOMAXCONN_PATH: Final = "/proc/sys/net/core/somaxconn"
PORTS: Final = {"tcp": "port", "tls": "tls-port"}
"""The directive that holds the port of each kind."""
DIRECTIVES: Final = frozenset({"bind", "port", "tls-port"})
"""What changes the listening sockets at run time."""

logger = logging.getLogger("shardis")
Settings = Mapping[str, Any]
Place = tuple[int, Any]  # family and address, as bound


def of_node(settings: Settings, node: int | None) -> Settings:
    """The settings as they are for a shard's own port in cluster mode; None: the endpoint's."""
    if node is None:
        return settings
    ports = {name: settings[name] and settings[name] + 1 + node for name in PORTS.values()}
    return {**settings, **ports, "unixsocket": ""}


class ListenError(Exception):
    """The server cannot listen; the reason has been logged."""


@dataclass(slots=True)
class Staged:
    """A change of the listening sockets that is bound, but not yet in force."""

    listeners: list[Listener]
    opened: list[Listener] = field(default_factory=list)
    silenced: list[Listener] = field(default_factory=list)  # shut down to make room
    backlog: int = 0

    def abandon(self) -> None:
        """Undo it: what was in force goes on."""
        for listener in self.opened:
            listener.close()
        for listener in self.silenced:
            try:
                listener.listen(self.backlog)
            except OSError as error:  # somebody was quicker
                logger.error("Cannot listen on %s any more: %s", describe(listener), error)


class Listeners:
    """The sockets in force, and how they change."""

    def __init__(self) -> None:
        self.sockets: list[Listener] = []
        self.backlog = 0

    def open(self, settings: Settings) -> None:
        """Bind everything that is configured. Raises ListenError."""
        staged = Staged([])
        try:
            for kind in PORTS:
                _bind_all(kind, settings, staged, {})
            if settings["unixsocket"]:
                staged.opened.append(_unix(settings))
                staged.listeners.append(staged.opened[-1])
            if not staged.listeners:
                logger.warning("Configured to not listen anywhere, exiting.")
                raise ListenError("none")
        except BaseException:
            staged.abandon()
            raise
        self.sockets[:] = staged.listeners

    def close(self, settings: Settings) -> None:
        """Close them, and remove the name of the unix socket."""
        for listener in self.sockets:
            listener.close()
        self.sockets.clear()
        if settings["unixsocket"]:
            with contextlib.suppress(OSError):
                os.unlink(settings["unixsocket"])

    def stage(self, settings: Settings) -> Staged:
        """Bind what these settings need beside what is there. Raises ListenError.

        An address that only our own old sockets keep from being bound (one that covers theirs)
        gets it by shutting them down for the moment: their bound places stay ours meanwhile.
        """
        held = {_place(listener): listener for listener in self.sockets}
        staged = Staged([], backlog=self.backlog)
        try:
            for kind in PORTS:
                _bind_all(kind, settings, staged, held, self._silence)
        except BaseException:
            staged.abandon()
            raise
        staged.listeners += [listener for listener in self.sockets if listener.kind == "unix"]
        return staged

    def commit(self, staged: Staged, settings: Settings) -> list[Listener]:
        """Put it in force here; the sockets to close once no process accepts from them."""
        kept = {listener.fileno() for listener in staged.listeners}
        given_up = [listener for listener in self.sockets if listener.fileno() not in kept]
        self.sockets[:] = staged.listeners  # in place: the supervisor hands this list to processes
        return given_up

    def _silence(self, port: int, staged: Staged) -> bool:
        """Shut the sockets on this port down; False when there is none left to shut down."""
        kept = {_place(listener) for listener in staged.listeners if listener.kind != "unix"}
        found = [
            listener
            for listener in self.sockets
            if listener.kind != "unix"
            and listener.getsockname()[1] == port
            and listener not in staged.silenced
            and _place(listener) not in kept
        ]
        for listener in found:
            # For all processes that share it; the address stays bound, so that it can come back.
            listener.shutdown(socket.SHUT_RDWR)
        staged.silenced += found
        return bool(found)


def describe(listener: socket.socket) -> str:
    """The address of a listening socket, as a client would write it."""
    if listener.family == socket.AF_UNIX:
        return str(listener.getsockname())
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def fields(settings: Settings) -> list[str]:
    """What INFO says of each kind of listener, in its order."""
    texts: list[str] = []
    binds = "".join(f",bind={address}" for address in settings["bind"].split())
    if settings["port"]:
        texts.append(f"name=tcp{binds},port={settings['port']}")
    if settings["unixsocket"]:
        texts.append(f"name=unix,bind={settings['unixsocket']}")
    if settings["tls-port"]:
        texts.append(f"name=tls{binds},port={settings['tls-port']}")
    return texts


def check_backlog(backlog: int) -> None:
    """Warn when the kernel allows fewer waiting connections than are configured."""
    with contextlib.suppress(OSError, ValueError), open(SOMAXCONN_PATH, encoding="ascii") as file:
        allowed = int(file.read())
        if 0 < allowed < backlog:
            logger.warning(
                "WARNING: The TCP backlog setting of %d cannot be enforced because %s is set to "
                "the lower value of %d.",
                backlog,
                SOMAXCONN_PATH,
                allowed,
            )


def open_group(
    kind: str, addresses: Iterable[str], port: int, settings: Settings
) -> list[Listener]:
    """Listeners of one kind on all of these addresses, for whatever process. Raises ListenError.

    Those of optional addresses that do not exist are missing, and so are those of families that
    the kernel lacks; any other failure closes what was opened.
    """
    staged = Staged([])
    try:
        _bind_all(kind, {**settings, "bind": " ".join(addresses), PORTS[kind]: port}, staged, {})
    except BaseException:
        staged.abandon()
        raise
    return staged.listeners


def _bind_all(
    kind: str,
    settings: Settings,
    staged: Staged,
    held: dict[Place, Listener],
    make_room: Callable[[int, Staged], bool] = lambda port, staged: False,
) -> None:
    """Add the listeners of one kind: those of `held` where they fit, else new ones.

    Raises ListenError, after which the caller owes `staged.abandon()`.
    """
    port: int = settings[PORTS[kind]]
    for word in settings["bind"].split() if port else ():
        address = word.removeprefix("-")
        try:
            found = _resolve(address, port)
            fitting = [held[place] for place in found if place in held]
            listener = next((one for one in fitting if one not in staged.silenced), None)
            if listener is None or listener.kind != kind:
                listener = (
                    _again(listener) if listener else _bind(found, settings, staged, make_room)
                )
                listener.kind = kind
                staged.opened.append(listener)
            staged.listeners.append(listener)
        except OSError as error:
            logger.warning(
                "Warning: Could not create server TCP listening socket %s:%d: %s%s",
                address,
                port,
                "" if isinstance(error, socket.gaierror) else "bind: ",
                error.strerror or error,
            )
            optional = word.startswith("-") and error.errno == errno.EADDRNOTAVAIL
            if optional or error.errno in NOT_SUPPORTED:
                continue
            logger.warning("Failed listening on port %d (%s), aborting.", port, kind)
            raise ListenError(kind) from None


def _resolve(address: str, port: int) -> list[Place]:
    """The families and addresses of one word of `bind`: IPv6 has a colon, all else is IPv4."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    host = None if address == "*" or address == "::*" else address
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [(int(entry[0]), entry[4]) for entry in found]


def _again(listener: Listener) -> Listener:
    """The same socket, for another kind of connections."""
    same = Listener(fileno=os.dup(listener.fileno()))
    same.setblocking(False)
    return same


def _bind(
    found: list[Place],
    settings: Settings,
    staged: Staged,
    make_room: Callable[[int, Staged], bool],
) -> Listener:
    """A listener on the first address whose family the kernel has. Raises OSError."""
    problem: OSError | None = None
    for family, address in found:
        try:
            listener = Listener(family, socket.SOCK_STREAM)
        except OSError as error:
            problem = problem or error
            continue
        try:
            # No SO_REUSEPORT: two servers on one port would share its clients without a word.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if settings["socket-mark-id"]:
                # Without the capability it stays unmarked, as in redis-server.
                with contextlib.suppress(OSError):
                    listener.setsockopt(socket.SOL_SOCKET, SO_MARK, settings["socket-mark-id"])
            try:
                listener.bind(address)
                listener.listen(settings["tcp-backlog"])
            except OSError as error:
                if error.errno != errno.EADDRINUSE or not make_room(address[1], staged):
                    raise
                _bind_and_listen_again(listener, address, settings["tcp-backlog"])
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        return listener
    raise problem or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))


def _bind_and_listen_again(listener: Listener, address: Any, backlog: int) -> None:
    """Finish what failed before there was room: bind may have succeeded, and listen not."""
    with contextlib.suppress(OSError):
        listener.bind(address)
    listener.listen(backlog)


def _place(listener: Listener) -> Place:
    return int(listener.family), listener.getsockname()


def _unix(settings: Settings) -> Listener:
    path: str = settings["unixsocket"]
    with contextlib.suppress(OSError):
        os.unlink(path)  # of an earlier server, as redis-server does
    listener = Listener(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.kind = "unix"
    try:
        listener.bind(path)
        if settings["unixsocketperm"]:
            os.chmod(path, settings["unixsocketperm"])
        listener.listen(settings["tcp-backlog"])
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        logger.warning("Failed opening Unix socket: bind: %s", error.strerror or error)
        raise ListenError("unix") from None
    return listener
