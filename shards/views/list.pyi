from __future__ import annotations

from shards.lane.context import Context
from shards.views.view import View

class ListView(View):
    """The list of a key; a missing key is an empty one, and false as such."""

    @staticmethod
    def open(ctx: Context, key: bytes, write: bool = False) -> ListView:
        """The list of a key. Raises WRONGTYPE.

        To read counts as a hit or a miss; `write` is for commands that will change the list.
        """

    @staticmethod
    def store(ctx: Context, key: bytes, values: list[bytes]) -> None:
        """Set a key of any type to the list of these elements, one at least. O(n)"""

    def __len__(self) -> int:
        """How many elements, 0 without the key. O(1)"""

    def push(self, values: list[bytes], at_tail: bool) -> int:
        """Put elements at an end, one after the other; the new length. O(1) for each"""

    def pop(self, at_tail: bool, count: int = 1) -> list[bytes]:
        """Take up to `count` elements off an end, the outermost first. O(count)"""

    def rotate(self, from_tail: bool, to_tail: bool) -> bytes | None:
        """Take an element off one end and put it at one; the key stays whatever happens. O(1)"""

    def get(self, index: int) -> bytes | None:
        """The element at an index, from the end if it is negative. O(nodes)"""

    def range(self, start: int, stop: int) -> list[bytes]:
        """The elements from start to stop, both included, counted as Redis does. O(result)"""

    def set(self, index: int, value: bytes) -> bool:
        """Replace an element; False if the index is out of range. O(nodes)"""

    def insert(self, pivot: bytes, value: bytes, behind: bool) -> bool:
        """Put an element next to the first one equal to `pivot`; False without one. O(n)"""

    def remove(self, value: bytes, count: int, backwards: bool) -> int:
        """Delete up to `count` equal elements, from either end; how many went. O(n)"""

    def trim(self, start: int, stop: int) -> int:
        """Delete what LRANGE of the same two would not show; how many went. O(n) of those"""

    def positions(
        self, value: bytes, rank: int, count: int, maxlen: int, backwards: bool
    ) -> list[int]:
        """The indexes of equal elements from the rank-th match on, at most `count` of them.

        Among the first `maxlen` elements, from the end if backwards; 0 is no limit for either. O(n)
        """
