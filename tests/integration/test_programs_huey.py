"""huey, as it comes from PyPI, over three shards: tasks, results, retries, locks, priorities.

What is scheduled for later is read by a Lua script: the consumer's scheduler waits for that.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from huey.exceptions import TaskException

from tests.integration.programs.processes import Worker, running, until
from tests.support.servers import Configuration, Server, ServerPool

TASKS = 40
RESULT_SECONDS = 30


@pytest.fixture
def server(server_pool: ServerPool) -> Server:
    return server_pool.get(Configuration(shards=3, workers=2))


@pytest.fixture
def tasks(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The applications, on this server."""
    monkeypatch.setenv("PROGRAM_PORT", str(server.port))
    module = importlib.import_module("tests.integration.programs.huey_tasks")
    module = importlib.reload(module)
    yield module
    for application in (module.plain, module.ordered):
        application.storage.conn.close()


def consumer(server: Server, application: str, *words: str) -> Worker:
    path = f"tests.integration.programs.huey_tasks.{application}"
    return Worker(server, "huey.bin.huey_consumer", path, "--no-periodic", *words)


def value_of(result: Any) -> object:
    """What a task has returned; None while it has failed, or done nothing."""
    result.reset()  # else it remembers the failure
    try:
        return result.get()
    except TaskException:
        return None


def test_results_come_back(server: Server, tasks: ModuleType) -> None:
    """Half of the tasks are there before a consumer is, the others wake it."""
    results = [tasks.add(number, 1000) for number in range(TASKS)]
    workers = [consumer(server, "plain", "--workers", "2") for _ in range(2)]
    with running(*workers):
        results[0].get(blocking=True, timeout=RESULT_SECONDS)
        results += [tasks.add(number, 1000) for number in range(TASKS, 2 * TASKS)]
        found = [result.get(blocking=True, timeout=RESULT_SECONDS) for result in results[1:]]
        assert found == [1000 + number for number in range(1, 2 * TASKS)]
        assert tasks.plain.pending_count() == tasks.plain.result_count() == 0


def test_retries_pipelines_and_locks_work(server: Server, tasks: ModuleType) -> None:
    with running(consumer(server, "plain", "--workers", "4", "--worker-type", "thread")):
        failing = tasks.fail_twice()
        until(lambda: value_of(failing) == "at last", "the third try")
        chain = tasks.add.s(1, 2).then(tasks.add, 10).then(tasks.add, 100)
        assert tasks.plain.enqueue(chain).get(blocking=True, timeout=RESULT_SECONDS) == [3, 13, 113]
        assert tasks.alone().get(blocking=True, timeout=RESULT_SECONDS) == 1


def test_priorities_are_kept(server: Server, tasks: ModuleType) -> None:
    for number in range(5):
        tasks.note(f"low {number}", priority=1)
        tasks.note(f"high {number}", priority=9)
    connection = tasks.ordered.storage.conn
    with running(consumer(server, "ordered", "--workers", "1")):
        until(lambda: connection.llen("marks") == 10, "all ten marks")
        marks = connection.lrange("marks", 0, -1)
        assert sorted(marks[:5]) == [b"high %d" % number for number in range(5)]
        assert sorted(marks[5:]) == [b"low %d" % number for number in range(5)]
