"""What all views share: a key, and how a handler comes to it."""

from shards.entry cimport Entry, EntryType
from shards.keyspace cimport Keyspace
from shards.store cimport Key

cdef class View:
    cdef Keyspace keyspace
    cdef readonly bytes name        # what key.data points to
    cdef Key key

    cdef Entry *access(self, ctx, bytes name, bint write, EntryType type) except? NULL
