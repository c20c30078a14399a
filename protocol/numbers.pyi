def parse_int64(data: bytes) -> int | None:
    """The integer that is written canonically in `data`; None for anything else."""

def format_int64(value: int) -> bytes: ...
def parse_double(data: bytes) -> float | None:
    """The float in `data`, infinities included; None for NaN and for anything else."""

def format_double(value: float) -> bytes:
    """The text of a double in replies, digit for digit as Redis prints it."""

def add_long_doubles(value: bytes | None, increment: bytes) -> bytes:
    """`value` (0 when None) plus `increment` in C long double, as INCRBYFLOAT writes it.

    Raises CommandError when either is no float, and when the sum is not finite.
    """
