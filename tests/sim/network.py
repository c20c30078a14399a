"""When messages arrive: late, in order on their link, in any order between links."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from actors.mailbox import MemoryLink
from tests.sim.clock import Clock


class Network:
    """All links of a world. Faulty ones are subclasses: see tests/sim/faults.py."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self.clock = clock
        self.random = random
        self.last_us: dict[str, int] = {}
        self.wake: dict[str, Callable[[], None]] = {}
        self.faults = 0  # how many were planted

    def pair(
        self, name: str, wake_first: Callable[[], None], wake_second: Callable[[], None]
    ) -> tuple[MemoryLink, MemoryLink]:
        """A link's two ends; whose turn it is after a delivery is called `wake`."""
        first, second = MemoryLink.pair(name, self.carry)
        self.wake[first.name] = wake_first
        self.wake[second.name] = wake_second
        return first, second

    def delay_us(self) -> int:
        kind = self.random.random()
        if kind < 0.6:
            return self.random.randrange(5, 60)
        if kind < 0.95:
            return self.random.randrange(60, 1500)
        return self.random.randrange(1500, 20_000)

    def arrival_us(self, link: MemoryLink, data: bytes) -> int:
        return max(self.last_us.get(link.name, 0) + 1, self.clock.now_us + self.delay_us())

    def carry(self, link: MemoryLink, data: bytes) -> None:
        arrival = self.arrival_us(link, data)
        self.last_us[link.name] = max(arrival, self.last_us.get(link.name, 0))
        self.clock.at(arrival, lambda: self.arrive(link, data))

    def arrive(self, link: MemoryLink, data: bytes) -> None:
        peer = link.peer
        if peer.open:
            peer.deliver(data)
            self.wake[peer.name]()
