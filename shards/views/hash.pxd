"""Hashes of a keyspace: for native handlers as a Hash, for Python as a HashView."""

from shards.keyspace.entry cimport Entry, entry_encoding, entry_pointer, entry_set_pointer
from shards.keyspace.keyspace cimport Keyspace
from shards.keyspace.store cimport Key, Store, store_pool
from shards.types.hash cimport Hash
from shards.views.view cimport View


cdef inline void hash_load(Store *store, const Key *key, const Entry *entry,
                           Hash *hash) noexcept nogil:
    """The hash of an entry; or of none (NULL), to be made by hash_make."""
    hash.pool = store_pool(store, key.database)
    hash.limits = &store.limits
    hash.rules = &store.dict_rules
    if entry != NULL:
        hash.encoding = entry_encoding(entry)
        hash.value = entry_pointer(entry)


cdef inline void hash_store(Entry *entry, const Hash *hash) noexcept nogil:
    """Put a hash that was changed back into its entry."""
    entry_set_pointer(entry, hash.encoding, hash.value)


cdef class HashView(View):

    cdef bint load(self, Hash *hash) noexcept
    cdef int save(self, const Hash *hash) except -1
