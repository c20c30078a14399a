"""The quicklist; the contract is in quicklist.pxd.

Public functions that change a list note the pool's bytes before and after: the difference is what
the list has been charged (`Quicklist.charged`). `settle` restores what is said of compression.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from protocol.native cimport fatal, likely, unlikely
from shards.memory.allocation cimport (
    Pool,
    before_node,
    malloc_usable_size,
    pool_alloc,
    pool_free,
    pool_resize,
    pool_zeroed,
)
from shards.types.listpack cimport (
    LISTPACK_BYTES_MAX,
    LISTPACK_EMPTY_BYTES,
    Element,
    Listpack,
    element_text,
    listpack_append,
    listpack_copy,
    listpack_delete,
    listpack_delete_range,
    listpack_equals,
    listpack_first,
    listpack_fits,
    listpack_get,
    listpack_insert,
    listpack_last,
    listpack_length,
    listpack_merge,
    listpack_new,
    listpack_next,
    listpack_prepend,
    listpack_previous,
    listpack_replace,
    listpack_seek,
    listpack_shrink,
    listpack_validate,
)
from shards.types.lzf cimport lzf_compress, lzf_decompress


cdef enum:
    ELEMENT_BYTES_ESTIMATE = 8      # beside its own bytes; Redis's figure
    COMPRESS_BYTES_MIN = 48         # smaller nodes are left alone
    COMPRESS_GAIN_MIN = 8


# Limits

cdef inline uint64_t fill_bytes(int32_t fill) noexcept nogil:
    """The bytes that a negative list-max-listpack-size stands for."""
    return <uint64_t>4096 << (-fill - 1 if fill >= -5 else 4)


cdef bint list_exceeds(int32_t fill, uint64_t bytes, uint64_t count) noexcept nogil:
    if fill < 0:
        return bytes > fill_bytes(fill)
    return bytes > COUNT_LIMIT_BYTES_MAX or count > <uint64_t>(fill if fill else 1)


cdef inline bint has_room(const Quicklist *list, const ListRules *rules,
                          const QuicklistNode *node, size_t n) noexcept nogil:
    """Whether an element may be put into this node; NULL has none."""
    return (node != NULL and not node.plain and n < rules.plain_bytes_min
            and not list_exceeds(list.fill, node.bytes + n + ELEMENT_BYTES_ESTIMATE,
                                 <uint64_t>node.count + 1))


cdef inline bint may_merge(const Quicklist *list, const QuicklistNode *first,
                           const QuicklistNode *second) noexcept nogil:
    return (first != NULL and second != NULL and not first.plain and not second.plain
            and not list_exceeds(list.fill, first.bytes + second.bytes - LISTPACK_EMPTY_BYTES,
                                 <uint64_t>first.count + second.count))


# Compression

cdef void *node_data(Pool *pool, const QuicklistNode *node, void **opened) noexcept nogil:
    cdef const Compressed *packed
    opened[0] = NULL
    if likely(not node.compressed):
        return node.data
    packed = <const Compressed *>node.data
    opened[0] = pool_alloc(pool, node.bytes)
    if lzf_decompress(<const uint8_t *>(packed + 1), packed.bytes, <uint8_t *>opened[0],
                      node.bytes) != node.bytes:
        fatal("a compressed list node is broken")
    return opened[0]


cdef void open_node(Pool *pool, QuicklistNode *node) noexcept nogil:
    cdef void *opened
    if not node.compressed:
        return
    node_data(pool, node, &opened)
    pool_free(pool, node.data)
    node.data = opened
    node.compressed = False


cdef void compress_node(Pool *pool, QuicklistNode *node) noexcept nogil:
    cdef Compressed *packed
    cdef size_t n
    if node.compressed or node.bytes < COMPRESS_BYTES_MIN or node.bytes > LISTPACK_BYTES_MAX:
        return
    packed = <Compressed *>pool_alloc(pool, sizeof(Compressed) + node.bytes)
    n = lzf_compress(<const uint8_t *>node.data, node.bytes, <uint8_t *>(packed + 1),
                     node.bytes - COMPRESS_GAIN_MIN)
    if n == 0:
        pool_free(pool, packed)
        return
    packed.bytes = <uint32_t>n
    pool_free(pool, node.data)
    node.data = pool_resize(pool, packed, sizeof(Compressed) + n)
    node.compressed = True


cdef void settle(Pool *pool, Quicklist *list, QuicklistNode *node) noexcept nogil:
    """Open what is now near an end; compress what no longer is, and `node` (or NULL) if it is not.

    To be called when nodes came or went, or were changed. O(depth)
    """
    cdef QuicklistNode *front = list.head
    cdef QuicklistNode *back = list.tail
    cdef uint32_t depth
    cdef bint near = False
    if list.compress_depth == 0 or front == NULL:
        return
    for depth in range(list.compress_depth):
        open_node(pool, front)
        open_node(pool, back)
        near = near or front == node or back == node
        if front == back or front.next == back:
            return
        front = front.next
        back = back.previous
    compress_node(pool, front)
    compress_node(pool, back)
    if node != NULL and not near:
        compress_node(pool, node)


cdef void settle_around(Pool *pool, Quicklist *list, QuicklistNode *node) noexcept nogil:
    """The same for a node and its neighbours, which a split or a merge has left open."""
    settle(pool, list, node.previous)
    settle(pool, list, node.next)
    settle(pool, list, node)


# Nodes

cdef QuicklistNode *node_new(Pool *pool, void *data, uint64_t bytes, uint32_t count,
                             bint plain) noexcept nogil:
    cdef QuicklistNode *node = <QuicklistNode *>pool_alloc(pool, sizeof(QuicklistNode))
    node.data = data
    node.bytes = bytes
    node.count = count
    node.plain = plain
    node.compressed = False
    return node


cdef QuicklistNode *node_of(Pool *pool, const ListRules *rules, const char *data,
                            size_t n) noexcept nogil:
    """A node with this one element."""
    cdef void *bytes
    cdef Listpack *pack
    if n >= rules.plain_bytes_min:
        bytes = pool_alloc(pool, n)
        memcpy(bytes, data, n)
        return node_new(pool, bytes, n, 1, True)
    pack = listpack_append(pool, listpack_new(pool, LISTPACK_EMPTY_BYTES + n), data, n)
    return node_new(pool, pack, pack.bytes, 1, False)


cdef void link_behind(Quicklist *list, QuicklistNode *place, QuicklistNode *node) noexcept nogil:
    """place: NULL for the front."""
    node.previous = place
    node.next = place.next if place != NULL else list.head
    if node.next != NULL:
        node.next.previous = node
    else:
        list.tail = node
    if place != NULL:
        place.next = node
    else:
        list.head = node
    list.nodes += 1
    list.count += node.count


cdef void unlink_node(Quicklist *list, QuicklistNode *node) noexcept nogil:
    if node.previous != NULL:
        node.previous.next = node.next
    else:
        list.head = node.next
    if node.next != NULL:
        node.next.previous = node.previous
    else:
        list.tail = node.previous
    list.nodes -= 1
    list.count -= node.count


cdef void remove_node(Pool *pool, Quicklist *list, QuicklistNode *node) noexcept nogil:
    before_node(pool, list, node)
    unlink_node(list, node)
    pool_free(pool, node.data)
    pool_free(pool, node)


cdef inline void put_pack(Quicklist *list, QuicklistNode *node, Listpack *pack,
                          int64_t added) noexcept nogil:
    """A node's listpack after a change that added so many elements."""
    node.data = pack
    node.bytes = pack.bytes
    node.count = <uint32_t>(node.count + added)
    list.count += <uint64_t>added


