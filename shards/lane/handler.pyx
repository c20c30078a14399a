"""The native lane's small functions; see handler.pxd."""

from libc.stdint cimport uint64_t

from protocol.slots cimport key_slot
from shards.keyspace.keyspace cimport Key, store_hash


cdef void shard_changed(Shard *shard, const Key *key, const char *event, uint64_t count) noexcept nogil:
    shard.store.changes += count


cdef void shard_notify(Shard *shard, const Key *key, const char *event) noexcept nogil:
    pass                                # nobody listens yet


cdef void key_at(Shard *shard, const Arg *arg, Key *key) noexcept nogil:
    key.data = arg.data
    key.length = arg.length
    key.slot = key_slot(arg.data, arg.length)
    key.hash = store_hash(shard.store, arg.data, arg.length)
    key.database = shard.store.physical[shard.database]


cdef class NativeLane:
    def __init__(self):
        self.handlers = {}

    cdef void add(self, str name, native_handler handler):
        self.handlers[name] = <size_t><void *>handler
