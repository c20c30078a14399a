"""Workers, shards and clients, the deaths among them, and what must hold in the end."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, NoReturn

from actors.boot import Topology, coordinator
from actors.fence import Report, verdict
from actors.mailbox import MemoryLink
from protocol.reply import Reply
from router.host import Host
from shards.keyspace.keyspace import Keyspace
from shards.memory.allocation import live_blocks
from tests.sim.client import Client
from tests.sim.clock import START_MS, Clock, VirtualLoop
from tests.sim.model import Request
from tests.sim.network import Network
from tests.sim.requests import DATABASES
from tests.support.shard import TABLE, new_executor
from tests.support.slots import SLOTS, slot

SHARDS = 3
STOP_US_MAX = 8000
TRACE_LINES_MAX = 400
STEPS_MAX = 200_000


class Violation(AssertionError):
    """The simulated server broke a promise."""


@dataclass(slots=True)
class Options:
    """The size of a world, and how rough it is there."""

    workers: int = 2
    clients: int = 6
    commands: int = 50  # of each client
    deaths: int = 2
    hang_ups: int = 1
    native_lane: bool = True
    tags: int = 12  # slots that all keys are in
    batch_bytes_held_max: int | None = None  # None: the dispatcher's own
    unread_bytes_max: int | None = None  # of replies on their way; None: the executor's own
    shard_bytes_max: int | None = None  # under way from a worker to a shard; None: its own
    transactions_max: int | None = None  # open at once in a worker; None: its own
    bulk_bytes_max: int | None = None  # of a client's argument; None: the dispatcher's own
    worker_deaths: int = 0  # spread over `span_us`
    stops: int = 0  # of processes, which go on later
    pushes: int = 0  # by shards, to clients of any worker
    span_us: int = 60_000  # in which deaths happen


class SimShard:
    """One incarnation of a shard."""

    def __init__(self, world: World, index: int, epoch: int) -> None:
        self.world = world
        self.index = index
        self.epoch = epoch
        self.alive = True
        self.due = False
        self.stopped_until_us = 0
        self.links: list[MemoryLink] = []
        self.keyspace = Keyspace(16, b"0123456789abcdef", world.random.getrandbits(63))
        self.executor = new_executor(
            world.clock.now_ms,
            keyspace=self.keyspace,
            native_lane=world.options.native_lane,
            epoch=epoch,
        )
        self.executor.serving.on_deadline = self.await_deadline
        if world.options.unread_bytes_max is not None:
            self.executor.unread_bytes_max = world.options.unread_bytes_max
            self.executor.out_bytes_max = world.options.unread_bytes_max // 8

    def stop(self, until_us: int) -> None:
        """Do nothing until then, as a process that was sent SIGSTOP."""
        self.stopped_until_us = until_us

    def wake(self) -> None:
        """Something has come; the shard looks a little later, so that batches form."""
        if not self.due and self.alive:
            self.due = True
            self.world.clock.after(self.world.random.randrange(1, 80), self.service)

    def service(self) -> None:
        if self.alive and self.stopped_until_us > self.world.clock.now_us:
            self.world.clock.at(self.stopped_until_us, self.service)
            return
        self.due = False
        if self.alive:
            self.executor.service()

    def await_deadline(self) -> None:
        """Look at commands that wait when the first of them has waited long enough."""
        due_ms = self.executor.serving.blocking.deadline_ms + 1 - START_MS
        self.world.clock.at(due_ms * 1000, self.expire)

    def expire(self) -> None:
        if not self.alive:
            return
        if self.stopped_until_us > self.world.clock.now_us:
            self.world.clock.at(self.stopped_until_us, self.expire)
        elif self.executor.expire_waiters():
            self.await_deadline()

    def run(self, args: list[Any]) -> bytes:
        """Run a command here and now, whoever waits for what; its raw reply."""
        reply = Reply(2)
        self.executor.runner.refresh_time()
        words = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
        self.executor.runner.run_arguments(words, reply)
        return reply.take()

    def kill(self) -> None:
        self.alive = False
        for link in self.links:
            link.close()


class SimHost(Host):
    """A worker's host without sockets."""

    def __init__(self, worker: SimWorker) -> None:
        self.worker = worker
        loop = VirtualLoop(worker.world.clock, worker.wake)  # type: ignore[abstract]
        super().__init__(TABLE, SHARDS, {"databases": 16}, loop)
        self.coordinator.incarnation = coordinator(worker.index, worker.epoch)
        options = worker.world.options
        if options.transactions_max is not None:
            self.transactions = asyncio.Semaphore(options.transactions_max)
            self.coordinator.open_max = options.transactions_max
        if options.shard_bytes_max is not None:
            self.dispatcher.shard_bytes_max = options.shard_bytes_max
        if options.bulk_bytes_max is not None:
            self.dispatcher.set_limits(options.bulk_bytes_max, 1 << 30)
        held = worker.world.options.batch_bytes_held_max
        if held is not None:
            self.dispatcher.batch_bytes_held_max = held
        unread = worker.world.options.unread_bytes_max
        if unread is not None:
            self.dispatcher.read_bytes_min = unread // 2

    def connect(self, shard: int, epoch: int) -> tuple[Any, Any]:
        return self.worker.world.link(self.worker, shard, epoch)

    def disconnect(self, link: Any) -> None:
        link.close()

    def connection_closed(self, session: Any) -> None:
        self.worker.connections -= 1

    def link_broken(self, shard: int) -> None:
        super().link_broken(shard)
        self.worker.world.link_broken(self.worker, shard)


