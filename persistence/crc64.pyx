"""The checksum of RDB data, by eight tables of 256 entries; see crc64.pxd."""

from libc.stdint cimport uint8_t, uint64_t

from protocol.native cimport load64

cdef enum:
    TABLES = 8

cdef uint64_t table[TABLES][256]


cdef void fill() noexcept:
    cdef uint64_t crc
    cdef int i, j
    for i in range(256):
        crc = i
        for j in range(8):
            crc = crc >> 1 ^ (0x95ac9329ac4bc9b5U if crc & 1 else 0)
        table[0][i] = crc
    for i in range(256):
        crc = table[0][i]
        for j in range(1, TABLES):
            crc = table[0][crc & 0xFF] ^ crc >> 8
            table[j][i] = crc


fill()


cdef uint64_t crc64(uint64_t crc, const void *data, size_t n) noexcept nogil:
    cdef const uint8_t *p = <const uint8_t *>data
    cdef const uint8_t *end = p + n
    while end - p >= 8:
        crc ^= load64(p)
        crc = (table[7][crc & 0xFF] ^ table[6][crc >> 8 & 0xFF] ^ table[5][crc >> 16 & 0xFF]
               ^ table[4][crc >> 24 & 0xFF] ^ table[3][crc >> 32 & 0xFF]
               ^ table[2][crc >> 40 & 0xFF] ^ table[1][crc >> 48 & 0xFF] ^ table[0][crc >> 56])
        p += 8
    while p < end:
        crc = table[0][(crc ^ p[0]) & 0xFF] ^ crc >> 8
        p += 1
    return crc


def checksum(bytes data not None, uint64_t before=0) -> int:
    """The CRC-64 of RDB data; `before` is that of what comes before it. O(n)"""
    return crc64(before, <const char *>data, len(data))
