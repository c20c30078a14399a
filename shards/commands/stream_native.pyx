"""The hot stream commands in the native lane.

They do what they do in stream.py for the calls that succeed, with ids that are written plainly, in
digits. XREAD and XREADGROUP take one stream and no BLOCK. All else is DECLINED before anything is
touched.
"""

from libc.stdint cimport UINT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from protocol.buffer cimport Buffer, buffer_append
from protocol.native cimport likely, out_of_memory, unlikely
from protocol.numbers cimport parse_int64
from protocol.reply cimport (
    reply_bulk, reply_bulk_integer, reply_header, reply_integer, reply_null, reply_null_array,
)
from shards.commands.common_native cimport is_word, reply_wrong_type
from shards.lane.events cimport (
    EVENT_GROUP_STATE, EVENT_XADD, EVENT_XDEL, EVENT_XGROUP_CREATE, EVENT_XGROUP_CREATECONSUMER,
    EVENT_XGROUP_DELCONSUMER, EVENT_XGROUP_DESTROY, EVENT_XGROUP_SETID, EVENT_XSETID,
    EVENT_XTRIM,
)
from shards.lane.effects cimport log_argument, log_command, log_nothing, log_raw
from shards.lane.handler cimport (
    NATIVE_DECLINED, NATIVE_DONE, Arg, Argv, NativeLane, Shard, shard_changed, shard_notify,
    shard_log, shard_log_arg, shard_log_number, shard_logs,
)
from shards.keyspace.store cimport store_changing
from shards.keyspace.keyspace cimport (
    ENCODING_STREAM, EXPIRE_NONE, TYPE_STREAM, Entry, entry_pointer, entry_type, store_find,
    store_is_expired, store_pool, store_read, store_set_value, store_write,
)
from shards.memory.allocation cimport Pool
from shards.keyspace.store cimport Store
from shards.types.idtree cimport (
    SEEK_GREATER_OR_EQUAL, Id, IdCursor, IdEntry, IdTree, id_compare, idcursor_entry, idcursor_next,
    idtree_count, idtree_seek, idtree_seek_first, idtree_seek_last,
)
from shards.types.listpack cimport Element
from shards.types.stream cimport (
    READ_UNKNOWN, TRIM_ID, TRIM_LENGTH, TRIM_NONE, Consumer, Group, NamePlace, Pending, Stream,
    Trim, group_consumer, group_lag, id_decrement, id_increment, names_next, stream_acknowledge,
    stream_add_consumer, stream_add_group, stream_append, stream_delete, stream_edge, stream_fits,
    stream_group, stream_new, stream_remove_consumer, stream_remove_group, stream_top, stream_trim,
)
from shards.views.stream cimport (
    deliver_again, deliver_new, format_id, insert_header, reply_entries, reply_id,
)

cdef enum:
    ITEMS_ON_STACK = 64
    IDS_MAX = 64                    # XDEL of more is Python's
    DIGITS_MAX = 19                 # of a number that is surely below 2^64
    TRIM_NODES = 100                # as in stream.py
    TRIM_ENTRIES = 10000
    TRIM_ENTRIES_MAX = 1000000

cdef enum IdKind:
    ID_NEXT = 0                     # *
    ID_NEXT_SEQUENCE = 1            # ms-*
    ID_GIVEN = 2


cdef bint read_digits(const char *data, size_t n, uint64_t *value) noexcept nogil:
    """A number of digits only; True for none of those that need a closer look."""
    cdef uint64_t total = 0
    cdef size_t i
    if n == 0 or n > DIGITS_MAX:
        return False
    for i in range(n):
        if not c"0" <= data[i] <= c"9":
            return False
        total = total * 10 + <uint64_t>(data[i] - c"0")
    value[0] = total
    return True


cdef bint read_id(const Arg *arg, Id *id, IdKind *kind) noexcept nogil:
    cdef size_t n = 0
    if arg.length == 1 and arg.data[0] == c"*":
        kind[0] = ID_NEXT
        return True
    while n < arg.length and arg.data[n] != c"-":
        n += 1
    if not read_digits(arg.data, n, &id.ms):
        return False
    kind[0] = ID_GIVEN
    id.sequence = 0
    if n == arg.length:
        return id.ms != 0
    if arg.length == n + 2 and arg.data[n + 1] == c"*":
        kind[0] = ID_NEXT_SEQUENCE
        return True
    if not read_digits(arg.data + n + 1, arg.length - n - 1, &id.sequence):
        return False
    return (id.ms | id.sequence) != 0


cdef inline bint is_sign(const Arg *arg, char sign) noexcept nogil:
    return arg.length == 1 and arg.data[0] == sign


