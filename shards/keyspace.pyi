from collections.abc import Callable, Iterator

class Keyspace:
    """The keyspace of one shard. `database` is a logical number everywhere."""

    now_ms: int
    lfu: bool
    lfu_log_factor: int
    lfu_decay_minutes: int
    # (database, key, reason: 1 expired, 2 evicted), before the key goes; must not change anything
    on_removed: Callable[[int, bytes, int], object] | None

    def __init__(self, databases: int = 16, seed: bytes = ..., random_seed: int = 0) -> None: ...
    def tune(
        self,
        buckets_min: int = 4,
        incremental_min: int = 4096,
        step: int = 64,
        inline_bytes_max: int = 65536,
    ) -> None: ...  # for tests: small thresholds, while it is unused
    def start_reaper(self) -> None: ...  # frees large strings, and lazily flushed databases
    # Figures
    changes: int
    @property
    def lazyfree_pending(self) -> int: ...
    @property
    def lazyfreed(self) -> int: ...
    @property
    def used_memory(self) -> int: ...
    @property
    def hits(self) -> int: ...
    @property
    def misses(self) -> int: ...
    @property
    def expired(self) -> int: ...
    @property
    def expired_time_cap_reached(self) -> int: ...
    @property
    def expired_stale_percent(self) -> float: ...
    def average_ttl_ms(self, database: int) -> int: ...
    def size(self, database: int) -> int: ...
    def expiring_size(self, database: int) -> int: ...
    def slot_size(self, database: int, slot: int) -> int: ...
    def slot_keys(self, database: int, slot: int, count: int) -> list[bytes]: ...
    # One key. The `read_`/`write_` pair differ as in Redis: reads count hits and misses.
    def type(self, database: int, key: bytes) -> bytes | None: ...
    def exists(self, database: int, key: bytes, touch: bool = False) -> bool: ...
    def read_string(self, database: int, key: bytes) -> bytes | None: ...  # WRONGTYPE
    def write_string(self, database: int, key: bytes) -> bytes | None: ...  # WRONGTYPE
    def set_string(
        self,
        database: int,
        key: bytes,
        value: bytes,
        expire_ms: int = -1,
        raw: bool = False,
        encode: bool = True,
    ) -> None: ...  # not encode: no int encoding, as INCRBYFLOAT's result
    def set_integer(self, database: int, key: bytes, value: int, expire_ms: int = -2) -> None: ...
    def append(self, database: int, key: bytes, value: bytes) -> int: ...  # WRONGTYPE
    def set_range(self, database: int, key: bytes, offset: int, value: bytes) -> int: ...
    def string_length(self, database: int, key: bytes) -> int: ...  # WRONGTYPE, 0 if absent
    def delete(self, database: int, key: bytes) -> bool: ...
    def expire_ms(self, database: int, key: bytes) -> int | None: ...  # None: no key; -1: no TTL
    def set_expire(self, database: int, key: bytes, expire_ms: int) -> None: ...  # -1 persists
    def encoding(self, database: int, key: bytes) -> bytes | None: ...
    def idle_seconds(self, database: int, key: bytes) -> int | None: ...
    def frequency(self, database: int, key: bytes) -> int | None: ...
    def memory_usage(self, database: int, key: bytes) -> int | None: ...
    # Entries as a whole
    def rename(self, database: int, source: bytes, target: bytes) -> None: ...
    def copy(
        self, database: int, source: bytes, target: bytes, target_database: int
    ) -> None: ...  # with its TTL; replaces the target
    def move(self, database: int, key: bytes, target_database: int) -> None: ...
    def random_key(self, database: int) -> bytes | None: ...
    def scan(
        self,
        database: int,
        cursor: int,
        count: int,
        *,
        first_slot: int = 0,
        last_slot: int = 16383,
    ) -> tuple[int, list[bytes]]: ...  # expired keys are left out (and removed)
    def keys(self, database: int) -> Iterator[bytes]: ...
    def flush(self, database: int, lazily: bool = False) -> int: ...  # how many keys went
    def swap(self, first: int, second: int) -> None: ...
    def active_expire(self, budget_us: int, effort: int) -> int: ...  # how many keys expired
    def check(self) -> None: ...  # AssertionError on a broken invariant. O(n)

def live_blocks() -> int: ...  # entries, tables, databases and blobs alive (debug builds; else 0)
def tune_allocator() -> None: ...  # once per shard process: no stalls in malloc
def trim_memory() -> None: ...  # give free memory back to the system; may stall
