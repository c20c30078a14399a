"""Commands that hold their session, and what is sent outside a tick: the same in all hosts.

A barrier is a command that its process cannot answer alone and at once: one for the router, or for
several shards. `Barriers` runs them as tasks beside everything else. Hosts (see
sessions.dispatcher.Dispatcher) are subclasses.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from protocol.commands import Command, Place
from protocol.errors import INTERNAL_ERROR, CommandError
from sessions.dispatcher import Dispatcher
from sessions.reactor import Reactor
from sessions.session import Session

logger = logging.getLogger("shardis")

REPLICAS_AT = {"WAIT": 1, "WAITAOF": 2}
"""Where a command that waits for replicas says how many."""

T = TypeVar("T")


class Unanswerable(Exception):
    """Nobody knows whether a command was executed: its client must be left without a reply."""


class Barriers:
    """Subclasses set `dispatcher` and `reactor`; they say who answers."""

    dispatcher: Dispatcher
    reactor: Reactor

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.tasks: set[asyncio.Task[Any]] = set()
        self.flush_due = False

    async def ask_router(self, session: Session, args: list[bytes]) -> bytes:
        """The raw reply of an ADMIN command."""
        raise NotImplementedError

    async def wait_for_replicas(
        self, session: Session, command: Command, args: list[bytes], reply: bytes
    ) -> bytes:
        """WAIT and WAITAOF: let the time pass if replicas are wanted, as there are none."""
        if int(args[REPLICAS_AT[command.name]]) > 0:
            await asyncio.sleep(int(args[-1]) / 1000)
        return reply

    async def ask_shards(self, session: Session, command: Command, args: list[bytes]) -> bytes:
        """The raw reply of any other barrier. Raises CommandError, Unanswerable."""
        raise NotImplementedError

    def run_barrier(self, session: Session, command: Command, args: list[bytes]) -> None:
        """Start a command: the session is held until it is answered."""
        self.spawn(self.answer_barrier(session, command, args))

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine beside everything else."""
        task = self.loop.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def answer_barrier(self, session: Session, command: Command, args: list[bytes]) -> None:
        """Run a command to its end and let the session go on, whatever happens."""
        started = time.perf_counter_ns()
        try:
            if command.place is Place.ADMIN:
                reply = await self.ask_router(session, args)
                if command.name in REPLICAS_AT and not reply.startswith(b"-"):
                    reply = await self.wait_for_replicas(session, command, args, reply)
            else:
                reply = await self.ask_shards(session, command, args)
                elapsed = time.perf_counter_ns() - started
                self.dispatcher.count_call(session, command.id, elapsed, args, reply)
        except CommandError as error:
            reply = b"-" + error.message + b"\r\n"
            self.dispatcher.count_call(session, command.id, 0, args, reply)
        except Unanswerable:
            # As when redis-server dies: a write may or may not have happened, so no reply is true,
            # and what is after it in the pipeline must not be executed.
            session.abort()
            session.complete_barrier(b"")
            self.schedule_flush()
            return
        except Exception:
            # A mistake of ours; the client must not wait for ever.
            logger.exception("%s failed", command.name)
            reply = b"-" + INTERNAL_ERROR + b"\r\n"
            self.dispatcher.count_call(session, command.id, 0, args, reply)
        session.complete_barrier(reply)
        self.schedule_flush()

    def schedule_flush(self) -> None:
        """Send what was queued outside a tick, once, at the end of this turn of the loop."""
        if not self.flush_due:
            self.flush_due = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self.flush_due = False
        self.reactor.flush_sessions()
