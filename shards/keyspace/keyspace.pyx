"""The keyspace for Python: the Context of the Python lane and the tests see a Store through it."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from protocol.slots cimport SLOTS, key_slot
from shards.keyspace.entry cimport part_of
from shards.keyspace.invariants cimport store_check
from shards.memory.allocation cimport (
    M_ARENA_MAX, M_MXFAST, M_TRIM_THRESHOLD, malloc_trim, malloc_usable_size, mallinfo2,
    mallinfo2_t, mallopt,
)
from shards.keyspace.reaper cimport (
    reaper_free_blob, reaper_free_database, reaper_free_value, reaper_freed, reaper_start,
    reaper_stop, reaper_waiting,
)
from shards.keyspace.store cimport FORM_RAW, FORM_SHORTEST, FORM_TEXT
from shards.keyspace.table cimport table_footprint
from shards.types.kinds cimport TypeHooks
from shards.types.limits cimport EncodingLimits

from protocol.errors import WRONG_TYPE, CommandError

DEFAULT_SEED = bytes(range(16))

cdef dict TYPE_NAMES = {
    TYPE_STRING: b"string", TYPE_LIST: b"list", TYPE_SET: b"set", TYPE_ZSET: b"zset",
    TYPE_HASH: b"hash", TYPE_STREAM: b"stream",
}
cdef dict ENCODING_NAMES = {
    ENCODING_RAW: b"raw", ENCODING_INT: b"int", ENCODING_EMBSTR: b"embstr", ENCODING_BLOB: b"raw",
    ENCODING_HT: b"hashtable", ENCODING_INTSET: b"intset", ENCODING_SKIPLIST: b"skiplist",
    ENCODING_QUICKLIST: b"quicklist", ENCODING_STREAM: b"stream", ENCODING_LISTPACK: b"listpack",
}


def tune_allocator() -> None:
    """Make malloc's stalls go away; a shard process calls it once, before it has data.

    glibc puts small freed blocks aside (fastbins) and merges them all in one go, and gives the
    top of the heap back within one free(): with a million deleted keys each takes a command 3 to
    6 ms. Without both, no operation takes more than 0.3 ms (bench/micro/bench_keyspace.py).
    One arena for all threads lets the reaper sort what it frees (shards/memory/allocation.pxd),
    instead of leaving that to the next commands.
    """
    mallopt(M_MXFAST, 0)
    mallopt(M_TRIM_THRESHOLD, -1)
    mallopt(M_ARENA_MAX, 1)


def trim_memory() -> None:
    """Give free memory back to the system (MEMORY PURGE, an idle shard). O(free memory)"""
    with nogil:
        malloc_trim(0)


def allocator_figures() -> dict[str, int]:
    """What glibc's malloc says of this process, in bytes. O(free chunks)"""
    cdef mallinfo2_t info
    with nogil:
        info = mallinfo2()
    return {
        "arena": info.arena, "mapped": info.hblkhd, "in_use": info.uordblks, "free": info.fordblks,
        "trimmable": info.keepcost, "chunks_free": info.ordblks,
    }


cdef bytes entry_key_bytes(const Entry *entry):
    cdef size_t n
    cdef const char *data = entry_key(entry, &n)
    return PyBytes_FromStringAndSize(data, n)


cdef uint64_t index_bytes(const Database *database, bint expiring) noexcept nogil:
    """What the tables and the tree of a database take, or those of its keys with a TTL. O(slots)"""
    cdef uint64_t bytes
    cdef uint32_t slot
    cdef Table **tables
    if database == NULL:
        return 0
    tables = database.expiring if expiring else database.keys
    if tables == NULL:
        return 0
    bytes = malloc_usable_size(tables)
    bytes += malloc_usable_size(database.expiring_tree if expiring else database.keys_tree)
    for slot in range(<uint32_t>SLOTS):
        if tables[slot] != NULL:
            bytes += table_footprint(tables[slot])
            if tables[slot].old != NULL:
                bytes += table_footprint(tables[slot].old)
    return bytes


cdef void free_blob_later(void *reaper, Blob *blob) noexcept nogil:
    reaper_free_blob(<Reaper *>reaper, blob)


cdef void free_value_later(void *reaper, const TypeHooks *hooks, EntryEncoding encoding,
                           void *value) noexcept nogil:
    reaper_free_value(<Reaper *>reaper, hooks, encoding, value)


