"""Several clients in a fixed interleaving, on our server and on the oracle: the same bytes.

A program is a list of steps, each of one client: it sends a pipeline or closes its connection. A
step is over when every client either has all its replies or is blocked, which CLIENT LIST of
another connection shows; so each server has come to rest before the next step, and what follows
does not depend on chance. The oracle goes first. Ours must then give to each client the same bytes,
and leave the same ones blocked, within a time that is never reached when all is well.

A client that is blocked has no further steps until it is served: a step that it should have is left
out, by what the oracle says. `@0`, `@1`... in a command stand for the ids of the clients.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.differential.shrink import shrink
from tests.support.resp_client import Node, RespClient, encode, parse
from tests.support.servers import Server

REST_SECONDS = 10.0  # for a server to come to rest
SHRINK_REST_SECONDS = 1.5
SHRINK_SECONDS = 60.0
CLIENTS = 4
# Of CLIENT LIST; what a client is doing, as others see it.
SHOWN = ("flags", "db", "multi", "resp", "cmd", "name")
Args = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """What one client does. Without commands it closes its connection.

    `awaits`: a command of it blocks for a moment only, which is waited for.
    """

    client: int
    commands: tuple[Args, ...] = ()
    awaits: bool = False

    def __str__(self) -> str:
        shown = " | ".join(
            " ".join(arg.decode("latin-1") if arg else "''" for arg in command)
            for command in self.commands
        )
        return f"{self.client}: {shown or '(closes)'}"


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the two servers parted."""

    step: int
    what: str
    oracle: str
    ours: str

    def __str__(self) -> str:
        return (
            f"after step {self.step}, {self.what}\n  oracle: {self.oracle}\n  ours:   {self.ours}"
        )


@dataclass(slots=True)
class _Client:
    connection: RespClient
    id: int
    owed: int = 0  # replies that have not come
    replies: list[bytes] = field(default_factory=list)  # those since the last step

    def drain(self) -> None:
        """Take the replies that have arrived."""
        connection = self.connection
        while not connection.closed and connection._poll(0)[0]:
            connection._receive(time.monotonic() + 1.0)
        while (reply := connection.splitter.take()) is not None:
            self.replies.append(reply)
            self.owed -= 1

    @property
    def state(self) -> tuple[int, bool]:
        return max(self.owed, 0), self.connection.closed


