"""Streams; contract and layout are in stream.pxd."""

from libc.stdint cimport UINT64_MAX, INT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

from protocol.native cimport compare_bytes, likely, out_of_memory, unlikely
from shards.memory.allocation cimport (
    Pool, before_node, malloc_usable_size, pool_alloc, pool_free, pool_resize,
)
from shards.types.idtree cimport (
    SEEK_LESS_OR_EQUAL,
    Id,
    IdCursor,
    IdEntry,
    IdTree,
    id_compare,
    idcursor_entry,
    idcursor_next,
    idcursor_previous,
    idtree_check,
    idtree_clear,
    idtree_count,
    idtree_find,
    idtree_footprint,
    idtree_init,
    idtree_insert,
    idtree_remove,
    idtree_seek,
    idtree_seek_first,
    idtree_seek_last,
)
from shards.types.kinds cimport EntryEncoding, TypeHooks
from shards.types.limits cimport EncodingLimits
from shards.types.listpack cimport (
    LISTPACK_BYTES_MAX,
    Element,
    Listpack,
    element_before,
    element_text,
    listpack_append_many,
    listpack_copy,
    listpack_end,
    listpack_equals,
    listpack_first,
    listpack_footprint,
    listpack_free,
    listpack_get,
    listpack_last,
    listpack_new,
    listpack_replace_integer,
    listpack_shrink,
    listpack_skip,
    listpack_string_bytes,
    listpack_validate,
)

cdef enum:
    NODE_BYTES_START = 4096         # so large a node is made at once, if the last one was
    ELEMENT_BYTES_SPARE = 128       # of a node, for the integers around fields and values
    ITEMS_ON_STACK = 64
    BLOCK_NAMES_MIN = 2
    BLOCK_NAMES_MAX = 256
    BLOCK_NAMES_FEW = 64  # a block of less is put together with the next one, if that has room
    SMALL_INTEGER_MAX = 127         # of the one byte that a listpack has for it


cdef TypeHooks stream_hooks() noexcept:
    cdef TypeHooks hooks
    hooks.free = hook_free
    hooks.copy = hook_copy
    hooks.footprint = hook_footprint
    hooks.length = hook_length
    hooks.effort = hook_effort
    return hooks


cdef Id make_id(uint64_t ms, uint64_t sequence) noexcept nogil:
    cdef Id id
    id.ms = ms
    id.sequence = sequence
    return id


cdef inline int64_t integer_at(const uint8_t *p) noexcept nogil:
    """The integer of an element that is one."""
    cdef Element element
    if likely(p[0] <= SMALL_INTEGER_MAX):
        return p[0]
    element.number = 0  # the compiler can't see that it is always set
    listpack_get(p, &element)
    return element.number


cdef Listpack *set_integer(Pool *pool, Listpack *pack, uint8_t **p, int64_t number) noexcept nogil:
    before_node(pool, pack, pack)
    if likely(p[0][0] <= SMALL_INTEGER_MAX and 0 <= number <= SMALL_INTEGER_MAX):
        p[0][0] = <uint8_t>number
        return pack
    return listpack_replace_integer(pool, pack, p, number)


# The stream as a whole

cdef Stream *stream_new(Pool *pool) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef Stream *stream = <Stream *>pool_alloc(pool, sizeof(Stream))
    memset(stream, 0, sizeof(Stream))
    idtree_init(&stream.nodes)
    stream.bytes = pool.bytes - before
    return stream


cdef void release_node(void *context, Id id, void *value) noexcept nogil:
    listpack_free(<Pool *>context, <Listpack *>value)


cdef void release_pending(void *context, Id id, void *value) noexcept nogil:
    pool_free(<Pool *>context, value)


cdef void free_consumer(Pool *pool, Consumer *consumer) noexcept nogil:
    idtree_clear(pool, &consumer.pending, NULL, NULL)
    pool_free(pool, consumer)


cdef void free_group(Pool *pool, Group *group) noexcept nogil:
    cdef NamePlace place = NamePlace(0, 0)
    cdef Consumer *consumer = <Consumer *>names_next(&group.consumers, &place)
    while consumer != NULL:
        free_consumer(pool, consumer)
        consumer = <Consumer *>names_next(&group.consumers, &place)
    names_free(pool, &group.consumers)
    idtree_clear(pool, &group.pending, release_pending, pool)
    pool_free(pool, group)


cdef void hook_free(Pool *pool, EntryEncoding encoding, void *value) noexcept nogil:
    cdef Stream *stream = <Stream *>value
    cdef NamePlace place = NamePlace(0, 0)
    cdef Group *group = <Group *>names_next(&stream.groups, &place)
    while group != NULL:
        free_group(pool, group)
        group = <Group *>names_next(&stream.groups, &place)
    names_free(pool, &stream.groups)
    idtree_clear(pool, &stream.nodes, release_node, pool)
    pool_free(pool, stream)


