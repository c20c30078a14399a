"""A key on its way between two shards of one server, as bytes: `pack` and `unpack`.

Unlike DUMP's payload, which is Redis's and made anew by the limits of whoever restores it, a parcel
keeps all that can be seen of a key: expiry, encoding, LRU or LFU field, and the two limits that a
quicklist was made with. It has neither version nor checksum, and nothing in it is compressed for the
way, as it never leaves the machine: Label, then the value in RDB's format. No bytes at all stand for
a key that does not exist.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy, memset

from persistence.decode cimport Decoded, Reader, decode_value, decoded_free
from persistence.encode cimport encode_value, rdb_type
from protocol.buffer cimport Buffer, buffer_append, buffer_free
from shards.keyspace.entry cimport (
    ENCODING_EMBSTR, ENCODING_INT, ENCODING_QUICKLIST, TYPE_STRING, Entry, EntryEncoding, entry_encoding,
    entry_expire_ms, entry_lru, entry_pointer, entry_set_lru, entry_type,
)
from shards.keyspace.keyspace cimport Key, Keyspace
from shards.keyspace.store cimport (
    FORM_RAW, FORM_SHORTEST, FORM_TEXT, REMOVED_EXPIRED, store_delete, store_find, store_is_expired,
    store_remove, store_set_string, store_set_value,
)
from shards.types.quicklist cimport PLAIN_BYTES_MIN, ListRules, Quicklist


cdef packed struct Label:
    int64_t expire_ms           # or EXPIRE_NONE
    uint32_t lru                # the entry's LRU clock or LFU, as it is
    int32_t fill                # of a quicklist
    uint32_t compress_depth     # of a quicklist
    uint8_t type                # RDB's
    uint8_t encoding            # EntryEncoding


def pack(ctx, bytes key not None) -> bytes:
    """A key of the context's database; b"" without it. It does not count as used by that. O(n)"""
    cdef Keyspace keyspace = ctx.keyspace
    cdef Key native = keyspace.key(key, ctx.database)
    cdef Entry *entry = store_find(keyspace.store, &native)
    cdef const Quicklist *quicklist
    cdef Label label
    cdef Buffer out
    if entry == NULL:
        return b""
    if store_is_expired(keyspace.store, entry):
        store_remove(keyspace.store, &native, entry, REMOVED_EXPIRED)
        return b""
    memset(&label, 0, sizeof(label))
    label.expire_ms = entry_expire_ms(entry)
    label.lru = entry_lru(entry)
    label.type = rdb_type(entry)
    label.encoding = <uint8_t>entry_encoding(entry)
    if label.encoding == ENCODING_QUICKLIST:
        quicklist = <const Quicklist *>entry_pointer(entry)
        label.fill = quicklist.fill
        label.compress_depth = quicklist.compress_depth
    memset(&out, 0, sizeof(out))
    buffer_append(&out, &label, sizeof(label))
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
            keyspace.store, &native, <const char *>decoded.text.data, decoded.text.n, label.expire_ms,
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
