"""A set: an intset, one listpack or a dict of members; when it changes from one to another.

Contract
1. A Set is what an operation works on: where the value is, and what it is governed by. It is made
   on the stack for one command; an operation may change `encoding` and `value`, and whoever made it
   then puts both into the key's entry.
2. It is an intset while all members are integers and there are few; a listpack while its members
   are few and short; a dict beyond. Adding converts it at Redis's limits, and nothing else does: a
   dict never goes back by itself.
3. What an element points to dies with the next change of the set. What is put in must not lie in
   the set, except in set_pop's own work.
4. Members of an intset ascend, those of a listpack keep their order, those of a dict have none.
5. Chance comes from a seed of 64 random bits that is given.
6. O(1) for one member of a dict, O(log n) to find and O(n) to change one of an intset, O(bytes) of
   a listpack, unless said otherwise.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from shards.memory.allocation cimport Pool
from shards.types.dict cimport DictIterator, DictRules
from shards.types.kinds cimport EntryEncoding, TypeHooks
from shards.types.limits cimport EncodingLimits
from shards.types.listpack cimport Element

cdef struct Set:
    Pool *pool
    const EncodingLimits *limits
    const DictRules *rules
    EntryEncoding encoding          # ENCODING_INTSET, ENCODING_LISTPACK or ENCODING_HT
    void *value                     # Intset, Listpack or Dict; owned by whoever made the Set

cdef struct SetIterator:            # zeroed: before the first member; survives no change
    uint8_t *next                   # in a listpack
    uint32_t index                  # in an intset; in a listpack, whether it has begun
    DictIterator iterator

ctypedef void (*SetVisit)(void *context, const Element *member) noexcept nogil

cdef TypeHooks set_hooks() noexcept

# An empty one, of the encoding that suits so many members of which this is the first.
cdef void set_make(Set *set, const char *data, size_t n, uint64_t count) noexcept nogil
cdef void set_make_as(Set *set, EntryEncoding encoding) noexcept nogil
cdef void set_free(Set *set) noexcept nogil                     # O(n)
# Before a command adds so many members: what is too small for them becomes a dict at once.
cdef void set_will_grow(Set *set, uint64_t count) noexcept nogil
# True: it was not there.
cdef bint set_add(Set *set, const char *data, size_t n) noexcept nogil
cdef bint set_add_element(Set *set, const Element *member) noexcept nogil
# True: it was there. The set may be empty then.
cdef bint set_remove(Set *set, const char *data, size_t n) noexcept nogil
cdef bint set_remove_element(Set *set, const Element *member) noexcept nogil
# All members are integers: make it an intset if there are few enough. O(n)
cdef void set_narrow(Set *set) noexcept nogil

cdef bint set_has(const Set *set, const char *data, size_t n) noexcept nogil
cdef bint set_has_element(const Set *set, const Element *member) noexcept nogil
cdef uint64_t set_length(const Set *set) noexcept nogil         # O(1)
# False: that was the last one.
cdef bint set_next(const Set *set, SetIterator *iterator, Element *member) noexcept nogil
cdef void set_visit(const Set *set, SetVisit visit, void *context) noexcept nogil

# A member of a set that is not empty, each as likely as any other. Expected O(1), O(n) of a
# listpack
cdef void set_random(const Set *set, uint64_t seed, Element *member) noexcept nogil
# So many different members, at most all. O(count), or O(n) if that is not far more.
cdef void set_sample(const Set *set, uint64_t count, uint64_t seed, SetVisit visit,
                     void *context) noexcept nogil
# So many members of a set that is not empty, each drawn from all of them. O(count), and O(n) of a
# listpack
cdef void set_draw(const Set *set, uint64_t count, uint64_t seed, SetVisit visit,
                   void *context) noexcept nogil
# Remove so many members by chance, fewer than there are. If few stay, what stays is a new set, in
# the encoding that suits it, as in Redis. O(count)
cdef void set_pop(Set *set, uint64_t count, uint64_t seed, SetVisit visit,
                  void *context) noexcept nogil
# Visits some members, all of what is no dict; returns the next cursor, 0 after the last. What is
# there from cursor 0 to cursor 0 is visited at least once.
cdef uint64_t set_scan(const Set *set, uint64_t cursor, SetVisit visit,
                       void *context) noexcept nogil

# Every invariant. O(n), of a listpack O(n^2). AssertionError.
cdef int set_check(const Set *set) except -1
