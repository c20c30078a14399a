"""The tree of big sorted sets; contract and layout are in scoretree.pxd.

A search for a place looks at scores alone, by halves and without branches. Members are compared
only where scores repeat, and the node that is sought itself is known by its address.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int8_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset

from protocol.native cimport DEBUG, compare_bytes, fatal, likely, prefetch, store64, unlikely
from shards.memory.allocation cimport Pool, before_node, malloc_usable_size, pool_alloc, pool_free
from shards.types.dict cimport (
    DICT_NODES,
    Dict,
    DictItem,
    DictIterator,
    DictRules,
    dict_check,
    dict_count,
    dict_find_node,
    dict_free,
    dict_hash,
    dict_insert_node,
    dict_new,
    dict_random,
    dict_remove_node,
    dict_rules_default,
    dict_scan,
)

cdef enum:
    CAPACITY_MIN = 4            # of a root that is a leaf
    CACHE_LINE = 64

cdef struct Key:                # what is sought
    double score
    const char *member
    size_t length
    const Node *node            # NULL: it has no entry

cdef struct Entry:              # of a page
    double score
    Node *node
    Page *child                 # of inner pages only
    uint32_t nodes              # below the child

cdef struct Path:               # from the root down: path.pages[0] is the leaf
    Page *pages[HEIGHT_MAX]
    uint32_t places[HEIGHT_MAX]         # which child was taken; of the leaf, where the key belongs


cdef const char *member_of(const void *node, size_t *n) noexcept nogil:
    return node_member(<const Node *>node, n)


cdef void zset_rules_default(DictRules *rules, const uint64_t *seed) noexcept nogil:
    dict_rules_default(rules, seed)
    rules.node_member = member_of


cdef inline uint32_t min_of(uint32_t a, uint32_t b) noexcept nogil:
    return a if a < b else b


cdef inline uint32_t max_of(uint32_t a, uint32_t b) noexcept nogil:
    return a if a > b else b


# Nodes and pages

cdef inline Page **page_children(const Page *page) noexcept nogil:
    return <Page **><void *>(page_nodes(page) + page.capacity)


cdef inline uint32_t *page_counts(const Page *page) noexcept nogil:
    return <uint32_t *><void *>(page_children(page) + page.capacity)


cdef inline size_t page_bytes(uint32_t capacity, uint32_t level) noexcept nogil:
    cdef size_t entry = sizeof(double) + sizeof(Node *)
    if level:
        entry += sizeof(Page *) + sizeof(uint32_t)
    return sizeof(Page) + capacity * entry


cdef inline void *take(Pool *pool, Zset *zset, size_t size) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef void *block = pool_alloc(pool, size)
    zset.bytes += pool.bytes - before
    return block


cdef inline void give(Pool *pool, Zset *zset, void *block) noexcept nogil:
    cdef uint64_t before = pool.bytes
    pool_free(pool, block)
    zset.bytes += pool.bytes - before


cdef Page *page_new(Pool *pool, Zset *zset, uint32_t capacity, uint32_t level) noexcept nogil:
    cdef Page *page = <Page *>take(pool, zset, page_bytes(capacity, level))
    page.previous = page.next = NULL
    page.count = 0
    page.capacity = <uint16_t>capacity
    return page


cdef Node *node_new(Pool *pool, Zset *zset, double score, const char *member,
                    size_t n) noexcept nogil:
    cdef bint is_long = n >= LENGTH_LONG
    cdef Node *node = <Node *>take(pool, zset, sizeof(Node) + is_long * 8 + n)
    cdef char *data = <char *>(node + 1)
    node.score = score
    if unlikely(is_long):
        node.length = LENGTH_LONG
        store64(data, n)
        data += 8
    else:
        node.length = <uint8_t>n
    memcpy(data, member, n)
    return node


cdef inline uint64_t nodes_before(const Page *page, uint32_t place) noexcept nogil:
    """How many are below the children before a place."""
    cdef const uint32_t *counts = page_counts(page)
    cdef uint32_t i, nodes = 0
    for i in range(place):
        nodes += counts[i]
    return nodes


cdef inline uint32_t nodes_below(const Page *page, uint32_t level) noexcept nogil:
    return <uint32_t>nodes_before(page, page.count) if level else page.count


cdef void copy_entries(Page *target, uint32_t at, const Page *source, uint32_t first,
                       uint32_t count, uint32_t level) noexcept nogil:
    """To another page."""
    memcpy(page_scores(target) + at, page_scores(source) + first, count * sizeof(double))
    memcpy(page_nodes(target) + at, page_nodes(source) + first, count * sizeof(Node *))
    if level:
        memcpy(page_children(target) + at, page_children(source) + first, count * sizeof(Page *))
        memcpy(page_counts(target) + at, page_counts(source) + first, count * sizeof(uint32_t))


cdef inline void shift_entries(Page *page, uint32_t target, uint32_t source, uint32_t count,
                               uint32_t level) noexcept nogil:
    memmove(page_scores(page) + target, page_scores(page) + source, count * sizeof(double))
    memmove(page_nodes(page) + target, page_nodes(page) + source, count * sizeof(Node *))
    if level:
        memmove(page_children(page) + target, page_children(page) + source,
                count * sizeof(Page *))
        memmove(page_counts(page) + target, page_counts(page) + source, count * sizeof(uint32_t))


cdef inline void insert_entry(Page *page, uint32_t level, uint32_t place,
                              const Entry *entry) noexcept nogil:
    shift_entries(page, place + 1, place, page.count - place, level)
    page_scores(page)[place] = entry.score
    page_nodes(page)[place] = entry.node
    if level:
        page_children(page)[place] = entry.child
        page_counts(page)[place] = entry.nodes
    page.count += 1


cdef inline void remove_entries(Page *page, uint32_t level, uint32_t place,
                                uint32_t count) noexcept nogil:
    page.count -= count
    shift_entries(page, place, place + count, page.count - place, level)


# Searches

cdef inline uint32_t place_of_score(const double *scores, uint32_t start, uint32_t end,
                                    double score, bint behind) noexcept nogil:
    """The first place in [start, end) with this score or a higher one; `behind`: a higher one."""
    cdef const double *base = scores + start
    cdef uint32_t left = end - start, half
    if left == 0:
        return start
    while left > 1:
        half = left >> 1
        base += half * <uint32_t>(base[half - 1] <= score if behind else base[half - 1] < score)
        left -= half
    return <uint32_t>(base - scores) + <uint32_t>(
        base[0] <= score if behind else base[0] < score)


cdef uint32_t place_among_equals(const Page *page, uint32_t low, const Key *key) noexcept nogil:
    """From `low` on, where the key's score begins, the first place whose entry is not before it."""
    cdef Node **nodes = page_nodes(page)
    cdef uint32_t high, middle
    cdef const char *member
    cdef size_t n
    if nodes[low] == key.node:
        return low
    high = place_of_score(page_scores(page), low, page.count, key.score, True)
    while low < high:
        middle = (low + high) >> 1
        member = node_member(nodes[middle], &n)
        if nodes[middle] != key.node and compare_bytes(member, n, key.member, key.length) < 0:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline uint32_t leaf_place(const Page *page, const Key *key) noexcept nogil:
    """Where the key is or belongs."""
    cdef const double *scores = page_scores(page)
    cdef uint32_t place = place_of_score(scores, 0, page.count, key.score, False)
    if place < page.count and scores[place] == key.score:
        return place_among_equals(page, place, key)
    return place


