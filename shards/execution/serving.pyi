from collections.abc import Callable
from typing import final

from sessions.session import Session
from shards.execution.blocking import Blocking

class Answerer: ...
class TicketOffice: ...

@final
class Serving:
    """The commands of one shard that wait."""

    on_deadline: Callable[[], None] | None
    on_answered: Callable[[], None] | None
    @property
    def blocking(self) -> Blocking: ...
    def expire(self) -> int:
        """Answer those whose time is up; the next deadline in Unix ms, or 0."""
    def forget_link(self, link: int) -> None:
        """The worker has gone, and all its clients with it. O(waiters)"""
    def register(
        self, id: int, link: int, database: int, wants: int, on_removal: bool, keys: list[bytes]
    ) -> None: ...
    def pause(self, id: int, paused: bool) -> None: ...
    def take_answered(self) -> list[Session]:
        """The sessions at the port that may go on."""
