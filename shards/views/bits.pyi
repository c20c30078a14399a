from typing import final

from shards.lane.context import Context

@final
class Bits:
    """The bits of a string key; a missing key has none."""

    name: bytes
    found: bool

    @staticmethod
    def open(ctx: Context, key: bytes, write: bool = False) -> Bits: ...  # WRONGTYPE
    def __len__(self) -> int: ...  # bytes
    def count(self, first: int, last: int) -> int: ...  # of a range of bits, which must exist
    def find(self, bit: bool, first: int, last: int) -> int: ...  # -1: not in this range
    def get(self, offset: int, width: int) -> int: ...  # unsigned; zeros after the end
    def reach(self, bit: int) -> bool: ...  # make room for a bit; True: created or made longer
    def put(self, offset: int, width: int, value: int) -> None: ...  # after `reach`
