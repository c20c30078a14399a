"""A list in a store: taken out of its entry, and put back; for native handlers and ListView.

    entry = store_write(store, &key)            (its type is the caller's to check)
    list_of(store, key.database, entry, &list)
    ... list_grow, list_push, list_pop, ...
    list_keep(entry, &list)                     when elements were put in, or
    list_keep_rest(store, &key, entry, &list)   when some went: the key goes with the last one
"""

from libc.stdint cimport int32_t, int64_t, uint32_t

from shards.keyspace.keyspace cimport (
    EXPIRE_NONE,
    TYPE_LIST,
    Entry,
    Key,
    Keyspace,
    Store,
    entry_encoding,
    entry_pointer,
    entry_set_pointer,
    store_drop_if_empty,
    store_pool,
    store_set_value,
)
from shards.types.limits cimport EncodingLimits
from shards.types.list cimport List, list_count, list_new, list_shrink
from shards.types.quicklist cimport PLAIN_BYTES_MIN, ListRules
from shards.views.view cimport View

cdef enum:                      # what a quicklist can remember of the two directives
    FILL_MIN = -5
    FILL_MAX = 32767
    COMPRESS_DEPTH_MAX = 65535


cdef inline void list_rules(const EncodingLimits *limits, ListRules *rules) noexcept nogil:
    """The directives of lists as a quicklist takes them."""
    rules.fill = <int32_t>min(max(limits.list_max_listpack_size, <int64_t>FILL_MIN),
                              <int64_t>FILL_MAX)
    rules.compress_depth = <uint32_t>min(limits.list_compress_depth, <int64_t>COMPRESS_DEPTH_MAX)
    rules.plain_bytes_min = PLAIN_BYTES_MIN
    if 0 < limits.list_packed_threshold < <int64_t>PLAIN_BYTES_MIN:
        rules.plain_bytes_min = <uint32_t>limits.list_packed_threshold


cdef inline void list_of(Store *store, uint32_t database, const Entry *entry,
                         List *list) noexcept nogil:
    """The list of an entry; NULL: a new and empty one."""
    list.pool = store_pool(store, database)
    list_rules(&store.limits, &list.rules)
    if entry == NULL:
        list_new(list)
        return
    list.encoding = entry_encoding(entry)
    list.value = entry_pointer(entry)


cdef inline void list_keep(Store *store, const Key *key, Entry *entry, List *list) noexcept:
    """Put a list that isn't empty back into its entry, or into a new one.

    One encoding may be where the other stood: the address alone says nothing.
    """
    if entry == NULL:
        store_set_value(store, key, TYPE_LIST, list.encoding, list.value, EXPIRE_NONE)
    elif list.value != entry_pointer(entry) or list.encoding != entry_encoding(entry):
        entry_set_pointer(entry, list.encoding, list.value)


cdef inline bint list_keep_rest(Store *store, const Key *key, Entry *entry, List *list) noexcept:
    """Put back what is left of a list. True: nothing, and the key is gone."""
    if list_count(list):
        list_shrink(list)
        list_keep(store, key, entry, list)
        return False
    list_keep(store, key, entry, list)
    return store_drop_if_empty(store, key, entry)


cdef class ListView(View):

    cdef Entry *entry(self, List *list) noexcept
    cdef object add(self, values, bint at_tail, Entry *entry)
