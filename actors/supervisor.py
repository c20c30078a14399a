"""Starts the workers and shards of a server, watches them, and restarts what dies.

    start():  fork all shards -> each says ready -> fork all workers -> each says ready
    a death:  sentinel -> figures cleared, epoch + 1, topology sent -> fork -> ready -> topology
    stop():   workers finish and exit -> shards finish and exit -> whatever is left is killed

Contract
1. The process that runs this has no thread and no ZeroMQ context, so that a fork is safe at any
   time. It runs asyncio's own loop: a forked child abandons that loop without touching it.
2. A child keeps the descriptors it needs and closes all others, so that the end-of-file of a
   control link means exactly one thing. Besides, the kernel kills it when this process dies.
3. An epoch is never used twice. The topology with a new epoch is sent before the process of that
   epoch exists, and its version grows with every change.
4. What a process is started with (topology, configuration) and what it is sent later has no gap:
   its link is connected before the fork, and nothing is awaited between.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from multiprocessing.context import ForkProcess
from typing import Any, Final

from actors.boot import Boot, Topology
from actors.control import ControlClosed, ControlFailure, ControlLink, Message
from actors.fence import end_transactions, leave_participant
from actors.listening import Listener, send_listeners
from actors.page import SharedPage
from actors.process import die_with_parent, set_name, set_title

STABLE_SECONDS: Final = 5.0
"""A process that lived this long restarts at once; one that died sooner waits ever longer."""
BACKOFF_FIRST_SECONDS: Final = 0.05
BACKOFF_SECONDS_MAX: Final = 5.0
READY_SECONDS_MAX: Final = 60.0
"""How long the first start of a process may take before the server gives up."""
LINKS_ANEW_MAX: Final = 16
"""So often a worker and a shard get new links after a fault, in one life of both; the faults would
be theirs otherwise."""
LINKS_ANEW_SECONDS: Final = 0.1
"""Between a fault and the new links, so that one which shows again at once takes little."""
LINK_GRACE_SECONDS: Final = 1.0
"""How long a process may live on after its control link broke, before it is killed."""

_log = logging.getLogger("shardis")


class Role(Enum):
    WORKER = "worker"
    SHARD = "shard"


class StartError(Exception):
    """A process died, or did not get ready, while the server was starting."""


@dataclass(slots=True, eq=False)
class Child:
    """One worker or shard, through all its incarnations."""

    role: Role
    index: int
    epoch: int = 1
    ready: bool = False
    health: str = "up"  # while it is ready: "up", "busy" or "stuck" (actors/watchdog)
    pid: int = 0  # 0: no process at the moment
    restarts: int = 0
    failures: int = 0  # deaths in a row before STABLE_SECONDS
    started: float = 0.0
    process: ForkProcess | None = None
    link: ControlLink | None = None
    descriptors: socket.socket | None = None  # our end of what brings it listeners
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # ready, or dead

    @property
    def name(self) -> str:
        return f"{self.role.value} {self.index}"

    @property
    def state(self) -> str:
        """As INFO has it: "down", or its health."""
        return self.health if self.ready else "down"

    @property
    def is_stuck(self) -> bool:
        return self.ready and self.health == "stuck"


@dataclass(slots=True)
class Plan:
    """What the supervisor is to run; the rest of the program fills it in."""

    directory: str
    page: SharedPage
    hash_seed: bytes
    run_id: str
    slots: list[tuple[int, int, int]]
    workers: int
    shards: int
    worker_main: Callable[[Boot], None]
    shard_main: Callable[[Boot], None]
    listeners: list[Listener]  # of every worker
    configuration: Callable[[], dict[str, Any]]  # a snapshot for the next process
    on_request: Callable[[Child, Message], Any]  # what children ask, but for "ready"
    keep_descriptors: frozenset[int] = frozenset()  # where crash reports go, say
    title: Callable[[str, int], bytes] = lambda role, index: b""  # for ps; b"": the router's
    shard_listeners: dict[int, list[Listener]] = field(default_factory=dict)  # by shard index
    tls: Any = None  # the ssl.SSLContext of processes that start from now on
    nodes: list[list[Any]] = field(default_factory=list)  # cluster mode: fields of each node


class Supervisor:
    """The processes of one server."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.shards = [Child(Role.SHARD, index) for index in range(plan.shards)]
        self.workers = [Child(Role.WORKER, index) for index in range(plan.workers)]
        self.topology_version = 1
        self.stopping = False
        self.health_changed = asyncio.Event()  # of any child, since it was last cleared
        self._context = multiprocessing.get_context("fork")
        self._broadcast_due = False
        self._tasks: set[asyncio.Task[None]] = set()
        # (worker, epoch, shard, epoch): how often they have begun anew.
        self._turns: dict[tuple[int, int, int, int], int] = {}
        self._started = False

    # Life

    async def start(self) -> None:
        """Fork everything and wait until it serves. Raises StartError (after killing all)."""
        gc.collect()
        gc.freeze()  # what was imported is shared with the children and never looked at again
        try:
            # Shards first: a worker that accepts a client can serve it.
            for group in (self.shards, self.workers):
                for child in group:
                    await self._fork(child)
                for child in group:
                    await self._first_ready(child)
        except BaseException:
            self.kill()
            raise
        self._started = True

    async def stop(self, timeout_seconds: float) -> bool:
        """End all processes in order; False when some had to be killed.

        Workers have half of the time to finish what they admitted, shards the rest.
        """
        self.stopping = True
        begun = time.monotonic()
        clean = await self._stop_group(self.workers, begun + timeout_seconds / 2)
        return await self._stop_group(self.shards, begun + timeout_seconds) and clean

    def kill(self) -> None:
        """Kill whatever still runs, without waiting: for the way out after an error."""
        self.stopping = True
        self._kill(self._children())

    def kill_child(self, child: Child) -> None:
        """Kill one process, stopped or not; it is started again."""
        self._kill([child])

    def pids(self) -> list[int]:
        """The processes that live now."""
        return [child.pid for child in self._children() if child.pid]

    # Messages

    @property
    def topology(self) -> Topology:
        return Topology(
            version=self.topology_version,
            shards=[(child.index, child.epoch, child.ready) for child in self.shards],
            workers=[(child.index, child.epoch) for child in self.workers],
            slots=list(self.plan.slots),
        )

    async def ask(
        self, children: Sequence[Child], message: Message, timeout_seconds: float | None = None
    ) -> list[Any]:
        """The answers of some processes, in their order; None for one that has none.

        A process that is down, dies meanwhile, fails or exceeds the timeout has no answer, nor has
        one that is stuck; it gets the request all the same. All requests are sent before this first
        waits.
        """
        answers = [
            child.link.start_request(message) if child.link is not None else None
            for child in children
        ]
        await self._answered(children, answers, timeout_seconds)
        results: list[Any] = []
        for child, answer in zip(children, answers, strict=True):
            if answer is None:
                results.append(None)
            elif not answer.done():
                answer.cancel()
                if not child.is_stuck:  # else the log has said so
                    _log.warning("No answer from %s to %r", child.name, message.get("op"))
                results.append(None)
            else:
                try:
                    results.append(answer.result())
                except ControlClosed:
                    results.append(None)
                except ControlFailure as error:
                    _log.warning("%s failed at %r: %s", child.name, message.get("op"), error)
                    results.append(None)
        return results

    async def _answered(
        self,
        children: Sequence[Child],
        answers: Sequence[asyncio.Future[Any] | None],
        timeout_seconds: float | None,
    ) -> None:
        """Wait until every process has answered but for those that are stuck, or become so."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            waiting = {
                answer
                for child, answer in zip(children, answers, strict=True)
                if answer is not None and not answer.done() and not child.is_stuck
            }
            left = None if deadline is None else deadline - time.monotonic()
            if not waiting or (left is not None and left <= 0):
                return
            self.health_changed.clear()
            changed = asyncio.ensure_future(self.health_changed.wait())
            await asyncio.wait(
                {*waiting, changed}, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
            changed.cancel()

    def listeners_of(self, child: Child) -> list[Listener]:
        """What this process accepts from when it starts now."""
        if child.role is Role.WORKER:
            return self.plan.listeners
        return self.plan.shard_listeners.get(child.index, [])

    async def hand_listeners(self, children: Sequence[Child]) -> None:
        """Have running processes accept from their present listeners, and from no others.

        Returns when all do. One that cannot is killed, as it would go on with sockets that the
        server has given up; its successor inherits the present ones.
        """
        asked: list[tuple[Child, int, asyncio.Future[Any]]] = []
        for child in children:
            if child.link is None or child.descriptors is None:
                continue
            listeners = self.listeners_of(child)
            try:
                send_listeners(child.descriptors, listeners)
            except OSError as error:
                _log.error("%s takes no listeners: %s", child.name, error)
                self._kill([child])
                continue
            message = {"op": "listeners", "kinds": [listener.kind for listener in listeners]}
            asked.append((child, child.epoch, child.link.start_request(message)))
        await self._answered(
            [child for child, _, _ in asked], [answer for _, _, answer in asked], None
        )
        for child, epoch, answer in asked:
            if not answer.done():
                continue  # it is stuck, and takes them over when it goes on
            if answer.exception() is not None and child.epoch == epoch:
                _log.error("%s cannot listen: %s", child.name, answer.exception())
                self._kill([child])

    def broadcast_topology(self) -> None:
        """Count a change of the topology; one message for all changes of this turn of the loop."""
        self.topology_version += 1
        if not self._broadcast_due:
            self._broadcast_due = True
            asyncio.get_running_loop().call_soon(self._send_topology)

    def _send_topology(self) -> None:
        self._broadcast_due = False
        if self.stopping:
            return
        message = self.topology.message()
        for child in self._children():
            if child.link is not None:
                child.link.notify(message)

    def _children(self) -> list[Child]:
        return [*self.workers, *self.shards]

    # Birth

    async def _fork(self, child: Child) -> None:
        parent_end, child_end = socket.socketpair()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        epoch = child.epoch
        link = await ControlLink.connect(
            parent_end,
            lambda message: self._requested(child, epoch, message),
            lambda: self._link_closed(child, epoch),
        )
        if self.stopping:
            link.close()
            for end in (child_end, ours, theirs):
                end.close()
            return
        plan = self.plan
        boot = Boot(
            index=child.index,
            epoch=epoch,
            directory=plan.directory,
            control=child_end,
            page=plan.page,
            config=plan.configuration(),
            hash_seed=plan.hash_seed,
            run_id=plan.run_id,
            topology=self.topology,
            listeners=self.listeners_of(child),
            descriptors=theirs,
            tls=plan.tls,
            nodes=plan.nodes,
        )
        kept = {0, 1, 2, child_end.fileno(), theirs.fileno(), *plan.keep_descriptors}
        kept.update(listener.fileno() for listener in boot.listeners)
        # What multiprocessing opens from here on (its sentinel's other end) is not in the list.
        unwanted = [fd for fd in map(int, os.listdir("/proc/self/fd")) if fd not in kept]
        main = plan.worker_main if child.role is Role.WORKER else plan.shard_main
        title = plan.title(child.role.value, child.index)
        process = self._context.Process(
            target=_child_main,
            args=(main, boot, child.role, title, os.getpid(), unwanted),
            daemon=True,
        )
        blocked = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        child_end.close()
        theirs.close()
        child.process, child.link, child.descriptors = process, link, ours
        child.pid = process.pid or 0
        child.started = time.monotonic()
        asyncio.get_running_loop().add_reader(process.sentinel, self._died, child)

    async def _first_ready(self, child: Child) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS_MAX):
                await child.changed.wait()
        except TimeoutError:
            raise StartError(f"{child.name} does not get ready") from None
        if not child.ready:
            raise StartError(f"{child.name} ended while starting")

    def _requested(self, child: Child, epoch: int, message: Message) -> Any:
        if not isinstance(message, dict):
            raise TypeError("a control request is a map")
        if message.get("op") == "broken":
            self._spawn_task(self._part(child.index, epoch, int(message["shard"])))
            return None
        if message.get("op") != "ready":
            return self.plan.on_request(child, message)
        if child.epoch == epoch and not child.ready:
            child.ready = True
            child.changed.set()
            self.broadcast_topology()
            if child.restarts:
                _log.info("%s is ready again (pid %d)", child.name, child.pid)
        return None

    # Death

    def _died(self, child: Child) -> None:
        process = child.process
        assert process is not None
        asyncio.get_running_loop().remove_reader(process.sentinel)
        process.join()
        code, pid, lived = process.exitcode, child.pid, time.monotonic() - child.started
        process.close()
        link, child.link, child.process = child.link, None, None
        child.pid, child.ready, child.health = 0, False, "up"
        child.epoch += 1
        if link is not None:
            link.close()
        if child.descriptors is not None:
            child.descriptors.close()
            child.descriptors = None
        keys = 0
        if child.role is Role.WORKER:
            self.plan.page.clear_worker(child.index)
        else:
            keys = self.plan.page.shard(child.index, "keys")
            self.plan.page.clear_shard(child.index)
        child.changed.set()
        if self.stopping:
            return
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        _log.warning("%s ended (pid %d, epoch %d, %s)", child.name, pid, child.epoch - 1, how)
        if not self._started:
            return
        if child.role is Role.SHARD:
            _log.warning(
                "%s comes back empty: %d keys are lost, since nothing is saved to disk",
                child.name,
                keys,
            )
        child.changed.clear()
        child.restarts += 1
        child.failures = 0 if lived >= STABLE_SECONDS else child.failures + 1
        self.broadcast_topology()
        if child.role is Role.WORKER:
            self._spawn_task(self._fence(child.index, child.epoch - 1))
        self._spawn_task(self._restart(child))

    async def _fence(self, worker: int, epoch: int) -> None:
        """Settle what a dead worker has left in the middle (actors/fence)."""
        links = [shard.link for shard in self.shards if shard.link is not None]
        committed, dropped = await end_transactions(links, worker, epoch)
        if committed or dropped:
            _log.warning(
                "worker %d left %d transactions; %d were completed, %d had not begun",
                worker, committed + dropped, committed, dropped,
            )  # fmt: skip

    async def _part(self, worker: int, epoch: int, shard: int) -> None:
        """A worker has left a shard that lives: let that one forget what it was sent, and both
        begin anew.

        Should one of them die meanwhile, its successor finds no links to the other one, and gets
        them as any that starts.
        """
        child, peer = self.workers[worker], self.shards[shard]
        link, peer_epoch = peer.link, peer.epoch
        if link is None or child.epoch != epoch:
            return
        pair = worker, epoch, shard, peer_epoch
        turn = self._turns[pair] = self._turns.get(pair, 0) + 1
        with contextlib.suppress(ControlClosed):
            await leave_participant(link, worker, epoch)
            if turn > LINKS_ANEW_MAX:
                _log.error("%s and %s stay apart until one of them restarts", child.name, peer.name)
                return
            await asyncio.sleep(LINKS_ANEW_SECONDS)
            anew = {"op": "links", "turn": turn}
            await link.start_request({**anew, "worker": worker, "epoch": epoch})
            if child.link is not None and child.epoch == epoch:
                child.link.notify({**anew, "shard": shard, "epoch": peer_epoch})

    async def _restart(self, child: Child) -> None:
        # The first death is answered at once; only what keeps dying waits.
        if child.failures > 1:
            delay = min(BACKOFF_FIRST_SECONDS * 2 ** (child.failures - 2), BACKOFF_SECONDS_MAX)
            await asyncio.sleep(delay)
        while not self.stopping:
            try:
                await self._fork(child)
            except OSError as error:  # no memory or no descriptors at the moment
                _log.error("%s cannot be started: %s", child.name, error)
                await asyncio.sleep(BACKOFF_SECONDS_MAX)
            else:
                return

    def _link_closed(self, child: Child, epoch: int) -> None:
        """A link ends with its process; a process without its link is deaf, and has to go."""

        def kill_if_alive() -> None:
            if child.epoch == epoch and child.process is not None:
                _log.error("%s (pid %d) closed its control link", child.name, child.pid)
                self._kill([child])

        if not self.stopping and child.epoch == epoch:
            asyncio.get_running_loop().call_later(LINK_GRACE_SECONDS, kill_if_alive)

    async def _stop_group(self, group: Sequence[Child], deadline: float) -> bool:
        for child in group:
            child.changed.clear()
        alive = [child for child in group if child.process is not None]
        for child in alive:
            if child.link is not None:
                child.link.start_request({"op": "shutdown"})
        if not alive:
            return True
        ends = [asyncio.ensure_future(self._ended(child)) for child in alive]
        _, late = await asyncio.wait(ends, timeout=max(0.0, deadline - time.monotonic()))
        if not late:
            return True
        stuck = [child for child in alive if child.process is not None]
        for child in stuck:
            _log.warning("%s (pid %d) did not end in time; killing it", child.name, child.pid)
        self._kill(stuck)
        await asyncio.wait(ends)
        return False

    async def _ended(self, child: Child) -> None:
        while child.process is not None:
            child.changed.clear()
            await child.changed.wait()

    def _kill(self, children: Iterable[Child]) -> None:
        for child in children:
            if child.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    child.process.kill()

    def _spawn_task(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _child_main(
    main: Callable[[Boot], None],
    boot: Boot,
    role: Role,
    title: bytes,
    parent: int,
    unwanted: list[int],
) -> None:
    """The first thing a forked process does: to become independent of the router's state."""
    # The router's loop stays referenced by the frames below this one, so nothing of it is ever
    # finalized here; its epoll set is shared with the router and must not be touched.
    signal.set_wakeup_fd(-1)
    asyncio.events._set_running_loop(None)
    asyncio.set_event_loop(None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the router decides; Ctrl-C reaches the group
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    for descriptor in unwanted:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    try:
        die_with_parent(signal.SIGKILL, parent)
    except ProcessLookupError:
        os._exit(1)
    set_name(f"shardis-{role.value[0]}{boot.index}".encode())
    if title:
        set_title(title)
    gc.freeze()
    try:
        main(boot)
    except SystemExit:
        raise
    except BaseException:
        _log.critical("%s %d ends by an error", role.value, boot.index, exc_info=True)
        logging.shutdown()
        sys.exit(1)
