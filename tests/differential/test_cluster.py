"""A shard's port against redis-server in cluster mode: formats of a cluster, and random commands.

Ids and ports are replaced by numbers; the order of nodes is chance in redis-server, and so are its
times, its counts of bus messages, and when it hears of its neighbours' epochs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.differential.conftest import is_72
from tests.differential.machine import CASE_COMMANDS, Machine, minimise, reproduction, steps
from tests.differential.test_differential import COMMANDS, SEED
from tests.support.resp_client import parse
from tests.support.servers import ClusterOracle, Configuration, Oracle, Server, ServerPool

pytestmark = pytest.mark.usefixtures("ours_only")
SHARDS = 3
MODE = ("--cluster-enabled", "yes")
RANGES = [(0, 5460), (5461, 10921), (10922, 16383)]
CALLS = [
    ("CLUSTER", "SLOTS"),
    ("CLUSTER", "NODES"),
    ("CLUSTER", "SHARDS"),
    ("CLUSTER", "INFO"),
    ("CLUSTER", "MYID"),
    ("CLUSTER", "KEYSLOT", "{user}x"),
    ("CLUSTER", "COUNTKEYSINSLOT", "16384"),
    ("CLUSTER", "COUNTKEYSINSLOT", "-1"),
    ("CLUSTER", "COUNTKEYSINSLOT", "x"),
    ("CLUSTER", "COUNTKEYSINSLOT", "0"),
    ("CLUSTER", "GETKEYSINSLOT", "0", "-1"),
    ("CLUSTER", "GETKEYSINSLOT", "0", "x"),
    ("CLUSTER", "GETKEYSINSLOT", "0", "10"),
    ("CLUSTER", "REPLICAS", "nosuch"),
    ("CLUSTER", "SLAVES", "nosuch"),
    ("CLUSTER", "COUNT-FAILURE-REPORTS", "nosuch"),
    ("CLUSTER", "NOSUCH"),
    ("CLUSTER", "SLOTS", "x"),
    ("CLUSTER",),
    ("READONLY",),
    ("READWRITE",),
    ("ASKING",),
    ("READONLY", "x"),
    ("SET", "a", "v"),
    ("GET", "foo"),
    ("MGET", "a", "b"),
    ("MSET", "a", "1", "b"),
    ("DEL", "{x}1", "{x}2"),
    ("OBJECT", "ENCODING", "a"),
    ("OBJECT", "ENCODING"),
    ("RENAME", "a", "b"),
    ("MOVE", "a", "1"),
    ("SWAPDB", "0", "1"),
    ("SELECT", "1"),
    ("SELECT", "x"),
    ("SELECT", "0"),
    ("LCS", "a", "b"),
    ("DBSIZE",),
    ("INFO", "cluster"),
]


@pytest.fixture(scope="module")
def oracles() -> Iterator[list[Oracle]]:
    """Three redis-servers that are one cluster."""
    made = [ClusterOracle(owns_all=False) for _ in range(SHARDS)]
    try:
        for index, (one, (first, last)) in enumerate(zip(made, RANGES, strict=True)):
            one.start()
            with one.client() as client:
                assert client.call("CLUSTER", "ADDSLOTSRANGE", first, last) == b"+OK\r\n"
                assert client.call("CLUSTER", "SET-CONFIG-EPOCH", index + 1) == b"+OK\r\n"
        for one in made[1:]:
            with one.client() as client:
                assert client.call("CLUSTER", "MEET", "127.0.0.1", made[0].port) == b"+OK\r\n"
        for one in made:
            one.wait_ok()
            with one.client() as client:
                while client.call("CLUSTER", "NODES").count(b" connected ") < SHARDS:
                    pass
        yield list(made)
    finally:
        for one in made:
            one.kill()


def names(server: Server) -> dict[str, str]:
    """What to replace in the replies of a cluster: ids and ports by the node's number."""
    with server.client() as client:
        text = client.call("CLUSTER", "NODES").decode()
    found = re.findall(r"([0-9a-f]{40}) [0-9.]+:(\d+)@(\d+)\S* .* connected (\d+)-", text)
    replaced = {}
    for number, (name, port, bus, _) in enumerate(sorted(found, key=lambda node: int(node[3]))):
        replaced |= {name: f"id{number}", port: f"port{number}", bus: f"bus{number}"}
    assert len(found) == SHARDS, text
    return replaced


