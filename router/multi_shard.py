"""Commands that concern more than one shard: `run_multi_shard`.

The session is held meanwhile, so a client's own order is kept. Until transactions over shards
exist, what is cut up by its keys (DEL, MSET, ...) is atomic on each shard, not over all: others may
see it half done. Any other command holds all its keys while it runs, see `in_one_shard`. What it
writes at home is written before anything is taken from elsewhere, so that a failure between never
loses data.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from protocol.commands import Command, Keys, Place, Request, Response
from protocol.errors import LOADING, CommandError
from protocol.key_specs import key_positions
from protocol.numbers import parse_int64
from protocol.replies import elements
from protocol.replies import replies as cut_up
from protocol.slots import key_slot
from router.merge import all_succeeded, first_error, integer, interleave, is_null, merge
from sessions.barriers import Unanswerable
from shards.process.debug import debug

if TYPE_CHECKING:
    from router.host import Host
    from sessions.session import Session

    Call = asyncio.Future[bytes]

SLOTS: Final = 16384
ROUNDS_MAX: Final = 16  # of a command that asks for more keys
NULL: Final = {2: b"$-1\r\n", 3: b"_\r\n"}
OK: Final = b"+OK\r\n"
CHANGE_WHAT_THEY_READ: Final = {"XREADGROUP"}  # whatever their key specs say
REFUSED: Final = b"*-1\r\n"  # by SHARDIS.TRYLOCK
SCAN_COUNT: Final = 10  # keys that a step visits, unless told otherwise
SCAN_END: Final = b"$1\r\n0\r\n"  # the cursor that ends a scan


class Shards:
    """The shards as one session's command sees them."""

    def __init__(self, host: Host, session: Session) -> None:
        self.host = host
        self.session = session
        self.database = session.database
        self.resp = session.resp
        self.count = len(host.epochs)
        self.databases = host.databases

    def of(self, key: bytes) -> int:
        return self.host.dispatcher.shard_of(key_slot(key))

    def run(self, shard: int, *commands: Sequence[bytes], takes_locks: bool = False) -> Call:
        """The raw replies of commands on one shard, in one run; an error reply is a reply."""
        return self.host.call(
            shard,
            commands,
            self.database,
            self.resp,
            no_touch=self.session.no_touch,
            takes_locks=takes_locks,
        )

    def require(self, shards: Iterable[int]) -> None:
        """Refuse a command whole before a part of it runs. Raises CommandError."""
        if not all(self.host.dispatcher.is_up(shard) for shard in shards):
            raise CommandError(LOADING)

    async def on_all(self, args: Sequence[bytes]) -> list[bytes]:
        self.require(range(self.count))
        return await asyncio.gather(*(self.run(shard, args) for shard in range(self.count)))

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
    special = SPECIAL.get(command.name)
    if special is not None:
        return await special(shards, args)
    if command.place is Place.FANOUT:
        return merge(command.response, await shards.on_all(args))
    if command.request is Request.MULTI_SHARD:
        return await split(shards, command, args)
    return await in_one_shard(shards, command, args)


def groups_by_shard(shards: Shards, args: Sequence[bytes], step: int) -> dict[int, list[int]]:
    """The positions of the keys, in steps from 1 on, by their shard."""
    groups: dict[int, list[int]] = {}
    for position in range(1, len(args), step):
        groups.setdefault(shards.of(args[position]), []).append(position)
    return groups


async def split(shards: Shards, command: Command, args: list[bytes]) -> bytes:
    """A command that can be cut up by its keys (DEL, MGET, MSET, ...): one part per shard."""
    step = command.keys[0].step
    if (len(args) - 1) % step:
        # The arguments are wrong; any shard finds the words for it.
        return await shards.run(0, args)
    groups = groups_by_shard(shards, args, step)
    shards.require(groups)
    replies = await asyncio.gather(
        *(
            shards.run(
                shard,
                [args[0], *(arg for at in positions for arg in args[at : at + step])],
            )
            for shard, positions in groups.items()
        )
    )
    if command.response is Response.DEFAULT:
        return interleave(
            replies, [[position - 1 for position in positions] for positions in groups.values()]
        )
    return merge(command.response, replies)


async def in_one_shard(shards: Shards, command: Command, args: list[bytes]) -> bytes:
    """Any other command: it runs in the shard of a key it writes, lent those of the others.

    All its keys are held until what it has changed of them is back in their shards, so that it is
    as if it had happened at one moment. It may ask for more keys than its arguments name (SORT),
    and is then run again from its start, with all of them.
    """
    positions = key_positions(command, args)
    if not positions:
        return await shards.run(0, args)  # which finds the words for what is wrong
    home = shards.of(args[min(positions, key=home_preference)[0]])
    keys = held_alone(command, args, positions)
    for _ in range(ROUNDS_MAX):
        loan = Loan(shards, home, keys)
        try:
            lent = await loan.take()
            words = [word for pair in lent.items() for word in pair]
            reply = await loan.run([b"SHARDIS.WITH", b"%d" % len(lent), *words, *args])
            parts = elements(reply) if reply.startswith(b"*") else None
            if parts is None:
                return reply
            if len(parts) == 3:
                changes = [bulks(change) for change in elements(parts[1]) or []]
                await loan.give_back(changes, bulks(parts[2]))
                return payload(parts[0])
        finally:
            loan.end()
        keys |= dict.fromkeys(set(bulks(parts[0])) - keys.keys(), False)
    raise CommandError(b"TRYAGAIN The keys that the command needs change all the time")


