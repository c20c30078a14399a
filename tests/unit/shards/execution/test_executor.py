"""The executor: envelopes in and out, over links in memory, and a clock that the test moves."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from actors.mailbox import MemoryLink
from protocol.errors import CommandError
from protocol.reply import Reply
from shards.lane.context import Context
from tests.support.envelopes import (
    PART_DONE,
    PART_PARKED,
    RUN_ATOMIC,
    RUN_BULK,
    RUN_COMMIT,
    RUN_INTERNAL,
    RUN_LOCKS,
    RUN_PREPARE,
    RUN_RELEASE,
    RUN_REPLY_OFF,
    RUN_TRANSACTION,
    Part,
    Run,
    cancel,
    have_read,
    push,
    read_replies,
)
from tests.support.resp_client import encode, parse
from tests.support.shard import START_MS, TABLE, Shard, header, run

PIECE_BYTES = 256 << 10  # persistence/parcel


def large(command: list[bytes | str | int], bulk: int, **more: int) -> Run:
    """A run whose one command comes by the bulk link."""
    return Run(commands=[header(command)], bulk=bulk, flags=RUN_BULK, **more)


def test_each_run_is_answered_by_a_part() -> None:
    shard = Shard()
    shard.send(
        run([["SET", "a", "1"], ["INCR", "a"]], client=3, sequence=7),
        run([["GET", "a"]], client=4, sequence=0),
    )
    assert shard.parts() == [Part(3, 7, b"+OK\r\n:2\r\n", 2), Part(4, 0, b"$1\r\n2\r\n", 1)]


@pytest.mark.parametrize("length", [1, 5, 15, 16, 17, 31, 32, 33, 100])
@pytest.mark.parametrize("runs", [1, 2, 7])
def test_windows_reach_over_runs_of_any_length(length: int, runs: int) -> None:
    shard = Shard()
    batch = [
        run([["APPEND", "k", "x"] for _ in range(length)], client=i, sequence=i)
        for i in range(runs)
    ]
    shard.send(*batch)
    parts = shard.parts()
    assert [(part.client, part.commands) for part in parts] == [(i, length) for i in range(runs)]
    replies = b"".join(part.data for part in parts)
    assert replies == b"".join(b":%d\r\n" % (i + 1) for i in range(length * runs))


def test_a_command_sees_what_those_before_it_in_its_window_have_done() -> None:
    shard = Shard()
    shard.send(
        run([["SET", "a", "1"], ["FLUSHALL"], ["GET", "a"], ["SET", "a", "2"], ["DEL", "a"],
             ["EXISTS", "a"], ["SETNX", "a", "3"], ["GET", "a"]])
    )  # fmt: skip
    (part,) = shard.parts()
    assert part.data == b"+OK\r\n+OK\r\n$-1\r\n+OK\r\n:1\r\n:0\r\n:1\r\n$1\r\n3\r\n"


@pytest.mark.parametrize("native_lane", [True, False])
def test_swapped_databases_hold_for_the_rest_of_the_window(native_lane: bool) -> None:
    """The window's keys were bound to their databases before the swap among them was executed."""
    shard = Shard(native_lane=native_lane)
    shard.call("SET", "k", "zero")
    shard.call("SET", "k", "one", database=1)
    shard.send(
        run([["SWAPDB", "0", "1"], ["GET", "k"], ["SET", "k", "new"], ["GET", "k"]]),
        run([["GET", "k"]], database=1, client=1),
    )
    parts = shard.parts()
    assert [part.data for part in parts] == [
        b"+OK\r\n$3\r\none\r\n+OK\r\n$3\r\nnew\r\n",
        b"$4\r\nzero\r\n",
    ]
    shard.keyspace.check()


def test_databases_and_protocol_versions_are_those_of_the_run() -> None:
    shard = Shard()
    shard.send(
        run([["SET", "k", "v"]], database=2),
        run([["GET", "k"]], client=1),
        run([["GET", "k"]], client=2, resp=3),
        run([["GET", "k"]], client=3, database=2),
    )
    assert [part.data for part in shard.parts()] == [
        b"+OK\r\n", b"$-1\r\n", b"_\r\n", b"$1\r\nv\r\n",
    ]  # fmt: skip


def test_messages_for_another_incarnation_are_dropped() -> None:
    shard = Shard(epoch=2)
    for epoch in (1, 3):
        shard.send(run([["SET", "k", "v"]]), epoch=epoch)
    assert shard.parts() == []
    assert shard.keyspace.size(0) == 0


