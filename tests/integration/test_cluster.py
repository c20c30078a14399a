"""Cluster mode: cluster-aware clients at the shards' ports, plain ones at the endpoint."""

from __future__ import annotations

import asyncio
import copy
import importlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import certificates, processes
from tests.support.fake_server import eventually
from tests.support.resp_client import RespClient
from tests.support.servers import Configuration, ServerPool, Shardis, free_ports
from tests.support.slots import slot

redis = importlib.import_module("redis")
redis_asyncio = importlib.import_module("redis.asyncio")
redis_cluster = importlib.import_module("redis.cluster")
CLI = shutil.which("redis-cli")
BENCHMARK = shutil.which("redis-benchmark")
needs_cli = pytest.mark.skipif(CLI is None, reason="no redis-cli in PATH")
needs_benchmark = pytest.mark.skipif(BENCHMARK is None, reason="no redis-benchmark in PATH")
pytestmark = pytest.mark.usefixtures("ours_only")
Start = Callable[..., Shardis]
SHARDS = 3
CLUSTER = Configuration(shards=SHARDS, extra=("--cluster-enabled", "yes"))


@pytest.fixture
def cluster(server_pool: ServerPool) -> Shardis:
    """Our server in cluster mode, empty, with three shards and one worker."""
    return server_pool.get(CLUSTER)


@pytest.fixture
def nodes(cluster: Shardis) -> Iterator[list[RespClient]]:
    """A connection to each shard's port."""
    opened = [cluster.node(shard).client() for shard in range(SHARDS)]
    yield opened
    for client in opened:
        client.close()


