"""A session alone: bytes in, replies out, over a dispatcher whose shards the test plays."""

from __future__ import annotations

import itertools
from collections import deque

import pytest

from sessions.slowlog import Monitor
from tests.support.resp_client import encode
from tests.support.rig import Rig, reply_to

MIB = 1 << 20


@pytest.fixture
def rig() -> Rig:
    return Rig(2)


def test_input_may_be_cut_anywhere(rig: Rig) -> None:
    key = rig.key(0)
    whole = encode("ECHO", "a") + encode("SET", key, b"\r\n$5\r\n") + b"PING\r\n" + encode("PING")
    for cut in range(len(whole) + 1):
        client = rig.client()
        for piece in (whole[:cut], whole[cut:]):
            client.session.push(piece)
            rig.tick()
        runs = rig.shards[0].runs()
        assert [run.raw for run in runs] == [encode("SET", key, b"\r\n$5\r\n")]
        rig.shards[0].answer(reply_to(runs[0], b"+OK\r\n"))
        rig.tick()
        assert client.take() == b"$1\r\na\r\n+OK\r\n+PONG\r\n+PONG\r\n"
        client.session.closed_by_driver()
    assert rig.taken() == 0


def test_input_may_come_byte_by_byte(rig: Rig) -> None:
    client = rig.client()
    for i in (encode("ECHO", "abc") + b"ECHO 'd e'\r\n") * 2:
        client.session.push(bytes([i]))
    rig.tick()
    assert client.take() == b"$3\r\nabc\r\n$3\r\nd e\r\n" * 2


def test_replies_keep_the_order_of_the_commands(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["GET", rig.key(0)], ["ECHO", "x"], ["GET", rig.key(1)], ["PING"])
    (first,), (second,) = rig.shards[0].runs(), rig.shards[1].runs()
    rig.shards[1].answer(reply_to(second, b"$1\r\n2\r\n"))
    rig.tick()
    assert client.take() == b""
    rig.shards[0].answer(reply_to(first, b"$1\r\n1\r\n"))
    rig.tick()
    assert client.take() == b"$1\r\n1\r\n$1\r\nx\r\n$1\r\n2\r\n+PONG\r\n"


def test_a_barrier_waits_for_all_before_it_and_holds_all_behind_it(rig: Rig) -> None:
    client = rig.client()
    both = [rig.key(0), rig.key(1)]
    rig.send(client, ["GET", both[0]], ["RENAMENX", *both], ["GET", both[1]], ["PING"])
    (run,) = rig.shards[0].runs()
    assert rig.barriers == []
    rig.shards[0].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    ((session, command, args),) = rig.barriers
    assert (session, command.name, args) == (client.session, "RENAMENX", [b"RENAMENX", *both])
    assert rig.shards[1].runs() == []
    assert client.take() == b"$-1\r\n"
    session.complete_barrier(b":0\r\n")
    rig.tick()
    (run,) = rig.shards[1].runs()
    rig.shards[1].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    assert client.take() == b":0\r\n$-1\r\n+PONG\r\n"


def test_a_client_that_leaves_during_a_barrier_gives_its_slot_back_afterwards(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["RENAMENX", rig.key(0), rig.key(1)], ["PING"])
    client.session.closed_by_driver()
    assert rig.taken() == 1
    client.session.complete_barrier(b":0\r\n")
    assert rig.taken() == 0
    assert rig.gone == 1


def test_a_client_that_leaves_before_its_barrier_has_begun(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["GET", rig.key(0)], ["RENAMENX", rig.key(0), rig.key(1)])
    client.session.closed_by_driver()
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    assert rig.barriers == []
    assert rig.taken() == 0


def test_a_client_with_a_mebibyte_in_flight_is_throttled(rig: Rig) -> None:
    client = rig.client()
    key, value = rig.key(0), b"v" * 30_000
    for _ in range(60):
        client.session.push(encode("SET", key, value))
        rig.tick()
    runs = rig.shards[0].runs()
    assert MIB <= sum(len(run.raw) for run in runs) <= MIB + 31_000
    held = client.session.input_bytes
    assert held == (60 - len(runs)) * len(encode("SET", key, value))
    for run in runs:
        rig.shards[0].answer(reply_to(run, b"+OK\r\n"))
    rig.tick()
    rest = rig.shards[0].runs()
    assert sum(len(run.commands) for run in [*runs, *rest]) == 60
    assert client.session.input_bytes == 0
    assert rig.in_flight(0) == sum(len(run.raw) for run in rest)


def test_quit_answers_what_came_before_and_drops_what_comes_behind(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["GET", rig.key(0)], ["QUIT"], ["SET", rig.key(1), "v"])
    (run,) = rig.shards[0].runs()
    assert rig.shards[1].runs() == []
    rig.shards[0].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    assert client.take() == b"$-1\r\n+OK\r\n"
    rig.send(client, ["PING"])
    assert client.take() == b""


def test_a_query_buffer_beyond_the_limit_closes_the_connection(rig: Rig) -> None:
    rig.dispatcher.set_limits(512 << 20, 1000)
    client = rig.client()
    client.session.push(b"*2\r\n$4\r\nECHO\r\n$5000\r\n" + b"x" * 900)
    assert not client.closed
    client.session.push(b"x" * 200)
    assert client.closed
    assert client.take() == b""
    assert rig.taken() == 0


def test_a_whole_command_beyond_the_limit_passes(rig: Rig) -> None:
    rig.dispatcher.set_limits(512 << 20, 1000)
    client = rig.client()
    rig.send(client, ["ECHO", b"x" * 5000])
    assert client.take() == b"$5000\r\n" + b"x" * 5000 + b"\r\n"


