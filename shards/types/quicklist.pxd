"""The quicklist: a doubly linked list of listpacks, for lists that one listpack is too small for.

Contract
1. A node is a listpack, or, for an element of `plain_bytes_min` bytes or more, the element alone
   ("plain"). No node is empty; an empty quicklist has none.
2. How full a node gets is list-max-listpack-size: a count (and at most 8 KiB), or from -1 to -5 at
   most 4, 8, 16, 32 or 64 KiB. One element that is larger has a node of its own.
3. With a depth above 0, nodes that are farther from both ends are kept compressed if that pays;
   those nearer never are. Reading a compressed node leaves it compressed.
4. Limit and depth are those of the time it was made, as in Redis; only `plain_bytes_min` is the
   caller's at each call.
5. A ListCursor is at an element. It must be closed, unless a function has returned False for
   it; it dies with any change of the list but by the functions that take it.
6. Pushing and popping touch one node; seeking is O(nodes) from the nearer end. No call costs more
   than O(nodes), and the handling of a few nodes, but copying and freeing.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from shards.memory.allocation cimport Pool
from shards.types.listpack cimport Element, Listpack


cdef enum:
    LIST_FILL_DEFAULT = -2          # list-max-listpack-size
    PLAIN_BYTES_MIN = 1 << 30       # DEBUG QUICKLIST-PACKED-THRESHOLD
    COUNT_LIMIT_BYTES_MAX = 8192    # of a node, when the limit is a count

cdef struct ListRules:
    int32_t fill                    # list-max-listpack-size
    uint32_t compress_depth         # list-compress-depth; 0: never
    uint64_t plain_bytes_min        # at most PLAIN_BYTES_MIN

cdef struct QuicklistNode:
    QuicklistNode *previous         # NULL at the head
    QuicklistNode *next             # NULL at the tail
    void *data                      # owned: a listpack, or bytes; compressed: a Compressed
    uint64_t bytes                  # of data when it isn't compressed
    uint32_t count                  # elements
    bint plain
    bint compressed

cdef packed struct Compressed:      # the header; the LZF follows
    uint32_t bytes

cdef struct Quicklist:
    QuicklistNode *head
    QuicklistNode *tail
    uint64_t count                  # elements
    uint64_t nodes
    uint64_t charged                # bytes of all nodes and their data
    int32_t fill
    uint32_t compress_depth

cdef struct ListCursor:
    Quicklist *list                 # borrowed
    Pool *pool
    QuicklistNode *node             # where it stands; NULL: nowhere
    void *data                      # the node's, or `opened`
    uint8_t *p                      # the element in a listpack; NULL in a plain node
    uint32_t offset                 # its index in the node
    void *opened                    # owned: what a compressed node holds, or NULL
    bint touched                    # the node may have to be compressed again

# Redis's limits, which hold for lists that are one listpack too.
cdef bint list_exceeds(int32_t fill, uint64_t bytes, uint64_t count) noexcept nogil

cdef Quicklist *quicklist_new(Pool *pool, const ListRules *rules) noexcept nogil
cdef void quicklist_free(Pool *pool, Quicklist *list) noexcept nogil        # O(nodes)
cdef Quicklist *quicklist_copy(Pool *pool, const Quicklist *list) noexcept nogil
cdef uint64_t quicklist_footprint(const Quicklist *list) noexcept nogil     # O(1)
# Append a node, which is taken over: a listpack that isn't empty, or a plain element.
cdef void quicklist_append_pack(Pool *pool, Quicklist *list, Listpack *pack) noexcept nogil
cdef void quicklist_append_plain(Pool *pool, Quicklist *list, void *data, size_t n) noexcept nogil

cdef void quicklist_push(Pool *pool, Quicklist *list, const ListRules *rules, const char *data,
                         size_t n, bint at_tail) noexcept nogil
# The element at an end of a list that isn't empty; its data dies with the next change. O(1)
cdef void quicklist_peek(const Quicklist *list, bint at_tail, Element *element) noexcept nogil
cdef void quicklist_pop(Pool *pool, Quicklist *list, bint at_tail) noexcept nogil  # there is one
# Move the last element to the front.
cdef void quicklist_rotate(Pool *pool, Quicklist *list, const ListRules *rules) noexcept nogil
# Delete up to `count` elements from an index on, which counts from the end if it is negative.
# Returns how many went.
cdef uint64_t quicklist_delete_range(Pool *pool, Quicklist *list, int64_t index,
                                     uint64_t count) noexcept nogil

# Stand at an index (from the end if it is negative). False: there is no such element.
cdef bint quicklist_seek(Pool *pool, Quicklist *list, int64_t index,
                         ListCursor *cursor) noexcept nogil
cdef bint cursor_next(ListCursor *cursor) noexcept nogil        # False: that was the last one
cdef bint cursor_previous(ListCursor *cursor) noexcept nogil
cdef void cursor_get(const ListCursor *cursor, Element *element) noexcept nogil
cdef bint cursor_equals(const ListCursor *cursor, const char *data, size_t n) noexcept nogil
# Delete the element; the cursor goes on to the next one, or the one before. False: there is none.
cdef bint cursor_delete(ListCursor *cursor, bint backwards) noexcept nogil
# Both close the cursor.
cdef void cursor_insert(ListCursor *cursor, const ListRules *rules, bint behind,
                        const char *data, size_t n) noexcept nogil
cdef void cursor_replace(ListCursor *cursor, const ListRules *rules, const char *data,
                         size_t n) noexcept nogil
cdef void cursor_close(ListCursor *cursor) noexcept nogil       # more than once does no harm

# What a node holds: its own data or, if it is compressed, a copy that the caller frees (pool_free).
cdef void *node_data(Pool *pool, const QuicklistNode *node, void **opened) noexcept nogil
