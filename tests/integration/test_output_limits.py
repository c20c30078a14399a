"""A client that asks for much and reads nothing is closed at its hard limit, at every kind of port.

Some values are large enough to be sent from where they are stored: their replies take no memory in
a shard. Smaller ones are copied, by the shard that answers a whole pipeline before it hears that
its client was closed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from protocol.slots import key_slot
from tests.support import processes
from tests.support.resp_client import encode
from tests.support.servers import Shardis

pytestmark = pytest.mark.usefixtures("ours_only")
MIB = 1 << 20
LIMIT_BYTES = 8 * MIB
UNDER_WAY_BYTES_MAX = 64 * MIB
"""What may be between a shard and a worker, or in TLS, beside what the limit counts."""
GROWN_BYTES_MAX = 32 * MIB
"""By which no process may grow for one client, beside what the client's limit allows."""
COPIED_BYTES = 60_000
COPIED_GETS = 20_000
VALUE_BYTES = 300_000
GETS = 1500
CLOSED_SECONDS_MAX = 10.0


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_pipeline_of_large_replies_ends_at_the_hard_limit(
    transport: str, own_server: Callable[..., Shardis]
) -> None:
    server = own_server(
        shards=2, workers=1, transport=transport, extra=("--cluster-enabled", "yes")
    )
    key = next(key for key in map(str, range(100)) if key_slot(key.encode()) < 8192)
    with server.node(0).client() as admin:
        assert admin.call("SET", key, b"x" * VALUE_BYTES) == b"+OK\r\n"
        limit = f"normal {LIMIT_BYTES} 0 0"
        assert admin.call("CONFIG", "SET", "client-output-buffer-limit", limit) == b"+OK\r\n"
    for port in (server, server.node(0)):
        grown = growth_until_closed(server, port, encode("GET", key) * GETS)
        assert grown < LIMIT_BYTES + UNDER_WAY_BYTES_MAX


@pytest.mark.parametrize("port", ["endpoint", "shard"])
@pytest.mark.parametrize("value_bytes", [1000, COPIED_BYTES])
def test_no_process_grows_by_a_pipeline_of_replies_that_nobody_reads(
    port: str, value_bytes: int, own_server: Callable[..., Shardis]
) -> None:
    server = own_server(shards=1, workers=1, extra=("--cluster-enabled", "yes"))
    seen = server if port == "endpoint" else server.node(0)
    with seen.client() as admin:
        assert admin.call("SET", "big", b"x" * value_bytes) == b"+OK\r\n"
        limit = "normal 1mb 0 0"
        assert admin.call("CONFIG", "SET", "client-output-buffer-limit", limit) == b"+OK\r\n"
    pids = {**server.shard_pids(), **{-1: server.worker_pids()[0]}}
    before = {pid: processes.reset_peak(pid) for pid in pids.values()}
    growth_until_closed(server, seen, encode("GET", "big") * COPIED_GETS)
    for pid, size in before.items():
        assert processes.peak_bytes(pid) - size < GROWN_BYTES_MAX


def test_a_shard_does_not_run_ahead_of_a_worker_that_does_not_read(
    own_server: Callable[..., Shardis],
) -> None:
    """A stopped worker stands for a slow one: it misses nothing, others are served meanwhile."""
    server = own_server(shards=1, workers=1, extra=("--cluster-enabled", "yes"))
    shard, worker = server.shard_pids()[0], server.worker_pids()[0]
    gets = 2000
    with server.client() as client, server.node(0).client() as other:
        assert other.call("SET", "big", b"x" * COPIED_BYTES) == b"+OK\r\n"
        assert client.call("STRLEN", "big") == b":%d\r\n" % COPIED_BYTES
        other.send(encode("DEBUG", "SLEEP", "1"), receive=False)
        time.sleep(0.2)
        client.send(encode("GET", "big") * gets, receive=False)
        time.sleep(0.3)  # now the worker has sent all of it on
        before = processes.reset_peak(shard)
        os.kill(worker, signal.SIGSTOP)
        try:
            assert other.read_reply(10) == b"+OK\r\n"
            for _ in range(100):
                assert other.call("PING") == b"+PONG\r\n"
                time.sleep(0.01)
            assert processes.peak_bytes(shard) - before < GROWN_BYTES_MAX
        finally:
            os.kill(worker, signal.SIGCONT)
        reply = b"$%d\r\n%b\r\n" % (COPIED_BYTES, b"x" * COPIED_BYTES)
        assert all(client.read_reply(30) == reply for _ in range(gets))
        assert client.call("PING") == b"+PONG\r\n"


@pytest.mark.parametrize("port", ["endpoint", "shard"])
@pytest.mark.parametrize("transport", ["tcp", "tls", "unix"])
def test_no_process_grows_by_who_has_not_said_auth(
    transport: str, port: str, own_server: Callable[..., Shardis]
) -> None:
    if (transport, port) == ("unix", "shard"):
        pytest.skip("a shard's port has no unix socket")
    server = own_server(
        shards=1, workers=1, transport=transport, extra=("--cluster-enabled", "yes")
    )
    seen = server if port == "endpoint" else server.node(0)
    with server.client() as admin:
        assert admin.call("CONFIG", "SET", "requirepass", "secret") == b"+OK\r\n"
    with seen.client() as lazy:
        assert lazy.call("GET", "k") == b"-NOAUTH Authentication required.\r\n"
        before = {pid: processes.reset_peak(pid) for pid in server.pids()}
        lazy.send(b"x\n" * 10_000_000, receive=False)
    grown = {pid: processes.peak_bytes(pid) - size for pid, size in before.items()}
    assert max(grown.values()) < GROWN_BYTES_MAX, grown


def growth_until_closed(server: Shardis, port: Shardis, pipeline: bytes) -> int:
    """How much memory the server has taken at most before it closed the one who sent this."""
    pids = server.pids()
    before = peak = processes.memory_bytes(pids)
    with port.client() as admin, port.client() as lazy:
        sender = threading.Thread(target=lazy.send, args=(pipeline,), kwargs={"receive": False})
        sender.start()
        deadline = time.monotonic() + CLOSED_SECONDS_MAX
        while admin.call("CLIENT", "LIST").count(b"id=") > 1:
            peak = max(peak, processes.memory_bytes(pids))
            assert time.monotonic() < deadline, "still connected"
        sender.join()
        peak = max(peak, processes.memory_bytes(pids))
    return peak - before
