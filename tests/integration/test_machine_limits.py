"""What a server does when the machine gives it less than it would like."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable

import pytest

from tests.support.resp_client import RespClient
from tests.support.servers import Shardis

TOO_MANY = b"-ERR max number of clients reached\r\n"


def processor_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.usefixtures("ours_only")
def test_a_worker_without_descriptors_refuses_clients_and_does_not_spin(
    own_server: Callable[..., Shardis],
) -> None:
    """The 183rd client hung, and the worker took a whole processor."""
    server = own_server(shards=1, workers=1)
    worker = server.worker_pids()[0]
    with contextlib.ExitStack() as stack, server.client() as client:
        assert client.call("PING") == b"+PONG\r\n"  # it is among those that are taken
        taken = len(os.listdir(f"/proc/{worker}/fd"))
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (taken + 3, taken + 3))
        for _ in range(3):
            assert stack.enter_context(server.client()).call("PING") == b"+PONG\r\n"
        for _ in range(5):
            refused = stack.enter_context(RespClient(server.port))
            assert refused.read_to_end(5.0) == TOO_MANY
        before = processor_seconds(worker)
        time.sleep(0.5)
        assert processor_seconds(worker) - before < 0.3
        assert client.call("SET", "k", "v") == b"+OK\r\n"
    with contextlib.ExitStack() as stack:
        # The places of those who have left are free again.
        deadline = time.monotonic() + 5
        while True:
            with RespClient(server.port) as again, contextlib.suppress(ConnectionError):
                if again.call("PING") == b"+PONG\r\n":
                    break
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.usefixtures("ours_only")
def test_there_can_be_more_than_256_databases(own_server: Callable[..., Shardis]) -> None:
    """257 passed the configuration, and the start ended with a traceback."""
    server = own_server(shards=2, extra=("--databases", "1000"))
    with server.client() as client:
        assert client.call("SELECT", 999) == b"+OK\r\n"
        assert client.call("SET", "k", "v") == b"+OK\r\n"
        assert client.call("SWAPDB", 999, 256) == b"+OK\r\n"
        assert client.call("SELECT", 256) == b"+OK\r\n"
        assert client.call("GET", "k") == b"$1\r\nv\r\n"
        assert client.call("SELECT", 1000) == b"-ERR DB index is out of range\r\n"
