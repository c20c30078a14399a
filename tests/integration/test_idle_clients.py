"""What clients cost that say nothing, and how soon others are answered while a shard is busy."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.support import processes
from tests.support.prober import latencies
from tests.support.servers import Configuration, ServerPool, Shardis

pytestmark = pytest.mark.usefixtures("ours_only")
BYTES_EACH_MAX = 20 << 10
SETTLED_SECONDS = 20.0
PING_SECONDS_P99_MAX = 0.005
ATTEMPTS = 4
TLS_BYTES_EACH_MAX = 80 << 10
"""OpenSSL's own state of a connection is several times that of ours."""


def bytes_each(server: Shardis, count: int, most: int, *, used: bool) -> float:
    """The growth of the server's memory by so many idle clients, for each of them.

    Each has done what clients do first; with `used`, also a pipeline of some size. Buffers are
    given back in time: it waits until the growth is below what it may be, for some seconds.
    """
    with server.client(timeout=60.0) as client:
        client.call("SET", "k", b"v" * 1000)
    warm = [server.client(timeout=60.0) for _ in range(50)]
    for client in warm:
        client.call("PING")
        client.close()
    time.sleep(1.0)
    pids = server.pids()
    before = processes.memory_bytes(pids, "Pss")
    with ExitStack() as stack:
        for number in range(count):
            client = stack.enter_context(server.client(timeout=60.0))
            assert client.call("CLIENT", "SETNAME", f"client-{number}") == b"+OK\r\n"
            if used:
                client.pipeline([("GET", "k")] * 60)
        deadline = time.monotonic() + SETTLED_SECONDS
        while (after := processes.memory_bytes(pids, "Pss")) >= before + count * most:
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        assert f"connected_clients:{count + 1}\r" in server.info("clients")
    each = (after - before) / count
    print(f"{count} idle clients ({server.configuration}): {each / 1024:.1f} KiB each")
    return each


@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
def test_an_idle_client_is_cheap(own_server: Callable[..., Shardis], used: bool) -> None:
    server = own_server(shards=1, workers=2)
    assert bytes_each(server, 800, BYTES_EACH_MAX, used=used) < BYTES_EACH_MAX


@pytest.mark.slow
def test_an_idle_tls_client_is_affordable(own_server: Callable[..., Shardis]) -> None:
    server = own_server(shards=1, workers=2, transport="tls")
    assert bytes_each(server, 300, TLS_BYTES_EACH_MAX, used=False) < TLS_BYTES_EACH_MAX


@pytest.mark.slow
@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
def test_ten_thousand_idle_clients(own_server: Callable[..., Shardis], used: bool) -> None:
    server = own_server(shards=1, workers=2, extra=("--maxclients", "11000"))
    assert bytes_each(server, 10_000, BYTES_EACH_MAX, used=used) < BYTES_EACH_MAX


def test_ping_is_prompt_while_a_shard_sleeps(server_pool: ServerPool) -> None:
    server = server_pool.get(Configuration(shards=2, workers=1))
    # What a busy machine delays by itself comes and goes; what the server does, it does each time.
    for _ in range(ATTEMPTS):
        with server.client(timeout=30.0) as sleeper, latencies(server.port, "") as seconds:
            assert sleeper.call("DEBUG", "SLEEP", "2") == b"+OK\r\n"
        print(f"PING while a shard sleeps: {seconds}")
        assert len(seconds) > 50
        if seconds.p99 < PING_SECONDS_P99_MAX:
            return
        with latencies(server.port, "") as usual:
            time.sleep(1.0)
        print(f"PING otherwise: {usual}")
        if seconds.p99 < 2 * usual.p99:
            return
    raise AssertionError(f"PING is slow while a shard sleeps: {seconds}; otherwise: {usual}")
