"""A worker's Dispatcher: runs into batches, at most one message per shard and tick; replies back."""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from actors.mailbox cimport Link
from protocol.envelope cimport CommandHeader
from protocol.table cimport CommandSpec
from router.batches cimport Batches
from router.coordinator cimport Coordinator
from sessions.output cimport Output
from sessions.queue cimport CommandQueue
from sessions.session cimport Session

cdef class WorkerDispatcher(Batches):
    cdef readonly Coordinator coordinator   # of transactions
    cdef list links                     # Link or None, by shard
    cdef list bulk_links
    cdef CommandHeader *headers         # of the open run
    cdef uint32_t run_count             # commands in the open run
    cdef int32_t run_shard              # -1: no run is open
    cdef const char *run_start          # in the session's input
    cdef const char *run_end
    cdef bint run_writes
    cdef bint _elsewhere(self, Session session, int32_t shard) noexcept
    cdef public size_t batch_bytes_held_max # 0: every batch goes at once (simulation)
    cdef public uint64_t read_bytes_min     # a shard is told that so much has been read
    cdef list cancels                   # (slot, envelope.CancelAction, sequence), for each shard to be told of
    cdef dict unblocking                # slot -> futures of who wants its blocked command to end
    cdef dict blocks                    # (shard, bulk number) -> address of the Block that waits for it
    cdef dict early_bulks               # (shard, bulk number) -> bulk that came before its part
    cdef int32_t scan_id
    cdef readonly uint64_t unreachable  # commands refused because their shard was not up
    cdef int _submit_bulk(self, Session session, int32_t shard, const CommandSpec *spec, const char *raw,
                          size_t length, const CommandHeader *header) except -1
    cdef int _append_run(self, Session session, int32_t shard, uint32_t count, const CommandHeader *headers,
                         const char *raw, size_t bytes, uint16_t flags, uint32_t bulk) except -1
    cdef size_t _argument_bytes(self) noexcept
    cdef int _append_queue(self, Session session, int32_t shard, CommandQueue queue, uint16_t flags,
                           uint32_t replies) except -1
    cdef int _submit_blocking(self, Session session, int32_t shard, const CommandSpec *spec, const char *raw,
                              size_t length, const CommandHeader *header) except -1
    cdef int _settle_unblocking(self, Session session, bint done) except -1
    cdef int32_t _place(self, Session session, const CommandSpec *spec, const char *raw,
                        uint32_t *key_offset, uint32_t *key_length, uint16_t *slot) noexcept
    cdef int _demux(self, int32_t shard, const char *data, size_t n) except -1
    cdef int _receive_bulk(self, int32_t shard, Link link) except -1
    cdef bint _append_block(self, uint32_t slot, Output *output, int32_t shard, uint32_t bulk) except -1
    cdef int _settle(self, Session session, int32_t shard) except -1
    cdef bint _waits_for_block(self, const Output *output, int32_t shard) noexcept
    cdef bint _wake_full(self) except -1
    cdef int _send_cancels(self, int32_t shard) except -1
    cdef int _take_claim(self, int32_t shard, const char *data, size_t n) except -1
    cdef int _take_push(self, int32_t shard, const char *data, size_t n) except -1
    cdef int _report_read(self) except -1
