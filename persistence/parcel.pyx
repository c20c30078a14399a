"""A key on its way between two shards of one server, as bytes: `lend`, and `Parcel` where it goes.

Unlike DUMP's payload, which is Redis's and made anew by the limits of whoever restores it, a parcel
keeps all that can be seen of a key: expiry, encoding, LRU or LFU field, and the two limits that a
quicklist was made with. It has neither version nor checksum, and nothing in it is compressed for
the way, as it never leaves the machine: Label, then the value in RDB's format. No bytes at all
stand for a key that does not exist.

A large one goes in pieces, so that nobody waits for all of it: those of a long string are copied
straight from its value, and to where they stay. All other values are packed and unpacked whole.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from persistence.decode cimport Decoded, Reader, decode_value, decoded_free, read_length
from persistence.encode cimport RDB_STRING, encode_length, encode_value, rdb_type
from protocol.buffer cimport Buffer, buffer_append, buffer_free
from shards.keyspace.entry cimport (
    ENCODING_EMBSTR, ENCODING_INT, ENCODING_QUICKLIST, TYPE_STRING, Entry, EntryEncoding,
    entry_blob, entry_encoding, entry_expire_ms, entry_lru, entry_pointer, entry_set_lru,
    entry_type,
)
from shards.keyspace.keyspace cimport Key, Keyspace
from shards.keyspace.store cimport (
    FORM_RAW, FORM_SHORTEST, FORM_TEXT, REMOVED_EXPIRED, store_delete, store_find, store_is_expired,
    store_remove, store_set_blob, store_set_string, store_set_value,
)
from shards.memory.blob cimport Blob, blob_new, blob_release
from shards.types.quicklist cimport PLAIN_BYTES_MIN, ListRules, Quicklist


cdef packed struct Label:
    int64_t expire_ms           # or EXPIRE_NONE
    uint32_t lru                # the entry's LRU clock or LFU, as it is
    int32_t fill                # of a quicklist
    uint32_t compress_depth     # of a quicklist
    uint8_t type                # RDB's
    uint8_t encoding            # EntryEncoding

cdef enum:
    WHOLE_BYTES_MAX = 65536     # a smaller parcel goes at once, and a smaller string is no blob
    PIECE_BYTES = 256 << 10


cdef void start(Buffer *out, const Entry *entry) noexcept:
    """The label of a parcel, which it begins with."""
    cdef const Quicklist *quicklist
    cdef Label label
    memset(&label, 0, sizeof(label))
    label.expire_ms = entry_expire_ms(entry)
    label.lru = entry_lru(entry)
    label.type = rdb_type(entry)
    label.encoding = <uint8_t>entry_encoding(entry)
    if label.encoding == ENCODING_QUICKLIST:
        quicklist = <const Quicklist *>entry_pointer(entry)
        label.fill = quicklist.fill
        label.compress_depth = quicklist.compress_depth
    buffer_append(out, &label, sizeof(label))


cdef void start_long(Buffer *out, const Entry *entry) noexcept:
    """All of a long string's parcel but its bytes."""
    start(out, entry)
    encode_length(out, entry_blob(entry).length)


def lend(ctx, bytes key not None):
    """The parcel of a key, or the number of its bytes, for `piece`. O(n); O(1) for a long string"""
    cdef Keyspace keyspace = ctx.keyspace
    cdef Key native = keyspace.key(key, ctx.database)
    cdef Entry *entry = store_find(keyspace.store, &native)
    cdef Buffer out
    if entry != NULL and not store_is_expired(keyspace.store, entry) and is_long(entry):
        memset(&out, 0, sizeof(out))
        start_long(&out, entry)
        size = out.used + entry_blob(entry).length
        buffer_free(&out)
        return size
    parcel = pack(ctx, key)
    if len(parcel) <= WHOLE_BYTES_MAX:
        return parcel
    ctx.transaction.lent[key] = parcel
    return len(parcel)


def piece(ctx, bytes key not None, size_t offset) -> bytes:
    """What a parcel has from there on, as much as goes in one piece. O(that)"""
    cdef Keyspace keyspace = ctx.keyspace
    cdef Key native
    cdef Entry *entry
    cdef const Blob *blob
    cdef size_t n
    cdef Buffer out
    parcel = ctx.transaction.lent.get(key)
    if parcel is not None:
        if offset + PIECE_BYTES >= <size_t>len(parcel):
            del ctx.transaction.lent[key]
        return parcel[offset : offset + PIECE_BYTES]
    native = keyspace.key(key, ctx.database)
    entry = store_find(keyspace.store, &native)
    assert entry != NULL and is_long(entry), "a lent key is locked"
    blob = entry_blob(entry)
    memset(&out, 0, sizeof(out))
    try:
        start_long(&out, entry)
        if offset:
            assert out.used <= offset <= out.used + blob.length
            offset -= out.used
            n = min(blob.length - offset, <size_t>PIECE_BYTES)
            return PyBytes_FromStringAndSize(blob.data + offset, n)
        n = min(blob.length, <size_t>PIECE_BYTES - out.used)
        buffer_append(&out, blob.data, n)
        return PyBytes_FromStringAndSize(out.data, out.used)
    finally:
        buffer_free(&out)


cdef inline bint is_long(const Entry *entry) noexcept:
    """Whether it is a string whose bytes are a blob."""
    return (
        entry_type(entry) == TYPE_STRING and entry_blob(entry) != NULL
        and entry_blob(entry).length > WHOLE_BYTES_MAX
    )


