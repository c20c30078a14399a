"""Workers die between the hops of their transactions: each is whole or absent afterwards.

Elements are pushed and acknowledged first; then clients only move them. However many workers die,
and at whatever hop, each element is in one place in the end; where shards die, too, none is in two.
Processes stop and go on, clients hang up. Limits are so small that every queue is full now and
then: run against the code before transactions, this found that a value over a client's limit, or
full queues, held keys for ever.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.sim.faults import BabblingNetwork
from tests.sim.sharers import Call, Sharer, keys_of_all_shards, live
from tests.sim.world import Options, World, seeds
from tests.support.resp_client import parse

DEADLY = Options(clients=0, deaths=0, hang_ups=0, worker_deaths=6, span_us=40_000)
NARROW = replace(
    DEADLY, unread_bytes_max=200, shard_bytes_max=300, transactions_max=2, batch_bytes_held_max=0
)
TIGHT = replace(NARROW, worker_deaths=0, bulk_bytes_max=90_010)
"""A client may send the large value; its parcel is larger than what a client may send."""
STOPPING = replace(NARROW, worker_deaths=3, stops=12, hang_ups=6, pushes=60)
MORTAL = replace(STOPPING, deaths=3)
ELEMENTS = 30


class Rings:
    """Elements that go round between lists and sets of all shards, and values that are renamed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lists = keys_of_all_shards(4)
        self.sets = [b"set of {" + key + b"}" for key in self.lists]
        self.values = [b"value of {" + key + b"}" for key in self.lists]
        self.calls: list[Call] = [
            *(("RPUSH", self.lists[n % 4], n) for n in range(ELEMENTS)),
            *(("SADD", self.sets[n % 4], n) for n in range(ELEMENTS)),
            ("SET", self.values[0], "one"),
            ("SET", self.values[1], "two" * 30_000),
        ]
        self.refused = 0

    def fill(self) -> None:
        calls = list(self.calls)
        loader = Sharer(self.world, self.world.workers[0], 90, lambda: calls.pop(), self.heard)
        loader.quota = len(calls)
        while self.world.clock.step() and (loader.quota or loader.waiting):
            pass
        assert not loader.unknown

    def choose(self) -> Call:
        chance = self.world.random
        first, second = chance.sample(range(4), 2)
        calls: list[Call] = [
            ("LMOVE", self.lists[first], self.lists[second], "LEFT", "RIGHT"),
            ("RPOPLPUSH", self.lists[first], self.lists[second]),
            ("SMOVE", self.sets[first], self.sets[second], chance.randrange(ELEMENTS)),
            ("RENAMENX", self.values[first], self.values[second]),
            ("LLEN", self.lists[first]),
            ("SUNION", *self.sets),
            ("EXISTS", *self.values),
        ]
        return chance.choice(calls)

    def heard(self, call: Call, reply: bytes) -> None:
        if call[0] == "SUNION":
            found = parse(reply).value
            # Moves are whole for whoever names all the keys: nothing is missing in between.
            assert len(found) == ELEMENTS or self.world.deaths, (call, len(found))
        if reply.startswith(b"-LOADING") and self.world.deaths:
            return
        assert not reply.startswith(b"-") or reply == b"-ERR no such key\r\n", (call, reply)

    def check(self) -> None:
        elements: Counter[bytes] = Counter()
        members: Counter[bytes] = Counter()
        values = []
        for shard in self.world.shards:
            shard.keyspace.check()
            context = shard.executor.runner.context
            context.database = 0
            for key in shard.keyspace.keys(0):
                reply = shard.run(["LRANGE", key, 0, -1] if key in self.lists else ["TYPE", key])
                if key in self.lists:
                    elements.update(item.value for item in parse(reply).value)
                elif key in self.sets:
                    found = parse(shard.run(["SMEMBERS", key])).value
                    members.update(item.value for item in found)
                else:
                    values.append(parse(shard.run(["GET", key])).value)
        expected = Counter({b"%d" % n: 1 for n in range(ELEMENTS)})
        if self.world.deaths:
            assert elements <= expected, "an element is in two places"
            assert members <= expected, "a member is in two places"
            return
        assert elements == expected
        assert members == expected
        assert sorted(map(len, values)) == [3, 90_000]


def world_of(seed: int, options: Options, *, whole: bool = True) -> World:
    world = World(seed, replace(options, worker_deaths=0, deaths=0, stops=0, hang_ups=0))
    rings = Rings(world)
    rings.fill()
    if isinstance(world.network, BabblingNetwork):
        world.network.babbles = True
    sharers = [
        Sharer(world, world.random.choice(world.workers), number, rings.choose, rings.heard)
        for number in range(1, 9)
    ]
    for count, event in (
        (options.worker_deaths, world.kill_worker),
        (options.deaths, world.kill_shard),
        (options.stops, world.stop_one),
        (options.pushes, world.push_one),
        (options.hang_ups, lambda: world.random.choice(sharers).hang_up()),
    ):
        for _ in range(count):
            world.clock.after(world.random.randrange(options.span_us), event)
    live(world, sharers)
    if whole:
        rings.check()
    return world


@pytest.mark.parametrize(
    ("options", "count"),
    [
        pytest.param(replace(DEADLY, worker_deaths=0), 20, id="calm"),
        pytest.param(DEADLY, 40, id="deadly"),
        pytest.param(NARROW, 40, id="narrow"),
        pytest.param(TIGHT, 15, id="tight"),
        pytest.param(STOPPING, 30, id="stopping"),
        pytest.param(MORTAL, 30, id="mortal"),
    ],
)
def test_a_transaction_is_whole_or_absent(options: Options, count: int) -> None:
    for seed in seeds(count):
        try:
            world_of(seed, options)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error


def test_deaths_come_between_the_hops() -> None:
    """Else the test above shows nothing: transactions were dropped, and others completed."""
    worlds = [world_of(seed, DEADLY) for seed in range(40)]
    assert sum(world.workers_lost for world in worlds) == 40 * DEADLY.worker_deaths
    completed = sum(world.completed for world in worlds)
    settled = sum(world.settled for world in worlds)
    assert completed >= 5
    assert settled - completed >= 5


class BabblingWorld(World):
    network_type = BabblingNetwork
    babbling = True


def test_a_shard_that_babbles_is_left_and_nothing_stays_locked_there(monkeypatch: Any) -> None:
    monkeypatch.setattr("tests.sim.test_transactions.World", BabblingWorld)
    monkeypatch.setattr(Rings, "heard", lambda *_: None)
    faults = 0
    for seed in seeds(25):
        world = world_of(seed, replace(DEADLY, worker_deaths=0), whole=False)
        faults += world.network.faults
    assert faults > 10


def test_pushes_come_between_the_replies() -> None:
    worlds = [world_of(seed, STOPPING) for seed in range(10)]
    assert sum(world.pushes_heard for world in worlds) > 100


@pytest.mark.slow
def test_a_thousand_seeds() -> None:
    for seed in range(1000):
        for options in (DEADLY, NARROW, STOPPING, MORTAL):
            try:
                world_of(seed, options)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, {options}") from error


def test_a_verdict_that_forgets_who_committed_is_noticed(monkeypatch: Any) -> None:
    """Halves of transactions stay when all is dropped that a dead worker has left."""

    def drop_all(reports: list[dict[int, bool]]) -> tuple[list[int], list[int]]:
        return [], sorted({id for report in reports for id in report})

    monkeypatch.setattr("tests.sim.world.verdict", drop_all)
    found = 0
    for seed in range(60):
        try:
            world_of(seed, DEADLY)
        except AssertionError:
            found += 1
    assert found >= 3
