"""CLIENT PAUSE as the router keeps it: one pause for the whole server."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sessions.clients import PAUSE_MODES


@dataclass(slots=True)
class ClientPause:
    """What is paused until when. A second pause makes the first one longer or stricter, never less.

    Processes end it by themselves when its time has come; all of them have the same clock.
    """

    mode: str = ""
    until: float = 0.0  # by the clock, in seconds
    clock: Callable[[], float] = time.monotonic

    @property
    def state(self) -> tuple[str, float]:
        """What a process has to be told: mode and end, ("", 0) when nothing is paused."""
        if self.until <= self.clock():
            self.end()
        return self.mode, self.until

    def extend(self, mode: str, seconds: float) -> None:
        """Pause in this mode for so long from now on."""
        before, until = self.state
        self.mode = max(before, mode, key=PAUSE_MODES.index)
        self.until = max(until, self.clock() + seconds)

    def end(self) -> None:
        """Let all clients go on."""
        self.mode, self.until = "", 0.0
