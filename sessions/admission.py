"""Who may connect to a process that serves clients, and what is set on their sockets.

    accepted -> admit (maxclients) -> refusal (protected mode) -> register -> ... -> closed
                                                              \\-> release

A plain connection goes through all of it at once (`accept`), one over TLS has its handshake behind
`admit`: an error cannot be told before, and a peer that never ends its handshake counts, too.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sessions.session import Session

PROTECTED: Final = (
    b"-DENIED Redis is running in protected mode because protected mode is enabled and no "
    b"password is set for the default user. In this mode connections are only accepted from "
    b"the loopback interface. If you want to connect from external computers to Redis you may "
    b"adopt one of the following solutions: 1) Just disable protected mode sending the command"
    b" 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from "
    b"the same host the server is running, however MAKE SURE Redis is not publicly accessible "
    b"from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) "
    b"Alternatively you can just disable the protected mode by editing the Redis configuration"
    b" file, and setting the protected mode option to 'no', and then restarting the server. 3)"
    b" If you started the server manually just for testing, restart it with the '--protected-"
    b"mode no' option. 4) Set up an authentication password for the default user. NOTE: You "
    b"only need to do one of the above things in order for the server to start accepting "
    b"connections from the outside.\r\n"
)
TOO_MANY: Final = b"-ERR max number of clients reached\r\n"


class Admission:
    """The door of one process. `settings` is its live configuration, by directive name.

    `connect` counts a connection and gives how many the whole server has, `disconnect` undoes it.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        connect: Callable[[], int],
        disconnect: Callable[[], None],
        next_client_id: Callable[[], int],
    ) -> None:
        self.settings = settings
        self.connections: dict[str, int] = dict.fromkeys(("tcp", "tls", "unix"), 0)
        self.total_connections = 0
        self.rejected_connections = 0
        self._connect = connect
        self._disconnect = disconnect
        self._next_client_id = next_client_id

    def accept(self, connection: socket.socket, peer: Any) -> tuple[int, str, str] | None:
        """A new plain connection: its client id and addresses, or None to refuse it.

        Raises OSError for a peer that has gone, before the connection is counted.
        """
        refusal = self.admit(connection)
        if refusal is None:
            refusal = self.refusal(connection, peer)
            if refusal is None:
                kind = "unix" if connection.family == socket.AF_UNIX else "tcp"
                return self.register(connection, peer, kind)
            self.release()
        with contextlib.suppress(OSError):
            connection.send(refusal)
        return None

    def admit(self, connection: socket.socket) -> bytes | None:
        """Count a new connection, or the reason to refuse it. Raises OSError."""
        keep_alive(connection, int(self.settings["tcp-keepalive"]))
        if self._connect() > self.settings["maxclients"]:
            self._disconnect()
            self.rejected_connections += 1
            return TOO_MANY
        return None

    def release(self) -> None:
        """A connection that was admitted has ended before it was registered."""
        self._disconnect()

    def refusal(self, connection: socket.socket, peer: Any) -> bytes | None:
        """The error for a peer from elsewhere while nothing but this protects the server."""
        if (
            self.settings["protected-mode"]
            and not self.settings["requirepass"]
            and not is_loopback(connection.family, peer)
        ):
            self.rejected_connections += 1
            return PROTECTED
        return None

    def register(self, connection: socket.socket, peer: Any, kind: str) -> tuple[int, str, str]:
        """The client id and the addresses of an admitted connection. Raises OSError."""
        family, local = connection.family, connection.getsockname()
        self.connections[kind] += 1
        self.total_connections += 1
        # A client of a unix socket has no address; both ends are shown as the path.
        return (
            self._next_client_id(),
            address_of(family, local if family == socket.AF_UNIX else peer),
            address_of(family, local),
        )

    def closed(self, session: Session) -> None:
        """A client's connection has gone."""
        self.connections[session.transport] -= 1
        self._disconnect()

    def reset_statistics(self) -> None:
        self.total_connections = 0
        self.rejected_connections = 0


def keep_alive(connection: socket.socket, seconds: int) -> None:
    """Let the kernel find out that a silent peer has gone (tcp-keepalive). Raises OSError."""
    if seconds and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 3))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def is_loopback(family: int, peer: Any) -> bool:
    if family == socket.AF_UNIX:
        return True
    address = ipaddress.ip_address(peer[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def address_of(family: int, name: Any) -> str:
    """An address as CLIENT LIST shows it."""
    if family == socket.AF_UNIX:
        return f"{name}:0"
    return f"[{name[0]}]:{name[1]}" if family == socket.AF_INET6 else f"{name[0]}:{name[1]}"
