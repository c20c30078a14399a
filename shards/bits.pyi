from typing import Final, final

from shards.context import Context

AND: Final[int]
OR: Final[int]
XOR: Final[int]
NOT: Final[int]

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
    def get(self, offset: int, width: int) -> int: ...  # unsigned; zeros behind the end
    def reach(self, bit: int) -> bool: ...  # make room for a bit; True: created or made longer
    def put(self, offset: int, width: int, value: int) -> None: ...  # behind `reach`

def combine(operation: int, strings: list[bytes]) -> bytes:
    """AND, OR, XOR of strings, or NOT of one; short ones are padded with zeros. O(bytes)"""