cdef void *hook_copy(Pool *pool, EntryEncoding encoding, const void *value) noexcept nogil:
    cdef const Stream *source = <const Stream *>value
    cdef uint64_t before = pool.bytes
    cdef Stream *stream = stream_new(pool)
    cdef IdCursor cursor
    cdef IdEntry *entry
    cdef NamePlace place = NamePlace(0, 0)
    cdef const Group *group
    cdef bint more
    stream.length = source.length
    stream.first_id = source.first_id
    stream.last_id = source.last_id
    stream.max_deleted_id = source.max_deleted_id
    stream.entries_added = source.entries_added
    more = idtree_seek_first(&source.nodes, &cursor)
    while more:
        entry = idcursor_entry(&cursor)
        idtree_insert(pool, &stream.nodes, entry.id, listpack_copy(pool, <Listpack *>entry.value))
        more = idcursor_next(&cursor)
    group = <const Group *>names_next(&source.groups, &place)
    while group != NULL:
        copy_group(pool, stream, group)
        group = <const Group *>names_next(&source.groups, &place)
    stream.bytes = pool.bytes - before
    return stream


cdef void copy_group(Pool *pool, Stream *stream, const Group *source) noexcept nogil:
    cdef Group *group = stream_add_group(pool, stream, source.named.name, source.named.length,
                                         source.last_id, source.entries_read)
    cdef const Consumer *old
    cdef Consumer *consumer
    cdef Pending *pending
    cdef const Pending *other
    cdef IdCursor cursor
    cdef IdEntry *entry
    cdef NamePlace place = NamePlace(0, 0)
    cdef bint more
    old = <const Consumer *>names_next(&source.consumers, &place)
    while old != NULL:
        consumer = stream_add_consumer(pool, stream, group, old.named.name, old.named.length,
                                       old.seen_ms)
        consumer.active_ms = old.active_ms
        more = idtree_seek_first(&old.pending, &cursor)
        while more:
            entry = idcursor_entry(&cursor)
            other = <const Pending *>entry.value
            pending = stream_assign(pool, stream, group, entry.id, consumer)
            pending.delivered_ms = other.delivered_ms
            pending.deliveries = other.deliveries
            more = idcursor_next(&cursor)
        old = <const Consumer *>names_next(&source.consumers, &place)


cdef uint64_t hook_footprint(EntryEncoding encoding, const void *value) noexcept nogil:
    return (<const Stream *>value).bytes


cdef uint64_t hook_length(EntryEncoding encoding, const void *value) noexcept nogil:
    return (<const Stream *>value).length


cdef uint64_t hook_effort(EntryEncoding encoding, const void *value) noexcept nogil:
    cdef const Stream *stream = <const Stream *>value
    return 1 + idtree_count(&stream.nodes) + stream.pending + stream.groups.count


# Appending

cdef bint stream_fits(const Element *items, size_t count) noexcept nogil:
    cdef uint64_t bytes = ELEMENT_BYTES_SPARE
    cdef uint64_t given = 0
    cdef size_t i
    for i in range(count):
        given += items[i].length
        bytes += listpack_string_bytes(items[i].data, items[i].length)
    return given <= LISTPACK_BYTES_MAX and bytes <= LISTPACK_BYTES_MAX


cdef bint same_fields(const uint8_t *p, const Element *items, size_t pairs) noexcept nogil:
    """Whether the node's fields, from `p` on, are those of an entry with as many."""
    cdef size_t i
    for i in range(pairs):
        if not listpack_equals(p, items[2 * i].data, items[2 * i].length):
            return False
        p = listpack_skip(p)
    return True


cdef bint node_is_full(Listpack *pack, const EncodingLimits *limits, uint64_t more) noexcept nogil:
    """Whether an entry of so many bytes asks for a new node, by the two limits."""
    cdef uint64_t bytes_max = LISTPACK_BYTES_MAX
    cdef uint8_t *p
    if 0 < limits.stream_node_max_bytes < LISTPACK_BYTES_MAX:
        bytes_max = limits.stream_node_max_bytes
    if pack.bytes + more >= bytes_max:
        return True
    if limits.stream_node_max_entries <= 0:
        return False
    p = listpack_first(pack)
    return integer_at(p) + integer_at(listpack_skip(p)) >= limits.stream_node_max_entries


cdef inline void put_integer(Element *element, int64_t number) noexcept nogil:
    element.data = NULL
    element.length = 0
    element.number = number


cdef Listpack *new_node(Pool *pool, const EncodingLimits *limits, size_t bytes,
                        const Element *items, size_t pairs, Element *scratch) noexcept nogil:
    """A node with the fields of its first entry, and one live entry announced."""
    cdef size_t i
    if 0 < limits.stream_node_max_bytes < <int64_t>bytes:
        bytes = <size_t>limits.stream_node_max_bytes
    put_integer(&scratch[0], 1)
    put_integer(&scratch[1], 0)
    put_integer(&scratch[2], <int64_t>pairs)
    for i in range(pairs):
        scratch[3 + i] = items[2 * i]
    put_integer(&scratch[3 + pairs], 0)
    return listpack_append_many(pool, listpack_new(pool, bytes), scratch, pairs + 4)


