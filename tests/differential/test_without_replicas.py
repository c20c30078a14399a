"""What clients and tools send at their start, to a server without modules, replicas and a log."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.resp_client import RespClient
from tests.support.servers import Oracle

CALLS = (
    *(
        "MODULE LIST",
        "MODULE LIST x",
        "MODULE",
        "MODULE NOSUCH",
        "MODULE LOAD x",
        "MODULE UNLOAD x",
    ),
    *("MODULE LOADEX x", "MODULE LOAD", "ROLE x", "LASTSAVE x", "LOLWUT VERSION x"),
    *("WAIT 0 0", "WAIT -1 0", "WAIT 1 10", "WAIT x 0", "WAIT 0 x", "WAIT 0 -1"),
    *("WAIT 0", "WAIT x x"),
)
SINCE_7_2 = {
    "WAITAOF 0 0 0": b"*2\r\n:0\r\n:0\r\n",
    "WAITAOF 0 1 10": b"*2\r\n:0\r\n:0\r\n",
    "WAITAOF 1 0 0": (
        b"-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n"
    ),
    "WAITAOF 2 0 0": b"-ERR value is out of range, value must between 0 and 1\r\n",
    "WAITAOF -1 0 0": b"-ERR value is out of range, value must between 0 and 1\r\n",
    "WAITAOF x 0 0": b"-ERR value is not an integer or out of range\r\n",
    "WAITAOF 0 x 0": b"-ERR value is out of range, must be positive\r\n",
    "WAITAOF 0 0 -1": b"-ERR timeout is negative\r\n",
}
Connect = Callable[..., RespClient]


@pytest.mark.parametrize("resp", [2, 3])
def test_they_get_what_redis_answers(connect: Connect, oracle: Oracle, resp: int) -> None:
    client = connect(resp)
    with oracle.client() as theirs:
        theirs.call("HELLO", resp)
        for call in CALLS:
            words = call.split()
            assert client.call(*words) == theirs.call(*words), call


def test_what_is_a_server_s_own(connect: Connect) -> None:
    client = connect()
    # A redis-server that has had a replica counts on.
    assert client.call("ROLE") == b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
    assert client.call("LASTSAVE").startswith(b":17")
    assert client.call("LOLWUT") == b"$17\r\nRedis ver. 7.2.6\n\r\n"


@pytest.mark.parametrize(("call", "reply"), SINCE_7_2.items())
def test_logs_are_waited_for_as_in_7_2(connect: Connect, call: str, reply: bytes) -> None:
    """redis-server 7.0 does not know it; the replies are those of 7.2.6."""
    assert connect().call(*call.split()) == reply
