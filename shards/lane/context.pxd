"""What the runner sets and reads of a Context beside what Python handlers see (context.pyi)."""

from libc.stdint cimport int64_t

from shards.keyspace.keyspace cimport Keyspace
from shards.lane.effects cimport Effects
from shards.lane.handler cimport Block

cdef class Context:
    cdef public int64_t now_ms
    cdef public int database
    cdef readonly int databases
    cdef readonly object random
    cdef readonly object settings
    cdef readonly Keyspace keyspace
    cdef readonly object table          # CommandTable
    cdef public bint cluster            # the caller is at the shard's own port
    cdef public object runner           # execution.runner.Runner, for commands that run others
    cdef public object serving          # execution.serving.Serving, for workers that wait
    cdef public object watches      # execution.watches.Watches
    cdef public object transaction  # execution.waiting.Transaction of the running command, or None
    cdef bint may_block                 # there is somebody who can wait
    cdef Block blocked                  # out: how the command blocks, and
    cdef list waiting                   # its arguments while it waits, or None: as they came
    cdef readonly Effects effects
    cdef bytes slots                    # `own_slots`
    cdef int _tell(self, bytes key, bytes event, int64_t count, database) except -1
