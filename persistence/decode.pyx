"""Reading values in Redis's RDB formats; the contract is in decode.pxd."""

from libc.math cimport INFINITY, NAN
from libc.stdint cimport (
    INT32_MAX, INT64_MAX, UINT32_MAX, UINT64_MAX, int8_t, int16_t, int32_t, int64_t, uint8_t,
    uint32_t, uint64_t,
)
from libc.stdlib cimport free, malloc, realloc, strtod
from libc.string cimport memcpy, memset

from persistence.encode cimport (
    LENGTH_14_BITS, LENGTH_32_BITS, LENGTH_64_BITS, NODE_PACKED, NODE_PLAIN, RDB_HASH,
    RDB_HASH_LISTPACK, RDB_HASH_ZIPLIST, RDB_HASH_ZIPMAP, RDB_LIST, RDB_LIST_QUICKLIST,
    RDB_LIST_QUICKLIST_2, RDB_LIST_ZIPLIST, RDB_SET, RDB_SET_INTSET, RDB_SET_LISTPACK,
    RDB_STREAM_LISTPACKS, RDB_STREAM_LISTPACKS_2, RDB_STREAM_LISTPACKS_3, RDB_STRING, RDB_ZSET,
    RDB_ZSET_2, RDB_ZSET_LISTPACK, RDB_ZSET_ZIPLIST, STRING_INT8, STRING_INT16, STRING_INT32,
    STRING_LZF,
)
from protocol.native cimport load16, load32, load64
from protocol.numbers cimport format_int64
from shards.memory.allocation cimport Pool, pool_alloc
from shards.keyspace.store cimport Store, store_pool
from shards.types.dict cimport DICT_SET, Dict, dict_free, dict_hash, dict_new, dict_set
from shards.types.hash cimport Hash, hash_length, hash_make, hash_set, hash_will_grow
from shards.types.idtree cimport (
    Id, IdCursor, id_compare, idcursor_entry, idtree_count, idtree_insert, idtree_seek_last,
)
from shards.types.intset cimport Intset, intset_from, intset_get, intset_validate
from shards.types.kinds cimport (
    ENCODING_HT, ENCODING_INTSET, ENCODING_LISTPACK, ENCODING_QUICKLIST, ENCODING_SKIPLIST,
    ENCODING_STREAM, TYPE_HASH, TYPE_LIST, TYPE_SET, TYPE_STREAM, TYPE_STRING, TYPE_ZSET,
)
from shards.types.list cimport list_was_made
from shards.types.listpack cimport (
    Element, Listpack, element_integer, listpack_append, listpack_append_integer, listpack_fits,
    listpack_first, listpack_free, listpack_from, listpack_get, listpack_length, listpack_new,
    listpack_next, listpack_string_bytes, listpack_text, listpack_validate,
)
from shards.types.lzf cimport lzf_decompress
from shards.types.quicklist cimport (
    ListRules, Quicklist, quicklist_append_pack, quicklist_append_plain, quicklist_new,
    quicklist_push,
)
from shards.types.set cimport Set, set_add, set_add_element, set_make_as
from shards.types.stream cimport (
    ENTRY_DELETED, ENTRY_SAME_FIELDS, Consumer, Group, Pending, Stream, stream_add_consumer,
    stream_add_group, stream_assign, stream_bottom, stream_new, stream_read_up_to,
)
from shards.types.zset cimport (
    ADD_INSERTED, SortedSet, sorted_add, sorted_expect, sorted_new,
)
from shards.views.list cimport list_rules

cdef extern from *:
    uint32_t swapped32 "__builtin_bswap32"(uint32_t) noexcept nogil
    uint64_t swapped64 "__builtin_bswap64"(uint64_t) noexcept nogil

cdef enum:
    LZF_RATIO_MAX = 264         # bytes that 3 bytes of LZF can stand for; no fewer do as much
    SCORE_TEXT_MAX = 128
    ZIPLIST_HEADER_BYTES = 10
    ZIP_END = 255
    ZIP_LONG = 254

cdef struct Delivery:           # a pending entry of a group whose consumer is not known yet
    Id id
    int64_t delivered_ms
    uint64_t deliveries
    bint assigned


# Scalars

cdef inline const uint8_t *take(Reader *reader, size_t n) noexcept nogil:
    """The next n bytes, or NULL if there are not so many."""
    cdef const uint8_t *p = reader.p
    if reader.failed or <size_t>(reader.end - p) < n:
        reader.failed = True
        return NULL
    reader.p = p + n
    return p


cdef uint64_t length_or_form(Reader *reader, bint *form) noexcept nogil:
    """A length; or the number of a string's special form, as which `form` says."""
    cdef const uint8_t *p = take(reader, 1)
    cdef uint8_t first
    form[0] = False
    if p == NULL:
        return 0
    first = p[0]
    if first < LENGTH_14_BITS:
        return first
    if first < LENGTH_32_BITS:
        p = take(reader, 1)
        return (<uint64_t>first & 63) << 8 | p[0] if p != NULL else 0
    if first == LENGTH_32_BITS:
        p = take(reader, 4)
        return swapped32(load32(p)) if p != NULL else 0
    if first == LENGTH_64_BITS:
        p = take(reader, 8)
        return swapped64(load64(p)) if p != NULL else 0
    if first >= STRING_INT8:
        form[0] = True
        return first
    reader.failed = True
    return 0


