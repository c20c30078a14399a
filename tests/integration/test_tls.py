"""What is particular to TLS; that its clients are served as others is tested with the others."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import processes
from tests.support.certificates import HAS_OPENSSL, PASSWORD, certificates, client_context
from tests.support.fake_server import eventually
from tests.support.prober import latencies
from tests.support.resp_client import RespClient, bulk, encode
from tests.support.servers import Shardis, free_port

pytestmark = [
    pytest.mark.usefixtures("ours_only"),
    pytest.mark.skipif(not HAS_OPENSSL, reason="no openssl command to make certificates with"),
]
PONG = b"+PONG\r\n"
OK = b"+OK\r\n"


@pytest.fixture
def server(own_server: Callable[..., Shardis]) -> Shardis:
    """A server with plain and TLS clients, two workers."""
    return own_server(shards=2, workers=2, transport="tls")


@pytest.fixture
def plain(server: Shardis) -> Iterator[RespClient]:
    with RespClient(server.port) as client:
        yield client


def set_all(client: RespClient, **directives: object) -> bytes:
    words = [word for pair in directives.items() for word in pair]
    return client.call(
        "CONFIG",
        "SET",
        *(str(word).replace("_", "-") if i % 2 == 0 else str(word) for i, word in enumerate(words)),
    )


def pings(server: Shardis, context: ssl.SSLContext | None = None) -> bool:
    """Whether a client with this context is served."""
    try:
        with RespClient(server.tls_port, tls=context or client_context(), timeout=5.0) as client:
            return client.call("PING") == PONG
    except (OSError, ConnectionError):
        return False


def serial(server: Shardis) -> str:
    with RespClient(server.tls_port, tls=client_context()) as client:
        assert isinstance(client.socket, ssl.SSLSocket)
        certificate = client.socket.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])


def test_plain_clients_on_the_tls_port_are_dropped_and_logged(server: Shardis) -> None:
    with RespClient(server.tls_port) as client:
        client.send(b"PING\r\n")
        client.read_to_end()
    assert "Error accepting a client connection: " in server.log()
    assert f"laddr=127.0.0.1:{server.tls_port})" in server.log()
    assert "failed_handshakes=1" in server.info("workers")
    assert pings(server)


def test_client_certificates_are_asked_for_as_configured(
    server: Shardis, plain: RespClient
) -> None:
    known, none, stranger = client_context("client"), client_context(), client_context("other")
    assert pings(server, none)
    for wanted, expected in (
        ("yes", [True, False, False]),
        ("optional", [True, True, False]),
        ("no", [True, True, True]),
    ):
        assert set_all(plain, tls_auth_clients=wanted) == OK
        found = [pings(server, context) for context in (known, none, stranger)]
        assert found == expected, wanted


def test_protocols_and_ciphers_are_those_configured(server: Shardis, plain: RespClient) -> None:
    old, new = client_context(), client_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    new.minimum_version = ssl.TLSVersion.TLSv1_3
    assert [pings(server, old), pings(server, new)] == [True, True]
    assert set_all(plain, tls_protocols="TLSv1.2") == OK
    assert [pings(server, old), pings(server, new)] == [True, False]
    assert set_all(plain, tls_protocols="TLSv1.3") == OK
    assert [pings(server, old), pings(server, new)] == [False, True]
    refused = set_all(plain, tls_protocols="TLSv9")
    assert refused == (
        b"-ERR CONFIG SET failed (possibly related to argument 'tls-protocols') - "
        b"Unable to update TLS configuration. Check server logs.\r\n"
    )
    assert set_all(plain, tls_protocols="") == OK
    first, second = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"
    assert set_all(plain, tls_ciphers=f"{first}:{second}") == OK
    old.set_ciphers(f"{second}:{first}")
    for preferred, expected in (("no", second), ("yes", first)):
        assert set_all(plain, tls_prefer_server_ciphers=preferred) == OK
        with RespClient(server.tls_port, tls=old) as client:
            assert isinstance(client.socket, ssl.SSLSocket)
            assert (client.socket.cipher() or ("",))[0] == expected
    assert b"-ERR CONFIG SET failed" in set_all(plain, tls_ciphers="NOSUCH")
    assert pings(server, old)


def test_certificates_are_reloaded_for_new_connections(server: Shardis, plain: RespClient) -> None:
    files = certificates()
    before = serial(server)
    with server.client() as old:
        changed = set_all(plain, tls_cert_file=files.second_crt, tls_key_file=files.second_key)
        assert changed == OK
        assert len({serial(server) for _ in range(10)}) == 1
        assert serial(server) != before
        assert old.call("PING") == PONG
    refused = (
        b"-ERR CONFIG SET failed (possibly related to argument 'tls-cert-file') - "
        b"Unable to update TLS configuration. Check server logs.\r\n"
    )
    for bad in ("/nowhere.crt", files.client_crt, files.ca_key):
        assert set_all(plain, tls_cert_file=bad) == refused
    assert "Failed to load certificate: /nowhere.crt" in server.log()
    assert serial(server) != before
    # A worker that starts afterwards has the certificate in force.
    current = serial(server)
    for pid in server.worker_pids().values():
        os.kill(pid, 9)
    deadline = time.monotonic() + 10
    while not pings(server):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert {serial(server) for _ in range(10)} == {current}


def test_a_key_with_a_password_needs_it(server: Shardis, plain: RespClient) -> None:
    files = certificates()
    assert b"-ERR CONFIG SET failed" in set_all(
        plain, tls_cert_file=files.rsa_crt, tls_key_file=files.rsa_key
    )
    assert set_all(plain, tls_key_file_pass=PASSWORD) == OK
    assert set_all(plain, tls_cert_file=files.rsa_crt, tls_key_file=files.rsa_key) == OK
    assert pings(server)


def test_tls_is_switched_on_and_off_at_run_time(own_server: Callable[..., Shardis]) -> None:
    server = own_server(shards=1, workers=2)
    server.tls_port = free_port()
    files = certificates()
    with server.client() as client:
        refused = set_all(client, tls_port=server.tls_port)
        assert b"argument 'tls-port') - Unable to update TLS configuration." in refused
        options = {"tls_cert_file": files.server_crt, "tls_key_file": files.server_key}
        assert set_all(client, **options, tls_auth_clients="no") == OK
        assert set_all(client, tls_port=server.tls_port) == OK
        assert pings(server)
        assert set_all(client, tls_port=0) == OK
        assert not pings(server)
    # The same port changes its kind, and back.
    with RespClient(server.port) as client:
        assert set_all(client, port=0, tls_port=server.port) == OK
    server.port, server.tls_port = 0, server.port
    assert [pings(server) for _ in range(10)] == [True] * 10
    with RespClient(server.tls_port, tls=client_context()) as client:
        assert set_all(client, tls_port=0, port=server.tls_port) == OK
    server.port = server.tls_port
    with RespClient(server.port) as client:
        assert client.call("PING") == PONG


def test_start_without_a_certificate_is_refused(own_server: Callable[..., Shardis]) -> None:
    from tests.integration.test_listening import run_to_end

    code, log = run_to_end("--port", "0", "--tls-port", str(free_port()))
    assert code == 1
    assert "No tls-cert-file configured!" in log
    assert "Failed to configure TLS. Check logs for more info." in log


class BareClient:
    """A TLS client that decides itself when to say farewell."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context().wrap_bio(
            self.incoming, self.outgoing, server_hostname="localhost"
        )
        self.run(self.tls.do_handshake)

    def run(self, step: Callable[[], object]) -> object:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self.send()
                data = self.socket.recv(65536)
                self.incoming.write(data) if data else self.incoming.write_eof()
            except ssl.SSLZeroReturnError:
                return b""  # the server's farewell
            else:
                self.send()
                return result

    def send(self) -> None:
        if self.outgoing.pending:
            self.socket.sendall(self.outgoing.read())

    def read_to_end(self) -> bytes:
        parts = []
        while data := self.run(lambda: self.tls.read(65536)):
            parts.append(data)
        return b"".join(parts)  # type: ignore[arg-type]


