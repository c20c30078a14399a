"""The keyspace of one shard: databases, one native table per hash slot, expiry, SCAN, memory.

Contract
1. All state of a shard is in its Store; several Stores can live in one process. Nothing here knows
   commands, replies or sockets. Time is `store.now_ms`, set by the executor (or a test) before
   each command; randomness is `store.random_state`.
2. An Entry is one allocation (layout in shards/keyspace/entry.pxd). Entry pointers die with any
   call that changes the same key; bucket addresses die with any call that changes any key. No
   pointer may be kept across commands, and no value handed in may point into the entry that is
   changed.
3. `store_find` is a pure lookup. `store_read` / `store_write` are what commands use: an entry that
   has expired is removed first (through the `removed` hook), LRU/LFU is maintained. Whatever else
   changes or deletes a key treats an expired entry likewise: it is removed through the hook first.
   What `store_read` or `store_find` gave is not changed unless `store_changing` has said so;
   `store_write` says so itself.
   The hook changes nothing in the store and does not use `scratch`.
4. Every byte allocated is counted in `used_memory` by malloc_usable_size; the invariants module
   recounts it. A Blob that two entries share is charged to both, as each may have to copy it.
5. O(1) unless said otherwise; no operation stalls on a resize (big tables rehash incrementally).
6. A type's structures are freed, copied and measured through `store.types`, nowhere else.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from protocol.native cimport unlikely
from shards.memory.blob cimport Blob
from shards.keyspace.entry cimport Entry, EntryEncoding, EntryType
from shards.memory.allocation cimport NodeHook, Pool
from shards.keyspace.table cimport EntryList, Table, TableRules
from shards.types.dict cimport DictRules
from shards.types.kinds cimport TypeHooks
from shards.types.limits cimport EncodingLimits

cdef enum RemoveReason:
    REMOVED_EXPIRED = 1
    REMOVED_EVICTED = 2
    REMOVED_DELETED = 3
    REMOVED_OVERWRITTEN = 4     # another value takes its place
    REMOVED_MOVED = 5           # its value goes on under another key or in another database

cdef enum Listening:            # the bits of Store.listening
    LISTEN_BEFORE = 1           # before_change and before_node
    LISTEN_CHANGED = 2  # changed, created and missed: events, WATCH, tracking, blocked clients
    LISTEN_REMOVED = 4
    LISTEN_RECORDS = 8          # what is to be logged
    LISTEN_COMMANDS = 16        # where each command begins and ends

cdef struct Key:                # all that is known of a key before it is looked up
    const char *data
    size_t length
    uint64_t hash               # store_hash(...)
    uint32_t slot
    uint32_t database           # physical

cdef struct Database:
    Table **keys                # [SLOTS], owned; NULL where a slot is empty
    Table **expiring            # [SLOTS], owned; only those with a TTL; NULL until one has it
    uint32_t *keys_tree         # Fenwick tree over key counts by slot
    uint32_t *expiring_tree     # NULL until a key has a TTL
    uint64_t size               # keys
    uint64_t expiring_size      # keys with a TTL
    uint64_t expire_cursor      # where active expiry goes on in the TTL index
    double average_ttl_ms       # a running average, as INFO keyspace shows it; 0: unknown
    Pool pool                   # all its memory, entries and values included
    const TypeHooks *types      # [16], by EntryType; borrowed from the store

# What the store tells those above it. The effects' ones are called while `listening` has their bit.
cdef struct Hooks:
    void *effects               # the owner of those that tell of effects (shards/lane/effects)
    # Before the first change of a key, its expiry included; entry is NULL if there is none. Also
    # before a write-open that changes nothing, and again for further changes.
    void (*before_change)(void *effects, Store *store, const Key *key, Entry *entry) noexcept nogil
    # A key that was absent is about to be made; a read has missed a key.
    void (*created)(void *effects, Store *store, const Key *key) noexcept nogil
    void (*missed)(void *effects, Store *store, const Key *key) noexcept nogil
    # Before an entry goes, or its value is replaced. It must not change the keyspace.
    void (*removed)(void *effects, Store *store, const Key *key, Entry *entry,
                    RemoveReason reason) noexcept nogil
    # Before a database (by its physical number) is emptied, and after two (logical) were swapped.
    void (*emptied)(void *effects, Store *store, uint32_t database) noexcept nogil
    void (*swapped)(void *effects, Store *store, uint32_t first, uint32_t second) noexcept nogil
    const NodeHook *node_hook   # what the databases' pools have; NULL: nobody
    void *reaper                # the owner of the next two
    # Takes over the last reference to a blob of more than FREE_LATER_BYTES; NULL: freed at once.
    void (*free_blob)(void *reaper, Blob *blob) noexcept nogil
    # The same for a collection that costs more than FREE_LATER_EFFORT; its memory is not counted
    # any more. NULL: freed at once.
    void (*free_value)(void *reaper, const TypeHooks *hooks, EntryEncoding encoding,
                       void *value) noexcept nogil

cdef struct Store:
    Database **databases        # [database_count], owned; by physical number; NULL until first used
    uint16_t *physical          # [database_count], owned; logical to physical (SWAPDB)
    uint32_t database_count
    uint64_t seed[2]            # SipHash-1-3 key, the same on every shard of the server
    uint64_t used_memory        # bytes, by malloc_usable_size
    int64_t now_ms              # the command's time, Unix epoch
    uint64_t random_state[2]
    bint lfu                    # maxmemory-policy is an LFU one
    uint32_t lfu_log_factor
    uint32_t lfu_decay_minutes
    uint32_t snapshot_epoch     # 0..3, compared with an entry's epoch bits (persistence)
    uint64_t hits
    uint64_t misses
    uint64_t expired
    uint64_t expired_time_cap_reached
    double expired_stale_percent
    uint64_t changes            # "dirty"
    uint32_t listening          # Listening; 0: no hook of effects is called
    uint64_t touches  # looks with a trace (LRU, statistics, changes); in debug builds only
    Hooks hooks
    bint no_touch               # this command leaves LRU/LFU alone (CLIENT NO-TOUCH)
    bint quiet                  # expired keys that it meets stay, unseen
    # Whether a key, by hash and slot, must stay as it is although it has expired; NULL: none must.
    bint (*locked)(void *locks, uint64_t hash, uint32_t slot) noexcept
    void *locks
    uint32_t inline_bytes_max   # strings beyond become blobs; INLINE_BYTES_MAX but in tests
    TableRules rules
    DictRules zset_rules        # of the members of big sorted sets
    EncodingLimits limits       # Redis's defaults until Keyspace.set_limits
    DictRules dict_rules        # of all big hashes and sets
    Pool pool                   # what belongs to no database
    EntryList scratch           # for one call at a time
    uint32_t expire_database    # the physical database active expiry looks at next
    const TypeHooks *types      # [16], by EntryType; static

cdef enum:
    FREE_LATER_BYTES = 1048576
    FREE_LATER_EFFORT = 64      # allocations, as Redis's lazy freeing has it

cdef enum:                      # what a string is stored as: int, embstr or raw
    FORM_SHORTEST = 0           # an int if it is one
    FORM_RAW = 1                # raw, as SETRANGE and APPEND do
    FORM_TEXT = 2               # never an int, as INCRBYFLOAT's result

cdef Store *store_new(uint32_t databases, uint64_t seed0, uint64_t seed1,
                      uint64_t random_seed) noexcept nogil
cdef void store_free(Store *store) noexcept nogil              # O(n)

cdef uint64_t store_hash(const Store *store, const char *key, size_t n) noexcept nogil
cdef uint64_t store_random(Store *store) noexcept nogil        # 64 random bits
# The prefetch passes: the slot's table, the bucket line, the entry it names. Hints only.
cdef void store_prefetch_table(Store *store, const Key *key) noexcept nogil
cdef void store_prefetch_bucket(Store *store, const Key *key) noexcept nogil
cdef void store_prefetch_entry(Store *store, const Key *key) noexcept nogil

cdef Entry *store_find(Store *store, const Key *key) noexcept nogil
cdef Entry *store_read(Store *store, const Key *key, bint touch) noexcept  # counts hits and misses
# The same, but it tells nobody of a miss.
cdef Entry *store_look(Store *store, const Key *key) noexcept
cdef Entry *store_write(Store *store, const Key *key) noexcept             # does not
# Before a change in place of a key that was opened by store_read or store_find. No look is counted.
cdef inline void store_changing(Store *store, const Key *key) noexcept nogil:
    if unlikely(store.listening & LISTEN_BEFORE):
        store.hooks.before_change(store.hooks.effects, store, key, store_find(store, key))
cdef bint store_is_expired(const Store *store, const Entry *entry) noexcept nogil

cdef bint store_delete(Store *store, const Key *key) noexcept                  # True: it existed
# The same, but a key that has expired is deleted as any other: it is not looked at, as when a
# command of Redis has a destination and nothing to put there.
cdef bint store_clear(Store *store, const Key *key) noexcept
# Remove an entry that is there through the hook: expired, or evicted.
cdef void store_remove(Store *store, const Key *key, Entry *entry, RemoveReason reason) noexcept
# Set a string, whatever was there. expire_ms: a time, EXPIRE_NONE or EXPIRE_KEEP. form: FORM_...
# Setting refreshes the LRU clock but counts no LFU access: that is store_write's, once a command.
cdef Entry *store_set_string(Store *store, const Key *key, const char *value, size_t n,
                             int64_t expire_ms, int form) noexcept
cdef Entry *store_set_integer(Store *store, const Key *key, int64_t value,
                              int64_t expire_ms) noexcept
# Takes over the caller's reference.
cdef Entry *store_set_blob(Store *store, const Key *key, Blob *blob, int64_t expire_ms) noexcept
# Collections. Their memory is that of a database; the pool is what all calls of a structure take.
cdef Pool *store_pool(Store *store, uint32_t database) noexcept nogil
# Set a collection, whatever was there. Takes over the structure, which was made in that pool.
# In-place changes need no call but entry_set_pointer when the structure's address or encoding did.
cdef Entry *store_set_value(Store *store, const Key *key, EntryType type, EntryEncoding encoding,
                            void *value, int64_t expire_ms) noexcept
cdef uint64_t store_value_length(const Store *store, const Entry *entry) noexcept nogil  # elements
# Delete a key whose collection has become empty (but a stream, which stays). True: it went.
# To be called whenever elements were removed; the entry is the key's own.
cdef bint store_drop_if_empty(Store *store, const Key *key, const Entry *entry) noexcept
# The new length; grows with sds-like spare room. On an absent key they do what Redis does:
# APPEND sets the value (int or embstr if it fits), SETRANGE makes a raw string unless it is empty.
cdef size_t store_append(Store *store, const Key *key, const char *value, size_t n) noexcept
cdef size_t store_set_range(Store *store, const Key *key, size_t offset, const char *value,
                            size_t n) noexcept
# The bytes of a string, raw, unshared and at least `length` long (new ones are zero), to be written
# to; the key is a string or is made one. `spare`: with room to grow. What SETBIT and PFADD need.
cdef char *store_open_string(Store *store, const Key *key, size_t length, bint spare) noexcept
# The key exists; EXPIRE_NONE persists.
cdef Entry *store_set_expire(Store *store, const Key *key, int64_t expire_ms) noexcept

# Entries as a whole, whatever their type; the source exists, a target that exists is replaced,
# the TTL goes along and the LRU/LFU begins anew. The keys may be in different databases.
cdef Entry *store_rename(Store *store, const Key *source, const Key *target) noexcept
cdef Entry *store_copy(Store *store, const Key *source, const Key *target) noexcept

# A fair random entry, of all or only of those with a TTL; may have expired. NULL: there is none.
cdef Entry *store_random_entry(Store *store, uint32_t database, bint expiring) noexcept nogil
# The Key of an entry; its data is the entry's own.
cdef void store_key_of(const Store *store, const Entry *entry, uint32_t database,
                       Key *key) noexcept nogil
# SCAN: append about `count` entries of the slots first..last to `found`; returns the next cursor,
# 0 at the end. Gives expired entries too and changes nothing.
cdef uint64_t store_walk(Store *store, uint32_t database, bint expiring, uint64_t cursor,
                         uint64_t count, uint32_t first, uint32_t last,
                         EntryList *found) noexcept nogil

# Cut a database off in O(1): it is empty at once, its memory no longer counted. Returns NULL if it
# was never used. database_free may run on any thread. O(n)
cdef Database *store_detach_database(Store *store, uint32_t database) noexcept nogil
cdef void database_free(Database *database) noexcept nogil
# Who sees nodes before they change; NULL: nobody. O(databases)
cdef void store_hook_nodes(Store *store, const NodeHook *hook) noexcept nogil
# SWAPDB, by logical numbers. O(1)
cdef void store_swap(Store *store, uint32_t first, uint32_t second) noexcept nogil

cdef uint64_t store_entry_footprint(const Store *store, const Entry *entry) noexcept nogil
cdef uint32_t store_idle_seconds(const Store *store, const Entry *entry) noexcept nogil
cdef uint32_t store_frequency(const Store *store, const Entry *entry) noexcept nogil
cdef void store_touch(Store *store, Entry *entry) noexcept nogil
# RESTORE: what the policy in force keeps of an entry's use; below 0: nothing is said of it.
cdef void store_set_usage(Store *store, Entry *entry, int64_t idle_seconds,
                          int frequency) noexcept nogil
