"""The sessions of one process: opened and closed, looked after, measured; see dispatcher.pxd."""

import logging
import time

from cpython.ref cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from protocol.buffer cimport buffer_free
from protocol.native cimport CLOCK_MONOTONIC, clock_ns, likely, out_of_memory
from protocol.resp cimport Span
from protocol.table cimport CommandSpec, NativeTable
from sessions.session cimport (
    ATTENTION_AUTH, ATTENTION_PAUSE, ATTENTION_PAUSE_ALL, ATTENTION_PAUSE_WRITE, INPUT_KEEP_BYTES,
    STATE_BLOCKED, STATE_CLOSED, STATE_HELD, STATE_PAUSED, DispatcherBase, Session,
)

cdef extern from "strings.h" nogil:
    int strncasecmp(const char *, const char *, size_t)

cdef extern from "malloc.h" nogil:
    int malloc_trim(size_t)

cdef enum:
    COMMAND_BYTES_MAX = 0x7FFFFFFF  # an envelope's lengths are 32 bits
    INPUT_SHRINK_MS = 2000          # a client that is idle for longer gets no spare input buffer
    TRIMMED_BYTES_MAX = 4 << 20
    VERBOSE = 15                    # redis-server's log level, as a number of Python's

logger = logging.getLogger("shardis")


