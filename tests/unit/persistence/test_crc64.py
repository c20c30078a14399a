"""The checksum of dumps against an independent implementation of the same polynomial."""

from __future__ import annotations

import random

import crcmod  # type: ignore[import-untyped]

from persistence.crc64 import checksum

jones = crcmod.mkCrcFun(0x1AD93D23594C935A9, initCrc=0, rev=True, xorOut=0)


def test_the_checksum_is_that_of_another_implementation_for_every_length() -> None:
    source = random.Random(1)
    for length in range(300):
        data = source.randbytes(length)
        assert checksum(data) == jones(data)


def test_the_known_checksum() -> None:
    assert checksum(b"123456789") == 0xE9C6D914C4B8D9CA


def test_a_checksum_goes_on_where_another_has_ended() -> None:
    source = random.Random(2)
    data = source.randbytes(200)
    for cut in range(201):
        assert checksum(data[cut:], checksum(data[:cut])) == jones(data)
