"""Values in Redis's RDB format, as Redis 7.2 writes them. Lengths are big-endian, all else little.

    length      00nnnnnn | 01nnnnnn n | 10000000 nnnn | 10000001 nnnnnnnn
    string      length bytes | 11000000 int8 | 11000001 int16 | 11000010 int32
                | 11000011 length-compressed length LZF

Everything here appends to a buffer and cannot fail. O(bytes)
"""

from libc.stdint cimport uint8_t, uint64_t

from protocol.buffer cimport Buffer
from shards.keyspace.entry cimport Entry


cdef enum RdbType:
    RDB_STRING = 0
    RDB_LIST = 1
    RDB_SET = 2
    RDB_ZSET = 3
    RDB_HASH = 4
    RDB_ZSET_2 = 5
    RDB_HASH_ZIPMAP = 9
    RDB_LIST_ZIPLIST = 10
    RDB_SET_INTSET = 11
    RDB_ZSET_ZIPLIST = 12
    RDB_HASH_ZIPLIST = 13
    RDB_LIST_QUICKLIST = 14
    RDB_STREAM_LISTPACKS = 15
    RDB_HASH_LISTPACK = 16
    RDB_ZSET_LISTPACK = 17
    RDB_LIST_QUICKLIST_2 = 18
    RDB_STREAM_LISTPACKS_2 = 19
    RDB_SET_LISTPACK = 20
    RDB_STREAM_LISTPACKS_3 = 21

cdef enum:
    RDB_VERSION = 11
    LENGTH_14_BITS = 0x40
    LENGTH_32_BITS = 0x80
    LENGTH_64_BITS = 0x81
    STRING_INT8 = 0xC0
    STRING_INT16 = 0xC1
    STRING_INT32 = 0xC2
    STRING_LZF = 0xC3
    NODE_PLAIN = 1
    NODE_PACKED = 2

cdef void encode_length(Buffer *out, uint64_t length) noexcept nogil
cdef void encode_string(Buffer *out, const void *data, size_t n, bint compress) noexcept nogil
cdef uint8_t rdb_type(const Entry *entry) noexcept nogil
# The value of an entry, without its type.
cdef void encode_value(Buffer *out, const Entry *entry, bint compress) noexcept nogil
