"""The list as handlers see it against a Python list, over both encodings and their conversions.

The limits are those of a handful of elements, and change in the middle, as CONFIG SET lets them.
"""

from __future__ import annotations

from typing import cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from protocol.commands import CommandTable
from shards.keyspace.keyspace import Keyspace
from shards.lane.context import Context, Settings
from shards.views.list import ListView

KEY = b"list"
LISTPACK_ELEMENT_MAX = 8192
values = st.one_of(
    st.integers(-2, 5).map(lambda n: b"%d" % n),
    st.sampled_from([b"", b"a", b"b", b"01", b"4096", b"-9223372036854775808"]),
    st.integers(0, 3).map(lambda n: b"%d" % n * 60),
    st.integers(0, 1).map(lambda n: b"%d" % n * 5000),
)
indexes = st.integers(-12, 12)


def between(length: int, start: int, stop: int) -> slice:
    """What LRANGE means by two indexes."""
    first = max(start + length, 0) if start < 0 else start
    last = stop + length if stop < 0 else stop
    return slice(first, max(last + 1, first))


class ListMachine(RuleBasedStateMachine):
    @initialize()
    def create(self) -> None:
        self.keyspace = Keyspace()
        self.context = Context(self.keyspace, Settings({}), CommandTable([]))
        self.model: list[bytes] = []
        self.limit(3, 0, 0)

    @rule(
        fill=st.sampled_from([0, 1, 2, 3, 8, -1, -2]),
        depth=st.integers(0, 2),
        packed=st.sampled_from([0, 0, 1, 12, 61]),
    )
    def limit(self, fill: int, depth: int, packed: int) -> None:
        self.keyspace.set_limits(
            {
                "list-max-listpack-size": fill,
                "list-compress-depth": depth,
                "list-packed-threshold": packed,
            }
        )

    def view(self, write: bool = True) -> ListView:
        return ListView.open(self.context, KEY, write)

    @rule(some=st.lists(values, min_size=1, max_size=6), at_tail=st.booleans())
    def push(self, some: list[bytes], at_tail: bool) -> None:
        self.model = self.model + some if at_tail else some[::-1] + self.model
        assert self.view().push(some, at_tail) == len(self.model)

    @rule(at_tail=st.booleans(), count=st.integers(1, 5))
    def pop(self, at_tail: bool, count: int) -> None:
        taken = self.model[::-1][:count] if at_tail else self.model[:count]
        self.model = self.model[: max(len(self.model) - count, 0)] if at_tail else (
            self.model[count:]
        )  # fmt: skip
        assert self.view().pop(at_tail, count) == taken

    @rule(from_tail=st.booleans(), to_tail=st.booleans())
    def rotate(self, from_tail: bool, to_tail: bool) -> None:
        expected = None
        if self.model:
            expected = self.model.pop(-1 if from_tail else 0)
            self.model.insert(len(self.model) if to_tail else 0, expected)
        assert self.view().rotate(from_tail, to_tail) == expected

    @rule(index=indexes, value=values)
    def set(self, index: int, value: bytes) -> None:
        inside = -len(self.model) <= index < len(self.model)
        if inside:
            self.model[index] = value
        assert self.view().set(index, value) is inside

    @rule(pivot=values, value=values, behind=st.booleans())
    def insert(self, pivot: bytes, value: bytes, behind: bool) -> None:
        found = pivot in self.model
        if found:
            self.model.insert(self.model.index(pivot) + behind, value)
        assert self.view().insert(pivot, value, behind) is found

    @rule(value=values, count=st.integers(1, 4), backwards=st.booleans())
    def remove(self, value: bytes, count: int, backwards: bool) -> None:
        order = self.model[::-1] if backwards else self.model[:]
        removed = min(count, order.count(value))
        for _ in range(removed):
            order.remove(value)
        self.model = order[::-1] if backwards else order
        assert self.view().remove(value, count, backwards) == removed

    @rule(start=indexes, stop=indexes)
    def trim(self, start: int, stop: int) -> None:
        kept = self.model[between(len(self.model), start, stop)]
        gone = len(self.model) - len(kept)
        self.model = kept
        assert self.view().trim(start, stop) == gone

    @rule(start=indexes, stop=indexes)
    def read(self, start: int, stop: int) -> None:
        view = self.view(write=False)
        expected = self.model[between(len(self.model), start, stop)]
        assert view.range(start, stop) == expected
        inside = -len(self.model) <= start < len(self.model)
        assert view.get(start) == (self.model[start] if inside else None)

    @rule(
        value=values,
        rank=st.integers(1, 3),
        count=st.integers(0, 3),
        maxlen=st.integers(0, 6),
        backwards=st.booleans(),
    )
    def positions(self, value: bytes, rank: int, count: int, maxlen: int, backwards: bool) -> None:
        found = list(enumerate(self.model))
        if backwards:
            found.reverse()
        places = [at for at, one in found[: maxlen or None] if one == value][rank - 1 :]
        view = self.view(write=False)
        assert view.positions(value, rank, count, maxlen, backwards) == places[: count or None]

    @rule()
    def copy(self) -> None:
        """A copy has its own structure, which the next changes of the list must not reach."""
        if self.model:
            self.keyspace.copy(0, KEY, b"copy", 0)
            self.copied = list(self.model)
            copied = ListView.open(self.context, b"copy")
            assert copied.range(0, -1) == self.copied

    @invariant()
    def it_is_the_same(self) -> None:
        view = self.view(write=False)
        assert len(view) == len(self.model)
        assert bool(view) is bool(self.model)
        assert view.range(0, -1) == self.model
        assert self.keyspace.exists(0, KEY) is bool(self.model)
        self.keyspace.check()

    @invariant()
    def the_encoding_is_one_of_two(self) -> None:
        encoding = cast("bytes | None", self.keyspace.encoding(0, KEY))
        assert encoding in ((b"listpack", b"quicklist") if self.model else (None,))
        if self.model and max(map(len, self.model)) > LISTPACK_ELEMENT_MAX:
            assert encoding == b"quicklist"


ListMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestListAgainstModel = ListMachine.TestCase
