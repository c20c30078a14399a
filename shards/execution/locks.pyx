"""Queues of tickets, by key; the contract is in locks.pxd."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free

from protocol.slots cimport SLOTS, key_slot


@cython.final
cdef class Ticket:
    """What one command holds or waits for. Without the whole shard (None), it shares that."""

    def __init__(self, dict wants, owner=None):
        self.wants = wants
        self.owner = owner
        wants.setdefault(None, False)

    @property
    def granted(self):
        return self.missing == 0


@cython.final
cdef class Queue:
    def __cinit__(self):
        self.tickets = []

    cdef bint admits(self, bint exclusive) noexcept:
        """Whether the next one in the queue may hold the key beside those who do."""
        return self.holders == 0 or not (exclusive or self.exclusive)


@cython.final
cdef class Locks:
    """All locks of one shard."""

    def __cinit__(self):
        self.queues = {}
        self.by_slot = <uint32_t *>calloc(SLOTS, sizeof(uint32_t))
        if self.by_slot == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.by_slot)

    cdef bint is_free(self, dict wants) except -1:
        cdef Queue queue
        for key, exclusive in wants.items():
            queue = self.queues.get(key)
            if queue is not None and (
                <Py_ssize_t>queue.holders < len(queue.tickets) or not queue.admits(exclusive)
            ):
                return False
        return True

    cdef int count(self, Ticket ticket, int step) except -1:
        self.tickets += step
        for key, exclusive in ticket.wants.items():
            if key is not None:
                self.by_slot[key_slot(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))] += step
            elif exclusive:
                self.exclusive_shard += step
        return 0

    cpdef bint request(self, Ticket ticket) except -1:
        cdef Queue queue
        self.count(ticket, 1)
        for key, exclusive in ticket.wants.items():
            queue = self.queues.get(key)
            if queue is None:
                queue = self.queues[key] = Queue.__new__(Queue)
            if <Py_ssize_t>queue.holders == len(queue.tickets) and queue.admits(exclusive):
                queue.holders += 1
                queue.exclusive = exclusive
            else:
                ticket.missing += 1
            queue.tickets.append(ticket)
        return ticket.missing == 0

    cpdef list release(self, Ticket ticket):
        cdef Queue queue
        cdef Ticket other
        cdef uint32_t at
        cdef list granted = []
        self.count(ticket, -1)
        for key in ticket.wants:
            queue = self.queues[key]
            at = queue.tickets.index(ticket)
            del queue.tickets[at]
            if at < queue.holders:
                queue.holders -= 1
            if not queue.tickets:
                del self.queues[key]
                continue
            while <Py_ssize_t>queue.holders < len(queue.tickets):
                other = queue.tickets[queue.holders]
                if not queue.admits(other.wants[key]):
                    break
                queue.holders += 1
                queue.exclusive = other.wants[key]
                other.missing -= 1
                if other.missing == 0:
                    granted.append(other)
        return granted
