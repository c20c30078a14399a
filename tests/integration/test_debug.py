"""DEBUG as clients see it: who may use it, samples of every reply type, and what reaches where."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable

import pytest

from tests.support.fake_server import eventually
from tests.support.servers import Configuration, ServerPool, Shardis, uses_stand_in

OwnServer = Callable[..., Shardis]
pytestmark = pytest.mark.skipif(uses_stand_in(), reason="our own DEBUG")

SAMPLES = {
    "string": (b"$11\r\nHello World\r\n", None),
    "integer": (b":12345\r\n", None),
    "double": (b"$5\r\n3.141\r\n", b",3.141\r\n"),
    "bignum": (
        b"$37\r\n1234567999999999999999999999999999999\r\n",
        b"(1234567999999999999999999999999999999\r\n",
    ),
    "null": (b"$-1\r\n", b"_\r\n"),
    "array": (b"*3\r\n:0\r\n:1\r\n:2\r\n", None),
    "SET": (b"*3\r\n:0\r\n:1\r\n:2\r\n", b"~3\r\n:0\r\n:1\r\n:2\r\n"),
    "map": (
        b"*6\r\n:0\r\n:0\r\n:1\r\n:1\r\n:2\r\n:0\r\n",
        b"%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n",
    ),
    "verbatim": (
        b"$25\r\nThis is a verbatim\nstring\r\n",
        b"=29\r\ntxt:This is a verbatim\nstring\r\n",
    ),
    "true": (b":1\r\n", b"#t\r\n"),
    "false": (b":0\r\n", b"#f\r\n"),
}


@pytest.fixture(scope="module", params=[1, 3])
def shards(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def server(shards: int, server_pool: ServerPool) -> Shardis:
    return server_pool.get(Configuration(shards=shards))


@pytest.fixture
def doomed(shards: int, own_server: OwnServer) -> Shardis:
    """A server for tests that end it."""
    return own_server(shards=shards, workers=1)


def test_samples_of_all_reply_types(server: Shardis) -> None:
    for resp in (2, 3):
        with server.client(resp=resp) as client:
            for name, (second, third) in SAMPLES.items():
                expected = third if resp == 3 and third is not None else second
                assert client.call("DEBUG", "PROTOCOL", name) == expected, name


def raw(server: Shardis, resp: int, *words: str) -> bytes:
    """All bytes up to the reply of a PING after the command."""
    with server.client(resp=resp) as client:
        request = b"".join(b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in words)
        client.send(b"*%d\r\n%b*1\r\n$4\r\nPING\r\n" % (len(words), request))
        data = b""
        while not data.endswith(b"+PONG\r\n"):
            data += client.socket.recv(4096)
    return data.removesuffix(b"+PONG\r\n")


def test_samples_that_are_more_than_a_reply(server: Shardis) -> None:
    """A push after its reply is 7.2's order (7.0's was the other)."""
    plain = b"$39\r\nSome real reply following the attribute\r\n"
    attribute = b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n"
    assert raw(server, 2, "DEBUG", "PROTOCOL", "attrib") == plain
    assert raw(server, 3, "DEBUG", "PROTOCOL", "attrib") == attribute + plain
    assert raw(server, 2, "DEBUG", "PROTOCOL", "push") == (
        b"-ERR RESP2 is not supported by this command\r\n"
    )
    assert raw(server, 3, "DEBUG", "PROTOCOL", "push") == (
        b"$40\r\nSome real reply following the push reply\r\n"
        b">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n"
    )


def test_populate_fills_all_shards_and_leaves_what_exists(server: Shardis) -> None:
    with server.client() as client:
        client.call("SET", "key:7", "mine")
        assert client.call("DEBUG", "POPULATE", 100) == b"+OK\r\n"
        assert client.call("DBSIZE") == b":100\r\n"
        assert client.call("GET", "key:7") == b"$4\r\nmine\r\n"
        assert client.call("GET", "key:99") == b"$8\r\nvalue:99\r\n"
        assert client.call("DEBUG", "POPULATE", 3, "p", 10) == b"+OK\r\n"
        assert client.call("GET", "p:2") == b"$10\r\nvalue:2\0\0\0\r\n"
        positive = b"-ERR value is out of range, must be positive\r\n"
        for wrong in (("x",), (-1,), (1, "p", "x")):
            assert client.call("DEBUG", "POPULATE", *wrong) == positive


def test_what_would_do_harm_is_refused_by_name(server: Shardis) -> None:
    pids = server.pids()
    with server.client() as client:
        for name in ("SEGFAULT", "panic", "ASSERT", "OOM", "RESTART", "CRASH-AND-RECOVER"):
            reply = client.call("DEBUG", name)
            assert reply.startswith(b"-ERR DEBUG %s is refused: " % name.upper().encode())
        assert client.call("DEBUG", "RELOAD").startswith(b"-ERR DEBUG RELOAD is refused: ")
        assert client.call("DEBUG", "JMAP") == (
            b"-ERR unknown subcommand or wrong number of arguments for 'JMAP'. Try DEBUG HELP.\r\n"
        )
    assert server.pids() == pids


def test_help_lists_the_subcommands_in_order(server: Shardis) -> None:
    with server.client() as client:
        lines = client.call("DEBUG", "help").split(b"\r\n+")[1:-2]
    names = [line.split()[0] for line in lines if not line.startswith(b" ")][1:]
    assert names == sorted(names)
    assert {b"PROTOCOL", b"OBJECT", b"SLEEP", b"PAUSE-CRON"} <= set(names)


def test_log_and_replication_id_are_the_routers(server: Shardis) -> None:
    with server.client() as client:
        before = re.search(rb"master_replid:(\w{40})", client.call("INFO", "replication"))
        assert client.call("DEBUG", "LOG", "a message") == b"+OK\r\n"
        assert f"{server.pid}:M" in next(
            line for line in server.log().splitlines() if line.endswith(" # DEBUG LOG: a message")
        )
        assert client.call("DEBUG", "CHANGE-REPL-ID") == b"+OK\r\n"
        after = re.search(rb"master_replid:(\w{40})", client.call("INFO", "replication"))
        assert before is not None
        assert after is not None
        assert before[1] != after[1]


def test_hash_tables_have_figures(server: Shardis) -> None:
    """Those of all shards are one; the words are Redis's, the figures our tables' own."""
    empty = (
        b"[Dictionary HT]\nHash table 0 stats (main hash table):\n"
        b"No stats available for empty dictionaries\n"
        b"[Expires HT]\nHash table 0 stats (main hash table):\n"
        b"No stats available for empty dictionaries\n"
    )
    with server.client() as client, server.client(resp=3) as newer:
        for words in ((0,), (15, "full"), (0, "x", "y")):
            reply = client.call("DEBUG", "HTSTATS", *words)
            assert reply == b"$%d\r\n%b\r\n" % (len(empty), empty)
        reply = newer.call("DEBUG", "HTSTATS", 0)
        assert reply == b"=%d\r\ntxt:%b\r\n" % (len(empty) + 4, empty)
        client.call("DEBUG", "POPULATE", 1000)
        client.call("EXPIRE", "key:1", 1000)
        reply = client.call("DEBUG", "HTSTATS", 0)
        assert re.findall(rb"number of elements: (\d+)\n", reply) == [b"1000", b"1"]
        assert b"slots" not in reply
        reply = client.call("DEBUG", "HTSTATS", 0, "FULL")
        keys = reply[: reply.index(b"[Expires HT]")]
        [size] = re.findall(rb"table size: (\d+)\n", keys)
        chains = [(int(n), int(count)) for n, count in re.findall(rb"   (\d+): (\d+) \(", keys)]
        assert sum(count for _, count in chains) == int(size)
        assert sum(n * count for n, count in chains) == 1000
        assert client.call("DEBUG", "HTSTATS", 16) == b"-ERR Out of range database\r\n"
        assert client.call("DEBUG", "HTSTATS", -1) == b"-ERR Out of range database\r\n"
        not_integer = b"-ERR value is not an integer or out of range\r\n"
        assert client.call("DEBUG", "HTSTATS", "x") == not_integer
        for name in ("HTSTATS", "HTSTATS-KEY"):
            assert client.call("DEBUG", name).startswith(b"-ERR unknown subcommand or wrong number")


def test_the_hash_table_of_a_key_has_figures(server: Shardis) -> None:
    members = [str(number) for number in range(1000)]
    none = b"-ERR The value stored at the specified key is not represented using an hash table\r\n"
    with server.client() as client, server.client(resp=3) as newer:
        client.call("SADD", "set", "m", *members)
        client.call("HSET", "hash", *(word for member in members for word in (member, "v")), "m", 1)
        client.call("ZADD", "zset", *(word for member in members for word in (1, member)), 2, "m")
        for key in ("set", "hash", "zset"):
            plain = newer.call("DEBUG", "HTSTATS-KEY", key)
            assert re.fullmatch(
                rb"=\d+\r\ntxt:Hash table 0 stats \(main hash table\):\n"
                rb" table size: \d+\n number of elements: 1001\n\r\n",
                plain,
            )
            reply = client.call("DEBUG", "HTSTATS-KEY", key, "full")
            chains = re.findall(rb"   (\d+): (\d+) \(", reply)
            assert sum(int(length) * int(count) for length, count in chains) == 1001
        client.call("SET", "string", "v")
        client.call("RPUSH", "list", "v")
        client.call("SADD", "intset", 1)
        client.call("ZADD", "small", 1, "m")
        client.call("XADD", "stream", "*", "f", "v")
        for key in ("string", "list", "intset", "small", "stream"):
            assert client.call("DEBUG", "HTSTATS-KEY", key) == none
        assert client.call("DEBUG", "HTSTATS-KEY", "missing") == b"-ERR no such key\r\n"


def test_error_replies_are_sent_as_they_are(server: Shardis) -> None:
    with server.client() as client:
        assert client.call("DEBUG", "ERROR", b"MINE a\r\nb\0c") == b"-MINE a  b\0c\r\n"


def test_a_signal_waits_for_a_paused_cron_and_can_be_aborted(doomed: Shardis) -> None:
    with doomed.client() as client:
        assert client.call("SHUTDOWN", "ABORT") == b"-ERR No shutdown in progress.\r\n"
        assert client.call("DEBUG", "PAUSE-CRON", 1) == b"+OK\r\n"
        os.kill(doomed.pid, signal.SIGTERM)
        eventually(lambda: "Received SIGTERM" in doomed.log())
        assert client.call("SHUTDOWN", "ABORT") == b"+OK\r\n"
        assert "Shutdown manually aborted." in doomed.log()
        assert client.call("DEBUG", "PAUSE-CRON", 0) == b"+OK\r\n"
        assert client.call("PING") == b"+PONG\r\n"
        assert client.call("DEBUG", "PAUSE-CRON", 1) == b"+OK\r\n"
        os.kill(doomed.pid, signal.SIGTERM)
        eventually(lambda: doomed.log().count("Received SIGTERM") == 2)
        client.send(b"DEBUG PAUSE-CRON 0\r\n")
    assert doomed.process is not None
    assert doomed.process.wait(10) == 0


def test_nothing_expires_by_itself_while_the_cron_rests(server: Shardis) -> None:
    with server.client() as client:
        client.call("DEBUG", "PAUSE-CRON", 1)
        client.call("SET", "k", "v", "PX", 1)
        time.sleep(0.4)
        assert client.call("DBSIZE") == b":1\r\n"
        client.call("DEBUG", "PAUSE-CRON", 0)
        eventually(lambda: client.call("DBSIZE") == b":0\r\n")


def test_what_comes_after_shutdown_is_not_executed(doomed: Shardis) -> None:
    """Nobody is waited for: neither the command itself nor a client that is blocked."""
    began = time.monotonic()
    with doomed.client() as client, doomed.client() as blocked:
        blocked.send(b"BLPOP nothing 0\r\n")
        client.send(b"PING\r\nSHUTDOWN NOSAVE\r\nPING\r\nPING\r\n")
        data = b""
        while more := client.socket.recv(100):
            data += more
    assert data == b"+PONG\r\n"
    assert doomed.process is not None
    assert doomed.process.wait(10) == 0
    assert time.monotonic() - began < 3


def test_debug_is_for_whom_the_configuration_allows_it(own_server: OwnServer) -> None:
    refused = b"-ERR DEBUG command not allowed. If the enable-debug-command option is set to"
    for shards in (1, 2):
        for value, allowed in (("no", False), ("local", True)):
            # The last value of an option counts.
            server = own_server(shards=shards, extra=("--enable-debug-command", value))
            with server.client() as client:
                for words in (("SLEEP", 0), ("HELP",), ("NOSUCH",), ("OBJECT", "k")):
                    reply = client.call("DEBUG", *words)
                    assert reply.startswith(refused) is not allowed


def test_writing_all_directives_needs_a_file(own_server: OwnServer) -> None:
    with own_server(shards=1).client() as client:
        reply = client.call("DEBUG", "CONFIG-REWRITE-FORCE-ALL")
        assert reply == b"-ERR The server is running without a config file\r\n"
        assert client.call("DEBUG", "CONFIG-REWRITE-FORCE-ALL", "x").startswith(b"-ERR")
