"""Transactions whose parts are known beforehand, driven without an object or a task for each of them.

    MGET, EXISTS, TOUCH     LOCKS with the part    -> answer, RELEASE; or see 4
    MSET, DEL, UNLINK       LOCKS, PREPARE         -> all granted: COMMIT -> answer, RELEASE
    EXEC                    as one or the other, by whether anything in it writes; each command in its shard

`begin` cuts a command up by its keys' shards, and asks all of these for the keys that their parts name. What
is larger than one message, or wrong, is left to the host (router/multi_shard), which does the same.

Contract
1. A transaction's reply has its place in its client's ring from the moment it began, so later commands need
   not wait for it: what they ask for comes after its locks, on the same links. But where it may be refused
   its locks, its session stops (STATE_LOCKING) until it has them, or a later command could overtake it.
2. A transaction begins when no run of its client is unanswered that could be parked: the shards keep no
   order between runs of a client and those of a transaction.
3. `alone`: there is no other worker, so all lock requests of this server come from here. All are made in one
   order for all shards, so nobody can wait in a circle, and waiting at once in all shards is safe. Otherwise
   it tries first; refused, it asks one shard after the other, in their order, as everybody else does
   (docs/decisions/locks-in-the-order-of-shards.md).
4. `orders_all`: nobody else sends commands at all, neither another worker nor clients at the shards' own
   ports. Then what this worker sends is executed as if in the order in which it is sent: to each shard in that
   order, and what a lock keeps back keeps back what is after it on its keys. All that is sent in one moment
   happens in one moment, so reads need no locks. (Nothing overtakes a run of the worker's own. Where it
   overtakes a client's, that client has not got its answer yet.)
5. A shard that dies before the first COMMIT has left: LOADING to the client, the others let go. After it: the
   others commit, as they hold their parts, and the client is left without a reply, as by a redis-server that
   died.
6. At most `open_max` are open; more clients wait in front of their commands. So is `reply_bytes_max` kept,
   which bounds what shards may answer in all: by what replies were like lately.
7. Each transaction has a slot among the clients of this process that no session has. Its runs number their
   hops, so an answer that can't be right is found out.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from protocol.buffer cimport Buffer
from protocol.envelope cimport CommandHeader, PartHeader
from protocol.table cimport CommandSpec
from router.batches cimport Batches
from sessions.output cimport Output
from sessions.queue cimport CommandQueue
from sessions.session cimport Session

cdef enum:
    COORDINATED = -2            # the shard of a ring's place whose reply a coordinator makes

cdef enum Policy:               # how the replies of the parts become one
    POLICY_NONE = 0             # not a command that is cut up here
    POLICY_INTERLEAVE = 1       # arrays: each element at its key's place
    POLICY_SUM = 2
    POLICY_SUCCEEDED = 3        # the first one, as they are alike
    POLICY_IN_ORDER = 4         # EXEC: an array of all, in the order of the commands

cdef enum Phase:
    PHASE_FREE = 0
    PHASE_READING = 1           # without locks
    PHASE_LOCKING = 2
    PHASE_COMMITTING = 3
    PHASE_ENDING = 4            # answered; RELEASE is under way

cdef enum Hop:                  # in a run's sequence: the lowest bits
    HOP_LOCK = 0
    HOP_COMMIT = 1
    HOP_RELEASE = 2
    HOP_READ = 3
    HOP_BITS = 2

cdef struct Participant:
    int32_t shard
    uint32_t items              # keys, or commands, of its part
    uint32_t commands           # of its part, whose headers begin at `first` in the transaction's
    uint32_t first
    uint32_t bytes              # of its part, from `part_at` on in the transaction's `parts`
    size_t part_at
    bint asked                  # READ, LOCK or COMMIT is unanswered
    bint done                   # its last part has come, but not yet a block of it
    bint granted
    bint refused
    bint lost                   # its shard has died
    uint32_t releases           # unanswered
    uint32_t blocks             # of the reply that have still to come by the bulk link
    size_t begin                # where what the commands answered begins in `reply`
    size_t cursor
    Output reply                # of the hop that is under way

cdef struct Transaction:
    uint64_t id
    uint64_t number
    int64_t time_ms
    int64_t started_ns
    uint32_t slot               # its own among the clients
    uint32_t serial             # of its use of this memory, and of its rounds: in each run's sequence
    uint8_t phase
    uint8_t policy
    bint writes
    bint ordered                # asks one shard after the other
    bint holds                  # its session waits for the locks
    bint lost                   # a shard has died whose answer was needed
    uint16_t command
    uint16_t flags              # RunFlag of the client's runs
    uint16_t database
    uint8_t resp
    uint64_t client_id
    uint32_t client             # the session's slot
    uint32_t sequence           # its place in the session's ring
    uint32_t turn               # ordered: the participant that is asked
    uint32_t unanswered         # READs, LOCKs or COMMITs
    uint32_t releases           # unanswered, of all participants
    uint32_t shards             # places in `participants`
    uint32_t count              # of participants
    uint32_t items              # keys, or commands, of all parts
    uint32_t items_size
    Participant *participants   # owned, as many as there are shards; in the order of shards
    uint16_t *owners            # owned: by key or command, its participant
    Buffer headers              # CommandHeaders of all parts
    Buffer parts
    Transaction *next           # free one

cdef class Coordinator:
    cdef Batches batches
    cdef uint8_t *policies              # owned, by command id
    cdef Transaction **all              # owned, `made` of them
    cdef Transaction **by_slot          # owned, borrowed pointers; NULL where the slot is a session's
    cdef uint32_t by_slot_size
    cdef readonly uint32_t made
    cdef readonly uint32_t open         # begun and not ended
    cdef Transaction *free
    cdef public uint32_t open_max
    cdef public uint64_t reply_bytes_max
    cdef uint64_t reply_bytes           # what a reply may be expected to take
    cdef object waiting                 # deque of sessions that may not begin one
    cdef public bint alone              # no other worker asks for locks
    cdef public bint orders_all         # all that this server executes comes from here
    cdef public uint64_t incarnation    # actors.boot.coordinator
    cdef readonly uint64_t begun        # transactions of this incarnation, whoever drives them
    cdef readonly uint64_t numbered     # numbers given out
    cdef int32_t *by_shard              # scratch: participant by shard
    cdef CommandHeader commit_header
    cdef CommandHeader release_header

    # Take a command whose keys are of several shards: TAKEN, HOLD if it is the host's, or WAIT.
    cdef int begin(self, Session session, const CommandSpec *spec, const char *raw) except -1
    # The same for what is queued, of which each command has keys, all in one shard.
    cdef int begin_exec(self, Session session, CommandQueue queue, uint16_t id) except -1
    # A part has come for a slot that no session has.
    cdef int take(self, int32_t shard, const PartHeader *part, const char *data) except -1
    # It has announced a block: where that goes. The block is here.
    cdef Output *expect_block(self, uint32_t slot, int32_t shard) noexcept
    cdef int take_block(self, uint32_t slot, int32_t shard) except -1
    cdef int shard_down(self, int32_t shard) except -1
    # Let clients go on that wait to begin one; whether there were any.
    cdef bint wake(self) except -1

    cdef uint64_t _next_id(self) noexcept
    cdef bint _may_begin(self) noexcept
    cdef bint _comes_first(self, Session session) noexcept
    cdef Transaction *_new(self) except NULL
    cdef void _give_back(self, Transaction *transaction) noexcept
    cdef int _begin(self, Session session, Transaction *transaction, uint32_t bytes) except -1
    cdef bint _may_begin_for(self, Session session)
    cdef void _make_room(self, Transaction *transaction, uint32_t items) noexcept
    cdef int _take_part(self, Transaction *transaction) noexcept
    cdef void _forget_shards(self, const Transaction *transaction) noexcept
    cdef int _cut_queue(self, Transaction *transaction, CommandQueue queue) except -1
    cdef int _answer_loading(self, Transaction *transaction, Output *output) except -1
    cdef int _answer_exec(self, Transaction *transaction, Output *output) except -1
    cdef int _count_commands(self, Session session, Transaction *transaction, uint64_t elapsed) except -1
    cdef int _refuse(self, Session session, const CommandSpec *spec) except -1
    cdef int _wait_for_room(self, Session session, Transaction *transaction) except -1
    cdef int _cut(self, Transaction *transaction, const CommandSpec *spec, const char *raw) except -1
    cdef int _send(self, Transaction *transaction, Participant *participant, int hop, bint waits) except -1
    cdef int _ask(self, Transaction *transaction) except -1
    cdef int _release(self, Transaction *transaction, Participant *participant) except -1
    cdef Participant *_participant(self, Transaction *transaction, int32_t shard) noexcept
    cdef int _hop_ended(self, Transaction *transaction, Participant *participant) except -1
    cdef int _advance(self, Transaction *transaction) except -1
    cdef int _locks_answered(self, Transaction *transaction) except -1
    cdef int _end(self, Transaction *transaction) except -1
    cdef int _end_if_done(self, Transaction *transaction) except -1
    cdef int _let_go_on(self, Transaction *transaction, Session session) except -1
    cdef int _check_reply(self, const Transaction *transaction, Participant *participant) except -1
    cdef int _answer(self, Transaction *transaction, Output *output) except -1
    cdef int _interleave(self, Transaction *transaction, Output *output) except -1
    cdef list _arguments(self, Transaction *transaction)
