"""Random commands of one client, each with its exact effect."""

from __future__ import annotations

from random import Random

from tests.sim.model import (
    NO_SUCH_KEY,
    NOT_INTEGER,
    OK,
    Effect,
    Key,
    Outcome,
    Request,
    Value,
    bulk,
    integer,
)

TAGS = [b"t%d" % i for i in range(12)]
KEYS_PER_TAG = 2
DATABASES = 2
LARGE_BYTES = (60_000, 66_000, 70_000, 200_000)


def encode(args: list[bytes]) -> bytes:
    return b"*%d\r\n%b" % (len(args), b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args))


def number(value: Value) -> int | None:
    if value is None:
        return 0
    if len(value) > 18:
        return None
    try:
        parsed = int(value)
    except ValueError:
        return None
    return parsed if b"%d" % parsed == value else None


class Requests:
    """The commands of one connection; names of keys begin with its own prefix."""

    def __init__(self, random: Random, prefix: bytes, tags: int) -> None:
        self.tags = TAGS[:tags]
        self.random = random
        self.prefix = prefix
        self.database = 0
        self.counter = 0
        self.single = (
            (self.set_, 20), (self.get, 22), (self.incr, 8), (self.append, 6), (self.strlen, 4),
            (self.getset, 4), (self.getdel, 3), (self.setnx, 4),
        )  # fmt: skip
        self.several = (
            (self.mget, 5), (self.mset, 4), (self.delete, 4), (self.exists, 3), (self.rename, 3),
            (self.renamenx, 1), (self.msetnx, 2), (self.copy, 1),
        )  # fmt: skip
        self.local = ((self.ping, 2), (self.echo, 3), (self.select, 2), (self.wrong, 4))
        self.makers, self.weights = zip(*self.single, *self.several, *self.local, strict=True)

    def next(self) -> Request:
        maker = self.random.choices(self.makers, self.weights)[0]
        request: Request = maker()
        return request

    # Arguments

    def key(self) -> bytes:
        tag = self.random.choice(self.tags)
        return b"%b{%b}%d" % (self.prefix, tag, self.random.randrange(KEYS_PER_TAG))

    def distinct_keys(self, low: int, high: int) -> list[bytes]:
        count = self.random.randint(low, high)
        return list(dict.fromkeys(self.key() for _ in range(count)))

    def value(self) -> bytes:
        self.counter += 1
        kind = self.random.random()
        if kind < 0.05:
            size = self.random.choice(LARGE_BYTES)
            return (b"%b%d." % (self.prefix, self.counter)).ljust(size, b"x")
        if kind < 0.4:
            return b"%d" % self.random.randrange(-1000, 1000)
        return b"%b%d" % (self.prefix, self.counter)

    def make(
        self,
        args: list[bytes],
        names: list[bytes],
        effect: Effect,
        writes: bool,
        large: bool = False,
    ) -> Request:
        raw = encode(args)
        if sum(map(len, args)) < 200 and self.random.random() < 0.05 and b"" not in args:
            raw = b" ".join(args) + self.random.choice((b"\r\n", b"\n"))
        text = " ".join(arg[:24].decode() + ("..." if len(arg) > 24 else "") for arg in args)
        keys: tuple[Key, ...] = tuple((self.database, name) for name in names)
        return Request(text, raw, keys, effect, writes, large)

    # One key

    def set_(self) -> Request:
        key, value = self.key(), self.value()
        return self.make([b"SET", key, value], [key], lambda _: (OK, (value,)), True)

    def get(self) -> Request:
        key = self.key()
        return self.make([b"GET", key], [key], lambda now: (bulk(now[0]), now), False, True)

    def incr(self) -> Request:
        key = self.key()

        def effect(now: tuple[Value, ...]) -> Outcome:
            count = number(now[0])
            if count is None:
                return NOT_INTEGER, now
            return integer(count + 1), (b"%d" % (count + 1),)

        return self.make([b"INCR", key], [key], effect, True)

    def append(self) -> Request:
        key, more = self.key(), self.value()

        def effect(now: tuple[Value, ...]) -> Outcome:
            value = (now[0] or b"") + more
            return integer(len(value)), (value,)

        return self.make([b"APPEND", key, more], [key], effect, True)

    def strlen(self) -> Request:
        key = self.key()
        return self.make(
            [b"STRLEN", key], [key], lambda now: (integer(len(now[0] or b"")), now), False
        )

    def getset(self) -> Request:
        key, value = self.key(), self.value()
        return self.make(
            [b"GETSET", key, value], [key], lambda now: (bulk(now[0]), (value,)), True, True
        )

    def getdel(self) -> Request:
        key = self.key()
        return self.make([b"GETDEL", key], [key], lambda now: (bulk(now[0]), (None,)), True, True)

    def setnx(self) -> Request:
        key, value = self.key(), self.value()

        def effect(now: tuple[Value, ...]) -> Outcome:
            return (integer(1), (value,)) if now[0] is None else (integer(0), now)

        return self.make([b"SETNX", key, value], [key], effect, True)

    # Several keys, which may lie on several shards

    def mget(self) -> Request:
        names = self.distinct_keys(1, 4)

        def effect(now: tuple[Value, ...]) -> Outcome:
            return b"*%d\r\n%b" % (len(now), b"".join(map(bulk, now))), now

        return self.make([b"MGET", *names], names, effect, False, True)

    def mset(self) -> Request:
        names = self.distinct_keys(1, 4)
        values = tuple(self.value() for _ in names)
        args = [part for pair in zip(names, values, strict=True) for part in pair]
        return self.make([b"MSET", *args], names, lambda _: (OK, values), True)

    def msetnx(self) -> Request:
        names = self.distinct_keys(1, 3)
        values = tuple(self.value() for _ in names)
        args = [part for pair in zip(names, values, strict=True) for part in pair]

        def effect(now: tuple[Value, ...]) -> Outcome:
            if any(value is not None for value in now):
                return integer(0), now
            return integer(1), values

        return self.make([b"MSETNX", *args], names, effect, True)

    def delete(self) -> Request:
        names = self.distinct_keys(1, 4)

        def effect(now: tuple[Value, ...]) -> Outcome:
            return integer(sum(value is not None for value in now)), (None,) * len(now)

        return self.make([b"DEL", *names], names, effect, True)

    def exists(self) -> Request:
        names = self.distinct_keys(1, 4)

        def effect(now: tuple[Value, ...]) -> Outcome:
            return integer(sum(value is not None for value in now)), now

        return self.make([b"EXISTS", *names], names, effect, False)

    def two_keys(self) -> list[bytes]:
        while len(names := self.distinct_keys(2, 2)) < 2:
            pass
        return names

    def rename(self) -> Request:
        names = self.two_keys()

        def effect(now: tuple[Value, ...]) -> Outcome:
            return (NO_SUCH_KEY, now) if now[0] is None else (OK, (None, now[0]))

        return self.make([b"RENAME", *names], names, effect, True)

    def renamenx(self) -> Request:
        names = self.two_keys()

        def effect(now: tuple[Value, ...]) -> Outcome:
            if now[0] is None:
                return NO_SUCH_KEY, now
            return (integer(1), (None, now[0])) if now[1] is None else (integer(0), now)

        return self.make([b"RENAMENX", *names], names, effect, True)

    def copy(self) -> Request:
        names = self.two_keys()

        def effect(now: tuple[Value, ...]) -> Outcome:
            if now[0] is None or now[1] is not None:
                return integer(0), now
            return integer(1), (now[0], now[0])

        return self.make([b"COPY", *names], names, effect, True)

    # No shard

    def ping(self) -> Request:
        return self.make([b"PING"], [], lambda now: (b"+PONG\r\n", now), False)

    def echo(self) -> Request:
        message = self.value()
        return self.make([b"ECHO", message], [], lambda now: (bulk(message), now), False)

    def select(self) -> Request:
        self.database = self.random.randrange(DATABASES)
        return self.make([b"SELECT", b"%d" % self.database], [], lambda now: (OK, now), False)

    def wrong(self) -> Request:
        args, error = self.random.choice(
            (
                ([b"NOSUCH", b"a"], b"unknown command 'NOSUCH', with args beginning with: 'a' "),
                ([b"GET"], b"wrong number of arguments for 'get' command"),
                ([b"SHARDIS.UNLOCK", b"a"],
                 b"unknown command 'SHARDIS.UNLOCK', with args beginning with: 'a' "),
            )
        )  # fmt: skip
        return self.make(args, [], lambda now: (b"-ERR %b\r\n" % error, now), False)
