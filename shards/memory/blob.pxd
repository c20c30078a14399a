"""Big string values: bytes outside the entry, shared by reference with replies on their way out.

A Blob is made with one reference and dies with the last, on whatever thread drops it. Its bytes
may change only while there is one reference, and only if `blob_is_growable`: a Blob that wraps a
received message is read-only.
"""

from libc.stdint cimport uint64_t


cdef struct Blob:
    uint64_t references         # atomic: ZeroMQ's I/O thread releases replies
    const char *data
    size_t length
    void (*release)(Blob *) noexcept nogil     # frees data and the Blob, whatever it was made of
    uint64_t context[9]         # for release: the allocation, or a zmq_msg_t that is kept alive

# A Blob with bytes of its own, `length` of them in use; zeroed if asked, at no cost per page.
cdef Blob *blob_new(size_t length, size_t capacity, bint zeroed) noexcept nogil
# Room for `capacity` bytes; the bytes in use stay. For a growable blob with one reference.
cdef void blob_reserve(Blob *blob, size_t capacity) noexcept nogil
cdef size_t blob_capacity(const Blob *blob) noexcept nogil
cdef bint blob_is_growable(const Blob *blob) noexcept nogil
cdef uint64_t blob_footprint(const Blob *blob) noexcept nogil  # bytes of memory it stands for
cdef void blob_retain(Blob *blob) noexcept nogil
cdef void blob_release(Blob *blob) noexcept nogil              # from any thread
cdef uint64_t blob_references(const Blob *blob) noexcept nogil
