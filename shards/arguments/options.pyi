"""The options of a command, declared: `Options(Option("NX", excludes=...), ...)`.

Options are read from left to right and the first mistake is the one that is raised, as clients of
Redis see it: an unknown word, a missing value, or a word that an earlier one excludes is a syntax
error. A value is converted where it stands, so its own error has its turn in the same order.
"""

from collections.abc import Callable
from typing import Any, final

INT64_MIN: int
INT64_MAX: int
INT32_MIN: int
INT32_MAX: int

@final
class Option:
    """One word, alone or with the value after it.

    `convert` makes the value of the argument after the word, or raises CommandError; without it
    the word stands alone and its value is True. `excludes` are words that must not precede it.
    """

    @property
    def name(self) -> bytes: ...
    @property
    def convert(self) -> Callable[[bytes], Any] | None: ...
    @property
    def excludes(self) -> tuple[bytes, ...]: ...
    def __init__(
        self,
        name: bytes,
        convert: Callable[[bytes], Any] | None = None,
        excludes: tuple[bytes, ...] = (),
    ) -> None: ...

@final
class Options:
    """The options that one command knows."""

    @property
    def by_name(self) -> dict[bytes, Option]: ...
    def __init__(self, *options: Option) -> None: ...
    def parse(self, args: list[bytes], start: int) -> dict[bytes, Any]:
        """Read args[start:]. O(arguments). A repeated option counts once, with its last value."""

def word(argument: bytes) -> bytes:
    """An argument as keywords are compared: without case, and only up to a NUL."""

def quoted(argument: bytes, limit: int | None = None) -> bytes:
    """What an error text may show of an argument: up to a NUL, or `limit` bytes."""

def as_is(argument: bytes) -> bytes:
    """The converter of a value that is looked at only after all options are read."""

def int64(argument: bytes, error: bytes | None = None) -> int:
    """A C int64, strictly written. Raises `error`, or the usual text."""

def int32(argument: bytes, error: bytes | None = None) -> int:
    """A C int: database numbers. The text is another one when it is a number that does not fit."""
