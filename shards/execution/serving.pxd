"""Commands that wait: blocked, run again when one of their keys is ready, answered.

    run_one says RAN_BLOCKED            -> block: the command waits (shards/execution/blocking)
    after a command, or whatever is
    one step for all others             -> serve: whoever waits for a key that was noted is run again
    its time is up; CLIENT UNBLOCK      -> answered without another run
    its client has gone                 -> dropped; nothing is ever taken for it

As in Redis 7.2, a key that was noted is looked at in the order of the notes, and its waiters in the order
in which they came; each one whose type the key has is run again, from its start. What it notes in turn
(BLMOVE) is served afterwards. One that finds nothing waits anew, as the last, with its old deadline.

A waiter that needs a key which is locked for a transaction takes a place in the locks' queues first,
keeps its place here meanwhile, and is run when it has all of them.

A worker's waiter (envelope.pxd, claim messages) is not run: its keys are locked for it, and the worker
is told. Nobody after it in a queue has his turn before it has let them go.

What a transaction notes is kept (`mark`, `take_notes`) until it lets its locks go.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from protocol.buffer cimport Buffer
from protocol.envelope cimport CommandHeader, RunHeader
from shards.execution.blocking cimport Blocking, BlockingTable, KeyQueue, Waiter, blocking_is_due
from shards.execution.locks cimport Locks, Ticket
from shards.execution.runner cimport Call, Runner
from shards.keyspace.keyspace cimport Key
from shards.lane.handler cimport Argv

cdef class Answerer:            # it parses what comes, and answers it: shards/execution/answers
    cdef void parse_command(self, const char *raw, const CommandHeader *header, Argv *argv) noexcept
    # The reply of a worker's waiter, which may be empty; `ran`: bits of runner.Ran.
    cdef int answer(self, uint32_t link, const RunHeader *run, const Buffer *reply, int ran) except -1

cdef class TicketOffice:        # it has the locks: shards/execution/parked
    # The ticket of a command that has to wait for its keys; None: it may run. `owner` is called with it.
    # `ending`: a ticket that is about to be released, for which nobody has to wait; or None.
    cdef Ticket wait_for_keys(self, const CommandHeader *header, const Key *key, const char *raw,
                              object owner, Ticket ending)
    cdef int release_ticket(self, Ticket ticket) except -1
    # Lock keys for a worker whose turn has come: whether it has them already; else `owner` is called later.
    cdef bint lock_for(self, list keys, object owner, Ticket ending) except -1
    # It has them, as a transaction: tell it. Or it wants no turn: let its keys go, if it has them so.
    cdef int begin_claim(self, uint64_t id, uint32_t link, uint32_t database, list keys, Ticket ticket) except -1
    cdef int end_claim(self, uint64_t id) except -1
    cdef bint has_transaction(self, uint64_t id) except -1

cdef class Serving:
    cdef readonly Blocking blocking
    cdef BlockingTable *table           # the same
    cdef Runner runner
    cdef Answerer answerer
    cdef TicketOffice office            # or None
    cdef Locks locks                    # the office's
    cdef Call call                      # of the waiter that runs
    cdef Buffer reply
    cdef bint serves
    cdef Ticket ending
    cdef dict tickets                   # owner -> Ticket of a waiter that waits for locks
    cdef public object on_deadline      # called when there is an earlier deadline than before; or None
    cdef public object on_answered      # called when a client at the port was answered; or None
    cdef int64_t announced_ms           # the deadline that on_deadline was called for; 0: none
    cdef list answered                  # sessions at the port that were, and go on

    # The command of `call` waits; `link` and `run` are a worker's, or LINK_PORT and the session's.
    cdef int block(self, const Call *call, const RunHeader *run, uint32_t link) except -1
    # `ending`: see wait_for_keys.
    cdef int serve(self, Ticket ending) except -1
    # Whether others of this queue have to wait.
    cdef int _serve_queue(self, KeyQueue *queue, const Waiter *skipped) except -1
    cdef bint _claim(self, Waiter *waiter) except -1
    cdef int serve_rest(self, uint64_t transaction, uint32_t database, list keys, Ticket ending) except -1
    cdef bint _may_run(self, const KeyQueue *queue, const Waiter *waiter) noexcept
    cdef bint _try(self, Waiter *waiter) except -1
    cdef int _run(self, Waiter *waiter) except -1
    cdef void _key_of(self, Waiter *waiter, Key *key) noexcept
    cdef void _key_named(self, bytes name, Key *key)
    cdef int _drop(self, Waiter *waiter) except -1
    cdef int _answer(self, const Waiter *waiter, int ran) except -1
    cdef int _end(self, Waiter *waiter, uint8_t why, bint named) except -1
    cdef int _announce(self) except -1
    # Whether it was waiting, in the run `sequence` (in any, if its client has gone). why: envelope.CancelAction.
    cdef bint unblock(self, uint32_t link, uint32_t client, uint32_t sequence, uint8_t why) except -1
    cdef int take_turn(self, uint64_t id, bint ends) except -1
    cdef list take_notes(self)
    cdef int put_notes(self, list notes) except -1


cdef inline bint has_notes(Serving serving) noexcept:
    """Whether `serve` or `take_notes` is due."""
    return blocking_is_due(serving.table)
