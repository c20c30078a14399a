"""The set of a key, as Python handlers see it; and what is computed from several."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from protocol.native cimport out_of_memory
from shards.keyspace.entry cimport EXPIRE_NONE, TYPE_SET, Entry
from shards.keyspace.store cimport (
    Key,
    store_clear,
    store_delete,
    store_drop_if_empty,
    store_random,
    store_set_value,
)
from shards.types.listpack cimport Element, element_text
from shards.types.set cimport (
    Set,
    set_add,
    set_check,
    set_draw,
    set_free,
    set_has,
    set_length,
    set_make,
    set_pop,
    set_random,
    set_remove,
    set_sample,
    set_scan,
    set_visit,
    set_will_grow,
)
from shards.types.set_algebra cimport (
    set_intersect,
    set_subtract,
    set_unite,
    set_visit_common,
)


cdef enum:
    BUCKETS_A_MEMBER = 10       # a scan step looks at so many times COUNT buckets at most


cdef inline bytes text_of(const Element *member):
    cdef char scratch[24]
    cdef size_t n
    cdef const char *data = element_text(member, scratch, &n)
    return PyBytes_FromStringAndSize(data, <Py_ssize_t>n)


cdef void collect(void *context, const Element *member) noexcept with gil:
    (<list>context).append(text_of(member))


@cython.final
cdef class SetView:
    """A set by its key; a missing key is an empty set. It survives all changes of the key."""

    @staticmethod
    def open(ctx, bytes key not None, bint write=False) -> SetView:
        """The set at a key of the running command's database. Raises WRONGTYPE. O(1)

        The one way by which handlers come to a set. The access is counted as a read's or a write's.
        """
        cdef SetView view = SetView.__new__(SetView)
        view.access(ctx, key, write, TYPE_SET)
        return view

    cdef bint load(self, Set *set) noexcept:
        """The set as it is now; False if there is none."""
        cdef Entry *entry = self.present()
        set_load(self.keyspace.store, &self.key, entry, set)
        return entry != NULL

    cdef int save(self, const Set *set) except -1:
        """Put a changed set back; a new one becomes the key's value, an empty one goes."""
        cdef Entry *entry = self.present()
        if entry == NULL:
            store_set_value(self.keyspace.store, &self.key, TYPE_SET, set.encoding, set.value,
                            EXPIRE_NONE)
            return 0
        set_save(entry, set)
        store_drop_if_empty(self.keyspace.store, &self.key, entry)
        return 0

    def __len__(self) -> int:
        cdef Set set
        return set_length(&set) if self.load(&set) else 0

    def __contains__(self, bytes member not None) -> bool:
        cdef Set set
        return self.load(&set) and set_has(&set, PyBytes_AS_STRING(member),
                                           PyBytes_GET_SIZE(member))

    @property
    def exists(self) -> bool:
        """Whether there is such a key, which then has members. O(1)"""
        return self.present() != NULL

    def add(self, list words not None, Py_ssize_t start=0) -> int:
        """Add the members in words[start:]; returns how many are new. O(words)

        Their number helps to decide the encoding, as with SADD.
        """
        cdef Set set
        cdef Py_ssize_t i, count = len(words)
        cdef bytes member
        cdef int64_t added = 0
        if not 0 <= start < count:
            raise ValueError("no members")
        for member in words:
            pass                        # a wrong type shows before anything is made
        if not self.load(&set):
            member = words[start]
            set_make(&set, PyBytes_AS_STRING(member), PyBytes_GET_SIZE(member), count - start)
        else:
            set_will_grow(&set, count - start)
        for i in range(start, count):
            member = words[i]
            added += set_add(&set, PyBytes_AS_STRING(member), PyBytes_GET_SIZE(member))
        self.save(&set)
        return added

    def remove(self, list words not None, Py_ssize_t start=0) -> int:
        """Remove the members in words[start:], and the key with the last one. O(words)

        Returns how many there were.
        """
        cdef Set set
        cdef Py_ssize_t i, count = len(words)
        cdef bytes member
        cdef int64_t removed = 0
        for member in words:
            pass
        if not self.load(&set):
            return 0
        for i in range(start, count):
            member = words[i]
            if set_remove(&set, PyBytes_AS_STRING(member), PyBytes_GET_SIZE(member)):
                removed += 1
                if set_length(&set) == 0:
                    break
        if removed:
            self.save(&set)
        return removed

    def members(self) -> list[bytes]:
        """All members. O(n)"""
        cdef list found = []
        cdef Set set
        if self.load(&set):
            set_visit(&set, collect, <void *>found)
        return found

    def random(self) -> bytes | None:
        """A member, each as likely as any other; None of an empty set. Expected O(1)"""
        cdef Set set
        cdef Element member
        if not self.load(&set):
            return None
        set_random(&set, store_random(self.keyspace.store), &member)
        return text_of(&member)

    def sample(self, uint64_t count) -> list[bytes]:
        """So many different members by chance, or all. O(count), and O(n) if most are wanted"""
        cdef list found = []
        cdef Set set
        if count and self.load(&set):
            set_sample(&set, count, store_random(self.keyspace.store), collect, <void *>found)
        return found

    def draw(self, uint64_t count) -> list[bytes]:
        """So many members, each drawn from all of them; none of an empty set. O(count)"""
        cdef list found = []
        cdef Set set
        if count and self.load(&set):
            set_draw(&set, count, store_random(self.keyspace.store), collect, <void *>found)
        return found

    def pop(self, uint64_t count) -> list[bytes]:
        """Remove so many members by chance, the key with the last one. O(count)"""
        cdef list found = []
        cdef Set set
        if count == 0 or not self.load(&set):
            return found
        if count >= set_length(&set):
            set_visit(&set, collect, <void *>found)
            store_delete(self.keyspace.store, &self.key)
            return found
        set_pop(&set, count, store_random(self.keyspace.store), collect, <void *>found)
        self.save(&set)
        return found

    def scan(self, uint64_t cursor, int64_t count) -> tuple[int, list[bytes]]:
        """One step of SSCAN: the next cursor (0: done) and about `count` members, or more. O(count)

        What is there from the first call to the last is returned at least once.
        """
        cdef list found = []
        cdef Set set
        cdef int64_t left = count
        if count < 1:
            raise ValueError("an empty scan")
        if not self.load(&set):
            return 0, found
        if left < (<int64_t>1 << 59):
            left *= BUCKETS_A_MEMBER
        while True:
            cursor = set_scan(&set, cursor, collect, <void *>found)
            if cursor == 0 or left == 0 or len(found) >= count:
                return cursor, found
            left -= 1

    def check(self) -> None:
        """Raise AssertionError if an invariant is broken. O(n)"""
        cdef Set set
        if self.load(&set):
            set_check(&set)