cdef void stream_append(Pool *pool, Stream *stream, const EncodingLimits *limits, Id id,
                        const Element *items, size_t pairs) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef Element on_stack[ITEMS_ON_STACK]
    cdef Element *scratch = on_stack
    cdef Listpack *pack = NULL
    cdef IdCursor cursor
    cdef IdEntry *node
    cdef Id base
    cdef uint8_t *p
    cdef uint64_t given = 0
    cdef size_t i, n
    cdef size_t bytes = 0
    cdef bint same
    if 2 * pairs + 5 > ITEMS_ON_STACK:
        scratch = <Element *>malloc((2 * pairs + 5) * sizeof(Element))
        if scratch == NULL:
            out_of_memory((2 * pairs + 5) * sizeof(Element))
    for i in range(2 * pairs):
        given += items[i].length

    if idtree_seek_last(&stream.nodes, &cursor):
        node = idcursor_entry(&cursor)
        pack = <Listpack *>node.value
        base = node.id
        # The integers may take more than what Redis counts, of a listpack that is nearly 1 GiB.
        if (node_is_full(pack, limits, given)
                or pack.bytes + given + 12 * pairs + ELEMENT_BYTES_SPARE > LISTPACK_BYTES_MAX):
            node.value = listpack_shrink(pool, pack)
            bytes = NODE_BYTES_START
            pack = NULL

    if pack == NULL:
        base = id
        pack = new_node(pool, limits, bytes, items, pairs, scratch)
        idtree_insert(pool, &stream.nodes, id, pack)
        idtree_seek_last(&stream.nodes, &cursor)
        node = idcursor_entry(&cursor)
        same = True
    else:
        p = listpack_first(pack)
        pack = set_integer(pool, pack, &p, integer_at(p) + 1)
        p = listpack_skip(listpack_skip(p))
        same = <uint64_t>integer_at(p) == pairs and same_fields(listpack_skip(p), items, pairs)

    put_integer(&scratch[0], ENTRY_SAME_FIELDS if same else 0)
    put_integer(&scratch[1], <int64_t>(id.ms - base.ms))
    put_integer(&scratch[2], <int64_t>(id.sequence - base.sequence))
    n = 3
    if same:
        for i in range(pairs):
            scratch[n + i] = items[2 * i + 1]
        n += pairs
    else:
        put_integer(&scratch[n], <int64_t>pairs)
        memcpy(&scratch[n + 1], items, 2 * pairs * sizeof(Element))
        n += 1 + 2 * pairs
    put_integer(&scratch[n], <int64_t>n)
    node.value = listpack_append_many(pool, pack, scratch, n + 1)
    if scratch != on_stack:
        free(scratch)

    stream.length += 1
    stream.entries_added += 1
    stream.last_id = id
    if stream.length == 1:
        stream.first_id = id
    stream.bytes += pool.bytes - before


# Iterating

cdef void stream_seek(const Stream *stream, Id low, Id high, bint reverse,
                      StreamCursor *cursor) noexcept nogil:
    cdef bint found
    memset(cursor, 0, sizeof(StreamCursor))
    cursor.low = low
    cursor.high = high
    cursor.reverse = reverse
    found = idtree_seek(&stream.nodes, high if reverse else low, SEEK_LESS_OR_EQUAL, &cursor.node)
    if not found and not reverse:
        found = idtree_seek_first(&stream.nodes, &cursor.node)
    if not found:
        cursor.node.leaf = NULL


cdef void open_node(StreamCursor *cursor) noexcept nogil:
    cdef IdEntry *node = idcursor_entry(&cursor.node)
    cdef uint8_t *p
    cdef uint64_t i
    cursor.base = node.id
    cursor.pack = <Listpack *>node.value
    p = listpack_skip(listpack_skip(listpack_first(cursor.pack)))
    cursor.base_pairs = <uint64_t>integer_at(p)
    p = listpack_skip(p)
    cursor.base_fields = p
    if cursor.reverse:
        cursor.place = listpack_last(cursor.pack)
        return
    for i in range(cursor.base_pairs):
        p = listpack_skip(p)
    cursor.place = listpack_skip(p)                 # after the 0


