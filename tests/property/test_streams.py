"""Streams of a keyspace, through their view, against lists and dicts of Python.

Nodes hold a few entries or a few bytes, and the limits change, so that nodes split and go all the
time. Every invariant, the count of bytes included, is checked after each step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.reply import Reply
from shards.keyspace.keyspace import Keyspace
from shards.views.stream import HIGHEST, LOWEST, StreamView
from tests.support.resp_client import parse

StreamId = tuple[int, int]

ids = st.tuples(st.integers(0, 60), st.integers(0, 2))
steps = st.tuples(st.sampled_from([0, 0, 1, 3, 2**40]), st.integers(0, 3))
words = st.one_of(
    st.sampled_from([b"f", b"g", b"", b"-1", b"77", b"9223372036854775808", b"x" * 70]),
    st.binary(max_size=3),
)
items = st.lists(st.tuples(words, words), min_size=1, max_size=4).map(
    lambda pairs: [word for pair in pairs for word in pair]
)
names = st.sampled_from([b"a", b"ab", b"b", b"", b"\xff"])


@dataclass
class GroupModel:
    last: StreamId
    consumers: dict[bytes, dict[StreamId, tuple[int, int]]] = field(default_factory=dict)


@dataclass
class StreamModel:
    entries: list[tuple[StreamId, list[bytes]]] = field(default_factory=list)
    last: StreamId = LOWEST
    added: int = 0
    max_deleted: StreamId = LOWEST
    groups: dict[bytes, GroupModel] = field(default_factory=dict)


def entries_of(raw: bytes) -> list[tuple[StreamId, list[bytes] | None]]:
    """The entries in a reply."""
    found = []
    for node in parse(raw).value:
        ms, _, sequence = node.value[0].value.partition(b"-")
        fields = node.value[1].value
        content = None if fields is None else [word.value for word in fields]
        found.append(((int(ms), int(sequence)), content))
    return found


def open_stream(context: Any, key: bytes) -> StreamView | None:
    return StreamView.open(context, key, create=True)


class StreamMachine(RuleBasedStateMachine):
    @initialize()
    def create(self) -> None:
        self.keyspace = Keyspace()
        self.now_ms = 1000
        context: Any = SimpleNamespace(keyspace=self.keyspace, database=0)
        view = open_stream(context, b"s")
        assert view is not None
        self.view = view
        self.model = StreamModel()

    @rule(entries=st.sampled_from([0, 1, 2, 5]), size=st.sampled_from([0, 1, 40, 200, 4096]))
    def limit(self, entries: int, size: int) -> None:
        self.keyspace.set_limits(
            {"stream-node-max-entries": entries, "stream-node-max-bytes": size}
        )

    @rule(step=steps, content=items)
    def append(self, step: tuple[int, int], content: list[bytes]) -> None:
        ms, sequence = self.model.last
        id = (ms + step[0], step[1] if step[0] else sequence + 1 + step[1])
        self.view.append(id, content)
        self.model.entries.append((id, content))
        self.model.last = id
        self.model.added += 1

    @rule(step=steps, content=items, count=st.integers(1, 12))
    def append_many(self, step: tuple[int, int], content: list[bytes], count: int) -> None:
        for _ in range(count):
            self.append(step, content)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        known = [id for id, _ in self.model.entries]
        some = data.draw(st.lists(st.sampled_from(known) if known else ids, max_size=6))
        some += data.draw(st.lists(ids, max_size=2))
        gone = set(some) & set(known)
        assert self.view.delete(some) == len(gone)
        self.model.entries = [entry for entry in self.model.entries if entry[0] not in gone]
        self.model.max_deleted = max([self.model.max_deleted, *gone])

    @rule(length=st.integers(0, 20), whole=st.booleans(), limit=st.sampled_from([0, 0, 1, 6]))
    def trim_length(self, length: int, whole: bool, limit: int) -> None:
        before = len(self.model.entries)
        gone = self.view.trim_length(length, whole_nodes=whole, limit=limit if whole else 0)
        assert gone <= max(before - length, 0)
        if not whole:
            assert gone == max(before - length, 0)
        elif limit:
            assert gone <= limit
        del self.model.entries[:gone]

    @rule(id=ids, whole=st.booleans())
    def trim_id(self, id: StreamId, whole: bool) -> None:
        below = sum(known < id for known, _ in self.model.entries)
        gone = self.view.trim_id(id, whole_nodes=whole)
        assert gone <= below
        assert whole or gone == below
        del self.model.entries[:gone]

    @rule(low=ids, high=ids, count=st.integers(0, 5), reverse=st.booleans(), resp=st.just(2))
    def interval(self, low: StreamId, high: StreamId, count: int, reverse: bool, resp: int) -> None:
        reply = Reply(resp)
        expected = [entry for entry in self.model.entries if low <= entry[0] <= high]
        expected = expected[::-1] if reverse else expected
        sent = self.view.reply_range(reply, low, high, count, reverse=reverse)
        assert entries_of(reply.take()) == (expected[:count] if count else expected)
        assert sent == min(len(expected), count or len(expected))

    @rule(id=ids)
    def has(self, id: StreamId) -> None:
        assert self.view.has(id) == (id in {known for known, _ in self.model.entries})

    # Groups

    @rule(name=names, last=ids)
    def add_group(self, name: bytes, last: StreamId) -> None:
        assert self.view.add_group(name, last) == (name not in self.model.groups)
        self.model.groups.setdefault(name, GroupModel(last))

    @rule(name=names)
    def remove_group(self, name: bytes) -> None:
        found = self.model.groups.pop(name, None)
        assert self.view.remove_group(name) == (found is not None)

    @precondition(lambda self: self.model.groups)
    @rule(data=st.data(), name=names, count=st.integers(0, 5), acknowledged=st.booleans())
    def read_new(self, data: st.DataObject, name: bytes, count: int, acknowledged: bool) -> None:
        group_name, group = self.group(data)
        self.see(group_name, group, name)
        expected = [entry for entry in self.model.entries if entry[0] > group.last]
        expected = expected[:count] if count else expected
        reply = Reply(2)
        found = self.view.read_new(reply, group_name, name, count, acknowledged, self.now_ms)
        assert found == [id for id, _ in expected]
        assert entries_of(reply.take()) == expected
        for id, _ in expected:
            group.last = id
            if not acknowledged:
                self.give(group, name, id, self.now_ms, 1)

    @precondition(lambda self: self.model.groups)
    @rule(data=st.data(), name=names, low=ids, count=st.integers(0, 3))
    def read_history(self, data: st.DataObject, name: bytes, low: StreamId, count: int) -> None:
        group_name, group = self.group(data)
        self.see(group_name, group, name)
        pending = group.consumers[name]
        expected = [id for id in sorted(pending) if id >= low]
        expected = expected[:count] if count else expected
        known = dict(self.model.entries)
        reply = Reply(2)
        found = self.view.read_history(reply, group_name, name, low, count, self.now_ms)
        assert entries_of(reply.take()) == [(id, known.get(id)) for id in expected]
        for id in expected:
            if id in known:
                pending[id] = (self.now_ms, pending[id][1] + 1)
        assert found == [(id, pending[id][1]) for id in expected if id in known]

    @precondition(lambda self: self.model.groups)
    @rule(data=st.data(), name=names, id=ids, deliveries=st.integers(0, 9))
    def claim(self, data: st.DataObject, name: bytes, id: StreamId, deliveries: int) -> None:
        group_name, group = self.group(data)
        self.see(group_name, group, name)
        self.view.claim(group_name, name, id, self.now_ms - 5, deliveries, self.now_ms)
        self.give(group, name, id, self.now_ms - 5, deliveries)

    @precondition(lambda self: self.model.groups)
    @rule(data=st.data(), some=st.lists(ids, max_size=5))
    def acknowledge(self, data: st.DataObject, some: list[StreamId]) -> None:
        group_name, group = self.group(data)
        pending = sorted(id for owned in group.consumers.values() for id in owned)
        some += data.draw(st.lists(st.sampled_from(pending), max_size=4)) if pending else []
        assert self.view.acknowledge(group_name, some) == len(set(some) & set(pending))
        for owned in group.consumers.values():
            for id in some:
                owned.pop(id, None)

    @precondition(lambda self: self.model.groups)
    @rule(data=st.data(), name=names)
    def remove_consumer(self, data: st.DataObject, name: bytes) -> None:
        group_name, group = self.group(data)
        found = group.consumers.pop(name, None)
        expected = None if found is None else len(found)
        assert self.view.remove_consumer(group_name, name) == expected

    @rule()
    def copy(self) -> None:
        """Go on with a copy; the memory of the original is counted off."""
        self.keyspace.copy(0, b"s", b"t", 0)
        self.keyspace.rename(0, b"t", b"s")

    def group(self, data: st.DataObject) -> tuple[bytes, GroupModel]:
        name = data.draw(st.sampled_from(sorted(self.model.groups)))
        return name, self.model.groups[name]

    def see(self, group_name: bytes, group: GroupModel, name: bytes) -> None:
        self.now_ms += 1
        new = self.view.see_consumer(group_name, name, self.now_ms)
        assert new == (name not in group.consumers)
        group.consumers.setdefault(name, {})

    def give(
        self, group: GroupModel, name: bytes, id: StreamId, delivered_ms: int, deliveries: int
    ) -> None:
        for owned in group.consumers.values():
            owned.pop(id, None)
        group.consumers[name][id] = (delivered_ms, deliveries)

    @invariant()
    def equal(self) -> None:
        if not hasattr(self, "view"):
            return
        view, model = self.view, self.model
        view.check()
        self.keyspace.check()
        assert view.length == len(model.entries)
        assert view.last_id == model.last
        assert view.entries_added == model.added
        assert view.max_deleted_id == model.max_deleted
        assert view.first_id == (model.entries[0][0] if model.entries else LOWEST)
        assert view.top() == (model.entries[-1][0] if model.entries else None)
        reply = Reply(2)
        view.reply_range(reply, LOWEST, HIGHEST)
        assert entries_of(reply.take()) == model.entries
        assert [name for name, *_ in view.groups()] == sorted(model.groups)
        for name, group in model.groups.items():
            assert view.group_position(name)[0] == group.last
            counts = [(consumer, count) for consumer, count, _, _ in view.consumers(name)]
            assert counts == sorted((one, len(ids)) for one, ids in group.consumers.items())
            expected = sorted(
                (id, consumer, *delivery)
                for consumer, owned in group.consumers.items()
                for id, delivery in owned.items()
            )
            assert view.pending_range(name) == expected


TestStreams = StreamMachine.TestCase
TestStreams.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
