"""Batches of runs in, batches of replies out; see executor.pxd and protocol/envelope.pxd.

    for each window of up to 16 commands, across runs:
        pass 1  hash the first key, prefetch its slot's table; then its bucket; then the entry
        pass 2  run_one (runner.pxd)
    one reply message per link and batch

A run is parked (waiting.pxd) while its bytes have not come by the bulk link, while a key of its next
command is locked, or while an earlier run of its client is parked; the shard goes on with everybody else.
Without tickets, no command is looked at for locks; with some, one look at its slot's counter tells that a
command with one key is free.

Replies are gathered up to `out_bytes_max`, within a run, too: what has been answered of it then goes as a
PARKED part. A worker that reads more slowly than its commands run is stalled: with more than
`unread_bytes_max` on their way to it, its messages are postponed, cut where execution stopped. So the replies
under way take no more than both limits and one reply. Runs of the worker itself (RUN_INTERNAL) are never
parked because of a stall nor postponed: others may wait for what only they can end.
"""

import logging
from collections import deque

from protocol.commands import F

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from actors.mailbox cimport Link, Message, message_release, release_memory
from protocol.buffer cimport Buffer, buffer_append, buffer_free, buffer_reserve
from protocol.envelope cimport (
    BULK_BYTES_MIN, MESSAGE_CANCEL, MESSAGE_PUSH, MESSAGE_READ, MESSAGE_REPLIES, MESSAGE_RUNS, PART_BULK, PART_DONE, PART_PARKED, PART_SLOW,
    RUN_BULK, RUN_COMMIT, RUN_INTERNAL, RUN_KEYS, RUN_LOCKS, RUN_PREPARE, RUN_QUIET, RUN_RELEASE, RUN_REPLY_OFF,
    RUN_TRANSACTION, RUN_WAIT, TRANSACTION_COUNTER_BITS, UNREAD_BYTES_MAX, CancelHeader, CommandHeader, PartHeader, PushHeader,
    ReadHeader, ReplyHeader, RequestHeader, RunHeader, TransactionHeader, bulk_counted, run_head, run_size,
)
from protocol.native cimport fatal, likely, out_of_memory, unlikely
from protocol.table cimport KEYS_NONE, KEYS_RANGE, CommandSpec, NativeTable
from shards.execution.locks cimport (
    MODE_ALONE, MODE_CHANGES, MODE_READS_ALL, MODE_SHARES, Locks, Ticket, slot_is_quiet,
)
from shards.execution.runner cimport RAN_BLOB, RAN_SLOW, Call, Runner
from shards.execution.waiting cimport BulkMessage, Held, Transaction
from shards.keyspace.keyspace cimport (
    Blob, Key, Store, blob_release, store_hash, store_prefetch_bucket, store_prefetch_entry,
    store_prefetch_table,
)
from shards.lane.handler cimport Arg, Argv

cdef enum:
    WINDOW = 16
    OUT_BYTES_MAX = 256 << 10
    OUT_KEEP_BYTES = 1 << 20
    MESSAGES_MAX = 64                   # taken from one link before the next one has its turn
    SERVICE_MESSAGES_MAX = 256          # taken in one go: then control messages and the cron have theirs
    ARGS_KEEP = 4096                    # a larger array of arguments is given back
    LOCKED_KEYS_AT = 2                  # the first argument of SHARDIS.LOCK that is a key

cdef uint32_t FLAG_WRITE = F.WRITE

logger = logging.getLogger("shardis")


cdef struct Step:
    const char *raw
    CommandHeader header
    Key key
    const char *run                     # its run's header
    bint first
    uint32_t left                       # commands of its run after it


cdef void release_blob(void *data, void *hint) noexcept nogil:
    blob_release(<Blob *>hint)


cdef bint key_is_locked(void *locks, uint64_t hash, uint32_t slot) noexcept:
    """For active expiry: what a transaction has looked at stays."""
    return not slot_is_quiet(<Locks>locks, slot) and hash in (<Locks>locks).queues


cdef bytes rest_of_run(const char *run, uint32_t done):
    """A run without its first commands."""
    cdef RunHeader header
    cdef CommandHeader command
    cdef const char *headers = run + sizeof(RunHeader)
    cdef const char *raw
    cdef size_t skipped = 0
    cdef uint32_t i
    memcpy(&header, run, sizeof(RunHeader))
    raw = headers + <size_t>header.commands * sizeof(CommandHeader)
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


