"""The shard's executor: batches of runs in, batches of replies out, one command at a time."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from actors.mailbox cimport Link, Message
from protocol.buffer cimport Buffer
from protocol.envelope cimport CommandHeader, RunHeader
from protocol.histogram cimport Histograms
from protocol.reply cimport Reply
from protocol.table cimport CommandSpec, NativeTable
from shards.keyspace.keyspace cimport Key, Keyspace
from shards.lane.handler cimport Arg, Argv, NativeLane, Shard, native_handler
from shards.execution.locks cimport Locks, Ticket

cdef struct LinkState:      # of a worker's two links
    uint64_t unread         # bytes of replies sent and not known to be read
    bint stalled            # too many: what comes is held

cdef class BulkMessage:
    """A large command that came by the bulk link; released with this object unless adopted."""
    cdef Message message

cdef class Held:
    """A run, or what is left of one, that waits for its bytes, for keys, or for a run before it."""
    cdef bytes data             # its header, command headers and bytes
    cdef uint32_t link
    cdef BulkMessage bulk       # its bytes, when they have come by the bulk link
    cdef uint32_t at            # the command to go on with
    cdef size_t offset          # of that command's bytes
    cdef Ticket ticket          # that command's, or None

cdef class Executor:
    cdef Shard shard
    cdef readonly NativeTable table
    cdef readonly Keyspace keyspace
    cdef readonly object context
    cdef readonly uint32_t epoch
    cdef native_handler *natives        # by command id; NULL: Python only
    cdef public bint native_lane
    cdef Arg *args
    cdef uint32_t args_size
    cdef Reply reply
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
    cdef dict lent                      # (link, number) -> Ticket of a SHARDIS.LOCK
    cdef object granted                 # deque of tickets whose owners may go on
    cdef bint careful                   # there are parked runs or locks
    cdef int32_t lock_id                # of SHARDIS.LOCK; -1 where the table has no such command
    cdef int32_t try_lock_id
    cdef int32_t unlock_id
    cdef frozenset under_locks          # ids of what runs for whoever holds the locks
    cdef Buffer out                     # the reply message under construction
    cdef uint32_t parts
    cdef size_t cut_at                  # what `out` may hold: out_bytes_max, or 0 behind much on the bulk link
    cdef size_t bulk_bytes              # on the bulk link since the last reply message
    cdef uint16_t taken                 # request messages whose answers end with the next reply message
    cdef size_t part_at                 # offset of the open part's header in `out`
    cdef RunHeader run                  # of the open part
    cdef uint16_t part_commands
    cdef bint part_open
    cdef uint32_t out_link              # the link `out` is for
    # time
    cdef object clock                   # None: the machine's; else now_ms() of a virtual clock
    cdef double ticks_per_ms
    cdef int64_t base_ms
    cdef uint64_t base_ticks
    cdef uint64_t next_ms_ticks
    # statistics by command id
    cdef uint64_t *calls
    cdef uint64_t *command_ticks
    cdef uint64_t *failed
    cdef readonly Histograms histograms
    cdef bint latency_tracking
    cdef double ns_per_tick
    cdef public object monitor          # sessions.slowlog.Monitor, or None
    cdef uint64_t slow_ticks            # what takes at least so long is told to the monitor
    cdef bint part_slow                 # the open part has a command that is in the slow log
    cdef readonly dict errors
    cdef readonly uint64_t commands_processed

    cdef bint bulk_used                 # sent to since it was last looked at

    cdef int _serve(self, uint32_t number) except -1
    cdef bint _take(self, uint32_t link, const char *data, size_t n) except -1
    cdef int _note_read(self, uint32_t link, const char *data) except -1
    cdef bint execute_message(self, uint32_t link, const char *data, size_t n) except -1
    cdef bint _execute_runs(self, uint32_t link, const char *data, const char *end) except -1
    cdef int _postpone(self, uint32_t link, bytes run, const char *rest, const char *end) except -1
    cdef void _park_part(self) noexcept
    cdef bint _cut_part(self) except -1
    cdef void _note_bulk(self, size_t n) noexcept
    cdef int _special_run(self, uint32_t link, const char *data, size_t n) except -1
    cdef int _execute(self, const CommandHeader *header, const Key *key, const char *raw) except -1
    cdef bint note_slow(self, uint16_t id, const Argv *argv, uint64_t elapsed, uint64_t client_id,
                        str address, bytes name) except -1
    cdef int _execute_python(self, const CommandHeader *header, const Argv *argv) except -1
    cdef void _resize_args(self, uint32_t size) noexcept
    cdef void _parse(self, const char *raw, const CommandHeader *header, Argv *argv) noexcept
    cdef void _open_part(self, const RunHeader *run) noexcept
    cdef void _close_part(self, uint8_t status, uint32_t bulk) noexcept
    cdef int _bulk_reply(self, size_t start) except -1
    cdef int _blob_reply(self) except -1
    cdef int _send(self) except -1
    cdef void _tick(self, uint64_t now) noexcept
    cdef int _start_batch(self) except -1
    cdef bint _run_held(self, Held held) except -1
    cdef Ticket _ticket_for(self, const CommandHeader *header, const char *raw, Held held)
    # For commands that do not come through a worker's link: whether nobody's lock concerns one, at a
    # glance; which keys it needs, None if it may run whatever is locked.
    cdef bint is_untouched(self, const CommandSpec *spec, uint32_t slot) noexcept
    cdef dict wants_of(self, uint32_t id, list arguments)
    cdef list _arguments(self, const CommandHeader *header, const char *raw)
    cdef object _number(self, const CommandHeader *header, const char *raw)
    cdef void _look_again(self) noexcept
    cdef bint _ready(self, Held held) except -1
