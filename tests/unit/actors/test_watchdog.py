"""The watchdog with children that never were processes: what it sees, says and does."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from actors.supervisor import Child, Role
from actors.watchdog import STALE_LOOKS, Watchdog


class FakeLink:
    """A control link whose other end answers when told to."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.asked: list[asyncio.Future[Any]] = []

    def start_request(self, message: dict[str, Any]) -> asyncio.Future[Any]:
        self.asked.append(self.loop.create_future())
        return self.asked[-1]

    def answer(self) -> None:
        for future in self.asked:
            if not future.done():
                future.set_result(None)


class FakeSupervisor:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.shards = [self.child(Role.SHARD, 0)]
        self.workers = [self.child(Role.WORKER, 0)]
        self.health_changed = asyncio.Event()
        self.killed: list[str] = []

    def child(self, role: Role, index: int) -> Child:
        child = Child(role, index, ready=True, pid=1)
        child.link = FakeLink(self.loop)  # type: ignore[assignment]
        return child

    def kill_child(self, child: Child) -> None:
        self.killed.append(child.name)


class Scene:
    def __init__(self, **timeouts: int) -> None:
        self.supervisor = FakeSupervisor()
        self.ticks = 0
        self.runs = False  # whether processes use processor time
        self.dog = Watchdog(
            self.supervisor,  # type: ignore[arg-type]
            lambda: {"worker": 0, "shard": 0} | timeouts,
            self.read_ticks,
        )
        self.shard, self.worker = self.supervisor.shards[0], self.supervisor.workers[0]

    def read_ticks(self, pid: int) -> int:
        self.ticks += self.runs
        return self.ticks

    def look(self, times: int, *answering: Child) -> None:
        for _ in range(times):
            for child in answering:
                child.link.answer()  # type: ignore[union-attr]
            self.dog.look()


@pytest.fixture
def scene() -> Any:
    scenes: list[Scene] = []

    def make(**timeouts: int) -> Scene:
        scenes.append(Scene(**timeouts))
        return scenes[-1]

    yield make
    for one in scenes:
        one.supervisor.loop.close()


def test_processes_that_answer_are_up(scene: Any) -> None:
    one = scene()
    one.look(10, one.shard, one.worker)
    assert one.shard.state == one.worker.state == "up"


def test_one_that_neither_answers_nor_runs_is_stuck(
    scene: Any, caplog: pytest.LogCaptureFixture
) -> None:
    one = scene()
    one.look(STALE_LOOKS, one.worker)
    assert one.shard.state == "up"
    one.look(1, one.worker)
    assert one.shard.state == "stuck"
    assert one.worker.state == "up"
    one.look(20, one.worker)
    said = [record.message for record in caplog.records]
    assert len(said) == 1, said
    assert "shard 0 (pid 1) is stuck" in said[0]
    caplog.set_level(logging.WARNING)
    one.look(1, one.shard, one.worker)
    assert one.shard.state == "up"
    assert "answers again" in caplog.records[-1].message
    assert one.supervisor.killed == []


def test_one_with_a_long_command_is_busy_and_never_killed(scene: Any) -> None:
    one = scene(shard=1, worker=1)
    one.runs = True
    one.look(50)
    assert one.shard.state == one.worker.state == "busy"
    assert one.supervisor.killed == []


def test_who_is_stuck_for_too_long_is_killed(scene: Any) -> None:
    one = scene(worker=10)
    one.look(20)
    assert one.supervisor.killed == []
    one.look(1)
    assert one.supervisor.killed == ["worker 0"]
    assert one.shard.state == "stuck"


def test_a_new_incarnation_begins_anew(scene: Any) -> None:
    one = scene()
    one.look(10)
    one.shard.epoch += 1
    one.shard.link = FakeLink(one.supervisor.loop)
    one.look(1)
    assert one.shard.state == "up"
