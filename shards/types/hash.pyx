"""The two encodings of a hash; the contract is in hash.pxd."""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint64_t
from libc.string cimport memset

from protocol.native cimport likely, unlikely
from protocol.numbers cimport format_int64, parse_int64
from shards.memory.allocation cimport Pool
from shards.types.dict cimport (
    DICT_HASH,
    Dict,
    DictItem,
    dict_check,
    dict_copy,
    dict_find,
    dict_footprint,
    dict_free,
    dict_hash,
    dict_insert,
    dict_new,
    dict_next,
    dict_random,
    dict_remove,
    dict_scan,
    dict_set,
)
from shards.types.kinds cimport (
    ENCODING_HT,
    ENCODING_LISTPACK,
    EntryEncoding,
    TypeHooks,
)
from shards.types.listpack cimport (
    LISTPACK_END,
    Element,
    Listpack,
    element_integer,
    listpack_append_many,
    listpack_copy,
    listpack_delete,
    listpack_find,
    listpack_first,
    listpack_fits,
    listpack_footprint,
    listpack_free,
    listpack_get,
    listpack_length,
    listpack_new,
    listpack_replace,
    listpack_replace_integer,
    listpack_seek,
    listpack_skip,
    listpack_string_bytes,
    listpack_text,
    listpack_validate,
)


cdef enum:
    EFFORT_BYTES = 16384            # of one block: freeing so much costs about as an allocation
    EFFORT_MEMBERS = 8              # members of a dict to an allocation


# What the keyspace knows

cdef void free_hash(Pool *pool, EntryEncoding encoding, void *value) noexcept nogil:
    if encoding == ENCODING_LISTPACK:
        listpack_free(pool, <Listpack *>value)
    else:
        dict_free(pool, <Dict *>value)


cdef void *copy_hash(Pool *pool, EntryEncoding encoding, const void *value) noexcept nogil:
    if encoding == ENCODING_LISTPACK:
        return listpack_copy(pool, <const Listpack *>value)
    return dict_copy(pool, <const Dict *>value)


cdef uint64_t footprint(EntryEncoding encoding, const void *value) noexcept nogil:
    if encoding == ENCODING_LISTPACK:
        return listpack_footprint(<const Listpack *>value)
    return dict_footprint(<const Dict *>value)


cdef uint64_t length(EntryEncoding encoding, const void *value) noexcept nogil:
    if encoding == ENCODING_LISTPACK:
        return listpack_length(<Listpack *>value) // 2
    return (<const Dict *>value).count


cdef uint64_t effort(EntryEncoding encoding, const void *value) noexcept nogil:
    if encoding == ENCODING_LISTPACK:
        return 1 + (<const Listpack *>value).bytes // EFFORT_BYTES
    cdef const Dict *dict = <const Dict *>value
    return dict.count // EFFORT_MEMBERS + dict.bytes // EFFORT_BYTES


cdef TypeHooks hash_hooks() noexcept:
    cdef TypeHooks hooks
    hooks.free = free_hash
    hooks.copy = copy_hash
    hooks.footprint = footprint
    hooks.length = length
    hooks.effort = effort
    return hooks


# From a listpack to a dict

cdef void hash_make(Hash *hash) noexcept nogil:
    hash.encoding = ENCODING_LISTPACK
    hash.value = listpack_new(hash.pool, 0)


cdef void convert(Hash *hash) noexcept nogil:
    cdef Listpack *pack = <Listpack *>hash.value
    cdef Dict *dict = dict_new(hash.pool, hash.rules, DICT_HASH)
    cdef HashIterator iterator
    cdef HashItem item
    memset(&iterator, 0, sizeof(iterator))
    while hash_next(hash, &iterator, &item):
        dict_insert(hash.pool, dict, dict_hash(dict, item.field, item.field_length), item.field,
                    item.field_length, item.value, item.value_length)
    listpack_free(hash.pool, pack)
    hash.value = dict
    hash.encoding = ENCODING_HT


cdef void hash_will_grow(Hash *hash, uint64_t pairs, size_t longest, size_t bytes) noexcept nogil:
    if hash.encoding != ENCODING_LISTPACK:
        return
    if unlikely(pairs > <uint64_t>hash.limits.hash_max_listpack_entries
                or longest > <size_t>hash.limits.hash_max_listpack_value
                or not listpack_fits(<Listpack *>hash.value, bytes)):
        convert(hash)


# Finding

