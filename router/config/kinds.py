"""Kinds of values: how a directive's arguments are read, printed and written to a file.

A kind is a small object in the table of directives. `parse` has no effects and raises ValueRefused
with Redis's text; the value it makes is a bool, an int, a str or lists of them, so that it can
cross a control link as it is. `rewrite` gives the lines for CONFIG REWRITE.

Numbers follow C where a client can see it: sizes wrap at 64 bits, `strtoll` takes leading blanks
and an empty text. tests/differential/test_config.py holds all of it against redis-server.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from actors.scheduling import parse_cpulist
from router.config.words import quote_word

INT_MIN: Final = -(2**31)
INT_MAX: Final = 2**31 - 1
UINT_MAX: Final = 2**32 - 1
LONG_MAX: Final = 2**63 - 1
ULONG_MAX: Final = 2**64 - 1
BIND_ADDRESSES_MAX: Final = 16
HOST_NAME_CHARACTERS_MAX: Final = 255

NUMBER: Final = re.compile(r"-?[1-9][0-9]*|0", re.ASCII)
C_NUMBER: Final = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)", re.ASCII)
C_OCTAL: Final = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-7]+)", re.ASCII)
C_DOUBLE: Final = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf(?:inity)?)",
    re.ASCII | re.IGNORECASE,
)
C_HEX_DOUBLE: Final = re.compile(
    r"[+-]?0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?[0-9]{1,4})?",
    re.ASCII | re.IGNORECASE,
)
SIZE: Final = re.compile(r"([0-9]{0,127})(|b|k|kb|m|mb|g|gb)", re.ASCII | re.IGNORECASE)
UNITS: Final = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1 << 10,
    "m": 1000**2,
    "mb": 1 << 20,
    "g": 1000**3,
    "gb": 1 << 30,
}


class ValueRefused(Exception):
    """A value does not fit its directive; the text is Redis's."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What CONFIG REWRITE makes of a directive.

    Lines replace those of the file in order, and what is left of the file's is removed. Those that
    the file lacks are appended only if `forced` says so, because they differ from the default.
    """

    lines: tuple[str, ...] = ()
    forced: tuple[bool, ...] = ()

    @staticmethod
    def one(line: str, forced: bool) -> Rewritten:
        return Rewritten((line,), (forced,))


class Kind(Protocol):
    """How the values of a directive are read and printed."""

    @property
    def several(self) -> bool:
        """Whether it takes any number of arguments, and checks them by itself."""

    @property
    def accumulates(self) -> bool:
        """Whether each line of a file adds to the value that the lines before have made."""

    def parse(self, arguments: Sequence[str], current: Any) -> Any:
        """The value of these arguments. Raises ValueRefused."""

    def show(self, value: Any) -> str:
        """The value as CONFIG GET prints it."""

    def rewrite(self, name: str, value: Any, default: Any) -> Rewritten:
        """The lines that set it in a file."""


@dataclass(frozen=True, slots=True)
class Bool:
    several: bool = False
    accumulates: bool = False

    def parse(self, arguments: Sequence[str], current: Any) -> bool:
        word = arguments[0].lower()
        if word not in ("yes", "no"):
            raise ValueRefused("argument must be 'yes' or 'no'")
        return word == "yes"

    def show(self, value: Any) -> str:
        return "yes" if value else "no"

    def rewrite(self, name: str, value: Any, default: Any) -> Rewritten:
        return Rewritten.one(f"{name} {self.show(value)}", value != default)


@dataclass(frozen=True, slots=True)
class Integer:
    """A number between two bounds; with units (memory), as a percentage, or octal."""

    low: int = 0
    high: int = INT_MAX
    memory: bool = False
    percent: bool = False  # a percentage is stored negative
    octal: bool = False
    unsigned: bool = False
    served: int = ULONG_MAX  # Redis would take more up to `high`, this server does not
    several: bool = False
    accumulates: bool = False

    def parse(self, arguments: Sequence[str], current: Any) -> int:
        value = self._number(arguments[0])
        if self.unsigned:
            value &= ULONG_MAX
        elif value > LONG_MAX:
            value -= ULONG_MAX + 1
        if self.percent and value < 0:
            if value < self.low:
                raise ValueRefused(f"percentage argument must be less or equal to {-self.low}")
        elif not self.low <= value <= self.high:
            low, high = (f"{self.low:o}", f"{self.high:o}") if self.octal else (self.low, self.high)
            raise ValueRefused(f"argument must be between {low} and {high} inclusive")
        if value > self.served:
            raise ValueRefused(f"this server takes at most {self.served}")
        return value

    def _number(self, text: str) -> int:
        if self.memory:
            value = memory_bytes(text)
            if value is not None:
                return value
            if self.percent and text.endswith("%"):
                share = decimal(text[:-1])
                if share is not None and share >= 0:
                    return -share
            kinds = "memory or percent" if self.percent else "memory"
            raise ValueRefused(f"argument must be a {kinds} value")
        if self.octal:
            value = c_number(text, C_OCTAL, 8)
            if value is None or not -LONG_MAX - 1 <= value <= LONG_MAX:
                raise ValueRefused("argument couldn't be parsed as an octal number")
            return value
        number = decimal(text)
        if number is None:
            raise ValueRefused("argument couldn't be parsed into an integer")
        return number

    def show(self, value: Any) -> str:
        if self.percent and value < 0:
            return f"{-value}%"
        return f"{value:o}" if self.octal else str(value)

    def rewrite(self, name: str, value: Any, default: Any) -> Rewritten:
        in_units = self.memory and value >= 0
        shown = memory_text(value) if in_units else self.show(value)
        return Rewritten.one(f"{name} {shown}", value != default)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words, whatever their case; `same` names the word a synonym is shown as."""

    words: tuple[str, ...]
    same: tuple[tuple[str, str], ...] = ()
    several: bool = False
    accumulates: bool = False

    def parse(self, arguments: Sequence[str], current: Any) -> str:
        return dict(self.same).get(word := _word(self.words, arguments[0]), word)

    def show(self, value: Any) -> str:
        return str(value)

    def rewrite(self, name: str, value: Any, default: Any) -> Rewritten:
        return Rewritten.one(f"{name} {value}", value != default)