cdef void add_to_node(Pool *pool, Quicklist *list, QuicklistNode *node, bint at_tail,
                      const char *data, size_t n) noexcept nogil:
    """Put an element at an end of a listpack node."""
    before_node(pool, list, node)
    open_node(pool, node)
    if at_tail:
        put_pack(list, node, listpack_append(pool, <Listpack *>node.data, data, n), 1)
    else:
        put_pack(list, node, listpack_prepend(pool, <Listpack *>node.data, data, n), 1)


cdef QuicklistNode *split_node(Pool *pool, Quicklist *list, QuicklistNode *node,
                               uint32_t offset) noexcept nogil:
    """Move the elements from an offset on, which is neither end, to a new node after."""
    cdef Listpack *pack
    cdef QuicklistNode *rest
    cdef uint32_t moved = node.count - offset
    before_node(pool, list, node)
    open_node(pool, node)
    pack = listpack_copy(pool, <Listpack *>node.data)
    pack = listpack_delete_range(pool, pack, 0, offset)
    rest = node_new(pool, pack, pack.bytes, moved, False)
    pack = listpack_delete_range(pool, <Listpack *>node.data, offset, moved)
    put_pack(list, node, pack, -<int64_t>moved)
    link_behind(list, node, rest)
    return rest


cdef QuicklistNode *merge_nodes(Pool *pool, Quicklist *list, QuicklistNode *first) noexcept nogil:
    """Make one of a node and its next one if they may be; returns the node that is there then."""
    cdef QuicklistNode *second
    cdef Listpack *pack
    cdef uint32_t moved
    if first == NULL or not may_merge(list, first, first.next):
        return first
    second = first.next
    moved = second.count
    before_node(pool, list, first)
    before_node(pool, list, second)
    open_node(pool, first)
    open_node(pool, second)
    pack = listpack_merge(pool, <Listpack *>first.data, <Listpack *>second.data)
    second.data = NULL
    remove_node(pool, list, second)
    put_pack(list, first, pack, moved)
    return first