class Side:
    """One of the servers, and the clients of the program on it."""

    def __init__(self, server: Server, resp: int, rest_seconds: float) -> None:
        self.server = server
        self.resp = resp
        self.rest_seconds = rest_seconds
        self.clients: dict[int, _Client] = {}
        self.control = server.client()
        for call in ((b"FLUSHALL",), (b"CONFIG", b"RESETSTAT")):
            reply = self.control.call(*call)
            assert reply == b"+OK\r\n", reply

    def leave(self) -> dict[str, str]:
        """Close the program's connections; what INFO says of blocked clients then."""
        for client in self.clients.values():
            client.connection.close()
        self._until(lambda: len(self.listing()) <= 1)
        return self.figures()

    def client(self, number: int) -> _Client:
        if number not in self.clients:
            connection = self.server.client(resp=self.resp)
            reply = connection.call("CLIENT", "ID")
            self.clients[number] = _Client(connection, int(parse(reply).value))
        return self.clients[number]

    def begin(self, step: Step) -> None:
        """Send what a step sends."""
        for client in self.clients.values():
            client.replies.clear()
        if not step.commands:
            gone = self.clients.pop(step.client, None)
            if gone is not None:
                gone.connection.close()
                self._until(lambda: gone.id not in self.listing())
            return
        client = self.client(step.client)
        client.owed += len(step.commands)
        commands = [[self._named(arg) for arg in command] for command in step.commands]
        client.connection.send(b"".join(encode(*command) for command in commands))

    def _named(self, arg: bytes) -> bytes:
        if len(arg) == 2 and arg[:1] == b"@":
            return b"%d" % self.client(int(arg[1:])).id
        return arg

    def listing(self) -> dict[int, dict[str, str]]:
        """CLIENT LIST: the fields of each client by its id."""
        text = parse(self.control.call("CLIENT", "LIST")).value.decode("latin-1")
        found = {}
        for line in text.splitlines():
            fields = dict(item.partition("=")[::2] for item in line.split(" "))
            found[int(fields["id"])] = fields
        return found

    def _until(self, holds: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + self.rest_seconds
        while not holds():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.0002)
        return True

    def settle(self, step: Step) -> bool:
        """Wait until each client has its replies, or is blocked."""

        def at_rest() -> bool:
            # Who is seen to be blocked has been answered all that came before, but replies of one
            # turn of the event loop are sent in any order: the next turn comes after all of them.
            listing = self.listing()
            self.control.call("PING")
            for number, client in self.clients.items():
                client.drain()
                if client.owed <= 0 or client.connection.closed:
                    continue
                if step.awaits and number == step.client:
                    return False
                if "b" not in listing.get(client.id, {}).get("flags", ""):
                    return False
            return True

        return self._until(at_rest)

    def settle_like(self, other: Side) -> bool:
        """Wait until clients have as many replies as on the other side, and wait like there."""

        def alike() -> bool:
            listing = self.listing()
            self.control.call("PING")
            for number, client in self.clients.items():
                client.drain()
                theirs = other.clients[number]
                if client.state != theirs.state:
                    return False
                blocked = "b" in listing.get(client.id, {}).get("flags", "")
                if blocked != (theirs.owed > 0 and not theirs.connection.closed):
                    return False
            return True

        return self._until(alike)

    def shown(self) -> dict[int, dict[str, str]]:
        """What CLIENT LIST says of the program's clients."""
        listing = self.listing()
        shown = {}
        for number, client in self.clients.items():
            fields = listing.get(client.id, {})
            shown[number] = {name: fields[name] for name in SHOWN if name in fields}
            if "multi-mem" in fields:
                shown[number]["multi-mem"] = "0" if fields["multi-mem"] == "0" else "some"
        return shown

    def figures(self) -> dict[str, str]:
        """Of INFO, those of blocked clients."""
        text = parse(self.control.call("INFO", "clients")).value.decode()
        lines = (line.partition(":")[::2] for line in text.splitlines())
        return {name: value for name, value in lines if "block" in name}

    def data(self) -> dict[str, bytes]:
        """All that is stored, by database and key."""
        found: dict[str, bytes] = {}
        reads: dict[bytes, tuple[bytes, ...]] = {
            b"string": (b"GET",),
            b"list": (b"LRANGE", b"0", b"-1"),
            b"zset": (b"ZRANGE", b"0", b"-1", b"WITHSCORES"),
            b"stream": (b"XRANGE", b"-", b"+"),
            b"hash": (b"HLEN",),
            b"set": (b"SORT", b"ALPHA"),
        }
        for database in (b"0", b"1"):
            self.control.call(b"SELECT", database)
            keys: list[Node] = parse(self.control.call(b"KEYS", b"*")).value
            for key in sorted(node.value for node in keys):
                kind = parse(self.control.call(b"TYPE", key)).value
                name, *options = reads[kind]
                reply = self.control.call(name, key, *options)
                if kind == b"stream":
                    for more in (b"STREAM", b"GROUPS"):
                        reply += self.control.call(b"XINFO", more, key)
                found[f"{database.decode()}/{key.decode()}"] = without_nodes(reply)
        self.control.call(b"SELECT", b"0")
        return found


def without_nodes(reply: bytes) -> bytes:
    """XINFO STREAM without what is named in docs/differences.md."""
    name = b"radix-tree-nodes\r\n:"
    start = reply.find(name)
    if start < 0:
        return reply
    end = reply.index(b"\r\n", start + len(name))
    return reply[:start] + reply[end:]


