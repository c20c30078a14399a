"""The types a keyspace can hold besides strings: one line for each in registry.pyx."""

from shards.types.kinds cimport TypeHooks

cdef const TypeHooks *registered_types() noexcept nogil     # [16], by EntryType; static
