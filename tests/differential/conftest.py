"""Fixtures of the differential tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.differential.machine import Machine, Step
from tests.support.servers import Configuration, Oracle, Server, ServerPool

Replay = Callable[..., None]


def is_72(server: Server) -> bool:
    """Whether the oracle is a Redis 7.2, with which the 7.0/7.2 differences are not allowed."""
    return "redis_version:7.2" in server.info("server")


@pytest.fixture
def machine_for(oracle_server: Oracle, server_pool: ServerPool) -> Iterator[Callable[..., Machine]]:
    """Make the machine for a configuration of ours and a RESP version."""
    made: list[Machine] = []

    def make(
        configuration: Configuration, resp: int, *, exact: bool = False, accounts: bool = False
    ) -> Machine:
        machine = Machine(
            server_pool.get(configuration),
            oracle_server,
            resp=resp,
            oracle_is_72=is_72(oracle_server),
            exact=exact,
            accounts=accounts,
        )
        made.append(machine)
        return machine

    yield make
    for machine in made:
        machine.close()


@pytest.fixture(scope="module", params=[1, 2, 4], ids=lambda shards: f"{shards}-shards")
def shards(request: pytest.FixtureRequest) -> int:
    """How many; of the module, so that tests with the same number, and servers, follow another."""
    number: int = request.param
    return number


@pytest.fixture
def replay(shards: int, machine_for: Callable[..., Machine]) -> Replay:
    """Run a sequence, on both lanes, and fail with the first difference."""

    def run(resp: int, *case: Step) -> None:
        for lane in (True, False):
            configuration = Configuration(shards=shards, native_lane=lane)
            difference = machine_for(configuration, resp).run(case)
            assert difference is None, f"{configuration}: {difference}"

    return run