@cython.final
cdef class SetResult:
    """A set that was computed and belongs to no key yet."""

    def __dealloc__(self):
        if self.set.value != NULL:
            set_free(&self.set)

    def __len__(self) -> int:
        return set_length(&self.set) if self.set.value != NULL else 0

    def members(self) -> list[bytes]:
        """All members. O(n)"""
        cdef list found = []
        if self.set.value != NULL:
            set_visit(&self.set, collect, <void *>found)
        return found

    def replace(self, ctx, bytes key not None) -> bool:
        """Put it in place of whatever a key holds; an empty one deletes the key. It is empty then.

        False: nothing has changed, as there was no key and is none now.
        """
        cdef Key native = self.keyspace.key(key, ctx.database)
        if len(self) == 0:
            return store_clear(self.keyspace.store, &native)
        store_set_value(self.keyspace.store, &native, TYPE_SET, self.set.encoding, self.set.value,
                        EXPIRE_NONE)
        self.set.value = NULL
        return True


# Several sets

cdef Set *load_all(list views) except NULL:
    """The sets of the views, missing ones with a value of NULL; to be freed."""
    cdef Py_ssize_t i, count = len(views)
    cdef Set *sets
    if count == 0:
        raise ValueError("no sets")
    sets = <Set *>malloc(count * sizeof(Set))
    if sets == NULL:
        out_of_memory(count * sizeof(Set))
    for i in range(count):
        (<SetView?>views[i]).load(&sets[i])
    return sets


cdef SetResult new_result(list views):
    """A result without a value; it is made where the first set is."""
    cdef SetResult result = SetResult.__new__(SetResult)
    cdef SetView first = views[0]
    result.keyspace = first.keyspace
    set_load(first.keyspace.store, &first.key, NULL, &result.set)
    return result


def unite(list views not None) -> SetResult:
    """The members of any of the sets. O(members of all)"""
    cdef Set *sets = load_all(views)
    cdef SetResult result = new_result(views)
    set_unite(&result.set, sets, len(views))
    free(sets)
    return result


def subtract(list views not None) -> SetResult:
    """The members of the first set that are in none of the others. O(members of all) at most"""
    cdef Set *sets = load_all(views)
    cdef SetResult result = new_result(views)
    set_subtract(&result.set, sets, len(views))
    free(sets)
    return result


def intersect(list views not None) -> SetResult:
    """The members of all of the sets. O(members of the smallest * sets)"""
    cdef Set *sets = load_all(views)
    cdef SetResult result = new_result(views)
    set_intersect(&result.set, sets, len(views))
    free(sets)
    return result


def common_members(list views not None) -> list[bytes]:
    """The same, of which no set is made."""
    cdef list found = []
    cdef Set *sets = load_all(views)
    set_visit_common(sets, len(views), 0, collect, <void *>found)
    free(sets)
    return found


def count_common(list views not None, uint64_t limit=0) -> int:
    """How many members are in all of the sets; counts up to a limit unless it is 0."""
    cdef Set *sets = load_all(views)
    cdef uint64_t count = set_visit_common(sets, len(views), limit, NULL, NULL)
    free(sets)
    return count
