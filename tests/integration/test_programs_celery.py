"""Celery, as it comes from PyPI, over three shards: its Redis transport, and its results.

A result is stored by a transaction that publishes it, chords are counted by a Lua script, and
revoke and the other remote controls are broadcasts: these wait for pub/sub and for scripts. So
does the search for messages that were never acknowledged: it is guarded by a lock that a script
releases. Here somebody else seems to hold this lock, as in most of many workers.

What else the transport needs is there: priorities by BRPOP over several lists, acknowledgements by
MULTI, retries, and tasks that are delivered again when the process that ran them has died.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.integration.programs.processes import Worker, running, until
from tests.support.servers import Configuration, Server, ServerPool

TASKS = 40
APPLICATION = "tests.integration.programs.celery_tasks"


@pytest.fixture
def server(server_pool: ServerPool) -> Server:
    return server_pool.get(Configuration(shards=3, workers=2))


@pytest.fixture
def tasks(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The application, on this server."""
    monkeypatch.setenv("PROGRAM_PORT", str(server.port))
    module = importlib.reload(importlib.import_module(APPLICATION))
    with server.client() as client:
        assert client.call("SET", "unacked_mutex", "another worker") == b"+OK\r\n"
    yield module
    module.app.close()


def worker(server: Server, *words: str) -> Worker:
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=INFO")
    command = ("celery", "--app", APPLICATION, "worker", *quiet, *words)
    return Worker(server, *command)


def test_tasks_are_done_once_each(server: Server, tasks: ModuleType) -> None:
    """Half of them are there before a worker is, the others wake it."""
    for number in range(TASKS):
        tasks.note.delay(str(number))
    marks = tasks.marks()
    workers = [worker(server, "--concurrency=1", f"--hostname=w{n}@here") for n in range(2)]
    with running(*workers):
        until(lambda: marks.llen("marks") == TASKS, "all marks")
        for number in range(TASKS, 2 * TASKS):
            tasks.note.delay(str(number))
        until(lambda: marks.llen("marks") >= 2 * TASKS, "all marks")
        found = sorted(marks.lrange("marks", 0, -1), key=int)
        assert found == [b"%d" % number for number in range(2 * TASKS)]
        # All are acknowledged.
        with server.client() as client:
            until(lambda: client.call("HLEN", "unacked") == b":0\r\n", "acknowledgement")
            assert client.call("ZCARD", "unacked_index") == b":0\r\n"


def test_retries_chains_and_dead_workers(server: Server, tasks: ModuleType) -> None:
    marks = tasks.marks()
    with running(worker(server, "--concurrency=2")):
        tasks.fail_twice.delay()
        until(lambda: marks.lrange("marks", 0, -1) == [b"at last"], "the third try")
        (tasks.add.s(1, 2) | tasks.add.s(10) | tasks.note.s()).delay()
        until(lambda: marks.lindex("marks", -1) == b"13", "the end of the chain")
        tasks.die_once.delay("again")
        until(lambda: marks.lindex("marks", -1) == b"again", "the second delivery")


def test_priorities_are_kept(server: Server, tasks: ModuleType) -> None:
    for number in range(5):
        tasks.note.apply_async((f"low {number}",), priority=2)
        tasks.note.apply_async((f"high {number}",), priority=0)
    marks = tasks.marks()
    with running(worker(server, "--concurrency=1", "--pool=solo")):
        until(lambda: marks.llen("marks") == 10, "all ten marks")
        found = marks.lrange("marks", 0, -1)
        assert found == [
            *(b"high %d" % number for number in range(5)),
            *(b"low %d" % number for number in range(5)),
        ]
