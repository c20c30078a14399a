"""The set family: members without order, and what several sets have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.commands import F, Keys, command
from protocol.errors import SYNTAX, CommandError
from shards.arguments.options import INT64_MAX, Option, Options, as_is, int64
from shards.commands.drawing import NOT_A_COUNT, check_count, drawn
from shards.commands.generic import scan_cursor
from shards.kernels.glob import matching
from shards.views.set import (
    SetResult,
    SetView,
    common_members,
    count_common,
    intersect,
    subtract,
    unite,
)

if TYPE_CHECKING:
    from protocol.reply import Reply
    from shards.lane.context import Context

SCAN_COUNT = 10
# How many members SPOP's log names in one command.
LOGGED_MEMBERS_MAX = 1024

NOT_POSITIVE = b"ERR value is out of range, must be positive"
NUMKEYS_TOO_LOW = b"ERR numkeys should be greater than 0"
NUMKEYS_TOO_HIGH = b"ERR Number of keys can't be greater than number of args"
LIMIT_NEGATIVE = b"ERR LIMIT can't be negative"

READ = Keys(1, flags="RO access")
SOURCES = Keys(1, -1, flags="RO access")
STORED_SOURCES = Keys(2, -1, flags="RO access")
REPLACED = Keys(1, flags="OW update")


def positive(argument: bytes, error: bytes, least: int = 0) -> int:
    """A number that is not below `least`; whatever else is written has one error text."""
    value = int64(argument, error)
    if value < least:
        raise CommandError(error)
    return value


def reply_set(reply: Reply, members: list[bytes]) -> None:
    reply.set(len(members))
    for member in members:
        reply.bulk(member)


@command(
    "SADD",
    arity=-3,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=Keys(1, flags="RW insert"),
)
def sadd(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Add members to a set, which is made if there is none. O(N) for N members."""
    added = SetView.open(ctx, args[1], write=True).add(args, 2)
    if added:
        ctx.changed(args[1], b"sadd", added)
    reply.integer(added)


