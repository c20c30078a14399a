"""A thread that frees what a shard has cut off: large blobs, collections and whole databases.

Contract
1. It is handed only what nothing else can reach any more, and touches nothing but that.
2. Handing over never blocks and needs no GIL. When QUEUE_MAX things wait, the caller frees inline:
   so the memory that waits to be freed is bounded by what a shard can cut off in that many
   commands.
3. `reaper_stop` frees what still waits, and returns when the thread has ended.
"""

from libc.stdint cimport uint64_t

from shards.memory.blob cimport Blob
from shards.keyspace.store cimport Database
from shards.types.kinds cimport EntryEncoding, TypeHooks

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass

cdef struct Garbage:            # one of blob, database and value is set
    Garbage *next
    Blob *blob
    Database *database
    void *value                 # a collection, of this type and encoding
    const TypeHooks *hooks
    EntryEncoding encoding

cdef struct Reaper:
    pthread_t thread
    pthread_mutex_t mutex       # guards all below
    pthread_cond_t changed
    Garbage *first
    Garbage *last
    uint64_t waiting            # in the queue, or being freed
    uint64_t freed
    bint stopping

cdef Reaper *reaper_start() noexcept nogil              # NULL: no thread could be made
cdef void reaper_stop(Reaper *reaper) noexcept nogil    # NULL is none
cdef void reaper_free_blob(Reaper *reaper, Blob *blob) noexcept nogil           # its last reference
cdef void reaper_free_value(Reaper *reaper, const TypeHooks *hooks, EntryEncoding encoding,
                            void *value) noexcept nogil
cdef void reaper_free_database(Reaper *reaper, Database *database) noexcept nogil
cdef uint64_t reaper_waiting(Reaper *reaper) noexcept nogil     # things not yet freed
cdef uint64_t reaper_freed(Reaper *reaper) noexcept nogil       # things freed by the thread
