"""SESSION commands, called as a session calls them, with replies as a client reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from protocol.commands import CommandTable
from protocol.errors import CommandError
from protocol.reply import Reply
from router.config import Config
from router.table import full_table

TABLE = full_table()
ROOT = Path(__file__).resolve().parents[3]


@dataclass
class FakeSession:
    """As much of a session as these handlers see."""

    id: int = 7
    name: bytes = b""
    library_name: bytes = b""
    library_version: bytes = b""
    resp: int = 2
    database: int = 0
    databases: int = 16
    cluster: None = None
    user: bytes = b"default"
    table: CommandTable = field(default_factory=lambda: TABLE)
    now_us: int = 1_700_000_000_000_123
    closing: bool = False
    authenticated: bool = True
    settings: dict[str, object] = field(default_factory=dict)

    def authenticate(self, user: bytes) -> None:
        self.user, self.authenticated = user, True

    def close_after_reply(self) -> None:
        self.closing = True

    def reset(self) -> None:
        self.name, self.database, self.resp = b"", 0, 2


def run(session: FakeSession, *words: str) -> bytes:
    args = [word.encode() for word in words]
    name = words[0].upper()
    if len(words) > 1 and f"{name}|{words[1].upper()}" in TABLE:
        name = f"{name}|{words[1].upper()}"
    reply = Reply(session.resp)
    handler = TABLE[name].handler
    assert handler is not None
    try:
        handler(session, args, reply)
    except CommandError as error:
        reply.error(error.message)
    return reply.take()


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("PING", b"+PONG\r\n"),
        ("PING hi", b"$2\r\nhi\r\n"),
        ("PING a b", b"-ERR wrong number of arguments for 'ping' command\r\n"),
        ("ECHO hi", b"$2\r\nhi\r\n"),
        ("SELECT 15", b"+OK\r\n"),
        ("SELECT 16", b"-ERR DB index is out of range\r\n"),
        ("SELECT -1", b"-ERR DB index is out of range\r\n"),
        ("SELECT 01", b"-ERR value is not an integer or out of range\r\n"),
        ("SELECT 3000000000", b"-ERR value is out of range, value must between -2147483648 and "
         b"2147483647\r\n"),
        ("AUTH x", b"-ERR AUTH <password> called without any password configured for the default "
         b"user. Are you sure your configuration is correct?\r\n"),
        ("AUTH default x", b"+OK\r\n"),
        ("AUTH foo x", b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
        ("AUTH a b c", b"-ERR syntax error\r\n"),
        ("CLIENT FOO", b"-ERR unknown subcommand 'FOO'. Try CLIENT HELP.\r\n"),
        ("CLIENT ID", b":7\r\n"),
        ("CLIENT GETNAME", b"$-1\r\n"),
        ("CLIENT SETNAME \x07", b"-ERR Client names cannot contain spaces, newlines or special "
         b"characters.\r\n"),
        ("CLIENT SETINFO LIB-NAME a\x07b",
         b"-ERR LIB-NAME cannot contain spaces, newlines or special characters.\r\n"),
        ("CLIENT SETINFO foo x", b"-ERR Unrecognized option 'foo'\r\n"),
        ("HELLO 4", b"-NOPROTO unsupported protocol version\r\n"),
        ("HELLO abc", b"-ERR Protocol version is not an integer or out of range\r\n"),
        ("HELLO 2 FOO", b"-ERR Syntax error in HELLO option 'FOO'\r\n"),
        ("HELLO 2 AUTH default", b"-ERR Syntax error in HELLO option 'AUTH'\r\n"),
        ("COMMAND FOO", b"-ERR unknown subcommand 'FOO'. Try COMMAND HELP.\r\n"),
        ("COMMAND LIST FILTERBY FOO x", b"-ERR syntax error\r\n"),
        ("COMMAND LIST FILTERBY MODULE x", b"*0\r\n"),
        ("COMMAND LIST FILTERBY PATTERN PIN?", b"*1\r\n$4\r\nping\r\n"),
        ("COMMAND GETKEYS ping x", b"-ERR The command has no key arguments\r\n"),
        ("COMMAND GETKEYS nosuch x", b"-ERR Invalid command specified\r\n"),
        ("COMMAND INFO nosuch", b"*1\r\n*-1\r\n"),
        ("TIME", b"*2\r\n$10\r\n1700000000\r\n$3\r\n123\r\n"),
    ],
)  # fmt: skip
def test_replies_are_as_redis_gives_them(session: FakeSession, line: str, answer: bytes) -> None:
    if line == "COMMAND INFO nosuch":
        assert run(session, *line.split()) in (b"*1\r\n$-1\r\n", b"*1\r\n*-1\r\n")
    else:
        assert run(session, *line.split(" ")) == answer


def test_hello_switches_the_protocol_and_names_the_client(session: FakeSession) -> None:
    answer = run(session, "HELLO", "3", "SETNAME", "me")
    assert answer.startswith(b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n")
    assert b"$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:7\r\n" in answer
    assert (session.resp, session.name) == (3, b"me")
    assert run(session, "HELLO", "2").startswith(b"*14\r\n")


def test_a_failing_hello_changes_nothing(session: FakeSession) -> None:
    run(session, "HELLO", "3", "AUTH", "nobody", "x", "SETNAME", "me")
    run(session, "HELLO", "3", "SETNAME", "me", "BAD")
    assert (session.resp, session.name) == (2, b"")


def test_quit_and_reset_change_the_connection(session: FakeSession) -> None:
    run(session, "HELLO", "3", "SETNAME", "me")
    assert run(session, "RESET") == b"+RESET\r\n"
    assert (session.resp, session.name) == (2, b"")
    assert run(session, "QUIT") == b"+OK\r\n"
    assert session.closing


def test_the_shipped_configuration_shows_the_defaults() -> None:
    config = Config()
    config.load((ROOT / "configs" / "shardis.conf").read_text())
    assert config.snapshot() == Config().snapshot()
