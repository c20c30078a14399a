"""Every command of the data types, each with data and arguments that a benchmark can repeat.

A case starts on an emptied server with its fills. Where a request takes something away the case
drains: its data is renewed before each run. Integer arguments are fixed, because a placeholder
becomes a number with leading zeros, which only scores, stream IDs and parts of names may have.
"""

from __future__ import annotations

from bench.macro.cases import Case, Fill
from bench.macro.type_cases import words

GROUPS = (
    *("string", "hash", "list", "set", "zset"),
    *("stream", "bitmap", "geo", "hyperloglog", "generic"),
)

# What no benchmark repeats, and why.
LEFT_OUT = {
    "WAIT": "it waits",
    "WAITAOF": "it waits",
    "OBJECT": "only a container of subcommands",
    "XGROUP": "only a container of subcommands",
    "XINFO": "only a container of subcommands",
    "OBJECT|FREQ": "an error under the shipped eviction policy",
    "PFDEBUG": "a tool of tests",
    "RESTORE": "its payload has zero bytes, where an argument of redis-benchmark ends",
    "PFSELFTEST": "a tool of tests, and seconds long",
}

R = "__rand_int__"
TEXT = "the-quick-brown-fox-jumps-over-the-lazy-dog." * 3

KEYS = Fill(f"SET key:{R} value", 10_000)
INTEGERS = Fill(f"SET key:{R} 1000", 10_000)
TEXTS = Fill(f"SET key:{R} {TEXT}", 10_000)
HASH = Fill("HSET hash", 10_000, f"field:{R} 1000")
HASHES = Fill(f"HSET hash:{R} " + words("field{0} {0}", 20), 10_000)
LIST = Fill("RPUSH list", 1000, f"item:{R}")
LISTS = Fill(f"RPUSH list:{R} " + words("item{0}", 20), 10_000)
SET = Fill("SADD set", 10_000, f"member:{R}")
SETS = Fill(f"SADD set:{R} " + words("member{0}", 20), 10_000)
OTHER_SETS = Fill(f"SADD other:{R} " + words("member{0}", 10), 10_000)
ZSET = Fill("ZADD zset", 10_000, f"{R} member:{R}")
ZSETS = Fill(f"ZADD zset:{R} " + words("{0} member{0}", 20), 10_000)
OTHER_ZSETS = Fill(f"ZADD other:{R} " + words("{0} member{0}", 10), 10_000)
LEX = Fill("ZADD lex", 10_000, f"0 member:{R}")
STREAM = Fill(f"XADD stream 1{R}-1 field value", 10_000)
GROUP = Fill("XGROUP CREATE stream group 0", 1)
READ = Fill("XREADGROUP GROUP group consumer COUNT 1000000 STREAMS stream >", 1)
GEO = tuple(Fill("GEOADD geo", 80, f"{R}.{n} {R}.{7 * n % 10} place{n}:{R}") for n in range(1, 8))
BITS = Fill(f"SET bits:{R} {TEXT}", 10_000)
HLL = Fill(f"PFADD hll:{R} " + words("element{0}", 50), 1000)

