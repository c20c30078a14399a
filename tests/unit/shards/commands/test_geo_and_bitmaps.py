"""Geo and bitmaps: what both lanes say, count and store for the same random commands."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from shards.kernels.geohash import coordinate
from tests.unit.shards.execution.test_executor import Shard

COMMANDS = 4000
KEYS = ("a", "b", "c", "string", "absent")
MEMBERS = ("x", "y", "7", "-12345", "m" * 30, "m" * 90, "none")
UNITS = ("m", "km", "FT", "mi", "inch")
INTEGERS = ("0", "1", "-1", "2", "7", "-9", "100", "9223372036854775807", "-9223372036854775808")


def position(random: Random) -> list[str]:
    return random.choice(
        [
            [f"{random.uniform(-181, 181):.6f}", f"{random.uniform(-86, 86):.6f}"],
            [f"{random.uniform(10, 12):.3f}", f"{random.uniform(50, 52):.3f}"],
            ["11.1", "51"],
            ["-.5", "5."],
            ["1e1", "0x1p3"],
            ["-0", "12.3456789012345678"],
            ["1.2.3", ""],
        ]
    )


def options(random: Random, stores: bool = False) -> list[str]:
    known = [["asc"], ["DESC"], ["COUNT", "2"], ["COUNT", "3", "ANY"], ["COUNT", "0"], ["ANY"]]
    if stores:
        known += [["STOREDIST"]]
    else:
        known += [["WITHDIST"], ["WITHHASH"], ["WITHCOORD"]] * 2 + [["STORE", "b"]]
    return [word for one in random.choices(known, k=random.randrange(4)) for word in one]


def search(random: Random, stores: bool = False) -> list[str]:
    centre = random.choice(
        [["FROMMEMBER", random.choice(MEMBERS)], ["FROMLONLAT", *position(random)], []]
    )
    size = random.choice(["0", "10", "150.5", "20000", "-1", "inf", "wide"])
    unit = random.choice(UNITS)
    shape = random.choice([["BYRADIUS", size, unit], ["byBOX", size, "300", unit], []])
    return [*centre, *shape, *options(random, stores)]


def geo_command(random: Random) -> list[str]:
    key = random.choice(KEYS)
    members = random.choices(MEMBERS, k=random.randrange(1, 4))
    circle = [random.choice(["10", "150.5", "9e6", "x"]), random.choice(UNITS)]
    match random.choice(["GEOADD", "GEOADD", "one", "GEODIST", "search", "store", "old", "old"]):
        case "GEOADD":
            flags = random.choice([[], [], ["CH"], ["NX"], ["XX", "CH"], ["nx", "XX"]])
            places = [word for member in members for word in (*position(random), member)]
            return ["GEOADD", key, *flags, *places]
        case "one":
            return [random.choice(["GEOPOS", "GEOHASH"]), key, *members]
        case "GEODIST":
            return ["GEODIST", key, random.choice(MEMBERS), *members]
        case "search":
            return ["GEOSEARCH", key, *search(random)]
        case "store":
            return ["GEOSEARCHSTORE", random.choice(KEYS), key, *search(random, stores=True)]
    centre = random.choice([(*position(random),), (members[0],)])
    name = ("GEORADIUSBYMEMBER", "GEORADIUS")[len(centre) - 1] + random.choice(["", "_RO"])
    return [name, key, *centre, *circle, *options(random)]


def bitmap_command(random: Random) -> list[str]:
    key = random.choice(KEYS)
    match random.choice(["SET", "SETBIT", "BITCOUNT", "BITPOS", "BITOP", "field", "field"]):
        case "SET":
            return ["SET", key, random.choice(["", "12345", "\x00\xff" * 20, "text" * 30])]
        case "SETBIT":
            return ["SETBIT", key, str(random.randrange(200)), random.choice("012")]
        case "BITCOUNT":
            ends = random.choices(INTEGERS, k=random.choice([0, 2, 2, 1]))
            return ["BITCOUNT", key, *ends, *random.choice([[], [], ["BIT"], ["byte"], ["x"]])]
        case "BITPOS":
            ends = random.choices(INTEGERS, k=random.randrange(3))
            return ["BITPOS", key, random.choice("012"), *ends, *random.choice([[], ["BIT"]])]
        case "BITOP":
            sources = random.choices(KEYS, k=random.randrange(1, 4))
            return ["BITOP", random.choice(["AND", "or", "XOR", "NOT"]), key, *sources]
    fields: list[str] = []
    for _ in range(random.randrange(20) if random.random() < 0.1 else random.randrange(4)):
        if random.random() < 0.3:
            fields += ["OVERFLOW", random.choice(["WRAP", "sat", "FAIL"])]
        kind = random.choice(["GET", "SET", "INCRBY"])
        width = random.choice(["u1", "u8", "i5", "i16", "u63", "i64", "i1", "u64", "U8", "i08"])
        fields += [kind, width, random.choice(["0", "3", "#1", "#7", "77", "-1"])]
        if kind != "GET":
            fields.append(random.choice(INTEGERS))
    return [random.choice(["BITFIELD", "BITFIELD", "BITFIELD_RO"]), key, *fields]


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("family", [geo_command, bitmap_command])
def test_both_lanes_do_the_same(family: Callable[[Random], list[str]], resp: int) -> None:
    random = Random(resp)
    native, python = Shard(), Shard(native_lane=False)
    for shard in (native, python):
        shard.call("SET", "string", "text")
    for number in range(COMMANDS):
        call = ["DEL", *KEYS[:3]] if number % 400 == 0 else family(random)
        assert native.call(*call, resp=resp) == python.call(*call, resp=resp), call
        assert native.keyspace.changes == python.keyspace.changes, call
    for key in KEYS:
        assert native.call("DUMP", key) == python.call("DUMP", key)
        assert native.call("OBJECT", "ENCODING", key) == python.call("OBJECT", "ENCODING", key)
    assert native.keyspace.hits == python.keyspace.hits
    assert native.keyspace.misses == python.keyspace.misses
    assert native.executor.runner.errors == python.executor.runner.errors


def test_coordinates_are_those_of_printf() -> None:
    random = Random(1)
    values = [0.0, -0.0, 1.0, -180.0, 0.5, 5e-18, -5e-18, 1 - 2**-53, 2**-18, 2**-60, 2**-70, 1e-30]
    values += [random.uniform(-180, 180) for _ in range(2000)]
    values += [random.uniform(-1, 1) * 10 ** -random.randrange(20) for _ in range(2000)]
    for value in values:
        expected = (b"%.17f" % value).rstrip(b"0").rstrip(b".")
        assert coordinate(value) == (b"0" if expected == b"-0" else expected), value
