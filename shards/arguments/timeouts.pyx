"""The timeouts of blocking commands: seconds, as C's long double reads them."""

from libc.stdint cimport INT64_MAX, int64_t

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from protocol.numbers cimport parse_long_double

from protocol.errors import CommandError

cdef extern from "<math.h>" nogil:
    long double ceill(long double)


def timeout_ms(bytes argument not None, int64_t now_ms):
    cdef long double seconds
    cdef int64_t ms
    if not parse_long_double(PyBytes_AS_STRING(argument), PyBytes_GET_SIZE(argument), &seconds):
        raise CommandError(b"ERR timeout is not a float or out of range")
    seconds = seconds * 1000
    if seconds > <long double>INT64_MAX:
        raise CommandError(b"ERR timeout is out of range")
    seconds = ceill(seconds)
    if seconds < 0:
        raise CommandError(b"ERR timeout is negative")
    ms = <int64_t>seconds
    if ms > INT64_MAX - now_ms:
        raise CommandError(b"ERR timeout is out of range")
    return ms + now_ms if ms else 0
