"""The control link: length-framed msgpack over a socket pair, requests matched with answers.

    frame   = length (4 bytes, big endian, of what follows) message
    message = msgpack [kind, number, body]

A request has a number, and its answer bears the same; a notification has the number 0 and no
answer. Two pieces: `Frames` is the stream without I/O, `ControlLink` serves an asyncio loop.

Everything else (batches of commands) goes over ZeroMQ: the control link works before, after and
without it, and its end-of-file is how a process learns that its peer has died.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import msgpack

FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
"""The largest message: statistics of many commands fit a thousand times; more is a fault."""
READ_BYTES: Final = 256 * 1024

REQUEST: Final = 0
ANSWER: Final = 1
FAILURE: Final = 2
NOTICE: Final = 3

_LENGTH: Final = struct.Struct(">I")
_log = logging.getLogger("shardis")

Message = dict[str, Any]
OnRequest = Callable[[Message], "Any | Awaitable[Any]"]


class ControlClosed(ConnectionError):
    """The other process is gone; the request may or may not have been seen."""


class ControlFailure(Exception):
    """The other process could not answer a request; the text is its exception's."""


class FrameError(ValueError):
    """The stream is not a control stream (or a message exceeds FRAME_BYTES_MAX)."""


class Frames:
    """The framing, without I/O: bytes in any pieces in, messages out."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @staticmethod
    def encode(kind: int, number: int, body: Any) -> bytes:
        """One frame. Raises FrameError when the message is too long."""
        payload: bytes = msgpack.packb(
            (kind, number, body), use_bin_type=True, unicode_errors="surrogateescape"
        )
        if len(payload) > FRAME_BYTES_MAX:
            raise FrameError(f"a control message of {len(payload)} bytes")
        return _LENGTH.pack(len(payload)) + payload

    def feed(self, data: bytes | bytearray | memoryview) -> list[tuple[int, int, Any]]:
        """The messages that are complete with these bytes. O(bytes). Raises FrameError."""
        buffer = self._buffer
        buffer += data
        messages: list[tuple[int, int, Any]] = []
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if length > FRAME_BYTES_MAX:
                raise FrameError(f"a control frame of {length} bytes")
            end = start + _LENGTH.size + length
            if len(buffer) < end:
                break
            messages.append(_decode(bytes(buffer[start + _LENGTH.size : end])))
            start = end
        del buffer[:start]
        return messages


def _decode(payload: bytes) -> tuple[int, int, Any]:
    try:
        message = msgpack.unpackb(
            payload, raw=False, strict_map_key=False, unicode_errors="surrogateescape"
        )
    except Exception as error:
        raise FrameError("a control frame is not msgpack") from error
    match message:
        case [int(kind), int(number), body] if REQUEST <= kind <= NOTICE:
            return kind, number, body
    raise FrameError("a control frame is not a message")


class ControlLink(asyncio.Protocol):
    """One end of a control link on an asyncio loop (the standard one or uvloop).

    `on_request` gets what the other end sends, requests and notifications alike; what it
    returns (or its awaitable yields) is the answer. Requests are begun in their order;
    asynchronous ones overlap. `on_close` is called once, when the other end is gone.
    """

    def __init__(
        self, on_request: OnRequest | None = None, on_close: Callable[[], None] | None = None
    ) -> None:
        self._on_request = on_request
        self._on_close = on_close
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._ended = asyncio.Event()

    @classmethod
    async def connect(
        cls,
        end: socket.socket,
        on_request: OnRequest | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> ControlLink:
        """Take over one end of a socket pair; the link owns it from now on."""
        end.setblocking(False)
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(lambda: cls(on_request, on_close), sock=end)
        return link

    @property
    def closed(self) -> bool:
        return self._closed

    def start_request(self, message: Message) -> asyncio.Future[Any]:
        """Send a request now; the future has its answer, ControlFailure or ControlClosed."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._closed or self._transport is None:
            future.set_exception(ControlClosed("the control link is closed"))
            future.exception()  # no complaint when nobody looks at it
            return future
        self._number += 1
        number = self._number
        self._transport.write(Frames.encode(REQUEST, number, message))
        self._waiting[number] = future
        future.add_done_callback(lambda _: self._waiting.pop(number, None))
        return future

    async def request(self, message: Message, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """The answer to a request. Raises ControlClosed, ControlFailure, TimeoutError."""
        async with asyncio.timeout(timeout):
            return await self.start_request(message)

    def notify(self, message: Message) -> None:
        """Send what needs no answer; lost without a sound when the other end is gone."""
        if not self._closed and self._transport is not None:
            self._transport.write(Frames.encode(NOTICE, 0, message))

    def close(self) -> None:
        """Close the link; `on_close` follows."""
        if self._transport is not None:
            self._transport.close()

    async def wait_closed(self) -> None:
        """Wait until the link is closed, by either end."""
        await self._ended.wait()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not instances of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._frames.feed(data)
        except FrameError:
            _log.exception("The control link is broken")
            assert self._transport is not None
            self._transport.abort()
            return
        for kind, number, body in messages:
            self._receive(kind, number, body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._ended.set()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(ControlClosed("the other process is gone"))
                future.exception()  # a request nobody awaits any more is no error
        for task in self._tasks:
            task.cancel()
        if self._on_close is not None:
            self._on_close()

    def _receive(self, kind: int, number: int, body: Any) -> None:
        if kind in (ANSWER, FAILURE):
            future = self._waiting.pop(number, None)
            if future is None or future.done():
                return  # its asker has given up
            if kind == ANSWER:
                future.set_result(body)
            else:
                future.set_exception(ControlFailure(str(body)))
            return
        if self._on_request is None:
            if kind == REQUEST:
                self._send(FAILURE, number, "nothing answers requests here")
            return
        try:
            result = self._on_request(body)
        except Exception as error:
            self._fail(kind, number, body, error)
            return
        if inspect.isawaitable(result):
            task = asyncio.ensure_future(self._finish(kind, number, body, result))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif kind == REQUEST:
            self._send(ANSWER, number, result)

    async def _finish(self, kind: int, number: int, body: Any, result: Awaitable[Any]) -> None:
        try:
            answer = await result
        except Exception as error:
            self._fail(kind, number, body, error)
        else:
            if kind == REQUEST:
                self._send(ANSWER, number, answer)

    def _fail(self, kind: int, number: int, body: Any, error: Exception) -> None:
        operation = body.get("op") if isinstance(body, dict) else None
        if isinstance(error, ControlClosed):
            _log.debug("Control request %r ended: %s", operation, error)
        else:
            _log.error("Control request %r failed", operation, exc_info=error)
        if kind == REQUEST:
            self._send(FAILURE, number, f"{type(error).__name__}: {error}")

    def _send(self, kind: int, number: int, body: Any) -> None:
        if self._closed or self._transport is None:
            return
        self._transport.write(Frames.encode(kind, number, body))
