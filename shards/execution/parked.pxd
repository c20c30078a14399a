"""Runs that cannot run at once, and transactions: what a shard does when a command must wait.

A run is parked (waiting.pxd) while its bytes have not come by the bulk link, while a key of its next
command is locked, or while an earlier run of its client is parked; the shard goes on with everybody else.
While its worker is stalled (answers.pxd) a parked run stays so, unless it is the worker's own
(RUN_INTERNAL): others may wait for what only that can end.

Without tickets, no command is looked at for locks; with some, one look at its slot's counter tells that a
command with one key is free (`is_untouched`).
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from protocol.envelope cimport CommandHeader, RunHeader, TransactionHeader
from protocol.native cimport likely
from protocol.table cimport KEYS_NONE, KEYS_RANGE, CommandSpec, NativeTable
from shards.execution.answers cimport Answers
from shards.execution.locks cimport Locks, Ticket, slot_is_quiet
from shards.execution.runner cimport Runner
from shards.execution.serving cimport Serving, TicketOffice
from shards.execution.waiting cimport Held, Transaction
from shards.keyspace.keyspace cimport Key, Store

cdef enum:
    WRITES = 1                  # protocol.commands.F.WRITE, which parked.pyx holds it against

cdef struct ParkedCounts:       # of a worker's runs
    uint32_t runs
    uint32_t *by_client         # owned: by the worker's slot for the client
    uint32_t size

cdef class ParkedRuns(TicketOffice):
    cdef Answers answers
    cdef Runner runner
    cdef NativeTable table
    cdef Store *store                   # the runner's
    cdef uint32_t epoch
    cdef Serving serving                # the answers'
    cdef readonly Locks locks
    cdef readonly dict transactions     # id -> Transaction whose locks were granted
    cdef dict runs                      # (link, client) -> deque of Held
    cdef ParkedCounts *counts           # owned, by link
    cdef uint32_t counts_size
    cdef dict arrived                   # (link, bulk number) -> BulkMessage
    cdef list bulk_received             # number of the last bulk message, by link
    cdef object granted                 # deque of tickets whose owners may go on
    cdef int32_t commit_id              # of SHARDIS.COMMIT; -1 where the table has no such command
    cdef int32_t release_id             # of SHARDIS.RELEASE
    cdef bint has_more                  # `run_granted` may have eaten the wake-up of a link

    # A worker's links have come, or gone.
    cdef int add_links(self, uint32_t link) except -1
    cdef int remove_links(self, uint32_t link) except -1
    # Run it now, or park it; `run_rest_or_park`: without its first `done` commands, from `raw` on.
    cdef int run_or_park(self, uint32_t link, const char *data, size_t n) except -1
    cdef int run_rest_or_park(self, uint32_t link, const char *data, size_t n, uint32_t done,
                              const char *raw) except -1
    cdef bint has_parked(self, uint32_t link, uint32_t client) noexcept
    cdef int receive_bulk(self, uint32_t link) except -1
    cdef int unpark(self, uint32_t link) except -1
    cdef int cancel(self, uint32_t link, const char *data) except -1
    # Locks, also for commands that do not come through a worker's link.
    cdef Ticket ticket_of_all(self, list commands, list watched, object owner)
    cdef Ticket ticket_of(self, uint32_t id, list arguments, object owner)
    cdef int release(self, Ticket ticket) except -1
    cdef int run_granted(self) except -1
    # Transactions whose coordinator has died.
    cdef dict open_transactions(self, uint64_t coordinator)
    cdef int resolve(self, commit, drop) except -1

    cdef int _go_on(self, tuple key) except -1
    cdef bint _ready(self, Held held) except -1
    cdef int _end_transaction(self, Transaction transaction) except -1
    cdef int _park(self, Held held, uint32_t client) except -1
    cdef bint _settle(self, uint32_t link, const RunHeader *run, const char *data) except -1
    cdef bint _commit_part(self, const RunHeader *run, Transaction transaction, int64_t time_ms) except -1
    cdef Ticket _ticket_of_few(self, Held held, const RunHeader *run, const char *headers,
                               const char *raw)
    cdef bint _run_held(self, Held held) except -1
    cdef bint _run_whole(self, Held held, const RunHeader *run, const char *headers, const char *raw) except -1
    cdef Ticket _ticket_of_run(self, Held held, const RunHeader *run, const char *raw)
    cdef int _execute_for(self, Transaction transaction, const CommandHeader *header, const Key *key,
                          const char *raw) except -1
    cdef bint _lock(self, Held held, const TransactionHeader *label, const CommandHeader *header,
                    const char *raw) except -1
    cdef bint _refuse_run(self, const RunHeader *run) except -1
    cdef bint _commit(self, Held held, Transaction transaction, const TransactionHeader *label) except -1
    cdef int _run_part(self, Transaction transaction) except -1
    cdef int _commit_alone(self, Transaction transaction) except -1
    cdef Ticket _ticket_for(self, const CommandHeader *header, const Key *key, const char *raw, Held held)


cdef inline bint is_untouched(ParkedRuns parked, const CommandSpec *spec, const Key *key):
    """Whether no lock concerns a command with at most one key, which this is; else a closer look is due."""
    cdef Locks locks = parked.locks
    cdef bint writes = spec.flags & WRITES
    if spec.key_mode == KEYS_NONE:
        return not writes and not locks.mode_blocks(False)
    if spec.key_mode != KEYS_RANGE or spec.key_first != spec.key_last or locks.mode_blocks(writes):
        return False
    return likely(slot_is_quiet(locks, key.slot)) or not locks.key_blocks(key.hash, writes)
