"""Commands of cluster-aware clients, from a session straight into the executor; see local.pxd.

What is refused here, and in which order, is what a node of a Redis Cluster refuses: a slot nobody
serves, keys of different slots, a cluster that is down, and a slot of another node (MOVED).
"""

from protocol.commands import F, Place
from protocol.errors import CLUSTER_DOWN, CLUSTER_DOWN_READS, CROSS_SLOT, SLOT_UNSERVED

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from protocol.buffer cimport Buffer, buffer_append
from protocol.envelope cimport (
    CANCEL_ERROR, CANCEL_GONE, CANCEL_TIMEOUT, RUN_INTERNAL, RUN_MULTI, RUN_REPLY_OFF, CommandHeader, RunHeader,
)
from protocol.native cimport likely, out_of_memory, prefetch, ticks, unlikely
from protocol.resp cimport Span
from protocol.slots cimport key_slot
from protocol.table cimport KEYS_DECLARED, KEYS_RANGE, CommandSpec, NativeTable
from sessions.dispatcher cimport Dispatcher
from sessions.output cimport Block, Output, block_new, output_append_block
from sessions.queue cimport CommandQueue, split_command
from sessions.session cimport HOLD, STATE_BLOCKED, STATE_CLOSING, STATE_SHARD_FULL, TAKEN, WAIT, Session
from shards.execution.blocking cimport LINK_PORT
from shards.execution.executor cimport Executor
from shards.execution.parked cimport is_untouched
from shards.execution.runner cimport CALL_PORT, RAN_BLOB, RAN_BLOCKED, Call, Runner
from shards.execution.serving cimport Serving, has_notes
from shards.lane.handler cimport Arg
from shards.keyspace.keyspace cimport (
    Blob, Database, Key, Store, blob_release, store_hash, store_prefetch_bucket,
    store_prefetch_entry, store_prefetch_table,
)
from shards.execution.locks cimport Ticket
from shards.execution.watches cimport Watches
from shards.lane.effects cimport effects_begin, effects_end

cdef enum:
    ARGS_FIRST = 256
    ARGS_KEEP = 8192            # a larger pool is given back
    INDEXES_FIRST = 64
    OUTPUT_CHECK_BYTES = 65536  # of replies in a row: then the client's limit is looked at

