"""Counted memory: every byte a database allocates is in its Pool, and in the total of its store.

What is counted is what malloc really hands out (malloc_usable_size), so that `used_memory` can be
recounted exactly. Very large zeroed blocks are mapped, which costs no time per byte and gives
pages back to the system.
"""

from libc.stdint cimport int64_t, uint64_t

from protocol.native cimport DEBUG, out_of_memory, unlikely


cdef extern from *:
    """
    #include <malloc.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <sys/mman.h>
    #include <unistd.h>
    /* glibc puts what is freed aside unsorted, and some later malloc sorts up to 10000 pieces of it
       in one go: two milliseconds. A request beyond its per-thread caches sorts all there is, so
       one is made for every few pieces, by whichever thread has freed them. Few, as each may have
       to find its place among thousands of other sizes. */
    #define SHARDIS_PIECES_MAX 16
    #define SHARDIS_UNCACHED_BYTES 1100
    static uint32_t shardis_pieces = 0;
    static inline void shardis_sort_freed(void) {
        uint32_t pieces = __atomic_load_n(&shardis_pieces, __ATOMIC_RELAXED) + 1;
        if (pieces >= SHARDIS_PIECES_MAX) {
            void *volatile block = malloc(SHARDIS_UNCACHED_BYTES);
            pieces = 0;
            free(block);
        }
        __atomic_store_n(&shardis_pieces, pieces, __ATOMIC_RELAXED);
    }
    #define SHARDIS_ADD(p, n) __atomic_fetch_add((p), (n), __ATOMIC_RELAXED)
    #define SHARDIS_USABLE(p) malloc_usable_size((void *)(p))
    static inline void *shardis_map(size_t size) {
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return p == MAP_FAILED ? NULL : p;
    }
    static inline size_t shardis_page(void) {
        static size_t size = 0;
        if (size == 0) size = (size_t)sysconf(_SC_PAGESIZE);
        return size;
    }
    static inline void shardis_drop_pages(char *first, char *last) {
        uintptr_t page = shardis_page();
        uintptr_t from = ((uintptr_t)first + page - 1) & ~(page - 1);
        uintptr_t to = (uintptr_t)last & ~(page - 1);
        if (from < to) (void)madvise((void *)from, to - from, MADV_DONTNEED);
    }
    """
    size_t malloc_usable_size "SHARDIS_USABLE"(const void *) noexcept nogil
    void *c_malloc "malloc"(size_t) noexcept nogil
    void *c_calloc "calloc"(size_t, size_t) noexcept nogil
    void *c_realloc "realloc"(void *, size_t) noexcept nogil
    void c_free "free"(void *) noexcept nogil
    int c_munmap "munmap"(void *, size_t) noexcept nogil
    void *map_pages "shardis_map"(size_t) noexcept nogil
    size_t page_bytes "shardis_page"() noexcept nogil
    # To be called after each free, and each realloc that has cut a piece off.
    void sort_freed "shardis_sort_freed"() noexcept nogil
    # Give the whole pages in [first, last) back; they read as zero afterwards.
    void drop_pages "shardis_drop_pages"(char *first, char *last) noexcept nogil
    int mallopt(int, int) noexcept nogil
    ctypedef struct mallinfo2_t "struct mallinfo2":
        size_t arena
        size_t hblkhd
        size_t uordblks
        size_t fordblks
        size_t keepcost
        size_t ordblks
    mallinfo2_t mallinfo2() noexcept nogil
    int malloc_trim(size_t) noexcept nogil
    const int M_MXFAST
    const int M_TRIM_THRESHOLD
    const int M_ARENA_MAX
    void atomic_add "SHARDIS_ADD"(int64_t *, int64_t) noexcept nogil


# Blocks alive in this process, whichever kernel made them; kept in debug builds only.
cdef int64_t live


cdef inline void live_add(int64_t blocks) noexcept nogil:
    atomic_add(&live, blocks)


cdef struct NodeHook:       # whoever must see a part of a structure before it changes
    void *owner
    void (*before_node)(void *owner, const void *structure, const void *node) noexcept nogil


cdef struct Pool:
    uint64_t bytes          # allocated through this pool
    uint64_t *total         # the store's used_memory; NULL for a pool that was cut off from it
    const NodeHook *node_hook   # NULL: nobody


cdef inline void before_node(const Pool *pool, const void *structure,
                             const void *node) noexcept nogil:
    """Called by a structure's mutators before the first change of a bucket, leaf, node or listpack.

    The node is the structure itself where it is one allocation (listpack, intset).
    """
    if unlikely(pool.node_hook != NULL):
        pool.node_hook.before_node(pool.node_hook.owner, structure, node)


cdef inline void pool_charge(Pool *pool, uint64_t bytes) noexcept nogil:
    pool.bytes += bytes
    pool.total[0] += bytes


cdef inline void pool_discharge(Pool *pool, uint64_t bytes) noexcept nogil:
    pool.bytes -= bytes
    pool.total[0] -= bytes


cdef inline void *pool_alloc(Pool *pool, size_t size) noexcept nogil:
    """Uninitialised bytes; does not return when there are none."""
    cdef void *block = c_malloc(size)
    if unlikely(block == NULL):
        out_of_memory(size)
    if DEBUG:
        live_add(1)
    pool_charge(pool, malloc_usable_size(block))
    return block


cdef inline void *pool_zeroed(Pool *pool, size_t size) noexcept nogil:
    cdef void *block = c_calloc(1, size)
    if unlikely(block == NULL):
        out_of_memory(size)
    if DEBUG:
        live_add(1)
    pool_charge(pool, malloc_usable_size(block))
    return block


cdef inline void *pool_resize(Pool *pool, void *block, size_t size) noexcept nogil:
    """realloc; the block may move."""
    cdef size_t before = malloc_usable_size(block)
    cdef void *moved = c_realloc(block, size)
    if unlikely(moved == NULL):
        out_of_memory(size)
    pool_discharge(pool, before)
    pool_charge(pool, malloc_usable_size(moved))
    sort_freed()
    return moved


cdef inline void pool_free(Pool *pool, void *block) noexcept nogil:
    """Free a block of this pool; NULL is none."""
    if block == NULL:
        return
    if pool.total != NULL:
        pool_discharge(pool, malloc_usable_size(block))
    if DEBUG:
        live_add(-1)
    c_free(block)
    sort_freed()


cdef inline size_t mapped_bytes(size_t size) noexcept nogil:
    return (size + page_bytes() - 1) & ~(page_bytes() - 1)


cdef inline void *pool_map(Pool *pool, size_t size) noexcept nogil:
    """Zeroed pages, touched only when they are used."""
    cdef void *block = map_pages(mapped_bytes(size))
    if unlikely(block == NULL):
        out_of_memory(size)
    if DEBUG:
        live_add(1)
    pool_charge(pool, mapped_bytes(size))
    return block


cdef inline void pool_unmap(Pool *pool, void *block, size_t size) noexcept nogil:
    if pool.total != NULL:
        pool_discharge(pool, mapped_bytes(size))
    if DEBUG:
        live_add(-1)
    c_munmap(block, mapped_bytes(size))
