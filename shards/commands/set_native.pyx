"""The set family's hot commands in the native lane; as string_native.pyx, errors are DECLINED."""

from libc.stdint cimport INT64_MIN, int64_t, uint32_t, uint64_t

from protocol.buffer cimport Buffer
from protocol.native cimport likely, unlikely
from protocol.numbers cimport parse_int64
from protocol.reply cimport (
    reply_bulk, reply_bulk_integer, reply_header, reply_integer, reply_null,
)
from shards.commands.common_native cimport draws_too_much, reply_wrong_type
from shards.lane.events cimport EVENT_DEL, EVENT_SADD, EVENT_SPOP, EVENT_SREM
from shards.lane.effects cimport log_argument, log_number
from shards.lane.handler cimport (
    NATIVE_DECLINED, NATIVE_DONE, Argv, NativeLane, Shard, shard_changed, shard_notify,
    shard_log, shard_log_arg, shard_logs,
)
from shards.keyspace.keyspace cimport (
    EXPIRE_NONE, TYPE_SET, Entry, entry_type, store_delete, store_drop_if_empty, store_random,
    store_read, store_set_value, store_write,
)
from shards.types.listpack cimport Element
from shards.types.set cimport (
    Set, set_add, set_draw, set_has, set_length, set_make, set_pop, set_random, set_remove,
    set_sample, set_visit, set_will_grow,
)
from shards.views.set cimport set_load, set_save


cdef inline int reply_count(Buffer *out, int64_t count) noexcept nogil:
    reply_integer(out, count)
    return NATIVE_DONE


cdef inline int reply_set_header(Shard *shard, Buffer *out, uint64_t count) noexcept nogil:
    reply_header(out, c"~" if shard.resp == 3 else c"*", <int64_t>count)
    return NATIVE_DONE


cdef void reply_member(void *context, const Element *member) noexcept nogil:
    if member.data != NULL:
        reply_bulk(<Buffer *>context, member.data, member.length)
    else:
        reply_bulk_integer(<Buffer *>context, member.number)


