"""Writing values in Redis's RDB format; see encode.pxd."""

from libc.stdint cimport INT8_MAX, INT8_MIN, INT16_MAX, INT16_MIN, INT32_MAX, INT32_MIN, int64_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset

from protocol.buffer cimport Buffer, buffer_append, buffer_reserve
from shards.keyspace.entry cimport (
    ENCODING_HT, ENCODING_INTSET, ENCODING_LISTPACK, TYPE_HASH, TYPE_LIST, TYPE_SET, TYPE_STRING,
    TYPE_ZSET, Entry, EntryEncoding, EntryType, entry_encoding, entry_pointer, entry_string,
    entry_type,
)
from shards.types.dict cimport Dict, DictItem, DictIterator, dict_count, dict_next
from shards.types.idtree cimport (
    Id, IdCursor, IdEntry, IdTree, idcursor_entry, idcursor_next, idtree_count, idtree_seek_first,
)
from shards.types.intset cimport Intset, intset_bytes
from shards.types.listpack cimport Listpack, string_is_integer
from shards.types.lzf cimport lzf_compress
from shards.types.quicklist cimport Compressed, Quicklist, QuicklistNode
from shards.types.scoretree cimport (
    Node, Zset, ZsetCursor, node_member, zcursor_node, zcursor_previous, zset_count, zset_seek_last,
)
from shards.types.stream cimport Consumer, Group, NamePlace, Pending, Stream, names_next

cdef extern from *:
    uint32_t swapped32 "__builtin_bswap32"(uint32_t) noexcept nogil
    uint64_t swapped64 "__builtin_bswap64"(uint64_t) noexcept nogil

cdef enum:
    INTEGER_TEXT_MAX = 11       # bytes of a string that may be written as an int32
    COMPRESS_BYTES_MIN = 21     # nothing shorter gets smaller
    HEAD_BYTES_MAX = 32         # of a compressed string


cdef inline void append_byte(Buffer *out, uint8_t byte) noexcept nogil:
    buffer_append(out, &byte, 1)


cdef void encode_length(Buffer *out, uint64_t length) noexcept nogil:
    cdef uint32_t short_length
    if length < 1 << 6:
        append_byte(out, <uint8_t>length)
    elif length < 1 << 14:
        append_byte(out, <uint8_t>(LENGTH_14_BITS | length >> 8))
        append_byte(out, <uint8_t>length)
    elif length >> 32 == 0:
        append_byte(out, LENGTH_32_BITS)
        short_length = swapped32(<uint32_t>length)
        buffer_append(out, &short_length, 4)
    else:
        append_byte(out, LENGTH_64_BITS)
        length = swapped64(length)
        buffer_append(out, &length, 8)


cdef bint encode_integer(Buffer *out, int64_t number) noexcept nogil:
    """A number as a string in 2, 3 or 5 bytes; False if it takes more."""
    if INT8_MIN <= number <= INT8_MAX:
        append_byte(out, STRING_INT8)
        buffer_append(out, &number, 1)
    elif INT16_MIN <= number <= INT16_MAX:
        append_byte(out, STRING_INT16)
        buffer_append(out, &number, 2)
    elif INT32_MIN <= number <= INT32_MAX:
        append_byte(out, STRING_INT32)
        buffer_append(out, &number, 4)
    else:
        return False
    return True


cdef void encode_compressed(Buffer *out, const void *data, size_t n, size_t length) noexcept nogil:
    append_byte(out, STRING_LZF)
    encode_length(out, n)
    encode_length(out, length)
    buffer_append(out, data, n)


cdef void encode_string(Buffer *out, const void *data, size_t n, bint compress) noexcept nogil:
    cdef int64_t number
    cdef size_t packed, at
    if n <= INTEGER_TEXT_MAX and string_is_integer(<const char *>data, n, &number):
        if encode_integer(out, number):
            return
    if compress and n >= COMPRESS_BYTES_MIN:
        # Written after the room for what is before it, whose lengths depend on it.
        at = out.used + HEAD_BYTES_MAX
        buffer_reserve(out, HEAD_BYTES_MAX + n)
        packed = lzf_compress(<const uint8_t *>data, n, <uint8_t *>out.data + at, n - 4)
        if packed:
            append_byte(out, STRING_LZF)
            encode_length(out, packed)
            encode_length(out, n)
            memmove(out.data + out.used, out.data + at, packed)
            out.used += packed
            return
    encode_length(out, n)
    buffer_append(out, data, n)


cdef inline void encode_pack(Buffer *out, const void *pack, bint compress) noexcept nogil:
    encode_string(out, pack, (<const Listpack *>pack).bytes, compress)


cdef uint8_t rdb_type(const Entry *entry) noexcept nogil:
    cdef EntryType type = entry_type(entry)
    cdef EntryEncoding encoding = entry_encoding(entry)
    if type == TYPE_STRING:
        return RDB_STRING
    if type == TYPE_LIST:
        return RDB_LIST_QUICKLIST_2
    if type == TYPE_SET:
        if encoding == ENCODING_INTSET:
            return RDB_SET_INTSET
        return RDB_SET if encoding == ENCODING_HT else RDB_SET_LISTPACK
    if type == TYPE_ZSET:
        return RDB_ZSET_LISTPACK if encoding == ENCODING_LISTPACK else RDB_ZSET_2
    if type == TYPE_HASH:
        return RDB_HASH_LISTPACK if encoding == ENCODING_LISTPACK else RDB_HASH
    return RDB_STREAM_LISTPACKS_3


