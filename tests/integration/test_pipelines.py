"""Random pipelines of many clients at once, each with an exact model of the expected bytes.

Each client has keys of its own, some in one slot and some not, so that its model is exact
whatever the others do, and what another client should get would show at once. Pipelines are cut
into writes down to single bytes, and values go beyond what a socket takes at once.
"""

from __future__ import annotations

import os
import random
import ssl
import threading
from collections.abc import Callable

import pytest

from tests.support.resp_client import RespClient, bulk, encode, integer
from tests.support.servers import Configuration, ServerPool, Shardis, uses_stand_in

pytestmark = pytest.mark.usefixtures("transport")
CLIENTS = 12
PIPELINES = int(os.environ.get("SHARDIS_PIPELINES", "25"))  # of each client
PIPELINE_COMMANDS_MAX = 300
SEED = os.environ.get("SHARDIS_PIPELINE_SEED", "1")
OK = b"+OK\r\n"
NOT_INTEGER = b"-ERR value is not an integer or out of range\r\n"


class Model:
    """What a client's own keys hold, and what each command on them must answer."""

    def __init__(self, draw: random.Random, name: str) -> None:
        self.draw = draw
        self.strings: dict[bytes, bytes] = {}
        tagged = [f"{{{name}}}:{number}".encode() for number in range(4)]
        self.keys = [f"{name}:{number}".encode() for number in range(12)] + tagged
        self.counters = [f"{name}:n{number}".encode() for number in range(4)]
        self.serial = 0
        self.name = name

    def value(self) -> bytes:
        kind = self.draw.random()
        if kind < 0.02:
            return self.draw.randbytes(self.draw.randint(30_000, 150_000))
        if kind < 0.1:
            return self.draw.randbytes(self.draw.randint(0, 3000))
        self.serial += 1
        return b"%s says %d\r\n" % (self.name.encode(), self.serial)

    def command(self) -> tuple[bytes, bytes]:
        """The bytes of the next command, and those of its reply."""
        draw, strings = self.draw, self.strings
        key = draw.choice(self.keys)
        kind = draw.randrange(12)
        if kind <= 2:
            strings[key] = self.value()
            return encode("SET", key, strings[key]), OK
        if kind <= 4:
            return encode("GET", key), bulk(strings.get(key))
        if kind == 5:
            counter = draw.choice(self.counters)
            number = int(strings.get(counter, b"0")) + 1
            strings[counter] = b"%d" % number
            return encode("INCR", counter), integer(number)
        if kind == 6:
            chosen = draw.choices([*self.keys, *self.counters], k=draw.randint(1, 6))
            found = [bulk(strings.get(one)) for one in chosen]
            return encode("MGET", *chosen), b"*%d\r\n" % len(found) + b"".join(found)
        if kind == 7:
            pairs = [(one, self.value()) for one in draw.choices(self.keys, k=draw.randint(1, 4))]
            strings.update(pairs)
            return encode("MSET", *(word for pair in pairs for word in pair)), OK
        if kind == 8:
            chosen = draw.choices(self.keys, k=draw.randint(1, 4))
            gone = sum(strings.pop(one, None) is not None for one in chosen)
            return encode(draw.choice(["DEL", "UNLINK"]), *chosen), integer(gone)
        if kind == 9:
            longer = strings.get(key, b"") + b"more"
            if len(longer) > 200_000:
                return encode("STRLEN", key), integer(len(longer) - 4)
            strings[key] = longer
            return encode("APPEND", key, b"more"), integer(len(longer))
        if kind == 10:
            return encode("EXISTS", key, key), integer(2 * (key in strings))
        return encode("PING", key), bulk(key)


def run_client(server: Shardis, number: int, spoil: Callable[[int, bytes], bytes]) -> str:
    """Run one client's pipelines; an empty string, or what went wrong."""
    draw = random.Random(f"{SEED}:{number}")
    model = Model(draw, f"client{number}")
    resp = 2 + number % 2
    with server.client(timeout=60.0, resp=resp) as client:
        for pipeline in range(PIPELINES):
            length = draw.randint(1, PIPELINE_COMMANDS_MAX)
            commands, replies = zip(*(model.command() for _ in range(length)), strict=True)
            expected = spoil(pipeline, b"".join(replies))
            if resp == 3:
                expected = expected.replace(b"$-1\r\n", b"_\r\n")
            got = exchange(client, b"".join(commands), draw, length)
            if got != expected:
                at = first_difference(got, expected)
                return (
                    f"client {number}, pipeline {pipeline} of {length} commands, seed {SEED}: "
                    f"byte {at} of {len(got)}/{len(expected)}\n"
                    f"expected {expected[max(0, at - 40) : at + 60]!r}\n"
                    f"got      {got[max(0, at - 40) : at + 60]!r}"
                )
    return ""


