"""The commands that a client has queued between MULTI and EXEC.

They are kept as a run has them (protocol/envelope.pxd): command headers, and the raw bytes as they
came, so that an EXEC whose keys all lie in one shard is that run.

`shard` is where the keys seen so far are. A command that is not a single shard's (PING, CONFIG,
DBSIZE, an MSET over several) makes the queue `mixed`: its host runs the commands one by one.
"""

from libc.stdint cimport int32_t, uint16_t, uint32_t

from protocol.buffer cimport Buffer
from protocol.envelope cimport CommandHeader

cdef enum:
    NO_SHARD = -2               # no key so far
    MANY_SHARDS = -1

# The arguments of one command in RESP, which the scanner has validated.
cdef list split_command(const char *raw)

cdef class CommandQueue:
    cdef Buffer headers         # CommandHeader each
    cdef Buffer raw
    cdef readonly uint32_t count
    cdef uint32_t flags         # of its commands, together
    cdef int32_t shard
    cdef bint mixed
    cdef bint failed            # a command was refused: EXEC does nothing
    cdef bint asks_router       # has ADMIN commands
    cdef int32_t slot           # of the first key; -1: no key so far
    cdef bint crosses_slots
    cdef size_t argument_bytes  # as Redis counts them

    cdef void clear(self) noexcept
    cdef void add(self, const CommandHeader *header, const char *raw, uint32_t flags,
                  size_t argument_bytes) noexcept
    # A command has a key of this shard; of this slot, where that matters.
    cdef void note_shard(self, int32_t shard) noexcept
    cdef void note_slot(self, uint16_t slot) noexcept
    cdef const CommandHeader *header(self, uint32_t i) noexcept
    cdef list commands(self)
