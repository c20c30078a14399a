"""The skip list of big sorted sets; contract and layout are in skiplist.pxd.

A search goes down from the highest level. Since it will go down from a node as often as right, the
link of the level below is prefetched while that of this level is compared. A rank is found from
the node itself: up and right to the end of the list, adding spans, which compares nothing.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int8_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from protocol.native cimport DEBUG, fatal, likely, prefetch, store32, unlikely
from shards.memory cimport (
    Pool,
    malloc_usable_size,
    pool_alloc,
    pool_free,
    pool_zeroed,
)
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

cdef struct Path:               # where a search came down: behind `nodes` comes what was sought
    Node *nodes[LEVELS_MAX]
    uint32_t positions[LEVELS_MAX]      # of those nodes; the head is at 0


cdef const char *member_of(const void *node, size_t *n) noexcept nogil:
    return node_member(<const Node *>node, n)


cdef void zset_rules_default(DictRules *rules, const uint64_t *seed) noexcept nogil:
    dict_rules_default(rules, seed)
    rules.node_member = member_of


# Links

cdef inline Node *next_at(const Node *node, uint32_t level) noexcept nogil:
    return node_links(node)[level - 1].next if level else node.next


cdef inline uint32_t span_at(const Node *node, uint32_t level) noexcept nogil:
    if level:
        return node_links(node)[level - 1].span
    return node.next != NULL


cdef inline void set_link(Node *node, uint32_t level, Node *next, uint32_t span) noexcept nogil:
    if level:
        node_links(node)[level - 1].next = next
        node_links(node)[level - 1].span = span
    else:
        node.next = next


cdef inline int compare(const char *a, size_t a_length, const char *b,
                        size_t b_length) noexcept nogil:
    cdef int order = memcmp(a, b, a_length if a_length < b_length else b_length)
    if order:
        return order
    return (a_length > b_length) - (a_length < b_length)


cdef inline bint node_before(const Node *node, double score, const char *member,
                             size_t n) noexcept nogil:
    cdef const char *data
    cdef size_t length
    if node.score != score:
        return node.score < score
    data = node_member(node, &length)
    return compare(data, length, member, n) < 0


# Searches

cdef inline void find_path(const Zset *zset, double score, const char *member, size_t n,
                           Path *path) noexcept nogil:
    """To the last node before this score and member."""
    cdef Node *node = zset.head
    cdef Node *ahead
    cdef uint32_t position = 0
    cdef uint32_t level = zset.levels
    while level:
        level -= 1
        while True:
            ahead = next_at(node, level)
            if level:
                prefetch(next_at(node, level - 1))
            if ahead == NULL or not node_before(ahead, score, member, n):
                break
            position += span_at(node, level)
            node = ahead
        path.nodes[level] = node
        path.positions[level] = position


cdef inline void find_path_of_rank(const Zset *zset, uint64_t rank, Path *path) noexcept nogil:
    """To the node before this rank."""
    cdef Node *node = zset.head
    cdef uint64_t position = 0
    cdef uint32_t level = zset.levels
    while level:
        level -= 1
        while next_at(node, level) != NULL and position + span_at(node, level) <= rank:
            position += span_at(node, level)
            node = next_at(node, level)
        path.nodes[level] = node
        path.positions[level] = <uint32_t>position


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
    order = compare(data, n, range.min_member, range.min_length)
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
    order = compare(data, n, range.max_member, range.max_length)
    return order > 0 or (order == 0 and range.max_exclusive)


cdef inline void find_path_of_range(const Zset *zset, const ZsetRange *range, bint end,
                                    Path *path) noexcept nogil:
    """To the last node below the range or, for its end, to the last that is not above it."""
    cdef Node *node = zset.head
    cdef Node *ahead
    cdef uint32_t position = 0
    cdef uint32_t level = zset.levels
    while level:
        level -= 1
        while True:
            ahead = next_at(node, level)
            if level:
                prefetch(next_at(node, level - 1))
            if ahead == NULL:
                break
            if zset_is_above(range, ahead) if end else not zset_is_below(range, ahead):
                break
            position += span_at(node, level)
            node = ahead
        path.nodes[level] = node
        path.positions[level] = position


cdef Node *zset_find(const Zset *zset, uint64_t hash, const char *member,
                     size_t n) noexcept nogil:
    return <Node *>dict_find_node(zset.members, hash, member, n)


cdef uint64_t zset_rank(const Zset *zset, const Node *node) noexcept nogil:
    cdef uint64_t behind = 0
    cdef uint32_t level
    while node != NULL:
        level = node_levels(node) - 1
        behind += span_at(node, level)
        node = next_at(node, level)
    return zset_count(zset) - 1 - behind


cdef Node *zset_at(const Zset *zset, uint64_t rank) noexcept nogil:
    cdef Path path
    if rank >= zset_count(zset):
        return NULL
    find_path_of_rank(zset, rank, &path)
    return path.nodes[0].next


cdef Node *zset_range_first(const Zset *zset, const ZsetRange *range) noexcept nogil:
    cdef Path path
    cdef Node *node
    find_path_of_range(zset, range, False, &path)
    node = path.nodes[0].next
    return NULL if node == NULL or zset_is_above(range, node) else node


cdef Node *zset_range_last(const Zset *zset, const ZsetRange *range) noexcept nogil:
    cdef Path path
    cdef Node *node
    find_path_of_range(zset, range, True, &path)
    node = path.nodes[0]
    return NULL if node == zset.head or zset_is_below(range, node) else node


cdef uint64_t zset_count_below(const Zset *zset, const ZsetRange *range) noexcept nogil:
    cdef Path path
    find_path_of_range(zset, range, False, &path)
    return path.positions[0]


cdef uint64_t zset_count_range(const Zset *zset, const ZsetRange *range) noexcept nogil:
    cdef Path path
    cdef uint32_t below
    find_path_of_range(zset, range, False, &path)
    below = path.positions[0]
    find_path_of_range(zset, range, True, &path)
    return path.positions[0] - below if path.positions[0] > below else 0


# Changes

cdef inline void require_number(double score) noexcept nogil:
    if DEBUG and score != score:
        fatal("a score is not a number")


cdef uint32_t draw_levels(Zset *zset) noexcept nogil:
    """Each level above the first with probability 1/4."""
    cdef uint32_t levels = 1
    cdef uint64_t bits
    zset.random = (zset.random * <uint64_t>6364136223846793005
                   + <uint64_t>1442695040888963407)
    bits = zset.random ^ zset.random >> 32      # the low bits of such a state hardly change
    bits *= <uint64_t>0x9E3779B97F4A7C15
    bits ^= bits >> 29
    while bits & 3 == 0 and levels < LEVELS_MAX:
        levels += 1
        bits >>= 2
    return levels


cdef Node *node_new(Pool *pool, uint32_t levels, double score, const char *member,
                    size_t n) noexcept nogil:
    cdef bint is_long = n >> META_LENGTH_BITS != 0
    cdef Node *node = <Node *>pool_alloc(
        pool, sizeof(Node) + (levels - 1) * sizeof(Link) + is_long * 4 + n)
    cdef char *data
    node.score = score
    node.meta = levels | <uint32_t>is_long * META_LONG | <uint32_t>n << META_LENGTH_SHIFT
    data = <char *>(node_links(node) + (levels - 1))
    if unlikely(is_long):
        store32(data, <uint32_t>(n >> META_LENGTH_BITS))
        data += 4
    memcpy(data, member, n)
    return node


cdef void link_node(Zset *zset, Node *node, uint64_t linked, Path *path) noexcept nogil:
    """Put a node behind the path, into a list of `linked` nodes."""
    cdef uint32_t levels = node_levels(node)
    cdef uint32_t level, before
    cdef Node *left
    while zset.levels < levels:
        path.nodes[zset.levels] = zset.head
        path.positions[zset.levels] = 0
        set_link(zset.head, zset.levels, NULL, <uint32_t>linked)
        zset.levels += 1
    for level in range(levels):
        left = path.nodes[level]
        before = path.positions[0] - path.positions[level]
        set_link(node, level, next_at(left, level), span_at(left, level) - before)
        set_link(left, level, node, before + 1)
    for level in range(levels, zset.levels):
        node_links(path.nodes[level])[level - 1].span += 1
    node.previous = path.nodes[0] if path.nodes[0] != zset.head else NULL
    if node.next != NULL:
        node.next.previous = node
    else:
        zset.last = node


cdef void unlink_node(Zset *zset, Node *node, Path *path) noexcept nogil:
    """Take out the node that comes behind the path."""
    cdef uint32_t levels = node_levels(node)
    cdef uint32_t level
    cdef Node *left
    if DEBUG and path.nodes[0].next != node:
        fatal("a path does not lead to its node")
    for level in range(levels):
        left = path.nodes[level]
        set_link(left, level, next_at(node, level),
                 span_at(left, level) + span_at(node, level) - 1)
    for level in range(levels, zset.levels):
        node_links(path.nodes[level])[level - 1].span -= 1
    if node.next != NULL:
        node.next.previous = node.previous
    else:
        zset.last = node.previous
    while zset.levels > 1 and next_at(zset.head, zset.levels - 1) == NULL:
        zset.levels -= 1


cdef Zset *zset_new(Pool *pool, const DictRules *rules, uint64_t random) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef Zset *zset = <Zset *>pool_zeroed(pool, sizeof(Zset))
    zset.head = <Node *>pool_zeroed(pool, sizeof(Node) + (LEVELS_MAX - 1) * sizeof(Link))
    zset.head.meta = LEVELS_MAX
    zset.levels = 1
    zset.random = random
    zset.bytes = pool.bytes - before
    zset.members = dict_new(pool, rules, DICT_NODES)
    return zset


cdef void zset_free(Pool *pool, Zset *zset) noexcept nogil:
    cdef Node *node = zset.head.next
    cdef Node *next
    while node != NULL:
        next = node.next
        pool_free(pool, node)
        node = next
    dict_free(pool, zset.members)
    pool_free(pool, zset.head)
    pool_free(pool, zset)


cdef Zset *zset_copy(Pool *pool, const Zset *zset) noexcept nogil:
    cdef Zset *copy = zset_new(pool, zset.members.rules, zset.random)
    cdef uint64_t before, hash
    cdef Path path
    cdef Node *node = zset.head.next
    cdef Node *twin
    cdef const char *member
    cdef size_t n
    cdef uint32_t level, position = 0
    path.nodes[0] = copy.head
    path.positions[0] = 0
    while node != NULL:
        member = node_member(node, &n)
        hash = dict_hash(zset.members, member, n)
        before = pool.bytes
        twin = node_new(pool, node_levels(node), node.score, member, n)
        copy.bytes += pool.bytes - before
        link_node(copy, twin, position, &path)
        position += 1
        for level in range(node_levels(node)):
            path.nodes[level] = twin
            path.positions[level] = position
        dict_insert_node(pool, copy.members, hash, twin)
        node = zset_next(node)
    return copy


cdef Node *zset_insert(Pool *pool, Zset *zset, uint64_t hash, double score, const char *member,
                       size_t n) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef Path path
    cdef Node *node
    require_number(score)
    if unlikely(zset_count(zset) == <uint32_t>-1):
        fatal("a sorted set has too many members")
    find_path(zset, score, member, n, &path)
    node = node_new(pool, draw_levels(zset), score, member, n)
    zset.bytes += pool.bytes - before
    link_node(zset, node, zset_count(zset), &path)
    dict_insert_node(pool, zset.members, hash, node)
    return node


cdef void zset_update(Zset *zset, Node *node, double score) noexcept nogil:
    cdef Path path
    cdef const char *member
    cdef size_t n
    require_number(score)
    if score == node.score:
        node.score = score          # 0 and -0 are equal
        return
    # Strictly between the neighbours' scores it stays where it is, whatever the members are.
    if ((node.previous == NULL or node.previous.score < score)
            and (node.next == NULL or node.next.score > score)):
        node.score = score
        return
    member = node_member(node, &n)
    find_path(zset, node.score, member, n, &path)
    unlink_node(zset, node, &path)
    node.score = score
    find_path(zset, score, member, n, &path)
    link_node(zset, node, zset_count(zset) - 1, &path)


cdef void forget_node(Pool *pool, Zset *zset, Node *node) noexcept nogil:
    """Free an unlinked node."""
    cdef size_t n
    cdef const char *member = node_member(node, &n)
    cdef uint64_t before
    dict_remove_node(pool, zset.members, dict_hash(zset.members, member, n), node)
    before = pool.bytes
    pool_free(pool, node)
    zset.bytes += pool.bytes - before


cdef void zset_remove(Pool *pool, Zset *zset, Node *node) noexcept nogil:
    cdef Path path
    cdef size_t n
    cdef const char *member = node_member(node, &n)
    find_path(zset, node.score, member, n, &path)
    unlink_node(zset, node, &path)
    forget_node(pool, zset, node)


cdef uint64_t zset_remove_range(Pool *pool, Zset *zset, const ZsetRange *range) noexcept nogil:
    cdef Path path
    cdef Node *node
    cdef Node *next
    cdef uint64_t removed = 0
    find_path_of_range(zset, range, False, &path)
    node = path.nodes[0].next
    while node != NULL and not zset_is_above(range, node):
        next = zset_next(node)
        unlink_node(zset, node, &path)
        forget_node(pool, zset, node)
        removed += 1
        node = next
    return removed


cdef uint64_t zset_remove_ranks(Pool *pool, Zset *zset, uint64_t first,
                                uint64_t last) noexcept nogil:
    cdef Path path
    cdef Node *node
    cdef Node *next
    cdef uint64_t removed = 0
    if first >= zset_count(zset) or first > last:
        return 0
    find_path_of_rank(zset, first, &path)
    node = path.nodes[0].next
    while node != NULL and first + removed <= last:
        next = zset_next(node)
        unlink_node(zset, node, &path)
        forget_node(pool, zset, node)
        removed += 1
        node = next
    return removed


# Checks and tests

cdef int require(bint holds, str what) except -1:
    if not holds:
        raise AssertionError(what)
    return 0


cdef int check_level(const Zset *zset, uint32_t level) except -1:
    """The links of one level: their order is level 0's, and their spans are true."""
    cdef const Node *node = zset.head
    cdef const Node *walker = zset.head
    cdef uint64_t steps
    while node != NULL:
        steps = 0
        while walker != next_at(node, level) and walker.next != NULL:
            walker = walker.next
            steps += 1
        require(next_at(node, level) == NULL or walker == next_at(node, level),
                "a link leads out of the order")
        require(steps == span_at(node, level), "a span is wrong")
        node = next_at(node, level)
        require(node == NULL or node_levels(node) > level, "a node is in too many levels")
    return 0


