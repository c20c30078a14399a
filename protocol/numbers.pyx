"""Numbers as Redis reads and writes them.

What a client may write is stricter than what C accepts (no spaces, no `+`, no leading zeros in
integers; no NaN in floats) and what it reads back must be the same digits as redis-server's:
* integers: plain decimal;
* long doubles (INCRBYFLOAT): 17 decimals, then trailing zeros cut;
* doubles: integers plainly, everything else by Grisu2 (Loitsch, "Printing Floating-Point Numbers
  Quickly and Accurately with Integers", PLDI 2010). Grisu2 yields a shortest form nearly always,
  so repr() would differ in about one double out of a thousand: clients compare these texts.
"""

from libc cimport errno
from libc.math cimport HUGE_VAL, isinf, isnan
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, strtod
from libc.string cimport memcpy, memset

from protocol.errors import NAN_OR_INFINITY, NOT_FLOAT, CommandError
from protocol.native cimport likely, load64, out_of_memory, unlikely

cdef extern from "<stdlib.h>" nogil:
    long double strtold(const char *text, char **end)

cdef enum:
    INT64_CHARS_MAX = 20        # -9223372036854775808
    LONG_DOUBLE_CHARS_MAX = 5 * 1024
    DOUBLE_CHARS_MAX = 128
    SHORT_DIGITS = 15           # so many make an integer that a double holds exactly

cdef double[SHORT_DIGITS + 1] TENS = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15]


# ---- integers

cdef bint parse_int64(const char *data, size_t n, int64_t *value) noexcept nogil:
    """Read exactly the canonical form of a 64-bit integer: what format_int64 writes. O(n)."""
    cdef size_t i = 0
    cdef bint negative = False
    cdef uint64_t magnitude = 0
    cdef uint32_t digit
    if n == 0 or n > INT64_CHARS_MAX:
        return False
    if data[0] == c"-":
        negative = True
        i = 1
        if n == 1:
            return False
    if data[i] == c"0":
        if n != 1:
            return False        # neither -0 nor leading zeros
        value[0] = 0
        return True
    # 19 digits cannot wrap an unsigned 64-bit word; a 20th is too many for either sign.
    if n - i > 19:
        return False
    while i < n:
        digit = <uint32_t>(<unsigned char>data[i]) - <uint32_t>c"0"
        if digit > 9:
            return False
        magnitude = magnitude * 10 + digit
        i += 1
    if unlikely(magnitude > <uint64_t>INT64_MAX + negative):
        return False
    value[0] = <int64_t>(0 - magnitude) if negative else <int64_t>magnitude
    return True


cdef char pairs[200]            # "00" "01" ... "99"