def test_each_worker_gets_its_own_answers() -> None:
    shard = Shard(workers=2)
    shard.send(run([["SET", "k", "v"]], client=1), worker=0)
    shard.send(run([["GET", "k"]], client=1), worker=1)
    shard.executor.service()
    assert [part.data for part in shard.parts(1)] == [b"$1\r\nv\r\n"]
    assert [part.data for part in shard.parts(0)] == [b"+OK\r\n"]


# Bulk


def test_a_run_waits_for_its_bulk_with_its_client_while_others_go_on() -> None:
    shard = Shard()
    command: list[bytes | str | int] = ["SET", "k", b"x" * 70_000]
    shard.send(
        run([["SET", "k", "old"]], client=1, sequence=0),
        large(command, 1, client=1, sequence=1),
        run([["STRLEN", "k"]], client=1, sequence=2),
        run([["STRLEN", "k"], ["APPEND", "k", "er"]], client=2, sequence=0),
    )
    shard.send(run([["GET", "k"], ["DEL", "k"]], client=1, sequence=3))
    assert [(p.client, p.sequence, p.data) for p in shard.parts()] == [
        (1, 0, b"+OK\r\n"),
        (2, 0, b":3\r\n:5\r\n"),
    ]
    assert shard.executor.unfinished == 3
    shard.bulk[0].post(encode(*command))
    parts = shard.parts()
    assert [(p.sequence, p.status) for p in parts] == [
        (1, PART_DONE), (2, PART_DONE), (3, PART_PARKED), (3, PART_DONE),
    ]  # fmt: skip
    assert parts[1].data == b":70000\r\n"
    assert parts[3].data == b"\r\n:1\r\n" or parts[3].data == b":1\r\n"
    assert shard.executor.unfinished == 0


def test_bulk_that_comes_first_waits_for_its_run() -> None:
    shard = Shard()
    commands: list[list[bytes | str | int]] = [["SET", "k", c * 70_000] for c in (b"a", b"b")]
    for command in commands:
        shard.bulk[0].post(encode(*command))
    shard.executor.service()
    shard.send(*(large(command, i + 1, client=i) for i, command in enumerate(commands)))
    assert [part.data for part in shard.parts()] == [b"+OK\r\n"] * 2
    assert shard.keyspace.read_string(0, b"k") == b"b" * 70_000


def test_bulks_of_different_clients_do_not_wait_for_one_another() -> None:
    shard = Shard(workers=2)
    command: list[bytes | str | int] = ["APPEND", "k", b"x" * 70_000]
    shard.send(large(command, 1, client=1), worker=0)
    shard.send(large(command, 1, client=1), worker=1)
    assert shard.parts(0) == shard.parts(1) == []
    shard.bulk[1].post(encode(*command))
    assert [part.data for part in shard.parts(1)] == [b":70000\r\n"]
    assert shard.parts(0) == []
    shard.executor.remove_links(0)
    assert shard.executor.unfinished == 0


@pytest.mark.parametrize("count", [1, 6])
def test_both_halves_of_a_large_reply_travel_in_one_message(count: int) -> None:
    """A shard's death between them left the client with half a reply and an error after it."""
    shard = Shard()
    shard.executor.out_bytes_max = 390_108  # what the inline part of such a message comes near to
    value = b"x" * 65_000
    shard.call("SET", "small", value)
    shard.keyspace.set_string(0, b"blob", b"y" * 100_000)
    shard.send(run([["GET", "small"]] * count + [["GET", "blob"]]))
    shard.executor.service()
    message = shard.links[0].fetch()
    assert message is not None
    parts = read_replies(message)[1]
    assert [part.status for part in parts] == [PART_PARKED, PART_DONE]
    assert sum(part.commands for part in parts) == count + 1
    bulk = shard.bulk[0].fetch()
    assert bulk is not None
    assert parts[0].data + bulk + parts[1].data == (
        b"$65000\r\n%b\r\n" % value * count + b"$100000\r\n" + b"y" * 100_000 + b"\r\n"
    )


# Transactions


class Lease:
    """A transaction that holds keys of a shard; its coordinator is another client, number 1000."""

    def __init__(self, shard: Shard, *keys: bytes, id: int = 1) -> None:
        self.shard = shard
        self.sequence = 0
        self.id = id
        words: list[bytes | str | int] = [word for key in keys for word in (key, b"w")]
        assert self.hop(RUN_LOCKS, ["SHARDIS.LOCK", "try", "keys", *words]).startswith(b":")

    def run(self, flags: int, *calls: list[bytes | str | int]) -> Run:
        self.sequence += 1
        return run(
            list(calls),
            client=1000 + self.id,
            sequence=self.sequence,
            flags=flags | RUN_INTERNAL | RUN_TRANSACTION,
            transaction=(self.id, 1, START_MS),
        )

    def hop(self, flags: int, *calls: list[bytes | str | int]) -> bytes:
        self.shard.send(self.run(flags, *calls))
        return b"".join(part.data for part in self.shard.parts() if part.client == 1000 + self.id)

    def release(self) -> list[Part]:
        self.shard.send(self.run(RUN_RELEASE, ["SHARDIS.RELEASE"]))
        return [part for part in self.shard.parts() if part.client != 1000 + self.id]


