"""Geohashes for native code: positions, distances and what lies in an area; see geohash.pyi."""

from libc.stdint cimport uint64_t

cdef enum:
    RANGES_MAX = 9              # of scores, that cover an area
    GEOHASH_BYTES = 11
    COORDINATE_BYTES_MAX = 48

cdef struct Area:               # a circle, or a box along the meridians
    double longitude
    double latitude
    double width                # of a circle, the radius
    double height
    double unit                 # in metres, of width and height
    bint box

cdef struct Spot:
    double metres               # from the centre
    double longitude
    double latitude

cdef struct ScoreRange:
    uint64_t first
    uint64_t end                # not included

cdef uint64_t position_score(double longitude, double latitude) noexcept nogil
cdef void position(double score, double *longitude, double *latitude) noexcept nogil
cdef double metres(double longitude, double latitude, double other_longitude,
                   double other_latitude) noexcept nogil
cdef void write_geohash(double longitude, double latitude, char *letters) noexcept nogil
# With at most 17 decimals, as replies have it. Returns how many bytes: <= COORDINATE_BYTES_MAX.
cdef int format_coordinate(char *out, double value) noexcept nogil
# The ranges of scores, in the order in which Redis goes through them; returns how many.
cdef int area_ranges(const Area *area, ScoreRange *ranges) noexcept nogil
# Whether a score lies in the area; if so, where.
cdef bint area_holds(const Area *area, double score, Spot *spot) noexcept nogil
