"""SETBIT and GETBIT in the native lane; see string_native.pyx for what a native handler may do."""

from libc.stdint cimport int64_t, uint8_t

from protocol.buffer cimport Buffer
from protocol.native cimport unlikely
from protocol.numbers cimport parse_int64
from protocol.reply cimport reply_integer
from shards.commands.common_native cimport reply_wrong_type
from shards.executor cimport (
    NATIVE_DECLINED, NATIVE_DONE, Arg, Argv, NativeLane, Shard, shard_changed,
)
from shards.keyspace cimport (
    TYPE_STRING, Entry, entry_string, entry_type, store_open_string, store_read, store_write,
)


cdef inline bint offset_from(const Shard *shard, const Arg *arg, int64_t *offset) noexcept nogil:
    return (parse_int64(arg.data, arg.length, offset) and offset[0] >= 0
            and offset[0] >> 3 < shard.bulk_bytes_max)


cdef int getbit(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef int64_t offset
    cdef Entry *entry
    cdef char scratch[24]
    cdef const char *data
    cdef size_t n
    if unlikely(not offset_from(shard, &argv.args[2], &offset)):
        return NATIVE_DECLINED
    entry = store_read(shard.store, &argv.key, True)
    if entry == NULL:
        reply_integer(out, 0)
        return NATIVE_DONE
    if unlikely(entry_type(entry) != TYPE_STRING):
        return reply_wrong_type(out)
    data = entry_string(entry, scratch, &n)
    if <size_t>(offset >> 3) >= n:
        reply_integer(out, 0)
    else:
        reply_integer(out, <uint8_t>data[offset >> 3] >> (7 - (offset & 7)) & 1)
    return NATIVE_DONE


cdef int setbit(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef int64_t offset, value
    cdef Entry *entry
    cdef char scratch[24]
    cdef char *data
    cdef size_t n = 0
    cdef int old, shift
    if unlikely(not offset_from(shard, &argv.args[2], &offset)):
        return NATIVE_DECLINED
    if unlikely(not parse_int64(argv.args[3].data, argv.args[3].length, &value) or value & ~1):
        return NATIVE_DECLINED
    entry = store_write(shard.store, &argv.key)
    if entry != NULL:
        if unlikely(entry_type(entry) != TYPE_STRING):
            return reply_wrong_type(out)
        entry_string(entry, scratch, &n)
    data = store_open_string(shard.store, &argv.key, <size_t>(offset >> 3) + 1, entry != NULL)
    data += offset >> 3
    shift = 7 - <int>(offset & 7)
    old = <uint8_t>data[0] >> shift & 1
    if old != value or <size_t>(offset >> 3) >= n:
        data[0] = <char>((data[0] & ~(1 << shift)) | <int>value << shift)
        shard_changed(shard, &argv.key, b"setbit", 1)
    reply_integer(out, old)
    return NATIVE_DONE


def register(NativeLane lane):
    """Add this family's native handlers to a shard's lane."""
    lane.add("SETBIT", setbit)
    lane.add("GETBIT", getbit)
