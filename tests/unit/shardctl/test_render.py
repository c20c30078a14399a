"""What shardctl prints for people."""

from __future__ import annotations

import pytest
from rich.console import Console

from shardctl import render
from shardctl.client import Target
from shardctl.config import quoted
from shardctl.figures import add_rates, status_from
from tests.unit.shardctl.test_figures import info


def text(what: object) -> str:
    console = Console(width=160, no_color=True)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0B"), (1023, "1023B"), (1024, "1.0K"), (1 << 30, "1.0G"), (5 << 50, "5120T")],
)
def test_sizes_are_short(value: int, shown: str) -> None:
    assert render.human(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (3700, "1h 1m"), (90000, "1d 1h"), (86405, "1d 5s")],
)
def test_durations_have_two_units(seconds: int, shown: str) -> None:
    assert render.duration(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0, "0"),
        (12.5, "12.5"),
        (12.0, "12"),
        (1234.5, "1,234"),
        (1500000, "1,500,000"),
    ],
)
def test_numbers_have_their_thousands_parted(value: float | None, shown: str) -> None:
    assert render.number(value) == shown


def test_the_screen_has_a_line_for_each_process() -> None:
    earlier, later = status_from(info(), now=0.0), status_from(info(commands=12100), now=1.0)
    add_rates(later, earlier)
    commands = [{"command": "get", "calls_per_second": 1200.0, "microseconds_per_call": 1.5}]
    lines = text(render.screen(Target(port=7000), later, commands)).splitlines()
    assert lines[0].split()[:3] == ["127.0.0.1:7000", "shardis", "0.1.0"]
    assert "1,500 ops/s, 7 keys, 2.0K used, 5 clients" in lines[1]
    rows = [line.split() for line in lines]
    assert ["router", "up", "100", "0.0", "0", "8.8K"] in rows
    assert ["shard", "0", "up", "101", "0.0", "12,000", "1.0K", "8.8K", "3", "8,192", "0"] in rows
    assert ["worker", "0", "up", "103", "0.0", "0", "8.8K", "5", "0"] in rows
    assert ["get", "1,200", "1.50"] in rows


def test_the_limit_of_the_memory_is_shown_when_there_is_one() -> None:
    status = status_from(info().replace("maxmemory:0", "maxmemory:4096"))
    assert "2.0K of 4.0K used" in render.title(Target(), status)


def test_the_slots_are_shown_with_their_owner() -> None:
    rows = [line.split() for line in text(render.slot_table(status_from(info()))).splitlines()]
    assert rows[1:] == [
        ["0-8191", "8,192", "50.0%", "0", "101", "up"],
        ["8192-16383", "8,192", "50.0%", "1", "102", "up"],
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("6379", "6379"),
        ("", '""'),
        ("a b", '"a b"'),
        ('a"b\\', '"a\\"b\\\\"'),
        ("a\nb", '"a\\nb"'),
    ],
)
def test_values_are_quoted_as_in_a_configuration_file(value: str, shown: str) -> None:
    assert quoted(value) == shown
