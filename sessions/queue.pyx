"""A client's queued commands; see queue.pxd."""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, uint16_t, uint32_t

from protocol.buffer cimport buffer_append, buffer_free
from protocol.envelope cimport CommandHeader

cdef enum:
    KEEP_BYTES = 16384          # larger buffers are given back after EXEC


cdef list split_command(const char *raw):
    cdef const char *p = raw + 1
    cdef size_t argc = 0, length
    cdef list arguments = []
    while p[0] != c"\r":
        argc = argc * 10 + <size_t>(p[0] - c"0")
        p += 1
    p += 2
    while argc:
        argc -= 1
        p += 1
        length = 0
        while p[0] != c"\r":
            length = length * 10 + <size_t>(p[0] - c"0")
            p += 1
        p += 2
        arguments.append(PyBytes_FromStringAndSize(p, length))
        p += length + 2
    return arguments


@cython.final
cdef class CommandQueue:
    def __cinit__(self):
        self.clear()

    def __dealloc__(self):
        buffer_free(&self.headers)
        buffer_free(&self.raw)

    cdef void clear(self) noexcept:
        if self.raw.size > KEEP_BYTES or self.headers.size > KEEP_BYTES:
            buffer_free(&self.headers)
            buffer_free(&self.raw)
        self.headers.used = 0
        self.raw.used = 0
        self.count = 0
        self.flags = 0
        self.shard = NO_SHARD
        self.mixed = False
        self.failed = False
        self.asks_router = False
        self.slot = -1
        self.crosses_slots = False
        self.argument_bytes = 0

    cdef void add(self, const CommandHeader *header, const char *raw, uint32_t flags,
                  size_t argument_bytes) noexcept:
        if self.failed:
            return              # EXEC will do nothing: no sense in keeping more
        buffer_append(&self.headers, header, sizeof(CommandHeader))
        buffer_append(&self.raw, raw, header.length)
        self.count += 1
        self.flags |= flags
        self.argument_bytes += argument_bytes

    cdef void note_shard(self, int32_t shard) noexcept:
        if self.shard == NO_SHARD:
            self.shard = shard
        elif self.shard != shard:
            self.shard = MANY_SHARDS

    cdef void note_slot(self, uint16_t slot) noexcept:
        if self.slot < 0:
            self.slot = slot
        elif self.slot != slot:
            self.crosses_slots = True

    cdef const CommandHeader *header(self, uint32_t i) noexcept:
        return <const CommandHeader *>self.headers.data + i

    cdef list commands(self):
        """Each command's id and arguments. O(bytes)"""
        cdef const char *raw = self.raw.data
        cdef const CommandHeader *header
        cdef list found = []
        cdef uint32_t i
        for i in range(self.count):
            header = self.header(i)
            found.append((header.id, split_command(raw)))
            raw += header.length
        return found
