"""What a change owes besides the data: one place for both lanes of handlers and for the keyspace.

    before_change, before_node   snapshots, undo, slot moves: what is there now, before it changes
    changed                      dirty count; WATCH, tracking, keyspace events, blocked clients
    removed, emptied, swapped    keys that go, by whatever way
    record                       what a log or a replica is sent, one record for each command

Consumers attach themselves for those they want. `store.listening` is the union of what is wanted,
so that each place costs one predictable branch while nobody listens. All state is in the store's
`EffectsState`; consumers are called in the order in which they came.

Contract of consumers
1. They change nothing in the keyspace. Key and entry pointers are valid during the call.
2. `before_change` comes before the first change of a key by a command, maybe several times, and for
   keys that are opened to be changed and then aren't. Entry is NULL for a key that is absent.
3. `changed` comes once for each event, in Redis's order, with the number of changes that it adds to
   the dirty count (0: a further event of a change that is counted). `removed` comes before the
   entry goes, `before_change` before that.
4. Keys of slots that are not ours (lent by another shard) are told to nobody.

Contract of the executor: `effects_begin` and `effects_end` around each command, nested for those
that a transaction or a script runs. What these log becomes one record, wrapped in MULTI and EXEC
where it is more than one command.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from protocol.buffer cimport Buffer
from protocol.native cimport unlikely
from shards.keyspace.entry cimport Entry
from shards.keyspace.keyspace cimport Keyspace
from shards.keyspace.store cimport (
    LISTEN_CHANGED, LISTEN_RECORDS, Key, RemoveReason, Store,
)
from shards.lane.events cimport Event, EventClass
from shards.memory.allocation cimport NodeHook

cdef struct Record:
    uint64_t transaction        # its number, or 0
    int64_t time_ns             # monotonic
    uint32_t database           # logical: what must be selected before its bytes
    uint32_t last_database      # what is selected after them
    const char *data            # RESP, as a replica is sent it
    size_t length

cdef struct Consumer:           # owned by whom it calls; attached until it is detached
    Consumer *next
    void *owner
    uint32_t wants              # Listening
    void (*before_change)(void *owner, Store *store, const Key *key, Entry *entry) noexcept nogil
    void (*before_node)(void *owner, const void *structure, const void *node) noexcept nogil
    void (*changed)(void *owner, Store *store, const Key *key, Event event,
                    int64_t count) noexcept nogil
    void (*removed)(void *owner, Store *store, const Key *key, Entry *entry,
                    RemoveReason reason) noexcept nogil
    void (*emptied)(void *owner, Store *store, uint32_t database) noexcept nogil    # physical
    void (*swapped)(void *owner, Store *store, uint32_t first,
                    uint32_t second) noexcept nogil                                 # logical
    void (*record)(void *owner, const Record *record) noexcept nogil
    void (*begin)(void *owner, Store *store) noexcept nogil     # around the outermost command
    void (*end)(void *owner, Store *store) noexcept nogil

cdef struct EffectsState:
    Store *store
    Consumer *consumers
    NodeHook node_hook
    const uint8_t *own_slots    # a byte for each slot, 1: it is ours; NULL: all are
    uint32_t depth              # commands that have begun and not ended
    uint64_t transaction        # the number of what runs, or 0: of the outermost command
    # the innermost command
    uint32_t database           # logical
    const char *raw
    size_t raw_length
    uint8_t logging             # CommandLogging
    uint64_t changes_before
    bint said                   # the handler has said what is to be logged
    # the record under construction
    Buffer log                  # MULTI, then the commands
    uint32_t commands
    uint32_t first_database
    uint32_t last_database

cdef class Effects:
    """The effects of one store, for Python: consumers that are objects."""
    cdef EffectsState state
    cdef Keyspace keyspace
    cdef list listeners

cdef void effects_attach(Store *store, Consumer *consumer) noexcept nogil
cdef void effects_detach(Store *store, Consumer *consumer) noexcept nogil
cdef const char *event_name(Event event) noexcept nogil
cdef Event event_named(bytes name) except *     # KeyError
cdef EventClass event_class(Event event) noexcept nogil
cdef uint32_t logical_database(const Store *store, uint32_t physical) noexcept nogil

# Around each command. `raw` is its RESP, which is logged as it came if the handler says nothing
# else and the dirty count has grown: then `logging` must have LOG_VERBATIM. `transaction`: its
# number, or 0.
cdef inline void effects_begin(Store *store, uint32_t database, const char *raw, size_t n,
                               uint8_t logging, uint64_t transaction) noexcept nogil:
    if unlikely(store.listening):
        begin_command(store, database, raw, n, logging, transaction)

cdef inline void effects_end(Store *store) noexcept nogil:
    if unlikely(store.listening):
        end_command(store)

cdef void begin_command(Store *store, uint32_t database, const char *raw, size_t n,
                        uint8_t logging, uint64_t transaction) noexcept nogil
cdef void end_command(Store *store) noexcept nogil

# A change: `count` is added to the dirty count; 0: it is a further event of one that was counted.
cdef inline void effects_changed(Store *store, const Key *key, Event event,
                                 int64_t count) noexcept nogil:
    store.changes += count
    if unlikely(store.listening & LISTEN_CHANGED):
        tell_changed(store, key, event, count)

cdef void tell_changed(Store *store, const Key *key, Event event, int64_t count) noexcept nogil

# Whether anybody wants records. While nobody does, the functions below do nothing.
cdef inline bint effects_logs(const Store *store) noexcept nogil:
    return unlikely(store.listening & LISTEN_RECORDS)

# Log the running command as it came; log nothing of it.
cdef void log_raw(Store *store) noexcept nogil
cdef void log_nothing(Store *store) noexcept nogil
# Log a command of so many arguments, which must follow; in its logical database.
cdef void log_command(Store *store, uint32_t database, uint32_t argc) noexcept nogil
cdef void log_argument(Store *store, const char *data, size_t n) noexcept nogil
cdef void log_number(Store *store, int64_t number) noexcept nogil
cdef void log_done(Store *store) noexcept nogil
