"""Strings as rows of bits. Bit 0 is the highest bit of the first byte; ranges include both ends."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef enum:
    WINDOW_BYTES = 9            # what an integer of 64 bits may touch

cdef enum Operation:
    OPERATION_AND = 0
    OPERATION_OR = 1
    OPERATION_XOR = 2
    OPERATION_NOT = 3


cdef uint64_t count_bits(const uint8_t *data, uint64_t first, uint64_t last) noexcept nogil
# The first bit of a range that is `bit`; -1: there is none.
cdef int64_t find_bit(const uint8_t *data, bint bit, uint64_t first, uint64_t last) noexcept nogil
# The integer of `width` bits (1 to 64) that begins `shift` (0 to 7) bits after the start of
# WINDOW_BYTES bytes.
cdef uint64_t integer_in(const uint8_t *window, uint64_t shift, int width) noexcept nogil
cdef void integer_into(uint8_t *window, uint64_t shift, int width, uint64_t value) noexcept nogil
# Combine another string, padded with zeros, into the `length` bytes at `out`; it is no longer than
# these. NOT has no other string.
cdef void combine_in(Operation operation, uint8_t *out, size_t length, const uint8_t *source,
                     size_t n) noexcept nogil
