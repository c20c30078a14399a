"""WATCH: which clients want to know whether keys have changed, and for whom one has.

    watches.watch(client_id, database, key)
    watches.unchanged(client_id)    -> whether EXEC may run; O(keys watched)
    watches.unwatch(client_id)

A consumer of effects (shards/lane/effects), attached while somebody watches. A client for whom a
key has changed watches nothing more until it is asked. One that is not known (this shard has started
anew) has watched in vain: `unchanged` is false.

As in Redis, a key that has expired when it is watched is no key: that it goes is no change. One that
expires afterwards has changed, whether it has gone or not.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from shards.execution.blocking cimport LINK_PORT
from shards.keyspace.keyspace cimport Keyspace, Store
from shards.lane.effects cimport Consumer

cdef enum:
    FILTER_SIZE = 1 << 16       # a power of two

cdef struct WatchHook:       # what is looked at for each change
    uint16_t *filter
    void *watches

cdef class Watched:
    """A key that a client watches."""
    cdef Watcher watcher
    cdef int database           # logical
    cdef bytes key
    cdef bint expired           # it had, when it was watched

cdef class Watcher:
    cdef uint32_t link
    cdef bint dirty
    cdef dict keys              # (database, key) -> Watched

cdef class Watches:
    cdef Keyspace keyspace
    cdef Consumer consumer
    cdef WatchHook hook
    cdef bint attached
    cdef dict watchers          # client id -> Watcher
    cdef dict by_key            # (database, key) -> set of Watched
    cdef uint16_t *filter       # owned: how many watched keys have this low part of their hash; saturates
    cdef public uint32_t link   # of whom the next `watch` is for

    cdef int touch(self, int database, bytes key, bint by_expiry) except -1
    cdef int make_dirty(self, Watched watched) except -1
    cdef list in_databases(self, int first, int second)
    cdef uint16_t *place(self, bytes key) noexcept
    cdef int state(self, int database, bytes key) except -1
    cdef int forget(self, Watcher watcher) except -1
    cpdef bint unchanged(self, uint64_t client_id) except -1
    cpdef int unwatch(self, uint64_t client_id) except -1
    cdef list keys_of(self, uint64_t client_id)