@dataclass(frozen=True, slots=True)
class ShutdownOptions:
    """Words that may be combined; "default" is none of them."""

    words: tuple[str, ...] = ("default", "save", "nosave", "now", "force")
    several: bool = True
    accumulates: bool = False

    def parse(self, arguments: Sequence[str], current: Any) -> str:
        if not arguments:
            raise _no_such_word(self.words)
        chosen = {_word(self.words, argument) for argument in arguments}
        if {"save", "nosave"} <= chosen:
            raise ValueRefused("shutdown options SAVE and NOSAVE can't be used simultaneously")
        return " ".join(word for word in self.words[1:] if word in chosen) or self.words[0]

    def show(self, value: Any) -> str:
        return str(value)

    def rewrite(self, name: str, value: Any, default: Any) -> Rewritten:
        return Rewritten.one(f"{name} {value}", value != default)


def _word(words: tuple[str, ...], argument: str) -> str:
    word = argument.lower()
    if word not in words:
        raise _no_such_word(words)
    return word


def _no_such_word(words: tuple[str, ...]) -> ValueRefused:
    return ValueRefused(f"argument(s) must be one of the following: {', '.join(words)}")


@dataclass(frozen=True, slots=True)
class Text:
    """Any text. `check` raises ValueRefused for a bad one.

    With `unset`, an empty text means that there is none, and no line of a file says so.
    """

    unset: bool = False
    binary: bool = False  # may hold NUL, after which all others end
    check: Callable[[str], None] | None = None
    several: bool = False
    accumulates: bool = False

    def parse(self, arguments: Sequence[str], current: Any) -> str:
        text = arguments[0] if self.binary else arguments[0].partition("\0")[0]
        if self.check is not None:
            self.check(text)
        return text

    def show(self, value: Any) -> str:
        return str(value)

    def rewrite(self, name: str, value: Any, default: Any) -> Rewritten:
        if self.unset and not value:
            return Rewritten()
        return Rewritten.one(f"{name} {quote_word(value)}", value != default)


