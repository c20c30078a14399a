"""LZF compression; the format is in lzf.pxd.

The compressor looks up each three bytes in a table of where their like was last seen. Where nothing
is found for long it looks at fewer and fewer places, so that random bytes cost little.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize


cdef enum:
    TABLE_BITS_MAX = 13
    TABLE_BITS_MIN = 9
    OFFSET_MAX = 8192
    MATCH_MIN = 3
    MATCH_MAX = 264
    LITERALS_MAX = 32
    BYTES_MAX = 1 << 30             # of an input; positions must fit into the table
    BORED_SHIFT = 7                 # every 128 literals in a row the next step is one longer


cdef inline uint32_t three_bytes(const uint8_t *p) noexcept nogil:
    return <uint32_t>p[0] | <uint32_t>p[1] << 8 | <uint32_t>p[2] << 16


cdef inline uint8_t *put_literals(uint8_t *out, uint8_t *out_end, const uint8_t *first,
                                  size_t n) noexcept nogil:
    """Returns after them, or NULL if there is no room."""
    cdef size_t run
    while n:
        run = n if n < LITERALS_MAX else LITERALS_MAX
        if <size_t>(out_end - out) < run + 1:
            return NULL
        out[0] = <uint8_t>(run - 1)
        memcpy(out + 1, first, run)
        out += run + 1
        first += run
        n -= run
    return out


cdef inline uint8_t *put_match(uint8_t *out, uint8_t *out_end, size_t offset,
                               size_t length) noexcept nogil:
    cdef size_t code = length - 2
    offset -= 1
    if out_end - out < (2 if code < 7 else 3):
        return NULL
    if code < 7:
        out[0] = <uint8_t>(code << 5 | offset >> 8)
        out[1] = <uint8_t>offset
        return out + 2
    out[0] = <uint8_t>(7 << 5 | offset >> 8)
    out[1] = <uint8_t>(code - 7)
    out[2] = <uint8_t>offset
    return out + 3


cdef size_t lzf_compress(const uint8_t *data, size_t n, uint8_t *out, size_t room) noexcept nogil:
    cdef uint32_t table[1 << TABLE_BITS_MAX]        # position + 1; 0: none
    cdef uint8_t *p = out
    cdef uint8_t *out_end = out + room
    cdef size_t i = 0, pending = 0, seen, length, limit
    cdef uint32_t bits = TABLE_BITS_MIN
    cdef uint32_t word, place
    if n == 0 or n > BYTES_MAX:
        return 0
    while bits < TABLE_BITS_MAX and <size_t>1 << bits < n:
        bits += 1
    memset(table, 0, sizeof(uint32_t) << bits)
    while i + MATCH_MIN <= n:
        word = three_bytes(data + i)
        place = <uint32_t>(word * <uint32_t>2654435761) >> (32 - bits)
        seen = table[place]
        table[place] = <uint32_t>i + 1
        if (seen == 0 or i - (seen - 1) > OFFSET_MAX
                or three_bytes(data + seen - 1) != word):
            i += 1 + ((i - pending) >> BORED_SHIFT)
            continue
        seen -= 1
        limit = n - i if n - i < MATCH_MAX else MATCH_MAX
        length = MATCH_MIN
        while length < limit and data[seen + length] == data[i + length]:
            length += 1
        p = put_literals(p, out_end, data + pending, i - pending)
        if p == NULL:
            return 0
        p = put_match(p, out_end, i - seen, length)
        if p == NULL:
            return 0
        pending = i + length
        i += 1
        while i < pending and i + MATCH_MIN <= n:   # what was matched can be matched again
            word = three_bytes(data + i)
            table[<uint32_t>(word * <uint32_t>2654435761) >> (32 - bits)] = <uint32_t>i + 1
            i += 1
        i = pending
    p = put_literals(p, out_end, data + pending, n - pending)
    return <size_t>(p - out) if p != NULL else 0


cdef size_t lzf_decompress(const uint8_t *data, size_t n, uint8_t *out, size_t room) noexcept nogil:
    cdef const uint8_t *end = data + n
    cdef size_t written = 0, length, offset
    cdef uint8_t control
    while data < end:
        control = data[0]
        data += 1
        if control < 32:
            length = <size_t>control + 1
            if <size_t>(end - data) < length or room - written < length:
                return 0
            memcpy(out + written, data, length)
            data += length
            written += length
            continue
        length = control >> 5
        if length == 7:
            if data == end:
                return 0
            length += data[0]
            data += 1
        length += 2
        if data == end:
            return 0
        offset = ((<size_t>control & 31) << 8 | data[0]) + 1
        data += 1
        if offset > written or room - written < length:
            return 0
        if offset >= length:
            memcpy(out + written, out + written - offset, length)
            written += length
        else:
            while length:           # the source grows while it is copied
                out[written] = out[written - offset]
                written += 1
                length -= 1
    return written


def compress(const uint8_t[::1] data not None, room=None) -> bytes | None:
    """LZF of some bytes; None if it takes more than `room` bytes (default: the input's - 1)."""
    cdef size_t n = data.shape[0]
    cdef size_t space = (n - 1 if n else 0) if room is None else room
    cdef bytes out = PyBytes_FromStringAndSize(NULL, space)
    if n == 0 or space == 0:
        return None
    n = lzf_compress(&data[0], n, <uint8_t *>PyBytes_AS_STRING(out), space)
    return out[:n] if n else None


def decompress(const uint8_t[::1] data not None, size_t length) -> bytes | None:
    """What was compressed, which must be `length` bytes; None if it is broken."""
    cdef bytes out = PyBytes_FromStringAndSize(NULL, length)
    if data.shape[0] == 0:
        return None
    if lzf_decompress(&data[0], data.shape[0], <uint8_t *>PyBytes_AS_STRING(out), length) != length:
        return None
    return out
