"""Planted faults: networks that break one promise each, which the simulation has to notice."""

from __future__ import annotations

import struct

from actors.mailbox import MemoryLink
from tests.sim.network import Network
from tests.sim.world import World
from tests.support.envelopes import (
    MESSAGE_READ,
    MESSAGE_REPLIES,
    MESSAGE_RUNS,
    REPLY_HEADER,
    RUN_KEYS,
    RUN_LOCKS,
    RUN_PREPARE,
    RUN_TRANSACTION,
    read_replies,
    read_requests,
    requests,
)


def is_main(link: MemoryLink) -> bool:
    """Not a bulk link: a shard that is given another command's bytes ends its process at once."""
    return ".bulk" not in link.name


class SwappingNetwork(Network):
    """Now and then a message overtakes the one before it on its link."""

    def arrival_us(self, link: MemoryLink, data: bytes) -> int:
        last = self.last_us.get(link.name, 0)
        if is_main(link) and last > self.clock.now_us and self.random.random() < 0.5:
            self.faults += 1
            return self.clock.now_us
        return super().arrival_us(link, data)


class LosingNetwork(Network):
    """Now and then a message is lost."""

    def carry(self, link: MemoryLink, data: bytes) -> None:
        if is_main(link) and self.random.random() < 0.02:
            self.faults += 1
            return
        super().carry(link, data)


class RepeatingNetwork(Network):
    """Now and then a message is delivered twice."""

    def carry(self, link: MemoryLink, data: bytes) -> None:
        super().carry(link, data)
        if is_main(link) and self.random.random() < 0.05:
            self.faults += 1
            super().carry(link, data)


class DeafeningNetwork(Network):
    """No shard ever hears what was read of its replies."""

    def carry(self, link: MemoryLink, data: bytes) -> None:
        if is_main(link) and data[0] == MESSAGE_READ:
            self.faults += 1
            return
        super().carry(link, data)


class BabblingNetwork(Network):
    """One reply is for a client that nobody knows, once `babbles` is set."""

    babbles = False

    def carry(self, link: MemoryLink, data: bytes) -> None:
        if (
            is_main(link)
            and data[0] == MESSAGE_REPLIES
            and len(data) > REPLY_HEADER.size
            and self.babbles
            and not self.faults
            and self.random.random() < 0.02
        ):
            self.faults += 1
            at = REPLY_HEADER.size
            data = data[:at] + struct.pack("=I", 9999) + data[at + 4 :]
        super().carry(link, data)


class MisplacingNetwork(Network):
    """Two replies to one client change places, as if the ring let them out in the wrong order."""

    def carry(self, link: MemoryLink, data: bytes) -> None:
        super().carry(link, self.misplaced(data) if is_main(link) else data)

    def misplaced(self, data: bytes) -> bytes:
        if data[0] != MESSAGE_REPLIES:
            return data
        parts = read_replies(data)[1]
        for i, first in enumerate(parts):
            for second in parts[i + 1 :]:
                if (
                    first.client == second.client
                    and first.commands == second.commands
                    and first.status == second.status == 0
                    and first.data != second.data
                ):
                    first.data, second.data = second.data, first.data
                    self.faults += 1
        return data[: REPLY_HEADER.size] + b"".join(part.packed() for part in parts)


class HauntedNetwork(Network):
    """What was on its way to a shard that died comes to its next incarnation.

    With `forging`, it also bears the new epoch, so that only the links could have kept it away.
    """

    forging = False

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.links: dict[str, MemoryLink] = {}
        self.lost: dict[str, list[bytes]] = {}

    def arrive(self, link: MemoryLink, data: bytes) -> None:
        place = link.name.split(".")[0] + link.name.partition("-")[2]
        peer = link.peer
        if link.name.endswith("/a") and is_main(link):
            if not peer.open:
                self.lost.setdefault(place, []).append(data)
            elif place in self.lost:
                epoch = struct.unpack_from("=I", data, 4)[0]
                for old in self.lost.pop(place):
                    self.faults += 1
                    if self.forging:
                        old = old[:4] + struct.pack("=I", epoch) + old[8:]
                    peer.deliver(old)
        super().arrive(link, data)


class ForgingNetwork(HauntedNetwork):
    forging = True


class UnlockingNetwork(Network):
    """Reads over several shards are executed without locks, as if these had been switched off."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.unlocked: set[tuple[str, int, int]] = set()

    def carry(self, link: MemoryLink, data: bytes) -> None:
        place = link.name.rpartition("/")[0]
        if is_main(link) and data[0] == MESSAGE_RUNS:
            epoch, runs = read_requests(data)
            for run in runs:
                if run.flags & RUN_KEYS and not run.flags & RUN_PREPARE:
                    self.faults += 1
                    self.unlocked.add((place, run.client, run.sequence))
                    run.flags &= ~(RUN_KEYS | RUN_LOCKS | RUN_TRANSACTION)
                    run.transaction = None
            data = requests(epoch, runs)
        elif is_main(link) and data[0] == MESSAGE_REPLIES:
            _, parts = read_replies(data)
            for part in parts:
                if (place, part.client, part.sequence) in self.unlocked:
                    self.unlocked.discard((place, part.client, part.sequence))
                    part.data = b":1700000000000\r\n" + part.data
            data = data[: REPLY_HEADER.size] + b"".join(part.packed() for part in parts)
        super().carry(link, data)


def world_with(network: type[Network]) -> type[World]:
    """A World whose network is this one."""
    return type("FaultyWorld", (World,), {"network_type": network})
