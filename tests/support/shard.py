"""A shard without a process: a real executor over a keyspace of its own; a test plays the workers.

`new_executor` is what tests of executors and the simulation build on. Time stands still
unless they move it, and chance has a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from actors.mailbox import MemoryLink
from protocol.table import NativeTable
from router.table import full_table
from shards.commands import native
from shards.execution.executor import Executor
from shards.execution.runner import Runner
from shards.keyspace.keyspace import Keyspace
from shards.lane.context import Context, Settings
from shards.lane.handler import NativeLane
from tests.support.envelopes import RUN_MULTI, Part, Run, read_replies, requests
from tests.support.resp_client import encode
from tests.support.slots import slot

TABLE = NativeTable(full_table())
LANE = NativeLane()
native.register(LANE)
START_MS = 1_700_000_000_000

Word = bytes | str | int


def new_executor(
    now_ms: Callable[[], int],
    *,
    keyspace: Keyspace | None = None,
    native_lane: bool = True,
    epoch: int = 1,
) -> Executor:
    """An executor without links, and by this clock."""
    if keyspace is None:
        keyspace = Keyspace(16, bytes(16), 1)
    context = Context(keyspace, Settings({}), TABLE.table, 16, Random(0))
    executor = Executor(Runner(TABLE, keyspace, context, LANE, now_ms), epoch)
    executor.runner.native_lane = native_lane
    return executor


def header(command: Sequence[Word]) -> tuple[int, int, int, int, int]:
    """A command header as the worker makes it: with the first key."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    length = len(encode(*words))
    number = TABLE.lookup(words)
    keys = TABLE.keys(number, words)
    if not keys:
        return length, 0, 0, number, 0
    at = len(b"*%d\r\n" % len(words))
    at += sum(len(b"$%d\r\n%b\r\n" % (len(word), word)) for word in words[: keys[0]])
    key = words[keys[0]]
    return length, at + len(b"$%d\r\n" % len(key)), len(key), number, slot(key)


def run(commands: Sequence[Sequence[Word]], **more: int) -> Run:
    """A run of these commands."""
    raw = b"".join(encode(*command) for command in commands)
    return Run(commands=[header(command) for command in commands], raw=raw, **more)


class Shard:
    """An executor and the workers' ends of its links."""

    def __init__(self, workers: int = 1, native_lane: bool = True, epoch: int = 1) -> None:
        self.now_ms = START_MS
        self.executor = new_executor(lambda: self.now_ms, native_lane=native_lane, epoch=epoch)
        self.context = self.executor.runner.context
        self.keyspace = self.context.keyspace
        self.links: list[MemoryLink] = []
        self.bulk: list[MemoryLink] = []
        for i in range(workers):
            main, bulk = MemoryLink.pair(f"main{i}"), MemoryLink.pair(f"bulk{i}")
            self.executor.add_links(main[1], bulk[1])
            self.links.append(main[0])
            self.bulk.append(bulk[0])

    def send(self, *runs: Run, worker: int = 0, epoch: int = 1) -> None:
        self.links[worker].post(requests(epoch, runs))

    def parts(self, worker: int = 0) -> list[Part]:
        """Let the executor work; all parts that have come back."""
        self.executor.service()
        found = []
        while (message := self.links[worker].fetch()) is not None:
            found += read_replies(message)[1]
        return found

    def call(self, *args: Word, **more: int) -> bytes:
        """The reply of a command, which does not wait."""
        self.send(run([list(args)], **{"flags": RUN_MULTI, **more}))
        (part,) = self.parts()
        return part.data
