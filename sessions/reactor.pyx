"""Plain TCP and unix connections of one process, a worker or a shard; see reactor.pxd.

One tick: read what is readable, send each shard its batch, take what the shards have answered,
write it out. uvloop calls `tick` when the nested epoll set, or a shard's link, has something.
"""

import errno as _errno
import logging
import os
import socket as _socket
import time

from sessions.admission import TOO_MANY

from cpython.ref cimport PyObject
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from protocol.buffer cimport buffer_reserve
from protocol.native cimport CLOCK_MONOTONIC, clock_ns, likely, unlikely
from sessions.dispatcher cimport Dispatcher
from sessions.output cimport Output, output_clear_tail, output_pop_block
from sessions.session cimport STATE_CLOSED, STATE_CLOSING, STATE_PAUSED, Session

cdef extern from "sys/socket.h" nogil:
    ssize_t c_send "send"(int, const void *, size_t, int)
    ssize_t c_recv "recv"(int, void *, size_t, int)
    int MSG_NOSIGNAL
    int MSG_DONTWAIT

cdef extern from "unistd.h" nogil:
    int c_close "close"(int)

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        void *ptr
        int fd
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int)
    int epoll_ctl(int, int, int, epoll_event *)
    int epoll_wait(int, epoll_event *, int, int)
    int EPOLLIN
    int EPOLLOUT
    int EPOLLHUP
    int EPOLLERR
    int EPOLLEXCLUSIVE
    int EPOLL_CTL_ADD
    int EPOLL_CTL_MOD
    int EPOLL_CTL_DEL
    int EPOLL_CLOEXEC

cdef enum:
    READ_BYTES = 65536
    EVENTS_MAX = 512
    ACCEPTS_MAX = 64  # per tick and listener, so that clients are served meanwhile
    LARGE_READ_BYTES_MAX = 1 << 20      # read at once of a large value
    SHORT_SAID_MS = 10000               # the log says so often that descriptors are short
    SEND_BYTES_MAX = 1 << 20            # to a client per turn: one that reads as fast is never full
    BUSY_EVENTS_MIN = 4                 # fewer: the next ones are not worth another look yet
    LINGER_BYTES_MAX = 16384            # more output than this does not wait for further replies

SHORT_SECONDS = 0.01    # a pause where not even a spare descriptor is left

logger = logging.getLogger("shardis")


