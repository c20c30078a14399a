"""See coordinator.pxd."""

from collections import deque

from protocol.commands import F, Request, Response
from protocol.errors import LOADING as LOADING_ERROR

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from protocol.buffer cimport Buffer, buffer_append, buffer_free, buffer_reserve
from protocol.envelope cimport (
    BULK_BYTES_MIN, PART_BULK, PART_DONE, RUN_COMMIT, RUN_INTERNAL, RUN_KEYS, RUN_LOCKS, RUN_MULTI, RUN_NO_TOUCH,
    RUN_PREPARE, RUN_RELEASE, RUN_TRANSACTION, RUN_WAIT, TRANSACTION_COUNTER_BITS, CommandHeader, PartHeader,
    RunHeader, TransactionHeader,
)
from protocol.native cimport CLOCK_MONOTONIC, clock_ns, likely, out_of_memory, unlikely
from protocol.replies cimport skip
from protocol.reply cimport reply_error
from protocol.resp cimport Span
from protocol.slots cimport key_slot
from protocol.table cimport CommandSpec, NativeTable
from router.batches cimport Batches
from sessions.output cimport (
    Block, Output, _release_buffer, block_new, output_append_block, output_bytes, output_free,
)
from sessions.queue cimport CommandQueue, split_command
from sessions.session cimport (
    HOLD, STATE_CLOSED, STATE_HELD, STATE_LOCKING, STATE_SHARD_FULL, TAKEN, WAIT, Pending, Session,
)

cdef enum:
    OPEN_MAX = 1024                     # as router.transactions.TRANSACTIONS_MAX
    REPLY_BYTES_MAX = 8 << 20           # what shards may answer to all that are open, as far as can be known
    REPLIES_EXPECTED_FIRST = 64         # of which this share is expected of each before the first has come
    REPLY_DECAY = 8                     # a smaller reply lowers what is expected by this share of the difference
    DIGITS_MAX = 20
    REFUSED_BYTES = 10
    HEAD_BYTES_MAX = DIGITS_MAX + 3     # of an array
    SERIAL_MASK = (1 << 30) - 1
    CUT_DONE = 0
    CUT_LARGE = 1                       # a part is larger than one message
    CUT_DOWN = 2                        # a shard is not up
    CUT_FULL = 3                        # a shard has too much under way

cdef const char *COMMIT_RAW = b"*1\r\n$14\r\nSHARDIS.COMMIT\r\n"
cdef const char *RELEASE_RAW = b"*1\r\n$15\r\nSHARDIS.RELEASE\r\n"
cdef const char *REFUSED = b"-REFUSED\r\n"
cdef uint32_t COMMIT_BYTES = 25
cdef uint32_t RELEASE_BYTES = 26
cdef bytes LOADING = LOADING_ERROR
cdef bytes EXEC_ABORTED = b"EXECABORT Transaction discarded because of: "
cdef uint32_t FLAG_WRITE = F.WRITE

cdef dict POLICIES = {
    Response.DEFAULT: POLICY_INTERLEAVE,
    Response.AGG_SUM: POLICY_SUM,
    Response.ALL_SUCCEEDED: POLICY_SUCCEEDED,
}


cdef inline uint32_t hop_of(uint8_t phase) noexcept nogil:
    """What a phase waits for."""
    if phase == PHASE_READING:
        return HOP_READ
    if phase == PHASE_LOCKING:
        return HOP_LOCK
    return HOP_COMMIT if phase == PHASE_COMMITTING else HOP_RELEASE


class EnvelopeError(Exception):
    """A message from a shard can't be right: nothing more of that link is taken."""


cdef inline size_t write_head(char *target, char kind, uint64_t number) noexcept nogil:
    """Write a kind, a number and a line's end; how many bytes that is."""
    cdef char digits[DIGITS_MAX]
    cdef size_t n = 0, i
    while True:
        digits[n] = c"0" + number % 10
        n += 1
        number //= 10
        if number == 0:
            break
    target[0] = kind
    for i in range(n):
        target[1 + i] = digits[n - 1 - i]
    target[n + 1] = c"\r"
    target[n + 2] = c"\n"
    return n + 3


cdef inline size_t line_end(const char *data, size_t at, size_t n) noexcept nogil:
    """The index after the line that begins at `at`; 0: it does not end."""
    cdef const char *found = NULL
    if at < n:
        found = <const char *>memchr(data + at, c"\n", n - at)
    return 0 if found == NULL else <size_t>(found - data) + 1


cdef inline bint read_number(const char *data, size_t at, size_t n, char kind, int64_t *value,
                             size_t *end) noexcept nogil:
    """Read a kind, a number of at most 18 digits and a line's end."""
    cdef int64_t number = 0
    cdef size_t first
    cdef bint negative = False
    if at >= n or data[at] != kind:
        return False
    at += 1
    if at < n and data[at] == c"-":
        negative = True
        at += 1
    first = at
    while at < n and c"0" <= data[at] <= c"9":
        if at - first >= 18:
            return False
        number = number * 10 + (data[at] - c"0")
        at += 1
    if at == first or at + 1 >= n or data[at] != c"\r" or data[at + 1] != c"\n":
        return False
    value[0] = -number if negative else number
    end[0] = at + 2
    return True


