"""The HyperLogLog at a key, for Python handlers."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset

from protocol.errors import WRONG_TYPE, CommandError

from protocol.native cimport load64, store64
from shards.kernels.hll cimport (
    DENSE, DENSE_BYTES, ESTIMATE_AT, HEADER_BYTES, REGISTER_COUNT, SPARSE, Run, Sketch, dense_get,
    estimate_of, register_of, run_at, sketch_maxima, sketch_new, sketch_raise, sketch_resize,
    sketch_to_dense,
)
from shards.keyspace.keyspace cimport (
    ENCODING_BLOB, ENCODING_RAW, EXPIRE_KEEP, TYPE_STRING, Entry, Key, Keyspace, entry_encoding,
    entry_string, entry_type, store_read, store_set_string, store_write,
)
from shards.keyspace.store cimport FORM_RAW

INVALID = b"INVALIDOBJ Corrupted HLL object detected"
NOT_ONE = b"WRONGTYPE Key is not a valid HyperLogLog string value."


@cython.final
cdef class Hll:
    """A HyperLogLog: a copy of a key's value, to be changed and put back."""

    cdef Keyspace keyspace
    cdef bytes name
    cdef Key key                # its data is `name`
    cdef Sketch sketch
    cdef bint raw               # the stored value is one already
    cdef readonly bint found

    def __dealloc__(self):
        free(self.sketch.data)

    @staticmethod
    def open(ctx, bytes key not None, bint write=False) -> Hll:
        """The HyperLogLog at a key; a missing one is empty. Raises WRONGTYPE. O(n)"""
        cdef Hll hll = Hll.__new__(Hll)
        cdef Entry *entry
        cdef char scratch[24]
        cdef const char *data
        cdef size_t n
        hll.keyspace = ctx.keyspace
        hll.name = key
        hll.key = hll.keyspace.key(key, ctx.database)
        hll.sketch.sparse_bytes_max = hll.keyspace.store.limits.hll_sparse_max_bytes
        if write:
            entry = store_write(hll.keyspace.store, &hll.key)
        else:
            entry = store_read(hll.keyspace.store, &hll.key, True)
        if entry == NULL:
            sketch_new(&hll.sketch)
            return hll
        if entry_type(entry) != TYPE_STRING:
            raise CommandError(WRONG_TYPE)
        data = entry_string(entry, scratch, &n)
        if n < HEADER_BYTES or memcmp(data, b"HYLL", 4) or <uint8_t>data[4] > SPARSE or (
                data[4] == DENSE and n != DENSE_BYTES):
            raise CommandError(NOT_ONE)
        sketch_resize(&hll.sketch, n)
        memcpy(hll.sketch.data, data, n)
        hll.found = True
        hll.raw = entry_encoding(entry) == ENCODING_RAW or entry_encoding(entry) == ENCODING_BLOB
        return hll

    @property
    def dense(self) -> bool:
        return self.sketch.data[4] == DENSE

    @property
    def cached(self) -> int | None:
        """The estimate that is kept with it, None if that is not valid any more."""
        cdef uint64_t estimate = load64(self.sketch.data + ESTIMATE_AT)
        return None if estimate >> 63 else estimate

    def add(self, list elements not None) -> int:
        """Add elements; how many changed it. O(n) each in a sparse one. Raises INVALIDOBJ."""
        cdef bytes element
        cdef int index, value, status
        cdef int64_t changed = 0
        for element in elements:
            index = register_of(<const uint8_t *>PyBytes_AS_STRING(element),
                                PyBytes_GET_SIZE(element), &value)
            status = sketch_raise(&self.sketch, index, value)
            if status < 0:
                raise CommandError(INVALID)
            changed += status
        return changed

    def estimate(self) -> int:
        """The cardinality, computed anew. Raises INVALIDOBJ."""
        cdef uint8_t maxima[REGISTER_COUNT]
        memset(maxima, 0, REGISTER_COUNT)
        if not sketch_maxima(&self.sketch, maxima):
            raise CommandError(INVALID)
        return estimate_of(maxima)

    def cache(self, estimate) -> None:
        """Keep an estimate with it; None: it has to be computed anew."""
        if estimate is None:
            self.sketch.data[ESTIMATE_AT + 7] |= 0x80
        else:
            store64(self.sketch.data + ESTIMATE_AT, <uint64_t><int64_t>estimate)

    def raise_registers(self, bytearray maxima not None) -> None:
        """Raise registers of one byte each to these ones. Raises INVALIDOBJ."""
        cdef uint8_t[::1] view = maxima
        if view.shape[0] != REGISTER_COUNT:
            raise ValueError("not all registers")
        if not sketch_maxima(&self.sketch, &view[0]):
            raise CommandError(INVALID)

    def merge(self, bytearray maxima not None) -> None:
        """Raise its registers to these. Raises INVALIDOBJ."""
        cdef int index
        cdef uint8_t[::1] view = maxima
        if view.shape[0] != REGISTER_COUNT:
            raise ValueError("not all registers")
        for index in range(REGISTER_COUNT):
            if view[index] and sketch_raise(&self.sketch, index, view[index]) < 0:
                raise CommandError(INVALID)

    def to_dense(self) -> bool:
        """Make it dense; whether it was not. Raises INVALIDOBJ."""
        if self.dense:
            return False
        if not sketch_to_dense(&self.sketch):
            raise CommandError(INVALID)
        return True

    def registers(self) -> bytes:
        """The registers of a dense one, a byte each."""
        cdef bytes result = PyBytes_FromStringAndSize(NULL, REGISTER_COUNT)
        cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(result)
        cdef int index
        assert self.dense
        for index in range(REGISTER_COUNT):
            out[index] = <uint8_t>dense_get(self.sketch.data + HEADER_BYTES, index)
        return result

    def decode(self) -> bytes:
        """The runs of a sparse one: z and Z for short and long ones of zeros, v for values."""
        cdef uint8_t *p = self.sketch.data + HEADER_BYTES
        cdef uint8_t *end = self.sketch.data + self.sketch.length
        cdef Run run
        cdef list words = []
        while p < end:
            run_at(p, end, &run)
            if run.value:
                words.append(b"v:%d,%d" % (run.value, run.length))
            else:
                words.append((b"z:%d" if run.bytes == 1 else b"Z:%d") % run.length)
            p = run.next
        return b" ".join(words)

    def store(self) -> None:
        """Put it back as the key's value, which is raw and keeps its expiry. O(n)"""
        store_set_string(self.keyspace.store, &self.key, <const char *>self.sketch.data,
                         self.sketch.length, EXPIRE_KEEP, FORM_RAW)
        self.raw = True

    def unshare(self) -> None:
        """Make the value raw, as Redis does before it looks at one that it may change."""
        if self.found and not self.raw:
            self.store()
