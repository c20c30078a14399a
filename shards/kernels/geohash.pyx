"""Geohashes of 52 bits, and what lies near a position.

A hash halves the world in turn by longitude and latitude: the bits of the two are interleaved, so
that cells with a common prefix are neighbours, and a cell is a range of scores. The latitudes are
those that a square map of the world (Web Mercator) shows. A shape is covered by the cell around its
centre and those around it, of a size that makes nine enough. The floating point operations come in
the order in which Redis does them: replies show every digit.
"""

cimport cython
from libc.math cimport asin, cos, fabs, sin, sqrt
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf

from protocol.native cimport load64
from protocol.numbers cimport format_int64

cdef extern from *:
    """
    /* The fraction of a double, fraction / 2^bits, in units of 1e-17, rounded half to even. */
    static inline uint64_t shardis_decimals(uint64_t fraction, int bits) {
        unsigned __int128 product = (unsigned __int128)fraction * 100000000000000000ULL;
        unsigned __int128 rest = product & (((unsigned __int128)1 << bits) - 1);
        unsigned __int128 half = (unsigned __int128)1 << (bits - 1);
        uint64_t decimals = (uint64_t)(product >> bits);
        return decimals + (rest > half || (rest == half && (decimals & 1)));
    }
    """
    uint64_t decimals_of "shardis_decimals"(uint64_t fraction, int bits) noexcept nogil

cdef enum:
    STEPS = 26                      # bits of each coordinate
    DECIMALS = 17
    FRACTION_BITS_MAX = 120         # what decimals_of can shift by; less is a tiny number
    MANTISSA_BITS = 52
    EXPONENT_BIAS = 1075

STEPS_MAX = STEPS

cdef double EARTH_RADIUS = 6372797.560856
cdef double MERCATOR_MAX = 20037726.37
cdef double RADIANS = 3.14159265358979323846 / 180.0
cdef double LONGITUDE_MAX = 180
cdef double LATITUDE_MAX = 85.05112878
cdef const char *ALPHABET = b"0123456789bcdefghjkmnpqrstuvwxyz"

cdef struct Bounds:
    double longitude_min
    double longitude_max
    double latitude_min
    double latitude_max


cdef uint64_t spread(uint64_t v) noexcept nogil:
    """A zero bit after each of 32 bits."""
    cdef int shift
    v = (v | v << 16) & <uint64_t>0x0000FFFF0000FFFF
    v = (v | v << 8) & <uint64_t>0x00FF00FF00FF00FF
    v = (v | v << 4) & <uint64_t>0x0F0F0F0F0F0F0F0F
    v = (v | v << 2) & <uint64_t>0x3333333333333333
    return (v | v << 1) & <uint64_t>0x5555555555555555


cdef uint32_t gather(uint64_t v) noexcept nogil:
    """Every other bit."""
    v &= <uint64_t>0x5555555555555555
    v = (v | v >> 1) & <uint64_t>0x3333333333333333
    v = (v | v >> 2) & <uint64_t>0x0F0F0F0F0F0F0F0F
    v = (v | v >> 4) & <uint64_t>0x00FF00FF00FF00FF
    v = (v | v >> 8) & <uint64_t>0x0000FFFF0000FFFF
    return <uint32_t>(v | v >> 16)


cdef uint64_t cell_bits(double longitude, double latitude, double latitude_max,
                        int steps) noexcept nogil:
    cdef double x = (longitude + LONGITUDE_MAX) / (2 * LONGITUDE_MAX)
    cdef double y = (latitude + latitude_max) / (latitude_max + latitude_max)
    cdef double cells = <double>(<uint64_t>1 << steps)
    return spread(<uint32_t>(y * cells)) | spread(<uint32_t>(x * cells)) << 1


cdef Bounds cell_bounds(uint64_t bits, int steps) noexcept nogil:
    cdef Bounds bounds
    cdef double cells = <double>(<uint64_t>1 << steps)
    cdef double height = LATITUDE_MAX + LATITUDE_MAX
    cdef double width = LONGITUDE_MAX + LONGITUDE_MAX
    cdef uint32_t y = gather(bits)
    cdef uint32_t x = gather(bits >> 1)
    bounds.latitude_min = -LATITUDE_MAX + (y * 1.0 / cells) * height
    bounds.latitude_max = -LATITUDE_MAX + (<uint32_t>(y + 1) * 1.0 / cells) * height
    bounds.longitude_min = -LONGITUDE_MAX + (x * 1.0 / cells) * width
    bounds.longitude_max = -LONGITUDE_MAX + (<uint32_t>(x + 1) * 1.0 / cells) * width
    return bounds