cdef uint64_t read_length(Reader *reader) noexcept nogil:
    cdef bint form
    cdef uint64_t length = length_or_form(reader, &form)
    return length & 63 if form else length      # as Redis takes it


cdef inline int64_t read_ms(Reader *reader) noexcept nogil:
    cdef const uint8_t *p = take(reader, 8)
    return <int64_t>load64(p) if p != NULL else 0


cdef inline Id id_from(const uint8_t *p) noexcept nogil:
    cdef Id id
    id.ms = swapped64(load64(p))
    id.sequence = swapped64(load64(p + 8))
    return id


cdef inline Id read_id(Reader *reader) noexcept nogil:
    cdef Id id
    id.ms = read_length(reader)
    id.sequence = read_length(reader)
    return id


cdef inline void text_of_integer(Text *text, int64_t number) noexcept nogil:
    text.n = <size_t>format_int64(text.digits, number)
    text.data = <const uint8_t *>text.digits


cdef bint read_string(Reader *reader, Text *text) noexcept nogil:
    cdef bint form
    cdef uint64_t n = length_or_form(reader, &form)
    cdef uint64_t length
    cdef const uint8_t *p
    text.owned = NULL
    text.data = NULL
    text.n = 0
    if reader.failed:
        return False
    if not form:
        text.data = take(reader, n)
        text.n = n
    elif n == STRING_INT8:
        p = take(reader, 1)
        if p != NULL:
            text_of_integer(text, <int8_t>p[0])
    elif n == STRING_INT16:
        p = take(reader, 2)
        if p != NULL:
            text_of_integer(text, <int16_t>load16(p))
    elif n == STRING_INT32:
        p = take(reader, 4)
        if p != NULL:
            text_of_integer(text, <int32_t>load32(p))
    elif n == STRING_LZF:
        n = read_length(reader)
        length = read_length(reader)
        p = take(reader, n)
        if p != NULL and 0 < length <= n * LZF_RATIO_MAX:
            text.owned = <uint8_t *>malloc(length)
            if text.owned != NULL and lzf_decompress(p, n, text.owned, length) == length:
                text.data = text.owned
                text.n = length
    if text.data == NULL:
        reader.failed = True
        text_free(text)
        return False
    return True


cdef void text_free(Text *text) noexcept nogil:
    free(text.owned)
    text.owned = NULL


cdef double read_double_text(Reader *reader) noexcept nogil:
    """A score as the oldest format has it: a length of one byte and a text, or a special length."""
    cdef char text[SCORE_TEXT_MAX * 2]
    cdef char *behind
    cdef double value
    cdef const uint8_t *p = take(reader, 1)
    cdef size_t n
    if p == NULL or p[0] == 253:
        reader.failed = True
        return NAN
    if p[0] >= 254:
        return INFINITY if p[0] == 254 else -INFINITY
    n = p[0]
    p = take(reader, n)
    if p == NULL:
        return NAN
    memcpy(text, p, n)
    text[n] = 0
    value = strtod(text, &behind)
    if behind == text or value != value:
        reader.failed = True
    return value


# The formats of small collections before listpacks

cdef struct Zip:                # a walk through a ziplist
    const uint8_t *p            # the next entry
    const uint8_t *end          # its end mark
    size_t previous             # bytes of the entry before
    uint32_t count              # entries seen
    uint32_t counted            # what its header says
    bint failed


cdef bint zip_open(Zip *zip, const uint8_t *data, size_t n) noexcept nogil:
    """False: the header does not fit the bytes."""
    memset(zip, 0, sizeof(Zip))
    if n < ZIPLIST_HEADER_BYTES + 1 or load32(data) != n or data[n - 1] != ZIP_END:
        return False
    if load32(data + 4) > n - 1:
        return False
    zip.counted = load16(data + 8)
    zip.p = data + ZIPLIST_HEADER_BYTES
    zip.end = data + n - 1
    return True