cdef inline uint8_t *find_field(const Hash *hash, const char *field, size_t n) noexcept nogil:
    """A field in a listpack, or NULL."""
    cdef Listpack *pack = <Listpack *>hash.value
    return listpack_find(pack, listpack_first(pack), field, n, 1)


cdef bint hash_get(const Hash *hash, const char *field, size_t n, HashItem *item) noexcept nogil:
    cdef uint8_t *p
    cdef Dict *dict
    cdef DictItem found
    if hash.encoding == ENCODING_LISTPACK:
        p = find_field(hash, field, n)
        if p == NULL:
            return False
        item.value = listpack_text(listpack_skip(p), item.value_digits, &item.value_length)
        return True
    dict = <Dict *>hash.value
    if not dict_find(dict, dict_hash(dict, field, n), field, n, &found):
        return False
    item.value = found.value
    item.value_length = found.value_length
    return True


cdef bint hash_has(const Hash *hash, const char *field, size_t n) noexcept nogil:
    cdef Dict *dict
    if hash.encoding == ENCODING_LISTPACK:
        return find_field(hash, field, n) != NULL
    dict = <Dict *>hash.value
    return dict_find(dict, dict_hash(dict, field, n), field, n, NULL)


cdef uint64_t hash_length(const Hash *hash) noexcept nogil:
    return length(hash.encoding, hash.value)


# Changing

cdef inline void convert_if_many(Hash *hash) noexcept nogil:
    """After any change of a listpack: the limit may be lower than it was."""
    if unlikely(hash_length(hash) > <uint64_t>hash.limits.hash_max_listpack_entries):
        convert(hash)


cdef inline bint set_in_listpack(Hash *hash, uint8_t *p, const char *field, size_t n,
                                 const char *value, size_t value_n) noexcept nogil:
    """Set the field at `p`, or a new one if that is NULL, in a listpack that has room for it."""
    cdef Listpack *pack = <Listpack *>hash.value
    cdef Element pair[2]
    cdef bint is_new = p == NULL
    if is_new:
        pair[0].data = field
        pair[0].length = n
        pair[1].data = value
        pair[1].length = value_n
        hash.value = listpack_append_many(hash.pool, pack, pair, 2)
    else:
        p = listpack_skip(p)
        hash.value = listpack_replace(hash.pool, pack, &p, value, value_n)
    convert_if_many(hash)
    return is_new


cdef inline bint too_long(const Hash *hash, size_t n, size_t value_n) noexcept nogil:
    """Whether a pair is more than a listpack may hold, or this one has room for."""
    cdef size_t most = <size_t>hash.limits.hash_max_listpack_value
    if unlikely(n > most or value_n > most):
        return True
    # Strings of Redis's own limits: the sum cannot overflow.
    return not listpack_fits(<Listpack *>hash.value, n + value_n + 32)


cdef bint hash_set(Hash *hash, const char *field, size_t n, const char *value,
                   size_t value_n) noexcept nogil:
    cdef Dict *dict
    if hash.encoding == ENCODING_LISTPACK:
        if likely(not too_long(hash, n, value_n)):
            return set_in_listpack(hash, find_field(hash, field, n), field, n, value, value_n)
        convert(hash)
    dict = <Dict *>hash.value
    return dict_set(hash.pool, dict, dict_hash(dict, field, n), field, n, value, value_n)


cdef inline bint adds_up(int64_t *value, int64_t by) noexcept nogil:
    if by < 0 and value[0] < INT64_MIN - by:
        return False
    if by > 0 and value[0] > INT64_MAX - by:
        return False
    value[0] += by
    return True


cdef HashIncrement hash_increment(Hash *hash, const char *field, size_t n, int64_t by,
                                  int64_t *result) noexcept nogil:
    cdef char digits[24]
    cdef uint8_t *p = NULL
    cdef Dict *dict
    cdef DictItem item
    cdef Element element
    cdef uint64_t code
    cdef size_t length
    result[0] = 0
    if hash.encoding == ENCODING_LISTPACK:
        p = find_field(hash, field, n)
        if p != NULL:
            listpack_get(listpack_skip(p), &element)
            if not element_integer(&element, result):
                return HASH_NO_INTEGER
        if not adds_up(result, by):
            return HASH_OVERFLOW
        length = <size_t>format_int64(digits, result[0])
        if likely(not too_long(hash, n, length)):
            if p != NULL:
                p = listpack_skip(p)
                hash.value = listpack_replace_integer(hash.pool, <Listpack *>hash.value, &p,
                                                      result[0])
                convert_if_many(hash)
            else:
                set_in_listpack(hash, NULL, field, n, digits, length)
            return HASH_INCREMENTED
        convert(hash)
        dict = <Dict *>hash.value
        dict_set(hash.pool, dict, dict_hash(dict, field, n), field, n, digits, length)
        return HASH_INCREMENTED
    dict = <Dict *>hash.value
    code = dict_hash(dict, field, n)
    if dict_find(dict, code, field, n, &item):
        if not parse_int64(item.value, item.value_length, result):
            return HASH_NO_INTEGER
    if not adds_up(result, by):
        return HASH_OVERFLOW
    length = <size_t>format_int64(digits, result[0])
    dict_set(hash.pool, dict, code, field, n, digits, length)
    return HASH_INCREMENTED