cdef uint64_t moved(uint64_t bits, int steps, int east, int north) noexcept nogil:
    """The neighbour of a cell; beyond an edge it is on the other side.

    What is not moved stays as it is: on the very edge of the world it has one bit more.
    """
    cdef uint64_t mask = (<uint64_t>1 << steps) - 1
    cdef uint64_t x = gather(bits >> 1)
    cdef uint64_t y = gather(bits)
    if east:
        x = (x + <uint64_t>east) & mask
    if north:
        y = (y + <uint64_t>north) & mask
    return spread(y) | spread(x) << 1


cdef void position(double score, double *longitude, double *latitude) noexcept nogil:
    cdef Bounds bounds = cell_bounds(<uint64_t>score, STEPS)
    longitude[0] = (bounds.longitude_min + bounds.longitude_max) / 2
    longitude[0] = min(max(longitude[0], -LONGITUDE_MAX), LONGITUDE_MAX)
    latitude[0] = (bounds.latitude_min + bounds.latitude_max) / 2
    latitude[0] = min(max(latitude[0], -LATITUDE_MAX), LATITUDE_MAX)


cdef double latitude_metres(double first, double second) noexcept nogil:
    return EARTH_RADIUS * fabs(second * RADIANS - first * RADIANS)


cdef double metres(double longitude, double latitude, double other_longitude,
                   double other_latitude) noexcept nogil:
    """Haversine."""
    cdef double u, a, first, second
    cdef double v = sin((other_longitude * RADIANS - longitude * RADIANS) / 2)
    if v == 0.0:
        return latitude_metres(latitude, other_latitude)
    first = latitude * RADIANS
    second = other_latitude * RADIANS
    u = sin((second - first) / 2)
    a = u * u + cos(first) * cos(second) * v * v
    return 2.0 * EARTH_RADIUS * asin(sqrt(a))


cdef int steps_for(double radius, double latitude) noexcept nogil:
    """How fine cells may be for nine of them to cover a circle; they narrow towards the poles."""
    cdef int steps = 1
    if radius == 0:
        return STEPS
    while radius < MERCATOR_MAX:
        radius *= 2
        steps += 1
    steps -= 2
    if fabs(latitude) > 66:
        steps -= 1
        if fabs(latitude) > 80:
            steps -= 1
    return min(max(steps, 1), STEPS)


cdef uint64_t position_score(double longitude, double latitude) noexcept nogil:
    return cell_bits(longitude, latitude, LATITUDE_MAX, STEPS)


cdef void write_geohash(double longitude, double latitude, char *letters) noexcept nogil:
    cdef uint64_t bits = cell_bits(longitude, latitude, 90, STEPS)
    cdef int i
    for i in range(GEOHASH_BYTES - 1):
        letters[i] = ALPHABET[(bits >> (2 * STEPS - (i + 1) * 5)) & 31]
    letters[GEOHASH_BYTES - 1] = c"0"   # 52 bits are not enough for it


cdef int format_coordinate(char *out, double value) noexcept nogil:
    """The digits of printf's %.17f without trailing zeros, in integers: a lot faster."""
    cdef uint64_t mantissa = load64(&value)
    cdef int bits = EXPONENT_BIAS - <int>(mantissa >> MANTISSA_BITS & 0x7FF)
    cdef bint negative = mantissa >> 63
    cdef uint64_t decimals
    cdef int n, at, i
    mantissa = (mantissa & ((<uint64_t>1 << MANTISSA_BITS) - 1)) | <uint64_t>1 << MANTISSA_BITS
    if bits < 1 or bits > FRACTION_BITS_MAX:        # no fraction, or a tiny one
        n = snprintf(out, COORDINATE_BYTES_MAX, b"%.17f", value)
    else:
        n = 0
        if negative:
            out[0] = c"-"
            n = 1
        decimals = decimals_of(
            mantissa & ((<uint64_t>1 << bits) - 1) if bits < 64 else mantissa, bits)
        mantissa = mantissa >> bits if bits < 64 else 0
        if decimals == 100000000000000000U:
            decimals = 0
            mantissa += 1
        n += format_int64(out + n, <int64_t>mantissa)
        out[n] = c"."
        at = n + DECIMALS
        n = at + 1
        for i in range(DECIMALS):
            out[at - i] = <char>(c"0" + decimals % 10)
            decimals //= 10
    while out[n - 1] == c"0":       # stops at the point at the latest
        n -= 1
    if out[n - 1] == c".":
        n -= 1
    if n == 2 and out[0] == c"-" and out[1] == c"0":
        out[0] = c"0"
        n = 1
    return n


cdef Bounds area_bounds(const Area *area) noexcept nogil:
    cdef Bounds bounds
    cdef double height = area.unit * (area.height / 2 if area.box else area.width)
    cdef double width = area.unit * (area.width / 2 if area.box else area.width)
    cdef double latitude_delta = (height / EARTH_RADIUS) / RADIANS
    cdef double edge = area.latitude + latitude_delta
    cdef double longitude_delta
    if area.latitude < 0:
        edge = area.latitude - latitude_delta
    longitude_delta = (width / EARTH_RADIUS / cos(edge * RADIANS)) / RADIANS
    bounds.longitude_min = area.longitude - longitude_delta
    bounds.longitude_max = area.longitude + longitude_delta
    bounds.latitude_min = area.latitude - latitude_delta
    bounds.latitude_max = area.latitude + latitude_delta
    return bounds


