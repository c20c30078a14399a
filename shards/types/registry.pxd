"""The types a keyspace can hold besides strings: one line for each in registry.pyx."""

from libc.stdint cimport int64_t

from shards.types.kinds cimport TypeHooks

cdef const TypeHooks *registered_types() noexcept nogil     # [16], by EntryType; static
cdef int64_t types_blocks_alive() noexcept nogil            # of all structures; debug builds only
