"""Execute the commands of runs, and send workers their replies; the contract is in answers.pxd."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from actors.mailbox cimport Link, release_memory
from protocol.buffer cimport buffer_append, buffer_free, buffer_reserve
from protocol.envelope cimport (
    BULK_BYTES_MIN, MESSAGE_CLAIM, MESSAGE_PUSH, MESSAGE_REPLIES, PART_BLOCKED, PART_BULK, PART_DONE, PART_PARKED,
    PART_SLOW, PART_UNBLOCKED, RUN_ATOMIC, RUN_INTERNAL, RUN_MULTI, RUN_REPLY_OFF, RUN_TRANSACTION,
    UNREAD_BYTES_MAX, ClaimHeader, CommandHeader, PartHeader, PushHeader, ReplyHeader, RunHeader, bulk_counted,
)
from protocol.native cimport fatal, out_of_memory, unlikely
from protocol.numbers cimport format_int64
from shards.execution.runner cimport (
    RAN_BLOB, RAN_BLOCKED, RAN_SLOW, RAN_UNBLOCKED, Call, Runner,
)
from shards.execution.serving cimport Answerer, Serving, has_notes
from shards.execution.waiting cimport Transaction
from shards.execution.watches cimport Watches
from shards.keyspace.keyspace cimport Blob, Key, Store, blob_release, store_hash
from shards.lane.effects cimport effects_begin, effects_end
from shards.lane.handler cimport Arg, Argv

cdef enum:
    OUT_BYTES_MAX = 256 << 10
    OUT_KEEP_BYTES = 1 << 20
    ARGS_FIRST = 64
    ARGS_KEEP = 4096                    # a larger array of arguments is given back


cdef void release_blob(void *data, void *hint) noexcept nogil:
    blob_release(<Blob *>hint)


@cython.final
cdef class Answers(Answerer):
    """The replies of one shard incarnation to its workers."""

    def __cinit__(self, Runner runner not None, uint32_t epoch):
        self.runner = runner
        self.store = runner.shard.store
        self.epoch = epoch
        self.counted = 1
        self.watches = Watches(runner.keyspace)
        runner.context.watches = self.watches
        self.links = []
        self.bulk_links = []
        self.bulk_sent = []
        self.pushes = []
        self.served_links = []
        self.serving = Serving(runner, self)
        self.out_bytes_max = self.cut_at = OUT_BYTES_MAX
        self.unread_bytes_max = UNREAD_BYTES_MAX
        self.args_size = ARGS_FIRST
        self.args = <Arg *>malloc(self.args_size * sizeof(Arg))
        if self.args == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.served_size):
            buffer_free(&self.served[i].parts)
        free(self.served)
        free(self.args)
        free(self.unread)
        buffer_free(&self.out)
        buffer_free(&self.message)

    cdef uint32_t add_links(self, Link link, Link bulk_link) except? 0xFFFFFFFF:
        """A worker's two links; returns their number, maybe one that has become free."""
        cdef uint32_t i
        cdef Unread *unread
        cdef Served *served
        for i in range(len(self.links)):
            if self.links[i] is None:
                break
        else:
            i = len(self.links)
            unread = <Unread *>realloc(self.unread, (i + 1) * sizeof(Unread))
            if unread == NULL:
                raise MemoryError
            self.unread = unread
            served = <Served *>realloc(self.served, (i + 1) * sizeof(Served))
            if served == NULL:
                raise MemoryError
            self.served = served
            self.served_size = i + 1
            memset(&self.served[i], 0, sizeof(Served))
            for column in (self.links, self.bulk_links, self.bulk_sent):
                column.append(None)
        self.links[i] = link
        self.bulk_links[i] = bulk_link
        self.bulk_sent[i] = 0
        memset(&self.unread[i], 0, sizeof(Unread))
        self.served[i].parts.used = 0
        self.served[i].count = 0
        return i

    cdef int push(self, uint32_t link, uint32_t client, uint64_t client_id, bytes data) except -1:
        """Send bytes that answer nothing to a worker's client, after all that it was answered here."""
        cdef PushHeader header
        if self.links[link] is None:
            return 0
        memset(&header, 0, sizeof(header))
        header.kind = MESSAGE_PUSH
        header.epoch = self.epoch
        header.client = client
        header.bytes = <uint32_t>len(data)
        header.client_id = client_id
        self.pushes.append((link, PyBytes_FromStringAndSize(<const char *>&header, sizeof(header)) + data))
        if not self.part_open:
            self.send()                # what was answered comes first, and then takes this along
            self._send_pushes()
        return 0

    cdef int claim(self, uint32_t link, uint64_t id) except -1:
        cdef ClaimHeader header
        if self.links[link] is None:
            return 0
        memset(&header, 0, sizeof(header))
        header.kind = MESSAGE_CLAIM
        header.epoch = self.epoch
        header.id = id
        self.pushes.append((link, PyBytes_FromStringAndSize(<const char *>&header, sizeof(header))))
        if not self.part_open:
            self.send()
            self._send_pushes()
        return 0

    cdef int _send_pushes(self) except -1:
        cdef Link link
        cdef list pushes = self.pushes
        self.pushes = []
        for number, message in pushes:
            if self.links[number] is not None:
                link = self.links[number]
                link.send(PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message))
                self._note_unread(<uint32_t>number, PyBytes_GET_SIZE(message))
                if number != self.out_link:
                    self.sent_elsewhere = True
        return 0

    cdef void _note_unread(self, uint32_t link, size_t n) noexcept:
        self.unread[link].bytes += n
        if unlikely(self.unread[link].bytes > self.unread_bytes_max):
            self.unread[link].stalled = True

    cdef void open_part(self, const RunHeader *run) noexcept:
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
        self.call.may_block = not self.run.flags & (RUN_INTERNAL | RUN_TRANSACTION | RUN_MULTI | RUN_ATOMIC)
        self.part_at = self.out.used
        buffer_reserve(&self.out, sizeof(PartHeader))
        self.out.used += sizeof(PartHeader)
        self.part_commands = 0
        self.part_open = True
        self.watches.link = self.out_link

    cdef void close_part(self, uint8_t status, uint32_t bulk) noexcept:
        cdef PartHeader part
        if unlikely(self.run.flags & RUN_REPLY_OFF):
            self.out.used = self.part_at + sizeof(PartHeader)
        if unlikely(self.part_blocked):
            self.part_blocked = False
            status = PART_BLOCKED
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
            self.send()

    cdef void park_part(self) noexcept:
        """More of the run will come in later parts."""
        if self.part_commands or self.part_slow or self.out.used > self.part_at + sizeof(PartHeader):
            self.close_part(PART_PARKED, 0)
        else:
            self.out.used = self.part_at    # the last reply has gone by the bulk link
            self.part_open = False

    cdef bint cut_part(self) except -1:
        """Send what the run has been answered so far. True: its worker is stalled, and no part is open."""
        if self.run.flags & RUN_REPLY_OFF:
            self.out.used = self.part_at + sizeof(PartHeader)
            return False
        self.park_part()
        self.send()
        if self.unread[self.out_link].stalled:
            return True
        self.open_part(&self.run)
        return False

    cdef int send(self) except -1:
        """Send the replies made so far. A part that is open stays for the next message."""
        cdef ReplyHeader header
        cdef Link link
        if self.part_open:
            return 0
        if unlikely(len(self.served_links) > 0):
            self.send_served()
        if self.out.used == 0 and self.taken == 0:
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
        self.close_part(PART_PARKED, self.bulk_sent[self.out_link])
        link.send_owned(copy, n, release_memory, copy)
        self._note_bulk(n)
        self.open_part(&self.run)
        return 0

    cdef void _note_bulk(self, size_t n) noexcept:
        """So much has been sent on the bulk link."""
        self.bulk_used = True
        self.unread[self.out_link].bytes += bulk_counted(n)
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
        self.close_part(PART_PARKED, self.bulk_sent[self.out_link])
        link.send_owned(<char *>blob.data, n, release_blob, blob)
        self._note_bulk(n)
        self.open_part(&self.run)
        buffer_append(&self.out, b"\r\n", 2)
        return 0

    cdef void _resize_args(self, uint32_t size) noexcept:
        self.args_size = size
        self.args = <Arg *>realloc(self.args, size * sizeof(Arg))
        if self.args == NULL:
            out_of_memory(size * sizeof(Arg))

    cdef void parse(self, const char *raw, const CommandHeader *header, Argv *argv) noexcept:
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

    cdef list arguments(self, const CommandHeader *header, const char *raw):
        cdef Argv argv
        cdef uint32_t i
        self.parse(raw, header, &argv)
        return [
            PyBytes_FromStringAndSize(argv.args[i].data, argv.args[i].length) for i in range(argv.argc)
        ]

    cdef int execute(self, const CommandHeader *header, const Key *key, const char *raw) except -1:
        cdef Call *call = &self.call
        cdef size_t start = self.out.used
        cdef int ran
        self.parse(raw, header, &call.argv)
        call.argv.key = key[0]
        call.id = header.id
        call.keyed = header.key_offset != 0
        ran = self.runner.run_one(call, &self.out)
        self.part_commands += self.counted
        if unlikely(ran):
            self.part_slow |= ran & RAN_SLOW != 0   # whose it was, the worker knows
            if ran & RAN_BLOB:
                self._blob_reply()
                start = self.out.used
            elif ran & RAN_BLOCKED:
                self.part_commands -= self.counted
                self.part_blocked = True
                self.serving.block(call, &self.run, self.out_link)
        if unlikely(self.out.used - start > BULK_BYTES_MIN):
            self._bulk_reply(start)
        if unlikely(has_notes(self.serving)) and self.counted:
            self.serve_waiters()
        return 0

    cdef int serve_waiters(self) except -1:
        """Run those who wait for what has been made now; a transaction's are run at its end."""
        cdef Transaction transaction = self.runner.context.transaction
        if transaction is None:
            self.serving.serve(self.running)
        else:
            transaction.notes += self.serving.take_notes()
        return 0

    # -- replies of commands that waited

    cdef void parse_command(self, const char *raw, const CommandHeader *header, Argv *argv) noexcept:
        self.parse(raw, header, argv)

    cdef int answer(self, uint32_t link, const RunHeader *run, const Buffer *reply, int ran) except -1:
        """It goes with what its worker is sent next; a large one is on its way at once."""
        cdef Served *served = &self.served[link]
        cdef PartHeader part
        cdef char *copy
        cdef size_t n = 0 if run.flags & RUN_REPLY_OFF else reply.used
        if self.links[link] is None:
            return 0
        memset(&part, 0, sizeof(part))
        part.client = run.client
        part.sequence = run.sequence
        part.bytes = <uint32_t>n
        part.commands = 1 if reply.used else 0
        part.status = PART_DONE
        part.flags = (PART_SLOW if ran & RAN_SLOW else 0) | (PART_UNBLOCKED if ran & RAN_UNBLOCKED else 0)
        if n > BULK_BYTES_MIN:
            copy = <char *>malloc(n)
            if copy == NULL:
                out_of_memory(n)
            memcpy(copy, reply.data, n)
            self.bulk_sent[link] += 1
            part.bulk = self.bulk_sent[link]
            part.bytes = 0
            part.flags |= PART_BULK
            (<Link>self.bulk_links[link]).send_owned(copy, n, release_memory, copy)
            self.unread[link].bytes += bulk_counted(n)
            self.bulk_used = True
            self.sent_elsewhere = True
        if served.count == 0:
            self.served_links.append(link)
        buffer_append(&served.parts, &part, sizeof(part))
        buffer_append(&served.parts, reply.data, part.bytes)
        served.count += 1
        return 0

    cdef int send_served(self) except -1:
        """Send what `answer` has gathered: along with the replies under construction, or alone."""
        cdef Served *served
        cdef ReplyHeader header
        cdef Link link
        cdef uint32_t number
        cdef list numbers = self.served_links
        self.served_links = []
        memset(&header, 0, sizeof(header))
        header.kind = MESSAGE_REPLIES
        header.epoch = self.epoch
        header.durable = self.durable
        for number in numbers:
            served = &self.served[number]
            if self.links[number] is None:
                pass
            elif number == self.out_link and (self.out.used or self.taken):
                if self.out.used == 0:
                    buffer_append(&self.out, &header, sizeof(header))
                    self.parts = 0
                buffer_append(&self.out, served.parts.data, served.parts.used)
                self.parts += served.count
            else:
                header.parts = served.count
                self.message.used = 0
                buffer_append(&self.message, &header, sizeof(header))
                buffer_append(&self.message, served.parts.data, served.parts.used)
                link = self.links[number]
                link.send(self.message.data, self.message.used)
                self._note_unread(number, self.message.used)
                self.sent_elsewhere = True
            served.parts.used = 0
            served.count = 0
            if served.parts.size > OUT_KEEP_BYTES:
                buffer_free(&served.parts)
        if self.message.size > OUT_KEEP_BYTES:
            buffer_free(&self.message)
        return 0

    cdef int execute_all(self, const RunHeader *run, const char *headers, const char *raw) except -1:
        """Execute an EXEC's commands with nothing in between, at one time; a part with one array.

        Its effects are one record. O(commands)
        """
        cdef CommandHeader header
        cdef Key key
        cdef char length[24]
        cdef size_t digits
        cdef uint32_t i
        cdef uint64_t next_ms_ticks
        if self.runner.begun >= self.runner.next_ms_ticks:
            self.runner.tick(self.runner.begun)
        next_ms_ticks = self.runner.next_ms_ticks
        self.runner.next_ms_ticks = <uint64_t>-1
        self.open_part(run)
        if unlikely(run.watches) and not self._is_unchanged(run):
            buffer_append(&self.out, b"*-1\r\n" if run.resp == 2 else b"_\r\n", 5 if run.resp == 2 else 3)
            self.part_commands += 1
            self.close_part(PART_DONE, 0)
            self.runner.next_ms_ticks = next_ms_ticks
            return 0
        length[0] = c"*"
        digits = 1 + <size_t>format_int64(length + 1, run.commands)
        length[digits] = c"\r"
        length[digits + 1] = c"\n"
        buffer_append(&self.out, length, digits + 2)
        self.counted = 0
        effects_begin(self.store, run.database, NULL, 0, 0, 0)
        try:
            for i in range(run.commands):
                memcpy(&header, headers + <size_t>i * sizeof(CommandHeader), sizeof(CommandHeader))
                key.data = raw + header.key_offset
                key.length = header.key_length
                key.slot = header.slot
                key.database = self.store.physical[run.database]
                key.hash = store_hash(self.store, key.data, key.length)
                self.execute(&header, &key, raw)
                raw += header.length
        finally:
            effects_end(self.store)
            self.counted = 1
            self.runner.next_ms_ticks = next_ms_ticks
        self.part_commands += 1
        self.close_part(PART_DONE, 0)
        if unlikely(has_notes(self.serving)):
            self.serve_waiters()
        return 0

    cdef bint _is_unchanged(self, const RunHeader *run) except -1:
        """Whether EXEC may run: nothing that its client watches has changed. It ends the watches."""
        cdef bint unchanged = self.watches.unchanged(run.client_id)
        self.watches.unwatch(run.client_id)
        return unchanged
