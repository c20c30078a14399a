"""The router process with small workers and shards (fakes.py): life, death and the end.

Every server is a process of its own, on a free port of the loopback address.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FAKES = Path(__file__).with_name("fakes.py")
PATIENCE_SECONDS = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """What a condition returns once it is true. Fails after some seconds."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, ValueError):
            result = condition()
            if result:
                return result
        assert time.monotonic() < deadline, "this never became true"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Server:
    def __init__(self, tmp_path: Path, *options: str) -> None:
        self.port = free_port()
        self.directory = tmp_path
        self.log = tmp_path / "log"
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--shards", "2",
                 "--io-workers", "2", *options]  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(FAKES), *words],
                stdout=log,
                stderr=log,
                env={**os.environ, "TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": ""},
            )

    def ask(self, line: str) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), 5) as client:
            client.sendall(line.encode() + b"\n")
            return client.recv(1 << 16)

    def topology(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("topology"))
        return found

    def pids(self, kind: str) -> list[int]:
        text = self.ask(f"admin INFO {kind}s").decode()
        return [int(part.split(",")[0]) for part in text.split("pid=")[1:]]

    def text(self) -> str:
        return self.log.read_text()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory with a short name: a unix socket's path has room for 107 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        yield Path(path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    try:
        eventually(lambda: "Ready to accept connections tcp" in running.text())
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def test_a_killed_shard_is_restarted_with_the_next_epoch(server: Server) -> None:
    before = server.topology()
    assert before["shards"] == [[0, 1, True], [1, 1, True]]
    os.kill(server.pids("shard")[1], signal.SIGKILL)
    after = eventually(
        lambda: (found := server.topology())["shards"] == [[0, 1, True], [1, 2, True]] and found
    )
    assert after["version"] > before["version"]
    assert after["slots"] == [[0, 8191, 0], [8192, 16383, 1]]
    assert "shard 1 ended" in server.text()


def test_a_killed_worker_is_restarted_and_its_connections_are_forgotten(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 5) as client:
        client.sendall(b"hello\n")
        _, index, _, pid = client.recv(100).split()
        os.kill(int(pid), signal.SIGKILL)
        epochs = [[0, 1], [1, 1]]
        epochs[int(index)][1] = 2
        eventually(lambda: server.topology()["workers"] == epochs)
        eventually(lambda: b"connected_clients:1\r\n" in server.ask("admin INFO clients"))


def test_what_dies_again_and_again_is_not_started_without_a_pause(server: Server) -> None:
    for epoch in (1, 2, 3):
        os.kill(server.pids("shard")[0], signal.SIGKILL)
        eventually(lambda epoch=epoch: server.topology()["shards"][0] == [0, epoch + 1, True])
    assert server.topology()["shards"][1] == [1, 1, True]


def test_no_process_outlives_a_killed_router(server: Server) -> None:
    children = [*server.pids("shard"), *server.pids("worker")]
    assert len(children) == 4
    server.process.kill()
    server.process.wait()
    eventually(lambda: not any(map(alive, children)), seconds=1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything_in_order(server: Server, number: signal.Signals) -> None:
    children = [*server.pids("shard"), *server.pids("worker")]
    server.process.send_signal(number)
    assert server.process.wait(PATIENCE_SECONDS) == 0
    assert not any(map(alive, children))
    assert [path.name for path in server.directory.iterdir()] == ["log"]
    assert "Traceback" not in server.text()


def test_shutdown_is_a_command_too(server: Server) -> None:
    server.ask("admin SHUTDOWN NOSAVE")
    assert server.process.wait(PATIENCE_SECONDS) == 0


def test_a_process_that_does_not_end_is_killed_in_time(server: Server) -> None:
    assert server.ask("admin CONFIG SET shutdown-timeout 1") == b"+OK\r\n"
    stuck = server.pids("shard")[0]
    os.kill(stuck, signal.SIGSTOP)
    begun = time.monotonic()
    server.process.terminate()
    assert server.process.wait(PATIENCE_SECONDS) == 0
    assert time.monotonic() - begun < 3
    assert not alive(stuck)


def test_a_port_in_use_is_said_as_redis_says_it(server: Server, tmp_path: Path) -> None:
    second = subprocess.run(
        [sys.executable, str(FAKES), "--port", str(server.port), "--bind", "127.0.0.1"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert second.returncode == 1
    assert (
        f"# Warning: Could not create server TCP listening socket 127.0.0.1:{server.port}: "
        "bind: Address already in use"
    ) in second.stdout
    assert f"# Failed listening on port {server.port} (tcp), aborting." in second.stdout


def test_a_changed_directive_reaches_every_worker_before_ok(server: Server) -> None:
    assert server.ask("admin CONFIG SET timeout 77") == b"+OK\r\n"
    assert {server.ask("config timeout") for _ in range(4)} == {b"77\n"}


def test_the_next_server_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    first = Server(tmp_path)
    eventually(lambda: "Ready to accept" in first.text())
    first.process.kill()
    first.process.wait()
    assert len(list(tmp_path.glob("shardis-*"))) == 1
    second = Server(tmp_path)
    try:
        eventually(lambda: "Ready to accept" in second.text())
        assert len(list(tmp_path.glob("shardis-*"))) == 1
    finally:
        second.process.terminate()
        assert second.process.wait(PATIENCE_SECONDS) == 0


@pytest.mark.parametrize("words", [["--appendonly", "yes"], ["--nosuch", "1"], ["missing.conf"]])
def test_a_wrong_configuration_stops_the_start(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, str(FAKES), *words], capture_output=True, timeout=10, check=False
    )
    assert done.returncode == 1
    assert done.stderr or done.stdout  # an unreadable file is a line of the log, as in Redis
