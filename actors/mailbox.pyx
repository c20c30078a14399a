"""Links over libzmq, called directly or through pyzmq, and in memory for the simulation."""

from collections import deque

import zmq
import zmq.backend.cython._zmq as _backend

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint64_t

cdef extern from "dlfcn.h" nogil:
    void *dlopen(const char *, int)
    void *dlsym(void *, const char *)
    int RTLD_NOW

ctypedef int (*zmq_send_f)(void *, const void *, size_t, int) noexcept nogil
ctypedef int (*zmq_message_f)(void *) noexcept nogil
ctypedef int (*zmq_transfer_f)(void *, void *, int) noexcept nogil
ctypedef int (*zmq_init_data_f)(void *, void *, size_t, release_function, void *) noexcept nogil
ctypedef void *(*zmq_data_f)(void *) noexcept nogil
ctypedef size_t (*zmq_size_f)(void *) noexcept nogil
ctypedef int (*zmq_move_f)(void *, void *) noexcept nogil

# libzmq's own functions, taken from the library that pyzmq has loaded: 0.1 to 0.7 us less per
# message than pyzmq's methods. All NULL when they can't be found; then PyzmqLink is used.
cdef zmq_send_f c_send = NULL
cdef zmq_message_f c_init = NULL
cdef zmq_message_f c_close = NULL
cdef zmq_transfer_f c_receive = NULL
cdef zmq_transfer_f c_send_message = NULL
cdef zmq_init_data_f c_init_data = NULL
cdef zmq_data_f c_data = NULL
cdef zmq_size_f c_size = NULL
cdef zmq_move_f c_move = NULL

cdef enum:
    DONTWAIT = 1


cdef bint _bind() except -1:
    global c_send, c_init, c_close, c_receive, c_send_message, c_init_data, c_data, c_size, c_move
    cdef bytes path = _backend.__file__.encode()
    cdef void *library = dlopen(path, RTLD_NOW)
    if library == NULL:
        return False
    c_init = <zmq_message_f>dlsym(library, b"zmq_msg_init")
    c_close = <zmq_message_f>dlsym(library, b"zmq_msg_close")
    c_receive = <zmq_transfer_f>dlsym(library, b"zmq_msg_recv")
    c_send_message = <zmq_transfer_f>dlsym(library, b"zmq_msg_send")
    c_init_data = <zmq_init_data_f>dlsym(library, b"zmq_msg_init_data")
    c_data = <zmq_data_f>dlsym(library, b"zmq_msg_data")
    c_size = <zmq_size_f>dlsym(library, b"zmq_msg_size")
    c_move = <zmq_move_f>dlsym(library, b"zmq_msg_move")
    c_send = <zmq_send_f>dlsym(library, b"zmq_send")
    return (
        c_init != NULL and c_close != NULL and c_receive != NULL and c_send_message != NULL
        and c_init_data != NULL and c_data != NULL and c_size != NULL and c_move != NULL
        and c_send != NULL
    )


DIRECT = bool(_bind())


cdef void message_release(Message *message) noexcept:
    if message.holder != NULL:
        Py_DECREF(<object>message.holder)
        message.holder = NULL
    else:
        c_close(message.zmq)
    message.data = NULL
    message.size = 0


cdef void message_move_zmq(Message *message, void *target) noexcept nogil:
    c_init(target)
    c_move(target, message.zmq)
    c_close(message.zmq)
    message.data = NULL
    message.size = 0


cdef void zmq_message_close(void *message) noexcept nogil:
    c_close(message)


cdef class Link:
    """One direction-less connection to one peer."""

    cdef int send(self, const char *data, size_t n) except -1:
        raise NotImplementedError

    cdef int send_owned(self, char *data, size_t n, release_function release, void *hint) except -1:
        # Links that must copy anyway: send, then give the memory back at once.
        self.send(data, n)
        release(data, hint)
        return 0

    cdef bint receive(self, Message *message) except -1:
        raise NotImplementedError

    cdef void _hold(self, Message *message, bytes data) noexcept:
        Py_INCREF(data)
        message.holder = <PyObject *>data
        message.data = PyBytes_AS_STRING(data)
        message.size = PyBytes_GET_SIZE(data)

    def post(self, bytes data):
        """Send from Python (control paths and tests)."""
        self.send(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    def fetch(self):
        """Receive into Python: bytes, or None when there is nothing."""
        cdef Message message
        if not self.receive(&message):
            return None
        data = PyBytes_FromStringAndSize(message.data, message.size)
        message_release(&message)
        return data


cdef class _SocketLink(Link):
    """What both libzmq links share: a DEALER socket without high-water mark or linger.

    A message for a peer that has gone is dropped, as when the peer dies after receiving it.
    """

    cdef object socket

    def __init__(self, context, str endpoint, bint bind, str name=""):
        self.name = name or endpoint
        self.socket = context.socket(zmq.DEALER)
        self.socket.set_hwm(0)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 10)
        if bind:
            self.socket.bind(endpoint)
        else:
            self.socket.connect(endpoint)
        self.open = True

    def fileno(self):
        return self.socket.fileno()

    def close(self):
        if self.open:
            self.open = False
            self.socket.close(0)


