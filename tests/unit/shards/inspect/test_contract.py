"""The check of the contract of effects: a change that nobody was told of is found."""

from __future__ import annotations

from random import Random

import pytest

from protocol.commands import CommandTable
from shards.inspect.contract import Contract
from shards.keyspace.keyspace import Keyspace
from shards.lane.context import Context, Settings
from shards.views.hash import HashView
from shards.views.list import ListView
from shards.views.set import SetView
from shards.views.stream import StreamView
from shards.views.zset import ZsetView


class Watched:
    """A keyspace, and what its contract's check has complained of."""

    def __init__(self) -> None:
        self.keyspace = Keyspace()
        self.keyspace.now_ms = 1_700_000_000_000
        self.ctx = Context(self.keyspace, Settings({}), CommandTable([]), 16, Random(0))
        self.complaints: list[str] = []
        self.contract = Contract(self.ctx.effects, self.complaints.append)

    def __enter__(self) -> Context:
        self.ctx.effects.begin(0, b"")
        return self.ctx

    def __exit__(self, *error: object) -> None:
        self.ctx.effects.end()


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_change_that_is_told_of_is_no_complaint(watched: Watched) -> None:
    with watched as ctx:
        ctx.set_string(b"k", b"v")
        ctx.changed(b"k", b"set")
    with watched as ctx:
        ListView.open(ctx, b"l", write=True).push([b"a"], True)
        ctx.changed(b"l", b"rpush")
        ctx.delete(b"k")
        ctx.changed(b"k", b"del")
    with watched as ctx:
        ctx.flush(0)
    assert watched.complaints == []


def test_an_overwritten_value_must_be_told_of(watched: Watched) -> None:
    with watched as ctx:
        ctx.set_string(b"k", b"v")
        ctx.changed(b"k", b"set")
    with watched as ctx:
        ctx.append(b"k", b"w")
    assert watched.complaints == ["a command has changed b'k' without changed"]


def test_a_value_that_is_the_same_afterwards_is_no_change(watched: Watched) -> None:
    with watched as ctx:
        ctx.set_string(b"k", b"v")
        ctx.changed(b"k", b"set")
    with watched as ctx:
        ctx.write_string(b"k")
        ctx.read_string(b"k")
    assert watched.complaints == []


def test_an_expiry_is_part_of_what_a_key_holds(watched: Watched) -> None:
    with watched as ctx:
        ctx.set_string(b"k", b"v")
        ctx.changed(b"k", b"set")
    with watched as ctx:
        ctx.set_expire(b"k", watched.keyspace.now_ms + 1000)
    assert watched.complaints == ["a command has changed b'k' without changed"]


def test_a_collection_that_was_opened_to_be_read_must_not_change(watched: Watched) -> None:
    with watched as ctx:
        HashView.open(ctx, b"h", write=True).set(b"f", b"v")
        SetView.open(ctx, b"s", write=True).add([b"a"])
        ZsetView.open(ctx, b"z", write=True).add([1.0], [b"a"], 0)
        for key in (b"h", b"s", b"z"):
            ctx.changed(key, b"hset")
    with watched as ctx:
        SetView.open(ctx, b"s").add([b"b"])
        ZsetView.open(ctx, b"z").add([2.0], [b"a"], 0)
        for key in (b"h", b"s", b"z"):
            ctx.changed(key, b"hset")
    assert sorted(watched.complaints) == [
        "a command has changed b's' without before_change",
        "a command has changed b'z' without before_change",
    ]


def test_the_views_of_streams_say_before_what_they_change(watched: Watched) -> None:
    with watched as ctx:
        stream = StreamView.open(ctx, b"x", create=True)
        assert stream is not None
        stream.append((1, 1), [b"f", b"v"])
        ctx.changed(b"x", b"xadd")
    with watched as ctx:
        stream = StreamView.open(ctx, b"x")
        assert stream is not None
        stream.add_group(b"g", (0, 0))
    assert watched.complaints == ["a command has changed b'x' without changed"]


def test_what_expires_between_commands_is_told_of(watched: Watched) -> None:
    with watched as ctx:
        ctx.set_string(b"k", b"v", watched.keyspace.now_ms + 1)
        ctx.changed(b"k", b"set")
    watched.keyspace.now_ms += 10
    assert watched.keyspace.active_expire(0, 1) == 1
    watched.contract.check()
    assert watched.complaints == []
