"""The keyspace against a model of dicts, with a clock that the test moves.

Thresholds are tiny, so that a handful of keys reaches what needs millions otherwise: incremental
resizes, blobs, several buckets a slot. Keys share a few hash tags, so that slots fill up. Every
invariant is checked after every step.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shards.keyspace.keyspace import Keyspace
from shards.lane.effects import Effects
from shards.memory.allocation import live_blocks

DATABASES = 3
NOW_MS = 1_700_000_000_000
INLINE_MAX = 64

keys = st.builds(
    lambda tag, n: b"{%d}%d" % (tag, n), st.integers(0, 2), st.integers(0, 40)
) | st.sampled_from([b"", b"plain", b"k" * 300])
values = st.one_of(
    st.binary(max_size=12),
    st.integers(-(2**63) - 1, 2**63).map(lambda n: b"%d" % n),
    st.sampled_from([b"007", b"-0", b"-", b"+1", b" 1", b"12345678901234567890"]),
    st.integers(0, 200).map(lambda n: b"x" * n),
)
databases = st.integers(0, DATABASES - 1)
times = st.integers(-50, 400)


@dataclass
class Value:
    data: bytes
    expire_ms: int = -1
    raw: bool = False

    @property
    def encoding(self) -> bytes:
        if self.raw:
            return b"raw"
        if len(self.data) <= 20 and is_canonical_int64(self.data):
            return b"int"
        return b"embstr" if len(self.data) <= 44 else b"raw"


def is_canonical_int64(data: bytes) -> bool:
    try:
        number = int(data)
    except ValueError:
        return False
    return b"%d" % number == data and -(2**63) <= number < 2**63


class Removals:
    """A consumer that notes which keys go."""

    def __init__(self) -> None:
        self.keys: list[tuple[int, bytes]] = []

    def removed(self, database: int, key: bytes, reason: int) -> None:
        self.keys.append((database, key))


class KeyspaceMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = live_blocks()
        self.model: list[dict[bytes, Value]] = [{} for _ in range(DATABASES)]
        self.now_ms = NOW_MS
        self.gone: list[tuple[int, bytes]] = []

    @initialize(step=st.sampled_from([1, 3, 64]), incremental=st.sampled_from([4, 8, 4096]))
    def create(self, step: int, incremental: int) -> None:
        self.keyspace = Keyspace(DATABASES, random_seed=step)
        self.effects = Effects(self.keyspace)
        self.keyspace.tune(incremental_min=incremental, step=step, inline_bytes_max=INLINE_MAX)
        self.keyspace.now_ms = self.now_ms

    def live(self, database: int, key: bytes) -> Value | None:
        """The model's value; what has expired is gone once somebody asks for it."""
        value = self.model[database].get(key)
        if value is not None and value.expire_ms != -1 and value.expire_ms < self.now_ms:
            del self.model[database][key]
            return None
        return value

    def is_live(self, value: Value) -> bool:
        return value.expire_ms == -1 or value.expire_ms >= self.now_ms

    @rule(database=databases, key=keys, value=values, raw=st.booleans(), ttl=st.none() | times)
    def set(self, database: int, key: bytes, value: bytes, raw: bool, ttl: int | None) -> None:
        self.live(database, key)
        expire_ms = -1 if ttl is None else self.now_ms + ttl
        self.keyspace.set_string(database, key, value, expire_ms, raw)
        self.model[database][key] = Value(value, expire_ms, raw)

    @rule(database=databases, key=keys, value=values)
    def set_and_keep_the_ttl(self, database: int, key: bytes, value: bytes) -> None:
        old = self.live(database, key)
        self.keyspace.set_string(database, key, value, -2)
        self.model[database][key] = Value(value, old.expire_ms if old else -1)

    @rule(
        database=databases, tag=st.integers(0, 2), count=st.integers(1, 40), size=st.integers(0, 90)
    )
    def set_many(self, database: int, tag: int, count: int, size: int) -> None:
        for n in range(count):
            key = b"{%d}%d" % (tag, n)
            self.keyspace.set_string(database, key, b"y" * size)
            self.model[database][key] = Value(b"y" * size)

    @rule(database=databases, tag=st.integers(0, 2), count=st.integers(1, 40))
    def delete_many(self, database: int, tag: int, count: int) -> None:
        for n in range(count):
            self.delete(database, b"{%d}%d" % (tag, n))

    @rule(database=databases, key=keys, number=st.integers(-(2**63), 2**63 - 1))
    def set_integer(self, database: int, key: bytes, number: int) -> None:
        old = self.live(database, key)
        self.keyspace.set_integer(database, key, number)
        self.model[database][key] = Value(b"%d" % number, old.expire_ms if old else -1)

    @rule(database=databases, key=keys)
    def read(self, database: int, key: bytes) -> None:
        value = self.live(database, key)
        hits, misses = self.keyspace.hits, self.keyspace.misses
        assert self.keyspace.read_string(database, key) == (value.data if value else None)
        assert self.keyspace.hits - hits == (value is not None)
        assert self.keyspace.misses - misses == (value is None)
        assert self.keyspace.string_length(database, key) == (len(value.data) if value else 0)
        assert self.keyspace.encoding(database, key) == (value.encoding if value else None)
        assert self.keyspace.expire_ms(database, key) == (value.expire_ms if value else None)
        assert self.keyspace.type(database, key) == (b"string" if value else None)

    @rule(database=databases, key=keys)
    def delete(self, database: int, key: bytes) -> None:
        existed = self.live(database, key) is not None
        assert self.keyspace.delete(database, key) == existed
        self.model[database].pop(key, None)

    @rule(database=databases, key=keys, value=values)
    def append(self, database: int, key: bytes, value: bytes) -> None:
        old = self.live(database, key)
        if old is None:
            new = self.model[database][key] = Value(value)
        else:
            new = self.model[database][key] = Value(old.data + value, old.expire_ms, True)
        assert self.keyspace.append(database, key, value) == len(new.data)

    @rule(database=databases, key=keys, offset=st.integers(0, 150), value=values)
    def set_range(self, database: int, key: bytes, offset: int, value: bytes) -> None:
        old = self.live(database, key)
        data = old.data if old else b""
        if value:
            data = data.ljust(offset, b"\0")
            data = data[:offset] + value + data[offset + len(value) :]
            self.model[database][key] = Value(data, old.expire_ms if old else -1, True)
        assert self.keyspace.set_range(database, key, offset, value) == len(data)

    @rule(database=databases, key=keys, ttl=st.none() | times)
    def expire(self, database: int, key: bytes, ttl: int | None) -> None:
        value = self.live(database, key)
        expire_ms = -1 if ttl is None else self.now_ms + ttl
        if self.keyspace.exists(database, key):
            self.keyspace.set_expire(database, key, expire_ms)
            assert value is not None
            value.expire_ms = expire_ms
        else:
            assert value is None

    @rule(database=databases, source=keys, destination=keys)
    def rename(self, database: int, source: bytes, destination: bytes) -> None:
        value = self.live(database, source)
        if value is None:
            self.keyspace.exists(database, source)  # what has expired is gone, as in the model
            return
        self.live(database, destination)
        self.keyspace.rename(database, source, destination)
        del self.model[database][source]
        self.model[database][destination] = value

    @rule(database=databases, source=keys, destination=keys, other=databases)
    def copy(self, database: int, source: bytes, destination: bytes, other: int) -> None:
        value = self.live(database, source)
        if value is None:
            self.keyspace.exists(database, source)  # what has expired is gone, as in the model
            return
        self.live(other, destination)
        self.keyspace.copy(database, source, destination, other)
        self.model[other][destination] = Value(value.data, value.expire_ms, value.raw)

    @rule(database=databases, key=keys, other=databases)
    def move(self, database: int, key: bytes, other: int) -> None:
        value = self.live(database, key)
        if value is None or database == other:
            self.keyspace.exists(database, key)  # what has expired is gone, as in the model
            return  # MOVE refuses both
        self.live(other, key)
        self.keyspace.move(database, key, other)
        del self.model[database][key]
        self.model[other][key] = value

    @rule(first=databases, second=databases)
    def swap(self, first: int, second: int) -> None:
        self.keyspace.swap(first, second)
        self.model[first], self.model[second] = self.model[second], self.model[first]

    @rule(database=databases)
    def flush(self, database: int) -> None:
        assert self.keyspace.flush(database) == len(self.model[database])
        self.model[database].clear()

    @rule(ms=st.integers(1, 200))
    def wait(self, ms: int) -> None:
        self.now_ms += ms
        self.keyspace.now_ms = self.now_ms

    @rule(effort=st.integers(1, 10))
    def active_expire(self, effort: int) -> None:
        gone = Removals()
        self.effects.attach(gone)
        expired = self.keyspace.active_expire(0, effort)
        self.effects.detach(gone)
        assert expired == len(gone.keys)
        for database, key in gone.keys:
            assert not self.is_live(self.model[database].pop(key))

    @rule(database=databases, count=st.integers(1, 30))
    def scan(self, database: int, count: int) -> None:
        cursor, found = self.keyspace.scan(database, 0, count)
        while cursor:
            assert cursor < 2**53
            cursor, more = self.keyspace.scan(database, cursor, count)
            found += more
        everything = self.model[database]
        for key in [key for key, value in everything.items() if not self.is_live(value)]:
            del everything[key]
        assert sorted(found) == sorted(everything)

    @rule(database=databases)
    def random_key(self, database: int) -> None:
        before = self.keyspace.expired
        key = self.keyspace.random_key(database)
        everything = self.model[database]
        if key is None:
            assert not any(self.is_live(value) for value in everything.values())
            everything.clear()
        else:
            assert self.is_live(everything[key])
        if self.keyspace.expired != before:
            left = set(self.keyspace.keys(database))
            stale = [key for key, value in everything.items() if not self.is_live(value)]
            assert left.isdisjoint(stale)
            for key in stale:
                self.live(database, key)
                self.keyspace.exists(database, key)

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "keyspace"):
            return
        self.keyspace.check()
        for database, model in enumerate(self.model):
            assert self.keyspace.size(database) == len(model)
            ttl = sum(value.expire_ms != -1 for value in model.values())
            assert self.keyspace.expiring_size(database) == ttl
            live = sorted(key for key, value in model.items() if self.is_live(value))
            assert sorted(self.keyspace.keys(database)) == live

    def teardown(self) -> None:
        if hasattr(self, "keyspace"):
            for database, model in enumerate(self.model):
                for key in list(model):
                    self.read(database, key)
            del self.keyspace, self.effects
        assert live_blocks() == self.blocks


TestKeyspace = KeyspaceMachine.TestCase
TestKeyspace.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
