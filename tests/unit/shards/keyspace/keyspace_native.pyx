"""What only native callers reach: blobs given and shared, detaching, hooks, hashes, prefetch."""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from shards.keyspace.fenwick cimport fenwick_add, fenwick_before, fenwick_find, fenwick_next
from shards.keyspace.keyspace cimport (
    ENCODING_LISTPACK,
    EXPIRE_KEEP,
    EXPIRE_NONE,
    TYPE_LIST,
    Blob,
    Database,
    Entry,
    EntryEncoding,
    Key,
    Keyspace,
    blob_references,
    blob_release,
    blob_retain,
    database_free,
    entry_blob,
    entry_encoding,
    entry_integer,
    entry_pointer,
    entry_set_pointer,
    store_detach_database,
    store_drop_if_empty,
    store_find,
    store_open_string,
    store_pool,
    store_prefetch_bucket,
    store_prefetch_entry,
    store_set_blob,
    store_set_value,
    store_value_length,
    store_write,
)
from shards.memory.allocation cimport Pool
from shards.memory.siphash cimport siphash13
from shards.keyspace.table cimport next_home, reverse_bits
from shards.types.list cimport list_has_shrunk, list_will_grow
from shards.types.listpack cimport (
    Listpack,
    listpack_append,
    listpack_delete_range,
    listpack_new,
)
from shards.types.quicklist cimport (
    ListRules,
    Quicklist,
    quicklist_delete_range,
    quicklist_push,
)

cdef int foreign_alive = 0
cdef Blob *handed_over = NULL


cdef void release_foreign(Blob *blob) noexcept nogil:
    global foreign_alive
    foreign_alive -= 1
    free(<void *>blob.data)
    free(blob)


cdef void take_over(void *owner, Blob *blob) noexcept nogil:
    global handed_over
    handed_over = blob


def hash13(uint64_t seed0, uint64_t seed1, bytes data):
    cdef uint64_t seed[2]
    seed[0] = seed0
    seed[1] = seed1
    return siphash13(seed, data, len(data))


def homes(uint64_t mask):
    """All homes of a table in the order SCAN visits them."""
    cdef uint64_t home = 0
    visited = []
    while True:
        visited.append(home)
        home = next_home(home, mask)
        if home == 0:
            return visited


def reversed_bits(uint64_t v):
    return reverse_bits(v)


cdef class Tree:
    """A Fenwick tree by itself."""
    cdef unsigned int counts[16384]

    def add(self, int slot, int delta):
        fenwick_add(self.counts, slot, delta)

    def before(self, int slot):
        return fenwick_before(self.counts, slot)

    def find(self, uint64_t rank):
        return fenwick_find(self.counts, rank)

    def next(self, int slot):
        return fenwick_next(self.counts, slot)


def set_foreign(Keyspace keyspace, bytes key, bytes data):
    """Set a read-only blob that is not ours, as one received from a socket."""
    global foreign_alive
    cdef Key native = keyspace.key(key, 0)
    cdef Blob *blob = <Blob *>malloc(sizeof(Blob))
    cdef char *copy = <char *>malloc(len(data))
    memcpy(copy, <const char *>data, len(data))
    blob.references = 1
    blob.data = copy
    blob.length = len(data)
    blob.release = release_foreign
    foreign_alive += 1
    store_set_blob(keyspace.store, &native, blob, EXPIRE_NONE)


def foreign_blobs():
    return foreign_alive


cdef class Reply:
    """Holds a reference to a key's blob, as a reply on its way out does."""
    cdef Blob *blob

    def __cinit__(self, Keyspace keyspace, bytes key):
        cdef Key native = keyspace.key(key, 0)
        self.blob = entry_blob(store_find(keyspace.store, &native))
        if self.blob == NULL:
            raise ValueError("no blob")
        blob_retain(self.blob)

    def __dealloc__(self):
        if self.blob != NULL:
            blob_release(self.blob)

    @property
    def data(self):
        return self.blob.data[:self.blob.length]

    @property
    def references(self):
        return blob_references(self.blob)


def open_string(Keyspace keyspace, bytes key, size_t length, int at, int byte):
    """Set one byte through store_open_string."""
    cdef Key native = keyspace.key(key, 0)
    store_open_string(keyspace.store, &native, length, False)[at] = <char>byte


def integer(Keyspace keyspace, bytes key):
    cdef Key native = keyspace.key(key, 0)
    cdef int64_t value
    return value if entry_integer(store_find(keyspace.store, &native), &value) else None


def prefetch(Keyspace keyspace, bytes key, int database):
    cdef Key native = keyspace.key(key, database)
    store_prefetch_bucket(keyspace.store, &native)
    store_prefetch_entry(keyspace.store, &native)


cdef class Detached:
    """A database that was cut off; free() as a helper thread would."""
    cdef Database *database

    def __cinit__(self, Keyspace keyspace, int database):
        self.database = store_detach_database(keyspace.store, keyspace.number(database))

    def free(self):
        with nogil:
            database_free(self.database)
        self.database = NULL


def hand_over_large_blobs(Keyspace keyspace):
    keyspace.store.hooks.free_blob = take_over


def handed_over_length():
    """The length of the blob that was handed over, which is now freed; None if there was none."""
    global handed_over
    cdef size_t n
    if handed_over == NULL:
        return None
    n = handed_over.length
    blob_release(handed_over)
    handed_over = NULL
    return n


def push(Keyspace keyspace, int database, bytes key, list values, int fill):
    """RPUSH; returns the length."""
    cdef Key native = keyspace.key(key, database)
    cdef Pool *pool = store_pool(keyspace.store, native.database)
    cdef Entry *entry = store_write(keyspace.store, &native)
    cdef ListRules rules = ListRules(fill, 1, 1 << 30)
    cdef EntryEncoding encoding
    cdef void *value
    if entry == NULL:
        value = listpack_new(pool, 0)
        encoding = ENCODING_LISTPACK
        entry = store_set_value(keyspace.store, &native, TYPE_LIST, encoding, value, EXPIRE_KEEP)
    else:
        value = entry_pointer(entry)
        encoding = entry_encoding(entry)
    list_will_grow(pool, &rules, &encoding, &value, sum(map(len, values)), len(values))
    for data in values:
        if encoding == ENCODING_LISTPACK:
            value = listpack_append(pool, <Listpack *>value, data, len(data))
        else:
            quicklist_push(pool, <Quicklist *>value, &rules, data, len(data), True)
    entry_set_pointer(entry, encoding, value)
    return store_value_length(keyspace.store, entry)


def trim_front(Keyspace keyspace, int database, bytes key, uint64_t count, int fill):
    """LPOP of several; returns whether the key is gone."""
    cdef Key native = keyspace.key(key, database)
    cdef Pool *pool = store_pool(keyspace.store, native.database)
    cdef Entry *entry = store_write(keyspace.store, &native)
    cdef ListRules rules = ListRules(fill, 1, 1 << 30)
    cdef EntryEncoding encoding
    cdef void *value
    if entry == NULL:
        return True
    value = entry_pointer(entry)
    encoding = entry_encoding(entry)
    if encoding == ENCODING_LISTPACK:
        value = listpack_delete_range(pool, <Listpack *>value, 0, count)
    else:
        quicklist_delete_range(pool, <Quicklist *>value, 0, count)
    entry_set_pointer(entry, encoding, value)
    if store_drop_if_empty(keyspace.store, &native, entry):
        return True
    if list_has_shrunk(pool, &rules, &encoding, &value):
        entry_set_pointer(entry, encoding, value)
    return False
