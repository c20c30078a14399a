"""The part of DEBUG that concerns the whole server; workers send it on (shards/process/debug)."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from protocol.commands import F, Place, command
from router.commands.config import rewrite_config
from router.log import logger
from shards.arguments.options import quoted, word

if TYPE_CHECKING:
    from protocol.reply import Reply
    from router.admin import Admin, Caller

LEADING_INTEGER = re.compile(rb"\s*([+-]?[0-9]+)")


@command(
    "SHARDIS.DEBUG",
    arity=-2,
    flags=F.ADMIN | F.INTERNAL,
    place=Place.ADMIN,
)
async def debug(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Log a line, rewrite the file, let the cron rest, ...; the worker counted arguments."""
    subcommand = word(args[1])
    if subcommand == b"LOG":
        logger.warning("DEBUG LOG: %s", quoted(args[2]).decode("utf-8", "backslashreplace"))
    elif subcommand == b"CONFIG-REWRITE-FORCE-ALL":
        rewrite_config(admin, all_values=True)
    elif subcommand == b"CHANGE-REPL-ID":
        logger.info("Changing replication IDs after receiving DEBUG change-repl-id")
        admin.replication_id = os.urandom(20).hex()
    else:
        number = LEADING_INTEGER.match(args[2])
        paused = number is not None and int(number[1]) != 0
        admin.cron_paused = paused
        await admin.broadcast({"op": "pause-cron", "paused": paused})
        admin.shutdown.pause(paused)
    reply.ok()
