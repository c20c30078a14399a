"""CRC16 hash slots: which of the 16384 slots a key belongs to.

The CRC is CCITT/XMODEM (polynomial 0x1021, no reflection, start 0), taken over the hash tag when
the key has one. Every routed command pays for this, so the CRC eats eight bytes a step from
eight tables (4 KiB, filled at import) instead of one byte a step, whose steps all wait for each
other.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memchr


# tables[n][b]: what byte b does to the CRC when n more bytes follow it in the same step.
cdef uint16_t tables[8][256]


cdef void fill_tables() noexcept nogil:
    cdef uint32_t byte, crc, bit, distance
    for byte in range(256):
        crc = byte << 8
        for bit in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
        tables[0][byte] = <uint16_t>crc
    for distance in range(1, 8):
        for byte in range(256):
            crc = tables[distance - 1][byte]
            tables[distance][byte] = <uint16_t>((crc << 8) ^ tables[0][(crc >> 8) & 0xFF])


fill_tables()


cdef inline uint32_t crc16(const uint8_t *p, size_t n) noexcept nogil:
    cdef uint32_t crc = 0
    while n >= 8:
        crc = (tables[7][(crc >> 8) ^ p[0]] ^ tables[6][(crc & 0xFF) ^ p[1]]
               ^ tables[5][p[2]] ^ tables[4][p[3]] ^ tables[3][p[4]] ^ tables[2][p[5]]
               ^ tables[1][p[6]] ^ tables[0][p[7]])
        p += 8
        n -= 8
    if n & 4:
        crc = (tables[3][(crc >> 8) ^ p[0]] ^ tables[2][(crc & 0xFF) ^ p[1]]
               ^ tables[1][p[2]] ^ tables[0][p[3]])
        p += 4
    if n & 2:
        crc = tables[1][(crc >> 8) ^ p[0]] ^ tables[0][(crc & 0xFF) ^ p[1]]
        p += 2
    if n & 1:
        crc = ((crc << 8) & 0xFFFF) ^ tables[0][(crc >> 8) ^ p[0]]
    return crc


cdef uint32_t key_slot(const char *key, size_t n) noexcept nogil:
    """The slot of a key. O(n).

    Only what is between the first `{` and the next `}` is hashed; with nothing between
    them, or without either, the whole key is.
    """
    cdef const char *opening
    cdef const char *closing
    if n == 0:
        return 0
    opening = <const char *>memchr(key, c"{", n)
    if opening != NULL:
        opening += 1
        closing = <const char *>memchr(opening, c"}", n - <size_t>(opening - key))
        if closing != NULL and closing > opening:
            return crc16(<const uint8_t *>opening, <size_t>(closing - opening)) & (SLOTS - 1)
    return crc16(<const uint8_t *>key, n) & (SLOTS - 1)


def _key_slot(key: bytes) -> int:
    """The hash slot of a key, 0 to 16383. O(length of the hashed part)."""
    return key_slot(key, <size_t>len(key))


# Inside the module the name belongs to the C function; Python callers get this one.
globals().update(key_slot=_key_slot, SLOTS=SLOTS)
