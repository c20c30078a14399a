"""What the grammars of all families share: the chance behind them, small alphabets, mistakes.

Alphabets are small so that commands meet each other's keys. Each family file declares one
generator per command in a `Family`; a generator returns the commands of one idea, nearly always
a single one. About one command in sixteen is then spoilt: an argument dropped, added, replaced.

Nothing here may produce a reply that depends on when it is asked: a relative expiry is far away
(`is_unfit` rejects the others), and a key that is set already expired is looked at right after.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

Args = list[bytes]
Generator = Callable[["Draw"], list[Args]]

# Keys lie over all slots, so that commands over several of them cross shards; those with a tag
# share a slot.
PLAIN_KEYS = [b"a", b"b", b"c", b"k1", b"k2", b"key:3"]
TAGGED_KEYS = [b"{x}1", b"{x}2", b"{x}3", b"x", b"a{x}b{y}"]
ODD_KEYS = [b"", b"{}", b"{}a", b"{", b"\x00\xff\r\n", b"with space", b"k" * 120, b"*", b"[a]"]
MIXED_KEYS = [b"m1", b"m2", b"m3", b"m4", b"m5", b"m6"]  # of any type
INTEGERS = [
    *(b"0", b"1", b"-1", b"2", b"5", b"10", b"-5", b"100", b"9999", b"10000", b"2147483647"),
    *(b"2147483648", b"4294967296", b"9223372036854775807", b"-9223372036854775808"),
    *(b"9223372036854775806", b"-9223372036854775807"),
]
BAD_INTEGERS = [
    *(b"", b"abc", b"1.5", b" 1", b"1 ", b"+1", b"-0", b"01", b"9223372036854775808", b"0x10"),
    *(b"-9223372036854775809", b"1e3", b"\x001", b"18446744073709551616"),
]
FLOATS = [
    *(b"1.5", b"-1.5", b"0.1", b"3.0e3", b"5e-5", b"1e17", b"-0", b"0", b"1234567890.125", b".5"),
    *(b"1e300", b"3.14159265358979323846", b"-7.", b"1e-10", b"0.30000000000000004"),
]
BAD_FLOATS = [b"", b"abc", b"inf", b"-inf", b"nan", b" 1.5", b"1.5 ", b"1e5000", b"1,5", b"1.5x"]
VALUES = [b"", b"v", b"hello", b"Hello World", b"ohmytext", b"mynewtext", b"\x00\x01\xff", b"\r\n"]
WORDS = [
    *(b"NX", b"XX", b"GT", b"LT", b"GET", b"EX", b"PX", b"EXAT", b"PXAT", b"KEEPTTL", b"PERSIST"),
    *(b"MATCH", b"COUNT", b"TYPE", b"REPLACE", b"DB", b"LEN", b"IDX", b"SYNC", b"ASYNC", b"foo"),
]
# Absolute times far ahead (2100 and later), in seconds; a thousand times that in milliseconds.
FUTURE_SECONDS = [b"4102444800", b"4102444801", b"5000000000", b"33177117420"]
PAST_SECONDS = [b"1", b"1000", b"1500000000"]
FAR_SECONDS = [b"100000", b"100001", b"5000000"]
# Timeouts of blocking commands in seconds: a moment, or refused.
TIMEOUTS = [b"0.001"] * 12 + [
    *(b"-1", b"abc", b"", b"inf", b"-inf", b"nan", b"1e5000", b"1e20", b"-0.5", b" 1", b"1x"),
    *(b"9223372036854775807", b"9223372036854776", b"-1e30", b"1e-5000"),
]
# Where the timeout of a blocking command stands.
TIMEOUT_AT = {
    b"BLPOP": -1,
    b"BRPOP": -1,
    b"BLMOVE": 5,
    b"BRPOPLPUSH": 3,
    b"BLMPOP": 1,
    b"BZPOPMIN": -1,
    b"BZPOPMAX": -1,
    b"BZMPOP": 1,
}
MISTAKE_CHANCE = 1 / 16
INLINE_SAFE = re.compile(rb"[A-Za-z0-9_{}:.\-]+")


class Exact(list[bytes]):
    """The arguments of a command that is not spoilt, because later replies depend on it."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command as it is sent."""

    args: tuple[bytes, ...]
    inline: bool = False
    family: str = field(default="", compare=False)

    @property
    def name(self) -> bytes:
        return self.args[0].upper() if self.args else b""

    def encoded(self) -> bytes:
        if self.inline:
            return b" ".join(self.args) + b"\r\n"
        parts = [b"*%d\r\n" % len(self.args)]
        parts += [b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in self.args]
        return b"".join(parts)


