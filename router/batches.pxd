"""What a worker keeps for each shard: whether it is up, the message under construction, what is under way.

Runs of clients (router/dispatch) and of transactions (router/coordinator) go into the same messages, in the
order in which they are appended.
"""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from protocol.buffer cimport Buffer
from protocol.envelope cimport CommandHeader, RunHeader, TransactionHeader
from sessions.dispatcher cimport Dispatcher
from sessions.session cimport Session

cdef struct ShardState:
    Buffer batch                # the message under construction; a small one may outlast the tick
    uint32_t runs               # in the batch
    uint32_t epoch              # incarnation
    uint32_t messages_in_flight # sent, not yet taken and answered by the shard
    uint32_t bulk_sent          # number of the last bulk message to it
    uint32_t bulk_received
    bint up
    bint due                    # its link has to be looked at: a wake-up came, or may have been eaten
    bint bulk_due
    uint64_t bytes_read         # of its messages; it has not been told yet
    uint64_t bytes_in_flight    # of runs not yet complete
    uint64_t durable            # how far its log is on disk, as it has said last
    uint64_t messages           # statistics
    uint64_t commands

cdef class Batches(Dispatcher):
    cdef ShardState *shards             # owned, shard_count entries
    cdef readonly int32_t shard_count
    cdef uint16_t owner[16384]          # slot -> shard
    cdef readonly uint32_t map_version
    cdef public bint strict_order       # pipeline-order strict: one shard after the other
    cdef public uint64_t shard_bytes_max    # with more under way to a shard, its clients wait
    cdef list full                      # (session, shard with too much in flight for which it waits)
    # Append a run; `label` is read if its flags say that it is of a transaction.
    cdef int append(self, int32_t shard, const RunHeader *run, const TransactionHeader *label,
                    const CommandHeader *headers, const char *raw) except -1
    cdef void _hold_back(self, Session session, int32_t shard)
