"""LZF compression; the native API is in lzf.pxd."""

from typing import TypeAlias

_Buffer: TypeAlias = bytes | bytearray | memoryview

def compress(data: _Buffer, room: int | None = None) -> bytes | None: ...
def decompress(data: _Buffer, length: int) -> bytes | None: ...
