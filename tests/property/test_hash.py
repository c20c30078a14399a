"""Hashes of a keyspace, through their view, against a dict of Python.

The limits of the listpack are tiny, and change, so that a hash converts after a few steps. Every
invariant, the count of bytes included, is checked after each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shards.keyspace.keyspace import Keyspace
from shards.views.hash import HashView

KEYS = [b"h", b"other"]
keys = st.sampled_from(KEYS)
fields = st.one_of(
    st.integers(0, 12).map(lambda n: b"%d" % n),
    st.sampled_from([b"", b"f", b"007", b"-1", b"9223372036854775808", b"x" * 9, b"y" * 300]),
    st.binary(max_size=3),
)
values = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(lambda n: b"%d" % n),
    st.sampled_from([b"", b"v", b"+1", b"w" * 9]),
    st.sampled_from([200, 70_000]).map(lambda n: b"z" * n),
)
pairs = st.lists(st.tuples(fields, values), min_size=1, max_size=6)


@dataclass
class Model:
    """A hash by what Redis promises: order and encoding as well."""

    content: dict[bytes, bytes] = field(default_factory=dict)
    listpack: bool = True

    def put(self, some: list[tuple[bytes, bytes]], entries: int, longest: int) -> int:
        before = len(self.content)
        sizes = [len(word) for pair in some for word in pair]
        if len(some) > entries or max(sizes) > longest:
            self.listpack = False
        for one, value in some:
            self.content[one] = value
            self.listpack = self.listpack and len(self.content) <= entries
        return len(self.content) - before


class HashMachine(RuleBasedStateMachine):
    @initialize(entries=st.integers(0, 6), longest=st.sampled_from([0, 1, 4, 20]))
    def create(self, entries: int, longest: int) -> None:
        self.keyspace = Keyspace()
        self.context: Any = SimpleNamespace(keyspace=self.keyspace, database=0)
        self.random = Random(0)
        self.models: dict[bytes, Model] = {}
        self.scanned: dict[bytes, set[bytes]] = {}
        self.limit(entries, longest)

    def open(self, key: bytes, write: bool = True) -> HashView:
        return HashView.open(self.context, key, write)

    def content(self, key: bytes) -> dict[bytes, bytes]:
        return self.models[key].content if key in self.models else {}

    @rule(entries=st.integers(0, 6), longest=st.sampled_from([0, 1, 4, 20, 100_000]))
    def limit(self, entries: int, longest: int) -> None:
        self.entries, self.longest = entries, longest
        self.keyspace.set_limits(
            {"hash-max-listpack-entries": entries, "hash-max-listpack-value": longest}
        )

    @rule(key=keys, some=pairs)
    def set_many(self, key: bytes, some: list[tuple[bytes, bytes]]) -> None:
        model = self.models.setdefault(key, Model())
        words = [word for pair in some for word in pair]
        added = model.put(some, self.entries, self.longest)
        assert self.open(key).set_many([b"HSET", key, *words], 2) == added

    @rule(key=keys, one=fields, value=values)
    def set_one(self, key: bytes, one: bytes, value: bytes) -> None:
        """As HINCRBY does: that there is one pair is no reason to convert by itself."""
        model = self.models.setdefault(key, Model())
        added = model.put([(one, value)], max(self.entries, 1), self.longest)
        model.listpack = model.listpack and len(model.content) <= self.entries
        assert self.open(key).set(one, value) == bool(added)

    @rule(key=keys, start=st.integers(0, 300), count=st.integers(1, 120))
    def set_numbered(self, key: bytes, start: int, count: int) -> None:
        self.set_many(key, [(b"many:%d" % i, b"%d" % i) for i in range(start, start + count)])

    @rule(key=keys, some=st.lists(fields, min_size=1, max_size=5), rest=st.booleans())
    def delete(self, key: bytes, some: list[bytes], rest: bool) -> None:
        content = self.content(key)
        if rest:
            some = [*list(content)[: len(content) - len(some)], *some]
        gone = [one for one in dict.fromkeys(some) if content.pop(one, None) is not None]
        assert self.open(key).delete(some) == len(gone)
        if not content:
            self.models.pop(key, None)

    @rule(key=keys, one=fields)
    def get(self, key: bytes, one: bytes) -> None:
        view = self.open(key, write=False)
        value = self.content(key).get(one)
        assert view.get(one) == value
        assert view.value_length(one) == len(value or b"")
        assert (one in view) == (value is not None)

    @rule(source=keys)
    def copy(self, source: bytes) -> None:
        target = KEYS[1 - KEYS.index(source)]
        if source in self.models:
            self.keyspace.copy(0, source, target, 0)
            model = self.models[source]
            self.models[target] = Model(dict(model.content), model.listpack)

    @rule(key=keys)
    def remove(self, key: bytes) -> None:
        assert self.keyspace.delete(0, key) == (self.models.pop(key, None) is not None)

    @precondition(lambda self: self.models)
    @rule(count=st.integers(1, 40))
    def random_items(self, count: int) -> None:
        for key, model in self.models.items():
            randoms = [self.random.getrandbits(64) for _ in range(count)]
            drawn = self.open(key, write=False).random_items(randoms)
            assert len(drawn) == count
            assert set(drawn) <= set(model.content.items())

    @rule(key=keys, count=st.integers(1, 20))
    def scan(self, key: bytes, count: int) -> None:
        view = self.open(key, write=False)
        found: list[tuple[bytes, bytes]] = []
        cursor, steps = 0, 0
        while True:
            cursor, some = view.scan(cursor, count)
            found += some
            steps += 1
            if cursor == 0:
                break
        assert steps <= len(found) // count + 20
        assert sorted(found) == sorted(self.content(key).items())

    @invariant()
    def equal(self) -> None:
        for key in KEYS:
            view = self.open(key, write=False)
            model = self.models.get(key)
            assert len(view) == len(self.content(key))
            if model is None:
                assert self.keyspace.encoding(0, key) is None
                assert view.items() == []
                continue
            listpack = self.keyspace.encoding(0, key) == b"listpack"
            assert listpack == model.listpack
            expected = list(model.content.items())
            items = view.items()
            assert (items if listpack else sorted(items)) == (
                expected if listpack else sorted(expected)
            )
            assert list(zip(view.fields(), view.values(), strict=True)) == items
            view.check()
        self.keyspace.check()


TestHash = HashMachine.TestCase
TestHash.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_fields_are_drawn_evenly() -> None:
    keyspace = Keyspace()
    context: Any = SimpleNamespace(keyspace=keyspace, database=0)
    random = Random(1)
    for fields_count in (7, 600):
        view = HashView.open(context, b"%d" % fields_count, True)
        view.set_many([b"%d" % i for i in range(2 * fields_count)])
        draws = fields_count * 200
        seen = dict.fromkeys(view.fields(), 0)
        for one, _ in view.random_items([random.getrandbits(64) for _ in range(draws)]):
            seen[one] += 1
        spread = sum((count - 200) ** 2 / 200 for count in seen.values())
        assert spread < fields_count + 5 * (2 * fields_count) ** 0.5  # chi squared
