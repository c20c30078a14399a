"""Blocking commands of several clients, step by step, against redis-server: who is woken by what.

Redis 7.2 runs a woken client's command again; earlier ones served it otherwise, and in other
orders. The oracle has to be a 7.2 for that (SHARDIS_ORACLE).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import pytest

from tests.differential.conftest import is_72
from tests.support.servers import Configuration, Oracle, ServerPool
from tests.support.waiting import Story, tell

CLIENTS = 5
STEPS = 14
STORIES = 60
KEYS = {"one shard": ("{k}1", "{k}2", "{k}3"), "several": ("k1", "k2", "k3")}


def story_of(*lines: str) -> list[tuple[int, list[object]]]:
    """Steps, written as `0 RPUSH k a`."""
    return [(int(line[0]), [*line.split()[1:]]) for line in lines]


STORIES_OF_OLD: dict[str, list[tuple[int, list[object]]]] = {
    "first come first served": story_of(
        "0 BLPOP l 0", "1 BLPOP l 0", "2 BRPOP l 0", "3 RPUSH l a b", "3 RPUSH l c"
    ),
    "one push of several serves several": story_of(
        "0 BLPOP l 0", "1 BLPOP l 0", "2 BLPOP l 0", "3 RPUSH l a b c d", "3 LRANGE l 0 -1"
    ),
    "the keys' order is the command's": story_of(
        "0 BLPOP a b 0", "3 RPUSH b 1", "0 BLPOP a b 0", "3 RPUSH a 2", "0 BLPOP a a 0",
        "3 RPUSH a 3",
    ),
    "a chain of moves": story_of(
        "0 BLMOVE b c LEFT RIGHT 0", "1 BLMOVE a b LEFT RIGHT 0", "2 BLPOP c 0", "3 RPUSH a x",
        "3 KEYS *",
    ),
    "a move to the wrong type": story_of(
        "0 BRPOPLPUSH a b 0", "3 SET b x", "3 RPUSH a 1", "3 LRANGE a 0 -1"
    ),
    "a move to itself": story_of("0 BLMOVE a a LEFT RIGHT 0", "3 RPUSH a 1 2", "3 LRANGE a 0 -1"),
    "two moves in a circle": story_of(
        "0 BLMOVE a b LEFT RIGHT 0", "1 BLMOVE b a LEFT RIGHT 0", "3 RPUSH a x", "3 LRANGE a 0 -1",
        "3 LRANGE b 0 -1",
    ),
    "another type stays unseen": story_of(
        "0 BLPOP k 0", "1 BZPOPMIN k 0", "3 SET k x", "3 DEL k", "3 ZADD k 1 m", "3 RPUSH k e",
        "3 DEL k", "3 RPUSH k e",
    ),
    "mixed types in one queue": story_of(
        "0 BLPOP k 0", "1 BZPOPMAX k 0", "2 BLMPOP 0 1 k LEFT COUNT 2", "3 ZADD k 1 a 2 b",
        "3 DEL k", "3 RPUSH k 1 2 3 4",
    ),
    "many ways to make a key": story_of(
        "0 BLPOP k 0", "3 RPUSH o 1", "3 RENAME o k", "0 BLPOP k 0", "3 RPUSH o 2", "3 COPY o k",
        "0 BLPOP k 0", "3 SORT o BY nosort STORE k", "0 BLPOP k 0", "3 LMOVE o k LEFT LEFT",
        "0 BLPOP k 0", "3 LPUSHX k 1", "3 LPUSH k 1",
    ),
    "a sorted set from a store": story_of(
        "0 BZPOPMIN k 0", "1 BZMPOP 0 2 j k MAX COUNT 9", "3 ZADD o 1 a 2 b 3 c",
        "3 ZUNIONSTORE k 1 o", "3 ZRANGESTORE j o 0 -1", "3 GEOADD g 1 1 p", "0 BZPOPMIN k 0",
        "3 GEOSEARCHSTORE k g FROMMEMBER p BYRADIUS 1 m",
    ),
    "what is overwritten wakes nobody": story_of(
        "3 SET k x", "0 BLPOP j 0", "3 RPUSH o 1 2", "3 SORT o STORE k", "3 SET j x",
        "3 SORT o STORE j", "3 EXISTS j",
    ),
    "nobody comes for what is gone": story_of(
        "0 BLPOP k 0", "0 CLOSE", "3 RPUSH k 1", "3 LLEN k", "0 BLPOP j 0", "0 END",
        "3 RPUSH j 1", "3 LLEN j",
    ),
    "timeouts": story_of(
        "0 BLPOP k 0.2", "0 NAP 400", "1 BLMOVE k j LEFT LEFT 0.2", "1 NAP 400", "2 BZPOPMIN k 0.2",
        "2 NAP 400", "4 XREAD BLOCK 200 STREAMS s $", "4 NAP 400", "3 RPUSH k x", "3 LLEN k",
    ),
    "wrong timeouts": story_of(
        "0 BLPOP k -1", "0 BLPOP k x", "0 BLPOP k 1e400", "0 BLPOP k 9223372036854775807",
        "0 BLPOP k nan", "0 BLMOVE a b LEFT LEFT -0.1", "0 BZMPOP -1 1 k MIN",
        "0 BLMPOP x 1 k LEFT",
        "0 XREAD BLOCK -1 STREAMS s $", "0 XREAD BLOCK x STREAMS s $",
        "0 XREAD BLOCK 1.5 STREAMS s $",
        "0 XREAD BLOCK 9223372036854775807 STREAMS s $", "0 BRPOPLPUSH a b inf", "0 BLPOP k 0x1",
        "0 NAP 1100",
    ),
    "wrong types at once": story_of(
        "3 SET k x", "0 BLPOP k 0", "0 BLPOP j k 0", "0 BZPOPMIN k 0", "0 BLMOVE k j LEFT LEFT 0",
        "0 XREAD BLOCK 0 STREAMS k $", "0 BLMPOP 0 2 j k LEFT",
    ),
    "unblocked by name": story_of(
        "0 BLPOP k 0", "3 CLIENT UNBLOCK {0}", "0 BLMOVE k j LEFT LEFT 0",
        "3 CLIENT UNBLOCK {0} TIMEOUT", "0 XREAD BLOCK 0 STREAMS s $", "3 CLIENT UNBLOCK {0} error",
        "3 CLIENT UNBLOCK {0}", "3 CLIENT UNBLOCK 99999999", "3 CLIENT UNBLOCK x",
        "3 CLIENT UNBLOCK {0} what", "3 RPUSH k 1", "3 LLEN k",
    ),
    "killed": story_of("0 BLPOP k 0", "3 CLIENT KILL ID {0}", "3 RPUSH k 1", "3 LLEN k"),
    "new entries": story_of(
        "0 XREAD BLOCK 0 STREAMS s $", "1 XREAD COUNT 1 BLOCK 0 STREAMS t s 0 5-0",
        "3 XADD s 1-1 a 1",
        "3 XADD s 6-0 b 2", "0 XREAD BLOCK 0 STREAMS s $", "3 XADD s 7-0 c 3", "3 DEL s",
        "0 XREAD BLOCK 0 STREAMS s $", "3 XADD s 1-0 c 3",
    ),
    "a group": story_of(
        "3 XGROUP CREATE s g $ MKSTREAM", "0 XREADGROUP GROUP g a BLOCK 0 STREAMS s >",
        "1 XREADGROUP GROUP g b BLOCK 0 STREAMS s >", "2 XREADGROUP GROUP g c BLOCK 0 STREAMS s >",
        "3 XADD s 1-0 a 1", "3 XADD s 2-0 a 1", "0 XREADGROUP GROUP g a BLOCK 0 STREAMS s 0",
        "0 XREADGROUP GROUP g a BLOCK 0 STREAMS s >", "3 XGROUP DESTROY s g",
    ),
    "a group whose key goes": story_of(
        "3 XGROUP CREATE s g $ MKSTREAM", "0 XREADGROUP GROUP g a BLOCK 0 STREAMS s >", "3 DEL s",
        "3 XGROUP CREATE s g $ MKSTREAM", "0 XREADGROUP GROUP g a BLOCK 0 STREAMS s >", "3 SET s x",
        "3 DEL s", "3 XGROUP CREATE s g $ MKSTREAM", "0 XREADGROUP GROUP g a BLOCK 0 STREAMS s >",
        "3 RENAME s r", "3 XGROUP CREATE s g $ MKSTREAM",
        "0 XREADGROUP GROUP g a BLOCK 0 STREAMS s >",
        "3 FLUSHALL", "3 XGROUP CREATE s g $ MKSTREAM",
        "0 XREADGROUP GROUP g a BLOCK 0 STREAMS s >",
        "3 PEXPIRE s 20", "3 NAP 400",
    ),
    "databases": story_of(
        "0 SELECT 1", "0 BLPOP k 0", "1 BLPOP k 0", "3 RPUSH k 1", "3 MOVE k 1", "3 RPUSH k 2",
        "3 MOVE k 1", "1 BLPOP j 0", "3 SELECT 2", "3 RPUSH j 5", "3 SWAPDB 0 2", "3 LLEN j",
    ),
    "databases of groups": story_of(
        "3 XGROUP CREATE s g $ MKSTREAM", "0 XREADGROUP GROUP g a BLOCK 0 STREAMS s >",
        "3 SWAPDB 0 1", "3 SWAPDB 0 1", "3 EXISTS s",
    ),
    "replicas that never come": story_of(
        "0 WAIT 1 0", "3 CLIENT UNBLOCK {0}", "0 WAIT 1 0", "3 CLIENT UNBLOCK {0} ERROR",
        "0 WAITAOF 0 1 0", "3 CLIENT UNBLOCK {0}", "0 WAIT 0 0", "0 WAIT 1 0", "0 CLOSE",
        "1 WAIT 1 0", "1 END", "0 WAIT x 0", "0 WAIT 1 -1",
    ),
    "restored": story_of("0 BLPOP k 0", "3 RPUSH o a", "3 RESTORE k 0 x", "3 LPUSH k b"),
}  # fmt: skip


def random_words(rng: random.Random, names: Sequence[str]) -> list[object]:
    """One command, over few keys of all types that can be waited for."""
    key, other = (rng.choice(names) for _ in range(2))
    keys = rng.sample(names, rng.randint(1, 3))
    side, other_side = (rng.choice(("LEFT", "RIGHT")) for _ in range(2))
    numbers = [str(rng.randint(0, 9)) for _ in range(rng.randint(1, 3))]
    return rng.choice(
        [
            ["BLPOP", *keys, 0],
            ["BRPOP", *keys, 0],
            ["BLMOVE", key, other, side, other_side, 0],
            ["BRPOPLPUSH", key, other, 0],
            ["BLMPOP", 0, len(keys), *keys, side, "COUNT", rng.randint(1, 3)],
            ["BZPOPMIN", *keys, 0],
            ["BZMPOP", 0, len(keys), *keys, "MAX", "COUNT", rng.randint(1, 3)],
            ["XREAD", "BLOCK", 0, "STREAMS", key, "$"],
            ["XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", key, ">"],
            ["RPUSH", key, *numbers],
            ["LPUSH", key, *numbers],
            ["LMOVE", key, other, side, other_side],
            ["ZADD", key, *(word for number in numbers for word in (number, f"m{number}"))],
            ["XADD", key, "*", "f", "v"],
            ["XGROUP", "CREATE", key, "g", "$", "MKSTREAM"],
            ["XGROUP", "DESTROY", key, "g"],
            ["DEL", key],
            ["SET", key, "x"],
            ["RENAME", key, other],
            ["COPY", key, other, "REPLACE"],
            ["LPOP", key],
            [
                "CLIENT",
                "UNBLOCK",
                f"{{{rng.randrange(CLIENTS)}}}",
                rng.choice(("ERROR", "TIMEOUT")),
            ],
            ["CLOSE"],
        ]
    )


def random_story(seed: int, names: Sequence[str]) -> Story:
    rng = random.Random(seed)
    return [(rng.randrange(CLIENTS), random_words(rng, names)) for _ in range(STEPS)]


def without_ids(replies: list[list[tuple[int, bytes]]]) -> list[list[tuple[int, bytes]]]:
    """What is XADD's own choice is left out: the number of milliseconds."""
    return [
        [(at, re.sub(rb"\$15\r\n\d{13}-0\r\n", b"<id>", reply)) for at, reply in step]
        for step in replies
    ]


