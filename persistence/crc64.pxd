"""The checksum of RDB data: CRC-64 by Jones, reflected, from 0 on."""

from libc.stdint cimport uint64_t

# O(n), eight bytes at a time. `crc` is that of what came before, 0 at first.
cdef uint64_t crc64(uint64_t crc, const void *data, size_t n) noexcept nogil
