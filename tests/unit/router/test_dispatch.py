"""The worker's dispatcher, over sessions whose shards the test plays."""

from __future__ import annotations

import pytest

from tests.support.envelopes import (
    PART,
    PART_PARKED,
    REPLY_HEADER,
    RUN_BULK,
    RUN_INTERNAL,
    Part,
    push,
    replies,
)
from tests.support.resp_client import encode
from tests.support.rig import Client, Rig, Shard, reply_to

MIB = 1 << 20
LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"


@pytest.fixture
def rig() -> Rig:
    return Rig(3)


def test_commands_go_to_the_shard_of_their_key(rig: Rig) -> None:
    client = rig.client()
    for index, shard in enumerate(rig.shards):
        rig.send(client, ["SET", rig.key(index), "v"], ["MGET", rig.key(index), rig.key(index)])
        (run,) = shard.runs()
        assert len(run.commands) == 2
        length, offset, size, _, slot = run.commands[0]
        assert run.raw[:length][offset : offset + size] == rig.key(index)
        assert rig.dispatcher.shard_of(slot) == index


def test_one_message_for_each_shard_and_tick(rig: Rig) -> None:
    clients = [rig.client() for _ in range(5)]
    for client in clients:
        client.session.push(encode("GET", rig.key(0)) + encode("GET", rig.key(1)))
    rig.tick()
    assert [figures["messages"] for figures in rig.dispatcher.statistics()] == [1, 1, 0]
    assert [run.client for run in rig.shards[0].runs()] == [c.session.slot for c in clients]


def test_a_run_carries_what_the_session_was_when_it_was_parsed(rig: Rig) -> None:
    client = rig.client()
    key = rig.key(0)
    rig.send(client, ["GET", key], ["SELECT", "3"], ["GET", key], ["HELLO", "3"], ["GET", key])
    runs = rig.shards[0].runs()
    assert [(run.database, run.resp) for run in runs] == [(0, 2), (3, 2), (3, 3)]
    assert {run.client_id for run in runs} == {client.session.id}


def test_keys_of_several_shards_are_the_hosts(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["SINTER", rig.key(0), rig.key(0), rig.key(1)])
    assert [command.name for _, command, _ in rig.barriers] == ["SINTER"]


def test_a_new_slot_map_routes_what_is_parsed_from_then_on(rig: Rig) -> None:
    client = rig.client()
    key = rig.key(0)
    rig.send(client, ["GET", key])
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    rig.dispatcher.set_slots(2, [(0, 16383, 2)])
    rig.send(client, ["GET", key])
    (run,) = rig.shards[2].runs()
    assert run.map_version == 2


def test_an_internal_session_sends_all_to_its_shard(rig: Rig) -> None:
    client = rig.client()
    client.session.pinned = 2
    rig.send(client, ["SHARDIS.BORROW", rig.key(0), "parcel"])
    (run,) = rig.shards[2].runs()
    assert run.flags & RUN_INTERNAL


def test_long_pipelines_are_cut_into_runs(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, *[["GET", rig.key(0)]] * 2500)
    runs = rig.shards[0].runs()
    assert [len(run.commands) for run in runs] == [1024, 1024, 452]
    assert [run.sequence for run in runs] == [0, 1, 2]


# Deaths


def test_unanswered_reads_of_a_dead_shard_get_loading_in_their_order(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["GET", rig.key(1)], ["GET", rig.key(0)], ["GET", rig.key(0)], ["PING"])
    (run,) = rig.shards[1].runs()
    rig.dispatcher.shard_down(0)
    rig.tick()
    assert client.take() == b""
    rig.shards[1].answer(reply_to(run, b"$1\r\na\r\n"))
    rig.tick()
    assert client.take() == b"$1\r\na\r\n" + LOADING * 2 + b"+PONG\r\n"
    assert rig.in_flight(0) == 0
    assert rig.dispatcher.counts.errors == {b"LOADING": 2}


def test_a_read_that_was_answered_in_part_gets_loading_for_the_rest(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, *[["GET", rig.key(0)]] * 3)
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(Part(run.client, run.sequence, b"$1\r\na\r\n", 1, PART_PARKED))
    rig.tick()
    rig.dispatcher.shard_down(0)
    rig.tick()
    assert client.take() == b"$1\r\na\r\n" + LOADING * 2


