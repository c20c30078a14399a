"""The native connection driver: an epoll set of its own, nested in the event loop."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from sessions.dispatcher cimport Dispatcher
from sessions.session cimport Session

cdef class Reactor:
    cdef readonly Dispatcher dispatcher
    cdef int epoll_fd
    cdef dict listeners         # fd -> (listening socket, who takes its connections or None)
    # (socket, peer) -> (client id, address, local address), or None to refuse
    cdef object on_accept
    cdef public object on_linger  # starts the timer for `flush_lingering`; None: nothing lingers
    cdef public object on_more    # has `tick` called soon; None: nobody waits meanwhile
    cdef bint more_due          # it has been asked to
    cdef int spare              # a descriptor to give up when no other one is free; -1: none
    cdef int64_t short_said_ms  # when the log last said that there are too few
    cdef list lingering         # sessions with replies that wait for more; may name one twice
    cdef bint pumping           # events of epoll are being served; they name sessions by address
    cdef list closed_meanwhile  # sessions that must outlive these events
    cdef char *buffer           # for reads; shared by all connections
    cdef public uint64_t input_bytes
    cdef public uint64_t output_bytes
    cdef public uint64_t reads
    cdef public uint64_t writes
    cdef public uint64_t cycles         # turns of `tick` and `collect`
    cdef public uint64_t cycle_ns       # how long all of them took
    cdef public uint64_t cycle_ns_max   # the longest
    cdef public int rounds_max  # of a tick, as long as each has found many clients ready
    cdef public int64_t spin_ns # keep polling so long after the last event (opt-in)
    cdef void _end_cycle(self, int64_t started) noexcept
    cdef int _pump(self) except -1
    cdef int _accept(self, int fd) except -1
    cdef int _readable(self, Session session) except -1
    cdef int _flush_session(self, Session session) except -1
    cdef int _send(self, Session session) except -1
    cdef bint _lingers(self, Session session) except -1
    cdef int _flush_dirty(self) except -1
    cdef int _end_of_input(self, Session session) except -1
    cdef int _arm(self, Session session) except -1
    cdef void _close(self, Session session)
