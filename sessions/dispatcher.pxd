"""The sessions of one process, and what is behind them.

Contract
1. `submit` and `finish`: see session.pxd.
2. `flush` sends what was submitted; True: answers may be here already. `receive` takes answers, and
   sets `receive_due` if it must be called again, after a look at the sessions' output.
"""

from cpython.ref cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint32_t

from protocol.table cimport CommandSpec
from sessions.session cimport DispatcherBase, Session

cdef enum:
    PEAK_SECONDS = 8            # the largest buffers of so many seconds are shown

cdef class Dispatcher(DispatcherBase):
    cdef readonly list sessions             # by slot; None where free
    cdef list free_slots
    cdef PyObject **slots                   # the same, borrowed
    cdef uint32_t slots_size
    cdef uint32_t trim_next                 # the slot where `trim_idle` goes on
    cdef size_t trimmed_bytes  # given back since the allocator was asked to do the same
    cdef public int64_t idle_seconds_max    # timeout; 0: none
    cdef uint32_t sweep_at                  # the next slot that `sweep` looks at
    cdef size_t input_peak[PEAK_SECONDS]    # largest buffers by second, a ring
    cdef size_t output_peak[PEAK_SECONDS]
    cdef int64_t peak_second                # of the newest place in the rings
    cdef bint receive_due
    cdef int32_t xread_id
    cdef int32_t xreadgroup_id
    # Whether the scanned command, which is BLOCKING, may wait.
    cdef bint may_block(self, const CommandSpec *spec, const char *raw) noexcept
    cdef uint32_t take_slot(self) noexcept
    cdef bint flush(self) except -1
    cdef int receive(self) except -1
    cdef void note_peaks(self, size_t input, size_t output) noexcept
