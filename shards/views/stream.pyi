"""Streams as Python handlers see them."""

from typing import TypeAlias, final

from protocol.reply import Reply
from shards.lane.context import Context
from shards.views.view import View

StreamId: TypeAlias = tuple[int, int]  # both of 64 bits

LOWEST: StreamId
HIGHEST: StreamId

def fits(items: list[bytes]) -> bool:
    """Whether an entry of these fields and values, alternating, is not too large to be stored."""

def node_entries_max(ctx: Context) -> int:
    """stream-node-max-entries as it is now; 0: no limit."""

@final
class StreamView(View):
    """The stream at a key, found again by each method. KeyError: no such group or consumer."""

    @staticmethod
    def open(
        ctx: Context, key: bytes, *, write: bool = False, create: bool = False
    ) -> StreamView | None:
        """The stream at a key of the command; None without it. Raises WRONGTYPE. O(1).

        To read counts as a hit or a miss; `create` makes an empty stream where there is no key.
        """

    # The stream. O(1), but tree_nodes, which is O(nodes)
    @property
    def length(self) -> int: ...
    @property
    def first_id(self) -> StreamId: ...
    @property
    def edge_id(self) -> StreamId: ...  # of the first entry that takes memory, though deleted
    @property
    def last_id(self) -> StreamId: ...
    @property
    def max_deleted_id(self) -> StreamId: ...
    @property
    def entries_added(self) -> int: ...
    @property
    def nodes(self) -> int: ...
    @property
    def tree_nodes(self) -> int: ...
    def set_ids(
        self,
        last_id: StreamId,
        entries_added: int | None = None,
        max_deleted_id: StreamId | None = None,
    ) -> None: ...

    # Entries. O(log n), and what they touch
    def top(self) -> StreamId | None: ...  # the last entry's
    def has(self, id: StreamId) -> bool: ...
    def append(self, id: StreamId, items: list[bytes]) -> None: ...  # above last_id; they fit
    def delete(self, ids: list[StreamId]) -> int: ...
    def trim_length(self, length: int, *, whole_nodes: bool = False, limit: int = 0) -> int: ...
    def trim_id(self, id: StreamId, *, whole_nodes: bool = False, limit: int = 0) -> int: ...
    def check(self) -> None: ...
    def reply_range(
        self, reply: Reply, low: StreamId, high: StreamId, count: int = 0, *, reverse: bool = False
    ) -> int:
        """An array of the entries low..high, at most `count` unless that is 0; how many."""

    def reply_one(
        self, reply: Reply, low: StreamId = ..., high: StreamId = ..., *, reverse: bool = False
    ) -> bool:
        """The first entry of a range, or the last; False: there is none, and no reply."""

    # Groups. O(log n) but for the lists; entries_read is -1 or None while it is not known
    @property
    def group_count(self) -> int: ...
    def has_group(self, name: bytes) -> bool: ...
    def group_position(self, name: bytes) -> tuple[StreamId, int]: ...  # last_id, entries_read
    def groups(self) -> list[tuple[bytes, int, int, StreamId, int | None, int | None]]:
        """By name: (name, consumers, pending, last_id, entries_read, lag). O(n)."""

    def add_group(self, name: bytes, last_id: StreamId, entries_read: int = -1) -> bool: ...
    def set_group(self, name: bytes, last_id: StreamId, entries_read: int) -> None: ...
    def remove_group(self, name: bytes) -> bool: ...

    # Consumers
    def consumers(self, group: bytes) -> list[tuple[bytes, int, int, int]]:
        """By name: (name, pending, seen_ms, active_ms or -1). O(n)."""

    def has_consumer(self, group: bytes, name: bytes) -> bool: ...
    def add_consumer(self, group: bytes, name: bytes, now_ms: int) -> bool: ...
    def see_consumer(self, group: bytes, name: bytes, now_ms: int) -> bool:
        """It asks for something. True: it was not known, and is now."""

    def remove_consumer(self, group: bytes, name: bytes) -> int | None:
        """How many entries were pending for it; None: it was not there. O(pending)."""

    # Reading by groups
    def read_new(
        self,
        reply: Reply,
        group: bytes,
        consumer: bytes,
        count: int,
        acknowledged: bool,
        now_ms: int,
    ) -> list[StreamId]:
        """An array of what the group has not read, which is then pending unless acknowledged."""

    def read_history(
        self, reply: Reply, group: bytes, consumer: bytes, low: StreamId, count: int, now_ms: int
    ) -> list[tuple[StreamId, int]]:
        """An array of what is pending for a consumer; the ids delivered, and how often each."""

    # Pending entries. O(log n) for each
    def pending_range(
        self,
        group: bytes,
        consumer: bytes | None = None,
        low: StreamId = ...,
        high: StreamId = ...,
        count: int = 0,
        idle_since_ms: int = ...,
    ) -> list[tuple[StreamId, bytes, int, int]]:
        """(id, consumer, delivered_ms, deliveries) of a group or of one consumer of it."""

    def pending_ends(self, group: bytes) -> tuple[int, StreamId, StreamId] | None: ...
    def pending_at(self, group: bytes, id: StreamId) -> tuple[bytes, int, int] | None: ...
    def next_pending(self, group: bytes, id: StreamId) -> StreamId | None: ...  # from an id on
    def acknowledge(self, group: bytes, ids: list[StreamId]) -> int: ...
    def claim(
        self,
        group: bytes,
        consumer: bytes,
        id: StreamId,
        delivered_ms: int,
        deliveries: int,
        now_ms: int,
    ) -> None:
        """Make an entry pending for a consumer, whoever had it."""
