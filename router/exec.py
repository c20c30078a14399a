"""EXEC over several shards, or of commands that are not a single shard's: `execute`.

What one shard can run alone never comes here: it is one run (router/dispatch). Here it is one
transaction (router/transactions.py) over all keys of all commands, the watched ones among them:

- If each command lies in one shard, each shard's commands are its part: all hold theirs before the
  first is executed, so that whoever dies, all or none of them are.
- Else (SELECT, CONFIG, DBSIZE, an MSET over shards, ...) the commands run one after the other, with
  everything locked. A command over shards runs as it would alone, inside of the transaction
  (`Inside`). When the worker dies in the middle, what has run stays.

An error of a command is its reply; the others run all the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from protocol.commands import Command, F, Place
from protocol.errors import LOADING, CommandError
from router.merge import integer
from router.multi_shard import Shards, locked_alone, run_over_shards
from router.transactions import MULTI, NO_TOUCH, QUIET, Commands, Run, ShardLost, Transaction, loan

if TYPE_CHECKING:
    from router.host import Host
    from sessions.session import Session

CHANGED: Final = {2: b"*-1\r\n", 3: b"_\r\n"}
ABORTED: Final = b"EXECABORT Transaction discarded because of: "

Queued = tuple[Command, list[bytes]]


class Plan:
    """What the queued commands need to have locked, and in which shards they run."""

    def __init__(
        self, shards: Shards, commands: list[Queued], watched: Mapping[tuple[int, bytes], int]
    ) -> None:
        self.keys: dict[bytes, bool] = {key: False for _, key in watched}
        self.watching = set(watched.values())
        self.reads_all = False
        self.alone = False
        self.homes: list[int | None] = []  # of each command; None: it is not a single shard's
        for command, args in commands:
            self.homes.append(self._add(shards, command, args))
        self.is_simple = None not in self.homes

    def _add(self, shards: Shards, command: Command, args: list[bytes]) -> int | None:
        if command.place not in (Place.SHARD, Place.FANOUT):
            return None
        uses = shards.uses(command, args)
        if not uses:  # it concerns all keys (SCAN, DBSIZE, FLUSHALL), or its arguments are wrong
            self.alone |= F.WRITE in command.flags or F.PROTECTED in command.flags
            self.reads_all = True
            return None
        for key, alone in locked_alone(args, uses).items():
            self.keys[key] = self.keys.get(key, False) or alone
        if len(args) > 2 and any(not keys.first and not keys.keyword for keys in command.keys):
            # It may ask for keys that it does not name, which nobody must wait for in the middle.
            self.alone = shards.count > 1
            return None
        homes = {shards.of(args[at]) for at, _ in uses}
        return homes.pop() if len(homes) == 1 else None


async def execute(host: Host, session: Session) -> bytes:
    """Run what a session has queued; the raw reply of EXEC. Raises CommandError, ShardLost."""
    queued, watched = session.take_queue()
    by_id = session.table.by_id
    commands = [(by_id[id], args) for id, args in queued]
    shards = Shards(host, session)
    plan = Plan(shards, commands, watched)
    transaction = shards.transaction(plan.keys)
    if plan.alone or plan.reads_all:
        transaction.lock_shards(range(shards.count), alone=plan.alone)
    for shard in plan.watching:
        transaction.last_words[shard] = [[b"SHARDIS.UNWATCH", b"%d" % session.id]]
    transaction.flags |= MULTI
    parts: dict[int, list[list[bytes]]] = {}
    if plan.is_simple:
        for home, (_, args) in zip(plan.homes, commands, strict=True):
            assert home is not None
            parts.setdefault(home, []).append(args)
    try:
        async with host.transactions:
            unchanged = {
                shard: [[b"SHARDIS.UNCHANGED", b"%d" % session.id]] for shard in plan.watching
            }
            try:
                answers = await transaction.lock(quiet=unchanged, parts=parts)
            except CommandError as error:
                raise CommandError(ABORTED + error.message) from error
            if not all(integer(answers[shard][0]) for shard in plan.watching):
                return CHANGED[session.resp]
            head = b"*%d\r\n" % len(commands)
            if plan.is_simple:
                return head + b"".join(await run_parts(transaction, shards, plan, commands))
            inside = Inside(shards, transaction)
            return head + b"".join(
                [
                    await inside.run_command(home, command, args)
                    for home, (command, args) in zip(plan.homes, commands, strict=True)
                ]
            )
    finally:
        transaction.release()


async def run_parts(
    transaction: Transaction, shards: Shards, plan: Plan, commands: list[Queued]
) -> list[bytes]:
    """Execute the parts that the shards hold; the replies in the order of the commands."""
    started = time.perf_counter_ns()
    answers = {shard: iter(found) for shard, found in (await transaction.commit()).items()}
    replies = [next(answers[home]) for home in plan.homes if home is not None]
    share = (time.perf_counter_ns() - started) // max(1, len(commands))
    for (command, args), reply in zip(commands, replies, strict=True):
        shards.host.dispatcher.count_call(shards.session, command.id, share, args, reply)
    return replies


class Inside(Shards):
    """The shards as a command sees them that runs inside of an EXEC: all it needs is locked."""

    def __init__(self, outer: Shards, transaction: Transaction) -> None:
        super().__init__(outer.host, outer.session)
        self.outer = transaction

    def transaction(self, keys: dict[bytes, bool]) -> Transaction:
        return Nested(self.outer, keys, self.database, self.resp)

    def run(self, shard: int, *commands: Any) -> Any:
        if shard not in self.outer.groups:  # it names no key, so nothing of it is locked
            return super().run(shard, *commands)
        nested = self.transaction({})
        return nested.send(shard, (self.outer.flags, commands))

    async def run_command(self, home: int | None, command: Command, args: list[bytes]) -> bytes:
        """One of the queued commands; its reply, which may be an error. Raises ShardLost."""
        if command.place is Place.SESSION:
            reply: bytes = self.session.run_inside(command.id, args)
            self.database = self.session.database
            self.resp = self.session.resp
            return reply
        started = time.perf_counter_ns()
        try:
            if command.place is Place.ADMIN:
                return await self.host.ask_router(self.session, args)
            if home is not None:
                reply = bytes(await self.run(home, args))
            else:
                reply = await run_over_shards(self, command, args)
        except CommandError as error:
            reply = b"-%b\r\n" % error.message
        elapsed = time.perf_counter_ns() - started
        self.host.dispatcher.count_call(self.session, command.id, elapsed, args, reply)
        return reply


class Nested(Transaction):
    """A transaction inside of another one that holds its locks: its hops are that one's."""

    def __init__(
        self, outer: Transaction, keys: Mapping[bytes, bool], database: int, resp: int
    ) -> None:
        super().__init__(outer.host, keys, database, resp)
        self.outer = outer
        self.id = outer.id
        self.number = outer.number
        self.time_ms = outer.time_ms
        self.flags = outer.flags
        self.parts: dict[int, Commands] = {}

    def line(self, shard: int) -> Any:
        line = self.lines[shard] = self.outer.line(shard)
        line.session.database = self.database
        line.session.resp = self.resp
        return line

    async def lock(
        self,
        *,
        quiet: Mapping[int, Commands] | None = None,
        reads: Mapping[int, Commands] | None = None,
        parts: Mapping[int, Commands] | None = None,
    ) -> dict[int, list[bytes]]:
        quiet, reads = quiet or {}, reads or {}
        self.parts = dict(parts or {})
        runs: dict[int, list[Run]] = {}
        for shard in self.groups:
            runs[shard] = []
            if shard in quiet:
                runs[shard].append((QUIET | NO_TOUCH | MULTI, quiet[shard]))
            if shard in reads:
                runs[shard].append((self.flags, reads[shard]))
        asked = [shard for shard in runs if runs[shard]]
        answers = await self.together(self.hop(shard, *runs[shard]) for shard in asked)
        for answer in answers:
            self.require(answer)
        return {**{shard: [] for shard in runs}, **dict(zip(asked, answers, strict=True))}

    async def execute(
        self, parts: Mapping[int, Commands], *, writes: bool
    ) -> dict[int, list[bytes]]:
        answers = await self.together(
            self.hop(shard, (self.flags, parts[shard])) for shard in parts
        )
        for answer in answers:
            self.require(answer)
        return dict(zip(parts, answers, strict=True))

    async def read_beside(self, shard: int, commands: Commands, *, waits: bool) -> list[bytes]:
        return (await self.execute({shard: commands}, writes=False))[shard]

    async def commit(
        self,
        parts: Mapping[int, Commands] | None = None,
        *,
        borrowed: Mapping[int, Mapping[bytes, bytes]] | None = None,
    ) -> dict[int, list[bytes]]:
        replies: dict[int, list[bytes]] = {}
        borrowed = borrowed or {}
        for shard, commands in {**(parts or {}), **self.parts}.items():
            loans = loan(borrowed.get(shard, {}))
            answer = await self.hop(shard, *loans, (self.flags, commands))
            replies[shard] = answer[sum(len(run[1]) for run in loans) :]
            self.require(replies[shard])
        return replies

    def require(self, answer: list[bytes]) -> None:
        if answer and answer[0] == b"-%b\r\n" % LOADING:
            raise ShardLost
        super().require(answer)

    def release(self) -> None:
        """Forget what was lent; the locks stay, and the lines."""
        for shard in self.lines:
            words = [*self.last_words.get(shard, ()), [b"SHARDIS.RELEASE", *self.usage_in(shard)]]
            self.send(shard, (NO_TOUCH | MULTI, words)).add_done_callback(_ignore)


def _ignore(future: Any) -> None:
    """What is not waited for may fail with its shard."""
    if not future.cancelled():
        future.exception()
