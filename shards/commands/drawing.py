"""Elements drawn by chance with repetition: the replies that may be larger than the data.

redis-server draws as many as it is asked to, and ends with its memory. Here a reply has a limit in
elements, which is known before the first is drawn, and one in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from protocol.errors import CommandError
from shards.options import INT64_MAX

DRAWN_MAX = 1 << 21
"""Elements of one reply: about a second's work."""
DRAWN_BYTES_MAX = 512 << 20
"""Bytes of them, as many as a string may have by default."""
CHUNK = 1000
CHUNK_BYTES = 1 << 20

NOT_A_COUNT = b"ERR value is out of range, value must between %d and %d"
TOO_LARGE = b"ERR the elements drawn have more than %d bytes" % DRAWN_BYTES_MAX

Drawn = TypeVar("Drawn")


def drawn(
    count: int, draw: Callable[[int], list[Drawn]], size: Callable[[Drawn], int]
) -> Iterator[list[Drawn]]:
    """`count` elements, from a collection that is not empty, a list of some at a time. O(count).

    Each list is a copy of its elements, so that it holds few where these are large. Raises
    CommandError, too late for a reply that was begun, which the executor takes back.
    """
    wanted = 1
    left = DRAWN_BYTES_MAX
    while count:
        part = draw(min(wanted, count))
        count -= len(part)
        bytes_drawn = sum(map(size, part))
        left -= bytes_drawn
        if left < 0:
            raise CommandError(TOO_LARGE)
        yield part
        wanted = min(wanted * 2, CHUNK) if bytes_drawn < CHUNK_BYTES else 1


def check_count(count: int) -> None:
    """Refuse a negative count with more repetitions than a reply may have. Raises CommandError."""
    if count < -DRAWN_MAX:
        raise CommandError(NOT_A_COUNT % (-DRAWN_MAX, INT64_MAX))
