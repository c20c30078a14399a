"""The figures of DEBUG HTSTATS: chains as they are in the tables, added up, and in words."""

from __future__ import annotations

from protocol.reply import Reply
from shards.inspect.hashtables import LENGTHS, NOTHING, Figures, add, pack, text, unpack
from shards.inspect.layout import dict_figures, table_figures
from shards.keyspace.keyspace import Keyspace


def check(figures: Figures, members: int) -> None:
    """What holds for all tables whose chains are shorter than those that are counted as one."""
    size, found, used, longest, lengths = figures
    assert found == members
    assert sum(lengths) == size
    assert sum(lengths[1:]) == used
    assert sum(length * count for length, count in enumerate(lengths)) == members
    assert longest == max((length for length, count in enumerate(lengths) if count), default=0)


def test_all_slots_tables_are_counted() -> None:
    keyspace = Keyspace()
    for number in range(3000):
        expire_ms = 1 << 50 if number % 3 == 0 else -1
        keyspace.set_string(0, b"key:%d" % number, b"v", expire_ms=expire_ms)
    for expiring, members in ((False, 3000), (True, 1000)):
        main, target = table_figures(keyspace, 0, expiring, True)
        check(main, members)
        assert target == NOTHING
        assert table_figures(keyspace, 0, expiring, False)[0] == (
            *main[:2],
            *NOTHING[2:],
        )
    assert table_figures(keyspace, 1, False, True) == (NOTHING, NOTHING)


def test_a_table_that_is_being_moved_is_two() -> None:
    keyspace = Keyspace()
    keyspace.tune(incremental_min=16, step=1)
    moved = 0
    for number in range(2000):
        keyspace.set_string(0, b"{one}%d" % number, b"v")
        main, target = table_figures(keyspace, 0, False, True)
        check(main, number + 1 - target[1])
        if target[0]:
            check(target, target[1])
            assert target[0] == 2 * main[0]
            assert b"Hash table 1 stats (rehashing target):\n" in text((main, target), False)
            moved += 1
    assert moved > 100


def test_what_is_no_hash_table_has_no_figures() -> None:
    keyspace = Keyspace()
    keyspace.set_string(0, b"k", b"v")
    assert dict_figures(keyspace, 0, b"k", True) is None
    assert dict_figures(keyspace, 0, b"missing", True) is None


def test_figures_survive_the_way_between_processes() -> None:
    one: Figures = (8, 5, 3, 2, [5, 1, 2, *[0] * (LENGTHS - 3)])
    reply = Reply(2)
    pack(reply, [one, NOTHING])
    assert unpack(reply.take()) == [one, NOTHING]
    assert add(one, one) == (16, 10, 6, 2, [10, 2, 4, *[0] * (LENGTHS - 3)])
    assert add(one, NOTHING) == one


def test_the_words_are_those_of_redis() -> None:
    one: Figures = (8, 5, 3, 2, [5, 1, 2, *[0] * (LENGTHS - 3)])
    assert text((one, NOTHING), True) == (
        b"Hash table 0 stats (main hash table):\n"
        b" table size: 8\n"
        b" number of elements: 5\n"
        b" different slots: 3\n"
        b" max chain length: 2\n"
        b" avg chain length (counted): 1.67\n"
        b" avg chain length (computed): 1.67\n"
        b" Chain length distribution:\n"
        b"   0: 5 (62.50%)\n"
        b"   1: 1 (12.50%)\n"
        b"   2: 2 (25.00%)\n"
    )
    long: Figures = (2, 60, 1, 60, [1, *[0] * (LENGTHS - 2), 1])
    assert text((NOTHING, long), True) == (
        b"Hash table 0 stats (main hash table):\n"
        b"No stats available for empty dictionaries\n"
        b"Hash table 1 stats (rehashing target):\n"
        b" table size: 2\n"
        b" number of elements: 60\n"
        b" different slots: 1\n"
        b" max chain length: 60\n"
        b" avg chain length (counted): 60.00\n"
        b" avg chain length (computed): 60.00\n"
        b" Chain length distribution:\n"
        b"   0: 1 (50.00%)\n"
    )
