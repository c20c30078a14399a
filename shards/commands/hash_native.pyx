"""The hash family's hot commands in the native lane; as string_native.pyx, errors are DECLINED."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.strings cimport strncasecmp

from protocol.buffer cimport Buffer, buffer_append
from protocol.native cimport likely, unlikely
from protocol.numbers cimport parse_int64
from protocol.reply cimport reply_bulk, reply_header, reply_integer, reply_null
from shards.commands.common_native cimport draws_too_much, reply_wrong_type
from shards.lane.events cimport EVENT_DEL, EVENT_HDEL, EVENT_HINCRBY, EVENT_HSET
from shards.lane.handler cimport (
    NATIVE_DECLINED, NATIVE_DONE, Arg, Argv, NativeLane, Shard, shard_changed, shard_notify,
)
from shards.keyspace.keyspace cimport (
    EXPIRE_NONE, ENCODING_LISTPACK, TYPE_HASH, Entry, entry_type, store_drop_if_empty, store_random,
    store_changing, store_find, store_is_expired, store_read, store_set_value, store_touch,
    store_write,
)
from shards.types.hash cimport (
    HASH_INCREMENTED, Hash, HashItem, HashIterator, hash_delete, hash_get, hash_has, hash_increment,
    hash_length, hash_make, hash_next, hash_random, hash_set, hash_will_grow,
)
from shards.views.hash cimport hash_load, hash_store


cdef enum:
    DRAWN_MAX = 128         # HRANDFIELD of more fields is Python's
    SPARSE_SHARE = 3        # so many times fewer fields than there are: they are drawn one by one

cdef enum Opened:
    OPENED = 0
    MISSING = 1
    WRONG = 2               # it is no hash, and that is the reply

cdef enum Part:             # of a pair
    PART_FIELD = 1
    PART_VALUE = 2


cdef inline Opened refuse(Buffer *out) noexcept nogil:
    reply_wrong_type(out)
    return WRONG


cdef inline Opened open_to_read(Shard *shard, const Argv *argv, Buffer *out, Hash *hash) noexcept:
    cdef Entry *entry = store_read(shard.store, &argv.key, True)
    if entry == NULL:
        return MISSING
    if unlikely(entry_type(entry) != TYPE_HASH):
        return refuse(out)
    hash_load(shard.store, &argv.key, entry, hash)
    return OPENED


cdef inline Opened open_to_write(Shard *shard, const Argv *argv, Buffer *out, Entry **entry,
                                 Hash *hash) noexcept:
    entry[0] = store_write(shard.store, &argv.key)
    if entry[0] != NULL and unlikely(entry_type(entry[0]) != TYPE_HASH):
        return refuse(out)
    hash_load(shard.store, &argv.key, entry[0], hash)
    return OPENED if entry[0] != NULL else MISSING


cdef inline void save(Shard *shard, const Argv *argv, Entry *entry, const Hash *hash) noexcept:
    """Put a hash that is not empty back, or as a new key's value."""
    if likely(entry != NULL):
        hash_store(entry, hash)
    else:
        store_set_value(shard.store, &argv.key, TYPE_HASH, hash.encoding, hash.value, EXPIRE_NONE)


