"""What a native handler is given and gives back; both lanes' shared native side.

A handler has the signature `native_handler` and returns a NativeStatus. One that returns DECLINED has
touched nothing (neither data, nor LRU or LFU, nor `out`); the Python handler of the same command then
runs. Handlers create no Python object and call nothing that can raise.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from actors.mailbox cimport Message
from protocol.buffer cimport Buffer
from shards.keyspace.keyspace cimport Blob, Key, Store

cdef struct Arg:
    const char *data
    size_t length

cdef struct Argv:
    Key key                 # of the first key, if the command has one
    Arg *args               # args[0] is the name; valid until the next command
    uint32_t argc
    const char *raw
    size_t raw_length

cdef enum NativeStatus:
    NATIVE_DONE = 0
    NATIVE_DECLINED = 1
    NATIVE_BLOB = 2         # done; `shard.blob` (a reference of ours) follows as a bulk string's payload

cdef struct Shard:          # what native handlers see
    Store *store
    uint32_t database       # logical, of the current run
    uint8_t resp
    uint8_t flags           # envelope.RunFlag
    int64_t bulk_bytes_max  # proto-max-bulk-len
    Blob *blob              # out: NATIVE_BLOB
    Message *adopt          # the message that holds the command's bytes if it may be kept, else NULL

ctypedef int (*native_handler)(Shard *shard, const Argv *argv, Buffer *out) noexcept

# Record a change: the native lane's side of Context.changed.
cdef void shard_changed(Shard *shard, const Key *key, const char *event, uint64_t count) noexcept nogil
# A further event of a change that is counted already: Context.notify.
cdef void shard_notify(Shard *shard, const Key *key, const char *event) noexcept nogil

# A command's key at another argument than the first: slot and hash computed here.
cdef void key_at(Shard *shard, const Arg *arg, Key *key) noexcept nogil

cdef class NativeLane:
    """Native handlers by command name; a family's kernel offers `register(lane)`."""
    cdef dict handlers
    cdef void add(self, str name, native_handler handler)
