"""Fixtures of the differential tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.differential.machine import ORACLE_ENDS, Machine, Step
from tests.support.servers import Configuration, Oracle, Server, ServerPool

Replay = Callable[..., None]


def is_72(server: Server) -> bool:
    """Whether the oracle is a Redis 7.2, with which the 7.0/7.2 differences are not allowed."""
    return "redis_version:7.2" in server.info("server")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What a crash of redis-server left out has not been compared, which must not go unsaid."""
    for case in ORACLE_ENDS:
        terminalreporter.write_line(
            f"redis-server crashed or erred in the case {case!r}", yellow=True
        )


@pytest.fixture
def machine_for(oracle_server: Oracle, server_pool: ServerPool) -> Iterator[Callable[..., Machine]]:
    """Make the machine for a configuration of ours and a RESP version."""
    made: list[Machine] = []

    def make(configuration: Configuration, resp: int, *, exact: bool = False) -> Machine:
        machine = Machine(
            server_pool.get(configuration),
            oracle_server,
            resp=resp,
            oracle_is_72=is_72(oracle_server),
            exact=exact,
        )
        made.append(machine)
        return machine

    yield make
    for machine in made:
        machine.close()


@pytest.fixture(params=[1, 2, 4], ids=lambda shards: f"{shards}-shards")
def replay(request: pytest.FixtureRequest, machine_for: Callable[..., Machine]) -> Replay:
    """Run a sequence, on both lanes, and fail with the first difference."""

    def run(resp: int, *case: Step) -> None:
        for lane in (True, False):
            configuration = Configuration(shards=request.param, native_lane=lane)
            difference = machine_for(configuration, resp).run(case)
            assert difference is None, f"{configuration}: {difference}"

    return run
