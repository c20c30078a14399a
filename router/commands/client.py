"""CLIENT LIST, KILL, PAUSE, UNPAUSE and UNBLOCK: what concerns the clients of all processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from protocol.commands import F, Place, command
from protocol.errors import NOT_INTEGER, SYNTAX, CommandError
from protocol.numbers import parse_int64

if TYPE_CHECKING:
    from protocol.reply import Reply
    from router.admin import Admin, Caller

LONG_MAX: Final = 2**63 - 1
SHOWN_BYTES_MAX: Final = 128
DEFAULT_USER: Final = b"default"
KINDS: Final = {
    b"normal": "normal",
    b"slave": "replica",
    b"replica": "replica",
    b"pubsub": "pubsub",
    b"master": "master",
}

BAD_ID = b"ERR Invalid client ID"
BAD_KIND = b"ERR Unknown client type '%s'"
BAD_KILL_ID = b"ERR client-id should be greater than 0"
NO_SUCH_USER = b"ERR No such user '%s'"
NO_SUCH_CLIENT = b"ERR No such client"
BAD_REASON = b"ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"
BAD_MODE = b"ERR CLIENT PAUSE mode must be WRITE or ALL"
BAD_TIMEOUT = b"ERR timeout is not an integer or out of range"
NEGATIVE_TIMEOUT = b"ERR timeout is negative"
TIMEOUT_RANGE = b"ERR timeout is out of range"
WRONG_COUNT = b"ERR unknown subcommand or wrong number of arguments for '%s'. Try CLIENT HELP."

CONNECTION: dict[str, Any] = {
    "group": "connection",
    "place": Place.ADMIN,
    "flags": F.ADMIN | F.NOSCRIPT | F.LOADING | F.STALE,
}


@command(
    "CLIENT|LIST",
    arity=-2,
    tips=("nondeterministic_output",),
    **CONNECTION,
)
async def client_list(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Describe all connections, or those of one type, or those with some numbers."""
    kind: str | None = None
    ids: list[int] | None = None
    option = args[2].lower() if len(args) > 2 else b""
    if option == b"type" and len(args) == 4:
        kind = _kind(args[3])
    elif option == b"id" and len(args) > 3:
        ids = [_client_id(argument) for argument in args[3:]]
    elif len(args) != 2:
        raise CommandError(SYNTAX)
    answers = await admin.ask_client_holders(
        {"op": "clients", "kind": kind, "ids": ids}, caller.get("node")
    )
    lines: dict[int, bytes] = {number: line for answer in answers for number, line in answer}
    order = sorted(lines) if ids is None else [number for number in ids if number in lines]
    reply.verbatim(b"".join(lines[number] + b"\n" for number in order), b"txt")


@command("CLIENT|KILL", arity=-3, **CONNECTION)
async def client_kill(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Close the connections that fit all filters; the old form has an address only.

    The caller, if it is among them, still gets the reply.
    """
    old_form = len(args) == 3
    filters = {"addr": _text(args[2]), "skipme": False} if old_form else _filters(args[2:])
    answers = await admin.ask_client_holders(
        {"op": "kill", "filters": filters, "caller": caller["id"]}, caller.get("node")
    )
    killed = sum(answers)
    if not old_form:
        reply.integer(killed)
    elif killed:
        reply.ok()
    else:
        raise CommandError(NO_SUCH_CLIENT)


def _filters(words: list[bytes]) -> dict[str, Any]:
    """The filters of CLIENT KILL. Raises CommandError."""
    filters: dict[str, Any] = {"skipme": True}
    for at in range(0, len(words), 2):
        if at + 1 == len(words):
            raise CommandError(SYNTAX)
        value = words[at + 1]
        match words[at].lower():
            case b"id":
                number = parse_int64(value)
                if number is None or number < 1:
                    raise CommandError(BAD_KILL_ID)
                filters["id"] = number
            case b"type":
                filters["kind"] = _kind(value)
            case b"addr" | b"laddr" as name:
                filters[name.decode()] = _text(value)
            case b"user":
                if value != DEFAULT_USER:
                    raise CommandError(NO_SUCH_USER % value)
                filters["user"] = value
            case b"skipme":
                if value.lower() not in (b"yes", b"no"):
                    raise CommandError(SYNTAX)
                filters["skipme"] = value.lower() == b"yes"
            case _:
                raise CommandError(SYNTAX)
    return filters


@command("CLIENT|PAUSE", arity=-3, **CONNECTION)
async def client_pause(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Postpone the commands of all clients for some time, or only those that may write.

    The reply comes when nothing of that kind runs any more, in any process.
    """
    mode = "all"
    if len(args) > 4:
        raise CommandError(WRONG_COUNT % args[1][:SHOWN_BYTES_MAX])
    if len(args) == 4:
        mode = args[3].lower().decode("latin-1")
        if mode not in ("write", "all"):
            raise CommandError(BAD_MODE)
    milliseconds = parse_int64(args[2])
    if milliseconds is None:
        raise CommandError(BAD_TIMEOUT)
    if milliseconds < 0:
        raise CommandError(NEGATIVE_TIMEOUT)
    if milliseconds > LONG_MAX - int(admin.started * 1000):
        raise CommandError(TIMEOUT_RANGE)
    admin.pause.extend(mode, milliseconds / 1000)
    await _apply_pause(admin)
    reply.ok()


@command("CLIENT|UNPAUSE", arity=2, **CONNECTION)
async def client_unpause(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """End the pause; what was postponed runs now."""
    admin.pause.end()
    await _apply_pause(admin)
    reply.ok()


@command("CLIENT|UNBLOCK", arity=-3, **CONNECTION)
async def client_unblock(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Let a client go on that waits in a blocking command, as after a timeout or with an error."""
    if len(args) > 4:
        raise CommandError(WRONG_COUNT % args[1][:SHOWN_BYTES_MAX])
    if len(args) == 4 and args[3].lower() not in (b"timeout", b"error"):
        raise CommandError(BAD_REASON)
    number = parse_int64(args[2])
    if number is None:
        raise CommandError(NOT_INTEGER)
    error = len(args) == 4 and args[3].lower() == b"error"
    answers = await admin.ask_client_holders(
        {"op": "unblock", "id": number, "error": error}, caller.get("node")
    )
    reply.integer(1 if any(answers) else 0)


async def _apply_pause(admin: Admin) -> None:
    mode, until = admin.pause.state
    await admin.broadcast({"op": "pause", "mode": mode, "until": until})


def _kind(word: bytes) -> str:
    kind = KINDS.get(word.lower())
    if kind is None:
        raise CommandError(BAD_KIND % word)
    return kind


def _client_id(word: bytes) -> int:
    number = parse_int64(word)
    if number is None:
        raise CommandError(BAD_ID)
    return number


def _text(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")
