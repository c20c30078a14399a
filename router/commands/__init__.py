"""The commands that run in the router process; handlers are `async (admin, caller, args, reply)`."""

from types import ModuleType

from router.commands import config, shutdown

MODULES: tuple[ModuleType, ...] = (config, shutdown)