class Interleaver:
    """Runs programs on a pair of servers."""

    def __init__(self, ours: Server, oracle: Server, *, resp: int, oracle_is_72: bool) -> None:
        self.ours = ours
        self.oracle = oracle
        self.resp = resp
        self.oracle_is_72 = oracle_is_72
        self.rest_seconds = REST_SECONDS
        self.steps = 0  # that were run, not left out
        self.blocked = 0  # steps after which some client was blocked

    def run(self, program: Sequence[Step]) -> Difference | None:
        """The first difference, from empty servers."""
        sides = [Side(server, self.resp, self.rest_seconds) for server in (self.oracle, self.ours)]
        try:
            found = self._run(program, *sides)
            left = [side.leave() for side in sides]
            if found is None and self.oracle_is_72:
                found = self._unequal(len(program), "what closed clients leave", *left)
            return found
        finally:
            for side in sides:
                side.control.close()

    def is_spoilt(self) -> bool:
        """Whether our server does not answer, or shows blocked clients when it has none."""
        try:
            side = Side(self.ours, 2, 1.0)
        except (OSError, AssertionError):
            return True
        with side.control:
            return any(value != "0" for value in side.figures().values())

    def _run(self, program: Sequence[Step], oracle: Side, ours: Side) -> Difference | None:
        for number, step in enumerate(program):
            waiting = oracle.clients.get(step.client)
            if waiting is not None and waiting.owed > 0 and step.commands:
                continue
            self.steps += 1
            for side in (oracle, ours):
                # All exist before the step, so that their ids can be named.
                for client in range(CLIENTS):
                    if client != step.client or step.commands:
                        side.client(client)
                side.begin(step)
            assert oracle.settle(step), f"the oracle does not come to rest after {number} {step}"
            in_time = ours.settle_like(oracle)
            found = self._compare(number, oracle, ours, in_time=in_time)
            if found is not None:
                return found
            self.blocked += any(client.owed > 0 for client in oracle.clients.values())
            for side in (oracle, ours):
                ended = [n for n, client in side.clients.items() if client.connection.closed]
                for client in ended:
                    side.clients.pop(client).connection.close()
        found = self._unequal(len(program), "the data", oracle.data(), ours.data())
        return found

    def _compare(
        self, number: int, oracle: Side, ours: Side, *, in_time: bool
    ) -> Difference | None:
        for client, there in oracle.clients.items():
            here = ours.clients[client]
            if here.replies != there.replies or here.state != there.state:
                shown = [
                    f"{one.replies}, {max(one.owed, 0)} to come"
                    + (", closed" if one.connection.closed else "")
                    for one in (there, here)
                ]
                return Difference(number, f"replies to client {client}", *shown)
        if not in_time:
            return Difference(
                number, "who is blocked", *(str(side.shown()) for side in (oracle, ours))
            )
        theirs, mine = oracle.shown(), ours.shown()
        for client, fields in theirs.items():
            # Only the shard of a watched key knows that it was changed (docs/differences.md).
            if "d" in fields["flags"]:
                for one in (fields, mine[client]):
                    one["flags"] = one["flags"].replace("d", "") or "N"
                    for name in ("multi", "multi-mem"):
                        one.pop(name, None)
        found = self._unequal(number, "CLIENT LIST", theirs, mine)
        if found is None and self.oracle_is_72:
            found = self._unequal(number, "INFO clients", oracle.figures(), ours.figures())
        return found

    @staticmethod
    def _unequal(number: int, what: str, theirs: object, mine: object) -> Difference | None:
        return None if theirs == mine else Difference(number, what, str(theirs), str(mine))

    def minimise(
        self, program: Sequence[Step], found: Difference, renew: Callable[[], Server]
    ) -> list[Step]:
        """A part of the program that still ends in a difference of that kind.

        `renew` starts our server anew, in which nothing is left of a failure before.
        """
        self.rest_seconds = SHRINK_REST_SECONDS
        kind = found.what.rstrip("0123456789")

        def fails(trial: Sequence[Step]) -> bool:
            if self.is_spoilt():
                self.ours = renew()
            try:
                difference = self.run(trial)
            except (AssertionError, OSError):
                return False
            return difference is not None and difference.what.rstrip("0123456789") == kind

        try:
            cut = list(program[: found.step + 1])
            return shrink(cut, fails, seconds=SHRINK_SECONDS) if fails(cut) else list(program)
        finally:
            self.rest_seconds = REST_SECONDS


def shown_program(program: Sequence[Step]) -> str:
    """A program as it can be pasted into a test, and as it is read."""
    lines = [f"    {step}" for step in program]
    return "\n".join([*lines, "", *(f"{step!r}," for step in program)])
