"""The servers that are compared, and how each is started, watched and stopped."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.macro import process

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 10.0
PING = b"*1\r\n$4\r\nPING\r\n"


class ServerFailed(Exception):
    """A server did not start, died, or answered something else than it should."""


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def exchange(port: int, request: bytes, seconds_max: float = 5.0) -> bytes:
    """Send one request over a fresh connection and return the first bytes of the answer."""
    with socket.create_connection(("127.0.0.1", port), seconds_max) as connection:
        connection.settimeout(seconds_max)
        connection.sendall(request)
        return connection.recv(65536)


@dataclass(slots=True)
class Server:
    """One started server: its processes, the port to measure, the ports that answer INFO."""

    port: int
    info_ports: list[int]
    directory: Path
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    born: float = field(default_factory=time.monotonic)
    ready_seconds: float = 0.0  # from just before exec to the first PONG

    def launch(self, *command: str) -> None:
        with (self.directory / "log").open("ab") as log:
            self.children.append(
                subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.directory,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                    start_new_session=True,
                )
            )

    def wait_ready(self, probe: bytes = PING, expected: bytes = b"+PONG") -> None:
        """Return when the server answers the probe. Raises ServerFailed if it exits or is late."""
        begin = time.monotonic()
        while time.monotonic() - begin < START_SECONDS_MAX:
            with contextlib.suppress(OSError):
                if exchange(self.port, probe).startswith(expected):
                    self.ready_seconds = time.monotonic() - self.born
                    return
            self.assert_alive()
            time.sleep(0.002)
        raise ServerFailed(f"it did not answer within {START_SECONDS_MAX:.0f} s: {self.log_tail()}")

    def assert_alive(self) -> None:
        for child in self.children:
            if child.poll() is not None:
                raise ServerFailed(f"exit status {child.returncode}: {self.log_tail()}")

    def log_tail(self) -> str:
        """The last lines of what the server printed, on one line."""
        try:
            text = (self.directory / "log").read_text(errors="replace")
        except FileNotFoundError:
            return "no output"
        return " / ".join(text.strip().splitlines()[-3:]) or "no output"

    @property
    def roots(self) -> list[int]:
        return [child.pid for child in self.children]

    def used_memory(self) -> int:
        """The sum of used_memory of INFO. Raises ServerFailed when there is no such field."""
        total = 0
        for port in self.info_ports:
            answer = exchange(port, b"*2\r\n$4\r\nINFO\r\n$6\r\nmemory\r\n").decode(
                errors="replace"
            )
            values = [
                line.partition(":")[2]
                for line in answer.splitlines()
                if line.startswith("used_memory:")
            ]
            if not values:
                raise ServerFailed("INFO memory has no used_memory")
            total += int(values[0])
        return total

    def stop(self) -> None:
        """End every process of the server, whatever state it is in, and remove its directory."""
        known = {
            pid: process.started(pid) for child in self.children for pid in process.tree(child.pid)
        }
        for child in reversed(self.children):
            child.terminate()
        deadline = time.monotonic() + STOP_SECONDS_MAX
        for child in self.children:
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for pid, began in known.items():  # descendants that outlived their parent
            if began is not None and process.started(pid) == began:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Variant:
    """A row of the comparison: a name, what it is, and how to start it."""

    name: str
    about: str
    start: Callable[[], Server]


def _server(info_ports: list[int] | None = None) -> Server:
    port = free_port()
    return Server(port, info_ports or [port], Path(tempfile.mkdtemp(prefix="bench-")))


@contextlib.contextmanager
def _stopped_on_failure(server: Server) -> Iterator[Server]:
    try:
        yield server
    except BaseException:
        server.stop()
        raise


def _redis_command(port: int) -> list[str]:
    return [
        *("redis-server", "--port", str(port), "--bind", "127.0.0.1"),
        *("--save", "", "--appendonly", "no"),
    ]


def start_redis(prefix: tuple[str, ...] = ()) -> Server:
    with _stopped_on_failure(_server()) as server:
        server.launch(*prefix, *_redis_command(server.port))
        server.wait_ready()
    return server


def start_twemproxy(backends: int = 2) -> Server:
    """nutcracker in front of redis-servers, one connection to each, as its authors recommend."""
    ports = [free_port() for _ in range(backends)]
    with _stopped_on_failure(_server(ports)) as server:
        for port in ports:
            server.launch(*_redis_command(port))
        lines = [
            "bench:",
            f"  listen: 127.0.0.1:{server.port}",
            "  hash: fnv1a_64",
            "  distribution: ketama",
            "  redis: true",
            "  backlog: 1024",
            "  server_connections: 1",
            "  preconnect: true",
            "  servers:",
            *(f"   - 127.0.0.1:{port}:1" for port in ports),
        ]
        (server.directory / "nutcracker.yml").write_text("\n".join(lines) + "\n")
        for port in ports:
            backend = Server(port, [port], server.directory, server.children)
            backend.wait_ready()
        nutcracker = shutil.which("nutcracker", path=os.environ["PATH"] + ":/usr/sbin")
        server.launch(nutcracker or "nutcracker", "-c", "nutcracker.yml", "-s", str(free_port()))
        # It knows no PING before its 0.5.0; a GET does the same.
        server.wait_ready(b"*2\r\n$3\r\nGET\r\n$5\r\nprobe\r\n", b"$-1")
    return server


def start_shardis(workers: int, shards: int, *options: str) -> Server:
    with _stopped_on_failure(_server()) as server:
        server.launch(
            *(sys.executable, "-m", "router.main", "--port", str(server.port)),
            *("--bind", "127.0.0.1", "--shards", str(shards), "--io-workers", str(workers)),
            *options,
        )
        server.wait_ready()
    return server


def shardis(workers: int, shards: int, deviation: str = "", *options: str) -> Variant:
    """A row of ours; one that deviates from the shipped defaults says so in its name."""
    return Variant(
        f"shardis-{workers}+{shards}" + (f"@{deviation}" if deviation else ""),
        f"I/O workers: {workers}, shards: {shards}, {' '.join(options) or 'shipped defaults'}",
        lambda: start_shardis(workers, shards, *options),
    )


def start_shard_port() -> Server:
    """One shard in cluster mode, measured at its own port: no worker is in between."""
    # The port and the bus port after each must be possible, so none of the kernel's own are used.
    for first in random.sample(range(10_000, 22_000), 1000):
        with _stopped_on_failure(_server([first])) as server, contextlib.suppress(OSError):
            for port in (first, first + 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            server.port = first + 1
            server.launch(
                *(sys.executable, "-m", "router.main", "--port", str(first)),
                *("--bind", "127.0.0.1", "--shards", "1", "--io-workers", "1"),
                *("--cluster-enabled", "yes"),
            )
            server.wait_ready()
            return server
        server.stop()
    raise ServerFailed("no two ports in a row are free")


SHARD_PORT = Variant(
    "shardis-port",
    "a shard's own port in cluster mode: 1 shard, shipped defaults",
    start_shard_port,
)
STANDARD = (
    Variant("redis-server", "one redis-server, shipped defaults, no persistence", start_redis),
    Variant("twemproxy", "nutcracker in front of two redis-servers", start_twemproxy),
    shardis(1, 1),
    shardis(1, 2),
    SHARD_PORT,
)

BATCH = ("--sched-batch", "yes")
PINNED = ("--worker-cpulist", "0", "--shard-cpulist", "0")
SPIN = ("--spin-microseconds", "20")
LIBZMQ = ("--zeromq-io-threads", "yes")
OPT_IN = (
    Variant("control", "a second redis-server: shows the noise", start_redis),
    Variant(
        "redis-server@batch",
        "redis-server under SCHED_BATCH",
        lambda: start_redis(("chrt", "--batch", "0")),
    ),
    Variant(
        "redis-server@pinned",
        "redis-server on CPU 0",
        lambda: start_redis(("taskset", "--cpu-list", "0")),
    ),
    shardis(1, 1, "batch", *BATCH),
    shardis(1, 2, "batch", *BATCH),
    shardis(1, 1, "pinned", *PINNED),
    shardis(1, 1, "spin", *SPIN),
    shardis(1, 1, "libzmq", *LIBZMQ),
    shardis(1, 2, "libzmq", *LIBZMQ),
    shardis(2, 2),
)


def with_options(text: str) -> Variant:
    """A row with own server options: `NAME=--io-workers 1 --shards 1 --option value ...`."""
    name, _, options = text.partition("=")
    if not name or not options:
        raise ValueError(f"{text!r} is not NAME=OPTIONS")
    return Variant(name, f"1+1 with {options}", lambda: start_shardis(1, 1, *options.split()))
