"""Clients that send nonsense, stop halfway, never read, or leave without a word.

Replies to nonsense are compared with redis-server's, up to and including the end of the
connection. A case never sends more after an error than a server has read when it finds it:
bytes left unread would turn the error into a reset.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.support import processes
from tests.support.fake_server import eventually
from tests.support.resp_client import RespClient, bulk, encode, integer
from tests.support.servers import Configuration, Oracle, Server, ServerPool, Shardis, uses_stand_in

pytestmark = pytest.mark.usefixtures("transport")

PROTOCOL_ERRORS = {
    "negative bulk length": b"*1\r\n$-1\r\n",
    "bulk length no number": b"*1\r\n$abc\r\n",
    "bulk length with a sign": b"*1\r\n$+4\r\nPING\r\n",
    "bulk length with a space": b"*1\r\n$ 4\r\nPING\r\n",
    "empty bulk length": b"*1\r\n$\r\n",
    "bulk longer than allowed": b"*1\r\n$536870913\r\n",
    "bulk length beyond 64 bits": b"*1\r\n$99999999999999999999\r\n",
    "array length with a leading zero": b"*01\r\n",
    "bulk length with leading zeros": b"*1\r\n$004\r\n",
    "no bulk": b"*1\r\nPING\r\n",
    "integer for a bulk": b"*2\r\n$3\r\nGET\r\n:1\r\n",
    "nothing for a bulk": b"*1\r\n\r\n",
    "a control byte for a bulk": b"*1\r\n\x01\r\n",
    "array length no number": b"*abc\r\n",
    "empty array length": b"*\r\n",
    "array length beyond int": b"*2147483648\r\n",
    "array length beyond 64 bits": b"*99999999999999999999\r\n",
    "array length with a space": b"* 1\r\n",
    "unbalanced quotes": b'SET a "b\r\n',
    "unbalanced single quotes": b"SET a 'b\r\n",
    "text behind a closing quote": b'SET "a"b c\r\n',
    "inline beyond 64 KiB": b"x" * 65_600,
    "array length line beyond 64 KiB": b"*" + b"1" * 65_600,
    "bulk length line beyond 64 KiB": b"*1\r\n$" + b"1" * 65_600,
    "good commands before the error": encode("SET", "k", "v") + encode("GET", "k") + b"*1\r\n!\r\n",
    "good commands behind the error": b"*1\r\n!\r\n" + encode("SET", "k", "v"),
}

HARMLESS = {
    "empty lines": b"\r\n\r\n\n",
    "empty arrays": b"*0\r\n*-1\r\n*-5\r\n",
    "a line ended by LF alone": b"SET k v\nGET k\n",
    "blanks around words": b"  SET   k \t v  \r\nGET k\r\n",
    "quoted words": b"SET k \"a\\x41\\n\\\"b\"\r\nGET k\r\nSET k 'it\\'s'\r\nGET k\r\n",
    "an empty quoted word": b'SET k ""\r\nGET k\r\n',
    "a NUL in a line": b"GET a\x00b\r\n",
    "a bulk that doesn't end in CR LF": b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
    "a web browser": b"OPTIONS / HTTP/1.1\r\n",
    "binary command names": b"*1\r\n$3\r\n\x00\xff\n\r\n*2\r\n$0\r\n\r\n$1\r\na\r\n",
    "a very long command name": encode("x" * 5000, "y" * 5000, "z" * 5000),
    "many arguments": encode("MGET", *(f"key{number}" for number in range(5000))),
    "half a length": b"*",
    "half a command": b"*2\r\n$3\r\nGET\r\n$3\r\nab",
    "half a line": b"PING",
    "half a command behind whole ones": encode("PING") * 3 + b"*2\r\n$3\r\nGE",
}


def answer(server: Server, data: bytes, *, cut: int = 0, end: bool) -> tuple[bytes, bool]:
    """All bytes the server sends, and whether it closed; `end` shuts our side down after data."""
    with server.client(timeout=5.0) as client:
        client.send(data[:cut])
        if cut:
            time.sleep(0.005)
        client.send(data[cut:])
        if end:
            client.end_sending()
            return client.read_to_end(), True
        # A connection that ends stops the wait; one that stays open is given a while.
        replies = client.read_until_quiet(3.0)
        return replies, client.closed


@pytest.mark.parametrize("data", PROTOCOL_ERRORS.values(), ids=PROTOCOL_ERRORS)
def test_a_protocol_error_is_told_and_ends_the_connection(
    data: bytes, shardis: Shardis, oracle: Oracle
) -> None:
    expected = answer(oracle, data, end=False)
    assert answer(shardis, data, end=False) == expected
    assert expected[1], "the case is about an error that closes"
    cut = min(len(data) // 2, 60_000)
    assert answer(shardis, data, cut=cut, end=False) == expected


@pytest.mark.parametrize("data", HARMLESS.values(), ids=HARMLESS)
def test_odd_input_is_answered_as_by_redis(data: bytes, shardis: Shardis, oracle: Oracle) -> None:
    """Our side is shut down after the input: all that can be answered is, then the end comes."""
    expected = answer(oracle, data, end=True)
    assert answer(shardis, data, end=True) == expected
    assert answer(shardis, data, cut=len(data) // 2, end=True) == expected


@pytest.mark.parametrize("seed", range(60))
def test_random_bytes_are_answered_as_by_redis(seed: int, shardis: Shardis, oracle: Oracle) -> None:
    data = nonsense(seed)
    assert answer(shardis, data, end=True) == answer(oracle, data, end=True), data


def nonsense(seed: int) -> bytes:
    """Bytes from noise to nearly right, below what a server reads at once."""
    draw = random.Random(seed)
    kind = seed % 4
    if kind == 0:
        return draw.randbytes(draw.randint(1, 3000))
    if kind == 1:
        pieces = [b"*", b"$", b"\r\n", b"\n", b"-1", b"3", b"GET", b"1", b" ", b'"', b"\x00", b":"]
        return b"".join(draw.choices(pieces, k=draw.randint(1, 200)))
    good = b"".join(
        encode(*draw.choice([("SET", "k", "v"), ("GET", "k"), ("PING",), ("MGET", "a", "k")]))
        for _ in range(draw.randint(1, 10))
    )
    damaged = bytearray(good)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(damaged))
        if kind == 2:
            damaged[at] = draw.randrange(256)
        else:
            del damaged[at : at + draw.randint(1, 5)]
            if not damaged:
                break
    return bytes(damaged)


def test_a_huge_announcement_costs_nothing_until_it_is_sent(shardis: Shardis) -> None:
    before = processes.memory_bytes(shardis.pids())
    with ExitStack() as stack:
        for announcement in (
            b"*2147483647\r\n",
            b"*1000000\r\n$3\r\nDEL\r\n",
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n",
            b"*2\r\n$536870912\r\n",
        ):
            for _ in range(5):
                client = stack.enter_context(shardis.client())
                client.send(announcement)
        time.sleep(0.3)
        grown = processes.memory_bytes(shardis.pids()) - before
        with shardis.client() as client:
            assert client.call("PING") == b"+PONG\r\n"
    assert grown < 64 << 20


def test_a_slow_reader_holds_up_nobody_and_loses_nothing(
    shardis: Shardis, connect: Callable[..., RespClient]
) -> None:
    slow, quick = connect(timeout=60.0), connect()
    value = bytes(range(256)) * 400
    gets = 400
    slow.call("SET", "{slow}k", value)
    slow.send(encode("GET", "{slow}k") * gets)
    worst = 0.0
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        started = time.monotonic()
        assert quick.call("SET", "other", "v") == b"+OK\r\n"
        assert quick.call("STRLEN", "{slow}k") == integer(len(value))
        worst = max(worst, time.monotonic() - started)
    assert worst < 1.0 * shardis.slowness
    for _ in range(gets):
        assert slow.read_reply() == bulk(value)
        time.sleep(0.0005)
    assert slow.call("PING") == b"+PONG\r\n"


def test_a_slow_reader_that_leaves_is_forgotten(shardis: Shardis) -> None:
    with shardis.client() as client:
        client.call("SET", "k", b"x" * 100_000)
        client.send(encode("GET", "k") * 500)
        time.sleep(0.3)
        client.abort()
    with shardis.client() as client:
        assert client.call("PING") == b"+PONG\r\n"
    deadline = time.monotonic() + 5
    while "connected_clients:1\r" not in shardis.info("clients"):
        assert time.monotonic() < deadline, shardis.info("clients")
        time.sleep(0.05)


ROUNDS = 10
CONNECTIONS = 10_000
BATCH = 100
# The stand-in is so small that what its allocator keeps for a while is a large part of it.
RSS_SLACK_BYTES = (16 if uses_stand_in() else 1) << 20


def test_thousands_of_dropped_connections_leave_nothing_behind(
    server_pool: ServerPool,
) -> None:
    """Each round opens and drops a thousand, in five rude ways; round 1 warms up."""
    server = server_pool.get(Configuration(shards=2, workers=2))
    draw = random.Random(1)
    after: list[int] = []
    # A handshake costs both ends 100 times what a plain connection does.
    connections = CONNECTIONS // 10 if server_pool.transport == "tls" else CONNECTIONS
    for _ in range(ROUNDS):
        for _ in range(connections // ROUNDS // BATCH):
            clients = [server.client(timeout=30.0) for _ in range(BATCH)]
            for number, client in enumerate(clients):
                way = number % 5
                if way == 1:
                    client.send(encode("SET", f"key{number}", b"v" * draw.randint(1, 2000)))
                elif way == 2:
                    client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n" + b"x" * 20_000)
                elif way == 3:
                    client.send(encode("GET", f"key{number - 2}") * 50)
                elif way == 4:
                    client.send(b"*1\r\nnonsense\r\n")
            for number, client in enumerate(clients):
                if number % 3:
                    client.close()
                else:
                    client.abort()
        server.flush()
        eventually(lambda: "connected_clients:1\r" in server.info("clients"))
        time.sleep(0.1)
        after.append(processes.memory_bytes(server.pids()))
    with server.client() as client:
        assert client.call("PING") == b"+PONG\r\n"
    shown = [round(size / (1 << 20), 1) for size in after]
    print(f"RSS after each round, MiB: {shown}")
    assert max(after[1:]) <= after[0] * 1.10 + RSS_SLACK_BYTES, shown
