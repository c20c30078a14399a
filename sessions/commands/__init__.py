"""The commands that need nothing but the connection; handlers are `(session, args, reply)`."""

from types import ModuleType

from sessions.commands import cluster, connection, introspection

MODULES: tuple[ModuleType, ...] = (cluster, connection, introspection)
