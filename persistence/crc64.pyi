def checksum(data: bytes, before: int = 0) -> int:
    """The CRC-64 of RDB data; `before` is that of what comes before it. O(n)"""
