"""A list: one listpack while it is small, a quicklist beyond; and what commands do to one.

It grows into a quicklist when list-max-listpack-size would be exceeded, and becomes a listpack
again when one packed node is left that has at most half of that limit, so that a list whose length
swings does not change back and forth.

Contract
1. A List is a value taken out of its entry: whatever changes the list may change `value` and
   `encoding`, and the caller puts them back (shards/views/list.pxd).
2. `list_grow` comes before elements are put in, `list_shrink` after elements went or were replaced;
   an empty list is its owner's to delete.
3. A ListWalk is at an element, by either encoding. It must be closed, unless a function has
   returned False for it or is said to close it; it dies with any change but by its own functions.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from shards.memory.allocation cimport Pool
from shards.types.kinds cimport EntryEncoding, TypeHooks
from shards.types.listpack cimport Element
from shards.types.quicklist cimport ListCursor, ListRules

cdef struct List:
    Pool *pool
    void *value
    EntryEncoding encoding
    ListRules rules             # the directives as they are now

cdef struct ListWalk:
    List *list                  # borrowed
    uint8_t *p                  # the element of a listpack
    ListCursor cursor           # in a quicklist

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

cdef void list_new(List *list) noexcept nogil                       # an empty listpack
cdef uint64_t list_count(const List *list) noexcept nogil           # O(1)
cdef void list_grow(List *list, uint64_t bytes, uint64_t count) noexcept nogil
cdef void list_shrink(List *list) noexcept nogil
cdef void list_push(List *list, const char *data, size_t n, bint at_tail) noexcept nogil
# The element at an end of a list that isn't empty; its data dies with the next change. O(1)
cdef void list_peek(const List *list, bint at_tail, Element *element) noexcept nogil
cdef void list_pop(List *list, bint at_tail) noexcept nogil         # there is one
# Delete up to `count` elements from an index on, which is from 0. Returns how many went.
cdef uint64_t list_delete_range(List *list, uint64_t index, uint64_t count) noexcept nogil

# Stand at an index (from the end if it is negative). False: there is no such element.
cdef bint list_seek(List *list, int64_t index, ListWalk *walk) noexcept nogil
cdef bint walk_next(ListWalk *walk) noexcept nogil                  # False: that was the last one
cdef bint walk_previous(ListWalk *walk) noexcept nogil
cdef void walk_get(const ListWalk *walk, Element *element) noexcept nogil
cdef bint walk_equals(const ListWalk *walk, const char *data, size_t n) noexcept nogil
# Delete the element; the walk goes on to the next one, or the one before. False: there is none.
cdef bint walk_delete(ListWalk *walk, bint backwards) noexcept nogil
# Both close the walk.
cdef void walk_insert(ListWalk *walk, bint behind, const char *data, size_t n) noexcept nogil
cdef void walk_replace(ListWalk *walk, const char *data, size_t n) noexcept nogil
cdef void walk_close(ListWalk *walk) noexcept nogil                 # more than once does no harm
