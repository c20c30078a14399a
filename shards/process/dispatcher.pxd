"""The Dispatcher of a shard's own port: commands run at once, in the shard's executor.

Contract
1. A session's commands are gathered into a window of up to 64; the window is executed when it is
   full and in `finish`, so that nothing gathered outlives the raw bytes it points to.
2. Replies go straight after the session's output, whose ring stays empty but for barriers: what
   is refused or answered by the session is written after `finish`, and so keeps its place.
3. One thread executes for the workers' links and for this port, never inside one another. What
   needs a key that is held for a command over several shards stays in its session's input (WAIT)
   with a ticket of its own; when that holds the key, the session is let go on from the event loop.
"""

from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from protocol.table cimport CommandSpec
from sessions.dispatcher cimport Dispatcher
from sessions.output cimport Output
from sessions.session cimport Session
from shards.execution.executor cimport Executor
from shards.execution.locks cimport Ticket
from shards.execution.runner cimport Call
from shards.lane.handler cimport Arg

cdef enum Verdict:
    SERVED = 0
    REFUSED_UNBOUND = 1         # nobody owns the slot
    REFUSED_CROSSSLOT = 2
    REFUSED_DOWN = 3
    REFUSED_DOWN_WRITE = 4      # reads are allowed while the cluster is down
    REFUSED_MOVED = 5

cdef struct Gathered:           # a command of the window
    Call call                   # its args are set when it runs: the pool may move until then
    uint32_t args_at            # in the pool

cdef enum:
    WINDOW = 64                 # a pipeline of 50 is one window

cdef class LocalDispatcher(Dispatcher):
    cdef readonly Executor executor
    cdef readonly int32_t node          # this shard's index
    cdef int16_t owner[16384]           # slot -> shard; -1: nobody
    cdef bint down                      # the cluster is: commands with keys are refused
    cdef bint reads_when_down           # but for reads
    cdef Gathered window[WINDOW]
    cdef uint32_t count                 # of the window
    cdef Arg *args                      # owned pool of args_size, args_used of them in the window
    cdef uint32_t args_size
    cdef uint32_t args_used
    cdef uint32_t *indexes              # owned; where the keys of the last looked-at command stand
    cdef uint32_t indexes_size
    cdef size_t replied                 # bytes since a client's output limit was last looked at
    cdef public object on_granted       # looks whether the executor has more; None: nobody does
    cdef Ticket running                 # of that session; or None
    cdef Session admitted               # its next command holds the keys that it waited for
    cdef bint _must_wait(self, Session session, const CommandSpec *spec, const char *raw) except -1
    cdef int32_t _find_keys(self, const CommandSpec *spec, const char *raw) noexcept
    cdef Verdict _judge(self, const CommandSpec *spec, const char *raw, uint32_t first, uint32_t slot,
                        int32_t found) noexcept
    cdef int _refuse(self, Session session, const CommandSpec *spec, Verdict verdict, uint32_t slot) except -1
    cdef void _grow_args(self, uint32_t more) noexcept
    cdef bint _exec_must_wait(self, Session session) except -1
    cdef int _send_served(self) except -1
    cdef int run_queue(self, Session session) except -1
    cdef int _run(self, Session session) except -1
    cdef int _block(self, Session session, const Call *call) except -1
    cdef void _append_blob(self, Output *output) noexcept
