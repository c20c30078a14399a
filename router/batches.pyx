"""The messages to shards, under construction; see batches.pxd."""

from libc.stdint cimport int32_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from protocol.buffer cimport buffer_append, buffer_free, buffer_reserve
from protocol.envelope cimport (
    RUN_TRANSACTION, CommandHeader, RequestHeader, RunHeader, TransactionHeader, run_head, run_size,
)
from protocol.native cimport unlikely
from protocol.table cimport NativeTable
from sessions.dispatcher cimport Dispatcher
from sessions.session cimport STATE_SHARD_FULL, Session

cdef enum:
    SHARD_BYTES_IN_FLIGHT_MAX = 64 << 20


cdef class Batches(Dispatcher):
    """A dispatcher's shards. `shard_count` is fixed for the life of the process."""

    def __cinit__(self, NativeTable table, int shard_count):
        self.shard_count = shard_count
        self.shards = <ShardState *>calloc(shard_count, sizeof(ShardState))
        if self.shards == NULL:
            raise MemoryError
        self.shard_bytes_max = SHARD_BYTES_IN_FLIGHT_MAX
        self.full = []

    def __dealloc__(self):
        cdef int32_t i
        if self.shards != NULL:
            for i in range(self.shard_count):
                buffer_free(&self.shards[i].batch)
        free(self.shards)

    def set_slots(self, uint32_t version, ranges):
        """Install a slot map: `ranges` of (first, last, shard)."""
        cdef int slot
        for first, last, shard in ranges:
            for slot in range(first, last + 1):
                self.owner[slot] = shard
        self.map_version = version

    def shard_of(self, int slot):
        return self.owner[slot]

    def is_up(self, int shard):
        return bool(self.shards[shard].up)

    cdef int append(self, int32_t shard, const RunHeader *run, const TransactionHeader *label,
                    const CommandHeader *headers, const char *raw) except -1:
        cdef ShardState *state = &self.shards[shard]
        cdef RequestHeader request
        cdef size_t size = run_size(run)
        cdef char *place
        if state.batch.used == 0:
            memset(&request, 0, sizeof(request))
            buffer_append(&state.batch, &request, sizeof(request))
        place = buffer_reserve(&state.batch, size)
        memcpy(place, run, sizeof(RunHeader))
        if unlikely(run.flags & RUN_TRANSACTION):
            memcpy(place + sizeof(RunHeader), label, sizeof(TransactionHeader))
        place += run_head(run)
        memcpy(place, headers, run.commands * sizeof(CommandHeader))
        if run.bytes:
            memcpy(place + run.commands * sizeof(CommandHeader), raw, run.bytes)
        state.batch.used += size
        state.runs += 1
        state.commands += run.commands
        state.bytes_in_flight += run.bytes
        return 0

    cdef void _hold_back(self, Session session, int32_t shard):
        """Let a client wait for room. Never us: what a client waits for may be ours to end."""
        if session.pinned >= 0:
            return
        session.state |= STATE_SHARD_FULL
        self.full.append((session, shard))
