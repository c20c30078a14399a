"""The intset: a sorted array of integers in one block, byte for byte in Redis's format.

    width (4: 2, 4 or 8)  length (4)  integers of that width, ascending, little-endian

Contract
1. The width suffices for all members; it grows with the first that needs more and never shrinks.
2. Whatever changes an intset returns its new address.
3. What came from outside has passed intset_validate: nothing else here checks bounds.
4. Finding is O(log n), adding and removing O(n), in one memmove.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t

from protocol.native cimport likely, load16, load32, load64
from shards.memory.allocation cimport Pool


cdef packed struct Intset:      # the header; never aligned where it is another's bytes
    uint32_t width              # bytes of a member
    uint32_t length             # members

cdef Intset *intset_new(Pool *pool) noexcept nogil
cdef Intset *intset_from(Pool *pool, const uint8_t *data, size_t n) noexcept nogil  # validated
cdef Intset *intset_copy(Pool *pool, const Intset *integers) noexcept nogil
cdef void intset_free(Pool *pool, Intset *integers) noexcept nogil      # NULL is none
cdef uint64_t intset_footprint(const Intset *integers) noexcept nogil   # O(1)

cdef bint intset_find(const Intset *integers, int64_t number) noexcept nogil
# `changed`: whether it was not there, or was.
cdef Intset *intset_add(Pool *pool, Intset *integers, int64_t number, bint *changed) noexcept nogil
cdef Intset *intset_remove(Pool *pool, Intset *integers, int64_t number,
                           bint *changed) noexcept nogil
# Remove `count` members from an index on, which are there.
cdef Intset *intset_remove_range(Pool *pool, Intset *integers, uint32_t index,
                                 uint32_t count) noexcept nogil
# Whether bytes from outside are an intset that is not empty. Deep: also whether its members ascend,
# and only then may the bytes be used.
cdef bint intset_validate(const uint8_t *data, size_t n, bint deep) noexcept nogil


cdef inline size_t intset_bytes(const Intset *integers) noexcept nogil:
    return sizeof(Intset) + <size_t>integers.width * integers.length


cdef inline int64_t intset_get(const Intset *integers, uint32_t index) noexcept nogil:
    """The member at an index, in ascending order; a random index gives a fair draw. O(1)"""
    cdef const char *p = <const char *>(integers + 1) + <size_t>index * integers.width
    if likely(integers.width == 2):
        return <int16_t>load16(p)
    if integers.width == 4:
        return <int32_t>load32(p)
    return <int64_t>load64(p)
