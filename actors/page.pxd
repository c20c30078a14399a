"""The page of counters that all processes of one server share; see page.pyx."""

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #include <stdint.h>
    #define SHARDIS_ADD(p, v) __atomic_add_fetch((p), (v), __ATOMIC_SEQ_CST)
    #define SHARDIS_ADD_RELAXED(p, v) __atomic_add_fetch((p), (v), __ATOMIC_RELAXED)
    #define SHARDIS_LOAD(p) __atomic_load_n((p), __ATOMIC_RELAXED)
    #define SHARDIS_STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
    """
    int64_t atomic_add "SHARDIS_ADD"(int64_t *at, int64_t amount) noexcept nogil
    int64_t atomic_add_relaxed "SHARDIS_ADD_RELAXED"(int64_t *at, int64_t amount) noexcept nogil
    int64_t atomic_load "SHARDIS_LOAD"(const int64_t *at) noexcept nogil
    void atomic_store "SHARDIS_STORE"(int64_t *at, int64_t value) noexcept nogil

cdef enum:
    LINE_BYTES = 64         # a cache line; each counter with several writers has one for itself

# Counters with several writers: a line each, in this order from the start of the page.
cdef enum SharedField:
    SHARED_CLIENT_ID = 0
    SHARED_SLOW = 1
    SHARED_FIELDS = 2

# Figures of one process, which only that process writes (the supervisor clears them when it is
# dead): all in one line.
cdef enum ProcessField:
    PROCESS_USED_MEMORY = 0     # bytes, allocator's usable sizes
    PROCESS_COMMANDS = 1        # commands processed
    PROCESS_CONNECTIONS = 2     # clients connected now
    PROCESS_INPUT_BYTES = 3     # read from clients
    PROCESS_OUTPUT_BYTES = 4    # written to clients
    PROCESS_CYCLES = 5          # turns of a worker's loop
    PROCESS_CYCLE_US = 6        # how long all of them took, microseconds
    PROCESS_KEYS = 7            # of a shard, in all databases
    PROCESS_FIELDS = 8

cdef class SharedPage:
    cdef char *base                 # owned mapping, shared with every process forked later
    cdef size_t bytes               # of the mapping
    cdef readonly int workers       # lines of workers stand first, then those of shards
    cdef readonly int shards

    cdef int64_t *line(self, bint is_shard, int index) except NULL


# `worker` and `shard` are not checked here: they are the process's own index.

cdef inline int64_t *page_shared(SharedPage page, SharedField field) noexcept nogil:
    return <int64_t *>(page.base + <size_t>field * LINE_BYTES)

cdef inline int64_t *page_worker(SharedPage page, int worker) noexcept nogil:
    return <int64_t *>(page.base + <size_t>(SHARED_FIELDS + worker) * LINE_BYTES)

cdef inline int64_t *page_shard(SharedPage page, int shard) noexcept nogil:
    return page_worker(page, page.workers + shard)

# Ids of clients start at 1 and are never given twice.
cdef inline int64_t page_next_client_id(SharedPage page) noexcept nogil:
    return atomic_add(page_shared(page, SHARED_CLIENT_ID), 1)

# Ids of slow log entries start at 0.
cdef inline int64_t page_next_slow_id(SharedPage page) noexcept nogil:
    return atomic_add(page_shared(page, SHARED_SLOW), 1) - 1

# The sum of a field over all processes. O(workers + shards).
cdef inline int64_t page_sum(SharedPage page, ProcessField field) noexcept nogil:
    cdef int i
    cdef int64_t total = 0
    for i in range(page.workers + page.shards):
        total += atomic_load(page_worker(page, i) + <int>field)
    return total

# Count a new connection of a worker, and return how many the server has with it. Two workers
# may both see one too many when both accept the last free place; the limit is never exceeded.
cdef inline int64_t page_connect(SharedPage page, int worker) noexcept nogil:
    atomic_add(page_worker(page, worker) + <int>PROCESS_CONNECTIONS, 1)
    return page_sum(page, PROCESS_CONNECTIONS)

cdef inline void page_disconnect(SharedPage page, int worker) noexcept nogil:
    atomic_add(page_worker(page, worker) + <int>PROCESS_CONNECTIONS, -1)
