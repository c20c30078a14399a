"""What a child process asks of Linux: to die with its parent, and a name in the process list."""

import os

cdef extern from "<sys/prctl.h>" nogil:
    int prctl(int option, ...)
    const int PR_SET_PDEATHSIG
    const int PR_SET_NAME


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
