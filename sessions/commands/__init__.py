"""The commands that need nothing but the connection; handlers are `(session, args, reply)`."""

from types import ModuleType

from sessions.commands import client, connection, introspection

MODULES: tuple[ModuleType, ...] = (client, connection, introspection)
