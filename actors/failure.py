"""What happens when a callback of a worker or shard process fails: the process ends.

Such an exception is a mistake of ours, after which the process's state can't be trusted: a batch
may be half executed, and clients would wait for ever. The supervisor starts a new process.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

EXIT_CODE = 70  # EX_SOFTWARE

logger = logging.getLogger("shardis")


def end_on_failure(loop: asyncio.AbstractEventLoop) -> None:
    """Let an exception in a callback end the process; one in a task is only logged."""
    loop.set_exception_handler(_on_exception)


def _on_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    logger.critical("%s", context.get("message", "an exception"), exc_info=context.get("exception"))
    if "handle" in context:
        for handler in logger.handlers:
            handler.flush()
        os._exit(EXIT_CODE)
