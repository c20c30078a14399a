"""What clients ask about replicas and saved data while there are none: ROLE, WAIT, LASTSAVE, ..."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protocol.commands import F, Place, Request, Response, command
from protocol.errors import NOT_INTEGER, CommandError
from protocol.numbers import parse_int64
from protocol.version import REDIS_VERSION

if TYPE_CHECKING:
    from protocol.reply import Reply
    from router.admin import Admin, Caller

SERVER: dict[str, Any] = {"group": "server", "place": Place.ADMIN}
WAITS: dict[str, Any] = {
    "group": "generic",
    "place": Place.ADMIN,
    "acl": ("connection",),
    "request": Request.ALL_SHARDS,
    "response": Response.AGG_MIN,
}
BAD_TIMEOUT = b"ERR timeout is not an integer or out of range"
NEGATIVE_TIMEOUT = b"ERR timeout is negative"
NOT_A_FLAG = b"ERR value is out of range, value must between 0 and 1"
NOT_POSITIVE = b"ERR value is out of range, must be positive"
NO_LOG = b"ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."


@command(
    "ROLE",
    arity=1,
    flags=F.NOSCRIPT | F.LOADING | F.STALE | F.FAST,
    acl=("admin", "dangerous"),
    **SERVER,
)
async def role(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Say that this is a master, its replication offset, and its replicas: none. O(1)"""
    reply.array(3)
    reply.bulk(b"master")
    reply.integer(0)
    reply.array(0)


@command(
    "LASTSAVE",
    arity=1,
    flags=F.LOADING | F.STALE | F.FAST,
    acl=("admin", "dangerous"),
    tips=("nondeterministic_output",),
    **SERVER,
)
async def last_save(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Give the Unix time of the last save: that of the start, as nothing is saved yet. O(1)"""
    reply.integer(int(admin.started))


@command("LOLWUT", arity=-1, flags=F.READONLY | F.FAST, **SERVER)
async def lolwut(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Show the version. The drawings of versions 5 and 6 are not here. O(1)"""
    if len(args) > 2 and args[1].lower() == b"version" and parse_int64(args[2]) is None:
        raise CommandError(NOT_INTEGER)
    reply.verbatim(f"Redis ver. {REDIS_VERSION}\n".encode(), b"txt")


@command("WAIT", arity=3, **WAITS)
async def wait(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Wait until so many replicas have what this client has written; there are none. O(1)

    It is answered what a wait in vain is; the client's process waits (sessions/barriers).
    """
    wanted = parse_int64(args[1])
    if wanted is None:
        raise CommandError(NOT_INTEGER)
    timeout_of(args[2])
    reply.integer(0)


@command("WAITAOF", arity=4, flags=F.NOSCRIPT, **WAITS)
async def wait_for_log(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Wait until logs, here and at replicas, have what this client has written. O(1)"""
    local, wanted = map(parse_int64, args[1:3])
    if local is None:
        raise CommandError(NOT_INTEGER)
    if not 0 <= local <= 1:
        raise CommandError(NOT_A_FLAG)
    if wanted is None or wanted < 0:
        raise CommandError(NOT_POSITIVE)
    timeout_of(args[3])
    if local:
        raise CommandError(NO_LOG)
    reply.array(2)
    reply.integer(0)
    reply.integer(0)


def timeout_of(argument: bytes) -> int:
    """A timeout in milliseconds. Raises CommandError."""
    timeout = parse_int64(argument)
    if timeout is None:
        raise CommandError(BAD_TIMEOUT)
    if timeout < 0:
        raise CommandError(NEGATIVE_TIMEOUT)
    return timeout
