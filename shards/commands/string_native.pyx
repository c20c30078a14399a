"""The string family's hot commands in the native lane.

They do what their Python handlers in string.py do, for the calls that succeed; whatever would be an
error of the client's making is DECLINED before anything is touched, so that every error text is in
one place. The only exception is WRONGTYPE, which needs the key opened.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from actors.mailbox cimport message_move_zmq, zmq_message_close
from protocol.buffer cimport Buffer, buffer_append
from protocol.native cimport likely, out_of_memory, unlikely
from protocol.numbers cimport parse_int64
from protocol.reply cimport reply_bulk, reply_header, reply_integer, reply_null
from shards.commands.common_native cimport is_word, reply_wrong_type
from shards.lane.effects cimport log_argument, log_raw
from shards.lane.events cimport (
    EVENT_APPEND, EVENT_DEL, EVENT_EXPIRE, EVENT_INCRBY, EVENT_SET, EVENT_SETRANGE,
)
from shards.lane.handler cimport (
    NATIVE_BLOB, NATIVE_DECLINED, NATIVE_DONE, Arg, Argv, NativeLane, Shard, key_at, shard_changed,
    shard_log, shard_log_arg, shard_log_number, shard_logs, shard_notify,
)
from shards.keyspace.entry cimport part_of
from shards.keyspace.keyspace cimport (
    EXPIRE_KEEP, EXPIRE_NONE, INLINE_BYTES_MAX, TYPE_STRING, Blob, Entry, Key, entry_blob,
    entry_integer, entry_string, entry_type, store_append, store_delete, store_read, store_set_blob,
    store_find, store_is_expired, store_prefetch_bucket, store_prefetch_entry,
    store_prefetch_table, store_set_integer, store_set_range, store_set_string, store_touch,
    store_write,
)
from shards.keyspace.store cimport FORM_SHORTEST

cdef extern from *:
    uint64_t __sync_fetch_and_add(uint64_t *, uint64_t) noexcept nogil

cdef enum:
    BLOB_REPLY_BYTES_MIN = 65536    # a stored value from here on is sent without a copy
    WINDOW = 16                     # keys that MGET and MSET prefetch together


cdef enum SetFlag:
    SET_NX = 1
    SET_XX = 2


cdef inline int reply_ok(Buffer *out) noexcept nogil:
    buffer_append(out, b"+OK\r\n", 5)
    return NATIVE_DONE


cdef int reply_string(Shard *shard, const Entry *entry, Buffer *out) noexcept nogil:
    """A string entry as a bulk string; a large one by reference."""
    cdef char scratch[24]
    cdef size_t n
    cdef const char *data
    cdef Blob *blob = entry_blob(entry)
    if unlikely(blob != NULL and blob.length > BLOB_REPLY_BYTES_MIN):
        __sync_fetch_and_add(&blob.references, 1)
        shard.blob = blob
        reply_header(out, c"$", <int64_t>blob.length)
        return NATIVE_BLOB
    data = entry_string(entry, scratch, &n)
    reply_bulk(out, data, n)
    return NATIVE_DONE


cdef bint expiry_from(const Shard *shard, const Arg *arg, int64_t unit, bint absolute,
                      int64_t *when) noexcept nogil:
    """An expiry argument as a time in ms; False where Redis would refuse it."""
    cdef int64_t value
    if not parse_int64(arg.data, arg.length, &value) or value <= 0 or value > INT64_MAX // unit:
        return False
    value *= unit
    if not absolute:
        if value > INT64_MAX - shard.store.now_ms:
            return False
        value += shard.store.now_ms
    when[0] = value
    return True


cdef void release_adopted(Blob *blob) noexcept nogil:
    zmq_message_close(blob.context)
    free(blob)


cdef void set_value(Shard *shard, const Key *key, const Arg *value, int64_t expire_ms) noexcept:
    """Store a value; a large one that came in a message of its own, and fills it, is kept there."""
    cdef Blob *blob
    if unlikely(shard.adopt != NULL and value.length > INLINE_BYTES_MAX
                and value.length > shard.adopt.size // 4 * 3):
        blob = <Blob *>malloc(sizeof(Blob))
        if blob == NULL:
            out_of_memory(sizeof(Blob))
        memset(blob, 0, sizeof(Blob))
        blob.references = 1
        blob.data = value.data
        blob.length = value.length
        blob.release = release_adopted
        message_move_zmq(shard.adopt, blob.context)
        shard.adopt = NULL
        store_set_blob(shard.store, key, blob, expire_ms)
    else:
        store_set_string(shard.store, key, value.data, value.length, expire_ms, FORM_SHORTEST)


cdef void log_set(Shard *shard, const Argv *argv, uint32_t value, int64_t expire_ms) noexcept nogil:
    """Log a SET of the first key to an argument; its expiry, if any, as a time."""
    if shard_logs(shard):
        shard_log(shard, 3 if expire_ms == EXPIRE_NONE else 5, b"SET", 3)
        shard_log_arg(shard, &argv.args[1])
        shard_log_arg(shard, &argv.args[value])
        if expire_ms != EXPIRE_NONE:
            log_argument(shard.store, b"PXAT", 4)
            shard_log_number(shard, expire_ms)


cdef int get(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry = store_read(shard.store, &argv.key, True)
    if entry == NULL:
        reply_null(out, shard.resp)
        return NATIVE_DONE
    if unlikely(entry_type(entry) != TYPE_STRING):
        return reply_wrong_type(out)
    return reply_string(shard, entry, out)


cdef int set_(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef int64_t expire_ms = EXPIRE_NONE
    cdef int flags = 0
    cdef uint32_t i = 3
    cdef bint has_expiry = False
    cdef bint absolute = False
    cdef const Arg *option
    cdef Entry *entry
    while unlikely(i < argv.argc):
        option = &argv.args[i]
        i += 1
        if is_word(option, b"nx", 2) and not flags & SET_XX:
            flags |= SET_NX
        elif is_word(option, b"xx", 2) and not flags & SET_NX:
            flags |= SET_XX
        elif is_word(option, b"keepttl", 7) and not has_expiry:
            has_expiry = True
            expire_ms = EXPIRE_KEEP
        elif i < argv.argc and not has_expiry:
            if is_word(option, b"ex", 2):
                has_expiry = expiry_from(shard, &argv.args[i], 1000, False, &expire_ms)
            elif is_word(option, b"px", 2):
                has_expiry = expiry_from(shard, &argv.args[i], 1, False, &expire_ms)
            elif is_word(option, b"exat", 4):
                has_expiry = expiry_from(shard, &argv.args[i], 1000, True, &expire_ms)
            elif is_word(option, b"pxat", 4):
                has_expiry = absolute = expiry_from(shard, &argv.args[i], 1, True, &expire_ms)
            if not has_expiry:
                return NATIVE_DECLINED
            i += 1
        else:
            return NATIVE_DECLINED
    if unlikely(flags or shard.store.lfu):      # in LFU mode, opening the key counts an access
        entry = store_write(shard.store, &argv.key)
        if flags and (entry != NULL) != (flags == SET_XX):
            reply_null(out, shard.resp)
            return NATIVE_DONE
    set_value(shard, &argv.key, &argv.args[2], expire_ms)
    shard_changed(shard, &argv.key, EVENT_SET, 1)
    if unlikely(has_expiry and expire_ms != EXPIRE_KEEP):
        shard_notify(shard, &argv.key, EVENT_EXPIRE)
        if not absolute:
            log_set(shard, argv, 2, expire_ms)
            return reply_ok(out)
    if shard_logs(shard):
        log_raw(shard.store)
    return reply_ok(out)


cdef int setex_in(Shard *shard, const Argv *argv, Buffer *out, int64_t unit) noexcept:
    cdef int64_t expire_ms
    if not expiry_from(shard, &argv.args[2], unit, False, &expire_ms):
        return NATIVE_DECLINED
    set_value(shard, &argv.key, &argv.args[3], expire_ms)
    shard_changed(shard, &argv.key, EVENT_SET, 1)
    shard_notify(shard, &argv.key, EVENT_EXPIRE)
    log_set(shard, argv, 3, expire_ms)
    return reply_ok(out)


cdef int setex(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return setex_in(shard, argv, out, 1000)


cdef int psetex(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return setex_in(shard, argv, out, 1)


cdef int setnx(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    if store_write(shard.store, &argv.key) != NULL:
        reply_integer(out, 0)
        return NATIVE_DONE
    set_value(shard, &argv.key, &argv.args[2], EXPIRE_NONE)
    shard_changed(shard, &argv.key, EVENT_SET, 1)
    reply_integer(out, 1)
    return NATIVE_DONE


cdef int getset(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry = store_read(shard.store, &argv.key, True)
    cdef int status = NATIVE_DONE
    if entry == NULL:
        reply_null(out, shard.resp)
    elif entry_type(entry) != TYPE_STRING:
        return reply_wrong_type(out)
    else:
        status = reply_string(shard, entry, out)
    set_value(shard, &argv.key, &argv.args[2], EXPIRE_NONE)
    shard_changed(shard, &argv.key, EVENT_SET, 1)
    log_set(shard, argv, 2, EXPIRE_NONE)
    return status


cdef int getdel(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry = store_read(shard.store, &argv.key, True)
    cdef int status
    if entry == NULL:
        reply_null(out, shard.resp)
        return NATIVE_DONE
    if entry_type(entry) != TYPE_STRING:
        return reply_wrong_type(out)
    status = reply_string(shard, entry, out)
    store_delete(shard.store, &argv.key)
    shard_changed(shard, &argv.key, EVENT_DEL, 1)
    if shard_logs(shard):
        shard_log(shard, 2, b"DEL", 3)
        shard_log_arg(shard, &argv.args[1])
    return status


cdef int add(Shard *shard, const Argv *argv, Buffer *out, int64_t increment) noexcept:
    cdef Entry *entry = store_find(shard.store, &argv.key)
    cdef int64_t value = 0
    # Looked at without a trace until it is sure that Python need not tell of a mistake.
    if likely(entry != NULL) and not store_is_expired(shard.store, entry):
        if unlikely(entry_type(entry) != TYPE_STRING):
            store_touch(shard.store, entry)
            return reply_wrong_type(out)
        if unlikely(not entry_integer(entry, &value)):
            return NATIVE_DECLINED
        if unlikely(
            (increment < 0 and value < 0 and increment < INT64_MIN - value)
            or (increment > 0 and value > 0 and increment > INT64_MAX - value)
        ):
            return NATIVE_DECLINED
        store_touch(shard.store, entry)
    value += increment
    store_set_integer(shard.store, &argv.key, value, EXPIRE_KEEP)
    shard_changed(shard, &argv.key, EVENT_INCRBY, 1)
    reply_integer(out, value)
    return NATIVE_DONE


cdef int incr(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return add(shard, argv, out, 1)


cdef int decr(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return add(shard, argv, out, -1)


cdef int incrby(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef int64_t increment
    if not parse_int64(argv.args[2].data, argv.args[2].length, &increment):
        return NATIVE_DECLINED
    return add(shard, argv, out, increment)


cdef int decrby(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef int64_t decrement
    if (not parse_int64(argv.args[2].data, argv.args[2].length, &decrement)
            or decrement == INT64_MIN):
        return NATIVE_DECLINED
    return add(shard, argv, out, -decrement)


cdef size_t string_length(const Entry *entry) noexcept nogil:
    cdef char scratch[24]
    cdef size_t n
    entry_string(entry, scratch, &n)
    return n


cdef int append(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry = store_find(shard.store, &argv.key)
    cdef const Arg *value = &argv.args[2]
    cdef size_t n
    if entry == NULL or store_is_expired(shard.store, entry):
        set_value(shard, &argv.key, value, EXPIRE_NONE)
        n = value.length
    elif entry_type(entry) != TYPE_STRING:
        store_touch(shard.store, entry)
        return reply_wrong_type(out)
    elif string_length(entry) + value.length > <size_t>shard.bulk_bytes_max:
        return NATIVE_DECLINED
    else:
        store_touch(shard.store, entry)
        n = store_append(shard.store, &argv.key, value.data, value.length)
    shard_changed(shard, &argv.key, EVENT_APPEND, 1)
    reply_integer(out, <int64_t>n)
    return NATIVE_DONE


cdef int strlen_(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry = store_read(shard.store, &argv.key, True)
    if entry == NULL:
        reply_integer(out, 0)
    elif entry_type(entry) != TYPE_STRING:
        return reply_wrong_type(out)
    else:
        reply_integer(out, <int64_t>string_length(entry))
    return NATIVE_DONE


cdef int getrange(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef int64_t start, end
    cdef Entry *entry
    cdef char scratch[24]
    cdef size_t n
    cdef const char *data
    if not parse_int64(argv.args[2].data, argv.args[2].length, &start):
        return NATIVE_DECLINED
    if not parse_int64(argv.args[3].data, argv.args[3].length, &end):
        return NATIVE_DECLINED
    entry = store_read(shard.store, &argv.key, True)
    if entry == NULL:
        reply_bulk(out, b"", 0)
        return NATIVE_DONE
    if entry_type(entry) != TYPE_STRING:
        return reply_wrong_type(out)
    data = entry_string(entry, scratch, &n)
    if part_of(<int64_t>n, &start, &end):
        reply_bulk(out, data + start, <size_t>(end - start + 1))
    else:
        reply_bulk(out, b"", 0)
    return NATIVE_DONE


cdef int setrange(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef int64_t offset
    cdef Entry *entry
    cdef const Arg *value = &argv.args[3]
    cdef size_t n
    if not parse_int64(argv.args[2].data, argv.args[2].length, &offset) or offset < 0:
        return NATIVE_DECLINED
    if value.length == 0 or offset > shard.bulk_bytes_max - <int64_t>value.length:
        return NATIVE_DECLINED
    entry = store_write(shard.store, &argv.key)
    if entry != NULL and entry_type(entry) != TYPE_STRING:
        return reply_wrong_type(out)
    n = store_set_range(shard.store, &argv.key, <size_t>offset, value.data, value.length)
    shard_changed(shard, &argv.key, EVENT_SETRANGE, 1)
    reply_integer(out, <int64_t>n)
    return NATIVE_DONE


cdef uint32_t look_ahead(Shard *shard, const Argv *argv, uint32_t first, uint32_t step,
                         Key *keys) noexcept:
    """Make keys of the next arguments, WINDOW at most, and prefetch what they lead to; how many."""
    cdef uint32_t count = 0, i
    while count < WINDOW and first < argv.argc:
        key_at(shard, &argv.args[first], &keys[count])
        store_prefetch_table(shard.store, &keys[count])
        count += 1
        first += step
    for i in range(count):
        store_prefetch_bucket(shard.store, &keys[i])
    for i in range(count):
        store_prefetch_entry(shard.store, &keys[i])
    return count


cdef int mget(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef uint32_t i, ahead = 0, at = 0
    cdef Key keys[WINDOW]
    cdef Entry *entry
    cdef char scratch[24]
    cdef size_t n
    cdef const char *data
    reply_header(out, c"*", argv.argc - 1)
    for i in range(1, argv.argc):
        if at == ahead:
            ahead = look_ahead(shard, argv, i, 1, keys)
            at = 0
        entry = store_read(shard.store, &keys[at], True)
        at += 1
        if entry == NULL or entry_type(entry) != TYPE_STRING:
            reply_null(out, shard.resp)
        else:
            data = entry_string(entry, scratch, &n)
            reply_bulk(out, data, n)
    return NATIVE_DONE


cdef void set_all(Shard *shard, const Argv *argv) noexcept:
    cdef uint32_t i, ahead = 0, at = 0
    cdef Key keys[WINDOW]
    for i in range(1, argv.argc, 2):
        if at == ahead:
            ahead = look_ahead(shard, argv, i, 2, keys)
            at = 0
        store_set_string(
            shard.store, &keys[at], argv.args[i + 1].data, argv.args[i + 1].length, EXPIRE_NONE,
            FORM_SHORTEST,
        )
        shard_changed(shard, &keys[at], EVENT_SET, 1)
        at += 1


cdef int mset(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    if argv.argc % 2 == 0:
        return NATIVE_DECLINED
    set_all(shard, argv)
    return reply_ok(out)


cdef int msetnx(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef uint32_t i
    cdef Key key
    if argv.argc % 2 == 0:
        return NATIVE_DECLINED
    for i in range(1, argv.argc, 2):
        key_at(shard, &argv.args[i], &key)
        if store_write(shard.store, &key) != NULL:
            reply_integer(out, 0)
            return NATIVE_DONE
    set_all(shard, argv)
    reply_integer(out, 1)
    return NATIVE_DONE


def register(NativeLane lane):
    """Add this family's native handlers to a shard's lane."""
    lane.add("GET", get)
    lane.add("SET", set_)
    lane.add("SETEX", setex)
    lane.add("PSETEX", psetex)
    lane.add("SETNX", setnx)
    lane.add("GETSET", getset)
    lane.add("GETDEL", getdel)
    lane.add("INCR", incr)
    lane.add("DECR", decr)
    lane.add("INCRBY", incrby)
    lane.add("DECRBY", decrby)
    lane.add("APPEND", append)
    lane.add("STRLEN", strlen_)
    lane.add("GETRANGE", getrange)
    lane.add("SUBSTR", getrange)
    lane.add("SETRANGE", setrange)
    lane.add("MGET", mget)
    lane.add("MSET", mset)
    lane.add("MSETNX", msetnx)