STRING_CASES = (
    Case("APPEND", f"APPEND key:{R} x", (KEYS,)),
    Case("DECR", f"DECR key:{R}", (INTEGERS,)),
    Case("DECRBY", f"DECRBY key:{R} 7", (INTEGERS,)),
    Case("GET", f"GET key:{R}", (KEYS,)),
    Case("GETDEL", f"GETDEL key:{R}", (Fill(f"SET key:{R} value"),), drain=2),
    Case("GETEX", f"GETEX key:{R} EX 100", (KEYS,)),
    Case("GETRANGE", f"GETRANGE key:{R} 10 50", (TEXTS,)),
    Case("GETSET", f"GETSET key:{R} other", (KEYS,)),
    Case("INCR", f"INCR key:{R}", (INTEGERS,)),
    Case("INCRBY", f"INCRBY key:{R} 7", (INTEGERS,)),
    Case("INCRBYFLOAT", f"INCRBYFLOAT key:{R} 0.5", (INTEGERS,)),
    Case("LCS", f"LCS key:{R} other", (TEXTS, Fill("SET other a-quick-dog-jumps-over-it", 1))),
    Case("MGET", f"MGET {words('key:' + R, 10)}", (KEYS,)),
    Case("MSET", "MSET " + words(f"key:{R} value", 10), (KEYS,)),
    Case("MSETNX", "MSETNX " + words(f"key:{R} value", 10), (KEYS,)),
    Case("PSETEX", f"PSETEX key:{R} 100000 value", (KEYS,)),
    Case("SET", f"SET key:{R} value", (KEYS,)),
    Case("SET EX GET", f"SET key:{R} value EX 100 GET", (KEYS,)),
    Case("SETEX", f"SETEX key:{R} 100 value", (KEYS,)),
    Case("SETNX", f"SETNX key:{R} value", (KEYS,)),
    Case("SETRANGE", f"SETRANGE key:{R} 20 value", (TEXTS,)),
    Case("STRLEN", f"STRLEN key:{R}", (KEYS,)),
    Case("SUBSTR", f"SUBSTR key:{R} 10 50", (TEXTS,)),
)

HASH_CASES = (
    Case("HDEL", f"HDEL hash field:{R}", (Fill("HSET hash", 0, f"field:{R} x"),), drain=2),
    Case("HEXISTS", f"HEXISTS hash field:{R}", (HASH,)),
    Case("HGET", f"HGET hash field:{R}", (HASH,)),
    Case("HGETALL", f"HGETALL hash:{R}", (HASHES,)),
    Case("HINCRBY", f"HINCRBY hash field:{R} 7", (HASH,)),
    Case("HINCRBYFLOAT", f"HINCRBYFLOAT hash field:{R} 0.5", (HASH,)),
    Case("HKEYS", f"HKEYS hash:{R}", (HASHES,)),
    Case("HLEN", f"HLEN hash:{R}", (HASHES,)),
    Case("HMGET", f"HMGET hash {words('field:' + R, 5)}", (HASH,)),
    Case("HMSET", "HMSET hash " + words(f"field:{R} value", 5), (HASH,)),
    Case("HRANDFIELD", f"HRANDFIELD hash:{R} 5 WITHVALUES", (HASHES,)),
    Case("HSCAN", "HSCAN hash 0 COUNT 10", (HASH,)),
    Case("HSET", f"HSET hash field:{R} value", (HASH,)),
    Case("HSETNX", f"HSETNX hash field:{R} value", (HASH,)),
    Case("HSTRLEN", f"HSTRLEN hash field:{R}", (HASH,)),
    Case("HVALS", f"HVALS hash:{R}", (HASHES,)),
)

LIST_CASES = (
    Case("BLMOVE", "BLMOVE list list LEFT RIGHT 1", (LIST,)),
    Case("BLMPOP", "BLMPOP 1 1 list LEFT", (Fill("RPUSH list", 0, "item"),), drain=1),
    Case("BLPOP", "BLPOP list 1", (Fill("RPUSH list", 0, "item"),), drain=1),
    Case("BRPOP", "BRPOP list 1", (Fill("RPUSH list", 0, "item"),), drain=1),
    Case("BRPOPLPUSH", "BRPOPLPUSH list list 1", (LIST,)),
    Case("LINDEX", "LINDEX list 500", (LIST,)),
    Case("LINSERT", f"LINSERT list:{R} BEFORE item10 x", (LISTS,)),
    Case("LLEN", f"LLEN list:{R}", (LISTS,)),
    Case("LMOVE", "LMOVE list list LEFT RIGHT", (LIST,)),
    Case("LMPOP", "LMPOP 1 list LEFT", (Fill("RPUSH list", 0, "item"),), drain=1),
    Case("LPOP", "LPOP list", (Fill("RPUSH list", 0, "item"),), drain=1),
    Case("LPOS", f"LPOS list:{R} item10", (LISTS,)),
    Case("LPUSH", f"LPUSH list:{R} x", (LISTS,)),
    Case("LPUSHX", f"LPUSHX list:{R} x", (LISTS,)),
    Case("LRANGE", "LRANGE list 0 99", (LIST,)),
    Case("LREM", f"LREM list:{R} 1 absent", (LISTS,)),
    Case("LSET", "LSET list 500 other", (LIST,)),
    Case("LTRIM", f"LTRIM list:{R} 0 15", (LISTS,)),
    Case("RPOP", "RPOP list", (Fill("RPUSH list", 0, "item"),), drain=1),
    Case("RPOPLPUSH", "RPOPLPUSH list list", (LIST,)),
    Case("RPUSH", f"RPUSH list:{R} x", (LISTS,)),
    Case("RPUSHX", f"RPUSHX list:{R} x", (LISTS,)),
)

