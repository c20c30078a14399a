"""The options of a command, declared: `Options(Option("NX", excludes=...), ...)`.

Options are read from left to right and the first mistake is the one that is raised, as clients of
Redis see it: an unknown word, a missing value, or a word that an earlier one excludes is a syntax
error. A value is converted where it stands, so its own error has its turn in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocol.errors import NOT_INTEGER, SYNTAX, CommandError
from protocol.numbers import parse_int64

INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


class Option:
    """One word, alone or with the value behind it.

    `convert` makes the value of the argument behind the word, or raises CommandError; without it
    the word stands alone and its value is True. `excludes` are words that must not precede it.
    """

    __slots__ = ("convert", "excludes", "name")

    def __init__(
        self,
        name: bytes,
        convert: Callable[[bytes], Any] | None = None,
        excludes: tuple[bytes, ...] = (),
    ) -> None:
        self.name = name
        self.convert = convert
        self.excludes = excludes


class Options:
    """The options that one command knows."""

    __slots__ = ("by_name",)

    def __init__(self, *options: Option) -> None:
        self.by_name = {option.name: option for option in options}

    def parse(self, args: list[bytes], start: int) -> dict[bytes, Any]:
        """Read args[start:]. O(arguments). A repeated option counts once, with its last value."""
        found: dict[bytes, Any] = {}
        index, end = start, len(args)
        while index < end:
            option = self.by_name.get(word(args[index]))
            if option is None or any(name in found for name in option.excludes):
                raise CommandError(SYNTAX)
            index += 1
            if option.convert is None:
                found[option.name] = True
                continue
            if index == end:
                raise CommandError(SYNTAX)
            found[option.name] = option.convert(args[index])
            index += 1
        return found


def word(argument: bytes) -> bytes:
    """An argument as keywords are compared: without case, and only up to a NUL."""
    return argument.partition(b"\0")[0].upper()


def quoted(argument: bytes, limit: int | None = None) -> bytes:
    """What an error text may show of an argument: up to a NUL, or `limit` bytes."""
    return argument.partition(b"\0")[0][:limit]


def as_is(argument: bytes) -> bytes:
    """The converter of a value that is looked at only after all options are read."""
    return argument


def int64(argument: bytes, error: bytes | None = None) -> int:
    """A C int64, strictly written. Raises `error`, or the usual text."""
    value = parse_int64(argument)
    if value is None:
        raise CommandError(error or NOT_INTEGER)
    return value


def int32(argument: bytes, error: bytes | None = None) -> int:
    """A C int: database numbers. The text is another one when it is a number that does not fit."""
    value = int64(argument, error)
    if not INT32_MIN <= value <= INT32_MAX:
        raise CommandError(
            error
            or b"ERR value is out of range, value must between %d and %d" % (INT32_MIN, INT32_MAX)
        )
    return value
