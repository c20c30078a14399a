"""What a Python handler sees of its shard. It owns nothing: the keyspace does.

Everything a write owes besides the data (dirty count, WATCH, notifications, propagation, blocked
clients) hangs on `changed`, so that no handler can do half of it. Like the native lane's
`shard_changed` it ends in shards/lane/effects.
"""

from random import Random

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t

from shards.keyspace.keyspace cimport Key, Keyspace, Store
from shards.lane.effects cimport (
    Effects, effects_changed, effects_logs, event_named, log_argument, log_command, log_done,
    log_nothing, log_raw,
)

from shards.lane.handler cimport WANTS_LIST, WANTS_STREAM, WANTS_ZSET

from protocol.slots import key_slot

from time import sleep as _sleep

cdef dict WANTED = {b"list": WANTS_LIST, b"zset": WANTS_ZSET, b"stream": WANTS_STREAM}


class Settings:
    """The live configuration values that a shard acts on, by directive name with underscores."""

    def __init__(self, config):
        self.maxmemory_policy = b"noeviction"
        self.active_expire_effort = 1
        self.hz = 10
        self.lfu_log_factor = 10
        self.lfu_decay_time = 1
        self.proto_max_bulk_len = 512 << 20
        self.rdbcompression = True
        self.active_expire = True
        self.lazyfree_lazy_user_flush = False
        self.cluster_enabled = False
        self.client_output_buffer_limit = []
        self.update(config)

    @property
    def reply_bytes_max(self):
        """The hard limit of normal clients, which all are who ask a shard for anything; 0: none."""
        return self.client_output_buffer_limit[0][0] if self.client_output_buffer_limit else 0

    def update(self, changes):
        """Apply CONFIG SET: {directive: value}; those that no shard acts on are passed over."""
        for directive, value in changes.items():
            name = directive.replace("-", "_")
            if hasattr(self, name):
                current = getattr(self, name)
                if isinstance(current, bytes) and isinstance(value, str):
                    value = value.encode()
                setattr(self, name, value)


class NeedKeys(Exception):
    """A command is to run again, lent these keys of other shards. It has changed nothing yet."""

    def __init__(self, keys):
        super().__init__(keys)
        self.keys = keys


@cython.final
cdef class Context:
    """See context.pyi. One per shard; the executor sets `now_ms` and `database` each time."""

    def __init__(self, Keyspace keyspace, settings, table, int databases=16, random=None):
        self.table = table
        self.keyspace = keyspace
        self.effects = Effects(keyspace)
        self.settings = settings
        self.databases = databases
        self.random = Random() if random is None else random

    def type(self, bytes key, database=None, bint counted=True):
        return self.keyspace.type(self.database if database is None else database, key, counted)

    def exists(self, bytes key, bint touch=False, database=None, bint write=False):
        return self.keyspace.exists(
            self.database if database is None else database, key, touch, write)

    def look(self, bytes key):
        return self.keyspace.look(self.database, key)

    def meet(self, bytes key):
        self.keyspace.meet(self.database, key)

    def read_string(self, bytes key):
        return self.keyspace.read_string(self.database, key)

    def read_part(self, bytes key, first, last):
        return self.keyspace.read_part(self.database, key, first, last)

    def write_string(self, bytes key):
        return self.keyspace.write_string(self.database, key)

    def set_string(self, bytes key, bytes value, expire_ms=-1, bint raw=False, bint encode=True):
        self.keyspace.set_string(self.database, key, value, expire_ms, raw, encode)

    def append(self, bytes key, bytes value):
        return self.keyspace.append(self.database, key, value)

    def set_range(self, bytes key, offset, bytes value):
        return self.keyspace.set_range(self.database, key, offset, value)

    def string_length(self, bytes key, bint write=False):
        return self.keyspace.string_length(self.database, key, write)

    def delete(self, bytes key, database=None):
        return self.keyspace.delete(self.database if database is None else database, key)

    def clear(self, bytes key):
        return self.keyspace.clear(self.database, key)

    def expire_ms(self, bytes key):
        return self.keyspace.expire_ms(self.database, key)

    def set_expire(self, bytes key, expire_ms):
        self.keyspace.set_expire(self.database, key, expire_ms)

    def rename(self, bytes source, bytes target):
        self.keyspace.rename(self.database, source, target)

    def copy(self, bytes source, bytes target, int target_database):
        self.keyspace.copy(self.database, source, target, target_database)

    def move(self, bytes key, int target_database):
        self.keyspace.move(self.database, key, target_database)

    @property
    def own_slots(self):
        return self.slots

    @own_slots.setter
    def own_slots(self, bytes slots):
        self.slots = slots
        self.effects.state.own_slots = NULL
        if slots is not None:
            self.effects.state.own_slots = <const uint8_t *>PyBytes_AS_STRING(slots)

    @property
    def logs(self):
        return effects_logs(self.keyspace.store)

    def changed(self, bytes key, bytes event, int64_t count=1, database=None):
        if count:
            self._tell(key, event, count, database)

    def notify(self, bytes key, bytes event, database=None):
        self._tell(key, event, 0, database)

    cdef int _tell(self, bytes key, bytes event, int64_t count, database) except -1:
        cdef Store *store = self.keyspace.store
        cdef Key native
        if store.listening:
            native = self.keyspace.key(key, self.database if database is None else database)
            effects_changed(store, &native, event_named(event), count)
        else:
            store.changes += count
        return 0

    def need(self, keys):
        if self.slots is None:
            return
        lent = self.runner.lent or () if self.runner is not None else ()
        missing = [key for key in dict.fromkeys(keys)
                   if key not in lent and not self.slots[key_slot(key)]]
        if missing:
            raise NeedKeys(missing)

    def flush(self, int database, bint lazily=False):
        self.keyspace.store.changes += self.keyspace.flush(database, lazily)

    def swap(self, int first, int second):
        self.keyspace.swap(first, second)

    def propagate(self, list args not None, database=None):
        cdef Store *store = self.keyspace.store
        cdef bytes arg
        if not effects_logs(store):
            return
        log_command(store, self.database if database is None else database, len(args))
        for arg in args:
            log_argument(store, PyBytes_AS_STRING(arg), PyBytes_GET_SIZE(arg))
        log_done(store)

    def propagate_raw(self):
        log_raw(self.keyspace.store)

    def propagate_nothing(self):
        log_nothing(self.keyspace.store)

    def block(self, bytes wanted, uint32_t first, uint32_t end, int64_t deadline_ms,
              bint on_removal=False, list args=None):
        if not self.may_block:
            return False
        self.blocked.wants = WANTED[wanted]
        self.blocked.on_removal = on_removal
        self.blocked.first = first
        self.blocked.end = end
        self.blocked.deadline_ms = deadline_ms
        self.waiting = args
        return True

    def sleep(self, double seconds):
        _sleep(seconds)
