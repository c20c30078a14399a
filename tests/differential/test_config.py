"""The configuration against redis-server: CONFIG GET and SET, bad files, options, CONFIG REWRITE.

`Config` is what router processes, so most cases compare it with a redis-server without a server of
ours around it; the last tests do the same over the wire. What nothing acts on yet is refused by us
alone: `pending.py` is emptied for the comparison. With a 7.0 oracle, what 7.2 changed is left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.config import DIRECTIVES, Config, SetError
from router.config.directives import BY_NAME, OWN, Mark
from tests.differential.conftest import is_72
from tests.support.resp_client import RespClient, bulk, parse
from tests.support.servers import ROOT, Oracle, Shardis, uses_stand_in

SECONDS_MAX = 20
OURS = {directive.name for directive in OWN}
ALONE = {
    # What a test's machine or the oracle's connections would suffer from, or what depends on them.
    *("appendonly", "bind", "port", "watchdog-period", "rdb-key-save-delay", "key-load-delay"),
    *("oom-score-adj", "oom-score-adj-values", "locale-collate", "cluster-announce-human-nodename"),
    *("activedefrag", "notify-keyspace-events", "dir", "enable-debug-command"),
    *(directive.name for directive in DIRECTIVES if directive.name.startswith("tls-")),
}
CHANGED_IN_72 = {"loglevel"}  # it has learnt "nothing"
VALUES = (
    *("yes", "NO", "maybe", "", " ", "0", "1", "-1", "+1", " 1", "01", "7", "10", "99", "100"),
    *("101", "500", "501", "-2", "1000", "2000", "1024", "abc", "1.5", "-0", "0x10", "1 2", "1  2"),
    *("1b", "1B", "2k", "2Kb", "3M", "3mb", "4g", "4GB", "5tb", "kb", "1 kb", "1048576", "2097152"),
    *("50%", "0%", "101%", "-5%", "%", "1k%", "5.5%", "2147483647", "2147483648", "4294967295"),
    *("4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551615"),
    *("18446744073709551616", "9" * 30, "17179869184gb", "-2147483648", "-2147483649"),
    *("a/b", "a\\b", "name", "host.example", "a_b", "a" * 255, "a" * 256, "\xff\xfe"),
    *("save", "nosave", "default", "now force", "save nosave", "SAVE NOW", "default save", "force"),
    *("always", "everysec", "allkeys-lru", "local3", "swapdb", "verbose", "clients", "ip"),
    *("relative", "absolute", "panic", "allchannels", "hostname", "systemd", "upstart"),
    *("{title}", "{title} x", "{port}", "{", "{{", "}", "{nosuch}", "{title}{port}", "a{{b"),
    *("3600 1", "3600 1 60 100", "3600 0", "0 1", "60", "60 -1", "60 1 x 2", "60 1 ", "+60 01"),
    *("normal 0 0 0", "replica 1mb 2k 3", "slave 1 1 1 pubsub 2 2 2", "PUBSUB 1 1 1"),
    *("master 1 1 1", "normal 1 1", "normal x 1 1", "normal 1 1 -1", "normal 1 1 1x"),
    *("normal 1 1 4294967295", "normal 1 1 4294967296", "normal 1 1 "),
    *("50", "50 99.9", "100.1", "-0.1", "1e1", "0.0000001", "nan", "inf", "99.99 x", "50.5000"),
    *("no one", "127.0.0.1 6379", "h 70000", "h x"),
)  # fmt: skip
EVENTS = ("A", "AKE", "KEA", "g$", "gn", "An", "Am", "g$lshzxetd", "n", "m", "Kn", "q", "KEgg", "")


def reply_of(config: Config, *words: str) -> bytes:
    """What our CONFIG SET would answer; it changes `config` as the command does."""
    texts = [word.encode("utf-8", "surrogateescape") for word in words]
    try:
        config.commit(config.prepare(list(zip(texts[::2], texts[1::2], strict=True))))
    except SetError as error:
        return b"-%s\r\n" % str(error).encode("utf-8", "surrogateescape")
    return b"+OK\r\n"


@pytest.fixture
def alone() -> Iterator[Oracle]:
    """A redis-server for one test, whose configuration it may spoil."""
    server = Oracle()
    server.start()
    yield server
    server.kill()


@pytest.fixture
def all_acted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept every value, as if everything was built."""
    monkeypatch.setattr("router.config.values.NOT_ACTED_ON", {})


def shown_by(client: RespClient, pattern: str) -> dict[bytes, bytes]:
    return dict(pairs_of(client.call("CONFIG", "GET", pattern)))


