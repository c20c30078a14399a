"""A process that is stopped is seen, said and, if so configured, replaced; nobody waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.servers import Shardis

pytestmark = pytest.mark.usefixtures("ours_only")
KNOWN_SECONDS_MAX = 2.5
"""Two seconds, and a turn of a busy machine."""


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def info(server: Shardis) -> str:
    with server.client() as client:
        return client.call("INFO", "everything").decode()


def test_a_stopped_shard_is_shown_as_stuck(own_server: Callable[..., Shardis]) -> None:
    """INFO said up with 0 keys, and shardctl that no server answers there."""
    server = own_server(shards=2, workers=1)
    pid = server.shard_pids()[1]
    with stopped(pid), server.client() as client:
        until(
            lambda: f"shard1:state=stuck,pid={pid}" in info(server),
            KNOWN_SECONDS_MAX * server.slowness,
            "it is not shown",
        )
        assert "shard0:state=up" in info(server)
        begun = time.monotonic()
        shown = subprocess.run(
            [sys.executable, "-m", "shardctl.main", "status", "-p", str(server.port)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert shown.returncode == 1, shown.stderr
        assert "stuck" in shown.stdout
        assert client.call("CLIENT", "LIST").startswith(b"$")
        assert client.call("CONFIG", "SET", "hz", "20") == b"+OK\r\n"
        assert time.monotonic() - begun < 5.0 * server.slowness
        assert client.call("PING") == b"+PONG\r\n"
    until(lambda: "shard1:state=up" in info(server), 3.0 * server.slowness, "still stuck")
    log = server.log()
    assert log.count(f"shard 1 (pid {pid}) is stuck") == 1
    assert "shard 1 (pid" in log.partition("answers again")[0].splitlines()[-1]


def test_a_stopped_worker_is_replaced(own_server: Callable[..., Shardis]) -> None:
    server = own_server(shards=1, workers=2, extra=("--worker-stuck-timeout", "2"))
    pid = server.worker_pids()[0]
    with stopped_for_ever(pid):
        until(
            lambda: "worker 0 ended" in server.log() and "worker 0 is ready again" in server.log(),
            10.0 * server.slowness,
            "it is not replaced",
        )
    for _ in range(20):
        with server.client() as client:
            assert client.call("PING") == b"+PONG\r\n"


def test_a_stopped_shard_is_replaced_if_that_is_configured(
    own_server: Callable[..., Shardis],
) -> None:
    server = own_server(shards=2, workers=1)
    with server.client() as client:
        assert client.call("CONFIG", "SET", "shard-stuck-timeout", "3") == b"+OK\r\n"
    with stopped_for_ever(server.shard_pids()[0]):
        until(
            lambda: "shard 0 is ready again" in server.log(),
            10.0 * server.slowness,
            "it is not replaced",
        )


def test_a_long_command_is_no_reason_to_be_killed(own_server: Callable[..., Shardis]) -> None:
    server = own_server(
        shards=1, workers=1, extra=("--shard-stuck-timeout", "2", "--worker-stuck-timeout", "2")
    )
    pid = server.shard_pids()[0]
    with server.client(timeout=60.0) as client, server.client() as other:
        client.call("DEBUG", "POPULATE", "1000000")
        client.send(b"".join([b"*2\r\n$4\r\nKEYS\r\n$3\r\n*x*\r\n"] * 12))
        begun = time.monotonic()
        while time.monotonic() - begun < 4.0:
            assert b"redis_version" in other.call("INFO", "server")
            time.sleep(0.2)
        assert server.shard_pids()[0] == pid


@contextmanager
def stopped_for_ever(pid: int) -> Iterator[None]:
    """As `stopped`, for a process that will be killed."""
    os.kill(pid, signal.SIGSTOP)
    yield
