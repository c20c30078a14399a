"""The sorted set for Python handlers; see zset.pyi. The key is looked up anew by every method."""

from libc.stdint cimport UINT64_MAX, int64_t, uint64_t
from libc.stdio cimport snprintf

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from protocol.numbers cimport format_double
from shards.keyspace.keyspace cimport ENCODING_LISTPACK, store_changing
from shards.arguments.ranges cimport Range
from shards.types.dict cimport DictItem, dict_scan
from shards.types.scoretree cimport Node, Zset, node_member
from shards.types.zset cimport (
    ADD_GT as NATIVE_GT,
    ADD_INCREMENT,
    ADD_INSERTED,
    ADD_LT as NATIVE_LT,
    ADD_NAN,
    ADD_NX as NATIVE_NX,
    ADD_REFUSED,
    ADD_SAME,
    ADD_UPDATED,
    ADD_XX as NATIVE_XX,
    Added,
    SortedCursor,
    SortedItem,
    sorted_add,
    sorted_append,
    sorted_count_range,
    sorted_expect,
    sorted_find,
    sorted_goes_on,
    sorted_item,
    sorted_length,
    sorted_random,
    sorted_remove,
    sorted_remove_range,
    sorted_remove_ranks,
    sorted_seek_range,
    sorted_seek_rank,
    sorted_step,
)

from protocol.errors import CommandError

NOT_A_NUMBER = b"ERR resulting score is not a number (NaN)"
ADD_NX, ADD_XX, ADD_GT, ADD_LT = NATIVE_NX, NATIVE_XX, NATIVE_GT, NATIVE_LT


cdef tuple pair_at(const SortedCursor *cursor):
    cdef SortedItem item
    sorted_item(cursor, &item)
    return PyBytes_FromStringAndSize(item.member, <Py_ssize_t>item.length), item.score


cdef bint bounds(int64_t length, int64_t *first, int64_t *last) noexcept nogil:
    """Two ranks, maybe from the end, as ranks from 0 within the set. False: nothing between."""
    if first[0] < 0:
        first[0] = max(first[0] + length, <int64_t>0)
    if last[0] < 0:
        last[0] += length
    if first[0] > last[0] or first[0] >= length:
        return False
    last[0] = min(last[0], length - 1)
    return True


cdef void collect(void *context, const DictItem *item) noexcept with gil:
    cdef const Node *node = <const Node *>item.node
    cdef char text[64]
    cdef size_t n
    cdef const char *member = node_member(node, &n)
    cdef int length = snprintf(text, sizeof(text), b"%.17g", node.score)
    (<list>context).append((PyBytes_FromStringAndSize(member, <Py_ssize_t>n), text[:length]))