def pairs_of(reply: bytes) -> list[tuple[bytes, bytes]]:
    """The names and values of a reply to CONFIG GET, in the order of the names."""
    children = parse(reply).value
    assert isinstance(children, list), reply
    words = [child.value for child in children]
    return sorted(zip(words[::2], words[1::2], strict=True))


def test_config_get_lists_the_same_names_with_the_same_defaults() -> None:
    oracle = Oracle()  # of its own: other tests change settings
    oracle.start()
    try:
        with oracle.client() as client:
            theirs = shown_by(client, "*")
        oracle_is_72 = is_72(oracle)
    finally:
        oracle.stop()
    ours = {k: v for k, v in Config().matching([b"*"]).items() if k.decode() not in OURS}
    if oracle_is_72:
        assert sorted(ours) == sorted(theirs)
    for name in (b"port", b"dir", b"enable-debug-command"):  # the oracle has its own
        del theirs[name], ours[name]
    for directive in DIRECTIVES:
        if Mark.OUR_DEFAULT in directive.marks:
            del theirs[directive.name.encode()], ours[directive.name.encode()]
    both = ours.keys() & theirs.keys()
    assert {k: ours[k] for k in both} == {k: theirs[k] for k in both}


def test_hidden_directives_are_shown_by_their_name_only(oracle: Oracle) -> None:
    for directive in DIRECTIVES:
        if Mark.HIDDEN in directive.marks:
            assert directive.name.encode() not in Config().matching(
                [directive.name.encode() + b"*"]
            )
            assert directive.name.encode() in Config().matching([directive.name.encode()])
    with oracle.client() as client:
        assert shown_by(client, "watchdog-period*") == {}
        assert shown_by(client, "watchdog-period") == {b"watchdog-period": b"0"}


@pytest.mark.usefixtures("all_acted_on")
def test_config_set_answers_the_same_for_every_directive_and_value(alone: Oracle) -> None:
    differences = []
    config = Config()
    exact = is_72(alone)
    with alone.client() as client:
        for name, directive in BY_NAME.items():
            if directive.name in ALONE or name in OURS:
                continue
            if not exact and (name in CHANGED_IN_72 or not shown_by(client, name)):
                continue
            values = [*VALUES]
            if directive.name == "maxclients":  # the limit of open files has the last word
                values = [value for value in values if not value.isdigit() or int(value) <= 1000]
            for value in values:
                raw = value.encode("latin-1") if "\xff" in value else value.encode()
                text = raw.decode("utf-8", "surrogateescape")
                # Not more than these two at once: some values limit what may wait to be sent.
                pair = client.pipeline([("CONFIG", "SET", name, raw), ("CONFIG", "GET", name)])
                theirs = b"".join(pair)
                ours = reply_of(config, name, text)
                ours += (
                    b"*2\r\n"
                    + bulk(name.encode())
                    + bulk(config.show(name).encode("utf-8", "surrogateescape"))
                )
                if theirs != ours:
                    differences.append((name, value, theirs, ours))
    assert differences == [], "\n".join(map(repr, differences))


@pytest.mark.usefixtures("all_acted_on")
def test_keyspace_event_letters_are_printed_alike(alone: Oracle) -> None:
    config = Config()
    with alone.client() as client:
        for value in EVENTS:
            theirs = client.call("CONFIG", "SET", "notify-keyspace-events", value)
            assert reply_of(config, "notify-keyspace-events", value) == theirs, value
            theirs = client.call("CONFIG", "GET", "notify-keyspace-events")
            assert bulk(config.show("notify-keyspace-events").encode()) in theirs, value


SETS = [
    ("hz", "1", "nosuch", "1"),
    ("nosuch", "1", "databases", "5"),
    ("databases", "5", "nosuch", "1"),
    ("hz", "20", "databases", "5"),
    ("hz", "20", "HZ", "30"),
    ("HZ", "20", "timeout", "x"),
    ("slave-priority", "1", "replica-priority", "2"),
    ("slave-priority", "x"),
    ("SLAVE-PRIORITY", "x"),
    ("Slave-Priority", "3", "slave-priority", "4"),
    ("hz", "900", "timeout", "7"),
    ("hz", "0"),
    ("dir", "/"),
    ("dbfilename", "x"),
    ("DbFileName", "a/b"),
    ("timeout", "8", "tcp-keepalive", "9", "maxmemory", "x"),
    ("save", "60 1", "save", "60 1"),
    ("slaveof", "a 1"),
    ("include", "x"),
    ("user", "x"),
    ("", ""),
]