@cython.final
cdef class Executor:
    """The executor of one shard incarnation: its workers' links, and what came by them."""

    def __cinit__(self, Runner runner not None, uint32_t epoch=1):
        cdef NativeTable table = runner.table
        self.runner = runner
        self.store = runner.shard.store
        self.table = table
        self.epoch = epoch
        self.links = []
        self.bulk_links = []
        self.bulk_received = []
        self.bulk_sent = []
        self.postponed = []
        self.out_bytes_max = self.cut_at = OUT_BYTES_MAX
        self.unread_bytes_max = UNREAD_BYTES_MAX
        self.parked = {}
        self.arrived = {}
        self.locks = Locks(runner.keyspace)
        self.transactions = {}
        self.pushes = []
        self.granted = deque()
        self.commit_id = table.table["SHARDIS.COMMIT"].id if "SHARDIS.COMMIT" in table.table else -1
        self.store.locked = key_is_locked
        self.store.locks = <void *>self.locks
        self.args_size = 64
        self.args = <Arg *>malloc(self.args_size * sizeof(Arg))
        if self.args == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef uint32_t i
        if self.runner is not None:
            self.store.locked = NULL
        for i in range(self.states_size):
            free(self.states[i].parked)
        free(self.args)
        free(self.states)
        buffer_free(&self.out)

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
        free(self.states[i].parked)
        memset(&self.states[i], 0, sizeof(LinkState))
        return i

    def _resize_states(self, uint32_t size):
        cdef LinkState *states = <LinkState *>realloc(self.states, size * sizeof(LinkState))
        if states == NULL:
            raise MemoryError
        memset(states + self.states_size, 0, (size - self.states_size) * sizeof(LinkState))
        self.states = states
        self.states_size = size

    def remove_links(self, uint32_t link):
        """The worker has gone: forget what has come from it and not been executed. O(parked)

        What it had locked stays locked until `resolve`. Returns the links, for closing.
        """
        cdef Held held
        links = self.links[link], self.bulk_links[link]
        self.links[link] = None
        self.bulk_links[link] = None
        self.postponed[link].clear()
        for key in [key for key in self.parked if key[0] == link]:
            for held in self.parked.pop(key):
                if held.ticket is not None:
                    self.release(held.ticket)
        self.states[link].waiting = 0
        for key in [key for key in self.arrived if key[0] == link]:
            del self.arrived[key]
        self.run_granted()
        return links

    # -- transactions whose coordinator has died

    def open_transactions(self, uint64_t coordinator):
        """{id: committed} of those that a coordinator's incarnation has left here. O(transactions)"""
        return {
            id: transaction.committed
            for id, transaction in self.transactions.items()
            if id >> TRANSACTION_COUNTER_BITS == coordinator
        }

    def resolve(self, commit, drop):
        """End transactions without their coordinator: execute the parts of some, forget the others."""
        cdef Transaction transaction
        for id in commit:
            transaction = self.transactions.get(id)
            if transaction is not None and not transaction.committed and transaction.part is not None:
                self._commit_alone(transaction)
        for id in (*commit, *drop):
            transaction = self.transactions.pop(id, None)
            if transaction is not None:
                self.release(transaction.ticket)
        self.run_granted()

    cdef int _commit_alone(self, Transaction transaction) except -1:
        """Execute a part whose answer nobody waits for."""
        cdef Buffer kept = self.out
        cdef RunHeader run
        memset(&self.out, 0, sizeof(Buffer))
        memcpy(&run, PyBytes_AS_STRING(transaction.part.data), sizeof(RunHeader))
        run.flags |= RUN_REPLY_OFF
        self.runner.start_batch()
        try:
            self._open_part(&run)
            self._run_part(transaction)
        finally:
            self.part_open = False
            buffer_free(&self.out)
            self.out = kept
        return 0

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
                    self.runner.start_batch()
                    self.out_link = number
                    answered += self.execute_message(
                        number, PyBytes_AS_STRING(postponed), PyBytes_GET_SIZE(postponed)
                    )
                elif link.receive(&message):
                    if taken == 0:
                        self.runner.start_batch()
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
        if unlikely(<uint8_t>data[0] != MESSAGE_RUNS):
            if <uint8_t>data[0] == MESSAGE_READ:
                self._note_read(link, data)
            elif <uint8_t>data[0] == MESSAGE_CANCEL:
                self._cancel(link, data)
            return False
        if unlikely(self.states[link].stalled):
            return self._take_stalled(link, data, n)
        return self.execute_message(link, data, n)

    cdef bint _take_stalled(self, uint32_t link, const char *data, size_t n) except -1:
        """A message of a stalled worker: its internal runs are executed, the others postponed.

        Whether it is one that is answered now: nothing of it was postponed.
        """
        cdef RequestHeader header
        cdef list rest
        memcpy(&header, data, sizeof(RequestHeader))
        if header.kind != MESSAGE_RUNS or header.epoch != self.epoch:
            return False
        rest = self._run_internal(link, data + sizeof(RequestHeader), data + n)
        if not rest:
            return True
        self.postponed[link].append(PyBytes_FromStringAndSize(data, sizeof(RequestHeader)) + b"".join(rest))
        return False

    cdef list _run_internal(self, uint32_t link, const char *cursor, const char *end):
        """Execute the worker's own runs among these; the others."""
        cdef RunHeader run
        cdef list rest = []
        while cursor < end:
            memcpy(&run, cursor, sizeof(RunHeader))
            if run.flags & RUN_INTERNAL:
                self._special_run(link, cursor, run_size(&run))
            else:
                rest.append(PyBytes_FromStringAndSize(cursor, run_size(&run)))
            cursor += run_size(&run)
        return rest

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

    cdef int _cancel(self, uint32_t link, const char *data) except -1:
        """A client has gone: drop what is parked for it, as far as it has not begun to run. O(that)"""
        cdef CancelHeader header
        cdef Held held
        memcpy(&header, data, sizeof(CancelHeader))
        if header.epoch != self.epoch or not self._has_parked(link, header.client):
            return 0
        for held in self.parked[link, header.client]:
            held.dropped = True
            if held.ticket is not None:
                self.release(held.ticket)
                held.ticket = None
        self._send()
        self._go_on((link, header.client))
        self.out_link = link
        return 0

    def push(self, uint32_t link, uint32_t client, uint64_t client_id, bytes data not None):
        """Send bytes that answer nothing to a worker's client, after all that it was answered here."""
        cdef PushHeader header
        if self.links[link] is None:
            return
        memset(&header, 0, sizeof(header))
        header.kind = MESSAGE_PUSH
        header.epoch = self.epoch
        header.client = client
        header.bytes = <uint32_t>len(data)
        header.client_id = client_id
        self.pushes.append((link, PyBytes_FromStringAndSize(<const char *>&header, sizeof(header)) + data))
        if not self.part_open:
            self._send()                # what was answered comes first, and then takes this along
            self._send_pushes()

    cdef int _send_pushes(self) except -1:
        cdef Link link
        cdef list pushes = self.pushes
        self.pushes = []
        for number, message in pushes:
            if self.links[number] is not None:
                link = self.links[number]
                link.send(PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message))
                self._note_unread(<uint32_t>number, PyBytes_GET_SIZE(message))
        return 0

    cdef void _note_unread(self, uint32_t link, size_t n) noexcept:
        self.states[link].unread += n
        if unlikely(self.states[link].unread > self.unread_bytes_max):
            self.states[link].stalled = True

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
        cdef bint first = False
        cdef bint locked = False            # its next command may have to wait
        cdef Key *key
        while left or cursor < end:
            # A run that was parked or has locked something can have done this; the loop over the
            # window looks for itself.
            if unlikely(self.states[link].stalled) and left == 0:
                return self._postpone_rest(link, cursor, end)
            if unlikely(locked):
                locked = False
                if self.part_open:
                    self._park_part()
                memcpy(&run, run_at, sizeof(RunHeader))
                self._special_rest(link, run_at, run_size(&run), run.commands - left, raw)
                left = 0
                continue
            count = 0
            while count < WINDOW:
                if left == 0:
                    if cursor >= end:
                        break
                    memcpy(&run, cursor, sizeof(RunHeader))
                    if unlikely(run.flags & (RUN_BULK | RUN_TRANSACTION)) or unlikely(
                        self.states[link].waiting and self._has_parked(link, run.client)
                    ):
                        if count:
                            break           # what is gathered comes first
                        self._special_run(link, cursor, run_size(&run))
                        cursor += run_size(&run)
                        if unlikely(self.states[link].stalled):
                            break
                        continue
                    run_at = cursor
                    headers = cursor + sizeof(RunHeader)
                    raw = headers + <size_t>run.commands * sizeof(CommandHeader)
                    left = run.commands
                    physical = self.store.physical[run.database]
                    first = True
                    cursor += run_size(&run)
                step = &steps[count]
                memcpy(&step.header, headers, sizeof(CommandHeader))
                key = &step.key
                key.slot = step.header.slot
                key.database = physical
                key.data = raw + step.header.key_offset
                key.length = step.header.key_length
                if likely(step.header.key_offset != 0):
                    key.hash = store_hash(self.store, key.data, key.length)
                    store_prefetch_table(self.store, key)
                if unlikely(self.locks.tickets != 0) and not self.is_untouched(
                        &self.table.specs[step.header.id], key):
                    locked = True
                    break
                step.raw = raw
                step.run = run_at
                step.first = first
                step.left = left - 1
                first = False
                headers += sizeof(CommandHeader)
                raw += step.header.length
                left -= 1
                count += 1
            for i in range(count):
                if likely(steps[i].header.key_offset != 0):
                    store_prefetch_bucket(self.store, &steps[i].key)
            for i in range(count):
                if likely(steps[i].header.key_offset != 0):
                    store_prefetch_entry(self.store, &steps[i].key)
            for i in range(count):
                step = &steps[i]
                if step.first:
                    self._open_part(<const RunHeader *>step.run)
                # Looked up again: a SWAPDB may have run since the key was prefetched.
                step.key.database = self.store.physical[self.run.database]
                self._execute(&step.header, &step.key, step.raw)
                if step.left == 0:
                    self._close_part(PART_DONE, 0)
                    if likely(not self.states[link].stalled):
                        continue
                    memcpy(&run, step.run, sizeof(RunHeader))
                    return self._postpone_rest(link, step.run + run_size(&run), end)
                if unlikely(self.out.used > self.cut_at) and self._cut_part():
                    memcpy(&run, step.run, sizeof(RunHeader))
                    self._postpone(
                        link, rest_of_run(step.run, run.commands - step.left),
                        step.run + run_size(&run), end,
                    )
                    return False
        return True

    cdef bint _postpone_rest(self, uint32_t link, const char *cursor, const char *end) except -1:
        """The worker is stalled: execute its internal runs only. Whether nothing is left."""
        cdef list rest = self._run_internal(link, cursor, end)
        if not rest:
            return True
        self._postpone(link, b"".join(rest), end, end)
        return False

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
        self.call.database = self.run.database
        self.call.resp = self.run.resp
        self.call.flags = self.run.flags
        self.call.user = self.run.user
        self.call.client_id = self.run.client_id
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
        # What is after a bulk reply ends it: both halves go in one message, or a death between
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
        header.durable = self.durable
        self.taken = 0
        memcpy(self.out.data, &header, sizeof(header))
        if self.links[self.out_link] is not None:
            link = self.links[self.out_link]
            link.send(self.out.data, self.out.used)
            self._note_unread(self.out_link, self.out.used)
        self.out.used = 0
        self.parts = 0
        if self.out.size > OUT_KEEP_BYTES:
            buffer_free(&self.out)
        if unlikely(len(self.pushes) > 0):
            self._send_pushes()
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
        """Run what waited for a bulk message that is here now, or for the worker to read."""
        for key in [key for key in self.parked if key[0] == link]:
            self._go_on(key)
        self.run_granted()

    def _go_on(self, key):
        """Run what a client has parked, as far as nothing is missing."""
        cdef Held held
        cdef RunHeader run
        cdef LinkState *state = &self.states[<uint32_t>key[0]]
        waiting = self.parked.get(key)
        while waiting:
            held = waiting[0]
            memcpy(&run, PyBytes_AS_STRING(held.data), sizeof(RunHeader))
            if (state.stalled and not run.flags & RUN_INTERNAL) or not self._ready(held):
                break
            self.runner.start_batch()
            self.out_link = held.link
            done = self._run_held(held)
            self._send()
            if not done:
                break
            waiting.popleft()
            state.parked[<uint32_t>key[1]] -= 1
            state.waiting -= 1
            if not waiting:
                del self.parked[key]

    cdef bint _ready(self, Held held) except -1:
        cdef RunHeader run
        if held.ticket is not None:
            return held.ticket.missing == 0
        memcpy(&run, PyBytes_AS_STRING(held.data), sizeof(RunHeader))
        return held.bulk is not None or not run.flags & RUN_BULK or (held.link, run.bulk) in self.arrived

    cdef bint _has_parked(self, uint32_t link, uint32_t client) noexcept:
        cdef LinkState *state = &self.states[link]
        return client < state.parked_size and state.parked[client] != 0

    cdef int _park(self, Held held, uint32_t client) except -1:
        """Set a run aside, after those of its client that are."""
        cdef LinkState *state = &self.states[held.link]
        cdef uint32_t size = state.parked_size
        if client >= size:
            size = max(2 * size, client + 64)
            state.parked = <uint32_t *>realloc(state.parked, size * sizeof(uint32_t))
            if state.parked == NULL:
                out_of_memory(size * sizeof(uint32_t))
            memset(state.parked + state.parked_size, 0, (size - state.parked_size) * sizeof(uint32_t))
            state.parked_size = size
        state.parked[client] += 1
        state.waiting += 1
        key = held.link, client
        waiting = self.parked.get(key)
        if waiting is None:
            waiting = self.parked[key] = deque()
        waiting.append(held)
        return 0

    cdef int _special_run(self, uint32_t link, const char *data, size_t n) except -1:
        """A run that may have to wait, or one after such a run of the same client."""
        cdef RunHeader run
        memcpy(&run, data, sizeof(RunHeader))
        self._special_rest(link, data, n, 0, data + run_head(&run) + <size_t>run.commands * sizeof(CommandHeader))
        return 0

    cdef int _special_rest(self, uint32_t link, const char *data, size_t n, uint32_t done,
                           const char *raw) except -1:
        """The same, for what is left of a run after its first `done` commands, from `raw` on."""
        cdef RunHeader run
        cdef Held held = Held.__new__(Held)
        memcpy(&run, data, sizeof(RunHeader))
        held.data = PyBytes_FromStringAndSize(data, n)
        held.link = link
        held.at = done
        held.offset = raw - (data + run_head(&run) + <size_t>run.commands * sizeof(CommandHeader))
        if self._has_parked(link, run.client) or not self._ready(held) or not self._run_held(held):
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
            self._open_part(&run)
            self._close_part(PART_DONE, 0)
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
                    self._open_part(&run)
                    time = b":%d\r\n" % self.store.now_ms
                    buffer_append(&self.out, PyBytes_AS_STRING(time), PyBytes_GET_SIZE(time))
            transaction = self.transactions.get(label.id)
            if transaction is None:
                return self._refuse_run(&run)
            if run.flags & RUN_PREPARE:
                transaction.part = held
                if not opened:
                    self._open_part(&run)
                self._close_part(PART_DONE, 0)
                return True
            if run.flags & RUN_COMMIT:
                return self._commit(held, transaction, &label)
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
                        self._park_part()
                    return False
            if not opened:
                opened = True
                self._open_part(&run)
            if held.bulk is not None and held.bulk.message.holder == NULL:
                self.runner.shard.adopt = &held.bulk.message
            self._execute_for(transaction, &header, &key, raw)
            self.runner.shard.adopt = NULL
            if ticket is not None:
                self.release(ticket)
            raw += header.length
            held.offset += header.length
            held.at += 1
            if (
                unlikely(self.out.used > self.cut_at and held.at < run.commands)
                and not run.flags & RUN_INTERNAL and self._cut_part()
            ):
                return False
        if not opened:
            self._open_part(&run)
        self._close_part(PART_DONE, 0)
        if run.flags & RUN_RELEASE:
            del self.transactions[transaction.id]
            self.release(transaction.ticket)
        return True

    # -- transactions

    cdef int _execute_for(self, Transaction transaction, const CommandHeader *header, const Key *key,
                          const char *raw) except -1:
        """Execute a command, of a transaction or of none."""
        cdef uint64_t hits, misses
        if transaction is None:
            return self._execute(header, key, raw)
        hits = self.store.hits
        misses = self.store.misses
        self.runner.context.transaction = transaction
        self.store.quiet = self.run.flags & RUN_QUIET != 0
        try:
            self._execute(header, key, raw)
        finally:
            self.runner.context.transaction = None
            self.store.quiet = False
            if self.run.flags & RUN_QUIET:
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
        if ticket is None:
            memcpy(&run, PyBytes_AS_STRING(held.data), sizeof(RunHeader))
            if run.flags & RUN_KEYS:
                waits = run.flags & RUN_WAIT != 0
                ticket = self._ticket_of_run(held, &run, raw)
            else:
                words = self._arguments(header, raw)
                waits = words[1] != b"try"
                wants = {words[i]: words[i + 1] == b"w" for i in range(LOCKED_KEYS_AT, len(words) - 1, 2)}
                ticket = self.locks.ticket(
                    wants, MODE_CHANGES if True in wants.values() else MODE_SHARES, held)
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
        self._open_part(run)
        if run.flags & RUN_KEYS:
            buffer_append(&self.out, b"-REFUSED\r\n", 10)
        else:
            for i in range(0 if run.flags & RUN_PREPARE else run.commands):
                buffer_append(&self.out, b"-REFUSED\r\n", 10)
                self.part_commands += 1
        self._close_part(PART_DONE, 0)
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
        self.runner.freeze_time(label.time_ms)
        try:
            self._open_part(&run)
            self._run_part(transaction)
            self._close_part(PART_DONE, 0)
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
            if part.bulk is not None and part.bulk.message.holder == NULL:
                self.runner.shard.adopt = &part.bulk.message
            self._execute_for(transaction, &header, &key, raw)
            self.runner.shard.adopt = NULL
            raw += header.length
        transaction.part = None
        transaction.borrowed.clear()
        return 0

    # -- locks

    cdef bint is_untouched(self, const CommandSpec *spec, const Key *key):
        """Whether no lock concerns a command with at most one key, which this is; else a closer look is due."""
        cdef bint writes = spec.flags & FLAG_WRITE
        if spec.key_mode == KEYS_NONE:
            return not writes and not self.locks.mode_blocks(False)
        if spec.key_mode != KEYS_RANGE or spec.key_first != spec.key_last or self.locks.mode_blocks(writes):
            return False
        return slot_is_quiet(self.locks, key.slot) or not self.locks.key_blocks(key.hash, writes)

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

    cdef Ticket _ticket_of_run(self, Held held, const RunHeader *run, const char *raw):
        """What the commands of a run need, all together. O(arguments)

        Without a key, a command that reads needs the whole shard to stay as it is, and one that writes
        needs it alone.
        """
        cdef CommandHeader header
        cdef const char *headers = PyBytes_AS_STRING(held.data) + run_head(run)
        cdef bint writes
        cdef bint changes = False, whole = False
        cdef uint32_t i
        cdef dict wants = {}
        for i in range(run.commands):
            memcpy(&header, headers + <size_t>i * sizeof(CommandHeader), sizeof(CommandHeader))
            arguments = self._arguments(&header, raw)
            raw += header.length
            writes = self.table.specs[header.id].flags & FLAG_WRITE != 0
            changes |= writes
            positions = self.table.keys(header.id, arguments)
            whole |= not positions
            for position in positions or ():
                wants[arguments[position]] = wants.get(arguments[position], False) or writes
        if whole:
            return self.locks.ticket(wants, MODE_ALONE if changes else MODE_READS_ALL, held)
        return self.locks.ticket(wants, MODE_CHANGES if changes else MODE_SHARES, held)

    cdef list _arguments(self, const CommandHeader *header, const char *raw):
        cdef Argv argv
        cdef uint32_t i
        self._parse(raw, header, &argv)
        return [
            PyBytes_FromStringAndSize(argv.args[i].data, argv.args[i].length) for i in range(argv.argc)
        ]

    cdef Ticket _ticket_for(self, const CommandHeader *header, const Key *key, const char *raw, Held held):
        """The ticket of a command that has to wait for its keys; None: it may run."""
        cdef Ticket ticket
        if self.locks.tickets == 0 or self.is_untouched(&self.table.specs[header.id], key):
            return None
        ticket = self.ticket_of(header.id, self._arguments(header, raw), held)
        if not self.locks.blocks(ticket):
            return None
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
        cdef Blob *blob = self.runner.shard.blob
        cdef size_t n = blob.length     # a copy, as it may be released as soon as it is sent
        cdef Link link = self.bulk_links[self.out_link]
        self.runner.shard.blob = NULL
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
        cdef Call *call = &self.call
        cdef size_t start = self.out.used
        cdef int ran
        self._parse(raw, header, &call.argv)
        call.argv.key = key[0]
        call.id = header.id
        call.keyed = header.key_offset != 0
        ran = self.runner.run_one(call, &self.out)
        self.part_commands += 1
        if unlikely(ran):
            self.part_slow |= ran & RAN_SLOW != 0   # whose it was, the worker knows
            if ran & RAN_BLOB:
                self._blob_reply()
                return 0
        if unlikely(self.out.used - start > BULK_BYTES_MIN):
            self._bulk_reply(start)
        return 0

    @property
    def unfinished(self):
        """Runs that wait for bulk messages, and messages whose worker is stalled."""
        return sum(map(len, self.parked.values())) + sum(map(len, self.postponed))
