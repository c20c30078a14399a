from collections.abc import Callable
from typing import Any, final

from actors.mailbox import Link
from protocol.histogram import Histograms
from protocol.table import NativeTable
from sessions.slowlog import Monitor
from shards.context import Context
from shards.keyspace import Keyspace

class NativeLane:
    def __init__(self) -> None: ...

@final
class Executor:
    native_lane: bool
    epoch: int
    errors: dict[bytes, int]
    commands_processed: int
    unfinished: int
    has_more: bool  # `service` has left messages behind: call it again
    context: Context
    out_bytes_max: int  # a reply message is sent at this size at the latest
    unread_bytes_max: int  # sent to a worker and not read: with more, its commands wait
    @property
    def table(self) -> NativeTable: ...
    def __init__(
        self,
        table: NativeTable,
        keyspace: Keyspace,
        context: Context,
        lane: NativeLane,
        epoch: int = 1,
        clock: Callable[[], int] | None = None,
    ) -> None: ...
    @property
    def histograms(self) -> Histograms: ...
    def set_monitor(self, monitor: Monitor, latency_tracking: bool) -> None: ...
    def set_limits(self, bulk_bytes_max: int) -> None: ...
    def add_links(self, link: Link, bulk_link: Link) -> int: ...
    def remove_links(self, link: int) -> tuple[Any, Any]: ...
    def refresh_time(self) -> int: ...
    def service(self) -> int: ...
    def serve(self, link: int) -> None: ...
    def serve_bulk(self, link: int) -> None: ...
    def reset_statistics(self) -> None: ...
    def command_statistics(self) -> dict[str, list[Any]]: ...
