"""Hash slots, computed apart from the code under test."""

from __future__ import annotations

from binascii import crc_hqx

SLOTS = 16384


def slot(key: bytes) -> int:
    """The slot of a key: CRC16 of the part in the first braces if that is not empty."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS
