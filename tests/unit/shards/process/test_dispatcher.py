"""The dispatcher of a shard's own port: real sessions and executor, no sockets."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import pytest

from protocol.errors import CommandError
from sessions.reactor import Reactor
from shards.memory.allocation import live_blocks
from shards.process.dispatcher import LocalDispatcher
from tests.support.resp_client import ReplySplitter, encode
from tests.support.shard import START_MS, TABLE, new_executor
from tests.support.slots import slot

HALF = [(0, 8191, 0), (8192, 16383, 1)]
HERE, THERE = b"b", b"a"  # of the first and the second half of the slots


class Redirections:
    """Stands for sessions.cluster.Cluster."""

    is_node = True

    def moved(self, found: int, owner: int, session: Any) -> bytes:
        return b"MOVED %d host:%d" % (found, owner)


class Port:
    """A shard of two, and one client at its port; the dispatcher's host, too."""

    databases = 1

    def __init__(self, native_lane: bool = True) -> None:
        self.settings: dict[str, object] = {}
        self.now_ms = START_MS
        self.executor = new_executor(lambda: self.now_ms, native_lane=native_lane)
        self.keyspace = self.executor.runner.keyspace
        self.dispatcher = LocalDispatcher(TABLE, self.executor, 0)
        self.dispatcher.host = self
        self.dispatcher.cluster = Redirections()  # type: ignore[assignment]
        self.dispatcher.set_slots(HALF)
        self.reactor = Reactor(self.dispatcher, lambda connection, peer: None)
        self.session = self.dispatcher.open_session(1)
        self.session.driver = self
        self.splitter = ReplySplitter()
        self.sends = 0
        self.barriers: list[tuple[Any, list[bytes]]] = []

    def flush_session(self, session: Any) -> None:
        if session.close_over_limit():
            return
        self.sends += 1
        self.splitter.feed(session.take_output())

    def close_session(self, session: Any) -> None:
        session.closed_by_driver()

    def closed(self, session: Any) -> None:
        pass

    def run_barrier(self, session: Any, command: Any, args: list[bytes]) -> None:
        self.barriers.append((session, args))

    def run(self, *commands: Sequence[bytes | str | int]) -> list[bytes]:
        return self.push(b"".join(encode(*command) for command in commands))

    def push(self, data: bytes) -> list[bytes]:
        self.session.push(data)
        self.reactor.tick()
        replies = []
        while (reply := self.splitter.take()) is not None:
            replies.append(reply)
        return replies


@pytest.fixture(params=[True, False], ids=["native", "python"])
def port(request: pytest.FixtureRequest) -> Port:
    return Port(request.param)


def test_the_keys_are_where_the_tests_think() -> None:
    assert slot(HERE) < 8192 <= slot(THERE)


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 33, 500])
def test_a_pipeline_of_any_length_is_answered_at_once_and_in_order(port: Port, count: int) -> None:
    replies = port.run(*([("INCR", HERE)] * count))
    assert replies == [b":%d\r\n" % (i + 1) for i in range(count)]
    assert port.sends == 1
    assert port.executor.runner.commands_processed == count


def test_commands_cut_anywhere_are_whole(port: Port) -> None:
    data = encode("SET", HERE, "v" * 50) + encode("GET", HERE) + encode("PING")
    for size in (1, 3, 10):
        replies = []
        for at in range(0, len(data), size):
            replies += port.push(data[at : at + size])
        assert replies == [b"+OK\r\n", b"$50\r\n" + b"v" * 50 + b"\r\n", b"+PONG\r\n"]


def test_what_is_refused_keeps_its_place(port: Port) -> None:
    replies = port.run(
        ("SET", HERE, 1), ("GET", THERE), ("INCR", HERE), ("NOSUCH",), ("GET", HERE), ("ECHO", "x")
    )
    assert replies[:3] == [b"+OK\r\n", b"-MOVED %d host:1\r\n" % slot(THERE), b":2\r\n"]
    assert replies[3].startswith(b"-ERR unknown command")
    assert replies[4:] == [b"$1\r\n2\r\n", b"$1\r\nx\r\n"]
    figures = port.dispatcher.counts.by_command()["get"]
    assert figures[2] == 1  # rejected


def test_the_order_of_refusals(port: Port) -> None:
    cross = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
    down = b"-CLUSTERDOWN The cluster is down\r\n"
    assert port.run(("MGET", HERE, THERE)) == [cross]
    port.dispatcher.set_down(True, False)
    assert port.run(("MGET", HERE, THERE), ("GET", THERE), ("GET", HERE)) == [cross, down, down]
    assert port.run(("DBSIZE",), ("PING",)) == [b":0\r\n", b"+PONG\r\n"]
    port.dispatcher.set_down(True, True)
    assert port.run(("SET", HERE, 1), ("GET", HERE)) == [
        b"-CLUSTERDOWN The cluster is down and only accepts read commands\r\n",
        b"$-1\r\n",
    ]
    port.dispatcher.set_down(False, False)
    port.dispatcher.set_slots(HALF[:1])
    unserved = b"-CLUSTERDOWN Hash slot not served\r\n"
    assert port.run(("MGET", THERE, HERE), ("SET", THERE, 1)) == [unserved, unserved]


