"""A big sorted set: a counted B+-tree by score and member, and a dict that finds a member's node.

    Zset -> root: Page -> ... -> leaves, linked both ways      ordered by score, then by the bytes
         -> members: a Dict of the nodes                       found by member

    Node: score, length, member               never moved; a change of score moves its entry
    Page: count, capacity | scores | nodes    and of an inner page: | children | their counts

A leaf's entry is a node and its score. The entry of an inner page is the first of its child, with
the child and how many nodes are below it, so that ranks cost O(log n) too. Scores lie together, and
a search through a page of 62 reads a few cache lines next to each other, where a step in a skip
list, which Redis has here, is a cache miss: a rank takes a third of the time, a change of score a
quarter or less (docs/decisions/counted-tree-of-scores.md). A member has one byte of length and 16
to 25 of entry, by how full the leaves are, instead of 24 of links and more.

Contract
1. A node is valid until it is removed. zset_update keeps its address.
2. Every change takes the pool that the set was made with. zset_footprint is exact and O(1); for
   freeing on another thread see dict.pxd.
3. Scores are numbers: who parses them refuses NaN (asserted in debug builds).
4. A member given to a function must not be that of a node of the same set, but where a function
   takes the node itself.
5. Ranks count from 0. A set has less than 2^32 members.
6. Scan and the fair random member are those of `members`, with all that dict.pxd says of them.
7. A cursor dies with every change.
8. The entry of an inner page equals the first of its child, always. A full page is split in the
   middle, but where the new entry comes after its last or before the first of all, after or
   before all it has: so ascending and descending scores leave full pages. A page that is at most
   half full is joined with a neighbour if both take at most 3/4 of one; an empty one goes.
"""

cimport cython
from libc.stdint cimport int8_t, uint8_t, uint16_t, uint32_t, uint64_t

from protocol.native cimport load64, prefetch, unlikely
from shards.memory.allocation cimport Pool
from shards.types.dict cimport Dict, DictIterator, DictItem, DictRules, dict_count, dict_hash


cdef enum:
    PAGE_CAPACITY = 62          # entries; a leaf takes a kibibyte with malloc's header
    HEIGHT_MAX = 32             # levels of inner pages; 2^32 members need 9 in the worst case
    LENGTH_LONG = 255           # the length is in the next eight bytes
    NODES_AHEAD = 8             # to which a cursor has nodes fetched

cdef packed struct Node:        # the member follows, or eight bytes of length and the member
    double score
    uint8_t length

cdef struct Page:               # the arrays follow
    Page *previous              # leaves only
    Page *next
    uint16_t count              # at least 1, but in a root that is a leaf
    uint16_t capacity           # less than the set's only in a root that is a leaf

cdef struct Zset:
    Page *root                  # owned, never NULL
    Page *first                 # the leaves at the ends
    Page *last
    Dict *members               # owned: DICT_NODES
    uint64_t bytes              # allocated, but for `members`
    uint16_t capacity           # of pages, at least 4
    uint8_t height              # levels of inner pages

cdef struct ZsetCursor:
    Page *leaf                  # NULL: nowhere
    uint32_t index

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
cdef Zset *zset_new(Pool *pool, const DictRules *rules) noexcept nogil
cdef void zset_free(Pool *pool, Zset *zset) noexcept nogil                         # O(n)
cdef Zset *zset_copy(Pool *pool, const Zset *zset) noexcept nogil                  # O(n)

# All O(log n) but zset_find, which is O(1). The hash is dict_hash(zset.members, member, n).
cdef Node *zset_find(const Zset *zset, uint64_t hash, const char *member,
                     size_t n) noexcept nogil                                      # or NULL
# A member that is not there, which is not checked.
cdef Node *zset_insert(Pool *pool, Zset *zset, uint64_t hash, double score, const char *member,
                       size_t n) noexcept nogil
cdef void zset_update(Pool *pool, Zset *zset, Node *node, double score) noexcept nogil
cdef void zset_remove(Pool *pool, Zset *zset, Node *node) noexcept nogil

cdef uint64_t zset_rank(const Zset *zset, const Node *node) noexcept nogil
# False: there is none.
cdef bint zset_seek_rank(const Zset *zset, uint64_t rank, ZsetCursor *cursor) noexcept nogil
# To the first in a range, or backwards the last.
cdef bint zset_seek_range(const Zset *zset, const ZsetRange *range, bint backwards,
                          ZsetCursor *cursor) noexcept nogil
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


cdef inline const char *node_member(const Node *node, size_t *n) noexcept nogil:
    cdef const char *data = <const char *>(node + 1)
    n[0] = node.length
    if unlikely(node.length == LENGTH_LONG):
        n[0] = load64(data)
        data += 8
    return data


cdef inline double *page_scores(const Page *page) noexcept nogil:
    return <double *><void *>(page + 1)


cdef inline Node **page_nodes(const Page *page) noexcept nogil:
    return <Node **><void *>(page_scores(page) + page.capacity)


cdef inline uint64_t zset_count(const Zset *zset) noexcept nogil:
    return dict_count(zset.members)


cdef inline uint64_t zset_footprint(const Zset *zset) noexcept nogil:
    """Bytes of memory, all included. O(1)."""
    return zset.bytes + zset.members.bytes


cdef inline Node *zcursor_node(const ZsetCursor *cursor) noexcept nogil:
    """Where the cursor is; it must be somewhere."""
    return page_nodes(cursor.leaf)[cursor.index]


cdef inline bint zset_seek_first(const Zset *zset, ZsetCursor *cursor) noexcept nogil:
    cursor.leaf = zset.first if zset.first.count else NULL
    cursor.index = 0
    return cursor.leaf != NULL


cdef inline bint zset_seek_last(const Zset *zset, ZsetCursor *cursor) noexcept nogil:
    cursor.leaf = zset.last if zset.last.count else NULL
    cursor.index = <uint32_t>zset.last.count - 1
    return cursor.leaf != NULL


cdef inline bint zcursor_next(ZsetCursor *cursor) noexcept nogil:
    """False: that was the last one, and the cursor is nowhere."""
    cdef Page *leaf = cursor.leaf
    cursor.index += 1
    if cursor.index + NODES_AHEAD < leaf.count:
        prefetch(page_nodes(leaf)[cursor.index + NODES_AHEAD])
    elif cursor.index >= leaf.count:
        cursor.leaf = leaf.next
        cursor.index = 0
    return cursor.leaf != NULL


cdef inline bint zcursor_previous(ZsetCursor *cursor) noexcept nogil:
    """False: that was the first one, and the cursor is nowhere."""
    if cursor.index == 0:
        cursor.leaf = cursor.leaf.previous
        if cursor.leaf == NULL:
            return False
        cursor.index = cursor.leaf.count
    cursor.index -= 1
    if cursor.index >= NODES_AHEAD:
        prefetch(page_nodes(cursor.leaf)[cursor.index - NODES_AHEAD])
    return True


@cython.final
cdef class NativeZset:
    cdef Pool pool
    cdef uint64_t total
    cdef DictRules rules
    cdef Zset *zset             # owned

    cdef Node *node(self, bytes member) noexcept