cdef bint read_entry(StreamCursor *cursor) noexcept nogil:
    """Read the next entry of the node; False: the node is at its end."""
    cdef uint8_t *p = cursor.place
    cdef uint64_t i, count
    cdef int64_t elements
    if cursor.reverse:
        elements = integer_at(p)
        if elements == 0:                           # the 0 after the node's fields
            return False
        for i in range(<uint64_t>elements):
            p = element_before(p)
        cursor.place = element_before(p)
    elif p == listpack_end(cursor.pack):
        return False
    cursor.entry = p
    cursor.flags = integer_at(p)
    p = listpack_skip(p)
    cursor.id.ms = cursor.base.ms + <uint64_t>integer_at(p)
    p = listpack_skip(p)
    cursor.id.sequence = cursor.base.sequence + <uint64_t>integer_at(p)
    p = listpack_skip(p)
    if cursor.flags & ENTRY_SAME_FIELDS:
        cursor.pairs = cursor.base_pairs
        count = cursor.pairs
    else:
        cursor.pairs = <uint64_t>integer_at(p)
        count = 2 * cursor.pairs
        p = listpack_skip(p)
    cursor.content = p
    if not cursor.reverse:
        for i in range(count):
            p = listpack_skip(p)
        cursor.place = listpack_skip(p)
    return True


cdef bint stream_next(StreamCursor *cursor) noexcept nogil:
    while cursor.node.leaf != NULL:
        if cursor.pack == NULL:
            open_node(cursor)
        while read_entry(cursor):
            if cursor.flags & ENTRY_DELETED:
                continue
            if cursor.reverse:
                if id_compare(cursor.id, cursor.high) <= 0:
                    return id_compare(cursor.id, cursor.low) >= 0
            elif id_compare(cursor.id, cursor.low) >= 0:
                return id_compare(cursor.id, cursor.high) <= 0
        cursor.pack = NULL
        if cursor.reverse:
            idcursor_previous(&cursor.node)
        else:
            idcursor_next(&cursor.node)
    return False


cdef bint stream_has(const Stream *stream, Id id) noexcept nogil:
    cdef StreamCursor cursor
    stream_seek(stream, id, id, False, &cursor)
    return stream_next(&cursor)


cdef bint edge(const Stream *stream, bint last, Id *id) noexcept nogil:
    cdef StreamCursor cursor
    cdef Id lowest, highest
    memset(&lowest, 0, sizeof(Id))
    memset(&highest, 0xFF, sizeof(Id))
    stream_seek(stream, lowest, highest, last, &cursor)
    if not stream_next(&cursor):
        return False
    id[0] = cursor.id
    return True


cdef bint stream_top(const Stream *stream, Id *id) noexcept nogil:
    return edge(stream, True, id)


cdef bint stream_bottom(const Stream *stream, Id *id) noexcept nogil:
    return edge(stream, False, id)


cdef Id stream_edge(const Stream *stream) noexcept nogil:
    cdef IdCursor cursor
    cdef Id id
    if idtree_seek_first(&stream.nodes, &cursor):
        return idcursor_entry(&cursor).id
    id.ms = id.sequence = UINT64_MAX
    return id


# Deleting

cdef void find_first(Stream *stream) noexcept nogil:
    if stream.length == 0 or not stream_bottom(stream, &stream.first_id):
        stream.first_id = make_id(0, 0)


cdef void remove_node(Pool *pool, Stream *stream, Id id) noexcept nogil:
    cdef void *value
    if idtree_remove(pool, &stream.nodes, id, &value):
        before_node(pool, value, value)
        listpack_free(pool, <Listpack *>value)


cdef Listpack *count_deleted(Pool *pool, Listpack *pack, uint64_t count) noexcept nogil:
    """Move so many entries of a node from the live to the deleted ones."""
    cdef uint8_t *p = listpack_first(pack)
    pack = set_integer(pool, pack, &p, integer_at(p) - <int64_t>count)
    p = listpack_skip(p)
    return set_integer(pool, pack, &p, integer_at(p) + <int64_t>count)


cdef bint delete_one(Pool *pool, Stream *stream, Id id) noexcept nogil:
    cdef StreamCursor cursor
    cdef Listpack *pack
    stream_seek(stream, id, id, False, &cursor)
    if not stream_next(&cursor):
        return False
    pack = cursor.pack
    if integer_at(listpack_first(pack)) == 1:
        remove_node(pool, stream, cursor.base)
    else:
        pack = set_integer(pool, pack, &cursor.entry, cursor.flags | ENTRY_DELETED)
        idcursor_entry(&cursor.node).value = count_deleted(pool, pack, 1)
    stream.length -= 1
    return True


cdef uint64_t stream_delete(Pool *pool, Stream *stream, const Id *ids,
                            size_t count) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef uint64_t deleted = 0
    cdef bint first = False
    cdef size_t i
    for i in range(count):
        if not delete_one(pool, stream, ids[i]):
            continue
        deleted += 1
        if id_compare(ids[i], stream.first_id) == 0:
            first = True
        if id_compare(ids[i], stream.max_deleted_id) > 0:
            stream.max_deleted_id = ids[i]
    if first or stream.length == 0:
        find_first(stream)
    stream.bytes += pool.bytes - before
    return deleted


