"""Park runs, lock keys, and take part in transactions; see parked.pxd."""

from collections import deque

from protocol.commands import F

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from actors.mailbox cimport Link
from protocol.buffer cimport Buffer, buffer_append, buffer_free
from protocol.envelope cimport (
    CANCEL_ENDED, CANCEL_GONE, PART_DONE, RUN_ATOMIC, RUN_BULK, RUN_COMMIT, RUN_INTERNAL, RUN_KEYS,
    RUN_LOCKS, RUN_MULTI, RUN_PREPARE,
    RUN_QUIET, RUN_RELEASE, RUN_REPLY_OFF, RUN_TRANSACTION, RUN_WAIT, TRANSACTION_COUNTER_BITS, CancelHeader, CommandHeader, RunHeader, TransactionHeader, run_head,
)
from protocol.native cimport out_of_memory, unlikely
from protocol.reply cimport reply_integer
from protocol.slots cimport key_slot
from protocol.table cimport KEYS_RANGE, CommandSpec, NativeTable
from shards.execution.answers cimport Answers
from shards.execution.locks cimport (
    MODE_ALONE, MODE_CHANGES, MODE_READS_ALL, MODE_SHARES, Locks, Ticket, Want, slot_is_quiet,
)
from shards.execution.runner cimport Runner
from shards.execution.serving cimport TicketOffice
from shards.execution.waiting cimport BulkMessage, Held, Transaction
from shards.keyspace.keyspace cimport Key, Store, store_hash
from shards.lane.handler cimport Argv

cdef enum:
    LOCKED_KEYS_AT = 3                  # the first argument of SHARDIS.LOCK that is a key
    FEW_KEYS = 32                       # of a transaction whose locks are asked for without Python
    RELEASE_BYTES = 26                  # of SHARDIS.RELEASE without arguments

cdef uint32_t FLAG_WRITE = F.WRITE
assert FLAG_WRITE == WRITES


cdef bint key_is_locked(void *locks, uint64_t hash, uint32_t slot) noexcept:
    """For active expiry: what a transaction has looked at stays."""
    return not slot_is_quiet(<Locks>locks, slot) and hash in (<Locks>locks).queues


