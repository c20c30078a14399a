"""What DEBUG HTSTATS says of hash tables: figures, those of several added up, and the words."""

from __future__ import annotations

from collections.abc import Iterable

from protocol.replies import elements
from protocol.reply import Reply

Figures = tuple[int, int, int, int, list[int]]
"""Places, members, places in use, the longest chain, and how many chains there are of each length;
the last of these counts all longer ones too. All but the first two are 0 if nobody wants them."""
Pair = tuple[Figures, Figures]
"""The tables of something, and those that some of them are being moved to."""

LENGTHS = 50
NOTHING: Figures = (0, 0, 0, 0, [0] * LENGTHS)
NAMES = (b"main hash table", b"rehashing target")


def add(first: Figures, second: Figures) -> Figures:
    """The figures of tables as if they were one."""
    return (
        first[0] + second[0],
        first[1] + second[1],
        first[2] + second[2],
        max(first[3], second[3]),
        [one + other for one, other in zip(first[4], second[4], strict=True)],
    )


def pack(reply: Reply, tables: Iterable[Figures]) -> None:
    """Reply to another process with figures, see `unpack`."""
    reply.bulks([b" ".join(b"%d" % number for number in (*one[:4], *one[4])) for one in tables])


def unpack(reply: bytes) -> list[Figures]:
    """The figures of a raw reply that is no error."""
    found: list[Figures] = []
    for item in elements(reply) or []:
        size, members, used, longest, *lengths = map(int, item.partition(b"\r\n")[2].split())
        found.append((size, members, used, longest, lengths))
    return found


def text(tables: Pair, full: bool) -> bytes:
    """All about tables, and about those that they are being moved to, if there are any."""
    main, target = tables
    return _text(0, main, full) + (_text(1, target, full) if target[0] else b"")


def _text(number: int, figures: Figures, full: bool) -> bytes:
    size, members, used, longest, lengths = figures
    title = b"Hash table %d stats (%b):\n" % (number, NAMES[number])
    if not members:
        return title + b"No stats available for empty dictionaries\n"
    lines = [b" table size: %d" % size, b" number of elements: %d" % members]
    if full:
        counted = sum(length * count for length, count in enumerate(lengths))
        # Chains too long to be told apart are counted with what the others leave of the members.
        counted = members if lengths[-1] else counted
        lines += [
            b" different slots: %d" % used,
            b" max chain length: %d" % longest,
            b" avg chain length (counted): %.2f" % (counted / used),
            b" avg chain length (computed): %.2f" % (members / used),
            b" Chain length distribution:",
        ]
        lines += [
            b"   %d: %d (%.2f%%)" % (length, count, count / size * 100)
            for length, count in enumerate(lengths[:-1])
            if count
        ]
    return title + b"".join(line + b"\n" for line in lines)