cdef bint hash_delete(Hash *hash, const char *field, size_t n) noexcept nogil:
    cdef uint8_t *p
    cdef Dict *dict
    if hash.encoding == ENCODING_LISTPACK:
        p = find_field(hash, field, n)
        if p == NULL:
            return False
        hash.value = listpack_delete(hash.pool, <Listpack *>hash.value, &p, 2)
        return True
    dict = <Dict *>hash.value
    return dict_remove(hash.pool, dict, dict_hash(dict, field, n), field, n)


# All of them, some, or one at random

cdef inline uint8_t *read_pair(uint8_t *p, HashItem *item) noexcept nogil:
    """The pair at a field of a listpack; returns what is behind it."""
    item.field = listpack_text(p, item.field_digits, &item.field_length)
    p = listpack_skip(p)
    item.value = listpack_text(p, item.value_digits, &item.value_length)
    return listpack_skip(p)


cdef inline void read_record(const DictItem *found, HashItem *item) noexcept nogil:
    item.field = found.data
    item.field_length = found.length
    item.value = found.value
    item.value_length = found.value_length


cdef bint hash_next(const Hash *hash, HashIterator *iterator, HashItem *item) noexcept nogil:
    cdef DictItem found
    if hash.encoding == ENCODING_LISTPACK:
        if not iterator.started:
            iterator.started = True
            iterator.next = listpack_first(<Listpack *>hash.value)
        if iterator.next == NULL or iterator.next[0] == LISTPACK_END:
            return False
        iterator.next = read_pair(iterator.next, item)
        return True
    if not dict_next(<Dict *>hash.value, &iterator.iterator, &found):
        return False
    read_record(&found, item)
    return True


cdef void hash_random(const Hash *hash, uint64_t random, HashItem *item) noexcept nogil:
    cdef DictItem found
    cdef uint64_t pairs
    if hash.encoding == ENCODING_LISTPACK:
        # Listpacks have fewer than 2^32 elements, so that 32 random bits are nearly fair.
        pairs = hash_length(hash)
        read_pair(listpack_seek(<Listpack *>hash.value,
                                <int64_t>(((random >> 32) * pairs) >> 32) * 2), item)
        return
    dict_random(<Dict *>hash.value, random, &found)
    read_record(&found, item)


cdef struct Visitor:
    HashVisit visit
    void *context


cdef void visit_record(void *context, const DictItem *found) noexcept nogil:
    cdef Visitor *visitor = <Visitor *>context
    cdef HashItem item
    read_record(found, &item)
    visitor.visit(visitor.context, &item)


cdef uint64_t hash_scan(const Hash *hash, uint64_t cursor, HashVisit visit,
                        void *context) noexcept nogil:
    cdef HashIterator iterator
    cdef HashItem item
    cdef Visitor visitor
    if hash.encoding == ENCODING_LISTPACK:
        memset(&iterator, 0, sizeof(iterator))
        while hash_next(hash, &iterator, &item):
            visit(context, &item)
        return 0
    visitor.visit = visit
    visitor.context = context
    return dict_scan(<Dict *>hash.value, cursor, visit_record, &visitor)


# Checks

cdef int hash_check(const Hash *hash) except -1:
    cdef Listpack *pack
    cdef uint64_t count = 0
    if hash.encoding == ENCODING_HT:
        return dict_check(<Dict *>hash.value)
    if hash.encoding != ENCODING_LISTPACK:
        raise AssertionError("an encoding that no hash has")
    pack = <Listpack *>hash.value
    if not listpack_validate(<uint8_t *>pack, pack.bytes, True, &count):
        raise AssertionError("a hash's listpack is none")
    if count % 2:
        raise AssertionError("a field without a value")
    return 0
