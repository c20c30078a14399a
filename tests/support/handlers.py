"""Python handlers over the real keyspace: `run("LPUSH", "k", "v") == b":1\\r\\n"`.

The context is the model's, which remembers events and what would be logged; the keyspace under it
is the one of a shard, since collections live in native structures.
"""

from __future__ import annotations

from typing import cast

from protocol.errors import CommandError
from protocol.reply import Reply
from shards.keyspace.keyspace import Keyspace
from tests.model import context as model

START_MS = model.START_MS


class Handlers:
    """One client of a shard of handlers only."""

    def __init__(self, resp: int = 2) -> None:
        self.keyspace = Keyspace()
        self.keyspace.now_ms = START_MS
        self.context = model.Context(keyspace=cast("model.Keyspace", self.keyspace))
        self.resp = resp

    def run(self, *words: str | bytes | int) -> bytes:
        """The reply bytes of one command; a handler that raises must have changed nothing."""
        args = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.context.events.clear()
        self.context.propagated.clear()
        declared, error = model.resolve(args)
        reply = Reply(self.resp)
        if declared is None:
            reply.error(error)
            return reply.take()
        assert declared.handler is not None
        before = self.keyspace.changes
        try:
            declared.handler(self.context, args, reply)
        except CommandError as mistake:
            assert reply.take() == b"", "a handler replied before it raised"
            assert (self.keyspace.changes, self.events) == (before, [])
            reply.error(mistake.message)
        self.keyspace.check()
        return reply.take()

    @property
    def events(self) -> list[tuple[bytes, bytes]]:
        """(event, key) of the last command, in order."""
        return [(event, key) for event, key, _ in self.context.events]

    @property
    def propagated(self) -> list[list[bytes]]:
        """What the last command would have logged in its place."""
        return self.context.propagated

    @property
    def changes(self) -> int:
        """The dirty count."""
        return self.keyspace.changes