cdef bint zip_next(Zip *zip, Element *element) noexcept nogil:
    """The next entry; False at the end, or when it is broken (`failed`)."""
    cdef const uint8_t *start = zip.p
    cdef const uint8_t *p = start
    cdef size_t left = zip.end - p
    cdef size_t before, length, head
    cdef uint8_t first
    if left == 0:
        # 65535 entries or more are not counted.
        zip.failed = zip.failed or (zip.counted != 65535 and zip.counted != zip.count)
        return False
    zip.failed = True
    if p[0] == ZIP_END:
        return False
    if p[0] < ZIP_LONG:
        before = p[0]
        head = 1
    else:
        if left < 5:
            return False
        before = load32(p + 1)
        head = 5
    if before != zip.previous or left < head + 1:
        return False
    p += head
    left -= head
    first = p[0]
    element.data = NULL
    element.number = 0
    length = 0
    if first < 0xC0:
        if first < 0x40:
            length = first
            head = 1
        elif first < 0x80:
            head = 2
        else:
            head = 5
        if left < head:
            return False
        if head == 2:
            length = (<size_t>first & 63) << 8 | p[1]
        elif head == 5:
            length = swapped32(load32(p + 1))
        if left - head < length:
            return False
        element.data = <const char *>p + head
        element.length = length
    elif 0xF1 <= first <= 0xFD:
        head = 1
        element.number = (first & 15) - 1
    else:
        head = 1
        length = (2 if first == 0xC0 else 4 if first == 0xD0 else 8 if first == 0xE0
                  else 3 if first == 0xF0 else 1 if first == 0xFE else 0)
        if length == 0 or left < 1 + length:
            return False
        if length == 1:
            element.number = <int8_t>p[1]
        elif length == 2:
            element.number = <int16_t>load16(p + 1)
        elif length == 3:
            element.number = <int32_t>(
                <uint32_t>p[1] << 8 | <uint32_t>p[2] << 16 | <uint32_t>p[3] << 24) >> 8
        elif length == 4:
            element.number = <int32_t>load32(p + 1)
        else:
            element.number = <int64_t>load64(p + 1)
    zip.p = p + head + length
    zip.previous = zip.p - start
    zip.count += 1
    zip.failed = False
    return True


cdef Listpack *put(Pool *pool, Listpack *pack, const Element *element) noexcept nogil:
    if element.data == NULL:
        return listpack_append_integer(pool, pack, element.number)
    return listpack_append(pool, pack, element.data, element.length)


cdef Listpack *pack_of_ziplist(Pool *pool, const Text *text) noexcept nogil:
    """A ziplist as a listpack; NULL if it is broken."""
    cdef Listpack *pack
    cdef Element element
    cdef Zip zip
    if not zip_open(&zip, text.data, text.n):
        return NULL
    pack = listpack_new(pool, 0)
    while zip_next(&zip, &element):
        if not listpack_fits(pack, element.length + 24 if element.data != NULL else 24):
            zip.failed = True
            break
        pack = put(pool, pack, &element)
    if zip.failed:
        listpack_free(pool, pack)
        return NULL
    return pack


cdef bint zipmap_string(Reader *reader, Text *text, bint is_value) noexcept nogil:
    """A key or value of a zipmap; a value has some unused bytes after it."""
    cdef const uint8_t *p = take(reader, 1)
    cdef size_t n
    cdef size_t unused = 0
    text.owned = NULL
    if p == NULL or p[0] == ZIP_END:
        reader.failed = True
        return False
    n = p[0]
    if n == ZIP_LONG:
        p = take(reader, 4)
        n = load32(p) if p != NULL else 0
    if is_value:
        p = take(reader, 1)
        unused = p[0] if p != NULL else 0
    text.data = take(reader, n)
    text.n = n
    take(reader, unused)
    return not reader.failed


# Collections

cdef Listpack *read_pack(Pool *pool, Reader *reader, bint ziplist, uint64_t *count) noexcept nogil:
    """A listpack, sound and in the pool, and how many elements it has; NULL if it is broken."""
    cdef Text text
    cdef Listpack *pack = NULL
    if not read_string(reader, &text):
        return NULL
    if ziplist:
        pack = pack_of_ziplist(pool, &text)
        if pack != NULL:
            count[0] = listpack_length(pack)
    elif listpack_validate(text.data, text.n, True, count):
        pack = listpack_from(pool, text.data, text.n)
    text_free(&text)
    if pack == NULL:
        reader.failed = True
    return pack


cdef bint has_repeats(Store *store, Listpack *pack, bint pairs) noexcept nogil:
    """Whether members, or the firsts of pairs, are repeated. O(n)"""
    cdef Pool pool
    cdef uint64_t total = 0
    cdef Dict *seen
    cdef uint8_t *p = listpack_first(pack)
    cdef char scratch[24]
    cdef const char *data
    cdef size_t n
    cdef bint repeated = False
    pool.bytes = 0
    pool.total = &total
    pool.node_hook = NULL
    seen = dict_new(&pool, &store.dict_rules, DICT_SET)
    while p != NULL and not repeated:
        data = listpack_text(p, scratch, &n)
        repeated = not dict_set(&pool, seen, dict_hash(seen, data, n), data, n, NULL, 0)
        p = listpack_next(p)
        if pairs and p != NULL:
            p = listpack_next(p)
    dict_free(&pool, seen)
    return repeated


cdef void begin_set(Store *store, uint32_t database, Set *set) noexcept nogil:
    set.pool = store_pool(store, database)
    set.limits = &store.limits
    set.rules = &store.dict_rules


