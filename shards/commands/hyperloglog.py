"""The HyperLogLog family: estimates of how many different elements were added."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.commands import F, Keys, command
from protocol.errors import CommandError
from shards.arguments.options import quoted, word
from shards.kernels.hll import REGISTERS, estimate, self_test
from shards.lane.effects import NO_EVENT
from shards.views.hll import Hll

if TYPE_CHECKING:
    from protocol.reply import Reply
    from shards.lane.context import Context


@command(
    "PFADD",
    arity=-2,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=Keys(1, flags="RW insert"),
)
def pfadd(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Add elements to a HyperLogLog; return whether its estimate may have changed. O(1) each."""
    hll = Hll.open(ctx, args[1], write=True)
    hll.unshare()
    changed = hll.add(args[2:]) + (0 if hll.found else 1)
    if changed:
        hll.cache(None)
        hll.store()
        ctx.changed(args[1], b"pfadd", changed)
    reply.integer(1 if changed else 0)


@command(
    "PFCOUNT",
    arity=-2,
    flags=F.READONLY | F.MAY_REPLICATE,
    verbatim=True,
    keys=Keys(
        1,
        -1,
        flags="RW access",
        notes="RW because it may change the internal representation of the key,"
        " and propagate to replicas",
    ),
)
def pfcount(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Estimate how many different elements were added to one or more HyperLogLogs. O(N) for N keys.

    The estimate of a single one is kept with it, so that counting it changes the key.
    """
    if len(args) > 2:
        maxima = bytearray(REGISTERS)
        for key in args[1:]:
            hll = Hll.open(ctx, key)
            if hll.found:
                hll.raise_registers(maxima)
        reply.integer(estimate(maxima))
        return
    hll = Hll.open(ctx, args[1])
    if not hll.found:
        reply.integer(0)
        return
    hll.unshare()
    counted = hll.cached
    if counted is None:
        counted = hll.estimate()
        hll.cache(counted)
        hll.store()
        ctx.changed(args[1], NO_EVENT)
    reply.integer(counted)


@command(
    "PFMERGE",
    arity=-2,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=(Keys(1, flags="RW access insert"), Keys(2, -1, flags="RO access")),
)
def pfmerge(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Merge HyperLogLogs into the first one. O(N) for N keys."""
    maxima = bytearray(REGISTERS)
    dense = False
    for key in args[1:]:
        hll = Hll.open(ctx, key)
        if hll.found:
            dense = dense or hll.dense
            hll.raise_registers(maxima)

    target = Hll.open(ctx, args[1], write=True)
    if dense:
        target.to_dense()
    target.merge(maxima)
    target.cache(None)
    target.store()
    ctx.changed(args[1], b"pfadd")
    reply.ok()


@command(
    "PFDEBUG",
    arity=3,
    flags=F.WRITE | F.DENYOOM | F.ADMIN,
    verbatim=True,
    keys=Keys(2, flags="RW access"),
)
def pfdebug(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Show the inside of a HyperLogLog: GETREG, DECODE, ENCODING, TODENSE. O(1)."""
    key = args[2]
    hll = Hll.open(ctx, key, write=True)
    if not hll.found:
        raise CommandError(b"ERR The specified key does not exist")
    hll.unshare()
    match word(args[1]):
        case b"GETREG":
            make_dense(ctx, key, hll)
            registers = hll.registers()
            reply.array(len(registers))
            for value in registers:
                reply.integer(value)
        case b"DECODE":
            if hll.dense:
                raise CommandError(b"ERR HLL encoding is not sparse")
            reply.bulk(hll.decode())
        case b"ENCODING":
            reply.status(b"dense" if hll.dense else b"sparse")
        case b"TODENSE":
            reply.integer(1 if make_dense(ctx, key, hll) else 0)
        case _:
            raise CommandError(b"ERR Unknown PFDEBUG subcommand '%s'" % quoted(args[1]))


def make_dense(ctx: Context, key: bytes, hll: Hll) -> bool:
    """Store a sparse one as a dense one, and tell whether it was sparse."""
    if not hll.to_dense():
        return False
    hll.store()
    ctx.changed(key, NO_EVENT)
    return True


@command(
    "PFSELFTEST",
    arity=1,
    flags=F.ADMIN,
)
def pfselftest(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Test the registers and estimates of HyperLogLogs; no key is concerned."""
    failure = self_test(ctx.random.getrandbits(64))
    if failure is not None:
        raise CommandError(b"ERR TESTFAILED " + failure.encode())
    reply.ok()
