"""A link that speaks ZeroMQ's protocol over ipc by itself, in the thread that uses it.

libzmq takes every message through an I/O thread on either side, which makes six wake-ups of a
message and its answer between two processes where two would do. A worker and a shard need one
DEALER socket with one peer of all that ZeroMQ is, so this link reads and writes the unix socket
itself (docs/decisions/zeromq-without-io-threads.md). Its peer is another ZmtpLink or a DEALER
socket of libzmq: the bytes are the same, ZMTP 3.1 with the NULL mechanism
(https://rfc.zeromq.org/spec/37/).

    greeting (64 bytes), READY command, then messages: flags, length (1 byte or 8), body

What the socket does not take at once is kept. How much that can be is limited by what dispatchers
and shards let be under way (SHARD_BYTES_IN_FLIGHT_MAX, UNREAD_BYTES_MAX).
"""

import errno as errors
import os
import select
import socket as sockets

from cpython.ref cimport Py_INCREF, PyObject
from libc.errno cimport EAGAIN, ECONNRESET, EINTR, ENOBUFS, ENOMEM, EPIPE, errno
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memmove, memset

from actors.mailbox cimport Link, Message
from protocol.buffer cimport Buffer, buffer_append, buffer_consume, buffer_free, buffer_reserve
from protocol.native cimport likely, unlikely

cdef extern from "sys/uio.h" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "sys/socket.h" nogil:
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    ssize_t c_recv "recv"(int, void *, size_t, int)
    ssize_t c_send "send"(int, const void *, size_t, int)
    ssize_t sendmsg(int, const msghdr *, int)
    int MSG_NOSIGNAL
    int MSG_DONTWAIT

cdef extern from "sys/timerfd.h" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    struct itimerspec:
        timespec it_interval
        timespec it_value
    int timerfd_create(int, int)
    int timerfd_settime(int, int, const itimerspec *, itimerspec *)
    int TFD_CLOEXEC
    int TFD_NONBLOCK

cdef extern from "time.h":
    int CLOCK_MONOTONIC

cdef enum:
    READ_BYTES = 1 << 16                # read at once
    LARGE_READ_BYTES_MAX = 1 << 20      # of a message whose length is known
    INPUT_KEEP_BYTES = 1 << 20          # a larger buffer is given back when it is empty
    SOCKET_BYTES = 1 << 20              # wanted in the socket itself; the kernel may give less
    RETRY_NS = 10_000_000               # until the other end listens
    GREETING_BYTES = 64
    COMMAND = 0x04
    LONG = 0x02
    SHORT_BYTES_MAX = 255               # of a message whose length takes one byte
    HEADER_BYTES_MAX = 9

# Signature, version 3.1, mechanism, not as a server; a filler completes it.
GREETING = (b"\xff" + bytes(8) + b"\x7f\3\1" + b"NULL" + bytes(17)).ljust(GREETING_BYTES, b"\0")
READY = b"\5READY" + b"\x0bSocket-Type\0\0\0\6DEALER" + b"\x08Identity\0\0\0\0"
HELLO = GREETING + bytes([COMMAND, len(READY)]) + READY


class ProtocolError(ConnectionError):
    """The peer of a link does not speak as a DEALER socket of ZeroMQ does."""


