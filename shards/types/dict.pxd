"""The members of a big set, the fields and values of a big hash, the nodes of a big sorted set.

Linear hashing over packed blocks. A bucket is one allocation that holds about ten members as
records, one after the other, so that a member costs its bytes and two or three more. The table
grows by splitting one bucket and shrinks by joining two: there is no second table, and no
operation ever does more than that.

    Dict -> segments of the directory, 512 pointers each -> Block: used, count, records ...

    record of a set     tag  length  member
    record of a hash    tag  length  value length  field  value
    a far record        tag  255  pointer to a Far: members and values above rules.inline_max
    record of nodes     pointer << 16 | tag (16 bits): the member is in the node, elsewhere

Contract
1. `data` and `value` of an item point into the dict: they die with the next change of it. What is
   given to a function as data or value must not point into the same dict, except dict_remove's.
2. Every change takes the pool that the dict was made with. `dict_footprint` is exact and O(1): to
   free a dict on another thread, discharge that from the pool, and call dict_free there with a
   Pool whose total is NULL.
3. Iterators survive no change at all. Scan cursors survive all: what is there from cursor 0 to
   cursor 0 is found at least once, whatever grows or shrinks in between.
4. A hash is taken with dict_hash, once, by the caller. Find, set and remove are O(1); the worst
   case is one bucket split or joined (some twenty members), and memory moved for the directory
   (8 bytes for 5000 members).
5. No dict is made for more than 2^32 buckets.
"""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from protocol.native cimport prefetch
from shards.memory.allocation cimport Pool
from shards.memory.siphash cimport siphash13


cdef enum DictKind:
    DICT_SET = 0
    DICT_HASH = 1
    DICT_NODES = 2

cdef enum:
    SEGMENT_BITS = 9
    SEGMENT_BUCKETS = 512
    INLINE_MAX = 240            # the highest rules.inline_max: a length is one byte, 255 means far

cdef struct DictRules:          # the same for all dicts of a store; outlives them
    uint64_t seed[2]            # of the hash
    uint32_t grow_at            # members a bucket, on average, above which a bucket is split
    uint32_t shrink_at          # and below which two are joined; below half of grow_at
    uint32_t inline_max         # bytes of a member, or of field and value, inside a block
    # For DICT_NODES: the member of a node.
    const char *(*node_member)(const void *node, size_t *n) noexcept nogil

cdef packed struct Block:       # of a bucket; the records follow
    uint32_t used               # bytes of records
    uint16_t count              # of records

cdef struct Far:                # field and value follow
    size_t length
    size_t value_length

cdef struct Dict:
    const DictRules *rules      # borrowed
    Block **first               # owned: the first segment, first_size pointers
    Block ***rest               # owned: the other segments; NULL when there are none
    uint64_t count              # of members
    uint64_t bytes              # allocated, this header included
    uint32_t buckets            # at least 1
    uint32_t mask               # the smallest 2^n - 1 that is not below buckets - 1
    uint32_t rest_size          # pointers that fit into `rest`
    uint16_t first_size         # 4 to 512
    uint16_t largest            # no bucket has ever had more members
    uint8_t kind                # DictKind

cdef struct DictItem:
    const char *data            # member or field
    size_t length
    char *value                 # of a hash; may be overwritten, in its length
    size_t value_length
    void *node                  # of DICT_NODES

cdef struct DictIterator:       # zeroed: before the first member
    uint32_t bucket
    uint32_t offset             # of the next record in the block

ctypedef void (*DictVisit)(void *context, const DictItem *item) noexcept nogil

cdef void dict_rules_default(DictRules *rules, const uint64_t *seed) noexcept nogil

cdef Dict *dict_new(Pool *pool, const DictRules *rules, DictKind kind) noexcept nogil
# The nodes of DICT_NODES are not freed. O(n).
cdef void dict_free(Pool *pool, Dict *dict) noexcept nogil
# Members and values; not for DICT_NODES. O(n).
cdef Dict *dict_copy(Pool *pool, const Dict *dict) noexcept nogil

# True: it is there, and now in `item` (which may be NULL).
cdef bint dict_find(const Dict *dict, uint64_t hash, const char *data, size_t n,
                    DictItem *item) noexcept nogil
# Insert, or replace the value. True: it was not there. A set ignores the value.
cdef bint dict_set(Pool *pool, Dict *dict, uint64_t hash, const char *data, size_t n,
                   const char *value, size_t value_n) noexcept nogil
# As dict_set for what is not there, which is not checked.
cdef void dict_insert(Pool *pool, Dict *dict, uint64_t hash, const char *data, size_t n,
                      const char *value, size_t value_n) noexcept nogil
# True: it was there. `data` may be that of an item.
cdef bint dict_remove(Pool *pool, Dict *dict, uint64_t hash, const char *data,
                      size_t n) noexcept nogil

# A member of a dict that is not empty, each as likely as any other. Expected O(1).
cdef void dict_random(const Dict *dict, uint64_t random, DictItem *item) noexcept nogil
# False: that was the last one.
cdef bint dict_next(const Dict *dict, DictIterator *iterator, DictItem *item) noexcept nogil
# Visits the members of one bucket; returns the next cursor, 0 after the last. The visitor must
# change nothing.
cdef uint64_t dict_scan(const Dict *dict, uint64_t cursor, DictVisit visit,
                        void *context) noexcept nogil

# DICT_NODES: as above; a removed node need not be readable any more.
cdef void *dict_find_node(const Dict *dict, uint64_t hash, const char *data,
                          size_t n) noexcept nogil
cdef void dict_insert_node(Pool *pool, Dict *dict, uint64_t hash, void *node) noexcept nogil
cdef bint dict_remove_node(Pool *pool, Dict *dict, uint64_t hash, const void *node) noexcept nogil

# Every invariant, and the bytes recounted. O(n). AssertionError.
cdef int dict_check(const Dict *dict) except -1


cdef inline uint64_t dict_hash(const Dict *dict, const char *data, size_t n) noexcept nogil:
    return siphash13(dict.rules.seed, data, n)


cdef inline uint64_t dict_count(const Dict *dict) noexcept nogil:
    return dict.count


cdef inline uint64_t dict_footprint(const Dict *dict) noexcept nogil:
    """Bytes of memory, all included but the nodes of DICT_NODES. O(1)."""
    return dict.bytes


cdef inline uint32_t dict_bucket(const Dict *dict, uint64_t hash) noexcept nogil:
    """Where a member with this hash is: buckets that are not split yet stand for their halves."""
    cdef uint32_t bucket = <uint32_t>hash & dict.mask
    return bucket if bucket < dict.buckets else bucket & (dict.mask >> 1)


cdef inline Block **dict_place(const Dict *dict, uint32_t bucket) noexcept nogil:
    if bucket < SEGMENT_BUCKETS:
        return &dict.first[bucket]
    return &dict.rest[(bucket >> SEGMENT_BITS) - 1][bucket & (SEGMENT_BUCKETS - 1)]


cdef inline void dict_prefetch_bucket(const Dict *dict, uint64_t hash) noexcept nogil:
    """First for all commands of a batch; then dict_prefetch_block for all of them."""
    prefetch(dict_place(dict, dict_bucket(dict, hash)))


cdef inline void dict_prefetch_block(const Dict *dict, uint64_t hash) noexcept nogil:
    cdef const char *block = <const char *>dict_place(dict, dict_bucket(dict, hash))[0]
    prefetch(block)
    prefetch(block + 64)


@cython.final
cdef class NativeDict:
    cdef Pool pool
    cdef uint64_t total
    cdef DictRules rules
    cdef Dict *dict             # owned
