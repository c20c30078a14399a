"""The directives that decide how collections are encoded, as one struct of the store.

`hash-max-listpack-entries` is `hash_max_listpack_entries`, and so on. A new value applies to what
is changed from then on; nothing is converted at once, as in Redis.
"""

from libc.stdint cimport int64_t

cdef struct EncodingLimits:
    int64_t hash_max_listpack_entries
    int64_t hash_max_listpack_value
    int64_t set_max_intset_entries
    int64_t set_max_listpack_entries
    int64_t set_max_listpack_value
    int64_t zset_max_listpack_entries
    int64_t zset_max_listpack_value
    int64_t list_max_listpack_size
    int64_t list_compress_depth
    int64_t list_packed_threshold       # DEBUG QUICKLIST-PACKED-THRESHOLD; 0: the default
    int64_t stream_node_max_bytes
    int64_t stream_node_max_entries
    int64_t hll_sparse_max_bytes
