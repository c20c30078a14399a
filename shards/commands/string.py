"""The string family: values of bytes, and the counters kept in them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from protocol.commands import F, Keys, Request, Response, command
from protocol.errors import WRONG_TYPE, CommandError
from protocol.numbers import add_long_doubles
from shards.arguments.options import INT64_MAX, INT64_MIN, Option, Options, as_is, int64
from shards.kernels.lcs import align

if TYPE_CHECKING:
    from protocol.reply import Reply
    from shards.lane.context import Context

EXPIRE_NONE = -1
EXPIRE_KEEP = -2

TOO_LONG = b"ERR string exceeds maximum allowed size (proto-max-bulk-len)"
INCREMENT_OVERFLOW = b"ERR increment or decrement would overflow"
DECREMENT_OVERFLOW = b"ERR decrement would overflow"
NEGATIVE_OFFSET = b"ERR offset is out of range"

READ = Keys(1, flags="RO access")
UPDATE = Keys(1, flags="RW access update")
OVERWRITE = Keys(1, flags="OW update")

# Every way to give an expiry shuts out the others, but not itself: the last one counts.
EXPIRIES = (b"EX", b"PX", b"EXAT", b"PXAT")


def expiry_options(*others: bytes) -> list[Option]:
    """EX, PX, EXAT and PXAT: each is refused after another of them, or after `others`."""
    return [
        Option(name, as_is, (*others, *(other for other in EXPIRIES if other != name)))
        for name in EXPIRIES
    ]


SET_OPTIONS = Options(
    Option(b"NX", excludes=(b"XX",)),
    Option(b"XX", excludes=(b"NX",)),
    Option(b"GET"),
    Option(b"KEEPTTL", excludes=EXPIRIES),
    *expiry_options(b"KEEPTTL"),
)
GETEX_OPTIONS = Options(Option(b"PERSIST", excludes=EXPIRIES), *expiry_options(b"PERSIST"))
LCS_OPTIONS = Options(
    Option(b"IDX"), Option(b"LEN"), Option(b"WITHMATCHLEN"), Option(b"MINMATCHLEN", int64)
)


def expire_time(ctx: Context, name: bytes, kind: bytes, argument: bytes) -> int:
    """The Unix time in ms that an EX, PX, EXAT or PXAT argument means for the command `name`."""
    value = int64(argument)
    limit = INT64_MAX // 1000 if kind in (b"EX", b"EXAT") else INT64_MAX
    if 0 < value <= limit:
        if kind in (b"EX", b"EXAT"):
            value *= 1000
        if kind in (b"EX", b"PX"):
            value += ctx.now_ms
        if value <= INT64_MAX:
            return value
    raise CommandError(b"ERR invalid expire time in '%s' command" % name)


def given_expiry(ctx: Context, name: bytes, options: dict[bytes, Any]) -> tuple[bytes, int] | None:
    """Which expiry option was given and the time it means; None without one."""
    for kind in EXPIRIES:
        if kind in options:
            return kind, expire_time(ctx, name, kind, options[kind])
    return None


def store(ctx: Context, key: bytes, value: bytes, expire_ms: int | None, verbatim: bool) -> None:
    """Set a key and its expiry, and log the expiry as a time unless the call has it as one."""
    if expire_ms is None:
        ctx.set_string(key, value)
        ctx.changed(key, b"set")
        return
    ctx.set_string(key, value, expire_ms)
    if verbatim:
        ctx.propagate_raw()
    else:
        ctx.propagate([b"SET", key, value, b"PXAT", b"%d" % expire_ms])
    ctx.changed(key, b"set")
    ctx.notify(key, b"expire")


@command(
    "SET",
    arity=-3,
    flags=F.WRITE | F.DENYOOM,
    keys=Keys(
        1,
        flags="RW access update variable_flags",
        notes="RW and ACCESS due to the optional `GET` argument",
    ),
)
def set_(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Set a key to a string, whatever it held, and optionally its expiry. O(1)."""
    key, value = args[1], args[2]
    options = SET_OPTIONS.parse(args, 3)
    expiry = given_expiry(ctx, b"set", options)

    get = b"GET" in options
    old = ctx.read_string(key) if get else None
    if b"NX" in options or b"XX" in options:
        # The key was of type string or absent if GET has looked at it; else any type counts.
        exists = old is not None if get else ctx.exists(key, write=True)
        if exists is (b"NX" in options):
            reply.bulk_or_null(old)
            return

    if expiry is not None:
        store(ctx, key, value, expiry[1], verbatim=expiry[0] == b"PXAT")
    else:
        ctx.set_string(key, value, EXPIRE_KEEP if b"KEEPTTL" in options else EXPIRE_NONE)
        if get:
            # The log needs no reply.
            rest = [arg for arg in args[3:] if arg.upper() != b"GET"]
            ctx.propagate([args[0], key, value, *rest])
        else:
            ctx.propagate_raw()
        ctx.changed(key, b"set")
    if get:
        reply.bulk_or_null(old)
    else:
        reply.ok()


