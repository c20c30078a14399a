"""Histograms: a counter's bound is the value to two digits, and nothing is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocol.histogram import Histograms
from router.commands.latency import cumulative
from router.stats import merged_histograms, percentile

HIGHEST = 1_000_000_000
times = st.lists(st.integers(0, 3 * HIGHEST), min_size=1, max_size=50)


@given(st.integers(0, HIGHEST))
def test_a_value_is_known_to_two_digits(value: int) -> None:
    histograms = Histograms(2)
    histograms.record(1, value)
    [(bound, count)] = histograms.pairs()[1]
    assert count == 1
    assert value <= bound <= value + value // 128


@given(times)
def test_percentiles_are_those_of_the_sorted_values(values: list[int]) -> None:
    histograms = Histograms(1)
    for value in values:
        histograms.record(0, value)
    merged = merged_histograms([{"set": histograms.pairs()[0]}, None, {}])["set"]
    assert sum(merged.values()) == len(values)
    exact = sorted(min(value, HIGHEST) for value in values)
    for percent in (0, 50, 99, 100):
        rank = max(1, int(percent / 100 * len(values) + 0.5))
        bound = percentile(merged, percent)
        assert exact[rank - 1] <= bound <= exact[rank - 1] * 129 // 128 + 1


@given(times)
def test_cumulative_steps_end_with_all_calls(values: list[int]) -> None:
    histograms = Histograms(1)
    for value in values:
        histograms.record(0, value)
    steps = cumulative(dict(histograms.pairs()[0]))
    assert [count for _, count in steps] == sorted({count for _, count in steps})
    assert steps[-1][1] == len(values)


def test_clearing_forgets_and_ids_are_checked() -> None:
    histograms = Histograms(1)
    histograms.record(0, 5)
    histograms.clear()
    assert histograms.pairs() == {}
    try:
        histograms.record(1, 5)
    except IndexError:
        return
    raise AssertionError("an id beyond the table was taken")
