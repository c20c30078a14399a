"""What a server costs before it does anything: time to start, processor when idle, memory.

The bounds are generous, because the machines that run tests are small and busy; the figures are
printed (pytest -s, or on failure).
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable

from tests.support import processes
from tests.support.servers import Configuration, ServerError, Shardis

STARTS = 5
START_SECONDS_MAX = 3.0
IDLE_SECONDS = 3.0
IDLE_ATTEMPTS = 4
IDLE_CORE_SHARE_MAX = 0.01
PSS_BYTES_MAX = 120 << 20


def test_the_first_pong_comes_soon_after_exec() -> None:
    seconds = []
    for _ in range(STARTS):
        server = Shardis(Configuration(shards=1, workers=1))
        server.start()
        seconds.append(server.seconds_to_pong)
        server.stop()
    median = statistics.median(seconds)
    print(f"exec to first PONG: median {median * 1000:.0f} ms of {STARTS}")
    assert median < START_SECONDS_MAX


def test_an_idle_server_uses_next_to_no_processor_time(own_server: Callable[..., Shardis]) -> None:
    server = own_server(shards=1, workers=1)
    with server.client() as client:
        assert client.call("PING") == b"+PONG\r\n"
        time.sleep(0.5)  # what start left behind
        pids = server.pids()
        shares = []
        # On a busy machine every wake-up costs more, as others have had the caches.
        while not shares or (shares[-1] >= IDLE_CORE_SHARE_MAX and len(shares) < IDLE_ATTEMPTS):
            before = processes.cpu_seconds(pids)
            time.sleep(IDLE_SECONDS)
            shares.append((processes.cpu_seconds(pids) - before) / IDLE_SECONDS)
    print(f"idle: {min(shares) * 100:.2f} % of a core in {len(pids)} processes")
    assert min(shares) < IDLE_CORE_SHARE_MAX * server.slowness


def test_the_process_tree_is_small(own_server: Callable[..., Shardis]) -> None:
    server = own_server(shards=1, workers=1)
    pids = server.pids()
    pss = processes.memory_bytes(pids, "Pss")
    print(f"PSS of {len(pids)} processes: {pss / (1 << 20):.1f} MiB")
    assert 0 < pss < PSS_BYTES_MAX


def test_a_port_in_use_is_an_error_at_start(own_server: Callable[..., Shardis]) -> None:
    first = own_server()
    second = Shardis()
    second.port = first.port
    with contextlib.suppress(ServerError):
        second.start()  # the PONG may be that of the first
    try:
        assert second.process is not None
        assert second.process.wait(10) != 0
    finally:
        second.kill()
    with first.client() as client:
        assert client.call("PING") == b"+PONG\r\n"


def test_sigint_ends_it_cleanly_too(own_server: Callable[..., Shardis]) -> None:
    server = own_server(shards=2, workers=2)
    pids = server.pids()
    assert server.process is not None
    server.process.send_signal(2)
    assert server.process.wait(15) == 0
    assert processes.wait_gone(pids, 2.0) == []
