"""See common_native.pxd."""

from protocol.errors import WRONG_TYPE

from libc.stdint cimport int64_t, uint64_t

from protocol.buffer cimport Buffer
from protocol.reply cimport reply_error
from shards.executor cimport NATIVE_DONE, Arg, Argv, Shard
from shards.store cimport Entry, store_entry_footprint, store_find

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
            and store_entry_footprint(shard.store, entry) > <uint64_t>DRAWN_BYTES_MAX // <uint64_t>draws)


cdef bint is_timeout(const Arg *arg) noexcept nogil:
    cdef size_t i
    if not 0 < arg.length <= TIMEOUT_BYTES_MAX:
        return False
    for i in range(arg.length):
        # A point has digits on both sides, and there is one.
        if arg.data[i] == c"." and 0 < i < arg.length - 1:
            break
        if not c"0" <= arg.data[i] <= c"9":
            return False
    else:
        return True
    for i in range(i + 1, arg.length):
        if not c"0" <= arg.data[i] <= c"9":
            return False
    return True


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
