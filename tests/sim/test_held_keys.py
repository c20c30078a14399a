"""Commands over several shards beside others on the same keys, decided by a seed.

Unlike in test_simulation, the clients share their keys. What holds for all of them together is
checked: each element that was pushed is in one place in the end, or was given to one client; the
commands are so many and so tangled that waiting for one another in a circle would not be missed.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.sharers import Call, Lists, Sharer, keys_of_all_shards, live
from tests.sim.world import Options, World, seeds

OPTIONS = Options(clients=0, deaths=0, hang_ups=0)


@pytest.mark.parametrize("lane", [True, False], ids=["native", "python"])
def test_nothing_is_lost_or_doubled_by_clients_that_share_keys(lane: bool) -> None:
    for seed in seeds(20):
        options = Options(clients=0, deaths=0, hang_ups=0, native_lane=lane)
        world = World(seed, options)
        lists = Lists(world)
        sharers = [
            Sharer(world, world.random.choice(world.workers), number, lists.choose, lists.heard)
            for number in range(1, 7)
        ]
        live(world, sharers)
        assert lists.left() + lists.taken == lists.pushed, f"seed {seed}"


def test_nobody_waits_for_ever_beside_commands_on_whole_shards() -> None:
    for seed in seeds(20):
        world = World(seed, OPTIONS)
        keys = keys_of_all_shards(5)
        chance = world.random

        def choose(chance: Any = chance, keys: list[bytes] = keys) -> Call:
            several = chance.sample(keys, 3)
            calls: list[Call] = [
                ("SUNIONSTORE", *several),
                ("SMOVE", *several[:2], "m"),
                ("SADD", several[0], "m", "n"),
                ("SCARD", several[0]),
                ("DEL", *several),
                ("MSETNX", *(word for key in several for word in (b"s" + key, "v"))),
                ("FLUSHDB",),
                ("SWAPDB", 0, 1),
                ("DBSIZE",),
            ]
            return chance.choice(calls)

        def heard(call: Call, reply: bytes) -> None:
            assert not reply.startswith(b"-"), (call, reply)

        live(
            world,
            [Sharer(world, chance.choice(world.workers), n, choose, heard) for n in range(1, 9)],
        )


def test_a_shard_that_dies_leaves_nothing_held_in_the_others() -> None:
    for seed in seeds(20):
        world = World(seed, Options(clients=0, deaths=4, hang_ups=0))
        lists = Lists(world)

        def heard(call: Call, reply: bytes) -> None:
            """What a death takes is not counted here."""

        sharers = [
            Sharer(world, world.random.choice(world.workers), number, lists.choose, heard)
            for number in range(1, 7)
        ]
        live(world, sharers)
