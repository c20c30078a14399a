"""The survey of commands leaves none out: a new one needs its line in the benchmark's table."""

from __future__ import annotations

import importlib
from collections import Counter

from bench.macro.every_command import COMMANDS, GROUPS, LEFT_OUT, command_of
from bench.macro.type_cases import BIG_ZSET, TYPES
from protocol.commands import CommandTable, F


def declared() -> set[str]:
    """The commands of the data types that a client can send."""
    importlib.import_module("shards.commands")
    table: CommandTable = importlib.import_module("router.table").full_table()
    return {c.name for c in table if c.group in GROUPS and F.INTERNAL not in c.flags}


def test_every_command_of_the_data_types_is_measured() -> None:
    measured = {command_of(case) for case in COMMANDS}
    assert not declared() - measured - LEFT_OUT.keys()
    assert not (measured | LEFT_OUT.keys()) - declared()
    assert not measured & LEFT_OUT.keys()


def test_a_case_measures_the_command_that_it_is_named_after() -> None:
    wrong = [
        case.name
        for case in COMMANDS
        if not case.command.startswith(command_of(case).replace("|", " "))
    ]
    assert not wrong, wrong


def test_names_of_cases_are_unique() -> None:
    for cases in (COMMANDS, TYPES, BIG_ZSET):
        twice = [name for name, count in Counter(case.name for case in cases).items() if count > 1]
        assert not twice, twice


def test_only_a_case_that_drains_has_fills_without_a_count() -> None:
    wrong = [
        case.name
        for case in (*COMMANDS, *TYPES, *BIG_ZSET)
        if bool(case.drain) != any(fill.count == 0 for fill in case.fills)
    ]
    assert not wrong, wrong
