"""Commands cut up by their keys, as the coordinator drives them; the test plays the shards."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.replies import replies
from tests.support.envelopes import (
    RUN_COMMIT,
    RUN_INTERNAL,
    RUN_KEYS,
    RUN_LOCKS,
    RUN_MULTI,
    RUN_NO_TOUCH,
    RUN_PREPARE,
    RUN_RELEASE,
    RUN_TRANSACTION,
    RUN_WAIT,
    Run,
)
from tests.support.resp_client import encode, parse
from tests.support.rig import Client, Rig, reply_to

CLOCK = b":1700000000000\r\n"
LATER = b":1700000000005\r\n"
REFUSED = b"-REFUSED\r\n"
LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"
OK = b"+OK\r\n"
LOCK = RUN_INTERNAL | RUN_TRANSACTION | RUN_LOCKS | RUN_KEYS
COMMIT = RUN_INTERNAL | RUN_TRANSACTION | RUN_COMMIT
RELEASE = RUN_INTERNAL | RUN_TRANSACTION | RUN_RELEASE


@pytest.fixture
def rig() -> Any:
    rig = Rig()
    yield rig
    rig.dispatcher.coordinator.check()


def words(run: Run) -> list[bytes]:
    (raw,) = replies(run.raw)
    return [arg.value for arg in parse(raw).value]


def take(rig: Rig, shard: int, flags: int) -> Run:
    """The one run that has come to a shard, which has these flags."""
    (run,) = rig.shards[shard].runs()
    assert run.flags == flags
    return run


def answer(rig: Rig, shard: int, flags: int, data: bytes, **more: Any) -> list[bytes]:
    """Answer the one run that has come to a shard; what it asks for."""
    run = take(rig, shard, flags)
    rig.shards[shard].answer(reply_to(run, data, **more))
    rig.tick()
    return words(run)


def grant(rig: Rig, writes: bool = True, shards: tuple[int, ...] = (0, 1)) -> None:
    for shard in shards:
        answer(rig, shard, LOCK | (RUN_PREPARE if writes else 0), CLOCK)


def test_a_write_is_prepared_everywhere_before_it_is_committed_anywhere(rig: Rig) -> None:
    client = rig.client()
    first, second = rig.key(1), rig.key(0)
    third = rig.key(1, 1)
    rig.send(client, ["mset", first, "1", second, "2", third, "3"])
    assert answer(rig, 1, LOCK | RUN_PREPARE, CLOCK) == [b"mset", first, b"1", third, b"3"]
    assert rig.shards[1].runs() == []
    run = take(rig, 0, LOCK | RUN_PREPARE)
    (header,) = run.commands
    assert header[0] == len(run.raw)
    assert run.raw[header[1] : header[1] + header[2]] == second
    assert run.transaction is not None
    assert run.transaction[1:] == (0, 0)
    rig.shards[0].answer(reply_to(run, LATER))
    rig.tick()
    commits = [take(rig, shard, COMMIT) for shard in (0, 1)]
    assert {commit.transaction for commit in commits} == {
        (run.transaction[0], 1, 1_700_000_000_005)
    }
    assert client.take() == b""
    for shard, commit in enumerate(commits):
        assert words(commit) == [b"SHARDIS.COMMIT"]
        rig.shards[shard].answer(reply_to(commit, OK))
        rig.tick()
    assert client.take() == OK
    assert rig.dispatcher.coordinator.open == 1
    for shard in (0, 1):
        assert answer(rig, shard, RELEASE, OK) == [b"SHARDIS.RELEASE"]
    assert rig.dispatcher.coordinator.open == 0
    assert rig.in_flight(0) == rig.in_flight(1) == 0


def test_a_read_is_answered_with_its_locks(rig: Rig) -> None:
    client = rig.client()
    keys = [rig.key(2), rig.key(0), rig.key(2, 1), rig.key(0, 1)]
    rig.send(client, ["MGET", *keys])
    asked = answer(rig, 0, LOCK, CLOCK + b"*2\r\n$1\r\nb\r\n$-1\r\n")
    assert asked == [b"MGET", keys[1], keys[3]]
    answer(rig, 2, LOCK, CLOCK + b"*2\r\n$1\r\na\r\n$3\r\n\r\nc\r\n")
    assert client.take() == b"*4\r\n$1\r\na\r\n$1\r\nb\r\n$3\r\n\r\nc\r\n$-1\r\n"
    for shard in (0, 2):
        answer(rig, shard, RELEASE, OK)
    assert rig.dispatcher.coordinator.open == 0


def test_a_read_needs_no_locks_where_everything_is_ordered_here(rig: Rig) -> None:
    rig.dispatcher.coordinator.alone = rig.dispatcher.coordinator.orders_all = True
    client = rig.client()
    rig.send(client, ["CLIENT", "NO-TOUCH", "ON"])
    client.take()
    rig.send(client, ["EXISTS", rig.key(0), rig.key(1), rig.key(1)], ["PING"])
    answer(rig, 0, RUN_INTERNAL | RUN_NO_TOUCH, b":1\r\n")
    asked = answer(rig, 1, RUN_INTERNAL | RUN_NO_TOUCH, b":2\r\n")
    assert asked == [b"EXISTS", rig.key(1), rig.key(1)]
    assert client.take() == b":3\r\n+PONG\r\n"
    assert rig.dispatcher.coordinator.open == 0
    assert rig.shards[0].runs() == rig.shards[1].runs() == []


def test_who_is_refused_waits_at_one_shard_after_the_other(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["DEL", rig.key(0), rig.key(1), rig.key(2)], ["GET", rig.key(0)])
    answer(rig, 0, LOCK | RUN_PREPARE, CLOCK)
    answer(rig, 1, LOCK | RUN_PREPARE, REFUSED)
    answer(rig, 2, LOCK | RUN_PREPARE, CLOCK)
    release, lock = rig.shards[0].runs()
    assert (release.flags, lock.flags) == (RELEASE, LOCK | RUN_PREPARE | RUN_WAIT)
    rig.shards[0].answer(reply_to(release, OK), reply_to(lock, CLOCK))
    rig.tick()
    answer(rig, 2, RELEASE, OK)
    for shard in (1, 2):
        assert rig.shards[3 - shard].runs() == []
        answer(rig, shard, LOCK | RUN_PREPARE | RUN_WAIT, CLOCK)
    # Only now can nothing of it be refused any more: the client goes on.
    commit, get = rig.shards[0].runs()
    assert (commit.flags, words(get)) == (COMMIT, [b"GET", rig.key(0)])
    rig.shards[0].answer(reply_to(commit, b":1\r\n"), reply_to(get, b"$-1\r\n"))
    for shard in (1, 2):
        answer(rig, shard, COMMIT, b":0\r\n")
    assert client.take() == b":1\r\n$-1\r\n"


def test_a_pipeline_does_not_wait_where_nothing_is_refused(rig: Rig) -> None:
    rig.dispatcher.coordinator.alone = True
    client = rig.client()
    both = [rig.key(0), rig.key(1)]
    rig.send(client, ["DEL", *both], ["UNLINK", *both], ["GET", both[0]])
    runs = rig.shards[0].runs()
    lock = LOCK | RUN_PREPARE | RUN_WAIT
    assert [run.flags for run in runs] == [lock, lock, 0]
    assert runs[0].client != runs[1].client


def test_what_a_client_has_asked_before_is_answered_first(rig: Rig) -> None:
    rig.dispatcher.coordinator.alone = True
    client = rig.client()
    both = [rig.key(0), rig.key(1)]
    rig.send(client, ["GET", both[0]], ["DEL", *both])
    answer(rig, 0, 0, b"$-1\r\n")
    assert client.take() == b"$-1\r\n"
    grant_all = LOCK | RUN_PREPARE | RUN_WAIT
    for shard in (0, 1):
        answer(rig, shard, grant_all, CLOCK)


def test_the_first_error_is_the_reply(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["DEL", rig.key(0), rig.key(1)], ["PING"])
    grant(rig)
    answer(rig, 1, COMMIT, b"-ERR two\r\n")
    answer(rig, 0, COMMIT, b"-OOM one\r\n")
    assert client.take() == b"-OOM one\r\n+PONG\r\n"
    assert rig.dispatcher.counts.errors == {b"OOM": 1}


def test_a_shard_that_is_down_refuses_the_whole_command(rig: Rig) -> None:
    rig.dispatcher.shard_down(1)
    client = rig.client()
    rig.send(client, ["MSET", rig.key(0), "1", rig.key(1), "2"], ["PING"])
    assert client.take() == LOADING + b"+PONG\r\n"
    assert rig.shards[0].runs() == []


@pytest.mark.parametrize("answered", [True, False])
def test_a_shard_that_dies_before_the_commits_leaves_nothing_locked(
    rig: Rig, answered: bool
) -> None:
    client = rig.client()
    rig.send(client, ["DEL", rig.key(0), rig.key(1)], ["PING"])
    if answered:
        answer(rig, 0, LOCK | RUN_PREPARE, CLOCK)
    rig.dispatcher.shard_down(1)
    rig.tick()
    if not answered:
        assert client.take() == b""
        answer(rig, 0, LOCK | RUN_PREPARE, CLOCK)
    assert client.take() == LOADING + b"+PONG\r\n"
    answer(rig, 0, RELEASE, OK)
    assert rig.dispatcher.coordinator.open == 0
    assert not client.closed


def test_a_shard_that_dies_with_a_commit_takes_the_client_along(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["DEL", rig.key(0), rig.key(1)], ["PING"])
    grant(rig)
    rig.dispatcher.shard_down(1)
    rig.tick()
    assert not client.closed
    answer(rig, 0, COMMIT, b":1\r\n")
    assert client.closed
    answer(rig, 0, RELEASE, OK)
    assert rig.dispatcher.coordinator.open == 0
    assert rig.taken() == 0


def test_a_shard_that_dies_after_its_answer_changes_nothing(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["DEL", rig.key(0), rig.key(1)])
    grant(rig)
    answer(rig, 1, COMMIT, b":1\r\n")
    rig.dispatcher.shard_down(1)
    answer(rig, 0, COMMIT, b":1\r\n")
    assert client.take() == b":2\r\n"
    rig.dispatcher.shard_down(0)
    assert rig.dispatcher.coordinator.open == 0


def test_a_client_that_leaves_keeps_its_slot_until_the_end(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["DEL", rig.key(0), rig.key(1)])
    client.session.closed_by_driver()
    grant(rig)
    for shard in (0, 1):
        assert rig.taken() == 1
        answer(rig, shard, COMMIT, b":1\r\n")
    assert rig.taken() == 0
    for shard in (0, 1):
        answer(rig, shard, RELEASE, OK)
    assert rig.shards[0].gone == []


def test_no_more_than_the_limit_are_open(rig: Rig) -> None:
    rig.dispatcher.coordinator.open_max = 1
    both = [rig.key(0), rig.key(1)]
    first, second, third = rig.client(), rig.client(), rig.client()
    rig.send(first, ["EXISTS", *both])
    rig.send(second, ["EXISTS", *both], ["PING"])
    rig.send(third, ["EXISTS", *both])
    second.session.closed_by_driver()
    for client in (first, third):
        for shard in (0, 1):
            answer(rig, shard, LOCK, CLOCK + b":1\r\n")
        assert client.take() == b":2\r\n"
        for shard in (0, 1):
            answer(rig, shard, RELEASE, OK)
    assert rig.dispatcher.coordinator.open == 0


def test_few_are_open_whose_replies_are_large(rig: Rig) -> None:
    coordinator = rig.dispatcher.coordinator
    coordinator.orders_all = True
    coordinator.reply_bytes_max = 400_000
    both = [rig.key(0), rig.key(1)]
    rig.send(rig.client(), ["MGET", *both])
    for shard in (0, 1):
        answer(rig, shard, RUN_INTERNAL, b"*1\r\n$150000\r\n%b\r\n" % (b"x" * 150_000))
    clients = [rig.client() for _ in range(3)]
    for client in clients:
        rig.send(client, ["MGET", *both])
    assert coordinator.open == 1
    for _ in range(20):
        for shard in (0, 1):
            for run in rig.shards[shard].runs():
                rig.shards[shard].answer(reply_to(run, b"*1\r\n$-1\r\n"))
        rig.tick()
        rig.send(clients[0], ["MGET", *both])
    for client in clients[1:]:
        assert client.take() == b"*2\r\n$-1\r\n$-1\r\n"
        rig.send(client, ["MGET", *both])
    assert coordinator.open == 3


def test_a_client_waits_for_a_shard_with_too_much_under_way(rig: Rig) -> None:
    rig.dispatcher.shard_bytes_max = 50
    client = rig.client()
    rig.send(client, ["GET", b"x" * 60 + b"{" + rig.key(0) + b"}"])
    other = rig.client()
    rig.send(other, ["EXISTS", rig.key(0), rig.key(1)])
    assert rig.shards[1].runs() == []
    answer(rig, 0, 0, b"$-1\r\n")
    for shard in (0, 1):
        answer(rig, shard, LOCK, CLOCK + b":1\r\n")
    assert other.take() == b":2\r\n"


@pytest.mark.parametrize("early", [True, False])
def test_large_values_come_by_the_bulk_link(rig: Rig, early: bool) -> None:
    client = rig.client()
    rig.send(client, ["MGET", rig.key(0), rig.key(1)])
    answer(rig, 1, LOCK, CLOCK + b"*1\r\n$1\r\ny\r\n")
    run = take(rig, 0, LOCK)
    large = b"$100000\r\n%b\r\n" % (b"x" * 100_000)
    for part in (early, not early):
        if part:
            rig.shards[0].bulk.post(b"*1\r\n" + large)
            rig.tick()
        else:
            rig.shards[0].answer(
                reply_to(run, CLOCK, status=1, bulk=1), reply_to(run, b"", status=0)
            )
            rig.tick()
    assert client.take() == b"*2\r\n" + large + b"$1\r\ny\r\n"
    for shard in (0, 1):
        answer(rig, shard, RELEASE, OK)
    assert rig.dispatcher.coordinator.open == 0


def test_a_shard_that_dies_before_its_large_value_has_come(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["MGET", rig.key(0), rig.key(1)], ["PING"])
    run = take(rig, 0, LOCK)
    rig.shards[0].answer(reply_to(run, CLOCK, status=1, bulk=1), reply_to(run, b"", status=0))
    rig.tick()
    rig.dispatcher.shard_down(0)
    answer(rig, 1, LOCK, CLOCK + b"*1\r\n$1\r\ny\r\n")
    assert client.take() == LOADING + b"+PONG\r\n"
    answer(rig, 1, RELEASE, OK)
    assert rig.dispatcher.coordinator.open == 0


def test_what_is_larger_than_a_message_or_wrong_is_the_hosts(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["MSET", rig.key(0), "x" * 70_000, rig.key(1), "y"])
    other = rig.client()
    rig.send(other, ["MSET", rig.key(0), "x", rig.key(1)])
    assert [command.name for _, command, _ in rig.barriers] == ["MSET", "MSET"]
    assert rig.dispatcher.coordinator.open == 0


def test_thousands_of_keys(rig: Rig) -> None:
    client = rig.client()
    keys = [b"%d" % n for n in range(5000)]
    by_shard: dict[int, list[bytes]] = {}
    rig.send(client, ["MGET", *keys])
    for shard in range(3):
        run = take(rig, shard, LOCK)
        by_shard[shard] = words(run)[1:]
        found = b"".join(b"$%d\r\n%b\r\n" % (len(key), key) for key in by_shard[shard])
        rig.shards[shard].answer(
            reply_to(run, CLOCK + b"*%d\r\n%b" % (len(by_shard[shard]), found))
        )
        rig.tick()
    assert sum(map(len, by_shard.values())) == 5000
    assert [item.value for item in parse(client.take()).value] == keys


def test_client_reply_off_and_skip(rig: Rig) -> None:
    rig.dispatcher.coordinator.orders_all = True
    client = rig.client()
    both = [rig.key(0), rig.key(1)]
    rig.send(client, ["CLIENT", "REPLY", "SKIP"], ["EXISTS", *both], ["EXISTS", *both])
    for _ in range(2):
        for shard in (0, 1):
            runs = rig.shards[shard].runs()
            for run in runs:
                rig.shards[shard].answer(reply_to(run, b":1\r\n"))
        rig.tick()
    assert client.take() == b":2\r\n"


def test_a_slow_command_is_in_the_slow_log_as_it_came(rig: Rig) -> None:
    noted: list[list[bytes]] = []

    class Monitor:
        least_us = 0

        def note(self, args: list[bytes], *_: object, **__: object) -> None:
            noted.append(args)

    rig.dispatcher.set_monitor(Monitor(), True)  # type: ignore[arg-type]
    client = rig.client()
    call = [b"MSET", rig.key(1), b"1", rig.key(0), b"2", rig.key(1, 1), b"3"]
    rig.send(client, call)
    grant(rig)
    for shard in (0, 1):
        answer(rig, shard, COMMIT, OK)
    assert noted == [call]


def test_counts(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["DEL", rig.key(0), rig.key(1)])
    grant(rig)
    for shard in (0, 1):
        answer(rig, shard, COMMIT, b":1\r\n")
    calls, _, rejected, failed = rig.dispatcher.counts.by_command()["del"]
    assert (calls, rejected, failed) == (1, 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b":1\r\n",  # no array
        CLOCK,
        CLOCK + b"*2\r\n$1\r\na\r\n$1\r\nb\r\n",
        CLOCK + b"*1\r\n$5\r\na\r\n",
        CLOCK + b"*1\r\n:5\r\n",
        CLOCK + b"*1\r\n",
        CLOCK + b"*99999999999999999999\r\n",
        b"+OK\r\n",
    ],
)
def test_an_answer_that_cannot_be_right_breaks_the_link(rig: Rig, data: bytes) -> None:
    client = rig.client()
    rig.send(client, ["MGET", rig.key(0), rig.key(1)])
    answer(rig, 1, LOCK, data)
    assert rig.broken == [1]
    answer(rig, 0, LOCK, CLOCK + b"*1\r\n$1\r\na\r\n")
    assert client.take() == LOADING


@pytest.mark.parametrize("data", [b"", b":1", b"+OK\r\n", b"$1\r\n2\r\n"])
def test_a_commit_whose_answer_cannot_be_right(rig: Rig, data: bytes) -> None:
    client = rig.client()
    rig.send(client, ["DEL", rig.key(0), rig.key(1)])
    grant(rig)
    answer(rig, 1, COMMIT, data)
    assert rig.broken == [1]
    answer(rig, 0, COMMIT, b":1\r\n")
    assert client.closed


def strangers() -> list[tuple[int, int]]:
    """What is wrong in a part: its client by so much, its sequence by so much."""
    return [(0, 1), (0, 2), (0, 4), (1, 0), (1000, 0)]


@pytest.mark.parametrize(("client", "sequence"), strangers())
def test_an_answer_for_another_hop_breaks_the_link(rig: Rig, client: int, sequence: int) -> None:
    rig.send(rig.client(), ["MGET", rig.key(0), rig.key(1)])
    run = take(rig, 0, LOCK)
    run.client += client
    run.sequence += sequence
    rig.shards[0].answer(reply_to(run, CLOCK + b"*1\r\n$1\r\na\r\n"))
    rig.tick()
    assert rig.broken == [0]


def test_inline_commands_are_cut_up_too(rig: Rig) -> None:
    client = Client(rig, 77)
    client.session.push(b"DEL " + rig.key(0) + b" " + rig.key(1) + b"\r\n" + encode("PING"))
    rig.tick()
    grant(rig)
    for shard in (0, 1):
        answer(rig, shard, COMMIT, b":1\r\n")
    assert client.take() == b":2\r\n+PONG\r\n"


# EXEC

MULTI_LOCK = LOCK | RUN_MULTI
QUEUED = b"+QUEUED\r\n"


def multi(*commands: list[bytes | str]) -> list[list[bytes | str]]:
    return [["MULTI"], *commands, ["EXEC"]]


def all_words(run: Run) -> list[list[bytes]]:
    return [[arg.value for arg in parse(one).value] for one in replies(run.raw)]


def test_an_exec_over_shards_is_prepared_everywhere_and_answered_in_order(rig: Rig) -> None:
    client = rig.client()
    zero, one, two = (rig.key(shard) for shard in range(3))
    calls = [["INCR", one], ["GET", zero], ["SET", one, "x"], ["LPUSH", two, "a"]]
    rig.send(client, *multi(*calls))
    parts = {0: [calls[1]], 1: [calls[0], calls[2]], 2: [calls[3]]}
    for shard, part in parts.items():
        run = take(rig, shard, MULTI_LOCK | RUN_PREPARE)
        assert all_words(run) == [
            [word if isinstance(word, bytes) else word.encode() for word in call] for call in part
        ]
        at = 0
        for length, offset, size, *_ in run.commands:
            assert run.raw[at + offset : at + offset + size] == rig.key(shard)
            at += length
        assert at == len(run.raw)
        rig.shards[shard].answer(reply_to(run, CLOCK))
        rig.tick()
    # Errors and aggregates are replies as any other.
    answers = {0: b"*2\r\n:1\r\n*0\r\n", 1: b"-ERR no number\r\n+OK\r\n", 2: b":1\r\n"}
    for shard, data in answers.items():
        assert answer(rig, shard, COMMIT | RUN_MULTI, data) == [b"SHARDIS.COMMIT"]
    assert client.take() == (
        OK + QUEUED * 4 + b"*4\r\n-ERR no number\r\n*2\r\n:1\r\n*0\r\n+OK\r\n:1\r\n"
    )
    for shard in range(3):
        answer(rig, shard, RELEASE | RUN_MULTI, OK)
    counts = rig.dispatcher.counts.by_command()
    assert counts["incr"][0] == counts["incr"][3] == counts["set"][0] == counts["exec"][0] == 1
    assert rig.dispatcher.counts.errors == {b"ERR": 1}


def test_an_exec_that_only_reads_is_answered_with_its_locks(rig: Rig) -> None:
    rig.dispatcher.coordinator.alone = rig.dispatcher.coordinator.orders_all = True
    client = rig.client()
    rig.send(client, *multi(["GET", rig.key(0)], ["GET", rig.key(1)], ["GET", rig.key(0)]))
    answer_all(rig, 0, MULTI_LOCK | RUN_WAIT, CLOCK + b"$1\r\na\r\n$-1\r\n", 2)
    answer_all(rig, 1, MULTI_LOCK | RUN_WAIT, CLOCK + b"$1\r\nb\r\n", 1)
    assert client.take() == OK + QUEUED * 3 + b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$-1\r\n"
    for shard in (0, 1):
        answer(rig, shard, RELEASE | RUN_MULTI, OK)


def answer_all(rig: Rig, shard: int, flags: int, data: bytes, commands: int) -> None:
    run = take(rig, shard, flags)
    assert len(run.commands) == commands
    rig.shards[shard].answer(reply_to(run, data))
    rig.tick()


def test_an_exec_is_aborted_by_a_shard_that_is_down_or_dies(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, *multi(["INCR", rig.key(0)], ["INCR", rig.key(1)]))
    answer_all(rig, 0, MULTI_LOCK | RUN_PREPARE, CLOCK, 1)
    rig.dispatcher.shard_down(1)
    rig.tick()
    aborted = b"-EXECABORT Transaction discarded because of: " + LOADING[1:]
    assert client.take() == OK + QUEUED * 2 + aborted
    answer(rig, 0, RELEASE | RUN_MULTI, OK)
    assert not client.closed
    assert rig.dispatcher.coordinator.open == 0


def test_a_slow_exec_is_logged_command_by_command(rig: Rig) -> None:
    noted: list[list[bytes]] = []

    class Monitor:
        least_us = 0

        def note(self, args: list[bytes], *_: object, **__: object) -> None:
            noted.append(args)

    client = rig.client()
    rig.send(client, ["MULTI"])
    rig.dispatcher.set_monitor(Monitor(), True)  # type: ignore[arg-type]
    rig.send(client, ["INCR", rig.key(0)], ["INCR", rig.key(1)], ["EXEC"])
    for shard in (0, 1):
        answer_all(rig, shard, MULTI_LOCK | RUN_PREPARE, CLOCK, 1)
    for shard in (0, 1):
        answer(rig, shard, COMMIT | RUN_MULTI, b":1\r\n")
    assert noted[-2:] == [[b"INCR", rig.key(0)], [b"INCR", rig.key(1)]]


def test_a_large_reply_of_an_exec(rig: Rig) -> None:
    client = rig.client()
    large = b"$100000\r\n%b\r\n" % (b"x" * 100_000)
    rig.send(client, *multi(["GET", rig.key(1)], ["GET", rig.key(0)]))
    answer_all(rig, 1, MULTI_LOCK, CLOCK + b"$1\r\ny\r\n", 1)
    run = take(rig, 0, MULTI_LOCK)
    rig.shards[0].answer(reply_to(run, CLOCK, status=1, bulk=1), reply_to(run, b"", status=0))
    rig.shards[0].bulk.post(large)
    rig.tick()
    assert client.take() == OK + QUEUED * 2 + b"*2\r\n$1\r\ny\r\n" + large


@pytest.mark.parametrize("data", [b":1\r\n", b":1\r\n:2\r\n:3\r\n", b":1\r\n$5\r\nx\r\n"])
def test_an_exec_whose_answer_cannot_be_right(rig: Rig, data: bytes) -> None:
    client = rig.client()
    rig.send(client, *multi(["INCR", rig.key(0)], ["INCR", rig.key(1)], ["INCR", rig.key(1)]))
    for shard in (0, 1):
        answer_all(rig, shard, MULTI_LOCK | RUN_PREPARE, CLOCK, 1 + shard)
    answer(rig, 1, COMMIT | RUN_MULTI, data)
    assert rig.broken == [1]
    answer(rig, 0, COMMIT | RUN_MULTI, b":1\r\n")
    assert client.closed
