"""What a worker does beside parsing and routing, without a socket of its own; see `Host`.

A worker process (router/worker.py) adds listeners, ZeroMQ links and the control link; the
simulation (tests/sim) adds links in memory and a loop whose time it decides. Both run this code.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from random import Random
from typing import Any

from actors.boot import Topology, coordinator
from protocol.commands import Command, Place
from protocol.replies import replies as cut_up
from protocol.slots import key_slot
from protocol.table import NativeTable
from router.dispatch import WorkerDispatcher
from router.exec import execute
from router.multi_shard import run_multi_shard
from router.transactions import (
    NO_TOUCH,
    PLAIN,
    RELEASE,
    TRANSACTIONS_MAX,
    Commands,
    Run,
    ShardLost,
    replies_of,
)
from router.transactions import (
    Command as Call,
)
from router.waiting import Wait
from sessions.barriers import REPLICAS_AT, Barriers
from sessions.clients import ClientControl
from sessions.reactor import Reactor
from sessions.session import Session

SLOW_CLIENTS_MAX = 1024
"""Clients remembered for the shards' slow logs, which outlive them."""


class Line:
    """An internal session: commands of this worker itself for one shard, a hop at a time.

    It drives its session itself. What is under way when the shard dies gets LOADING errors for
    replies if it only reads, and else ShardLost.
    """

    def __init__(self, host: Host, shard: int, database: int, resp: int) -> None:
        self.host = host
        self.session = host.dispatcher.open_session(0)
        self.session.driver = self
        self.session.pinned = shard
        self.session.database = database
        self.session.resp = resp
        self.parts: list[bytes] = []
        self.waiting: list[tuple[asyncio.Future[bytes], int]] = []  # and how many replies it gets
        self.ends = False

    def send(
        self, label: tuple[int, int, int] | None, runs: Sequence[Run]
    ) -> asyncio.Future[bytes]:
        """Send runs, given as flags and commands; the raw replies, when all are here.

        `label` is the transaction's id, number and time.
        """
        future: asyncio.Future[bytes] = self.host.loop.create_future()
        session = self.session
        if session.closed:
            future.set_exception(ShardLost())
            return future
        replies = sum(replies_of(run) for run in runs)
        self.waiting.append((future, replies))
        session.transaction = label
        for flags, commands in runs:
            session.run_flags = flags
            if len(commands) == 1:
                session.push(encode(commands[0]))
            else:
                self.host.dispatcher.send_run(session, [list(args) for args in commands])
        self.host.schedule_flush()
        return future

    def close(self) -> None:
        """End it when all that is under way has been answered."""
        self.ends = True
        self._settle()

    def flush_session(self, session: Session) -> None:
        self.parts.append(session.take_output())
        self._settle()

    def _settle(self) -> None:
        session = self.session
        if session.unanswered or session.output_bytes or session.waits:
            return
        waiting, self.waiting = self.waiting, []
        answer, self.parts = b"".join(self.parts), []
        answers = cut_up(answer) if len(waiting) > 1 else []
        at = 0
        for future, count in waiting:
            if not future.done():
                future.set_result(b"".join(answers[at : at + count]) if answers else answer)
            at += count
        if self.ends and not session.closed:
            session.closed_by_driver()

    def close_session(self, session: Session) -> None:
        session.closed_by_driver()
        for future, _ in self.waiting:
            if not future.done():
                future.set_exception(ShardLost())


def encode(args: Call) -> bytes:
    """A command as RESP."""
    return b"*%d\r\n%b" % (len(args), b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args))


