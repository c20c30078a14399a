"""The RESP request scanner: command boundaries and argument spans in raw input.

How a command is read:
    whole in the buffer     one pass over its headers fills the spans; payloads are skipped
    in pieces               each call goes on at `Progress.validated`, without spans (they are
                            shared by all connections); when the last piece is there, one more
                            pass over the headers fills them
so every header is read at most twice and no payload byte at all, however the input is split.
Nothing is allocated by a number from the wire: spans grow with the arguments that are there.

Two quirks of redis-server are kept, as clients meet them (tests/unit/protocol/test_resp.py):
* A line with a NUL in it never ends; it is refused when it has grown too long.
* The bytes after a CR, and those after a payload, are skipped unseen.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcpy, memmove, memset, strlen

from protocol.buffer cimport Buffer, buffer_append, buffer_consume, buffer_free, buffer_reserve
from protocol.errors import ProtocolError
from protocol.native cimport likely, out_of_memory, unlikely
from protocol.numbers cimport format_int64, parse_int64

cdef enum:
    SPANS_MIN = 64
    SPANS_KEPT_MAX = 65536              # a larger array is returned before the next command
    ARGUMENTS_MAX = 2147483647
    UNAUTHENTICATED_ARGUMENTS_MAX = 10
    UNAUTHENTICATED_BULK_BYTES_MAX = 16384
    FAST_DIGITS_MAX = 9                 # headers with more digits take the slow path

cdef enum Line:
    LINE_WHOLE
    LINE_MORE
    LINE_TOO_LONG


cdef void scan_init(Scan *state) noexcept nogil:
    memset(state, 0, sizeof(Scan))


cdef void scan_free(Scan *state) noexcept nogil:
    free(state.spans)
    buffer_free(&state.inline_)
    memset(state, 0, sizeof(Scan))


cdef void resize_spans(Scan *state, size_t size) noexcept nogil:
    cdef Span *spans = <Span *>realloc(state.spans, size * sizeof(Span))
    if spans == NULL:
        out_of_memory(size * sizeof(Span))
    state.spans = spans
    state.spans_size = size


cdef ScanResult fail(Scan *state, Progress *progress, const char *text) noexcept nogil:
    cdef size_t n = strlen(text)
    memset(progress, 0, sizeof(Progress))
    memcpy(state.error, text, n)
    state.error_length = n
    return SCAN_ERROR


cdef inline const char *find(const char *data, size_t first, size_t n, int byte) noexcept nogil:
    """Where `byte` is, or else the first NUL before it, or NULL."""
    cdef const char *found = <const char *>memchr(data + first, byte, n - first)
    cdef size_t end = <size_t>(found - data) if found != NULL else n
    cdef const char *nul = <const char *>memchr(data + first, 0, end - first)
    return nul if nul != NULL else found


cdef Line find_line(const char *data, size_t start, size_t first, size_t n, size_t length_max,
                    size_t *end) noexcept nogil:
    """Find the CR that ends the header at `start`, looking from `first` on.

    LINE_WHOLE: `end` is its CR and the byte after it is there too. LINE_MORE: `end` is where to
    look on when more bytes have come; at a NUL that stays so.
    """
    cdef const char *found = find(data, first, n, c"\r")
    end[0] = <size_t>(found - data) if found != NULL else n
    if found != NULL and found[0] == c"\r":
        if end[0] - start > length_max:
            return LINE_TOO_LONG
        return LINE_WHOLE if end[0] + 1 < n else LINE_MORE
    return LINE_TOO_LONG if n - start > length_max else LINE_MORE


cdef inline bint fast_header(const char *data, size_t n, size_t *at, int64_t *value) noexcept nogil:
    """Read the number of an ordinary header and move after its line. False: look closer."""
    cdef const char *p = data + at[0] + 1
    cdef const char *end = data + n
    cdef const char *first = p
    cdef uint32_t digit
    cdef int64_t number
    if unlikely(end - p < 3):
        return False
    number = <uint32_t>(<unsigned char>p[0]) - <uint32_t>c"0"
    if unlikely(<uint32_t>number > 9):
        return False
    p += 1
    if p[0] != c"\r":
        if number == 0:
            return False                # a leading zero is no number
        while True:
            digit = <uint32_t>(<unsigned char>p[0]) - <uint32_t>c"0"
            if digit > 9:
                break
            number = number * 10 + digit
            p += 1
            if unlikely(p == end or p - first > FAST_DIGITS_MAX):
                return False
        if unlikely(p[0] != c"\r" or end - p < 2):
            return False
    value[0] = number
    at[0] = <size_t>(p + 2 - data)
    return True


cdef ScanResult expected_bulk(Scan *state, Progress *progress, char got) noexcept nogil:
    fail(state, progress, b"ERR Protocol error: expected '$', got ' '")
    if got != c"\r" and got != c"\n":
        state.error[state.error_length - 2] = got
    return SCAN_ERROR


cdef ScanResult scan_multibulk(Scan *state, Progress *progress, const Limits *limits,
                               const char *data, size_t n, bint keep) noexcept nogil:
    """Scan a RESP array, from its start (`keep`: fill the spans) or where `progress` stands."""
    cdef size_t line_max = <size_t>limits.inline_bytes_max
    cdef int64_t bulk_max = min(limits.bulk_bytes_max, INT64_MAX - 2)
    cdef int64_t cap = bulk_max
    cdef size_t at = 0
    cdef size_t first = 0               # where the search for a header's end goes on
    cdef size_t end
    cdef int64_t left = 0
    cdef int64_t length
    cdef uint32_t argc = 0
    cdef Line line

    if limits.unauthenticated:
        cap = min(cap, UNAUTHENTICATED_BULK_BYTES_MAX)
    if progress.validated:
        at = progress.validated
        first = at
        left = progress.args_left
        argc = progress.argc
        if left == 0:
            at = 0                      # still in the line with the count
        elif progress.bulk_left < 0:
            at -= <size_t>(-1 - progress.bulk_left)
        elif n - at < <size_t>progress.bulk_left:
            progress.bulk_left -= <int64_t>(n - at)
            progress.validated = n
            state.wanted = <size_t>progress.bulk_left
            return SCAN_MORE
        else:
            at += <size_t>progress.bulk_left
            first = at
            left -= 1
            argc += 1
            if left == 0:
                state.length = at
                state.argc = argc
                return SCAN_COMMAND

    if left == 0:
        if unlikely(first or not fast_header(data, n, &at, &left)):
            line = find_line(data, 0, first, n, line_max, &end)
            if line == LINE_TOO_LONG:
                return fail(state, progress, b"ERR Protocol error: too big mbulk count string")
            if line == LINE_MORE:
                progress.validated = end
                progress.args_left = 0
                state.wanted = 0
                return SCAN_MORE
            if not parse_int64(data + 1, end - 1, &left) or left > ARGUMENTS_MAX:
                return fail(state, progress, b"ERR Protocol error: invalid multibulk length")
            at = end + 2
        if limits.unauthenticated and left > UNAUTHENTICATED_ARGUMENTS_MAX:
            return fail(state, progress, b"ERR Protocol error: unauthenticated multibulk length")
        first = at

    while left > 0:
        if unlikely(at >= n or data[at] != c"$" or first != at
                    or not fast_header(data, n, &at, &length)):
            line = find_line(data, at, first, n, line_max, &end)
            if line == LINE_TOO_LONG:
                return fail(state, progress, b"ERR Protocol error: too big bulk count string")
            if line == LINE_MORE:
                progress.validated = end
                progress.args_left = left
                progress.bulk_left = -1 - <int64_t>(end - at)
                progress.argc = argc
                state.wanted = 0
                return SCAN_MORE
            if data[at] != c"$":
                return expected_bulk(state, progress, data[at])
            if not parse_int64(data + at + 1, end - at - 1, &length):
                length = -1
            at = end + 2
        if unlikely(length < 0 or length > cap):
            if length < 0 or length > bulk_max:
                return fail(state, progress, b"ERR Protocol error: invalid bulk length")
            return fail(state, progress, b"ERR Protocol error: unauthenticated bulk length")
        if unlikely(n - at < <size_t>length + 2):
            progress.validated = n
            progress.args_left = left
            progress.bulk_left = length + 2 - <int64_t>(n - at)
            progress.argc = argc
            state.wanted = <size_t>progress.bulk_left
            return SCAN_MORE
        if keep:
            if unlikely(argc == state.spans_size):
                resize_spans(state, state.spans_size * 2)
            state.spans[argc].offset = at
            state.spans[argc].length = <size_t>length
        argc += 1
        left -= 1
        at += <size_t>length + 2
        first = at

    state.length = at
    state.argc = argc
    return SCAN_COMMAND


cdef inline bint is_space(char c) noexcept nogil:
    return c == c" " or (c >= c"\t" and c <= c"\r")


cdef inline int hex_digit(char c) noexcept nogil:
    if c >= c"0" and c <= c"9":
        return c - c"0"
    if c >= c"a" and c <= c"f":
        return c - c"a" + 10
    if c >= c"A" and c <= c"F":
        return c - c"A" + 10
    return -1


cdef inline char unescape(char c) noexcept nogil:
    if c == c"n":
        return c"\n"
    if c == c"r":
        return c"\r"
    if c == c"t":
        return c"\t"
    if c == c"b":
        return c"\b"
    if c == c"a":
        return c"\a"
    return c


cdef bint split_line(Scan *state, const char *line, size_t n) noexcept nogil:
    """Split an inline request into arguments: their bytes into `inline_`, one after the other.

    Words end at white space. "..." understands \\n \\r \\t \\b \\a \\xHH and takes any other
    escaped byte as it is; '...' knows only \\'. A quote may open inside a word, but what it closes
    is the end of that word. False: the quotes are unbalanced.
    """
    cdef size_t i = 0
    cdef size_t used = 0
    cdef size_t start
    cdef char quote
    cdef char c
    cdef char *out
    state.inline_.used = 0
    out = buffer_reserve(&state.inline_, n + 1)     # an argument is never longer than its source
    state.argc = 0
    while True:
        while i < n and is_space(line[i]):
            i += 1
        if i == n:
            break
        start = used
        quote = 0
        while i < n:
            c = line[i]
            i += 1
            if quote == 0:
                if c == c" " or c == c"\n" or c == c"\r" or c == c"\t":
                    break
                if c == c'"' or c == c"'":
                    quote = c
                    continue
            elif c == quote:
                if i < n and not is_space(line[i]):
                    return False
                quote = 0
                break
            elif c == c"\\" and i < n:
                if quote == c"'":
                    if line[i] == c"'":
                        c = line[i]
                        i += 1
                elif (line[i] == c"x" and n - i > 2 and hex_digit(line[i + 1]) >= 0
                        and hex_digit(line[i + 2]) >= 0):
                    c = <char>(hex_digit(line[i + 1]) * 16 + hex_digit(line[i + 2]))
                    i += 3
                else:
                    c = unescape(line[i])
                    i += 1
            out[used] = c
            used += 1
        if quote:
            return False
        if state.argc == state.spans_size:
            resize_spans(state, state.spans_size * 2)
        state.spans[state.argc].offset = start
        state.spans[state.argc].length = used - start
        state.argc += 1
    state.inline_.used = used
    return True


cdef inline size_t put_header(char *at, char kind, size_t value) noexcept nogil:
    cdef size_t n = 1 + <size_t>format_int64(at + 1, <int64_t>value)
    at[0] = kind
    at[n] = c"\r"
    at[n + 1] = c"\n"
    return n + 2


cdef void encode_inline(Scan *state) noexcept nogil:
    """Turn the arguments in `inline_` into a RESP array, with the spans pointing into it."""
    cdef size_t plain = state.inline_.used
    cdef size_t used
    cdef size_t length
    cdef uint32_t i
    cdef char *out = buffer_reserve(&state.inline_, plain + (<size_t>state.argc + 1) * 32)
    used = put_header(out, c"*", state.argc)
    for i in range(state.argc):
        length = state.spans[i].length
        used += put_header(out + used, c"$", length)
        if length:
            memcpy(out + used, state.inline_.data + state.spans[i].offset, length)
        state.spans[i].offset = used
        out[used + length] = c"\r"
        out[used + length + 1] = c"\n"
        used += length + 2
    memmove(state.inline_.data, out, used)
    state.inline_.used = used


cdef ScanResult scan_inline(Scan *state, Progress *progress, const Limits *limits,
                            const char *data, size_t n) noexcept nogil:
    cdef const char *found = find(data, progress.validated, n, c"\n")
    cdef size_t end = <size_t>(found - data) if found != NULL else n
    cdef bint whole = found != NULL and found[0] == c"\n"
    if (end if whole else n) > <size_t>limits.inline_bytes_max:
        return fail(state, progress, b"ERR Protocol error: too big inline request")
    if not whole:
        progress.validated = end        # stays at a NUL: such a line never ends
        state.wanted = 0
        return SCAN_MORE
    memset(progress, 0, sizeof(Progress))
    state.is_inline = True
    state.length = end + 1
    if end and data[end - 1] == c"\r":
        end -= 1
    if not split_line(state, data, end):
        return fail(state, progress, b"ERR Protocol error: unbalanced quotes in request")
    if state.argc:
        encode_inline(state)
    return SCAN_COMMAND


cdef ScanResult scan(Scan *state, Progress *progress, const Limits *limits, const char *data,
                     size_t n) noexcept nogil:
    """See resp.pxd. O(arguments) for a whole multibulk command, O(length) for an inline one."""
    cdef ScanResult result
    cdef Limits unlimited
    if unlikely(n == 0):
        state.wanted = 0
        return SCAN_MORE
    if unlikely(state.spans_size - SPANS_MIN > SPANS_KEPT_MAX - SPANS_MIN):     # none yet, or many
        resize_spans(state, SPANS_MIN)
    if unlikely(data[0] != c"*"):
        return scan_inline(state, progress, limits, data, n)
    state.is_inline = False
    if likely(progress.validated == 0):
        return scan_multibulk(state, progress, limits, data, n, True)
    result = scan_multibulk(state, progress, limits, data, n, False)
    if result == SCAN_COMMAND:
        # Checked already, piece by piece; the limits may have been lowered since.
        memset(progress, 0, sizeof(Progress))
        unlimited.bulk_bytes_max = INT64_MAX
        unlimited.inline_bytes_max = INT64_MAX
        unlimited.unauthenticated = 0
        result = scan_multibulk(state, progress, &unlimited, data, state.length, True)
    return result


cdef class Scanner:
    """The scanner for Python: a buffer, and the commands that become whole in it."""

    cdef Scan state
    cdef Progress progress
    cdef Limits limits
    cdef Buffer input_
    cdef object error

    def __cinit__(self, **limits):
        scan_init(&self.state)
        memset(&self.progress, 0, sizeof(Progress))
        memset(&self.limits, 0, sizeof(Limits))
        memset(&self.input_, 0, sizeof(Buffer))
        self.error = None

    def __init__(
        self,
        *,
        bulk_bytes_max: int = 512 * 1024 * 1024,
        inline_bytes_max: int = 64 * 1024,
        unauthenticated: bool = False,
    ) -> None:
        self.limits.bulk_bytes_max = bulk_bytes_max
        self.limits.inline_bytes_max = inline_bytes_max
        self.limits.unauthenticated = unauthenticated

    def __dealloc__(self):
        scan_free(&self.state)
        buffer_free(&self.input_)

    def feed(self, bytes data not None) -> list:
        """The commands that `data` completes, empty ones left out. O(bytes) over all calls.

        Raises ProtocolError, whose `commands` are those before the fault, and goes on raising it.
        """
        cdef size_t consumed = 0
        cdef ScanResult result
        cdef list commands = []
        if self.error is not None:
            raise ProtocolError(self.error)
        buffer_append(&self.input_, <const char *>data, <size_t>len(data))
        while True:
            result = scan(&self.state, &self.progress, &self.limits, self.input_.data + consumed,
                          self.input_.used - consumed)
            if result != SCAN_COMMAND:
                break
            if self.state.argc:
                commands.append(self.arguments(self.input_.data + consumed))
            consumed += self.state.length
        buffer_consume(&self.input_, consumed)
        if result == SCAN_ERROR:
            self.error = self.state.error[:self.state.error_length]
            raise ProtocolError(self.error, commands)
        return commands

    cdef list arguments(self, const char *command):
        cdef uint32_t i
        cdef Span *span
        cdef list found = []
        if self.state.is_inline:
            command = self.state.inline_.data
        for i in range(self.state.argc):
            span = &self.state.spans[i]
            found.append(command[span.offset:span.offset + span.length])
        return found

    @property
    def pending(self) -> int:
        """Bytes of a command that is not whole yet."""
        return self.input_.used

    @property
    def wanted(self) -> int:
        """At least so many more bytes are needed for the next command; 0: not known."""
        return self.state.wanted

    @property
    def half_read(self) -> dict[str, int]:
        """What is remembered of a command that is not whole yet: the fields of Progress."""
        return self.progress

    @property
    def spans_size(self) -> int:
        """Arguments there is room for."""
        return self.state.spans_size

    @property
    def encoded_inline(self) -> bytes:
        """The last inline command as a RESP array."""
        return self.state.inline_.data[:self.state.inline_.used]
