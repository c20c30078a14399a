"""See histogram.pxd; here is what reads the histograms."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free


cdef inline uint64_t highest_equivalent(uint32_t index) noexcept nogil:
    """The largest value that a counter counts."""
    cdef uint32_t shift = 0 if index < 256 else (index >> 7) - 1
    return ((<uint64_t>(index - (shift << 7)) + 1) << shift) - 1


cdef class Histograms:
    """One histogram for each command id below `count`."""

    def __cinit__(self, uint32_t count):
        self.counters = <uint64_t **>calloc(count if count else 1, sizeof(uint64_t *))
        if self.counters == NULL:
            raise MemoryError
        self.count = count

    def __dealloc__(self):
        if self.counters != NULL:
            self.clear()
        free(self.counters)

    def record(self, uint32_t command, uint64_t ns):
        """Count one execution of that many nanoseconds. O(1)"""
        if command >= self.count:
            raise IndexError(command)
        histogram_record(self, command, ns)

    def clear(self):
        """Forget everything."""
        cdef uint32_t i
        for i in range(self.count):
            free(self.counters[i])
            self.counters[i] = NULL

    def pairs(self):
        """{command: [(highest ns of a counter, count), ...] ascending}; merged by addition."""
        cdef uint32_t i, j
        cdef uint64_t *counters
        result = {}
        for i in range(self.count):
            counters = self.counters[i]
            if counters != NULL:
                result[i] = [
                    (highest_equivalent(j), counters[j])
                    for j in range(<uint32_t>COUNTERS)
                    if counters[j]
                ]
        return result
