"""What the server says about itself without asking anyone: its commands, and the time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from protocol.command_info import categories_of, key_flags, write_command_info
from protocol.commands import Command, CommandTable, F, Place, command
from protocol.errors import SYNTAX, CommandError
from protocol.key_specs import key_positions
from protocol.patterns import glob_match

if TYPE_CHECKING:
    from protocol.reply import Reply
    from sessions.session import Session

INVALID_COMMAND = b"ERR Invalid command specified"
NO_KEYS = b"ERR The command has no key arguments"
WRONG_COUNT = b"ERR Invalid number of arguments specified for command"
INVALID_ARGUMENTS = b"ERR Invalid arguments specified for command"
UNKNOWN_SUBCOMMAND = b"ERR unknown subcommand '%s'. Try COMMAND HELP."
SHOWN_BYTES_MAX = 128

SERVER: dict[str, Any] = {"group": "server", "place": Place.SESSION}
COMMAND: dict[str, Any] = {
    **SERVER,
    "flags": F.LOADING | F.STALE,
    "acl": ("connection",),
}
UNORDERED = ("nondeterministic_output_order",)

HELP = (
    b"COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"(no subcommand)",
    b"    Describe all commands.",
    b"COUNT",
    b"    Show how many commands there are.",
    b"LIST [FILTERBY MODULE|ACLCAT|PATTERN <value>]",
    b"    Show the names of the commands.",
    b"INFO [<command-name> ...]",
    b"    Describe these commands, or all without a name.",
    b"DOCS [<command-name> ...]",
    b"    Explain these commands and their arguments, or all without a name.",
    b"GETKEYS <full-command>",
    b"    Show which arguments of a command are keys.",
    b"GETKEYSANDFLAGS <full-command>",
    b"    Show the keys of a command, and how it uses them.",
    b"HELP",
    b"    Show this text.",
)


@command("COMMAND", arity=-1, tips=UNORDERED, **COMMAND)
def command_(session: Session, args: list[bytes], reply: Reply) -> None:
    """Describe all commands. O(N) for N commands."""
    if len(args) > 1:
        raise CommandError(UNKNOWN_SUBCOMMAND % args[1][:SHOWN_BYTES_MAX])
    _describe_all(session.table, reply)


@command("COMMAND|COUNT", arity=2, **COMMAND)
def command_count(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show how many commands there are. O(N) for N commands and subcommands."""
    reply.integer(len(_top_level(session.table)))


@command("COMMAND|INFO", arity=-2, tips=UNORDERED, **COMMAND)
def command_info(session: Session, args: list[bytes], reply: Reply) -> None:
    """Describe some commands, or all without a name. O(N) for N names."""
    if len(args) == 2:
        _describe_all(session.table, reply)
        return
    reply.array(len(args) - 2)
    for name in args[2:]:
        write_command_info(reply, _public(session.table, name))


@command("COMMAND|DOCS", arity=-2, tips=UNORDERED, **COMMAND)
def command_docs(session: Session, args: list[bytes], reply: Reply) -> None:
    """Explain some commands, or all without a name. O(N) for N names.

    Commands that do not exist are left out; one that is named twice is explained twice.
    """
    # Imported here: it takes milliseconds, which would be added to every start of the server.
    from protocol.command_docs import write_command_docs

    if len(args) == 2:
        chosen = _top_level(session.table)
    else:
        named = [_public(session.table, name) for name in args[2:]]
        chosen = [declared for declared in named if declared is not None]
    reply.map(len(chosen))
    for declared in chosen:
        reply.bulk(_shown(declared))
        write_command_docs(reply, declared)


