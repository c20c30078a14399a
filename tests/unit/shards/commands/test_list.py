"""The list family, as a client sees it. What Redis answers is compared in tests/differential."""

from __future__ import annotations

import pytest

from tests.support.handlers import START_MS, Handlers

OK, ZERO, NULL, NULL_ARRAY, EMPTY = b"+OK\r\n", b":0\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n"
SYNTAX = b"-ERR syntax error\r\n"
NOT_INTEGER = b"-ERR value is not an integer or out of range\r\n"
NOT_POSITIVE = b"-ERR value is out of range, must be positive\r\n"
WRONG_TYPE = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"


@pytest.fixture
def shard() -> Handlers:
    return Handlers()


def bulks(*values: str) -> bytes:
    return b"*%d\r\n" % len(values) + b"".join(map(bulk, values))


def bulk(value: str) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value.encode())


def everything(shard: Handlers, key: str = "l") -> bytes:
    return shard.run("LRANGE", key, 0, -1)


def test_each_side_is_pushed_one_element_after_the_other(shard: Handlers) -> None:
    assert shard.run("RPUSH", "l", "a", "b") == b":2\r\n"
    assert shard.run("LPUSH", "l", "c", "d") == b":4\r\n"
    assert (shard.events, shard.changes) == ([(b"lpush", b"l")], 4)
    assert everything(shard) == bulks("d", "c", "a", "b")


def test_pushx_wants_a_list(shard: Handlers) -> None:
    assert shard.run("LPUSHX", "l", "a") == shard.run("RPUSHX", "l", "a") == ZERO
    assert (shard.events, shard.changes) == ([], 0)
    shard.run("RPUSH", "l", "a")
    assert shard.run("RPUSHX", "l", "b", "c") == b":3\r\n"
    assert shard.events == [(b"rpush", b"l")]


def test_the_key_goes_with_its_last_element(shard: Handlers) -> None:
    shard.run("RPUSH", "l", "a", "b", "c")
    assert shard.run("LPOP", "l") == bulk("a")
    assert shard.events == [(b"lpop", b"l")]
    assert shard.run("RPOP", "l", 5) == bulks("c", "b")
    assert shard.events == [(b"rpop", b"l"), (b"del", b"l")]
    assert shard.changes == 6
    assert shard.run("EXISTS", "l") == ZERO


@pytest.mark.parametrize(
    ("resp", "nothing", "no_array"), [(2, NULL, NULL_ARRAY), (3, b"_\r\n", b"_\r\n")]
)
def test_popping_nothing(resp: int, nothing: bytes, no_array: bytes) -> None:
    shard = Handlers(resp)
    assert shard.run("LPOP", "l") == nothing
    assert shard.run("LPOP", "l", 0) == shard.run("RPOP", "l", 2) == no_array
    assert shard.run("LMPOP", 2, "l", "m", "LEFT") == no_array
    assert shard.run("BLPOP", "l", "m", 0) == shard.run("BLMPOP", 0, 1, "l", "LEFT") == no_array
    assert shard.run("BLMOVE", "l", "m", "LEFT", "LEFT", 0) == nothing
    shard.run("RPUSH", "l", "a")
    assert shard.run("LPOP", "l", 0) == EMPTY
    assert shard.events == []


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (("LPOP", "l", -1), NOT_POSITIVE),
        (("LPOP", "l", "x"), NOT_POSITIVE),
        (("RPOP", "l", 1, 2), b"-ERR wrong number of arguments for 'rpop' command\r\n"),
        (("LINDEX", "l", "x"), NOT_INTEGER),
        (("LRANGE", "none", "x", 1), NOT_INTEGER),
        (("LTRIM", "none", 0, "x"), NOT_INTEGER),
        (("LSET", "l", "x", "v"), NOT_INTEGER),
        (("LSET", "l", 1, "v"), b"-ERR index out of range\r\n"),
        (("LSET", "none", 0, "v"), b"-ERR no such key\r\n"),
        (("LINSERT", "l", "AT", "a", "v"), SYNTAX),
        (("LREM", "none", "x", "v"), NOT_INTEGER),
        (("LPOS", "none", "v", "RANK", 0),
         b"-ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
         b"or use negative to start from the end of the list\r\n"),
        (("LPOS", "none", "v", "RANK", -(1 << 63)),
         b"-ERR value is out of range, value must between -9223372036854775807 and "
         b"9223372036854775807\r\n"),
        (("LPOS", "none", "v", "COUNT", -1), b"-ERR COUNT can't be negative\r\n"),
        (("LPOS", "none", "v", "MAXLEN", "x"), b"-ERR MAXLEN can't be negative\r\n"),
        (("LPOS", "none", "v", "MAXLEN"), SYNTAX),
        (("LMOVE", "l", "m", "UP", "LEFT"), SYNTAX),
        (("LMPOP", 0, "l", "LEFT"), b"-ERR numkeys should be greater than 0\r\n"),
        (("LMPOP", "x", "l", "LEFT"), b"-ERR numkeys should be greater than 0\r\n"),
        (("LMPOP", 2, "l", "LEFT"), SYNTAX),
        (("LMPOP", (1 << 63) - 1, "l", "LEFT"), SYNTAX),
        (("LMPOP", 1, "l", "LEFT", "COUNT", 0), b"-ERR count should be greater than 0\r\n"),
        (("LMPOP", 1, "l", "LEFT", "COUNT", 1, "COUNT", 1), SYNTAX),
        (("BLPOP", "l", "x"), b"-ERR timeout is not a float or out of range\r\n"),
        (("BRPOP", "l", "-0.1"), b"-ERR timeout is negative\r\n"),
        (("BLMPOP", "inf", 1, "l", "LEFT"), b"-ERR timeout is out of range\r\n"),
        (("BRPOPLPUSH", "l", "m", "9223372036854775"), b"-ERR timeout is out of range\r\n"),
        (("BLMOVE", "l", "m", "LEFT", "LEFT", "1e5000"),
         b"-ERR timeout is not a float or out of range\r\n"),
    ],
)  # fmt: skip
def test_mistakes(shard: Handlers, call: tuple[str | int, ...], error: bytes) -> None:
    shard.run("RPUSH", "l", "a")
    assert shard.run(*call) == error
    assert everything(shard) == bulks("a")


