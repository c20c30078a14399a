"""Strings as rows of bits: counting, searching, combining them, and integers of any width in them.

Words of 8 bytes are loaded through memcpy, as nothing about the strings is aligned.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport UINT64_MAX, int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, memset

from protocol.native cimport load64, store64

cdef extern from *:
    int popcount "__builtin_popcountll"(uint64_t) noexcept nogil
    int leading_zeros "__builtin_clzll"(uint64_t) noexcept nogil
    uint64_t swapped "__builtin_bswap64"(uint64_t) noexcept nogil

AND, OR, XOR, NOT = range(4)


cdef inline uint8_t first_mask(uint64_t first) noexcept nogil:
    """The bits of a range's first byte that are in the range."""
    return <uint8_t>(0xFF >> (first & 7))


cdef inline uint8_t last_mask(uint64_t last) noexcept nogil:
    return <uint8_t>(0xFF << (7 - (last & 7)))


cdef uint64_t count_bits(const uint8_t *data, uint64_t first, uint64_t last) noexcept nogil:
    cdef const uint8_t *p = data + (first >> 3)
    cdef const uint8_t *end = data + (last >> 3)
    cdef uint64_t count
    if p == end:
        return popcount(p[0] & first_mask(first) & last_mask(last))
    count = popcount(p[0] & first_mask(first)) + popcount(end[0] & last_mask(last))
    p += 1
    while end - p >= 8:
        count += popcount(load64(p))
        p += 8
    while p < end:
        count += popcount(p[0])
        p += 1
    return count


cdef inline int64_t bit_in(uint8_t byte, uint64_t index) noexcept nogil:
    """The position of the first set bit of a byte that has one and is at an index."""
    return <int64_t>(index << 3) + leading_zeros(<uint64_t>byte << 56)


cdef int64_t find_bit(const uint8_t *data, bint bit, uint64_t first, uint64_t last) noexcept nogil:
    cdef uint64_t index = first >> 3
    cdef uint64_t end = last >> 3
    cdef uint8_t flip = 0 if bit else 0xFF
    cdef uint64_t none = 0 if bit else UINT64_MAX
    cdef uint8_t byte = (data[index] ^ flip) & first_mask(first)
    if index == end:
        byte &= last_mask(last)
        return bit_in(byte, index) if byte else -1
    if byte:
        return bit_in(byte, index)
    index += 1
    while end - index >= 8 and load64(data + index) == none:
        index += 8
    while index < end:
        if data[index] != <uint8_t>none:
            return bit_in(data[index] ^ flip, index)
        index += 1
    byte = (data[end] ^ flip) & last_mask(last)
    return bit_in(byte, end) if byte else -1


cdef uint64_t integer_in(const uint8_t *window, uint64_t shift, int width) noexcept nogil:
    cdef uint64_t value = swapped(load64(window)) << shift
    if shift:
        value |= window[8] >> (8 - shift)
    return value >> (64 - width)


cdef void integer_into(uint8_t *window, uint64_t shift, int width, uint64_t value) noexcept nogil:
    cdef uint64_t mask = UINT64_MAX << (64 - width)     # the width's bits, highest first
    cdef uint64_t word = swapped(load64(window))
    value <<= 64 - width
    store64(window, swapped((word & ~(mask >> shift)) | value >> shift))
    if shift:
        window[8] = <uint8_t>(
            (window[8] & ~<uint8_t>(mask << (8 - shift))) | <uint8_t>(value << (8 - shift)))


cdef void combine_in(Operation operation, uint8_t *out, size_t length, const uint8_t *source,
                     size_t n) noexcept nogil:
    cdef size_t i
    if operation == OPERATION_NOT:
        for i in range(length):
            out[i] = ~out[i]
    elif operation == OPERATION_AND:
        for i in range(n):
            out[i] &= source[i]
        if length > n:
            memset(out + n, 0, length - n)
    elif operation == OPERATION_OR:
        for i in range(n):
            out[i] |= source[i]
    else:
        for i in range(n):
            out[i] ^= source[i]


def combine(int operation, list strings not None) -> bytes:
    """AND, OR, XOR of strings, or NOT of the first; short ones are padded with zeros. O(bytes)"""
    cdef size_t length = 0, n
    cdef uint8_t *out
    cdef bytes string, result
    for string in strings:
        length = max(length, <size_t>PyBytes_GET_SIZE(string))
    result = PyBytes_FromStringAndSize(NULL, length)
    out = <uint8_t *>PyBytes_AS_STRING(result)
    string = strings[0]
    n = PyBytes_GET_SIZE(string)
    memcpy(out, PyBytes_AS_STRING(string), n)
    memset(out + n, 0, length - n)
    if operation == OPERATION_NOT:
        combine_in(OPERATION_NOT, out, length, NULL, 0)
        return result
    for string in strings[1:]:
        combine_in(<Operation>operation, out, length,
                   <const uint8_t *>PyBytes_AS_STRING(string), PyBytes_GET_SIZE(string))
    return result
