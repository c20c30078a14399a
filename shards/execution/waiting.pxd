"""What a shard keeps of workers' runs that can't end at once: parked ones, and transactions.

A Held is a run, or what is left of one. It is parked while its bytes have not come, while a key that
its next command needs is locked, or while a run of the same client before it is parked.

A Transaction is this shard's side of one: from the grant of its locks until their release. Its `part` is
what a PREPARE run has brought. After COMMITTED nothing but the release is left to do. What its coordinator
owes it when it dies is settled by the router (actors/fence): COMMITTED anywhere means commit everywhere.
"""

from libc.stdint cimport uint32_t, uint64_t

from actors.mailbox cimport Message
from shards.execution.locks cimport Ticket

cdef class BulkMessage:
    """A large command that came by the bulk link; released with this object unless adopted."""
    cdef Message message

cdef class Held:
    cdef bytes data             # its header, command headers and bytes
    cdef uint32_t link
    cdef BulkMessage bulk       # its bytes, when they have come by the bulk link
    cdef uint32_t at            # the command to go on with
    cdef size_t offset          # of that command's bytes
    cdef Ticket ticket          # that command's, or None
    cdef bint dropped           # its client has gone: it is answered by nothing when its turn has come
    cdef bint may_not_block     # its client sends no more

cdef class Transaction:
    cdef readonly uint64_t id
    cdef readonly uint32_t link         # its coordinator's
    cdef readonly bint committed
    cdef Ticket ticket
    cdef Held part                      # or None
    cdef readonly dict borrowed         # key -> persistence.parcel.Parcel, which another shard lends
    cdef readonly dict lent             # key -> bytes of its parcel, of which pieces are still to go
    cdef list claimed                   # keys that are locked for a worker that waits for them; or None
    cdef uint32_t database              # of these
    cdef list notes                     # keys that others may wait for, which its commands have made
