"""What a value can be, and what the keyspace must be able to do with one it doesn't know.

Contract of the structures in shards/types
1. A structure is one pointer. It is allocated in a Pool that every call is given; it keeps no
   pointer to its pool, since MOVE and RENAME hand it to another one.
2. An operation that may move the structure returns its new address; the caller puts it into the
   key's entry (entry_set_pointer). The old address is dead.
3. A structure that is freed later (UNLINK of a large one) is given a pool without a store
   (Pool.total is NULL), on another thread: `free` touches nothing but the structure.
4. Structures know nothing of keys, commands, replies or clocks.
5. Before the first change of a node, its mutator calls `before_node(pool, structure, node)`: for a
   dict with the place of the bucket, for a quicklist with its node, for a tree with the leaf, for a
   listpack or an intset (a quicklist's and a stream's, too) with itself twice. What is only an
   index (inner pages), or what a node is compressed to, is no change. A stream's groups, and what
   is pending in place, are not named so: whoever saves a stream saves its groups as a whole.
"""

from libc.stdint cimport uint64_t

from shards.memory.allocation cimport Pool


cdef enum EntryType:            # Redis's object types
    TYPE_STRING = 0
    TYPE_LIST = 1
    TYPE_SET = 2
    TYPE_ZSET = 3
    TYPE_HASH = 4
    TYPE_STREAM = 6

cdef enum EntryEncoding:  # Redis's numbers; a string's are explained in shards/keyspace/entry.pxd
    ENCODING_RAW = 0
    ENCODING_INT = 1
    ENCODING_HT = 2
    ENCODING_INTSET = 6
    ENCODING_SKIPLIST = 7
    ENCODING_EMBSTR = 8
    ENCODING_QUICKLIST = 9
    ENCODING_STREAM = 10
    ENCODING_LISTPACK = 11
    ENCODING_BLOB = 15          # ours; shows as raw

cdef struct TypeHooks:          # one for each type that is not a string, in shards/types/registry
    void (*free)(Pool *pool, EntryEncoding encoding, void *value) noexcept nogil
    # The same value in another pool.
    void *(*copy)(Pool *pool, EntryEncoding encoding, const void *value) noexcept nogil
    # The bytes it has charged to its pool, exactly. O(1), or O(nodes) where it has few.
    uint64_t (*footprint)(EntryEncoding encoding, const void *value) noexcept nogil
    # How many elements it has. O(1)
    uint64_t (*length)(EntryEncoding encoding, const void *value) noexcept nogil
    # About how many allocations freeing it costs; decides whether that is done later. O(1)
    uint64_t (*effort)(EntryEncoding encoding, const void *value) noexcept nogil
