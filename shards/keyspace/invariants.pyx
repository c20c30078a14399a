"""The checks behind Keyspace.check(); they trust nothing that the store keeps as a figure."""

from libc.stdint cimport uint32_t, uint64_t

from protocol.slots cimport SLOTS, key_slot
from shards.keyspace.entry cimport (
    ENCODING_INT,
    FLAG_EXPIRES,
    Entry,
    entry_blob,
    entry_bytes,
    entry_encoding,
    entry_has_pointer,
    entry_key,
)
from shards.memory.allocation cimport malloc_usable_size, mapped_bytes
from shards.keyspace.store cimport Database, Store, store_entry_footprint, store_hash
from shards.keyspace.table cimport (
    TABLE_MAP_BYTES,
    TAG_MASK,
    Table,
    bucket_entry,
    bucket_home,
    table_buckets,
    table_footprint,
    table_find,
    table_find_bits,
    table_size,
)


cdef int require(bint holds, str what) except -1:
    if not holds:
        raise AssertionError(what)
    return 0


cdef int check_entry(Store *store, Entry *entry, uint64_t bucket, uint32_t slot) except -1:
    cdef size_t n
    cdef const char *key = entry_key(entry, &n)
    require(<size_t>entry % 16 == 0, "an entry is not aligned to 16 bytes")
    require(bucket & TAG_MASK == store_hash(store, key, n) & TAG_MASK, "a bucket's tag is wrong")
    require(key_slot(key, n) == slot, "a key is in the wrong slot")
    require(entry_bytes(entry) <= malloc_usable_size(entry), "an entry exceeds its allocation")
    if entry_has_pointer(entry) or entry_encoding(entry) == ENCODING_INT:
        require(entry.value_length == 8, "a number or a pointer must have 8 bytes")
    if entry_blob(entry) != NULL:
        require(entry_blob(entry).references > 0, "a blob without references")
    return 0


cdef int check_table(Store *store, Database *database, Table *head, Table *table, uint32_t slot,
                     bint expiring, uint64_t *flagged, uint64_t *bytes) except -1:
    """One table of a slot, the new or the old one; `head` is where lookups start."""
    cdef uint64_t *buckets = table_buckets(table)
    cdef size_t i, home, size = <size_t>table.mask + 1
    cdef uint32_t count = 0
    cdef Entry *entry
    cdef const char *key
    cdef size_t n
    cdef uint64_t hash
    require(size & (size - 1) == 0 and size >= store.rules.buckets_min, "a table's size is wrong")
    bytes[0] += table_footprint(table)
    for i in range(size):
        if buckets[i] == 0:
            continue
        count += 1
        entry = bucket_entry(buckets[i])
        check_entry(store, entry, buckets[i], slot)
        home = bucket_home(&store.rules, buckets[i], table.mask)
        while home != i:
            require(buckets[home] != 0, "a gap between an entry's home and its place")
            home = (home + 1) & table.mask
        key = entry_key(entry, &n)
        hash = store_hash(store, key, n)
        require(table_find(head, hash, key, n) == &buckets[i], "a key is there twice, or not found")
        if expiring:
            require(entry.key_flags & FLAG_EXPIRES != 0, "a key without a TTL in the TTL index")
            require(table_find_bits(database.keys[slot], hash, buckets[i]) != NULL,
                    "the TTL index has an entry that is no key")
        else:
            flagged[0] += entry.key_flags & FLAG_EXPIRES != 0
            bytes[0] += store_entry_footprint(store, entry)
    require(count == table.count, "a table's count is wrong")
    require(count < size, "a table is full")
    return 0


cdef int check_index(Store *store, Database *database, Table **tables, uint32_t *tree,
                     uint64_t size, bint expiring, uint64_t *flagged,
                     uint64_t *bytes) except -1:
    cdef uint32_t slot, span
    cdef uint64_t total = 0
    cdef uint32_t sums[SLOTS + 1]
    cdef Table *table
    sums[0] = 0
    for slot in range(<uint32_t>SLOTS):
        table = tables[slot]
        total += table_size(table)
        sums[slot + 1] = <uint32_t>total
        span = (slot + 1) & (0 - (slot + 1))
        require(tree[slot] == sums[slot + 1] - sums[slot + 1 - span], "a Fenwick sum is wrong")
        if table == NULL:
            continue
        require(table_size(table) > 0, "an empty table is kept")
        require(table_size(table) <= (<uint64_t>table.mask + 1) * 3 // 4, "a table is too full")
        check_table(store, database, table, table, slot, expiring, flagged, bytes)
        if table.old != NULL:
            require(table.old.old == NULL, "two resizes at once")
            require(table.old.count > 0, "an old table is kept though it is empty")
            check_table(store, database, table, table.old, slot, expiring, flagged, bytes)
    require(total == size, "a database's size is wrong")
    bytes[0] += malloc_usable_size(tables) + malloc_usable_size(tree)
    return 0


cdef int store_check(Store *store) except -1:
    cdef uint64_t total, bytes, flagged
    cdef uint32_t i
    cdef Database *database
    bytes = (malloc_usable_size(store) + malloc_usable_size(store.databases)
             + malloc_usable_size(store.physical))
    if store.scratch.entries != NULL:
        bytes += malloc_usable_size(store.scratch.entries)
    require(bytes == store.pool.bytes, "the store's own memory is counted wrongly")
    total = bytes
    for i in range(store.database_count):
        database = store.databases[i]
        if database == NULL:
            continue
        bytes = malloc_usable_size(database)
        flagged = 0
        check_index(store, database, database.keys, database.keys_tree, database.size, False,
                    &flagged, &bytes)
        require(flagged == database.expiring_size, "a key with a TTL is not in the TTL index")
        if database.expiring != NULL:
            check_index(store, database, database.expiring, database.expiring_tree,
                        database.expiring_size, True, &flagged, &bytes)
        require(bytes == database.pool.bytes, "a database's memory is counted wrongly")
        total += bytes
    require(total == store.used_memory, "used_memory is wrong")
    return 0
