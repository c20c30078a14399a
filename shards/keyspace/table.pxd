"""The hash table of one slot: open addressing over 64-bit buckets, all inline.

A bucket is (entry address >> 4) << 20 | the low 20 bits of the hash; 0 is empty. The home of an
entry is `hash & mask`, which the bucket itself knows while a table has at most 2^20 buckets, so
that a lookup touches no entry but a true candidate, and deleting, resizing and scanning touch
none. Larger tables take the hash from the key again.

Invariants (checked by shards/keyspace/invariants.pyx)
1. No empty bucket lies between an entry's home and its place: linear probing, and deletion shifts
   back. Load is at most 3/4; a table is freed when empty and shrinks below 1/8.
2. While `old` is set, the table is being resized in steps: an entry is in one of the two, and
   lookups search both. Inserts go to the new table. Every insert and delete moves some whole
   clusters of `old`, so neither table ever breaks a probe sequence. Lookups move nothing: reading
   does not change a table.
3. Bucket addresses die with every insert and delete.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport abort

from protocol.native cimport DEBUG, likely, prefetch, unlikely
from shards.keyspace.entry cimport Entry, entry_has_key, entry_key
from shards.memory.allocation cimport (
    Pool,
    drop_pages,
    malloc_usable_size,
    mapped_bytes,
    pool_free,
    pool_map,
    pool_resize,
    pool_unmap,
    pool_zeroed,
)
from shards.memory.siphash cimport siphash13


cdef enum:
    TAG_BITS = 20
    TAG_MASK = 0xFFFFF
    TABLE_MAP_BYTES = 1048576       # larger ones are mapped: no stall to zero them
    DROP_BUCKETS = 32768            # of an emptied old table, given back at a time

cdef struct Table:                  # the header; the buckets follow
    Table *old                      # owned; what is being moved into this one, or NULL
    uint32_t count                  # entries here, those in `old` not included
    uint32_t mask                   # buckets - 1
    uint32_t cursor                 # of an old table: the next bucket to move
    uint32_t start                  # of an old table: where moving began

cdef struct TableRules:             # the same for all tables of a store
    uint64_t *seed                  # of the hash
    uint32_t buckets_min            # of a new table; a power of two
    uint32_t incremental_min        # tables with that many buckets are resized in steps
    uint32_t step                   # buckets to move with each change, at least

cdef struct EntryList:              # a growing list of borrowed entries
    Entry **entries                 # owned
    size_t count
    size_t size
    Pool *pool                      # that counts it


cdef inline void entries_push(EntryList *entries, Entry *entry) noexcept nogil:
    if unlikely(entries.count == entries.size):
        entries.size = entries.size * 2 if entries.size else 64
        if entries.entries == NULL:
            entries.entries = <Entry **>pool_zeroed(entries.pool, entries.size * sizeof(Entry *))
        else:
            entries.entries = <Entry **>pool_resize(
                entries.pool, entries.entries, entries.size * sizeof(Entry *))
    entries.entries[entries.count] = entry
    entries.count += 1


cdef inline void entries_free(EntryList *entries) noexcept nogil:
    pool_free(entries.pool, entries.entries)
    entries.entries = NULL
    entries.count = entries.size = 0


cdef inline uint64_t *table_buckets(Table *table) noexcept nogil:
    return <uint64_t *>(table + 1)


cdef inline Entry *bucket_entry(uint64_t bucket) noexcept nogil:
    return <Entry *><size_t>((bucket >> TAG_BITS) << 4)


cdef inline uint64_t bucket_of(const Entry *entry, uint64_t hash) noexcept nogil:
    # What the packing relies on; malloc keeps the first everywhere, Linux the second unless asked.
    if DEBUG and (<size_t>entry & 15 or <size_t>entry >> 48):
        abort()
    return <uint64_t><size_t>entry << (TAG_BITS - 4) | (hash & TAG_MASK)


cdef inline size_t bucket_home(const TableRules *rules, uint64_t bucket,
                               size_t mask) noexcept nogil:
    cdef const char *key
    cdef size_t n
    if likely(mask <= TAG_MASK):
        return bucket & TAG_MASK & mask
    key = entry_key(bucket_entry(bucket), &n)
    return siphash13(rules.seed, key, n) & mask


cdef inline size_t table_bytes(size_t buckets) noexcept nogil:
    return sizeof(Table) + buckets * sizeof(uint64_t)


cdef inline uint64_t table_footprint(const Table *table) noexcept nogil:
    """The bytes its pool was charged for it; an old table it is resized from not included."""
    cdef size_t size = table_bytes(<size_t>table.mask + 1)
    return mapped_bytes(size) if size >= TABLE_MAP_BYTES else malloc_usable_size(table)


cdef inline Table *table_new(Pool *pool, size_t buckets) noexcept nogil:
    cdef Table *table
    if unlikely(table_bytes(buckets) >= TABLE_MAP_BYTES):
        table = <Table *>pool_map(pool, table_bytes(buckets))
    else:
        table = <Table *>pool_zeroed(pool, table_bytes(buckets))
    table.mask = <uint32_t>(buckets - 1)
    return table


cdef inline void table_free(Pool *pool, Table *table) noexcept nogil:
    """Free one table; what `old` points to and the entries are not its business."""
    if unlikely(table_bytes(<size_t>table.mask + 1) >= TABLE_MAP_BYTES):
        pool_unmap(pool, table, table_bytes(<size_t>table.mask + 1))
    else:
        pool_free(pool, table)


cdef inline uint64_t table_size(const Table *table) noexcept nogil:
    """How many entries are in a table and its old one; NULL is empty."""
    if table == NULL:
        return 0
    return table.count + (<uint64_t>table.old.count if table.old != NULL else 0)


cdef inline uint64_t *table_find(Table *table, uint64_t hash, const char *key,
                                 size_t n) noexcept nogil:
    """The bucket of a key, or NULL."""
    cdef uint64_t bucket, tag = hash & TAG_MASK
    cdef uint64_t *buckets
    cdef size_t i, mask
    while True:
        buckets = table_buckets(table)
        mask = table.mask
        i = hash & mask
        while True:
            bucket = buckets[i]
            if (bucket & TAG_MASK) == tag and bucket != 0:
                if likely(entry_has_key(bucket_entry(bucket), key, n)):
                    return &buckets[i]
            elif bucket == 0:
                break
            i = (i + 1) & mask
        table = table.old
        if likely(table == NULL):
            return NULL


cdef inline uint64_t *table_find_bits(Table *table, uint64_t hash,
                                      uint64_t wanted) noexcept nogil:
    """Where exactly this bucket is, or NULL; no entry is touched, so it may be freed already."""
    cdef uint64_t *buckets
    cdef size_t i
    while table != NULL:
        buckets = table_buckets(table)
        i = hash & table.mask
        while buckets[i]:
            if buckets[i] == wanted:
                return &buckets[i]
            i = (i + 1) & table.mask
        table = table.old
    return NULL


cdef inline void table_put(Table *table, uint64_t bucket, size_t home) noexcept nogil:
    """Put a bucket into the first empty place from its home on; there is one."""
    cdef uint64_t *buckets = table_buckets(table)
    while buckets[home]:
        home = (home + 1) & table.mask
    buckets[home] = bucket
    table.count += 1


cdef inline void table_step(Pool *pool, const TableRules *rules, Table *table,
                            size_t step) noexcept nogil:
    """Move at least `step` buckets of the old table, up to the end of a cluster."""
    cdef Table *old = table.old
    cdef uint64_t *buckets = table_buckets(old)
    cdef uint64_t bucket, ahead
    cdef size_t visited = 0
    cdef bint far = old.mask > TAG_MASK or table.mask > TAG_MASK
    cdef bint mapped = table_bytes(<size_t>old.mask + 1) >= TABLE_MAP_BYTES
    while old.count:
        bucket = buckets[old.cursor]
        if far:
            ahead = buckets[(old.cursor + 8) & old.mask]
            prefetch(bucket_entry(ahead))
        if bucket:
            buckets[old.cursor] = 0
            old.count -= 1
            table_put(table, bucket, bucket_home(rules, bucket, table.mask))
        old.cursor = (old.cursor + 1) & old.mask
        if mapped and old.cursor % DROP_BUCKETS == 0 and old.cursor >= old.start + DROP_BUCKETS:
            drop_pages(<char *>(buckets + old.cursor - DROP_BUCKETS),
                       <char *>(buckets + old.cursor))
        visited += 1
        if bucket == 0 and visited >= step:
            break
    if old.count == 0:
        table.old = NULL
        table_free(pool, old)


cdef inline void table_resize(Pool *pool, const TableRules *rules, Table **place,
                              size_t size) noexcept nogil:
    """Begin to move to a table of `size` buckets; small tables are moved at once."""
    cdef Table *old = place[0]
    cdef Table *table = table_new(pool, size)
    cdef uint64_t *buckets = table_buckets(old)
    cdef uint32_t i = 0
    place[0] = table
    table.old = old
    if old.mask + 1 >= rules.incremental_min:
        while buckets[i]:           # a cluster's end: there is one, as the load is below 1
            i += 1
        old.start = old.cursor = (i + 1) & old.mask
        table_step(pool, rules, table, rules.step)
        return
    for i in range(old.mask + 1):
        if buckets[i]:
            table_put(table, buckets[i], bucket_home(rules, buckets[i], table.mask))
    table.old = NULL
    table_free(pool, old)


cdef inline void table_insert(Pool *pool, const TableRules *rules, Table **place, Entry *entry,
                              uint64_t hash) noexcept nogil:
    """Insert an entry whose key is not there. Amortised O(1), no step above O(rules.step)."""
    cdef Table *table = place[0]
    cdef size_t size
    if unlikely(table == NULL):
        table = place[0] = table_new(pool, rules.buckets_min)
    elif unlikely(table.old != NULL):
        table_step(pool, rules, table, rules.step)
    size = <size_t>table.mask + 1
    if unlikely(table_size(table) + 1 > size - size // 4):
        while table.old != NULL:    # only if steps are set too small to keep up
            table_step(pool, rules, table, size)
        table_resize(pool, rules, place, size * 2)
        table = place[0]
    table_put(table, bucket_of(entry, hash), hash & table.mask)


cdef inline void table_remove(Pool *pool, const TableRules *rules, Table **place,
                              uint64_t *bucket) noexcept nogil:
    """Remove the entry of a bucket (not free it); the table may shrink, or go if it is empty."""
    cdef Table *table = place[0]
    cdef Table *holder = table
    cdef uint64_t *buckets = table_buckets(table)
    cdef size_t hole, i, home, mask, size
    if bucket < buckets or bucket > buckets + table.mask:
        holder = table.old
        buckets = table_buckets(holder)
    mask = holder.mask
    hole = i = <size_t>(bucket - buckets)
    while True:
        i = (i + 1) & mask
        if buckets[i] == 0:
            break
        home = bucket_home(rules, buckets[i], mask)
        if ((i - home) & mask) >= ((i - hole) & mask):
            buckets[hole] = buckets[i]
            hole = i
    buckets[hole] = 0
    holder.count -= 1
    if table_size(table) == 0:
        if table.old != NULL:
            table_free(pool, table.old)
        table_free(pool, table)
        place[0] = NULL
    elif unlikely(table.old != NULL):
        table_step(pool, rules, table, rules.step)
    else:
        size = mask + 1
        if unlikely(table.count < size // 8 and size > rules.buckets_min):
            size = size // 4 if size // 4 > rules.buckets_min else rules.buckets_min
            table_resize(pool, rules, place, size)


cdef inline void scan_home(const TableRules *rules, Table *table, size_t home,
                           EntryList *found) noexcept nogil:
    cdef uint64_t *buckets = table_buckets(table)
    cdef uint64_t tag = home & TAG_MASK
    cdef size_t mask = table.mask
    cdef uint64_t tag_mask = TAG_MASK & mask
    cdef size_t i = home
    while buckets[i]:
        if (buckets[i] & tag_mask) == tag and (
                mask <= TAG_MASK or bucket_home(rules, buckets[i], mask) == home):
            entries_push(found, bucket_entry(buckets[i]))
        i = (i + 1) & mask


cdef inline uint64_t reverse_bits(uint64_t v) noexcept nogil:
    cdef uint64_t result = 0
    cdef int i
    v = ((v >> 1) & <uint64_t>0x5555555555555555) | ((v & <uint64_t>0x5555555555555555) << 1)
    v = ((v >> 2) & <uint64_t>0x3333333333333333) | ((v & <uint64_t>0x3333333333333333) << 2)
    v = ((v >> 4) & <uint64_t>0x0F0F0F0F0F0F0F0F) | ((v & <uint64_t>0x0F0F0F0F0F0F0F0F) << 4)
    for i in range(8):
        result = result << 8 | (v >> (8 * i) & 0xFF)
    return result


cdef inline uint64_t next_home(uint64_t home, uint64_t mask) noexcept nogil:
    """Count up in the reversed bits below the mask; 0 when all homes have been seen."""
    return reverse_bits(reverse_bits(home | ~mask) + 1)


cdef inline uint64_t table_scan(const TableRules *rules, Table *table, uint64_t cursor,
                                EntryList *found) noexcept nogil:
    """Collect the entries of one home; returns the next cursor, 0 after the last.

    Homes are visited in the order of their reversed bits, so that a home of a small table is
    visited together with all the homes it splits into. An entry that is there from cursor 0 to
    cursor 0 is thus found at least once, however the table is resized in between.
    """
    cdef Table *small = table
    cdef Table *large = table.old
    if large == NULL:
        scan_home(rules, table, cursor & table.mask, found)
        return next_home(cursor & table.mask, table.mask)
    if small.mask > large.mask:
        small = table.old
        large = table
    cursor &= large.mask
    scan_home(rules, small, cursor & small.mask, found)
    while True:
        scan_home(rules, large, cursor & large.mask, found)
        cursor = next_home(cursor, large.mask)
        if cursor & (small.mask ^ large.mask) == 0:
            return cursor


cdef inline Entry *table_random(Table *table, uint64_t random) noexcept nogil:
    """An entry of a table that is not empty, each as likely as any other. Expected O(1).

    Buckets are drawn until one is full: every entry has one bucket, and at least 1/8 are full.
    """
    cdef uint64_t size = <uint64_t>table.mask + 1
    cdef uint64_t all_buckets = size + (
        <uint64_t>table.old.mask + 1 if table.old != NULL else 0)
    cdef uint64_t i, bucket
    while True:
        i = (random >> 16) % all_buckets
        bucket = table_buckets(table)[i] if i < size else table_buckets(table.old)[i - size]
        if bucket:
            return bucket_entry(bucket)
        random = random * <uint64_t>6364136223846793005 + <uint64_t>1442695040888963407
