"""The effects of changes; see effects.pxd."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset, strcmp

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from protocol.buffer cimport Buffer, buffer_append, buffer_free, buffer_reserve
from protocol.native cimport CLOCK_MONOTONIC, DEBUG, clock_ns, fatal
from protocol.numbers cimport format_int64
from protocol.table cimport LOG_APART, LOG_VERBATIM
from shards.keyspace.entry cimport Entry
from shards.keyspace.keyspace cimport Keyspace
from shards.keyspace.store cimport (
    LISTEN_BEFORE, LISTEN_CHANGED, LISTEN_COMMANDS, LISTEN_RECORDS, LISTEN_REMOVED,
    REMOVED_EVICTED, REMOVED_EXPIRED, Key, RemoveReason, Store, store_hook_nodes,
)
from shards.lane.events cimport (
    CLASS_EVICTED, CLASS_EXPIRED, CLASS_GENERIC, CLASS_HASH, CLASS_KEY_MISS, CLASS_LIST,
    CLASS_NEW, CLASS_SET, CLASS_STREAM, CLASS_STRING, CLASS_ZSET, EVENT_COUNT, EVENT_EVICTED,
    EVENT_EXPIRED, EVENT_GROUP_STATE, EVENT_KEY_MISS, EVENT_NEW, EVENT_NONE, Event, EventClass,
)

cdef enum:
    LOG_KEEP_BYTES = 1 << 20    # a larger log's memory is given back after its record
    MULTI_BYTES = 15

# In the order of the enum in events.pxd.
cdef list EVENTS = [
    (b"", 0),
    *((name, CLASS_GENERIC) for name in (
        b"del", b"expire", b"persist", b"rename_from", b"rename_to", b"move_from", b"move_to",
        b"copy_to", b"restore")),
    (b"expired", CLASS_EXPIRED), (b"evicted", CLASS_EVICTED), (b"new", CLASS_NEW),
    (b"keymiss", CLASS_KEY_MISS),
    *((name, CLASS_STRING) for name in (
        b"set", b"setrange", b"append", b"incrby", b"incrbyfloat", b"setbit", b"pfadd")),
    *((name, CLASS_LIST) for name in (
        b"lpush", b"rpush", b"lpop", b"rpop", b"lset", b"linsert", b"lrem", b"ltrim",
        b"sortstore")),
    *((name, CLASS_SET) for name in (
        b"sadd", b"srem", b"spop", b"sinterstore", b"sunionstore", b"sdiffstore")),
    *((name, CLASS_HASH) for name in (b"hset", b"hdel", b"hincrby", b"hincrbyfloat")),
    *((name, CLASS_ZSET) for name in (
        b"zadd", b"zincr", b"zrem", b"zremrangebyrank", b"zremrangebyscore", b"zremrangebylex",
        b"zpopmin", b"zpopmax", b"zrangestore", b"zinterstore", b"zunionstore", b"zdiffstore",
        b"geosearchstore", b"georadiusstore")),
    *((name, CLASS_STREAM) for name in (
        b"xadd", b"xtrim", b"xdel", b"xsetid", b"xgroup-create", b"xgroup-setid",
        b"xgroup-destroy", b"xgroup-createconsumer", b"xgroup-delconsumer")),
    (b"", 0),
]
NO_EVENT = b""
GROUP_STATE = b"group"          # not the name of an event
cdef dict EVENT_NUMBERS = {name: number for number, (name, _) in enumerate(EVENTS)}
EVENT_NUMBERS[NO_EVENT] = EVENT_NONE
EVENT_NUMBERS[GROUP_STATE] = EVENT_GROUP_STATE
cdef const char *names[<int>EVENT_COUNT]
cdef int classes[<int>EVENT_COUNT]
assert len(EVENTS) == EVENT_COUNT
for _number in range(len(EVENTS)):
    names[_number] = PyBytes_AS_STRING(EVENTS[_number][0])
    classes[_number] = EVENTS[_number][1]


cdef const char *event_name(Event event) noexcept nogil:
    return names[<int>event]


cdef EventClass event_class(Event event) noexcept nogil:
    return <EventClass>classes[<int>event]


cdef Event event_named(bytes name) except *:
    """The event of that name; an unknown one is a mistake of ours. KeyError"""
    return <Event><int>EVENT_NUMBERS[name]


cdef uint32_t logical_database(const Store *store, uint32_t physical) noexcept nogil:
    """O(databases)"""
    cdef uint32_t logical = 0
    while store.physical[logical] != physical:
        logical += 1
    return logical


# What the store's hooks and the lanes call

cdef inline bint is_foreign(const EffectsState *state, const Key *key) noexcept nogil:
    """Whether another shard has lent the key, which that one tells of."""
    return state.own_slots != NULL and not state.own_slots[key.slot]


cdef void on_before_change(void *effects, Store *store, const Key *key,
                           Entry *entry) noexcept nogil:
    cdef EffectsState *state = <EffectsState *>effects
    cdef Consumer *consumer = state.consumers
    if is_foreign(state, key):
        return
    while consumer != NULL:
        if consumer.wants & LISTEN_BEFORE and consumer.before_change != NULL:
            consumer.before_change(consumer.owner, store, key, entry)
        consumer = consumer.next


cdef void on_before_node(void *effects, const void *structure, const void *node) noexcept nogil:
    cdef Consumer *consumer = (<EffectsState *>effects).consumers
    while consumer != NULL:
        if consumer.wants & LISTEN_BEFORE and consumer.before_node != NULL:
            consumer.before_node(consumer.owner, structure, node)
        consumer = consumer.next


cdef void tell_changed(Store *store, const Key *key, Event event, int64_t count) noexcept nogil:
    cdef EffectsState *state = <EffectsState *>store.hooks.effects
    cdef Consumer *consumer = state.consumers
    if is_foreign(state, key):
        return
    while consumer != NULL:
        if consumer.wants & LISTEN_CHANGED:
            consumer.changed(consumer.owner, store, key, event, count)
        consumer = consumer.next


cdef void on_created(void *effects, Store *store, const Key *key) noexcept nogil:
    tell_changed(store, key, EVENT_NEW, 0)


cdef void on_missed(void *effects, Store *store, const Key *key) noexcept nogil:
    tell_changed(store, key, EVENT_KEY_MISS, 0)


cdef void on_removed(void *effects, Store *store, const Key *key, Entry *entry,
                     RemoveReason reason) noexcept nogil:
    cdef EffectsState *state = <EffectsState *>effects
    cdef Consumer *consumer = state.consumers
    if is_foreign(state, key):
        return
    while consumer != NULL:
        if consumer.wants & LISTEN_REMOVED:
            consumer.removed(consumer.owner, store, key, entry, reason)
        consumer = consumer.next
    if reason == REMOVED_EXPIRED or reason == REMOVED_EVICTED:
        if store.listening & LISTEN_CHANGED:
            tell_changed(
                store, key, EVENT_EXPIRED if reason == REMOVED_EXPIRED else EVENT_EVICTED, 0)
        if store.listening & LISTEN_RECORDS:
            log_deletion(store, key)


cdef void on_emptied(void *effects, Store *store, uint32_t database) noexcept nogil:
    cdef Consumer *consumer = (<EffectsState *>effects).consumers
    while consumer != NULL:
        if consumer.emptied != NULL:
            consumer.emptied(consumer.owner, store, database)
        consumer = consumer.next


cdef void on_swapped(void *effects, Store *store, uint32_t first, uint32_t second) noexcept nogil:
    cdef Consumer *consumer = (<EffectsState *>effects).consumers
    while consumer != NULL:
        if consumer.swapped != NULL:
            consumer.swapped(consumer.owner, store, first, second)
        consumer = consumer.next


# Consumers

cdef void listen(Store *store) noexcept nogil:
    """Find out anew what is wanted."""
    cdef EffectsState *state = <EffectsState *>store.hooks.effects
    cdef Consumer *consumer = state.consumers
    cdef uint32_t wanted = 0
    cdef bint nodes = False
    while consumer != NULL:
        wanted |= consumer.wants
        nodes = nodes or consumer.before_node != NULL
        consumer = consumer.next
    store.listening = wanted
    store_hook_nodes(store, &state.node_hook if nodes else NULL)


cdef void effects_attach(Store *store, Consumer *consumer) noexcept nogil:
    cdef EffectsState *state = <EffectsState *>store.hooks.effects
    cdef Consumer **last = &state.consumers
    while last[0] != NULL:
        last = &last[0].next
    last[0] = consumer
    consumer.next = NULL
    listen(store)


cdef void effects_detach(Store *store, Consumer *consumer) noexcept nogil:
    cdef EffectsState *state = <EffectsState *>store.hooks.effects
    cdef Consumer **at = &state.consumers
    while at[0] != NULL and at[0] != consumer:
        at = &at[0].next
    if at[0] != NULL:
        at[0] = consumer.next
    listen(store)
    if store.listening == 0:
        state.depth = 0         # a command under way has no end that anybody sees


# Commands and their records

cdef void begin_command(Store *store, uint32_t database, const char *raw, size_t n,
                        uint8_t logging, uint64_t transaction) noexcept nogil:
    cdef EffectsState *state = <EffectsState *>store.hooks.effects
    cdef Consumer *consumer = state.consumers
    state.depth += 1
    state.database = database
    state.raw = raw
    state.raw_length = n
    state.logging = logging
    state.changes_before = store.changes
    state.said = False
    if state.depth > 1:
        return
    state.transaction = transaction
    if store.listening & LISTEN_COMMANDS:
        while consumer != NULL:
            if consumer.begin != NULL:
                consumer.begin(consumer.owner, store)
            consumer = consumer.next


cdef void end_command(Store *store) noexcept nogil:
    cdef EffectsState *state = <EffectsState *>store.hooks.effects
    cdef Consumer *consumer = state.consumers
    if state.depth == 0:
        return                  # it began when nobody listened
    if (not state.said and store.changes != state.changes_before
            and store.listening & LISTEN_RECORDS):
        if DEBUG and not state.logging & LOG_VERBATIM:
            fatal("a command that is not verbatim has changed something and not said what to log")
        log_raw(store)
    state.depth -= 1
    if state.depth:
        state.said = True       # the outer one is logged as what it ran
        return
    send_record(state)
    state.transaction = 0
    if store.listening & LISTEN_COMMANDS:
        while consumer != NULL:
            if consumer.end != NULL:
                consumer.end(consumer.owner, store)
            consumer = consumer.next


cdef void send_record(EffectsState *state) noexcept nogil:
    cdef Consumer *consumer = state.consumers
    cdef Record record
    if state.commands == 0:
        return
    record.transaction = state.transaction
    record.time_ns = clock_ns(CLOCK_MONOTONIC)
    record.database = state.first_database
    record.last_database = state.last_database
    if state.commands > 1:
        buffer_append(&state.log, b"*1\r\n$4\r\nEXEC\r\n", 14)
        record.data = state.log.data
        record.length = state.log.used
    else:
        record.data = state.log.data + MULTI_BYTES
        record.length = state.log.used - MULTI_BYTES
    while consumer != NULL:
        if consumer.wants & LISTEN_RECORDS:
            consumer.record(consumer.owner, &record)
        consumer = consumer.next
    state.log.used = 0
    state.commands = 0
    if state.log.size > LOG_KEEP_BYTES:
        buffer_free(&state.log)


cdef void log_header(Buffer *log, char kind, int64_t number) noexcept nogil:
    cdef char *at = buffer_reserve(log, 24)
    cdef size_t n
    at[0] = kind
    n = 1 + <size_t>format_int64(at + 1, number)
    at[n] = c"\r"
    at[n + 1] = c"\n"
    log.used += n + 2


cdef void log_begin(EffectsState *state, uint32_t database) noexcept nogil:
    """Room for one more command, in its database."""
    if state.commands == 0:
        state.log.used = 0
        buffer_append(&state.log, b"*1\r\n$5\r\nMULTI\r\n", MULTI_BYTES)
        state.first_database = database
    elif database != state.last_database:
        buffer_append(&state.log, b"*2\r\n$6\r\nSELECT\r\n", 16)
        log_number(state.store, database)
    state.last_database = database
    state.commands += 1


cdef void log_raw(Store *store) noexcept nogil:
    cdef EffectsState *state = <EffectsState *>store.hooks.effects
    if not store.listening & LISTEN_RECORDS or state.depth == 0:
        return
    state.said = True
    log_begin(state, state.database)
    buffer_append(&state.log, state.raw, state.raw_length)


cdef void log_nothing(Store *store) noexcept nogil:
    if store.listening & LISTEN_RECORDS:
        (<EffectsState *>store.hooks.effects).said = True


cdef void log_command(Store *store, uint32_t database, uint32_t argc) noexcept nogil:
    cdef EffectsState *state = <EffectsState *>store.hooks.effects
    if not store.listening & LISTEN_RECORDS:
        return
    state.said = True
    log_begin(state, database)
    log_header(&state.log, c"*", argc)


cdef void log_argument(Store *store, const char *data, size_t n) noexcept nogil:
    cdef EffectsState *state = <EffectsState *>store.hooks.effects
    if not store.listening & LISTEN_RECORDS:
        return
    log_header(&state.log, c"$", <int64_t>n)
    buffer_append(&state.log, data, n)
    buffer_append(&state.log, b"\r\n", 2)


cdef void log_number(Store *store, int64_t number) noexcept nogil:
    cdef char text[24]
    log_argument(store, text, <size_t>format_int64(text, number))


cdef void log_done(Store *store) noexcept nogil:
    """What is logged beside a command is a record of its own."""
    cdef EffectsState *state = <EffectsState *>store.hooks.effects
    if state != NULL and state.depth == 0:
        send_record(state)


cdef void log_deletion(Store *store, const Key *key) noexcept nogil:
    """A key has expired or was evicted; the running command is still logged as it says."""
    cdef EffectsState *state = <EffectsState *>store.hooks.effects
    cdef bint said = state.said
    log_command(store, logical_database(store, key.database), 2)
    log_argument(store, b"DEL", 3)
    log_argument(store, key.data, key.length)
    log_done(store)
    if state.depth == 1 and state.logging & LOG_APART:
        send_record(state)      # what SCAN meets is no transaction
    state.said = said


# Python

cdef class Listener:
    """A consumer that is a Python object: its methods are what it wants."""
    cdef Consumer native
    cdef readonly object consumer

    def __cinit__(self, consumer):
        cdef Consumer *native = &self.native
        memset(native, 0, sizeof(Consumer))
        native.owner = <void *>self
        self.consumer = consumer
        if hasattr(consumer, "before_change"):
            native.wants |= LISTEN_BEFORE
            native.before_change = py_before_change
        if hasattr(consumer, "before_node"):
            native.wants |= LISTEN_BEFORE
            native.before_node = py_before_node
        if hasattr(consumer, "changed"):
            native.wants |= LISTEN_CHANGED
            native.changed = py_changed
        if hasattr(consumer, "removed"):
            native.wants |= LISTEN_REMOVED
            native.removed = py_removed
        if hasattr(consumer, "emptied"):
            native.wants |= LISTEN_REMOVED
            native.emptied = py_emptied
        if hasattr(consumer, "swapped"):
            native.wants |= LISTEN_REMOVED
            native.swapped = py_swapped
        if hasattr(consumer, "record"):
            native.wants |= LISTEN_RECORDS
            native.record = py_record
        if native.wants & LISTEN_REMOVED and native.removed == NULL:
            native.removed = py_ignored


cdef bytes key_bytes(const Key *key):
    return PyBytes_FromStringAndSize(key.data, key.length)


cdef void py_before_change(void *owner, Store *store, const Key *key,
                           Entry *entry) noexcept with gil:
    (<Listener>owner).consumer.before_change(
        logical_database(store, key.database), key_bytes(key), entry != NULL)


cdef void py_before_node(void *owner, const void *structure, const void *node) noexcept with gil:
    (<Listener>owner).consumer.before_node(<size_t>structure, <size_t>node)


cdef void py_changed(void *owner, Store *store, const Key *key, Event event,
                     int64_t count) noexcept with gil:
    (<Listener>owner).consumer.changed(
        logical_database(store, key.database), key_bytes(key), EVENTS[<int>event][0],
        EVENTS[<int>event][1], count)


cdef void py_removed(void *owner, Store *store, const Key *key, Entry *entry,
                     RemoveReason reason) noexcept with gil:
    (<Listener>owner).consumer.removed(
        logical_database(store, key.database), key_bytes(key), <int>reason)


cdef void py_ignored(void *owner, Store *store, const Key *key, Entry *entry,
                     RemoveReason reason) noexcept nogil:
    pass


cdef void py_emptied(void *owner, Store *store, uint32_t database) noexcept with gil:
    (<Listener>owner).consumer.emptied(logical_database(store, database))


cdef void py_swapped(void *owner, Store *store, uint32_t first, uint32_t second) noexcept with gil:
    (<Listener>owner).consumer.swapped(first, second)


cdef void py_record(void *owner, const Record *record) noexcept with gil:
    (<Listener>owner).consumer.record(
        record.transaction, record.time_ns, record.database, record.last_database,
        PyBytes_FromStringAndSize(record.data, record.length))


@cython.final
@cython.no_gc_clear
cdef class Effects:
    def __init__(self, Keyspace keyspace not None):
        self.keyspace = keyspace
        self.listeners = []
        memset(&self.state, 0, sizeof(self.state))
        self.state.store = keyspace.store
        self.state.node_hook.owner = &self.state
        self.state.node_hook.before_node = on_before_node
        keyspace.store.hooks.effects = &self.state
        keyspace.store.hooks.before_change = on_before_change
        keyspace.store.hooks.created = on_created
        keyspace.store.hooks.missed = on_missed
        keyspace.store.hooks.removed = on_removed
        keyspace.store.hooks.emptied = on_emptied
        keyspace.store.hooks.swapped = on_swapped

    def __dealloc__(self):
        if self.keyspace.store.hooks.effects == &self.state:
            self.keyspace.store.listening = 0
            store_hook_nodes(self.keyspace.store, NULL)
            self.keyspace.store.hooks.effects = NULL
        buffer_free(&self.state.log)

    def attach(self, consumer):
        """Let an object see those effects that it has methods for."""
        cdef Listener listener = Listener(consumer)
        self.listeners.append(listener)
        effects_attach(self.keyspace.store, &listener.native)

    def detach(self, consumer):
        cdef Listener listener
        for listener in self.listeners:
            if listener.consumer is consumer:
                effects_detach(self.keyspace.store, &listener.native)
                self.listeners.remove(listener)
                return
        raise ValueError("no such consumer is attached")

    def begin(self, uint32_t database, bytes raw not None):
        """A command begins; `raw` must live until its `end`. For running handlers by hand."""
        effects_begin(self.keyspace.store, database, PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw),
                      LOG_VERBATIM, 0)

    def end(self):
        effects_end(self.keyspace.store)

    def log_mark(self):
        """How much is logged, for `rewind_log`."""
        return self.state.commands, self.state.log.used, self.state.last_database

    def rewind_log(self, mark):
        """Forget what was logged since; the record must not have been sent."""
        self.state.commands, self.state.log.used, self.state.last_database = mark