cdef Id last_of_node(IdEntry *node) noexcept nogil:
    """The id of a node's last entry, which may be deleted."""
    cdef Listpack *pack = <Listpack *>node.value
    cdef uint8_t *p = listpack_last(pack)
    cdef int64_t elements = integer_at(p)
    cdef int64_t i
    cdef Id id = node.id
    for i in range(elements):
        p = element_before(p)
    p = listpack_skip(p)
    id.ms += <uint64_t>integer_at(p)
    p = listpack_skip(p)
    id.sequence += <uint64_t>integer_at(p)
    return id


cdef uint64_t trim_within(Pool *pool, Stream *stream, IdCursor *node,
                          const Trim *trim) noexcept nogil:
    """Delete entries from the start of one node."""
    cdef StreamCursor cursor
    cdef uint64_t deleted = 0
    cdef ptrdiff_t offset
    memset(&cursor, 0, sizeof(cursor))
    cursor.node = node[0]
    open_node(&cursor)
    while read_entry(&cursor):
        if trim.kind == TRIM_LENGTH:
            if stream.length <= trim.length:
                break
        elif id_compare(cursor.id, trim.id) >= 0:
            break
        if not cursor.flags & ENTRY_DELETED:
            offset = cursor.place - <uint8_t *>cursor.pack
            cursor.pack = set_integer(pool, cursor.pack, &cursor.entry,
                                      cursor.flags | ENTRY_DELETED)
            cursor.place = <uint8_t *>cursor.pack + offset
            stream.length -= 1
            deleted += 1
    idcursor_entry(node).value = count_deleted(pool, cursor.pack, deleted)
    return deleted


cdef uint64_t stream_trim(Pool *pool, Stream *stream, const Trim *trim) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef uint64_t deleted = 0
    cdef uint64_t entries
    cdef IdCursor cursor
    cdef IdEntry *node
    cdef bint whole
    if trim.kind == TRIM_NONE:
        return 0
    while idtree_seek_first(&stream.nodes, &cursor):
        if trim.kind == TRIM_LENGTH and stream.length <= trim.length:
            break
        node = idcursor_entry(&cursor)
        entries = <uint64_t>integer_at(listpack_first(<Listpack *>node.value))
        if trim.limit and deleted + entries > trim.limit:
            break
        if trim.kind == TRIM_LENGTH:
            whole = stream.length - entries >= trim.length
        else:
            whole = id_compare(last_of_node(node), trim.id) < 0
        if whole:
            remove_node(pool, stream, node.id)
            stream.length -= entries
            deleted += entries
            continue
        if not trim.whole_nodes:
            deleted += trim_within(pool, stream, &cursor, trim)
        break
    if deleted or stream.length == 0:
        find_first(stream)
    stream.bytes += pool.bytes - before
    return deleted


# Names

cdef int compare_name(const Named *named, const char *name, size_t n) noexcept nogil:
    return compare_bytes(named.name, named.length, name, n)


cdef uint32_t place_in(const NameBlock *block, const char *name, size_t n) noexcept nogil:
    """The first place of a block whose name is not below."""
    cdef Named **items = block_names(block)
    cdef uint32_t low = 0, high = block.count, middle
    while low < high:
        middle = (low + high) >> 1
        if compare_name(items[middle], name, n) < 0:
            low = middle + 1
        else:
            high = middle
    return low


cdef bint name_place(const Names *names, const char *name, size_t n,
                     NamePlace *place) noexcept nogil:
    """Where a name is, or would be put: in a block that is there, if there is any."""
    cdef uint32_t low = 0, high = names.used, middle
    cdef const NameBlock *block
    # The last block that does not begin above the name.
    while high - low > 1:
        middle = (low + high) >> 1
        if compare_name(block_names(names.blocks[middle])[0], name, n) <= 0:
            low = middle
        else:
            high = middle
    place.block = low
    place.index = 0
    if names.used == 0:
        return False
    block = names.blocks[low]
    place.index = place_in(block, name, n)
    return (place.index < block.count
            and compare_name(block_names(block)[place.index], name, n) == 0)


cdef Named *names_find(const Names *names, const char *name, size_t n) noexcept nogil:
    cdef NamePlace place
    if not name_place(names, name, n, &place):
        return NULL
    return block_names(names.blocks[place.block])[place.index]


cdef NameBlock *new_block(Pool *pool, Names *names, uint32_t at, uint32_t size) noexcept nogil:
    """An empty block among the others; it must not stay empty."""
    cdef NameBlock *block = <NameBlock *>pool_alloc(
        pool, sizeof(NameBlock) + size * sizeof(Named *))
    block.count = 0
    block.size = size
    if names.used == names.size:
        names.size = names.size + names.size // 2 + 1
        if names.blocks == NULL:
            names.blocks = <NameBlock **>pool_alloc(pool, names.size * sizeof(NameBlock *))
        else:
            names.blocks = <NameBlock **>pool_resize(pool, names.blocks,
                                                     names.size * sizeof(NameBlock *))
    memmove(&names.blocks[at + 1], &names.blocks[at], (names.used - at) * sizeof(NameBlock *))
    names.blocks[at] = block
    names.used += 1
    return block


