"""The hash of a key, as Python handlers see it."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from shards.keyspace.entry cimport EXPIRE_NONE, TYPE_HASH, Entry
from shards.keyspace.store cimport store_drop_if_empty, store_set_value
from shards.types.hash cimport (
    Hash,
    HashItem,
    HashIterator,
    hash_check,
    hash_delete,
    hash_get,
    hash_has,
    hash_length,
    hash_make,
    hash_next,
    hash_random,
    hash_scan,
    hash_set,
    hash_will_grow,
)
from shards.types.kinds cimport ENCODING_LISTPACK


cdef enum:
    BUCKETS_A_FIELD = 10        # a scan step looks at so many times COUNT buckets at most


cdef inline bytes field_of(const HashItem *item):
    return PyBytes_FromStringAndSize(item.field, <Py_ssize_t>item.field_length)


cdef inline bytes value_of(const HashItem *item):
    return PyBytes_FromStringAndSize(item.value, <Py_ssize_t>item.value_length)


cdef void collect(void *context, const HashItem *item) noexcept with gil:
    (<list>context).append((field_of(item), value_of(item)))


@cython.final
cdef class HashView:
    """A hash by its key; a missing key is an empty hash. It survives all changes of the key."""

    @staticmethod
    def open(ctx, bytes key not None, bint write=False) -> HashView:
        """The hash at a key of the running command's database. Raises WRONGTYPE. O(1)

        The one way by which handlers come to a hash. It counts as a read or as a write.
        """
        cdef HashView view = HashView.__new__(HashView)
        view.access(ctx, key, write, TYPE_HASH)
        return view

    cdef bint load(self, Hash *hash) noexcept:
        """The hash as it is now; False if there is none."""
        cdef Entry *entry = self.present()
        hash_load(self.keyspace.store, &self.key, entry, hash)
        return entry != NULL

    cdef int save(self, const Hash *hash) except -1:
        """Put a changed hash back; a new one becomes the key's value, an empty one goes."""
        cdef Entry *entry = self.present()
        if entry == NULL:
            store_set_value(self.keyspace.store, &self.key, TYPE_HASH, hash.encoding, hash.value,
                            EXPIRE_NONE)
            return 0
        hash_store(entry, hash)
        store_drop_if_empty(self.keyspace.store, &self.key, entry)
        return 0

    def __len__(self) -> int:
        cdef Hash hash
        return hash_length(&hash) if self.load(&hash) else 0

    def __contains__(self, bytes field not None) -> bool:
        cdef Hash hash
        return self.load(&hash) and hash_has(&hash, PyBytes_AS_STRING(field),
                                             PyBytes_GET_SIZE(field))

    def get(self, bytes field not None) -> bytes | None:
        """The value of a field, or None."""
        cdef Hash hash
        cdef HashItem item
        if not self.load(&hash):
            return None
        if not hash_get(&hash, PyBytes_AS_STRING(field), PyBytes_GET_SIZE(field), &item):
            return None
        return value_of(&item)

    def value_length(self, bytes field not None) -> int:
        """The bytes of a field's value; 0 if it is missing."""
        cdef Hash hash
        cdef HashItem item
        if not self.load(&hash):
            return 0
        if not hash_get(&hash, PyBytes_AS_STRING(field), PyBytes_GET_SIZE(field), &item):
            return 0
        return item.value_length

    def set(self, bytes field not None, bytes value not None) -> bool:
        """Set a field; True if it is new."""
        cdef Hash hash
        cdef bint is_new
        if not self.load(&hash):
            hash_make(&hash)
        is_new = hash_set(&hash, PyBytes_AS_STRING(field), PyBytes_GET_SIZE(field),
                          PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        self.save(&hash)
        return is_new

    def set_many(self, list words not None, Py_ssize_t start=0) -> int:
        """Set the fields and values in words[start:], by turns; returns how many are new. O(words)

        The encoding is decided by all of them together, as HSET does.
        """
        cdef Hash hash
        cdef Py_ssize_t i, count = len(words)
        cdef size_t n, longest = 0, total = 0
        cdef bytes field, value
        cdef int64_t added = 0
        if start < 0 or count <= start or (count - start) % 2:
            raise ValueError("no pairs of fields and values")
        for i in range(start, count):
            field = words[i]
            n = len(field)
            total += n
            if n > longest:
                longest = n
        if not self.load(&hash):
            hash_make(&hash)
        hash_will_grow(&hash, (count - start) // 2, longest, total)
        for i in range(start, count, 2):
            field = words[i]
            value = words[i + 1]
            added += hash_set(&hash, PyBytes_AS_STRING(field), PyBytes_GET_SIZE(field),
                              PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        self.save(&hash)
        return added

    def delete(self, list fields not None) -> int:
        """Delete fields, and the key with the last one; returns how many there were. O(fields)"""
        cdef Hash hash
        cdef bytes field
        cdef int64_t deleted = 0
        if not self.load(&hash):
            return 0
        for field in fields:
            if hash_delete(&hash, PyBytes_AS_STRING(field), PyBytes_GET_SIZE(field)):
                deleted += 1
                if hash_length(&hash) == 0:
                    break
        if deleted:
            self.save(&hash)
        return deleted

    def items(self) -> list[tuple[bytes, bytes]]:
        """All fields with their values. O(n)"""
        cdef list found = []
        cdef Hash hash
        cdef HashIterator iterator
        cdef HashItem item
        memset(&iterator, 0, sizeof(iterator))
        if self.load(&hash):
            while hash_next(&hash, &iterator, &item):
                found.append((field_of(&item), value_of(&item)))
        return found

    def fields(self) -> list[bytes]:
        """All fields. O(n)"""
        cdef list found = []
        cdef Hash hash
        cdef HashIterator iterator
        cdef HashItem item
        memset(&iterator, 0, sizeof(iterator))
        if self.load(&hash):
            while hash_next(&hash, &iterator, &item):
                found.append(field_of(&item))
        return found

    def values(self) -> list[bytes]:
        """All values, in the order of their fields. O(n)"""
        cdef list found = []
        cdef Hash hash
        cdef HashIterator iterator
        cdef HashItem item
        memset(&iterator, 0, sizeof(iterator))
        if self.load(&hash):
            while hash_next(&hash, &iterator, &item):
                found.append(value_of(&item))
        return found

    def scan(self, uint64_t cursor, int64_t count) -> tuple[int, list[tuple[bytes, bytes]]]:
        """One step of HSCAN: the next cursor (0: done), and about `count` fields with their values.

        A listpack is given as a whole. O(count)
        """
        cdef list found = []
        cdef Hash hash
        cdef int64_t buckets = 0
        if not self.load(&hash):
            return 0, found
        while True:
            cursor = hash_scan(&hash, cursor, collect, <void *>found)
            buckets += 1
            if cursor == 0 or len(found) >= count or buckets // BUCKETS_A_FIELD >= count:
                return cursor, found

    def random_items(self, list randoms not None) -> list[tuple[bytes, bytes]]:
        """One field with its value for each random 64-bit number. O(numbers)

        The hash must not be empty. Of a listpack, which takes O(n) for each, they are taken from a
        list.
        """
        cdef list found = []
        cdef list whole
        cdef Hash hash
        cdef HashItem item
        cdef uint64_t random, count
        if not self.load(&hash):
            raise ValueError("an empty hash")
        if hash.encoding == ENCODING_LISTPACK and len(randoms) > 1:
            whole = self.items()
            count = len(whole)
            for random in randoms:
                found.append(whole[<Py_ssize_t>(((random >> 32) * count) >> 32)])
            return found
        for random in randoms:
            hash_random(&hash, random, &item)
            found.append((field_of(&item), value_of(&item)))
        return found

    def check(self) -> None:
        """Raise AssertionError if an invariant is broken. O(n)"""
        cdef Hash hash
        if self.load(&hash):
            hash_check(&hash)
            if hash_length(&hash) == 0:
                raise AssertionError("an empty hash is kept")
