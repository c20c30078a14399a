"""What the supervisor hands to a worker or shard process when it starts it, and how they talk.

Control messages are msgpack maps in frames over one socket pair per process (`ControlLink`); each
request has an answer. What the router sends:

    {"op": "topology", "version": int, "shards": [[index, epoch, up], ...],
     "workers": [[index, epoch], ...], "slots": [[first, last, shard], ...]}
                                    to all, whenever a process starts, is ready, or dies
    {"op": "config", "changes": {directive: value}}
    {"op": "stats"}                 -> a map of figures: see router/stats.py
    {"op": "resetstat"}             count these figures anew (CONFIG RESETSTAT)
    {"op": "listeners", "kinds": [kind, ...]}
                                    accept from these only (see actors/listening.py), then answer
    {"op": "fence", "worker": int, "epoch": int}    (to shards) -> see actors/fence.py
    {"op": "resolve", "commit": [id, ...], "drop": [id, ...]}       (to shards)
    {"op": "links", "worker": int, "epoch": int, "turn": int}       (to shards)
                                    be reachable for this worker anew, then answer
    {"op": "links", "shard": int, "epoch": int, "turn": int}        (to workers)
                                    connect to this shard anew
    {"op": "pause-cron", "paused": bool}    periodic work rests (DEBUG PAUSE-CRON)
    {"op": "shutdown"}              finish what was admitted, answer, exit 0

What workers and shards send:

    {"op": "ready"}                                 it serves
    {"op": "broken", "shard": int}                  (workers) it has left this shard, which lives:
                                                    what that sent can't be right
    {"op": "admin", "caller": {...}, "args": [..]}  -> {"reply": RESP bytes}
                                    (for ADMIN commands; a shard names itself as caller["node"])
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any

from actors.listening import Listener


def coordinator(worker: int, epoch: int) -> int:
    """The number of a worker's incarnation, in 24 bits, which its transactions' ids begin with."""
    return (epoch & 0x3FFF) << 10 | worker


def link_path(
    directory: str, shard: int, shard_epoch: int, worker: int, worker_epoch: int, turn: int = 0
) -> str:
    """The ipc endpoint between one incarnation of a shard and one of a worker; the shard binds.

    Both epochs are in the name: ZeroMQ would otherwise deliver what was queued for a dead process
    to its successor. So is the `turn`, which counts how often the two have begun anew. The bulk
    link is the same path with ".bulk" after it.
    """
    again = f".{turn}" if turn else ""
    return f"ipc://{directory}/s{shard}.{shard_epoch}-w{worker}.{worker_epoch}{again}"


@dataclass(slots=True)
class Topology:
    """Which processes exist, in which incarnation, and who owns which slots."""

    version: int
    shards: list[tuple[int, int, bool]]  # (index, epoch, up)
    workers: list[tuple[int, int]]  # (index, epoch)
    slots: list[tuple[int, int, int]]  # (first, last, shard), both ends included

    def message(self) -> dict[str, Any]:
        """As it is sent."""
        return {
            "op": "topology",
            "version": self.version,
            "shards": [list(shard) for shard in self.shards],
            "workers": [list(worker) for worker in self.workers],
            "slots": [list(slots) for slots in self.slots],
        }

    @classmethod
    def of(cls, message: dict[str, Any]) -> Topology:
        """What `message` has made."""
        return cls(
            message["version"],
            [tuple(shard) for shard in message["shards"]],
            [tuple(worker) for worker in message["workers"]],
            [tuple(slots) for slots in message["slots"]],
        )


@dataclass(slots=True)
class Boot:
    """One process's start parameters; inherited through fork, so nothing is pickled."""

    index: int
    epoch: int
    directory: str  # private, mode 0700; ipc endpoints live here
    control: socket.socket  # this process's end of the control link
    page: Any  # actors.page.SharedPage
    config: dict[str, Any]  # a snapshot: directive -> parsed value
    hash_seed: bytes  # 16 bytes, one for the server instance
    run_id: str  # 40 hex digits
    topology: Topology
    listeners: list[Listener] = field(default_factory=list)  # bound and listening
    descriptors: socket.socket | None = None  # this process's end of what brings later listeners
    tls: Any = None  # the ssl.SSLContext that is in force, or None
    nodes: list[list[Any]] = field(default_factory=list)  # cluster mode: fields of each node
