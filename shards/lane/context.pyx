"""What a Python handler sees of its shard. It owns nothing: the keyspace does.

Everything a write owes besides the data (the dirty count today; WATCH, notifications, propagation and
blocked clients as they come) hangs on `changed`, so that no handler can do half of it.
"""

from random import Random

cimport cython
from libc.stdint cimport int64_t

from shards.keyspace.keyspace cimport Keyspace

from protocol.slots import key_slot

from time import sleep as _sleep


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
        """Apply CONFIG SET: {directive: value}; directives that no shard acts on are passed over."""
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
    """See context.pyi. One per shard; the executor sets `now_ms` and `database` for each command."""

    cdef public int64_t now_ms
    cdef public int database
    cdef readonly int databases
    cdef readonly object random
    cdef readonly object settings
    cdef readonly Keyspace keyspace
    cdef readonly object table          # CommandTable
    cdef public bint cluster            # the caller is at the shard's own port
    cdef public object runner           # execution.runner.Runner, for commands that run others
    cdef public object transaction      # execution.waiting.Transaction of the running command, or None
    cdef public bint logs               # somebody listens to propagate()
    cdef public bytes own_slots         # a byte for each slot, 1: it is ours; None: all are

    def __init__(self, Keyspace keyspace, settings, table, int databases=16, random=None):
        self.table = table
        self.keyspace = keyspace
        self.settings = settings
        self.databases = databases
        self.random = Random() if random is None else random

    def type(self, bytes key, database=None):
        return self.keyspace.type(self.database if database is None else database, key)

    def exists(self, bytes key, bint touch=False, database=None):
        return self.keyspace.exists(self.database if database is None else database, key, touch)

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

    def string_length(self, bytes key):
        return self.keyspace.string_length(self.database, key)

    def delete(self, bytes key, database=None):
        return self.keyspace.delete(self.database if database is None else database, key)

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

    def changed(self, bytes key, bytes event, int64_t count=1, database=None):
        self.keyspace.store.changes += count
        self.notify(key, event, database)

    def notify(self, bytes key, bytes event, database=None):
        """A further event of a change that is counted already. Nobody listens yet."""

    def need(self, keys):
        if self.own_slots is None:
            return
        lent = self.runner.lent or () if self.runner is not None else ()
        missing = [key for key in dict.fromkeys(keys)
                   if key not in lent and not self.own_slots[key_slot(key)]]
        if missing:
            raise NeedKeys(missing)

    def flush(self, int database, bint lazily=False):
        self.keyspace.store.changes += self.keyspace.flush(database, lazily)

    def swap(self, int first, int second):
        self.keyspace.swap(first, second)

    def propagate(self, list args):
        """What a log or replica would be sent instead of the call. Nobody listens yet."""

    def sleep(self, double seconds):
        _sleep(seconds)
