"""See common_native.pxd."""

from protocol.errors import WRONG_TYPE

from protocol.buffer cimport Buffer
from protocol.reply cimport reply_error
from shards.executor cimport NATIVE_DONE, Arg

cdef bytes _wrong_type = WRONG_TYPE
cdef const char *wrong_type = _wrong_type
cdef size_t wrong_type_length = len(_wrong_type)


cdef int reply_wrong_type(Buffer *out) noexcept nogil:
    """The error of a key that holds another type; what the handler returns then."""
    reply_error(out, wrong_type, wrong_type_length)
    return NATIVE_DONE


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
