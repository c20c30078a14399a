"""DUMP and RESTORE: a key's value as bytes, in the format of RDB files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from persistence.dump import dump, is_intact, restore
from protocol.commands import F, Keys, command
from protocol.errors import CommandError
from shards.arguments.options import Option, Options, int64

if TYPE_CHECKING:
    from protocol.reply import Reply
    from shards.lane.context import Context

BUSY_KEY = b"BUSYKEY Target key name already exists."


@command(
    "DUMP",
    arity=2,
    flags=F.READONLY,
    keys=Keys(1, flags="RO access"),
    tips=("nondeterministic_output",),
    group="generic",
)
def dump_(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return a key's value in serialized form, null for a missing key. O(N) for N bytes."""
    reply.bulk_or_null(dump(ctx, args[1]))


def idle_time(argument: bytes) -> int:
    """The value of IDLETIME."""
    seconds = int64(argument)
    if seconds < 0:
        raise CommandError(b"ERR Invalid IDLETIME value, must be >= 0")
    return seconds


def frequency(argument: bytes) -> int:
    """The value of FREQ."""
    counter = int64(argument)
    if not 0 <= counter <= 255:
        raise CommandError(b"ERR Invalid FREQ value, must be >= 0 and <= 255")
    return counter


RESTORE_OPTIONS = Options(
    Option(b"REPLACE"),
    Option(b"ABSTTL"),
    Option(b"IDLETIME", idle_time, (b"FREQ",)),
    Option(b"FREQ", frequency, (b"IDLETIME",)),
)


@command(
    "RESTORE",
    arity=-4,
    flags=F.WRITE | F.DENYOOM,
    keys=Keys(1, flags="OW update"),
    acl=("keyspace", "dangerous"),
    group="generic",
)
@command(
    "RESTORE-ASKING",
    arity=-4,
    flags=F.WRITE | F.DENYOOM | F.ASKING,
    keys=Keys(1, flags="OW update"),
    acl=("keyspace", "dangerous"),
    group="server",
)
def restore_(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Create a key from what DUMP gave. O(N) for N bytes.

    The payload is looked at in depth whoever it is from: nothing else would keep a crafted one from
    the structures, which trust what they hold.
    """
    key, payload = args[1], args[3]
    options = RESTORE_OPTIONS.parse(args, 4)
    replace = b"REPLACE" in options
    if not replace and ctx.exists(key, write=True):
        raise CommandError(BUSY_KEY)
    expire_ms = int64(args[2])
    if expire_ms < 0:
        raise CommandError(b"ERR Invalid TTL value, must be >= 0")
    if not is_intact(payload):
        raise CommandError(b"ERR DUMP payload version or checksum are wrong")
    value = restore(ctx, key, payload)
    if value is None:
        raise CommandError(b"ERR Bad data format")

    if expire_ms and b"ABSTTL" not in options:
        expire_ms += ctx.now_ms
    if expire_ms and expire_ms <= ctx.now_ms:
        if replace and ctx.clear(key):
            ctx.propagate([b"DEL", key])
            ctx.changed(key, b"del")
        reply.ok()
        return
    if replace:
        ctx.clear(key)  # so that the key counts as a new one, as in Redis
    value.put(expire_ms or -1, options.get(b"IDLETIME", -1), options.get(b"FREQ", -1))
    if expire_ms and b"ABSTTL" not in options:
        ctx.propagate([args[0], key, b"%d" % expire_ms, *args[3:], b"ABSTTL"])
    else:
        ctx.propagate_raw()
    ctx.changed(key, b"restore")
    reply.ok()
