"""How often each command ran or failed in one process, how long it took, and its errors."""

from libc.stdint cimport int32_t, uint64_t

from protocol.histogram cimport Histograms
from protocol.table cimport NativeTable

cdef class CommandCounts:
    cdef NativeTable table
    cdef uint64_t *calls                    # by command id
    cdef uint64_t *microseconds
    cdef uint64_t *rejected
    cdef uint64_t *failed
    cdef readonly uint64_t commands         # all calls
    cdef public bint latency_tracking       # whether the histograms are kept
    cdef readonly Histograms histograms
    cdef readonly dict errors               # error code -> count
    cdef void count_call(self, int32_t id, uint64_t nanoseconds) noexcept
    cdef void count_error(self, const char *message, size_t n)
    cdef void count_failure(self, int32_t id, bytes message)