def test_keys_of_one_slot_run_together(port: Port) -> None:
    keys = [b"{%b}%d" % (HERE, i) for i in range(300)]
    pairs = [part for key in keys for part in (key, b"v")]
    assert port.run(("MSET", *pairs), ("DEL", *keys), ("EXISTS", *keys)) == [
        *(b"+OK\r\n", b":300\r\n", b":0\r\n")
    ]


def test_many_arguments_give_their_memory_back(port: Port) -> None:
    keys = [b"{%b}%d" % (HERE, i) for i in range(50_000)]
    assert port.run(("DEL", *keys), ("GET", HERE)) == [b":0\r\n", b"$-1\r\n"]


def test_large_values_come_back_whole(port: Port) -> None:
    value = bytes(range(256)) * 4000
    reply = b"$%d\r\n%b\r\n" % (len(value), value)
    assert port.run(("SET", HERE, value), ("GET", HERE), ("GET", HERE), ("STRLEN", HERE)) == [
        *(b"+OK\r\n", reply, reply, b":%d\r\n" % len(value))
    ]
    # A reply under way keeps the value alive, whatever becomes of the key.
    port.session.push(encode("GET", HERE) + encode("DEL", HERE))
    assert port.push(b"") == [reply, b":1\r\n"]


def test_databases_do_not_exist_at_a_node(port: Port) -> None:
    assert port.run(("SELECT", 1), ("SWAPDB", 0, 1), ("MOVE", HERE, 1)) == [
        b"-ERR %b is not allowed in cluster mode\r\n" % name
        for name in (b"SELECT", b"SWAPDB", b"MOVE")
    ]
    port.executor.runner.context.cluster = False
    with pytest.raises(CommandError):
        TABLE.table["SWAPDB"].handler(port.executor.runner.context, [b"SWAPDB", b"a", b"b"], None)


def test_errors_are_counted_where_they_belong(port: Port) -> None:
    port.run(("SET", HERE, "x"), ("INCR", HERE), ("GET", THERE))
    assert port.executor.runner.command_statistics()["incr"][3] == 1
    assert port.executor.runner.errors == {b"ERR": 1}
    assert port.dispatcher.counts.errors == {b"MOVED": 1}
    assert port.executor.runner.command_statistics()["set"][0] == 1


def test_inline_commands_work(port: Port) -> None:
    assert port.push(b"SET b 5\r\nINCR b\r\nget a\r\n") == [
        *(b"+OK\r\n", b":6\r\n", b"-MOVED 15495 host:1\r\n")
    ]


def test_admin_commands_hold_what_stands_behind_them(port: Port) -> None:
    assert port.run(("SET", HERE, 1), ("INFO",), ("INCR", HERE)) == [b"+OK\r\n"]
    ((session, args),) = port.barriers
    assert args == [b"INFO"]
    session.complete_barrier(b"$0\r\n\r\n")
    assert port.push(b"") == [b"$0\r\n\r\n", b":2\r\n"]


def test_the_clock_moves_between_commands(port: Port) -> None:
    assert port.run(("SET", HERE, "v", "PX", 10), ("PTTL", HERE)) == [b"+OK\r\n", b":10\r\n"]
    port.now_ms += 11
    assert port.run(("GET", HERE)) == [b"$-1\r\n"]


@pytest.mark.parametrize("size", [1000, 60_000, 100_000])
@pytest.mark.parametrize("behind", [("INCR", HERE + b"n"), ("RESET",), ("CONFIG", "GET", "port")])
def test_a_client_over_its_limit_is_executed_for_no_longer(
    port: Port, size: int, behind: tuple[bytes | str, ...]
) -> None:
    """Whatever is next: a command for the shard, the session or the host."""
    hard = 500_000
    port.dispatcher.set_output_limits([(hard, 0, 0)] * 3)
    port.dispatcher.set_slots([(0, 16383, 0)])
    assert port.run(("SET", HERE, b"x" * size)) == [b"+OK\r\n"]
    reply = len(b"$%d\r\n\r\n" % size) + size
    fit = (hard - 1) // reply
    assert len(port.run(*[("GET", HERE)] * fit)) == fit
    assert not port.session.closed
    before = port.executor.runner.commands_processed
    most = (hard + 65_536) // reply + 1
    assert port.run(*[("GET", HERE)] * (most + 1), behind) == []
    assert port.session.closed
    assert fit < port.executor.runner.commands_processed - before <= most
    assert port.barriers == []
    assert port.dispatcher.counts.by_command().get("reset") is None


def test_nothing_stays_behind() -> None:
    gc.collect()
    before = live_blocks()
    port = Port()
    port.run(("SET", HERE, b"x" * 100_000), ("GET", HERE))
    port.session.push(encode("GET", HERE))
    port.session.abort()
    assert port.dispatcher.sessions == [None]
    del port
    gc.collect()
    assert live_blocks() == before