@command("COMMAND|LIST", arity=-2, tips=UNORDERED, **COMMAND)
def command_list(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show the names of all commands and subcommands that pass a filter. O(N) for N of them."""
    chosen = [declared for declared in session.table if F.INTERNAL not in declared.flags]
    if len(args) > 2:
        if len(args) != 5 or args[2].upper() != b"FILTERBY":
            raise CommandError(SYNTAX)
        passes = _filter(args[3].upper(), args[4])
        chosen = [declared for declared in chosen if passes(declared)]
    reply.bulks([_shown(declared) for declared in chosen])


@command("COMMAND|GETKEYS", arity=-3, **COMMAND)
def command_getkeys(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show which arguments of a command are keys. O(N) for N arguments."""
    positions = _keys_of(session.table, args[2:])
    reply.bulks([args[index + 2] for index, _ in positions])


@command("COMMAND|GETKEYSANDFLAGS", arity=-3, **COMMAND)
def command_getkeysandflags(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show the keys of a command, and how it uses them. O(N) for N arguments."""
    positions = _keys_of(session.table, args[2:])
    reply.array(len(positions))
    for index, spec in positions:
        flags = key_flags(spec)
        reply.array(2)
        reply.bulk(args[index + 2])
        reply.set(len(flags))
        for flag in flags:
            reply.status(flag.encode())


@command("COMMAND|HELP", arity=2, **COMMAND)
def command_help(session: Session, args: list[bytes], reply: Reply) -> None:
    """List the subcommands of COMMAND. O(1)."""
    reply.array(len(HELP))
    for line in HELP:
        reply.status(line)


@command(
    "TIME",
    arity=1,
    flags=F.LOADING | F.STALE | F.FAST,
    tips=("nondeterministic_output",),
    **SERVER,
)
def time(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show the server's time: Unix seconds, and microseconds. O(1)."""
    seconds, microseconds = divmod(session.now_us, 1_000_000)
    reply.bulks([b"%d" % seconds, b"%d" % microseconds])


def _top_level(table: CommandTable) -> list[Command]:
    return [
        declared
        for declared in table
        if declared.container is None and F.INTERNAL not in declared.flags
    ]


def _describe_all(table: CommandTable, reply: Reply) -> None:
    commands = _top_level(table)
    reply.array(len(commands))
    for declared in commands:
        write_command_info(reply, declared)


def _public(table: CommandTable, name: bytes) -> Command | None:
    """The command or subcommand ("config|get") of this name, unless it is internal."""
    declared = table.by_name.get(name.decode("latin-1").upper())
    return None if declared is None or F.INTERNAL in declared.flags else declared


def _shown(declared: Command) -> bytes:
    return declared.name.lower().encode()


def _filter(kind: bytes, value: bytes) -> Callable[[Command], bool]:
    """What COMMAND LIST FILTERBY means. Raises CommandError.

    There are no modules, so none has commands; nor has a category that does not exist.
    """
    if kind == b"MODULE":
        return lambda declared: False
    if kind == b"ACLCAT":
        category = value.decode("latin-1").lower()
        return lambda declared: category in categories_of(declared)
    if kind == b"PATTERN":
        return lambda declared: glob_match(value, _shown(declared), nocase=True)
    raise CommandError(SYNTAX)


def _called(table: CommandTable, call: list[bytes]) -> Command | None:
    """The command that a call means: a container alone is one, "config|get" as a word is none."""
    if b"|" in call[0]:
        return None
    declared = _public(table, call[0])
    if declared is None or not declared.subcommands or len(call) == 1:
        return declared
    return None if b"|" in call[1] else _public(table, b"|".join(call[:2]))


def _keys_of(table: CommandTable, call: list[bytes]) -> list[Any]:
    """Index and spec of each key of a call. Raises CommandError."""
    declared = _called(table, call)
    if declared is None:
        raise CommandError(INVALID_COMMAND)
    if not declared.keys:
        raise CommandError(NO_KEYS)
    arity = declared.arity
    if len(call) != arity if arity > 0 else len(call) < -arity:
        raise CommandError(WRONG_COUNT)
    positions = key_positions(declared, call)
    if positions:
        return positions
    if F.NO_MANDATORY_KEYS in declared.flags:
        return []
    raise CommandError(INVALID_ARGUMENTS)
