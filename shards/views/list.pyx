"""The list for Python handlers; see list.pyi. The key is looked up anew by every method."""

from libc.stdint cimport int64_t, uint64_t

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from shards.keyspace.keyspace cimport store_write
from shards.types.list cimport (
    ListWalk,
    list_delete_range,
    list_grow,
    list_peek,
    list_pop,
    list_push,
    list_seek,
    walk_close,
    walk_delete,
    walk_equals,
    walk_get,
    walk_insert,
    walk_next,
    walk_previous,
    walk_replace,
)
from shards.types.listpack cimport Element, element_text



cdef bytes text_of(const Element *element):
    cdef char scratch[24]
    cdef size_t n
    cdef const char *data = element_text(element, scratch, &n)
    return PyBytes_FromStringAndSize(data, n)


cdef bint bounds(int64_t length, int64_t *start, int64_t *stop) noexcept nogil:
    """Two indexes, maybe from the end, as indexes within the list. False: nothing between."""
    if start[0] < 0:
        start[0] = max(start[0] + length, <int64_t>0)
    if stop[0] < 0:
        stop[0] += length
    if start[0] > stop[0] or start[0] >= length:
        return False
    stop[0] = min(stop[0], length - 1)
    return True


cdef class ListView:
    @staticmethod
    def open(ctx, bytes key not None, bint write=False):
        # The one way to a list of the running command.
        cdef ListView view = ListView.__new__(ListView)
        view.access(ctx, key, write, TYPE_LIST)
        return view

    cdef Entry *entry(self, List *list) noexcept:
        """The key's entry and its list; NULL, and no list, without the key."""
        cdef Entry *entry = self.present()
        if entry != NULL:
            list_of(self.keyspace.store, self.key.database, entry, list)
        return entry

    def __len__(self):
        cdef List list
        return list_count(&list) if self.entry(&list) != NULL else 0

    @staticmethod
    def store(ctx, bytes key not None, values):
        cdef ListView view = ListView.__new__(ListView)
        view.keyspace = ctx.keyspace
        view.name = key
        view.key = view.keyspace.key(key, ctx.database)
        store_write(view.keyspace.store, &view.key)
        view.add(values, True, NULL)

    def push(self, values, bint at_tail):
        return self.add(values, at_tail, self.present())

    cdef object add(self, values, bint at_tail, Entry *entry):
        """Push to a list, or, without an entry, to a new one that takes the key's place."""
        cdef List list
        cdef uint64_t total = 0
        cdef bytes value
        for value in values:
            total += len(value)         # also refuses what is no bytes before anything is changed
        if not values:
            return len(self)
        list_of(self.keyspace.store, self.key.database, entry, &list)
        list_grow(&list, total, len(values))
        for value in values:
            list_push(&list, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), at_tail)
        list_keep(self.keyspace.store, &self.key, entry, &list)
        return list_count(&list)

    def pop(self, bint at_tail, int64_t count=1):
        cdef List list
        cdef ListWalk walk
        cdef Entry *entry = self.entry(&list)
        cdef int64_t length, left
        cdef Element element
        found = []
        if entry == NULL:
            return found
        length = list_count(&list)
        count = min(count, length)
        left = count
        if left > 0 and list_seek(&list, -1 if at_tail else 0, &walk):
            while True:
                walk_get(&walk, &element)
                found.append(text_of(&element))
                left -= 1
                if left == 0:
                    break
                if at_tail:
                    walk_previous(&walk)
                else:
                    walk_next(&walk)
            walk_close(&walk)
            list_delete_range(&list, length - count if at_tail else 0, count)
            list_keep_rest(self.keyspace.store, &self.key, entry, &list)
        return found

    def rotate(self, bint from_tail, bint to_tail):
        cdef List list
        cdef Entry *entry = self.entry(&list)
        cdef Element element
        cdef bytes value
        if entry == NULL:
            return None
        list_peek(&list, from_tail, &element)
        value = text_of(&element)
        list_pop(&list, from_tail)
        list_grow(&list, PyBytes_GET_SIZE(value), 1)
        list_push(&list, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), to_tail)
        list_keep_rest(self.keyspace.store, &self.key, entry, &list)
        return value

    def get(self, int64_t index):
        cdef List list
        cdef ListWalk walk
        cdef Element element
        if self.entry(&list) == NULL or not list_seek(&list, index, &walk):
            return None
        walk_get(&walk, &element)
        value = text_of(&element)
        walk_close(&walk)
        return value

    def range(self, int64_t start, int64_t stop):
        cdef List list
        cdef ListWalk walk
        cdef Element element
        cdef int64_t i
        found = []
        if self.entry(&list) == NULL or not bounds(list_count(&list), &start, &stop):
            return found
        list_seek(&list, start, &walk)
        for i in range(start, stop + 1):
            walk_get(&walk, &element)
            found.append(text_of(&element))
            if i < stop:
                walk_next(&walk)
        walk_close(&walk)
        return found

    def set(self, int64_t index, bytes value not None):
        cdef List list
        cdef ListWalk walk
        cdef Entry *entry = self.entry(&list)
        cdef bint found
        if entry == NULL:
            return False
        # As in Redis, it grows although the index may be wrong, and although something goes.
        list_grow(&list, PyBytes_GET_SIZE(value), 1)
        found = list_seek(&list, index, &walk)
        if found:
            walk_replace(&walk, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
            list_keep_rest(self.keyspace.store, &self.key, entry, &list)
        else:
            list_keep(self.keyspace.store, &self.key, entry, &list)
        return found

    def insert(self, bytes pivot not None, bytes value not None, bint behind):
        cdef List list
        cdef ListWalk walk
        cdef Entry *entry = self.entry(&list)
        cdef bint more
        cdef bint found = False
        if entry == NULL:
            return False
        list_grow(&list, PyBytes_GET_SIZE(value), 1)     # as in Redis, found or not
        more = list_seek(&list, 0, &walk)
        while more and not found:
            if walk_equals(&walk, PyBytes_AS_STRING(pivot), PyBytes_GET_SIZE(pivot)):
                walk_insert(&walk, behind, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
                found = True
            else:
                more = walk_next(&walk)
        list_keep(self.keyspace.store, &self.key, entry, &list)
        return found

    def remove(self, bytes value not None, uint64_t count, bint backwards):
        cdef List list
        cdef ListWalk walk
        cdef Entry *entry = self.entry(&list)
        cdef uint64_t removed = 0
        cdef bint more = entry != NULL and list_seek(&list, -1 if backwards else 0, &walk)
        while more and removed < count:
            if walk_equals(&walk, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)):
                removed += 1
                more = walk_delete(&walk, backwards)
            else:
                more = walk_previous(&walk) if backwards else walk_next(&walk)
        if more:
            walk_close(&walk)
        if removed:
            list_keep_rest(self.keyspace.store, &self.key, entry, &list)
        return removed

    def trim(self, int64_t start, int64_t stop):
        cdef List list
        cdef Entry *entry = self.entry(&list)
        cdef int64_t length
        cdef uint64_t removed
        if entry == NULL:
            return 0
        length = list_count(&list)
        if bounds(length, &start, &stop):
            removed = list_delete_range(&list, stop + 1, length - stop - 1)
            removed += list_delete_range(&list, 0, start)
        else:
            removed = list_delete_range(&list, 0, length)
        list_keep_rest(self.keyspace.store, &self.key, entry, &list)
        return removed

    def positions(self, bytes value not None, int64_t rank, int64_t count, int64_t maxlen,
                  bint backwards):
        cdef List list
        cdef ListWalk walk
        cdef int64_t length, seen = 0, matches = 0
        cdef bint more
        found = []
        if self.entry(&list) == NULL:
            return found
        length = list_count(&list)
        more = list_seek(&list, -1 if backwards else 0, &walk)
        while more and (maxlen == 0 or seen < maxlen):
            if walk_equals(&walk, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)):
                matches += 1
                if matches >= rank:
                    found.append(length - seen - 1 if backwards else seen)
                    if count and matches - rank + 1 >= count:
                        break
            seen += 1
            more = walk_previous(&walk) if backwards else walk_next(&walk)
        if more:
            walk_close(&walk)
        return found
