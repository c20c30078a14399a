"""Run one command, whoever sent it; the contract is in runner.pxd."""

import logging

from protocol.commands import F
from protocol.errors import INTERNAL_ERROR, CommandError
from shards.lane.context import NeedKeys

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from protocol.buffer cimport Buffer, buffer_append
from protocol.envelope cimport RUN_INTERNAL, RUN_NO_TOUCH
from protocol.histogram cimport Histograms, histogram_record
from protocol.native cimport DEBUG, CLOCK_REALTIME, clock_ns, fatal, likely, ticks, unlikely
from protocol.reply cimport Reply, reply_error
from protocol.resp cimport Span
from protocol.slots cimport SLOTS, key_slot
from protocol.table cimport KEYS_DECLARED, KEYS_NONE, KEYS_RANGE, CommandSpec, NativeTable
from sessions.session cimport Session
from shards.keyspace.keyspace cimport Keyspace, blob_release, store_hash
from shards.lane.effects cimport effects_begin, effects_end
from shards.lane.context cimport Context
from shards.lane.handler cimport (
    NATIVE_BLOCKS, NATIVE_DECLINED, NATIVE_DONE, WANTS_NOTHING, Arg, Argv, NativeLane, Shard,
    native_handler,
)

cdef enum:
    SLOW_ARGUMENTS_MAX = 32             # of a slow command that are handed to the monitor,
    SLOW_ARGUMENT_BYTES_MAX = 256       # and of each so much
    DEPTH_MAX = 4                       # of commands that run others
    INDEXES_ON_STACK = 256

logger = logging.getLogger("shardis")


