"""The commands that need nothing but the connection; handlers are `(session, args, reply)`."""

from types import ModuleType

from sessions.commands import client, cluster, connection, introspection, transactions

MODULES: tuple[ModuleType, ...] = (
    client,
    cluster,
    connection,
    introspection,
    transactions,
)
