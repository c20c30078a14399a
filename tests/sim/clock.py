"""Virtual time: a queue of events for the world, and an event loop for a worker's coroutines."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

START_MS = 1_700_000_000_000


class Clock:
    """Events in the order of their time; those of one moment in the order they were added."""

    def __init__(self) -> None:
        self.now_us = 0
        self.added = 0
        self.events: list[tuple[int, int, Callable[[], object]]] = []

    def now_ms(self) -> int:
        return START_MS + self.now_us // 1000

    def at(self, time_us: int, event: Callable[[], object]) -> None:
        self.added += 1
        heapq.heappush(self.events, (max(time_us, self.now_us), self.added, event))

    def after(self, delay_us: int, event: Callable[[], object]) -> None:
        self.at(self.now_us + delay_us, event)

    def step(self) -> bool:
        """Let the next event happen; False when there is none."""
        if not self.events:
            return False
        self.now_us, _, event = heapq.heappop(self.events)
        event()
        return True


class VirtualLoop(asyncio.AbstractEventLoop):
    """An event loop that runs what is ready when it is told to, in order, and never waits."""

    def __init__(self, clock: Clock | None = None, wake: Callable[[], object] = int) -> None:
        self.clock = clock
        self.wake = wake  # somebody owes a `run_ready`
        self.ready: deque[asyncio.Handle] = deque()
        self.abandoned = False  # the world has ended in the middle

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self.ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any
    ) -> asyncio.TimerHandle:
        assert self.clock is not None
        handle = asyncio.TimerHandle(0, callback, args, self)

        def due() -> None:
            if not handle.cancelled():
                self.ready.append(handle)
                self.wake()

        self.clock.after(int(delay * 1e6), due)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        return asyncio.Task(coroutine, loop=self, **options)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A callback failed, which is the end of the run. Tasks left over by that are not news."""
        if "exception" in context and not self.abandoned:
            raise context["exception"]

    def run_ready(self) -> None:
        """Run until nothing is ready."""
        asyncio._set_running_loop(self)
        try:
            while self.ready:
                handle = self.ready.popleft()
                if not handle.cancelled():
                    handle._run()  # type: ignore[attr-defined]
        finally:
            asyncio._set_running_loop(None)
