"""A simulated client: sends random pipelines in random pieces, checks each reply as it comes."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any

from tests.sim.model import LOADING, Model, Request
from tests.sim.requests import Requests

if TYPE_CHECKING:
    from tests.sim.world import SimWorker, World


class Client:
    """One connection; it is also its session's driver."""

    def __init__(self, world: World, worker: SimWorker, number: int, quota: int) -> None:
        self.world = world
        self.worker = worker
        self.random: Random = world.random
        self.name = f"client{number}"
        self.requests = Requests(self.random, b"c%d" % number, world.options.tags)
        self.model = Model(world.deaths_of)
        self.quota = quota
        self.waiting: deque[Request] = deque()  # sent, at least in part, and unanswered
        self.unsent: deque[tuple[bytes, list[Request]]] = deque()  # chunks, what each completes
        self.received = bytearray()
        self.closed = False
        self.answered = 0
        self.session: Any = worker.host.dispatcher.open_session(number)
        self.session.driver = self
        self.sending = False
        self.expected: dict[bytes, object] | None = None

    # The session's driver

    def flush_session(self, session: Any) -> None:
        output = session.take_output()
        if output:
            self.received += output
            self.check()

    def close_session(self, session: Any) -> None:
        """The server hangs up, which it may do only over a write that may be lost."""
        session.closed_by_driver()
        self.world.note(f"{self.name} is disconnected")
        if not any(
            (request.writes or request.large) and self.world.shard_was_down(self, request)
            for request in self.waiting
            if request.sent_us is not None
        ):
            self.world.fail(f"{self.name} was disconnected for no reason")
        self.gone()

    def gone(self) -> None:
        self.closed = True
        for request in self.waiting:
            if request.sent_us is not None:
                self.model.may_have_run(request)
        self.waiting.clear()
        self.unsent.clear()
        self.world.replace(self)

    # The client

    def start(self) -> None:
        if self.closed or self.quota <= 0:
            return
        batch = [self.requests.next() for _ in range(min(self.quota, self.random.randint(1, 24)))]
        self.quota -= len(batch)
        data = b"".join(request.raw for request in batch)
        ends = []
        end = 0
        for request in batch:
            end += len(request.raw)
            ends.append((end, request))
        pieces = 1 if self.random.random() < 0.5 else self.random.randint(1, 6)
        cuts = sorted({self.random.randrange(1, len(data) + 1) for _ in range(pieces - 1)})
        start = 0
        for cut in [*[cut for cut in cuts if cut < len(data)], len(data)]:
            done = [request for end, request in ends if start < end <= cut]
            self.unsent.append((data[start:cut], done))
            start = cut
        self.waiting.extend(batch)
        if not self.sending:
            self.sending = True
            self.world.clock.after(self.random.randrange(300), self.send)

    def send(self) -> None:
        """One piece arrives at the worker."""
        self.sending = False
        if self.closed or not self.unsent:
            return
        data, done = self.unsent.popleft()
        for request in done:
            request.sent_us = self.world.clock.now_us
            self.world.note(f"{self.name} sends {request.text}")
        self.session.push(data)
        self.worker.wake()
        if self.unsent and not self.closed:
            self.sending = True
            self.world.clock.after(self.random.randrange(2000), self.send)
        elif self.quota and self.random.random() < 0.3:
            self.world.clock.after(self.random.randrange(1000), self.start)

    def hang_up(self) -> None:
        if not self.closed:
            self.world.note(f"{self.name} hangs up")
            self.session.closed_by_driver()
            self.gone()

    def check(self) -> None:
        """Take the replies that are complete; each must be one of those that are right."""
        while self.received:
            if not self.waiting or self.waiting[0].sent_us is None:
                self.world.fail(f"{self.name} got {bytes(self.received[:80])!r} unasked")
            request = self.waiting[0]
            outcomes = self.model.outcomes(request)
            head = bytes(self.received[: max(map(len, [*outcomes, LOADING]))])
            reply = next((reply for reply in outcomes if head.startswith(reply)), None)
            if reply is not None:
                self.model.settle(outcomes[reply])
            elif head.startswith(LOADING) and self.world.shard_was_down(self, request):
                reply = LOADING
            elif any(one.startswith(head) for one in [*outcomes, LOADING]):
                return  # the rest has to come
            else:
                wanted = " or ".join(repr(one[:60]) for one in outcomes)
                self.world.fail(
                    f"{self.name}: {request.text} was answered {head[:80]!r} instead of {wanted}"
                )
            self.world.note(f"{self.name} gets {reply[:40]!r} for {request.text}")
            del self.received[: len(reply)]
            self.waiting.popleft()
            self.answered += 1
        if not self.waiting and self.quota:
            self.world.clock.after(self.random.randrange(500), self.start)
