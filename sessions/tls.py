"""TLS connections of one process: the second driver of sessions, on the event loop's transports.

    accepted -> handshake -> Session | ciphertext -> BIO -> plaintext -> session.push_from
                                     | session.take_output -> plaintext -> BIO -> transport

The TLS state machine runs between two memory BIOs, so that this driver, and not the loop's TLS
transport, decides when to read, when to stop and how to end: a client that has closed its sending
side still gets its replies, and no buffer here grows with what a client sends or does not read.

Bounds, for each connection
    received, not yet decrypted   one read (READ_BYTES), as reading pauses after it
    decrypted, not yet executed   the session's own (HELD_INPUT_BYTES_MAX), as for plain connections
    encrypted, not yet sent       one chunk (CHUNK_BYTES); the rest stays in the session's output
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final, Protocol, cast

from sessions.admission import Admission
from sessions.dispatcher import Dispatcher
from sessions.reactor import Reactor
from sessions.session import Session

READ_BYTES: Final = 65536
CHUNK_BYTES: Final = 65536
FLUSH_BYTES_MAX: Final = 1 << 20
"""Encrypted for one client before others have their turn."""
HANDSHAKE_SECONDS_MAX: Final = 10.0
HANDSHAKE_SLICE_SECONDS: Final = 0.002
"""Handshakes computed before clients that are connected have their turn."""
CLOSE_SECONDS_MAX: Final = 5.0
"""How long the last bytes of a closed connection may take to be sent."""

logger = logging.getLogger("shardis")


class TlsHost(Protocol):
    """The process around the connections."""

    loop: asyncio.AbstractEventLoop
    reactor: Reactor
    admission: Admission

    def schedule_flush(self) -> None:
        """Have the reactor send what sessions were fed."""

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> object:
        """Run a coroutine beside everything else."""


class TlsDriver:
    """All TLS connections of a process. New ones get `context` as it is then."""

    def __init__(self, host: TlsHost, dispatcher: Dispatcher) -> None:
        self.host = host
        self.dispatcher = dispatcher
        self.context: ssl.SSLContext | None = None
        self.failed_handshakes = 0
        self.received = memoryview(bytearray(READ_BYTES))  # shared: emptied before the next read
        self.plain = memoryview(bytearray(READ_BYTES))
        self._shaking: deque[TlsConnection] = deque()

    def take(self, connection: socket.socket, peer: Any) -> None:
        """A connection was accepted. Raises OSError for a peer that has gone."""
        if self.context is None or self.host.admission.admit(connection) is not None:
            # Nothing can be said before the handshake, which a refused client is not worth.
            connection.close()
            return
        self.host.spawn(self._open(connection, peer, self.context))

    async def _open(self, connection: socket.socket, peer: Any, context: ssl.SSLContext) -> None:
        opened = TlsConnection(self, connection, peer, context)
        try:
            await self.host.loop.connect_accepted_socket(lambda: opened, connection)
        except OSError:
            connection.close()
            opened.connection_lost(None)

    def queue_handshake(self, connection: TlsConnection) -> None:
        """Go on with this handshake when it has its turn."""
        if not self._shaking:
            self.host.loop.call_soon(self._shake)
        self._shaking.append(connection)

    def _shake(self) -> None:
        until = time.monotonic() + HANDSHAKE_SLICE_SECONDS
        while self._shaking:
            self._shaking.popleft().shake()
            if time.monotonic() > until:
                break
        if self._shaking:
            self.host.loop.call_soon(self._shake)


class TlsConnection(asyncio.BufferedProtocol):
    """One connection, from accept to its end."""

    __slots__ = (
        "_addresses",
        "_closed",
        "_driver",
        "_ended",
        "_incoming",
        "_outgoing",
        "_peer",
        "_reading",
        "_socket",
        "_timer",
        "_tls",
        "_transport",
        "_writing",
        "session",
    )

    def __init__(
        self, driver: TlsDriver, connection: socket.socket, peer: Any, context: ssl.SSLContext
    ) -> None:
        self.session: Session | None = None
        self._driver = driver
        self._socket: socket.socket | None = connection
        self._peer = peer
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = context.wrap_bio(
            self._incoming, self._outgoing, server_side=True
        )
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = driver.host.loop.call_later(
            HANDSHAKE_SECONDS_MAX, self._fail, "the handshake took too long"
        )
        self._reading = True
        self._writing = True  # the transport takes more
        self._ended = False  # the peer has closed its sending side
        self._closed = False

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not instances of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        # Paused whenever the kernel takes no more: not a byte more than one chunk waits here.
        self._transport.set_write_buffer_limits(0)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._driver.received

    def buffer_updated(self, nbytes: int) -> None:
        if self._closed:
            return
        self._incoming.write(self._driver.received[:nbytes])
        if self.session is None:
            self._pause()  # until these bytes have had their turn
            self._driver.queue_handshake(self)
        else:
            self._read()

    def eof_received(self) -> bool:
        if self._closed:
            return False
        # The BIO is not told: OpenSSL would say no more to a client that left without a farewell.
        self._ended = True
        if self.session is None:
            self._driver.queue_handshake(self)
        else:
            self._read()
        return True  # replies may follow

    def pause_writing(self) -> None:
        self._writing = False

    def resume_writing(self) -> None:
        self._writing = True
        if self.session is not None:
            self._write()
            self._driver.host.schedule_flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._closed:
            return
        self._forget()

    # Driver of a session

    def flush_session(self, session: Session) -> None:
        """The session has output, or may go on."""
        if not session.close_over_limit():
            self._write()

    def close_session(self, session: Session) -> None:
        """Close at once, with whatever is unsent."""
        self._abort()

    # Handshake

    def shake(self) -> None:
        """Do what can be done of the handshake with what has arrived."""
        if self._closed or self.session is not None:
            return
        assert self._tls is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            if self._send() and not self._ended:
                self._resume()
            elif self._ended:
                self._fail("the connection ended during the handshake")
            return
        except (OSError, ValueError) as error:
            self._send()  # an alert says why
            self._fail(str(error))
            return
        self._establish()

    def _establish(self) -> None:
        host = self._driver.host
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        connection = self._socket
        assert connection is not None
        refusal = host.admission.refusal(connection, self._peer)
        if refusal is not None:
            self._encrypt(refusal)
            self._close()
            return
        try:
            client_id, address, local_address = host.admission.register(
                connection, self._peer, "tls"
            )
        except OSError:
            self._abort()
            return
        # The transport owns the descriptor; only its addresses were of interest.
        self._socket = None
        session = self._driver.dispatcher.open_session(client_id)
        session.address = address
        session.local_address = local_address
        session.transport = "tls"
        session.driver = self
        self.session = session
        if self._send():
            self._resume()
            self._read()  # the first command may have come with the handshake

    def _fail(self, reason: str) -> None:
        """Give the handshake up."""
        if self._closed:
            return
        self._driver.failed_handshakes += 1
        logger.warning(
            "Error accepting a client connection: %s (addr=%s laddr=%s)",
            reason,
            _shown(self._peer),
            _shown(self._transport.get_extra_info("sockname") if self._transport else None),
        )
        self._close()

    # Bytes

    def _read(self) -> None:
        """Decrypt what has arrived and give it to the session, as far as it wants more."""
        session, tls, driver = self.session, self._tls, self._driver
        assert session is not None
        assert tls is not None
        reactor = driver.host.reactor
        read: Any = tls.read  # into a buffer it gives a number, which its declaration does not know
        while not self._closed:
            if not session.wants_input:
                self._pause()
                break
            try:
                count: int = read(READ_BYTES, driver.plain)
            except ssl.SSLWantReadError:
                if not self._ended:
                    self._resume()
                    break
                count = 0
            except OSError:
                self._abort()
                return
            if not count:
                session.end_input()
                self._pause()
                break
            reactor.reads += 1
            reactor.input_bytes += count
            session.push_from(driver.plain[:count])
        if not self._closed:
            self._send()  # answers of the protocol itself, to a change of keys for one
            if session.ended:
                self._close()
                return
        driver.host.schedule_flush()

    def _write(self) -> None:
        """Send what the session has, until the transport is full; then see what it waits for."""
        session, left = self.session, FLUSH_BYTES_MAX
        assert session is not None
        reactor = self._driver.host.reactor
        while self._writing and not self._closed:
            if left <= 0:
                self._driver.host.loop.call_soon(self.resume_writing)
                return
            data = session.take_output(CHUNK_BYTES)
            if not data:
                break
            left -= len(data)
            reactor.writes += 1
            reactor.output_bytes += len(data)
            if not self._encrypt(data):
                return
        if self._closed:
            return
        if session.ended and self._writing:
            self._close()
        elif not self._reading and session.wants_input:
            self._read()

    def _encrypt(self, data: bytes) -> bool:
        """Send plaintext; False when the connection has gone."""
        assert self._tls is not None
        view = memoryview(data)
        try:
            while view:
                view = view[self._tls.write(view) :]
        except OSError:
            self._abort()
            return False
        return self._send()

    def _send(self) -> bool:
        """Give the transport what TLS has to say; False when the connection has gone."""
        if self._outgoing.pending and self._transport is not None and not self._closed:
            self._transport.write(self._outgoing.read())
        return not self._closed

    def _pause(self) -> None:
        if self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and not self._ended and self._transport is not None:
            self._reading = True
            self._transport.resume_reading()

    # End

    def _close(self) -> None:
        """Say farewell and close, after what is being sent."""
        transport, tls = self._transport, self._tls
        if self._closed or transport is None or tls is None:
            return
        # The farewell waits for no answer, and without a handshake there is none to say.
        with contextlib.suppress(OSError, ValueError):
            tls.unwrap()
        self._send()
        self._forget()
        unsent = transport.get_write_buffer_size()
        transport.close()
        if unsent:
            self._driver.host.loop.call_later(CLOSE_SECONDS_MAX, transport.abort)

    def _abort(self) -> None:
        transport = self._transport
        if self._closed:
            return
        self._forget()
        if transport is not None:
            transport.abort()

    def _forget(self) -> None:
        """The connection counts no more. Cycles end here: this process seldom collects them."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport = self._tls = self._socket = None
        session, self.session = self.session, None
        if session is None:
            self._driver.host.admission.release()
        else:
            session.closed_by_driver()
            session.driver = None


def _shown(address: Any) -> str:
    if not address:
        return "?:0"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