@command(
    "SREM",
    arity=-3,
    flags=F.WRITE | F.FAST,
    verbatim=True,
    keys=Keys(1, flags="RW delete"),
)
def srem(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Remove members from a set, and the key with the last one. O(N) for N members."""
    view = SetView.open(ctx, args[1], write=True)
    removed = view.remove(args, 2)
    if removed:
        ctx.changed(args[1], b"srem", removed)
        if not view.exists:
            ctx.notify(args[1], b"del")
    reply.integer(removed)


@command(
    "SISMEMBER",
    arity=3,
    flags=F.READONLY | F.FAST,
    keys=Keys(1, flags="RO"),
)
def sismember(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Tell whether a set has a member. O(1)."""
    reply.integer(args[2] in SetView.open(ctx, args[1]))


@command(
    "SMISMEMBER",
    arity=-3,
    flags=F.READONLY | F.FAST,
    keys=READ,
)
def smismember(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Tell of each of several members whether a set has it. O(N) for N members."""
    view = SetView.open(ctx, args[1])
    reply.array(len(args) - 2)
    for member in args[2:]:
        reply.integer(member in view)


@command(
    "SCARD",
    arity=2,
    flags=F.READONLY | F.FAST,
    keys=Keys(1, flags="RO"),
)
def scard(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return how many members a set has, 0 for a missing key. O(1)."""
    reply.integer(len(SetView.open(ctx, args[1])))


@command(
    "SMEMBERS",
    arity=2,
    flags=F.READONLY,
    keys=READ,
    tips=("nondeterministic_output_order",),
)
def smembers(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return all members of a set. O(N) for N members."""
    reply_set(reply, SetView.open(ctx, args[1]).members())


@command(
    "SPOP",
    arity=-2,
    flags=F.WRITE | F.FAST,
    keys=Keys(1, flags="RW access delete"),
    tips=("nondeterministic_output",),
)
def spop(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Remove members chosen by chance from a set and return them. O(N) for N of them.

    It is logged as what it came to: the members that went, or the deletion of the key.
    """
    if len(args) > 3:
        raise CommandError(SYNTAX)
    key = args[1]
    count = positive(args[2], NOT_POSITIVE) if len(args) == 3 else 1
    view = SetView.open(ctx, key, write=True)
    if len(args) == 3 and 0 < len(view) <= count:
        ctx.exists(key, touch=True)  # Redis reads a set of which all is wanted, and counts that

    popped = view.pop(count)
    if popped:
        if len(args) == 2:
            ctx.propagate([b"SREM", key, *popped])
        elif view.exists:
            for first in range(0, len(popped), LOGGED_MEMBERS_MAX):
                ctx.propagate([b"SREM", key, *popped[first : first + LOGGED_MEMBERS_MAX]])
        else:
            ctx.propagate([b"DEL", key])
        ctx.changed(key, b"spop", len(popped))
        if not view.exists:
            ctx.notify(key, b"del")
    if len(args) == 3:
        reply_set(reply, popped)
    else:
        reply.bulk_or_null(popped[0] if popped else None)


@command(
    "SRANDMEMBER",
    arity=-2,
    flags=F.READONLY,
    keys=READ,
    tips=("nondeterministic_output",),
)
def srandmember(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return members of a set chosen by chance. O(N) for N of them.

    A positive count asks for different members, a negative one for as many draws.
    """
    if len(args) > 3:
        raise CommandError(SYNTAX)
    if len(args) == 2:
        reply.bulk_or_null(SetView.open(ctx, args[1]).random())
        return
    count = int64(args[2])
    if count < -INT64_MAX:
        raise CommandError(NOT_A_COUNT % (-INT64_MAX, INT64_MAX))
    view = SetView.open(ctx, args[1])
    if count >= 0 or not view.exists:
        reply.bulks(view.sample(max(count, 0)))
        return
    check_count(ctx, count)
    reply.array(-count)
    for members in drawn(ctx, reply, -count, view.draw, len):
        for member in members:
            reply.bulk(member)


@command(
    "SMOVE",
    arity=4,
    flags=F.WRITE | F.FAST,
    verbatim=True,
    keys=(Keys(1, flags="RW access delete"), Keys(2, flags="RW insert")),
)
def smove(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Move a member from one set to another. O(1).

    Without a source nothing is moved, whatever the destination holds.
    """
    _, source, destination, member = args
    # Redis looks at both first, and so removes both if they have expired, whatever comes of it.
    ctx.meet(source)
    ctx.meet(destination)
    origin = SetView.open(ctx, source, write=True)
    if not origin.exists:
        reply.integer(0)
        return
    target = SetView.open(ctx, destination, write=True)
    if source == destination or member not in origin:
        reply.integer(source == destination and member in origin)
        return

    origin.remove([member])
    ctx.changed(source, b"srem")
    if not origin.exists:
        ctx.notify(source, b"del")
    if target.add([member]):
        ctx.changed(destination, b"sadd")
    reply.integer(1)


# Several sets


def open_all(ctx: Context, keys: list[bytes]) -> list[SetView]:
    """The sets at several keys. Raises WRONGTYPE if any of them is something else."""
    return [SetView.open(ctx, key) for key in keys]


def store(ctx: Context, key: bytes, result: SetResult, event: bytes, reply: Reply) -> None:
    """Make a computed set a key's value; an empty one deletes the key."""
    size = len(result)
    if result.replace(ctx, key):
        ctx.changed(key, event if size else b"del")
    reply.integer(size)


@command(
    "SINTER",
    arity=-2,
    flags=F.READONLY,
    keys=SOURCES,
    tips=("nondeterministic_output_order",),
)
def sinter(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the members that all of several sets have. O(N*M) for N in the smallest of M."""
    reply_set(reply, common_members(open_all(ctx, args[1:])))


SINTERCARD_OPTIONS = Options(Option(b"LIMIT", lambda argument: positive(argument, LIMIT_NEGATIVE)))


@command(
    "SINTERCARD",
    arity=-3,
    flags=F.READONLY,
    keys=Keys(2, count_at=1, flags="RO access"),
)
def sintercard(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Count the members that all of several sets have. O(N*M) for N in the smallest of M."""
    count = positive(args[1], NUMKEYS_TOO_LOW, least=1)
    if count > len(args) - 2:
        raise CommandError(NUMKEYS_TOO_HIGH)
    options = SINTERCARD_OPTIONS.parse(args, 2 + count)
    sets = open_all(ctx, args[2 : 2 + count])
    reply.integer(count_common(sets, options.get(b"LIMIT", 0)))


@command(
    "SINTERSTORE",
    arity=-3,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=(Keys(1, flags="RW update"), STORED_SOURCES),
)
def sinterstore(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Store the members that all of several sets have. O(N*M) for N in the smallest of M."""
    store(ctx, args[1], intersect(open_all(ctx, args[2:])), b"sinterstore", reply)


@command(
    "SUNION",
    arity=-2,
    flags=F.READONLY,
    keys=SOURCES,
    tips=("nondeterministic_output_order",),
)
def sunion(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the members that any of several sets has. O(N) for N in all of them."""
    reply_set(reply, unite(open_all(ctx, args[1:])).members())


@command(
    "SUNIONSTORE",
    arity=-3,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=(REPLACED, STORED_SOURCES),
)
def sunionstore(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Store the members that any of several sets has. O(N) for N in all of them."""
    store(ctx, args[1], unite(open_all(ctx, args[2:])), b"sunionstore", reply)


@command(
    "SDIFF",
    arity=-2,
    flags=F.READONLY,
    keys=SOURCES,
    tips=("nondeterministic_output_order",),
)
def sdiff(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the members of a set that no other of several has. O(N) for N in all of them."""
    reply_set(reply, subtract(open_all(ctx, args[1:])).members())


@command(
    "SDIFFSTORE",
    arity=-3,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=(REPLACED, STORED_SOURCES),
)
def sdiffstore(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Store the members of a set that no other of several has. O(N) for N in all of them."""
    store(ctx, args[1], subtract(open_all(ctx, args[2:])), b"sdiffstore", reply)


# Iterating


def count_of_members(argument: bytes) -> int:
    """The value of SSCAN's COUNT."""
    count = int64(argument)
    if count < 1:
        raise CommandError(SYNTAX)
    return count


SSCAN_OPTIONS = Options(Option(b"COUNT", count_of_members), Option(b"MATCH", as_is))


@command(
    "SSCAN",
    arity=-3,
    flags=F.READONLY,
    keys=READ,
    tips=("nondeterministic_output",),
)
def sscan(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Iterate over the members of a set in small steps. O(1) for each call.

    Redis looks at the key before it reads the options: a missing key hides a mistake in them.
    """
    cursor = scan_cursor(args[2])
    view = SetView.open(ctx, args[1])
    members: list[bytes] = []
    if view.exists:
        options = SSCAN_OPTIONS.parse(args, 3)
        cursor, members = view.scan(cursor, options.get(b"COUNT", SCAN_COUNT))
        if b"MATCH" in options:
            members = matching(options[b"MATCH"], members)
    else:
        cursor = 0
    reply.array(2)
    reply.bulk(b"%d" % cursor)
    reply.bulks(members)
