"""The listpack: a list of strings and integers in one block, byte for byte in Redis's format.

    bytes (4)  count (2)  element ...  0xFF
    element:   encoding and length (1-5, or an integer in 1-9), the string, back-length (1-5)

The back-length is that of the encoded element, 7 bits a byte, to be read backwards. A count of
65535 means that it isn't known. Numbers are little-endian, as the machines are that we run on.

Contract
1. A string that is a canonical int64 is stored as an integer, in the fewest bytes. What came from
   outside may be otherwise, but has passed listpack_validate: nothing else here checks bounds.
2. An element is named by its address, which dies with every change; functions that take the address
   of it set it to where it, or its successor, is afterwards. NULL: there is none.
3. Whatever changes a listpack returns its new address. What is put in must not lie in it.
4. No listpack may grow beyond LISTPACK_BYTES_MAX: callers ask listpack_fits before they insert.
5. Room to spare: less than 32 bytes, and in larger ones at most an eighth.
6. O(bytes) unless said otherwise, which listpacks are kept small for.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

from protocol.native cimport likely, load16, load32, load64, unlikely
from protocol.numbers cimport format_int64, parse_int64
from shards.memory.allocation cimport Pool


cdef enum:
    LISTPACK_HEADER_BYTES = 6
    LISTPACK_EMPTY_BYTES = 7
    LISTPACK_BYTES_MAX = 1 << 30
    LISTPACK_COUNT_UNKNOWN = 65535
    LISTPACK_END = 0xFF

cdef packed struct Listpack:    # the header; never aligned where it is another's bytes
    uint32_t bytes              # all of it
    uint16_t count              # elements, or LISTPACK_COUNT_UNKNOWN

cdef struct Element:            # what is in a listpack, or is to be put in
    const char *data            # NULL: an integer; borrowed
    size_t length               # of data
    int64_t number              # without data

cdef Listpack *listpack_new(Pool *pool, size_t capacity) noexcept nogil
cdef Listpack *listpack_from(Pool *pool, const uint8_t *data, size_t n) noexcept nogil  # validated
cdef Listpack *listpack_copy(Pool *pool, const Listpack *pack) noexcept nogil
cdef void listpack_free(Pool *pool, Listpack *pack) noexcept nogil          # NULL is none
cdef uint64_t listpack_footprint(const Listpack *pack) noexcept nogil       # O(1)
cdef Listpack *listpack_shrink(Pool *pool, Listpack *pack) noexcept nogil   # no room to spare

# How many elements. O(1) up to 65534, and counted again beyond.
cdef uint64_t listpack_length(Listpack *pack) noexcept nogil
# The element at an index, from the end if it is negative; it is sought from the nearer side.
cdef uint8_t *listpack_seek(Listpack *pack, int64_t index) noexcept nogil
# The first equal element from `p` on, `skip` elements being passed over after each one compared.
cdef uint8_t *listpack_find(Listpack *pack, uint8_t *p, const char *data, size_t n,
                            uint32_t skip) noexcept nogil

# The bytes that a string or an integer takes in a listpack. O(1)
cdef size_t listpack_string_bytes(const char *data, size_t n) noexcept nogil
cdef size_t listpack_integer_bytes(int64_t number) noexcept nogil

cdef Listpack *listpack_append(Pool *pool, Listpack *pack, const char *data,
                               size_t n) noexcept nogil
cdef Listpack *listpack_append_integer(Pool *pool, Listpack *pack, int64_t number) noexcept nogil
cdef Listpack *listpack_append_many(Pool *pool, Listpack *pack, const Element *elements,
                                    size_t count) noexcept nogil
cdef Listpack *listpack_prepend(Pool *pool, Listpack *pack, const char *data,
                                size_t n) noexcept nogil
cdef Listpack *listpack_prepend_integer(Pool *pool, Listpack *pack, int64_t number) noexcept nogil
# Insert before or after an element; `p` becomes the new one.
cdef Listpack *listpack_insert(Pool *pool, Listpack *pack, uint8_t **p, bint behind,
                               const char *data, size_t n) noexcept nogil
cdef Listpack *listpack_insert_integer(Pool *pool, Listpack *pack, uint8_t **p, bint behind,
                                       int64_t number) noexcept nogil
cdef Listpack *listpack_replace(Pool *pool, Listpack *pack, uint8_t **p, const char *data,
                                size_t n) noexcept nogil
cdef Listpack *listpack_replace_integer(Pool *pool, Listpack *pack, uint8_t **p,
                                        int64_t number) noexcept nogil
# Delete `count` elements, or as many as there are, from `p` on, which becomes the next one.
cdef Listpack *listpack_delete(Pool *pool, Listpack *pack, uint8_t **p,
                               uint64_t count) noexcept nogil
cdef Listpack *listpack_delete_range(Pool *pool, Listpack *pack, int64_t index,
                                     uint64_t count) noexcept nogil
# Delete these elements, which are in their order. One pass
cdef Listpack *listpack_delete_batch(Pool *pool, Listpack *pack, uint8_t **elements,
                                     size_t count) noexcept nogil
# The elements of both, in one; the two are gone.
cdef Listpack *listpack_merge(Pool *pool, Listpack *first, Listpack *second) noexcept nogil

# Whether bytes from outside are a listpack. Shallow looks at both ends; deep at every element, and
# only then may the bytes be used. `count` is set to the number of elements if it is deep.
cdef bint listpack_validate(const uint8_t *data, size_t n, bint deep,
                            uint64_t *count) noexcept nogil


cdef inline bint listpack_fits(const Listpack *pack, size_t more) noexcept nogil:
    """Whether so many more bytes may be put in; NULL is an empty listpack."""
    return more <= LISTPACK_BYTES_MAX and (
        more + (pack.bytes if pack != NULL else LISTPACK_EMPTY_BYTES) <= LISTPACK_BYTES_MAX)


cdef inline uint8_t *listpack_end(Listpack *pack) noexcept nogil:
    return <uint8_t *>pack + pack.bytes - 1


cdef inline size_t back_bytes(uint64_t encoded) noexcept nogil:
    """How many bytes the back-length takes of an element that is so long; Redis's limits."""
    if likely(encoded <= 127):
        return 1
    if encoded < 16383:
        return 2
    if encoded < 2097151:
        return 3
    return 4 if encoded < 268435455 else 5


