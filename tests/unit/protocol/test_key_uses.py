"""Commands whose use of keys no key spec can say: as redis-server tells it for the same words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from protocol.command_info import key_flags
from protocol.commands import CommandTable, F, Keys, command
from protocol.key_specs import key_positions
from tests.support.resp_client import RespClient, parse


def handler() -> None:
    """Nothing."""


for name, arity, keys in (
    ("SET", -3, (Keys(1, flags="RW access update variable_flags"),)),
    ("BITFIELD", -2, (Keys(1, flags="RW access update variable_flags"),)),
    ("SORT", -2, (Keys(1, flags="RO access"), Keys(0, flags="OW update"))),
    (
        "MIGRATE",
        -6,
        (
            Keys(3, flags="RW access delete"),
            Keys(-2, -1, keyword="KEYS", flags="RW access delete incomplete"),
        ),
    ),
):
    command(name, arity=arity, flags=F.WRITE, keys=keys, group="generic")(handler)
TABLE = CommandTable(handler.commands)  # type: ignore[attr-defined]
WORDS = ("a", "", "1", "get", "SET", "incrby", "overflow", "store", "by", "limit", "keys", "auth")
CALLS = st.tuples(
    st.sampled_from(sorted(TABLE.by_name)),
    st.lists(st.sampled_from([*WORDS, "AUTH2", "copy", "GETS"]), min_size=5, max_size=10),
)


@pytest.fixture(scope="module")
def server(redis_port: int) -> Iterator[RespClient]:
    with RespClient(redis_port) as client:
        yield client


def uses(name: str, words: list[str]) -> list[tuple[bytes, list[bytes]]] | None:
    args = [word.encode() for word in (name, *words)]
    positions = key_positions(TABLE[name], args)
    if not positions:
        return None
    return [(args[at], [flag.encode() for flag in key_flags(spec)]) for at, spec in positions]


def uses_in_redis(server: RespClient, words: list[str]) -> list[tuple[bytes, list[bytes]]] | None:
    reply = parse(server.call("COMMAND", "GETKEYSANDFLAGS", *words))
    if reply.kind == "-":
        assert reply.value == b"ERR Invalid arguments specified for command"
        return None
    pairs = [one.value for one in reply.value]
    return [(key.value, [flag.value for flag in flags.value]) for key, flags in pairs]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CALLS)
def test_the_keys_and_their_uses_are_those_of_redis(
    server: RespClient, call: tuple[str, list[str]]
) -> None:
    name, words = call
    if name == "MIGRATE" and b"redis_version:7.0" in server.call("INFO", "server"):
        assume("keys" not in words)  # 7.0 ignores KEYS after a key, 7.2 finds fault with it
    assert uses(name, words) == uses_in_redis(server, [name, *words])


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("SET k v", [("k", "OW update")]),
        ("SET k v EX 10 get", [("k", "RW access update")]),
        ("BITFIELD k GET u8 0", [("k", "RO access")]),
        ("BITFIELD k GET u8 0 OVERFLOW SAT", [("k", "RO access")]),
        ("BITFIELD k OVERFLOW SAT INCRBY u8 0 1", [("k", "RW access update")]),
        ("BITFIELD k GET u8", [("k", "RW access update")]),
        ("SORT k", [("k", "RO access")]),
        ("SORT k BY store GET store STORE d STORE e", [("k", "RO access"), ("e", "OW update")]),
        ("MIGRATE h 1 k 0 5", [("k", "RW access delete")]),
        ("MIGRATE h 1 - 0 5 AUTH keys KEYS a b", [("a", "RW access delete")] * 2),
        ("MIGRATE h 1 k 0 5 KEYS a", None),
        ("MIGRATE h 1 - 0 5 KEYS", None),
    ],
)
def test_examples(line: str, found: list[tuple[str, str]] | None) -> None:
    name, *words = ["" if word == "-" else word for word in line.split()]
    own = uses(name, words)
    if found is None:
        assert own is None
        return
    assert own is not None
    assert [b" ".join(flags).decode() for _, flags in own] == [flags for _, flags in found]
    assert own[0][0].decode() == found[0][0]
    assert own[-1][0].decode() == ("b" if "KEYS a b" in line else found[-1][0])
