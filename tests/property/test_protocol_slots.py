"""key_slot against a model that spells out the hash tag rules."""

import binascii

from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.slots import SLOTS, key_slot


def slot_of(key: bytes) -> int:
    _, opening, rest = key.partition(b"{")
    tag, closing, _ = rest.partition(b"}")
    hashed = tag if opening and closing and tag else key
    return binascii.crc_hqx(hashed, 0) % SLOTS


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"{", b"}", b"a", b"bc", b"\x00", b"\xff" * 9]), max_size=12))
def test_braces_anywhere_are_read_as_the_model_reads_them(pieces: list[bytes]) -> None:
    key = b"".join(pieces)
    assert key_slot(key) == slot_of(key)


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_have_the_slot_of_the_model(key: bytes) -> None:
    assert key_slot(key) == slot_of(key)
