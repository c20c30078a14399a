"""Which keys of a shard, or the whole of it, are locked for transactions, and who waits for them.

    ticket = locks.ticket({key: alone, ...}, mode, owner)
    locks.request(ticket)               -> True: it has been granted; else it waits in the queues
    locks.release(ticket)               -> those that have been granted because of that

Contract
1. A ticket holds or waits for all of its keys, each of which has one queue in the order of requests.
   At its front are those that hold the key: one alone, or any number that share it. Nobody who waits
   is overtaken on a key.
2. Every ticket also has a mode for the shard as a whole, with a queue of its own: SHARES (it reads
   keys), CHANGES (it changes some), READS_ALL (KEYS, DBSIZE: beside SHARES only), ALONE (FLUSHALL,
   SWAPDB). A command without a ticket counts as SHARES or CHANGES while it runs.
3. Who holds everything on one shard waits for nobody there. Over several shards, whoever waits asks
   the shards in ascending order, so that no circle can form
   (docs/decisions/locks-in-the-order-of-shards.md).
4. Keys are names, as those of all databases share a lock: MOVE, COPY and SWAPDB need no more. They
   are known by their 64-bit hashes; two keys with one hash wait for each other, which harms nobody.
5. A shard without tickets looks at nothing here: `tickets` is 0. With some, `by_slot` tells in O(1)
   that nobody is concerned with a key.

Requests and releases cost O(keys of the ticket), whatever waits.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from shards.keyspace.keyspace cimport Keyspace

cdef enum:
    MODE_SHARES = 0
    MODE_CHANGES = 1
    MODE_READS_ALL = 2
    MODE_ALONE = 3
    MODES = 4

cdef struct Want:
    uint64_t hash
    uint16_t slot
    uint8_t alone
    uint8_t held

cdef class Ticket:
    cdef Want *wants                    # owned, `count` of them, each key once
    cdef readonly uint32_t count
    cdef uint8_t mode
    cdef bint mode_held
    cdef bint requested                 # and not released
    cdef readonly uint32_t missing      # how many of its keys, and its mode, it waits for
    cdef readonly object owner          # for whoever made it

cdef class Queue:
    cdef object waiting                 # OrderedDict of tickets, first come first; None: nobody yet
    cdef uint32_t holders
    cdef bint alone                     # the one holder holds it alone

cdef class Locks:
    cdef Keyspace keyspace              # whose hash function is used
    cdef readonly uint32_t tickets      # that hold or wait
    cdef dict queues                    # hash -> Queue
    cdef uint32_t *by_slot              # owned, [SLOTS]: how many tickets concern a key of the slot
    cdef uint32_t holding[4]            # tickets by mode
    cdef uint32_t wanting[4]
    cdef object mode_waiting            # OrderedDict of tickets that wait for their mode

    cdef bint mode_admits(self, uint8_t mode) noexcept
    # Whether a command without a ticket has to wait, for its key or for the shard.
    cdef bint mode_blocks(self, bint writes) noexcept
    cdef bint key_blocks(self, uint64_t hash, bint alone)
    cdef bint blocks(self, Ticket ticket)
    # Whether a ticket could have all it wants if `ending` were released, before all who wait.
    cdef bint frees(self, Ticket ending, Ticket ticket)
    cdef int grant_mode(self, list granted) except -1
    cpdef Ticket ticket(self, dict keys, uint8_t mode, object owner)
    cdef Ticket ticket_for(self, const Want *wants, uint32_t count, uint8_t mode, object owner)
    cpdef bint request(self, Ticket ticket) except -1
    # The same for one that `frees` has said could have all; it is before all who wait.
    cdef int request_first(self, Ticket ticket) except -1
    cpdef list release(self, Ticket ticket)


cdef inline bint slot_is_quiet(Locks locks, uint32_t slot) noexcept:
    """Whether no ticket concerns a key of the slot."""
    return locks.by_slot[slot] == 0
