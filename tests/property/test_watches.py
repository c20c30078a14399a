"""Watches against a model: who has watched a key is told when it changes, and nobody else."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shards.execution.watches import Watches
from shards.keyspace.keyspace import Keyspace
from shards.lane.context import Context, Settings

CLIENTS = st.integers(1, 4)
KEYS = st.sampled_from([b"a", b"b", b"c"])
DATABASES = st.integers(0, 1)
START_MS = 1_000_000


class WatchMachine(RuleBasedStateMachine):
    """Keys are (expiry or None) by database; a watch is the state of its key when it began."""

    def __init__(self) -> None:
        super().__init__()
        self.keyspace = Keyspace(2, bytes(16), 1)
        self.context = Context(self.keyspace, Settings({}), None, 2)
        self.watches = Watches(self.keyspace)
        self.keyspace.now_ms = START_MS
        self.keys: list[dict[bytes, int | None]] = [{}, {}]
        self.watched: dict[int, dict[tuple[int, bytes], bool]] = {}  # whether it had expired
        self.dirty: set[int] = set()

    def has_expired(self, database: int, key: bytes) -> bool:
        expiry = self.keys[database].get(key)
        return expiry is not None and expiry < self.keyspace.now_ms

    def touch(self, database: int, key: bytes) -> None:
        for client, watched in self.watched.items():
            if (database, key) in watched:
                self.dirty.add(client)

    def forget_expiry(self, database: int, key: bytes) -> None:
        """An expired key is removed: a change for those for whom it had not expired."""
        for client, watched in self.watched.items():
            if watched.get((database, key)):
                watched[database, key] = False
            elif (database, key) in watched:
                self.dirty.add(client)
        self.keys[database].pop(key)

    @rule(client=CLIENTS, database=DATABASES, key=KEYS)
    def watch(self, client: int, database: int, key: bytes) -> None:
        self.watches.watch(client, database, key)
        if client not in self.dirty:
            self.watched.setdefault(client, {}).setdefault(
                (database, key), self.has_expired(database, key)
            )

    @rule(client=CLIENTS)
    def unwatch(self, client: int) -> None:
        self.watches.unwatch(client)
        self.watched.pop(client, None)
        self.dirty.discard(client)

    @rule(database=DATABASES, key=KEYS, lives=st.sampled_from([None, 5, 50]))
    def set(self, database: int, key: bytes, lives: int | None) -> None:
        if self.has_expired(database, key):
            self.forget_expiry(database, key)
        expiry = None if lives is None else self.keyspace.now_ms + lives
        self.keyspace.set_string(database, key, b"value", -1 if expiry is None else expiry)
        self.context.database = database
        self.context.changed(key, b"set")  # the keyspace alone tells of new keys only
        self.keys[database][key] = expiry
        self.touch(database, key)

    @rule(database=DATABASES, key=KEYS)
    def meet(self, database: int, key: bytes) -> None:
        self.keyspace.meet(database, key)
        if self.has_expired(database, key):
            self.forget_expiry(database, key)

    @rule(milliseconds=st.integers(1, 30))
    def wait(self, milliseconds: int) -> None:
        self.keyspace.now_ms += milliseconds

    @rule(database=DATABASES)
    def flush(self, database: int) -> None:
        self.keyspace.flush(database)
        for key in list(self.keys[database]):
            for client, watched in self.watched.items():
                if watched.get((database, key)):
                    watched[database, key] = False
                elif (database, key) in watched:
                    self.dirty.add(client)
        self.keys[database].clear()

    @rule()
    def swap(self) -> None:
        before = [dict(keys) for keys in self.keys]
        expired = {
            (database, key): self.has_expired(database, key)
            for database in (0, 1)
            for key in before[database]
        }
        self.keyspace.swap(0, 1)
        self.keys.reverse()
        for client, watched in self.watched.items():
            for database, key in list(watched):
                was, now = key in before[database], key in before[1 - database]
                now_expired = expired.get((1 - database, key), False)
                if not was and not now:
                    continue
                if watched[database, key] and not now:
                    watched[database, key] = False
                elif watched[database, key] and now_expired:
                    pass
                elif not was and now_expired:
                    watched[database, key] = True
                else:
                    self.dirty.add(client)

    @invariant()
    def knows_who_may_run(self) -> None:
        for client in range(1, 5):
            watched = self.watched.get(client)
            expected = (
                watched is not None
                and client not in self.dirty
                and not any(
                    self.has_expired(database, key) and not had
                    for (database, key), had in watched.items()
                )
            )
            assert self.watches.unchanged(client) == expected, client

    @invariant()
    def is_whole(self) -> None:
        self.watches.check()


TestWatches = WatchMachine.TestCase


def test_a_worker_that_goes_takes_its_clients_watches_along() -> None:
    keyspace = Keyspace(1, bytes(16), 1)
    context = Context(keyspace, Settings({}), None, 1)  # has the effects
    watches = Watches(keyspace)
    for link in (0, 1):
        watches.link = link
        watches.watch(10 + link, 0, b"a")
    watches.forget_link(0)
    assert not watches.unchanged(10)
    assert watches.unchanged(11)
    assert watches.figures == (1, 1)
    watches.forget_link(1)
    watches.check()
    assert context.keyspace is keyspace
