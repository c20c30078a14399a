"""Send the same bytes to our server and to the oracle, and compare the raw replies.

A case is a list of steps made from a seed alone. A step sends a pipeline over one of two
connections, cut into writes as its `cuts` seed says, and reads all its replies before the next
step, so that what each server answers is determined by the case. On a difference the case is
shrunk, and printed so that it can be pasted into test_reproductions.py.

A machine that keeps accounts also asks both servers after each command how many lookups have hit
and missed, how many keys have expired and how many there are, and compares what has changed.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from protocol.replies import elements
from tests.differential.families.bitmaps import BITMAPS
from tests.differential.families.connection import CONNECTION
from tests.differential.families.generic import GENERIC, scan_options
from tests.differential.families.geo import GEO
from tests.differential.families.hashes import HASHES, LIMITS
from tests.differential.families.hyperloglogs import HLL_DIRECTIVES, HYPERLOGLOGS
from tests.differential.families.lists import LIST_DIRECTIVES, LISTS
from tests.differential.families.server import DIRECTIVES, SERVER
from tests.differential.families.sets import LIMITS_SINCE_72, SET_LIMITS, SETS
from tests.differential.families.sorting import SORTING
from tests.differential.families.streams import STREAMS
from tests.differential.families.strings import STRINGS
from tests.differential.families.zsets import ZSET_DIRECTIVES, ZSETS
from tests.differential.grammar import Command, Draw, Family, finish
from tests.differential.normalise import Exchange, equal
from tests.differential.shrink import shrink
from tests.support.resp_client import MalformedReplyError, Node, RespClient, encode, parse
from tests.support.servers import Server

FAMILIES = [
    STRINGS,
    GENERIC,
    CONNECTION,
    SERVER,
    BITMAPS,
    GEO,
    HASHES,
    HYPERLOGLOGS,
    LISTS,
    SETS,
    SORTING,
    STREAMS,
    ZSETS,
]
AFTER_HELLO = Command((b"CLIENT", b"SETNAME", b"after-hello"))
WEIGHTS = [family.weight for family in FAMILIES]
# The directives that families change, each with its default.
DEFAULTS = {
    name: values[0]
    for directives in (
        DIRECTIVES,
        HLL_DIRECTIVES,
        LIMITS,
        LIST_DIRECTIVES,
        SET_LIMITS,
        ZSET_DIRECTIVES,
    )
    for name, values in directives.items()
}
CONNECTIONS = 2
# For a redis-server that ends to be gone: while it writes what it crashed of, it takes connections.
ORACLE_END_SECONDS = 10.0
CRASH_LINES = 40  # of the report of a crash: the signal and the stack
EXPIRED_SHARE = 0.15  # of the steps of a case before which some keys expire
EXPIRED_PAUSE_MS = 5  # until both servers must see that a key given one millisecond has expired
OWN_SHARE = 0.8  # of a case that is about one family; the rest is of all
CASE_COMMANDS = 250  # commands of one case: enough to meet each other, few enough to shrink
REPLY_SECONDS = 8.0
# Replies awaited while a case is shrunk: what hangs would make each trial that slow.
SHRINK_REPLY_SECONDS = 1.0
SHRINK_SECONDS = 40.0
END_SECONDS = 1.0  # for a connection to be closed after the last reply
# What a machine that keeps accounts sends after each command.
PROBE_COMMANDS = ((b"INFO", b"stats"), (b"DBSIZE",))
PROBE = b"".join(encode(*command) for command in PROBE_COMMANDS)
PROBE_REPLIES = len(PROBE_COMMANDS)
# A pipeline that may end the connection is sent at once and fits into one read of the server:
# bytes left unread would turn its last replies into a reset.
ONE_READ = 8_000
MULTI_CHANCE = 0.15


@dataclass(frozen=True, slots=True)
class Step:
    """A pipeline over one connection.

    `cuts` seeds where the bytes are cut into writes (0: one write). After the replies the machine
    waits `pause_ms`, for expiries. A step that iterates is a whole SCAN with these options.
    """

    connection: int
    commands: tuple[Command, ...]
    cuts: int = 0
    pause_ms: int = 0
    iterate: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """The first command that was answered differently."""

    step: int
    command: Command
    ours: bytes
    oracle: bytes

    def __str__(self) -> str:
        return (
            f"{shown_args(self.command)}\n"
            f"  oracle: {shown(self.oracle)}\n"
            f"  ours:   {shown(self.ours)}"
        )


class Account(NamedTuple):
    """What a server counts beside its replies."""

    hits: int = 0
    misses: int = 0
    expired: int = 0
    keys: int = 0

    @classmethod
    def of(cls, stats: bytes, size: bytes) -> Account:
        """What the replies to PROBE say."""
        fields = dict(line.split(b":", 1) for line in stats.split(b"\r\n") if b":" in line)
        names = (b"keyspace_hits", b"keyspace_misses", b"expired_keys")
        return cls(*(int(fields[name]) for name in names), int(size[1:]))

    def since(self, before: Account) -> Account:
        return Account(*(after - was for after, was in zip(self, before, strict=True)))

    def shown(self) -> bytes:
        return b" ".join(
            b"%s %+d" % (name.encode(), value)
            for name, value in zip(self._fields, self, strict=True)
        )


class OracleEndedError(Exception):
    """The oracle crashed, which leaves nothing to compare with; another one runs by now."""


def shown(data: bytes, most: int = 400) -> str:
    if len(data) <= most:
        return repr(data)
    return f"{data[:most]!r}... ({len(data)} bytes)"


def shown_args(command: Command) -> str:
    return " ".join(shown(arg, 60) for arg in command.args)


# --- Generating ---------------------------------------------------------------------------------


def steps(
    seed: str,
    commands: int = CASE_COMMANDS,
    *,
    mostly: Family | None = None,
    expired: bool = False,
) -> list[Step]:
    """The case of a seed: of all families by their weights, or mostly of one.

    With `expired`, keys that have expired are met often, which only a machine that keeps accounts
    may do: without active expiry, each stays until a command comes to it.
    """
    draw = Draw(seed)
    case: list[Step] = []
    made = 0
    while made < commands:
        if expired and draw.chance(EXPIRED_SHARE):
            case.append(_expire_some(draw, mostly))
        # What the accounts are asked by would be queued.
        for step in _draw_steps(draw, mostly, multi=0.0 if expired else MULTI_CHANCE):
            case.append(step)
            made += len(step.commands)
    return case


def count_of_families(case: Sequence[Step]) -> Counter[str]:
    """How many commands of a case are of each family."""
    return Counter(command.family for step in case for command in step.commands)


def _draw_steps(draw: Draw, mostly: Family | None, multi: float) -> Iterator[Step]:
    connection = int(draw.chance(0.2))
    kind = draw.random()
    if kind < 0.01:
        yield from _expiring(draw, connection)
        return
    if kind < 0.03:
        scan = Command((b"SCAN", *scan_options(draw)))
        yield Step(connection, (scan,), iterate=True)
        return
    length = draw.choice([1, 1, 1, draw.randint(2, 8), draw.randint(5, 60)])
    commands: list[Command] = []
    while len(commands) < length:
        commands += _draw_idea(draw, mostly)
    ends = any(_may_end(command) for command in commands)
    if ends and sum(len(command.encoded()) for command in commands) > ONE_READ:
        commands = [command for command in commands if not _may_end(command)]
        ends = False
    cuts = draw.randrange(1, 1 << 30) if draw.chance(0.4) and not ends else 0
    # Redis 7.2 leaves a failed HELLO ... AUTH unanswered while earlier replies of the pipeline
    # wait to be written. That is no behaviour to copy, so it is sent alone.
    for command in filter(_goes_alone, commands):
        yield Step(connection, (command,))
    together = [command for command in commands if not _goes_alone(command)]
    if together and draw.chance(multi):
        together = _inside_multi(draw, together)
    if together:
        yield Step(connection, tuple(together), cuts)


def _is_new(command: Command) -> bool:
    """Whether it is refused before it runs by Redis 7.0, but not by 7.2."""
    words = [arg.upper() for arg in command.args]
    return (
        words[:2] in ([b"CLIENT", b"SETINFO"], [b"CLIENT", b"NO-TOUCH"], [b"COMMAND", b"GETKEYS"])
        or (command.name in (b"ZRANK", b"ZREVRANK") and len(words) > 3)
        or command.name == b"HELLO"
    )


def _inside_multi(draw: Draw, commands: list[Command]) -> list[Command]:
    """The commands, a stretch of them between MULTI and EXEC; maybe with a key watched before."""
    first = draw.randint(0, len(commands))
    last = draw.randint(first, len(commands))
    watch = [Command((b"WATCH", *draw.keys()))] if draw.chance(0.3) else []
    # What Redis 7.0 refuses and 7.2 does not would make EXEC fail in one of them only.
    between = [command for command in commands[first:last] if not _is_new(command)]
    if watch and draw.chance(0.5):  # in vain, if what follows changes the key
        watch += [between.pop(0)] if between else []
    end = Command((b"DISCARD",) if draw.chance(0.1) else (b"EXEC",))
    return [*commands[:first], *watch, Command((b"MULTI",)), *between, end, *commands[last:]]


def _draw_idea(draw: Draw, mostly: Family | None) -> list[Command]:
    family: Family = draw.choices(FAMILIES, WEIGHTS)[0]
    if mostly is not None and draw.chance(OWN_SHARE):
        family = mostly
    commands: list[Command] = []
    for args in family.draw(draw):
        command = finish(draw, args, family.name)
        commands.append(command)
        if command.name == b"HELLO" and b"SETNAME" in (arg.upper() for arg in command.args):
            # Redis 7.0 may set the name and then refuse the rest, 7.2 doesn't; the name that
            # CLIENT GETNAME shows later must not depend on it.
            commands.append(AFTER_HELLO)
    return commands


def _may_end(command: Command) -> bool:
    return command.name == b"QUIT"


def _goes_alone(command: Command) -> bool:
    return _greets(command) or command == AFTER_HELLO or _sets_limits(command)


def _greets(command: Command) -> bool:
    """Whether a HELLO has options; after one with a name comes AFTER_HELLO, at once."""
    return command.name == b"HELLO" and bool(
        {b"AUTH", b"SETNAME"} & {arg.upper() for arg in command.args}
    )


def _sets_limits(command: Command) -> bool:
    """What CONFIG SET changes holds after its reply, not for what is sent along with it."""
    return command.name == b"CONFIG" and any(b"-listpack-" in arg for arg in command.args)


def _expire_some(draw: Draw, mostly: Family | None) -> Step:
    """Let some of the keys that commands are about expire; none is looked at before it has."""
    families = FAMILIES if mostly is None else [mostly, STRINGS]
    keys = {
        args[1]
        for _ in range(6)
        for args in draw.choice(families).draw(draw)[:1]
        if len(args) > 2 and len(args[1]) < 200
    }
    keys |= set(draw.keys())
    commands = tuple(Command((b"PEXPIRE", key, b"1")) for key in sorted(keys))
    return Step(0, commands, pause_ms=EXPIRED_PAUSE_MS)


def _expiring(draw: Draw, connection: int) -> Iterator[Step]:
    """A key that really expires: nothing else runs until both servers must see it gone.

    It is asked for by EXISTS last, so that it is not left to when active expiry comes round.
    """
    key = draw.key()
    setters = [
        (b"SET", key, b"v", b"PX", b"15"),
        (b"PSETEX", key, b"15", b"v"),
        (b"GETEX", key, b"PX", b"15"),
        (b"PEXPIRE", key, b"15"),
    ]
    yield Step(connection, (Command(draw.choice(setters)),), pause_ms=40)
    readers = [
        (b"GET", key),
        (b"TTL", key),
        (b"APPEND", key, b"x"),
        (b"SET", key, b"w", b"XX"),
        (b"RENAME", key, b"a"),
        (b"COPY", key, b"b"),
        (b"DEL", key),
        (b"INCR", key),
        (b"TYPE", key),
        (b"MSETNX", key, b"z"),
    ]
    yield Step(connection, (Command(draw.choice(readers)), Command((b"EXISTS", key))))


# --- Running ------------------------------------------------------------------------------------

Equal = Callable[[Exchange], bool]


class Machine:
    """Runs cases against a pair of servers."""

    def __init__(
        self,
        ours: Server,
        oracle: Server,
        *,
        resp: int,
        oracle_is_72: bool,
        exact: bool = False,
        accounts: bool = False,
    ) -> None:
        self.ours = ours
        self.oracle = oracle
        self.resp = resp
        self.oracle_is_72 = oracle_is_72
        self.exact = exact  # no difference is allowed: shows that the machine can find one
        self.accounts = accounts  # compares them after each command, without active expiry
        self.reply_seconds = REPLY_SECONDS
        self._last: dict[Server, Account] = {}
        self._connections: dict[int, tuple[RespClient, RespClient]] = {}

    def run(self, case: Sequence[Step]) -> Difference | None:
        """The first difference of a case, from empty servers; None when there is none.

        Raises OracleEndedError, with the end of its log, when redis-server crashes in it.
        """
        try:
            self._reset()
            for index, step in enumerate(case):
                difference = self._iterate(index, step) if step.iterate else self._run(index, step)
                if difference is not None:
                    # Of an oracle that still answers, no end is awaited.
                    if difference.oracle.startswith(b"("):
                        self._replace_ended_oracle(shown_args(difference.command))
                    return difference
                if step.pause_ms:
                    time.sleep(step.pause_ms / 1000)
        except OSError as error:
            self._replace_ended_oracle(str(error))
            raise
        finally:
            self.close()
        return None

    def _replace_ended_oracle(self, meanwhile: str) -> None:
        """Raise OracleEndedError if the oracle has ended or hangs, after starting it anew."""
        ended = self.oracle.ends_within(ORACLE_END_SECONDS)
        if not ended and self.oracle.answers(2.0):
            return
        how = "ended" if ended else "hung"
        text = f"redis-server {how}, at the latest behind {meanwhile}\n{crash_report(self.oracle)}"
        self.renew_oracle()
        raise OracleEndedError(text)

    def renew_oracle(self) -> None:
        """Go on with another redis-server, which cannot have spoilt its memory yet."""
        self.close()
        if not self.oracle.ended:
            os.kill(self.oracle.pid, signal.SIGKILL)
            assert self.oracle.ends_within(ORACLE_END_SECONDS)
        self.oracle.start()

    def close(self) -> None:
        for connection in list(self._connections):
            self._drop(connection)

    def _drop(self, connection: int) -> None:
        for client in self._connections.pop(connection):
            client.close()

    def _pair(self, connection: int) -> tuple[RespClient, RespClient]:
        if connection not in self._connections:
            ours = self.ours.client(resp=self.resp)
            self._connections[connection] = (ours, self.oracle.client(resp=self.resp))
        return self._connections[connection]

    def _reset(self) -> None:
        for server in (self.ours, self.oracle):
            defaults = [
                word
                for name, value in DEFAULTS.items()
                if self._knows(server, name)
                for word in (name, value)
            ]
            commands = [
                [b"FLUSHALL"],
                [b"DEBUG", b"SET-ACTIVE-EXPIRE", b"0" if self.accounts else b"1"],
                [b"DEBUG", b"QUICKLIST-PACKED-THRESHOLD", b"0"],
                [b"CONFIG", b"SET", *defaults],
            ]
            with server.client() as client:
                client.send(b"".join(encode(*command) for command in commands))
                for command, reply in zip(commands, client.read_replies(4), strict=True):
                    assert reply == b"+OK\r\n", f"{server.name}: {command}: {reply!r}"
                client.send(PROBE)
                self._change(server, client.read_replies(PROBE_REPLIES))

    def _change(self, server: Server, probed: Sequence[bytes]) -> bytes:
        """How a server's account has changed since the last look, by the replies to PROBE."""
        account = Account.of(*probed)
        change = account.since(self._last.get(server, account))
        self._last[server] = account
        return change.shown()

    def _spoils_accounts(self, command: Command) -> bool:
        """Whether it would meet keys by chance, or let them expire by themselves."""
        if not self.accounts:
            return False
        words = [word.upper() for word in command.args[:2]]
        return command.name in (b"RANDOMKEY", b"SCAN") or words == [b"DEBUG", b"SET-ACTIVE-EXPIRE"]

    def _knows(self, server: Server, directive: bytes) -> bool:
        """Redis 7.0 lacks some directives, which don't matter to it then."""
        return server is self.ours or self.oracle_is_72 or directive not in LIMITS_SINCE_72

    def _run(self, index: int, step: Step) -> Difference | None:
        ours, oracle = self._pair(step.connection)
        commands = [command for command in step.commands if not self._spoils_accounts(command)]
        # What is sent, with the replies awaited: those of the probes, too.
        sent = [(command.encoded(), 1) for command in commands]
        if self.accounts:
            sent = [
                (encoded, 1) if _may_end(command) else (encoded + PROBE, 1 + PROBE_REPLIES)
                for command, (encoded, _) in zip(commands, sent, strict=True)
            ]
        data = b"".join(encoded for encoded, _ in sent)
        cuts = cut_points(len(data), step.cuts)
        oracle.send(data, cuts)
        ours.send(data, cuts)
        count = sum(replies for _, replies in sent)
        expected, expected_end = self._read(oracle, count)
        got, got_end = self._read(ours, count)
        queued: list[Command] = []
        at = 0
        for command, (_, replies) in zip(commands, sent, strict=True):
            theirs = expected[at] if at < len(expected) else expected_end
            mine = got[at] if at < len(got) else got_end
            if command.name == b"EXEC":
                found = self._first_inside(index, queued, mine, theirs)
                if found is not None:
                    return found
            elif mine != theirs and not self._equal(Exchange(command.args, mine, theirs)):
                return Difference(index, command, mine, theirs)
            if theirs == b"+QUEUED\r\n":
                queued.append(command)
            elif command.name in (b"MULTI", b"EXEC", b"DISCARD", b"RESET"):
                queued.clear()
            if at >= len(expected):
                break
            if replies > 1 and at + replies <= min(len(got), len(expected)):
                # What only a newer Redis knows, the oracle refuses without a look at any key.
                alike = mine.startswith(b"-") == theirs.startswith(b"-")
                mine = self._change(self.ours, got[at + 1 : at + replies])
                theirs = self._change(self.oracle, expected[at + 1 : at + replies])
                if mine != theirs and alike:
                    return Difference(index, command, mine, theirs)
            at += replies
        if any(_may_end(command) for command in step.commands):
            for client in (ours, oracle):
                client.read_available(1, END_SECONDS)  # the end may come after the last reply
        if ours.closed != oracle.closed:
            state = [b"(closes)" if one.closed else b"(stays open)" for one in (ours, oracle)]
            return Difference(index, step.commands[-1], *state)
        if oracle.closed:
            self._drop(step.connection)
        return None

    def _first_inside(
        self, index: int, queued: Sequence[Command], mine: bytes, theirs: bytes
    ) -> Difference | None:
        """The first command of an EXEC whose reply differs."""
        if mine == theirs:
            return None
        arrays = mine.startswith(b"*") and theirs.startswith(b"*")
        got, expected = (elements(mine), elements(theirs)) if arrays else (None, None)
        if got is None or expected is None or not len(got) == len(expected) == len(queued):
            return Difference(index, Command((b"EXEC",)), mine, theirs)
        for command, ours, oracle in zip(queued, got, expected, strict=True):
            if ours != oracle and not self._equal(Exchange(command.args, ours, oracle)):
                return Difference(index, command, ours, oracle)
        return None

    def _read(self, client: RespClient, count: int) -> tuple[list[bytes], bytes]:
        """Replies, and what there is instead of the first missing one."""
        try:
            replies = client.read_available(count, self.reply_seconds)
        except MalformedReplyError as error:
            client.closed = True
            return [], b"(malformed) " + str(error).encode()
        if len(replies) == count:
            return replies, b""
        if client.closed:
            return replies, b"(closed) " + client.splitter.rest
        # It can't be used again: a late reply would be taken for that of another command.
        client.closed = True
        return replies, b"(no reply in time) " + client.splitter.rest

    def _equal(self, exchange: Exchange) -> bool:
        return not self.exact and equal(exchange, oracle_is_72=self.oracle_is_72)

    def _iterate(self, index: int, step: Step) -> Difference | None:
        """Compare the keys that a full iteration finds; both ends must come to cursor 0."""
        ours, oracle = self._pair(step.connection)
        command = step.commands[0]
        found = [_full_scan(client, command.args[1:]) for client in (ours, oracle)]
        if found[0] != found[1]:
            return Difference(index, command, *found)
        if self.accounts and not (ours.closed or oracle.closed):
            mine, theirs = (
                self._change(server, client.pipeline(PROBE_COMMANDS))
                for server, client in ((self.ours, ours), (self.oracle, oracle))
            )
            if mine != theirs:
                return Difference(index, command, mine, theirs)
        if oracle.closed or ours.closed:
            self._drop(step.connection)
        return None


