"""Grammar of the bitmap commands."""

from __future__ import annotations

from tests.differential.grammar import Args, Draw, Family

BITMAPS = Family("bitmaps", weight=2.7)
OFFSETS = [0, 1, 2, 6, 7, 8, 9, 15, 16, 63, 64, 65, 71, 100, 359, 360, 1000, 20000]
BAD_OFFSETS = [b"-1", b"4294967296", b"#1", b"abc", b"", b"1.5", b"9223372036854775807", b"01"]
BAD_TYPES = [b"u64", b"i65", b"u0", b"i0", b"u", b"8", b"", b"x8", b"I8", b"u-1", b"u08", b"i 8"]


def offset(draw: Draw) -> bytes:
    return b"%d" % draw.choice(OFFSETS) if draw.chance(0.92) else draw.choice(BAD_OFFSETS)


def position(draw: Draw) -> bytes:
    """A position in a range, in bytes or bits, from either end."""
    if draw.chance(0.5):
        return b"%d" % draw.randint(-12, 12)
    if draw.chance(0.9):
        return b"%d" % draw.choice([*OFFSETS, *(-number for number in OFFSETS)])
    return draw.integer()


def unit(draw: Draw) -> bytes:
    return draw.cased(draw.choice([b"BIT", b"BIT", b"BYTE"])) if draw.chance(0.93) else b"bits"


def bits(draw: Draw) -> bytes:
    """A string that has something to find: runs of equal bytes, their ends anywhere."""
    kind = draw.random()
    if kind < 0.4:
        return draw.randbytes(draw.choice([1, 2, 8, 9, 33]))
    fill = draw.choice([b"\x00", b"\xff"])
    return fill * draw.choice([1, 7, 8, 9, 40]) + draw.randbytes(draw.choice([0, 1, 2]))


@BITMAPS.command(weight=3)
def set_bit(draw: Draw) -> list[Args]:
    bit = draw.choice([b"0", b"1", b"1"]) if draw.chance(0.95) else draw.integer()
    key = draw.key()
    look = [[b"OBJECT", b"ENCODING", key], [b"STRLEN", key]] if draw.chance(0.2) else []
    return [[b"SETBIT", key, offset(draw), bit], *look]


@BITMAPS.command(weight=2)
def get_bit(draw: Draw) -> list[Args]:
    return [[b"GETBIT", draw.key(), offset(draw)]]


@BITMAPS.command(weight=2)
def count(draw: Draw) -> list[Args]:
    key = draw.key()
    args = [b"BITCOUNT", key]
    if draw.chance(0.8):
        args += [position(draw), position(draw)]
        if draw.chance(0.5):
            args.append(unit(draw))
    return [args] if draw.chance(0.4) else [[b"SET", key, bits(draw)], args]


@BITMAPS.command(weight=3)
def find(draw: Draw) -> list[Args]:
    key = draw.key()
    bit = draw.choice([b"0", b"1"]) if draw.chance(0.95) else draw.integer()
    args = [b"BITPOS", key, bit]
    if draw.chance(0.8):
        args.append(position(draw))
        if draw.chance(0.7):
            args.append(position(draw))
            if draw.chance(0.6):
                args.append(unit(draw))
    return [args] if draw.chance(0.3) else [[b"SET", key, bits(draw)], args]


@BITMAPS.command(weight=3)
def combine(draw: Draw) -> list[Args]:
    word = draw.choice([b"AND", b"OR", b"XOR", b"NOT"]) if draw.chance(0.95) else b"NAND"
    target = draw.key()
    sources = draw.keys(1 if word == b"NOT" and draw.chance(0.9) else 4)
    setup = [[b"SET", key, bits(draw)] for key in sources if draw.chance(0.5)]
    look = [[b"GET", target], [b"OBJECT", b"ENCODING", target]]
    return [*setup, [b"BITOP", draw.cased(word), target, *sources], *look]


def field_type(draw: Draw) -> bytes:
    if draw.chance(0.05):
        return draw.choice(BAD_TYPES)
    if draw.chance(0.5):
        return b"%s%d" % (draw.choice([b"u", b"i"]), draw.choice([1, 2, 3, 7, 8, 9, 16, 31, 63]))
    return b"i%d" % draw.choice([1, 4, 8, 32, 63, 64, 64])


def field_operation(draw: Draw, *, reads: bool) -> Args:
    where = offset(draw)
    if draw.chance(0.3):
        where = b"#%d" % draw.choice([0, 1, 2, 5, 20])
    kind = draw.choice([b"GET"] if reads else [b"GET", b"SET", b"INCRBY", b"INCRBY"])
    args = [draw.cased(kind), field_type(draw), where]
    if kind != b"GET":
        number = b"%d" % draw.randint(-300, 300) if draw.chance(0.6) else draw.integer()
        args.append(number)
    return args


@BITMAPS.command(weight=5)
def fields(draw: Draw) -> list[Args]:
    key = draw.key()
    args = [b"BITFIELD", key]
    for _ in range(draw.randint(0, 4)):
        if draw.chance(0.4):
            mode = draw.choice([b"WRAP", b"SAT", b"FAIL"]) if draw.chance(0.95) else b"foo"
            args += [b"OVERFLOW", draw.cased(mode)]
        args += field_operation(draw, reads=False)
    return [args, [b"GET", key]]


@BITMAPS.command(weight=2)
def fields_read(draw: Draw) -> list[Args]:
    args = [draw.choice([b"BITFIELD_RO", b"BITFIELD_RO", b"BITFIELD"]), draw.key()]
    for _ in range(draw.randint(0, 4)):
        args += field_operation(draw, reads=draw.chance(0.97))
    return [args]