@cython.final
cdef class Runner:
    """Runs the commands of one shard incarnation, one at a time, and keeps their figures.

    `context` is what Python handlers get; `clock`, for tests, is a callable that gives Unix time in
    milliseconds.
    """

    def __cinit__(self, NativeTable table, Keyspace keyspace, object context, NativeLane lane, clock=None):
        cdef size_t n = table.count
        self.table = table
        self.keyspace = keyspace
        self.context = context
        self.clock = clock
        self.native_lane = True
        self.shard.store = keyspace.store
        self.shard.bulk_bytes_max = 512 << 20
        self.reply = Reply(2)
        self.errors = {}
        self.histograms = Histograms(n)
        self.latency_tracking = True
        self.slow_ticks = <uint64_t>-1
        self.natives = <native_handler *>calloc(n, sizeof(native_handler))
        self.calls = <uint64_t *>calloc(n, sizeof(uint64_t))
        self.command_ticks = <uint64_t *>calloc(n, sizeof(uint64_t))
        self.failed = <uint64_t *>calloc(n, sizeof(uint64_t))
        if not (self.natives and self.calls and self.command_ticks and self.failed):
            raise MemoryError
        for name, address in lane.handlers.items():
            self.natives[table.table[name].id] = <native_handler><void *><size_t>address
        context.runner = self
        self.set_slots(None)
        self._calibrate()

    def __dealloc__(self):
        free(self.natives)
        free(self.calls)
        free(self.command_ticks)
        free(self.failed)

    def set_limits(self, int64_t bulk_bytes_max):
        """Apply proto-max-bulk-len."""
        self.shard.bulk_bytes_max = bulk_bytes_max

    def set_monitor(self, monitor, bint latency_tracking):
        """Apply the slowlog-*, latency-monitor-threshold and latency-tracking directives."""
        self.monitor = monitor
        self.slow_ticks = <uint64_t>min(monitor.least_us * 1e-3 * self.ticks_per_ms, 1e19)
        self.latency_tracking = latency_tracking

    # -- slots

    def set_slots(self, bytes owned):
        """Refuse keys of slots that are not ours: a byte for each slot, 1: it is; None: all are."""
        cdef uint32_t slot
        self.context.own_slots = owned
        self.guards &= ~<uint32_t>GUARD_SLOTS
        memset(self.owned, 0xFF, sizeof(self.owned))
        if owned is None:
            return
        self.guards |= GUARD_SLOTS
        for slot in range(<uint32_t>SLOTS):
            if not owned[slot]:
                self.owned[slot >> 3] &= ~<uint8_t>(1 << (slot & 7))

    def lend(self, keys):
        """Let the commands that run from now on use these keys, whatever their slots."""
        self.lent = set(keys)

    def end_loan(self):
        """No key is lent any more."""
        self.lent = None

    cdef bint is_foreign(self, const char *key, size_t n, uint32_t slot):
        if likely(owns_slot(self, slot)):
            return False
        return self.lent is None or PyBytes_FromStringAndSize(key, n) not in self.lent

    cdef bint foreign(self, const Call *call) noexcept:
        """Whether a command has a key that is neither ours nor lent to us. O(keys)

        The first key has been looked at before, and is all that most commands have.
        """
        cdef const CommandSpec *spec = &self.table.specs[call.id]
        cdef const Argv *argv = &call.argv
        cdef uint32_t stack[INDEXES_ON_STACK]
        cdef uint32_t *indexes = stack
        cdef Span *spans
        cdef int32_t last, count, i
        cdef uint32_t at, size
        cdef bint found = False
        if spec.key_mode == KEYS_RANGE:
            if spec.key_first == spec.key_last:
                return False
            last = spec.key_last if spec.key_last >= 0 else <int32_t>argv.argc + spec.key_last
            at = spec.key_first + spec.key_step
            while <int32_t>at <= last and at < argv.argc:
                if self.is_foreign(argv.args[at].data, argv.args[at].length,
                                   key_slot(argv.args[at].data, argv.args[at].length)):
                    return True
                at += spec.key_step
            return False
        if spec.key_mode != KEYS_DECLARED:
            return False
        # No spec yields an argument twice, but several specs may overlap.
        size = argv.argc * (spec.key_spec_count + 2)
        spans = <Span *>malloc(argv.argc * sizeof(Span) + size * sizeof(uint32_t))
        if spans == NULL:
            return True
        if size > INDEXES_ON_STACK:
            indexes = <uint32_t *>(spans + argv.argc)
        for i in range(<int32_t>argv.argc):
            spans[i].offset = argv.args[i].data - argv.raw
            spans[i].length = argv.args[i].length
        count = self.table.key_indexes(call.id, argv.raw, spans, argv.argc, indexes, size)
        for i in range(count):
            at = indexes[i]
            if self.is_foreign(argv.args[at].data, argv.args[at].length,
                               key_slot(argv.args[at].data, argv.args[at].length)):
                found = True
                break
        free(spans)
        return found

    # -- time

    def _calibrate(self):
        """How fast the tick counter runs: measured over 2 ms."""
        cdef int64_t started = clock_ns(CLOCK_REALTIME)
        cdef uint64_t first = ticks()
        while clock_ns(CLOCK_REALTIME) - started < 2_000_000:
            pass
        self.ticks_per_ms = (ticks() - first) * 1e6 / (clock_ns(CLOCK_REALTIME) - started)
        self.ns_per_tick = 1e6 / self.ticks_per_ms

    cdef int start_batch(self) except -1:
        """Read the clock, for the commands that follow."""
        self.begun = ticks()
        if self.clock is not None:
            self.keyspace.store.now_ms = self.clock()
            self.next_ms_ticks = <uint64_t>-1
            return 0
        self.tick(self.begun)
        return 0

    cdef void tick(self, uint64_t now) noexcept:
        cdef int64_t ns = clock_ns(CLOCK_REALTIME)
        self.keyspace.store.now_ms = ns // 1_000_000
        # The millisecond ends this many ticks from now.
        self.next_ms_ticks = now + <uint64_t>((1_000_000 - ns % 1_000_000) * 1e-6 * self.ticks_per_ms)

    cdef void freeze_time(self, int64_t now_ms) noexcept:
        """Let the clock stand at this time until `start_batch`."""
        self.begun = ticks()
        self.keyspace.store.now_ms = now_ms
        self.next_ms_ticks = <uint64_t>-1

    def refresh_time(self):
        """Set the keyspace's clock, for work outside commands (active expiry)."""
        self.start_batch()
        return self.keyspace.store.now_ms

    # -- commands

    cdef int run_one(self, Call *call, Buffer *out) except -1:
        cdef native_handler handler = self.natives[call.id] if self.native_lane else NULL
        cdef size_t start = out.used
        cdef int status = NATIVE_DECLINED
        cdef int ran = 0
        cdef uint64_t now, elapsed, touches = 0
        if unlikely(self.begun >= self.next_ms_ticks):
            self.tick(self.begun)
        self.shard.database = call.database
        self.shard.resp = call.resp
        self.shard.flags = <uint8_t>call.flags
        self.shard.may_block = call.may_block
        self.shard.store.no_touch = call.flags & RUN_NO_TOUCH != 0
        if self.guards == 0 or not self.refused(call, out):
            effects_begin(self.shard.store, call.database, call.argv.raw, call.argv.raw_length,
                          self.table.specs[call.id].logging, call.transaction)
            if DEBUG:
                touches = self.shard.store.touches
            if likely(handler != NULL):
                status = handler(&self.shard, &call.argv, out)
                if DEBUG and status == NATIVE_DECLINED:
                    self.check_declined(call, touches, out.used - start)
            if unlikely(status != NATIVE_DONE):
                if status == NATIVE_DECLINED:
                    if self.run_python(call, out):
                        ran = RAN_BLOCKED
                elif status == NATIVE_BLOCKS:
                    ran = RAN_BLOCKED
                    self.waiting = None
                else:
                    ran = RAN_BLOB
            effects_end(self.shard.store)
        now = ticks()
        if unlikely(ran & RAN_BLOCKED):
            self.begun = now        # it is counted once it has been answered
            return ran
        if unlikely(call.flags & RUN_INTERNAL):
            # A worker's own command is part of one that is counted where it was split, errors included.
            self.begun = now
            return ran
        if unlikely(out.used > start and out.data[start] == c"-"):
            self.count_error(call.id, out.data + start + 1, out.used - start - 1)
        elapsed = now - self.begun
        self.begun = now
        self.calls[call.id] += 1
        self.commands_processed += 1
        self.command_ticks[call.id] += elapsed
        if likely(self.latency_tracking):
            histogram_record(self.histograms, call.id, <uint64_t>(elapsed * self.ns_per_tick))
        if unlikely(elapsed >= self.slow_ticks) and self.note_slow(call, elapsed):
            ran |= RAN_SLOW
        return ran

    cdef bint refused(self, const Call *call, Buffer *out) except -1:
        """Whether a guard has refused a command, and answered it."""
        if self.guards & GUARD_SLOTS and call.keyed and (
                self.is_foreign(call.argv.key.data, call.argv.key.length, call.argv.key.slot)
                or self.foreign(call)):
            self.refuse_foreign(call, out)
            return True
        return False

    cdef void check_declined(self, const Call *call, uint64_t touches, size_t replied) noexcept:
        """A native handler has declined: it must have left no trace (debug builds)."""
        if self.shard.store.touches != touches or replied:
            fatal(b"%b has declined, but touched something" % self.table.table.by_id[call.id].name.encode())

    def run_arguments(self, list args not None, Reply reply not None):
        """Run a command for a Python handler that runs; where and how is that one's. O(the command)

        Raises NeedKeys, for the caller to run again with more keys lent.
        """
        cdef Call call
        cdef list heads = [b"$%d\r\n" % len(arg) for arg in args]
        cdef bytes start = b"*%d\r\n" % len(args)
        cdef bytes raw = start + b"".join(
            [part for head, arg in zip(heads, args) for part in (head, arg, b"\r\n")])
        cdef const char *data = PyBytes_AS_STRING(raw) + len(start)
        cdef uint32_t argc = <uint32_t>len(args), i, first
        cdef int32_t id = self.table.lookup_list(args)
        cdef const CommandSpec *spec
        cdef Shard outer = self.shard
        cdef Arg *array
        if id < 0:
            raise ValueError("an unknown command")
        if self.depth >= DEPTH_MAX:
            raise RecursionError("commands run commands too deeply")
        spec = &self.table.specs[id]
        positions = self.table.keys(id, args)
        memset(&call, 0, sizeof(call))
        array = <Arg *>malloc((argc + 1) * sizeof(Arg))
        if array == NULL:
            raise MemoryError
        for i in range(argc):
            array[i].data = data + PyBytes_GET_SIZE(heads[i])
            array[i].length = PyBytes_GET_SIZE(args[i])
            data = array[i].data + array[i].length + 2
        call.argv.args = array
        call.argv.argc = argc
        call.argv.raw = PyBytes_AS_STRING(raw)
        call.argv.raw_length = PyBytes_GET_SIZE(raw)
        call.argv.key.data = call.argv.raw
        if positions:
            first = positions[0]
            call.keyed = True
            call.argv.key.data = array[first].data
            call.argv.key.length = array[first].length
            call.argv.key.slot = key_slot(array[first].data, array[first].length)
            call.argv.key.database = self.shard.store.physical[self.context.database]
            call.argv.key.hash = store_hash(self.shard.store, array[first].data, array[first].length)
        call.id = <uint16_t>id
        call.flags = outer.flags | RUN_INTERNAL
        call.resp = <uint8_t>reply.resp
        call.database = <uint32_t>self.context.database
        self.depth += 1
        self.shard.adopt = NULL
        try:
            if self.run_one(&call, reply.out) & RAN_BLOB:
                buffer_append(reply.out, self.shard.blob.data, self.shard.blob.length)
                buffer_append(reply.out, b"\r\n", 2)
                blob_release(self.shard.blob)
        finally:
            free(array)
            self.depth -= 1
            self.shard = outer
            self.shard.store.no_touch = outer.flags & RUN_NO_TOUCH != 0
            self.context.database = <int>outer.database

    cdef int refuse_foreign(self, const Call *call, Buffer *out) except -1:
        """A mistake in routing, which must not become a value where nobody finds it."""
        name = self.table.table.by_id[call.id].name
        logger.error("%s for a slot of another shard was refused", name)
        reply_error(out, PyBytes_AS_STRING(<bytes>INTERNAL_ERROR), PyBytes_GET_SIZE(<bytes>INTERNAL_ERROR))
        return 0

    cdef bint run_python(self, const Call *call, Buffer *out) except -1:
        """Whether it blocks."""
        cdef uint32_t i
        cdef size_t start = out.used
        cdef const Argv *argv = &call.argv
        cdef Reply reply = self.reply if self.depth == 0 else Reply(2)
        cdef list arguments = [
            PyBytes_FromStringAndSize(argv.args[i].data, argv.args[i].length) for i in range(argv.argc)
        ]
        command = self.table.table.by_id[call.id]
        cdef Context context = self.context
        context.now_ms = self.keyspace.store.now_ms
        context.database = call.database
        if self.depth == 0:
            context.cluster = call.flags & CALL_PORT != 0
        context.may_block = call.may_block
        context.blocked.wants = WANTS_NOTHING
        reply.out = out
        reply.resp = call.resp
        try:
            command.handler(context, arguments, reply)
        except CommandError as error:
            out.used = start
            reply.error(error.message)
        except Exception as mistake:
            out.used = start
            if self.depth and isinstance(mistake, NeedKeys):
                effects_end(self.shard.store)
                raise                   # for the command that runs this one
            # The keyspace is whole after each of its calls, so the shard goes on rather than lose
            # it; the log has the story.
            logger.exception("%s failed", command.name)
            reply.error(INTERNAL_ERROR)
        finally:
            reply.out = &reply.own
        if unlikely(context.blocked.wants != WANTS_NOTHING and out.used == start):
            context.may_block = False
            self.shard.block = context.blocked
            self.waiting = context.waiting
            context.waiting = None
            return True
        return False

    # -- figures

    cdef int count_error(self, uint16_t id, const char *message, size_t n) except -1:
        """Count an error reply by its code, which ends at a space or the line's end."""
        cdef size_t end = 0
        while end < n and message[end] != c" " and message[end] != c"\r":
            end += 1
        code = PyBytes_FromStringAndSize(message, end)
        self.errors[code] = self.errors.get(code, 0) + 1
        self.failed[id] += 1
        return 0

    cdef bint note_slow(self, const Call *call, uint64_t elapsed) except -1:
        """Tell the monitor of a slow command; whether it is in the slow log now."""
        cdef uint32_t i
        cdef const Argv *argv = &call.argv
        cdef list arguments = [
            PyBytes_FromStringAndSize(
                argv.args[i].data, min(argv.args[i].length, <size_t>SLOW_ARGUMENT_BYTES_MAX)
            )
            for i in range(min(argv.argc, <uint32_t>SLOW_ARGUMENTS_MAX))
        ]
        cdef list lengths = [argv.args[i].length for i in range(argv.argc)]
        address, name = "", b""         # of a worker's client: the worker knows
        if call.session != NULL:
            address = (<Session>call.session).address
            name = (<Session>call.session).name
        return self.monitor.note(
            arguments, int(elapsed * self.ns_per_tick / 1000), call.client_id, address, name,
            fast=F.FAST in self.table.table.by_id[call.id].flags, lengths=lengths,
        )

    cdef int note_unblocked(self, uint16_t id, const Buffer *reply) except -1:
        """Count a command that was blocked and is answered without another run."""
        if reply.used and reply.data[0] == c"-":
            self.count_error(id, reply.data + 1, reply.used - 1)
        self.calls[id] += 1
        self.commands_processed += 1
        if self.latency_tracking:
            histogram_record(self.histograms, id, 0)
        return 0

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
