"""How a collection is laid out, for DEBUG. Nothing here counts as a use of the key."""

from __future__ import annotations

from shards.keyspace import Keyspace

def quicklist_figures(
    keyspace: Keyspace, database: int, key: bytes
) -> tuple[int, int, int, int, int] | None:
    """Nodes, elements, fill, compress depth and uncompressed bytes; None: no quicklist. O(nodes)"""

def listpack_lines(keyspace: Keyspace, database: int, key: bytes) -> list[str] | None:
    """Text about a listpack, a line for each element; None: no listpack. O(n)"""

def quicklist_lines(
    keyspace: Keyspace, database: int, key: bytes, full: bool = False
) -> list[str] | None:
    """Text about a quicklist, a line for each node and, if `full`, element. O(nodes), O(n)"""
