"""HyperLogLog in Redis's byte format: 16384 registers of 6 bits, dense or as runs.

    "HYLL"  encoding (1: 0 dense, 1 sparse)  3 unused  estimate (8, the highest bit: not valid)
    dense:  16384 registers of 6 bits, the lowest bits of a byte first
    sparse: 00nnnnnn            n + 1 registers are 0
            01nnnnnn nnnnnnnn   n + 1 registers are 0
            1vvvvvnn            n + 1 registers are v + 1

A register is the longest row of zeros (plus 1) that the hashes of its elements ended in. The
estimate is Ertl's (arXiv:1702.01284), which needs no correction for small or large ones.

Values come from clients, by SET or RESTORE: each run is checked against the end of the value and of
the registers, and what does not add up is refused as corrupted.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport INFINITY, ceil, sqrt
from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove, memset

from protocol.native cimport load64, out_of_memory, store64

cdef extern from *:
    """
    /* raise_sparse turns its pointers into offsets before it resizes; gcc moves the subtractions
       after realloc, and then warns of them. */
    #if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
    #pragma GCC diagnostic ignored "-Wuse-after-free"
    #endif
    """

cdef extern from "<math.h>" nogil:
    long long llroundl(long double)

REGISTERS = 16384

cdef uint64_t murmur64a(const uint8_t *data, size_t n) noexcept nogil:
    """MurmurHash64A with the seed that HyperLogLogs have."""
    cdef uint64_t m = 0xc6a4a7935bd1e995U
    cdef uint64_t h = <uint64_t>0xadc83b19U ^ (n * m)
    cdef const uint8_t *end = data + (n & ~<size_t>7)
    cdef uint64_t k
    cdef int i
    while data != end:
        k = load64(data) * m
        k ^= k >> 47
        h = (h ^ (k * m)) * m
        data += 8
    if n & 7:
        k = 0
        for i in range(<int>(n & 7)):
            k |= <uint64_t>data[i] << (8 * i)
        h = (h ^ k) * m
    h = (h ^ (h >> 47)) * m
    return h ^ (h >> 47)


cdef int register_of(const uint8_t *data, size_t n, int *value) noexcept nogil:
    """Which register an element belongs to, and what it may raise it to (1 to 51)."""
    cdef uint64_t hash = murmur64a(data, n)
    cdef uint64_t rest = (hash >> INDEX_BITS) | <uint64_t>1 << HASH_BITS
    value[0] = 1
    while not rest & 1:
        rest >>= 1
        value[0] += 1
    return <int>(hash & (REGISTER_COUNT - 1))


cdef int dense_get(const uint8_t *registers, int index) noexcept nogil:
    cdef int bit = index * 6
    cdef int value = registers[bit >> 3] >> (bit & 7)
    if bit & 7 > 2:
        value |= registers[(bit >> 3) + 1] << (8 - (bit & 7))
    return value & 63


cdef inline void dense_set(uint8_t *registers, int index, int value) noexcept nogil:
    cdef int bit = index * 6
    cdef uint8_t *p = registers + (bit >> 3)
    cdef int shift = bit & 7
    p[0] = <uint8_t>((p[0] & ~(63 << shift)) | value << shift)
    if shift > 2:
        p[1] = <uint8_t>((p[1] & ~(63 >> (8 - shift))) | value >> (8 - shift))


cdef inline bint raise_dense(uint8_t *registers, int index, int value) noexcept nogil:
    if value <= dense_get(registers, index):
        return False
    dense_set(registers, index, value)
    return True


cdef bint run_at(uint8_t *p, const uint8_t *end, Run *run) noexcept nogil:
    """The run at p; False: it does not end before the value does."""
    run.at = p
    run.bytes = 1
    run.value = 0
    if p[0] & 0x80:
        run.value = (p[0] >> 2 & 31) + 1
        run.length = (p[0] & 3) + 1
    elif p[0] & 0x40:
        run.bytes = 2
        run.length = ((p[0] & 63) << 8 | p[1]) + 1
    else:
        run.length = (p[0] & 63) + 1
    run.next = p + run.bytes
    return run.next <= end


cdef inline uint8_t value_run(int value, int length) noexcept nogil:
    return <uint8_t>(0x80 | (value - 1) << 2 | (length - 1))


cdef inline uint8_t *write_zeros(uint8_t *p, int length) noexcept nogil:
    if length > ZERO_RUN_MAX:
        p[0] = <uint8_t>(0x40 | (length - 1) >> 8)
        p[1] = <uint8_t>(length - 1)
        return p + 2
    if length:
        p[0] = <uint8_t>(length - 1)
        return p + 1
    return p


cdef void sketch_resize(Sketch *sketch, size_t length) noexcept nogil:
    """Make the buffer that long; the padding is zeroed."""
    sketch.data = <uint8_t *>realloc(sketch.data, length + PADDING)
    if sketch.data == NULL:
        out_of_memory(length + PADDING)
    sketch.length = length
    memset(sketch.data + length, 0, PADDING)


cdef void sketch_new(Sketch *sketch) noexcept nogil:
    """An empty one, sparse."""
    sketch_resize(sketch, HEADER_BYTES + 2)
    memset(sketch.data, 0, HEADER_BYTES)
    memcpy(sketch.data, b"HYLL", 4)
    sketch.data[4] = SPARSE
    write_zeros(sketch.data + HEADER_BYTES, REGISTER_COUNT)


cdef bint sketch_maxima(const Sketch *sketch, uint8_t *maxima) noexcept nogil:
    """Raise registers of one byte each to those of the sketch. False: it is corrupted."""
    cdef uint8_t *p = sketch.data + HEADER_BYTES
    cdef uint8_t *end = sketch.data + sketch.length
    cdef int index = 0, value, i
    cdef Run run
    if sketch.data[4] == DENSE:
        for index in range(REGISTER_COUNT):
            value = dense_get(p, index)
            if value > maxima[index]:
                maxima[index] = <uint8_t>value
        return True
    while p < end:
        if not run_at(p, end, &run) or run.length > REGISTER_COUNT - index:
            return False
        if run.value:
            for i in range(index, index + run.length):
                if run.value > maxima[i]:
                    maxima[i] = <uint8_t>run.value
        index += run.length
        p = run.next
    return index == REGISTER_COUNT


cdef bint sketch_to_dense(Sketch *sketch) noexcept nogil:
    """False: it is corrupted, and left as it is."""
    cdef Sketch dense
    cdef uint8_t maxima[REGISTER_COUNT]
    cdef int index
    if sketch.data[4] == DENSE:
        return True
    memset(maxima, 0, REGISTER_COUNT)
    if not sketch_maxima(sketch, maxima):
        return False
    dense.data = NULL
    dense.sparse_bytes_max = sketch.sparse_bytes_max
    sketch_resize(&dense, DENSE_BYTES)
    memcpy(dense.data, sketch.data, HEADER_BYTES)
    memset(dense.data + HEADER_BYTES, 0, DENSE_BYTES - HEADER_BYTES)
    dense.data[4] = DENSE
    for index in range(REGISTER_COUNT):
        if maxima[index]:
            dense_set(dense.data + HEADER_BYTES, index, maxima[index])
    free(sketch.data)
    sketch[0] = dense
    return True


cdef int promote(Sketch *sketch, int index, int value) noexcept nogil:
    if not sketch_to_dense(sketch):
        return -1
    return raise_dense(sketch.data + HEADER_BYTES, index, value)


cdef void join_runs(Sketch *sketch, size_t from_offset) noexcept nogil:
    """Join neighbouring runs of the same value, in the few runs that a change may have touched."""
    cdef uint8_t *p = sketch.data + from_offset
    cdef uint8_t *end = sketch.data + sketch.length
    cdef int steps = 5
    cdef Run run, following
    while p < end and steps > 0:
        steps -= 1
        run_at(p, end, &run)
        if run.value and run.next < end and run.next[0] & 0x80:
            run_at(run.next, end, &following)
            if (run.value == following.value
                    and run.length + following.length <= VALUE_RUN_MAX):
                run.next[0] = value_run(run.value, run.length + following.length)
                memmove(p, run.next, end - run.next)
                end -= 1
                end[0] = 0
                sketch.length -= 1
                continue
        p = run.next


cdef int raise_sparse(Sketch *sketch, int index, int value) noexcept nogil:
    """1: the register was raised; 0: it was not below; -1: the sketch is corrupted."""
    cdef uint8_t *p = sketch.data + HEADER_BYTES
    cdef uint8_t *end = sketch.data + sketch.length
    cdef uint8_t *previous = p
    cdef uint8_t sequence[8]
    cdef uint8_t *q = sequence
    cdef int first = 0, before, behind, grown
    cdef size_t at, previous_at, tail
    cdef Run run
    if value > VALUE_MAX:
        return promote(sketch, index, value)
    while True:
        if p >= end or not run_at(p, end, &run):
            return -1
        if index < first + run.length:
            break
        previous = p
        first += run.length
        p = run.next
    if run.value >= value:
        return 0
    before = index - first
    behind = run.length - before - 1
    if run.value:
        if before:
            q[0] = value_run(run.value, before)
            q += 1
        q[0] = value_run(value, 1)
        q += 1
        if behind:
            q[0] = value_run(run.value, behind)
            q += 1
    else:
        q = write_zeros(q, before)
        q[0] = value_run(value, 1)
        q = write_zeros(q + 1, behind)
    grown = <int>(q - sequence) - run.bytes
    if grown > 0 and <int64_t>sketch.length + grown > sketch.sparse_bytes_max:
        return promote(sketch, index, value)
    at = p - sketch.data
    previous_at = previous - sketch.data
    tail = sketch.length - at - run.bytes
    if grown > 0:
        sketch_resize(sketch, sketch.length + grown)
    memmove(sketch.data + at + (q - sequence), sketch.data + at + run.bytes, tail)
    memcpy(sketch.data + at, sequence, q - sequence)
    if grown < 0:
        sketch_resize(sketch, sketch.length + grown)
    join_runs(sketch, previous_at)
    sketch.data[ESTIMATE_AT + 7] |= 0x80
    return 1


cdef int sketch_raise(Sketch *sketch, int index, int value) noexcept nogil:
    if sketch.data[4] == DENSE:
        return raise_dense(sketch.data + HEADER_BYTES, index, value)
    return raise_sparse(sketch, index, value)


cdef double sigma(double x) noexcept nogil:
    cdef double y = 1, z = x, before
    if x == 1.0:
        return INFINITY
    while True:
        x *= x
        before = z
        z += x * y
        y += y
        if before == z:
            return z


cdef double tau(double x) noexcept nogil:
    cdef double y = 1, z = 1 - x, before
    if x == 0.0 or x == 1.0:
        return 0
    while True:
        x = sqrt(x)
        before = z
        y *= 0.5
        z -= (1 - x) * (1 - x) * y
        if before == z:
            return z / 3


cdef int64_t estimate_of(const uint8_t *maxima) noexcept nogil:
    """The cardinality that registers of one byte each stand for."""
    cdef int histogram[64]
    cdef double m = REGISTER_COUNT, z
    cdef int i, k
    memset(histogram, 0, sizeof(histogram))
    for i in range(0, REGISTER_COUNT, 8):
        # Of small sets nearly all registers are zero.
        if load64(<const char *>maxima + i) == 0:
            histogram[0] += 8
            continue
        for k in range(i, i + 8):
            histogram[maxima[k] & 63] += 1
    z = m * tau((m - histogram[HASH_BITS + 1]) / m)
    for i in range(HASH_BITS, 0, -1):
        z += histogram[i]
        z *= 0.5
    z += m * sigma(histogram[0] / m)
    if z == 0:
        return INT64_MIN        # only crafted registers come to this
    return llroundl(<long double>(0.721347520444481703680 * m * m / z))


def estimate(bytearray maxima not None) -> int:
    """The cardinality that registers of one byte each stand for."""
    cdef uint8_t[::1] view = maxima
    if view.shape[0] != REGISTER_COUNT:
        raise ValueError("not all registers")
    return estimate_of(&view[0])


def self_test(uint64_t seed):
    """What is wrong with the registers or the estimates; None: nothing. A million elements."""
    cdef Sketch dense, sparse
    cdef uint8_t expected[REGISTER_COUNT]
    cdef uint8_t maxima[REGISTER_COUNT]
    cdef uint64_t state = seed | 1, element
    cdef int64_t number, checkpoint = 1
    cdef int i, cycle, index, value
    cdef int64_t counted, most, off
    cdef double standard_error = 1.04 / sqrt(REGISTER_COUNT)
    dense.data = sparse.data = NULL
    dense.sparse_bytes_max = sparse.sparse_bytes_max = 3000
    sketch_new(&dense)
    sketch_new(&sparse)
    sketch_to_dense(&dense)
    try:
        for cycle in range(TEST_CYCLES):
            for i in range(REGISTER_COUNT):
                state = state * 6364136223846793005U + 1442695040888963407U
                expected[i] = <uint8_t>(state >> 58)
                dense_set(dense.data + HEADER_BYTES, i, expected[i])
            for i in range(REGISTER_COUNT):
                value = dense_get(dense.data + HEADER_BYTES, i)
                if value != expected[i]:
                    return f"Register {i} should be {expected[i]} but is {value}"
        memset(dense.data + HEADER_BYTES, 0, DENSE_BYTES - HEADER_BYTES)
        for number in range(1, TEST_ELEMENTS + 1):
            element = <uint64_t>number ^ seed
            index = register_of(<const uint8_t *>&element, sizeof(element), &value)
            raise_dense(dense.data + HEADER_BYTES, index, value)
            sketch_raise(&sparse, index, value)
            if number != checkpoint:
                continue
            if number < 1000 and sparse.data[4] != SPARSE:
                return "sparse encoding not used"
            memset(maxima, 0, REGISTER_COUNT)
            sketch_maxima(&dense, maxima)
            counted = estimate_of(maxima)
            memset(maxima, 0, REGISTER_COUNT)
            if not sketch_maxima(&sparse, maxima) or estimate_of(maxima) != counted:
                return "dense/sparse disagree"
            # Six standard errors; one of ten elements may collide.
            most = 1 if number == 10 else <int64_t>ceil(standard_error * 6 * number)
            off = counted - number
            if off > most or -off > most:
                return f"Too big error. card:{number} abserr:{abs(off)}"
            checkpoint *= 10
    finally:
        free(dense.data)
        free(sparse.data)
    return None
