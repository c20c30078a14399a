"""The reply of a container's HELP subcommand, in the shape that all of them have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocol.reply import Reply


def help_reply(reply: Reply, name: bytes, lines: tuple[bytes, ...]) -> None:
    """The reply of a HELP subcommand, in the frame that Redis's have."""
    reply.array(len(lines) + 3)
    reply.status(name + b" <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
    for line in lines:
        reply.status(line)
    reply.status(b"HELP")
    reply.status(b"    Print this help.")