cdef inline size_t element_end(const char *data, size_t at, size_t n) noexcept nogil:
    """The index after a bulk string or null; 0: it is neither, or is cut off."""
    cdef int64_t length = 0
    cdef size_t end = 0
    if at < n and data[at] == c"_":
        return at + 3 if at + 3 <= n else 0
    if not read_number(data, at, n, c"$", &length, &end):
        return 0
    if length < 0:
        return end
    if <uint64_t>length + 2 > n - end:
        return 0
    return end + <size_t>length + 2


cdef void flatten(Output *output) noexcept nogil:
    """Make one piece of all that has come."""
    cdef Buffer whole
    cdef const Block *block = output.first
    if likely(block == NULL):
        return
    memset(&whole, 0, sizeof(Buffer))
    buffer_reserve(&whole, output_bytes(output))
    while block != NULL:
        buffer_append(&whole, block.data, block.size)
        block = block.next
    buffer_append(&whole, output.tail.data, output.tail.used)
    output_free(output)
    output.tail = whole


cdef struct Place:                      # of a reply that is being written
    Block *block                        # NULL: it is in the output's tail
    size_t used


cdef char *begin_piece(Output *output, size_t size, Place *place) noexcept nogil:
    """Where a reply of at most so many bytes can be written."""
    place.block = NULL
    place.used = 0
    if likely(size <= <size_t>BULK_BYTES_MIN):
        return buffer_reserve(&output.tail, size)
    place.block = block_new()
    place.block.data = <char *>malloc(size)
    if place.block.data == NULL:
        out_of_memory(size)
    place.block.release = _release_buffer
    place.block.ready = True
    return place.block.data


cdef void end_piece(Output *output, const Place *place) noexcept nogil:
    """The reply has been written."""
    if likely(place.block == NULL):
        output.tail.used += place.used
        return
    place.block.size = place.used
    output_append_block(output, place.block)