cdef class ZsetView:
    @staticmethod
    def open(ctx, bytes key not None, bint write=False):
        # The one way to a sorted set of the running command.
        cdef ZsetView view = ZsetView.__new__(ZsetView)
        view.access(ctx, key, write, TYPE_ZSET)
        return view

    cdef Entry *entry(self, SortedSet *set) noexcept:
        """The key's entry and its sorted set; NULL, and no set, without the key."""
        cdef Entry *entry = self.present()
        if entry != NULL:
            sorted_of(self.keyspace.store, self.key.database, entry, set)
        return entry

    def __len__(self):
        cdef SortedSet set
        return <Py_ssize_t>sorted_length(&set) if self.entry(&set) != NULL else 0

    def add(self, list scores not None, list members not None, int flags):
        cdef Store *store = self.keyspace.store
        cdef SortedSet set
        cdef Entry *entry = self.entry(&set)
        cdef Py_ssize_t count = len(members), inserted = 0, updated = 0, i
        cdef double result, score
        cdef bytes member
        cdef Added outcome
        for i in range(count):          # nothing below may raise
            score = scores[i]
            member = members[i]
            if member is None:
                raise TypeError("a member is bytes")
        if not count or (entry == NULL and flags & NATIVE_XX):
            return 0, 0
        if entry == NULL:
            member = members[0]
            sorted_fresh(store, self.key.database, &set, <uint64_t>count,
                         <size_t>PyBytes_GET_SIZE(member))
        else:
            sorted_expect(&set, <uint64_t>count)
        for i in range(count):
            member = members[i]
            score = scores[i]
            outcome = sorted_add(&set, flags, score, PyBytes_AS_STRING(member),
                                 <size_t>PyBytes_GET_SIZE(member), &result)
            inserted += outcome == ADD_INSERTED
            updated += outcome == ADD_UPDATED
        sorted_keep(store, &self.key, entry, &set)
        return inserted, updated

    def increment(self, double score, bytes member not None, int flags):
        cdef Store *store = self.keyspace.store
        cdef SortedSet set
        cdef Entry *entry = self.entry(&set)
        cdef size_t n = <size_t>PyBytes_GET_SIZE(member)
        cdef double result = 0
        cdef Added outcome
        if entry == NULL:
            if flags & NATIVE_XX:
                return None, False
            sorted_fresh(store, self.key.database, &set, 1, n)
        else:
            sorted_expect(&set, 1)
        outcome = sorted_add(&set, flags | ADD_INCREMENT, score, PyBytes_AS_STRING(member), n,
                             &result)
        sorted_keep(store, &self.key, entry, &set)
        if outcome == ADD_NAN:
            raise CommandError(NOT_A_NUMBER)
        if outcome == ADD_REFUSED:
            return None, False
        return result, outcome != ADD_SAME

    @staticmethod
    def store(ctx, bytes key not None, list items not None):
        cdef ZsetView view = ZsetView.__new__(ZsetView)
        view.keyspace = ctx.keyspace
        view.name = key
        view.key = view.keyspace.key(key, ctx.database)
        store_write(view.keyspace.store, &view.key)
        view.replace(items)
        return view

    cdef int replace(self, list items) except -1:
        cdef Store *store = self.keyspace.store
        cdef SortedSet set
        cdef size_t longest = 0
        cdef double score
        cdef bytes member
        if not items:
            raise ValueError("a sorted set has members")
        for member, score in items:     # nothing below may raise
            longest = max(longest, <size_t>len(member))
        sorted_fresh(store, self.key.database, &set, <uint64_t>len(items), longest)
        for member, score in items:
            sorted_append(&set, score, PyBytes_AS_STRING(member),
                          <size_t>PyBytes_GET_SIZE(member))
        sorted_keep(store, &self.key, NULL, &set)
        return 0

    def score(self, bytes member not None):
        cdef SortedSet set
        cdef double score
        if self.entry(&set) == NULL or not sorted_find(
                &set, PyBytes_AS_STRING(member), <size_t>PyBytes_GET_SIZE(member), &score, NULL):
            return None
        return score

    def rank(self, bytes member not None):
        cdef SortedSet set
        cdef double score
        cdef uint64_t rank
        if self.entry(&set) == NULL or not sorted_find(
                &set, PyBytes_AS_STRING(member), <size_t>PyBytes_GET_SIZE(member), &score, &rank):
            return None
        return rank, score

    def remove(self, list members not None):
        cdef SortedSet set
        cdef Entry *entry = self.entry(&set)
        cdef Py_ssize_t removed = 0
        cdef bytes member
        if entry == NULL:
            return 0
        for member in members:
            if member is None:
                break
            removed += sorted_remove(&set, PyBytes_AS_STRING(member),
                                     <size_t>PyBytes_GET_SIZE(member))
            # A listpack may move at each step.
            sorted_keep(self.keyspace.store, &self.key, entry, &set)
            if sorted_length(&set) == 0:
                break
        sorted_keep_rest(self.keyspace.store, &self.key, entry, &set)
        return removed

    def pop(self, int64_t count, bint last):
        cdef SortedSet set
        cdef Entry *entry = self.entry(&set)
        cdef list found = []
        cdef int64_t length
        if entry == NULL:
            return found
        length = <int64_t>sorted_length(&set)
        count = min(count, length)
        if count <= 0:
            return found
        found = self.slice(0, count - 1, last)
        sorted_remove_ranks(&set, <uint64_t>(length - count if last else 0),
                            <uint64_t>((length if last else count) - 1))
        sorted_keep_rest(self.keyspace.store, &self.key, entry, &set)
        return found

    def unpack(self):
        """Make it a tree, as SORT makes it a skip list in Redis; True: it was none. O(n log n)"""
        cdef SortedSet set
        cdef Store *store = self.keyspace.store
        cdef Entry *entry = self.entry(&set)
        cdef void *before
        if entry == NULL:
            return False
        before = set.value
        store_changing(store, &self.key)
        sorted_expect(&set, UINT64_MAX >> 1)
        sorted_keep(store, &self.key, entry, &set)
        return set.value != before

    def items(self):
        return self.slice(0, -1)

    def slice(self, int64_t first, int64_t last, bint backwards=False):
        cdef SortedSet set
        cdef SortedCursor cursor
        cdef list found = []
        cdef int64_t length
        cdef bint more
        if self.entry(&set) == NULL:
            return found
        length = <int64_t>sorted_length(&set)
        if not bounds(length, &first, &last):
            return found
        more = sorted_seek_rank(&set, <uint64_t>(length - 1 - first if backwards else first),
                                &cursor)
        while more and first <= last:
            found.append(pair_at(&cursor))
            first += 1
            more = sorted_step(&cursor, backwards)
        return found

    def between(self, Range range not None, bint backwards=False, int64_t offset=0,
                int64_t limit=-1):
        cdef SortedSet set
        cdef SortedCursor cursor
        cdef list found = []
        cdef bint more
        if offset < 0 or self.entry(&set) == NULL:
            return found
        more = sorted_seek_range(&set, &range.native, backwards, <uint64_t>offset, &cursor)
        while more and limit != 0 and sorted_goes_on(&range.native, &cursor, backwards):
            found.append(pair_at(&cursor))
            limit -= 1
            more = sorted_step(&cursor, backwards)
        return found

    def count(self, Range range not None):
        cdef SortedSet set
        return sorted_count_range(&set, &range.native) if self.entry(&set) != NULL else 0

    def remove_between(self, Range range not None):
        cdef SortedSet set
        cdef Entry *entry = self.entry(&set)
        cdef uint64_t removed
        if entry == NULL:
            return 0
        removed = sorted_remove_range(&set, &range.native)
        sorted_keep_rest(self.keyspace.store, &self.key, entry, &set)
        return removed

    def remove_slice(self, int64_t first, int64_t last):
        cdef SortedSet set
        cdef Entry *entry = self.entry(&set)
        cdef uint64_t removed
        if entry == NULL or not bounds(<int64_t>sorted_length(&set), &first, &last):
            return 0
        removed = sorted_remove_ranks(&set, <uint64_t>first, <uint64_t>last)
        sorted_keep_rest(self.keyspace.store, &self.key, entry, &set)
        return removed

    def random(self, int64_t count):
        cdef SortedSet set
        cdef SortedCursor cursor
        cdef list found = []
        if self.entry(&set) == NULL:
            return found
        while count > 0:
            sorted_random(&set, store_random(self.keyspace.store), &cursor)
            found.append(pair_at(&cursor))
            count -= 1
        return found

    def scan(self, uint64_t cursor, int64_t count):
        cdef SortedSet set
        cdef char text[128]
        cdef list found = []
        cdef int64_t steps = count if count < <int64_t>1 << 58 else <int64_t>1 << 58
        if self.entry(&set) == NULL:
            return 0, found
        if set.encoding == ENCODING_LISTPACK:
            for member, score in self.items():
                found.append((member, text[:format_double(text, score)]))
            return 0, found
        steps *= 10
        while True:
            cursor = dict_scan((<Zset *>set.value).members, cursor, collect, <void *>found)
            steps -= 1
            if cursor == 0 or len(found) >= count or steps <= 0:
                return cursor, found
