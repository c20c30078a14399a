"""What a cluster looks like to a client: addresses, states, formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from protocol.reply import Reply
from sessions.cluster import Cluster

NODES = [["a" * 40, "c" * 40, 1], ["b" * 40, "d" * 40, 2]]
SLOTS = [(0, 99, 0), (100, 8191, 0), (8192, 16383, 1)]
SETTINGS: dict[str, Any] = {
    "port": 7000,
    "tls-port": 0,
    "bind": "* 127.0.0.1 -::1",
    "cluster-announce-ip": "",
    "cluster-announce-port": 0,
    "cluster-announce-tls-port": 0,
    "cluster-announce-bus-port": 0,
    "cluster-announce-hostname": "",
    "cluster-port": 0,
    "cluster-preferred-endpoint-type": "ip",
    "cluster-node-timeout": 1000,
    "cluster-require-full-coverage": True,
}


@dataclass
class Client:
    local_address: str = "10.0.0.1:7000"
    transport: str = "tcp"


def cluster(**settings: Any) -> Cluster:
    changed = {name.replace("_", "-"): value for name, value in settings.items()}
    made = Cluster(NODES, {**SETTINGS, **changed}, myself=0, is_node=True)
    made.update(SLOTS, [(0, 1, True), (1, 1, True)], 0)
    return made


@pytest.mark.parametrize(
    ("local", "ip"),
    [
        ("10.0.0.1:7000", "10.0.0.1"),
        ("[fe80::1%eth0]:7000", "fe80::1"),
        ("/tmp/redis.sock:0", "127.0.0.1"),
    ],
)
def test_nodes_are_announced_by_the_address_that_the_client_has_reached(
    local: str, ip: str
) -> None:
    assert cluster().moved(9000, 1, Client(local)) == f"MOVED 9000 {ip}:7002".encode()


def test_a_node_that_stays_away_fails_after_the_timeout() -> None:
    made = cluster()
    made.update(SLOTS, [(0, 1, True), (1, 2, False)], 5000)
    assert "master,fail? - 5000 5000 2 disconnected" in made.describe(1, Client(), 5500)
    assert not made.is_down(5500)
    made.update(SLOTS, [(0, 1, True), (1, 3, False)], 5900)  # still the same absence
    assert made.is_down(6001)
    assert "master,fail -" in made.describe(1, Client(), 6001)
    assert b"cluster_state:fail\r\n" in made.info(6001)
    assert b"cluster_slots_fail:8192\r\n" in made.info(6001)
    made.update(SLOTS, [(0, 1, True), (1, 3, True)], 6100)
    assert not made.is_down(9000)


def test_without_required_coverage_a_cluster_is_never_down() -> None:
    made = cluster(cluster_require_full_coverage=False)
    made.update(SLOTS[:2], [(0, 1, True), (1, 2, False)], 0)
    assert not made.is_down(5000)


def test_slots_that_nobody_owns_bring_the_cluster_down() -> None:
    made = cluster()
    made.update(SLOTS[:2], [(0, 1, True), (1, 2, True)], 0)
    assert made.is_down(1)
    assert b"cluster_slots_assigned:8192\r\n" in made.info(1)


def test_neighbouring_ranges_are_one() -> None:
    reply = Reply(2)
    made = cluster()
    made.write_slots(reply, Client())
    text = reply.take()
    assert text.startswith(b"*2\r\n*3\r\n:0\r\n:8191\r\n*4\r\n$8\r\n10.0.0.1\r\n:7001\r\n")
    assert made.describe(0, Client(), 0).endswith(" 1 connected 0-8191")


def test_ports_of_directives_count_like_the_listening_ones() -> None:
    made = cluster(cluster_announce_port=9000, cluster_port=19000)
    assert " 10.0.0.1:9002@19002 " in made.describe(1, Client(), 0)


def test_a_client_is_told_the_ports_of_what_it_speaks() -> None:
    made = cluster(tls_port=8000)
    assert made.moved(9000, 1, Client()) == b"MOVED 9000 10.0.0.1:7002"
    assert made.moved(9000, 1, Client(transport="tls")) == b"MOVED 9000 10.0.0.1:8002"
    assert " 10.0.0.1:8002@17002 " in made.describe(1, Client(transport="tls"), 0)
    reply = Reply(2)
    made.write_shards(reply, Client(), 0)
    assert b"$4\r\nport\r\n:7001\r\n$8\r\ntls-port\r\n:8001\r\n" in reply.take()
    made = cluster(tls_port=8000, cluster_announce_tls_port=9000)
    assert made.moved(9000, 1, Client(transport="tls")) == b"MOVED 9000 10.0.0.1:9002"
    assert cluster().moved(9000, 1, Client(transport="tls")) == b"MOVED 9000 10.0.0.1:7002"
    only_tls = cluster(port=0, tls_port=8000)
    assert only_tls.moved(9000, 1, Client(transport="unix")) == b"MOVED 9000 10.0.0.1:8002"