cdef int64_t set_pairs(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    """Set args[2:] and record it; how many fields are new, or -1 if the key is no hash."""
    cdef Entry *entry
    cdef Hash hash
    cdef Opened opened = open_to_write(shard, argv, out, &entry, &hash)
    cdef const Arg *args = argv.args
    cdef size_t longest = 0, total = 0
    cdef int64_t added = 0
    cdef uint32_t i
    if unlikely(opened == WRONG):
        return -1
    if opened == MISSING:
        hash_make(&hash)
    for i in range(2, argv.argc):
        total += args[i].length
        if args[i].length > longest:
            longest = args[i].length
    hash_will_grow(&hash, argv.argc // 2 - 1, longest, total)
    for i in range(2, argv.argc, 2):
        added += hash_set(&hash, args[i].data, args[i].length, args[i + 1].data, args[i + 1].length)
    save(shard, argv, entry, &hash)
    shard_changed(shard, &argv.key, EVENT_HSET, argv.argc // 2 - 1)
    return added


cdef int hset(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef int64_t added
    if unlikely(argv.argc % 2):
        return NATIVE_DECLINED
    added = set_pairs(shard, argv, out)
    if likely(added >= 0):
        reply_integer(out, added)
    return NATIVE_DONE


cdef int hmset(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    if unlikely(argv.argc % 2):
        return NATIVE_DECLINED
    if likely(set_pairs(shard, argv, out) >= 0):
        buffer_append(out, b"+OK\r\n", 5)
    return NATIVE_DONE


cdef int hsetnx(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry = store_write(shard.store, &argv.key)
    cdef Hash hash
    if entry != NULL:
        if unlikely(entry_type(entry) != TYPE_HASH):
            refuse(out)
            return NATIVE_DONE
        hash_load(shard.store, &argv.key, entry, &hash)
        if hash_has(&hash, argv.args[2].data, argv.args[2].length):
            reply_integer(out, 0)
            return NATIVE_DONE
    else:
        hash_load(shard.store, &argv.key, NULL, &hash)
        hash_make(&hash)
    hash_will_grow(&hash, 1, max(argv.args[2].length, argv.args[3].length),
                   argv.args[2].length + argv.args[3].length)
    hash_set(&hash, argv.args[2].data, argv.args[2].length, argv.args[3].data,
             argv.args[3].length)
    save(shard, argv, entry, &hash)
    shard_changed(shard, &argv.key, EVENT_HSET, 1)
    reply_integer(out, 1)
    return NATIVE_DONE


cdef inline void reply_field(Shard *shard, const Hash *hash, const Arg *field,
                             Buffer *out) noexcept nogil:
    cdef HashItem item
    if likely(hash_get(hash, field.data, field.length, &item)):
        reply_bulk(out, item.value, item.value_length)
    else:
        reply_null(out, shard.resp)


cdef int hget(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Hash hash
    cdef Opened opened = open_to_read(shard, argv, out, &hash)
    if likely(opened == OPENED):
        reply_field(shard, &hash, &argv.args[2], out)
    elif opened == MISSING:
        reply_null(out, shard.resp)
    return NATIVE_DONE


cdef int hmget(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Hash hash
    cdef Opened opened = open_to_read(shard, argv, out, &hash)
    cdef uint32_t i
    if unlikely(opened == WRONG):
        return NATIVE_DONE
    reply_header(out, c"*", argv.argc - 2)
    for i in range(2, argv.argc):
        if likely(opened == OPENED):
            reply_field(shard, &hash, &argv.args[i], out)
        else:
            reply_null(out, shard.resp)
    return NATIVE_DONE


cdef int reply_all(Shard *shard, const Argv *argv, Buffer *out, int parts) noexcept:
    """The fields, the values or both of a hash."""
    cdef Hash hash
    cdef HashIterator iterator
    cdef HashItem item
    cdef Opened opened = open_to_read(shard, argv, out, &hash)
    cdef int64_t count
    if unlikely(opened == WRONG):
        return NATIVE_DONE
    count = <int64_t>hash_length(&hash) if opened == OPENED else 0
    if parts != PART_FIELD | PART_VALUE:
        reply_header(out, c"*", count)
    elif shard.resp == 2:
        reply_header(out, c"*", count * 2)
    else:
        reply_header(out, c"%", count)
    if opened == MISSING:
        return NATIVE_DONE
    memset(&iterator, 0, sizeof(iterator))
    while hash_next(&hash, &iterator, &item):
        if parts & PART_FIELD:
            reply_bulk(out, item.field, item.field_length)
        if parts & PART_VALUE:
            reply_bulk(out, item.value, item.value_length)
    return NATIVE_DONE


cdef int hgetall(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return reply_all(shard, argv, out, PART_FIELD | PART_VALUE)


cdef int hkeys(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return reply_all(shard, argv, out, PART_FIELD)


cdef int hvals(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return reply_all(shard, argv, out, PART_VALUE)


cdef int hlen(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Hash hash
    cdef Opened opened = open_to_read(shard, argv, out, &hash)
    if opened != WRONG:
        reply_integer(out, <int64_t>hash_length(&hash) if opened == OPENED else 0)
    return NATIVE_DONE


cdef int hexists(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Hash hash
    cdef Opened opened = open_to_read(shard, argv, out, &hash)
    if opened != WRONG:
        reply_integer(out, opened == OPENED and hash_has(
            &hash, argv.args[2].data, argv.args[2].length))
    return NATIVE_DONE


cdef int hstrlen(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Hash hash
    cdef HashItem item
    cdef Opened opened = open_to_read(shard, argv, out, &hash)
    if opened == WRONG:
        return NATIVE_DONE
    if opened == OPENED and hash_get(&hash, argv.args[2].data, argv.args[2].length, &item):
        reply_integer(out, <int64_t>item.value_length)
    else:
        reply_integer(out, 0)
    return NATIVE_DONE


cdef int hdel(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry
    cdef Hash hash
    cdef Opened opened = open_to_write(shard, argv, out, &entry, &hash)
    cdef int64_t deleted = 0
    cdef bint emptied
    cdef uint32_t i
    if unlikely(opened == WRONG):
        return NATIVE_DONE
    if opened == OPENED:
        for i in range(2, argv.argc):
            if hash_delete(&hash, argv.args[i].data, argv.args[i].length):
                deleted += 1
                if hash_length(&hash) == 0:
                    break
        if deleted:
            hash_store(entry, &hash)
            emptied = store_drop_if_empty(shard.store, &argv.key, entry)
            shard_changed(shard, &argv.key, EVENT_HDEL, <uint64_t>deleted)
            if emptied:
                shard_notify(shard, &argv.key, EVENT_DEL)
    reply_integer(out, deleted)
    return NATIVE_DONE


cdef int hincrby(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry
    cdef Hash hash
    cdef int64_t by, result
    if not parse_int64(argv.args[3].data, argv.args[3].length, &by):
        return NATIVE_DECLINED
    # No access is counted until it is sure that Python need not tell of a mistake.
    entry = store_find(shard.store, &argv.key)
    if entry != NULL and store_is_expired(shard.store, entry):
        entry = NULL
    if entry != NULL and unlikely(entry_type(entry) != TYPE_HASH):
        store_touch(shard.store, entry)
        refuse(out)
        return NATIVE_DONE
    store_changing(shard.store, &argv.key)
    hash_load(shard.store, &argv.key, entry, &hash)
    if entry == NULL:
        hash_make(&hash)
    # On an empty hash it always succeeds, so that a new one is never thrown away.
    if hash_increment(&hash, argv.args[2].data, argv.args[2].length, by,
                      &result) != HASH_INCREMENTED:
        return NATIVE_DECLINED
    if entry != NULL:
        store_touch(shard.store, entry)
    save(shard, argv, entry, &hash)
    shard_changed(shard, &argv.key, EVENT_HINCRBY, 1)
    reply_integer(out, result)
    return NATIVE_DONE


cdef inline void reply_drawn(Shard *shard, const HashItem *item, bint with_value,
                             Buffer *out) noexcept nogil:
    if with_value and shard.resp == 3:
        reply_header(out, c"*", 2)
    reply_bulk(out, item.field, item.field_length)
    if with_value:
        reply_bulk(out, item.value, item.value_length)


cdef void reply_sample(Shard *shard, const Hash *hash, uint64_t count, bint with_values,
                       Buffer *out) noexcept nogil:
    """So many different fields, in the order they are stored in. O(n)"""
    cdef HashIterator iterator
    cdef HashItem item
    cdef uint64_t left = hash_length(hash)
    memset(&iterator, 0, sizeof(iterator))
    while count and hash_next(hash, &iterator, &item):
        # Each is taken with the chance that makes every choice of fields as likely as another.
        if ((store_random(shard.store) >> 32) * left) >> 32 < count:
            reply_drawn(shard, &item, with_values, out)
            count -= 1
        left -= 1


cdef void reply_few(Shard *shard, const Hash *hash, uint64_t count, bint with_values,
                    Buffer *out) noexcept nogil:
    """So many different fields of a dict that has SPARSE_SHARE times more. Expected O(count^2)"""
    cdef HashItem items[DRAWN_MAX]
    cdef uint64_t drawn = 0, i
    while drawn < count:
        hash_random(hash, store_random(shard.store), &items[drawn])
        i = 0
        while items[i].field != items[drawn].field:
            i += 1
        if i == drawn:
            reply_drawn(shard, &items[drawn], with_values, out)
            drawn += 1


cdef int hrandfield(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    """All that Redis would not refuse, up to DRAWN_MAX fields."""
    cdef Hash hash
    cdef HashItem item
    cdef Opened opened
    cdef const Arg *word
    cdef int64_t count = 0
    cdef uint64_t length
    cdef bint with_values = argv.argc == 4
    if argv.argc > 4:
        return NATIVE_DECLINED
    if argv.argc > 2:
        if not parse_int64(argv.args[2].data, argv.args[2].length, &count):
            return NATIVE_DECLINED
        if count < -DRAWN_MAX or count > DRAWN_MAX:
            return NATIVE_DECLINED
        if count < 0 and draws_too_much(shard, argv, -count):
            return NATIVE_DECLINED
    if with_values:
        word = &argv.args[3]
        if word.length != 10 or strncasecmp(word.data, b"withvalues", 10) != 0:
            return NATIVE_DECLINED
    opened = open_to_read(shard, argv, out, &hash)
    if unlikely(opened == WRONG):
        return NATIVE_DONE
    if argv.argc == 2:
        if opened == MISSING:
            reply_null(out, shard.resp)
        else:
            hash_random(&hash, store_random(shard.store), &item)
            reply_bulk(out, item.field, item.field_length)
        return NATIVE_DONE
    length = hash_length(&hash) if opened == OPENED else 0
    if length == 0:
        count = 0
    elif count > 0 and <uint64_t>count > length:
        count = <int64_t>length
    reply_header(out, c"*", (-count if count < 0 else count)
                 * (2 if with_values and shard.resp == 2 else 1))
    while count < 0:
        hash_random(&hash, store_random(shard.store), &item)
        reply_drawn(shard, &item, with_values, out)
        count += 1
    if count > 0:
        if hash.encoding == ENCODING_LISTPACK or <uint64_t>count * SPARSE_SHARE > length:
            reply_sample(shard, &hash, <uint64_t>count, with_values, out)
        else:
            reply_few(shard, &hash, <uint64_t>count, with_values, out)
    return NATIVE_DONE


def register(NativeLane lane):
    """Add this family's native handlers to a shard's lane."""
    lane.add("HSET", hset)
    lane.add("HMSET", hmset)
    lane.add("HSETNX", hsetnx)
    lane.add("HGET", hget)
    lane.add("HMGET", hmget)
    lane.add("HGETALL", hgetall)
    lane.add("HKEYS", hkeys)
    lane.add("HVALS", hvals)
    lane.add("HLEN", hlen)
    lane.add("HEXISTS", hexists)
    lane.add("HSTRLEN", hstrlen)
    lane.add("HDEL", hdel)
    lane.add("HINCRBY", hincrby)
    lane.add("HRANDFIELD", hrandfield)
