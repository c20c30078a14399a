"""How a command is declared: once, by `@command` beside its handler.

`@command` attaches a `Command` to the handler; `CommandTable.from_modules` gathers the handlers
of the family modules. The group of a command is the name of its module unless it names another.
COMMAND, key extraction, routing and the native scanner's array are all made from the table. What
only people read (version, summary, cost, syntax) is in protocol/docs, of all commands; nothing is
declared twice. A wrong declaration stops the import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, IntFlag, auto
from types import ModuleType
from typing import Any, TypeVar

Handler = TypeVar("Handler", bound=Callable[..., Any])


class F(IntFlag):
    """Command flags, by Redis's names (COMMAND INFO prints them in lower case)."""

    WRITE = auto()
    READONLY = auto()
    DENYOOM = auto()
    ADMIN = auto()
    PUBSUB = auto()
    NOSCRIPT = auto()
    BLOCKING = auto()
    LOADING = auto()
    STALE = auto()
    SKIP_MONITOR = auto()
    SKIP_SLOWLOG = auto()
    ASKING = auto()
    FAST = auto()
    NO_AUTH = auto()
    MAY_REPLICATE = auto()
    NO_ASYNC_LOADING = auto()
    NO_MULTI = auto()
    MOVABLEKEYS = auto()
    ALLOW_BUSY = auto()
    NO_MANDATORY_KEYS = auto()
    PROTECTED = auto()
    TOUCHES_ARBITRARY_KEYS = auto()
    # Ours: understood between our own processes, refused from a client as an unknown command.
    INTERNAL = auto()


class Place(Enum):
    """Where a command runs."""

    SESSION = 0  # in the process that holds the connection; needs no key and no shard
    SHARD = 1  # in the shard of its keys (any shard when it has none)
    ADMIN = 2  # in the router process: configuration, INFO, topology
    FANOUT = 3  # on every shard; the answers are merged by the response policy
    HOST = 4  # by the process that holds the connection, which asks the shards concerned


class Request(Enum):
    """Redis's request_policy tip."""

    DEFAULT = None
    ALL_NODES = "all_nodes"
    ALL_SHARDS = "all_shards"
    MULTI_SHARD = "multi_shard"
    SPECIAL = "special"


class Response(Enum):
    """Redis's response_policy tip."""

    DEFAULT = None
    ONE_SUCCEEDED = "one_succeeded"
    ALL_SUCCEEDED = "all_succeeded"
    AGG_LOGICAL_AND = "agg_logical_and"
    AGG_LOGICAL_OR = "agg_logical_or"
    AGG_MIN = "agg_min"
    AGG_MAX = "agg_max"
    AGG_SUM = "agg_sum"
    SPECIAL = "special"


@dataclass(frozen=True, slots=True)
class Keys:
    """One key specification: where keys are, and how they are accessed.

    Either a range from index `first` to `last` (negative: counted from the end, relative to the
    command's end as in COMMAND INFO) in steps, or `count_at`: the index of a key count, keys
    following at `first`. `keyword` starts the search after that word instead (from index
    `first`, negative: from the end). `flags` are Redis's key-spec flags, space separated.
    """

    first: int
    last: int | None = None  # None: the same as first
    step: int = 1
    flags: str = ""
    count_at: int = 0
    keyword: str = ""
    limit: int = 0
    notes: str = ""

    @property
    def last_index(self) -> int:
        return self.first if self.last is None else self.last


@dataclass(frozen=True, slots=True)
class Command:
    """The declaration of one command or subcommand."""

    name: str  # upper case; a subcommand is "CONTAINER|NAME"
    arity: int  # Redis's convention: the name counts, negative means at least
    flags: F
    keys: tuple[Keys, ...]
    place: Place
    request: Request
    response: Response
    tips: tuple[str, ...]  # tips other than the two policies, in Redis's order
    acl: tuple[str, ...]  # categories instead of its group's; those of its flags come to them
    group: str
    handler: Callable[..., Any] | None
    route_at: int = 0  # index of an argument to route by although it is no declared key; 0: none
    # A log may have the call as it came. Else the handler says what is to be logged once it has
    # changed something: chance, clocks and waiting are nothing to repeat.
    verbatim: bool = False
    id: int = -1  # index in the table
    subcommands: tuple[Command, ...] = field(default=())

    @property
    def container(self) -> str | None:
        return self.name.partition("|")[0] if "|" in self.name else None


class DeclarationError(Exception):
    """A command is declared wrongly: our own mistake, found at import."""


def command(
    name: str,
    *,
    arity: int,
    flags: F = F(0),
    keys: Keys | tuple[Keys, ...] = (),
    place: Place = Place.SHARD,
    request: Request = Request.DEFAULT,
    response: Response = Response.DEFAULT,
    tips: tuple[str, ...] = (),
    acl: tuple[str, ...] = (),
    route_at: int = 0,
    verbatim: bool = False,
    group: str = "",
) -> Callable[[Handler], Handler]:
    """Declare the decorated function as the handler of a command.

    A function may carry several declarations (stacked decorators). Container commands
    (CONFIG, OBJECT, ...) are declared like any other, with a handler that is run when no
    subcommand matches, or without subcommand.
    """

    def declare(handler: Handler) -> Handler:
        if not handler.__doc__:
            raise DeclarationError(f"{name}: the handler has no docstring")
        if name != name.upper():
            raise DeclarationError(f"{name}: names are declared in upper case")
        if F.WRITE in flags and F.READONLY in flags:
            raise DeclarationError(f"{name}: declared both to read and to write")
        if arity == 0:
            raise DeclarationError(f"{name}: an arity of 0 is impossible")
        declared = Command(
            name=name,
            arity=arity,
            flags=flags,
            keys=(keys,) if isinstance(keys, Keys) else tuple(keys),
            place=place,
            request=request,
            response=response,
            tips=tips,
            acl=acl,
            group=group or handler.__module__.rpartition(".")[2],
            handler=handler,
            route_at=route_at,
            verbatim=verbatim,
        )
        declarations = getattr(handler, "commands", ())
        handler.commands = (*declarations, declared)  # type: ignore[attr-defined]
        return handler

    return declare


class CommandTable:
    """All commands, by name and by id. Ids are stable for one build: names in sorted order."""

    def __init__(self, commands: Iterable[Command]) -> None:
        by_name: dict[str, Command] = {}
        for declared in commands:
            if declared.name in by_name:
                raise DeclarationError(f"{declared.name}: declared twice")
            by_name[declared.name] = declared
        numbered = [replace(by_name[name], id=index) for index, name in enumerate(sorted(by_name))]
        children: dict[str, list[Command]] = {}
        for declared in numbered:
            if declared.container is not None:
                if declared.container not in by_name:
                    raise DeclarationError(f"{declared.name}: its container is not declared")
                children.setdefault(declared.container, []).append(declared)
        self.by_id: list[Command] = [
            replace(declared, subcommands=tuple(children.get(declared.name, ())))
            for declared in numbered
        ]
        self.by_name: dict[str, Command] = {declared.name: declared for declared in self.by_id}

    @classmethod
    def from_modules(cls, modules: Iterable[ModuleType]) -> CommandTable:
        """The table of every handler defined in these modules. Raises DeclarationError."""
        return cls(
            declared
            for module in modules
            for value in vars(module).values()
            if callable(value) and getattr(value, "__module__", None) == module.__name__
            for declared in getattr(value, "commands", ())
        )

    def __iter__(self) -> Iterator[Command]:
        return iter(self.by_id)

    def __len__(self) -> int:
        return len(self.by_id)

    def __getitem__(self, name: str) -> Command:
        return self.by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self.by_name
