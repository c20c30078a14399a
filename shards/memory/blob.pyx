"""Reference-counted byte blocks; the contract is in blob.pxd."""

from libc.stdint cimport uint64_t

from protocol.native cimport DEBUG, out_of_memory
from shards.memory.allocation cimport (
    c_calloc,
    c_free,
    c_malloc,
    c_realloc,
    live_add,
    malloc_usable_size,
)


cdef extern from *:
    """
    #include <stdint.h>
    #define SHARDIS_INCREMENT(p) __atomic_fetch_add((p), 1, __ATOMIC_RELAXED)
    #define SHARDIS_DECREMENT(p) __atomic_sub_fetch((p), 1, __ATOMIC_ACQ_REL)
    #define SHARDIS_LOAD(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    """
    void increment "SHARDIS_INCREMENT"(uint64_t *) noexcept nogil
    uint64_t decrement "SHARDIS_DECREMENT"(uint64_t *) noexcept nogil
    uint64_t load "SHARDIS_LOAD"(const uint64_t *) noexcept nogil


cdef void release_owned(Blob *blob) noexcept nogil:
    if DEBUG:
        live_add(-1)
    c_free(<void *>blob.data)
    c_free(blob)


cdef Blob *blob_new(size_t length, size_t capacity, bint zeroed) noexcept nogil:
    cdef Blob *blob = <Blob *>c_malloc(sizeof(Blob))
    if blob == NULL:
        out_of_memory(sizeof(Blob))
    if capacity < length:
        capacity = length
    if capacity == 0:
        capacity = 1
    blob.data = <const char *>(c_calloc(1, capacity) if zeroed else c_malloc(capacity))
    if blob.data == NULL:
        out_of_memory(capacity)
    blob.references = 1
    blob.length = length
    blob.release = release_owned
    if DEBUG:
        live_add(1)
    return blob


cdef void blob_reserve(Blob *blob, size_t capacity) noexcept nogil:
    cdef void *data
    if blob_capacity(blob) >= capacity:
        return
    data = c_realloc(<void *>blob.data, capacity)
    if data == NULL:
        out_of_memory(capacity)
    blob.data = <const char *>data


cdef size_t blob_capacity(const Blob *blob) noexcept nogil:
    return malloc_usable_size(blob.data) if blob_is_growable(blob) else blob.length


cdef bint blob_is_growable(const Blob *blob) noexcept nogil:
    return blob.release == release_owned


cdef uint64_t blob_footprint(const Blob *blob) noexcept nogil:
    if blob_is_growable(blob):
        return malloc_usable_size(blob) + malloc_usable_size(blob.data)
    return sizeof(Blob) + blob.length


cdef void blob_retain(Blob *blob) noexcept nogil:
    increment(&blob.references)


cdef void blob_release(Blob *blob) noexcept nogil:
    if decrement(&blob.references) == 0:
        blob.release(blob)


cdef uint64_t blob_references(const Blob *blob) noexcept nogil:
    return load(&blob.references)