cdef void free_block(Pool *pool, Names *names, uint32_t at) noexcept nogil:
    pool_free(pool, names.blocks[at])
    names.used -= 1
    memmove(&names.blocks[at], &names.blocks[at + 1], (names.used - at) * sizeof(NameBlock *))


cdef NameBlock *resize_block(Pool *pool, Names *names, uint32_t at, uint32_t size) noexcept nogil:
    cdef NameBlock *block = <NameBlock *>pool_resize(
        pool, names.blocks[at], sizeof(NameBlock) + size * sizeof(Named *))
    block.size = size
    names.blocks[at] = block
    return block


cdef NameBlock *room_at(Pool *pool, Names *names, NamePlace *place) noexcept nogil:
    """The block for one more name at a place, which can move to another block."""
    cdef NameBlock *block
    cdef NameBlock *other
    if names.used == 0:
        return new_block(pool, names, 0, BLOCK_NAMES_MIN)
    block = names.blocks[place.block]
    if block.count < block.size:
        return block
    if block.size < BLOCK_NAMES_MAX:
        return resize_block(
            pool, names, place.block, min(block.size * 2, <uint32_t>BLOCK_NAMES_MAX))
    other = new_block(pool, names, place.block + 1, BLOCK_NAMES_MAX)
    if place.index < block.count or place.block + 2 < names.used:
        other.count = block.count // 2
        block.count -= other.count
        memcpy(block_names(other), block_names(block) + block.count,
               other.count * sizeof(Named *))
        if place.index <= block.count:
            return block
    # Otherwise nothing moves: names that come in their order leave full blocks behind.
    place.block += 1
    place.index -= block.count
    return other


cdef Named *names_add(Pool *pool, Names *names, const char *name, size_t n,
                      size_t size) noexcept nogil:
    """A zeroed item of `size` bytes under a new name; NULL if it is taken."""
    cdef NamePlace place
    cdef NameBlock *block
    cdef Named **items
    cdef Named *named
    if name_place(names, name, n, &place):
        return NULL
    block = room_at(pool, names, &place)
    named = <Named *>pool_alloc(pool, size + n)
    memset(named, 0, size)
    named.length = n
    named.name = <char *>named + size
    memcpy(named.name, name, n)
    items = block_names(block) + place.index
    memmove(items + 1, items, (block.count - place.index) * sizeof(Named *))
    items[0] = named
    block.count += 1
    names.count += 1
    return named


cdef void names_remove(Pool *pool, Names *names, const Named *named) noexcept nogil:
    """Take an item out; it is not freed."""
    cdef NamePlace place
    cdef NameBlock *block
    cdef NameBlock *other
    cdef Named **items
    name_place(names, named.name, named.length, &place)
    block = names.blocks[place.block]
    block.count -= 1
    names.count -= 1
    items = block_names(block) + place.index
    memmove(items, items + 1, (block.count - place.index) * sizeof(Named *))
    if block.count == 0:
        free_block(pool, names, place.block)
    elif block.count < BLOCK_NAMES_FEW and place.block + 1 < names.used:
        other = names.blocks[place.block + 1]
        if block.count + other.count <= BLOCK_NAMES_MAX // 2:
            if block.size < block.count + other.count:
                block = resize_block(pool, names, place.block, BLOCK_NAMES_MAX)
            memcpy(block_names(block) + block.count, block_names(other),
                   other.count * sizeof(Named *))
            block.count += other.count
            free_block(pool, names, place.block + 1)


cdef void names_free(Pool *pool, Names *names) noexcept nogil:
    """What the names lie in; the items are their owner's."""
    cdef uint32_t i
    for i in range(names.used):
        pool_free(pool, names.blocks[i])
    pool_free(pool, names.blocks)


# Groups and consumers

cdef Group *stream_add_group(Pool *pool, Stream *stream, const char *name, size_t n, Id last_id,
                             int64_t entries_read) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef Group *group = <Group *>names_add(pool, &stream.groups, name, n, sizeof(Group))
    if group == NULL:
        return NULL
    group.last_id = last_id
    group.entries_read = entries_read
    idtree_init(&group.pending)
    stream.bytes += pool.bytes - before
    return group


cdef void stream_remove_group(Pool *pool, Stream *stream, Group *group) noexcept nogil:
    cdef uint64_t before = pool.bytes
    names_remove(pool, &stream.groups, &group.named)
    stream.pending -= idtree_count(&group.pending)
    free_group(pool, group)
    stream.bytes += pool.bytes - before


cdef Consumer *stream_add_consumer(Pool *pool, Stream *stream, Group *group, const char *name,
                                   size_t n, int64_t now_ms) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef Consumer *consumer = <Consumer *>names_add(pool, &group.consumers, name, n,
                                                    sizeof(Consumer))
    if consumer == NULL:
        return NULL
    consumer.seen_ms = now_ms
    consumer.active_ms = -1
    idtree_init(&consumer.pending)
    stream.bytes += pool.bytes - before
    return consumer