def normalise(call: tuple[str, ...], raw: bytes, replaced: dict[str, str]) -> Any:
    kind = raw[:1]
    text = re.sub(
        r"[0-9a-f]{40}|\b\d{4,5}\b", lambda found: replaced.get(found[0], found[0]), raw.decode()
    )
    if call == ("CLUSTER", "NODES"):
        # Times: a ping that is under way, and the last pong.
        lines = re.sub(r"- \d+ \d+ (\d+) ", r"- <ping> <pong> \1 ", text).splitlines()
        # RESP3's mark of a text is before the first line, whichever node that is.
        return kind, sorted(line.removeprefix("txt:") for line in lines[1:])
    if call == ("CLUSTER", "INFO"):
        text = re.sub(r"(messages_(?:sent|received)):\d+", r"\1:<count>", text)
        return kind, re.sub(r"cluster_stats_messages_\w+_(?:sent|received):\d+\r\n", "", text)[8:]
    if call == ("CLUSTER", "SHARDS"):
        return kind, sorted(re.split(r"(?=\*4\r\n\$5\r\nslots|%2\r\n\$5\r\nslots)", text))
    return text


@pytest.mark.parametrize("resp", [2, 3], ids=["resp2", "resp3"])
@pytest.mark.parametrize("node", range(SHARDS))
def test_a_node_answers_as_one_of_redis(
    node: int, resp: int, oracles: list[Oracle], server_pool: ServerPool
) -> None:
    ours = server_pool.get(Configuration(shards=SHARDS, extra=MODE))
    ours_at, theirs_at = ours.node(node), oracles[node]
    replaced = names(ours_at), names(theirs_at)
    calls = list(CALLS)
    if is_72(theirs_at):
        calls.append(("CLUSTER", "MYSHARDID", "x"))
    with ours_at.client(resp=resp) as mine, theirs_at.client(resp=resp) as theirs:
        for call in calls:
            got = normalise(call, mine.call(*call), replaced[0])
            expected = normalise(call, theirs.call(*call), replaced[1])
            assert got == expected, call


@pytest.mark.parametrize("call", [("CLUSTER", "SLOTS"), ("CLUSTER", "SHARDS")])
def test_hostnames_are_announced_as_by_redis(
    call: tuple[str, ...], oracles: list[Oracle], server_pool: ServerPool
) -> None:
    """One node of ours announces for all; the oracle's others learn it by gossip, so it is asked
    about itself."""
    ours = server_pool.get(Configuration(shards=SHARDS, extra=MODE))
    reset = {"cluster-announce-hostname": "", "cluster-preferred-endpoint-type": "ip"}
    cases = [
        {"cluster-announce-hostname": "host.example"},
        {"cluster-preferred-endpoint-type": "hostname"},
        {"cluster-preferred-endpoint-type": "unknown-endpoint"},
        {"cluster-announce-hostname": ""},
        {"cluster-preferred-endpoint-type": "hostname"},
    ]

    def own_part(server: Server, resp: int) -> str:
        raw = client_call(server, resp, *call)
        parsed = parse(raw)
        dumped = [item.dump() for item in parsed.value]
        name = next(key for key, value in names_of(server).items() if value == "id0").encode()
        return normalise((), next(item for item in dumped if name in item), names_of(server))

    def client_call(server: Server, resp: int, *args: str) -> bytes:
        with server.client(resp=resp) as client:
            return client.call(*args)

    known = {id(ours): names(ours.node(0)), id(oracles[0]): names(oracles[0])}

    def names_of(server: Server) -> dict[str, str]:
        return known.get(id(server), known[id(ours)])

    pair = ours.node(0), oracles[0]
    try:
        for case in cases:
            for resp in (2, 3):
                found = []
                for server in pair:
                    for name, value in case.items():
                        reply = client_call(server, 2, "CONFIG", "SET", name, value)
                        assert reply == b"+OK\r\n", reply
                    found.append(own_part(server, resp))
                assert found[0] == found[1], (case, resp)
    finally:
        for server in pair:
            for name, value in reset.items():
                client_call(server, 2, "CONFIG", "SET", name, value)


@pytest.fixture(scope="module")
def lonely_oracle() -> Iterator[Oracle]:
    """A redis-server in cluster mode that owns all slots."""
    server = ClusterOracle()
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("lane", [True, False], ids=["native", "python"])
@pytest.mark.parametrize("resp", [2, 3], ids=["resp2", "resp3"])
def test_replies_at_a_shard_port_equal_those_of_redis(
    lane: bool, resp: int, lonely_oracle: Oracle, server_pool: ServerPool
) -> None:
    configuration = Configuration(shards=1, native_lane=lane, extra=MODE)
    machine = Machine(
        server_pool.get(configuration).node(0),
        lonely_oracle,
        resp=resp,
        oracle_is_72=is_72(lonely_oracle),
    )
    for number in range(max(1, COMMANDS // CASE_COMMANDS)):
        seed = f"{SEED}:{configuration}:{resp}:{number}"
        case = steps(seed)
        found = machine.run(case)
        if found is not None:
            small = minimise(machine, case, found)
            again = machine.run(small) or found
            pytest.fail(reproduction(seed, resp, small, again), pytrace=False)