@command(
    "SETNX",
    arity=3,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=Keys(1, flags="OW insert"),
)
def setnx(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Set a key to a string unless the key exists. O(1)."""
    if ctx.exists(args[1], write=True):
        reply.integer(0)
        return
    store(ctx, args[1], args[2], None, verbatim=True)
    reply.integer(1)


@command(
    "SETEX",
    arity=4,
    flags=F.WRITE | F.DENYOOM,
    keys=OVERWRITE,
)
def setex(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Set a key to a string that expires after some seconds. O(1)."""
    expire_ms = expire_time(ctx, b"setex", b"EX", args[2])
    store(ctx, args[1], args[3], expire_ms, verbatim=False)
    reply.ok()


@command(
    "PSETEX",
    arity=4,
    flags=F.WRITE | F.DENYOOM,
    keys=OVERWRITE,
)
def psetex(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Set a key to a string that expires after some milliseconds. O(1)."""
    expire_ms = expire_time(ctx, b"psetex", b"PX", args[2])
    store(ctx, args[1], args[3], expire_ms, verbatim=False)
    reply.ok()


@command(
    "GET",
    arity=2,
    flags=F.READONLY | F.FAST,
    keys=READ,
)
def get(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the string a key holds. O(1)."""
    reply.bulk_or_null(ctx.read_string(args[1]))


@command(
    "GETSET",
    arity=3,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    keys=UPDATE,
)
def getset(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Set a key to a string and return the one it held before. O(1)."""
    old = ctx.read_string(args[1])
    ctx.set_string(args[1], args[2])
    ctx.propagate([b"SET", args[1], args[2]])
    ctx.changed(args[1], b"set")
    reply.bulk_or_null(old)


@command(
    "GETDEL",
    arity=2,
    flags=F.WRITE | F.FAST,
    keys=Keys(1, flags="RW access delete"),
)
def getdel(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the string a key holds and delete the key. O(1)."""
    value = ctx.read_string(args[1])
    if value is not None:
        ctx.delete(args[1])
        ctx.propagate([b"DEL", args[1]])
        ctx.changed(args[1], b"del")
    reply.bulk_or_null(value)


@command(
    "GETEX",
    arity=-2,
    flags=F.WRITE | F.FAST,
    keys=replace(UPDATE, notes="RW and UPDATE because it changes the TTL"),
)
def getex(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the string a key holds and change the key's expiry. O(1).

    Redis looks at the key before it reads the expiry's number: a missing key hides a bad number.
    """
    key = args[1]
    options = GETEX_OPTIONS.parse(args, 2)
    value = ctx.read_string(key)
    if value is None:
        reply.null()
        return
    expiry = given_expiry(ctx, b"getex", options)

    if expiry is not None:
        kind, expire_ms = expiry
        if kind in (b"EXAT", b"PXAT") and expire_ms <= ctx.now_ms:
            ctx.delete(key)
            ctx.propagate([b"DEL", key])
            ctx.changed(key, b"del")
        else:
            ctx.set_expire(key, expire_ms)
            ctx.propagate([b"PEXPIREAT", key, b"%d" % expire_ms])
            ctx.changed(key, b"expire")
    elif b"PERSIST" in options and ctx.expire_ms(key) != EXPIRE_NONE:
        ctx.set_expire(key, EXPIRE_NONE)
        ctx.propagate([b"PERSIST", key])
        ctx.changed(key, b"persist")
    reply.bulk(value)


@command(
    "STRLEN",
    arity=2,
    flags=F.READONLY | F.FAST,
    keys=Keys(1, flags="RO"),
)
def strlen(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the length of the string a key holds, 0 for a missing key. O(1)."""
    reply.integer(ctx.string_length(args[1]))


@command(
    "GETRANGE",
    arity=4,
    flags=F.READONLY,
    keys=READ,
)
@command(
    "SUBSTR",
    arity=4,
    flags=F.READONLY,
    keys=READ,
)
def getrange(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the part of a string between two positions, both included. O(N) for N bytes.

    Positions below zero count from the end; those outside the string move to its nearest byte.
    """
    start, end = int64(args[2]), int64(args[3])
    reply.bulk(ctx.read_part(args[1], start, end))


@command(
    "SETRANGE",
    arity=4,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=Keys(1, flags="RW update"),
)
def setrange(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Write bytes into a string at a position, padding it with zero bytes. O(N) for N bytes."""
    key, value = args[1], args[3]
    offset = int64(args[2])
    if offset < 0:
        raise CommandError(NEGATIVE_OFFSET)
    length = ctx.string_length(key, write=True)
    if not value:
        reply.integer(length)
        return
    if offset + len(value) > ctx.settings.proto_max_bulk_len:
        raise CommandError(TOO_LONG)

    length = ctx.set_range(key, offset, value)
    ctx.changed(key, b"setrange")
    reply.integer(length)


@command(
    "APPEND",
    arity=3,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=Keys(1, flags="RW insert"),
)
def append(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Append bytes to the string a key holds, or create it. O(1) amortised."""
    key, value = args[1], args[2]
    old = ctx.string_length(key, write=True)
    # A new key may hold whatever the protocol let in.
    if old + len(value) > ctx.settings.proto_max_bulk_len and ctx.exists(key, write=True):
        raise CommandError(TOO_LONG)

    length = ctx.append(key, value)
    ctx.changed(key, b"append")
    reply.integer(length)


def increment(ctx: Context, key: bytes, by: int, reply: Reply) -> None:
    """Add to the integer a key holds; a missing key counts as 0. The expiry stays."""
    value = ctx.write_string(key)
    result = by + (0 if value is None else int64(value))
    if not INT64_MIN <= result <= INT64_MAX:
        raise CommandError(INCREMENT_OVERFLOW)
    ctx.set_string(key, b"%d" % result, EXPIRE_KEEP)
    ctx.changed(key, b"incrby")
    reply.integer(result)


@command(
    "INCR",
    arity=2,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=UPDATE,
)
def incr(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Add one to the integer a key holds. O(1)."""
    increment(ctx, args[1], 1, reply)


@command(
    "DECR",
    arity=2,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=UPDATE,
)
def decr(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Subtract one from the integer a key holds. O(1)."""
    increment(ctx, args[1], -1, reply)


@command(
    "INCRBY",
    arity=3,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=UPDATE,
)
def incrby(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Add a number to the integer a key holds. O(1)."""
    increment(ctx, args[1], int64(args[2]), reply)


@command(
    "DECRBY",
    arity=3,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=UPDATE,
)
def decrby(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Subtract a number from the integer a key holds. O(1)."""
    by = int64(args[2])
    if by == INT64_MIN:
        raise CommandError(DECREMENT_OVERFLOW)
    increment(ctx, args[1], -by, reply)


@command(
    "INCRBYFLOAT",
    arity=3,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    keys=UPDATE,
)
def incrbyfloat(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Add a floating point number to the number a key holds. O(1).

    It is logged as the SET of its result: another machine may round or write it differently.
    """
    key = args[1]
    result = add_long_doubles(ctx.write_string(key), args[2])
    ctx.set_string(key, result, EXPIRE_KEEP, encode=False)
    ctx.propagate([b"SET", key, result, b"KEEPTTL"])
    ctx.changed(key, b"incrbyfloat")
    reply.bulk(result)


@command(
    "MGET",
    arity=-2,
    flags=F.READONLY | F.FAST,
    keys=Keys(1, -1, flags="RO access"),
    request=Request.MULTI_SHARD,
)
def mget(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the strings that several keys hold; null for a key without one. O(N) for N keys."""
    reply.array(len(args) - 1)
    for key in args[1:]:
        try:
            value = ctx.read_string(key)
        except CommandError:
            value = None
        reply.bulk_or_null(value)


def pairs(args: list[bytes]) -> list[tuple[bytes, bytes]]:
    """The keys and values of MSET and MSETNX."""
    if len(args) % 2 == 0:
        raise CommandError(b"ERR wrong number of arguments for '%s' command" % args[0].lower())
    return list(zip(args[1::2], args[2::2], strict=True))


@command(
    "MSET",
    arity=-3,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=Keys(1, -1, 2, flags="OW update"),
    request=Request.MULTI_SHARD,
    response=Response.ALL_SUCCEEDED,
)
def mset(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Set several keys to strings. O(N) for N keys."""
    for key, value in pairs(args):
        store(ctx, key, value, None, verbatim=True)
    reply.ok()


@command(
    "MSETNX",
    arity=-3,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=Keys(1, -1, 2, flags="OW insert"),
)
def msetnx(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Set several keys to strings, unless one of them exists. O(N) for N keys."""
    wanted = pairs(args)
    if any(ctx.exists(key, write=True) for key, _ in wanted):
        reply.integer(0)
        return
    for key, value in wanted:
        store(ctx, key, value, None, verbatim=True)
    reply.integer(1)


@command(
    "LCS",
    arity=-3,
    flags=F.READONLY,
    keys=Keys(1, 2, flags="RO access"),
)
def lcs(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Find the longest common subsequence of two strings. O(N*M) for strings of N and M bytes.

    The types are checked before the options here, unlike anywhere else, because Redis does.
    """
    texts: list[bytes | None] = []
    for key in args[1:3]:  # both are looked at, whatever the first one is
        try:
            texts.append(ctx.read_string(key) or b"")
        except CommandError as error:
            if error.message != WRONG_TYPE:
                raise
            texts.append(None)
    first, second = texts
    if first is None or second is None:
        raise CommandError(b"ERR The specified keys must contain string values")
    options = LCS_OPTIONS.parse(args, 3)
    indexes, only_length = b"IDX" in options, b"LEN" in options
    if indexes and only_length:
        raise CommandError(b"ERR If you want both the length and indexes, please just use IDX.")
    check_lcs_memory(ctx, len(first), len(second))
    try:
        found = align(first, second, only_length)
    except MemoryError:
        raise CommandError(
            b"ERR Insufficient memory, failed allocating transient memory for LCS"
        ) from None

    if only_length:
        reply.integer(found.length)
    elif found.text is not None and not indexes:
        reply.bulk(found.text)
    else:
        least = options.get(b"MINMATCHLEN", 0)
        with_length = b"WITHMATCHLEN" in options
        matches = [match for match in found.ranges if match[1] - match[0] + 1 >= least]
        reply.map(2)
        reply.bulk(b"matches")
        reply.array(len(matches))
        for first_a, last_a, first_b, last_b in matches:
            reply.array(3 if with_length else 2)
            for first_, last in ((first_a, last_a), (first_b, last_b)):
                reply.array(2)
                reply.integer(first_)
                reply.integer(last)
            if with_length:
                reply.integer(last_a - first_a + 1)
        reply.bulk(b"len")
        reply.integer(found.length)


def check_lcs_memory(ctx: Context, first_length: int, second_length: int) -> None:
    """Refuse what Redis refuses, by the size of the table it would need (ours is smaller)."""
    longest = (1 << 32) - 2
    if first_length >= longest or second_length >= longest:
        raise CommandError(b"ERR String too long for LCS")
    table_bytes = (first_length + 1) * (second_length + 1) * 4
    if table_bytes > ctx.settings.proto_max_bulk_len:
        raise CommandError(
            b"ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"
        )
