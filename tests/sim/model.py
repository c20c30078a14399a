"""What a client may be told: exact semantics of the commands used, over sets of possible values.

A key is usually known exactly. It is one of several things after a connection was lost (each
unanswered write was executed, or was not), and while a shard's death may or may not have come
before a command. A `Possible` is a value and how many deaths of its slot it has lived through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product

LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"
NOT_INTEGER = b"-ERR value is not an integer or out of range\r\n"
NO_SUCH_KEY = b"-ERR no such key\r\n"
NULL = b"$-1\r\n"
OK = b"+OK\r\n"

Value = bytes | None
Key = tuple[int, bytes]  # database, name
Possible = tuple[Value, int]
Outcome = tuple[bytes, tuple[Value, ...]]
Effect = Callable[[tuple[Value, ...]], Outcome]


def bulk(value: Value) -> bytes:
    return NULL if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


def integer(number: int) -> bytes:
    return b":%d\r\n" % number


@dataclass(slots=True)
class Request:
    """One command: its bytes, its keys, and what it does to their values."""

    text: str  # for the trace
    raw: bytes
    keys: tuple[Key, ...]
    effect: Effect
    writes: bool = False
    large: bool = False  # its reply may come by the bulk link
    sent_us: int | None = None  # when its last byte had reached the worker
    closes: bool = False


@dataclass(slots=True)
class Model:
    """The keys of one client."""

    deaths: Callable[[bytes], list[int]]  # by key name: when its slot's contents were lost
    values: dict[Key, frozenset[Possible]] = field(default_factory=dict)

    def possible(self, key: Key) -> frozenset[Possible]:
        return self.values.get(key, frozenset({(None, 0)}))

    def now(self, key: Key, sent_us: int) -> list[Possible]:
        """What a command sent at that time may have found."""
        deaths = self.deaths(key[1])
        least = sum(1 for death in deaths if death <= sent_us)
        found: dict[Possible, None] = {}
        for value, lived in self.possible(key):
            for count in range(max(lived, least), len(deaths) + 1):
                found[value if count == lived else None, count] = None
        return sorted(found, key=lambda one: (one[1], one[0] or b"", one[0] is None))

    def outcomes(self, request: Request) -> dict[bytes, dict[Key, set[Possible]]]:
        """Every reply that would be right, with what the keys hold then."""
        assert request.sent_us is not None
        found: dict[bytes, dict[Key, set[Possible]]] = {}
        for state in product(*(self.now(key, request.sent_us) for key in request.keys)):
            reply, values = request.effect(tuple(value for value, _ in state))
            after = found.setdefault(reply, {key: set() for key in request.keys})
            for key, value, (_, lived) in zip(request.keys, values, state, strict=True):
                after[key].add((value, lived))
        return found

    def settle(self, after: dict[Key, set[Possible]]) -> None:
        for key, possible in after.items():
            self.values[key] = frozenset(possible)

    def may_have_run(self, request: Request) -> None:
        """A command whose reply will never come."""
        if request.writes:
            for after in self.outcomes(request).values():
                for key, possible in after.items():
                    self.values[key] = self.possible(key) | possible
