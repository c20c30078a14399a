"""Dumps of ours and of redis-server's are the same, or stand for the same.

Both servers get the same data, in all types and encodings. What has a defined order is compared
byte for byte; the rest is restored by the other server, and the digests of the values are compared.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.resp_client import RespClient
from tests.support.servers import Configuration, Oracle, ServerPool

Call = tuple[bytes | str | int, ...]

# Types whose dumps have one form only, and those whose order is that of a hash table.
SAME_BYTES = (
    *("int8", "int16", "int32", "int64", "empty", "text", "binary"),
    *("list", "list-nodes", "list-plain", "intset16", "intset64", "set-pack", "zset-pack"),
    *("hash-pack", "stream", "stream-empty", "stream-groups", "zset"),
)
OTHERS = ("set", "hash", "repeats", "long")  # LZF has many forms of the same, too


def data() -> Iterator[Call]:
    yield "CONFIG", "SET", "rdbcompression", "no"
    yield "SET", "int8", -5
    yield "SET", "int16", 300
    yield "SET", "int32", -70000
    yield "SET", "int64", 1 << 40
    yield "SET", "empty", ""
    yield "SET", "text", "hello"
    yield "SET", "repeats", "ab" * 300
    yield "SET", "binary", bytes(range(256))
    yield "SET", "long", "0123456789" * 20000
    yield "RPUSH", "list", "a", "1", "-2", "x" * 100
    yield "RPUSH", "list-nodes", *(f"{number}" * 50 for number in range(1000))
    yield "CONFIG", "SET", "list-compress-depth", 1
    yield "RPUSH", "list-packed", *(f"{number}" * 50 for number in range(1000))
    yield "CONFIG", "SET", "list-compress-depth", 0
    yield "DEBUG", "QUICKLIST-PACKED-THRESHOLD", "100b"
    yield "RPUSH", "list-plain", "small", "y" * 200, "z"
    yield "DEBUG", "QUICKLIST-PACKED-THRESHOLD", "0"
    yield "SADD", "intset16", 1, 2, 3, -4
    yield "SADD", "intset64", 1, 1 << 40
    yield "SADD", "set-pack", "a", "b", "1"
    yield "SADD", "set", *(f"member {number}" for number in range(500))
    yield "ZADD", "zset-pack", 1, "a", 2.5, "b", "inf", "c", "-inf", "d"
    for number in range(300):
        yield "ZADD", "zset", number / 3, f"member {number}"
    yield "HSET", "hash-pack", "f", "v", "n", 1
    yield "HSET", "hash", *(f"{kind}{n}" for n in range(600) for kind in ("field", "value"))
    for number in range(250):
        yield "XADD", "stream", f"{1000 + number}-1", "name", number, "other", "x" * (number % 7)
    yield "XDEL", "stream", "1003-1", "1249-1"
    yield "XADD", "stream-empty", "5-5", "f", "v"
    yield "XDEL", "stream-empty", "5-5"
    yield "XADD", "stream-groups", "5-5", "f", "v"
    yield "XGROUP", "CREATE", "stream-groups", "group", "0"
    yield "XGROUP", "CREATE", "stream-groups", "other", "5-5", "ENTRIESREAD", 1


@pytest.fixture(params=[1, 4], ids=["1-shard", "4-shards"])
def clients(
    request: pytest.FixtureRequest, oracle_server: Oracle, server_pool: ServerPool
) -> Iterator[tuple[RespClient, RespClient]]:
    """A client of ours and one of the oracle's, with the same data."""
    ours = server_pool.get(Configuration(shards=request.param)).client()
    oracle = oracle_server.client()
    with ours, oracle:
        for client in (ours, oracle):
            client.call("FLUSHALL")
        for call in data():
            assert ours.call(*call) == oracle.call(*call), call
        yield ours, oracle


def dump(client: RespClient, key: str) -> bytes:
    head, _, rest = client.call("DUMP", key).partition(b"\r\n")
    assert head[:1] == b"$", key
    return rest[:-2]


def speaks_the_same_version(oracle: RespClient) -> bool:
    return dump(oracle, "text")[-10:-8] == b"\x0b\x00"


def test_dumps_are_the_same(clients: tuple[RespClient, RespClient]) -> None:
    ours, oracle = clients
    if not speaks_the_same_version(oracle):
        pytest.skip("the oracle writes an older version")
    for key in SAME_BYTES:
        assert dump(ours, key) == dump(oracle, key), key


def test_each_restores_what_the_other_dumps(clients: tuple[RespClient, RespClient]) -> None:
    ours, oracle = clients
    both_ways = speaks_the_same_version(oracle)
    for key in (*SAME_BYTES, *OTHERS, "list-packed"):
        if key.startswith("zset") and not both_ways:
            continue  # older versions write scores with all digits into the digest
        wanted = oracle.call("DEBUG", "DIGEST-VALUE", key)
        assert ours.call("DEBUG", "DIGEST-VALUE", key) == wanted, key
        assert ours.call("RESTORE", key, 0, dump(oracle, key), "REPLACE") == b"+OK\r\n", key
        assert ours.call("DEBUG", "DIGEST-VALUE", key) == wanted, key
        encoding = oracle.call("OBJECT", "ENCODING", key)
        if both_ways:
            assert ours.call("OBJECT", "ENCODING", key) == encoding, key
            assert oracle.call("RESTORE", key, 0, dump(ours, key), "REPLACE") == b"+OK\r\n", key
            assert oracle.call("DEBUG", "DIGEST-VALUE", key) == wanted, key
    if both_ways:
        assert ours.call("DEBUG", "DIGEST") == oracle.call("DEBUG", "DIGEST")


def test_options_and_their_mistakes(clients: tuple[RespClient, RespClient]) -> None:
    ours, oracle = clients
    good = dump(oracle, "text")
    calls: list[Call] = [
        ("RESTORE", "text", 0, good),
        ("RESTORE", "text", "x", good),
        ("RESTORE", "new", "x", good),
        ("RESTORE", "new", -1, good),
        ("RESTORE", "new", 0, good[:-1]),
        ("RESTORE", "new", 0, b""),
        ("RESTORE", "new", 0, good[:-10] + b"\x0c\x00" + good[-8:]),
        ("RESTORE", "new", 0, good, "bad"),
        ("RESTORE", "new", 0, good, "IDLETIME"),
        ("RESTORE", "new", 0, good, "IDLETIME", -1),
        ("RESTORE", "new", 0, good, "IDLETIME", "x"),
        ("RESTORE", "new", 0, good, "FREQ", 256),
        ("RESTORE", "new", 0, good, "FREQ", 1, "IDLETIME", 1),
        ("RESTORE", "new", 0, good, "IDLETIME", 1, "FREQ", 1),
        ("RESTORE", "new", 0, good, "idletime", 1000),
        ("OBJECT", "IDLETIME", "new"),
        ("RESTORE", "new", 4000000000000, good, "replace", "absttl"),
        ("EXPIRETIME", "new"),
        ("RESTORE", "new", 1, good, "ABSTTL", "REPLACE"),
        ("EXISTS", "new"),
        ("RESTORE", "new", 1, good, "ABSTTL"),
        ("EXISTS", "new"),
        ("DUMP", "missing"),
        ("DUMP",),
    ]
    for call in calls:
        assert ours.call(*call) == oracle.call(*call), call
