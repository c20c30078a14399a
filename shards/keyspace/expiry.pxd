"""Active expiry: keys that nobody asks for go too, within a time budget."""

from libc.stdint cimport int64_t, uint64_t

from shards.keyspace.store cimport Store

# Remove expired keys for at most budget_us of real time (0: without limit). effort: 1..10, as
# active-expire-effort. Returns how many keys went.
cdef uint64_t store_active_expire(Store *store, int64_t budget_us, int effort) noexcept
