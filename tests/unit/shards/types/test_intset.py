"""Intsets: their bytes are redis-server's own, and nothing broken from outside is accepted."""

from __future__ import annotations

import random
import struct

import pytest

from shards.types.intset import IntsetProbe, validate_intset
from tests.support.dumps import SET_INTSET, dump, single
from tests.support.servers import Oracle


def intset(width: int, *members: int) -> bytes:
    code = {2: "h", 4: "i", 8: "q"}[width]
    return struct.pack(f"<II{len(members)}{code}", width, len(members), *members)


@pytest.mark.parametrize(
    ("number", "width"),
    [
        (32767, 2),
        (-32768, 2),
        (32768, 4),
        (-32769, 4),
        (2**31 - 1, 4),
        (-(2**31), 4),
        (2**31, 8),
        (-(2**31) - 1, 8),
        (2**63 - 1, 8),
        (-(2**63), 8),
    ],
)
def test_a_member_widens_the_set_at_either_end(number: int, width: int) -> None:
    probe = IntsetProbe()
    for member in (1, -5, 100):
        assert probe.add(member)
    assert number not in probe
    assert probe.add(number)
    assert not probe.add(number)
    assert bytes(probe) == intset(width, *sorted((1, -5, 100, number)))
    assert probe.remove(number)
    assert not probe.remove(number)
    assert bytes(probe) == intset(width, -5, 1, 100)  # it never narrows again
    probe.check()


def test_an_intset_is_byte_for_byte_that_of_redis_server(oracle: Oracle) -> None:
    random.seed(11)
    with oracle.client() as client:
        client.call(b"CONFIG", b"SET", b"rdbcompression", b"no")
        for bits in (4, 10, 16, 17, 31, 40, 63):
            probe = IntsetProbe()
            client.call(b"DEL", b"set")
            for _ in range(200):
                number = random.randint(-(1 << bits), (1 << bits) - 1)
                added = client.call(b"SADD", b"set", b"%d" % number)
                assert added == b":%d\r\n" % probe.add(number)
            for _ in range(50):
                number = probe[random.randrange(len(probe))]
                removed = client.call(b"SREM", b"set", b"%d" % number)
                assert removed == b":%d\r\n" % probe.remove(number)
                if len(probe) == 1:
                    break
            probe.check()
            assert single(dump(client, b"set")) == (SET_INTSET, bytes(probe))
        client.call(b"CONFIG", b"SET", b"rdbcompression", b"yes")


def test_a_range_is_removed_at_once() -> None:
    probe = IntsetProbe(intset(2, *range(100)))
    probe.remove_range(10, 80)
    assert bytes(probe) == intset(2, *range(10), *range(90, 100))
    probe.check()
    probe.remove_range(0, 20)
    assert len(probe) == 0
    probe.check()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        intset(2, 1)[:7],
        intset(2),  # empty: there is no such key
        intset(2, 1, 2)[:-1],
        intset(2, 1, 2) + b"\0",
        b"\3" + intset(2, 1, 2)[1:],
        b"\0" + intset(2, 1, 2)[1:],
        struct.pack("<II", 8, 0xFFFFFFFF) + bytes(16),
    ],
)
def test_what_is_no_intset_is_refused(data: bytes) -> None:
    assert not validate_intset(data)
    assert not validate_intset(data, False)
    with pytest.raises(ValueError, match="not an intset"):
        IntsetProbe(data)


@pytest.mark.parametrize("members", [(2, 1), (1, 1), (1, 2, 3, 3)])
def test_deep_validation_looks_at_the_order(members: tuple[int, ...]) -> None:
    assert validate_intset(intset(4, *members), False)
    assert not validate_intset(intset(4, *members))