class Draw(random.Random):
    """A seeded source of everything a grammar may choose."""

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def key(self) -> bytes:
        kind = self.random()
        if kind < 0.5:
            return self.choice(PLAIN_KEYS)
        if kind < 0.55:
            return self.choice(MIXED_KEYS)
        return self.choice(TAGGED_KEYS if kind < 0.85 else ODD_KEYS)

    def keys(self, most: int = 5) -> Args:
        """Several keys: of one slot, or of any; repeated ones are wanted."""
        count = self.randint(1, most)
        if self.chance(0.3):
            return [self.choice(TAGGED_KEYS) for _ in range(count)]
        return [self.key() for _ in range(count)]

    def value(self) -> bytes:
        kind = self.random()
        if kind < 0.35:
            return self.choice(VALUES)
        if kind < 0.65:
            return self.choice(INTEGERS)
        if kind < 0.75:
            return self.choice(FLOATS)
        if kind < 0.80:
            return self.choice(BAD_INTEGERS)
        if kind < 0.97:
            return self.randbytes(self.choice([1, 12, 43, 44, 45, 60]))
        # Around 64 KiB values leave the ordinary path of the server.
        return bytes([self.randrange(256)]) * self.choice([700, 5000, 32768, 65535, 65536, 70001])

    def integer(self) -> bytes:
        return self.choice(INTEGERS) if self.chance(0.85) else self.choice(BAD_INTEGERS)

    def small(self) -> bytes:
        """An index or count into small values."""
        if self.chance(0.85):
            return b"%d" % self.randint(-8, 12)
        return self.integer()

    def float(self) -> bytes:
        return self.choice(FLOATS) if self.chance(0.85) else self.choice(BAD_FLOATS)

    def database(self) -> bytes:
        if self.chance(0.8):
            return self.choice([b"0", b"0", b"0", b"1"])
        return self.choice([b"2", b"15", b"16", b"-1", b"abc", b"", b"99999999999", b"+1", b"01"])

    def expiry(self, *, milliseconds: bool, absolute: bool) -> bytes:
        """A time for an expiry; one in five is a wrong or an extreme one."""
        if self.chance(0.2):
            return self.choice(
                [
                    *(
                        b"0",
                        b"-1",
                        b"abc",
                        b"",
                        b"1.5",
                        b"9223372036854775807",
                        b"10000000000000000",
                    ),
                    *(b"-9223372036854775808", b"9223372036854775", b"9223372036854776"),
                ]
            )
        if absolute:
            seconds = self.choice(PAST_SECONDS if self.chance(0.1) else FUTURE_SECONDS)
        else:
            seconds = self.choice(FAR_SECONDS)
        return seconds + b"000" if milliseconds else seconds

    def expiry_option(self) -> Args:
        word = self.choice([b"EX", b"PX", b"EXAT", b"PXAT"])
        when = self.expiry(milliseconds=word[:1] == b"P", absolute=word.endswith(b"AT"))
        return [word, when] if self.chance(0.97) else [word]

    def cased(self, word: bytes) -> bytes:
        """A word in upper, lower or mixed case."""
        kind = self.random()
        if kind < 0.6:
            return word
        if kind < 0.8:
            return word.lower()
        return bytes(
            byte ^ 0x20 if chr(byte).isalpha() and self.chance(0.5) else byte for byte in word
        )

    def spoil(self, args: Args) -> Args:
        """Make a likely mistake: too few, too many, or wrong arguments."""
        spoilt = list(args)
        kind = self.randrange(5)
        at = self.randrange(1, len(spoilt) + 1)
        if kind == 0 and len(spoilt) > 1:
            del spoilt[self.randrange(1, len(spoilt)) :]
        elif kind == 1 and at < len(spoilt):
            del spoilt[at]
        elif kind == 2:
            spoilt.insert(at, self.choice(WORDS))
        elif kind == 3 and at < len(spoilt):
            spoilt[at] = self.choice([*INTEGERS, *BAD_INTEGERS, *WORDS])
        else:
            spoilt.append(self.value())
        return spoilt


@dataclass
class Family:
    """The generators of one family, with how often each is drawn."""

    name: str
    weight: float
    generators: list[tuple[Generator, float]] = field(default_factory=list)

    def command(self, weight: float = 1.0) -> Callable[[Generator], Generator]:
        """Declare the decorated function as a generator of this family."""

        def declare(generator: Generator) -> Generator:
            self.generators.append((generator, weight))
            return generator

        return declare

    def draw(self, draw: Draw) -> list[Args]:
        generators = [generator for generator, _ in self.generators]
        weights = [weight for _, weight in self.generators]
        return draw.choices(generators, weights)[0](draw)


