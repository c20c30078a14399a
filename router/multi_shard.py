"""Commands that concern more than one shard: `run_multi_shard`.

The session is held meanwhile, so a client's own order is kept. All are transactions
(router/transactions.py), so that nobody sees a part without the rest. What a command needs decides
how it is run:

- Cut up by its keys (DEL, MSET, ...): one part for each shard. Those of ordinary size never come
  here (router/coordinator).
- On whole shards (FLUSHALL, DBSIZE, ...): the same command in all.
- A part runs in each key's shard for those that move elements or values (RENAME, LMOVE, SMOVE),
  take from the first of several keys (LMPOP, BLPOP, ...), work key by key (XREAD, XREADGROUP) or
  write many (MSETNX).
- What is left computes one result from many keys (SINTERSTORE, ZUNION, COPY, SORT, ...): it runs at
  *home*, the shard of the key that it writes, which is lent the others.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from protocol.commands import Command, F, Keys, Place, Request, Response
from protocol.errors import LOADING, SYNTAX, WRONG_TYPE, CommandError
from protocol.key_specs import key_positions
from protocol.numbers import parse_int64
from protocol.replies import elements
from protocol.slots import SLOTS, key_slot
from router.merge import all_succeeded, first_error, integer, interleave, is_error, is_null, merge
from router.merge import random_key as pick_random_key
from router.transactions import Transaction
from router.waiting import Wait
from shards.arguments.timeouts import timeout_ms
from shards.process.debug import debug

if TYPE_CHECKING:
    from router.host import Host
    from sessions.session import Session

    Reply = asyncio.Future[bytes]

ROUNDS_MAX: Final = 16  # of a command that asks for more keys
NULL: Final = {2: b"$-1\r\n", 3: b"_\r\n"}
OK: Final = b"+OK\r\n"
NO_SUCH_KEY: Final = b"ERR no such key"
NOTHING: Final = b"$0\r\n\r\n"  # the parcel of a key that does not exist
NO_TYPE: Final = b"+none\r\n"
SCAN_COUNT: Final = 10  # keys that a step visits, unless told otherwise
CURSOR: Final = re.compile(rb"[+-]?\d{1,20}")
SCAN_END: Final = b"$1\r\n0\r\n"  # the cursor that ends a scan
ANY_USE: Final = Keys(1, flags="RW")  # of a key whose use nothing says
STREAM_ID: Final = re.compile(rb"\d{1,20}(-\d{1,20})?")


class Shards:
    """The shards as one session's command sees them."""

    def __init__(self, host: Host, session: Session) -> None:
        self.host = host
        self.session = session
        self.database = session.database
        self.resp = session.resp
        self.count = len(host.epochs)
        self.databases = host.databases
        self.wait: Wait | None = None  # of a command that blocks

    def of(self, key: bytes) -> int:
        return self.host.dispatcher.shard_of(key_slot(key))

    def run(self, shard: int, *commands: Sequence[bytes]) -> Reply:
        """The raw replies of commands on one shard, in one run; an error reply is a reply."""
        return self.host.call(
            shard, commands, self.database, self.resp, no_touch=self.session.no_touch
        )

    def transaction(self, keys: dict[bytes, bool]) -> Transaction:
        """A transaction over these keys, each locked alone (True) or shared."""
        return Transaction(
            self.host,
            keys,
            self.database,
            self.resp,
            no_touch=self.session.no_touch,
            wait=self.wait,
        )

    def keys(self, command: Command, args: list[bytes]) -> list[int] | None:
        """The positions of a command's keys, as the hot path finds them."""
        return self.host.native_table.keys(command.id, args)

    def uses(self, command: Command, args: list[bytes]) -> list[tuple[int, Keys]]:
        """The same with their specs: those say what a key is used for, not which are keys."""
        specs = dict(key_positions(command, args) or ())
        return [(at, specs.get(at, ANY_USE)) for at in self.keys(command, args) or ()]

    def require(self, shards: Iterable[int]) -> None:
        """Refuse a command whole before a part of it runs. Raises CommandError."""
        if not all(self.host.dispatcher.is_up(shard) for shard in shards):
            raise CommandError(LOADING)

    async def execute(
        self, parts: Mapping[int, Sequence[Sequence[bytes]]], *, writes: bool
    ) -> dict[int, list[bytes]]:
        """Run commands as one transaction over the keys, or whole shards, that they name.

        The replies of each shard. Raises CommandError, ShardLost.
        """
        transaction = self.transaction({})
        try:
            return await transaction.execute(parts, writes=writes)
        finally:
            transaction.release()

    async def on_all(self, *commands: Sequence[bytes], writes: bool = False) -> list[list[bytes]]:
        """Run commands on each shard as one transaction; the replies by shard, then command."""
        answers = await self.execute(dict.fromkeys(range(self.count), commands), writes=writes)
        return [answers[shard] for shard in range(self.count)]

    async def everywhere(self, args: Sequence[Sequence[bytes]]) -> bytes:
        """Run a command on each shard; the first error, or the first reply. Raises CommandError."""
        self.require(range(self.count))
        return all_succeeded(
            await asyncio.gather(*(self.run(shard, one) for shard, one in enumerate(args)))
        )

    def slots_of(self, shard: int) -> bytes:
        """A byte for each slot, 1 if it is this shard's; b"": all are."""
        if self.count == 1:
            return b""
        return bytes(self.host.dispatcher.shard_of(slot) == shard for slot in range(SLOTS))

    @property
    def settings(self) -> dict[str, Any]:
        return self.host.settings

    async def ask_router(self, args: list[bytes]) -> bytes:
        return await self.host.ask_router(self.session, args)


