"""What an operator sees of a server: its log, pid file, supervisor, titles, signals and its end.

The workers and shards are small ones (fakes.py): all of this is the router's.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.fake_server import FAKES, PATIENCE_SECONDS, Server, alive, eventually

READY = "Ready to accept connections tcp"
LINE = re.compile(r"\d+:[MC] \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d\.\d{3} [.*#-] .+")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory with a short name: a unix socket's path has room for 107 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        yield Path(path)


Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server and wait until it is ready; options as on the command line."""
    running: list[Server] = []

    def begin(
        *options: str, ready: bool = True, environment: dict[str, str] | None = None
    ) -> Server:
        server = Server(tmp_path, *options, environment=environment)
        running.append(server)
        if ready:
            eventually(lambda: READY in server.text())
        return server

    yield begin
    for server in running:
        server.process.kill()
        server.process.wait()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Server]:
    """A daemon with a log and a pid file; the process that was started has ended."""
    log, pidfile = tmp_path / "server.log", tmp_path / "server.pid"
    words = ["--daemonize", "yes", "--logfile", str(log), "--pidfile", str(pidfile)]
    server = Server(tmp_path, *words)
    try:
        assert server.process.wait(PATIENCE_SECONDS) == 0
        eventually(lambda: READY in log.read_text())
        yield server
    finally:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(pidfile.read_text()), signal.SIGKILL)


def stop(server: Server) -> int:
    server.process.terminate()
    return server.process.wait(PATIENCE_SECONDS)


def all_pids(server: Server) -> list[int]:
    return [*server.pids("shard"), *server.pids("worker")]


# The log


def test_the_log_has_the_lines_that_operators_and_test_suites_wait_for(start: Start) -> None:
    server = start()
    assert stop(server) == 0
    lines = server.text().splitlines()
    assert all(LINE.fullmatch(line) for line in lines), lines
    text = server.text()
    for wanted in (
        *("is starting", f"pid={server.process.pid}", "Configuration loaded", "Running mode="),
        *("Server initialized", READY, "Received SIGTERM scheduling shutdown"),
        *("User requested shutdown", "ready to exit, bye bye"),
    ):
        assert text.count(wanted) == 1, wanted
        text = text[text.index(wanted) :]
    assert {line.split(" ")[0] for line in lines} == {f"{server.process.pid}:M"}


def test_a_logo_names_the_pid_in_front_of_server_initialized(start: Start) -> None:
    server = start("--always-show-logo", "yes")
    assert re.search(rf" PID: {server.process.pid}\n.*Server initialized", server.text(), re.S)


def test_a_renamed_log_file_is_begun_anew_without_a_signal(start: Start, tmp_path: Path) -> None:
    log, old = tmp_path / "server.log", tmp_path / "server.log.1"
    server = start("--logfile", str(log), ready=False)
    eventually(lambda: READY in log.read_text())
    log.rename(old)
    os.kill(server.pids("shard")[0], signal.SIGKILL)
    eventually(lambda: "shard 0 ended" in log.read_text())
    assert "shard 0 ended" not in old.read_text()
    assert server.text() == ""