cdef bint read_plain(const char *data, size_t n, uint64_t missing, Id *id) noexcept nogil:
    """ms-sequence, or ms alone with a sequence of `missing`."""
    cdef size_t at = 0
    while at < n and data[at] != c"-":
        at += 1
    id.sequence = missing
    return read_digits(data, at, &id.ms) and (
        at == n or read_digits(data + at + 1, n - at - 1, &id.sequence))


cdef bint read_end(const Arg *arg, bint first, Id *id) noexcept nogil:
    """An end of an interval, the first or the last one: an id, -, +, or ( before an id left out."""
    cdef uint64_t missing = 0 if first else UINT64_MAX
    if is_sign(arg, c"-"):
        id.ms = id.sequence = 0
        return True
    if is_sign(arg, c"+"):
        id.ms = id.sequence = UINT64_MAX
        return True
    if arg.length < 2 or arg.data[0] != c"(":
        return read_plain(arg.data, arg.length, missing, id)
    if not read_plain(arg.data + 1, arg.length - 1, missing, id):
        return False
    return id_increment(id) if first else id_decrement(id)


cdef inline bint is_strategy(const Arg *arg) noexcept nogil:
    return is_word(arg, b"maxlen", 6) or is_word(arg, b"minid", 5)


cdef bint read_trim(const Shard *shard, const Argv *argv, uint32_t *at, Trim *trim) noexcept nogil:
    """MAXLEN|MINID [~|=] threshold [LIMIT count], from `at` on, which goes after it."""
    cdef uint32_t i = at[0] + 1
    cdef int64_t value
    trim.kind = TRIM_LENGTH if is_word(&argv.args[at[0]], b"maxlen", 6) else TRIM_ID
    if i + 1 < argv.argc and is_sign(&argv.args[i], c"~"):
        trim.whole_nodes = True
        i += 1
    elif i + 1 < argv.argc and is_sign(&argv.args[i], c"="):
        i += 1
    if i >= argv.argc:
        return False
    if trim.kind == TRIM_ID:
        if not read_plain(argv.args[i].data, argv.args[i].length, 0, &trim.id):
            return False
    else:
        if not parse_int64(argv.args[i].data, argv.args[i].length, &value) or value < 0:
            return False
        trim.length = <uint64_t>value
    i += 1
    if trim.whole_nodes:
        value = shard.store.limits.stream_node_max_entries
        if value > TRIM_ENTRIES_MAX:
            value = TRIM_ENTRIES_MAX
        value *= TRIM_NODES
        if value <= 0:
            value = TRIM_ENTRIES
        trim.limit = <uint64_t>(value if value < TRIM_ENTRIES_MAX else TRIM_ENTRIES_MAX)
        if i + 1 < argv.argc and is_word(&argv.args[i], b"limit", 5):
            if not parse_int64(argv.args[i + 1].data, argv.args[i + 1].length, &value) or value < 0:
                return False
            trim.limit = <uint64_t>value
            i += 2
    at[0] = i
    return True


cdef bint choose_id(const Stream *stream, int64_t now_ms, IdKind kind, Id *id) noexcept nogil:
    """The id of the new entry; False: there is none after the stream's last one."""
    cdef Id last
    last.ms = last.sequence = 0
    if stream != NULL:
        last = stream.last_id
    if kind == ID_NEXT:
        if <uint64_t>now_ms > last.ms:
            id.ms = <uint64_t>now_ms
            id.sequence = 0
            return True
        id[0] = last
        return id_increment(id)
    if kind == ID_NEXT_SEQUENCE and id.ms == last.ms:
        id.sequence = last.sequence + 1
        return id.sequence != 0
    return id_compare(id[0], last) > 0


cdef void log_trimmed(Shard *shard, const Argv *argv, const Stream *stream, const Trim *trim,
                      uint32_t strategy_at, uint32_t id_at, Id added) noexcept nogil:
    """Log an XADD or XTRIM as it came, but with an exact trim and the id that was chosen."""
    cdef char text[48]
    cdef uint32_t i
    log_command(shard.store, shard.database, argv.argc)
    for i in range(argv.argc):
        if id_at and i == id_at:
            log_argument(shard.store, text, <size_t>format_id(text, added))
        elif not trim.whole_nodes or i <= strategy_at or i > strategy_at + 2:
            shard_log_arg(shard, &argv.args[i])
        elif i == strategy_at + 1:
            log_argument(shard.store, b"=", 1)
        elif trim.kind == TRIM_LENGTH:
            shard_log_number(shard, <int64_t>stream.length)
        else:
            log_argument(shard.store, text, <size_t>format_id(text, stream_edge(stream)))