cdef void keep_set(Decoded *decoded, const Set *set) noexcept nogil:
    decoded.encoding = set.encoding
    decoded.value = set.value


cdef bint decode_set(Store *store, uint32_t database, Reader *reader,
                     Decoded *decoded) noexcept nogil:
    cdef Set set
    cdef Text text
    cdef uint64_t count = read_length(reader)
    if reader.failed or count == 0:
        return False
    begin_set(store, database, &set)
    set_make_as(&set, ENCODING_HT if reader.exact or <int64_t>min(count, <uint64_t>INT64_MAX)
                > store.limits.set_max_intset_entries else ENCODING_INTSET)
    while count and read_string(reader, &text):
        if not set_add(&set, <const char *>text.data, text.n):
            reader.failed = True
        text_free(&text)
        count -= 1
    keep_set(decoded, &set)
    return not reader.failed


cdef bint decode_set_intset(Store *store, uint32_t database, Reader *reader,
                            Decoded *decoded) noexcept nogil:
    cdef Set set
    cdef Text text
    cdef Intset *integers
    cdef Element element
    cdef uint32_t i
    if not read_string(reader, &text):
        return False
    if not intset_validate(text.data, text.n, True):
        text_free(&text)
        return False
    begin_set(store, database, &set)
    integers = <Intset *>text.data
    if reader.exact or integers.length <= store.limits.set_max_intset_entries:
        decoded.encoding = ENCODING_INTSET
        decoded.value = intset_from(set.pool, text.data, text.n)
    else:
        set_make_as(&set, ENCODING_HT)
        element.data = NULL
        for i in range(integers.length):
            element.number = intset_get(integers, i)
            set_add_element(&set, &element)
        keep_set(decoded, &set)
    text_free(&text)
    return True


cdef bint decode_set_listpack(Store *store, uint32_t database, Reader *reader,
                              Decoded *decoded) noexcept nogil:
    cdef Pool *pool = store_pool(store, database)
    cdef Set set
    cdef uint64_t count
    cdef Listpack *pack = read_pack(pool, reader, False, &count)
    cdef Element element
    cdef uint8_t *p
    if pack == NULL:
        return False
    if count == 0 or has_repeats(store, pack, False):
        listpack_free(pool, pack)
        return False
    decoded.encoding = ENCODING_LISTPACK
    decoded.value = pack
    if not reader.exact and <int64_t>count > store.limits.set_max_listpack_entries:
        begin_set(store, database, &set)
        set_make_as(&set, ENCODING_HT)
        p = listpack_first(pack)
        while p != NULL:
            listpack_get(p, &element)
            set_add_element(&set, &element)
            p = listpack_next(p)
        listpack_free(pool, pack)
        keep_set(decoded, &set)
    return True


cdef void begin_hash(Store *store, uint32_t database, Hash *hash) noexcept nogil:
    hash.pool = store_pool(store, database)
    hash.limits = &store.limits
    hash.rules = &store.dict_rules


cdef bint add_pair(Hash *hash, const Text *field, const Text *value) noexcept nogil:
    """False: the field is there already."""
    hash_will_grow(hash, hash_length(hash) + 1, max(field.n, value.n), field.n + value.n + 24)
    return hash_set(hash, <const char *>field.data, field.n, <const char *>value.data, value.n)


cdef bint decode_hash(Store *store, uint32_t database, Reader *reader,
                      Decoded *decoded) noexcept nogil:
    cdef Hash hash
    cdef Text field, value
    cdef uint64_t count = read_length(reader)
    if reader.failed or count == 0:
        return False
    begin_hash(store, database, &hash)
    hash_make(&hash)
    hash_will_grow(&hash, UINT64_MAX if reader.exact else count, 0, 0)
    while count and read_string(reader, &field):
        if read_string(reader, &value):
            if not add_pair(&hash, &field, &value):
                reader.failed = True
            text_free(&value)
        text_free(&field)
        count -= 1
    decoded.encoding = hash.encoding
    decoded.value = hash.value
    return not reader.failed


cdef bint decode_hash_zipmap(Store *store, uint32_t database, Reader *reader,
                             Decoded *decoded) noexcept nogil:
    cdef Hash hash
    cdef Text text, field, value
    cdef Reader inner
    cdef uint64_t count = 0
    cdef const uint8_t *head
    if not read_string(reader, &text):
        return False
    inner.p = text.data
    inner.end = text.data + text.n
    inner.failed = False
    inner.exact = False
    begin_hash(store, database, &hash)
    hash_make(&hash)
    head = take(&inner, 1)
    if text.n == 0 or text.data[text.n - 1] != ZIP_END:
        inner.failed = True
    while not inner.failed and inner.p < inner.end and inner.p[0] != ZIP_END:
        if zipmap_string(&inner, &field, False) and zipmap_string(&inner, &value, True):
            if not add_pair(&hash, &field, &value):
                inner.failed = True
            count += 1
    # The mark is the last byte, and up to 253 pairs are counted.
    if not inner.failed and (inner.p != inner.end - 1 or (head[0] < ZIP_LONG and head[0] != count)):
        inner.failed = True
    text_free(&text)
    decoded.encoding = hash.encoding
    decoded.value = hash.value
    return not inner.failed and count > 0


