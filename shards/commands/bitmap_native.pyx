"""The bitmap family in the native lane; as string_native.pyx, errors are DECLINED.

They do what their Python handlers in bitmap.py do.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from protocol.buffer cimport Buffer, buffer_append, buffer_free, buffer_reserve
from protocol.native cimport unlikely
from protocol.numbers cimport parse_int64
from protocol.reply cimport reply_header, reply_integer, reply_null
from shards.kernels.bits cimport (
    OPERATION_AND, OPERATION_NOT, OPERATION_OR, OPERATION_XOR, WINDOW_BYTES, Operation, combine_in,
    count_bits, find_bit, integer_in, integer_into,
)
from shards.commands.common_native cimport is_word, reply_wrong_type
from shards.lane.effects cimport log_raw
from shards.lane.events cimport EVENT_DEL, EVENT_NONE, EVENT_SET, EVENT_SETBIT
from shards.lane.handler cimport (
    NATIVE_DECLINED, NATIVE_DONE, Arg, Argv, NativeLane, Shard, key_at, shard_changed, shard_notify,
)
from shards.keyspace.keyspace cimport (
    EXPIRE_NONE, TYPE_STRING, Entry, Key, entry_string, entry_type, store_clear,
    store_open_string, store_read, store_set_string, store_write,
)
from shards.keyspace.store cimport FORM_RAW

cdef extern from *:
    bint add_overflows "__builtin_add_overflow"(int64_t, int64_t, int64_t *) noexcept nogil

cdef enum:
    FIELDS_MAX = 16                 # of a BITFIELD; the Python handler does those with more
    WIDTH_MAX = 64

cdef enum FieldKind:
    FIELD_GET = 0
    FIELD_SET = 1
    FIELD_INCREMENT = 2

cdef enum Overflow:
    OVERFLOW_WRAP = 0
    OVERFLOW_SATURATE = 1
    OVERFLOW_FAIL = 2

cdef struct Field:                  # one operation of BITFIELD
    FieldKind kind
    Overflow overflow
    bint signed_
    int width
    int64_t offset
    int64_t value

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
        shard_changed(shard, &argv.key, EVENT_SETBIT, 1)
    reply_integer(out, old)
    return NATIVE_DONE


cdef bint unit_from(const Arg *arg, int *unit) noexcept nogil:
    """How many bits a position counts."""
    if is_word(arg, b"byte", 4):
        unit[0] = 8
    elif is_word(arg, b"bit", 3):
        unit[0] = 1
    else:
        return False
    return True


cdef bint bit_range(size_t n, int unit, int64_t *start, int64_t *end) noexcept nogil:
    """Make positions in units the first and last bit of n bytes. False: the range is empty."""
    cdef int64_t total = <int64_t>n * 8 // unit
    if start[0] < 0:
        start[0] = max(start[0] + total, <int64_t>0)
    if end[0] < 0:
        end[0] = max(end[0] + total, <int64_t>0)
    end[0] = min(end[0], total - 1)
    if start[0] > end[0]:
        return False
    start[0] *= unit
    end[0] = end[0] * unit + unit - 1
    return True


cdef int bitcount(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef int64_t start = 0, end = -1
    cdef int unit = 8
    cdef Entry *entry
    cdef char scratch[24]
    cdef const char *data
    cdef size_t n
    if argv.argc != 2:
        if argv.argc != 4 and (argv.argc != 5 or not unit_from(&argv.args[4], &unit)):
            return NATIVE_DECLINED
        if not parse_int64(argv.args[2].data, argv.args[2].length, &start):
            return NATIVE_DECLINED
        if not parse_int64(argv.args[3].data, argv.args[3].length, &end):
            return NATIVE_DECLINED
    entry = store_read(shard.store, &argv.key, True)
    if entry == NULL:
        reply_integer(out, 0)
        return NATIVE_DONE
    if unlikely(entry_type(entry) != TYPE_STRING):
        return reply_wrong_type(out)
    data = entry_string(entry, scratch, &n)
    # Before they are resolved: in the wrong order, both could end up at 0.
    if (start < 0 and end < 0 and start > end) or not bit_range(n, unit, &start, &end):
        reply_integer(out, 0)
    else:
        reply_integer(out, <int64_t>count_bits(
            <const uint8_t *>data, <uint64_t>start, <uint64_t>end))
    return NATIVE_DONE


cdef int bitpos(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef int64_t bit, start = 0, end = -1, position
    cdef int unit = 8
    cdef Entry *entry
    cdef char scratch[24]
    cdef const char *data
    cdef size_t n
    if not parse_int64(argv.args[2].data, argv.args[2].length, &bit) or bit & ~1:
        return NATIVE_DECLINED
    if argv.argc > 3 and not parse_int64(argv.args[3].data, argv.args[3].length, &start):
        return NATIVE_DECLINED
    if argv.argc > 4 and not parse_int64(argv.args[4].data, argv.args[4].length, &end):
        return NATIVE_DECLINED
    if argv.argc > 6 or (argv.argc == 6 and not unit_from(&argv.args[5], &unit)):
        return NATIVE_DECLINED
    entry = store_read(shard.store, &argv.key, True)
    if entry == NULL:
        reply_integer(out, -bit)
        return NATIVE_DONE
    if unlikely(entry_type(entry) != TYPE_STRING):
        return reply_wrong_type(out)
    data = entry_string(entry, scratch, &n)
    position = -1
    if bit_range(n, unit, &start, &end):
        position = find_bit(<const uint8_t *>data, bit != 0, <uint64_t>start, <uint64_t>end)
        # Without an end, the string goes on with clear bits.
        if position < 0 and not bit and argv.argc < 5:
            position = end + 1
    reply_integer(out, position)
    return NATIVE_DONE


cdef int bitop(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Operation operation
    cdef Buffer result
    cdef Key key
    cdef Entry *entry
    cdef char scratch[24]
    cdef const char *data
    cdef size_t n
    cdef uint32_t i
    if is_word(&argv.args[1], b"and", 3):
        operation = OPERATION_AND
    elif is_word(&argv.args[1], b"or", 2):
        operation = OPERATION_OR
    elif is_word(&argv.args[1], b"xor", 3):
        operation = OPERATION_XOR
    elif is_word(&argv.args[1], b"not", 3) and argv.argc == 4:
        operation = OPERATION_NOT
    else:
        return NATIVE_DECLINED
    memset(&result, 0, sizeof(result))
    for i in range(3, argv.argc):
        key_at(shard, &argv.args[i], &key)
        entry = store_read(shard.store, &key, True)
        data = scratch
        n = 0
        if entry != NULL:
            if unlikely(entry_type(entry) != TYPE_STRING):
                buffer_free(&result)
                return reply_wrong_type(out)
            data = entry_string(entry, scratch, &n)
        if i == 3:
            buffer_append(&result, data, n)
            continue
        if n > result.used:
            memset(buffer_reserve(&result, n - result.used), 0, n - result.used)
            result.used = n
        combine_in(operation, <uint8_t *>result.data, result.used, <const uint8_t *>data, n)
    if operation == OPERATION_NOT:
        combine_in(operation, <uint8_t *>result.data, result.used, NULL, 0)
    if result.used:
        store_set_string(shard.store, &argv.key, result.data, result.used, EXPIRE_NONE, FORM_RAW)
        shard_changed(shard, &argv.key, EVENT_SET, 1)
    elif store_clear(shard.store, &argv.key):
        shard_changed(shard, &argv.key, EVENT_DEL, 1)
    reply_integer(out, <int64_t>result.used)
    buffer_free(&result)
    return NATIVE_DONE


cdef bint field_type(const Arg *arg, Field *field) noexcept nogil:
    """A type as i16 or u8."""
    cdef int64_t width
    if arg.length < 2 or not parse_int64(arg.data + 1, arg.length - 1, &width):
        return False
    field.signed_ = arg.data[0] == c"i"
    if not field.signed_ and arg.data[0] != c"u":
        return False
    field.width = <int>width
    return 1 <= width <= (WIDTH_MAX if field.signed_ else WIDTH_MAX - 1)


cdef bint field_offset(const Shard *shard, const Arg *arg, Field *field) noexcept nogil:
    """An offset in bits, or `#n`: the n-th integer of that width."""
    cdef Arg number
    if arg.length == 0 or arg.data[0] != c"#":
        return offset_from(shard, arg, &field.offset)
    number.data = arg.data + 1
    number.length = arg.length - 1
    if not parse_int64(number.data, number.length, &field.offset):
        return False
    if field.offset < 0 or field.offset > INT64_MAX // WIDTH_MAX:
        return False
    field.offset *= field.width
    return field.offset >> 3 < shard.bulk_bytes_max


cdef int fields_from(const Shard *shard, const Argv *argv, Field *fields) noexcept nogil:
    """The operations of BITFIELD, in their order; how many, or -1: decline."""
    cdef uint32_t at = 2
    cdef uint32_t left
    cdef int count = 0
    cdef Overflow overflow = OVERFLOW_WRAP
    cdef const Arg *option
    cdef Field *field
    while at < argv.argc:
        option = &argv.args[at]
        left = argv.argc - at - 1
        if is_word(option, b"overflow", 8) and left:
            option = &argv.args[at + 1]
            if is_word(option, b"wrap", 4):
                overflow = OVERFLOW_WRAP
            elif is_word(option, b"sat", 3):
                overflow = OVERFLOW_SATURATE
            elif is_word(option, b"fail", 4):
                overflow = OVERFLOW_FAIL
            else:
                return -1
            at += 2
            continue
        if count == FIELDS_MAX or left < 2:
            return -1
        field = &fields[count]
        field.overflow = overflow
        field.value = 0
        if is_word(option, b"get", 3):
            field.kind = FIELD_GET
        elif is_word(option, b"set", 3):
            field.kind = FIELD_SET
        elif is_word(option, b"incrby", 6):
            field.kind = FIELD_INCREMENT
        else:
            return -1
        if not field_type(&argv.args[at + 1], field):
            return -1
        if not field_offset(shard, &argv.args[at + 2], field):
            return -1
        if field.kind == FIELD_GET:
            at += 3
        elif left < 3 or not parse_int64(argv.args[at + 3].data, argv.args[at + 3].length,
                                         &field.value):
            return -1
        else:
            at += 4
        count += 1
    return count


cdef inline int64_t wrapped(const Field *field, uint64_t bits) noexcept nogil:
    """The number that the lowest bits stand for."""
    cdef int unused = WIDTH_MAX - field.width
    if field.signed_:
        return <int64_t>(bits << unused) >> unused
    return <int64_t>(bits << unused >> unused)


cdef int64_t field_read(const Field *field, const char *data, size_t n) noexcept nogil:
    cdef uint8_t window[WINDOW_BYTES]
    cdef size_t byte = <size_t>(field.offset >> 3)
    memset(window, 0, WINDOW_BYTES)
    if byte < n:
        memcpy(window, data + byte, min(n - byte, <size_t>WINDOW_BYTES))
    return wrapped(field, integer_in(window, field.offset & 7, field.width))


cdef void field_write(const Field *field, char *data, int64_t value) noexcept nogil:
    """The string must be long enough."""
    cdef uint8_t window[WINDOW_BYTES]
    cdef size_t bytes = <size_t>((field.offset & 7) + field.width + 7) >> 3
    data += field.offset >> 3
    memset(window, 0, WINDOW_BYTES)
    memcpy(window, data, bytes)
    integer_into(window, field.offset & 7, field.width, <uint64_t>value)
    memcpy(data, window, bytes)


cdef bint field_result(const Field *field, int64_t old, int64_t *new) noexcept nogil:
    """What the integer becomes. False: it overflows, and is left alone."""
    cdef int64_t minimum = 0
    cdef int64_t maximum = INT64_MAX >> (WIDTH_MAX - 1 - field.width if not field.signed_
                                         else WIDTH_MAX - field.width)
    cdef bint above, below
    if field.signed_:
        minimum = -maximum - 1
    new[0] = field.value
    if field.kind == FIELD_INCREMENT and add_overflows(old, field.value, new):
        above = field.value > 0
        below = not above
    else:
        above = new[0] > maximum
        below = new[0] < minimum
        # A negative number is taken for a large one.
        if field.kind == FIELD_SET and not field.signed_ and new[0] < 0:
            above, below = True, False
    if not above and not below:
        return True
    if field.overflow == OVERFLOW_FAIL:
        return False
    if field.overflow == OVERFLOW_WRAP:
        new[0] = wrapped(field, <uint64_t>new[0])
    # Redis computes the room above a number to be SET in 64 bits, where that of one far below
    # overflows, and so takes it for one far above.
    elif above or (field.kind == FIELD_SET and field.width < WIDTH_MAX
                   and new[0] < maximum - INT64_MAX):
        new[0] = maximum
    else:
        new[0] = minimum
    return True


cdef int field_operations(Shard *shard, const Argv *argv, Buffer *out, bint writes) noexcept:
    """BITFIELD, and BITFIELD_RO, which does not write."""
    cdef Field fields[FIELDS_MAX]
    cdef Field *field
    cdef int count = fields_from(shard, argv, fields)
    cdef int i
    cdef int64_t last = -1              # of the bits that are written
    cdef int64_t old, new
    cdef uint64_t changes = 0
    cdef bint grown = False
    cdef Entry *entry
    cdef char scratch[24]
    cdef const char *data = scratch
    cdef char *raw = NULL
    cdef size_t n = 0
    if count < 0:
        return NATIVE_DECLINED
    for i in range(count):
        if fields[i].kind != FIELD_GET:
            last = max(last, fields[i].offset + fields[i].width - 1)
    if last >= 0:
        if not writes:
            return NATIVE_DECLINED
        entry = store_write(shard.store, &argv.key)
    else:
        entry = store_read(shard.store, &argv.key, True)
    if entry != NULL:
        if unlikely(entry_type(entry) != TYPE_STRING):
            return reply_wrong_type(out)
        data = entry_string(entry, scratch, &n)
    if last >= 0:
        grown = entry == NULL or n < <size_t>(last >> 3) + 1
        n = max(n, <size_t>(last >> 3) + 1)
        raw = store_open_string(shard.store, &argv.key, n, entry != NULL)
        data = raw
    reply_header(out, c"*", count)
    for i in range(count):
        field = &fields[i]
        old = field_read(field, data, n)
        if field.kind == FIELD_GET:
            reply_integer(out, old)
        elif not field_result(field, old, &new):
            reply_null(out, shard.resp)
        else:
            reply_integer(out, new if field.kind == FIELD_INCREMENT else old)
            field_write(field, raw, new)
            changes += grown or new != old
    if changes:
        shard_changed(shard, &argv.key, EVENT_SETBIT, changes)
    elif unlikely(grown):
        shard_notify(shard, &argv.key, EVENT_NONE)      # see bitmap.py
        log_raw(shard.store)
    return NATIVE_DONE


cdef int bitfield(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return field_operations(shard, argv, out, True)


cdef int bitfield_ro(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return field_operations(shard, argv, out, False)


def register(NativeLane lane):
    """Add this family's native handlers to a shard's lane."""
    lane.add("SETBIT", setbit)
    lane.add("GETBIT", getbit)
    lane.add("BITCOUNT", bitcount)
    lane.add("BITPOS", bitpos)
    lane.add("BITOP", bitop)
    lane.add("BITFIELD", bitfield)
    lane.add("BITFIELD_RO", bitfield_ro)
