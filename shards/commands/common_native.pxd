"""What the native handlers of several families do alike."""

from libc.stdint cimport int64_t

from protocol.buffer cimport Buffer
from shards.executor cimport Arg, Argv, Shard

cdef int reply_wrong_type(Buffer *out) noexcept nogil
# Whether so many draws from the first key's collection, with repetition, may make a large reply. They
# are for the Python handler, which has the limits (shards/commands/drawing.py) and keeps to them.
cdef bint draws_too_much(Shard *shard, const Argv *argv, int64_t draws) noexcept nogil
# A time to wait that is surely right: short, and in digits. Others are Python's to judge.
cdef bint is_timeout(const Arg *arg) noexcept nogil
cdef bint is_word(const Arg *arg, const char *word, size_t n) noexcept nogil
