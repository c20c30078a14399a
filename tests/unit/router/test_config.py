"""Configuration: the syntax of files and arguments, and CONFIG GET and SET with Redis's texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.config import (
    DIRECTIVES,
    Config,
    ConfigError,
    SetError,
    argument_lines,
    default_of,
    memory_bytes,
    quote_word,
    split_words,
)

FAILED = "ERR CONFIG SET failed (possibly related to argument '%s') - %s"


def change(config: Config, *words: str) -> None:
    values = [word.encode() for word in words]
    config.commit(config.prepare(list(zip(values[::2], values[1::2], strict=True))))


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=10)))
def test_quoted_words_read_back_as_they_were(words: list[str]) -> None:
    assert split_words(" ".join(map(quote_word, words))) == words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a b", ["a", "b"]),
        ("  a\t'b c' ", ["a", "b c"]),
        (r'"\x41\n\"" ' + r"'it\'s \n'", ['A\n"', r"it's \n"]),
        ('""', [""]),
        ('a"b', None),
        ("'a'b", None),
        ('"a', None),
    ],
)
def test_words_are_split_with_redis_quoting(line: str, words: list[str] | None) -> None:
    assert split_words(line) == words


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("1b", 1), ("2k", 2000), ("2KB", 2048), ("1mb", 1 << 20), ("3g", 3 * 10**9),
     ("", None), ("k", None), ("-1", None), ("1tb", None), ("1.5mb", None), ("1 mb", None),
     ("9" * 30, None)],
)  # fmt: skip
def test_sizes_have_units(text: str, size: int | None) -> None:
    assert memory_bytes(text) == size


def test_every_default_is_valid_and_survives_being_printed() -> None:
    config = Config()
    for directive in DIRECTIVES:
        shown = config.show(directive.name)
        assert config[directive.name] == default_of(directive)
        words = split_words(shown) if directive.kind.several else [shown]
        assert directive.kind.parse(words or [""], None) == config[directive.name]
        assert directive.refuse is None or directive.refuse(config[directive.name]) is None


def test_a_file_and_arguments_are_read_in_order() -> None:
    config = Config()
    config.load("# comment\n\n port 7000\r\nhz 20\nbind 10.0.0.1 ::1\n")
    config.load(argument_lines(["--port", "7001", "--save", "", "--loglevel", "verbose"]))
    assert (config["port"], config["hz"], config["loglevel"]) == (7001, 20, "verbose")
    assert config.show("bind") == "10.0.0.1 ::1"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nosuch 1", "Bad directive or wrong number of arguments"),
        ("port", "Bad directive or wrong number of arguments"),
        ("port 1 2", "wrong number of arguments"),
        ("port 70000", "argument must be between 0 and 65535 inclusive"),
        ('dir "a', "Unbalanced quotes in configuration line"),
        ("appendonly yes", "persistence is not supported yet"),
        ("save 60 1", "persistence is not supported yet"),
        ("maxmemory 1gb", "a memory limit is not supported yet"),
        ("replicaof 127.0.0.1 6379", "replication is not supported yet"),
    ],
)
def test_what_cannot_be_done_stops_the_start(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as error:
        Config().load("hz 10\n" + text)
    assert "FATAL CONFIG FILE ERROR" in str(error.value)
    assert f"at line 2\n>>> '{text}'\n" in str(error.value)
    assert str(error.value).endswith(reason)


def test_directives_without_effect_are_listed() -> None:
    config = Config()
    config.load("activerehashing no\nhz 20\ndynamic-hz yes")
    assert config.accepted == ["activerehashing"]


def test_get_matches_several_patterns_and_keeps_the_clients_spelling() -> None:
    config = Config()
    assert config.matching([b"PORT", b"port", b"*max-bulk*"]) == {
        b"PORT": b"6379",
        b"proto-max-bulk-len": b"536870912",
    }
    assert config.matching([b"nosuch", b"save", b"appendonly"]) == {
        b"save": b"",
        b"appendonly": b"no",
    }
    assert len(config.matching([b"*"])) >= len(DIRECTIVES)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["hz", "1", "nosuch", "1"],
         "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'"),
        (["databases", "5", "nosuch", "1"],  # the first problem wins, as redis-server shows
         FAILED % ("databases", "can't set immutable config")),
        (["nosuch", "1", "databases", "5"],
         "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'"),
        (["hz", "20", "databases", "5"], FAILED % ("databases", "can't set immutable config")),
        (["hz", "20", "HZ", "30"], FAILED % ("HZ", "duplicate parameter")),
        (["hz", "20", "maxclients", "abc"],
         FAILED % ("maxclients", "argument couldn't be parsed into an integer")),
        (["maxclients", "0"],
         FAILED % ("maxclients", "argument must be between 1 and 4294967295 inclusive")),
        (["maxclients", "010"],
         FAILED % ("maxclients", "argument couldn't be parsed into an integer")),
        (["loglevel", "foo"],
         FAILED % ("loglevel", "argument(s) must be one of the following: debug, verbose, notice, "
                   "warning, nothing")),
        (["activerehashing", "maybe"],
         FAILED % ("activerehashing", "argument must be 'yes' or 'no'")),
        (["proto-max-bulk-len", "abc"],
         FAILED % ("proto-max-bulk-len", "argument must be a memory value")),
        (["maxmemory-clients", "500%"],
         FAILED % ("maxmemory-clients", "percentage argument must be less or equal to 100")),
        (["maxmemory-clients", "x%"],
         FAILED % ("maxmemory-clients", "argument must be a memory or percent value")),
        (["save", "1 2 3"], FAILED % ("save", "Invalid save parameters")),
        (["client-output-buffer-limit", "normal 1 2"],
         FAILED % ("client-output-buffer-limit",
                   "Wrong number of arguments in buffer limit configuration.")),
    ],
)  # fmt: skip
def test_set_is_all_or_nothing_with_redis_texts(words: list[str], text: str) -> None:
    config = Config()
    before = config.snapshot()
    with pytest.raises(SetError) as error:
        change(config, *words)
    assert str(error.value) == text
    assert config.snapshot() == before


def test_set_changes_several_values() -> None:
    config = Config()
    change(config, "hz", "900", "maxmemory-clients", "50%", "save", "", "timeout", "7")
    assert config.show("hz") == "500"  # moved into its range, as Redis does
    assert config.show("maxmemory-clients") == "50%"
    assert (config["save"], config["timeout"]) == ("", 7)
    change(config, "client-output-buffer-limit", "replica 10 20 30")
    assert config.show("client-output-buffer-limit") == (
        "normal 0 0 0 slave 10 20 30 pubsub 33554432 8388608 60"
    )
