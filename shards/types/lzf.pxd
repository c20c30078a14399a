"""LZF, the compression of quicklist nodes and of strings in RDB files.

    000LLLLL                literal: L + 1 bytes follow
    LLLooooo oooooooo       back-reference: L + 2 bytes, L of 1-6, from o + 1 bytes before
    111ooooo LLLLLLLL oooooooo      the same, of L + 9 bytes

Both work in one pass over what they are given and allocate nothing.
"""

from libc.stdint cimport uint8_t

# Compress into at most `room` bytes; returns how many they are, 0 if they do not suffice. O(n)
cdef size_t lzf_compress(const uint8_t *data, size_t n, uint8_t *out, size_t room) noexcept nogil
# Decompress bytes from anywhere; returns how many came out, 0 if they are broken or are more than
# `room`. Reads and writes only inside what it is given. O(room)
cdef size_t lzf_decompress(const uint8_t *data, size_t n, uint8_t *out, size_t room) noexcept nogil