async def run_multi_shard(
    host: Host, session: Session, command: Command, args: list[bytes]
) -> bytes:
    """The reply of a command with keys on several shards, or that has to run on all of them."""
    shards = Shards(host, session)
    if SPECIAL.get(command.name) is debug:
        return await debug(shards, args)
    if F.BLOCKING in command.flags and may_wait(command, args) and shards.keys(command, args):
        return await wait_for_keys(shards, command, args)
    async with host.transactions:
        return await run_over_shards(shards, command, args)


async def run_over_shards(shards: Shards, command: Command, args: list[bytes]) -> bytes:
    """The same for whoever has its place among the transactions. Raises CommandError, ShardLost."""
    special = SPECIAL.get(command.name)
    if special is not None:
        return await special(shards, args)
    if command.place is Place.FANOUT:
        replies = await shards.on_all(args, writes=F.WRITE in command.flags)
        return merge(command.response, [reply for (reply,) in replies])
    if command.request is Request.MULTI_SHARD and command.name not in TRANSACTIONS:
        return await split(shards, command, args)
    if not shards.keys(command, args):
        return await shards.run(0, args)  # which finds the words for what is wrong
    return await TRANSACTIONS.get(command.name, at_home)(shards, command, args)


def may_wait(command: Command, args: list[bytes]) -> bool:
    """Whether a command that can block may do so: XREAD and XREADGROUP only when they are told."""
    return command.name not in ("XREAD", "XREADGROUP") or block_ms(args) is not None


def block_ms(args: list[bytes]) -> int | None:
    """What BLOCK is given; 0 for what is wrong with it, None without it."""
    for at, word in enumerate(args[:-1]):
        if word.upper() == b"STREAMS":
            break
        if word.upper() == b"BLOCK":
            return parse_int64(args[at + 1]) or 0
    return None


async def wait_for_keys(shards: Shards, command: Command, args: list[bytes]) -> bytes:
    """A command that blocks: try it, and again when its turn has come, until it finds something.

    It waits beside all others, so that those that could end it find room. Once it has its turn,
    others wait for the keys that are locked for it: it must not wait for room behind them.
    """
    host = shards.host
    wait = shards.wait = Wait(
        host, shards.session, args, moves=TRANSACTIONS[command.name] is move_element
    )
    run = TRANSACTIONS[command.name]
    try:
        async with host.transactions:
            reply = await run(shards, command, args)
        while True:
            if not wait.registered or not is_null(reply):
                return reply
            answer = await wait.turn()
            if answer is not None:
                return answer
            reply = await run(shards, command, wait.args)
    finally:
        wait.end()


def groups_by_shard(shards: Shards, args: Sequence[bytes], step: int) -> dict[int, list[int]]:
    """The positions of the keys, in steps from 1 on, by their shard."""
    groups: dict[int, list[int]] = {}
    for position in range(1, len(args), step):
        groups.setdefault(shards.of(args[position]), []).append(position)
    return groups


def require_whole_steps(command: Command, args: Sequence[bytes]) -> int:
    """How many arguments belong to each key; raises CommandError if some are missing."""
    step = command.keys[0].step
    if (len(args) - 1) % step:
        name = command.name.lower().encode()
        raise CommandError(b"ERR wrong number of arguments for '%b' command" % name)
    return step


