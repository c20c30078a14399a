"""The listpack; the contract is in listpack.pxd. Every change is one splice of bytes."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from protocol.native cimport likely, store32, store64
from shards.memory.allocation cimport (
    Pool,
    before_node,
    malloc_usable_size,
    pool_alloc,
    pool_free,
)
from shards.types.growth cimport block_fit, block_give_back, block_reserve


cdef struct Piece:                  # an element on its way in
    uint8_t head[9]                 # encoding and length, or the whole integer
    uint8_t head_bytes
    const char *data
    size_t data_bytes
    size_t bytes                    # all of it, back-length included


cdef inline void string_piece(Piece *piece, const char *data, size_t n) noexcept nogil:
    cdef uint64_t encoded
    cdef int64_t number
    if string_is_integer(data, n, &number):
        integer_piece(piece, number)
        return
    piece.data = data
    piece.data_bytes = n
    if n < 64:
        piece.head[0] = <uint8_t>(0x80 | n)
        piece.head_bytes = 1
    elif n < 4096:
        piece.head[0] = <uint8_t>(0xE0 | n >> 8)
        piece.head[1] = <uint8_t>n
        piece.head_bytes = 2
    else:
        piece.head[0] = 0xF0
        store32(piece.head + 1, <uint32_t>n)
        piece.head_bytes = 5
    encoded = piece.head_bytes + n
    piece.bytes = encoded + back_bytes(encoded)


cdef inline void integer_piece(Piece *piece, int64_t number) noexcept nogil:
    piece.data_bytes = 0
    piece.data = NULL
    if 0 <= number <= 127:
        piece.head[0] = <uint8_t>number
        piece.head_bytes = 1
    elif -4096 <= number <= 4095:
        piece.head[0] = <uint8_t>(0xC0 | (<uint64_t>number >> 8 & 31))
        piece.head[1] = <uint8_t>number
        piece.head_bytes = 2
    else:
        store64(piece.head + 1, <uint64_t>number)
        if -32768 <= number <= 32767:
            piece.head[0] = 0xF1
            piece.head_bytes = 3
        elif -8388608 <= number <= 8388607:
            piece.head[0] = 0xF2
            piece.head_bytes = 4
        elif -2147483648 <= number <= 2147483647:
            piece.head[0] = 0xF3
            piece.head_bytes = 5
        else:
            piece.head[0] = 0xF4
            piece.head_bytes = 9
    piece.bytes = <size_t>piece.head_bytes + 1


cdef inline uint8_t *write_piece(uint8_t *p, const Piece *piece) noexcept nogil:
    """Returns after it."""
    cdef uint64_t encoded = piece.head_bytes + piece.data_bytes
    cdef size_t i, back = piece.bytes - encoded
    cdef uint8_t *last
    memcpy(p, piece.head, piece.head_bytes)
    p += piece.head_bytes
    if piece.data_bytes:
        memcpy(p, piece.data, piece.data_bytes)
        p += piece.data_bytes
    p += back
    last = p - 1
    last[0] = <uint8_t>(encoded & 0x7F)
    for i in range(1, back):
        last[0] |= 0x80
        last -= 1
        encoded >>= 7
        last[0] = <uint8_t>(encoded & 0x7F)
    return p


cdef inline void add_count(Listpack *pack, uint64_t added) noexcept nogil:
    added += pack.count
    pack.count = <uint16_t>(added if added < LISTPACK_COUNT_UNKNOWN else LISTPACK_COUNT_UNKNOWN)


cdef inline void drop_count(Listpack *pack, uint64_t dropped) noexcept nogil:
    if pack.count != LISTPACK_COUNT_UNKNOWN:
        pack.count -= <uint16_t>dropped


cdef inline Listpack *splice(Pool *pool, Listpack *pack, uint8_t **at, size_t removed,
                             const Piece *piece) noexcept nogil:
    """Put an element where `removed` bytes are; `at` is its address, before and after."""
    cdef size_t before = pack.bytes
    cdef size_t after = before - removed + piece.bytes
    cdef size_t offset = <size_t>at[0] - <size_t>pack
    cdef uint8_t *p
    before_node(pool, pack, pack)
    pack = <Listpack *>block_reserve(pool, pack, after)
    p = <uint8_t *>pack + offset
    memmove(p + piece.bytes, p + removed, before - offset - removed)
    write_piece(p, piece)
    pack.bytes = <uint32_t>after
    if after < before:
        pack = <Listpack *>block_give_back(pool, pack, pack.bytes)
    at[0] = <uint8_t *>pack + offset
    return pack


cdef inline Listpack *insert(Pool *pool, Listpack *pack, uint8_t **p,
                             const Piece *piece) noexcept nogil:
    pack = splice(pool, pack, p, 0, piece)
    add_count(pack, 1)
    return pack


cdef inline Listpack *cut(Pool *pool, Listpack *pack, uint8_t **first, uint8_t *behind,
                          uint64_t count) noexcept nogil:
    """Delete `count` elements that lie from `first` to `behind`."""
    cdef size_t left = <size_t>(listpack_end(pack) + 1 - behind)
    before_node(pool, pack, pack)
    memmove(first[0], behind, left)
    pack.bytes -= <uint32_t>(behind - first[0])
    drop_count(pack, count)
    pack = <Listpack *>block_give_back(pool, pack, pack.bytes)
    first[0] = listpack_end(pack) + 1 - left
    if first[0][0] == LISTPACK_END:
        first[0] = NULL
    return pack


# Whole listpacks

cdef Listpack *listpack_new(Pool *pool, size_t capacity) noexcept nogil:
    cdef Listpack *pack = <Listpack *>pool_alloc(
        pool, capacity if capacity > LISTPACK_EMPTY_BYTES else LISTPACK_EMPTY_BYTES)
    pack.bytes = LISTPACK_EMPTY_BYTES
    pack.count = 0
    listpack_end(pack)[0] = LISTPACK_END
    return pack


cdef Listpack *listpack_from(Pool *pool, const uint8_t *data, size_t n) noexcept nogil:
    cdef Listpack *pack = <Listpack *>pool_alloc(pool, n)
    memcpy(pack, data, n)
    return pack


cdef Listpack *listpack_copy(Pool *pool, const Listpack *pack) noexcept nogil:
    return listpack_from(pool, <const uint8_t *>pack, pack.bytes)


cdef void listpack_free(Pool *pool, Listpack *pack) noexcept nogil:
    pool_free(pool, pack)


cdef uint64_t listpack_footprint(const Listpack *pack) noexcept nogil:
    return malloc_usable_size(pack)


cdef Listpack *listpack_shrink(Pool *pool, Listpack *pack) noexcept nogil:
    return <Listpack *>block_fit(pool, pack, pack.bytes)


# Looking

cdef uint64_t listpack_length(Listpack *pack) noexcept nogil:
    cdef uint64_t count = 0
    cdef uint8_t *p
    if likely(pack.count != LISTPACK_COUNT_UNKNOWN):
        return pack.count
    p = <uint8_t *>pack + LISTPACK_HEADER_BYTES
    while p[0] != LISTPACK_END:
        p = listpack_skip(p)
        count += 1
    if count < LISTPACK_COUNT_UNKNOWN:
        pack.count = <uint16_t>count
    return count


cdef uint8_t *listpack_seek(Listpack *pack, int64_t index) noexcept nogil:
    cdef uint8_t *p
    cdef int64_t count
    if pack.count != LISTPACK_COUNT_UNKNOWN:
        count = pack.count
        if index >= count or index < -count:
            return NULL
        if index >= 0 and index >= count - index:
            index -= count
        elif index < 0 and -index > count + index:
            index += count
    if index >= 0:
        p = listpack_first(pack)
        while p != NULL and index:
            p = listpack_next(p)
            index -= 1
        return p
    p = listpack_last(pack)
    while p != NULL and index < -1:
        p = listpack_previous(pack, p)
        index += 1
    return p


cdef uint8_t *listpack_find(Listpack *pack, uint8_t *p, const char *data, size_t n,
                            uint32_t skip) noexcept nogil:
    cdef Element element
    cdef int64_t number = 0
    cdef int integer = -1           # whether the string could be one; not known yet
    cdef uint32_t left = 0
    cdef uint8_t first
    if p == NULL:
        return NULL
    while p[0] != LISTPACK_END:
        first = p[0]
        if left:
            left -= 1
            p = listpack_skip(p)
            continue
        left = skip
        if likely(first & 0xC0 == 0x80):
            if (first & 0x3F) == n and memcmp(p + 1, data, n) == 0:
                return p
            p += (first & 0x3F) + 2
            continue
        listpack_get(p, &element)
        if element.data != NULL:
            if element.length == n and memcmp(element.data, data, n) == 0:
                return p
        else:
            if integer < 0:
                integer = string_is_integer(data, n, &number)
            if integer and element.number == number:
                return p
        p = listpack_skip(p)
    return NULL


# Changing

cdef size_t listpack_string_bytes(const char *data, size_t n) noexcept nogil:
    cdef Piece piece
    string_piece(&piece, data, n)
    return piece.bytes


cdef size_t listpack_integer_bytes(int64_t number) noexcept nogil:
    cdef Piece piece
    integer_piece(&piece, number)
    return piece.bytes


cdef Listpack *listpack_append(Pool *pool, Listpack *pack, const char *data,
                               size_t n) noexcept nogil:
    cdef Piece piece
    cdef uint8_t *p = listpack_end(pack)
    string_piece(&piece, data, n)
    return insert(pool, pack, &p, &piece)


cdef Listpack *listpack_append_integer(Pool *pool, Listpack *pack, int64_t number) noexcept nogil:
    cdef Piece piece
    cdef uint8_t *p = listpack_end(pack)
    integer_piece(&piece, number)
    return insert(pool, pack, &p, &piece)


cdef inline void element_piece(Piece *piece, const Element *element) noexcept nogil:
    if element.data != NULL:
        string_piece(piece, element.data, element.length)
    else:
        integer_piece(piece, element.number)


cdef Listpack *listpack_append_many(Pool *pool, Listpack *pack, const Element *elements,
                                    size_t count) noexcept nogil:
    cdef Piece piece
    cdef size_t i, bytes = pack.bytes
    cdef uint8_t *p
    before_node(pool, pack, pack)
    for i in range(count):
        element_piece(&piece, &elements[i])
        bytes += piece.bytes
    pack = <Listpack *>block_reserve(pool, pack, bytes)
    p = listpack_end(pack)
    for i in range(count):
        element_piece(&piece, &elements[i])
        p = write_piece(p, &piece)
    p[0] = LISTPACK_END
    pack.bytes = <uint32_t>bytes
    add_count(pack, count)
    return pack


cdef Listpack *listpack_prepend(Pool *pool, Listpack *pack, const char *data,
                                size_t n) noexcept nogil:
    cdef Piece piece
    cdef uint8_t *p = <uint8_t *>pack + LISTPACK_HEADER_BYTES
    string_piece(&piece, data, n)
    return insert(pool, pack, &p, &piece)


cdef Listpack *listpack_prepend_integer(Pool *pool, Listpack *pack, int64_t number) noexcept nogil:
    cdef Piece piece
    cdef uint8_t *p = <uint8_t *>pack + LISTPACK_HEADER_BYTES
    integer_piece(&piece, number)
    return insert(pool, pack, &p, &piece)


cdef Listpack *listpack_insert(Pool *pool, Listpack *pack, uint8_t **p, bint behind,
                               const char *data, size_t n) noexcept nogil:
    cdef Piece piece
    if behind:
        p[0] = listpack_skip(p[0])
    string_piece(&piece, data, n)
    return insert(pool, pack, p, &piece)


cdef Listpack *listpack_insert_integer(Pool *pool, Listpack *pack, uint8_t **p, bint behind,
                                       int64_t number) noexcept nogil:
    cdef Piece piece
    if behind:
        p[0] = listpack_skip(p[0])
    integer_piece(&piece, number)
    return insert(pool, pack, p, &piece)


cdef Listpack *listpack_replace(Pool *pool, Listpack *pack, uint8_t **p, const char *data,
                                size_t n) noexcept nogil:
    cdef Piece piece
    string_piece(&piece, data, n)
    return splice(pool, pack, p, <size_t>(listpack_skip(p[0]) - p[0]), &piece)


cdef Listpack *listpack_replace_integer(Pool *pool, Listpack *pack, uint8_t **p,
                                        int64_t number) noexcept nogil:
    cdef Piece piece
    integer_piece(&piece, number)
    return splice(pool, pack, p, <size_t>(listpack_skip(p[0]) - p[0]), &piece)


cdef Listpack *listpack_delete(Pool *pool, Listpack *pack, uint8_t **p,
                               uint64_t count) noexcept nogil:
    cdef uint8_t *behind = p[0]
    cdef uint64_t deleted = 0
    while deleted < count and behind[0] != LISTPACK_END:
        behind = listpack_skip(behind)
        deleted += 1
    return cut(pool, pack, p, behind, deleted)


cdef Listpack *listpack_delete_range(Pool *pool, Listpack *pack, int64_t index,
                                     uint64_t count) noexcept nogil:
    cdef uint8_t *p = listpack_seek(pack, index)
    if p == NULL or count == 0:
        return pack
    return listpack_delete(pool, pack, &p, count)


cdef Listpack *listpack_delete_batch(Pool *pool, Listpack *pack, uint8_t **elements,
                                     size_t count) noexcept nogil:
    cdef uint8_t *end = listpack_end(pack)
    cdef uint8_t *target
    cdef uint8_t *kept
    cdef uint8_t *stop
    cdef size_t i
    if count == 0:
        return pack
    before_node(pool, pack, pack)
    target = elements[0]
    for i in range(count):
        kept = listpack_skip(elements[i])
        stop = elements[i + 1] if i + 1 < count else end
        memmove(target, kept, <size_t>(stop - kept))
        target += stop - kept
    target[0] = LISTPACK_END
    pack.bytes = <uint32_t>(target + 1 - <uint8_t *>pack)
    drop_count(pack, count)
    return <Listpack *>block_give_back(pool, pack, pack.bytes)


cdef Listpack *listpack_merge(Pool *pool, Listpack *first, Listpack *second) noexcept nogil:
    cdef uint64_t count = listpack_length(first) + listpack_length(second)
    cdef size_t front = first.bytes - 1                                  # without the end
    cdef size_t back = second.bytes - LISTPACK_HEADER_BYTES              # with it
    cdef Listpack *pack
    before_node(pool, first, first)
    before_node(pool, second, second)
    if first.bytes >= second.bytes:
        pack = <Listpack *>block_reserve(pool, first, front + back)
        memcpy(<uint8_t *>pack + front, <uint8_t *>second + LISTPACK_HEADER_BYTES, back)
        pool_free(pool, second)
    else:
        pack = <Listpack *>block_reserve(pool, second, front + back)
        memmove(<uint8_t *>pack + front, <uint8_t *>pack + LISTPACK_HEADER_BYTES, back)
        memcpy(pack, first, front)
        pool_free(pool, first)
    pack.bytes = <uint32_t>(front + back)
    pack.count = 0
    add_count(pack, count)
    return pack


# Bytes from outside

cdef inline bint is_encoding(uint8_t first) noexcept nogil:
    return first <= 0xF4


cdef inline size_t length_bytes(uint8_t first) noexcept nogil:
    """How many bytes must be there before an element's length can be read."""
    if 0xE0 <= first < 0xF0:
        return 2
    return 5 if first == 0xF0 else 1


