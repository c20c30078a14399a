"""Every declared command equals Redis 7.2's own: arity, flags, keys, ACL categories, tips.

The facts are in tests/data/commands-7.2.json, and digests of what a live server says of them in
command-info-7.2.json. A command that is not declared yet is not an error;
`pytest -rP -k missing` prints which ones these are.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from protocol.command_docs import docs_of
from protocol.command_info import categories_of, write_command_info
from protocol.commands import Command, CommandTable, F, Keys
from protocol.reply import Reply
from tests.meta.sources import ROOT
from tests.support.command_info import digest, entries
from tests.support.resp_client import parse

Facts = dict[str, Any]

# Where a command is offered, not what it does; and what Redis computes from the key specs.
SENTINEL_FLAGS = {"SENTINEL", "ONLY_SENTINEL"}
COMPUTED_FLAGS = {"MOVABLEKEYS", "INTERNAL"}


@pytest.fixture(scope="module")
def reference() -> dict[str, Facts]:
    """The facts by our names: upper case, a subcommand as CONTAINER|NAME."""
    facts = json.loads((ROOT / "tests/data/commands-7.2.json").read_text())
    return {
        "|".join(filter(None, [fact.get("container"), fact["name"]])).upper(): fact
        for fact in facts
        if "ONLY_SENTINEL" not in fact.get("command_flags", [])
    }


@pytest.fixture(scope="module")
def table() -> CommandTable:
    importlib.import_module("shards.commands")
    full: CommandTable = importlib.import_module("router.table").full_table()
    return full


def own_categories(declared: Command) -> set[str]:
    return {name.upper() for name in categories_of(declared)}


def own_version(declared: Command) -> str | None:
    docs = docs_of(declared.name)
    return None if docs is None else docs.since


def own_tips(declared: Command) -> set[str]:
    tips = {tip.upper() for tip in declared.tips}
    if declared.request.value is not None:
        tips.add(f"REQUEST_POLICY:{declared.request.value.upper()}")
    if declared.response.value is not None:
        tips.add(f"RESPONSE_POLICY:{declared.response.value.upper()}")
    return tips


def own_key_spec(keys: Keys) -> Facts:
    """A declared key specification in the reference's words."""
    begin: Facts
    find: Facts
    if keys.first == 0 and not keys.keyword:
        begin, find = {"unknown": None}, {"unknown": None}
    elif keys.count_at:
        begin = {"index": {"pos": keys.count_at}}
        first = keys.first - keys.count_at
        find = {"keynum": {"keynumidx": 0, "firstkey": first, "step": keys.step}}
    else:
        if keys.keyword:
            begin = {"keyword": {"keyword": keys.keyword.upper(), "startfrom": keys.first}}
            last = keys.last or 0
        else:
            begin = {"index": {"pos": keys.first}}
            last = 0 if keys.last is None else keys.last
            if last > 0:
                last -= keys.first
        find = {"range": {"lastkey": last, "step": keys.step, "limit": keys.limit}}
    flags = sorted(keys.flags.upper().split())
    return {"flags": flags, "begin_search": begin, "find_keys": find}


def reference_key_spec(spec: Facts) -> Facts:
    return {
        "flags": sorted(spec["flags"]),
        "begin_search": spec["begin_search"],
        "find_keys": spec["find_keys"],
    }


Reader = Callable[[Command], Any]
FACTS: dict[str, tuple[Reader, Callable[[Facts], Any]]] = {
    "arity": (lambda own: own.arity, lambda fact: fact["arity"]),
    "since": (own_version, lambda fact: fact["since"]),
    "flags": (
        lambda own: {flag.name for flag in own.flags} - COMPUTED_FLAGS,
        lambda fact: set(fact.get("command_flags", [])) - SENTINEL_FLAGS,
    ),
    "key specs": (
        lambda own: [own_key_spec(keys) for keys in own.keys],
        lambda fact: [reference_key_spec(spec) for spec in fact.get("key_specs", [])],
    ),
    "ACL categories": (own_categories, lambda fact: set(fact["acl_categories_effective"])),
    "tips": (own_tips, lambda fact: set(fact.get("command_tips", []))),
}


