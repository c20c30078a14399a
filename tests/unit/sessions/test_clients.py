"""What a process does about its clients: passwords, pauses, silence, limits, descriptions."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any, cast
from unittest.mock import Mock

import pytest

from protocol.reply import Reply
from router.client_pause import ClientPause
from router.commands.client import _filters
from sessions.clients import ClientControl, describe_clients, kill_clients
from sessions.description import describe
from tests.support.resp_client import encode
from tests.support.rig import Client, Rig, reply_to

NOAUTH = b"-NOAUTH Authentication required.\r\n"
RUN_REPLY_OFF = 8
LINE = (
    b"id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem multi-mem"
    b" rbs rbp obl oll omem tot-mem events cmd user redir resp lib-name lib-ver"
)


@pytest.fixture
def rig() -> Rig:
    return Rig(2)


def fields(line: bytes) -> dict[str, str]:
    pairs = [word.partition("=") for word in line.decode().split(" ")]
    return {name: value for name, _, value in pairs}


def test_a_client_is_described_by_the_fields_of_redis_in_their_order(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["CLIENT", "SETNAME", "me"], ["SELECT", 3], ["HELLO", 3], ["CLIENT", "ID"])
    shown = fields(describe(client.session))
    assert " ".join(shown).encode() == LINE
    assert (shown["name"], shown["db"], shown["resp"]) == ("me", "3", "3")
    assert (shown["cmd"], shown["flags"], shown["user"]) == ("client|id", "N", "default")
    rig.send(client, ["GET", rig.key(0)])
    assert fields(describe(client.session))["cmd"] == "get"
    rig.send(client, ["NOSUCH"])
    assert fields(describe(client.session))["cmd"] == "NULL"


def test_waiting_input_and_output_are_shown(rig: Rig) -> None:
    client = rig.client()
    client.session.push(b"*2\r\n$3\r\nGET\r\n$100\r\n" + b"x" * 50)
    client.session.push(b"")
    shown = fields(describe(client.session))
    assert shown["qbuf"] == "69"
    assert int(shown["tot-mem"]) > int(shown["qbuf"]) + int(shown["qbuf-free"])


def test_nothing_but_auth_before_auth(rig: Rig) -> None:
    before = rig.client()
    rig.settings["requirepass"] = "secret"
    rig.dispatcher.set_password_required(True)
    rig.send(before, ["PING"])
    assert before.take() == b"+PONG\r\n"
    client = rig.client()
    rig.send(client, ["PING"], ["GET", rig.key(0)], ["NOSUCH"], ["GET"], ["HELLO", 3])
    assert client.take() == (
        NOAUTH * 2
        + b"-ERR unknown command 'NOSUCH', with args beginning with: \r\n"
        + b"-ERR wrong number of arguments for 'get' command\r\n"
        + b"-NOAUTH HELLO must be called with the client already authenticated, otherwise the "
        b"HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and "
        b"select the RESP protocol version at the same time\r\n"
    )
    rig.send(
        client, ["AUTH", "secre"], ["AUTH", "default", "secret"], ["PING"], ["RESET"], ["PING"]
    )
    wrong = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
    assert client.take() == wrong + b"+OK\r\n+PONG\r\n+RESET\r\n" + NOAUTH
    rig.send(client, ["HELLO", 2, "AUTH", "default", "secret"], ["PING"])
    assert client.take().endswith(b"+PONG\r\n")
    assert rig.dispatcher.counts.errors[b"NOAUTH"] == 4
    assert rig.shards[0].runs() == []


def test_who_has_not_said_the_password_may_once_there_is_none(rig: Rig) -> None:
    rig.dispatcher.set_password_required(True)
    client = rig.client()
    rig.dispatcher.set_password_required(False)
    rig.send(client, ["PING"])
    rig.dispatcher.set_password_required(True)
    rig.send(client, ["PING"])
    assert client.take() == b"+PONG\r\n" + NOAUTH


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"*11\r\n", b"unauthenticated multibulk length"),
        (b"*2\r\n$16385\r\n", b"unauthenticated bulk length"),
    ],
)
def test_strangers_may_send_only_little(rig: Rig, raw: bytes, error: bytes) -> None:
    rig.settings["requirepass"] = "secret"
    rig.dispatcher.set_password_required(True)
    client = rig.client()
    client.session.push(raw)
    rig.tick()
    assert client.take() == b"-ERR Protocol error: " + error + b"\r\n"
    friend = rig.client()
    rig.send(friend, ["AUTH", "secret"], ["ECHO", *["x"]], ["ECHO", b"x" * 20_000])
    assert len(friend.take()) > 20_000


def test_a_pause_holds_writes_in_their_place(rig: Rig) -> None:
    client, other = rig.client(), rig.client()
    key = rig.key(0)
    rig.dispatcher.set_pause(True, False)
    rig.send(client, ["GET", key], ["SET", key, "v"], ["GET", key], ["PING"])
    rig.send(other, ["PING"], ["SET", key], ["SET", key, "w"])
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    assert client.take() == b"$-1\r\n"
    assert other.take().startswith(b"+PONG\r\n-ERR wrong number")
    assert rig.dispatcher.client_figures()["paused_clients"] == 2
    assert fields(describe(client.session))["flags"] == "b"
    rig.dispatcher.set_pause(False, False)
    rig.tick()
    assert rig.dispatcher.client_figures()["paused_clients"] == 0
    runs = rig.shards[0].runs()
    assert [len(run.commands) for run in runs] == [2, 1]  # first come first
    rig.shards[0].answer(*(reply_to(run, b"+OK\r\n" * len(run.commands)) for run in runs))
    rig.tick()
    assert client.take() == b"+OK\r\n+OK\r\n+PONG\r\n"


def test_a_pause_of_all_holds_everything_and_may_become_milder(rig: Rig) -> None:
    client = rig.client()
    rig.dispatcher.set_pause(True, True)
    rig.send(client, ["PING"], ["CLIENT", "ID"])
    assert client.take() == b""
    rig.dispatcher.set_pause(True, False)
    rig.tick()
    assert client.take() == b"+PONG\r\n:1\r\n"


def test_a_paused_client_may_leave(rig: Rig) -> None:
    client = rig.client()
    rig.dispatcher.set_pause(True, True)
    rig.send(client, ["PING"])
    client.session.closed_by_driver()
    assert rig.dispatcher.client_figures()["paused_clients"] == 0
    assert rig.taken() == 0
    rig.dispatcher.set_pause(False, False)


class Timers:
    """An event loop's timers, of which the test decides when they are due."""

    def __init__(self) -> None:
        self.due: list[Callable[[], object]] = []

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> Mock:
        self.due.append(lambda: callback(*args))
        return Mock()

    def fire(self) -> None:
        due, self.due = self.due, []
        for callback in due:
            callback()