cdef inline uint64_t read_back(const uint8_t *p) noexcept nogil:
    """The back-length that ends at `p`, of at most 5 bytes; UINT64_MAX if it is longer."""
    cdef uint64_t n = 0
    cdef int i
    for i in range(5):
        n |= <uint64_t>(p[-i] & 0x7F) << (7 * i)
        if not p[-i] & 0x80:
            return n
    return <uint64_t>-1


cdef bint listpack_validate(const uint8_t *data, size_t n, bint deep,
                            uint64_t *count) noexcept nogil:
    cdef const Listpack *pack = <const Listpack *>data
    cdef const uint8_t *p
    cdef const uint8_t *end
    cdef uint64_t encoded, found = 0
    if n < LISTPACK_EMPTY_BYTES or n > LISTPACK_BYTES_MAX or pack.bytes != n:
        return False
    if data[n - 1] != LISTPACK_END:
        return False
    if not deep:
        return True
    p = data + LISTPACK_HEADER_BYTES
    end = data + n - 1
    while p < end:
        if not is_encoding(p[0]) or <size_t>(end - p) < length_bytes(p[0]):
            return False
        encoded = encoded_bytes(p)
        if encoded + back_bytes(encoded) > <size_t>(end - p):
            return False
        p += encoded + back_bytes(encoded)
        if read_back(p - 1) != encoded:
            return False
        found += 1
    if pack.count != LISTPACK_COUNT_UNKNOWN and pack.count != found:
        return False
    count[0] = found
    return True


