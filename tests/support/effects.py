"""What redis-server tells of its commands: keyspace events, and what it sends to a replica.

Commands are sent with a PUBLISH after each, which comes back in both: what is between two of
them belongs to the command between.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from tests.support.resp_client import encode
from tests.support.servers import Server

MARKER = b"effects-test"
SECONDS = 20.0
EVENT_CHANNEL = re.compile(rb"__keyevent@(\d+)__:(.*)", re.DOTALL)
SPACE_CHANNEL = re.compile(rb"__keyspace@(\d+)__:(.*)", re.DOTALL)

Event = tuple[int, bytes, bytes]  # database, event, key
Logged = tuple[int, tuple[bytes, ...]]  # database, arguments; MULTI and EXEC are in database -1


@dataclass
class Told:
    """What one command had for effects."""

    reply: bytes = b""
    events: list[Event] = field(default_factory=list)
    logged: list[Logged] = field(default_factory=list)

    def same_effects(self, other: Told) -> bool:
        return self.events == other.events and self.logged == other.logged


class Reader:
    """Replies from a socket, as nested lists of bytes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self.input: BinaryIO = self.socket.makefile("rb")

    def send(self, *args: bytes | str) -> None:
        self.socket.sendall(encode(*args))

    def line(self) -> bytes:
        line = self.input.readline()
        assert line.endswith(b"\r\n"), "the server closed the connection"
        return line[:-2]

    def raw(self) -> bytes:
        """The bytes of one reply."""
        line = self.line() + b"\r\n"
        kind, rest = line[:1], line[1:-2]
        if kind in b"$=!" and rest != b"-1":
            return line + self.input.read(int(rest) + 2)
        if kind in b"*~>%" and rest != b"-1":
            return line + b"".join(
                self.raw() for _ in range(int(rest) * (2 if kind == b"%" else 1))
            )
        return line

    def words(self) -> list[bytes]:
        """An array of bulk strings and integers."""
        line = self.line()
        assert line[:1] == b"*", line
        found = []
        for _ in range(int(line[1:])):
            head = self.line()
            if head[:1] == b"$":
                found.append(self.input.read(int(head[1:]) + 2)[:-2])
            else:
                found.append(head[1:])
        return found

    def close(self) -> None:
        self.input.close()
        self.socket.close()


class Stream:
    """Turns a stream of commands with SELECT among them into commands with their database."""

    def __init__(self) -> None:
        self.database = 0

    def take(self, words: Sequence[bytes]) -> Logged | None:
        name = words[0].upper()
        if name == b"SELECT":
            self.database = int(words[1])
            return None
        return (-1 if name in (b"MULTI", b"EXEC") else self.database), tuple(words)


class Witness:
    """Clients of a redis-server: one that sends commands, one that hears events, and a replica."""

    def __init__(self, server: Server) -> None:
        assert server.port is not None
        self.client = Reader(server.port)
        for args in (
            ("CONFIG", "SET", "notify-keyspace-events", "KEAnm"),
            ("CONFIG", "SET", "repl-ping-replica-period", "3600"),
        ):
            self.client.send(*args)
            assert self.client.raw() == b"+OK\r\n"
        self.events = Reader(server.port)
        self.events.send("PSUBSCRIBE", "__key*__:*")
        self.events.words()
        self.events.send("SUBSCRIBE", MARKER)
        self.events.words()
        self.replica = Reader(server.port)
        self.replica.send("PSYNC", "?", "-1")
        assert self.replica.line().startswith(b"+FULLRESYNC")
        while not (line := self.replica.line()).startswith(b"$"):
            assert line == b"", line
        assert self.replica.input.read(int(line[1:]))
        self.stream = Stream()

    def close(self) -> None:
        for reader in (self.client, self.events, self.replica):
            reader.close()

    def run(self, commands: Sequence[Sequence[bytes]]) -> list[Told]:
        """What each command is answered, and its effects."""
        data = b"".join(
            encode(*args) + encode("PUBLISH", MARKER, b"%d" % number)
            for number, args in enumerate(commands)
        )
        self.client.socket.sendall(data)
        found = []
        for number in range(len(commands)):
            told = Told(reply=self.client.raw())
            self.client.raw()
            told.events = self._events_until(b"%d" % number)
            told.logged = self._logged_until(b"%d" % number)
            found.append(told)
        return found

    def _events_until(self, marker: bytes) -> list[Event]:
        found: list[Event] = []
        while True:
            words = self.events.words()
            if words == [b"message", MARKER, marker]:
                return found
            kind, _, channel, text = words
            assert kind == b"pmessage", words
            if match := EVENT_CHANNEL.fullmatch(channel):
                found.append((int(match[1]), match[2], text))
            else:
                assert SPACE_CHANNEL.fullmatch(channel), channel

    def _logged_until(self, marker: bytes) -> list[Logged]:
        found: list[Logged] = []
        while True:
            words = self.replica.words()
            if words == [b"PUBLISH", MARKER, marker]:
                return found
            if words[0].upper() in (b"PING", b"REPLCONF"):
                continue
            logged = self.stream.take(words)
            if logged is not None:
                found.append(logged)
