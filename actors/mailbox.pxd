"""A shard's or worker's mailbox: one Link per peer and direction of traffic.

Contract
1. A link is FIFO, loses nothing while both ends live, and delivers whole messages.
2. `send` copies; `send_owned` takes the memory and calls `release(data, hint)` when it is done,
   maybe in another thread. Neither ever blocks.
3. `receive` gives one message or says that there is none. The message stays valid until
   `message_release`, or for good if it was moved into a Blob by its owner; that of a ZmtpLink at
   most until the next `receive`.
4. Whoever waits on `fileno()` must then `receive` until there is nothing, which also sends what had
   to wait. The same is due after any `send`: sending can eat the wake-up (the file descriptor of
   libzmq's sockets is edge-triggered).
"""

from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t
from libc.stdlib cimport free

ctypedef void (*release_function)(void *data, void *hint) noexcept nogil


# For `send_owned` of what lies in memory that malloc gave: `hint`.
cdef inline void release_memory(void *data, void *hint) noexcept nogil:
    free(hint)


cdef struct Message:
    const char *data
    size_t size
    PyObject *holder        # owned reference that keeps `data` alive; NULL: zmq does
    uint64_t zmq[8]         # a zmq_msg_t

cdef class Link:
    cdef readonly str name
    cdef readonly bint open
    cdef int send(self, const char *data, size_t n) except -1
    cdef int send_owned(self, char *data, size_t n, release_function release, void *hint) except -1
    cdef bint receive(self, Message *message) except -1
    cdef void _hold(self, Message *message, bytes data) noexcept

cdef void message_release(Message *message) noexcept
# Move a message that ZeroMQ holds (holder NULL) to `target`, a zmq_msg_t of 64 bytes, and give it
# back later.
cdef void message_move_zmq(Message *message, void *target) noexcept nogil
cdef void zmq_message_close(void *zmq) noexcept nogil
