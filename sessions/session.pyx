"""One client connection, sans-IO: bytes in, commands out, replies in order. See session.pxd."""

import logging
import sys
import time

from protocol.commands import F, Place
from protocol.errors import INTERNAL_ERROR, REFUSED_SUBCOMMANDS, CommandError
from sessions.description import describe

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from protocol.buffer cimport Buffer, buffer_append, buffer_free
from protocol.envelope cimport CANCEL_ENDED, RUN_NO_TOUCH, RUN_REPLY_OFF
from protocol.native cimport CLOCK_MONOTONIC, clock_ns, likely, out_of_memory, unlikely
from protocol.reply cimport Reply
from protocol.resp cimport Limits, SCAN_COMMAND, SCAN_MORE, ScanResult, scan, scan_free, scan_init
from protocol.table cimport UNKNOWN_COMMAND, UNKNOWN_SUBCOMMAND, CommandSpec, NativeTable
from sessions.counts cimport CommandCounts
from sessions.output cimport (
    Block, Output, output_bytes, output_clear_tail, output_empty, output_free, output_pop_block, output_splice,
)
from sessions.queue cimport CommandQueue

cdef enum:
    RING_SIZE_FIRST = 8
    SESSION_BYTES_IN_FLIGHT_MAX = 1 << 20
    OUTPUT_FREE_BYTES = 16384       # so much output is nobody's excess: redis-server's static buffer
    # Beyond it, so much is for a client that has never said AUTH: as Redis since April 2025.
    OUTPUT_UNAUTHENTICATED_BYTES_MAX = 1024
    OUTPUT_UNCHECKED_BYTES_MAX = 65536  # of replies made here between two looks at the limits
    LOGGED_INPUT_BYTES_MAX = 64
    HTTP_WARNING_MS = 60000
    INTERNAL_BULK_BYTES_MAX = 0x7FFFFFFF    # an envelope's lengths are 32 bits; parcels go in pieces
    SHOWN_NAME_BYTES_MAX = 128      # of an unknown command's name and arguments in the error

cdef uint8_t PLACE_SESSION = Place.SESSION.value
cdef uint8_t PLACE_SHARD = Place.SHARD.value
cdef uint8_t PLACE_FANOUT = Place.FANOUT.value
cdef uint8_t PLACE_HOST = Place.HOST.value
cdef uint32_t FLAG_INTERNAL = F.INTERNAL
cdef uint32_t FLAG_NO_AUTH = F.NO_AUTH
cdef uint32_t FLAGS_PAUSED = F.WRITE | F.MAY_REPLICATE
cdef bytes NOT_AUTHENTICATED = b"NOAUTH Authentication required."
cdef uint32_t FLAG_PROTECTED = F.PROTECTED
cdef uint32_t FLAG_NO_MULTI = F.NO_MULTI
cdef bytes NOT_INSIDE_MULTI = b"ERR Command not allowed inside a transaction"
cdef bytes EXEC_ABORTED = b"EXECABORT Transaction discarded because of previous errors."
cdef bytes EXEC_REFUSED = b"EXECABORT Transaction discarded because of: %b"
cdef tuple REDIRECTIONS = (b"MOVED ", b"ASK ", b"CROSSSLOT ", b"CLUSTERDOWN ", b"TRYAGAIN ")
cdef bytes WATCH_INSIDE = b"ERR WATCH inside MULTI is not allowed"
cdef bytes NO_MULTI = b"ERR EXEC without MULTI"

logger = logging.getLogger("shardis")


cdef class DispatcherBase:
    """What a session knows of its dispatcher: whom it asks, and the rules that hold for all clients."""

    def __cinit__(self, NativeTable table, *args, **kwargs):
        self.table = table
        scan_init(&self.scan)
        self.limits.bulk_bytes_max = 512 << 20
        self.limits.inline_bytes_max = 64 << 10
        self.limits.unauthenticated = 0
        self.no_limits = self.limits
        self.no_limits.bulk_bytes_max = INTERNAL_BULK_BYTES_MAX
        self.query_buffer_max = 1 << 30
        self.counts = CommandCounts(table)
        self.dirty = []
        self.paused = []
        self.now_ms = clock_ns(CLOCK_MONOTONIC) // 1_000_000
        self.slow_us = 1 << 62
        self.ping_id = table.table["PING"].id if "PING" in table.table else -1
        self.multi_id = table.table["MULTI"].id if "MULTI" in table.table else -1
        self.exec_id = table.table["EXEC"].id if "EXEC" in table.table else -1
        self.watch_id = table.table["WATCH"].id if "WATCH" in table.table else -1
        self.passes_queue = {
            table.table[name].id
            for name in ("MULTI", "EXEC", "DISCARD", "WATCH", "QUIT", "RESET") if name in table.table
        }

    def __dealloc__(self):
        scan_free(&self.scan)

    cdef int submit(self, Session session, const CommandSpec *spec, const char *raw, size_t length) except -1:
        raise NotImplementedError

    cdef int queue(self, Session session, const CommandSpec *spec, const char *raw, size_t length) except -1:
        raise NotImplementedError

    cdef int submit_exec(self, Session session, const char *raw) except -1:
        return HOLD

    cdef int submit_watch(self, Session session, const CommandSpec *spec, const char *raw) except -1:
        return HOLD

    cdef int unwatch(self, Session session) except -1:
        return 0

    cdef int finish(self, Session session) except -1:
        return 0

    cdef int cancel(self, Session session) except -1:
        return 0

    cdef int end_blocking(self, Session session, uint8_t action) except -1:
        return 0

    cdef int remove(self, Session session) except -1:
        raise NotImplementedError

    cdef int note_slow(self, Session session, int32_t id, list args, int64_t microseconds) except -1:
        """Tell the monitor of a slow command that ran in this process."""
        self.monitor.note(
            args, microseconds, session.id, session.address, session.name,
            fast=F.FAST in self.table.table.by_id[id].flags,
        )
        return 0

    cdef int warn_of_http(self, str address) except -1:
        """Log a client that speaks HTTP, not more often than once in a minute."""
        if self.http_seen_ms == 0 or self.now_ms - self.http_seen_ms > HTTP_WARNING_MS:
            self.http_seen_ms = self.now_ms
            logger.warning(
                "Possible SECURITY ATTACK detected: %s sends HTTP (POST or Host:). The cause is "
                "likely a web page that attacks this server from a browser; the connection is closed.",
                address,
            )
        return 0


