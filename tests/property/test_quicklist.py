"""A quicklist against a Python list.

Nodes hold two or three elements, plain ones begin at a few bytes, and elements compress well, so
that a handful of elements makes nodes that are split, merged, compressed and opened again.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from shards.types.quicklist import QuicklistProbe

values = st.one_of(
    st.integers(0, 9).map(lambda n: b"%d" % n),
    st.sampled_from([b"", b"a", b"b", b"-7", b"123456789012"]),
    st.integers(0, 4).map(lambda n: b"%d" % n * 60),
    st.integers(0, 2).map(lambda n: b"%d" % n * 5000),
    st.binary(min_size=50, max_size=60),
)
positions = st.integers(0, 1 << 16)


class QuicklistMachine(RuleBasedStateMachine):
    @initialize(
        fill=st.sampled_from([0, 1, 2, 3, 5, -1]),
        depth=st.sampled_from([0, 1, 2, 3]),
        plain=st.sampled_from([1, 12, 61, 1 << 30]),
    )
    def create(self, fill: int, depth: int, plain: int) -> None:
        self.list = QuicklistProbe(fill, depth, plain)
        self.model: list[bytes] = []

    def index(self, position: int) -> int:
        return position % len(self.model)

    @rule(value=values, at_tail=st.booleans())
    def push(self, value: bytes, at_tail: bool) -> None:
        self.list.push(value, at_tail)
        self.model.insert(len(self.model) if at_tail else 0, value)

    @rule(some=st.lists(values, max_size=20))
    def push_many(self, some: list[bytes]) -> None:
        for value in some:
            self.list.push(value)
        self.model += some

    @precondition(lambda self: self.model)
    @rule(at_tail=st.booleans(), count=st.integers(1, 4))
    def pop(self, at_tail: bool, count: int) -> None:
        for _ in range(min(count, len(self.model))):
            assert self.list.pop(at_tail) == self.model.pop(-1 if at_tail else 0)

    @precondition(lambda self: self.model)
    @rule(position=positions, value=values, behind=st.booleans())
    def insert(self, position: int, value: bytes, behind: bool) -> None:
        index = self.index(position)
        self.list.insert(index, value, behind)
        self.model.insert(index + behind, value)

    @precondition(lambda self: self.model)
    @rule(position=positions, value=values)
    def replace(self, position: int, value: bytes) -> None:
        index = self.index(position)
        self.list.replace(index - len(self.model), value)
        self.model[index] = value

    @rule(value=values, count=st.integers(1, 5), backwards=st.booleans())
    def remove(self, value: bytes, count: int, backwards: bool) -> None:
        places = [index for index, found in enumerate(self.model) if found == value]
        places = places[-count:] if backwards else places[:count]
        assert self.list.remove(value, count, backwards) == len(places)
        for index in reversed(places):
            del self.model[index]

    @rule(position=st.integers(-20, 20), count=st.integers(0, 12))
    def delete_range(self, position: int, count: int) -> None:
        there = -len(self.model) <= position < len(self.model)
        first = position % len(self.model) if there else 0
        gone = self.model[first : first + count] if there else []
        assert self.list.delete_range(position, count) == len(gone)
        del self.model[first : first + len(gone)]

    @rule()
    def rotate(self) -> None:
        self.list.rotate()
        if self.model:
            self.model.insert(0, self.model.pop())

    @rule(plain=st.sampled_from([1, 12, 61, 1 << 30]))
    def change_what_is_large(self, plain: int) -> None:
        self.list.plain_bytes_min = plain

    @rule()
    def copy(self) -> None:
        other = self.list.copy()
        assert other.nodes() == self.list.nodes()
        self.list = other

    @precondition(lambda self: self.model)
    @rule(position=positions, backwards=st.booleans())
    def walk(self, position: int, backwards: bool) -> None:
        index = self.index(position)
        expected = self.model[index::-1] if backwards else self.model[index:]
        assert self.list.elements(index, backwards) == expected
        assert self.list[index] == self.model[index]

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "model"):
            self.list.check()
            assert len(self.list) == len(self.model)
            assert self.list.elements() == self.model
            assert self.list.elements(-1, True) == self.model[::-1]


TestQuicklist = QuicklistMachine.TestCase
TestQuicklist.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
