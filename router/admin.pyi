from typing import Any

from protocol.commands import CommandTable
from router.config import Config

class Admin:
    """What the handlers of ADMIN commands see: `async (admin, caller, args, reply)`.

    They run in the router process, one at a time for each caller. `caller` is a dict with the
    client's id, name, address, database, resp and user.
    """

    config: Config
    table: CommandTable

    async def ask_shards(self, request: dict[str, Any]) -> list[Any]:
        """Send a control request to every shard; their answers in shard order (None: it is down)."""

    async def ask_workers(self, request: dict[str, Any]) -> list[Any]: ...
    async def broadcast(self, request: dict[str, Any]) -> None:
        """Send to all workers and shards, and return when every living one has acknowledged."""
