"""What a child process asks of Linux: to die with its parent, and a name in the process list."""

import os

from libc.string cimport memcpy, memset

cdef extern from "<unistd.h>" nogil:
    char **environ

cdef extern from "<string.h>" nogil:
    char *strdup(const char *text)

cdef extern from "<sys/prctl.h>" nogil:
    int prctl(int option, ...)
    const int PR_SET_PDEATHSIG
    const int PR_SET_NAME

# Of this process: where its arguments stand, and how long they were with the environment.
cdef char *_title_start = NULL
cdef size_t _title_size = 0


def die_with_parent(int signal_number, int parent):
    """Have the kernel send a signal to this process when its parent dies.

    Raises ProcessLookupError when `parent` has died before the request could be made, which
    the kernel would not tell.
    """
    if prctl(PR_SET_PDEATHSIG, <unsigned long>signal_number, <unsigned long>0, <unsigned long>0, <unsigned long>0) != 0:
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
    on into the environment behind them. So the title may take both; the environment moves away
    first. A longer title is cut. Does nothing where the kernel does not tell the addresses.
    """
    global _title_start, _title_size
    cdef Py_ssize_t i = 0
    cdef char *moved
    cdef size_t length
    if _title_start == NULL:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        # Behind the name, the third field is the first: arg_start is field 48 of proc(5).
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
