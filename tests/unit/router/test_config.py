"""Configuration: files and arguments, CONFIG GET, SET and REWRITE, with Redis's texts.

tests/differential/test_config.py compares with redis-server; here is what is ours alone, and
what must hold without one.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.container import processors
from actors.scheduling import parse_cpulist
from router.command_line import Finished, option_lines, read_command_line
from router.config import (
    DIRECTIVES,
    NOT_ACTED_ON,
    Config,
    ConfigError,
    FileUnreadable,
    Mark,
    SetError,
    is_sensitive,
)
from router.config.directives import BY_NAME, LINES_ONLY, OWN
from router.config.kinds import memory_bytes, memory_text
from router.config.rewriter import MARK, rewritten
from router.config.words import quote_word, split_words
from shards.lane.context import Settings

FAILED = "ERR CONFIG SET failed (possibly related to argument '%s') - %s"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _stay_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dir` moves the process."""
    monkeypatch.chdir(tmp_path)


def change(config: Config, *words: str, local: bool = False) -> None:
    values = [word.encode() for word in words]
    config.commit(config.prepare(list(zip(values[::2], values[1::2], strict=True)), local))


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
     ("", 0), ("k", 0), ("-1", None), ("1tb", None), ("1.5mb", None), ("1 mb", None),
     ("9" * 30, 2**64 - 1), ("9" * 200, None)],
)  # fmt: skip
def test_sizes_have_units(text: str, size: int | None) -> None:
    assert memory_bytes(text) == size


def test_every_default_is_valid_and_survives_being_printed_and_rewritten() -> None:
    config = Config()
    for directive in DIRECTIVES:
        value = config[directive.name]
        assert value == directive.default_value()
        shown = config.show(directive.name)
        if shown or not directive.kind.several:
            words = shown.split() if directive.kind.several else [shown]
            assert directive.kind.parse(words, None if not directive.kind.several else "") == value
        new = directive.kind.rewrite(directive.name, value, directive.default_value())
        again = Config()
        again.load("\n".join(new.lines))
        assert again[directive.name] == value, directive.name


def test_every_name_is_there_once() -> None:
    names = [name for each in DIRECTIVES for name in (each.name, each.alias) if name]
    assert len(names) == len(set(names)) == len(BY_NAME)
    assert set(NOT_ACTED_ON) <= {directive.name for directive in DIRECTIVES} | LINES_ONLY


def test_a_file_and_arguments_are_read_in_order() -> None:
    config = Config()
    config.load("# comment\n\n port 7000\r\nhz 20\nbind 10.0.0.1 ::1\n")
    config.load(option_lines(["--port", "7001", "--save", "", "--loglevel", "verbose"])[1])
    assert (config["port"], config["hz"], config["loglevel"]) == (7001, 20, "verbose")
    assert config.show("bind") == "10.0.0.1 ::1"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nosuch 1", "Bad directive or wrong number of arguments"),
        ("port", "wrong number of arguments"),
        ("user default on", "users and passwords are not supported yet"),
        ("rename-command GET FETCH", "renaming commands is not supported yet"),
        ("loadmodule x.so", "modules are not supported"),
        ("my.setting 1", "modules are not supported"),
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
    config.load("activerehashing no\nhz 20\ndynamic-hz yes\nport 7\nactiverehashing no")
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
    hidden = sum(Mark.HIDDEN in directive.marks for directive in BY_NAME.values())
    assert len(config.matching([b"*"])) == len(BY_NAME) - hidden


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


def test_our_own_immutable_directives_may_be_set_to_what_they_are() -> None:
    # Redis's suite sets all that CONFIG GET shows, but what it knows to be immutable.
    config = Config()
    before = config.snapshot()
    for directive in OWN:
        change(config, directive.name, config.show(directive.name), "hz", "10")
    assert config.snapshot() == before
    for name, value in (("io-workers", "3"), ("databases", "16")):
        with pytest.raises(SetError, match="can't set immutable config"):
            change(config, name, value)


@pytest.mark.parametrize("words", ["force", "now force", "force nosave", "now nosave force"])
def test_ways_to_end_that_do_not_ask_for_a_save_are_accepted(words: str) -> None:
    config = Config()
    config.load(f"shutdown-on-sigint {words}\nshutdown-on-sigterm {words}")
    change(config, "shutdown-on-sigint", "default", "shutdown-on-sigterm", words)
    assert set(config.show("shutdown-on-sigterm").split()) == set(words.split())


