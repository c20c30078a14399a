"""The table of those who wait for keys, against lists and dictionaries.

The model's queues are lists of owners; what is noted is a list of keys; the effects are those of a
real keyspace, on which the rules work.
"""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shards.execution.blocking import Blocking
from shards.keyspace.keyspace import Keyspace
from shards.lane.effects import Effects

LIST = 1
KEYS = st.sampled_from([b"a", b"b", b"c", b"{a}d", b""])
DATABASES = st.integers(0, 2)
OWNERS = st.integers(0, 8) | st.integers(0, 2**64 - 1)
DEADLINES = st.just(0) | st.integers(1, 40)


class Waiting(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.keyspace = Keyspace(3)
        self.effects = Effects(self.keyspace)
        self.blocking = Blocking(self.keyspace)
        self.queues: dict[tuple[int, bytes], list[int]] = {}
        self.deadlines: dict[int, int] = {}
        self.on_removal: dict[int, bool] = {}
        self.noted: list[tuple[int, bytes]] = []
        self.swapped = [0, 1, 2]

    def note(self, database: int, key: bytes, removed: bool) -> None:
        queue = self.queues.get((database, key), [])
        if removed:
            queue = [owner for owner in queue if self.on_removal[owner]]
        if queue and (database, key) not in self.noted:
            self.noted.append((database, key))

    @rule(
        owner=OWNERS,
        database=DATABASES,
        keys=st.lists(KEYS, min_size=1, max_size=5),
        deadline_ms=DEADLINES,
        on_removal=st.booleans(),
    )
    def add(
        self, owner: int, database: int, keys: list[bytes], deadline_ms: int, on_removal: bool
    ) -> None:
        if owner in self.deadlines:
            return
        self.blocking.add(owner, database, keys, LIST, deadline_ms, on_removal)
        self.deadlines[owner] = deadline_ms
        self.on_removal[owner] = on_removal
        for key in dict.fromkeys(keys):
            self.queues.setdefault((database, key), []).append(owner)

    @rule(owner=OWNERS)
    def remove(self, owner: int) -> None:
        assert self.blocking.remove(owner) == (owner in self.deadlines)
        self.forget(owner)

    @rule(data=st.data())
    def remove_one(self, data: st.DataObject) -> None:
        if self.deadlines:
            self.remove(data.draw(st.sampled_from(sorted(self.deadlines))))

    @rule(now_ms=st.integers(0, 45))
    def expire(self, now_ms: int) -> None:
        late = {owner for owner, at in self.deadlines.items() if at and at < now_ms}
        last = 0
        while (owner := self.blocking.expired(now_ms)) is not None:
            assert owner in late
            assert self.deadlines[owner] >= last
            last = self.deadlines[owner]
            late.discard(owner)
            self.blocking.remove(owner)
            self.forget(owner)
        assert not late

    def forget(self, owner: int) -> None:
        if self.deadlines.pop(owner, None) is None:
            return
        del self.on_removal[owner]
        for place, queue in list(self.queues.items()):
            if owner in queue:
                queue.remove(owner)
                if not queue:
                    del self.queues[place]

    @rule(database=DATABASES, key=KEYS)
    def set(self, database: int, key: bytes) -> None:
        existed = self.keyspace.type(database, key) is not None
        self.keyspace.set_string(database, key, b"v")
        self.note(database, key, removed=existed)

    @rule(database=DATABASES, key=KEYS)
    def delete(self, database: int, key: bytes) -> None:
        if self.keyspace.delete(database, key):
            self.note(database, key, removed=True)

    @rule(database=DATABASES)
    def flush(self, database: int) -> None:
        there = [key for number, key in self.queues if number == database and self.has(number, key)]
        self.keyspace.flush(database)
        self.note_in_any_order(there, database, removed=True)

    @rule(first=DATABASES, second=DATABASES)
    def swap(self, first: int, second: int) -> None:
        before = {place: self.has(*place) for place in self.queues}
        self.keyspace.swap(first, second)
        if first == second:
            return
        for database in (first, second):
            gone = [
                key
                for number, key in self.queues
                if number == database and before[number, key] and not self.has(number, key)
            ]
            self.note_in_any_order(gone, database, removed=True)
        for database in (first, second):
            there = [
                key for number, key in self.queues if number == database and self.has(number, key)
            ]
            self.note_in_any_order(there, database, removed=False)

    def has(self, database: int, key: bytes) -> bool:
        return self.keyspace.type(database, key) is not None

    def note_in_any_order(self, keys: list[bytes], database: int, removed: bool) -> None:
        for key in keys:
            self.note(database, key, removed)

    @rule()
    def take(self) -> None:
        taken = self.blocking.take_ready()
        expected = [(*place, self.queues.get(place, [])) for place in self.noted]
        # Flushes and swaps note in the table's own order.
        assert sorted(taken) == sorted(expected)
        self.noted.clear()

    @rule()
    def rest(self) -> None:
        self.blocking.rest()

    @invariant()
    def is_whole(self) -> None:
        blocking = self.blocking
        blocking.check()
        assert blocking.waiters == len(self.deadlines)
        assert blocking.waited_keys == len(self.queues)
        assert blocking.removal_keys == sum(
            any(self.on_removal[owner] for owner in queue) for queue in self.queues.values()
        )
        assert blocking.deadline_ms == min(filter(None, self.deadlines.values()), default=0)
        for (database, key), queue in self.queues.items():
            assert blocking.owners(database, key) == queue


TestWaiting = Waiting.TestCase
TestWaiting.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def owners() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number * 2_654_435_761 % 2**40


def test_a_million_deadlines_that_come_and_go_leave_nothing() -> None:
    keyspace = Keyspace(1)
    effects = Effects(keyspace)
    blocking = Blocking(keyspace)
    source = owners()
    for _ in range(10):
        some = [next(source) for _ in range(100_000)]
        for number, owner in enumerate(some):
            blocking.add(owner, 0, [b"k%d" % (number % 1000)], LIST, 1 + number * 7919 % 100_003)
        assert blocking.waiters == 100_000
        for owner in some:
            assert blocking.remove(owner)
    blocking.check()
    assert (blocking.waiters, blocking.waited_keys, blocking.deadline_ms) == (0, 0, 0)
    blocking.rest()
    assert not blocking.listens
    del effects