cdef class Dispatcher(DispatcherBase):
    """Where the sessions of one process send their commands; subclasses say how.

    `host` has the slow paths: `run_barrier(session, command, args)` starts a command that needs
    more than this process and one shard (it owes `session.complete_barrier(reply)`, never before
    it returns), and `closed(session)` hears that a session has gone.
    """

    def __cinit__(self, NativeTable table, *args, **kwargs):
        self.xread_id = table.table["XREAD"].id if "XREAD" in table.table else -1
        self.xreadgroup_id = table.table["XREADGROUP"].id if "XREADGROUP" in table.table else -1
        self.sessions = []
        self.free_slots = []

    def __dealloc__(self):
        free(self.slots)

    cdef bint flush(self) except -1:
        return False

    cdef int receive(self) except -1:
        return 0

    def open_session(self, uint64_t client_id):
        """A new session in a free slot; `close()` gives the slot back when all is answered."""
        cdef Session session = Session.__new__(Session)
        session.slot = self.take_slot()
        self.sessions[session.slot] = session
        self.slots[session.slot] = <PyObject *>session
        session.dispatcher = self
        session.id = client_id
        session.created_ms = time.time_ns() // 1_000_000
        session.active_ms = self.now_ms
        if client_id:               # else ours: a password or a pause is not for it
            session.attention = self.attention
            session.authenticated = not self.attention & ATTENTION_AUTH
            session.ever_authenticated = session.authenticated
        return session

    cdef uint32_t take_slot(self) noexcept:
        """A slot that is no session's; its place in `sessions` is None."""
        cdef PyObject **slots
        cdef uint32_t slot, size
        if self.free_slots:
            return self.free_slots.pop()
        slot = len(self.sessions)
        self.sessions.append(None)
        if slot >= self.slots_size:
            size = self.slots_size * 2 if self.slots_size else 64
            slots = <PyObject **>realloc(self.slots, size * sizeof(PyObject *))
            if slots == NULL:
                out_of_memory(size * sizeof(PyObject *))
            # An answer for a slot that was never taken is found out by its NULL.
            memset(slots + slot, 0, (size - slot) * sizeof(PyObject *))
            self.slots = slots
            self.slots_size = size
        return slot

    cdef int remove(self, Session session) except -1:
        self.slots[session.slot] = NULL
        self.sessions[session.slot] = None
        self.free_slots.append(session.slot)
        return 0

    def trim_idle(self):
        """Give back the empty buffers of sessions that say nothing, a quarter of all in one call.

        Due a few times a second. A session must be found idle twice, so that one in use keeps its
        buffers. O(sessions / 4).
        """
        cdef Session session
        cdef Py_ssize_t n = len(self.sessions)
        cdef Py_ssize_t i
        for i in range(n // 4 + 1 if n else 0):
            if self.trim_next >= n:
                self.trim_next = 0
            if self.slots[self.trim_next] != NULL:
                session = <Session>self.slots[self.trim_next]
                if session.is_active:
                    session.is_active = False
                else:
                    self.trimmed_bytes += session.trim()
            self.trim_next += 1
        if self.trimmed_bytes > TRIMMED_BYTES_MAX:
            self.trimmed_bytes = 0
            malloc_trim(0)          # the allocator keeps what it has got for ever otherwise

    # -- what holds for all clients

    def set_password_required(self, bint required):
        """Whether new clients have to say AUTH; those that may run commands already still may."""
        cdef Session session
        self.attention = self.attention & ~ATTENTION_AUTH | (ATTENTION_AUTH if required else 0)
        for session in self.sessions:
            if session is not None and session.id:
                session.attention &= ~ATTENTION_AUTH
                if required and not session.authenticated:
                    session.attention |= ATTENTION_AUTH

    def set_pause(self, bint writes, bint everything):
        """Postpone the commands of clients from here on, or no longer. O(clients)."""
        cdef Session session
        cdef list waiting
        cdef uint8_t pause = ATTENTION_PAUSE_WRITE if writes else 0
        if everything:
            pause |= ATTENTION_PAUSE_ALL
        self.attention = self.attention & ~ATTENTION_PAUSE | pause
        for session in self.sessions:
            if session is not None and session.id:
                session.attention = session.attention & ~ATTENTION_PAUSE | pause
        waiting = self.paused
        self.paused = []
        for session in waiting:
            # Each looks again at the command it stopped at, and may stop there once more.
            session.state &= ~STATE_PAUSED
            session.resume()

    def unanswered_marks(self):
        """What is being executed elsewhere now, for `is_answered`."""
        cdef Session session
        return [
            (session, session.tail)
            for session in self.sessions
            if session is not None and session.head != session.tail
        ]

    def is_answered(self, list marks):
        """Whether nothing of these marks is being executed any more. O(marks)."""
        cdef Session session
        cdef uint32_t tail
        for session, tail in marks:
            # Who waits in a shard executes nothing.
            if session.blocked and session.tail == tail:
                tail -= 1
            if (
                <int32_t>(session.head - tail) < 0
                and self.slots[session.slot] == <PyObject *>session
            ):
                return False
        return True

    cdef bint may_block(self, const CommandSpec *spec, const char *raw) noexcept:
        """Whether a BLOCKING command may wait: XREAD and XREADGROUP do so only when told."""
        cdef uint32_t i
        cdef const Span *span
        if likely(spec.id != self.xread_id and spec.id != self.xreadgroup_id):
            return True
        for i in range(1, self.scan.argc):
            span = &self.scan.spans[i]
            if span.length == 5 and strncasecmp(raw + span.offset, b"BLOCK", 5) == 0:
                return True
            if span.length == 7 and strncasecmp(raw + span.offset, b"STREAMS", 7) == 0:
                break
        return False

    def unblock(self, Session session not None, bint error):
        """End a client's blocked command; whether it was one, or a future of that."""
        return False

    def set_output_limits(self, limits):
        """Apply client-output-buffer-limit: (hard bytes, soft bytes, seconds) of each class."""
        cdef int i
        for i, (hard, soft, seconds) in enumerate(limits):
            self.output_hard[i] = hard
            self.output_soft[i] = soft
            self.output_soft_ms[i] = seconds * 1000

    def sweep(self, uint32_t count, int64_t now_ms=0):
        """Look after the next `count` clients: idle ones, slow readers, spare memory. O(count).

        Called so that everybody is seen about once in a second. `now_ms` is the monotonic time, for
        tests that have their own.
        """
        cdef Session session
        cdef uint32_t n = len(self.sessions)
        cdef int64_t idle_ms
        self.now_ms = now_ms or clock_ns(CLOCK_MONOTONIC) // 1_000_000
        self.note_peaks(0, 0)
        for _ in range(min(count, n)):
            if self.sweep_at >= n:
                self.sweep_at = 0
            session = self.sessions[self.sweep_at]
            self.sweep_at += 1
            if session is None or session.id == 0 or session.state & STATE_CLOSED:
                continue
            self.note_peaks(session.input.size + session.argument_bytes, session.unsent())
            idle_ms = self.now_ms - session.active_ms
            if (
                self.idle_seconds_max
                and idle_ms >= (self.idle_seconds_max + 1) * 1000
                and not session.state & (STATE_HELD | STATE_PAUSED | STATE_BLOCKED)
                and session.head == session.tail
                and session.output_class == 0
            ):
                logger.log(VERBOSE, "Closing idle client")
                session.abort()
            elif (
                not session.close_over_limit()
                and idle_ms > INPUT_SHRINK_MS
                and session.input.size > session.input.used - session.input_start
            ):
                if session.input.used == session.input_start:
                    buffer_free(&session.input)
                    session.input_start = 0
                elif (
                    session.input.size
                    > INPUT_KEEP_BYTES + 2 * (session.input.used - session.input_start)
                ):
                    session._compact()

    cdef void note_peaks(self, size_t input, size_t output) noexcept:
        cdef int64_t second = self.now_ms // 1000
        cdef int i = second % PEAK_SECONDS
        cdef int64_t gone
        if second != self.peak_second:
            gone = min(second - self.peak_second, <int64_t>PEAK_SECONDS)
            while gone > 0:
                gone -= 1
                self.input_peak[(second - gone) % PEAK_SECONDS] = 0
                self.output_peak[(second - gone) % PEAK_SECONDS] = 0
            self.peak_second = second
        if input > self.input_peak[i]:
            self.input_peak[i] = input
        if output > self.output_peak[i]:
            self.output_peak[i] = output

    def client_figures(self):
        """Figures about all clients of this process. O(clients)."""
        cdef Session session
        cdef size_t memory = 0, input = 0, output = 0
        cdef int i
        for session in self.sessions:
            if session is not None and session.id:
                memory += session.memory()
                self.note_peaks(session.input.size + session.argument_bytes, session.unsent())
        for i in range(PEAK_SECONDS):
            input = max(input, self.input_peak[i])
            output = max(output, self.output_peak[i])
        return {
            "paused_clients": len(self.paused),
            "client_bytes": memory,
            "query_buffer_bytes_max": input,
            "output_buffer_bytes_max": output,
        }

    def set_monitor(self, monitor, bint latency_tracking):
        """Apply the slowlog-*, latency-monitor-threshold and latency-tracking directives."""
        self.monitor = monitor
        self.slow_us = monitor.least_us
        self.counts.latency_tracking = latency_tracking

    def set_limits(self, int64_t bulk_bytes_max, size_t query_buffer_max):
        """Apply proto-max-bulk-len and client-query-buffer-limit."""
        self.limits.bulk_bytes_max = bulk_bytes_max
        self.query_buffer_max = min(query_buffer_max, <size_t>COMMAND_BYTES_MAX)

    def count_call(self, Session session, int32_t id, uint64_t nanoseconds, list args, bytes reply):
        """Count a command that the host has run, and its error if that is the raw reply."""
        cdef int64_t microseconds = nanoseconds // 1000
        self.counts.count_call(id, nanoseconds)
        if microseconds >= self.slow_us:
            self.note_slow(session, id, args, microseconds)
        if reply.startswith(b"-"):
            self.counts.count_failure(id, reply[1:len(reply) - 2])
