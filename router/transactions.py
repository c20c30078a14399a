"""One transaction over several shards, as its coordinator drives it (a worker).

    transaction = Transaction(host, {key: alone, ...}, database, resp)
    try:
        answers = await transaction.lock(quiet=..., reads=..., parts=...)
        replies = await transaction.commit({shard: [command, ...]}, borrowed=...)
    finally:
        transaction.release()

Each shard that has a key of it is a participant and is spoken to through one line. A hop is one
message to a participant and its answer:

    LOCK      on all shards at once, trying; if one refuses, all is let go and asked for again in
              the order of shards, waiting. The same hop brings what is to be looked at under the
              locks, and the shard's part, where that is known beforehand.
    PREPARE   brings the part to a shard that must have it before others are committed.
    COMMIT    executes the parts. At most one shard gets its part only now: that goes first, alone,
              and decides. Every other one holds its part by then, so that whoever outlives the
              coordinator can finish (actors/fence): a part executed anywhere means that all are.
    RELEASE   lets go. Nobody waits for it.

Nothing refuses after the decision: what can be refused is looked at under the locks, before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from protocol.errors import LOADING, CommandError
from protocol.replies import replies as cut_up
from router.merge import integer, is_error
from sessions.barriers import Unanswerable

if TYPE_CHECKING:
    from router.host import Host, Line
    from router.waiting import Wait

Command = Sequence[bytes]
Commands = Sequence[Command]
Run = tuple[int, Commands]
"""The flags of a run, and its commands."""

PLAIN: Final = 0
NO_TOUCH: Final = 2
LOCKS: Final = 32
PREPARE: Final = 64
COMMIT: Final = 128
RELEASE: Final = 256
QUIET: Final = 512
KEYS: Final = 2048
WAIT: Final = 4096
MULTI: Final = 8192
"""Flags of a run: protocol/envelope.pxd."""

OK: Final = b"+OK\r\n"
REFUSED: Final = (
    b"-REFUSED\r\n"  # by a shard that does not know the transaction, or has not granted it
)
TRANSACTIONS_MAX: Final = 1024
"""Transactions that a worker has open at once; more wait before they ask for locks."""


class ShardLost(Unanswerable):
    """A shard died with a call unanswered; whether it was executed is unknown."""


class ClientGone(Unanswerable):
    """Its client has gone while a command waited for keys: nothing may be taken for it."""


class Transaction:
    """See the module. `keys` are locked alone (True) or shared."""

    def __init__(
        self,
        host: Host,
        keys: Mapping[bytes, bool],
        database: int,
        resp: int,
        *,
        no_touch: bool = False,
        wait: Wait | None = None,
    ) -> None:
        self.host = host
        self.wait = wait  # of a command that waits for its keys, and tries again under one id
        self.database = database
        self.resp = resp
        self.flags = NO_TOUCH if no_touch else PLAIN
        self.id = host.coordinator.next_id() if wait is None else wait.id
        self.number = 0
        self.time_ms = 0
        self.groups: dict[int, dict[bytes, bool]] = {}
        for key, alone in keys.items():
            self.groups.setdefault(host.shard_of(key), {})[key] = alone
        self.mode = b"keys"  # or `reads`, `alone`: of the shards as a whole
        self.lines: dict[int, Line] = {}
        self.prepared: dict[int, int] = {}  # by shard, how many commands its part has
        self.last_words: dict[int, list[Command]] = {}  # run with the release
        self.usage: list[bytes] = []  # (key, usage) of keys that were lent

    def lock_shards(self, shards: Iterable[int], *, alone: bool) -> None:
        """Have these shards locked as a whole: against changes, or alone."""
        self.mode = b"alone" if alone else b"reads"
        for shard in shards:
            self.groups.setdefault(shard, {})

    def line(self, shard: int) -> Line:
        line = self.lines.get(shard)
        if line is None:
            line = self.lines[shard] = self.host.open_line(shard, self.database, self.resp)
        return line

    def send(self, shard: int, *runs: Run) -> asyncio.Future[bytes]:
        """Send runs to a participant; the future of their raw replies."""
        return self.line(shard).send((self.id, self.number, self.time_ms), runs)

    async def hop(self, shard: int, *runs: Run) -> list[bytes]:
        """Send runs to a participant; the replies of all their commands, but for PREPARE's.

        Raises ShardLost, or CommandError if the shard has died before it kept a part.
        """
        return await self.answer(self.send(shard, *runs), runs)

    async def answer(self, sent: asyncio.Future[bytes], runs: Iterable[Run]) -> list[bytes]:
        """The replies of runs that were sent. Raises as `hop` does."""
        replies = cut_up(await sent)
        if len(replies) > sum(replies_of(run) for run in runs):
            raise CommandError(LOADING)  # of commands that should only have been kept
        return replies

    async def together(self, hops: Iterable[Coroutine[Any, Any, list[bytes]]]) -> list[list[bytes]]:
        """What hops to several participants answer; all of them end, whatever one raises."""
        tasks = [self.host.spawn(hop) for hop in hops]
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    async def lock(
        self,
        *,
        quiet: Mapping[int, Commands] | None = None,
        reads: Mapping[int, Commands] | None = None,
        parts: Mapping[int, Commands] | None = None,
    ) -> dict[int, list[bytes]]:
        """Hold all keys; what each shard answers to `quiet` and then to `reads`.

        Quiet commands read and leave no trace. Raises CommandError if a shard is not there.
        """
        quiet, reads, parts = quiet or {}, reads or {}, parts or {}

        def ask(shard: int, waits: bool) -> list[Run]:
            keys = [
                word
                for key, alone in self.groups[shard].items()
                for word in (key, b"w" if alone else b"r")
            ]
            how = b"wait" if waits else b"try"
            looks = [[b"SHARDIS.LOCK", how, self.mode, *keys], *quiet.get(shard, ())]
            runs: list[Run] = [(LOCKS | QUIET | NO_TOUCH, looks)]
            if shard in reads:
                runs.append((self.flags, reads[shard]))
            if shard in parts:
                runs.append((PREPARE | self.flags, parts[shard]))
            return runs

        answers = await self._grant(sorted(self.groups), ask)
        self.prepared = {shard: len(part) for shard, part in parts.items()}
        return answers

    async def execute(
        self, parts: Mapping[int, Commands], *, writes: bool
    ) -> dict[int, list[bytes]]:
        """Run a part in each shard, with the keys of its commands locked in all; their replies.

        A command without keys has the whole shard locked: against changes, or alone if it writes.
        Raises CommandError if a shard is not there, or ShardLost as `commit` does.
        """
        kind = LOCKS | KEYS | self.flags | (PREPARE if writes else PLAIN)

        def ask(shard: int, waits: bool) -> list[Run]:
            return [(kind | (WAIT if waits else PLAIN), parts[shard])]

        answers = await self._grant(sorted(parts), ask)
        if not writes:
            return answers
        self.prepared = {shard: len(part) for shard, part in parts.items()}
        return await self.commit()

    async def read_beside(self, shard: int, commands: Commands, *, waits: bool) -> list[bytes]:
        """Run reads in one more shard, as `execute` does; nothing if it has to wait, but may not.

        Raises CommandError if the shard is not there.
        """
        run = (LOCKS | KEYS | self.flags | (WAIT if waits else PLAIN), commands)
        if not self.host.dispatcher.is_up(shard):
            raise CommandError(LOADING)
        answer = await self.hop(shard, run)
        if answer[0] == REFUSED and not waits:
            return []
        self._require_grant(answer)
        return answer[1:]

    async def _grant(
        self, shards: Sequence[int], ask: Callable[[int, bool], list[Run]]
    ) -> dict[int, list[bytes]]:
        """Have all locks: try at once, else wait for one shard after the other, in their order.

        The answers of each but for its clock. Raises CommandError if a shard is not there.
        """
        if not all(self.host.dispatcher.is_up(shard) for shard in shards):
            raise CommandError(LOADING)
        # Without another worker, all requests are made in one order: nobody can wait in a circle.
        # But for locks of one that waits for its turn, which a shard may have taken meanwhile.
        alone = self.host.coordinator.alone
        waits = alone and (self.wait is None or not self.wait.registered)
        answers = await self._ask_all(shards, ask, waits)
        if any(answer[0] == REFUSED for answer in answers.values()) and not waits:
            granted = [shard for shard, answer in answers.items() if answer[0] != REFUSED]
            if self.wait is not None:
                self.wait.pause(self, granted)
            self.let_go(granted)
            self.last_words.clear()
            if alone:
                answers = await self._ask_all(shards, ask, True)
            else:
                answers = {shard: await self.hop(shard, *ask(shard, True)) for shard in shards}
        for answer in answers.values():
            self._require_grant(answer)
        return {shard: answer[1:] for shard, answer in answers.items()}

    async def _ask_all(
        self, shards: Sequence[int], ask: Callable[[int, bool], list[Run]], waits: bool
    ) -> dict[int, list[bytes]]:
        """Ask all of them at once; their answers."""
        asked = {shard: ask(shard, waits) for shard in shards}
        sent = [(self.send(shard, *runs), runs) for shard, runs in asked.items()]
        answers = await self.together(self.answer(*one) for one in sent)
        return dict(zip(shards, answers, strict=True))

    def _require_grant(self, answer: list[bytes]) -> None:
        """Take the clock of a shard that grants its locks. Raises CommandError if it does not."""
        if answer[0] == REFUSED:  # the shard is another incarnation by now
            raise CommandError(LOADING)
        if is_error(answer[0]):
            raise CommandError(answer[0][1:-2])
        self.time_ms = max(self.time_ms, integer(answer[0]))

    async def bring(self, lent: Mapping[bytes, bytes], to: int) -> dict[bytes, bytes]:
        """Bring lent keys, given by LEND's answers, to a participant; the small ones, for `commit`.

        Large ones go there now, piece by piece, and others have their turns in between. Raises
        CommandError if a shard is not there any more.
        """
        small = {}
        for key, answer in lent.items():
            if answer.startswith(b":"):
                await self._bring_large(key, integer(answer), to)
            else:
                small[key] = bulk(answer)
        return small

    async def _bring_large(self, key: bytes, size: int, to: int) -> None:
        source = self.host.shard_of(key)
        sent = 0
        while sent < size:
            (answer,) = await self.hop(source, (PLAIN, [[b"SHARDIS.PIECE", key, b"%d" % sent]]))
            piece = bulk(answer)
            (answer,) = await self.hop(to, (PLAIN, [[b"SHARDIS.BORROW", key, piece]]))
            if answer != OK:
                raise CommandError(LOADING)
            sent += len(piece)

    async def commit(
        self,
        parts: Mapping[int, Commands] | None = None,
        *,
        borrowed: Mapping[int, Mapping[bytes, bytes]] | None = None,
    ) -> dict[int, list[bytes]]:
        """Execute the parts: these, and those that came with the locks. The replies of each.

        `borrowed` are the parcels that a part needs of other shards' keys. Raises ShardLost if it
        is unknown whether the transaction has happened, or what all of its parts have answered.
        """
        parts, borrowed = parts or {}, borrowed or {}
        if self.wait is not None and self.wait.session.closed:
            raise ClientGone
        self.number = self.host.coordinator.next_number()
        agent = next(iter(parts), None)
        others = [shard for shard in parts if shard != agent]
        if others:
            await self.together(
                self.hop(
                    shard, *loan(borrowed.get(shard, {})), (PREPARE | self.flags, parts[shard])
                )
                for shard in others
            )
        replies: dict[int, list[bytes]] = {}
        if agent is not None:
            loans = loan(borrowed.get(agent, {}))
            answer = await self.hop(agent, *loans, (COMMIT | self.flags, parts[agent]))
            replies[agent] = answer[sum(len(run[1]) for run in loans) :]
            self.require(replies[agent])
        rest = {**self.prepared, **{shard: len(parts[shard]) for shard in others}}
        # As many as the part has commands: each is answered.
        answers = await self.together(
            self.hop(shard, (COMMIT | self.flags, [[b"SHARDIS.COMMIT"]] * count))
            for shard, count in rest.items()
        )
        for shard, committed in zip(rest, answers, strict=True):
            self.require(committed)
            replies[shard] = committed
        return replies

    def require(self, answer: list[bytes]) -> None:
        """A shard that has died meanwhile, or forgotten the transaction, can't have executed it."""
        if answer and (answer[0] == REFUSED or answer[0] == b"-%b\r\n" % LOADING):
            raise ShardLost

    def let_go(self, shards: object = None) -> None:
        """Send RELEASE to these participants without waiting; what comes after finds it done."""
        for shard in list(self.lines) if shards is None else shards:  # type: ignore[attr-defined]
            words = [*self.last_words.get(shard, ()), [b"SHARDIS.RELEASE", *self.usage_in(shard)]]
            label = (self.id, self.number, self.time_ms)
            self.lines[shard].send(label, [(RELEASE | NO_TOUCH, words)]).add_done_callback(
                asyncio.Future.exception
            )

    def release(self) -> None:
        """Let everything go. Lines end when that has been answered."""
        if self.wait is not None:
            self.wait.before_release(self)
        self.let_go()
        for line in self.lines.values():
            line.close()

    def usage_in(self, shard: int) -> list[bytes]:
        pairs = zip(self.usage[::2], self.usage[1::2], strict=True)
        return [word for pair in pairs if self.host.shard_of(pair[0]) == shard for word in pair]


def replies_of(run: Run) -> int:
    """How many replies a run gets: one for each command that it executes, and its clock."""
    flags, commands = run
    return (0 if flags & PREPARE else len(commands)) + (flags & KEYS != 0)


def loan(parcels: Mapping[bytes, bytes]) -> list[Run]:
    """The runs that hand small parcels over."""
    return [(PLAIN, [[b"SHARDIS.BORROW", key, parcel]]) for key, parcel in parcels.items()]


def bulk(answer: bytes) -> bytes:
    """What a bulk string holds. Raises CommandError if a shard has died instead of giving one."""
    if not answer.startswith(b"$"):
        raise CommandError(LOADING)
    return answer[answer.index(b"\r\n") + 2 : -2]