def test_the_loglevel_holds_from_the_first_line(start: Start) -> None:
    server = start("--loglevel", "warning", ready=False)
    eventually(lambda: server.ask("admin INFO server"))
    assert stop(server) == 0
    assert all(" # " in line for line in server.text().splitlines())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--logfile", "/nonexistent/log"], "Can't open the log file: No such file or directory"),
        (["--dir", "/nonexistent"], ">>> 'dir \"/nonexistent\"'\nNo such file or directory"),
    ],
)
def test_a_place_that_cannot_be_used_stops_the_start(options: list[str], reason: str) -> None:
    for more in ([], ["--daemonize", "yes"]):
        done = subprocess.run(
            [sys.executable, str(FAKES), *options, *more],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.startswith("\n*** FATAL CONFIG FILE ERROR (Redis 7.2")
        assert done.stderr.endswith(reason + "\n")


def test_relative_paths_are_meant_from_dir(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    options = ["--dir", str(tmp_path / "data"), "--logfile", "a.log", "--pidfile", "a.pid"]
    server = start(*options, ready=False)
    eventually(lambda: READY in (tmp_path / "data" / "a.log").read_text())
    assert (tmp_path / "data" / "a.pid").read_text() == f"{server.process.pid}\n"


@pytest.mark.parametrize("role", ["shard", "worker"])
def test_a_crash_leaves_its_stack_in_the_log(start: Start, tmp_path: Path, role: str) -> None:
    log = tmp_path / "server.log"
    server = start("--logfile", str(log), ready=False)
    eventually(lambda: READY in log.read_text())
    os.kill(server.pids(role)[0], signal.SIGSEGV)
    eventually(lambda: f"{role} 0 ended" in log.read_text())
    assert "shardis crashed by signal: 11\nFatal Python error: Segmentation" in log.read_text()
    assert "killed by signal 11" in log.read_text()


def test_a_crash_of_the_router_leaves_its_stack_unless_switched_off(start: Start) -> None:
    for setting, found in (("yes", True), ("no", False)):
        server = start("--crash-log-enabled", setting)
        children = all_pids(server)
        server.process.send_signal(signal.SIGABRT)
        assert server.process.wait(PATIENCE_SECONDS) == -signal.SIGABRT
        assert ("Fatal Python error: Aborted" in server.text()) is found
        eventually(lambda children=children: not any(map(alive, children)), seconds=2)


# The pid file and the daemon


def test_the_pid_file_is_there_as_long_as_the_server(start: Start, tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    server = start("--pidfile", str(pidfile))
    assert pidfile.read_text() == f"{server.process.pid}\n"
    assert stop(server) == 0
    assert not pidfile.exists()
    assert "Removing the pid file." in server.text()


def test_a_server_goes_on_without_its_pid_file(start: Start) -> None:
    server = start("--pidfile", "/nonexistent/pid")
    assert "# Failed to write PID file: No such file or directory" in server.text()
    assert stop(server) == 0


def test_a_second_server_on_the_port_leaves_the_pid_file_alone(
    start: Start, tmp_path: Path
) -> None:
    pidfile = tmp_path / "pid"
    first = start("--pidfile", str(pidfile))
    words = ["--port", str(first.port), "--bind", "127.0.0.1", "--pidfile", str(pidfile)]
    second = subprocess.run(
        [sys.executable, str(FAKES), *words], capture_output=True, timeout=10, check=False
    )
    assert second.returncode == 1
    assert pidfile.read_text() == f"{first.process.pid}\n"


def test_a_daemon_is_told_from_its_parent_and_ends_in_order(daemon: Server) -> None:
    pidfile = daemon.directory / "server.pid"
    pid = int(pidfile.read_text())
    assert pid != daemon.process.pid
    one = processes.process(pid)
    assert one is not None
    assert one.session != os.getsid(0)
    members = processes.tree(pid)
    assert set(all_pids(daemon)) < set(members)
    lines = (daemon.directory / "server.log").read_text().splitlines()
    assert {line.split(" ")[0] for line in lines} == {f"{pid}:M"}
    os.kill(pid, signal.SIGTERM)
    assert processes.wait_gone(members, PATIENCE_SECONDS) == []
    assert not pidfile.exists()
    assert daemon.text() == ""


def test_no_process_outlives_a_killed_daemon(daemon: Server) -> None:
    pid = int((daemon.directory / "server.pid").read_text())
    members = processes.tree(pid)
    assert len(members) == 5
    os.kill(pid, signal.SIGKILL)
    assert processes.wait_gone(members, 2.0) == []


def test_a_daemon_replaces_its_killed_children_and_leaves_none_behind(daemon: Server) -> None:
    pid = int((daemon.directory / "server.pid").read_text())
    before = {*all_pids(daemon)}
    for victim in before:
        os.kill(victim, signal.SIGKILL)
    eventually(lambda: len({*all_pids(daemon)} - before) == 4)
    assert len(processes.tree(pid)) == 5
    os.kill(pid, signal.SIGKILL)
    assert processes.wait_gone(processes.tree(pid), 2.0) == []


# Supervisors


def test_systemd_is_told_of_the_start_and_the_end(start: Start, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(PATIENCE_SECONDS)
        # Supervised, a server does not leave its supervisor by becoming a daemon.
        options = ["--supervised", "auto", "--daemonize", "yes"]
        server = start(*options, environment={"NOTIFY_SOCKET": path})
        assert systemd.recv(1000).startswith(b"STATUS=")
        assert systemd.recv(1000) == b"STATUS=Ready to accept connections\nREADY=1\n"
        assert server.process.poll() is None
        server.process.terminate()
        assert systemd.recv(1000) == b"STOPPING=1\n"
        assert server.process.wait(PATIENCE_SECONDS) == 0


def test_a_missing_supervisor_is_only_a_warning(start: Start) -> None:
    clean = {"NOTIFY_SOCKET": "", "UPSTART_JOB": ""}
    assert "NOTIFY_SOCKET not found!" in start("--supervised", "systemd", environment=clean).text()
    assert "UPSTART_JOB not found!" in start("--supervised", "upstart", environment=clean).text()


def test_upstart_sees_it_stop_and_lets_it_go_on(start: Start) -> None:
    environment = {"UPSTART_JOB": "shardis"}
    server = start("--supervised", "upstart", ready=False, environment=environment)
    pid = server.process.pid
    eventually(lambda: (one := processes.process(pid)) is not None and one.state == "T")
    server.process.send_signal(signal.SIGCONT)
    eventually(lambda: READY in server.text())


# Names


def test_ps_tells_what_each_process_is(start: Start) -> None:
    server = start()
    address = f"127.0.0.1:{server.port}"
    pid = server.process.pid
    assert processes.command_line(pid) == f"{FAKES} {address}"
    assert {processes.command_line(pid) for pid in server.pids("shard")} == {
        f"{FAKES}: shard {index} {address}" for index in (0, 1)
    }
    assert {processes.command_line(pid) for pid in server.pids("worker")} == {
        f"{FAKES}: worker {index} {address}" for index in (0, 1)
    }
    names = {one.name for pid in (pid, *all_pids(server)) if (one := processes.process(pid))}
    assert names == {"shardis-server", "shardis-s0", "shardis-s1", "shardis-w0", "shardis-w1"}


def test_the_title_follows_its_template(start: Start) -> None:
    template = "mine {title} {listen-addr} {port} {unixsocket} {config-file} {{x} {server-mode}"
    server = start("--proc-title-template", template)
    shown = f"mine {FAKES} 127.0.0.1:{server.port} {server.port}  - {{x}}"
    assert processes.command_line(server.process.pid) == shown
    assert server.ask("admin CONFIG SET proc-title-template short-{port}") == b"+OK\r\n"
    assert processes.command_line(server.process.pid) == f"short-{server.port}"
    assert server.ask("admin CONFIG SET proc-title-template {nosuch}") == (
        b"-ERR CONFIG SET failed (possibly related to argument 'proc-title-template') - "
        b"template format is invalid or contains unknown variables\r\n"
    )


def test_titles_are_left_alone_when_asked_to(start: Start) -> None:
    server = start("--set-proc-title", "no")
    for pid in (server.process.pid, *all_pids(server)):
        assert "--set-proc-title no" in processes.command_line(pid)


# Memory


def scores(server: Server) -> set[int]:
    pids = (server.process.pid, *all_pids(server))
    return {int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in pids}


def test_oom_scores_are_those_of_a_master_in_all_processes(start: Start) -> None:
    base = int(Path("/proc/self/oom_score_adj").read_text())
    server = start()
    assert scores(server) == {base}
    assert server.ask("admin CONFIG SET oom-score-adj relative") == b"+OK\r\n"
    assert scores(server) == {base}
    for value, score in ((40, base + 40), (60, base + 60)):
        # One bulk string with spaces in it: a RESP command, which fakes understand too.
        numbers = f"{value} 200 800"
        request = ["CONFIG", "SET", "oom-score-adj-values", numbers]
        with socket.create_connection(("127.0.0.1", server.port), 5) as client:
            words = "".join(f"${len(word)}\r\n{word}\r\n" for word in request)
            client.sendall(f"*{len(request)}\r\n{words}".encode())
            assert client.recv(100) == b"+OK\r\n"
        assert scores(server) == {score}
    os.kill(server.pids("shard")[0], signal.SIGKILL)
    eventually(lambda: len(all_pids(server)) == 4 and scores(server) == {base + 60})
    assert server.ask("admin CONFIG SET oom-score-adj absolute") == b"+OK\r\n"
    assert scores(server) == {60}
    assert server.ask("admin CONFIG SET oom-score-adj no") == b"+OK\r\n"
    assert scores(server) == {base}


# The end


def test_a_second_sigint_ends_it_at_once(start: Start) -> None:
    server = start()
    children = all_pids(server)
    os.kill(children[0], signal.SIGSTOP)
    server.process.send_signal(signal.SIGINT)
    eventually(lambda: "Received SIGINT" in server.text())
    server.process.send_signal(signal.SIGTERM)  # does not insist
    time.sleep(0.1)
    assert server.process.poll() is None
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(PATIENCE_SECONDS) == 1
    assert "You insist" in server.text()
    eventually(lambda: not any(map(alive, children)), seconds=2)


def test_a_signal_during_the_start_ends_it_in_order_too(start: Start, tmp_path: Path) -> None:
    for number, name in ((signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "SIGINT")):
        server = start("--pidfile", str(tmp_path / "pid"), ready=False)
        eventually(lambda server=server: "is starting" in server.text())
        server.process.send_signal(number)
        assert server.process.wait(PATIENCE_SECONDS) == 0
        assert f"Received {name}" in server.text()
        assert not (tmp_path / "pid").exists()


def test_what_should_save_does_not_end_unless_forced(start: Start) -> None:
    server = start("--shutdown-on-sigterm", "save")
    server.process.terminate()
    eventually(lambda: "Errors trying to shut down the server" in server.text())
    refused = b"-ERR Errors trying to SHUTDOWN. Check logs.\r\n"
    assert server.ask("admin SHUTDOWN SAVE") == refused
    assert server.ask("admin SHUTDOWN save now") == refused
    assert server.process.poll() is None
    assert server.ask("admin CONFIG SET shutdown-on-sigterm force") == b"+OK\r\n"
    assert stop(server) == 0


@pytest.mark.parametrize("words", ["NOSAVE", "SAVE FORCE", "NOW", ""])
def test_shutdown_has_no_reply(start: Start, words: str) -> None:
    server = start()
    assert server.ask(f"admin SHUTDOWN {words}") == b""
    assert server.process.wait(PATIENCE_SECONDS) == 0


def test_now_does_not_wait_for_what_is_under_way(start: Start) -> None:
    server = start()
    os.kill(server.pids("shard")[0], signal.SIGSTOP)
    begun = time.monotonic()
    assert server.ask("admin SHUTDOWN NOW") == b""
    assert server.process.wait(PATIENCE_SECONDS) == 0
    assert time.monotonic() - begun < 3  # shutdown-timeout is 10


def test_nothing_is_left_of_an_unwritable_log(start: Start, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    server = start("--logfile", str(tmp_path / "logs" / "log"), ready=False)
    eventually(lambda: READY in (tmp_path / "logs" / "log").read_text())
    shutil.rmtree(tmp_path / "logs")
    assert server.ask("admin INFO server")
    assert stop(server) == 0