def test_a_pause_is_acknowledged_when_what_ran_before_is_answered(rig: Rig) -> None:
    async def scenario() -> None:
        flushes: list[None] = []
        timers = Timers()
        control = ClientControl(
            rig.dispatcher, cast("asyncio.AbstractEventLoop", timers), lambda: flushes.append(None)
        )
        client = rig.client()
        rig.send(client, ["SET", rig.key(0), "v"])
        done = asyncio.ensure_future(
            control.answer({"op": "pause", "mode": "write", "until": time.monotonic() + 60})
        )
        await asyncio.sleep(0)
        assert not done.done()
        (run,) = rig.shards[0].runs()
        rig.shards[0].answer(reply_to(run, b"+OK\r\n"))
        rig.tick()
        await done
        rig.send(client, ["SET", rig.key(0), "w"])
        assert rig.shards[0].runs() == []
        timers.fire()  # it ends by itself
        rig.tick()
        assert len(rig.shards[0].runs()) == 1

    asyncio.run(scenario())


def silence(rig: Rig, *commands: list[Any]) -> bytes:
    client = rig.client()
    rig.send(client, *commands)
    return client.take()


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        ("CLIENT REPLY OFF;PING;NOSUCH;GET;ECHO a;CLIENT REPLY ON;PING", b"+OK\r\n+PONG\r\n"),
        ("CLIENT REPLY SKIP;PING;ECHO a", b"$1\r\na\r\n"),
        ("CLIENT REPLY SKIP;NOSUCH;ECHO a", b"$1\r\na\r\n"),
        ("CLIENT REPLY SKIP;GET;ECHO a", b"$1\r\na\r\n"),
        ("CLIENT REPLY SKIP;CLIENT REPLY ON;ECHO a", b"+OK\r\n$1\r\na\r\n"),
        ("CLIENT REPLY SKIP;CLIENT REPLY SKIP;PING;ECHO a", b"$1\r\na\r\n"),
        ("CLIENT REPLY SKIP;CLIENT REPLY OFF;PING;CLIENT REPLY ON", b"+OK\r\n"),
        ("CLIENT REPLY OFF;CLIENT REPLY SKIP;PING;PING;CLIENT REPLY ON", b"+OK\r\n"),
        ("CLIENT REPLY OFF;PING;RESET;PING", b"+RESET\r\n+PONG\r\n"),
        ("CLIENT REPLY SKIP;RESET;PING", b"+PONG\r\n"),
        ("CLIENT REPLY NO;CLIENT REPLY OFF;CLIENT REPLY NO;QUIT", b"-ERR syntax error\r\n"),
    ],
)  # fmt: skip
def test_replies_can_be_switched_off(rig: Rig, lines: str, answer: bytes) -> None:
    assert silence(rig, *(line.split() for line in lines.split(";"))) == answer


