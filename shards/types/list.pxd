"""A list: one listpack while it is small, a quicklist beyond; what the keyspace knows it by.

It grows into a quicklist when list-max-listpack-size would be exceeded, and becomes a listpack again
when one packed node is left that has at most half of that limit, so that a list whose length swings
does not change back and forth.
"""

from libc.stdint cimport uint64_t

from shards.memory cimport Pool
from shards.types.kinds cimport EntryEncoding, TypeHooks
from shards.types.quicklist cimport ListRules

cdef TypeHooks list_hooks() noexcept

# All three may change what `value` points to and its encoding; True: they did.
# Before elements are added: the bytes of all of them as strings, and their number. O(1)
cdef bint list_will_grow(Pool *pool, const ListRules *rules, EntryEncoding *encoding, void **value,
                         uint64_t bytes, uint64_t count) noexcept nogil
# After elements were removed or replaced; the list is not empty. O(1)
cdef bint list_has_shrunk(Pool *pool, const ListRules *rules, EntryEncoding *encoding,
                          void **value) noexcept nogil
# After a list was made: the encoding that its size asks for. O(1)
cdef bint list_was_made(Pool *pool, const ListRules *rules, EntryEncoding *encoding,
                        void **value) noexcept nogil
