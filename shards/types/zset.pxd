"""A sorted set: one listpack while it is small, a tree beyond; what the keyspace knows it by.

    listpack    member score member score ...   in their order; scores as integers or texts
    tree        see scoretree.pxd

A SortedSet is a sorted set in the hands of one caller, for the length of one call: its pool, limits
and encoding, and where it is. Whoever changes it puts `value` and `encoding` back into the key's
entry.

Contract
1. A listpack becomes a tree before it has more than `entries_max` members, or one longer than
   `value_max`, or is told to take more members than that at once; a tree stays one.
2. In a listpack -0 becomes 0, as Redis has it.
3. A cursor dies with any change; an item too, but for its score.
4. A member given to a function must not lie in the set itself.
5. Ends by member are right only where all scores are the same; otherwise they mean what Redis makes
   of them in a listpack, and nothing certain in a tree.
6. O(members) in a listpack; in a tree O(log n), or what scoretree.pxd says.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from shards.memory.allocation cimport Pool
from shards.types.dict cimport DictRules
from shards.types.kinds cimport EntryEncoding, TypeHooks
from shards.types.listpack cimport Listpack
from shards.types.scoretree cimport Node, ZsetCursor, ZsetRange


cdef struct SortedSet:
    Pool *pool
    const DictRules *rules      # of trees; outlives them
    int64_t entries_max         # zset-max-listpack-entries
    int64_t value_max           # zset-max-listpack-value
    EntryEncoding encoding
    void *value                 # a Listpack or a Zset

cdef struct SortedCursor:       # at one member
    Node *node                  # in a tree
    ZsetCursor at               # where that is; not known of a random one, which cannot step
    uint8_t *p                  # in a listpack, at the member
    Listpack *pack              # NULL: a tree

cdef struct SortedItem:
    const char *member          # in the set, or in `scratch`
    size_t length
    double score
    char scratch[24]

cdef enum AddFlag:
    ADD_INCREMENT = 1
    ADD_NX = 2                  # only members that are not there
    ADD_XX = 4                  # only members that are there
    ADD_GT = 8                  # of those that are there, only to a greater score
    ADD_LT = 16

cdef enum Added:
    ADD_REFUSED = 0             # by NX, XX, GT or LT
    ADD_INSERTED = 1
    ADD_UPDATED = 2
    ADD_SAME = 3                # it has that score
    ADD_NAN = 4                 # the sum is not a number; nothing has changed

cdef TypeHooks zset_hooks() noexcept

# Fill in encoding and value of a new empty set that is about to get `count` members, the first (or
# longest) of which has so many bytes.
cdef void sorted_new(SortedSet *set, uint64_t count, size_t longest) noexcept nogil
# Before `count` members are added: one that would be too large by these alone is converted at once.
cdef void sorted_expect(SortedSet *set, uint64_t count) noexcept nogil
cdef uint64_t sorted_length(const SortedSet *set) noexcept nogil                      # O(1)

# Insert, update or add to a score; `result` is the score that the member has then, if not refused.
cdef Added sorted_add(SortedSet *set, int flags, double score, const char *member,
                      size_t n, double *result) noexcept nogil
# Append a member that comes after all others, which is not checked.
cdef void sorted_append(SortedSet *set, double score, const char *member,
                        size_t n) noexcept nogil
cdef bint sorted_remove(SortedSet *set, const char *member, size_t n) noexcept nogil
cdef void sorted_remove_at(SortedSet *set, const SortedCursor *cursor) noexcept nogil
cdef uint64_t sorted_remove_range(SortedSet *set, const ZsetRange *range) noexcept nogil
cdef uint64_t sorted_remove_ranks(SortedSet *set, uint64_t first, uint64_t last) noexcept nogil

# True: it is there. `rank` (may be NULL) counts from 0; finding out costs O(log n) more.
cdef bint sorted_find(const SortedSet *set, const char *member, size_t n, double *score,
                      uint64_t *rank) noexcept nogil
# Cursors. False: there is no such member.
cdef bint sorted_seek_rank(const SortedSet *set, uint64_t rank, SortedCursor *cursor) noexcept nogil
# The first in a range, or backwards the last, and from there `offset` further on, in it or not.
cdef bint sorted_seek_range(const SortedSet *set, const ZsetRange *range, bint backwards,
                            uint64_t offset, SortedCursor *cursor) noexcept nogil
cdef bint sorted_step(SortedCursor *cursor, bint backwards) noexcept nogil            # O(1)
cdef bint sorted_goes_on(const ZsetRange *range, const SortedCursor *cursor,
                         # O(1): it is not beyond the range's far end
                         bint backwards) noexcept nogil
cdef void sorted_item(const SortedCursor *cursor, SortedItem *item) noexcept nogil    # O(1)
cdef uint64_t sorted_count_range(const SortedSet *set, const ZsetRange *range) noexcept nogil
# A member of a set that is not empty, each as likely as any other; expected O(1) in a tree.
cdef void sorted_random(const SortedSet *set, uint64_t random, SortedCursor *cursor) noexcept nogil