@cython.final
cdef class ParkedRuns(TicketOffice):
    """What waits in one shard incarnation, and what it waits for."""

    def __cinit__(self, Answers answers not None):
        self.answers = answers
        self.runner = answers.runner
        self.table = self.runner.table
        self.store = self.runner.shard.store
        self.epoch = answers.epoch
        self.runs = {}
        self.arrived = {}
        self.bulk_received = []
        self.locks = Locks(self.runner.keyspace)
        self.serving = answers.serving
        self.serving.office = self
        self.serving.locks = self.locks
        self.runner.context.serving = self.serving
        self.transactions = {}
        self.granted = deque()
        table = self.table.table
        self.commit_id = table["SHARDIS.COMMIT"].id if "SHARDIS.COMMIT" in table else -1
        self.release_id = table["SHARDIS.RELEASE"].id if "SHARDIS.RELEASE" in table else -1
        self.store.locked = key_is_locked
        self.store.locks = <void *>self.locks

    def __dealloc__(self):
        cdef uint32_t i
        if self.runner is not None:
            self.store.locked = NULL
        for i in range(self.counts_size):
            free(self.counts[i].by_client)
        free(self.counts)

    cdef int add_links(self, uint32_t link) except -1:
        cdef ParkedCounts *counts
        if link == self.counts_size:
            counts = <ParkedCounts *>realloc(self.counts, (link + 1) * sizeof(ParkedCounts))
            if counts == NULL:
                raise MemoryError
            self.counts = counts
            self.counts_size = link + 1
            self.bulk_received.append(0)
        else:
            free(self.counts[link].by_client)
            self.bulk_received[link] = 0
        memset(&self.counts[link], 0, sizeof(ParkedCounts))
        return 0

    cdef int remove_links(self, uint32_t link) except -1:
        """Forget what has come from a worker and not been executed. O(parked)

        What it had locked stays locked until `resolve`.
        """
        cdef Held held
        for key in [key for key in self.runs if key[0] == link]:
            for held in self.runs.pop(key):
                if held.ticket is not None:
                    self.release(held.ticket)
        # `by_client` may be looked at while a run of this link goes on: add_links frees it.
        self.counts[link].runs = 0
        self.serving.forget_link(link)
        for key in [key for key in self.arrived if key[0] == link]:
            del self.arrived[key]
        self.run_granted()
        return 0

    # -- transactions whose coordinator has died

    cdef dict open_transactions(self, uint64_t coordinator):
        """{id: committed} of those that a coordinator's incarnation has left here. O(transactions)"""
        return {
            id: transaction.committed
            for id, transaction in self.transactions.items()
            if id >> TRANSACTION_COUNTER_BITS == coordinator
        }

    cdef int resolve(self, commit, drop) except -1:
        """End transactions without their coordinator: execute the parts of some, forget the others."""
        cdef Transaction transaction
        for id in commit:
            transaction = self.transactions.get(id)
            if transaction is not None and not transaction.committed and transaction.part is not None:
                self._commit_alone(transaction)
        for id in (*commit, *drop):
            transaction = self.transactions.pop(id, None)
            if transaction is not None:
                self._end_transaction(transaction)
        self.run_granted()
        self.answers.send()
        return 0

    cdef int _end_transaction(self, Transaction transaction) except -1:
        """Let its locks go. Who waits for what it has made comes before all who wait for the locks."""
        if transaction.notes:
            self.serving.put_notes(transaction.notes)
            transaction.notes = []
            self.serving.serve(transaction.ticket)
        if transaction.claimed is not None:
            self.serving.serve_rest(
                transaction.id, transaction.database, transaction.claimed, transaction.ticket)
        self.release(transaction.ticket)
        return 0

    # -- workers that wait for keys on several shards

    cdef bint lock_for(self, list keys, object owner, Ticket ending) except -1:
        cdef Ticket ticket = self.locks.ticket(dict.fromkeys(keys, True), MODE_CHANGES, owner)
        if ending is not None and self.locks.frees(ending, ticket):
            self.locks.request_first(ticket)
        else:
            self.locks.request(ticket)
        if ticket.missing == 0:     # it may be so at once, where `ending` has none of its keys
            self.granted.append(ticket)
            return True
        return False

    cdef int begin_claim(self, uint64_t id, uint32_t link, uint32_t database, list keys, Ticket ticket) except -1:
        cdef Transaction transaction = Transaction.__new__(Transaction)
        transaction.id = id
        transaction.link = link
        transaction.ticket = ticket
        transaction.claimed = keys
        transaction.database = database
        self.transactions[id] = transaction
        self.answers.claim(link, id)
        return 0

    cdef int end_claim(self, uint64_t id) except -1:
        cdef Transaction transaction = self.transactions.get(id)
        if transaction is not None and transaction.claimed is not None and not transaction.committed:
            del self.transactions[id]
            self._end_transaction(transaction)
        return 0

    cdef bint has_transaction(self, uint64_t id) except -1:
        return id in self.transactions

    cdef int _commit_alone(self, Transaction transaction) except -1:
        """Execute a part whose answer nobody waits for."""
        cdef Buffer kept = self.answers.out
        cdef RunHeader run
        memset(&self.answers.out, 0, sizeof(Buffer))
        memcpy(&run, PyBytes_AS_STRING(transaction.part.data), sizeof(RunHeader))
        run.flags |= RUN_REPLY_OFF
        self.runner.start_batch()
        try:
            self.answers.open_part(&run)
            self._run_part(transaction)
        finally:
            self.answers.part_open = False
            buffer_free(&self.answers.out)
            self.answers.out = kept
        return 0

    cdef int cancel(self, uint32_t link, const char *data) except -1:
        """Drop what is parked or blocked for a client, as far as it has not begun to run. O(that)

        Or end a command of it that is blocked, for another reason than that the client has gone.
        """
        cdef CancelHeader header
        cdef RunHeader run
        cdef Held held
        memcpy(&header, data, sizeof(CancelHeader))
        if header.epoch != self.epoch:
            return 0
        if self.serving.unblock(link, header.client, header.sequence, header.action):
            return 0
        if not self.has_parked(link, header.client):
            return 0
        if header.action != CANCEL_GONE:
            if header.action == CANCEL_ENDED:
                # The run is parked yet: it must not block when it is executed.
                for held in self.runs[link, header.client]:
                    memcpy(&run, PyBytes_AS_STRING(held.data), sizeof(RunHeader))
                    if run.sequence == header.sequence:
                        held.may_not_block = True
            return 0
        for held in self.runs[link, header.client]:
            held.dropped = True
            if held.ticket is not None:
                self.release(held.ticket)
                held.ticket = None
        self.answers.send()
        self._go_on((link, header.client))
        self.answers.out_link = link
        return 0

    # -- parked runs

    cdef int receive_bulk(self, uint32_t link) except -1:
        cdef BulkMessage bulk
        cdef Link bulk_link = self.answers.bulk_links[link]
        while True:
            bulk = BulkMessage.__new__(BulkMessage)
            if not bulk_link.receive(&bulk.message):
                bulk.message.data = NULL
                return 0
            self.bulk_received[link] += 1
            self.arrived[link, self.bulk_received[link]] = bulk
            self.unpark(link)

    cdef int unpark(self, uint32_t link) except -1:
        """Run what waited for a bulk message that is here now, or for the worker to read."""
        for key in [key for key in self.runs if key[0] == link]:
            self._go_on(key)
        self.run_granted()
        return 0

    cdef int _go_on(self, tuple key) except -1:
        """Run what a client has parked, as far as nothing is missing."""
        cdef Held held
        cdef RunHeader run
        cdef ParkedCounts *counts = &self.counts[<uint32_t>key[0]]
        cdef bint stalled
        waiting = self.runs.get(key)
        while waiting:
            held = waiting[0]
            memcpy(&run, PyBytes_AS_STRING(held.data), sizeof(RunHeader))
            stalled = self.answers.unread[held.link].stalled
            if (stalled and not run.flags & RUN_INTERNAL) or not self._ready(held):
                break
            self.runner.start_batch()
            self.answers.out_link = held.link
            done = self._run_held(held)
            self.answers.send()
            if not done:
                break
            waiting.popleft()
            counts.by_client[<uint32_t>key[1]] -= 1
            counts.runs -= 1
            if not waiting:
                del self.runs[key]
        return 0

    cdef bint _ready(self, Held held) except -1:
        cdef RunHeader run
        if held.ticket is not None:
            return held.ticket.missing == 0
        memcpy(&run, PyBytes_AS_STRING(held.data), sizeof(RunHeader))
        return held.bulk is not None or not run.flags & RUN_BULK or (held.link, run.bulk) in self.arrived

    cdef bint has_parked(self, uint32_t link, uint32_t client) noexcept:
        cdef ParkedCounts *counts = &self.counts[link]
        return client < counts.size and counts.by_client[client] != 0

    cdef int _park(self, Held held, uint32_t client) except -1:
        """Set a run aside, after those of its client that are."""
        cdef ParkedCounts *counts = &self.counts[held.link]
        cdef uint32_t size = counts.size
        if client >= size:
            size = max(2 * size, client + 64)
            counts.by_client = <uint32_t *>realloc(counts.by_client, size * sizeof(uint32_t))
            if counts.by_client == NULL:
                out_of_memory(size * sizeof(uint32_t))
            memset(counts.by_client + counts.size, 0, (size - counts.size) * sizeof(uint32_t))
            counts.size = size
        counts.by_client[client] += 1
        counts.runs += 1
        key = held.link, client
        waiting = self.runs.get(key)
        if waiting is None:
            waiting = self.runs[key] = deque()
        waiting.append(held)
        return 0

    cdef int run_or_park(self, uint32_t link, const char *data, size_t n) except -1:
        """A run that may have to wait, or one after such a run of the same client."""
        cdef RunHeader run
        memcpy(&run, data, sizeof(RunHeader))
        if run.flags & (RUN_COMMIT | RUN_RELEASE) and self._settle(link, &run, data):
            return 0
        self.run_rest_or_park(
            link, data, n, 0, data + run_head(&run) + <size_t>run.commands * sizeof(CommandHeader)
        )
        return 0

    cdef bint _settle(self, uint32_t link, const RunHeader *run, const char *data) except -1:
        """Run a COMMIT of the part that is held, or a RELEASE with nothing to tell; else False."""
        cdef CommandHeader header
        cdef TransactionHeader label
        cdef Transaction transaction
        if run.commands != 1 or run.flags & RUN_BULK or self.has_parked(link, run.client):
            return False
        memcpy(&label, data + sizeof(RunHeader), sizeof(TransactionHeader))
        memcpy(&header, data + run_head(run), sizeof(CommandHeader))
        transaction = self.transactions.get(label.id)
        if transaction is None:
            return False
        if run.flags & RUN_COMMIT:
            if header.id != self.commit_id or transaction.committed or transaction.part is None:
                return False
            return self._commit_part(run, transaction, label.time_ms)
        if header.id != self.release_id or header.length != RELEASE_BYTES:
            return False
        self.answers.open_part(run)
        buffer_append(&self.answers.out, b"+OK\r\n", 5)
        self.answers.part_commands += 1
        self.answers.close_part(PART_DONE, 0)
        del self.transactions[label.id]
        self._end_transaction(transaction)
        return True

    cdef int run_rest_or_park(self, uint32_t link, const char *data, size_t n, uint32_t done,
                              const char *raw) except -1:
        """The same, for what is left of a run after its first `done` commands, from `raw` on."""
        cdef RunHeader run
        cdef Held held = Held.__new__(Held)
        memcpy(&run, data, sizeof(RunHeader))
        held.data = PyBytes_FromStringAndSize(data, n)
        held.link = link
        held.at = done
        held.offset = raw - (data + run_head(&run) + <size_t>run.commands * sizeof(CommandHeader))
        if self.has_parked(link, run.client) or not self._ready(held) or not self._run_held(held):
            self._park(held, run.client)
        return 0

    cdef bint _run_held(self, Held held) except -1:
        """Run what is left of a run; False: its next command waits, for a key or for its worker."""
        cdef RunHeader run
        cdef CommandHeader header
        cdef TransactionHeader label
        cdef Transaction transaction = None
        cdef Key key
        cdef Ticket ticket
        cdef const char *data = PyBytes_AS_STRING(held.data)
        cdef const char *headers
        cdef const char *raw
        cdef bint opened = False
        memcpy(&run, data, sizeof(RunHeader))
        if run.flags & RUN_BULK and held.bulk is None:
            held.bulk = self.arrived.pop((held.link, run.bulk))
        if unlikely(held.dropped):
            self.answers.open_part(&run)
            self.answers.close_part(PART_DONE, 0)
            return True
        headers = data + run_head(&run)
        raw = headers + <size_t>run.commands * sizeof(CommandHeader)
        if held.bulk is not None:
            raw = held.bulk.message.data
        if run.flags & RUN_TRANSACTION:
            memcpy(&label, data + sizeof(RunHeader), sizeof(TransactionHeader))
            if run.flags & RUN_LOCKS and held.at == 0 and held.offset == 0:
                memcpy(&header, headers, sizeof(CommandHeader))
                if not self._lock(held, &label, &header, raw):
                    if held.ticket is not None:
                        return False
                    return self._refuse_run(&run)
                if run.flags & RUN_KEYS:
                    opened = True
                    self.answers.open_part(&run)
                    reply_integer(&self.answers.out, self.store.now_ms)
            transaction = self.transactions.get(label.id)
            if transaction is None:
                return self._refuse_run(&run)
            if run.flags & RUN_PREPARE:
                transaction.part = held
                if not opened:
                    self.answers.open_part(&run)
                self.answers.close_part(PART_DONE, 0)
                return True
            if run.flags & RUN_COMMIT:
                return self._commit(held, transaction, &label)
            if run.flags & RUN_MULTI and label.time_ms:
                self.runner.freeze_time(label.time_ms)
        elif run.flags & RUN_ATOMIC:
            return self._run_whole(held, &run, headers, raw)
        raw += held.offset
        while held.at < run.commands:
            memcpy(&header, headers + <size_t>held.at * sizeof(CommandHeader), sizeof(CommandHeader))
            key.data = raw + header.key_offset
            key.length = header.key_length
            key.slot = header.slot
            key.database = self.store.physical[run.database]
            key.hash = store_hash(self.store, key.data, key.length)
            ticket = held.ticket
            held.ticket = None
            if ticket is None and transaction is None:
                ticket = self._ticket_for(&header, &key, raw, held)
                if ticket is not None and ticket.missing:
                    held.ticket = ticket
                    if opened:
                        self.answers.park_part()
                    return False
            if not opened:
                opened = True
                self.answers.open_part(&run)
                if unlikely(held.may_not_block):
                    self.answers.call.may_block = False
            if held.bulk is not None and run.commands == 1 and held.bulk.message.holder == NULL:
                self.runner.shard.adopt = &held.bulk.message
            self.answers.running = ticket
            self._execute_for(transaction, &header, &key, raw)
            self.answers.running = None
            self.runner.shard.adopt = NULL
            if ticket is not None:
                self.release(ticket)
            raw += header.length
            held.offset += header.length
            held.at += 1
            if (
                unlikely(self.answers.out.used > self.answers.cut_at and held.at < run.commands)
                and not run.flags & RUN_INTERNAL and self.answers.cut_part()
            ):
                return False
        if not opened:
            self.answers.open_part(&run)
        self.answers.close_part(PART_DONE, 0)
        if run.flags & RUN_MULTI:
            self.runner.start_batch()
        if run.flags & RUN_RELEASE:
            del self.transactions[transaction.id]
            self._end_transaction(transaction)
        return True

    cdef bint _run_whole(self, Held held, const RunHeader *run, const char *headers, const char *raw) except -1:
        """Run an EXEC's commands once all keys that they name are free together."""
        cdef Ticket ticket = held.ticket
        if ticket is None and self.locks.tickets:
            ticket = self._ticket_of_run(held, run, raw)
            if self.locks.blocks(ticket):
                self.locks.request(ticket)
                held.ticket = ticket
                return False
            ticket = None
        held.ticket = None
        self.answers.running = ticket
        self.answers.execute_all(run, headers, raw)
        self.answers.running = None
        if ticket is not None:
            self.release(ticket)
        return True

    # -- transactions

    cdef int _execute_for(self, Transaction transaction, const CommandHeader *header, const Key *key,
                          const char *raw) except -1:
        """Execute a command, of a transaction or of none."""
        cdef uint64_t hits, misses
        if transaction is None:
            return self.answers.execute(header, key, raw)
        hits = self.store.hits
        misses = self.store.misses
        self.runner.context.transaction = transaction
        self.store.quiet = self.answers.run.flags & RUN_QUIET != 0
        try:
            self.answers.execute(header, key, raw)
        finally:
            self.runner.context.transaction = None
            self.store.quiet = False
            if self.answers.run.flags & RUN_QUIET:
                self.store.hits = hits
                self.store.misses = misses
        return 0

    cdef bint _lock(self, Held held, const TransactionHeader *label, const CommandHeader *header,
                    const char *raw) except -1:
        """Whether a transaction has its locks. If not, `held.ticket` waits for them, or it was refused."""
        cdef Ticket ticket = held.ticket
        cdef Transaction transaction
        cdef RunHeader run
        cdef bint waits
        if label.id in self.transactions:
            # The keys were locked for it when its turn had come; what it has asked for is not needed.
            if ticket is not None:
                self.release(ticket)
                held.ticket = None
            return True
        if ticket is None:
            memcpy(&run, PyBytes_AS_STRING(held.data), sizeof(RunHeader))
            if run.flags & RUN_KEYS:
                waits = run.flags & RUN_WAIT != 0
                ticket = self._ticket_of_run(held, &run, raw)
            else:
                words = self.answers.arguments(header, raw)
                waits = words[1] != b"try"
                wants = {words[i]: words[i + 1] == b"w" for i in range(LOCKED_KEYS_AT, len(words) - 1, 2)}
                mode = MODE_CHANGES if True in wants.values() else MODE_SHARES
                if words[2] == b"alone" or (words[2] == b"reads" and mode == MODE_CHANGES):
                    mode = MODE_ALONE
                elif words[2] == b"reads":
                    mode = MODE_READS_ALL
                ticket = self.locks.ticket(wants, mode, held)
            if not self.locks.request(ticket):
                if not waits:
                    self.release(ticket)
                else:
                    held.ticket = ticket
                return False
        held.ticket = None
        transaction = Transaction.__new__(Transaction)
        transaction.id = label.id
        transaction.link = held.link
        transaction.ticket = ticket
        self.transactions[label.id] = transaction
        return True

    cdef bint _refuse_run(self, const RunHeader *run) except -1:
        """Answer for a run of a transaction whose locks were not granted, or that has been ended."""
        cdef uint32_t i
        self.answers.open_part(run)
        if run.flags & RUN_KEYS:
            buffer_append(&self.answers.out, b"-REFUSED\r\n", 10)
        else:
            for i in range(0 if run.flags & RUN_PREPARE else run.commands):
                buffer_append(&self.answers.out, b"-REFUSED\r\n", 10)
                self.answers.part_commands += 1
        self.answers.close_part(PART_DONE, 0)
        return True

    cdef bint _commit(self, Held held, Transaction transaction, const TransactionHeader *label) except -1:
        """Execute a COMMIT run, or the part it stands for: in one go, at the transaction's time."""
        cdef RunHeader run
        cdef CommandHeader header
        memcpy(&run, PyBytes_AS_STRING(held.data), sizeof(RunHeader))
        memcpy(&header, PyBytes_AS_STRING(held.data) + run_head(&run), sizeof(CommandHeader))
        if transaction.committed or (header.id == self.commit_id and transaction.part is None):
            return self._refuse_run(&run)
        if header.id != self.commit_id:
            transaction.part = held
        return self._commit_part(&run, transaction, label.time_ms)

    cdef bint _commit_part(self, const RunHeader *run, Transaction transaction, int64_t time_ms) except -1:
        self.runner.freeze_time(time_ms)
        try:
            self.answers.open_part(run)
            self._run_part(transaction)
            self.answers.close_part(PART_DONE, 0)
        finally:
            self.runner.start_batch()
        return True

    cdef int _run_part(self, Transaction transaction) except -1:
        cdef Held part = transaction.part
        cdef RunHeader run
        cdef CommandHeader header
        cdef Key key
        cdef const char *data = PyBytes_AS_STRING(part.data)
        cdef const char *headers
        cdef const char *raw
        cdef uint32_t i
        memcpy(&run, data, sizeof(RunHeader))
        headers = data + run_head(&run)
        raw = headers + <size_t>run.commands * sizeof(CommandHeader)
        if part.bulk is not None:
            raw = part.bulk.message.data
        transaction.committed = True
        for i in range(run.commands):
            memcpy(&header, headers + <size_t>i * sizeof(CommandHeader), sizeof(CommandHeader))
            key.data = raw + header.key_offset
            key.length = header.key_length
            key.slot = header.slot
            key.database = self.store.physical[run.database]
            key.hash = store_hash(self.store, key.data, key.length)
            # With more commands in it, those would need the memory that the first one keeps.
            if part.bulk is not None and run.commands == 1 and part.bulk.message.holder == NULL:
                self.runner.shard.adopt = &part.bulk.message
            self._execute_for(transaction, &header, &key, raw)
            self.runner.shard.adopt = NULL
            raw += header.length
        transaction.part = None
        transaction.borrowed.clear()
        return 0

    # -- locks

    cdef Ticket ticket_of(self, uint32_t id, list arguments, object owner):
        """What a command without a transaction needs to be free for as long as it runs. O(arguments)"""
        cdef bint writes = self.table.specs[id].flags & FLAG_WRITE
        positions = self.table.keys(id, arguments)
        if not positions:
            return self.locks.ticket({}, MODE_ALONE if writes else MODE_SHARES, owner)
        return self.locks.ticket(
            {arguments[position]: writes for position in positions},
            MODE_CHANGES if writes else MODE_SHARES, owner,
        )

    cdef Ticket ticket_of_all(self, list commands, list watched, object owner):
        """What several commands, given as id and arguments, need all together. O(arguments)

        Without a key, a command that reads needs the whole shard to stay as it is, and one that writes
        needs it alone. Watched keys are shared.
        """
        cdef bint writes
        cdef bint changes = False, whole = False
        cdef dict wants = dict.fromkeys(watched, False)
        cdef list arguments
        cdef uint32_t id
        for id, arguments in commands:
            writes = self.table.specs[id].flags & FLAG_WRITE != 0
            changes |= writes
            positions = self.table.keys(id, arguments)
            whole |= not positions
            for position in positions or ():
                wants[arguments[position]] = wants.get(arguments[position], False) or writes
        if whole:
            return self.locks.ticket(wants, MODE_ALONE if changes else MODE_READS_ALL, owner)
        return self.locks.ticket(wants, MODE_CHANGES if changes else MODE_SHARES, owner)

    cdef Ticket _ticket_of_run(self, Held held, const RunHeader *run, const char *raw):
        """What the commands of a run need. O(arguments)"""
        cdef CommandHeader header
        cdef const char *headers = PyBytes_AS_STRING(held.data) + run_head(run)
        cdef uint32_t i
        cdef list commands
        cdef Ticket ticket = None if run.watches else self._ticket_of_few(held, run, headers, raw)
        if ticket is not None:
            return ticket
        commands = []
        for i in range(run.commands):
            memcpy(&header, headers + <size_t>i * sizeof(CommandHeader), sizeof(CommandHeader))
            commands.append((header.id, self.answers.arguments(&header, raw)))
            raw += header.length
        return self.ticket_of_all(
            commands, self.answers.watches.keys_of(run.client_id) if run.watches else [], held)

    cdef Ticket _ticket_of_few(self, Held held, const RunHeader *run, const char *headers,
                               const char *raw):
        """The same, if there are few keys and it is plain where they are; else None."""
        cdef Want wants[FEW_KEYS]
        cdef Want *want
        cdef CommandHeader header
        cdef Argv argv
        cdef const CommandSpec *spec
        cdef uint32_t i, j, at, count = 0
        cdef int32_t last
        cdef uint64_t hash
        cdef bint writes, changes = False
        for i in range(run.commands):
            memcpy(&header, headers + <size_t>i * sizeof(CommandHeader), sizeof(CommandHeader))
            spec = &self.table.specs[header.id]
            if spec.key_mode != KEYS_RANGE:
                return None
            self.answers.parse(raw, &header, &argv)
            raw += header.length
            writes = spec.flags & FLAG_WRITE != 0
            changes |= writes
            last = spec.key_last if spec.key_last >= 0 else <int32_t>argv.argc + spec.key_last
            at = spec.key_first
            if at >= argv.argc:
                return None
            while <int32_t>at <= last and at < argv.argc:
                hash = store_hash(self.store, argv.args[at].data, argv.args[at].length)
                for j in range(count):
                    if wants[j].hash == hash:
                        wants[j].alone |= writes
                        break
                else:
                    if count == FEW_KEYS:
                        return None
                    want = &wants[count]
                    count += 1
                    want.hash = hash
                    want.slot = <uint16_t>key_slot(argv.args[at].data, argv.args[at].length)
                    want.alone = writes
                    want.held = False
                at += spec.key_step
        return self.locks.ticket_for(wants, count, MODE_CHANGES if changes else MODE_SHARES, held)

    cdef Ticket _ticket_for(self, const CommandHeader *header, const Key *key, const char *raw, Held held):
        """The ticket of a command that has to wait for its keys; None: it may run."""
        cdef Ticket ticket
        if self.locks.tickets == 0 or is_untouched(self, &self.table.specs[header.id], key):
            return None
        ticket = self.ticket_of(header.id, self.answers.arguments(header, raw), held)
        if not self.locks.blocks(ticket):
            return None
        self.locks.request(ticket)
        return ticket

    cdef int release(self, Ticket ticket) except -1:
        """Give back what a ticket holds or waits for. `run_granted` is due when it is safe."""
        self.granted.extend(self.locks.release(ticket))
        return 0

    cdef Ticket wait_for_keys(self, const CommandHeader *header, const Key *key, const char *raw,
                              object owner, Ticket ending):
        cdef Ticket ticket
        if is_untouched(self, &self.table.specs[header.id], key):
            return None
        ticket = self.ticket_of(header.id, self.answers.arguments(header, raw), owner)
        if not self.locks.blocks(ticket) or (ending is not None and self.locks.frees(ending, ticket)):
            return None
        self.locks.request(ticket)
        return ticket

    cdef int release_ticket(self, Ticket ticket) except -1:
        return self.release(ticket)

    cdef int run_granted(self) except -1:
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
        return 0
