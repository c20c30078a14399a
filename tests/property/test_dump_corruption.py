"""Broken dumps give an error, never a crash, and leave nothing behind.

Dumps of all types and encodings, old ones included, are damaged by chance (bits, bytes, lengths,
cuts, parts of others), with a checksum that is right again. What is accepted all the same has to be
sound: the whole keyspace is checked, and the value is dumped and restored once more.

`make soak` tries 400,000 of them so, and sends 200,000 to a server: two minutes.

Environment:
  SHARDIS_DUMP_CORRUPTIONS       how many with every test
  SHARDIS_SOAK_DUMP_CORRUPTIONS  how many in the soak; half as many go to the server
  SHARDIS_DUMP_SEED              the seed
"""

from __future__ import annotations

import os
import random
import time
from struct import pack
from types import SimpleNamespace
from typing import Any

import pytest

from persistence.crc64 import checksum
from persistence.dump import dump, is_intact, restore
from shards.keyspace.keyspace import Keyspace
from shards.views.hash import HashView
from shards.views.list import ListView
from shards.views.set import SetView
from shards.views.stream import StreamView
from shards.views.zset import ZsetView
from tests.support.resp_client import encode
from tests.support.servers import Configuration, ServerPool

CORRUPTIONS = int(os.environ.get("SHARDIS_DUMP_CORRUPTIONS", "5000"))
SOAK_CORRUPTIONS = int(os.environ.get("SHARDIS_SOAK_DUMP_CORRUPTIONS", "400000"))
SEED = os.environ.get("SHARDIS_DUMP_SEED", "1")
SECONDS_MAX = 2.0  # for one payload, all that is done with it: more would be a hang
GROWTH_MAX = 1 << 20  # bytes left behind by all of them
BATCH = 500  # payloads in one pipeline
# Numbers of elements and bytes that are not there, or that overflow when they are multiplied.
LENGTHS = [1, 2, 63, 64, 255, 16383, 16384, 65535, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]
LENGTHS += [1 << 32, (1 << 60) + 1, 1 << 61, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]


def sealed(body: bytes, version: int = 11) -> bytes:
    """A type and value with the footer of a dump."""
    body += pack("<H", version)
    return body + pack("<Q", checksum(body))


def short(data: bytes) -> bytes:
    """A string of less than 64 bytes as RDB writes it, or one of less than 16384."""
    if len(data) < 64:
        return bytes([len(data)]) + data
    return bytes([0x40 | len(data) >> 8, len(data) & 255]) + data


def ziplist(*elements: bytes | int) -> bytes:
    entries = b""
    previous = last = 0
    for element in elements:
        last = len(entries)
        entry = bytes([previous])
        if isinstance(element, bytes):
            entry += bytes([len(element)]) + element
        elif 0 <= element <= 12:
            entry += bytes([0xF1 + element])
        elif -128 <= element < 128:
            entry += b"\xfe" + pack("<b", element)
        elif -(1 << 15) <= element < 1 << 15:
            entry += b"\xc0" + pack("<h", element)
        elif -(1 << 23) <= element < 1 << 23:
            entry += b"\xf0" + pack("<i", element)[:3]
        elif -(1 << 31) <= element < 1 << 31:
            entry += b"\xd0" + pack("<i", element)
        else:
            entry += b"\xe0" + pack("<q", element)
        entries += entry
        previous = len(entry)
    return pack("<IIH", len(entries) + 11, 10 + last, len(elements)) + entries + b"\xff"


NUMBERS = (0, 12, 13, -1, -128, 300, -300, 70000, -70000, 1 << 30, 1 << 40, -(1 << 40))
OLD: dict[str, tuple[bytes, Any]] = {
    "list": (b"\x01\x02" + short(b"a") + b"\xc0\x05", [b"a", b"5"]),
    "list ziplist": (
        b"\x0a" + short(ziplist(b"a", *NUMBERS)), [b"a", *(b"%d" % n for n in NUMBERS)]
    ),
    "list quicklist": (
        b"\x0e\x02" + short(ziplist(b"a", 1)) + short(ziplist(b"b")), [b"a", b"1", b"b"]
    ),
    "set": (b"\x02\x02" + short(b"a") + b"\xc0\x05", {b"a", b"5"}),
    "zset": (b"\x03\x02" + short(b"a") + b"\x032.5" + short(b"b") + b"\xfe",
             [(b"a", 2.5), (b"b", float("inf"))]),
    "zset ziplist": (b"\x0c" + short(ziplist(b"a", 1, b"b", b"2.5")), [(b"a", 1.0), (b"b", 2.5)]),
    "hash zipmap": (b"\x09" + short(b"\x02\x01f\x03\x00abc\x02ff\x01\x02x??\xff"),
                    [(b"f", b"abc"), (b"ff", b"x")]),
    "hash ziplist": (b"\x0d" + short(ziplist(b"f", b"v", 1, 2)), [(b"f", b"v"), (b"1", b"2")]),
}  # fmt: skip


