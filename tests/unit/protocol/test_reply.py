"""Every kind of reply, in RESP2 and in RESP3, byte for byte."""

from collections.abc import Callable

import pytest

from protocol.reply import Reply


@pytest.mark.parametrize(
    ("write", "resp2", "resp3"),
    [
        (lambda r: r.status(b"PONG"), b"+PONG\r\n", b"+PONG\r\n"),
        (lambda r: r.ok(), b"+OK\r\n", b"+OK\r\n"),
        (lambda r: r.error(b"ERR no"), b"-ERR no\r\n", b"-ERR no\r\n"),
        (lambda r: r.error(b"ERR a\r\nb\n"), b"-ERR a  b \r\n", b"-ERR a  b \r\n"),
        (lambda r: r.integer(0), b":0\r\n", b":0\r\n"),
        (lambda r: r.integer(-5), b":-5\r\n", b":-5\r\n"),
        (lambda r: r.integer(-(2**63)), b":-9223372036854775808\r\n", b":-9223372036854775808\r\n"),
        (lambda r: r.bulk(b""), b"$0\r\n\r\n", b"$0\r\n\r\n"),
        (lambda r: r.bulk(b"a\r\n\x00"), b"$4\r\na\r\n\x00\r\n", b"$4\r\na\r\n\x00\r\n"),
        (lambda r: r.bulk_or_null(b"a"), b"$1\r\na\r\n", b"$1\r\na\r\n"),
        (lambda r: r.bulk_or_null(None), b"$-1\r\n", b"_\r\n"),
        (lambda r: r.null(), b"$-1\r\n", b"_\r\n"),
        (lambda r: r.null_array(), b"*-1\r\n", b"_\r\n"),
        (lambda r: r.array(3), b"*3\r\n", b"*3\r\n"),
        (lambda r: r.map(3), b"*6\r\n", b"%3\r\n"),
        (lambda r: r.set(3), b"*3\r\n", b"~3\r\n"),
        (lambda r: r.push(3), b"*3\r\n", b">3\r\n"),
        (lambda r: r.double(1.5), b"$3\r\n1.5\r\n", b",1.5\r\n"),
        (lambda r: r.double(float("inf")), b"$3\r\ninf\r\n", b",inf\r\n"),
        (lambda r: r.double(3.0), b"$1\r\n3\r\n", b",3\r\n"),
        (lambda r: r.boolean(True), b":1\r\n", b"#t\r\n"),
        (lambda r: r.boolean(False), b":0\r\n", b"#f\r\n"),
        (
            lambda r: r.big_number(b"12345678901234567890"),
            b"$20\r\n12345678901234567890\r\n",
            b"(12345678901234567890\r\n",
        ),
        (lambda r: r.verbatim(b"hi"), b"$2\r\nhi\r\n", b"=6\r\ntxt:hi\r\n"),
        (lambda r: r.verbatim(b"hi", b"mkd"), b"$2\r\nhi\r\n", b"=6\r\nmkd:hi\r\n"),
        (lambda r: r.verbatim(b"hi", b"x"), b"$2\r\nhi\r\n", b"=6\r\nx  :hi\r\n"),
        (lambda r: r.bulks([]), b"*0\r\n", b"*0\r\n"),
        (
            lambda r: r.bulks([b"a", b""]),
            b"*2\r\n$1\r\na\r\n$0\r\n\r\n",
            b"*2\r\n$1\r\na\r\n$0\r\n\r\n",
        ),
        (lambda r: r.raw(b"*0\r\n"), b"*0\r\n", b"*0\r\n"),
    ],
)
def test_a_reply_is_written_as_redis_writes_it(
    write: Callable[[Reply], None], resp2: bytes, resp3: bytes
) -> None:
    for resp, expected in ((2, resp2), (3, resp3)):
        reply = Reply(resp)
        write(reply)
        assert reply.take() == expected


def test_attributes_exist_in_resp3_only() -> None:
    reply = Reply(3)
    reply.attribute(1)
    assert reply.take() == b"|1\r\n"
    with pytest.raises(AssertionError, match="RESP3"):
        Reply(2).attribute(1)


def test_numbers_around_the_cached_ones_are_written_alike() -> None:
    reply = Reply()
    for value in [*range(-3, 1100), 9999, 10000, 2**31, 2**63 - 1]:
        reply.integer(value)
        assert reply.take() == b":%d\r\n" % value
        if 0 <= value <= 10000:
            reply.bulk(b"x" * value)
            assert reply.take() == b"$%d\r\n%s\r\n" % (value, b"x" * value)


def test_errors_are_counted_until_they_are_zeroed() -> None:
    reply = Reply()
    reply.error(b"ERR one")
    reply.ok()
    reply.error(b"ERR two")
    assert reply.errors == 2
    reply.errors = 0
    reply.error(b"ERR three")
    assert reply.errors == 1


def test_take_empties_the_sink_and_the_sink_goes_on() -> None:
    reply = Reply()
    assert reply.take() == b""
    for size in (10, 100_000, 10):
        reply.bulk(b"x" * size)
        assert reply.take() == b"$%d\r\n%s\r\n" % (size, b"x" * size)
        assert reply.take() == b""


def test_the_protocol_version_can_change_between_replies() -> None:
    reply = Reply()
    reply.null()
    reply.resp = 3
    reply.null()
    assert reply.take() == b"$-1\r\n_\r\n"


@pytest.mark.parametrize(
    "write",
    [
        lambda r: r.bulk(None),
        lambda r: r.bulk("text"),
        lambda r: r.error(None),
        lambda r: r.bulks([b"a", None]),
        lambda r: r.bulks([b"a", 1]),
    ],
)
def test_what_is_not_bytes_is_refused(write: Callable[[Reply], None]) -> None:
    with pytest.raises(TypeError):
        write(Reply())


def test_an_integer_beyond_64_bits_is_refused() -> None:
    with pytest.raises(OverflowError):
        Reply().integer(2**63)
