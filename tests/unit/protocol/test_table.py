"""The compiled command table: names to ids, arguments to keys."""

from dataclasses import replace

import pytest

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
from protocol.table import (
    KEYS_DECLARED,
    KEYS_NONE,
    KEYS_RANGE,
    UNKNOWN_COMMAND,
    UNKNOWN_SUBCOMMAND,
    NativeTable,
)


def declare(name: str, arity: int, *keys: Keys, flags: F = F.READONLY) -> Command:
    return Command(
        name=name,
        arity=arity,
        flags=flags,
        keys=keys,
        place=Place.SHARD,
        request=Request.DEFAULT,
        response=Response.DEFAULT,
        tips=(),
        acl=(),
        group="test",
        handler=None,
    )


COMMANDS = [
    declare("PING", -1, flags=F.FAST),
    declare("GET", 2, Keys(1)),
    declare("SET", -3, Keys(1), flags=F.WRITE),
    declare("DEL", -2, Keys(1, -1), flags=F.WRITE),
    replace(
        declare("MSET", -3, Keys(1, -1, 2), flags=F.WRITE),
        request=Request.MULTI_SHARD,
    ),
    declare("BLPOP", -3, Keys(1, -2)),
    declare("RENAME", 3, Keys(1), Keys(2)),
    declare("BITOP", -4, Keys(2), Keys(3, -1)),
    declare("EVAL", -3, Keys(3, count_at=2), flags=F.NO_MANDATORY_KEYS),
    declare("ZUNION", -3, Keys(2, count_at=1)),
    declare("ZUNIONSTORE", -4, Keys(1), Keys(3, count_at=2), flags=F.WRITE),
    declare("XREAD", -4, Keys(1, -1, keyword="STREAMS", limit=2)),
    declare("GEORADIUS", -6, Keys(1), Keys(6, keyword="STORE"), Keys(6, keyword="STOREDIST")),
    declare("TAIL", -2, Keys(-2, -1, keyword="KEYS")),
    declare("SORT", -2, Keys(1), Keys(0), Keys(0), flags=F.WRITE),
    declare("SORT_RO", -2, Keys(1), Keys(0)),
    declare(
        "MIGRATE",
        -6,
        Keys(3, flags="RW access delete"),
        Keys(-2, -1, keyword="KEYS", flags="RW access delete incomplete"),
        flags=F.WRITE,
    ),
    declare("SSUBSCRIBE", -2, Keys(1, -1, flags="not_key"), flags=F.PUBSUB),
    replace(declare("OBJECT", -2), place=Place.SHARD),
    declare("OBJECT|ENCODING", 3, Keys(2)),
    declare("OBJECT|HELP", 2),
    declare("CLUSTER", -2),
    declare("CLUSTER|COUNT-FAILURE-REPORTS", 3),
]
TABLE = CommandTable(COMMANDS)
NATIVE = NativeTable(TABLE)


@pytest.mark.parametrize("declared", [c for c in TABLE if c.container is None])
def test_every_command_is_found_in_any_case(declared: Command) -> None:
    name = declared.name.encode()
    swapped = bytes(c ^ 32 if chr(c).isalpha() and i % 2 else c for i, c in enumerate(name))
    for spelling in (name, name.lower(), swapped):
        assert NATIVE.lookup([spelling]) == declared.id


@pytest.mark.parametrize(
    ("args", "name"),
    [
        ([b"object", b"Encoding", b"k"], "OBJECT|ENCODING"),
        ([b"OBJECT", b"HELP"], "OBJECT|HELP"),
        ([b"object"], "OBJECT"),
        ([b"Cluster", b"Count-Failure-Reports", b"x"], "CLUSTER|COUNT-FAILURE-REPORTS"),
        ([b"ping", b"HELP"], "PING"),
    ],
)
def test_argument_1_selects_the_subcommand(args: list[bytes], name: str) -> None:
    assert NATIVE.lookup(args) == TABLE[name].id


@pytest.mark.parametrize(
    "args",
    [
        [],
        [b""],
        [b"GE"],
        [b"GETT"],
        [b"GET\x00"],
        [b"\x00"],
        [b"\x00" * 32],
        [b"OBJECT|ENCODING"],
        [b"object|help", b"x"],
        [b"P\x49\xceG"],
        [b"pin\x87"],
        [b"X" * 32],
        [b"X" * 33],
        [b"X" * 100_000],
        [b"SORT\x7fRO"],
        [b"@GET"],
    ],
)
def test_anything_else_is_an_unknown_command(args: list[bytes]) -> None:
    assert NATIVE.lookup(args) == UNKNOWN_COMMAND


