"""SCAN's promise: what is there from the first call to the last is returned at least once.

Between the calls keys come and go, enough to make tables grow and shrink; thresholds are tiny, so
that tables are nearly always half-way through a resize while they are scanned.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.keyspace.keyspace import Keyspace

stays = st.sets(st.integers(0, 60), max_size=60)
changes = st.lists(
    st.tuples(st.sampled_from(["add", "remove"]), st.integers(0, 2), st.integers(0, 120)),
    max_size=30,
)


def name(tag: int, n: int) -> bytes:
    return b"{%d}%d" % (tag, n)


@settings(max_examples=150, deadline=None)
@given(
    stays=st.tuples(stays, stays),
    batches=st.lists(changes, max_size=25),
    before=st.integers(0, 300),
    count=st.integers(1, 12),
    step=st.sampled_from([1, 2, 64]),
    incremental=st.sampled_from([4, 16, 4096]),
)
def test_a_key_that_stays_is_returned_whatever_happens_to_others(
    stays: tuple[set[int], set[int]],
    batches: list[list[tuple[str, int, int]]],
    before: int,
    count: int,
    step: int,
    incremental: int,
) -> None:
    keyspace = Keyspace(1)
    keyspace.tune(incremental_min=incremental, step=step)
    staying = {name(tag, n) for tag, numbers in enumerate(stays) for n in numbers}
    for key in staying:
        keyspace.set_string(0, key, b"")
    for n in range(before):
        keyspace.set_string(0, name(n % 2, 1000 + n), b"")
    others = {name(n % 2, 1000 + n) for n in range(before)}

    seen: set[bytes] = set()
    ever = staying | others
    cursor = 0
    calls = 0
    while True:
        cursor, found = keyspace.scan(0, cursor, count)
        seen.update(found)
        if cursor == 0:
            break
        calls += 1
        assert cursor < 2**53
        assert calls < 10_000
        for what, tag, n in batches[calls % len(batches)] if batches else []:
            # Removing runs through many keys, so that tables shrink while they are scanned.
            if what == "add":
                for m in range(n, n + 20):
                    keyspace.set_string(0, name(tag, 2000 + m), b"")
                    others.add(name(tag, 2000 + m))
                    ever.add(name(tag, 2000 + m))
            else:
                for key in sorted(others)[:n]:
                    keyspace.delete(0, key)
                    others.discard(key)
        keyspace.check()
    assert staying <= seen
    assert seen <= ever


@given(numbers=st.sets(st.integers(0, 3000), max_size=200), count=st.integers(1, 50))
@settings(max_examples=50, deadline=None)
def test_an_undisturbed_scan_returns_each_key_once(numbers: set[int], count: int) -> None:
    """Even half-way through a resize, which a scan doesn't carry on."""
    keyspace = Keyspace(1)
    keyspace.tune(incremental_min=4, step=1)
    names = [name(n % 2, n) if n % 3 else b"%d" % n for n in numbers]
    for key in names:
        keyspace.set_string(0, key, b"")
    cursor, found = keyspace.scan(0, 0, count)
    while cursor:
        cursor, more = keyspace.scan(0, cursor, count)
        # A call gives about `count`: the last homes may add a few. It may also give none.
        assert len(more) <= count + 40
        found += more
    assert sorted(found) == sorted(names)


@given(
    numbers=st.sets(st.integers(0, 500), max_size=100),
    edges=st.tuples(st.integers(0, 16383), st.integers(0, 16383)),
)
@settings(max_examples=50, deadline=None)
def test_scans_of_slot_ranges_add_up(numbers: set[int], edges: tuple[int, int]) -> None:
    keyspace = Keyspace(1)
    for n in numbers:
        keyspace.set_string(0, b"%d" % n, b"")
    first, second = sorted(edges)
    found: list[bytes] = []
    for low, high in ((0, first), (first + 1, second), (second + 1, 16383)):
        if low > high:
            continue
        cursor = 0
        while True:
            cursor, more = keyspace.scan(0, cursor, 7, first_slot=low, last_slot=high)
            found += more
            if cursor == 0:
                break
            assert low <= cursor & 16383 <= high
    assert sorted(found) == sorted(b"%d" % n for n in numbers)


def test_a_foreign_cursor_is_harmless() -> None:
    keyspace = Keyspace(1)
    for n in range(100):
        keyspace.set_string(0, b"{x}%d" % n, b"")
    for cursor in (1, 2**14, 2**53 - 1, 2**63, 2**64 - 1):
        while cursor:
            cursor, _found = keyspace.scan(0, cursor, 10)


@pytest.mark.parametrize("count", [1, 10])
def test_a_scan_of_few_keys_in_many_slots_takes_few_calls(count: int) -> None:
    keyspace = Keyspace(1)
    for n in range(100):
        keyspace.set_string(0, b"%d" % n, b"")
    calls = cursor = 0
    while True:
        cursor, _found = keyspace.scan(0, cursor, count)
        calls += 1
        if cursor == 0:
            break
    assert calls <= 4 * 100 / count + 1
