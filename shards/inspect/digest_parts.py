"""DEBUG DIGEST: one hash of the whole data set, the same as redis-server's for the same data.

What has an order is mixed into the digest one after the other, what has none is combined by xor. A
shard gives the xor of the keys of each of its databases, which whoever asked it combines and folds.
"""

from __future__ import annotations

from hashlib import sha1

EMPTY = bytes(20)


def xor(first: bytes, second: bytes) -> bytes:
    """Two digests combined, in whatever order."""
    return (int.from_bytes(first) ^ int.from_bytes(second)).to_bytes(20)


def add(digest: bytes, data: bytes) -> bytes:
    """A digest with one more part of those that have no order."""
    return xor(digest, sha1(data, usedforsecurity=False).digest())


def mix(digest: bytes, data: bytes) -> bytes:
    """A digest with the next part of those that have an order."""
    return sha1(add(digest, data), usedforsecurity=False).digest()


def fold(databases: dict[int, bytes]) -> bytes:
    """The digest of a data set, from those of its databases that have keys."""
    digest = EMPTY
    for number in sorted(databases):
        digest = xor(mix(digest, number.to_bytes(4)), databases[number])
    return digest
