"""The Context that handlers see, over dictionaries and a clock that only tests move.

It says in the simplest way what `shards/lane/context.pyi` and `shards/keyspace/keyspace.pyi`
promise; handlers are tested against it without any kernel, and the kernels may be tested against
it in turn. Values are bytes; `put` makes keys of other types, which hold nothing but their type.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from protocol.commands import Command, CommandTable
from protocol.errors import WRONG_TYPE, CommandError
from protocol.numbers import parse_int64
from protocol.reply import Reply
from shards.commands import FAMILIES, cluster

EXPIRE_NONE = -1
EXPIRE_KEEP = -2
START_MS = 1_700_000_000_000
EMBSTR_BYTES_MAX = 44
# CLUSTER itself is a command of sessions.
TABLE = CommandTable.from_modules(family for family in FAMILIES if family is not cluster)


@dataclass(slots=True)
class Settings:
    maxmemory_policy: bytes = b"noeviction"
    active_expire_effort: int = 1
    hz: int = 10
    lfu_log_factor: int = 10
    lfu_decay_time: int = 1
    proto_max_bulk_len: int = 512 * 1024 * 1024
    active_expire: bool = True
    lazyfree_lazy_user_flush: bool = False


@dataclass(slots=True)
class Value:
    """What a key holds."""

    type: bytes
    data: bytes
    encoding: bytes
    expire_ms: int = EXPIRE_NONE
    used_ms: int = 0
    frequency: int = 5


def encoding_of(data: bytes, raw: bool, encode: bool) -> bytes:
    if raw:
        return b"raw"
    if encode and parse_int64(data) is not None:
        return b"int"
    return b"embstr" if len(data) <= EMBSTR_BYTES_MAX else b"raw"


class Keyspace:
    """A model of shards.keyspace.keyspace.Keyspace. A look at an expired key removes it."""

    def __init__(self, databases: int = 16, random_seed: int = 0) -> None:
        self.databases: list[dict[bytes, Value]] = [{} for _ in range(databases)]
        self.now_ms = START_MS
        self.lfu = False
        self.hits = self.misses = self.expired = self.changes = 0
        self.random = Random(random_seed)

    def begin_unseen(self) -> tuple[int, int]:
        return self.hits, self.misses

    def end_unseen(self, kept: tuple[int, int]) -> None:
        self.hits, self.misses = kept

    def is_expired(self, value: Value) -> bool:
        return EXPIRE_NONE != value.expire_ms < self.now_ms

    def find(self, database: int, key: bytes) -> Value | None:
        value = self.databases[database].get(key)
        if value is not None and self.is_expired(value):
            del self.databases[database][key]
            self.expired += 1
            return None
        return value

    def string(self, database: int, key: bytes) -> Value | None:
        value = self.find(database, key)
        if value is not None and value.type != b"string":
            raise CommandError(WRONG_TYPE)
        return value

    def size(self, database: int) -> int:
        return len(self.databases[database])

    def type(self, database: int, key: bytes) -> bytes | None:
        value = self.find(database, key)
        return None if value is None else value.type

    def exists(self, database: int, key: bytes, touch: bool = False, write: bool = False) -> bool:
        value = self.find(database, key)
        if value is not None and touch:
            value.used_ms = self.now_ms
        return value is not None

    def read_string(self, database: int, key: bytes) -> bytes | None:
        value = self.string(database, key)
        self.hits += value is not None
        self.misses += value is None
        return self.used(value)

    def write_string(self, database: int, key: bytes) -> bytes | None:
        return self.used(self.string(database, key))

    def used(self, value: Value | None) -> bytes | None:
        if value is None:
            return None
        value.used_ms = self.now_ms
        return value.data

    def set_string(
        self,
        database: int,
        key: bytes,
        data: bytes,
        expire_ms: int = EXPIRE_NONE,
        raw: bool = False,
        encode: bool = True,
    ) -> None:
        if expire_ms == EXPIRE_KEEP:
            old = self.find(database, key)
            expire_ms = EXPIRE_NONE if old is None else old.expire_ms
        self.databases[database][key] = Value(
            b"string", data, encoding_of(data, raw, encode), expire_ms, self.now_ms
        )

    def append(self, database: int, key: bytes, data: bytes) -> int:
        old = self.string(database, key)
        if old is None:
            self.set_string(database, key, data)
            return len(data)
        self.set_string(database, key, old.data + data, EXPIRE_KEEP, raw=True)
        return len(old.data) + len(data)

    def set_range(self, database: int, key: bytes, offset: int, data: bytes) -> int:
        old = self.string(database, key)
        content = bytearray(b"" if old is None else old.data)
        content.extend(bytes(max(offset + len(data) - len(content), 0)))
        content[offset : offset + len(data)] = data
        self.set_string(database, key, bytes(content), EXPIRE_KEEP, raw=True)
        return len(content)

    def string_length(self, database: int, key: bytes) -> int:
        value = self.string(database, key)
        return 0 if value is None else len(value.data)

    def delete(self, database: int, key: bytes) -> bool:
        found = self.find(database, key) is not None
        if found:
            del self.databases[database][key]
        return found

    def expire_ms(self, database: int, key: bytes) -> int | None:
        value = self.find(database, key)
        return None if value is None else value.expire_ms

    def set_expire(self, database: int, key: bytes, expire_ms: int) -> None:
        self.databases[database][key].expire_ms = expire_ms

    def encoding(self, database: int, key: bytes) -> bytes | None:
        value = self.find(database, key)
        return None if value is None else value.encoding

    def idle_seconds(self, database: int, key: bytes) -> int | None:
        value = self.find(database, key)
        return None if value is None else (self.now_ms - value.used_ms) // 1000

    def frequency(self, database: int, key: bytes) -> int | None:
        value = self.find(database, key)
        return None if value is None else value.frequency

    def memory_usage(self, database: int, key: bytes) -> int | None:
        # An expired key takes memory until it goes; Redis looks without removing it.
        value = self.databases[database].get(key)
        return None if value is None else 16 + len(key) + len(value.data)

    def rename(self, database: int, source: bytes, target: bytes) -> None:
        self.databases[database][target] = self.databases[database].pop(source)

    def copy(self, database: int, source: bytes, target: bytes, target_database: int) -> None:
        value = self.databases[database][source]
        self.databases[target_database][target] = Value(
            value.type, value.data, value.encoding, value.expire_ms, self.now_ms
        )

    def move(self, database: int, key: bytes, target_database: int) -> None:
        self.databases[target_database][key] = self.databases[database].pop(key)

    def meet(self, database: int, key: bytes) -> None:
        self.find(database, key)

    def random_key(self, database: int) -> bytes | None:
        keys = [key for key in list(self.databases[database]) if self.find(database, key)]
        return self.random.choice(keys) if keys else None

    def scan(
        self, database: int, cursor: int, count: int, *, expired: list[bytes] | None = None
    ) -> tuple[int, list[bytes]]:
        """The cursor is the number of keys already seen, in sorted order."""
        keys = sorted(self.databases[database])
        page = keys[cursor : cursor + count]
        following = cursor + count if cursor + count < len(keys) else 0
        return following, [key for key in page if self.find(database, key) is not None]

    def keys(self, database: int) -> Iterator[bytes]:
        return iter(list(self.databases[database]))

    def flush(self, database: int) -> int:
        gone = len(self.databases[database])
        self.databases[database].clear()
        return gone

    def swap(self, first: int, second: int) -> None:
        databases = self.databases
        databases[first], databases[second] = databases[second], databases[first]


@dataclass(slots=True)
class Context:
    """A model of shards.lane.context.Context, which also remembers what it was told."""

    keyspace: Keyspace = field(default_factory=Keyspace)
    settings: Settings = field(default_factory=Settings)
    random: Random = field(default_factory=lambda: Random(0))
    database: int = 0
    events: list[tuple[bytes, bytes, int]] = field(default_factory=list)
    propagated: list[list[bytes]] = field(default_factory=list)
    slept_seconds: float = 0.0
    cluster: bool = False  # the caller is at the shard's own port
    logs: bool = True  # somebody listens to propagate()

    @property
    def now_ms(self) -> int:
        return self.keyspace.now_ms

    @property
    def databases(self) -> int:
        return len(self.keyspace.databases)

    def number(self, database: int | None) -> int:
        return self.database if database is None else database

    def type(self, key: bytes, database: int | None = None, counted: bool = True) -> bytes | None:
        return self.keyspace.type(self.number(database), key)

    def exists(
        self,
        key: bytes,
        touch: bool = False,
        database: int | None = None,
        write: bool = False,
    ) -> bool:
        return self.keyspace.exists(self.number(database), key, touch)

    def look(self, key: bytes) -> bool:
        return self.keyspace.exists(self.database, key)

    def meet(self, key: bytes) -> None:
        self.keyspace.meet(self.database, key)

    def read_part(self, key: bytes, first: int, last: int) -> bytes:
        value = self.read_string(key) or b""
        if last < first and (last < 0) is (first < 0):
            return b""
        if first < 0:
            first = max(first + len(value), 0)
        if last < 0:
            last = max(last + len(value), 0)
        return value[first : last + 1]

    def read_string(self, key: bytes) -> bytes | None:
        return self.keyspace.read_string(self.database, key)

    def write_string(self, key: bytes) -> bytes | None:
        return self.keyspace.write_string(self.database, key)

    def set_string(
        self,
        key: bytes,
        value: bytes,
        expire_ms: int = EXPIRE_NONE,
        raw: bool = False,
        encode: bool = True,
    ) -> None:
        self.keyspace.set_string(self.database, key, value, expire_ms, raw, encode)

    def append(self, key: bytes, value: bytes) -> int:
        return self.keyspace.append(self.database, key, value)

    def set_range(self, key: bytes, offset: int, value: bytes) -> int:
        return self.keyspace.set_range(self.database, key, offset, value)

    def string_length(self, key: bytes, write: bool = False) -> int:
        return self.keyspace.string_length(self.database, key)

    def delete(self, key: bytes, database: int | None = None) -> bool:
        return self.keyspace.delete(self.number(database), key)

    def clear(self, key: bytes) -> bool:
        return self.keyspace.delete(self.database, key)

    def expire_ms(self, key: bytes) -> int | None:
        return self.keyspace.expire_ms(self.database, key)

    def set_expire(self, key: bytes, expire_ms: int) -> None:
        self.keyspace.set_expire(self.database, key, expire_ms)

    def rename(self, source: bytes, target: bytes) -> None:
        self.keyspace.rename(self.database, source, target)

    def copy(self, source: bytes, target: bytes, target_database: int) -> None:
        self.keyspace.copy(self.database, source, target, target_database)

    def move(self, key: bytes, target_database: int) -> None:
        self.keyspace.move(self.database, key, target_database)

    def changed(
        self, key: bytes, event: bytes, count: int = 1, database: int | None = None
    ) -> None:
        if count:
            self.events.append((event, key, self.number(database)))
            self.keyspace.changes += count

    def block(self, *how: object, **more: object) -> bool:
        """Nobody can wait here."""
        return False

    def notify(self, key: bytes, event: bytes, database: int | None = None) -> None:
        self.events.append((event, key, self.number(database)))

    def flush(self, database: int, lazily: bool = False) -> None:
        self.keyspace.changes += self.keyspace.flush(database)

    def swap(self, first: int, second: int) -> None:
        self.keyspace.swap(first, second)

    def propagate(self, args: list[bytes], database: int | None = None) -> None:
        self.propagated.append(args)

    def propagate_raw(self) -> None:
        pass

    def propagate_nothing(self) -> None:
        pass

    def sleep(self, seconds: float) -> None:
        self.slept_seconds += seconds


class Model:
    """One client of a shard of handlers only: `model.run("SET", "k", "v") == b"+OK\\r\\n"`."""

    def __init__(self, resp: int = 2) -> None:
        self.context = Context()
        self.resp = resp

    def run(self, *words: str | bytes | int) -> bytes:
        """The reply bytes of one command, as an executor would make them."""
        args = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        context = self.context
        context.events.clear()
        context.propagated.clear()
        declared, error = resolve(args)
        reply = Reply(self.resp)
        if declared is None:
            reply.error(error)
            return reply.take()
        assert declared.handler is not None
        before = (context.keyspace.changes, [dict(keys) for keys in context.keyspace.databases])
        try:
            declared.handler(context, args, reply)
        except CommandError as mistake:
            assert reply.take() == b"", "a handler replied before it raised"
            assert (context.keyspace.changes, context.events) == (before[0], [])
            # A look may remove what has expired; nothing else may differ.
            for old, new in zip(before[1], context.keyspace.databases, strict=True):
                assert set(new) <= set(old)
                assert all(new[key] is old[key] for key in new)
            reply.error(mistake.message)
        return reply.take()

    def put(self, key: bytes, type_: bytes) -> None:
        """Make a key of another type."""
        self.context.keyspace.databases[self.context.database][key] = Value(
            type_, b"", b"listpack", used_ms=self.context.now_ms
        )

    def wait(self, ms: int) -> None:
        self.context.keyspace.now_ms += ms


def resolve(args: list[bytes]) -> tuple[Command | None, bytes]:
    """The declared command of a call, or the error text of the executor's own checks."""
    name = args[0].decode("latin-1").upper()
    if name not in TABLE:
        return None, b"ERR unknown command"
    declared = TABLE[name]
    if declared.subcommands and len(args) > 1:
        sub = f"{name}|{args[1].decode('latin-1').upper()}"
        declared = TABLE.by_name.get(sub, declared)
    if len(args) < abs(declared.arity) or (declared.arity > 0 and len(args) != declared.arity):
        name_shown = declared.name.lower().encode()
        return None, b"ERR wrong number of arguments for '%s' command" % name_shown
    return declared, b""
