"""The native keyspace; the contract is in store.pxd.

Every change of a key goes through `place` (make or remake its entry, with the TTL index kept true)
or `unlink` (take it out). What an entry points to is freed, copied and measured in the three
`payload_` functions.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset

from protocol.native cimport (
    DEBUG,
    fatal,
    likely,
    out_of_memory,
    prefetch,
    store32,
    store64,
    unlikely,
)
from protocol.numbers cimport format_int64, parse_int64
from protocol.slots cimport SLOTS, key_slot
from shards.memory.blob cimport (
    Blob,
    blob_capacity,
    blob_footprint,
    blob_is_growable,
    blob_new,
    blob_references,
    blob_release,
    blob_reserve,
    blob_retain,
)
from shards.keyspace.entry cimport (
    EMBSTR_BYTES_MAX,
    ENCODING_BLOB,
    ENCODING_EMBSTR,
    ENCODING_INT,
    ENCODING_RAW,
    EPOCH_MASK,
    EPOCH_SHIFT,
    EXPIRE_KEEP,
    EXPIRE_NONE,
    FLAG_EXPIRES,
    FLAG_LONG_KEY,
    HEADER_BYTES,
    INLINE_BYTES_MAX,
    KEY_LENGTH_MASK,
    TYPE_STREAM,
    TYPE_STRING,
    Entry,
    EntryEncoding,
    EntryType,
    entry_blob,
    entry_bytes,
    entry_encoding,
    entry_expire_ms,
    entry_has_pointer,
    entry_key,
    entry_lru,
    entry_pointer,
    entry_set_kind,
    entry_set_lru,
    entry_string,
    entry_type,
    entry_value,
    prefix_bytes,
)
from shards.keyspace.fenwick cimport fenwick_add, fenwick_find, fenwick_next
from shards.memory.allocation cimport (
    Pool,
    c_free,
    live_add,
    malloc_usable_size,
    pool_alloc,
    pool_charge,
    pool_discharge,
    pool_free,
    pool_resize,
    pool_zeroed,
)
from shards.memory.siphash cimport siphash13
from shards.keyspace.table cimport (
    EntryList,
    Table,
    bucket_entry,
    bucket_of,
    entries_free,
    table_buckets,
    table_find,
    table_find_bits,
    table_free,
    table_insert,
    table_random,
    table_remove,
    table_scan,
    table_size,
)
from shards.types.dict cimport dict_rules_default
from shards.types.kinds cimport TypeHooks
from shards.types.registry cimport registered_types
from shards.types.scoretree cimport zset_rules_default


cdef enum:
    WASTE_BYTES_MAX = 32            # an allocation is reused with that much left over
    SPARE_BYTES_MAX = 1048576       # growing strings double up to here, then get this much more
    LFU_COUNTER_START = 5
    SLOT_BITS = 14


# Stores and databases

cdef uint64_t split_mix(uint64_t *state) noexcept nogil:
    cdef uint64_t z
    state[0] += <uint64_t>0x9E3779B97F4A7C15
    z = state[0]
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef Store *store_new(uint32_t databases, uint64_t seed0, uint64_t seed1,
                      uint64_t random_seed) noexcept nogil:
    cdef Pool pool
    cdef uint64_t total = 0
    cdef Store *store
    cdef uint32_t i
    memset(&pool, 0, sizeof(pool))
    pool.total = &total
    store = <Store *>pool_zeroed(&pool, sizeof(Store))
    store.used_memory = total
    store.pool.bytes = total
    store.pool.total = &store.used_memory
    store.database_count = databases
    store.databases = <Database **>pool_zeroed(&store.pool, databases * sizeof(Database *))
    store.physical = <uint16_t *>pool_alloc(&store.pool, databases * sizeof(uint16_t))
    for i in range(databases):
        store.physical[i] = <uint16_t>i
    store.seed[0] = seed0
    store.seed[1] = seed1
    store.random_state[0] = split_mix(&random_seed)
    store.random_state[1] = split_mix(&random_seed) | 1
    store.lfu_log_factor = 10
    store.lfu_decay_minutes = 1
    store.inline_bytes_max = INLINE_BYTES_MAX
    store.rules.seed = store.seed
    store.rules.buckets_min = 4
    store.rules.incremental_min = 4096
    store.rules.step = 64
    store.limits.hash_max_listpack_entries = 512
    zset_rules_default(&store.zset_rules, store.seed)
    store.limits.hash_max_listpack_value = 64
    store.limits.set_max_intset_entries = 512
    store.limits.set_max_listpack_entries = 128
    store.limits.set_max_listpack_value = 64
    store.limits.zset_max_listpack_entries = 128
    store.limits.zset_max_listpack_value = 64
    store.limits.list_max_listpack_size = -2
    store.limits.list_compress_depth = 0
    store.limits.stream_node_max_bytes = 4096
    store.limits.stream_node_max_entries = 100
    store.limits.hll_sparse_max_bytes = 3000
    dict_rules_default(&store.dict_rules, store.seed)
    store.scratch.pool = &store.pool
    store.types = registered_types()
    return store


cdef void store_free(Store *store) noexcept nogil:
    cdef uint32_t i
    if store == NULL:
        return
    for i in range(store.database_count):
        database_free(store_detach_database(store, i))
    entries_free(&store.scratch)
    pool_free(&store.pool, store.databases)
    pool_free(&store.pool, store.physical)
    if DEBUG:
        live_add(-1)
    c_free(store)


cdef Database *database_new(Store *store) noexcept nogil:
    cdef Pool pool
    cdef Database *database
    pool.bytes = 0
    pool.total = &store.used_memory
    pool.node_hook = store.hooks.node_hook
    database = <Database *>pool_zeroed(&pool, sizeof(Database))
    database.pool = pool
    database.types = store.types
    database.keys = <Table **>pool_zeroed(&database.pool, SLOTS * sizeof(Table *))
    database.keys_tree = <uint32_t *>pool_zeroed(&database.pool, SLOTS * sizeof(uint32_t))
    return database


cdef inline Database *database_open(Store *store, uint32_t number) noexcept nogil:
    if unlikely(store.databases[number] == NULL):
        store.databases[number] = database_new(store)
    return store.databases[number]


cdef void free_entries(Database *database, Table *table) noexcept nogil:
    cdef uint64_t *buckets = table_buckets(table)
    cdef size_t i
    for i in range(<size_t>table.mask + 1):
        if buckets[i]:
            if i + 4 <= table.mask and buckets[i + 4]:
                prefetch(bucket_entry(buckets[i + 4]))
            payload_free(NULL, database, bucket_entry(buckets[i]))
            pool_free(&database.pool, bucket_entry(buckets[i]))


cdef void free_tables(Database *database, Table **tables, uint32_t *tree,
                      bint entries) noexcept nogil:
    cdef uint32_t slot
    cdef Table *table
    if tables == NULL:
        return
    for slot in range(<uint32_t>SLOTS):
        table = tables[slot]
        if table == NULL:
            continue
        if entries:
            free_entries(database, table)
            if table.old != NULL:
                free_entries(database, table.old)
        if table.old != NULL:
            table_free(&database.pool, table.old)
        table_free(&database.pool, table)
    pool_free(&database.pool, tables)
    pool_free(&database.pool, tree)


cdef Database *store_detach_database(Store *store, uint32_t number) noexcept nogil:
    cdef Database *database = store.databases[number]
    if database == NULL:
        return NULL
    if unlikely(store.listening) and database.size:
        store.hooks.emptied(store.hooks.effects, store, number)
    store.databases[number] = NULL
    store.used_memory -= database.pool.bytes
    database.pool.total = NULL
    database.pool.node_hook = NULL
    return database


cdef void database_free(Database *database) noexcept nogil:
    if database == NULL:
        return
    free_tables(database, database.expiring, database.expiring_tree, False)
    free_tables(database, database.keys, database.keys_tree, True)
    if DEBUG:
        live_add(-1)
    c_free(database)


cdef void store_swap(Store *store, uint32_t first, uint32_t second) noexcept nogil:
    cdef uint16_t physical = store.physical[first]
    store.physical[first] = store.physical[second]
    store.physical[second] = physical
    if unlikely(store.listening) and first != second:
        store.hooks.swapped(store.hooks.effects, store, first, second)


cdef void store_hook_nodes(Store *store, const NodeHook *hook) noexcept nogil:
    cdef uint32_t i
    store.hooks.node_hook = hook
    for i in range(store.database_count):
        if store.databases[i] != NULL:
            store.databases[i].pool.node_hook = hook


# Hashing, chance, and the clocks of LRU and LFU

cdef uint64_t store_hash(const Store *store, const char *key, size_t n) noexcept nogil:
    return siphash13(store.seed, key, n)


cdef uint64_t store_random(Store *store) noexcept nogil:
    # xorshift128+ (Vigna): fast, and good enough to choose keys.
    cdef uint64_t a = store.random_state[0]
    cdef uint64_t b = store.random_state[1]
    store.random_state[0] = b
    a ^= a << 23
    store.random_state[1] = a ^ b ^ (a >> 18) ^ (b >> 5)
    return store.random_state[1] + b


cdef void store_key_of(const Store *store, const Entry *entry, uint32_t database,
                       Key *key) noexcept nogil:
    """The Key of an entry; its data is the entry's own and dies with it."""
    key.data = entry_key(entry, &key.length)
    key.hash = store_hash(store, key.data, key.length)
    key.slot = key_slot(key.data, key.length)
    key.database = database


