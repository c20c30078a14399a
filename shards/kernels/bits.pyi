from typing import Final

AND: Final[int]
OR: Final[int]
XOR: Final[int]
NOT: Final[int]

def combine(operation: int, strings: list[bytes]) -> bytes:
    """AND, OR, XOR of strings, or NOT of one; short ones are padded with zeros. O(bytes)"""
