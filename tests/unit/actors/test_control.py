"""The control link: framing in any pieces, matching of answers, and the end of the peer."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from actors.control import (
    FRAME_BYTES_MAX,
    REQUEST,
    ControlClosed,
    ControlFailure,
    ControlLink,
    FrameError,
    Frames,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
Runner = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Runner:
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    def runner(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as loop:
            loop.run(asyncio.wait_for(coroutine, 10))

    return runner


async def close(*links: ControlLink) -> None:
    """Close both ends, and let the loop finish with them."""
    for link in links:
        link.close()
    for link in links:
        await link.wait_closed()
    await asyncio.sleep(0)


@given(bodies=st.lists(VALUES, max_size=5), cuts=st.lists(st.integers(1, 9), min_size=1))
def test_frames_survive_any_cuts(bodies: list[Any], cuts: list[int]) -> None:
    stream = b"".join(Frames.encode(REQUEST, at, body) for at, body in enumerate(bodies))
    frames, found, at = Frames(), [], 0
    while at < len(stream):
        size = cuts[at % len(cuts)]
        found += frames.feed(stream[at : at + size])
        at += size
    assert found == [(REQUEST, number, body) for number, body in enumerate(bodies)]


def test_a_string_that_is_not_utf8_arrives_as_it_was() -> None:
    text = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert Frames().feed(Frames.encode(REQUEST, 1, text)) == [(REQUEST, 1, text)]


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I", FRAME_BYTES_MAX + 1),
        struct.pack(">I", 1) + b"\xc1",
        struct.pack(">I", 1) + b"\x07",
        struct.pack(">I", 4) + b"\x93\x09\x01\xc0",
    ],
)
def test_a_stream_that_is_no_control_stream_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        Frames().feed(data)


def test_answers_find_their_requests_whatever_their_order(run: Runner) -> None:
    async def scenario() -> None:
        left, right = socket.socketpair()
        gates = [asyncio.Event() for _ in range(3)]

        async def answer(message: dict[str, Any]) -> int:
            await gates[message["n"]].wait()
            return int(message["n"]) * 10

        async with asyncio.TaskGroup() as group:
            asker = await ControlLink.connect(left)
            answerer = await ControlLink.connect(right, answer)
            tasks = [group.create_task(asker.request({"n": n})) for n in range(3)]
            for n in (2, 0, 1):
                gates[n].set()
                assert await tasks[n] == n * 10
        await close(asker, answerer)

    run(scenario())


def test_a_request_fails_with_the_text_of_the_other_side(run: Runner) -> None:
    async def scenario() -> None:
        left, right = socket.socketpair()

        def fail(message: dict[str, Any]) -> None:
            raise LookupError("no such thing")

        asker = await ControlLink.connect(left)
        answerer = await ControlLink.connect(right, fail)
        with pytest.raises(ControlFailure, match="LookupError: no such thing"):
            await asker.request({"op": "x"})
        with pytest.raises(ControlFailure, match="nothing answers"):
            await answerer.request({"op": "x"})
        await close(asker, answerer)

    run(scenario())


def test_requests_end_when_the_peer_is_gone(run: Runner) -> None:
    async def scenario() -> None:
        left, right = socket.socketpair()
        closed = asyncio.Event()
        link = await ControlLink.connect(left, on_close=closed.set)
        waiting = link.start_request({"op": "never answered"})
        right.close()
        await closed.wait()
        with pytest.raises(ControlClosed):
            await waiting
        with pytest.raises(ControlClosed):
            await link.request({"op": "too late"})
        link.notify({"op": "lost"})

    run(scenario())


def test_a_late_answer_is_dropped(run: Runner) -> None:
    async def scenario() -> None:
        left, right = socket.socketpair()
        gate = asyncio.Event()

        async def answer(message: dict[str, Any]) -> str:
            if message["slow"]:
                await gate.wait()
            return "done"

        asker = await ControlLink.connect(left)
        answerer = await ControlLink.connect(right, answer)
        with pytest.raises(TimeoutError):
            await asker.request({"slow": True}, timeout=0.01)
        gate.set()
        assert await asker.request({"slow": False}) == "done"
        await close(asker, answerer)

    run(scenario())
