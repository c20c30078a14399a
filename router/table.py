"""The whole command table of the server: every family, in every place."""

from __future__ import annotations

from protocol.commands import CommandTable
from router.commands import MODULES as ADMIN_COMMANDS
from sessions.commands import MODULES as SESSION_COMMANDS
from shards.commands import FAMILIES


def full_table() -> CommandTable:
    """All commands that this server runs. Raises DeclarationError."""
    return CommandTable.from_modules([*SESSION_COMMANDS, *ADMIN_COMMANDS, *FAMILIES])