def crash_report(oracle: Server) -> str:
    """What its log tells of its last crash: the signal, the stack and the command."""
    lines = oracle.log(1000).splitlines()
    starts = [at for at, line in enumerate(lines) if "BUG REPORT START" in line]
    report = lines[starts[-1] if starts else -CRASH_LINES :]
    command = [line for line in report[CRASH_LINES:] if line.startswith("argv[")]
    return "\n".join([*report[:CRASH_LINES], *command])


def _full_scan(client: RespClient, options: Sequence[bytes]) -> bytes:
    cursor = b"0"
    seen: set[Node] = set()
    for _ in range(100_000):
        try:
            raw = client.call(b"SCAN", cursor, *options)
        except OSError as error:
            client.closed = True
            return b"(no reply) " + str(error).encode()
        node = parse(raw)
        if node.kind != "*":
            return raw
        cursor = node.value[0].value
        seen.update(node.value[1].value)
        if cursor == b"0":
            return Node("*", sorted(seen)).dump()
    return b"(the iteration does not end)"


def cut_points(length: int, seed: int) -> list[int]:
    """Where bytes are cut into writes: a few places, or sometimes between any two bytes."""
    if not seed or length < 2:
        return []
    draw = random.Random(seed)
    if length < 200 and draw.random() < 0.2:
        return list(range(1, length))
    count = min(length - 1, draw.randint(1, 8))
    return sorted(draw.sample(range(1, length), count))


