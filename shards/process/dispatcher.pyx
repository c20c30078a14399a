"""Commands of cluster-aware clients, from a session straight into the executor; see local.pxd.

What is refused here, and in which order, is what a node of a Redis Cluster refuses: a slot nobody
serves, keys of different slots, a cluster that is down, and a slot of another node (MOVED).
"""

from protocol.commands import F
from protocol.errors import CLUSTER_DOWN, CLUSTER_DOWN_READS, CROSS_SLOT, SLOT_UNSERVED

from libc.stdint cimport int32_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from protocol.buffer cimport Buffer, buffer_append
from protocol.envelope cimport RUN_NO_TOUCH, RUN_REPLY_OFF, CommandHeader
from protocol.histogram cimport histogram_record
from protocol.native cimport likely, out_of_memory, prefetch, ticks, unlikely
from protocol.resp cimport Span
from protocol.slots cimport key_slot
from protocol.table cimport KEYS_DECLARED, KEYS_RANGE, CommandSpec, NativeTable
from sessions.dispatcher cimport Dispatcher
from sessions.output cimport Block, Output, block_new, output_append_block
from sessions.session cimport STATE_CLOSING, STATE_SHARD_FULL, TAKEN, WAIT, Session
from shards.execution.executor cimport Executor
from shards.lane.handler cimport NATIVE_BLOB, NATIVE_DECLINED, NATIVE_DONE, Arg, Argv, native_handler
from shards.keyspace.keyspace cimport (
    Blob, Database, Store, blob_release, store_hash, store_prefetch_bucket, store_prefetch_entry,
    store_prefetch_table,
)
from shards.execution.locks cimport Ticket

cdef enum:
    ARGS_FIRST = 256
    ARGS_KEEP = 8192            # a larger pool is given back
    INDEXES_FIRST = 64
    OUTPUT_CHECK_BYTES = 65536  # of replies in a row: then the client's limit is looked at

cdef uint32_t FLAG_WRITE = F.WRITE


cdef void release_blob_block(void *block) noexcept nogil:
    blob_release(<Blob *><uintptr_t>(<Block *>block).context[0])


