"""Compiler and machine primitives that every kernel shares; no state, no Python."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <time.h>
    #define SHARDIS_LIKELY(x) __builtin_expect(!!(x), 1)
    #define SHARDIS_UNLIKELY(x) __builtin_expect(!!(x), 0)
    #define SHARDIS_PREFETCH(p) __builtin_prefetch(p)
    #ifndef SHARDIS_DEBUG
    #define SHARDIS_DEBUG 0
    #endif
    static inline uint16_t shardis_load16(const void *p) { uint16_t v; memcpy(&v, p, 2); return v; }
    static inline uint32_t shardis_load32(const void *p) { uint32_t v; memcpy(&v, p, 4); return v; }
    static inline uint64_t shardis_load64(const void *p) { uint64_t v; memcpy(&v, p, 8); return v; }
    static inline void shardis_store32(void *p, uint32_t v) { memcpy(p, &v, 4); }
    static inline void shardis_store64(void *p, uint64_t v) { memcpy(p, &v, 8); }
    static inline int shardis_compare_bytes(const void *a, size_t an, const void *b, size_t bn) {
        int order = memcmp(a, b, an < bn ? an : bn);
        return order ? order : (an > bn) - (an < bn);
    }
    static inline int64_t shardis_clock_ns(int id) {
        struct timespec t;
        clock_gettime(id, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    }
    #if defined(__x86_64__)
    #include <x86intrin.h>
    static inline uint64_t shardis_ticks(void) { return __rdtsc(); }
    #elif defined(__aarch64__)
    static inline uint64_t shardis_ticks(void) {
        uint64_t v; __asm__ volatile("mrs %0, cntvct_el0" : "=r"(v)); return v;
    }
    #else
    static inline uint64_t shardis_ticks(void) {
        return (uint64_t)shardis_clock_ns(CLOCK_MONOTONIC);
    }
    #endif
    /* As redis-server does: a process that cannot allocate says how much it wanted and aborts. */
    static inline void shardis_out_of_memory(size_t size) {
        fprintf(stderr, "Out Of Memory allocating %zu bytes!\\n", size);
        fflush(stderr);
        abort();
    }
    /* For what no input may cause: the process ends, and says why. */
    static inline void shardis_fatal(const char *message) {
        fprintf(stderr, "Fatal: %s\\n", message);
        fflush(stderr);
        abort();
    }
    """
    bint likely "SHARDIS_LIKELY"(bint) noexcept nogil
    bint unlikely "SHARDIS_UNLIKELY"(bint) noexcept nogil
    void prefetch "SHARDIS_PREFETCH"(const void *) noexcept nogil
    const bint DEBUG "SHARDIS_DEBUG"
    uint16_t load16 "shardis_load16"(const void *) noexcept nogil
    uint32_t load32 "shardis_load32"(const void *) noexcept nogil
    uint64_t load64 "shardis_load64"(const void *) noexcept nogil
    void store32 "shardis_store32"(void *, uint32_t) noexcept nogil
    void store64 "shardis_store64"(void *, uint64_t) noexcept nogil
    int64_t clock_ns "shardis_clock_ns"(int clock_id) noexcept nogil
    uint64_t ticks "shardis_ticks"() noexcept nogil
    void out_of_memory "shardis_out_of_memory"(size_t) noexcept nogil
    void fatal "shardis_fatal"(const char *message) noexcept nogil
    const int CLOCK_REALTIME
    const int CLOCK_MONOTONIC
    # Below, equal, above: by bytes, and what another one begins with is below it.
    int compare_bytes "shardis_compare_bytes"(
        const void *, size_t, const void *, size_t) noexcept nogil
