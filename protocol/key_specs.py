"""Where the keys of a command stand, spec by spec: for COMMAND GETKEYS, with each key's flags.

The native table answers the same question on the hot path without flags; both follow the
rules of COMMAND INFO's key specs. They differ as redis-server's two ways do: keys of streams whose
ids are missing are shown here, and not looked for there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from protocol.commands import Command, Keys

LEADING_NUMBER = re.compile(rb"[ \t-\r]*\+?0*(\d{1,9})(?!\d)")

Positions = list[tuple[int, Keys]]
"""(index in the arguments, spec) of keys."""


def key_positions(command: Command, args: Sequence[bytes]) -> Positions | None:
    """(index in args, its spec) of every key, in the order of the specs; None: invalid arguments.

    A spec whose keyword is missing does not apply. Commands whose specs can't say all are looked
    at by a function of their own. O(arguments).
    """
    look = LOOKED_AT.get(command.name)
    if look is not None:
        return look(command, args)
    return _by_specs(command, args)


def _by_specs(command: Command, args: Sequence[bytes]) -> Positions | None:
    found: Positions = []
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
        if last >= len(args) or last < first:
            return None
        found += [(index, spec) for index in range(first, last + 1, spec.step)]
    return found


def _keyword_end(spec: Keys, args: Sequence[bytes]) -> int | None:
    """The index after the keyword; searched backwards when the start counts from the end."""
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
        # As redis-server takes it for a number; the command itself may refuse it.
        number = LEADING_NUMBER.match(args[spec.count_at])
        if number is None:
            return None
        return spec.first, spec.first + (int(number[1]) - 1) * spec.step
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


def _set(command: Command, args: Sequence[bytes]) -> Positions | None:
    """SET reads its key only with GET."""
    spec = command.keys[0]
    if not any(word.upper() == b"GET" for word in args[3:]):
        spec = replace(spec, flags="OW update")
    else:
        spec = replace(spec, flags="RW access update")
    return [(spec.first, spec)]


def _bitfield(command: Command, args: Sequence[bytes]) -> Positions | None:
    """BITFIELD only reads its key as long as every operation is a whole GET."""
    spec = command.keys[0]
    following = {b"GET": 2, b"OVERFLOW": 1}
    at = 2
    while at < len(args):
        needed = following.get(args[at].upper())
        if needed is None or at + needed >= len(args):
            return [(spec.first, replace(spec, flags="RW access update"))]
        at += 1 + needed
    return [(spec.first, replace(spec, flags="RO access"))]


def _sort(command: Command, args: Sequence[bytes]) -> Positions | None:
    """SORT stores to what follows its last STORE; arguments of other options are no options."""
    following = {b"LIMIT": 2, b"BY": 1, b"GET": 1}
    target = 0
    at = 2
    while at < len(args):
        word = args[at].upper()
        if word == b"STORE" and at + 1 < len(args):
            target = at + 1
        at += 1 + following.get(word, 0)
    found = [(1, replace(command.keys[0], flags="RO access"))]
    if target:
        found.append((target, Keys(target, flags="OW update")))
    return found


def _migrate(command: Command, args: Sequence[bytes]) -> Positions | None:
    """MIGRATE has one key, or an empty one and several after KEYS; not both."""
    spec = replace(command.keys[0], flags="RW access delete")
    following = {b"AUTH": 1, b"AUTH2": 2}
    at = 6
    while at < len(args):
        word = args[at].upper()
        if word == b"KEYS":
            return None if args[3] else [(index, spec) for index in range(at + 1, len(args))]
        at += 1 + following.get(word, 0)
    return [(3, spec)]


LOOKED_AT: dict[str, Callable[[Command, Sequence[bytes]], Positions | None]] = {
    "BITFIELD": _bitfield,
    "MIGRATE": _migrate,
    "SET": _set,
    "SORT": _sort,
}
