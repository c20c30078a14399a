"""How a collection is laid out, for DEBUG; see layout.pyi."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from cpython.bytes cimport PyBytes_FromStringAndSize

from protocol.slots cimport SLOTS
from shards.keyspace.keyspace cimport (
    ENCODING_HT,
    ENCODING_LISTPACK,
    ENCODING_QUICKLIST,
    ENCODING_SKIPLIST,
    TYPE_STRING,
    Database,
    Entry,
    EntryEncoding,
    Key,
    Keyspace,
    entry_encoding,
    entry_pointer,
    entry_type,
    store_find,
    store_pool,
)
from shards.memory.allocation cimport Pool, pool_free
from shards.keyspace.table cimport Table, TableRules, bucket_home, table_buckets
from shards.types.dict cimport Block, Dict, dict_place
from shards.types.listpack cimport (
    Listpack,
    listpack_first,
    listpack_length,
    listpack_next,
    listpack_skip,
    listpack_text,
)
from shards.types.quicklist cimport Quicklist, QuicklistNode, node_data
from shards.types.scoretree cimport Zset

cdef enum:
    LENGTHS = 50                # chains of so many members and more are counted as one

cdef struct Chains:             # the figures of one hash table, or of several together
    uint64_t size               # places that a hash can name
    uint64_t members
    uint64_t used               # places that some member's hash names
    uint64_t longest            # members of one place
    uint64_t[LENGTHS] lengths   # places by their number of members


cdef void *structure(Keyspace keyspace, const Key *key, EntryEncoding encoding) noexcept:
    """The structure of a key that has this encoding; NULL: there is none."""
    cdef Entry *entry = store_find(keyspace.store, key)
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
                     f"{', plain' if node.plain else ''}"
                      f"{', compressed' if node.compressed else ''}")
        if full and not node.plain:
            data = node_data(pool, node, &opened)
            lines += element_lines(<Listpack *>data)
            pool_free(pool, opened)
        node = node.next
    return lines


cdef inline void count_chain(Chains *chains, uint64_t length) noexcept nogil:
    chains.lengths[min(length, <uint64_t>(LENGTHS - 1))] += 1
    chains.used += length > 0
    chains.longest = max(chains.longest, length)


cdef void count_table(const TableRules *rules, Table *table, bint full,
                      Chains *chains) noexcept nogil:
    """Add one table. Members with the same home are the chain of that place."""
    cdef uint64_t *buckets = table_buckets(table)
    cdef size_t mask = table.mask
    cdef size_t home, i
    cdef uint64_t length
    chains.size += mask + 1
    chains.members += table.count
    if not full:
        return
    for home in range(mask + 1):
        length = 0
        i = home
        while buckets[i]:
            length += bucket_home(rules, buckets[i], mask) == home
            i = (i + 1) & mask
        count_chain(chains, length)


cdef object figures(const Chains *chains):
    return (chains.size, chains.members, chains.used, chains.longest,
            [chains.lengths[i] for i in range(LENGTHS)])


def table_figures(Keyspace keyspace, int database, bint expiring, bint full):
    cdef Database *native = keyspace.store.databases[keyspace.number(database)]
    cdef Table **tables
    cdef Table *table
    cdef Chains main, target
    cdef uint32_t slot
    memset(&main, 0, sizeof(Chains))
    memset(&target, 0, sizeof(Chains))
    if native != NULL:
        tables = native.expiring if expiring else native.keys
        if tables != NULL:
            with nogil:
                for slot in range(<uint32_t>SLOTS):
                    table = tables[slot]
                    if table == NULL:
                        continue
                    if table.old != NULL:
                        count_table(&keyspace.store.rules, table, full, &target)
                        table = table.old
                    count_table(&keyspace.store.rules, table, full, &main)
    return figures(&main), figures(&target)


def dict_figures(Keyspace keyspace, int database, bytes key, bint full):
    cdef Key native = keyspace.key(key, database)
    cdef void *found = structure(keyspace, &native, ENCODING_HT)
    cdef Dict *dict = <Dict *>found
    cdef Block *block
    cdef Chains chains
    cdef uint32_t bucket
    if found == NULL:
        found = structure(keyspace, &native, ENCODING_SKIPLIST)
        if found == NULL:
            return None
        dict = (<Zset *>found).members
    memset(&chains, 0, sizeof(Chains))
    chains.size = dict.buckets
    chains.members = dict.count
    if full:
        for bucket in range(dict.buckets):
            block = dict_place(dict, bucket)[0]
            count_chain(&chains, block.count if block != NULL else 0)
    return figures(&chains)
