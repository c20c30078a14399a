"""The digest of what a key holds, whatever its type; see digest_parts.py."""

from __future__ import annotations

from decimal import Decimal
from math import isinf
from typing import TYPE_CHECKING

from protocol.reply import Reply
from shards.inspect.digest_parts import EMPTY, add, mix
from shards.inspect.unseen import unseen
from shards.views.hash import HashView
from shards.views.list import ListView
from shards.views.set import SetView
from shards.views.stream import HIGHEST, LOWEST, StreamView
from shards.views.zset import ZsetView

if TYPE_CHECKING:
    from shards.lane.context import Context

TYPES = {b"string": 0, b"list": 1, b"set": 2, b"zset": 3, b"hash": 4, b"stream": 6}


def bulks(reply: bytes) -> list[bytes]:
    """The bulk strings of a reply, however nested."""
    found = []
    at = 0
    while at < len(reply):
        end = reply.index(b"\r\n", at)
        if reply[at : at + 1] == b"$":
            length = int(reply[at + 1 : end])
            found.append(reply[end + 2 : end + 2 + length])
            end += length + 2
        at = end + 2
    return found


def stream_parts(ctx: Context, key: bytes) -> list[bytes]:
    """The ids, fields and values of a stream, one after the other."""
    view = StreamView.open(ctx, key)
    if view is None:
        return []
    parts: list[bytes] = []
    low = LOWEST
    while True:
        reply = Reply(2)
        if not view.reply_one(reply, low, HIGHEST):
            return parts
        name, *items = bulks(reply.take())
        ms, sequence = map(int, name.split(b"-"))
        parts += [b"%d.%d" % (ms, sequence), *items]
        low = (ms, sequence + 1) if sequence < HIGHEST[1] else (ms + 1, 0)


def score_text(score: float) -> bytes:
    """A score as redis-server's digest has it: its shortest digits, whole numbers too."""
    if isinf(score) or score == 0:
        return (b"%r" % score).removesuffix(b".0")
    sign, parts, exponent = Decimal(repr(score)).normalize().as_tuple()
    assert isinstance(exponent, int)
    digits = "".join(map(str, parts))
    scientific = abs(exponent + len(digits) - 1)
    if exponent >= 0 and scientific < len(digits) + 7:
        text = digits + "0" * exponent
    elif exponent < 0 and (exponent > -7 or scientific < 4):
        padded = digits.rjust(1 - exponent, "0")
        text = f"{padded[:exponent]}.{padded[exponent:]}"
    else:
        mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
        text = f"{mantissa}e{'-' if exponent + len(digits) < 1 else '+'}{scientific}"
    return ("-" * sign + text).encode()


def of_value(ctx: Context, key: bytes, digest: bytes = EMPTY) -> bytes:
    """A digest with the value of a key of the running command's database. O(n)

    Called with `unseen`: a digest is of what is there, and asking for it is no use of a key.
    """
    kind = ctx.type(key, counted=False)
    if kind is None:
        return digest
    digest = mix(digest, TYPES[kind].to_bytes(4))
    match kind:
        case b"string":
            digest = mix(digest, ctx.write_string(key) or b"")
        case b"list":
            for element in ListView.open(ctx, key).range(0, -1):
                digest = mix(digest, element)
        case b"set":
            for member in SetView.open(ctx, key).members():
                digest = add(digest, member)
        case b"zset":
            for member, score in ZsetView.open(ctx, key).items():
                digest = add(digest, mix(mix(EMPTY, member), score_text(score)))
        case b"hash":
            for field, value in HashView.open(ctx, key).items():
                digest = add(digest, mix(mix(EMPTY, field), value))
        case b"stream":
            for part in stream_parts(ctx, key):
                digest = mix(digest, part)
    if ctx.expire_ms(key) not in (None, -1):
        digest = add(digest, b"!!expire!!")
    return digest


def of_database(ctx: Context) -> bytes:
    """The keys of the running command's database combined. O(n)"""
    digest = EMPTY
    with unseen(ctx):
        for key in list(ctx.keyspace.keys(ctx.database)):
            digest = add(digest, of_value(ctx, key, mix(EMPTY, key)))
    return digest
