"""Fixtures for every test that talks to running servers; see tests/support/servers.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.certificates import HAS_OPENSSL
from tests.support.resp_client import RespClient
from tests.support.servers import (
    TRANSPORTS,
    Configuration,
    Oracle,
    ServerPool,
    Shardis,
    uses_stand_in,
)


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
    """Open connections to `shardis` that are closed behind the test."""
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
    """Start a server for this test alone, which may be harmed: it is killed behind the test."""
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
