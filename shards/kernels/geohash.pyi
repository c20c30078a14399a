from __future__ import annotations

from typing import final

STEPS_MAX: int

def encode(longitude: float, latitude: float) -> int:
    """The 52 bits of a position, which are its score in a sorted set."""

def decode(score: float) -> tuple[float, float]:
    """Longitude and latitude of the middle of the cell that a score names."""

def distance(
    longitude: float, latitude: float, other_longitude: float, other_latitude: float
) -> float:
    """Metres between two positions on a sphere."""

def text(longitude: float, latitude: float) -> bytes:
    """The usual geohash of 11 characters; the last one is always 0."""

def coordinate(value: float) -> bytes:
    """A coordinate with at most 17 decimals, as replies have it."""

@final
class Shape:
    """A circle, or a box along the meridians; sizes are in units of so many metres."""

    unit: float

    def __init__(
        self, longitude: float, latitude: float, width: float, height: float, unit: float, box: bool
    ) -> None:
        """Of a circle, width is the radius."""

    def areas(self) -> list[tuple[int, int]]:
        """The ranges of scores, their ends not included, that cover the shape: up to nine."""

    def within(self, score: float) -> tuple[float, float, float] | None:
        """Metres from the centre, longitude and latitude of a score; None outside of the shape."""