@pytest.mark.parametrize(
    "sub", [b"", b"x", b"ENCODING\x00", b"ENCODIN", b"HELP|", b"x" * 25, b"x" * 26, b"x" * 9999]
)
def test_a_container_knows_only_its_subcommands(sub: bytes) -> None:
    assert NATIVE.lookup([b"OBJECT", sub]) == UNKNOWN_SUBCOMMAND


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("PING", []),
        ("GET k", [1]),
        ("GET", None),
        ("SET k v EX 10", [1]),
        ("DEL a b c", [1, 2, 3]),
        ("DEL", None),
        ("MSET a 1 b 2", [1, 3]),
        ("MSET a 1 b", [1, 3]),
        ("BLPOP a b 0", [1, 2]),
        ("BLPOP 0", None),
        ("RENAME a b", [1, 2]),
        ("BITOP AND d a b", [2, 3, 4]),
        ("EVAL s 2 a b c", [3, 4]),
        ("EVAL s 0", []),
        ("EVAL s 0 x", []),
        ("EVAL s 3 a b", None),
        ("EVAL s -1 a b", None),
        ("EVAL s x a", None),
        ("EVAL s 9223372036854775807 a", None),
        ("EVAL s", None),
        ("ZUNION 2 a b WEIGHTS 1 2", [2, 3]),
        ("ZUNION 0 a", None),
        ("ZUNION 01 a", [2]),
        ("ZUNIONSTORE d 2 a b", [1, 3, 4]),
        ("ZUNIONSTORE d 3 a b", None),
        ("XREAD COUNT 2 STREAMS a b 0 0", [4, 5]),
        ("XREAD streams a 0", [2]),
        ("XREAD COUNT 2 BLOCK 0", []),
        ("XREAD STREAMS a b 0", None),
        ("GEORADIUS g 1 2 3 m STORE x", [1, 7]),
        ("GEORADIUS g 1 2 3 m STORE x STOREDIST y", [1, 7, 9]),
        ("GEORADIUS g 1 2 3 m ASC", [1]),
        ("GEORADIUS g 1 2 3 m STORE", [1]),
        ("GEORADIUS g STORE 2 3 m ASC", [1]),
        ("TAIL x KEYS a b", [3, 4]),
        ("TAIL KEYS KEYS a b", [3, 4]),  # backward: the last one counts
        ("TAIL KEYS a", []),  # argument 1 is not looked at
        ("SORT k", [1]),
        ("SORT k BY STORE GET x STORE d", [1, 7]),
        ("SORT k STORE a STORE b", [1, 5]),
        ("SORT k LIMIT 0 STORE STORE a", [1, 6]),
        ("SORT k STORE", [1]),
        ("SORT", None),
        ("SORT_RO k BY x GET y", [1]),
        ("MIGRATE h p k 0 100", [3]),
        ("MIGRATE h p k 0 100 COPY REPLACE AUTH KEYS", [3]),
        ("MIGRATE h p _ 0 100 KEYS a b", [7, 8]),
        ("MIGRATE h p _ 0 100 AUTH KEYS KEYS a", [9]),
        ("MIGRATE h p _ 0 100 AUTH2 KEYS KEYS keys a", [10]),
        ("MIGRATE h p k 0 100 KEYS a b", None),
        ("SSUBSCRIBE c d", []),
        ("OBJECT ENCODING k", [2]),
        ("OBJECT HELP", []),
    ],
)
def test_keys_are_found(line: str, keys: list[int] | None) -> None:
    """`_` stands for an empty argument."""
    args = [b"" if word == "_" else word.encode() for word in line.split()]
    id = NATIVE.lookup(args)
    assert id >= 0
    assert NATIVE.keys(id, args) == keys


@pytest.mark.parametrize(
    ("name", "mode", "triple"),
    [
        ("PING", KEYS_NONE, (0, 0, 0)),
        ("GET", KEYS_RANGE, (1, 1, 1)),
        ("MSET", KEYS_RANGE, (1, -1, 2)),
        ("BLPOP", KEYS_RANGE, (1, -2, 1)),
        ("RENAME", KEYS_RANGE, (1, 2, 1)),  # two specs side by side are one range
        ("BITOP", KEYS_RANGE, (2, -1, 1)),
        ("EVAL", KEYS_DECLARED, (0, 0, 0)),
        ("ZUNIONSTORE", KEYS_DECLARED, (1, 1, 1)),
        ("SORT", KEYS_DECLARED, (1, 1, 1)),
        ("SSUBSCRIBE", KEYS_NONE, (0, 0, 0)),
    ],
)
def test_the_scanner_gets_the_simplest_form_of_the_key_positions(
    name: str, mode: int, triple: tuple[int, int, int]
) -> None:
    spec = NATIVE.spec(TABLE[name].id)
    assert (spec["key_first"], spec["key_last"], spec["key_step"]) == triple
    assert spec["key_mode"] == mode


def test_the_declaration_is_carried_over() -> None:
    spec = NATIVE.spec(TABLE["MSET"].id)
    assert spec["id"] == TABLE["MSET"].id
    assert spec["arity"] == -3
    assert spec["flags"] == F.WRITE
    assert spec["place"] == Place.SHARD.value
    assert spec["multi_shard"] == 1
    assert NATIVE.spec(TABLE["OBJECT"].id)["is_container"] == 1
    assert NATIVE.spec(TABLE["OBJECT|HELP"].id)["is_container"] == 0
    assert NATIVE.table is TABLE


def test_ids_outside_the_table_have_no_keys() -> None:
    for id in (-2, -1, len(TABLE), 70000):
        assert NATIVE.keys(id, [b"GET", b"k"]) is None
        with pytest.raises(IndexError):
            NATIVE.spec(id)


@pytest.mark.parametrize(
    "declared",
    [
        declare("X" * 32, 1),
        declare("X", -1, Keys(1, -1, 0)),
        declare("X", -1, Keys(-1)),
        declare("X", -1, Keys(2, 1)),
        declare("X", -1, Keys(1, keyword="K" * 16)),
        declare("X", -1, Keys(1, flags="rwx")),
    ],
)
def test_a_wrong_declaration_stops_the_import(declared: Command) -> None:
    with pytest.raises(DeclarationError):
        NativeTable(CommandTable([declared]))


def test_a_full_sized_table_has_no_collisions_of_names() -> None:
    names = [f"CMD{i}" for i in range(3000)] + ["BOX"] + [f"BOX|S{i}" for i in range(500)]
    table = CommandTable(declare(name, -1) for name in names)
    native = NativeTable(table)
    for declared in table:
        assert native.lookup(declared.name.lower().encode().split(b"|")) == declared.id
    assert native.lookup([b"CMD3000"]) == UNKNOWN_COMMAND
    assert native.lookup([b"BOX", b"S500"]) == UNKNOWN_SUBCOMMAND
