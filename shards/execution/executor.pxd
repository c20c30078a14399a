"""The shard's executor: batches of runs in, batches of replies out, one command at a time."""

from libc.stdint cimport uint32_t

from protocol.envelope cimport RunHeader
from shards.execution.answers cimport Answers
from shards.execution.parked cimport ParkedRuns
from shards.execution.runner cimport Runner
from shards.keyspace.keyspace cimport Store

cdef class Executor:
    cdef readonly Runner runner
    cdef Answers answers
    cdef ParkedRuns parked
    cdef Store *store                   # the runner's
    cdef readonly uint32_t epoch
    cdef list postponed                 # deques of messages that wait, by link: it is stalled, or was just now

    cdef int _serve(self, uint32_t number) except -1
    cdef bint _take(self, uint32_t link, const char *data, size_t n) except -1
    cdef bint _take_stalled(self, uint32_t link, const char *data, size_t n) except -1
    cdef int _note_read(self, uint32_t link, const char *data) except -1
    cdef int _take_turn(self, const char *data) except -1
    cdef bint execute_message(self, uint32_t link, const char *data, size_t n) except -1
    cdef bint _execute_runs(self, uint32_t link, const char *data, const char *end) except -1
    cdef int _execute_all(self, const RunHeader *run, const char *data) except -1
    cdef list _run_internal(self, uint32_t link, const char *cursor, const char *end)
    cdef int _postpone(self, uint32_t link, bytes run, const char *rest, const char *end) except -1
    cdef bint _postpone_rest(self, uint32_t link, const char *cursor, const char *end) except -1