def file_name(what: str, noun: str = "filename", empty: bool = False) -> Callable[[str], None]:
    """A check that a text is a name without a path."""

    def check(text: str) -> None:
        if not text and not empty:
            raise ValueRefused(f"{what} can't be empty")
        if "/" in text or "\\" in text:
            raise ValueRefused(f"{what} can't be a path, just a {noun}")

    return check


def processor_list(text: str) -> None:
    """Check a list of processors, of which this process may use one at least."""
    try:
        processors = parse_cpulist(text)
    except ValueError:
        raise ValueRefused("argument must be a list of processors, such as 0,2,4-8") from None
    if text and not processors & os.sched_getaffinity(0):
        raise ValueRefused("none of these processors can be used here")


def host_name(text: str) -> None:
    """Check the name a cluster node announces."""
    if len(text) > HOST_NAME_CHARACTERS_MAX:
        raise ValueRefused(f"Hostnames must be less than {HOST_NAME_CHARACTERS_MAX + 1} characters")
    if re.fullmatch(r"[A-Za-z0-9.-]*", text) is None:
        raise ValueRefused("Hostnames may only contain alphanumeric characters, hyphens or dots")


def node_name(text: str) -> None:
    """Check the human name of a cluster node."""
    if any(sign in "!#$%&()*+:;<>?@[]^{|}~" for sign in text):
        raise ValueRefused("Announced human node name contained invalid character")


TITLE_VARIABLES: Final = {
    "title": "",
    "server-mode": "",
    **dict.fromkeys(("listen-addr", "port", "tls-port", "config-file"), "x"),
    "unixsocket": "",
}
"""What may be in braces, and the least it stands for."""


def title_template(text: str) -> None:
    """Check the template of a process title: text with {variables}, and "{{" for a brace."""
    variables = "|".join(map(re.escape, TITLE_VARIABLES))
    part = re.compile(rf"\{{(?:(\{{)|({variables})\}})|[^{{]+")
    shown, at = "", 0
    while match := part.match(text, at):
        shown += match[1] or (TITLE_VARIABLES[match[2]] if match[2] else match[0])
        at = match.end()
    if at < len(text) or not shown.strip(" "):
        raise ValueRefused("template format is invalid or contains unknown variables")


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that exists; the server works in it, and the value is its absolute path."""

    several: bool = False
    accumulates: bool = False

    def parse(self, arguments: Sequence[str], current: Any) -> str:
        path = arguments[0].partition("\0")[0]
        try:
            os.close(os.open(path, os.O_PATH | os.O_DIRECTORY))
            if not os.access(path, os.X_OK):
                raise PermissionError(13, os.strerror(13))
        except OSError as error:
            raise ValueRefused(error.strerror or str(error)) from None
        return os.path.realpath(path)

    def show(self, value: Any) -> str:
        return str(value)

    def rewrite(self, name: str, value: Any, default: Any) -> Rewritten:
        return Rewritten.one(f"{name} {quote_word(value)}", True)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses to listen on, joined by spaces; a leading dash makes one optional."""

    several: bool = True
    accumulates: bool = False

    def parse(self, arguments: Sequence[str], current: Any) -> str:
        if len(arguments) > BIND_ADDRESSES_MAX:
            raise ValueRefused("Too many bind addresses specified.")
        return " ".join(arguments)

    def show(self, value: Any) -> str:
        return str(value)

    def rewrite(self, name: str, value: Any, default: Any) -> Rewritten:
        # A line that says our default stays: redis-server's is another, all interfaces.
        return Rewritten.one(f"{name} {value or quote_word('')}", value != default)


