"""Taking DUMP payloads apart: enough of the RDB format to see a structure's own bytes."""

from __future__ import annotations

from dataclasses import dataclass

from shards.types.lzf import decompress
from tests.support.resp_client import RespClient

LIST_QUICKLIST_2 = 18
SET_INTSET = 11
HASH_LISTPACK = 16
ZSET_LISTPACK = 17
PLAIN, PACKED = 1, 2  # the containers of a quicklist's nodes
LZF = 3  # of the special string encodings the only one that is compressed


def dump(client: RespClient, key: bytes) -> bytes:
    """The payload of a key that is there."""
    return bulk(client.call(b"DUMP", key))


def bulk(reply: bytes) -> bytes:
    """The string in a bulk reply."""
    assert reply[:1] == b"$"
    return reply[reply.index(b"\n") + 1 : -2]


@dataclass
class Payload:
    """A reader of one payload; the version and checksum at its end are left alone."""

    data: bytes
    at: int = 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def take(self, n: int) -> bytes:
        self.at += n
        assert self.at <= len(self.data)
        return self.data[self.at - n : self.at]

    def length(self) -> int:
        """A length; -1 minus the encoding for a special string."""
        first = self.byte()
        if first >> 6 == 0:
            return first
        if first >> 6 == 1:
            return (first & 63) << 8 | self.byte()
        if first >> 6 == 3:
            return -1 - (first & 63)
        return int.from_bytes(self.take(4 if first == 0x80 else 8), "big")

    def string(self) -> bytes:
        length = self.length()
        if length >= 0:
            return self.take(length)
        special = -1 - length
        if special == LZF:
            compressed, full = self.length(), self.length()
            data = decompress(self.take(compressed), full)
            assert data is not None, "redis-server's LZF is not understood"
            return data
        return b"%d" % int.from_bytes(self.take(1 << special), "little", signed=True)


def single(payload: bytes) -> tuple[int, bytes]:
    """The type and bytes of a value that is one string: intsets and listpacks."""
    reader = Payload(payload)
    return reader.byte(), reader.string()


def nodes(payload: bytes) -> list[tuple[int, bytes]]:
    """(container, bytes) of a quicklist's nodes."""
    reader = Payload(payload)
    assert reader.byte() == LIST_QUICKLIST_2
    return [(reader.length(), reader.string()) for _ in range(reader.length())]