def test_a_small_batch_waits_for_the_answer_of_the_one_before(rig: Rig) -> None:
    rig.dispatcher.batch_bytes_held_max = 8192
    first, second, third = rig.client(), rig.client(), rig.client()
    rig.send(first, ["GET", rig.key(0)])
    (run,) = rig.shards[0].runs()
    rig.send(second, ["GET", rig.key(0)])
    rig.send(third, ["GET", rig.key(0)])
    assert rig.shards[0].runs() == []
    rig.shards[0].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    assert [run.client for run in rig.shards[0].runs()] == [
        second.session.slot,
        third.session.slot,
    ]


def test_a_large_batch_waits_for_nothing(rig: Rig) -> None:
    rig.dispatcher.batch_bytes_held_max = 8192
    client = rig.client()
    rig.send(client, ["GET", rig.key(0)])
    assert len(rig.shards[0].runs()) == 1
    rig.send(client, ["SET", rig.key(0), b"v" * 9000])
    assert len(rig.shards[0].runs()) == 1


def test_strict_order_asks_one_shard_after_the_other(rig: Rig) -> None:
    rig.dispatcher.strict_order = True
    client = rig.client()
    rig.send(
        client, ["SET", rig.key(0), "v"], ["SET", rig.key(0), "w"], ["GET", rig.key(1)], ["PING"]
    )
    (run,) = rig.shards[0].runs()
    assert len(run.commands) == 2
    assert rig.shards[1].runs() == []
    rig.shards[0].answer(reply_to(run, b"+OK\r\n+OK\r\n"))
    rig.tick()
    rig.tick()
    (run,) = rig.shards[1].runs()
    rig.shards[1].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    assert client.take() == b"+OK\r\n+OK\r\n$-1\r\n+PONG\r\n"


def test_an_unanswered_write_on_a_dead_shard_disconnects(rig: Rig) -> None:
    writer, reader = rig.client(), rig.client()
    rig.send(writer, ["GET", rig.key(1)], ["GET", rig.key(0)], ["SET", rig.key(0), "v"])
    rig.send(reader, ["SET", rig.key(1), "v"], ["GET", rig.key(0)])
    rig.dispatcher.shard_down(0)
    assert (writer.closed, reader.closed) == (True, False)
    assert rig.taken() == 2
    runs = rig.shards[1].runs()
    rig.shards[1].answer(reply_to(runs[0], b"$-1\r\n"), reply_to(runs[1], b"+OK\r\n"))
    rig.tick()
    assert writer.take() == b""
    assert reader.take() == b"+OK\r\n" + LOADING
    assert rig.taken() == 1


def test_new_commands_for_a_dead_shard_are_refused_until_it_lives_again(rig: Rig) -> None:
    client = rig.client()
    rig.dispatcher.shard_down(0)
    rig.send(client, ["SET", rig.key(0), "v"], ["SET", rig.key(1), "v"])
    (run,) = rig.shards[1].runs()
    rig.shards[1].answer(reply_to(run, b"+OK\r\n"))
    rig.tick()
    assert client.take() == LOADING + b"+OK\r\n"
    assert rig.dispatcher.unreachable == 1
    rig.up(0, Shard(2))
    rig.send(client, ["SET", rig.key(0), "v"])
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(reply_to(run, b"+OK\r\n"))
    rig.tick()
    assert client.take() == b"+OK\r\n"


def test_answers_of_an_old_incarnation_are_dropped(rig: Rig) -> None:
    client = rig.client()
    rig.dispatcher.shard_down(0)
    rig.up(0, Shard(2))
    rig.send(client, ["GET", rig.key(0)])
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(reply_to(run, b"$3\r\nold\r\n"), epoch=1)
    rig.tick()
    assert client.take() == b""
    rig.shards[0].answer(reply_to(run, b"$3\r\nnew\r\n"))
    rig.tick()
    assert client.take() == b"$3\r\nnew\r\n"


@pytest.mark.parametrize(("client", "sequence"), [(0, 1), (0, 2**32 - 1), (2, 0), (999, 0)])
def test_an_answer_that_nobody_waits_for_ends_that_link_and_no_other(
    rig: Rig, client: int, sequence: int
) -> None:
    """It ended the worker, with all its clients."""
    reader, writer, other = rig.client(), rig.client(), rig.client()
    rig.send(reader, ["GET", rig.key(0)])
    rig.send(writer, ["SET", rig.key(0), "x"])
    rig.send(other, ["GET", rig.key(1)])
    rig.shards[0].answer(Part(client, sequence, b"$-1\r\n", 1))
    rig.tick()
    assert rig.broken == [0]
    assert reader.take() == LOADING
    assert writer.closed
    (run,) = rig.shards[1].runs()
    rig.shards[1].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    assert other.take() == b"$-1\r\n"
    rig.send(other, ["GET", rig.key(0)])
    assert other.take() == LOADING


