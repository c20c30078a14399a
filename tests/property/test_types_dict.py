"""The dict of big hashes and sets against a dict of Python.

Buckets are split above two members and joined below one, so that a handful of members reaches what
needs thousands otherwise; inline_max is so low that values go out of the block and come back.
Every invariant, the count of bytes included, is checked after every step.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shards.memory.allocation import live_blocks
from shards.types.dict import NativeDict

members = st.one_of(
    st.integers(0, 60).map(lambda n: b"m%d" % n),
    st.sampled_from([b"", b"\0", b"x" * 7, b"x" * 8, b"y" * 300, b"z" * 254, b"z" * 255]),
)
values = st.one_of(st.binary(max_size=4), st.sampled_from([b"v" * 9, b"v" * 200, b"v" * 90_000]))
randoms = st.integers(0, 2**64 - 1)


class DictMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = live_blocks()

    @initialize(
        has_values=st.booleans(),
        thresholds=st.sampled_from([(2, 1), (3, 1), (10, 4)]),
        inline_max=st.sampled_from([1, 8, 240]),
    )
    def create(self, has_values: bool, thresholds: tuple[int, int], inline_max: int) -> None:
        self.has_values = has_values
        self.dict = NativeDict(
            has_values, grow_at=thresholds[0], shrink_at=thresholds[1], inline_max=inline_max
        )
        self.model: dict[bytes, bytes] = {}
        self.scanned: set[bytes] = set()
        self.stable: set[bytes] = set()
        self.cursor = 0

    def forget(self, member: bytes) -> None:
        del self.model[member]
        self.stable.discard(member)

    @rule(member=members, value=values)
    def set(self, member: bytes, value: bytes) -> None:
        value = value if self.has_values else b""
        assert self.dict.set(member, value) == (member not in self.model)
        self.model[member] = value

    @rule(start=st.integers(0, 1000), count=st.integers(1, 60))
    def set_many(self, start: int, count: int) -> None:
        for n in range(start, start + count):
            self.set(b"many:%d" % n, b"%d" % n)

    @rule(member=members)
    def get(self, member: bytes) -> None:
        assert self.dict.get(member) == self.model.get(member)

    @rule(member=members)
    def remove(self, member: bytes) -> None:
        assert self.dict.remove(member) == (member in self.model)
        if member in self.model:
            self.forget(member)

    @rule(keep=st.integers(0, 5))
    def remove_many(self, keep: int) -> None:
        for member in list(self.model)[keep:]:
            assert self.dict.remove(member)
            self.forget(member)

    @precondition(lambda self: self.model)
    @rule(random=randoms)
    def random(self, random: int) -> None:
        member, value = self.dict.random(random)
        assert self.model[member] == (value or b"")

    @precondition(lambda self: self.model)
    @rule(random=randoms)
    def pop_random(self, random: int) -> None:
        member, value = self.dict.pop_random(random)
        assert self.model[member] == (value or b"")
        self.forget(member)

    @rule()
    def scan(self) -> None:
        """One step of a scan that goes on while the dict changes."""
        if self.cursor == 0:
            self.stable = set(self.model)
            self.scanned = set()
        self.cursor, found = self.dict.scan(self.cursor)
        assert 0 <= self.cursor < 2**32
        for member, value in found:
            assert self.model[member] == (value or b"")
            self.scanned.add(member)
        if self.cursor == 0:
            assert self.stable <= self.scanned

    @rule()
    def copy(self) -> None:
        self.dict = self.dict.copy()

    @rule()
    def free_detached(self) -> None:
        self.dict.free_detached()
        self.model.clear()
        self.stable.clear()

    @invariant()
    def is_the_model(self) -> None:
        if not hasattr(self, "dict"):
            return
        self.dict.check()
        assert len(self.dict) == len(self.model)
        items = self.dict.items()
        assert len(items) == len(self.model)
        assert {member: value or b"" for member, value in items} == self.model
        assert self.dict.footprint == self.dict.used_memory

    def teardown(self) -> None:
        if hasattr(self, "dict"):
            del self.dict
        assert live_blocks() == self.blocks


DictMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestDict = DictMachine.TestCase


@pytest.mark.parametrize("has_values", [False, True])
def test_growing_and_shrinking_over_several_segments(has_values: bool) -> None:
    table = NativeDict(has_values, grow_at=2, shrink_at=1)
    small = table.used_memory
    for n in range(6000):
        assert table.set(b"%d" % n, b"v%d" % n)
    table.check()
    assert table.buckets > 512 * 4
    assert table.get(b"5999") == (b"v5999" if has_values else b"")
    for n in range(6000):
        assert table.remove(b"%d" % n)
        if n % 500 == 0:
            table.check()
    table.check()
    assert table.buckets == 1
    assert table.used_memory == small


def test_a_scan_without_changes_finds_each_member_once() -> None:
    for count in (0, 1, 10, 11, 700, 3000):
        table = NativeDict(grow_at=3, shrink_at=1)
        for n in range(count):
            table.set(b"%d" % n)
        found: list[bytes] = []
        cursor = -1
        while cursor:
            cursor, some = table.scan(max(cursor, 0))
            found += [member for member, _ in some]
        assert sorted(found) == sorted(b"%d" % n for n in range(count))


def test_a_random_member_is_a_fair_choice() -> None:
    """Each of 100 members is drawn about 1000 times; chi-square at 99 degrees of freedom."""
    table = NativeDict()
    for n in range(100):
        table.set(b"%d" % n)
    state = 12345
    counts: Counter[bytes] = Counter()
    for _ in range(100_000):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        counts[table.random(state)[0]] += 1
    assert len(counts) == 100
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 160


def test_a_member_costs_a_few_bytes_more_than_it_has() -> None:
    table = NativeDict()
    for n in range(100_000):
        table.set(b"member:%06d" % n)
    assert table.used_memory < 100_000 * (13 + 7)


def test_no_member_of_an_empty_dict() -> None:
    with pytest.raises(IndexError):
        NativeDict().random(1)