def home_preference(position: tuple[int, Keys]) -> tuple[bool, bool, int]:
    """A key that is overwritten before one that is changed, before one that is read."""
    index, spec = position
    flags = spec.flags.upper().split()
    return not {"OW", "INSERT"} & {*flags}, "RW" not in flags, index


def held_alone(
    command: Command, args: list[bytes], positions: Iterable[tuple[int, Keys]]
) -> dict[bytes, bool]:
    """A command's keys, and whether it may change each; those that it only reads can be shared."""
    keys: dict[bytes, bool] = {}
    for index, spec in positions:
        reads = "RO" in spec.flags.upper().split() and command.name not in CHANGE_WHAT_THEY_READ
        keys[args[index]] = keys.get(args[index], False) or not reads
    return keys


def bulks(array: bytes) -> list[bytes]:
    """The contents of an array of bulk strings."""
    return [payload(item) for item in elements(array) or []]


class ShardLost(Unanswerable):
    """A shard died with a call unanswered; whether it was executed is unknown."""


class Loan:
    """The keys of one command, held in their shards from `take` to `end`.

    Shards let other commands that need these keys wait meanwhile. Nobody waits for ever: locks are
    asked for on all shards at once only as long as nobody else has any of them; a command that has
    to wait does so on one shard at a time, the lower ones first, so that no two can wait for each
    other (docs/decisions/locks-in-the-order-of-shards.md).
    """

    def __init__(self, shards: Shards, home: int, keys: dict[bytes, bool]) -> None:
        self.shards = shards
        self.home = home
        self.groups: dict[int, dict[bytes, bool]] = {home: {}}
        for key, alone in keys.items():
            self.groups.setdefault(shards.of(key), {})[key] = alone
        self.held: set[int] = set()  # shards that hold keys for us, or may do so
        shards.host.locks_taken += 1
        self.number = b"%d" % shards.host.locks_taken

    async def take(self) -> dict[bytes, bytes]:
        """Hold all keys; the parcels of those that are not at home. Raises CommandError."""
        self.shards.require(self.groups)
        groups = [shard for shard, keys in self.groups.items() if keys]
        tried = await asyncio.gather(*(self.lock(shard, b"SHARDIS.TRYLOCK") for shard in groups))
        answers = dict(zip(groups, tried, strict=True))
        refused = [shard for shard, answer in answers.items() if answer == REFUSED]
        if refused:
            self.held.difference_update(refused)
            self.end()
            answers = {shard: await self.lock(shard, b"SHARDIS.LOCK") for shard in sorted(groups)}
        error = first_error(answers.values())
        if error is not None:
            raise CommandError(error[1:-2])
        return {
            key: parcel
            for shard, answer in answers.items()
            if shard != self.home
            for key, parcel in zip(self.groups[shard], bulks(answer), strict=True)
        }

    async def lock(self, shard: int, name: bytes) -> bytes:
        self.held.add(shard)
        words = [
            word
            for key, alone in self.groups[shard].items()
            for word in (key, b"w" if alone else b"r")
        ]
        lends = b"0" if shard == self.home else b"1"
        return await self.shards.run(shard, [name, self.number, lends, *words], takes_locks=True)

    async def run(self, args: list[bytes]) -> bytes:
        """Run what the keys are for, and let go those at home; what it answers."""
        self.held.discard(self.home)
        return cut_up(await self.shards.run(self.home, args, self.unlock()))[0]

    async def give_back(self, changes: list[list[bytes]], used: list[bytes]) -> None:
        """Store lent keys that were changed where they belong: new ones first, then what is gone.

        In this order a failure between never loses data. Raises ShardLost when a shard cannot be
        reached: the command has been executed, so an error reply would be a lie.
        """
        of = self.shards.of
        for gone in (False, True):
            imports: dict[int, list[list[bytes]]] = {}
            for change in changes:
                if (not change[1]) is gone:
                    imports.setdefault(of(change[0]), []).append([b"SHARDIS.IMPORT", *change])
            later = set() if gone else {of(change[0]) for change in changes if not change[1]}
            calls = []
            for shard, commands in imports.items():
                if shard not in later:
                    self.held.discard(shard)
                    commands.append(self.unlock(self.used_in(shard, used)))
                calls.append(self.shards.run(shard, *commands))
            answers = await asyncio.gather(*calls)
            if first_error([one for answer in answers for one in cut_up(answer)]) is not None:
                raise ShardLost
        for shard in {of(key) for key in used[::2]} & self.held:
            self.let_go(shard, self.used_in(shard, used))

    def used_in(self, shard: int, used: list[bytes]) -> list[bytes]:
        """Of keys and how they were used, one after another, those of one shard."""
        pairs = zip(used[::2], used[1::2], strict=True)
        return [word for pair in pairs if self.shards.of(pair[0]) == shard for word in pair]

    def unlock(self, used: Sequence[bytes] = ()) -> list[bytes]:
        return [b"SHARDIS.UNLOCK", self.number, *used]

    def let_go(self, shard: int, used: Sequence[bytes] = ()) -> None:
        """Unlock without waiting for it: what comes behind it on the link finds it done."""
        self.held.discard(shard)
        self.shards.run(shard, self.unlock(used)).add_done_callback(asyncio.Future.exception)

    def end(self) -> None:
        """Let go what is still held."""
        for shard in sorted(self.held):
            self.let_go(shard)


