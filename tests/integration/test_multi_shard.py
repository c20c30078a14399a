"""Commands whose keys lie on several shards answer, and leave behind, what redis-server does.

Each script runs on both servers, in RESP2 and RESP3; ours has four shards, over which the numbered
keys spread, and both lanes. Where an order is not defined, elements are sorted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import pytest

from tests.support.resp_client import RespClient, parse
from tests.support.servers import Configuration, Oracle, ServerPool, Shardis

KEYS = tuple(b"k%d" % number for number in range(24))
TARGETS = KEYS[12:]
Call = tuple[bytes | str | int, ...]


def copies() -> Iterable[Call]:
    yield "SET", "number", 12345
    yield "SET", "text", "hello", "PXAT", 4000000000000
    yield "SET", "sum", 1
    yield "INCRBYFLOAT", "sum", "1"
    yield "APPEND", "grown", "12"
    yield "APPEND", "grown", "34"
    for source in ("number", "text", "sum", "grown", "missing"):
        for target in TARGETS:
            yield "COPY", source, target
            yield "GET", target
            yield "OBJECT", "ENCODING", target
            yield "COPY", "number", target
            yield "COPY", source, target, "REPLACE"
            yield "EXPIRETIME", target
            yield "COPY", source, target, "DB", 5
            yield "COPY", source, target, "db", 5, "replace"
            yield "COPY", source, target, "REPLACE", "DB", 5, "DB", 7
            yield "SELECT", 5
            yield "GET", target
            yield "SELECT", 0
            yield "DEL", target
    for target in ("number", *TARGETS[:4]):
        for rest in (("DB", 16), ("DB", -1), ("DB", "x"), ("DB",), ("AND",), ("DB", 0), ("DB", 3)):
            yield "COPY", "number", target, *rest
        yield "COPY", "number", target


def renames() -> Iterable[Call]:
    for number, (source, target) in enumerate(zip(KEYS[:12], TARGETS, strict=True)):
        yield "SET", source, f"value {number}", "PXAT", 4000000000000 + 1000 * number
        yield "RENAMENX", source, target
        yield "RENAMENX", target, target
        yield "SET", source, number
        yield "RENAMENX", source, target
        yield "EXISTS", source, target
        yield "RENAME", source, target
        yield "EXISTS", source, target
        yield "GET", target
        yield "EXPIRETIME", target
        yield "OBJECT", "ENCODING", target
        yield "RENAME", source, target
        yield "RENAMENX", source, target


def many_keys() -> Iterable[Call]:
    yield "MSET", *(word for key in KEYS[:20] for word in (key, b"value of " + key))
    yield "MGET", *KEYS, *KEYS[:3]
    yield "MSETNX", *(word for key in KEYS[18:] for word in (key, "new"))
    yield "MSETNX", *(word for key in KEYS[20:] for word in (key, "new"))
    yield "MSET", "k1", 1, "k1", 2, "k2", 3, "k1", 4
    yield "MGET", *KEYS
    for name in ("EXISTS", "TOUCH", "DEL", "UNLINK"):
        yield name, *KEYS[:9], *KEYS[:3], "missing"
        yield (name,)
    for name in ("MSET", "MSETNX"):
        yield name, "k1"
        yield name, "k1", 2, "k3"
        yield (name,)
    yield ("DBSIZE",)


def subsequences() -> Iterable[Call]:
    yield "MSET", "a", "ohmytext", "b", "mynewtext", "c", "", "d", 12345
    options: tuple[Call, ...] = (
        (),
        ("LEN",),
        ("IDX",),
        ("IDX", "MINMATCHLEN", 4, "WITHMATCHLEN"),
        ("LEN", "IDX"),
        ("MINMATCHLEN", "x"),
        ("WHAT",),
    )
    for first in "abcd-":
        for second in "abcd-":
            for rest in options:
                yield "LCS", first, second, *rest


def whole_databases() -> Iterable[Call]:
    yield "SCAN", 0
    yield ("RANDOMKEY",)
    yield "MSET", *(word for key in KEYS for word in (key, 1))
    yield "SWAPDB", 0, 4
    yield ("DBSIZE",)
    yield "MGET", *KEYS
    yield "SELECT", 4
    yield ("DBSIZE",)
    yield "KEYS", "k?"
    yield "SWAPDB", 4, 0
    yield "SELECT", 0
    for words in ((0, 16), ("x", 0), (0, "x"), (-1, 0), (0, 0)):
        yield "SWAPDB", *words
    yield "FLUSHDB", "NOW"
    yield "FLUSHALL", "ASYNC", "SYNC"
    yield "FLUSHDB", "ASYNC"
    yield ("DBSIZE",)
    yield "MSET", *(word for key in KEYS for word in (key, 1))
    yield "FLUSHALL", "SYNC"
    yield "SCAN", 0


def changes(client: RespClient) -> int:
    found = re.search(rb"rdb_changes_since_last_save:(\d+)", client.call("INFO", "persistence"))
    assert found is not None
    return int(found[1])


def transcript(client: RespClient, script: Iterable[Call]) -> list[tuple[Call, bytes]]:
    """Each call with its reply; after it how many changes the server counted."""
    before = changes(client)
    replies = [(call, client.call(*call)) for call in script]
    replies = [
        (call, b"\r\n".join(sorted(reply.split(b"\r\n"))) if call[0] == "KEYS" else reply)
        for call, reply in replies
    ]
    return [*replies, (("changes",), b"%d" % (changes(client) - before))]


@pytest.mark.parametrize("native_lane", [True, False])
@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("script", [copies, renames, many_keys, subsequences, whole_databases])
def test_replies_and_changes_equal_those_of_redis(
    script: Callable[[], Iterable[Call]],
    resp: int,
    native_lane: bool,
    server_pool: ServerPool,
    oracle: Oracle,
) -> None:
    server = server_pool.get(Configuration(shards=4, native_lane=native_lane))
    with server.client(resp=resp) as ours, oracle.client(resp=resp) as theirs:
        assert transcript(ours, script()) == transcript(theirs, script())


@pytest.mark.parametrize("shards", [1, 4])
def test_a_swap_of_databases_counts_for_what_is_behind_it_in_the_pipeline(
    shards: int, server_pool: ServerPool
) -> None:
    """The executor looks up a whole window of commands ahead: it once kept the old database."""
    with server_pool.get(Configuration(shards=shards)).client() as client:
        client.call("SET", "k", "of 0")
        calls = [("GET", "k"), ("SWAPDB", 0, 1), ("GET", "k"), ("SWAPDB", 1, 0), ("GET", "k")]
        assert client.pipeline(calls) == [
            b"$4\r\nof 0\r\n",
            b"+OK\r\n",
            b"$-1\r\n",
            b"+OK\r\n",
            b"$4\r\nof 0\r\n",
        ]


@pytest.mark.usefixtures("ours_only")
def test_commands_between_our_processes_are_unknown_to_clients(shardis: Shardis) -> None:
    with shardis.client() as client:
        for name, arguments in (("SHARDIS.UNLOCK", ("k",)), ("shardis.swap", (0, 1))):
            shown = "".join(f"'{argument}' " for argument in arguments)
            assert client.call(name, *arguments).decode() == (
                f"-ERR unknown command '{name}', with args beginning with: {shown}\r\n"
            )
        assert client.call("COMMAND", "INFO", "shardis.unlock") == b"*1\r\n$-1\r\n"
        assert b"shardis" not in client.call("COMMAND", "LIST").lower()
        client.call("COPY", "a", "b")
        client.call("MSET", *(word for key in KEYS for word in (key, 1)))
        client.call("RENAME", "k1", "k2")
        assert b"shardis" not in client.call("INFO", "commandstats").lower()


@pytest.mark.usefixtures("ours_only")
def test_an_error_of_a_command_on_all_shards_counts_once(server_pool: ServerPool) -> None:
    with server_pool.get(Configuration(shards=4)).client() as client:
        client.call("CONFIG", "RESETSTAT")
        client.call("FLUSHALL", "NOW")
        assert b"errorstat_ERR:count=1\r\n" in client.call("INFO", "errorstats")


def test_large_values_are_freed_by_the_helper_thread(shardis: Shardis) -> None:
    """Deleted, overwritten and flushed; what they held is not counted any longer."""
    value = b"x" * (3 << 20)
    with shardis.client() as client:
        for number in range(8):
            client.call("SET", f"large{number}", value)
            client.call("SET", f"large{number}", value[1:])
        assert client.call("GET", "large3") == b"$%d\r\n%b\r\n" % (len(value) - 1, value[1:])
        client.call("UNLINK", "large0", "large1", "large2")
        client.call("SET", "large3", "small")
        assert client.call("FLUSHALL", "ASYNC") == b"+OK\r\n"
        assert client.call("DBSIZE") == b":0\r\n"
        assert client.call("EXISTS", "large4") == b":0\r\n"


@pytest.mark.parametrize("options", [(), ("MATCH", "*"), ("TYPE", "string")], ids=str)
def test_a_scan_of_few_keys_is_one_step_and_of_more_is_several(
    server_pool: ServerPool, options: tuple[str, ...]
) -> None:
    with server_pool.get(Configuration(shards=3)).client() as client:
        client.call("FLUSHALL")
        for keys, count, fewest, most in ((3, 10, 1, 1), (100, 100, 1, 3), (100, 10, 6, 13)):
            client.call("MSET", *(word for number in range(keys) for word in (f"k{number}", "v")))
            found: list[bytes] = []
            cursor, taken = b"0", 0
            while taken == 0 or cursor != b"0":
                shown, batch = parse(client.call("SCAN", cursor, "COUNT", count, *options)).value
                cursor = shown.value
                found += [key.value for key in batch.value]
                taken += 1
            assert len(found) == len(set(found)) == keys
            assert fewest <= taken <= most
