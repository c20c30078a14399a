"""A stream: entries in the order of their ids, in listpacks, and the groups that consume them.

    Stream -> nodes: IdTree of listpacks, each under the id of its first entry
           -> groups: Names of Group -> pending: IdTree of Pending
                                     -> consumers: Names of Consumer -> pending: IdTree of the same

    node     live  deleted  number of fields  field ...  0  entry ...
    entry    flags  ms - first.ms  sequence - first.sequence  [number]  [field] value ...  elements

Nodes are byte for byte those of Redis. A deleted entry is a tombstone: it keeps its bytes, with a
flag, until its node has no live entry. `number` and the fields are left out of an entry that has
the fields of its node (ENTRY_SAME_FIELDS); `elements` counts all before it, to be read backwards.

Contract
1. A Stream never moves, and is never freed for being empty. Nodes move with each change.
2. last_id is at least the id of every entry; stream_append is given a higher one.
3. `bytes` is what it has charged to its pool, exactly; each function that changes keeps it.
4. A Pending is in the tree of its group and in that of its consumer, under the same id. Its
   consumer is never NULL between two calls.
5. A cursor dies with every change of nodes.
6. Names are sorted as bytes, which is the order in which Redis lists groups and consumers. They lie
   in blocks of bounded size: to find one is O(log n), and so is to add or remove one, but for 8
   bytes of each block after it where a block comes or goes. A NamePlace dies with any change of the
   names.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from shards.memory.allocation cimport Pool
from shards.types.idtree cimport Id, IdCursor, IdTree
from shards.types.kinds cimport TypeHooks
from shards.types.limits cimport EncodingLimits
from shards.types.listpack cimport Element, Listpack


cdef enum EntryFlag:
    ENTRY_DELETED = 1
    ENTRY_SAME_FIELDS = 2

cdef enum:
    READ_UNKNOWN = -1           # entries_read: not known

cdef struct Named:              # what an item of Names begins with
    size_t length
    char *name                  # in the same allocation

cdef struct NameBlock:          # never empty; `size` addresses follow
    uint32_t count
    uint32_t size

cdef struct Names:
    NameBlock **blocks          # owned, and what is in them; NULL: none yet
    uint32_t used               # blocks
    uint32_t size               # of `blocks`
    uint32_t count              # names

cdef struct NamePlace:          # of one of Names; zero: the first
    uint32_t block
    uint32_t index

cdef struct Consumer:
    Named named
    int64_t seen_ms             # when it last asked for something
    int64_t active_ms           # when it last got something; -1: never
    IdTree pending              # borrowed Pendings

cdef struct Pending:            # delivered and not acknowledged
    int64_t delivered_ms        # the last time
    uint64_t deliveries
    Consumer *consumer          # borrowed

cdef struct Group:
    Named named
    Id last_id                  # the last one delivered
    int64_t entries_read        # entries ever added up to last_id, or READ_UNKNOWN
    IdTree pending              # owned Pendings
    Names consumers

cdef struct Stream:
    IdTree nodes                # owned listpacks
    uint64_t length             # live entries
    Id first_id                 # of the first live entry; 0-0: there is none
    Id last_id                  # the highest id ever given
    Id max_deleted_id           # of those that were deleted one by one
    uint64_t entries_added      # ever
    uint64_t bytes              # charged, this struct included
    uint64_t pending            # of all groups
    Names groups

cdef enum TrimKind:
    TRIM_NONE = 0
    TRIM_LENGTH = 1
    TRIM_ID = 2

cdef struct Trim:
    TrimKind kind
    bint whole_nodes            # "~": only what goes as a whole node
    uint64_t limit              # entries that may go, in nodes visited; 0: no limit
    uint64_t length             # TRIM_LENGTH: what stays
    Id id                       # TRIM_ID: ids below go

cdef struct StreamCursor:
    IdCursor node
    Listpack *pack              # NULL: before the first node
    Id base                     # the node's first id
    uint64_t base_pairs
    uint8_t *base_fields
    uint8_t *place              # forward: the end of the last entry; backward: its `elements`
    Id low                      # both included
    Id high
    bint reverse
    # The entry:
    Id id
    int64_t flags
    uint64_t pairs              # of field and value
    uint8_t *entry              # its flags
    uint8_t *content            # its first field, or value if it has its node's fields

cdef TypeHooks stream_hooks() noexcept

cdef Stream *stream_new(Pool *pool) noexcept nogil

# Entries. O(log nodes) and the size of a node.
# Whether an entry of these fields and values, alternating, can be stored.
cdef bint stream_fits(const Element *items, size_t count) noexcept nogil
cdef void stream_append(Pool *pool, Stream *stream, const EncodingLimits *limits, Id id,
                        const Element *items, size_t pairs) noexcept nogil
# How many of them were there. An id that is there twice counts once.
cdef uint64_t stream_delete(Pool *pool, Stream *stream, const Id *ids, size_t count) noexcept nogil
# How many entries went. O(entries that went)
cdef uint64_t stream_trim(Pool *pool, Stream *stream, const Trim *trim) noexcept nogil
cdef bint stream_has(const Stream *stream, Id id) noexcept nogil
# The last live id; False: there is none.
cdef bint stream_top(const Stream *stream, Id *id) noexcept nogil
# The first id that is not below any live entry's; as stream_top.
cdef bint stream_bottom(const Stream *stream, Id *id) noexcept nogil
# The id that its first node began with, which may have been deleted; 2^64-1-... without a node.
cdef Id stream_edge(const Stream *stream) noexcept nogil
# Before the first of the live entries low..high, or after the last one in reverse.
cdef void stream_seek(const Stream *stream, Id low, Id high, bint reverse,
                      StreamCursor *cursor) noexcept nogil
# To the next entry; False: that was the last one.
cdef bint stream_next(StreamCursor *cursor) noexcept nogil

# Groups and consumers. NULL: there is none, or a new one's name is taken.
cdef Named *names_find(const Names *names, const char *name, size_t n) noexcept nogil
cdef Group *stream_add_group(Pool *pool, Stream *stream, const char *name, size_t n, Id last_id,
                             int64_t entries_read) noexcept nogil
cdef void stream_remove_group(Pool *pool, Stream *stream, Group *group) noexcept nogil
cdef Consumer *stream_add_consumer(Pool *pool, Stream *stream, Group *group, const char *name,
                                   size_t n, int64_t now_ms) noexcept nogil
# With what is pending for it. O(pending)
cdef void stream_remove_consumer(Pool *pool, Stream *stream, Group *group,
                                 Consumer *consumer) noexcept nogil

# Pending entries. O(log n)
cdef Pending *pending_find(const Group *group, Id id) noexcept nogil
# Give an entry to a consumer, whoever had it; a new one has no deliveries yet.
cdef Pending *stream_assign(Pool *pool, Stream *stream, Group *group, Id id,
                            Consumer *consumer) noexcept nogil
# False: it was not pending.
cdef bint stream_acknowledge(Pool *pool, Stream *stream, Group *group, Id id) noexcept nogil

# How many entries were ever added up to an id, or READ_UNKNOWN. O(1)
cdef int64_t stream_read_up_to(const Stream *stream, Id id) noexcept nogil
# An entry is delivered: last_id and entries_read go forward. O(1)
cdef void group_advance(const Stream *stream, Group *group, Id id) noexcept nogil
# How many entries a group has still to read; False: not known. O(1)
cdef bint group_lag(const Stream *stream, const Group *group, int64_t *lag) noexcept nogil

# Every invariant. O(n). AssertionError.
cdef int stream_check(const Stream *stream) except -1


cdef inline Named **block_names(const NameBlock *block) noexcept nogil:
    return <Named **><void *>(block + 1)


cdef inline Named *names_next(const Names *names, NamePlace *place) noexcept nogil:
    """The item at a place, which goes on to the next one; NULL after the last."""
    cdef const NameBlock *block
    cdef Named *named
    if place.block == names.used:
        return NULL
    block = names.blocks[place.block]
    named = block_names(block)[place.index]
    place.index += 1
    if place.index == block.count:
        place.block += 1
        place.index = 0
    return named


cdef inline Group *stream_group(const Stream *stream, const char *name, size_t n) noexcept nogil:
    return <Group *>names_find(&stream.groups, name, n)


cdef inline Consumer *group_consumer(const Group *group, const char *name, size_t n) noexcept nogil:
    return <Consumer *>names_find(&group.consumers, name, n)


cdef inline bint id_increment(Id *id) noexcept nogil:
    """To the next id. False: it was the highest, and is 0-0 now."""
    id.sequence += 1
    if id.sequence == 0:
        id.ms += 1
        return id.ms != 0
    return True


cdef inline bint id_decrement(Id *id) noexcept nogil:
    """To the id before. False: it was 0-0, and is the highest now."""
    id.sequence -= 1
    if id.sequence == <uint64_t>-1:
        id.ms -= 1
        return id.ms != <uint64_t>-1
    return True
