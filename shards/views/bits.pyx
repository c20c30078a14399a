"""The string at a key as a row of bits, for Python handlers."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, memset

from protocol.errors import WRONG_TYPE, CommandError

from shards.kernels.bits cimport count_bits, find_bit, integer_in, integer_into
from shards.keyspace.keyspace cimport (
    TYPE_STRING, Entry, Key, Keyspace, entry_string, entry_type, store_open_string,
    store_read, store_write,
)


@cython.final
cdef class Bits:
    """The bits of a string key; a missing key has none."""

    @staticmethod
    def open(ctx, bytes key not None, bint write=False) -> Bits:
        """The string at a key of the running command's database. Raises WRONGTYPE. O(1)"""
        cdef Bits bits = Bits.__new__(Bits)
        cdef Entry *entry
        bits.keyspace = ctx.keyspace
        bits.name = key
        bits.key = bits.keyspace.key(key, ctx.database)
        if write:
            entry = store_write(bits.keyspace.store, &bits.key)
        else:
            entry = store_read(bits.keyspace.store, &bits.key, True)
        if entry != NULL and entry_type(entry) != TYPE_STRING:
            raise CommandError(WRONG_TYPE)
        bits.found = entry != NULL
        return bits

    cdef const uint8_t *data(self, char *scratch, size_t *n) noexcept:
        """The string's bytes; an int is written into scratch (24 bytes)."""
        cdef Entry *entry = self.keyspace.live_entry(&self.key)
        if entry == NULL:
            n[0] = 0
            return <const uint8_t *>scratch
        return <const uint8_t *>entry_string(entry, scratch, n)

    def __len__(self) -> int:
        cdef char scratch[24]
        cdef size_t n
        self.data(scratch, &n)
        return n

    def count(self, uint64_t first, uint64_t last) -> int:
        """How many bits of a range are set. O(bytes). The range must be in the string."""
        cdef char scratch[24]
        cdef size_t n
        cdef const uint8_t *data = self.data(scratch, &n)
        if first > last or last >> 3 >= n:
            raise IndexError("a range of bits outside of the string")
        return count_bits(data, first, last)

    def find(self, bint bit, uint64_t first, uint64_t last) -> int:
        """The first bit of a range that is set, or clear; -1 without one. O(bytes)"""
        cdef char scratch[24]
        cdef size_t n
        cdef const uint8_t *data = self.data(scratch, &n)
        if first > last or last >> 3 >= n:
            raise IndexError("a range of bits outside of the string")
        return find_bit(data, bit, first, last)

    def get(self, uint64_t offset, int width) -> int:
        """The unsigned integer of `width` (1 to 64) bits at an offset. O(1)"""
        cdef char scratch[24]
        cdef uint8_t window[9]
        cdef size_t n
        cdef const uint8_t *data = self.data(scratch, &n)
        cdef uint64_t byte = offset >> 3
        memset(window, 0, 9)
        if byte < n:
            memcpy(window, data + byte, n - byte if n - byte < 9 else 9)
        return integer_in(window, offset & 7, width)

    def reach(self, uint64_t bit) -> bool:
        """Make the string raw, and long enough for a bit. True: it was created or grew. O(n)"""
        cdef char scratch[24]
        cdef size_t n
        cdef size_t length = (bit >> 3) + 1
        self.data(scratch, &n)
        store_open_string(self.keyspace.store, &self.key, length, self.found)
        grown = not self.found or n < length
        self.found = True
        return grown

    def put(self, uint64_t offset, int width, uint64_t value) -> None:
        """Write an integer of `width` bits. O(1) after `reach`, which made room for it."""
        cdef uint8_t window[9]
        cdef uint64_t byte = offset >> 3
        cdef uint64_t bytes = ((offset & 7) + <uint64_t>width + 7) >> 3
        cdef uint8_t *data = <uint8_t *>store_open_string(
            self.keyspace.store, &self.key, byte + bytes, True)
        memset(window, 0, 9)
        memcpy(window, data + byte, bytes)
        integer_into(window, offset & 7, width, value)
        memcpy(data + byte, window, bytes)