async def split(shards: Shards, command: Command, args: list[bytes]) -> bytes:
    """A command that can be cut up by its keys (DEL, MGET, MSET, ...): one part per shard."""
    step = require_whole_steps(command, args)
    groups = groups_by_shard(shards, args, step)
    parts = {
        shard: [[args[0], *(arg for at in positions for arg in args[at : at + step])]]
        for shard, positions in groups.items()
    }
    answers = await shards.execute(parts, writes=F.WRITE in command.flags)
    replies = [answers[shard][0] for shard in groups]
    if command.response is Response.DEFAULT:
        return interleave(
            replies, [[position - 1 for position in positions] for positions in groups.values()]
        )
    return merge(command.response, replies)


# At home, with copies of the others' keys


async def at_home(shards: Shards, command: Command, args: list[bytes]) -> bytes:
    """A command that computes one result: it runs in the shard of a key it writes, lent the others.

    It may ask for more keys than its arguments name (SORT), and is then run again from its start,
    with all of them.
    """
    positions = shards.uses(command, args)
    home = shards.of(args[min(positions, key=home_preference)[0]])
    keys = locked_alone(args, positions)
    for _ in range(ROUNDS_MAX):
        transaction = shards.transaction(keys)
        try:
            lends = {
                shard: [[b"SHARDIS.LEND", key] for key in group]
                for shard, group in transaction.groups.items()
                if shard != home
            }
            answers = await transaction.lock(quiet=lends)
            lent = await transaction.bring(
                {
                    words[1]: answer
                    for shard, commands in lends.items()
                    for words, answer in zip(commands, answers[shard], strict=True)
                },
                home,
            )
            done = await transaction.commit(
                {home: [[b"SHARDIS.WITH", *args]]}, borrowed={home: lent}
            )
            parts = elements(done[home][0]) if done[home][0].startswith(b"*") else None
            if parts is None:
                return done[home][0]
            if len(parts) == 2:
                transaction.usage = bulks(parts[1])
                reply = payload(parts[0])
                if not is_error(reply):  # else it may not have come as far as to look at them
                    meet(transaction, shards, (key for key, value in lent.items() if not value))
                return reply
        finally:
            transaction.release()
        keys |= dict.fromkeys(set(bulks(parts[0])) - keys.keys(), False)
    raise CommandError(b"TRYAGAIN The keys that the command needs change all the time")


def home_preference(position: tuple[int, Keys]) -> tuple[bool, bool, int]:
    """A key that is overwritten before one that is changed, before one that is read.

    Of two that would be overwritten the last one is (GEORADIUS with STORE and STOREDIST).
    """
    index, spec = position
    flags = spec.flags.upper().split()
    overwritten = bool({"OW", "INSERT"} & {*flags})
    return not overwritten, "RW" not in flags, -index if overwritten else index


def locked_alone(args: list[bytes], positions: Iterable[tuple[int, Keys]]) -> dict[bytes, bool]:
    """A command's keys, and whether it may change each; those that it only reads can be shared."""
    keys: dict[bytes, bool] = {}
    for index, spec in positions:
        keys[args[index]] = keys.get(args[index], False) or "RO" not in spec.flags.upper().split()
    return keys


def bulks(array: bytes) -> list[bytes]:
    """The contents of an array of bulk strings."""
    return [payload(item) for item in elements(array) or []]


def payload(reply: bytes) -> bytes:
    """The content of one bulk string or integer reply."""
    head, _, rest = reply.partition(b"\r\n")
    return rest[:-2] if reply.startswith(b"$") else head[1:]


# A part in each key's shard


def meet(transaction: Transaction, shards: Shards, keys: Iterable[bytes]) -> None:
    """Look these keys up as redis-server would have done: an expired one goes by that."""
    for key in keys:
        transaction.last_words.setdefault(shards.of(key), []).append([b"SHARDIS.MEET", key])