cdef QuicklistNode *merge_around(Pool *pool, Quicklist *list, QuicklistNode *node) noexcept nogil:
    """Merge what a split has left small; returns the node that `node` has become a part of."""
    if node.previous != NULL:
        merge_nodes(pool, list, node.previous.previous)
    merge_nodes(pool, list, node.next)
    if may_merge(list, node.previous, node):
        node = merge_nodes(pool, list, node.previous)
    return merge_nodes(pool, list, node)


# Whole lists

cdef Quicklist *quicklist_new(Pool *pool, const ListRules *rules) noexcept nogil:
    cdef Quicklist *list = <Quicklist *>pool_zeroed(pool, sizeof(Quicklist))
    list.fill = rules.fill
    list.compress_depth = rules.compress_depth
    return list


cdef void quicklist_free(Pool *pool, Quicklist *list) noexcept nogil:
    cdef QuicklistNode *node
    if list == NULL:
        return
    while list.head != NULL:
        node = list.head
        list.head = node.next
        pool_free(pool, node.data)
        pool_free(pool, node)
    pool_free(pool, list)


cdef Quicklist *quicklist_copy(Pool *pool, const Quicklist *list) noexcept nogil:
    cdef Quicklist *copy = <Quicklist *>pool_zeroed(pool, sizeof(Quicklist))
    cdef const QuicklistNode *node = list.head
    cdef QuicklistNode *twin
    cdef uint64_t before = pool.bytes
    cdef size_t n
    cdef void *data
    copy.fill = list.fill
    copy.compress_depth = list.compress_depth
    while node != NULL:
        n = node.bytes
        if node.compressed:
            n = sizeof(Compressed) + (<const Compressed *>node.data).bytes
        data = pool_alloc(pool, n)
        memcpy(data, node.data, n)
        twin = node_new(pool, data, node.bytes, node.count, node.plain)
        twin.compressed = node.compressed
        link_behind(copy, copy.tail, twin)
        node = node.next
    copy.charged = pool.bytes - before
    return copy


cdef uint64_t quicklist_footprint(const Quicklist *list) noexcept nogil:
    return list.charged + malloc_usable_size(list)