cdef int area_ranges(const Area *area, ScoreRange *ranges) noexcept nogil:
    cdef Bounds bounds = area_bounds(area)
    cdef Bounds cell
    cdef uint64_t centre, bits
    cdef uint64_t last = 0
    cdef bint has_last = False
    cdef int i, steps, shift
    cdef int found = 0
    cdef double radius = area.width
    # The order in which Redis goes through them, which unsorted replies show.
    cdef int[9] east = [0, 0, 0, 1, -1, 1, -1, 1, -1]
    cdef int[9] north = [0, 1, -1, 0, 0, 1, 1, -1, -1]
    if area.box:
        radius = sqrt((area.width / 2) * (area.width / 2)
                      + (area.height / 2) * (area.height / 2))
    radius *= area.unit
    steps = steps_for(radius, area.latitude)
    centre = cell_bits(area.longitude, area.latitude, LATITUDE_MAX, steps)
    if steps > 1 and (
            cell_bounds(moved(centre, steps, 0, 1), steps).latitude_max < bounds.latitude_max
            or cell_bounds(moved(centre, steps, 0, -1), steps).latitude_min
            > bounds.latitude_min
            or cell_bounds(moved(centre, steps, 1, 0), steps).longitude_max
            < bounds.longitude_max
            or cell_bounds(moved(centre, steps, -1, 0), steps).longitude_min
            > bounds.longitude_min):
        steps -= 1
        centre = cell_bits(area.longitude, area.latitude, LATITUDE_MAX, steps)
    cell = cell_bounds(centre, steps)
    shift = 2 * (STEPS - steps)
    for i in range(9):
        bits = moved(centre, steps, east[i], north[i])
        if steps >= 2 and (
                (north[i] < 0 and cell.latitude_min < bounds.latitude_min)
                or (north[i] > 0 and cell.latitude_max > bounds.latitude_max)
                or (east[i] < 0 and cell.longitude_min < bounds.longitude_min)
                or (east[i] > 0 and cell.longitude_max > bounds.longitude_max)):
            continue
        # Of huge shapes, neighbours may be the same; Redis compares with the one before only.
        if has_last and last == bits:
            continue
        ranges[found].first = bits << shift
        ranges[found].end = (bits + 1) << shift
        found += 1
        if i:
            last = bits
            has_last = True
    return found


cdef bint area_holds(const Area *area, double score, Spot *spot) noexcept nogil:
    cdef double limit = area.width * area.unit
    position(score, &spot.longitude, &spot.latitude)
    if area.box:
        if latitude_metres(spot.latitude, area.latitude) > area.height * area.unit / 2:
            return False
        if metres(spot.longitude, spot.latitude, area.longitude, spot.latitude) > limit / 2:
            return False
    # What is too far north or south by more than any rounding needs no trigonometry.
    elif latitude_metres(spot.latitude, area.latitude) > limit * 1.000001 + 0.001:
        return False
    spot.metres = metres(area.longitude, area.latitude, spot.longitude, spot.latitude)
    return area.box or not spot.metres > limit


def encode(double longitude, double latitude):
    return position_score(longitude, latitude)


def decode(double score):
    cdef double longitude, latitude
    position(score, &longitude, &latitude)
    return longitude, latitude


def distance(double longitude, double latitude, double other_longitude, double other_latitude):
    return metres(longitude, latitude, other_longitude, other_latitude)


def text(double longitude, double latitude):
    cdef char letters[GEOHASH_BYTES]
    write_geohash(longitude, latitude, letters)
    return letters[:GEOHASH_BYTES]


def coordinate(double value):
    cdef char digits[COORDINATE_BYTES_MAX]
    cdef int n
    if not fabs(value) <= LONGITUDE_MAX:
        raise ValueError("not a coordinate")
    n = format_coordinate(digits, value)
    return digits[:n]


@cython.final
cdef class Shape:
    cdef Area area

    def __init__(self, double longitude, double latitude, double width, double height, double unit,
                 bint box):
        self.area.longitude = longitude
        self.area.latitude = latitude
        self.area.width = width
        self.area.height = height
        self.area.unit = unit
        self.area.box = box

    @property
    def unit(self):
        return self.area.unit

    def areas(self):
        cdef ScoreRange ranges[RANGES_MAX]
        cdef int i
        return [(ranges[i].first, ranges[i].end) for i in range(area_ranges(&self.area, ranges))]

    def within(self, double score):
        cdef Spot spot
        if not area_holds(&self.area, score, &spot):
            return None
        return spot.metres, spot.longitude, spot.latitude
