"""Where the keys of a command stand, spec by spec: for COMMAND GETKEYS, with each key's flags.

The native table answers the same question on the hot path without flags; both follow the
rules of COMMAND INFO's key specs.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.commands import Command, Keys

KEYS_MAX = 1024 * 1024


def key_positions(command: Command, args: Sequence[bytes]) -> list[tuple[int, Keys]] | None:
    """(index in args, its spec) of every key, in the order of the specs; None: invalid arguments.

    A spec whose keyword is missing does not apply. O(arguments).
    """
    found: list[tuple[int, Keys]] = []
    for spec in command.keys:
        flags = spec.flags.lower().split()
        if "not_key" in flags or (spec.first == 0 and not spec.keyword):
            continue
        begin = _keyword_end(spec, args) if spec.keyword else spec.first
        if begin is None:
            continue
        bounds = _bounds(spec, begin, args)
        if bounds is None:
            return None
        first, last = bounds
        if last >= len(args) or last < first or (last - first) // spec.step >= KEYS_MAX:
            return None
        found += [(index, spec) for index in range(first, last + 1, spec.step)]
    return found


def _keyword_end(spec: Keys, args: Sequence[bytes]) -> int | None:
    """The index behind the keyword; searched backwards when the start counts from the end."""
    wanted = spec.keyword.upper().encode()
    if spec.first >= 0:
        indexes = range(spec.first, len(args) - 1)
    else:
        indexes = range(len(args) + spec.first, 1, -1)
    for index in indexes:
        if 0 < index < len(args) and args[index].upper() == wanted:
            return index + 1
    return None


def _bounds(spec: Keys, begin: int, args: Sequence[bytes]) -> tuple[int, int] | None:
    count = len(args)
    if spec.count_at:
        if spec.count_at >= count:
            return None
        text = args[spec.count_at]
        # Canonical and short: a count of keys, never a length that could run away.
        if not text.isdigit() or len(text) > 7 or (text[:1] == b"0" and text != b"0"):
            return None
        return spec.first, spec.first + (int(text) - 1) * spec.step
    if spec.keyword:
        last = spec.last or 0  # relative to the keyword, as COMMAND INFO has it
        if last >= 0:
            return begin, begin + last
        if spec.limit > 1:
            return begin, begin + (count - begin) // spec.limit + last
        return begin, count + last
    last = spec.last_index
    if last >= 0:
        return begin, last
    if spec.limit > 1:
        return begin, begin + (count - begin) // spec.limit + last
    return begin, count + last
