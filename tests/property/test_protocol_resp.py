"""The scanner fed in pieces against the scanner fed whole, and against a model in plain Python."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import ProtocolError
from protocol.resp import Scanner

INLINE_BYTES_MAX = 40
BULK_BYTES_MAX = 60

Outcome = tuple[list[list[bytes]], bytes | None, int]


def encode(args: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args)


def run(pieces: list[bytes], unauthenticated: bool = False) -> Outcome:
    """All commands, the error text if there was one, and how many bytes were left."""
    scanner = Scanner(
        bulk_bytes_max=BULK_BYTES_MAX,
        inline_bytes_max=INLINE_BYTES_MAX,
        unauthenticated=unauthenticated,
    )
    commands: list[list[bytes]] = []
    for piece in pieces:
        try:
            commands += scanner.feed(piece)
        except ProtocolError as error:
            return commands + error.commands, error.text, 0
    return commands, None, scanner.pending


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(edges)]


arguments = st.lists(st.binary(max_size=12), min_size=1, max_size=8)
inline = st.lists(st.sampled_from([b"a", b"BC", b"\\x41", b'"d e"', b"''"]), max_size=5).map(
    lambda words: b" ".join(words) + b"\r\n"
)
pipeline = st.lists(
    st.one_of(arguments.map(encode), inline, st.sampled_from([b"*0\r\n", b"*-1\r\n", b"\r\n"])),
    max_size=8,
).map(b"".join)
rubbish = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(b"*1 *2 *3 *11 *-1 *0 *x * $0 $1 $2 $-1 $x $61 $17000 $ $01 *01".split()),
                b"\r",
                b"\n",
                b"\r\n",
                b"\x00",
                b"a",
                b"ab",
                b'"',
                b"'",
                b" ",
                b"x" * 20,
                b"*1\r\n$1\r\na\r\n",
                b"*2\r\n$1\r\na\r\n",
                b"$1\r\na\r\n",
            ]
        ),
        st.binary(max_size=3),
    ),
    max_size=20,
).map(b"".join)
places = st.lists(st.integers(0, 1000), max_size=20)


@settings(deadline=None)
@given(st.lists(arguments, max_size=8), places)
def test_encoded_commands_come_back(commands: list[list[bytes]], at: list[int]) -> None:
    data = b"".join(encode(args) for args in commands)
    assert run(cut(data, at)) == (commands, None, 0)


@settings(deadline=None)
@given(pipeline, places)
def test_any_split_of_a_pipeline_gives_the_same_commands(data: bytes, at: list[int]) -> None:
    whole = run([data])
    assert whole[1:] == (None, 0)
    assert run(cut(data, at)) == whole
    assert run([data[i : i + 1] for i in range(len(data))]) == whole


@settings(max_examples=400, deadline=None)
@given(rubbish, places, st.booleans())
def test_any_split_of_rubbish_gives_the_same_outcome(
    data: bytes, at: list[int], unauthenticated: bool
) -> None:
    whole = run([data], unauthenticated)
    assert run(cut(data, at), unauthenticated) == whole
    assert run([data[i : i + 1] for i in range(len(data))], unauthenticated) == whole


class Model:
    """Reads a whole input, one command after the other, with no state between bytes."""

    def __init__(self, data: bytes, unauthenticated: bool) -> None:
        self.data = data
        self.unauthenticated = unauthenticated

    def line(self, start: int, end: bytes, tail: int, error: bytes) -> int | None:
        """Where the line ends; None: not here yet."""
        found = self.data.find(end, start)
        nul = self.data.find(b"\x00", start)
        if found < 0 or 0 <= nul < found:
            if len(self.data) - start > INLINE_BYTES_MAX:
                raise ProtocolError(b"ERR Protocol error: " + error)
            return None
        if found - start > INLINE_BYTES_MAX:
            raise ProtocolError(b"ERR Protocol error: " + error)
        return found if found + tail <= len(self.data) else None

    def number(self, start: int, end: int, low: int, high: int, what: bytes) -> int:
        text = self.data[start + 1 : end]
        try:
            value = int(text)
        except ValueError:
            value = high + 1
        if str(value).encode() != text or not low <= value <= high:
            raise ProtocolError(b"ERR Protocol error: invalid " + what + b" length")
        return value

    def multibulk(self, start: int) -> tuple[list[bytes], int] | None:
        end = self.line(start, b"\r", 2, b"too big mbulk count string")
        if end is None:
            return None
        count = self.number(start, end, -(2**63), 2**31 - 1, b"multibulk")
        if self.unauthenticated and count > 10:
            raise ProtocolError(b"ERR Protocol error: unauthenticated multibulk length")
        at = end + 2
        args = []
        for _ in range(count):
            end = self.line(at, b"\r", 2, b"too big bulk count string")
            if end is None:
                return None
            if self.data[at] != ord("$"):
                got = self.data[at : at + 1].replace(b"\r", b" ").replace(b"\n", b" ")
                raise ProtocolError(b"ERR Protocol error: expected '$', got '" + got + b"'")
            length = self.number(at, end, 0, BULK_BYTES_MAX, b"bulk")
            at = end + 2
            if len(self.data) < at + length + 2:
                return None
            args.append(self.data[at : at + length])
            at += length + 2
        return args, at

    def outcome(self) -> Outcome:
        commands: list[list[bytes]] = []
        at = 0
        try:
            while at < len(self.data):
                if self.data[at] == ord("*"):
                    found = self.multibulk(at)
                    if found is None:
                        break
                    args, at = found
                else:
                    end = self.line(at, b"\n", 1, b"too big inline request")
                    if end is None:
                        break
                    args = split(self.data[at:end].removesuffix(b"\r"))
                    at = end + 1
                if args:
                    commands.append(args)
        except ProtocolError as error:
            return commands, error.text, 0
        return commands, None, len(self.data) - at


def split(line: bytes) -> list[bytes]:
    """Words without backslashes only: the escapes have their own tests."""
    words = []
    rest = line.lstrip(b" \t\n\v\f\r")
    while rest:
        word = b""
        while rest and rest[:1] not in (b" ", b"\t", b"\n", b"\r"):
            quote = rest[:1]
            if quote in (b'"', b"'"):
                inside, closing, rest = rest[1:].partition(quote)
                word += inside
                if not closing or (rest and rest[:1] not in b" \t\n\v\f\r"):
                    raise ProtocolError(b"ERR Protocol error: unbalanced quotes in request")
                break
            word += quote
            rest = rest[1:]
        words.append(word)
        rest = rest.lstrip(b" \t\n\v\f\r")
    return words


@settings(max_examples=400, deadline=None)
@given(st.one_of(rubbish, pipeline).filter(lambda data: b"\\" not in data), st.booleans())
def test_the_outcome_is_that_of_the_model(data: bytes, unauthenticated: bool) -> None:
    assert run([data], unauthenticated) == Model(data, unauthenticated).outcome()
