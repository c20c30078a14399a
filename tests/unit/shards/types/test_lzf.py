"""LZF: redis-server reads what we compress and we what it does; broken bytes do no harm."""

from __future__ import annotations

import random

import pytest

from persistence.crc64 import checksum
from shards.types.lzf import compress, decompress
from tests.support.dumps import Payload, bulk, dump
from tests.support.servers import Oracle

SAMPLES = [
    b"a" * 100,
    b"ab" * 5000,
    b"the quick brown fox jumps over the lazy dog, " * 40,
    bytes(range(256)) * 40,
    b"".join(b"user:%d:name=%d;" % (n, n * 7919) for n in range(3000)),
    bytes(100_000),
    b"x" * 263 + b"y" + b"x" * 300,
]


@pytest.mark.parametrize("data", SAMPLES, ids=range(len(SAMPLES)))
def test_what_repeats_is_compressed_and_comes_back(data: bytes) -> None:
    packed = compress(data)
    assert packed is not None
    assert len(packed) < len(data) * 0.9
    assert decompress(packed, len(data)) == data
    assert decompress(packed, len(data) - 1) is None
    assert decompress(packed, len(data) + 1) is None
    assert compress(data, len(packed)) == packed
    assert compress(data, len(packed) - 1) is None


def test_random_bytes_do_not_fit_into_less() -> None:
    random.seed(3)
    for n in (1, 2, 3, 4, 31, 32, 33, 1000, 100_000):
        data = random.randbytes(n)
        assert compress(data) is None
        packed = compress(data, n + n // 32 + 1)
        assert packed is not None
        assert decompress(packed, n) == data


def test_redis_server_reads_what_we_compress(oracle: Oracle) -> None:
    """Our bytes take the place of its own in a payload; RESTORE checks the CRC64, so it is made."""
    with oracle.client() as client:
        for data in SAMPLES:
            client.call(b"SET", b"key", data)
            payload = dump(client, b"key")
            reader = Payload(payload, 1)
            assert reader.length() == -4  # LZF
            reader.length()
            reader.length()
            reader.at = 1
            assert reader.string() == data
            ours = compress(data)
            assert ours is not None
            theirs = len(payload) - 20
            assert len(ours) < theirs * 1.1 + 40, "we compress far less well"
            body = b"\0\xc3" + long_length(len(ours)) + long_length(len(data)) + ours
            body += payload[-10:-8]
            client.call(b"RESTORE", b"copy", b"0", body + crc64(body), b"REPLACE")
            assert bulk(client.call(b"GET", b"copy")) == data


def test_broken_bytes_are_refused_or_give_the_length_that_was_asked_for() -> None:
    random.seed(5)
    for data in SAMPLES[:4]:
        packed = compress(data)
        assert packed is not None
        for _ in range(3000):
            broken = bytearray(packed)
            for _ in range(random.choice((1, 2, 8))):
                broken[random.randrange(len(broken))] = random.randrange(256)
            if random.random() < 0.3:
                del broken[random.randrange(len(broken)) :]
            found = decompress(bytes(broken), len(data))
            assert found is None or len(found) == len(data)
    for _ in range(3000):
        found = decompress(random.randbytes(random.randrange(1, 60)), 64)
        assert found is None or len(found) == 64


def long_length(n: int) -> bytes:
    return b"\x80" + n.to_bytes(4, "big")


def crc64(data: bytes) -> bytes:
    return checksum(data).to_bytes(8, "little")