cdef void log_position(Shard *shard, const Argv *argv, const Arg *key,
                       const Group *group) noexcept nogil:
    cdef char text[48]
    shard_log(shard, 7, b"XGROUP", 6)
    log_argument(shard.store, b"SETID", 5)
    shard_log_arg(shard, key)
    shard_log_arg(shard, &argv.args[2])
    log_argument(shard.store, text, <size_t>format_id(text, group.last_id))
    log_argument(shard.store, b"ENTRIESREAD", 11)
    shard_log_number(shard, group.entries_read)


cdef void log_claims(Shard *shard, const Argv *argv, const Arg *key, const Group *group,
                     const Consumer *reader, Id before) noexcept nogil:
    """Log that a consumer has what was delivered from an id on, as claims, as Redis does."""
    cdef char text[48]
    cdef IdCursor cursor
    cdef const Pending *pending
    cdef size_t n
    cdef bint more = id_increment(&before) and idtree_seek(
        &group.pending, before, SEEK_GREATER_OR_EQUAL, &cursor)
    while more and id_compare(idcursor_entry(&cursor).id, group.last_id) <= 0:
        pending = <const Pending *>idcursor_entry(&cursor).value
        if pending.consumer == reader:
            n = <size_t>format_id(text, idcursor_entry(&cursor).id)
            shard_log(shard, 14, b"XCLAIM", 6)
            shard_log_arg(shard, key)
            shard_log_arg(shard, &argv.args[2])
            shard_log_arg(shard, &argv.args[3])
            log_argument(shard.store, b"0", 1)
            log_argument(shard.store, text, n)
            log_argument(shard.store, b"TIME", 4)
            shard_log_number(shard, pending.delivered_ms)
            log_argument(shard.store, b"RETRYCOUNT", 10)
            shard_log_number(shard, <int64_t>pending.deliveries)
            log_argument(shard.store, b"FORCE", 5)
            log_argument(shard.store, b"JUSTID", 6)
            log_argument(shard.store, b"LASTID", 6)
            log_argument(shard.store, text, n)
        more = idcursor_next(&cursor)


