"""The generic family: keys whatever they hold, their expiry, and whole databases."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.commands import F, Keys, Place, Request, Response, command
from protocol.errors import NO_SUCH_KEY, NOT_IN_CLUSTER, SAME_OBJECT, SYNTAX, CommandError
from protocol.help import help_reply
from protocol.numbers import parse_int64
from shards.arguments.options import (
    INT64_MAX,
    INT64_MIN,
    Option,
    Options,
    as_is,
    int32,
    int64,
    quoted,
    word,
)
from shards.inspect.unseen import unseen
from shards.kernels.glob import matching

if TYPE_CHECKING:
    from protocol.reply import Reply
    from shards.lane.context import Context

EXPIRE_NONE = -1
SCAN_COUNT = 10
# Small numbers are shared objects in Redis, unless each value needs its own access time.
SHARED_INTEGERS = 10000
SHARED_REFERENCES = (1 << 31) - 1
CURSOR_MAX = (1 << 64) - 1
CURSOR_DIGITS = 20  # the least that may be above it

DATABASE_OUT_OF_RANGE = b"ERR DB index is out of range"
INVALID_CURSOR = b"ERR invalid cursor"
POLICY_ADVICE = (
    b" Please note that when switching between policies at runtime LRU and LFU data will take"
    b" some time to adjust."
)
LFU_SELECTED = b"ERR An LFU maxmemory policy is selected, idle time not tracked." + POLICY_ADVICE
LFU_NOT_SELECTED = (
    b"ERR An LFU maxmemory policy is not selected, access frequency not tracked." + POLICY_ADVICE
)


# Keys


@command(
    "DEL",
    arity=-2,
    flags=F.WRITE,
    verbatim=True,
    keys=Keys(1, -1, flags="RM delete"),
    request=Request.MULTI_SHARD,
    response=Response.AGG_SUM,
)
@command(
    "UNLINK",
    arity=-2,
    flags=F.WRITE | F.FAST,
    verbatim=True,
    keys=Keys(1, -1, flags="RM delete"),
    request=Request.MULTI_SHARD,
    response=Response.AGG_SUM,
)
def delete(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Delete keys and return how many there were. O(N) for N keys."""
    deleted = 0
    for key in args[1:]:
        if ctx.delete(key):
            ctx.changed(key, b"del")
            deleted += 1
    reply.integer(deleted)


