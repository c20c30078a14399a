"""CONFIG SET of what the endpoint and the shards' own ports listen on, and with which certificates.

stage (bind, load; may fail) -> the new values are in force -> commit (processes take over) -> +OK
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from actors.listening import Listener
from actors.supervisor import Supervisor
from cluster.members import Members
from router import listeners
from router.config import Config, set_failed
from router.listeners import ListenError, Listeners, Staged
from sessions import tls_context

NOT_BOUND: Final = "Failed to bind to specified addresses."
NOT_LISTENING: Final = "Unable to listen on this port. Check server logs."
NOT_TLS: Final = "Unable to update TLS configuration. Check server logs."


@dataclass(slots=True)
class Change:
    """A change that can be put in force, or abandoned."""

    sockets: Staged | None = None
    members: list[Staged] = field(default_factory=list)  # of the shards' own ports
    context: Any = None  # an ssl.SSLContext when the old one is to be replaced
    given_up: list[Listener] = field(default_factory=list)

    def abandon(self) -> None:
        """What was in force goes on."""
        for staged in self.members:
            staged.abandon()
        if self.sockets is not None:
            self.sockets.abandon()


class Endpoint:
    """The listeners and the TLS context of the server, and the workers that use them."""

    def __init__(
        self, listening: Listeners, members: Members, supervisor: Supervisor, config: Config
    ) -> None:
        self._listeners = listening
        self._members = members
        self._supervisor = supervisor
        self._config = config

    def stage(self, changes: Mapping[str, Any]) -> Change:
        """Prepare everything that may fail. Raises SetError, and then nothing has changed."""
        settings = {**self._config.values, **changes}
        change = Change()
        if settings["tls-port"] and (
            self._supervisor.plan.tls is None or not tls_context.DIRECTIVES.isdisjoint(changes)
        ):
            try:
                change.context = tls_context.server_context(settings)
            except tls_context.TlsError:
                named = next((name for name in changes if name.startswith("tls-")), "tls-port")
                raise set_failed(named, NOT_TLS) from None
        if not listeners.DIRECTIVES.isdisjoint(changes):
            try:
                change.sockets = self._listeners.stage(settings)
                change.members = self._members.stage(settings)
            except ListenError as error:
                change.abandon()
                port = listeners.PORTS[str(error)]
                if port in changes and "bind" not in changes:
                    raise set_failed(port, NOT_LISTENING) from None
                raise set_failed("bind", NOT_BOUND) from None
        return change

    def commit(self, change: Change) -> None:
        """Put it in force for this process and those that it starts from now on.

        The new values are those of the configuration by now.
        """
        plan = self._supervisor.plan
        if change.context is not None:
            plan.tls = change.context
        elif not self._config["tls-port"]:
            plan.tls = None  # made anew from the files when TLS is switched on again
        if change.sockets is not None:
            settings = self._config.values
            change.given_up = self._listeners.commit(change.sockets, settings)
            change.given_up += self._members.commit(change.members, settings)

    async def hand_over(self, change: Change) -> None:
        """Return when every process accepts from its new listeners, and from no others.

        The processes know the new values of the directives by now.
        """
        if change.sockets is None:
            return
        accepting = list(self._supervisor.workers)
        if change.members:
            accepting += self._supervisor.shards
        await self._supervisor.hand_listeners(accepting)
        for listener in change.given_up:
            listener.close()
