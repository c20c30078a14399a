"""The contract of effects, checked: nothing changes unless before_change and changed have named it.

A consumer for debug builds and tests. It keeps a digest of what each key holds, and takes all of
them again after each command: a key whose digest is another must have been named by
`before_change`, and told of by `changed`, `removed` or the flush of its database. What happens
between two commands (active expiry) belongs to the next one. Not in the digest are LRU and LFU,
when a stream's consumers were last seen, and a sorted set's encoding, which SORT may change.

Above KEYS_MAX keys, or BYTES_MAX of memory, nothing is compared: all digests would take too long.
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from cpython.bytes cimport PyBytes_FromStringAndSize

from persistence.encode cimport encode_value
from protocol.buffer cimport Buffer, buffer_append, buffer_free
from protocol.native cimport DEBUG, fatal
from protocol.slots cimport SLOTS, key_slot
from shards.keyspace.entry cimport (
    TYPE_STREAM, TYPE_ZSET, Entry, entry_expire_ms, entry_key, entry_pointer, entry_type,
)
from shards.keyspace.keyspace cimport Keyspace
from shards.keyspace.store cimport (
    LISTEN_BEFORE, LISTEN_CHANGED, LISTEN_COMMANDS, LISTEN_RECORDS, LISTEN_REMOVED, Key,
    RemoveReason, Store, store_hash, store_walk,
)
from shards.keyspace.table cimport EntryList
from shards.lane.effects cimport Consumer, Effects, Record, effects_attach, effects_detach
from shards.lane.events cimport EVENT_KEY_MISS, Event
from shards.types.stream cimport Consumer as Reader
from shards.types.stream cimport Group, NamePlace, Stream, names_next
from shards.types.zset cimport (
    SortedCursor, SortedItem, SortedSet, sorted_item, sorted_seek_rank, sorted_step,
)
from shards.views.zset cimport sorted_of

cdef enum:
    KEYS_MAX = 256
    BYTES_MAX = 16 << 20


cdef void hide_times(const Stream *stream, list hidden):
    """Put a stream's times of consumers aside, or back."""
    cdef NamePlace place = NamePlace(0, 0)
    cdef NamePlace inner
    cdef Group *group
    cdef Reader *reader
    cdef bint back = len(hidden) > 0
    cdef Py_ssize_t at = 0
    while True:
        group = <Group *>names_next(&stream.groups, &place)
        if group == NULL:
            return
        inner = NamePlace(0, 0)
        while True:
            reader = <Reader *>names_next(&group.consumers, &inner)
            if reader == NULL:
                break
            if back:
                reader.seen_ms, reader.active_ms = hidden[at]
                at += 1
            else:
                hidden.append((reader.seen_ms, reader.active_ms))
                reader.seen_ms = reader.active_ms = 0


