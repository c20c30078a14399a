"""Reading redis.conf: text to lines of words, across included files, with Redis's errors."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from protocol.version import REDIS_VERSION
from router.config.kinds import ValueRefused
from router.config.words import split_words, text_of

INCLUDE_DEPTH_MAX: Final = 64
"""redis-server overflows its stack when a file includes itself; we say so."""
INCLUDED_BYTES_MAX: Final = 64 << 20
"""A device or a log by mistake must not fill the memory."""


class ConfigError(Exception):
    """A configuration the server cannot start with; the text says which line and why."""


class FileUnreadable(ConfigError):
    """A file that cannot be read; redis-server writes this into its log."""


def read_text(path: str) -> str:
    """The text of a file, or of all files that a pattern matches. Raises FileUnreadable."""
    patterned = any(sign in path for sign in "*?[")
    return "".join(map(_read, sorted(glob.glob(path)) if patterned else [path]))


def source_text(content: bytes) -> str:
    """A source's text. As in C, a NUL hides the rest of its line, and the line's end with it."""
    return text_of(re.sub(rb"\0[^\n]*\n?", b"", content))


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(INCLUDED_BYTES_MAX + 1)
    except OSError as error:
        reason = error.strerror
    else:
        if len(content) <= INCLUDED_BYTES_MAX:
            return source_text(content)
        reason = "File too large"
    raise FileUnreadable(f"Fatal error, can't open config file '{path}': {reason}")


def read_lines(
    text: str, apply: Callable[[list[str]], None], finish: Callable[[], None], depth: int = 0
) -> None:
    """Apply the lines of a text in order, those of included files in their place.

    `apply` gets the words of a line, the first in lower case; `finish` is called after each text,
    included ones too. Both raise ValueRefused. Raises ConfigError, with the line of the text that
    it is in.
    """
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(" \t\r\n")
        if not line or line.startswith("#"):
            continue
        try:
            words = split_words(line)
            if words is None:
                raise ValueRefused("Unbalanced quotes in configuration line")
            if not words:
                continue
            words[0] = words[0].lower()
            if words[0] == "include" and len(words) == 2:
                if depth >= INCLUDE_DEPTH_MAX:
                    raise ValueRefused("Files include each other without end")
                read_lines(read_text(words[1]), apply, finish, depth + 1)
            else:
                apply(words)
        except ValueRefused as error:
            place = f"Reading the configuration file, at line {number}\n>>> '{line}'\n"
            raise ConfigError(_fatal(f"{place}{error}")) from None
    try:
        finish()
    except ValueRefused as error:
        raise ConfigError(_fatal(str(error))) from None


def _fatal(text: str) -> str:
    return f"\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***\n{text}"
