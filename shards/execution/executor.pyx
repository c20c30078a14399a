"""Runs the commands of a shard, two passes over each window; see executor.pxd and protocol/envelope.pxd.

    for each window of up to 16 commands, across runs:
        pass 1  hash the first key, prefetch its slot's table; then its bucket; then the entry
        pass 2  read the clock, native handler or Python handler, count
    one reply message per link and batch

A run whose bytes come by the bulk link is parked until they are there, and so are later runs of the same
client; the shard goes on with everybody else meanwhile.

So is one whose next command needs a key that is held for a command over several shards (shards/execution/locks).
While anything is held, runs are taken one by one and each command is looked at; else no lock costs a
command anything, as what makes locks comes in runs that say so (RUN_LOCKS).

Replies are gathered up to `out_bytes_max`, within a run, too: what has been answered of it then goes as a
PARKED part. A worker that reads more slowly than its commands are executed is stalled: with more than
`unread_bytes_max` on their way to it, its messages are postponed, cut where execution stopped. So the replies
under way take no more than both limits and one reply.
"""

import logging
from collections import deque

from protocol.commands import F
from protocol.errors import INTERNAL_ERROR, CommandError

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from actors.mailbox cimport Link, Message, message_release, release_memory
from protocol.buffer cimport Buffer, buffer_append, buffer_free, buffer_reserve
from protocol.envelope cimport (
    BULK_BYTES_MIN, MESSAGE_READ, MESSAGE_REPLIES, MESSAGE_RUNS, PART_BULK, PART_DONE, PART_PARKED, PART_SLOW,
    RUN_BULK, RUN_INTERNAL, RUN_LOCKS, RUN_NO_TOUCH, RUN_REPLY_OFF, UNREAD_BYTES_MAX, CommandHeader,
    PartHeader, ReadHeader, ReplyHeader, RequestHeader, RunHeader, bulk_counted,
)
from protocol.histogram cimport Histograms, histogram_record
from protocol.native cimport CLOCK_REALTIME, clock_ns, fatal, likely, out_of_memory, ticks, unlikely
from protocol.reply cimport Reply
from protocol.table cimport KEYS_NONE, KEYS_RANGE, CommandSpec, NativeTable
from shards.keyspace.keyspace cimport (
    Blob, Key, Keyspace, blob_release, store_hash, store_prefetch_bucket, store_prefetch_entry,
    store_prefetch_table,
)
from shards.execution.locks cimport Locks, Ticket
from shards.lane.effects cimport effects_begin, effects_end
from shards.lane.handler cimport NATIVE_BLOB, NATIVE_DECLINED, NATIVE_DONE, Arg, Argv, NativeLane, Shard, native_handler

cdef enum:
    WINDOW = 16
    OUT_BYTES_MAX = 256 << 10
    OUT_KEEP_BYTES = 1 << 20
    MESSAGES_MAX = 64                   # taken from one link before the next one has its turn
    SERVICE_MESSAGES_MAX = 256          # taken in one go: then control messages and the cron have theirs
    ARGS_KEEP = 4096                    # a larger array of arguments is given back
    SLOW_ARGUMENTS_MAX = 32             # of a slow command that are handed to the monitor,
    SLOW_ARGUMENT_BYTES_MAX = 256       # and of each so much
    LOCKED_KEYS_AT = 3                  # the first argument of SHARDIS.LOCK that is a key

cdef uint32_t FLAG_WRITE = F.WRITE

logger = logging.getLogger("shardis")


cdef struct Step:
    const char *raw
    CommandHeader header
    Key key
    const char *run                     # its run's header
    bint first
    uint32_t left                       # commands of its run behind it


cdef void release_blob(void *data, void *hint) noexcept nogil:
    blob_release(<Blob *>hint)


cdef inline size_t run_size(const RunHeader *run) noexcept nogil:
    """With its header, in a message."""
    return sizeof(RunHeader) + run.commands * sizeof(CommandHeader) + run.bytes


cdef bytes rest_of_run(const char *run, uint32_t done):
    """A run without its first commands."""
    cdef RunHeader header
    cdef CommandHeader command
    cdef const char *headers = run + sizeof(RunHeader)
    cdef const char *raw
    cdef size_t skipped = 0
    cdef uint32_t i
    memcpy(&header, run, sizeof(RunHeader))
    raw = headers + header.commands * sizeof(CommandHeader)
    for i in range(done):
        memcpy(&command, headers + i * sizeof(CommandHeader), sizeof(CommandHeader))
        skipped += command.length
    header.commands -= done
    header.bytes -= skipped
    return (
        PyBytes_FromStringAndSize(<const char *>&header, sizeof(RunHeader))
        + PyBytes_FromStringAndSize(
            headers + done * sizeof(CommandHeader), header.commands * sizeof(CommandHeader)
        )
        + PyBytes_FromStringAndSize(raw + skipped, header.bytes)
    )


