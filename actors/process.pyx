"""What our processes ask of Linux: to die with their parent, names for ps, a line when they crash.

The C variables below are of the process itself, of which there is one, and not of a server.
"""

import os

from libc.string cimport memcpy, memset, strlen

cdef extern from "<unistd.h>" nogil:
    char **environ
    int getpid()
    Py_ssize_t write(int descriptor, const void *data, size_t size)

cdef extern from "<signal.h>" nogil:
    ctypedef struct sigaction_t "struct sigaction":
        void (*sa_handler)(int) noexcept nogil
        int sa_flags
    int sigaction(int number, const sigaction_t *action, sigaction_t *before)
    int raise_signal "raise"(int number)
    const int SA_ONSTACK

cdef extern from "<string.h>" nogil:
    char *strdup(const char *text)

cdef extern from "<sys/prctl.h>" nogil:
    int prctl(int option, ...)
    const int PR_SET_PDEATHSIG
    const int PR_SET_NAME

# Of this process: where its arguments are, and how long they were with the environment.
cdef char *_title_start = NULL
cdef size_t _title_size = 0

cdef enum:
    CRASH_SIGNALS_MAX = 8

cdef int _crash_descriptor = -1
cdef int _crash_signals[CRASH_SIGNALS_MAX]
cdef sigaction_t _crash_before[CRASH_SIGNALS_MAX]


def die_with_parent(int signal_number, int parent):
    """Have the kernel send a signal to this process when its parent dies.

    Raises ProcessLookupError when `parent` has died before the request could be made, which
    the kernel would not tell.
    """
    cdef unsigned long none = 0
    if prctl(PR_SET_PDEATHSIG, <unsigned long>signal_number, none, none, none) != 0:
        raise OSError("PR_SET_PDEATHSIG was refused")
    if os.getppid() != parent:
        raise ProcessLookupError(f"the parent process {parent} is gone")


def set_name(bytes name):
    """Name this process as top and ps -o comm show it; the kernel keeps 15 bytes."""
    cdef const char *text = name
    prctl(PR_SET_NAME, text, <unsigned long>0, <unsigned long>0, <unsigned long>0)


def set_title(bytes title):
    """Have ps and /proc/PID/cmdline show this instead of the arguments. O(environment).

    The kernel shows the memory where it put the arguments, and, when those end without a NUL, goes
    on into the environment after them. So the title may take both; the environment moves away
    first. A longer title is cut. Does nothing where the kernel does not tell the addresses.
    """
    global _title_start, _title_size
    cdef Py_ssize_t i = 0
    cdef char *moved
    cdef size_t length
    if _title_start == NULL:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        # After the name, the third field is the first: arg_start is field 48 of proc(5).
        first, behind, next_, last = (int(field) for field in fields[45:49])
        if not first or behind != next_ or not first < behind <= last:
            return
        while environ != NULL and environ[i] != NULL:
            moved = strdup(environ[i])
            if moved == NULL:
                raise MemoryError
            environ[i] = moved
            i += 1
        _title_start = <char *><size_t>first
        _title_size = <size_t>last - <size_t>first
    length = min(<size_t>len(title), _title_size - 1)
    memset(_title_start, 0, _title_size)
    memcpy(_title_start, <const char *>title, length)


cdef void _crashed(int number) noexcept nogil:
    # Only what is safe in a signal handler: no allocation, no lock, no Python.
    cdef char text[96]
    cdef size_t used = 0
    cdef int i
    used = _put_number(text, used, getpid())
    used = _put_text(text, used, b":C # shardis crashed by signal: ")
    used = _put_number(text, used, number)
    used = _put_text(text, used, b"\n")
    if write(_crash_descriptor, text, used) < 0:
        pass
    for i in range(CRASH_SIGNALS_MAX):
        if _crash_signals[i] == number:
            sigaction(number, &_crash_before[i], NULL)
    raise_signal(number)  # goes to the handler that was there before, once this one has returned


cdef size_t _put_text(char *into, size_t used, const char *text) noexcept nogil:
    cdef size_t length = strlen(text)
    memcpy(into + used, text, length)
    return used + length


cdef size_t _put_number(char *into, size_t used, int number) noexcept nogil:
    cdef int divisor = 1
    while number // divisor >= 10:
        divisor *= 10
    while divisor:
        into[used] = <char>(c"0" + number // divisor % 10)
        used += 1
        divisor = divisor // 10
    return used


def announce_crashes(int descriptor, signals):
    """Write a line to a descriptor when one of these signals arrives, before what is done then now.

    Handlers that are set later take the place of this one; forked processes inherit it.
    """
    global _crash_descriptor
    cdef sigaction_t action, before
    cdef int i
    if len(signals) > CRASH_SIGNALS_MAX:
        raise ValueError("too many signals")
    _crash_descriptor = descriptor
    for i, number in enumerate(signals):
        _crash_signals[i] = number
        memset(&action, 0, sizeof(action))
        action.sa_handler = _crashed
        # On the other stack, if there is one: the usual one may be what has overflowed.
        action.sa_flags = SA_ONSTACK
        if sigaction(number, &action, &before) != 0:
            raise OSError(f"signal {number} cannot be handled")
        if before.sa_handler != _crashed:
            _crash_before[i] = before
