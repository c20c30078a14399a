"""What a native handler is given and gives back; both lanes' shared native side.

A handler has the signature `native_handler` and returns a NativeStatus. One that returns DECLINED
has touched nothing (neither data, nor LRU or LFU, nor `out`); the Python handler of the same
command then runs. Handlers create no Python object and call nothing that can raise.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from actors.mailbox cimport Message
from protocol.buffer cimport Buffer
from shards.keyspace.keyspace cimport Blob, Key, Store
from shards.lane.effects cimport (
    effects_changed, effects_logs, log_argument, log_command, log_number,
)
from shards.lane.events cimport Event

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
    NATIVE_BLOB = 2  # done; `shard.blob` (a reference of ours) follows as a bulk string's payload
    NATIVE_BLOCKS = 3       # nothing is there and nothing was replied: `shard.block` says what for

cdef enum Wanted:           # what a command that blocks waits for
    WANTS_NOTHING = 0       # it does not block
    WANTS_LIST = 1
    WANTS_ZSET = 2
    WANTS_STREAM = 3

cdef struct Block:          # how a command blocks
    uint8_t wants           # Wanted
    bint on_removal         # it is to be run as well when one of its keys goes
    uint32_t first          # its keys' places among the arguments, up to `end` - 1
    uint32_t end
    int64_t deadline_ms     # 0: none

cdef struct Shard:          # what native handlers see
    Store *store
    uint32_t database       # logical, of the current run
    uint8_t resp
    uint8_t flags           # envelope.RunFlag
    int64_t bulk_bytes_max  # proto-max-bulk-len
    Blob *blob              # out: NATIVE_BLOB
    Message *adopt  # the message that holds the command's bytes if it may be kept, else NULL
    bint may_block          # there is somebody who can wait
    Block block             # out: NATIVE_BLOCKS

ctypedef int (*native_handler)(Shard *shard, const Argv *argv, Buffer *out) noexcept

# Record a change: the native lane's side of Context.changed. A count of 0 is no change.
cdef inline void shard_changed(Shard *shard, const Key *key, Event event,
                               uint64_t count) noexcept nogil:
    if count:
        effects_changed(shard.store, key, event, <int64_t>count)

# A further event of a change that is counted already: Context.notify.
cdef inline void shard_notify(Shard *shard, const Key *key, Event event) noexcept nogil:
    effects_changed(shard.store, key, event, 0)

# Whether somebody wants to know what to log. Then a handler of a command that is not `verbatim`
# says so once it has changed something: log_raw, log_nothing, or log_command with its arguments.
cdef inline bint shard_logs(const Shard *shard) noexcept nogil:
    return effects_logs(shard.store)

# Log a command in the place of the one that was called; its arguments follow (shard_log_...).
cdef inline void shard_log(Shard *shard, uint32_t argc, const char *name, size_t n) noexcept nogil:
    log_command(shard.store, shard.database, argc)
    log_argument(shard.store, name, n)

cdef inline void shard_log_arg(Shard *shard, const Arg *arg) noexcept nogil:
    log_argument(shard.store, arg.data, arg.length)

cdef inline void shard_log_number(Shard *shard, int64_t number) noexcept nogil:
    log_number(shard.store, number)

# A command's key at another argument than the first: slot and hash computed here.
cdef void key_at(Shard *shard, const Arg *arg, Key *key) noexcept nogil

cdef class NativeLane:
    """Native handlers by command name; a family's kernel offers `register(lane)`."""
    cdef dict handlers
    cdef void add(self, str name, native_handler handler)
