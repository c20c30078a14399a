"""How much room to spare a block that grows has: what listpacks and intsets have in common.

Small blocks get what they ask for, which malloc rounds up to 16 bytes; larger ones a sixteenth
more, so that a row of appends moves the block only now and then.
"""

from libc.stdint cimport UINT32_MAX

from protocol.native cimport fatal, unlikely
from shards.memory.allocation cimport Pool, malloc_usable_size, pool_resize


cdef enum:
    SPARE_BYTES_MIN = 32            # so much may be left over before memory is given back
    EXACT_BYTES_MAX = 512


cdef inline void *block_reserve(Pool *pool, void *block, size_t bytes) noexcept nogil:
    """Room for so many bytes in all; the block may move."""
    if bytes <= malloc_usable_size(block):
        return block
    if unlikely(bytes > UINT32_MAX):
        fatal("a structure of more than 4 GiB in one block")
    if bytes > EXACT_BYTES_MAX:
        bytes += bytes // 16
    return pool_resize(pool, block, bytes)


cdef inline void *block_give_back(Pool *pool, void *block, size_t bytes) noexcept nogil:
    """Give memory back if too much of it is not among the bytes in use; the block may move."""
    cdef size_t spare = malloc_usable_size(block) - bytes
    if spare < SPARE_BYTES_MIN or (bytes > EXACT_BYTES_MAX and spare <= bytes // 8):
        return block
    return pool_resize(pool, block, bytes)


cdef inline void *block_fit(Pool *pool, void *block, size_t bytes) noexcept nogil:
    """No room to spare; the block may move."""
    if malloc_usable_size(block) - bytes < SPARE_BYTES_MIN // 2:
        return block
    return pool_resize(pool, block, bytes)
