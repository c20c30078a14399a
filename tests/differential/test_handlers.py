"""The handlers over the model Context against a live redis-server: the same bytes for both.

Both sides get the same random commands, in RESP2 and RESP3. Keys, words and numbers come from small
pools, so that keys collide, types are wrong and options contradict each other. Times are either
long past or so far away that no key expires by itself while a test runs; two relative times are
never close to each other, so that GT and LT have one right answer.

What cannot be equal is normalised in `normal` and nowhere else. SHARDIS_ORACLE names the server
to compare with; the seed is in the message of a failure.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.model.context import Model
from tests.support.servers import free_port

ORACLE = os.environ.get("SHARDIS_ORACLE") or shutil.which("redis-server")
BULK_BYTES_MAX = 1024 * 1024  # the least that redis-server accepts
BATCH = 50
COMMANDS = 1500
COMMANDS_LONG = 60_000

KEYS = [b"a", b"b", b"c", b"key:1", b"key:22", b"", b"[x]", b"a\x00b", b"{t}\xff"]
NUMBERS = (
    [b"%d" % number for number in (*range(-3, 12), 100, 9999, 10000, -1000, 32, 64)]
    + [b"%d" % (sign * (1 << 63) + by) for sign in (-1, 1) for by in (-2, -1, 0, 1)]
    + [b"%d" % (sign * ((1 << 63) // 1000) + by) for sign in (-1, 1) for by in (-1, 0, 1)]
    + [b"%d" % ((1 << 31) + by) for by in (-1, 0)]
)
ODD = [
    b"",
    b" 1",
    b"1 ",
    b"+1",
    b"01",
    b"-0",
    b"1.0",
    b"abc",
    b"1\x00",
    b"\r\n",
    b"18446744073709551615",
    b"18446744073709551616",
    b"-5",
    b"0x10",
    b"1e2",
    b"x" * 200,
]
FLOATS = [
    b"0.1",
    b"-1.5",
    b"3.0e-5",
    b"1e17",
    b"-1e20",
    b"123456789.123456789",
    b"inf",
    b"-inf",
    b"nan",
    b"infinity",
    b"0x1p-3",
    b"1e300",
    b"1e4900",
    b"1e5000",
    b"1e-5000",
    b".5",
    b"5.",
    b"1e",
    b" 1.0",
    b"0.00000000000000001",
    b"-0.0",
    b"99999999999999999999.5",
]
VALUES = [
    b"",
    b"0",
    b"1",
    b"-1",
    b"9999",
    b"10000",
    b"007",
    b"3.5",
    b"value",
    b"ohmytext",
    b"mynewtext",
    b"x" * 44,
    b"x" * 45,
    b"ab" * 300,
    b"ba" * 290,
    b"\x00\xff\r\n",
    b"9223372036854775807",
    b"-9223372036854775808",
]
PATTERNS = [
    b"*",
    b"**",
    b"a*",
    b"*b",
    b"?",
    b"key:[0-9]",
    b"key:*",
    b"[^a]",
    b"[a-c]",
    b"[c-a]",
    b"\\[x\\]",
    b"[[]x]",
    b"[",
    b"[^",
    b"*[",
    b"a\\",
    b"",
    b"*\x00*",
    b"{t}*",
    b"[\x80-\xff]*",
    b"{t}[\xfe-\xff]",
]
OPTION_WORDS = [
    b"NX",
    b"xx",
    b"GET",
    b"Ex",
    b"px",
    b"EXAT",
    b"pxat",
    b"KEEPTTL",
    b"persist",
    b"GT",
    b"lt",
    b"REPLACE",
    b"DB",
    b"COUNT",
    b"MATCH",
    b"TYPE",
    b"IDX",
    b"LEN",
    b"MINMATCHLEN",
    b"WITHMATCHLEN",
    b"ASYNC",
    b"sync",
    b"SAMPLES",
    b"bogus",
    b"nx\x00x",
    b"odd\r\nword\r\n",
    b"odd\x00word",
]


class Words:
    """The words of random commands."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.used: set[int] = set()

    def key(self) -> bytes:
        return self.random.choice(KEYS)

    def value(self) -> bytes:
        return self.random.choice(VALUES)

    def integer(self) -> bytes:
        return self.random.choice(NUMBERS if self.random.random() < 0.85 else ODD)

    def float(self) -> bytes:
        return self.random.choice(self.random.choice([NUMBERS, FLOATS, ODD]))

    def seconds(self, unit: int, at: bool) -> bytes:
        """A time far in the past, far ahead, out of range, or no number at all."""
        choice = self.random.random()
        if choice < 0.15:
            return self.random.choice(ODD)
        if choice < 0.3:
            # Small relative times would expire within the test.
            number = self.random.choice(NUMBERS)
            if at or not re.fullmatch(rb"[0-9]{1,5}", number) or number == b"0":
                return number
        ahead = self.random.randrange(100, 100_000)
        while ahead in self.used:
            ahead += 1
        self.used.add(ahead)
        base = int(time.time()) if at else 0
        return b"%d" % ((base + ahead * 1000) * unit)

    def noise(self) -> list[bytes]:
        if self.random.random() > 0.08:
            return []
        return [self.random.choice([*OPTION_WORDS, self.integer()])]

    def some(self, *choices: list[bytes]) -> list[bytes]:
        """A random selection of option groups, in random order."""
        count = self.random.choice([0, 0, 1, 1, 1, 2, 3])
        picked = [self.random.choice(choices) for _ in range(count)]
        return [word for group in picked for word in group]

    def expiries(self) -> list[list[bytes]]:
        return [
            [b"EX", self.seconds(1, False)],
            [b"PX", self.seconds(1000, False)],
            [b"exat", self.seconds(1, True)],
            [b"PXAT", self.seconds(1000, True)],
        ]

    def expire_command(self) -> list[bytes]:
        name, unit, at = self.random.choice(
            [
                (b"EXPIRE", 1, False),
                (b"PEXPIRE", 1000, False),
                (b"EXPIREAT", 1, True),
                (b"PEXPIREAT", 1000, True),
            ]
        )
        conditions = self.some([b"NX"], [b"xx"], [b"GT"], [b"LT"])
        return [name, self.key(), self.seconds(unit, at), *conditions]

    def command(self) -> list[bytes]:
        key, value, integer, random = self.key, self.value, self.integer, self.random
        makers: list[Callable[[], list[bytes]]] = [
            lambda: [b"SET", key(), value()],
            lambda: [b"SET", key(), random.choice(NUMBERS)],
            lambda: [
                b"set",
                key(),
                value(),
                *self.some([b"NX"], [b"XX"], [b"get"], [b"KEEPTTL"], *self.expiries()),
            ],
            lambda: [b"SETNX", key(), value()],
            lambda: [b"SETEX", key(), self.seconds(1, False), value()],
            lambda: [b"PSETEX", key(), self.seconds(1000, False), value()],
            lambda: [b"GET", key()],
            lambda: [b"GETSET", key(), value()],
            lambda: [b"GETDEL", key()],
            lambda: [b"GETEX", key(), *self.some([b"PERSIST"], *self.expiries())],
            lambda: [b"STRLEN", key()],
            lambda: [b"GETRANGE", key(), integer(), integer()],
            lambda: [b"SUBSTR", key(), integer(), integer()],
            lambda: [b"SETRANGE", key(), integer(), value()],
            lambda: (
                [
                    b"SETRANGE",
                    key(),
                    b"%d" % (BULK_BYTES_MAX - random.choice([0, 1, 2, 44, 600, 1000])),
                    value(),
                ]
                if random.random() < 0.1
                else [b"SETRANGE", key(), b"%d" % random.randrange(60), value()]
            ),
            lambda: [b"APPEND", key(), value()],
            lambda: [b"INCR", key()],
            lambda: [b"DECR", key()],
            lambda: [b"INCRBY", key(), integer()],
            lambda: [b"DECRBY", key(), integer()],
            lambda: [b"INCRBYFLOAT", key(), self.float()],
            lambda: [b"MGET", *(key() for _ in range(random.randrange(4)))],
            lambda: [
                b"MSET",
                *(w for _ in range(random.randrange(3)) for w in (key(), value())),
            ],
            lambda: [
                b"MSETNX",
                *(w for _ in range(random.randrange(3)) for w in (key(), value())),
            ],
            lambda: [
                b"LCS",
                key(),
                key(),
                *self.some([b"IDX"], [b"LEN"], [b"WITHMATCHLEN"], [b"MINMATCHLEN", integer()]),
            ],
            lambda: [b"LCS", key(), key(), b"IDX", b"MINMATCHLEN", integer(), b"withmatchlen"],
            lambda: [
                random.choice([b"DEL", b"UNLINK"]),
                *(key() for _ in range(random.randrange(3))),
            ],
            lambda: [b"EXISTS", *(key() for _ in range(random.randrange(4)))],
            lambda: [b"TOUCH", *(key() for _ in range(random.randrange(4)))],
            lambda: [b"TYPE", key()],
            self.expire_command,
            self.expire_command,
            self.expire_command,
            self.expire_command,
            lambda: [random.choice([b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME"]), key()],
            lambda: [b"PERSIST", key()],
            lambda: [random.choice([b"RENAME", b"RENAMENX"]), key(), key()],
            lambda: [
                b"COPY",
                key(),
                key(),
                *self.some(
                    [b"REPLACE"],
                    [b"replace"],
                    [b"DB", random.choice([b"0", b"1"])],
                    [b"DB", integer()],
                ),
            ],
            lambda: [b"MOVE", key(), random.choice([b"0", b"1", integer()])],
            lambda: [
                b"SCAN",
                random.choice([b"0", b"0", b"0", *ODD]),
                b"COUNT",
                b"1000",
                *self.some(
                    [b"MATCH", random.choice(PATTERNS)],
                    [
                        b"TYPE",
                        random.choice([b"string", b"LIST", b"none", b"bogus", b"string\x00x"]),
                    ],
                ),
            ],
            lambda: [b"SCAN", b"0", b"COUNT", random.choice([b"0", b"-1", b"x", b"500"])],
            lambda: [b"KEYS", random.choice(PATTERNS)],
            lambda: [b"RANDOMKEY"],
            lambda: [b"DBSIZE"],
            lambda: [
                b"OBJECT",
                random.choice([b"ENCODING", b"refcount", b"FREQ", b"IDLETIME"]),
                key(),
            ],
            lambda: [b"OBJECT", random.choice([b"ENCODING", b"bogus", b"refcount", b"o\x00p"])],
            lambda: [b"MEMORY", b"USAGE", key(), *self.some([b"SAMPLES", integer()])],
            lambda: [b"MEMORY", random.choice([b"bogus", b"usage"])],
            lambda: [b"DEBUG", b"OBJECT", key()],
            lambda: [b"DEBUG", random.choice([b"bogus", b"OBJECT", b"o" * 200])],
            lambda: [b"DEBUG", b"ERROR", random.choice([b"ODD text", b"a\r\nb"])],
            lambda: (
                [random.choice([b"FLUSHDB", b"FLUSHALL"]), *self.some([b"ASYNC"], [b"sync"])]
                if random.random() < 0.1
                else [b"DBSIZE"]
            ),
            lambda: [
                b"SWAPDB",
                random.choice([b"0", b"1", integer()]),
                random.choice([b"0", b"1", integer()]),
            ],
            lambda: [b"SELECT", random.choice([b"0", b"0", b"0", b"1"])],
            lambda: [b"LIST", key()],
        ]
        name, *rest = random.choice(makers)()
        if name in (b"SELECT", b"LIST"):
            return [name, *rest]
        rest += self.noise()
        if random.random() < 0.02 and rest:
            rest.pop()
        return [name, *rest]


class Oracle:
    """A redis-server of our own on a free port, and a connection to it."""

    def __init__(self, directory: Path) -> None:
        assert ORACLE is not None
        self.port = free_port()
        self.process = subprocess.Popen(
            [
                *(ORACLE, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
                *(
                    "--enable-debug-command",
                    "yes",
                    "--dir",
                    str(directory),
                    "--rdbcompression",
                    "no",
                ),
                *("--proto-max-bulk-len", str(BULK_BYTES_MAX), "--loglevel", "warning"),
            ],
            stdout=subprocess.DEVNULL,
        )
        self.connect()

    def connect(self) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=10)
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self.input = self.socket.makefile("rb")

    def run(self, commands: list[list[bytes]]) -> list[bytes]:
        """The reply bytes of each of these commands, sent as one pipeline."""
        self.socket.sendall(b"".join(encoded(args) for args in commands))
        return [self.read() for _ in commands]

    def read(self) -> bytes:
        line = self.input.readline()
        kind, rest = line[:1], line[1:-2]
        if kind in b"$=" and rest != b"-1":
            return line + self.input.read(int(rest) + 2)
        if kind in b"*~>%" and rest != b"-1":
            count = int(rest) * (2 if kind == b"%" else 1)
            return line + b"".join(self.read() for _ in range(count))
        assert line.endswith(b"\r\n"), "the server closed the connection"
        return line

    def close(self) -> None:
        self.input.close()
        self.socket.close()
        self.process.terminate()
        self.process.wait()


def encoded(args: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    if ORACLE is None:
        pytest.skip("no redis-server to compare with")
    server = Oracle(tmp_path_factory.mktemp("oracle"))
    yield server
    server.close()


def elements(reply: bytes) -> list[bytes]:
    """The bulk strings of a flat array of them, in an order of their own."""
    found, at = [], reply.index(b"\r\n") + 2
    while at < len(reply):
        end = reply.index(b"\r\n", at)
        length = int(reply[at + 1 : end])
        found.append(reply[end + 2 : end + 2 + length])
        at = end + 4 + length
    return sorted(found)


def normal(args: list[bytes], ours: bytes, theirs: bytes) -> bool:
    """Whether two different replies differ only in what must differ."""
    name = args[0].upper()
    if name in (b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME"):
        slack = 2000 if name.startswith(b"P") else 2
        return (
            min(int(ours[1:]), int(theirs[1:])) > 0
            and abs(int(ours[1:]) - int(theirs[1:])) <= slack
        )
    if name == b"RANDOMKEY":
        return ours[:1] == theirs[:1] == b"$" and (b"$-1\r\n" in (ours, theirs)) is False
    if name == b"DBSIZE":
        # It counts expired keys that nobody looked at: KEYS removes them here, but not in Redis.
        return abs(int(ours[1:]) - int(theirs[1:])) <= len(KEYS)
    if name == b"KEYS":
        return elements(ours) == elements(theirs)
    if name == b"SCAN":
        if args[1].partition(b"\0")[0] not in (b"", b"0", b"-0"):
            # Where another cursor is, is each server's own matter.
            return ours[:2] == theirs[:2] == b"*2"
        if b"none" in args:
            return True  # Redis looks a key up for its type, which deletes it, and then shows it
        head = b"*2\r\n$1\r\n0\r\n"
        return (
            ours.startswith(head)
            and theirs.startswith(head)
            and elements(ours[len(head) :]) == elements(theirs[len(head) :])
        )
    if name == b"MEMORY":
        return theirs[:1] == b":" and (ours[:1] == b":" or ours in NULLS)  # as DEBUG OBJECT
    if name == b"OBJECT" and args[1].upper() == b"IDLETIME":
        return ours[:1] == theirs[:1] == b":"
    if name == b"OBJECT" and args[1].upper() == b"REFCOUNT":
        # Redis gives a value of its own to what COPY and INCRBYFLOAT make.
        return (ours, theirs) == (b":2147483647\r\n", b":1\r\n")
    if name == b"OBJECT" and args[1].upper() == b"ENCODING":
        # INCRBYFLOAT leaves a string in Redis even when its result is an integer, and the
        # encodings of small lists changed in 7.2.
        return (ours, theirs) in (
            (b"$3\r\nint\r\n", b"$6\r\nembstr\r\n"),
            (b"$8\r\nlistpack\r\n", b"$9\r\nquicklist\r\n"),
        )
    if name == b"DEBUG":
        if ours == b"-ERR no such key\r\n":
            return described(theirs) is not None  # an expired key, which Redis still shows
        return described(ours) is not None and described(ours) == described(theirs)
    return False


NULLS = (b"$-1\r\n", b"_\r\n")


def described(line: bytes) -> list[bytes] | None:
    """The comparable part of DEBUG OBJECT's line."""
    found = re.fullmatch(
        rb"\+Value at:0x[0-9a-f]+ refcount:[0-9]+ encoding:([a-z]+) serializedlength:([0-9]+)"
        rb" lru:[0-9]+ lru_seconds_idle:[0-9]+\r\n",
        line,
    )
    return None if found is None else [found[1].replace(b"int", b"embstr"), found[2]]


def compare(oracle: Oracle, seed: int, count: int, resp: int) -> None:
    """Run random commands on both sides; they must answer alike."""
    words = Words(seed)
    model = Model(resp)
    model.context.settings.proto_max_bulk_len = BULK_BYTES_MAX
    oracle.run([[b"HELLO", b"%d" % resp], [b"FLUSHALL"], [b"SELECT", b"0"]])
    oracle.run([[b"DEBUG", b"SET-ACTIVE-EXPIRE", b"0"]])
    for _ in range(0, count, BATCH):
        commands = [words.command() for _ in range(BATCH)]
        sent: list[list[bytes]] = []
        for args in commands:
            if args[0] == b"LIST":
                sent += [[b"DEL", args[1]], [b"RPUSH", args[1], b"item"]]
            else:
                sent.append(args)
        model.context.keyspace.now_ms = int(time.time() * 1000)
        replies = iter(oracle.run(sent))
        for args in commands:
            theirs = next(replies)
            if args[0] == b"LIST":
                next(replies)
                model.put(args[1], b"list")
            elif args[0] == b"SELECT":
                model.context.database = int(args[1])
            elif (args[0], args[1:2]) == (b"DEBUG", [b"OBJECT"]) and not is_string(model, args):
                # What a list shows beyond a string is for the list family, and Redis shows a key
                # that has expired but was not looked at since.
                continue
            else:
                ours = model.run(*args)
                assert ours == theirs or normal(args, ours, theirs), (
                    seed,
                    resp,
                    args,
                    ours,
                    theirs,
                )


def is_string(model: Model, args: list[bytes]) -> bool:
    """Whether a key is a string that has not expired. It removes nothing, unlike ctx.type()."""
    keyspace = model.context.keyspace
    value = keyspace.databases[model.context.database].get(args[-1])
    return value is None or (value.type == b"string" and not keyspace.is_expired(value))


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("seed", [1, 2])
def test_handlers_answer_like_redis(oracle: Oracle, resp: int, seed: int) -> None:
    compare(oracle, seed, COMMANDS, resp)


@pytest.mark.slow
@pytest.mark.parametrize("resp", [2, 3])
def test_handlers_answer_like_redis_for_long(oracle: Oracle, resp: int) -> None:
    compare(oracle, int(time.time()), COMMANDS_LONG, resp)


def test_globs_match_like_redis(oracle: Oracle) -> None:
    """KEYS of every pattern over a database of short keys."""
    random = Random(7)
    alphabet = [b"a", b"b", b"c", b"-", b"]", b"[", b"\\", b"^", b"\xfe", b"*"]
    keys = sorted({b"".join(random.choices(alphabet, k=random.randrange(7))) for _ in range(400)})
    patterns = [
        b"".join(
            random.choices(
                [*alphabet, b"*", b"?", b"[", b"[^", b"]", b"a-c"], k=random.randrange(8)
            )
        )
        for _ in range(1500)
    ]
    model = Model()
    oracle.run(
        [[b"HELLO", b"2"], [b"SELECT", b"0"], [b"FLUSHALL"], *([b"SET", key, b"1"] for key in keys)]
    )
    for key in keys:
        model.run(b"SET", key, b"1")
    for pattern, theirs in zip(patterns, oracle.run([[b"KEYS", p] for p in patterns]), strict=True):
        assert elements(model.run(b"KEYS", pattern)) == elements(theirs), pattern


def test_lcs_aligns_like_redis(oracle: Oracle) -> None:
    """The stretches of LCS IDX over random strings of few letters."""
    random = Random(11)
    model = Model()
    oracle.run([[b"HELLO", b"2"], [b"SELECT", b"0"], [b"FLUSHALL"]])
    for _ in range(300):
        letters = random.choice([b"ab", b"abc", b"abcdefgh"])
        first, second = (bytes(random.choices(letters, k=random.randrange(20))) for _ in range(2))
        commands = [
            [b"MSET", b"a", first, b"b", second],
            [b"LCS", b"a", b"b"],
            [b"LCS", b"a", b"b", b"LEN"],
            [b"LCS", b"a", b"b", b"IDX", b"WITHMATCHLEN"],
        ]
        ours = [model.run(*args) for args in commands]
        assert ours == oracle.run(commands), (first, second)
