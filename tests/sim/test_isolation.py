"""Nobody sees a part of a command over several shards without the rest, whoever dies meanwhile.

Writers give all keys one value, or delete them all, by one command; others look at all of them by
one command. What they see must be one value, or none. A shard that has died has lost its keys, so
then a key may be missing; two values at once are never right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from protocol.slots import key_slot
from tests.sim.faults import UnlockingNetwork
from tests.sim.sharers import Call, Sharer, keys_of_all_shards, live
from tests.sim.test_transactions import DEADLY, MORTAL, NARROW, STOPPING
from tests.sim.world import SHARDS, Options, World, seeds
from tests.support.resp_client import parse

CALM = Options(clients=0, deaths=0, hang_ups=0)
ONE_WORKER = replace(CALM, workers=1)
KEYS = 6
LARGE = 40_000  # bytes of a value: two of them go by the bulk link


class Torn(AssertionError):
    """Somebody has seen half a command."""


class Row:
    """Keys of all shards that only ever change together, and two databases to swap."""

    def __init__(self, world: World, large: bool = False) -> None:
        self.world = world
        self.keys = keys_of_all_shards(KEYS)
        self.large = large
        self.number = 0
        self.looked = 0

    def choose(self) -> Call:
        chance = self.world.random
        self.number += 1
        value = str(self.number)
        if self.large and chance.random() < 0.3:
            value = value.ljust(LARGE, "x")
        whole = (word for key in self.shuffled() for word in (key, value))
        writes: list[Call] = [("MSET", *whole)] * 5
        writes += [("DEL", *self.shuffled()), ("UNLINK", *self.shuffled())]
        reads: list[Call] = [("MGET", *self.shuffled())] * 4
        reads += [("EXISTS", *self.shuffled()), ("TOUCH", *self.shuffled()), ("GET", self.keys[0])]
        return chance.choice(chance.choice((writes, reads, reads)))

    def shuffled(self) -> list[bytes]:
        return self.world.random.sample(self.keys, KEYS)

    def heard(self, call: Call, reply: bytes) -> None:
        if reply.startswith(b"-LOADING") and self.world.deaths:
            return
        if call[0] in ("MULTI", "EXEC") or reply == b"+QUEUED\r\n":
            self.heard_transaction(call, reply)
            return
        assert not reply.startswith(b"-"), (call, reply)
        if call[0] == "MSET":
            assert reply == b"+OK\r\n"
        elif call[0] in ("MGET", "KEYS"):
            self.looked += 1
            self.check([item.value for item in parse(reply).value])
        elif call[0] != "GET":
            count = int(reply[1:-2])
            self.looked += 1
            if count not in (0, KEYS) and not self.world.deaths:
                raise Torn(f"{call[0]} finds {count} of {KEYS} keys")

    def heard_transaction(self, call: Call, reply: bytes) -> None:
        """Only what the tests with MULTI hear."""
        raise AssertionError(call)

    def check(self, values: list[bytes | None]) -> None:
        if len({*values} - {None}) > 1 or (None in values and any(values) and self.intact()):
            raise Torn(f"{[value and value[:9] for value in values]}")

    def intact(self) -> bool:
        return not self.world.deaths


class Whole(Row):
    """The same beside commands on whole shards."""

    def choose(self) -> Call:
        chance = self.world.random
        if chance.random() < 0.5:
            return super().choose()
        calls: list[Call] = [("DBSIZE",), ("KEYS", "*"), ("FLUSHDB",), ("FLUSHALL",)]
        return chance.choice(calls)

    def heard(self, call: Call, reply: bytes) -> None:
        if call[0] == "KEYS":
            self.looked += 1
            found = len(parse(reply).value)
            if found not in (0, KEYS) and self.intact():
                raise Torn(f"KEYS finds {found}")
        elif call[0] not in ("FLUSHDB", "FLUSHALL"):
            super().heard(call, reply)


class Queues(Row):
    """The same in MULTI and EXEC: each key by a command of its own."""

    def chain(self) -> list[Call]:
        """Commands that one client sends in one piece."""
        chance = self.world.random
        self.number += 1
        if chance.random() < 0.2:
            return [("MGET", *self.shuffled())]
        kinds: list[list[Call]] = [
            [("SET", key, self.number) for key in self.shuffled()],
            [("SETEX", key, 1000, self.number) for key in self.shuffled()],
            [("GET", key) for key in self.keys],
            [("GET", key) for key in self.keys],
            [("DEL", key) for key in self.shuffled()],
            [("MGET", *self.keys), ("INCR", b"n" + self.keys[0]), ("MGET", *self.keys)],
        ]
        calls: list[Call] = chance.choice(kinds)
        return [("MULTI",), *calls, ("EXEC", len(calls), str(calls[0][0]))]

    def heard_transaction(self, call: Call, reply: bytes) -> None:
        if call[0] != "EXEC":
            assert reply in (b"+OK\r\n", b"+QUEUED\r\n")
            return
        if reply.startswith(b"-EXECABORT") and self.world.deaths:
            return
        found = parse(reply).value
        assert len(found) == call[1]
        if call[2] == "GET":
            self.looked += 1
            self.check([item.value for item in found])
        elif call[2] == "DEL" and self.intact():
            assert sum(int(item.value) for item in found) in (0, KEYS)
        elif call[2] == "MGET" and self.intact():
            assert found[0].value == found[2].value


class Queuer(Sharer):
    """A client that sends what belongs together in one piece."""

    queues: Queues

    def pipeline(self) -> list[Call]:
        chains = [self.queues.chain() for _ in range(self.world.random.randint(1, 3))]
        return [call for chain in chains for call in chain]

    def encode(self, call: Call) -> bytes:
        return super().encode(call[:1] if call[0] == "EXEC" else call)


class Swapped(Row):
    """Two databases whose keys have two values, swapped all the time: each is whole."""

    def __init__(self, world: World, large: bool = False) -> None:
        super().__init__(world)
        self.filled = False

    def choose(self) -> Call:
        if not self.filled:
            self.filled = True
            return ("MSET", *(word for key in self.keys for word in (key, "1")))
        calls: list[Call] = [("SWAPDB", 0, 1), ("MGET", *self.shuffled()), ("DBSIZE",)]
        return self.world.random.choice(calls)

    def heard(self, call: Call, reply: bytes) -> None:
        if call[0] != "SWAPDB":
            super().heard(call, reply)


def run(seed: int, options: Options, kind: Callable[..., Row] = Row, **how: Any) -> Row:
    world = World(seed, replace(options, worker_deaths=0, deaths=0, stops=0, hang_ups=0))
    row = kind(world, **how)
    sharer = Queuer if isinstance(row, Queues) else Sharer
    sharers = [
        sharer(world, world.random.choice(world.workers), number, row.choose, row.heard)
        for number in range(1, 9)
    ]
    for one in sharers:
        if isinstance(one, Queuer) and isinstance(row, Queues):
            one.queues = row
            one.quota = 200
    for count, event in (
        (options.worker_deaths, world.kill_worker),
        (options.deaths, world.kill_shard),
        (options.stops, world.stop_one),
        (options.hang_ups, lambda: world.random.choice(sharers).hang_up()),
    ):
        for _ in range(count):
            world.clock.after(world.random.randrange(options.span_us), event)
    live(world, sharers)
    values: list[bytes | None] = []
    for key in row.keys:
        shard = world.shards[key_slot(key) * SHARDS // 16384]
        values.append(parse(shard.run(["GET", key])).value)
    row.check(values)
    return row


@pytest.mark.parametrize("kind", [Row, Whole, Swapped, Queues])
@pytest.mark.parametrize(
    ("options", "count"),
    [
        pytest.param(CALM, 15, id="calm"),
        pytest.param(ONE_WORKER, 15, id="one worker"),
        pytest.param(DEADLY, 20, id="deadly"),
        pytest.param(replace(DEADLY, workers=1), 20, id="deadly one worker"),
        pytest.param(NARROW, 15, id="narrow"),
        pytest.param(STOPPING, 15, id="stopping"),
        pytest.param(replace(STOPPING, workers=1), 15, id="stopping one worker"),
        pytest.param(MORTAL, 20, id="mortal"),
        pytest.param(replace(MORTAL, workers=1), 20, id="mortal one worker"),
    ],
)
def test_nobody_sees_half_a_command(options: Options, count: int, kind: type[Row]) -> None:
    looked = 0
    for seed in seeds(count):
        try:
            looked += run(seed, options, kind).looked
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error
    assert looked > count


@pytest.mark.parametrize("options", [CALM, replace(MORTAL, bulk_bytes_max=100_000)])
def test_nor_of_one_with_large_values(options: Options) -> None:
    for seed in seeds(10):
        run(seed, options, large=True)


class Ladder:
    """One client sets key after key, each when it has heard of the one before; others look at all.

    What they see are its last steps, without a gap.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.keys = keys_of_all_shards(KEYS)
        self.step = 0
        self.looked = 0

    def climb(self) -> Call:
        self.step += 1
        return ("SET", self.keys[self.step % KEYS], self.step)

    def choose(self) -> Call:
        busy = self.world.random.random() < 0.3
        return ("INCR", b"n" + self.keys[0]) if busy else ("MGET", *self.keys)

    def heard(self, call: Call, reply: bytes) -> None:
        if call[0] == "MGET":
            self.looked += 1
            steps = [int(item.value or 0) for item in parse(reply).value]
            newest = max(steps)
            expected = {step for step in range(newest, newest - KEYS, -1) if step > 0}
            if {*steps} - {0} != expected:
                raise Torn(f"{steps}")


