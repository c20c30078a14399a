"""What a native handler does is what its Python handler does: replies, data, changes and counts."""

from __future__ import annotations

from random import Random

import pytest

from tests.unit.shards.execution.test_executor import Shard

COMMANDS = 6_000
KEYS = ["a", "b", "c", "d", "e"]
NUMBERS = [*map(str, range(-4, 8)), "x", "", "100", "01", "9223372036854775807"]
TEXTS = [
    "",
    "1",
    "2",
    "-7",
    "007",
    "x",
    "x\0y",
    "x\0a",
    "y",
    "10",
    "3",
    "12345678901234567",
    "z" * 90,
]
SCORES = ["0", "1", "1.5", "-2", "inf", "-inf", "(1", "(1.5", "nan", ""]
ENDS = ["[x", "(x", "[1", "(10", "-", "+", "[", "", "x"]
IDS = ["$", "1-1", "3", "5-2", "0", "-", "+", "(3-1", "4-", "x", "18446744073709551615"]
TIMEOUTS = ["0", "1", "0.5", "1.", ".5", "-1", "x", "1e2", "", "123456789", "1234567890", "1.2.3"]
SIDES = ["LEFT", "right", "x"]
GROUPS = ["g", "h", "", "i" * 30]

# Words that are drawn: k key, n number, t text, s score, l end by bytes, i id, w timeout, e side,
# m MIN or MAX, g group. The others are written as they are.
FAMILIES = {
    "lists": """
        RPUSH k t t t t ; LPUSH k t t ; RPUSH k t ; RPUSH k 3 1 2 10 -5 ; SADD k t t ; DEL k
        LMOVE k k e e ; RPOPLPUSH k k ; BLMOVE k k e e w ; BRPOPLPUSH k k w
        LMPOP 1 k e ; LMPOP 2 k k e ; LMPOP n k k e COUNT n ; LMPOP 2 k k e COUNT n t
        BLMPOP w 1 k e ; BLMPOP w 2 k k e COUNT n ; BLPOP k w ; BRPOP k k k w
        LSET k n t ; LRANGE k 0 -1 ; LINDEX k n ; LPOP k ; RPOP k n ; LLEN k
        SORT k ; SORT k ALPHA ; SORT k DESC LIMIT n n ; SORT_RO k ALPHA LIMIT n n ASC
        SORT k LIMIT n ; SORT k ALPHA DESC ; SORT k BY nosort ; SORT_RO k ALPHA STORE a
    """,
    "zsets": """
        ZADD k s t ; ZADD k 0 x 0 y 0 1 0 10 0 z ; ZADD k 1 t 2 t 3 t ; SADD k t t ; DEL k
        ZPOPMIN k ; ZPOPMAX k n ; ZMPOP 1 k m ; ZMPOP 2 k k m COUNT n ; ZMPOP n k k m
        BZMPOP w 1 k m ; BZMPOP w 2 k k m COUNT n ; BZPOPMIN k w ; BZPOPMAX k k w
        ZRANGEBYLEX k l l ; ZRANGEBYLEX k l l LIMIT n n ; ZREVRANGEBYLEX k l l LIMIT n n
        ZREVRANGEBYLEX k l l ; ZRANGEBYLEX k l l WITHSCORES ; ZRANGE k l l BYLEX REV LIMIT n n
        ZRANGE k l l BYLEX ; ZRANGE k l l BYLEX WITHSCORES ; ZRANGE k l l BYLEX BYSCORE
        ZCOUNT k s s ; ZLEXCOUNT k l l ; ZRANGEBYSCORE k s s LIMIT n n ; ZRANGE k 0 -1 WITHSCORES
        ZINTERCARD 1 k ; ZINTERCARD 2 k k ; ZINTERCARD 3 k k k LIMIT n ; ZINTERCARD n k k LIMIT n
        ZRANDMEMBER k 1000 ; ZRANDMEMBER k 1000 WITHSCORES ; ZRANDMEMBER k 0 ; ZRANDMEMBER k x
        ZRANDMEMBER k 5 t ; ZRANDMEMBER k 9223372036854775807 WITHSCORES
    """,
    "streams": """
        XADD k i f v ; XADD k * f v ; XADD k 5-* f v ; SADD k t ; DEL k ; XDEL k i ; XLEN k
        XGROUP CREATE k g i ; XGROUP CREATE k g i MKSTREAM ; XGROUP CREATE k g i ENTRIESREAD n
        XGROUP SETID k g i ; XGROUP SETID k g i ENTRIESREAD n ; XGROUP DESTROY k g
        XGROUP CREATECONSUMER k g g ; XGROUP DELCONSUMER k g g ; XSETID k i ; XSETID k i x
        XSETID k i ENTRIESADDED n ; XPENDING k g ; XPENDING k g i i n ; XPENDING k g i i n g
        XPENDING k g IDLE n i i n ; XPENDING k g i ; XINFO GROUPS k ; XINFO CONSUMERS k g
        XINFO STREAM k ; XREADGROUP GROUP g g COUNT 2 STREAMS k > ; XACK k g i i
        XREADGROUP GROUP g g STREAMS k 0 ; XINFO STREAM k FULL ; XCLAIM k g g 0 i i
    """,
    "strings": """
        MSETNX k t ; MSETNX k t k t k t ; MSETNX k t k ; SET k t ; SET k t PX 100 ; DEL k ; DEL k k
        COPY k k ; COPY k k REPLACE ; COPY k k DB 1 ; COPY k k REPLACE x ; COPY k k t
        RPUSH k t ; ZADD k 1 t ; GET k ; TYPE k ; EXISTS k k ; STRLEN k
    """,
}
POOLS = {
    **{"k": KEYS, "n": NUMBERS, "t": TEXTS, "s": SCORES, "l": ENDS, "i": IDS, "w": TIMEOUTS},
    **{"e": SIDES, "m": ["MIN", "max", "x"], "g": GROUPS},
}


def counts(lane: Shard) -> tuple[int, int, int]:
    return lane.keyspace.changes, lane.keyspace.hits, lane.keyspace.misses


@pytest.mark.parametrize("small", [False, True], ids=["limits", "small"])
@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_both_lanes_do_the_same(family: str, resp: int, small: bool) -> None:
    random = Random(f"{family} {resp} {small}")
    lanes = [Shard(native_lane=lane) for lane in (True, False)]
    if small:
        for lane in lanes:
            lane.keyspace.set_limits(
                {
                    "list-max-listpack-size": 3,
                    "zset-max-listpack-entries": 3,
                    "stream-node-max-entries": 2,
                }
            )
    templates = [
        words.split() for line in FAMILIES[family].splitlines() for words in line.split(" ; ")
    ]
    templates = [template for template in templates if template]
    for number in range(COMMANDS):
        command = [
            random.choice(POOLS[word]) if word in POOLS else word
            for word in random.choice(templates)
        ]
        replies = [lane.call(*command, resp=resp) for lane in lanes]
        assert replies[0] == replies[1], (number, command)
        native, python = (counts(lane) for lane in lanes)
        if not command[0].startswith("SORT"):  # Python's looks at its key twice
            assert native == python, (number, command)
        for lane in lanes:
            lane.keyspace.reset_statistics()
        if number % 100 == 0:
            passed = random.choice([0, 1, 60])
            for lane in lanes:
                lane.now_ms += passed
                lane.keyspace.check()
