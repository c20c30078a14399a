"""What clients do to show that transactions are transactions, and what then must hold.

A workload makes the clients for a `Driver`, writes down what they did, and says in the end what was
wrong. All run until `ends` and leave nothing on the server that another would stumble over.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.serializability.checker import check
from tests.serializability.driver import Call, Client, ConnectionLost, Driver, Wait
from tests.serializability.history import Append, Operation, Outcome, Read, Transaction
from tests.serializability.registers import Access, violations
from tests.support.resp_client import Node, parse
from tests.support.slots import SLOTS, slot

LISTS = 12
ELEMENTS_MAX = 48  # of a list; then another takes its place, so that reads stay short
PROBLEMS_MAX = 20
OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"
NIL = (b"*-1\r\n", b"_\r\n")


def spread(shards: int, count: int, name: str) -> list[str]:
    """So many keys, neighbours in different shards."""
    found: list[str] = []
    for number in itertools.count():
        key = f"{name}{number}"
        if slot(key.encode()) * shards // SLOTS == len(found) % shards:
            found.append(key)
        if len(found) == count:
            break
    return found


def in_multi(calls: Sequence[Call]) -> list[Call]:
    return [("MULTI",), *calls, ("EXEC",)]


@dataclass
class Workload:
    """The clients of one run. `transactions`: MULTI and EXEC may be used."""

    shards: int
    seed: int
    ends: float = 0.0
    transactions: bool = True
    problems: list[str] = field(default_factory=list)
    done: int = 0  # transactions that were acknowledged
    lost: int = 0  # connections that ended with a transaction under way

    def __post_init__(self) -> None:
        self.prepare()

    def prepare(self) -> None:
        """What a workload has of its own."""

    def setup(self) -> Client:
        """One client that runs before all others."""
        yield from ()

    def client(self, number: int, draw: random.Random) -> Client:
        raise NotImplementedError

    def ending(self) -> Client:
        """One client that runs when all others have ended."""
        yield from ()

    def judge(self) -> None:
        """Look at what was written down."""

    def say(self, text: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(text)

    def run(
        self,
        driver: Driver,
        clients: int,
        seconds: float,
        *,
        each: Callable[[], None] = lambda: None,
        rest: Callable[[], None] = lambda: None,
    ) -> list[str]:
        """All of it; what was wrong, or nothing.

        `each` is called now and then while the clients run, `rest` before the last looks.
        """
        Driver(driver.port).drive([self.setup()])
        self.ends = time.monotonic() + seconds
        driver.drive(
            (
                self.client(number, random.Random(f"{self.seed}:{number}"))
                for number in range(clients)
            ),
            each,
        )
        rest()
        Driver(driver.port).drive([self.ending()])
        self.judge()
        return self.problems

    def under_way(self) -> bool:
        return time.monotonic() < self.ends

    def results(self, replies: Sequence[bytes]) -> list[Node] | None:
        """What the commands between MULTI and EXEC were answered; None when EXEC says nil."""
        if replies[0] != OK or any(reply != QUEUED for reply in replies[1:-1]):
            self.say(f"unexpected replies {replies}")
            return None
        if replies[-1] in NIL:
            return None
        node = parse(replies[-1])
        if node.kind != "*" or len(node.value) != len(replies) - 2:
            self.say(f"EXEC answers {replies[-1]!r} to {len(replies) - 2} commands")
            return None
        return list(node.value)


# --- Lists, and the graph -----------------------------------------------------------------------


def call_of(operation: Operation) -> Call:
    if isinstance(operation, Append):
        return ("RPUSH", operation.key, operation.value)
    return ("LRANGE", operation.key, 0, -1)


class Appends(Workload):
    """Transactions of one to four RPUSH and LRANGE. Without `transactions`, no MULTI around them.

    A fifth of them has a read of each key it writes, so that the order of versions is known early.
    """

    def prepare(self) -> None:
        self.history: list[Transaction] = []
        self.values = itertools.count()
        self.generation = [0] * LISTS
        self.sizes: Counter[str] = Counter()
        self.names: dict[str, None] = {}

    def pick(self, draw: random.Random) -> str:
        place = draw.randrange(LISTS)
        name = f"list{place}.{self.generation[place]}"
        if self.sizes[name] >= ELEMENTS_MAX:
            self.generation[place] += 1
            name = f"list{place}.{self.generation[place]}"
        self.names[name] = None
        return name

    def append(self, key: str) -> Append:
        self.sizes[key] += 1
        return Append(key, next(self.values))

    def draw(self, draw: random.Random) -> list[Operation]:
        operations: list[Operation] = []
        for _ in range(draw.randint(1, 4)):
            key = self.pick(draw)
            operations.append(self.append(key) if draw.random() < 0.5 else Read(key, ()))
        return operations

    def answered(self, operation: Operation, node: Node) -> Operation:
        """The operation with what it was answered."""
        if isinstance(operation, Append):
            if node.kind != ":":
                self.say(f"{call_of(operation)} is answered {node}")
            return operation
        if node.kind != "*":
            self.say(f"{call_of(operation)} is answered {node}")
            return operation
        return Read(operation.key, tuple(int(item.value) for item in node.value))

    def client(self, number: int, draw: random.Random) -> Client:
        while self.under_way():
            operations = self.draw(draw)
            transaction = Transaction(number, time.monotonic(), math.inf, tuple(operations))
            self.history.append(transaction)
            calls = [call_of(operation) for operation in operations]
            try:
                replies = yield in_multi(calls) if self.transactions else calls
            except ConnectionLost:
                transaction.outcome = Outcome.UNKNOWN
                self.lost += 1
                continue
            transaction.end = time.monotonic()
            self.conclude(transaction, replies)

    def conclude(self, transaction: Transaction, replies: Sequence[bytes]) -> None:
        nodes = self.results(replies) if self.transactions else list(map(parse, replies))
        if nodes is None:
            transaction.outcome = Outcome.ABORTED
            return
        self.done += 1
        transaction.operations = tuple(map(self.answered, transaction.operations, nodes))

    def ending(self) -> Client:
        for name in self.names:
            start = time.monotonic()
            replies = yield [("LRANGE", name, 0, -1)]
            read = self.answered(Read(name, ()), parse(replies[0]))
            self.history.append(Transaction(-1, start, time.monotonic(), (read,)))

    def judge(self) -> None:
        for anomaly in check(self.history):
            self.say(str(anomaly))


class CompareAndSet(Appends):
    """WATCH, reads, and MULTI with appends that must not happen if what was read has changed."""

    def client(self, number: int, draw: random.Random) -> Client:
        while self.under_way():
            keys = sorted({self.pick(draw) for _ in range(draw.randint(1, 3))})
            start = time.monotonic()
            try:
                replies = yield [("WATCH", *keys), *(("LRANGE", key, 0, -1) for key in keys)]
            except ConnectionLost:
                continue
            read_end = time.monotonic()
            reads = [
                self.answered(Read(key, ()), parse(reply))
                for key, reply in zip(keys, replies[1:], strict=True)
            ]
            if draw.random() < 0.1:  # gives up, in one of two ways
                ways: list[list[Call]] = [
                    [("UNWATCH",)],
                    [("MULTI",), ("RPUSH", keys[0], -1), ("DISCARD",)],
                ]
                self._read_only(number, start, read_end, reads)
                try:
                    yield draw.choice(ways)
                except ConnectionLost:
                    self.lost += 1
                continue
            others = {self.pick(draw)} if draw.random() < 0.3 else set()
            writes = [self.append(key) for key in sorted({*keys, *others}) if draw.random() < 0.7]
            if not writes:
                writes = [self.append(keys[0])]
            transaction = Transaction(number, time.monotonic(), math.inf, (*reads, *writes))
            self.history.append(transaction)
            try:
                replies = yield in_multi([call_of(write) for write in writes])
            except ConnectionLost:
                transaction.outcome = Outcome.UNKNOWN
                self.lost += 1
                continue
            transaction.end = time.monotonic()
            self.conclude(transaction, replies)
            if transaction.outcome is Outcome.ABORTED:
                self._read_only(number, start, read_end, reads)

    def conclude(self, transaction: Transaction, replies: Sequence[bytes]) -> None:
        if self.results(replies) is None:
            transaction.outcome = Outcome.ABORTED
        else:
            self.done += 1

    def _read_only(self, number: int, start: float, end: float, reads: Sequence[Operation]) -> None:
        """Reads that no EXEC joined: each is a transaction of its own."""
        self.history += [Transaction(number, start, end, (read,)) for read in reads]


# --- Several keys as one register ---------------------------------------------------------------


class Registers(Workload):
    """All keys are always written together, so that whoever reads some of them finds one value."""

    keys_count = 10

    def prepare(self) -> None:
        self.keys = spread(self.shards, self.keys_count, "register")
        self.accesses: list[Access] = []
        self.values = itertools.count()

    def write(self, draw: random.Random, value: int) -> list[Call]:
        pairs = [(key, value) for key in draw.sample(self.keys, len(self.keys))]
        if self.transactions and draw.random() < 0.5:
            return in_multi([("SET", *pair) for pair in pairs])
        return [("MSET", *itertools.chain(*pairs))]

    def read(self, draw: random.Random) -> list[Call]:
        some = draw.sample(self.keys, draw.randint(2, len(self.keys)))
        if self.transactions and draw.random() < 0.5:
            return in_multi([("GET", key) for key in some])
        return [("MGET", *some)]

    def client(self, number: int, draw: random.Random) -> Client:
        while self.under_way():
            is_write = draw.random() < 0.4
            value = next(self.values)
            calls = self.write(draw, value) if is_write else self.read(draw)
            start = time.monotonic()
            try:
                replies = yield calls
            except ConnectionLost:
                self.lost += 1
                if is_write:
                    self.accesses.append(Access(start, math.inf, value, True))
                continue
            end = time.monotonic()
            self.done += 1
            nodes = self.results(replies) if len(calls) > 1 else [parse(replies[0])]
            if nodes is None:
                self.say(f"{calls} is answered {replies}")
            elif is_write:
                self.accesses.append(Access(start, end, value, True))
                if any(node.value != b"OK" for node in nodes):
                    self.say(f"{calls} is answered {replies}")
            else:
                found = {item.value for item in (nodes[0].value if len(nodes) == 1 else nodes)}
                if len(found) > 1:
                    self.say(f"torn: {calls} is answered {replies[-1]!r}")
                else:
                    only = found.pop()
                    seen = None if only is None else int(only)
                    self.accesses.append(Access(start, end, seen, False))

    def ending(self) -> Client:
        start = time.monotonic()
        replies = yield [("MGET", *self.keys)]
        found = {item.value for item in parse(replies[0]).value}
        if len(found) > 1:
            self.say(f"torn in the end: {replies[0]!r}")
        else:
            value = found.pop()
            seen = None if value is None else int(value)
            self.accesses.append(Access(start, time.monotonic(), seen, False))

    def judge(self) -> None:
        for text in violations(self.accesses):
            self.say(text)


class AllOrNothing(Workload):
    """Keys that come and go together, under commands that count keys or are about all of them."""

    keys_count = 6

    def prepare(self) -> None:
        self.keys = spread(self.shards, self.keys_count, "thing")

    def client(self, number: int, draw: random.Random) -> Client:
        # EXISTS counts a key as often as it is named, so one key would do to be told from half.
        makes: list[Call] = [("MSET", *itertools.chain(*((key, number) for key in self.keys)))]
        ends: list[Call] = [
            ("DEL", *self.keys),
            ("UNLINK", *self.keys[::-1]),
            ("FLUSHALL",),
            ("FLUSHDB", "ASYNC"),
            ("SWAPDB", 0, 1),
        ]
        looks: list[Call] = [
            ("DBSIZE",),
            ("KEYS", "*"),
            ("EXISTS", *self.keys),
            ("TOUCH", *self.keys),
            ("MGET", *self.keys),
        ]
        while self.under_way():
            call = draw.choice(draw.choice([makes, ends, looks, looks]))
            twice = [("DBSIZE",), ("EXISTS", *self.keys), ("KEYS", "*")]
            joined = self.transactions and draw.random() < 0.2
            try:
                replies = yield in_multi(twice) if joined else [call]
            except ConnectionLost:
                self.lost += 1
                continue
            self.done += 1
            nodes = self.results(replies) if joined else [parse(replies[0])]
            counts = [count_of(node) for node in nodes or ()]
            said = {count for count in counts if count is not None}
            if len(said) > 1 or said - {0, self.keys_count}:
                self.say(f"{twice if joined else call} is answered {replies[-1]!r}")


def count_of(node: Node) -> int | None:
    """How many keys an answer tells of; None when it tells of none."""
    if node.kind == ":":
        return int(node.value)
    if node.kind == "*":
        return sum(item.value is not None for item in node.value)
    return None if node.value == b"OK" else -1


# --- What is moved stays the same ---------------------------------------------------------------


class Transfers(Workload):
    """Money goes from account to account; all of it together stays as it is."""

    accounts = 7
    start_balance = 1000

    def prepare(self) -> None:
        self.keys = spread(self.shards, self.accounts, "account")
        self.total = self.accounts * self.start_balance

    def setup(self) -> Client:
        for key in self.keys:
            yield [("SET", key, self.start_balance)]

    def client(self, number: int, draw: random.Random) -> Client:
        while self.under_way():
            source, target = draw.sample(self.keys, 2)
            amount = draw.randint(1, 10)
            move = in_multi([("DECRBY", source, amount), ("INCRBY", target, amount)])
            look: list[Call] = [("MGET", *self.keys)]
            if draw.random() < 0.5:
                look = in_multi([("GET", key) for key in self.keys])
            moves = draw.random() < 0.6
            try:
                replies = yield move if moves else look
            except ConnectionLost:
                self.lost += 1
                continue
            self.done += 1
            nodes = self.results(replies) if len(replies) > 1 else parse(replies[0]).value
            if nodes is None:
                self.say(f"{replies}")
            elif not moves:
                self.add_up(nodes)

    def add_up(self, nodes: Sequence[Node]) -> None:
        total = sum(int(node.value) for node in nodes)
        if total != self.total:
            self.say(f"{total} instead of {self.total}: {nodes}")

    def ending(self) -> Client:
        replies = yield [("MGET", *self.keys)]
        self.add_up(parse(replies[0]).value)


class Rings(Workload):
    """Elements go round over lists and over sets; each is always in exactly one place."""

    places = 5
    elements = 20

    def prepare(self) -> None:
        self.lists = spread(self.shards, self.places, "ring")
        self.sets = spread(self.shards, self.places, "pool")

    def setup(self) -> Client:
        for element in range(self.elements):
            place = element % self.places
            yield [("RPUSH", self.lists[place], element), ("SADD", self.sets[place], element)]

    def look(self) -> list[Call]:
        calls: list[Call] = [("LRANGE", key, 0, -1) for key in self.lists]
        return in_multi([*calls, *(("SMEMBERS", key) for key in self.sets)])

    def moves(self, draw: random.Random) -> Iterator[Call]:
        while True:
            source, target = draw.sample(range(self.places), 2)
            yield draw.choice(
                [
                    ("LMOVE", self.lists[source], self.lists[target], "LEFT", "RIGHT"),
                    ("LMOVE", self.lists[source], self.lists[target], "RIGHT", "LEFT"),
                    ("RPOPLPUSH", self.lists[source], self.lists[target]),
                    ("LMOVE", self.lists[source], self.lists[source], "LEFT", "RIGHT"),
                    (
                        *("SMOVE", self.sets[source], self.sets[target]),
                        draw.randrange(self.elements),
                    ),
                ]
            )

    def client(self, number: int, draw: random.Random) -> Client:
        moves = self.moves(draw)
        while self.under_way():
            kind = draw.random()
            looks = self.transactions and kind < 0.2
            if looks:
                calls = self.look()
            elif self.transactions and kind < 0.5:
                calls = in_multi(list(itertools.islice(moves, draw.randint(1, 3))))
            else:
                calls = [next(moves)]
            try:
                replies = yield calls
            except ConnectionLost:
                self.lost += 1
                continue
            self.done += 1
            nodes = self.results(replies) if len(calls) > 1 else [parse(replies[0])]
            if nodes is None or any(node.kind == "-" for node in nodes):
                self.say(f"{calls} is answered {replies}")
            elif looks:
                self.count(nodes)

    def count(self, nodes: Sequence[Node]) -> None:
        for kind, part in (("list", nodes[: self.places]), ("set", nodes[self.places :])):
            found = Counter(int(item.value) for node in part for item in node.value)
            wrong = {
                element: found[element]
                for element in {*found, *range(self.elements)}
                if found[element] != 1
            }
            if wrong:
                self.say(f"element of a {kind}: how often it is there: {wrong}")

    def ending(self) -> Client:
        replies = yield self.look() if self.transactions else self.look()[1:-1]
        nodes = self.results(replies) if self.transactions else [parse(one) for one in replies]
        self.count(nodes or ())


class Queues(Workload):
    """Jobs go from producers over a chain of lists to consumers that block, each to exactly one.

    Where connections are lost, so may be the element that was under way to each of them.
    """

    queues = 4
    block_seconds = 0.3

    def prepare(self) -> None:
        self.inputs = spread(self.shards, self.queues, "input")
        self.outputs = spread(self.shards, self.queues, "output")
        self.scores = spread(self.shards, self.queues, "scores")
        self.values = itertools.count()
        self.pushed: set[int] = set()
        self.uncertain: set[int] = set()  # pushes without an answer
        self.taken: Counter[int] = Counter()

    def client(self, number: int, draw: random.Random) -> Client:
        role = (self.producer, self.mover, self.consumer, self.zconsumer)[number % 4]
        return role(draw)

    def producer(self, draw: random.Random) -> Client:
        while self.under_way():
            values = [next(self.values) for _ in range(draw.randint(1, 3))]
            calls: list[Call] = []
            for value in values:
                kind = draw.random()
                if kind < 0.5:
                    calls.append(("RPUSH", draw.choice(self.inputs), value))
                elif kind < 0.7:
                    calls.append(("LPUSH", draw.choice(self.outputs), value))
                else:
                    calls.append(("ZADD", draw.choice(self.scores), value, value))
            if len(calls) > 1 and self.transactions:
                calls = in_multi(calls)
            try:
                replies = yield calls
            except ConnectionLost:
                self.uncertain.update(values)
                self.lost += 1
                continue
            self.done += 1
            self.pushed.update(values)
            if any(reply[:1] == b"-" for reply in replies):
                self.say(f"{calls} is answered {replies}")
            yield Wait(draw.random() * 0.004)

    def mover(self, draw: random.Random) -> Client:
        while self.under_way():
            source, target = draw.choice(self.inputs), draw.choice(self.outputs)
            call: Call = ("BLMOVE", source, target, "LEFT", "RIGHT", self.block_seconds)
            if draw.random() < 0.3:
                call = ("BRPOPLPUSH", source, target, self.block_seconds)
            try:
                replies = yield [call]
            except ConnectionLost:
                continue
            if replies[0][:1] == b"-":
                self.say(f"{call} is answered {replies}")

    def consumer(self, draw: random.Random) -> Client:
        while self.under_way():
            keys = draw.sample(self.outputs, draw.randint(1, self.queues))
            call: Call = ("BLPOP", *keys, self.block_seconds)
            if draw.random() < 0.3:
                call = ("BRPOP", *keys, self.block_seconds)
            elif draw.random() < 0.3:
                call = ("BLMPOP", self.block_seconds, len(keys), *keys, "LEFT", "COUNT", 2)
            yield from self.take(call)

    def zconsumer(self, draw: random.Random) -> Client:
        while self.under_way():
            keys = draw.sample(self.scores, draw.randint(1, self.queues))
            call: Call = ("BZPOPMIN", *keys, self.block_seconds)
            if draw.random() < 0.3:
                call = ("BZPOPMAX", *keys, self.block_seconds)
            elif draw.random() < 0.3:
                call = ("BZMPOP", self.block_seconds, len(keys), *keys, "MIN", "COUNT", 2)
            yield from self.take(call)

    def take(self, call: Call) -> Client:
        try:
            replies = yield [call]
        except ConnectionLost:
            self.lost += 2  # COUNT 2
            return
        node = parse(replies[0])
        if node.value is None:
            return
        if node.kind != "*":
            self.say(f"{call} is answered {replies}")
            return
        name = str(call[0])
        if name == "BLMPOP":
            taken = [item.value for item in node.value[1].value]
        elif name == "BZMPOP":
            taken = [pair.value[0].value for pair in node.value[1].value]
        else:
            taken = [node.value[1].value]
        self.done += 1
        self.taken.update(int(item) for item in taken)

    def ending(self) -> Client:
        for key in (*self.inputs, *self.outputs):
            replies = yield [("LRANGE", key, 0, -1)]
            self.taken.update(int(item.value) for item in parse(replies[0]).value)
        for key in self.scores:
            replies = yield [("ZRANGE", key, 0, -1)]
            self.taken.update(int(item.value) for item in parse(replies[0]).value)

    def judge(self) -> None:
        twice = sorted(value for value, count in self.taken.items() if count > 1)
        strange = sorted(set(self.taken) - self.pushed - self.uncertain)
        missing = sorted(self.pushed - set(self.taken))
        if twice or strange:
            self.say(f"delivered twice: {twice[:20]}; never pushed: {strange[:20]}")
        if len(missing) > self.lost:
            self.say(f"{len(missing)} lost, {self.lost} may be: {missing[:20]}")
