"""See options.pyi. Compiled, as nearly every Python handler reads a word or a number by it."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libc.string cimport memchr

from protocol.errors import NOT_INTEGER, SYNTAX, CommandError

from protocol.numbers cimport parse_int64

INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


@cython.final
cdef class Option:
    """See options.pyi."""

    cdef readonly bytes name
    cdef readonly object convert
    cdef readonly tuple excludes

    def __init__(self, bytes name not None, convert=None, tuple excludes=()):
        self.name = name
        self.convert = convert
        self.excludes = excludes


@cython.final
cdef class Options:
    """The options that one command knows."""

    cdef readonly dict by_name

    def __init__(self, *options):
        self.by_name = {option.name: option for option in options}

    def parse(self, list args not None, Py_ssize_t start):
        cdef dict found = {}
        cdef Py_ssize_t index = start
        cdef Py_ssize_t end = len(args)
        cdef Option option
        while index < end:
            option = self.by_name.get(word(args[index]))
            if option is None:
                raise CommandError(SYNTAX)
            for name in option.excludes:
                if name in found:
                    raise CommandError(SYNTAX)
            index += 1
            if option.convert is None:
                found[option.name] = True
                continue
            if index == end:
                raise CommandError(SYNTAX)
            found[option.name] = option.convert(args[index])
            index += 1
        return found


cdef inline Py_ssize_t text_length(bytes argument) noexcept:
    """How many bytes there are up to a NUL."""
    cdef const char *data = PyBytes_AS_STRING(argument)
    cdef const char *end = <const char *>memchr(data, 0, <size_t>PyBytes_GET_SIZE(argument))
    return PyBytes_GET_SIZE(argument) if end == NULL else end - data


cpdef bytes word(bytes argument):
    cdef Py_ssize_t i, n = text_length(argument)
    cdef bytes upper = PyBytes_FromStringAndSize(NULL, n)
    cdef const char *data = PyBytes_AS_STRING(argument)
    cdef char *at = PyBytes_AS_STRING(upper)
    for i in range(n):
        at[i] = data[i] - 32 if c"a" <= data[i] <= c"z" else data[i]
    return upper


def quoted(bytes argument not None, limit=None):
    return argument[:text_length(argument)][:limit]


def as_is(bytes argument not None):
    return argument


cdef int64_t number(bytes argument, error) except? -1:
    cdef int64_t value
    if not parse_int64(PyBytes_AS_STRING(argument), <size_t>PyBytes_GET_SIZE(argument), &value):
        raise CommandError(error or NOT_INTEGER)
    return value


def int64(bytes argument not None, error=None):
    return number(argument, error)


def int32(bytes argument not None, error=None):
    cdef int64_t value = number(argument, error)
    if not INT32_MIN <= value <= INT32_MAX:
        raise CommandError(
            error
            or b"ERR value is out of range, value must between %d and %d" % (INT32_MIN, INT32_MAX)
        )
    return value