def fresh() -> Any:
    keyspace = Keyspace(1)
    keyspace.now_ms = 1_700_000_000_000
    settings = SimpleNamespace(rdbcompression=True)
    return SimpleNamespace(keyspace=keyspace, database=0, overlay=None, settings=settings)


def content(ctx: Any, key: bytes) -> Any:
    match ctx.keyspace.type(0, key):
        case b"list":
            return ListView.open(ctx, key).range(0, -1)
        case b"set":
            return set(SetView.open(ctx, key).members())
        case b"zset":
            return ZsetView.open(ctx, key).items()
        case b"hash":
            return HashView.open(ctx, key).items()
        case b"stream":
            view = StreamView.open(ctx, key)
            assert view is not None
            return view.check()
    return ctx.keyspace.read_string(0, key)


@pytest.mark.parametrize("name", OLD)
def test_old_encodings_are_understood(name: str) -> None:
    ctx = fresh()
    body, wanted = OLD[name]
    value = restore(ctx, b"k", sealed(body, 6))
    assert value is not None
    value.put()
    assert content(ctx, b"k") == wanted
    ctx.keyspace.check()


def test_the_checksum_is_jones() -> None:
    assert checksum(b"123456789") == 0xE9C6D914C4B8D9CA


def samples() -> list[bytes]:
    """The bodies of dumps, type and value."""
    ctx = fresh()
    names = []
    for count in (3, 700):
        members = [b"member %d" % number for number in range(count)]
        ListView.open(ctx, b"l%d" % count, write=True).push(members, True)
        SetView.open(ctx, b"s%d" % count, write=True).add(members)
        SetView.open(ctx, b"i%d" % count, write=True).add([b"%d" % n for n in range(count)])
        scores = [number / 2 for number in range(count)]
        ZsetView.open(ctx, b"z%d" % count, write=True).add(scores, members, 0)
        HashView.open(ctx, b"h%d" % count, write=True).set_many(
            members * 2 if count & 1 else members
        )
        names += [b"%c%d" % (kind, count) for kind in b"lsizh"]
        view = StreamView.open(ctx, b"x%d" % count, write=True, create=True)
        assert view is not None
        for number in range(count):
            view.append((number + 1, 5), [b"field", b"%d" % number, b"g", members[number]])
        view.delete([(2, 5)])
        view.add_group(b"group", (1, 0))
        view.add_consumer(b"group", b"consumer", 5)
        for number in range(min(count, 20)):
            view.claim(b"group", b"consumer", (number + 3, 5), 10, 1, 10)
        names.append(b"x%d" % count)
    ctx.keyspace.set_string(0, b"string", b"abc" * 100)
    found = [dump(ctx, name) for name in (*names, b"string")]
    ctx.keyspace.check()
    plain = SimpleNamespace(rdbcompression=False)
    ctx.settings = plain
    found += [dump(ctx, name) for name in names]
    return [one[:-10] for one in found if one] + [body for body, _ in OLD.values()]


def crafted_length(draw: random.Random) -> bytes:
    """A length as RDB writes it, in one of the forms that it fits; it belongs to no data."""
    length = draw.choice(LENGTHS)
    if length < 1 << 6 and draw.random() < 0.5:
        return bytes([length])
    if length < 1 << 14 and draw.random() < 0.5:
        return pack(">H", 0x4000 | length)
    if length < 1 << 32 and draw.random() < 0.7:
        return b"\x80" + pack(">I", length)
    return b"\x81" + pack(">Q", length)


