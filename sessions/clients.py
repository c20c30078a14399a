"""The clients of one process, for commands that are about the clients of all processes.

CLIENT LIST, KILL, PAUSE, UNPAUSE and UNBLOCK run in the router, which asks every process that may
hold connections, workers and shards alike, by control messages:

    {"op": "clients", "kind", "ids"}   -> [[id, line], ...]
    {"op": "kill", filters, "caller"}  -> how many were closed
    {"op": "unblock", "id", "error"}   -> whether this client was blocked here, and is no more
    {"op": "pause", "mode", "until"}   -> when nothing that the pause forbids runs any more

`ClientControl` answers them for any process that has a Dispatcher.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from sessions.description import describe

if TYPE_CHECKING:
    from sessions.dispatcher import Dispatcher
    from sessions.session import Session

POLL_SECONDS: Final = 0.001
OPERATIONS: Final = frozenset({"clients", "kill", "pause", "unblock"})
PAUSE_MODES: Final = ("", "write", "all")  # each forbids more than the one before


def sessions_of(dispatcher: Dispatcher) -> Iterator[Session]:
    """The clients of this process; calls of its own are none."""
    for session in dispatcher.sessions:
        if session is not None and session.id and not session.closed:
            yield session


def describe_clients(
    dispatcher: Dispatcher, kind: str | None = None, ids: Iterable[int] | None = None
) -> list[list[Any]]:
    """[id, line] of the clients of this process, of one kind or some ids only. O(clients)."""
    wanted = None if ids is None else frozenset(ids)
    return [
        [session.id, describe(session)]
        for session in sessions_of(dispatcher)
        if (kind is None or session.kind == kind) and (wanted is None or session.id in wanted)
    ]


def kill_clients(dispatcher: Dispatcher, filters: dict[str, Any], caller: int) -> int:
    """Close the clients that all filters hold for; how many. The caller goes after its reply."""
    killed = 0
    for session in list(sessions_of(dispatcher)):
        if not _matches(session, filters, caller):
            continue
        killed += 1
        if session.id == caller:
            session.close_after_reply()
        else:
            session.abort()
    return killed


def _matches(session: Session, filters: dict[str, Any], caller: int) -> bool:
    if session.id == caller and filters.get("skipme"):
        return False
    facts = {
        "id": session.id,
        "addr": session.address,
        "laddr": session.local_address,
        "kind": session.kind,
        "user": session.user,
    }
    return all(facts[name] == value for name, value in filters.items() if name in facts)


class ClientControl:
    """Answers control messages about clients; `flush` sends what was queued outside a tick.

    `barriers` gives the tasks that execute a client's command beyond this process at the moment.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        loop: asyncio.AbstractEventLoop,
        flush: Callable[[], None],
        barriers: Callable[[], Iterable[asyncio.Task[None]]] = tuple,
    ) -> None:
        self.dispatcher = dispatcher
        self.loop = loop
        self.flush = flush
        self.barriers = barriers
        self.timer: asyncio.TimerHandle | None = None

    def answer(self, message: dict[str, Any]) -> Any:
        """The answer to a message whose "op" is one of OPERATIONS, or what yields it."""
        match message["op"]:
            case "clients":
                return describe_clients(self.dispatcher, message.get("kind"), message.get("ids"))
            case "kill":
                killed = kill_clients(self.dispatcher, message["filters"], message["caller"])
                self.flush()
                return killed
            case "unblock":
                return self._unblock(message["id"], message["error"])
            case "pause":
                return self._pause(message["mode"], message["until"])
            case operation:
                raise ValueError(f"unknown control operation {operation!r}")

    def _unblock(self, client: int, error: bool) -> Any:
        for session in sessions_of(self.dispatcher):
            if session.id == client:
                done = self.dispatcher.unblock(session, error)
                self.flush()
                return done
        return False

    def set_pause(self, mode: str, until: float) -> None:
        """Postpone commands until this time (time.monotonic), which this process ends itself."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        left = until - time.monotonic()
        if mode and left > 0:
            self.dispatcher.set_pause(True, mode == "all")
            self.timer = self.loop.call_later(left, self.set_pause, "", 0.0)
        else:
            self.dispatcher.set_pause(False, False)
        self.flush()

    async def _pause(self, mode: str, until: float) -> None:
        """+OK promises that nothing changes any more: what is on its way is waited for."""
        self.set_pause(mode, until)
        if not mode:
            return
        barriers = list(self.barriers())
        marks = self.dispatcher.unanswered_marks()
        while not self.dispatcher.is_answered(marks):  # noqa: ASYNC110
            # An event would have to be set on the hot path, for something that happens seldom.
            await asyncio.sleep(POLL_SECONDS)
        while any(task in self.barriers() for task in barriers):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)  # not for those that come to wait for keys
