from typing import final

from shards.lane.context import Context

@final
class Hll:
    """A HyperLogLog: a copy of a key's value, to be changed and put back."""

    found: bool  # whether there is such a key

    @staticmethod
    def open(ctx: Context, key: bytes, write: bool = False) -> Hll: ...  # WRONGTYPE
    @property
    def dense(self) -> bool: ...
    @property
    def cached(self) -> int | None: ...  # the estimate that is kept with it
    def add(self, elements: list[bytes]) -> int: ...  # how many changed it; INVALIDOBJ
    def estimate(self) -> int: ...  # INVALIDOBJ
    def cache(self, estimate: int | None) -> None: ...
    def raise_registers(self, maxima: bytearray) -> None: ...  # INVALIDOBJ
    def merge(self, maxima: bytearray) -> None: ...
    def to_dense(self) -> bool: ...  # True: it was sparse; INVALIDOBJ
    def registers(self) -> bytes: ...  # one byte each, of a dense one
    def decode(self) -> bytes: ...  # the runs of a sparse one, as text
    def store(self) -> None: ...
    def unshare(self) -> None: ...
