"""The effects of changes: who is told of what, in which order, and what the records look like."""

from __future__ import annotations

from random import Random

import pytest

from protocol.commands import CommandTable
from shards.keyspace.keyspace import Keyspace
from shards.lane.context import Context, Settings
from tests.support.resp_client import encode

NOW_MS = 1_700_000_000_000
DEL = 1 << 2
NEW, KEY_MISS, EXPIRED, STRING = 1 << 14, 1 << 11, 1 << 8, 1 << 3


class Everything:
    """A consumer that writes down all it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def before_change(self, database: int, key: bytes, exists: bool) -> None:
        self.told.append(("before", database, key, exists))

    def changed(self, database: int, key: bytes, event: bytes, kind: int, count: int) -> None:
        self.told.append((event, database, key, kind, count))

    def removed(self, database: int, key: bytes, reason: int) -> None:
        self.told.append(("removed", database, key, reason))

    def emptied(self, database: int) -> None:
        self.told.append(("emptied", database))

    def swapped(self, first: int, second: int) -> None:
        self.told.append(("swapped", first, second))

    def take(self) -> list[tuple[object, ...]]:
        taken, self.told = self.told, []
        return taken


class Records:
    def __init__(self) -> None:
        self.records: list[tuple[int, int, bytes]] = []
        self.times: list[int] = []
        self.transactions: list[int] = []

    def record(
        self, transaction: int, time_ns: int, database: int, last_database: int, data: bytes
    ) -> None:
        self.transactions.append(transaction)
        self.times.append(time_ns)
        self.records.append((database, last_database, data))

    def take(self) -> list[tuple[int, int, bytes]]:
        taken, self.records = self.records, []
        return taken


@pytest.fixture
def ctx() -> Context:
    keyspace = Keyspace()
    keyspace.now_ms = NOW_MS
    return Context(keyspace, Settings({}), CommandTable([]), 16, Random(0))


@pytest.fixture
def everything(ctx: Context) -> Everything:
    consumer = Everything()
    ctx.effects.attach(consumer)
    return consumer


@pytest.fixture
def records(ctx: Context) -> Records:
    consumer = Records()
    ctx.effects.attach(consumer)
    return consumer


def test_a_new_key_is_told_of_before_the_event_of_its_command(
    ctx: Context, everything: Everything
) -> None:
    ctx.set_string(b"k", b"v")
    ctx.changed(b"k", b"set")
    assert everything.take() == [
        ("before", 0, b"k", False),
        (b"new", 0, b"k", NEW, 0),
        (b"set", 0, b"k", STRING, 1),
    ]


def test_an_overwritten_key_is_removed_but_not_new(ctx: Context, everything: Everything) -> None:
    ctx.set_string(b"k", b"v")
    everything.take()
    ctx.set_string(b"k", b"w")
    assert everything.take() == [("before", 0, b"k", True), ("removed", 0, b"k", 4)]


def test_a_change_of_no_count_is_told_to_nobody(ctx: Context, everything: Everything) -> None:
    ctx.changed(b"k", b"sadd", 0)
    assert everything.take() == []
    assert ctx.keyspace.changes == 0


def test_an_unknown_event_is_a_mistake_of_ours(ctx: Context, everything: Everything) -> None:
    with pytest.raises(KeyError):
        ctx.changed(b"k", b"nosuch")


def test_deletion_expiry_and_moves_say_why_a_key_goes(ctx: Context, everything: Everything) -> None:
    ctx.set_string(b"a", b"v")
    ctx.set_string(b"b", b"v", NOW_MS - 1)
    ctx.set_string(b"c", b"v")
    everything.take()
    ctx.delete(b"a")
    assert ("removed", 0, b"a", 3) in everything.take()
    assert ctx.read_string(b"b") is None
    assert everything.take() == [
        ("before", 0, b"b", True),
        ("removed", 0, b"b", 1),
        (b"expired", 0, b"b", EXPIRED, 0),
        (b"keymiss", 0, b"b", KEY_MISS, 0),
    ]
    ctx.move(b"c", 3)
    assert everything.take() == [
        ("before", 3, b"c", False),
        ("before", 0, b"c", True),
        ("removed", 0, b"c", 5),
        (b"new", 3, b"c", NEW, 0),
    ]


def test_a_flush_and_a_swap_are_told_of(ctx: Context, everything: Everything) -> None:
    ctx.set_string(b"k", b"v")
    ctx.swap(0, 2)
    everything.told.clear()
    ctx.flush(2)
    ctx.flush(0)
    ctx.swap(2, 2)
    assert everything.take() == [("emptied", 2)]
    ctx.swap(1, 2)
    assert everything.take() == [("swapped", 1, 2)]


def test_keys_of_other_shards_are_told_to_nobody(ctx: Context, everything: Everything) -> None:
    ctx.own_slots = bytes(16384)
    ctx.set_string(b"k", b"v")
    ctx.changed(b"k", b"set")
    assert everything.take() == []
    ctx.own_slots = None


def test_a_command_is_logged_as_it_came_once_it_has_changed_something(
    ctx: Context, records: Records
) -> None:
    raw = encode("SET", "k", "v")
    ctx.effects.begin(3, raw)
    ctx.effects.end()
    assert records.take() == []
    ctx.effects.begin(3, raw)
    ctx.changed(b"k", b"set")
    ctx.effects.end()
    assert records.take() == [(3, 3, raw)]


def test_a_handler_says_what_is_logged_instead(ctx: Context, records: Records) -> None:
    ctx.effects.begin(0, encode("SPOP", "k"))
    ctx.changed(b"k", b"spop")
    ctx.propagate([b"SREM", b"k", b"a"])
    ctx.effects.end()
    assert records.take() == [(0, 0, encode("SREM", "k", "a"))]
    ctx.effects.begin(0, encode("XREADGROUP"))
    ctx.changed(b"k", b"xgroup-createconsumer")
    ctx.propagate_nothing()
    ctx.effects.end()
    assert records.take() == []


def test_several_commands_are_one_record_in_a_transaction(ctx: Context, records: Records) -> None:
    ctx.effects.begin(0, encode("X"))
    ctx.propagate([b"A"])
    ctx.propagate([b"B"], 5)
    ctx.propagate([b"C"], 5)
    ctx.effects.end()
    data = b"".join(
        encode(*words) for words in (["MULTI"], ["A"], ["SELECT", "5"], ["B"], ["C"], ["EXEC"])
    )
    assert records.take() == [(0, 5, data)]


def test_a_key_that_expires_on_the_way_goes_first(ctx: Context, records: Records) -> None:
    ctx.set_string(b"k", b"v", NOW_MS - 1)
    raw = encode("SET", "k", "w")
    ctx.effects.begin(0, raw)
    ctx.set_string(b"k", b"w")
    ctx.changed(b"k", b"set")
    ctx.effects.end()
    data = encode("MULTI") + encode("DEL", "k") + raw + encode("EXEC")
    assert records.take() == [(0, 0, data)]


def test_what_expires_between_commands_is_a_record_of_its_own(
    ctx: Context, records: Records
) -> None:
    ctx.set_string(b"a", b"v", NOW_MS - 1)
    ctx.set_string(b"b", b"v", NOW_MS - 1)
    assert ctx.keyspace.active_expire(0, 1) == 2
    assert sorted(records.take()) == [
        (0, 0, encode("DEL", "a")),
        (0, 0, encode("DEL", "b")),
    ]
    assert records.times == sorted(records.times)
    assert records.transactions == [0, 0]


def test_a_command_that_runs_others_is_logged_as_these(ctx: Context, records: Records) -> None:
    outer, inner = encode("EXEC"), encode("INCR", "k")
    ctx.effects.begin(0, outer)
    for _ in range(2):
        ctx.effects.begin(0, inner)
        ctx.changed(b"k", b"incrby")
        ctx.effects.end()
    ctx.effects.end()
    assert records.take() == [(0, 0, encode("MULTI") + inner + inner + encode("EXEC"))]


def test_a_log_is_rewound_to_say_something_else(ctx: Context, records: Records) -> None:
    ctx.effects.begin(0, encode("X"))
    ctx.propagate([b"A"])
    mark = ctx.effects.log_mark()
    ctx.propagate([b"B"], 3)
    ctx.effects.rewind_log(mark)
    ctx.propagate([b"C"])
    ctx.effects.end()
    data = encode("MULTI") + encode("A") + encode("C") + encode("EXEC")
    assert records.take() == [(0, 0, data)]


def test_nobody_is_called_once_a_consumer_is_detached(ctx: Context, everything: Everything) -> None:
    ctx.effects.detach(everything)
    ctx.set_string(b"k", b"v")
    ctx.changed(b"k", b"set")
    assert everything.take() == []
    with pytest.raises(ValueError, match="no such consumer"):
        ctx.effects.detach(everything)
