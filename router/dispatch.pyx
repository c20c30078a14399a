"""Runs into batches, replies back to sessions; see dispatch.pxd and protocol/envelope.pxd.

What a worker must get right, and where: the order of one client's replies (the session's ring);
the order of one client's commands on one shard (one FIFO link, one batch); bounded bytes in flight per
client (session.pyx) and per shard (here); nothing from a dead incarnation of a shard (the epoch).
"""

import logging

from protocol.commands import F, Place
from protocol.errors import LOADING as LOADING_ERROR
from router.coordinator import EnvelopeError

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from actors.mailbox cimport (
    Link, Message, message_move_zmq, message_release, release_memory, zmq_message_close,
)
from protocol.buffer cimport Buffer, buffer_append, buffer_free
from protocol.envelope cimport (
    BULK_BYTES_MIN, CANCEL_ENDED, CANCEL_ERROR, CANCEL_GONE, CANCEL_TIMEOUT, MESSAGE_CANCEL, MESSAGE_CLAIM,
    MESSAGE_PUSH, MESSAGE_READ, MESSAGE_REPLIES, MESSAGE_RUNS, MESSAGE_TURN, PART_BLOCKED,
    PART_BULK, PART_DONE, PART_SLOW, PART_UNBLOCKED, READ_BYTES_MIN, RUN_ATOMIC, RUN_BULK,
    RUN_INTERNAL, RUN_PREPARE, RUN_TRANSACTION, TURN_END, TURN_PAUSE, CancelHeader, ClaimHeader,
    CommandHeader, PartHeader, PushHeader, ReadHeader, ReplyHeader, RequestHeader, RunHeader,
    TransactionHeader, TurnHeader, bulk_counted,
)
from protocol.native cimport likely, out_of_memory, unlikely
from protocol.reply cimport reply_error
from protocol.slots cimport key_slot
from protocol.table cimport KEYS_DECLARED, KEYS_RANGE, CommandSpec, NativeTable
from router.batches cimport Batches, ShardState
from router.coordinator cimport COORDINATED, Coordinator
from sessions.output cimport Block, Output, block_free, block_new, output_append_block
from sessions.queue cimport MANY_SHARDS, NO_SHARD, CommandQueue
from sessions.session cimport HOLD, STATE_BLOCKED, STATE_CLOSED, STATE_SHARD_FULL, TAKEN, Pending, Session

cdef enum:
    RUN_COMMANDS_MAX = 1024
    KEY_INDEXES_MAX = 1024              # more keys than this are looked at by the host, in Python
    BATCH_KEEP_BYTES = 1 << 20          # a larger empty batch buffer is given back
    BATCH_BYTES_HELD_MAX = 8192         # a smaller batch waits while the shard has a message unanswered

cdef int32_t ANY_SHARD = 0
cdef int32_t SEVERAL_SHARDS = -1
cdef uint32_t FLAG_WRITE = F.WRITE
cdef uint32_t FLAG_PROTECTED = F.PROTECTED
cdef uint8_t PLACE_SHARD = Place.SHARD.value
cdef uint8_t PLACE_FANOUT = Place.FANOUT.value
cdef uint32_t FLAG_BLOCKING = F.BLOCKING

logger = logging.getLogger("shardis")

cdef bytes LOADING = LOADING_ERROR
cdef const char *loading = LOADING
cdef size_t loading_length = len(LOADING)


cdef void release_zmq_block(void *block) noexcept nogil:
    zmq_message_close((<Block *>block).context)


cdef void release_malloc_block(void *block) noexcept nogil:
    free((<Block *>block).data)


