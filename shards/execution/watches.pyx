"""Watched keys; the contract is in watches.pxd."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from shards.keyspace.keyspace cimport (
    Entry, Keyspace, Store, store_find, store_hash, store_is_expired,
)
from shards.keyspace.store cimport LISTEN_CHANGED, LISTEN_REMOVED, Key, RemoveReason
from shards.lane.effects cimport effects_attach, effects_detach, logical_database
from shards.lane.events cimport EVENT_EXPIRED, Event, event_signals

cdef enum:
    COUNT_MAX = 0xFFFF          # of a place in the filter; from there on it is never counted down


cdef void on_changed(void *owner, Store *store, const Key *key, Event event,
                     int64_t count) noexcept nogil:
    if (<WatchHook *>owner).filter[key.hash & (FILTER_SIZE - 1)] == 0:
        return
    if event_signals(event):
        touch((<WatchHook *>owner).watches, store, key, event == EVENT_EXPIRED)


cdef void touch(void *watches, Store *store, const Key *key, bint by_expiry) noexcept with gil:
    (<Watches>watches).touch(
        logical_database(store, key.database), PyBytes_FromStringAndSize(key.data, key.length), by_expiry)


cdef void on_removed(void *owner, Store *store, const Key *key, Entry *entry,
                     RemoveReason reason) noexcept nogil:
    pass                        # `changed` tells of it, too


cdef void on_emptied(void *owner, Store *store, uint32_t database) noexcept with gil:
    cdef Watches watches = <Watches>(<WatchHook *>owner).watches
    cdef int logical = logical_database(store, database)
    cdef Watched watched
    for watched in watches.in_databases(logical, logical):
        if watches.state(logical, watched.key) == ABSENT:
            continue
        if watched.expired:
            watched.expired = False     # gone by now
        else:
            watches.make_dirty(watched)


cdef void on_swapped(void *owner, Store *store, uint32_t first, uint32_t second) noexcept with gil:
    cdef Watches watches = <Watches>(<WatchHook *>owner).watches
    cdef Watched watched
    cdef int before, now
    for watched in watches.in_databases(first, second):
        # The databases have changed places already.
        now = watches.state(watched.database, watched.key)
        before = watches.state(<int>second if watched.database == <int>first else <int>first, watched.key)
        if before == ABSENT and now == ABSENT:
            continue
        if watched.expired and now == ABSENT:
            watched.expired = False
        elif watched.expired and now == EXPIRED:
            pass
        elif before == ABSENT and now == EXPIRED:
            watched.expired = True
        else:
            watches.make_dirty(watched)


cdef enum:                      # of a key, as far as it matters here
    ABSENT = 0
    PRESENT = 1
    EXPIRED = 2                 # and not removed


@cython.final
cdef class Watched:
    pass


@cython.final
cdef class Watcher:
    def __cinit__(self):
        self.keys = {}


@cython.final
@cython.no_gc_clear
cdef class Watches:
    def __cinit__(self, Keyspace keyspace not None):
        self.keyspace = keyspace
        self.watchers = {}
        self.by_key = {}
        self.link = LINK_PORT
        memset(&self.consumer, 0, sizeof(Consumer))
        self.hook.watches = <void *>self
        self.consumer.owner = &self.hook
        self.consumer.wants = LISTEN_CHANGED | LISTEN_REMOVED
        self.consumer.changed = on_changed
        self.consumer.removed = on_removed
        self.consumer.emptied = on_emptied
        self.consumer.swapped = on_swapped
        self.filter = self.hook.filter = <uint16_t *>calloc(FILTER_SIZE, sizeof(uint16_t))
        if self.filter == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.attached and self.keyspace.store.hooks.effects != NULL:
            effects_detach(self.keyspace.store, &self.consumer)
        free(self.filter)

    def watch(self, uint64_t client_id, int database, bytes key not None):
        """Let a client know whether a key changes from now on. O(1)"""
        cdef Watcher watcher = self.watchers.get(client_id)
        cdef Watched watched
        cdef uint16_t *count
        if watcher is None:
            watcher = self.watchers[client_id] = Watcher.__new__(Watcher)
            watcher.link = self.link
        if watcher.dirty or (database, key) in watcher.keys:
            return
        watched = Watched.__new__(Watched)
        watched.watcher = watcher
        watched.database = database
        watched.key = key
        watched.expired = self.state(database, key) == EXPIRED
        watcher.keys[database, key] = watched
        self.by_key.setdefault((database, key), set()).add(watched)
        count = self.place(key)
        if count[0] < COUNT_MAX:
            count[0] += 1
        if not self.attached:
            effects_attach(self.keyspace.store, &self.consumer)
            self.attached = True

    cpdef bint unchanged(self, uint64_t client_id) except -1:
        """Whether no key that a client watches has changed. O(keys)"""
        cdef Watcher watcher = self.watchers.get(client_id)
        cdef Watched watched
        if watcher is None or watcher.dirty:
            return False
        for watched in watcher.keys.values():
            if not watched.expired and self.state(watched.database, watched.key) == EXPIRED:
                return False
        return True

    cpdef int unwatch(self, uint64_t client_id) except -1:
        """Forget what a client watches. O(keys)"""
        cdef Watcher watcher = self.watchers.pop(client_id, None)
        if watcher is not None:
            self.forget(watcher)
        return 0

    def forget_link(self, uint32_t link):
        """A worker has gone, and its clients with it. O(clients that watch)"""
        for client_id in [
            client_id for client_id, watcher in self.watchers.items() if (<Watcher>watcher).link == link
        ]:
            self.unwatch(client_id)

    cdef list keys_of(self, uint64_t client_id):
        """What a client watches, by name."""
        cdef Watcher watcher = self.watchers.get(client_id)
        return [] if watcher is None else [key for _, key in watcher.keys]

    # What the effects tell

    cdef int touch(self, int database, bytes key, bint by_expiry) except -1:
        """A key has changed, or was removed since it had expired."""
        cdef Watched watched
        for watched in list(self.by_key.get((database, key), ())):
            if watched.expired and by_expiry:
                watched.expired = False
            else:
                self.make_dirty(watched)
        return 0

    cdef int make_dirty(self, Watched watched) except -1:
        watched.watcher.dirty = True
        return self.forget(watched.watcher)

    cdef int forget(self, Watcher watcher) except -1:
        cdef Watched watched
        cdef uint16_t *count
        for watched in watcher.keys.values():
            others = self.by_key[watched.database, watched.key]
            others.discard(watched)
            if not others:
                del self.by_key[watched.database, watched.key]
            count = self.place(watched.key)
            if count[0] < COUNT_MAX:
                count[0] -= 1
        watcher.keys.clear()
        if self.attached and not self.by_key:
            effects_detach(self.keyspace.store, &self.consumer)
            self.attached = False
        return 0

    cdef list in_databases(self, int first, int second):
        return [
            watched for (database, _), found in self.by_key.items() if database in (first, second)
            for watched in found
        ]

    cdef uint16_t *place(self, bytes key) noexcept:
        return &self.filter[
            store_hash(self.keyspace.store, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)) & (FILTER_SIZE - 1)]

    cdef int state(self, int database, bytes key) except -1:
        cdef Key native = self.keyspace.key(key, database)
        cdef Entry *entry = store_find(self.keyspace.store, &native)
        if entry == NULL:
            return ABSENT
        return EXPIRED if store_is_expired(self.keyspace.store, entry) else PRESENT

    @property
    def figures(self):
        return len(self.watchers), len(self.by_key)

    def check(self) -> None:
        """Raise AssertionError if an invariant is broken. O(all)"""
        cdef Watcher watcher
        cdef Watched watched
        cdef dict places = {}
        cdef size_t i
        listed = {watched for found in self.by_key.values() for watched in found}
        for watcher in self.watchers.values():
            assert not (watcher.dirty and watcher.keys)
            for (database, key), watched in watcher.keys.items():
                assert watched.watcher is watcher
                assert (watched.database, watched.key) == (database, key)
                assert watched in self.by_key[database, key]
                listed.remove(watched)
                at = self.place(key) - self.filter
                places[at] = places.get(at, 0) + 1
        assert not listed and all(self.by_key.values())
        assert self.attached == bool(self.by_key)
        for i in range(<size_t>FILTER_SIZE):
            assert self.filter[i] in (places.get(i, 0), COUNT_MAX)
