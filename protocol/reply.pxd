"""The reply sink. Native handlers write into a Buffer with the inline functions; Python handlers
use the methods of Reply, which add what differs between RESP2 and RESP3."""

from libc.stdint cimport int64_t
from protocol.buffer cimport Buffer


cdef void reply_integer(Buffer *out, int64_t value) noexcept nogil
cdef void reply_bulk(Buffer *out, const char *data, size_t n) noexcept nogil
cdef void reply_bulk_integer(Buffer *out, int64_t value) noexcept nogil
cdef void reply_header(Buffer *out, char kind, int64_t count) noexcept nogil   # '*' '%' '~' '>' '$'
cdef void reply_null(Buffer *out, int resp) noexcept nogil
cdef void reply_null_array(Buffer *out, int resp) noexcept nogil   # RESP3 has but one null
# without the dash; CR and LF become spaces
cdef void reply_error(Buffer *out, const char *message, size_t n) noexcept nogil


cdef class Reply:
    cdef Buffer *out            # where bytes go; borrowed, or &own
    cdef Buffer own             # used when nobody lends a buffer
    cdef public int resp        # 2 or 3
    cdef public int errors      # error replies written since it was last zeroed