@pytest.mark.parametrize(
    "call",
    [
        *("LPUSH s v", "RPUSHX s v", "LPOP s", "RPOP s 0", "LLEN s", "LRANGE s 0 1", "LINDEX s x"),
        *("LSET s x v", "LINSERT s BEFORE a v", "LREM s 0 v", "LTRIM s 0 1", "LPOS s v"),
        *("LMOVE s l LEFT LEFT", "LMOVE l s LEFT LEFT", "RPOPLPUSH l s", "LMPOP 2 none s LEFT"),
        *("BLPOP none s 1", "BRPOP s 1", "BLMOVE s l LEFT LEFT 1", "BRPOPLPUSH l s 1"),
        "BLMPOP 1 2 none s RIGHT",
    ],
)
def test_other_types_are_refused(shard: Handlers, call: str) -> None:
    shard.run("RPUSH", "l", "a")
    shard.run("SET", "s", "v")
    assert shard.run(*call.split()) == WRONG_TYPE
    assert everything(shard) == bulks("a")


def test_a_missing_key_hides_a_bad_index(shard: Handlers) -> None:
    assert shard.run("LINDEX", "none", "x") == NULL
    assert shard.run("LSET", "none", "x", "v") == b"-ERR no such key\r\n"


def test_positions_count_from_the_front_whatever_the_direction(shard: Handlers) -> None:
    shard.run("RPUSH", "l", *"abcabca")
    assert shard.run("LPOS", "l", "a") == ZERO
    assert shard.run("LPOS", "l", "a", "RANK", -1) == b":6\r\n"
    assert shard.run("LPOS", "l", "a", "RANK", 2, "COUNT", 0) == b"*2\r\n:3\r\n:6\r\n"
    assert shard.run("LPOS", "l", "a", "RANK", -2, "COUNT", 1) == b"*1\r\n:3\r\n"
    assert shard.run("LPOS", "l", "b", "MAXLEN", 1) == NULL
    assert shard.run("LPOS", "none", "b", "COUNT", 1) == EMPTY