def test_shards_are_told_which_replies_are_not_wanted(rig: Rig) -> None:
    client = rig.client()
    key = rig.key(0)
    skip = ["CLIENT", "REPLY", "SKIP"]
    rig.send(client, ["GET", key], skip, ["GET", key], ["GET", key], ["GET", key])
    runs = rig.shards[0].runs()
    assert [(len(run.commands), run.flags & RUN_REPLY_OFF) for run in runs] == [
        (1, 0),
        (1, 8),
        (2, 0),
    ]
    rig.shards[0].answer(*(reply_to(run, b"" if run.flags else b"$1\r\nv\r\n") for run in runs))
    rig.tick()
    assert client.take() == b"$1\r\nv\r\n" * 2


def test_a_skipped_barrier_is_silent_and_the_next_command_is_not(rig: Rig) -> None:
    client = rig.client()
    both = [rig.key(0), rig.key(1)]
    rig.send(client, ["GET", both[0]], ["CLIENT", "REPLY", "SKIP"], ["SINTER", *both], ["PING"])
    (run,) = rig.shards[0].runs()
    rig.shards[0].answer(reply_to(run, b"$-1\r\n"))
    rig.tick()
    ((session, _, _),) = rig.barriers
    session.complete_barrier(b":2\r\n")
    rig.tick()
    assert client.take() == b"$-1\r\n+PONG\r\n"


def test_a_shard_that_dies_does_not_break_the_silence(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["CLIENT", "REPLY", "OFF"], ["GET", rig.key(0)], ["CLIENT", "REPLY", "ON"])
    rig.dispatcher.shard_down(0)
    rig.tick()
    assert client.take() == b"+OK\r\n"
    assert rig.dispatcher.counts.errors == {b"LOADING": 1}


def clients(rig: Rig, count: int) -> list[Client]:
    return [rig.client() for _ in range(count)]


def test_filters_are_all_to_be_met(rig: Rig) -> None:
    first, second, third = clients(rig, 3)
    second.session.address = "127.0.0.1:1"
    assert [number for number, _ in describe_clients(rig.dispatcher, ids=[3, 1, 9])] == [1, 3]
    assert describe_clients(rig.dispatcher, kind="pubsub") == []
    assert kill_clients(rig.dispatcher, {"addr": "127.0.0.1:1", "id": 1}, 3) == 0
    assert kill_clients(rig.dispatcher, {"addr": "127.0.0.1:1"}, 3) == 1
    assert (first.closed, second.closed, third.closed) == (False, True, False)
    assert kill_clients(rig.dispatcher, {"user": b"default", "skipme": True}, 3) == 1
    assert (first.closed, third.closed) == (True, False)


def test_a_caller_that_closes_itself_gets_the_reply_first(rig: Rig) -> None:
    client = rig.client()
    rig.send(client, ["CLIENT", "KILL", "SKIPME", "NO"], ["PING"])
    ((session, _, _),) = rig.barriers
    assert kill_clients(rig.dispatcher, {"skipme": False}, 1) == 1
    rig.tick()
    assert not client.closed
    session.complete_barrier(b":1\r\n")
    rig.tick()
    assert client.take() == b":1\r\n"
    assert session.closing


def test_options_of_kill_become_filters() -> None:
    words = b"id 7 TYPE Slave addr 1.2.3.4:5 LADDR /s:0 user default skipme NO".split()
    assert _filters(words) == {
        "id": 7, "kind": "replica", "addr": "1.2.3.4:5", "laddr": "/s:0", "user": b"default",
        "skipme": False,
    }  # fmt: skip


def test_idle_clients_are_closed_and_busy_ones_are_not(rig: Rig) -> None:
    idle, waiting = clients(rig, 2)
    rig.send(waiting, ["GET", rig.key(0)])
    rig.dispatcher.idle_seconds_max = 1
    rig.dispatcher.sweep(10)
    assert not idle.closed
    now_ms = time.monotonic_ns() // 1_000_000
    rig.dispatcher.sweep(1, now_ms + 2050)
    assert idle.closed
    rig.dispatcher.sweep(10, now_ms + 2050)
    assert not waiting.closed


class Lazy(Client):
    """A client that does not read."""

    def flush_session(self, session: Any) -> None:
        pass


