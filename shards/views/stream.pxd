"""Streams for handlers: the view of Python's, and how entries are written to a reply."""

from libc.stdint cimport uint64_t

from protocol.buffer cimport Buffer
from shards.store cimport Key
from shards.keyspace cimport Keyspace
from shards.memory cimport Pool
from shards.types.idtree cimport Id
from shards.types.stream cimport Consumer, Group, Stream, StreamCursor
from shards.views.view cimport View


cdef enum:
    ID_BYTES_MAX = 41               # two numbers of 20 digits, and the dash

cdef int format_id(char *out, Id id) noexcept nogil             # how many bytes
cdef void reply_id(Buffer *out, Id id) noexcept nogil
cdef void reply_entry(Buffer *out, const StreamCursor *cursor) noexcept nogil   # its id and fields


cdef class StreamView(View):

    cdef Stream *stream(self) except NULL
    cdef Pool *pool(self) noexcept
    cdef Group *group(self, Stream *stream, bytes name) except NULL
    cdef Consumer *consumer(self, Group *group, bytes name) except NULL
