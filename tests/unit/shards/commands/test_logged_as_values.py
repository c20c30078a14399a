"""What a command over several shards has made of our keys is logged as values.

Its call can't be repeated from a log: it reads keys that other shards have lent.
"""

from __future__ import annotations

from random import Random

from persistence.dump import as_restore, is_intact
from protocol.commands import CommandTable
from shards.commands.internal import logged_as_values
from shards.keyspace.keyspace import Keyspace
from shards.lane.context import Context, Settings
from tests.support.resp_client import encode

NOW_MS = 1_700_000_000_000


class Records:
    def __init__(self) -> None:
        self.data: list[bytes] = []

    def record(
        self, transaction: int, time_ns: int, database: int, last_database: int, data: bytes
    ) -> None:
        self.data.append(data)


def context() -> Context:
    keyspace = Keyspace()
    keyspace.now_ms = NOW_MS
    return Context(keyspace, Settings({}), CommandTable([]), 16, Random(0))


def test_the_value_and_expiry_of_a_changed_key_are_logged_and_the_call_is_not() -> None:
    ctx, records = context(), Records()
    ctx.effects.attach(records)
    ctx.effects.begin(0, encode("SHARDIS.WITH", "SORT", "lent", "STORE", "k"))
    with logged_as_values(ctx):
        ctx.set_string(b"k", b"v", NOW_MS + 1000)
        ctx.changed(b"k", b"set")
        ctx.propagate([b"SORT", b"lent", b"STORE", b"k"])
    ctx.effects.end()
    name, key, expiry, payload, *words = as_restore(ctx, b"k")
    assert (name, key, expiry, words) == (
        *(b"RESTORE", b"k", b"%d" % (NOW_MS + 1000)),
        [b"REPLACE", b"ABSTTL"],
    )
    assert is_intact(payload)
    assert records.data == [encode(name, key, expiry, payload, *words)]


def test_a_key_that_went_is_logged_as_a_deletion() -> None:
    ctx, records = context(), Records()
    ctx.set_string(b"k", b"v")
    ctx.effects.attach(records)
    ctx.effects.begin(0, encode("SHARDIS.WITH", "SUNIONSTORE", "k", "lent"))
    with logged_as_values(ctx):
        ctx.delete(b"k")
        ctx.changed(b"k", b"del")
    ctx.effects.end()
    assert records.data == [encode("DEL", "k")]


def test_what_changes_nothing_logs_nothing() -> None:
    ctx, records = context(), Records()
    ctx.effects.attach(records)
    ctx.effects.begin(0, encode("SHARDIS.WITH", "MSETNX", "k", "v"))
    with logged_as_values(ctx):
        assert ctx.read_string(b"k") is None
    ctx.effects.end()
    assert records.data == []
