"""Whole servers in one process, hundreds of times, each time decided by a seed.

Every reply is checked against an exact model while the network delays and reorders, shards die and
clients hang up. A failure prints its seed: `SIM_SEED=<seed> pytest tests/sim` repeats that run.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sim.faults import (
    DeafeningNetwork,
    ForgingNetwork,
    HauntedNetwork,
    LosingNetwork,
    MisplacingNetwork,
    RepeatingNetwork,
    SwappingNetwork,
    world_with,
)
from tests.sim.network import Network
from tests.sim.world import Options, Violation, World, seeds

CALM = Options(deaths=0, hang_ups=0)
ROUGH = Options(deaths=5, hang_ups=3)
PYTHON_LANE = Options(native_lane=False)
NARROW = Options(unread_bytes_max=400, clients=10)
"""Shards send little ahead of what the workers have read: runs are cut, and messages held."""


@pytest.mark.parametrize(
    ("options", "count"),
    [
        pytest.param(CALM, 30, id="calm"),
        pytest.param(Options(), 120, id="usual"),
        pytest.param(ROUGH, 60, id="rough"),
        pytest.param(PYTHON_LANE, 25, id="python lane"),
        pytest.param(NARROW, 60, id="narrow"),
        pytest.param(replace(NARROW, unread_bytes_max=16, deaths=5), 40, id="narrowest"),
    ],
)
def test_every_client_gets_what_the_model_says(options: Options, count: int) -> None:
    for seed in seeds(count):
        World(seed, options).run()


@pytest.mark.slow
@pytest.mark.parametrize("options", [Options(), ROUGH, Options(clients=20, commands=300)])
def test_every_client_gets_what_the_model_says_for_long(options: Options) -> None:
    for seed in range(1000, 3000):
        World(seed, options).run()


def test_the_runs_reach_what_they_are_for() -> None:
    """Otherwise they would prove little: deaths, disconnects, LOADING, large values all occur."""
    trace = "\n".join(line for seed in range(20) for line in World(seed, ROUGH).run().trace)
    for sign in ("dies", "lives again", "is disconnected", "hangs up", "-LOADING", "...", "+OK"):
        assert sign in trace, sign


def test_a_seed_decides_the_whole_run() -> None:
    first, second = (World(7, ROUGH).run() for _ in range(2))
    assert (first.lines, first.digest) == (second.lines, second.digest)
    assert World(8, ROUGH).run().digest != first.digest


def detected(network: type[Network], options: Options, count: int = 30) -> tuple[int, int]:
    """In how many runs a fault was planted, and in how many of these it was noticed."""
    planted = found = 0
    for seed in range(count):
        world = world_with(network)(seed, options)
        failed = False
        try:
            world.run()
        except AssertionError:  # a Violation, or an assertion of the server itself
            failed = True
        planted += world.network.faults > 0
        found += failed and world.network.faults > 0
        assert not failed or world.network.faults, "failed without a fault"
    return planted, found


@pytest.mark.parametrize("network", [LosingNetwork, RepeatingNetwork, MisplacingNetwork])
def test_a_faulty_network_is_noticed(network: type[Network]) -> None:
    planted, found = detected(network, CALM)
    assert planted >= 20
    assert found >= planted * 0.8


def test_a_shard_waits_for_its_replies_to_be_read() -> None:
    planted, found = detected(DeafeningNetwork, replace(NARROW, deaths=0, hang_ups=0), 15)
    assert planted == found == 15


def test_a_network_that_swaps_messages_is_noticed() -> None:
    """Few keys, as two swapped messages do no harm unless they concern the same one; and batches
    that do not wait for one another, so that two are under way at once.
    """
    options = Options(deaths=0, hang_ups=0, tags=2, batch_bytes_held_max=0)
    planted, found = detected(SwappingNetwork, options)
    assert planted >= 20
    assert found >= planted * 0.2


def test_the_epoch_keeps_old_messages_from_a_new_incarnation() -> None:
    """The links do so already; this is what the epoch in each message is for."""
    planted, found = detected(HauntedNetwork, ROUGH, 20)
    assert planted >= 10
    assert found == 0


def test_an_old_message_executed_by_a_new_incarnation_is_noticed() -> None:
    planted, found = detected(ForgingNetwork, ROUGH, 20)
    assert planted >= 10
    assert found >= planted * 0.8


def test_a_failure_names_its_seed_and_shows_the_trace() -> None:
    world = world_with(LosingNetwork)(3, CALM)
    with pytest.raises(
        Violation, match=r"(?s)seed 3, Options\(.*the trace ends:\n.*client"
    ) as caught:
        world.run()
    assert "sends" in str(caught.value)
