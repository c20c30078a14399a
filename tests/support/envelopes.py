"""The messages between workers and shards, read and written apart from the code under test.

The layout is that of protocol/envelope.pxd.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

MESSAGE_RUNS = 1
MESSAGE_REPLIES = 2
MESSAGE_READ = 3
MESSAGE_CANCEL = 4
MESSAGE_PUSH = 5
PART_DONE, PART_PARKED, PART_BLOCKED = 0, 1, 3
PART_UNBLOCKED = 4
CANCEL_GONE, CANCEL_ENDED, CANCEL_TIMEOUT, CANCEL_ERROR = range(4)
RUN_BULK, RUN_NO_TOUCH, RUN_INTERNAL, RUN_REPLY_OFF = 1, 2, 4, 8
RUN_TRANSACTION, RUN_LOCKS, RUN_PREPARE, RUN_COMMIT, RUN_RELEASE = 16, 32, 64, 128, 256
RUN_ATOMIC, RUN_KEYS, RUN_WAIT = 1024, 2048, 4096
RUN_MULTI = 8192
PART_BULK = 1

REQUEST_HEADER = struct.Struct("=B3xII")  # kind, epoch, runs
RUN = struct.Struct("=IIIIIIQIHHBB2x")
TRANSACTION = struct.Struct("=QQq")  # id, number, time
COMMAND = struct.Struct("=IIIHH")
REPLY_HEADER = struct.Struct("=BxHIIQ")  # kind, messages answered, epoch, parts, durable
CANCEL = struct.Struct("=BB2xIII")  # kind, action, epoch, client, sequence
PUSH = struct.Struct("=B3xIIIQ")  # kind, epoch, client, bytes, CLIENT ID
READ = struct.Struct("=B3xIQ")  # kind, epoch, bytes
PART = struct.Struct("=IIIIIBB2x")


@dataclass(slots=True)
class Run:
    """A stretch of commands of one client, and their raw bytes."""

    client: int = 0
    sequence: int = 0
    commands: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    raw: bytes = b""
    bulk: int = 0
    map_version: int = 1
    client_id: int = 0
    database: int = 0
    resp: int = 2
    flags: int = 0
    transaction: tuple[int, int, int] | None = None
    watches: int = 0

    def packed(self) -> bytes:
        head = RUN.pack(
            self.client, self.sequence, len(self.raw), self.bulk, self.map_version, 0,
            self.client_id, len(self.commands), self.database, self.flags, self.resp, self.watches,
        )  # fmt: skip
        if self.transaction is not None:
            head += TRANSACTION.pack(*self.transaction)
        return head + b"".join(COMMAND.pack(*command) for command in self.commands) + self.raw


@dataclass(slots=True)
class Part:
    """A piece of the answer to a run."""

    client: int
    sequence: int
    data: bytes
    commands: int
    status: int = PART_DONE
    bulk: int = 0
    unblocked: bool = False  # by CLIENT UNBLOCK

    def packed(self) -> bytes:
        head = PART.pack(
            self.client, self.sequence, len(self.data), self.bulk, self.commands, self.status,
            (PART_BULK if self.bulk else 0) | (PART_UNBLOCKED if self.unblocked else 0),
        )  # fmt: skip
        return head + self.data


def read_run(data: bytes, at: int) -> tuple[Run, int]:
    """The run at this place, and where it ends."""
    client, sequence, size, bulk, version, _, client_id, count, database, flags, resp, watches = (
        RUN.unpack_from(data, at)
    )
    at += RUN.size
    transaction = None
    if flags & RUN_TRANSACTION:
        transaction = TRANSACTION.unpack_from(data, at)
        at += TRANSACTION.size
    commands = [COMMAND.unpack_from(data, at + i * COMMAND.size) for i in range(count)]
    at += count * COMMAND.size
    raw = data[at : at + size]
    run = Run(
        client, sequence, commands, raw, bulk, version, client_id, database, resp, flags,
        transaction, watches,
    )  # fmt: skip
    return run, at + size


def read_requests(data: bytes) -> tuple[int, list[Run]]:
    """The epoch and runs of a request message."""
    kind, epoch, count = REQUEST_HEADER.unpack_from(data)
    assert kind == MESSAGE_RUNS
    at = REQUEST_HEADER.size
    runs = []
    for _ in range(count):
        run, at = read_run(data, at)
        runs.append(run)
    assert at == len(data)
    return epoch, runs


def requests(epoch: int, runs: Sequence[Run]) -> bytes:
    """A request message."""
    head = REQUEST_HEADER.pack(MESSAGE_RUNS, epoch, len(runs))
    return head + b"".join(run.packed() for run in runs)


def bytes_read(data: bytes) -> int | None:
    """How much of the shard's replies this message says was read; None: it is another one."""
    return READ.unpack(data)[2] if data[0] == MESSAGE_READ else None


def have_read(epoch: int, size: int) -> bytes:
    """A worker's message that so much of the replies was read."""
    return READ.pack(MESSAGE_READ, epoch, size)


def read_replies(data: bytes) -> tuple[int, list[Part]]:
    """The epoch and parts of a reply message."""
    kind, _, epoch, count, _ = REPLY_HEADER.unpack_from(data)
    assert kind == MESSAGE_REPLIES
    at = REPLY_HEADER.size
    parts = []
    for _ in range(count):
        client, sequence, size, bulk, commands, status, flags = PART.unpack_from(data, at)
        at += PART.size
        unblocked = flags & PART_UNBLOCKED != 0
        part = Part(client, sequence, data[at : at + size], commands, status, bulk, unblocked)
        at += size
        parts.append(part)
    assert at == len(data)
    return epoch, parts


def replies(epoch: int, parts: Iterable[Part]) -> bytes:
    """A reply message."""
    packed = [part.packed() for part in parts]
    return REPLY_HEADER.pack(MESSAGE_REPLIES, 1, epoch, len(packed), 0) + b"".join(packed)


def cancelled(data: bytes) -> int | None:
    """The client that this message says has gone; None: it is another one."""
    return CANCEL.unpack(data)[3] if data[0] == MESSAGE_CANCEL else None


def cancel(epoch: int, client: int, action: int = CANCEL_GONE, sequence: int = 0) -> bytes:
    """A worker's message that a client has gone, or that its blocked command is to end."""
    return CANCEL.pack(MESSAGE_CANCEL, action, epoch, client, sequence)


def push(epoch: int, client: int, client_id: int, data: bytes) -> bytes:
    """A shard's message for a client that answers nothing."""
    return PUSH.pack(MESSAGE_PUSH, epoch, client, len(data), client_id) + data
