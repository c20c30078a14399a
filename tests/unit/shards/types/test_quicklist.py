"""Quicklists: their nodes are those that redis-server makes, and compression keeps its promises."""

from __future__ import annotations

import random

import pytest

from shards.types.quicklist import QuicklistProbe
from tests.support.dumps import PACKED, PLAIN, dump, nodes
from tests.support.servers import Oracle

WORDS = [b"%d" % n * (n % 40) for n in range(3000)]


def quicklist(
    *values: bytes, fill: int = -2, depth: int = 0, plain: int = 1 << 30
) -> QuicklistProbe:
    probe = QuicklistProbe(fill, depth, plain)
    for value in values:
        probe.push(value)
    probe.check()
    return probe


def layout(probe: QuicklistProbe) -> list[tuple[int, bytes]]:
    return [(PLAIN if plain else PACKED, data) for plain, _, _, data in probe.nodes()]


@pytest.mark.parametrize("fill", [-1, -2, -3, -4, -5, 1, 4, 128, 32767])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_nodes_are_those_of_redis_server(oracle: Oracle, fill: int, depth: int) -> None:
    """The same random changes, and every node's bytes are the same at the end.

    Redis 7.0 estimates the room for LINSERT otherwise than 7.2, and we as 7.2.
    """
    random.seed(fill * 10 + depth)
    with oracle.client() as client:
        version = client.call(b"INFO", b"server")
        client.call(b"CONFIG", b"SET", b"rdbcompression", b"no")
        client.call(b"CONFIG", b"SET", b"list-max-listpack-size", b"%d" % fill)
        client.call(b"CONFIG", b"SET", b"list-compress-depth", b"%d" % depth)
        probe = QuicklistProbe(fill, depth)
        for word in WORDS:
            at_tail = random.random() < 0.7
            probe.push(word, at_tail)
            client.call(b"RPUSH" if at_tail else b"LPUSH", b"list", word)
        assert nodes(dump(client, b"list")) == layout(probe)
        for n in range(600):
            index = random.randrange(len(probe))
            value = b"%d:" % n * random.randrange(1, 60)
            choice = random.randrange(5 if b"redis_version:7.2" in version else 4)
            if choice == 0:
                probe.replace(index, value)
                client.call(b"LSET", b"list", b"%d" % index, value)
            elif choice == 1:
                probe.rotate()
                client.call(b"RPOPLPUSH", b"list", b"list")
            elif choice == 2:
                probe.pop(False)
                client.call(b"LPOP", b"list")
            elif choice == 3:
                probe.delete_range(-4, 4)
                client.call(b"LTRIM", b"list", b"0", b"-5")
            elif (pivot := probe[index]) and probe.elements().index(pivot) == index:
                behind = random.random() < 0.5
                probe.insert(index, value, behind)
                client.call(b"LINSERT", b"list", b"AFTER" if behind else b"BEFORE", pivot, value)
            probe.check()
        assert nodes(dump(client, b"list")) == layout(probe)
        for option, value in ((b"rdbcompression", b"yes"), (b"list-compress-depth", b"0")):
            client.call(b"CONFIG", b"SET", option, value)
        client.call(b"CONFIG", b"SET", b"list-max-listpack-size", b"-2")


def test_large_elements_stand_alone() -> None:
    probe = quicklist(b"a", b"b" * 20, b"c", b"d", plain=20)
    assert [(plain, count) for plain, _, count, _ in probe.nodes()] == [
        (False, 1),
        (True, 1),
        (False, 2),
    ]
    probe.insert(3, b"e" * 30)
    assert [plain for plain, _, _, _ in probe.nodes()] == [False, True, False, True, False]
    probe.replace(3, b"e")
    probe.check()
    assert probe.elements() == [b"a", b"b" * 20, b"c", b"e", b"d"]
    probe.replace(1, b"12")
    probe.replace(0, b"f" * 25)
    probe.check()
    assert probe.elements() == [b"f" * 25, b"12", b"c", b"e", b"d"]
    assert probe.nodes()[0][0]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_all_but_the_nodes_near_an_end_are_compressed(depth: int) -> None:
    probe = quicklist(*(b"%d" % n * 30 for n in range(200)), fill=4, depth=depth)

    def compressed() -> list[bool]:
        return [packed for _, packed, _, _ in probe.nodes()]

    def expected() -> list[bool]:
        inner = max(0, len(probe.nodes()) - 2 * depth)
        near = len(probe.nodes()) - inner
        return [False] * (near - near // 2) + [True] * inner + [False] * (near // 2)

    assert compressed() == expected()
    before = probe.used_memory
    assert len(probe.elements()) == 200
    assert compressed() == expected()
    assert probe.used_memory == before
    for index in (100, 17, 150, -50):
        probe.replace(index, b"x" * 40)
        probe.insert(index, b"y" * 40)
        probe.check()
        assert compressed() == expected()
    assert probe.remove(b"y" * 40, 100) == 4
    assert compressed() == expected()
    while len(probe):
        probe.pop(len(probe) % 3 == 0)
        probe.check()
        assert compressed() == expected()


def test_a_full_node_has_no_room_to_spare() -> None:
    probe = quicklist(*(b"%d" % n for n in range(100_000)))
    data = sum(len(node[3]) for node in probe.nodes())
    assert probe.used_memory < data * 1.02


def test_an_empty_list_has_no_nodes() -> None:
    probe = quicklist(b"a")
    empty = QuicklistProbe().used_memory
    assert probe.pop() == b"a"
    assert probe.nodes() == []
    assert probe.used_memory == empty
    probe.rotate()
    assert probe.delete_range(0, 5) == 0
    with pytest.raises(IndexError):
        probe.pop()
    with pytest.raises(IndexError):
        probe[0]