cdef bint decode_hash_pack(Store *store, uint32_t database, bint ziplist, Reader *reader,
                           Decoded *decoded) noexcept nogil:
    cdef Hash hash
    cdef uint64_t count
    cdef Listpack *pack
    begin_hash(store, database, &hash)
    pack = read_pack(hash.pool, reader, ziplist, &count)
    if pack == NULL:
        return False
    if count == 0 or count & 1 or has_repeats(store, pack, True):
        listpack_free(hash.pool, pack)
        return False
    hash.encoding = ENCODING_LISTPACK
    hash.value = pack
    if not reader.exact:
        hash_will_grow(&hash, count // 2, 0, 0)
    decoded.encoding = hash.encoding
    decoded.value = hash.value
    return True


cdef void begin_zset(Store *store, uint32_t database, SortedSet *set) noexcept nogil:
    set.pool = store_pool(store, database)
    set.rules = &store.zset_rules
    set.entries_max = store.limits.zset_max_listpack_entries
    set.value_max = store.limits.zset_max_listpack_value


cdef bint decode_zset(Store *store, uint32_t database, bint binary, Reader *reader,
                      Decoded *decoded) noexcept nogil:
    cdef SortedSet set
    cdef Text member
    cdef const uint8_t *p
    cdef double score = 0, result
    cdef uint64_t count = read_length(reader)
    cdef uint64_t bits
    if reader.failed or count == 0:
        return False
    begin_zset(store, database, &set)
    sorted_new(&set, INT64_MAX if reader.exact else min(count, <uint64_t>INT64_MAX), 0)
    while count and read_string(reader, &member):
        if binary:
            p = take(reader, 8)
            if p != NULL:
                bits = load64(p)
                memcpy(&score, &bits, 8)
        else:
            score = read_double_text(reader)
        if score != score:
            reader.failed = True
        if not reader.failed and sorted_add(
                &set, 0, score, <const char *>member.data, member.n,
                &result) != ADD_INSERTED:
            reader.failed = True
        text_free(&member)
        count -= 1
    decoded.encoding = set.encoding
    decoded.value = set.value
    return not reader.failed


cdef bint packed_score(const uint8_t *p, double *score) noexcept nogil:
    """The score at an element; False if it is none."""
    cdef char text[SCORE_TEXT_MAX + 1]
    cdef char *behind
    cdef Element element
    listpack_get(p, &element)
    if element.data == NULL:
        score[0] = <double>element.number
        return True
    if element.length == 0 or element.length > SCORE_TEXT_MAX:
        return False
    memcpy(text, element.data, element.length)
    text[element.length] = 0
    score[0] = strtod(text, &behind)
    return behind == text + element.length and score[0] == score[0]


cdef bint decode_zset_pack(Store *store, uint32_t database, bint ziplist, Reader *reader,
                           Decoded *decoded) noexcept nogil:
    """Redis takes any order for granted; here one that is not sorted is sorted."""
    cdef SortedSet set
    cdef uint64_t count
    cdef Listpack *pack
    cdef uint8_t *p
    cdef uint8_t *behind
    cdef char scratch[24]
    cdef const char *member
    cdef size_t n
    cdef double score = 0, last = -INFINITY, result
    cdef bint sorted_already = True, sound = True
    begin_zset(store, database, &set)
    if reader.exact:
        set.entries_max = set.value_max = INT64_MAX
    pack = read_pack(set.pool, reader, ziplist, &count)
    if pack == NULL:
        return False
    sound = count > 0 and not count & 1 and not has_repeats(store, pack, True)
    p = listpack_first(pack) if sound else NULL
    while p != NULL:
        behind = listpack_next(p)
        if not packed_score(behind, &score):
            sound = False
            break
        # Equal scores are ordered by member, which is left to sorted_add.
        if score <= last:
            sorted_already = False
        last = score
        p = listpack_next(behind)
    if not sound:
        listpack_free(set.pool, pack)
        return False
    if sorted_already:
        set.encoding = ENCODING_LISTPACK
        set.value = pack
        sorted_expect(&set, count // 2)
    else:
        sorted_new(&set, count // 2, 0)
        p = listpack_first(pack)
        while p != NULL:
            behind = listpack_next(p)
            member = listpack_text(p, scratch, &n)
            packed_score(behind, &score)
            sorted_add(&set, 0, score, member, n, &result)
            p = listpack_next(behind)
        listpack_free(set.pool, pack)
    decoded.encoding = set.encoding
    decoded.value = set.value
    return True


cdef bint add_node(Pool *pool, Quicklist *list, Reader *reader, uint64_t container,
                   bint ziplist) noexcept nogil:
    cdef Text text
    cdef Listpack *pack
    cdef void *plain
    cdef uint64_t count
    if container == NODE_PLAIN:
        if not read_string(reader, &text):
            return False
        if text.n:
            plain = pool_alloc(pool, text.n)
            memcpy(plain, text.data, text.n)
            quicklist_append_plain(pool, list, plain, text.n)
        text_free(&text)
        return text.n > 0
    pack = read_pack(pool, reader, ziplist, &count)
    if pack == NULL:
        return False
    if count:
        quicklist_append_pack(pool, list, pack)
    else:
        listpack_free(pool, pack)       # Redis passes over empty nodes, too
    return True


cdef bint decode_list(Store *store, uint32_t database, uint8_t type, Reader *reader,
                      Decoded *decoded) noexcept nogil:
    cdef Pool *pool = store_pool(store, database)
    cdef ListRules rules
    cdef Quicklist *list
    cdef Text text
    cdef uint64_t count = read_length(reader)
    cdef uint64_t container = NODE_PACKED
    if reader.failed or count == 0:
        return False
    if reader.rules != NULL:
        rules = reader.rules[0]
    else:
        list_rules(&store.limits, &rules)
    list = quicklist_new(pool, &rules)
    decoded.encoding = ENCODING_QUICKLIST
    decoded.value = list
    while count and not reader.failed:
        count -= 1
        if type == RDB_LIST:
            if read_string(reader, &text):
                quicklist_push(pool, list, &rules, <const char *>text.data, text.n, True)
                text_free(&text)
            continue
        if type == RDB_LIST_QUICKLIST_2:
            container = read_length(reader)
        if container != NODE_PACKED and container != NODE_PLAIN:
            reader.failed = True
        elif not add_node(pool, list, reader, container, type == RDB_LIST_QUICKLIST):
            reader.failed = True
    if reader.failed or list.count == 0:
        return False
    if reader.rules != NULL:
        return True
    if reader.exact:
        rules.fill = INT32_MAX      # a listpack, however much it was allowed to hold
    list_was_made(pool, &rules, &decoded.encoding, &decoded.value)
    return True


cdef bint decode_list_ziplist(Store *store, uint32_t database, Reader *reader,
                              Decoded *decoded) noexcept nogil:
    cdef Pool *pool = store_pool(store, database)
    cdef ListRules rules
    cdef Quicklist *list
    cdef Text text, number
    cdef Element element
    cdef Zip zip
    if not read_string(reader, &text):
        return False
    list_rules(&store.limits, &rules)
    list = quicklist_new(pool, &rules)
    decoded.encoding = ENCODING_QUICKLIST
    decoded.value = list
    if zip_open(&zip, text.data, text.n):
        while zip_next(&zip, &element):
            if element.data == NULL:
                text_of_integer(&number, element.number)
                quicklist_push(pool, list, &rules, number.digits, number.n, True)
            else:
                quicklist_push(pool, list, &rules, element.data, element.length, True)
    else:
        zip.failed = True
    text_free(&text)
    return not zip.failed and list.count > 0


# Streams

cdef inline uint8_t *next_integer(uint8_t *p, int64_t *number, bint *sound) noexcept nogil:
    """The integer at p, and what comes after it."""
    cdef Element element
    if p == NULL:
        sound[0] = False
        return NULL
    listpack_get(p, &element)
    if not element_integer(&element, number):
        sound[0] = False
        return NULL
    return listpack_next(p)


cdef uint8_t *skip_elements(uint8_t *p, int64_t count, bint *sound) noexcept nogil:
    while count > 0:
        if p == NULL:
            sound[0] = False
            return NULL
        p = listpack_next(p)
        count -= 1
    return p


cdef bint node_is_sound(Listpack *pack, Id base, Id *last, uint64_t *live_total) noexcept nogil:
    """Whether a listpack is a node of a stream whose ids ascend from `last` on."""
    cdef bint sound = True
    cdef uint8_t *p = listpack_first(pack)
    cdef int64_t live = 0, deleted = 0, fields = 0, zero = 0, flags = 0, ms = 0, sequence = 0
    cdef int64_t own = 0, elements = 0, seen_live = 0, seen_deleted = 0, expected
    cdef Id id
    p = next_integer(p, &live, &sound)
    p = next_integer(p, &deleted, &sound)
    p = next_integer(p, &fields, &sound)
    if not sound or live < 0 or deleted < 0 or fields < 0:
        return False
    p = skip_elements(p, fields, &sound)
    p = next_integer(p, &zero, &sound)
    if not sound or zero != 0:
        return False
    while p != NULL:
        p = next_integer(p, &flags, &sound)
        p = next_integer(p, &ms, &sound)
        p = next_integer(p, &sequence, &sound)
        if not sound:
            return False
        if flags & ENTRY_SAME_FIELDS:
            p = skip_elements(p, fields, &sound)
            expected = fields + 3
        else:
            p = next_integer(p, &own, &sound)
            if not sound or own < 0 or own > UINT32_MAX:
                return False
            p = skip_elements(p, 2 * own, &sound)
            expected = 2 * own + 4
        p = next_integer(p, &elements, &sound)
        if not sound or elements != expected:
            return False
        # Differences to the base wrap round in 64 bits, as they were computed.
        id.ms = base.ms + <uint64_t>ms
        id.sequence = base.sequence + <uint64_t>sequence
        # The first one, deleted or not, is that which the node has its id from.
        if id_compare(id, last[0]) <= 0 or (
                seen_live + seen_deleted == 0 and id_compare(id, base) != 0):
            return False
        last[0] = id
        if flags & ENTRY_DELETED:
            seen_deleted += 1
        else:
            seen_live += 1
    live_total[0] += <uint64_t>live
    return live == seen_live and deleted == seen_deleted and live > 0


cdef bint decode_nodes(Pool *pool, Stream *stream, Reader *reader) noexcept nogil:
    cdef uint64_t nodes = read_length(reader)
    cdef uint64_t count
    cdef uint64_t live = 0
    cdef uint64_t before
    cdef Listpack *pack
    cdef Text text
    cdef Id base, last
    last.ms = last.sequence = 0
    while nodes and read_string(reader, &text):
        nodes -= 1
        if text.n != sizeof(Id):
            text_free(&text)
            return False
        base = id_from(text.data)
        text_free(&text)
        before = pool.bytes
        pack = read_pack(pool, reader, False, &count)
        if pack == NULL:
            return False
        if not node_is_sound(pack, base, &last, &live):
            listpack_free(pool, pack)
            return False
        idtree_insert(pool, &stream.nodes, base, pack)
        stream.bytes += pool.bytes - before
    stream.length = read_length(reader)
    stream.last_id = read_id(reader)
    return (not reader.failed and stream.length == live
            and (live == 0 or id_compare(last, stream.last_id) <= 0))


cdef Delivery *read_deliveries(Reader *reader, uint64_t *count) noexcept nogil:
    """What is pending for a group; NULL with nothing, or if it is broken (reader.failed)."""
    cdef uint64_t left = read_length(reader)
    cdef uint64_t size = 0
    cdef Delivery *found = NULL
    cdef Delivery *moved
    cdef Delivery *one
    cdef const uint8_t *p
    count[0] = 0
    while left and not reader.failed:
        left -= 1
        p = take(reader, sizeof(Id))
        if p == NULL:
            break
        if count[0] == size:
            size = size * 2 if size else 16
            moved = <Delivery *>realloc(found, size * sizeof(Delivery))
            if moved == NULL:
                reader.failed = True
                break
            found = moved
        one = &found[count[0]]
        one.id = id_from(p)
        one.delivered_ms = read_ms(reader)
        one.deliveries = read_length(reader)
        one.assigned = False
        if count[0] and id_compare(found[count[0] - 1].id, one.id) >= 0:
            reader.failed = True        # they are written in their order, each once
        count[0] += 1
    if reader.failed:
        free(found)
        return NULL
    return found


cdef Delivery *find_delivery(Delivery *deliveries, uint64_t count, Id id) noexcept nogil:
    cdef uint64_t low = 0, high = count, middle
    while low < high:
        middle = (low + high) // 2
        if id_compare(deliveries[middle].id, id) < 0:
            low = middle + 1
        else:
            high = middle
    if low < count and id_compare(deliveries[low].id, id) == 0:
        return &deliveries[low]
    return NULL


cdef bint decode_consumers(Pool *pool, Stream *stream, Group *group, bint active, Reader *reader,
                           Delivery *deliveries, uint64_t count) noexcept nogil:
    cdef uint64_t consumers = read_length(reader)
    cdef uint64_t left
    cdef uint64_t assigned = 0
    cdef Consumer *consumer
    cdef Delivery *one
    cdef Pending *pending
    cdef const uint8_t *p
    cdef Text name
    while consumers and read_string(reader, &name):
        consumers -= 1
        consumer = stream_add_consumer(pool, stream, group, <const char *>name.data, name.n, 0)
        text_free(&name)
        if consumer == NULL:
            return False
        consumer.seen_ms = read_ms(reader)
        consumer.active_ms = read_ms(reader) if active else consumer.seen_ms
        left = read_length(reader)
        while left:
            left -= 1
            p = take(reader, sizeof(Id))
            if p == NULL:
                return False
            one = find_delivery(deliveries, count, id_from(p))
            if one == NULL or one.assigned:
                return False
            one.assigned = True
            assigned += 1
            pending = stream_assign(pool, stream, group, one.id, consumer)
            pending.delivered_ms = one.delivered_ms
            pending.deliveries = one.deliveries
    return not reader.failed and assigned == count


cdef bint decode_groups(Pool *pool, Stream *stream, uint8_t type, Reader *reader) noexcept nogil:
    cdef uint64_t groups = read_length(reader)
    cdef uint64_t count
    cdef int64_t entries_read
    cdef Delivery *deliveries
    cdef Group *group
    cdef Text name
    cdef Id id
    cdef bint sound
    while groups and read_string(reader, &name):
        groups -= 1
        id = read_id(reader)
        if type == RDB_STREAM_LISTPACKS:
            entries_read = stream_read_up_to(stream, id)
        else:
            entries_read = <int64_t>read_length(reader)
        group = NULL
        if not reader.failed:
            group = stream_add_group(pool, stream, <const char *>name.data, name.n, id,
                                     entries_read)
        text_free(&name)
        if group == NULL:
            return False
        deliveries = read_deliveries(reader, &count)
        sound = not reader.failed and decode_consumers(
            pool, stream, group, type == RDB_STREAM_LISTPACKS_3, reader, deliveries, count)
        free(deliveries)
        if not sound:
            return False
    return not reader.failed


cdef bint decode_stream(Store *store, uint32_t database, uint8_t type, Reader *reader,
                        Decoded *decoded) noexcept nogil:
    cdef Pool *pool = store_pool(store, database)
    cdef Stream *stream = stream_new(pool)
    cdef Id bottom
    decoded.encoding = ENCODING_STREAM
    decoded.value = stream
    if not decode_nodes(pool, stream, reader):
        return False
    bottom.ms = bottom.sequence = 0
    stream_bottom(stream, &bottom)
    stream.first_id = bottom
    if type == RDB_STREAM_LISTPACKS:
        stream.entries_added = stream.length
    else:
        read_id(reader)                 # the first one, which is known better
        stream.max_deleted_id = read_id(reader)
        stream.entries_added = read_length(reader)
    return not reader.failed and decode_groups(pool, stream, type, reader)


cdef bint decode_collection(Store *store, uint32_t database, uint8_t type, Reader *reader,
                            Decoded *decoded) noexcept nogil:
    if type == RDB_SET:
        return decode_set(store, database, reader, decoded)
    if type == RDB_SET_INTSET:
        return decode_set_intset(store, database, reader, decoded)
    if type == RDB_SET_LISTPACK:
        return decode_set_listpack(store, database, reader, decoded)
    if type == RDB_HASH:
        return decode_hash(store, database, reader, decoded)
    if type == RDB_HASH_ZIPMAP:
        return decode_hash_zipmap(store, database, reader, decoded)
    if type == RDB_HASH_ZIPLIST or type == RDB_HASH_LISTPACK:
        return decode_hash_pack(store, database, type == RDB_HASH_ZIPLIST, reader, decoded)
    if type == RDB_ZSET or type == RDB_ZSET_2:
        return decode_zset(store, database, type == RDB_ZSET_2, reader, decoded)
    if type == RDB_ZSET_ZIPLIST or type == RDB_ZSET_LISTPACK:
        return decode_zset_pack(store, database, type == RDB_ZSET_ZIPLIST, reader, decoded)
    if type == RDB_LIST_ZIPLIST:
        return decode_list_ziplist(store, database, reader, decoded)
    if decoded.type == TYPE_LIST:
        return decode_list(store, database, type, reader, decoded)
    return decode_stream(store, database, type, reader, decoded)


cdef bint type_of(uint8_t type, EntryType *found) noexcept nogil:
    """The type of what is written as an RDB type; False: there is no such."""
    if type == RDB_STRING:
        found[0] = TYPE_STRING
    elif type == RDB_LIST or type == RDB_LIST_ZIPLIST or type == RDB_LIST_QUICKLIST or (
            type == RDB_LIST_QUICKLIST_2):
        found[0] = TYPE_LIST
    elif type == RDB_SET or type == RDB_SET_INTSET or type == RDB_SET_LISTPACK:
        found[0] = TYPE_SET
    elif type == RDB_ZSET or type == RDB_ZSET_2 or type == RDB_ZSET_ZIPLIST or (
            type == RDB_ZSET_LISTPACK):
        found[0] = TYPE_ZSET
    elif type == RDB_HASH or type == RDB_HASH_ZIPMAP or type == RDB_HASH_ZIPLIST or (
            type == RDB_HASH_LISTPACK):
        found[0] = TYPE_HASH
    elif type == RDB_STREAM_LISTPACKS or type == RDB_STREAM_LISTPACKS_2 or (
            type == RDB_STREAM_LISTPACKS_3):
        found[0] = TYPE_STREAM
    else:
        return False
    return True


cdef bint decode_value(Store *store, uint32_t database, uint8_t type, Reader *reader,
                       Decoded *decoded) noexcept:
    memset(decoded, 0, sizeof(Decoded))
    if not type_of(type, &decoded.type):
        return False
    if decoded.type == TYPE_STRING:
        return read_string(reader, &decoded.text)
    if decode_collection(store, database, type, reader, decoded):
        return True
    decoded_free(store, database, decoded)
    return False


cdef void decoded_free(Store *store, uint32_t database, Decoded *decoded) noexcept:
    text_free(&decoded.text)
    if decoded.value != NULL:
        store.types[<int>decoded.type].free(
            store_pool(store, database), decoded.encoding, decoded.value)
        decoded.value = NULL