def differences(table: CommandTable, reference: dict[str, Facts], what: str) -> list[str]:
    read_own, read_reference = FACTS[what]
    return [
        f"{own.name}: {what} are {read_own(own)}, in Redis {read_reference(reference[own.name])}"
        for own in table
        if own.name in reference and read_own(own) != read_reference(reference[own.name])
    ]


@pytest.mark.parametrize("what", list(FACTS))
def test_declared_facts_equal_the_reference(
    what: str, table: CommandTable, reference: dict[str, Facts]
) -> None:
    found = differences(table, reference, what)
    assert not found, "\n".join(found)


def described(table: CommandTable) -> dict[str, str]:
    """COMMAND INFO of what clients see of a table, by name."""
    shown = [one for one in table if one.container is None and F.INTERNAL not in one.flags]
    reply = Reply(3)
    reply.array(len(shown))
    for one in shown:
        write_command_info(reply, one)
    return dict(entries(parse(reply.take())))


def test_command_info_is_byte_for_byte_that_of_redis(table: CommandTable) -> None:
    digests = json.loads((ROOT / "tests/data/command-info-7.2.json").read_text())
    own = described(table)
    assert len(own) > 280
    differing = {name: text for name, text in own.items() if digest(text) != digests.get(name)}
    assert not differing


def test_no_command_is_declared_that_redis_does_not_have(
    table: CommandTable, reference: dict[str, Facts]
) -> None:
    unknown = [
        own.name for own in table if own.name not in reference and F.INTERNAL not in own.flags
    ]
    assert not unknown, unknown


def test_the_missing_commands_are_printed(
    table: CommandTable, reference: dict[str, Facts], capsys: pytest.CaptureFixture[str]
) -> None:
    missing = sorted(name for name in reference if name not in table)
    print(f"{len(missing)} of {len(reference)} commands of 7.2 are missing:")
    print(", ".join(missing))
    assert len(table) > 0
    assert len(missing) < len(reference)


@pytest.mark.parametrize(
    ("what", "declared"),
    [
        ("arity", {"arity": 3}),
        ("flags", {"flags": F.READONLY}),
        ("key specs", {"keys": (Keys(1, -1, flags="RO access"),)}),
        ("ACL categories", {"acl": ("hash",)}),
        ("tips", {"tips": ("nondeterministic_output",)}),
    ],
)
def test_a_planted_difference_is_found(
    what: str, declared: dict[str, Any], reference: dict[str, Facts]
) -> None:
    right: dict[str, Any] = {
        "arity": 2,
        "flags": F.READONLY | F.FAST,
        "keys": (Keys(1, flags="RO access"),),
        "tips": (),
        "acl": (),
    }
    assert not differences(table_of_get(right), reference, what)
    assert differences(table_of_get({**right, **declared}), reference, what)


def table_of_get(facts: dict[str, Any]) -> CommandTable:
    from protocol.commands import Place, Request, Response

    return CommandTable(
        [
            Command(
                name="GET",
                place=Place.SHARD,
                request=Request.DEFAULT,
                response=Response.DEFAULT,
                group="string",
                handler=None,
                **facts,
            )
        ]
    )


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("DEL", (Keys(1, -1, flags="RM delete"),)),
        ("MSET", (Keys(1, -1, 2, flags="OW update"),)),
        ("RENAME", (Keys(1, flags="RW access delete"), Keys(2, flags="OW update"))),
        ("LCS", (Keys(1, 2, flags="RO access"),)),
        ("OBJECT|ENCODING", (Keys(2, flags="RO"),)),
        ("EVAL", (Keys(3, count_at=2, flags="RW access update"),)),
        ("XREADGROUP", (Keys(4, -1, keyword="STREAMS", limit=2, flags="RO access"),)),
    ],
)
def test_every_form_of_key_spec_can_be_declared(
    name: str, keys: tuple[Keys, ...], reference: dict[str, Facts]
) -> None:
    own = [own_key_spec(spec) for spec in keys]
    assert own == [reference_key_spec(spec) for spec in reference[name]["key_specs"]]