class SimWorker:
    """One incarnation of a worker."""

    def __init__(self, world: World, index: int, epoch: int = 1) -> None:
        self.world = world
        self.index = index
        self.epoch = epoch
        self.alive = True
        self.due = False
        self.stopped_until_us = 0
        self.connections = 0
        self.links: dict[tuple[int, int], tuple[MemoryLink, MemoryLink, int]] = {}
        self.heard = 0  # the version of the topology that it knows
        self.control_us = 0  # when its last control message arrives
        self.host = SimHost(self)

    def wake(self) -> None:
        if not self.due and self.alive:
            self.due = True
            self.world.clock.after(self.world.random.randrange(1, 60), self.tick)

    def kill(self) -> None:
        """As SIGKILL: nothing more is sent, what is on its way to shards may still arrive."""
        self.alive = False
        for main, bulk, _ in self.links.values():
            main.close()
            bulk.close()
        self.host.loop.abandoned = True  # type: ignore[attr-defined]
        self.host.loop.ready.clear()  # type: ignore[attr-defined]
        for task in (*self.host.tasks, *self.host.blocked_tasks):
            task.get_coro().close()
        for session in self.host.dispatcher.sessions:
            if session is not None and session.id:
                session.driver.lost()

    def stop(self, until_us: int) -> None:
        """Do nothing until then, but for what the control link brings."""
        self.stopped_until_us = until_us

    def tick(self) -> None:
        if self.alive and self.stopped_until_us > self.world.clock.now_us:
            self.world.clock.at(self.stopped_until_us, self.tick)
            return
        self.due = False
        if not self.alive:
            return
        self.host.dispatcher.collect()
        self.host.reactor.tick()
        self.host.loop.run_ready()  # type: ignore[attr-defined]

    def tell(self, topology: Topology) -> None:
        """The topology of now reaches the worker later, in order."""
        delay = self.world.random.randrange(10, 5000)
        self.control_us = max(self.control_us + 1, self.world.clock.now_us + delay)
        self.world.clock.at(self.control_us, lambda: self.hear(topology))

    def hear(self, topology: Topology) -> None:
        if not self.alive or topology.version < self.heard:
            return  # a successor has started with the newest, and the link never goes back
        self.heard = topology.version
        before = list(self.host.epochs)
        self.host.install(topology)
        self.world.note(f"worker{self.index} hears {topology.version}: {topology.shards}")
        for shard, (old, new) in enumerate(zip(before, self.host.epochs, strict=True)):
            if new and old != new:
                self.world.outages[self.index, shard][-1][1] = self.world.clock.now_us
        self.host.loop.run_ready()  # type: ignore[attr-defined]
        self.wake()


