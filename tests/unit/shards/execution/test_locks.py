"""Who holds a key and who waits: the queues of locks, and their rule in plain words."""

from __future__ import annotations

import random
import time

from shards.execution.locks import ALONE, CHANGES, READS_ALL, SHARES, Locks, Ticket
from shards.keyspace.keyspace import Keyspace

AGREE = {
    (SHARES, SHARES),
    (SHARES, CHANGES),
    (CHANGES, CHANGES),
    (SHARES, READS_ALL),
    (READS_ALL, READS_ALL),
}


class Desk:
    """Locks, and how tests ask for them."""

    def __init__(self) -> None:
        self.keyspace = Keyspace(1, b"0123456789abcdef", 1)
        self.locks = Locks(self.keyspace)

    def ticket(
        self, *alone: bytes, shared: tuple[bytes, ...] = (), mode: int | None = None
    ) -> Ticket:
        keys = dict.fromkeys(shared, False) | dict.fromkeys(alone, True)
        return self.locks.ticket(
            keys, (CHANGES if alone else SHARES) if mode is None else mode, None
        )


def test_a_key_is_held_by_one_or_shared_by_many() -> None:
    desk = Desk()
    first, second, third = (
        desk.ticket(b"a"), desk.ticket(shared=(b"a",)), desk.ticket(shared=(b"a", b"b")),
    )  # fmt: skip
    assert desk.locks.request(first)
    assert not desk.locks.request(second)
    assert not desk.locks.request(third)
    assert desk.locks.request(desk.ticket(b"c"))
    assert desk.locks.release(first) == [second, third]
    assert second.granted
    assert third.granted


def test_nobody_who_waits_is_overtaken() -> None:
    desk = Desk()
    reader, writer, late = (
        desk.ticket(shared=(b"a",)), desk.ticket(b"a"), desk.ticket(shared=(b"a",)),
    )  # fmt: skip
    assert desk.locks.request(reader)
    assert not desk.locks.request(writer)
    assert not desk.locks.request(late)
    assert desk.locks.release(reader) == [writer]
    assert desk.locks.release(writer) == [late]
    assert desk.locks.release(late) == []
    assert desk.locks.tickets == 0


def test_one_who_no_longer_wants_to_wait_lets_those_after_it_go_on() -> None:
    desk = Desk()
    reader, writer, late = (
        desk.ticket(shared=(b"a",)), desk.ticket(b"a"), desk.ticket(shared=(b"a",)),
    )  # fmt: skip
    for one in (reader, writer, late):
        desk.locks.request(one)
    assert desk.locks.release(writer) == [late]


def test_the_whole_shard_is_held_alone() -> None:
    desk = Desk()
    first, flush, second = desk.ticket(b"a"), desk.ticket(mode=ALONE), desk.ticket(b"b")
    assert desk.locks.request(first)
    assert not desk.locks.request(flush)
    assert not desk.locks.request(second)
    assert desk.locks.release(first) == [flush]
    assert desk.locks.release(flush) == [second]


def test_who_reads_all_keys_waits_for_those_who_change_some() -> None:
    desk = Desk()
    writer, reader = desk.ticket(b"a"), desk.ticket(shared=(b"b",))
    keys, late = desk.ticket(mode=READS_ALL), desk.ticket(b"c")
    assert desk.locks.request(writer)
    assert desk.locks.request(reader)
    assert not desk.locks.request(keys)
    assert not desk.locks.request(late)
    assert desk.locks.release(writer) == [keys]
    assert desk.locks.release(keys) == [late]


def test_a_key_that_is_named_twice_is_one() -> None:
    desk = Desk()
    one = desk.ticket(b"a", shared=(b"a",))
    assert desk.locks.request(one)
    assert one.count == 1
    desk.locks.check([one])
    desk.locks.release(one)
    desk.locks.check([])


def agree(first: int, second: int) -> bool:
    return (first, second) in AGREE or (second, first) in AGREE


def test_tickets_are_granted_in_turn_whatever_they_want() -> None:
    """A ticket holds its keys as soon as no earlier one that conflicts with it is left.

    For the shard as a whole, the turn is strict: whoever waits there holds up all that come after.
    """
    for seed in range(200):
        chance = random.Random(seed)
        desk = Desk()
        tickets: list[tuple[Ticket, dict[bytes, bool], int]] = []
        granted: set[int] = set()
        for _ in range(60):
            if chance.random() < 0.6 or not tickets:
                names = [b"a", b"b", b"c", b"d"]
                wants = {key: chance.random() < 0.4 for key in chance.sample(names, 2)}
                mode = chance.choice([SHARES, SHARES, CHANGES, CHANGES, READS_ALL, ALONE])
                one = desk.locks.ticket(wants, mode, None)
                if desk.locks.request(one):
                    granted.add(id(one))
                tickets.append((one, wants, mode))
            else:
                one, _, _ = tickets.pop(chance.randrange(len(tickets)))
                granted.discard(id(one))
                granted.update(map(id, desk.locks.release(one)))
            desk.locks.check([one for one, _, _ in tickets])
            modes_held: list[int] = []
            waits = False
            for position, (one, wants, mode) in enumerate(tickets):
                waits = waits or not all(agree(mode, held) for held in modes_held)
                if not waits:
                    modes_held.append(mode)
                keys_free = not any(
                    key in before and (alone or before[key])
                    for _, before, _ in tickets[:position]
                    for key, alone in wants.items()
                )
                assert one.granted == (keys_free and not waits) == (id(one) in granted)
        assert desk.locks.tickets == len(tickets)


def test_the_end_of_a_ticket_costs_no_more_for_those_who_wait() -> None:
    """It went through all of them, so that each of n who wait in a row cost n steps."""

    def seconds(count: int) -> float:
        desk = Desk()
        tickets = [desk.ticket(b"k", b"l") for _ in range(count)]
        for ticket in tickets:
            desk.locks.request(ticket)
        started = time.perf_counter()
        for ticket, successor in zip(tickets, [*tickets[1:], None], strict=True):
            assert desk.locks.release(ticket) == ([] if successor is None else [successor])
        return (time.perf_counter() - started) / count

    few, many = (min(seconds(count) for _ in range(3)) for count in (500, 20_000))
    assert many < 8 * few