cdef int zset_check(const Zset *zset) except -1:
    cdef uint64_t bytes = malloc_usable_size(zset) + malloc_usable_size(zset.head)
    cdef uint64_t count = 0
    cdef Node *node = zset.head.next
    cdef Node *previous = NULL
    cdef const char *member
    cdef size_t n
    cdef uint32_t level
    dict_check(zset.members)
    while node != NULL:
        member = node_member(node, &n)
        bytes += malloc_usable_size(node)
        require(member + n <= <char *>node + malloc_usable_size(node),
                "a node exceeds its allocation")
        require(1 <= node_levels(node) <= zset.levels, "a node has too many levels")
        require(node.score == node.score, "a score is not a number")
        require(node.previous == previous, "a link back is wrong")
        require(previous == NULL or node_before(previous, node.score, member, n),
                "the order is wrong")
        require(zset_find(zset, dict_hash(zset.members, member, n), member, n) == node,
                "a node is not among the members")
        require(zset_rank(zset, node) == count, "a rank is wrong")
        count += 1
        previous = node
        node = node.next
    require(zset.last == previous, "the last node is another one")
    require(count == zset_count(zset), "there are more members than nodes")
    for level in range(zset.levels):
        check_level(zset, level)
    require(zset.levels == 1 or next_at(zset.head, zset.levels - 1) != NULL,
            "the highest level is empty")
    require(bytes == zset.bytes, "the nodes' bytes are counted wrongly")
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

    def __cinit__(self, *, uint32_t grow_at=0, uint32_t shrink_at=0, uint64_t random=1,
                  seed=(1, 2)):
        cdef uint64_t[2] words = [seed[0], seed[1]]
        self.pool.total = &self.total
        zset_rules_default(&self.rules, words)
        if grow_at:
            self.rules.grow_at = grow_at
            self.rules.shrink_at = shrink_at
        self.zset = zset_new(&self.pool, &self.rules, random)

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
    def levels(self):
        return self.zset.levels

    def set(self, bytes member not None, double score):
        """Insert or give another score; True if it was not there."""
        cdef uint64_t hash = dict_hash(self.zset.members, member, len(member))
        cdef Node *node = zset_find(self.zset, hash, member, len(member))
        if node != NULL:
            zset_update(self.zset, node, score)
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
        cdef Node *node
        if start < zset_count(self.zset) and reverse:
            start = zset_count(self.zset) - 1 - start
        node = zset_at(self.zset, start)
        while node != NULL and left:
            found.append(pair(node))
            node = zset_previous(node) if reverse else zset_next(node)
            left -= 1
        return found

    def range(self, first, last, *, bint reverse=False):
        """What lies between two ends, see parse_range."""
        cdef ZsetRange range
        cdef list found = []
        cdef Node *node
        parse_range(first, last, &range)
        node = zset_range_last(self.zset, &range) if reverse else zset_range_first(
            self.zset, &range)
        while node != NULL and not (
                zset_is_below(&range, node) if reverse else zset_is_above(&range, node)):
            found.append(pair(node))
            node = zset_previous(node) if reverse else zset_next(node)
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
        cdef Node *node = self.zset.last if last else zset_first(self.zset)
        if node == NULL:
            return None
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
            random=self.zset.random, seed=(self.rules.seed[0], self.rules.seed[1]))
        zset_free(&copy.pool, copy.zset)
        copy.zset = zset_copy(&copy.pool, self.zset)
        copy.zset.members.rules = &copy.rules
        return copy

    def free_detached(self):
        """Free as a helper thread does, cut off from the pool; the set is new and empty then."""
        cdef Pool detached
        cdef Zset *zset = self.zset
        detached.bytes = 0
        detached.total = NULL
        self.pool.bytes -= zset_footprint(zset)
        self.total -= zset_footprint(zset)
        with nogil:
            zset_free(&detached, zset)
        self.zset = zset_new(&self.pool, &self.rules, 1)

    def check(self):
        """Every invariant. O(n log n). AssertionError."""
        zset_check(self.zset)
        require(self.pool.bytes == zset_footprint(self.zset) and self.total == self.pool.bytes,
                "the pool and the sorted set count differently")