cdef class Keyspace:
    """The keyspace of one shard. `database` is a logical number everywhere.

    A shard gives its own seed; the default one is known to everybody and for tests.
    """

    def __cinit__(self, int databases=16, bytes seed=DEFAULT_SEED, uint64_t random_seed=0):
        if not 1 <= databases <= 65536:
            raise ValueError("databases must be from 1 to 65536")
        if len(seed) != 16:
            raise ValueError("seed must have 16 bytes")
        self.store = store_new(
            databases, int.from_bytes(seed[:8], "little"), int.from_bytes(seed[8:], "little"),
            random_seed)

    def __dealloc__(self):
        if self.store != NULL:
            self.store.listening = 0
            self.store.hooks.free_blob = NULL
            self.store.hooks.free_value = NULL
        store_free(self.store)
        with nogil:
            reaper_stop(self.reaper)

    def start_reaper(self) -> None:
        """Free large values, and databases flushed lazily, on a thread of their own."""
        if self.reaper == NULL:
            self.reaper = reaper_start()
        if self.reaper != NULL:
            self.store.hooks.reaper = self.reaper
            self.store.hooks.free_blob = free_blob_later
            self.store.hooks.free_value = free_value_later

    def set_limits(self, directives):
        """Take over those of {directive: value} that say how collections are encoded."""
        cdef EncodingLimits *limits = &self.store.limits
        for name, value in directives.items():
            match name.replace("-", "_"):
                case "hash_max_listpack_entries":
                    limits.hash_max_listpack_entries = value
                case "hash_max_listpack_value":
                    limits.hash_max_listpack_value = value
                case "set_max_intset_entries":
                    limits.set_max_intset_entries = value
                case "set_max_listpack_entries":
                    limits.set_max_listpack_entries = value
                case "set_max_listpack_value":
                    limits.set_max_listpack_value = value
                case "zset_max_listpack_entries":
                    limits.zset_max_listpack_entries = value
                case "zset_max_listpack_value":
                    limits.zset_max_listpack_value = value
                case "list_max_listpack_size":
                    limits.list_max_listpack_size = value
                case "list_compress_depth":
                    limits.list_compress_depth = value
                case "list_packed_threshold":
                    limits.list_packed_threshold = value
                case "stream_node_max_bytes":
                    limits.stream_node_max_bytes = value
                case "stream_node_max_entries":
                    limits.stream_node_max_entries = value
                case "hll_sparse_max_bytes":
                    limits.hll_sparse_max_bytes = value

    @property
    def lazyfree_pending(self) -> int:
        """How many things the reaper has yet to free."""
        return reaper_waiting(self.reaper) if self.reaper != NULL else 0

    @property
    def overhead(self) -> int:
        """Bytes of used_memory that are not entries: tables, trees, databases. O(slots)"""
        cdef Store *store = self.store
        cdef uint64_t bytes = malloc_usable_size(store)
        cdef uint32_t number
        for number in range(store.database_count):
            bytes += index_bytes(store.databases[number], False)
            bytes += index_bytes(store.databases[number], True)
        return bytes

    def index_bytes(self, int database, bint expiring=False) -> int:
        """Bytes of a database's tables, or of those of its keys with a TTL. O(slots)"""
        return index_bytes(self.store.databases[self.number(database)], expiring)

    @property
    def lazyfreed(self) -> int:
        """How many things the reaper has freed."""
        return reaper_freed(self.reaper) if self.reaper != NULL else 0

    cdef uint32_t number(self, int database) except *:
        if not 0 <= database < <int>self.store.database_count:
            raise IndexError("no such database")
        return self.store.physical[database]

    cdef Key key(self, bytes key, int database) except *:
        cdef Key result
        if key is None:
            raise TypeError("a key is bytes")
        result.database = self.number(database)
        result.data = PyBytes_AS_STRING(key)
        result.length = PyBytes_GET_SIZE(key)
        result.hash = store_hash(self.store, result.data, result.length)
        result.slot = key_slot(result.data, result.length)
        return result

    # Settings and figures

    @property
    def now_ms(self) -> int:
        """The time of the command, Unix epoch."""
        return self.store.now_ms

    @now_ms.setter
    def now_ms(self, int64_t value):
        self.store.now_ms = value

    @property
    def lfu(self) -> bool:
        return self.store.lfu

    @lfu.setter
    def lfu(self, bint value):
        self.store.lfu = value

    @property
    def lfu_log_factor(self) -> int:
        return self.store.lfu_log_factor

    @lfu_log_factor.setter
    def lfu_log_factor(self, uint32_t value):
        self.store.lfu_log_factor = value

    @property
    def lfu_decay_minutes(self) -> int:
        return self.store.lfu_decay_minutes

    @lfu_decay_minutes.setter
    def lfu_decay_minutes(self, uint32_t value):
        self.store.lfu_decay_minutes = value

    @property
    def used_memory(self) -> int:
        """Bytes allocated, as malloc counts them."""
        return self.store.used_memory

    @property
    def lookups(self) -> tuple[int, int]:
        """Hits and misses; set back where a command begins anew."""
        return self.store.hits, self.store.misses

    @lookups.setter
    def lookups(self, tuple value):
        self.store.hits, self.store.misses = value

    @property
    def hits(self) -> int:
        return self.store.hits

    @property
    def misses(self) -> int:
        return self.store.misses

    @property
    def expired(self) -> int:
        return self.store.expired

    @property
    def expired_time_cap_reached(self) -> int:
        """How many active expiry cycles ended because their time was up."""
        return self.store.expired_time_cap_reached

    @property
    def expired_stale_percent(self) -> float:
        """A running estimate of how many of the keys with a TTL have expired."""
        return self.store.expired_stale_percent

    @property
    def changes(self) -> int:
        return self.store.changes

    @changes.setter
    def changes(self, uint64_t value):
        self.store.changes = value

    def tune(self, int buckets_min=4, int incremental_min=4096, int step=64,
             int inline_bytes_max=INLINE_BYTES_MAX) -> None:
        """Make the thresholds small, so that small tests reach what is beyond them."""
        if buckets_min < 4 or buckets_min & (buckets_min - 1):
            raise ValueError("buckets_min must be a power of two, at least 4")
        if self.store.used_memory != self.store.pool.bytes:
            raise ValueError("only an unused keyspace can be tuned")
        self.store.rules.buckets_min = buckets_min
        self.store.rules.incremental_min = incremental_min
        self.store.rules.step = step
        self.store.inline_bytes_max = inline_bytes_max

    def size(self, int database) -> int:
        """How many keys there are, expired ones that nobody has met included. O(1)"""
        cdef Database *native = self.store.databases[self.number(database)]
        return native.size if native != NULL else 0

    @property
    def total_size(self) -> int:
        """How many keys there are in all databases. O(databases)"""
        cdef uint64_t total = 0
        cdef uint32_t i
        for i in range(self.store.database_count):
            if self.store.databases[i] != NULL:
                total += self.store.databases[i].size
        return total

    def expiring_size(self, int database) -> int:
        """How many keys have a TTL. O(1)"""
        cdef Database *native = self.store.databases[self.number(database)]
        return native.expiring_size if native != NULL else 0

    def reset_statistics(self) -> None:
        """CONFIG RESETSTAT: hits, misses, expirations; not the count of changes."""
        self.store.hits = 0
        self.store.misses = 0
        self.store.expired = 0
        self.store.expired_time_cap_reached = 0

    def average_ttl_ms(self, int database) -> int:
        """The average TTL that active expiry has seen; 0 if it has seen none. O(1)"""
        cdef Database *native = self.store.databases[self.number(database)]
        return <int64_t>native.average_ttl_ms if native != NULL else 0

    def slot_size(self, int database, int slot) -> int:
        """How many keys are in a hash slot. O(1)"""
        cdef Database *native = self.store.databases[self.number(database)]
        cdef Table *table
        if not 0 <= slot < SLOTS:
            raise IndexError("no such slot")
        if native == NULL or native.keys[slot] == NULL:
            return 0
        table = native.keys[slot]
        return table.count + (table.old.count if table.old != NULL else 0)

    def slot_keys(self, int database, int slot, int count) -> list[bytes]:
        """At most `count` keys of a hash slot, expired ones included. O(count)"""
        cdef uint32_t number = self.number(database)
        cdef EntryList *found = &self.store.scratch
        cdef uint64_t cursor = slot
        cdef size_t i
        if not 0 <= slot < SLOTS:
            raise IndexError("no such slot")
        found.count = 0
        while count > 0 and found.count < <size_t>count:
            cursor = store_walk(self.store, number, False, cursor, count, slot, slot, found)
            if cursor == 0:
                break
        if count > 0 and found.count > <size_t>count:
            found.count = count
        return [entry_key_bytes(found.entries[i]) for i in range(found.count)]

    # One key

    cdef Entry *string_entry(self, const Key *key, bint write) except? NULL:
        cdef Entry *entry
        entry = store_write(self.store, key) if write else store_read(self.store, key, True)
        if entry != NULL and entry_type(entry) != TYPE_STRING:
            raise CommandError(WRONG_TYPE)
        return entry

    cdef bytes string_bytes(self, Entry *entry):
        cdef char scratch[24]
        cdef size_t n
        cdef const char *data
        if entry == NULL:
            return None
        data = entry_string(entry, scratch, &n)
        return PyBytes_FromStringAndSize(data, n)

    cdef Entry *live_entry(self, const Key *key) noexcept:
        """The entry without touching it or the statistics; an expired one stays, unseen."""
        cdef Entry *entry = store_find(self.store, key)
        if entry != NULL and store_is_expired(self.store, entry):
            return NULL
        return entry

    def type(self, int database, bytes key, bint counted=True) -> bytes | None:
        """The Redis name of a key's type; None without the key. O(1)"""
        cdef Key native = self.key(key, database)
        cdef Entry *entry
        if counted:
            entry = store_read(self.store, &native, False)
        else:
            entry = self.live_entry(&native)
        return TYPE_NAMES[<int>entry_type(entry)] if entry != NULL else None

    def exists(self, int database, bytes key, bint touch=False, bint write=False) -> bool:
        """Whether there is such a key; a hit or a miss, unless it is to be written. O(1)"""
        cdef Key native = self.key(key, database)
        if write:
            return store_write(self.store, &native) != NULL
        return store_read(self.store, &native, touch) != NULL

    def look(self, int database, bytes key) -> bool:
        """Whether there is such a key; a hit or a miss, of which nobody is told. O(1)"""
        cdef Key native = self.key(key, database)
        return store_look(self.store, &native) != NULL

    def begin_unseen(self):
        """Let looks leave no trace, and see expired keys too, until `end_unseen`.

        Nothing may be changed meanwhile. Returns what `end_unseen` takes. O(1)
        """
        kept = self.store.now_ms, self.store.hits, self.store.misses, self.store.no_touch
        self.store.now_ms = 0
        self.store.no_touch = True
        return kept

    def end_unseen(self, tuple kept) -> None:
        """Let looks count again. O(1)"""
        self.store.now_ms, self.store.hits, self.store.misses, self.store.no_touch = kept

    def meet(self, int database, bytes key) -> None:
        """Remove a key if it has expired; nothing else is touched or counted. O(1)"""
        cdef Key native = self.key(key, database)
        cdef Entry *entry = store_find(self.store, &native)
        if entry != NULL and store_is_expired(self.store, entry):
            store_remove(self.store, &native, entry, REMOVED_EXPIRED)

    def read_string(self, int database, bytes key) -> bytes | None:
        """A string's value, counted as a hit or a miss. Raises WRONGTYPE. O(n)"""
        cdef Key native = self.key(key, database)
        return self.string_bytes(self.string_entry(&native, False))

    def read_part(self, int database, bytes key, int64_t first, int64_t last) -> bytes:
        """The bytes of a string between two positions, as GETRANGE has it. WRONGTYPE. O(part)"""
        cdef Key native = self.key(key, database)
        cdef Entry *entry = self.string_entry(&native, False)
        cdef char scratch[24]
        cdef const char *data
        cdef size_t n
        if entry == NULL:
            return b""
        data = entry_string(entry, scratch, &n)
        if not part_of(<int64_t>n, &first, &last):
            return b""
        return PyBytes_FromStringAndSize(data + first, last - first + 1)

    def write_string(self, int database, bytes key) -> bytes | None:
        """A string's value for a command that will change it. Raises WRONGTYPE. O(n)"""
        cdef Key native = self.key(key, database)
        return self.string_bytes(self.string_entry(&native, True))

    def set_string(self, int database, bytes key, bytes value not None,
                   int64_t expire_ms=EXPIRE_NONE, bint raw=False, bint encode=True) -> None:
        """Set a string, whatever was there. expire_ms: a time, -1 for none, -2 to keep it. O(n)

        raw: in the raw encoding; not encode: not as an int.
        """
        cdef int form = FORM_RAW if raw else FORM_SHORTEST if encode else FORM_TEXT
        cdef Key native = self.key(key, database)
        store_set_string(self.store, &native, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value),
                         expire_ms, form)

    def set_integer(self, int database, bytes key, int64_t value,
                    int64_t expire_ms=EXPIRE_KEEP) -> None:
        """Set a string to a number, its TTL kept unless another is given. O(1)"""
        cdef Key native = self.key(key, database)
        store_set_integer(self.store, &native, value, expire_ms)

    def append(self, int database, bytes key, bytes value not None) -> int:
        """Append to a string; returns its new length. Raises WRONGTYPE. Amortised O(len(value))"""
        cdef Key native = self.key(key, database)
        self.string_entry(&native, True)
        return store_append(self.store, &native, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))

    def set_range(self, int database, bytes key, Py_ssize_t offset, bytes value not None) -> int:
        """Overwrite a part of a string, zeros before it if need be; returns the new length.

        Raises WRONGTYPE. O(len(value)) and what the string grows by.
        """
        cdef Key native = self.key(key, database)
        if offset < 0:
            raise ValueError("offset is negative")
        self.string_entry(&native, True)
        return store_set_range(self.store, &native, offset, PyBytes_AS_STRING(value),
                               PyBytes_GET_SIZE(value))

    def string_length(self, int database, bytes key, bint write=False) -> int:
        """The length of a string, 0 without the key. Raises WRONGTYPE. O(1)"""
        cdef Key native = self.key(key, database)
        cdef Entry *entry = self.string_entry(&native, write)
        cdef char scratch[24]
        cdef size_t n = 0
        if entry != NULL:
            entry_string(entry, scratch, &n)
        return n

    def delete(self, int database, bytes key) -> bool:
        """Delete a key; False if there was none, or it had expired. O(1), and its size"""
        cdef Key native = self.key(key, database)
        return store_delete(self.store, &native)

    def clear(self, int database, bytes key) -> bool:
        """Delete a key, one that has expired as any other; False if there was none. O(its size)"""
        cdef Key native = self.key(key, database)
        return store_clear(self.store, &native)

    def expire_ms(self, int database, bytes key) -> int | None:
        """When the key expires; -1 for never, None without the key. O(1)"""
        cdef Key native = self.key(key, database)
        cdef Entry *entry = self.live_entry(&native)
        return entry_expire_ms(entry) if entry != NULL else None

    def set_expire(self, int database, bytes key, int64_t expire_ms) -> None:
        """Let a key that exists expire at a time, or never (-1). KeyError. O(1)"""
        cdef Key native = self.key(key, database)
        if self.live_entry(&native) == NULL:
            raise KeyError(key)
        store_set_expire(self.store, &native, expire_ms)

    def encoding(self, int database, bytes key) -> bytes | None:
        """What OBJECT ENCODING shows, of an expired key too. O(1)"""
        cdef Key native = self.key(key, database)
        cdef Entry *entry = store_find(self.store, &native)
        return ENCODING_NAMES[<int>entry_encoding(entry)] if entry != NULL else None

    def idle_seconds(self, int database, bytes key) -> int | None:
        """Seconds since the key was last touched (OBJECT IDLETIME). O(1)"""
        cdef Key native = self.key(key, database)
        cdef Entry *entry = store_find(self.store, &native)
        return store_idle_seconds(self.store, entry) if entry != NULL else None

    def frequency(self, int database, bytes key) -> int | None:
        """The decayed LFU counter (OBJECT FREQ). O(1)"""
        cdef Key native = self.key(key, database)
        cdef Entry *entry = store_find(self.store, &native)
        return store_frequency(self.store, entry) if entry != NULL else None

    def memory_usage(self, int database, bytes key) -> int | None:
        """Bytes that the key and its value occupy, its bucket included. O(1)"""
        cdef Key native = self.key(key, database)
        cdef Entry *entry = store_find(self.store, &native)
        return store_entry_footprint(self.store, entry) + 8 if entry != NULL else None

    # Entries as a whole

    def rename(self, int database, bytes source, bytes target) -> None:
        """Give an entry another key, replacing what was there, TTL included. KeyError. O(n)"""
        cdef Key first = self.key(source, database)
        cdef Key second = self.key(target, database)
        if self.live_entry(&first) == NULL:
            raise KeyError(source)
        store_rename(self.store, &first, &second)

    def copy(self, int database, bytes source, bytes target, int target_database) -> None:
        """Copy an entry with its TTL, replacing what was there. KeyError. O(n)"""
        cdef Key first = self.key(source, database)
        cdef Key second = self.key(target, target_database)
        if self.live_entry(&first) == NULL:
            raise KeyError(source)
        store_copy(self.store, &first, &second)

    def move(self, int database, bytes key, int target_database) -> None:
        """Move an entry to another database, replacing what was there. KeyError. O(n)"""
        cdef Key first = self.key(key, database)
        cdef Key second = self.key(key, target_database)
        if self.live_entry(&first) == NULL:
            raise KeyError(key)
        store_rename(self.store, &first, &second)

    def random_key(self, int database) -> bytes | None:
        """A key, each as likely as any other; expired ones met on the way go. Expected O(1)"""
        cdef uint32_t number = self.number(database)
        cdef Entry *entry
        cdef Key native
        while True:
            entry = store_random_entry(self.store, number, False)
            if entry == NULL:
                return None
            if not store_is_expired(self.store, entry):
                return entry_key_bytes(entry)
            store_key_of(self.store, entry, number, &native)
            store_remove(self.store, &native, entry, REMOVED_EXPIRED)

    def scan(self, int database, uint64_t cursor, uint64_t count, *, int first_slot=0,
             int last_slot=SLOTS - 1, list expired=None) -> tuple[int, list[bytes]]:
        """One step of SCAN over a range of slots: the next cursor (0: done), about `count` keys.

        A key that is there from the first call to the last is returned at least once, whatever
        happens to the others. Expired keys are left out, and are added to `expired`. O(count)
        """
        cdef uint32_t number = self.number(database)
        cdef EntryList *found = &self.store.scratch
        cdef size_t i
        if count == 0 or not 0 <= first_slot <= last_slot < SLOTS:
            raise ValueError("an empty scan")
        found.count = 0
        cursor = store_walk(self.store, number, False, cursor, count, first_slot, last_slot, found)
        keys = []
        for i in range(found.count):
            if not store_is_expired(self.store, found.entries[i]):
                keys.append(entry_key_bytes(found.entries[i]))
            elif expired is not None:
                expired.append(entry_key_bytes(found.entries[i]))
        return cursor, keys

    def keys(self, int database):
        """All keys that have not expired; the database must not be changed meanwhile. O(n)"""
        cdef uint32_t number = self.number(database)
        cdef EntryList *found = &self.store.scratch
        cdef uint64_t cursor = 0
        cdef size_t i
        while True:
            found.count = 0
            cursor = store_walk(self.store, number, False, cursor, 256, 0, SLOTS - 1, found)
            batch = []
            for i in range(found.count):
                if not store_is_expired(self.store, found.entries[i]):
                    batch.append(entry_key_bytes(found.entries[i]))
            yield from batch
            if cursor == 0:
                return

    def flush(self, int database, bint lazily=False) -> int:
        """Delete all keys of a database; returns how many there were. O(n), lazily O(1)"""
        cdef Database *native = store_detach_database(self.store, self.number(database))
        cdef uint64_t size = native.size if native != NULL else 0
        if lazily and native != NULL and self.reaper != NULL:
            reaper_free_database(self.reaper, native)
        else:
            with nogil:
                database_free(native)
        return size

    def swap(self, int first, int second) -> None:
        """Let two databases change places. O(1)"""
        self.number(first)
        self.number(second)
        store_swap(self.store, first, second)

    def active_expire(self, int64_t budget_us, int effort) -> int:
        """Remove expired keys for at most budget_us (0: without limit); returns how many went.

        effort: 1..10, how much to look at and how little staleness to accept.
        """
        if not 1 <= effort <= 10:
            raise ValueError("effort must be from 1 to 10")
        return store_active_expire(self.store, budget_us, effort)

    def check(self) -> None:
        """Raise AssertionError if an invariant is broken. O(n)"""
        store_check(self.store)