cdef inline uint32_t child_place(const Page *page, const Key *key) noexcept nogil:
    """Which child the key belongs to: the last whose first node is not after it."""
    cdef const double *scores = page_scores(page)
    cdef uint32_t place = place_of_score(scores, 1, page.count, key.score, False)
    if place < page.count and scores[place] == key.score:
        place = place_among_equals(page, place, key)
        if place < page.count and page_nodes(page)[place] == key.node:
            return place
    return place - 1


cdef inline void prefetch_scores(const Page *page) noexcept nogil:
    """All, since halving them would wait for one line after the other."""
    cdef const char *line = <const char *>page
    cdef uint32_t i
    for i in range((sizeof(Page) + PAGE_CAPACITY * sizeof(double)) // CACHE_LINE + 1):
        prefetch(line + i * CACHE_LINE)


cdef inline Key key_of(const Node *node, double score) noexcept nogil:
    cdef Key key
    key.score = score
    key.member = node_member(node, &key.length)
    key.node = node
    return key


cdef inline void find_path(const Zset *zset, const Key *key, Path *path) noexcept nogil:
    cdef Page *page = zset.root
    cdef uint32_t level = zset.height
    while level:
        path.pages[level] = page
        path.places[level] = child_place(page, key)
        page = page_children(page)[path.places[level]]
        prefetch_scores(page)
        level -= 1
    path.pages[0] = page
    path.places[0] = leaf_place(page, key)


cdef inline void find_paths(const Zset *zset, const Key *key, const Key *other, Path *path,
                            Path *other_path) noexcept nogil:
    """Two at once, so that they wait for memory together."""
    cdef Page *page = zset.root
    cdef Page *other_page = zset.root
    cdef uint32_t level = zset.height
    while level:
        path.pages[level] = page
        other_path.pages[level] = other_page
        path.places[level] = child_place(page, key)
        page = page_children(page)[path.places[level]]
        prefetch_scores(page)
        other_path.places[level] = child_place(other_page, other)
        other_page = page_children(other_page)[other_path.places[level]]
        prefetch_scores(other_page)
        level -= 1
    path.pages[0] = page
    other_path.pages[0] = other_page
    path.places[0] = leaf_place(page, key)
    other_path.places[0] = leaf_place(other_page, other)


cdef inline void find_path_of_first(const Zset *zset, Path *path) noexcept nogil:
    cdef Page *page = zset.root
    cdef uint32_t level = zset.height
    while level:
        path.pages[level] = page
        path.places[level] = 0
        page = page_children(page)[0]
        level -= 1
    path.pages[0] = page
    path.places[0] = 0


cdef inline void find_path_of_end(const Zset *zset, Path *path) noexcept nogil:
    """To the place after the last node."""
    cdef Page *page = zset.root
    cdef uint32_t level = zset.height
    while level:
        path.pages[level] = page
        path.places[level] = <uint32_t>page.count - 1
        page = page_children(page)[page.count - 1]
        level -= 1
    path.pages[0] = page
    path.places[0] = page.count


cdef inline void find_path_of_rank(const Zset *zset, uint64_t rank, Path *path) noexcept nogil:
    """There must be such a rank."""
    cdef Page *page = zset.root
    cdef const uint32_t *counts
    cdef uint32_t level = zset.height, place
    while level:
        counts = page_counts(page)
        place = 0
        while rank >= counts[place]:
            rank -= counts[place]
            place += 1
        path.pages[level] = page
        path.places[level] = place
        page = page_children(page)[place]
        level -= 1
    path.pages[0] = page
    path.places[0] = <uint32_t>rank


cdef bint zset_is_below(const ZsetRange *range, const Node *node) noexcept nogil:
    cdef const char *data
    cdef size_t n
    cdef int order
    if range.by == BY_SCORE:
        if range.min_exclusive:
            return node.score <= range.min_score
        return node.score < range.min_score
    if range.min_infinite:
        return range.min_infinite > 0
    data = node_member(node, &n)
    order = compare_bytes(data, n, range.min_member, range.min_length)
    return order < 0 or (order == 0 and range.min_exclusive)


cdef bint zset_is_above(const ZsetRange *range, const Node *node) noexcept nogil:
    cdef const char *data
    cdef size_t n
    cdef int order
    if range.by == BY_SCORE:
        if range.max_exclusive:
            return node.score >= range.max_score
        return node.score > range.max_score
    if range.max_infinite:
        return range.max_infinite < 0
    data = node_member(node, &n)
    order = compare_bytes(data, n, range.max_member, range.max_length)
    return order > 0 or (order == 0 and range.max_exclusive)


cdef uint32_t place_of_end(const Page *page, uint32_t low, const ZsetRange *range,
                           bint end) noexcept nogil:
    """From `low` on, the first entry that is not below a range; for its end, that is above it."""
    cdef uint32_t high = page.count, middle
    cdef Node **nodes
    if range.by == BY_SCORE:
        if end:
            return place_of_score(page_scores(page), low, high, range.max_score,
                                  not range.max_exclusive)
        return place_of_score(page_scores(page), low, high, range.min_score,
                              range.min_exclusive)
    nodes = page_nodes(page)
    while low < high:
        middle = (low + high) >> 1
        if not zset_is_above(range, nodes[middle]) if end else zset_is_below(range, nodes[middle]):
            low = middle + 1
        else:
            high = middle
    return low


cdef inline uint64_t find_end(const Zset *zset, const ZsetRange *range, bint end,
                              ZsetCursor *cursor) noexcept nogil:
    """The rank and place of the first node that is not below a range or, for its end, above it.

    The place may be after the last of a leaf.
    """
    cdef Page *page = zset.root
    cdef uint32_t level = zset.height, place
    cdef uint64_t rank = 0
    while level:
        place = place_of_end(page, 1, range, end) - 1
        rank += nodes_before(page, place)
        page = page_children(page)[place]
        prefetch_scores(page)
        level -= 1
    cursor.leaf = page
    cursor.index = place_of_end(page, 0, range, end)
    return rank + cursor.index


cdef Node *zset_find(const Zset *zset, uint64_t hash, const char *member,
                     size_t n) noexcept nogil:
    return <Node *>dict_find_node(zset.members, hash, member, n)


cdef uint64_t zset_rank(const Zset *zset, const Node *node) noexcept nogil:
    cdef Key key = key_of(node, node.score)
    cdef Page *page = zset.root
    cdef uint32_t level = zset.height, place
    cdef uint64_t rank = 0
    while level:
        place = child_place(page, &key)
        prefetch_scores(page_children(page)[place])
        rank += nodes_before(page, place)
        page = page_children(page)[place]
        level -= 1
    return rank + leaf_place(page, &key)


cdef bint zset_seek_rank(const Zset *zset, uint64_t rank, ZsetCursor *cursor) noexcept nogil:
    cdef Path path
    cursor.leaf = NULL
    cursor.index = 0
    if rank >= zset_count(zset):
        return False
    if rank == 0:
        return zset_seek_first(zset, cursor)
    if rank + 1 == zset_count(zset):
        return zset_seek_last(zset, cursor)
    find_path_of_rank(zset, rank, &path)
    cursor.leaf = path.pages[0]
    cursor.index = path.places[0]
    return True


cdef bint zset_seek_range(const Zset *zset, const ZsetRange *range, bint backwards,
                          ZsetCursor *cursor) noexcept nogil:
    cdef bint found
    find_end(zset, range, backwards, cursor)
    if backwards:
        found = zcursor_previous(cursor) and not zset_is_below(range, zcursor_node(cursor))
    else:
        if cursor.index == cursor.leaf.count:
            cursor.leaf = cursor.leaf.next
            cursor.index = 0
        found = cursor.leaf != NULL and not zset_is_above(range, zcursor_node(cursor))
    if not found:
        cursor.leaf = NULL
    return found


cdef uint64_t zset_count_below(const Zset *zset, const ZsetRange *range) noexcept nogil:
    cdef ZsetCursor cursor
    return find_end(zset, range, False, &cursor)


cdef uint64_t zset_count_range(const Zset *zset, const ZsetRange *range) noexcept nogil:
    cdef ZsetCursor cursor
    cdef uint64_t below = find_end(zset, range, False, &cursor)
    cdef uint64_t end = find_end(zset, range, True, &cursor)
    return end - below if end > below else 0


# Inserting

cdef inline void require_number(double score) noexcept nogil:
    if DEBUG and score != score:
        fatal("a score is not a number")


cdef inline void correct_firsts(const Zset *zset, Path *path) noexcept nogil:
    """After a change of the first entry of the path's leaf, in the pages above."""
    cdef double score = page_scores(path.pages[0])[0]
    cdef Node *node = page_nodes(path.pages[0])[0]
    cdef uint32_t level = 1, place
    while level <= zset.height:
        place = path.places[level]
        page_scores(path.pages[level])[place] = score
        page_nodes(path.pages[level])[place] = node
        if place:
            break
        level += 1


cdef inline void add_to_counts(Path *path, uint32_t level, uint32_t height,
                               int change) noexcept nogil:
    """In the inner pages from `level` up."""
    while level <= height:
        page_counts(path.pages[level])[path.places[level]] += <uint32_t>change
        level += 1


cdef void resize_root(Pool *pool, Zset *zset, uint32_t capacity) noexcept nogil:
    """Of a tree that is one leaf."""
    cdef Page *root = page_new(pool, zset, capacity, 0)
    copy_entries(root, 0, zset.root, 0, zset.root.count, 0)
    root.count = zset.root.count
    give(pool, zset, zset.root)
    zset.root = zset.first = zset.last = root


cdef Page *split(Pool *pool, Zset *zset, Page *page, uint32_t level,
                 uint32_t place) noexcept nogil:
    """A new page after a full one, with its second half; the next entry comes to `place`, and if
    that is one of the ends, it is to have a page of its own."""
    cdef Page *right = page_new(pool, zset, zset.capacity, level)
    cdef uint32_t kept = place if place == 0 or place == page.count else page.count >> 1
    right.count = <uint16_t>(page.count - kept)
    copy_entries(right, 0, page, kept, right.count, level)
    page.count = <uint16_t>kept
    if level == 0:
        right.next = page.next
        right.previous = page
        page.next = right
        if right.next != NULL:
            right.next.previous = right
        else:
            zset.last = right
    return right


cdef inline Entry entry_of_page(Page *page, uint32_t level) noexcept nogil:
    """What the page above knows of it."""
    cdef Entry entry
    entry.score = page_scores(page)[0]
    entry.node = page_nodes(page)[0]
    entry.child = page
    entry.nodes = nodes_below(page, level)
    return entry


cdef void insert_at(Pool *pool, Zset *zset, Path *path, Node *node) noexcept nogil:
    cdef uint32_t level = 0, place = path.places[0]
    cdef Page *page = path.pages[0]
    cdef Page *right
    cdef Entry entry
    cdef bint is_first = place == 0         # of all
    before_node(pool, zset, page)
    entry.score = node.score
    entry.node = node
    entry.child = NULL
    entry.nodes = 1
    while page.count == page.capacity:
        if page.capacity < zset.capacity:
            resize_root(pool, zset, min_of(2 * page.capacity, zset.capacity))
            page = path.pages[0] = zset.root
            break
        right = split(pool, zset, page, level, place)
        if place > page.count or right.count == 0:
            insert_entry(right, level, place - page.count, &entry)
        else:
            insert_entry(page, level, place, &entry)
        if level == zset.height:            # a new root above the two
            zset.root = page_new(pool, zset, zset.capacity, level + 1)
            entry = entry_of_page(page, level)
            insert_entry(zset.root, level + 1, 0, &entry)
            entry = entry_of_page(right, level)
            insert_entry(zset.root, level + 1, 1, &entry)
            zset.height += 1
            if unlikely(zset.height == HEIGHT_MAX):
                fatal("a sorted set's tree is too high")
            return
        entry = entry_of_page(right, level)
        level += 1
        place = path.places[level]
        page_counts(path.pages[level])[place] = nodes_below(page, level - 1)
        if is_first:
            page_scores(path.pages[level])[place] = node.score
            page_nodes(path.pages[level])[place] = node
        page = path.pages[level]
        place += 1
    insert_entry(page, level, place, &entry)
    add_to_counts(path, level + 1, zset.height, 1)
    if is_first:
        correct_firsts(zset, path)


cdef Zset *zset_new(Pool *pool, const DictRules *rules) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef Zset *zset = <Zset *>pool_alloc(pool, sizeof(Zset))
    zset.bytes = pool.bytes - before
    zset.capacity = PAGE_CAPACITY
    zset.height = 0
    zset.root = zset.first = zset.last = page_new(pool, zset, CAPACITY_MIN, 0)
    zset.members = dict_new(pool, rules, DICT_NODES)
    return zset


cdef void free_page(Pool *pool, Page *page, uint32_t level) noexcept nogil:
    """With all nodes below it; as deep as the tree is high."""
    cdef uint32_t i
    for i in range(page.count):
        if level:
            free_page(pool, page_children(page)[i], level - 1)
        else:
            if i + NODES_AHEAD < page.count:
                prefetch(page_nodes(page)[i + NODES_AHEAD])
            pool_free(pool, page_nodes(page)[i])
    pool_free(pool, page)


cdef void zset_free(Pool *pool, Zset *zset) noexcept nogil:
    free_page(pool, zset.root, zset.height)
    dict_free(pool, zset.members)
    pool_free(pool, zset)


cdef Zset *zset_copy(Pool *pool, const Zset *zset) noexcept nogil:
    cdef Zset *copy = zset_new(pool, zset.members.rules)
    cdef Path path
    cdef ZsetCursor cursor
    cdef Node *node
    cdef Node *twin
    cdef const char *member
    cdef size_t n
    cdef bint more = zset_seek_first(zset, &cursor)
    copy.capacity = zset.capacity
    while more:
        node = zcursor_node(&cursor)
        member = node_member(node, &n)
        twin = node_new(pool, copy, node.score, member, n)
        find_path_of_end(copy, &path)
        insert_at(pool, copy, &path, twin)
        dict_insert_node(pool, copy.members, dict_hash(zset.members, member, n), twin)
        more = zcursor_next(&cursor)
    return copy


cdef inline bint is_behind_all(const Zset *zset, const Key *key) noexcept nogil:
    cdef const Page *leaf = zset.last
    return leaf.count == 0 or (page_scores(leaf)[leaf.count - 1] <= key.score
                               and leaf_place(leaf, key) == leaf.count)


cdef Node *zset_insert(Pool *pool, Zset *zset, uint64_t hash, double score, const char *member,
                       size_t n) noexcept nogil:
    cdef Path path
    cdef Node *node
    cdef Key key
    require_number(score)
    if unlikely(zset_count(zset) == <uint32_t>-1):
        fatal("a sorted set has too many members")
    key.score = score
    key.member = member
    key.length = n
    key.node = NULL
    if is_behind_all(zset, &key):
        find_path_of_end(zset, &path)
    else:
        find_path(zset, &key, &path)
    node = node_new(pool, zset, score, member, n)
    insert_at(pool, zset, &path, node)
    dict_insert_node(pool, zset.members, hash, node)
    return node


# Removing

cdef inline bint fits_in_one(const Zset *zset, uint32_t entries) noexcept nogil:
    return entries * 4 <= <uint32_t>zset.capacity * 3


cdef inline void unlink_leaf(Zset *zset, Page *leaf) noexcept nogil:
    if leaf.previous != NULL:
        leaf.previous.next = leaf.next
    else:
        zset.first = leaf.next
    if leaf.next != NULL:
        leaf.next.previous = leaf.previous
    else:
        zset.last = leaf.previous


cdef bint join(Pool *pool, Zset *zset, Page *parent, uint32_t place,
               uint32_t level) noexcept nogil:
    """Move child `place` + 1 of a parent into child `place`, if both are small enough."""
    cdef Page *left
    cdef Page *right
    if place + 1 >= parent.count:
        return False
    # The parent knows how large leaves are: do not fetch one for that.
    if level == 0 and not fits_in_one(
            zset, page_counts(parent)[place] + page_counts(parent)[place + 1]):
        return False
    left = page_children(parent)[place]
    right = page_children(parent)[place + 1]
    if level and not fits_in_one(zset, <uint32_t>left.count + right.count):
        return False
    if level == 0:
        before_node(pool, zset, left)
        before_node(pool, zset, right)
    copy_entries(left, left.count, right, 0, right.count, level)
    left.count += right.count
    page_counts(parent)[place] += page_counts(parent)[place + 1]
    remove_entries(parent, level + 1, place + 1, 1)
    if level == 0:
        unlink_leaf(zset, right)
    give(pool, zset, right)
    return True


cdef void remove_at(Pool *pool, Zset *zset, Path *path, uint32_t count) noexcept nogil:
    """So many entries of the path's leaf, and the pages that are not needed without them."""
    cdef uint32_t level, place
    cdef Page *page = path.pages[0]
    cdef Page *parent
    cdef bint shrunk = True                         # the page has fewer entries than before
    cdef bint first_changed = path.places[0] == 0
    before_node(pool, zset, page)
    remove_entries(page, 0, path.places[0], count)
    for level in range(zset.height):
        page = path.pages[level]
        parent = path.pages[level + 1]
        place = path.places[level + 1]
        if page.count == 0:
            if level == 0:
                unlink_leaf(zset, page)
            give(pool, zset, page)
            remove_entries(parent, level + 1, place, 1)
        else:
            page_counts(parent)[place] -= count
            if first_changed:
                page_scores(parent)[place] = page_scores(page)[0]
                page_nodes(parent)[place] = page_nodes(page)[0]
            if shrunk:
                shrunk = <uint32_t>page.count * 2 <= zset.capacity and (
                    join(pool, zset, parent, place, level)
                    or (place > 0 and join(pool, zset, parent, place - 1, level)))
        first_changed = first_changed and place == 0
    while zset.height and zset.root.count == 1:
        page = zset.root
        zset.root = page_children(page)[0]
        zset.height -= 1
        give(pool, zset, page)
    if zset.height == 0 and zset.root.capacity > CAPACITY_MIN and (
            zset.root.count * 4 <= zset.root.capacity):
        resize_root(pool, zset, max_of(CAPACITY_MIN, zset.root.capacity // 2))


cdef void forget_node(Pool *pool, Zset *zset, Node *node) noexcept nogil:
    """Free a node, whose entry is to be removed, too."""
    cdef size_t n
    cdef const char *member = node_member(node, &n)
    dict_remove_node(pool, zset.members, dict_hash(zset.members, member, n), node)
    give(pool, zset, node)


cdef inline void require_entry(const Path *path, const Node *node) noexcept nogil:
    if DEBUG and (path.places[0] >= path.pages[0].count
                  or page_nodes(path.pages[0])[path.places[0]] != node):
        fatal("a path does not lead to its node")


cdef void zset_remove(Pool *pool, Zset *zset, Node *node) noexcept nogil:
    cdef Path path
    cdef Key key = key_of(node, node.score)
    if node == page_nodes(zset.first)[0]:       # it is popped, then
        find_path_of_first(zset, &path)
    else:
        find_path(zset, &key, &path)
    require_entry(&path, node)
    remove_at(pool, zset, &path, 1)
    forget_node(pool, zset, node)


cdef uint64_t zset_remove_range(Pool *pool, Zset *zset, const ZsetRange *range) noexcept nogil:
    cdef ZsetCursor cursor
    cdef uint64_t below = find_end(zset, range, False, &cursor)
    cdef uint64_t end = find_end(zset, range, True, &cursor)
    return zset_remove_ranks(pool, zset, below, end - 1) if end > below else 0


cdef uint64_t zset_remove_ranks(Pool *pool, Zset *zset, uint64_t first,
                                uint64_t last) noexcept nogil:
    cdef Path path
    cdef Node **nodes
    cdef uint64_t left
    cdef uint32_t i, count
    if first >= zset_count(zset) or first > last:
        return 0
    if last >= zset_count(zset):
        last = zset_count(zset) - 1
    left = last - first + 1
    while left:
        find_path_of_rank(zset, first, &path)
        count = path.pages[0].count - path.places[0]
        if count > left:
            count = <uint32_t>left
        before_node(pool, zset, path.pages[0])      # whose members go before their entries
        nodes = page_nodes(path.pages[0]) + path.places[0]
        for i in range(count):
            if i + NODES_AHEAD < count:
                prefetch(nodes[i + NODES_AHEAD])
            forget_node(pool, zset, nodes[i])
        remove_at(pool, zset, &path, count)
        left -= count
    return last - first + 1


# Updating

cdef inline void move_in_leaf(Zset *zset, Path *path, uint32_t target, double score,
                              Node *node) noexcept nogil:
    """Give the path's entry another score and place, as counted with the entry still there."""
    cdef Page *leaf = path.pages[0]
    cdef double *scores = page_scores(leaf)
    cdef Node **nodes = page_nodes(leaf)
    cdef uint32_t source = path.places[0]
    if target > source:
        target -= 1
        memmove(scores + source, scores + source + 1, (target - source) * sizeof(double))
        memmove(nodes + source, nodes + source + 1, (target - source) * sizeof(Node *))
    else:
        memmove(scores + target + 1, scores + target, (source - target) * sizeof(double))
        memmove(nodes + target + 1, nodes + target, (source - target) * sizeof(Node *))
    scores[target] = score
    nodes[target] = node
    if source == 0 or target == 0:
        correct_firsts(zset, path)


cdef inline bint would_join(const Zset *zset, const Path *path) noexcept nogil:
    """Whether the path's leaf would be joined or freed with one entry less; it is not the root."""
    cdef uint32_t rest = <uint32_t>path.pages[0].count - 1
    cdef uint32_t place = path.places[1]
    cdef const uint32_t *counts = page_counts(path.pages[1])
    if likely(rest * 2 > zset.capacity):
        return False
    return (rest == 0
            or (place + 1 < path.pages[1].count and fits_in_one(zset, rest + counts[place + 1]))
            or (place > 0 and fits_in_one(zset, rest + counts[place - 1])))


cdef void zset_update(Pool *pool, Zset *zset, Node *node, double score) noexcept nogil:
    cdef Path path, target
    cdef Key key = key_of(node, node.score)
    cdef Key moved = key
    cdef Entry entry
    require_number(score)
    if score == node.score:
        if unlikely(pool.node_hook != NULL):
            find_path(zset, &key, &path)
            before_node(pool, zset, path.pages[0])
        node.score = score          # 0 and -0 are equal
        return
    moved.score = score
    moved.node = NULL
    find_paths(zset, &key, &moved, &path, &target)
    require_entry(&path, node)
    before_node(pool, zset, path.pages[0])
    before_node(pool, zset, target.pages[0])
    node.score = score
    if path.pages[0] == target.pages[0]:
        move_in_leaf(zset, &path, target.places[0], score, node)
    elif target.pages[0].count == zset.capacity or would_join(zset, &path):
        remove_at(pool, zset, &path, 1)
        find_path(zset, &moved, &path)
        insert_at(pool, zset, &path, node)
    else:
        # Pages stay as they are, and with them both paths.
        remove_entries(path.pages[0], 0, path.places[0], 1)
        add_to_counts(&path, 1, zset.height, -1)
        if path.places[0] == 0:
            correct_firsts(zset, &path)
        entry.score = score
        entry.node = node
        insert_entry(target.pages[0], 0, target.places[0], &entry)
        add_to_counts(&target, 1, zset.height, 1)
        if target.places[0] == 0:
            correct_firsts(zset, &target)


# Checks and tests

cdef int require(bint holds, str what) except -1:
    if not holds:
        raise AssertionError(what)
    return 0


cdef struct Checked:
    Page *leaf                  # the last one; NULL: none yet
    Node *node
    uint64_t count
    uint64_t bytes


cdef int check_node(const Zset *zset, Node *node, double score, Checked *checked) except -1:
    """The next one in order, and the score of its entry."""
    cdef const char *before
    cdef size_t n_before, n
    cdef const char *member = node_member(node, &n)
    require(node.score == node.score, "a score is not a number")
    require(node.score == score, "an entry has another score than its node")
    require(member + n <= <char *>node + malloc_usable_size(node), "a node exceeds its allocation")
    require((node.length == LENGTH_LONG) == (n >= LENGTH_LONG), "a length is written wrongly")
    if checked.node != NULL:
        before = node_member(checked.node, &n_before)
        require(checked.node.score < score or (
            checked.node.score == score and compare_bytes(before, n_before, member, n) < 0),
            "the order is wrong")
    require(zset_find(zset, dict_hash(zset.members, member, n), member, n) == node,
            "a node is not among the members")
    require(zset_rank(zset, node) == checked.count, "a rank is wrong")
    checked.node = node
    checked.count += 1
    checked.bytes += malloc_usable_size(node)
    return 0


cdef int check_page(const Zset *zset, Page *page, uint32_t level, Checked *checked) except -1:
    cdef uint32_t i
    cdef Page *child
    cdef uint64_t before
    require(page.count <= page.capacity, "a page has too many entries")
    require(page.count >= 1 or (level == 0 and page == zset.root), "an empty page")
    require(page.capacity == zset.capacity or zset.height == 0, "a page is too small")
    require(page_bytes(page.capacity, level) <= malloc_usable_size(page),
            "a page exceeds its allocation")
    checked.bytes += malloc_usable_size(page)
    if level == 0:
        require(page.previous == checked.leaf, "a link back is wrong")
        require((zset.first if checked.leaf == NULL else checked.leaf.next) == page,
                "a link is wrong")
        checked.leaf = page
    for i in range(page.count):
        if level == 0:
            check_node(zset, page_nodes(page)[i], page_scores(page)[i], checked)
            continue
        child = page_children(page)[i]
        require(page_nodes(page)[i] == page_nodes(child)[0]
                and page_scores(page)[i] == page_scores(child)[0],
                "an entry is not the first of its child")
        before = checked.count
        check_page(zset, child, level - 1, checked)
        require(checked.count - before == page_counts(page)[i], "a count is wrong")
    return 0


cdef int zset_check(const Zset *zset) except -1:
    cdef Checked checked
    memset(&checked, 0, sizeof(checked))
    checked.bytes = malloc_usable_size(zset)
    dict_check(zset.members)
    check_page(zset, zset.root, zset.height, &checked)
    require(zset.last == checked.leaf and checked.leaf.next == NULL, "the last leaf is another one")
    require(zset.height == 0 or zset.root.count > 1, "a root that is not needed")
    require(checked.count == zset_count(zset), "there are more members than nodes")
    require(checked.bytes == zset.bytes, "the bytes are counted wrongly")
    return 0


cdef object pair(const Node *node):
    cdef size_t n
    cdef const char *member = node_member(node, &n)
    return PyBytes_FromStringAndSize(member, <Py_ssize_t>n), node.score


cdef void collect(void *context, const DictItem *item) noexcept with gil:
    (<list>context).append(pair(<const Node *>item.node))


cdef int parse_lex(bytes end, int8_t *infinite, bint *exclusive, const char **member,
                   size_t *n) except -1:
    infinite[0] = -1 if end == b"-" else 1 if end == b"+" else 0
    if infinite[0]:
        return 0
    if end[:1] not in (b"[", b"("):
        raise ValueError("not a lexicographical end of a range")
    exclusive[0] = end[:1] == b"("
    member[0] = <const char *>end + 1
    n[0] = len(end) - 1
    return 0


cdef int parse_range(object first, object last, ZsetRange *range) except -1:
    """Two ends as ZRANGEBYLEX has them, or two of (score, is it exclusive). They are borrowed."""
    memset(range, 0, sizeof(ZsetRange))
    if isinstance(first, bytes):
        range.by = BY_LEX
        parse_lex(first, &range.min_infinite, &range.min_exclusive, &range.min_member,
                  &range.min_length)
        parse_lex(last, &range.max_infinite, &range.max_exclusive, &range.max_member,
                  &range.max_length)
        return 0
    range.by = BY_SCORE
    range.min_score, range.min_exclusive = first
    range.max_score, range.max_exclusive = last
    return 0


@cython.final
cdef class NativeZset:
    """A Zset for Python, with thresholds of its own: for tests and benchmarks."""

    def __cinit__(self, *, uint32_t grow_at=0, uint32_t shrink_at=0,
                  uint16_t capacity=PAGE_CAPACITY, seed=(1, 2)):
        cdef uint64_t[2] words = [seed[0], seed[1]]
        if not CAPACITY_MIN <= capacity <= PAGE_CAPACITY:
            raise ValueError("no such capacity of pages")
        self.pool.total = &self.total
        zset_rules_default(&self.rules, words)
        if grow_at:
            self.rules.grow_at = grow_at
            self.rules.shrink_at = shrink_at
        self.zset = zset_new(&self.pool, &self.rules)
        self.zset.capacity = capacity

    def __dealloc__(self):
        if self.zset != NULL:
            zset_free(&self.pool, self.zset)

    def __len__(self):
        return <Py_ssize_t>zset_count(self.zset)

    cdef Node *node(self, bytes member) noexcept:
        return zset_find(self.zset, dict_hash(self.zset.members, member, len(member)), member,
                         len(member))

    @property
    def used_memory(self):
        """What the pool has counted, which is the sorted set and nothing else."""
        return self.pool.bytes

    @property
    def footprint(self):
        return zset_footprint(self.zset)

    @property
    def height(self):
        """Levels of inner pages."""
        return self.zset.height

    def set(self, bytes member not None, double score):
        """Insert or give another score; True if it was not there."""
        cdef uint64_t hash = dict_hash(self.zset.members, member, len(member))
        cdef Node *node = zset_find(self.zset, hash, member, len(member))
        if node != NULL:
            zset_update(&self.pool, self.zset, node, score)
            return False
        zset_insert(&self.pool, self.zset, hash, score, member, len(member))
        return True

    def remove(self, bytes member not None):
        """True if it was there."""
        cdef Node *node = self.node(member)
        if node == NULL:
            return False
        zset_remove(&self.pool, self.zset, node)
        return True

    def score(self, bytes member not None):
        cdef Node *node = self.node(member)
        return None if node == NULL else node.score

    def rank(self, bytes member not None):
        cdef Node *node = self.node(member)
        return None if node == NULL else zset_rank(self.zset, node)

    def items(self, uint64_t start=0, count=None, *, bint reverse=False):
        """(member, score) from a rank on; a rank from the end if it goes backwards."""
        cdef list found = []
        cdef uint64_t left = len(self) if count is None else count
        cdef ZsetCursor cursor
        cdef bint more
        if start < zset_count(self.zset) and reverse:
            start = zset_count(self.zset) - 1 - start
        more = zset_seek_rank(self.zset, start, &cursor)
        while more and left:
            found.append(pair(zcursor_node(&cursor)))
            more = zcursor_previous(&cursor) if reverse else zcursor_next(&cursor)
            left -= 1
        return found

    def range(self, first, last, *, bint reverse=False):
        """What lies between two ends, see parse_range."""
        cdef ZsetRange range
        cdef list found = []
        cdef ZsetCursor cursor
        cdef Node *node
        cdef bint more
        parse_range(first, last, &range)
        more = zset_seek_range(self.zset, &range, reverse, &cursor)
        while more:
            node = zcursor_node(&cursor)
            if zset_is_below(&range, node) if reverse else zset_is_above(&range, node):
                break
            found.append(pair(node))
            more = zcursor_previous(&cursor) if reverse else zcursor_next(&cursor)
        return found

    def count(self, first, last):
        cdef ZsetRange range
        parse_range(first, last, &range)
        return zset_count_range(self.zset, &range)

    def count_below(self, first, last):
        cdef ZsetRange range
        parse_range(first, last, &range)
        return zset_count_below(self.zset, &range)

    def remove_range(self, first, last):
        cdef ZsetRange range
        parse_range(first, last, &range)
        return zset_remove_range(&self.pool, self.zset, &range)

    def remove_ranks(self, uint64_t first, uint64_t last):
        return zset_remove_ranks(&self.pool, self.zset, first, last)

    def pop(self, *, bint last=False):
        """Remove the first or last; (member, score) or None."""
        cdef ZsetCursor cursor
        cdef Node *node
        if not (zset_seek_last(self.zset, &cursor) if last
                else zset_seek_first(self.zset, &cursor)):
            return None
        node = zcursor_node(&cursor)
        result = pair(node)
        zset_remove(&self.pool, self.zset, node)
        return result

    def random(self, uint64_t random):
        """A random (member, score)."""
        cdef DictItem item
        if zset_count(self.zset) == 0:
            raise IndexError("the sorted set is empty")
        dict_random(self.zset.members, random, &item)
        return pair(<const Node *>item.node)

    def scan(self, uint64_t cursor):
        """(next cursor, [(member, score), ...])"""
        cdef list found = []
        cursor = dict_scan(self.zset.members, cursor, collect, <void *>found)
        return cursor, found

    def copy(self):
        """Another sorted set with the same members."""
        cdef NativeZset copy = NativeZset(
            grow_at=self.rules.grow_at, shrink_at=self.rules.shrink_at,
            capacity=self.zset.capacity, seed=(self.rules.seed[0], self.rules.seed[1]))
        zset_free(&copy.pool, copy.zset)
        copy.zset = zset_copy(&copy.pool, self.zset)
        copy.zset.members.rules = &copy.rules
        return copy

    def free_detached(self):
        """Free as a helper thread does, cut off from the pool; the set is new and empty then."""
        cdef Pool detached
        cdef Zset *zset = self.zset
        cdef uint16_t capacity = zset.capacity
        detached.bytes = 0
        detached.total = NULL
        detached.node_hook = NULL
        self.pool.bytes -= zset_footprint(zset)
        self.total -= zset_footprint(zset)
        with nogil:
            zset_free(&detached, zset)
        self.zset = zset_new(&self.pool, &self.rules)
        self.zset.capacity = capacity

    def check(self):
        """Every invariant. O(n log n). AssertionError."""
        zset_check(self.zset)
        require(self.pool.bytes == zset_footprint(self.zset) and self.total == self.pool.bytes,
                "the pool and the sorted set count differently")
