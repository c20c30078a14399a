"""Commands that look into a shard: DEBUG and MEMORY."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from zlib import crc32

from protocol.commands import F, Keys, Place, command
from protocol.errors import NO_SUCH_KEY, SYNTAX, CommandError
from protocol.help import help_reply
from protocol.numbers import parse_int64
from shards.arguments.options import INT32_MAX, Option, Options, int64, quoted, word
from shards.commands.generic import references, unknown_subcommand
from shards.inspect.digest import of_value
from shards.inspect.hashtables import NOTHING, text
from shards.inspect.layout import dict_figures, listpack_lines, quicklist_figures, quicklist_lines
from shards.inspect.unseen import unseen
from shards.kernels.glob import match

if TYPE_CHECKING:
    from protocol.reply import Reply
    from shards.lane.context import Context

logger = logging.getLogger("shardis")

DEBUG_HELP = (
    b"DIGEST",
    b"    Reply with one hash of all data.",
    b"DIGEST-VALUE [<key> ...]",
    b"    Reply with a hash of the value of each key.",
    b"ERROR <string>",
    b"    Reply with an error of this text.",
    b"HTSTATS <database> [FULL]",
    b"    Show the figures of the hash tables of a database, added up over its hash slots;",
    b"    with FULL, how evenly they are filled.",
    b"HTSTATS-KEY <key> [FULL]",
    b"    Show the same of the hash table that is a key's value.",
    b"LISTPACK <key>",
    b"    Write what the listpack of a key is made of to the log.",
    b"OBJECT <key>",
    b"    Show how a key and its value are stored.",
    b"QUICKLIST <key> [<0|1>]",
    b"    Write the nodes of a list to the log; with 1, all its elements too.",
    b"QUICKLIST-PACKED-THRESHOLD <size>",
    b"    Keep list elements from this size on (e.g. 1mb) out of listpacks; 0: the usual size.",
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
MEMORY_VALUE = re.compile(rb"([0-9]{0,127})(|b|k|kb|m|mb|g|gb)", re.IGNORECASE)
MEMORY_UNITS = {
    b"k": 1000,
    b"kb": 1 << 10,
    b"m": 1000**2,
    b"mb": 1 << 20,
    b"g": 1000**3,
    b"gb": 1 << 30,
}
PACKED_THRESHOLD_MAX = (1 << 32) - (1 << 20)
BAD_PACKED_THRESHOLD = b"ERR argument must be a memory value bigger than 1 and smaller than 4gb"

NO_HASH_TABLE = b"ERR The value stored at the specified key is not represented using an hash table"


@command(
    "DEBUG",
    arity=-2,
    flags=F.ADMIN | F.NOSCRIPT | F.LOADING | F.STALE | F.PROTECTED,
    # The process that has the client asks whom the subcommand concerns: shards/process/debug.py.
    place=Place.FANOUT,
)
def debug(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Look into the server and change what tests need changed."""
    subcommand = word(args[1])
    if subcommand == b"ERROR" and len(args) == 3:
        raise CommandError(args[2])
    elif subcommand == b"OBJECT" and len(args) == 3:
        reply.status(describe(ctx, args[2]))
    elif subcommand == b"HTSTATS-KEY" and len(args) >= 3:
        reply.verbatim(hash_table(ctx, args[2], full=wants_all(args)))
    elif subcommand == b"LISTPACK" and len(args) == 3:
        log_listpack(ctx, args[2])
        reply.status(b"Listpack structure printed on stdout")
    elif subcommand == b"QUICKLIST" and 3 <= len(args) <= 4:
        log_quicklist(ctx, args[2], LEADING_INTEGER.match(args[3]) if len(args) == 4 else None)
        reply.status(b"Quicklist structure printed on stdout")
    elif subcommand == b"QUICKLIST-PACKED-THRESHOLD" and len(args) == 3:
        ctx.keyspace.set_limits({"list-packed-threshold": packed_threshold(args[2])})
        reply.ok()
    elif subcommand == b"DIGEST-VALUE":
        reply.array(len(args) - 2)
        with unseen(ctx):
            for key in args[2:]:
                reply.status(of_value(ctx, key).hex().encode())
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
    """The line of DEBUG OBJECT, of a key that has expired too."""
    keyspace, database = ctx.keyspace, ctx.database
    encoding = keyspace.encoding(database, key)
    if encoding is None:
        raise CommandError(NO_SUCH_KEY)
    idle_seconds = keyspace.idle_seconds(database, key) or 0
    lru = (ctx.now_ms // 1000 - idle_seconds) & 0xFFFFFF
    with unseen(ctx):
        value = ctx.write_string(key) if encoding in (b"int", b"embstr", b"raw") else None
    # An address means nothing outside its process. What it is used for is to see whether a value
    # was changed in place, and our entries keep their place as long as their key does.
    return (
        b"Value at:0x%x refcount:%d encoding:%s serializedlength:%d lru:%d lru_seconds_idle:%d%s"
        % (
            crc32(key),
            references(ctx, encoding, value),
            encoding,
            (
                keyspace.memory_usage(database, key) or 0
                if value is None
                else serialized_length(value)
            ),
            lru,
            idle_seconds,
            describe_nodes(ctx, key) if encoding == b"quicklist" else b"",
        )
    )


def describe_nodes(ctx: Context, key: bytes) -> bytes:
    """What DEBUG OBJECT adds for a quicklist. O(nodes)."""
    figures = quicklist_figures(ctx.keyspace, ctx.database, key)
    if figures is None:
        return b""
    nodes, count, fill, depth, size = figures
    return (
        b" ql_nodes:%d ql_avg_node:%.2f ql_listpack_max:%d ql_compressed:%d"
        b" ql_uncompressed_size:%d" % (nodes, count / nodes, fill, depth != 0, size)
    )


def wants_all(args: list[bytes]) -> bool:
    """Whether HTSTATS and HTSTATS-KEY are to say everything; other words mean nothing."""
    return len(args) > 3 and word(args[3]) == b"FULL"


def hash_table(ctx: Context, key: bytes, full: bool) -> bytes:
    """The text of DEBUG HTSTATS-KEY. O(buckets) if full."""
    if not ctx.look(key):
        raise CommandError(NO_SUCH_KEY)
    figures = dict_figures(ctx.keyspace, ctx.database, key, full)
    if figures is None:
        raise CommandError(NO_HASH_TABLE)
    return text((figures, NOTHING), full)


def log_listpack(ctx: Context, key: bytes) -> None:
    """DEBUG LISTPACK; Redis prints on its standard output what goes to the log here. O(N)."""
    log_lines(
        ctx,
        key,
        lambda: listpack_lines(ctx.keyspace, ctx.database, key),
        b"Not a listpack encoded object.",
    )


def log_quicklist(ctx: Context, key: bytes, level: re.Match[bytes] | None) -> None:
    """DEBUG QUICKLIST; O(N) if the elements are wanted, which a level other than 0 says."""
    full = level is not None and int(level[1]) != 0
    log_lines(
        ctx,
        key,
        lambda: quicklist_lines(ctx.keyspace, ctx.database, key, full),
        b"Not a quicklist encoded object.",
    )


def log_lines(
    ctx: Context, key: bytes, layout: Callable[[], list[str] | None], error: bytes
) -> None:
    """Log how a key is laid out; without lines, say what the key isn't."""
    if not ctx.look(key):
        raise CommandError(NO_SUCH_KEY)
    lines = layout()
    if lines is None:
        raise CommandError(b"ERR " + error)
    for line in lines:
        logger.info("%r: %s", key, line)


def packed_threshold(argument: bytes) -> int:
    """The bytes from which on a list's element stands alone; 0 for the default."""
    found = MEMORY_VALUE.fullmatch(argument.partition(b"\0")[0])
    if found is None:
        raise CommandError(BAD_PACKED_THRESHOLD)
    # As C's unsigned numbers: too many digits are the largest number, a unit may then overflow.
    size = min(int(found[1] or b"0"), (1 << 64) - 1) * MEMORY_UNITS.get(found[2].lower(), 1)
    size &= (1 << 64) - 1
    if size > PACKED_THRESHOLD_MAX:
        raise CommandError(BAD_PACKED_THRESHOLD)
    return size


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


@command("MEMORY", arity=-2)
def memory(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Look into the use of memory."""
    raise unknown_subcommand(args)


@command(
    "MEMORY|HELP",
    arity=2,
    flags=F.LOADING | F.STALE,
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
