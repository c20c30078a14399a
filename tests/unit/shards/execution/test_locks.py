"""Who holds a key and who waits: the queues of locks, and their rule in plain words."""

from __future__ import annotations

import random

from shards.execution.locks import Locks, Ticket


def ticket(*alone: bytes, shared: tuple[bytes, ...] = ()) -> Ticket:
    return Ticket(dict.fromkeys(shared, False) | dict.fromkeys(alone, True))


def test_a_key_is_held_by_one_or_shared_by_many() -> None:
    locks = Locks()
    first, second, third = ticket(b"a"), ticket(shared=(b"a",)), ticket(shared=(b"a", b"b"))
    assert locks.request(first)
    assert not locks.request(second)
    assert not locks.request(third)
    assert locks.request(ticket(b"c"))
    assert locks.release(first) == [second, third]
    assert second.granted
    assert third.granted


def test_nobody_who_waits_is_overtaken() -> None:
    locks = Locks()
    reader, writer, late = ticket(shared=(b"a",)), ticket(b"a"), ticket(shared=(b"a",))
    assert locks.request(reader)
    assert not locks.request(writer)
    assert not locks.request(late)
    assert locks.release(reader) == [writer]
    assert locks.release(writer) == [late]
    assert locks.release(late) == []
    assert locks.tickets == 0


def test_one_who_no_longer_wants_to_wait_lets_those_behind_go_on() -> None:
    locks = Locks()
    reader, writer, late = ticket(shared=(b"a",)), ticket(b"a"), ticket(shared=(b"a",))
    for one in (reader, writer, late):
        locks.request(one)
    assert locks.release(writer) == [late]


def test_the_whole_shard_is_held_alone() -> None:
    locks = Locks()
    first, flush, second = ticket(b"a"), Ticket({None: True}), ticket(b"b")
    assert locks.request(first)
    assert not locks.request(flush)
    assert not locks.request(second)
    assert locks.release(first) == [flush]
    assert locks.release(flush) == [second]


def test_tickets_are_granted_in_turn_whatever_they_want() -> None:
    """A ticket holds its keys as soon as no earlier one that conflicts with it is left."""
    for seed in range(200):
        chance = random.Random(seed)
        locks = Locks()
        tickets: list[Ticket] = []
        granted: set[int] = set()
        for _ in range(60):
            if chance.random() < 0.6 or not tickets:
                keys: list[bytes | None] = [b"a", b"b", b"c", b"d", None]
                wants = {key: chance.random() < 0.4 for key in chance.sample(keys, 2)}
                one = Ticket(wants)
                if locks.request(one):
                    granted.add(id(one))
                tickets.append(one)
            else:
                one = tickets.pop(chance.randrange(len(tickets)))
                granted.discard(id(one))
                granted.update(map(id, locks.release(one)))
            for position, one in enumerate(tickets):
                free = not any(
                    key in before.wants and (alone or before.wants[key])
                    for before in tickets[:position]
                    for key, alone in one.wants.items()
                )
                assert one.granted == free == (id(one) in granted)
        assert locks.tickets == len(tickets)
