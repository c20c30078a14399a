"""The keyspace events, by Redis's names; shards/lane/effects.pyx has the class of each."""

cdef enum EventClass:           # Redis's bits; the letter is that of notify-keyspace-events
    CLASS_GENERIC = 1 << 2      # g
    CLASS_STRING = 1 << 3       # $
    CLASS_LIST = 1 << 4         # l
    CLASS_SET = 1 << 5          # s
    CLASS_HASH = 1 << 6         # h
    CLASS_ZSET = 1 << 7         # z
    CLASS_EXPIRED = 1 << 8      # x
    CLASS_EVICTED = 1 << 9      # e
    CLASS_STREAM = 1 << 10      # t
    CLASS_KEY_MISS = 1 << 11    # m
    CLASS_NEW = 1 << 14         # n

cdef enum Event:
    EVENT_NONE = 0              # a change that Redis counts, logs and signals, but tells nobody of
    EVENT_DEL
    EVENT_EXPIRE
    EVENT_PERSIST
    EVENT_RENAME_FROM
    EVENT_RENAME_TO
    EVENT_MOVE_FROM
    EVENT_MOVE_TO
    EVENT_COPY_TO
    EVENT_RESTORE
    EVENT_EXPIRED
    EVENT_EVICTED
    EVENT_NEW
    EVENT_KEY_MISS
    EVENT_SET
    EVENT_SETRANGE
    EVENT_APPEND
    EVENT_INCRBY
    EVENT_INCRBYFLOAT
    EVENT_SETBIT
    EVENT_PFADD
    EVENT_LPUSH
    EVENT_RPUSH
    EVENT_LPOP
    EVENT_RPOP
    EVENT_LSET
    EVENT_LINSERT
    EVENT_LREM
    EVENT_LTRIM
    EVENT_SORTSTORE
    EVENT_SADD
    EVENT_SREM
    EVENT_SPOP
    EVENT_SINTERSTORE
    EVENT_SUNIONSTORE
    EVENT_SDIFFSTORE
    EVENT_HSET
    EVENT_HDEL
    EVENT_HINCRBY
    EVENT_HINCRBYFLOAT
    EVENT_ZADD
    EVENT_ZINCR
    EVENT_ZREM
    EVENT_ZREMRANGEBYRANK
    EVENT_ZREMRANGEBYSCORE
    EVENT_ZREMRANGEBYLEX
    EVENT_ZPOPMIN
    EVENT_ZPOPMAX
    EVENT_ZRANGESTORE
    EVENT_ZINTERSTORE
    EVENT_ZUNIONSTORE
    EVENT_ZDIFFSTORE
    EVENT_GEOSEARCHSTORE
    EVENT_GEORADIUSSTORE
    EVENT_XADD
    EVENT_XTRIM
    EVENT_XDEL
    EVENT_XSETID
    EVENT_XGROUP_CREATE
    EVENT_XGROUP_SETID
    EVENT_XGROUP_DESTROY
    EVENT_XGROUP_CREATECONSUMER
    EVENT_XGROUP_DELCONSUMER
    EVENT_GROUP_STATE           # a group's pending entries: counted and logged, and that is all
    EVENT_COUNT


cdef inline bint event_signals(Event event) noexcept nogil:
    """Whether who watches a key, or keeps a copy of it, has to know.

    Of what happens to a stream's groups Redis tells neither (t_stream.c).
    """
    return event != EVENT_KEY_MISS and not EVENT_XSETID <= event <= EVENT_GROUP_STATE
