"""redis-py's own tools over three shards: pipelines with MULTI and WATCH, locks, blocking reads.

Release and extension of its locks are Lua scripts, and wait for them.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.servers import Configuration, Server, ServerPool
from tests.support.slots import SLOTS, slot

redis = importlib.import_module("redis")
redis_asyncio = importlib.import_module("redis.asyncio")
SHARDS = 3
THREADS = 4
ROUNDS = 50


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def protocol(request: pytest.FixtureRequest) -> int:
    version: int = request.param
    return version


@pytest.fixture
def server(server_pool: ServerPool) -> Server:
    return server_pool.get(Configuration(shards=SHARDS, workers=2))


@pytest.fixture
def client(server: Server, protocol: int) -> Iterator[Any]:
    with redis.Redis(port=server.port, protocol=protocol, decode_responses=True) as one:
        yield one


def spread(count: int) -> list[str]:
    """So many keys, neighbours in different shards."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        key = f"key{number}"
        if slot(key.encode()) * SHARDS // SLOTS == len(found) % SHARDS:
            found.append(key)
        number += 1
    return found


def in_threads(work: Any) -> None:
    """Run it in several threads at once; what one raises is raised here."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_a_transaction_of_many_types_is_one_reply(client: Any) -> None:
    keys = spread(6)
    with client.pipeline(transaction=True) as pipe:
        pipe.set(keys[0], "v").get(keys[0]).incr(keys[1]).rpush(keys[2], "a", "b")
        pipe.lrange(keys[2], 0, -1).zadd(keys[3], {"m": 1.5}).zrange(keys[3], 0, -1)
        pipe.hset(keys[4], mapping={"f": "1"}).hgetall(keys[4]).sadd(keys[5], "x").smembers(keys[5])
        found = pipe.execute()
    assert found == [
        *(True, "v", 1, 2, ["a", "b"], 1, ["m"], 1, {"f": "1"}, 1, {"x"}),
    ]


def test_an_error_within_leaves_the_others(client: Any) -> None:
    text, number, *_ = spread(3)
    client.set(text, "words")
    pipe = client.pipeline(transaction=True)
    pipe.incr(number).incr(text).incr(number)
    with pytest.raises(redis.ResponseError, match="not an integer"):
        pipe.execute()
    assert client.get(number) == "2"
    pipe.incr(number).execute_command("NOSUCH")
    with pytest.raises(redis.ResponseError, match="unknown command"):
        pipe.execute()
    assert client.get(number) == "2"


def test_what_is_watched_holds_a_transaction_back(client: Any) -> None:
    one, two, three, *_ = spread(3)
    with client.pipeline() as pipe:
        pipe.watch(one, two)
        assert pipe.get(one) is None
        client.set(two, "changed")
        pipe.multi()
        pipe.set(three, "never")
        with pytest.raises(redis.WatchError):
            pipe.execute()
        assert client.get(three) is None
        pipe.watch(one)
        pipe.unwatch()
        client.set(one, "changed")
        pipe.multi()
        pipe.set(three, "now")
        assert pipe.execute() == [True]


def test_concurrent_transfers_lose_nothing(client: Any) -> None:
    """redis-py's `transaction` tries again whenever what it has read was changed."""
    source, target, *_ = spread(2)
    client.mset({source: THREADS * ROUNDS, target: 0})

    def move(pipe: Any) -> None:
        left, right = int(pipe.get(source)), int(pipe.get(target))
        pipe.multi()
        pipe.set(source, left - 1)
        pipe.set(target, right + 1)

    def work() -> None:
        for _ in range(ROUNDS):
            client.transaction(move, source, target)

    in_threads(work)
    assert client.mget(source, target) == ["0", str(THREADS * ROUNDS)]


def test_blocking_reads_are_woken(client: Any) -> None:
    lists = spread(3)
    received: list[Any] = []

    def wait() -> None:
        received.append(client.blpop(lists, timeout=20))
        received.append(client.blmove(lists[0], lists[1], timeout=20))
        received.append(client.bzpopmin(["scores"], timeout=20))
        received.append(client.xread({"stream": "$"}, block=20_000))

    waiter = threading.Thread(target=wait)
    waiter.start()

    def blocked() -> None:
        deadline = time.monotonic() + 20
        while client.info("clients")["blocked_clients"] != 1:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    blocked()
    client.rpush(lists[2], "first")
    blocked()
    client.rpush(lists[0], "second")
    blocked()
    client.zadd("scores", {"third": 3})
    blocked()
    client.xadd("stream", {"f": "fourth"}, id="5-5")
    waiter.join()
    entries = [("5-5", {"f": "fourth"})]
    assert list(received[0]) == [lists[2], "first"]
    assert received[1] == "second"
    assert list(received[2]) == ["scores", "third", 3.0]
    assert received[3] in ([["stream", entries]], {"stream": [entries]}, {"stream": entries})
    assert client.lrange(lists[1], 0, -1) == ["second"]


def test_asyncio_pipelines_watch_as_well(server: Server, protocol: int) -> None:
    async def run() -> None:
        client = redis_asyncio.Redis(port=server.port, protocol=protocol)
        keys = spread(3)

        async def add() -> None:
            async def change(pipe: Any) -> None:
                value = int(await pipe.get(keys[0]) or 0)
                pipe.multi()
                for key in keys:
                    pipe.set(key, value + 1)

            for _ in range(ROUNDS // 5):
                await client.transaction(change, keys[0])

        async with client:
            await asyncio.gather(*(add() for _ in range(THREADS)))
            total = b"%d" % (THREADS * (ROUNDS // 5))
            assert await client.mget(keys) == [total] * 3

    asyncio.run(run())
