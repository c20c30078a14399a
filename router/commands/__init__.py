"""The commands that run in the router process, as `async (admin, caller, args, reply)`."""

from types import ModuleType

from router.commands import (
    client,
    config,
    debug,
    info,
    latency,
    memory,
    module,
    replication,
    shutdown,
    slowlog,
)

MODULES: tuple[ModuleType, ...] = (
    client,
    config,
    debug,
    info,
    latency,
    memory,
    module,
    replication,
    shutdown,
    slowlog,
)
