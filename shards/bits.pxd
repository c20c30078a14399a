"""Strings as rows of bits. Bit 0 is the highest bit of the first byte; ranges include both ends."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from shards.keyspace cimport Key, Keyspace


cdef uint64_t count_bits(const uint8_t *data, uint64_t first, uint64_t last) noexcept nogil
# The first bit of a range that is `bit`; -1: there is none.
cdef int64_t find_bit(const uint8_t *data, bint bit, uint64_t first, uint64_t last) noexcept nogil


cdef class Bits:
    cdef Keyspace keyspace
    cdef readonly bytes name
    cdef Key key                # its data is `name`
    cdef readonly bint found    # whether there is such a key, until `reach`

    cdef const uint8_t *data(self, char *scratch, size_t *n) noexcept
