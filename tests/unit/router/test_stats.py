"""Figures of several processes added up, with processes that gave none."""

from __future__ import annotations

import pytest

from router.commands.info import HIDDEN, SECTIONS, chosen_sections, human, safe
from router.stats import merged_commands, merged_databases, merged_errors, total


def test_figures_are_added_and_silence_counts_as_nothing() -> None:
    answers = [{"hits": 2}, None, {"hits": 3}, {}]
    assert total(answers, "hits") == 5


def test_commands_and_errors_are_added_by_name() -> None:
    answers = [
        {"commands": {"get": [1, 10, 0, 0], "del": [1, 1, 1, 1]}, "errors": {"ERR": 1}},
        None,
        {"commands": {"get": [2, 5, 1, 0]}, "errors": {"ERR": 2, "BUSY": 1}},
    ]
    assert merged_commands(answers) == {"del": [1, 1, 1, 1], "get": [3, 15, 1, 0]}
    assert merged_errors(answers) == {"BUSY": 1, "ERR": 3}


def test_average_ttls_are_weighted_and_empty_databases_left_out() -> None:
    answers = [
        {"databases": {0: [10, 1, 100, 7, 8], 3: [0, 0, 0, 9, 0]}},
        {"databases": {0: [5, 3, 200, 20, 30], 1: [1, 0, 0, 5, 0]}},
    ]
    assert merged_databases(answers) == {0: (15, 4, 175, 27, 38), 1: (1, 0, 0, 5, 0)}


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1536 * 1024, "1.50M"), (1 << 60, "1024.00P")],
)
def test_sizes_are_shortened_as_redis_does(size: int, text: str) -> None:
    assert human(size) == text


def test_sections_are_chosen_by_name_and_by_group() -> None:
    assert chosen_sections([b"SERVER", b"nosuch"]) == {"server", "nosuch"}
    assert chosen_sections([b"all"]) == chosen_sections([b"everything"]) == SECTIONS.keys() - HIDDEN
    assert chosen_sections([b"debug"]) == HIDDEN
    assert "commandstats" not in chosen_sections([])
    assert chosen_sections([b"default", b"commandstats"]) == {*chosen_sections([]), "commandstats"}
    assert safe("a:b#c") == "a_b_c"