cdef inline void append_node(Pool *pool, Quicklist *list, void *data, uint64_t bytes,
                             uint32_t count, bint plain) noexcept nogil:
    cdef uint64_t before = pool.bytes
    list.charged += malloc_usable_size(data)        # counted by the pool already
    link_behind(list, list.tail, node_new(pool, data, bytes, count, plain))
    settle(pool, list, NULL)
    list.charged += pool.bytes - before


cdef void quicklist_append_pack(Pool *pool, Quicklist *list, Listpack *pack) noexcept nogil:
    append_node(pool, list, pack, pack.bytes, <uint32_t>listpack_length(pack), False)


cdef void quicklist_append_plain(Pool *pool, Quicklist *list, void *data, size_t n) noexcept nogil:
    append_node(pool, list, data, n, 1, True)


# The ends

cdef void quicklist_push(Pool *pool, Quicklist *list, const ListRules *rules, const char *data,
                         size_t n, bint at_tail) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef QuicklistNode *node = list.tail if at_tail else list.head
    if likely(has_room(list, rules, node, n)):
        add_to_node(pool, list, node, at_tail, data, n)
    else:
        if node != NULL and not node.plain and not node.compressed:
            node.data = listpack_shrink(pool, <Listpack *>node.data)    # full: it grows no more
        link_behind(list, node if at_tail else NULL, node_of(pool, rules, data, n))
        settle(pool, list, NULL)
    list.charged += pool.bytes - before


cdef void quicklist_peek(const Quicklist *list, bint at_tail, Element *element) noexcept nogil:
    cdef const QuicklistNode *node = list.tail if at_tail else list.head
    cdef Listpack *pack = <Listpack *>node.data     # near an end: never compressed
    if unlikely(node.plain):
        element.data = <const char *>node.data
        element.length = node.bytes
        return
    listpack_get(listpack_last(pack) if at_tail else listpack_first(pack), element)


cdef void quicklist_pop(Pool *pool, Quicklist *list, bint at_tail) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef QuicklistNode *node = list.tail if at_tail else list.head
    cdef Listpack *pack = <Listpack *>node.data
    cdef uint8_t *p
    if node.count == 1:
        remove_node(pool, list, node)
        settle(pool, list, NULL)
    else:
        before_node(pool, list, node)
        p = listpack_last(pack) if at_tail else listpack_first(pack)
        put_pack(list, node, listpack_delete(pool, pack, &p, 1), -1)
    list.charged += pool.bytes - before


cdef void quicklist_rotate(Pool *pool, Quicklist *list, const ListRules *rules) noexcept nogil:
    cdef QuicklistNode *tail = list.tail
    cdef uint64_t before = pool.bytes
    cdef Element element
    cdef char scratch[24]
    cdef void *kept = NULL
    cdef const char *data
    cdef size_t n
    if list.count < 2:
        return
    if tail.plain:
        before_node(pool, list, tail)
        unlink_node(list, tail)
        link_behind(list, NULL, tail)
        settle(pool, list, NULL)
        list.charged += pool.bytes - before
        return
    quicklist_peek(list, True, &element)
    data = element_text(&element, scratch, &n)
    if list.nodes == 1 and element.data != NULL:    # the push moves what it is to be read from
        kept = pool_alloc(pool, n)
        memcpy(kept, data, n)
        data = <const char *>kept
    quicklist_push(pool, list, rules, data, n, False)
    quicklist_pop(pool, list, True)
    pool_free(pool, kept)