def key_of(shard: int, number: int = 0) -> str:
    """A key of this shard."""
    found = [key for key in map(str, range(200)) if slot(key.encode()) * SHARDS // 16384 == shard]
    return found[number]


def cli(port: int, *args: str) -> str:
    done = subprocess.run(
        [str(CLI), "-p", str(port), *args], capture_output=True, timeout=60, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("seed", ["endpoint", "shard"])
def test_redis_py_cluster_works_beside_plain_redis_py(cluster: Shardis, seed: str) -> None:
    port = cluster.port if seed == "endpoint" else cluster.port + 2
    client = redis_cluster.RedisCluster(host="127.0.0.1", port=port)
    plain = redis.Redis(port=cluster.port)
    try:
        assert {node.port for node in client.get_nodes()} == {
            cluster.port + 1 + shard for shard in range(SHARDS)
        }
        for i in range(300):
            assert client.set(f"k{i}", i)
        assert plain.mget([f"k{i}" for i in range(300)]) == [b"%d" % i for i in range(300)]
        assert client.dbsize(target_nodes="primaries") == plain.dbsize() == 300
        with client.pipeline() as pipeline:
            for i in range(300):
                pipeline.incr(f"k{i}", 1)
            assert pipeline.execute() == [i + 1 for i in range(300)]
        assert client.mget_nonatomic([f"k{i}" for i in range(10)]) == [
            b"%d" % (i + 1) for i in range(10)
        ]
        assert sorted(client.scan_iter(match="k1*")) == sorted(plain.scan_iter(match="k1*"))
        assert client.mset({"{t}a": 1, "{t}b": 2})
        assert client.delete("{t}a", "{t}b") == 2
        assert set(client.flushall(target_nodes="all").values()) == {True}
        assert plain.dbsize() == 0
    finally:
        client.close()
        plain.close()


def test_redis_py_asyncio_cluster_works(cluster: Shardis) -> None:
    async def run() -> None:
        async with redis_asyncio.RedisCluster(host="127.0.0.1", port=cluster.port + 1) as client:
            await asyncio.gather(*(client.set(f"a{i}", i) for i in range(200)))
            values = await asyncio.gather(*(client.get(f"a{i}") for i in range(200)))
            assert values == [b"%d" % i for i in range(200)]
            pipeline = client.pipeline()
            for i in range(200):
                pipeline.get(f"a{i}")
            assert await pipeline.execute() == values
            assert await client.dbsize(target_nodes="primaries") == 200

    asyncio.run(run())


@needs_cli
def test_redis_cli_follows_redirections(cluster: Shardis) -> None:
    for shard in range(SHARDS):
        key = key_of(shard)
        assert cli(cluster.port + 1, "-c", "SET", key, "v") == "OK\n"
        assert cli(cluster.port + SHARDS, "-c", "GET", key) == "v\n"
        assert cli(cluster.port, "GET", key) == "v\n"


@needs_cli
@pytest.mark.parametrize("entry", [0, 1, 2])
def test_redis_cli_cluster_manager_finds_all_well(cluster: Shardis, entry: int) -> None:
    address = f"127.0.0.1:{cluster.port + entry}"
    text = cli(cluster.port, "--cluster", "check", address)
    assert "[OK] All nodes agree about slots configuration." in text
    assert "[OK] All 16384 slots covered." in text
    assert "keys in 3 masters." in cli(cluster.port, "--cluster", "info", address)
    called = cli(cluster.port, "--cluster", "call", address, "PING")
    assert called.count("PONG") == SHARDS


@needs_benchmark
@pytest.mark.parametrize("pipeline", ["1", "16"])
def test_redis_benchmark_runs_over_all_nodes(cluster: Shardis, pipeline: str) -> None:
    done = subprocess.run(
        [
            *(str(BENCHMARK), "-p", str(cluster.port + 1), "--cluster", "-n", "3000", "-c", "10"),
            *("-P", pipeline, "-r", "1000", "-t", "set,get,incr,mset", "-q"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rror" not in done.stdout + done.stderr
    assert done.stdout.count("requests per second") >= 3
    with cluster.client() as client:
        assert client.call("DBSIZE") != b":0\r\n"


def test_what_a_node_refuses(cluster: Shardis, nodes: list[RespClient]) -> None:
    here, there = key_of(0), key_of(1)
    moved = f"-MOVED {slot(there.encode())} 127.0.0.1:{cluster.port + 2}\r\n".encode()
    cross = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
    node = nodes[0]
    assert node.call("GET", there) == moved
    assert node.call("SET", there, "v") == moved
    assert node.call("MOVE", there, "1") == moved
    assert node.call("MGET", here, there) == cross
    # Different slots are seen before the slot's owner is, even if one node owns both.
    assert node.call("DEL", there, key_of(1, 1)) == cross
    assert node.call("MOVE", here, "1") == b"-ERR MOVE is not allowed in cluster mode\r\n"
    assert node.call("SWAPDB", "0", "1") == b"-ERR SWAPDB is not allowed in cluster mode\r\n"
    assert node.call("SELECT", "1") == b"-ERR SELECT is not allowed in cluster mode\r\n"
    assert node.call("SELECT", "0") == b"+OK\r\n"
    assert node.call("COPY", here, here + "{x}", "DB", "1").startswith(b"-CROSSSLOT")
    assert node.call("COPY", f"{{{here}}}a", f"{{{here}}}b", "DB", "1") == (
        b"-ERR DB index is out of range\r\n"
    )
    # Arguments without keys are the handler's to refuse.
    assert node.call("MSET").startswith(b"-ERR wrong number")
    for name in ("ASKING", "READONLY", "READWRITE"):
        assert node.call(name) == b"+OK\r\n"


def test_refusals_and_replies_keep_their_order_in_a_pipeline(nodes: list[RespClient]) -> None:
    here, there = key_of(0), key_of(1)
    commands = [("SET", here, "0"), ("INCR", here), ("GET", there), ("PING",), ("INCR", here)]
    commands += [("CLUSTER", "KEYSLOT", "foo"), ("CONFIG", "GET", "port"), ("GET", here)] * 20
    replies = nodes[0].pipeline(commands)
    assert replies[:2] == [b"+OK\r\n", b":1\r\n"]
    assert replies[2].startswith(b"-MOVED")
    assert replies[3:6] == [b"+PONG\r\n", b":2\r\n", b":12182\r\n"]
    assert replies[7::3] == [b"$1\r\n2\r\n"] * 20


def test_keyless_commands_are_about_the_node(cluster: Shardis, nodes: list[RespClient]) -> None:
    with cluster.client() as client:
        for i in range(90):
            client.call("SET", f"k{i}", "v")
        client.call("SELECT", "3")
        client.call("SET", "other", "v")
    sizes = [int(node.call("DBSIZE")[1:-2]) for node in nodes]
    assert sum(sizes) == 90
    assert all(sizes)
    assert nodes[0].call("KEYS", "*").startswith(b"*%d\r\n" % sizes[0])
    assert nodes[0].call("FLUSHALL") == b"+OK\r\n"
    assert [int(node.call("DBSIZE")[1:-2]) for node in nodes] == [0, *sizes[1:]]
    assert nodes[0].call("RANDOMKEY") == b"$-1\r\n"


def test_info_is_that_of_the_node(cluster: Shardis, nodes: list[RespClient]) -> None:
    key = key_of(1)
    with cluster.client() as client:
        assert client.call("CONFIG", "RESETSTAT") == b"+OK\r\n"
    for _ in range(10):
        nodes[1].call("SET", key, "v")
    info = cluster.node(1).info()
    assert f"tcp_port:{cluster.port + 2}\r" in info
    assert "redis_mode:cluster\r" in info
    assert f"process_id:{cluster.shard_pids()[1]}\r" in info
    assert "cluster_enabled:1\r" in info
    assert "db0:keys=1," in info
    eventually(lambda: "\r\nconnected_clients:2\r" in cluster.node(1).info())
    processed = re.search(r"^total_commands_processed:(\d+)", info, re.MULTILINE)
    assert processed is not None
    assert 10 <= int(processed[1]) < 14
    assert "cmdstat_set:calls=10," in info
    assert "db0" not in cluster.node(2).info()
    whole = cluster.info()
    assert "redis_mode:standalone\r" in whole
    assert "cluster_enabled:1\r" in whole
    assert "cmdstat_set:calls=10," in whole
    received = re.search(r"^total_net_input_bytes:(\d+)", whole, re.MULTILINE)
    assert received is not None
    assert int(received[1]) > 10 * len(key)


def test_the_endpoint_serves_plain_clients_in_full(cluster: Shardis) -> None:
    with cluster.client() as client, cluster.node(0).client() as node:
        assert client.call("MSET", key_of(0), "a", key_of(1), "b") == b"+OK\r\n"
        assert client.call("SELECT", "1") == b"+OK\r\n"
        assert client.call("SET", key_of(0), "elsewhere") == b"+OK\r\n"
        assert node.call("GET", key_of(0)) == b"$1\r\na\r\n"
        assert b"standalone" in client.call("HELLO")
        assert b"$7\r\ncluster\r\n" in node.call("HELLO")
        for name in ("ASKING", "READONLY", "READWRITE"):
            assert client.call(name) == b"+OK\r\n"
        assert client.call("CLUSTER", "MYID") == node.call("CLUSTER", "MYID")
        assert client.call("CLUSTER", "SLOTS") == node.call("CLUSTER", "SLOTS")
        found = slot(key_of(1).encode())
        assert client.call("CLUSTER", "COUNTKEYSINSLOT", found) == b":1\r\n"
        assert client.call("CLUSTER", "GETKEYSINSLOT", found, 5) == (
            b"*1\r\n$%d\r\n%b\r\n" % (len(key_of(1)), key_of(1).encode())
        )
        assert node.call("CLUSTER", "COUNTKEYSINSLOT", found) == b":0\r\n"


def test_without_cluster_mode_everything_of_it_is_refused(shardis: Shardis) -> None:
    refused = b"-ERR This instance has cluster support disabled\r\n"
    with shardis.client() as client:
        for call in (
            ("CLUSTER", "INFO"),
            ("CLUSTER", "HELP"),
            ("CLUSTER", "COUNTKEYSINSLOT", "1"),
            ("CLUSTER", "KEYSLOT", "foo"),
            ("READONLY",),
            ("READWRITE",),
            ("ASKING",),
        ):
            assert client.call(*call) == refused


def test_what_belongs_to_later_is_refused_with_a_reason(nodes: list[RespClient]) -> None:
    for name in ("ADDSLOTS", "MEET", "FAILOVER", "SETSLOT", "RESET"):
        reply = nodes[0].call("CLUSTER", name, "1", "2", "3")
        assert reply.startswith(b"-ERR CLUSTER %s is not supported: " % name.encode()), reply
        assert nodes[0].call("COMMAND", "INFO", f"cluster|{name}") == b"*1\r\n$-1\r\n"
    assert nodes[0].call("CLUSTER", "NOSUCH").startswith(b"-ERR unknown subcommand 'NOSUCH'")


def test_large_values_and_long_argument_lists(nodes: list[RespClient]) -> None:
    key = f"{{{key_of(0)}}}"
    value = os.urandom(3_000_000)
    node = nodes[0]
    assert node.call("SET", key, value) == b"+OK\r\n"
    replies = node.pipeline([("GET", key), ("STRLEN", key), ("GET", key), ("PING",)])
    large = b"$%d\r\n%b\r\n" % (len(value), value)
    assert replies == [large, b":3000000\r\n", large, b"+PONG\r\n"]
    many = [part for i in range(20_000) for part in (f"{key}{i}", "v")]
    assert node.call("MSET", *many) == b"+OK\r\n"
    assert node.call("DEL", *many[::2]) == b":20000\r\n"
    assert node.call("APPEND", key, "x") == b":3000001\r\n"


def test_a_restarted_shard_listens_again(cluster: Shardis, nodes: list[RespClient]) -> None:
    key = key_of(0)
    assert nodes[0].call("SET", key, "v") == b"+OK\r\n"
    ids = nodes[1].call("CLUSTER", "MYID")
    old = cluster.shard_pids()[0]
    os.kill(old, signal.SIGKILL)
    with pytest.raises((OSError, AssertionError)):
        nodes[0].call("GET", key)
    # The router holds the socket: a client may connect at any moment, and waits at most.
    with cluster.node(0).client() as client:
        assert client.call("GET", key) == b"$-1\r\n"
        assert client.call("SET", key, "new") == b"+OK\r\n"
    assert nodes[1].call("CLUSTER", "MYID") == ids
    processes.wait_gone([old], 5.0)


def test_a_cluster_is_down_when_a_shard_stays_away(own_server: Start) -> None:
    server = own_server(
        shards=2,
        extra=(
            *("--cluster-enabled", "yes", "--cluster-node-timeout", "100"),
            *("--cluster-allow-reads-when-down", "no"),
        ),
    )
    key, gone = "b", "a"  # of the first and the second half of the slots
    assert slot(key.encode()) < 8192 <= slot(gone.encode())
    with server.node(0).client() as node:
        assert node.call("SET", key, "v") == b"+OK\r\n"
        deadline = time.monotonic() + 20
        # What dies at once again and again is started ever later.
        while (reply := node.call("GET", key)) == b"$1\r\nv\r\n":
            assert time.monotonic() < deadline
            for pid in server.pids():
                found = processes.process(pid)
                if found is not None and found.name == "shardis-s1":
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        assert reply == b"-CLUSTERDOWN The cluster is down\r\n"
        assert b"cluster_state:fail" in node.call("CLUSTER", "INFO")
        assert node.call("PING") == b"+PONG\r\n"
        assert node.call("MGET", key, gone).startswith(b"-CROSSSLOT")
    deadline = time.monotonic() + 20
    with server.node(0).client() as node:
        while node.call("GET", key) != b"$1\r\nv\r\n":
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_node_ids_survive_a_restart(tmp_path: Path) -> None:
    def ids(shards: int) -> list[str]:
        server = Shardis(
            Configuration(shards=shards, extra=("--cluster-enabled", "yes", "--dir", str(tmp_path)))
        )
        server.start()
        try:
            with server.client() as client:
                text = client.call("CLUSTER", "NODES").decode()
        finally:
            server.stop()
        return re.findall(r"^([0-9a-f]{40}) ", text.partition("\r\n")[2], re.MULTILINE)

    two = ids(2)
    assert ids(2) == two
    assert ids(3)[:2] == two
    assert len(set(ids(3))) == 3


def test_announced_addresses(own_server: Start) -> None:
    server = own_server(
        shards=2,
        extra=(
            *("--cluster-enabled", "yes", "--cluster-announce-ip", "10.1.2.3"),
            *("--cluster-announce-port", "7000", "--cluster-announce-bus-port", "17000"),
        ),
    )
    with server.node(0).client(resp=3) as node, server.client() as client:
        assert node.call("GET", "a") == b"-MOVED 15495 10.1.2.3:7002\r\n"
        assert b" 10.1.2.3:7002@17002 master" in client.call("CLUSTER", "NODES")
        for call in (
            ("cluster-announce-hostname", "host.example"),
            ("cluster-preferred-endpoint-type", "hostname"),
        ):
            assert client.call("CONFIG", "SET", *call) == b"+OK\r\n"
        assert node.call("GET", "a") == b"-MOVED 15495 host.example:7002\r\n"
        assert b"%1\r\n$2\r\nip\r\n$8\r\n10.1.2.3\r\n" in node.call("CLUSTER", "SLOTS")
        assert b":7002@17002,host.example master" in node.call("CLUSTER", "NODES")
        client.call("CONFIG", "SET", "cluster-preferred-endpoint-type", "unknown-endpoint")
        assert node.call("GET", "a") == b"-MOVED 15495 :7002\r\n"
        assert node.call("CONFIG", "SET", "cluster-announce-hostname", "a b").startswith(b"-ERR")


def test_maxclients_counts_the_clients_of_all_ports(own_server: Start) -> None:
    server = own_server(shards=1, extra=("--cluster-enabled", "yes", "--maxclients", "3"))
    opened = [server.client(), server.node(0).client(), server.node(0).client()]
    for client in opened:
        assert client.call("PING") == b"+PONG\r\n"
    with RespClient(server.port + 1) as late:
        assert late.read_available(1, 2.0) == [b"-ERR max number of clients reached\r\n"]
    for client in opened:
        client.close()


def test_client_ids_are_unique_over_all_ports(cluster: Shardis, nodes: list[RespClient]) -> None:
    with cluster.client() as client:
        ids = [one.call("CLIENT", "ID") for one in (client, *nodes)]
    assert len(set(ids)) == len(ids)


def test_two_servers_cannot_share_a_nodes_file(tmp_path: Path) -> None:
    def server() -> Shardis:
        return Shardis(Configuration(extra=("--cluster-enabled", "yes", "--dir", str(tmp_path))))

    first, second = server(), server()
    first.start()
    try:
        with pytest.raises(Exception, match="another server uses it"):
            second.start()
    finally:
        second.kill()
        first.stop()


def test_shutting_down_answers_what_was_asked_at_a_shard_port(own_server: Start) -> None:
    server = own_server(shards=1, extra=("--cluster-enabled", "yes"))
    with server.node(0).client() as node:
        assert node.call("SET", "k", "v") == b"+OK\r\n"
    server.stop()


def lines(reply: bytes) -> list[dict[str, str]]:
    """The clients that CLIENT LIST or INFO shows."""
    text = reply.partition(b"\r\n")[2].decode()
    return [
        dict(field.partition("=")[::2] for field in line.split())
        for line in text.splitlines()
        if line
    ]


def listed(client: RespClient) -> list[dict[str, str]]:
    return lines(client.call("CLIENT", "LIST"))


def test_a_node_lists_and_kills_its_own_clients_and_the_endpoint_those_of_all_ports(
    cluster: Shardis, nodes: list[RespClient]
) -> None:
    with cluster.client() as plain:
        plain.call("CLIENT", "SETNAME", "plain")
        for index, node in enumerate(nodes):
            assert node.call("CLIENT", "SETNAME", f"node{index}") == b"+OK\r\n"
        ids = [int(node.call("CLIENT", "ID")[1:-2]) for node in nodes]
        found = {one["name"]: one for one in listed(plain)}
        assert {"plain", "node0", "node1", "node2"} <= found.keys()
        for index, node in enumerate(nodes):
            assert found[f"node{index}"]["laddr"] == f"127.0.0.1:{cluster.port + 1 + index}"
            assert [one["name"] for one in listed(node)] == [f"node{index}"]
        (own,) = lines(nodes[1].call("CLIENT", "INFO"))
        assert (own["id"], own["cmd"], own["flags"]) == (str(ids[1]), "client|info", "N")
        assert nodes[1].call("CLIENT", "NO-EVICT", "ON") == b"+OK\r\n"
        assert lines(nodes[1].call("CLIENT", "INFO"))[0]["flags"] == "e"

        assert plain.call("CLIENT", "KILL", "ID", ids[0]) == b":1\r\n"
        assert nodes[0].read_to_end() == b""
        assert nodes[1].call("CLIENT", "KILL", "ID", ids[2]) == b":0\r\n"
        assert nodes[2].call("PING") == b"+PONG\r\n"
        # The caller still gets its reply.
        assert nodes[1].call("CLIENT", "KILL", "ID", ids[1], "SKIPME", "no") == b":1\r\n"
        assert nodes[1].read_to_end() == b""


def test_a_pause_holds_at_all_ports(cluster: Shardis, nodes: list[RespClient]) -> None:
    keys = [key_of(shard) for shard in range(SHARDS)]
    with cluster.client() as plain, cluster.node(1).client() as other:
        assert nodes[0].call("CLIENT", "PAUSE", 60_000, "WRITE") == b"+OK\r\n"
        try:
            assert other.call("GET", keys[1]) == b"$-1\r\n"
            nodes[1].send(b"GET %b\r\nSET %b v\r\nGET %b\r\n" % ((keys[1].encode(),) * 3))
            assert nodes[1].read_reply() == b"$-1\r\n"
            deadline = time.monotonic() + 5
            while not any(one["flags"] == "b" for one in listed(other)):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert other.call("GET", keys[1]) == b"$-1\r\n"
            assert "blocked_clients:1\r" in cluster.node(1).info()
        finally:
            assert plain.call("CLIENT", "UNPAUSE") == b"+OK\r\n"
        assert nodes[1].read_reply() == b"+OK\r\n"
        assert nodes[1].read_reply() == b"$1\r\nv\r\n"


def test_replies_can_be_switched_off_at_a_node(nodes: list[RespClient]) -> None:
    key = key_of(0).encode()
    other = key_of(1).encode()
    nodes[0].send(
        b"CLIENT REPLY OFF\r\nSET %b 1\r\nGET %b\r\nNOSUCH\r\nGET %b\r\nINFO\r\nECHO x\r\n"
        b"CLIENT REPLY ON\r\nCLIENT REPLY SKIP\r\nINCR %b\r\nGET %b\r\n"
        % (key, key, other, key, key)
    )
    assert nodes[0].read_replies(2) == [b"+OK\r\n", b"$1\r\n2\r\n"]
    large = b"x" * 300_000
    assert nodes[0].call(b"SET", key, large) == b"+OK\r\n"
    nodes[0].send(b"CLIENT REPLY SKIP\r\nGET %b\r\nSTRLEN %b\r\n" % (key, key))
    assert nodes[0].read_reply() == b":300000\r\n"


def test_a_password_is_asked_for_at_all_ports(own_server: Start) -> None:
    server = own_server(shards=2, extra=("--cluster-enabled", "yes"))
    key = next(key for key in map(str, range(100)) if slot(key.encode()) < 8192)
    with server.client() as plain:
        assert plain.call("CONFIG", "SET", "requirepass", "secret") == b"+OK\r\n"
    with server.node(0).client() as client, server.node(0).client() as stranger:
        assert client.call("GET", key) == b"-NOAUTH Authentication required.\r\n"
        assert client.call("CLUSTER", "SLOTS") == b"-NOAUTH Authentication required.\r\n"
        assert client.call("AUTH", "wrong").startswith(b"-WRONGPASS")
        assert client.call("AUTH", "secret") == b"+OK\r\n"
        assert client.call("SET", key, "v") == b"+OK\r\n"
        assert b"acl_access_denied_auth:1\r\n" in client.call("INFO", "stats")
        assert client.call("CONFIG", "SET", "requirepass", "") == b"+OK\r\n"
        assert stranger.call("GET", key) == b"$1\r\nv\r\n"


def test_limits_hold_at_a_node(own_server: Start) -> None:
    server = own_server(shards=2, extra=("--cluster-enabled", "yes"))
    key = next(key for key in map(str, range(100)) if slot(key.encode()) < 8192)
    with server.node(0).client() as client, server.node(0).client() as slow:
        limit = "normal 4000000 0 0"
        assert client.call("CONFIG", "SET", "client-output-buffer-limit", limit) == b"+OK\r\n"
        assert client.call("SET", key, b"x" * 1_000_000) == b"+OK\r\n"
        slow.send(b"GET %b\r\n" % key.encode() * 30)
        deadline = time.monotonic() + 10
        while len(listed(client)) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with server.node(0).client() as idle:
            assert client.call("CONFIG", "SET", "timeout", 1) == b"+OK\r\n"
            idle.call("PING")
            deadline = time.monotonic() + 10
            while len(listed(client)) > 1:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert idle.read_to_end() == b""


def test_debug_at_a_node_concerns_the_node(own_server: Start) -> None:
    server = own_server(
        shards=2, extra=("--cluster-enabled", "yes", "--enable-debug-command", "no")
    )
    with server.node(0).client() as client:
        assert client.call("DEBUG", "SET-ACTIVE-EXPIRE", 0).startswith(b"-ERR DEBUG command not")
    server = own_server(
        shards=2, extra=("--cluster-enabled", "yes", "--enable-debug-command", "local")
    )
    with server.node(0).client() as client, server.node(1).client() as other:
        assert client.call("DEBUG", "SET-ACTIVE-EXPIRE", 1) == b"+OK\r\n"
        assert client.call("DEBUG", "STRINGMATCH-LEN", "a*", "abc") == b":1\r\n"
        assert client.call("DEBUG", "PROTOCOL", "integer") == b":12345\r\n"
        assert client.call("DEBUG", "SEGFAULT").startswith(b"-ERR DEBUG SEGFAULT is refused")
        assert client.call("DEBUG", "POPULATE", 1000) == b"+OK\r\n"
        size = int(client.call("DBSIZE")[1:-2])
        assert 400 < size < 600
        assert other.call("DBSIZE") == b":0\r\n"
        key = client.call("RANDOMKEY").split(b"\r\n")[1]
        assert client.call("DEBUG", "OBJECT", key).startswith(b"+Value at:")
        assert client.call("DEBUG", "LOG", "hello") == b"+OK\r\n"
        assert client.call("PING") == b"+PONG\r\n"


def test_the_ports_of_all_can_be_changed(own_server: Start) -> None:
    server = own_server(shards=2, extra=("--cluster-enabled", "yes"))
    moved = copy.copy(server)
    moved.port = free_ports(3)
    with server.client() as client, server.node(0).client() as node:
        # One that another shard has cannot be had, and then nothing changes.
        assert client.call("CONFIG", "SET", "port", server.port + 1).startswith(b"-ERR CONFIG SET")
        assert b"%d@" % (server.port + 2) in node.call("CLUSTER", "NODES")
        assert client.call("CONFIG", "SET", "port", moved.port) == b"+OK\r\n"
        for one in (moved.node(0), moved.node(1)):
            with one.client() as found:
                assert b"127.0.0.1:%d@" % (moved.port + 2) in found.call("CLUSTER", "NODES")
        assert node.call("PING") == b"+PONG\r\n"
    with pytest.raises(OSError):  # noqa: PT011
        server.node(1).client()


@pytest.mark.skipif(not certificates.HAS_OPENSSL, reason="no openssl in PATH")
def test_nodes_speak_tls_at_ports_of_their_own(own_server: Start) -> None:
    server = own_server(shards=2, transport="tls", extra=("--cluster-enabled", "yes"))
    options = server.redis_options()
    client = redis_cluster.RedisCluster(**options)
    try:
        assert {node.port for node in client.get_nodes()} == {
            server.tls_port + 1,
            server.tls_port + 2,
        }
        with client.pipeline() as pipeline:
            for i in range(100):
                pipeline.set(f"k{i}", i)
            assert pipeline.execute() == [True] * 100
        assert client.dbsize(target_nodes="primaries") == 100
    finally:
        client.close()
    with server.node(0).client() as secure:
        assert lines(secure.call("CLIENT", "INFO"))[0]["laddr"].endswith(f":{server.tls_port + 1}")
        assert b"port" in secure.call("CLUSTER", "SHARDS")
