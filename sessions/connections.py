"""The clients of one process that listens, a worker or a shard with a port of its own.

`Connections` holds what both do alike, on top of the dispatcher and the reactor that differ:
listening sockets of all kinds, TLS, the directives that concern clients, the look after idle ones,
and the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from actors.control import ControlClosed, ControlFailure, ControlLink
from actors.descriptors import allow_clients
from actors.listening import Listener, receive_listeners
from protocol.errors import INTERNAL_ERROR
from sessions import tls_context
from sessions.admission import Admission
from sessions.dispatcher import Dispatcher
from sessions.reactor import Reactor
from sessions.session import Session
from sessions.tls import TlsDriver

SWEEP_SECONDS_MIN: Final = 0.05
"""A process whose cron runs more often looks after its clients no more often than this."""


class Connections:
    """`settings` is the process's live configuration, by directive name; others update it."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        reactor: Reactor,
        admission: Admission,
        settings: Mapping[str, Any],
        loop: asyncio.AbstractEventLoop,
        schedule_flush: Callable[[], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.dispatcher = dispatcher
        self.reactor = reactor
        self.admission = admission
        self.settings = settings
        self.loop = loop
        self.schedule_flush = schedule_flush
        self.spawn = spawn
        self.tls = TlsDriver(self, dispatcher)
        self.listeners: Sequence[Listener] = ()
        self.swept_at = time.monotonic()

    # Listening

    def listen(self, listeners: Sequence[Listener]) -> None:
        """Accept from these, and no longer from those before."""
        given_up, self.listeners = self.listeners, listeners
        self.reactor.stop_listening()
        for listener in listeners:
            self.reactor.listen(listener, self.tls.take if listener.kind == "tls" else None)
        for listener in given_up:
            listener.close()

    def take_over(self, channel: socket.socket | None, kinds: Sequence[str]) -> None:
        """Accept from the listeners that the router sends. Raises OSError, ValueError."""
        assert channel is not None
        self.listen(receive_listeners(channel, kinds))

    # Configuration

    def apply(self, changes: Mapping[str, Any]) -> None:
        """Act on changed directives; `settings` has the new values already."""
        settings, dispatcher = self.settings, self.dispatcher
        dispatcher.set_limits(
            int(settings["proto-max-bulk-len"]), int(settings["client-query-buffer-limit"])
        )
        dispatcher.set_password_required(bool(settings["requirepass"]))
        dispatcher.set_output_limits(settings["client-output-buffer-limit"])
        dispatcher.idle_seconds_max = int(settings["timeout"])
        if "maxclients" in changes:
            allow_clients(settings["maxclients"], settings)

    def apply_tls(self, changes: Mapping[str, Any]) -> None:
        """Make new TLS connections use the directives, and the files, as they are now."""
        if not self.settings["tls-port"]:
            self.tls.context = None
        elif self.tls.context is None or not tls_context.DIRECTIVES.isdisjoint(changes):
            # The router has made such a context already: it would have met and told any error.
            with contextlib.suppress(tls_context.TlsError):
                self.tls.context = tls_context.server_context(self.settings)

    # Upkeep

    def sweep(self) -> None:
        """Look after the clients, all of them within a second; due a few times in each."""
        now = time.monotonic()
        elapsed = now - self.swept_at
        if elapsed < SWEEP_SECONDS_MIN:
            return
        self.swept_at = now
        self.dispatcher.trim_idle()
        self.dispatcher.sweep(int(len(self.dispatcher.sessions) * elapsed) + 1)
        self.schedule_flush()

    # Figures

    def statistics(self) -> dict[str, Any]:
        """The figures of the clients: router.stats.ClientStats."""
        dispatcher, reactor, admission = self.dispatcher, self.reactor, self.admission
        counts = dispatcher.counts
        return {
            "processed": counts.commands,
            "commands": counts.by_command(),
            "errors": {code.decode(errors="replace"): n for code, n in counts.errors.items()},
            "connections": sum(admission.connections.values()),
            "connections_by_kind": admission.connections,
            "failed_handshakes": self.tls.failed_handshakes,
            "total_connections": admission.total_connections,
            "rejected_connections": admission.rejected_connections,
            "input_bytes": reactor.input_bytes,
            "output_bytes": reactor.output_bytes,
            "reads": reactor.reads,
            "writes": reactor.writes,
            "cycles": reactor.cycles,
            "cycle_us": reactor.cycle_ns // 1000,
            "cycle_us_max": reactor.cycle_ns_max // 1000,
            # Nothing but a failed authentication has this code.
            "denied_auth": counts.errors.get(b"WRONGPASS", 0),
            **dispatcher.client_figures(),
        }

    def reset_statistics(self) -> None:
        self.dispatcher.counts.reset()
        self.admission.reset_statistics()
        self.reactor.input_bytes = 0
        self.reactor.output_bytes = 0
        self.reactor.reads = 0
        self.reactor.writes = 0
        self.reactor.cycles = 0
        self.reactor.cycle_ns = 0
        self.reactor.cycle_ns_max = 0


async def ask_router(
    control: ControlLink | None, session: Session, args: list[bytes], node: int | None = None
) -> bytes:
    """The raw reply of an ADMIN command; `node` is the shard at whose own port it was given."""
    caller = {
        "id": session.id,
        "name": session.name,
        "address": session.address,
        "database": session.database,
        "resp": session.resp,
        "user": session.user,
    }
    if node is not None:
        caller["node"] = node
    assert control is not None
    try:
        answer = await control.request({"op": "admin", "caller": caller, "args": args})
    except (ControlClosed, ControlFailure):
        return b"-" + INTERNAL_ERROR + b"\r\n"
    reply: bytes = answer["reply"]
    return reply
