"""Whether a history of list appends and reads is strictly serializable, and if not, why.

A list tells in which order its elements were appended, so the longest read of a key is the order of
its versions, and every other read has to be a prefix of it. From these follow the edges of a graph
of transactions (Adya's dependencies):

    ww  who wrote the next version
    wr  who read what was written
    rw  who wrote what a reader did not see yet
    rt  who began when the other had been answered

A history is strictly serializable when this graph has no cycle. `rt` would be quadratic; so each
end of a transaction is a node of its own, these are chained by their time, and a transaction hangs
on the last end before its start. All is O(n log n) in operations and in elements read, as long as
nothing is wrong.

The names are Adya's and those of "Elle" (Kingsbury, Alvaro, 2020): G0 is a cycle of ww edges, G1a
a read of what was aborted, G1b one of a state inside a transaction, G1c a cycle of ww and wr,
G-single one with a single rw (lost updates, read skew), G2 one with more (write skew). `-realtime`
is added when the cycle needs an rt edge: some order of the transactions explains it all, but not
the order in which clients saw them happen.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.serializability.history import Append, Outcome, Transaction

WW, WR, RW, RT = range(4)
KINDS = ("ww", "wr", "rw", "rt")
CYCLES_MAX = 10  # told of a history; there may be as many as transactions
SEARCHES_MAX = 200  # for a cycle with a single rw edge, in one component


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One thing that no strictly serializable server does."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


def check(history: Sequence[Transaction]) -> list[Anomaly]:
    """All that is wrong with a history, the worst first; of cycles at most CYCLES_MAX."""
    return _Check(history).run()


class _Check:
    def __init__(self, history: Sequence[Transaction]) -> None:
        self.history = history
        self.anomalies: list[Anomaly] = []
        self.writer: dict[tuple[str, int], int] = {}  # (key, value) -> transaction
        self.last_append: dict[tuple[str, int], int] = {}  # (key, transaction) -> its last value
        # key -> (transaction, elements that others had appended before it read)
        self.reads: dict[str, list[tuple[int, tuple[int, ...]]]] = defaultdict(list)
        self.versions: dict[str, tuple[int, ...]] = {}
        self.end = [transaction.end for transaction in history]
        # The first n nodes are the transactions, the others the ends. to << 2 | kind
        self.edges: list[list[int]] = []

    def run(self) -> list[Anomaly]:
        for number, transaction in enumerate(self.history):
            for operation in transaction.operations:
                if isinstance(operation, Append):
                    place = (operation.key, operation.value)
                    assert place not in self.writer, f"{place} is appended twice by the clients"
                    self.writer[place] = number
                    self.last_append[operation.key, number] = operation.value
        for number, transaction in enumerate(self.history):
            self._look_inside(number, transaction)
        self._order_versions()
        lost = self._find_lost()
        self.edges = [[] for _ in range(2 * len(self.history))]
        self._connect_data(lost)
        self._connect_times()
        self._find_cycles()
        return self.anomalies

    def _say(self, kind: str, text: str, *numbers: int) -> None:
        shown = "".join(f"\n    T{number} {self.history[number]}" for number in numbers)
        self.anomalies.append(Anomaly(kind, text + shown))

    # --- One transaction --------------------------------------------------------------------

    def _look_inside(self, number: int, transaction: Transaction) -> None:
        """Each read must fit to what the same transaction did and read before."""
        own: dict[str, list[int]] = defaultdict(list)
        known: dict[str, tuple[int, ...]] = {}
        for operation in transaction.operations:
            key = operation.key
            if isinstance(operation, Append):
                own[key].append(operation.value)
                continue
            if transaction.outcome is not Outcome.COMMITTED:
                continue
            pushed = tuple(own[key])
            before = operation.values[: len(operation.values) - len(pushed)]
            fits = operation.values[len(before) :] == pushed
            if not fits or known.get(key, before) != before:
                self._say("internal", f"T{number} does not see its own state of {key}", number)
                continue
            if key not in known:
                known[key] = before
                self.reads[key].append((number, before))
                self._look_at_values(number, key, before)

    def _look_at_values(self, number: int, key: str, values: tuple[int, ...]) -> None:
        if len(set(values)) < len(values):
            self._say("duplicate", f"an element is twice in {key}", number)
        for value in values:
            writer = self.writer.get((key, value))
            if writer is None:
                self._say("garbage", f"nobody has appended {value} to {key}", number)
            elif self.history[writer].outcome is Outcome.ABORTED:
                self._say("G1a", f"{value} in {key} was aborted", number, writer)
            elif writer == number:
                self._say("internal", f"T{number} saw {value} before it wrote it", number)
        if values:
            writer = self.writer.get((key, values[-1]))
            if writer not in (None, number) and self.last_append[key, writer] != values[-1]:
                self._say("G1b", f"{key} was read inside of T{writer}", number, writer)

    # --- One key ----------------------------------------------------------------------------

    def _order_versions(self) -> None:
        for key, reads in self.reads.items():
            longest = max(reads, key=lambda read: len(read[1]))
            self.versions[key] = longest[1]
            for number, values in reads:
                if longest[1][: len(values)] != values:
                    text = f"two reads of {key} tell of different orders"
                    self._say("incompatible order", text, number, longest[0])
        for key, versions in self.versions.items():
            blocks: set[int] = set()
            previous = -1
            for value in versions:
                writer = self.writer.get((key, value), -1)
                if writer != previous and writer in blocks and writer >= 0:
                    self._say("torn", f"something stands between what it put into {key}", writer)
                blocks.add(writer)
                previous = writer

    def _find_lost(self) -> set[tuple[str, int]]:
        """Appends that happened, and are not where they must be seen. Narrows the ends, too."""
        seen: set[tuple[str, int]] = set()
        observed: set[int] = set()
        for key, versions in self.versions.items():
            for value in versions:
                seen.add((key, value))
                observed.add(self.writer.get((key, value), -1))
        # Who has been observed has happened by the end of its first observer.
        for key, reads in self.reads.items():
            first: dict[int, float] = {}  # length -> the earliest end of a read so long
            for number, values in reads:
                length = len(values)
                first[length] = min(first.get(length, math.inf), self.end[number])
            earliest = math.inf
            versions = self.versions[key]
            for length in range(len(versions), 0, -1):
                earliest = min(earliest, first.get(length, math.inf))
                writer = self.writer.get((key, versions[length - 1]))
                if writer is not None and self.history[writer].outcome is Outcome.UNKNOWN:
                    self.end[writer] = min(self.end[writer], earliest)
        lost = set()
        latest = {
            key: max(self.history[number].start for number, _ in reads)
            for key, reads in self.reads.items()
        }
        for (key, value), number in self.writer.items():
            outcome = self.history[number].outcome
            happened = outcome is Outcome.COMMITTED or (
                outcome is Outcome.UNKNOWN and number in observed
            )
            if not happened or (key, value) in seen:
                continue
            if latest.get(key, -math.inf) > self.end[number]:
                kind = "lost" if outcome is Outcome.COMMITTED else "torn"
                self._say(kind, f"{value} is not in {key}", number)
            lost.add((key, value))
        return lost

    # --- The graph --------------------------------------------------------------------------

    def _connect(self, source: int, target: int, kind: int) -> None:
        if source != target:
            self.edges[source].append(target << 2 | kind)

    def _connect_data(self, unseen: Iterable[tuple[str, int]]) -> None:
        last_writers: dict[str, int | None] = {}
        for key, versions in self.versions.items():
            writers = [self.writer.get((key, value)) for value in versions]
            for before, after in itertools.pairwise(writers):
                if before is not None and after is not None:
                    self._connect(before, after, WW)
            last_writers[key] = writers[-1] if writers else None
            for number, values in self.reads[key]:
                length = len(values)
                if length and (writer := writers[length - 1]) is not None:
                    self._connect(writer, number, WR)
                if length < len(writers) and (writer := writers[length]) is not None:
                    self._connect(number, writer, RW)
        # What no read has shown came after all that was shown.
        for key, value in unseen:
            number = self.writer[key, value]
            last = last_writers.get(key)
            if last is not None:
                self._connect(last, number, WW)
            for reader, values in self.reads.get(key, ()):
                if len(values) == len(self.versions[key]):
                    self._connect(reader, number, RW)

    def _connect_times(self) -> None:
        count = len(self.history)
        order = sorted(
            (n for n in range(count) if self.end[n] < math.inf), key=self.end.__getitem__
        )
        ends = [self.end[number] for number in order]
        for place, number in enumerate(order):
            self.edges[number].append((count + place) << 2 | RT)
            if place:
                self.edges[count + place - 1].append((count + place) << 2 | RT)
        for number, transaction in enumerate(self.history):
            place = bisect.bisect_left(ends, transaction.start)
            if place:
                self.edges[count + place - 1].append(number << 2 | RT)

    def _find_cycles(self) -> None:
        cyclic = components(range(len(self.edges)), self._targets(0b1111))
        for component in itertools.islice(cyclic, CYCLES_MAX):
            kind, cycle = self._worst_cycle(component)
            self._tell(kind, cycle)

    def _targets(self, kinds: int, among: set[int] | None = None) -> Callable[[int], list[int]]:
        """The neighbours of a node over edges of these kinds, a bit each."""

        def targets(node: int) -> list[int]:
            return [
                edge >> 2
                for edge in self.edges[node]
                if kinds >> (edge & 3) & 1 and (among is None or edge >> 2 in among)
            ]

        return targets

    def _worst_cycle(self, component: list[int]) -> tuple[str, list[int]]:
        """The cycle with the fewest kinds of edges, and what it is called."""
        among = set(component)
        for suffix, more in (("", 0), ("-realtime", 1 << RT)):
            for name, kinds in (("G0", 1 << WW), ("G1c", 1 << WW | 1 << WR)):
                found = self._cycle(component, self._targets(kinds | more, among))
                if found:
                    return name + suffix, found
            targets = self._targets(1 << WW | 1 << WR | more, among)
            searches = 0
            for node in component:
                for edge in self.edges[node]:
                    if edge & 3 != RW or edge >> 2 not in among or searches == SEARCHES_MAX:
                        continue
                    searches += 1
                    path = shortest_path(edge >> 2, node, targets)
                    if path:
                        return "G-single" + suffix, [node, *path[:-1]]
            kinds = 1 << WW | 1 << WR | 1 << RW
            found = self._cycle(component, self._targets(kinds | more, among))
            if found:
                return "G2" + suffix, found
        raise AssertionError("a component without a cycle")

    @staticmethod
    def _cycle(nodes: Iterable[int], targets: Callable[[int], list[int]]) -> list[int]:
        """A short cycle, or nothing."""
        for component in components(nodes, targets):
            start = component[0]
            paths = (shortest_path(after, start, targets) for after in targets(start))
            best = min((path for path in paths if path), key=len)
            return [start, *best[:-1]]
        return []

    def _tell(self, kind: str, cycle: list[int]) -> None:
        count = len(self.history)
        words = []
        shown = []
        for place, node in enumerate(cycle):
            after = cycle[(place + 1) % len(cycle)]
            kinds = sorted({edge & 3 for edge in self.edges[node] if edge >> 2 == after})
            if node < count:
                words.append(f"T{node} -{KINDS[kinds[0]]}->")
                shown.append(node)
            elif not words or words[-1] != "(time)":
                words.append("(time)")
        self._say(kind, " ".join(words), *shown)


def components(nodes: Iterable[int], targets: Callable[[int], list[int]]) -> Iterator[list[int]]:
    """The strongly connected components of more than one node. O(nodes + edges).

    Tarjan's algorithm, with a stack of its own instead of recursion.
    """
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    for root in nodes:
        if root in index:
            continue
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        work = [(root, iter(targets(root)))]
        while work:
            node, rest = work[-1]
            for target in rest:
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    on_stack.add(target)
                    work.append((target, iter(targets(target))))
                    break
                if target in on_stack:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == index[node]:
                    component = []
                    while not component or component[-1] != node:
                        component.append(stack.pop())
                        on_stack.discard(component[-1])
                    if len(component) > 1:
                        yield component


def shortest_path(start: int, goal: int, targets: Callable[[int], list[int]]) -> list[int]:
    """The nodes from start to goal, both included; empty when there is no way."""
    came_from = {start: start}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        if node == goal:
            path = [node]
            while path[-1] != start:
                path.append(came_from[path[-1]])
            return path[::-1]
        for target in targets(node):
            if target not in came_from:
                came_from[target] = node
                queue.append(target)
    return []
