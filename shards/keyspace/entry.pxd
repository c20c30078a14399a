"""The entry: a key, its value and all that is known of them in one allocation.

    header (12)  [expiry 8]  [key length >> 24: 4]  key  value

The expiry and the high part of the key length are there only when their flags say so. The value
of a string is its bytes, an int64 (ENCODING_INT) or a pointer to a Blob; any other type has a
pointer to its structure. Nothing behind the header is aligned: it is read through memcpy.

Encodings of strings: ENCODING_RAW is bytes inline, more than 44 or grown in place; ENCODING_INT is
8 bytes, a C int64; ENCODING_EMBSTR is bytes inline, at most 44; ENCODING_BLOB is a pointer to a
reference-counted Blob, for values beyond INLINE_BYTES_MAX.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from protocol.native cimport load32, load64, store32, store64, unlikely
from protocol.numbers cimport format_int64, parse_int64
from shards.memory.blob cimport Blob
from shards.types.kinds cimport (
    ENCODING_BLOB,
    ENCODING_EMBSTR,
    ENCODING_HT,
    ENCODING_INT,
    ENCODING_INTSET,
    ENCODING_LISTPACK,
    ENCODING_QUICKLIST,
    ENCODING_RAW,
    ENCODING_SKIPLIST,
    ENCODING_STREAM,
    TYPE_HASH,
    TYPE_LIST,
    TYPE_SET,
    TYPE_STREAM,
    TYPE_STRING,
    TYPE_ZSET,
    EntryEncoding,
    EntryType,
)


cdef enum:
    INLINE_BYTES_MAX = 65536
    EMBSTR_BYTES_MAX = 44
    EXPIRE_NONE = -1            # no expiry; as an argument: drop an existing one
    EXPIRE_KEEP = -2            # as an argument: leave the expiry as it is

cdef enum:                      # the flags in Entry.key_flags
    KEY_LENGTH_MASK = 0x00FFFFFF
    FLAG_EXPIRES = 0x01000000
    FLAG_LONG_KEY = 0x02000000
    EPOCH_SHIFT = 26            # 2 bits: the snapshot epoch the entry was last saved or made in
    EPOCH_MASK = 0x0C000000

cdef enum:
    HEADER_BYTES = 12
    LRU_MASK = 0x00FFFFFF
    TYPE_SHIFT = 24
    ENCODING_SHIFT = 28

cdef packed struct Entry:       # 12 bytes, not aligned after
    uint32_t lru_type           # bits 0-23 LRU clock or LFU, 24-27 type, 28-31 encoding
    uint32_t key_flags          # bits 0-23 key length (or the low bits of it), 24-31 flags
    uint32_t value_length       # bytes of the value part: the string, or 8 for an int or a pointer


cdef inline EntryType entry_type(const Entry *entry) noexcept nogil:
    return <EntryType>((entry.lru_type >> TYPE_SHIFT) & 15)


cdef inline EntryEncoding entry_encoding(const Entry *entry) noexcept nogil:
    return <EntryEncoding>(entry.lru_type >> ENCODING_SHIFT)


cdef inline bint entry_has_pointer(const Entry *entry) noexcept nogil:
    """True: the value is a pointer to something outside the entry."""
    return entry_type(entry) != TYPE_STRING or entry_encoding(entry) == ENCODING_BLOB


cdef inline size_t prefix_bytes(uint32_t flags) noexcept nogil:
    """Where the key begins in an entry with these flags."""
    return HEADER_BYTES + ((flags >> 24) & 1) * 8 + ((flags >> 25) & 1) * 4


cdef inline int64_t entry_expire_ms(const Entry *entry) noexcept nogil:
    """The time after which the key is gone, or EXPIRE_NONE."""
    if entry.key_flags & FLAG_EXPIRES:
        return <int64_t>load64(<const char *>entry + HEADER_BYTES)
    return EXPIRE_NONE


cdef inline const char *entry_key(const Entry *entry, size_t *n) noexcept nogil:
    cdef const char *data = <const char *>entry + prefix_bytes(entry.key_flags)
    n[0] = entry.key_flags & KEY_LENGTH_MASK
    if unlikely(entry.key_flags & FLAG_LONG_KEY):
        n[0] |= <size_t>load32(data - 4) << 24
    return data


cdef inline bint entry_has_key(const Entry *entry, const char *key, size_t n) noexcept nogil:
    cdef uint32_t flags = entry.key_flags
    cdef const char *data
    if (flags & KEY_LENGTH_MASK) != (n & KEY_LENGTH_MASK):
        return False
    data = <const char *>entry + prefix_bytes(flags)
    if unlikely(flags & FLAG_LONG_KEY):
        return load32(data - 4) == n >> 24 and memcmp(data, key, n) == 0
    return n <= KEY_LENGTH_MASK and memcmp(data, key, n) == 0


cdef inline bint part_of(int64_t length, int64_t *first, int64_t *last) noexcept nogil:
    """Resolve GETRANGE's positions, of which those below zero count from the end; False: no bytes.

    Two negative ones in the wrong order are nothing, though both might be below the start.
    """
    if first[0] < 0 and last[0] < 0 and first[0] > last[0]:
        return False
    if first[0] < 0:
        first[0] = first[0] + length if first[0] >= -length else 0
    if last[0] < 0:
        last[0] = last[0] + length if last[0] >= -length else 0
    if last[0] >= length:
        last[0] = length - 1
    return first[0] <= last[0]


cdef inline char *entry_value(const Entry *entry) noexcept nogil:
    """Where the value part begins."""
    cdef size_t n
    cdef const char *key = entry_key(entry, &n)
    return <char *>key + n


cdef inline size_t entry_bytes(const Entry *entry) noexcept nogil:
    """The bytes of the allocation that are in use."""
    return <size_t>(entry_value(entry) - <const char *>entry) + entry.value_length


cdef inline void *entry_pointer(const Entry *entry) noexcept nogil:
    """The structure of an entry that entry_has_pointer()."""
    return <void *><size_t>load64(entry_value(entry))


cdef inline Blob *entry_blob(const Entry *entry) noexcept nogil:
    """The Blob of the value; NULL unless it is ENCODING_BLOB."""
    if entry_type(entry) == TYPE_STRING and entry_encoding(entry) == ENCODING_BLOB:
        return <Blob *>entry_pointer(entry)
    return NULL


cdef inline const char *entry_string(const Entry *entry, char *scratch, size_t *n) noexcept nogil:
    """The bytes of a string; an int is formatted into scratch (24 bytes)."""
    cdef const char *data = entry_value(entry)
    cdef EntryEncoding encoding = entry_encoding(entry)
    cdef Blob *blob
    if encoding == ENCODING_INT:
        n[0] = <size_t>format_int64(scratch, <int64_t>load64(data))
        return scratch
    if encoding == ENCODING_BLOB:
        blob = <Blob *><size_t>load64(data)
        n[0] = blob.length
        return blob.data
    n[0] = entry.value_length
    return data


cdef inline bint entry_integer(const Entry *entry, int64_t *value) noexcept nogil:
    """True: the entry is a string that holds a canonical int64, which is now in `value`."""
    if entry_type(entry) != TYPE_STRING:
        return False
    if entry_encoding(entry) == ENCODING_INT:
        value[0] = <int64_t>load64(entry_value(entry))
        return True
    if entry_encoding(entry) == ENCODING_BLOB or entry.value_length > 20:
        return False
    return parse_int64(entry_value(entry), entry.value_length, value)


cdef inline void entry_set_kind(Entry *entry, EntryType type,
                                EntryEncoding encoding) noexcept nogil:
    entry.lru_type = ((entry.lru_type & LRU_MASK) | <uint32_t>type << TYPE_SHIFT
                      | <uint32_t>encoding << ENCODING_SHIFT)


cdef inline void entry_set_pointer(Entry *entry, EntryEncoding encoding,
                                   void *value) noexcept nogil:
    """The structure of a collection has moved, or has become one of another encoding."""
    entry_set_kind(entry, entry_type(entry), encoding)
    store64(entry_value(entry), <uint64_t><size_t>value)


cdef inline uint32_t entry_lru(const Entry *entry) noexcept nogil:
    return entry.lru_type & LRU_MASK


cdef inline void entry_set_lru(Entry *entry, uint32_t lru) noexcept nogil:
    entry.lru_type = (entry.lru_type & ~<uint32_t>LRU_MASK) | (lru & LRU_MASK)
