"""Batches of runs in, batches of replies out; see executor.pxd and protocol/envelope.pxd.

    for each window of up to 16 commands, across runs:
        pass 1  hash the first key, prefetch its slot's table; then its bucket; then the entry
        pass 2  run_one (runner.pxd), by way of answers.pxd
    one reply message per link and batch

Here is what comes and in which order it is executed; answers.pxd has what is sent, parked.pxd the runs
that must wait for keys or bytes.

While a worker is stalled (answers.pxd) its messages are postponed, cut where execution stopped, but for
the runs of the worker itself (RUN_INTERNAL): others may wait for what only they can end.
"""

from collections import deque

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from actors.mailbox cimport Link, Message, message_release
from protocol.envelope cimport (
    MESSAGE_CANCEL, MESSAGE_READ, MESSAGE_RUNS, MESSAGE_TURN, PART_DONE, RUN_ATOMIC, RUN_BULK, RUN_INTERNAL, RUN_TRANSACTION, CommandHeader,
    ReadHeader, RequestHeader, RunHeader, TURN_END, TurnHeader, run_head, run_size,
)
from protocol.native cimport likely, unlikely
from protocol.table cimport CommandSpec
from shards.execution.answers cimport Answers, Unread
from shards.execution.locks cimport MODE_ALONE, Locks, Ticket
from shards.execution.parked cimport ParkedRuns, is_untouched
from shards.execution.runner cimport Runner
from shards.execution.serving cimport has_notes
from shards.keyspace.keyspace cimport (
    Key, Store, store_hash, store_prefetch_bucket, store_prefetch_entry, store_prefetch_table,
)

cdef enum:
    WINDOW = 16
    MESSAGES_MAX = 64                   # taken from one link before the next one has its turn
    SERVICE_MESSAGES_MAX = 256          # taken in one go: then control messages and the cron have theirs


