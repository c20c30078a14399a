"""HyperLogLog values as bytes, without keys; the format is in hll.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef enum:
    INDEX_BITS = 14
    REGISTER_COUNT = 16384
    HASH_BITS = 50                      # those after the index
    HEADER_BYTES = 16
    ESTIMATE_AT = 8
    DENSE_BYTES = 16 + 16384 * 6 // 8
    DENSE = 0
    SPARSE = 1
    ZERO_RUN_MAX = 64
    VALUE_MAX = 32                      # of a sparse register
    VALUE_RUN_MAX = 4
    PADDING = 8                         # zeros after the value
    TEST_CYCLES = 1000
    TEST_ELEMENTS = 1000000

cdef struct Sketch:
    uint8_t *data               # owned; PADDING bytes more than `length` are there, zeros
    size_t length
    int64_t sparse_bytes_max

cdef struct Run:                # of a sparse one
    uint8_t *at
    uint8_t *next
    int bytes
    int length                  # registers
    int value                   # 0: zeros


# The register an element concerns, and the value it would raise it to.
cdef int register_of(const uint8_t *data, size_t n, int *value) noexcept nogil
cdef int dense_get(const uint8_t *registers, int index) noexcept nogil
# The run at p; False: it does not end before `end`.
cdef bint run_at(uint8_t *p, const uint8_t *end, Run *run) noexcept nogil
cdef void sketch_resize(Sketch *sketch, size_t length) noexcept nogil
cdef void sketch_new(Sketch *sketch) noexcept nogil
# Raise registers of a byte each to those of a sketch; False: it is corrupted.
cdef bint sketch_maxima(const Sketch *sketch, uint8_t *maxima) noexcept nogil
cdef bint sketch_to_dense(Sketch *sketch) noexcept nogil
# 1: the register was raised; 0: it was not; -1: the sketch is corrupted.
cdef int sketch_raise(Sketch *sketch, int index, int value) noexcept nogil
# The cardinality that registers of a byte each stand for.
cdef int64_t estimate_of(const uint8_t *maxima) noexcept nogil
