"""CLIENT: what concerns the own connection. What concerns others runs in the router."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from protocol.commands import F, Place, Request, Response, command
from protocol.errors import SYNTAX, CommandError
from sessions.commands.connection import BAD_NAME, is_printable
from sessions.description import describe

if TYPE_CHECKING:
    from protocol.reply import Reply
    from sessions.session import Session

BAD_ATTRIBUTE = b"ERR %s cannot contain spaces, newlines or special characters."
BAD_OPTION = b"ERR Unrecognized option '%s'"
UNKNOWN_SUBCOMMAND = b"ERR unknown subcommand '%s'. Try %s HELP."
SHOWN_BYTES_MAX: Final = 128
NO_REDIRECTION: Final = -1

CONNECTION: dict[str, Any] = {
    "group": "connection",
    "place": Place.SESSION,
}
ALWAYS = F.LOADING | F.STALE
OWN = F.NOSCRIPT | ALWAYS
ALL_NODES: dict[str, Any] = {"request": Request.ALL_NODES, "response": Response.ALL_SUCCEEDED}

HELP = (
    b"CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"GETNAME",
    b"    Show the name of this connection.",
    b"GETREDIR",
    b"    Show which client gets the invalidation messages of this one.",
    b"ID",
    b"    Show the number of this connection.",
    b"INFO",
    b"    Describe this connection.",
    b"KILL <ip:port>",
    b"    Close the connection that comes from this address.",
    b"KILL <option> <value> [<option> <value> ...]",
    b"    Close all connections that fit every option, and tell how many:",
    b"    * ADDR (<ip:port>|<unixsocket>:0), LADDR (<ip:port>|<unixsocket>:0)",
    b"      By the client's address, or by ours.",
    b"    * ID <client-id>, USER <username>, TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    b"    * SKIPME (YES|NO)",
    b"      Whether the caller is spared; YES unless told.",
    b"LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <client-id> ...]",
    b"    Describe all connections, or some.",
    b"NO-EVICT (ON|OFF)",
    b"    Keep this connection when the memory of clients gets short.",
    b"NO-TOUCH (ON|OFF)",
    b"    Let this connection read keys without making them look recently used.",
    b"PAUSE <milliseconds> [WRITE|ALL]",
    b"    Postpone all commands, or only those that may write.",
    b"REPLY (ON|OFF|SKIP)",
    b"    Send replies, send none, or leave out the one of the next command.",
    b"SETINFO <option> <value>",
    b"    Tell about the client's library: LIB-NAME or LIB-VER.",
    b"SETNAME <name>",
    b"    Name this connection; an empty name removes it.",
    b"TRACKINGINFO",
    b"    Show how invalidation messages are set up for this connection.",
    b"UNBLOCK <client-id> [TIMEOUT|ERROR]",
    b"    Let a client go on that waits in a blocking command.",
    b"UNPAUSE",
    b"    End the pause at once.",
    b"HELP",
    b"    Show this text.",
)


@command(
    "CLIENT",
    arity=-2,
    group="connection",
    place=Place.SESSION,
)
def client(session: Session, args: list[bytes], reply: Reply) -> None:
    """Look at and change connections; see its subcommands."""
    raise CommandError(UNKNOWN_SUBCOMMAND % (args[1][:SHOWN_BYTES_MAX], b"CLIENT"))


@command("CLIENT|ID", arity=2, flags=OWN, **CONNECTION)
def client_id(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show the number of this connection. O(1)."""
    reply.integer(session.id)


@command(
    "CLIENT|INFO",
    arity=2,
    flags=OWN,
    tips=("nondeterministic_output",),
    **CONNECTION,
)
def client_info(session: Session, args: list[bytes], reply: Reply) -> None:
    """Describe this connection, as CLIENT LIST does. O(1)."""
    reply.verbatim(describe(session) + b"\n", b"txt")


@command("CLIENT|GETNAME", arity=2, flags=OWN, **CONNECTION)
def client_getname(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show the name of this connection. O(1)."""
    reply.bulk_or_null(session.name or None)


@command("CLIENT|SETNAME", arity=3, flags=OWN, **ALL_NODES, **CONNECTION)
def client_setname(session: Session, args: list[bytes], reply: Reply) -> None:
    """Name this connection; an empty name removes it. O(1)."""
    if not is_printable(args[2]):
        raise CommandError(BAD_NAME)
    session.name = args[2]
    reply.ok()


@command("CLIENT|SETINFO", arity=4, flags=OWN, **ALL_NODES, **CONNECTION)
def client_setinfo(session: Session, args: list[bytes], reply: Reply) -> None:
    """Tell the server about the library that the client uses. O(1)."""
    option = args[2].lower()
    if option not in (b"lib-name", b"lib-ver"):
        raise CommandError(BAD_OPTION % args[2])
    if not is_printable(args[3]):
        raise CommandError(BAD_ATTRIBUTE % args[2])
    if option == b"lib-name":
        session.library_name = args[3]
    else:
        session.library_version = args[3]
    reply.ok()


@command("CLIENT|REPLY", arity=3, flags=OWN, **CONNECTION)
def client_reply(session: Session, args: list[bytes], reply: Reply) -> None:
    """Send replies to this connection, or none, or leave one out. O(1).

    Only ON is answered itself.
    """
    match args[2].lower():
        case b"on":
            session.set_replies(True)
            reply.ok()
        case b"off":
            session.set_replies(False)
        case b"skip":
            session.skip_next_reply()
        case _:
            raise CommandError(SYNTAX)


@command("CLIENT|NO-EVICT", arity=3, flags=F.ADMIN | OWN, **CONNECTION)
def client_no_evict(session: Session, args: list[bytes], reply: Reply) -> None:
    """Keep this connection when the memory of clients gets short. O(1)."""
    session.no_evict = _on_or_off(args[2])
    reply.ok()


@command("CLIENT|NO-TOUCH", arity=3, flags=OWN, **CONNECTION)
def client_no_touch(session: Session, args: list[bytes], reply: Reply) -> None:
    """Let this connection read keys without making them look recently used. O(1)."""
    session.no_touch = _on_or_off(args[2])
    reply.ok()


@command("CLIENT|GETREDIR", arity=2, flags=OWN, **CONNECTION)
def client_getredir(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show which client gets the invalidation messages of this one. O(1).

    Nothing is tracked yet, so none does.
    """
    reply.integer(NO_REDIRECTION)


@command("CLIENT|TRACKINGINFO", arity=2, flags=OWN, **CONNECTION)
def client_trackinginfo(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show how invalidation messages are set up for this connection. O(1)."""
    reply.map(3)
    reply.bulk(b"flags")
    reply.set(1)
    reply.bulk(b"off")
    reply.bulk(b"redirect")
    reply.integer(NO_REDIRECTION)
    reply.bulk(b"prefixes")
    reply.array(0)


@command("CLIENT|HELP", arity=2, flags=ALWAYS, **CONNECTION)
def client_help(session: Session, args: list[bytes], reply: Reply) -> None:
    """List the subcommands of CLIENT. O(1)."""
    reply.array(len(HELP))
    for line in HELP:
        reply.status(line)


def _on_or_off(word: bytes) -> bool:
    """What ON or OFF means. Raises CommandError."""
    if word.lower() not in (b"on", b"off"):
        raise CommandError(SYNTAX)
    return word.lower() == b"on"
