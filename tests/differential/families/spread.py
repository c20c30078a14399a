"""Grammar of commands whose keys lie in several slots, and so on several shards; and of SORT.

The keys hold anything, so that wrong types are met too. Elements are numbers, so that SORT works on
them and finds the keys that its patterns mean.
"""

from __future__ import annotations

from tests.differential.families.strings import optional
from tests.differential.grammar import Args, Draw, Family

SPREAD = Family("spread", weight=4.0)
KEYS = [b"m1", b"m2", b"m3", b"m4", b"m5", b"m6"]
ELEMENTS = [b"1", b"2", b"3", b"4", b"10", b"-1", b"2.5", b"x"]
PATTERNS = [b"w_*", b"w_*", b"*", b"w_*->f", b"h_*->f", b"h_*->g", b"nosuch_*", b"w_*->", b"w_"]


def spread_key(draw: Draw) -> bytes:
    return draw.choice(KEYS)


def spread_keys(draw: Draw, most: int = 3) -> Args:
    return [spread_key(draw) for _ in range(draw.randint(1, most))]


def elements(draw: Draw) -> Args:
    return [draw.choice(ELEMENTS) for _ in range(draw.randint(1, 5))]


def weights(draw: Draw) -> Args:
    return [draw.choice([b"1", b"2", b"-3", b"0.5", b"x"]) for _ in range(2)]


def shown(key: bytes) -> list[Args]:
    """What tells of a key of any type; SORT shows what has no order."""
    return [[b"TYPE", key], [b"SORT", key, b"ALPHA"], [b"OBJECT", b"ENCODING", key]]


@SPREAD.command(weight=4)
def fill(draw: Draw) -> list[Args]:
    key = spread_key(draw)
    kind = draw.randrange(5)
    fresh = [[b"DEL", key]] if draw.chance(0.5) else []
    if kind == 0:
        return [*fresh, [b"RPUSH", key, *elements(draw)]]
    if kind == 1:
        return [*fresh, [b"SADD", key, *elements(draw)]]
    if kind == 2:
        pairs = [word for one in elements(draw) for word in (draw.choice([b"1", b"2.5"]), one)]
        return [*fresh, [b"ZADD", key, *pairs]]
    if kind == 3:
        return [*fresh, [b"HSET", key, b"f", draw.choice(ELEMENTS)]]
    return [[b"SET", key, draw.choice(ELEMENTS)]]


@SPREAD.command(weight=2)
def references(draw: Draw) -> list[Args]:
    """What SORT's patterns refer to."""
    element = draw.choice(ELEMENTS)
    kind = draw.randrange(4)
    if kind == 0:
        return [[b"DEL", b"w_" + element]]
    if kind == 1:
        return [[b"HSET", b"h_" + element, b"f", draw.choice(ELEMENTS), b"g", b"text"]]
    return [[b"SET", b"w_" + element, draw.choice(ELEMENTS)]]


@SPREAD.command(weight=4)
def sort(draw: Draw) -> list[Args]:
    key, target = spread_key(draw), spread_key(draw)
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
    return [[name, key, *options], *shown(target)]


@SPREAD.command(weight=2)
def of_sets(draw: Draw) -> list[Args]:
    name = draw.choice([b"SINTERSTORE", b"SUNIONSTORE", b"SDIFFSTORE"])
    target = spread_key(draw)
    if draw.chance(0.3):
        return [[b"SMOVE", target, spread_key(draw), draw.choice(ELEMENTS)], *shown(target)]
    return [[name, target, *spread_keys(draw)], *shown(target)]


@SPREAD.command(weight=2)
def of_sorted_sets(draw: Draw) -> list[Args]:
    name = draw.choice([b"ZINTERSTORE", b"ZUNIONSTORE", b"ZDIFFSTORE", b"ZRANGESTORE"])
    target = spread_key(draw)
    if name == b"ZRANGESTORE":
        return [[name, target, spread_key(draw), b"0", b"2"], *shown(target)]
    keys = spread_keys(draw)
    return [[name, target, b"%d" % len(keys), *keys], *shown(target)]


@SPREAD.command(weight=2)
def of_lists(draw: Draw) -> list[Args]:
    source, target = spread_key(draw), spread_key(draw)
    if draw.chance(0.4):
        return [[b"RPOPLPUSH", source, target], *shown(target)]
    if draw.chance(0.4):
        keys = spread_keys(draw)
        return [[b"LMPOP", b"%d" % len(keys), *keys, b"LEFT"], *shown(keys[0])]
    return [[b"LMOVE", source, target, b"LEFT", b"RIGHT"], *shown(source)]


@SPREAD.command(weight=3)
def whole_keys(draw: Draw) -> list[Args]:
    source, target = spread_key(draw), spread_key(draw)
    name = draw.choice([b"RENAME", b"RENAMENX", b"COPY", b"COPY"])
    replace = [b"REPLACE"] if name == b"COPY" and draw.chance(0.6) else []
    return [[name, source, target, *replace], *shown(target), [b"EXISTS", source]]


@SPREAD.command()
def expiring(draw: Draw) -> list[Args]:
    key = spread_key(draw)
    return [[b"EXPIREAT", key, b"5000000000"], [b"EXPIRETIME", spread_key(draw)]]


@SPREAD.command()
def digests(draw: Draw) -> list[Args]:
    """Of keys, one by one: what SPOP has left elsewhere is up to chance."""
    return [[b"DEBUG", b"DIGEST-VALUE", *spread_keys(draw)]]
