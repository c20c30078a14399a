"""Reading the ends of ranges; the contract is in ranges.pxd."""

from libc.math cimport isnan
from libc.stdint cimport int8_t
from libc.stdlib cimport free, malloc, strtod
from libc.string cimport memcpy, memset

from protocol.native cimport out_of_memory
from shards.types.scoretree cimport BY_LEX, BY_SCORE

from protocol.errors import CommandError

NOT_SCORES = b"ERR min or max is not a float"
NOT_MEMBERS = b"ERR min or max not valid string range item"


cdef bint score_end(const char *data, size_t n, double *score, bint *exclusive) noexcept nogil:
    cdef char local[128]
    cdef char *text = local
    cdef char *end
    cdef bint valid
    exclusive[0] = n != 0 and data[0] == c"("
    if exclusive[0]:
        data += 1
        n -= 1
    if n >= sizeof(local):
        text = <char *>malloc(n + 1)
        if text == NULL:
            out_of_memory(n + 1)
    memcpy(text, data, n)
    text[n] = 0
    score[0] = strtod(text, &end)
    valid = end[0] == 0 and not isnan(score[0])
    if text != local:
        free(text)
    return valid


cdef bint lex_end(const char *data, size_t n, const char **member, size_t *length,
                  int8_t *infinite, bint *exclusive) noexcept nogil:
    infinite[0] = 0
    exclusive[0] = True
    if n == 0:
        return False
    if data[0] == c"+" or data[0] == c"-":
        infinite[0] = 1 if data[0] == c"+" else -1
        return n == 1 or data[1] == 0
    exclusive[0] = data[0] == c"("
    member[0] = data + 1
    length[0] = n - 1
    return exclusive[0] or data[0] == c"["


cdef class Range:
    @staticmethod
    def scores(bytes minimum not None, bytes maximum not None):
        cdef Range range = Range.__new__(Range)
        memset(&range.native, 0, sizeof(range.native))
        range.native.by = BY_SCORE
        if not score_end(minimum, <size_t>len(minimum), &range.native.min_score,
                         &range.native.min_exclusive):
            raise CommandError(NOT_SCORES)
        if not score_end(maximum, <size_t>len(maximum), &range.native.max_score,
                         &range.native.max_exclusive):
            raise CommandError(NOT_SCORES)
        return range

    @staticmethod
    def members(bytes minimum not None, bytes maximum not None):
        cdef Range range = Range.__new__(Range)
        memset(&range.native, 0, sizeof(range.native))
        range.native.by = BY_LEX
        range.minimum = minimum
        range.maximum = maximum
        if not lex_end(minimum, <size_t>len(minimum), &range.native.min_member,
                       &range.native.min_length, &range.native.min_infinite,
                       &range.native.min_exclusive):
            raise CommandError(NOT_MEMBERS)
        if not lex_end(maximum, <size_t>len(maximum), &range.native.max_member,
                       &range.native.max_length, &range.native.max_infinite,
                       &range.native.max_exclusive):
            raise CommandError(NOT_MEMBERS)
        return range

    @staticmethod
    def between(double minimum, double maximum, bint max_exclusive=False):
        cdef Range range = Range.__new__(Range)
        memset(&range.native, 0, sizeof(range.native))
        range.native.by = BY_SCORE
        range.native.min_score = minimum
        range.native.max_score = maximum
        range.native.max_exclusive = max_exclusive
        return range