cdef class ZmtpLink(Link):
    """A DEALER link without an I/O thread; see actors.mailbox for the contract of links.

    The end that connects tries again until the other end listens; what is sent before both have
    said READY waits. When the peer has gone, what it had sent is still received, and what is sent
    to it is dropped. A message stays valid until the next `receive`, also when it was not released.

    `receive` raises ProtocolError when the peer breaks the protocol. Memory follows the bytes that
    have come, not the lengths they announce.
    """

    cdef object poll            # what is waited for; nested in the loop's own
    cdef object listener        # of the end that binds, until its peer has come
    cdef object socket          # to the peer; None before, and when it has gone
    cdef str path
    cdef int timer              # of the end that connects, while nobody listens; else -1
    cdef int fd                 # the socket's; -1: there is none
    cdef int descriptor         # of `poll`
    cdef bint greeted, ready    # the peer's greeting, its READY have come
    cdef bint deaf              # the peer takes nothing any more
    cdef bint waits             # for room in the socket
    cdef Buffer input
    cdef size_t taken           # of `input`, by messages that were given out
    cdef uint64_t missing       # bytes of the message that has begun, where its length is known
    cdef Buffer output          # what the socket has not taken yet
    cdef size_t sent            # of `output`

    def __cinit__(self):
        self.timer = self.fd = self.descriptor = -1

    def __init__(self, str endpoint, bint bind, str name=""):
        """`endpoint` is ipc://path. Raises OSError when it can't be bound."""
        if not endpoint.startswith("ipc://"):
            raise ValueError(f"{endpoint!r} is no ipc endpoint")
        self.path = endpoint.removeprefix("ipc://")
        self.name = name or endpoint
        self.poll = select.epoll()
        self.descriptor = self.poll.fileno()
        self.open = True
        if bind:
            self._listen()
        else:
            self._connect()

    def __dealloc__(self):
        if self.timer >= 0:
            os.close(self.timer)
        buffer_free(&self.input)
        buffer_free(&self.output)

    def fileno(self):
        """Readable when `receive` has something to do; always the same descriptor.

        Not for messages after one that was received: they have been read from the socket with it.
        """
        return self.descriptor

    def close(self):
        if not self.open:
            return
        self.open = False
        self._drop()
        self._end_retries()
        if self.listener is not None:
            self._end_listening()
        self.poll.close()

    # -- the connection

    cdef int _listen(self) except -1:
        listener = sockets.socket(sockets.AF_UNIX)
        try:
            listener.setblocking(False)
            listener.bind(self.path)
            listener.listen(1)
        except OSError:
            listener.close()
            raise
        self.listener = listener
        self.poll.register(listener, select.EPOLLIN)
        return 0

    cdef int _connect(self) except -1:
        peer = sockets.socket(sockets.AF_UNIX)
        peer.setblocking(False)
        failed = peer.connect_ex(self.path)
        if not failed:
            self._end_retries()
            self._adopt(peer)
            return 0
        peer.close()
        if failed not in (errors.ENOENT, errors.ECONNREFUSED, errors.EAGAIN):
            raise OSError(failed, os.strerror(failed), self.path)
        if self.timer < 0:
            self._retry()
        return 0

    cdef int _retry(self) except -1:
        """Be readable from time to time."""
        cdef itimerspec times
        self.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)
        memset(&times, 0, sizeof(times))
        times.it_interval.tv_nsec = times.it_value.tv_nsec = RETRY_NS
        if self.timer < 0 or timerfd_settime(self.timer, 0, &times, NULL) < 0:
            raise OSError(errno, "timerfd")
        self.poll.register(self.timer, select.EPOLLIN)
        return 0

    cdef int _try_again(self) except -1:
        try:
            os.read(self.timer, 8)      # it stays readable else
        except BlockingIOError:
            return 0                    # not yet
        return self._connect()

    cdef int _end_retries(self) except -1:
        if self.timer >= 0:
            os.close(self.timer)
            self.timer = -1
        return 0

    cdef int _end_listening(self) except -1:
        self.listener.close()
        self.listener = None
        try:
            os.unlink(self.path)
        except FileNotFoundError:       # with its directory, at the server's end
            pass
        return 0

    cdef int _accept(self) except -1:
        try:
            peer = self.listener.accept()[0]
        except BlockingIOError:
            return 0
        self._end_listening()
        peer.setblocking(False)
        self._adopt(peer)
        return 0

    cdef int _adopt(self, peer) except -1:
        peer.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, SOCKET_BYTES)
        self.socket = peer
        self.fd = peer.fileno()
        self.poll.register(self.fd, select.EPOLLIN)
        try:
            if peer.send(HELLO) != len(HELLO):
                raise ProtocolError(f"{self.name}: no room for a greeting")
        except (BrokenPipeError, ConnectionResetError):
            self.deaf = True
        return 0

    cdef int _drop(self) except -1:
        """The peer has gone, or the link is closed: nothing more comes, what is sent is lost."""
        self.fd = -1
        self.deaf = True
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        buffer_free(&self.output)
        return 0

    # -- sending

    cdef int send(self, const char *data, size_t n) except -1:
        cdef uint8_t header[HEADER_BYTES_MAX]
        cdef size_t header_bytes = 2
        cdef iovec parts[2]
        cdef msghdr message
        cdef ssize_t sent = 0
        cdef int i
        if unlikely(self.deaf):
            return 0
        if likely(n > SHORT_BYTES_MAX):
            header_bytes = HEADER_BYTES_MAX
            header[0] = LONG
            for i in range(8):
                header[1 + i] = <uint8_t>(<uint64_t>n >> (56 - 8 * i))
        else:
            header[0] = 0
            header[1] = <uint8_t>n
        if likely(self.ready and self.output.used == 0):
            parts[0].iov_base = header
            parts[0].iov_len = header_bytes
            parts[1].iov_base = <void *>data
            parts[1].iov_len = n
            memset(&message, 0, sizeof(message))
            message.msg_iov = parts
            message.msg_iovlen = 2
            sent = sendmsg(self.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)
            if likely(sent == <ssize_t>(header_bytes + n)):
                return 0
            if sent < 0:
                if not self._is_heard():
                    return 0
                sent = 0
        if <size_t>sent < header_bytes:
            buffer_append(&self.output, header + sent, header_bytes - sent)
            sent = header_bytes
        buffer_append(&self.output, data + sent - header_bytes, n - (sent - header_bytes))
        return self._wait_for_room()

    cdef bint _is_heard(self) except -1:
        """After a failed send: False if the peer has gone, but for what it said before."""
        if errno == EAGAIN or errno == EINTR or errno == ENOBUFS or errno == ENOMEM:
            # a kernel short of memory is no reason to lose a keyspace: it is tried again
            return True
        if errno != EPIPE and errno != ECONNRESET:
            raise OSError(errno, os.strerror(errno), self.name)
        self.deaf = True
        buffer_free(&self.output)
        self.sent = 0
        self._wait_for_room()
        return False

    cdef int _flush(self) except -1:
        cdef ssize_t n
        while self.sent < self.output.used:
            n = c_send(self.fd, self.output.data + self.sent, self.output.used - self.sent,
                       MSG_NOSIGNAL | MSG_DONTWAIT)
            if n < 0:
                if not self._is_heard():
                    return 0
                break
            self.sent += n
        if self.sent == self.output.used:
            buffer_free(&self.output)
            self.sent = 0
        elif self.sent > self.output.used // 2:     # so that each byte is moved once or so
            buffer_consume(&self.output, self.sent)
            self.sent = 0
        return self._wait_for_room()

    cdef int _wait_for_room(self) except -1:
        cdef bint waits = self.ready and self.output.used > 0
        if self.fd >= 0 and waits != self.waits:
            self.waits = waits
            self.poll.modify(self.fd, select.EPOLLIN | (select.EPOLLOUT if waits else 0))
        return 0

    # -- receiving

    cdef bint receive(self, Message *message) except -1:
        if unlikely(not self.open):
            return False
        if unlikely(self.fd < 0):
            if self.listener is not None:
                self._accept()
            elif self.timer >= 0:
                self._try_again()
        if unlikely(self.waits):
            self._flush()
        while True:
            if self._next(message):
                return True
            if self.fd < 0 or not self._read():
                return False

    cdef bint _next(self, Message *message) except -1:
        """The next message that is there in full."""
        cdef const uint8_t *data
        cdef size_t left, header_bytes
        cdef uint64_t length
        cdef int i
        while True:
            data = <const uint8_t *>self.input.data + self.taken
            left = self.input.used - self.taken
            if unlikely(not self.greeted):
                if left < GREETING_BYTES:
                    return False
                self._check_greeting(data[:GREETING_BYTES])
                self.taken += GREETING_BYTES
                self.greeted = True
                continue
            if left < 2:
                return False
            if data[0] & LONG:
                header_bytes = HEADER_BYTES_MAX
                if left < HEADER_BYTES_MAX:
                    return False
                length = 0
                for i in range(8):
                    length = length << 8 | data[1 + i]
            else:
                header_bytes = 2
                length = data[1]
            if left - header_bytes < length:
                self.missing = length - (left - header_bytes)
                return False
            self.missing = 0
            self.taken += header_bytes + length
            if unlikely(data[0] & ~LONG):
                self._take_command(data[0], data[header_bytes:header_bytes + length])
                continue
            if unlikely(not self.ready):
                raise ProtocolError(f"{self.name}: a message before READY")
            Py_INCREF(self)
            message.holder = <PyObject *>self
            message.data = <const char *>data + header_bytes
            message.size = length
            return True

    cdef int _check_greeting(self, bytes greeting) except -1:
        """Its parts: the signature, the version (minor ones are alike), and the mechanism."""
        if greeting[0] != 0xFF or greeting[9] != 0x7F or greeting[10] < 3:
            raise ProtocolError(f"{self.name}: the peer does not speak ZMTP 3")
        if greeting[12:32] != GREETING[12:32]:
            raise ProtocolError(f"{self.name}: the peer's mechanism is not NULL")
        return 0

    cdef int _take_command(self, uint8_t flags, bytes body) except -1:
        if flags & ~(COMMAND | LONG):
            raise ProtocolError(f"{self.name}: flags {flags:#x} of a message")
        if not self.ready:
            if not body.startswith(b"\5READY") or b"\x0bSocket-Type\0\0\0\6DEALER" not in body:
                raise ProtocolError(f"{self.name}: {body[:80]!r} instead of a DEALER's READY")
            self.ready = True
            self._flush()       # libzmq takes no message before it has sent its READY
        return 0

    cdef bint _read(self) except -1:
        """Read what the socket has; whether there was anything."""
        cdef size_t size = READ_BYTES
        cdef ssize_t n
        if self.taken == self.input.used:
            self.taken = self.input.used = 0
            if unlikely(self.input.size > INPUT_KEEP_BYTES):
                buffer_free(&self.input)
        elif self.taken and self.input.size - self.input.used < READ_BYTES:
            memmove(self.input.data, self.input.data + self.taken, self.input.used - self.taken)
            self.input.used -= self.taken
            self.taken = 0
        if self.missing > READ_BYTES:
            size = min(self.missing, <uint64_t>LARGE_READ_BYTES_MAX)
        n = c_recv(self.fd, buffer_reserve(&self.input, size), size, MSG_DONTWAIT)
        if n > 0:
            self.input.used += n
            return True
        if n < 0 and errno == EINTR:
            return True
        if n < 0 and errno == EAGAIN:
            return False
        if n < 0 and errno != ECONNRESET:
            raise OSError(errno, os.strerror(errno), self.name)
        self._drop()
        return False
