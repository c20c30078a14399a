"""No test keeps native memory; fixtures for running servers are in tests/support/servers.py."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest

from tests.support.certificates import HAS_OPENSSL
from tests.support.notes import LEAKS, ORACLE_ENDS
from tests.support.resp_client import RespClient
from tests.support.servers import (
    TRANSPORTS,
    Configuration,
    Oracle,
    ServerPool,
    Shardis,
    uses_stand_in,
)

# How long an example takes says more about what else runs than about the code. The examples are the
# same each time, so that a failure is the change's and not the draw's; `make soak` draws new ones.
hypothesis.settings.register_profile(
    "same",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "soak", hypothesis.settings.get_profile("same"), derandomize=False, max_examples=1000
)
hypothesis.settings.load_profile(os.environ.get("SHARDIS_EXAMPLES", "same"))


def live_blocks() -> int:
    """Native blocks of this process that are alive; 0 in release builds.

    When the servers are started by a command of their own (`make asan`), this process may lack what
    their kernels need to be loaded, and tests nothing native itself.
    """
    if "SHARDIS_TEST_COMMAND" in os.environ:
        return 0
    from shards.memory.allocation import live_blocks as counted

    return counted()


class NativeBlocks:
    """Fails the run when a test leaves native blocks behind, as `make asan` counts them.

    Release builds count none. It looks when a test and all its fixtures are gone, which no fixture
    can; what fixtures of a wider scope hold would be named, too, so these hold no stores.
    """

    def __init__(self) -> None:
        self.before = 0

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.before = live_blocks()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if live_blocks() > self.before:
            gc.collect()
            if live_blocks() > self.before:
                LEAKS.append(f"{nodeid} left {live_blocks() - self.before} native blocks")


class Notes:
    """Prints the notes of a run at its end; those of parallel processes are sent to the first."""

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        sent = getattr(session.config, "workeroutput", None)
        if sent is not None:
            sent.update(leaks=LEAKS, oracle_ends=ORACLE_ENDS)
        if LEAKS:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        received = getattr(node, "workeroutput", {})  # a process that crashed sends none
        LEAKS.extend(received.get("leaks", ()))
        ORACLE_ENDS.extend(received.get("oracle_ends", ()))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for leak in LEAKS:
            terminalreporter.write_line(leak, red=True)
        for case in ORACLE_ENDS:
            terminalreporter.write_line(
                f"redis-server crashed or erred in the case {case!r}", yellow=True
            )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(NativeBlocks(), "native-blocks")
    config.pluginmanager.register(Notes(), "notes")
    # A shell's background job is deaf to interrupts, and so would be the processes under test.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def oracle_server() -> Iterator[Oracle]:
    """The running redis-server, with whatever data earlier tests left in it."""
    server = Oracle()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def oracle(oracle_server: Oracle) -> Oracle:
    """The running redis-server, empty."""
    oracle_server.flush()
    return oracle_server


@pytest.fixture(scope="session")
def server_pool() -> Iterator[ServerPool]:
    """Servers of ours by configuration, shared by all tests that don't harm them."""
    pool = ServerPool()
    yield pool
    pool.close()


@pytest.fixture(scope="module", params=TRANSPORTS)
def transport(request: pytest.FixtureRequest, server_pool: ServerPool) -> Iterator[str]:
    """Run all tests of a module over each kind of connection: both drivers must behave alike."""
    name: str = request.param
    if name != "tcp" and uses_stand_in():
        pytest.skip("the stand-in listens on one port")
    if name == "tls" and not HAS_OPENSSL:
        pytest.skip("no openssl command to make certificates with")
    server_pool.transport = name
    yield name
    server_pool.transport = "tcp"


@pytest.fixture
def shardis(server_pool: ServerPool) -> Shardis:
    """Our server, empty, with two shards and one worker."""
    return server_pool.get(Configuration(shards=2))


@pytest.fixture
def connect(shardis: Shardis) -> Iterator[Callable[..., RespClient]]:
    """Open connections to `shardis` that are closed after the test."""
    opened: list[RespClient] = []

    def open_one(resp: int = 2, timeout: float = 10.0) -> RespClient:
        client = shardis.client(timeout=timeout, resp=resp)
        opened.append(client)
        return client

    yield open_one
    for client in opened:
        client.close()


@pytest.fixture
def own_server() -> Iterator[Callable[..., Shardis]]:
    """Start a server for this test alone, which may be harmed: it is killed after the test."""
    started: list[Shardis] = []

    def start(**options: object) -> Shardis:
        server = Shardis(Configuration(**options))  # type: ignore[arg-type]
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def ours_only() -> None:
    """Skip a test of what redis-server does not have when the stand-in is used."""
    if uses_stand_in():
        pytest.skip("the stand-in has no shards and workers")
