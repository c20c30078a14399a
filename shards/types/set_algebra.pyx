"""Unions, differences and intersections; the contract is in set_algebra.pxd."""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from shards.types.kinds cimport ENCODING_INTSET, ENCODING_LISTPACK
from shards.types.listpack cimport Element, Listpack, element_integer, listpack_shrink
from shards.types.set cimport (
    Set,
    SetIterator,
    SetVisit,
    set_add_element,
    set_has_element,
    set_length,
    set_make_as,
    set_narrow,
    set_next,
    set_remove_element,
)


cdef void sort_by_length(Set *sets, size_t count) noexcept nogil:
    """The shortest first; equal ones keep their order. Few are expected: O(sets^2)"""
    cdef size_t i, place
    cdef Set moved
    for i in range(1, count):
        moved = sets[i]
        place = i
        while place and set_length(&sets[place - 1]) > set_length(&moved):
            sets[place] = sets[place - 1]
            place -= 1
        sets[place] = moved


cdef void add_all(Set *result, const Set *source) noexcept nogil:
    cdef SetIterator iterator
    cdef Element member
    memset(&iterator, 0, sizeof(SetIterator))
    while set_next(source, &iterator, &member):
        set_add_element(result, &member)


cdef void remove_all(Set *result, const Set *source) noexcept nogil:
    cdef SetIterator iterator
    cdef Element member
    memset(&iterator, 0, sizeof(SetIterator))
    while set_next(source, &iterator, &member):
        set_remove_element(result, &member)


cdef void set_unite(Set *result, const Set *sets, size_t count) noexcept nogil:
    cdef size_t i
    set_make_as(result, ENCODING_INTSET)
    for i in range(count):
        if sets[i].value != NULL:
            add_all(result, &sets[i])


cdef inline bint in_none(const Set *sets, size_t count, const Element *member) noexcept nogil:
    cdef size_t i
    for i in range(count):
        if sets[i].value != NULL and set_has_element(&sets[i], member):
            return False
    return True


cdef void set_subtract(Set *result, const Set *sets, size_t count) noexcept nogil:
    cdef SetIterator iterator
    cdef Element member
    cdef uint64_t by_looking = 0, by_removing = 0
    cdef size_t i
    set_make_as(result, ENCODING_INTSET)
    if sets[0].value == NULL:
        return
    for i in range(count):
        if i and sets[i].value == sets[0].value:
            return
        if sets[i].value != NULL:
            by_looking += set_length(&sets[0])
            by_removing += set_length(&sets[i])
    # Which way is gone shows in the encoding of the result.
    if by_looking // 2 <= by_removing:
        memset(&iterator, 0, sizeof(SetIterator))
        while set_next(&sets[0], &iterator, &member):
            if in_none(sets + 1, count - 1, &member):
                set_add_element(result, &member)
        return
    add_all(result, &sets[0])
    for i in range(1, count):
        if sets[i].value != NULL and set_length(result):
            remove_all(result, &sets[i])


cdef uint64_t set_visit_common(Set *sets, size_t count, uint64_t limit, SetVisit visit,
                               void *context) noexcept nogil:
    cdef SetIterator iterator
    cdef Element member
    cdef uint64_t found = 0
    cdef size_t i
    for i in range(count):
        if sets[i].value == NULL:
            return 0
    sort_by_length(sets, count)
    memset(&iterator, 0, sizeof(SetIterator))
    while set_next(&sets[0], &iterator, &member):
        i = 1
        while i < count and (sets[i].value == sets[0].value
                             or set_has_element(&sets[i], &member)):
            i += 1
        if i < count:
            continue
        if visit != NULL:
            visit(context, &member)
        found += 1
        if found == limit:
            break
    return found


cdef struct Common:
    Set *result
    bint integers               # nothing else so far


cdef void add_common(void *context, const Element *member) noexcept nogil:
    cdef Common *common = <Common *>context
    cdef int64_t number
    if common.integers and not element_integer(member, &number):
        common.integers = False
    set_add_element(common.result, member)


cdef void set_intersect(Set *result, Set *sets, size_t count) noexcept nogil:
    cdef Common common
    cdef size_t i
    common.result = result
    common.integers = True
    for i in range(count):
        if sets[i].value == NULL:
            set_make_as(result, ENCODING_INTSET)
            return
    sort_by_length(sets, count)
    set_make_as(
        result, ENCODING_INTSET if sets[0].encoding == ENCODING_INTSET else ENCODING_LISTPACK)
    set_visit_common(sets, count, 0, add_common, &common)
    if common.integers:
        set_narrow(result)
    if result.encoding == ENCODING_LISTPACK:
        result.value = listpack_shrink(result.pool, <Listpack *>result.value)
