"""Geohashes of 52 bits, and what lies near a position.

A hash halves the world in turn by longitude and latitude: the bits of the two are interleaved, so that
cells with a common prefix are neighbours, and a cell is a range of scores. The latitudes are those that
a square map of the world (Web Mercator) shows. A shape is covered by the cell around its centre and
those around it, of a size that makes nine enough. The floating point operations come in the order in
which Redis does them: replies show every digit.
"""

cimport cython
from libc.math cimport asin, cos, fabs, sin, sqrt
from libc.stdint cimport uint32_t, uint64_t

from cpython.bytes cimport PyBytes_FromStringAndSize

from protocol.numbers cimport format_long_double

cdef enum:
    STEPS = 26                      # bits of each coordinate
    TEXT_BYTES = 11
    HUMAN_BYTES_MAX = 5 * 1024      # what format_long_double may write

STEPS_MAX = STEPS

cdef double EARTH_RADIUS = 6372797.560856
cdef double MERCATOR_MAX = 20037726.37
cdef double RADIANS = 3.14159265358979323846 / 180.0
cdef double LONGITUDE_MAX = 180
cdef double LATITUDE_MAX = 85.05112878
cdef const char *ALPHABET = b"0123456789bcdefghjkmnpqrstuvwxyz"

cdef struct Cell:
    uint64_t bits
    int steps                       # 0: left out

cdef struct Bounds:
    double longitude_min
    double longitude_max
    double latitude_min
    double latitude_max


cdef uint64_t spread(uint64_t v) noexcept nogil:
    """A zero bit behind each of 32 bits."""
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


def encode(double longitude, double latitude):
    return cell_bits(longitude, latitude, LATITUDE_MAX, STEPS)


def decode(double score):
    cdef double longitude, latitude
    position(score, &longitude, &latitude)
    return longitude, latitude


def distance(double longitude, double latitude, double other_longitude, double other_latitude):
    return metres(longitude, latitude, other_longitude, other_latitude)


def text(double longitude, double latitude):
    cdef char letters[TEXT_BYTES]
    cdef uint64_t bits = cell_bits(longitude, latitude, 90, STEPS)
    cdef int i
    for i in range(TEXT_BYTES - 1):
        letters[i] = ALPHABET[(bits >> (2 * STEPS - (i + 1) * 5)) & 31]
    letters[TEXT_BYTES - 1] = c"0"      # 52 bits are not enough for it
    return letters[:TEXT_BYTES]


def coordinate(double value):
    cdef char digits[HUMAN_BYTES_MAX]
    cdef int n = format_long_double(digits, <long double>value)
    return PyBytes_FromStringAndSize(digits, n)


@cython.final
cdef class Shape:
    cdef double longitude
    cdef double latitude
    cdef double width               # of a circle, the radius
    cdef double height
    cdef readonly double unit
    cdef bint box

    def __init__(self, double longitude, double latitude, double width, double height, double unit,
                 bint box):
        self.longitude = longitude
        self.latitude = latitude
        self.width = width
        self.height = height
        self.unit = unit
        self.box = box

    cdef Bounds bounds(self) noexcept:
        cdef Bounds bounds
        cdef double height = self.unit * (self.height / 2 if self.box else self.width)
        cdef double width = self.unit * (self.width / 2 if self.box else self.width)
        cdef double latitude_delta = (height / EARTH_RADIUS) / RADIANS
        cdef double edge = self.latitude + latitude_delta
        cdef double longitude_delta
        if self.latitude < 0:
            edge = self.latitude - latitude_delta
        longitude_delta = (width / EARTH_RADIUS / cos(edge * RADIANS)) / RADIANS
        bounds.longitude_min = self.longitude - longitude_delta
        bounds.longitude_max = self.longitude + longitude_delta
        bounds.latitude_min = self.latitude - latitude_delta
        bounds.latitude_max = self.latitude + latitude_delta
        return bounds

    def areas(self):
        cdef Bounds bounds = self.bounds()
        cdef Bounds area
        cdef Cell cells[9]
        cdef Cell last
        cdef uint64_t centre
        cdef int i, steps, shift
        cdef double radius = self.width
        # The order in which Redis goes through them, which unsorted replies show.
        cdef int[9] east = [0, 0, 0, 1, -1, 1, -1, 1, -1]
        cdef int[9] north = [0, 1, -1, 0, 0, 1, 1, -1, -1]
        cdef list found = []
        if self.box:
            radius = sqrt((self.width / 2) * (self.width / 2)
                          + (self.height / 2) * (self.height / 2))
        radius *= self.unit
        steps = steps_for(radius, self.latitude)
        centre = cell_bits(self.longitude, self.latitude, LATITUDE_MAX, steps)
        if steps > 1 and (
                cell_bounds(moved(centre, steps, 0, 1), steps).latitude_max < bounds.latitude_max
                or cell_bounds(moved(centre, steps, 0, -1), steps).latitude_min
                > bounds.latitude_min
                or cell_bounds(moved(centre, steps, 1, 0), steps).longitude_max
                < bounds.longitude_max
                or cell_bounds(moved(centre, steps, -1, 0), steps).longitude_min
                > bounds.longitude_min):
            steps -= 1
            centre = cell_bits(self.longitude, self.latitude, LATITUDE_MAX, steps)
        area = cell_bounds(centre, steps)
        shift = 2 * (STEPS - steps)
        last.steps = 0
        last.bits = 0
        for i in range(9):
            cells[i].bits = moved(centre, steps, east[i], north[i])
            cells[i].steps = steps
            if steps >= 2 and (
                    (north[i] < 0 and area.latitude_min < bounds.latitude_min)
                    or (north[i] > 0 and area.latitude_max > bounds.latitude_max)
                    or (east[i] < 0 and area.longitude_min < bounds.longitude_min)
                    or (east[i] > 0 and area.longitude_max > bounds.longitude_max)):
                continue
            # Of huge shapes, neighbours may be the same; Redis compares with the one before only.
            if last.steps and last.bits == cells[i].bits:
                continue
            found.append((cells[i].bits << shift, (cells[i].bits + 1) << shift))
            if i:
                last = cells[i]
        return found

    def within(self, double score):
        cdef double longitude, latitude, apart
        position(score, &longitude, &latitude)
        if self.box:
            if latitude_metres(latitude, self.latitude) > self.height * self.unit / 2:
                return None
            if (metres(longitude, latitude, self.longitude, latitude)
                    > self.width * self.unit / 2):
                return None
            return (metres(self.longitude, self.latitude, longitude, latitude), longitude,
                    latitude)
        apart = metres(self.longitude, self.latitude, longitude, latitude)
        return None if apart > self.width * self.unit else (apart, longitude, latitude)