class World:
    """A run, decided by its seed and options."""

    network_type: type[Network] = Network
    babbling = False  # the network sends what no shard has sent

    def __init__(self, seed: int, options: Options | None = None) -> None:
        self.seed = seed
        self.options = options or Options()
        self.random = Random(seed)
        self.clock = Clock()
        self.trace: deque[str] = deque(maxlen=TRACE_LINES_MAX)
        self.lines = 0
        self.digest = 0
        self.blocks_before = live_blocks()
        self.network = self.network_type(self.clock, self.random)
        self.version = 1
        self.workers_lost = 0
        self.pushed = 0
        self.pushes_heard = 0
        self.settled = 0  # transactions that a dead worker had left
        self.completed = 0  # and how many of them were committed
        self.owners = [number * SHARDS // SLOTS for number in range(SLOTS)]
        self.deaths: dict[int, list[int]] = {}  # slot -> when its contents were lost
        self.outages: dict[tuple[int, int], list[list[int | None]]] = {}
        self.shards = [SimShard(self, index, 1) for index in range(SHARDS)]
        self.workers = [SimWorker(self, index) for index in range(self.options.workers)]
        for worker in self.workers:
            for shard in self.shards:
                self.outages[worker.index, shard.index] = [[0, None]]
            worker.hear(self.topology())
        self.clients: list[Client] = []
        for _ in range(self.options.clients):
            self.new_client(self.options.commands)
        self.span_us = self.options.span_us
        for _ in range(self.options.worker_deaths):
            self.at_random(self.kill_worker)
        for _ in range(self.options.stops):
            self.at_random(self.stop_one)
        for _ in range(self.options.deaths):
            self.at_random(self.kill_shard)
        for _ in range(self.options.hang_ups):
            self.at_random(lambda: self.random.choice(self.clients).hang_up())

    def at_random(self, event: Callable[[], object]) -> None:
        self.clock.at(self.random.randrange(self.span_us), event)

    # What happened

    def note(self, line: str) -> None:
        line = f"{self.clock.now_us:>9} {line}"
        self.trace.append(line)
        self.lines += 1
        self.digest = hash_line(self.digest, line)

    def fail(self, message: str) -> NoReturn:
        trace = "\n".join(self.trace)
        raise Violation(f"{message}\nseed {self.seed}, {self.options}; the trace ends:\n{trace}")

    # Shards

    def topology(self) -> Topology:
        slots = []
        first = 0
        for number in range(1, SLOTS + 1):
            if number == SLOTS or self.owners[number] != self.owners[first]:
                slots.append((first, number - 1, self.owners[first]))
                first = number
        return Topology(
            self.version,
            [(shard.index, shard.epoch, shard.alive) for shard in self.shards],
            [(worker.index, worker.epoch) for worker in self.workers],
            slots,
        )

    def announce(self) -> None:
        self.version += 1
        topology = self.topology()
        for worker in self.workers:
            worker.tell(topology)

    def link(self, worker: SimWorker, index: int, epoch: int) -> tuple[MemoryLink, MemoryLink]:
        shard = self.shards[index]
        name = f"s{index}.{epoch}-w{worker.index}.{worker.epoch}"
        main = self.network.pair(name, worker.wake, shard.wake)
        bulk = self.network.pair(name + ".bulk", worker.wake, shard.wake)
        if shard.alive and shard.epoch == epoch:
            number = shard.executor.add_links(main[1], bulk[1])
            worker.links[index, epoch] = main[0], bulk[0], number
            shard.links += [main[1], bulk[1]]
        else:
            main[1].close()
            bulk[1].close()
        return main[0], bulk[0]

    def kill_shard(self) -> None:
        shard = self.random.choice(self.shards)
        if not shard.alive:
            return
        self.note(f"shard{shard.index} dies")
        shard.kill()
        for number, owner in enumerate(self.owners):
            if owner == shard.index:
                self.deaths.setdefault(number, []).append(self.clock.now_us)
        for worker in self.workers:
            self.outages[worker.index, shard.index].append([self.clock.now_us, None])
        if self.random.random() < 0.7:
            self.announce()  # else the workers hear of the death and the new life at once
        self.clock.after(self.random.randrange(1000, 15_000), lambda: self.revive(shard.index))

    def revive(self, index: int) -> None:
        self.shards[index] = SimShard(self, index, self.shards[index].epoch + 1)
        self.note(f"shard{index} lives again")
        self.announce()

    # Workers

    def kill_worker(self) -> None:
        """A worker dies; the shards are fenced, its transactions settled, and it is replaced."""
        worker = self.random.choice(self.workers)
        self.note(f"worker{worker.index} dies")
        worker.kill()
        self.workers_lost += 1
        shards = [shard for shard in self.shards if shard.alive]
        reports: list[Report] = []
        for shard in shards:
            self.clock.after(
                self.random.randrange(10, 3000),
                lambda shard=shard: self.fence(worker, shard, reports, shards),
            )
        successor = SimWorker(self, worker.index, worker.epoch + 1)
        self.workers[worker.index] = successor
        for shard in self.shards:
            self.outages[worker.index, shard.index] = [[0, None]]
        self.clock.after(self.random.randrange(500, 5000), lambda: successor.hear(self.topology()))

    def link_broken(self, worker: SimWorker, index: int) -> None:
        """A worker has left a shard because of what that has sent."""
        if not self.babbling:
            self.fail(f"shard{index} sends worker{worker.index} what can't be right")
        shard = self.shards[index]

        def leave() -> None:
            known = worker.links.pop((index, shard.epoch), None)
            if shard.alive and known is not None:
                for link in shard.executor.remove_links(known[2]):
                    link.close()
                number = coordinator(worker.index, worker.epoch)
                shard.executor.resolve((), list(shard.executor.open_transactions(number)))

        self.clock.after(self.random.randrange(10, 3000), leave)

    def fence(
        self, worker: SimWorker, shard: SimShard, reports: list[Report], shards: list[SimShard]
    ) -> None:
        """As the shard process does it when the router asks (actors/fence)."""
        report: Report = {}
        if shard.alive:
            known = worker.links.get((shard.index, shard.epoch))
            if known is not None:
                for link in shard.executor.remove_links(known[2]):
                    link.close()
            report = shard.executor.open_transactions(coordinator(worker.index, worker.epoch))
        reports.append(report)
        if len(reports) < len(shards):
            return
        commit, drop = verdict(reports)
        self.settled += len(commit) + len(drop)
        self.completed += len(commit)
        for one in shards:
            self.clock.after(
                self.random.randrange(10, 3000),
                lambda one=one: one.alive and one.executor.resolve(commit, drop),
            )

    def stop_one(self) -> None:
        """A process stops for a while, between any two of its steps."""
        process = self.random.choice([*self.workers, *self.shards])
        process.stop(self.clock.now_us + self.random.randrange(STOP_US_MAX))

    # What shards send unasked

    def push_one(self) -> None:
        """A shard sends something to a client of any worker: the next number of all pushes."""
        shard = self.random.choice(self.shards)
        worker = self.random.choice(self.workers)
        known = worker.links.get((shard.index, shard.epoch))
        clients = [one for one in worker.host.dispatcher.sessions if one is not None and one.id]
        if known is None or not clients or not shard.alive or not worker.alive:
            return
        client = self.random.choice(clients)
        self.pushed += 1
        data = b">3\r\n$4\r\npush\r\n:%d\r\n:%d\r\n" % (shard.index, self.pushed)
        shard.executor.push(known[2], client.slot, client.id, data)

    def deaths_of(self, name: bytes) -> list[int]:
        return self.deaths.get(slot(name), [])

    def shard_was_down(self, client: Client, request: Request) -> bool:
        """Whether a shard that the request needs was down for its worker while it was under way."""
        assert request.sent_us is not None
        needed = {self.owners[slot(name)] for _, name in request.keys}
        return any(
            end is None or end >= request.sent_us
            for index in needed
            for _, end in self.outages[client.worker.index, index]
        )

    # Clients

    def new_client(self, quota: int) -> None:
        worker = self.random.choice(self.workers)
        worker.connections += 1
        client = Client(self, worker, len(self.clients), quota)
        self.clients.append(client)
        self.clock.after(self.random.randrange(2000), client.start)

    def replace(self, client: Client) -> None:
        if client.quota > 0:
            self.new_client(client.quota)

    # The run

    def run(self) -> World:
        """Live until nothing happens any more. Raises Violation."""
        try:
            self.live()
        except BaseException:
            self.abandon()
            raise
        return self

    def abandon(self) -> None:
        """End in the middle: what is under way is no news."""
        for worker in self.workers:
            worker.host.loop.abandoned = True  # type: ignore[attr-defined]
            worker.host.loop.ready.clear()  # type: ignore[attr-defined]
            for task in (*worker.host.tasks, *worker.host.blocked_tasks):
                task.get_coro().close()

    def live(self) -> None:
        for _ in range(STEPS_MAX):
            if not self.clock.step():
                break
        else:
            self.fail("the world does not come to rest")
        for client in self.clients:
            if client.waiting or (client.quota and not client.closed):
                self.fail(f"{client.name} waits for ever: {[r.text for r in client.waiting]}")
        self.check_contents()
        for client in self.clients:
            if not client.closed:
                client.session.closed_by_driver()
        while self.clock.step():
            pass
        self.check_idle()

    def check_contents(self) -> None:
        """The keyspaces hold what the models say, and nothing else."""
        actual: dict[tuple[int, bytes], bytes | None] = {}
        for shard in self.shards:
            shard.keyspace.check()
            for database in range(DATABASES):
                for name in list(shard.keyspace.keys(database)):
                    if self.owners[slot(name)] != shard.index:
                        self.fail(f"shard{shard.index} holds {name!r}, which is not its own")
                    actual[database, name] = shard.keyspace.read_string(database, name)
        for client in self.clients:
            for key in client.model.values:
                possible = [value for value, _ in client.model.now(key, 0)]
                found = actual.pop(key, None)
                if found not in possible:
                    self.fail(
                        f"{client.name}: {key} is {found and found[:60]!r}, not one of "
                        f"{[value and value[:60] for value in possible]}"
                    )
        if actual:
            self.fail(f"keys that nobody has written: {sorted(actual)[:5]}")

    def check_idle(self) -> None:
        """Nothing is left over of all that was under way."""
        for worker in self.workers:
            left = [one for one in worker.host.dispatcher.sessions if one is not None]
            if left:
                self.fail(f"{len(left)} sessions of worker{worker.index} are left")
            worker.host.coordinator.check()
            if worker.host.tasks or worker.connections or worker.host.coordinator.open:
                self.fail(f"worker{worker.index} is not idle")
            for index, figures in enumerate(worker.host.dispatcher.statistics()):
                if figures["bytes_in_flight"]:
                    self.fail(f"worker{worker.index} has bytes in flight to shard{index}")
        for shard in self.shards:
            if shard.executor.unfinished:
                self.fail(f"shard{shard.index} has parked runs, or messages that it holds")


def hash_line(digest: int, line: str) -> int:
    for byte in line.encode():
        digest = (digest * 1_000_003 ^ byte) & 0xFFFFFFFFFFFFFFFF
    return digest


def seeds(count: int) -> range:
    """The seeds to run: SIM_SEED names one, to look at a failure again."""
    chosen = os.environ.get("SIM_SEED")
    if chosen is not None:
        return range(int(chosen), int(chosen) + 1)
    return range(count)
