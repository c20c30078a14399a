"""Everything that must hold in a Store, checked entry by entry. O(n)"""

from shards.keyspace.store cimport Store

# Raises AssertionError, naming what is broken.
cdef int store_check(Store *store) except -1
