"""The keyspace as the rest of the server cimports it: one name for all of it.

The native part is in shards/keyspace/store.pxd (contract), shards/keyspace/entry.pxd and
shards/memory/blob.pxd; active expiry in shards/keyspace/expiry.pxd. Keyspace is the same for
Python.
"""

from libc.stdint cimport uint32_t

from shards.memory.blob cimport (
    Blob,
    blob_capacity,
    blob_footprint,
    blob_new,
    blob_references,
    blob_release,
    blob_reserve,
    blob_retain,
)
from shards.keyspace.entry cimport (
    EMBSTR_BYTES_MAX,
    ENCODING_BLOB,
    ENCODING_EMBSTR,
    ENCODING_HT,
    ENCODING_INT,
    ENCODING_INTSET,
    ENCODING_LISTPACK,
    ENCODING_QUICKLIST,
    ENCODING_RAW,
    ENCODING_SKIPLIST,
    ENCODING_STREAM,
    EXPIRE_KEEP,
    EXPIRE_NONE,
    INLINE_BYTES_MAX,
    TYPE_HASH,
    TYPE_LIST,
    TYPE_SET,
    TYPE_STREAM,
    TYPE_STRING,
    TYPE_ZSET,
    Entry,
    EntryEncoding,
    EntryType,
    entry_blob,
    entry_encoding,
    entry_expire_ms,
    entry_integer,
    entry_key,
    entry_pointer,
    entry_set_pointer,
    entry_string,
    entry_type,
)
from shards.keyspace.expiry cimport store_active_expire
from shards.keyspace.store cimport (
    REMOVED_EVICTED,
    REMOVED_EXPIRED,
    Database,
    Key,
    RemoveReason,
    Store,
    database_free,
    store_append,
    store_changing,
    store_clear,
    store_copy,
    store_delete,
    store_detach_database,
    store_drop_if_empty,
    store_entry_footprint,
    store_find,
    store_free,
    store_frequency,
    store_hash,
    store_idle_seconds,
    store_is_expired,
    store_key_of,
    store_new,
    store_open_string,
    store_pool,
    store_prefetch_bucket,
    store_prefetch_entry,
    store_prefetch_table,
    store_random,
    store_random_entry,
    store_look,
    store_read,
    store_remove,
    store_rename,
    store_set_blob,
    store_set_expire,
    store_set_integer,
    store_set_range,
    store_set_string,
    store_set_value,
    store_swap,
    store_touch,
    store_value_length,
    store_walk,
    store_write,
)
from shards.keyspace.reaper cimport Reaper
from shards.keyspace.table cimport EntryList, Table, entries_free, entries_push


cdef class Keyspace:
    """A Store for Python: the Context of the Python lane, and the tests."""
    cdef Store *store           # owned
    cdef Reaper *reaper         # owned; NULL: what is cut off is freed at once

    # Slot and hash are computed; data points into `key`.
    cdef Key key(self, bytes key, int database) except *
    cdef uint32_t number(self, int database) except *        # physical; IndexError
    cdef Entry *string_entry(self, const Key *key, bint write) except? NULL
    cdef bytes string_bytes(self, Entry *entry)
    cdef Entry *live_entry(self, const Key *key) noexcept
