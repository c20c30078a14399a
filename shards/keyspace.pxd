"""The keyspace of one shard: databases, one native table per hash slot, expiry, SCAN, memory.

Contract
1. All state of a shard is in its Store; several Stores can live in one process. Nothing here knows
   commands, replies or sockets. Time is `store.now_ms`, set by the executor (or a test) before
   each command; randomness is `store.random_state`.
2. An Entry is one allocation: 12 bytes of header, then the optional fields, the key, the value
   (layout in keyspace.pyx). Entry pointers die with any call that changes the same key; bucket
   addresses die with any call that changes any key. No pointer may be kept across commands.
3. `store_find` is a pure lookup. `store_read` / `store_write` are what commands use: an entry that has
   expired is removed first (through the `removed` hook), LRU/LFU is maintained.
4. Every byte allocated is counted in `used_memory` by malloc_usable_size; check() recounts it.
5. O(1) unless said otherwise; no operation stalls on a resize (big tables rehash incrementally).
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from protocol.native cimport prefetch
from protocol.slots cimport SLOTS

cdef enum EntryType:            # Redis's object types
    TYPE_STRING = 0
    TYPE_LIST = 1
    TYPE_SET = 2
    TYPE_ZSET = 3
    TYPE_HASH = 4
    TYPE_STREAM = 6

cdef enum EntryEncoding:        # as OBJECT ENCODING shows it; ENCODING_BLOB shows as raw
    ENCODING_RAW = 0            # bytes inline, more than 44 or grown in place
    ENCODING_INT = 1            # 8 bytes, a C int64
    ENCODING_EMBSTR = 8         # bytes inline, at most 44
    ENCODING_BLOB = 15          # a pointer to a reference-counted Blob, for values > 64 KiB

cdef enum:
    INLINE_BYTES_MAX = 65536
    EMBSTR_BYTES_MAX = 44
    EXPIRE_NONE = -1            # no expiry; as an argument: drop an existing one
    EXPIRE_KEEP = -2            # as an argument: leave the expiry as it is

cdef enum RemoveReason:
    REMOVED_EXPIRED = 1
    REMOVED_EVICTED = 2

cdef packed struct Entry:       # 12 bytes, not aligned behind; fields further on are in keyspace.pyx
    uint32_t lru_type           # bits 0-23 LRU clock or LFU, 24-27 type, 28-31 encoding
    uint32_t key_flags          # bits 0-23 key length (or the low bits of it), 24-31 flags
    uint32_t value_length       # bytes of an inline string value

cdef struct Blob:
    uint64_t references         # atomic: ZeroMQ's I/O thread releases replies
    const char *data
    size_t length
    void (*release)(Blob *) noexcept nogil     # frees data and the Blob, whatever it was made of
    uint64_t context[9]         # for release: the allocation, or a zmq_msg_t that is kept alive

cdef struct Key:                # all that is known of a key before it is looked up
    const char *data
    size_t length
    uint64_t hash               # store_hash(...)
    uint32_t slot
    uint32_t database           # physical

cdef struct Table               # open addressing; opaque outside keyspace.pyx

cdef struct Database:
    Table **keys                # [SLOTS], owned; NULL where a slot is empty
    Table **expiring            # [SLOTS], owned; the same entries, only those with a TTL
    uint32_t *keys_tree         # Fenwick tree over key counts by slot
    uint32_t *expiring_tree
    uint64_t size               # keys
    uint64_t expiring_size      # keys with a TTL

cdef struct Store:
    Database **databases        # [database_count], owned; by physical number; NULL until first used
    uint8_t *physical           # [database_count], owned; logical to physical (SWAPDB)
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
    # Called before an expired or evicted entry goes; NULL: nobody listens.
    void (*removed)(void *owner, Store *store, const Key *key, Entry *entry, RemoveReason reason) noexcept
    void *owner

cdef uint64_t store_hash(const Store *store, const char *key, size_t n) noexcept nogil
# The two prefetch passes: first the bucket line, then the entry it names. Hints only.
cdef void store_prefetch_bucket(Store *store, const Key *key) noexcept nogil
cdef void store_prefetch_entry(Store *store, const Key *key) noexcept nogil

cdef Entry *store_find(Store *store, const Key *key) noexcept nogil
cdef Entry *store_read(Store *store, const Key *key, bint touch) noexcept      # counts hits and misses
cdef Entry *store_write(Store *store, const Key *key) noexcept                 # does not

cdef bint store_delete(Store *store, const Key *key) noexcept                  # True: it existed
# Set a string, whatever was there. expire_ms: a time, EXPIRE_NONE or EXPIRE_KEEP.
# raw: keep the bytes as they are (no int or embstr encoding), as SETRANGE and APPEND do.
cdef Entry *store_set_string(Store *store, const Key *key, const char *value, size_t n,
                             int64_t expire_ms, bint raw) noexcept
cdef Entry *store_set_integer(Store *store, const Key *key, int64_t value, int64_t expire_ms) noexcept
cdef Entry *store_set_blob(Store *store, const Key *key, Blob *blob, int64_t expire_ms) noexcept   # takes the reference
cdef size_t store_append(Store *store, const Key *key, const char *value, size_t n) noexcept      # the new length; grows with sds-like spare room
cdef size_t store_set_range(Store *store, const Key *key, size_t offset, const char *value, size_t n) noexcept
cdef Entry *store_set_expire(Store *store, const Key *key, int64_t expire_ms) noexcept   # the key exists; EXPIRE_NONE persists

cdef EntryType entry_type(const Entry *entry) noexcept nogil
cdef EntryEncoding entry_encoding(const Entry *entry) noexcept nogil
cdef int64_t entry_expire_ms(const Entry *entry) noexcept nogil               # EXPIRE_NONE without one
cdef const char *entry_key(const Entry *entry, size_t *n) noexcept nogil
# The bytes of a string entry; an int is formatted into scratch (24 bytes).
cdef const char *entry_string(const Entry *entry, char *scratch, size_t *n) noexcept nogil
cdef bint entry_integer(const Entry *entry, int64_t *value) noexcept nogil    # True: a string holding a canonical int64
cdef Blob *entry_blob(const Entry *entry) noexcept nogil                      # NULL unless ENCODING_BLOB
cdef void blob_release(Blob *blob) noexcept nogil                             # drop one reference, from any thread

cdef class Keyspace:
    """A Store for Python: the Context of the Python lane, and the tests."""
    cdef Store *store           # owned
    cdef Key key(self, bytes key, int database) except *     # data points into `key`; slot and hash computed