async def rename(shards: Shards, command: Command, args: list[bytes]) -> bytes:
    """RENAME and RENAMENX: the value goes to the target's shard, and then from the source's."""
    source, target = args[1:]
    only_new = command.name == "RENAMENX"
    at, to = shards.of(source), shards.of(target)
    transaction = shards.transaction({source: True, target: True})
    try:
        answers = await transaction.lock(
            quiet={at: [[b"SHARDIS.LEND", source]], to: [[b"EXISTS", target]]},
            parts={at: [[b"SHARDIS.DROP", source, b"rename_from"]]},
        )
        value = answers[at][0]
        if value == NOTHING:
            meet(transaction, shards, [source])
            raise CommandError(NO_SUCH_KEY)
        if only_new and integer(answers[to][0]):
            return b":0\r\n"
        borrowed = await transaction.bring({source: value}, to)
        await transaction.commit(
            {to: [[b"SHARDIS.STORE", target, b"rename_to"]]}, borrowed={to: borrowed}
        )
        return b":1\r\n" if only_new else OK
    finally:
        transaction.release()


def sides(command: Command, args: list[bytes]) -> tuple[bytes, bytes]:
    """Which end an element is taken from, and which end it is put at. Raises CommandError."""
    if command.name in ("RPOPLPUSH", "BRPOPLPUSH"):
        words = (b"RIGHT", b"LEFT")
    else:
        words = (args[3].upper(), args[4].upper())
        if not {*words} <= {b"LEFT", b"RIGHT"}:
            raise CommandError(SYNTAX)
    if command.name in ("BLMOVE", "BRPOPLPUSH"):
        timeout_ms(args[-1], 0)
    return words


async def move_element(shards: Shards, command: Command, args: list[bytes]) -> bytes:
    """LMOVE and its like: the element is put at the target, and then taken from the source. O(1)"""
    source, target = args[1:3]
    taken_from, put_at = sides(command, args)
    at, to = shards.of(source), shards.of(target)
    transaction = shards.transaction({source: True, target: True})
    try:
        answers = await transaction.lock(
            quiet={
                at: [[b"LINDEX", source, b"0" if taken_from == b"LEFT" else b"-1"]],
                to: [[b"TYPE", target]],
            },
            parts={at: [[b"SHARDIS.POP", source, taken_from]]},
        )
        element, kind = answers[at][0], answers[to][0]
        if is_null(element):
            meet(transaction, shards, [source])
            if shards.wait is not None:
                timeout = timeout_ms(args[-1], 0)
                await shards.wait.register(transaction, b"list", [source], timeout)
            return element
        if is_error(element):
            return element
        if kind not in (NO_TYPE, b"+list\r\n"):
            raise CommandError(WRONG_TYPE)
        push = b"LPUSH" if put_at == b"LEFT" else b"RPUSH"
        await transaction.commit({to: [[push, target, payload(element)]]})
        return element
    finally:
        transaction.release()


async def move_member(shards: Shards, command: Command, args: list[bytes]) -> bytes:
    """SMOVE: the member is added to the target, and then removed from the source. O(1)"""
    source, target, member = args[1:]
    at, to = shards.of(source), shards.of(target)
    transaction = shards.transaction({source: True, target: True})
    try:
        answers = await transaction.lock(
            quiet={
                at: [[b"TYPE", source], [b"SISMEMBER", source, member]],
                to: [[b"TYPE", target]],
            },
            parts={at: [[b"SREM", source, member]]},
        )
        kinds = answers[at][0], answers[to][0]
        if kinds[0] == NO_TYPE:
            meet(transaction, shards, [source, target])
            return b":0\r\n"
        if kinds[0] != b"+set\r\n" or kinds[1] not in (NO_TYPE, b"+set\r\n"):
            meet(transaction, shards, [target])
            raise CommandError(WRONG_TYPE)
        if not integer(answers[at][1]):
            meet(transaction, shards, [target])
            return b":0\r\n"
        await transaction.commit({to: [[b"SADD", target, member]]})
        return b":1\r\n"
    finally:
        transaction.release()


