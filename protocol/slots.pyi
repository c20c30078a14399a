SLOTS: int

def key_slot(key: bytes) -> int:
    """The hash slot of a key, 0 to 16383. O(length of the hashed part)."""
