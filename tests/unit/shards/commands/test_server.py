"""DEBUG and MEMORY, as a client sees them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from shards.commands.server import serialized_length
from tests.model.context import Model

Run = Callable[..., bytes]


def test_debug_object_describes_a_string(run: Run) -> None:
    run("SET", "k", "hello")
    assert re.fullmatch(
        rb"\+Value at:0x[0-9a-f]+ refcount:1 encoding:embstr serializedlength:6"
        rb" lru:[0-9]+ lru_seconds_idle:0\r\n",
        run("DEBUG", "OBJECT", "k"),
    )
    assert run("DEBUG", "OBJECT", "missing") == b"-ERR no such key\r\n"


@pytest.mark.parametrize(
    ("value", "length"),
    [
        *[(b"", 1), (b"abc", 4), (b"127", 2), (b"128", 3), (b"-32769", 5), (b"2147483648", 11)],
        *[(b"01", 3), (b"x" * 63, 64), (b"x" * 64, 66), (b"x" * 16384, 16389)],
    ],
)
def test_serialized_length(value: bytes, length: int) -> None:
    assert serialized_length(value) == length


@pytest.mark.parametrize(
    ("argument", "seconds"), [("0.25", 0.25), ("1e-1x", 0.1), ("abc", 0.0), ("-3", 0.0)]
)
def test_debug_sleep_reads_what_it_can(model: Model, argument: str, seconds: float) -> None:
    assert model.run("DEBUG", "SLEEP", argument) == b"+OK\r\n"
    assert model.context.slept_seconds == seconds


def test_debug_set_active_expire(model: Model) -> None:
    assert model.run("DEBUG", "SET-ACTIVE-EXPIRE", 0) == b"+OK\r\n"
    assert model.context.settings.active_expire is False
    model.run("DEBUG", "set-active-expire", "1")
    assert model.context.settings.active_expire is True


def test_debug_answers_about_globs_and_errors(run: Run) -> None:
    assert run("DEBUG", "STRINGMATCH-LEN", "a*", "abc") == b":1\r\n"
    assert run("DEBUG", "STRINGMATCH-LEN", "a*", "bc") == b":0\r\n"
    assert run("DEBUG", "ERROR", "ODD one\n") == b"-ODD one \r\n"
    assert run("DEBUG", "HELP").startswith(b"*13\r\n+DEBUG <subcommand> ")
    assert run("DEBUG", "SLEEP") == (
        b"-ERR unknown subcommand or wrong number of arguments for 'SLEEP'. Try DEBUG HELP.\r\n"
    )


def test_memory_usage(run: Run) -> None:
    run("SET", "k", "v")
    assert run("MEMORY", "USAGE", "k", "SAMPLES", 0).startswith(b":")
    assert run("MEMORY", "USAGE", "missing") == b"$-1\r\n"
    assert run("MEMORY", "USAGE", "k", "SAMPLES") == b"-ERR syntax error\r\n"
    assert run("MEMORY", "USAGE", "k", "SAMPLES", -1) == b"-ERR syntax error\r\n"
    assert run("MEMORY", "HELP").startswith(b"*14\r\n+MEMORY <subcommand> ")
    assert run("MEMORY", "BOGUS") == b"-ERR unknown subcommand 'BOGUS'. Try MEMORY HELP.\r\n"
