from typing import final

@final
class CommandQueue:
    """The commands that a client has queued between MULTI and EXEC."""

    @property
    def count(self) -> int: ...
