"""CRC16 hash slots, as Redis Cluster defines them (CCITT/XMODEM, hash tags in braces)."""

from libc.stdint cimport uint16_t, uint32_t

cdef enum:
    SLOTS = 16384

cdef uint32_t key_slot(const char *key, size_t n) noexcept nogil