SET_CASES = (
    Case("SADD", f"SADD set member:{R}", (SET,)),
    Case("SCARD", f"SCARD set:{R}", (SETS,)),
    Case("SDIFF", f"SDIFF set:{R} other:{R}", (SETS, OTHER_SETS)),
    Case("SDIFFSTORE", f"SDIFFSTORE to set:{R} other:{R}", (SETS, OTHER_SETS)),
    Case("SINTER", f"SINTER set:{R} other:{R}", (SETS, OTHER_SETS)),
    Case("SINTERCARD", f"SINTERCARD 2 set:{R} other:{R}", (SETS, OTHER_SETS)),
    Case("SINTERSTORE", f"SINTERSTORE to set:{R} other:{R}", (SETS, OTHER_SETS)),
    Case("SISMEMBER", f"SISMEMBER set member:{R}", (SET,)),
    Case("SMEMBERS", f"SMEMBERS set:{R}", (SETS,)),
    Case("SMISMEMBER", f"SMISMEMBER set {words('member:' + R, 5)}", (SET,)),
    Case("SMOVE", f"SMOVE set to member:{R}", (Fill("SADD set", 0, f"member:{R}"),), drain=2),
    Case("SPOP", "SPOP set", (Fill("SADD set", 0, f"member:{R}"),), drain=1),
    Case("SRANDMEMBER", f"SRANDMEMBER set:{R} 5", (SETS,)),
    Case("SREM", f"SREM set member:{R}", (Fill("SADD set", 0, f"member:{R}"),), drain=2),
    Case("SSCAN", "SSCAN set 0 COUNT 10", (SET,)),
    Case("SUNION", f"SUNION set:{R} other:{R}", (SETS, OTHER_SETS)),
    Case("SUNIONSTORE", f"SUNIONSTORE to set:{R} other:{R}", (SETS, OTHER_SETS)),
)

