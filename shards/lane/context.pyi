from collections.abc import Iterable, Mapping
from random import Random
from typing import Any, final

from protocol.commands import CommandTable
from shards.keyspace.keyspace import Keyspace
from shards.lane.effects import Effects

class Settings:
    """The live configuration values that a shard acts on."""

    maxmemory_policy: bytes
    active_expire_effort: int
    hz: int
    lfu_log_factor: int
    lfu_decay_time: int
    proto_max_bulk_len: int
    rdbcompression: bool
    active_expire: bool  # DEBUG SET-ACTIVE-EXPIRE
    lazyfree_lazy_user_flush: bool
    cluster_enabled: bool
    client_output_buffer_limit: list[list[int]]

    @property
    def reply_bytes_max(self) -> int:
        """From more bytes than that on, whoever asked is closed instead of answered; 0: never."""

    def __init__(self, config: Mapping[str, Any]) -> None: ...
    def update(self, changes: Mapping[str, Any]) -> None: ...

class NeedKeys(Exception):
    """A command is to run again, lent these keys of other shards."""

    keys: list[bytes]
    def __init__(self, keys: list[bytes]) -> None: ...

@final
class Context:
    """All that a Python handler sees of its shard: `(ctx, args, reply)`.

    `database` arguments are logical numbers and default to the caller's database.
    """

    now_ms: int  # one reading per command
    random: Random
    database: int  # the caller's SELECTed database
    databases: int  # how many there are
    settings: Settings
    keyspace: Keyspace
    table: CommandTable
    watches: Any  # shards.execution.watches.Watches
    cluster: bool  # the caller is at the shard's own port: only database 0 exists for it
    runner: Any  # shards.execution.runner.Runner, for commands that run others
    serving: Any  # shards.execution.serving.Serving, for workers that wait for keys
    transaction: Any  # shards.execution.waiting.Transaction of the running command, or None
    effects: Effects
    @property
    def logs(self) -> bool: ...  # somebody wants what propagate() says
    own_slots: bytes | None  # a byte for each slot, 1: it is this shard's; None: all are

    def __init__(
        self,
        keyspace: Keyspace,
        settings: Settings,
        table: CommandTable,
        databases: int = 16,
        random: Random | None = None,
    ) -> None: ...
    # Looks are counted as hits and misses, those of commands that will write are not.
    def type(
        self, key: bytes, database: int | None = None, counted: bool = True
    ) -> bytes | None: ...
    def exists(
        self,
        key: bytes,
        touch: bool = False,
        database: int | None = None,
        write: bool = False,
    ) -> bool: ...
    def look(self, key: bytes) -> bool:
        """Whether there is such a key; a hit or a miss, of which nobody is told. O(1)"""
    def meet(self, key: bytes) -> None:
        """Remove a key if it has expired; nothing else is touched or counted. O(1)"""
    def read_string(self, key: bytes) -> bytes | None: ...
    def read_part(self, key: bytes, first: int, last: int) -> bytes: ...
    def write_string(self, key: bytes) -> bytes | None: ...
    def set_string(
        self,
        key: bytes,
        value: bytes,
        expire_ms: int = -1,
        raw: bool = False,
        encode: bool = True,
    ) -> None: ...  # not encode: no int encoding, as INCRBYFLOAT's result
    def append(self, key: bytes, value: bytes) -> int: ...
    def set_range(self, key: bytes, offset: int, value: bytes) -> int: ...
    def string_length(self, key: bytes, write: bool = False) -> int: ...
    def delete(self, key: bytes, database: int | None = None) -> bool: ...
    def clear(self, key: bytes) -> bool:
        """Delete a key that would be given a value if there were one; True if it was there.

        As in Redis, whether it has expired is not looked at. O(its size)
        """
    def expire_ms(self, key: bytes) -> int | None: ...
    def set_expire(self, key: bytes, expire_ms: int) -> None: ...
    def rename(self, source: bytes, target: bytes) -> None: ...
    def copy(self, source: bytes, target: bytes, target_database: int) -> None: ...
    def move(self, key: bytes, target_database: int) -> None: ...
    def changed(
        self, key: bytes, event: bytes, count: int = 1, database: int | None = None
    ) -> None:
        """The one place a write is recorded: dirty, WATCH, notification, propagation, blocked.

        `event` is the keyspace event's name (b"set", b"incrby", b"del", ...); an empty one is a
        change that Redis counts and logs, but signals to nobody (XACK). A count of 0 does nothing.
        """

    def notify(self, key: bytes, event: bytes, database: int | None = None) -> None:
        """A further event of a change that `changed` has counted: SET's expire, RENAME's rename_to.

        It signals as `changed` does, but adds nothing to the dirty count.
        """

    def need(self, keys: Iterable[bytes]) -> None:
        """Before an undeclared key is opened: raise NeedKeys for those of other shards.

        The command is then run again from its start, and must not have changed anything yet.
        """

    def flush(self, database: int, lazily: bool = False) -> None:
        """Empty a database, and signal it. Lazily: its memory is freed by a helper thread."""

    def swap(self, first: int, second: int) -> None:
        """Exchange two databases, and signal the keys of both. The caller counts the change."""

    def propagate(self, args: list[bytes], database: int | None = None) -> None:
        """Log this command instead of the one that was called (chance- or time-dependent ones).

        Several calls log several commands, in their order.
        """

    def propagate_raw(self) -> None:
        """Log the running command as it came: what happens by itself to one that is `verbatim`."""

    def propagate_nothing(self) -> None:
        """Log nothing of the running command, though the dirty count grows."""

    def block(
        self,
        wanted: bytes,
        first: int,
        end: int,
        deadline_ms: int,
        on_removal: bool = False,
        args: list[bytes] | None = None,
    ) -> bool:
        """Let the command wait for its keys, arguments first..end - 1; False: nobody can wait.

        It is run again, as `args` or as it came, when one of them is of type `wanted` (list, zset,
        stream) by then. A handler that blocks replies nothing; what it has changed stays.
        """
    def sleep(self, seconds: float) -> None:
        """Block the whole shard (DEBUG SLEEP)."""
