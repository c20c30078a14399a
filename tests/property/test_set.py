"""Sets of a keyspace, through their view, against sets of Python.

The limits are tiny, and change, so that a set converts after a few steps. Every invariant, the
count of bytes included, is checked after each of them. Encodings are those that Redis's rules give.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.numbers import parse_int64
from shards.keyspace.keyspace import Keyspace
from shards.views.set import (
    SetView,
    common_members,
    count_common,
    intersect,
    subtract,
    unite,
)

KEYS = [b"s", b"other", b"third"]
INTSET, LISTPACK, HASHTABLE = b"intset", b"listpack", b"hashtable"
keys = st.sampled_from(KEYS)
members = st.one_of(
    st.integers(0, 12).map(lambda n: b"%d" % n),
    st.sampled_from([b"", b"m", b"007", b"-1", b"9223372036854775808", b"x" * 9, b"y" * 300]),
    st.sampled_from([-(2**63), 2**63 - 1, 40_000, -(2**31), 2**31]).map(lambda n: b"%d" % n),
    st.binary(max_size=3),
)
some_members = st.lists(members, min_size=1, max_size=8)


@dataclass(frozen=True)
class Limits:
    intset: int
    entries: int
    longest: int


@dataclass
class Model:
    """A set by what Redis promises: its order and its encoding as well."""

    content: dict[bytes, None] = field(default_factory=dict)
    encoding: bytes = b""

    def add(self, words: list[bytes], limits: Limits) -> int:
        count = len(words)
        if not self.content:
            if parse_int64(words[0]) is not None and count <= limits.intset:
                self.encoding = INTSET
            else:
                self.encoding = LISTPACK if count <= limits.entries else HASHTABLE
        elif (self.encoding == LISTPACK and count > limits.entries) or (
            self.encoding == INTSET and count > limits.intset
        ):
            self.encoding = HASHTABLE
        before = len(self.content)
        for word in words:
            self.add_one(word, limits)
        return len(self.content) - before

    def add_one(self, word: bytes, limits: Limits) -> None:
        if word in self.content:
            return
        if self.encoding == INTSET and parse_int64(word) is not None:
            if len(self.content) + 1 > limits.intset:
                self.encoding = HASHTABLE
        elif self.encoding != HASHTABLE:
            lengths = [len(word)]
            if self.encoding == INTSET:
                lengths += [len(other) for other in self.content]
            fits = len(self.content) < limits.entries and max(lengths) <= limits.longest
            self.encoding = LISTPACK if fits else HASHTABLE
        self.content[word] = None


class SetMachine(RuleBasedStateMachine):
    @initialize(
        intset=st.integers(0, 5),
        entries=st.integers(0, 6),
        longest=st.sampled_from([0, 1, 2, 4, 20]),
    )
    def create(self, intset: int, entries: int, longest: int) -> None:
        self.keyspace = Keyspace(random_seed=7)
        self.context: Any = SimpleNamespace(keyspace=self.keyspace, database=0)
        self.models: dict[bytes, Model] = {}
        self.limit(intset, entries, longest)

    @rule(
        intset=st.sampled_from([0, 1, 3, 512]),
        entries=st.sampled_from([0, 1, 3, 128]),
        longest=st.sampled_from([0, 2, 64]),
    )
    def limit(self, intset: int, entries: int, longest: int) -> None:
        self.limits = Limits(intset, entries, longest)
        self.keyspace.set_limits(
            {
                "set-max-intset-entries": intset,
                "set-max-listpack-entries": entries,
                "set-max-listpack-value": longest,
            }
        )

    def view(self, key: bytes) -> SetView:
        return SetView.open(self.context, key, write=True)

    def content(self, key: bytes) -> set[bytes]:
        return set(self.models[key].content) if key in self.models else set()

    def took(self, key: bytes, gone: set[bytes]) -> None:
        """Members have been removed, and what is left is not there without any."""
        for member in gone:
            del self.models[key].content[member]
        if not self.models[key].content:
            del self.models[key]

    @rule(key=keys, words=some_members)
    def add(self, key: bytes, words: list[bytes]) -> None:
        model = self.models.setdefault(key, Model())
        assert self.view(key).add([b"ignored", *words], 1) == model.add(words, self.limits)

    @rule(key=keys, words=some_members)
    def remove(self, key: bytes, words: list[bytes]) -> None:
        gone = self.content(key) & set(words)
        assert self.view(key).remove(words) == len(gone)
        if gone:
            self.took(key, gone)

    @precondition(lambda self: self.models)
    @rule(key=keys, share=st.sampled_from([1, 2, 3, 5, 6]))
    def pop(self, key: bytes, share: int) -> None:
        size = len(self.content(key))
        count = size * share // 6
        popped = self.view(key).pop(count)
        assert len(popped) == len(set(popped)) == count
        assert set(popped) <= self.content(key)
        if not count:
            return
        stays = size - count
        if stays and stays * 5 <= count:
            # What is left is built anew.
            encoding = self.models[key].encoding
            self.took(key, set(popped))
            model = Model(encoding=INTSET if encoding == INTSET else LISTPACK)
            for member in self.models[key].content:
                model.add_one(member, self.limits)
            self.models[key] = model
        else:
            self.took(key, set(popped))

    @rule(key=keys, count=st.integers(0, 20))
    def draw(self, key: bytes, count: int) -> None:
        content, view = self.content(key), self.view(key)
        sample = view.sample(count)
        assert len(sample) == len(set(sample)) == min(count, len(content))
        drawn = view.draw(count)
        assert len(drawn) == (count if content else 0)
        assert {*sample, *drawn} <= content
        one = view.random()
        assert one in content if content else one is None

    @rule(some=st.lists(keys, min_size=1, max_size=4))
    def combine(self, some: list[bytes]) -> None:
        views = [self.view(key) for key in some]
        sets = [self.content(key) for key in some]
        common = set.intersection(*sets)
        assert set(common_members(views)) == common
        assert count_common(views) == len(common)
        assert count_common(views, 2) == min(len(common), 2)
        union, difference = unite(views), subtract(views)
        assert set(union.members()) == set.union(*sets)
        assert len(union) == len(union.members())
        assert set(difference.members()) == sets[0].difference(*sets[1:])

    @rule(key=keys, some=st.lists(keys, min_size=1, max_size=3), which=st.integers(0, 2))
    def store(self, key: bytes, some: list[bytes], which: int) -> None:
        views = [self.view(one) for one in some]
        sets = [self.content(one) for one in some]
        result = [unite, subtract, intersect][which](views)
        wanted = [
            set.union(*sets),
            sets[0].difference(*sets[1:]),
            set.intersection(*sets),
        ][which]
        existed = key in self.models
        assert result.replace(self.context, key) == bool(wanted or existed)
        self.models.pop(key, None)
        if wanted:
            # In which order members came is the structure's own matter, and the encoding with it.
            encoding = self.keyspace.encoding(0, key)
            assert encoding is not None
            members = self.view(key).members()
            assert set(members) == wanted
            self.models[key] = Model(dict.fromkeys(members), encoding)
            if encoding == INTSET:
                assert len(wanted) <= self.limits.intset
            elif encoding == LISTPACK and which != 1:
                assert len(wanted) <= self.limits.entries

    @precondition(lambda self: self.models)
    @rule(key=keys, to=keys)
    def copy(self, key: bytes, to: bytes) -> None:
        if key not in self.models or key == to:
            return
        self.keyspace.copy(0, key, to, 0)
        model = self.models[key]
        self.models[to] = Model(dict(model.content), model.encoding)

    @rule(key=keys)
    def scan(self, key: bytes) -> None:
        found, cursor = [], 0
        while True:
            cursor, some = self.view(key).scan(cursor, 1)
            found += some
            if cursor == 0:
                break
        assert sorted(found) == sorted(self.content(key))

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "models"):
            return
        self.keyspace.check()
        assert set(self.keyspace.keys(0)) == set(self.models)
        for key, model in self.models.items():
            view = self.view(key)
            view.check()
            assert view.exists
            assert len(view) == len(model.content)
            assert self.keyspace.encoding(0, key) == model.encoding
            found = view.members()
            if model.encoding == INTSET:
                assert found == sorted(model.content, key=int)
            elif model.encoding == LISTPACK:
                assert len(found) == len(model.content)
                assert set(found) == set(model.content)
            else:
                assert sorted(found) == sorted(model.content)
            for member in (b"7", b"m", *model.content):
                assert (member in view) == (member in model.content)


TestSets = SetMachine.TestCase
TestSets.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_scan_finds_what_stays_while_the_set_grows_and_shrinks() -> None:
    keyspace = Keyspace(random_seed=1)
    context: Any = SimpleNamespace(keyspace=keyspace, database=0)
    view = SetView.open(context, b"s", write=True)
    stays = [b"stays%d" % i for i in range(500)]
    view.add(stays)
    found: set[bytes] = set()
    cursor, step = 0, 0
    while True:
        cursor, some = view.scan(cursor, 10)
        found.update(some)
        if cursor == 0:
            break
        step += 1
        passing = [b"passing%d:%d" % (step // 40 % 2, i) for i in range(200 * (step % 40))]
        if passing and step // 40 % 2 == 0:
            view.add(passing)
        elif passing:
            view.remove([name.replace(b"passing1", b"passing0") for name in passing])
    assert set(stays) <= found
    view.check()


def test_each_member_is_as_likely_as_any_other() -> None:
    """Of 30 members each is drawn 1000 times on average; five standard deviations are allowed."""
    for limits in ({}, {"set-max-listpack-entries": 0}):
        keyspace = Keyspace(random_seed=3)
        keyspace.set_limits(limits)
        context: Any = SimpleNamespace(keyspace=keyspace, database=0)
        for form in (b"%d", b"m%d"):
            names = [form % i for i in range(30)]
            key = b"s" + form
            view = SetView.open(context, key, write=True)
            view.add(names)
            drawn = dict.fromkeys(names, 0)
            sampled = dict.fromkeys(names, 0)
            popped = dict.fromkeys(names, 0)
            for name in view.draw(30_000):
                drawn[name] += 1
            for _ in range(6000):
                for name in view.sample(5):
                    sampled[name] += 1
                gone = view.pop(5)
                for name in gone:
                    popped[name] += 1
                view.add(gone)
            for counts in (drawn, sampled, popped):
                assert all(840 < count < 1160 for count in counts.values()), (form, counts)
