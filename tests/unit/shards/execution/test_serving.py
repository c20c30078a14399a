"""Commands that wait: over links in memory, with a clock that the test moves."""

from __future__ import annotations

import pytest

from tests.support.envelopes import (
    CANCEL_ENDED,
    CANCEL_ERROR,
    CANCEL_TIMEOUT,
    PART_BLOCKED,
    PART_DONE,
    RUN_ATOMIC,
    RUN_COMMIT,
    RUN_MULTI,
    RUN_REPLY_OFF,
    Part,
    cancel,
)
from tests.unit.shards.execution.test_executor import Lease, Shard, large, run

NO_ARRAY = b"*-1\r\n"


def wait(shard: Shard, *words: object, client: int = 1, worker: int = 0, **more: int) -> None:
    """Let a client wait: the shard says so at once."""
    shard.send(run([list(words)], client=client, **more), worker=worker)  # type: ignore[arg-type]
    (part,) = shard.parts(worker)
    assert (part.client, part.status, part.data, part.commands) == (client, PART_BLOCKED, b"", 0)


def answers(shard: Shard, worker: int = 0) -> list[tuple[int, bytes]]:
    found = shard.parts(worker)
    assert all(part.status == PART_DONE for part in found)
    return [(part.client, part.data) for part in found]


def push(shard: Shard, *words: object, worker: int = 0) -> None:
    """A push by client 9, whose reply goes first where both are the same worker's."""
    shard.send(run([list(words)], client=9), worker=worker)  # type: ignore[arg-type]


@pytest.fixture(params=[True, False], ids=["native", "python"])
def shard(request: pytest.FixtureRequest) -> Shard:
    return Shard(workers=2, native_lane=request.param)


def test_clients_of_all_workers_are_served_in_their_order(shard: Shard) -> None:
    wait(shard, "BLPOP", "k", "0", client=1)
    wait(shard, "BLPOP", "k", "0", client=2, worker=1)
    wait(shard, "BLPOP", "k", "0", client=3)
    push(shard, "RPUSH", "k", "a", "b", worker=1)
    shard.executor.serve(1)
    assert shard.executor.has_more  # another link was sent to: its wake-up may be eaten
    assert answers(shard) == [(1, b"*2\r\n$1\r\nk\r\n$1\r\na\r\n")]
    assert answers(shard, 1) == [(9, b":2\r\n"), (2, b"*2\r\n$1\r\nk\r\n$1\r\nb\r\n")]
    assert shard.executor.serving.blocking.waiters == 1


def test_who_is_served_is_served_before_the_next_command(shard: Shard) -> None:
    wait(shard, "BLMOVE", "k", "j", "LEFT", "LEFT", "0")
    wait(shard, "BRPOP", "j", "0", client=2)
    shard.send(run([["RPUSH", "k", "a"], ["LLEN", "k"], ["LLEN", "j"]], client=9))
    assert answers(shard) == [
        (9, b":1\r\n:0\r\n:0\r\n"),
        (1, b"$1\r\na\r\n"),
        (2, b"*2\r\n$1\r\nj\r\n$1\r\na\r\n"),
    ]


def test_nothing_is_served_inside_of_exec(shard: Shard) -> None:
    wait(shard, "BLPOP", "k", "0")
    shard.send(run([["RPUSH", "k", "a"], ["LPOP", "k"], ["BLPOP", "k", "0"]], flags=RUN_ATOMIC))
    (part,) = shard.parts()
    assert part.data == b"*3\r\n:1\r\n$1\r\na\r\n" + NO_ARRAY
    shard.send(run([["RPUSH", "k", "a", "b"], ["LLEN", "k"]], client=9, flags=RUN_ATOMIC))
    assert answers(shard) == [
        (9, b"*2\r\n:2\r\n:2\r\n"),
        (1, b"*2\r\n$1\r\nk\r\n$1\r\na\r\n"),
    ]
    assert shard.call("LLEN", "k") == b":1\r\n"


def test_it_does_not_wait_inside_of_multi(shard: Shard) -> None:
    shard.send(run([["BLPOP", "k", "0"]], flags=RUN_MULTI))
    assert answers(shard) == [(0, NO_ARRAY)]


