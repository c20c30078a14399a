"""DEBUG, as the process that has the client sees it: a worker, or a shard with its own port.

Some subcommands are answered here, some concern the shard of a key, all shards, or the router. The
shard's part is in shards/commands/server.py, the router's in router/commands/debug.py. What would
end a process on purpose is refused by name: there is no test it would be of use to, and a
supervisor that heals crashes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from protocol.errors import NOT_INTEGER, CommandError
from protocol.help import help_reply
from protocol.numbers import parse_int64
from protocol.replies import elements
from protocol.reply import Reply
from sessions.protected import allowed
from shards.arguments.options import word
from shards.commands.server import DEBUG_HELP, bad_subcommand, wants_all
from shards.inspect.digest_parts import EMPTY, fold, xor
from shards.inspect.hashtables import NOTHING, Figures, add, text, unpack

if TYPE_CHECKING:
    from sessions.session import Session

NOT_ALLOWED: Final = (
    b"ERR DEBUG command not allowed. If the enable-debug-command option is set to "
    b'"local", you can run it from a local connection, otherwise you need to set this option '
    b"in the configuration file, and then restart the server."
)
OUT_OF_RANGE: Final = b"ERR Out of range database"
NOT_POSITIVE: Final = b"ERR value is out of range, must be positive"
WRONG_TYPE_NAME: Final = (
    b"ERR Wrong protocol type name. Please use one of the following: string|integer|double|"
    b"bignum|null|array|set|map|attrib|push|verbatim|true|false"
)
HELP: Final = (
    b"CHANGE-REPL-ID",
    b"    Give the server another replication id.",
    b"CONFIG-REWRITE-FORCE-ALL",
    b"    Write all directives to the configuration file, those with default values too.",
    b"LOG <message>",
    b"    Write a message to the log.",
    b"PAUSE-CRON <0|1>",
    b"    With 1, all periodic work rests, and signals that end the server wait.",
    b"POPULATE <count> [<prefix>] [<size>]",
    b"    Create <count> strings, named <prefix>:<number> (default: key), of <size> bytes each.",
    b"PROTOCOL <type>",
    b"    Reply with a sample of a type: string, integer, double, bignum, null, array, set, map,",
    b"    attrib, push, verbatim, true or false.",
    b"REPLYBUFFER <PEAK-RESET-TIME <NEVER|RESET|milliseconds>|RESIZING <0|1>>",
    b"    Accepted for tests of redis-server, which has such a buffer for each client.",
)
REFUSED: Final = dict.fromkeys(
    (b"ASSERT", b"CRASH-AND-RECOVER", b"LEAK", b"OOM", b"PANIC", b"RESTART", b"SEGFAULT"),
    b"this server does not harm itself on request",
) | dict.fromkeys((b"AOF-FLUSH-SLEEP", b"LOADAOF", b"RELOAD"), b"nothing is saved in this version")
IN_SHARD_OF_KEY: Final = {b"OBJECT", b"LISTPACK", b"QUICKLIST", b"SDSLEN", b"HTSTATS-KEY"}
IN_ROUTER: Final = {
    b"CHANGE-REPL-ID": 2,
    b"CONFIG-REWRITE-FORCE-ALL": 2,
    b"LOG": 3,
    b"PAUSE-CRON": 3,
}  # with their arity
"""The other subcommands that a shard knows concern all shards; one OK answers for all."""


class Targets(Protocol):
    """The shards that one session's command may concern, counted from 0."""

    count: int
    resp: int
    databases: int
    session: Session

    @property
    def settings(self) -> Mapping[str, Any]:
        """The live configuration, by directive name."""

    def of(self, key: bytes) -> int:
        """The shard of a key."""

    def run(self, shard: int, args: Sequence[bytes]) -> Awaitable[bytes]:
        """The raw reply of one command on one shard; an error reply is a reply."""

    async def everywhere(self, args: Sequence[Sequence[bytes]]) -> bytes:
        """Run a command on each shard; the first error, or the first reply. Raises CommandError."""

    def slots_of(self, shard: int) -> bytes:
        """A byte for each slot, 1 if it is this shard's; b"": all are."""

    async def ask_router(self, args: list[bytes]) -> bytes:
        """The raw reply of an ADMIN command."""


