"""The differential machine itself: it can fail, and what it reports is short and repeatable."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from protocol.slots import key_slot
from tests.differential.families import geo, hashes, hyperloglogs, lists, sets, streams, zsets
from tests.differential.grammar import MIXED_KEYS, PLAIN_KEYS, TAGGED_KEYS, Command
from tests.differential.machine import (
    FAMILIES,
    Machine,
    OracleEndedError,
    Step,
    count_of_families,
    cut_points,
    minimise,
    reproduction,
    steps,
)
from tests.differential.normalise import NORMALISERS, Exchange, equal
from tests.differential.shrink import shrink
from tests.differential.test_differential import COMMANDS, CONFIGURATIONS
from tests.support.resp_client import ReplySplitter, parse
from tests.support.servers import Configuration, Oracle, ServerPool
from tests.support.slots import SLOTS

REPLIES = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":-12\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"$7\r\na\r\nb\r\nc\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n*2\r\n:1\r\n$1\r\nx\r\n%1\r\n+k\r\n*0\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",1.5\r\n",
    b"(123\r\n",
    b"=5\r\ntxt:a\r\n",
    b"~1\r\n:1\r\n",
    b">2\r\n+a\r\n+b\r\n",
    b"|1\r\n+ttl\r\n:1\r\n*1\r\n:2\r\n",
]


def test_replies_are_cut_out_of_a_stream_at_any_split() -> None:
    stream = b"".join(REPLIES)
    for size in (1, 2, 3, 7, len(stream)):
        splitter = ReplySplitter()
        for at in range(0, len(stream), size):
            splitter.feed(stream[at : at + size])
        assert [splitter.take() for _ in REPLIES] == REPLIES
        assert splitter.take() is None
        assert splitter.rest == b""


def test_a_parsed_reply_dumps_to_the_same_bytes() -> None:
    for raw in REPLIES[:-1]:
        assert parse(raw).dump() == raw


def test_shrinking_leaves_only_what_is_needed() -> None:
    trials = 0

    def fails(items: list[int]) -> bool:
        nonlocal trials
        trials += 1
        return {17, 230, 231} <= set(items)

    assert shrink(range(250), fails) == [17, 230, 231]
    assert trials < 200


def test_a_seed_always_makes_the_same_case() -> None:
    assert steps("word") == steps("word")
    assert steps("word") != steps("other")
    assert cut_points(100, 5) == cut_points(100, 5)


def test_every_family_about_a_type_has_its_share() -> None:
    """About 5,000 of the commands that test_differential.py sends by default."""
    counts: Counter[str] = Counter()
    for number in range(100):
        counts += count_of_families(steps(f"share {number}"))
    wanted = 0.95 * counts.total() * 5000 / (COMMANDS * len(CONFIGURATIONS) * 2)
    for family in FAMILIES:
        assert family.name in ("connection", "server") or counts[family.name] >= wanted, counts


def test_a_case_may_be_mostly_of_one_family() -> None:
    for family in FAMILIES:
        counts = count_of_families(steps("one", mostly=family))
        assert counts[family.name] > counts.total() / 2


@pytest.mark.parametrize(
    "pool",
    [
        [*PLAIN_KEYS, *TAGGED_KEYS],
        *(MIXED_KEYS, geo.KEYS, hashes.KEYS, hyperloglogs.KEYS, lists.KEYS, sets.KEYS),
        *(sets.STORED_SETS, streams.KEYS, zsets.KEYS, zsets.LEX_KEYS),
    ],
)
def test_the_keys_of_a_family_lie_over_three_shards(pool: list[bytes]) -> None:
    assert {key_slot(key) * 3 // SLOTS for key in pool} == {0, 1, 2}


def test_a_difference_is_found_and_shrunk_to_the_command_that_shows_it(
    machine_for: Callable[..., Machine],
) -> None:
    """Nothing is allowed here, so TIME differs, at the latest."""
    machine = machine_for(Configuration(shards=2), 2, exact=True)
    case = [
        Step(0, tuple(Command((b"SET", b"k%d" % i, b"v")) for i in range(20)), cuts=7),
        Step(1, (Command((b"GET", b"k1")), Command((b"TIME",)), Command((b"GET", b"k2")))),
        Step(0, (Command((b"GET", b"k3")),)),
    ]
    found = machine.run(case)
    assert found is not None
    assert found.command.name == b"TIME"
    small = minimise(machine, case, found)
    assert [step.commands for step in small] == [(Command((b"TIME",)),)]
    text = reproduction("s", 2, small, found)
    assert "Step(0, (Command((b'TIME',)), ))," in text


@pytest.fixture
def mortal_oracle() -> Iterator[Oracle]:
    server = Oracle()
    server.start()
    yield server
    server.kill()


def test_a_crash_of_the_oracle_is_no_difference(
    mortal_oracle: Oracle, server_pool: ServerPool
) -> None:
    """DEBUG SEGFAULT is one; ours refuses it. The next case has another oracle."""
    ours = server_pool.get(Configuration())
    machine = Machine(ours, mortal_oracle, resp=2, oracle_is_72=False)
    crash = Step(0, (Command((b"SET", b"a", b"1")), Command((b"DEBUG", b"SEGFAULT"))))
    before = mortal_oracle.pid
    with pytest.raises(OracleEndedError, match="crashed by signal: 11") as caught:
        machine.run([crash])
    assert "SEGFAULT" in str(caught.value)
    assert mortal_oracle.pid != before
    assert machine.run([Step(0, (Command((b"SET", b"a", b"1")),))]) is None


def test_an_oracle_that_ended_is_named_between_cases_too(
    mortal_oracle: Oracle, server_pool: ServerPool
) -> None:
    machine = Machine(server_pool.get(), mortal_oracle, resp=3, oracle_is_72=False)
    os.kill(mortal_oracle.pid, signal.SIGKILL)
    case = [Step(0, (Command((b"PING",)),))]
    with pytest.raises(OracleEndedError, match="redis-server ended"):
        machine.run(case)
    assert machine.run(case) is None


def test_an_oracle_that_hangs_is_replaced(mortal_oracle: Oracle, server_pool: ServerPool) -> None:
    machine = Machine(server_pool.get(), mortal_oracle, resp=2, oracle_is_72=False)
    machine.reply_seconds = 0.2
    case = [Step(0, (Command((b"PING",)),))]
    assert machine.run(case) is None
    before = mortal_oracle.pid
    os.kill(before, signal.SIGSTOP)
    with pytest.raises(OracleEndedError, match="redis-server hung"):
        machine.run(case)
    assert mortal_oracle.pid != before
    assert machine.run(case) is None


def test_normalisers_allow_only_what_they_are_for() -> None:
    def same(args: tuple[bytes, ...], ours: bytes, oracle: bytes) -> bool:
        return equal(Exchange(args, ours, oracle), oracle_is_72=False)

    assert same((b"ttl", b"k"), b":99\r\n", b":100\r\n")
    assert not same((b"TTL", b"k"), b":-1\r\n", b":1\r\n")
    assert not same((b"TTL", b"k"), b":90\r\n", b":100\r\n")
    assert same((b"RANDOMKEY",), b"$1\r\na\r\n", b"$1\r\nb\r\n")
    assert not same((b"RANDOMKEY",), b"$-1\r\n", b"$1\r\nb\r\n")
    assert same((b"KEYS", b"*"), b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"*2\r\n$1\r\nb\r\n$1\r\na\r\n")
    assert not same((b"KEYS", b"*"), b"*1\r\n$1\r\na\r\n", b"*1\r\n$1\r\nb\r\n")
    assert not same((b"GET", b"k"), b"$1\r\na\r\n", b"$1\r\nb\r\n")
    assert not same((b"TIME",), b"-ERR no\r\n", b"*2\r\n$1\r\n1\r\n$1\r\n1\r\n")


def test_every_normaliser_has_a_reason() -> None:
    assert all(one.reason for one in NORMALISERS)
    assert len({one.name for one in NORMALISERS}) == len(NORMALISERS)
