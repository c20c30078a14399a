"""Who may connect to a process that serves clients, and what is set on their sockets."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Mapping
from typing import Any, Final

PROTECTED: Final = (
    b"-DENIED Redis is running in protected mode because protected mode is enabled and no password"
    b" is set for the default user. Connect from this host, or switch it off there: CONFIG SET"
    b" protected-mode no. Nobody may then keep others out but your network.\r\n"
)
TOO_MANY: Final = b"-ERR max number of clients reached\r\n"


def keep_alive(connection: socket.socket, seconds: int) -> None:
    """Let the kernel find out that a silent peer has gone (tcp-keepalive). Raises OSError."""
    if seconds and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 3))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def is_protected(connection: socket.socket, peer: Any, settings: Mapping[str, Any]) -> bool:
    """Whether protected mode refuses this peer: it is on, and the peer is another host."""
    if not settings["protected-mode"] or settings.get("requirepass"):
        return False
    return not is_loopback(connection.family, peer)


def refuse(connection: socket.socket, reply: bytes) -> None:
    """Say why, if the peer still listens."""
    with contextlib.suppress(OSError):
        connection.send(reply)


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
