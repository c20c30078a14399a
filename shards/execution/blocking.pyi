from typing import final

from shards.keyspace.keyspace import Keyspace

@final
class Blocking:
    """Who waits for keys; the methods that change something are for tests of the structure."""

    def __init__(self, keyspace: Keyspace) -> None: ...
    @property
    def waiters(self) -> int: ...
    @property
    def clients(self) -> int:
        """The waiters without those of workers."""
    @property
    def waited_keys(self) -> int:
        """Keys that somebody waits for."""
    @property
    def removal_keys(self) -> int:
        """Of these, those whose removal somebody waits for as well."""
    @property
    def deadline_ms(self) -> int:
        """The earliest deadline; 0: there is none."""
    @property
    def listens(self) -> bool: ...
    def rest(self) -> None:
        """Stop listening to the keyspace if nobody waits."""
    def add(
        self,
        owner: int,
        database: int,
        keys: list[bytes],
        wants: int,
        deadline_ms: int = 0,
        on_removal: bool = False,
    ) -> None: ...
    def remove(self, owner: int) -> bool: ...
    def expired(self, now_ms: int) -> int | None:
        """The owner whose time is up, or None."""
    def take_ready(self) -> list[tuple[int, bytes, list[int]]]:
        """Noted keys: database, name, the owners that wait for it; they are noted no more."""
    def owners(self, database: int, key: bytes) -> list[int]: ...
    def check(self) -> None:
        """Raise AssertionError unless the structure is whole. O(n)"""
