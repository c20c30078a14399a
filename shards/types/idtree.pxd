"""An ordered map from 128-bit ids to pointers: the nodes of a stream, and pending entries.

A B+-tree. Redis keeps these in its radix tree; ids have one length and are nearly always appended,
so that nodes of 64 ids, full from left to right, cost 25 bytes an entry and one cache miss for
four levels of a radix tree. Names of groups and consumers are byte strings: they belong in a dict.

    IdTree -> root: IdNode -> ... -> leaves, linked both ways, with first and last

Contract
1. An IdTree is embedded in its owner, zeroed by idtree_init. Empty, it has no memory of its own.
2. An entry of an inner node is (bound, child): all ids below child i are >= its bound and < the
   bound of child i + 1. The bound of child 0 is not looked at.
3. A full node is split where the new entry comes: in the middle, or after the last, so that
   appending leaves full nodes. A node that is at most half full is joined with a neighbour if
   both take at most 3/4 of one; an empty one goes.
4. All operations are O(log n); appending, stepping and the ends are O(1).
5. A cursor dies with every change. Every change takes the tree's own pool.
   idtree_footprint is exact and O(1); for freeing on another thread see dict.pxd.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from shards.memory.allocation cimport Pool


cdef enum:
    IDTREE_FANOUT = 64          # entries of a node
    IDTREE_HEIGHT_MAX = 40

cdef struct Id:
    uint64_t ms
    uint64_t sequence

cdef struct IdEntry:
    Id id
    void *value                 # in an inner node: IdNode *

cdef struct IdNode:             # the entries follow
    IdNode *previous            # leaves only
    IdNode *next
    uint16_t count              # at least 1
    uint16_t capacity           # less than the fanout only in a leaf that is the root

cdef struct IdTree:
    IdNode *root                # owned; NULL: empty
    IdNode *first               # the leaves at the ends
    IdNode *last
    uint64_t count
    uint64_t bytes              # allocated
    uint16_t fanout             # at least 4
    uint8_t height              # levels of inner nodes

cdef struct IdCursor:
    IdNode *leaf                # NULL: nowhere
    uint32_t index

cdef enum IdSeek:
    SEEK_LESS = 0
    SEEK_LESS_OR_EQUAL = 1
    SEEK_GREATER_OR_EQUAL = 2
    SEEK_GREATER = 3

ctypedef void (*IdRelease)(void *context, Id id, void *value) noexcept nogil

cdef void idtree_init(IdTree *tree) noexcept nogil
# Free all but the tree itself, which is empty then; `release`, if not NULL, is called for each
# entry in order, and must leave the tree alone. O(n).
cdef void idtree_clear(Pool *pool, IdTree *tree, IdRelease release, void *context) noexcept nogil

# The entry of an id, or NULL. Its value may be overwritten; it dies with the next change.
cdef IdEntry *idtree_find(const IdTree *tree, Id id) noexcept nogil
# True: the id was not there. False: it was, and nothing is changed.
cdef bint idtree_insert(Pool *pool, IdTree *tree, Id id, void *value) noexcept nogil
# True: it was there; its value is in `value`, which may be NULL.
cdef bint idtree_remove(Pool *pool, IdTree *tree, Id id, void **value) noexcept nogil

# To the nearest entry on one side of an id, or to one end; False: there is none.
cdef bint idtree_seek(const IdTree *tree, Id id, IdSeek how, IdCursor *cursor) noexcept nogil
cdef bint idtree_seek_first(const IdTree *tree, IdCursor *cursor) noexcept nogil
cdef bint idtree_seek_last(const IdTree *tree, IdCursor *cursor) noexcept nogil

# Every invariant, and the bytes recounted. O(n). AssertionError.
cdef int idtree_check(const IdTree *tree) except -1


cdef inline int id_compare(Id a, Id b) noexcept nogil:
    """Below, at or above 0, as memcmp."""
    if a.ms != b.ms:
        return 1 if a.ms > b.ms else -1
    return (a.sequence > b.sequence) - (a.sequence < b.sequence)


cdef inline IdEntry *idnode_entries(const IdNode *node) noexcept nogil:
    return <IdEntry *><void *>(node + 1)


cdef inline IdEntry *idcursor_entry(const IdCursor *cursor) noexcept nogil:
    """Where the cursor is; it must be somewhere."""
    return idnode_entries(cursor.leaf) + cursor.index


cdef inline bint idcursor_next(IdCursor *cursor) noexcept nogil:
    """False: that was the last one, and the cursor is nowhere."""
    cursor.index += 1
    if cursor.index >= cursor.leaf.count:
        cursor.leaf = cursor.leaf.next
        cursor.index = 0
    return cursor.leaf != NULL


cdef inline bint idcursor_previous(IdCursor *cursor) noexcept nogil:
    """False: that was the first one, and the cursor is nowhere."""
    if cursor.index == 0:
        cursor.leaf = cursor.leaf.previous
        if cursor.leaf == NULL:
            return False
        cursor.index = cursor.leaf.count
    cursor.index -= 1
    return True


cdef inline uint64_t idtree_count(const IdTree *tree) noexcept nogil:
    return tree.count


cdef inline uint64_t idtree_footprint(const IdTree *tree) noexcept nogil:
    """Bytes of memory of its nodes. O(1)."""
    return tree.bytes


@cython.final
cdef class NativeIdTree:
    cdef Pool pool
    cdef uint64_t total
    cdef IdTree tree