def test_a_protocol_error_is_the_last_reply(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["GET", rig.key(0)])
    client.session.push(b"*1\r\n+PING\r\n" + encode("PING"))
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    assert client.take() == b"$-1\r\n-ERR Protocol error: expected '$', got '+'\r\n"


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"nosuch", b"-ERR unknown command 'nosuch', with args beginning with: \r\n"),
        (b"nosuch a bb",
         b"-ERR unknown command 'nosuch', with args beginning with: 'a' 'bb' \r\n"),
        (b'nosuch "\\r\\n"',
         b"-ERR unknown command 'nosuch', with args beginning with: '  ' \r\n"),
        (b"get", b"-ERR wrong number of arguments for 'get' command\r\n"),
        (b"GET a b", b"-ERR wrong number of arguments for 'get' command\r\n"),
        (b"client nosuch", b"-ERR unknown subcommand 'nosuch'. Try CLIENT HELP.\r\n"),
        (b"client setname", b"-ERR wrong number of arguments for 'client|setname' command\r\n"),
        (b"shardis.export k",
         b"-ERR unknown command 'shardis.export', with args beginning with: 'k' \r\n"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused_in_redis_words(rig: Rig, line: bytes, reply: bytes) -> None:
    client = rig.client()
    client.session.push(line + b"\r\n")
    rig.tick()
    assert client.take() == reply


def test_only_so_much_of_a_strange_command_is_shown(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, [b"n" * 500, b"a" * 500, b"b"])
    assert client.take() == (
        b"-ERR unknown command '" + b"n" * 128 + b"', with args beginning with: '"
        + b"a" * 128 + b"' \r\n"
    )  # fmt: skip


def test_empty_input_lines_are_no_commands(rig: Rig) -> None:
    client = rig.client()
    client.session.push(b"\r\n\r\n*0\r\nPING\r\n")
    rig.tick()
    assert client.take() == b"+PONG\r\n"


def test_refusals_are_counted_by_command_and_by_code(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["GET"], ["NOSUCH"], ["ECHO", "a"], ["SELECT", "x"], ["PING"])
    figures = rig.dispatcher.counts.by_command()
    assert figures["get"][2:] == [1, 0]
    assert figures["select"][0::3] == [1, 1]
    assert figures["ping"][0] == figures["echo"][0] == 1
    assert rig.dispatcher.counts.errors == {b"ERR": 3}


def test_a_session_that_is_closed_twice_is_closed_once(rig: Rig) -> None:
    client = rig.client()
    client.session.closed_by_driver()
    client.session.closed_by_driver()
    client.session.abort()
    assert rig.gone == 1
    assert rig.taken() == 0
    assert rig.client().session.slot == client.session.slot


def test_output_may_be_taken_in_pieces(rig: Rig) -> None:
    client = rig.client()
    session = client.session
    rig.send(client, ["ECHO", "a" * 50], ["GET", rig.key(0)], ["ECHO", "b"])
    expected = b"$50\r\n" + b"a" * 50 + b"\r\n" + b"$-1\r\n" + b"$1\r\nb\r\n"
    rig.shards[0].answer(reply_to(rig.shards[0].runs()[0], b"$-1\r\n"))
    rig.tick()
    whole = client.take()
    assert whole == expected  # what the driver of these tests takes at once
    session.push(encode("ECHO", "c" * 100) + b"PING\r\n")
    pieces = []
    while piece := session.take_output(7):
        assert len(piece) <= 7
        pieces.append(piece)
    assert b"".join(pieces) == b"$100\r\n" + b"c" * 100 + b"\r\n+PONG\r\n"
    assert session.output_bytes == 0


def test_the_end_of_input_ends_a_session_once_all_is_answered(rig: Rig) -> None:
    client = rig.client()
    session = client.session
    rig.send(client, ["GET", rig.key(0)])
    (run,) = rig.shards[0].runs()
    session.end_input()
    assert not session.wants_input
    assert not session.ended
    rig.shards[0].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    assert client.take() == b"$-1\r\n"
    assert session.ended


def test_an_idle_session_gives_its_buffers_back_and_works_on(rig: Rig) -> None:
    client = rig.client()
    for _ in range(3):
        rig.send(client, ["ECHO", "x" * 30_000], *([["GET", rig.key(0)]] * 3), ["GET", rig.key(1)])
        for shard in rig.shards[:2]:
            for run in shard.runs():
                shard.answer(reply_to(run, b"$-1\r\n" * len(run.commands)))
        rig.tick()
        assert client.take() == b"$30000\r\n" + b"x" * 30_000 + b"\r\n" + b"$-1\r\n" * 4
        for _ in range(10):
            rig.dispatcher.trim_idle()
    # Nothing that is still needed goes: half a command, and an answer that is waited for.
    client.session.push(encode("GET", rig.key(0)) + b"*1\r\n$4\r\nPI")
    rig.tick()
    for _ in range(10):
        rig.dispatcher.trim_idle()
    client.session.push(b"NG\r\n")
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    assert client.take() == b"$-1\r\n+PONG\r\n"


def test_the_time_of_a_command_is_counted_once(rig: Rig) -> None:
    # It was added twice: usec of commandstats was about twice the time in the slow log.
    monitor = Monitor(itertools.count().__next__)
    monitor.slower_than_us = 0
    monitor.entries = deque()
    rig.dispatcher.set_monitor(monitor, True)
    client = rig.client()
    for _ in range(50):
        rig.send(client, ["CLIENT", "INFO"])
    calls, microseconds, *_ = rig.dispatcher.counts.by_command()["client|info"]
    assert calls == 50
    assert microseconds == sum(entry[2] for entry in monitor.entries) > 0
