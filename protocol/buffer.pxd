"""A growing byte buffer in C. Zero-initialise it; `buffer_free` returns it to that state.

No pointer into `data` may be kept across a call that can grow the buffer.
"""

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

from protocol.native cimport out_of_memory, unlikely


cdef struct Buffer:
    char *data      # owned; NULL while size is 0
    size_t used     # bytes that hold content
    size_t size     # bytes allocated


cdef inline void buffer_grow(Buffer *buffer, size_t more) noexcept nogil:
    """Make room for `more` bytes after `used`; doubles, so appends are amortised O(1)."""
    cdef size_t size = buffer.size * 2 if buffer.size else 64
    cdef char *data
    if buffer.used + more < more:
        out_of_memory(more)
    while size < buffer.used + more:
        size *= 2
    data = <char *>realloc(buffer.data, size)
    if data == NULL:
        out_of_memory(size)
    buffer.data = data
    buffer.size = size


cdef inline char *buffer_reserve(Buffer *buffer, size_t more) noexcept nogil:
    """Where the next `more` bytes may be written; the caller then adds them to `used`."""
    if unlikely(buffer.size - buffer.used < more):
        buffer_grow(buffer, more)
    return buffer.data + buffer.used


cdef inline void buffer_append(Buffer *buffer, const void *data, size_t n) noexcept nogil:
    if n:
        memcpy(buffer_reserve(buffer, n), data, n)
        buffer.used += n


cdef inline void buffer_consume(Buffer *buffer, size_t n) noexcept nogil:
    """Drop the first n bytes. O(bytes that stay)."""
    if n >= buffer.used:
        buffer.used = 0
    elif n:
        memmove(buffer.data, buffer.data + n, buffer.used - n)
        buffer.used -= n


cdef inline void buffer_free(Buffer *buffer) noexcept nogil:
    free(buffer.data)
    buffer.data = NULL
    buffer.used = 0
    buffer.size = 0
