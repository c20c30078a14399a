"""Active expiry, as adaptive as Redis's: the more stale keys a sample holds, the more samples.

Each database's TTL index is walked in samples with a cursor that stays from call to call, so that
every key with a TTL comes round. Walking goes on while more than about a tenth of a sample had
expired; then the next database is looked at. The keys' time is `store.now_ms`; only the budget is
real time.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from protocol.native cimport CLOCK_MONOTONIC, clock_ns
from shards.keyspace.entry cimport entry_expire_ms
from shards.keyspace.store cimport (
    REMOVED_EXPIRED,
    Database,
    Key,
    Store,
    store_is_expired,
    store_key_of,
    store_remove,
    store_walk,
)
from shards.keyspace.table cimport EntryList


cdef enum:
    SAMPLE_KEYS = 20            # at effort 1; a quarter more for each step above
    STALE_PERCENT_MAX = 10      # at effort 1; one less for each step above
    LOOPS_PER_CLOCK = 4         # samples between two looks at the clock


cdef uint64_t expire_sample(Store *store, uint32_t number, uint64_t wanted,
                            uint64_t *sampled) noexcept:
    """Look at the next `wanted` keys of a TTL index; returns how many of them had expired."""
    cdef Database *database = store.databases[number]
    cdef EntryList *found = &store.scratch
    cdef uint64_t expired = 0
    cdef size_t i
    cdef double ttl_ms = 0
    cdef Key key
    found.count = 0
    database.expire_cursor = store_walk(store, number, True, database.expire_cursor, wanted, 0,
                                        0xFFFFFFFF, found)
    for i in range(found.count):
        if store_is_expired(store, found.entries[i]):
            store_key_of(store, found.entries[i], number, &key)
            if store.locked != NULL and store.locked(store.locks, key.hash, key.slot):
                continue
            store_remove(store, &key, found.entries[i], REMOVED_EXPIRED)
            expired += 1
        else:
            ttl_ms += <double>(entry_expire_ms(found.entries[i]) - store.now_ms)
    sampled[0] = found.count
    if found.count > expired:
        ttl_ms /= <double>(found.count - expired)
        if database.average_ttl_ms == 0:
            database.average_ttl_ms = ttl_ms
        database.average_ttl_ms += (ttl_ms - database.average_ttl_ms) / 50
    return expired


cdef uint64_t store_active_expire(Store *store, int64_t budget_us, int effort) noexcept:
    cdef int64_t deadline = clock_ns(CLOCK_MONOTONIC) + budget_us * 1000
    cdef uint64_t wanted = SAMPLE_KEYS + SAMPLE_KEYS // 4 * (effort - 1)
    cdef uint64_t stale_max = STALE_PERCENT_MAX - (effort - 1)
    cdef uint64_t all_sampled = 0, all_expired = 0, sampled, expired
    cdef uint32_t i, number, loops = 0
    cdef double percent = 0
    cdef bint in_time = True
    for i in range(store.database_count):
        # Moved on before the work: a call that runs out of time leaves the rest to the others.
        number = store.expire_database % store.database_count
        store.expire_database = number + 1
        while in_time:
            if store.databases[number] == NULL or store.databases[number].expiring_size == 0:
                if store.databases[number] != NULL:
                    store.databases[number].average_ttl_ms = 0
                break
            sampled = 0
            expired = expire_sample(store, number, wanted, &sampled)
            all_sampled += sampled
            all_expired += expired
            loops += 1
            if budget_us and loops % LOOPS_PER_CLOCK == 0 and clock_ns(CLOCK_MONOTONIC) > deadline:
                store.expired_time_cap_reached += 1
                in_time = False
            # An empty sample: the walk met empty homes only, or a cursor that was at the end.
            if sampled and expired * 100 <= stale_max * sampled:
                break
        if not in_time:
            break
    if all_sampled:
        percent = 100.0 * <double>all_expired / <double>all_sampled
    store.expired_stale_percent += (percent - store.expired_stale_percent) * 0.05
    return all_expired