cdef uint64_t quicklist_delete_range(Pool *pool, Quicklist *list, int64_t index,
                                     uint64_t count) noexcept nogil:
    cdef uint64_t before, part, left
    cdef QuicklistNode *node
    cdef QuicklistNode *next_node
    cdef uint32_t offset
    if index < 0:
        index += <int64_t>list.count
    if index < 0 or <uint64_t>index >= list.count or count == 0:
        return 0
    before = pool.bytes
    if count > list.count - <uint64_t>index:
        count = list.count - <uint64_t>index
    left = count
    node = find_node(list, <uint64_t>index, &offset)
    while left:
        next_node = node.next
        part = node.count - offset if node.count - offset < left else left
        left -= part
        if part == node.count:
            remove_node(pool, list, node)
        else:
            before_node(pool, list, node)
            open_node(pool, node)
            put_pack(list, node, listpack_delete_range(pool, <Listpack *>node.data, offset, part),
                     -<int64_t>part)
            settle(pool, list, node)
        node = next_node
        offset = 0
    settle(pool, list, NULL)
    list.charged += pool.bytes - before
    return count


# Cursors

cdef QuicklistNode *find_node(const Quicklist *list, uint64_t index,
                              uint32_t *offset) noexcept nogil:
    """The node of an index that is there, and the index within it."""
    cdef QuicklistNode *node
    cdef uint64_t first
    if index < list.count // 2:
        node = list.head
        while index >= node.count:
            index -= node.count
            node = node.next
        offset[0] = <uint32_t>index
        return node
    node = list.tail
    first = list.count - node.count
    while index < first:
        node = node.previous
        first -= node.count
    offset[0] = <uint32_t>(index - first)
    return node


cdef inline void leave(ListCursor *cursor) noexcept nogil:
    """Let go of the node."""
    cdef uint64_t before
    pool_free(cursor.pool, cursor.opened)
    cursor.opened = NULL
    if cursor.touched:
        before = cursor.pool.bytes
        settle(cursor.pool, cursor.list, cursor.node)
        cursor.list.charged += cursor.pool.bytes - before
        cursor.touched = False
    cursor.node = NULL


cdef inline bint enter(ListCursor *cursor, QuicklistNode *node, bint at_tail) noexcept nogil:
    """Stand at an end of another node."""
    leave(cursor)
    cursor.node = node
    if node == NULL:
        return False
    cursor.data = node_data(cursor.pool, node, &cursor.opened)
    cursor.offset = node.count - 1 if at_tail else 0
    if node.plain:
        cursor.p = NULL
    elif at_tail:
        cursor.p = listpack_last(<Listpack *>cursor.data)
    else:
        cursor.p = listpack_first(<Listpack *>cursor.data)
    return True


cdef bint quicklist_seek(Pool *pool, Quicklist *list, int64_t index,
                         ListCursor *cursor) noexcept nogil:
    cdef QuicklistNode *node
    cdef uint32_t offset
    cursor.list = list
    cursor.pool = pool
    cursor.opened = NULL
    cursor.touched = False
    cursor.node = NULL
    if index < 0:
        index += <int64_t>list.count
    if index < 0 or <uint64_t>index >= list.count:
        return False
    node = find_node(list, <uint64_t>index, &offset)
    enter(cursor, node, False)
    if not node.plain:
        cursor.p = listpack_seek(<Listpack *>cursor.data, offset)
        cursor.offset = offset
    return True


cdef bint cursor_next(ListCursor *cursor) noexcept nogil:
    cursor.offset += 1
    if cursor.offset >= cursor.node.count:
        return enter(cursor, cursor.node.next, False)
    cursor.p = listpack_next(cursor.p)
    return True


cdef bint cursor_previous(ListCursor *cursor) noexcept nogil:
    if cursor.offset == 0:
        return enter(cursor, cursor.node.previous, True)
    cursor.offset -= 1
    cursor.p = listpack_previous(<Listpack *>cursor.data, cursor.p)
    return True


cdef void cursor_get(const ListCursor *cursor, Element *element) noexcept nogil:
    if unlikely(cursor.p == NULL):
        element.data = <const char *>cursor.data
        element.length = cursor.node.bytes
        return
    listpack_get(cursor.p, element)


cdef bint cursor_equals(const ListCursor *cursor, const char *data, size_t n) noexcept nogil:
    if unlikely(cursor.p == NULL):
        return cursor.node.bytes == n and memcmp(cursor.data, data, n) == 0
    return listpack_equals(cursor.p, data, n)