cdef class LocalDispatcher(Dispatcher):
    """`cluster` (sessions.cluster.Cluster) must be set before the first command is refused."""

    def __cinit__(self, NativeTable table, Executor executor, int32_t node):
        self.executor = executor
        self.node = node
        self.single = True              # what runs on every shard runs on this one
        self.args_size = ARGS_FIRST
        self.args = <Arg *>malloc(ARGS_FIRST * sizeof(Arg))
        self.indexes_size = INDEXES_FIRST
        self.indexes = <uint32_t *>malloc(INDEXES_FIRST * sizeof(uint32_t))
        if self.args == NULL or self.indexes == NULL:
            raise MemoryError
        memset(self.owner, 0xFF, sizeof(self.owner))

    def __dealloc__(self):
        free(self.args)
        free(self.indexes)

    # -- topology

    def set_slots(self, ranges):
        """Install a slot map: `ranges` of (first, last, shard). O(slots)."""
        cdef int slot
        memset(self.owner, 0xFF, sizeof(self.owner))
        for first, last, shard in ranges:
            for slot in range(first, last + 1):
                self.owner[slot] = shard

    def set_down(self, bint down, bint reads_when_down):
        """Refuse commands with keys, or those of them that write, until it is up again."""
        self.down = down
        self.reads_when_down = reads_when_down

    # -- commands

    cdef int32_t _find_keys(self, const CommandSpec *spec, const char *raw) noexcept:
        """How many keys a command has whose specs are not one range; `indexes` says where."""
        cdef int32_t found
        cdef uint32_t argc = self.scan.argc
        if unlikely(argc > self.indexes_size):
            # No command has more keys than arguments.
            self.indexes_size = argc
            self.indexes = <uint32_t *>realloc(self.indexes, argc * sizeof(uint32_t))
            if self.indexes == NULL:
                out_of_memory(argc * sizeof(uint32_t))
        found = self.table.key_indexes(
            spec.id, raw, self.scan.spans, argc, self.indexes, self.indexes_size
        )
        return found if found <= <int32_t>self.indexes_size else <int32_t>self.indexes_size

    cdef Verdict _judge(self, const CommandSpec *spec, const char *raw, uint32_t first, uint32_t slot,
                        int32_t found) noexcept:
        """Whether a command may run here: its first key is argument `first`, of `slot`. O(keys)."""
        cdef const Span *spans = self.scan.spans
        cdef uint32_t argc = self.scan.argc
        cdef int32_t i, last
        cdef uint32_t index
        if self.owner[slot] < 0:
            return REFUSED_UNBOUND
        if spec.key_mode == KEYS_DECLARED:
            for i in range(1, found):
                index = self.indexes[i]
                if key_slot(raw + spans[index].offset, spans[index].length) != slot:
                    return REFUSED_CROSSSLOT
        else:
            last = spec.key_last if spec.key_last >= 0 else <int32_t>argc + spec.key_last
            index = first + spec.key_step
            while <int32_t>index <= last and index < argc:
                if key_slot(raw + spans[index].offset, spans[index].length) != slot:
                    return REFUSED_CROSSSLOT
                index += spec.key_step
        if unlikely(self.down):
            if not self.reads_when_down:
                return REFUSED_DOWN
            if spec.flags & FLAG_WRITE:
                return REFUSED_DOWN_WRITE
        return SERVED if self.owner[slot] == self.node else REFUSED_MOVED

    cdef int _refuse(self, Session session, const CommandSpec *spec, Verdict verdict, uint32_t slot) except -1:
        cdef bytes message
        if verdict == REFUSED_MOVED:
            message = self.cluster.moved(slot, self.owner[slot], session)
        elif verdict == REFUSED_CROSSSLOT:
            message = CROSS_SLOT
        elif verdict == REFUSED_DOWN:
            message = CLUSTER_DOWN
        elif verdict == REFUSED_DOWN_WRITE:
            message = CLUSTER_DOWN_READS
        else:
            message = SLOT_UNSERVED
        return session._refuse(spec.id, message)

    cdef void _grow_args(self, uint32_t more) noexcept:
        cdef uint32_t size = self.args_size * 2
        if size < self.args_used + more:
            size = self.args_used + more
        self.args = <Arg *>realloc(self.args, size * sizeof(Arg))
        if self.args == NULL:
            out_of_memory(size * sizeof(Arg))
        self.args_size = size

    # -- keys that are held for commands over several shards

    cdef bint _must_wait(self, Session session, const CommandSpec *spec, const char *raw) except -1:
        """Whether a command needs a key that is held; it has a place in the queue then."""
        cdef const Span *spans = self.scan.spans
        cdef uint32_t slot = 0
        cdef Ticket ticket
        if self.admitted is session:
            self.admitted = None
            return False
        if spec.key_mode == KEYS_RANGE and spec.key_first == spec.key_last:
            slot = key_slot(raw + spans[spec.key_first].offset, spans[spec.key_first].length)
        if session.pinned >= 0 or self.executor.is_untouched(spec, slot):
            return False
        arguments = session._arguments(raw)
        session.argument_bytes = 0
        wants = self.executor.wants_of(spec.id, arguments)
        if wants is None or self.executor.locks.is_free(wants):
            return False
        ticket = Ticket(
            wants, lambda granted: self.host.loop.call_soon(self._admit, session, granted)
        )
        self.executor.locks.request(ticket)
        session.state |= STATE_SHARD_FULL
        return True

    def _admit(self, Session session, Ticket ticket):
        """Let a session go on, whose next command holds its keys now, and give them back then."""
        session.state &= ~STATE_SHARD_FULL
        self.admitted = session
        session.resume()
        self.admitted = None
        self.executor.release(ticket)
        self.executor.run_granted()
        self.host.schedule_flush()
        if self.on_granted is not None:
            self.on_granted()

    cdef int submit(self, Session session, const CommandSpec *spec, const char *raw, size_t length) except -1:
        cdef const Span *spans = self.scan.spans
        cdef uint32_t argc = self.scan.argc
        cdef uint32_t first = 0, slot = 0, i
        cdef int32_t found = 0
        cdef bint keyed = False
        cdef Verdict verdict
        cdef Gathered *command
        cdef Database *database
        cdef Arg *args
        if unlikely(self.executor.locks.tickets != 0) and self._must_wait(session, spec, raw):
            return WAIT
        if likely(spec.key_mode == KEYS_RANGE):
            first = spec.key_first
            keyed = first < argc
        elif spec.key_mode == KEYS_DECLARED:
            found = self._find_keys(spec, raw)
            keyed = found > 0           # else the handler finds the words for what is wrong
            if keyed:
                first = self.indexes[0]
        if likely(keyed):
            slot = key_slot(raw + spans[first].offset, spans[first].length)
            if unlikely(
                self.owner[slot] != self.node or self.down or spec.key_last != spec.key_first
                or spec.key_mode != KEYS_RANGE
            ):
                verdict = self._judge(spec, raw, first, slot, found)
                if unlikely(verdict != SERVED):
                    self.finish(session)
                    self._refuse(session, spec, verdict, slot)
                    return TAKEN
        command = &self.window[self.count]
        command.id = spec.id
        command.flags = session.run_flags
        command.keyed = keyed
        command.argv.argc = argc
        command.argv.raw = raw
        command.argv.raw_length = length
        command.argv.key.slot = slot
        if likely(keyed):
            command.argv.key.data = raw + spans[first].offset
            command.argv.key.length = spans[first].length
            command.argv.key.database = self.executor.shard.store.physical[session.database]
            command.argv.key.hash = store_hash(
                self.executor.shard.store, command.argv.key.data, command.argv.key.length
            )
            database = self.executor.shard.store.databases[command.argv.key.database]
            if likely(database != NULL):
                prefetch(&database.keys[slot])
        else:
            command.argv.key.data = raw
            command.argv.key.length = 0
            command.argv.key.hash = 0
        if unlikely(self.args_used + argc > self.args_size):
            self._grow_args(argc)
        command.args_at = self.args_used
        args = self.args + self.args_used
        for i in range(argc):
            args[i].data = raw + spans[i].offset
            args[i].length = spans[i].length
        self.args_used += argc
        self.count += 1
        if unlikely(self.count == WINDOW):
            self._run(session)
        return TAKEN

    cdef int finish(self, Session session) except -1:
        return self._run(session) if self.count else 0

    cdef int _run(self, Session session) except -1:
        """Execute the window: three prefetch passes, then each command and its reply.

        The first command that takes the client's output over its limit is the last one, and the client is
        closed by whoever sends the output. As for redis-server, what was executed stays executed.
        """
        cdef Executor executor = self.executor
        cdef Store *store = executor.shard.store
        cdef Output *output = &session.output
        cdef Buffer *out = &output.tail
        cdef Gathered *command
        cdef native_handler handler
        cdef uint32_t i, count = self.count
        cdef size_t start, end
        cdef size_t replied = self.replied
        cdef uint64_t now, begun
        cdef int status
        self.count = 0
        self.args_used = 0
        if executor.clock is not None:
            executor._start_batch()
        executor.shard.database = session.database
        executor.shard.resp = session.resp
        executor.shard.adopt = NULL
        if count > 1:
            for i in range(count):
                if likely(self.window[i].keyed):
                    store_prefetch_table(store, &self.window[i].argv.key)
            for i in range(count):
                if likely(self.window[i].keyed):
                    store_prefetch_bucket(store, &self.window[i].argv.key)
            for i in range(count):
                if likely(self.window[i].keyed):
                    store_prefetch_entry(store, &self.window[i].argv.key)
        begun = ticks()
        for i in range(count):
            command = &self.window[i]
            if unlikely(begun >= executor.next_ms_ticks):
                executor._tick(begun)
            command.argv.args = self.args + command.args_at
            executor.shard.flags = command.flags
            store.no_touch = command.flags & RUN_NO_TOUCH != 0
            handler = executor.natives[command.id] if executor.native_lane else NULL
            start = out.used
            status = NATIVE_DECLINED
            if likely(handler != NULL):
                status = handler(&executor.shard, &command.argv, out)
            if unlikely(status == NATIVE_DECLINED):
                self._run_python(session, command, out)
            if unlikely(out.used > start and out.data[start] == c"-"):
                executor.failed[command.id] += 1
                end = start + 1
                while end < out.used and out.data[end] != c"\r":
                    end += 1
                self.counts.count_error(out.data + start + 1, end - start - 1)
            if unlikely(command.flags & RUN_REPLY_OFF):
                out.used = start
                if status == NATIVE_BLOB:
                    blob_release(executor.shard.blob)
                    executor.shard.blob = NULL
            elif unlikely(status == NATIVE_BLOB):
                replied += executor.shard.blob.length
                self._append_blob(output)
                start = 0
            replied += out.used - start
            now = ticks()
            executor.calls[command.id] += 1
            executor.command_ticks[command.id] += now - begun
            if likely(executor.latency_tracking):
                histogram_record(
                    executor.histograms, command.id, <uint64_t>((now - begun) * executor.ns_per_tick)
                )
            if unlikely(now - begun >= executor.slow_ticks):
                executor.note_slow(
                    command.id, &command.argv, now - begun, session.id, session.address, session.name
                )
            begun = now
            if unlikely(replied > OUTPUT_CHECK_BYTES):
                replied = 0
                if session.id and session.exceeds_output_limit():
                    session.state |= STATE_CLOSING
                    count = i + 1
                    break
        self.replied = replied
        executor.commands_processed += count
        if unlikely(self.args_size > ARGS_KEEP):
            free(self.args)
            self.args_size = ARGS_FIRST
            self.args = <Arg *>malloc(ARGS_FIRST * sizeof(Arg))
            if self.args == NULL:
                out_of_memory(ARGS_FIRST * sizeof(Arg))
        if not session.is_dirty:
            session.mark_dirty()
        return 0

    cdef int _run_python(self, Session session, Gathered *command, Buffer *out) except -1:
        """The Python handler writes into the executor's buffer, which stands in for the session's."""
        cdef Executor executor = self.executor
        cdef Buffer own = executor.out
        cdef CommandHeader header
        header.id = command.id
        executor.run.database = <unsigned char>session.database
        executor.run.resp = <unsigned char>session.resp
        executor.out = out[0]
        executor.context.cluster = True
        try:
            executor._execute_python(&header, &command.argv)
        finally:
            executor.context.cluster = False
            out[0] = executor.out
            executor.out = own
        return 0

    cdef void _append_blob(self, Output *output) noexcept:
        """A stored blob is the payload of the reply: it goes out uncopied."""
        cdef Blob *blob = self.executor.shard.blob
        cdef Block *block = block_new()
        self.executor.shard.blob = NULL
        block.data = <char *>blob.data
        block.size = blob.length
        block.context[0] = <uint64_t><uintptr_t>blob
        block.release = release_blob_block
        block.ready = True
        output_append_block(output, block)
        buffer_append(&output.tail, b"\r\n", 2)
