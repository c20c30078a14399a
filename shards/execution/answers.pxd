"""What a shard answers its workers: the commands of a run executed, their replies gathered and sent.

    open_part   the header of a run's replies
    execute     a command of that run: run_one (runner.pxd), its reply appended; who waits for what
                it has made is served next (serving.pxd)
    execute_all the commands of an EXEC, whole, as one reply
    close_part  done, or parked: the rest comes in a later part
    send        one message for all parts since the last one

A reply above BULK_BYTES_MIN goes by the bulk link, in a part of its own; a stored blob goes uncopied.

Replies are gathered up to `out_bytes_max`, within a run, too: what has been answered of it then goes as a
PARKED part (`cut_part`). A worker that reads more slowly than its commands run is stalled: more than
`unread_bytes_max` are on their way to it. Whoever executes looks at `states[link].stalled` after each part.
So the replies under way take no more than both limits and one reply.

Contract
1. Parts are for `out_link`: before it changes, `send`.
2. A push leaves after what was answered before it, never inside a part.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from actors.mailbox cimport Link
from protocol.buffer cimport Buffer
from protocol.envelope cimport CommandHeader, RunHeader
from shards.execution.locks cimport Ticket
from shards.execution.runner cimport Call, Runner
from shards.execution.serving cimport Answerer, Serving
from shards.execution.watches cimport Watches
from shards.keyspace.keyspace cimport Key, Store
from shards.lane.handler cimport Arg, Argv

cdef struct Unread:             # by a worker
    uint64_t bytes              # of replies sent and not known to be read
    bint stalled                # too many

cdef struct Served:             # of a worker: the replies of commands that waited
    Buffer parts                # to go with the next reply message
    uint32_t count

cdef class Answers(Answerer):
    cdef Runner runner
    cdef Store *store                   # the runner's
    cdef uint32_t epoch
    cdef Watches watches
    cdef Call call                      # of the command that runs, or ran last
    cdef Arg *args
    cdef uint32_t args_size
    cdef list links                     # None: that worker has gone
    cdef list bulk_links
    cdef list bulk_sent                 # number of the last bulk message, by link
    cdef Unread *unread                 # owned, by link
    cdef size_t out_bytes_max           # a reply message is sent at this size at the latest
    cdef uint64_t unread_bytes_max
    cdef list pushes                    # (link, message) to send after the replies that are being made
    cdef uint64_t durable               # how far the log is on disk; 0: there is none
    cdef Buffer out                     # the reply message under construction
    cdef uint32_t parts
    cdef size_t cut_at                  # what `out` may hold: out_bytes_max, or 0 after much on the bulk link
    cdef size_t bulk_bytes              # on the bulk link since the last reply message
    cdef uint16_t taken                 # request messages whose answers end with the next reply message
    cdef size_t part_at                 # offset of the open part's header in `out`
    cdef RunHeader run                  # of the open part
    cdef uint32_t part_commands
    cdef uint32_t counted               # what a command counts for in its part: 1; inside of EXEC 0
    cdef bint part_open
    cdef uint32_t out_link              # the link `out` is for
    cdef bint part_slow                 # the open part has a command that is in the slow log
    cdef bint part_blocked              # the open part's command waits
    cdef Serving serving                # commands that wait
    cdef Ticket running                 # of the command that runs and had to wait for its keys; or None
    cdef Served *served                 # owned, by link, served_size of them
    cdef uint32_t served_size
    cdef list served_links              # those that have such replies
    cdef Buffer message                 # of such replies, when they go alone
    cdef bint sent_elsewhere            # on links that may have eaten their wake-ups by that
    cdef bint bulk_used                 # sent to since it was last looked at

    cdef uint32_t add_links(self, Link link, Link bulk_link) except? 0xFFFFFFFF
    cdef int execute(self, const CommandHeader *header, const Key *key, const char *raw) except -1
    cdef int execute_all(self, const RunHeader *run, const char *headers, const char *raw) except -1
    cdef bint _is_unchanged(self, const RunHeader *run) except -1
    cdef list arguments(self, const CommandHeader *header, const char *raw)
    cdef void open_part(self, const RunHeader *run) noexcept
    cdef void close_part(self, uint8_t status, uint32_t bulk) noexcept
    cdef void park_part(self) noexcept
    # Whether its worker is stalled; then no part is open.
    cdef bint cut_part(self) except -1
    cdef int send(self) except -1
    cdef int push(self, uint32_t link, uint32_t client, uint64_t client_id, bytes data) except -1
    # Tell a worker that it has its turn.
    cdef int claim(self, uint32_t link, uint64_t id) except -1
    cdef int _send_pushes(self) except -1
    cdef int serve_waiters(self) except -1
    cdef int send_served(self) except -1
    cdef void _note_unread(self, uint32_t link, size_t n) noexcept
    cdef void _note_bulk(self, size_t n) noexcept
    cdef int _bulk_reply(self, size_t start) except -1
    cdef int _blob_reply(self) except -1
    cdef void _resize_args(self, uint32_t size) noexcept
    cdef void parse(self, const char *raw, const CommandHeader *header, Argv *argv) noexcept