@pytest.mark.parametrize("options", [CALM, ONE_WORKER, replace(ONE_WORKER, unread_bytes_max=200)])
def test_what_one_client_does_is_seen_in_its_order(options: Options) -> None:
    looked = 0
    for seed in seeds(20):
        world = World(seed, options)
        ladder = Ladder(world)
        climber = Sharer(world, world.workers[0], 90, ladder.climb, ladder.heard)
        climber.pipeline_max = 1
        others = [
            Sharer(world, world.random.choice(world.workers), number, ladder.choose, ladder.heard)
            for number in range(1, 6)
        ]
        live(world, [climber, *others])
        looked += ladder.looked
    assert looked > 1000


class UnlockedWorld(World):
    network_type = UnlockingNetwork


def test_without_locks_halves_are_seen(monkeypatch: Any) -> None:
    """Else the tests above show nothing."""
    monkeypatch.setattr("tests.sim.test_isolation.World", UnlockedWorld)
    torn = 0
    for seed in seeds(10):
        try:
            run(seed, CALM)
        except Torn:
            torn += 1
    assert torn > 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Row, Whole, Swapped, Queues])
def test_a_thousand_seeds(kind: type[Row]) -> None:
    for seed in range(1000):
        for options in (DEADLY, NARROW, STOPPING, MORTAL, replace(MORTAL, workers=1)):
            try:
                run(seed, options, kind)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, {options}") from error
