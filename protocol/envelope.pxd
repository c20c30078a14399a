"""The batches between a worker and a shard: packed little headers, then raw RESP.

Request message:  RequestHeader, then for each run: RunHeader, TransactionHeader if it is of a
                  transaction, CommandHeader x commands, raw bytes.
Reply message:    ReplyHeader, then for each part: PartHeader, raw bytes.
On the bulk link: the raw bytes of one command or reply as they are, without a header.
Read message:     ReadHeader alone, from the worker, on the main link.
Cancel message:   CancelHeader alone, from the worker, on the main link.
Push message:     PushHeader, raw bytes; from the shard, on the main link.
Claim message:    ClaimHeader alone, from the shard, on the main link.
Turn message:     TurnHeader alone, from the worker, on the main link.

All fields are in the byte order of the machine: both ends are processes of one server. Headers
are not aligned inside a message; read and write them through memcpy (`load`/`store` below).
A run is a stretch of commands of one client for one shard. The shard answers it in one or more
parts, in order: PARKED parts say that more will follow, DONE ends the run, BOUNCED ends it with
`commands` executed and the rest for the worker to send again.

A transaction is a command (later EXEC, a script) over several shards. Its coordinator is a worker; each
shard concerned holds a ticket (shards/execution/locks) under the transaction's id from a LOCKS run, which
is granted or refused, until a RELEASE run. Between them, its runs pass the locks. A PREPARE run is kept,
not executed: it is the shard's part. A COMMIT run is executed at once and whole, or, if its one command is
SHARDIS.COMMIT, the part is. Runs of a transaction that the shard does not know are answered REFUSED.

A blocking command (BLPOP) of a client is a run of its own, the last one that its session has sent. If it
finds nothing, the shard answers a BLOCKED part at once, and the reply comes in a DONE part later.

A command that waits for keys on several shards is its worker's: the transaction that has found nothing
leaves a place in the keys' queues of each shard (SHARDIS.WAIT) under its id. When its turn has come on one,
the shard locks the keys there for a transaction of that id, and a claim message tells the worker, which
tries again with all keys under the same id, and releases it in any case. A turn message, which never
waits for anything in the shard, ends that, or stops it while the worker waits for other locks.

A cancel message says that a client has gone: what is parked or blocked for it is dropped, and answered by
DONE parts without a reply, so that the worker can give its slot to another. Or that it is CLIENT UNBLOCK's. A push message brings bytes that answer
no command, for a client's output: after all replies of this shard that were sent before it.

No link has a limit of its own. What a worker has not read of a shard's replies is bounded by the shard:
it counts what it sends on both links, read messages take that off again, and above UNREAD_BYTES_MAX the
shard executes nothing more of what this worker sends, until half of it is read. A worker reports sooner.
Wherever bytes under way are counted, a large command or reply counts for BULK_COUNTED_MAX at most: others
would have to wait for a value of hundreds of megabytes otherwise.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    BULK_BYTES_MIN = 65536      # a larger command or reply travels on the bulk link
    UNREAD_BYTES_MAX = 8 << 20  # of replies on their way from a shard to a worker
    READ_BYTES_MIN = 2 << 20    # read by a worker: then the shard is told; less than half of the above
    BULK_COUNTED_MAX = 2 << 20  # more than a single client may have under way: it sends one at a time
    TRANSACTION_COUNTER_BITS = 40

cdef inline size_t bulk_counted(size_t n) noexcept nogil:
    """What a message of n bytes on the bulk link counts for."""
    return n if n < <size_t>BULK_COUNTED_MAX else <size_t>BULK_COUNTED_MAX


cdef enum MessageKind:
    MESSAGE_RUNS = 1
    MESSAGE_REPLIES = 2
    MESSAGE_READ = 3
    MESSAGE_CANCEL = 4
    MESSAGE_PUSH = 5
    MESSAGE_CLAIM = 6
    MESSAGE_TURN = 7

cdef enum PartStatus:
    PART_DONE = 0               # the run is complete
    PART_PARKED = 1             # so far; the rest of this run will come in later parts
    PART_BOUNCED = 2            # stops here; commands beyond `commands` were not executed
    PART_BLOCKED = 3            # its one command waits; its reply will come in a later part

cdef enum RunFlag:
    RUN_BULK = 1                # its one command's raw bytes are the message `bulk` on the bulk link
    RUN_NO_TOUCH = 2            # CLIENT NO-TOUCH: leave LRU/LFU alone
    RUN_INTERNAL = 4            # sent by the worker itself: INTERNAL commands are allowed, nothing is counted
    RUN_REPLY_OFF = 8           # CLIENT REPLY OFF or SKIP
    RUN_TRANSACTION = 16        # a TransactionHeader follows the RunHeader
    RUN_LOCKS = 32              # its first command is SHARDIS.LOCK; the others run once that is granted
    RUN_PREPARE = 64            # keep it as the transaction's part
    RUN_COMMIT = 128            # execute it, or the part: in one go, at the transaction's time
    RUN_RELEASE = 256           # let the transaction's locks go once it is executed
    RUN_QUIET = 512             # reads that leave no trace: no usage, no hits, expired keys stay
    RUN_ATOMIC = 1024           # executed whole, with nothing in between; the reply is one array of the replies
    RUN_KEYS = 2048             # with LOCKS: what is locked are the keys of its own commands
    RUN_WAIT = 4096             # with KEYS: wait for the locks instead of being refused
    RUN_MULTI = 8192            # its commands are inside of MULTI and EXEC: they never block
    RUN_UNDO = 16384            # keep what its commands change, to be put back unless the transaction commits

cdef enum PartFlag:
    PART_BULK = 1               # `bulk` on the bulk link follows after the part's inline bytes
    PART_SLOW = 2               # a command of it is in the shard's slow log: remember whose it was
    PART_UNBLOCKED = 4          # it answers a command that CLIENT UNBLOCK has ended

cdef enum CancelAction:
    CANCEL_GONE = 0             # the client has gone: whatever waits for it is dropped
    CANCEL_ENDED = 1            # the client sends no more: its blocked command is dropped, as Redis does
    CANCEL_TIMEOUT = 2          # CLIENT UNBLOCK: its blocked command is answered
    CANCEL_ERROR = 3

cdef enum TurnAction:
    TURN_PAUSE = 0              # no turn until it says so (SHARDIS.TURN); one that it has ends
    TURN_END = 1                # it waits no more; likewise

cdef packed struct RequestHeader:
    uint8_t kind
    uint8_t reserved[3]
    uint32_t epoch              # incarnation of the shard this is meant for
    uint32_t runs

cdef packed struct RunHeader:
    uint32_t client             # the worker's slot for the client
    uint32_t sequence           # the run's number within the client; replies echo it
    uint32_t bytes              # of raw RESP after the command headers
    uint32_t bulk               # RUN_BULK: number of the bulk message; else 0
    uint32_t map_version        # of the slot map that routed it
    uint32_t user               # id of the ACL user
    uint64_t client_id          # CLIENT ID
    uint32_t commands
    uint16_t database
    uint16_t flags              # RunFlag
    uint8_t resp                # 2 or 3
    uint8_t watches             # ATOMIC: nothing runs if a key has changed that the client watches here
    uint8_t reserved[2]

cdef packed struct TransactionHeader:
    uint64_t id                 # actors.boot.coordinator << TRANSACTION_COUNTER_BITS | a counter
    uint64_t number             # its place among all transactions; 0: it is not committed yet
    int64_t time_ms             # COMMIT: what its commands see as now

cdef packed struct CommandHeader:
    uint32_t length             # of the command's raw bytes
    uint32_t key_offset         # of the first key, from the command's start; 0: no key
    uint32_t key_length
    uint16_t id                 # index in the command table
    uint16_t slot               # of the first key

cdef packed struct ReplyHeader:
    uint8_t kind
    uint8_t reserved
    uint16_t messages           # request messages that this one is the last answer to
    uint32_t epoch              # incarnation of the shard that answers
    uint32_t parts
    uint64_t durable            # how far this shard's log is on disk; 0: it has none

cdef packed struct ReadHeader:
    uint8_t kind
    uint8_t reserved[3]
    uint32_t epoch              # incarnation of the shard this is meant for
    uint64_t bytes              # of messages on both links, read since the last such message

cdef packed struct CancelHeader:
    uint8_t kind
    uint8_t action              # CancelAction
    uint8_t reserved[2]
    uint32_t epoch              # incarnation of the shard this is meant for
    uint32_t client             # the worker's slot for it, which stays its own until all is answered
    uint32_t sequence           # of the run with the blocked command; for all but CANCEL_GONE

cdef packed struct PushHeader:
    uint8_t kind
    uint8_t reserved[3]
    uint32_t epoch              # incarnation of the shard that sends it
    uint32_t client             # the worker's slot for the client
    uint32_t bytes              # after this header
    uint64_t client_id          # CLIENT ID: the slot may be another's by now

cdef packed struct ClaimHeader:
    uint8_t kind
    uint8_t reserved[3]
    uint32_t epoch              # incarnation of the shard that sends it
    uint64_t id                 # of the transaction under which a worker waits for keys

cdef packed struct TurnHeader:
    uint8_t kind
    uint8_t action              # TurnAction
    uint8_t reserved[2]
    uint32_t epoch              # incarnation of the shard this is meant for
    uint64_t id                 # of the transaction under which a worker waits

cdef packed struct PartHeader:
    uint32_t client
    uint32_t sequence
    uint32_t bytes              # after this header
    uint32_t bulk               # PART_BULK: number of the bulk message
    uint32_t commands           # executed in this part
    uint8_t status              # PartStatus
    uint8_t flags               # PartFlag
    uint8_t reserved[2]


cdef inline size_t run_head(const RunHeader *run) noexcept nogil:
    """The bytes of a run's headers but those of its commands."""
    return sizeof(RunHeader) + (sizeof(TransactionHeader) if run.flags & RUN_TRANSACTION else 0)


cdef inline size_t run_size(const RunHeader *run) noexcept nogil:
    """The bytes of a run in a message."""
    return run_head(run) + <size_t>run.commands * sizeof(CommandHeader) + run.bytes
