"""Cluster mode at the start of the server: the shards' identities and listening sockets.

Shard i listens at `port`+1+i on every address of `bind`. The router binds these sockets, as it does
those of the endpoint, and hands each shard its own: a shard that dies loses no connection that
waits to be accepted, and its successor listens at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.listening import Listener
from cluster.nodes import NodesFile, NodesFileError
from router.config import Config
from router.listeners import ListenError, Listeners, Settings, Staged, of_node
from router.log import logger
from sessions.cluster import BUS_PORT_DISTANCE, PORT_MAX


@dataclass(slots=True)
class Members:
    """What cluster mode adds to a server; empty without it."""

    nodes: list[list[Any]] = field(default_factory=list)  # fields of sessions.cluster.Node
    listeners: list[Listeners] = field(default_factory=list)  # by shard
    file: NodesFile | None = None

    def open(self, config: Config, slots: Sequence[tuple[int, int, int]]) -> None:
        """Become the members of the configured cluster, if any. Raises ListenError, having logged.

        Whatever happened, the caller owes `close`.
        """
        if not config["cluster-enabled"]:
            return
        shards = config["shards"]
        ports, bus_ports = ports_of(config.values, shards)
        for index in range(shards):
            listening = Listeners()
            listening.open(of_node(config.values, index))
            self.listeners.append(listening)
        file = NodesFile(config["cluster-config-file"])
        try:
            identities = file.open(list(zip(ports, bus_ports, strict=True)), slots)
        except NodesFileError as error:
            logger.warning("The cluster configuration file %s: %s", file.path, error)
            raise ListenError("nodes") from None
        self.file = file
        self.nodes = [
            [identity.id, identity.shard_id, index + 1] for index, identity in enumerate(identities)
        ]

    def stage(self, settings: Settings) -> list[Staged]:
        """Bind what these settings need beside what is there, by shard. Raises ListenError."""
        staged: list[Staged] = []
        if not self.listeners:
            return staged
        ports_of(settings, len(self.listeners))
        try:
            for index, listening in enumerate(self.listeners):
                staged.append(listening.stage(of_node(settings, index)))
        except BaseException:
            for one in staged:
                one.abandon()
            raise
        return staged

    def commit(self, staged: Sequence[Staged], settings: Settings) -> list[Listener]:
        """Put it in force here; the sockets to close once no process accepts from them."""
        given_up: list[Listener] = []
        for index, (listening, one) in enumerate(zip(self.listeners, staged, strict=True)):
            given_up += listening.commit(one, of_node(settings, index))
        return given_up

    def close(self) -> None:
        """Listen no longer, and let the nodes file go."""
        for listening in self.listeners:
            listening.close({"unixsocket": ""})
        if self.file is not None:
            self.file.close()


def ports_of(settings: Settings, shards: int) -> tuple[list[int], list[int]]:
    """The ports and the bus ports of so many shards. Raises ListenError, having logged."""
    port = settings["port"] or settings["tls-port"]
    if not port:
        logger.warning("cluster-enabled needs a port: the shards listen at the ports behind it")
        raise ListenError("tcp")
    ports = [port + 1 + index for index in range(shards)]
    base = settings["cluster-port"] or port + BUS_PORT_DISTANCE
    bus_ports = [base + 1 + index for index in range(shards)]
    if max(ports[-1], bus_ports[-1], settings["tls-port"] + shards) > PORT_MAX:
        logger.warning(
            "The ports of %d shards behind port %d or tls-port, or their cluster bus ports (%d "
            "higher, or behind cluster-port), exceed %d",
            shards,
            port,
            BUS_PORT_DISTANCE,
            PORT_MAX,
        )
        raise ListenError("tcp")
    return ports, bus_ports
