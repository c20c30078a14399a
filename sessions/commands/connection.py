"""The connection family: what a client says about itself and its connection."""

from __future__ import annotations

from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final

from protocol.commands import F, Place, Request, Response, command
from protocol.errors import NOT_IN_CLUSTER, NOT_INTEGER, SYNTAX, CommandError
from protocol.numbers import parse_int64
from protocol.version import REDIS_VERSION

if TYPE_CHECKING:
    from protocol.reply import Reply
    from sessions.session import Session

INT_MIN: Final = -(2**31)
INT_MAX: Final = 2**31 - 1

DATABASE_RANGE = b"ERR DB index is out of range"
NUMBER_RANGE = b"ERR value is out of range, value must between %d and %d" % (INT_MIN, INT_MAX)
BAD_VERSION = b"ERR Protocol version is not an integer or out of range"
NO_PROTOCOL = b"NOPROTO unsupported protocol version"
HELLO_SYNTAX = b"ERR Syntax error in HELLO option '%s'"
BAD_NAME = b"ERR Client names cannot contain spaces, newlines or special characters."
NO_PASSWORD = (
    b"ERR AUTH <password> called without any password configured for the default user. "
    b"Are you sure your configuration is correct?"
)
WRONG_PASSWORD = b"WRONGPASS invalid username-password pair or user is disabled."
HELLO_NOT_AUTHENTICATED = (
    b"NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
    b"<proto> AUTH <user> <pass> option can be used to authenticate the client and select the "
    b"RESP protocol version at the same time"
)

HELLO_VERSIONS: Final = (2, 3)
DEFAULT_USER: Final = b"default"

SESSION: dict[str, Any] = {
    "group": "connection",
    "place": Place.SESSION,
}
ALWAYS = F.LOADING | F.STALE
UNAUTHENTICATED = F.NOSCRIPT | F.LOADING | F.STALE | F.FAST | F.NO_AUTH | F.ALLOW_BUSY


@command(
    "PING",
    arity=-1,
    flags=F.FAST,
    request=Request.ALL_SHARDS,
    response=Response.ALL_SUCCEEDED,
    **SESSION,
)
def ping(session: Session, args: list[bytes], reply: Reply) -> None:
    """Answer PONG, or the message that came along. O(1)."""
    if len(args) > 2:
        raise CommandError(b"ERR wrong number of arguments for 'ping' command")
    if len(args) == 2:
        reply.bulk(args[1])
    else:
        reply.status(b"PONG")


@command("ECHO", arity=2, flags=ALWAYS | F.FAST, **SESSION)
def echo(session: Session, args: list[bytes], reply: Reply) -> None:
    """Answer the message. O(1)."""
    reply.bulk(args[1])


@command("SELECT", arity=2, flags=ALWAYS | F.FAST, **SESSION)
def select(session: Session, args: list[bytes], reply: Reply) -> None:
    """Choose the database that this connection works on. O(1)."""
    number = parse_int64(args[1])
    if number is None:
        raise CommandError(NOT_INTEGER)
    if not INT_MIN <= number <= INT_MAX:
        raise CommandError(NUMBER_RANGE)
    if number and session.cluster is not None and session.cluster.is_node:
        raise CommandError(NOT_IN_CLUSTER % b"SELECT")
    if not 0 <= number < session.databases:
        raise CommandError(DATABASE_RANGE)
    session.database = number
    reply.ok()


@command("QUIT", arity=-1, flags=UNAUTHENTICATED, **SESSION)
def quit_(session: Session, args: list[bytes], reply: Reply) -> None:
    """Close the connection behind the reply. O(1)."""
    reply.ok()
    session.close_after_reply()


@command("RESET", arity=1, flags=UNAUTHENTICATED, **SESSION)
def reset(session: Session, args: list[bytes], reply: Reply) -> None:
    """Bring the connection back to the state after connecting. O(1)."""
    session.reset()
    reply.resp = session.resp
    reply.status(b"RESET")


@command("AUTH", arity=-2, flags=UNAUTHENTICATED, **SESSION)
def auth(session: Session, args: list[bytes], reply: Reply) -> None:
    """Become a user by a password. O(1)."""
    if len(args) > 3:
        raise CommandError(SYNTAX)
    if len(args) == 2:
        if not _password(session):
            raise CommandError(NO_PASSWORD)
        _authenticate(session, DEFAULT_USER, args[1])
    else:
        _authenticate(session, args[1], args[2])
    reply.ok()


@command("HELLO", arity=-1, flags=UNAUTHENTICATED, **SESSION)
def hello(session: Session, args: list[bytes], reply: Reply) -> None:
    """Agree on the protocol version, and show what this server is. O(1).

    Everything is checked before anything is changed: a bad name leaves the protocol as it was.
    Authentication comes before the other changes, as its failure ends the command.
    """
    version = session.resp
    if len(args) > 1:
        number = parse_int64(args[1])
        if number is None:
            raise CommandError(BAD_VERSION)
        if number not in HELLO_VERSIONS:
            raise CommandError(NO_PROTOCOL)
        version = number
    credentials: tuple[bytes, bytes] | None = None
    name: bytes | None = None
    at = 2
    while at < len(args):
        option, following = args[at].upper(), len(args) - at - 1
        if option == b"AUTH" and following >= 2:
            credentials = args[at + 1], args[at + 2]
            at += 3
        elif option == b"SETNAME" and following >= 1:
            name = args[at + 1]
            if not is_printable(name):
                raise CommandError(BAD_NAME)
            at += 2
        else:
            raise CommandError(HELLO_SYNTAX % args[at])
    if credentials is not None:
        _authenticate(session, *credentials)
    if not session.authenticated:
        raise CommandError(HELLO_NOT_AUTHENTICATED)
    if name is not None:
        session.name = name
    session.resp = reply.resp = version
    reply.map(7)
    for key, value in ((b"server", b"redis"), (b"version", REDIS_VERSION.encode())):
        reply.bulk(key)
        reply.bulk(value)
    reply.bulk(b"proto")
    reply.integer(version)
    reply.bulk(b"id")
    reply.integer(session.id)
    is_node = session.cluster is not None and session.cluster.is_node
    for key, value in (
        (b"mode", b"cluster" if is_node else b"standalone"),
        (b"role", b"master"),
    ):
        reply.bulk(key)
        reply.bulk(value)
    reply.bulk(b"modules")
    reply.array(0)


def _password(session: Session) -> bytes:
    """The password of the default user; empty when it needs none."""
    return str(session.settings.get("requirepass", "")).encode("utf-8", "surrogateescape")


def _authenticate(session: Session, user: bytes, password: bytes) -> None:
    """Become a user. There is only the default one so far; without a password any is right.

    The comparison takes the same time wherever the difference is, and whatever the lengths.
    """
    expected = _password(session)
    right = compare_digest(sha256(password).digest(), sha256(expected).digest())
    if user != DEFAULT_USER or (expected and not right):
        raise CommandError(WRONG_PASSWORD)
    session.authenticate(user)


def is_printable(text: bytes) -> bool:
    """Whether CLIENT LIST can show the text: no spaces, no control characters, only ASCII."""
    return all(0x21 <= byte <= 0x7E for byte in text)
