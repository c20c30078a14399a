"""See counts.pxd."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from protocol.histogram cimport Histograms, histogram_record
from protocol.table cimport NativeTable


cdef class CommandCounts:
    """The figures of one process about the commands that its sessions ran here."""

    def __cinit__(self, NativeTable table):
        cdef Py_ssize_t n = table.count
        self.table = table
        self.errors = {}
        self.calls = <uint64_t *>calloc(n, sizeof(uint64_t))
        self.microseconds = <uint64_t *>calloc(n, sizeof(uint64_t))
        self.rejected = <uint64_t *>calloc(n, sizeof(uint64_t))
        self.failed = <uint64_t *>calloc(n, sizeof(uint64_t))
        if not (self.calls and self.microseconds and self.rejected and self.failed):
            raise MemoryError
        self.histograms = Histograms(n)
        self.latency_tracking = True

    def __dealloc__(self):
        free(self.calls)
        free(self.microseconds)
        free(self.rejected)
        free(self.failed)

    cdef void count_call(self, int32_t id, uint64_t nanoseconds) noexcept:
        """Count one execution."""
        self.calls[id] += 1
        self.commands += 1
        self.microseconds[id] += nanoseconds // 1000
        if self.latency_tracking:
            histogram_record(self.histograms, id, nanoseconds)

    cdef void count_error(self, const char *message, size_t n):
        """Count an error reply by its code, the first word. Redis: errorstats."""
        cdef size_t end = 0
        while end < n and message[end] != c" ":
            end += 1
        code = PyBytes_FromStringAndSize(message, end)
        self.errors[code] = self.errors.get(code, 0) + 1

    cdef void count_failure(self, int32_t id, bytes message):
        """Count an execution's error."""
        self.failed[id] += 1
        self.count_error(PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message))

    def reset(self):
        """CONFIG RESETSTAT."""
        cdef size_t size = self.table.count * sizeof(uint64_t)
        memset(self.calls, 0, size)
        memset(self.microseconds, 0, size)
        memset(self.rejected, 0, size)
        memset(self.failed, 0, size)
        self.errors.clear()
        self.histograms.clear()
        self.commands = 0

    def by_command(self):
        """{name: [calls, microseconds, rejected, failed]}"""
        return {
            command.name.lower(): [
                self.calls[command.id], self.microseconds[command.id],
                self.rejected[command.id], self.failed[command.id],
            ]
            for command in self.table.table
            if self.calls[command.id] or self.rejected[command.id] or self.failed[command.id]
        }
