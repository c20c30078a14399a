"""A listpack and an intset against plain Python: every operation, checked after every step."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shards.types.intset import IntsetProbe
from shards.types.listpack import ListpackProbe

Value = bytes | int

values = st.one_of(
    st.sampled_from([0, 1, 127, 128, -1, 4095, 4096, -4097, 2**23, 2**31, -(2**63)]),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-5, 5).map(lambda n: b"%d" % n),
    st.binary(max_size=4),
    st.sampled_from([0, 63, 64, 126, 127, 4095, 4096, 16380]).map(lambda n: b"v" * n),
)
positions = st.integers(0, 1 << 16)


def stored(value: Value) -> Value:
    """How a listpack keeps a value: as an integer if it is a canonical one."""
    if isinstance(value, bytes) and 0 < len(value) <= 20:
        try:
            number = int(value)
        except ValueError:
            return value
        if b"%d" % number == value and -(2**63) <= number < 2**63:
            return number
    return value


def text(value: Value) -> bytes:
    return value if isinstance(value, bytes) else b"%d" % value


class ListpackMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pack = ListpackProbe()
        self.model: list[Value] = []

    def index(self, position: int) -> int:
        return position % len(self.model)

    @rule(value=values)
    def append(self, value: Value) -> None:
        self.pack.append(value)
        self.model.append(stored(value))

    @rule(value=values)
    def prepend(self, value: Value) -> None:
        self.pack.prepend(value)
        self.model.insert(0, stored(value))

    @rule(some=st.lists(values, max_size=20))
    def append_many(self, some: list[Value]) -> None:
        self.pack.append_many(some)
        self.model += map(stored, some)

    @precondition(lambda self: self.model)
    @rule(position=positions, value=values, behind=st.booleans(), end=st.booleans())
    def insert(self, position: int, value: Value, behind: bool, end: bool) -> None:
        index = self.index(position)
        at = index - len(self.model) if end else index
        assert self.pack.insert(at, value, behind) == stored(value)
        self.model.insert(index + behind, stored(value))

    @precondition(lambda self: self.model)
    @rule(position=positions, value=values)
    def replace(self, position: int, value: Value) -> None:
        index = self.index(position)
        assert self.pack.replace(index, value) == stored(value)
        self.model[index] = stored(value)

    @precondition(lambda self: self.model)
    @rule(position=positions, count=st.integers(0, 5))
    def delete(self, position: int, count: int) -> None:
        index = self.index(position)
        after = self.pack.delete(index, count)
        del self.model[index : index + count]
        assert after == (self.model[index] if index < len(self.model) else None)

    @rule(position=st.integers(-30, 30), count=st.integers(0, 30))
    def delete_range(self, position: int, count: int) -> None:
        self.pack.delete_range(position, count)
        if -len(self.model) <= position < len(self.model):
            first = position % len(self.model)
            del self.model[first : first + count]

    @precondition(lambda self: self.model)
    @rule(chosen=st.sets(st.integers(0, 40), max_size=15))
    def delete_batch(self, chosen: set[int]) -> None:
        indices = sorted(index for index in chosen if index < len(self.model))
        self.pack.delete_batch(list(indices))
        for index in reversed(indices):
            del self.model[index]

    @rule(some=st.lists(values, max_size=6))
    def merge(self, some: list[Value]) -> None:
        other = ListpackProbe()
        other.append_many(some)
        self.pack.merge(other)
        self.model += map(stored, some)
        assert len(other) == 0

    @rule(value=values, position=st.integers(0, 10), skip=st.integers(0, 2))
    def find(self, value: Value, position: int, skip: int) -> None:
        wanted = text(value)
        expected = next(
            (
                index
                for index in range(position, len(self.model), skip + 1)
                if text(self.model[index]) == wanted
            ),
            None,
        )
        assert self.pack.find(wanted, position, skip) == expected

    @rule()
    def shrink(self) -> None:
        self.pack.shrink()

    @rule()
    def pass_through_bytes(self) -> None:
        self.pack = ListpackProbe(bytes(self.pack))

    @invariant()
    def agree(self) -> None:
        self.pack.check()
        assert len(self.pack) == len(self.model)
        assert self.pack.elements() == self.model
        assert self.pack.elements(backwards=True) == self.model[::-1]
        assert self.pack.texts() == list(map(text, self.model))


numbers = st.one_of(
    st.integers(-20, 20),
    st.integers(-40000, 40000),
    st.sampled_from([2**31, -(2**31), 2**31 - 1, 2**63 - 1, -(2**63)]),
)


class IntsetMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.intset = IntsetProbe()
        self.model: set[int] = set()

    @rule(number=numbers)
    def add(self, number: int) -> None:
        assert self.intset.add(number) == (number not in self.model)
        self.model.add(number)

    @rule(first=st.integers(-500, 500), count=st.integers(0, 300))
    def add_many(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            self.intset.add(number)
            self.model.add(number)

    @rule(number=numbers)
    def remove(self, number: int) -> None:
        assert self.intset.remove(number) == (number in self.model)
        self.model.discard(number)

    @rule(position=positions, count=st.integers(0, 200))
    def remove_range(self, position: int, count: int) -> None:
        first = position % (len(self.model) + 1)
        gone = sorted(self.model)[first : first + count]
        self.intset.remove_range(first, len(gone))
        self.model.difference_update(gone)

    @rule(number=numbers)
    def find(self, number: int) -> None:
        assert (number in self.intset) == (number in self.model)

    @invariant()
    def agree(self) -> None:
        self.intset.check()
        assert list(self.intset) == sorted(self.model)


TestListpack = ListpackMachine.TestCase
TestListpack.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestIntset = IntsetMachine.TestCase
TestIntset.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
