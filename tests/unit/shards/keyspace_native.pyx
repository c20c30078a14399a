"""What only native callers reach: blobs handed in and shared, detaching, hooks, hashes, prefetch."""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from shards.fenwick cimport fenwick_add, fenwick_before, fenwick_find, fenwick_next
from shards.keyspace cimport (
    EXPIRE_NONE,
    Blob,
    Database,
    Key,
    Keyspace,
    blob_references,
    blob_release,
    blob_retain,
    database_free,
    entry_blob,
    entry_integer,
    store_detach_database,
    store_find,
    store_open_string,
    store_prefetch_bucket,
    store_prefetch_entry,
    store_set_blob,
)
from shards.siphash cimport siphash13
from shards.table cimport next_home, reverse_bits

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
    keyspace.store.free_blob = take_over


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