cdef inline uint64_t encoded_bytes(const uint8_t *p) noexcept nogil:
    """The bytes of an element without its back-length."""
    cdef uint8_t first = p[0]
    if first < 0x80:
        return 1
    if first < 0xC0:
        return 1 + (first & 0x3F)
    if first < 0xE0:
        return 2
    if first < 0xF0:
        return 2 + ((<uint64_t>first & 15) << 8 | p[1])
    if first == 0xF0:
        return 5 + <uint64_t>load32(p + 1)
    return first - 0xF1 + 3 if first < 0xF4 else 9


cdef inline uint8_t *listpack_skip(const uint8_t *p) noexcept nogil:
    """After an element: the next one or the end."""
    cdef uint64_t n = encoded_bytes(p)
    return <uint8_t *>p + n + back_bytes(n)


cdef inline uint8_t *listpack_first(Listpack *pack) noexcept nogil:
    cdef uint8_t *p = <uint8_t *>pack + LISTPACK_HEADER_BYTES
    return p if p[0] != LISTPACK_END else NULL


cdef inline uint8_t *listpack_next(const uint8_t *p) noexcept nogil:
    p = listpack_skip(p)
    return <uint8_t *>p if p[0] != LISTPACK_END else NULL


cdef inline uint8_t *element_before(const uint8_t *p) noexcept nogil:
    """The element whose back-length ends before `p`; there is one."""
    cdef uint64_t n = 0
    cdef int shift = 0
    p -= 1
    while p[-(shift // 7)] & 0x80:
        n |= <uint64_t>(p[-(shift // 7)] & 0x7F) << shift
        shift += 7
    n |= <uint64_t>(p[-(shift // 7)] & 0x7F) << shift
    return <uint8_t *>p + 1 - n - back_bytes(n)


cdef inline uint8_t *listpack_previous(Listpack *pack, const uint8_t *p) noexcept nogil:
    if p == <uint8_t *>pack + LISTPACK_HEADER_BYTES:
        return NULL
    return element_before(p)


cdef inline uint8_t *listpack_last(Listpack *pack) noexcept nogil:
    return listpack_previous(pack, listpack_end(pack))


cdef inline void listpack_get(const uint8_t *p, Element *element) noexcept nogil:
    """What an element is; its data lies in the listpack."""
    cdef uint8_t first = p[0]
    element.data = NULL
    if first < 0x80:
        element.number = first
    elif first < 0xC0:
        element.data = <const char *>p + 1
        element.length = first & 0x3F
    elif first < 0xE0:
        element.number = (<int64_t>first & 31) << 8 | p[1]
        if first & 16:
            element.number -= 8192
    elif first < 0xF0:
        element.data = <const char *>p + 2
        element.length = (<size_t>first & 15) << 8 | p[1]
    elif first == 0xF0:
        element.data = <const char *>p + 5
        element.length = load32(p + 1)
    elif first == 0xF1:
        element.number = <int16_t>load16(p + 1)
    elif first == 0xF2:
        element.number = <int64_t>load16(p + 1) | <int64_t>p[3] << 16
        if p[3] & 0x80:
            element.number -= 1 << 24
    elif first == 0xF3:
        element.number = <int32_t>load32(p + 1)
    else:
        element.number = <int64_t>load64(p + 1)


cdef inline const char *element_text(const Element *element, char *scratch,
                                     size_t *n) noexcept nogil:
    """An element as a string; an integer is formatted into scratch (24 bytes)."""
    if element.data != NULL:
        n[0] = element.length
        return element.data
    n[0] = <size_t>format_int64(scratch, element.number)
    return scratch


cdef inline const char *listpack_text(const uint8_t *p, char *scratch, size_t *n) noexcept nogil:
    """The same of an element of a listpack."""
    cdef Element element
    listpack_get(p, &element)
    return element_text(&element, scratch, n)


cdef inline bint string_is_integer(const char *data, size_t n, int64_t *number) noexcept nogil:
    """Whether a string is stored as an integer."""
    if n == 0 or n > 20 or (<uint8_t>(data[0] - 48) > 9 and data[0] != 45):
        return False
    return parse_int64(data, n, number)


cdef inline bint element_integer(const Element *element, int64_t *number) noexcept nogil:
    """Whether an element is an int64, which is now in `number`."""
    if element.data == NULL:
        number[0] = element.number
        return True
    return string_is_integer(element.data, element.length, number)


cdef inline bint listpack_equals(const uint8_t *p, const char *data, size_t n) noexcept nogil:
    """Whether an element is this string."""
    cdef Element element
    cdef int64_t number
    listpack_get(p, &element)
    if element.data != NULL:
        return element.length == n and memcmp(element.data, data, n) == 0
    return string_is_integer(data, n, &number) and number == element.number