# --- Shrinking and printing ----------------------------------------------------------------------


def minimise(machine: Machine, case: Sequence[Step], found: Difference) -> list[Step]:
    """The smallest case that still shows a difference of the same command.

    The oracle's reply to it must stay of its type, lest what keeps known differences away, as a
    command in front of SORT does, is left out and one of these is found instead.
    """
    machine.reply_seconds = SHRINK_REPLY_SECONDS

    def fails(trial: Sequence[Step]) -> bool:
        try:
            difference = machine.run(trial)
        except (OSError, OracleEndedError):
            return False  # a server that can't be reached is another failure
        return (
            difference is not None
            and difference.command.name == found.command.name
            and difference.oracle[:1] == found.oracle[:1]
        )

    units = [
        (at, command) for at, step in enumerate(case[: found.step + 1]) for command in step.commands
    ]

    def regroup(kept: Sequence[tuple[int, Command]]) -> list[Step]:
        groups: dict[int, list[Command]] = {}
        for at, command in kept:
            groups.setdefault(at, []).append(command)
        return [replace(case[at], commands=tuple(group)) for at, group in groups.items()]

    try:
        if not fails(regroup(units)):
            return list(case[: found.step + 1])  # not the same again: show it all
        small = regroup(shrink(units, lambda kept: fails(regroup(kept)), seconds=SHRINK_SECONDS))
        for simpler in (_uncut, _unpaused, _one_connection):
            trial = [simpler(step) for step in small]
            if trial != small and fails(trial):
                small = trial
        return _shorter_arguments(small, fails)
    finally:
        machine.reply_seconds = REPLY_SECONDS


