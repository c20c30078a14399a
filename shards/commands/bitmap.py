"""The bitmap family: strings as rows of bits, and as integers of any width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.commands import F, Keys, command
from protocol.errors import SYNTAX, CommandError
from shards.arguments.options import INT64_MAX, int64, quoted, word
from shards.kernels import bits
from shards.lane.effects import NO_EVENT
from shards.views.bits import Bits

if TYPE_CHECKING:
    from protocol.reply import Reply
    from shards.lane.context import Context

READ = Keys(1, flags="RO access")
UPDATE = Keys(1, flags="RW access update")

NOT_A_BIT = b"ERR bit is not an integer or out of range"
BAD_OFFSET = b"ERR bit offset is not an integer or out of range"
BAD_TYPE = (
    b"ERR Invalid bitfield type. Use something like i16 u8."
    b" Note that u64 is not supported but i64 is."
)
OPERATIONS = {b"AND": bits.AND, b"OR": bits.OR, b"XOR": bits.XOR, b"NOT": bits.NOT}


def bit_offset(ctx: Context, argument: bytes, width: int = 0) -> int:
    """An offset in bits; with a width also `#n`, the n-th integer of that width."""
    counted = width > 0 and argument[:1] == b"#"
    offset = int64(argument[1:] if counted else argument, BAD_OFFSET)
    if counted:
        offset *= width
    if not 0 <= offset >> 3 < ctx.settings.proto_max_bulk_len:
        raise CommandError(BAD_OFFSET)
    return offset


@command(
    "SETBIT",
    arity=4,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=UPDATE,
)
def setbit(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Set or clear a bit of a string, which grows as far as needed. O(1)."""
    offset = bit_offset(ctx, args[2])
    value = int64(args[3], NOT_A_BIT)
    if value not in (0, 1):
        raise CommandError(NOT_A_BIT)

    string = Bits.open(ctx, args[1], write=True)
    grown = string.reach(offset)
    old = string.get(offset, 1)
    if grown or old != value:
        string.put(offset, 1, value)
        ctx.changed(args[1], b"setbit")
    reply.integer(old)