@cython.final
@cython.no_gc_clear
cdef class Contract:
    """Attach it with `watch`; `report`, for tests, is called instead of ending the process."""

    cdef Consumer native
    cdef Keyspace keyspace
    cdef Effects effects
    cdef readonly object report
    cdef dict digests           # (physical database, key): digest; None: there is too much
    cdef set named              # by before_change
    cdef set told               # by changed or removed
    cdef set emptied            # physical databases

    def __init__(self, Effects effects not None, report=None):
        memset(&self.native, 0, sizeof(self.native))
        self.effects = effects
        self.keyspace = effects.keyspace
        self.report = report
        self.named, self.told, self.emptied = set(), set(), set()
        self.native.owner = <void *>self
        self.native.wants = (
            LISTEN_BEFORE | LISTEN_CHANGED | LISTEN_REMOVED | LISTEN_COMMANDS | LISTEN_RECORDS)
        self.native.record = on_record
        self.native.before_change = on_before_change
        self.native.changed = on_changed
        self.native.removed = on_removed
        self.native.emptied = on_emptied
        self.native.begin = on_begin
        self.native.end = on_end
        self.digests = self.take()
        effects_attach(self.keyspace.store, &self.native)

    def detach(self):
        """Look no longer."""
        effects_detach(self.keyspace.store, &self.native)

    cdef uint64_t digest(self, Buffer *out, uint32_t database, const Entry *entry) except? 0:
        """What a key holds, and when it expires. O(n)"""
        cdef SortedSet set
        cdef SortedCursor cursor
        cdef SortedItem item
        cdef int64_t expire_ms = entry_expire_ms(entry)
        cdef int type = <int>entry_type(entry)
        cdef bint more
        cdef list hidden
        out.used = 0
        buffer_append(out, &expire_ms, sizeof(expire_ms))
        buffer_append(out, &type, sizeof(type))
        if type == TYPE_ZSET:
            sorted_of(self.keyspace.store, database, entry, &set)
            more = sorted_seek_rank(&set, 0, &cursor)
            while more:
                sorted_item(&cursor, &item)
                buffer_append(out, &item.score, sizeof(item.score))
                buffer_append(out, item.member, item.length)
                buffer_append(out, &item.length, sizeof(item.length))
                more = sorted_step(&cursor, False)
        elif type == TYPE_STREAM:
            hidden = []
            hide_times(<Stream *>entry_pointer(entry), hidden)
            encode_value(out, entry, False)
            hide_times(<Stream *>entry_pointer(entry), hidden)
        else:
            encode_value(out, entry, False)
        return store_hash(self.keyspace.store, out.data, out.used)

    cdef dict take(self):
        """The digests of all our keys; None: there are too many, or too large ones. O(n)"""
        cdef Store *store = self.keyspace.store
        cdef EntryList *found = &store.scratch
        cdef Buffer out
        cdef uint32_t number
        cdef uint64_t keys = 0, cursor
        cdef size_t i, n
        cdef const char *key
        digests = {}
        for number in range(store.database_count):
            if store.databases[number] != NULL:
                keys += store.databases[number].size
        if keys > KEYS_MAX or store.used_memory > BYTES_MAX:
            return None
        memset(&out, 0, sizeof(out))
        try:
            for number in range(store.database_count):
                if store.databases[number] == NULL:
                    continue
                found.count = 0
                cursor = 0
                while True:
                    cursor = store_walk(store, number, False, cursor, KEYS_MAX, 0, SLOTS - 1, found)
                    if cursor == 0:
                        break
                for i in range(found.count):
                    key = entry_key(found.entries[i], &n)
                    if (self.effects.state.own_slots == NULL
                            or self.effects.state.own_slots[key_slot(key, n)]):
                        digests[number, PyBytes_FromStringAndSize(key, n)] = self.digest(
                            &out, number, found.entries[i])
        finally:
            buffer_free(&out)
        return digests

    def check(self):
        """Compare with what was there at the last check."""
        cdef dict before = self.digests
        self.digests = self.take()
        named, told, emptied = self.named, self.told, self.emptied
        self.named, self.told, self.emptied = set(), set(), set()
        if before is None or self.digests is None:
            return
        for key in before.keys() | self.digests.keys():
            if before.get(key) == self.digests.get(key):
                continue
            if key[0] in emptied and key not in self.digests:
                continue
            if key not in named and key[0] not in emptied:
                self.complain(key, b"before_change")
            if key not in told:
                self.complain(key, b"changed")

    cdef int complain(self, tuple key, bytes what) except -1:
        cdef bytes message = b"a command has changed %r without %b" % (key[1], what)
        cdef bytes raw
        if self.effects.state.raw != NULL and self.effects.state.raw_length:
            raw = PyBytes_FromStringAndSize(
                self.effects.state.raw, min(self.effects.state.raw_length, <size_t>200))
            message += b": %r" % raw
        if self.report is None:
            fatal(message)
        self.report(message.decode("latin-1"))
        return 0


cdef tuple identity(const Key *key):
    return key.database, PyBytes_FromStringAndSize(key.data, key.length)


cdef void on_before_change(void *owner, Store *store, const Key *key,
                           Entry *entry) noexcept with gil:
    (<Contract>owner).named.add(identity(key))


cdef void on_changed(void *owner, Store *store, const Key *key, Event event,
                     int64_t count) noexcept with gil:
    if event != EVENT_KEY_MISS:
        (<Contract>owner).told.add(identity(key))


cdef void on_removed(void *owner, Store *store, const Key *key, Entry *entry,
                     RemoveReason reason) noexcept with gil:
    (<Contract>owner).told.add(identity(key))


cdef void on_emptied(void *owner, Store *store, uint32_t database) noexcept with gil:
    (<Contract>owner).emptied.add(database)


cdef void on_record(void *owner, const Record *record) noexcept nogil:
    pass                        # so that it is looked at whether handlers say what to log


cdef void on_begin(void *owner, Store *store) noexcept nogil:
    pass


cdef void on_end(void *owner, Store *store) noexcept with gil:
    (<Contract>owner).check()


def watch(ctx):
    """In a debug build, let a shard end when it breaks the contract. None in others."""
    return Contract(ctx.effects) if DEBUG else None
