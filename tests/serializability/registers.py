"""Whether reads and writes of one register are linearizable, when each write has its own value.

Gibbons and Korach ("Testing shared memories", 1997): the operations of one value, its write and the
reads that found it, must all lie beside each other in the order. The value must be there from the
first answer to one of them (the earliest end) to the last time that one began (the latest start).
Is the first before the second, nothing else fits in between, a *forward* zone; else they may all
happen at one moment of the *backward* zone. So the register is linearizable if and only if no
value is read before it is written, no two forward zones overlap, and no backward zone lies within a
forward one. O(n log n).

What stands for a register here may be several keys that are only ever written together.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Access(NamedTuple):
    """A write of a value, or a read that found it; in seconds. Unanswered: the end is infinity."""

    start: float
    end: float
    value: Hashable
    is_write: bool


class _Zone(NamedTuple):
    low: float
    high: float
    value: Hashable


def violations(accesses: Sequence[Access]) -> list[str]:
    """What shows that the register is not linearizable; nothing when it is.

    A read without a write is one of the state before all; that state is written at minus infinity.
    A write without an answer that nobody has read may not have happened, and is left out.
    """
    of_value: dict[Hashable, list[Access]] = defaultdict(list)
    for access in accesses:
        of_value[access.value].append(access)
    found: list[str] = []
    forward: list[_Zone] = []
    backward: list[_Zone] = []
    for value, group in of_value.items():
        writes = [access for access in group if access.is_write]
        assert len(writes) <= 1, f"{value!r} is written twice by the clients"
        if not writes:
            group = [Access(-math.inf, -math.inf, value, True), *group]
        elif len(group) == 1 and group[0].end == math.inf:
            continue
        elif (early := min(access.end for access in group)) < writes[0].start:
            found.append(f"{value!r} was read until {early:.6f}, before its write {writes[0]}")
            continue
        low = min(access.end for access in group)
        high = max(access.start for access in group)
        if low < high:
            forward.append(_Zone(low, high, value))
        else:
            backward.append(_Zone(high, low, value))
    forward.sort()
    for one, other in itertools.pairwise(forward):
        if other.low < one.high:
            found.append(f"{one.value!r} and {other.value!r} take turns: {one} and {other}")
    lows = [zone.low for zone in forward]
    for zone in backward:
        place = bisect.bisect_left(lows, zone.low) - 1
        if place >= 0 and zone.high < forward[place].high:
            found.append(f"{zone.value!r} comes within {forward[place].value!r}: {zone}")
    return found