def _uncut(step: Step) -> Step:
    return replace(step, cuts=0)


def _unpaused(step: Step) -> Step:
    return replace(step, pause_ms=0)


def _one_connection(step: Step) -> Step:
    return replace(step, connection=0)


def _shorter_arguments(case: list[Step], fails: Callable[[Sequence[Step]], bool]) -> list[Step]:
    deadline = time.monotonic() + SHRINK_SECONDS / 4
    for at, step in enumerate(case):
        for which, command in enumerate(step.commands):
            for position in range(1, len(command.args)):
                if len(command.args[position]) <= 8 or time.monotonic() > deadline:
                    continue
                args = list(command.args)
                args[position] = b"v"
                changed = list(case[at].commands)
                changed[which] = replace(command, args=tuple(args))
                trial = [*case[:at], replace(case[at], commands=tuple(changed)), *case[at + 1 :]]
                if fails(trial):
                    case = trial
    return case


def reproduction(seed: str, resp: int, case: Sequence[Step], difference: Difference) -> str:
    """A test to paste into test_reproductions.py."""
    lines = [
        f"seed {seed!r}: {difference}",
        "",
        "def test_name_what_is_wrong(replay: Replay) -> None:",
        f'    """Found by seed {seed!r}."""',
        "    replay(",
        f"        {resp},",
    ]
    for step in case:
        options = "".join(
            f", {name}={value!r}"
            for name, value in (
                ("cuts", step.cuts),
                ("pause_ms", step.pause_ms),
                ("iterate", step.iterate),
            )
            if value
        )
        commands = "".join(
            f"Command({command.args!r}{', inline=True' if command.inline else ''}), "
            for command in step.commands
        )
        lines.append(f"        Step({step.connection}, ({commands}){options}),")
    lines.append("    )")
    return "\n".join(lines)