@pytest.mark.usefixtures("all_acted_on")
def test_several_pairs_are_set_together_or_not_at_all(alone: Oracle) -> None:
    config = Config()
    shown = ["hz", "timeout", "replica-priority", "tcp-keepalive", "maxmemory", "save"]
    with alone.client() as client:
        for words in SETS:
            before = config.snapshot()
            theirs = client.call("CONFIG", "SET", *words)
            ours = reply_of(config, *words)
            assert ours == theirs, words
            assert ours == b"+OK\r\n" or config.snapshot() == before
            for name in shown:
                theirs = client.call("CONFIG", "GET", name)
                assert bulk(config.show(name).encode()) in theirs, (words, name)


LINES = [
    *("port", "port abc", "port 1 2", "port 70000", "PORT x", 'port ""', "port -1"),
    *("nosuch", "nosuch 1", "include", "include a b", "rename-command a", "user", "loadmodule"),
    *('dir "a', "dir 'a'b", 'dir "a"b', "dir /nosuch", "dir /etc/passwd", 'dir ""', "dir a b"),
    *("hz 1 # comment", "hz\t10", "\thz  10 ", "hz '10'", 'hz "1\\x30"', 'h"z" 10', '"hz" 10'),
    *('hz "10', "hz 10'", "hz \v10", "hz 10\v", "hz 1\x000 2", "#hz x", "  # hz x", '""', "''"),
    *("save", "save 60", "save 60 1 x", 'save ""', 'save "60 1"', "save '60 1 2'", "save 0 1"),
    *("bind", 'bind ""', "bind a b c", "bind " + "a " * 17, "bind " + "a " * 16),
    *("replicaof", "replicaof a", "replicaof a b", "replicaof a 70000", "replicaof no one"),
    *("slaveof a -1", "replicaof a 1 2", "client-output-buffer-limit", "appendonly maybe"),
    *("client-output-buffer-limit normal 0 0", "client-output-buffer-limit normal 0 0 0"),
    *('client-output-buffer-limit "normal 0 0 0"', "client-output-buffer-limit x 0 0 0"),
    *("oom-score-adj-values", "oom-score-adj-values 1 2", "oom-score-adj-values 1 2 3000"),
    *("shutdown-on-sigterm", 'shutdown-on-sigterm ""', "shutdown-on-sigint save nosave"),
    *("latency-tracking-info-percentiles", "latency-tracking-info-percentiles 101"),
    *("latency-tracking-info-percentiles x", "list-max-ziplist-entries 5", "lua-time-limit x"),
    *("list-max-ziplist-entries", "lua-replicate-commands yes", "lua-replicate-commands a b"),
    *("sentinel", "sentinel monitor x", "my.module", "unixsocketperm 8", "unixsocketperm 1000"),
    *("unixsocketperm 7 7", "maxmemory 1tb", "maxmemory-clients 101%", "appendfilename a/b"),
    *('appendfilename ""', "appenddirname a\\b", "logfile /nosuch/log", "loglevel", "loglevel x"),
    *("include /nosuch", "include /nosuch*", "enable-debug-command maybe", "databases 0"),
    *("proc-title-template {x}", "supervised maybe", "syslog-facility x", "tls-port x"),
    *("notify-keyspace-events q", "dbfilename a/b", "io-threads 129", "hz 10 10", "\xe9 1"),
]  # fmt: skip
STOP = "hz stop"


