"""A hash: one listpack of fields and values while it is small, a dict of records beyond.

Contract
1. A Hash is what an operation works on: where the value is, and what it is governed by. It is made
   on the stack for one command; an operation may change `encoding` and `value`, and whoever made it
   then puts both into the key's entry.
2. A listpack becomes a dict when the limits are exceeded, as Redis does it: hash_will_grow first,
   with all that a command brings, then hash_set for each pair. A dict never goes back.
3. What an item points to dies with the next change of the hash, or of the item. What is put in must
   not lie in the hash.
4. Fields of a listpack keep their order; those of a dict have none.
5. O(1) for one field of a dict, O(bytes) of a listpack, unless said otherwise.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from shards.memory.allocation cimport Pool
from shards.types.dict cimport DictIterator, DictRules
from shards.types.kinds cimport EntryEncoding, TypeHooks
from shards.types.limits cimport EncodingLimits

cdef struct Hash:
    Pool *pool
    const EncodingLimits *limits
    const DictRules *rules
    EntryEncoding encoding          # ENCODING_LISTPACK or ENCODING_HT
    void *value                     # Listpack or Dict; owned by the key's entry

cdef struct HashItem:               # a field and its value
    const char *field
    size_t field_length
    const char *value
    size_t value_length
    char field_digits[24]           # where integers of a listpack are written out; an item is
    char value_digits[24]           # therefore never copied

cdef struct HashIterator:           # zeroed: before the first field; survives no change
    uint8_t *next                   # in a listpack
    uint8_t started
    DictIterator iterator

cdef enum HashIncrement:
    HASH_INCREMENTED = 0
    HASH_NO_INTEGER = 1             # the field holds something else
    HASH_OVERFLOW = 2

ctypedef void (*HashVisit)(void *context, const HashItem *item) noexcept nogil

cdef TypeHooks hash_hooks() noexcept

# An empty one, in a listpack; `value` and `encoding` are set.
cdef void hash_make(Hash *hash) noexcept nogil
# Before a command puts in so many pairs, the longest string of which has `longest` bytes, and all
# together `bytes`: a listpack that may not hold them becomes a dict.
cdef void hash_will_grow(Hash *hash, uint64_t pairs, size_t longest, size_t bytes) noexcept nogil
# True: the field is new.
cdef bint hash_set(Hash *hash, const char *field, size_t n, const char *value,
                   size_t value_n) noexcept nogil
# Add to the integer in a field; a missing one is 0. Nothing is changed unless it succeeds.
cdef HashIncrement hash_increment(Hash *hash, const char *field, size_t n, int64_t by,
                                  int64_t *result) noexcept nogil
# True: it was there. The hash may be empty then.
cdef bint hash_delete(Hash *hash, const char *field, size_t n) noexcept nogil

# True: it is there, and its value is in `item`; the field is not.
cdef bint hash_get(const Hash *hash, const char *field, size_t n, HashItem *item) noexcept nogil
cdef bint hash_has(const Hash *hash, const char *field, size_t n) noexcept nogil
cdef uint64_t hash_length(const Hash *hash) noexcept nogil                     # O(1)
# False: that was the last one.
cdef bint hash_next(const Hash *hash, HashIterator *iterator, HashItem *item) noexcept nogil
# A field of a hash that is not empty, each as likely as any other.
cdef void hash_random(const Hash *hash, uint64_t random, HashItem *item) noexcept nogil
# Visits some fields, all of a listpack; returns the next cursor, 0 after the last. What is there
# from cursor 0 to cursor 0 is visited at least once. The visitor must change nothing.
cdef uint64_t hash_scan(const Hash *hash, uint64_t cursor, HashVisit visit,
                        void *context) noexcept nogil

# Every invariant. O(n). AssertionError.
cdef int hash_check(const Hash *hash) except -1
