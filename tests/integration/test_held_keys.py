"""A command over several shards holds its keys: what others write to them meanwhile is not lost.

Clients in threads run such commands and write to the same keys, in pipelines, so that they overlap
as often as they can. In the end each acknowledged element must be there, and only once.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.resp_client import RespClient, parse
from tests.support.servers import Configuration, Server, ServerPool
from tests.support.slots import SLOTS, slot

SECONDS = 1.0
PIPELINE = 8
ROUNDS = 300
Call = tuple[bytes | str | int, ...]
MISSING = b"-ERR no such key\r\n"  # by RENAMENX: nothing was pushed since the last one


def keys_of(shards: int, count: int) -> list[bytes]:
    """So many keys, neighbours in different shards."""
    found: list[bytes] = []
    for number in itertools.count():
        key = b"held%d" % number
        if slot(key) * shards // SLOTS == len(found) % shards:
            found.append(key)
        if len(found) == count:
            break
    return found


def items(reply: bytes) -> list[bytes]:
    return [item.value for item in parse(reply).value or ()]


class Clients:
    """Threads with a connection each, for a while; what goes wrong there is raised in the end."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.ends = time.monotonic() + SECONDS
        self.threads: list[threading.Thread] = []
        self.failures: list[BaseException] = []

    def start(
        self,
        calls: Iterator[Call],
        heard: Callable[[Call, bytes], None] | None = None,
        step: threading.Barrier | None = None,
    ) -> None:
        def run() -> None:
            try:
                with self.server.client() as client:
                    while time.monotonic() < self.ends:
                        batch = list(itertools.islice(calls, 1 if step else PIPELINE))
                        if step is not None and batch:
                            step.wait(10)
                        for call, reply in zip(batch, client.pipeline(batch), strict=True):
                            assert not reply.startswith(b"-") or reply == MISSING, (call, reply)
                            if heard is not None:
                                heard(call, reply)
                        if not batch:
                            break
            except BaseException as failure:
                self.failures.append(failure)

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def finish(self) -> None:
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive(), "a client waits for ever"
        if self.failures:
            raise self.failures[0]


class Writer:
    """Writes an element of its own with each call; knows which of them were acknowledged."""

    def __init__(self, command: str, name: str, keys: list[bytes]) -> None:
        self.command, self.name, self.keys = command, name, keys
        self.acknowledged: list[bytes] = []

    def calls(self) -> Iterator[Call]:
        for number in itertools.count():
            yield (
                self.command,
                self.keys[number % len(self.keys)],
                b"%b%d" % (self.name.encode(), number),
            )

    def heard(self, call: Call, reply: bytes) -> None:
        assert int(reply[1:-2]) > 0
        assert isinstance(call[2], bytes)
        self.acknowledged.append(call[2])


def at_random(seed: int, calls: list[Call]) -> Iterator[Call]:
    chance = random.Random(seed)
    while True:
        yield chance.choice(calls)


def moves_of_members(pairs: list[tuple[bytes, ...]]) -> Iterator[Call]:
    for number in itertools.count():
        for source, target in pairs:
            for name in (b"first", b"second"):
                yield "SMOVE", source, target, b"%b%d" % (name, number)


def check(found: list[bytes], writers: list[Writer]) -> None:
    wanted = Counter(element for one in writers for element in one.acknowledged)
    assert len(wanted) > 50
    lost, doubled = wanted - Counter(found), Counter(found) - wanted
    assert (lost.total(), doubled.total()) == (0, 0), f"lost and too many, of {len(wanted)}"