cdef inline uint32_t lru_clock(const Store *store) noexcept nogil:
    return <uint32_t>((store.now_ms // 1000) & 0xFFFFFF)


cdef inline uint32_t lfu_minutes(const Store *store) noexcept nogil:
    return <uint32_t>((store.now_ms // 60000) & 0xFFFF)


cdef inline uint32_t lru_start(const Store *store) noexcept nogil:
    """What a new key's 24 bits begin with."""
    if unlikely(store.lfu):
        return lfu_minutes(store) << 8 | LFU_COUNTER_START
    return lru_clock(store)


cdef uint32_t store_frequency(const Store *store, const Entry *entry) noexcept nogil:
    """The LFU counter, less one for each decay period since it was last set."""
    cdef uint32_t counter = entry_lru(entry) & 0xFF
    cdef uint32_t then = entry_lru(entry) >> 8
    cdef uint32_t now = lfu_minutes(store)
    # Redis counts a wrap of the 16 bits as 65535 minutes, not 65536.
    cdef uint32_t elapsed = now - then if now >= then else 65535 - then + now
    cdef uint32_t periods = elapsed // store.lfu_decay_minutes if store.lfu_decay_minutes else 0
    return counter - periods if counter > periods else 0


cdef uint32_t store_idle_seconds(const Store *store, const Entry *entry) noexcept nogil:
    cdef uint32_t now = lru_clock(store)
    cdef uint32_t then = entry_lru(entry)
    return now - then if now >= then else now + 0xFFFFFF - then


cdef void lfu_count(Store *store, Entry *entry) noexcept nogil:
    """Count an access: the likelier to be ignored, the higher the counter already is."""
    cdef uint32_t counter = store_frequency(store, entry)
    cdef double above, chance
    if counter < 255:
        above = <double>counter - LFU_COUNTER_START if counter > LFU_COUNTER_START else 0.0
        chance = <double>(store_random(store) >> 11) * (1.0 / 9007199254740992.0)
        if chance < 1.0 / (above * store.lfu_log_factor + 1.0):
            counter += 1
    entry_set_lru(entry, lfu_minutes(store) << 8 | counter)


cdef void store_touch(Store *store, Entry *entry) noexcept nogil:
    if DEBUG:
        store.touches += 1
    if unlikely(store.no_touch):
        return
    if unlikely(store.lfu):
        lfu_count(store, entry)
    else:
        entry_set_lru(entry, lru_clock(store))


cdef void store_set_usage(Store *store, Entry *entry, int64_t idle_seconds,
                          int frequency) noexcept nogil:
    cdef int64_t used
    if store.lfu:
        if frequency >= 0:
            entry_set_lru(entry, lfu_minutes(store) << 8 | <uint32_t>frequency)
    elif idle_seconds >= 0:
        used = <int64_t>lru_clock(store) - idle_seconds
        if used < 0:        # longer ago than the clock can tell: half of what it can
            used = (<int64_t>lru_clock(store) + 0xFFFFFF // 2) % 0xFFFFFF
        entry_set_lru(entry, <uint32_t>used)


# What an entry points to: the one place that depends on types

cdef inline uint64_t payload_bytes(const Database *database, const Entry *entry) noexcept nogil:
    """What the value charges to its pool beside the entry."""
    cdef const TypeHooks *hooks
    if likely(not entry_has_pointer(entry)):
        return 0
    if entry_type(entry) == TYPE_STRING:
        return blob_footprint(<Blob *>entry_pointer(entry))
    hooks = &database.types[<int>entry_type(entry)]
    return hooks.footprint(entry_encoding(entry), entry_pointer(entry))


cdef inline void payload_free(Store *store, Database *database, Entry *entry) noexcept nogil:
    """Drop what the value points to. store: NULL for a database that was detached."""
    if likely(not entry_has_pointer(entry)):
        return
    if entry_type(entry) == TYPE_STRING:
        drop_blob(store, &database.pool, <Blob *>entry_pointer(entry))
    else:
        drop_value(store, database, &database.types[<int>entry_type(entry)],
                   entry_encoding(entry), entry_pointer(entry))


cdef void *payload_copy(Database *source, Database *target, const Entry *entry) noexcept nogil:
    """A value like this one for another entry, charged to the target's pool."""
    cdef Blob *blob
    if entry_type(entry) == TYPE_STRING:
        blob = <Blob *>entry_pointer(entry)
        blob_retain(blob)
        pool_charge(&target.pool, blob_footprint(blob))
        return blob
    return source.types[<int>entry_type(entry)].copy(
        &target.pool, entry_encoding(entry), entry_pointer(entry))


cdef void drop_blob(Store *store, Pool *pool, Blob *blob) noexcept nogil:
    if pool.total != NULL:
        pool_discharge(pool, blob_footprint(blob))
    if (store != NULL and store.hooks.free_blob != NULL and blob.length > FREE_LATER_BYTES
            and blob_references(blob) == 1):
        store.hooks.free_blob(store.hooks.reaper, blob)
    else:
        blob_release(blob)


cdef void drop_value(Store *store, Database *database, const TypeHooks *hooks,
                     EntryEncoding encoding, void *value) noexcept nogil:
    if (store != NULL and store.hooks.free_value != NULL
            and hooks.effort(encoding, value) > FREE_LATER_EFFORT):
        pool_discharge(&database.pool, hooks.footprint(encoding, value))
        store.hooks.free_value(store.hooks.reaper, hooks, encoding, value)
    else:
        hooks.free(&database.pool, encoding, value)


cdef uint64_t store_entry_footprint(const Store *store, const Entry *entry) noexcept nogil:
    cdef uint64_t total = malloc_usable_size(entry)
    if entry_has_pointer(entry):
        if entry_type(entry) == TYPE_STRING:
            total += blob_footprint(<Blob *>entry_pointer(entry))
        else:
            total += store.types[<int>entry_type(entry)].footprint(
                entry_encoding(entry), entry_pointer(entry))
    return total


# Lookups

cdef inline uint64_t *find_bucket(Store *store, const Key *key) noexcept nogil:
    cdef Database *database = store.databases[key.database]
    cdef Table *table
    if unlikely(database == NULL):
        return NULL
    table = database.keys[key.slot]
    if unlikely(table == NULL):
        return NULL
    return table_find(table, key.hash, key.data, key.length)


cdef void store_prefetch_table(Store *store, const Key *key) noexcept nogil:
    cdef Database *database = store.databases[key.database]
    if likely(database != NULL):
        prefetch(database.keys[key.slot])


cdef void store_prefetch_bucket(Store *store, const Key *key) noexcept nogil:
    cdef Database *database = store.databases[key.database]
    cdef Table *table
    if unlikely(database == NULL):
        return
    table = database.keys[key.slot]
    if likely(table != NULL):
        prefetch(table_buckets(table) + (key.hash & table.mask))


cdef void store_prefetch_entry(Store *store, const Key *key) noexcept nogil:
    cdef Database *database = store.databases[key.database]
    cdef Table *table
    cdef uint64_t *buckets
    cdef uint64_t tag = key.hash & 0xFFFFF
    cdef size_t i
    if unlikely(database == NULL):
        return
    table = database.keys[key.slot]
    if unlikely(table == NULL):
        return
    buckets = table_buckets(table)
    i = key.hash & table.mask
    while buckets[i]:
        if (buckets[i] & 0xFFFFF) == tag:
            prefetch(bucket_entry(buckets[i]))
            prefetch(<char *>bucket_entry(buckets[i]) + 40)
            return
        i = (i + 1) & table.mask


cdef Entry *store_find(Store *store, const Key *key) noexcept nogil:
    cdef uint64_t *bucket = find_bucket(store, key)
    return bucket_entry(bucket[0]) if bucket != NULL else NULL


cdef bint store_is_expired(const Store *store, const Entry *entry) noexcept nogil:
    return entry.key_flags & FLAG_EXPIRES != 0 and entry_expire_ms(entry) < store.now_ms


cdef inline uint64_t *live_bucket(Store *store, const Key *key) noexcept:
    """The bucket of a key that has not expired; one that has is removed first."""
    cdef uint64_t *bucket = find_bucket(store, key)
    if bucket != NULL and unlikely(store_is_expired(store, bucket_entry(bucket[0]))):
        if not store.quiet:
            store_remove(store, key, bucket_entry(bucket[0]), REMOVED_EXPIRED)
        return NULL
    return bucket


cdef inline void tell_before(Store *store, const Key *key, uint64_t *bucket) noexcept nogil:
    """The key is about to change, or to be opened for a change; bucket: where it is, or NULL."""
    if unlikely(store.listening & LISTEN_BEFORE):
        store.hooks.before_change(store.hooks.effects, store, key,
                                  bucket_entry(bucket[0]) if bucket != NULL else NULL)


cdef inline uint64_t *changing_bucket(Store *store, const Key *key) noexcept:
    """live_bucket for whoever changes the key in its place."""
    cdef uint64_t *bucket = live_bucket(store, key)
    if DEBUG:
        store.touches += 1
    tell_before(store, key, bucket)
    return bucket


cdef inline uint64_t *replaced_bucket(Store *store, const Key *key) noexcept:
    """live_bucket for whoever gives the key another value."""
    cdef uint64_t *bucket = live_bucket(store, key)
    if DEBUG:
        store.touches += 1
    tell_before(store, key, bucket)
    if unlikely(store.listening & LISTEN_REMOVED) and bucket != NULL:
        store.hooks.removed(store.hooks.effects, store, key, bucket_entry(bucket[0]),
                            REMOVED_OVERWRITTEN)
    return bucket


cdef Entry *store_read(Store *store, const Key *key, bint touch) noexcept:
    cdef uint64_t *bucket = live_bucket(store, key)
    if DEBUG:
        store.touches += 1
    if bucket == NULL:
        store.misses += 1
        if unlikely(store.listening & LISTEN_CHANGED):
            store.hooks.missed(store.hooks.effects, store, key)
        return NULL
    store.hits += 1
    if touch:
        store_touch(store, bucket_entry(bucket[0]))
    return bucket_entry(bucket[0])


cdef Entry *store_look(Store *store, const Key *key) noexcept:
    cdef uint64_t *bucket = live_bucket(store, key)
    if DEBUG:
        store.touches += 1
    if bucket == NULL:
        store.misses += 1
        return NULL
    store.hits += 1
    return bucket_entry(bucket[0])


cdef Entry *store_write(Store *store, const Key *key) noexcept:
    cdef uint64_t *bucket = live_bucket(store, key)
    if bucket == NULL:
        return NULL
    tell_before(store, key, bucket)
    store_touch(store, bucket_entry(bucket[0]))
    return bucket_entry(bucket[0])


# Making and unmaking entries

cdef void index_expiry(Store *store, Database *database, const Key *key,
                       Entry *entry) noexcept nogil:
    if unlikely(database.expiring == NULL):
        database.expiring = <Table **>pool_zeroed(&database.pool, SLOTS * sizeof(Table *))
        database.expiring_tree = <uint32_t *>pool_zeroed(&database.pool, SLOTS * sizeof(uint32_t))
    table_insert(&database.pool, &store.rules, &database.expiring[key.slot], entry, key.hash)
    fenwick_add(database.expiring_tree, key.slot, 1)
    database.expiring_size += 1


cdef void unindex_expiry(Store *store, Database *database, const Key *key,
                         const Entry *entry) noexcept nogil:
    cdef uint64_t *bucket = table_find_bits(database.expiring[key.slot], key.hash,
                                            bucket_of(entry, key.hash))
    table_remove(&database.pool, &store.rules, &database.expiring[key.slot], bucket)
    fenwick_add(database.expiring_tree, key.slot, -1)
    database.expiring_size -= 1


cdef inline void unlink(Store *store, Database *database, const Key *key, Entry *entry,
                        uint64_t *bucket) noexcept nogil:
    """Take an entry out of both tables; it is not freed."""
    if entry.key_flags & FLAG_EXPIRES:
        unindex_expiry(store, database, key, entry)
    table_remove(&database.pool, &store.rules, &database.keys[key.slot], bucket)
    fenwick_add(database.keys_tree, key.slot, -1)
    database.size -= 1


cdef void tell_removed(Store *store, const Key *key, Entry *entry,
                       RemoveReason reason) noexcept nogil:
    if store.listening & LISTEN_BEFORE:
        store.hooks.before_change(store.hooks.effects, store, key, entry)
    store.hooks.removed(store.hooks.effects, store, key, entry, reason)


cdef void discard(Store *store, const Key *key, Entry *entry, uint64_t *bucket) noexcept nogil:
    """Delete an entry. The key may be the entry's own bytes: they go last."""
    cdef Database *database = store.databases[key.database]
    unlink(store, database, key, entry, bucket)
    payload_free(store, database, entry)
    pool_free(&database.pool, entry)


cdef void store_remove(Store *store, const Key *key, Entry *entry, RemoveReason reason) noexcept:
    if DEBUG:
        store.touches += 1
    if unlikely(store.listening):
        tell_removed(store, key, entry, reason)
    if reason == REMOVED_EXPIRED:
        store.expired += 1
    discard(store, key, entry, find_bucket(store, key))


cdef bint store_delete(Store *store, const Key *key) noexcept:
    cdef uint64_t *bucket = live_bucket(store, key)
    if bucket == NULL:
        return False
    if DEBUG:
        store.touches += 1
    if unlikely(store.listening):
        tell_removed(store, key, bucket_entry(bucket[0]), REMOVED_DELETED)
    discard(store, key, bucket_entry(bucket[0]), bucket)
    return True


cdef bint store_clear(Store *store, const Key *key) noexcept:
    cdef uint64_t *bucket = find_bucket(store, key)
    if bucket == NULL:
        return False
    if DEBUG:
        store.touches += 1
    if unlikely(store.listening):
        tell_removed(store, key, bucket_entry(bucket[0]), REMOVED_DELETED)
    discard(store, key, bucket_entry(bucket[0]), bucket)
    return True


cdef inline uint32_t key_flags(size_t n, bint expires) noexcept nogil:
    cdef uint32_t flags = <uint32_t>(n & KEY_LENGTH_MASK)
    if expires:
        flags |= FLAG_EXPIRES
    if unlikely(n > KEY_LENGTH_MASK):
        flags |= FLAG_LONG_KEY
    return flags


cdef inline void write_key(Entry *entry, uint32_t flags, const char *key, size_t n,
                           int64_t expire_ms) noexcept nogil:
    """Everything between the header and the value. The key may lie in this entry already."""
    cdef char *data = <char *>entry + prefix_bytes(flags)
    memmove(data, key, n)
    if unlikely(flags & FLAG_LONG_KEY):
        store32(data - 4, <uint32_t>(n >> 24))
    if flags & FLAG_EXPIRES:
        store64(<char *>entry + HEADER_BYTES, <uint64_t>expire_ms)
    entry.key_flags = (entry.key_flags & EPOCH_MASK) | flags


cdef inline Entry *entry_new(Store *store, Database *database, const Key *key, EntryType type,
                             EntryEncoding encoding, size_t value_bytes,
                             int64_t expire_ms) noexcept nogil:
    cdef uint32_t flags = key_flags(key.length, expire_ms != EXPIRE_NONE)
    cdef Entry *entry = <Entry *>pool_alloc(
        &database.pool, prefix_bytes(flags) + key.length + value_bytes)
    entry.lru_type = lru_start(store)
    entry_set_kind(entry, type, encoding)
    entry.key_flags = store.snapshot_epoch << EPOCH_SHIFT
    entry.value_length = <uint32_t>value_bytes
    write_key(entry, flags, key.data, key.length, expire_ms)
    return entry


cdef inline void link(Store *store, Database *database, const Key *key,
                      Entry *entry) noexcept nogil:
    """Put a new entry into both tables; no entry has its key."""
    if unlikely(store.listening & LISTEN_CHANGED):
        store.hooks.created(store.hooks.effects, store, key)
    table_insert(&database.pool, &store.rules, &database.keys[key.slot], entry, key.hash)
    fenwick_add(database.keys_tree, key.slot, 1)
    database.size += 1
    if entry.key_flags & FLAG_EXPIRES:
        index_expiry(store, database, key, entry)


cdef inline void moved(Database *database, const Key *key, Entry *entry, uint64_t *bucket,
                       bint indexed) noexcept nogil:
    """An entry's address has changed: both tables learn of it. bucket: its place in `keys`."""
    cdef uint64_t bits = bucket_of(entry, key.hash)
    if indexed:
        table_find_bits(database.expiring[key.slot], key.hash, bucket[0])[0] = bits
    bucket[0] = bits


cdef inline bint fits(const Entry *entry, size_t bytes) noexcept nogil:
    """Whether an entry's allocation can hold that many bytes without waste."""
    cdef size_t usable = malloc_usable_size(entry)
    return bytes <= usable and (usable - bytes <= WASTE_BYTES_MAX or bytes >= usable // 2)


cdef Entry *place(Store *store, const Key *key, uint64_t *bucket, EntryType type,
                  EntryEncoding encoding, size_t value_bytes, int64_t expire_ms) noexcept nogil:
    """Make the key's entry what is asked for, its value yet to be written.

    bucket: where the key is now, or NULL. Its old value is gone afterwards; the LFU counter and
    the snapshot epoch stay.
    """
    cdef Database *database = database_open(store, key.database)
    cdef Entry *before
    cdef Entry *entry
    cdef bint indexed, expires
    cdef uint32_t flags
    cdef size_t bytes
    if bucket == NULL:
        if expire_ms == EXPIRE_KEEP:
            expire_ms = EXPIRE_NONE
        entry = entry_new(store, database, key, type, encoding, value_bytes, expire_ms)
        link(store, database, key, entry)
        return entry

    before = entry = bucket_entry(bucket[0])
    payload_free(store, database, before)
    indexed = before.key_flags & FLAG_EXPIRES != 0
    if expire_ms == EXPIRE_KEEP:
        expire_ms = entry_expire_ms(before)
    expires = expire_ms != EXPIRE_NONE
    if indexed and not expires:
        unindex_expiry(store, database, key, before)
        indexed = False
    flags = key_flags(key.length, expires)
    bytes = prefix_bytes(flags) + key.length + value_bytes
    if not fits(before, bytes):
        entry = <Entry *>pool_alloc(&database.pool, bytes)
        entry.lru_type = before.lru_type
        entry.key_flags = before.key_flags
        moved(database, key, entry, bucket, indexed)
    entry_set_kind(entry, type, encoding)
    if likely(not store.lfu and not store.no_touch):
        entry_set_lru(entry, lru_clock(store))
    entry.value_length = <uint32_t>value_bytes
    write_key(entry, flags, key.data, key.length, expire_ms)
    if entry != before:
        pool_free(&database.pool, before)
    if expires and not indexed:
        index_expiry(store, database, key, entry)
    return entry


# Strings

cdef Entry *set_blob_at(Store *store, const Key *key, uint64_t *bucket, Blob *blob,
                        int64_t expire_ms) noexcept nogil:
    cdef Entry *entry = place(store, key, bucket, TYPE_STRING, ENCODING_BLOB, 8, expire_ms)
    store64(entry_value(entry), <uint64_t><size_t>blob)
    pool_charge(&store.databases[key.database].pool, blob_footprint(blob))
    return entry


cdef Entry *store_set_string(Store *store, const Key *key, const char *value, size_t n,
                             int64_t expire_ms, int form) noexcept:
    cdef uint64_t *bucket = replaced_bucket(store, key)
    cdef Entry *entry
    cdef Blob *blob
    cdef int64_t number
    cdef EntryEncoding encoding = ENCODING_RAW
    if form != FORM_RAW and n <= EMBSTR_BYTES_MAX:
        if (form == FORM_SHORTEST and n <= 20 and n > 0
                and (<uint8_t>(value[0] - 48) <= 9 or value[0] == c'-')
                and parse_int64(value, n, &number)):
            entry = place(store, key, bucket, TYPE_STRING, ENCODING_INT, 8, expire_ms)
            store64(entry_value(entry), <uint64_t>number)
            return entry
        encoding = ENCODING_EMBSTR
    if likely(n <= store.inline_bytes_max):
        entry = place(store, key, bucket, TYPE_STRING, encoding, n, expire_ms)
        memcpy(entry_value(entry), value, n)
        return entry
    blob = entry_blob(bucket_entry(bucket[0])) if bucket != NULL else NULL
    if (blob != NULL and blob_is_growable(blob) and blob_references(blob) == 1
            and blob_capacity(blob) >= n and blob_capacity(blob) // 2 <= n):
        memcpy(<char *>blob.data, value, n)
        blob.length = n
        if expire_ms != EXPIRE_KEEP:
            return set_expire_at(store, key, bucket, expire_ms)
        return bucket_entry(bucket[0])
    blob = blob_new(n, n, False)
    memcpy(<char *>blob.data, value, n)
    return set_blob_at(store, key, bucket, blob, expire_ms)


cdef Entry *store_set_integer(Store *store, const Key *key, int64_t value,
                              int64_t expire_ms) noexcept:
    cdef uint64_t *bucket = changing_bucket(store, key)
    cdef Entry *entry
    if bucket != NULL and expire_ms == EXPIRE_KEEP:
        entry = bucket_entry(bucket[0])
        if entry_type(entry) == TYPE_STRING and entry_encoding(entry) == ENCODING_INT:
            store64(entry_value(entry), <uint64_t>value)
            return entry
    entry = place(store, key, bucket, TYPE_STRING, ENCODING_INT, 8, expire_ms)
    store64(entry_value(entry), <uint64_t>value)
    return entry


cdef Entry *store_set_blob(Store *store, const Key *key, Blob *blob, int64_t expire_ms) noexcept:
    return set_blob_at(store, key, replaced_bucket(store, key), blob, expire_ms)


cdef inline size_t with_spare(size_t length) noexcept nogil:
    return length * 2 if length < SPARE_BYTES_MAX else length + SPARE_BYTES_MAX


cdef char *open_blob(Store *store, const Key *key, uint64_t *bucket, size_t length,
                     bint spare) noexcept nogil:
    """A string's bytes as a private, growable blob of that length, the new ones zeroed."""
    cdef Database *database = store.databases[key.database]
    cdef Entry *entry = bucket_entry(bucket[0])
    cdef Blob *blob = entry_blob(entry)
    cdef Blob *copy
    cdef char scratch[24]
    cdef const char *data
    cdef size_t n
    cdef bint fresh
    data = entry_string(entry, scratch, &n)
    fresh = blob == NULL or not blob_is_growable(blob) or blob_references(blob) != 1
    if fresh or (length > SPARE_BYTES_MAX and length // 2 > blob_capacity(blob)):
        # Much more than there was is mapped as zeros, instead of being written.
        copy = blob_new(length, with_spare(length) if spare and n else length, True)
        memcpy(<char *>copy.data, data, n if n < length else length)
        set_blob_at(store, key, bucket, copy, EXPIRE_KEEP)
        return <char *>copy.data
    if blob_capacity(blob) < length:
        pool_discharge(&database.pool, blob_footprint(blob))
        blob_reserve(blob, with_spare(length) if spare else length)
        pool_charge(&database.pool, blob_footprint(blob))
    if length > n:
        memset(<char *>blob.data + n, 0, length - n)
    blob.length = length
    return <char *>blob.data


cdef char *open_inline(Store *store, const Key *key, uint64_t *bucket, size_t length,
                       bint spare) noexcept nogil:
    """A string's bytes in its entry, raw and of that length, the new ones zeroed."""
    cdef Database *database = store.databases[key.database]
    cdef Entry *before = bucket_entry(bucket[0])
    cdef Entry *entry = before
    cdef bint indexed = before.key_flags & FLAG_EXPIRES != 0
    cdef size_t head = <size_t>(entry_value(before) - <char *>before)
    cdef size_t n, room
    cdef char scratch[24]
    cdef bint number = entry_encoding(before) == ENCODING_INT
    entry_string(before, scratch, &n)
    if malloc_usable_size(before) < head + length:
        room = with_spare(length) if spare and n else length
        if room > store.inline_bytes_max:
            room = store.inline_bytes_max if store.inline_bytes_max > length else length
        entry = <Entry *>pool_resize(&database.pool, before, head + room)
        if entry != before:
            moved(database, key, entry, bucket, indexed)
    if number:
        memcpy(<char *>entry + head, scratch, n)
    if length > n:
        memset(<char *>entry + head + n, 0, length - n)
    entry_set_kind(entry, TYPE_STRING, ENCODING_RAW)
    entry.value_length = <uint32_t>length
    return <char *>entry + head


cdef char *open_string(Store *store, const Key *key, uint64_t *bucket, size_t length,
                       bint spare) noexcept nogil:
    cdef Entry *entry
    cdef Blob *blob
    if bucket == NULL:
        if length <= store.inline_bytes_max:
            entry = place(store, key, NULL, TYPE_STRING, ENCODING_RAW, length, EXPIRE_NONE)
            memset(entry_value(entry), 0, length)
            return entry_value(entry)
        blob = blob_new(length, length, True)
        set_blob_at(store, key, NULL, blob, EXPIRE_NONE)
        return <char *>blob.data
    if length > store.inline_bytes_max or entry_blob(bucket_entry(bucket[0])) != NULL:
        return open_blob(store, key, bucket, length, spare)
    return open_inline(store, key, bucket, length, spare)


cdef char *store_open_string(Store *store, const Key *key, size_t length, bint spare) noexcept:
    cdef uint64_t *bucket = changing_bucket(store, key)
    cdef char scratch[24]
    cdef size_t n = 0
    if bucket != NULL:
        entry_string(bucket_entry(bucket[0]), scratch, &n)
    return open_string(store, key, bucket, length if length > n else n, spare)


cdef size_t store_append(Store *store, const Key *key, const char *value, size_t n) noexcept:
    cdef uint64_t *bucket = changing_bucket(store, key)
    cdef char scratch[24]
    cdef size_t length
    if bucket == NULL:
        store_set_string(store, key, value, n, EXPIRE_NONE, FORM_SHORTEST)
        return n
    entry_string(bucket_entry(bucket[0]), scratch, &length)
    if length + n < n:
        out_of_memory(n)
    memcpy(open_string(store, key, bucket, length + n, True) + length, value, n)
    return length + n


cdef size_t store_set_range(Store *store, const Key *key, size_t offset, const char *value,
                            size_t n) noexcept:
    cdef uint64_t *bucket = changing_bucket(store, key)
    cdef char scratch[24]
    cdef size_t length = 0
    if bucket != NULL:
        entry_string(bucket_entry(bucket[0]), scratch, &length)
    if n == 0:
        return length
    if offset + n < n:
        out_of_memory(n)
    if offset + n > length:
        length = offset + n
    memcpy(open_string(store, key, bucket, length, True) + offset, value, n)
    return length


# Collections

cdef Pool *store_pool(Store *store, uint32_t database) noexcept nogil:
    return &database_open(store, database).pool


cdef Entry *store_set_value(Store *store, const Key *key, EntryType type, EntryEncoding encoding,
                            void *value, int64_t expire_ms) noexcept:
    cdef Entry *entry
    if unlikely(store.types[<int>type].free == NULL):
        fatal("a value of a type that is not registered")
    entry = place(store, key, replaced_bucket(store, key), type, encoding, 8, expire_ms)
    store64(entry_value(entry), <uint64_t><size_t>value)
    return entry


cdef uint64_t store_value_length(const Store *store, const Entry *entry) noexcept nogil:
    return store.types[<int>entry_type(entry)].length(entry_encoding(entry), entry_pointer(entry))


cdef bint store_drop_if_empty(Store *store, const Key *key, const Entry *entry) noexcept:
    cdef EntryType type = entry_type(entry)
    cdef uint64_t *bucket
    if type == TYPE_STRING or type == TYPE_STREAM or store_value_length(store, entry):
        return False
    bucket = find_bucket(store, key)
    if unlikely(store.listening):
        tell_removed(store, key, bucket_entry(bucket[0]), REMOVED_DELETED)
    discard(store, key, bucket_entry(bucket[0]), bucket)
    return True


# Expiry

cdef Entry *set_expire_at(Store *store, const Key *key, uint64_t *bucket,
                          int64_t expire_ms) noexcept nogil:
    cdef Database *database = store.databases[key.database]
    cdef Entry *before = bucket_entry(bucket[0])
    cdef Entry *entry = before
    cdef size_t head = prefix_bytes(before.key_flags)
    cdef size_t bytes = entry_bytes(before)
    if expire_ms == EXPIRE_NONE:
        if before.key_flags & FLAG_EXPIRES:
            unindex_expiry(store, database, key, before)
            memmove(<char *>entry + HEADER_BYTES, <char *>entry + HEADER_BYTES + 8,
                    bytes - HEADER_BYTES - 8)
            entry.key_flags &= ~<uint32_t>FLAG_EXPIRES
        return entry
    if not before.key_flags & FLAG_EXPIRES:
        if malloc_usable_size(before) < bytes + 8:
            entry = <Entry *>pool_resize(&database.pool, before, bytes + 8)
            if entry != before:
                moved(database, key, entry, bucket, False)
        memmove(<char *>entry + HEADER_BYTES + 8, <char *>entry + HEADER_BYTES,
                bytes - HEADER_BYTES)
        entry.key_flags |= FLAG_EXPIRES
        index_expiry(store, database, key, entry)
    store64(<char *>entry + HEADER_BYTES, <uint64_t>expire_ms)
    return entry


cdef Entry *store_set_expire(Store *store, const Key *key, int64_t expire_ms) noexcept:
    cdef uint64_t *bucket = find_bucket(store, key)
    if expire_ms == EXPIRE_KEEP:
        return bucket_entry(bucket[0])
    tell_before(store, key, bucket)
    return set_expire_at(store, key, bucket, expire_ms)


# Whole entries

cdef Entry *transplant(Store *store, const Key *source, const Key *target, bint copy) noexcept:
    cdef Entry *before = store_find(store, source)
    cdef Entry *entry
    cdef Database *home = store.databases[source.database]
    cdef Database *database = database_open(store, target.database)
    cdef uint64_t *bucket
    cdef uint64_t bytes
    bucket = live_bucket(store, target)
    if bucket != NULL:
        if bucket_entry(bucket[0]) == before:
            return before
        if unlikely(store.listening):
            tell_removed(store, target, bucket_entry(bucket[0]), REMOVED_OVERWRITTEN)
        discard(store, target, bucket_entry(bucket[0]), bucket)
    else:
        tell_before(store, target, NULL)
    if unlikely(store.listening) and not copy:
        tell_removed(store, source, before, REMOVED_MOVED)
    entry = entry_new(store, database, target, entry_type(before), entry_encoding(before),
                      before.value_length, entry_expire_ms(before))
    memcpy(entry_value(entry), entry_value(before), before.value_length)
    if copy:
        if entry_has_pointer(before):
            store64(entry_value(entry), <uint64_t><size_t>payload_copy(home, database, before))
    else:
        bytes = payload_bytes(home, before)
        unlink(store, home, source, before, find_bucket(store, source))
        pool_free(&home.pool, before)
        pool_discharge(&home.pool, bytes)
        pool_charge(&database.pool, bytes)
    link(store, database, target, entry)
    return entry


cdef Entry *store_rename(Store *store, const Key *source, const Key *target) noexcept:
    return transplant(store, source, target, False)


cdef Entry *store_copy(Store *store, const Key *source, const Key *target) noexcept:
    return transplant(store, source, target, True)


# Walking over many

cdef Entry *store_random_entry(Store *store, uint32_t number, bint expiring) noexcept nogil:
    cdef Database *database = store.databases[number]
    cdef uint32_t *tree
    cdef uint64_t total
    cdef uint32_t slot
    if database == NULL:
        return NULL
    total = database.expiring_size if expiring else database.size
    if total == 0:
        return NULL
    tree = database.expiring_tree if expiring else database.keys_tree
    slot = fenwick_find(tree, (store_random(store) >> 8) % total)
    return table_random((database.expiring if expiring else database.keys)[slot],
                        store_random(store))


cdef uint64_t store_walk(Store *store, uint32_t number, bint expiring, uint64_t cursor,
                         uint64_t count, uint32_t first, uint32_t last,
                         EntryList *found) noexcept nogil:
    """O(count), whatever the number of empty slots. The cursor: slot, then the next home << 14."""
    cdef Database *database = store.databases[number]
    cdef Table **tables
    cdef uint32_t *tree
    cdef uint32_t slot = <uint32_t>(cursor & (SLOTS - 1))
    cdef uint64_t home = cursor >> SLOT_BITS
    cdef size_t wanted = found.count + count
    cdef uint64_t visits = count * 10
    if database == NULL or (database.expiring_size if expiring else database.size) == 0:
        return 0
    tables = database.expiring if expiring else database.keys
    tree = database.expiring_tree if expiring else database.keys_tree
    if last >= SLOTS:
        last = SLOTS - 1
    if slot < first:
        slot = first
        home = 0
    while True:
        if slot > last:
            return 0
        if tables[slot] == NULL:
            slot = fenwick_next(tree, slot)
            home = 0
            continue
        if found.count >= wanted or visits == 0:
            return home << SLOT_BITS | slot
        home = table_scan(&store.rules, tables[slot], home, found)
        visits -= 1
        if home == 0:
            slot += 1
