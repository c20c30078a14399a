"""The string family, as a client sees it. What Redis answers is compared in tests/differential."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.model.context import START_MS, Model

Run = Callable[..., bytes]
NULL = b"$-1\r\n"
OK = b"+OK\r\n"
SYNTAX = b"-ERR syntax error\r\n"
WRONG_TYPE = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
NOT_INTEGER = b"-ERR value is not an integer or out of range\r\n"
INT64_MAX = (1 << 63) - 1
INT64_MIN = -(1 << 63)


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(value), value)


def test_set_and_get(run: Run) -> None:
    assert run("SET", "k", "v") == OK
    assert run("GET", "k") == bulk(b"v")
    assert run("GET", "missing") == NULL


def test_set_drops_an_expiry_unless_told_to_keep_it(run: Run) -> None:
    run("SET", "k", "1", "EX", 100)
    assert run("SET", "k", "2", "KEEPTTL") == OK
    assert run("TTL", "k") == b":100\r\n"
    assert run("SET", "k", "3") == OK
    assert run("TTL", "k") == b":-1\r\n"


@pytest.mark.parametrize(
    ("options", "ms"),
    [
        (("EX", 10), START_MS + 10_000),
        (("PX", 10), START_MS + 10),
        (("EXAT", 1_800_000_000), 1_800_000_000_000),
        (("PXAT", 1_800_000_000_001), 1_800_000_000_001),
        (("EX", 10, "ex", 20), START_MS + 20_000),
    ],
)
def test_set_takes_an_expiry_in_four_forms(run: Run, options: tuple[object, ...], ms: int) -> None:
    assert run("SET", "k", "v", *options) == OK
    assert run("PEXPIRETIME", "k") == b":%d\r\n" % ms


def test_an_expiry_is_logged_as_a_time(model: Model) -> None:
    model.run("SET", "k", "v", "EX", 10, "NX")
    logged = [b"SET", b"k", b"v", b"PXAT", b"%d" % (START_MS + 10_000)]
    assert model.context.propagated == [logged]
    assert [event for event, _, _ in model.context.events] == [b"set", b"expire"]
    model.run("SETEX", "k", 10, "v")
    assert model.context.propagated == [logged]
    model.run("SET", "k", "v", "PXAT", START_MS + 5)
    assert model.context.propagated == []


def test_the_log_of_set_with_get_asks_for_no_reply(model: Model) -> None:
    model.run("SET", "k", "v")
    assert model.run("SET", "k", "w", "get", "XX", "KEEPTTL") == bulk(b"v")
    assert model.context.propagated == [[b"SET", b"k", b"w", b"XX", b"KEEPTTL"]]


@pytest.mark.parametrize(
    "options",
    [
        "NX XX",
        "XX NX",
        "EX 1 PX 1",
        "EX 1 KEEPTTL",
        "KEEPTTL PX 1",
        "EX",
        "PERSIST",
        "BOGUS",
        "NX 1",
    ],
)
def test_options_that_exclude_each_other_are_a_syntax_error(run: Run, options: str) -> None:
    assert run("SET", "k", "v", *options.split()) == SYNTAX
    assert run("EXISTS", "k") == b":0\r\n"


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (("SET", "k", "v", "EX", 0), b"set"),
        (("SET", "k", "v", "PX", -1), b"set"),
        (("SET", "k", "v", "EX", INT64_MAX), b"set"),
        (("SET", "k", "v", "EX", INT64_MAX // 1000), b"set"),
        (("SET", "k", "v", "PX", INT64_MAX), b"set"),
        (("SETEX", "k", 0, "v"), b"setex"),
        (("PSETEX", "k", 0, "v"), b"psetex"),
        (("GETEX", "present", "EX", 0), b"getex"),
    ],
)
def test_an_impossible_expiry_names_the_command(
    run: Run, call: tuple[object, ...], name: bytes
) -> None:
    run("SET", "present", "v")
    assert run(*call) == b"-ERR invalid expire time in '%s' command\r\n" % name


def test_set_with_conditions_and_get(run: Run) -> None:
    assert run("SET", "k", "1", "XX") == NULL
    assert run("SET", "k", "1", "NX", "GET") == NULL
    assert run("SET", "k", "2", "NX") == NULL
    assert run("SET", "k", "2", "NX", "GET") == bulk(b"1")
    assert run("SET", "k", "3", "XX", "GET") == bulk(b"1")
    assert run("GET", "k") == bulk(b"3")


def test_set_overwrites_any_type_but_get_refuses_it(model: Model) -> None:
    model.put(b"k", b"list")
    assert model.run("SET", "k", "v", "GET") == WRONG_TYPE
    assert model.run("SET", "k", "v", "NX") == NULL
    assert model.run("SET", "k", "v") == OK


def test_getex_changes_the_expiry(model: Model) -> None:
    run = model.run
    run("SET", "k", "v")
    assert run("GETEX", "k", "EX", 10) == bulk(b"v")
    assert model.context.propagated == [[b"PEXPIREAT", b"k", b"%d" % (START_MS + 10_000)]]
    assert run("GETEX", "k") == bulk(b"v")
    assert run("TTL", "k") == b":10\r\n"
    assert run("GETEX", "k", "PERSIST") == bulk(b"v")
    assert model.context.propagated == [[b"PERSIST", b"k"]]
    assert run("GETEX", "k", "PERSIST") == bulk(b"v")
    assert model.context.events == []
    assert run("GETEX", "k", "PXAT", 1) == bulk(b"v")
    assert model.context.propagated == [[b"DEL", b"k"]]
    assert run("EXISTS", "k") == b":0\r\n"


def test_a_missing_key_hides_a_bad_number_of_getex(run: Run) -> None:
    assert run("GETEX", "missing", "EX", "abc") == NULL
    assert run("GETEX", "missing", "KEEPTTL") == SYNTAX


def test_getdel_is_logged_as_del(model: Model) -> None:
    model.run("SET", "k", "v")
    assert model.run("GETDEL", "k") == bulk(b"v")
    assert model.context.propagated == [[b"DEL", b"k"]]
    assert model.context.events == [(b"del", b"k", 0)]
    assert model.run("GETDEL", "k") == NULL


@pytest.mark.parametrize(
    ("start", "end", "part"),
    [
        *[(0, 3, b"This"), (-3, -1, b"ing"), (0, -1, b"This is a string"), (10, 100, b"string")],
        *[(5, 3, b""), (-1, -5, b""), (0, -100, b"T"), (-100, -101, b""), (20, 30, b"")],
        *[(INT64_MIN, INT64_MAX, b"This is a string")],
    ],
)
def test_getrange(run: Run, start: int, end: int, part: bytes) -> None:
    run("SET", "k", "This is a string")
    assert run("GETRANGE", "k", start, end) == bulk(part)
    assert run("SUBSTR", "k", start, end) == bulk(part)


def test_setrange_pads_with_zero_bytes(run: Run) -> None:
    assert run("SETRANGE", "k", 5, "") == b":0\r\n"
    assert run("EXISTS", "k") == b":0\r\n"
    assert run("SETRANGE", "k", 2, "ab") == b":4\r\n"
    assert run("GET", "k") == bulk(b"\0\0ab")
    assert run("SETRANGE", "k", -1, "x") == b"-ERR offset is out of range\r\n"


def test_strings_that_would_be_too_long_are_refused(model: Model) -> None:
    run = model.run
    model.context.settings.proto_max_bulk_len = 10
    too_long = b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"
    assert run("SETRANGE", "k", 9, "ab") == too_long
    assert run("SETRANGE", "k", INT64_MAX, "ab") == too_long
    assert run("SETRANGE", "k", 8, "ab") == b":10\r\n"
    assert run("APPEND", "k", "") == b":10\r\n"
    assert run("APPEND", "k", "x") == too_long
    assert run("APPEND", "new", "x" * 11) == b":11\r\n"


def test_append_keeps_the_expiry(run: Run) -> None:
    assert run("APPEND", "k", "ab") == b":2\r\n"
    run("EXPIRE", "k", 10)
    assert run("APPEND", "k", "c") == b":3\r\n"
    assert run("TTL", "k") == b":10\r\n"
    assert run("STRLEN", "k") == b":3\r\n"


def test_counters_keep_the_expiry_and_notify_incrby(model: Model) -> None:
    run = model.run
    assert run("INCR", "k") == b":1\r\n"
    assert model.context.events == [(b"incrby", b"k", 0)]
    run("EXPIRE", "k", 10)
    assert run("INCRBY", "k", 41) == b":42\r\n"
    assert run("DECRBY", "k", 2) == b":40\r\n"
    assert run("DECR", "k") == b":39\r\n"
    assert run("TTL", "k") == b":10\r\n"


def test_counters_stop_at_the_limits(run: Run) -> None:
    overflow = b"-ERR increment or decrement would overflow\r\n"
    run("SET", "k", INT64_MAX)
    assert run("INCR", "k") == overflow
    run("SET", "k", INT64_MIN)
    assert run("DECR", "k") == overflow
    assert run("DECRBY", "k", INT64_MIN) == b"-ERR decrement would overflow\r\n"
    assert run("INCRBY", "k", INT64_MAX + 1) == NOT_INTEGER
    run("SET", "k", "01")
    assert run("INCR", "k") == NOT_INTEGER


def test_incrbyfloat_counts_in_long_double_and_logs_its_result(model: Model) -> None:
    run = model.run
    run("SET", "k", "1.05e1")
    assert run("INCRBYFLOAT", "k", "0.1") == bulk(b"10.6")
    assert model.context.propagated == [[b"SET", b"k", b"10.6", b"KEEPTTL"]]
    assert run("INCRBYFLOAT", "new", "12345678901234567.5") == bulk(b"12345678901234567.5")
    assert run("INCRBYFLOAT", "k", "inf") == b"-ERR increment would produce NaN or Infinity\r\n"
    assert run("INCRBYFLOAT", "k", "abc") == b"-ERR value is not a valid float\r\n"


def test_mget_shows_null_for_what_is_no_string(model: Model) -> None:
    model.put(b"l", b"list")
    model.run("SET", "a", "1")
    assert model.run("MGET", "a", "l", "missing") == b"*3\r\n$1\r\n1\r\n$-1\r\n$-1\r\n"


def test_msetnx_sets_all_or_nothing(run: Run) -> None:
    assert run("MSETNX", "a", 1, "b", 2) == b":1\r\n"
    assert run("MSETNX", "b", 3, "c", 4) == b":0\r\n"
    assert run("EXISTS", "c") == b":0\r\n"
    assert run("MSETNX", "d", 1, "d", 2) == b":1\r\n"
    assert run("GET", "d") == bulk(b"2")


@pytest.mark.parametrize("name", ["MSET", "MSETNX"])
def test_a_key_without_a_value_is_an_arity_error(run: Run, name: str) -> None:
    error = b"-ERR wrong number of arguments for '%s' command\r\n" % name.lower().encode()
    assert run(name, "a", 1, "b") == error


def test_lcs(run: Run) -> None:
    run("MSET", "a", "ohmytext", "b", "mynewtext")
    assert run("LCS", "a", "b") == bulk(b"mytext")
    assert run("LCS", "a", "b", "LEN") == b":6\r\n"
    assert run("LCS", "a", "missing") == bulk(b"")
    assert run("LCS", "a", "b", "IDX", "MINMATCHLEN", 4, "WITHMATCHLEN") == (
        b"*4\r\n$7\r\nmatches\r\n*1\r\n*3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n$3\r\nlen\r\n:6\r\n"
    )


def test_lcs_in_resp3_is_a_map() -> None:
    assert (
        Model(3).run("LCS", "a", "b", "IDX") == b"%2\r\n$7\r\nmatches\r\n*0\r\n$3\r\nlen\r\n:0\r\n"
    )


def test_lcs_refuses_types_before_options(model: Model) -> None:
    model.put(b"l", b"list")
    error = b"-ERR The specified keys must contain string values\r\n"
    assert model.run("LCS", "a", "l", "BOGUS") == error
    both = b"-ERR If you want both the length and indexes, please just use IDX.\r\n"
    assert model.run("LCS", "a", "b", "LEN", "IDX") == both


def test_lcs_is_limited_by_the_memory_that_redis_would_need(model: Model) -> None:
    model.context.settings.proto_max_bulk_len = 35
    model.run("MSET", "a", "ab", "b", "ab")
    assert model.run("LCS", "a", "b") == (
        b"-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len\r\n"
    )
