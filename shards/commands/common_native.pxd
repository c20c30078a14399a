"""What the native handlers of several families do alike."""

from protocol.buffer cimport Buffer
from shards.executor cimport Arg

cdef int reply_wrong_type(Buffer *out) noexcept nogil
cdef bint is_word(const Arg *arg, const char *word, size_t n) noexcept nogil
