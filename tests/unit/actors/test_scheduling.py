"""The lists of processors that the cpulist directives take."""

import pytest

from actors.scheduling import parse_cpulist


@pytest.mark.parametrize(
    ("text", "processors"),
    [("", set()), ("3", {3}), ("0,2,4-6", {0, 2, 4, 5, 6}), ("0-7:3", {0, 3, 6})],
)
def test_a_list_names_its_processors(text: str, processors: set[int]) -> None:
    assert parse_cpulist(text) == processors


@pytest.mark.parametrize("text", ["x", "3-1", "-1", "1-2:0", "1,,2"])
def test_a_bad_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_cpulist(text)