@pytest.mark.parametrize("locked", ["held", "k7"])
def test_the_bound_on_unread_replies_holds_while_something_is_locked(locked: str) -> None:
    """Each run was a special one, and none of these was followed by a look at the bound."""
    shard = Shard()
    shard.keyspace.set_string(0, b"value", b"x" * 60_000)
    lease = Lease(shard, locked.encode())
    keys = ["value", "k7"] if locked == "k7" else ["value"]
    shard.send(*(run([["GET", keys[n % len(keys)]]], client=n) for n in range(3000)))
    shard.executor.service()
    unread = 0
    while (message := shard.links[0].fetch()) is not None:
        unread += len(message)
    assert 8 << 20 <= unread < (8 << 20) + (1 << 19)
    assert lease.hop(0, ["GET", "value"])  # the worker's own runs are executed all the same


def test_what_is_parked_for_a_client_that_has_gone_is_dropped() -> None:
    shard = Shard()
    lease = Lease(shard, b"k")
    shard.send(
        run([["SET", "a", "1"], ["SET", "k", "1"], ["SET", "b", "1"]], client=3, sequence=1),
        run([["SET", "c", "1"]], client=3, sequence=2),
        run([["APPEND", "k", "2"]], client=4),
    )
    assert [(part.client, part.commands) for part in shard.parts()] == [(3, 1)]
    shard.links[0].post(cancel(1, 3))
    assert shard.parts() == [Part(3, 1, b"", 0), Part(3, 2, b"", 0)]
    assert [part.data for part in lease.release()] == [b":1\r\n"]
    assert shard.call("EXISTS", "a", "b", "c") == b":1\r\n"
    assert shard.executor.unfinished == 0
    shard.executor.locks.check([])


def test_a_large_command_of_a_client_that_has_gone_is_dropped_when_it_comes() -> None:
    shard = Shard()
    lease = Lease(shard, b"k")
    value: list[bytes | str | int] = ["SET", "large", b"x" * 70_000]
    shard.send(run([["SET", "k", "1"]], client=3), large(value, 1, client=3, sequence=1))
    shard.links[0].post(cancel(1, 3))
    assert shard.parts() == [Part(3, 0, b"", 0)]
    shard.send(run([["PING"]], client=3, sequence=2))
    assert shard.parts() == []
    shard.bulk[0].post(encode(*value))
    assert [part.sequence for part in shard.parts()] == [1, 2]
    lease.release()
    assert shard.call("EXISTS", "large") == b":0\r\n"
    assert shard.executor.unfinished == 0


def test_a_cancelled_client_of_another_incarnation_or_without_parked_runs_is_no_matter() -> None:
    shard = Shard()
    lease = Lease(shard, b"k")
    shard.send(run([["GET", "k"]], client=3))
    shard.links[0].post(cancel(2, 3))
    shard.links[0].post(cancel(1, 77))
    assert shard.parts() == []
    assert [part.data for part in lease.release()] == [b"$-1\r\n"]


def test_a_release_never_overtakes_a_part_whose_bytes_are_still_to_come() -> None:
    shard = Shard()
    lease = Lease(shard, b"k")
    value: list[bytes | str | int] = ["SET", "k", b"x" * 70_000]
    part = large(value, 1, client=1001, sequence=10)
    part.flags |= RUN_INTERNAL | RUN_TRANSACTION | RUN_PREPARE
    part.transaction = (1, 1, START_MS)
    lease.sequence = 10
    shard.send(part)
    shard.send(lease.run(RUN_COMMIT, ["SHARDIS.COMMIT"]))
    shard.send(lease.run(RUN_RELEASE, ["SHARDIS.RELEASE"]))
    shard.send(run([["STRLEN", "k"]], client=2))
    assert shard.parts() == []
    shard.bulk[0].post(encode(*value))
    assert [part.data for part in shard.parts()] == [b"", b"+OK\r\n", b"+OK\r\n", b":70000\r\n"]


