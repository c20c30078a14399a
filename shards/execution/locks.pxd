"""Which keys of a shard are held for a command over several shards, and who waits for them.

    ticket = Ticket({key: exclusive, ...}, owner)
    locks.request(ticket)               -> True: all of them are its; else it has a place in the queues
    locks.release(ticket)               -> those that hold all of theirs because of that

Contract
1. A ticket holds or waits for all its keys; each key has one queue, in the order of the requests.
   Those at its front hold it: one that is exclusive, or any number that share it. So nobody who
   waits is overtaken on a key.
2. Who holds all keys on one shard waits for nobody there. Over several shards, whoever waits asks
   the shards in ascending order, so that no circle can form (docs/decisions/locks-in-the-order-of-shards.md).
3. Keys are names: those of all databases share a lock, so that MOVE, COPY and SWAPDB need no more.
   The key None is the whole shard: every ticket shares it but those of commands without keys that
   write (FLUSHALL, SWAPDB), which hold it alone.
4. Nothing here is looked at by a shard that has no ticket: `tickets` is 0. `by_slot` and
   `exclusive_shard` say in O(1) that nobody is concerned with a key.

Taking and giving back cost O(keys), and O(tickets that wait for the same keys).
"""

from libc.stdint cimport uint32_t

cdef class Ticket:
    cdef readonly dict wants            # key or None -> whether it is to be held alone
    cdef readonly object owner          # for whoever made it
    cdef readonly uint32_t missing      # how many of them it waits for; 0: it holds all

cdef class Queue:
    cdef list tickets                   # those that hold the key, then those that wait for it
    cdef uint32_t holders
    cdef bint exclusive                 # the one holder holds it alone

    cdef bint admits(self, bint exclusive) noexcept

cdef class Locks:
    cdef readonly uint32_t tickets      # that hold or wait
    cdef dict queues                    # key or None -> Queue
    cdef uint32_t *by_slot              # owned, [SLOTS]: how many tickets concern a key of the slot
    cdef uint32_t exclusive_shard       # tickets that want the whole shard alone

    cdef int count(self, Ticket ticket, int step) except -1
    # Whether a command that is done at once may use these keys now.
    cdef bint is_free(self, dict wants) except -1
    cpdef bint request(self, Ticket ticket) except -1
    cpdef list release(self, Ticket ticket)