def test_a_slow_reader_is_closed_at_the_hard_limit_and_later_at_the_soft_one(rig: Rig) -> None:
    rig.dispatcher.set_output_limits([(100_000, 50_000, 1), (0, 0, 0), (0, 0, 0)])
    hard, soft, fine = (Lazy(rig, number) for number in (1, 2, 3))
    rig.send(hard, *[["ECHO", b"x" * 10_000]] * 11)
    rig.send(soft, *[["ECHO", b"x" * 10_000]] * 6)
    rig.send(fine, *[["ECHO", b"x" * 10_000]] * 4)
    shown = fields(describe(soft.session))
    assert (int(shown["omem"]) > 60_000, shown["oll"], shown["obl"]) == (True, "1", "0")
    rig.dispatcher.sweep(10)
    assert (hard.closed, soft.closed, fine.closed) == (True, False, False)
    rig.dispatcher.sweep(10, time.monotonic_ns() // 1_000_000 + 1050)
    assert (soft.closed, fine.closed) == (True, False)


@pytest.mark.parametrize(
    "command",
    [
        encode("GET", "k"),
        b"x\n",
        encode("GET"),
        encode("CLIENT", "WRONG"),
        encode("AUTH", "wrong"),
        encode("HELLO", "3"),
        encode("RESET"),
        encode("ECHO", "hello"),
    ],
)
def test_before_auth_no_more_is_answered_than_redis_keeps_for_a_client(
    rig: Rig, command: bytes
) -> None:
    rig.settings["requirepass"] = "secret"
    rig.dispatcher.set_password_required(True)
    one, few, many = Client(rig, 1), Lazy(rig, 2), Lazy(rig, 3)
    one.session.push(command)
    rig.tick()
    size = len(one.take())
    few.session.push(command * (16384 // size))
    assert few.session.output_bytes > 16384 - size
    many.session.push(command * 5000)
    assert (one.closed, few.closed, many.closed) == (False, False, True)
    for _ in range(100):
        one.session.push(command * 20)
        rig.tick()
    assert not one.closed  # who reads may go on


def test_who_has_said_auth_once_may_be_slow_again_after_reset(rig: Rig) -> None:
    rig.settings["requirepass"] = "secret"
    rig.dispatcher.set_password_required(True)
    client = Lazy(rig, 1)
    rig.send(client, ["AUTH", "secret"], *[["ECHO", b"x" * 10_000]] * 5, ["RESET"], ["GET", "k"])
    assert not client.closed
    assert client.session.output_bytes > 50_000


def test_a_read_of_many_large_replies_ends_at_the_hard_limit(rig: Rig) -> None:
    """COMMAND is short to ask for and long to answer, and needs no shard."""
    rig.dispatcher.set_output_limits([(1_000_000, 0, 0)] * 3)
    client = Lazy(rig, 1)
    before = rig.dispatcher.counts.commands
    client.session.push(b"COMMAND\n" * 1000)
    assert client.closed
    assert rig.dispatcher.counts.commands - before < 100


def test_the_largest_buffers_of_the_last_seconds_are_known(rig: Rig) -> None:
    client = Lazy(rig, 1)
    rig.send(client, ["ECHO", b"x" * 40_000])
    assert rig.dispatcher.client_figures()["output_buffer_bytes_max"] > 40_000
    assert rig.dispatcher.client_figures()["client_bytes"] > 40_000
    client.session.take_output()
    assert rig.dispatcher.client_figures()["output_buffer_bytes_max"] > 40_000


def test_who_speaks_http_is_closed_without_a_word(rig: Rig) -> None:
    client = rig.client()
    client.session.push(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET a b\r\n")
    rig.tick()
    assert client.closed
    assert client.take() == b""
    assert rig.taken() == 0


def test_pauses_only_get_longer_and_stricter() -> None:
    now = 1000.0
    pause = ClientPause(clock=lambda: now)
    assert pause.state == ("", 0.0)
    pause.extend("all", 60)
    until = pause.until
    pause.extend("write", 1)
    assert pause.state == ("all", until)
    pause.end()
    pause.extend("write", 0.001)
    now += 0.002
    assert pause.state == ("", 0.0)
    pause.extend("write", 60)
    assert pause.state[0] == "write"


def test_help_names_every_subcommand() -> None:
    from router.table import full_table
    from sessions.commands.client import HELP, client_help

    reply = Reply(2)
    client_help(None, [], reply)  # type: ignore[arg-type]
    named = {re.split(rb"[ \n]", line)[0] for line in HELP[1:] if not line.startswith(b" ")}
    declared = {
        child.name.partition("|")[2].encode() for child in full_table()["CLIENT"].subcommands
    }
    assert named == declared