def test_changes_inside(shard: Handlers) -> None:
    shard.run("RPUSH", "l", *"abab")
    assert shard.run("LINSERT", "l", "after", "b", "x") == b":5\r\n"
    assert shard.events == [(b"linsert", b"l")]
    assert shard.run("LINSERT", "l", "before", "none", "x") == b":-1\r\n"
    assert shard.run("LSET", "l", -1, "y") == OK
    assert shard.events == [(b"lset", b"l")]
    assert everything(shard) == bulks("a", "b", "x", "a", "y")
    assert shard.run("LREM", "l", -1, "a") == b":1\r\n"
    assert shard.events == [(b"lrem", b"l")]
    assert everything(shard) == bulks("a", "b", "x", "y")
    assert shard.run("LREM", "l", 0, "none") == ZERO
    assert shard.events == []
    before = shard.changes
    assert shard.run("LTRIM", "l", 1, 2) == OK
    assert (shard.events, shard.changes - before) == ([(b"ltrim", b"l")], 2)
    assert shard.run("LTRIM", "l", 0, -1) == OK
    assert (shard.events, shard.changes - before) == ([(b"ltrim", b"l")], 2)
    assert shard.run("LTRIM", "l", 1, 0) == OK
    assert shard.events == [(b"ltrim", b"l"), (b"del", b"l")]


def test_a_move_counts_once(shard: Handlers) -> None:
    shard.run("RPUSH", "l", "a")
    assert shard.run("LMOVE", "l", "m", "LEFT", "RIGHT") == bulk("a")
    assert shard.events == [(b"rpush", b"m"), (b"lpop", b"l"), (b"del", b"l")]
    assert (shard.changes, shard.propagated) == (2, [])


def test_a_list_of_one_turns_round_in_place(shard: Handlers) -> None:
    shard.run("RPUSH", "l", "a")
    shard.run("PEXPIREAT", "l", START_MS + 1000)
    assert shard.run("RPOPLPUSH", "l", "l") == bulk("a")
    assert shard.events == [(b"lpush", b"l"), (b"rpop", b"l")]
    assert shard.run("PEXPIRETIME", "l") == b":%d\r\n" % (START_MS + 1000)


@pytest.mark.parametrize(
    ("call", "logged"),
    [
        ("LMPOP 2 none l RIGHT COUNT 9", "RPOP l 3"),
        ("BLMPOP 0 1 l LEFT COUNT 2", "LPOP l 2"),
        ("BLPOP none l 0", "LPOP l"),
        ("BRPOP l 0", "RPOP l"),
        ("BLMOVE l m LEFT RIGHT 0", "LMOVE l m LEFT RIGHT"),
        ("BRPOPLPUSH l m 0", "RPOPLPUSH l m"),
    ],
)
def test_what_could_block_is_logged_as_what_it_did(shard: Handlers, call: str, logged: str) -> None:
    shard.run("RPUSH", "l", *"abc")
    shard.run(*call.split())
    assert shard.propagated == [logged.encode().split()]


def test_the_reply_of_several_lists_names_the_key(shard: Handlers) -> None:
    shard.run("RPUSH", "l", *"abc")
    assert shard.run("BRPOP", "none", "l", 0) == bulks("l", "c")
    assert shard.run("LMPOP", 2, "none", "l", "left", "count", 2) == (
        b"*2\r\n" + bulk("l") + bulks("a", "b")
    )


def test_debug_shows_the_nodes(shard: Handlers) -> None:
    shard.keyspace.set_limits({"list-max-listpack-size": 2, "list-compress-depth": 1})
    shard.run("RPUSH", "l", *"abc")
    line = shard.run("DEBUG", "OBJECT", "l")
    assert line.endswith(
        b" ql_nodes:2 ql_avg_node:1.50 ql_listpack_max:2 ql_compressed:1"
        b" ql_uncompressed_size:23\r\n"
    )
    assert shard.run("DEBUG", "QUICKLIST", "l", 1) == b"+Quicklist structure printed on stdout\r\n"
    assert shard.run("DEBUG", "LISTPACK", "l") == b"-ERR Not a listpack encoded object.\r\n"
    assert shard.run("DEBUG", "QUICKLIST", "none") == b"-ERR no such key\r\n"


def test_large_elements_stand_alone_from_the_threshold_on(shard: Handlers) -> None:
    assert shard.run("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "10b") == OK
    shard.keyspace.set_limits({"list-max-listpack-size": 2})
    shard.run("RPUSH", "l", "a", "b", "long element", "c")
    assert b" ql_nodes:3 " in shard.run("DEBUG", "OBJECT", "l")
    for wrong in ("-1", "x", "4gb", "1tb"):
        assert shard.run("DEBUG", "QUICKLIST-PACKED-THRESHOLD", wrong) == (
            b"-ERR argument must be a memory value bigger than 1 and smaller than 4gb\r\n"
        )
