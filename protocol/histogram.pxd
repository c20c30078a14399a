"""Latency histograms by command: two significant digits from 1 ns to 1 s, as redis-server's.

A value v below 256 has a counter of its own; above, every power of two has 128. A histogram takes
24 KiB, allocated when its command is first recorded. One record is O(1), a few ns.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc

from protocol.native cimport out_of_memory, unlikely

cdef extern from *:
    """
    #define SHARDIS_CLZ64(x) __builtin_clzll(x)
    """
    int clz64 "SHARDIS_CLZ64"(uint64_t) noexcept nogil

cdef enum:
    COUNTERS = 3072
    HIGHEST_NS = 1000000000         # what takes longer is counted as this

cdef class Histograms:
    cdef uint64_t **counters        # [count], owned; NULL where nothing was recorded
    cdef uint32_t count


cdef inline uint32_t counter_index(uint64_t ns) noexcept nogil:
    cdef uint32_t shift = 56 - clz64(ns | 255)
    return (shift << 7) + <uint32_t>(ns >> shift)


cdef inline void histogram_record(Histograms histograms, uint32_t command, uint64_t ns) noexcept:
    cdef uint64_t *counters = histograms.counters[command]
    if unlikely(counters == NULL):
        counters = <uint64_t *>calloc(COUNTERS, sizeof(uint64_t))
        if counters == NULL:
            out_of_memory(COUNTERS * sizeof(uint64_t))
        histograms.counters[command] = counters
    counters[counter_index(ns if ns < HIGHEST_NS else HIGHEST_NS)] += 1