cdef void stream_remove_consumer(Pool *pool, Stream *stream, Group *group,
                                 Consumer *consumer) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef IdCursor cursor
    cdef void *pending
    cdef bint more = idtree_seek_first(&consumer.pending, &cursor)
    while more:
        idtree_remove(pool, &group.pending, idcursor_entry(&cursor).id, &pending)
        pool_free(pool, pending)
        stream.pending -= 1
        more = idcursor_next(&cursor)
    names_remove(pool, &group.consumers, &consumer.named)
    free_consumer(pool, consumer)
    stream.bytes += pool.bytes - before


# Pending entries

cdef Pending *pending_find(const Group *group, Id id) noexcept nogil:
    cdef IdEntry *entry = idtree_find(&group.pending, id)
    return <Pending *>entry.value if entry != NULL else NULL


cdef Pending *stream_assign(Pool *pool, Stream *stream, Group *group, Id id,
                            Consumer *consumer) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef Pending *pending = pending_find(group, id)
    cdef void *value
    if pending == NULL:
        pending = <Pending *>pool_alloc(pool, sizeof(Pending))
        memset(pending, 0, sizeof(Pending))
        idtree_insert(pool, &group.pending, id, pending)
        stream.pending += 1
    elif pending.consumer == consumer:
        return pending
    else:
        idtree_remove(pool, &pending.consumer.pending, id, &value)
    idtree_insert(pool, &consumer.pending, id, pending)
    pending.consumer = consumer
    stream.bytes += pool.bytes - before
    return pending


cdef bint stream_acknowledge(Pool *pool, Stream *stream, Group *group, Id id) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef void *value
    cdef void *same
    if not idtree_remove(pool, &group.pending, id, &value):
        return False
    idtree_remove(pool, &(<Pending *>value).consumer.pending, id, &same)
    pool_free(pool, value)
    stream.pending -= 1
    stream.bytes += pool.bytes - before
    return True


# How far groups have read

cdef bint deleted_from(const Stream *stream, Id id) noexcept nogil:
    """Whether entries may have been deleted from an id on, among those that are there."""
    if stream.length == 0 or (stream.max_deleted_id.ms | stream.max_deleted_id.sequence) == 0:
        return False
    if id_compare(stream.first_id, stream.max_deleted_id) > 0:
        return False
    return id_compare(id, stream.max_deleted_id) <= 0


cdef int64_t stream_read_up_to(const Stream *stream, Id id) noexcept nogil:
    cdef int order
    if stream.entries_added == 0:
        return 0
    order = id_compare(id, stream.last_id)
    if order == 0 or (stream.length == 0 and order < 0):
        return <int64_t>stream.entries_added
    if order > 0:
        return READ_UNKNOWN
    # After a deletion in the middle there is no telling.
    if ((stream.max_deleted_id.ms | stream.max_deleted_id.sequence) == 0
            or id_compare(stream.max_deleted_id, stream.first_id) < 0):
        order = id_compare(id, stream.first_id)
        if order < 0:
            return <int64_t>(stream.entries_added - stream.length)
        if order == 0:
            return <int64_t>(stream.entries_added - stream.length + 1)
    return READ_UNKNOWN


cdef void group_advance(const Stream *stream, Group *group, Id id) noexcept nogil:
    if id_compare(id, group.last_id) <= 0:
        return
    if group.entries_read != READ_UNKNOWN and not deleted_from(stream, id):
        group.entries_read = <int64_t>(<uint64_t>group.entries_read + 1)
    elif stream.entries_added:
        group.entries_read = stream_read_up_to(stream, id)
    group.last_id = id


cdef bint group_lag(const Stream *stream, const Group *group, int64_t *lag) noexcept nogil:
    cdef int64_t known = group.entries_read
    if stream.entries_added == 0:
        lag[0] = 0
        return True
    if known == READ_UNKNOWN or deleted_from(stream, group.last_id):
        known = stream_read_up_to(stream, group.last_id)
        if known == READ_UNKNOWN:
            return False
    lag[0] = <int64_t>(stream.entries_added - <uint64_t>known)
    return True


# Checking

cdef int require(bint holds, str what) except -1:
    if not holds:
        raise AssertionError(what)
    return 0


cdef int check_names(const Names *names) except -1:
    cdef NamePlace place = NamePlace(0, 0)
    cdef const Named *before = NULL
    cdef const Named *named
    cdef uint32_t i, count = 0
    require(names.used <= names.size, "more blocks of names than there is room for")
    for i in range(names.used):
        require(names.blocks[i].count > 0, "a block of names is empty")
        require(names.blocks[i].count <= names.blocks[i].size, "a block of names is too full")
        count += names.blocks[i].count
    require(count == names.count, "names are counted wrongly")
    named = names_next(names, &place)
    while named != NULL:
        require(before == NULL or compare_name(before, named.name, named.length) < 0,
                "names are not sorted")
        before = named
        named = names_next(names, &place)
    return 0


