"""The generic family's hot commands in the native lane; errors are DECLINED, as for strings."""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint32_t, uint64_t
from libc.string cimport memcmp

from protocol.buffer cimport Buffer, buffer_append
from protocol.numbers cimport parse_int64
from protocol.reply cimport reply_integer
from shards.commands.common_native cimport is_word
from shards.lane.effects cimport log_raw
from shards.lane.events cimport EVENT_COPY_TO, EVENT_DEL, EVENT_EXPIRE, EVENT_PERSIST
from shards.lane.handler cimport (
    NATIVE_DECLINED, NATIVE_DONE, Arg, Argv, NativeLane, Shard, key_at, shard_changed,
    shard_log, shard_log_arg, shard_log_number, shard_logs,
)
from shards.keyspace.keyspace cimport (
    EXPIRE_NONE, TYPE_HASH, TYPE_LIST, TYPE_SET, TYPE_STREAM, TYPE_STRING, TYPE_ZSET, Entry,
    EntryType, Key, entry_expire_ms, entry_type, store_copy, store_delete, store_read,
    store_set_expire, store_write,
)


cdef inline int reply_count(Buffer *out, int64_t count) noexcept nogil:
    reply_integer(out, count)
    return NATIVE_DONE


cdef int del_(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef uint32_t i
    cdef int64_t deleted = 0
    cdef Key key
    for i in range(1, argv.argc):
        if i == 1:
            key = argv.key
        else:
            key_at(shard, &argv.args[i], &key)
        # An expired key counts as absent, so it goes first.
        if store_write(shard.store, &key) != NULL:
            store_delete(shard.store, &key)
            shard_changed(shard, &key, EVENT_DEL, 1)
            deleted += 1
    return reply_count(out, deleted)


cdef int exists(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef uint32_t i
    cdef int64_t found = 0
    cdef Key key
    for i in range(1, argv.argc):
        if i == 1:
            key = argv.key
        else:
            key_at(shard, &argv.args[i], &key)
        if store_read(shard.store, &key, False) != NULL:
            found += 1
    return reply_count(out, found)


cdef int touch(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef uint32_t i
    cdef int64_t found = 0
    cdef Key key
    cdef bint no_touch = shard.store.no_touch
    shard.store.no_touch = False    # to touch is what it is for, whatever CLIENT NO-TOUCH says
    for i in range(1, argv.argc):
        key_at(shard, &argv.args[i], &key)
        if store_read(shard.store, &key, True) != NULL:
            found += 1
    shard.store.no_touch = no_touch
    return reply_count(out, found)


cdef int type_(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry = store_read(shard.store, &argv.key, False)
    cdef EntryType type
    if entry == NULL:
        buffer_append(out, b"+none\r\n", 7)
        return NATIVE_DONE
    type = entry_type(entry)
    if type == TYPE_STRING:
        buffer_append(out, b"+string\r\n", 9)
    elif type == TYPE_LIST:
        buffer_append(out, b"+list\r\n", 7)
    elif type == TYPE_SET:
        buffer_append(out, b"+set\r\n", 6)
    elif type == TYPE_ZSET:
        buffer_append(out, b"+zset\r\n", 7)
    elif type == TYPE_HASH:
        buffer_append(out, b"+hash\r\n", 7)
    else:
        buffer_append(out, b"+stream\r\n", 9)
    return NATIVE_DONE


cdef int expire_in(Shard *shard, const Argv *argv, Buffer *out, int64_t unit,
                   bint absolute) noexcept:
    """The plain forms; NX, XX, GT and LT are left to the Python lane."""
    cdef int64_t value
    if argv.argc != 3 or not parse_int64(argv.args[2].data, argv.args[2].length, &value):
        return NATIVE_DECLINED
    if value > INT64_MAX // unit or value < INT64_MIN // unit:
        return NATIVE_DECLINED
    value *= unit
    if not absolute:
        if value > INT64_MAX - shard.store.now_ms:
            return NATIVE_DECLINED
        value += shard.store.now_ms
    if store_write(shard.store, &argv.key) == NULL:
        return reply_count(out, 0)
    if value <= shard.store.now_ms:
        store_delete(shard.store, &argv.key)
        shard_changed(shard, &argv.key, EVENT_DEL, 1)
        if shard_logs(shard):
            shard_log(shard, 2, b"DEL", 3)
            shard_log_arg(shard, &argv.args[1])
    else:
        store_set_expire(shard.store, &argv.key, value)
        shard_changed(shard, &argv.key, EVENT_EXPIRE, 1)
        if shard_logs(shard) and not (absolute and unit == 1):
            shard_log(shard, 3, b"PEXPIREAT", 9)
            shard_log_arg(shard, &argv.args[1])
            shard_log_number(shard, value)
        elif shard_logs(shard):
            log_raw(shard.store)
    return reply_count(out, 1)


cdef int expire(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return expire_in(shard, argv, out, 1000, False)


cdef int pexpire(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return expire_in(shard, argv, out, 1, False)


cdef int expireat(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return expire_in(shard, argv, out, 1000, True)


cdef int pexpireat(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return expire_in(shard, argv, out, 1, True)


cdef int ttl_in(Shard *shard, const Argv *argv, Buffer *out, bint seconds, bint absolute) noexcept:
    cdef Entry *entry = store_read(shard.store, &argv.key, False)
    cdef int64_t when
    if entry == NULL:
        return reply_count(out, -2)
    when = entry_expire_ms(entry)
    if when == EXPIRE_NONE:
        return reply_count(out, -1)
    if not absolute:
        when -= shard.store.now_ms
        if when < 0:
            when = 0
    # Unsigned, as redis-server's compiler has it: the greatest time of all does not overflow.
    return reply_count(out, <int64_t>((<uint64_t>when + 500) // 1000) if seconds else when)


cdef int ttl(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return ttl_in(shard, argv, out, True, False)


cdef int pttl(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return ttl_in(shard, argv, out, False, False)


cdef int expiretime(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return ttl_in(shard, argv, out, True, True)


cdef int pexpiretime(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return ttl_in(shard, argv, out, False, True)


cdef int persist(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry = store_write(shard.store, &argv.key)
    if entry == NULL or entry_expire_ms(entry) == EXPIRE_NONE:
        return reply_count(out, 0)
    store_set_expire(shard.store, &argv.key, EXPIRE_NONE)
    shard_changed(shard, &argv.key, EVENT_PERSIST, 1)
    return reply_count(out, 1)


cdef int copy(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef const Arg *source = &argv.args[1]
    cdef const Arg *name = &argv.args[2]
    cdef bint replaces = argv.argc == 4
    cdef Key target
    # Another database is Python's, and so is a key copied onto itself.
    if argv.argc > 4 or (replaces and not is_word(&argv.args[3], b"replace", 7)):
        return NATIVE_DECLINED
    if source.length == name.length and memcmp(source.data, name.data, name.length) == 0:
        return NATIVE_DECLINED
    if store_read(shard.store, &argv.key, True) == NULL:
        return reply_count(out, 0)
    key_at(shard, name, &target)
    if not replaces and store_write(shard.store, &target) != NULL:
        return reply_count(out, 0)
    store_copy(shard.store, &argv.key, &target)
    shard_changed(shard, &target, EVENT_COPY_TO, 1)
    return reply_count(out, 1)


def register(NativeLane lane):
    """Add this family's native handlers to a shard's lane."""
    lane.add("DEL", del_)
    lane.add("UNLINK", del_)
    lane.add("EXISTS", exists)
    lane.add("TOUCH", touch)
    lane.add("TYPE", type_)
    lane.add("EXPIRE", expire)
    lane.add("PEXPIRE", pexpire)
    lane.add("EXPIREAT", expireat)
    lane.add("PEXPIREAT", pexpireat)
    lane.add("TTL", ttl)
    lane.add("PTTL", pttl)
    lane.add("EXPIRETIME", expiretime)
    lane.add("PEXPIRETIME", pexpiretime)
    lane.add("PERSIST", persist)
    lane.add("COPY", copy)
