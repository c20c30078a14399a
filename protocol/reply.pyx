"""The reply sink: how RESP2 and RESP3 replies are written.

Two layers over one Buffer. The `reply_*` functions are for native handlers and create no Python
object; `Reply` is for Python handlers and knows what RESP2 has in place of RESP3's types. Nothing
here reads a reply back or flushes it: the owner of the buffer does.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from protocol.buffer cimport Buffer, buffer_append, buffer_free, buffer_reserve
from protocol.native cimport likely, store64
from protocol.numbers cimport format_double, format_int64

cdef enum:
    NUMBERS = 512               # cached lines; most lengths, counts and small integers
    LINE_BYTES_MAX = 23         # kind, 20 digits, CRLF
    LENGTH_AT = 7
    DOUBLE_BYTES_MAX = 128
    KEPT_BYTES_MAX = 64 * 1024  # a buffer grown beyond this is returned after take()

# numbers[n] is "?n\r\n" with the line's length in the last byte: a header is one load, one store.
cdef uint64_t numbers[NUMBERS]


cdef void fill_numbers() noexcept nogil:
    cdef int n, used
    cdef char *line
    for n in range(NUMBERS):
        line = <char *>&numbers[n]
        used = 1 + format_int64(line + 1, n)
        line[used] = c"\r"
        line[used + 1] = c"\n"
        line[LENGTH_AT] = <char>(used + 2)


fill_numbers()


cdef inline size_t put_line(char *at, char kind, int64_t value) noexcept nogil:
    """Write kind, number, CRLF; `at` has LINE_BYTES_MAX bytes of room. Returns the length."""
    cdef uint64_t line
    cdef int n
    if likely(<uint64_t>value < NUMBERS):
        line = numbers[value]
        store64(at, line)
        n = at[LENGTH_AT]
        at[0] = kind
        return <size_t>n
    at[0] = kind
    n = 1 + format_int64(at + 1, value)
    at[n] = c"\r"
    at[n + 1] = c"\n"
    return <size_t>n + 2


cdef void reply_integer(Buffer *out, int64_t value) noexcept nogil:
    out.used += put_line(buffer_reserve(out, LINE_BYTES_MAX), c":", value)


cdef void reply_header(Buffer *out, char kind, int64_t count) noexcept nogil:
    out.used += put_line(buffer_reserve(out, LINE_BYTES_MAX), kind, count)


cdef void reply_bulk(Buffer *out, const char *data, size_t n) noexcept nogil:
    cdef char *start = buffer_reserve(out, n + LINE_BYTES_MAX + 2)
    cdef char *at = start + put_line(start, c"$", <int64_t>n)
    if n:
        memcpy(at, data, n)
        at += n
    at[0] = c"\r"
    at[1] = c"\n"
    out.used += <size_t>(at + 2 - start)


cdef void reply_bulk_integer(Buffer *out, int64_t value) noexcept nogil:
    cdef char digits[24]
    cdef int n = format_int64(digits, value)
    reply_bulk(out, digits, <size_t>n)


cdef void reply_null(Buffer *out, int resp) noexcept nogil:
    if resp == 2:
        buffer_append(out, b"$-1\r\n", 5)
    else:
        buffer_append(out, b"_\r\n", 3)


cdef void reply_null_array(Buffer *out, int resp) noexcept nogil:
    if resp == 2:
        buffer_append(out, b"*-1\r\n", 5)
    else:
        buffer_append(out, b"_\r\n", 3)


cdef void reply_error(Buffer *out, const char *message, size_t n) noexcept nogil:
    """An error reply; `message` starts with its code word, without the dash.

    A line end inside would end the reply early, so CR and LF become spaces.
    """
    cdef char *at = buffer_reserve(out, n + 3)
    cdef size_t i
    at[0] = c"-"
    for i in range(n):
        at[1 + i] = c" " if message[i] == c"\r" or message[i] == c"\n" else message[i]
    at[n + 1] = c"\r"
    at[n + 2] = c"\n"
    out.used += n + 3


cdef class Reply:
    """A typed sink for one or more replies; RESP2 and RESP3 differ only in here.

    `array`, `map`, `set`, `push` and `attribute` announce how many elements (pairs, for map and
    attribute) the caller writes next. Every method is O(bytes written).
    """

    def __cinit__(self, int resp=2):
        self.own.data = NULL
        self.own.used = 0
        self.own.size = 0
        self.out = &self.own
        self.resp = resp
        self.errors = 0

    def __init__(self, resp: int = 2) -> None:
        pass

    def __dealloc__(self):
        buffer_free(&self.own)

    @property
    def size(self) -> int:
        """Bytes in its buffer, maybe of earlier replies, too; only differences say anything."""
        return self.out.used

    def status(self, bytes text not None) -> None:
        buffer_append(self.out, b"+", 1)
        buffer_append(self.out, <const char *>text, <size_t>len(text))
        buffer_append(self.out, b"\r\n", 2)

    def ok(self) -> None:
        buffer_append(self.out, b"+OK\r\n", 5)

    def error(self, bytes message not None) -> None:
        """An error, without the dash but with its code word: `b"ERR syntax error"`."""
        reply_error(self.out, <const char *>message, <size_t>len(message))
        self.errors += 1

    def integer(self, int64_t value) -> None:
        reply_integer(self.out, value)

    def bulk(self, bytes value not None) -> None:
        reply_bulk(self.out, <const char *>value, <size_t>len(value))

    def bulk_or_null(self, bytes value) -> None:
        if value is None:
            reply_null(self.out, self.resp)
        else:
            reply_bulk(self.out, <const char *>value, <size_t>len(value))

    def null(self) -> None:
        reply_null(self.out, self.resp)

    def null_array(self) -> None:
        """What stands for an absent array: RESP3 has but one null."""
        reply_null_array(self.out, self.resp)

    def array(self, int64_t count) -> None:
        reply_header(self.out, c"*", count)

    def map(self, int64_t count) -> None:
        """`count` pairs follow. In RESP2 they are an array of twice as many elements."""
        if self.resp == 2:
            reply_header(self.out, c"*", count * 2)
        else:
            reply_header(self.out, c"%", count)

    def set(self, int64_t count) -> None:
        reply_header(self.out, c"*" if self.resp == 2 else c"~", count)

    def push(self, int64_t count) -> None:
        """An out-of-band message. In RESP2 it is an array, as subscribers know it."""
        reply_header(self.out, c"*" if self.resp == 2 else c">", count)

    def attribute(self, int64_t count) -> None:
        """`count` pairs about the reply after them. RESP2 has nothing like it: don't ask."""
        assert self.resp == 3, "attributes exist in RESP3 only"
        reply_header(self.out, c"|", count)

    def double(self, double value) -> None:
        cdef char text[DOUBLE_BYTES_MAX]
        cdef size_t n = <size_t>format_double(text, value)
        if self.resp == 2:
            reply_bulk(self.out, text, n)
        else:
            buffer_append(self.out, b",", 1)
            buffer_append(self.out, text, n)
            buffer_append(self.out, b"\r\n", 2)

    def boolean(self, bint value) -> None:
        if self.resp == 2:
            reply_integer(self.out, 1 if value else 0)
        else:
            buffer_append(self.out, b"#t\r\n" if value else b"#f\r\n", 4)

    def big_number(self, bytes value not None) -> None:
        """An integer of any size, by its decimal digits."""
        if self.resp == 2:
            reply_bulk(self.out, <const char *>value, <size_t>len(value))
        else:
            buffer_append(self.out, b"(", 1)
            buffer_append(self.out, <const char *>value, <size_t>len(value))
            buffer_append(self.out, b"\r\n", 2)

    def verbatim(self, bytes text not None, bytes kind not None = b"txt") -> None:
        """Text to be shown as it is; `kind` is its format, three characters."""
        if self.resp == 2:
            reply_bulk(self.out, <const char *>text, <size_t>len(text))
            return
        kind = kind[:3].ljust(3)
        reply_header(self.out, c"=", <int64_t>len(text) + 4)
        buffer_append(self.out, <const char *>kind, 3)
        buffer_append(self.out, b":", 1)
        buffer_append(self.out, <const char *>text, <size_t>len(text))
        buffer_append(self.out, b"\r\n", 2)

    def bulks(self, list values not None) -> None:
        """An array of bulk strings."""
        cdef bytes value
        reply_header(self.out, c"*", len(values))
        for value in values:
            if value is None:
                raise TypeError("an element of bulks() is None")
            reply_bulk(self.out, <const char *>value, <size_t>len(value))

    def raw(self, bytes resp_bytes not None) -> None:
        """Bytes that are RESP already."""
        buffer_append(self.out, <const char *>resp_bytes, <size_t>len(resp_bytes))

    def take(self) -> bytes:
        """All that was written since the last take."""
        cdef bytes written
        if self.out.used == 0:
            return b""
        written = self.out.data[:self.out.used]
        self.out.used = 0
        if self.out == &self.own and self.own.size > KEPT_BYTES_MAX:
            buffer_free(&self.own)
        return written
