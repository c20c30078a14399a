"""The table of types; see registry.pxd. A new type is one line in the table."""

from shards.types.hash cimport hash_hooks
from shards.types.kinds cimport (
    TYPE_HASH, TYPE_LIST, TYPE_SET, TYPE_STREAM, TYPE_ZSET, TypeHooks,
)
from shards.types.list cimport list_hooks
from shards.types.set cimport set_hooks
from shards.types.stream cimport stream_hooks
from shards.types.zset cimport zset_hooks


cdef TypeHooks table[16]
table[<int>TYPE_LIST] = list_hooks()
table[<int>TYPE_HASH] = hash_hooks()
table[<int>TYPE_SET] = set_hooks()
table[<int>TYPE_ZSET] = zset_hooks()
table[<int>TYPE_STREAM] = stream_hooks()


cdef const TypeHooks *registered_types() noexcept nogil:
    return table
