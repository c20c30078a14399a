"""LZF compression; the native API is in lzf.pxd."""

from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

def compress(data: Buffer, room: int | None = None) -> bytes | None: ...
def decompress(data: Buffer, length: int) -> bytes | None: ...
