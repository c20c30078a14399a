from typing import Any, final

from typing_extensions import Buffer

from protocol.commands import CommandTable
from protocol.table import NativeTable
from sessions.cluster import Cluster
from sessions.counts import CommandCounts
from sessions.slowlog import Monitor

@final
class Session:
    """One client connection, as the handlers of SESSION commands see it: `(session, args, reply)`.

    Such a handler runs in the process that holds the connection, in the client's order: what it
    changes here holds for the commands after it in the same pipeline.
    """

    @property
    def slot(self) -> int: ...  # its place among the sessions of its dispatcher
    waits_for_keys: bool  # its command does, of several shards

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
    @property
    def in_multi(self) -> bool: ...
    @property
    def queued(self) -> int: ...  # commands that wait for EXEC; -1: it is not in MULTI
    def begin_multi(self) -> None: ...
    def discard(self) -> None: ...  # what is queued and watched
    def unwatch(self) -> None: ...
    watched: dict[tuple[int, bytes], int] | None  # (database, key) and its shard
    def note_watched(self, shards: dict[tuple[int, bytes], int]) -> None: ...
    def take_queue(
        self,
    ) -> tuple[list[tuple[int, list[bytes]]], dict[tuple[int, bytes], int]]:
        """What EXEC runs: (id, arguments) each, and what is watched. MULTI is over."""
    def run_inside(self, id: int, arguments: list[bytes]) -> bytes:
        """Run a command of the session's own as part of EXEC; its raw reply."""
    def reset(self) -> None: ...  # RESET: back to the state after connecting
    @property
    def authenticated(self) -> bool: ...  # by AUTH, or as no password was needed when it came
    def authenticate(self, user: bytes) -> None: ...
    no_evict: bool
    @property
    def no_touch(self) -> bool: ...
    @no_touch.setter
    def no_touch(self, value: bool) -> None: ...
    transaction: tuple[int, int, int] | None  # of an internal session: id, number, time in ms
    def set_replies(self, wanted: bool) -> None: ...  # CLIENT REPLY ON or OFF
    def skip_next_reply(self) -> None: ...

    # What is shown of it
    @property
    def kind(self) -> str: ...  # as in CLIENT LIST TYPE
    @property
    def descriptor(self) -> int: ...
    @property
    def events(self) -> str: ...
    @property
    def idle_seconds(self) -> int: ...
    @property
    def last_command_name(self) -> str: ...  # "NULL" before the first
    @property
    def blocked(self) -> bool: ...  # its last command waits in a shard
    @property
    def paused(self) -> bool: ...  # its next command waits for the end of a CLIENT PAUSE
    @property
    def closing(self) -> bool: ...
    def buffer_figures(self) -> dict[str, int]: ...
    def description(self) -> str: ...
    def close_over_limit(self) -> bool: ...  # closed: its unsent replies are more than it may have

    # For hosts and for drivers in Python
    driver: Any
    run_flags: int  # envelope.RunFlag of the commands parsed now
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
    transport: str  # of connection: "tcp", "tls" or "unix"; "" for internal sessions
    @property
    def wants_input(self) -> bool: ...  # else pause reading until flush_session says otherwise
    @property
    def ended(self) -> bool: ...  # all is answered and sent, and no more will come: close it
    def push(self, data: bytes) -> None: ...
    def push_from(self, data: Buffer) -> None: ...
    def forget_input(self) -> None: ...
    def end_input(self) -> None: ...
    def take_output(self, bytes_max: int = ...) -> bytes: ...
    def resume(self) -> None: ...
    def complete_barrier(self, reply: bytes) -> None: ...
    def abort(self) -> None: ...
    def closed_by_driver(self) -> None: ...

class DispatcherBase:
    """What a session knows of its dispatcher; see sessions.dispatcher."""

    host: Any
    cluster: Cluster | None
    single: bool  # one shard: what runs on every shard runs on it as it is
    query_buffer_max: int
    monitor: Monitor | None
    slow_us: int
    def __init__(self, table: NativeTable) -> None: ...
    @property
    def counts(self) -> CommandCounts: ...
