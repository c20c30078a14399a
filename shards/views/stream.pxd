"""Streams for handlers: the view of Python's, and how entries are written to a reply."""

from libc.stdint cimport int64_t, uint64_t

from protocol.buffer cimport Buffer
from shards.keyspace.store cimport Key
from shards.keyspace.keyspace cimport Keyspace
from shards.memory.allocation cimport Pool
from shards.types.idtree cimport Id
from shards.types.stream cimport Consumer, Group, Stream, StreamCursor
from shards.views.view cimport View


cdef int format_id(char *out, Id id) noexcept nogil             # how many bytes
cdef void reply_id(Buffer *out, Id id) noexcept nogil
cdef void reply_entry(Buffer *out, const StreamCursor *cursor) noexcept nogil   # its id and fields
# Put the header of an array before its elements, which begin at `start`. O(bytes)
cdef void insert_header(Buffer *out, size_t start, int64_t count) noexcept nogil
# The entries low..high, at most `count` of them (0: all), as an array; how many there are.
cdef uint64_t reply_entries(Buffer *out, const Stream *stream, Id low, Id high, uint64_t count,
                            bint reverse) noexcept nogil
# The same of what a group has not read; they are pending for `reader` from then on unless they
# count as acknowledged.
cdef uint64_t deliver_new(Buffer *out, Pool *pool, Stream *stream, Group *group, Consumer *reader,
                          uint64_t count, bint acknowledged, int64_t now_ms) noexcept nogil
# What is pending for `reader` from `low` on, once more; null for an entry that is deleted.
cdef void deliver_again(Buffer *out, int resp, const Stream *stream, const Consumer *reader,
                        Id low, uint64_t count, int64_t now_ms) noexcept nogil


cdef class StreamView(View):

    cdef Stream *stream(self) except NULL
    cdef Stream *changing(self) except NULL
    cdef Pool *pool(self) noexcept
    cdef Group *group(self, Stream *stream, bytes name) except NULL
    cdef Consumer *consumer(self, Group *group, bytes name) except NULL
