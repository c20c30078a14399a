"""How a collection is laid out, for DEBUG; see layout.pyi."""

from libc.stdint cimport uint64_t

from cpython.bytes cimport PyBytes_FromStringAndSize

from shards.keyspace cimport (
    ENCODING_LISTPACK,
    ENCODING_QUICKLIST,
    TYPE_STRING,
    Entry,
    EntryEncoding,
    Key,
    Keyspace,
    entry_encoding,
    entry_pointer,
    entry_type,
    store_pool,
)
from shards.memory cimport Pool, pool_free
from shards.types.listpack cimport (
    Listpack,
    listpack_first,
    listpack_length,
    listpack_next,
    listpack_skip,
    listpack_text,
)
from shards.types.quicklist cimport Quicklist, QuicklistNode, node_data


cdef void *structure(Keyspace keyspace, const Key *key, EntryEncoding encoding) noexcept:
    """The structure of a key that has this encoding; NULL: there is none."""
    cdef Entry *entry = keyspace.live_entry(key)
    if entry == NULL or entry_type(entry) == TYPE_STRING or entry_encoding(entry) != encoding:
        return NULL
    return entry_pointer(entry)


def quicklist_figures(Keyspace keyspace, int database, bytes key):
    cdef Key native = keyspace.key(key, database)
    cdef Quicklist *quicklist = <Quicklist *>structure(keyspace, &native, ENCODING_QUICKLIST)
    cdef QuicklistNode *node
    cdef uint64_t total = 0
    if quicklist == NULL:
        return None
    node = quicklist.head
    while node != NULL:
        total += node.bytes
        node = node.next
    return quicklist.nodes, quicklist.count, quicklist.fill, quicklist.compress_depth, total


cdef list element_lines(Listpack *pack):
    cdef char scratch[24]
    cdef size_t n
    cdef const char *data
    cdef list lines = []
    cdef unsigned char *p = listpack_first(pack)
    while p != NULL:
        data = listpack_text(p, scratch, &n)
        text = PyBytes_FromStringAndSize(data, n)
        lines.append(
            f"{len(lines)}: at {p - <unsigned char *>pack}, {listpack_skip(p) - p} bytes, "
            f"{'integer' if data == scratch else 'string'} {text!r}")
        p = listpack_next(p)
    return lines


def listpack_lines(Keyspace keyspace, int database, bytes key):
    cdef Key native = keyspace.key(key, database)
    cdef Listpack *pack = <Listpack *>structure(keyspace, &native, ENCODING_LISTPACK)
    if pack == NULL:
        return None
    return [f"listpack of {listpack_length(pack)} elements, {pack.bytes} bytes",
            *element_lines(pack)]


def quicklist_lines(Keyspace keyspace, int database, bytes key, bint full=False):
    cdef Key native = keyspace.key(key, database)
    cdef Quicklist *quicklist = <Quicklist *>structure(keyspace, &native, ENCODING_QUICKLIST)
    cdef Pool *pool = store_pool(keyspace.store, native.database)
    cdef QuicklistNode *node
    cdef void *opened
    cdef void *data
    if quicklist == NULL:
        return None
    lines = [f"quicklist of {quicklist.count} elements in {quicklist.nodes} nodes, "
             f"fill {quicklist.fill}, compress depth {quicklist.compress_depth}"]
    node = quicklist.head
    while node != NULL:
        lines.append(f"node: {node.count} elements, {node.bytes} bytes"
                     f"{', plain' if node.plain else ''}{', compressed' if node.compressed else ''}")
        if full and not node.plain:
            data = node_data(pool, node, &opened)
            lines += element_lines(<Listpack *>data)
            pool_free(pool, opened)
        node = node.next
    return lines
