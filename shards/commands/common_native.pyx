"""See common_native.pxd."""

from protocol.errors import WRONG_TYPE

from libc.stdint cimport int64_t, uint32_t, uint64_t

from protocol.buffer cimport Buffer
from protocol.numbers cimport parse_int64
from protocol.reply cimport reply_error
from shards.lane.handler cimport (
    NATIVE_BLOCKS, NATIVE_DONE, Arg, Argv, Shard, Wanted, key_at,
)
from shards.keyspace.store cimport Entry, Key, store_entry_footprint, store_find, store_write

cdef extern from "<math.h>" nogil:
    long double ceill(long double)

cdef enum:
    DRAWS_MAX = 1000
    DRAWN_BYTES_MAX = 64 << 20
    TIMEOUT_BYTES_MAX = 9

cdef bytes _wrong_type = WRONG_TYPE
cdef const char *wrong_type = _wrong_type
cdef size_t wrong_type_length = len(_wrong_type)


cdef int reply_wrong_type(Buffer *out) noexcept nogil:
    """The error of a key that holds another type; what the handler returns then."""
    reply_error(out, wrong_type, wrong_type_length)
    return NATIVE_DONE


cdef bint draws_too_much(Shard *shard, const Argv *argv, int64_t draws) noexcept nogil:
    cdef Entry *entry
    if draws > DRAWS_MAX:
        return True
    # No element is larger than the collection, which says its size in O(1).
    entry = store_find(shard.store, &argv.key)
    return (entry != NULL
            and store_entry_footprint(shard.store, entry)
            > <uint64_t>DRAWN_BYTES_MAX // <uint64_t>draws)


cdef bint read_timeout(const Shard *shard, const Arg *arg, int64_t *deadline_ms) noexcept nogil:
    cdef int64_t digits = 0, divisor = 1
    cdef bint fraction = False
    cdef size_t i
    if not 0 < arg.length <= TIMEOUT_BYTES_MAX:
        return False
    for i in range(arg.length):
        # A point has digits on both sides, and there is one.
        if arg.data[i] == c"." and 0 < i < arg.length - 1 and not fraction:
            fraction = True
            continue
        if not c"0" <= arg.data[i] <= c"9":
            return False
        digits = digits * 10 + (arg.data[i] - c"0")
        if fraction:
            divisor *= 10
    # As shards.arguments.timeouts has it; the quotient is the long double that is next to the text.
    digits = <int64_t>ceill(<long double>digits / <long double>divisor * 1000)
    deadline_ms[0] = digits + shard.store.now_ms if digits else 0
    return True


cdef int wait_for(Shard *shard, uint32_t first, uint32_t end, Wanted wants,
                  int64_t deadline_ms) noexcept nogil:
    shard.block.wants = wants
    shard.block.on_removal = False
    shard.block.first = first
    shard.block.end = end
    shard.block.deadline_ms = deadline_ms
    return NATIVE_BLOCKS


cdef bint numbered_keys(const Argv *argv, uint32_t at, uint32_t *end,
                        int64_t *count) noexcept nogil:
    cdef int64_t keys
    count[0] = 1
    if not parse_int64(argv.args[at].data, argv.args[at].length, &keys):
        return False
    if keys < 1 or keys >= <int64_t>(argv.argc - at - 1):
        return False
    end[0] = at + 1 + <uint32_t>keys
    if argv.argc == end[0] + 1:
        return True
    return (argv.argc == end[0] + 3 and is_word(&argv.args[end[0] + 1], b"count", 5)
            and parse_int64(argv.args[end[0] + 2].data, argv.args[end[0] + 2].length, count)
            and count[0] >= 1)


cdef Entry *first_of(Shard *shard, const Argv *argv, uint32_t *at, uint32_t end,
                     Key *key) noexcept:
    cdef Entry *entry
    while at[0] < end:
        key_at(shard, &argv.args[at[0]], key)
        entry = store_write(shard.store, key)
        if entry != NULL:
            return entry
        at[0] += 1
    return NULL


cdef inline char folded(char c) noexcept nogil:
    return c | 0x20 if c"A" <= c <= c"Z" else c


cdef bint is_word(const Arg *arg, const char *word, size_t n) noexcept nogil:
    """Whether an argument is this lower-case word, in any case."""
    cdef size_t i
    if arg.length != n:
        return False
    for i in range(n):
        if folded(arg.data[i]) != word[i]:
            return False
    return True
