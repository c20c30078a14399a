"""What a comparison of commands is made of: a command, and the data that it meets.

Both are written with redis-benchmark's own placeholder, `__rand_int__`: in a measured command it is
a random number below the case's range, in a fill it counts up from 0. Both print it with twelve
digits, so a fill over the whole range has made everything that a command can draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

PLACEHOLDER = b"__rand_int__"
ITEMS_PER_COMMAND = 100


@dataclass(frozen=True, slots=True)
class Fill:
    """One command sent for each number, or one collection filled item by item.

    Without an `item`, `command` is sent `count` times. With one it is the head of a variadic
    command, and `count` items are sent in batches. A count of 0 means as many as the case's run
    is going to take away.
    """

    command: str
    count: int = 0
    item: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One measured command.

    `drain` says how many items of the fills without a count one request may need; such fills are
    renewed before every run, sized for it, and are then also the range of the random numbers.
    """

    name: str
    command: str
    fills: tuple[Fill, ...] = ()
    span: int = 10_000  # random numbers are below this
    drain: int = 0

    def needed(self, requests: int, in_flight: int) -> int:
        """How many items a run can take: redis-benchmark ends by replies, so it sends a few more
        requests than it was asked for."""
        return self.drain * (requests + in_flight)


def encode(words: list[bytes]) -> bytes:
    """A command on the wire."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


@lru_cache(maxsize=16)
def wire(fill: Fill, count: int, batch: int = 1000) -> tuple[tuple[bytes, int], ...]:
    """The requests of a fill, in chunks, each with how many replies it gets. O(count).

    Kept for the next server and round: making them takes longer than a server needs to run them.
    """
    words = fill.command.encode().split()
    if not fill.item:
        whole = encode(words)
        return tuple(
            (
                b"".join(
                    whole.replace(PLACEHOLDER, b"%012d" % n)
                    for n in range(first, min(first + batch, count))
                ),
                min(batch, count - first),
            )
            for first in range(0, count, batch)
        )
    item = fill.item.encode().split()
    chunks = []
    for first in range(0, count, ITEMS_PER_COMMAND):
        numbers = range(first, min(first + ITEMS_PER_COMMAND, count))
        head = (
            b"*%d\r\n" % (len(words) + len(item) * len(numbers))
            + encode(words).partition(b"\r\n")[2]
        )
        tail = encode(item).partition(b"\r\n")[2]
        body = b"".join(tail.replace(PLACEHOLDER, b"%012d" % n) for n in numbers)
        chunks.append((head + body, 1))
    joined = []
    for start in range(0, len(chunks), 10):
        part = chunks[start : start + 10]
        joined.append((b"".join(request for request, _ in part), len(part)))
    return tuple(joined)