class Host(Barriers):
    """The host of a dispatcher (see sessions.dispatcher.Dispatcher), and the topology it works in.

    Subclasses say how connections come (`accept`), what their end means (`connection_closed`), how
    shards are reached (`connect`, `disconnect`) and who answers ADMIN commands (`ask_router`).
    """

    dispatcher: WorkerDispatcher

    def __init__(
        self,
        table: NativeTable,
        shard_count: int,
        settings: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.native_table = table
        self.table = table.table
        self.settings = dict(settings)
        self.databases = int(settings["databases"])
        super().__init__(loop)
        self.dispatcher = WorkerDispatcher(table, shard_count)
        self.dispatcher.host = self
        self.reactor = Reactor(self.dispatcher, self.accept)
        self.epochs: list[int] = [0] * shard_count  # 0: no links
        self.barriers: set[asyncio.Task[None]] = set()  # those of `tasks` that work on shards
        self.blocked_tasks: dict[asyncio.Task[Any], Wait] = {}  # and those that wait there
        self.clients = ClientControl(
            self.dispatcher, loop, self.schedule_flush, lambda: self.barriers
        )
        self.first_slots: list[tuple[int, int]] = []  # each shard's first slot, ascending
        self.coordinator = self.dispatcher.coordinator
        self.coordinator.incarnation = coordinator(0, 1)  # a worker process sets its own
        self.chance = Random()  # for RANDOMKEY
        self.transactions = asyncio.Semaphore(TRANSACTIONS_MAX)
        self.slow_clients: dict[int, tuple[str, bytes]] = {}  # id -> address, name; oldest first
        self.moving = 0  # of these, those that will change two shards
        self.workers = 1
        self.waits: dict[int, Wait] = {}  # by transaction: clients that wait for several shards
        self.waits_by_slot: dict[int, Wait] = {}  # the same by their session's slot

    def accept(self, connection: Any, peer: Any) -> tuple[int, str, str] | None:
        """A new connection: its client id and addresses, or None to refuse it."""
        raise NotImplementedError

    def connection_closed(self, session: Session) -> None:
        """A client's connection has gone."""

    def connect(self, shard: int, epoch: int) -> tuple[Any, Any]:
        """Links to this incarnation of a shard: the main one and the bulk one."""
        raise NotImplementedError

    def disconnect(self, link: Any) -> None:
        """Close a link that `connect` gave."""
        raise NotImplementedError

    def note_slow_client(self, session: Session) -> None:
        """A shard has put a command of this client into its slow log, without its name."""
        self.slow_clients.pop(session.id, None)
        self.slow_clients[session.id] = session.address, session.name
        if len(self.slow_clients) > SLOW_CLIENTS_MAX:
            del self.slow_clients[next(iter(self.slow_clients))]

    # Topology

    def install(self, topology: Topology) -> None:
        """Leave the shards that have died, link to those that are up, route by the new slots."""
        self.dispatcher.set_slots(topology.version, topology.slots)
        self.workers = len(topology.workers)
        self.set_order()
        if self.dispatcher.cluster is not None:
            now_ms = time.time_ns() // 1_000_000
            self.dispatcher.cluster.update(topology.slots, topology.shards, now_ms)
        firsts: dict[int, int] = {}
        for first, _, shard in sorted(topology.slots):
            firsts.setdefault(shard, first)
        self.first_slots = [(first, shard) for shard, first in firsts.items()]
        for shard, epoch, up in topology.shards:
            if self.epochs[shard] and (not up or self.epochs[shard] != epoch):
                self.epochs[shard] = 0
                if self.dispatcher.is_up(shard):
                    self.leave(shard)
            if up and not self.epochs[shard]:
                self.dispatcher.shard_up(shard, epoch, *self.connect(shard, epoch))
                self.epochs[shard] = epoch

    def link_broken(self, shard: int) -> None:
        """What a shard has sent can't be right: leave it, until there are new links to it."""
        self.leave(shard)

    def leave(self, shard: int) -> None:
        """Settle what this incarnation of a shard will not answer, and close the links to it."""
        for wait in list(self.waits.values()):
            wait.lose(shard)
        for link in self.dispatcher.shard_down(shard):
            self.disconnect(link)
        self.schedule_flush()

    # Slow paths

    def closed(self, session: Session) -> None:
        self.input_ended(session)
        if not isinstance(session.driver, Line):
            session.unwatch()
            self.connection_closed(session)

    def unwatch(self, session: Session, shard: int) -> None:
        """Let a shard forget what a client watches there, before the client watches anew.

        Not now: the session may be in the middle of its input, and its scanner is that of all.
        """
        self.loop.call_soon(self._unwatch, session.id, shard)

    def _unwatch(self, client_id: int, shard: int) -> None:
        if self.dispatcher.is_up(shard):
            self.call(shard, [[b"SHARDIS.UNWATCH", b"%d" % client_id]], 0, 2).add_done_callback(
                asyncio.Future.exception
            )

    def run_barrier(self, session: Session, command: Command, args: list[bytes]) -> None:
        """Start a command that needs more than this process and one shard."""
        task = self.spawn(self.answer_barrier(session, command, args))
        if command.place is not Place.ADMIN:
            self.barriers.add(task)
            task.add_done_callback(self.barriers.discard)

    async def ask_shards(self, session: Session, command: Command, args: list[bytes]) -> bytes:
        if command.name == "EXEC":
            return await execute(self, session)
        return await run_multi_shard(self, session, command, args)

    def shard_of(self, key: bytes) -> int:
        """The shard that a key belongs to."""
        return self.dispatcher.shard_of(key_slot(key))

    def open_line(self, shard: int, database: int, resp: int) -> Line:
        """A new internal session for one shard."""
        return Line(self, shard, database, resp)

    def call(
        self,
        shard: int,
        commands: Commands,
        database: int,
        resp: int,
        *,
        no_touch: bool = False,
    ) -> asyncio.Future[bytes]:
        """Run commands on one shard, in order and in one run; the raw replies, one after another.

        An unanswered read on a dying shard gives its LOADING error as the reply; a write raises
        ShardLost.
        """
        line = self.open_line(shard, database, resp)
        future = line.send(None, [(NO_TOUCH if no_touch else PLAIN, commands)])
        line.close()
        return future

    def set_order(self) -> None:
        """Whether all that is executed is ordered by this process alone.

        A shard locks keys by itself for a client that waits. Where such a client will change two
        shards, others must not read these without locks.
        """
        self.coordinator.alone = self.workers == 1
        self.coordinator.orders_all = (
            self.coordinator.alone and self.dispatcher.cluster is None and not self.moving
        )

    # Clients that wait for keys of several shards

    def begin_moving(self) -> None:
        self.moving += 1
        self.set_order()

    def end_moving(self) -> None:
        self.moving -= 1
        self.set_order()

    async def wait_for_replicas(
        self, session: Session, command: Command, args: list[bytes], reply: bytes
    ) -> bytes:
        if int(args[REPLICAS_AT[command.name]]) <= 0:
            return reply
        wait = Wait(self, session, args, moves=False)
        try:
            wait.limit(int(args[-1]), reply)
            return await wait.turn() or b""
        finally:
            wait.end()

    def begin_waiting(self, wait: Wait) -> None:
        """Its client is blocked, and so is nothing that a pause or the end has to wait for."""
        wait.session.waits_for_keys = True
        task = wait.task
        wait.is_barrier = task in self.barriers
        self.barriers.discard(task)
        self.tasks.discard(task)
        self.blocked_tasks[task] = wait

    def end_waiting(self, wait: Wait) -> None:
        """It goes on, or has ended."""
        wait.session.waits_for_keys = False
        task = wait.task
        del self.blocked_tasks[task]
        if wait.is_barrier:
            self.barriers.add(task)
        self.tasks.add(task)

    def input_ended(self, session: Session) -> None:
        """A client sends no more: as in Redis it waits no longer, either."""
        wait = self.waits_by_slot.get(session.slot)
        if wait is not None:
            if session.waits_for_keys:
                session.forget_input()
            wait.stop(b"")

    def unblock(self, session: Session, error: bool) -> asyncio.Future[bool]:
        """CLIENT UNBLOCK of one that waits: whether that is what ends it."""
        return self.waits_by_slot[session.slot].unblock(error)

    def claimed(self, shard: int, id: int) -> None:
        """A shard has locked keys for a command that waits; or that does so no more."""
        wait = self.waits.get(id)
        if wait is not None:
            wait.claimed()
            return
        line = self.open_line(shard, 0, 2)
        line.send((id, 0, 0), [(RELEASE | NO_TOUCH, [[b"SHARDIS.RELEASE"]])])
        line.close()
