from __future__ import annotations

from shards.arguments.ranges import Range
from shards.lane.context import Context
from shards.views.view import View

class ZsetView(View):
    """The sorted set of a key; a missing key is an empty one, and false as such.

    Lists of members are in their order, or backwards: by score, then by the member's bytes.
    """

    @staticmethod
    def open(ctx: Context, key: bytes, write: bool = False) -> ZsetView:
        """The sorted set of a key. Raises WRONGTYPE.

        To read counts as a hit or a miss; `write` is for commands that will change the set.
        """

    def __len__(self) -> int:
        """How many members, 0 without the key. O(1)"""

    def add(self, scores: list[float], members: list[bytes], flags: int) -> tuple[int, int]:
        """Insert members or change their scores, as the flags (ADD_...) allow.

        Returns how many were inserted, and how many changed. O(log n) for each
        """

    def increment(self, score: float, member: bytes, flags: int) -> tuple[float | None, bool]:
        """Add to a member's score; 0 if it isn't there.

        Returns the new score, and whether anything has changed; None where the flags forbid it.
        Raises CommandError if the sum is not a number. O(log n)
        """

    @staticmethod
    def store(ctx: Context, key: bytes, items: list[tuple[bytes, float]]) -> ZsetView:
        """Set a key of any type to these members, which are in order, one at least. O(n log n)"""

    def score(self, member: bytes) -> float | None:
        """None if it isn't there. O(1)"""

    def rank(self, member: bytes) -> tuple[int, float] | None:
        """The rank from 0 and the score. O(log n)"""

    def remove(self, members: list[bytes]) -> int:
        """How many of them were there. O(log n) for each"""

    def pop(self, count: int, last: bool) -> list[tuple[bytes, float]]:
        """Take the first or last members off. O(log n) for each"""

    def unpack(self) -> bool:
        """Make it a tree, as SORT makes it a skip list in Redis; True: it was none. O(n log n)"""

    def items(self) -> list[tuple[bytes, float]]:
        """All of them. O(n)"""

    def slice(self, first: int, last: int, backwards: bool = False) -> list[tuple[bytes, float]]:
        """By ranks as ZRANGE has them, both included, negative ones from the end. O(log n + m)"""

    def between(
        self, range: Range, backwards: bool = False, offset: int = 0, limit: int = -1
    ) -> list[tuple[bytes, float]]:
        """Those in a range but for the first `offset`, at most `limit` if that isn't negative.

        O(log n + m)
        """

    def count(self, range: Range) -> int:
        """How many are in a range. O(log n)"""

    def remove_between(self, range: Range) -> int:
        """How many were there. O(log n + m)"""

    def remove_slice(self, first: int, last: int) -> int:
        """By ranks as ZRANGE has them; how many went. O(log n + m)"""

    def random(self, count: int) -> list[tuple[bytes, float]]:
        """`count` random members of a set that isn't empty, repeated ones included. O(count)"""

    def scan(self, cursor: int, count: int) -> tuple[int, list[tuple[bytes, bytes]]]:
        """One step of ZSCAN: the next cursor, and members with the text of their scores.

        Redis writes the scores of a big set with 17 digits here, and only here. O(count)
        """

ADD_NX: int
ADD_XX: int
ADD_GT: int
ADD_LT: int
