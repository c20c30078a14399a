"""The table of types; see registry.pxd. A new type is one line in the table, and its blocks in the sum."""

from libc.stdint cimport int64_t

from shards.types.hash cimport hash_hooks
from shards.types.idtree cimport idtree_blocks_alive
from shards.types.intset cimport intset_blocks_alive
from shards.types.kinds cimport (
    TYPE_HASH, TYPE_LIST, TYPE_SET, TYPE_STREAM, TYPE_ZSET, TypeHooks,
)
from shards.types.list cimport list_hooks
from shards.types.listpack cimport listpack_blocks_alive
from shards.types.quicklist cimport quicklist_blocks_alive
from shards.types.set cimport set_hooks
from shards.types.stream cimport stream_blocks_alive, stream_hooks
from shards.types.zset cimport zset_hooks


cdef TypeHooks table[16]
table[<int>TYPE_LIST] = list_hooks()
table[<int>TYPE_HASH] = hash_hooks()
table[<int>TYPE_SET] = set_hooks()
table[<int>TYPE_ZSET] = zset_hooks()
table[<int>TYPE_STREAM] = stream_hooks()


cdef const TypeHooks *registered_types() noexcept nogil:
    return table


cdef int64_t types_blocks_alive() noexcept nogil:
    return (listpack_blocks_alive() + intset_blocks_alive() + quicklist_blocks_alive()
            + idtree_blocks_alive() + stream_blocks_alive())