cdef class Reactor:
    """`on_accept(connection, peer)` is asked about each new connection.

    `on_linger()`, if set, owes a call of `flush_lingering` after a millisecond or so; `on_more()`
    one of `tick` when others have had their turn. Without `on_more`, a tick goes on until nothing
    more comes.
    """

    def __init__(self, Dispatcher dispatcher, on_accept):
        self.dispatcher = dispatcher
        self.on_accept = on_accept
        self.listeners = {}
        self.lingering = []
        self.closed_meanwhile = []
        self._take_spare()
        self.buffer = <char *>malloc(READ_BYTES)
        self.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll_fd < 0 or self.buffer == NULL:
            raise OSError(errno, "epoll_create1")

    def __cinit__(self, *args, **kwargs):
        self.epoll_fd = -1
        self.spare = -1

    def __dealloc__(self):
        free(self.buffer)
        if self.spare >= 0:
            c_close(self.spare)
        if self.epoll_fd >= 0:
            c_close(self.epoll_fd)

    def fileno(self):
        return self.epoll_fd

    def listen(self, listener, take=None):
        """Accept from this non-blocking listening socket, which other workers may share.

        With `take(connection, peer)`, its connections are another driver's: this one only accepts.
        """
        cdef epoll_event event
        event.events = EPOLLIN | EPOLLEXCLUSIVE
        event.data.u64 = (<uint64_t>listener.fileno() << 1) | 1     # odd: no Session pointer is
        if epoll_ctl(self.epoll_fd, EPOLL_CTL_ADD, listener.fileno(), &event) < 0:
            raise OSError(errno, "epoll_ctl")
        self.listeners[listener.fileno()] = (listener, take)

    def stop_listening(self):
        """Accept from nobody any more; the caller closes the listeners."""
        for fd in self.listeners:
            epoll_ctl(self.epoll_fd, EPOLL_CTL_DEL, fd, NULL)
        self.listeners.clear()

    def tick(self):
        """Do all that can be done now, without waiting."""
        cdef int64_t started = clock_ns(CLOCK_MONOTONIC)
        cdef int64_t last
        cdef int events, round = 0
        self.more_due = False
        while True:
            events = self._pump()
            self.dispatcher.flush()
            self.dispatcher.receive()
            self._flush_dirty()
            round += 1
            if events < BUSY_EVENTS_MIN or round >= self.rounds_max:
                break
        if unlikely(self.spin_ns > 0):
            last = clock_ns(CLOCK_MONOTONIC)
            while clock_ns(CLOCK_MONOTONIC) - last < self.spin_ns:
                events = self._pump()
                self.dispatcher.flush()
                self.dispatcher.receive()
                if events or self.dispatcher.dirty:
                    last = clock_ns(CLOCK_MONOTONIC)
                self._flush_dirty()
        self._end_cycle(started)

    def collect(self):
        """Answers may have come: the tick without reading from clients."""
        cdef int64_t started = clock_ns(CLOCK_MONOTONIC)
        self.dispatcher.receive()
        self._flush_dirty()
        self._end_cycle(started)

    cdef void _end_cycle(self, int64_t started) noexcept:
        cdef uint64_t elapsed = <uint64_t>(clock_ns(CLOCK_MONOTONIC) - started)
        self.cycles += 1
        self.cycle_ns += elapsed
        if unlikely(elapsed > self.cycle_ns_max):
            self.cycle_ns_max = elapsed

    cdef int _pump(self) except -1:
        cdef epoll_event events[EVENTS_MAX]
        cdef int i, n = epoll_wait(self.epoll_fd, events, EVENTS_MAX, 0)
        cdef Session session
        if n <= 0:
            return 0
        self.dispatcher.now_ms = clock_ns(CLOCK_MONOTONIC) // 1_000_000
        self.pumping = True
        try:
            for i in range(n):
                if unlikely(events[i].data.u64 & 1):
                    self._accept(<int>(events[i].data.u64 >> 1))
                    continue
                session = <Session>events[i].data.ptr
                if session.state & STATE_CLOSED:
                    continue
                if unlikely(session.input_ended and events[i].events & (EPOLLHUP | EPOLLERR)):
                    self._close(session)
                    continue
                if unlikely(events[i].events & EPOLLOUT):
                    session.mark_dirty()
                if likely(events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)):
                    self._readable(session)
        finally:
            self.pumping = False
            if unlikely(len(self.closed_meanwhile) > 0):
                self.closed_meanwhile = []
        return n

    cdef int _accept(self, int fd) except -1:
        cdef epoll_event event
        cdef Session session
        cdef int i
        listener, take = self.listeners.get(fd, (None, None))
        if listener is None:
            return 0
        for i in range(ACCEPTS_MAX):
            try:
                connection, peer = listener.accept()
            except OSError as error:
                if error.errno in (_errno.EMFILE, _errno.ENFILE):
                    self._refuse_without_descriptor(listener)
                return 0        # nothing left, or the peer has gone
            try:
                connection.setblocking(False)
                if connection.family != _socket.AF_UNIX:
                    connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
                if take is not None:
                    take(connection, peer)
                    continue
                accepted = self.on_accept(connection, peer)
            except OSError:
                accepted = None     # the peer has gone already
            if accepted is None:
                connection.close()
                continue
            client_id, address, local_address = accepted
            session = self.dispatcher.open_session(client_id)
            session.address = address
            session.local_address = local_address
            session.driver = self
            session.transport = "unix" if connection.family == _socket.AF_UNIX else "tcp"
            session.fd = connection.detach()
            session.interest = EPOLLIN
            event.events = EPOLLIN
            event.data.ptr = <void *>session
            if epoll_ctl(self.epoll_fd, EPOLL_CTL_ADD, session.fd, &event) < 0:
                self._close(session)
        return 0

    def _refuse_without_descriptor(self, listener):
        """No descriptor is free: refuse who waits, or the loop is told of them for ever.

        The spare one is given up for that long. Should it be gone, nobody is accepted for a while.
        """
        if self.spare >= 0:
            c_close(self.spare)
            self.spare = -1
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.send(TOO_MANY)
            except OSError:
                pass
        self._take_spare()
        if self.spare < 0:
            time.sleep(SHORT_SECONDS)
        if self.dispatcher.now_ms - self.short_said_ms >= SHORT_SAID_MS or self.short_said_ms == 0:
            self.short_said_ms = self.dispatcher.now_ms
            logger.warning("Accepting client connection: accept: Too many open files")

    def _take_spare(self):
        try:
            self.spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.spare = -1

    cdef int _readable(self, Session session) except -1:
        cdef char *target = self.buffer
        cdef size_t size = READ_BYTES
        cdef ssize_t n
        cdef bint direct = session.input.used and session.wanted > READ_BYTES and session.state == 0
        if unlikely(direct):
            # The rest of a large value goes straight after what is there of it.
            size = session.wanted if session.wanted < LARGE_READ_BYTES_MAX else LARGE_READ_BYTES_MAX
            target = buffer_reserve(&session.input, size)
        n = c_recv(session.fd, target, size, 0)
        if unlikely(n <= 0):
            if n == 0:
                self._end_of_input(session)
            elif errno != EAGAIN and errno != EINTR:
                self._close(session)
            return 0
        self.reads += 1
        self.input_bytes += n
        if session.state & STATE_CLOSING:
            return 0            # read and forgotten, so that our last reply is not lost to a reset
        if unlikely(direct):
            session.input.used += n
            session.feed(NULL, 0)
        else:
            session.feed(target, n)
        if unlikely(session.state):
            self._arm(session)
        return 0

    cdef int _end_of_input(self, Session session) except -1:
        """The client will send no more; it still gets the replies to what it has sent."""
        session.input_has_ended()
        if session.state & STATE_PAUSED:
            session.forget_postponed()
        if session.ends():
            self._close(session)
        else:
            self._flush_session(session)
        return 0

    cdef int _arm(self, Session session) except -1:
        """Tell epoll what this session waits for."""
        cdef epoll_event event
        cdef uint32_t interest = 0
        cdef bint writes = session.output.tail.used > 0
        if session.state & STATE_CLOSED:
            return 0
        if session.reads_on():
            interest = EPOLLIN
        # What is after a block that has yet to come can't be written before it.
        if session.output.first != NULL:
            writes = session.output.first.ready
        if writes:
            interest |= EPOLLOUT
        if interest != session.interest:
            session.interest = interest
            event.events = interest
            event.data.ptr = <void *>session
            epoll_ctl(self.epoll_fd, EPOLL_CTL_MOD, session.fd, &event)
        return 0

    cdef int _flush_session(self, Session session) except -1:
        cdef Output *output = &session.output
        cdef ssize_t n
        cdef char *data
        cdef size_t size, left = SEND_BYTES_MAX
        if unlikely(session.close_over_limit()):
            return 0
        while True:
            if unlikely(output.first != NULL):
                if not output.first.ready:
                    break
                data = output.first.data
                size = output.first.size
            else:
                data = output.tail.data
                size = output.tail.used
                if size == 0:
                    break
            n = c_send(session.fd, data + output.sent, min(size - output.sent, left),
                       MSG_NOSIGNAL | MSG_DONTWAIT)
            if unlikely(n < 0):
                if errno == EINTR:
                    continue
                if errno != EAGAIN:
                    self._close(session)
                    return 0
                break
            self.writes += 1
            self.output_bytes += n
            session.active_ms = self.dispatcher.now_ms
            output.sent += n
            left -= n
            if unlikely(output.sent < size):
                break
            if unlikely(output.first != NULL):
                output_pop_block(output)
                if left == 0:
                    break
                continue
            output_clear_tail(output)
            break
        if unlikely(session.ends()):
            self._close(session)
        elif unlikely(
            session.state or session.interest != <uint32_t>EPOLLIN
            or output.tail.used or output.first != NULL
        ):
            self._arm(session)
        return 0

    cdef int _flush_dirty(self) except -1:
        cdef list dirty
        cdef Session session
        while self.dispatcher.dirty or self.dispatcher.receive_due:
            dirty = self.dispatcher.dirty
            self.dispatcher.dirty = []
            for session in dirty:
                session.is_dirty = False
                if session.state & STATE_CLOSED:
                    continue
                if (
                    unlikely(session.head != session.tail)
                    and session.pinned < 0
                    and self._lingers(session)
                ):
                    continue
                self._send(session)
            # Sessions that went on (a throttle or barrier ended) have filled batches.
            if self.dispatcher.flush():
                self.dispatcher.receive()
            elif unlikely(self.dispatcher.receive_due):
                if self.on_more is not None:
                    # Much is coming for somebody; who has little to ask need not wait for its end.
                    self.dispatcher.receive_due = False
                    if not self.more_due:
                        self.more_due = True
                        self.on_more()
                else:
                    self.dispatcher.receive()
        return 0

    cdef int _send(self, Session session) except -1:
        if likely(session.fd >= 0):
            self._flush_session(session)
        else:
            session.driver.flush_session(session)
        return 0

    cdef bint _lingers(self, Session session) except -1:
        """Whether to keep a few replies back for a moment: more of the client's are on their way.

        A pipeline over several shards is answered in several messages; one write for all of them
        costs the kernel, and the client, less than one for each.
        """
        if (
            self.on_linger is None
            or session.state
            or session.input_ended
            or session.output.first != NULL
            or session.output.sent
            or session.output.tail.used > LINGER_BYTES_MAX
        ):
            return False
        if not self.lingering:
            self.on_linger()
        self.lingering.append(session)
        return True

    def flush_lingering(self):
        """The moment is over: write what was kept back. Due once after each `on_linger()`."""
        cdef Session session
        cdef list lingering = self.lingering
        self.lingering = []
        for session in lingering:
            if not session.state & STATE_CLOSED and session.output.tail.used:
                self._send(session)

    def flush_sessions(self):
        """Write out what control paths have queued; batches go, too."""
        self.dispatcher.flush()
        self.dispatcher.receive()
        self._flush_dirty()

    cdef void _close(self, Session session):
        if self.pumping:
            self.closed_meanwhile.append(session)
        if session.fd >= 0:
            c_close(session.fd)
            session.fd = -1
        session.closed_by_driver()

    def close_session(self, Session session):
        """Close a connection at once (Session.abort)."""
        self._close(session)