cdef void cursor_close(ListCursor *cursor) noexcept nogil:
    if cursor.node != NULL:
        leave(cursor)


cdef void open_for_change(ListCursor *cursor) noexcept nogil:
    """The cursor's copy of a compressed node becomes the node's own data."""
    cdef QuicklistNode *node = cursor.node
    cursor.touched = True
    before_node(cursor.pool, cursor.list, node)
    if cursor.opened == NULL:
        return
    cursor.list.charged += malloc_usable_size(cursor.opened)
    cursor.list.charged -= malloc_usable_size(node.data)
    pool_free(cursor.pool, node.data)
    node.data = cursor.opened
    node.compressed = False
    cursor.opened = NULL


cdef bint cursor_delete(ListCursor *cursor, bint backwards) noexcept nogil:
    cdef Pool *pool = cursor.pool
    cdef Quicklist *list = cursor.list
    cdef QuicklistNode *node = cursor.node
    cdef QuicklistNode *near
    cdef uint64_t before
    cdef Listpack *pack
    if node.count == 1:
        near = node.previous if backwards else node.next
        cursor.touched = False
        leave(cursor)
        before = pool.bytes
        remove_node(pool, list, node)
        settle(pool, list, NULL)
        list.charged += pool.bytes - before
        return enter(cursor, near, backwards)
    open_for_change(cursor)
    before = pool.bytes
    pack = listpack_delete(pool, <Listpack *>node.data, &cursor.p, 1)
    put_pack(list, node, pack, -1)
    list.charged += pool.bytes - before
    cursor.data = pack
    if not backwards:
        return True if cursor.p != NULL else enter(cursor, node.next, False)
    if cursor.offset == 0:
        return enter(cursor, node.previous, True)
    cursor.offset -= 1
    cursor.p = listpack_last(pack) if cursor.p == NULL else listpack_previous(pack, cursor.p)
    return True


cdef void insert_node(Pool *pool, Quicklist *list, QuicklistNode *node, uint32_t offset,
                      QuicklistNode *fresh) noexcept nogil:
    """Put a node before the element of an offset in `node`, which is split for it."""
    if offset == 0:
        link_behind(list, node.previous, fresh)
    else:
        if offset < node.count:
            split_node(pool, list, node, offset)
        link_behind(list, node, fresh)


cdef void cursor_insert(ListCursor *cursor, const ListRules *rules, bint behind,
                        const char *data, size_t n) noexcept nogil:
    cdef Pool *pool = cursor.pool
    cdef Quicklist *list = cursor.list
    cdef QuicklistNode *node = cursor.node
    cdef uint32_t offset = cursor.offset + (1 if behind else 0)
    cdef QuicklistNode *near = NULL
    cdef QuicklistNode *rest
    cdef uint64_t before
    if has_room(list, rules, node, n):
        open_for_change(cursor)
        before = pool.bytes
        put_pack(list, node,
                 listpack_insert(pool, <Listpack *>node.data, &cursor.p, behind, data, n),
                 1)
        list.charged += pool.bytes - before
        leave(cursor)
        return
    leave(cursor)
    before = pool.bytes
    if offset == 0 and not behind:
        near = node.previous
    elif offset == node.count and behind:
        near = node.next
    if has_room(list, rules, near, n):
        add_to_node(pool, list, near, not behind, data, n)
    elif offset == 0 or offset == node.count or n >= rules.plain_bytes_min:
        near = node_of(pool, rules, data, n)
        insert_node(pool, list, node, offset, near)
    else:
        # As in Redis, the half that gets the element may become too full; the other one is merged.
        rest = split_node(pool, list, node, offset)
        add_to_node(pool, list, rest if behind else node, not behind, data, n)
        near = node if behind else rest
        near = merge_around(pool, list, near)
    settle_around(pool, list, near)
    list.charged += pool.bytes - before