_POPPED = (Fill("ZADD zset", 0, f"{R} member:{R}"),)
_TWO = (ZSETS, OTHER_ZSETS)
ZSET_CASES = (
    Case("BZMPOP", "BZMPOP 1 1 zset MIN", _POPPED, drain=1),
    Case("BZPOPMAX", "BZPOPMAX zset 1", _POPPED, drain=1),
    Case("BZPOPMIN", "BZPOPMIN zset 1", _POPPED, drain=1),
    Case("ZADD", f"ZADD zset {R} member:{R}", (ZSET,)),
    Case("ZCARD", f"ZCARD zset:{R}", (ZSETS,)),
    Case("ZCOUNT", f"ZCOUNT zset {R} +inf", (ZSET,)),
    Case("ZDIFF", f"ZDIFF 2 zset:{R} other:{R}", _TWO),
    Case("ZDIFFSTORE", f"ZDIFFSTORE to 2 zset:{R} other:{R}", _TWO),
    Case("ZINCRBY", f"ZINCRBY zset 1.5 member:{R}", (ZSET,)),
    Case("ZINTER", f"ZINTER 2 zset:{R} other:{R} WITHSCORES", _TWO),
    Case("ZINTERCARD", f"ZINTERCARD 2 zset:{R} other:{R}", _TWO),
    Case("ZINTERSTORE", f"ZINTERSTORE to 2 zset:{R} other:{R}", _TWO),
    Case("ZLEXCOUNT", f"ZLEXCOUNT lex [member:{R} +", (LEX,)),
    Case("ZMPOP", "ZMPOP 1 zset MIN", _POPPED, drain=1),
    Case("ZMSCORE", f"ZMSCORE zset {words('member:' + R, 5)}", (ZSET,)),
    Case("ZPOPMAX", "ZPOPMAX zset", _POPPED, drain=1),
    Case("ZPOPMIN", "ZPOPMIN zset", _POPPED, drain=1),
    Case("ZRANDMEMBER", f"ZRANDMEMBER zset:{R} 5", (ZSETS,)),
    Case("ZRANGE", "ZRANGE zset 5000 5099", (ZSET,)),
    Case("ZRANGE BYSCORE", f"ZRANGE zset {R} +inf BYSCORE LIMIT 0 20", (ZSET,)),
    Case("ZRANGE BYLEX", f"ZRANGE lex [member:{R} + BYLEX LIMIT 0 20", (LEX,)),
    Case("ZRANGE REV", "ZRANGE zset 5000 5019 REV WITHSCORES", (ZSET,)),
    Case("ZRANGEBYLEX", f"ZRANGEBYLEX lex [member:{R} + LIMIT 0 20", (LEX,)),
    Case("ZRANGEBYSCORE", f"ZRANGEBYSCORE zset {R} +inf LIMIT 0 20", (ZSET,)),
    Case("ZRANGESTORE", f"ZRANGESTORE to zset:{R} 0 9", (ZSETS,)),
    Case("ZRANK", f"ZRANK zset member:{R}", (ZSET,)),
    Case("ZREM", f"ZREM zset member:{R}", _POPPED, drain=2),
    Case("ZREMRANGEBYLEX", "ZREMRANGEBYLEX lex [absent [absent", (LEX,)),
    Case("ZREMRANGEBYRANK", "ZREMRANGEBYRANK zset 0 0", _POPPED, drain=1),
    Case("ZREMRANGEBYSCORE", f"ZREMRANGEBYSCORE zset {R} {R}", (ZSET,), 1_000_000),
    Case("ZREVRANGE", "ZREVRANGE zset 5000 5019", (ZSET,)),
    Case("ZREVRANGEBYLEX", f"ZREVRANGEBYLEX lex [member:{R} - LIMIT 0 20", (LEX,)),
    Case("ZREVRANGEBYSCORE", f"ZREVRANGEBYSCORE zset {R} -inf LIMIT 0 20", (ZSET,)),
    Case("ZREVRANK", f"ZREVRANK zset member:{R}", (ZSET,)),
    Case("ZSCAN", "ZSCAN zset 0 COUNT 10", (ZSET,)),
    Case("ZSCORE", f"ZSCORE zset member:{R}", (ZSET,)),
    Case("ZUNION", f"ZUNION 2 zset:{R} other:{R} WITHSCORES", _TWO),
    Case("ZUNIONSTORE", f"ZUNIONSTORE to 2 zset:{R} other:{R}", _TWO),
)

