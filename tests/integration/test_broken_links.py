"""A worker that has left a shard, as what came from it could not be right, gets new links to it.

Nothing sends such bytes, so a worker is made to believe it: the server is started by a program of
this test's, in which DEBUG PAUSE-CRON has each worker leave shard 0.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.servers import Configuration, Shardis
from tests.support.slots import slot

pytestmark = pytest.mark.usefixtures("ours_only")

PROGRAM = """
import sys
from router.main import main
from router.worker import Worker

answer = Worker._on_control

def leave_or_answer(worker, message):
    if message["op"] == "pause-cron":
        worker.link_broken(0)
        return None
    return answer(worker, message)

Worker._on_control = leave_or_answer
sys.exit(main())
"""
SECONDS_MAX = 20.0
LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"
HERE, THERE = (
    next(key for key in map(str, range(100)) if (slot(key.encode()) < 8192) is first)
    for first in (True, False)
)


class Leaving(Shardis):
    """A server whose workers leave shard 0 when they are told to."""

    def command(self) -> list[str]:
        python, *words = super().command()
        assert words[:2] == ["-m", "router.main"]
        return [python, "-c", PROGRAM, *words[2:]]


@pytest.fixture
def server() -> Iterator[Leaving]:
    made = Leaving(Configuration(shards=2, workers=2))
    made.start()
    yield made
    made.kill()


def test_the_shard_answers_again_and_neither_process_was_replaced(server: Leaving) -> None:
    pids = server.pids()
    with server.client() as client:
        for turn in range(3):
            assert client.call("SET", HERE, turn) == b"+OK\r\n"
            client.call("DEBUG", "PAUSE-CRON", "1")
            assert client.call("SET", THERE, turn) == b"+OK\r\n"  # nobody else is concerned
            limit = time.monotonic() + SECONDS_MAX
            while (reply := client.call("GET", HERE)) == LOADING:
                assert time.monotonic() < limit
            assert reply == b"$1\r\n%d\r\n" % turn
            # Commands over both shards, which lock.
            assert client.call("MSET", HERE, turn, THERE, turn) == b"+OK\r\n"
            assert client.call("RENAME", HERE, THERE) == b"+OK\r\n"
    assert server.pids() == pids


def test_it_ends_where_the_fault_does_not(server: Leaving) -> None:
    """After so many turns the two stay apart, and the log says so."""
    from actors.supervisor import LINKS_ANEW_MAX

    with server.client() as client:
        limit = time.monotonic() + 3 * SECONDS_MAX
        while "stay apart" not in server.log(1000):
            assert time.monotonic() < limit
            if client.call("GET", HERE) != LOADING:
                client.call("DEBUG", "PAUSE-CRON", "1")
        assert server.log(1000).count("comes back") == 0
        time.sleep(0.2)
        assert client.call("GET", HERE) == LOADING
    assert LINKS_ANEW_MAX > 1