cdef void cursor_replace(ListCursor *cursor, const ListRules *rules, const char *data,
                         size_t n) noexcept nogil:
    cdef Pool *pool = cursor.pool
    cdef Quicklist *list = cursor.list
    cdef QuicklistNode *node = cursor.node
    cdef uint32_t offset = cursor.offset
    cdef uint64_t before
    cdef QuicklistNode *fresh
    if not node.plain and n < rules.plain_bytes_min and listpack_fits(<Listpack *>cursor.data, n):
        open_for_change(cursor)
        before = pool.bytes
        put_pack(list, node, listpack_replace(pool, <Listpack *>node.data, &cursor.p, data, n), 0)
        list.charged += pool.bytes - before
        leave(cursor)
        return
    leave(cursor)
    before = pool.bytes
    if node.plain:
        fresh = node.next
        if has_room(list, rules, fresh, n):
            add_to_node(pool, list, fresh, False, data, n)
        else:
            fresh = node_of(pool, rules, data, n)
            link_behind(list, node, fresh)
        remove_node(pool, list, node)
        settle_around(pool, list, fresh)
        list.charged += pool.bytes - before
        return
    fresh = node_of(pool, rules, data, n)
    insert_node(pool, list, node, offset, fresh)
    # What is replaced is now the first element after the new node.
    node = fresh.next
    if node.count == 1:
        remove_node(pool, list, node)
    else:
        before_node(pool, list, node)
        open_node(pool, node)
        put_pack(list, node, listpack_delete_range(pool, <Listpack *>node.data, 0, 1), -1)
    settle_around(pool, list, merge_around(pool, list, fresh))
    list.charged += pool.bytes - before


# For the tests

cdef int require(bint holds, str what) except -1:
    if not holds:
        raise AssertionError(what)
    return 0


