"""`run_one`: the only thing that runs a command in a shard.

Whoever has a command fills in a Call and says where the reply goes: the executor for runs from
workers, the dispatcher of the shard's port, and commands that run others in turn (`run_arguments`).

    guards       what may refuse it, one bit each in `guards`; none is set: one branch
                 own slots: a key of a slot that is not this shard's, and not lent to it
    handler      the native one; if it declines or there is none, the Python one
    figures      calls, time, errors, slow log; not for CALL_INTERNAL

Contract
1. The caller has set `store.now_ms` (`start_batch`, `tick`), `begun` (the ticks at which the command's
   time begins; each command sets it for the next one) and, in the Call, everything below.
2. A reply is appended to `out`, whole, whatever happens: an error, too, is one. `shard.blob` is the
   caller's when RAN_BLOB is among the bits returned; the reply lacks its payload and the last CR LF.
3. Commands that run others do so from their Python handler; `args`, `reply` and `call` of the outer
   one stay as they are.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from protocol.buffer cimport Buffer
from protocol.histogram cimport Histograms
from protocol.reply cimport Reply
from protocol.table cimport NativeTable
from shards.keyspace.keyspace cimport Keyspace
from shards.lane.context cimport Context
from shards.lane.handler cimport Argv, NativeLane, Shard, native_handler

cdef enum CallFlag:             # beside envelope.RunFlag
    CALL_PORT = 1 << 15         # by the shard's own port

cdef enum Guard:                # bits of Runner.guards: what looks at each command first
    GUARD_SLOTS = 1             # not all slots are ours

cdef enum Ran:                  # bits of what run_one returns
    RAN_BLOB = 1                # `shard.blob` is the rest of the reply
    RAN_SLOW = 2                # it is in the slow log
    RAN_BLOCKED = 4             # nothing was replied: it waits as `shard.block` and `waiting` say
    RAN_UNBLOCKED = 8           # of a waiter: CLIENT UNBLOCK has ended it

cdef struct Call:
    Argv argv                   # with the first key; key.length and key.data say nothing unless `keyed`
    uint16_t id                 # in the command table
    uint16_t flags              # envelope.RunFlag, CallFlag
    bint keyed                  # it has a first key, which `argv.key` is
    uint8_t resp                # 2 or 3
    uint32_t database           # logical
    uint32_t user               # of the ACL; 0: the default user
    uint64_t client_id          # CLIENT ID
    uint64_t transaction        # the number; 0: none
    bint may_block              # there is somebody who can wait
    void *session               # sessions.session.Session at this shard's port, borrowed; NULL: a worker has it

cdef class Runner:
    cdef Shard shard
    cdef readonly NativeTable table
    cdef readonly Keyspace keyspace
    cdef readonly Context context
    cdef list waiting                   # RAN_BLOCKED: its arguments while it waits; None: as they came
    cdef native_handler *natives        # owned, by command id; NULL: Python only
    cdef public bint native_lane
    cdef Reply reply                    # of the outermost Python handler
    cdef uint32_t depth                 # of commands that run others
    cdef uint32_t guards                # of Guard
    cdef uint8_t owned[2048]            # a bit for each slot
    cdef readonly set lent              # keys of other shards, for the command that runs; None: none
    # time
    cdef readonly object clock          # None: the machine's; else now_ms() of a virtual clock
    cdef uint64_t begun                 # ticks
    cdef double ticks_per_ms
    cdef double ns_per_tick
    cdef uint64_t next_ms_ticks         # `tick` is due
    # statistics by command id
    cdef uint64_t *calls
    cdef uint64_t *command_ticks
    cdef uint64_t *failed
    cdef readonly Histograms histograms
    cdef bint latency_tracking
    cdef readonly dict errors
    cdef readonly uint64_t commands_processed
    cdef public object monitor          # sessions.slowlog.Monitor, or None
    cdef uint64_t slow_ticks            # what takes at least so long is told to the monitor

    # Run a command; bits of Ran.
    cdef int run_one(self, Call *call, Buffer *out) except -1
    cdef void check_declined(self, const Call *call, uint64_t touches, size_t replied) noexcept
    cdef bint refused(self, const Call *call, Buffer *out) except -1
    cdef bint foreign(self, const Call *call) noexcept
    cdef bint is_foreign(self, const char *key, size_t n, uint32_t slot)
    cdef int refuse_foreign(self, const Call *call, Buffer *out) except -1
    cdef bint run_python(self, const Call *call, Buffer *out) except -1
    cdef int count_error(self, uint16_t id, const char *message, size_t n) except -1
    cdef bint note_slow(self, const Call *call, uint64_t elapsed) except -1
    cdef int note_unblocked(self, uint16_t id, const Buffer *reply) except -1
    cdef int start_batch(self) except -1
    cdef void tick(self, uint64_t now) noexcept
    cdef void freeze_time(self, int64_t now_ms) noexcept


cdef inline bint owns_slot(Runner runner, uint32_t slot) noexcept:
    return runner.owned[slot >> 3] >> (slot & 7) & 1