@cython.final
cdef class Parcel:
    """A parcel that comes in pieces, until it is put under a key."""

    cdef list pieces            # of all but a long string
    cdef Blob *blob             # of a long string; owned
    cdef size_t filled          # of its bytes
    cdef Label label            # of a long string

    def __cinit__(self):
        self.pieces = []

    def __dealloc__(self):
        if self.blob != NULL:
            blob_release(self.blob)

    def add(self, bytes piece not None):
        """Take the next piece. O(its bytes)"""
        cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(piece)
        cdef size_t n = PyBytes_GET_SIZE(piece)
        cdef Reader reader
        cdef uint64_t length = 0
        if self.blob == NULL:
            if not self.pieces and n > WHOLE_BYTES_MAX and (<const Label *>data).type == RDB_STRING:
                memset(&reader, 0, sizeof(reader))
                reader.p = data + sizeof(Label)
                reader.end = data + n
                length = read_length(&reader)
            if length <= WHOLE_BYTES_MAX:
                self.pieces.append(piece)
                return
            memcpy(&self.label, data, sizeof(Label))
            self.blob = blob_new(length, 0, False)
            n = reader.end - reader.p
            data = reader.p
        assert n <= self.blob.length - self.filled, "another shard sent more than it said"
        memcpy(<char *>self.blob.data + self.filled, data, n)
        self.filled += n

    def put(self, ctx, bytes key not None):
        """Make a key of the context's database what was packed. Once. O(n); a long string O(1)"""
        cdef Keyspace keyspace = ctx.keyspace
        cdef Key native
        cdef Blob *blob = self.blob
        if blob == NULL:
            unpack(ctx, key, b"".join(self.pieces))
            return
        assert self.filled == blob.length, "another shard sent less than it said"
        native = keyspace.key(key, ctx.database)
        self.blob = NULL
        entry_set_lru(
            store_set_blob(keyspace.store, &native, blob, self.label.expire_ms), self.label.lru
        )


def pack(ctx, bytes key not None) -> bytes:
    """A key of the context's database; b"" without it. It does not count as used by that. O(n)"""
    cdef Keyspace keyspace = ctx.keyspace
    cdef Key native = keyspace.key(key, ctx.database)
    cdef Entry *entry = store_find(keyspace.store, &native)
    cdef Buffer out
    if entry == NULL:
        return b""
    if store_is_expired(keyspace.store, entry):
        if not keyspace.store.quiet:
            store_remove(keyspace.store, &native, entry, REMOVED_EXPIRED)
        return b""
    memset(&out, 0, sizeof(out))
    start(&out, entry)
    encode_value(&out, entry, False)
    try:
        return PyBytes_FromStringAndSize(out.data, out.used)
    finally:
        buffer_free(&out)


def unpack(ctx, bytes key not None, bytes parcel not None) -> None:
    """Make a key of the context's database what `pack` was given elsewhere. O(n)"""
    cdef Keyspace keyspace = ctx.keyspace
    cdef Key native = keyspace.key(key, ctx.database)
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(parcel)
    cdef size_t n = PyBytes_GET_SIZE(parcel)
    cdef Label label
    cdef ListRules rules
    cdef Reader reader
    cdef Decoded decoded
    cdef Entry *entry
    if n == 0:
        store_delete(keyspace.store, &native)
        return
    assert n > sizeof(label), "another shard sent a parcel without a value"
    memcpy(&label, data, sizeof(label))
    rules.fill = label.fill
    rules.compress_depth = label.compress_depth
    rules.plain_bytes_min = PLAIN_BYTES_MIN
    reader.p = data + sizeof(label)
    reader.end = data + n
    reader.failed = False
    reader.exact = True
    reader.rules = &rules if label.encoding == ENCODING_QUICKLIST else NULL
    if not decode_value(keyspace.store, native.database, label.type, &reader, &decoded):
        raise AssertionError("another shard sent a broken value")
    if decoded.type == TYPE_STRING:
        entry = store_set_string(
            keyspace.store, &native,
            <const char *>decoded.text.data, decoded.text.n, label.expire_ms,
            FORM_SHORTEST if label.encoding == ENCODING_INT
            else FORM_TEXT if label.encoding == ENCODING_EMBSTR else FORM_RAW)
        decoded_free(keyspace.store, native.database, &decoded)
    else:
        assert decoded.encoding == label.encoding
        entry = store_set_value(
            keyspace.store, &native, decoded.type, decoded.encoding, decoded.value, label.expire_ms)
    entry_set_lru(entry, label.lru)


def usage(ctx, bytes key not None) -> int:
    """A key's LRU clock or LFU, as its entry has it; -1 without the key. O(1)"""
    cdef Keyspace keyspace = ctx.keyspace
    cdef Key native = keyspace.key(key, ctx.database)
    cdef Entry *entry = keyspace.live_entry(&native)
    return <int64_t>-1 if entry == NULL else <int64_t>entry_lru(entry)


def set_usage(ctx, bytes key not None, uint32_t lru) -> None:
    """Give a key, if it exists, what `usage` has said elsewhere. O(1)"""
    cdef Keyspace keyspace = ctx.keyspace
    cdef Key native = keyspace.key(key, ctx.database)
    cdef Entry *entry = keyspace.live_entry(&native)
    if entry != NULL:
        entry_set_lru(entry, lru)
