"""What the native handlers of several families do alike."""

from libc.stdint cimport int64_t, uint32_t

from protocol.buffer cimport Buffer
from shards.lane.handler cimport Arg, Argv, Shard, Wanted
from shards.keyspace.store cimport Entry, Key

cdef enum:
    NEVER_WAITS = -1            # a deadline: the command does not block

cdef int reply_wrong_type(Buffer *out) noexcept nogil
# Whether so many draws from the first key's collection, with repetition, may make a large reply.
# They are for the Python handler, which has the limits (shards/commands/drawing.py).
cdef bint draws_too_much(Shard *shard, const Argv *argv, int64_t draws) noexcept nogil
# When a time to wait ends, 0 for never, if it is surely right: short, and in digits. Others are
# Python's to judge.
cdef bint read_timeout(const Shard *shard, const Arg *arg, int64_t *deadline_ms) noexcept nogil
# What a handler returns that has found nothing at its keys first..end - 1, if it may wait for them.
cdef int wait_for(Shard *shard, uint32_t first, uint32_t end, Wanted wants,
                  int64_t deadline_ms) noexcept nogil
# `numkeys key [key ...] WORD [COUNT count]` from `at` on: where WORD is, for the caller to read,
# and the count, 1 without it. False where the Python handler has to find the words for what is
# wrong.
cdef bint numbered_keys(const Argv *argv, uint32_t at, uint32_t *end,
                        int64_t *count) noexcept nogil
# For a change, the first of the keys at..end - 1 that exists; `at` becomes its index. NULL: none.
cdef Entry *first_of(Shard *shard, const Argv *argv, uint32_t *at, uint32_t end,
                     Key *key) noexcept
cdef bint is_word(const Arg *arg, const char *word, size_t n) noexcept nogil
