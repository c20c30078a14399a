"""MULTI, EXEC and what belongs to them, as far as the session answers by itself.

What is queued is in sessions/queue; the session runs MULTI and EXEC natively where it can. WATCH
and an EXEC that one shard cannot run alone are their host's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from protocol.commands import F, Keys, Place, command
from protocol.errors import CommandError

if TYPE_CHECKING:
    from protocol.reply import Reply
    from sessions.session import Session

NESTED: Final = b"ERR MULTI calls can not be nested"
NO_MULTI: Final = b"ERR %b without MULTI"
WATCH_INSIDE: Final = b"ERR WATCH inside MULTI is not allowed"

TRANSACTION: Final[dict[str, Any]] = {"group": "transactions", "acl": ("transaction",)}
ALWAYS: Final = F.NOSCRIPT | F.LOADING | F.STALE
QUICK: Final = ALWAYS | F.FAST | F.ALLOW_BUSY


@command("MULTI", arity=1, flags=QUICK, place=Place.SESSION, **TRANSACTION)
def multi(session: Session, args: list[bytes], reply: Reply) -> None:
    """Queue the commands that follow. O(1)"""
    if session.in_multi:
        raise CommandError(NESTED)
    session.begin_multi()
    reply.ok()


@command("DISCARD", arity=1, flags=QUICK, place=Place.SESSION, **TRANSACTION)
def discard(session: Session, args: list[bytes], reply: Reply) -> None:
    """Forget what is queued and watched. O(commands)"""
    if not session.in_multi:
        raise CommandError(NO_MULTI % b"DISCARD")
    session.discard()
    reply.ok()


@command(
    "EXEC", arity=1, flags=ALWAYS | F.SKIP_SLOWLOG, place=Place.HOST, **TRANSACTION
)  # fmt: skip
def exec_(session: Session, args: list[bytes], reply: Reply) -> None:
    """Run what is queued. Outside of MULTI, which is where this is called, an error. O(1)"""
    raise CommandError(NO_MULTI % b"EXEC")


@command(
    "WATCH", arity=-2, flags=QUICK, place=Place.HOST, keys=Keys(1, last=-1, flags="RO"),
    **TRANSACTION,
)  # fmt: skip
def watch(session: Session, args: list[bytes], reply: Reply) -> None:
    """Let EXEC do nothing if a key changes until then. Inside of MULTI an error. O(1)"""
    raise CommandError(WATCH_INSIDE)


@command("UNWATCH", arity=1, flags=QUICK, place=Place.SESSION, **TRANSACTION)
def unwatch(session: Session, args: list[bytes], reply: Reply) -> None:
    """Forget the watched keys. O(keys)"""
    session.unwatch()
    reply.ok()
