"""Elements drawn by chance with repetition: the replies that may be larger than the data.

redis-server draws as many as it is asked to, until the client's hard limit of output is reached or
its memory is used up. Here a reply has a limit in elements as well, and one in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from protocol.errors import CommandError
from shards.arguments.options import INT64_MAX

if TYPE_CHECKING:
    from protocol.reply import Reply
    from shards.lane.context import Context

DRAWN_MAX = 1 << 26
"""Elements of one reply to a client whose output has no hard limit."""
DRAWN_BYTES_MAX = 512 << 20
"""Bytes of them, as many as a string may have by default."""
CHUNK = 1000
CHUNK_BYTES = 1 << 20

NOT_A_COUNT = b"ERR value is out of range, value must between %d and %d"
TOO_LARGE = b"ERR the elements drawn have more than %d bytes" % DRAWN_BYTES_MAX

Drawn = TypeVar("Drawn")


def drawn(
    ctx: Context,
    reply: Reply,
    count: int,
    draw: Callable[[int], list[Drawn]],
    size: Callable[[Drawn], int],
) -> Iterator[list[Drawn]]:
    """`count` elements, from a collection that is not empty, a list of some at a time. O(count).

    Each list is a copy of its elements, so that it holds few where these are large. Ends early
    when `reply`, to which the caller adds them, is beyond the hard limit of output: the client is
    closed, and what is missing could not be sent either. Raises CommandError, too late for a reply
    that was begun, which the executor takes back.
    """
    begun = reply.size
    bytes_max = ctx.settings.reply_bytes_max
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
        if bytes_max and reply.size - begun > bytes_max:
            return
        wanted = min(wanted * 2, CHUNK) if bytes_drawn < CHUNK_BYTES else 1


def check_count(ctx: Context, count: int) -> None:
    """Refuse a negative count with more repetitions than a reply may have. Raises CommandError."""
    if count < -DRAWN_MAX and not ctx.settings.reply_bytes_max:
        raise CommandError(NOT_A_COUNT % (-DRAWN_MAX, INT64_MAX))