cdef int check_node(IdEntry *node, Id *last, uint64_t *live) except -1:
    """One node: its counts, and ids that are above `last`."""
    cdef StreamCursor cursor
    cdef int64_t counts[2]
    cdef uint64_t elements
    cdef uint8_t *p
    cdef bint first = True
    cdef Listpack *pack = <Listpack *>node.value
    require(listpack_validate(<uint8_t *>pack, pack.bytes, True, &elements), "a broken listpack")
    memset(&cursor, 0, sizeof(cursor))
    memset(counts, 0, sizeof(counts))
    cursor.node.leaf = NULL
    cursor.base = node.id
    cursor.pack = pack
    p = listpack_skip(listpack_skip(listpack_first(pack)))
    cursor.base_pairs = <uint64_t>integer_at(p)
    for elements in range(cursor.base_pairs + 1):
        p = listpack_skip(p)
    require(integer_at(p) == 0, "there is no 0 behind the fields of a node")
    cursor.place = listpack_skip(p)
    while read_entry(&cursor):
        if first:
            require(id_compare(cursor.id, node.id) == 0, "a node is not under its first id")
        else:
            require(id_compare(cursor.id, last[0]) > 0, "ids do not rise")
        first = False
        last[0] = cursor.id
        counts[1 if cursor.flags & ENTRY_DELETED else 0] += 1
    p = listpack_first(pack)
    require(integer_at(p) == counts[0], "a node counts its live entries wrongly")
    require(integer_at(listpack_skip(p)) == counts[1], "a node counts its tombstones wrongly")
    live[0] += <uint64_t>counts[0]
    return 0


cdef uint64_t names_bytes(const Names *names) noexcept nogil:
    cdef uint64_t bytes = malloc_usable_size(names.blocks) if names.blocks != NULL else 0
    cdef uint32_t i
    for i in range(names.used):
        bytes += malloc_usable_size(names.blocks[i])
    return bytes


cdef int stream_check(const Stream *stream) except -1:
    cdef IdCursor cursor
    cdef IdEntry *entry
    cdef Id last = make_id(0, 0)
    cdef Id id = make_id(0, 0)
    cdef uint64_t live = 0
    cdef uint64_t bytes = malloc_usable_size(stream) + idtree_footprint(&stream.nodes)
    cdef uint64_t pending = 0
    cdef uint64_t of_consumers
    cdef const Group *group
    cdef const Consumer *consumer
    cdef NamePlace group_place = NamePlace(0, 0)
    cdef NamePlace place
    cdef bint more
    idtree_check(&stream.nodes)
    more = idtree_seek_first(&stream.nodes, &cursor)
    while more:
        entry = idcursor_entry(&cursor)
        require(id_compare(entry.id, last) > 0, "nodes overlap")
        check_node(entry, &last, &live)
        bytes += listpack_footprint(<Listpack *>entry.value)
        more = idcursor_next(&cursor)
    require(live == stream.length, "the length is wrong")
    require(live == 0 or id_compare(last, stream.last_id) <= 0, "an entry is above last_id")
    stream_bottom(stream, &id)
    require(id_compare(id, stream.first_id) == 0, "first_id is wrong")
    check_names(&stream.groups)
    bytes += names_bytes(&stream.groups)
    group = <const Group *>names_next(&stream.groups, &group_place)
    while group != NULL:
        idtree_check(&group.pending)
        check_names(&group.consumers)
        bytes += (malloc_usable_size(group) + names_bytes(&group.consumers)
                  + idtree_footprint(&group.pending))
        of_consumers = 0
        place = NamePlace(0, 0)
        consumer = <const Consumer *>names_next(&group.consumers, &place)
        while consumer != NULL:
            idtree_check(&consumer.pending)
            bytes += malloc_usable_size(consumer) + idtree_footprint(&consumer.pending)
            of_consumers += idtree_count(&consumer.pending)
            more = idtree_seek_first(&consumer.pending, &cursor)
            while more:
                entry = idcursor_entry(&cursor)
                require(pending_find(group, entry.id) == entry.value,
                        "a consumer's pending entry is not its group's")
                require((<Pending *>entry.value).consumer == consumer,
                        "a pending entry has another consumer")
                bytes += malloc_usable_size(entry.value)
                more = idcursor_next(&cursor)
            consumer = <const Consumer *>names_next(&group.consumers, &place)
        require(of_consumers == idtree_count(&group.pending), "an entry is pending for nobody")
        pending += of_consumers
        group = <const Group *>names_next(&stream.groups, &group_place)
    require(pending == stream.pending, "the pending entries are counted wrongly")
    require(bytes == stream.bytes, "the bytes are counted wrongly")
    return 0
