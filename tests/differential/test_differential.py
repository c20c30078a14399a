"""Our server against redis-server: random commands, the same bytes to both, equal replies.

All families together run with every test. `make soak` gives each family 200,000 commands of its
own, over one shard and over three, in RESP2 and RESP3: about two minutes each, half an hour for
all. `make soak TESTS=tests/differential ARGS="-k lists -s"` is one of them, with its figures.

Environment:
  SHARDIS_DIFF_COMMANDS  commands for each of the 12 cells of the matrix of all families
  SHARDIS_SOAK_COMMANDS  commands of each family in the soak
  SHARDIS_DIFF_SEED      the seed, a word; the same seed sends the same bytes
  SHARDIS_ORACLE         a redis-server 7.2, with which fewer differences are allowed

See normalise.py for the differences that are allowed, and machine.py for how it works.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.differential.grammar import Family
from tests.differential.machine import (
    CASE_COMMANDS,
    FAMILIES,
    Machine,
    OracleEndedError,
    count_of_families,
    minimise,
    reproduction,
    steps,
)
from tests.support.notes import ORACLE_ENDS
from tests.support.servers import Configuration

# At least 5,000 of each family that is about a type.
COMMANDS = int(os.environ.get("SHARDIS_DIFF_COMMANDS", "5250"))
SOAK_COMMANDS = int(os.environ.get("SHARDIS_SOAK_COMMANDS", "200000"))
ORACLE_ENDS_MAX = 3  # crashes of redis-server that a run passes over
SEED = os.environ.get("SHARDIS_DIFF_SEED", "1")
LANES = (True, False)
# A command whose accounts are compared costs an INFO of each server.
ACCOUNTED_COMMANDS = COMMANDS // 2
CONFIGURATIONS = [
    Configuration(shards=shards, native_lane=lane) for shards in (1, 2, 4) for lane in LANES
]
ACCOUNTED = [Configuration(shards=shards, native_lane=lane) for shards in (1, 3) for lane in LANES]


def run_case(
    machine: Machine, seed: str, resp: int, family: Family | None = None, *, expired: bool = False
) -> Counter[str]:
    """How many commands of each family were answered alike; a difference ends the test.

    None of a case in which redis-server crashes; the summary of the tests names it. A difference
    that a fresh redis-server does not show is a failure like any other, and said to be one.
    """
    case = steps(seed, mostly=family, expired=expired)
    try:
        found = machine.run(case)
        if found is not None:
            machine.renew_oracle()
            again = machine.run(case)
            if again is None:
                # Only a crash of redis-server is its own fault: what is seen once may be ours.
                pytest.fail(
                    f"seed {seed!r}, not shown again by a fresh redis-server: {found}",
                    pytrace=False,
                )
    except OracleEndedError as error:
        ORACLE_ENDS.append(seed)
        print(f"the oracle ended in the case {seed!r}, which is left out: {error}")
        if len(ORACLE_ENDS) > ORACLE_ENDS_MAX:
            pytest.fail(f"the oracle ended too often: {', '.join(ORACLE_ENDS)}", pytrace=False)
        return Counter()
    if found is not None:
        small = minimise(machine, case, found)
        again = machine.run(small) or found
        pytest.fail(reproduction(seed, resp, small, again), pytrace=False)
    return count_of_families(case)


@pytest.mark.parametrize("resp", [2, 3], ids=["resp2", "resp3"])
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_replies_equal_those_of_redis(
    configuration: Configuration, resp: int, machine_for: Callable[..., Machine]
) -> None:
    machine = machine_for(configuration, resp)
    for number in range(max(1, COMMANDS // CASE_COMMANDS)):
        run_case(machine, f"{SEED}:{configuration}:{resp}:{number}", resp)


@pytest.mark.parametrize("configuration", ACCOUNTED, ids=str)
def test_lookups_expired_keys_and_sizes_equal_those_of_redis(
    configuration: Configuration, machine_for: Callable[..., Machine]
) -> None:
    """After each command, whatever it answers: hits, misses, expired keys and DBSIZE."""
    machine = machine_for(configuration, 2, accounts=True)
    for number in range(max(1, ACCOUNTED_COMMANDS // CASE_COMMANDS)):
        run_case(machine, f"{SEED}:accounts:{configuration}:{number}", 2, expired=True)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_accounts_of_a_family_equal_those_of_redis(
    family: Family, machine_for: Callable[..., Machine]
) -> None:
    for configuration in ACCOUNTED:
        machine = machine_for(configuration, 2, accounts=True)
        for number in range(max(1, SOAK_COMMANDS // 10 // len(ACCOUNTED) // CASE_COMMANDS)):
            seed = f"{SEED}:accounts:{family.name}:{configuration}:{number}"
            run_case(machine, seed, 2, family, expired=True)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_replies_of_a_family_equal_those_of_redis(
    family: Family, machine_for: Callable[..., Machine]
) -> None:
    cells = [
        (Configuration(shards=shards, native_lane=lane), resp)
        for shards in (1, 3)
        for lane in LANES
        for resp in (2, 3)
    ]
    for configuration, resp in cells:
        started = time.monotonic()
        machine = machine_for(configuration, resp)
        counts: Counter[str] = Counter()
        number = 0
        while counts[family.name] * len(cells) < SOAK_COMMANDS:
            seed = f"{SEED}:{family.name}:{configuration}:{resp}:{number}"
            counts += run_case(machine, seed, resp, family)
            number += 1
        seconds = time.monotonic() - started
        print(
            f"{family.name} {configuration} resp{resp}: {counts[family.name]} commands of it,"
            f" {counts.total()} in all, {seconds:.0f} s"
        )