def test_replies_follow_a_client_that_said_farewell(server: Shardis) -> None:
    value = os.urandom(300_000)
    with server.client() as client:
        client.call("SET", "k", value)
    bare = BareClient(server.tls_port)
    bare.run(lambda: bare.tls.write(encode("GET", "k") * 20 + encode("PING")))
    with pytest.raises(ssl.SSLWantReadError):
        bare.tls.unwrap()  # sends our part of it
    bare.send()
    bare.socket.shutdown(socket.SHUT_WR)
    assert bare.read_to_end() == bulk(value) * 20 + PONG  # and the server's farewell
    bare.socket.close()


def test_handshakes_that_never_end_hold_up_nobody(server: Shardis) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.tls_port)) for _ in range(50)]
    for number, one in enumerate(silent):
        one.send(b"\x16\x03\x01\x02\x00\x01"[: number % 7])
    assert pings(server)
    started = time.monotonic()
    silent[0].settimeout(60)
    assert silent[0].recv(100) == b""
    assert 8 < time.monotonic() - started < 15 * server.slowness
    for one in silent:
        one.close()
    deadline = time.monotonic() + 5
    while "connected_clients:1\r" not in server.info("clients"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "the handshake took too long" in server.log(lines=200)  # one line for each of the 50


def test_many_handshakes_hold_up_nobody(server: Shardis) -> None:
    with RespClient(server.port) as client:
        client.call("SET", "probe", "v")
    context = client_context()

    def connect(_: int) -> None:
        with RespClient(server.tls_port, tls=context, timeout=30.0) as client:
            assert client.call("PING") == PONG

    with latencies(server.port) as seconds, ThreadPoolExecutor(8) as pool:
        list(pool.map(connect, range(600)))
    print(f"plain clients during 600 handshakes: {seconds}")
    assert seconds.p99 < 0.1 * server.slowness


def test_a_slow_reader_costs_its_replies_and_no_more(server: Shardis) -> None:
    value = bytes(1 << 20)
    with server.client(timeout=60.0) as slow:
        slow.call("SET", "k", value)
        workers = list(server.worker_pids().values())
        before = processes.memory_bytes(workers)
        slow.send(encode("GET", "k") * 20)
        time.sleep(1.0)
        grown = processes.memory_bytes(workers) - before
        assert grown < 40 << 20
        for _ in range(20):
            assert slow.read_reply() == bulk(value)
        assert slow.call("PING") == PONG


def test_tls_clients_are_counted_by_kind(server: Shardis) -> None:
    with server.client() as one, server.client() as two, RespClient(server.port) as three:
        for client in (one, two, three):
            client.call("PING")
        eventually(lambda: b"connected_clients:3\r" in three.call("INFO", "clients"))
        info = three.call("INFO", "everything").decode()
        tls = sum(int(part.partition(",")[0]) for part in info.split("tls_connections=")[1:])
        assert tls == 2
        assert f"listener1:name=tls,bind=127.0.0.1,port={server.tls_port}\r" in info


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="no redis-cli in PATH")
def test_one_client_too_many_is_dropped_before_the_handshake(
    server: Shardis, plain: RespClient
) -> None:
    assert set_all(plain, maxclients=1) == OK
    assert not pings(server)
    assert set_all(plain, maxclients=100) == OK
    assert pings(server)
    assert "rejected_connections:1\r" in server.info("stats")