cdef class WorkerDispatcher(Batches):
    """The Dispatcher of an I/O worker. `shard_count` is fixed for the life of the process."""

    def __cinit__(self, NativeTable table, int shard_count):
        self.headers = <CommandHeader *>calloc(RUN_COMMANDS_MAX, sizeof(CommandHeader))
        if self.headers == NULL:
            raise MemoryError
        self.coordinator = Coordinator(self)
        self.links = [None] * shard_count
        self.bulk_links = [None] * shard_count
        self.batch_bytes_held_max = BATCH_BYTES_HELD_MAX
        self.read_bytes_min = READ_BYTES_MIN
        self.run_shard = -1
        self.single = shard_count == 1
        self.cancels = [[] for _ in range(shard_count)]
        self.unblocking = {}
        self.blocks = {}
        self.early_bulks = {}
        self.scan_id = table.table["SCAN"].id if "SCAN" in table.table else -1

    def __dealloc__(self):
        free(self.headers)

    # -- topology

    def shard_up(self, int32_t shard, uint32_t epoch, Link link, Link bulk_link):
        """A new incarnation of the shard serves on these links."""
        self.links[shard] = link
        self.bulk_links[shard] = bulk_link
        self.shards[shard].epoch = epoch
        self.shards[shard].bulk_sent = 0
        self.shards[shard].bulk_received = 0
        self.shards[shard].messages_in_flight = 0
        self.shards[shard].bytes_read = 0
        self.shards[shard].due = True
        self.shards[shard].bulk_due = True
        self.shards[shard].up = True

    def shard_down(self, int32_t shard):
        """The shard has died. Its unanswered reads get LOADING; a client with an unanswered write
        on it is disconnected, as when redis-server dies. Returns the two links, for closing.
        """
        cdef Session session
        cdef Block *block
        cdef ShardState *state = &self.shards[shard]
        links = self.links[shard], self.bulk_links[shard]
        self.links[shard] = None
        self.bulk_links[shard] = None
        state.up = False
        state.batch.used = 0
        state.runs = 0
        self.cancels[shard].clear()
        for key in [key for key in self.early_bulks if key[0] == shard]:
            block_free(<Block *><uintptr_t>self.early_bulks.pop(key))
        for session in [session for session in self.sessions if session is not None]:
            self._settle(session, shard)
        self.coordinator.shard_down(shard)
        for key in [key for key in self.blocks if key[0] == shard]:
            # _settle has closed their sessions, and so made orphans of them.
            block = <Block *><uintptr_t>self.blocks.pop(key)
            if block.orphan:
                block_free(block)
            else:
                block.ready = True      # and empty; its session's, which has a driver that lingers
        state.bytes_in_flight = 0
        self._wake_full()
        self.coordinator.wake()
        return links

    cdef int _settle(self, Session session, int32_t shard) except -1:
        cdef uint32_t i, sequence
        cdef Pending *pending
        cdef bint lost
        cdef Output *output
        lost = self._waits_for_block(&session.output, shard)
        for i in range(session.tail - session.head):
            pending = &session.ring[(session.head + i) & (session.ring_size - 1)]
            if pending.shard == shard and not pending.done and pending.writes:
                lost = True
            elif self._waits_for_block(&pending.output, shard):
                lost = True
        if lost:
            session.abort()
        sequence = session.head
        while sequence != session.tail:
            pending = &session.ring[sequence & (session.ring_size - 1)]
            if pending.shard == shard and not pending.done:
                if not session.state & STATE_CLOSED:
                    output = session.output_for(sequence)
                    for i in range(pending.commands):
                        if session.pinned < 0:
                            self.counts.count_error(loading, loading_length)
                        if not pending.muted:
                            reply_error(&output.tail, loading, loading_length)
                session.complete_pending(sequence)
            sequence += 1
        return 0

    cdef bint _waits_for_block(self, const Output *output, int32_t shard) noexcept:
        """Whether a reply was begun whose large part this shard has yet to send."""
        cdef const Block *block = output.first
        while block != NULL:
            if not block.ready and block.shard == shard:
                return True
            block = block.next
        return False

    # -- requests

    cdef int32_t _place(self, Session session, const CommandSpec *spec, const char *raw,
                        uint32_t *key_offset, uint32_t *key_length, uint16_t *slot) noexcept:
        """The shard of a command, its first key and slot; SEVERAL_SHARDS when they differ."""
        cdef uint32_t argc = self.scan.argc
        cdef uint32_t first = 0, index
        cdef int32_t last, shard, found = 0
        cdef uint32_t indexes[KEY_INDEXES_MAX]
        cdef int32_t i
        key_offset[0] = 0
        key_length[0] = 0
        slot[0] = 0
        if likely(spec.key_mode == KEYS_RANGE):
            first = spec.key_first
            if first >= argc:
                return ANY_SHARD if session.pinned < 0 else session.pinned
        elif spec.key_mode == KEYS_DECLARED:
            found = self.table.key_indexes(spec.id, raw, self.scan.spans, argc, indexes, KEY_INDEXES_MAX)
            if found <= 0:
                return ANY_SHARD if session.pinned < 0 else session.pinned
            if found > KEY_INDEXES_MAX:
                return SEVERAL_SHARDS
            first = indexes[0]
        elif session.pinned >= 0:
            return session.pinned
        elif self.shard_count > 1 and (spec.route_at or spec.id == self.scan_id):
            return SEVERAL_SHARDS       # the host decides, by the arguments
        else:
            return ANY_SHARD
        key_offset[0] = <uint32_t>self.scan.spans[first].offset
        key_length[0] = <uint32_t>self.scan.spans[first].length
        slot[0] = <uint16_t>key_slot(raw + key_offset[0], key_length[0])
        if unlikely(session.pinned >= 0):
            return session.pinned
        shard = self.owner[slot[0]]
        if likely(spec.key_last == spec.key_first and spec.key_mode == KEYS_RANGE) or self.shard_count == 1:
            return shard
        if spec.key_mode == KEYS_DECLARED:
            if spec.incomplete and argc > 2:
                return SEVERAL_SHARDS
            for i in range(1, found):
                index = indexes[i]
                if self.owner[key_slot(raw + self.scan.spans[index].offset, self.scan.spans[index].length)] != shard:
                    return SEVERAL_SHARDS
            return shard
        last = spec.key_last if spec.key_last >= 0 else <int32_t>argc + spec.key_last
        index = first + spec.key_step
        while <int32_t>index <= last and index < argc:
            if self.owner[key_slot(raw + self.scan.spans[index].offset, self.scan.spans[index].length)] != shard:
                return SEVERAL_SHARDS
            index += spec.key_step
        return shard

    cdef int submit(self, Session session, const CommandSpec *spec, const char *raw, size_t length) except -1:
        cdef CommandHeader *header
        cdef CommandHeader single
        cdef uint32_t key_offset, key_length
        cdef uint16_t slot
        cdef int32_t shard = self._place(session, spec, raw, &key_offset, &key_length, &slot)
        if unlikely(spec.flags & FLAG_BLOCKING) and session.pinned < 0 and self.may_block(spec, raw):
            single.length = <uint32_t>length
            single.key_offset = key_offset
            single.key_length = key_length
            single.id = spec.id
            single.slot = slot
            return self._submit_blocking(session, shard, spec, raw, length, &single)
        if unlikely(shard != self.run_shard or raw != self.run_end or self.run_count == RUN_COMMANDS_MAX
                    or length > BULK_BYTES_MIN):
            self.finish(session)
            if unlikely(shard < 0):
                return self.coordinator.begin(session, spec, raw)
            if unlikely(self.strict_order and session.pinned < 0 and self._elsewhere(session, shard)):
                return HOLD
            if unlikely(not self.shards[shard].up):
                self.unreachable += 1
                session._refuse(spec.id, LOADING)
                return TAKEN
            if unlikely(length > BULK_BYTES_MIN):
                single.length = <uint32_t>length
                single.key_offset = key_offset
                single.key_length = key_length
                single.id = spec.id
                single.slot = slot
                self._submit_bulk(session, shard, spec, raw, length, &single)
                return TAKEN
            self.run_shard = shard
            self.run_start = raw
            self.run_writes = False
        header = &self.headers[self.run_count]
        self.run_count += 1
        header.length = <uint32_t>length
        header.key_offset = key_offset
        header.key_length = key_length
        header.id = spec.id
        header.slot = slot
        self.run_writes |= (spec.flags & FLAG_WRITE) != 0
        self.run_end = raw + length
        return TAKEN

    # -- MULTI

    cdef int queue(self, Session session, const CommandSpec *spec, const char *raw, size_t length) except -1:
        cdef CommandQueue queue = session.waiting
        cdef CommandHeader header
        cdef int32_t shard
        cdef uint32_t key_offset = 0, key_length = 0
        cdef uint16_t slot = 0
        if spec.place == PLACE_SHARD or (
            spec.place == PLACE_FANOUT and self.single and not spec.flags & FLAG_PROTECTED
        ):
            shard = self._place(session, spec, raw, &key_offset, &key_length, &slot)
            if shard < 0:
                queue.mixed = True
            elif key_offset:
                if unlikely(not self.shards[shard].up):
                    self.unreachable += 1
                    session._refuse(spec.id, LOADING)
                    return HOLD
                queue.note_shard(shard)
        else:
            queue.mixed = True
        header.length = <uint32_t>length
        header.key_offset = key_offset
        header.key_length = key_length
        header.id = spec.id
        header.slot = slot
        queue.add(&header, raw, spec.flags, self._argument_bytes())
        return TAKEN

    cdef size_t _argument_bytes(self) noexcept:
        """What Redis counts for the scanned command in a client's queue."""
        cdef uint32_t i
        cdef size_t total = self.scan.argc * sizeof(void *)
        for i in range(self.scan.argc):
            total += self.scan.spans[i].length
        return total

    cdef int submit_exec(self, Session session, const char *raw) except -1:
        """An EXEC whose keys, and what it watches, are all in one shard is a run of its own."""
        cdef CommandQueue queue = session.waiting
        cdef int32_t shard = queue.shard
        cdef int submitted
        if queue.mixed:
            return HOLD
        if shard == MANY_SHARDS:
            if session.watched:
                return HOLD
            submitted = self.coordinator.begin_exec(session, queue, <uint16_t>self.exec_id)
            if submitted == TAKEN:
                session.end_multi()
            return submitted
        if session.watched:
            homes = set(session.watched.values())
            if shard == NO_SHARD:
                shard = next(iter(homes))
            if homes != {shard}:
                return HOLD
        if shard == NO_SHARD:
            if queue.count == 0:
                session.end_multi()
                session.reply_here(b"*0\r\n", 4)
                return TAKEN
            shard = ANY_SHARD
        if self.strict_order and self._elsewhere(session, shard):
            return HOLD
        if not self.shards[shard].up:
            self.unreachable += 1
            session._refuse(self.exec_id, LOADING)
            return TAKEN
        self._append_queue(session, shard, queue, session.run_flags | RUN_ATOMIC, 1)
        if session.watched:
            session.watched.clear()         # the shard forgets them, too
        session.end_multi()
        return TAKEN

    def send_run(self, Session session not None, list commands not None):
        """Send commands of an internal session as one run, however many and large they are.

        What it scans is cut into runs instead: a transaction's part must not be. O(bytes)
        """
        cdef CommandQueue queue = CommandQueue.__new__(CommandQueue)
        cdef CommandHeader header
        cdef int32_t shard = session.pinned
        cdef bytes raw
        for args in commands:
            id = self.table.lookup_list(args)
            if id < 0:
                raise ValueError(f"unknown command {args[0]!r}")
            if not self.shards[shard].up:
                self.unreachable += 1
                session._refuse(id, LOADING)
                continue
            words = [b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args]
            head = b"*%d\r\n" % len(args)
            raw = head + b"".join(words)
            memset(&header, 0, sizeof(header))
            positions = self.table.keys(id, args)
            if positions:
                at = positions[0]
                header.key_length = len(args[at])
                header.key_offset = (
                    len(head) + sum(map(len, words[:at])) + len(words[at]) - len(args[at]) - 2)
                header.slot = <uint16_t>key_slot(
                    PyBytes_AS_STRING(raw) + header.key_offset, header.key_length)
            header.id = id
            header.length = <uint32_t>len(raw)
            queue.add(&header, PyBytes_AS_STRING(raw), self.table.specs[<uint32_t>id].flags, 0)
        if queue.count:
            self._append_queue(session, shard, queue, session.run_flags, queue.count)

    cdef int _append_queue(self, Session session, int32_t shard, CommandQueue queue, uint16_t flags,
                           uint32_t replies) except -1:
        cdef ShardState *state = &self.shards[shard]
        cdef size_t size = queue.raw.used
        cdef size_t counted = size
        cdef const CommandHeader *headers = <const CommandHeader *>queue.headers.data
        if likely(size <= BULK_BYTES_MIN):
            self._append_run(session, shard, queue.count, headers, queue.raw.data, size, flags, 0)
        else:
            state.bulk_sent += 1
            (<Link>self.bulk_links[shard]).send_owned(queue.raw.data, size, release_memory, queue.raw.data)
            memset(&queue.raw, 0, sizeof(Buffer))
            state.bulk_due = True
            self._append_run(
                session, shard, queue.count, headers, NULL, 0, flags | RUN_BULK, state.bulk_sent)
            counted = bulk_counted(size)
            state.bytes_in_flight += counted
        session.open_pending(
            shard, replies, <uint32_t>counted, queue.flags & FLAG_WRITE and not flags & RUN_PREPARE)
        if unlikely(state.bytes_in_flight > self.shard_bytes_max):
            self._hold_back(session, shard)
        return 0

    cdef int unwatch(self, Session session) except -1:
        for shard in set(session.watched.values()):
            self.host.unwatch(session, shard)
        return 0

    cdef int _submit_blocking(self, Session session, int32_t shard, const CommandSpec *spec, const char *raw,
                              size_t length, const CommandHeader *header) except -1:
        """A command that may wait is a run of its own, and the session's last one until it is answered."""
        cdef Pending *pending
        self.finish(session)
        if shard < 0 or (self.strict_order and self._elsewhere(session, shard)):
            return HOLD
        if not self.shards[shard].up:
            self.unreachable += 1
            session._refuse(spec.id, LOADING)
            return TAKEN
        if length > BULK_BYTES_MIN:
            self._submit_bulk(session, shard, spec, raw, length, header)
        else:
            self._append_run(session, shard, 1, header, raw, length, session.run_flags, 0)
            session.open_pending(shard, 1, <uint32_t>length, True)
        pending = &session.ring[(session.tail - 1) & (session.ring_size - 1)]
        pending.writes = True       # a client that waits on a shard that dies is disconnected
        session.state |= STATE_BLOCKED
        if unlikely(session.input_ended):
            self.end_blocking(session, CANCEL_ENDED)
        return TAKEN

    cdef bint _elsewhere(self, Session session, int32_t shard) noexcept:
        """Whether the session's last command has gone to another shard, and is unanswered."""
        return (
            session.head != session.tail
            and session.ring[(session.tail - 1) & (session.ring_size - 1)].shard != shard
        )

    cdef int finish(self, Session session) except -1:
        """Close the open run: copy it into its shard's batch."""
        if self.run_shard < 0:
            return 0
        self._append_run(
            session, self.run_shard, self.run_count, self.headers, self.run_start,
            self.run_end - self.run_start, session.run_flags, 0,
        )
        session.open_pending(
            self.run_shard, self.run_count, <uint32_t>(self.run_end - self.run_start),
            self.run_writes and not session.run_flags & RUN_PREPARE     # which is only kept
        )
        if unlikely(self.shards[self.run_shard].bytes_in_flight > self.shard_bytes_max):
            self._hold_back(session, self.run_shard)
        self.run_shard = -1
        self.run_count = 0
        self.run_end = NULL
        return 0

    cdef int _append_run(self, Session session, int32_t shard, uint32_t count, const CommandHeader *headers,
                         const char *raw, size_t bytes, uint16_t flags, uint32_t bulk) except -1:
        cdef RunHeader run
        cdef TransactionHeader label
        memset(&run, 0, sizeof(run))
        run.client = session.slot
        run.sequence = session.tail
        run.bytes = <uint32_t>bytes
        run.bulk = bulk
        run.map_version = self.map_version
        run.client_id = session.id
        run.commands = count
        run.database = <uint16_t>session.database
        run.resp = <uint8_t>session.resp
        run.flags = flags
        if unlikely(flags & RUN_ATOMIC and session.watched is not None):
            run.watches = len(session.watched) != 0
        if unlikely(session.pinned >= 0):
            run.flags |= RUN_INTERNAL
            if session.transaction is not None:
                run.flags |= RUN_TRANSACTION
                label.id, label.number, label.time_ms = session.transaction
        return self.append(shard, &run, &label, headers, raw)

    cdef int _submit_bulk(self, Session session, int32_t shard, const CommandSpec *spec, const char *raw,
                          size_t length, const CommandHeader *header) except -1:
        """One large command: its bytes go by the bulk link, uncopied if they fill the session's buffer."""
        cdef ShardState *state = &self.shards[shard]
        cdef char *memory = session.detach_input(raw, length)
        cdef char *copy
        cdef Link link = self.bulk_links[shard]
        if memory == NULL:
            copy = <char *>malloc(length)
            if copy == NULL:
                out_of_memory(length)
            memcpy(copy, raw, length)
            raw = copy
            memory = copy
        state.bulk_sent += 1
        link.send_owned(<char *>raw, length, release_memory, memory)
        state.bulk_due = True
        self._append_run(session, shard, 1, header, NULL, 0, session.run_flags | RUN_BULK, state.bulk_sent)
        state.bytes_in_flight += bulk_counted(length)
        session.open_pending(
            shard, 1, <uint32_t>bulk_counted(length),
            spec.flags & FLAG_WRITE and not session.run_flags & RUN_PREPARE
        )
        if unlikely(state.bytes_in_flight > self.shard_bytes_max):
            self._hold_back(session, shard)
        return 0

    cdef bint _wake_full(self) except -1:
        """Let sessions go on whose shard has room again; whether there were any."""
        cdef Session session
        cdef list waiting = self.full
        cdef bint woken = False
        if not waiting:
            return False
        self.full = []
        for session, shard in waiting:
            if self.shards[<int32_t>shard].bytes_in_flight > self.shard_bytes_max // 2:
                self.full.append((session, shard))
                continue
            woken = True
            session.state &= ~STATE_SHARD_FULL
            session.resume()
        return woken

    cdef bint flush(self) except -1:
        """Send the shards their batches; whether there was any to send. Then `receive` is due, as sending can
        eat a wake-up (see actors.mailbox, rule 4).
        """
        cdef bint sent = False
        cdef int32_t i
        cdef ShardState *state
        cdef RequestHeader *header
        for i in range(self.shard_count):
            state = &self.shards[i]
            if state.batch.used == 0:
                if unlikely(len(self.cancels[i]) > 0):
                    self._send_cancels(i)
                    sent = True
                continue
            if state.messages_in_flight and state.batch.used < self.batch_bytes_held_max:
                # It goes when the answer is here, with what comes until then: a message costs tens of
                # microseconds in both processes, a command in it a fraction of one.
                continue
            header = <RequestHeader *>state.batch.data
            header.kind = MESSAGE_RUNS
            header.epoch = state.epoch
            header.runs = state.runs
            (<Link>self.links[i]).send(state.batch.data, state.batch.used)
            sent = True
            state.due = True
            state.messages += 1
            state.messages_in_flight += 1
            state.runs = 0
            state.batch.used = 0
            if state.batch.size > BATCH_KEEP_BYTES:
                buffer_free(&state.batch)
            if unlikely(len(self.cancels[i]) > 0):
                self._send_cancels(i)
        return sent

    cdef int end_blocking(self, Session session, uint8_t action) except -1:
        cdef const Pending *pending
        if session.head == session.tail:
            self.host.input_ended(session)
            return 0
        pending = &session.ring[(session.tail - 1) & (session.ring_size - 1)]
        if pending.shard >= 0 and not pending.done and self.shards[pending.shard].up:
            self.cancels[pending.shard].append((session.slot, action, session.tail - 1))
        return 0

    def unblock(self, Session session not None, bint error):
        if session.waits_for_keys:
            return self.host.unblock(session, error)
        if not session.blocked:
            return False
        future = self.host.loop.create_future()
        self.unblocking.setdefault(session.slot, []).append(future)
        self.end_blocking(session, CANCEL_ERROR if error else CANCEL_TIMEOUT)
        self.host.schedule_flush()
        return future

    cdef int _settle_unblocking(self, Session session, bint done) except -1:
        """Tell who has asked whether CLIENT UNBLOCK was what has ended a command."""
        for future in self.unblocking.pop(session.slot, ()):
            if not future.done():
                future.set_result(bool(done))
                done = False
        return 0

    cdef int cancel(self, Session session) except -1:
        """Tell the shards that a client has gone, after what it has sent them. O(runs under way)"""
        cdef uint32_t i
        cdef Pending *pending
        if session.pinned >= 0:
            return 0
        shards = set()
        for i in range(session.tail - session.head):
            pending = &session.ring[(session.head + i) & (session.ring_size - 1)]
            if pending.shard >= 0 and not pending.done and self.shards[pending.shard].up:
                shards.add(pending.shard)
        for shard in shards:
            self.cancels[shard].append((session.slot, CANCEL_GONE, 0))
        if self.unblocking:
            self._settle_unblocking(session, False)
        return 0

    cdef int _send_cancels(self, int32_t shard) except -1:
        cdef CancelHeader header
        cdef list cancels = self.cancels[shard]
        cdef Session session
        memset(&header, 0, sizeof(header))
        header.kind = MESSAGE_CANCEL
        header.epoch = self.shards[shard].epoch
        for slot, action, sequence in cancels:
            if self.slots[<uint32_t>slot] == NULL:
                continue
            session = <Session>self.slots[<uint32_t>slot]
            if session.state & (STATE_CLOSED if action == CANCEL_GONE else STATE_BLOCKED):
                header.client = <uint32_t>slot
                header.action = action
                header.sequence = sequence
                (<Link>self.links[shard]).send(<const char *>&header, sizeof(header))
                self.shards[shard].due = True
        cancels.clear()
        return 0

    def post(self):
        """`flush`, for drivers in Python."""
        self.flush()

    def wake(self, int32_t shard, bint bulk):
        """The file descriptor of a shard's link has become readable."""
        if bulk:
            self.shards[shard].bulk_due = True
        else:
            self.shards[shard].due = True

    def collect(self):
        """Take what the shards have sent, without waiting for wake-ups; for drivers in Python."""
        for shard in range(self.shard_count):
            self.wake(shard, False)
            self.wake(shard, True)
        self.receive()

    cdef int receive(self) except -1:
        """Take what has come on the links that are due; batches that this lets go are sent, too.

        Only those: asking a link that has nothing costs system calls (four inside libzmq).

        What the shards hold back until they hear that this was read is for the next call, which is due
        then: the clients' output, and its limits, are looked at in between.
        """
        cdef int32_t i
        cdef Message message
        cdef Link link
        cdef ShardState *state
        cdef bint more = True
        broken = None
        self.receive_due = False
        while more:
            for i in range(self.shard_count):
                state = &self.shards[i]
                if not state.up:
                    continue
                if unlikely(state.bulk_due):
                    state.bulk_due = False
                    link = self.bulk_links[i]
                    self._receive_bulk(i, link)
                if state.due:
                    state.due = False
                    link = self.links[i]
                    while link.receive(&message):
                        state.bytes_read += message.size
                        try:
                            self._demux(i, message.data, message.size)
                        except EnvelopeError as error:
                            broken = error
                        finally:
                            message_release(&message)
                        if unlikely(broken is not None):
                            logger.error("Shard %d is left, as what it sends can't be right: %s", i, broken)
                            broken = None
                            self.host.link_broken(i)
                            break
            self._wake_full()
            self.coordinator.wake()
            more = self.flush()
        self._report_read()
        return 0

    cdef int _report_read(self) except -1:
        """Tell the shards what has been read of their replies, where that is much."""
        cdef int32_t i
        cdef ReadHeader header
        cdef ShardState *state
        for i in range(self.shard_count):
            state = &self.shards[i]
            if likely(state.bytes_read < self.read_bytes_min) or not state.up or state.bytes_read == 0:
                continue
            memset(&header, 0, sizeof(header))
            header.kind = MESSAGE_READ
            header.epoch = state.epoch
            header.bytes = state.bytes_read
            state.bytes_read = 0
            (<Link>self.links[i]).send(<const char *>&header, sizeof(header))
            state.due = True
            self.receive_due = True
        return 0

    cdef int _demux(self, int32_t shard, const char *data, size_t n) except -1:
        cdef ShardState *state = &self.shards[shard]
        cdef const char *end = data + n
        cdef ReplyHeader header
        cdef PartHeader part
        cdef Pending *pending
        cdef Output *output
        cdef Session session
        if unlikely(<uint8_t>data[0] == MESSAGE_PUSH):
            return self._take_push(shard, data, n)
        if unlikely(<uint8_t>data[0] == MESSAGE_CLAIM):
            return self._take_claim(shard, data, n)
        if unlikely(n < sizeof(ReplyHeader)):
            raise EnvelopeError(f"a message of {n} bytes")
        memcpy(&header, data, sizeof(ReplyHeader))
        if header.epoch != state.epoch or header.kind != MESSAGE_REPLIES:
            return 0
        state.messages_in_flight -= min(state.messages_in_flight, <uint32_t>header.messages)
        state.durable = header.durable
        data += sizeof(ReplyHeader)
        while data < end:
            if unlikely(<size_t>(end - data) < sizeof(PartHeader)):
                raise EnvelopeError("a part that is cut off")
            memcpy(&part, data, sizeof(PartHeader))
            data += sizeof(PartHeader)
            if unlikely(part.bytes > <size_t>(end - data)):
                raise EnvelopeError("a part that is longer than its message")
            if unlikely(part.client >= self.slots_size or self.slots[part.client] == NULL):
                self.coordinator.take(shard, &part, data)
                if unlikely(part.flags & PART_BULK):
                    output = self.coordinator.expect_block(part.client, shard)
                    if self._append_block(part.client, output, shard, part.bulk):
                        self.coordinator.take_block(part.client, shard)
                data += part.bytes
                continue
            session = <Session>self.slots[part.client]
            if unlikely(part.sequence - session.head >= session.tail - session.head):
                raise EnvelopeError(f"it answers run {part.sequence}, which is not open")
            pending = &session.ring[part.sequence & (session.ring_size - 1)]
            if unlikely(pending.shard != shard or pending.done or part.commands > pending.commands):
                raise EnvelopeError(f"it answers run {part.sequence}, which is not its own to answer so")
            if likely(not session.state & STATE_CLOSED):
                output = session.output_for(part.sequence)
                buffer_append(&output.tail, data, part.bytes)
            data += part.bytes
            if unlikely(part.flags):
                if part.flags & PART_SLOW and session.pinned < 0:
                    self.host.note_slow_client(session)
                if part.flags & PART_UNBLOCKED:
                    self._settle_unblocking(session, True)
                if part.flags & PART_BULK:
                    output = NULL if session.state & STATE_CLOSED else session.output_for(part.sequence)
                    self._append_block(session.slot, output, shard, part.bulk)
                    pending.writes = True   # a reply that has begun can't become an error any more
            pending.commands -= part.commands
            if likely(part.status == PART_DONE):
                state.bytes_in_flight -= pending.bytes
                if unlikely(session.blocked) and self.unblocking:
                    self._settle_unblocking(session, False)
                session.complete_pending(part.sequence)
            elif part.status == PART_BLOCKED:
                # It may wait for long, and nobody has to wait for room because of it.
                session.blocked = not session.state & STATE_CLOSED
                state.bytes_in_flight -= pending.bytes
                session.bytes_in_flight -= pending.bytes
                pending.bytes = 0
        return 0

    cdef int _take_push(self, int32_t shard, const char *data, size_t n) except -1:
        """Bytes for a client's output: after what this shard has answered it, and between two replies."""
        cdef PushHeader header
        cdef Session session
        cdef Pending *pending
        cdef uint32_t sequence
        if unlikely(n < sizeof(PushHeader)):
            raise EnvelopeError(f"a push of {n} bytes")
        memcpy(&header, data, sizeof(PushHeader))
        if header.epoch != self.shards[shard].epoch:
            return 0
        if unlikely(header.bytes != n - sizeof(PushHeader)):
            raise EnvelopeError("a push that is longer than its message")
        if header.client >= self.slots_size or self.slots[header.client] == NULL:
            return 0
        session = <Session>self.slots[header.client]
        if session.id != header.client_id or session.state & STATE_CLOSED:
            return 0
        sequence = session.tail
        while sequence != session.head:
            pending = &session.ring[(sequence - 1) & (session.ring_size - 1)]
            if pending.shard == COORDINATED:
                break               # it may hold an answer of this shard by now
            if pending.shard == shard and (pending.output.first != NULL or pending.output.tail.used or pending.done):
                break
            sequence -= 1
        # Of a place before the head, all has been let out: the session's output, as for the head.
        buffer_append(
            &session.output_for(session.head if sequence == session.head else sequence - 1).tail,
            data + sizeof(PushHeader), header.bytes,
        )
        return 0

    cdef int _take_claim(self, int32_t shard, const char *data, size_t n) except -1:
        """A shard has locked keys for a command that waits for them."""
        cdef ClaimHeader header
        if unlikely(n != sizeof(ClaimHeader)):
            raise EnvelopeError(f"a claim of {n} bytes")
        memcpy(&header, data, sizeof(ClaimHeader))
        if header.epoch == self.shards[shard].epoch:
            self.host.claimed(shard, header.id)
        return 0

    def send_turn(self, int32_t shard, uint64_t id, bint ends):
        """Tell a shard that a command that waits wants no turn there now, or never again."""
        cdef TurnHeader header
        if not self.shards[shard].up:
            return
        memset(&header, 0, sizeof(header))
        header.kind = MESSAGE_TURN
        header.action = TURN_END if ends else TURN_PAUSE
        header.epoch = self.shards[shard].epoch
        header.id = id
        (<Link>self.links[shard]).send(<const char *>&header, sizeof(header))
        self.shards[shard].due = True
        self.host.schedule_flush()

    cdef bint _append_block(self, uint32_t slot, Output *output, int32_t shard, uint32_t bulk) except -1:
        """The large reply `bulk` is due in an output, or in none; whether it has come already."""
        cdef Block *block
        cdef bint ready
        early = self.early_bulks.pop((shard, bulk), None)
        if early is not None:
            block = <Block *><uintptr_t>early
        else:
            block = block_new()
            self.blocks[shard, bulk] = <uintptr_t>block
        block.slot = slot
        block.shard = shard
        ready = block.ready
        if output == NULL:
            if ready:
                block_free(block)
            else:
                block.orphan = True
        else:
            output_append_block(output, block)
        return ready

    cdef int _receive_bulk(self, int32_t shard, Link link) except -1:
        cdef Message message
        cdef Block *block
        cdef Session session
        while link.receive(&message):
            self.shards[shard].bulk_received += 1
            self.shards[shard].bytes_read += bulk_counted(message.size)
            key = shard, self.shards[shard].bulk_received
            waiting = self.blocks.pop(key, None)
            block = block_new() if waiting is None else <Block *><uintptr_t>waiting
            block.size = message.size
            if message.holder == NULL:
                block.data = <char *>message.data
                message_move_zmq(&message, block.context)
                block.release = release_zmq_block
            else:
                block.data = <char *>malloc(message.size if message.size else 1)
                if block.data == NULL:
                    out_of_memory(message.size)
                memcpy(block.data, message.data, message.size)
                block.release = release_malloc_block
                message_release(&message)
            block.ready = True
            if waiting is None:
                self.early_bulks[key] = <uintptr_t>block
            elif block.orphan:
                block_free(block)
            elif unlikely(self.slots[block.slot] == NULL):
                self.coordinator.take_block(block.slot, shard)
            else:
                session = <Session>self.slots[block.slot]
                session.mark_dirty()
        return 0

    def statistics(self):
        """Messages and commands sent to each shard, bytes in flight."""
        return [
            {
                "messages": self.shards[i].messages,
                "commands": self.shards[i].commands,
                "bytes_in_flight": self.shards[i].bytes_in_flight,
            }
            for i in range(self.shard_count)
        ]
