"""Grammar of SORT, over keys of any type, which other families meet for theirs, too.

Elements are numbers, so that SORT works on them and finds the keys that its patterns mean.
"""

from __future__ import annotations

from tests.differential.families.strings import optional
from tests.differential.grammar import MIXED_KEYS, Args, Draw, Exact, Family

SORTING = Family("sorting", weight=1.9)
ELEMENTS = [b"1", b"2", b"3", b"4", b"10", b"-1", b"2.5", b"x"]
PATTERNS = [b"w_*", b"w_*", b"*", b"w_*->f", b"h_*->f", b"h_*->g", b"nosuch_*", b"w_*->", b"w_"]


def elements(draw: Draw) -> Args:
    return [draw.choice(ELEMENTS) for _ in range(draw.randint(1, 5))]


def shown(key: bytes) -> list[Args]:
    """What tells of a key of any type; SORT shows what has no order."""
    return [[b"TYPE", key], Exact([b"SORT", key, b"ALPHA"]), [b"OBJECT", b"ENCODING", key]]


@SORTING.command(weight=4)
def fill(draw: Draw) -> list[Args]:
    key = draw.choice(MIXED_KEYS)
    kind = draw.randrange(5)
    fresh = [[b"DEL", key]] if draw.chance(0.5) else []
    if kind == 0:
        return [*fresh, [b"RPUSH", key, *elements(draw)]]
    if kind == 1:
        return [*fresh, [b"SADD", key, *elements(draw)]]
    if kind == 2:
        pairs = [word for one in elements(draw) for word in (draw.choice([b"1", b"2.5"]), one)]
        return [*fresh, Exact([b"ZADD", key, *pairs])]  # 7.0 digests huge scores otherwise
    if kind == 3:
        return [*fresh, [b"HSET", key, b"f", draw.choice(ELEMENTS)]]
    return [[b"SET", key, draw.choice(ELEMENTS)]]


@SORTING.command(weight=2)
def references(draw: Draw) -> list[Args]:
    """What SORT's patterns refer to."""
    element = draw.choice(ELEMENTS)
    kind = draw.randrange(4)
    if kind == 0:
        return [[b"DEL", b"w_" + element]]
    if kind == 1:
        return [[b"HSET", b"h_" + element, b"f", draw.choice(ELEMENTS), b"g", b"text"]]
    return [[b"SET", b"w_" + element, draw.choice(ELEMENTS)]]


@SORTING.command(weight=4)
def sort(draw: Draw) -> list[Args]:
    key, target = draw.choice(MIXED_KEYS), draw.choice(MIXED_KEYS)
    options = [
        *([b"BY", draw.choice(PATTERNS)] if draw.chance(0.5) else []),
        *([b"GET", draw.choice([*PATTERNS, b"#"])] if draw.chance(0.4) else []),
        *([b"GET", draw.choice([*PATTERNS, b"#"])] if draw.chance(0.2) else []),
        *([b"LIMIT", draw.small(), draw.small()] if draw.chance(0.3) else []),
    ]
    options += optional(draw, [b"ALPHA"], [b"DESC"], [b"ASC"], [b"STORE", target], chance=0.3)
    if draw.chance(0.03):
        options.append(b"bad")
    name = draw.choice([b"SORT", b"SORT", b"SORT_RO"])
    # Without an order to sort by, a set's is up to chance; and so is that of equal weights.
    upper = [option.upper() for option in options]
    if (b"BY" in upper and b"ALPHA" in upper) or b"w_" in options:
        return [[b"TYPE", key], [b"DEL", key], [b"RPUSH", key, *ELEMENTS[:5]]]
    # redis-server's SORT takes an ERANGE that an earlier command met for its own. Reading a cursor
    # clears it.
    return [Exact([b"HSCAN", b"h_1", b"0"]), [name, key, *options], *shown(target)]


@SORTING.command(weight=3)
def whole_keys(draw: Draw) -> list[Args]:
    source, target = draw.choice(MIXED_KEYS), draw.choice(MIXED_KEYS)
    name = draw.choice([b"RENAME", b"RENAMENX", b"COPY", b"COPY"])
    replace = [b"REPLACE"] if name == b"COPY" and draw.chance(0.6) else []
    return [[name, source, target, *replace], *shown(target), [b"EXISTS", source]]


@SORTING.command()
def expiring(draw: Draw) -> list[Args]:
    key = draw.choice(MIXED_KEYS)
    return [[b"EXPIREAT", key, b"5000000000"], [b"EXPIRETIME", draw.choice(MIXED_KEYS)]]


@SORTING.command()
def digests(draw: Draw) -> list[Args]:
    """Of keys, one by one: what SPOP has left elsewhere is up to chance."""
    keys = [draw.choice(MIXED_KEYS) for _ in range(draw.randint(1, 3))]
    return [[b"DEBUG", b"DIGEST-VALUE", *keys]]
