"""COMMAND INFO of sample declarations: by the rules, and byte for byte as a live server writes it.

The samples are commands that did not change between Redis 7.0 and 7.2, so either is an oracle.
"""

import socket
from dataclasses import replace

import pytest

from protocol.command_info import (
    categories_of,
    flags_of,
    key_flags,
    legacy_range,
    tips_of,
    write_command_info,
)
from protocol.commands import (
    Command,
    CommandTable,
    DeclarationError,
    F,
    Keys,
    Place,
    Request,
    Response,
)
from protocol.reply import Reply

NO_FLAGS = F(0)


def declare(
    name: str,
    arity: int,
    group: str,
    flags: F = NO_FLAGS,
    *keys: Keys,
    request: Request = Request.DEFAULT,
    response: Response = Response.DEFAULT,
    tips: tuple[str, ...] = (),
    acl: tuple[str, ...] = (),
) -> Command:
    return Command(
        name=name,
        arity=arity,
        flags=flags,
        keys=keys,
        place=Place.SHARD,
        request=request,
        response=response,
        tips=tips,
        acl=acl,
        group=group,
        handler=None,
    )


HELP = F.LOADING | F.STALE
NONDETERMINISTIC = ("nondeterministic_output",)
TABLE = CommandTable(
    [
        declare("GET", 2, "string", F.READONLY | F.FAST, Keys(1, flags="RO access")),
        declare("APPEND", 3, "string", F.WRITE | F.DENYOOM | F.FAST, Keys(1, flags="insert RW")),
        declare(
            "MSET",
            -3,
            "string",
            F.WRITE | F.DENYOOM,
            Keys(1, -1, 2, flags="OW update"),
            request=Request.MULTI_SHARD,
            response=Response.ALL_SUCCEEDED,
        ),
        declare(
            "SMOVE",
            4,
            "set",
            F.WRITE | F.FAST,
            Keys(1, flags="RW access delete"),
            Keys(2, flags="RW insert"),
        ),
        declare(
            "ZUNIONSTORE",
            -4,
            "zset",
            F.WRITE | F.DENYOOM,
            Keys(1, flags="OW update"),
            Keys(3, count_at=2, flags="RO access"),
        ),
        declare(
            "XREAD",
            -4,
            "stream",
            F.READONLY | F.BLOCKING,
            Keys(1, -1, keyword="STREAMS", limit=2, flags="RO access"),
        ),
        declare(
            "SSUBSCRIBE",
            -2,
            "pubsub",
            F.PUBSUB | F.NOSCRIPT | F.LOADING | F.STALE,
            Keys(1, -1, flags="not_key"),
        ),
        declare(
            "MULTI", 1, "transactions", F.NOSCRIPT | F.LOADING | F.STALE | F.FAST | F.ALLOW_BUSY
        ),
        declare(
            "FLUSHALL",
            -1,
            "server",
            F.WRITE,
            acl=("keyspace", "dangerous"),
            request=Request.ALL_SHARDS,
            response=Response.ALL_SUCCEEDED,
        ),
        declare("OBJECT", -2, "generic"),
        declare(
            "OBJECT|ENCODING", 3, "generic", F.READONLY, Keys(2, flags="RO"), tips=NONDETERMINISTIC
        ),
        declare(
            "OBJECT|FREQ", 3, "generic", F.READONLY, Keys(2, flags="RO"), tips=NONDETERMINISTIC
        ),
        declare("OBJECT|HELP", 2, "generic", HELP),
        declare(
            "OBJECT|IDLETIME", 3, "generic", F.READONLY, Keys(2, flags="RO"), tips=NONDETERMINISTIC
        ),
        declare(
            "OBJECT|REFCOUNT", 3, "generic", F.READONLY, Keys(2, flags="RO"), tips=NONDETERMINISTIC
        ),
    ]
)


def info(command: Command | None, resp: int) -> bytes:
    reply = Reply(resp)
    write_command_info(reply, command)
    return reply.take()


def ask(connection: socket.socket, *args: bytes) -> bytes:
    """The reply's bytes; an ECHO after the command shows where they end."""
    request = b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)
    end = b"$7\r\nthe-end\r\n"
    connection.sendall(b"*%d\r\n%s*2\r\n$4\r\nECHO\r\n%s" % (len(args), request, end))
    answer = b""
    while not answer.endswith(end):
        answer += connection.recv(65536)
    return answer.removesuffix(end)


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("command", list(TABLE), ids=lambda command: command.name)
def test_the_reply_is_that_of_the_server(redis_port: int, command: Command, resp: int) -> None:
    with socket.create_connection(("127.0.0.1", redis_port), timeout=10) as connection:
        ask(connection, b"HELLO", b"%d" % resp)
        answer = ask(connection, b"COMMAND", b"INFO", command.name.lower().encode())
    answer = answer.removeprefix(b"*1\r\n")
    if command.subcommands:
        # The order of subcommands is that of the server's hash table: any will do.
        count = b"*%d\r\n" % len(command.subcommands)
        head = info(command, resp).partition(count + b"*10\r\n")[0]
        assert answer.startswith(head + count)
        for subcommand in command.subcommands:
            assert info(subcommand, resp) in answer
        assert len(info(command, resp)) == len(answer)
    else:
        assert info(command, resp) == answer