cdef int xadd(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Store *store = shard.store
    cdef Element on_stack[ITEMS_ON_STACK]
    cdef Element *items = on_stack
    cdef Stream *stream = NULL
    cdef Pool *pool
    cdef Entry *entry
    cdef Trim trim
    cdef Id id
    cdef IdKind kind
    cdef char text[48]
    cdef uint32_t at = 2, i, count, strategy_at, id_at
    cdef bint create = True
    trim.kind = TRIM_NONE
    trim.whole_nodes = False
    trim.limit = 0
    if is_word(&argv.args[at], b"nomkstream", 10):
        create = False
        at += 1
    strategy_at = at
    if is_strategy(&argv.args[at]) and not read_trim(shard, argv, &at, &trim):
        return NATIVE_DECLINED
    id_at = at
    if at + 2 >= argv.argc or not read_id(&argv.args[at], &id, &kind):
        return NATIVE_DECLINED
    at += 1
    count = argv.argc - at
    if count % 2:
        return NATIVE_DECLINED
    # Looked at without a trace until it is sure that Python need not tell of a mistake.
    entry = store_find(store, &argv.key)
    if entry != NULL and store_is_expired(store, entry):
        entry = NULL
    if entry != NULL:
        if unlikely(entry_type(entry) != TYPE_STREAM):
            store_write(store, &argv.key)
            return reply_wrong_type(out)
        stream = <Stream *>entry_pointer(entry)
    elif not create:
        store_write(store, &argv.key)   # which an expired one goes by
        reply_null(out, shard.resp)
        return NATIVE_DONE
    if not choose_id(stream, store.now_ms, kind, &id):
        return NATIVE_DECLINED

    if unlikely(count > ITEMS_ON_STACK):
        items = <Element *>malloc(count * sizeof(Element))
        if items == NULL:
            out_of_memory(count * sizeof(Element))
    for i in range(count):
        items[i].data = argv.args[at + i].data
        items[i].length = argv.args[at + i].length
        items[i].number = 0
    if likely(stream_fits(items, count)):
        pool = store_pool(store, argv.key.database)
        store_write(store, &argv.key)
        if stream == NULL:
            stream = stream_new(pool)
            store_set_value(store, &argv.key, TYPE_STREAM, ENCODING_STREAM, stream, EXPIRE_NONE)
        stream_append(pool, stream, &store.limits, id, items, count // 2)
        shard_changed(shard, &argv.key, EVENT_XADD, 1)
        if trim.kind != TRIM_NONE and stream_trim(pool, stream, &trim):
            shard_notify(shard, &argv.key, EVENT_XTRIM)
        if shard_logs(shard) and (trim.whole_nodes or kind != ID_GIVEN):
            log_trimmed(shard, argv, stream, &trim, strategy_at,
                        id_at if kind != ID_GIVEN else 0, id)
        elif shard_logs(shard):
            log_raw(store)
        reply_bulk(out, text, <size_t>format_id(text, id))
        i = 0
    else:
        i = 1
    if unlikely(items != on_stack):
        free(items)
    return NATIVE_DONE if i == 0 else NATIVE_DECLINED


cdef int xlen(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry = store_read(shard.store, &argv.key, True)
    if entry == NULL:
        reply_integer(out, 0)
    elif unlikely(entry_type(entry) != TYPE_STREAM):
        reply_wrong_type(out)
    else:
        reply_integer(out, <int64_t>(<Stream *>entry_pointer(entry)).length)
    return NATIVE_DONE


cdef int xtrim(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry
    cdef Trim trim
    cdef uint32_t at = 2
    cdef uint64_t trimmed = 0
    trim.whole_nodes = False
    trim.limit = 0
    if (not is_strategy(&argv.args[2]) or not read_trim(shard, argv, &at, &trim)
            or at != argv.argc):
        return NATIVE_DECLINED
    entry = store_write(shard.store, &argv.key)
    if entry != NULL:
        if unlikely(entry_type(entry) != TYPE_STREAM):
            return reply_wrong_type(out)
        trimmed = stream_trim(store_pool(shard.store, argv.key.database),
                              <Stream *>entry_pointer(entry), &trim)
        if trimmed:
            shard_changed(shard, &argv.key, EVENT_XTRIM, trimmed)
            if shard_logs(shard) and trim.whole_nodes:
                log_trimmed(shard, argv, <Stream *>entry_pointer(entry), &trim, 2, 0, trim.id)
            elif shard_logs(shard):
                log_raw(shard.store)
    reply_integer(out, <int64_t>trimmed)
    return NATIVE_DONE


cdef int xdel(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Id ids[IDS_MAX]
    cdef Entry *entry
    cdef uint32_t i, count = argv.argc - 2
    cdef uint64_t deleted = 0
    if count > IDS_MAX:
        return NATIVE_DECLINED
    for i in range(count):
        if not read_plain(argv.args[2 + i].data, argv.args[2 + i].length, 0, &ids[i]):
            return NATIVE_DECLINED
    entry = store_write(shard.store, &argv.key)
    if entry != NULL:
        if unlikely(entry_type(entry) != TYPE_STREAM):
            return reply_wrong_type(out)
        deleted = stream_delete(store_pool(shard.store, argv.key.database),
                                <Stream *>entry_pointer(entry), ids, count)
        if deleted:
            shard_changed(shard, &argv.key, EVENT_XDEL, deleted)
    reply_integer(out, <int64_t>deleted)
    return NATIVE_DONE


cdef int reply_interval(Shard *shard, const Argv *argv, Buffer *out, const Arg *first,
                        const Arg *last, bint reverse) noexcept:
    cdef Id low, high
    cdef int64_t count = -1
    cdef Entry *entry
    if not read_end(first, True, &low) or not read_end(last, False, &high):
        return NATIVE_DECLINED
    if argv.argc != 4:
        if (argv.argc != 6 or not is_word(&argv.args[4], b"count", 5)
                or not parse_int64(argv.args[5].data, argv.args[5].length, &count)):
            return NATIVE_DECLINED
        if count < 0:
            count = 0
    entry = store_read(shard.store, &argv.key, True)
    if entry == NULL:
        reply_header(out, c"*", 0)
    elif unlikely(entry_type(entry) != TYPE_STREAM):
        reply_wrong_type(out)
    elif count == 0:
        reply_null_array(out, shard.resp)
    else:
        reply_entries(out, <Stream *>entry_pointer(entry), low, high,
                      <uint64_t>count if count > 0 else 0, reverse)
    return NATIVE_DONE


cdef int xrange_(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return reply_interval(shard, argv, out, &argv.args[2], &argv.args[3], False)


cdef int xrevrange(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return reply_interval(shard, argv, out, &argv.args[3], &argv.args[2], True)


cdef bint read_count(const Argv *argv, uint32_t *at, uint64_t *count) noexcept nogil:
    """COUNT and its number, at `at`, which goes after it; below 1 means all, which is 0."""
    cdef int64_t value
    if at[0] + 1 >= argv.argc or not is_word(&argv.args[at[0]], b"count", 5):
        return False
    if not parse_int64(argv.args[at[0] + 1].data, argv.args[at[0] + 1].length, &value):
        return False
    count[0] = <uint64_t>(value if value > 0 else 0)
    at[0] += 2
    return True


cdef inline bint is_one_stream(const Argv *argv, uint32_t at) noexcept nogil:
    """Whether STREAMS is at `at`, with one key and one id after it."""
    return at + 3 == argv.argc and is_word(&argv.args[at], b"streams", 7)


cdef inline void open_reply(Shard *shard, const Arg *key, Buffer *out) noexcept nogil:
    """What is before the entries of the only stream of a reply."""
    if shard.resp == 2:
        reply_header(out, c"*", 1)
        reply_header(out, c"*", 2)
    else:
        reply_header(out, c"%", 1)
    reply_bulk(out, key.data, key.length)


cdef int xread(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef uint32_t at = 1
    cdef uint64_t count = 0
    cdef Id low, high, top
    cdef Entry *entry
    cdef Stream *stream
    cdef bint at_end
    while not is_one_stream(argv, at):
        if not read_count(argv, &at, &count):
            return NATIVE_DECLINED
    at_end = is_sign(&argv.args[at + 2], c"$")
    if not at_end and not read_plain(argv.args[at + 2].data, argv.args[at + 2].length, 0, &low):
        return NATIVE_DECLINED
    entry = store_read(shard.store, &argv.key, True)
    if entry != NULL:
        if unlikely(entry_type(entry) != TYPE_STREAM):
            return reply_wrong_type(out)
        store_read(shard.store, &argv.key, True)    # Redis looks twice, and counts both
        stream = <Stream *>entry_pointer(entry)
        if not at_end and stream_top(stream, &top) and id_compare(top, low) > 0:
            open_reply(shard, &argv.args[at + 1], out)
            high.ms = high.sequence = UINT64_MAX
            id_increment(&low)
            reply_entries(out, stream, low, high, count, False)
            return NATIVE_DONE
    else:
        store_read(shard.store, &argv.key, True)
    reply_null_array(out, shard.resp)
    return NATIVE_DONE


cdef int xreadgroup(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef const Arg *name = &argv.args[3]
    cdef Pool *pool = store_pool(shard.store, argv.key.database)
    cdef int64_t now_ms = shard.store.now_ms
    cdef uint32_t at = 4
    cdef uint64_t count = 0
    cdef bint acknowledged = False, only_new
    cdef Id low, top
    cdef Entry *entry
    cdef Stream *stream
    cdef Group *group
    cdef Consumer *reader
    if not is_word(&argv.args[1], b"group", 5):
        return NATIVE_DECLINED
    while not is_one_stream(argv, at):
        if at < argv.argc and is_word(&argv.args[at], b"noack", 5):
            acknowledged = True
            at += 1
        elif not read_count(argv, &at, &count):
            return NATIVE_DECLINED
    only_new = is_sign(&argv.args[at + 2], c">")
    if not only_new and not read_plain(argv.args[at + 2].data, argv.args[at + 2].length, 0, &low):
        return NATIVE_DECLINED
    if not only_new and not id_increment(&low):
        return NATIVE_DECLINED
    entry = store_find(shard.store, &argv.key)
    if (entry == NULL or entry_type(entry) != TYPE_STREAM
            or store_is_expired(shard.store, entry)):
        return NATIVE_DECLINED
    stream = <Stream *>entry_pointer(entry)
    group = stream_group(stream, argv.args[2].data, argv.args[2].length)
    if group == NULL:
        return NATIVE_DECLINED
    store_read(shard.store, &argv.key, True)
    store_read(shard.store, &argv.key, True)        # Redis looks twice, and counts both
    store_changing(shard.store, &argv.key)
    log_nothing(shard.store)

    reader = group_consumer(group, name.data, name.length)
    if unlikely(reader == NULL):
        reader = stream_add_consumer(pool, stream, group, name.data, name.length, now_ms)
        shard_changed(shard, &argv.key, EVENT_XGROUP_CREATECONSUMER, 1)
        if shard_logs(shard) and acknowledged:
            shard_log(shard, 5, b"XGROUP", 6)
            log_argument(shard.store, b"CREATECONSUMER", 14)
            shard_log_arg(shard, &argv.args[at + 1])
            shard_log_arg(shard, &argv.args[2])
            shard_log_arg(shard, name)
    reader.seen_ms = now_ms
    if only_new:
        if not stream_top(stream, &top) or id_compare(top, group.last_id) <= 0:
            reply_null_array(out, shard.resp)
            return NATIVE_DONE
        low = group.last_id
        open_reply(shard, &argv.args[at + 1], out)
        deliver_new(out, pool, stream, group, reader, count, acknowledged, now_ms)
        shard_changed(shard, &argv.key, EVENT_GROUP_STATE, 1)
        if shard_logs(shard):
            if acknowledged:
                log_position(shard, argv, &argv.args[at + 1], group)
            else:
                log_claims(shard, argv, &argv.args[at + 1], group, reader, low)
    else:
        open_reply(shard, &argv.args[at + 1], out)
        deliver_again(out, shard.resp, stream, reader, low, count, now_ms)
        shard_changed(shard, &argv.key, EVENT_GROUP_STATE, 1)   # even if nothing is pending
    return NATIVE_DONE


cdef int xack(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry
    cdef Stream *stream
    cdef Group *group
    cdef Pool *pool
    cdef Id id
    cdef uint32_t i
    cdef uint64_t count = 0
    for i in range(3, argv.argc):
        if not read_plain(argv.args[i].data, argv.args[i].length, 0, &id):
            return NATIVE_DECLINED
    entry = store_read(shard.store, &argv.key, True)
    if entry != NULL:
        if unlikely(entry_type(entry) != TYPE_STREAM):
            return reply_wrong_type(out)
        stream = <Stream *>entry_pointer(entry)
        group = stream_group(stream, argv.args[2].data, argv.args[2].length)
        if group != NULL:
            pool = store_pool(shard.store, argv.key.database)
            store_changing(shard.store, &argv.key)
            for i in range(3, argv.argc):
                read_plain(argv.args[i].data, argv.args[i].length, 0, &id)
                count += stream_acknowledge(pool, stream, group, id)
            if count:
                shard_changed(shard, &argv.key, EVENT_GROUP_STATE, count)
    reply_integer(out, <int64_t>count)
    return NATIVE_DONE


# Groups, each of which is found before anything is counted: an error is Python's to word.

cdef Stream *stream_for(Shard *shard, const Argv *argv, bint write) noexcept:
    """The stream of a live key, its access counted; NULL: there is none."""
    cdef Entry *entry = store_find(shard.store, &argv.key)
    if (entry == NULL or entry_type(entry) != TYPE_STREAM
            or store_is_expired(shard.store, entry)):
        return NULL
    if write:
        store_write(shard.store, &argv.key)
    else:
        store_read(shard.store, &argv.key, True)
    return <Stream *>entry_pointer(entry)


cdef Stream *stream_of_group(Shard *shard, const Argv *argv, const Arg *name, bint write,
                             Group **group) noexcept:
    """The stream of a group that is there, its access counted; NULL: there is none."""
    cdef Entry *entry = store_find(shard.store, &argv.key)
    if (entry == NULL or entry_type(entry) != TYPE_STREAM
            or store_is_expired(shard.store, entry)):
        return NULL
    group[0] = stream_group(<Stream *>entry_pointer(entry), name.data, name.length)
    if group[0] == NULL:
        return NULL
    return stream_for(shard, argv, write)


cdef bint read_position(const Arg *arg, Id *id, bint *at_end) noexcept nogil:
    """An id, or $ for a stream's last one, which is still to be looked up."""
    at_end[0] = is_sign(arg, c"$")
    return at_end[0] or read_plain(arg.data, arg.length, 0, id)


cdef int xgroup_create(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef const Arg *name = &argv.args[3]
    cdef Entry *entry
    cdef Stream *stream
    cdef Id id
    cdef bint at_end
    if argv.argc != 5 or not read_position(&argv.args[4], &id, &at_end):
        return NATIVE_DECLINED
    entry = store_find(shard.store, &argv.key)
    if (entry == NULL or entry_type(entry) != TYPE_STREAM
            or store_is_expired(shard.store, entry)):
        return NATIVE_DECLINED
    stream = <Stream *>entry_pointer(entry)
    if stream_group(stream, name.data, name.length) != NULL:
        return NATIVE_DECLINED
    store_write(shard.store, &argv.key)
    if stream_add_group(store_pool(shard.store, argv.key.database), stream, name.data, name.length,
                        stream.last_id if at_end else id, READ_UNKNOWN) == NULL:
        return NATIVE_DECLINED
    shard_changed(shard, &argv.key, EVENT_XGROUP_CREATE, 1)
    buffer_append(out, b"+OK\r\n", 5)
    return NATIVE_DONE


cdef int xgroup_setid(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Stream *stream
    cdef Group *group
    cdef Id id
    cdef bint at_end
    if argv.argc != 5 or not read_position(&argv.args[4], &id, &at_end):
        return NATIVE_DECLINED
    stream = stream_of_group(shard, argv, &argv.args[3], True, &group)
    if stream == NULL:
        return NATIVE_DECLINED
    group.last_id = stream.last_id if at_end else id
    group.entries_read = READ_UNKNOWN
    shard_changed(shard, &argv.key, EVENT_XGROUP_SETID, 1)
    buffer_append(out, b"+OK\r\n", 5)
    return NATIVE_DONE


cdef int xgroup_destroy(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Stream *stream = stream_for(shard, argv, True)
    cdef Group *group
    if stream == NULL:
        return NATIVE_DECLINED
    group = stream_group(stream, argv.args[3].data, argv.args[3].length)
    if group != NULL:
        stream_remove_group(store_pool(shard.store, argv.key.database), stream, group)
        shard_changed(shard, &argv.key, EVENT_XGROUP_DESTROY, 1)
    reply_integer(out, group != NULL)
    return NATIVE_DONE


cdef int xgroup_createconsumer(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef const Arg *name = &argv.args[4]
    cdef Group *group
    cdef Stream *stream = stream_of_group(shard, argv, &argv.args[3], True, &group)
    cdef Consumer *made
    if stream == NULL:
        return NATIVE_DECLINED
    made = stream_add_consumer(store_pool(shard.store, argv.key.database), stream, group, name.data,
                               name.length, shard.store.now_ms)
    if made != NULL:
        shard_changed(shard, &argv.key, EVENT_XGROUP_CREATECONSUMER, 1)
    reply_integer(out, made != NULL)
    return NATIVE_DONE


cdef int xgroup_delconsumer(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Group *group
    cdef Stream *stream = stream_of_group(shard, argv, &argv.args[3], True, &group)
    cdef Consumer *consumer
    cdef int64_t pending = 0
    if stream == NULL:
        return NATIVE_DECLINED
    consumer = group_consumer(group, argv.args[4].data, argv.args[4].length)
    if consumer != NULL:
        pending = <int64_t>idtree_count(&consumer.pending)
        stream_remove_consumer(store_pool(shard.store, argv.key.database), stream, group, consumer)
        shard_changed(shard, &argv.key, EVENT_XGROUP_DELCONSUMER, 1)
    reply_integer(out, pending)
    return NATIVE_DONE


cdef int xsetid(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Entry *entry
    cdef Stream *stream
    cdef Id id, top
    if argv.argc != 3 or not read_plain(argv.args[2].data, argv.args[2].length, 0, &id):
        return NATIVE_DECLINED
    entry = store_find(shard.store, &argv.key)
    if (entry == NULL or entry_type(entry) != TYPE_STREAM
            or store_is_expired(shard.store, entry)):
        return NATIVE_DECLINED
    stream = <Stream *>entry_pointer(entry)
    if id_compare(id, stream.max_deleted_id) < 0:
        return NATIVE_DECLINED
    if stream_top(stream, &top) and id_compare(id, top) < 0:
        return NATIVE_DECLINED
    store_write(shard.store, &argv.key)
    stream.last_id = id
    shard_changed(shard, &argv.key, EVENT_XSETID, 1)
    buffer_append(out, b"+OK\r\n", 5)
    return NATIVE_DONE


cdef void reply_pending_summary(Buffer *out, int resp, const Group *group) noexcept nogil:
    cdef NamePlace place = NamePlace(0, 0)
    cdef const Consumer *consumer
    cdef IdCursor cursor
    cdef size_t start
    cdef int64_t owners = 0
    reply_header(out, c"*", 4)
    reply_integer(out, <int64_t>idtree_count(&group.pending))
    if not idtree_seek_first(&group.pending, &cursor):
        reply_null(out, resp)
        reply_null(out, resp)
        reply_null_array(out, resp)
        return
    reply_id(out, idcursor_entry(&cursor).id)
    idtree_seek_last(&group.pending, &cursor)
    reply_id(out, idcursor_entry(&cursor).id)
    start = out.used
    consumer = <const Consumer *>names_next(&group.consumers, &place)
    while consumer != NULL:
        if idtree_count(&consumer.pending):
            reply_header(out, c"*", 2)
            reply_bulk(out, consumer.named.name, consumer.named.length)
            reply_bulk_integer(out, <int64_t>idtree_count(&consumer.pending))
            owners += 1
        consumer = <const Consumer *>names_next(&group.consumers, &place)
    insert_header(out, start, owners)


cdef int xpending(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Group *group
    cdef const IdTree *tree
    cdef Consumer *consumer
    cdef const Pending *pending
    cdef IdCursor cursor
    cdef IdEntry *item
    cdef Id low, high
    cdef int64_t count = 0, found = 0, now_ms = shard.store.now_ms
    cdef size_t start
    cdef bint more
    if argv.argc != 3:
        # IDLE is Python's.
        if argv.argc != 6 and argv.argc != 7:
            return NATIVE_DECLINED
        if not read_end(&argv.args[3], True, &low) or not read_end(&argv.args[4], False, &high):
            return NATIVE_DECLINED
        if not parse_int64(argv.args[5].data, argv.args[5].length, &count):
            return NATIVE_DECLINED
    if stream_of_group(shard, argv, &argv.args[2], False, &group) == NULL:
        return NATIVE_DECLINED
    if argv.argc == 3:
        reply_pending_summary(out, shard.resp, group)
        return NATIVE_DONE
    tree = &group.pending
    if argv.argc == 7:
        consumer = group_consumer(group, argv.args[6].data, argv.args[6].length)
        tree = NULL if consumer == NULL else &consumer.pending
    start = out.used
    more = (count > 0 and tree != NULL
            and idtree_seek(tree, low, SEEK_GREATER_OR_EQUAL, &cursor))
    while more and found < count:
        item = idcursor_entry(&cursor)
        if id_compare(item.id, high) > 0:
            break
        pending = <const Pending *>item.value
        reply_header(out, c"*", 4)
        reply_id(out, item.id)
        reply_bulk(out, pending.consumer.named.name, pending.consumer.named.length)
        reply_integer(out, max(now_ms - pending.delivered_ms, <int64_t>0))
        reply_integer(out, <int64_t>pending.deliveries)
        found += 1
        more = idcursor_next(&cursor)
    insert_header(out, start, found)
    return NATIVE_DONE


# XINFO

cdef inline void reply_field(Buffer *out, const char *name, size_t n, int64_t value) noexcept nogil:
    reply_bulk(out, name, n)
    reply_integer(out, value)


cdef inline void reply_map(Buffer *out, int resp, int64_t pairs) noexcept nogil:
    if resp == 2:
        reply_header(out, c"*", 2 * pairs)
    else:
        reply_header(out, c"%", pairs)


cdef int xinfo_groups(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Stream *stream = stream_for(shard, argv, False)
    cdef NamePlace place = NamePlace(0, 0)
    cdef const Group *group
    cdef int64_t lag
    if stream == NULL:
        return NATIVE_DECLINED
    reply_header(out, c"*", stream.groups.count)
    group = <const Group *>names_next(&stream.groups, &place)
    while group != NULL:
        reply_map(out, shard.resp, 6)
        reply_bulk(out, b"name", 4)
        reply_bulk(out, group.named.name, group.named.length)
        reply_field(out, b"consumers", 9, group.consumers.count)
        reply_field(out, b"pending", 7, <int64_t>idtree_count(&group.pending))
        reply_bulk(out, b"last-delivered-id", 17)
        reply_id(out, group.last_id)
        reply_bulk(out, b"entries-read", 12)
        if group.entries_read == READ_UNKNOWN:
            reply_null(out, shard.resp)
        else:
            reply_integer(out, group.entries_read)
        reply_bulk(out, b"lag", 3)
        if group_lag(stream, group, &lag):
            reply_integer(out, lag)
        else:
            reply_null(out, shard.resp)
        group = <const Group *>names_next(&stream.groups, &place)
    return NATIVE_DONE


cdef int xinfo_consumers(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Group *group
    cdef NamePlace place = NamePlace(0, 0)
    cdef const Consumer *consumer
    cdef int64_t now_ms = shard.store.now_ms
    if stream_of_group(shard, argv, &argv.args[3], False, &group) == NULL:
        return NATIVE_DECLINED
    reply_header(out, c"*", group.consumers.count)
    consumer = <const Consumer *>names_next(&group.consumers, &place)
    while consumer != NULL:
        reply_map(out, shard.resp, 4)
        reply_bulk(out, b"name", 4)
        reply_bulk(out, consumer.named.name, consumer.named.length)
        reply_field(out, b"pending", 7, <int64_t>idtree_count(&consumer.pending))
        reply_field(out, b"idle", 4, max(now_ms - consumer.seen_ms, <int64_t>0))
        reply_field(out, b"inactive", 8,
                    -1 if consumer.active_ms == -1 else now_ms - consumer.active_ms)
        consumer = <const Consumer *>names_next(&group.consumers, &place)
    return NATIVE_DONE


def register(NativeLane lane):
    """Add this family's native handlers to a shard's lane."""
    lane.add("XADD", xadd)
    lane.add("XLEN", xlen)
    lane.add("XTRIM", xtrim)
    lane.add("XDEL", xdel)
    lane.add("XRANGE", xrange_)
    lane.add("XREVRANGE", xrevrange)
    lane.add("XREAD", xread)
    lane.add("XREADGROUP", xreadgroup)
    lane.add("XACK", xack)
    lane.add("XSETID", xsetid)
    lane.add("XPENDING", xpending)
    lane.add("XGROUP|CREATE", xgroup_create)
    lane.add("XGROUP|SETID", xgroup_setid)
    lane.add("XGROUP|DESTROY", xgroup_destroy)
    lane.add("XGROUP|CREATECONSUMER", xgroup_createconsumer)
    lane.add("XGROUP|DELCONSUMER", xgroup_delconsumer)
    lane.add("XINFO|GROUPS", xinfo_groups)
    lane.add("XINFO|CONSUMERS", xinfo_consumers)
