"""Clients wait for elements of lists on all shards; others push them, and processes die meanwhile.

Each element is pushed once and acknowledged. In the end it is in one list, or was given to one
client, or to one that had gone before it was told. Without deaths none is lost: what was given to
nobody is still there. Nobody waits for ever while there is something for him.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from protocol.replies import elements as items_of
from tests.sim.sharers import Call, Sharer, keys_of_all_shards, live
from tests.sim.world import Options, World, seeds
from tests.support.resp_client import parse

CALM = Options(clients=0, deaths=0, hang_ups=0, span_us=60_000)
HANGING = replace(CALM, hang_ups=25)
NARROW = replace(
    HANGING, unread_bytes_max=200, shard_bytes_max=300, transactions_max=2, batch_bytes_held_max=0
)
STOPPING = replace(NARROW, stops=12)
DEADLY = replace(STOPPING, worker_deaths=6)
MORTAL = replace(DEADLY, deaths=3)
ALONE = replace(HANGING, workers=1)


class Queues:
    """Lists that some push to, some wait for, and some move elements between."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lists = keys_of_all_shards(4)
        self.pushed: set[bytes] = set()
        self.sent: set[bytes] = set()
        self.given: Counter[bytes] = Counter()
        self.number = 0

    def push(self) -> Call:
        chance = self.world.random
        self.number += 1
        values = [b"%d-%d" % (self.number, n) for n in range(chance.randint(1, 3))]
        self.sent.update(values)
        side = chance.choice(["LPUSH", "RPUSH"])
        return (side, chance.choice(self.lists), *values)

    def wait(self) -> Call:
        chance = self.world.random
        keys = chance.sample(self.lists, chance.randint(1, 3))
        timeout = chance.choice(["0.5", "0.01", "2", "0.001"])
        first, second = chance.sample(self.lists, 2)
        calls: list[Call] = [
            ("BLPOP", *keys, timeout),
            ("BRPOP", *keys, timeout),
            ("BLMPOP", timeout, len(keys), *keys, "LEFT", "COUNT", 2),
            ("BLMOVE", first, second, "LEFT", "RIGHT", timeout),
            ("BRPOPLPUSH", first, second, timeout),
            ("LLEN", first),
        ]
        return chance.choice(calls)

    def heard(self, call: Call, reply: bytes) -> None:
        if reply.startswith(b"-LOADING") and self.world.deaths:
            return
        assert not reply.startswith(b"-"), (call, reply)
        if call[0] in ("LPUSH", "RPUSH"):
            self.pushed.update(value for value in call[2:] if isinstance(value, bytes))
        elif call[0] in ("BLPOP", "BRPOP", "BLMPOP") and items_of(reply):
            found = parse(reply).value[1]
            values = found.value if isinstance(found.value, list) else [found]
            self.given.update(value.value for value in values)

    def check(self, waiting: list[Sharer]) -> None:
        there: Counter[bytes] = Counter()
        for shard in self.world.shards:
            shard.keyspace.check()
            shard.executor.serving.blocking.check()
            assert shard.executor.serving.blocking.waiters == 0, "somebody waits for ever"
            shard.executor.runner.context.database = 0
            for key in shard.keyspace.keys(0):
                there.update(item.value for item in parse(shard.run(["LRANGE", key, 0, -1])).value)
        for worker in self.world.workers:
            assert not worker.host.waits
        every = there + self.given
        assert not every or max(every.values()) == 1, "an element is in two places"
        assert set(every) <= self.sent
        if self.world.deaths:
            return
        # What a client was given that had gone, or whose worker had, was taken for it.
        lost = self.pushed - set(every)
        unanswered = sum(1 for sharer in waiting for call in sharer.unknown if call[0] != "LLEN")
        assert len(lost) <= 2 * unanswered + self.world.hang_ups * 2


def world_of(seed: int, options: Options) -> World:
    world = World(seed, replace(options, worker_deaths=0, deaths=0, stops=0, hang_ups=0))
    queues = Queues(world)
    world.hang_ups = 0

    def hang_up() -> None:
        world.hang_ups += 1
        world.random.choice(waiting).hang_up()

    pushing = [
        Sharer(world, world.random.choice(world.workers), number, queues.push, queues.heard)
        for number in range(1, 4)
    ]
    waiting = [
        Sharer(world, world.random.choice(world.workers), number, queues.wait, queues.heard)
        for number in range(4, 12)
    ]
    for count, event in (
        (options.worker_deaths, world.kill_worker),
        (options.deaths, world.kill_shard),
        (options.stops, world.stop_one),
        (options.hang_ups, hang_up),
    ):
        for _ in range(count):
            world.clock.after(world.random.randrange(options.span_us), event)
    live(world, [*pushing, *waiting])
    queues.check(waiting)
    return world


@pytest.mark.parametrize(
    ("options", "count"),
    [
        pytest.param(CALM, 40, id="calm"),
        pytest.param(ALONE, 40, id="alone"),
        pytest.param(HANGING, 40, id="hanging"),
        pytest.param(NARROW, 40, id="narrow"),
        pytest.param(STOPPING, 40, id="stopping"),
        pytest.param(DEADLY, 40, id="deadly"),
        pytest.param(MORTAL, 40, id="mortal"),
    ],
)
def test_each_element_goes_to_one_client(options: Options, count: int) -> None:
    for seed in seeds(count):
        try:
            world_of(seed, options)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error