def test_a_client_that_has_gone_gets_nothing(shard: Shard) -> None:
    wait(shard, "BLPOP", "k", "0", client=1, sequence=7)
    shard.links[0].post(cancel(1, 1))
    assert shard.parts() == [Part(1, 7, b"", 0)]
    push(shard, "RPUSH", "k", "a")
    assert answers(shard) == [(9, b":1\r\n")]
    assert shard.call("LLEN", "k") == b":1\r\n"


def test_one_that_sends_no_more_is_answered_only_what_is_there(shard: Shard) -> None:
    wait(shard, "BLPOP", "k", "0", client=1, sequence=7)
    shard.links[0].post(cancel(1, 1, CANCEL_ENDED, 6))
    assert shard.parts() == []  # of a command before
    shard.links[0].post(cancel(1, 1, CANCEL_ENDED, 7))
    assert shard.parts() == [Part(1, 7, b"", 0)]
    lease = Lease(shard, b"k")
    shard.send(run([["BLPOP", "k", "0"]], client=1, sequence=8))
    assert shard.parts() == []  # parked
    shard.links[0].post(cancel(1, 1, CANCEL_ENDED, 8))
    assert shard.parts() == []
    assert [(part.client, part.data) for part in lease.release() if part.client == 1] == [
        (1, NO_ARRAY)
    ]
    assert shard.executor.serving.blocking.waiters == 0


