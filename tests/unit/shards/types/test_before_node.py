"""Structures name the node that they are about to change, and none when they change nothing."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from protocol.commands import CommandTable
from shards.keyspace.keyspace import Keyspace
from shards.lane.context import Context, Settings
from shards.views.hash import HashView
from shards.views.list import ListView
from shards.views.set import SetView
from shards.views.stream import StreamView
from shards.views.zset import ZsetView


class Nodes:
    """A consumer that notes which nodes are named."""

    def __init__(self) -> None:
        self.named: list[tuple[int, int]] = []

    def before_node(self, structure: int, node: int) -> None:
        self.named.append((structure, node))

    def take(self) -> list[tuple[int, int]]:
        taken, self.named = self.named, []
        return taken


Change = Callable[[Context], Any]
SMALL, LARGE = 4, 3000  # members: one allocation, and a structure of many nodes


def stream(ctx: Context, size: int) -> None:
    view = StreamView.open(ctx, b"k", create=True)
    assert view is not None
    for number in range(size):
        view.append((number + 1, 0), [b"f", b"%d" % number])


def words(size: int) -> list[bytes]:
    return [b"member:%d" % number for number in range(size)]


MAKE: dict[str, Callable[[Context, int], Any]] = {
    "list": lambda ctx, size: ListView.open(ctx, b"k", write=True).push(words(size), True),
    "hash": lambda ctx, size: [
        HashView.open(ctx, b"k", write=True).set(word, word) for word in words(size)
    ],
    "set": lambda ctx, size: SetView.open(ctx, b"k", write=True).add(words(size)),
    "integers": lambda ctx, size: SetView.open(ctx, b"k", write=True).add(
        [b"%d" % number for number in range(size)]
    ),
    "zset": lambda ctx, size: ZsetView.open(ctx, b"k", write=True).add(
        [float(number) for number in range(size)], words(size), 0
    ),
    "stream": stream,
}
CHANGES: list[tuple[str, str, Change]] = [
    ("list", "push", lambda ctx: ListView.open(ctx, b"k", write=True).push([b"x"], False)),
    ("list", "pop", lambda ctx: ListView.open(ctx, b"k", write=True).pop(True)),
    ("list", "rotate", lambda ctx: ListView.open(ctx, b"k", write=True).rotate(True, False)),
    ("hash", "new field", lambda ctx: HashView.open(ctx, b"k", write=True).set(b"x", b"y")),
    ("hash", "value", lambda ctx: HashView.open(ctx, b"k", write=True).set(b"member:1", b"y")),
    ("hash", "delete", lambda ctx: HashView.open(ctx, b"k", write=True).delete([b"member:1"])),
    ("set", "add", lambda ctx: SetView.open(ctx, b"k", write=True).add([b"x"])),
    ("set", "remove", lambda ctx: SetView.open(ctx, b"k", write=True).remove([b"member:1"])),
    ("integers", "add", lambda ctx: SetView.open(ctx, b"k", write=True).add([b"-1"])),
    ("integers", "widen", lambda ctx: SetView.open(ctx, b"k", write=True).add([b"5000000000"])),
    ("integers", "remove", lambda ctx: SetView.open(ctx, b"k", write=True).remove([b"1"])),
    ("zset", "add", lambda ctx: ZsetView.open(ctx, b"k", write=True).add([1.5], [b"x"], 0)),
    ("zset", "move", lambda ctx: ZsetView.open(ctx, b"k", write=True).add([2.5], [b"member:1"], 0)),
    ("zset", "remove", lambda ctx: ZsetView.open(ctx, b"k", write=True).remove([b"member:1"])),
    ("stream", "append", lambda ctx: opened(ctx).append((10**6, 0), [b"f", b"v"])),
    ("stream", "delete", lambda ctx: opened(ctx).delete([(2, 0)])),
    ("stream", "trim", lambda ctx: opened(ctx).trim_length(1)),
]
NO_CHANGES: list[tuple[str, Change]] = [
    ("list", lambda ctx: ListView.open(ctx, b"k").range(0, -1)),
    ("hash", lambda ctx: HashView.open(ctx, b"k", write=True).delete([b"none"])),
    ("set", lambda ctx: SetView.open(ctx, b"k", write=True).add([b"member:1"])),
    ("set", lambda ctx: SetView.open(ctx, b"k", write=True).remove([b"none"])),
    ("integers", lambda ctx: SetView.open(ctx, b"k", write=True).add([b"1"])),
    ("zset", lambda ctx: ZsetView.open(ctx, b"k", write=True).remove([b"none"])),
    ("stream", lambda ctx: opened(ctx).delete([(10**7, 0)])),
]


def opened(ctx: Context) -> StreamView:
    view = StreamView.open(ctx, b"k", write=True)
    assert view is not None
    return view


def filled(kind: str, size: int) -> tuple[Context, Nodes]:
    keyspace = Keyspace()
    ctx = Context(keyspace, Settings({}), CommandTable([]), 16, Random(0))
    MAKE[kind](ctx, size)
    nodes = Nodes()
    ctx.effects.attach(nodes)
    return ctx, nodes


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(("kind", "what", "change"), CHANGES, ids=lambda value: str(value)[:12])
def test_a_change_names_a_node_before(kind: str, what: str, change: Change, size: int) -> None:
    ctx, nodes = filled(kind, size)
    change(ctx)
    assert nodes.take() != []
    ctx.keyspace.check()


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(("kind", "look"), NO_CHANGES, ids=lambda value: str(value)[:12])
def test_what_changes_nothing_names_none(kind: str, look: Change, size: int) -> None:
    ctx, nodes = filled(kind, size)
    look(ctx)
    assert nodes.take() == []


def test_a_large_structure_is_named_in_parts() -> None:
    """That a walker may save it piece by piece is what nodes are named for."""
    ctx, nodes = filled("hash", LARGE)
    for word in words(LARGE):
        HashView.open(ctx, b"k", write=True).set(word, b"another value")
    named = nodes.take()
    assert len({structure for structure, _ in named}) == 1
    assert len({node for _, node in named}) > 50


def test_nobody_is_told_once_the_consumer_has_gone() -> None:
    ctx, nodes = filled("set", LARGE)
    ctx.effects.detach(nodes)
    SetView.open(ctx, b"k", write=True).add([b"x"])
    assert nodes.take() == []