def validate_listpack(const uint8_t[::1] data, bint deep=True) -> bool:
    """Whether these bytes are a listpack; deep looks at every element."""
    cdef uint64_t count
    if data.shape[0] == 0:
        return False
    return listpack_validate(&data[0], data.shape[0], deep, &count)


cdef class ListpackProbe:
    """A listpack for the tests: elements are bytes, or int where they are stored as one."""

    cdef Listpack *pack
    cdef Pool pool
    cdef uint64_t total

    def __cinit__(self, const uint8_t[::1] data=None):
        cdef uint64_t count
        self.pool.total = &self.total
        if data is None:
            self.pack = listpack_new(&self.pool, 0)
            return
        if data.shape[0] == 0 or not listpack_validate(&data[0], data.shape[0], True, &count):
            raise ValueError("not a listpack")
        self.pack = listpack_from(&self.pool, &data[0], data.shape[0])

    def __dealloc__(self):
        listpack_free(&self.pool, self.pack)

    cdef uint8_t *at(self, int64_t index) except NULL:
        cdef uint8_t *p = listpack_seek(self.pack, index)
        if p == NULL:
            raise IndexError(index)
        return p

    cdef object value(self, const uint8_t *p):
        cdef Element element
        listpack_get(p, &element)
        if element.data == NULL:
            return element.number
        return PyBytes_FromStringAndSize(element.data, element.length)

    cdef object after(self, uint8_t *p):
        return None if p == NULL else self.value(p)

    def __bytes__(self) -> bytes:
        return PyBytes_FromStringAndSize(<const char *>self.pack, self.pack.bytes)

    def __len__(self) -> int:
        return listpack_length(self.pack)

    def __getitem__(self, int64_t index) -> bytes | int:
        return self.value(self.at(index))

    def elements(self, bint backwards=False) -> list[bytes | int]:
        cdef list found = []
        cdef uint8_t *p = listpack_last(self.pack) if backwards else listpack_first(self.pack)
        while p != NULL:
            found.append(self.value(p))
            p = listpack_previous(self.pack, p) if backwards else listpack_next(p)
        return found

    def texts(self) -> list[bytes]:
        cdef list found = []
        cdef char scratch[24]
        cdef size_t n
        cdef const char *data
        cdef uint8_t *p = listpack_first(self.pack)
        while p != NULL:
            data = listpack_text(p, scratch, &n)
            found.append(PyBytes_FromStringAndSize(data, n))
            p = listpack_next(p)
        return found

    def append(self, value) -> None:
        if isinstance(value, int):
            self.pack = listpack_append_integer(&self.pool, self.pack, value)
        else:
            self.pack = listpack_append(&self.pool, self.pack, PyBytes_AS_STRING(value),
                                        PyBytes_GET_SIZE(value))

    def append_many(self, list values) -> None:
        cdef list kept = list(values)
        cdef bytearray room = bytearray(len(kept) * sizeof(Element))
        cdef Element *elements = <Element *><char *>room
        cdef size_t i
        for i in range(<size_t>len(kept)):
            if isinstance(kept[i], int):
                elements[i].data = NULL
                elements[i].number = kept[i]
            else:
                elements[i].data = PyBytes_AS_STRING(kept[i])
                elements[i].length = PyBytes_GET_SIZE(kept[i])
        self.pack = listpack_append_many(&self.pool, self.pack, elements, len(kept))

    def prepend(self, value) -> None:
        if isinstance(value, int):
            self.pack = listpack_prepend_integer(&self.pool, self.pack, value)
        else:
            self.pack = listpack_prepend(&self.pool, self.pack, PyBytes_AS_STRING(value),
                                         PyBytes_GET_SIZE(value))

    def insert(self, int64_t index, value, bint behind=False) -> bytes | int:
        """Returns what is at the address that the insertion gives."""
        cdef uint8_t *p = self.at(index)
        if isinstance(value, int):
            self.pack = listpack_insert_integer(&self.pool, self.pack, &p, behind, value)
        else:
            self.pack = listpack_insert(&self.pool, self.pack, &p, behind,
                                        PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        return self.value(p)

    def replace(self, int64_t index, value) -> bytes | int:
        cdef uint8_t *p = self.at(index)
        if isinstance(value, int):
            self.pack = listpack_replace_integer(&self.pool, self.pack, &p, value)
        else:
            self.pack = listpack_replace(&self.pool, self.pack, &p, PyBytes_AS_STRING(value),
                                         PyBytes_GET_SIZE(value))
        return self.value(p)

    def delete(self, int64_t index, uint64_t count=1) -> bytes | int | None:
        """Returns the element after those deleted."""
        cdef uint8_t *p = self.at(index)
        self.pack = listpack_delete(&self.pool, self.pack, &p, count)
        return self.after(p)

    def delete_range(self, int64_t index, uint64_t count) -> None:
        self.pack = listpack_delete_range(&self.pool, self.pack, index, count)

    def delete_batch(self, list indices) -> None:
        cdef uint8_t *places[256]
        cdef size_t i
        if len(indices) > 256:
            raise ValueError("at most 256")
        for i in range(<size_t>len(indices)):
            places[i] = self.at(indices[i])
        self.pack = listpack_delete_batch(&self.pool, self.pack, places, len(indices))

    def merge(self, ListpackProbe other not None) -> None:
        """Append the other's elements; the other is empty then."""
        cdef Listpack *second = listpack_copy(&self.pool, other.pack)
        listpack_free(&other.pool, other.pack)
        other.pack = listpack_new(&other.pool, 0)
        self.pack = listpack_merge(&self.pool, self.pack, second)

    def shrink(self) -> None:
        self.pack = listpack_shrink(&self.pool, self.pack)

    def find(self, bytes value not None, int64_t index=0, uint32_t skip=0) -> int | None:
        """The index of the first equal element from an index on."""
        cdef uint8_t *p
        cdef uint8_t *found
        cdef int64_t at = 0
        if index >= len(self):
            return None
        found = listpack_find(self.pack, self.at(index), PyBytes_AS_STRING(value),
                              PyBytes_GET_SIZE(value), skip)
        if found == NULL:
            return None
        p = listpack_first(self.pack)
        while p != found:
            p = listpack_next(p)
            at += 1
        return at

    def equals(self, int64_t index, bytes value not None) -> bool:
        return listpack_equals(self.at(index), PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))

    def size_of(self, value) -> int:
        """The bytes that an element would take."""
        if isinstance(value, int):
            return listpack_integer_bytes(value)
        return listpack_string_bytes(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))

    def fits(self, size_t more) -> bool:
        return listpack_fits(self.pack, more)

    def check(self) -> None:
        """Raise AssertionError if the bytes are no listpack, or memory is counted wrongly. O(n)"""
        cdef uint64_t count = 0
        cdef size_t usable = malloc_usable_size(self.pack)
        if not listpack_validate(<uint8_t *>self.pack, self.pack.bytes, True, &count):
            raise AssertionError("not a listpack")
        if count != listpack_length(self.pack):
            raise AssertionError("the length is wrong")
        if self.total != listpack_footprint(self.pack) or self.pool.bytes != self.total:
            raise AssertionError("its memory is counted wrongly")
        if usable - self.pack.bytes > 64 + self.pack.bytes // 8:
            raise AssertionError("memory is wasted")