def test_a_borrowed_key_that_can_t_be_unpacked_leaves_nothing_behind() -> None:
    """Not those either that were unpacked before it."""
    shard = Shard()
    source = Shard()
    source.call("SADD", "lent", "a")
    lease = Lease(source, b"lent")
    parcel = parse(lease.hop(0, ["SHARDIS.LEND", "lent"])).value
    lease = Lease(shard, b"home")
    lease.hop(0, ["SHARDIS.BORROW", "lent", parcel], ["SHARDIS.BORROW", "bad", parcel[:-1]])
    answer = lease.hop(RUN_COMMIT, ["SHARDIS.WITH", "SUNIONSTORE", "home", "lent", "bad"])
    assert answer.startswith(b"-ERR")
    lease.release()
    assert shard.call("DBSIZE") == b":0\r\n"
    assert not shard.executor.runner.lent


@pytest.mark.parametrize("kind", ["string", "just no blob", "list", "hash"])
def test_a_large_key_goes_in_pieces(kind: str) -> None:
    source, target = Shard(), Shard()
    if kind == "list":
        for n in range(40):
            source.call("RPUSH", "k", b"%d" % n * 30_000)
    elif kind == "hash":
        source.send(run([["HSET", "k", n, b"v" * 900] for n in range(4000)]))
        source.parts()
    else:
        size = 65_536 if kind == "just no blob" else 3_500_000
        source.keyspace.set_string(0, b"k", random_bytes(size))
    source.call("PEXPIREAT", "k", START_MS + 99_999)
    lease = Lease(source, b"k")
    size = int(lease.hop(0, ["SHARDIS.LEND", "k"])[1:])
    goal = Lease(target, b"other")
    sent = pieces = 0
    while sent < size:
        raw = lease.hop(0, ["SHARDIS.PIECE", "k", sent])
        raw = source.bulk[0].fetch() or raw
        piece = raw[raw.index(b"\r\n") + 2 : -2]
        assert len(piece) <= PIECE_BYTES
        assert goal.hop(0, ["SHARDIS.BORROW", "k", piece]) == b"+OK\r\n"
        sent += len(piece)
        pieces += 1
    assert sent == size
    assert pieces == -(-size // PIECE_BYTES)
    assert goal.hop(RUN_COMMIT, ["SHARDIS.STORE", "other", "rename_to"]) == b"+OK\r\n"
    goal.release()
    lease.release()
    for shard, key in ((source, "k"), (target, "other")):
        shard.keyspace.check()
        assert shard.call("PEXPIRETIME", key) == b":%d\r\n" % (START_MS + 99_999)
    digests = [
        parse(shard.call("DEBUG", "DIGEST-VALUE", key)).value[0].value
        for shard, key in ((source, "k"), (target, "other"))
    ]
    assert digests[0] == digests[1]


def random_bytes(size: int) -> bytes:
    return Random(size).randbytes(size)


def test_active_expiry_leaves_locked_keys_alone() -> None:
    shard = Shard()
    shard.call("SET", "k", "v", "PX", 10)
    shard.call("SET", "free", "v", "PX", 10)
    lease = Lease(shard, b"k")
    shard.now_ms += 1000
    shard.executor.runner.refresh_time()
    for _ in range(5):
        shard.keyspace.active_expire(1000, 1)
    assert shard.call("DBSIZE") == b":1\r\n"
    lease.release()
    shard.executor.runner.refresh_time()
    for _ in range(5):
        shard.keyspace.active_expire(1000, 1)
    assert shard.call("DBSIZE") == b":0\r\n"


def test_pushes_keep_their_place_among_the_replies() -> None:
    shard = Shard()
    shard.send(run([["PING"]]))
    shard.executor.service()
    shard.executor.push(0, 5, 77, b"+pushed\r\n")
    shard.send(run([["PING"]], sequence=1))
    shard.executor.service()
    found = []
    while (message := shard.links[0].fetch()) is not None:
        found.append(message)
    assert found[1] == push(1, 5, 77, b"+pushed\r\n")
    assert [read_replies(found[at])[1][0].sequence for at in (0, 2)] == [0, 1]


# Runs with much to answer


def work(shard: Shard, worker: int = 0) -> list[tuple[int, list[Part]]]:
    """Let the executor work: size and parts of each message that has come back."""
    shard.executor.service()
    found = []
    while (message := shard.links[worker].fetch()) is not None:
        found.append((len(message), read_replies(message)[1]))
    return found


def read(shard: Shard, size: int, worker: int = 0) -> None:
    shard.links[worker].post(have_read(1, size))


def test_a_run_with_much_to_answer_is_answered_bit_by_bit() -> None:
    shard = Shard()
    shard.executor.unread_bytes_max = 1 << 40
    value = b"x" * 60_000
    shard.call("SET", "k", value)
    shard.send(run([["GET", "k"]] * 1000, client=3, sequence=9))
    messages = work(shard)
    assert max(size for size, _ in messages) < (256 << 10) + 61_000
    parts = [part for _, found in messages for part in found]
    assert [part.status for part in parts] == [PART_PARKED] * (len(parts) - 1) + [PART_DONE]
    assert {(part.client, part.sequence) for part in parts} == {(3, 9)}
    assert sum(part.commands for part in parts) == 1000
    assert b"".join(part.data for part in parts) == b"$60000\r\n%b\r\n" % value * 1000


def test_replies_on_the_bulk_link_are_announced_soon() -> None:
    """The worker counts nothing as its client's before it knows whose it is."""
    shard = Shard()
    shard.executor.unread_bytes_max = 1 << 40
    shard.keyspace.set_string(0, b"blob", b"y" * 100_000)
    for i in range(20):
        shard.call("RPUSH", "list", b"%d" % i * 5000)
    for command in (["GET", "blob"], ["LRANGE", "list", "0", "-1"]):
        shard.send(run([command] * 50))
        messages = [parts for _, parts in work(shard)]
        assert max(sum(part.bulk != 0 for part in parts) for parts in messages) <= 3
        parts = [part for parts in messages for part in parts]
        assert sum(part.bulk != 0 for part in parts) == 50
        assert sum(part.commands for part in parts) == 50
        assert [part.status for part in parts] == [PART_PARKED] * (len(parts) - 1) + [PART_DONE]


def test_what_is_not_wanted_is_not_gathered() -> None:
    shard = Shard()
    shard.call("SET", "k", b"x" * 60_000)
    shard.send(run([["GET", "k"]] * 500 + [["SET", "done", "1"]], flags=RUN_REPLY_OFF))
    assert [parts for _, parts in work(shard)] == [[Part(0, 0, b"", 501)]]
    assert shard.call("GET", "done") == b"$1\r\n1\r\n"


@pytest.mark.parametrize("native_lane", [True, False])
def test_a_worker_that_does_not_read_is_not_executed_for(native_lane: bool) -> None:
    """What comes meanwhile is held, in order, wherever in a message or run execution stopped."""
    shard = Shard(workers=2, native_lane=native_lane)
    shard.executor.unread_bytes_max = 200_000
    shard.executor.out_bytes_max = 20_000
    shard.call("SET", "k", b"x" * 3000)
    expected: dict[tuple[int, int], bytes] = {}
    for i in range(40):
        batch = []
        for client in range(3):
            gets = (i + client) % 5 * 4
            commands: list[list[bytes | str | int]] = [["GET", "k"]] * gets + [["INCR", "n"]]
            batch.append(run(commands, client=client, sequence=i))
            expected[client, i] = b"$3000\r\n%b\r\n" % (b"x" * 3000) * gets
            expected[client, i] += b":%d\r\n" % (i * 3 + client + 1)
        shard.send(*batch)
    answers = dict.fromkeys(expected, b"")
    finished = []
    unread = 0
    rounds = 0
    while len(finished) < len(expected):
        messages = work(shard)
        unread += sum(size for size, _ in messages)
        assert unread < 200_000 + 20_000 + 3100
        for _, parts in messages:
            for part in parts:
                answers[part.client, part.sequence] += part.data
                if part.status == PART_DONE:
                    finished.append((part.client, part.sequence))
        shard.send(run([["GET", "k"]]), worker=1)
        assert len(work(shard, 1)) == 1  # the other worker goes on
        read(shard, 3100, 1)
        if len(finished) < len(expected):
            assert shard.executor.unfinished
            assert work(shard) == []
            read(shard, unread // 4)  # too little to begin again
            assert work(shard) == []
            read(shard, unread - unread // 4)
            unread = 0
        rounds += 1
    assert answers == expected
    assert finished == sorted(finished, key=lambda place: place[1])
    assert shard.executor.unfinished == 0
    assert rounds > 10


def test_a_very_large_reply_leaves_room_for_those_of_others() -> None:
    """It counts for 2 MiB of the 8 that may be unread: what is under way is one value, not many."""
    shard = Shard()
    shard.call("SET", "small", "v")
    shard.call("SETRANGE", "large", 20 << 20, "v")
    for client in range(3):
        shard.send(run([["GET", "large"]], client=client))
        shard.send(run([["GET", "small"]], client=10 + client))
        (_, small) = (part for part in shard.parts() if part.status == PART_DONE)
        assert small.data == b"$1\r\nv\r\n"
    shard.send(run([["GET", "large"]], client=3))
    shard.send(run([["GET", "small"]], client=13))
    assert [part.client for part in shard.parts() if part.status == PART_DONE] == [3]
    read(shard, 9 << 20)
    assert [part.client for part in shard.parts()] == [13]


def test_each_message_is_taken_once_however_often_it_was_cut() -> None:
    shard = Shard()
    shard.executor.unread_bytes_max = 10_000
    shard.executor.out_bytes_max = 2000
    shard.call("SET", "k", b"x" * 3000)
    read(shard, 100)
    for i in range(5):
        shard.send(run([["GET", "k"]] * 20, sequence=i))
    taken = 0
    for _ in range(200):
        shard.executor.service()
        while (message := shard.links[0].fetch()) is not None:
            taken += int.from_bytes(message[2:4], "little")
            read(shard, len(message))
    assert taken == 5
    assert shard.executor.unfinished == 0


def test_runs_behind_a_large_command_wait_for_the_worker_too() -> None:
    shard = Shard()
    shard.executor.unread_bytes_max = 50_000
    shard.executor.out_bytes_max = 5000
    shard.call("SET", "k", b"x" * 3000)
    value = b"v" * 70_000
    shard.send(large(["SET", "large", value], 1, sequence=0))
    for i in range(1, 4):
        shard.send(run([["GET", "k"]] * 30 + [["STRLEN", "large"]], sequence=i))
    work(shard)
    shard.bulk[0].post(encode("SET", "large", value))
    data = {i: b"" for i in range(4)}
    order = []
    for _ in range(100):
        messages = work(shard)
        size = sum(size for size, _ in messages)
        assert size < 50_000 + 5000 + 3100
        for _, parts in messages:
            for part in parts:
                order.append(part.sequence)
                data[part.sequence] += part.data
        if messages:
            assert work(shard) == []
            read(shard, size)
    assert order == sorted(order)
    assert data[0] == b"+OK\r\n"
    reply = b"$3000\r\n%b\r\n" % (b"x" * 3000) * 30 + b":70000\r\n"
    assert [data[i] for i in range(1, 4)] == [reply] * 3
    assert shard.executor.unfinished == 0


def test_a_worker_that_has_gone_leaves_nothing_held() -> None:
    shard = Shard()
    shard.executor.unread_bytes_max = 10_000
    shard.executor.out_bytes_max = 2000
    shard.call("SET", "k", b"x" * 3000)
    shard.send(run([["GET", "k"]] * 20))
    shard.send(run([["GET", "k"]] * 20))
    work(shard)
    assert shard.executor.unfinished == 2
    shard.executor.remove_links(0)
    assert shard.executor.unfinished == 0
    main, bulk = MemoryLink.pair("main"), MemoryLink.pair("bulk")
    assert shard.executor.add_links(main[1], bulk[1]) == 0
    shard.links[0] = main[0]
    assert shard.call("STRLEN", "k") == b":3000\r\n"


# Both lanes


def test_an_error_takes_back_what_a_python_handler_has_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def half_done(ctx: Context, args: list[bytes], reply: Reply) -> None:
        reply.array(2)
        reply.bulk(b"half")
        raise CommandError(b"ERR the other half is missing")

    declared = TABLE.table["GETRANGE"]
    commands = list(TABLE.table.by_id)
    commands[declared.id] = replace(declared, handler=half_done)
    monkeypatch.setattr(TABLE.table, "by_id", commands)
    shard = Shard(native_lane=False)
    shard.send(run([["SET", "k", "v"], ["GETRANGE", "k", "0", "1"], ["GET", "k"]]))
    (part,) = shard.parts()
    assert part.data == b"+OK\r\n-ERR the other half is missing\r\n$1\r\nv\r\n"
    assert part.commands == 3
    assert shard.executor.runner.errors == {b"ERR": 1}


CALLS: list[list[bytes | str | int]] = [
    ["SET", "k", "v"], ["GET", "k"], ["GET", "none"], ["SET", "k", "v", "NX"],
    ["SET", "k", "w", "GET"], ["SET", "k", "v", "EX", "100"], ["TTL", "k"],
    ["SET", "k", "v", "KEEPTTL"], ["PTTL", "k"], ["SET", "k", "v", "EX", "0"],
    ["SET", "k", "v", "NX", "XX"], ["SET", "n", "10"], ["INCR", "n"], ["DECR", "n"],
    ["INCRBY", "n", "5"], ["DECRBY", "n", "x"], ["INCR", "k"], ["APPEND", "k", "more"],
    ["STRLEN", "k"], ["STRLEN", "none"], ["GETRANGE", "k", "1", "-2"],
    ["SETRANGE", "k", "1", "zz"], ["MSET", "a", "1", "b", "2"], ["MGET", "a", "b", "none"],
    ["EXISTS", "a", "a", "none"], ["DEL", "a", "none"], ["UNLINK", "b"], ["TYPE", "k"],
    ["TYPE", "none"], ["SETNX", "k", "x"], ["GETSET", "k", "y"], ["GETDEL", "k"],
    ["SETEX", "k", "10", "v"], ["PSETEX", "k", "0", "v"], ["EXPIRE", "k", "100"],
    ["PERSIST", "k"], ["EXPIRE", "none", "1"], ["INCRBYFLOAT", "n", "0.5"], ["INCR", "n"],
    ["TOUCH", "n"], ["RENAME", "n", "m"], ["RENAME", "n", "m"], ["DBSIZE"], ["GETEX", "m"],
]  # fmt: skip


@pytest.mark.parametrize("resp", [2, 3])
def test_both_lanes_answer_with_the_same_bytes(resp: int) -> None:
    native, python = Shard(), Shard(native_lane=False)
    for call in CALLS:
        assert native.call(*call, resp=resp) == python.call(*call, resp=resp), call
    assert native.keyspace.changes == python.keyspace.changes
    assert sorted(native.keyspace.keys(0)) == sorted(python.keyspace.keys(0))
    assert native.executor.runner.errors == python.executor.runner.errors
    figures = [
        {name: (row[0], row[3]) for name, row in shard.executor.runner.command_statistics().items()}
        for shard in (native, python)
    ]
    assert figures[0] == figures[1]


# Figures


def test_calls_and_failures_are_counted_but_not_those_of_the_worker_itself() -> None:
    shard = Shard()
    shard.send(run([["SET", "k", "v"], ["INCR", "k"], ["GET", "k"], ["GET", "k"]]))
    shard.send(run([["GET", "k"]], flags=RUN_INTERNAL, client=1))
    shard.parts()
    figures = shard.executor.runner.command_statistics()
    assert {name: (row[0], row[3]) for name, row in figures.items()} == {
        "set": (1, 0), "incr": (1, 1), "get": (2, 0),
    }  # fmt: skip
    assert shard.executor.runner.commands_processed == 4
    assert shard.executor.runner.errors == {b"ERR": 1}
    shard.executor.runner.reset_statistics()
    assert shard.executor.runner.command_statistics() == {}
    assert (shard.executor.runner.commands_processed, shard.executor.runner.errors) == (0, {})


def test_time_is_the_clocks() -> None:
    shard = Shard()
    assert shard.call("SET", "k", "v", "PX", "100") == b"+OK\r\n"
    shard.now_ms += 100
    assert shard.call("PTTL", "k") == b":0\r\n"
    shard.now_ms += 1
    assert shard.call("GET", "k") == b"$-1\r\n"
    assert shard.executor.runner.refresh_time() == START_MS + 101


def atomic(commands: list[list[bytes | str | int]], **more: int) -> Run:
    """An EXEC of these commands."""
    return replace(run(commands, **more), flags=RUN_ATOMIC)


def test_an_exec_is_one_command_with_one_array_for_its_reply() -> None:
    shard = Shard()
    shard.send(
        run([["SET", "a", "1"]], client=1),
        atomic([["INCR", "a"], ["LPUSH", "a", "x"], ["GET", "a"]], client=1, sequence=1),
        run([["GET", "a"]], client=1, sequence=2),
    )
    wrong = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
    assert shard.parts() == [
        Part(1, 0, b"+OK\r\n", 1),
        Part(1, 1, b"*3\r\n:2\r\n" + wrong + b"$1\r\n2\r\n", 1),
        Part(1, 2, b"$1\r\n2\r\n", 1),
    ]


def test_an_exec_waits_for_all_of_its_keys_together() -> None:
    shard = Shard()
    lease = Lease(shard, b"b", b"c")
    shard.send(
        atomic([["SET", "a", "1"], ["SET", "b", "1"], ["GET", "c"]], client=1),
        run([["GET", "a"]], client=2),
        run([["GET", "a"]], client=1, sequence=1),
    )
    # Nothing of it has run. Its client waits with it, and who needs a key of it is after it.
    assert shard.parts() == []
    assert shard.executor.unfinished == 3
    assert {(part.client, part.data) for part in lease.release()} == {
        (1, b"*3\r\n+OK\r\n+OK\r\n$-1\r\n"),
        (1, b"$1\r\n1\r\n"),
        (2, b"$1\r\n1\r\n"),
    }
    assert shard.executor.unfinished == 0
    assert shard.executor.locks.tickets == 0


def test_an_exec_of_free_keys_passes_others_locks() -> None:
    shard = Shard()
    Lease(shard, b"b")
    shard.send(atomic([["SET", "a", "1"], ["DEL", "c"]]))
    (part,) = shard.parts()
    assert part.data == b"*2\r\n+OK\r\n:0\r\n"


def test_an_exec_that_concerns_the_whole_shard_waits_for_any_lock() -> None:
    shard = Shard()
    lease = Lease(shard, b"b")
    shard.send(atomic([["SET", "a", "1"], ["FLUSHALL"], ["DBSIZE"]]))
    assert shard.parts() == []
    (part,) = lease.release()
    assert part.data == b"*3\r\n+OK\r\n+OK\r\n:0\r\n"


def test_a_large_exec_comes_by_the_bulk_link() -> None:
    shard = Shard()
    commands: list[list[bytes | str | int]] = [["SET", "a", b"x" * 70_000], ["STRLEN", "a"]]
    whole = atomic(commands, client=1)
    shard.send(
        replace(whole, raw=b"", bulk=1, flags=RUN_ATOMIC | RUN_BULK),
        run([["GET", "b"]], client=1, sequence=1),
    )
    assert shard.parts() == []
    shard.bulk[0].post(whole.raw)
    assert [part.data for part in shard.parts()] == [b"*2\r\n+OK\r\n:70000\r\n", b"$-1\r\n"]


def test_large_replies_inside_an_exec_go_by_the_bulk_link_and_count_once() -> None:
    shard = Shard()
    shard.keyspace.set_string(0, b"blob", b"y" * 100_000)
    shard.call("RPUSH", "list", *[b"z" * 1000] * 100)
    shard.send(atomic([["GET", "blob"], ["LRANGE", "list", "0", "-1"], ["PING"]]))
    parts = shard.parts()
    assert [part.commands for part in parts] == [0, 0, 1]
    found = b""
    for part in parts:
        found += part.data
        if part.bulk:
            bulk = shard.bulk[0].fetch()
            assert bulk is not None
            found += bulk
    assert found == (
        b"*3\r\n$100000\r\n" + b"y" * 100_000 + b"\r\n*100\r\n"
        + (b"$1000\r\n" + b"z" * 1000 + b"\r\n") * 100 + b"+PONG\r\n"
    )  # fmt: skip


def test_an_exec_is_postponed_whole_while_its_worker_does_not_read() -> None:
    shard = Shard()
    shard.keyspace.set_string(0, b"value", b"x" * 60_000)
    shard.executor.unread_bytes_max = 100_000
    shard.executor.out_bytes_max = 50_000
    shard.send(*(atomic([["GET", "value"], ["INCR", "n"]], client=n) for n in range(4)))
    assert len(shard.parts()) == 2
    assert shard.keyspace.read_string(0, b"n") == b"2"
    shard.links[0].post(have_read(1, 200_000))
    assert len(shard.parts()) == 2
    assert shard.keyspace.read_string(0, b"n") == b"4"


class Records:
    """What a log is told."""

    def __init__(self, found: list[bytes]) -> None:
        self.found = found

    def record(self, number: int, time_ns: int, first: int, last: int, data: bytes) -> None:
        self.found.append(data)


def test_the_effects_of_an_exec_are_one_record() -> None:
    shard = Shard()
    records: list[bytes] = []
    shard.context.effects.attach(Records(records))
    shard.send(atomic([["SET", "a", "1"], ["GET", "a"], ["RPUSH", "b", "x"]]))
    shard.parts()
    shard.send(atomic([["GET", "a"]]), atomic([["INCR", "a"], ["PING"]], sequence=1))
    shard.parts()
    assert records == [
        encode("MULTI") + encode("SET", "a", 1) + encode("RPUSH", "b", "x") + encode("EXEC"),
        encode("INCR", "a"),
    ]


def test_a_client_that_has_gone_gets_no_exec() -> None:
    shard = Shard()
    lease = Lease(shard, b"b")
    shard.send(atomic([["SET", "b", "1"]], client=3))
    shard.links[0].post(cancel(1, 3))
    assert shard.parts() == [Part(3, 0, b"", 0)]
    lease.release()
    assert shard.call("EXISTS", "b") == b":0\r\n"