@pytest.mark.parametrize(
    ("action", "reply"),
    [
        (CANCEL_TIMEOUT, b"_\r\n"),
        (CANCEL_ERROR, b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
    ],
)
def test_who_is_unblocked_is_told_so(shard: Shard, action: int, reply: bytes) -> None:
    wait(shard, "BLMOVE", "k", "j", "LEFT", "LEFT", "0", client=1, sequence=7, resp=3)
    shard.links[0].post(cancel(1, 1, action, 8))
    assert shard.parts() == []
    shard.links[0].post(cancel(1, 1, action, 7))
    (part,) = shard.parts()
    assert (part.data, part.unblocked, part.commands) == (reply, True, 1)
    statistics = shard.executor.runner.command_statistics()["blmove"]
    assert statistics[0] == 1
    assert statistics[3] == (action == CANCEL_ERROR)


def test_deadlines_are_kept_to_the_millisecond(shard: Shard) -> None:
    due: list[int] = []
    serving = shard.executor.serving
    serving.on_deadline = lambda: due.append(serving.blocking.deadline_ms - shard.now_ms)
    wait(shard, "BLPOP", "k", "0.1", client=1)
    wait(shard, "BLPOP", "k", "0", client=2)
    wait(shard, "BZPOPMIN", "k", "0.0501", client=3)
    wait(shard, "XREAD", "BLOCK", "75", "STREAMS", "k", "$", client=4)
    assert due == [100, 51]
    shard.now_ms += 51
    assert shard.executor.expire_waiters() == shard.now_ms
    assert shard.parts() == []
    shard.now_ms += 1
    assert shard.executor.expire_waiters() == shard.now_ms + 23
    assert answers(shard) == [(3, NO_ARRAY)]
    shard.now_ms += 49
    assert shard.executor.expire_waiters() == 0
    assert answers(shard) == [(4, NO_ARRAY), (1, NO_ARRAY)]
    assert serving.blocking.waiters == 1
    calls = shard.executor.runner.command_statistics()
    assert calls["blpop"][0] == calls["bzpopmin"][0] == calls["xread"][0] == 1


def test_what_a_transaction_makes_is_served_at_its_release(shard: Shard) -> None:
    wait(shard, "BLPOP", "k", "0")
    lease = Lease(shard, b"k")
    shard.send(run([["LPOP", "k"]], client=9))  # waits for the lock
    assert lease.hop(RUN_COMMIT, ["RPUSH", "k", "a"]) == b":1\r\n"
    assert shard.executor.serving.blocking.waiters == 1
    released = [(part.client, part.data) for part in lease.release() if part.client < 1000]
    assert sorted(released) == [(1, b"*2\r\n$1\r\nk\r\n$1\r\na\r\n"), (9, b"$-1\r\n")]
    shard.executor.locks.check([])


def test_who_needs_a_locked_key_waits_for_that_and_keeps_its_place(shard: Shard) -> None:
    wait(shard, "BLMOVE", "k", "j", "LEFT", "LEFT", "0", client=1)
    wait(shard, "BLPOP", "k", "0", client=2)
    lease = Lease(shard, b"j")
    push(shard, "RPUSH", "k", "a")
    assert answers(shard) == [(9, b":1\r\n")]  # and not to the second one
    push(shard, "RPUSH", "k", "b")
    assert answers(shard) == []
    released = {part.client: part.data for part in lease.release() if part.client < 1000}
    assert released == {
        1: b"$1\r\na\r\n",
        2: b"*2\r\n$1\r\nk\r\n$1\r\nb\r\n",
        9: b":1\r\n",
    } or released == {1: b"$1\r\na\r\n", 2: b"*2\r\n$1\r\nk\r\n$1\r\nb\r\n", 9: b":2\r\n"}
    shard.executor.locks.check([])


def test_its_time_may_be_up_while_it_waits_for_a_lock(shard: Shard) -> None:
    wait(shard, "BLMOVE", "k", "j", "LEFT", "LEFT", "0.01", client=1)
    lease = Lease(shard, b"j")
    push(shard, "RPUSH", "k", "a")
    assert answers(shard) == [(9, b":1\r\n")]
    shard.now_ms += 11
    shard.executor.expire_waiters()
    assert answers(shard) == [(1, NO_ARRAY)]
    lease.release()
    shard.executor.locks.check([])
    assert shard.call("LLEN", "k") == b":1\r\n"


def test_a_large_reply_goes_by_the_bulk_link(shard: Shard) -> None:
    wait(shard, "BLPOP", "k", "0", client=1, worker=1)
    value = b"x" * 70_000
    push_of_it = large(["RPUSH", "k", value], 1, client=9)
    shard.bulk[0].post(push_of_it_bytes(value))
    shard.send(push_of_it)
    shard.executor.service()
    (part,) = shard.parts(1)
    assert (part.data, part.bulk, part.commands, part.status) == (b"", 1, 1, PART_DONE)
    assert shard.bulk[1].fetch() == b"*2\r\n$1\r\nk\r\n$70000\r\n%b\r\n" % value


def push_of_it_bytes(value: bytes) -> bytes:
    return b"*3\r\n$5\r\nRPUSH\r\n$1\r\nk\r\n$70000\r\n%b\r\n" % value


def test_who_wants_no_reply_gets_none(shard: Shard) -> None:
    wait(shard, "BLPOP", "k", "0", client=1, flags=RUN_REPLY_OFF)
    push(shard, "RPUSH", "k", "a")
    assert answers(shard) == [(9, b":1\r\n"), (1, b"")]
    assert shard.call("EXISTS", "k") == b":0\r\n"


def test_a_worker_that_goes_takes_its_clients_along(shard: Shard) -> None:
    wait(shard, "BLPOP", "k", "0", client=1, worker=1)
    wait(shard, "BLPOP", "k", "0", client=1)
    shard.executor.remove_links(1)
    push(shard, "RPUSH", "k", "a", "b")
    assert answers(shard) == [(9, b":2\r\n"), (1, b"*2\r\n$1\r\nk\r\n$1\r\na\r\n")]
    assert shard.call("LLEN", "k") == b":1\r\n"


def test_nothing_listens_once_nobody_waits(shard: Shard) -> None:
    blocking = shard.executor.serving.blocking
    assert not blocking.listens
    wait(shard, "BLPOP", "k", "0", client=1)
    blocking.rest()
    assert blocking.listens
    push(shard, "RPUSH", "k", "a")
    assert len(answers(shard)) == 2
    blocking.rest()
    assert not blocking.listens


def test_expired_keys_wake_who_reads_by_a_group(shard: Shard) -> None:
    shard.call("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    wait(shard, "XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">", client=1)
    assert shard.call("PEXPIRE", "s", "5") == b":1\r\n"
    shard.now_ms += 6
    shard.executor.runner.refresh_time()
    shard.keyspace.active_expire(1_000_000, 1)
    shard.executor.serve_waiters()
    ((client, reply),) = answers(shard)
    assert client == 1
    assert reply.startswith(b"-NOGROUP ")
