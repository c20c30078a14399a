"""The identities of the nodes, and the file that keeps them over a restart.

The file (`cluster-config-file` in `dir`) has the form of redis-server's nodes.conf, with one line
for each shard in the order of the shards, since all nodes are one server:

    <id> :<port>@<bus port>,,shard-id=<id> master - 0 0 <epoch> connected <first>-<last> ...
    vars currentEpoch <epoch> lastVoteEpoch 0

Promises
1. It is replaced atomically: written beside, synced, renamed. A crash leaves the old or the new.
2. It is locked while the server runs: two servers with one file would be two nodes with one id.
3. What it says about ports and slots is for the reader; ids and shard ids are read back, by order.
   With more shards than lines, new ids are made; a line too many is dropped.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ID: Final = re.compile(r"[0-9a-f]{40}")
SHARD_ID: Final = re.compile(r",shard-id=([0-9a-f]{40})(?:,|$)")
FILE_BYTES_MAX: Final = 1 << 24


class NodesFileError(Exception):
    """The nodes file cannot be used; the text says why, for the log."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a node the same node after a restart."""

    id: str  # 40 hex digits
    shard_id: str


def new_identity() -> Identity:
    return Identity(secrets.token_hex(20), secrets.token_hex(20))


def parse(text: str) -> list[Identity]:
    """The identities in a nodes file, in their order. Raises NodesFileError."""
    found: list[Identity] = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0] == "vars":
            continue
        if len(words) < 8 or not ID.fullmatch(words[0]):
            raise NodesFileError(f"this is no node: {line[:200]!r}")
        shard = SHARD_ID.search(words[1])
        found.append(Identity(words[0], shard[1] if shard else secrets.token_hex(20)))
    if len({identity.id for identity in found}) < len(found):
        raise NodesFileError("a node is there twice")
    return found


def render(
    identities: Sequence[Identity],
    ports: Sequence[tuple[int, int]],
    slots: Sequence[tuple[int, int, int]],
) -> str:
    """The text of the file: (port, bus port) of each node, (first, last, node) of each range."""
    lines = []
    for index, (identity, (port, bus_port)) in enumerate(zip(identities, ports, strict=True)):
        owned = [f"{first}-{last}" for first, last, owner in slots if owner == index]
        words = [
            identity.id,
            f":{port}@{bus_port},,shard-id={identity.shard_id}",
            *("master", "-", "0", "0", str(index + 1), "connected"),
            *owned,
        ]
        lines.append(" ".join(words))
    lines.append(f"vars currentEpoch {len(identities)} lastVoteEpoch 0")
    return "".join(f"{line}\n" for line in lines)


class NodesFile:
    """The nodes file of a running server: read and written at the start, locked until `close`."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._lock = -1

    def open(
        self, ports: Sequence[tuple[int, int]], slots: Sequence[tuple[int, int, int]]
    ) -> list[Identity]:
        """The identities of so many nodes as there are ports. Raises NodesFileError."""
        try:
            self._lock = self._locked(self.path)
            with open(self._lock, encoding="utf-8", errors="replace", closefd=False) as file:
                identities = parse(file.read(FILE_BYTES_MAX))
            identities = identities[: len(ports)]
            while len(identities) < len(ports):
                identities.append(new_identity())
            self._replace(render(identities, ports, slots))
        except OSError as error:
            self.close()
            raise NodesFileError(error.strerror or str(error)) from None
        except NodesFileError:
            self.close()
            raise
        return identities

    def close(self) -> None:
        """Let the file go. O(1)."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _locked(self, path: Path) -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise NodesFileError("another server uses it") from None
        return descriptor

    def _replace(self, text: str) -> None:
        """Give the file this content at once; the lock goes over to the new file."""
        beside = self.path.with_name(f"{self.path.name}.tmp-{os.getpid()}")
        descriptor = -1
        try:
            # Locked before it has the name, so that no other server can come between.
            descriptor = self._locked(beside)
            os.write(descriptor, text.encode())
            os.fsync(descriptor)
            os.rename(beside, self.path)
        except BaseException:
            if descriptor >= 0:
                os.close(descriptor)
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
        old, self._lock = self._lock, descriptor
        os.close(old)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