@pytest.mark.parametrize("cut", [1, 11, 19, 25, 43])
def test_a_message_that_is_cut_off_ends_its_link(rig: Rig, cut: int) -> None:
    client = rig.client()
    rig.send(client, ["GET", rig.key(0)])
    (run,) = rig.shards[0].runs()
    rig.shards[0].link.post(replies(1, [reply_to(run, b"$-1\r\n")])[:cut])
    rig.tick()
    assert rig.broken == [0]
    assert client.take() == LOADING


# Clients that have gone, and what is sent to them unasked


def test_a_shard_hears_of_a_client_that_has_gone_after_its_commands(rig: Rig) -> None:
    client = rig.client()
    client.session.push(encode("GET", rig.key(0)) + encode("GET", rig.key(1)))
    client.close_session(client.session)
    rig.tick()
    (run,) = rig.shards[0].runs()
    assert rig.shards[0].gone == [run.client]
    (other,) = rig.shards[1].runs()
    assert rig.shards[1].gone == [run.client]
    assert rig.shards[2].runs() == []
    assert rig.shards[2].gone == []
    rig.shards[0].answer(reply_to(run, b""))
    rig.shards[1].answer(reply_to(other, b""))
    rig.tick()
    assert rig.taken() == 0


def test_nothing_is_said_of_a_client_that_owes_nothing(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["GET", rig.key(0)])
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    client.close_session(client.session)
    rig.tick()
    assert rig.shards[0].runs() == []
    assert rig.shards[0].gone == []


def test_a_push_comes_after_what_its_shard_has_answered(rig: Rig) -> None:
    client = rig.client()
    id = client.session.id
    rig.send(client, ["GET", rig.key(0)], ["GET", rig.key(1)], ["GET", rig.key(0)])
    slow, last = rig.shards[0].runs()
    (fast,) = rig.shards[1].runs()
    rig.shards[1].link.post(push(1, slow.client, id, b"+before\r\n"))
    rig.shards[1].answer(reply_to(fast, b"$1\r\n1\r\n"))
    rig.shards[1].link.post(push(1, slow.client, id, b"+after\r\n"))
    rig.tick()
    assert client.take() == b"+before\r\n"  # nothing of its shard waits for its turn then
    rig.shards[0].answer(reply_to(slow, b"$1\r\n0\r\n"))
    rig.shards[0].answer(reply_to(last, b"$1\r\n2\r\n"))
    rig.shards[1].link.post(push(1, slow.client, id, b"+idle\r\n"))
    rig.tick()
    assert client.take() == b"$1\r\n0\r\n$1\r\n1\r\n+after\r\n$1\r\n2\r\n+idle\r\n"


def test_a_push_for_a_client_that_has_gone_is_dropped(rig: Rig) -> None:
    client, other = rig.client(), rig.client()
    slot = client.session.slot
    rig.shards[0].link.post(push(1, slot, client.session.id + 1, b"+x\r\n"))
    rig.shards[0].link.post(push(2, slot, client.session.id, b"+x\r\n"))
    rig.shards[0].link.post(push(1, 999, client.session.id, b"+x\r\n"))
    rig.tick()
    assert client.take() == b""
    assert other.take() == b""
    assert rig.broken == []


# Large values


def test_a_large_command_goes_by_the_bulk_link(rig: Rig) -> None:
    client = rig.client()
    commands: list[list[bytes | str | int]] = [
        ["SET", rig.key(0), "a"],
        ["SET", rig.key(0), b"x" * 70_000],
        ["GET", rig.key(0)],
    ]
    rig.send(client, *commands)
    small, large, last = rig.shards[0].runs()
    assert (large.flags & RUN_BULK, large.bulk, large.raw) == (RUN_BULK, 1, b"")
    assert (small.bulk, last.bulk) == (0, 0)
    assert rig.shards[0].bulk.fetch() == encode(*commands[1])
    assert rig.in_flight(0) == sum(len(encode(*command)) for command in commands)
    rig.shards[0].answer(
        *(reply_to(run, b"+%d\r\n" % i) for i, run in enumerate((small, large, last)))
    )
    rig.tick()
    assert client.take() == b"+0\r\n+1\r\n+2\r\n"
    assert rig.in_flight(0) == 0


