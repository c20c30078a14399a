"""Our server against redis-server: random commands, the same bytes to both, equal replies.

Environment:
  SHARDIS_DIFF_COMMANDS  commands for each of the 12 cells of the matrix (make soak: many more)
  SHARDIS_DIFF_SEED      the seed, a word; the same seed sends the same bytes
  SHARDIS_ORACLE         a redis-server 7.2, with which fewer differences are allowed

See normalise.py for the differences that are allowed, and machine.py for how it works.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.differential.machine import CASE_COMMANDS, Machine, minimise, reproduction, steps
from tests.support.servers import Configuration

COMMANDS = int(os.environ.get("SHARDIS_DIFF_COMMANDS", "8000"))
SEED = os.environ.get("SHARDIS_DIFF_SEED", "1")
CONFIGURATIONS = [
    Configuration(shards=shards, native_lane=lane) for shards in (1, 2, 4) for lane in (True, False)
]


@pytest.mark.parametrize("resp", [2, 3], ids=["resp2", "resp3"])
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_replies_equal_those_of_redis(
    configuration: Configuration, resp: int, machine_for: Callable[..., Machine]
) -> None:
    machine = machine_for(configuration, resp)
    for number in range(max(1, COMMANDS // CASE_COMMANDS)):
        seed = f"{SEED}:{configuration}:{resp}:{number}"
        case = steps(seed)
        found = machine.run(case)
        if found is not None:
            small = minimise(machine, case, found)
            again = machine.run(small) or found
            pytest.fail(reproduction(seed, resp, small, again), pytrace=False)
