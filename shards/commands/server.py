"""Commands that look into a shard: DEBUG and MEMORY."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from zlib import crc32

from protocol.commands import F, Keys, Place, command
from protocol.errors import NO_SUCH_KEY, SYNTAX, CommandError
from protocol.help import help_reply
from protocol.numbers import parse_int64
from shards.commands.generic import references, unknown_subcommand
from shards.glob import match
from shards.options import INT32_MAX, Option, Options, int64, quoted, word

if TYPE_CHECKING:
    from protocol.reply import Reply
    from shards.context import Context

DEBUG_HELP = (
    b"ERROR <string>",
    b"    Reply with an error of this text.",
    b"OBJECT <key>",
    b"    Show how a key and its value are stored.",
    b"SET-ACTIVE-EXPIRE <0|1>",
    b"    With 0, expired keys go only when they are looked at; 1 is the usual way.",
    b"SLEEP <seconds>",
    b"    Let the server stand still for so long; a fraction is allowed.",
    b"STRINGMATCH-LEN <pattern> <string>",
    b"    Show whether a glob pattern matches a string, as 1 or 0.",
)
MEMORY_HELP = (
    b"DOCTOR",
    b"    Explain in words whether memory is used well.",
    b"MALLOC-STATS",
    b"    Show what the allocators of the shards say of themselves.",
    b"PURGE",
    b"    Give free memory back to the system.",
    b"STATS",
    b"    Show what memory is used for.",
    b"USAGE <key> [SAMPLES <count>]",
    b"    Show how many bytes a key and its value take. The size of a collection is estimated",
    b"    from so many of its items (default: 5, 0 for all of them).",
)

# What C's strtod and atoi take from the start of a text; they never fail.
LEADING_FLOAT = re.compile(rb"\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)")
LEADING_INTEGER = re.compile(rb"\s*([+-]?[0-9]+)")


@command(
    "DEBUG",
    arity=-2,
    flags=F.ADMIN | F.NOSCRIPT | F.LOADING | F.STALE | F.PROTECTED,
    since="1.0.0",
    complexity="Depends on the subcommand.",
    # The process that has the client asks whom the subcommand concerns: see shards/debug.py.
    place=Place.FANOUT,
)
def debug(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Look into the server and change what tests need changed."""
    subcommand = word(args[1])
    if subcommand == b"ERROR" and len(args) == 3:
        raise CommandError(args[2])
    elif subcommand == b"OBJECT" and len(args) == 3:
        reply.status(describe(ctx, args[2]))
    elif subcommand == b"SLEEP" and len(args) == 3:
        found = LEADING_FLOAT.match(args[2])
        ctx.sleep(max(float(found[1]) if found else 0.0, 0.0))
        reply.ok()
    elif subcommand == b"SET-ACTIVE-EXPIRE" and len(args) == 3:
        number = LEADING_INTEGER.match(args[2])
        ctx.settings.active_expire = number is not None and int(number[1]) != 0
        reply.ok()
    elif subcommand == b"STRINGMATCH-LEN" and len(args) == 4:
        reply.integer(match(args[2], args[3]))
    else:
        raise bad_subcommand(args)


def bad_subcommand(args: list[bytes]) -> CommandError:
    """The error of a subcommand that is unknown, or has too few or many arguments."""
    return CommandError(
        b"ERR unknown subcommand or wrong number of arguments for '%s'. Try %s HELP."
        % (quoted(args[1], 128), args[0].upper())
    )


def describe(ctx: Context, key: bytes) -> bytes:
    """The line of DEBUG OBJECT."""
    keyspace, database = ctx.keyspace, ctx.database
    encoding = keyspace.encoding(database, key)
    if encoding is None:
        raise CommandError(NO_SUCH_KEY)
    idle_seconds = keyspace.idle_seconds(database, key) or 0
    lru = (ctx.now_ms // 1000 - idle_seconds) & 0xFFFFFF
    # An address means nothing outside its process. What it is used for is to see whether a value
    # was changed in place, and our entries keep their place as long as their key does.
    return (
        b"Value at:0x%x refcount:%d encoding:%s serializedlength:%d lru:%d lru_seconds_idle:%d"
        % (
            crc32(key),
            references(ctx, key),
            encoding,
            (
                serialized_length(ctx.write_string(key) or b"")
                if encoding in (b"int", b"embstr", b"raw")
                else keyspace.memory_usage(database, key) or 0
            ),
            lru,
            idle_seconds,
        )
    )


def serialized_length(value: bytes) -> int:
    """The bytes of a string in an RDB file, without compression. O(1)."""
    if len(value) <= 11:
        number = parse_int64(value)
        if number is not None:
            for length, bits in ((2, 8), (3, 16), (5, 32)):
                if -(1 << bits - 1) <= number < 1 << bits - 1:
                    return length
    for length, limit in ((1, 1 << 6), (2, 1 << 14), (5, 1 << 32)):
        if len(value) < limit:
            return length + len(value)
    return 9 + len(value)


@command("MEMORY", arity=-2, since="4.0.0", complexity="Depends on the subcommand.")
def memory(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Look into the use of memory."""
    raise unknown_subcommand(args)


@command(
    "MEMORY|HELP",
    arity=2,
    flags=F.LOADING | F.STALE,
    since="4.0.0",
    complexity="O(1)",
)
def memory_help(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Describe the subcommands of MEMORY. O(1)."""
    help_reply(reply, b"MEMORY", MEMORY_HELP)


def samples(argument: bytes) -> int:
    """The value of SAMPLES; 0 stands for all items."""
    count = int64(argument)
    if count < 0:
        raise CommandError(SYNTAX)
    return count or INT32_MAX


USAGE_OPTIONS = Options(Option(b"SAMPLES", samples))


@command(
    "MEMORY|USAGE",
    arity=-3,
    flags=F.READONLY,
    keys=Keys(2, flags="RO"),
    since="4.0.0",
    complexity="O(N) for N samples",
)
def memory_usage(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return how many bytes a key and its value take. O(N) for N samples.

    The keyspace knows the exact size of a string, which has nothing to sample.
    """
    USAGE_OPTIONS.parse(args, 3)
    usage = ctx.keyspace.memory_usage(ctx.database, args[2])
    if usage is None:
        reply.null()
    else:
        reply.integer(usage)
