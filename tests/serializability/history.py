"""What clients did and were answered: the transactions that a checker looks at."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import NamedTuple


class Outcome(enum.Enum):
    """What the client knows of its transaction."""

    COMMITTED = "committed"
    ABORTED = "aborted"  # the server said that nothing of it happened
    UNKNOWN = "unknown"  # the connection ended before the answer


class Append(NamedTuple):
    """An element pushed to the tail of a list; no two appends to a key have the same value."""

    key: str
    value: int

    def __str__(self) -> str:
        return f"{self.key} << {self.value}"


class Read(NamedTuple):
    """A whole list as it was read."""

    key: str
    values: tuple[int, ...]

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.values[-4:]))
        more = "..., " if len(self.values) > 4 else ""
        return f"{self.key} = [{more}{shown}] ({len(self.values)})"


Operation = Append | Read


@dataclass(slots=True)
class Transaction:
    """Operations that took effect at one moment between `start` and `end`, in seconds."""

    client: int
    start: float
    end: float = math.inf
    operations: tuple[Operation, ...] = ()
    outcome: Outcome = Outcome.COMMITTED

    def __str__(self) -> str:
        state = "" if self.outcome is Outcome.COMMITTED else f" {self.outcome.value}"
        return f"client {self.client}{state} {self.start:.6f}..{self.end:.6f}: " + "; ".join(
            map(str, self.operations)
        )
