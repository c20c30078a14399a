"""Where the server listens: at start, and by CONFIG SET while clients are connected."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.support import processes
from tests.support.resp_client import RespClient
from tests.support.servers import ROOT, Oracle, Shardis, free_port

pytestmark = pytest.mark.usefixtures("ours_only")
PONG = b"+PONG\r\n"
OK = b"+OK\r\n"


def answers(port: int, host: str = "127.0.0.1") -> bool:
    try:
        with RespClient(port, host=host, timeout=5.0) as client:
            return client.call("PING") == PONG
    except OSError:
        return False


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def other_address() -> str:
    """An address of this machine that is no loopback address, or an empty string."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            return ""
        address: str = probe.getsockname()[0]
    return "" if address.startswith("127.") else address


def run_to_end(*options: str) -> tuple[int, str]:
    """The exit code and the log of a server that cannot start."""
    done = subprocess.run(
        [sys.executable, "-m", "router.main", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stdout + done.stderr


def without_prefix(log: str) -> list[str]:
    return [line.partition(" # ")[2] for line in log.splitlines() if " # " in line]


def test_a_port_in_use_is_told_as_by_redis(oracle: Oracle) -> None:
    port = str(oracle.port)
    code, log = run_to_end("--port", port, "--bind", "127.0.0.1")
    expected = subprocess.run(
        [oracle.binary, "--port", port, "--bind", "127.0.0.1"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert code == expected.returncode == 1
    # 7.2 writes the kind of connection in lower case, older ones did not.
    told = [line.lower() for line in without_prefix(expected.stdout) if port in line]
    assert len(told) == 2
    assert [line.lower() for line in without_prefix(log) if port in line] == told


def test_nowhere_to_listen_is_no_server() -> None:
    for options in (("--port", "0"), ("--bind", "")):
        code, log = run_to_end(*options)
        assert code == 1
        assert "Configured to not listen anywhere, exiting." in log


def test_a_backlog_beyond_the_kernels_is_warned_of() -> None:
    code, log = run_to_end("--port", "0", "--tcp-backlog", "2000000000")
    assert code == 1
    assert "The TCP backlog setting of 2000000000 cannot be enforced" in log


def test_more_clients_than_files_are_cut_down_at_start() -> None:
    # As nobody: root may raise the limit.
    script = (
        "import os, resource, sys; from router.main import main;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (500, 500));"
        "os.getuid() or os.setuid(65534); sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--port", "0", "--shards", "2", "--io-workers", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    log = done.stdout + done.stderr
    assert "You requested maxclients of 10000 requiring at least" in log
    assert "maxclients has been reduced to 426 to compensate for low ulimit" in log


def test_several_addresses_and_missing_optional_ones(own_server: Callable[..., Shardis]) -> None:
    server = own_server(extra=("--bind", "127.0.0.1", "-192.0.2.77", "127.0.0.2", "-::1"))
    assert answers(server.port)
    assert answers(server.port, "127.0.0.2")
    assert answers(server.port, "::1") == has_ipv6()
    assert (
        f"listener0:name=tcp,bind=127.0.0.1,bind=-192.0.2.77,bind=127.0.0.2,bind=-::1"
        f",port={server.port}\r" in server.info("server")
    )


def test_a_unix_socket_has_its_permissions_and_goes_with_the_server(
    own_server: Callable[..., Shardis],
) -> None:
    server = own_server(transport="unix", extra=("--unixsocketperm", "700"))
    with server.client() as client:
        assert client.call("PING") == PONG
    assert stat.S_IMODE(os.stat(server.socket_path).st_mode) == 0o700
    assert f"name=unix,bind={server.socket_path}\r" in server.info("server")
    path = server.socket_path
    server._running().terminate()
    server._running().wait(15)
    assert not os.path.exists(path)


def test_ports_change_while_clients_stay(own_server: Callable[..., Shardis]) -> None:
    server = own_server(shards=2, workers=2)
    old, new = server.port, free_port()
    with server.client() as client:
        assert client.call("CONFIG", "SET", "port", new) == OK
        assert [answers(new) for _ in range(20)] == [True] * 20
        assert not answers(old)
        assert client.call("CONFIG", "GET", "port") == b"*2\r\n$4\r\nport\r\n$%d\r\n%d\r\n" % (
            len(str(new)),
            new,
        )
        assert f"port={new}\r".encode() in client.call("INFO", "server")
        # A worker that starts afterwards listens on the new one as well.
        victim = server.worker_pids()
        for pid in victim.values():
            os.kill(pid, 9)
    server.port = new
    deadline = time.monotonic() + 10
    while not (answers(new) and set(server.worker_pids()).issuperset(victim)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not answers(old)
    with server.client() as client:
        assert client.call("CONFIG", "SET", "port", 0) == OK
        assert not answers(new)
        assert client.call("CONFIG", "SET", "port", old) == OK
    assert answers(old)


def test_a_change_that_fails_changes_nothing(own_server: Callable[..., Shardis]) -> None:
    server = own_server(workers=2)
    taken = socket.create_server(("127.0.0.1", 0))
    failed = b"-ERR CONFIG SET failed (possibly related to argument '%s') - %s\r\n"
    with server.client() as client, taken:
        assert client.call("CONFIG", "SET", "port", taken.getsockname()[1]) == failed % (
            b"port",
            b"Unable to listen on this port. Check server logs.",
        )
        not_bound = failed % (b"bind", b"Failed to bind to specified addresses.")
        assert client.call("CONFIG", "SET", "bind", "999.999.999.999") == not_bound
        # The second fails when room has been made for the first already.
        assert client.call("CONFIG", "SET", "bind", "* 192.0.2.77") == not_bound
        # The other directives of a change that fails keep their values, too.
        many = client.call("CONFIG", "SET", "hz", 50, "bind", "999.999.999.999")
        assert many == not_bound
        assert client.call("CONFIG", "GET", "hz") == b"*2\r\n$2\r\nhz\r\n$2\r\n10\r\n"
        assert client.call("CONFIG", "GET", "bind") == b"*2\r\n$4\r\nbind\r\n$9\r\n127.0.0.1\r\n"
        assert (
            b"- The operating system is not able to handle the specified number of clients, try "
            in client.call("CONFIG", "SET", "maxclients", 4_000_000_000)
        )
    assert answers(server.port)


def test_addresses_change_while_clients_stay(own_server: Callable[..., Shardis]) -> None:
    server = own_server(workers=2)
    with server.client() as client:
        for addresses in ("*", "127.0.0.1", "127.0.0.1 127.0.0.2", "* -::*", "127.0.0.2"):
            assert client.call("CONFIG", "SET", "bind", addresses) == OK
            words = addresses.split()
            everywhere = "*" in words
            assert answers(server.port) == (everywhere or "127.0.0.1" in words), addresses
            assert answers(server.port, "127.0.0.2") == (everywhere or "127.0.0.2" in words)
            assert answers(server.port, "127.0.0.3") == everywhere
        assert client.call("CONFIG", "SET", "bind", "") == OK
        assert not answers(server.port)
        assert client.call("PING") == PONG
        assert client.call("CONFIG", "SET", "bind", "127.0.0.1") == OK
    assert answers(server.port)


def test_nothing_is_left_open_by_changes(own_server: Callable[..., Shardis]) -> None:
    server = own_server(workers=2)

    def descriptors() -> list[int]:
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in server.pids()]

    with server.client() as client:
        client.call("CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2")
        client.call("CONFIG", "SET", "bind", "127.0.0.1")
        time.sleep(0.5)
        before = descriptors()
        for _ in range(20):
            assert client.call("CONFIG", "SET", "bind", "*") == OK
            assert client.call("CONFIG", "SET", "bind", "127.0.0.1") == OK
        assert descriptors() == before


def test_protected_mode_lets_in_nobody_from_elsewhere(own_server: Callable[..., Shardis]) -> None:
    address = other_address()
    if not address:
        pytest.skip("this machine has no address but loopback ones")
    server = own_server(extra=("--bind", "*"))
    with RespClient(server.port, host=address) as stranger:
        assert stranger.read_to_end().startswith(b"-DENIED ")
    assert "rejected_connections:1\r" in server.info("stats")
    with server.client() as client:
        assert client.call("CONFIG", "SET", "protected-mode", "no") == OK
    assert answers(server.port, address)


def test_one_client_too_many_is_told_so(own_server: Callable[..., Shardis]) -> None:
    server = own_server(workers=2, extra=("--maxclients", "3"))
    clients = [server.client() for _ in range(3)]
    try:
        assert [client.call("PING") for client in clients] == [PONG] * 3
        with server.client() as refused:
            assert refused.read_to_end() == b"-ERR max number of clients reached\r\n"
        assert clients[0].call("CONFIG", "SET", "maxclients", 2000) == OK
        with server.client() as client:
            assert client.call("PING") == PONG
    finally:
        for client in clients:
            client.close()
    assert processes.is_alive(server.pid)
