"""Values read from Redis's RDB formats, old ones included: bytes that anybody may have made.

Contract
1. Nothing is read outside of the reader's bytes. No length is believed: what is allocated is
   limited by the bytes that are there.
2. What is decoded is sound in depth, as all structures take for granted: every listpack is walked,
   members and fields are unique, scores are numbers, entries of streams ascend.
3. False means that the value is broken, or empty where Redis keeps none; nothing of it stays.
4. The encoding is the one that the limits ask for, as in Redis, unless the reader is `exact`.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shards.keyspace.store cimport Store
from shards.types.kinds cimport EntryEncoding, EntryType
from shards.types.quicklist cimport ListRules


cdef struct Reader:
    const uint8_t *p
    const uint8_t *end
    bint failed                 # something was missing, or wrong; nothing more is read
    bint exact                  # keep the encoding that was written, whatever the limits ask for
    const ListRules *rules      # exact, and of a quicklist: what it was made with; else NULL

cdef struct Text:               # a string
    const uint8_t *data         # in the reader's bytes, `owned` or `digits`
    size_t n
    uint8_t *owned              # or NULL; freed by text_free
    char digits[24]

cdef struct Decoded:
    EntryType type
    EntryEncoding encoding      # of a collection
    void *value                 # of a collection: in the pool of the database it was decoded for
    Text text                   # of a string

cdef uint64_t read_length(Reader *reader) noexcept nogil
cdef bint read_string(Reader *reader, Text *text) noexcept nogil    # False: failed, nothing to free
cdef void text_free(Text *text) noexcept nogil                      # more than once does no harm
cdef bint decode_value(Store *store, uint32_t database, uint8_t type, Reader *reader,
                       Decoded *decoded) noexcept
# Free what was not taken over.
cdef void decoded_free(Store *store, uint32_t database, Decoded *decoded) noexcept