@dataclass(frozen=True, slots=True)
class SavePoints:
    """Pairs of seconds and changes; an empty string means never."""

    several: bool = True
    accumulates: bool = True

    def parse(self, arguments: Sequence[str], current: Any) -> str:
        if len(arguments) == 1 and not arguments[0]:
            return ""
        numbers = [c_number(argument) for argument in arguments]
        if len(numbers) % 2:
            raise ValueRefused("Invalid save parameters")
        for index, number in enumerate(numbers):
            if number is None or number < 1 - index % 2:
                raise ValueRefused("Invalid save parameters")
        return " ".join(filter(None, (current, " ".join(map(str, numbers)))))

    def show(self, value: Any) -> str:
        return str(value)

    def rewrite(self, name: str, value: Any, default: Any) -> Rewritten:
        if not value:
            # Not appended: a redis-server that goes on with the file has snapshots by default.
            return Rewritten.one(f'{name} ""', value != default)
        words = value.split()
        lines = tuple(f"{name} {' '.join(words[at : at + 2])}" for at in range(0, len(words), 2))
        return Rewritten(lines, (True,) * len(lines))


OUTPUT_CLASSES: Final = ("normal", "slave", "pubsub")


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """Hard limit, soft limit and seconds, for each class of clients; unnamed classes keep theirs.

    The value is a list of [hard bytes, soft bytes, soft seconds] in the order of OUTPUT_CLASSES.
    """

    several: bool = True
    accumulates: bool = False

    def parse(self, arguments: Sequence[str], current: Any) -> list[list[int]]:
        if len(arguments) % 4:
            raise ValueRefused("Wrong number of arguments in buffer limit configuration.")
        limits = [list(limit) for limit in current or [[0, 0, 0]] * len(OUTPUT_CLASSES)]
        for start in range(0, len(arguments), 4):
            name, hard, soft, seconds = arguments[start : start + 4]
            name = "slave" if name.lower() == "replica" else name.lower()
            if name not in OUTPUT_CLASSES:
                raise ValueRefused("Invalid client class specified in buffer limit configuration.")
            figures = (memory_bytes(hard), memory_bytes(soft), c_number(seconds))
            hard_bytes, soft_bytes, soft_seconds = figures
            if soft_seconds is not None:
                soft_seconds = _as_int(soft_seconds)
            if hard_bytes is None or soft_bytes is None or soft_seconds is None or soft_seconds < 0:
                raise ValueRefused(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration."
                )
            limits[OUTPUT_CLASSES.index(name)] = [hard_bytes, soft_bytes, soft_seconds]
        return limits

    def show(self, value: Any) -> str:
        return " ".join(
            f"{name} {hard} {soft} {seconds}"
            for name, (hard, soft, seconds) in zip(OUTPUT_CLASSES, value, strict=True)
        )

    def rewrite(self, name: str, value: Any, default: Any) -> Rewritten:
        classes = ("normal", "replica", "pubsub")
        lines = tuple(
            f"{name} {group} {memory_text(hard)} {memory_text(soft)} {seconds}"
            for group, (hard, soft, seconds) in zip(classes, value, strict=True)
        )
        return Rewritten(lines, tuple(a != b for a, b in zip(value, default, strict=True)))


OOM_SCORES: Final = 3
OOM_SCORE_MAX: Final = 2000