def run(command: list[str], directory: Path, text: bytes = b"") -> tuple[int, list[str], list[str]]:
    """The exit code and the lines of both outputs."""
    done = subprocess.run(
        command,
        cwd=directory,
        input=text,
        capture_output=True,
        timeout=SECONDS_MAX,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    lines = done.stdout.decode(errors="replace").splitlines()
    # Only what ends the start: a redis-server complains about its machine, too.
    fatal = [line.partition(" # ")[2] for line in lines if "Fatal error" in line]
    return done.returncode, fatal, _without_version(done.stderr.decode(errors="replace"))


def _without_version(text: str) -> list[str]:
    return [
        "FATAL" if line.startswith("*** FATAL CONFIG FILE ERROR (Redis ") else line
        for line in text.splitlines()
    ]


def loaded(
    text: str, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, list[str], list[str]]:
    """What our command line answers to a file of this text, in this process."""
    from router.command_line import Finished, read_command_line

    path = Path("test.conf")
    path.write_bytes(text.encode())
    here = os.getcwd()
    try:
        read_command_line([str(path), *options])
    except Finished as finished:
        code = finished.show()
    else:
        code = 0
    finally:
        os.chdir(here)
    shown = capsys.readouterr()
    fatal = [line.partition(" # ")[2] for line in shown.out.splitlines() if "Fatal error" in line]
    return code, fatal, _without_version(shown.err)


@pytest.mark.usefixtures("all_acted_on")
def test_bad_lines_have_the_same_errors(
    oracle: Oracle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A line that is good is followed by one that is not: no server ever starts.
    monkeypatch.chdir(tmp_path)
    differences = []
    for line in LINES:
        text = f"# a comment\n\n{line}\n{STOP}\n"
        ours = loaded(text, capsys)
        theirs = run([oracle.binary, "test.conf"], tmp_path)
        if ours != theirs:
            differences.append((line, theirs, ours))
    if not is_72(oracle):
        differences = [each for each in differences if each[0].split()[0] not in CHANGED_IN_72]
    assert differences == []


@pytest.mark.usefixtures("all_acted_on")
def test_included_files_count_their_own_lines(
    oracle: Oracle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.inc").write_text("hz 20\n\ninclude b.inc\n")
    (tmp_path / "b.inc").write_text("# nothing")
    (tmp_path / "part1.conf").write_text("hz 30\n")
    (tmp_path / "part2.conf").write_text("timeout 1\nhz x\n")
    (tmp_path / "sub").mkdir()
    for text in (
        f"include a.inc\n{STOP}",
        "timeout 1\ninclude part*.conf\nhz 1",
        f"include nothing*.conf\n{STOP}",
        f'include "a.inc"\ninclude {tmp_path}/part?.conf',
        "dir sub\ninclude a.inc\n",
        f"dir sub\ninclude ../a.inc\n{STOP}",
        "include a.inc\ninclude nosuch.inc",
        "logfile /nosuch/x\n",
        "cluster-enabled yes\nreplicaof a 1\n",
    ):
        ours, theirs = loaded(text, capsys), run([oracle.binary, "test.conf"], tmp_path)
        assert ours == theirs, text


OPTIONS: list[list[str]] = [
    ["--port"],
    ["--port", "x"],
    ["--port", "--hz", "10"],
    ["--nosuch", "1"],
    ["--port 70000"],
    ["--port ", "70000"],
    ["--hz 10", "20"],
    ["--save", "--port", "x"],
    ["--SAVE", "--port", "x"],
    ["--save", "", "--port", "x"],
    ["--save", "60", "1", "--port", "x"],
    ["--save", "60 1", "--port", "x"],
    ["--save", "60"],
    ["--port", "x", "--save"],
    ["--", "x"],
    ["---port", "1"],
    ["-x"],
    ["x"],
    ["--hz", "-", "10"],
    ["--dir", 'a"b'],
    ["--dir", "a b", "--port", "x"],
    ["--port", "1\n2"],
    ["--bind", "a", "b", "--hz", '"'],
    ["--hz", "-1"],
    ["--hz", "--x"],
    ["--appendfsync", "--"],
]


@pytest.mark.usefixtures("all_acted_on")
def test_options_become_the_same_lines(
    oracle: Oracle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for options in OPTIONS:
        # A good option leads to the last one, which is not.
        words = [*options, "--tcp-keepalive", "stop"]
        for text in ("", "hz 10", "hz 10\n"):
            ours = loaded(text, capsys, *words)
            theirs = run([oracle.binary, "test.conf", *words], tmp_path)
            assert ours == theirs, (options, text)


def ours(*words: str) -> list[str]:
    return [sys.executable, "-m", "router.main", *words]


@pytest.mark.skipif(uses_stand_in(), reason="about our own command line")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-"], b"hz 10\nport x"),
        (["-", "--port", "x"], b"hz 10\n"),
        (["--hz", "5", "-"], b"port x"),
        (["/nosuch/file"], b""),
        (["--test-memory"], b""),
    ],
)
def test_the_program_itself_ends_as_redis_server(
    oracle: Oracle, tmp_path: Path, words: list[str], text: bytes
) -> None:
    code, fatal, error = run(ours(*words), tmp_path, text)
    theirs = run([oracle.binary, *words], tmp_path, text)
    assert (code, fatal) == theirs[:2]
    if "--test-memory" not in words:
        assert error == theirs[2]


FILES = [
    "",
    "hz 10\n",
    "# a comment\n\n\n\nhz 20\n   # another\ntimeout 5\n\n\ntimeout 6\n",
    "slave-priority 7\nreplica-priority 8\nLUA-TIME-LIMIT 5\n",
    "save 60 1\nsave 70 2\n\nsave 80 3\n",
    "save 60 1 70 2",
    "client-output-buffer-limit pubsub 1gb 3000 5\nmaxmemory-clients 10%\nmaxmemory 1536mb\n",
    "lua-replicate-commands yes\nlist-max-ziplist-entries 512\nhz 11\n",
    "# Generated by CONFIG REWRITE\nhz 12\n",
    "hz 10\nhz 10\nhz 10\nmaxclients 100\n",
    "include {directory}/other.inc\nhz 13\n",
    "notify-keyspace-events KEA\nlatency-tracking-info-percentiles 50 99.99\n",
    'syslog-ident "a\\"b\\xff c"\nunixsocketperm 700\nproc-title-template "x {port}"\n',
    "shutdown-on-sigint nosave now\noom-score-adj-values 1 2 3\npidfile ''\n",
    "acllog-max-len 9\nloglevel VERBOSE\n  hz    33  \nmin-slaves-to-write 0\n",
]
CHANGES = {
    *(("timeout", "9"), ("maxmemory-samples", "5"), ("save", ""), ("save", "5 6 7 8")),
    *(("requirepass", ""), ("syslog-ident", "x"), ("client-query-buffer-limit", "5mb")),
}
# Written by redis-server alone, or only for the start of the test.
THEIRS_ONLY = ("user ", "enable-debug-command ", "bind ", "port ", "dir ", "save 3600")


@pytest.mark.usefixtures("all_acted_on")
def test_config_rewrite_keeps_the_same_lines_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, text in enumerate(FILES):
        for change in (None, *sorted(CHANGES)) if number in (0, 2, 4) else (None,):
            directory = tmp_path / f"{number}{change}"
            directory.mkdir()
            monkeypatch.chdir(directory)
            (directory / "other.inc").write_text("timeout 3\n")
            theirs_path, ours_path = directory / "theirs.conf", directory / "ours.conf"
            text = text.replace("{directory}", str(directory))
            head = 'enable-debug-command yes\nsave ""\n'
            theirs_path.write_bytes(f"{head}{text}".encode("latin-1"))
            ours_path.write_bytes(f"{head}{text}".encode("latin-1"))
            config = Config(file=str(ours_path))
            config.load(ours_path.read_bytes().decode("utf-8", "surrogateescape"))
            oracle = OracleWithFile(theirs_path)
            try:
                oracle.start()
                with oracle.client() as client:
                    for _ in range(2):
                        if change is not None and client.call("CONFIG", "SET", *change)[:1] == b"+":
                            assert reply_of(config, *change) == b"+OK\r\n"
                        assert client.call("CONFIG", "REWRITE") == b"+OK\r\n"
                        config.rewrite()
                        assert comparable(ours_path) == comparable(theirs_path), (text, change)
            finally:
                oracle.kill()


class OracleWithFile(Oracle):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def command(self) -> list[str]:
        options = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.path.parent))
        return [self.binary, str(self.path), *options]


