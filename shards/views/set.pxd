"""Sets of a keyspace: for native handlers as a Set, for Python as a SetView."""

from shards.keyspace.entry cimport Entry, entry_encoding, entry_pointer, entry_set_pointer
from shards.keyspace.keyspace cimport Keyspace
from shards.keyspace.store cimport Key, Store, store_pool
from shards.types.set cimport Set
from shards.views.view cimport View


cdef inline void set_load(Store *store, const Key *key, const Entry *entry,
                          Set *set) noexcept nogil:
    """The set of an entry; or of none (NULL): its value is NULL, and set_make makes it."""
    set.pool = store_pool(store, key.database)
    set.limits = &store.limits
    set.rules = &store.dict_rules
    set.value = NULL
    if entry != NULL:
        set.encoding = entry_encoding(entry)
        set.value = entry_pointer(entry)


cdef inline void set_save(Entry *entry, const Set *set) noexcept nogil:
    """Put a set that was changed back into its entry."""
    entry_set_pointer(entry, set.encoding, set.value)


cdef class SetView(View):

    cdef bint load(self, Set *set) noexcept
    cdef int save(self, const Set *set) except -1


cdef class SetResult:
    cdef Keyspace keyspace
    cdef Set set                # owned; its value is NULL when it has been stored
