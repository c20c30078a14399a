"""Unions, differences and intersections of sets, which may be in any encodings.

A missing set is one whose value is NULL; two that are the same have the same value. Results are
made in the pool, and by the limits, that the result is given with, and in the encodings Redis gives
them.
"""

from libc.stdint cimport uint64_t

from shards.types.set cimport Set, SetVisit

# `result` has no value yet; it may be an empty set afterwards. O(members of all)
cdef void set_unite(Set *result, const Set *sets, size_t count) noexcept nogil
# The first without all others. O(members of all), or O(members of the first * sets) if that is less
cdef void set_subtract(Set *result, const Set *sets, size_t count) noexcept nogil
# As the two above. It sorts the sets by their sizes. O(members of the smallest * sets)
cdef void set_intersect(Set *result, Set *sets, size_t count) noexcept nogil
# Visits the members of all sets, which it sorts, until there were `limit` (0: all); how many these
# were. visit: NULL to count them only.
cdef uint64_t set_visit_common(Set *sets, size_t count, uint64_t limit, SetVisit visit,
                               void *context) noexcept nogil
