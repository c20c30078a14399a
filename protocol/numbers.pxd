"""Numbers as Redis reads and writes them: string2ll, ll2string, string2ld, ld2string, d2string."""

from libc.stdint cimport int64_t

# Strict: no spaces, no +, no leading zeros.
cdef bint parse_int64(const char *data, size_t n, int64_t *value) noexcept nogil
# Write at most 20 bytes; return how many.
cdef int format_int64(char *out, int64_t value) noexcept nogil
cdef bint parse_long_double(const char *data, size_t n, long double *value) noexcept nogil
# The "human" form (%.17Lf, trailing zeros cut): at most 5*1024 bytes; 0 if it does not fit.
cdef int format_long_double(char *out, long double value) noexcept nogil
cdef bint parse_double(const char *data, size_t n, double *value) noexcept nogil
# %.17g, as Redis 7.2 has doubles in replies: at most 128 bytes.
cdef int format_double(char *out, double value) noexcept nogil
