"""The ends of ranges in a sorted set, as clients write them: `(1.5`, `+inf`, `[member`, `-`."""

cimport cython
from libc.stdint cimport int8_t

from shards.types.scoretree cimport ZsetRange

# As strtod reads it, whose leniency is Redis's: nothing is 0, what follows a NUL is not read.
# False: not a number.
cdef bint score_end(const char *data, size_t n, double *score, bint *exclusive) noexcept nogil
# The member points into data. False: it begins with none of [ ( - +
cdef bint lex_end(const char *data, size_t n, const char **member, size_t *length,
                  int8_t *infinite, bint *exclusive) noexcept nogil


@cython.final
cdef class Range:
    """Two ends, for Python handlers; see ranges.pyi."""
    cdef ZsetRange native
    cdef bytes minimum          # what native.min_member points into
    cdef bytes maximum
