"""Queues of tickets by key, and by mode for the shard as a whole; the contract is in locks.pxd."""

from collections import OrderedDict

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from protocol.slots cimport SLOTS, key_slot
from shards.keyspace.keyspace cimport Keyspace, store_hash

SHARES = MODE_SHARES
CHANGES = MODE_CHANGES
READS_ALL = MODE_READS_ALL
ALONE = MODE_ALONE


cdef inline bint modes_agree(uint8_t first, uint8_t second) noexcept:
    if first == MODE_ALONE or second == MODE_ALONE:
        return False
    if first == MODE_READS_ALL:
        return second != MODE_CHANGES
    return second != MODE_READS_ALL or first == MODE_SHARES


@cython.final
@cython.freelist(64)
cdef class Ticket:
    """What one transaction, or one command that waits, holds or waits for; `Locks.ticket` makes it."""

    def __dealloc__(self):
        free(self.wants)

    @property
    def granted(self):
        return self.requested and self.missing == 0


@cython.final
@cython.freelist(256)
cdef class Queue:
    pass


cdef inline bint is_waited_for(Queue queue):
    """Whether somebody waits in it."""
    return queue.waiting is not None and len(queue.waiting) > 0


cdef inline bint admits(Queue queue, bint alone) noexcept:
    """Whether the next one in the queue may hold the key beside those who do."""
    return queue.holders == 0 or not (alone or queue.alone)


