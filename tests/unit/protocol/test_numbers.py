"""Numbers in the exact forms that redis-server reads and writes."""

import pytest

from protocol.errors import NAN_OR_INFINITY, NOT_FLOAT, CommandError
from protocol.numbers import (
    add_long_doubles,
    format_double,
    format_int64,
    parse_double,
    parse_int64,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0", 0),
        (b"7", 7),
        (b"-1", -1),
        (b"1000000", 1000000),
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"9223372036854775808", None),
        (b"-9223372036854775809", None),
        (b"99999999999999999999", None),
        (b"18446744073709551616", None),
        (b"-99999999999999999999", None),
        (b"", None),
        (b"-", None),
        (b"-0", None),
        (b"+1", None),
        (b" 1", None),
        (b"1 ", None),
        (b"01", None),
        (b"-01", None),
        (b"1.0", None),
        (b"1e3", None),
        (b"0x10", None),
        (b"1\x00", None),
        (b"\xb2", None),
        (b"--1", None),
    ],
)
def test_only_canonical_integers_are_integers(text: bytes, value: int | None) -> None:
    assert parse_int64(text) == value


def test_integers_of_every_length_are_written_as_python_writes_them() -> None:
    for digits in range(19):
        for value in (10**digits - 1, 10**digits, 10**digits + 1, 5 * 10**digits):
            for signed in (value, -value):
                assert format_int64(signed) == str(signed).encode()
    assert format_int64(2**63 - 1) == b"9223372036854775807"
    assert format_int64(-(2**63)) == b"-9223372036854775808"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"1.5", 1.5),
        (b"-0", -0.0),
        (b"inf", float("inf")),
        (b"-Infinity", float("-inf")),
        (b"+inf", float("inf")),
        (b"0x1p3", 8.0),
        (b"1e5", 1e5),
        (b".5", 0.5),
        (b"5.", 5.0),
        (b"5e-324", 5e-324),
        (b"0." + b"0" * 1000 + b"1e1000", 0.1),
        (b"1e400", None),
        (b"1e-400", None),
        (b"nan", None),
        (b"NaN(1)", None),
        (b"", None),
        (b" 1", None),
        (b"\v1", None),
        (b"1 ", None),
        (b"1\x00", None),
        (b"1,5", None),
        (b"e5", None),
        (b"0x", None),
    ],
)
def test_doubles_are_what_strtod_reads_whole(text: bytes, value: float | None) -> None:
    assert parse_double(text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, b"0"),
        (-0.0, b"-0"),
        (3.0, b"3"),
        (-100.0, b"-100"),
        (1.5, b"1.5"),
        (0.1, b"0.1"),
        (1 / 3, b"0.3333333333333333"),
        (3.14159265358979, b"3.14159265358979"),
        (1e-6, b"0.000001"),
        (1e-7, b"1e-7"),
        (1.5e-7, b"1.5e-7"),
        (1e15, b"1000000000000000"),
        (2.0**62, b"4611686018427387904"),
        (2.0**63, b"9223372036854776000"),
        (1e19, b"1e+19"),
        (1e21, b"1e+21"),
        (12345678901234567890.0, b"12345678901234567000"),
        (1.7976931348623157e308, b"1.7976931348623157e+308"),
        (5e-324, b"5e-324"),
        (2.2250738585072014e-308, b"2.2250738585072014e-308"),
        (123456.789, b"123456.789"),
        (1e100, b"1e+100"),
        (float("inf"), b"inf"),
        (float("-inf"), b"-inf"),
        (float("nan"), b"nan"),
    ],
)
def test_doubles_are_written_as_redis_7_2_writes_them(value: float, text: bytes) -> None:
    assert format_double(value) == text


@pytest.mark.parametrize(
    ("value", "increment", "total"),
    [
        (None, b"5.0e3", b"5000"),
        (b"10.50", b"0.1", b"10.6"),
        (b"3", b"-5", b"-2"),
        (b"1", b"-1", b"0"),
        (b"-0.0000000000000000001", b"0", b"0"),  # never "-0"
        (b"0.1", b"0.2", b"0.3"),  # the sum of doubles would not be 0.3
        (b"9223372036854775807", b"1", b"9223372036854775808"),
        (b"1e4000", b"0", None),
        (b"0x10", b"0", b"16"),
    ],
)
def test_long_doubles_are_added_as_incrbyfloat_adds_them(
    value: bytes | None, increment: bytes, total: bytes | None
) -> None:
    result = add_long_doubles(value, increment)
    if total is None:
        assert len(result) == 4000  # the nearest long double is a little less
        assert result[:5] == b"99999"
    else:
        assert result == total


@pytest.mark.parametrize("text", [b"", b" 1", b"1 ", b"abc", b"nan", b"1e5000", b"0" * 5120])
def test_what_is_no_float_is_refused_on_either_side(text: bytes) -> None:
    for value, increment in ((text, b"1"), (b"1", text)):
        with pytest.raises(CommandError) as raised:
            add_long_doubles(value, increment)
        assert raised.value.message == NOT_FLOAT


@pytest.mark.parametrize(
    ("value", "increment"), [(b"inf", b"1"), (b"1", b"-inf"), (b"inf", b"-inf"), (b"1e4932",) * 2]
)
def test_a_sum_that_is_not_finite_is_refused(value: bytes, increment: bytes) -> None:
    with pytest.raises(CommandError) as raised:
        add_long_doubles(value, increment)
    assert raised.value.message == NAN_OR_INFINITY