@command(
    "EXISTS",
    arity=-2,
    flags=F.READONLY | F.FAST,
    keys=Keys(1, -1, flags="RO"),
    request=Request.MULTI_SHARD,
    response=Response.AGG_SUM,
)
def exists(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Count the keys that exist; one named twice counts twice. O(N) for N keys."""
    reply.integer(sum(ctx.exists(key) for key in args[1:]))


@command(
    "TOUCH",
    arity=-2,
    flags=F.READONLY | F.FAST,
    keys=Keys(1, -1, flags="RO"),
    request=Request.MULTI_SHARD,
    response=Response.AGG_SUM,
)
def touch(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Count the keys that exist, and note them as just used. O(N) for N keys."""
    reply.integer(sum(ctx.exists(key, touch=True) for key in args[1:]))


@command(
    "TYPE",
    arity=2,
    flags=F.READONLY | F.FAST,
    keys=Keys(1, flags="RO"),
)
def type_(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the name of a key's type, `none` for a missing key. O(1)."""
    reply.status(ctx.type(args[1]) or b"none")


@command(
    "RENAME",
    arity=3,
    flags=F.WRITE,
    verbatim=True,
    keys=(Keys(1, flags="RW access delete"), Keys(2, flags="OW update")),
)
def rename(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Give a key another name, overwriting a key of that name. O(1)."""
    source, target = args[1], args[2]
    if not ctx.exists(source, write=True):
        raise CommandError(NO_SUCH_KEY)
    if source != target:
        move_name(ctx, source, target)
    reply.ok()


@command(
    "RENAMENX",
    arity=3,
    flags=F.WRITE | F.FAST,
    verbatim=True,
    keys=(Keys(1, flags="RW access delete"), Keys(2, flags="OW insert")),
)
def renamenx(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Give a key another name, unless a key of that name exists. O(1)."""
    source, target = args[1], args[2]
    if not ctx.exists(source, write=True):
        raise CommandError(NO_SUCH_KEY)
    if source == target or ctx.exists(target, write=True):
        reply.integer(0)
        return
    move_name(ctx, source, target)
    reply.integer(1)


def move_name(ctx: Context, source: bytes, target: bytes) -> None:
    ctx.rename(source, target)
    ctx.changed(source, b"rename_from")
    ctx.notify(target, b"rename_to")


def database_number(argument: bytes, databases: int) -> int:
    """A logical database number of this server."""
    number = int32(argument)
    if not 0 <= number < databases:
        raise CommandError(DATABASE_OUT_OF_RANGE)
    return number


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """What COPY's arguments say beside its two keys."""

    database: int  # of the target
    replace: bool


def copy_options(args: list[bytes], databases: int, current: int) -> CopyOptions:
    """The options of a COPY call. Raises CommandError, also for a key copied onto itself."""
    options = Options(
        Option(b"REPLACE"), Option(b"DB", lambda argument: database_number(argument, databases))
    ).parse(args, 3)
    database = options.get(b"DB", current)
    if database == current and args[1] == args[2]:
        raise CommandError(SAME_OBJECT)
    return CopyOptions(database, b"REPLACE" in options)


@command(
    "COPY",
    arity=-3,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=(Keys(1, flags="RO access"), Keys(2, flags="OW update")),
)
def copy(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Copy a key with its expiry to another name or database. O(N) for N nested items."""
    source, target = args[1], args[2]
    # A node of a cluster has one database.
    options = copy_options(args, 1 if ctx.cluster else ctx.databases, ctx.database)

    if not ctx.exists(source, touch=True) or (
        not options.replace and ctx.exists(target, database=options.database, write=True)
    ):
        reply.integer(0)
        return
    ctx.copy(source, target, options.database)
    ctx.changed(target, b"copy_to", database=options.database)
    reply.integer(1)


@command(
    "MOVE",
    arity=3,
    flags=F.WRITE | F.FAST,
    verbatim=True,
    keys=Keys(1, flags="RW access update"),
)
def move(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Move a key to another database, unless that has a key of this name. O(1)."""
    if ctx.cluster:
        raise CommandError(NOT_IN_CLUSTER % b"MOVE")
    key, database = args[1], database_number(args[2], ctx.databases)
    if database == ctx.database:
        raise CommandError(SAME_OBJECT)
    if not ctx.exists(key, write=True) or ctx.exists(key, database=database, write=True):
        reply.integer(0)
        return
    ctx.move(key, database)
    ctx.changed(key, b"move_from")
    ctx.notify(key, b"move_to", database)
    reply.integer(1)


# Expiry


def expire_conditions(args: list[bytes]) -> set[bytes]:
    """The conditions after an EXPIRE command's time; each mistake has its own text."""
    conditions = set()
    for argument in args[3:]:
        condition = word(argument)
        if condition not in (b"NX", b"XX", b"GT", b"LT"):
            raise CommandError(b"ERR Unsupported option " + quoted(argument).rstrip(b"\r\n"))
        conditions.add(condition)
    if b"NX" in conditions and len(conditions) > 1:
        raise CommandError(b"ERR NX and XX, GT or LT options at the same time are not compatible")
    if {b"GT", b"LT"} <= conditions:
        raise CommandError(b"ERR GT and LT options at the same time are not compatible")
    return conditions


def conditions_hold(conditions: set[bytes], current_ms: int, wanted_ms: int) -> bool:
    """Whether an expiry may be replaced. No expiry counts as a later time than any other."""
    if current_ms == EXPIRE_NONE:
        return not conditions & {b"XX", b"GT"}
    return not (
        b"NX" in conditions
        or (b"GT" in conditions and wanted_ms <= current_ms)
        or (b"LT" in conditions and wanted_ms >= current_ms)
    )


def expire_key(
    ctx: Context, args: list[bytes], reply: Reply, name: bytes, unit_ms: int, base_ms: int
) -> None:
    """EXPIRE and its relatives: a number of units after a base, both turned into a time."""
    key = args[1]
    conditions = expire_conditions(args)
    number = int64(args[2])
    expire_ms = number * unit_ms
    if not INT64_MIN <= expire_ms <= INT64_MAX - base_ms:
        raise CommandError(b"ERR invalid expire time in '%s' command" % name)
    expire_ms += base_ms

    ctx.meet(key)
    current_ms = ctx.expire_ms(key)
    if current_ms is None or not conditions_hold(conditions, current_ms, expire_ms):
        reply.integer(0)
        return
    if expire_ms <= ctx.now_ms:
        ctx.delete(key)
        ctx.propagate([b"DEL", key])
        ctx.changed(key, b"del")
    else:
        ctx.set_expire(key, expire_ms)
        if base_ms or unit_ms != 1:
            ctx.propagate([b"PEXPIREAT", key, b"%d" % expire_ms, *args[3:]])
        else:
            ctx.propagate_raw()
        ctx.changed(key, b"expire")
    reply.integer(1)


@command(
    "EXPIRE",
    arity=-3,
    flags=F.WRITE | F.FAST,
    keys=Keys(1, flags="RW update"),
)
def expire(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Let a key expire after some seconds. O(1)."""
    expire_key(ctx, args, reply, b"expire", unit_ms=1000, base_ms=ctx.now_ms)


@command(
    "PEXPIRE",
    arity=-3,
    flags=F.WRITE | F.FAST,
    keys=Keys(1, flags="RW update"),
)
def pexpire(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Let a key expire after some milliseconds. O(1)."""
    expire_key(ctx, args, reply, b"pexpire", unit_ms=1, base_ms=ctx.now_ms)


@command(
    "EXPIREAT",
    arity=-3,
    flags=F.WRITE | F.FAST,
    keys=Keys(1, flags="RW update"),
)
def expireat(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Let a key expire at a Unix time in seconds. O(1)."""
    expire_key(ctx, args, reply, b"expireat", unit_ms=1000, base_ms=0)


@command(
    "PEXPIREAT",
    arity=-3,
    flags=F.WRITE | F.FAST,
    keys=Keys(1, flags="RW update"),
)
def pexpireat(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Let a key expire at a Unix time in milliseconds. O(1)."""
    expire_key(ctx, args, reply, b"pexpireat", unit_ms=1, base_ms=0)


def expiry_of(ctx: Context, key: bytes, base_ms: int) -> int:
    """A key's expiry in ms after a base: -2 without a key, -1 without an expiry."""
    if not ctx.exists(key):
        return -2
    expire_ms = ctx.expire_ms(key)
    assert expire_ms is not None
    return EXPIRE_NONE if expire_ms == EXPIRE_NONE else max(expire_ms - base_ms, 0)


def rounded_seconds(ms: int) -> int:
    return ms if ms < 0 else (ms + 500) // 1000


@command(
    "TTL",
    arity=2,
    flags=F.READONLY | F.FAST,
    keys=Keys(1, flags="RO access"),
    tips=("nondeterministic_output",),
)
def ttl(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the seconds a key has left; -1 for ever, -2 for a missing key. O(1)."""
    reply.integer(rounded_seconds(expiry_of(ctx, args[1], ctx.now_ms)))


@command(
    "PTTL",
    arity=2,
    flags=F.READONLY | F.FAST,
    keys=Keys(1, flags="RO access"),
    tips=("nondeterministic_output",),
)
def pttl(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the milliseconds a key has left; -1 for ever, -2 for a missing key. O(1)."""
    reply.integer(expiry_of(ctx, args[1], ctx.now_ms))


@command(
    "EXPIRETIME",
    arity=2,
    flags=F.READONLY | F.FAST,
    keys=Keys(1, flags="RO access"),
)
def expiretime(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the Unix time in seconds at which a key expires. O(1)."""
    reply.integer(rounded_seconds(expiry_of(ctx, args[1], 0)))


@command(
    "PEXPIRETIME",
    arity=2,
    flags=F.READONLY | F.FAST,
    keys=Keys(1, flags="RO access"),
)
def pexpiretime(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the Unix time in milliseconds at which a key expires. O(1)."""
    reply.integer(expiry_of(ctx, args[1], 0))


@command(
    "PERSIST",
    arity=2,
    flags=F.WRITE | F.FAST,
    verbatim=True,
    keys=Keys(1, flags="RW update"),
)
def persist(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Let a key stay for ever again. O(1)."""
    if not ctx.exists(args[1], write=True) or ctx.expire_ms(args[1]) == EXPIRE_NONE:
        reply.integer(0)
        return
    ctx.set_expire(args[1], EXPIRE_NONE)
    ctx.changed(args[1], b"persist")
    reply.integer(1)


# Whole databases. Those that run on every shard see the keys of theirs; the router merges.


def count_of_keys(argument: bytes) -> int:
    """The value of SCAN's COUNT."""
    count = int64(argument)
    if count < 1:
        raise CommandError(SYNTAX)
    return count


SCAN_OPTIONS = Options(
    Option(b"COUNT", count_of_keys), Option(b"MATCH", as_is), Option(b"TYPE", as_is)
)


LOOSE_CURSOR = re.compile(rb"([+-]?)([0-9]+)|")


def scan_cursor(argument: bytes) -> int:
    """A cursor as C's strtoul reads it: nothing is 0, and a minus wraps round."""
    if argument.isdigit() and len(argument) < CURSOR_DIGITS:
        return int(argument)
    text = LOOSE_CURSOR.fullmatch(quoted(argument))
    if text is None:
        raise CommandError(INVALID_CURSOR)
    cursor = int(text[2] or b"0")
    if cursor > CURSOR_MAX:
        raise CommandError(INVALID_CURSOR)
    return -cursor & CURSOR_MAX if text[1] == b"-" else cursor


@command(
    "SCAN",
    arity=-2,
    flags=F.READONLY | F.TOUCHES_ARBITRARY_KEYS,
    request=Request.SPECIAL,
    response=Response.SPECIAL,
    tips=("nondeterministic_output",),
)
def scan(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Iterate over the keys in small steps. O(1) for each call.

    The cursor's low bits are a slot, by which the worker finds the shard. A type that does not
    exist is no mistake in Redis 7.2: no key has it.
    """
    cursor = scan_cursor(args[1])
    options = SCAN_OPTIONS.parse(args, 2)

    count = options.get(b"COUNT", SCAN_COUNT)
    expired: list[bytes] = []
    cursor, keys = ctx.keyspace.scan(ctx.database, cursor, count, expired=expired)
    if b"MATCH" in options:
        keys = matching(options[b"MATCH"], keys)
        expired = matching(options[b"MATCH"], expired)
    if b"TYPE" in options:
        wanted = word(options[b"TYPE"]).lower()
        # Each is looked up for its type, which counts, but is no use of the key.
        keys = [key for key in keys if ctx.look(key) and ctx.type(key, counted=False) == wanted]
        for key in expired:
            ctx.look(key)
    else:
        for key in expired:
            ctx.meet(key)
    reply.array(2)
    reply.bulk(b"%d" % cursor)
    reply.bulks(keys)


@command(
    "KEYS",
    arity=2,
    flags=F.READONLY,
    place=Place.FANOUT,
    request=Request.ALL_SHARDS,
    tips=("request_policy:all_shards", "nondeterministic_output_order"),
    acl=("keyspace", "dangerous"),
)
def keys(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return all keys that match a pattern. O(N) for N keys in the database."""
    matched = matching(args[1], ctx.keyspace.keys(ctx.database))
    reply.bulks([key for key in matched if not has_expired(ctx, key)])


def has_expired(ctx: Context, key: bytes) -> bool:
    """Whether a key that was just listed is past its time; not counted as a read."""
    expire_ms = ctx.keyspace.expire_ms(ctx.database, key)
    return expire_ms is None or (expire_ms != EXPIRE_NONE and expire_ms < ctx.now_ms)


@command(
    "RANDOMKEY",
    arity=1,
    flags=F.READONLY | F.TOUCHES_ARBITRARY_KEYS,
    place=Place.FANOUT,
    request=Request.ALL_SHARDS,
    response=Response.SPECIAL,
    tips=("request_policy:all_shards", "response_policy:special", "nondeterministic_output"),
)
def randomkey(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return a key chosen by chance, null from an empty database. O(1)."""
    reply.bulk_or_null(ctx.keyspace.random_key(ctx.database))


@command(
    "DBSIZE",
    arity=1,
    flags=F.READONLY | F.FAST,
    place=Place.FANOUT,
    request=Request.ALL_SHARDS,
    response=Response.AGG_SUM,
    acl=("keyspace",),
    group="server",
)
def dbsize(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return how many keys the database has. O(1)."""
    reply.integer(ctx.keyspace.size(ctx.database))


def is_lazy_flush(ctx: Context, args: list[bytes]) -> bool:
    """Whether memory is freed by the helper thread: ASYNC, SYNC, or as it is configured."""
    if len(args) == 1:
        return bool(ctx.settings.lazyfree_lazy_user_flush)
    if len(args) > 2 or word(args[1]) not in (b"ASYNC", b"SYNC"):
        raise CommandError(SYNTAX)
    return word(args[1]) == b"ASYNC"


@command(
    "FLUSHDB",
    arity=-1,
    flags=F.WRITE,
    place=Place.FANOUT,
    request=Request.ALL_SHARDS,
    response=Response.ALL_SUCCEEDED,
    acl=("keyspace", "dangerous"),
    group="server",
)
def flushdb(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Delete all keys of the database. O(N) for N keys.

    It is logged even if there were none: a replica might have some.
    """
    lazily = is_lazy_flush(ctx, args)
    ctx.flush(ctx.database, lazily)
    ctx.propagate(args)
    reply.ok()


@command(
    "FLUSHALL",
    arity=-1,
    flags=F.WRITE,
    place=Place.FANOUT,
    request=Request.ALL_SHARDS,
    response=Response.ALL_SUCCEEDED,
    acl=("keyspace", "dangerous"),
    group="server",
)
def flushall(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Delete all keys of all databases. O(N) for N keys."""
    lazily = is_lazy_flush(ctx, args)
    for database in range(ctx.databases):
        ctx.flush(database, lazily)
    ctx.propagate(args)
    reply.ok()


@command(
    "SWAPDB",
    arity=3,
    flags=F.WRITE | F.FAST,
    place=Place.FANOUT,
    acl=("keyspace", "dangerous"),
    group="server",
)
def swapdb(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Exchange two databases for all clients at once. O(1) in the number of keys."""
    if ctx.cluster:
        raise CommandError(NOT_IN_CLUSTER % b"SWAPDB")
    swap_databases(ctx, args)
    ctx.keyspace.changes += 1
    ctx.propagate(args)
    reply.ok()


def swap_databases(ctx: Context, args: list[bytes]) -> None:
    """Exchange the databases with these numbers. Raises CommandError."""
    first = int32(args[1], b"ERR invalid first DB index")
    second = int32(args[2], b"ERR invalid second DB index")
    if not (0 <= first < ctx.databases and 0 <= second < ctx.databases):
        raise CommandError(DATABASE_OUT_OF_RANGE)
    ctx.swap(first, second)


# OBJECT


OBJECT_HELP = (
    b"ENCODING <key>",
    b"    Show how the value of a key is stored in memory.",
    b"FREQ <key>",
    b"    Show how often a key is used, as a logarithmic counter (LFU policies only).",
    b"IDLETIME <key>",
    b"    Show for how many seconds a key has not been used (not with LFU policies).",
    b"REFCOUNT <key>",
    b"    Show how many references there are to the value of a key.",
)


def unknown_subcommand(args: list[bytes]) -> CommandError:
    """The error of a container whose second word names no subcommand."""
    return CommandError(
        b"ERR unknown subcommand '%s'. Try %s HELP." % (quoted(args[1], 128), args[0].upper())
    )


@command("OBJECT", arity=-2)
def object_(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Look into how a key is stored."""
    raise unknown_subcommand(args)


@command(
    "OBJECT|HELP",
    arity=2,
    flags=F.LOADING | F.STALE,
)
def object_help(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Describe the subcommands of OBJECT. O(1)."""
    help_reply(reply, b"OBJECT", OBJECT_HELP)


@command(
    "OBJECT|ENCODING",
    arity=3,
    flags=F.READONLY,
    keys=Keys(2, flags="RO"),
    tips=("nondeterministic_output",),
)
def object_encoding(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return how a key's value is stored in memory. O(1)."""
    found = ctx.look(args[2])
    reply.bulk_or_null(ctx.keyspace.encoding(ctx.database, args[2]) if found else None)


@command(
    "OBJECT|FREQ",
    arity=3,
    flags=F.READONLY,
    keys=Keys(2, flags="RO"),
    tips=("nondeterministic_output",),
)
def object_freq(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the logarithmic counter of a key's uses. O(1)."""
    if not ctx.look(args[2]):
        reply.null()
        return
    if not uses_lfu(ctx):
        raise CommandError(LFU_NOT_SELECTED)
    reply.integer(ctx.keyspace.frequency(ctx.database, args[2]) or 0)


@command(
    "OBJECT|IDLETIME",
    arity=3,
    flags=F.READONLY,
    keys=Keys(2, flags="RO"),
    tips=("nondeterministic_output",),
)
def object_idletime(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return for how many seconds a key has not been used. O(1)."""
    if not ctx.look(args[2]):
        reply.null()
        return
    if uses_lfu(ctx):
        raise CommandError(LFU_SELECTED)
    reply.integer(ctx.keyspace.idle_seconds(ctx.database, args[2]) or 0)


def uses_lfu(ctx: Context) -> bool:
    return ctx.settings.maxmemory_policy.endswith(b"-lfu")


@command(
    "OBJECT|REFCOUNT",
    arity=3,
    flags=F.READONLY,
    keys=Keys(2, flags="RO"),
    tips=("nondeterministic_output",),
)
def object_refcount(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return how many references there are to a key's value. O(1)."""
    if not ctx.look(args[2]):
        reply.null()
        return
    encoding = ctx.keyspace.encoding(ctx.database, args[2])
    with unseen(ctx):
        text = ctx.write_string(args[2]) if encoding == b"int" else None
    reply.integer(references(ctx, encoding, text))


def references(ctx: Context, encoding: bytes | None, text: bytes | None) -> int:
    """What Redis would count for an existing key: one, or its number for "shared by all".

    `text` is what the key holds if it is a string.
    """
    if encoding != b"int":
        return 1
    if ctx.settings.maxmemory_policy.endswith((b"-lru", b"-lfu")):
        return 1
    value = parse_int64(text or b"")
    return SHARED_REFERENCES if value is not None and 0 <= value < SHARED_INTEGERS else 1
