"""See view.pxd. A view of a type is made by its `open`, which calls `access` first."""

from shards.keyspace.entry cimport Entry, EntryType, entry_type
from shards.keyspace.keyspace cimport Keyspace
from shards.keyspace.store cimport store_read, store_write

from protocol.errors import WRONG_TYPE, CommandError


cdef class View:
    """A key of the running command's database, looked up again in each call."""

    def __init__(self):
        raise TypeError("a view is made by its open()")

    cdef Entry *access(self, ctx, bytes name, bint write, EntryType type) except? NULL:
        """Name the key, and count the access as a read's or a write's; NULL: there is none.

        Raises WRONGTYPE for a key of another type. O(1)
        """
        cdef Entry *entry
        self.keyspace = ctx.keyspace
        self.name = name
        self.key = self.keyspace.key(name, ctx.database)
        if write:
            entry = store_write(self.keyspace.store, &self.key)
        else:
            entry = store_read(self.keyspace.store, &self.key, True)
        if entry != NULL and entry_type(entry) != type:
            raise CommandError(WRONG_TYPE)
        return entry

    cdef Entry *present(self) noexcept:
        return self.keyspace.live_entry(&self.key)