def test_a_large_command_in_pieces_keeps_what_stands_around_it(rig: Rig) -> None:
    client = rig.client()
    large = encode("SET", rig.key(0), b"x" * 70_000)
    whole = encode("ECHO", "a") + large + encode("ECHO", "b") + large + encode("GET", rig.key(1))
    for start in range(0, len(whole), 9_000):
        client.session.push(whole[start : start + 9_000])
    rig.tick()
    assert [run.flags for run in rig.shards[0].runs()] == [RUN_BULK, RUN_BULK]
    assert [rig.shards[0].bulk.fetch() for _ in range(3)] == [large, large, None]
    (run,) = rig.shards[1].runs()
    assert run.raw == encode("GET", rig.key(1))


@pytest.mark.parametrize("bulk_first", [False, True])
@pytest.mark.parametrize("head", [False, True])
def test_a_large_reply_takes_its_place_whenever_it_comes(
    rig: Rig, bulk_first: bool, head: bool
) -> None:
    client = rig.client()
    if not head:
        rig.send(client, ["GET", rig.key(1)])
    rig.send(client, ["GET", rig.key(0)], ["GET", rig.key(0)], ["PING"])
    (run,) = rig.shards[0].runs()
    payload = b"$100000\r\n" + b"x" * 100_000
    parts = (
        Part(run.client, run.sequence, b"", 1, PART_PARKED, bulk=1),
        Part(run.client, run.sequence, b"\r\n$1\r\nb\r\n", 1),
    )
    if bulk_first:
        rig.shards[0].bulk.post(payload)
        rig.tick()
        rig.shards[0].answer(*parts)
    else:
        rig.shards[0].answer(*parts)
        rig.tick()
        rig.shards[0].bulk.post(payload)
    rig.tick()
    before = b""
    if not head:
        assert client.take() == b""
        (run,) = rig.shards[1].runs()
        rig.shards[1].answer(reply_to(run, b"$1\r\na\r\n"))
        rig.tick()
        before = b"$1\r\na\r\n"
    assert client.take() == before + payload + b"\r\n$1\r\nb\r\n+PONG\r\n"
    assert not client.session.waits


@pytest.mark.parametrize("bulk_first", [False, True])
def test_a_large_reply_to_a_client_that_has_left_is_dropped(rig: Rig, bulk_first: bool) -> None:
    client = rig.client()
    rig.send(client, ["GET", rig.key(1)], ["GET", rig.key(0)])
    (run,) = rig.shards[0].runs()
    part = Part(run.client, run.sequence, b"", 1, bulk=1)
    if bulk_first:
        rig.shards[0].bulk.post(b"x" * 70_000)
    else:
        rig.shards[0].answer(part)
        rig.tick()
    client.session.closed_by_driver()
    if bulk_first:
        rig.shards[0].answer(part)
    (run,) = rig.shards[1].runs()
    rig.shards[1].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    assert rig.taken() == 0
    # `client.session` still lives here, but its slot is free: nothing may be looked up by it.
    rig.shards[0].bulk.post(b"x" * 70_000)
    rig.tick()


def test_a_shard_hears_what_was_read_of_its_replies_on_both_links(rig: Rig) -> None:
    rig.dispatcher.read_bytes_min = 100_000
    client = rig.client()
    rig.send(client, ["GET", rig.key(1)], ["GET", rig.key(0)])
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(Part(run.client, run.sequence, b"x" * 40_000, 0, PART_PARKED))
    rig.tick()
    assert rig.shards[0].runs() == []
    assert rig.shards[0].read == []
    rig.shards[0].bulk.post(b"y" * 70_000)
    rig.shards[0].answer(Part(run.client, run.sequence, b"", 1, bulk=1))
    rig.tick()
    assert rig.shards[0].runs() == []
    assert rig.shards[0].read == [40_000 + 70_000 + 2 * (REPLY_HEADER.size + PART.size)]
    assert rig.shards[1].read == []
    rig.dispatcher.shard_down(0)
    rig.up(0, Shard(2))
    rig.dispatcher.read_bytes_min = 0
    rig.send(client, ["GET", rig.key(0)])
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    rig.shards[0].runs()
    assert rig.shards[0].read == [5 + REPLY_HEADER.size + PART.size]


def half_answered(rig: Rig, shard: int, behind: int | None = None) -> Client:
    """A client that waits for the bulk of a reply whose place has been announced."""
    client = rig.client()
    if behind is not None:
        rig.send(client, ["GET", rig.key(behind)])
    rig.send(client, ["GET", rig.key(shard)])
    run = rig.shards[shard].runs()[-1]
    rig.shards[shard].answer(Part(run.client, run.sequence, b"", 1, bulk=1))
    rig.tick()
    return client


