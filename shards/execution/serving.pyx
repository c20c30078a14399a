"""Waiters run again, timed out and dropped; see serving.pxd."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from actors.mailbox cimport Message

from protocol.buffer cimport Buffer, buffer_append, buffer_free
from protocol.envelope cimport (
    CANCEL_ERROR, CANCEL_GONE, CANCEL_TIMEOUT, RUN_REPLY_OFF, CommandHeader, RunHeader,
)
from protocol.native cimport unlikely
from protocol.reply cimport reply_error, reply_null_array
from protocol.slots cimport key_slot
from sessions.session cimport Session
from shards.execution.blocking cimport (
    LINK_PORT, Blocking, KeyQueue, Place, Waiter, blocking_add, blocking_deadline, blocking_done,
    blocking_expired, blocking_find, blocking_is_due, blocking_note, blocking_note_all, blocking_pin, blocking_queue,
    blocking_queue_of, blocking_ready_next,
    blocking_remove, claim_owner, key_of, places_of, raw_of, waiter_free, waiter_new,
)
from shards.execution.locks cimport Locks, Ticket
from shards.execution.runner cimport RAN_BLOB, RAN_BLOCKED, RAN_UNBLOCKED, Call, Runner
from shards.keyspace.entry cimport TYPE_LIST, TYPE_STREAM, TYPE_ZSET, Entry, entry_type
from shards.keyspace.keyspace cimport Key, blob_release, store_hash
from shards.keyspace.store cimport store_find, store_is_expired
from shards.lane.handler cimport WANTS_LIST, WANTS_ZSET, Argv

cdef enum:
    REPLY_KEEP_BYTES = 65536

cdef bytes UNBLOCKED = b"UNBLOCKED client unblocked via CLIENT UNBLOCK"


cdef class Answerer:
    cdef void parse_command(self, const char *raw, const CommandHeader *header, Argv *argv) noexcept:
        pass

    cdef int answer(self, uint32_t link, const RunHeader *run, const Buffer *reply, int ran) except -1:
        raise NotImplementedError


cdef class TicketOffice:
    cdef Ticket wait_for_keys(self, const CommandHeader *header, const Key *key, const char *raw,
                              object owner, Ticket ending):
        raise NotImplementedError

    cdef int release_ticket(self, Ticket ticket) except -1:
        raise NotImplementedError

    cdef bint lock_for(self, list keys, object owner, Ticket ending) except -1:
        raise NotImplementedError

    cdef int begin_claim(self, uint64_t id, uint32_t link, uint32_t database, list keys, Ticket ticket) except -1:
        raise NotImplementedError

    cdef int end_claim(self, uint64_t id) except -1:
        raise NotImplementedError

    cdef bint has_transaction(self, uint64_t id) except -1:
        raise NotImplementedError


cdef bytes as_resp(list args):
    return b"*%d\r\n" % len(args) + b"".join([b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args])


@cython.final
cdef class Serving:
    def __cinit__(self, Runner runner not None, Answerer answerer not None):
        self.runner = runner
        self.answerer = answerer
        self.blocking = Blocking(runner.keyspace)
        self.table = &self.blocking.table
        self.tickets = {}
        self.answered = []

    def __dealloc__(self):
        buffer_free(&self.reply)

    cdef int block(self, const Call *call, const RunHeader *run, uint32_t link) except -1:
        cdef list args = self.runner.waiting
        cdef bytes changed
        cdef Waiter *waiter
        cdef Argv argv
        cdef uint32_t i
        cdef uint32_t first = self.runner.shard.block.first, end = self.runner.shard.block.end
        self.runner.waiting = None
        if args is None:
            waiter = waiter_new(end - first, call.argv.raw, call.argv.raw_length)
        else:
            changed = as_resp(args)
            waiter = waiter_new(end - first, PyBytes_AS_STRING(changed), PyBytes_GET_SIZE(changed))
        waiter.run = run[0]
        waiter.owner = <uint64_t>link << 32 | run.client
        waiter.link = link
        waiter.wants = self.runner.shard.block.wants
        waiter.on_removal = self.runner.shard.block.on_removal
        waiter.deadline_ms = self.runner.shard.block.deadline_ms
        waiter.session = call.session if link == LINK_PORT else NULL
        waiter.command.id = call.id
        # A copy may be elsewhere than the arguments that the call has.
        self.answerer.parse_command(raw_of(waiter), &waiter.command, &argv)
        waiter.command.key_offset = <uint32_t>(argv.args[first].data - raw_of(waiter))
        waiter.command.key_length = <uint32_t>argv.args[first].length
        waiter.command.slot = <uint16_t>key_slot(argv.args[first].data, argv.args[first].length)
        for i in range(first, end):
            blocking_queue(self.table, waiter, argv.args[i].data, argv.args[i].length)
        blocking_add(self.table, waiter)
        if waiter.timer == 1:
            self._announce()
        return 0

    cdef int _announce(self) except -1:
        """The earliest deadline is another one: somebody has to wake up for it."""
        cdef int64_t deadline = blocking_deadline(self.table)
        if self.on_deadline is not None and (self.announced_ms == 0 or deadline < self.announced_ms):
            self.announced_ms = deadline
            self.on_deadline()
        return 0

    # -- ready keys

    cdef int serve(self, Ticket ending) except -1:
        cdef KeyQueue *queue
        cdef Message *adopt
        if self.serves:
            return 0            # what is noted meanwhile comes after what is being served
        adopt = self.runner.shard.adopt
        self.runner.shard.adopt = NULL
        self.serves = True
        self.ending = ending
        try:
            while blocking_is_due(self.table):
                queue = blocking_ready_next(self.table)
                try:
                    self._serve_queue(queue, NULL)
                finally:
                    blocking_done(self.table, queue)
        finally:
            self.serves = False
            self.ending = None
            self.runner.shard.adopt = adopt
        return 0

    cdef int _serve_queue(self, KeyQueue *queue, const Waiter *skipped) except -1:
        cdef uint32_t left = queue.waiters      # not those who come anew
        cdef Place *place = queue.first
        cdef Place *following
        while place != NULL and left:
            left -= 1
            following = place.next
            if place.waiter != skipped and self._may_run(queue, place.waiter) and not self._try(place.waiter):
                break           # it has its turn, and the others have theirs after it
            place = following
        return 0

    cdef int serve_rest(self, uint64_t transaction, uint32_t database, list keys, Ticket ending) except -1:
        """A worker lets its keys go: serve who waits for them after it."""
        cdef Waiter *waiter = blocking_find(self.table, claim_owner(transaction))
        cdef KeyQueue *queue
        cdef Key key
        cdef bint serves = self.serves
        if waiter != NULL:
            waiter.claimed = False
        self.serves = True
        self.ending = ending
        try:
            for name in keys:
                self._key_named(name, &key)
                queue = blocking_queue_of(self.table, database, &key)
                if queue == NULL:
                    continue
                blocking_pin(queue)
                try:
                    self._serve_queue(queue, blocking_find(self.table, claim_owner(transaction)))
                finally:
                    blocking_done(self.table, queue)
        finally:
            self.serves = serves
            self.ending = None
        return self.serve(ending)

    cdef void _key_named(self, bytes name, Key *key):
        key.data = PyBytes_AS_STRING(name)
        key.length = PyBytes_GET_SIZE(name)
        key.hash = store_hash(self.table.store, key.data, key.length)

    cdef bint _may_run(self, const KeyQueue *queue, const Waiter *waiter) noexcept:
        """Whether the key is of the type that is waited for."""
        cdef Key key
        cdef Entry *entry
        if waiter.paused:
            return False
        if waiter.on_removal:
            return True
        key.data = key_of(queue)
        key.length = queue.length
        key.hash = queue.hash
        key.slot = key_slot(key.data, key.length)
        key.database = self.table.store.physical[queue.database]
        entry = store_find(self.table.store, &key)
        if entry == NULL or store_is_expired(self.table.store, entry):
            return False
        if waiter.wants == WANTS_LIST:
            return entry_type(entry) == TYPE_LIST
        if waiter.wants == WANTS_ZSET:
            return entry_type(entry) == TYPE_ZSET
        return entry_type(entry) == TYPE_STREAM

    cdef void _key_of(self, Waiter *waiter, Key *key) noexcept:
        """The first key of a waiter's command."""
        key.data = raw_of(waiter) + waiter.command.key_offset
        key.length = waiter.command.key_length
        key.slot = waiter.command.slot
        key.database = self.table.store.physical[waiter.run.database]
        key.hash = store_hash(self.table.store, key.data, key.length)

    cdef bint _try(self, Waiter *waiter) except -1:
        """Run a waiter, now or when it has the keys that are locked; whether that is done."""
        cdef Key key
        cdef Ticket ticket
        cdef uint64_t owner = waiter.owner
        if waiter.transaction:
            return self._claim(waiter)
        if unlikely(len(self.tickets) > 0) and owner in self.tickets:
            return False
        self._key_of(waiter, &key)
        ticket = self.office.wait_for_keys(
            &waiter.command, &key, raw_of(waiter), lambda granted: self._granted(owner, granted), self.ending
        ) if self.locks is not None and unlikely(self.locks.tickets != 0) else None
        if ticket is None:
            self._run(waiter)
            return True
        self.tickets[owner] = ticket
        return False

    def _granted(self, uint64_t owner, Ticket ticket):
        """A waiter holds what it needs."""
        cdef Waiter *waiter = blocking_find(self.table, owner)
        if self.tickets.get(owner) is not ticket:
            return
        del self.tickets[owner]
        self.runner.start_batch()
        blocking_note_all(self.table, waiter)       # for those after it
        self._run(waiter)
        self.serve(ticket)
        self.office.release_ticket(ticket)

    cdef bint _claim(self, Waiter *waiter) except -1:
        """Lock the keys of a worker's waiter for it; it has its turn once that is done."""
        cdef Place *place = places_of(waiter)
        cdef uint64_t id = waiter.transaction
        cdef uint32_t link = waiter.link, database = waiter.run.database, i
        cdef list keys
        if waiter.claimed or self.office.has_transaction(id):
            return False
        keys = [
            PyBytes_FromStringAndSize(key_of(place[i].queue), place[i].queue.length)
            for i in range(waiter.count) if place[i].queue != NULL
        ]
        waiter.claimed = True
        self.office.lock_for(
            keys, lambda ticket: self._claim_granted(id, link, database, keys, ticket), self.ending
        )
        return False

    def _claim_granted(self, uint64_t id, uint32_t link, uint32_t database, list keys, Ticket ticket):
        cdef Waiter *waiter = blocking_find(self.table, claim_owner(id))
        if waiter == NULL or not waiter.claimed or self.office.has_transaction(id):
            # It waits no more, or wants no turn now; whoever comes after it has his.
            self.runner.start_batch()
            self.serve_rest(id, database, keys, ticket)
            self.office.release_ticket(ticket)
        else:
            self.office.begin_claim(id, link, database, keys, ticket)

    # -- workers that wait for keys on several shards; see shards/commands/internal.py

    def register(self, uint64_t id, uint32_t link, uint32_t database, int wants, bint on_removal,
                 list keys not None):
        """Let a worker's transaction leave a place in the queues of these keys."""
        cdef Waiter *waiter = blocking_find(self.table, claim_owner(id))
        cdef bytes key
        if waiter != NULL:
            return
        waiter = waiter_new(<uint32_t>len(keys), b"", 0)
        waiter.owner = claim_owner(id)
        waiter.transaction = id
        waiter.link = link
        waiter.run.database = database
        waiter.wants = wants
        waiter.on_removal = on_removal
        for key in keys:
            blocking_queue(self.table, waiter, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        blocking_add(self.table, waiter)

    def pause(self, uint64_t id, bint paused):
        """Give a worker no turn, or turns again, from the end of its transaction on."""
        cdef Waiter *waiter = blocking_find(self.table, claim_owner(id))
        if waiter != NULL:
            waiter.paused = paused
            if not paused:
                blocking_note_all(self.table, waiter)

    cdef int take_turn(self, uint64_t id, bint ends) except -1:
        """A worker wants no turn now, or never again; one that it has ends."""
        cdef Waiter *waiter = blocking_find(self.table, claim_owner(id))
        if waiter != NULL:
            waiter.paused = True
            waiter.claimed = False
            if ends:
                blocking_remove(self.table, waiter)
                waiter_free(waiter)
        self.office.end_claim(id)
        return 0

    cdef int _run(self, Waiter *waiter) except -1:
        """Run a waiter's command from its start, and answer it or let it wait anew."""
        cdef Call *call = &self.call
        cdef Waiter *again
        cdef int ran
        blocking_remove(self.table, waiter)
        memset(call, 0, sizeof(Call))
        self.answerer.parse_command(raw_of(waiter), &waiter.command, &call.argv)
        self._key_of(waiter, &call.argv.key)
        call.id = waiter.command.id
        call.flags = waiter.run.flags
        call.keyed = True
        call.may_block = True
        call.resp = waiter.run.resp
        call.database = waiter.run.database
        call.user = waiter.run.user
        call.client_id = waiter.run.client_id
        call.session = waiter.session
        self.reply.used = 0
        ran = self.runner.run_one(call, &self.reply)
        if ran & RAN_BLOCKED:
            self.runner.shard.block.deadline_ms = waiter.deadline_ms
            self.block(call, &waiter.run, <uint32_t>(waiter.owner >> 32))
        else:
            if ran & RAN_BLOB:
                buffer_append(&self.reply, self.runner.shard.blob.data, self.runner.shard.blob.length)
                buffer_append(&self.reply, b"\r\n", 2)
                blob_release(self.runner.shard.blob)
                self.runner.shard.blob = NULL
            self._answer(waiter, ran)
        waiter_free(waiter)
        return 0

    # -- answers

    cdef int _answer(self, const Waiter *waiter, int ran) except -1:
        """Give `reply` to whom a waiter was, who is out of the table."""
        cdef Session session
        if waiter.session != NULL:
            session = <Session>waiter.session
            session.unblocked()
            if not waiter.run.flags & RUN_REPLY_OFF:
                buffer_append(&session.output.tail, self.reply.data, self.reply.used)
            session.mark_dirty()
            if not self.answered and self.on_answered is not None:
                self.on_answered()
            self.answered.append(session)
        else:
            self.answerer.answer(<uint32_t>(waiter.owner >> 32), &waiter.run, &self.reply, ran)
        if self.reply.size > REPLY_KEEP_BYTES:
            buffer_free(&self.reply)
        return 0

    def take_answered(self):
        answered = self.answered
        self.answered = []
        return answered

    cdef int _end(self, Waiter *waiter, uint8_t why, bint named) except -1:
        """Answer a waiter without another run; `named`: because CLIENT UNBLOCK has named it."""
        cdef Ticket ticket
        ticket = self.tickets.pop(waiter.owner, None) if unlikely(len(self.tickets) > 0) else None
        if ticket is not None:
            blocking_note_all(self.table, waiter)   # for those after it
            self.office.release_ticket(ticket)
        blocking_remove(self.table, waiter)
        self.reply.used = 0
        if why == CANCEL_TIMEOUT:
            reply_null_array(&self.reply, waiter.run.resp)
        elif why == CANCEL_ERROR:
            reply_error(&self.reply, PyBytes_AS_STRING(UNBLOCKED), PyBytes_GET_SIZE(UNBLOCKED))
        if self.reply.used:
            self.runner.note_unblocked(waiter.command.id, &self.reply)
        if waiter.session == NULL or why != CANCEL_GONE:
            self._answer(waiter, RAN_UNBLOCKED if why >= CANCEL_TIMEOUT and named else 0)
        waiter_free(waiter)
        return 0

    cdef bint unblock(self, uint32_t link, uint32_t client, uint32_t sequence, uint8_t why) except -1:
        cdef Waiter *waiter = blocking_find(self.table, <uint64_t>link << 32 | client)
        if waiter == NULL or (why != CANCEL_GONE and waiter.run.sequence != sequence):
            return False
        self._end(waiter, why, True)
        self.serve(None)
        return True

    def expire(self):
        cdef Waiter *waiter
        self.runner.start_batch()
        self.announced_ms = 0
        while True:
            waiter = blocking_expired(self.table, self.table.store.now_ms)
            if waiter == NULL:
                break
            self._end(waiter, CANCEL_TIMEOUT, False)
        self.serve(None)
        self.announced_ms = blocking_deadline(self.table)
        return self.announced_ms

    def forget_link(self, uint32_t link):
        cdef Waiter *waiter
        cdef Waiter *following
        cdef uint32_t i
        cdef list gone = []
        for i in range(self.table.owner_size):
            waiter = self.table.owners[i]
            while waiter != NULL:
                if waiter.link == link:
                    gone.append(waiter.owner)
                waiter = waiter.chain
        for owner in gone:
            waiter = blocking_find(self.table, owner)
            self._drop(waiter)
        self.serve(None)

    cdef int _drop(self, Waiter *waiter) except -1:
        """Forget a waiter whom nobody can answer any more."""
        ticket = self.tickets.pop(waiter.owner, None)
        if ticket is not None:
            blocking_note_all(self.table, waiter)
            self.office.release_ticket(ticket)
        blocking_remove(self.table, waiter)
        waiter_free(waiter)
        return 0

    # -- notes of transactions

    cdef list take_notes(self):
        """The keys that were noted since nothing was, for `put_notes` later."""
        cdef KeyQueue *queue
        cdef list notes = []
        while blocking_is_due(self.table):
            queue = blocking_ready_next(self.table)
            notes.append((queue.database, key_of(queue)[:queue.length]))
            blocking_done(self.table, queue)
        return notes

    cdef int put_notes(self, list notes) except -1:
        """Note these keys now."""
        cdef Key key
        for database, name in notes:
            self._key_named(name, &key)
            blocking_note(self.table, database, &key, False)
        return 0