cdef int sadd(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry = store_write(shard.store, &argv.key)
    cdef uint32_t i, count = argv.argc - 2
    cdef int64_t added = 0
    cdef Set set
    if unlikely(entry != NULL and entry_type(entry) != TYPE_SET):
        return reply_wrong_type(out)
    set_load(shard.store, &argv.key, entry, &set)
    if entry == NULL:
        set_make(&set, argv.args[2].data, argv.args[2].length, count)
    elif count > 1:
        set_will_grow(&set, count)
    for i in range(2, argv.argc):
        added += set_add(&set, argv.args[i].data, argv.args[i].length)
    if entry == NULL:
        store_set_value(
            shard.store, &argv.key, TYPE_SET, set.encoding, set.value, EXPIRE_NONE)
    else:
        set_save(entry, &set)
    if added:
        shard_changed(shard, &argv.key, EVENT_SADD, <uint64_t>added)
    return reply_count(out, added)


cdef int srem(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry = store_write(shard.store, &argv.key)
    cdef uint32_t i
    cdef int64_t removed = 0
    cdef Set set
    if entry == NULL:
        return reply_count(out, 0)
    if unlikely(entry_type(entry) != TYPE_SET):
        return reply_wrong_type(out)
    set_load(shard.store, &argv.key, entry, &set)
    for i in range(2, argv.argc):
        if set_remove(&set, argv.args[i].data, argv.args[i].length):
            removed += 1
            if set_length(&set) == 0:
                break
    if removed:
        set_save(entry, &set)
        shard_changed(shard, &argv.key, EVENT_SREM, <uint64_t>removed)
        if store_drop_if_empty(shard.store, &argv.key, entry):
            shard_notify(shard, &argv.key, EVENT_DEL)
    return reply_count(out, removed)


cdef int sismember(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry = store_read(shard.store, &argv.key, True)
    cdef Set set
    if entry == NULL:
        return reply_count(out, 0)
    if unlikely(entry_type(entry) != TYPE_SET):
        return reply_wrong_type(out)
    set_load(shard.store, &argv.key, entry, &set)
    return reply_count(out, set_has(&set, argv.args[2].data, argv.args[2].length))


cdef int smismember(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry = store_read(shard.store, &argv.key, True)
    cdef uint32_t i
    cdef Set set
    if unlikely(entry != NULL and entry_type(entry) != TYPE_SET):
        return reply_wrong_type(out)
    set_load(shard.store, &argv.key, entry, &set)
    reply_header(out, c"*", argv.argc - 2)
    for i in range(2, argv.argc):
        reply_integer(out, entry != NULL and set_has(
            &set, argv.args[i].data, argv.args[i].length))
    return NATIVE_DONE


cdef int scard(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry = store_read(shard.store, &argv.key, True)
    cdef Set set
    if entry == NULL:
        return reply_count(out, 0)
    if unlikely(entry_type(entry) != TYPE_SET):
        return reply_wrong_type(out)
    set_load(shard.store, &argv.key, entry, &set)
    return reply_count(out, <int64_t>set_length(&set))


cdef int smembers(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry = store_read(shard.store, &argv.key, True)
    cdef Set set
    if entry == NULL:
        return reply_set_header(shard, out, 0)
    if unlikely(entry_type(entry) != TYPE_SET):
        return reply_wrong_type(out)
    set_load(shard.store, &argv.key, entry, &set)
    reply_set_header(shard, out, set_length(&set))
    set_visit(&set, reply_member, out)
    return NATIVE_DONE


cdef inline bint count_from(const Argv *argv, int64_t *count) noexcept nogil:
    """The count of SPOP or SRANDMEMBER; False if it is none, or there is more after it."""
    return argv.argc == 3 and parse_int64(argv.args[2].data, argv.args[2].length, count)


cdef enum:
    LOGGED_MEMBERS_MAX = 1024           # as in set.py


cdef struct Popping:
    Shard *shard
    Buffer *out


cdef void reply_and_log_member(void *context, const Element *member) noexcept nogil:
    cdef Popping *popping = <Popping *>context
    reply_member(popping.out, member)
    if member.data != NULL:
        log_argument(popping.shard.store, member.data, member.length)
    else:
        log_number(popping.shard.store, member.number)


cdef int spop(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry
    cdef int64_t count = 1
    cdef uint64_t size
    cdef bint several = argv.argc > 2
    cdef Popping popping
    cdef Set set
    if several and (not count_from(argv, &count) or count < 0):
        return NATIVE_DECLINED
    if shard_logs(shard) and count > LOGGED_MEMBERS_MAX:
        return NATIVE_DECLINED
    entry = store_write(shard.store, &argv.key)
    if unlikely(entry != NULL and entry_type(entry) != TYPE_SET):
        return reply_wrong_type(out)
    if entry == NULL or count == 0:
        if several:
            return reply_set_header(shard, out, 0)
        reply_null(out, shard.resp)
        return NATIVE_DONE
    set_load(shard.store, &argv.key, entry, &set)
    size = set_length(&set)
    if <uint64_t>count > size:
        count = <int64_t>size
    if several:
        if <uint64_t>count == size:
            store_read(shard.store, &argv.key, True)    # Redis reads it, and counts that
        reply_set_header(shard, out, <uint64_t>count)
    if shard_logs(shard):
        popping.shard = shard
        popping.out = out
        if several and <uint64_t>count == size:
            shard_log(shard, 2, b"DEL", 3)
            shard_log_arg(shard, &argv.args[1])
        else:
            shard_log(shard, 2 + <uint32_t>count, b"SREM", 4)
            shard_log_arg(shard, &argv.args[1])
    if likely(<uint64_t>count < size):
        if shard_logs(shard):
            set_pop(&set, <uint64_t>count, store_random(shard.store), reply_and_log_member,
                    &popping)
        else:
            set_pop(&set, <uint64_t>count, store_random(shard.store), reply_member, out)
        set_save(entry, &set)
        shard_changed(shard, &argv.key, EVENT_SPOP, <uint64_t>count)
    else:
        if shard_logs(shard) and not several:
            set_visit(&set, reply_and_log_member, &popping)
        else:
            set_visit(&set, reply_member, out)
        store_delete(shard.store, &argv.key)
        shard_changed(shard, &argv.key, EVENT_SPOP, <uint64_t>count)
        shard_notify(shard, &argv.key, EVENT_DEL)
    return NATIVE_DONE


cdef int srandmember(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry
    cdef int64_t count = 1
    cdef uint64_t size
    cdef bint several = argv.argc > 2
    cdef Set set
    cdef Element member
    if several and (not count_from(argv, &count) or count == INT64_MIN):
        return NATIVE_DECLINED
    if count < 0 and draws_too_much(shard, argv, -count):
        return NATIVE_DECLINED
    entry = store_read(shard.store, &argv.key, True)
    if unlikely(entry != NULL and entry_type(entry) != TYPE_SET):
        return reply_wrong_type(out)
    if entry == NULL or count == 0:
        if several:
            reply_header(out, c"*", 0)
        else:
            reply_null(out, shard.resp)
        return NATIVE_DONE
    set_load(shard.store, &argv.key, entry, &set)
    if not several:
        set_random(&set, store_random(shard.store), &member)
        reply_member(out, &member)
    elif count < 0:
        reply_header(out, c"*", -count)
        set_draw(&set, <uint64_t>-count, store_random(shard.store), reply_member, out)
    else:
        size = set_length(&set)
        reply_header(out, c"*", count if <uint64_t>count < size else <int64_t>size)
        set_sample(&set, <uint64_t>count, store_random(shard.store), reply_member, out)
    return NATIVE_DONE


def register(NativeLane lane):
    """Add this family's native handlers to a shard's lane."""
    lane.add("SADD", sadd)
    lane.add("SREM", srem)
    lane.add("SISMEMBER", sismember)
    lane.add("SMISMEMBER", smismember)
    lane.add("SCARD", scard)
    lane.add("SMEMBERS", smembers)
    lane.add("SPOP", spop)
    lane.add("SRANDMEMBER", srandmember)
