"""XADD and XLEN in the native lane.

XADD does here what it does in stream.py for the calls that succeed: with the id *, ms-* or one that is
written out plainly, and MAXLEN or none. All else is DECLINED before anything is touched.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from protocol.buffer cimport Buffer
from protocol.native cimport likely, out_of_memory, unlikely
from protocol.numbers cimport parse_int64
from protocol.reply cimport reply_bulk, reply_integer
from shards.commands.common_native cimport reply_wrong_type
from shards.executor cimport (
    NATIVE_DECLINED, NATIVE_DONE, Arg, Argv, NativeLane, Shard, shard_changed, shard_notify,
)
from shards.keyspace cimport (
    ENCODING_STREAM, EXPIRE_NONE, TYPE_STREAM, Entry, entry_pointer, entry_type, store_pool,
    store_read, store_set_value, store_write,
)
from shards.memory cimport Pool
from shards.store cimport Store
from shards.types.idtree cimport Id, id_compare
from shards.types.listpack cimport Element
from shards.types.stream cimport (
    TRIM_LENGTH, TRIM_NONE, Stream, Trim, id_increment, stream_append, stream_fits, stream_new,
    stream_trim,
)
from shards.views.stream cimport format_id

cdef enum:
    ITEMS_ON_STACK = 64
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


cdef bint is_maxlen(const Arg *arg) noexcept nogil:
    cdef const char *word = b"maxlen"
    cdef int i
    if arg.length != 6:
        return False
    for i in range(6):
        if (arg.data[i] | 0x20) != word[i]:
            return False
    return True


cdef inline bint is_sign(const Arg *arg, char sign) noexcept nogil:
    return arg.length == 1 and arg.data[0] == sign


cdef bint read_trim(const Shard *shard, const Argv *argv, uint32_t *at, Trim *trim) noexcept nogil:
    """MAXLEN [~|=] count, from `at` on, which goes behind it."""
    cdef uint32_t i = at[0] + 1
    cdef int64_t value
    if i + 1 >= argv.argc:
        return False
    trim.kind = TRIM_LENGTH
    if is_sign(&argv.args[i], c"~"):
        trim.whole_nodes = True
        i += 1
    elif is_sign(&argv.args[i], c"="):
        i += 1
    if not parse_int64(argv.args[i].data, argv.args[i].length, &value) or value < 0:
        return False
    trim.length = <uint64_t>value
    at[0] = i + 1
    if trim.whole_nodes:
        value = shard.store.limits.stream_node_max_entries
        if value > TRIM_ENTRIES_MAX:
            value = TRIM_ENTRIES_MAX
        value *= TRIM_NODES
        if value <= 0:
            value = TRIM_ENTRIES
        trim.limit = <uint64_t>(value if value < TRIM_ENTRIES_MAX else TRIM_ENTRIES_MAX)
    return True


cdef bint choose_id(const Stream *stream, int64_t now_ms, IdKind kind, Id *id) noexcept nogil:
    """The id of the new entry; False: there is none behind the stream's last one."""
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
    cdef uint32_t at = 2, i, count
    trim.kind = TRIM_NONE
    trim.whole_nodes = False
    trim.limit = 0
    if is_maxlen(&argv.args[2]) and not read_trim(shard, argv, &at, &trim):
        return NATIVE_DECLINED
    if at + 2 >= argv.argc or not read_id(&argv.args[at], &id, &kind):
        return NATIVE_DECLINED
    at += 1
    count = argv.argc - at
    if count % 2:
        return NATIVE_DECLINED
    entry = store_write(store, &argv.key)
    if entry != NULL:
        if unlikely(entry_type(entry) != TYPE_STREAM):
            return reply_wrong_type(out)
        stream = <Stream *>entry_pointer(entry)
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
        if stream == NULL:
            stream = stream_new(pool)
            store_set_value(store, &argv.key, TYPE_STREAM, ENCODING_STREAM, stream, EXPIRE_NONE)
        stream_append(pool, stream, &store.limits, id, items, count // 2)
        shard_changed(shard, &argv.key, b"xadd", 1)
        if trim.kind != TRIM_NONE and stream_trim(pool, stream, &trim):
            shard_notify(shard, &argv.key, b"xtrim")
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


def register(NativeLane lane):
    """Add this family's native handlers to a shard's lane."""
    lane.add("XADD", xadd)
    lane.add("XLEN", xlen)
