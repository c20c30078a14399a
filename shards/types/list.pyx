"""The two encodings of a list, and one way to use both; the contract is in list.pxd."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from shards.memory.allocation cimport Pool
from shards.types.kinds cimport (
    ENCODING_LISTPACK,
    ENCODING_QUICKLIST,
    EntryEncoding,
    TypeHooks,
)
from shards.types.listpack cimport (
    Element,
    Listpack,
    listpack_append,
    listpack_copy,
    listpack_delete,
    listpack_delete_range,
    listpack_equals,
    listpack_first,
    listpack_footprint,
    listpack_free,
    listpack_get,
    listpack_insert,
    listpack_last,
    listpack_length,
    listpack_new,
    listpack_next,
    listpack_prepend,
    listpack_previous,
    listpack_replace,
    listpack_seek,
)
from shards.types.quicklist cimport (
    ListRules,
    Quicklist,
    cursor_close,
    cursor_delete,
    cursor_equals,
    cursor_get,
    cursor_insert,
    cursor_next,
    cursor_previous,
    cursor_replace,
    list_exceeds,
    quicklist_append_pack,
    quicklist_copy,
    quicklist_delete_range,
    quicklist_footprint,
    quicklist_free,
    quicklist_new,
    quicklist_peek,
    quicklist_pop,
    quicklist_push,
    quicklist_seek,
)


cdef enum:
    EFFORT_BYTES = 16384            # of one block: freeing so much costs about as an allocation


cdef void free_list(Pool *pool, EntryEncoding encoding, void *value) noexcept nogil:
    if encoding == ENCODING_LISTPACK:
        listpack_free(pool, <Listpack *>value)
    else:
        quicklist_free(pool, <Quicklist *>value)


cdef void *copy_list(Pool *pool, EntryEncoding encoding, const void *value) noexcept nogil:
    if encoding == ENCODING_LISTPACK:
        return listpack_copy(pool, <const Listpack *>value)
    return quicklist_copy(pool, <const Quicklist *>value)


cdef uint64_t list_footprint(EntryEncoding encoding, const void *value) noexcept nogil:
    if encoding == ENCODING_LISTPACK:
        return listpack_footprint(<const Listpack *>value)
    return quicklist_footprint(<const Quicklist *>value)


cdef uint64_t list_length(EntryEncoding encoding, const void *value) noexcept nogil:
    if encoding == ENCODING_LISTPACK:
        return listpack_length(<Listpack *>value)
    return (<const Quicklist *>value).count


cdef uint64_t list_effort(EntryEncoding encoding, const void *value) noexcept nogil:
    if encoding == ENCODING_LISTPACK:
        return 1 + (<const Listpack *>value).bytes // EFFORT_BYTES
    return (<const Quicklist *>value).nodes + (<const Quicklist *>value).charged // EFFORT_BYTES


cdef TypeHooks list_hooks() noexcept:
    cdef TypeHooks hooks
    hooks.free = free_list
    hooks.copy = copy_list
    hooks.footprint = list_footprint
    hooks.length = list_length
    hooks.effort = list_effort
    return hooks


cdef bint list_will_grow(Pool *pool, const ListRules *rules, EntryEncoding *encoding, void **value,
                         uint64_t bytes, uint64_t count) noexcept nogil:
    cdef Listpack *pack = <Listpack *>value[0]
    cdef Quicklist *list
    if encoding[0] != ENCODING_LISTPACK:
        return False
    count += listpack_length(pack)
    if not list_exceeds(rules.fill, pack.bytes + bytes, count):
        return False
    list = quicklist_new(pool, rules)
    if listpack_length(pack):
        quicklist_append_pack(pool, list, pack)
    else:
        listpack_free(pool, pack)
    value[0] = list
    encoding[0] = ENCODING_QUICKLIST
    return True


cdef bint unroll(Pool *pool, const ListRules *rules, EntryEncoding *encoding, void **value,
                 int part) noexcept nogil:
    """Make a listpack of a quicklist of one packed node that has at most 1/part of the limit."""
    cdef Quicklist *list = <Quicklist *>value[0]
    cdef Listpack *pack
    if list.nodes != 1 or list.head.plain:
        return False
    if rules.fill < 0:
        if list_exceeds(rules.fill, list.head.bytes * part, 0):
            return False
    elif list.count > <uint64_t>((rules.fill if rules.fill else 1) // part):
        return False
    pack = <Listpack *>list.head.data
    list.head.data = NULL
    quicklist_free(pool, list)
    value[0] = pack
    encoding[0] = ENCODING_LISTPACK
    return True


cdef bint list_has_shrunk(Pool *pool, const ListRules *rules, EntryEncoding *encoding,
                          void **value) noexcept nogil:
    return encoding[0] == ENCODING_QUICKLIST and unroll(pool, rules, encoding, value, 2)


cdef bint list_was_made(Pool *pool, const ListRules *rules, EntryEncoding *encoding,
                        void **value) noexcept nogil:
    if encoding[0] == ENCODING_QUICKLIST:
        return unroll(pool, rules, encoding, value, 1)
    return list_will_grow(pool, rules, encoding, value, 0, 0)


# What commands do

cdef void list_new(List *list) noexcept nogil:
    list.encoding = ENCODING_LISTPACK
    list.value = listpack_new(list.pool, 0)


cdef uint64_t list_count(const List *list) noexcept nogil:
    return list_length(list.encoding, list.value)


cdef void list_grow(List *list, uint64_t bytes, uint64_t count) noexcept nogil:
    if list.encoding == ENCODING_LISTPACK:
        list_will_grow(list.pool, &list.rules, &list.encoding, &list.value, bytes, count)


cdef void list_shrink(List *list) noexcept nogil:
    if list.encoding == ENCODING_QUICKLIST:
        unroll(list.pool, &list.rules, &list.encoding, &list.value, 2)


cdef void list_push(List *list, const char *data, size_t n, bint at_tail) noexcept nogil:
    if list.encoding == ENCODING_QUICKLIST:
        quicklist_push(list.pool, <Quicklist *>list.value, &list.rules, data, n, at_tail)
    elif at_tail:
        list.value = listpack_append(list.pool, <Listpack *>list.value, data, n)
    else:
        list.value = listpack_prepend(list.pool, <Listpack *>list.value, data, n)


cdef void list_peek(const List *list, bint at_tail, Element *element) noexcept nogil:
    cdef Listpack *pack = <Listpack *>list.value
    if list.encoding == ENCODING_QUICKLIST:
        quicklist_peek(<const Quicklist *>list.value, at_tail, element)
    else:
        listpack_get(listpack_last(pack) if at_tail else listpack_first(pack), element)


cdef void list_pop(List *list, bint at_tail) noexcept nogil:
    cdef Listpack *pack = <Listpack *>list.value
    cdef uint8_t *p
    if list.encoding == ENCODING_QUICKLIST:
        quicklist_pop(list.pool, <Quicklist *>list.value, at_tail)
    else:
        p = listpack_last(pack) if at_tail else listpack_first(pack)
        list.value = listpack_delete(list.pool, pack, &p, 1)


cdef uint64_t list_delete_range(List *list, uint64_t index, uint64_t count) noexcept nogil:
    cdef uint64_t length = list_count(list)
    if index >= length or count == 0:
        return 0
    if count > length - index:
        count = length - index
    if list.encoding == ENCODING_QUICKLIST:
        return quicklist_delete_range(list.pool, <Quicklist *>list.value, <int64_t>index, count)
    list.value = listpack_delete_range(list.pool, <Listpack *>list.value, <int64_t>index, count)
    return count


# Walking

cdef bint list_seek(List *list, int64_t index, ListWalk *walk) noexcept nogil:
    walk.list = list
    if list.encoding == ENCODING_QUICKLIST:
        return quicklist_seek(list.pool, <Quicklist *>list.value, index, &walk.cursor)
    walk.p = listpack_seek(<Listpack *>list.value, index)
    return walk.p != NULL


cdef bint walk_next(ListWalk *walk) noexcept nogil:
    if walk.list.encoding == ENCODING_QUICKLIST:
        return cursor_next(&walk.cursor)
    walk.p = listpack_next(walk.p)
    return walk.p != NULL


cdef bint walk_previous(ListWalk *walk) noexcept nogil:
    if walk.list.encoding == ENCODING_QUICKLIST:
        return cursor_previous(&walk.cursor)
    walk.p = listpack_previous(<Listpack *>walk.list.value, walk.p)
    return walk.p != NULL


cdef void walk_get(const ListWalk *walk, Element *element) noexcept nogil:
    if walk.list.encoding == ENCODING_QUICKLIST:
        cursor_get(&walk.cursor, element)
    else:
        listpack_get(walk.p, element)


cdef bint walk_equals(const ListWalk *walk, const char *data, size_t n) noexcept nogil:
    if walk.list.encoding == ENCODING_QUICKLIST:
        return cursor_equals(&walk.cursor, data, n)
    return listpack_equals(walk.p, data, n)


cdef bint walk_delete(ListWalk *walk, bint backwards) noexcept nogil:
    cdef List *list = walk.list
    cdef Listpack *pack
    if list.encoding == ENCODING_QUICKLIST:
        return cursor_delete(&walk.cursor, backwards)
    pack = listpack_delete(list.pool, <Listpack *>list.value, &walk.p, 1)
    list.value = pack
    if backwards:
        walk.p = listpack_last(pack) if walk.p == NULL else listpack_previous(pack, walk.p)
    return walk.p != NULL


cdef void walk_insert(ListWalk *walk, bint behind, const char *data, size_t n) noexcept nogil:
    cdef List *list = walk.list
    if list.encoding == ENCODING_QUICKLIST:
        cursor_insert(&walk.cursor, &list.rules, behind, data, n)
    else:
        list.value = listpack_insert(list.pool, <Listpack *>list.value, &walk.p, behind, data, n)


cdef void walk_replace(ListWalk *walk, const char *data, size_t n) noexcept nogil:
    cdef List *list = walk.list
    if list.encoding == ENCODING_QUICKLIST:
        cursor_replace(&walk.cursor, &list.rules, data, n)
    else:
        list.value = listpack_replace(list.pool, <Listpack *>list.value, &walk.p, data, n)


cdef void walk_close(ListWalk *walk) noexcept nogil:
    if walk.list.encoding == ENCODING_QUICKLIST:
        cursor_close(&walk.cursor)
