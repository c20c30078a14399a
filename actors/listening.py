"""Listening sockets on their way from the router to the processes that accept from them.

A process that starts inherits its listeners; one that runs already gets new ones through a socket
pair of its own (`Boot.descriptors`): the control link's transport cannot carry descriptors.

    router:   send_listeners(channel, listeners), then {"op": "listeners", "kinds": [...]}
    process:  receive_listeners(channel, kinds), while it handles that request
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Final

LISTENERS_MAX: Final = 128
"""For one process; the kernel passes 253 descriptors at once."""


class Listener(socket.socket):
    """A listening socket that knows what is spoken on it."""

    kind: str = "tcp"  # "tcp", "tls" or "unix"


def listener_from(descriptor: int, kind: str) -> Listener:
    """A listener that owns this descriptor, non-blocking."""
    listener = Listener(fileno=descriptor)
    listener.kind = kind
    listener.setblocking(False)
    return listener


def send_listeners(channel: socket.socket, listeners: Sequence[socket.socket]) -> None:
    """Hand them over without waiting. Raises OSError when the process takes nothing any more."""
    descriptors = [listener.fileno() for listener in listeners]
    # One byte goes with them: a message without any would look like the end of the channel.
    socket.send_fds(channel, [b"l"], descriptors, socket.MSG_DONTWAIT)


def receive_listeners(channel: socket.socket, kinds: Sequence[str]) -> list[Listener]:
    """The listeners that were sent last, with these kinds. Raises OSError, ValueError."""
    data, descriptors, flags, _ = socket.recv_fds(channel, 1, LISTENERS_MAX, socket.MSG_DONTWAIT)
    if not data or flags & socket.MSG_CTRUNC or len(descriptors) != len(kinds):
        for descriptor in descriptors:
            os.close(descriptor)
        raise ValueError(f"{len(descriptors)} listeners came where {len(kinds)} were announced")
    return [listener_from(*pair) for pair in zip(descriptors, kinds, strict=True)]
