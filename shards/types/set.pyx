"""The three encodings of a set; the contract is in set.pxd."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from protocol.native cimport likely, out_of_memory, unlikely
from shards.memory.allocation cimport Pool, c_free, c_malloc
from shards.types.dict cimport (
    DICT_SET,
    Dict,
    DictItem,
    dict_check,
    dict_copy,
    dict_find,
    dict_footprint,
    dict_free,
    dict_hash,
    dict_insert,
    dict_new,
    dict_next,
    dict_random,
    dict_remove,
    dict_scan,
    dict_set,
)
from shards.types.intset cimport (
    Intset,
    intset_add,
    intset_bytes,
    intset_copy,
    intset_find,
    intset_footprint,
    intset_free,
    intset_get,
    intset_new,
    intset_remove,
    intset_remove_range,
    intset_validate,
)
from shards.types.kinds cimport (
    ENCODING_HT,
    ENCODING_INTSET,
    ENCODING_LISTPACK,
    EntryEncoding,
    TypeHooks,
)
from shards.types.listpack cimport (
    LISTPACK_EMPTY_BYTES,
    LISTPACK_END,
    Element,
    Listpack,
    element_integer,
    element_text,
    listpack_append,
    listpack_append_integer,
    listpack_copy,
    listpack_delete,
    listpack_delete_batch,
    listpack_find,
    listpack_first,
    listpack_fits,
    listpack_footprint,
    listpack_free,
    listpack_get,
    listpack_integer_bytes,
    listpack_length,
    listpack_new,
    listpack_next,
    listpack_seek,
    listpack_shrink,
    listpack_string_bytes,
    listpack_validate,
    string_is_integer,
)


cdef enum:
    EFFORT_BYTES = 16384            # of one block: freeing so much costs about as an allocation
    INTSET_MEMBERS_MAX = 1 << 30    # whatever the limit says
    INTEGER_BYTES_MAX = 11          # of an integer in a listpack, its back-length included
    REBUILD_SHARE = 5               # set_pop builds anew what is at most such a part of what goes
    DENSE_SHARE = 3                 # set_sample looks at all of a set of which it wants such a part


# The hooks

cdef void free_set(Pool *pool, EntryEncoding encoding, void *value) noexcept nogil:
    if encoding == ENCODING_INTSET:
        intset_free(pool, <Intset *>value)
    elif encoding == ENCODING_LISTPACK:
        listpack_free(pool, <Listpack *>value)
    else:
        dict_free(pool, <Dict *>value)


cdef void *copy_set(Pool *pool, EntryEncoding encoding, const void *value) noexcept nogil:
    if encoding == ENCODING_INTSET:
        return intset_copy(pool, <const Intset *>value)
    if encoding == ENCODING_LISTPACK:
        return listpack_copy(pool, <const Listpack *>value)
    return dict_copy(pool, <const Dict *>value)


cdef uint64_t footprint_of_set(EntryEncoding encoding, const void *value) noexcept nogil:
    if encoding == ENCODING_INTSET:
        return intset_footprint(<const Intset *>value)
    if encoding == ENCODING_LISTPACK:
        return listpack_footprint(<const Listpack *>value)
    return dict_footprint(<const Dict *>value)


cdef uint64_t length_of_set(EntryEncoding encoding, const void *value) noexcept nogil:
    if encoding == ENCODING_INTSET:
        return (<const Intset *>value).length
    if encoding == ENCODING_LISTPACK:
        return listpack_length(<Listpack *>value)
    return (<const Dict *>value).count


cdef uint64_t effort_of_set(EntryEncoding encoding, const void *value) noexcept nogil:
    if encoding == ENCODING_HT:
        return (<const Dict *>value).buckets
    return 1 + footprint_of_set(encoding, value) // EFFORT_BYTES


cdef TypeHooks set_hooks() noexcept:
    cdef TypeHooks hooks
    hooks.free = free_set
    hooks.copy = copy_set
    hooks.footprint = footprint_of_set
    hooks.length = length_of_set
    hooks.effort = effort_of_set
    return hooks


# Chance

cdef inline uint64_t next_random(uint64_t *state) noexcept nogil:
    """The next of a chain of random numbers (Steele, Lea and Flood's SplitMix64)."""
    cdef uint64_t value
    state[0] += <uint64_t>0x9E3779B97F4A7C15
    value = state[0]
    value = (value ^ value >> 30) * <uint64_t>0xBF58476D1CE4E5B9
    value = (value ^ value >> 27) * <uint64_t>0x94D049BB133111EB
    return value ^ value >> 31


cdef inline uint64_t random_below(uint64_t *state, uint64_t limit) noexcept nogil:
    return next_random(state) % limit


# Making, and changing the encoding

cdef void set_make_as(Set *set, EntryEncoding encoding) noexcept nogil:
    set.encoding = encoding
    if encoding == ENCODING_INTSET:
        set.value = intset_new(set.pool)
    elif encoding == ENCODING_LISTPACK:
        set.value = listpack_new(set.pool, 0)
    else:
        set.value = dict_new(set.pool, set.rules, DICT_SET)


cdef void set_make(Set *set, const char *data, size_t n, uint64_t count) noexcept nogil:
    cdef int64_t number
    if (<int64_t>count <= set.limits.set_max_intset_entries
            and string_is_integer(data, n, &number)):
        set_make_as(set, ENCODING_INTSET)
    elif <int64_t>count <= set.limits.set_max_listpack_entries:
        # Room for the first one, so that a set of one member is one allocation.
        set.encoding = ENCODING_LISTPACK
        set.value = listpack_new(
            set.pool, LISTPACK_EMPTY_BYTES
            + (listpack_string_bytes(data, n)
               if <int64_t>n <= set.limits.set_max_listpack_value else 0))
    else:
        set_make_as(set, ENCODING_HT)


cdef void set_free(Set *set) noexcept nogil:
    free_set(set.pool, set.encoding, set.value)


cdef void become_dict(Set *set) noexcept nogil:
    cdef Dict *dict = dict_new(set.pool, set.rules, DICT_SET)
    cdef SetIterator iterator
    cdef Element member
    cdef char scratch[24]
    cdef const char *data
    cdef size_t n
    memset(&iterator, 0, sizeof(SetIterator))
    while set_next(set, &iterator, &member):
        data = element_text(&member, scratch, &n)
        dict_insert(set.pool, dict, dict_hash(dict, data, n), data, n, b"", 0)
    set_free(set)
    set.value = dict
    set.encoding = ENCODING_HT


cdef void become_listpack(Set *set) noexcept nogil:
    """An intset that is to hold something else, too."""
    cdef Intset *integers = <Intset *>set.value
    cdef Listpack *pack
    cdef size_t bytes = LISTPACK_EMPTY_BYTES
    cdef uint32_t i
    for i in range(integers.length):
        bytes += listpack_integer_bytes(intset_get(integers, i))
    pack = listpack_new(set.pool, bytes)
    for i in range(integers.length):
        pack = listpack_append_integer(set.pool, pack, intset_get(integers, i))
    intset_free(set.pool, integers)
    set.value = pack
    set.encoding = ENCODING_LISTPACK


cdef void set_narrow(Set *set) noexcept nogil:
    cdef Intset *integers
    cdef SetIterator iterator
    cdef Element member
    cdef int64_t number = 0
    cdef bint changed
    cdef uint64_t count = set_length(set)
    if (set.encoding == ENCODING_INTSET or count > INTSET_MEMBERS_MAX
            or <int64_t>count > set.limits.set_max_intset_entries):
        return
    integers = intset_new(set.pool)
    memset(&iterator, 0, sizeof(SetIterator))
    member.number = 0       # the compiler can't see that set_next sets it
    while set_next(set, &iterator, &member):
        element_integer(&member, &number)
        integers = intset_add(set.pool, integers, number, &changed)
    set_free(set)
    set.value = integers
    set.encoding = ENCODING_INTSET


cdef void set_will_grow(Set *set, uint64_t count) noexcept nogil:
    if ((set.encoding == ENCODING_LISTPACK
            and <int64_t>count > set.limits.set_max_listpack_entries)
            or (set.encoding == ENCODING_INTSET
                and <int64_t>count > set.limits.set_max_intset_entries)):
        become_dict(set)


# Adding and removing

cdef inline bint add_to_dict(Set *set, const char *data, size_t n) noexcept nogil:
    cdef Dict *dict = <Dict *>set.value
    return dict_set(set.pool, dict, dict_hash(dict, data, n), data, n, b"", 0)


cdef bint add_integer(Set *set, int64_t number) noexcept nogil:
    """To an intset, which may be too long then."""
    cdef bint changed
    cdef Intset *integers = intset_add(set.pool, <Intset *>set.value, number, &changed)
    set.value = integers
    if unlikely(<int64_t>integers.length > set.limits.set_max_intset_entries
                or integers.length > INTSET_MEMBERS_MAX):
        if changed:
            become_dict(set)
    return changed


cdef inline size_t digits(int64_t number) noexcept nogil:
    """How long a number is as a string."""
    cdef uint64_t value = <uint64_t>number if number >= 0 else 0 - <uint64_t>number
    cdef size_t n = 1 + (number < 0)
    while value >= 10:
        value //= 10
        n += 1
    return n


cdef bint fits_listpack(const Set *set, size_t n) noexcept nogil:
    """Whether an intset can be a listpack with one more member of so many bytes."""
    cdef Intset *integers = <Intset *>set.value
    cdef uint32_t count = integers.length
    cdef size_t longest = 0, first
    if (<int64_t>count >= set.limits.set_max_listpack_entries
            or <int64_t>n > set.limits.set_max_listpack_value):
        return False
    if count:
        longest = digits(intset_get(integers, 0))
        first = digits(intset_get(integers, count - 1))
        longest = first if first > longest else longest
    return (<int64_t>longest <= set.limits.set_max_listpack_value
            and listpack_fits(NULL, <size_t>count * INTEGER_BYTES_MAX + n))


cdef bint add_to_listpack(Set *set, const char *data, size_t n) noexcept nogil:
    cdef Listpack *pack = <Listpack *>set.value
    if listpack_find(pack, listpack_first(pack), data, n, 0) != NULL:
        return False
    if likely(<int64_t>n <= set.limits.set_max_listpack_value
              and <int64_t>listpack_length(pack) < set.limits.set_max_listpack_entries
              and listpack_fits(pack, n)):
        set.value = listpack_append(set.pool, pack, data, n)
        return True
    become_dict(set)
    return add_to_dict(set, data, n)


cdef bint set_add(Set *set, const char *data, size_t n) noexcept nogil:
    cdef int64_t number
    if set.encoding == ENCODING_HT:
        return add_to_dict(set, data, n)
    if set.encoding == ENCODING_LISTPACK:
        return add_to_listpack(set, data, n)
    if string_is_integer(data, n, &number):
        return add_integer(set, number)
    if not fits_listpack(set, n):
        become_dict(set)
        return add_to_dict(set, data, n)
    become_listpack(set)
    set.value = listpack_append(set.pool, <Listpack *>set.value, data, n)
    return True


cdef bint set_add_element(Set *set, const Element *member) noexcept nogil:
    cdef char scratch[24]
    cdef const char *data
    cdef size_t n
    if member.data == NULL and set.encoding == ENCODING_INTSET:
        return add_integer(set, member.number)
    data = element_text(member, scratch, &n)
    return set_add(set, data, n)


cdef bint set_remove(Set *set, const char *data, size_t n) noexcept nogil:
    cdef Dict *dict
    cdef uint8_t *found
    cdef int64_t number
    cdef bint changed = False
    if set.encoding == ENCODING_HT:
        dict = <Dict *>set.value
        return dict_remove(set.pool, dict, dict_hash(dict, data, n), data, n)
    if set.encoding == ENCODING_LISTPACK:
        found = listpack_find(
            <Listpack *>set.value, listpack_first(<Listpack *>set.value), data, n, 0)
        if found == NULL:
            return False
        set.value = listpack_delete(set.pool, <Listpack *>set.value, &found, 1)
        return True
    if string_is_integer(data, n, &number):
        set.value = intset_remove(set.pool, <Intset *>set.value, number, &changed)
    return changed


cdef bint set_remove_element(Set *set, const Element *member) noexcept nogil:
    cdef char scratch[24]
    cdef const char *data
    cdef size_t n
    cdef bint changed
    if member.data == NULL and set.encoding == ENCODING_INTSET:
        set.value = intset_remove(set.pool, <Intset *>set.value, member.number, &changed)
        return changed
    data = element_text(member, scratch, &n)
    return set_remove(set, data, n)


# Looking

cdef bint set_has(const Set *set, const char *data, size_t n) noexcept nogil:
    cdef const Dict *dict
    cdef int64_t number
    if set.encoding == ENCODING_HT:
        dict = <const Dict *>set.value
        return dict_find(dict, dict_hash(dict, data, n), data, n, NULL)
    if set.encoding == ENCODING_LISTPACK:
        return listpack_find(
            <Listpack *>set.value, listpack_first(<Listpack *>set.value), data, n, 0) != NULL
    return (string_is_integer(data, n, &number)
            and intset_find(<const Intset *>set.value, number))


cdef bint set_has_element(const Set *set, const Element *member) noexcept nogil:
    cdef char scratch[24]
    cdef const char *data
    cdef size_t n
    if member.data == NULL and set.encoding == ENCODING_INTSET:
        return intset_find(<const Intset *>set.value, member.number)
    data = element_text(member, scratch, &n)
    return set_has(set, data, n)


cdef uint64_t set_length(const Set *set) noexcept nogil:
    return length_of_set(set.encoding, set.value)


cdef bint set_next(const Set *set, SetIterator *iterator, Element *member) noexcept nogil:
    cdef DictItem item
    cdef Intset *integers
    if set.encoding == ENCODING_HT:
        if not dict_next(<const Dict *>set.value, &iterator.iterator, &item):
            return False
        member.data = item.data
        member.length = item.length
        return True
    if set.encoding == ENCODING_INTSET:
        integers = <Intset *>set.value
        if iterator.index == integers.length:
            return False
        member.data = NULL
        member.number = intset_get(integers, iterator.index)
        iterator.index += 1
        return True
    if iterator.index == 0:
        iterator.next = listpack_first(<Listpack *>set.value)
        iterator.index = 1
    if iterator.next == NULL:
        return False
    listpack_get(iterator.next, member)
    iterator.next = listpack_next(iterator.next)
    return True


cdef void set_visit(const Set *set, SetVisit visit, void *context) noexcept nogil:
    cdef SetIterator iterator
    cdef Element member
    memset(&iterator, 0, sizeof(SetIterator))
    while set_next(set, &iterator, &member):
        visit(context, &member)


# By chance

cdef void set_random(const Set *set, uint64_t seed, Element *member) noexcept nogil:
    cdef DictItem item
    cdef Listpack *pack
    if set.encoding == ENCODING_HT:
        dict_random(<const Dict *>set.value, seed, &item)
        member.data = item.data
        member.length = item.length
    elif set.encoding == ENCODING_INTSET:
        member.data = NULL
        member.number = intset_get(
            <const Intset *>set.value,
            <uint32_t>(next_random(&seed) % (<const Intset *>set.value).length))
    else:
        pack = <Listpack *>set.value
        listpack_get(
            listpack_seek(pack, <int64_t>(next_random(&seed) % listpack_length(pack))), member)


cdef void *scratch_memory(uint64_t count, size_t size) noexcept nogil:
    cdef void *memory = c_malloc(count * size)
    if unlikely(memory == NULL):
        out_of_memory(count * size)
    return memory


cdef void sample_all(const Set *set, uint64_t count, uint64_t seed, SetVisit visit,
                     void *context) noexcept nogil:
    """Look at each member, and take it with the chance that fills up the number. O(n)"""
    cdef uint64_t left = set_length(set)
    cdef SetIterator iterator
    cdef Element member
    memset(&iterator, 0, sizeof(SetIterator))
    while count and set_next(set, &iterator, &member):
        if random_below(&seed, left) < count:
            visit(context, &member)
            count -= 1
        left -= 1


cdef void set_sample(const Set *set, uint64_t count, uint64_t seed, SetVisit visit,
                     void *context) noexcept nogil:
    cdef uint64_t size = set_length(set)
    cdef Set chosen
    cdef Element member
    if count >= size:
        set_visit(set, visit, context)
        return
    if set.encoding == ENCODING_LISTPACK or count > size // DENSE_SHARE:
        sample_all(set, count, seed, visit, context)
        return
    chosen = set[0]
    set_make_as(&chosen, ENCODING_HT)
    while count:
        set_random(set, next_random(&seed), &member)
        if set_add_element(&chosen, &member):
            visit(context, &member)
            count -= 1
    set_free(&chosen)


cdef void set_draw(const Set *set, uint64_t count, uint64_t seed, SetVisit visit,
                   void *context) noexcept nogil:
    cdef uint64_t size = set_length(set)
    cdef uint64_t i = 0
    cdef Element member
    cdef Element *members
    cdef SetIterator iterator
    if set.encoding != ENCODING_LISTPACK or count == 1:
        while count:
            set_random(set, next_random(&seed), &member)
            visit(context, &member)
            count -= 1
        return
    # Members of a listpack have no numbers: they are given some first.
    members = <Element *>scratch_memory(size, sizeof(Element))
    memset(&iterator, 0, sizeof(SetIterator))
    while set_next(set, &iterator, &members[i]):
        i += 1
    while count:
        visit(context, &members[random_below(&seed, size)])
        count -= 1
    c_free(members)


cdef void pop_one(Set *set, uint64_t seed, SetVisit visit, void *context) noexcept nogil:
    cdef Element member
    cdef Intset *integers
    cdef Dict *dict
    cdef uint32_t index
    cdef uint8_t *p
    if set.encoding == ENCODING_HT:
        set_random(set, seed, &member)
        visit(context, &member)
        dict = <Dict *>set.value
        dict_remove(set.pool, dict, dict_hash(dict, member.data, member.length), member.data,
                    member.length)
    elif set.encoding == ENCODING_INTSET:
        integers = <Intset *>set.value
        index = <uint32_t>random_below(&seed, integers.length)
        member.data = NULL
        member.number = intset_get(integers, index)
        visit(context, &member)
        set.value = intset_remove_range(set.pool, integers, index, 1)
    else:
        p = listpack_seek(
            <Listpack *>set.value,
            <int64_t>random_below(&seed, listpack_length(<Listpack *>set.value)))
        listpack_get(p, &member)
        visit(context, &member)
        set.value = listpack_delete(set.pool, <Listpack *>set.value, &p, 1)


cdef void pop_from_listpack(Set *set, uint64_t count, uint64_t seed, SetVisit visit,
                            void *context) noexcept nogil:
    """The same chance for each in one pass, and one removal for all."""
    cdef Listpack *pack = <Listpack *>set.value
    cdef uint64_t left = listpack_length(pack)
    cdef uint64_t taken = 0
    cdef uint8_t *p = listpack_first(pack)
    cdef uint8_t **gone = <uint8_t **>scratch_memory(count, sizeof(uint8_t *))
    cdef Element member
    while taken < count:
        if random_below(&seed, left) < count - taken:
            listpack_get(p, &member)
            visit(context, &member)
            gone[taken] = p
            taken += 1
        left -= 1
        p = listpack_next(p)
    set.value = listpack_delete_batch(set.pool, pack, gone, count)
    c_free(gone)


cdef void add_visited(void *context, const Element *member) noexcept nogil:
    set_add_element(<Set *>context, member)


cdef void pop_most(Set *set, uint64_t kept, SetVisit visit, void *context,
                   uint64_t seed) noexcept nogil:
    """Move what stays, which is little, into a new set."""
    cdef Set rest = set[0]
    set_make_as(&rest, ENCODING_INTSET if set.encoding == ENCODING_INTSET else ENCODING_LISTPACK)
    if set.encoding == ENCODING_LISTPACK:
        pop_from_listpack(set, kept, seed, add_visited, &rest)
    else:
        while kept:
            pop_one(set, next_random(&seed), add_visited, &rest)
            kept -= 1
    set_visit(set, visit, context)
    set_free(set)
    if rest.encoding == ENCODING_LISTPACK:
        rest.value = listpack_shrink(rest.pool, <Listpack *>rest.value)
    set[0] = rest


cdef void set_pop(Set *set, uint64_t count, uint64_t seed, SetVisit visit,
                  void *context) noexcept nogil:
    cdef uint64_t kept = set_length(set) - count
    if count == 1 and kept:
        pop_one(set, seed, visit, context)
    elif kept > count // REBUILD_SHARE:
        if set.encoding == ENCODING_LISTPACK:
            pop_from_listpack(set, count, seed, visit, context)
            return
        while count:
            pop_one(set, next_random(&seed), visit, context)
            count -= 1
    else:
        pop_most(set, kept, visit, context, seed)


# Scanning

cdef struct Scan:
    SetVisit visit
    void *context


cdef void scan_visited(void *context, const DictItem *item) noexcept nogil:
    cdef Element member
    member.data = item.data
    member.length = item.length
    (<Scan *>context).visit((<Scan *>context).context, &member)


cdef uint64_t set_scan(const Set *set, uint64_t cursor, SetVisit visit,
                       void *context) noexcept nogil:
    cdef Scan scan
    if set.encoding != ENCODING_HT:
        set_visit(set, visit, context)
        return 0
    scan.visit = visit
    scan.context = context
    return dict_scan(<const Dict *>set.value, cursor, scan_visited, &scan)


# Checking

cdef int set_check(const Set *set) except -1:
    cdef Listpack *pack
    cdef uint64_t count
    cdef uint8_t *p
    cdef uint8_t *found
    cdef Element member
    cdef char scratch[24]
    cdef const char *data
    cdef size_t n
    if set.encoding == ENCODING_HT:
        return dict_check(<const Dict *>set.value)
    if set.encoding == ENCODING_INTSET:
        n = intset_bytes(<const Intset *>set.value)
        if not intset_validate(<const uint8_t *>set.value, n, True):
            raise AssertionError("not an intset, or an empty one")
        return 0
    pack = <Listpack *>set.value
    if not listpack_validate(<const uint8_t *>pack, pack.bytes, True, &count) or count == 0:
        raise AssertionError("not a listpack, or an empty one")
    p = listpack_first(pack)
    while p != NULL:
        listpack_get(p, &member)
        data = element_text(&member, scratch, &n)
        found = listpack_next(p)
        if listpack_find(pack, found, data, n, 0) != NULL:
            raise AssertionError("a member is there twice")
        p = found
    return 0
