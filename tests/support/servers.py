"""Start and stop the servers that tests talk to: the oracle (redis-server) and ours.

Environment:
  SHARDIS_ORACLE        a redis-server 7.2 binary to compare with; else redis-server from PATH
  SHARDIS_TEST_COMMAND  a command to run instead of ours, with {port} in it: it checks the tests
                        themselves against a server known to be right. Tests of what only our
                        server has are then skipped.

Servers listen on free loopback ports, write their log into a directory of their own, and are in
a session of their own, so that no process of theirs can be lost from sight. `ServerPool` keeps
running servers by configuration, because starting one costs far more than emptying it.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support import certificates, processes
from tests.support.resp_client import RespClient

ROOT = Path(__file__).resolve().parents[2]
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
START_SECONDS = 40.0
STOP_SECONDS = 30.0
# A start that takes longer than this tells of a machine that is busy with other things.
USUAL_START_SECONDS = 0.4
SLOWNESS_MAX = 8.0
# Servers kept running by a pool at a time: more would only compete for the processors.
POOL_SERVERS_MAX = 3
HELD_PORTS_MAX = 64
TRANSPORTS = ("tcp", "tls", "unix")
ROLE = re.compile(r"shardis-([sw])(\d+)")
_held: deque[socket.socket] = deque()
INFO_ROLE = re.compile(r"^(shard|worker)_?(\d+)[:_].*?pid[=:](\d+)", re.MULTILINE)


class ServerError(Exception):
    """A server did not start, or did not end as it should; the text holds the end of its log."""


def _end_with_parent() -> None:
    """Let the kernel kill a server whose tests were killed: nothing else would end it.

    Holds for the thread that starts it, so servers are started by the main thread only.
    """
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _hold(port: int) -> None:
    """Keep other tests off a port: they may run beside this one, and look for ports as it does.

    A port is held until long after its server listens, by UDP, which is in no server's way.
    Raises OSError when another test holds it.
    """
    holder = socket.socket(type=socket.SOCK_DGRAM)
    try:
        holder.bind(("127.0.0.1", port))
    except OSError:
        holder.close()
        raise
    _held.append(holder)
    while len(_held) > HELD_PORTS_MAX:
        _held.popleft().close()


def free_port() -> int:
    """A loopback port that is free now, and that no other test is given meanwhile."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            _hold(port)
            return port


def free_ports(count: int) -> int:
    """The first of so many loopback ports in a row that are free now, their bus ports included.

    Drawn below the ports that the kernel gives to connections, so that none is taken meanwhile.
    """
    for _ in range(1000):
        first = random.randrange(10_000, 22_000)
        with contextlib.ExitStack() as probes, contextlib.suppress(OSError):
            for port in (*range(first, first + count), first + 10_000, first + 9_999 + count):
                probe = probes.enter_context(socket.socket())
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
            for port in range(first, first + count):
                _hold(port)
            return first
    raise ServerError(f"no {count} ports in a row are free")


def uses_stand_in() -> bool:
    """True when SHARDIS_TEST_COMMAND replaces our server."""
    return bool(os.environ.get("SHARDIS_TEST_COMMAND"))


@dataclass(frozen=True, slots=True)
class Configuration:
    """The options of our server that tests vary."""

    shards: int = 1
    workers: int = 1
    native_lane: bool = True
    extra: tuple[str, ...] = ()
    transport: str = "tcp"  # of TRANSPORTS: what `client` connects by

    def __str__(self) -> str:
        lane = "native" if self.native_lane else "python"
        name = f"s{self.shards}w{self.workers}-{lane}-{self.transport}"
        return name + "-" * bool(self.extra) + "".join(self.extra)


