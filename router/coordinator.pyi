from typing import final

from router.dispatch import WorkerDispatcher

class EnvelopeError(Exception):
    """A message from a shard can't be right: nothing more of that link is taken."""

@final
class Coordinator:
    """Drives the transactions of a worker whose parts are known beforehand."""

    alone: bool  # no other worker asks for locks
    orders_all: bool  # all that this server executes comes from here
    incarnation: int  # actors.boot.coordinator
    open_max: int  # transactions; more clients wait in front of their commands
    reply_bytes_max: int  # of what shards may be expected to answer to all of them
    def __init__(self, batches: WorkerDispatcher) -> None: ...
    @property
    def open(self) -> int: ...  # begun and not ended
    @property
    def begun(self) -> int: ...  # whoever drives them
    def next_id(self) -> int: ...
    def next_number(self) -> int: ...
    def check(self) -> None: ...
