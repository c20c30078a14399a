"""The clients that people use: redis-py in both flavours, redis-cli, redis-benchmark."""

from __future__ import annotations

import asyncio
import importlib
import re
import shutil
import subprocess

import pytest

from tests.support.servers import Shardis

redis = importlib.import_module("redis")
redis_asyncio = importlib.import_module("redis.asyncio")
CLI = shutil.which("redis-cli")
BENCHMARK = shutil.which("redis-benchmark")
pytestmark = pytest.mark.usefixtures("transport")
needs_cli = pytest.mark.skipif(CLI is None, reason="no redis-cli in PATH")
needs_benchmark = pytest.mark.skipif(BENCHMARK is None, reason="no redis-benchmark in PATH")


def cli(server: Shardis, *args: str, given: bytes = b"") -> bytes:
    """The output of redis-cli."""
    done = subprocess.run(
        [str(CLI), *server.cli_options(), *args], input=given, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_works(protocol: int, shardis: Shardis) -> None:
    client = redis.Redis(**shardis.redis_options(), protocol=protocol, client_name="tester")
    try:
        assert client.ping() is True
        assert client.client_getname() in ("tester", b"tester")
        assert client.set("k", b"\x00\r\nv", px=10_000_000) is True
        assert client.get("k") == b"\x00\r\nv"
        assert 9_000_000 < client.pttl("k") <= 10_000_000
        assert client.set("k", "x", nx=True) is None
        assert client.set("k", "new", get=True) == b"\x00\r\nv"
        assert client.incr("n", 5) == 5
        assert client.incrbyfloat("f", 1.5) == 1.5
        assert client.mset({f"key{i}": i for i in range(100)}) is True
        assert client.mget([f"key{i}" for i in range(100)]) == [b"%d" % i for i in range(100)]
        assert client.dbsize() == 103
        assert sorted(client.scan_iter(match="key*", count=7)) == sorted(
            b"key%d" % i for i in range(100)
        )
        assert client.delete(*(f"key{i}" for i in range(100))) == 100
        assert client.type("k") == b"string"
        assert client.object("encoding", "n") == b"int"
        assert client.config_get("slowlog-max-len") == {"slowlog-max-len": "128"}
        assert client.info("server")["tcp_port"] == shardis.port
        assert client.info("keyspace")["db0"]["keys"] == 3
        assert client.command_count() > 50
        with pytest.raises(redis.ResponseError, match="not an integer"):
            client.incr("k")
    finally:
        client.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_pipelines_work(protocol: int, shardis: Shardis) -> None:
    client = redis.Redis(**shardis.redis_options(), protocol=protocol)
    try:
        with client.pipeline(transaction=False) as pipe:
            for i in range(500):
                pipe.set(f"k{i}", i)
                pipe.get(f"k{i}")
            replies = pipe.execute()
        assert replies == [word for i in range(500) for word in (True, b"%d" % i)]
    finally:
        client.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_asyncio_works(protocol: int, shardis: Shardis) -> None:
    async def talk() -> None:
        client = redis_asyncio.Redis(
            **shardis.redis_options(), protocol=protocol, max_connections=20
        )
        try:
            assert await client.ping() is True
            await asyncio.gather(*(client.incr(f"n{i % 5}") for i in range(20)))
            assert [await client.get(f"n{i}") for i in range(5)] == [b"4"] * 5
            async with client.pipeline(transaction=False) as pipe:
                for i in range(200):
                    pipe.set(f"k{i}", i)
                assert await pipe.execute() == [True] * 200
            found = [key async for key in client.scan_iter(match="k*")]
            assert len(set(found)) == 200
        finally:
            await client.aclose()

    asyncio.run(talk())


@needs_cli
def test_redis_cli_runs_commands(shardis: Shardis) -> None:
    assert cli(shardis, "PING") == b"PONG\n"
    assert cli(shardis, "SET", "k", "two words") == b"OK\n"
    assert cli(shardis, "GET", "k") == b"two words\n"
    assert cli(shardis, "-3", "GET", "none") == b"\n"
    assert cli(shardis, "--no-raw", "GET", "k") == b'"two words"\n'
    assert cli(shardis, "-x", "SET", "raw", given=b"\x00\xff\r\n") == b"OK\n"
    assert cli(shardis, "--raw", "GET", "raw") == b"\x00\xff\r\n\n"
    assert cli(shardis, given=b"SET a 1\nINCR a\nGET a\n") == b"OK\n2\n2\n"
    assert cli(shardis, "-n", "3", "DBSIZE") == b"0\n"
    assert b"redis_version:" in cli(shardis, "INFO", "server")


@needs_cli
def test_redis_cli_pipe_mode_loads_everything(shardis: Shardis) -> None:
    lines = b"".join(b"SET pipe:%d value-%d\r\n" % (i, i) for i in range(20_000))
    output = cli(shardis, "--pipe", given=lines)
    assert b"errors: 0, replies: 20000" in output
    assert cli(shardis, "DBSIZE") == b"20000\n"
    assert cli(shardis, "GET", "pipe:19999") == b"value-19999\n"


@needs_cli
def test_redis_cli_scans(shardis: Shardis) -> None:
    with shardis.client(timeout=30) as client:
        client.pipeline([("SET", f"scan:{i}", "v") for i in range(3000)])
    found = cli(shardis, "--scan", "--pattern", "scan:*").splitlines()
    assert len(found) == len(set(found)) == 3000


@needs_benchmark
@pytest.mark.parametrize("pipeline", ["1", "16"])
def test_redis_benchmark_runs_through(pipeline: str, shardis: Shardis) -> None:
    requests = "20000" if pipeline == "16" else "4000"
    done = subprocess.run(
        [
            *(str(BENCHMARK), *shardis.cli_options(), "-t", "set,get,incr", "-P", pipeline),
            *("-n", requests, "-c", "20", "-r", "1000", "-q"),
        ],
        capture_output=True,
        timeout=120,
    )
    text = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    assert "rror" not in text
    for name in ("SET", "GET", "INCR"):
        assert re.search(rf"{name}: [\d.]+ requests per second", text), text