@pytest.fixture(scope="module")
def theirs(oracle_server: Oracle) -> Oracle:
    if not is_72(oracle_server):
        pytest.skip("woken clients are served otherwise by a redis-server before 7.2")
    return oracle_server


CONFIGURATIONS = [
    Configuration(),
    Configuration(native_lane=False),
    Configuration(shards=3, workers=2),
]


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
@pytest.mark.parametrize("name", STORIES_OF_OLD)
def test_stories(
    server_pool: ServerPool, theirs: Oracle, configuration: Configuration, name: str
) -> None:
    story = STORIES_OF_OLD[name]
    ours = server_pool.get(configuration)
    for resp in (2, 3):
        expected = without_ids(tell(theirs, CLIENTS, story, resp))
        found = without_ids(tell(ours, CLIENTS, story, resp))
        for at, step in enumerate(story):
            assert found[at] == expected[at], (resp, at, step)


@pytest.mark.parametrize("names", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_random_stories(
    server_pool: ServerPool, theirs: Oracle, configuration: Configuration, names: Sequence[str]
) -> None:
    ours = server_pool.get(configuration)
    for seed in range(STORIES):
        story = random_story(seed, names)
        resp = 2 + seed % 2
        expected = without_ids(tell(theirs, CLIENTS, story, resp))
        found = without_ids(tell(ours, CLIENTS, story, resp))
        for at, step in enumerate(story):
            assert found[at] == expected[at], (seed, at, step, story)