def is_beyond_int(argument: bytes) -> bool:
    """Whether it is a number that is no C int.

    Redis 7.2 takes the low half of such an index of LSET, and overwrites some other element.
    """
    return re.fullmatch(rb"-?\d{10,19}", argument) is not None and not (
        -(1 << 31) <= int(argument) < 1 << 31
    )


def is_unfit(args: tuple[bytes, ...]) -> bool:
    """True when replies could differ for reasons that aren't to be found out.

    An expiry so near, or a comparison of relative times so close, that the answer depends on the
    millisecond; a sleep, a pause, or a command that might wait; a NUL in a client name, which Redis
    7.2 no longer refuses, or in a directive, which ends there; all that is known of a client;
    something else that chance takes away; more elements than memory could hold.
    """
    name = args[0].upper()
    upper = [arg.upper() for arg in args]
    if name in (b"SPOP", b"SRANDMEMBER") and len(args) > 1:
        return _is_unfit_chance(name, args)
    if name == b"XAUTOCLAIM" and b"COUNT" in upper and any(len(arg) > 9 for arg in args[7:]):
        return True  # Redis tries to allocate as much
    if name == b"DEBUG" and len(args) > 2 and upper[1] == b"SLEEP":
        return args[2] not in (b"0", b"0.0", b"0.001")
    if name in (b"CLIENT", b"CONFIG", b"HELLO") and any(b"\0" in arg for arg in args):
        return True
    if upper == [b"CLIENT", b"LIST"]:
        return True
    if upper[:2] == [b"CLIENT", b"PAUSE"] and any(
        re.fullmatch(rb"[1-9]\d*", arg) for arg in args[2:]
    ):
        return True
    if name in TIMEOUT_AT and -len(args) <= TIMEOUT_AT[name] < len(args):
        return args[TIMEOUT_AT[name]] not in TIMEOUTS
    if name == b"LSET" and len(args) > 2 and is_beyond_int(args[2]):
        return True
    if name in (b"EXPIRE", b"PEXPIRE") and len(args) > 2 and {b"GT", b"LT"} & set(upper[3:]):
        seconds = args[2].removesuffix(b"000") if name == b"PEXPIRE" else args[2]
        if args[2] in FAR_SECONDS or seconds in FAR_SECONDS:
            return True
    if name in (b"SORT", b"SORT_RO") and _keeps_order(upper):
        return True
    if name == b"HRANDFIELD" and len(args) > 2 and re.fullmatch(rb"-\d{4,}", args[2]):
        return True
    if name == b"COMMAND" and b"SYNC" in upper:
        return True  # a word of FLUSHALL, but a command too, which ours has not yet
    limits: list[tuple[int, int]] = []  # (index of the time, it is near below this)
    if name in (b"PSETEX", b"PEXPIRE"):
        limits.append((2, 30_000))
    elif name in (b"SETEX", b"EXPIRE"):
        limits.append((2, 30))
    limits += [(at + 1, 30_000) for at, word in enumerate(upper) if word == b"PX"]
    limits += [(at + 1, 30) for at, word in enumerate(upper) if word == b"EX"]
    for at, near in limits:
        if at < len(args) and re.fullmatch(rb"\d{1,18}", args[at]) and 0 < int(args[at]) < near:
            return True
    return False


def _keeps_order(words: list[bytes]) -> bool:
    """Whether SORT has a pattern without `*`, and so shows the order of a hash table."""
    patterns = [words[at + 1] for at, word in enumerate(words[:-1]) if word == b"BY"]
    return any(b"*" not in pattern for pattern in patterns)


def _is_unfit_chance(name: bytes, args: tuple[bytes, ...]) -> bool:
    if name == b"SRANDMEMBER":
        return len(args) > 2 and re.fullmatch(rb"-\d{4,}", args[2]) is not None
    if args[1].startswith(b"pop:"):  # of which only the number of members shows later
        return False
    counted = len(args) == 3 and re.fullmatch(rb"\d{1,19}", args[2]) is not None
    return len(args) == 2 or (counted and 0 < int(args[2]) < 100_000)


def finish(draw: Draw, args: Args, family: str = "") -> Command:
    """Turn generated arguments into a command: spelling, mistakes, inline form."""
    if draw.chance(MISTAKE_CHANCE) and not isinstance(args, Exact):
        spoilt = draw.spoil(args)
        if not is_unfit(tuple(spoilt)):
            args = spoilt
    args = [draw.cased(args[0]), *args[1:]]
    short = sum(map(len, args)) < 1000  # a long line is a protocol error, or not, by chance
    inline = short and draw.chance(0.03) and all(map(INLINE_SAFE.fullmatch, args))
    return Command(tuple(args), inline, family)
