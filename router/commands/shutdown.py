"""SHUTDOWN: the end of the server, asked for by a client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from protocol.commands import F, Place, command
from protocol.errors import SYNTAX, CommandError
from router.shutdown import ShutdownRefused

if TYPE_CHECKING:
    from protocol.reply import Reply
    from router.admin import Admin, Caller

NOT_IN_PROGRESS = b"ERR No shutdown in progress."
TOO_LATE = b"ERR The shutdown has begun and can't be aborted any more."
NOT_SAVED = b"ERR Errors trying to SHUTDOWN. Check logs."
WORDS = {b"SAVE", b"NOSAVE", b"NOW", b"FORCE", b"ABORT"}


@command(
    "SHUTDOWN",
    arity=-1,
    flags=F.ADMIN | F.NOSCRIPT | F.LOADING | F.STALE | F.NO_MULTI | F.ALLOW_BUSY,
    place=Place.ADMIN,
    group="server",
)
async def shutdown(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """End the server, after saving when that is configured.

    A shutdown has no reply: what the client sent after it is not executed, and it sees the
    connection end. With NOW, commands that are under way are not waited for.
    """
    words = {word.partition(b"\0")[0].upper() for word in args[1:]}
    if (
        not words <= WORDS
        or (b"ABORT" in words and len(words) > 1)
        or {b"SAVE", b"NOSAVE"} <= words
    ):
        raise CommandError(SYNTAX)
    if b"ABORT" in words:
        if not admin.shutdown.abort():
            raise CommandError(TOO_LATE if admin.shutdown.begun.is_set() else NOT_IN_PROGRESS)
        reply.ok()
        return
    try:
        admin.shutdown.begin({word.decode().lower() for word in words})
    except ShutdownRefused:
        raise CommandError(NOT_SAVED) from None
    await asyncio.Event().wait()  # until the process ends