_ENTRIES = Fill(f"XADD stream 1{R}-1 field value")
STREAM_CASES = (
    Case("XACK", f"XACK stream group 1{R}-1", (STREAM, GROUP, READ)),
    Case("XADD", f"XADD stream MAXLEN ~ 10000 * field {R}", (STREAM,)),
    Case("XAUTOCLAIM", f"XAUTOCLAIM stream group other 0 1{R}-1 COUNT 10", (STREAM, GROUP, READ)),
    Case("XCLAIM", f"XCLAIM stream group other 0 1{R}-1", (STREAM, GROUP, READ)),
    Case("XDEL", f"XDEL stream 1{R}-1", (STREAM,)),
    # A name drawn twice is an error here, so it is of several numbers, and old groups go away.
    Case(
        "XGROUP|CREATE",
        f"XGROUP CREATE stream group:{R}:{R}:{R} $",
        (Fill("DEL stream", 1), _ENTRIES),
        drain=1,
    ),
    Case("XGROUP|CREATECONSUMER", f"XGROUP CREATECONSUMER stream group c:{R}", (STREAM, GROUP)),
    Case("XGROUP|DELCONSUMER", f"XGROUP DELCONSUMER stream group c:{R}", (STREAM, GROUP)),
    Case("XGROUP|DESTROY", f"XGROUP DESTROY stream group:{R}", (STREAM, GROUP)),
    Case("XGROUP|HELP", "XGROUP HELP"),
    Case("XGROUP|SETID", f"XGROUP SETID stream group 1{R}-1", (STREAM, GROUP)),
    Case("XINFO|CONSUMERS", "XINFO CONSUMERS stream group", (STREAM, GROUP, READ)),
    Case("XINFO|GROUPS", "XINFO GROUPS stream", (STREAM, GROUP)),
    Case("XINFO|HELP", "XINFO HELP"),
    Case("XINFO|STREAM", "XINFO STREAM stream", (STREAM, GROUP)),
    Case("XLEN", "XLEN stream", (STREAM,)),
    Case("XPENDING", "XPENDING stream group - + 10", (STREAM, GROUP, READ)),
    Case("XPENDING summary", "XPENDING stream group", (STREAM, GROUP, READ)),
    Case("XRANGE", f"XRANGE stream 1{R}-1 + COUNT 20", (STREAM,)),
    Case("XREAD", f"XREAD COUNT 10 STREAMS stream 1{R}-1", (STREAM,)),
    Case(
        "XREADGROUP",
        f"XREADGROUP GROUP group consumer COUNT 10 STREAMS stream 1{R}-1",
        (STREAM, GROUP, READ),
    ),
    Case(
        "XREADGROUP >",
        "XREADGROUP GROUP group:1 consumer COUNT 1 STREAMS stream:1 >",
        (
            Fill("DEL stream:1", 1),
            Fill("XADD stream:1 * field value"),
            Fill("XGROUP CREATE stream:1 group:1 0", 1),
        ),
        drain=1,
    ),
    Case("XREVRANGE", f"XREVRANGE stream 1{R}-1 - COUNT 20", (STREAM,)),
    Case("XSETID", "XSETID stream 1900000000000000-1", (STREAM,)),
    Case("XTRIM", "XTRIM stream MAXLEN 10000", (STREAM,)),
)

BITMAP_CASES = (
    Case("BITCOUNT", f"BITCOUNT bits:{R}", (BITS,)),
    Case("BITFIELD", f"BITFIELD bits:{R} INCRBY u8 8 3 GET i16 24", (BITS,)),
    Case("BITFIELD_RO", f"BITFIELD_RO bits:{R} GET u8 8 GET i16 24", (BITS,)),
    Case("BITOP", f"BITOP AND to bits:{R} bits:{R}", (BITS,)),
    Case("BITPOS", f"BITPOS bits:{R} 1 5", (BITS,)),
    Case("GETBIT", f"GETBIT bits:{R} 77", (BITS,)),
    Case("SETBIT", f"SETBIT bits:{R} 77 1", (BITS,)),
)

_NEAR = "40.5 40.5"
GEO_CASES = (
    Case("GEOADD", f"GEOADD geo {_NEAR} place:{R}", GEO),
    Case("GEODIST", "GEODIST geo place1:000000000007 place2:000000000033 km", GEO),
    Case("GEOHASH", "GEOHASH geo place1:000000000007 place2:000000000033", GEO),
    Case("GEOPOS", "GEOPOS geo place1:000000000007 place2:000000000033", GEO),
    Case("GEORADIUS", f"GEORADIUS geo {_NEAR} 200 km", GEO),
    Case("GEORADIUS_RO", f"GEORADIUS_RO geo {_NEAR} 200 km", GEO),
    Case("GEORADIUSBYMEMBER", "GEORADIUSBYMEMBER geo place1:000000000040 200 km", GEO),
    Case("GEORADIUSBYMEMBER_RO", "GEORADIUSBYMEMBER_RO geo place1:000000000040 200 km", GEO),
    Case("GEOSEARCH", f"GEOSEARCH geo FROMLONLAT {_NEAR} BYRADIUS 200 km ASC WITHDIST", GEO),
    Case("GEOSEARCHSTORE", f"GEOSEARCHSTORE to geo FROMLONLAT {_NEAR} BYBOX 300 300 km", GEO),
)

