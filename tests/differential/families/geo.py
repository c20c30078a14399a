"""Grammar of the geo commands: a few places of the world, its edges, and what is near to them."""

from __future__ import annotations

from tests.differential.families.strings import optional
from tests.differential.grammar import Args, Draw, Family

GEO = Family("geo", weight=4.4)

KEYS = [b"g1", b"g2", b"g4", b"{x}g1"]
MEMBERS = [b"Palermo", b"Catania", b"a", b"b", b"1", b"\xff", b"m" * 65]
PLACES = [
    *((b"13.361389", b"38.115556"), (b"15.087269", b"37.502669"), (b"-122.27652", b"37.805186")),
    *((b"0", b"0"), (b"180", b"85.05112878"), (b"-180", b"-85.05112878"), (b"179.9", b"0.5")),
    *((b"-179.9", b"-0.5"), (b"12.758489", b"38.788135"), (b"17.241510", b"38.788135")),
    *((b"1.5", b"-80.1"), (b"100.25", b"66.5"), (b"-0.000001", b"1e-7"), (b"13.5", b"38.1")),
]
BAD_PLACES = [
    (b"181", b"0"),
    (b"0", b"85.06"),
    (b"x", b"1"),
    (b"1", b""),
    (b"inf", b"0"),
    (b"1e300", b"0"),
]
UNITS = [b"m", b"km", b"KM", b"ft", b"mi"]


def key(draw: Draw) -> bytes:
    return draw.choice(KEYS) if draw.chance(0.93) else draw.key()


def place(draw: Draw) -> tuple[bytes, bytes]:
    if draw.chance(0.04):
        return draw.choice(BAD_PLACES)
    if draw.chance(0.5):
        return draw.choice(PLACES)
    return scattered(draw)


def place_of(draw: Draw, member: bytes) -> tuple[bytes, bytes]:
    """Two members are never at one place: which comes first is a matter of the sort."""
    if draw.chance(0.5):
        return place(draw) if draw.chance(0.1) else scattered(draw)
    return PLACES[(2 * MEMBERS.index(member) + draw.randint(0, 1)) % len(PLACES)]


def scattered(draw: Draw) -> tuple[bytes, bytes]:
    return b"%.6f" % draw.uniform(-180, 180), b"%.6f" % draw.uniform(-85, 85)


def size(draw: Draw) -> bytes:
    if draw.chance(0.05):
        return draw.choice([b"-1", b"abc", b"", b"nan", b"1e300"])
    return draw.choice([b"0", b"1", b"50", b"200", b"500.5", b"1000", b"5000", b"25000", b"3e5"])


def unit(draw: Draw) -> bytes:
    return draw.choice(UNITS) if draw.chance(0.96) else draw.choice([b"", b"yd", b"k"])


@GEO.command(weight=4)
def add(draw: Draw) -> list[Args]:
    options = optional(draw, [b"NX"], [b"XX"], [b"CH"], chance=0.12)
    members = draw.sample(MEMBERS, draw.randint(1, 4))
    triples = [word for member in members for word in (*place_of(draw, member), member)]
    return [[b"GEOADD", draw.choice(KEYS), *options, *triples]]


@GEO.command(weight=2)
def look(draw: Draw) -> list[Args]:
    members = [draw.choice(MEMBERS) for _ in range(draw.randint(0, 4))]
    return [[draw.choice([b"GEOPOS", b"GEOHASH"]), key(draw), *members]]


@GEO.command(weight=2)
def apart(draw: Draw) -> list[Args]:
    units = [unit(draw)] if draw.chance(0.7) else []
    return [[b"GEODIST", key(draw), draw.choice(MEMBERS), draw.choice(MEMBERS), *units]]


def shown(draw: Draw) -> Args:
    return optional(draw, [b"WITHDIST"], [b"WITHHASH"], [b"WITHCOORD"], chance=0.4)


def ordered(draw: Draw) -> Args:
    return optional(
        draw, [b"ASC"], [b"DESC"], [b"COUNT", b"%d" % draw.randint(-1, 4)], [b"ANY"], chance=0.25
    )


def area(draw: Draw) -> Args:
    words: Args = []
    if draw.chance(0.95):
        kind = [b"FROMMEMBER", draw.choice(MEMBERS)]
        words += kind if draw.chance(0.4) else [b"FROMLONLAT", *place(draw)]
    if draw.chance(0.95):
        kind = [b"BYRADIUS", size(draw), unit(draw)]
        words += kind if draw.chance(0.5) else [b"BYBOX", size(draw), size(draw), unit(draw)]
    return words


@GEO.command(weight=4)
def search(draw: Draw) -> list[Args]:
    return [[b"GEOSEARCH", key(draw), *area(draw), *ordered(draw), *shown(draw)]]


@GEO.command(weight=1.5)
def search_and_store(draw: Draw) -> list[Args]:
    target = draw.choice(KEYS)
    options = optional(draw, [b"STOREDIST"], [b"WITHDIST"], chance=0.2)
    return [
        [b"GEOSEARCHSTORE", target, key(draw), *area(draw), *ordered(draw), *options],
        [b"ZRANGE", target, b"0", b"-1", b"WITHSCORES"],
    ]


@GEO.command(weight=3)
def radius(draw: Draw) -> list[Args]:
    suffix = draw.choice([b"", b"_RO"])
    options = [*ordered(draw), *shown(draw)]
    name = key(draw)
    if draw.chance(0.2):
        options += [draw.choice([b"STORE", b"STOREDIST"]), draw.choice(KEYS)]
    if draw.chance(0.5):
        return [[b"GEORADIUS" + suffix, name, *place(draw), size(draw), unit(draw), *options]]
    centre = draw.choice(MEMBERS)
    return [[b"GEORADIUSBYMEMBER" + suffix, name, centre, size(draw), unit(draw), *options]]


@GEO.command(weight=0.3)
def forget(draw: Draw) -> list[Args]:
    return [[b"DEL", draw.choice(KEYS)]]
