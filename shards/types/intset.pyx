"""The intset; the contract is in intset.pxd."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove

from cpython.bytes cimport PyBytes_FromStringAndSize

from shards.memory.allocation cimport Pool, before_node, malloc_usable_size, pool_alloc, pool_free
from shards.types.growth cimport block_give_back, block_reserve


cdef inline uint32_t width_of(int64_t number) noexcept nogil:
    if -32768 <= number <= 32767:
        return 2
    return 4 if -2147483648 <= number <= 2147483647 else 8


cdef inline char *member(Intset *integers, uint32_t index) noexcept nogil:
    return <char *>(integers + 1) + <size_t>index * integers.width


cdef inline void put(Intset *integers, uint32_t index, int64_t number) noexcept nogil:
    memcpy(member(integers, index), &number, integers.width)    # the low bytes come first


cdef inline bint search(const Intset *integers, int64_t number, uint32_t *index) noexcept nogil:
    """Whether a number is there, and the index where it is or belongs."""
    cdef uint32_t low = 0, high = integers.length, middle
    cdef int64_t found
    if high and number > intset_get(integers, high - 1):
        low = high                  # appending in order is the common case
    while low < high:
        middle = low + (high - low) // 2
        found = intset_get(integers, middle)
        if found == number:
            index[0] = middle
            return True
        if found < number:
            low = middle + 1
        else:
            high = middle
    index[0] = low
    return False


cdef Intset *intset_new(Pool *pool) noexcept nogil:
    cdef Intset *integers = <Intset *>pool_alloc(pool, sizeof(Intset))
    integers.width = 2
    integers.length = 0
    return integers


cdef Intset *intset_from(Pool *pool, const uint8_t *data, size_t n) noexcept nogil:
    cdef Intset *integers = <Intset *>pool_alloc(pool, n)
    memcpy(integers, data, n)
    return integers


cdef Intset *intset_copy(Pool *pool, const Intset *integers) noexcept nogil:
    return intset_from(pool, <const uint8_t *>integers, intset_bytes(integers))


cdef void intset_free(Pool *pool, Intset *integers) noexcept nogil:
    pool_free(pool, integers)


cdef uint64_t intset_footprint(const Intset *integers) noexcept nogil:
    return malloc_usable_size(integers)


cdef bint intset_find(const Intset *integers, int64_t number) noexcept nogil:
    cdef uint32_t index
    return width_of(number) <= integers.width and search(integers, number, &index)


cdef Intset *widen(Pool *pool, Intset *integers, int64_t number) noexcept nogil:
    """Add a number that needs a greater width: it belongs to one of the ends."""
    cdef uint32_t length = integers.length
    cdef uint32_t width = width_of(number)
    cdef uint32_t shift = 1 if number < 0 else 0
    cdef uint32_t i
    cdef Intset before
    cdef int64_t moved
    before_node(pool, integers, integers)
    integers = <Intset *>block_reserve(
        pool, integers, sizeof(Intset) + (<size_t>length + 1) * width)
    before = integers[0]
    for i in range(length):
        integers.width = before.width
        moved = intset_get(integers, length - 1 - i)
        integers.width = width
        put(integers, length - 1 - i + shift, moved)
    integers.width = width
    integers.length = length + 1
    put(integers, 0 if shift else length, number)
    return integers


cdef Intset *intset_add(Pool *pool, Intset *integers, int64_t number, bint *changed) noexcept nogil:
    cdef uint32_t index
    changed[0] = True
    if width_of(number) > integers.width:
        return widen(pool, integers, number)
    if search(integers, number, &index):
        changed[0] = False
        return integers
    before_node(pool, integers, integers)
    integers = <Intset *>block_reserve(pool, integers, intset_bytes(integers) + integers.width)
    memmove(member(integers, index + 1), member(integers, index),
            <size_t>(integers.length - index) * integers.width)
    integers.length += 1
    put(integers, index, number)
    return integers


cdef Intset *intset_remove(Pool *pool, Intset *integers, int64_t number,
                           bint *changed) noexcept nogil:
    cdef uint32_t index
    changed[0] = width_of(number) <= integers.width and search(integers, number, &index)
    return intset_remove_range(pool, integers, index, 1) if changed[0] else integers


cdef Intset *intset_remove_range(Pool *pool, Intset *integers, uint32_t index,
                                 uint32_t count) noexcept nogil:
    before_node(pool, integers, integers)
    memmove(member(integers, index), member(integers, index + count),
            <size_t>(integers.length - index - count) * integers.width)
    integers.length -= count
    return <Intset *>block_give_back(pool, integers, intset_bytes(integers))


cdef bint intset_validate(const uint8_t *data, size_t n, bint deep) noexcept nogil:
    cdef const Intset *integers = <const Intset *>data
    cdef uint32_t i
    if n < sizeof(Intset):
        return False
    if integers.width != 2 and integers.width != 4 and integers.width != 8:
        return False
    if integers.length == 0 or intset_bytes(integers) != n:
        return False
    if deep:
        for i in range(1, integers.length):
            if intset_get(integers, i - 1) >= intset_get(integers, i):
                return False
    return True


def validate_intset(const uint8_t[::1] data not None, bint deep=True) -> bool:
    """Whether these bytes are an intset; deep looks at every member."""
    if data.shape[0] == 0:
        return False
    return intset_validate(&data[0], data.shape[0], deep)


cdef class IntsetProbe:
    """An intset for the tests."""

    cdef Intset *integers
    cdef Pool pool
    cdef uint64_t total

    def __cinit__(self, const uint8_t[::1] data=None):
        self.pool.total = &self.total
        if data is None:
            self.integers = intset_new(&self.pool)
            return
        if data.shape[0] == 0 or not intset_validate(&data[0], data.shape[0], True):
            raise ValueError("not an intset")
        self.integers = intset_from(&self.pool, &data[0], data.shape[0])

    def __dealloc__(self):
        intset_free(&self.pool, self.integers)

    def __bytes__(self) -> bytes:
        return PyBytes_FromStringAndSize(<const char *>self.integers, intset_bytes(self.integers))

    def __len__(self) -> int:
        return self.integers.length

    def __getitem__(self, uint32_t index) -> int:
        if index >= self.integers.length:
            raise IndexError(index)
        return intset_get(self.integers, index)

    def __contains__(self, int64_t number) -> bool:
        return intset_find(self.integers, number)

    def add(self, int64_t number) -> bool:
        cdef bint changed
        self.integers = intset_add(&self.pool, self.integers, number, &changed)
        return changed

    def remove(self, int64_t number) -> bool:
        cdef bint changed
        self.integers = intset_remove(&self.pool, self.integers, number, &changed)
        return changed

    def remove_range(self, uint32_t index, uint32_t count) -> None:
        if <uint64_t>index + count > self.integers.length:
            raise IndexError(index)
        self.integers = intset_remove_range(&self.pool, self.integers, index, count)

    def check(self) -> None:
        """Raise AssertionError if it is no intset, or memory is counted wrongly. O(n)"""
        cdef size_t n = intset_bytes(self.integers)
        cdef size_t usable = malloc_usable_size(self.integers)
        if self.integers.length and not intset_validate(<uint8_t *>self.integers, n, True):
            raise AssertionError("not an intset")
        if self.total != intset_footprint(self.integers) or self.pool.bytes != self.total:
            raise AssertionError("its memory is counted wrongly")
        if usable - n > 64 + n // 8:
            raise AssertionError("memory is wasted")
