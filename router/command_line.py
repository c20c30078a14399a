"""The command line of shardis-server, by redis-server's rules.

    shardis-server [file] [--directive value ...] [-]

Options become lines that are read after the file, or the standard input ("-" as the first or last
argument). "--" begins a directive, unless the one before still wants its value; values are quoted,
so that each stays one word, but a directive and its values may also be in one argument.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

from actors.container import processors
from protocol.version import REDIS_VERSION, SHARDIS_VERSION
from router.config import Config, ConfigError, FileUnreadable
from router.config.reader import read_text, source_text
from router.config.words import quote_word, split_words
from router.log import LineFormatter

PROGRAM: Final = "shardis-server"
USAGE: Final = f"""\
Usage: {PROGRAM} [/path/to/shardis.conf] [options] [-]
       {PROGRAM} - (reads the configuration from the standard input)
       {PROGRAM} -v or --version
       {PROGRAM} -h or --help
       {PROGRAM} --check-system

Files have the syntax of redis.conf. Options have the names of its directives and are read last.

Examples:
       {PROGRAM}
       {PROGRAM} --port 7777 --shards 4 --io-workers 2
       {PROGRAM} /etc/shardis.conf --loglevel verbose
       echo 'maxclients 500' | {PROGRAM} -
       {PROGRAM} /etc/shardis.conf --client-output-buffer-limit "pubsub 32mb 8mb 60" -
"""
NO_MEMORY_TEST: Final = (
    f"{PROGRAM} has no memory test: a process can only reach the memory it is given. Test the "
    "whole machine before it starts, with memtest86.\n"
)
NO_SENTINEL: Final = f"{PROGRAM} has no sentinel mode yet.\n"


class Finished(Exception):
    """The command line asks for something else than a server, or for one that cannot start."""

    def __init__(self, code: int, text: str = "", error: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.error = error  # for the standard error output

    def show(self) -> int:
        """Say it; the exit code."""
        stream: TextIO = sys.stderr if self.error else sys.stdout
        stream.write(self.text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
        stream.flush()
        return self.code


def read_command_line(arguments: Sequence[str]) -> Config:
    """The configuration that the arguments (without the program's name) ask for. Raises Finished.

    The directory of the process changes if the configuration says so.
    """
    words = list(arguments)
    _answer(words)
    config = Config()
    text = ""
    try:
        if words and not words[0].startswith("-"):
            config.file = os.path.join(os.getcwd(), words.pop(0))
            config.file = os.path.normpath(config.file)
            text = read_text(config.file)
            from_input, options = option_lines(words, first=False)
        else:
            from_input, options = option_lines(words)
        if from_input:
            text += source_text(sys.stdin.buffer.read())
        config.load(f"{text}\n{options}")
    except FileUnreadable as error:
        # A line of the log, which is not set up yet: the configuration would say how.
        record = logging.LogRecord("shardis", logging.WARNING, "", 0, str(error), None, None)
        raise Finished(1, f"{LineFormatter().format(record)}\n") from None
    except ConfigError as error:
        raise Finished(1, f"{error}\n", error=True) from None
    available = processors()
    for name in ("shards", "io-workers"):
        if not config[name]:
            config.derive(name, available)
    return config


def option_lines(words: Sequence[str], first: bool = True) -> tuple[bool, str]:
    """Whether to read the standard input, and the lines that the options stand for. O(words).

    `first`: no file is before these words.
    """
    from_input = False
    lines = ""
    complete = True  # the option before has a value
    last = len(words) - 1
    for index, word in enumerate(words):
        if word == "-" and ((first and index == 0) or index == last):
            from_input = True
        elif complete and word.startswith("--"):
            lines += ("\n" if lines else "") + word[2:] + " "
            # An option may hold its values itself: "--port 7000".
            complete = len(split_words(word) or []) != 1
            # For scripts that leave out an empty value: --save --port 7000.
            alone = index == last or words[index + 1].startswith("--")
            if not complete and word.lower() == "--save" and alone:
                lines += '""'
                complete = index != last
        else:
            lines += quote_word(word) + " "
            complete = True
    return from_input, lines


def _answer(words: list[str]) -> None:
    """Answer what is no start of a server. Raises Finished."""
    first = words[0] if words else ""
    if first in ("-v", "--version"):
        # Tools look for "v=" to know which Redis they have before them.
        raise Finished(
            0,
            f"Shardis server v={REDIS_VERSION} shardis={SHARDIS_VERSION} malloc=libc "
            f"bits={platform.architecture()[0].removesuffix('bit')} "
            f"python={platform.python_version()}\n",
        )
    if first in ("-h", "--help"):
        raise Finished(1, USAGE, error=True)
    if first == "--test-memory":
        raise Finished(1, NO_MEMORY_TEST, error=True)
    if first == "--check-system":
        raise _check_system()
    if "--sentinel" in words:
        raise Finished(1, NO_SENTINEL, error=True)


CLOCK: Final = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
GOOD_CLOCKS: Final = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page")
HUGE_PAGES: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")
BACKLOG: Final = Path("/proc/sys/net/core/somaxconn")


def _check_system() -> Finished:
    """Look for settings of the machine that would slow the server down."""
    checks = (
        (
            "slow-clocksource",
            _read(CLOCK),
            lambda clock: clock in GOOD_CLOCKS,
            "The clock source '{}' costs a system call for each reading of the time. See which are "
            "there in available_clocksource, next to {path}.",
            CLOCK,
        ),
        (
            "transparent-hugepages",
            _read(HUGE_PAGES),
            lambda modes: "[always]" not in modes,
            "Transparent huge pages are always used ('{}'): freed memory is given back late. Write "
            "'madvise' into {path}.",
            HUGE_PAGES,
        ),
        (
            "listen-backlog",
            _read(BACKLOG),
            lambda length: int(length) >= Config()["tcp-backlog"],
            "The kernel shortens the queue of new connections to {}. Raise it in {path}.",
            BACKLOG,
        ),
    )
    lines: list[str] = []
    good = True
    for name, found, is_good, warning, path in checks:
        if not found:
            lines.append(f"[{name}]...skipped")
        elif is_good(found):
            lines.append(f"[{name}]...OK")
        else:
            good = False
            lines.append(f"[{name}]...WARNING:\n{warning.format(found, path=path)}")
    return Finished(0 if good else 1, "\n".join(lines) + "\n")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
