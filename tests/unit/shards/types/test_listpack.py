"""Listpacks: their bytes are redis-server's own, and nothing broken from outside is accepted."""

from __future__ import annotations

import random

import pytest

from shards.types.listpack import ListpackProbe, validate_listpack
from tests.support.dumps import HASH_LISTPACK, PACKED, dump, nodes, single
from tests.support.servers import Oracle

EDGES = [0, 1, 127, 128, -1, 4095, 4096, -4096, -4097, 32767, 32768, -32768, -32769]
EDGES += [2**23 - 1, 2**23, -(2**23), -(2**23) - 1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1]
EDGES += [2**63 - 1, -(2**63)]
LENGTHS = [0, 1, 63, 64, 125, 126, 127, 128, 4095, 4096, 16377, 16378, 16380, 16383, 16390, 70000]
ODD = [b"007", b"-0", b"+1", b" 1", b"9223372036854775808", b"-9223372036854775809", b"1.0", b"-"]


def repr_start(value: bytes) -> str:
    return f"{value[:12]!r} {len(value)}"


def listpack(*values: bytes | int) -> ListpackProbe:
    probe = ListpackProbe()
    for value in values:
        probe.append(value)
    probe.check()
    return probe


def test_the_empty_listpack() -> None:
    assert bytes(ListpackProbe()) == b"\x07\0\0\0\0\0\xff"


@pytest.mark.parametrize("number", EDGES)
def test_integers_are_kept_as_integers_in_either_form(number: int) -> None:
    both = listpack(number, b"%d" % number)
    assert both.elements() == [number, number]
    assert both.elements(backwards=True) == [number, number]
    assert both.texts() == [b"%d" % number] * 2
    assert both.equals(0, b"%d" % number)
    assert both.size_of(number) * 2 + 7 == len(bytes(both))
    assert both.find(b"%d" % number, 1) == 1
    assert both.find(b"%d" % (number ^ 1)) is None


@pytest.mark.parametrize("value", [b"x" * n for n in LENGTHS] + ODD, ids=repr_start)
def test_strings_are_kept_as_they_are(value: bytes) -> None:
    probe = listpack(b"first", value, 5, value)
    assert probe.elements() == [b"first", value, 5, value]
    assert probe.elements(backwards=True) == [value, 5, value, b"first"]
    assert probe.find(value) == 1
    assert probe.find(value, 2) == 3
    assert probe.find(value, 0, skip=1) is None
    assert probe.find(value, 1, skip=1) == 1
    assert not probe.equals(1, value + b"y")


def test_a_listpack_is_byte_for_byte_that_of_redis_server(oracle: Oracle) -> None:
    values = [b"%d" % number for number in EDGES] + [b"x" * n for n in LENGTHS] + ODD
    with oracle.client() as client:
        client.call(b"CONFIG", b"SET", b"rdbcompression", b"no")
        client.call(b"CONFIG", b"SET", b"list-max-listpack-size", b"-5")
        for count in range(1, len(values) + 1):
            some = values[:count]
            client.call(b"DEL", b"list")
            client.call(b"RPUSH", b"list", *some)
            payload = dump(client, b"list")
            packed = nodes(payload)
            if len(packed) > 1:  # one of the largest elements made a second node
                break
            assert packed == [(PACKED, bytes(listpack(*some)))]
        assert count > len(EDGES) + 9
        client.call(b"HSET", b"hash", *(b"%d" % n for n in range(-20, 20)))
        assert single(dump(client, b"hash")) == (
            HASH_LISTPACK,
            bytes(listpack(*range(-20, 20))),
        )
        client.call(b"CONFIG", b"SET", b"rdbcompression", b"yes")
        client.call(b"CONFIG", b"SET", b"list-max-listpack-size", b"-2")


def test_indices_count_from_both_ends() -> None:
    probe = listpack(*range(10))
    assert [probe[index] for index in range(10)] == list(range(10))
    assert [probe[index] for index in range(-10, 0)] == list(range(10))
    for index in (10, -11, 2**62, -(2**62)):
        with pytest.raises(IndexError):
            probe[index]


