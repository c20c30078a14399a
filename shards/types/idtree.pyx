"""The B+-tree of stream ids; contract and layout are in idtree.pxd."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memmove, memset

from protocol.native cimport fatal, likely, unlikely
from shards.memory.allocation cimport (
    Pool,
    before_node,
    malloc_usable_size,
    pool_alloc,
    pool_free,
    pool_resize,
)

cdef enum:
    CAPACITY_MIN = 4

cdef struct Path:               # from the root down: path.nodes[0] is the leaf
    IdNode *nodes[IDTREE_HEIGHT_MAX]
    uint32_t places[IDTREE_HEIGHT_MAX]      # which child was taken; of the leaf, where the id goes


cdef void idtree_init(IdTree *tree) noexcept nogil:
    memset(tree, 0, sizeof(IdTree))
    tree.fanout = IDTREE_FANOUT


cdef inline IdNode *child_at(const IdNode *node, uint32_t place) noexcept nogil:
    return <IdNode *>idnode_entries(node)[place].value


cdef IdNode *node_new(Pool *pool, uint16_t capacity) noexcept nogil:
    cdef IdNode *node = <IdNode *>pool_alloc(pool, sizeof(IdNode) + capacity * sizeof(IdEntry))
    node.previous = node.next = NULL
    node.count = 0
    node.capacity = capacity
    return node


# Searching

cdef inline uint32_t first_not_below(const IdNode *node, Id id, uint32_t start) noexcept nogil:
    """The first place from `start` on whose id is >= id, or count."""
    cdef IdEntry *entries = idnode_entries(node)
    cdef uint32_t low = start, high = node.count, middle
    while low < high:
        middle = (low + high) >> 1
        if id_compare(entries[middle].id, id) < 0:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline bint has_id(const IdNode *node, uint32_t place, Id id) noexcept nogil:
    return place < node.count and id_compare(idnode_entries(node)[place].id, id) == 0


cdef inline uint32_t child_place(const IdNode *node, Id id) noexcept nogil:
    """Which child an id belongs to: the last whose bound is not above it."""
    cdef uint32_t place = first_not_below(node, id, 1)
    return place if has_id(node, place, id) else place - 1


cdef inline void find_path(const IdTree *tree, Id id, Path *path) noexcept nogil:
    """The way to the leaf an id belongs to, and its place there; the tree is not empty."""
    cdef IdNode *node = tree.root
    cdef uint32_t level = tree.height
    while level:
        path.nodes[level] = node
        path.places[level] = child_place(node, id)
        node = child_at(node, path.places[level])
        level -= 1
    path.nodes[0] = node
    path.places[0] = first_not_below(node, id, 0)


cdef IdEntry *idtree_find(const IdTree *tree, Id id) noexcept nogil:
    cdef Path path
    if tree.root == NULL:
        return NULL
    find_path(tree, id, &path)
    if not has_id(path.nodes[0], path.places[0], id):
        return NULL
    return idnode_entries(path.nodes[0]) + path.places[0]


cdef bint idtree_seek_first(const IdTree *tree, IdCursor *cursor) noexcept nogil:
    cursor.leaf = tree.first
    cursor.index = 0
    return cursor.leaf != NULL


cdef bint idtree_seek_last(const IdTree *tree, IdCursor *cursor) noexcept nogil:
    cursor.leaf = tree.last
    cursor.index = tree.last.count - 1 if tree.last != NULL else 0
    return cursor.leaf != NULL


cdef bint idtree_seek(const IdTree *tree, Id id, IdSeek how, IdCursor *cursor) noexcept nogil:
    cdef Path path
    cdef IdNode *leaf
    cdef uint32_t place
    cdef bint found
    cursor.leaf = NULL
    cursor.index = 0
    if tree.root == NULL:
        return False
    find_path(tree, id, &path)
    leaf = path.nodes[0]
    place = path.places[0]
    found = has_id(leaf, place, id)
    cursor.leaf = leaf
    cursor.index = place
    if found and how in (SEEK_LESS_OR_EQUAL, SEEK_GREATER_OR_EQUAL):
        return True
    if how in (SEEK_LESS, SEEK_LESS_OR_EQUAL):
        return idcursor_previous(cursor)
    if found:
        return idcursor_next(cursor)
    if place == leaf.count:         # greater than all of its leaf
        cursor.leaf = leaf.next
        cursor.index = 0
    return cursor.leaf != NULL


# Inserting

cdef inline void entry_insert(IdNode *node, uint32_t place, Id id, void *value) noexcept nogil:
    cdef IdEntry *entry = idnode_entries(node) + place
    memmove(entry + 1, entry, (node.count - place) * sizeof(IdEntry))
    entry.id = id
    entry.value = value
    node.count += 1


cdef inline void entry_remove(IdNode *node, uint32_t place) noexcept nogil:
    cdef IdEntry *entry = idnode_entries(node) + place
    node.count -= 1
    memmove(entry, entry + 1, (node.count - place) * sizeof(IdEntry))


cdef inline void resize_root(Pool *pool, IdTree *tree, uint16_t capacity) noexcept nogil:
    """Of a tree that is one leaf."""
    tree.root = <IdNode *>pool_resize(
        pool, tree.root, sizeof(IdNode) + capacity * sizeof(IdEntry))
    tree.root.capacity = capacity
    tree.first = tree.last = tree.root


cdef IdNode *split(Pool *pool, IdTree *tree, IdNode *node, uint32_t place) noexcept nogil:
    """A new node after a full one, with what comes from the middle on or, if that is where the
    next entry goes, nothing."""
    cdef IdNode *right = node_new(pool, tree.fanout)
    cdef uint32_t kept = node.count if place == node.count else node.count >> 1
    right.count = <uint16_t>(node.count - kept)
    memcpy(idnode_entries(right), idnode_entries(node) + kept, right.count * sizeof(IdEntry))
    node.count = <uint16_t>kept
    return right


cdef void insert_at(Pool *pool, IdTree *tree, Path *path, Id id, void *value) noexcept nogil:
    cdef uint32_t level = 0, place
    cdef IdNode *node
    cdef IdNode *right
    before_node(pool, tree, path.nodes[0])
    while True:
        node = path.nodes[level]
        place = path.places[level]
        if likely(node.count < tree.fanout):
            entry_insert(node, place, id, value)
            return
        right = split(pool, tree, node, place)
        if level == 0:
            right.next = node.next
            right.previous = node
            node.next = right
            if right.next != NULL:
                right.next.previous = right
            else:
                tree.last = right
        if place >= node.count and (right.count == 0 or place > node.count):
            entry_insert(right, place - node.count, id, value)
        else:
            entry_insert(node, place, id, value)
        id = idnode_entries(right)[0].id        # its bound in the parent
        value = right
        if level == tree.height:
            break
        level += 1
        path.places[level] += 1
    node = node_new(pool, tree.fanout)          # a new root above the two
    entry_insert(node, 0, idnode_entries(tree.root)[0].id, tree.root)
    entry_insert(node, 1, id, value)
    tree.root = node
    tree.height += 1
    if unlikely(tree.height == IDTREE_HEIGHT_MAX):
        fatal("a tree of ids is too high")


cdef bint idtree_insert(Pool *pool, IdTree *tree, Id id, void *value) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef IdNode *last = tree.last
    cdef Path path
    cdef uint16_t capacity
    if tree.root == NULL:
        tree.root = tree.first = tree.last = node_new(pool, CAPACITY_MIN)
        entry_insert(tree.root, 0, id, value)
        tree.count = 1
        tree.bytes += pool.bytes - before
        return True
    if last.count < last.capacity and id_compare(
            id, idnode_entries(last)[last.count - 1].id) > 0:
        before_node(pool, tree, last)
        entry_insert(last, last.count, id, value)
        tree.count += 1
        return True
    find_path(tree, id, &path)
    if has_id(path.nodes[0], path.places[0], id):
        return False
    if tree.root.count == tree.root.capacity and tree.root.capacity < tree.fanout:
        capacity = tree.root.capacity * 2
        resize_root(pool, tree, capacity if capacity < tree.fanout else tree.fanout)
        path.nodes[0] = tree.root
    insert_at(pool, tree, &path, id, value)
    tree.count += 1
    tree.bytes += pool.bytes - before
    return True


# Removing

cdef inline void unlink_leaf(IdTree *tree, IdNode *leaf) noexcept nogil:
    if leaf.previous != NULL:
        leaf.previous.next = leaf.next
    else:
        tree.first = leaf.next
    if leaf.next != NULL:
        leaf.next.previous = leaf.previous
    else:
        tree.last = leaf.previous


cdef bint join(Pool *pool, IdTree *tree, IdNode *parent, uint32_t place,
               uint32_t level) noexcept nogil:
    """Move child `place` + 1 of a parent into child `place`, if both are small enough."""
    cdef IdNode *left
    cdef IdNode *right
    if place + 1 >= parent.count:
        return False
    left = child_at(parent, place)
    right = child_at(parent, place + 1)
    if (<uint32_t>left.count + right.count) * 4 > <uint32_t>tree.fanout * 3:
        return False
    # What was child 0 of its node is not any more: its bound counts now.
    if level:
        idnode_entries(right)[0].id = idnode_entries(parent)[place + 1].id
    else:
        before_node(pool, tree, left)
        before_node(pool, tree, right)
        unlink_leaf(tree, right)
    memcpy(idnode_entries(left) + left.count, idnode_entries(right),
           right.count * sizeof(IdEntry))
    left.count += right.count
    entry_remove(parent, place + 1)
    pool_free(pool, right)
    return True


cdef void remove_at(Pool *pool, IdTree *tree, Path *path) noexcept nogil:
    """Remove the entry that the path leads to, and the nodes that are not needed without it."""
    cdef uint32_t level, place
    cdef IdNode *node = path.nodes[0]
    cdef IdNode *parent
    before_node(pool, tree, node)
    entry_remove(node, path.places[0])
    for level in range(tree.height):
        node = path.nodes[level]
        parent = path.nodes[level + 1]
        place = path.places[level + 1]
        if node.count == 0:
            if level == 0:
                unlink_leaf(tree, node)
            pool_free(pool, node)
            entry_remove(parent, place)
        elif node.count * 2 > tree.fanout:
            break
        elif not join(pool, tree, parent, place, level) and not (
                place > 0 and join(pool, tree, parent, place - 1, level)):
            break
    while tree.height and tree.root.count == 1:
        node = tree.root
        tree.root = child_at(node, 0)
        tree.height -= 1
        pool_free(pool, node)
    if tree.root.count == 0:
        pool_free(pool, tree.root)
        tree.root = tree.first = tree.last = NULL
        tree.height = 0
    elif tree.height == 0 and tree.root.capacity > CAPACITY_MIN and (
            tree.root.count * 4 <= tree.root.capacity):
        resize_root(pool, tree, tree.root.capacity // 2)


cdef bint idtree_remove(Pool *pool, IdTree *tree, Id id, void **value) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef Path path
    if tree.root == NULL:
        return False
    find_path(tree, id, &path)
    if not has_id(path.nodes[0], path.places[0], id):
        return False
    if value != NULL:
        value[0] = idnode_entries(path.nodes[0])[path.places[0]].value
    remove_at(pool, tree, &path)
    tree.count -= 1
    tree.bytes += pool.bytes - before
    return True


cdef void free_node(Pool *pool, IdNode *node, uint32_t level, IdRelease release,
                    void *context) noexcept nogil:
    """A node and all below it; as deep as the tree is high."""
    cdef IdEntry *entries = idnode_entries(node)
    cdef uint32_t i
    for i in range(node.count):
        if level:
            free_node(pool, <IdNode *>entries[i].value, level - 1, release, context)
        elif release != NULL:
            release(context, entries[i].id, entries[i].value)
    pool_free(pool, node)


cdef void idtree_clear(Pool *pool, IdTree *tree, IdRelease release, void *context) noexcept nogil:
    cdef uint16_t fanout = tree.fanout
    if tree.root != NULL:
        free_node(pool, tree.root, tree.height, release, context)
    idtree_init(tree)
    tree.fanout = fanout


# Checks and tests

cdef int require(bint holds, str what) except -1:
    if not holds:
        raise AssertionError(what)
    return 0


cdef int check_node(const IdTree *tree, IdNode *node, uint32_t level, Id *low,
                    Id *high, IdNode **leaf, uint64_t *count, uint64_t *bytes) except -1:
    """A node between two bounds (NULL: none); `leaf` is the one that was checked last."""
    cdef IdEntry *entries = idnode_entries(node)
    cdef uint32_t i, start = 1 if level else 0
    require(1 <= node.count <= node.capacity, "a node's count is wrong")
    require(node.capacity == tree.fanout or tree.height == 0, "a node is too small")
    require(sizeof(IdNode) + node.capacity * sizeof(IdEntry) <= malloc_usable_size(node),
            "a node exceeds its allocation")
    bytes[0] += malloc_usable_size(node)
    for i in range(start, node.count):
        require(i == start or id_compare(entries[i - 1].id, entries[i].id) < 0,
                "the order is wrong")
        require(low == NULL or id_compare(low[0], entries[i].id) <= 0, "an id is below its bound")
        require(high == NULL or id_compare(entries[i].id, high[0]) < 0, "an id is above its bound")
    if level == 0:
        require(node.previous == leaf[0], "a link back is wrong")
        require((tree.first if leaf[0] == NULL else leaf[0].next) == node, "a link is wrong")
        leaf[0] = node
        count[0] += node.count
        return 0
    for i in range(node.count):
        check_node(tree, child_at(node, i), level - 1, &entries[i].id if i else low,
                   &entries[i + 1].id if i + 1 < node.count else high, leaf, count, bytes)
    return 0


cdef int idtree_check(const IdTree *tree) except -1:
    cdef uint64_t count = 0, bytes = 0
    cdef IdNode *leaf = NULL
    if tree.root == NULL:
        require(tree.first == NULL and tree.last == NULL and tree.height == 0,
                "an empty tree with nodes")
    else:
        check_node(tree, tree.root, tree.height, NULL, NULL, &leaf, &count, &bytes)
        require(leaf == tree.last and leaf.next == NULL, "the last leaf is another one")
        require(tree.height == 0 or tree.root.count > 1, "a root that is not needed")
    require(count == tree.count, "a tree's count is wrong")
    require(bytes == tree.bytes, "a tree's bytes are counted wrongly")
    return 0


cdef Id make_id(object pair) except *:
    cdef Id id
    id.ms, id.sequence = pair
    return id


cdef object triple(const IdEntry *entry):
    return (entry.id.ms, entry.id.sequence), <uintptr_t>entry.value


cdef void collect(void *context, Id id, void *value) noexcept with gil:
    (<list>context).append(((id.ms, id.sequence), <uintptr_t>value))


cdef dict SEEKS = {
    "<": SEEK_LESS, "<=": SEEK_LESS_OR_EQUAL, ">=": SEEK_GREATER_OR_EQUAL, ">": SEEK_GREATER,
}


@cython.final
cdef class NativeIdTree:
    """An IdTree for Python, from (ms, sequence) to integers: for tests and benchmarks."""

    def __cinit__(self, uint16_t fanout=IDTREE_FANOUT):
        if fanout < 4:
            raise ValueError("the fanout is too low")
        self.pool.total = &self.total
        idtree_init(&self.tree)
        self.tree.fanout = fanout

    def __dealloc__(self):
        idtree_clear(&self.pool, &self.tree, NULL, NULL)

    def __len__(self):
        return <Py_ssize_t>self.tree.count

    @property
    def used_memory(self):
        """What the pool has counted, which is the tree and nothing else."""
        return self.pool.bytes

    @property
    def height(self):
        return self.tree.height

    def insert(self, id, uintptr_t value):
        """True if it was not there; otherwise nothing is changed."""
        return idtree_insert(&self.pool, &self.tree, make_id(id), <void *>value)

    def find(self, id):
        """The value or None."""
        cdef IdEntry *entry = idtree_find(&self.tree, make_id(id))
        return None if entry == NULL else <uintptr_t>entry.value

    def remove(self, id):
        """The value or None."""
        cdef void *value
        if not idtree_remove(&self.pool, &self.tree, make_id(id), &value):
            return None
        return <uintptr_t>value

    def seek(self, id, how, *, int count=1, bint reverse=False):
        """Up to `count` (id, value) from the one that is <, <=, >= or > the id on.

        Without an id: from the first or, in reverse, the last.
        """
        cdef IdCursor cursor
        cdef list found = []
        cdef bint more
        if id is None:
            more = (idtree_seek_last(&self.tree, &cursor) if reverse
                    else idtree_seek_first(&self.tree, &cursor))
        else:
            more = idtree_seek(&self.tree, make_id(id), SEEKS[how], &cursor)
        while more and len(found) < count:
            found.append(triple(idcursor_entry(&cursor)))
            more = idcursor_previous(&cursor) if reverse else idcursor_next(&cursor)
        return found

    def clear(self):
        """Remove all; returns what was there, in order."""
        cdef list found = []
        idtree_clear(&self.pool, &self.tree, collect, <void *>found)
        return found

    def check(self):
        """Every invariant. O(n). AssertionError."""
        idtree_check(&self.tree)
        require(self.pool.bytes == idtree_footprint(&self.tree)
                and self.total == self.pool.bytes, "the pool and the tree count differently")
