"""Sorted sets of both encodings against a dictionary of Python, through ZsetView and a keyspace.

Limits are tiny, so that listpacks become trees; two keys, one of which holds but one score and
is asked for ranges of members. Every invariant of the keyspace is checked after every step.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from protocol.errors import CommandError
from shards.arguments.ranges import Range
from shards.keyspace.keyspace import Keyspace
from shards.views.zset import ADD_GT, ADD_LT, ADD_NX, ADD_XX, ZsetView

members = st.one_of(
    st.integers(-2, 12).map(lambda n: b"%d" % n),
    st.sampled_from([b"", b"\0", b"\xff", b"m", b"m\0", b"01", b"x" * 9, b"y" * 300]),
)
scores = st.one_of(
    st.integers(-3, 3).map(float),
    st.sampled_from([math.inf, -math.inf, 0.5, -0.0, 1e300, 5e-324, 2.0**62, 2.0**63, 0.1]),
)
numbers = st.integers(-9, 9)
lex_ends = st.one_of(
    st.sampled_from([b"-", b"+"]),
    st.builds(lambda kind, member: kind + member, st.sampled_from([b"[", b"("]), members),
)
score_ends = st.builds(
    lambda score, exclusive: b"(" * exclusive + repr(score).encode(), scores, st.booleans()
)


def by_score(end: bytes) -> tuple[float, bool]:
    return float(end.removeprefix(b"(")), end[:1] == b"("


class SortedSets(RuleBasedStateMachine):
    @initialize(entries=st.integers(0, 6), value=st.integers(1, 10))
    def create(self, entries: int, value: int) -> None:
        self.keyspace = Keyspace(random_seed=7)
        self.ctx = SimpleNamespace(keyspace=self.keyspace, database=0, overlay=None)
        self.model: dict[bytes, dict[bytes, float]] = {b"z": {}, b"lex": {}}
        self.limit(entries, value)

    def view(self, key: bytes = b"z") -> ZsetView:
        return ZsetView.open(self.ctx, key, write=True)

    def sorted(self, key: bytes = b"z") -> list[tuple[bytes, float]]:
        return sorted(self.model[key].items(), key=lambda item: (item[1], item[0]))

    def is_packed(self) -> bool:
        return self.keyspace.encoding(0, b"z") == b"listpack"

    @rule(entries=st.integers(0, 6), value=st.integers(1, 10))
    def limit(self, entries: int, value: int) -> None:
        self.entries, self.value = entries, value
        self.keyspace.set_limits(
            {"zset-max-listpack-entries": entries, "zset-max-listpack-value": value}
        )

    @rule(
        pairs=st.lists(st.tuples(scores, members), min_size=1, max_size=5),
        flags=st.sampled_from([0, 0, 0, ADD_NX, ADD_XX, ADD_GT, ADD_LT, ADD_XX | ADD_GT]),
    )
    def add(self, pairs: list[tuple[float, bytes]], flags: int) -> None:
        model, inserted, updated = self.model[b"z"], 0, 0
        for score, member in pairs:
            old = model.get(member)
            if old is None:
                if not flags & ADD_XX:
                    model[member] = score
                    inserted += 1
            elif (
                not flags & ADD_NX
                and score != old
                and not (flags & ADD_GT and score <= old)
                and not (flags & ADD_LT and score >= old)
            ):
                model[member] = score
                updated += 1
        found = self.view().add([score for score, _ in pairs], [m for _, m in pairs], flags)
        assert found == (inserted, updated)

    @rule(found=st.lists(members, min_size=1, max_size=5))
    def add_alike(self, found: list[bytes]) -> None:
        self.model[b"lex"].update(dict.fromkeys(found, 7.0))
        self.view(b"lex").add([7.0] * len(found), found, 0)

    @rule(score=scores, member=members)
    def increment(self, score: float, member: bytes) -> None:
        old = self.model[b"z"].get(member)
        total = score if old is None else old + score
        if math.isnan(total):
            with pytest.raises(CommandError):
                self.view().increment(score, member, 0)
            return
        assert self.view().increment(score, member, 0) == (total, total != old)
        if total != old:
            self.model[b"z"][member] = total

    @rule(gone=st.lists(members, min_size=1, max_size=4))
    def remove(self, gone: list[bytes]) -> None:
        count = sum(self.model[b"z"].pop(member, None) is not None for member in gone)
        assert self.view().remove(gone) == count

    @rule(count=st.integers(0, 4), last=st.booleans())
    def pop(self, count: int, last: bool) -> None:
        expected = self.sorted()[::-1] if last else self.sorted()
        assert self.view().pop(count, last) == expected[:count]
        for member, _ in expected[:count]:
            del self.model[b"z"][member]

    @rule(first=numbers, last=numbers, backwards=st.booleans(), remove=st.booleans())
    def by_rank(self, first: int, last: int, backwards: bool, remove: bool) -> None:
        expected = self.sorted()[::-1] if backwards and not remove else self.sorted()
        length = len(expected)
        start = max(first + length, 0) if first < 0 else first
        stop = last + length if last < 0 else last
        wanted = expected[start : stop + 1] if stop >= 0 else []
        if remove:
            assert self.view().remove_slice(first, last) == len(wanted)
            for member, _ in wanted:
                del self.model[b"z"][member]
        else:
            assert self.view().slice(first, last, backwards) == wanted

    def check_range(
        self,
        key: bytes,
        within: Range,
        inside: list[tuple[bytes, float]],
        how: tuple[bool, int, int, bool],
    ) -> None:
        backwards, offset, limit, remove = how
        view = self.view(key)
        assert view.count(within) == len(inside)
        wanted = (inside[::-1] if backwards else inside)[offset:] if offset >= 0 else []
        wanted = wanted[:limit] if limit >= 0 else wanted
        assert view.between(within, backwards, offset, limit) == wanted
        if remove:
            assert view.remove_between(within) == len(inside)
            for member, _ in inside:
                del self.model[key][member]

    @rule(
        first=score_ends,
        last=score_ends,
        how=st.tuples(st.booleans(), numbers, numbers, st.booleans()),
    )
    def by_score(self, first: bytes, last: bytes, how: tuple[bool, int, int, bool]) -> None:
        low, above = by_score(first)
        high, below = by_score(last)
        inside = [
            item
            for item in self.sorted()
            if (item[1] > low if above else item[1] >= low)
            and (item[1] < high if below else item[1] <= high)
        ]
        self.check_range(b"z", Range.scores(first, last), inside, how)

    @rule(
        first=lex_ends,
        last=lex_ends,
        how=st.tuples(st.booleans(), numbers, numbers, st.booleans()),
    )
    def by_lex(self, first: bytes, last: bytes, how: tuple[bool, int, int, bool]) -> None:
        def is_inside(member: bytes) -> bool:
            above = first == b"-" or (
                first != b"+" and (member > first[1:] or first == b"[" + member)
            )
            below = last == b"+" or (last != b"-" and (member < last[1:] or last == b"[" + member))
            return above and below

        inside = [item for item in self.sorted(b"lex") if is_inside(item[0])]
        self.check_range(b"lex", Range.members(first, last), inside, how)

    @rule(member=members)
    def look(self, member: bytes) -> None:
        view, order = self.view(), [found for found, _ in self.sorted()]
        score = self.model[b"z"].get(member)
        assert view.score(member) == score
        assert view.rank(member) == (None if score is None else (order.index(member), score))

    @rule()
    def replace(self) -> None:
        if self.model[b"z"]:
            items = self.sorted()
            ZsetView.store(self.ctx, b"z", items)
            longest = max(len(member) for member, _ in items)
            assert self.is_packed() == (len(items) <= self.entries and longest <= self.value)

    @rule(count=st.integers(1, 5))
    def chance(self, count: int) -> None:
        found = self.view().random(count)
        assert len(found) == (count if self.model[b"z"] else 0)
        assert all(self.model[b"z"][member] == score for member, score in found)

    @rule(count=st.integers(1, 5))
    def scan(self, count: int) -> None:
        cursor, found = 0, {}
        while True:
            cursor, pairs = self.view().scan(cursor, count)
            found.update(pairs)
            if not cursor:
                break
        assert {member: float(text) for member, text in found.items()} == self.model[b"z"]

    @rule()
    def copy(self) -> None:
        if self.model[b"z"]:
            self.keyspace.copy(0, b"z", b"copy", 0)
            self.keyspace.rename(0, b"copy", b"z")

    @invariant()
    def holds(self) -> None:
        self.keyspace.check()
        for key, model in self.model.items():
            assert len(self.view(key)) == len(model)
            assert self.view(key).items() == self.sorted(key)
            assert self.keyspace.exists(0, key) == bool(model)


TestSortedSets = SortedSets.TestCase
TestSortedSets.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
