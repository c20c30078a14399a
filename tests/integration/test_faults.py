"""Processes of the server that die or stall while clients use it.

Which keys belong to a shard is found from outside: while the shard is stopped, its keys don't
answer. All promises are checked by what clients see; nothing asks the server about itself but
its process ids.

What must never happen is that a command is executed by a shard's next incarnation after the
client was told that it failed. A shard comes back empty, and each write goes to a fresh key, so
such a key would exist afterwards.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest

from tests.support import processes
from tests.support.resp_client import bulk, encode, integer
from tests.support.servers import Shardis, uses_stand_in

LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"
OK = b"+OK\r\n"
DISCONNECTED = b"(disconnected)"  # not a reply: what became of a write instead
# On a machine that is busy otherwise, the limits are stretched by `Server.slowness`.
TOLD_SECONDS = 1.0  # a client learns within this that its shard has died
BACK_SECONDS = 2.0  # and within this the shard serves again
STALL_SECONDS = 5.0
# What a client of another shard may wait at most; the machine is busy starting a process.
BYSTANDER_SECONDS = 0.5

StartServer = Callable[..., Shardis]


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process doesn't run in the body."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if processes.is_alive(pid):
            os.kill(pid, signal.SIGCONT)


def tags_by_shard(server: Shardis, each: int = 2) -> dict[int, list[bytes]]:
    """For every shard some hash tags of its slots."""
    pids = server.shard_pids()
    found: dict[int, list[bytes]] = {index: [] for index in pids}
    for index, pid in pids.items():
        with ExitStack() as stack:
            tags = [b"{tag%d}" % number for number in range(12 * len(pids))]
            clients = [stack.enter_context(server.client()) for _ in tags]
            with stopped(pid):
                for client, tag in zip(clients, tags, strict=True):
                    client.send(encode("GET", tag))
                time.sleep(0.3)
                for client, tag in zip(clients, tags, strict=True):
                    if client.is_quiet(0):
                        found[index].append(tag)
            for client in clients:
                assert client.read_reply() == bulk(None)
    assert all(len(tags) >= each for tags in found.values()), found
    assert sum(map(len, found.values())) == 12 * len(pids), "a key belongs to exactly one shard"
    return found


class Bystander(threading.Thread):
    """A client of a shard that lives: counts up its own key in pipelines and notices nothing."""

    def __init__(self, server: Shardis, key: bytes) -> None:
        super().__init__()
        self.key = key
        self.client = server.client()
        self.problem = ""
        self.worst_seconds = 0.0
        self.pipelines = 0
        self.ending = threading.Event()

    def run(self) -> None:
        number = 0
        try:
            while not self.ending.is_set():
                started = time.monotonic()
                replies = self.client.pipeline([("INCR", self.key)] * 10)
                self.worst_seconds = max(self.worst_seconds, time.monotonic() - started)
                expected = [integer(number + one) for one in range(1, 11)]
                number += 10
                self.pipelines += 1
                if replies != expected:
                    self.problem = f"{replies} instead of {expected}"
                    return
        except Exception as error:  # a thread's exception would be lost
            self.problem = repr(error)
        finally:
            self.client.close()


@contextmanager
def bystanders(server: Shardis, keys: list[bytes]) -> Iterator[None]:
    """Clients of living shards during the body, which must see no difference."""
    threads = [Bystander(server, key) for key in keys]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.ending.set()
        for thread in threads:
            thread.join()
    assert [thread.problem for thread in threads] == [""] * len(threads)
    assert all(thread.pipelines > 10 for thread in threads)
    worst = max(thread.worst_seconds for thread in threads)
    print(f"worst pipeline of a bystander: {worst * 1000:.0f} ms")
    assert worst < BYSTANDER_SECONDS * server.slowness


def await_service(server: Shardis, tag: bytes, since: float) -> dict[bytes, bytes]:
    """Write fresh keys until one is accepted, in time; every key with its reply.

    A write that came before the server could know of the death is disconnected, like those
    that were on their way.
    """
    told: dict[bytes, bytes] = {}
    while True:
        key = tag + b":new:%d" % time.monotonic_ns()
        with server.client() as client:
            try:
                told[key] = client.call("SET", key, "v", timeout=TOLD_SECONDS * server.slowness)
            except ConnectionError:
                told[key] = DISCONNECTED
        assert told[key] in (OK, LOADING, DISCONNECTED)
        assert time.monotonic() - since < BACK_SECONDS * server.slowness, (
            "it takes too long to serve again"
        )
        if told[key] == OK:
            print(f"serves again after {(time.monotonic() - since) * 1000:.0f} ms")
            return told
        time.sleep(0.005)


def existing(server: Shardis, keys: list[bytes]) -> set[bytes]:
    """Which of these keys exist."""
    found: set[bytes] = set()
    with server.client(timeout=30.0) as client:
        for at in range(0, len(keys), 1000):
            some = keys[at : at + 1000]
            replies = client.pipeline([("EXISTS", key) for key in some])
            found |= {key for key, reply in zip(some, replies, strict=True) if reply == integer(1)}
    return found


@pytest.mark.usefixtures("ours_only")
def test_clients_learn_at_once_that_their_shard_has_died(own_server: StartServer) -> None:
    """The shard is stopped first, so that what is unanswered when it dies is known."""
    server = own_server(shards=2, workers=2)
    tags = tags_by_shard(server)
    dying, living = tags[0][0], tags[1]
    pid = server.shard_pids()[0]
    with (
        ExitStack() as stack,
        bystanders(server, [living[0] + b"n", living[1] + b"n"]),
    ):
        writers = [stack.enter_context(server.client()) for _ in range(4)]
        readers = [stack.enter_context(server.client()) for _ in range(4)]
        idle = stack.enter_context(server.client())
        assert idle.call("GET", dying) == bulk(None)
        os.kill(pid, signal.SIGSTOP)
        for number, client in enumerate(writers):
            client.send(encode("SET", dying + b"w%d" % number, "v"))
        for client in readers:
            client.send(encode("GET", dying) + encode("STRLEN", dying) + encode("GET", living[0]))
        time.sleep(0.2)
        assert all(client.is_quiet(0) for client in [*writers, *readers])
        os.kill(pid, signal.SIGKILL)
        since = time.monotonic()
        for client in writers:
            assert client.read_to_end(TOLD_SECONDS * server.slowness) == b"", (
                "an unanswered write stays unanswered"
            )
        for client in readers:
            got = [client.read_reply(TOLD_SECONDS * server.slowness) for _ in range(3)]
            assert got == [LOADING, LOADING, bulk(None)]
        assert time.monotonic() - since < TOLD_SECONDS * server.slowness
        told = await_service(server, dying, since)
        # The connections of readers and of who asked nothing live on.
        for client in [*readers, idle]:
            assert client.call("GET", dying) == bulk(None)
    accepted = {key for key, reply in told.items() if reply == OK}
    refused = [key for key, reply in told.items() if reply != OK]
    unanswered = [dying + b"w%d" % number for number in range(len(writers))]
    assert existing(server, [*refused, *unanswered]) == set()
    assert existing(server, list(accepted)) == accepted
    server.stop()


@dataclass
class Outcomes:
    """What became of every key that was written: sent and answered when, and how."""

    answers: dict[bytes, tuple[float, bytes]] = field(default_factory=dict)
    told_after: float = 0.0  # the longest time from sending to an answer or the end
    problem: str = ""


def write_fresh_keys(server: Shardis, tag: bytes, until: float, outcomes: Outcomes) -> None:
    """Pipelines of writes, each to a key of its own, connecting again when disconnected."""
    number = 0
    try:
        client = server.client()
        while time.monotonic() < until:
            keys = [tag + b":%d" % (number + one) for one in range(8)]
            number += len(keys)
            sent = time.monotonic()
            client.send(b"".join(encode("SET", key, "v", "NX") for key in keys))
            replies = client.read_available(len(keys), timeout=10.0)
            outcomes.told_after = max(outcomes.told_after, time.monotonic() - sent)
            for at, key in enumerate(keys):
                answer = replies[at] if at < len(replies) else DISCONNECTED
                outcomes.answers[key] = (sent, answer)
            if len(replies) < len(keys):
                assert client.closed, "neither an answer nor the end"
                client.close()
                client = server.client()
        client.close()
    except Exception as error:  # a thread's exception would be lost
        outcomes.problem = repr(error)


@pytest.mark.usefixtures("ours_only")
@pytest.mark.parametrize("kills", [1, 2])
def test_no_write_is_executed_after_it_was_told_to_have_failed(
    kills: int, own_server: StartServer
) -> None:
    server = own_server(shards=2, workers=2)
    tags = tags_by_shard(server)
    dying, living = tags[0], tags[1]
    outcomes = [Outcomes() for _ in range(6)]
    told: dict[bytes, bytes] = {}
    with bystanders(server, [living[0] + b"n", living[1] + b"n"]):
        until = time.monotonic() + 1.0 + 2.0 * kills
        threads = [
            threading.Thread(
                target=write_fresh_keys,
                args=(server, dying[at % len(dying)] + b"%d" % at, until, outcome),
            )
            for at, outcome in enumerate(outcomes)
        ]
        for thread in threads:
            thread.start()
        for _ in range(kills):
            time.sleep(0.6)
            os.kill(server.shard_pids()[0], signal.SIGKILL)
            since = time.monotonic()
            told |= await_service(server, dying[0], since)
        served = time.monotonic()
        for thread in threads:
            thread.join()
    assert [outcome.problem for outcome in outcomes] == [""] * len(outcomes)
    assert max(outcome.told_after for outcome in outcomes) < TOLD_SECONDS * server.slowness
    answers = {key: answer for outcome in outcomes for key, answer in outcome.answers.items()}
    assert {answer for _, answer in answers.values()} <= {OK, LOADING, DISCONNECTED}
    failed = [key for key, (_, answer) in answers.items() if answer != OK]
    failed += [key for key, answer in told.items() if answer != OK]
    later = {key for key, (sent, answer) in answers.items() if sent > served and answer == OK}
    print(f"{len(answers)} writes, {len(failed)} failed, {len(later)} after the last restart")
    assert later, "nothing was written after the restart"
    assert existing(server, failed) == set()
    assert existing(server, sorted(later)) == later
    server.stop()


def test_a_stalled_shard_loses_and_repeats_nothing(own_server: StartServer) -> None:
    """Each connection counts up its own key, so that a lost or repeated command shows."""
    server = own_server(shards=2, workers=2)
    pid = server.shard_pids()[0]
    clients = [server.client(timeout=30.0) for _ in range(12)]
    rounds, length = 20, 25
    try:
        for client in clients:
            assert client.call("PING") == b"+PONG\r\n"
        with stopped(pid):
            started = time.monotonic()
            for _ in range(rounds):
                for at, client in enumerate(clients):
                    # Keys of all shards, each pipeline of one connection touches two of them.
                    pairs = (encode("INCR", f"c{at}:a") + encode("INCR", f"c{at}:b")) * length
                    client.send(pairs)
                time.sleep(STALL_SECONDS / rounds)
            time.sleep(max(0.0, started + STALL_SECONDS - time.monotonic()))
        for client in clients:
            for number in range(1, rounds * length + 1):
                assert client.read_reply() == integer(number)
                assert client.read_reply() == integer(number)
        for at, client in enumerate(clients):
            expected = bulk(b"%d" % (rounds * length))
            assert client.call("MGET", f"c{at}:a", f"c{at}:b") == b"*2\r\n" + expected * 2
    finally:
        for client in clients:
            client.close()
    server.stop()


@pytest.mark.usefixtures("ours_only")
def test_a_stalled_shard_holds_up_only_its_own_clients(own_server: StartServer) -> None:
    server = own_server(shards=2, workers=1)
    tags = tags_by_shard(server)
    pid = server.shard_pids()[0]
    with server.client() as waiting, stopped(pid):
        waiting.send(encode("SET", tags[0][0], "v"))
        with bystanders(server, [tag + b"n" for tag in tags[1][:2]]):
            time.sleep(1.0)
        assert waiting.is_quiet(0)
        with server.client() as other:
            assert other.call("PING") == b"+PONG\r\n"
        os.kill(pid, signal.SIGCONT)
        assert waiting.read_reply() == OK
    server.stop()


@pytest.mark.usefixtures("ours_only")
def test_a_dead_worker_costs_only_its_own_connections(own_server: StartServer) -> None:
    server = own_server(shards=2, workers=2)
    with ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for _ in range(40)]
        for number, client in enumerate(clients):
            assert client.call("SET", f"k{number}", "v") == OK
        left = clients
        for index, pid in sorted(server.worker_pids().items()):
            os.kill(pid, signal.SIGKILL)
            since = time.monotonic()
            for _ in range(20):
                with server.client(timeout=TOLD_SECONDS * server.slowness) as client:
                    assert client.call("GET", "k0") == bulk(b"v")
            assert processes.wait_gone([pid], 1.0) == []
            closed = [client for client in left if not client.is_quiet(0)]
            for client in closed:
                assert client.read_to_end(TOLD_SECONDS * server.slowness) == b""
            left = [client for client in left if client not in closed]
            for client in left:
                assert client.call("GET", "k0") == bulk(b"v")
            print(f"worker {index}: {len(closed)} connections lost")
            while len(server.worker_pids()) < 2:
                assert time.monotonic() - since < BACK_SECONDS * server.slowness, (
                    "the worker is not replaced"
                )
                time.sleep(0.02)
        assert left == [], "a connection outlived its process"
    assert len(existing(server, [b"k%d" % number for number in range(40)])) == 40
    server.stop()


@pytest.mark.usefixtures("ours_only")
def test_nothing_outlives_the_router(own_server: StartServer) -> None:
    server = own_server(shards=2, workers=2)
    deadline = time.monotonic() + 5
    while len(pids := server.pids()) < 5:  # the first worker answers before the second one exists
        assert time.monotonic() < deadline, pids
        time.sleep(0.01)
    with server.client() as client:
        client.send(encode("SET", "k", "v") * 100)
        os.kill(server.pid, signal.SIGKILL)
        assert server.process is not None
        server.process.wait(5)
        left = processes.wait_gone(pids, 2.0)
        assert left == [], [processes.command_line(pid) for pid in left]


@pytest.mark.usefixtures("ours_only")
def test_a_stalled_process_does_not_stop_the_server_from_ending(own_server: StartServer) -> None:
    """SIGTERM ends it within the time that Server.stop allows, whatever the exit code says."""
    server = own_server(shards=2, workers=1, extra=("--shutdown-timeout", "1"))
    pids = server.pids()
    os.kill(server.shard_pids()[1], signal.SIGSTOP)
    assert server.process is not None
    server.process.terminate()
    server.process.wait(15)
    assert processes.wait_gone(pids, 2.0) == []


def test_sigterm_answers_what_was_admitted(own_server: StartServer) -> None:
    """Replies already owed are sent, and the end is orderly: no reset, no half reply."""
    server = own_server(shards=2, workers=1)
    with server.client() as client:
        assert client.pipeline([("INCR", "n")] * 100)[-1] == integer(100)
        assert server.process is not None
        server.process.terminate()
        assert client.read_to_end(10) == b""
    assert server.process.wait(15) == 0


def test_the_tests_know_the_processes(own_server: StartServer) -> None:
    """What all others here rely on: every shard and worker is found, and nothing twice."""
    server = own_server(shards=2, workers=2)
    shards, workers = server.shard_pids(), server.worker_pids()
    if uses_stand_in():
        assert shards == {0: server.pid}
        return
    assert sorted(shards) == [0, 1]
    assert sorted(workers) == [0, 1]
    assert len({server.pid, *shards.values(), *workers.values()}) == 5
    assert {*shards.values(), *workers.values()} <= set(server.pids())
