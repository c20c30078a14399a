"""A client that waits in a blocking command whose keys are on several shards: `Wait`.

    the command is tried as an ordinary transaction; it finds nothing, and before it lets its locks
    go it leaves a place in the queues of its keys, in each shard (`register`)
    a key is made, and its turn has come: the shard locks its keys there for a transaction of the
    same id, and tells by a claim message (`claimed`)
    the whole command is tried again under that id: shards where it has its turn grant at once, the
    others if they can. If one refuses, all is let go, no turn is taken for a while (`pause`), and
    the locks are asked for in the order of shards.

Nothing is taken before all locks are granted, and none of it for a client that has gone. The places
in the queues stay until the end, whatever ends it: a reply, the time, CLIENT UNBLOCK, the client,
or one of the shards. A claim that comes later is let go by `Host.claimed`. When this process dies,
the shards forget its places and its turns (actors/fence).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from router.transactions import ShardLost, Transaction

if TYPE_CHECKING:
    from router.host import Host
    from sessions.session import Session

UNBLOCKED: Final = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"


class Wait:
    """`args` are the command's, with what they stand for while it waits."""

    def __init__(self, host: Host, session: Session, args: list[bytes], *, moves: bool) -> None:
        self.host = host
        self.session = session
        self.args = args
        self.moves = moves  # something from one shard to another
        self.id = host.coordinator.next_id()
        self.shards: list[int] = []  # where it has places
        self.paused = False
        self.has_turn = False  # a shard has told so, and it has not been tried since
        self.answer: bytes | None = None  # why it waits no longer
        self.lost = False  # one of the shards
        self.in_vain = null(session.resp)  # the reply when its time is up
        self.is_barrier = False  # a pause has to wait for its task when that does not wait
        self.changed: asyncio.Future[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.asked: list[tuple[bytes, asyncio.Future[bool]]] = []  # by CLIENT UNBLOCK
        host.waits[self.id] = host.waits_by_slot[session.slot] = self

    @property
    def registered(self) -> bool:
        """Whether it has places in queues."""
        return bool(self.shards)

    # The transaction that tries

    async def register(
        self,
        transaction: Transaction,
        wanted: bytes,
        keys: Iterable[bytes],
        timeout_ms: int,
        *,
        on_removal: bool = False,
    ) -> None:
        """Leave places in queues, the first time, before the transaction lets its locks go."""
        if self.shards:
            return
        groups: dict[int, list[bytes]] = {}
        for key in dict.fromkeys(keys):
            groups.setdefault(self.host.shard_of(key), []).append(key)
        self.limit(timeout_ms, self.in_vain)
        self.shards = sorted(groups)
        if self.moves:
            self.host.begin_moving()
        removal = b"1" if on_removal else b"0"
        await transaction.together(
            transaction.hop(shard, (0, [[b"SHARDIS.WAIT", wanted, removal, *group]]))
            for shard, group in groups.items()
        )

    def limit(self, timeout_ms: int, in_vain: bytes) -> None:
        """Wait for so long, 0: for ever, and then be answered this."""
        self.in_vain = in_vain
        if timeout_ms:
            self.timer = self.host.loop.call_later(timeout_ms / 1000, self.stop, in_vain)

    def pause(self, transaction: Transaction, granted: Iterable[int]) -> None:
        """It will wait for locks, and so must not be given turns, which are locks, elsewhere."""
        for shard in self.shards:
            if shard in granted:
                words = [b"SHARDIS.TURN", b"PAUSE"]
                transaction.last_words.setdefault(shard, []).append(words)
            else:
                self.host.dispatcher.send_turn(shard, self.id, False)
        self.paused = bool(self.shards)

    def before_release(self, transaction: Transaction) -> None:
        """An attempt has ended: with it the pause, so that what came meanwhile counts."""
        if self.paused:
            self.paused = False
            for shard in self.shards:
                transaction.last_words.setdefault(shard, []).append([b"SHARDIS.TURN", b"RESUME"])

    # What happens meanwhile

    async def turn(self) -> bytes | None:
        """Wait for the next turn; or the reply that ends the waiting. Raises ShardLost."""
        self.host.begin_waiting(self)
        try:
            while True:
                if self.lost:
                    raise ShardLost
                if self.answer is not None:
                    return self.answer
                for answer, future in self.asked:
                    if not future.done():
                        future.set_result(True)
                        return answer
                if self.has_turn:
                    self.has_turn = False
                    return None
                self.changed = self.host.loop.create_future()
                await self.changed
        finally:
            self.changed = None
            self.host.end_waiting(self)

    def _change(self) -> None:
        if self.changed is not None and not self.changed.done():
            self.changed.set_result(None)

    def claimed(self) -> None:
        """A shard has locked its keys for it."""
        self.has_turn = True
        self._change()

    def stop(self, answer: bytes) -> None:
        """It is answered this unless an attempt that is under way finds something."""
        self.answer = answer
        self._change()

    def lose(self, shard: int) -> None:
        """A shard has died."""
        if shard in self.shards:
            self.lost = True
            self._change()

    def unblock(self, error: bool) -> asyncio.Future[bool]:
        """CLIENT UNBLOCK: whether that was what has ended it."""
        future: asyncio.Future[bool] = self.host.loop.create_future()
        self.asked.append((UNBLOCKED if error else self.in_vain, future))
        self._change()
        return future

    def end(self) -> None:
        """It waits no more: leave the queues, and any turn."""
        self.host.waits.pop(self.id, None)
        self.host.waits_by_slot.pop(self.session.slot, None)
        if self.timer is not None:
            self.timer.cancel()
        for _, future in self.asked:
            if not future.done():
                future.set_result(False)
        for shard in self.shards:
            self.host.dispatcher.send_turn(shard, self.id, True)
        if self.moves and self.shards:
            self.host.end_moving()


def null(resp: int) -> bytes:
    return b"*-1\r\n" if resp == 2 else b"_\r\n"
