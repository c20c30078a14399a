"""The shard's executor: batches of runs in, batches of replies out, one command at a time."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from actors.mailbox cimport Link
from protocol.buffer cimport Buffer
from protocol.envelope cimport CommandHeader, RunHeader, TransactionHeader
from protocol.table cimport CommandSpec, NativeTable
from shards.execution.locks cimport Locks, Ticket
from shards.execution.runner cimport Call, Runner
from shards.execution.waiting cimport Held, Transaction
from shards.keyspace.keyspace cimport Key, Store
from shards.lane.handler cimport Arg, Argv

cdef struct LinkState:      # of a worker's two links
    uint64_t unread         # bytes of replies sent and not known to be read
    bint stalled            # too many: what comes is postponed
    uint32_t waiting        # runs that are parked
    uint32_t *parked        # owned: the same by the worker's slot for the client
    uint32_t parked_size

cdef class Executor:
    cdef readonly Runner runner
    cdef readonly NativeTable table
    cdef Store *store                   # the runner's
    cdef readonly uint32_t epoch
    cdef Call call                      # of the command that runs, or ran last
    cdef Arg *args
    cdef uint32_t args_size
    cdef list links
    cdef list bulk_links
    cdef list bulk_received             # number of the last bulk message, by link
    cdef list bulk_sent
    cdef LinkState *states              # owned, by link
    cdef uint32_t states_size
    cdef list postponed                 # deques of messages that wait, by link: it is stalled, or was just now
    cdef public size_t out_bytes_max    # a reply message is sent at this size at the latest
    cdef public uint64_t unread_bytes_max
    cdef readonly bint has_more         # `service` has left messages behind
    cdef dict parked                    # (link, client) -> deque of Held
    cdef dict arrived                   # (link, bulk number) -> BulkMessage
    cdef readonly Locks locks
    cdef readonly dict transactions     # id -> Transaction whose locks were granted
    cdef list pushes                    # (link, message) to send after the replies that are being made
    cdef public uint64_t durable        # how far the log is on disk; 0: there is none
    cdef object granted                 # deque of tickets whose owners may go on
    cdef int32_t commit_id              # of SHARDIS.COMMIT; -1 where the table has no such command
    cdef Buffer out                     # the reply message under construction
    cdef uint32_t parts
    cdef size_t cut_at                  # what `out` may hold: out_bytes_max, or 0 after much on the bulk link
    cdef size_t bulk_bytes              # on the bulk link since the last reply message
    cdef uint16_t taken                 # request messages whose answers end with the next reply message
    cdef size_t part_at                 # offset of the open part's header in `out`
    cdef RunHeader run                  # of the open part
    cdef uint32_t part_commands
    cdef bint part_open
    cdef uint32_t out_link              # the link `out` is for
    cdef bint part_slow                 # the open part has a command that is in the slow log
    cdef bint bulk_used                 # sent to since it was last looked at

    cdef int _serve(self, uint32_t number) except -1
    cdef bint _take(self, uint32_t link, const char *data, size_t n) except -1
    cdef int _note_read(self, uint32_t link, const char *data) except -1
    cdef int _cancel(self, uint32_t link, const char *data) except -1
    cdef int _send_pushes(self) except -1
    cdef void _note_unread(self, uint32_t link, size_t n) noexcept
    cdef bint execute_message(self, uint32_t link, const char *data, size_t n) except -1
    cdef bint _execute_runs(self, uint32_t link, const char *data, const char *end) except -1
    cdef int _postpone(self, uint32_t link, bytes run, const char *rest, const char *end) except -1
    cdef void _park_part(self) noexcept
    cdef bint _cut_part(self) except -1
    cdef void _note_bulk(self, size_t n) noexcept
    cdef int _special_run(self, uint32_t link, const char *data, size_t n) except -1
    cdef int _execute(self, const CommandHeader *header, const Key *key, const char *raw) except -1
    cdef void _resize_args(self, uint32_t size) noexcept
    cdef void _parse(self, const char *raw, const CommandHeader *header, Argv *argv) noexcept
    cdef void _open_part(self, const RunHeader *run) noexcept
    cdef void _close_part(self, uint8_t status, uint32_t bulk) noexcept
    cdef int _bulk_reply(self, size_t start) except -1
    cdef int _blob_reply(self) except -1
    cdef int _send(self) except -1
    cdef bint _take_stalled(self, uint32_t link, const char *data, size_t n) except -1
    cdef list _run_internal(self, uint32_t link, const char *cursor, const char *end)
    cdef bint _postpone_rest(self, uint32_t link, const char *cursor, const char *end) except -1
    cdef bint _has_parked(self, uint32_t link, uint32_t client) noexcept
    cdef int _park(self, Held held, uint32_t client) except -1
    cdef int _special_rest(self, uint32_t link, const char *data, size_t n, uint32_t done,
                           const char *raw) except -1
    cdef bint _run_held(self, Held held) except -1
    cdef bint _ready(self, Held held) except -1
    cdef int _execute_for(self, Transaction transaction, const CommandHeader *header, const Key *key,
                          const char *raw) except -1
    cdef bint _lock(self, Held held, const TransactionHeader *label, const CommandHeader *header,
                    const char *raw) except -1
    cdef bint _refuse_run(self, const RunHeader *run) except -1
    cdef bint _commit(self, Held held, Transaction transaction, const TransactionHeader *label) except -1
    cdef int _run_part(self, Transaction transaction) except -1
    cdef int _commit_alone(self, Transaction transaction) except -1
    cdef Ticket _ticket_for(self, const CommandHeader *header, const Key *key, const char *raw, Held held)
    cdef Ticket _ticket_of_run(self, Held held, const RunHeader *run, const char *raw)
    cdef list _arguments(self, const CommandHeader *header, const char *raw)
    # For commands that do not come through a worker's link.
    cdef bint is_untouched(self, const CommandSpec *spec, const Key *key)
    cdef Ticket ticket_of(self, uint32_t id, list arguments, object owner)
