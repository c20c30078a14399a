"""The loops of bench_keyspace: as the executor calls the store, with no Python in between.

Keys are `key:%012d`. Key structs are prepared ahead unless a loop says that it hashes.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc

from protocol.native cimport CLOCK_MONOTONIC, clock_ns
from protocol.slots cimport key_slot
from shards.keyspace.keyspace cimport (
    EXPIRE_NONE,
    Key,
    Keyspace,
    Store,
    store_delete,
    store_find,
    store_hash,
    store_prefetch_bucket,
    store_prefetch_entry,
    store_random,
    store_set_string,
)
from shards.keyspace.store cimport FORM_SHORTEST

cdef enum:
    KEY_BYTES = 16
    AHEAD = 16          # commands looked at together, as the executor does

cdef char *VALUE = b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"


cdef void make_key(Store *store, Key *key, char *text, uint64_t number, bint one_slot) noexcept:
    snprintf(text, 24, b"k{t}:%011llu" if one_slot else b"key:%012llu", number)
    key.data = text
    key.length = KEY_BYTES
    key.hash = store_hash(store, text, KEY_BYTES)
    key.slot = key_slot(text, KEY_BYTES)
    key.database = 0


cdef class Keys:
    """Prepared keys: `count` of them, of the numbers 0..bound, in order or at random."""
    cdef Key *keys
    cdef char *texts
    cdef readonly uint64_t count
    cdef Keyspace keyspace

    def __cinit__(self, Keyspace keyspace, uint64_t count, uint64_t bound=0, bint one_slot=False):
        cdef uint64_t i
        self.count = count
        self.keyspace = keyspace
        self.keys = <Key *>malloc(count * sizeof(Key))
        self.texts = <char *>malloc(count * 24)
        if self.keys == NULL or self.texts == NULL:
            raise MemoryError
        for i in range(count):
            make_key(keyspace.store, &self.keys[i], self.texts + i * 24,
                     store_random(keyspace.store) % bound if bound else i, one_slot)

    def __dealloc__(self):
        free(self.keys)
        free(self.texts)

    def find(self, bint ahead):
        """Nanoseconds for one lookup, in bursts of 16 with or without prefetch."""
        cdef Store *store = self.keyspace.store
        cdef uint64_t i, j, n, found = 0
        cdef int64_t start = clock_ns(CLOCK_MONOTONIC)
        for i in range(0, self.count, AHEAD):
            n = min(<uint64_t>AHEAD, self.count - i)
            if ahead:
                for j in range(i, i + n):
                    store_prefetch_bucket(store, &self.keys[j])
                for j in range(i, i + n):
                    store_prefetch_entry(store, &self.keys[j])
            for j in range(i, i + n):
                found += store_find(store, &self.keys[j]).value_length & 1
        return <double>(clock_ns(CLOCK_MONOTONIC) - start + <int64_t>(found & 0)) / self.count

    def hash_and_find(self):
        """The same with prefetch, the hash and the slot of each key computed on the way."""
        cdef Store *store = self.keyspace.store
        cdef uint64_t i, j, n, found = 0
        cdef int64_t start = clock_ns(CLOCK_MONOTONIC)
        for i in range(0, self.count, AHEAD):
            n = min(<uint64_t>AHEAD, self.count - i)
            for j in range(i, i + n):
                self.keys[j].hash = store_hash(store, self.keys[j].data, self.keys[j].length)
                self.keys[j].slot = key_slot(self.keys[j].data, self.keys[j].length)
                store_prefetch_bucket(store, &self.keys[j])
            for j in range(i, i + n):
                store_prefetch_entry(store, &self.keys[j])
            for j in range(i, i + n):
                found += store_find(store, &self.keys[j]).value_length & 1
        return <double>(clock_ns(CLOCK_MONOTONIC) - start + <int64_t>(found & 0)) / self.count

    def set(self, size_t size, bint ahead):
        """Nanoseconds to set one key to `size` (up to 64) bytes."""
        return self.each(size, ahead, False)

    def delete(self, bint ahead):
        """Nanoseconds to delete one key."""
        return self.each(0, ahead, True)

    cdef double each(self, size_t size, bint ahead, bint delete):
        cdef Store *store = self.keyspace.store
        cdef uint64_t i, j, n
        cdef int64_t start = clock_ns(CLOCK_MONOTONIC)
        for i in range(0, self.count, AHEAD):
            n = min(<uint64_t>AHEAD, self.count - i)
            if ahead:
                for j in range(i, i + n):
                    store_prefetch_bucket(store, &self.keys[j])
                for j in range(i, i + n):
                    store_prefetch_entry(store, &self.keys[j])
            for j in range(i, i + n):
                if delete:
                    store_delete(store, &self.keys[j])
                else:
                    store_set_string(store, &self.keys[j], VALUE, size, EXPIRE_NONE, FORM_SHORTEST)
        return <double>(clock_ns(CLOCK_MONOTONIC) - start) / self.count

    def longest_us(self, size_t size, bint delete, int clock_id):
        """The three longest of all sets or deletes, in us by that clock."""
        cdef Store *store = self.keyspace.store
        cdef uint64_t i
        cdef int64_t now, then
        worst = [0] * 3
        cdef int64_t third = 0
        for i in range(self.count):
            then = clock_ns(clock_id)
            if delete:
                store_delete(store, &self.keys[i])
            else:
                store_set_string(store, &self.keys[i], VALUE, size, EXPIRE_NONE, FORM_SHORTEST)
            now = clock_ns(clock_id)
            if now - then > third:
                worst = sorted([*worst, now - then], reverse=True)[:3]
                third = worst[2]
        return [ns / 1000 for ns in worst]
