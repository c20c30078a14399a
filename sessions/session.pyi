from typing import Any, final

from protocol.commands import CommandTable
from protocol.histogram import Histograms
from protocol.table import NativeTable
from sessions.cluster import Cluster
from sessions.slowlog import Monitor

@final
class Session:
    """One client connection, as the handlers of SESSION commands see it: `(session, args, reply)`.

    Such a handler runs in the process that holds the connection, in the client's order: what it
    changes here holds for the commands behind it in the same pipeline.
    """

    id: int  # CLIENT ID, unique in the server
    name: bytes  # CLIENT SETNAME; b"" without one
    library_name: bytes
    library_version: bytes
    resp: int  # 2 or 3; a handler that changes it also sets reply.resp
    database: int
    user: bytes
    address: str  # "127.0.0.1:6379", or the path of the unix socket and ":0"
    local_address: str
    table: CommandTable
    created_ms: int

    @property
    def now_us(self) -> int: ...  # Unix epoch
    @property
    def databases(self) -> int: ...
    @property
    def settings(self) -> dict[str, object]: ...  # live configuration, by directive name
    @property
    def cluster(self) -> Cluster | None: ...  # None: cluster mode is off
    def close_after_reply(self) -> None: ...
    def reset(self) -> None: ...  # RESET: back to the state after connecting

    # For hosts and for drivers in Python
    driver: Any
    pinned: int  # internal sessions: the shard that gets everything; else -1
    @property
    def closed(self) -> bool: ...
    @property
    def input_bytes(self) -> int: ...
    @property
    def output_bytes(self) -> int: ...
    @property
    def waits(self) -> bool: ...  # a large reply has still to arrive, or to be sent
    @property
    def unanswered(self) -> int: ...
    def push(self, data: bytes) -> None: ...
    def take_output(self) -> bytes: ...
    def resume(self) -> None: ...
    def complete_barrier(self, reply: bytes) -> None: ...
    def abort(self) -> None: ...
    def closed_by_driver(self) -> None: ...

class Dispatcher:
    """Where the sessions of one process send their commands; `host` has the slow paths."""

    host: Any
    cluster: Cluster | None
    single: bool  # one shard: what runs on every shard runs on it as it is
    query_buffer_max: int
    def __init__(self, table: NativeTable) -> None: ...
    @property
    def sessions(self) -> list[Session | None]: ...
    @property
    def errors(self) -> dict[bytes, int]: ...
    @property
    def commands_processed(self) -> int: ...
    def open_session(self, client_id: int) -> Session: ...
    def set_limits(self, bulk_bytes_max: int, query_buffer_max: int) -> None: ...
    def reset_statistics(self) -> None: ...
    def count_call(
        self, session: Session, id: int, nanoseconds: int, args: list[bytes], reply: bytes
    ) -> None: ...
    @property
    def histograms(self) -> Histograms: ...
    def set_monitor(self, monitor: Monitor, latency_tracking: bool) -> None: ...
    def command_statistics(self) -> dict[str, list[int]]: ...
