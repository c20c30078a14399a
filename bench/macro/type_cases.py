"""The data of the scenarios about data types: datasets for memory, cases for speed."""

from __future__ import annotations

from bench.macro.cases import Case, Fill

MILLION = 1_000_000


def words(template: str, count: int) -> str:
    """The template for each number below `count`, side by side."""
    return " ".join(template.format(n) for n in range(count))


# Members, fields and values are as long as applications have them: a name and a dozen digits.
DATASETS: dict[str, Fill] = {
    "1,000,000 small strings": Fill("SET key:__rand_int__ 0123456789", MILLION),
    "100,000 hashes of 20 fields": Fill(
        "HSET hash:__rand_int__ " + words("field{0} value{0}", 20), 100_000
    ),
    "a hash of 1,000,000 fields": Fill("HSET hash", MILLION, "field:__rand_int__ v:__rand_int__"),
    "100,000 sets of 50 integers": Fill(
        "SADD set:__rand_int__ " + " ".join(str(7 + 997 * n) for n in range(50)), 100_000
    ),
    "a set of 1,000,000 members": Fill("SADD set", MILLION, "member:__rand_int__"),
    "a sorted set of 1,000,000": Fill("ZADD zset", MILLION, "__rand_int__ member:__rand_int__"),
    "a list of 1,000,000 items": Fill("RPUSH list", MILLION, "item:__rand_int__"),
    "a stream of 1,000,000 entries": Fill(
        "XADD stream 1700__rand_int__-1 sensor 17 value __rand_int__", MILLION
    ),
}

KEYS = 100_000

# Keys of the write cases exist beforehand, so that a run measures the command and not the growth
# of the keyspace; the elements they add are drawn from 100,000 or go to 100,000 keys.
TYPES: tuple[Case, ...] = (
    Case(
        "LPUSH",
        "LPUSH lpush:__rand_int__ xxx",
        (Fill("RPUSH lpush:__rand_int__ xxx", KEYS),),
        KEYS,
    ),
    Case(
        "RPUSH",
        "RPUSH rpush:__rand_int__ xxx",
        (Fill("RPUSH rpush:__rand_int__ xxx", KEYS),),
        KEYS,
    ),
    Case(
        "SADD",
        "SADD sadd element:__rand_int__",
        (Fill("SADD sadd", KEYS, "element:__rand_int__"),),
        KEYS,
    ),
    Case(
        "HSET",
        "HSET hset element:__rand_int__ xxx",
        (Fill("HSET hset", KEYS, "element:__rand_int__ xxx"),),
        KEYS,
    ),
    Case(
        "ZADD",
        "ZADD zadd __rand_int__ element:__rand_int__",
        (Fill("ZADD zadd", KEYS, "__rand_int__ element:__rand_int__"),),
        KEYS,
    ),
    Case(
        "XADD",
        "XADD xadd MAXLEN ~ 10000 * field __rand_int__",
        (Fill("XADD xadd * field __rand_int__", 10_000),),
        KEYS,
    ),
    Case("SPOP", "SPOP spop", (Fill("SADD spop", 0, "element:__rand_int__"),), drain=1),
    Case("LPOP", "LPOP lpop", (Fill("RPUSH lpop", 0, "xxx"),), drain=1),
    Case("LRANGE 0 99", "LRANGE lrange 0 99", (Fill("RPUSH lrange", 100, "xxx"),)),
    Case(
        "ZRANGE 0 99",
        "ZRANGE zrange 0 99",
        (Fill("ZADD zrange", 100, "__rand_int__ element:__rand_int__"),),
    ),
    Case(
        "HGETALL of 20",
        "HGETALL hgetall:__rand_int__",
        (Fill("HSET hgetall:__rand_int__ " + words("field{0} value{0}", 20), 1000),),
        1000,
    ),
    Case(
        "MSET of 10",
        "MSET " + words("mset:__rand_int__ xxx", 10),
        (Fill("SET mset:__rand_int__ xxx", KEYS),),
        KEYS,
    ),
)

# Ten random keys lie on all shards of a server with few of them, but for one case in 500 with two.
_TEN = (Fill("SET key:__rand_int__ xxx", KEYS),)
SEVERAL_KEYS: tuple[Case, ...] = (
    Case("MSET of 10", "MSET " + words("key:__rand_int__ xxx", 10), _TEN, KEYS),
    Case("MGET of 10", "MGET " + words("key:__rand_int__", 10), _TEN, KEYS),
    Case("EXISTS of 10", "EXISTS " + words("key:__rand_int__", 10), _TEN, KEYS),
    Case("UNLINK of 10", "UNLINK " + words("none:__rand_int__", 10), (), KEYS),
)

_BIG = (Fill("ZADD zset", MILLION, "__rand_int__ member:__rand_int__"),)
BIG_ZSET: tuple[Case, ...] = (
    Case("ZADD", "ZADD zset __rand_int__ member:__rand_int__", _BIG, MILLION),
    Case("ZRANK", "ZRANK zset member:__rand_int__", _BIG, MILLION),
    Case("ZRANGE of 100 by rank", "ZRANGE zset 500000 500099", _BIG, MILLION),
    Case(
        "ZRANGE of 100 by score",
        "ZRANGE zset __rand_int__ +inf BYSCORE LIMIT 0 100",
        _BIG,
        MILLION,
    ),
)
