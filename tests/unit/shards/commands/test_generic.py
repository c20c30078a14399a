"""The generic family, as a client sees it. What Redis answers is compared in tests/differential."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.model.context import START_MS, Model

Run = Callable[..., bytes]
ZERO, ONE, TWO = b":0\r\n", b":1\r\n", b":2\r\n"
OK = b"+OK\r\n"
SYNTAX = b"-ERR syntax error\r\n"
SAME = b"-ERR source and destination objects are the same\r\n"
OUT_OF_RANGE = b"-ERR DB index is out of range\r\n"
NOT_INTEGER = b"-ERR value is not an integer or out of range\r\n"


@pytest.mark.parametrize("name", ["DEL", "UNLINK"])
def test_deleting_counts_and_notifies_what_was_there(model: Model, name: str) -> None:
    model.run("MSET", "a", 1, "b", 2)
    assert model.run(name, "a", "b", "c", "a") == TWO
    assert model.context.events == [(b"del", b"a", 0), (b"del", b"b", 0)]


def test_an_expired_key_is_not_there(model: Model) -> None:
    model.run("SET", "a", 1, "PX", 10)
    model.wait(10)
    assert model.run("EXISTS", "a", "a") == TWO
    model.wait(1)
    assert model.run("DEL", "a") == ZERO


def test_exists_and_touch_count_each_mention(run: Run) -> None:
    run("SET", "a", 1)
    assert run("EXISTS", "a", "a", "b") == TWO
    assert run("TOUCH", "a", "a", "b") == TWO


def test_type(model: Model) -> None:
    model.put(b"l", b"list")
    model.run("SET", "a", 1)
    assert [model.run("TYPE", key) for key in "al?"] == [b"+string\r\n", b"+list\r\n", b"+none\r\n"]


@pytest.mark.parametrize(
    ("name", "argument", "ms"),
    [
        ("EXPIRE", 10, START_MS + 10_000),
        ("PEXPIRE", 10, START_MS + 10),
        ("EXPIREAT", 1_800_000_000, 1_800_000_000_000),
        ("PEXPIREAT", 1_800_000_000_001, 1_800_000_000_001),
    ],
)
def test_expire_is_logged_as_a_time(model: Model, name: str, argument: int, ms: int) -> None:
    model.run("SET", "k", "v")
    assert model.run(name, "k", argument) == ONE
    logged = [] if name == "PEXPIREAT" else [[b"PEXPIREAT", b"k", b"%d" % ms]]
    assert model.context.propagated == logged  # it is a time already
    assert model.context.events == [(b"expire", b"k", 0)]
    assert model.run("PEXPIRETIME", "k") == b":%d\r\n" % ms
    assert model.run(name, "missing", argument) == ZERO


@pytest.mark.parametrize(("name", "argument"), [("EXPIRE", 0), ("PEXPIRE", -5), ("EXPIREAT", 1)])
def test_an_expiry_that_has_passed_deletes(model: Model, name: str, argument: int) -> None:
    model.run("SET", "k", "v")
    assert model.run(name, "k", argument) == ONE
    assert model.context.events == [(b"del", b"k", 0)]
    assert model.context.propagated == [[b"DEL", b"k"]]
    assert model.run("EXISTS", "k") == ZERO


@pytest.mark.parametrize(
    ("has", "condition", "seconds", "reply"),
    [
        *[
            (None, "NX", 10, ONE),
            (None, "XX", 10, ZERO),
            (None, "GT", 10, ZERO),
            (None, "LT", 10, ONE),
        ],
        *[(20, "NX", 10, ZERO), (20, "XX", 10, ONE), (20, "GT", 20, ZERO), (20, "GT", 21, ONE)],
        *[(20, "LT", 20, ZERO), (20, "LT", 19, ONE)],
    ],
)
def test_expire_conditions(
    run: Run, has: int | None, condition: str, seconds: int, reply: bytes
) -> None:
    run("SET", "k", "v")
    if has is not None:
        run("EXPIRE", "k", has)
    assert run("EXPIRE", "k", seconds, condition) == reply


def test_expire_options_that_make_no_sense(run: Run) -> None:
    nx = b"-ERR NX and XX, GT or LT options at the same time are not compatible\r\n"
    assert run("EXPIRE", "k", 1, "NX", "xx") == nx
    assert run("EXPIRE", "k", 1, "NX", "GT") == nx
    gt = b"-ERR GT and LT options at the same time are not compatible\r\n"
    assert run("EXPIRE", "k", 1, "GT", "LT") == gt
    assert run("EXPIRE", "k", "x", "AB\0C") == b"-ERR Unsupported option AB\r\n"
    assert run("EXPIRE", "k", "x") == NOT_INTEGER


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("EXPIRE", (1 << 63) // 1000 + 1),
        ("EXPIRE", (1 << 63) // 1000),
        ("EXPIREAT", -((1 << 63) // 1000) - 1),
        ("PEXPIRE", (1 << 63) - 1),
    ],
)
def test_an_expiry_out_of_range_names_the_command(run: Run, name: str, argument: int) -> None:
    error = b"-ERR invalid expire time in '%s' command\r\n" % name.lower().encode()
    assert run(name, "k", argument) == error


def test_ttl_rounds_to_the_nearest_second(run: Run) -> None:
    run("MSET", "a", 1, "b", 1, "c", 1)
    run("PEXPIRE", "a", 1499)
    run("PEXPIRE", "b", 1500)
    assert [run("TTL", key) for key in "abc?"] == [ONE, TWO, b":-1\r\n", b":-2\r\n"]
    assert run("PTTL", "a") == b":1499\r\n"
    assert run("EXPIRETIME", "b") == b":%d\r\n" % ((START_MS + 1500 + 500) // 1000)


def test_persist(model: Model) -> None:
    assert model.run("PERSIST", "k") == ZERO
    model.run("SET", "k", "v", "EX", 10)
    assert model.run("PERSIST", "k") == ONE
    assert model.context.events == [(b"persist", b"k", 0)]
    assert model.run("PERSIST", "k") == ZERO


def test_rename_takes_the_expiry_along(model: Model) -> None:
    run = model.run
    assert run("RENAME", "a", "a") == b"-ERR no such key\r\n"
    run("SET", "a", 1, "EX", 10)
    run("SET", "b", 2)
    assert run("RENAME", "a", "b") == OK
    assert model.context.events == [(b"rename_from", b"a", 0), (b"rename_to", b"b", 0)]
    assert run("TTL", "b") == b":10\r\n"
    assert run("RENAME", "b", "b") == OK
    assert model.context.events == []


def test_renamenx(run: Run) -> None:
    assert run("RENAMENX", "a", "b") == b"-ERR no such key\r\n"
    run("MSET", "a", 1, "b", 2)
    assert run("RENAMENX", "a", "b") == ZERO
    assert run("RENAMENX", "a", "a") == ZERO
    assert run("RENAMENX", "a", "c") == ONE


def test_copy(model: Model) -> None:
    run = model.run
    assert run("COPY", "a", "b") == ZERO
    run("SET", "a", 1, "EX", 10)
    assert run("COPY", "a", "b") == ONE
    assert run("COPY", "a", "b") == ZERO
    assert run("COPY", "a", "b", "REPLACE") == ONE
    assert run("TTL", "b") == b":10\r\n"
    assert run("COPY", "a", "a", "DB", 3) == ONE
    assert model.context.events == [(b"copy_to", b"a", 3)]
    assert run("COPY", "a", "a") == SAME
    assert run("COPY", "a", "a", "DB", 0) == SAME
    assert run("COPY", "a", "b", "DB", 16, "BOGUS") == OUT_OF_RANGE
    assert run("COPY", "a", "b", "DB") == SYNTAX


def test_move(model: Model) -> None:
    run = model.run
    run("SET", "a", 1)
    assert run("MOVE", "a", 0) == SAME
    assert run("MOVE", "a", -1) == OUT_OF_RANGE
    assert run("MOVE", "a", "x") == NOT_INTEGER
    assert run("MOVE", "a", 1 << 31) == (
        b"-ERR value is out of range, value must between -2147483648 and 2147483647\r\n"
    )
    assert run("MOVE", "a", 1) == ONE
    assert model.context.events == [(b"move_from", b"a", 0), (b"move_to", b"a", 1)]
    assert run("MOVE", "a", 1) == ZERO


def test_scan(model: Model) -> None:
    run = model.run
    model.put(b"l", b"list")
    run("MSET", "a", 1, "b", 1)
    assert run("SCAN", 0) == b"*2\r\n$1\r\n0\r\n*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nl\r\n"
    assert run("SCAN", 0, "COUNT", 2) == b"*2\r\n$1\r\n2\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n"
    assert run("SCAN", 0, "MATCH", "[bl]", "TYPE", "LIST") == b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nl\r\n"
    assert run("SCAN", 0, "TYPE", "nonsense") == b"*2\r\n$1\r\n0\r\n*0\r\n"
    assert run("SCAN", 0, "COUNT", 0) == SYNTAX
    assert run("SCAN", 0, "COUNT", "x") == NOT_INTEGER


@pytest.mark.parametrize("cursor", ["x", " 1", "1 ", "+", "-", "1x", str(1 << 64)])
def test_a_cursor_that_is_no_number_is_refused(run: Run, cursor: str) -> None:
    assert run("SCAN", cursor) == b"-ERR invalid cursor\r\n"


def test_keys_dbsize_and_randomkey(model: Model) -> None:
    run = model.run
    assert run("RANDOMKEY") == b"$-1\r\n"
    run("MSET", "a1", 1, "b1", 1)
    run("SET", "a2", 1, "PX", 5)
    assert run("DBSIZE") == b":3\r\n"
    model.wait(6)
    assert run("KEYS", "a*") == b"*1\r\n$2\r\na1\r\n"
    assert run("KEYS", "?") == b"*0\r\n"
    run("DEL", "b1")
    assert {run("RANDOMKEY") for _ in range(20)} == {b"$2\r\na1\r\n"}


def test_randomkey_passes_over_expired_keys(model: Model) -> None:
    model.run("SET", "a", 1, "PX", 5)
    model.wait(6)
    assert model.run("RANDOMKEY") == b"$-1\r\n"


def test_flushing(model: Model) -> None:
    run = model.run
    for name in ("FLUSHDB", "FLUSHALL"):
        assert run(name, "NOW") == SYNTAX
        assert run(name, "SYNC", "ASYNC") == SYNTAX
    run("SET", "a", 1)
    run("COPY", "a", "a", "DB", 1)
    assert run("FLUSHDB", "async") == OK
    assert run("DBSIZE") == ZERO
    assert model.context.keyspace.size(1) == 1
    assert run("FLUSHALL") == OK
    assert model.context.keyspace.size(1) == 0
    # An empty server logs it too: a replica's databases might not be empty.
    assert model.context.propagated == [[b"FLUSHALL"]]


def test_swapdb(model: Model) -> None:
    run = model.run
    run("SET", "a", 1)
    assert run("SWAPDB", 0, 1) == OK
    assert (run("DBSIZE"), model.context.keyspace.size(1)) == (ZERO, 1)
    assert run("SWAPDB", "x", "y") == b"-ERR invalid first DB index\r\n"
    assert run("SWAPDB", 0, 1 << 31) == b"-ERR invalid second DB index\r\n"
    assert run("SWAPDB", 0, 16) == OUT_OF_RANGE


def test_object_encoding(run: Run) -> None:
    run("MSET", "i", 7, "e", "x" * 44, "r", "x" * 45)
    replies = [run("OBJECT", "ENCODING", key) for key in "ier?"]
    assert replies == [b"$3\r\nint\r\n", b"$6\r\nembstr\r\n", b"$3\r\nraw\r\n", b"$-1\r\n"]


def test_object_idletime_and_freq_need_their_policy(model: Model) -> None:
    run = model.run
    run("SET", "k", "v")
    model.wait(3500)
    assert run("OBJECT", "IDLETIME", "k") == b":3\r\n"
    assert run("OBJECT", "FREQ", "k").startswith(
        b"-ERR An LFU maxmemory policy is not selected, access frequency not tracked."
    )
    model.context.settings.maxmemory_policy = b"allkeys-lfu"
    assert run("OBJECT", "IDLETIME", "k").startswith(
        b"-ERR An LFU maxmemory policy is selected, idle time not tracked."
    )
    assert run("OBJECT", "FREQ", "k") == b":5\r\n"
    assert run("OBJECT", "FREQ", "missing") == b"$-1\r\n"


def test_object_refcount_of_small_numbers(model: Model) -> None:
    run = model.run
    run("MSET", "small", 9999, "big", 10000, "text", "v")
    shared = b":2147483647\r\n"
    assert [run("OBJECT", "REFCOUNT", k) for k in ("small", "big", "text")] == [shared, ONE, ONE]
    model.context.settings.maxmemory_policy = b"volatile-lru"
    assert run("OBJECT", "REFCOUNT", "small") == ONE


def test_object_help_and_unknown_subcommands(run: Run) -> None:
    assert run("OBJECT", "HELP").startswith(b"*11\r\n+OBJECT <subcommand> ")
    unknown = b"-ERR unknown subcommand 'Bogus'. Try OBJECT HELP.\r\n"
    assert run("object", "Bogus") == unknown
    arity = b"-ERR wrong number of arguments for 'object|encoding' command\r\n"
    assert run("OBJECT", "ENCODING") == arity
