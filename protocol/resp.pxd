"""The RESP request scanner: finds command boundaries in raw input, resumable at any byte.

Contract
1. `scan` looks at `data[0:n]`, which starts at a command boundary, and never writes or keeps it.
2. SCAN_COMMAND: one whole command; `state.length` bytes long, `state.argc` arguments, whose
   offsets and lengths are in `state.spans[0:argc]`. A multibulk of 0 or -1 and an empty inline
   line give argc 0 and are skipped by the caller.
   For an inline command `state.inline_` holds the command re-encoded as a RESP array, and the
   spans refer to that buffer; `state.length` is still the input consumed.
3. SCAN_MORE: the command is incomplete. The state remembers how far it has validated, so the next
   call with the same start and more bytes goes on from there: linear in the input, whatever the
   splits. `state.wanted` is the least number of further bytes that can complete it (0: unknown).
4. SCAN_ERROR: `state.error` is the text Redis sends (without "-"), after which the
   connection is closed.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from protocol.buffer cimport Buffer

cdef enum ScanResult:
    SCAN_COMMAND = 0
    SCAN_MORE = 1
    SCAN_ERROR = 2

cdef struct Span:
    size_t offset       # from the start of the command
    size_t length

cdef struct Limits:
    int64_t bulk_bytes_max          # proto-max-bulk-len
    int64_t inline_bytes_max        # 64 KiB in Redis
    int64_t unauthenticated         # bint: the limits for clients before AUTH (10 args, 16 KiB)

cdef struct Progress:
    # What a connection must remember of a half-read command; zero at a command boundary.
    size_t validated        # bytes from the command's start that need no second look
    int64_t args_left       # bulks not yet complete; valid when validated > 0
    # -1: a bulk header is expected next; else bytes of payload to come, CRLF included
    int64_t bulk_left
    uint32_t argc

cdef struct Scan:
    # Scratch of one scanner, shared by all connections of a process.
    Span *spans             # owned, spans_size entries
    size_t spans_size
    uint32_t argc
    size_t length
    size_t wanted
    bint is_inline
    Buffer inline_          # owned
    char error[128]
    size_t error_length

cdef void scan_init(Scan *state) noexcept nogil
cdef void scan_free(Scan *state) noexcept nogil
cdef ScanResult scan(Scan *state, Progress *progress, const Limits *limits,
                     const char *data, size_t n) noexcept nogil
