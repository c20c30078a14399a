from collections.abc import Callable, Iterable

from protocol.table import NativeTable
from sessions.dispatcher import Dispatcher
from shards.execution.executor import Executor

class LocalDispatcher(Dispatcher):
    """Executes commands in the shard's own executor, as a node of a cluster would."""

    on_granted: Callable[[], object] | None  # looks whether the executor has more
    def __init__(self, table: NativeTable, executor: Executor, node: int) -> None: ...
    @property
    def executor(self) -> Executor: ...
    @property
    def node(self) -> int: ...
    def set_slots(self, ranges: Iterable[tuple[int, int, int]]) -> None: ...
    def set_down(self, down: bool, reads_when_down: bool) -> None: ...
