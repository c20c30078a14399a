"""What commands cost at most: small ones on large collections, and those that ask for too much.

Goal: no O(1) or O(log n) command takes a shard more than a millisecond, whatever resizes or is
converted meanwhile; and none can keep it busy for seconds, or take all memory, by a number in it.
Method: the lives of tests/support/longest.py; and a table of commands with huge numbers.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.envelopes import read_replies
from tests.support.longest import LIVES, Driver, measure, message

LANES = ["native", "python"]
COMMAND_SECONDS_MAX = 5.0  # half a gigabyte of reply takes two on a slow machine
MEMORY_BYTES_MAX = 3 << 30
INT64_MAX = 2**63 - 1

pytestmark = pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""), reason="sanitizers take their own time and memory"
)


@pytest.mark.parametrize("lane", LANES)
def test_no_small_command_stalls_a_collection(lane: str) -> None:
    """Up to sizes beyond each conversion, and beyond many a resize."""
    assert measure(list(LIVES), lane, 5_000) == []


@pytest.mark.slow
@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("name", LIVES)
def test_no_small_command_stalls_a_collection_of_a_million(name: str, lane: str) -> None:
    assert measure([name], lane, 1_000_000) == []


HUGE = [
    *("HRANDFIELD hash -2147483648", f"HRANDFIELD hash -{INT64_MAX}"),
    *("HRANDFIELD big -2097152", "HRANDFIELD hash -2097152 WITHVALUES"),
    *(f"HRANDFIELD hash {INT64_MAX}", "HRANDFIELD long -2097152", "HRANDFIELD long -1000"),
    *("SRANDMEMBER set -2147483648", f"SRANDMEMBER set -{INT64_MAX}", "SRANDMEMBER set -2097152"),
    *("SRANDMEMBER small -2097152", f"SRANDMEMBER set {INT64_MAX}"),
    *("SRANDMEMBER longset -2097152", "SRANDMEMBER longset -1000", f"SPOP none {INT64_MAX}"),
    *("ZRANDMEMBER zset -2147483648", f"ZRANDMEMBER zset -{INT64_MAX // 2} WITHSCORES"),
    *("ZRANDMEMBER zset -2097152 WITHSCORES", f"ZRANDMEMBER zset {INT64_MAX}"),
    *("LRANGE list 0 -1", f"LRANGE list -{INT64_MAX} {INT64_MAX}", f"LINDEX list -{INT64_MAX}"),
    *(f"LPOS list none COUNT 0 MAXLEN {INT64_MAX}", f"LPOS list 1 RANK -{INT64_MAX} COUNT 0"),
    *(f"LREM list -{INT64_MAX} none", f"LTRIM list 0 {INT64_MAX}", f"LPOP none {INT64_MAX}"),
    *("LSET list 2147483648 x", f"LMPOP 1 list LEFT COUNT {INT64_MAX}"),
    *("SETRANGE string 536870911 x", "SETRANGE string 536870912 x", f"SETRANGE s {INT64_MAX} x"),
    *("SETBIT bits 4294967295 1", "SETBIT bits 4294967296 1", "GETBIT bits 4294967295"),
    *("APPEND string x", "GETRANGE string 0 9", f"GETRANGE string -{INT64_MAX} 9", "STRLEN string"),
    *("BITFIELD grown SET u8 4294967288 1", "BITFIELD bits GET i64 4294967232"),
    *(f"BITFIELD bits SET u8 #{INT64_MAX} 1", "BITPOS bits 0 0 -1 BIT", "BITCOUNT bits 0 -1"),
    *("SETRANGE grown 536870900 xxxxxxxxxx", "LCS string bits", "BITOP NOT target string"),
    *(f"SCAN 0 COUNT {INT64_MAX}", f"SSCAN set 0 COUNT {INT64_MAX}", f"HSCAN big {INT64_MAX}"),
    *(f"ZSCAN zset 0 COUNT {INT64_MAX}", f"ZRANGE zset 0 -1 BYSCORE LIMIT {INT64_MAX} -1"),
    *(f"ZRANGE zset 0 {INT64_MAX}", f"ZRANGE zset -inf +inf BYSCORE LIMIT 0 {INT64_MAX}"),
    *(f"ZPOPMIN none {INT64_MAX}", f"ZMPOP 1 none MIN COUNT {INT64_MAX}"),
    *(f"ZINTERCARD 1 zset LIMIT {INT64_MAX}", f"SINTERCARD 1 set LIMIT {INT64_MAX}"),
    *(f"XRANGE stream - + COUNT {INT64_MAX}", f"XREAD COUNT {INT64_MAX} STREAMS stream 0"),
    *(f"XAUTOCLAIM stream group c 0 0 COUNT {INT64_MAX // 16}", f"XTRIM stream MAXLEN {INT64_MAX}"),
    *(f"XPENDING stream group - + {INT64_MAX}", "XSETID stream 18446744073709551615-0"),
    *(f"SORT list LIMIT 0 {INT64_MAX}", f"SORT list LIMIT -{INT64_MAX} {INT64_MAX} BY none"),
    *(f"GEOSEARCH zset FROMLONLAT 0 0 BYRADIUS 1e308 m COUNT {INT64_MAX}", "PFADD log x"),
    *("OBJECT ENCODING string", f"MEMORY USAGE big SAMPLES {INT64_MAX}", "COPY string copied"),
    *("DEL string", "UNLINK bits", "DEL grown target copied"),
]


@pytest.fixture(params=["native", pytest.param("python", marks=pytest.mark.slow)])
def shard(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """A shard with collections of all kinds, and a ceiling on what it may allocate."""
    driver = Driver(request.param == "native")
    numbers = range(20_000)
    for words in (
        ["HSET", "hash", "f", "v"],
        ["HSET", "big", *(word for n in numbers for word in (f"field:{n}", n))],
        ["HSET", "long", "f", "x" * (1 << 20)],
        ["SADD", "small", "m", "n"],
        ["SADD", "set", *(f"member:{n}" for n in numbers)],
        ["SADD", "longset", "x" * (1 << 20), "y"],
        ["ZADD", "zset", *(word for n in numbers for word in (n, f"member:{n}"))],
        ["RPUSH", "list", *numbers],
        ["SET", "grown", "x" * 100_000],
        ["XADD", "stream", "1-1", "field", "value"],
        ["XGROUP", "CREATE", "stream", "group", "0"],
        ["XREADGROUP", "GROUP", "group", "c", "STREAMS", "stream", ">"],
    ):
        driver.execute(message(*words))
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES_MAX, before[1]))
    yield driver
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_no_number_in_a_command_stalls_or_kills_a_shard(shard: Driver) -> None:
    """Errors are answers; running out of memory would end the process."""
    slow = []
    for text in HUGE:
        spent, reply = shard.execute(message(*text.split()), refused=True)
        if spent > COMMAND_SECONDS_MAX * 1e9:
            slow.append((text, spent / 1e9))
        assert b"internal error" not in reply, text
    assert slow == []


def test_draws_that_are_too_many_or_too_large_are_refused(shard: Driver) -> None:
    for text, error in {
        "HRANDFIELD hash -67108865": b"-ERR value is out of range, value must between -67108864",
        "SRANDMEMBER set -67108865": b"-ERR value is out of range, value must between -67108864",
        "ZRANDMEMBER zset -67108865": b"-ERR value is out of range, value must between -67108864",
        "HRANDFIELD long -1000 WITHVALUES": b"-ERR the elements drawn have more than 536870912",
        "SRANDMEMBER longset -2000": b"-ERR the elements drawn have more than 536870912",
    }.items():
        (part,) = read_replies(shard.execute(message(*text.split()), refused=True)[1])[1]
        assert part.data.startswith(error), text
