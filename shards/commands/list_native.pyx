"""The list family's hot commands in the native lane; as string_native.pyx, errors are DECLINED."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from protocol.buffer cimport Buffer, buffer_append
from protocol.native cimport likely, unlikely
from protocol.numbers cimport parse_int64
from protocol.reply cimport (
    reply_bulk, reply_bulk_integer, reply_header, reply_integer, reply_null, reply_null_array,
)
from shards.commands.common_native cimport (
    NEVER_WAITS, first_of, is_word, numbered_keys, read_timeout, reply_wrong_type, wait_for,
)
from shards.lane.events cimport (
    EVENT_DEL, EVENT_LPOP, EVENT_LPUSH, EVENT_LSET, EVENT_RPOP, EVENT_RPUSH,
)
from shards.lane.handler cimport (
    NATIVE_DECLINED, NATIVE_DONE, WANTS_LIST, Arg, Argv, NativeLane, Shard, key_at, shard_changed,
    shard_notify, shard_log, shard_log_arg, shard_log_number, shard_logs,
)
from shards.keyspace.keyspace cimport (
    TYPE_LIST, Entry, Key, entry_encoding, entry_pointer, entry_type, store_find, store_is_expired,
    store_read, store_value_length, store_write,
)
from shards.types.kinds cimport ENCODING_LISTPACK
from shards.types.list cimport (
    List, ListWalk, list_count, list_delete_range, list_grow, list_peek, list_pop, list_push,
    list_seek, walk_close, walk_get, walk_next, walk_previous, walk_replace,
)
from shards.types.listpack cimport (
    Element, Listpack, element_text, listpack_get, listpack_seek, listpack_skip,
)
from shards.views.list cimport list_keep, list_keep_rest, list_of


cdef inline void reply_element(Buffer *out, const Element *element) noexcept nogil:
    if element.data != NULL:
        reply_bulk(out, element.data, element.length)
    else:
        reply_bulk_integer(out, element.number)


cdef inline bint is_list(const Entry *entry) noexcept nogil:
    return likely(entry_type(entry) == TYPE_LIST)


cdef void reply_elements(Buffer *out, List *list, int64_t first, int64_t count,
                         bint backwards, bint header) noexcept nogil:
    """An array of `count` elements from `first` on, which are there; or only these."""
    cdef ListWalk walk
    cdef Element element
    cdef int64_t left = count
    if header:
        reply_header(out, c"*", count)
    if count == 0:
        return
    list_seek(list, first, &walk)
    while True:
        walk_get(&walk, &element)
        reply_element(out, &element)
        left -= 1
        if left == 0:
            break
        if backwards:
            walk_previous(&walk)
        else:
            walk_next(&walk)
    walk_close(&walk)


cdef void reply_pack(Buffer *out, Listpack *pack, int64_t first, int64_t count) noexcept nogil:
    """The same forwards in a listpack, which most lists are."""
    cdef const uint8_t *p = listpack_seek(pack, first)
    cdef Element element
    cdef int64_t i
    reply_header(out, c"*", count)
    for i in range(count):
        listpack_get(p, &element)
        reply_element(out, &element)
        p = listpack_skip(p)


# Pushing

cdef int push(Shard *shard, const Argv *argv, Buffer *out, bint at_tail,
              bint only_existing) noexcept:
    cdef Entry *entry = store_write(shard.store, &argv.key)
    cdef List list
    cdef uint64_t total = 0
    cdef uint32_t i
    if entry != NULL:
        if unlikely(not is_list(entry)):
            return reply_wrong_type(out)
    elif only_existing:
        reply_integer(out, 0)
        return NATIVE_DONE
    for i in range(2, argv.argc):
        total += argv.args[i].length
    list_of(shard.store, argv.key.database, entry, &list)
    list_grow(&list, total, argv.argc - 2)
    for i in range(2, argv.argc):
        list_push(&list, argv.args[i].data, argv.args[i].length, at_tail)
    list_keep(shard.store, &argv.key, entry, &list)
    shard_changed(shard, &argv.key, EVENT_RPUSH if at_tail else EVENT_LPUSH, argv.argc - 2)
    reply_integer(out, <int64_t>list_count(&list))
    return NATIVE_DONE


cdef int lpush(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return push(shard, argv, out, False, False)


cdef int rpush(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return push(shard, argv, out, True, False)


cdef int lpushx(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return push(shard, argv, out, False, True)


cdef int rpushx(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return push(shard, argv, out, True, True)


# Popping

cdef int pop(Shard *shard, const Argv *argv, Buffer *out, bint at_tail) noexcept:
    cdef Entry *entry
    cdef List list
    cdef Element element
    cdef int64_t length
    cdef int64_t count = 1
    cdef bint gone
    if unlikely(argv.argc > 2):
        # Errors, and a count of 0, are Python's.
        if argv.argc > 3 or not parse_int64(argv.args[2].data, argv.args[2].length, &count):
            return NATIVE_DECLINED
        if count <= 0:
            return NATIVE_DECLINED
    entry = store_write(shard.store, &argv.key)
    if entry == NULL:
        if argv.argc == 2:
            reply_null(out, shard.resp)
        else:
            reply_null_array(out, shard.resp)
        return NATIVE_DONE
    if unlikely(not is_list(entry)):
        return reply_wrong_type(out)
    list_of(shard.store, argv.key.database, entry, &list)
    if likely(argv.argc == 2):
        list_peek(&list, at_tail, &element)
        reply_element(out, &element)
        list_pop(&list, at_tail)
    else:
        length = <int64_t>list_count(&list)
        if count > length:
            count = length
        reply_elements(out, &list, length - 1 if at_tail else 0, count, at_tail, True)
        list_delete_range(&list, length - count if at_tail else 0, count)
    gone = list_keep_rest(shard.store, &argv.key, entry, &list)
    shard_changed(shard, &argv.key, EVENT_RPOP if at_tail else EVENT_LPOP, count)
    if unlikely(gone):
        shard_notify(shard, &argv.key, EVENT_DEL)
    return NATIVE_DONE


cdef int lpop(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return pop(shard, argv, out, False)


cdef int rpop(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return pop(shard, argv, out, True)


# Moving

cdef bint side_of(const Arg *arg, bint *at_tail) noexcept nogil:
    at_tail[0] = is_word(arg, b"right", 5)
    return at_tail[0] or is_word(arg, b"left", 4)


cdef int move(Shard *shard, const Argv *argv, Buffer *out, bint from_tail, bint to_tail,
              int64_t deadline) noexcept:
    cdef const Arg *source = &argv.args[1]
    cdef const Arg *name = &argv.args[2]
    cdef Entry *entry = store_write(shard.store, &argv.key)
    cdef Entry *target
    cdef Key key
    cdef List list
    cdef Element element
    cdef char scratch[24]
    cdef const char *data
    cdef size_t n
    cdef bint gone = False
    if entry == NULL:
        if deadline != NEVER_WAITS and shard.may_block:
            return wait_for(shard, 1, 2, WANTS_LIST, deadline)
        reply_null(out, shard.resp)
        return NATIVE_DONE
    if unlikely(not is_list(entry)):
        return reply_wrong_type(out)
    key_at(shard, name, &key)
    target = store_write(shard.store, &key)
    if unlikely(target != NULL and not is_list(target)):
        return reply_wrong_type(out)

    list_of(shard.store, argv.key.database, entry, &list)
    list_peek(&list, from_tail, &element)
    data = element_text(&element, scratch, &n)
    reply_bulk(out, data, n)
    # The element dies with the pop; the reply has it still, before its line end.
    data = out.data + out.used - 2 - n
    list_pop(&list, from_tail)
    if source.length == name.length and memcmp(source.data, name.data, name.length) == 0:
        list_grow(&list, n, 1)
        list_push(&list, data, n, to_tail)
        list_keep_rest(shard.store, &argv.key, entry, &list)
    else:
        gone = list_keep_rest(shard.store, &argv.key, entry, &list)
        target = store_find(shard.store, &key)
        list_of(shard.store, key.database, target, &list)
        list_grow(&list, n, 1)
        list_push(&list, data, n, to_tail)
        list_keep(shard.store, &key, target, &list)
    shard_changed(shard, &key, EVENT_RPUSH if to_tail else EVENT_LPUSH, 1)
    shard_notify(shard, &argv.key, EVENT_RPOP if from_tail else EVENT_LPOP)
    if unlikely(gone):
        shard_notify(shard, &argv.key, EVENT_DEL)
    return NATIVE_DONE


cdef void log_move(Shard *shard, const Argv *argv, const char *name, size_t n,
                   uint32_t argc) noexcept nogil:
    """Log a move that was made without waiting: the same words but the time to wait."""
    cdef uint32_t i
    shard_log(shard, argc, name, n)
    for i in range(1, argc):
        shard_log_arg(shard, &argv.args[i])


cdef int move_between(Shard *shard, const Argv *argv, Buffer *out, int64_t deadline) noexcept:
    cdef bint from_tail, to_tail
    if not side_of(&argv.args[3], &from_tail) or not side_of(&argv.args[4], &to_tail):
        return NATIVE_DECLINED
    return move(shard, argv, out, from_tail, to_tail, deadline)


cdef int lmove(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return move_between(shard, argv, out, NEVER_WAITS)


cdef int blmove(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef uint64_t changes = shard.store.changes
    cdef int status
    cdef int64_t deadline
    if not read_timeout(shard, &argv.args[5], &deadline):
        return NATIVE_DECLINED
    status = move_between(shard, argv, out, deadline)
    if shard_logs(shard) and shard.store.changes != changes:
        log_move(shard, argv, b"LMOVE", 5, 5)
    return status


cdef int rpoplpush(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return move(shard, argv, out, True, False, NEVER_WAITS)


cdef int brpoplpush(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef uint64_t changes = shard.store.changes
    cdef int status
    cdef int64_t deadline
    if not read_timeout(shard, &argv.args[3], &deadline):
        return NATIVE_DECLINED
    status = move(shard, argv, out, True, False, deadline)
    if shard_logs(shard) and shard.store.changes != changes:
        log_move(shard, argv, b"RPOPLPUSH", 9, 3)
    return status


# The first list of several

cdef int pop_first(Shard *shard, const Argv *argv, Buffer *out, uint32_t at, uint32_t end,
                   bint at_tail, int64_t count, int64_t deadline) noexcept:
    """Take from the first of the keys at..end - 1 that exists. A count of 0: one, no array."""
    cdef uint32_t first = at
    cdef Entry *entry
    cdef Key key
    cdef List list
    cdef int64_t taken, length
    cdef bint gone
    entry = first_of(shard, argv, &at, end, &key)
    if entry == NULL:
        if deadline != NEVER_WAITS and shard.may_block:
            return wait_for(shard, first, end, WANTS_LIST, deadline)
        reply_null_array(out, shard.resp)
        return NATIVE_DONE
    if unlikely(not is_list(entry)):
        return reply_wrong_type(out)
    list_of(shard.store, key.database, entry, &list)
    length = <int64_t>list_count(&list)
    taken = min(max(count, <int64_t>1), length)
    reply_header(out, c"*", 2)
    reply_bulk(out, argv.args[at].data, argv.args[at].length)
    reply_elements(out, &list, length - 1 if at_tail else 0, taken, at_tail, count != 0)
    list_delete_range(&list, <uint64_t>(length - taken if at_tail else 0), <uint64_t>taken)
    gone = list_keep_rest(shard.store, &key, entry, &list)
    shard_changed(shard, &key, EVENT_RPOP if at_tail else EVENT_LPOP, <uint64_t>taken)
    if unlikely(gone):
        shard_notify(shard, &key, EVENT_DEL)
    if shard_logs(shard):
        shard_log(shard, 3 if count else 2, b"RPOP" if at_tail else b"LPOP", 4)
        shard_log_arg(shard, &argv.args[at])
        if count:
            shard_log_number(shard, taken)
    return NATIVE_DONE


cdef int pop_many(Shard *shard, const Argv *argv, Buffer *out, uint32_t at,
                  int64_t deadline) noexcept:
    """A number of keys at `at`, the keys, a side, and maybe COUNT."""
    cdef int64_t count
    cdef uint32_t end
    cdef bint at_tail
    if not numbered_keys(argv, at, &end, &count) or not side_of(&argv.args[end], &at_tail):
        return NATIVE_DECLINED
    return pop_first(shard, argv, out, at + 1, end, at_tail, count, deadline)


cdef int lmpop(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return pop_many(shard, argv, out, 1, NEVER_WAITS)


cdef int blmpop(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef int64_t deadline
    if not read_timeout(shard, &argv.args[1], &deadline):
        return NATIVE_DECLINED
    return pop_many(shard, argv, out, 2, deadline)


cdef int pop_waiting(Shard *shard, const Argv *argv, Buffer *out, bint at_tail) noexcept:
    cdef int64_t deadline
    if not read_timeout(shard, &argv.args[argv.argc - 1], &deadline):
        return NATIVE_DECLINED
    return pop_first(shard, argv, out, 1, argv.argc - 1, at_tail, 0, deadline)


cdef int blpop(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return pop_waiting(shard, argv, out, False)


cdef int brpop(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return pop_waiting(shard, argv, out, True)


# Replacing

cdef int lset(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef const Arg *value = &argv.args[3]
    cdef Entry *entry
    cdef List list
    cdef ListWalk walk
    cdef int64_t index, length
    if not parse_int64(argv.args[2].data, argv.args[2].length, &index):
        return NATIVE_DECLINED
    entry = store_find(shard.store, &argv.key)
    if entry == NULL or not is_list(entry) or store_is_expired(shard.store, entry):
        return NATIVE_DECLINED
    length = <int64_t>store_value_length(shard.store, entry)
    if not -length <= index < length:
        return NATIVE_DECLINED
    entry = store_write(shard.store, &argv.key)
    list_of(shard.store, argv.key.database, entry, &list)
    list_grow(&list, value.length, 1)
    list_seek(&list, index, &walk)
    walk_replace(&walk, value.data, value.length)
    list_keep_rest(shard.store, &argv.key, entry, &list)
    shard_changed(shard, &argv.key, EVENT_LSET, 1)
    buffer_append(out, b"+OK\r\n", 5)
    return NATIVE_DONE


# Reading

cdef int llen(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry = store_read(shard.store, &argv.key, True)
    if entry == NULL:
        reply_integer(out, 0)
    elif unlikely(not is_list(entry)):
        return reply_wrong_type(out)
    else:
        reply_integer(out, <int64_t>store_value_length(shard.store, entry))
    return NATIVE_DONE


cdef int lindex(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry
    cdef List list
    cdef ListWalk walk
    cdef Element element
    cdef int64_t index
    if not parse_int64(argv.args[2].data, argv.args[2].length, &index):
        return NATIVE_DECLINED
    entry = store_read(shard.store, &argv.key, True)
    if entry == NULL:
        reply_null(out, shard.resp)
        return NATIVE_DONE
    if unlikely(not is_list(entry)):
        return reply_wrong_type(out)
    list_of(shard.store, argv.key.database, entry, &list)
    if list_seek(&list, index, &walk):
        walk_get(&walk, &element)
        reply_element(out, &element)
        walk_close(&walk)
    else:
        reply_null(out, shard.resp)
    return NATIVE_DONE


cdef int lrange(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry
    cdef List list
    cdef int64_t start, stop, length
    if not parse_int64(argv.args[2].data, argv.args[2].length, &start):
        return NATIVE_DECLINED
    if not parse_int64(argv.args[3].data, argv.args[3].length, &stop):
        return NATIVE_DECLINED
    entry = store_read(shard.store, &argv.key, True)
    if entry == NULL:
        reply_header(out, c"*", 0)
        return NATIVE_DONE
    if unlikely(not is_list(entry)):
        return reply_wrong_type(out)
    length = <int64_t>store_value_length(shard.store, entry)
    if start < 0:
        start = start + length if start >= -length else 0
    if stop < 0:
        stop += length
    if stop >= length:
        stop = length - 1
    if start > stop:
        reply_header(out, c"*", 0)
    elif entry_encoding(entry) == ENCODING_LISTPACK:
        reply_pack(out, <Listpack *>entry_pointer(entry), start, stop - start + 1)
    else:
        list_of(shard.store, argv.key.database, entry, &list)
        reply_elements(out, &list, start, stop - start + 1, False, True)
    return NATIVE_DONE


def register(NativeLane lane):
    """Add this family's native handlers to a shard's lane."""
    lane.add("LPUSH", lpush)
    lane.add("RPUSH", rpush)
    lane.add("LPUSHX", lpushx)
    lane.add("RPUSHX", rpushx)
    lane.add("LPOP", lpop)
    lane.add("RPOP", rpop)
    lane.add("LLEN", llen)
    lane.add("LINDEX", lindex)
    lane.add("LRANGE", lrange)
    lane.add("LMOVE", lmove)
    lane.add("BLMOVE", blmove)
    lane.add("RPOPLPUSH", rpoplpush)
    lane.add("BRPOPLPUSH", brpoplpush)
    lane.add("LMPOP", lmpop)
    lane.add("BLMPOP", blmpop)
    lane.add("BLPOP", blpop)
    lane.add("BRPOP", brpop)
    lane.add("LSET", lset)