def test_beyond_65534_elements_they_are_counted() -> None:
    probe = ListpackProbe()
    probe.append_many([7] * 65534)
    assert bytes(probe)[4:6] == b"\xfe\xff"
    for length in range(65535, 65540):
        probe.append(8)
        assert bytes(probe)[4:6] == b"\xff\xff"
        assert len(probe) == length
    assert [probe[-1], probe[65533], probe[65534], probe[-6]] == [8, 7, 8, 7]
    with pytest.raises(IndexError):
        probe[65539]
    probe.delete_range(-6, 6)
    assert len(probe) == 65533
    assert bytes(probe)[4:6] == b"\xfd\xff"
    probe.check()


def test_a_listpack_never_exceeds_a_gibibyte() -> None:
    probe = listpack(b"x" * 93)
    used = len(bytes(probe))
    assert probe.fits((1 << 30) - used)
    assert not probe.fits((1 << 30) - used + 1)
    assert not probe.fits(2**64 - 1)


def test_a_deep_validation_finds_every_flipped_bit_that_matters() -> None:
    """What passes must be readable to its end in both directions."""
    random.seed(4)
    original = bytes(listpack(*EDGES, b"", b"a", b"x" * 70, b"y" * 200, b"z" * 5000))
    for _ in range(20_000):
        data = bytearray(original)
        for _ in range(random.choice((1, 1, 2, 5))):
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        if random.random() < 0.3:
            del data[random.randrange(len(data)) :]
            data[:4] = len(data).to_bytes(4, "little") if len(data) >= 4 else data[:4]
        exact = bytes(data)  # its own block, so that the sanitizer sees a read beyond it
        if validate_listpack(exact):
            probe = ListpackProbe(exact)
            assert probe.elements() == probe.elements(backwards=True)[::-1]
            probe.append(b"more")
            probe.check()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\x06\0\0\0\0\0",
        b"\x07\0\0\0\0\0\0",  # no end
        b"\x08\0\0\0\0\0\xff",  # longer than it is
        b"\x07\0\0\0\x01\0\xff",  # a count without elements
        b"\x09\0\0\0\x01\0\x05\x02\xff",  # a wrong back-length
        b"\x09\0\0\0\x02\0\x05\x01\xff",  # a wrong count
        b"\x09\0\0\0\x01\0\xff\x01\xff",  # an end within
        b"\x09\0\0\0\x01\0\xf5\x01\xff",  # an unknown encoding
        b"\x09\0\0\0\x01\0\xf0\xff\xff",  # half a length
        b"\x0e\0\0\0\x01\0\xf0\xff\xff\xff\xff\0\x01\xff",  # a length of 4 GiB
        b"\x09\0\0\0\x01\0\x84\x01\xff",  # a string beyond the end
        b"\x0b\0\0\0\x01\0\x80\x80\x80\x81\xff",  # an endless back-length
    ],
)
def test_what_is_no_listpack_is_refused(data: bytes) -> None:
    assert not validate_listpack(data)
    with pytest.raises(ValueError, match="not a listpack"):
        ListpackProbe(data)


def test_shallow_validation_looks_at_both_ends_only() -> None:
    assert validate_listpack(b"\x09\0\0\0\x01\0\xf5\x01\xff", False)
    assert not validate_listpack(b"\x09\0\0\0\x01\0\xf5\x01\xfe", False)


def test_integers_in_more_bytes_than_needed_are_read() -> None:
    """Older servers and other tools may have written them; they are found all the same."""
    data = b"\x10\0\0\0\x02\0\xf3\x05\0\0\0\x05\x81\x35\x02\xff"
    probe = ListpackProbe(data)
    assert probe.elements() == [5, b"5"]
    assert probe.find(b"5") == 0
    assert probe.find(b"5", 1) == 1
