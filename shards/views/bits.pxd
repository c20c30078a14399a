"""The string at a key as a row of bits."""

from libc.stdint cimport uint8_t

from shards.keyspace.keyspace cimport Key, Keyspace

cdef class Bits:
    cdef Keyspace keyspace
    cdef readonly bytes name
    cdef Key key                # its data is `name`
    cdef readonly bint found    # whether there is such a key, until `reach`

    cdef const uint8_t *data(self, char *scratch, size_t *n) noexcept
