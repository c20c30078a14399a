"""The two encodings of a sorted set; the contract is in zset.pxd."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from protocol.native cimport compare_bytes, likely
from protocol.numbers cimport format_double, parse_double
from shards.memory.allocation cimport Pool
from shards.types.dict cimport DictItem, dict_hash, dict_random
from shards.types.kinds cimport (
    ENCODING_LISTPACK,
    ENCODING_SKIPLIST,
    EntryEncoding,
    TypeHooks,
)
from shards.types.listpack cimport (
    Element,
    Listpack,
    element_text,
    listpack_append,
    listpack_append_integer,
    listpack_copy,
    listpack_delete,
    listpack_find,
    listpack_first,
    listpack_fits,
    listpack_footprint,
    listpack_free,
    listpack_get,
    listpack_insert,
    listpack_insert_integer,
    listpack_length,
    listpack_new,
    listpack_next,
    listpack_previous,
    listpack_seek,
    listpack_skip,
    listpack_text,
)
from shards.types.scoretree cimport (
    BY_SCORE,
    Node,
    Zset,
    ZsetRange,
    node_member,
    zcursor_next,
    zcursor_node,
    zcursor_previous,
    zset_copy,
    zset_count,
    zset_count_range,
    zset_find,
    zset_footprint,
    zset_free,
    zset_insert,
    zset_is_above,
    zset_is_below,
    zset_new,
    zset_rank,
    zset_remove,
    zset_remove_range,
    zset_remove_ranks,
    zset_seek_range,
    zset_seek_rank,
    zset_update,
)

cdef enum:
    SCORE_TEXT_BYTES = 128          # what format_double may write
    PAIR_BYTES_MAX = 64             # a score, and what a listpack needs besides the member's bytes
    EFFORT_BYTES = 16384            # of one block: freeing so much costs about as an allocation

cdef double WHOLE_MAX = 4611686018427387904.0   # to here either way, whole scores are integers


# What the keyspace knows

cdef void free_zset(Pool *pool, EntryEncoding encoding, void *value) noexcept nogil:
    if encoding == ENCODING_LISTPACK:
        listpack_free(pool, <Listpack *>value)
    else:
        zset_free(pool, <Zset *>value)


cdef void *copy_zset(Pool *pool, EntryEncoding encoding, const void *value) noexcept nogil:
    if encoding == ENCODING_LISTPACK:
        return listpack_copy(pool, <const Listpack *>value)
    return zset_copy(pool, <const Zset *>value)


cdef uint64_t zset_footprint_of(EntryEncoding encoding, const void *value) noexcept nogil:
    if encoding == ENCODING_LISTPACK:
        return listpack_footprint(<const Listpack *>value)
    return zset_footprint(<const Zset *>value)


cdef uint64_t zset_length(EntryEncoding encoding, const void *value) noexcept nogil:
    if encoding == ENCODING_LISTPACK:
        return listpack_length(<Listpack *>value) // 2
    return zset_count(<const Zset *>value)


cdef uint64_t zset_effort(EntryEncoding encoding, const void *value) noexcept nogil:
    if encoding == ENCODING_LISTPACK:
        return 1 + (<const Listpack *>value).bytes // EFFORT_BYTES
    return zset_count(<const Zset *>value)


cdef TypeHooks zset_hooks() noexcept:
    cdef TypeHooks hooks
    hooks.free = free_zset
    hooks.copy = copy_zset
    hooks.footprint = zset_footprint_of
    hooks.length = zset_length
    hooks.effort = zset_effort
    return hooks


cdef uint64_t sorted_length(const SortedSet *set) noexcept nogil:
    return zset_length(set.encoding, set.value)


# Listpacks

cdef inline double packed_score(const uint8_t *p) noexcept nogil:
    """The score after a member, given where it is itself."""
    cdef Element element
    cdef double score = 0
    listpack_get(p, &element)
    if likely(element.data == NULL):
        return <double>element.number
    parse_double(element.data, element.length, &score)
    return score


cdef inline double score_behind(const uint8_t *p) noexcept nogil:
    return packed_score(listpack_skip(p))


cdef inline bint is_whole(double score, int64_t *number) noexcept nogil:
    if not -WHOLE_MAX <= score <= WHOLE_MAX:
        return False
    number[0] = <int64_t>score
    return <double>number[0] == score


cdef Listpack *append_pair(Pool *pool, Listpack *pack, double score, const char *member,
                           size_t n) noexcept nogil:
    cdef char text[SCORE_TEXT_BYTES]
    cdef int64_t number
    pack = listpack_append(pool, pack, member, n)
    if is_whole(score, &number):
        return listpack_append_integer(pool, pack, number)
    return listpack_append(pool, pack, text, <size_t>format_double(text, score))


cdef Listpack *insert_pair(Pool *pool, Listpack *pack, double score, const char *member,
                           size_t n) noexcept nogil:
    """Put a member that is not there into its place."""
    cdef char text[SCORE_TEXT_BYTES]
    cdef char scratch[24]
    cdef const char *other
    cdef size_t length
    cdef int64_t number
    cdef double other_score
    cdef uint8_t *p = listpack_first(pack)
    cdef uint8_t *behind
    while p != NULL:
        behind = listpack_skip(p)
        other_score = packed_score(behind)
        if other_score > score:
            break
        if other_score == score:
            other = listpack_text(p, scratch, &length)
            if compare_bytes(other, length, member, n) > 0:
                break
        p = listpack_next(behind)
    if p == NULL:
        return append_pair(pool, pack, score, member, n)
    pack = listpack_insert(pool, pack, &p, False, member, n)
    if is_whole(score, &number):
        return listpack_insert_integer(pool, pack, &p, True, number)
    return listpack_insert(pool, pack, &p, True, text, <size_t>format_double(text, score))


cdef inline uint8_t *find_packed(Listpack *pack, const char *member, size_t n) noexcept nogil:
    cdef uint8_t *first = listpack_first(pack)
    if first == NULL:
        return NULL
    return listpack_find(pack, first, member, n, 1)


cdef void unpack(SortedSet *set) noexcept nogil:
    """Make a tree of the listpack."""
    cdef Zset *zset = zset_new(set.pool, set.rules)
    cdef Listpack *pack = <Listpack *>set.value
    cdef uint8_t *p = listpack_first(pack)
    cdef uint8_t *behind
    cdef char scratch[24]
    cdef const char *member
    cdef size_t n
    while p != NULL:
        behind = listpack_skip(p)
        member = listpack_text(p, scratch, &n)
        zset_insert(set.pool, zset, dict_hash(zset.members, member, n), packed_score(behind),
                    member, n)
        p = listpack_next(behind)
    listpack_free(set.pool, pack)
    set.value = zset
    set.encoding = ENCODING_SKIPLIST


cdef inline bint packed_is_below(const ZsetRange *range, const uint8_t *p) noexcept nogil:
    cdef char scratch[24]
    cdef const char *member
    cdef size_t n
    cdef double score
    cdef int order
    if range.by == BY_SCORE:
        score = score_behind(p)
        return score <= range.min_score if range.min_exclusive else score < range.min_score
    if range.min_infinite:
        return range.min_infinite > 0
    member = listpack_text(p, scratch, &n)
    order = compare_bytes(member, n, range.min_member, range.min_length)
    return order < 0 or (order == 0 and range.min_exclusive)


cdef inline bint packed_is_above(const ZsetRange *range, const uint8_t *p) noexcept nogil:
    cdef char scratch[24]
    cdef const char *member
    cdef size_t n
    cdef double score
    cdef int order
    if range.by == BY_SCORE:
        score = score_behind(p)
        return score >= range.max_score if range.max_exclusive else score > range.max_score
    if range.max_infinite:
        return range.max_infinite < 0
    member = listpack_text(p, scratch, &n)
    order = compare_bytes(member, n, range.max_member, range.max_length)
    return order > 0 or (order == 0 and range.max_exclusive)


cdef uint8_t *packed_range_end(Listpack *pack, const ZsetRange *range,
                               bint backwards) noexcept nogil:
    """The first member in a range, or the last; NULL: there is none.

    Redis looks at both ends of the listpack first, which shows where members are not ordered.
    """
    cdef uint8_t *first = listpack_first(pack)
    cdef uint8_t *last
    cdef uint8_t *p
    if first == NULL:
        return NULL
    last = listpack_seek(pack, -2)
    if packed_is_below(range, last) or packed_is_above(range, first):
        return NULL
    if backwards:
        p = last
        while packed_is_above(range, p):
            p = listpack_previous(pack, p)
            if p == NULL:
                return NULL
            p = listpack_previous(pack, p)
        return NULL if packed_is_below(range, p) else p
    p = first
    while p != NULL and packed_is_below(range, p):
        p = listpack_next(listpack_skip(p))
    return NULL if p == NULL or packed_is_above(range, p) else p


cdef uint64_t packed_run(const ZsetRange *range, uint8_t *p) noexcept nogil:
    """How many members from `p` on are not above the range."""
    cdef uint64_t count = 0
    while p != NULL and not packed_is_above(range, p):
        count += 1
        p = listpack_next(listpack_skip(p))
    return count


cdef inline bint range_is_empty(const ZsetRange *range) noexcept nogil:
    """Whether nothing at all can lie in it."""
    cdef int order
    if range.by == BY_SCORE:
        return range.min_score > range.max_score or (
            range.min_score == range.max_score and (range.min_exclusive or range.max_exclusive))
    if range.min_infinite or range.max_infinite:
        return range.min_infinite > 0 or range.max_infinite < 0
    order = compare_bytes(range.min_member, range.min_length, range.max_member, range.max_length)
    return order > 0 or (order == 0 and (range.min_exclusive or range.max_exclusive))


# Changes

cdef void sorted_new(SortedSet *set, uint64_t count,
                     size_t longest) noexcept nogil:
    if <int64_t>count <= set.entries_max and <int64_t>longest <= set.value_max:
        set.encoding = ENCODING_LISTPACK
        set.value = listpack_new(set.pool, 0)
    else:
        set.encoding = ENCODING_SKIPLIST
        set.value = zset_new(set.pool, set.rules)


cdef void sorted_expect(SortedSet *set, uint64_t count) noexcept nogil:
    if set.encoding == ENCODING_LISTPACK and <int64_t>count > set.entries_max:
        unpack(set)


cdef inline Added revised(int flags, double current, double *score) noexcept nogil:
    """What becomes of a member that is there: UPDATED means that it gets this score."""
    if flags & ADD_NX:
        return ADD_REFUSED
    if flags & ADD_INCREMENT:
        score[0] += current
        if score[0] != score[0]:
            return ADD_NAN
    if (flags & ADD_LT and score[0] >= current) or (flags & ADD_GT and score[0] <= current):
        return ADD_REFUSED
    return ADD_SAME if score[0] == current else ADD_UPDATED


cdef inline bint takes(const SortedSet *set, size_t n) noexcept nogil:
    """Whether the listpack may get one more member of n bytes."""
    return (<int64_t>sorted_length(set) < set.entries_max and <int64_t>n <= set.value_max
            and listpack_fits(<Listpack *>set.value, n + PAIR_BYTES_MAX))


cdef Added sorted_add(SortedSet *set, int flags, double score, const char *member,
                      size_t n, double *result) noexcept nogil:
    cdef Listpack *pack
    cdef Zset *zset
    cdef Node *node
    cdef uint8_t *p
    cdef uint64_t hash
    cdef Added outcome
    if set.encoding == ENCODING_LISTPACK:
        pack = <Listpack *>set.value
        p = find_packed(pack, member, n)
        if p != NULL:
            outcome = revised(flags, score_behind(p), &score)
            if outcome == ADD_UPDATED:
                pack = listpack_delete(set.pool, pack, &p, 2)
                set.value = insert_pair(set.pool, pack, score, member, n)
            result[0] = score
            return outcome
        if flags & ADD_XX:
            return ADD_REFUSED
        result[0] = score
        if takes(set, n):
            set.value = insert_pair(set.pool, pack, score, member, n)
            return ADD_INSERTED
        unpack(set)
    zset = <Zset *>set.value
    hash = dict_hash(zset.members, member, n)
    node = zset_find(zset, hash, member, n)
    if node != NULL:
        outcome = revised(flags, node.score, &score)
        if outcome == ADD_UPDATED:
            zset_update(set.pool, zset, node, score)
        result[0] = score
        return outcome
    if flags & ADD_XX:
        return ADD_REFUSED
    result[0] = score
    zset_insert(set.pool, zset, hash, score, member, n)
    return ADD_INSERTED


cdef void sorted_append(SortedSet *set, double score, const char *member,
                        size_t n) noexcept nogil:
    cdef Zset *zset
    if set.encoding == ENCODING_LISTPACK:
        if takes(set, n):
            set.value = append_pair(set.pool, <Listpack *>set.value, score, member, n)
            return
        unpack(set)
    zset = <Zset *>set.value
    zset_insert(set.pool, zset, dict_hash(zset.members, member, n), score, member, n)


cdef bint sorted_remove(SortedSet *set, const char *member, size_t n) noexcept nogil:
    cdef Zset *zset
    cdef Node *node
    cdef uint8_t *p
    if set.encoding == ENCODING_LISTPACK:
        p = find_packed(<Listpack *>set.value, member, n)
        if p == NULL:
            return False
        set.value = listpack_delete(set.pool, <Listpack *>set.value, &p, 2)
        return True
    zset = <Zset *>set.value
    node = zset_find(zset, dict_hash(zset.members, member, n), member, n)
    if node == NULL:
        return False
    zset_remove(set.pool, zset, node)
    return True


cdef void sorted_remove_at(SortedSet *set, const SortedCursor *cursor) noexcept nogil:
    cdef uint8_t *p
    if set.encoding == ENCODING_LISTPACK:
        p = cursor.p
        set.value = listpack_delete(set.pool, <Listpack *>set.value, &p, 2)
    else:
        zset_remove(set.pool, <Zset *>set.value, cursor.node)


cdef uint64_t sorted_remove_range(SortedSet *set, const ZsetRange *range) noexcept nogil:
    cdef uint8_t *p
    cdef uint64_t count
    if range_is_empty(range):
        return 0
    if set.encoding != ENCODING_LISTPACK:
        return zset_remove_range(set.pool, <Zset *>set.value, range)
    p = packed_range_end(<Listpack *>set.value, range, False)
    if p == NULL:
        return 0
    count = packed_run(range, p)
    set.value = listpack_delete(set.pool, <Listpack *>set.value, &p, count * 2)
    return count


cdef uint64_t sorted_remove_ranks(SortedSet *set, uint64_t first, uint64_t last) noexcept nogil:
    cdef uint8_t *p
    cdef uint64_t length = sorted_length(set)
    if first >= length or first > last:
        return 0
    if last >= length:
        last = length - 1
    if set.encoding != ENCODING_LISTPACK:
        return zset_remove_ranks(set.pool, <Zset *>set.value, first, last)
    p = listpack_seek(<Listpack *>set.value, <int64_t>first * 2)
    set.value = listpack_delete(set.pool, <Listpack *>set.value, &p, (last - first + 1) * 2)
    return last - first + 1


# Looking

cdef bint sorted_find(const SortedSet *set, const char *member, size_t n, double *score,
                      uint64_t *rank) noexcept nogil:
    cdef Zset *zset
    cdef Node *node
    cdef uint8_t *p
    cdef uint8_t *before
    if set.encoding == ENCODING_LISTPACK:
        p = find_packed(<Listpack *>set.value, member, n)
        if p == NULL:
            return False
        score[0] = score_behind(p)
        if rank != NULL:
            rank[0] = 0
            before = listpack_first(<Listpack *>set.value)
            while before != p:
                before = listpack_skip(listpack_skip(before))
                rank[0] += 1
        return True
    zset = <Zset *>set.value
    node = zset_find(zset, dict_hash(zset.members, member, n), member, n)
    if node == NULL:
        return False
    score[0] = node.score
    if rank != NULL:
        rank[0] = zset_rank(zset, node)
    return True


cdef inline bint at_node(SortedCursor *cursor, bint found) noexcept nogil:
    """After a change of `cursor.at`."""
    cursor.pack = NULL
    cursor.node = zcursor_node(&cursor.at) if found else NULL
    return found


cdef inline bint at_packed(SortedCursor *cursor, void *pack, uint8_t *p) noexcept nogil:
    cursor.pack = <Listpack *>pack
    cursor.p = p
    return p != NULL


cdef bint sorted_seek_rank(const SortedSet *set, uint64_t rank,
                           SortedCursor *cursor) noexcept nogil:
    if set.encoding == ENCODING_LISTPACK:
        return at_packed(cursor, set.value,
                         listpack_seek(<Listpack *>set.value, <int64_t>rank * 2))
    return at_node(cursor, zset_seek_rank(<Zset *>set.value, rank, &cursor.at))


cdef bint sorted_seek_range(const SortedSet *set, const ZsetRange *range, bint backwards,
                            uint64_t offset, SortedCursor *cursor) noexcept nogil:
    cdef Zset *zset
    cdef uint64_t rank
    cdef bint found
    if range_is_empty(range) or offset >= sorted_length(set):
        return False
    if set.encoding == ENCODING_LISTPACK:
        if not at_packed(cursor, set.value,
                         packed_range_end(<Listpack *>set.value, range, backwards)):
            return False
        while offset:
            if not sorted_step(cursor, backwards):
                return False
            offset -= 1
        return True
    zset = <Zset *>set.value
    found = zset_seek_range(zset, range, backwards, &cursor.at)
    if found and offset:
        rank = zset_rank(zset, zcursor_node(&cursor.at))
        found = not backwards or rank >= offset
        if found:
            rank = rank - offset if backwards else rank + offset
            found = zset_seek_rank(zset, rank, &cursor.at)
    return at_node(cursor, found)


cdef bint sorted_step(SortedCursor *cursor, bint backwards) noexcept nogil:
    if cursor.pack == NULL:
        return at_node(cursor, zcursor_previous(&cursor.at) if backwards
                       else zcursor_next(&cursor.at))
    if backwards:
        cursor.p = listpack_previous(cursor.pack, cursor.p)
        if cursor.p != NULL:
            cursor.p = listpack_previous(cursor.pack, cursor.p)
    else:
        cursor.p = listpack_next(listpack_skip(cursor.p))
    return cursor.p != NULL


cdef bint sorted_goes_on(const ZsetRange *range, const SortedCursor *cursor,
                         bint backwards) noexcept nogil:
    if cursor.pack == NULL:
        return not (zset_is_below(range, cursor.node) if backwards
                    else zset_is_above(range, cursor.node))
    return not (packed_is_below(range, cursor.p) if backwards
                else packed_is_above(range, cursor.p))


cdef void sorted_item(const SortedCursor *cursor, SortedItem *item) noexcept nogil:
    cdef Element element
    if cursor.pack == NULL:
        item.member = node_member(cursor.node, &item.length)
        item.score = cursor.node.score
        return
    listpack_get(cursor.p, &element)
    item.member = element_text(&element, item.scratch, &item.length)
    item.score = score_behind(cursor.p)


cdef uint64_t sorted_count_range(const SortedSet *set, const ZsetRange *range) noexcept nogil:
    cdef uint8_t *p
    if range_is_empty(range):
        return 0
    if set.encoding != ENCODING_LISTPACK:
        return zset_count_range(<Zset *>set.value, range)
    p = packed_range_end(<Listpack *>set.value, range, False)
    return packed_run(range, p)


cdef void sorted_random(const SortedSet *set, uint64_t random, SortedCursor *cursor) noexcept nogil:
    cdef DictItem item
    if set.encoding == ENCODING_LISTPACK:
        sorted_seek_rank(set, (random >> 16) % sorted_length(set), cursor)
        return
    dict_random((<Zset *>set.value).members, random, &item)
    cursor.pack = NULL
    cursor.node = <Node *>item.node
    cursor.at.leaf = NULL