async def take_from_first(shards: Shards, command: Command, args: list[bytes]) -> bytes:
    """LMPOP, ZMPOP, BLPOP and their like: the command runs on the first key that is there."""
    positions = shards.keys(command, args) or []
    keys = [args[position] for position in positions]
    if command.keys[0].count_at and positions[-1] + 1 == len(args):
        raise CommandError(SYNTAX)  # the side is missing
    transaction = shards.transaction(dict.fromkeys(keys, True))
    try:
        looks = {
            shard: [[b"TYPE", key] for key in group] for shard, group in transaction.groups.items()
        }
        answers = await transaction.lock(quiet=looks)
        kinds = {
            words[1]: answer
            for shard, commands in looks.items()
            for words, answer in zip(commands, answers[shard], strict=True)
        }
        there = [at for at, key in enumerate(keys) if kinds[key] != NO_TYPE]
        # Without one, any of them finds the words, or the null.
        chosen = there[0] if there else len(keys) - 1
        meet(transaction, shards, keys[:chosen])
        done = await transaction.commit(
            {shards.of(keys[chosen]): [with_one_key(command, args, positions, chosen)]}
        )
        reply = done[shards.of(keys[chosen])][0]
        if is_null(reply) and shards.wait is not None:
            wanted = b"zset" if command.name.startswith("BZ") else b"list"
            timeout = timeout_ms(args[1] if command.keys[0].count_at else args[-1], 0)
            await shards.wait.register(transaction, wanted, keys, timeout)
        return reply
    finally:
        transaction.release()


def with_one_key(
    command: Command, args: list[bytes], positions: list[int], chosen: int
) -> list[bytes]:
    """The command on one of its keys, which are neighbours, and maybe counted before them."""
    first, last = positions[0], positions[-1]
    count_at = command.keys[0].count_at
    head = [*args[:count_at], b"1"] if count_at else args[:first]
    return [*head, args[positions[chosen]], *args[last + 1 :]]


class Streams:
    """The streams of an XREAD or XREADGROUP, each with a command of its own for its shard."""

    def __init__(self, shards: Shards, args: list[bytes], positions: list[int]) -> None:
        head = args[: positions[0]]
        self.keys = [args[position] for position in positions]
        self.ids = args[positions[-1] + 1 :]
        self.calls = [[*head, key, id] for key, id in zip(self.keys, self.ids, strict=True)]
        self.by_shard: dict[int, list[int]] = {}
        for at, key in enumerate(self.keys):
            self.by_shard.setdefault(shards.of(key), []).append(at)

    def commands(self) -> dict[int, list[list[bytes]]]:
        """The commands of each shard."""
        return {shard: [self.calls[at] for at in places] for shard, places in self.by_shard.items()}

    def last_ids(self) -> dict[int, list[list[bytes]]]:
        """What each shard is asked to say what `$` stands for."""
        return {
            shard: [[b"SHARDIS.LASTID", self.keys[at]] for at in places if self.ids[at] == b"$"]
            for shard, places in self.by_shard.items()
        }

    def since(self, answers: dict[int, list[bytes]], args: list[bytes]) -> list[bytes]:
        """The command with what `$` stands for now, by the answers to `last_ids`."""
        ids = list(self.ids)
        for shard, places in self.by_shard.items():
            asked = [at for at in places if self.ids[at] == b"$"]
            for at, answer in zip(asked, answers[shard], strict=False):
                ids[at] = payload(answer)
        return [*args[: len(args) - len(ids)], *ids]

    def in_order(self, answers: dict[int, list[bytes]]) -> list[bytes]:
        """What the shards have answered, in the order of the arguments."""
        found = {
            at: reply
            for shard, places in self.by_shard.items()
            for at, reply in zip(places, answers[shard], strict=True)
        }
        return [found[at] for at in range(len(self.keys))]

    def merged(self, replies: list[bytes], resp: int) -> bytes:
        """One reply from those for each stream."""
        found = [reply.partition(b"\r\n")[2] for reply in replies if not is_null(reply)]
        if not found:
            return b"*-1\r\n" if resp == 2 else NULL[3]
        kind = b"%" if resp == 3 else b"*"
        return b"%b%d\r\n%b" % (kind, len(found), b"".join(found))


async def read_streams(shards: Shards, command: Command, args: list[bytes]) -> bytes:
    """XREAD: each shard reads its own streams under the locks."""
    streams = Streams(shards, args, shards.keys(command, args) or [])
    transaction = shards.transaction(dict.fromkeys(streams.keys, False))
    try:
        answers = await transaction.lock(quiet=streams.last_ids(), reads=streams.commands())
        replies = streams.in_order(
            {shard: found[-len(streams.by_shard[shard]) :] for shard, found in answers.items()}
        )
        errors = [reply for reply in replies if is_error(reply)]
        if errors:
            # Wrong arguments are found before any stream is looked at.
            wrong = b"-" + WRONG_TYPE + b"\r\n"
            return next((error for error in errors if error != wrong), wrong)
        reply = streams.merged(replies, shards.resp)
        if is_null(reply) and shards.wait is not None:
            shards.wait.args = streams.since(answers, args)
            timeout = block_ms(args) or 0
            await shards.wait.register(transaction, b"stream", streams.keys, timeout)
        return reply
    finally:
        transaction.release()


