"""DUMP's payload: type, value, version (2 bytes) and checksum (8) of one key."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memset

from persistence.crc64 cimport crc64
from persistence.decode cimport Decoded, Reader, decode_value, decoded_free
from persistence.encode cimport RDB_VERSION, encode_value, rdb_type
from protocol.buffer cimport Buffer, buffer_append, buffer_free
from protocol.native cimport load16, load64
from shards.keyspace.entry cimport TYPE_STRING, Entry, entry_expire_ms
from shards.keyspace.keyspace cimport Key, Keyspace
from shards.keyspace.store cimport (
    FORM_SHORTEST, store_read, store_set_string, store_set_usage, store_set_value,
)

cdef enum:
    FOOTER_BYTES = 10


def dump(ctx, bytes key not None, database=None) -> bytes | None:
    """A key's value with version and checksum, as DUMP gives it; None without the key. O(n)"""
    cdef Keyspace keyspace = ctx.keyspace
    cdef Key native = keyspace.key(key, ctx.database if database is None else database)
    cdef Entry *entry = store_read(keyspace.store, &native, True)
    return payload(entry, ctx.settings.rdbcompression) if entry != NULL else None


def as_restore(ctx, bytes key not None, database=None) -> list[bytes]:
    """What gives a key its value and expiry anywhere: a RESTORE, or a DEL without the key. O(n)

    No look is counted.
    """
    cdef Keyspace keyspace = ctx.keyspace
    cdef Key native = keyspace.key(key, ctx.database if database is None else database)
    cdef Entry *entry = keyspace.live_entry(&native)
    if entry == NULL:
        return [b"DEL", key]
    return [
        b"RESTORE", key, b"%d" % max(entry_expire_ms(entry), 0),
        payload(entry, ctx.settings.rdbcompression), b"REPLACE", b"ABSTTL",
    ]


cdef bytes payload(const Entry *entry, bint compressed):
    cdef Buffer out
    cdef uint8_t type = rdb_type(entry)
    cdef uint16_t version = RDB_VERSION
    cdef uint64_t checksum
    memset(&out, 0, sizeof(out))
    buffer_append(&out, &type, 1)
    encode_value(&out, entry, compressed)
    buffer_append(&out, &version, 2)
    checksum = crc64(0, out.data, out.used)
    buffer_append(&out, &checksum, 8)
    try:
        return PyBytes_FromStringAndSize(out.data, out.used)
    finally:
        buffer_free(&out)


def is_intact(bytes payload not None) -> bool:
    """Whether version and checksum of a dump are right."""
    cdef const char *data = PyBytes_AS_STRING(payload)
    cdef size_t n = PyBytes_GET_SIZE(payload)
    if n < FOOTER_BYTES or load16(data + n - FOOTER_BYTES) > RDB_VERSION:
        return False
    return crc64(0, data, n - 8) == load64(data + n - 8)


@cython.final
cdef class Restored:
    """A value out of a dump, not yet a key's."""

    cdef Keyspace keyspace
    cdef bytes name
    cdef bytes payload          # what a string may lie in
    cdef Key key                # its data is `name`
    cdef Decoded decoded
    cdef bint waits             # it is not a key's yet

    def __dealloc__(self):
        if self.waits:
            decoded_free(self.keyspace.store, self.key.database, &self.decoded)

    def put(self, int64_t expire_ms=-1, int64_t idle_seconds=-1, int frequency=-1) -> None:
        """Make it the key's value, whatever was there. Once."""
        cdef Entry *entry
        assert self.waits
        self.waits = False
        if self.decoded.type == TYPE_STRING:
            entry = store_set_string(
                self.keyspace.store, &self.key, <const char *>self.decoded.text.data,
                self.decoded.text.n, expire_ms, FORM_SHORTEST)
            decoded_free(self.keyspace.store, self.key.database, &self.decoded)
        else:
            entry = store_set_value(
                self.keyspace.store, &self.key, self.decoded.type, self.decoded.encoding,
                self.decoded.value, expire_ms)
        store_set_usage(self.keyspace.store, entry, idle_seconds, frequency)


def restore(ctx, bytes key not None, bytes payload not None, database=None) -> Restored | None:
    """What an intact dump holds, encoded as the limits ask for; None if it is broken. O(n)"""
    cdef Restored restored = Restored.__new__(Restored)
    cdef Reader reader
    cdef const uint8_t *data
    cdef size_t n = PyBytes_GET_SIZE(payload)
    restored.keyspace = ctx.keyspace
    restored.name = key
    restored.payload = payload
    restored.key = restored.keyspace.key(key, ctx.database if database is None else database)
    if n <= FOOTER_BYTES:
        return None
    data = <const uint8_t *>PyBytes_AS_STRING(payload)
    reader.p = data + 1
    reader.end = data + n - FOOTER_BYTES
    reader.failed = False
    reader.exact = False
    reader.rules = NULL
    if not decode_value(restored.keyspace.store, restored.key.database, data[0], &reader,
                        &restored.decoded):
        return None
    restored.waits = True
    return restored