cdef class BulkMessage:
    def __dealloc__(self):
        if self.message.data != NULL:
            message_release(&self.message)


@cython.final
cdef class Held:
    pass


@cython.final
cdef class Executor:
    """The executor of one shard incarnation.

    `context` is what Python handlers get; `clock`, for tests, is a callable that gives Unix time in
    milliseconds.
    """

    def __cinit__(self, NativeTable table, Keyspace keyspace, object context, NativeLane lane,
                  uint32_t epoch=1, clock=None):
        cdef size_t n = table.count
        self.table = table
        self.keyspace = keyspace
        self.context = context
        self.epoch = epoch
        self.clock = clock
        self.native_lane = True
        self.shard.store = keyspace.store
        self.shard.bulk_bytes_max = 512 << 20
        self.reply = Reply(2)
        self.links = []
        self.bulk_links = []
        self.bulk_received = []
        self.bulk_sent = []
        self.postponed = []
        self.out_bytes_max = self.cut_at = OUT_BYTES_MAX
        self.unread_bytes_max = UNREAD_BYTES_MAX
        self.parked = {}
        self.arrived = {}
        self.locks = Locks()
        self.lent = {}
        self.granted = deque()
        self.lock_id, self.try_lock_id, self.unlock_id, *under = (
            table.table[name].id if name in table.table else -1
            for name in (
                "SHARDIS.LOCK", "SHARDIS.TRYLOCK", "SHARDIS.UNLOCK", "SHARDIS.WITH", "SHARDIS.IMPORT",
            )
        )
        self.under_locks = frozenset([self.unlock_id, *under])
        self.errors = {}
        self.histograms = Histograms(n)
        self.latency_tracking = True
        self.slow_ticks = <uint64_t>-1
        self.natives = <native_handler *>calloc(n, sizeof(native_handler))
        self.calls = <uint64_t *>calloc(n, sizeof(uint64_t))
        self.command_ticks = <uint64_t *>calloc(n, sizeof(uint64_t))
        self.failed = <uint64_t *>calloc(n, sizeof(uint64_t))
        self.args_size = 64
        self.args = <Arg *>malloc(self.args_size * sizeof(Arg))
        if not (self.natives and self.calls and self.command_ticks and self.failed and self.args):
            raise MemoryError
        for name, address in lane.handlers.items():
            self.natives[table.table[name].id] = <native_handler><void *><size_t>address
        self._calibrate()

    def __dealloc__(self):
        free(self.natives)
        free(self.calls)
        free(self.command_ticks)
        free(self.failed)
        free(self.args)
        free(self.states)
        buffer_free(&self.out)

    def _calibrate(self):
        """How fast the tick counter runs: measured over 2 ms, refined by every batch."""
        cdef int64_t started = clock_ns(CLOCK_REALTIME)
        cdef uint64_t first = ticks()
        while clock_ns(CLOCK_REALTIME) - started < 2_000_000:
            pass
        self.ticks_per_ms = (ticks() - first) * 1e6 / (clock_ns(CLOCK_REALTIME) - started)
        self.ns_per_tick = 1e6 / self.ticks_per_ms

    def set_limits(self, int64_t bulk_bytes_max):
        """Apply proto-max-bulk-len."""
        self.shard.bulk_bytes_max = bulk_bytes_max

    def set_monitor(self, monitor, bint latency_tracking):
        """Apply the slowlog-*, latency-monitor-threshold and latency-tracking directives."""
        self.monitor = monitor
        self.slow_ticks = <uint64_t>min(monitor.least_us * 1e-3 * self.ticks_per_ms, 1e19)
        self.latency_tracking = latency_tracking

    def add_links(self, Link link, Link bulk_link):
        """A worker's two links; returns their number, maybe one that has become free."""
        cdef uint32_t i
        for i in range(len(self.links)):
            if self.links[i] is None:
                break
        else:
            i = len(self.links)
            for column in (self.links, self.bulk_links, self.bulk_received, self.bulk_sent, self.postponed):
                column.append(None)
            self._resize_states(i + 1)
        self.links[i] = link
        self.bulk_links[i] = bulk_link
        self.bulk_received[i] = 0
        self.bulk_sent[i] = 0
        self.postponed[i] = deque()
        memset(&self.states[i], 0, sizeof(LinkState))
        return i

    def _resize_states(self, uint32_t size):
        cdef LinkState *states = <LinkState *>realloc(self.states, size * sizeof(LinkState))
        if states == NULL:
            raise MemoryError
        self.states = states

    def remove_links(self, uint32_t link):
        """The worker has gone; what it still waited for is forgotten. Returns the links, for closing."""
        links = self.links[link], self.bulk_links[link]
        self.links[link] = None
        self.bulk_links[link] = None
        self.postponed[link].clear()
        for key in [key for key in self.parked if key[0] == link]:
            for held in self.parked.pop(key):
                if (<Held>held).ticket is not None:
                    self.release((<Held>held).ticket)
        for key in [key for key in self.arrived if key[0] == link]:
            del self.arrived[key]
        for key in [key for key in self.lent if key[0] == link]:
            self.release(self.lent.pop(key))
        self.run_granted()
        return links

    # -- time

    cdef int _start_batch(self) except -1:
        cdef int64_t now
        if self.clock is not None:
            self.keyspace.store.now_ms = self.clock()
            self.next_ms_ticks = <uint64_t>-1
            return 0
        now = clock_ns(CLOCK_REALTIME)
        self.base_ticks = ticks()
        self.base_ms = now // 1_000_000
        self.keyspace.store.now_ms = self.base_ms
        # The millisecond ends this many ticks from now.
        self.next_ms_ticks = self.base_ticks + <uint64_t>(
            (1_000_000 - now % 1_000_000) * 1e-6 * self.ticks_per_ms
        )
        return 0

    cdef void _tick(self, uint64_t now) noexcept:
        # Rarely taken: a millisecond has passed since the last look.
        cdef int64_t ns = clock_ns(CLOCK_REALTIME)
        self.keyspace.store.now_ms = ns // 1_000_000
        self.next_ms_ticks = now + <uint64_t>((1_000_000 - ns % 1_000_000) * 1e-6 * self.ticks_per_ms)

    def refresh_time(self):
        """Set the keyspace's clock, for work outside commands (active expiry)."""
        self._start_batch()
        return self.keyspace.store.now_ms

    # -- batches

    def service(self):
        """Execute what has come on all links, and answer. Returns how many messages there were.

        After SERVICE_MESSAGES_MAX of a link, and after `run_granted`, `has_more` is true: the caller
        owes another call, as no wake-up for the rest will come.
        """
        cdef int total = 0
        self.has_more = False
        for link in range(len(self.links)):
            if self.links[link] is not None:
                self._receive_bulk(link)
                total += self._serve(link)
        return total

    def serve(self, uint32_t link):
        """A worker's link has become readable: execute what has come on it, and answer.

        Asking a link that has nothing costs system calls (four inside libzmq), so no other one is asked.
        """
        self._serve(link)

    def serve_bulk(self, uint32_t link):
        """A worker's bulk link has become readable."""
        if self.bulk_links[link] is not None:
            self._receive_bulk(link)
            # What was unparked has been answered on the main link, whose wake-up that can have eaten.
            self._serve(link)

    cdef int _serve(self, uint32_t number) except -1:
        cdef int taken = 1, total = 0
        cdef uint16_t answered = 0
        cdef Message message
        cdef Link link
        cdef bytes postponed
        while taken:
            if self.links[number] is None:
                break
            if total >= SERVICE_MESSAGES_MAX:
                self.has_more = True
                break
            link = self.links[number]
            taken = 0
            while taken < MESSAGES_MAX:
                if unlikely(len(self.postponed[number]) > 0 and not self.states[number].stalled):
                    postponed = self.postponed[number].popleft()
                    self._start_batch()
                    self.out_link = number
                    answered += self.execute_message(
                        number, PyBytes_AS_STRING(postponed), PyBytes_GET_SIZE(postponed)
                    )
                elif link.receive(&message):
                    if taken == 0:
                        self._start_batch()
                        self.out_link = number
                    try:
                        answered += self._take(number, message.data, message.size)
                    finally:
                        message_release(&message)
                else:
                    break
                taken += 1
            if taken:
                self.taken = answered
                answered = 0
                self._send()
                total += taken
                if unlikely(len(self.granted) > 0):
                    self.run_granted()
            if unlikely(self.bulk_used):
                # Sending on the bulk link can have eaten its wake-up.
                self.bulk_used = False
                self._receive_bulk(number)
                taken = 1
        return total

    cdef bint _take(self, uint32_t link, const char *data, size_t n) except -1:
        """A message has come. Whether it is one that is answered now."""
        if unlikely(<uint8_t>data[0] == MESSAGE_READ):
            self._note_read(link, data)
            return False
        if unlikely(self.states[link].stalled):
            self.postponed[link].append(PyBytes_FromStringAndSize(data, n))
            return False
        return self.execute_message(link, data, n)

    cdef int _note_read(self, uint32_t link, const char *data) except -1:
        cdef ReadHeader header
        cdef LinkState *state = &self.states[link]
        memcpy(&header, data, sizeof(ReadHeader))
        if header.epoch != self.epoch:
            return 0
        state.unread -= min(state.unread, header.bytes)
        # Not at once: with little room, each postponed message would be cut to pieces.
        if state.stalled and state.unread <= self.unread_bytes_max // 2:
            state.stalled = False
            self._send()            # what is granted by and by may go to others
            self._unpark(link)
            self.out_link = link
        return 0

    cdef bint execute_message(self, uint32_t link, const char *data, size_t n) except -1:
        """Execute a message, or as much of it as the worker may have answers for now.

        Whether its last answer is made. If not, either a postponed message has the rest, or it was meant for an
        earlier incarnation.
        """
        cdef RequestHeader header
        memcpy(&header, data, sizeof(RequestHeader))
        if header.kind != MESSAGE_RUNS or header.epoch != self.epoch:
            return False
        return self._execute_runs(link, data + sizeof(RequestHeader), data + n)

    cdef int _postpone(self, uint32_t link, bytes run, const char *rest, const char *end) except -1:
        """The rest of a message, `run` and what follows it, has to wait: it goes ahead of all that does."""
        cdef RequestHeader header
        memset(&header, 0, sizeof(header))
        header.kind = MESSAGE_RUNS
        header.epoch = self.epoch
        self.postponed[link].appendleft(
            PyBytes_FromStringAndSize(<const char *>&header, sizeof(header))
            + run + PyBytes_FromStringAndSize(rest, end - rest)
        )
        return 0

    cdef bint _execute_runs(self, uint32_t link, const char *data, const char *end) except -1:
        """Whether all of them were executed; the rest is postponed."""
        cdef Step steps[WINDOW]
        cdef Step *step
        cdef RunHeader run
        cdef const char *cursor = data      # of the next run
        cdef const char *headers = NULL     # of the gathered run: its next command header
        cdef const char *raw = NULL         # and that command's bytes
        cdef const char *run_at = NULL
        cdef uint32_t left = 0              # commands of it not yet gathered
        cdef uint32_t count
        cdef uint32_t i
        cdef uint32_t physical = 0         # as now; a SWAPDB ahead of the command may change it
        cdef size_t size
        cdef bint first = False
        cdef Key *key
        while left or cursor < end:
            # Only a special run can have done this: the loop over the window looks for itself.
            if unlikely(self.states[link].stalled):
                self._postpone(link, b"", cursor, end)
                return False
            count = 0
            while count < WINDOW:
                if left == 0:
                    if cursor >= end:
                        break
                    memcpy(&run, cursor, sizeof(RunHeader))
                    size = run_size(&run)
                    if unlikely(run.flags & (RUN_BULK | RUN_LOCKS)) or unlikely(
                        self.careful
                        and (self.locks.tickets or (link, run.client) in self.parked)
                    ):
                        if count:
                            break           # what is gathered comes first
                        self._special_run(link, cursor, size)
                        cursor += size
                        continue
                    run_at = cursor
                    headers = cursor + sizeof(RunHeader)
                    raw = headers + run.commands * sizeof(CommandHeader)
                    left = run.commands
                    physical = self.shard.store.physical[run.database]
                    first = True
                    cursor += size
                step = &steps[count]
                memcpy(&step.header, headers, sizeof(CommandHeader))
                step.raw = raw
                step.run = run_at
                step.first = first
                step.left = left - 1
                key = &step.key
                key.slot = step.header.slot
                key.database = physical
                key.data = raw + step.header.key_offset
                key.length = step.header.key_length
                if likely(step.header.key_offset != 0):
                    key.hash = store_hash(self.shard.store, key.data, key.length)
                    store_prefetch_table(self.shard.store, key)
                first = False
                headers += sizeof(CommandHeader)
                raw += step.header.length
                left -= 1
                count += 1
            for i in range(count):
                if likely(steps[i].header.key_offset != 0):
                    store_prefetch_bucket(self.shard.store, &steps[i].key)
            for i in range(count):
                if likely(steps[i].header.key_offset != 0):
                    store_prefetch_entry(self.shard.store, &steps[i].key)
            for i in range(count):
                step = &steps[i]
                if step.first:
                    self._open_part(<const RunHeader *>step.run)
                # Looked up again: a SWAPDB may have run since the key was prefetched.
                step.key.database = self.shard.store.physical[self.shard.database]
                self._execute(&step.header, &step.key, step.raw)
                if step.left == 0:
                    self._close_part(PART_DONE, 0)
                    if likely(not self.states[link].stalled):
                        continue
                    memcpy(&run, step.run, sizeof(RunHeader))
                    cursor = step.run + run_size(&run)
                    if cursor == end:
                        return True
                    self._postpone(link, b"", cursor, end)
                    return False
                if unlikely(self.out.used > self.cut_at) and self._cut_part():
                    memcpy(&run, step.run, sizeof(RunHeader))
                    self._postpone(
                        link, rest_of_run(step.run, run.commands - step.left),
                        step.run + run_size(&run), end,
                    )
                    return False
        return True

    cdef void _open_part(self, const RunHeader *run) noexcept:
        cdef ReplyHeader header
        if self.out.used == 0:
            memset(&header, 0, sizeof(header))
            buffer_append(&self.out, &header, sizeof(header))
            self.parts = 0
            self.bulk_bytes = 0
            self.cut_at = self.out_bytes_max
        if run != &self.run:
            memcpy(&self.run, run, sizeof(RunHeader))
        self.shard.database = self.run.database
        self.shard.resp = self.run.resp
        self.shard.flags = self.run.flags
        self.shard.store.no_touch = self.run.flags & RUN_NO_TOUCH != 0
        self.part_at = self.out.used
        buffer_reserve(&self.out, sizeof(PartHeader))
        self.out.used += sizeof(PartHeader)
        self.part_commands = 0
        self.part_open = True

    cdef void _close_part(self, uint8_t status, uint32_t bulk) noexcept:
        cdef PartHeader part
        if unlikely(self.run.flags & RUN_REPLY_OFF):
            self.out.used = self.part_at + sizeof(PartHeader)
        part.client = self.run.client
        part.sequence = self.run.sequence
        part.bytes = <uint32_t>(self.out.used - self.part_at - sizeof(PartHeader))
        part.bulk = bulk
        part.commands = self.part_commands
        part.status = status
        part.flags = (PART_BULK if bulk else 0) | (PART_SLOW if self.part_slow else 0)
        self.part_slow = False
        memcpy(self.out.data + self.part_at, &part, sizeof(PartHeader))
        self.parts += 1
        self.part_open = False
        # What stands behind a bulk reply ends it: both halves go in one message, or a death between
        # would leave the client with half a reply.
        if unlikely(self.out.used > self.cut_at and status == PART_DONE):
            self._send()

    cdef void _park_part(self) noexcept:
        """More of the run will come in later parts."""
        if self.part_commands or self.part_slow or self.out.used > self.part_at + sizeof(PartHeader):
            self._close_part(PART_PARKED, 0)
        else:
            self.out.used = self.part_at    # the last reply has gone by the bulk link
            self.part_open = False

    cdef bint _cut_part(self) except -1:
        """Send what the run has been answered so far. True: its worker is stalled, and no part is open."""
        if self.run.flags & RUN_REPLY_OFF:
            self.out.used = self.part_at + sizeof(PartHeader)
            return False
        self._park_part()
        self._send()
        if self.states[self.out_link].stalled:
            return True
        self._open_part(&self.run)
        return False

    cdef int _send(self) except -1:
        """Send the replies made so far. A part that is open stays for the next message."""
        cdef ReplyHeader header
        cdef Link link
        if self.part_open or (self.out.used == 0 and self.taken == 0):
            return 0
        if self.out.used == 0:
            # All its runs are parked; the worker learns that the message was taken.
            buffer_reserve(&self.out, sizeof(ReplyHeader))
            self.out.used = sizeof(ReplyHeader)
            self.parts = 0
        memset(&header, 0, sizeof(header))
        header.kind = MESSAGE_REPLIES
        header.epoch = self.epoch
        header.parts = self.parts
        header.messages = self.taken
        self.taken = 0
        memcpy(self.out.data, &header, sizeof(header))
        if self.links[self.out_link] is not None:
            link = self.links[self.out_link]
            link.send(self.out.data, self.out.used)
            self.states[self.out_link].unread += self.out.used
            if unlikely(self.states[self.out_link].unread > self.unread_bytes_max):
                self.states[self.out_link].stalled = True
        self.out.used = 0
        self.parts = 0
        if self.out.size > OUT_KEEP_BYTES:
            buffer_free(&self.out)
        return 0

    # -- large commands and replies

    def _receive_bulk(self, uint32_t link):
        cdef BulkMessage bulk
        cdef Link bulk_link = self.bulk_links[link]
        while True:
            bulk = BulkMessage.__new__(BulkMessage)
            if not bulk_link.receive(&bulk.message):
                bulk.message.data = NULL
                return
            self.bulk_received[link] += 1
            self.arrived[link, self.bulk_received[link]] = bulk
            self._unpark(link)

    def _unpark(self, uint32_t link):
        """Run what waited for a bulk message that is here now."""
        for key in [key for key in self.parked if key[0] == link]:
            self._go_on(key)
        self.run_granted()

    def _go_on(self, key):
        """Run what a client has parked, as far as nothing is missing."""
        cdef Held held
        waiting = self.parked.get(key)
        while waiting and not self.states[<uint32_t>key[0]].stalled:
            held = waiting[0]
            if not self._ready(held):
                break
            self._start_batch()
            self.out_link = held.link
            done = self._run_held(held)
            self._send()
            if not done:
                break
            waiting.popleft()
            if not waiting:
                del self.parked[key]
        self._look_again()

    cdef bint _ready(self, Held held) except -1:
        cdef RunHeader run
        if held.ticket is not None:
            return held.ticket.missing == 0
        memcpy(&run, PyBytes_AS_STRING(held.data), sizeof(RunHeader))
        return not run.flags & RUN_BULK or (held.link, run.bulk) in self.arrived

    cdef bint _run_held(self, Held held) except -1:
        """Run what is left of a run; False: its next command waits, for a key or for its worker."""
        cdef RunHeader run
        cdef CommandHeader header
        cdef Key key
        cdef Ticket ticket
        cdef const char *data = PyBytes_AS_STRING(held.data)
        cdef const char *raw
        cdef bint opened = False
        memcpy(&run, data, sizeof(RunHeader))
        if run.flags & RUN_BULK and held.bulk is None:
            held.bulk = self.arrived.pop((held.link, run.bulk))
        raw = data + sizeof(RunHeader) + run.commands * sizeof(CommandHeader)
        if held.bulk is not None:
            raw = held.bulk.message.data
        raw += held.offset
        while held.at < run.commands:
            memcpy(
                &header, data + sizeof(RunHeader) + held.at * sizeof(CommandHeader), sizeof(CommandHeader)
            )
            ticket = held.ticket
            held.ticket = None
            if ticket is None:
                ticket = self._ticket_for(&header, raw, held)
                if ticket is not None and ticket.missing:
                    if header.id != self.try_lock_id:
                        held.ticket = ticket
                        if opened:
                            self._park_part()
                        return False
            if not opened:
                opened = True
                self._open_part(&run)
            if ticket is not None and ticket.missing:
                self.release(ticket)
                buffer_append(&self.out, b"*-1\r\n", 5)
                self.part_commands += 1
            else:
                key.data = raw + header.key_offset
                key.length = header.key_length
                key.slot = header.slot
                key.database = self.shard.store.physical[run.database]
                key.hash = store_hash(self.shard.store, key.data, key.length)
                if held.bulk is not None and held.bulk.message.holder == NULL:
                    self.shard.adopt = &held.bulk.message
                self._execute(&header, &key, raw)
                self.shard.adopt = NULL
                if header.id == self.lock_id or header.id == self.try_lock_id:
                    self.lent[held.link, self._number(&header, raw)] = ticket
                elif ticket is not None:
                    self.release(ticket)
                elif header.id == self.unlock_id:
                    ticket = self.lent.pop((held.link, self._number(&header, raw)), None)
                    if ticket is not None:
                        self.release(ticket)
            raw += header.length
            held.offset += header.length
            held.at += 1
            if unlikely(self.out.used > self.cut_at and held.at < run.commands) and self._cut_part():
                return False
        self._close_part(PART_DONE, 0)
        return True

    cdef int _special_run(self, uint32_t link, const char *data, size_t n) except -1:
        """A run that may have to wait, or one behind such a run of the same client."""
        cdef RunHeader run
        cdef Held held = Held.__new__(Held)
        memcpy(&run, data, sizeof(RunHeader))
        held.data = PyBytes_FromStringAndSize(data, n)
        held.link = link
        waiting = self.parked.get((link, run.client))
        if waiting is not None:
            waiting.append(held)
        elif not self._ready(held) or not self._run_held(held):
            self.parked[link, run.client] = deque([held])
        self._look_again()
        return 0

    # -- keys that are held for commands over several shards

    cdef void _look_again(self) noexcept:
        self.careful = self.locks.tickets > 0 or len(self.parked) > 0

    cdef bint is_untouched(self, const CommandSpec *spec, uint32_t slot) noexcept:
        if spec.key_mode == KEYS_NONE:
            return not spec.flags & FLAG_WRITE
        return (
            spec.key_mode == KEYS_RANGE and spec.key_first == spec.key_last
            and self.locks.exclusive_shard == 0 and self.locks.by_slot[slot] == 0
        )

    cdef dict wants_of(self, uint32_t id, list arguments):
        cdef bint writes = self.table.specs[id].flags & FLAG_WRITE
        positions = self.table.keys(id, arguments)
        if not positions:
            return {None: True} if writes else None
        wants = {arguments[position]: writes for position in positions}
        wants[None] = False
        return wants

    cdef list _arguments(self, const CommandHeader *header, const char *raw):
        cdef Argv argv
        cdef uint32_t i
        self._parse(raw, header, &argv)
        return [
            PyBytes_FromStringAndSize(argv.args[i].data, argv.args[i].length) for i in range(argv.argc)
        ]

    cdef object _number(self, const CommandHeader *header, const char *raw):
        """Whose locks a SHARDIS.LOCK or UNLOCK is about: a number of the worker's own."""
        cdef Argv argv
        self._parse(raw, header, &argv)
        return PyBytes_FromStringAndSize(argv.args[1].data, argv.args[1].length)

    cdef Ticket _ticket_for(self, const CommandHeader *header, const char *raw, Held held):
        """The ticket of a command that has to hold its keys or to wait for them; None: it may run."""
        cdef Ticket ticket
        if header.id == self.lock_id or header.id == self.try_lock_id:
            words = self._arguments(header, raw)[LOCKED_KEYS_AT:]
            ticket = Ticket(
                {words[i]: words[i + 1] == b"w" for i in range(0, len(words), 2)}, held
            )
            self.locks.request(ticket)
            return ticket
        if (
            self.locks.tickets == 0
            or self.is_untouched(&self.table.specs[header.id], header.slot)
            or header.id in self.under_locks
        ):
            return None
        wants = self.wants_of(header.id, self._arguments(header, raw))
        if wants is None or self.locks.is_free(wants):
            return None
        ticket = Ticket(wants, held)
        self.locks.request(ticket)
        return ticket

    def release(self, Ticket ticket):
        """Give back what a ticket holds or waits for. `run_granted` is due when it is safe."""
        self.granted.extend(self.locks.release(ticket))

    def run_granted(self):
        """Let those go on who have got what they waited for.

        It sends on links that may be others than the one that is served, and that can eat a wake-up
        of theirs: then `has_more` says so, wherever this was called from.
        """
        cdef Ticket ticket
        cdef RunHeader run
        while self.granted:
            ticket = self.granted.popleft()
            if isinstance(ticket.owner, Held):
                memcpy(&run, PyBytes_AS_STRING((<Held>ticket.owner).data), sizeof(RunHeader))
                self._go_on(((<Held>ticket.owner).link, run.client))
                self.has_more = True
            else:
                ticket.owner(ticket)
        self._look_again()

    cdef int _bulk_reply(self, size_t start) except -1:
        """The last command's reply (from `start` on) is large: send it by the bulk link."""
        cdef size_t n = self.out.used - start
        cdef char *copy
        cdef Link link = self.bulk_links[self.out_link]
        if unlikely(self.run.flags & RUN_REPLY_OFF):
            self.out.used = start
            return 0
        copy = <char *>malloc(n)
        if copy == NULL:
            out_of_memory(n)
        memcpy(copy, self.out.data + start, n)
        self.out.used = start
        self.bulk_sent[self.out_link] += 1
        self._close_part(PART_PARKED, self.bulk_sent[self.out_link])
        link.send_owned(copy, n, release_memory, copy)
        self._note_bulk(n)
        self._open_part(&self.run)
        return 0

    cdef void _note_bulk(self, size_t n) noexcept:
        """So much has been sent on the bulk link."""
        self.bulk_used = True
        self.states[self.out_link].unread += bulk_counted(n)
        self.bulk_bytes += n
        if self.bulk_bytes > self.out_bytes_max:
            self.cut_at = 0     # the worker can do nothing with these bytes before it has their part

    cdef int _blob_reply(self) except -1:
        """A stored blob is the payload of the reply: it goes out uncopied."""
        cdef Blob *blob = self.shard.blob
        cdef size_t n = blob.length     # a copy, as it may be released as soon as it is sent
        cdef Link link = self.bulk_links[self.out_link]
        self.shard.blob = NULL
        if unlikely(self.run.flags & RUN_REPLY_OFF):
            blob_release(blob)
            return 0
        self.bulk_sent[self.out_link] += 1
        self._close_part(PART_PARKED, self.bulk_sent[self.out_link])
        link.send_owned(<char *>blob.data, n, release_blob, blob)
        self._note_bulk(n)
        self._open_part(&self.run)
        buffer_append(&self.out, b"\r\n", 2)
        return 0

    # -- commands

    cdef void _resize_args(self, uint32_t size) noexcept:
        self.args_size = size
        self.args = <Arg *>realloc(self.args, size * sizeof(Arg))
        if self.args == NULL:
            out_of_memory(size * sizeof(Arg))

    cdef void _parse(self, const char *raw, const CommandHeader *header, Argv *argv) noexcept:
        """Split raw RESP, which the worker's scanner has validated, into arguments."""
        cdef const char *p = raw + 1
        cdef const char *end = raw + header.length
        cdef uint32_t argc = 0, i
        cdef size_t length
        while p[0] != c"\r":
            argc = argc * 10 + <uint32_t>(p[0] - c"0")
            p += 1
        p += 2
        if unlikely(argc > self.args_size or (self.args_size > ARGS_KEEP and argc < ARGS_KEEP)):
            self._resize_args(argc if argc > ARGS_KEEP else ARGS_KEEP)
        for i in range(argc):
            p += 1
            length = <size_t>(p[0] - c"0")
            p += 1
            while p[0] != c"\r":
                length = length * 10 + <size_t>(p[0] - c"0")
                p += 1
            p += 2
            self.args[i].data = p
            self.args[i].length = length
            p += length + 2
            if unlikely(p > end):
                # Never by a worker of ours: nothing in the envelope can be trusted.
                fatal(b"a command in a worker's message is longer than its header says")
        argv.args = self.args
        argv.argc = argc
        argv.raw = raw
        argv.raw_length = header.length

    cdef int _execute(self, const CommandHeader *header, const Key *key, const char *raw) except -1:
        cdef Argv argv
        cdef native_handler handler = self.natives[header.id] if self.native_lane else NULL
        cdef size_t start = self.out.used
        cdef uint64_t started = ticks()
        cdef uint64_t elapsed
        cdef int status = NATIVE_DECLINED
        if unlikely(started >= self.next_ms_ticks):
            self._tick(started)
        self._parse(raw, header, &argv)
        argv.key = key[0]
        effects_begin(self.shard.store, self.run.database, raw, header.length)
        if likely(handler != NULL):
            status = handler(&self.shard, &argv, &self.out)
        if unlikely(status != NATIVE_DONE):
            if status == NATIVE_DECLINED:
                self._execute_python(header, &argv)
        effects_end(self.shard.store)
        self.part_commands += 1
        if unlikely(self.out.used > start and self.out.data[start] == c"-" and not self.run.flags & RUN_INTERNAL):
            self._count_error(header.id, start)
        if unlikely(status == NATIVE_BLOB):
            self._blob_reply()
        elif unlikely(self.out.used - start > BULK_BYTES_MIN):
            self._bulk_reply(start)
        if likely(not self.run.flags & RUN_INTERNAL):
            # A worker's own command is part of one that is counted where it was split, errors included.
            self.calls[header.id] += 1
            self.commands_processed += 1
            elapsed = ticks() - started
            self.command_ticks[header.id] += elapsed
            if likely(self.latency_tracking):
                histogram_record(self.histograms, header.id, <uint64_t>(elapsed * self.ns_per_tick))
            if unlikely(elapsed >= self.slow_ticks):
                # Whose it was, the worker knows.
                self.part_slow |= self.note_slow(header.id, &argv, elapsed, self.run.client_id, "", b"")
        return 0

    cdef bint note_slow(self, uint16_t id, const Argv *argv, uint64_t elapsed, uint64_t client_id,
                        str address, bytes name) except -1:
        """Tell the monitor of a slow command; whether it is in the slow log now."""
        cdef uint32_t i
        cdef list arguments = [
            PyBytes_FromStringAndSize(
                argv.args[i].data, min(argv.args[i].length, <size_t>SLOW_ARGUMENT_BYTES_MAX)
            )
            for i in range(min(argv.argc, <uint32_t>SLOW_ARGUMENTS_MAX))
        ]
        cdef list lengths = [argv.args[i].length for i in range(argv.argc)]
        return self.monitor.note(
            arguments, int(elapsed * self.ns_per_tick / 1000), client_id, address, name,
            fast=F.FAST in self.table.table.by_id[id].flags, lengths=lengths,
        )

    cdef int _execute_python(self, const CommandHeader *header, const Argv *argv) except -1:
        cdef uint32_t i
        cdef size_t start = self.out.used
        cdef list arguments = [
            PyBytes_FromStringAndSize(argv.args[i].data, argv.args[i].length) for i in range(argv.argc)
        ]
        command = self.table.table.by_id[header.id]
        context = self.context
        context.now_ms = self.keyspace.store.now_ms
        context.database = self.run.database
        self.reply.out = &self.out
        self.reply.resp = self.run.resp
        try:
            command.handler(context, arguments, self.reply)
        except CommandError as error:
            self.out.used = start
            self.reply.error(error.message)
        except Exception:
            # A mistake of ours. The keyspace is whole behind each of its calls, so the shard goes on
            # rather than lose it; the log has the story.
            logger.exception("%s failed", command.name)
            self.out.used = start
            self.reply.error(INTERNAL_ERROR)
        finally:
            self.reply.out = &self.reply.own
        return 0

    def _count_error(self, uint16_t id, size_t start):
        cdef size_t end = start + 1
        while end < self.out.used and self.out.data[end] != c" " and self.out.data[end] != c"\r":
            end += 1
        code = PyBytes_FromStringAndSize(self.out.data + start + 1, end - start - 1)
        self.errors[code] = self.errors.get(code, 0) + 1
        self.failed[id] += 1

    def reset_statistics(self):
        cdef size_t size = self.table.count * sizeof(uint64_t)
        memset(self.calls, 0, size)
        memset(self.command_ticks, 0, size)
        memset(self.failed, 0, size)
        self.errors.clear()
        self.histograms.clear()
        self.commands_processed = 0

    def command_statistics(self):
        """{name: [calls, microseconds, rejected, failed]} of commands that ran here."""
        return {
            command.name.lower(): [
                self.calls[command.id],
                int(self.command_ticks[command.id] * 1000 / self.ticks_per_ms),
                0,
                self.failed[command.id],
            ]
            for command in self.table.table
            if self.calls[command.id]
        }

    @property
    def unfinished(self):
        """Runs that wait for bulk messages, and messages whose worker is stalled."""
        return sum(map(len, self.parked.values())) + sum(map(len, self.postponed))
