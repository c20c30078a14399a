"""The longest common subsequence of two strings, and where its stretches lie.

The classical table is O(N * M) cells of a count each. Only one row of counts is kept; what the walk
back needs of each cell is a single bit, "go up rather than left", so the table is 32 times smaller.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free


cdef class Alignment:
    """The result of comparing two strings."""

    cdef readonly uint32_t length       # of the subsequence
    cdef readonly bytes text            # the subsequence; None when only the length was asked for
    cdef readonly list ranges  # of (first_a, last_a, first_b, last_b), from the end backwards


def align(bytes first not None, bytes second not None, bint only_length=False):
    """Compare two strings. O(N * M) time, N * M / 8 bytes; MemoryError when they can't be had."""
    cdef const char *a = first
    cdef const char *b = second
    cdef size_t n = len(first)
    cdef size_t m = len(second)
    cdef size_t stride = (m + 7) // 8           # bytes of `up` for each byte of a
    cdef uint32_t *row = <uint32_t *>calloc(m + 1, sizeof(uint32_t))
    cdef uint8_t *up = NULL  # bit (i, j): the cell above is greater than the left one
    cdef Alignment result = Alignment.__new__(Alignment)
    try:
        if row == NULL:
            raise MemoryError()
        if not only_length and n and m:
            up = <uint8_t *>calloc(n, stride)
            if up == NULL:
                raise MemoryError()
        with nogil:
            fill(a, n, b, m, row, up, stride)
        result.length = row[m]
        if not only_length:
            walk_back(result, a, n, b, m, up, stride)
    finally:
        free(row)
        free(up)
    return result


cdef void fill(const char *a, size_t n, const char *b, size_t m, uint32_t *row, uint8_t *up,
               size_t stride) noexcept nogil:
    """Compute the last row of the table into `row`, and the directions into `up` unless NULL."""
    cdef size_t i, j
    cdef uint32_t diagonal, above
    for i in range(n):
        diagonal = 0
        for j in range(m):
            above = row[j + 1]
            if a[i] == b[j]:
                row[j + 1] = diagonal + 1
            elif above > row[j]:
                if up != NULL:
                    up[i * stride + (j >> 3)] |= <uint8_t>(1 << (j & 7))
            else:
                row[j + 1] = row[j]
            diagonal = above


cdef int walk_back(Alignment result, const char *a, size_t n, const char *b, size_t m,
                   const uint8_t *up, size_t stride) except -1:
    """Follow the directions from the end; collect the subsequence and its stretches. O(N + M).

    A stretch is given out as soon as it touches the start of either string, one byte later only
    if that byte continues it: the order and the cuts are those clients of LCS IDX see.
    """
    cdef bytearray text = bytearray(result.length)
    cdef unsigned char *out = text
    cdef size_t left = result.length
    cdef size_t i = n
    cdef size_t j = m
    cdef size_t first_a = 0, last_a = 0, first_b = 0, last_b = 0
    cdef bint open_ = False         # a stretch is being collected
    cdef bint give
    result.ranges = []
    while i > 0 and j > 0:
        give = False
        if a[i - 1] == b[j - 1]:
            left -= 1
            out[left] = a[i - 1]
            if not open_:
                open_ = True
                first_a = last_a = i - 1
                first_b = last_b = j - 1
            elif first_a == i and first_b == j:
                first_a -= 1
                first_b -= 1
            else:
                give = True
            if first_a == 0 or first_b == 0:
                give = True
            i -= 1
            j -= 1
        else:
            if up[(i - 1) * stride + ((j - 1) >> 3)] >> ((j - 1) & 7) & 1:
                i -= 1
            else:
                j -= 1
            give = open_
        if give:
            result.ranges.append((first_a, last_a, first_b, last_b))
            open_ = False
    result.text = bytes(text)
    return 0
