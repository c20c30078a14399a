"""Concurrent programs of transactions and blocking commands: our server against redis-server.

Environment:
  SHARDIS_PROGRAMS       programs for each configuration
  SHARDIS_PROGRAM_STEPS  steps of a program
  SHARDIS_DIFF_SEED      the seed, a word
  SHARDIS_ORACLE         a redis-server 7.2; with 7.0 no streams are drawn, and INFO isn't compared
"""

from __future__ import annotations

import os

import pytest

from tests.differential.concurrent import Interleaver, Step, shown_program
from tests.differential.conftest import is_72
from tests.differential.interleavings import THEMES, program
from tests.support.servers import Configuration, Oracle, ServerPool, Shardis

PROGRAMS = int(os.environ.get("SHARDIS_PROGRAMS", "4"))
STEPS = int(os.environ.get("SHARDIS_PROGRAM_STEPS", "80"))
SOAK_PROGRAMS = int(os.environ.get("SHARDIS_SOAK_PROGRAMS", "200"))
SEED = os.environ.get("SHARDIS_DIFF_SEED", "1")
SHAPES = [Configuration(shards=shards, workers=workers) for shards in (1, 3) for workers in (1, 2)]


class Renewed:
    """Our server, started anew by each call; the last one is killed in the end."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.server: Shardis | None = None

    def __enter__(self) -> Renewed:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.server is not None:
            self.server.kill()

    def __call__(self) -> Shardis:
        if self.server is not None:
            self.server.kill()
        self.server = Shardis(self.configuration)
        self.server.start()
        return self.server


def run_programs(
    oracle: Oracle,
    server_pool: ServerPool,
    configuration: Configuration,
    resp: int,
    theme: str,
    count: int,
) -> None:
    is_72_ = is_72(oracle)
    pair = Interleaver(server_pool.get(configuration), oracle, resp=resp, oracle_is_72=is_72_)
    for number in range(count):
        seed = f"{SEED}:{theme}:{resp}:{number}"
        steps = program(seed, STEPS, theme, is_72=is_72_)
        found = pair.run(steps)
        if found is not None:
            with Renewed(configuration) as renew:
                small = pair.minimise(steps, found, renew)
                pair.ours = renew()
                again = pair.run(small) or found
            text = f"seed {seed!r}, {configuration}: {again}\n{shown_program(small)}"
            pytest.fail(text, pytrace=False)
    # Programs in which nobody ever waits would show little.
    assert theme == "transactions" or pair.blocked > pair.steps / 4


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("resp", [2, 3], ids=["resp2", "resp3"])
@pytest.mark.parametrize("configuration", SHAPES, ids=str)
def test_concurrent_clients_are_answered_as_by_redis(
    configuration: Configuration, resp: int, theme: str, oracle: Oracle, server_pool: ServerPool
) -> None:
    run_programs(oracle, server_pool, configuration, resp, theme, PROGRAMS)


@pytest.mark.slow
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("resp", [2, 3], ids=["resp2", "resp3"])
@pytest.mark.parametrize("configuration", SHAPES, ids=str)
def test_many_programs_are_answered_as_by_redis(
    configuration: Configuration, resp: int, theme: str, oracle: Oracle, server_pool: ServerPool
) -> None:
    run_programs(oracle, server_pool, configuration, resp, theme, SOAK_PROGRAMS)


def test_a_difference_is_found(oracle: Oracle, server_pool: ServerPool) -> None:
    """The machine compares: what is random, by design, is told from what is the same."""
    pair = Interleaver(server_pool.get(), oracle, resp=2, oracle_is_72=is_72(oracle))
    same = [Step(0, ((b"RPUSH", b"l", b"x"),)), Step(1, ((b"LPOP", b"l"), (b"PING",)))]
    assert pair.run(same) is None
    assert pair.run([*same, Step(0, ((b"INFO", b"server"),))]) is not None
