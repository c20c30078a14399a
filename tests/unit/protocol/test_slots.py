"""Key slots against two independent CRC16 implementations, and the hash tag rules."""

import binascii
import random

import crcmod.predefined  # type: ignore[import-untyped]
import pytest

from protocol.slots import SLOTS, key_slot

xmodem = crcmod.predefined.mkPredefinedCrcFun("xmodem")


def test_the_crc_is_that_of_two_other_implementations_for_every_length() -> None:
    # Every length passes through another mix of the eight-, four-, two- and one-byte steps.
    random_source = random.Random(1)
    for length in range(1, 300):
        key = random_source.randbytes(length).replace(b"{", b"x")
        assert key_slot(key) == binascii.crc_hqx(key, 0) % SLOTS == xmodem(key) % SLOTS


@pytest.mark.parametrize(
    ("key", "slot"),
    [(b"foo", 12182), (b"bar", 5061), (b"hello", 866), (b"123456789", 0x31C3 % 16384), (b"", 0)],
)
def test_known_keys_have_their_published_slots(key: bytes, slot: int) -> None:
    assert key_slot(key) == slot


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"{user1000}.following", b"user1000"),
        (b"{user1000}.followers", b"user1000"),
        (b"foo{}{bar}", b"foo{}{bar}"),  # the first tag is empty: the whole key counts
        (b"foo{{bar}}zap", b"{bar"),
        (b"foo{bar}{zap}", b"bar"),  # only the first tag
        (b"foo{bar", b"foo{bar"),
        (b"foo}bar{", b"foo}bar{"),
        (b"}{a}", b"a"),
        (b"{}", b"{}"),
        (b"{", b"{"),
        (b"{a}", b"a"),
        (b"{\x00}x", b"\x00"),
    ],
)
def test_only_the_hash_tag_is_hashed(key: bytes, hashed: bytes) -> None:
    assert key_slot(key) == binascii.crc_hqx(hashed, 0) % SLOTS
