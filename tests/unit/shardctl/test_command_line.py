"""shardctl against a server that a test plays: options, passwords, TLS, exit codes, JSON."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from shardctl.client import Client, ProtocolError, Target
from shardctl.main import main
from tests.support.resp_client import ReplySplitter, parse
from tests.support.servers import free_port
from tests.unit.shardctl.test_figures import info

Answer = Callable[[list[str]], bytes]
NO_AUTH = b"-NOAUTH Authentication required.\r\n"


def bulk(text: str) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text.encode()), text.encode())


class Played:
    """A server on a free port that answers each command as the test says."""

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.commands: list[list[str]] = []
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(10)
            try:
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
                with connection:
                    self._talk(connection)
            except OSError:
                connection.close()

    def _talk(self, connection: socket.socket) -> None:
        splitter = ReplySplitter()
        while data := connection.recv(65536):
            splitter.feed(data)
            while (raw := splitter.take()) is not None:
                words = [one.value.decode() for one in parse(raw).value]
                self.commands.append(words)
                answer = self.answer(words)
                if not answer:
                    return
                connection.sendall(answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@pytest.fixture
def play() -> Iterator[Callable[..., Played]]:
    played: list[Played] = []

    def start(answer: Answer, context: ssl.SSLContext | None = None) -> Played:
        played.append(Played(answer, context))
        return played[-1]

    yield start
    for server in played:
        server.close()


def run(*words: str, port: int | None = None, **environment: str) -> Result:
    where = [] if port is None else ["--port", str(port)]
    known = {"SHARDCTL_PASSWORD": "", "REDISCLI_AUTH": ""}
    return CliRunner().invoke(main, [*words, *where], env={**known, **environment})


def healthy(words: list[str]) -> bytes:
    return bulk(info())


def test_status_ends_with_0_when_all_is_up(play: Callable[..., Played]) -> None:
    result = run("status", "--sample", "0.01", port=play(healthy).port)
    assert result.exit_code == 0, result.output
    assert "shard 1" in result.stdout


def test_status_ends_with_1_when_a_process_is_down(play: Callable[..., Played]) -> None:
    server = play(lambda words: bulk(info(state="down")))
    result = run("status", "--json", "--sample", "0", port=server.port)
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["healthy"], found["shards"][1]["state"]) == (False, "down")
    assert found["shards"][0]["cpu_percent"] is None
    assert {"router", "workers", "slots", "keys"} <= found.keys()


def test_top_prints_a_json_line_for_each_look(play: Callable[..., Played]) -> None:
    counts = iter(range(10, 1000, 10))
    server = play(lambda words: bulk(info(gets=next(counts))))
    result = run("top", "--json", "-n", "2", "-i", "0.1", port=server.port)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["commands"][0]["command"] for line in lines] == ["get", "get"]
    assert lines[0]["shards"][0]["cpu_percent"] == 0.0


def test_top_goes_on_when_the_server_comes_back(play: Callable[..., Played]) -> None:
    answers = iter([bulk(info()), b"", bulk(info()), bulk(info(state="down"))])
    server = play(lambda words: next(answers))
    result = run("top", "--json", "-n", "3", "-i", "0.1", port=server.port)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line.get("exit_code") for line in lines] == [3, None, None]
    assert result.exit_code == 1


def test_top_shows_pictures_in_a_pipe(play: Callable[..., Played]) -> None:
    result = run("top", "-n", "2", "-i", "0.1", port=play(healthy).port)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("worker 0") == 2


def test_config_get_prints_lines_of_a_configuration_file(play: Callable[..., Played]) -> None:
    pairs = b"*4\r\n" + b"".join(map(bulk, ("save", "", "bind", "127.0.0.1 ::1")))
    server = play(lambda words: pairs)
    result = run("config", "get", "save", "bind", port=server.port)
    assert (result.exit_code, result.stdout) == (0, 'bind "127.0.0.1 ::1"\nsave ""\n')
    assert server.commands == [["CONFIG", "GET", "save", "bind"]]
    result = run("config", "get", "*", "--json", port=server.port)
    assert json.loads(result.stdout) == {"bind": "127.0.0.1 ::1", "save": ""}


def test_config_get_of_nothing_ends_with_1(play: Callable[..., Played]) -> None:
    result = run("config", "get", "nosuch", port=play(lambda words: b"*0\r\n").port)
    assert (result.exit_code, result.stdout) == (1, "")


def test_config_set_sends_all_pairs_at_once(play: Callable[..., Played]) -> None:
    server = play(lambda words: b"+OK\r\n")
    result = run("config", "set", "hz", "20", "save", "", port=server.port)
    assert (result.exit_code, result.stdout) == (0, "")
    assert server.commands == [["CONFIG", "SET", "hz", "20", "save", ""]]


def test_what_the_server_refuses_ends_with_4(play: Callable[..., Played]) -> None:
    server = play(lambda words: b"-ERR CONFIG SET failed\r\n")
    result = run("config", "set", "hz", "x", port=server.port)
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == f"127.0.0.1:{server.port}: ERR CONFIG SET failed\n"
    result = run("config", "set", "hz", "x", "--json", port=server.port)
    assert json.loads(result.stdout) == {"error": "ERR CONFIG SET failed", "exit_code": 4}


@pytest.mark.parametrize("command", [["status"], ["top"], ["config", "get", "*"], ["slots"]])
def test_no_server_ends_with_3(command: list[str]) -> None:
    result = run(*command, port=free_port())
    assert (result.exit_code, result.stdout) == (3, "")
    assert "refused" in result.stderr


@pytest.mark.parametrize(
    "answer", [bulk("redis_version:7.2.6\r\n"), b"HTTP/1.1 400 Bad Request\r\n\r\n", b":1\r\n"]
)
def test_another_server_ends_with_3(play: Callable[..., Played], answer: bytes) -> None:
    result = run("status", port=play(lambda words: answer).port)
    assert result.exit_code == 3, result.output


@pytest.mark.parametrize(
    "words",
    [
        *(["config", "set", "hz"], ["config", "get"], ["status", "--port", "0"], ["nosuch"]),
        *(["status", "--insecure"], ["status", "--cacert", "x"], ["top", "-i", "0"]),
    ],
)
def test_a_wrong_command_line_ends_with_2(words: list[str]) -> None:
    assert run(*words).exit_code == 2


@pytest.mark.parametrize(
    ("words", "environment", "auth"),
    [
        (["-a", "secret"], {}, ["AUTH", "secret"]),
        (["--user", "ann", "--password", "secret"], {}, ["AUTH", "ann", "secret"]),
        ([], {"SHARDCTL_PASSWORD": "secret"}, ["AUTH", "secret"]),
        ([], {"REDISCLI_AUTH": "secret"}, ["AUTH", "secret"]),
        (["-a", "mine"], {"SHARDCTL_PASSWORD": "secret"}, ["AUTH", "mine"]),
    ],
)
def test_the_password_goes_first(
    play: Callable[..., Played], words: list[str], environment: dict[str, str], auth: list[str]
) -> None:
    server = play(lambda words: b"+OK\r\n" if words[0] == "AUTH" else bulk(info()))
    result = run("status", "--sample", "0", *words, port=server.port, **environment)
    assert result.exit_code == 0, result.output
    assert server.commands == [auth, ["INFO", "everything"]]


def test_a_wrong_password_ends_with_4_and_is_not_shown(play: Callable[..., Played]) -> None:
    server = play(lambda words: b"-WRONGPASS invalid\r\n" if words[0] == "AUTH" else NO_AUTH)
    result = run("status", "-a", "hidden", port=server.port)
    assert result.exit_code == 4
    assert "hidden" not in result.output
    assert run("status", port=server.port).exit_code == 4


def test_slots_shows_ranges_and_where_keys_live(play: Callable[..., Played]) -> None:
    port = play(healthy).port
    result = run("slots", port=port)
    assert result.exit_code == 0
    assert "8192-16383" in result.stdout
    found = json.loads(run("slots", "foo", "{foo}bar", "--json", port=port).stdout)
    assert [(one["slot"], one["shard"]) for one in found] == [(12182, 1), (12182, 1)]


def test_slots_ends_with_1_when_some_are_not_served(play: Callable[..., Played]) -> None:
    down = play(lambda words: bulk(info(state="down"))).port
    assert run("slots", port=down).exit_code == 1
    assert run("slots", "foo", port=down).exit_code == 1  # its shard is down
    assert run("slots", "bar", port=down).exit_code == 0  # that of another key is up
    partly = info().replace("slots_0-8191:shard=0\r\n", "")
    assert run("slots", port=play(lambda words: bulk(partly)).port).exit_code == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-keyout", folder / "key.pem", "-out", folder / "certificate.pem"),
        ],
        check=True,
        capture_output=True,
    )
    return folder


def test_tls_trusts_only_whom_it_is_told_to(play: Callable[..., Played], certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
    port = play(healthy, context).port
    words = ("status", "--sample", "0", "--tls")
    assert run(*words, "--cacert", str(certificate / "certificate.pem"), port=port).exit_code == 0
    assert run(*words, "--insecure", port=port).exit_code == 0
    result = run(*words, port=port)
    assert result.exit_code == 3
    assert "certificate" in result.stderr
    assert run(*words, "--cacert", str(certificate / "none"), port=port).exit_code == 3


def test_a_unix_socket_is_no_file_system_mystery(tmp_path: Path) -> None:
    result = run("status", "--socket", str(tmp_path / "none"))
    assert result.exit_code == 3
    assert str(tmp_path / "none") in result.stderr


@pytest.mark.parametrize("answer", [b"*1\r\n" * 40, b"$x\r\n", b"+" + b"x" * 70000 + b"\r\n"])
def test_rude_answers_are_no_crash(play: Callable[..., Played], answer: bytes) -> None:
    target = Target(port=play(lambda words: answer).port)
    with Client(target) as client, pytest.raises(ProtocolError):
        client.call("PING")


def test_options_may_come_before_the_subcommand(play: Callable[..., Played]) -> None:
    """As redis-cli has them; those after the subcommand win."""
    port = play(healthy).port
    for words in (
        ("-p", str(port), "status", "--sample", "0"),
        ("-p", "1", "--json", "status", "-p", str(port), "--sample", "0"),
        ("-p", str(port), "slots"),
    ):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
    assert json.loads(CliRunner().invoke(main, ["--json", "-p", str(port), "slots"]).output)


def test_the_group_s_options_win_over_the_environment(play: Callable[..., Played]) -> None:
    port = play(healthy).port
    words = ["-p", str(port), "status", "--sample", "0"]
    assert CliRunner().invoke(main, words, env={"SHARDCTL_PORT": "1"}).exit_code == 0