@cython.final
cdef class Coordinator:
    """The coordinator of one worker's Batches."""

    def __cinit__(self, Batches batches not None):
        cdef NativeTable table = batches.table
        cdef int32_t i
        self.batches = batches
        self.waiting = deque()
        self.open_max = OPEN_MAX
        self.reply_bytes_max = REPLY_BYTES_MAX
        self.reply_bytes = REPLY_BYTES_MAX // REPLIES_EXPECTED_FIRST
        self.policies = <uint8_t *>calloc(table.count + 1, sizeof(uint8_t))
        self.by_shard = <int32_t *>malloc(batches.shard_count * sizeof(int32_t))
        if self.policies == NULL or self.by_shard == NULL:
            raise MemoryError
        for i in range(batches.shard_count):
            self.by_shard[i] = -1
        for command in table.table:
            if command.request is Request.MULTI_SHARD and len(command.keys) == 1:
                self.policies[command.id] = POLICIES.get(command.response, POLICY_NONE)
        if "SHARDIS.COMMIT" in table.table:
            self.commit_header.id = table.table["SHARDIS.COMMIT"].id
            self.commit_header.length = COMMIT_BYTES
            self.release_header.id = table.table["SHARDIS.RELEASE"].id
            self.release_header.length = RELEASE_BYTES

    def __dealloc__(self):
        cdef uint32_t i
        cdef int32_t j
        cdef Transaction *transaction
        for i in range(self.made):
            transaction = self.all[i]
            for j in range(<int32_t>transaction.shards):
                output_free(&transaction.participants[j].reply)
            buffer_free(&transaction.headers)
            buffer_free(&transaction.parts)
            free(transaction.participants)
            free(transaction.owners)
            free(transaction)
        free(self.all)
        free(self.by_slot)
        free(self.policies)
        free(self.by_shard)

    def next_id(self):
        """The id of a new transaction, whoever drives it."""
        return self._next_id()

    cdef uint64_t _next_id(self) noexcept:
        self.begun += 1
        return self.incarnation << TRANSACTION_COUNTER_BITS | self.begun

    def next_number(self):
        """The place of a transaction among all of this process."""
        self.numbered += 1
        return self.numbered

    # -- the beginning

    cdef bint _may_begin(self) noexcept:
        return self.open == 0 or (
            self.open < self.open_max and (self.open + 1) * self.reply_bytes <= self.reply_bytes_max
        )

    cdef bint _comes_first(self, Session session) noexcept:
        """Whether no run of its client is unanswered: those before another transaction are answered."""
        cdef uint32_t sequence = session.tail
        cdef const Pending *pending
        while sequence != session.head:
            sequence -= 1
            pending = &session.ring[sequence & (session.ring_size - 1)]
            if pending.shard == COORDINATED:
                return True
            if not pending.done:
                return False
        return True

    cdef int begin(self, Session session, const CommandSpec *spec, const char *raw) except -1:
        cdef Batches batches = self.batches
        cdef Transaction *transaction
        cdef int cut
        if self.policies[spec.id] == POLICY_NONE or (batches.scan.argc - 1) % <uint32_t>spec.key_step:
            return HOLD
        if not self._may_begin_for(session):
            return WAIT
        transaction = self._new()
        cut = self._cut(transaction, spec, raw)
        if unlikely(cut != CUT_DONE):
            self._give_back(transaction)
            if cut == CUT_LARGE:
                return HOLD
            if cut == CUT_DOWN:
                return self._refuse(session, spec)
            return self._wait_for_room(session, transaction)
        transaction.policy = self.policies[spec.id]
        transaction.writes = spec.flags & FLAG_WRITE != 0
        transaction.command = spec.id
        transaction.flags = session.run_flags & RUN_NO_TOUCH
        transaction.phase = PHASE_READING if self.orders_all and not transaction.writes else PHASE_LOCKING
        return self._begin(session, transaction, <uint32_t>batches.scan.length)

    cdef int begin_exec(self, Session session, CommandQueue queue, uint16_t id) except -1:
        cdef Transaction *transaction
        cdef int cut
        if not self._may_begin_for(session):
            return WAIT
        transaction = self._new()
        cut = self._cut_queue(transaction, queue)
        if unlikely(cut != CUT_DONE):
            self._give_back(transaction)
            if cut == CUT_LARGE:
                return HOLD
            if cut == CUT_DOWN:
                session._refuse(id, LOADING)
                return TAKEN
            return self._wait_for_room(session, transaction)
        transaction.policy = POLICY_IN_ORDER
        transaction.writes = queue.flags & FLAG_WRITE != 0
        transaction.command = id
        transaction.flags = session.run_flags & RUN_NO_TOUCH | RUN_MULTI
        transaction.phase = PHASE_LOCKING
        return self._begin(session, transaction, <uint32_t>queue.raw.used)

    cdef int _begin(self, Session session, Transaction *transaction, uint32_t bytes) except -1:
        self.open += 1
        transaction.id = self._next_id()
        transaction.number = 0
        transaction.time_ms = 0
        transaction.started_ns = clock_ns(CLOCK_MONOTONIC)
        transaction.serial = (transaction.serial + 1) & SERIAL_MASK
        transaction.ordered = False
        transaction.lost = False
        transaction.database = <uint16_t>session.database
        transaction.resp = <uint8_t>session.resp
        transaction.client_id = session.id
        transaction.client = session.slot
        transaction.sequence = session.tail
        transaction.unanswered = 0
        transaction.releases = 0
        session.open_pending(COORDINATED, 1, bytes, False)
        transaction.holds = not self.alone
        if transaction.holds:
            session.state |= STATE_LOCKING
        self._ask(transaction)
        return TAKEN

    cdef bint _may_begin_for(self, Session session):
        """Whether a client may begin one now; else it goes on when it may."""
        if session.head != session.tail and (
                self.batches.strict_order or not self._comes_first(session)):
            session.waits_for_barrier = True
            session.state |= STATE_HELD
            return False
        if unlikely(not self._may_begin()):
            session.state |= STATE_SHARD_FULL
            self.waiting.append(session)
            return False
        return True

    cdef int _refuse(self, Session session, const CommandSpec *spec) except -1:
        """One of its shards is down: nothing of it is executed."""
        cdef bytes reply = b"-" + LOADING + b"\r\n"
        self.batches.counts.count_call(spec.id, 0)
        self.batches.counts.count_failure(spec.id, LOADING)
        session.reply_here(PyBytes_AS_STRING(reply), PyBytes_GET_SIZE(reply))
        return TAKEN

    cdef int _wait_for_room(self, Session session, Transaction *transaction) except -1:
        cdef uint32_t i
        cdef int32_t shard
        for i in range(transaction.count):
            shard = transaction.participants[i].shard
            if self.batches.shards[shard].bytes_in_flight > self.batches.shard_bytes_max:
                self.batches._hold_back(session, shard)
                break
        return WAIT

    cdef Transaction *_new(self) except NULL:
        cdef Transaction *transaction = self.free
        cdef Transaction **all
        cdef Transaction **by_slot
        cdef uint32_t size
        if likely(transaction != NULL):
            self.free = transaction.next
            return transaction
        transaction = <Transaction *>calloc(1, sizeof(Transaction))
        all = <Transaction **>realloc(self.all, (self.made + 1) * sizeof(Transaction *))
        if transaction == NULL or all == NULL:
            out_of_memory(sizeof(Transaction))
        self.all = all
        all[self.made] = transaction
        self.made += 1
        transaction.shards = self.batches.shard_count
        transaction.participants = <Participant *>calloc(transaction.shards, sizeof(Participant))
        if transaction.participants == NULL:
            out_of_memory(transaction.shards * sizeof(Participant))
        transaction.slot = self.batches.take_slot()
        if transaction.slot >= self.by_slot_size:
            size = 2 * transaction.slot + 64
            by_slot = <Transaction **>realloc(self.by_slot, size * sizeof(Transaction *))
            if by_slot == NULL:
                out_of_memory(size * sizeof(Transaction *))
            memset(by_slot + self.by_slot_size, 0, (size - self.by_slot_size) * sizeof(Transaction *))
            self.by_slot = by_slot
            self.by_slot_size = size
        self.by_slot[transaction.slot] = transaction
        return transaction

    cdef void _give_back(self, Transaction *transaction) noexcept:
        transaction.phase = PHASE_FREE
        transaction.next = self.free
        self.free = transaction

    cdef void _make_room(self, Transaction *transaction, uint32_t items) noexcept:
        transaction.items = items
        if items <= transaction.items_size:
            return
        transaction.owners = <uint16_t *>realloc(transaction.owners, items * sizeof(uint16_t))
        if transaction.owners == NULL:
            out_of_memory(items * sizeof(uint16_t))
        transaction.items_size = items

    cdef int _take_part(self, Transaction *transaction) noexcept:
        """Make participants of the shards that are marked in `by_shard`, which then has their places."""
        cdef Batches batches = self.batches
        cdef Participant *participant
        cdef int32_t shard
        cdef int outcome = CUT_DONE
        transaction.count = 0
        for shard in range(batches.shard_count):
            if self.by_shard[shard] < 0:
                continue
            self.by_shard[shard] = transaction.count
            participant = &transaction.participants[transaction.count]
            participant.shard = shard
            participant.items = 0
            participant.bytes = 0
            participant.asked = participant.done = participant.granted = False
            participant.refused = participant.lost = False
            participant.releases = participant.blocks = 0
            participant.begin = 0
            participant.reply.tail.used = 0
            transaction.count += 1
            if unlikely(not batches.shards[shard].up):
                outcome = CUT_DOWN
            elif unlikely(batches.shards[shard].bytes_in_flight > batches.shard_bytes_max) and outcome == CUT_DONE:
                outcome = CUT_FULL
        return outcome

    cdef void _forget_shards(self, const Transaction *transaction) noexcept:
        cdef uint32_t i
        for i in range(transaction.count):
            self.by_shard[transaction.participants[i].shard] = -1

    cdef int _cut(self, Transaction *transaction, const CommandSpec *spec, const char *raw) except -1:
        """Cut the scanned command up by its keys' shards. O(arguments + shards)"""
        cdef Batches batches = self.batches
        cdef const Span *spans = batches.scan.spans
        cdef uint32_t step = spec.key_step
        cdef uint32_t keys = (batches.scan.argc - 1) // step
        cdef uint16_t *owners
        cdef Participant *participant
        cdef size_t name_at, name_bytes, at, end, total
        cdef uint32_t i
        cdef int32_t shard, index
        cdef int outcome
        cdef char *target
        cdef CommandHeader *headers
        cdef CommandHeader *header
        self._make_room(transaction, keys)
        owners = transaction.owners
        for i in range(keys):
            at = 1 + i * step
            shard = batches.owner[key_slot(raw + spans[at].offset, spans[at].length)]
            owners[i] = <uint16_t>shard
            self.by_shard[shard] = 0
        outcome = self._take_part(transaction)
        end = spans[0].offset + spans[0].length + 2
        total = 0
        for i in range(keys):
            index = self.by_shard[owners[i]]
            owners[i] = <uint16_t>index
            participant = &transaction.participants[index]
            at = (i + 1) * step
            at = spans[at].offset + spans[at].length + 2
            participant.items += 1
            # Of more than the limit, no more than that it is so matters.
            if likely(participant.bytes <= <uint32_t>BULK_BYTES_MIN):
                participant.bytes += <uint32_t>min(at - end, <size_t>BULK_BYTES_MIN + 1)
            end = at
        self._forget_shards(transaction)
        if unlikely(outcome != CUT_DONE):
            return outcome
        name_at = line_end(raw, 0, spans[0].offset)
        name_bytes = spans[0].offset + spans[0].length + 2 - name_at
        for i in range(transaction.count):
            participant = &transaction.participants[i]
            if unlikely(name_bytes + HEAD_BYTES_MAX + participant.bytes > <size_t>BULK_BYTES_MIN):
                return CUT_LARGE
            participant.part_at = total
            total += name_bytes + HEAD_BYTES_MAX + participant.bytes
        transaction.parts.used = 0
        target = buffer_reserve(&transaction.parts, total)
        transaction.parts.used = total
        transaction.headers.used = 0
        headers = <CommandHeader *>buffer_reserve(
            &transaction.headers, transaction.count * sizeof(CommandHeader))
        transaction.headers.used = transaction.count * sizeof(CommandHeader)
        for i in range(transaction.count):
            participant = &transaction.participants[i]
            participant.cursor = participant.part_at
            participant.cursor += write_head(target + participant.cursor, c"*", 1 + participant.items * step)
            memcpy(target + participant.cursor, raw + name_at, name_bytes)
            participant.cursor += name_bytes
            participant.items = 0
        end = spans[0].offset + spans[0].length + 2
        for i in range(keys):
            participant = &transaction.participants[owners[i]]
            if participant.items == 0:
                at = 1 + i * step
                header = &headers[owners[i]]
                header.key_offset = <uint32_t>(
                    participant.cursor - participant.part_at + spans[at].offset - end)
                header.key_length = <uint32_t>spans[at].length
                header.id = spec.id
                header.slot = <uint16_t>key_slot(raw + spans[at].offset, spans[at].length)
            participant.items += 1
            at = (i + 1) * step
            at = spans[at].offset + spans[at].length + 2
            memcpy(target + participant.cursor, raw + end, at - end)
            participant.cursor += at - end
            end = at
        for i in range(transaction.count):
            participant = &transaction.participants[i]
            participant.bytes = <uint32_t>(participant.cursor - participant.part_at)
            participant.commands = 1
            participant.first = i
            headers[i].length = participant.bytes
        return CUT_DONE

    cdef int _cut_queue(self, Transaction *transaction, CommandQueue queue) except -1:
        """Give each queued command to its shard's part. O(bytes + shards)"""
        cdef Batches batches = self.batches
        cdef const CommandHeader *queued = <const CommandHeader *>queue.headers.data
        cdef const char *raw = queue.raw.data
        cdef CommandHeader *headers
        cdef Participant *participant
        cdef uint16_t *owners
        cdef uint32_t i, first = 0
        cdef int32_t shard
        cdef size_t total = 0
        cdef int outcome
        cdef char *target
        self._make_room(transaction, queue.count)
        owners = transaction.owners
        for i in range(queue.count):
            shard = batches.owner[queued[i].slot]
            owners[i] = <uint16_t>shard
            self.by_shard[shard] = 0
        outcome = self._take_part(transaction)
        for i in range(queue.count):
            owners[i] = <uint16_t>self.by_shard[owners[i]]
            participant = &transaction.participants[owners[i]]
            participant.items += 1
            if likely(participant.bytes <= <uint32_t>BULK_BYTES_MIN):
                participant.bytes += min(queued[i].length, <uint32_t>BULK_BYTES_MIN + 1)
            if unlikely(queued[i].key_offset == 0):
                outcome = CUT_LARGE     # what it locks is for the host to say
        self._forget_shards(transaction)
        if unlikely(outcome != CUT_DONE):
            return outcome
        for i in range(transaction.count):
            participant = &transaction.participants[i]
            if unlikely(participant.bytes > <uint32_t>BULK_BYTES_MIN):
                return CUT_LARGE
            participant.commands = participant.items
            participant.first = first
            participant.part_at = participant.cursor = total
            first += participant.items
            total += participant.bytes
            participant.items = 0
        transaction.parts.used = 0
        target = buffer_reserve(&transaction.parts, total)
        transaction.parts.used = total
        transaction.headers.used = 0
        headers = <CommandHeader *>buffer_reserve(
            &transaction.headers, queue.count * sizeof(CommandHeader))
        transaction.headers.used = queue.count * sizeof(CommandHeader)
        for i in range(queue.count):
            participant = &transaction.participants[owners[i]]
            headers[participant.first + participant.items] = queued[i]
            participant.items += 1
            memcpy(target + participant.cursor, raw, queued[i].length)
            participant.cursor += queued[i].length
            raw += queued[i].length
        return CUT_DONE

    # -- hops

    cdef int _send(self, Transaction *transaction, Participant *participant, int hop, bint waits) except -1:
        cdef RunHeader run
        cdef TransactionHeader label
        cdef const CommandHeader *header
        cdef const char *raw
        memset(&run, 0, sizeof(run))
        run.client = transaction.slot
        run.sequence = transaction.serial << HOP_BITS | <uint32_t>hop
        run.map_version = self.batches.map_version
        run.client_id = transaction.client_id
        run.commands = 1
        run.bytes = COMMIT_BYTES if hop == HOP_COMMIT else RELEASE_BYTES
        run.database = transaction.database
        run.resp = transaction.resp
        run.flags = RUN_INTERNAL | transaction.flags
        if hop != HOP_READ:
            run.flags |= RUN_TRANSACTION
        label.id = transaction.id
        label.number = transaction.number
        label.time_ms = transaction.time_ms
        if hop == HOP_READ or hop == HOP_LOCK:
            if hop == HOP_LOCK:
                run.flags |= RUN_LOCKS | RUN_KEYS
                if transaction.writes:
                    run.flags |= RUN_PREPARE
                if waits:
                    run.flags |= RUN_WAIT
            run.commands = participant.commands
            run.bytes = participant.bytes
            header = <CommandHeader *>transaction.headers.data + participant.first
            raw = transaction.parts.data + participant.part_at
        elif hop == HOP_COMMIT:
            run.flags |= RUN_COMMIT
            header = &self.commit_header
            raw = COMMIT_RAW
        else:
            run.flags |= RUN_RELEASE
            header = &self.release_header
            raw = RELEASE_RAW
        self.batches.append(participant.shard, &run, &label, header, raw)
        if hop == HOP_RELEASE:
            participant.releases += 1
            transaction.releases += 1
        else:
            participant.asked = True
            transaction.unanswered += 1
        return 0

    cdef int _ask(self, Transaction *transaction) except -1:
        """Send the first hop to all shards at once."""
        cdef uint32_t i
        cdef int hop = HOP_READ if transaction.phase == PHASE_READING else HOP_LOCK
        for i in range(transaction.count):
            self._send(transaction, &transaction.participants[i], hop, self.alone)
        return 0

    cdef int _release(self, Transaction *transaction, Participant *participant) except -1:
        if participant.granted and not participant.lost:
            self._send(transaction, participant, HOP_RELEASE, False)
        participant.granted = False
        return 0

    cdef Participant *_participant(self, Transaction *transaction, int32_t shard) noexcept:
        cdef uint32_t i
        for i in range(transaction.count):
            if transaction.participants[i].shard == shard:
                return &transaction.participants[i]
        return NULL

    cdef int take(self, int32_t shard, const PartHeader *part, const char *data) except -1:
        cdef Transaction *transaction = NULL
        cdef Participant *participant
        cdef uint32_t hop = part.sequence & ((1 << HOP_BITS) - 1)
        cdef bint ended = part.status == PART_DONE
        if part.client < self.by_slot_size:
            transaction = self.by_slot[part.client]
        if unlikely(transaction == NULL):
            raise EnvelopeError(f"it answers client {part.client}, who is unknown")
        participant = self._participant(transaction, shard)
        if unlikely(
            transaction.phase == PHASE_FREE or part.sequence >> HOP_BITS != transaction.serial
            or participant == NULL or (ended and part.flags & PART_BULK)
        ):
            raise EnvelopeError("it answers a transaction that has not asked it")
        if hop == HOP_RELEASE:
            if unlikely(participant.releases == 0):
                raise EnvelopeError("it answers a release that was not sent")
            if ended:
                self.batches.shards[shard].bytes_in_flight -= RELEASE_BYTES
                participant.releases -= 1
                transaction.releases -= 1
                self._end_if_done(transaction)
            return 0
        if unlikely(not participant.asked or participant.done or hop != hop_of(transaction.phase)):
            raise EnvelopeError("it answers a hop that was not asked for")
        buffer_append(&participant.reply.tail, data, part.bytes)
        if ended:
            self.batches.shards[shard].bytes_in_flight -= (
                COMMIT_BYTES if hop == HOP_COMMIT else participant.bytes
            )
            participant.done = True
            if likely(participant.blocks == 0):
                self._hop_ended(transaction, participant)
        return 0

    cdef Output *expect_block(self, uint32_t slot, int32_t shard) noexcept:
        """Where the block goes that a part, which was just taken, has announced."""
        cdef Participant *participant = self._participant(self.by_slot[slot], shard)
        participant.blocks += 1
        return &participant.reply

    cdef int take_block(self, uint32_t slot, int32_t shard) except -1:
        cdef Transaction *transaction = self.by_slot[slot]
        cdef Participant *participant = self._participant(transaction, shard)
        participant.blocks -= 1
        if participant.done and participant.blocks == 0:
            self._hop_ended(transaction, participant)
        return 0

    cdef int _hop_ended(self, Transaction *transaction, Participant *participant) except -1:
        """All of a participant's answer is here."""
        cdef const char *data
        cdef size_t n
        cdef int64_t time_ms = 0
        flatten(&participant.reply)
        data = participant.reply.tail.data
        n = participant.reply.tail.used
        participant.begin = 0
        if (
            transaction.phase != PHASE_READING
            and n == REFUSED_BYTES and memcmp(data, REFUSED, REFUSED_BYTES) == 0
        ):
            # Of a COMMIT, by a shard that is another incarnation by now.
            participant.refused = True
            if transaction.phase == PHASE_COMMITTING:
                transaction.lost = True
        else:
            if transaction.phase == PHASE_LOCKING:
                if not read_number(data, 0, n, c":", &time_ms, &participant.begin):
                    raise EnvelopeError("it grants locks without its clock")
                if transaction.writes and participant.begin != n:
                    raise EnvelopeError("it answers what it should only have kept")
            if transaction.phase != PHASE_LOCKING or not transaction.writes:
                self._check_reply(transaction, participant)
        participant.asked = False
        participant.done = False
        participant.granted |= transaction.phase == PHASE_LOCKING and not participant.refused
        if time_ms > transaction.time_ms:
            transaction.time_ms = time_ms
        transaction.unanswered -= 1
        return self._advance(transaction)

    cdef int _advance(self, Transaction *transaction) except -1:
        """Go on once nothing is unanswered that this phase waits for."""
        if transaction.unanswered:
            return 0
        if transaction.phase == PHASE_LOCKING:
            return self._locks_answered(transaction)
        return self._end(transaction)

    cdef int _locks_answered(self, Transaction *transaction) except -1:
        cdef Participant *participant
        cdef bint refused = False
        cdef uint32_t i
        for i in range(transaction.count):
            refused |= transaction.participants[i].refused
        if unlikely(transaction.lost):
            return self._end(transaction)
        if unlikely(refused):
            if transaction.ordered or self.alone:
                transaction.lost = True     # it waits, so the shard must be another incarnation
                return self._end(transaction)
            transaction.ordered = True
            transaction.turn = 0
            for i in range(transaction.count):
                participant = &transaction.participants[i]
                self._release(transaction, participant)
                participant.refused = False
                participant.reply.tail.used = 0
            return self._send(transaction, &transaction.participants[0], HOP_LOCK, True)
        if unlikely(transaction.ordered) and transaction.turn + 1 < transaction.count:
            transaction.turn += 1
            return self._send(transaction, &transaction.participants[transaction.turn], HOP_LOCK, True)
        if not transaction.writes:
            return self._end(transaction)
        transaction.phase = PHASE_COMMITTING
        self.numbered += 1
        transaction.number = self.numbered
        for i in range(transaction.count):
            participant = &transaction.participants[i]
            participant.reply.tail.used = 0
            self._send(transaction, participant, HOP_COMMIT, False)
        return self._let_go_on(transaction, <Session>self.batches.slots[transaction.client])

    cdef int shard_down(self, int32_t shard) except -1:
        """What this shard has not answered will never be."""
        cdef uint32_t i
        cdef Transaction *transaction
        cdef Participant *participant
        cdef bint asked
        for i in range(self.made):
            transaction = self.all[i]
            if transaction.phase == PHASE_FREE:
                continue
            participant = self._participant(transaction, shard)
            if participant == NULL or participant.lost:
                continue
            participant.lost = True
            asked = participant.asked
            if participant.blocks:
                output_free(&participant.reply)
            participant.asked = participant.done = False
            participant.blocks = 0
            transaction.releases -= participant.releases
            participant.releases = 0
            if transaction.phase == PHASE_LOCKING or transaction.phase == PHASE_READING or asked:
                transaction.lost = True
            if asked:
                transaction.unanswered -= 1
            if transaction.phase == PHASE_ENDING:
                self._end_if_done(transaction)
            else:
                self._advance(transaction)
        return 0

    # -- the end

    cdef int _end(self, Transaction *transaction) except -1:
        """Answer the client, and let go."""
        cdef Batches batches = self.batches
        cdef Session session = <Session>batches.slots[transaction.client]
        cdef uint32_t sequence = transaction.sequence
        cdef bint unknown = transaction.lost and transaction.phase == PHASE_COMMITTING
        cdef bint muted = session.ring[sequence & (session.ring_size - 1)].muted
        cdef uint64_t elapsed = <uint64_t>(clock_ns(CLOCK_MONOTONIC) - transaction.started_ns)
        cdef Output *output
        cdef uint32_t i
        for i in range(transaction.count):
            self._release(transaction, &transaction.participants[i])
        transaction.phase = PHASE_ENDING
        if unlikely(unknown):
            # As when redis-server dies: no reply is true, and nothing behind it may be executed.
            session.abort()
        elif likely(not session.state & STATE_CLOSED):
            output = NULL if muted else session.output_for(sequence)
            if unlikely(transaction.lost):
                self._answer_loading(transaction, output)
            elif transaction.policy == POLICY_IN_ORDER:
                self._answer_exec(transaction, output)
                self._count_commands(session, transaction, elapsed)
            else:
                batches.counts.count_call(transaction.command, elapsed)
                self._answer(transaction, output)
                if unlikely(<int64_t>(elapsed // 1000) >= batches.slow_us):
                    batches.note_slow(
                        session, transaction.command, self._arguments(transaction), elapsed // 1000)
        for i in range(transaction.count):
            transaction.participants[i].reply.tail.used = 0
            if transaction.participants[i].reply.tail.size > <size_t>BULK_BYTES_MIN:
                buffer_free(&transaction.participants[i].reply.tail)
        session.complete_pending(sequence)
        self._let_go_on(transaction, session)
        return self._end_if_done(transaction)

    cdef int _end_if_done(self, Transaction *transaction) except -1:
        """Keep the memory for another once all locks are known to be let go."""
        if transaction.phase == PHASE_ENDING and transaction.releases == 0:
            self.open -= 1
            self._give_back(transaction)
        return 0

    cdef int _let_go_on(self, Transaction *transaction, Session session) except -1:
        """The client's later commands come after the locks."""
        if transaction.holds:
            transaction.holds = False
            session.state &= ~STATE_LOCKING
            session.resume()
        return 0

    cdef bint wake(self) except -1:
        cdef Session session
        cdef bint woken = False
        while self.waiting and self._may_begin():
            session = self.waiting.popleft()
            if session.state & STATE_CLOSED:
                continue
            woken = True
            session.state &= ~STATE_SHARD_FULL
            session.resume()
        return woken

    # -- replies

    cdef int _check_reply(self, const Transaction *transaction, Participant *participant) except -1:
        """Find out what can't be right while it is known whose it is. O(bytes)"""
        cdef const char *data = participant.reply.tail.data
        cdef size_t n = participant.reply.tail.used
        cdef size_t end = 0
        cdef int64_t number = 0
        if unlikely(n < participant.begin + 3 or data[n - 2] != c"\r" or data[n - 1] != c"\n"):
            raise EnvelopeError("it answers nothing")
        if transaction.policy == POLICY_IN_ORDER:
            end = participant.begin
            for number in range(participant.items):
                end = skip(data, n, end)
                if <Py_ssize_t>end < 0:
                    break
            if end != n:
                raise EnvelopeError("it answers another number of commands")
            return 0
        if unlikely(data[participant.begin] == c"-"):
            return 0
        if transaction.policy == POLICY_SUM:
            if not read_number(data, participant.begin, n, c":", &number, &end) or end != n:
                raise EnvelopeError("it answers no number")
            return 0
        if transaction.policy == POLICY_SUCCEEDED:
            return 0
        if (
            not read_number(data, participant.begin, n, c"*", &number, &participant.cursor)
            or number != participant.items
        ):
            raise EnvelopeError("it answers another number of keys")
        end = participant.cursor
        while number:
            end = element_end(data, end, n)
            if end == 0:
                break
            number -= 1
        if end != n:
            raise EnvelopeError("it answers what are no strings")
        return 0

    cdef int _answer(self, Transaction *transaction, Output *output) except -1:
        """Make one reply of those of the parts; without an output, only count an error. O(bytes)"""
        cdef Participant *participant
        cdef const char *data
        cdef int64_t total = 0, number = 0
        cdef uint32_t i
        cdef size_t n, end = 0
        cdef char head[HEAD_BYTES_MAX]
        for i in range(transaction.count):
            participant = &transaction.participants[i]
            data = participant.reply.tail.data + participant.begin
            n = participant.reply.tail.used - participant.begin
            if unlikely(data[0] == c"-"):
                self.batches.counts.count_failure(
                    transaction.command, PyBytes_FromStringAndSize(data + 1, n - 3))
                if output != NULL:
                    buffer_append(&output.tail, data, n)
                return 0
            if transaction.policy == POLICY_SUM:
                read_number(data, 0, n, c":", &number, &end)
                total += number
        if transaction.policy == POLICY_INTERLEAVE:
            return self._interleave(transaction, output)
        if output == NULL:
            return 0
        if transaction.policy == POLICY_SUM:
            buffer_append(&output.tail, head, write_head(head, c":", <uint64_t>total))
        else:
            participant = &transaction.participants[0]
            buffer_append(&output.tail, participant.reply.tail.data + participant.begin,
                          participant.reply.tail.used - participant.begin)
        return 0

    cdef int _interleave(self, Transaction *transaction, Output *output) except -1:
        """Elements of all arrays in the order of the keys."""
        cdef Participant *participant
        cdef const Buffer *reply
        cdef size_t total = HEAD_BYTES_MAX, end
        cdef uint32_t i
        cdef char *target
        cdef Place place
        for i in range(transaction.count):
            participant = &transaction.participants[i]
            total += participant.reply.tail.used - participant.cursor
        if total > self.reply_bytes:
            self.reply_bytes = total
        else:
            self.reply_bytes -= (self.reply_bytes - total) // REPLY_DECAY
        if output == NULL:
            return 0
        target = begin_piece(output, total, &place)
        place.used = write_head(target, c"*", transaction.items)
        for i in range(transaction.items):
            participant = &transaction.participants[transaction.owners[i]]
            reply = &participant.reply.tail
            end = element_end(reply.data, participant.cursor, reply.used)
            memcpy(target + place.used, reply.data + participant.cursor, end - participant.cursor)
            place.used += end - participant.cursor
            participant.cursor = end
        end_piece(output, &place)
        return 0

    cdef int _answer_loading(self, Transaction *transaction, Output *output) except -1:
        """A shard has died before anything was decided."""
        cdef bytes message = LOADING
        if transaction.policy == POLICY_IN_ORDER:
            message = EXEC_ABORTED + LOADING
        else:
            self.batches.counts.count_call(transaction.command, 0)
        self.batches.counts.count_failure(transaction.command, message)
        if output != NULL:
            reply_error(&output.tail, PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message))
        return 0

    cdef int _answer_exec(self, Transaction *transaction, Output *output) except -1:
        """All replies in the order of the commands. O(bytes)"""
        cdef Participant *participant
        cdef const Buffer *reply
        cdef size_t total = HEAD_BYTES_MAX, end
        cdef uint32_t i
        cdef char *target
        cdef Place place
        if output == NULL:
            return 0
        for i in range(transaction.count):
            participant = &transaction.participants[i]
            participant.cursor = participant.begin
            total += participant.reply.tail.used - participant.begin
        target = begin_piece(output, total, &place)
        place.used = write_head(target, c"*", transaction.items)
        for i in range(transaction.items):
            participant = &transaction.participants[transaction.owners[i]]
            reply = &participant.reply.tail
            end = <size_t>skip(reply.data, reply.used, participant.cursor)
            memcpy(target + place.used, reply.data + participant.cursor, end - participant.cursor)
            place.used += end - participant.cursor
            participant.cursor = end
        end_piece(output, &place)
        return 0

    cdef int _count_commands(self, Session session, Transaction *transaction, uint64_t elapsed) except -1:
        """Count each command of an EXEC, as if all had taken the same time. O(bytes)"""
        cdef Batches batches = self.batches
        cdef Participant *participant
        cdef const Buffer *reply
        cdef const CommandHeader *header
        cdef uint64_t share = elapsed // transaction.items
        cdef bint slow = <int64_t>(share // 1000) >= batches.slow_us
        cdef uint32_t i, j
        cdef size_t at, end, raw
        for i in range(transaction.count):
            participant = &transaction.participants[i]
            reply = &participant.reply.tail
            header = <const CommandHeader *>transaction.headers.data + participant.first
            at = participant.begin
            raw = participant.part_at
            for j in range(participant.items):
                batches.counts.count_call(header.id, share)
                end = <size_t>skip(reply.data, reply.used, at)
                if unlikely(reply.data[at] == c"-"):
                    batches.counts.count_failure(
                        header.id, PyBytes_FromStringAndSize(reply.data + at + 1, end - at - 3))
                if unlikely(slow):
                    batches.note_slow(
                        session, header.id, split_command(transaction.parts.data + raw), share // 1000)
                at = end
                raw += header.length
                header += 1
        return 0

    cdef list _arguments(self, Transaction *transaction):
        """The command's arguments, put together again from its parts. O(arguments)"""
        cdef list arguments = []
        cdef Participant *participant
        cdef const char *data = transaction.parts.data
        cdef uint32_t i, word, step = 1
        cdef int64_t count = 0
        cdef size_t at = 0, end
        for i in range(transaction.count):
            participant = &transaction.participants[i]
            read_number(data, participant.part_at, transaction.parts.used, c"*", &count, &participant.cursor)
            step = <uint32_t>(count - 1) // participant.items
            end = element_end(data, participant.cursor, transaction.parts.used)
            if not arguments:
                read_number(data, participant.cursor, end, c"$", &count, &at)
                arguments.append(PyBytes_FromStringAndSize(data + at, count))
            participant.cursor = end
        for i in range(transaction.items):
            participant = &transaction.participants[transaction.owners[i]]
            for word in range(step):
                end = element_end(data, participant.cursor, transaction.parts.used)
                read_number(data, participant.cursor, end, c"$", &count, &at)
                arguments.append(PyBytes_FromStringAndSize(data + at, count))
                participant.cursor = end
        return arguments

    def check(self):
        """Raise AssertionError if an invariant is broken. O(transactions)"""
        cdef uint32_t i, j, open = 0, free = 0, unanswered, releases
        cdef Transaction *transaction = self.free
        while transaction != NULL:
            assert transaction.phase == PHASE_FREE
            free += 1
            transaction = transaction.next
        for i in range(self.made):
            transaction = self.all[i]
            assert self.by_slot[transaction.slot] == transaction
            assert self.batches.slots[transaction.slot] == NULL
            if transaction.phase == PHASE_FREE:
                continue
            open += 1
            unanswered = releases = 0
            for j in range(transaction.count):
                unanswered += transaction.participants[j].asked
                releases += transaction.participants[j].releases
            assert unanswered == transaction.unanswered
            assert releases == transaction.releases
            assert unanswered or transaction.phase == PHASE_ENDING
        assert open == self.open
        assert open + free == self.made