cdef bytes _shown(bytes text, Py_ssize_t bytes_max=SHOWN_NAME_BYTES_MAX):
    # Redis prints what a client sent as a C string: up to the first NUL.
    return text.partition(b"\0")[0][:bytes_max]


cdef void buffer_detached_rest(Buffer *buffer, size_t end) noexcept nogil:
    # Replace the buffer by a fresh one with the bytes from `end` on; the old memory is the caller's.
    cdef Buffer fresh
    memset(&fresh, 0, sizeof(Buffer))
    buffer_append(&fresh, buffer.data + end, buffer.used - end)
    buffer[0] = fresh


@cython.final
@cython.no_gc_clear
cdef class Session:
    """Made by Dispatcher.open_session (sessions/dispatcher). The Python attributes are those of session.pyi."""

    def __cinit__(self):
        self.resp = 2
        self.name = b""
        self.library_name = b""
        self.library_version = b""
        self.user = b"default"
        self.address = ""
        self.local_address = ""
        self.transport = ""
        self.fd = -1
        self.pinned = -1
        self.last_command = -1

    def __dealloc__(self):
        cdef uint32_t i
        buffer_free(&self.input)
        output_free(&self.output)
        for i in range(self.ring_size):
            output_free(&self.ring[i].output)
        free(self.ring)

    # -- what handlers see

    @property
    def table(self):
        return self.dispatcher.table.table

    @property
    def now_us(self):
        return time.time_ns() // 1000

    @property
    def databases(self):
        return self.dispatcher.host.databases

    @property
    def settings(self):
        return self.dispatcher.host.settings

    @property
    def cluster(self):
        return self.dispatcher.cluster

    @property
    def closed(self):
        return bool(self.state & STATE_CLOSED)

    @property
    def input_bytes(self):
        return self.input.used - self.input_start

    @property
    def output_bytes(self):
        return output_bytes(&self.output)

    @property
    def waits(self):
        """Whether a large reply has still to arrive, or to be sent."""
        return self.output.first != NULL

    @property
    def unanswered(self):
        """How many places of the ring are open, without that of a command that waits in a shard."""
        return self.tail - self.head - (1 if self.blocked else 0)

    def close_after_reply(self):
        self.state |= STATE_CLOSING
        self.mark_dirty()

    def authenticate(self, bytes user):
        """The client has shown who it is; it may run commands."""
        self.user = user
        self.authenticated = True
        self.ever_authenticated = True
        self.attention &= ~ATTENTION_AUTH
        self.dispatcher.limits.unauthenticated = False

    def reset(self):
        """RESET: back to the state after connecting. The library's name stays."""
        self.resp = 2
        self.database = 0
        self.name = b""
        self.user = b"default"
        self.authenticated = not self.dispatcher.attention & ATTENTION_AUTH
        self.attention &= ~(ATTENTION_AUTH | ATTENTION_SKIP_NEXT)
        self.attention |= self.dispatcher.attention & ATTENTION_AUTH
        self.discard()
        self.reply_off = False
        self.run_flags = RUN_REPLY_OFF if self.attention & ATTENTION_SKIP else 0
        self.no_evict = False

    @property
    def no_touch(self):
        """CLIENT NO-TOUCH: its reads leave LRU and LFU alone."""
        return bool(self.run_flags & RUN_NO_TOUCH)

    @no_touch.setter
    def no_touch(self, bint value):
        self.run_flags = self.run_flags & ~RUN_NO_TOUCH | (RUN_NO_TOUCH if value else 0)

    def set_replies(self, bint wanted):
        """CLIENT REPLY ON or OFF, from this command's own reply on."""
        self.reply_off = not wanted
        if wanted:
            self.attention &= ~ATTENTION_SKIP
            self.run_flags &= ~RUN_REPLY_OFF
        else:
            self.run_flags |= RUN_REPLY_OFF

    def skip_next_reply(self):
        """CLIENT REPLY SKIP; without effect while no reply is sent at all."""
        if not self.reply_off:
            self.attention |= ATTENTION_SKIP_NEXT

    # -- what is shown of it

    @property
    def kind(self):
        """Its class, by the names of CLIENT LIST TYPE."""
        return ("normal", "replica", "pubsub")[self.output_class]

    @property
    def last_command_name(self):
        if self.last_command < 0:
            return "NULL"
        return self.dispatcher.table.table.by_id[self.last_command].name.lower()

    @property
    def idle_seconds(self):
        return max(0, (clock_ns(CLOCK_MONOTONIC) // 1_000_000 - self.active_ms) // 1000)

    @property
    def paused(self):
        """Whether its next command waits for the end of a CLIENT PAUSE."""
        return bool(self.state & STATE_PAUSED)

    @property
    def closing(self):
        return bool(self.state & STATE_CLOSING)

    @property
    def descriptor(self):
        """The file descriptor; -1 where a driver in Python has the socket."""
        return self.fd

    @property
    def events(self):
        """What is waited for on its socket: r to read, w to write."""
        if self.fd < 0:
            return "r"
        # The bits of EPOLLIN and EPOLLOUT.
        return ("r" if self.interest & 1 else "") + ("w" if self.interest & 4 else "")

    def buffer_figures(self):
        """What CLIENT LIST says about memory, by its names. O(blocks of output)."""
        cdef size_t unsent = self.unsent()
        cdef size_t blocks = 0
        cdef Block *block = self.output.first
        cdef bint fits = unsent <= OUTPUT_FREE_BYTES
        while block != NULL:
            blocks += 1
            block = block.next
        return {
            "qbuf": self.input.used - self.input_start + self.running_bytes,
            "qbuf-free": self.input.size - self.input.used,
            "argv-mem": self.argument_bytes,
            "multi-mem": 0 if self.waiting is None else self.waiting.argument_bytes,
            "rbs": self.output.tail.size,
            "rbp": self.output.tail.used,
            "obl": unsent if fits else 0,
            "oll": 0 if fits else blocks + (self.output.tail.used != 0),
            "omem": 0 if fits else unsent,
            "tot-mem": self.memory(),
        }

    def description(self):
        """As CLIENT LIST shows it."""
        return describe(self).decode(errors="replace")

    cdef size_t unsent(self) noexcept:
        """Bytes of replies that are here, in turn or not. O(blocks, places)."""
        cdef size_t total = output_bytes(&self.output)
        cdef uint32_t i
        for i in range(self.tail - self.head):
            total += output_bytes(&self.ring[(self.head + i) & (self.ring_size - 1)].output)
        return total

    cdef size_t memory(self):
        return (
            sys.getsizeof(self) + self.input.size + self.unsent()
            + self.output.tail.size - self.output.tail.used
            + self.ring_size * sizeof(Pending) + self.argument_bytes
            + (0 if self.waiting is None else self.waiting.raw.size + self.waiting.headers.size)
            + len(self.name) + len(self.library_name) + len(self.library_version)
        )

    cpdef bint close_over_limit(self) except -1:
        """Close the connection if its unsent replies are beyond what its class may have; whether it was."""
        if likely(not self.exceeds_output_limit()):
            return False
        logger.warning(
            "Client %s scheduled to be closed ASAP for overcoming of output buffer limits.",
            self.description(),
        )
        self.abort()
        return True

    cdef bint exceeds_output_limit(self) noexcept:
        """Whether its unsent replies are beyond what its class may have, now or for too long."""
        cdef DispatcherBase dispatcher = self.dispatcher
        cdef uint64_t hard = dispatcher.output_hard[self.output_class]
        cdef uint64_t soft = dispatcher.output_soft[self.output_class]
        cdef bint stranger = self.attention & ATTENTION_AUTH and not self.ever_authenticated
        cdef size_t unsent
        if likely(hard == 0 and soft == 0 and not stranger):
            return False
        unsent = self.unsent()
        if unsent <= OUTPUT_FREE_BYTES:
            unsent = 0
        if unlikely(stranger and unsent > OUTPUT_UNAUTHENTICATED_BYTES_MAX):
            return True
        if hard and unsent >= hard:
            return True
        if soft == 0 or unsent < soft:
            self.over_soft_ms = 0
        elif self.over_soft_ms == 0:
            self.over_soft_ms = dispatcher.now_ms
        else:
            return dispatcher.now_ms - self.over_soft_ms > dispatcher.output_soft_ms[self.output_class]
        return False

    cdef int _check_output(self) except -1:
        """Look at the limits after a reply that was made here, as one read may ask for many.

        Nothing that this process answers by itself ends the parser otherwise. For a client that has
        to say AUTH each reply counts; for others not each is worth the count of what is unsent.
        """
        if unlikely(self.attention & ATTENTION_AUTH or self.unchecked > OUTPUT_UNCHECKED_BYTES_MAX):
            self.unchecked = 0
            self.close_over_limit()
        return 0

    # -- input

    cdef int feed(self, const char *data, size_t n) except -1:
        """Bytes have arrived. `data` is not kept."""
        cdef size_t consumed = 0
        self.is_active = True
        if likely(self.input.used == 0 and self.state == 0):
            self._consume(data, n, &consumed)
            if consumed < n and not self.state & (STATE_CLOSING | STATE_CLOSED):
                buffer_append(&self.input, data + consumed, n - consumed)
        elif not self.state & (STATE_CLOSING | STATE_CLOSED):
            buffer_append(&self.input, data, n)
            if self.state == 0:
                self._drain_input()
        self.active_ms = self.dispatcher.now_ms
        if (
            unlikely(self.input.used - self.input_start > self.dispatcher.query_buffer_max)
            and self.pinned < 0
        ):
            # As redis-server: no reply, the connection is closed.
            begin = PyBytes_FromStringAndSize(
                self.input.data + self.input_start,
                min(self.input.used - self.input_start, <size_t>LOGGED_INPUT_BYTES_MAX),
            )
            logger.warning(
                "Closing client that reached max query buffer length: %s (qbuf initial bytes: %s)",
                self.description(), ascii(begin)[1:],
            )
            self.abort()
        return 0

    cdef size_t trim(self) noexcept:
        """Give back the buffers that are empty; how many bytes that were."""
        cdef size_t before = self.input.size + self.output.tail.size
        cdef uint32_t i
        if self.state & STATE_CLOSED:
            return 0
        if self.input.used == 0:
            buffer_free(&self.input)
        if output_empty(&self.output):
            buffer_free(&self.output.tail)
        if self.head == self.tail and self.ring_size:
            before += self.ring_size * sizeof(Pending)
            for i in range(self.ring_size):
                output_free(&self.ring[i].output)
            free(self.ring)
            self.ring = NULL
            self.ring_size = 0
        return before - self.input.size - self.output.tail.size

    def push(self, bytes data):
        """`feed` for drivers in Python."""
        self.feed(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    def push_from(self, data):
        """`feed` from any buffer, which may be used again at once; for drivers in Python."""
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.feed(<const char *>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    def end_input(self):
        """The client will send no more; it still gets the replies to what it has sent."""
        self.input_has_ended()

    cdef int input_has_ended(self) except -1:
        if not self.input_ended:
            self.input_ended = True
            if self.state & (STATE_BLOCKED | STATE_HELD):
                # As in Redis it is gone: nothing is taken for it. What is answered already it gets.
                self.dispatcher.end_blocking(self, CANCEL_ENDED)
        return 0

    @property
    def wants_input(self):
        """Whether a driver should read on; see `reads_on`."""
        return bool(self.reads_on())

    cdef bint reads_on(self) noexcept:
        """Whether to read more: not at the end, and not too far ahead of a session that is held."""
        return not self.input_ended and not (
            self.state & STATE_WAITS
            and self.input.used - self.input_start > HELD_INPUT_BYTES_MAX
        )

    cdef int _drain_input(self) except -1:
        cdef size_t consumed
        while self.state == 0 and self.input.used > self.input_start:
            consumed = 0
            self._consume(
                self.input.data + self.input_start, self.input.used - self.input_start, &consumed
            )
            if unlikely(self.state & STATE_CLOSED):
                return 0            # closing has freed the buffer
            if likely(not self.input_replaced):
                self.input_start += consumed
                break
            self.input_replaced = False
        if self.input_start == self.input.used:
            self.input.used = 0
            self.input_start = 0
            if self.input.size > INPUT_KEEP_BYTES:
                buffer_free(&self.input)
        elif self.input_start > self.input.used // 2:
            self._compact()
        return 0

    cdef void _compact(self) noexcept:
        cdef Buffer fresh
        memset(&fresh, 0, sizeof(Buffer))
        buffer_append(&fresh, self.input.data + self.input_start, self.input.used - self.input_start)
        buffer_free(&self.input)
        self.input = fresh
        self.input_start = 0

    cdef char *detach_input(self, const char *raw, size_t length) noexcept:
        """Give away the buffer that holds the command `raw`, without copying the command.

        Returns the memory to free, or NULL when the command is not in the session's own buffer.
        What is after the command moves to a new buffer.
        """
        cdef char *data = self.input.data
        cdef size_t end
        if data == NULL or raw < data or raw >= data + self.input.used:
            return NULL
        end = raw - data + length
        buffer_detached_rest(&self.input, end)
        self.input_start = 0
        self.input_replaced = True
        return data

    cdef int _consume(self, const char *data, size_t n, size_t *consumed) except -1:
        """Parse and hand over commands until the input, or the session's leave to go on, ends."""
        cdef DispatcherBase dispatcher = self.dispatcher
        # What the process itself sends has passed a client's limits, or come from another shard.
        cdef const Limits *limits = &dispatcher.limits if likely(self.pinned < 0) else &dispatcher.no_limits
        cdef size_t position = 0
        cdef size_t length
        cdef const char *raw
        cdef ScanResult result
        cdef const CommandSpec *spec
        cdef int32_t id = self.last_command
        cdef int admission, submitted
        self.wanted = 0
        dispatcher.limits.unauthenticated = self.attention & ATTENTION_AUTH
        while position < n and self.state == 0:
            result = scan(&dispatcher.scan, &self.progress, limits, data + position, n - position)
            if unlikely(result != SCAN_COMMAND):
                if result == SCAN_MORE:
                    self.wanted = dispatcher.scan.wanted
                else:
                    dispatcher.finish(self)
                    self._protocol_error()
                    position = n
                break
            if unlikely(dispatcher.scan.is_inline):
                raw = dispatcher.scan.inline_.data
                length = dispatcher.scan.inline_.used
            else:
                raw = data + position
                length = dispatcher.scan.length
            if unlikely(dispatcher.scan.argc == 0):
                position += dispatcher.scan.length
                if self.attention:
                    self._command_ended()
                continue
            id = dispatcher.table.lookup(raw, dispatcher.scan.spans, dispatcher.scan.argc)
            if unlikely(id < 0):
                dispatcher.finish(self)
                self._reject_unknown(raw, id)
                self._check_output()
                position += dispatcher.scan.length
                if self.attention:
                    self._command_ended()
                continue
            spec = &dispatcher.table.specs[id]
            if unlikely(
                (spec.arity > 0 and <uint32_t>spec.arity != dispatcher.scan.argc)
                or (spec.arity < 0 and dispatcher.scan.argc < <uint32_t>-spec.arity)
                or (spec.flags & FLAG_INTERNAL and self.pinned < 0)
            ):
                dispatcher.finish(self)
                self._reject(spec, raw)
                self._check_output()
            elif unlikely(self.attention) and (admission := self._admit(spec, raw, length)) != ADMITTED:
                if admission == POSTPONED:
                    break
                self._check_output()
            elif likely(
                spec.place == PLACE_SHARD
                or (
                    spec.place == PLACE_FANOUT
                    # What is protected (DEBUG) has to be allowed by the host first.
                    and (self.pinned >= 0 or (dispatcher.single and not spec.flags & FLAG_PROTECTED))
                )
            ):
                submitted = dispatcher.submit(self, spec, raw, length)
                if unlikely(submitted != TAKEN):
                    if submitted == WAIT or self._barrier(spec, raw) == HOLD:
                        break
                elif unlikely(self.input_replaced):
                    if self.attention:
                        self._command_ended()
                    break
                elif unlikely(dispatcher.scan.is_inline):
                    dispatcher.finish(self)
            elif (
                id == dispatcher.ping_id and dispatcher.scan.argc == 1 and dispatcher.slow_us > 0
            ):
                # Too fast to be timed, unless the slow log wants every command.
                dispatcher.finish(self)
                dispatcher.counts.calls[id] += 1
                dispatcher.counts.commands += 1
                self.reply_here(b"+PONG\r\n", 7)
            elif id == dispatcher.multi_id and not self.attention & ATTENTION_MULTI:
                dispatcher.finish(self)
                if unlikely(self.state & STATE_CLOSING):
                    break
                dispatcher.counts.calls[id] += 1
                dispatcher.counts.commands += 1
                self.begin_multi()
                self.reply_here(b"+OK\r\n", 5)
            elif spec.place == PLACE_SESSION:
                dispatcher.finish(self)
                if unlikely(self.state & STATE_CLOSING):
                    break       # a command in front of this one was its last
                self._run_here(spec, raw)
                self._check_output()
            elif spec.place == PLACE_HOST:
                if self._host(spec, raw) == HOLD:
                    break
                self._check_output()
            elif self._barrier(spec, raw) == HOLD:
                break
            position += dispatcher.scan.length
            if unlikely(self.attention):
                self._command_ended()
        dispatcher.finish(self)
        self.last_command = id
        consumed[0] = position
        return 0

    cdef int _admit(self, const CommandSpec *spec, const char *raw, size_t length) except -1:
        """What a password, a pause or MULTI says to this command, which is complete and known."""
        cdef uint32_t flags = spec.flags
        if self.attention & ATTENTION_MULTI and spec.id == <uint32_t>self.dispatcher.exec_id:
            flags |= self.waiting.flags
        if self.attention & ATTENTION_AUTH and not spec.flags & FLAG_NO_AUTH:
            self.dispatcher.finish(self)
            self._refuse(spec.id, NOT_AUTHENTICATED)
            return REFUSED
        if self.attention & ATTENTION_PAUSE_ALL or (
            self.attention & ATTENTION_PAUSE_WRITE and flags & FLAGS_PAUSED
        ):
            self.state |= STATE_PAUSED
            self.dispatcher.paused.append(self)
            return POSTPONED
        if self.attention & ATTENTION_MULTI:
            return self._queue(spec, raw, length)
        return ADMITTED

    # -- MULTI and EXEC

    cdef int _queue(self, const CommandSpec *spec, const char *raw, size_t length) except -1:
        """Queue a command inside of MULTI; ADMITTED: it is one that runs at once."""
        if <int32_t>spec.id in self.dispatcher.passes_queue:
            return ADMITTED
        self.dispatcher.finish(self)
        if unlikely(spec.flags & FLAG_NO_MULTI):
            self._refuse(spec.id, NOT_INSIDE_MULTI)
        elif likely(self.dispatcher.queue(self, spec, raw, length) == TAKEN):
            self.reply_here(b"+QUEUED\r\n", 9)
            if unlikely(self.waiting.raw.used > self.dispatcher.query_buffer_max):
                logger.warning(
                    "Closing client that reached max query buffer length: %s", self.description())
                self.abort()
        return REFUSED

    cdef int _host(self, const CommandSpec *spec, const char *raw) except -1:
        """EXEC or WATCH: what the dispatcher can't do at once is a barrier. HOLD: it stays in the input."""
        cdef int submitted
        self.dispatcher.finish(self)
        if unlikely(self.state & STATE_CLOSING):
            return HOLD
        self.last_command = spec.id
        if <int32_t>spec.id == self.dispatcher.exec_id:
            return self._exec(spec, raw)
        if self.attention & ATTENTION_MULTI:
            self._fail(spec.id, WATCH_INSIDE)
            return TAKEN
        submitted = self.dispatcher.submit_watch(self, spec, raw)
        if submitted == HOLD:
            return self._barrier(spec, raw)
        return HOLD if submitted == WAIT else TAKEN

    cdef int _exec(self, const CommandSpec *spec, const char *raw) except -1:
        cdef int submitted
        if not self.attention & ATTENTION_MULTI:
            self._fail(spec.id, NO_MULTI)
            return TAKEN
        if unlikely(self.waiting.failed and not self.waiting.crosses_slots):
            self.discard()
            self._fail(spec.id, EXEC_ABORTED)
            return TAKEN
        submitted = self.dispatcher.submit_exec(self, raw)
        if submitted == HOLD:
            return self._barrier(spec, raw)
        if submitted == WAIT:
            return HOLD
        self.dispatcher.counts.calls[spec.id] += 1
        self.dispatcher.counts.commands += 1
        return TAKEN

    cdef int _fail(self, int32_t id, bytes message) except -1:
        """Answer with an error of a command that has run here."""
        cdef bytes data = b"-%b\r\n" % message
        self.dispatcher.counts.calls[id] += 1
        self.dispatcher.counts.commands += 1
        self.dispatcher.counts.count_failure(id, message)
        self.reply_here(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        return 0

    @property
    def in_multi(self):
        return bool(self.attention & ATTENTION_MULTI)

    @property
    def queued(self):
        """How many commands wait for EXEC; -1: it is not in MULTI."""
        return self.waiting.count if self.attention & ATTENTION_MULTI else -1

    cpdef begin_multi(self):
        if self.waiting is None:
            self.waiting = CommandQueue.__new__(CommandQueue)
        self.attention |= ATTENTION_MULTI

    cdef int end_multi(self) except -1:
        """Forget what is queued, and leave MULTI."""
        self.attention &= ~ATTENTION_MULTI
        self.waiting.clear()
        return 0

    cpdef discard(self):
        """Forget what is queued, and what is watched."""
        if self.attention & ATTENTION_MULTI:
            self.end_multi()
        self.unwatch()

    cpdef unwatch(self):
        if self.watched:
            self.dispatcher.unwatch(self)
            self.watched.clear()

    def note_watched(self, dict shards):
        """Keys that are watched from now on: (database, key) and the shard that does it."""
        if self.watched is None:
            self.watched = {}
        self.watched.update(shards)

    def take_queue(self):
        """For whoever runs EXEC: the commands, each as id and arguments; MULTI is over, as are its watches."""
        commands = self.waiting.commands()
        watched = {} if not self.watched else dict(self.watched)
        self.end_multi()
        if self.watched:
            self.watched.clear()
        return commands, watched

    def run_inside(self, int32_t id, list arguments):
        """Run a command of the session's own as part of EXEC; its raw reply."""
        cdef Reply reply = Reply(self.resp)
        cdef int64_t started = clock_ns(CLOCK_MONOTONIC)
        self._call(self.dispatcher.table.table.by_id[id], arguments, reply)
        self._count_here(id, clock_ns(CLOCK_MONOTONIC) - started, arguments)
        return reply.take()

    cdef int forget_postponed(self) except -1:
        """The client has gone while a pause held its next command, which will never run.

        What came before that is still answered, and then the connection ends.
        """
        self.state &= ~STATE_PAUSED
        self.dispatcher.paused.remove(self)
        buffer_free(&self.input)
        self.input_start = 0
        self.close_after_reply()
        return 0

    cdef int _command_ended(self) except -1:
        """CLIENT REPLY SKIP holds for exactly one command: the one after it."""
        if self.attention & (ATTENTION_SKIP | ATTENTION_SKIP_NEXT) and not (
            self.state & STATE_HELD and not self.waits_for_barrier
        ):
            self.dispatcher.finish(self)
            self.attention &= ~ATTENTION_SKIP
            self.run_flags &= ~RUN_REPLY_OFF
            if self.attention & ATTENTION_SKIP_NEXT:
                self.attention &= ~ATTENTION_SKIP_NEXT
                self.attention |= ATTENTION_SKIP
            if self.reply_off or self.attention & ATTENTION_SKIP:
                self.run_flags |= RUN_REPLY_OFF
        return 0

    cdef list _arguments(self, const char *raw):
        cdef uint32_t i
        self.argument_bytes = 0
        for i in range(self.dispatcher.scan.argc):
            self.argument_bytes += self.dispatcher.scan.spans[i].length
        return [
            PyBytes_FromStringAndSize(
                raw + self.dispatcher.scan.spans[i].offset, self.dispatcher.scan.spans[i].length
            )
            for i in range(self.dispatcher.scan.argc)
        ]

    cdef int _barrier(self, const CommandSpec *spec, const char *raw) except -1:
        """A command that needs everything before it answered, and holds everything after it.

        HOLD: the ring is not empty yet; the command stays in the input.
        """
        cdef list arguments
        self.dispatcher.finish(self)
        if unlikely(self.state & STATE_CLOSING):
            return HOLD         # a command in front of this one was its last
        if self.head != self.tail:
            self.waits_for_barrier = True
            self.state |= STATE_HELD
            return HOLD
        arguments = self._arguments(raw)
        self.state |= STATE_HELD
        self.last_command = spec.id
        self.running_bytes = self.dispatcher.scan.length
        self.dispatcher.host.run_barrier(self, self.dispatcher.table.table.by_id[spec.id], arguments)
        return TAKEN

    def complete_barrier(self, bytes reply):
        """The reply of the command that run_barrier was given; the session goes on."""
        if self.state & STATE_CLOSED:
            self.dispatcher.remove(self)
            return
        self.reply_here(PyBytes_AS_STRING(reply), PyBytes_GET_SIZE(reply))
        self.state &= ~STATE_HELD
        self.running_bytes = 0
        self.argument_bytes = 0
        if self.attention:
            self._command_ended()
        self.mark_dirty()
        self.resume()

    def resume(self):
        """Parse on after a hold or a throttle has ended."""
        if self.state == 0 and self.input.used:
            self._drain_input()
            self.mark_dirty()       # the driver may want to read again

    cdef int _ring_empty(self) except -1:
        """Everything sent elsewhere has been answered."""
        if self.state & STATE_CLOSED:
            if not self.state & STATE_HELD or self.waits_for_barrier:
                self.dispatcher.remove(self)
        elif self.state & STATE_BLOCKED:
            if self.input_ended and self.blocked:
                self.forget_input()
            self.unblocked()
            self.resume()
        elif self.waits_for_barrier:
            self.waits_for_barrier = False
            self.state &= ~STATE_HELD
            self.resume()
        return 0

    def forget_input(self):
        """Its client has gone while it was blocked: as in Redis, no command behind is executed."""
        buffer_free(&self.input)
        self.input_start = 0

    cdef int unblocked(self) except -1:
        """The command that waited, or might have, is answered."""
        self.state &= ~STATE_BLOCKED
        self.blocked = False
        return 0

    # -- commands that run here

    cdef int _run_here(self, const CommandSpec *spec, const char *raw) except -1:
        cdef DispatcherBase dispatcher = self.dispatcher
        cdef Reply reply = Reply(self.resp)
        cdef int64_t started = clock_ns(CLOCK_MONOTONIC)
        cdef list arguments = self._arguments(raw)
        command = dispatcher.table.table.by_id[spec.id]
        self.last_command = spec.id
        self.running_bytes = 0 if self.input.used else dispatcher.scan.length
        self._call(command, arguments, reply)
        self._count_here(spec.id, clock_ns(CLOCK_MONOTONIC) - started, arguments)
        self.running_bytes = 0
        self.argument_bytes = 0
        data = reply.take()
        self.reply_here(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        return 0

    cdef int _call(self, command, list arguments, Reply reply) except -1:
        """Run a handler; what it says, or an error, is in the reply."""
        try:
            command.handler(self, arguments, reply)
        except CommandError as error:
            self.dispatcher.counts.count_failure(command.id, error.message)
            reply.error(error.message)
        except Exception:
            # A mistake of ours. The client must not wait for ever, nor the others suffer.
            logger.exception("%s failed", command.name)
            self.dispatcher.counts.count_failure(command.id, INTERNAL_ERROR)
            reply.take()
            reply.error(INTERNAL_ERROR)
        return 0

    cdef int _count_here(self, int32_t id, int64_t nanoseconds, list arguments) except -1:
        self.dispatcher.counts.count_call(id, nanoseconds)
        if nanoseconds // 1000 >= self.dispatcher.slow_us:
            self.dispatcher.note_slow(self, id, arguments, nanoseconds // 1000)
        return 0

    cdef int _refuse(self, int32_t id, bytes message) except -1:
        """Answer with an error before the command has run. Inside of MULTI, EXEC will do nothing then."""
        cdef bytes data
        if unlikely(id >= 0 and id == self.dispatcher.exec_id):
            self.discard()
            if not message.startswith(REDIRECTIONS):     # which a cluster client must recognize
                message = EXEC_REFUSED % (message[4:] if message.startswith(b"ERR ") else message)
        elif unlikely(self.attention & ATTENTION_MULTI):
            self.waiting.failed = True
        data = b"-" + message.replace(b"\r", b" ").replace(b"\n", b" ") + b"\r\n"
        if self.pinned < 0:         # an internal call's error is counted with the command it is part of
            if id >= 0:
                self.dispatcher.counts.rejected[id] += 1
            self.dispatcher.counts.count_error(PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message))
        self.argument_bytes = 0     # an unknown command's were looked at
        self.reply_here(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        return 0

    cdef int _reject(self, const CommandSpec *spec, const char *raw) except -1:
        command = self.dispatcher.table.table.by_id[spec.id]
        if F.INTERNAL in command.flags and self.pinned < 0:
            return self._reject_unknown(raw, UNKNOWN_COMMAND)
        name = command.name.lower().encode()
        return self._refuse(spec.id, b"ERR wrong number of arguments for '%b' command" % name)

    cdef int _reject_unknown(self, const char *raw, int32_t id) except -1:
        # As C prints them: a text ends at its first NUL.
        cdef list arguments = [argument.partition(b"\0")[0] for argument in self._arguments(raw)]
        cdef bytes name = arguments[0]
        if name.lower() in (b"post", b"host:"):
            # A browser was made to speak to us: whoever did that may not learn or change anything.
            self.dispatcher.warn_of_http(self.address)
            self.abort()
            return 0
        if id == UNKNOWN_SUBCOMMAND:
            refused = REFUSED_SUBCOMMANDS.get(b"|".join(arguments[:2]).upper())
            if refused is not None:
                return self._refuse(-1, refused)
            return self._refuse(
                -1,
                b"ERR unknown subcommand '%b'. Try %b HELP." % (_shown(arguments[1]), name.upper()),
            )
        shown = b""
        for argument in arguments[1:]:
            if len(shown) >= SHOWN_NAME_BYTES_MAX:
                break
            shown += b"'%b' " % _shown(argument, SHOWN_NAME_BYTES_MAX - len(shown))
        return self._refuse(
            -1,
            b"ERR unknown command '%b', with args beginning with: %b"
            % (_shown(name), shown),
        )

    def _protocol_error(self):
        message = PyBytes_FromStringAndSize(
            self.dispatcher.scan.error, self.dispatcher.scan.error_length
        )
        self._refuse(-1, message)
        self.close_after_reply()

    # -- output

    cdef void mark_dirty(self) noexcept:
        if not self.is_dirty:
            self.is_dirty = True
            self.dispatcher.dirty.append(self)

    cdef void reply_here(self, const char *data, size_t n) noexcept:
        """Queue a reply that was made in this process, after all that is still open."""
        cdef Pending *last
        if unlikely(n == 0 or self.run_flags & RUN_REPLY_OFF):
            return
        self.unchecked += n
        if self.head == self.tail:
            buffer_append(&self.output.tail, data, n)
            self.mark_dirty()
            return
        last = &self.ring[(self.tail - 1) & (self.ring_size - 1)]
        if last.shard >= 0 or not last.done:
            last = self.open_pending(-1, 0, 0, False)
            last.done = True
        buffer_append(&last.output.tail, data, n)

    cdef Pending *open_pending(self, int32_t shard, uint32_t commands, uint32_t bytes, bint writes) noexcept:
        """Take the next place of the ring; its sequence is the `tail` before the call."""
        cdef uint32_t i, size
        cdef Pending *ring
        cdef Pending *pending
        if unlikely(self.tail - self.head == self.ring_size):
            size = self.ring_size * 2 if self.ring_size else RING_SIZE_FIRST
            ring = <Pending *>calloc(size, sizeof(Pending))
            if ring == NULL:
                out_of_memory(size * sizeof(Pending))
            for i in range(self.tail - self.head):
                ring[(self.head + i) & (size - 1)] = self.ring[(self.head + i) & (self.ring_size - 1)]
            free(self.ring)
            self.ring = ring
            self.ring_size = size
        pending = &self.ring[self.tail & (self.ring_size - 1)]
        pending.done = False        # its output is empty, and may have a small buffer for us
        pending.shard = shard
        pending.commands = commands
        pending.bytes = bytes
        pending.writes = writes
        pending.muted = self.run_flags & RUN_REPLY_OFF
        self.tail += 1
        self.bytes_in_flight += bytes
        if unlikely(self.bytes_in_flight > SESSION_BYTES_IN_FLIGHT_MAX) and self.pinned < 0:
            self.state |= STATE_THROTTLED
        return pending

    cdef Output *output_for(self, uint32_t sequence) noexcept:
        """Where replies for this place go now: straight out, or after its turn."""
        if likely(sequence == self.head):
            if not self.is_dirty:
                self.mark_dirty()
            return &self.output
        return &self.ring[sequence & (self.ring_size - 1)].output

    cdef int complete_pending(self, uint32_t sequence) except -1:
        """All replies of this place are in; let out what has its turn now."""
        cdef Pending *pending = &self.ring[sequence & (self.ring_size - 1)]
        pending.done = True
        self.bytes_in_flight -= pending.bytes
        pending.bytes = 0
        if sequence == self.head:
            self.head += 1
            while self.head != self.tail:
                pending = &self.ring[self.head & (self.ring_size - 1)]
                if pending.output.first != NULL or pending.output.tail.used:
                    output_splice(&self.output, &pending.output)
                if not pending.done:
                    break
                self.head += 1
            if not self.is_dirty:
                self.mark_dirty()
            if unlikely(self.head == self.tail and (self.waits_for_barrier or self.state & (STATE_CLOSED | STATE_BLOCKED))):
                self._ring_empty()
        if unlikely(
            self.state & STATE_THROTTLED and self.bytes_in_flight <= SESSION_BYTES_IN_FLIGHT_MAX // 2
        ):
            self.state &= ~STATE_THROTTLED
            self.resume()
        return 0

    cdef bint finished(self) noexcept:
        """Nothing is left to answer or to send."""
        return (
            self.head == self.tail
            and output_empty(&self.output)
            and not self.state & STATE_BLOCKED
            and not (self.state & STATE_HELD and not self.waits_for_barrier)
        )

    cdef bint ends(self) noexcept:
        """Whether to close now: nothing more will come, and everything is answered and sent."""
        if self.input_ended and not self.state & STATE_WAITS:
            self.state |= STATE_CLOSING
        return self.state & STATE_CLOSING and self.finished()

    @property
    def ended(self):
        """Whether a driver should close the connection; see `ends`."""
        return bool(self.ends())

    def abort(self):
        """Close the connection now, with whatever is unsent."""
        if not self.state & STATE_CLOSED and self.driver is not None:
            self.driver.close_session(self)

    def closed_by_driver(self):
        """The connection has gone; the slot stays taken until all that is open is answered.

        Nothing of its output stays: a large reply that arrives later finds that its block is an
        orphan, and so never looks for the session, whose slot may be another's by then.
        """
        cdef uint32_t i
        if self.state & STATE_CLOSED:
            return
        self.state |= STATE_CLOSED
        if self.state & STATE_PAUSED:
            self.state &= ~STATE_PAUSED
            self.dispatcher.paused.remove(self)
        buffer_free(&self.input)
        self.input_start = 0
        output_free(&self.output)
        for i in range(self.ring_size):
            output_free(&self.ring[i].output)
        self.dispatcher.host.closed(self)
        if self.head != self.tail or self.state & STATE_BLOCKED:
            self.dispatcher.cancel(self)
        if self.head == self.tail and (not self.state & STATE_HELD or self.waits_for_barrier):
            self.dispatcher.remove(self)

    def take_output(self, size_t bytes_max=<size_t>-1):
        """What can be sent now, up to so many bytes; for drivers in Python. O(bytes)."""
        cdef Output *output = &self.output
        cdef list parts = []
        cdef const char *data
        cdef size_t size, n
        while bytes_max:
            if output.first != NULL:
                if not output.first.ready:
                    break
                data = output.first.data
                size = output.first.size
            else:
                data = output.tail.data
                size = output.tail.used
                if size == 0:
                    break
            n = min(size - output.sent, bytes_max)
            parts.append(PyBytes_FromStringAndSize(data + output.sent, n))
            bytes_max -= n
            output.sent += n
            if output.sent < size:
                break
            if output.first != NULL:
                output_pop_block(output)
            else:
                output_clear_tail(output)
        return parts[0] if len(parts) == 1 else b"".join(parts)
