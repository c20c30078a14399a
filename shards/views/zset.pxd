"""A sorted set in a store: taken out of its entry, and put back; for native handlers and ZsetView.

    entry = store_write(store, &key)                (its type is the caller's to check)
    sorted_of(store, key.database, entry, &set)     or sorted_fresh, without an entry
    ... sorted_add, sorted_remove, ...
    sorted_keep(store, &key, entry, &set)           when members were added, or
    sorted_keep_rest(store, &key, entry, &set)      when some went: the key goes with the last one
"""

from libc.stdint cimport uint32_t, uint64_t

from protocol.native cimport unlikely
from shards.keyspace.keyspace cimport (
    EXPIRE_NONE,
    TYPE_ZSET,
    Entry,
    Key,
    Keyspace,
    Store,
    entry_encoding,
    entry_pointer,
    entry_set_pointer,
    entry_type,
    store_drop_if_empty,
    store_pool,
    store_random,
    store_read,
    store_set_value,
    store_write,
)
from shards.types.zset cimport SortedSet, sorted_new
from shards.views.view cimport View


cdef inline void sorted_limits(Store *store, uint32_t database, SortedSet *set) noexcept nogil:
    set.pool = store_pool(store, database)
    set.rules = &store.zset_rules
    set.entries_max = store.limits.zset_max_listpack_entries
    set.value_max = store.limits.zset_max_listpack_value


cdef inline void sorted_of(Store *store, uint32_t database, const Entry *entry,
                           SortedSet *set) noexcept nogil:
    """The sorted set of an entry."""
    sorted_limits(store, database, set)
    set.encoding = entry_encoding(entry)
    set.value = entry_pointer(entry)


cdef inline Entry *sorted_open(Store *store, const Key *key, bint write, SortedSet *set,
                               bint *right) noexcept:
    """A key's entry and its sorted set, or NULL; `right` is False if it is of another type."""
    cdef Entry *entry
    right[0] = True
    if write:
        entry = store_write(store, key)
    else:
        entry = store_read(store, key, True)
    if entry == NULL:
        return NULL
    if unlikely(entry_type(entry) != TYPE_ZSET):
        right[0] = False
        return NULL
    sorted_of(store, key.database, entry, set)
    return entry


cdef inline void sorted_fresh(Store *store, uint32_t database, SortedSet *set, uint64_t count,
                              size_t longest) noexcept nogil:
    """A new and empty one that is about to get `count` members, the first of `longest` bytes."""
    sorted_limits(store, database, set)
    sorted_new(set, count, longest)


cdef inline void sorted_keep(Store *store, const Key *key, Entry *entry, SortedSet *set) noexcept:
    """Put a set that isn't empty back into its entry, or into a new one (entry NULL).

    A tree may be where the listpack stood that it was made of: the address alone says nothing.
    """
    if entry == NULL:
        store_set_value(store, key, TYPE_ZSET, set.encoding, set.value, EXPIRE_NONE)
    elif set.value != entry_pointer(entry) or set.encoding != entry_encoding(entry):
        entry_set_pointer(entry, set.encoding, set.value)


cdef inline bint sorted_keep_rest(Store *store, const Key *key, Entry *entry,
                                  SortedSet *set) noexcept:
    """Put back what is left of a set. True: nothing, and the key is gone."""
    sorted_keep(store, key, entry, set)
    return store_drop_if_empty(store, key, entry)


cdef class ZsetView(View):

    cdef int replace(self, list items) except -1
    cdef Entry *entry(self, SortedSet *set) noexcept