cdef uint32_t FLAG_WRITE = F.WRITE
cdef uint32_t FLAG_PROTECTED = F.PROTECTED
cdef uint8_t PLACE_SESSION = Place.SESSION.value
cdef uint8_t PLACE_ADMIN = Place.ADMIN.value
cdef bytes EXEC_ABORTED = b"EXECABORT Transaction discarded because of previous errors."
cdef uint32_t FLAG_BLOCKING = F.BLOCKING


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
        """Whether a command needs a key that is locked; it has a place in the queue then."""
        cdef const Span *spans = self.scan.spans
        cdef Key key
        cdef Ticket ticket
        if self.admitted is session:
            self.admitted = None
            return False
        if session.pinned >= 0:
            return False
        memset(&key, 0, sizeof(key))
        if spec.key_mode == KEYS_RANGE and spec.key_first == spec.key_last:
            key.data = raw + spans[spec.key_first].offset
            key.length = spans[spec.key_first].length
            key.slot = key_slot(key.data, key.length)
            key.hash = store_hash(self.executor.store, key.data, key.length)
        if is_untouched(self.executor.parked, spec, &key):
            return False
        arguments = session._arguments(raw)
        session.argument_bytes = 0
        ticket = self.executor.parked.ticket_of(
            spec.id, arguments, lambda granted: self.host.loop.call_soon(self._admit, session, granted)
        )
        if not self.executor.parked.locks.blocks(ticket):
            return False
        self.executor.parked.locks.request(ticket)
        session.state |= STATE_SHARD_FULL
        return True

    def _admit(self, Session session, Ticket ticket):
        """Let a session go on, whose next command holds its keys now, and give them back then."""
        session.state &= ~STATE_SHARD_FULL
        self.admitted = session
        self.running = ticket
        session.resume()
        self.running = None
        self.admitted = None
        self.executor.parked.release(ticket)
        self.executor.parked.run_granted()
        self.host.schedule_flush()
        if self.on_granted is not None:
            self.on_granted()

    cdef int submit(self, Session session, const CommandSpec *spec, const char *raw, size_t length) except -1:
        cdef const Span *spans = self.scan.spans
        cdef uint32_t argc = self.scan.argc
        cdef uint32_t first = 0, slot = 0, i
        cdef int32_t found = 0
        cdef bint keyed = False
        cdef bint blocks = False
        cdef Verdict verdict
        cdef Gathered *command
        cdef Call *call
        cdef Database *database
        cdef Arg *args
        if unlikely(self.executor.parked.locks.tickets != 0) and self._must_wait(session, spec, raw):
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
        if unlikely(spec.flags & FLAG_BLOCKING) and session.pinned < 0 and self.may_block(spec, raw):
            blocks = True
            self.finish(session)        # the rest must not wait for it
        command = &self.window[self.count]
        call = &command.call
        call.id = spec.id
        call.flags = session.run_flags | CALL_PORT | (RUN_INTERNAL if unlikely(session.pinned >= 0) else 0)
        call.keyed = keyed
        call.resp = <uint8_t>session.resp
        call.database = <uint32_t>session.database
        call.may_block = blocks
        call.client_id = session.id
        call.session = <void *>session
        call.argv.argc = argc
        call.argv.raw = raw
        call.argv.raw_length = length
        call.argv.key.slot = slot
        if likely(keyed):
            call.argv.key.data = raw + spans[first].offset
            call.argv.key.length = spans[first].length
            call.argv.key.database = self.executor.store.physical[session.database]
            call.argv.key.hash = store_hash(
                self.executor.store, call.argv.key.data, call.argv.key.length
            )
            database = self.executor.store.databases[call.argv.key.database]
            if likely(database != NULL):
                prefetch(&database.keys[slot])
        else:
            call.argv.key.data = raw
            call.argv.key.length = 0
            call.argv.key.hash = 0
        if unlikely(self.args_used + argc > self.args_size):
            self._grow_args(argc)
        command.args_at = self.args_used
        args = self.args + self.args_used
        for i in range(argc):
            args[i].data = raw + spans[i].offset
            args[i].length = spans[i].length
        self.args_used += argc
        self.count += 1
        if unlikely(self.count == WINDOW or blocks):
            self._run(session)
        return TAKEN

    # -- MULTI, EXEC, WATCH

    cdef int queue(self, Session session, const CommandSpec *spec, const char *raw, size_t length) except -1:
        cdef CommandQueue queue = session.waiting
        cdef const Span *spans = self.scan.spans
        cdef CommandHeader header
        cdef uint32_t first = 0, slot = 0, i
        cdef size_t argument_bytes = self.scan.argc * sizeof(void *)
        cdef int32_t found = 0
        cdef bint keyed = False
        cdef Verdict verdict
        if spec.key_mode == KEYS_RANGE:
            first = spec.key_first
            keyed = first < self.scan.argc
        elif spec.key_mode == KEYS_DECLARED:
            found = self._find_keys(spec, raw)
            keyed = found > 0
            if keyed:
                first = self.indexes[0]
        memset(&header, 0, sizeof(header))
        if keyed:
            slot = key_slot(raw + spans[first].offset, spans[first].length)
            verdict = self._judge(spec, raw, first, slot, found)
            if verdict != SERVED:
                self._refuse(session, spec, verdict, slot)
                return HOLD
            if not queue.failed:        # else it keeps nothing more
                queue.note_slot(<uint16_t>slot)
            header.key_offset = <uint32_t>spans[first].offset
            header.key_length = <uint32_t>spans[first].length
            header.slot = <uint16_t>slot
        if spec.place == PLACE_ADMIN or spec.flags & FLAG_PROTECTED:
            queue.asks_router = True
        for i in range(self.scan.argc):
            argument_bytes += spans[i].length
        header.length = <uint32_t>length
        header.id = spec.id
        queue.add(&header, raw, spec.flags, argument_bytes)
        return TAKEN

    cdef int submit_exec(self, Session session, const char *raw) except -1:
        """Run the queue here and now, unless a key is locked or the router must be asked."""
        cdef CommandQueue queue = session.waiting
        cdef const CommandSpec *spec = &self.table.specs[self.exec_id]
        if queue.crosses_slots:
            session.discard()
            self._refuse(session, spec, REFUSED_CROSSSLOT, 0)
            return TAKEN
        if queue.failed:
            session.discard()
            session._fail(self.exec_id, EXEC_ABORTED)
            return TAKEN
        if queue.slot >= 0 and self.owner[queue.slot] != self.node:
            session.discard()
            self._refuse(session, spec, REFUSED_MOVED, <uint32_t>queue.slot)
            return TAKEN
        if queue.asks_router:
            return HOLD
        if unlikely(self.executor.parked.locks.tickets != 0) and self._exec_must_wait(session):
            return WAIT
        self.run_queue(session)
        return TAKEN

    cdef bint _exec_must_wait(self, Session session) except -1:
        """Whether a queued or watched key is locked; EXEC has a place in the line then."""
        cdef Ticket ticket
        if self.admitted is session:
            self.admitted = None
            return False
        ticket = self.executor.parked.ticket_of_all(
            session.waiting.commands(), self.executor.answers.watches.keys_of(session.id),
            lambda granted: self.host.loop.call_soon(self._admit, session, granted))
        if not self.executor.parked.locks.blocks(ticket):
            return False
        self.executor.parked.locks.request(ticket)
        session.state |= STATE_SHARD_FULL
        return True

    cdef int run_queue(self, Session session) except -1:
        """Run all that is queued, with nothing in between: one reply."""
        cdef CommandQueue queue = session.waiting
        cdef Runner runner = self.executor.runner
        cdef Watches watches = self.executor.answers.watches
        cdef Store *store = self.executor.store
        cdef Output *output = &session.output
        cdef Buffer *out = &output.tail
        cdef const CommandHeader *header
        cdef const char *raw = queue.raw.data
        cdef Call call
        cdef uint32_t i
        cdef size_t start
        cdef int ran
        cdef bint muted = session.run_flags & RUN_REPLY_OFF != 0
        cdef bint unchanged = not session.watched or watches.unchanged(session.id)
        session.unwatch()
        if not unchanged:
            session.end_multi()
            session.reply_here(b"*-1\r\n" if session.resp == 2 else b"_\r\n", 5 if session.resp == 2 else 3)
            return 0
        runner.start_batch()
        runner.freeze_time(store.now_ms)
        data = b"*%d\r\n" % queue.count
        session.reply_here(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        effects_begin(store, 0, NULL, 0, 0, 0)
        try:
            for i in range(queue.count):
                header = queue.header(i)
                if self.table.specs[header.id].place == PLACE_SESSION:
                    data = session.run_inside(header.id, split_command(raw))
                    session.reply_here(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
                else:
                    memset(&call, 0, sizeof(call))
                    self.executor.answers.parse(raw, header, &call.argv)
                    call.id = header.id
                    call.flags = session.run_flags | CALL_PORT | RUN_MULTI
                    call.keyed = header.key_offset != 0
                    call.resp = <uint8_t>session.resp
                    call.database = <uint32_t>session.database
                    call.client_id = session.id
                    call.session = <void *>session
                    call.argv.key.data = raw + header.key_offset
                    call.argv.key.length = header.key_length
                    call.argv.key.slot = header.slot
                    call.argv.key.database = store.physical[session.database]
                    call.argv.key.hash = store_hash(store, call.argv.key.data, call.argv.key.length)
                    runner.shard.adopt = NULL
                    start = out.used
                    ran = runner.run_one(&call, out)
                    if unlikely(muted):
                        out.used = start
                        if ran & RAN_BLOB:
                            blob_release(runner.shard.blob)
                            runner.shard.blob = NULL
                    elif unlikely(ran & RAN_BLOB):
                        self._append_blob(output)
                raw += header.length
        finally:
            effects_end(store)
            session.end_multi()
            runner.start_batch()
        if unlikely(has_notes(self.executor.answers.serving)):
            self.executor.answers.serving.serve(self.running)
        self._send_served()
        if not session.is_dirty:
            session.mark_dirty()
        if session.id and session.exceeds_output_limit():
            session.state |= STATE_CLOSING
        return 0

    cdef int submit_watch(self, Session session, const CommandSpec *spec, const char *raw) except -1:
        cdef Watches watches = self.executor.answers.watches
        cdef uint32_t slot = key_slot(raw + self.scan.spans[1].offset, self.scan.spans[1].length)
        cdef Verdict verdict = self._judge(spec, raw, 1, slot, 0)
        if verdict != SERVED:
            self._refuse(session, spec, verdict, slot)
            return TAKEN
        self.executor.runner.start_batch()
        keys = session._arguments(raw)[1:]
        session.argument_bytes = 0
        watches.link = LINK_PORT
        for key in keys:
            watches.watch(session.id, session.database, key)
        session.note_watched({(session.database, key): self.node for key in keys})
        self.counts.calls[spec.id] += 1
        self.counts.commands += 1
        session.reply_here(b"+OK\r\n", 5)
        return TAKEN

    cdef int unwatch(self, Session session) except -1:
        return self.executor.answers.watches.unwatch(session.id)

    cdef int finish(self, Session session) except -1:
        return self._run(session) if self.count else 0

    cdef int _run(self, Session session) except -1:
        """Execute the window: three prefetch passes, then each command and its reply.

        The first command that takes the client's output over its limit is the last one, and the
        client is closed by whoever sends the output. As for redis-server, what was executed stays
        executed.
        """
        cdef Runner runner = self.executor.runner
        cdef Store *store = self.executor.store
        cdef Output *output = &session.output
        cdef Buffer *out = &output.tail
        cdef Call *call
        cdef uint32_t i, count = self.count
        cdef size_t start
        cdef size_t replied = self.replied
        cdef Serving serving = self.executor.answers.serving
        cdef int ran
        self.count = 0
        self.args_used = 0
        if runner.clock is not None:
            runner.start_batch()
        if count > 1:
            for i in range(count):
                if likely(self.window[i].call.keyed):
                    store_prefetch_table(store, &self.window[i].call.argv.key)
            for i in range(count):
                if likely(self.window[i].call.keyed):
                    store_prefetch_bucket(store, &self.window[i].call.argv.key)
            for i in range(count):
                if likely(self.window[i].call.keyed):
                    store_prefetch_entry(store, &self.window[i].call.argv.key)
        runner.begun = ticks()
        runner.shard.adopt = NULL
        for i in range(count):
            call = &self.window[i].call
            call.argv.args = self.args + self.window[i].args_at
            call.argv.key.database = store.physical[call.database]
            start = out.used
            ran = runner.run_one(call, out)
            if unlikely(call.flags & RUN_REPLY_OFF):
                out.used = start
                if ran & RAN_BLOB:
                    blob_release(runner.shard.blob)
                    runner.shard.blob = NULL
            elif unlikely(ran & RAN_BLOB):
                replied += runner.shard.blob.length
                self._append_blob(output)
                start = 0
            replied += out.used - start
            if unlikely(ran & RAN_BLOCKED):
                self._block(session, call)
            if unlikely(has_notes(serving)):
                serving.serve(self.running)
            if unlikely(replied > OUTPUT_CHECK_BYTES):
                replied = 0
                if session.id and session.exceeds_output_limit():
                    session.state |= STATE_CLOSING
                    break
        self.replied = replied
        self._send_served()
        if unlikely(self.args_size > ARGS_KEEP):
            free(self.args)
            self.args_size = ARGS_FIRST
            self.args = <Arg *>malloc(ARGS_FIRST * sizeof(Arg))
            if self.args == NULL:
                out_of_memory(ARGS_FIRST * sizeof(Arg))
        if not session.is_dirty:
            session.mark_dirty()
        return 0

    cdef int _send_served(self) except -1:
        """Send what workers' clients were answered because of what has run here."""
        if unlikely(len(self.executor.answers.served_links) > 0
                    or len(self.executor.parked.granted) > 0):
            self.executor.answers.send()
            # Others may have got their turn; they have it from the event loop.
            self.executor.parked.has_more = True
            if self.on_granted is not None:
                self.on_granted()
        return 0

    cdef int _block(self, Session session, const Call *call) except -1:
        """A command waits: the session goes on when it is answered."""
        cdef RunHeader run
        memset(&run, 0, sizeof(run))
        run.client = session.slot
        run.client_id = session.id
        run.commands = 1
        run.database = <uint16_t>call.database
        run.flags = call.flags
        run.resp = call.resp
        run.user = call.user
        session.state |= STATE_BLOCKED
        session.blocked = True
        self.executor.answers.serving.block(call, &run, LINK_PORT)
        return 0

    cdef int end_blocking(self, Session session, uint8_t action) except -1:
        self.executor.answers.serving.unblock(LINK_PORT, session.slot, 0, action)
        return 0

    cdef int cancel(self, Session session) except -1:
        self.executor.answers.serving.unblock(LINK_PORT, session.slot, 0, CANCEL_GONE)
        return 0

    def unblock(self, Session session not None, bint error):
        return self.executor.answers.serving.unblock(
            LINK_PORT, session.slot, 0, CANCEL_ERROR if error else CANCEL_TIMEOUT)

    cdef void _append_blob(self, Output *output) noexcept:
        """A stored blob is the payload of the reply: it goes out uncopied."""
        cdef Blob *blob = self.executor.runner.shard.blob
        cdef Block *block = block_new()
        self.executor.runner.shard.blob = NULL
        block.data = <char *>blob.data
        block.size = blob.length
        block.context[0] = <uint64_t><uintptr_t>blob
        block.release = release_blob_block
        block.ready = True
        output_append_block(output, block)
        buffer_append(&output.tail, b"\r\n", 2)
