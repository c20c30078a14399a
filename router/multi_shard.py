"""Commands that concern more than one shard: `run_multi_shard`.

The session is held meanwhile, so a client's own order is kept. Until transactions over shards
exist, such a command is atomic on each shard, not over all: others may see it half done. What it
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
from protocol.slots import key_slot
from router.merge import all_succeeded, first_error, integer, interleave, is_null, merge
from sessions.barriers import Unanswerable
from shards.debug import debug

if TYPE_CHECKING:
    from router.host import Host
    from sessions.session import Session

SLOTS: Final = 16384
ROUNDS_MAX: Final = 16  # of a command that asks for more keys
NULL: Final = {2: b"$-1\r\n", 3: b"_\r\n"}
OK: Final = b"+OK\r\n"
SCAN_ENDS: Final = b"*2\r\n$1\r\n0\r\n"  # how a reply with the cursor 0 begins


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

    def run(
        self, shard: int, args: Sequence[bytes], database: int | None = None
    ) -> Awaitable[bytes]:
        """The raw reply of one command on one shard; an error reply is a reply."""
        return self.host.call(
            shard, [args], self.database if database is None else database, self.resp
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

    What it has changed of them goes back to their shards. It may ask for more keys than its
    arguments name (SORT), and is then run again from its start.
    """
    positions = key_positions(command, args)
    if not positions:
        return await shards.run(0, args)  # which finds the words for what is wrong
    home = shards.of(args[min(positions, key=home_preference)[0]])
    lent: dict[bytes, list[bytes]] = {}
    wanted = list(dict.fromkeys(args[index] for index, _ in positions))
    for _ in range(ROUNDS_MAX):
        lent |= await borrow(shards, home, wanted)
        words = [word for key, value in lent.items() for word in (key, *value)]
        reply = await shards.run(home, [b"SHARDIS.WITH", b"%d" % len(lent), *words, *args])
        parts = elements(reply) if reply.startswith(b"*") else None
        if parts is None:
            return reply
        if len(parts) == 2:
            await give_back(shards, [bulks(change) for change in elements(parts[1]) or []])
            return payload(parts[0])
        wanted = bulks(parts[0])
    raise CommandError(b"TRYAGAIN The keys that the command needs change all the time")


def home_preference(position: tuple[int, Keys]) -> tuple[bool, bool, int]:
    """A key that is overwritten before one that is changed, before one that is read."""
    index, spec = position
    flags = spec.flags.upper().split()
    return not {"OW", "INSERT"} & {*flags}, "RW" not in flags, index


def bulks(array: bytes) -> list[bytes]:
    """The contents of an array of bulk strings."""
    return [payload(item) for item in elements(array) or []]


async def borrow(shards: Shards, home: int, keys: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """What SHARDIS.WITH is lent of those keys that are not at home. Raises CommandError."""
    groups: dict[int, list[bytes]] = {}
    for key in keys:
        if shards.of(key) != home:
            groups.setdefault(shards.of(key), []).append(key)
    shards.require([home, *groups])
    replies = await asyncio.gather(
        *(shards.run(shard, [b"SHARDIS.EXPORT", *group]) for shard, group in groups.items())
    )
    error = first_error(replies)
    if error is not None:
        raise CommandError(error[1:-2])
    return {
        key: bulks(value)
        for group, reply in zip(groups.values(), replies, strict=True)
        for key, value in zip(group, elements(reply) or [], strict=True)
    }


class ShardLost(Unanswerable):
    """A shard died with a call unanswered; whether it was executed is unknown."""


async def give_back(shards: Shards, changes: list[list[bytes]]) -> None:
    """Store lent keys that were changed where they belong: new ones first, then what is gone.

    In this order a failure between never loses data. Raises ShardLost when a shard cannot be
    reached: the command has been executed, so an error reply would be a lie.
    """
    for gone in (False, True):
        replies = await asyncio.gather(
            *(
                shards.run(shards.of(change[0]), [b"SHARDIS.IMPORT", *change])
                for change in changes
                if (not change[1]) is gone
            )
        )
        if first_error(replies) is not None:
            raise ShardLost


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
    """One step of a scan, in the shard that owns the cursor's slot; shards follow one another."""
    dispatcher = shards.host.dispatcher
    try:
        cursor = int(args[1]) if args[1].isdigit() and len(args[1]) <= 20 else 0
    except ValueError:
        cursor = 0
    order = shards.host.first_slots  # (first slot, shard), in the order of the scan
    shard = dispatcher.shard_of(cursor % SLOTS) if cursor else order[0][1]
    reply = await shards.run(shard, args)
    for first, following in order[[number for _, number in order].index(shard) + 1 :]:
        if not reply.startswith(SCAN_ENDS):
            break
        if reply != SCAN_ENDS + b"*0\r\n":
            cursor_text = b"%d" % first
            rest = reply[len(SCAN_ENDS) :]
            return b"*2\r\n$%d\r\n%b\r\n%b" % (len(cursor_text), cursor_text, rest)
        # Nothing was found at the shard's end, so the next one is asked at once.
        reply = await shards.run(following, [args[0], b"%d" % first, *args[2:]])
    return reply


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