async def debug(shards: Targets, args: list[bytes]) -> bytes:
    """One DEBUG command; the raw reply. Raises CommandError."""
    session = shards.session
    setting = str(shards.settings.get("enable-debug-command", "no"))
    if not allowed(setting, session.address, session.local_address):
        raise CommandError(NOT_ALLOWED)
    subcommand = word(args[1])
    if subcommand in REFUSED:
        raise CommandError(b"ERR DEBUG %s is refused: %s" % (subcommand, REFUSED[subcommand]))
    if IN_ROUTER.get(subcommand) == len(args):
        return await shards.ask_router([b"SHARDIS.DEBUG", *args[1:]])
    here = HERE.get(subcommand)
    if here is not None:
        return await here(shards, args)
    if subcommand in IN_SHARD_OF_KEY and len(args) > 2:
        return await shards.run(shards.of(args[2]), args)
    if subcommand in (b"ERROR", b"STRINGMATCH-LEN"):
        return await shards.run(0, args)
    return await shards.everywhere([args] * shards.count)


async def show_help(shards: Targets, args: list[bytes]) -> bytes:
    """All subcommands in the order of their names, wherever they run."""
    if len(args) != 2:
        raise bad_subcommand(args)
    entries: list[list[bytes]] = []
    for line in (*HELP, *DEBUG_HELP):
        if line.startswith(b" "):
            entries[-1].append(line)
        else:
            entries.append([line])
    reply = Reply(shards.resp)
    help_reply(reply, b"DEBUG", tuple(line for entry in sorted(entries) for line in entry))
    return reply.take()


async def protocol(shards: Targets, args: list[bytes]) -> bytes:
    """A sample of a reply type; the samples are those of redis-server, which clients test with."""
    if len(args) != 3:
        raise bad_subcommand(args)
    sample = SAMPLES.get(word(args[2]))
    if sample is None:
        raise CommandError(WRONG_TYPE_NAME)
    reply = Reply(shards.resp)
    sample(reply)
    return reply.take()


def _numbers(reply: Reply) -> None:
    for number in range(3):
        reply.integer(number)


def _array(reply: Reply) -> None:
    reply.array(3)
    _numbers(reply)


def _set(reply: Reply) -> None:
    reply.set(3)
    _numbers(reply)


def _map(reply: Reply) -> None:
    reply.map(3)
    for number in range(3):
        reply.integer(number)
        reply.boolean(number == 1)


def _attribute(reply: Reply) -> None:
    if reply.resp >= 3:
        reply.attribute(1)
        reply.bulk(b"key-popularity")
        reply.array(2)
        reply.bulk(b"key:123")
        reply.integer(90)
    reply.bulk(b"Some real reply following the attribute")


def _push(reply: Reply) -> None:
    if reply.resp < 3:
        raise CommandError(b"ERR RESP2 is not supported by this command")
    # Since 7.2 a push that is sent within a command comes after its reply.
    reply.bulk(b"Some real reply following the push reply")
    reply.push(2)
    reply.bulk(b"server-cpu-usage")
    reply.integer(42)


SAMPLES: Final[dict[bytes, Callable[[Reply], None]]] = {
    b"STRING": lambda reply: reply.bulk(b"Hello World"),
    b"INTEGER": lambda reply: reply.integer(12345),
    b"DOUBLE": lambda reply: reply.double(3.141),
    b"BIGNUM": lambda reply: reply.big_number(b"1234567999999999999999999999999999999"),
    b"NULL": lambda reply: reply.null(),
    b"ARRAY": _array,
    b"SET": _set,
    b"MAP": _map,
    b"ATTRIB": _attribute,
    b"PUSH": _push,
    b"VERBATIM": lambda reply: reply.verbatim(b"This is a verbatim\nstring"),
    b"TRUE": lambda reply: reply.boolean(True),
    b"FALSE": lambda reply: reply.boolean(False),
}


