from __future__ import annotations

from typing import final

@final
class Range:
    """Two ends of a range by score or by member."""

    @staticmethod
    def scores(minimum: bytes, maximum: bytes) -> Range:
        """`1.5` or `(1.5`. Raises CommandError."""

    @staticmethod
    def members(minimum: bytes, maximum: bytes) -> Range:
        """`[a`, `(a`, `-` or `+`. Raises CommandError."""

    @staticmethod
    def between(minimum: float, maximum: float, max_exclusive: bool = False) -> Range:
        """From one score to another."""
