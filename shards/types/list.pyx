"""The two encodings of a list; the contract is in list.pxd."""

from libc.stdint cimport uint64_t

from shards.memory cimport Pool
from shards.types.kinds cimport (
    ENCODING_LISTPACK,
    ENCODING_QUICKLIST,
    EntryEncoding,
    TypeHooks,
)
from shards.types.listpack cimport (
    Listpack,
    listpack_copy,
    listpack_footprint,
    listpack_free,
    listpack_length,
)
from shards.types.quicklist cimport (
    ListRules,
    Quicklist,
    list_exceeds,
    quicklist_append_pack,
    quicklist_copy,
    quicklist_footprint,
    quicklist_free,
    quicklist_new,
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