def test_set_changes_several_values() -> None:
    config = Config()
    change(config, "hz", "900", "save", "", "timeout", "7", "maxmemory-clients", "0%")
    assert config.show("hz") == "500"  # moved into its range, as Redis does
    assert (config["save"], config["timeout"]) == ("", 7)
    change(config, "client-output-buffer-limit", "replica 10 20 30")
    assert config.show("client-output-buffer-limit") == (
        "normal 0 0 0 slave 10 20 30 pubsub 33554432 8388608 60"
    )


@pytest.mark.parametrize("name", sorted(NOT_ACTED_ON))
def test_what_is_not_acted_on_takes_its_default(name: str) -> None:
    if name not in BY_NAME or Mark.IMMUTABLE in BY_NAME[name].marks:
        return
    config = Config()
    config.values["enable-protected-configs"] = "yes"
    change(config, name, config.show(name))
    assert config.snapshot() == {**Config().snapshot(), "enable-protected-configs": "yes"}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("maxmemory", "1gb", "a memory limit is not supported yet"),
        ("maxmemory-clients", "50%", "a memory limit is not supported yet"),
        ("appendonly", "yes", NOT_ACTED_ON["appendonly"].reason),
        ("save", "60 1", NOT_ACTED_ON["save"].reason),
        ("slave-priority", "x", "argument couldn't be parsed into an integer"),
        ("dbfilename", "x", "can't set protected config"),
        ("DIR", "/", "can't set protected config"),
    ],
)
def test_config_set_refuses_what_would_be_a_promise(name: str, value: str, reason: str) -> None:
    with pytest.raises(SetError) as error:
        change(Config(), name, value)
    assert str(error.value) == FAILED % (name, reason)


def test_nothing_is_promised_by_save() -> None:
    assert Config().show("save") == ""
    config = Config()
    config.load('save ""')
    assert config.show("save") == ""


def test_protected_directives_need_permission(tmp_path: Path) -> None:
    config = Config()
    config.load("enable-protected-configs local")
    with pytest.raises(SetError):
        change(config, "dir", "/")
    change(config, "dir", "/", local=True)
    assert (config["dir"], os.getcwd()) == ("/", "/")
    with pytest.raises(SetError, match="No such file or directory"):
        change(config, "dir", "/nosuch", local=True)
    assert os.getcwd() == "/"


def test_the_directory_changes_where_its_line_stands(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "more.conf").write_text("hz 21\n")
    config = Config()
    config.load("dir sub\ninclude more.conf\n")
    assert (config["hz"], config["dir"]) == (21, str(tmp_path / "sub"))


def test_includes_do_not_go_on_for_ever(tmp_path: Path) -> None:
    (tmp_path / "self.conf").write_text("include self.conf\n")
    with pytest.raises(ConfigError, match="without end"):
        Config().load("include self.conf")
    with pytest.raises(FileUnreadable, match="Is a directory"):
        Config().load(f"include {tmp_path}")


def test_lines_that_set_no_value_are_kept_once_something_acts_on_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(NOT_ACTED_ON, "user")
    config = Config()
    config.load("user alice on >x\nUSER bob\n")
    assert config.lines == {"user": [["alice", "on", ">x"], ["bob"]]}


def test_cluster_mode_leaves_the_endpoint_its_databases() -> None:
    config = Config()
    config.load("cluster-enabled yes")
    assert config["databases"] == 16
    assert not config.remarks


def test_sensitive_directives_are_known_by_any_spelling() -> None:
    assert is_sensitive(b"RequirePass")
    assert is_sensitive(b"masterauth")
    assert is_sensitive(b"tls-key-file-pass")
    assert not is_sensitive(b"maxclients")
    assert not is_sensitive(b"\xff")


# CONFIG REWRITE