@command(
    "GETBIT",
    arity=3,
    flags=F.READONLY | F.FAST,
    keys=READ,
)
def getbit(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return a bit of a string; after its end all are 0. O(1)."""
    offset = bit_offset(ctx, args[2])
    reply.integer(Bits.open(ctx, args[1]).get(offset, 1))


def unit_bits(argument: bytes) -> int:
    """How many bits a position counts: BYTE or BIT."""
    unit = word(argument)
    if unit not in (b"BYTE", b"BIT"):
        raise CommandError(SYNTAX)
    return 8 if unit == b"BYTE" else 1


def bit_range(string: Bits, start: int, end: int, unit: int) -> tuple[int, int] | None:
    """The first and last bit of a range that was given in units; None if it is empty.

    Positions below zero count from the end; those outside the string move to its nearest one.
    """
    total = len(string) * 8 // unit
    if start < 0:
        start = max(start + total, 0)
    if end < 0:
        end = max(end + total, 0)
    end = min(end, total - 1)
    if start > end:
        return None
    return start * unit, end * unit + unit - 1


@command(
    "BITCOUNT",
    arity=-2,
    flags=F.READONLY,
    keys=READ,
)
def bitcount(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Count the bits that are set in a string or a range of it. O(N) for N bytes.

    The key is looked at first: a missing one is 0, whatever the other arguments are.
    """
    string = Bits.open(ctx, args[1])
    if not string.found:
        reply.integer(0)
        return
    start, end, unit = 0, -1, 8
    if len(args) in (4, 5):
        start, end = int64(args[2]), int64(args[3])
        # Before they are resolved: in the wrong order, both could end up at 0.
        if start < 0 and end < 0 and start > end:
            reply.integer(0)
            return
        if len(args) == 5:
            unit = unit_bits(args[4])
    elif len(args) != 2:
        raise CommandError(SYNTAX)
    limits = bit_range(string, start, end, unit)
    reply.integer(0 if limits is None else string.count(*limits))


@command(
    "BITPOS",
    arity=-3,
    flags=F.READONLY,
    keys=READ,
)
def bitpos(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Find the first bit that is set, or clear. O(N) for N bytes.

    A string without an end of the range goes on with clear bits; a missing key is only those.
    """
    bit = int64(args[2])
    if bit not in (0, 1):
        raise CommandError(b"ERR The bit argument must be 1 or 0.")
    string = Bits.open(ctx, args[1])
    if not string.found:
        reply.integer(-bit)
        return
    if len(args) > 6:
        raise CommandError(SYNTAX)
    start = int64(args[3]) if len(args) > 3 else 0
    unit = unit_bits(args[5]) if len(args) > 5 else 8
    end = int64(args[4]) if len(args) > 4 else -1

    limits = bit_range(string, start, end, unit)
    position = -1 if limits is None else string.find(bool(bit), *limits)
    if limits is not None and position < 0 and not bit and len(args) < 5:
        position = limits[1] + 1
    reply.integer(position)


@command(
    "BITOP",
    arity=-4,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=(Keys(2, flags="OW update"), Keys(3, -1, flags="RO access")),
)
def bitop(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Combine strings bit by bit and store the result. O(N) for N bytes."""
    operation = OPERATIONS.get(word(args[1]))
    if operation is None:
        raise CommandError(SYNTAX)
    if operation == bits.NOT and len(args) != 4:
        raise CommandError(b"ERR BITOP NOT must be called with a single source key.")
    target = args[2]
    result = bits.combine(operation, [ctx.read_string(key) or b"" for key in args[3:]])

    if result:
        ctx.set_string(target, result, raw=True)
        ctx.changed(target, b"set")
    elif ctx.clear(target):
        ctx.changed(target, b"del")
    reply.integer(len(result))


OPERANDS = {b"GET": 2, b"SET": 3, b"INCRBY": 3}


@dataclass(slots=True)  # not frozen: that would take as long as the operation itself
class Operation:
    """One operation of BITFIELD."""

    kind: bytes  # GET, SET or INCRBY
    signed: bool
    width: int
    offset: int
    value: int
    overflow: bytes  # WRAP, SAT or FAIL

    @property
    def minimum(self) -> int:
        return -(1 << self.width - 1) if self.signed else 0

    @property
    def maximum(self) -> int:
        return (1 << self.width - 1 if self.signed else 1 << self.width) - 1

    def read(self, string: Bits) -> int:
        value = string.get(self.offset, self.width)
        return self.wrapped(value) if self.signed else value

    def wrapped(self, value: int) -> int:
        """The number that the lowest bits of a number stand for."""
        value &= (1 << self.width) - 1
        if self.signed and value > self.maximum:
            value -= 1 << self.width
        return value

    def result(self, old: int) -> int | None:
        """What the integer becomes; None: it overflows, and is left alone."""
        new = self.value
        if self.kind == b"INCRBY":
            new += old
        elif not self.signed and new < 0:
            new += 1 << 64  # a negative number is taken for a large one
        half = 1 << self.width - 1
        if (-half <= new < half) if self.signed else (0 <= new < 2 * half):
            return new
        if self.overflow == b"WRAP":
            return self.wrapped(new)
        if self.overflow == b"SAT":
            # Redis computes the room above a number to be SET in 64 bits, where that of one far
            # below overflows, and so takes it for one far above.
            if self.kind == b"SET" and self.width < 64 and self.maximum - new > INT64_MAX:
                return self.maximum
            return self.maximum if new > self.maximum else self.minimum
        return None


FIELD_TYPES = {
    b"%c%d" % (kind, width): (kind == ord("i"), width)
    for kind, most in ((ord("i"), 64), (ord("u"), 63))
    for width in range(1, most + 1)
}


def field_type(argument: bytes) -> tuple[bool, int]:
    """(signed, width) of a type as i16 or u8."""
    known = FIELD_TYPES.get(argument)
    if known is not None:
        return known
    kind, width = argument[:1], int64(quoted(argument[1:]), BAD_TYPE)
    if kind not in (b"i", b"u") or not 1 <= width <= (64 if kind == b"i" else 63):
        raise CommandError(BAD_TYPE)
    return kind == b"i", width


def field_operations(ctx: Context, args: list[bytes]) -> list[Operation]:
    """The operations of BITFIELD, in their order; OVERFLOW holds for those after it."""
    found: list[Operation] = []
    overflow = b"WRAP"
    at = 2
    while at < len(args):
        kind, left = word(args[at]), len(args) - at - 1
        if kind == b"OVERFLOW" and left >= 1:
            overflow = word(args[at + 1])
            if overflow not in (b"WRAP", b"SAT", b"FAIL"):
                raise CommandError(b"ERR Invalid OVERFLOW type specified")
            at += 2
            continue
        count = OPERANDS.get(kind)
        if count is None or left < count:
            raise CommandError(SYNTAX)
        signed, width = field_type(args[at + 1])
        offset = bit_offset(ctx, args[at + 2], width)
        value = int64(args[at + 3]) if count == 3 else 0
        found.append(Operation(kind, signed, width, offset, value, overflow))
        at += count + 1
    return found


@command(
    "BITFIELD",
    arity=-2,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=Keys(
        1,
        flags="RW update access variable_flags",
        notes="This command allows both access and modification of the key",
    ),
)
def bitfield(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Read, write and add to integers of any width inside a string. O(1) for each operation."""
    operations = field_operations(ctx, args)
    last = -1  # of the bits that are written
    for one in operations:
        if one.kind != b"GET":
            last = max(last, one.offset + one.width - 1)
    string = Bits.open(ctx, args[1], write=last >= 0)
    grown = last >= 0 and string.reach(last)

    reply.array(len(operations))
    changes = 0
    for one in operations:
        old = one.read(string)
        if one.kind == b"GET":
            reply.integer(old)
            continue
        new = one.result(old)
        if new is None:
            reply.null()
            continue
        reply.integer(new if one.kind == b"INCRBY" else old)
        string.put(one.offset, one.width, new & ((1 << one.width) - 1))
        changes += grown or new != old
    if changes:
        ctx.changed(args[1], b"setbit", changes)
    elif grown:
        # Zeros were added though all else overflowed. Redis counts and logs nothing, so that a
        # replica's string stays shorter; here the log has it.
        ctx.notify(args[1], NO_EVENT)
        ctx.propagate_raw()


@command(
    "BITFIELD_RO",
    arity=-2,
    flags=F.READONLY | F.FAST,
    keys=READ,
)
def bitfield_ro(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Read integers of any width inside a string. O(1) for each operation."""
    operations = field_operations(ctx, args)
    if any(one.kind != b"GET" for one in operations):
        raise CommandError(b"ERR BITFIELD_RO only supports the GET subcommand")
    string = Bits.open(ctx, args[1])
    reply.array(len(operations))
    for one in operations:
        reply.integer(one.read(string))