class Server:
    """One server and all its processes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = free_port()
        self._temporary = Path(tempfile.mkdtemp(prefix=f"{name}-test-"))
        self.directory = self._temporary
        self.log_path = self.directory / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.seconds_to_pong = 0.0

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> Server:
        """Start it and wait for the first PONG. Raises ServerError."""
        started = time.monotonic()
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                preexec_fn=_end_with_parent,
            )
        while time.monotonic() < started + START_SECONDS:
            if self.process.poll() is not None:
                code = self.process.returncode
                raise ServerError(f"{self.name} ended at start, code {code}\n{self.log()}")
            with contextlib.suppress(OSError), RespClient(self.port) as client:
                if client.call("PING") == b"+PONG\r\n":
                    self.seconds_to_pong = time.monotonic() - started
                    # A server closes when it no longer counts the client, so tests may begin to.
                    client.call("QUIT")
                    client.read_to_end()
                    return self
            time.sleep(0.005)
        self.kill()
        raise ServerError(f"{self.name}: no PONG within {START_SECONDS} s\n{self.log()}")

    @property
    def slowness(self) -> float:
        """How many times slower than usual all may go: what limits of time are multiplied by.

        Not beyond SLOWNESS_MAX: a limit that grows with whatever is slow would never be reached.
        """
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        return min(max(1.0, self.seconds_to_pong / USUAL_START_SECONDS, load), SLOWNESS_MAX)

    def stop(self) -> None:
        """End it with SIGTERM. Raises ServerError unless all of it is gone and the code is 0."""
        running = self._running()
        pids = self.pids()
        problem = ""
        if running.poll() is not None:
            problem = f"had already ended, code {running.returncode}"
        else:
            running.terminate()
            try:
                code = running.wait(STOP_SECONDS)
                if code != 0:
                    problem = f"exit code {code} after SIGTERM"
            except subprocess.TimeoutExpired:
                problem = f"did not end within {STOP_SECONDS} s of SIGTERM"
        left = processes.wait_gone(sorted({*pids, *self.pids()} - {running.pid}), 2.0)
        if left and not problem:
            shown = ", ".join(f"{pid} ({processes.command_line(pid)})" for pid in left)
            problem = f"left processes behind: {shown}"
        log = self.log() if problem else ""
        self.kill()
        if problem:
            raise ServerError(f"{self.name}: {problem}\n{log}")

    def kill(self) -> None:
        """End every process of it at once, and remove the directory that was made for it."""
        if self.process is not None:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, f"{self.name} was not started"
        return self.process

    @property
    def pid(self) -> int:
        return self._running().pid

    def pids(self) -> list[int]:
        """Every living process of this server."""
        return processes.tree(self.pid)

    @property
    def ended(self) -> bool:
        return self._running().poll() is not None

    def answers(self, seconds: float = 0.5) -> bool:
        """Whether it says PONG in that time."""
        with contextlib.suppress(OSError), RespClient(self.port, timeout=seconds) as client:
            return client.call("PING") == b"+PONG\r\n"
        return False

    def ends_within(self, seconds: float) -> bool:
        """Whether it has ended by then; one that answers has not."""
        deadline = time.monotonic() + seconds
        while not self.ended and time.monotonic() < deadline:
            if self.answers():
                return False
            time.sleep(0.02)
        return self.ended

    def log(self, lines: int = 40) -> str:
        """The last lines of what it has logged."""
        with contextlib.suppress(OSError):
            text = self.log_path.read_text(errors="replace").splitlines()
            return "\n".join(text[-lines:])
        return ""

    def connect(self, timeout: float) -> RespClient:
        """A new connection."""
        return RespClient(self.port, timeout=timeout)

    def client(self, timeout: float = 10.0, *, resp: int = 2) -> RespClient:
        """A new connection, switched to RESP3 if wanted."""
        client = self.connect(timeout)
        if resp == 3:
            reply = client.call("HELLO", 3)
            assert reply.startswith(b"%"), reply
        return client

    def flush(self) -> None:
        with self.client(timeout=30.0) as client:
            reply = client.call("FLUSHALL")
            assert reply == b"+OK\r\n", reply

    def info(self, section: str = "everything") -> str:
        with self.client() as client:
            reply = client.call("INFO", section)
        return reply.partition(b"\r\n")[2].decode(errors="replace")


class Oracle(Server):
    """redis-server without persistence; DEBUG allowed."""

    def __init__(self) -> None:
        super().__init__("oracle")
        binary = os.environ.get("SHARDIS_ORACLE") or shutil.which("redis-server")
        if binary is None:
            raise ServerError("no redis-server in PATH, and SHARDIS_ORACLE is not set")
        self.binary = binary
        self.bind = "127.0.0.1"

    def command(self) -> list[str]:
        options = {
            "--port": str(self.port),
            "--bind": self.bind,
            "--save": "",
            "--appendonly": "no",
            "--enable-debug-command": "yes",
            "--dir": str(self.directory),
        }
        return [self.binary, *(word for pair in options.items() for word in pair)]


class ClusterOracle(Oracle):
    """redis-server in cluster mode: the only node, which owns all slots, or one without any."""

    def __init__(self, *, owns_all: bool = True) -> None:
        super().__init__()
        self.port = free_ports(1)
        self.owns_all = owns_all

    def command(self) -> list[str]:
        # Since 7.2 a node has one database by itself.
        return [*super().command(), "--cluster-enabled", "yes", "--databases", "1"]

    def start(self) -> Server:
        super().start()
        if self.owns_all:
            with self.client() as client:
                reply = client.call("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
                assert reply == b"+OK\r\n", reply
            self.wait_ok()
        return self

    def wait_ok(self) -> None:
        """Return when the cluster serves all slots."""
        deadline = time.monotonic() + START_SECONDS
        with self.client() as client:
            while b"cluster_state:ok" not in client.call("CLUSTER", "INFO"):
                assert time.monotonic() < deadline, "the cluster does not get ready"
                time.sleep(0.05)


class Shardis(Server):
    """Our server with some configuration, or the stand-in for it."""

    def __init__(self, configuration: Configuration | None = None) -> None:
        super().__init__("shardis")
        self.configuration = configuration or Configuration()
        self.transport = self.configuration.transport
        self.tls_port = free_port() if self.transport == "tls" else 0
        if self.in_cluster_mode:
            ports = 1 + self.configuration.shards
            self.port = free_ports(2 * ports)
            self.tls_port = self.tls_port and self.port + ports
        self.socket_path = str(self.directory / "socket") if self.transport == "unix" else ""

    def connect(self, timeout: float) -> RespClient:
        if self.transport == "tls":
            context = certificates.client_context()
            return RespClient(self.tls_port, timeout=timeout, tls=context)
        return RespClient(self.port, timeout=timeout, path=self.socket_path)

    def cli_options(self) -> list[str]:
        """What redis-cli and redis-benchmark need to connect."""
        if self.transport == "unix":
            return ["-s", self.socket_path]
        if self.transport == "tls":
            authority = certificates.certificates().ca_crt
            return ["-p", str(self.tls_port), "--tls", "--cacert", authority]
        return ["-p", str(self.port)]

    def redis_options(self) -> dict[str, object]:
        """What redis-py needs to connect."""
        if self.transport == "unix":
            return {"unix_socket_path": self.socket_path}
        if self.transport == "tls":
            authority = certificates.certificates().ca_crt
            return {
                "host": "localhost",
                "port": self.tls_port,
                "ssl": True,
                "ssl_ca_certs": authority,
                "ssl_check_hostname": True,
            }
        return {"port": self.port}

    @property
    def in_cluster_mode(self) -> bool:
        return "--cluster-enabled" in self.configuration.extra

    def node(self, shard: int = 0) -> Shardis:
        """The same server as seen at a shard's own port, for clients only."""
        seen = copy.copy(self)
        seen.port = self.port + 1 + shard
        seen.tls_port = self.tls_port and self.tls_port + 1 + shard
        return seen

    def command(self) -> list[str]:
        stand_in = os.environ.get("SHARDIS_TEST_COMMAND")
        if stand_in:
            return [
                *shlex.split(stand_in.replace("{port}", str(self.port))),
                *("--enable-debug-command", "yes"),
                *self.configuration.extra,
            ]
        options = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--shards": str(self.configuration.shards),
            "--io-workers": str(self.configuration.workers),
            "--native-lane": "yes" if self.configuration.native_lane else "no",
            "--enable-debug-command": "yes",
        }
        if self.transport == "unix":
            options["--unixsocket"] = self.socket_path
        command = [
            *(sys.executable, "-m", "router.main"),
            *(word for pair in options.items() for word in pair),
        ]
        if self.transport == "tls":
            command += ["--tls-port", str(self.tls_port), *certificates.server_options()]
        return [*command, *self.configuration.extra]

    def shard_pids(self) -> dict[int, int]:
        """Shard index -> pid. The stand-in is its own only shard."""
        return {0: self.pid} if uses_stand_in() else self._roles("shard")

    def worker_pids(self) -> dict[int, int]:
        """I/O worker index -> pid."""
        return {} if uses_stand_in() else self._roles("worker")

    def _roles(self, role: str) -> dict[int, int]:
        """By INFO if it names pids, else by process titles, else by who holds the listener."""
        living = set(self.pids()) - {self.pid}
        found: dict[int, int] = {}
        with contextlib.suppress(OSError):
            for kind, index, pid in INFO_ROLE.findall(self.info()):
                if kind == role and int(pid) in living:
                    found[int(index)] = int(pid)
        if found:
            return found
        for pid in living:
            one = processes.process(pid)
            titles = (one.name if one else "", processes.command_line(pid))
            for match in filter(None, map(ROLE.search, titles)):
                if match[1] == role[0]:
                    found[int(match[2])] = pid
        if found:
            return found
        inodes = _listening_inodes(self.port)
        chosen = [
            pid for pid in sorted(living) if bool(inodes & _sockets(pid)) == (role == "worker")
        ]
        return dict(enumerate(chosen))


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(fields[9])
    return found