def test_a_command_that_does_not_exist_is_null() -> None:
    assert info(None, 2) == b"$-1\r\n"
    assert info(None, 3) == b"_\r\n"


@pytest.mark.parametrize(
    ("specs", "triple", "movable"),
    [
        ((), (0, 0, 0), False),
        ((Keys(1),), (1, 1, 1), False),
        ((Keys(1, -1, 2),), (1, -1, 2), False),
        ((Keys(1), Keys(2)), (1, 2, 1), False),
        ((Keys(1), Keys(2, -1)), (1, -1, 1), False),
        ((Keys(1), Keys(3)), (1, 1, 1), True),  # a gap
        ((Keys(1, -1), Keys(2)), (1, -1, 1), True),
        ((Keys(1, 3, 2), Keys(4)), (4, 4, 1), True),
        ((Keys(3, count_at=2),), (0, 0, 0), True),
        ((Keys(1), Keys(3, count_at=2)), (1, 1, 1), True),
        ((Keys(1, keyword="STREAMS"),), (0, 0, 0), True),
        ((Keys(1), Keys(0)), (1, 1, 1), True),
        ((Keys(1, flags="incomplete"),), (1, 1, 1), True),
    ],
)
def test_the_triple_of_older_clients_is_derived(
    specs: tuple[Keys, ...], triple: tuple[int, int, int], movable: bool
) -> None:
    assert legacy_range(specs) == (triple, movable)
    command = declare("X", -1, "string", F.READONLY, *specs)
    assert (F.MOVABLEKEYS in flags_of(command)) is movable


@pytest.mark.parametrize(
    ("group", "flags", "acl", "categories"),
    [
        ("string", F.READONLY | F.FAST, (), ["read", "string", "fast"]),
        ("zset", F.WRITE, (), ["write", "sortedset", "slow"]),
        ("hll", F.WRITE, (), ["write", "hyperloglog", "slow"]),
        ("pubsub", F.PUBSUB | F.FAST, (), ["pubsub", "fast"]),
        ("server", F.ADMIN, (), ["admin", "slow", "dangerous"]),
        ("server", F(0), ("CONNECTION",), ["slow", "connection"]),
        ("list", F.WRITE | F.BLOCKING, (), ["write", "list", "slow", "blocking"]),
        ("scripting", F.READONLY, (), ["slow", "scripting"]),  # EVAL_RO is not @read
        ("generic", F.WRITE, ("keyspace", "dangerous"), ["keyspace", "write", "slow", "dangerous"]),
        ("generic", F(0), ("connection",), ["slow", "connection"]),  # WAIT is not @keyspace
    ],
)
def test_categories_follow_from_the_flags_and_the_family(
    group: str, flags: F, acl: tuple[str, ...], categories: list[str]
) -> None:
    assert categories_of(declare("X", 1, group, flags, acl=acl)) == categories


def test_a_container_has_no_family_category() -> None:
    assert categories_of(TABLE["OBJECT"]) == ["slow"]
    assert categories_of(TABLE["OBJECT|HELP"]) == ["keyspace", "slow"]


def test_policies_are_tips_and_can_be_placed() -> None:
    both = {"request": Request.ALL_SHARDS, "response": Response.SPECIAL}
    placed = ("request_policy:all_shards", "response_policy:special", "nondeterministic_output")
    last = declare("X", 1, "server", tips=("NONDETERMINISTIC_OUTPUT",))
    assert tips_of(replace(last, **both)) == [placed[2], *placed[:2]]  # type: ignore[arg-type]
    first = declare("X", 1, "server", tips=placed)
    assert tips_of(replace(first, **both)) == list(placed)  # type: ignore[arg-type]


def test_what_redis_does_not_know_is_refused() -> None:
    with pytest.raises(DeclarationError, match="ACL category"):
        categories_of(declare("X", 1, "string", acl=("strings",)))
    with pytest.raises(DeclarationError, match="key-spec flags"):
        key_flags(Keys(1, flags="RO acces"))


def test_notes_and_unknown_specs_are_shown() -> None:
    command = declare("X", -2, "generic", F.READONLY, Keys(0, flags="RO", notes="patterns"))
    text = info(command, 3)
    assert b"%4\r\n$5\r\nnotes\r\n$8\r\npatterns\r\n$5\r\nflags\r\n~1\r\n+RO\r\n" in text
    assert text.count(b"$7\r\nunknown\r\n$4\r\nspec\r\n%0\r\n") == 2
