"""The cluster as a client sees it: who owns which slots, where each node is reached, in what state.

A `Cluster` is what one process knows: an I/O worker, for the endpoint, or a shard, for its own
port. Nodes are the shards, by index. What it prints has Redis's formats (the tests compare them
with a cluster of redis-servers).

Which address a node is announced by: `cluster-announce-ip`, or else the address at which the asking
client has reached this server, since all nodes are on one machine. Ports follow the same
pattern as the listening ones: a directive names the endpoint's, and shard i is 1+i after it. A
client that has come over TLS is told the ports of TLS.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from protocol.slots import SLOTS

if TYPE_CHECKING:
    from protocol.reply import Reply

BUS_PORT_DISTANCE: Final = 10000
PORT_MAX: Final = 65535
LOOPBACK: Final = "127.0.0.1"


class Reached(Protocol):
    """What a format must know of the client: how it has reached us."""

    local_address: str
    transport: str


@dataclass(frozen=True, slots=True)
class Node:
    """What never changes of a node while the server runs."""

    id: str  # 40 hex digits
    shard_id: str
    epoch: int  # of its configuration: unique, as in a cluster that was just created


class Cluster:
    """The nodes, their slots and their state. `settings` is the process's live configuration.

    `myself` is the node that answers: the shard itself, or at the endpoint the first one, since a
    client that begins there must find itself in the list. `is_node` tells the two apart.
    """

    def __init__(
        self,
        nodes: Sequence[Sequence[Any]],
        settings: Mapping[str, Any],
        *,
        myself: int = 0,
        is_node: bool = False,
    ) -> None:
        self.nodes = [Node(*node) for node in nodes]
        self.by_id = {node.id.encode(): index for index, node in enumerate(self.nodes)}
        self.settings = settings
        self.myself = myself
        self.is_node = is_node
        self.ranges: list[tuple[int, int, int]] = []  # (first, last, node), ascending
        self.down_since_ms: dict[int, int] = {}

    # State

    def update(
        self,
        ranges: Iterable[Sequence[int]],
        shards: Iterable[tuple[int, int, bool]],
        now_ms: int,
    ) -> None:
        """Take over a topology: slots, and (shard, epoch, up)."""
        self.ranges = sorted((first, last, shard) for first, last, shard in ranges)
        for shard, _, up in shards:
            if up:
                self.down_since_ms.pop(shard, None)
            else:
                self.down_since_ms.setdefault(shard, now_ms)

    def failed(self, node: int, now_ms: int) -> bool:
        """Whether a node is given up: down for longer than cluster-node-timeout."""
        since = self.down_since_ms.get(node)
        return since is not None and now_ms - since > self.settings["cluster-node-timeout"]

    def is_down(self, now_ms: int) -> bool:
        """Whether the cluster refuses commands with keys, as far as full coverage is required."""
        return bool(self.settings["cluster-require-full-coverage"]) and (
            self.slots_in_state(now_ms)["assigned"] < SLOTS
            or any(self.failed(owner, now_ms) for owner in self.owners)
        )

    @property
    def owners(self) -> set[int]:
        return {owner for _, _, owner in self.ranges}

    def owned(self, node: int) -> list[tuple[int, int]]:
        """The slot ranges of a node, ascending, as few as possible."""
        found: list[tuple[int, int]] = []
        for first, last, owner in self.ranges:
            if owner != node:
                continue
            if found and found[-1][1] == first - 1:
                found[-1] = found[-1][0], last
            else:
                found.append((first, last))
        return found

    def slots_in_state(self, now_ms: int) -> dict[str, int]:
        """How many slots are assigned, ok, pfail and fail."""
        counts = dict.fromkeys(("assigned", "ok", "pfail", "fail"), 0)
        for first, last, owner in self.ranges:
            state = "ok"
            if owner in self.down_since_ms:
                state = "fail" if self.failed(owner, now_ms) else "pfail"
            counts["assigned"] += last - first + 1
            counts[state] += last - first + 1
        return counts

    # Addresses

    def ip(self, reached: Reached) -> str:
        """The IP address to announce to this client."""
        announced = str(self.settings["cluster-announce-ip"] or "")
        if announced:
            return announced
        host = reached.local_address.rpartition(":")[0].strip("[]").partition("%")[0]
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            return self._bound()  # a unix socket has no address

    def _bound(self) -> str:
        """The first address of `bind` that is one, for clients that have reached us without."""
        for word in str(self.settings["bind"]).split():
            try:
                address = ipaddress.ip_address(word.lstrip("-"))
            except ValueError:
                continue
            if not address.is_unspecified:
                return str(address)
        return LOOPBACK

    def port(self, node: int, directive: str = "port") -> int:
        """The port of a node that goes with this directive, "port" or "tls-port"; 0: none."""
        announced = int(self.settings[f"cluster-announce-{directive}"] or self.settings[directive])
        return announced and announced + 1 + node

    def port_for(self, node: int, reached: Reached) -> int:
        """The port for such a client: by TLS for who uses it, and without for all others."""
        plain, secure = self.port(node), self.port(node, "tls-port")
        return (secure or plain) if reached.transport == "tls" else (plain or secure)

    def bus_port(self, node: int) -> int:
        """The port of the cluster bus. Nothing listens there in this version."""
        for directive in ("cluster-announce-bus-port", "cluster-port"):
            if self.settings[directive]:
                return int(self.settings[directive]) + 1 + node
        return (
            int(self.settings["port"] or self.settings["tls-port"]) + 1 + node + BUS_PORT_DISTANCE
        )

    def hostname(self) -> str:
        return str(self.settings["cluster-announce-hostname"] or "")

    def endpoint(self, reached: Reached) -> str:
        """What a redirection names: an address, a hostname ("?" without one) or nothing."""
        match self.settings["cluster-preferred-endpoint-type"]:
            case "hostname":
                return self.hostname() or "?"
            case "unknown-endpoint":
                return ""
            case _:
                return self.ip(reached)

    def moved(self, slot: int, owner: int, reached: Reached) -> bytes:
        """The redirection to a slot's owner, without the dash."""
        return f"MOVED {slot} {self.endpoint(reached)}:{self.port_for(owner, reached)}".encode()

    # Formats

    def describe(self, node: int, reached: Reached, now_ms: int) -> str:
        """A node's line of CLUSTER NODES, without the line end."""
        known = self.nodes[node]
        address = f"{self.ip(reached)}:{self.port_for(node, reached)}@{self.bus_port(node)}"
        if self.hostname():
            address += f",{self.hostname()}"
        flags = "myself,master" if node == self.myself else "master"
        down = self.down_since_ms.get(node)
        if down is not None:
            flags += ",fail" if self.failed(node, now_ms) else ",fail?"
        # A node that is up is in touch with the router at any moment, so the last pong is now.
        pong_ms = 0 if node == self.myself else now_ms if down is None else down
        connected = "connected" if down is None or node == self.myself else "disconnected"
        parts = [known.id, address, flags, "-", down or 0, pong_ms, known.epoch, connected]
        parts += [
            f"{first}-{last}" if first != last else str(first) for first, last in self.owned(node)
        ]
        return " ".join(map(str, parts))

    def describe_all(self, reached: Reached, now_ms: int) -> bytes:
        """CLUSTER NODES."""
        lines = (self.describe(node, reached, now_ms) for node in range(len(self.nodes)))
        return "".join(f"{line}\n" for line in lines).encode()

    def info(self, now_ms: int) -> bytes:
        """CLUSTER INFO. There are no bus messages: the router tells everyone."""
        counts = self.slots_in_state(now_ms)
        fields = {
            "cluster_state": "fail" if self.is_down(now_ms) else "ok",
            **{f"cluster_slots_{state}": count for state, count in counts.items()},
            "cluster_known_nodes": len(self.nodes),
            "cluster_size": len(self.owners),
            "cluster_current_epoch": max(node.epoch for node in self.nodes),
            "cluster_my_epoch": self.nodes[self.myself].epoch,
            "cluster_stats_messages_sent": 0,
            "cluster_stats_messages_received": 0,
            "total_cluster_links_buffer_limit_exceeded": 0,
        }
        return "".join(f"{name}:{value}\r\n" for name, value in fields.items()).encode()

    def write_slots(self, reply: Reply, reached: Reached) -> None:
        """CLUSTER SLOTS."""
        found = sorted(
            (first, last, node) for node in self.owners for first, last in self.owned(node)
        )
        reply.array(len(found))
        for first, last, node in found:
            reply.array(3)
            reply.integer(first)
            reply.integer(last)
            self._write_endpoint(reply, node, reached)

    def _write_endpoint(self, reply: Reply, node: int, reached: Reached) -> None:
        preferred = self.settings["cluster-preferred-endpoint-type"]
        reply.array(4)
        if preferred == "unknown-endpoint":
            reply.null()
        else:
            reply.bulk(self.endpoint(reached).encode())
        reply.integer(self.port_for(node, reached))
        reply.bulk(self.nodes[node].id.encode())
        others = {}
        if preferred != "ip":
            others["ip"] = self.ip(reached)
        if preferred != "hostname" and self.hostname():
            others["hostname"] = self.hostname()
        reply.map(len(others))
        for name, value in others.items():
            reply.bulk(name.encode())
            reply.bulk(value.encode())

    def write_shards(self, reply: Reply, reached: Reached, now_ms: int) -> None:
        """CLUSTER SHARDS."""
        reply.array(len(self.nodes))
        for index, node in enumerate(self.nodes):
            ranges = self.owned(index)
            reply.map(2)
            reply.bulk(b"slots")
            reply.array(len(ranges) * 2)
            for first, last in ranges:
                reply.integer(first)
                reply.integer(last)
            reply.bulk(b"nodes")
            reply.array(1)
            fields: dict[str, str | int] = {
                "id": node.id,
                **{
                    directive: self.port(index, directive)
                    for directive in ("port", "tls-port")
                    if self.port(index, directive)
                },
                "ip": self.ip(reached),
                "endpoint": self.endpoint(reached),
            }
            if self.hostname():
                fields["hostname"] = self.hostname()
            fields["role"] = "master"
            fields["replication-offset"] = 0
            fields["health"] = "fail" if self.failed(index, now_ms) else "online"
            reply.map(len(fields))
            for name, value in fields.items():
                reply.bulk(name.encode())
                if isinstance(value, int):
                    reply.integer(value)
                else:
                    reply.bulk(value.encode())