cdef struct Step:
    const char *raw
    CommandHeader header
    Key key
    const char *run                     # its run's header
    bint first
    uint32_t left                       # commands of its run after it


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
        self.runner = runner
        self.store = runner.shard.store
        self.epoch = epoch
        self.answers = Answers(runner, epoch)
        self.parked = ParkedRuns(self.answers)
        self.postponed = []

    def add_links(self, Link link, Link bulk_link):
        """A worker's two links; returns their number, maybe one that has become free."""
        cdef uint32_t number = self.answers.add_links(link, bulk_link)
        self.parked.add_links(number)
        if number == len(self.postponed):
            self.postponed.append(None)
        self.postponed[number] = deque()
        return number

    def remove_links(self, uint32_t link):
        """The worker has gone: forget what has come from it and not been executed. O(parked)

        What it had locked stays locked until `resolve`. Returns the links, for closing.
        """
        links = self.answers.links[link], self.answers.bulk_links[link]
        self.answers.links[link] = None
        self.answers.bulk_links[link] = None
        self.postponed[link].clear()
        self.parked.remove_links(link)
        self.answers.watches.forget_link(link)
        return links

    def push(self, uint32_t link, uint32_t client, uint64_t client_id, bytes data not None):
        """Send bytes that answer nothing to a worker's client, after all that it was answered here."""
        self.answers.push(link, client, client_id, data)

    def open_transactions(self, uint64_t coordinator):
        """{id: committed} of those that a coordinator's incarnation has left here. O(transactions)"""
        return self.parked.open_transactions(coordinator)

    def resolve(self, commit, drop):
        """End transactions without their coordinator: execute the parts of some, forget the others."""
        self.parked.resolve(commit, drop)

    @property
    def locks(self):
        return self.parked.locks

    @property
    def transactions(self):
        """id -> Transaction whose locks were granted."""
        return self.parked.transactions

    def lock_alone(self, owner):
        """Ask for the whole shard; the ticket, whose owner is called with it when it is granted later."""
        cdef Ticket ticket = self.parked.locks.ticket({}, MODE_ALONE, owner)
        self.parked.locks.request(ticket)
        return ticket

    def unlock(self, Ticket ticket not None):
        """Give a ticket back, granted or not, and let those go on who waited for it."""
        self.parked.release(ticket)
        self.parked.run_granted()

    @property
    def watches(self):
        return self.answers.watches

    @property
    def has_more(self):
        """Whether `service` has left messages behind."""
        return self.parked.has_more or self.answers.sent_elsewhere

    @property
    def out_bytes_max(self):
        """A reply message is sent at this size at the latest."""
        return self.answers.out_bytes_max

    @out_bytes_max.setter
    def out_bytes_max(self, size_t n):
        self.answers.out_bytes_max = n

    @property
    def unread_bytes_max(self):
        """Sent to a worker and not read: with more, its commands wait."""
        return self.answers.unread_bytes_max

    @unread_bytes_max.setter
    def unread_bytes_max(self, uint64_t n):
        self.answers.unread_bytes_max = n

    @property
    def durable(self):
        """How far the log is on disk; 0: there is none."""
        return self.answers.durable

    @durable.setter
    def durable(self, uint64_t position):
        self.answers.durable = position

    @property
    def unfinished(self):
        """Runs that wait for bulk messages, and messages whose worker is stalled."""
        return sum(map(len, self.parked.runs.values())) + sum(map(len, self.postponed))

    # -- commands that wait

    @property
    def serving(self):
        return self.answers.serving

    def expire_waiters(self):
        """Answer commands whose time is up; the next deadline, in Unix ms, or 0."""
        next_ms = self.answers.serving.expire()
        self.parked.run_granted()
        self.answers.send()
        return next_ms

    def serve_waiters(self):
        """Let commands go on that wait for what was changed outside of commands."""
        if has_notes(self.answers.serving):
            self.runner.start_batch()
            self.answers.serve_waiters()
            self.parked.run_granted()
        self.answers.send()

    # -- batches

    def service(self):
        """Execute what has come on all links, and answer. Returns how many messages there were.

        After SERVICE_MESSAGES_MAX of a link, and after `run_granted`, `has_more` is true: the caller
        owes another call, as no wake-up for the rest will come.
        """
        cdef int total = 0
        self.parked.has_more = False
        self.answers.sent_elsewhere = False
        for link in range(len(self.answers.links)):
            if self.answers.links[link] is not None:
                self.parked.receive_bulk(link)
                total += self._serve(link)
        if len(self.parked.granted) > 0:
            self.parked.run_granted()
            self.answers.send()
        return total

    def serve(self, uint32_t link):
        """A worker's link has become readable: execute what has come on it, and answer.

        Asking a link that has nothing costs system calls (four inside libzmq), so no other one is asked.
        """
        self._serve(link)

    def serve_bulk(self, uint32_t link):
        """A worker's bulk link has become readable."""
        if self.answers.bulk_links[link] is not None:
            self.parked.receive_bulk(link)
            # What was unparked has been answered on the main link, whose wake-up that can have eaten.
            self._serve(link)

    cdef int _serve(self, uint32_t number) except -1:
        cdef int taken = 1, total = 0
        cdef uint16_t answered = 0
        cdef Message message
        cdef Link link
        cdef bytes postponed
        while taken:
            if self.answers.links[number] is None:
                break
            if total >= SERVICE_MESSAGES_MAX:
                self.parked.has_more = True
                break
            link = self.answers.links[number]
            taken = 0
            while taken < MESSAGES_MAX:
                if unlikely(len(self.postponed[number]) > 0 and not self.answers.unread[number].stalled):
                    postponed = self.postponed[number].popleft()
                    self.runner.start_batch()
                    self.answers.out_link = number
                    answered += self.execute_message(
                        number, PyBytes_AS_STRING(postponed), PyBytes_GET_SIZE(postponed)
                    )
                elif link.receive(&message):
                    if taken == 0:
                        self.runner.start_batch()
                        self.answers.out_link = number
                    try:
                        answered += self._take(number, message.data, message.size)
                    finally:
                        message_release(&message)
                else:
                    break
                taken += 1
            if taken:
                self.answers.taken = answered
                answered = 0
                self.answers.send()
                total += taken
                if unlikely(len(self.parked.granted) > 0):
                    self.parked.run_granted()
            if unlikely(self.answers.bulk_used):
                # Sending on the bulk link can have eaten its wake-up.
                self.answers.bulk_used = False
                self.parked.receive_bulk(number)
                taken = 1
        return total

    cdef bint _take(self, uint32_t link, const char *data, size_t n) except -1:
        """A message has come. Whether it is one that is answered now."""
        if unlikely(<uint8_t>data[0] != MESSAGE_RUNS):
            if <uint8_t>data[0] == MESSAGE_READ:
                self._note_read(link, data)
            elif <uint8_t>data[0] == MESSAGE_CANCEL:
                self.parked.cancel(link, data)
            elif <uint8_t>data[0] == MESSAGE_TURN:
                self._take_turn(data)
            return False
        if unlikely(self.answers.unread[link].stalled):
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
                self.parked.run_or_park(link, cursor, run_size(&run))
            else:
                rest.append(PyBytes_FromStringAndSize(cursor, run_size(&run)))
            cursor += run_size(&run)
        return rest

    cdef int _note_read(self, uint32_t link, const char *data) except -1:
        cdef ReadHeader header
        cdef Unread *unread = &self.answers.unread[link]
        memcpy(&header, data, sizeof(ReadHeader))
        if header.epoch != self.epoch:
            return 0
        unread.bytes -= min(unread.bytes, header.bytes)
        # Not at once: with little room, each postponed message would be cut to pieces.
        if unread.stalled and unread.bytes <= self.answers.unread_bytes_max // 2:
            unread.stalled = False
            self.answers.send()     # what is granted by and by may go to others
            self.parked.unpark(link)
            self.answers.out_link = link
        return 0

    cdef int _take_turn(self, const char *data) except -1:
        cdef TurnHeader header
        memcpy(&header, data, sizeof(TurnHeader))
        if header.epoch == self.epoch:
            self.answers.serving.take_turn(header.id, header.action == TURN_END)
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
        cdef Answers answers = self.answers
        cdef Locks locks = self.parked.locks
        cdef const CommandSpec *specs = self.runner.table.specs
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
            if unlikely(answers.unread[link].stalled) and left == 0:
                return self._postpone_rest(link, cursor, end)
            if unlikely(locked):
                locked = False
                if answers.part_open:
                    answers.park_part()
                memcpy(&run, run_at, sizeof(RunHeader))
                self.parked.run_rest_or_park(link, run_at, run_size(&run), run.commands - left, raw)
                left = 0
                continue
            count = 0
            while count < WINDOW:
                if left == 0:
                    if cursor >= end:
                        break
                    memcpy(&run, cursor, sizeof(RunHeader))
                    if unlikely(run.flags & (RUN_BULK | RUN_TRANSACTION | RUN_ATOMIC)) or unlikely(
                        self.parked.counts[link].runs and self.parked.has_parked(link, run.client)
                    ):
                        if count:
                            break           # what is gathered comes first
                        if (
                            run.flags & (RUN_BULK | RUN_ATOMIC) == RUN_ATOMIC and locks.tickets == 0
                            and not self.parked.has_parked(link, run.client)
                        ):
                            self._execute_all(&run, cursor)
                        else:
                            self.parked.run_or_park(link, cursor, run_size(&run))
                        cursor += run_size(&run)
                        if unlikely(answers.unread[link].stalled):
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
                if unlikely(locks.tickets != 0) and not is_untouched(
                        self.parked, &specs[step.header.id], key):
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
                    answers.open_part(<const RunHeader *>step.run)
                # Looked up again: a SWAPDB may have run since the key was prefetched.
                step.key.database = self.store.physical[answers.run.database]
                answers.execute(&step.header, &step.key, step.raw)
                if step.left == 0:
                    answers.close_part(PART_DONE, 0)
                    if likely(not answers.unread[link].stalled):
                        continue
                    memcpy(&run, step.run, sizeof(RunHeader))
                    return self._postpone_rest(link, step.run + run_size(&run), end)
                if unlikely(answers.out.used > answers.cut_at) and answers.cut_part():
                    memcpy(&run, step.run, sizeof(RunHeader))
                    self._postpone(
                        link, rest_of_run(step.run, run.commands - step.left),
                        step.run + run_size(&run), end,
                    )
                    return False
        return True

    cdef int _execute_all(self, const RunHeader *run, const char *data) except -1:
        cdef const char *headers = data + run_head(run)
        return self.answers.execute_all(
            run, headers, headers + <size_t>run.commands * sizeof(CommandHeader)
        )

    cdef bint _postpone_rest(self, uint32_t link, const char *cursor, const char *end) except -1:
        """The worker is stalled: execute its internal runs only. Whether nothing is left."""
        cdef list rest = self._run_internal(link, cursor, end)
        if not rest:
            return True
        self._postpone(link, b"".join(rest), end, end)
        return False
