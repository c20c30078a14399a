"""The tree of big sorted sets against a sorted list of Python.

Few scores, so that many members share one; some members are long or empty; the index of members
splits its buckets above two, and pages have four entries or a few more, so that they are split and
joined on several levels. Every invariant is checked after every step.
"""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shards.memory.allocation import live_blocks
from shards.types.scoretree import NativeZset

members = st.one_of(
    st.integers(0, 60).map(lambda n: b"m%d" % n),
    st.sampled_from([b"", b"\0", b"\xff", b"m", b"m\0", b"x" * 300]),
)
scores = st.one_of(
    st.integers(-3, 3).map(float), st.sampled_from([math.inf, -math.inf, 0.5, -0.0, 1e300, 5e-324])
)
score_ends = st.tuples(scores, st.booleans())
lex_ends = st.one_of(
    st.sampled_from([b"-", b"+"]),
    st.builds(lambda kind, member: kind + member, st.sampled_from([b"[", b"("]), members),
)
ranks = st.integers(0, 130)


def within_scores(
    item: tuple[bytes, float], first: tuple[float, bool], last: tuple[float, bool]
) -> bool:
    above = item[1] > first[0] if first[1] else item[1] >= first[0]
    return above and (item[1] < last[0] if last[1] else item[1] <= last[0])


def within_lex(member: bytes, first: bytes, last: bytes) -> bool:
    if first == b"+" or last == b"-":
        return False
    above = first == b"-" or member > first[1:] or (first[:1] == b"[" and member == first[1:])
    return above and (
        last == b"+" or member < last[1:] or (last[:1] == b"[" and member == last[1:])
    )


class ZsetMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = live_blocks()

    @initialize(capacity=st.sampled_from([4, 4, 5, 8, 62]), one_score=st.booleans())
    def create(self, capacity: int, one_score: bool) -> None:
        self.zset = NativeZset(grow_at=2, shrink_at=1, capacity=capacity)
        self.one_score = one_score
        self.model: dict[bytes, float] = {}
        self.stable: set[bytes] = set()
        self.scanned: set[bytes] = set()
        self.cursor = 0

    def ordered(self) -> list[tuple[bytes, float]]:
        return sorted(self.model.items(), key=lambda item: (item[1], item[0]))

    def forget(self, gone: list[tuple[bytes, float]]) -> None:
        for member, _ in gone:
            del self.model[member]
            self.stable.discard(member)

    @rule(member=members, score=scores)
    def set(self, member: bytes, score: float) -> None:
        score = 1.0 if self.one_score else score
        assert self.zset.set(member, score) == (member not in self.model)
        self.model[member] = score

    @rule(start=st.integers(0, 100), count=st.integers(1, 40), step=st.integers(-2, 2))
    def set_many(self, start: int, count: int, step: int) -> None:
        for n in range(start, start + count):
            self.set(b"many:%d" % n, float(n * step))

    @rule(member=members)
    def look_up(self, member: bytes) -> None:
        assert self.zset.score(member) == self.model.get(member)
        rank = self.zset.rank(member)
        if member in self.model:
            assert self.ordered()[rank or 0][0] == member
        else:
            assert rank is None

    @rule(member=members)
    def remove(self, member: bytes) -> None:
        assert self.zset.remove(member) == (member in self.model)
        if member in self.model:
            self.forget([(member, 0)])

    @rule(start=ranks, count=st.integers(1, 20), reverse=st.booleans())
    def by_rank(self, start: int, count: int, reverse: bool) -> None:
        order = self.ordered()[::-1] if reverse else self.ordered()
        assert self.zset.items(start, count, reverse=reverse) == order[start : start + count]

    @rule(first=score_ends, last=score_ends, reverse=st.booleans(), remove=st.booleans())
    def by_score(
        self, first: tuple[float, bool], last: tuple[float, bool], reverse: bool, remove: bool
    ) -> None:
        order = self.ordered()
        wanted = [item for item in order if within_scores(item, first, last)]
        assert self.zset.range(first, last, reverse=reverse) == (
            wanted[::-1] if reverse else wanted
        )
        assert self.zset.count(first, last) == len(wanted)
        if wanted:
            assert self.zset.count_below(first, last) == order.index(wanted[0])
        if remove:
            assert self.zset.remove_range(first, last) == len(wanted)
            self.forget(wanted)

    @precondition(lambda self: self.one_score and len(set(self.model.values())) <= 1)
    @rule(first=lex_ends, last=lex_ends, reverse=st.booleans(), remove=st.booleans())
    def by_lex(self, first: bytes, last: bytes, reverse: bool, remove: bool) -> None:
        wanted = [item for item in self.ordered() if within_lex(item[0], first, last)]
        assert self.zset.range(first, last, reverse=reverse) == (
            wanted[::-1] if reverse else wanted
        )
        assert self.zset.count(first, last) == len(wanted)
        if remove:
            assert self.zset.remove_range(first, last) == len(wanted)
            self.forget(wanted)

    @rule(first=ranks, count=st.integers(0, 30))
    def remove_ranks(self, first: int, count: int) -> None:
        gone = self.ordered()[first : first + count + 1]
        assert self.zset.remove_ranks(first, first + count) == len(gone)
        self.forget(gone)

    @rule(last=st.booleans())
    def pop(self, last: bool) -> None:
        order = self.ordered()
        assert self.zset.pop(last=last) == (order[-1 if last else 0] if order else None)
        if order:
            self.forget([order[-1 if last else 0]])

    @precondition(lambda self: self.model)
    @rule(random=st.integers(0, 2**64 - 1))
    def random(self, random: int) -> None:
        member, score = self.zset.random(random)
        assert self.model[member] == score

    @rule()
    def scan(self) -> None:
        if self.cursor == 0:
            self.stable = set(self.model)
            self.scanned = set()
        self.cursor, found = self.zset.scan(self.cursor)
        for member, score in found:
            assert self.model[member] == score
            self.scanned.add(member)
        if self.cursor == 0:
            assert self.stable <= self.scanned

    @rule()
    def copy(self) -> None:
        self.zset = self.zset.copy()

    @rule()
    def free_detached(self) -> None:
        self.zset.free_detached()
        self.model.clear()
        self.stable.clear()

    @invariant()
    def is_the_model(self) -> None:
        if not hasattr(self, "zset"):
            return
        self.zset.check()
        assert len(self.zset) == len(self.model)
        assert self.zset.items() == self.ordered()

    def teardown(self) -> None:
        if hasattr(self, "zset"):
            del self.zset
        assert live_blocks() == self.blocks


ZsetMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestZset = ZsetMachine.TestCase


def test_the_height_grows_with_the_logarithm() -> None:
    zset = NativeZset()
    for n in range(20_000):
        zset.set(b"%d" % n, float(n * 7919 % 20_011))
    zset.check()
    assert zset.height == 2
    for n in range(0, 20_000, 2):
        zset.set(b"%d" % n, float(-n))
    zset.check()
    while len(zset):
        assert zset.pop() is not None
    zset.check()
    assert zset.height == 0


@pytest.mark.parametrize("capacity", [4, 7, 62])
@pytest.mark.parametrize("distinct", [40, 1_000_000])
def test_random_changes_of_a_tree_of_many_pages(capacity: int, distinct: int) -> None:
    """Few scores, and practically only different ones; growing, then shrinking to a few members.

    A search for the place of a new score once took the node's own old entry for that place.
    """
    chance = Random(capacity * distinct)
    zset = NativeZset(capacity=capacity)
    model: dict[bytes, float] = {}
    for step in range(6_000):
        member = b"%d" % chance.randrange(600)
        if chance.random() < (0.8 if step < 3_000 else 0.2):
            model[member] = float(chance.randrange(distinct))
            zset.set(member, model[member])
        else:
            assert zset.remove(member) == (model.pop(member, None) is not None)
        if step % 50 == 0:
            zset.check()
            assert zset.items() == sorted(model.items(), key=lambda item: (item[1], item[0]))


@pytest.mark.parametrize("step", [1, -1])
def test_scores_in_order_leave_full_pages(step: int) -> None:
    in_order, mixed = NativeZset(), NativeZset()
    for n in range(20_000):
        in_order.set(b"%d" % n, float(n * step))
        mixed.set(b"%d" % n, float(n * 7919 % 20_011))
    in_order.check()
    assert in_order.footprint < mixed.footprint - 20_000 * 5


def test_removals_give_memory_back() -> None:
    """Of 20000 members one in 50 is left, all over the tree: its pages must have been joined."""
    zset = NativeZset()
    for n in range(20_000):
        zset.set(b"%d" % n, float(n))
    for n in range(20_000):
        if n % 50:
            zset.remove(b"%d" % n)
    zset.check()
    assert zset.footprint < 400 * 110


def test_a_range_is_removed_over_whole_pages() -> None:
    zset = NativeZset(capacity=4)
    for n in range(2_000):
        zset.set(b"%04d" % n, float(n))
    assert zset.remove_range((10.0, True), (1_900.0, False)) == 1_890
    zset.check()
    assert zset.items(9, 3) == [(b"0009", 9.0), (b"0010", 10.0), (b"1901", 1901.0)]
    assert zset.remove_ranks(0, 5_000) == 110
    zset.check()
    assert len(zset) == 0


@pytest.mark.parametrize("length", [0, 254, 255, 256, 70_000])
def test_members_of_all_lengths(length: int) -> None:
    zset = NativeZset()
    zset.set(b"l" * length, 2.0)
    zset.set(b"small", 1.0)
    zset.check()
    assert zset.items(1) == [(b"l" * length, 2.0)]


@pytest.mark.parametrize("capacity", [3, 63])
def test_pages_of_no_possible_capacity(capacity: int) -> None:
    with pytest.raises(ValueError, match="capacity"):
        NativeZset(capacity=capacity)


def test_negative_zero_replaces_zero() -> None:
    zset = NativeZset()
    zset.set(b"m", 0.0)
    zset.set(b"m", -0.0)
    score = zset.score(b"m")
    assert score is not None
    assert math.copysign(1, score) == -1


def test_a_random_member_is_a_fair_choice() -> None:
    """Each of 100 members is drawn about 1000 times; chi-square at 99 degrees of freedom."""
    zset = NativeZset()
    for n in range(100):
        zset.set(b"%d" % n, 0.0)
    counts = Counter(zset.random(n * 0x9E3779B97F4A7C15 % 2**64)[0] for n in range(100_000))
    assert len(counts) == 100
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 160


def test_no_member_of_an_empty_sorted_set() -> None:
    with pytest.raises(IndexError):
        NativeZset().random(1)
