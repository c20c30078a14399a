"""The one count of live blocks, which all kernels share; see memory.pxd."""

from libc.stdint cimport int64_t

cdef int64_t live = 0


def live_blocks() -> int:
    """Native blocks alive in this process; 0 in release builds, which count none."""
    return live
