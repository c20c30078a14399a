"""A Fenwick tree over the key counts of the slots: counts in, prefix sums and ranks out.

It answers in 14 steps which slot holds the n-th key (a fair random choice) and which slot is the
next one with keys in it. The tree is SLOTS counters; tree[i] sums the slots that the lowest set
bit of i + 1 spans.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t

from protocol.slots cimport SLOTS


cdef inline void fenwick_add(uint32_t *tree, uint32_t slot, int32_t delta) noexcept nogil:
    cdef uint32_t i = slot + 1
    while i <= SLOTS:
        tree[i - 1] += <uint32_t>delta
        i += i & (0 - i)


cdef inline uint64_t fenwick_before(const uint32_t *tree, uint32_t slot) noexcept nogil:
    """How many keys are in the slots below `slot`."""
    cdef uint64_t total = 0
    while slot:
        total += tree[slot - 1]
        slot &= slot - 1
    return total


cdef inline uint32_t fenwick_find(const uint32_t *tree, uint64_t rank) noexcept nogil:
    """The slot of the key with that rank (from 0); SLOTS when there are not so many keys."""
    cdef uint32_t slot = 0, step = SLOTS
    while step:
        if slot + step <= SLOTS and tree[slot + step - 1] <= rank:
            slot += step
            rank -= tree[slot - 1]
        step >>= 1
    return slot


cdef inline uint32_t fenwick_next(const uint32_t *tree, uint32_t slot) noexcept nogil:
    """The first slot from `slot` on that has keys; SLOTS if none has."""
    return fenwick_find(tree, fenwick_before(tree, slot))
