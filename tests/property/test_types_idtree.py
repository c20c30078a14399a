"""The tree of stream ids against a sorted dict, with nodes of four to eight ids.

Ids come in order, as streams have them, and in no order, as pending entries may be claimed. Every
invariant is checked after every step.
"""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sortedcontainers import SortedDict

from shards.memory.allocation import live_blocks
from shards.types.idtree import NativeIdTree

LARGEST = 2**64 - 1
ids = st.one_of(
    st.tuples(st.integers(0, 30), st.integers(0, 5)),
    st.sampled_from([(0, 0), (LARGEST, LARGEST), (LARGEST, 0), (0, LARGEST), (2**63, 2**63)]),
)
FROM = {  # the place in the order where a seek begins
    "<": lambda order, id: order.bisect_left(id) - 1,
    "<=": lambda order, id: order.bisect_right(id) - 1,
    ">=": lambda order, id: order.bisect_left(id),
    ">": lambda order, id: order.bisect_right(id),
}


class IdTreeMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = live_blocks()

    @initialize(fanout=st.sampled_from([4, 5, 8, 64]))
    def create(self, fanout: int) -> None:
        self.tree = NativeIdTree(fanout)
        self.model = SortedDict()

    @rule(id=ids, value=st.integers(0, LARGEST))
    def insert(self, id: tuple[int, int], value: int) -> None:
        assert self.tree.insert(id, value) == (id not in self.model)
        self.model.setdefault(id, value)

    @rule(start=ids, count=st.integers(1, 80), step=st.sampled_from([1, 3, -1]))
    def insert_run(self, start: tuple[int, int], count: int, step: int) -> None:
        for n in range(count):
            ms = start[0] + n * step
            if 0 <= ms <= LARGEST:
                self.insert((ms, n % 3), n)

    @rule(id=ids)
    def find(self, id: tuple[int, int]) -> None:
        assert self.tree.find(id) == self.model.get(id)

    @rule(id=ids)
    def remove(self, id: tuple[int, int]) -> None:
        assert self.tree.remove(id) == self.model.pop(id, None)

    @rule(count=st.integers(1, 100), seed=st.integers(0, 99), order=st.sampled_from("<>?"))
    def remove_many(self, count: int, seed: int, order: str) -> None:
        there = list(reversed(self.model) if order == ">" else self.model)
        if order == "?":
            random.Random(seed).shuffle(there)
        for id in there[:count]:
            assert self.tree.remove(id) == self.model.pop(id)

    @rule(
        id=ids, how=st.sampled_from(["<", "<=", ">=", ">"]), count=st.integers(1, 20),
        reverse=st.booleans(),
    )  # fmt: skip
    def seek(self, id: tuple[int, int], how: str, count: int, reverse: bool) -> None:
        at = FROM[how](self.model, id)
        wanted = []
        if 0 <= at < len(self.model):
            order = list(self.model.items())
            wanted = order[at::-1] if reverse else order[at:]
        assert self.tree.seek(id, how, count=count, reverse=reverse) == wanted[:count]

    @rule()
    def clear(self) -> None:
        assert self.tree.clear() == list(self.model.items())
        self.model.clear()

    @invariant()
    def is_the_model(self) -> None:
        if not hasattr(self, "tree"):
            return
        self.tree.check()
        assert len(self.tree) == len(self.model)
        order = list(self.model.items())
        many = len(order) + 1
        assert self.tree.seek(None, ">=", count=many) == order
        assert self.tree.seek(None, "<=", count=many, reverse=True) == order[::-1]
        if not order:
            assert self.tree.used_memory == 0

    def teardown(self) -> None:
        if hasattr(self, "tree"):
            del self.tree
        assert live_blocks() == self.blocks


IdTreeMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestIdTree = IdTreeMachine.TestCase


def test_appended_ids_fill_their_nodes() -> None:
    tree = NativeIdTree()
    for n in range(100_000):
        assert tree.insert((n // 3, n % 3), n)
    tree.check()
    assert tree.height == 2
    assert tree.used_memory < 100_000 * 25.5


def test_a_queue_of_ids_keeps_its_memory_bounded() -> None:
    """As pending entries do: added at one end, acknowledged at the other, some of them late."""
    tree = NativeIdTree()
    late = []
    for n in range(50_000):
        tree.insert((n, 0), n)
        if n >= 500:
            if n % 50 == 0:
                late.append(n - 500)
            else:
                assert tree.remove((n - 500, 0)) == n - 500
    tree.check()
    assert tree.used_memory < len(tree) * 24 * 3
    for n in late:
        assert tree.remove((n, 0)) == n
    tree.check()


def test_a_small_tree_is_small() -> None:
    tree = NativeIdTree()
    for n in range(4):
        tree.insert((n, n), n)
    assert tree.used_memory <= 136
    for n in range(4, 60):
        tree.insert((n, n), n)
    for n in range(60):
        assert tree.remove((n, n)) == n
    assert tree.used_memory == 0