async def read_group(shards: Shards, command: Command, args: list[bytes]) -> bytes:
    """XREADGROUP: each shard reads its own streams, once all are known to have the group."""
    streams = Streams(shards, args, shards.keys(command, args) or [])
    transaction = shards.transaction(dict.fromkeys(streams.keys, True))
    group = group_of(args)
    try:
        have = streams.in_order(
            await transaction.lock(
                quiet={
                    shard: [[b"SHARDIS.GROUP", streams.keys[at], group] for at in places]
                    for shard, places in streams.by_shard.items()
                },
                parts=streams.commands(),
            )
        )
        for at, id in enumerate(streams.ids):
            if have[at] != OK or (id != b">" and not STREAM_ID.fullmatch(id)):
                # Alone, the first one with a fault finds the words for it, and reads nothing.
                # Redis has looked at those before it.
                for key in streams.keys[:at]:
                    words = transaction.last_words.setdefault(shards.of(key), [])
                    words.append([b"EXISTS", key])
                shard = shards.of(streams.keys[at])
                return (await transaction.hop(shard, (transaction.flags, [streams.calls[at]])))[0]
        replies = streams.in_order(await transaction.commit())
        reply = first_error(replies) or streams.merged(replies, shards.resp)
        if is_null(reply) and shards.wait is not None:
            timeout = block_ms(args) or 0
            await shards.wait.register(
                transaction, b"stream", streams.keys, timeout, on_removal=True
            )
        return reply
    finally:
        transaction.release()


def group_of(args: list[bytes]) -> bytes:
    """The group that XREADGROUP names."""
    at = next((i for i, word in enumerate(args[:-1]) if word.upper() == b"GROUP"), 0)
    return args[at + 1]


async def set_all_or_none(shards: Shards, command: Command, args: list[bytes]) -> bytes:
    """MSETNX: each shard sets its keys if none of all exists."""
    step = require_whole_steps(command, args)
    groups = groups_by_shard(shards, args, step)
    keys = args[1::step]
    transaction = shards.transaction(dict.fromkeys(keys, True))
    try:
        answers = await transaction.lock(
            quiet={
                shard: [[b"EXISTS", args[at]] for at in positions]
                for shard, positions in groups.items()
            },
            parts={
                shard: [[b"MSET", *(arg for at in positions for arg in args[at : at + step])]]
                for shard, positions in groups.items()
            },
        )
        exists = {
            at: integer(answer) != 0
            for shard, positions in groups.items()
            for at, answer in zip(positions, answers[shard], strict=True)
        }
        for at in range(1, len(args), step):
            if exists[at]:
                meet(transaction, shards, args[1:at:step])
                return b":0\r\n"
        await transaction.commit()
        return b":1\r\n"
    finally:
        transaction.release()


TRANSACTIONS: Final[dict[str, Callable[[Shards, Command, list[bytes]], Awaitable[bytes]]]] = {
    "RENAME": rename,
    "RENAMENX": rename,
    "LMOVE": move_element,
    "BLMOVE": move_element,
    "RPOPLPUSH": move_element,
    "BRPOPLPUSH": move_element,
    "SMOVE": move_member,
    "MSETNX": set_all_or_none,
    "XREAD": read_streams,
    "XREADGROUP": read_group,
    **dict.fromkeys(
        ("LMPOP", "BLMPOP", "ZMPOP", "BZMPOP", "BLPOP", "BRPOP", "BZPOPMIN", "BZPOPMAX"),
        take_from_first,
    ),
}


# Commands with rules of their own


async def random_key(shards: Shards, args: list[bytes]) -> bytes:
    """Each key with the same chance: a shard is chosen by how many keys it has."""
    answers = await shards.on_all(args, [b"DBSIZE"])
    sizes = [0 if is_error(size) else integer(size) for _, size in answers]
    return pick_random_key([reply for reply, _ in answers], sizes, shards.host.chance)