@cython.final
cdef class Locks:
    """All locks of one shard."""

    def __cinit__(self, Keyspace keyspace not None):
        self.keyspace = keyspace
        self.queues = {}
        self.mode_waiting = OrderedDict()
        self.by_slot = <uint32_t *>calloc(SLOTS, sizeof(uint32_t))
        if self.by_slot == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.by_slot)

    cpdef Ticket ticket(self, dict keys, uint8_t mode, object owner):
        """A ticket for these keys, each alone (True) or shared. O(keys)"""
        cdef Ticket ticket = Ticket.__new__(Ticket)
        cdef dict places = {}
        cdef bytes key
        cdef Want *want
        cdef uint64_t hash
        ticket.owner = owner
        ticket.mode = mode
        ticket.wants = <Want *>calloc(len(keys) + 1, sizeof(Want))
        if ticket.wants == NULL:
            raise MemoryError
        for key, alone in keys.items():
            hash = store_hash(self.keyspace.store, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
            place = places.setdefault(hash, ticket.count)
            want = &ticket.wants[<uint32_t>place]
            if place == ticket.count:
                ticket.count += 1
                want.hash = hash
                want.slot = <uint16_t>key_slot(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
            if alone:
                want.alone = True
        return ticket

    cdef Ticket ticket_for(self, const Want *wants, uint32_t count, uint8_t mode, object owner):
        """A ticket for keys that are all different. O(keys)"""
        cdef Ticket ticket = Ticket.__new__(Ticket)
        ticket.owner = owner
        ticket.mode = mode
        ticket.wants = <Want *>malloc((count + 1) * sizeof(Want))
        if ticket.wants == NULL:
            raise MemoryError
        memcpy(ticket.wants, wants, count * sizeof(Want))
        ticket.count = count
        return ticket

    # -- whether something may go ahead

    cdef bint mode_admits(self, uint8_t mode) noexcept:
        cdef uint8_t other
        for other in range(<uint8_t>MODES):
            if self.holding[other] and not modes_agree(mode, other):
                return False
        return True

    cdef bint mode_blocks(self, bint writes) noexcept:
        if self.holding[MODE_ALONE] or self.wanting[MODE_ALONE]:
            return True
        return writes and (self.holding[MODE_READS_ALL] != 0 or self.wanting[MODE_READS_ALL] != 0)

    cdef bint key_blocks(self, uint64_t hash, bint alone):
        cdef Queue queue = self.queues.get(hash)
        return queue is not None and (is_waited_for(queue) or not admits(queue, alone))

    cdef bint blocks(self, Ticket ticket):
        """Whether a ticket that has not been requested would have to wait. O(keys)"""
        cdef uint32_t i
        if self.mode_waiting or not self.mode_admits(ticket.mode):
            return True
        for i in range(ticket.count):
            if self.key_blocks(ticket.wants[i].hash, ticket.wants[i].alone):
                return True
        return False

    cdef bint frees(self, Ticket ending, Ticket ticket):
        """Whether nobody but `ending` holds what a ticket wants, whoever waits for it. O(keys squared)

        What `ending` lets go may then be used before its release: nobody else has seen it yet.
        """
        cdef Queue queue
        cdef uint32_t i, j
        cdef uint32_t others
        cdef uint8_t mode
        for mode in range(<uint8_t>MODES):
            others = self.holding[mode] - (1 if ending.mode_held and ending.mode == mode else 0)
            if others and not modes_agree(ticket.mode, mode):
                return False
        for i in range(ticket.count):
            queue = self.queues.get(ticket.wants[i].hash)
            if queue is None:
                continue
            for j in range(ending.count):
                if ending.wants[j].hash == ticket.wants[i].hash and ending.wants[j].held:
                    break
            else:
                return False
            if queue.holders != 1:
                return False
        return True

    # -- tickets

    cpdef bint request(self, Ticket ticket) except -1:
        """Ask for all that a ticket wants; whether it has been granted. O(keys)"""
        cdef Queue queue
        cdef Want *want
        cdef uint32_t i
        assert not ticket.requested
        ticket.requested = True
        ticket.missing = 0
        self.tickets += 1
        if not self.mode_waiting and self.mode_admits(ticket.mode):
            self.holding[ticket.mode] += 1
            ticket.mode_held = True
        else:
            self.mode_waiting[ticket] = None
            self.wanting[ticket.mode] += 1
            ticket.missing += 1
        for i in range(ticket.count):
            want = &ticket.wants[i]
            self.by_slot[want.slot] += 1
            queue = self.queues.get(want.hash)
            if queue is None:
                queue = self.queues[want.hash] = Queue.__new__(Queue)
            if admits(queue, want.alone) and not is_waited_for(queue):
                queue.holders += 1
                queue.alone = want.alone
                want.held = True
            else:
                if queue.waiting is None:
                    queue.waiting = OrderedDict()
                queue.waiting[ticket] = i
                ticket.missing += 1
        return ticket.missing == 0

    cdef int request_first(self, Ticket ticket) except -1:
        cdef Queue queue
        cdef uint32_t i
        self.request(ticket)
        if not ticket.mode_held:        # or it would wait for one that waits for those after it
            self.mode_waiting.move_to_end(ticket, last=False)
        for i in range(ticket.count):
            if not ticket.wants[i].held:
                queue = self.queues[ticket.wants[i].hash]
                queue.waiting.move_to_end(ticket, last=False)
        return 0

    cpdef list release(self, Ticket ticket):
        """Give back what a ticket holds or waits for; those it lets go on, in their order. O(keys)"""
        cdef Queue queue
        cdef Ticket other
        cdef Want *want
        cdef Want *wanted
        cdef uint32_t i
        cdef list granted = []
        if not ticket.requested:
            return granted
        ticket.requested = False
        self.tickets -= 1
        for i in range(ticket.count):
            want = &ticket.wants[i]
            self.by_slot[want.slot] -= 1
            queue = self.queues[want.hash]
            if want.held:
                want.held = False
                queue.holders -= 1
            else:
                del queue.waiting[ticket]
            while is_waited_for(queue):
                other = next(iter(queue.waiting))
                wanted = &other.wants[<uint32_t>queue.waiting[other]]
                if not admits(queue, wanted.alone):
                    break
                queue.waiting.popitem(last=False)
                queue.holders += 1
                queue.alone = wanted.alone
                wanted.held = True
                other.missing -= 1
                if other.missing == 0:
                    granted.append(other)
            if queue.holders == 0 and not is_waited_for(queue):
                del self.queues[want.hash]
        if ticket.mode_held:
            ticket.mode_held = False
            self.holding[ticket.mode] -= 1
        else:
            del self.mode_waiting[ticket]
            self.wanting[ticket.mode] -= 1
        self.grant_mode(granted)
        return granted

    cdef int grant_mode(self, list granted) except -1:
        cdef Ticket other
        while self.mode_waiting:
            other = next(iter(self.mode_waiting))
            if not self.mode_admits(other.mode):
                break
            self.mode_waiting.popitem(last=False)
            self.wanting[other.mode] -= 1
            self.holding[other.mode] += 1
            other.mode_held = True
            other.missing -= 1
            if other.missing == 0:
                granted.append(other)
        return 0

    def is_locked(self, bytes key) -> bool:
        """Whether a ticket holds or wants the key."""
        return store_hash(self.keyspace.store, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)) in self.queues

    def check(self, tickets) -> None:
        """Raise AssertionError if an invariant is broken, given all tickets there are. O(all)"""
        cdef Ticket ticket
        cdef Queue queue
        cdef uint32_t i, mode, slots = 0, wants = 0
        cdef uint32_t holding[4]
        cdef uint32_t wanting[4]
        holding[:] = [0, 0, 0, 0]
        wanting[:] = [0, 0, 0, 0]
        held = {}
        for ticket in tickets:
            assert ticket.requested
            missing = 0 if ticket.mode_held else 1
            if ticket.mode_held:
                holding[ticket.mode] += 1
            else:
                wanting[ticket.mode] += 1
                assert ticket in self.mode_waiting
            for i in range(ticket.count):
                queue = self.queues[ticket.wants[i].hash]
                if ticket.wants[i].held:
                    held.setdefault(ticket.wants[i].hash, []).append(bool(ticket.wants[i].alone))
                else:
                    missing += 1
                    assert queue.waiting[ticket] == i
            assert missing == ticket.missing
            wants += ticket.count
        assert len(tickets) == self.tickets
        for mode in range(4):
            assert holding[mode] == self.holding[mode] and wanting[mode] == self.wanting[mode]
        for hash, queue in self.queues.items():
            assert len(held.get(hash, ())) == queue.holders
            assert queue.holders or is_waited_for(queue)
            assert queue.holders == 1 or not any(held.get(hash, ()))
        for i in range(<uint32_t>SLOTS):
            slots += self.by_slot[i]
        assert slots == wants