def test_a_death_disconnects_who_waits_for_a_large_reply_of_that_shard_only(rig: Rig) -> None:
    """All who waited for any shard's large reply used to be disconnected (simulation, seed 771)."""
    own = half_answered(rig, 0)
    other = half_answered(rig, 1)
    rig.dispatcher.shard_down(0)
    assert own.closed
    assert not other.closed
    rig.shards[1].bulk.post(b"$2\r\nab\r\n")
    rig.tick()
    assert other.take() == b"$2\r\nab\r\n"


def test_a_death_leaves_no_large_reply_behind_other_replies(rig: Rig) -> None:
    """A block in the ring, not yet in the output, was freed and then still sent."""
    client = half_answered(rig, 0, behind=1)
    rig.dispatcher.shard_down(0)
    assert client.closed
    (run,) = rig.shards[1].runs()
    rig.shards[1].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    assert client.take() == b""
    assert rig.taken() == 0


def test_bulk_numbers_begin_anew_with_an_incarnation(rig: Rig) -> None:
    client = rig.client()
    rig.shards[0].bulk.post(b"early")
    rig.tick()
    rig.dispatcher.shard_down(0)
    rig.up(0, Shard(2))
    rig.send(client, ["GET", rig.key(0)])
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(Part(run.client, run.sequence, b"", 1, bulk=1))
    rig.shards[0].bulk.post(b"$3\r\nnew\r\n")
    rig.tick()
    assert client.take() == b"$3\r\nnew\r\n"


# A shard with too much in flight


def test_a_very_large_command_holds_back_its_own_client_only(rig: Rig) -> None:
    large, small = rig.client(), rig.client()
    rig.send(large, ["SET", rig.key(0), bytes(70 * MIB)])
    for _ in range(3):
        rig.send(small, ["GET", rig.key(0)])
    rig.send(large, ["GET", rig.key(0)])
    runs = rig.shards[0].runs()
    assert [run.client for run in runs] == [large.session.slot, *[small.session.slot] * 3]
    rig.shards[0].answer(*(reply_to(run, b"+OK\r\n") for run in runs))
    rig.tick()
    (last,) = rig.shards[0].runs()
    assert last.client == large.session.slot
    rig.shards[0].answer(reply_to(last, b"+OK\r\n"))
    rig.tick()
    assert rig.in_flight(0) == 0


def test_a_very_large_reply_is_reported_for_what_it_counts(rig: Rig) -> None:
    """As much as the shard has counted it for, or what else is unread would be forgotten."""
    client = rig.client()
    rig.send(client, ["GET", rig.key(0)])
    (run,) = rig.shards[0].runs()
    part = Part(run.client, run.sequence, b"", 1, bulk=1)
    rig.shards[0].answer(part)
    rig.shards[0].bulk.post(bytes(20 * MIB))
    rig.tick()
    assert rig.shards[0].runs() == []
    assert 2 * MIB <= sum(rig.shards[0].read) < 2 * MIB + 200


@pytest.mark.parametrize("size", [40_000, 900_000])
def test_sessions_are_held_back_while_a_shard_has_too_much_in_flight(rig: Rig, size: int) -> None:
    """Also by large commands, which used not to count."""
    command = encode("SET", rig.key(0), b"v" * size)
    each = MIB // len(command) or 1
    clients = [rig.client() for _ in range(80 * MIB // (each * len(command)))]
    for client in clients:
        for _ in range(each):
            client.session.push(command)
    late = clients[-1]
    rig.tick()
    assert 64 * MIB < rig.in_flight(0) < 66 * MIB + len(command) * len(clients)
    late.session.push(encode("PING"))
    rig.tick()
    assert late.take() == b""
    while runs := rig.shards[0].runs():
        for run in runs:
            rig.shards[0].answer(reply_to(run, b"+OK\r\n" * len(run.commands)))
        rig.tick()
    assert late.take() == b"+OK\r\n" * each + b"+PONG\r\n"
    assert rig.in_flight(0) == 0


def test_a_death_lets_those_go_on_who_waited_for_the_shard(rig: Rig) -> None:
    command = encode("SET", rig.key(0), b"v" * 60_000)
    clients = [rig.client() for _ in range(70)]
    for client in clients:
        for _ in range(17):
            client.session.push(command)
    late = rig.client()
    late.session.push(encode("GET", rig.key(0)))
    late.session.push(encode("PING"))
    rig.tick()
    assert late.take() == b""
    rig.dispatcher.shard_down(0)
    rig.tick()
    assert all(client.closed for client in clients)
    assert late.take() == LOADING + b"+PONG\r\n"
    assert rig.taken() == 1
