"""The request scanner: well-formed input, and the table of malformed input.

The table is compared with a live redis-server too, where one is installed. It closes the
connection behind a protocol error, so every row gets a connection of its own.
"""

import socket
import time

import pytest

from protocol.errors import ProtocolError
from protocol.resp import Scanner

K64 = 64 * 1024


def encode(*args: bytes) -> bytes:
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args)


@pytest.mark.parametrize(
    ("data", "commands"),
    [
        (encode(b"PING"), [[b"PING"]]),
        (encode(b"SET", b"k", b"v" * 1000), [[b"SET", b"k", b"v" * 1000]]),
        (encode(b"GET", b""), [[b"GET", b""]]),
        (encode(b"SET", b"\r\n", b"\x00*1\r\n"), [[b"SET", b"\r\n", b"\x00*1\r\n"]]),
        (encode(b"A") + encode(b"B", b"c") + b"PING\r\n", [[b"A"], [b"B", b"c"], [b"PING"]]),
        (b"*0\r\n*-1\r\n*-10\r\n\r\n\n  \r\nPING\n", [[b"PING"]]),
        (encode(*[b"%d" % i for i in range(5000)]), [[b"%d" % i for i in range(5000)]]),
        # What is after a payload, and after the CR of a header, is skipped unseen.
        (b"*1\rX$4\rYPINGZZ", [[b"PING"]]),
        (b"*2\r\n$1\r\na\r\n", []),
        (b"*", []),
        (b"", []),
    ],
)
def test_commands_are_found_in_well_formed_input(data: bytes, commands: list[list[bytes]]) -> None:
    assert Scanner().feed(data) == commands


@pytest.mark.parametrize(
    ("line", "args"),
    [
        (b"PING", [b"PING"]),
        (b"  SET\tk   v  ", [b"SET", b"k", b"v"]),
        (b'SET k "a b"', [b"SET", b"k", b"a b"]),
        (b"SET k 'a b'", [b"SET", b"k", b"a b"]),
        (b'SET k ""', [b"SET", b"k", b""]),
        (b"SET k ''", [b"SET", b"k", b""]),
        (rb'A "\n\r\t\b\a\x41\xfF\"\\\q\x4g"', [b"A", b'\n\r\t\b\aA\xff"\\qx4g']),
        (rb"A 'it\'s \n\x41'", [b"A", rb"it's \n\x41"]),
        (b'A foo"bar baz"', [b"A", b"foobar baz"]),
        (b"A it\\ s", [b"A", b"it\\", b"s"]),
        (b"A \xff\xfe", [b"A", b"\xff\xfe"]),
        (b"A\vB C", [b"A\vB", b"C"]),  # a vertical tab ends no word, it only separates them
        (b"\v\fA", [b"A"]),
        (b'"A"\vB', [b"A", b"B"]),
        (b'A "x"\t', [b"A", b"x"]),
        (b"A\rB", [b"A", b"B"]),
        (b"A\\x41", [b"A\\x41"]),
    ],
)
def test_inline_requests_are_split_as_redis_splits_them(line: bytes, args: list[bytes]) -> None:
    scanner = Scanner()
    assert scanner.feed(line + b"\r\n") == [args]
    assert scanner.encoded_inline == encode(*args)
    assert Scanner().feed(line + b"\n") == [args]


def test_the_limits_themselves_are_allowed() -> None:
    assert Scanner().feed(b"A" * K64 + b"\n") == [[b"A" * K64]]
    assert Scanner(bulk_bytes_max=5).feed(encode(b"12345")) == [[b"12345"]]
    args = [b"x" * 16384] * 10
    assert Scanner(unauthenticated=True).feed(encode(*args)) == [args]
    assert Scanner().feed(b"*2147483647\r\n") == []