@dataclass(frozen=True, slots=True)
class OomScores:
    """Three scores: of a master, a replica, and background children."""

    several: bool = True
    accumulates: bool = False

    def parse(self, arguments: Sequence[str], current: Any) -> str:
        if len(arguments) != OOM_SCORES:
            raise ValueRefused("wrong number of arguments")
        scores = [c_number(argument) for argument in arguments]
        if any(score is None or abs(score) > OOM_SCORE_MAX for score in scores):
            raise ValueRefused(
                "Invalid oom-score-adj-values, elements must be between -2000 and 2000."
            )
        return " ".join(map(str, scores))

    def show(self, value: Any) -> str:
        return str(value)

    def rewrite(self, name: str, value: Any, default: Any) -> Rewritten:
        return Rewritten.one(f"{name} {value}", value != default)


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Numbers from 0 to 100, printed with six decimals at most; an empty text means none."""

    several: bool = True
    accumulates: bool = False

    def parse(self, arguments: Sequence[str], current: Any) -> str:
        if len(arguments) == 1 and not arguments[0]:
            return ""
        shown: list[str] = []
        for argument in arguments:
            number = c_double(argument)
            if number is None:
                raise ValueRefused("Invalid latency-tracking-info-percentiles parameters")
            if not 0.0 <= number <= 100.0:
                raise ValueRefused(
                    "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"
                )
            shown.append(f"{number:f}".rstrip("0").rstrip("."))
        return " ".join(shown)

    def show(self, value: Any) -> str:
        return str(value)

    def rewrite(self, name: str, value: Any, default: Any) -> Rewritten:
        return Rewritten.one(f"{name} {value or quote_word('')}", True)


@dataclass(frozen=True, slots=True)
class Master:
    """The host and port of the server to replicate, or "" for none."""

    several: bool = True
    accumulates: bool = False

    def parse(self, arguments: Sequence[str], current: Any) -> str:
        if len(arguments) != 2:
            raise ValueRefused("wrong number of arguments")
        host, text = arguments
        if (host.lower(), text.lower()) == ("no", "one"):
            return ""
        port = c_number(text)
        if port is None or not 0 <= _as_int(port) <= 65535:
            raise ValueRefused("Invalid master port")
        return f"{host} {_as_int(port)}"

    def show(self, value: Any) -> str:
        return str(value)

    def rewrite(self, name: str, value: Any, default: Any) -> Rewritten:
        return Rewritten.one(f"{name} {value}", True) if value else Rewritten()


EVENT_CLASSES: Final = "g$lshzxetd"  # what A stands for
EVENT_LETTERS: Final = "g$lshzxetdKEmn"


@dataclass(frozen=True, slots=True)
class Events:
    """Letters of keyspace event classes, printed in Redis's order."""

    several: bool = False
    accumulates: bool = False

    def parse(self, arguments: Sequence[str], current: Any) -> str:
        letters = set(arguments[0].partition("\0")[0])
        if not letters <= {*EVENT_LETTERS, "A"}:
            raise ValueRefused("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
        if "A" in letters or letters.issuperset(EVENT_CLASSES):
            # "n" is not among what A stands for, and Redis 7.2 does not print it beside A.
            shown = "A"
        else:
            shown = "".join(letter for letter in EVENT_CLASSES + "n" if letter in letters)
        return shown + "".join(letter for letter in "KEm" if letter in letters)

    def show(self, value: Any) -> str:
        return str(value)

    def rewrite(self, name: str, value: Any, default: Any) -> Rewritten:
        return Rewritten.one(f"{name} {quote_word(value)}", value != default)


def memory_bytes(text: str) -> int | None:
    """The bytes that a size like "64mb" means, modulo 2^64 as in C; None when it is none."""
    match = SIZE.fullmatch(text)
    if match is None:
        return None
    number = min(int(match[1] or "0"), ULONG_MAX)
    return (number * UNITS[match[2].lower()]) & ULONG_MAX


def memory_text(size: int) -> str:
    """A size in the largest unit that needs no fraction, as CONFIG REWRITE writes it."""
    for unit in ("gb", "mb", "kb"):
        if size and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return str(size)


def decimal(text: str) -> int | None:
    """The number a text is, in the one way Redis's own integers are written."""
    if len(text) > 20 or NUMBER.fullmatch(text) is None:
        return None
    number = int(text)
    return number if -LONG_MAX - 1 <= number <= LONG_MAX else None


def c_number(text: str, pattern: re.Pattern[str] = C_NUMBER, base: int = 10) -> int | None:
    """The number that C's strtoll makes of a whole text, None if it stops before its end.

    No digits at all are only accepted as an empty text, which is 0. Decimal numbers saturate.
    """
    text = text.partition("\0")[0]
    if not text:
        return 0
    match = pattern.fullmatch(text)
    if match is None or len(text) > 256:
        return None
    number = int(match[1], base)
    return max(-LONG_MAX - 1, min(number, LONG_MAX)) if base == 10 else number


def c_double(text: str) -> float | None:
    """The number that C's strtod makes of a whole text; None if it is none, or not a number."""
    if C_DOUBLE.fullmatch(text):
        return float(text)
    if not C_HEX_DOUBLE.fullmatch(text):
        return None
    try:
        return float.fromhex(text)
    except OverflowError:
        return None


def _as_int(number: int) -> int:
    """What is left of a number in a C int."""
    return (number + 2**31) % 2**32 - 2**31