cdef class QuicklistProbe:
    """A quicklist for the tests; elements are bytes."""

    cdef Quicklist *list
    cdef Pool pool
    cdef uint64_t total
    cdef ListRules rules

    def __cinit__(self, int32_t fill=LIST_FILL_DEFAULT, uint32_t compress_depth=0,
                  uint64_t plain_bytes_min=PLAIN_BYTES_MIN):
        self.pool.total = &self.total
        self.rules.fill = fill
        self.rules.compress_depth = compress_depth
        self.rules.plain_bytes_min = plain_bytes_min
        self.list = quicklist_new(&self.pool, &self.rules)

    def __dealloc__(self):
        quicklist_free(&self.pool, self.list)

    cdef bytes text(self, const Element *element):
        cdef char scratch[24]
        cdef size_t n
        cdef const char *data = element_text(element, scratch, &n)
        return PyBytes_FromStringAndSize(data, n)

    cdef bytes here(self, const ListCursor *cursor):
        cdef Element element
        cursor_get(cursor, &element)
        return self.text(&element)

    cdef int seek(self, int64_t index, ListCursor *cursor) except -1:
        if not quicklist_seek(&self.pool, self.list, index, cursor):
            raise IndexError(index)
        return 0

    @property
    def plain_bytes_min(self) -> int:
        return self.rules.plain_bytes_min

    @plain_bytes_min.setter
    def plain_bytes_min(self, uint64_t value):
        self.rules.plain_bytes_min = value

    @property
    def used_memory(self) -> int:
        return self.total

    def __len__(self) -> int:
        return self.list.count

    def __getitem__(self, int64_t index) -> bytes:
        cdef ListCursor cursor
        self.seek(index, &cursor)
        value = self.here(&cursor)
        cursor_close(&cursor)
        return value

    def elements(self, int64_t index=0, bint backwards=False) -> list[bytes]:
        """All from an index on, in either direction."""
        cdef ListCursor cursor
        cdef list found = []
        cdef bint more = quicklist_seek(&self.pool, self.list, index, &cursor)
        while more:
            found.append(self.here(&cursor))
            more = cursor_previous(&cursor) if backwards else cursor_next(&cursor)
        return found

    def push(self, bytes value not None, bint at_tail=True) -> None:
        quicklist_push(&self.pool, self.list, &self.rules, PyBytes_AS_STRING(value),
                       PyBytes_GET_SIZE(value), at_tail)

    def pop(self, bint at_tail=True) -> bytes:
        cdef Element element
        if self.list.count == 0:
            raise IndexError("empty")
        quicklist_peek(self.list, at_tail, &element)
        value = self.text(&element)
        quicklist_pop(&self.pool, self.list, at_tail)
        return value

    def rotate(self) -> None:
        quicklist_rotate(&self.pool, self.list, &self.rules)

    def insert(self, int64_t index, bytes value not None, bint behind=False) -> None:
        cdef ListCursor cursor
        self.seek(index, &cursor)
        cursor_insert(&cursor, &self.rules, behind, PyBytes_AS_STRING(value),
                      PyBytes_GET_SIZE(value))

    def replace(self, int64_t index, bytes value not None) -> None:
        cdef ListCursor cursor
        self.seek(index, &cursor)
        cursor_replace(&cursor, &self.rules, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))

    def remove(self, bytes value not None, uint64_t count, bint backwards=False) -> int:
        """Delete up to `count` equal elements, from either end; returns how many went."""
        cdef ListCursor cursor
        cdef bint more = quicklist_seek(&self.pool, self.list, -1 if backwards else 0, &cursor)
        cdef uint64_t removed = 0
        while more and removed < count:
            if cursor_equals(&cursor, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)):
                removed += 1
                more = cursor_delete(&cursor, backwards)
            else:
                more = cursor_previous(&cursor) if backwards else cursor_next(&cursor)
        cursor_close(&cursor)
        return removed

    def delete_range(self, int64_t index, uint64_t count) -> int:
        return quicklist_delete_range(&self.pool, self.list, index, count)

    def copy(self) -> QuicklistProbe:
        cdef QuicklistProbe other = QuicklistProbe(
            self.rules.fill, self.rules.compress_depth, self.rules.plain_bytes_min)
        quicklist_free(&other.pool, other.list)
        other.list = quicklist_copy(&other.pool, self.list)
        return other

    def nodes(self) -> list[tuple[bool, bool, int, bytes]]:
        """(plain, compressed, count, its data uncompressed) of each node."""
        cdef list found = []
        cdef QuicklistNode *node = self.list.head
        cdef void *opened
        cdef void *data
        while node != NULL:
            data = node_data(&self.pool, node, &opened)
            found.append((node.plain != 0, node.compressed != 0, node.count,
                          PyBytes_FromStringAndSize(<const char *>data, node.bytes)))
            pool_free(&self.pool, opened)
            node = node.next
        return found

    def check(self) -> None:
        """Raise AssertionError if an invariant is broken. O(n)"""
        cdef QuicklistNode *node = self.list.head
        cdef QuicklistNode *before = NULL
        cdef uint64_t count = 0, nodes = 0, bytes = 0, elements = 0
        cdef uint32_t depth = self.list.compress_depth
        cdef void *opened
        cdef void *data
        while node != NULL:
            require(node.previous == before, "the links are broken")
            require(node.count > 0, "an empty node")
            bytes += malloc_usable_size(node) + malloc_usable_size(node.data)
            if node.compressed:
                require(nodes >= depth and self.list.nodes - 1 - nodes >= depth,
                        "a node near an end is compressed")
            data = node_data(&self.pool, node, &opened)
            if node.plain:
                require(node.count == 1, "a plain node of several elements")
            else:
                require(listpack_validate(<uint8_t *>data, node.bytes, True, &elements),
                        "a node is no listpack")
                require(elements == node.count, "a node's count is wrong")
            pool_free(&self.pool, opened)
            count += node.count
            nodes += 1
            before = node
            node = node.next
        require(self.list.tail == before, "the tail is wrong")
        require(count == self.list.count and nodes == self.list.nodes, "a count is wrong")
        require(bytes == self.list.charged, "its memory is counted wrongly")
        require(self.total == quicklist_footprint(self.list), "the pool is wrong")