cdef void encode_value(Buffer *out, const Entry *entry, bint compress) noexcept nogil:
    cdef EntryType type = entry_type(entry)
    cdef EntryEncoding encoding = entry_encoding(entry)
    cdef const void *value
    cdef char scratch[24]
    cdef const char *data
    cdef size_t n
    if type == TYPE_STRING:
        data = entry_string(entry, scratch, &n)
        encode_string(out, data, n, compress)
        return
    value = entry_pointer(entry)
    if type == TYPE_LIST:
        encode_list(out, encoding, value, compress)
    elif type == TYPE_SET and encoding == ENCODING_INTSET:
        encode_string(out, value, intset_bytes(<const Intset *>value), compress)
    elif encoding == ENCODING_LISTPACK:
        encode_pack(out, value, compress)
    elif type == TYPE_SET or type == TYPE_HASH:
        encode_dict(out, <const Dict *>value, type == TYPE_HASH, compress)
    elif type == TYPE_ZSET:
        encode_zset(out, <const Zset *>value, compress)
    else:
        encode_stream(out, <const Stream *>value, compress)


cdef void encode_list(Buffer *out, EntryEncoding encoding, const void *value,
                      bint compress) noexcept nogil:
    cdef const QuicklistNode *node
    cdef const Compressed *packed
    if encoding == ENCODING_LISTPACK:
        encode_length(out, 1)
        encode_length(out, NODE_PACKED)
        encode_pack(out, value, compress)
        return
    encode_length(out, (<const Quicklist *>value).nodes)
    node = (<const Quicklist *>value).head
    while node != NULL:
        encode_length(out, NODE_PLAIN if node.plain else NODE_PACKED)
        if node.compressed:
            packed = <const Compressed *>node.data
            encode_compressed(out, packed + 1, packed.bytes, node.bytes)
        else:
            encode_string(out, node.data, node.bytes, compress)
        node = node.next


cdef void encode_dict(Buffer *out, const Dict *dict, bint values, bint compress) noexcept nogil:
    cdef DictIterator iterator
    cdef DictItem item
    encode_length(out, dict_count(dict))
    memset(&iterator, 0, sizeof(iterator))
    while dict_next(dict, &iterator, &item):
        encode_string(out, item.data, item.length, compress)
        if values:
            encode_string(out, item.value, item.value_length, compress)


cdef void encode_zset(Buffer *out, const Zset *zset, bint compress) noexcept nogil:
    """From the last member to the first: whoever reads them inserts each at the front."""
    cdef ZsetCursor cursor
    cdef const Node *node
    cdef const char *member
    cdef double score
    cdef size_t n
    cdef bint more = zset_seek_last(zset, &cursor)
    encode_length(out, zset_count(zset))
    while more:
        node = zcursor_node(&cursor)
        member = node_member(node, &n)
        encode_string(out, member, n, compress)
        score = node.score
        buffer_append(out, &score, 8)
        more = zcursor_previous(&cursor)


cdef inline void encode_id(Buffer *out, Id id) noexcept nogil:
    encode_length(out, id.ms)
    encode_length(out, id.sequence)


cdef inline void raw_id(Id id, char *out) noexcept nogil:
    id.ms = swapped64(id.ms)
    id.sequence = swapped64(id.sequence)
    memcpy(out, &id, 16)


cdef void encode_pending(Buffer *out, const IdTree *tree, bint whole) noexcept nogil:
    """The ids that are pending; of a group also when, and how often they were delivered."""
    cdef IdCursor cursor
    cdef IdEntry *entry
    cdef Pending *pending
    cdef char raw[16]
    cdef bint more
    encode_length(out, idtree_count(tree))
    more = idtree_seek_first(tree, &cursor)
    while more:
        entry = idcursor_entry(&cursor)
        raw_id(entry.id, raw)
        buffer_append(out, raw, 16)
        if whole:
            pending = <Pending *>entry.value
            buffer_append(out, &pending.delivered_ms, 8)
            encode_length(out, pending.deliveries)
        more = idcursor_next(&cursor)


cdef void encode_stream(Buffer *out, const Stream *stream, bint compress) noexcept nogil:
    cdef IdCursor cursor
    cdef IdEntry *entry
    cdef const Group *group
    cdef const Consumer *consumer
    cdef char raw[16]
    cdef NamePlace group_place = NamePlace(0, 0)
    cdef NamePlace place
    cdef bint more
    encode_length(out, idtree_count(&stream.nodes))
    more = idtree_seek_first(&stream.nodes, &cursor)
    while more:
        entry = idcursor_entry(&cursor)
        raw_id(entry.id, raw)
        encode_string(out, raw, 16, compress)
        encode_pack(out, entry.value, compress)
        more = idcursor_next(&cursor)
    encode_length(out, stream.length)
    encode_id(out, stream.last_id)
    encode_id(out, stream.first_id)
    encode_id(out, stream.max_deleted_id)
    encode_length(out, stream.entries_added)

    encode_length(out, stream.groups.count)
    group = <const Group *>names_next(&stream.groups, &group_place)
    while group != NULL:
        encode_string(out, group.named.name, group.named.length, compress)
        encode_id(out, group.last_id)
        encode_length(out, <uint64_t>group.entries_read)
        encode_pending(out, &group.pending, True)
        encode_length(out, group.consumers.count)
        place = NamePlace(0, 0)
        consumer = <const Consumer *>names_next(&group.consumers, &place)
        while consumer != NULL:
            encode_string(out, consumer.named.name, consumer.named.length, compress)
            buffer_append(out, &consumer.seen_ms, 8)
            buffer_append(out, &consumer.active_ms, 8)
            encode_pending(out, &consumer.pending, False)
            consumer = <const Consumer *>names_next(&group.consumers, &place)
        group = <const Group *>names_next(&stream.groups, &group_place)