def first_difference(first: bytes, second: bytes) -> int:
    """Where two byte strings part. Halves the part in question, as values are large."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[:middle] == second[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def exchange(client: RespClient, data: bytes, draw: random.Random, count: int) -> bytes:
    """Send a pipeline in random pieces, while a second thread reads its replies.

    Not over TLS: two threads may not use one of Python's TLS sockets at the same time.
    """
    received: list[bytes] = []
    encrypted = isinstance(client.socket, ssl.SSLSocket)
    reader = threading.Thread(target=lambda: received.extend(client.read_available(count)))
    if not encrypted:
        reader.start()
    kind = draw.random()
    at = 0
    while at < len(data):
        if kind < 0.1 and at < 400:
            size = 1
        elif kind < 0.5:
            size = draw.choice([1, 3, 17, 100, 1460, 20_000])
        else:
            size = len(data)
        client.send(data[at : at + size], receive=encrypted)
        at += size
    if encrypted:
        reader.start()
    reader.join()
    return b"".join(received)


def run_clients(
    server: Shardis, spoil: Callable[[int, bytes], bytes] = lambda _, data: data
) -> list[str]:
    """Run all clients at once; what went wrong with each that failed."""
    problems: list[str] = []

    def target(number: int) -> None:
        try:
            problem = run_client(server, number, spoil)
        except Exception as error:  # a thread's exception would be lost
            problem = f"client {number}: {error!r}"
        if problem:
            problems.append(problem)

    threads = [threading.Thread(target=target, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return problems


@pytest.mark.parametrize("workers", [1, 2], ids=lambda workers: f"{workers}-workers")
@pytest.mark.parametrize("shards", [1, 2, 4], ids=lambda shards: f"{shards}-shards")
def test_every_byte_of_every_reply_is_as_expected(
    shards: int, workers: int, transport: str, server_pool: ServerPool
) -> None:
    if (transport != "tcp" or uses_stand_in()) and (shards, workers) != (2, 2):
        pytest.skip("the same as over TCP behind the socket, or the same stand-in again")
    server = server_pool.get(Configuration(shards=shards, workers=workers))
    assert run_clients(server) == []


def test_with_the_threads_of_libzmq_it_is_the_same(transport: str, server_pool: ServerPool) -> None:
    if transport != "tcp" or uses_stand_in():
        pytest.skip("it concerns only what is behind the socket")
    threaded = ("--zeromq-io-threads", "yes")
    server = server_pool.get(Configuration(shards=2, workers=2, extra=threaded))
    assert run_clients(server) == []


def test_a_spoilt_byte_of_one_expected_reply_is_found(server_pool: ServerPool) -> None:
    """The test above can fail: here one byte of a long pipeline's expectation is wrong."""

    def spoil(pipeline: int, data: bytes) -> bytes:
        if pipeline != PIPELINES - 1:
            return data
        middle = len(data) // 2
        return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]

    problems = run_clients(server_pool.get(Configuration(shards=2)), spoil=spoil)
    assert len(problems) == CLIENTS
    assert all(f"pipeline {PIPELINES - 1} " in problem for problem in problems)


def test_a_single_byte_at_a_time(server_pool: ServerPool) -> None:
    draw = random.Random(SEED)
    model = Model(draw, "slow")
    model.value = lambda: b"small"  # type: ignore[method-assign]
    commands, replies = zip(*(model.command() for _ in range(120)), strict=True)
    with server_pool.get(Configuration(shards=2)).client() as client:
        for byte in b"".join(commands):
            client.send(bytes([byte]))
        assert client.read_replies(len(replies)) == list(replies)


def test_a_long_pipeline_over_all_shards_is_answered_in_order(server_pool: ServerPool) -> None:
    count = 20_000
    with server_pool.get(Configuration(shards=4)).client(timeout=60.0) as client:
        sender = threading.Thread(
            target=lambda: client.send(
                b"".join(
                    encode("PING", str(number)) + encode("INCR", f"k{number % 997}")
                    for number in range(count)
                ),
                receive=False,
            )
        )
        sender.start()
        for number in range(count):
            assert client.read_reply() == bulk(b"%d" % number)
            assert client.read_reply() == integer(number // 997 + 1)
        sender.join()


def test_an_error_in_the_middle_leaves_the_rest_in_step(server_pool: ServerPool) -> None:
    with server_pool.get(Configuration(shards=4)).client() as client:
        got = client.pipeline(
            [
                ("SET", "{a}n", "x"),
                ("INCR", "{a}n"),
                ("GET",),
                ("SET", "{b}n", "1"),
                ("INCR", "{b}n"),
                ("NOSUCH", "a"),
                ("GET", "{a}n"),
            ]
        )
    assert got == [
        OK,
        NOT_INTEGER,
        b"-ERR wrong number of arguments for 'get' command\r\n",
        OK,
        integer(2),
        b"-ERR unknown command 'NOSUCH', with args beginning with: 'a' \r\n",
        bulk(b"x"),
    ]
