"""The native lane's small functions; see handler.pxd."""

from protocol.slots cimport key_slot
from shards.keyspace.keyspace cimport Key, store_hash


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
