REGISTERS: int

def estimate(maxima: bytearray) -> int:
    """The cardinality that registers of one byte each stand for."""

def self_test(seed: int) -> str | None:
    """What is wrong with the registers or the estimates; None: nothing."""
