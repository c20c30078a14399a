"""A client that asks for much and reads nothing is closed at its hard limit, at every kind of port.

Values are large enough to be sent from where they are stored: their replies take no memory in a
shard, and a worker holds what has arrived before it looks at the limit.
"""

from __future__ import annotations

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


def growth_until_closed(server: Shardis, port: Shardis, pipeline: bytes) -> int:
    """How much memory the server has taken at most before it closed the one who sent this."""
    pids = server.pids()
    before = peak = processes.memory_bytes(pids)
    with port.client() as admin, port.client() as lazy:
        sender = threading.Thread(target=lazy.send, args=(pipeline,))
        sender.start()
        deadline = time.monotonic() + CLOSED_SECONDS_MAX
        while admin.call("CLIENT", "LIST").count(b"id=") > 1:
            peak = max(peak, processes.memory_bytes(pids))
            assert time.monotonic() < deadline, "still connected"
        sender.join()
        peak = max(peak, processes.memory_bytes(pids))
    return peak - before
