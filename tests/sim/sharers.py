"""Clients of a simulation that share their keys, and what holds for all of them together."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

from protocol.replies import replies
from tests.sim.world import SHARDS, SimWorker, World
from tests.support.resp_client import encode, parse
from tests.support.slots import SLOTS, slot

Call = tuple[bytes | str | int, ...]


def keys_of_all_shards(count: int) -> list[bytes]:
    found: list[bytes] = []
    for number in itertools.count():
        if slot(b"k%d" % number) * SHARDS // SLOTS == len(found) % SHARDS:
            found.append(b"k%d" % number)
        if len(found) == count:
            break
    return found


class Sharer:
    """One connection and its driver: pipelines of what `choose` gives, heard by `heard`."""

    def __init__(
        self,
        world: World,
        worker: SimWorker,
        number: int,
        choose: Callable[[], Call],
        heard: Callable[[Call, bytes], None],
    ) -> None:
        self.world = world
        self.worker = worker
        self.choose = choose
        self.heard = heard
        self.quota = 40
        self.pipeline_max = 6
        self.waiting: list[Call] = []
        self.pushes: dict[int, int] = {}  # shard -> the last number that came from it
        self.unknown: list[Call] = []  # calls that were never answered
        self.session: Any = worker.host.dispatcher.open_session(number)
        self.session.driver = self
        world.clock.after(world.random.randrange(100), self.go)

    def go(self) -> None:
        if not self.worker.alive:
            successor = self.world.workers[self.worker.index]
            if not all(successor.host.epochs):  # it does not accept anybody yet
                self.world.clock.after(500, self.go)
                return
            self.reconnect()
        if self.session.closed:
            self.reconnect()
        if self.quota <= 0 or self.session.closed or self.waiting:
            return
        self.waiting = self.pipeline()
        self.quota -= len(self.waiting)
        self.session.push(b"".join(self.encode(call) for call in self.waiting))
        self.worker.wake()

    def pipeline(self) -> list[Call]:
        """What is sent in one piece."""
        count = min(self.quota, self.world.random.randint(1, self.pipeline_max))
        return [self.choose() for _ in range(count)]

    def encode(self, call: Call) -> bytes:
        return encode(*call)

    def lost(self) -> None:
        """The worker has died, with what was unanswered: whether that happened, nobody knows."""
        self.unknown += self.waiting
        self.waiting = []
        self.world.clock.after(self.world.random.randrange(200), self.go)

    def reconnect(self) -> None:
        self.worker = self.world.workers[self.worker.index]
        self.session = self.worker.host.dispatcher.open_session(self.session.id)
        self.session.driver = self

    def flush_session(self, session: Any) -> None:
        for reply in replies(session.take_output()):
            if reply.startswith(b">"):
                self.note_push(*(int(item.value) for item in parse(reply).value[1:]))
                continue
            self.heard(self.waiting.pop(0), reply)
        if not self.waiting:
            self.world.clock.after(self.world.random.randrange(200), self.go)

    def note_push(self, shard: int, number: int) -> None:
        """What one shard pushes comes in order, and never inside of a reply."""
        assert number > self.pushes.get(shard, 0), "a push was overtaken"
        self.pushes[shard] = number
        self.world.pushes_heard += 1

    def hang_up(self) -> None:
        """Close the connection, whatever is under way, and come back."""
        if self.worker.alive and not self.session.closed:
            self.session.closed_by_driver()
            self.worker.wake()
            self.lost()

    def close_session(self, session: Any) -> None:
        session.closed_by_driver()
        self.unknown += self.waiting
        self.waiting = []
        self.world.clock.after(self.world.random.randrange(200), self.go)


def live(world: World, sharers: list[Sharer]) -> None:
    try:
        while world.clock.step():
            pass
    except BaseException:
        world.abandon()
        raise
    for sharer in sharers:
        assert not sharer.waiting, "a client waits for ever"
    for shard in world.shards:
        if shard.alive:
            assert shard.executor.locks.tickets == 0, "something is held for ever"
            assert not shard.executor.transactions
            assert shard.executor.unfinished == 0
    for worker in world.workers:
        assert not worker.host.tasks
        worker.host.coordinator.check()
        assert worker.host.coordinator.open == 0


class Lists:
    """What was pushed, and what was given to clients."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.keys = keys_of_all_shards(4)
        self.pushed: Counter[bytes] = Counter()
        self.taken: Counter[bytes] = Counter()
        self.number = 0

    def choose(self) -> Call:
        chance = self.world.random
        source, target = chance.sample(self.keys, 2)
        self.number += 1
        calls: list[Call] = [
            ("RPUSH", source, self.number),
            ("LPUSH", source, self.number),
            ("LMOVE", source, target, "LEFT", "RIGHT"),
            ("RPOPLPUSH", source, target),
            ("RENAMENX", source, target),
            ("LMPOP", 4, *chance.sample(self.keys, 4), "LEFT", "COUNT", 2),
            ("LPOP", source),
            ("LLEN", source),
            ("SORT", source, "BY", "nosort*", "STORE", b"copy of " + target),
            ("COPY", source, b"copy of " + target, "REPLACE"),
        ]
        return chance.choice(calls)

    def heard(self, call: Call, reply: bytes) -> None:
        if call[0] in ("RPUSH", "LPUSH"):
            self.pushed[str(call[2]).encode()] += 1
        elif call[0] == "LPOP" and not reply.startswith(b"$-1"):
            self.taken[parse(reply).value] += 1
        elif call[0] == "LMPOP" and not reply.startswith(b"*-1"):
            self.taken.update(item.value for item in parse(reply).value[1].value)
        assert not reply.startswith(b"-") or reply == b"-ERR no such key\r\n", (call, reply)

    def left(self) -> Counter[bytes]:
        found: Counter[bytes] = Counter()

        def note(call: Call, reply: bytes) -> None:
            found.update(item.value for item in parse(reply).value)

        calls: list[Call] = [("LRANGE", key, 0, -1) for key in self.keys]
        reader = Sharer(self.world, self.world.workers[0], 99, lambda: calls.pop(), note)
        self.world.random.randint = lambda *_: len(self.keys)  # type: ignore[method-assign]
        reader.quota = len(self.keys)
        live(self.world, [reader])
        return found