async def scan(shards: Shards, args: list[bytes]) -> bytes:
    """One step of a scan: in the shard that owns the cursor's slot, and in those after it.

    It goes on to the next shard until it has visited COUNT keys, so that a small database takes one
    step, as in redis-server. Of a shard that it was all through it knows how many that were; of the
    end of one, only if no option leaves keys out. It ends at a shard with nothing found only if
    that waits for a transaction: it sees all shards as they are at one moment, or stops.
    """
    transaction = shards.transaction({})
    try:
        return await scan_step(shards, transaction, args)
    finally:
        transaction.release()


async def scan_step(shards: Shards, transaction: Transaction, args: list[bytes]) -> bytes:
    # As C reads it: -1 is the highest cursor, which is never handed out.
    cursor = int(args[1]) % (1 << 64) if CURSOR.fullmatch(args[1]) else 0
    order = shards.host.first_slots  # (first slot, shard), in the order of the scan
    shard = shards.host.dispatcher.shard_of(cursor % SLOTS) if cursor else order[0][1]
    first = at = [number for _, number in order].index(shard)
    is_whole = cursor in (0, order[at][0])
    left, filtered = scan_options(args)
    found: list[bytes] = []
    while True:
        calls = [args, [b"DBSIZE"]] if is_whole else [args]
        answers = await transaction.read_beside(order[at][1], calls, waits=at == first)
        if not answers:
            return scan_reply(args[1], found)
        reply, *size = answers
        parts = elements(reply) if reply.startswith(b"*") else None
        if parts is None:
            return reply
        keys = elements(parts[1]) or []
        found += keys
        at += 1
        if parts[0] != SCAN_END or at == len(order):
            return scan_reply(payload(parts[0]), found)
        if size:
            left -= integer(size[0])
        else:
            left = 0 if filtered else left - len(keys)
        next_cursor = b"%d" % order[at][0]
        if left <= 0 and found:
            return scan_reply(next_cursor, found)
        is_whole = True
        args = [args[0], next_cursor, *args[2:], b"COUNT", b"%d" % max(left, 1)]


def scan_options(args: list[bytes]) -> tuple[int, bool]:
    """COUNT, and whether there are options that leave keys out; wrong ones are for the shard."""
    options = {word.upper(): value for word, value in zip(args[2::2], args[3::2], strict=False)}
    count = parse_int64(options.pop(b"COUNT", b"%d" % SCAN_COUNT))
    return SCAN_COUNT if count is None else count, bool(options)


def scan_reply(cursor: bytes, found: list[bytes]) -> bytes:
    return b"*2\r\n$%d\r\n%b\r\n*%d\r\n%b" % (len(cursor), cursor, len(found), b"".join(found))


async def swap(shards: Shards, args: list[bytes]) -> bytes:
    """SWAPDB counts as one change, in the first shard. What one shard refuses, all do."""
    parts = {shard: [[b"SHARDIS.SWAP", *args[1:]]] for shard in range(1, shards.count)}
    answers = await shards.execute({0: [args], **parts}, writes=True)
    return answers[0][0]


async def keys_of_slot(shards: Shards, args: list[bytes]) -> bytes:
    """CLUSTER COUNTKEYSINSLOT and GETKEYSINSLOT: the slot's shard knows, or any for an error."""
    slot = parse_int64(args[2])
    if slot is None or not 0 <= slot < SLOTS:
        slot = 0
    shard = shards.host.dispatcher.shard_of(slot)
    answers = await shards.execute({shard: [args]}, writes=False)
    return answers[shard][0]


async def watch(shards: Shards, args: list[bytes]) -> bytes:
    """WATCH: each key is watched in its shard. Nothing is locked: what changes later is noticed."""
    session = shards.session
    homes: dict[int, list[bytes]] = {}
    for key in args[1:]:
        homes.setdefault(shards.of(key), []).append(key)
    shards.require(homes)
    id = b"%d" % session.id
    replies = await asyncio.gather(
        *(shards.run(shard, [b"SHARDIS.WATCH", id, *keys]) for shard, keys in homes.items())
    )
    session.note_watched({(session.database, key): shards.of(key) for key in args[1:]})
    if session.closed:
        session.unwatch()
    return first_error(replies) or OK


SPECIAL: Final[dict[str, Callable[[Shards, list[bytes]], Awaitable[bytes]]]] = {
    "RANDOMKEY": random_key,
    "SCAN": scan,
    "DEBUG": debug,
    "SWAPDB": swap,
    "WATCH": watch,
    "CLUSTER|COUNTKEYSINSLOT": keys_of_slot,
    "CLUSTER|GETKEYSINSLOT": keys_of_slot,
}