def test_a_rewritten_file_keeps_comments_and_order(tmp_path: Path) -> None:
    path = tmp_path / "shardis.conf"
    path.write_text("# first\n\n\nhz 20\ninclude more.conf\n # last\nslave-priority 5\nnosuch 1\n")
    (tmp_path / "more.conf").write_text("timeout 4\n")
    os.chmod(path, 0o600)
    config = Config(file=str(path))
    config.load("hz 20\ninclude more.conf\nslave-priority 5")
    change(config, "hz", "30", "client-query-buffer-limit", "5mb")
    config.rewrite()
    assert path.read_text() == (
        "# first\n\nhz 30\ninclude more.conf\n# last\nreplica-priority 5\n# ??? nosuch 1\n\n"
        f'{MARK}\ntimeout 4\ndir "{tmp_path}"\nclient-query-buffer-limit 5mb\n'
        "latency-tracking-info-percentiles 50 99 99.9\n"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["more.conf", "shardis.conf"]


def test_processes_chosen_by_the_machine_are_not_written_down(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("io-workers 3\nshards 0\n")
    config = read_command_line(["a.conf"])
    assert config["shards"] == processors()
    config.rewrite()
    assert "io-workers 3\nshards 0\n" in (tmp_path / "a.conf").read_text()


def test_all_values_can_be_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text("hz 20\n")
    config = read_command_line(["a.conf", "--timeout", "7"])
    config.rewrite(all_values=True)
    text = path.read_text()
    assert text.startswith(f"hz 20\n\n{MARK}\n")
    assert "\ntcp-keepalive 300\n" in text  # a default
    again = read_command_line(["a.conf"])
    assert {name: again.show(name) for name in again.values} == {
        name: config.show(name) for name in config.values
    }


def test_a_file_that_cannot_be_written_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    config = Config(file=str(tmp_path / "sub"))
    with pytest.raises(IsADirectoryError):
        config.rewrite()
    config = Config(file=str(tmp_path / "nosuch" / "file"))
    with pytest.raises(FileNotFoundError):
        config.rewrite()
    assert list((tmp_path / "sub").iterdir()) == []


TEXT = st.text(st.sampled_from("ab \t#\"'\\\n\x00\xe9"), max_size=6)
LINES = st.lists(
    st.one_of(
        st.sampled_from(["hz 20", "hz  10 ", "save 60 1", "slave-priority 3", "", "# x", MARK]),
        st.builds("syslog-ident {}".format, TEXT.map(quote_word)),
        TEXT,
    ),
    max_size=8,
).map("\n".join)


@settings(deadline=None)  # other builds share the machine
@given(LINES)
def test_rewriting_twice_changes_nothing_more(old: str) -> None:
    config = Config()
    new = [
        (each.name, each.kind.rewrite(each.name, config[each.name], each.default_value()))
        for each in DIRECTIVES
    ]
    once = rewritten(old, new)
    twice = rewritten(once, new)
    # Redis takes the end of the last line for the begin of an empty one, but not for ever.
    assert twice.rstrip("\n") == once.rstrip("\n")
    assert rewritten(twice, new) == twice


@given(st.integers(0, 2**70))
def test_sizes_are_written_so_that_they_read_back(size: int) -> None:
    assert memory_bytes(memory_text(size)) == min(size, 2**64 - 1) or size >= 2**64


# The command line


@pytest.mark.parametrize(
    ("words", "code"),
    [(["--version"], 0), (["-v"], 0), (["-h"], 1), (["--help"], 1), (["--test-memory", "5"], 1),
     (["--sentinel"], 1), (["/nosuch"], 1), (["--hz", "x"], 1)],
)  # fmt: skip
def test_what_starts_no_server_says_so(
    words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Finished) as finished:
        read_command_line(words)
    assert finished.value.show() == code
    shown = capsys.readouterr()
    assert shown.out or shown.err


def test_the_version_is_found_where_tools_look_for_it() -> None:
    with pytest.raises(Finished, match=r"\bv=7\.2\.\d+ "):
        read_command_line(["--version"])


def test_checking_the_system_ends_with_its_result(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Finished) as finished:
        read_command_line(["--check-system"])
    assert finished.value.show() == ("WARNING" in finished.value.text)
    assert all(line.startswith("[") for line in capsys.readouterr().out.splitlines()[:1])


# Files and pages


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.conf")), ids=lambda p: p.name)
def test_shipped_files_are_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a file is for may still be refused; its syntax must be right.
    monkeypatch.setattr("router.config.values.NOT_ACTED_ON", {})
    Config().load(path.read_text())


def test_the_shipped_file_shows_the_defaults_and_all_options_of_ours() -> None:
    text = (ROOT / "configs" / "shardis.conf").read_text()
    config = Config()
    config.load(text)
    assert config.snapshot() == Config().snapshot()
    assert {directive.name for directive in OWN} <= config.given


def test_the_page_lists_what_has_no_effect() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    listed = [
        tuple(cell.strip(" `") for cell in line.strip("|").split("|"))
        for line in page.splitlines()
        if line.startswith("| `")
    ]
    expected = [
        (name, "accepted" if pending.taken else "refused", pending.reason)
        for name, pending in NOT_ACTED_ON.items()
    ]
    assert sorted(listed) == sorted(expected)


WRONG = (
    *(
        "",
        "x",
        "-1",
        "99999999999999999999",
        "1.5",
        "0x10",
        "0-x",
        "99",
        "1-",
        "1:0",
        "yes no",
    ),
    *("\0", "é", "0-999999999999", "1,,2", "NaN", "5-2", "1mb", "65537"),
)


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("name", [*sorted(one.name for one in OWN), "databases"])
def test_a_wrong_value_of_our_own_directives_is_a_line_at_the_start(name: str, value: str) -> None:
    """`worker-cpulist 99` and `0-x` ended in tracebacks: what is accepted has to work."""
    said = ""
    try:
        config = read_command_line([f"--{name}", value])
    except Finished as finished:
        said = finished.text
    if said:
        assert "FATAL CONFIG FILE ERROR" in said
        return
    if name.endswith("cpulist") and config[name]:
        assert parse_cpulist(config[name]) & os.sched_getaffinity(0)


def test_a_redis_server_can_go_on_with_a_file_that_was_rewritten(tmp_path: Path) -> None:
    """`bind` was deleted, `save ""` appended and 0640 became 0644 with Debian's file."""
    path = tmp_path / "redis.conf"
    path.write_text("bind 127.0.0.1 -::1\nport 6390\ndir ./\n")
    path.chmod(0o640)
    config = read_command_line([str(path)])
    config.rewrite()
    text = path.read_text()
    assert "bind 127.0.0.1 -::1\n" in text
    assert "save" not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("line", ["bind 127.0.0.1 -::1", 'save ""'])
def test_our_default_is_written_down_when_somebody_has_chosen_it(tmp_path: Path, line: str) -> None:
    """Else a redis-server would begin with its own: all interfaces, and snapshots."""
    path = tmp_path / "redis.conf"
    path.write_text("port 6390\n")
    config = read_command_line([str(path)])
    config.rewrite()
    assert line not in path.read_text()
    name, _, value = line.partition(" ")
    chosen = read_command_line([str(path), f"--{name}", value.strip('"')])
    chosen.rewrite()
    assert f"{line}\n" in path.read_text()
    path.write_text("port 6390\n")
    change(config, name, value.strip('"'))
    config.rewrite()
    assert f"{line}\n" in path.read_text()


def test_a_group_that_cannot_be_kept_leaves_another_no_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "redis.conf"
    path.write_text("requirepass secret\n")
    path.chmod(0o640)
    asked: list[tuple[int, int]] = []

    def refused(_: int, owner: int, group: int) -> None:
        asked.append((owner, group))
        raise PermissionError

    config = read_command_line([str(path)])
    real = os.stat
    monkeypatch.setattr("router.config.rewriter.os.fchown", refused)
    config.rewrite()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    status = real(path)
    assert asked == [(status.st_uid, status.st_gid), (-1, status.st_gid)]

    def stranger(_: object) -> os.stat_result:
        return os.stat_result([0o100640, 0, 0, 0, 0, status.st_gid + 1, 0, 0, 0, 0])

    monkeypatch.setattr("router.config.rewriter.os.stat", stranger)
    config.rewrite()
    monkeypatch.undo()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_a_file_says_of_saving_stays(tmp_path: Path) -> None:
    path = tmp_path / "redis.conf"
    path.write_text('save ""\n')
    config = read_command_line([str(path)])
    config.rewrite()
    assert 'save ""\n' in path.read_text()


def test_a_shard_begins_with_the_defaults_of_the_directives() -> None:
    """It cannot see the table, which is above it; tests and tools make shards without a file."""
    defaults = {one.name: one.default_value() for one in DIRECTIVES}
    begun, configured = Settings({}), Settings(defaults)
    names = [name for name in vars(begun) if name != "client_output_buffer_limit"]
    held = {name.replace("_", "-") for name in names} & set(defaults)
    assert len(held) >= 9
    assert {name: getattr(begun, name) for name in names} == {
        name: getattr(configured, name) for name in names
    }
    assert begun.reply_bytes_max == configured.reply_bytes_max
