"""Cuts raw RESP replies into their elements without decoding them, for replies of several shards.

Contract
1. Both RESP versions; aggregates nest to any depth without recursion: what is still to come is
   one number.
2. An attribute belongs to the reply after it.
3. No length is trusted: a reply that ends early, or is none, raises ReplyError.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t

cdef extern from "<string.h>" nogil:
    void *memchr(const void *, int, size_t)


class ReplyError(ValueError):
    """Bytes that are not a whole RESP reply."""


cdef enum:
    BROKEN = -1


cdef Py_ssize_t line_end(const char *data, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """Index of the CR that ends the line at `at`, BROKEN when there is none."""
    cdef const char *found
    if at >= size:
        return BROKEN
    found = <const char *>memchr(data + at, 13, size - at)
    if found == NULL or found - data + 1 >= size or found[1] != 10:
        return BROKEN
    return found - data


cdef bint read_length(const char *data, Py_ssize_t first, Py_ssize_t last,
                      int64_t *value) noexcept nogil:
    """The number in data[first:last]: digits, or -1; at most 18 digits, so it cannot overflow."""
    cdef int64_t number = 0
    if last - first == 2 and data[first] == 45 and data[first + 1] == 49:
        value[0] = -1
        return True
    if last == first or last - first > 18:
        return False
    while first < last:
        if data[first] < 48 or data[first] > 57:
            return False
        number = number * 10 + (data[first] - 48)
        first += 1
    value[0] = number
    return True


cdef Py_ssize_t skip(const char *data, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """Index after the reply that begins at `at`, or BROKEN. O(bytes)."""
    cdef int64_t pending = 1
    cdef int64_t length = 0
    cdef Py_ssize_t end
    cdef char kind
    while pending > 0:
        end = line_end(data, size, at)
        if end == BROKEN:
            return BROKEN
        kind = data[at]
        if kind in b"+-:_#,(":
            pending -= 1
            at = end + 2
            continue
        if not read_length(data, at + 1, end, &length):
            return BROKEN
        at = end + 2
        if kind in b"$=!":
            if length >= 0:
                if length > size - at - 2:
                    return BROKEN
                if data[at + length] != 13 or data[at + length + 1] != 10:
                    return BROKEN
                at += length + 2
            pending -= 1
        elif kind in b"*~>":
            pending += length - 1 if length > 0 else -1
        elif kind == 37:  # a map: twice as many replies
            pending += 2 * length - 1 if length > 0 else -1
        elif kind == 124:  # an attribute: its pairs, and the reply itself is still to come
            pending += 2 * length if length > 0 else 0
        else:
            return BROKEN
        if pending > size - at:
            return BROKEN  # a reply has at least three bytes: so many cannot follow
    return at


def reply_end(bytes data not None, Py_ssize_t at=0):
    """The index after the reply that begins at `at`. O(bytes). Raises ReplyError."""
    cdef Py_ssize_t end = BROKEN
    if 0 <= at < PyBytes_GET_SIZE(data):
        end = skip(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), at)
    if end == BROKEN:
        raise ReplyError("not a whole reply")
    return end


def replies(bytes data not None):
    """The replies that follow each other in `data`. O(bytes). Raises ReplyError."""
    cdef const char *raw = PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t end
    cdef list found = []
    while at < size:
        end = skip(raw, size, at)
        if end == BROKEN:
            raise ReplyError("not a whole reply")
        found.append(PyBytes_FromStringAndSize(raw + at, end - at))
        at = end
    return found


def elements(bytes data not None):
    """The elements of the array, set, push or map that `data` is, as raw replies; a map's in turn.

    None for a null array. O(bytes). Raises ReplyError when it is none of these.
    """
    cdef const char *raw = PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t at = line_end(raw, size, 0)
    cdef Py_ssize_t end
    cdef int64_t count = 0
    cdef list found = []
    if at == BROKEN or raw[0] not in b"*~>%" or not read_length(raw, 1, at, &count):
        if data == b"_\r\n":
            return None
        raise ReplyError("not an aggregate")
    if count < 0:
        return None
    at += 2
    if count > size - at:
        raise ReplyError("not a whole reply")
    if raw[0] == 37:
        count *= 2
    while count > 0:
        end = skip(raw, size, at) if at < size else BROKEN
        if end == BROKEN:
            raise ReplyError("not a whole reply")
        found.append(PyBytes_FromStringAndSize(raw + at, end - at))
        at = end
        count -= 1
    if at != size:
        raise ReplyError("more than one reply")
    return found
