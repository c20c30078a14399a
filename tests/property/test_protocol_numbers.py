"""Number parsing and printing against Python's own."""

import random
import re
import struct

from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol.numbers import format_double, format_int64, parse_double, parse_int64

CANONICAL = re.compile(rb"0|-?[1-9][0-9]*")


def integer_in(text: bytes) -> int | None:
    if not CANONICAL.fullmatch(text):
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


@settings(deadline=None)
@given(st.integers(-(2**63), 2**63 - 1))
def test_an_integer_survives_writing_and_reading(value: int) -> None:
    text = format_int64(value)
    assert text == str(value).encode()
    assert parse_int64(text) == value


@settings(deadline=None)
@given(
    st.one_of(
        st.integers(-(2**70), 2**70).map(lambda value: str(value).encode()),
        st.text(alphabet="0123456789-+ .ex", max_size=22).map(str.encode),
        st.binary(max_size=24),
    )
)
def test_integers_are_read_as_the_model_reads_them(text: bytes) -> None:
    assert parse_int64(text) == integer_in(text)


def digits(text: bytes) -> bytes:
    """Those that count."""
    return re.sub(rb"e.*|[-.]", b"", text).strip(b"0")


def test_nearly_all_doubles_are_written_as_short_as_can_be() -> None:
    draw = random.Random(1)
    values = [draw.uniform(0, 1000) * 10.0 ** draw.randint(-250, 250) for _ in range(10_000)]
    longer = [v for v in values if len(digits(format_double(v))) > len(digits(repr(v).encode()))]
    assert len(longer) < 100


@settings(deadline=None)
@given(st.floats(allow_nan=False))
@example(9007199254740993.0)
@example(2.0**-44)
@example(5e-324)
@example(
    2.37640688386036e-288
)  # Redis writes it with 17 digits, too: Grisu2 is not always shortest
def test_a_double_survives_writing_and_reading(value: float) -> None:
    text = format_double(value)
    if 2**53 < abs(value) <= 2**62 and value == int(value):
        assert text == str(int(value)).encode()  # whole numbers are written in full
    else:
        assert len(digits(text)) <= 17
    read = parse_double(text)
    assert read is not None
    assert struct.pack("d", read) == struct.pack("d", value)


@settings(deadline=None)
@given(st.one_of(st.floats().map(lambda v: repr(v).encode()), st.binary(max_size=12)))
def test_doubles_are_read_as_python_reads_them(text: bytes) -> None:
    value = parse_double(text)
    try:
        expected = float(text)
    except ValueError:
        # Python knows no hexadecimal floats here; nothing else may be read that it refuses.
        assert value is None or b"x" in text.lower()
        return
    lenient = text != text.strip() or b"_" in text or expected != expected
    assert value == (None if lenient else expected)