@pytest.fixture(params=[2, 3], ids=["2 shards", "3 shards"])
def shards(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def server(shards: int, server_pool: ServerPool) -> Server:
    found = server_pool.get(Configuration(shards=shards, workers=2))
    with found.client() as client:
        assert client.call("FLUSHALL") == b"+OK\r\n"
    return found


MOVES: dict[str, tuple[str, tuple[Any, ...], Callable[[bytes, bytes], Call]]] = {
    "LMOVE": ("RPUSH", (0, -1), lambda a, b: ("LMOVE", a, b, "LEFT", "RIGHT")),
    "RPOPLPUSH": ("LPUSH", (0, -1), lambda a, b: ("RPOPLPUSH", a, b)),
    "SMOVE": ("SADD", (), lambda a, b: ("SMOVE", a, b, "")),
}


@pytest.mark.usefixtures("ours_only")
@pytest.mark.parametrize("move", MOVES)
def test_what_is_written_beside_a_move_is_kept(move: str, shards: int, server: Server) -> None:
    push, read_all, call_of = MOVES[move]
    keys = keys_of(shards, 3)
    pairs = list(itertools.permutations(keys, 2))
    clients = Clients(server)
    writers = [Writer(push, name, keys) for name in ("first", "second")]
    for writer in writers:
        clients.start(writer.calls(), writer.heard)
    for seed in range(3):
        if move == "SMOVE":
            clients.start(moves_of_members(pairs))
        else:
            clients.start(at_random(seed, [call_of(*pair) for pair in pairs]))
    clients.finish()
    read = "SMEMBERS" if move == "SMOVE" else "LRANGE"
    with server.client() as client:
        found = [item for key in keys for item in items(client.call(read, key, *read_all))]
    check(found, writers)


@pytest.mark.usefixtures("ours_only")
def test_what_is_pushed_beside_a_rename_is_under_one_name_or_the_other(
    shards: int, server: Server
) -> None:
    source, *targets = keys_of(shards, 2000)
    clients = Clients(server)
    writers = [Writer("RPUSH", name, [source]) for name in ("first", "second")]
    for writer in writers:
        clients.start(writer.calls(), writer.heard)
    clients.start(("RENAMENX", source, target) for target in targets)
    clients.finish()
    with server.client() as client:
        replies = client.pipeline([("LRANGE", key, 0, -1) for key in (source, *targets)])
    check([item for reply in replies for item in items(reply)], writers)


@pytest.mark.usefixtures("ours_only")
def test_an_element_is_given_to_one_client_only(shards: int, server: Server) -> None:
    keys = keys_of(shards, 3)
    clients = Clients(server)
    writers = [Writer("RPUSH", name, keys) for name in ("first", "second")]
    taken: list[bytes] = []

    def popped(call: Call, reply: bytes) -> None:
        found = parse(reply).value
        if call[0] == "LPOP":
            taken.extend([found] if found is not None else [])
        elif found is not None:
            taken.extend(item.value for item in found[1].value)

    for writer in writers:
        clients.start(writer.calls(), writer.heard)
    calls: list[Call] = [
        ("LMPOP", 3, *order, "LEFT", "COUNT", 3) for order in itertools.permutations(keys)
    ]
    for seed in range(3):
        clients.start(at_random(seed, calls), popped)
    clients.start(at_random(9, [("LPOP", key) for key in keys]), popped)
    clients.finish()
    with server.client() as client:
        for key in keys:
            taken += items(client.call("LRANGE", key, 0, -1))
    check(taken, writers)


@pytest.mark.usefixtures("ours_only")
@pytest.mark.parametrize("made", ["COPY", "SORT", "MSETNX"])
def test_a_key_that_comes_first_is_not_overwritten_unseen(
    made: str, shards: int, server: Server
) -> None:
    """Two clients race for each key; the second one finds what the first one has left there."""
    source, *targets = keys_of(shards, ROUNDS)
    clients = Clients(server)
    clients.ends += 20  # they stop by themselves
    push: Callable[[bytes], Call] = lambda key: ("APPEND", key, "+")  # noqa: E731
    expected = {b"value", b"value+", b"+"}
    if made == "SORT":
        push = lambda key: ("RPUSH", key, "z")  # noqa: E731
    with server.client() as client:
        client.call("RPUSH", source, "a", "b") if made == "SORT" else client.call(
            "SET", source, "value"
        )
    makers: dict[str, Callable[[bytes], Call]] = {
        "COPY": lambda key: ("COPY", source, key),
        "SORT": lambda key: ("SORT", source, "ALPHA", "STORE", key),
        "MSETNX": lambda key: ("MSETNX", key, "value", key + b".other", "value"),
    }
    lengths: list[bytes] = []
    step = threading.Barrier(2)  # both come to a key at the same time
    clients.start(map(makers[made], targets), step=step)
    clients.start(map(push, targets), lambda _, reply: lengths.append(reply), step)
    clients.finish()
    with server.client() as client:
        for key, length in zip(targets, lengths, strict=True):
            if made == "SORT":
                found = items(client.call("LRANGE", key, 0, -1))
                assert found == ([b"a", b"b", b"z"] if length == b":3\r\n" else [b"a", b"b"])
            else:
                text = parse(client.call("GET", key)).value
                assert text in expected - {b"value"}, (key, text)
                assert length == b":%d\r\n" % len(text)


@pytest.mark.usefixtures("ours_only")
def test_a_flush_beside_a_move_leaves_nothing_behind(shards: int, server: Server) -> None:
    """The list came back after it, as it was lent."""
    source, target = keys_of(shards, 2)
    clients = Clients(server)
    for seed in range(2):
        clients.start(at_random(seed, [("LMOVE", source, target, "LEFT", "LEFT")]))
    with server.client() as client:
        while time.monotonic() < clients.ends:
            client.call("RPUSH", source, *range(50))
            client.call("FLUSHDB")
            assert client.call("LLEN", source) == b":0\r\n"
    clients.finish()


@pytest.mark.usefixtures("ours_only")
def test_clients_that_ask_for_the_same_keys_in_any_order_do_not_wait_for_each_other(
    shards: int, server: Server
) -> None:
    keys = keys_of(shards, 6)
    clients = Clients(server)
    calls: list[Call] = [
        ("SUNIONSTORE", *order)
        for order in itertools.islice(itertools.permutations(keys), 0, None, 7)
    ]
    calls += [("SDIFFSTORE", *order) for order in itertools.permutations(keys[:3])]
    calls += [("SADD", key, "a", "b") for key in keys]
    calls += [("MGET", *keys), ("DEL", *keys[:2]), ("DBSIZE",), ("FLUSHALL",)]
    for seed in range(6):
        clients.start(at_random(seed, [call for call in calls if call[0] != "MGET"]))
    clients.finish()
    with server.client() as client:
        assert client.call("PING") == b"+PONG\r\n"


def test_a_client_that_hangs_up_leaves_nothing_held(shards: int, server_pool: ServerPool) -> None:
    server = server_pool.get(Configuration(shards=shards, workers=2))
    keys = keys_of(shards, 2)
    with server.client() as client:
        client.call("DEL", *keys)
        for _ in range(100):
            with RespClient(server.port) as passing:
                passing.send(
                    b"".join(
                        b"*5\r\n$5\r\nLMOVE\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$4\r\nLEFT\r\n$4\r\nLEFT\r\n"
                        % (len(a), a, len(b), b)
                        for a, b in (keys, keys[::-1])
                    ),
                    receive=False,
                )
                passing.abort()
            assert client.call("RPUSH", keys[0], "x", timeout=5).startswith(b":")


LIMITS = {
    "list-max-listpack-size": (3, -2),
    "list-compress-depth": (1, 0),
    "hash-max-listpack-entries": (2, 128),
    "set-max-intset-entries": (2, 512),
    "set-max-listpack-entries": (2, 128),
    "zset-max-listpack-entries": (2, 128),
}
MADE: list[Call] = [
    ("RPUSH", "{key}", *(f"{n}" * 40 for n in range(20))),
    ("HSET", "{key}", *range(8)),
    ("SADD", "{key}", *range(8)),
    ("SADD", "{key}", *"abcdefgh"),
    ("ZADD", "{key}", *range(8)),
    ("XADD", "{key}", "1-1", "f", "v"),
    ("APPEND", "{key}", "12"),
    ("SET", "{key}", 12),
    ("SET", "{key}", "x" * 70_000),
]


def figures(client: RespClient, key: bytes) -> list[bytes]:
    """What can be seen of a key, but for its place in memory and the bytes that it takes there."""
    shown = client.call("DEBUG", "OBJECT", key).split()
    return [
        client.call("OBJECT", "ENCODING", key),
        client.call("PEXPIRETIME", key),
        client.call("DUMP", key)
        if shown[3] in (b"encoding:quicklist", b"encoding:listpack")
        else b"",
        *(word for word in shown if word.startswith(b"ql_")),
    ]


@pytest.mark.usefixtures("ours_only")
@pytest.mark.parametrize("made", MADE, ids=lambda call: f"{call[0]}-{len(str(call))}")
@pytest.mark.parametrize("before", [0, 1], ids=["low limits first", "high limits first"])
def test_a_key_looks_the_same_after_it_was_lent(
    made: Call, before: int, shards: int, server: Server
) -> None:
    """The limits are others when it is made than when it goes to a shard and back."""
    key, target, absent = keys_of(shards, 3)
    with server.client() as client:
        try:
            for directive, values in LIMITS.items():
                client.call("CONFIG", "SET", directive, values[before])
            client.call(*(key if word == "{key}" else word for word in made))
            if made[0] == "APPEND":
                client.call(*(key if word == "{key}" else word for word in made))
            client.call("PEXPIREAT", key, 4_000_000_000_123)
            for directive, values in LIMITS.items():
                client.call("CONFIG", "SET", directive, values[1 - before])
            wanted = figures(client, key)
            assert client.call("COPY", key, target) == b":1\r\n"  # lent, and not changed
            assert figures(client, key) == wanted
            assert figures(client, target) == wanted
            assert client.call("RENAME", key, target) == b"+OK\r\n"
            assert figures(client, target) == wanted
            if made[0] == "RPUSH" and before == 0:  # else what is pushed is over today's limit
                client.call("LMOVE", target, absent, "LEFT", "LEFT")  # changed, and given back
                client.call("LMOVE", absent, target, "LEFT", "LEFT")
                assert figures(client, target)[:2] == wanted[:2]
        finally:
            for directive, values in LIMITS.items():
                client.call("CONFIG", "SET", directive, values[1])


def number(reply: bytes) -> int:
    assert reply.startswith(b":"), reply
    return int(reply[1:-2])


@pytest.mark.usefixtures("ours_only")
def test_a_lent_key_is_as_idle_as_its_use_makes_it(shards: int, server: Server) -> None:
    key, target, other = keys_of(shards, 3)
    with server.client() as client:
        client.call("SADD", other, "x")
        payload = parse(client.call("DUMP", other)).value
        client.call("RESTORE", key, 0, payload, "IDLETIME", 1000)
        client.call("CLIENT", "NO-TOUCH", "ON")
        client.call("SUNIONSTORE", target, key)
        assert number(client.call("OBJECT", "IDLETIME", key)) >= 1000
        client.call("SMOVE", key, target, "nothing")
        assert number(client.call("OBJECT", "IDLETIME", key)) >= 1000
        client.call("CLIENT", "NO-TOUCH", "OFF")
        client.call("SUNIONSTORE", target, key)
        assert number(client.call("OBJECT", "IDLETIME", key)) <= 1
        client.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
        try:
            client.call("RESTORE", key, 0, payload, "REPLACE", "FREQ", 100)
            client.call("SADD", key, "y")
            client.call("SMOVE", key, target, "y")
            assert 100 <= number(client.call("OBJECT", "FREQ", key)) <= 104
        finally:
            client.call("CONFIG", "SET", "maxmemory-policy", "noeviction")


@pytest.mark.usefixtures("ours_only")
def test_what_is_written_at_a_shard_s_own_port_is_kept_too(server_pool: ServerPool) -> None:
    """Cluster-aware clients reach the shard without a worker; they wait as all others do."""
    server = server_pool.get(Configuration(shards=2, workers=1, extra=("--cluster-enabled", "yes")))
    keys = keys_of(2, 2)
    with server.client() as client:
        client.call("FLUSHALL")
        nodes = parse(client.call("CLUSTER", "SLOTS")).value
    ports = {
        key: next(
            node.value[2].value[1].value
            for node in nodes
            if int(node.value[0].value) <= slot(key) <= int(node.value[1].value)
        )
        for key in keys
    }
    clients = Clients(server)
    clients.start(at_random(1, [("LMOVE", *order, "LEFT", "LEFT") for order in (keys, keys[::-1])]))
    pushed: Counter[bytes] = Counter()
    popped: Counter[bytes] = Counter()
    connections = {key: RespClient(int(port)) for key, port in ports.items()}
    try:
        for round_ in itertools.count():
            if time.monotonic() > clients.ends:
                break
            for key, connection in connections.items():
                batch: list[Call] = [("RPUSH", key, f"{round_}.{n}.{key!r}") for n in range(6)]
                replies = connection.pipeline([*batch, ("LPOP", key)])
                assert all(reply.startswith(b":") for reply in replies[:6]), replies
                pushed.update(str(call[2]).encode() for call in batch)
                found = parse(replies[6]).value
                popped.update([found] if found is not None else [])
    finally:
        clients.finish()
        for connection in connections.values():
            connection.close()
    with server.client() as client:
        for key in keys:
            popped.update(items(client.call("LRANGE", key, 0, -1)))
    assert len(pushed) > 50
    assert popped == pushed