def damaged(draw: random.Random, bodies: list[bytes]) -> bytes:
    body = bytearray(draw.choice(bodies))
    for _ in range(draw.choice([1, 1, 2, 5])):
        at = (
            draw.randrange(len(body)) if draw.random() < 0.5 else draw.randrange(min(40, len(body)))
        )
        kind = draw.randrange(9)
        if kind == 0:
            body[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            body[at] = draw.choice([0, 1, 0x7F, 0x80, 0x81, 0xC0, 0xC3, 0xF0, 0xFE, 0xFF])
        elif kind == 2:
            del body[max(at, 1) :]
        elif kind == 3:
            del body[at : at + draw.randint(1, 8)]
        elif kind == 4:
            body[at:at] = draw.randbytes(draw.randint(1, 8))
        elif kind == 5:
            other = draw.choice(bodies)
            body[at : at + 8] = other[at : at + 8]
        elif kind == 6:
            length = crafted_length(draw)
            body[at : at + draw.choice([1, 2, len(length)])] = length
        elif kind == 7:
            size = draw.choice([2, 4, 8])
            number = draw.choice(LENGTHS) & ((1 << 8 * size) - 1)
            body[at : at + size] = number.to_bytes(size, "little")
        else:
            body[0] = draw.randrange(24)
        if not body:
            body = bytearray(b"\x00")
    return bytes(body)


@pytest.mark.parametrize(
    "corruptions",
    [CORRUPTIONS, pytest.param(SOAK_CORRUPTIONS, marks=pytest.mark.slow, id="soak")],
)
def test_damaged_dumps_are_refused_or_sound(corruptions: int) -> None:
    draw = random.Random(f"{SEED}:{corruptions}")
    bodies = samples()
    ctx = fresh()
    empty = ctx.keyspace.used_memory
    accepted = 0
    slowest = 0.0
    for number in range(corruptions):
        payload = sealed(damaged(draw, bodies))
        assert is_intact(payload)
        started = time.thread_time()
        value = restore(ctx, b"k", payload)
        if value is not None:
            accepted += 1
            value.put()
            ctx.keyspace.check()
            content(ctx, b"k")
            again = dump(ctx, b"k")
            assert again is not None, number
            assert restore(ctx, b"other", again) is not None, number
            ctx.keyspace.delete(0, b"k")
        slowest = max(slowest, time.thread_time() - started)
    assert accepted
    del value
    ctx.keyspace.check()
    assert ctx.keyspace.size(0) == 0
    growth = ctx.keyspace.used_memory - empty
    print(
        f"{corruptions} damaged dumps, {accepted} of them accepted, the slowest took"
        f" {slowest * 1000:.1f} ms, {growth} bytes left"
    )
    assert growth < GROWTH_MAX
    assert slowest < SECONDS_MAX


@pytest.mark.slow
@pytest.mark.parametrize("sanitize", ["no", "yes"])
def test_a_server_survives_damaged_dumps(server_pool: ServerPool, sanitize: str) -> None:
    draw = random.Random(f"{SEED}:{sanitize}")
    bodies = samples()
    server = server_pool.get(Configuration(shards=2))
    pids = server.shard_pids()
    refused = b"-ERR Bad data format\r\n"
    accepted = sent = 0
    slowest = 0.0
    with server.client(timeout=30.0) as client:
        assert client.call("CONFIG", "SET", "sanitize-dump-payload", sanitize) == b"+OK\r\n"
        before = used_memory(server.info("memory"))
        while sent < SOAK_CORRUPTIONS // 4:
            calls = []
            for number in range(BATCH):
                key = b"k%d" % number
                payload = sealed(damaged(draw, bodies))
                calls += [[b"RESTORE", key, b"0", payload], [b"DEBUG", b"DIGEST-VALUE", key]]
                calls += [[b"DUMP", key], [b"DEL", key]]
            started = time.monotonic()
            client.send(b"".join(encode(*call) for call in calls))
            replies = client.read_replies(len(calls))
            slowest = max(slowest, time.monotonic() - started)
            for restored, dumped in zip(replies[::4], replies[2::4], strict=True):
                assert restored in (b"+OK\r\n", refused)
                assert (restored == refused) is (dumped == b"$-1\r\n")
                accepted += restored != refused
            sent += BATCH
        growth = used_memory(server.info("memory")) - before
        assert client.call("CONFIG", "SET", "sanitize-dump-payload", "no") == b"+OK\r\n"
        assert client.call("DBSIZE") == b":0\r\n"
    print(
        f"{sent} damaged dumps sent, {accepted} of them accepted, the slowest batch of {BATCH} took"
        f" {slowest * 1000:.0f} ms, {growth} bytes left"
    )
    assert server.shard_pids() == pids
    assert growth < GROWTH_MAX


def used_memory(info: str) -> int:
    return next(int(line[12:]) for line in info.splitlines() if line.startswith("used_memory:"))