MALFORMED = [
    (b"*x\r\n", b"invalid multibulk length"),
    (b"*\r\n", b"invalid multibulk length"),
    (b"*+1\r\n", b"invalid multibulk length"),
    (b"*01\r\n", b"invalid multibulk length"),
    (b"*1 \r\n", b"invalid multibulk length"),
    (b"*-0\r\n", b"invalid multibulk length"),
    (b"*2147483648\r\n", b"invalid multibulk length"),
    (b"*99999999999999999999\r\n", b"invalid multibulk length"),
    (b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", b"expected '$', got 'f'"),
    (b"*1\r\nfoo\r\n", b"expected '$', got 'f'"),
    (b"*1\r\n\r\n", b"expected '$', got ' '"),
    (b"*1\r\n\n\r\n", b"expected '$', got ' '"),
    (b"*1\r\n*1\r\n", b"expected '$', got '*'"),
    (b"*1\r\n\xff\r\n", b"expected '$', got '\xff'"),
    (b"*1\r\n$-1\r\n", b"invalid bulk length"),
    (b"*1\r\n$\r\n", b"invalid bulk length"),
    (b"*1\r\n$x\r\n", b"invalid bulk length"),
    (b"*1\r\n$01\r\n", b"invalid bulk length"),
    (b"*1\r\n$4 \r\n", b"invalid bulk length"),
    (b"*1\r\n$536870913\r\n", b"invalid bulk length"),
    (b"*1\r\n$9223372036854775807\r\n", b"invalid bulk length"),
    (b"*1\r\n$9223372036854775808\r\n", b"invalid bulk length"),
    (b"*2\r\n$4\r\nPING\r\n$2000000000\r\n", b"invalid bulk length"),
    (b"*" + b"1" * (K64 + 20000), b"too big mbulk count string"),
    (b"*\x00\r\n" + b"A" * (K64 + 20000), b"too big mbulk count string"),
    (b"*3\r\n$" + b"1" * (K64 + 20000), b"too big bulk count string"),
    (b"*3\r\n$\x00\r\n" + b"A" * (K64 + 20000), b"too big bulk count string"),
    (b"A" * (K64 + 20000), b"too big inline request"),
    (b"\x00\r\n" + b"A" * (K64 + 20000), b"too big inline request"),
    (b'SET k "a\r\n', b"unbalanced quotes in request"),
    (b"SET k 'a\r\n", b"unbalanced quotes in request"),
    (b'SET k "a"b\r\n', b"unbalanced quotes in request"),
    (b"SET k 'a'b\r\n", b"unbalanced quotes in request"),
    (b'SET k "a\\\r\n', b"unbalanced quotes in request"),
    (b"\"\"''\r\n", b"unbalanced quotes in request"),
]
UNAUTHENTICATED = [
    (b"*11\r\n", b"unauthenticated multibulk length"),
    (b"*2147483647\r\n", b"unauthenticated multibulk length"),
    (b"*2147483648\r\n", b"invalid multibulk length"),
    (b"*1\r\n$16385\r\n", b"unauthenticated bulk length"),
    (b"*1\r\n$536870912\r\n", b"unauthenticated bulk length"),
    (b"*1\r\n$536870913\r\n", b"invalid bulk length"),
]


def feed_in_steps(scanner: Scanner, data: bytes, step: int) -> None:
    for start in range(0, len(data), step):
        assert scanner.feed(data[start : start + step]) == []


def name(data: bytes) -> str:
    return repr(data[:24])


@pytest.mark.parametrize("step", [1 << 20, 1000, 7])
@pytest.mark.parametrize(("data", "text"), MALFORMED, ids=[name(data) for data, _ in MALFORMED])
def test_malformed_input_is_refused_with_redis_own_text(
    data: bytes, text: bytes, step: int
) -> None:
    scanner = Scanner()
    assert scanner.feed(encode(b"PING")) == [[b"PING"]]
    with pytest.raises(ProtocolError) as raised:
        feed_in_steps(scanner, data, step)
    assert raised.value.text == b"ERR Protocol error: " + text
    with pytest.raises(ProtocolError):
        scanner.feed(encode(b"PING"))


@pytest.mark.parametrize(("data", "text"), UNAUTHENTICATED)
def test_clients_before_auth_have_smaller_limits(data: bytes, text: bytes) -> None:
    with pytest.raises(ProtocolError) as raised:
        Scanner(unauthenticated=True).feed(data)
    assert raised.value.text == b"ERR Protocol error: " + text


def test_an_error_hands_over_the_commands_before_it() -> None:
    with pytest.raises(ProtocolError) as raised:
        Scanner().feed(encode(b"PING") + b"ECHO hi\r\n*1\r\n:\r\n")
    assert raised.value.commands == [[b"PING"], [b"ECHO", b"hi"]]
    assert raised.value.text == b"ERR Protocol error: expected '$', got ':'"


def test_nothing_is_allocated_by_an_announced_count() -> None:
    scanner = Scanner()
    assert scanner.feed(b"*1000000000\r\n$4\r\nMSET\r\n") == []
    assert scanner.spans_size <= 64
    for _ in range(100):
        assert scanner.feed(b"$1\r\na\r\n") == []
    assert scanner.spans_size <= 64
    assert scanner.pending == 13 + 10 + 100 * 7


def test_spans_of_a_huge_command_are_returned() -> None:
    scanner = Scanner()
    args = [b"a"] * 200_000
    assert scanner.feed(encode(*args)) == [args]
    assert scanner.feed(encode(b"PING")) == [[b"PING"]]
    assert scanner.spans_size == 64


@pytest.mark.parametrize("head", [b"*", b"*1\r\n$", b""])
def test_a_line_may_be_as_long_as_the_limit_and_no_longer(head: bytes) -> None:
    line = head.rpartition(b"\n")[2]
    fits = head + b"1" * (10 - len(line))
    assert Scanner(inline_bytes_max=10).feed(fits) == []
    for piece in (b"1", b"11\r\n", b"1\r\n", b"\x00"):
        scanner = Scanner(inline_bytes_max=10)
        assert scanner.feed(fits) == []
        with pytest.raises(ProtocolError, match="too big"):
            scanner.feed(piece)


def test_progress_tells_how_far_a_command_was_read() -> None:
    scanner = Scanner()
    steps = [
        (b"*3\r", {"validated": 2, "args_left": 0, "argc": 0}),
        (b"\n", {"validated": 4, "args_left": 3, "argc": 0, "bulk_left": -1}),
        (b"$3\r\nS", {"validated": 9, "args_left": 3, "argc": 0, "bulk_left": 4}),
        (b"ET\r", {"validated": 12, "args_left": 3, "argc": 0, "bulk_left": 1}),
        (b"\n$1", {"validated": 15, "args_left": 2, "argc": 1, "bulk_left": -3}),
        (b"\r\nk\r\n$1\r\nv", {"validated": 25, "args_left": 1, "argc": 2, "bulk_left": 2}),
        (b"\r\nPI", {"validated": 2}),
        (b"NG\n", {"validated": 0, "args_left": 0, "argc": 0, "bulk_left": 0}),
    ]
    for data, fields in steps:
        scanner.feed(data)
        assert scanner.half_read | fields == scanner.half_read


def test_wanted_is_what_is_left_of_the_bulk() -> None:
    scanner = Scanner()
    scanner.feed(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\nxxx")
    assert scanner.wanted == 999
    scanner.feed(b"x" * 990)
    assert scanner.wanted == 9
    scanner.feed(b"*" * 7 + b"\r")
    assert scanner.wanted == 1
    assert scanner.feed(b"\n") == [[b"SET", b"k", b"x" * 993 + b"*" * 7]]


@pytest.mark.parametrize(
    ("head", "piece", "pieces", "tail"),
    [
        (b"*1\r\n$20000000\r\n", b"x" * 100, 200_000, b"\r\n"),
        (b"*200001\r\n", b"$0\r\n\r\n", 200_000, b"$0\r\n\r\n"),
        (b"", b"A", 65_000, b"\n"),
    ],
)
def test_small_pieces_take_linear_time(head: bytes, piece: bytes, pieces: int, tail: bytes) -> None:
    """A scanner that looked at old bytes again would need minutes here."""
    scanner = Scanner()
    began = time.process_time()
    scanner.feed(head)
    for _ in range(pieces):
        assert not scanner.feed(piece)
    assert len(scanner.feed(tail)) == 1
    assert time.process_time() - began < 20


def first_line(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            connection.sendall(data)
            line = b""
            while not line.endswith(b"\n"):
                received = connection.recv(4096)
                if not received:
                    break
                line += received
        except ConnectionError:
            return b""
        return line


@pytest.mark.parametrize(("data", "text"), MALFORMED, ids=[name(data) for data, _ in MALFORMED])
def test_the_texts_are_those_of_the_server(redis_port: int, data: bytes, text: bytes) -> None:
    assert first_line(redis_port, data) == b"-ERR Protocol error: " + text + b"\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b'ECHO "a b"',
        rb'ECHO "\n\r\t\b\a\x41\xfF\"\\\q\x4g"',
        rb"ECHO 'it\'s \n\x41'",
        b'ECHO foo"bar baz"',
        b"ECHO it\\",
        b"ECHO A\vB",
        b'"ECHO"\vB',
        b"ECHO A\rB",
        b"*1\rX$4\rYPINGZZ",
    ],
)
def test_the_server_splits_inline_requests_alike(redis_port: int, line: bytes) -> None:
    args = Scanner().feed(line + b"\r\n")[0]
    with socket.create_connection(("127.0.0.1", redis_port), timeout=10) as connection:
        answers = []
        for request in (line + b"\r\n", encode(*args)):
            connection.sendall(request + b"PING end\r\n")
            answer = b""
            while not answer.endswith(b"$3\r\nend\r\n"):
                answer += connection.recv(4096)
            answers.append(answer)
    assert answers[0] == answers[1]