def comparable(path: Path) -> tuple[list[bytes], list[bytes]]:
    """The lines up to the mark as they are; those after it sorted, for Redis hashes them."""
    lines = [
        line
        for line in path.read_bytes().split(b"\n")
        if not line.startswith(tuple(word.encode() for word in THEIRS_ONLY))
    ]
    mark = b"# Generated by CONFIG REWRITE"
    at = lines.index(mark) if mark in lines else len(lines)
    return lines[:at], sorted(lines[at:])


def test_the_command_itself_answers_alike(
    oracle: Oracle, own_server: Callable[..., Shardis]
) -> None:
    server = own_server()
    with server.client() as ours, oracle.client() as theirs:
        for words in (
            ["GET"],
            ["GET", "nosuch"],
            ["GET", "MaxClients", "maxclients", "hz"],
            ["GET", "*max-bulk*"],
            ["SET"],
            ["SET", "hz"],
            ["SET", "hz", "10", "timeout"],
            ["SET", "hz", "x"],
            ["SET", "nosuch", "x"],
            ["SET", "databases", "1"],
            ["SET", "dir", "/"],
            ["SET", "hz", "10", "timeout", "0"],
            ["RESETSTAT"],
            ["RESETSTAT", "x"],
            ["REWRITE"],
            ["REWRITE", "x"],
            ["NOSUCH"],
        ):
            one, other = (client.call("CONFIG", *words) for client in (ours, theirs))
            if one.startswith(b"*") and other.startswith(b"*"):
                assert pairs_of(one) == pairs_of(other)
            else:
                assert one == other, words
