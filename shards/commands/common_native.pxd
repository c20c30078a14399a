"""What the native handlers of several families do alike."""

from libc.stdint cimport int64_t, uint32_t

from protocol.buffer cimport Buffer
from shards.lane.handler cimport Arg, Argv, Shard
from shards.keyspace.store cimport Entry, Key

cdef int reply_wrong_type(Buffer *out) noexcept nogil
# Whether so many draws from the first key's collection, with repetition, may make a large reply.
# They are for the Python handler, which has the limits (shards/commands/drawing.py).
cdef bint draws_too_much(Shard *shard, const Argv *argv, int64_t draws) noexcept nogil
# A time to wait that is surely right: short, and in digits. Others are Python's to judge.
cdef bint is_timeout(const Arg *arg) noexcept nogil
# `numkeys key [key ...] WORD [COUNT count]` from `at` on: where WORD is, for the caller to read,
# and the count, 1 without it. False where the Python handler has to find the words for what is
# wrong.
cdef bint numbered_keys(const Argv *argv, uint32_t at, uint32_t *end,
                        int64_t *count) noexcept nogil
# For a change, the first of the keys at..end - 1 that exists; `at` becomes its index. NULL: none.
cdef Entry *first_of(Shard *shard, const Argv *argv, uint32_t *at, uint32_t end,
                     Key *key) noexcept
cdef bint is_word(const Arg *arg, const char *word, size_t n) noexcept nogil