cdef void fill_pairs() noexcept nogil:
    cdef int i
    for i in range(100):
        pairs[2 * i] = <char>(c"0" + i // 10)
        pairs[2 * i + 1] = <char>(c"0" + i % 10)


fill_pairs()


cdef int format_int64(char *out, int64_t value) noexcept nogil:
    """Write the decimal form, at most 20 bytes and no NUL; returns how many."""
    cdef uint64_t magnitude
    cdef uint64_t limit = 10
    cdef int sign = 0
    cdef int digits = 1
    cdef int at
    cdef uint32_t pair
    if value < 0:
        out[0] = c"-"
        sign = 1
        magnitude = 0 - <uint64_t>value
    else:
        magnitude = <uint64_t>value
    if magnitude < 10:
        out[sign] = <char>(c"0" + magnitude)
        return sign + 1
    while digits < 19 and magnitude >= limit:
        digits += 1
        limit *= 10
    at = sign + digits
    while magnitude >= 100:
        pair = <uint32_t>(magnitude % 100) * 2
        magnitude //= 100
        at -= 2
        memcpy(out + at, pairs + pair, 2)
    if magnitude >= 10:
        memcpy(out + at - 2, pairs + magnitude * 2, 2)
    else:
        out[at - 1] = <char>(c"0" + magnitude)
    return sign + digits


# ---- floats, read

cdef inline bint is_space(char c) noexcept nogil:
    return c == c" " or (c >= c"\t" and c <= c"\r")


cdef bint parse_long_double(const char *data, size_t n, long double *value) noexcept nogil:
    """Read what strtold reads, whole and without leading space; not NaN, not out of range."""
    cdef char text[LONG_DOUBLE_CHARS_MAX]
    cdef char *end
    cdef long double parsed
    if n == 0 or n >= sizeof(text) or is_space(data[0]):
        return False
    memcpy(text, data, n)
    text[n] = 0
    errno.errno = 0
    parsed = strtold(text, &end)
    if <size_t>(end - text) != n or parsed != parsed:
        return False
    if errno.errno == errno.ERANGE and (parsed == HUGE_VAL or parsed == -HUGE_VAL or parsed == 0):
        return False
    value[0] = parsed
    return True


cdef inline bint parse_short_decimal(const char *data, size_t n, double *value) noexcept nogil:
    """Read up to SHORT_DIGITS digits with a sign and a point. False: strtod has to look.

    Both the digits and the power of ten are exact, and a division rounds once: strtod's result.
    """
    cdef size_t i = 0
    cdef size_t digits = 0
    cdef size_t point = n
    cdef int64_t number = 0
    cdef bint negative = n != 0 and data[0] == c"-"
    if unlikely(n > SHORT_DIGITS + 1):
        return False
    i += negative
    while i < n:
        if c"0" <= data[i] <= c"9":
            number = number * 10 + (data[i] - c"0")
            digits += 1
        elif data[i] == c"." and point == n:
            point = i + 1
        else:
            return False
        i += 1
    if unlikely(digits == 0 or digits > SHORT_DIGITS):
        return False
    value[0] = <double>number / TENS[n - point]
    if negative:
        value[0] = -value[0]
    return True


cdef bint parse_double(const char *data, size_t n, double *value) noexcept nogil:
    """Read what strtod reads, whole and without leading space; not NaN, not out of range.

    Short decimals, which most are, are read without it. Any length is allowed, as a client may
    write a thousand zeros. O(n).
    """
    cdef char local[256]
    cdef char *text = local
    cdef char *end
    cdef double parsed
    cdef bint whole
    if likely(parse_short_decimal(data, n, value)):
        return True
    if n == 0 or is_space(data[0]):
        return False
    if n >= sizeof(local):
        text = <char *>malloc(n + 1)
        if text == NULL:
            out_of_memory(n + 1)
    memcpy(text, data, n)
    text[n] = 0
    errno.errno = 0
    parsed = strtod(text, &end)
    whole = <size_t>(end - text) == n
    if text != local:
        free(text)
    if not whole or isnan(parsed):
        return False
    if errno.errno == errno.ERANGE and (parsed == HUGE_VAL or parsed == -HUGE_VAL or parsed == 0):
        return False
    value[0] = parsed
    return True


# ---- floats, written

cdef int format_long_double(char *out, long double value) noexcept nogil:
    """The "human" form: 17 decimals without their trailing zeros. 0 when it does not fit."""
    cdef int n
    cdef bint has_point = False
    cdef int i
    if value != value:
        memcpy(out, b"nan", 3)
        return 3
    if value == HUGE_VAL:
        memcpy(out, b"inf", 3)
        return 3
    if value == -HUGE_VAL:
        memcpy(out, b"-inf", 4)
        return 4
    n = snprintf(out, LONG_DOUBLE_CHARS_MAX, b"%.17Lf", value)
    if n <= 0 or n >= LONG_DOUBLE_CHARS_MAX:
        return 0
    while out[n - 1] == c"0":   # stops at the point at the latest: there are 17 decimals
        n -= 1
    if out[n - 1] == c".":
        n -= 1
    if n == 2 and out[0] == c"-" and out[1] == c"0":
        out[0] = c"0"
        n = 1
    return n


cdef struct Float:              # significand * 2^exponent
    uint64_t significand
    int exponent


cdef enum:
    POWERS = 87                 # cached powers of ten: 10^-348, 10^-340, ... 10^340
    POWER_FIRST = -348
    POWER_STEP = 8
    SCALED_EXPONENT_MIN = -60   # where the product's binary exponent must lie, so that its
    SCALED_EXPONENT_MAX = -32   # integral part fits 32 bits
    FRACTION_BITS = 52
    EXPONENT_BIAS = 1075        # 1023, and 52 for reading the fraction as an integer

cdef uint64_t HIDDEN_BIT = <uint64_t>1 << FRACTION_BITS
cdef Float powers[POWERS]


def _fill_powers():
    """Round each cached power of ten to a 64-bit significand, exactly, with big integers."""
    for i in range(POWERS):
        power = POWER_FIRST + i * POWER_STEP
        numerator, denominator = (10**power, 1) if power >= 0 else (1, 10**-power)
        exponent = numerator.bit_length() - denominator.bit_length() - 64
        while True:
            top, bottom = numerator << max(-exponent, 0), denominator << max(exponent, 0)
            significand = (2 * top + bottom) // (2 * bottom)
            if significand >> 64:
                exponent += 1
            elif significand >> 63 == 0:
                exponent -= 1
            else:
                break
        powers[i].significand = significand
        powers[i].exponent = exponent


_fill_powers()


cdef inline Float multiply(Float a, Float b) noexcept nogil:
    """The product's upper 64 bits, rounded."""
    cdef Float product
    cdef uint64_t low_mask = 0xFFFFFFFF
    cdef uint64_t high_low = (a.significand >> 32) * (b.significand & low_mask)
    cdef uint64_t low_high = (a.significand & low_mask) * (b.significand >> 32)
    cdef uint64_t low_low = (a.significand & low_mask) * (b.significand & low_mask)
    cdef uint64_t middle = ((high_low & low_mask) + (low_high & low_mask) + (low_low >> 32)
                            + (<uint64_t>1 << 31))
    product.significand = ((a.significand >> 32) * (b.significand >> 32) + (high_low >> 32)
                           + (low_high >> 32) + (middle >> 32))
    product.exponent = a.exponent + b.exponent + 64
    return product


cdef inline Float cached_power(int exponent, int *decimal) noexcept nogil:
    """A power of ten that scales 2^exponent into the window; `decimal` is its exponent.

    Two cached powers can do for one exponent. Which one is taken shows in the digits of a few
    doubles, hence the estimate by 87 (the window's middle, less a half) and log10(2).
    """
    cdef int estimate = <int>(-(exponent + POWERS) * 0.30102999566398114)
    cdef int i = (estimate - POWER_FIRST) // POWER_STEP
    while exponent + powers[i].exponent + 64 < SCALED_EXPONENT_MIN:
        i += 1
    while exponent + powers[i].exponent + 64 > SCALED_EXPONENT_MAX:
        i -= 1
    decimal[0] = POWER_FIRST + i * POWER_STEP
    return powers[i]


cdef inline void round_last(char *digit, uint64_t interval, uint64_t rest, uint64_t unit,
                            uint64_t distance) noexcept nogil:
    """Step the last digit down while that stays inside the interval and comes nearer the value."""
    while (rest < distance and interval - rest >= unit
           and (rest + unit < distance or distance - rest > rest + unit - distance)):
        digit[0] -= 1
        rest += unit


cdef int grisu(double value, char *digits, int *decimal) noexcept nogil:
    """The digits of a positive finite double, at most 18, and the exponent of the last one."""
    cdef uint64_t bits = load64(&value)
    cdef int biased = <int>((bits >> FRACTION_BITS) & 0x7FF)
    cdef Float exact, upper, lower, power
    cdef uint64_t distance, interval, fraction, integral, divisor, rest, one, mask
    cdef int shift, kappa, digit
    cdef int n = 0

    exact.significand = bits & (HIDDEN_BIT - 1)
    if biased:
        exact.significand |= HIDDEN_BIT
        exact.exponent = biased - EXPONENT_BIAS
    else:
        exact.exponent = 1 - EXPONENT_BIAS

    # Everything between the half-way points to both neighbours reads back as this double.
    upper.significand = (exact.significand << 1) + 1
    upper.exponent = exact.exponent - 1
    shift = 2 if exact.significand == HIDDEN_BIT else 1     # the lower neighbour is nearer then
    lower.significand = (exact.significand << shift) - 1
    lower.exponent = exact.exponent - shift
    while not upper.significand >> 63:
        upper.significand <<= 1
        upper.exponent -= 1
    lower.significand <<= lower.exponent - upper.exponent
    while not exact.significand >> 63:
        exact.significand <<= 1
        exact.exponent -= 1

    power = cached_power(upper.exponent, decimal)
    decimal[0] = -decimal[0]
    lower.exponent = upper.exponent
    exact = multiply(exact, power)
    upper = multiply(upper, power)
    lower = multiply(lower, power)
    # Products are off by at most one unit: shrink the interval by that much.
    upper.significand -= 1
    lower.significand += 1

    distance = upper.significand - exact.significand
    interval = upper.significand - lower.significand
    shift = -upper.exponent
    one = <uint64_t>1 << shift
    mask = one - 1
    integral = upper.significand >> shift
    fraction = upper.significand & mask

    kappa = 10
    divisor = 1000000000
    while kappa > 0:
        digit = <int>(integral // divisor)
        integral %= divisor
        if digit or n:
            digits[n] = <char>(c"0" + digit)
            n += 1
        kappa -= 1
        rest = (integral << shift) + fraction
        if rest <= interval:
            decimal[0] += kappa
            round_last(digits + n - 1, interval, rest, divisor << shift, distance)
            return n
        divisor //= 10
    while True:
        fraction *= 10
        interval *= 10
        distance *= 10
        digit = <int>(fraction >> shift)
        fraction &= mask
        if digit or n:
            digits[n] = <char>(c"0" + digit)
            n += 1
        kappa -= 1
        if fraction < interval:
            decimal[0] += kappa
            round_last(digits + n - 1, interval, fraction, one, distance)
            return n


cdef int lay_out(char *out, const char *digits, int n, int decimal, bint negative) noexcept nogil:
    """Digits and the exponent of the last one, as text: plain where short, else scientific."""
    cdef int exponent = decimal + n - 1         # of the first digit
    cdef int magnitude = -exponent if exponent < 0 else exponent
    cdef int point = n + decimal                # digits before the point
    cdef int at
    if decimal >= 0 and magnitude < n + 7:
        memcpy(out, digits, n)
        memset(out + n, c"0", decimal)
        return point
    if decimal < 0 and (decimal > -7 or magnitude < 4):
        if point > 0:
            memcpy(out, digits, point)
            out[point] = c"."
            memcpy(out + point + 1, digits + point, n - point)
            return n + 1
        out[0] = c"0"
        out[1] = c"."
        memset(out + 2, c"0", -point)
        memcpy(out + 2 - point, digits, n)
        return 2 - point + n
    n = min(n, 17 if negative else 18)
    out[0] = digits[0]
    at = 1
    if n > 1:
        out[1] = c"."
        memcpy(out + 2, digits + 1, n - 1)
        at = n + 1
    out[at] = c"e"
    out[at + 1] = c"-" if exponent < 0 else c"+"
    return at + 2 + format_int64(out + at + 2, magnitude)


cdef int format_double(char *out, double value) noexcept nogil:
    """The text of a double in replies, at most 128 bytes and no NUL; returns how many."""
    cdef char digits[24]
    cdef int decimal = 0
    cdef int sign = 0
    cdef int n
    cdef uint64_t bits = load64(&value)
    if isnan(value):
        memcpy(out, b"nan", 3)
        return 3
    # Half of the int64 range: beyond it Redis prints digits, which differ for large integers.
    if -4611686018427387904.0 <= value <= 4611686018427387904.0:
        if value == <double><int64_t>value and (value != 0 or bits == 0):
            return format_int64(out, <int64_t>value)
    if bits >> 63:
        out[0] = c"-"
        sign = 1
        value = -value
    if value == 0:
        out[sign] = c"0"
        return sign + 1
    if isinf(value):
        memcpy(out + sign, b"inf", 3)
        return sign + 3
    n = grisu(value, digits, &decimal)
    return sign + lay_out(out + sign, digits, n, decimal, sign)


# ---- for Python

def _parse_int64(data: bytes) -> int | None:
    cdef int64_t value
    if parse_int64(data, <size_t>len(data), &value):
        return value
    return None


def _parse_double(data: bytes) -> float | None:
    cdef double value
    if parse_double(data, <size_t>len(data), &value):
        return value
    return None


def _format_double(value: float) -> bytes:
    cdef char text[DOUBLE_CHARS_MAX]
    cdef int n = format_double(text, value)
    return text[:n]


def _format_int64(value: int) -> bytes:
    cdef char text[INT64_CHARS_MAX]
    cdef int n = format_int64(text, value)
    return text[:n]


def add_long_doubles(value: bytes | None, increment: bytes) -> bytes:
    """`value` (0 when None) plus `increment` in C long double, as INCRBYFLOAT writes it.

    Raises CommandError when either is no float, and when the sum is not finite.
    """
    cdef long double left = 0
    cdef long double right = 0
    cdef char text[LONG_DOUBLE_CHARS_MAX]
    cdef int n
    if value is not None and not parse_long_double(value, <size_t>len(value), &left):
        raise CommandError(NOT_FLOAT)
    if not parse_long_double(increment, <size_t>len(increment), &right):
        raise CommandError(NOT_FLOAT)
    left += right
    if left != left or left == HUGE_VAL or left == -HUGE_VAL:
        raise CommandError(NAN_OR_INFINITY)
    n = format_long_double(text, left)
    assert n > 0, "a finite long double always fits"
    return text[:n]


# Inside the module these names belong to the C functions; Python callers get these.
globals().update(
    parse_int64=_parse_int64,
    parse_double=_parse_double,
    format_double=_format_double,
    format_int64=_format_int64,
)