HYPERLOGLOG_CASES = (
    Case("PFADD", f"PFADD hll:{R} element{R}", (HLL,), 1000),
    Case("PFCOUNT", f"PFCOUNT hll:{R}", (HLL,), 1000),
    Case("PFCOUNT of 2", f"PFCOUNT hll:{R} hll:{R}", (HLL,), 1000),
    Case("PFMERGE", f"PFMERGE to:{R} hll:{R} hll:{R}", (HLL,), 1000),
)

_TTL = Fill(f"SET key:{R} value EX 10000", 10_000)
_GONE = (Fill(f"SET key:{R} value"),)
GENERIC_CASES = (
    Case("COPY", f"COPY key:{R} to:{R} REPLACE", (KEYS,)),
    Case("DEL", f"DEL key:{R}", _GONE, drain=2),
    Case("DUMP", f"DUMP hash:{R}", (HASHES,)),
    Case("EXISTS", f"EXISTS key:{R}", (KEYS,)),
    Case("EXPIRE", f"EXPIRE key:{R} 1000", (KEYS,)),
    Case("EXPIREAT", f"EXPIREAT key:{R} 9000000000", (KEYS,)),
    Case("EXPIRETIME", f"EXPIRETIME key:{R}", (_TTL,)),
    Case("KEYS", "KEYS key:*5", (Fill(f"SET key:{R} value", 100),)),
    Case("MOVE", f"MOVE key:{R} 1", (Fill("FLUSHALL", 1), *_GONE), drain=2),
    Case("OBJECT|ENCODING", f"OBJECT ENCODING hash:{R}", (HASHES,)),
    Case("OBJECT|HELP", "OBJECT HELP"),
    Case("OBJECT|IDLETIME", f"OBJECT IDLETIME key:{R}", (KEYS,)),
    Case("OBJECT|REFCOUNT", f"OBJECT REFCOUNT key:{R}", (KEYS,)),
    Case("PERSIST", f"PERSIST key:{R}", (Fill(f"SET key:{R} value EX 10000"),), drain=2),
    Case("PEXPIRE", f"PEXPIRE key:{R} 1000000", (KEYS,)),
    Case("PEXPIREAT", f"PEXPIREAT key:{R} 9000000000000", (KEYS,)),
    Case("PEXPIRETIME", f"PEXPIRETIME key:{R}", (_TTL,)),
    Case("PTTL", f"PTTL key:{R}", (_TTL,)),
    Case("RANDOMKEY", "RANDOMKEY", (KEYS,)),
    Case("RENAME", "RENAME key:000000000001 key:000000000001", (KEYS,)),
    Case("RENAMENX", f"RENAMENX key:{R} key:{R}", (KEYS,)),
    Case("SCAN", "SCAN 0 COUNT 10", (KEYS,)),
    Case("SORT", f"SORT list:{R} ALPHA LIMIT 0 10", (LISTS,)),
    Case("SORT_RO", f"SORT_RO list:{R} ALPHA LIMIT 0 10", (LISTS,)),
    Case("TOUCH", f"TOUCH key:{R}", (KEYS,)),
    Case("TTL", f"TTL key:{R}", (_TTL,)),
    Case("TYPE", f"TYPE key:{R}", (KEYS,)),
    Case("UNLINK", f"UNLINK key:{R}", _GONE, drain=2),
)

COMMANDS: tuple[Case, ...] = (
    *STRING_CASES,
    *HASH_CASES,
    *LIST_CASES,
    *SET_CASES,
    *ZSET_CASES,
    *STREAM_CASES,
    *BITMAP_CASES,
    *GEO_CASES,
    *HYPERLOGLOG_CASES,
    *GENERIC_CASES,
)


def command_of(case: Case) -> str:
    """The command that a case measures; what follows it in the case's name is the variant."""
    return case.name.partition(" ")[0]
