"""How a collection is laid out, for DEBUG. Nothing here counts as a use of the key."""

from __future__ import annotations

from shards.inspect.hashtables import Figures
from shards.keyspace.keyspace import Keyspace

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

def table_figures(
    keyspace: Keyspace, database: int, expiring: bool, full: bool
) -> tuple[Figures, Figures]:
    """The slots' tables of a database together, and those that some of them are being moved to.

    Members with the same home count as a chain. Chains are counted only if `full`. O(n) then.
    """

def dict_figures(keyspace: Keyspace, database: int, key: bytes, full: bool) -> Figures | None:
    """The hash table of a big hash, set or sorted set; None: no hash table. O(buckets) if full."""