async def reply_buffer(shards: Targets, args: list[bytes]) -> bytes:
    """Check the arguments. Our output buffers have no peak that would have to be reset.

    They give their memory back as soon as they are sent, so neither setting has anything to act on.
    """
    what = word(args[2]) if len(args) == 4 else b""
    if what == b"PEAK-RESET-TIME":
        if word(args[3]) not in (b"NEVER", b"RESET") and parse_int64(args[3]) is None:
            raise CommandError(NOT_INTEGER)
    elif what != b"RESIZING":
        raise bad_subcommand(args)
    return b"+OK\r\n"


async def digest(shards: Targets, args: list[bytes]) -> bytes:
    """One hash of all data: the shards' hashes combined, database by database."""
    if len(args) != 2:
        raise bad_subcommand(args)
    databases: dict[int, bytes] = {}
    for reply in await asyncio.gather(
        *(shards.run(shard, [b"SHARDIS.DIGEST"]) for shard in range(shards.count))
    ):
        if reply.startswith(b"-"):
            return reply
        for number, item in enumerate(elements(reply) or []):
            value = item.partition(b"\r\n")[2][:-2]
            if value:
                databases[number] = xor(databases.get(number, EMPTY), value)
    return b"+" + fold(databases).hex().encode() + b"\r\n"


async def digest_value(shards: Targets, args: list[bytes]) -> bytes:
    """A hash of each key's value, from the shard that has it."""
    found: list[bytes] = []
    for reply in await asyncio.gather(
        *(shards.run(shards.of(key), [*args[:2], key]) for key in args[2:])
    ):
        if reply.startswith(b"-"):
            return reply
        found += elements(reply) or []
    return b"*%d\r\n%b" % (len(found), b"".join(found))


async def hash_tables(shards: Targets, args: list[bytes]) -> bytes:
    """The hash tables of one database: those of all slots of all shards added up."""
    if len(args) < 3:
        raise bad_subcommand(args)
    number = parse_int64(args[2])
    if number is None:
        raise CommandError(NOT_INTEGER)
    if not 0 <= number < shards.databases:
        raise CommandError(OUT_OF_RANGE)
    full = wants_all(args)
    totals: list[Figures] = [NOTHING] * 4
    for answer in await asyncio.gather(
        *(
            shards.run(shard, [b"SHARDIS.HTSTATS", b"%d" % number, b"%d" % full])
            for shard in range(shards.count)
        )
    ):
        if answer.startswith(b"-"):
            return answer
        totals = [add(*pair) for pair in zip(totals, unpack(answer), strict=True)]
    reply = Reply(shards.resp)
    reply.verbatim(
        b"[Dictionary HT]\n%b[Expires HT]\n%b"
        % (text((totals[0], totals[1]), full), text((totals[2], totals[3]), full))
    )
    return reply.take()


async def populate(shards: Targets, args: list[bytes]) -> bytes:
    """Create many strings: each shard is told the slots it has, and makes the keys in them."""
    if not 3 <= len(args) <= 5:
        raise bad_subcommand(args)
    for argument in (args[2], *args[4:]):
        number = parse_int64(argument)
        if number is None or number < 0:
            raise CommandError(NOT_POSITIVE)
    count, prefix, size = (*args[2:], *(b"key", b"0")[len(args) - 3 :])
    return await shards.everywhere(
        [
            [b"SHARDIS.POPULATE", count, prefix, size, shards.slots_of(shard)]
            for shard in range(shards.count)
        ]
    )


HERE: Final[dict[bytes, Callable[[Targets, list[bytes]], Awaitable[bytes]]]] = {
    b"DIGEST": digest,
    b"DIGEST-VALUE": digest_value,
    b"HELP": show_help,
    b"HTSTATS": hash_tables,
    b"POPULATE": populate,
    b"PROTOCOL": protocol,
    b"REPLYBUFFER": reply_buffer,
}
