from collections.abc import Callable
from typing import Any

from sessions.dispatcher import Dispatcher
from sessions.session import Session

class Reactor:
    """TCP and unix connections of one process; epoll nested in the event loop by `fileno`."""

    input_bytes: int
    output_bytes: int
    reads: int
    cycles: int
    cycle_ns: int
    cycle_ns_max: int
    writes: int
    rounds_max: int  # of a tick, while clients are busy
    spin_ns: int
    def __init__(
        self,
        dispatcher: Dispatcher,
        on_accept: Callable[[Any, Any], tuple[int, str, str] | None],
    ) -> None: ...
    @property
    def dispatcher(self) -> Dispatcher: ...
    def fileno(self) -> int: ...
    def listen(self, listener: Any, take: Callable[[Any, Any], None] | None = None) -> None: ...
    def stop_listening(self) -> None: ...
    def tick(self) -> None: ...
    def collect(self) -> None: ...
    on_linger: Callable[[], None] | None
    on_more: Callable[[], object] | None
    def flush_lingering(self) -> None: ...
    def flush_sessions(self) -> None: ...
    def close_session(self, session: Session) -> None: ...
