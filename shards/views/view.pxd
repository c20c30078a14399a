"""What all views share: a key, and how a handler comes to it."""

from shards.keyspace.entry cimport Entry, EntryType
from shards.keyspace.keyspace cimport Keyspace
from shards.keyspace.store cimport Key

cdef class View:
    cdef Keyspace keyspace
    cdef readonly bytes name        # what key.data points to
    cdef Key key

    # What is there now. NULL: nothing, or what has expired: a quiet access leaves that.
    cdef Entry *present(self) noexcept
    cdef Entry *access(self, ctx, bytes name, bint write, EntryType type) except? NULL
