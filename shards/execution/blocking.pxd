"""Who waits for which keys of a shard, in which order, and until when.

    waiter = blocking_add(table, ...)           a command found nothing, and waits for its keys
    blocking_ready_next(table)                  a key that may have something by now
    blocking_expired(table, now_ms)             a waiter whose time is up
    blocking_remove(table, waiter)              it waits no more; the caller frees it

Contract
1. A key's queue is by its logical database and name, in the order in which its waiters came. Nobody who
   waits for a key is in its queue twice. What a waiter wants (list, sorted set, stream) is looked at
   when the key is ready: waiters for other types stay where they are.
2. A key is noted as ready when it is made, when a stream has got an entry or lost a group, and, for
   those that wait `on_removal`, when it goes. Each key is noted once, in the order of the first note.
   Notes come from the effects (shards/lane/effects); while nobody waits, nothing listens.
3. A note keeps its queue alive, even if all its waiters leave meanwhile.
4. A waiter has one owner: a link and a client's slot there, a slot at the shard's port, or the id of a
   worker's transaction. It is found by that, and an owner waits once.
5. Times are Unix milliseconds. A waiter's time is up once the clock is beyond its deadline, as in Redis.

Adding and removing costs O(keys + log(waiters with a deadline)). Nothing here knows commands.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from protocol.envelope cimport CommandHeader, RunHeader
from shards.keyspace.store cimport Key, Store
from shards.lane.effects cimport Consumer

cdef enum:
    LINK_PORT = 0xFFFFFFFF      # the `link` of an owner at the shard's own port

cdef struct Waiter:             # one allocation: then its places, and its command's raw bytes
    Waiter *chain               # in the table of owners
    uint64_t owner              # link << 32 | the client's slot; or claim_owner()
    uint32_t link               # its worker's, or LINK_PORT
    int64_t deadline_ms         # 0: none
    uint32_t timer              # its place in the heap + 1; 0: it has no deadline
    uint32_t count              # places
    uint8_t wants               # shards.lane.handler.Wanted
    bint on_removal             # it wants to be run as well when a key of it goes
    RunHeader run               # its command's
    CommandHeader command
    void *session               # borrowed; at the shard's port
    uint64_t transaction        # of a worker that waits on several shards: its id; 0: the shard serves it
    bint claimed                # the worker has its turn: its keys are locked for it, or will be
    bint paused                 # it does not want to be told

cdef struct Place:              # of a waiter in the queue of one key
    Waiter *waiter
    KeyQueue *queue
    Place *previous
    Place *next

cdef struct KeyQueue:           # one allocation: then the key
    KeyQueue *chain             # in the table of keys
    Place *first
    Place *last
    uint32_t waiters
    uint32_t on_removal         # so many of them
    uint32_t database           # logical
    bint ready                  # it is noted
    uint32_t pinned             # so many look at it
    uint64_t hash
    size_t length

cdef struct BlockingTable:
    Store *store
    Consumer consumer
    bint listens                # it is attached
    KeyQueue **keys             # owned, key_size (a power of two) chains
    uint32_t key_size
    uint32_t key_count          # keys that somebody waits for, and those that are noted
    uint32_t waited_keys        # that somebody waits for
    uint32_t removal_keys       # and of those, for its removal as well
    Waiter **owners             # owned, owner_size (a power of two) chains
    uint32_t owner_size
    uint32_t waiters
    uint32_t claimants          # of these, those of workers
    Waiter **heap               # owned; by deadline, the earliest first
    uint32_t heap_size
    uint32_t timers             # in the heap
    KeyQueue **ready            # owned, ready_size; from ready_first on
    uint32_t ready_size
    uint32_t ready_first
    uint32_t ready_end

cdef inline uint64_t claim_owner(uint64_t transaction) noexcept nogil:
    """The owner of a worker's waiter: no link has so high a number."""
    return transaction | <uint64_t>1 << 63


cdef inline Place *places_of(Waiter *waiter) noexcept nogil:
    return <Place *>(waiter + 1)


cdef inline char *raw_of(Waiter *waiter) noexcept nogil:
    return <char *>(places_of(waiter) + waiter.count)


cdef inline const char *key_of(const KeyQueue *queue) noexcept nogil:
    return <const char *>(queue + 1)


cdef void blocking_init(BlockingTable *table, Store *store) noexcept nogil
cdef void blocking_free(BlockingTable *table) noexcept nogil
# A waiter with room for so many keys, and a copy of its command; not in the table yet.
cdef Waiter *waiter_new(uint32_t keys, const char *raw, size_t n) noexcept nogil
cdef void waiter_free(Waiter *waiter) noexcept nogil
# Queue it for one more key, at the end; one that it has been queued for already is passed over.
cdef void blocking_queue(BlockingTable *table, Waiter *waiter, const char *key, size_t n) noexcept nogil
# All its keys are queued: it waits from now on.
cdef void blocking_add(BlockingTable *table, Waiter *waiter) noexcept nogil
cdef void blocking_remove(BlockingTable *table, Waiter *waiter) noexcept nogil
cdef Waiter *blocking_find(const BlockingTable *table, uint64_t owner) noexcept nogil
# The earliest deadline; 0: there is none.
cdef int64_t blocking_deadline(const BlockingTable *table) noexcept nogil
cdef Waiter *blocking_expired(const BlockingTable *table, int64_t now_ms) noexcept nogil
# Note a key by hand, for those who wait for it.
cdef void blocking_note(BlockingTable *table, uint32_t database, const Key *key,
                        bint removed) noexcept nogil
# The next noted key, which is noted no more, but stays until `blocking_done`; NULL: there is none.
cdef KeyQueue *blocking_ready_next(BlockingTable *table) noexcept nogil
cdef void blocking_done(BlockingTable *table, KeyQueue *queue) noexcept nogil
# The queue of a key, or NULL; let it stay until `blocking_done`.
cdef KeyQueue *blocking_queue_of(const BlockingTable *table, uint32_t database, const Key *key) noexcept nogil
cdef void blocking_pin(KeyQueue *queue) noexcept nogil
# Note all keys that somebody waits for.
cdef void blocking_note_all(BlockingTable *table, Waiter *waiter) noexcept nogil
# Nobody waits: stop listening. Due now and then.
cdef void blocking_rest(BlockingTable *table) noexcept nogil

cdef inline bint blocking_is_due(const BlockingTable *table) noexcept nogil:
    """Whether a key is noted."""
    return table.ready_first != table.ready_end


cdef class Blocking:
    """The table of one shard, for its owner and for tests."""
    cdef BlockingTable table
    cdef object keyspace        # whose store it is
