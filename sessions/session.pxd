"""The native half of a session: input to commands, replies in the client's order.

Life of a command: `feed` -> scan -> table lookup -> arity -> (run here | submit to the dispatcher).
Every stretch of commands that is answered elsewhere takes a place in the session's ring; replies
leave in ring order, whatever order they come back in.

Contract for a dispatcher, of which a session sees the DispatcherBase (the rest: dispatcher.pxd)
1. `submit` is called once per command whose place is a shard, while its raw bytes are valid; it either
   takes the command (TAKEN) or asks the session to stop in front of it (HOLD, WAIT), after which
   somebody calls `session.resume()`.
2. `finish` is called before the raw bytes go away, and before anything else is answered.
3. Each `session.open_pending` is matched by replies until `session.complete_pending`.
4. A command that may block is the last one that `submit` takes before the session goes on again: it sets
   STATE_BLOCKED. `end_blocking` hears that its command is not to wait any longer (envelope.CancelAction).
5. `cancel` hears that a session with something open is closed: what has not run need not.
6. `queue` is called for a command inside of MULTI: it goes into the session's queue (TAKEN), or is refused
   with an answer (HOLD). `submit_exec` runs the queue (TAKEN), lets the host do it (HOLD), or stops the
   session in front of EXEC for now (WAIT). `submit_watch` likewise.
7. `remove` hears that a closed session has nothing open any more: its slot may be another's.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from protocol.buffer cimport Buffer
from protocol.reply cimport Reply
from protocol.resp cimport Limits, Progress, Scan
from protocol.table cimport CommandSpec, NativeTable
from sessions.counts cimport CommandCounts
from sessions.output cimport Output
from sessions.queue cimport CommandQueue

cdef enum:
    HELD_INPUT_BYTES_MAX = 1 << 20      # of a session that may not go on: beyond, nothing more is read
    INPUT_KEEP_BYTES = 16384            # a larger empty input buffer is given back

cdef enum Submitted:
    TAKEN = 0
    HOLD = 1
    WAIT = 2                    # as HOLD, and the dispatcher will do so: see STATE_SHARD_FULL

cdef enum SessionState:         # bits; any of them stops the parser
    STATE_HELD = 1              # a barrier command runs, or waits for the ring to be empty
    STATE_THROTTLED = 2         # too many bytes in flight
    STATE_CLOSING = 4           # closes when all is answered and sent
    STATE_CLOSED = 8            # the connection has gone
    STATE_SHARD_FULL = 16       # too many bytes in flight to a shard, or a key is held there
    STATE_PAUSED = 32           # its next command waits for the end of a CLIENT PAUSE
    STATE_BLOCKED = 64          # its last command may wait in a shard, or does
    STATE_LOCKING = 128         # its last command waits for locks that it may be refused
    STATE_WAITS = 1 | 2 | 16 | 32 | 64 | 128    # what ends again: the parser goes on afterwards

cdef enum Attention:            # bits; with any of them set, each command is looked at before it runs
    ATTENTION_AUTH = 1          # nothing but NO_AUTH commands before AUTH
    ATTENTION_PAUSE_WRITE = 2   # CLIENT PAUSE WRITE
    ATTENTION_PAUSE_ALL = 4
    ATTENTION_PAUSE = 2 | 4
    ATTENTION_SKIP_NEXT = 8     # CLIENT REPLY SKIP runs: the next command is not answered
    ATTENTION_SKIP = 16         # this command is not answered
    ATTENTION_MULTI = 32        # between MULTI and EXEC

cdef enum Admission:
    ADMITTED = 0
    REFUSED = 1                 # and answered, or queued
    POSTPONED = 2               # stays in the input

cdef enum:
    OUTPUT_CLASSES = 3          # of client-output-buffer-limit: normal, replica, pubsub

cdef struct Pending:            # one place in a session's ring
    Output output               # replies that came before their turn
    uint32_t commands           # still to be answered
    uint32_t bytes              # in flight, for backpressure
    int32_t shard               # -1: answered in this process
    uint8_t done
    uint8_t writes              # must not be answered LOADING: has a WRITE command, or a reply has begun
    uint8_t muted               # CLIENT REPLY OFF or SKIP: nothing of it is sent

cdef class DispatcherBase:
    cdef readonly NativeTable table
    cdef Scan scan
    cdef Limits limits
    cdef Limits no_limits                   # of internal sessions
    cdef public size_t query_buffer_max     # client-query-buffer-limit, bytes
    cdef readonly CommandCounts counts      # of commands that ran here
    cdef list dirty                         # sessions with output to send or to be closed
    cdef public object host                 # the slow paths, see sessions.dispatcher
    cdef int32_t ping_id
    cdef int32_t multi_id
    cdef int32_t exec_id
    cdef int32_t watch_id
    cdef set passes_queue                   # ids of commands that MULTI does not queue
    cdef public object monitor              # sessions.slowlog.Monitor, or None
    cdef public int64_t slow_us             # what takes at least so long is told to the monitor
    cdef public object cluster              # sessions.cluster.Cluster; None: cluster mode is off
    cdef public bint single                 # one shard: what is run on every shard is run on it, as it is
    cdef uint8_t attention                  # Attention of new sessions: AUTH and PAUSE
    cdef list paused                        # sessions with STATE_PAUSED, first come first
    cdef int64_t now_ms                     # monotonic; of this tick
    cdef uint64_t output_hard[OUTPUT_CLASSES]   # bytes; 0: none
    cdef uint64_t output_soft[OUTPUT_CLASSES]
    cdef int64_t output_soft_ms[OUTPUT_CLASSES]
    cdef int64_t http_seen_ms               # when a client last spoke HTTP
    cdef int submit(self, Session session, const CommandSpec *spec, const char *raw, size_t length) except -1
    cdef int queue(self, Session session, const CommandSpec *spec, const char *raw, size_t length) except -1
    cdef int submit_exec(self, Session session, const char *raw) except -1
    cdef int submit_watch(self, Session session, const CommandSpec *spec, const char *raw) except -1
    cdef int unwatch(self, Session session) except -1
    cdef int finish(self, Session session) except -1
    cdef int cancel(self, Session session) except -1
    cdef int end_blocking(self, Session session, uint8_t action) except -1
    cdef int remove(self, Session session) except -1
    cdef int note_slow(self, Session session, int32_t id, list args, int64_t microseconds) except -1
    cdef int warn_of_http(self, str address) except -1

cdef class Session:
    cdef readonly DispatcherBase dispatcher
    cdef readonly uint32_t slot             # index in dispatcher.sessions
    cdef public uint64_t id
    cdef public int database
    cdef public int resp
    cdef public bytes name
    cdef public bytes library_name
    cdef public bytes library_version
    cdef public bytes user
    cdef public str address
    cdef public str local_address
    cdef public object driver               # closes the connection; may be None
    cdef public str transport               # of connection: "tcp", "tls", "unix"; "" for internal ones
    cdef public int64_t created_ms
    cdef public uint16_t run_flags          # envelope.RunFlag of the commands parsed now
    cdef public tuple transaction           # of an internal session: (id, number, time in ms), or None
    cdef readonly CommandQueue waiting      # its queue; None: it has never said MULTI
    cdef readonly dict watched              # (database, key) -> shard; None: it has never said WATCH
    cdef uint8_t attention                  # Attention
    cdef uint8_t output_class               # index in client-output-buffer-limit
    cdef bint reply_off                     # CLIENT REPLY OFF
    cdef public bint waits_for_keys         # its command does, for keys of several shards
    cdef readonly bint blocked              # its last command waits in a shard, which has said so
    cdef readonly bint authenticated        # by AUTH, or because no password was needed when it came
    cdef bint ever_authenticated            # it has been so once; RESET does not change this
    cdef public bint no_evict               # CLIENT NO-EVICT
    cdef int32_t last_command               # id; -1: none yet
    cdef int64_t active_ms                  # when it last sent or received, by dispatcher.now_ms
    cdef int64_t over_soft_ms               # since when its output has been above the soft limit; 0: it is not
    cdef size_t running_bytes               # of the command that runs, where the input buffer has not got them
    cdef size_t argument_bytes              # of its arguments
    cdef public int32_t pinned              # internal sessions: the shard that gets everything; else -1
    cdef uint32_t state
    cdef bint is_dirty
    cdef bint is_active                     # something has arrived since `trim_idle` looked last
    cdef bint waits_for_barrier             # a barrier command is next in the input
    # input
    cdef Buffer input
    cdef size_t input_start
    cdef Progress progress
    cdef bint input_ended                   # the client has closed its sending side
    cdef bint input_replaced                # detach_input was called
    cdef size_t wanted                      # bytes that the next command lacks at least; 0 unknown
    # output
    cdef Output output
    cdef size_t unchecked                   # bytes of replies made here since `_check_output` looked
    cdef Pending *ring                      # owned, ring_size (a power of two) places
    cdef uint32_t ring_size
    cdef uint32_t head                      # sequence of the oldest unanswered place
    cdef uint32_t tail                      # sequence of the next place
    cdef uint64_t bytes_in_flight
    # the native driver's own
    cdef int fd
    cdef uint32_t interest                  # epoll events armed

    cdef int feed(self, const char *data, size_t n) except -1
    cdef int _consume(self, const char *data, size_t n, size_t *consumed) except -1
    cdef int _drain_input(self) except -1
    cdef void _compact(self) noexcept
    cdef char *detach_input(self, const char *raw, size_t length) noexcept
    cdef int _reject(self, const CommandSpec *spec, const char *raw) except -1
    cdef int _barrier(self, const CommandSpec *spec, const char *raw) except -1
    cdef int _call(self, command, list arguments, Reply reply) except -1
    cdef int _count_here(self, int32_t id, int64_t nanoseconds, list arguments) except -1
    cpdef begin_multi(self)
    cpdef discard(self)
    cpdef unwatch(self)
    cdef int _run_here(self, const CommandSpec *spec, const char *raw) except -1
    cdef int _refuse(self, int32_t id, bytes message) except -1
    cdef int _reject_unknown(self, const char *raw, int32_t id) except -1
    cdef int _admit(self, const CommandSpec *spec, const char *raw, size_t length) except -1
    cdef int _queue(self, const CommandSpec *spec, const char *raw, size_t length) except -1
    cdef int _exec(self, const CommandSpec *spec, const char *raw) except -1
    cdef int _host(self, const CommandSpec *spec, const char *raw) except -1
    cdef int end_multi(self) except -1
    cdef int _fail(self, int32_t id, bytes message) except -1
    cdef int forget_postponed(self) except -1
    cdef int _command_ended(self) except -1
    cdef bint exceeds_output_limit(self) noexcept
    cpdef bint close_over_limit(self) except -1
    cdef int _check_output(self) except -1
    cdef size_t unsent(self) noexcept
    cdef size_t memory(self)
    cdef list _arguments(self, const char *raw)
    cdef void reply_here(self, const char *data, size_t n) noexcept
    cdef Pending *open_pending(self, int32_t shard, uint32_t commands, uint32_t bytes, bint writes) noexcept
    cdef Output *output_for(self, uint32_t sequence) noexcept
    cdef int complete_pending(self, uint32_t sequence) except -1
    cdef void mark_dirty(self) noexcept
    cdef int _ring_empty(self) except -1
    cdef int input_has_ended(self) except -1
    cdef int unblocked(self) except -1
    cdef bint finished(self) noexcept
    cdef bint reads_on(self) noexcept
    cdef bint ends(self) noexcept
    cdef size_t trim(self) noexcept
