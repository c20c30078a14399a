"""SHUTDOWN: the end of the server, asked for by a client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.commands import F, Place, command
from protocol.errors import SYNTAX, CommandError

if TYPE_CHECKING:
    from protocol.reply import Reply
    from router.admin import Admin, Caller

NOT_IN_PROGRESS = b"ERR No shutdown in progress."
NOT_SAVED = b"ERR Errors trying to SHUTDOWN. Check logs."


@command(
    "SHUTDOWN",
    arity=-1,
    flags=F.ADMIN | F.NOSCRIPT | F.LOADING | F.STALE | F.NO_MULTI | F.ALLOW_BUSY,
    since="1.0.0",
    place=Place.ADMIN,
    group="server",
    complexity="O(1), and O(N) for N keys when it saves",
)
async def shutdown(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """End the server, after saving when that is configured.

    A shutdown has no reply: the client sees the connection end. SAVE is refused as long as
    nothing can be saved, unless FORCE says that the data may go.
    """
    words = [word.upper() for word in args[1:]]
    save, nosave, abort = (word in words for word in (b"SAVE", b"NOSAVE", b"ABORT"))
    if not {b"SAVE", b"NOSAVE", b"NOW", b"FORCE", b"ABORT"}.issuperset(words):
        raise CommandError(SYNTAX)
    if (abort and len(words) > 1) or (save and nosave):
        raise CommandError(SYNTAX)
    if abort:
        raise CommandError(NOT_IN_PROGRESS)
    if save and b"FORCE" not in words:
        raise CommandError(NOT_SAVED)
    admin.shut_down()