cdef class ZmqLink(_SocketLink):
    """A DEALER link that calls libzmq directly. Needs DIRECT."""

    cdef void *handle

    def __init__(self, context, str endpoint, bint bind, str name=""):
        if not DIRECT:
            raise RuntimeError("libzmq's functions were not found; use PyzmqLink")
        _SocketLink.__init__(self, context, endpoint, bind, name)
        self.handle = <void *><size_t>int(self.socket.underlying)

    cdef int send(self, const char *data, size_t n) except -1:
        if not self.open:
            return 0
        while c_send(self.handle, data, n, DONTWAIT) < 0:
            if errno == EAGAIN:
                return 0
            if errno != EINTR:
                raise zmq.ZMQError(errno)
        return 0

    cdef int send_owned(self, char *data, size_t n, release_function release, void *hint) except -1:
        cdef uint64_t message[8]
        if not self.open:
            release(data, hint)
            return 0
        c_init_data(message, data, n, release, hint)
        while c_send_message(message, self.handle, DONTWAIT) < 0:
            if errno == EINTR:
                continue
            c_close(message)
            if errno == EAGAIN:
                return 0
            raise zmq.ZMQError(errno)
        return 0

    cdef bint receive(self, Message *message) except -1:
        if not self.open:
            return False
        message.holder = NULL
        c_init(message.zmq)
        while c_receive(message.zmq, self.handle, DONTWAIT) < 0:
            if errno == EINTR:
                continue
            c_close(message.zmq)
            if errno == EAGAIN:
                return False
            raise zmq.ZMQError(errno)
        message.data = <const char *>c_data(message.zmq)
        message.size = c_size(message.zmq)
        return True


cdef class PyzmqLink(_SocketLink):
    """The same link through pyzmq's public API: the fallback, with the same tests."""

    cdef int send(self, const char *data, size_t n) except -1:
        if not self.open:
            return 0
        try:
            self.socket.send(PyBytes_FromStringAndSize(data, n), zmq.DONTWAIT)
        except zmq.Again:
            pass
        return 0

    cdef bint receive(self, Message *message) except -1:
        if not self.open:
            return False
        try:
            self._hold(message, self.socket.recv(zmq.DONTWAIT))
        except zmq.Again:
            return False
        return True


cdef class MemoryLink(Link):
    """One end of a pair of links inside a process; `carry` decides when a message arrives.

    `carry(link, data)` is called for each message sent on this end. It owes a later
    `link.peer.deliver(data)`: at once, delayed, or never if an end has died. The order per link
    is its duty.
    """

    cdef object carry
    cdef object queue
    cdef public MemoryLink peer

    def __init__(self, str name, carry=None):
        self.name = name
        self.carry = carry
        self.queue = deque()
        self.open = True

    @staticmethod
    def pair(str name, carry=None):
        """Two connected ends. Without `carry`, messages arrive at once."""
        first = MemoryLink(name + "/a", carry)
        second = MemoryLink(name + "/b", carry)
        first.peer = second
        second.peer = first
        return first, second

    def deliver(self, bytes data):
        if self.open:
            self.queue.append(data)

    def close(self):
        self.open = False
        self.queue.clear()

    cdef int send(self, const char *data, size_t n) except -1:
        cdef bytes message
        if not self.open:
            return 0
        message = PyBytes_FromStringAndSize(data, n)
        if self.carry is None:
            self.peer.deliver(message)
        else:
            self.carry(self, message)
        return 0

    cdef bint receive(self, Message *message) except -1:
        if not self.queue:
            return False
        self._hold(message, self.queue.popleft())
        return True