def _sockets(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{entry}")
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found


class ServerPool:
    """Running servers of ours by configuration, handed out empty.

    A server that doesn't answer any more, or ended, is replaced; the test that broke it fails by
    itself. `close` reports every server that did not end cleanly.
    """

    def __init__(self) -> None:
        self._servers: OrderedDict[Configuration, Shardis] = OrderedDict()
        self._problems: list[str] = []
        self.transport = "tcp"  # of the servers that `get` hands out

    def get(self, configuration: Configuration | None = None) -> Shardis:
        key = replace(configuration or Configuration(), transport=self.transport)
        if uses_stand_in():
            key = Configuration(extra=key.extra)  # the rest makes no difference to it
        server = self._servers.pop(key, None)
        if server is not None:
            try:
                server.flush()
            except (OSError, AssertionError) as error:
                self._problems.append(f"{key}: no longer usable: {error}\n{server.log()}")
                server.kill()
                server = None
        if server is None:
            while len(self._servers) >= POOL_SERVERS_MAX:
                self._stop(self._servers.popitem(last=False)[1])
            server = Shardis(key)
            server.start()
        self._servers[key] = server
        return server

    def close(self) -> None:
        """Stop all. Raises ServerError naming every server that had to be replaced or killed."""
        while self._servers:
            self._stop(self._servers.popitem()[1])
        if self._problems:
            raise ServerError("\n\n".join(self._problems))

    def _stop(self, server: Shardis) -> None:
        try:
            server.stop()
        except ServerError as error:
            self._problems.append(str(error))