def payload(reply: bytes) -> bytes:
    """The content of one bulk string or integer reply."""
    head, _, rest = reply.partition(b"\r\n")
    return rest[:-2] if reply.startswith(b"$") else head[1:]


# Commands with rules of their own


async def random_key(shards: Shards, args: list[bytes]) -> bytes:
    """Each key with the same chance: a shard is chosen by how many keys it has."""
    sizes = await shards.on_all([b"DBSIZE"])
    error = first_error(sizes)
    if error is not None:
        return error
    counts = [integer(size) for size in sizes]
    while any(counts):
        shard = random.choices(range(shards.count), counts)[0]
        reply = await shards.run(shard, args)
        if not is_null(reply):
            return reply
        counts[shard] = 0  # all its keys had expired
    return NULL[shards.resp]


async def scan(shards: Shards, args: list[bytes]) -> bytes:
    """One step of a scan: in the shard that owns the cursor's slot, and in those behind it.

    It goes on to the next shard until it has visited COUNT keys, so that a small database takes one
    step, as in redis-server. Of a shard that it was all through it knows how many that were; of the
    end of one, only if no option leaves keys out. It never ends at a shard with nothing found.
    """
    cursor = int(args[1]) if args[1].isdigit() and len(args[1]) <= 20 else 0
    order = shards.host.first_slots  # (first slot, shard), in the order of the scan
    shard = shards.host.dispatcher.shard_of(cursor % SLOTS) if cursor else order[0][1]
    at = [number for _, number in order].index(shard)
    is_whole = cursor in (0, order[at][0])
    left, filtered = scan_options(args)
    found: list[bytes] = []
    while True:
        calls = [args, [b"DBSIZE"]] if is_whole else [args]
        reply, *size = cut_up(await shards.run(order[at][1], *calls))
        parts = elements(reply) if reply.startswith(b"*") else None
        if parts is None:
            return reply
        keys = elements(parts[1]) or []
        found += keys
        at += 1
        if parts[0] != SCAN_END or at == len(order):
            return scan_reply(parts[0], found)
        if size:
            left -= integer(size[0])
        else:
            left = 0 if filtered else left - len(keys)
        next_cursor = b"%d" % order[at][0]
        if left <= 0 and found:
            return scan_reply(b"$%d\r\n%b\r\n" % (len(next_cursor), next_cursor), found)
        is_whole = True
        args = [args[0], next_cursor, *args[2:], b"COUNT", b"%d" % max(left, 1)]


def scan_options(args: list[bytes]) -> tuple[int, bool]:
    """COUNT, and whether there are options that leave keys out; wrong ones are for the shard."""
    options = {word.upper(): value for word, value in zip(args[2::2], args[3::2], strict=False)}
    count = parse_int64(options.pop(b"COUNT", b"%d" % SCAN_COUNT))
    return SCAN_COUNT if count is None else count, bool(options)


def scan_reply(cursor: bytes, found: list[bytes]) -> bytes:
    return b"*2\r\n%b*%d\r\n%b" % (cursor, len(found), b"".join(found))


async def swap(shards: Shards, args: list[bytes]) -> bytes:
    """SWAPDB checks its arguments, and counts as one change, in the first shard."""
    shards.require(range(shards.count))
    reply = await shards.run(0, args)
    if reply != OK:
        return reply
    others = range(1, shards.count)
    replies = await asyncio.gather(
        *(shards.run(shard, [b"SHARDIS.SWAP", *args[1:]]) for shard in others)
    )
    return first_error(replies) or OK


async def keys_of_slot(shards: Shards, args: list[bytes]) -> bytes:
    """CLUSTER COUNTKEYSINSLOT and GETKEYSINSLOT: the slot's shard knows, or any for an error."""
    slot = parse_int64(args[2])
    if slot is None or not 0 <= slot < SLOTS:
        return await shards.run(0, args)
    return await shards.run(shards.host.dispatcher.shard_of(slot), args)


SPECIAL: Final[dict[str, Callable[[Shards, list[bytes]], Awaitable[bytes]]]] = {
    "RANDOMKEY": random_key,
    "SCAN": scan,
    "DEBUG": debug,
    "SWAPDB": swap,
    "CLUSTER|COUNTKEYSINSLOT": keys_of_slot,
    "CLUSTER|GETKEYSINSLOT": keys_of_slot,
}
