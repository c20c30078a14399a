"""A big sorted set: a skip list with spans, and a dict that finds a member's node.

    Zset -> head -> Node <-> Node <-> ... last          ordered by score, then by the member's bytes
         -> members: a Dict of the same nodes           found by member

    Node: score, previous, next, meta | next and span of each level above the first | member

Differences from Pugh's skip lists: scores may repeat, the lowest level is linked both ways, and
links know how many nodes they step over, so that ranks cost O(log n) too. A member is stored once,
in its node; the lowest level needs no span. A node is never moved: a change of score relinks it.

Contract
1. A node is valid until it is removed. zset_update keeps its address.
2. Every change takes the pool that the set was made with. zset_footprint is exact and O(1); for
   freeing on another thread see dict.pxd.
3. Scores are numbers: who parses them refuses NaN (asserted in debug builds).
4. A member given to a function must not be that of a node of the same set, but where a function
   takes the node itself.
5. Ranks count from 0. A set has less than 2^32 members.
6. Scan and the fair random member are those of `members`, with all that dict.pxd says of them.
"""

cimport cython
from libc.stdint cimport int8_t, uint8_t, uint32_t, uint64_t

from protocol.native cimport load32, prefetch, unlikely
from shards.memory cimport Pool
from shards.types.dict cimport Dict, DictIterator, DictItem, DictRules, dict_count, dict_hash


cdef enum:
    LEVELS_MAX = 32
    LEVELS_MASK = 63            # of Node.meta: bits 0-5, how many levels it is in, at least 1
    META_LONG = 64              # bit 6: four more bytes of length lie before the member
    META_LENGTH_SHIFT = 7       # bits 7-31: the low bits of the member's length
    META_LENGTH_BITS = 25

cdef packed struct Node:
    double score
    Node *previous              # NULL: this is the first
    Node *next                  # NULL: this is the last
    uint32_t meta

cdef packed struct Link:        # of the levels above the first
    Node *next
    uint32_t span               # nodes stepped over, `next` included; to the end if that is NULL

cdef struct Zset:
    Node *head                  # owned: LEVELS_MAX levels, no member
    Node *last                  # NULL: the set is empty
    Dict *members               # owned: DICT_NODES
    uint64_t bytes              # allocated, but for `members`
    uint64_t random             # the state that levels are drawn from
    uint32_t levels             # in use, at least 1

cdef enum ZsetBy:
    BY_SCORE = 0
    BY_LEX = 1                  # right only if all scores are the same

cdef struct ZsetRange:
    ZsetBy by
    bint min_exclusive
    bint max_exclusive
    double min_score            # BY_SCORE; infinities are just numbers
    double max_score
    const char *min_member      # BY_LEX
    const char *max_member
    size_t min_length
    size_t max_length
    int8_t min_infinite         # BY_LEX: -1 is below all members (`-`), 1 is above them (`+`)
    int8_t max_infinite

# Rules for the `members` of all sorted sets of a store.
cdef void zset_rules_default(DictRules *rules, const uint64_t *seed) noexcept nogil
cdef Zset *zset_new(Pool *pool, const DictRules *rules, uint64_t random) noexcept nogil
cdef void zset_free(Pool *pool, Zset *zset) noexcept nogil                         # O(n)
cdef Zset *zset_copy(Pool *pool, const Zset *zset) noexcept nogil                  # O(n)

# All O(log n) but zset_find, which is O(1). The hash is dict_hash(zset.members, member, n).
cdef Node *zset_find(const Zset *zset, uint64_t hash, const char *member,
                     size_t n) noexcept nogil                                      # or NULL
# A member that is not there, which is not checked.
cdef Node *zset_insert(Pool *pool, Zset *zset, uint64_t hash, double score, const char *member,
                       size_t n) noexcept nogil
cdef void zset_update(Zset *zset, Node *node, double score) noexcept nogil
cdef void zset_remove(Pool *pool, Zset *zset, Node *node) noexcept nogil

cdef uint64_t zset_rank(const Zset *zset, const Node *node) noexcept nogil
cdef Node *zset_at(const Zset *zset, uint64_t rank) noexcept nogil                 # or NULL
cdef Node *zset_range_first(const Zset *zset, const ZsetRange *range) noexcept nogil  # or NULL
cdef Node *zset_range_last(const Zset *zset, const ZsetRange *range) noexcept nogil   # or NULL
# The members below the range, and those not above it; ranks of its ends, in other words.
cdef uint64_t zset_count_below(const Zset *zset, const ZsetRange *range) noexcept nogil
cdef uint64_t zset_count_range(const Zset *zset, const ZsetRange *range) noexcept nogil
# For going on from node to node until the range ends.
cdef bint zset_is_below(const ZsetRange *range, const Node *node) noexcept nogil
cdef bint zset_is_above(const ZsetRange *range, const Node *node) noexcept nogil

# Remove what is in the range, or has the ranks first..last; how many that were. O(log n + m).
cdef uint64_t zset_remove_range(Pool *pool, Zset *zset, const ZsetRange *range) noexcept nogil
cdef uint64_t zset_remove_ranks(Pool *pool, Zset *zset, uint64_t first,
                                uint64_t last) noexcept nogil

# Every invariant, and the bytes recounted. O(n log n). AssertionError.
cdef int zset_check(const Zset *zset) except -1


cdef inline uint32_t node_levels(const Node *node) noexcept nogil:
    return node.meta & LEVELS_MASK


cdef inline Link *node_links(const Node *node) noexcept nogil:
    """The links of level 1 and up."""
    return <Link *><void *>(node + 1)


cdef inline const char *node_member(const Node *node, size_t *n) noexcept nogil:
    cdef const char *data = <const char *>(node_links(node) + (node_levels(node) - 1))
    n[0] = node.meta >> META_LENGTH_SHIFT
    if unlikely(node.meta & META_LONG):
        n[0] |= <size_t>load32(data) << META_LENGTH_BITS
        data += 4
    return data


cdef inline uint64_t zset_count(const Zset *zset) noexcept nogil:
    return dict_count(zset.members)


cdef inline uint64_t zset_footprint(const Zset *zset) noexcept nogil:
    """Bytes of memory, all included. O(1)."""
    return zset.bytes + zset.members.bytes


cdef inline Node *zset_first(const Zset *zset) noexcept nogil:
    return zset.head.next


cdef inline Node *zset_next(const Node *node) noexcept nogil:
    """NULL behind the last. A loop should do its work on a node after asking for the next."""
    prefetch(node.next)
    return node.next


cdef inline Node *zset_previous(const Node *node) noexcept nogil:
    prefetch(node.previous)
    return node.previous


@cython.final
cdef class NativeZset:
    cdef Pool pool
    cdef uint64_t total
    cdef DictRules rules
    cdef Zset *zset             # owned

    cdef Node *node(self, bytes member) noexcept
