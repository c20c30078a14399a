"""Parked runs and transactions; see waiting.pxd."""

from persistence.parcel import Parcel

cimport cython

from actors.mailbox cimport message_release


@cython.final
cdef class BulkMessage:
    def __dealloc__(self):
        if self.message.data != NULL:
            message_release(&self.message)


@cython.final
@cython.freelist(64)
cdef class Held:
    pass


@cython.final
@cython.freelist(64)
cdef class Transaction:
    """What a shard knows of a transaction whose locks it has granted."""

    def __cinit__(self):
        self.borrowed = {}
        self.lent = {}
        self.notes = []

    def borrow(self, bytes key, bytes piece):
        """Keep a piece of another shard's key; an empty parcel stands for a key that does not exist."""
        parcel = self.borrowed.get(key)
        if parcel is None:
            parcel = self.borrowed[key] = Parcel()
        parcel.add(piece)
