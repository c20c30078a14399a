"""Streams as Python handlers see them; see stream.pyi. Ids are pairs of integers here.

A view keeps the key and nothing native: each method finds the stream again, by a hash that is
computed already.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, UINT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

from protocol.buffer cimport Buffer, buffer_reserve
from protocol.native cimport out_of_memory
from protocol.numbers cimport format_int64
from protocol.reply cimport Reply, reply_bulk, reply_header, reply_null_array
from shards.keyspace.keyspace cimport (
    ENCODING_STREAM,
    EXPIRE_NONE,
    TYPE_STREAM,
    Entry,
    Keyspace,
    entry_pointer,
    entry_type,
    store_changing,
    store_pool,
    store_set_value,
)
from shards.memory.allocation cimport Pool
from shards.types.idtree cimport (
    SEEK_GREATER_OR_EQUAL,
    Id,
    IdCursor,
    IdEntry,
    IdTree,
    IdNode,
    id_compare,
    idcursor_entry,
    idcursor_next,
    idnode_entries,
    idtree_count,
    idtree_seek,
    idtree_seek_first,
    idtree_seek_last,
)
from shards.types.listpack cimport Element, listpack_skip, listpack_text
from shards.types.stream cimport (
    ENTRY_SAME_FIELDS,
    READ_UNKNOWN,
    TRIM_ID,
    TRIM_LENGTH,
    Consumer,
    Group,
    NamePlace,
    Pending,
    Stream,
    StreamCursor,
    Trim,
    group_advance,
    group_consumer,
    group_lag,
    id_increment,
    names_next,
    pending_find,
    stream_acknowledge,
    stream_add_consumer,
    stream_add_group,
    stream_append,
    stream_assign,
    stream_check,
    stream_delete,
    stream_fits,
    stream_group,
    stream_has,
    stream_new,
    stream_next,
    stream_remove_consumer,
    stream_remove_group,
    stream_seek,
    stream_edge,
    stream_top,
    stream_trim,
)


StreamId = tuple[int, int]
LOWEST = (0, 0)
HIGHEST = (UINT64_MAX, UINT64_MAX)


# Replies

cdef int format_number(char *out, uint64_t value) noexcept nogil:
    cdef int n
    if value <= <uint64_t>INT64_MAX:
        return format_int64(out, <int64_t>value)
    n = format_int64(out, <int64_t>(value // 10))
    out[n] = <char>(c"0" + value % 10)
    return n + 1


cdef int format_id(char *out, Id id) noexcept nogil:
    cdef int n = format_number(out, id.ms)
    out[n] = c"-"
    return n + 1 + format_number(out + n + 1, id.sequence)


cdef void reply_id(Buffer *out, Id id) noexcept nogil:
    cdef char text[48]
    cdef int n = format_id(text, id)
    reply_bulk(out, text, <size_t>n)


cdef void reply_entry(Buffer *out, const StreamCursor *cursor) noexcept nogil:
    cdef char scratch[24]
    cdef const char *data
    cdef uint8_t *field = cursor.base_fields
    cdef uint8_t *content = cursor.content
    cdef bint same = cursor.flags & ENTRY_SAME_FIELDS
    cdef uint64_t i
    cdef size_t n
    reply_header(out, c"*", 2)
    reply_id(out, cursor.id)
    reply_header(out, c"*", <int64_t>(2 * cursor.pairs))
    for i in range(cursor.pairs):
        if not same:
            field = content
            content = listpack_skip(content)
        data = listpack_text(field, scratch, &n)
        reply_bulk(out, data, n)
        if same:
            field = listpack_skip(field)
        data = listpack_text(content, scratch, &n)
        reply_bulk(out, data, n)
        content = listpack_skip(content)


cdef void insert_header(Buffer *out, size_t start, int64_t count) noexcept nogil:
    """Put the header of an array before its elements, which begin at `start`. O(bytes)."""
    cdef char line[32]
    cdef int n
    line[0] = c"*"
    n = 1 + format_int64(line + 1, count)
    line[n] = c"\r"
    line[n + 1] = c"\n"
    n += 2
    buffer_reserve(out, <size_t>n)
    memmove(out.data + start + n, out.data + start, out.used - start)
    memcpy(out.data + start, line, <size_t>n)
    out.used += <size_t>n


cdef uint64_t reply_entries(Buffer *out, const Stream *stream, Id low, Id high, uint64_t count,
                            bint reverse) noexcept nogil:
    cdef StreamCursor cursor
    cdef size_t start = out.used
    cdef uint64_t sent = 0
    stream_seek(stream, low, high, reverse, &cursor)
    while (count == 0 or sent < count) and stream_next(&cursor):
        reply_entry(out, &cursor)
        sent += 1
    insert_header(out, start, <int64_t>sent)
    return sent


# What a group's consumer reads

cdef uint64_t deliver_new(Buffer *out, Pool *pool, Stream *stream, Group *group, Consumer *reader,
                          uint64_t count, bint acknowledged, int64_t now_ms) noexcept nogil:
    cdef StreamCursor cursor
    cdef Pending *pending
    cdef size_t start = out.used
    cdef uint64_t sent = 0
    cdef Id low = group.last_id
    cdef Id high
    high.ms = high.sequence = UINT64_MAX
    id_increment(&low)
    stream_seek(stream, low, high, False, &cursor)
    while (count == 0 or sent < count) and stream_next(&cursor):
        group_advance(stream, group, cursor.id)
        reply_entry(out, &cursor)
        if not acknowledged:
            pending = stream_assign(pool, stream, group, cursor.id, reader)
            pending.delivered_ms = now_ms
            pending.deliveries = 1
            reader.active_ms = now_ms
        sent += 1
    insert_header(out, start, <int64_t>sent)
    return sent


cdef void deliver_again(Buffer *out, int resp, const Stream *stream, const Consumer *reader,
                        Id low, uint64_t count, int64_t now_ms) noexcept nogil:
    cdef StreamCursor entry
    cdef IdCursor cursor
    cdef Pending *pending
    cdef Id id
    cdef size_t start = out.used
    cdef uint64_t sent = 0
    cdef bint more = idtree_seek(&reader.pending, low, SEEK_GREATER_OR_EQUAL, &cursor)
    while more and (count == 0 or sent < count):
        id = idcursor_entry(&cursor).id
        pending = <Pending *>idcursor_entry(&cursor).value
        stream_seek(stream, id, id, False, &entry)
        if stream_next(&entry):
            reply_entry(out, &entry)
            pending.delivered_ms = now_ms
            pending.deliveries += 1
        else:
            reply_header(out, c"*", 2)
            reply_id(out, id)
            reply_null_array(out, resp)
        sent += 1
        more = idcursor_next(&cursor)
    insert_header(out, start, <int64_t>sent)


cdef Id native_id(id) except *:
    cdef Id native
    native.ms = id[0]
    native.sequence = id[1]
    return native


cdef inline tuple pair(Id id):
    return (id.ms, id.sequence)


cdef inline bytes name_of(const Consumer *consumer):
    return PyBytes_FromStringAndSize(consumer.named.name, <Py_ssize_t>consumer.named.length)


cdef uint64_t tree_nodes(const IdNode *node, int height) noexcept nogil:
    cdef uint64_t count = 1
    cdef uint32_t i
    if height == 0:
        return 1
    for i in range(node.count):
        count += tree_nodes(<const IdNode *>idnode_entries(node)[i].value, height - 1)
    return count


cdef Element *elements_of(list items) except NULL:
    """Byte strings as elements, to be freed; they live as long as the list."""
    cdef Py_ssize_t i, n = len(items)
    cdef Element *elements = <Element *>malloc((n + 1) * sizeof(Element))
    cdef bytes item
    if elements == NULL:
        out_of_memory((n + 1) * sizeof(Element))
    for i in range(n):
        item = items[i]
        elements[i].data = PyBytes_AS_STRING(item)
        elements[i].length = PyBytes_GET_SIZE(item)
        elements[i].number = 0
    return elements


def fits(list items not None):
    """Whether an entry of these fields and values, alternating, is not too large to be stored."""
    cdef Element *elements = elements_of(items)
    cdef bint result = stream_fits(elements, len(items))
    free(elements)
    return result


def node_entries_max(ctx):
    """stream-node-max-entries as it is now; 0: no limit."""
    cdef Keyspace keyspace = ctx.keyspace
    return keyspace.store.limits.stream_node_max_entries


@cython.final
cdef class StreamView:
    """See stream.pyi."""

    @staticmethod
    def open(ctx, bytes key not None, *, bint write=False, bint create=False):
        cdef StreamView view = StreamView.__new__(StreamView)
        if view.access(ctx, key, write or create, TYPE_STREAM) != NULL:
            return view
        if not create:
            return None
        store_set_value(view.keyspace.store, &view.key, TYPE_STREAM, ENCODING_STREAM,
                        stream_new(view.pool()), EXPIRE_NONE)
        return view

    cdef Stream *stream(self) except NULL:
        cdef Entry *entry = self.present()
        if entry == NULL or entry_type(entry) != TYPE_STREAM:
            raise KeyError(self.name)
        return <Stream *>entry_pointer(entry)

    cdef Stream *changing(self) except NULL:
        """The stream for whoever changes it, which the handler may have opened to read."""
        store_changing(self.keyspace.store, &self.key)
        return self.stream()

    cdef Pool *pool(self) noexcept:
        return store_pool(self.keyspace.store, self.key.database)

    cdef Group *group(self, Stream *stream, bytes name) except NULL:
        cdef Group *group = stream_group(stream, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        if group == NULL:
            raise KeyError(name)
        return group

    cdef Consumer *consumer(self, Group *group, bytes name) except NULL:
        cdef Consumer *consumer = group_consumer(group, PyBytes_AS_STRING(name),
                                                 PyBytes_GET_SIZE(name))
        if consumer == NULL:
            raise KeyError(name)
        return consumer

    # The stream

    @property
    def length(self):
        return self.stream().length

    @property
    def first_id(self):
        return pair(self.stream().first_id)

    @property
    def edge_id(self):
        return pair(stream_edge(self.stream()))

    @property
    def last_id(self):
        return pair(self.stream().last_id)

    @property
    def max_deleted_id(self):
        return pair(self.stream().max_deleted_id)

    @property
    def entries_added(self):
        return self.stream().entries_added

    @property
    def nodes(self):
        return idtree_count(&self.stream().nodes)

    @property
    def tree_nodes(self):
        cdef Stream *stream = self.stream()
        return tree_nodes(stream.nodes.root, stream.nodes.height) if stream.nodes.root else 0

    def set_ids(self, last_id, entries_added=None, max_deleted_id=None):
        cdef Stream *stream = self.changing()
        stream.last_id = native_id(last_id)
        if entries_added is not None:
            stream.entries_added = entries_added
        if max_deleted_id is not None:
            stream.max_deleted_id = native_id(max_deleted_id)

    def top(self):
        cdef Id id
        return pair(id) if stream_top(self.stream(), &id) else None

    def has(self, id):
        return stream_has(self.stream(), native_id(id))

    def append(self, id, list items not None):
        cdef Id native = native_id(id)
        cdef Stream *stream = self.changing()
        cdef Element *elements = elements_of(items)
        stream_append(self.pool(), stream, &self.keyspace.store.limits, native, elements,
                      len(items) // 2)
        free(elements)

    def delete(self, list ids not None):
        cdef Stream *stream = self.changing()
        cdef Id native
        cdef uint64_t deleted
        cdef size_t i, n = len(ids)
        cdef Id *natives = <Id *>malloc((n + 1) * sizeof(Id))
        if natives == NULL:
            out_of_memory((n + 1) * sizeof(Id))
        try:
            for i in range(n):
                natives[i] = native_id(ids[i])
            deleted = stream_delete(self.pool(), stream, natives, n)
        finally:
            free(natives)
        return deleted

    def trim_length(self, uint64_t length, *, bint whole_nodes=False, uint64_t limit=0):
        cdef Trim trim
        trim.kind = TRIM_LENGTH
        trim.whole_nodes = whole_nodes
        trim.limit = limit
        trim.length = length
        return stream_trim(self.pool(), self.changing(), &trim)

    def trim_id(self, id, *, bint whole_nodes=False, uint64_t limit=0):
        cdef Trim trim
        trim.kind = TRIM_ID
        trim.whole_nodes = whole_nodes
        trim.limit = limit
        trim.id = native_id(id)
        return stream_trim(self.pool(), self.changing(), &trim)

    def check(self):
        stream_check(self.stream())

    # Entries to a reply

    def reply_range(self, Reply reply not None, low, high, uint64_t count=0, *,
                    bint reverse=False):
        return reply_entries(reply.out, self.stream(), native_id(low), native_id(high), count,
                             reverse)

    def reply_one(self, Reply reply not None, low=LOWEST, high=HIGHEST, *, bint reverse=False):
        cdef StreamCursor cursor
        stream_seek(self.stream(), native_id(low), native_id(high), reverse, &cursor)
        if not stream_next(&cursor):
            return False
        reply_entry(reply.out, &cursor)
        return True

    # Groups

    @property
    def group_count(self):
        return self.stream().groups.count

    def has_group(self, bytes name not None):
        return stream_group(self.stream(), PyBytes_AS_STRING(name),
                            PyBytes_GET_SIZE(name)) != NULL

    def group_position(self, bytes name not None):
        cdef Group *group = self.group(self.stream(), name)
        return pair(group.last_id), group.entries_read

    def groups(self):
        cdef Stream *stream = self.stream()
        cdef const Group *group
        cdef int64_t lag
        cdef bint known
        cdef NamePlace place = NamePlace(0, 0)
        cdef list found = []
        while True:
            group = <const Group *>names_next(&stream.groups, &place)
            if group == NULL:
                return found
            known = group_lag(stream, group, &lag)
            found.append((
                PyBytes_FromStringAndSize(group.named.name, <Py_ssize_t>group.named.length),
                group.consumers.count,
                idtree_count(&group.pending),
                pair(group.last_id),
                group.entries_read if group.entries_read != READ_UNKNOWN else None,
                lag if known else None,
            ))

    def add_group(self, bytes name not None, last_id, int64_t entries_read=READ_UNKNOWN):
        return stream_add_group(self.pool(), self.changing(), PyBytes_AS_STRING(name),
                                PyBytes_GET_SIZE(name), native_id(last_id),
                                entries_read) != NULL

    def set_group(self, bytes name not None, last_id, int64_t entries_read):
        cdef Group *group = self.group(self.changing(), name)
        group.last_id = native_id(last_id)
        group.entries_read = entries_read

    def remove_group(self, bytes name not None):
        cdef Stream *stream = self.changing()
        cdef Group *group = stream_group(stream, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        if group == NULL:
            return False
        stream_remove_group(self.pool(), stream, group)
        return True

    # Consumers

    def consumers(self, bytes group not None):
        cdef Group *native = self.group(self.stream(), group)
        cdef const Consumer *consumer
        cdef NamePlace place = NamePlace(0, 0)
        cdef list found = []
        while True:
            consumer = <const Consumer *>names_next(&native.consumers, &place)
            if consumer == NULL:
                return found
            found.append((name_of(consumer), idtree_count(&consumer.pending), consumer.seen_ms,
                          consumer.active_ms))

    def has_consumer(self, bytes group not None, bytes name not None):
        cdef Group *native = self.group(self.stream(), group)
        return group_consumer(native, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)) != NULL

    def add_consumer(self, bytes group not None, bytes name not None, int64_t now_ms):
        cdef Stream *stream = self.changing()
        return stream_add_consumer(self.pool(), stream, self.group(stream, group),
                                   PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name),
                                   now_ms) != NULL

    def see_consumer(self, bytes group not None, bytes name not None, int64_t now_ms):
        cdef Stream *stream = self.changing()
        cdef Group *native = self.group(stream, group)
        cdef Consumer *consumer = group_consumer(native, PyBytes_AS_STRING(name),
                                                 PyBytes_GET_SIZE(name))
        if consumer != NULL:
            consumer.seen_ms = now_ms
            return False
        stream_add_consumer(self.pool(), stream, native, PyBytes_AS_STRING(name),
                            PyBytes_GET_SIZE(name), now_ms)
        return True

    def remove_consumer(self, bytes group not None, bytes name not None):
        cdef Stream *stream = self.changing()
        cdef Group *native = self.group(stream, group)
        cdef Consumer *consumer = group_consumer(native, PyBytes_AS_STRING(name),
                                                 PyBytes_GET_SIZE(name))
        cdef uint64_t count
        if consumer == NULL:
            return None
        count = idtree_count(&consumer.pending)
        stream_remove_consumer(self.pool(), stream, native, consumer)
        return count

    # Reading by groups

    def read_new(self, Reply reply not None, bytes group not None, bytes consumer not None,
                 uint64_t count, bint acknowledged, int64_t now_ms):
        cdef Stream *stream = self.changing()
        cdef Group *native = self.group(stream, group)
        cdef StreamCursor cursor
        cdef Id low = native.last_id
        cdef list delivered = []
        id_increment(&low)
        deliver_new(reply.out, self.pool(), stream, native, self.consumer(native, consumer), count,
                    acknowledged, now_ms)
        stream_seek(stream, low, native.last_id, False, &cursor)
        while stream_next(&cursor):
            delivered.append(pair(cursor.id))
        return delivered

    def read_history(self, Reply reply not None, bytes group not None, bytes consumer not None,
                     low, uint64_t count, int64_t now_ms):
        cdef Stream *stream = self.changing()
        cdef Consumer *reader = self.consumer(self.group(stream, group), consumer)
        cdef IdCursor cursor
        cdef uint64_t seen = 0
        cdef Id id
        cdef list delivered = []
        cdef bint more
        deliver_again(reply.out, reply.resp, stream, reader, native_id(low), count, now_ms)
        more = idtree_seek(&reader.pending, native_id(low), SEEK_GREATER_OR_EQUAL, &cursor)
        while more and (count == 0 or seen < count):
            id = idcursor_entry(&cursor).id
            if stream_has(stream, id):
                delivered.append((pair(id), (<Pending *>idcursor_entry(&cursor).value).deliveries))
            seen += 1
            more = idcursor_next(&cursor)
        return delivered

    # Pending entries

    def pending_range(self, bytes group not None, bytes consumer=None, low=LOWEST, high=HIGHEST,
                      uint64_t count=0, int64_t idle_since_ms=INT64_MAX):
        cdef Group *native = self.group(self.stream(), group)
        cdef IdTree *tree = &native.pending
        cdef IdCursor cursor
        cdef IdEntry *entry
        cdef const Pending *pending
        cdef Id last = native_id(high)
        cdef list found = []
        cdef bint more
        if consumer is not None:
            tree = &self.consumer(native, consumer).pending
        more = idtree_seek(tree, native_id(low), SEEK_GREATER_OR_EQUAL, &cursor)
        while more and (count == 0 or <uint64_t>len(found) < count):
            entry = idcursor_entry(&cursor)
            if id_compare(entry.id, last) > 0:
                break
            pending = <const Pending *>entry.value
            if pending.delivered_ms <= idle_since_ms:
                found.append((pair(entry.id), name_of(pending.consumer), pending.delivered_ms,
                              pending.deliveries))
            more = idcursor_next(&cursor)
        return found

    def pending_ends(self, bytes group not None):
        cdef Group *native = self.group(self.stream(), group)
        cdef IdCursor first, last
        if not idtree_seek_first(&native.pending, &first):
            return None
        idtree_seek_last(&native.pending, &last)
        return (idtree_count(&native.pending), pair(idcursor_entry(&first).id),
                pair(idcursor_entry(&last).id))

    def pending_at(self, bytes group not None, id):
        cdef Pending *pending = pending_find(self.group(self.stream(), group), native_id(id))
        if pending == NULL:
            return None
        return name_of(pending.consumer), pending.delivered_ms, pending.deliveries

    def next_pending(self, bytes group not None, id):
        cdef IdCursor cursor
        if not idtree_seek(&self.group(self.stream(), group).pending, native_id(id),
                           SEEK_GREATER_OR_EQUAL, &cursor):
            return None
        return pair(idcursor_entry(&cursor).id)

    def acknowledge(self, bytes group not None, list ids not None):
        cdef Stream *stream = self.changing()
        cdef Group *native = self.group(stream, group)
        cdef int64_t count = 0
        for id in ids:
            count += stream_acknowledge(self.pool(), stream, native, native_id(id))
        return count

    def claim(self, bytes group not None, bytes consumer not None, id, int64_t delivered_ms,
              uint64_t deliveries, int64_t now_ms):
        cdef Stream *stream = self.changing()
        cdef Group *native = self.group(stream, group)
        cdef Consumer *reader = self.consumer(native, consumer)
        cdef Pending *pending = stream_assign(self.pool(), stream, native, native_id(id), reader)
        pending.delivered_ms = delivered_ms
        pending.deliveries = deliveries
        reader.active_ms = now_ms
