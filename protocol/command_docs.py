"""COMMAND DOCS: what commands are for, and the syntax of their arguments.

The data are the files in protocol/docs, one for each of Redis's groups. They describe every
command and subcommand of Redis 7.2, whether the server runs it yet or not. Nothing is read before
the first question (the server starts without them); then the files are cut into entries, and an
entry is parsed when it is asked for.

An entry begins at the margin with name and syntax, and goes on in indented lines: the summary, and
then in any order what else there is to say. A line that is indented twice continues the one
above. "#" at the margin begins a comment.

    SET <key@0> <value> [condition=(NX | XX)^2.6.12] [GET^6.2.0]
            [expiration=(EX<seconds:integer>^2.6.12 | KEEPTTL^6.0.0)]
        Write a string, whatever the key held before.
        since 1.0.0
        cost O(1)
        deprecated 9.9.9 `PUT`          the version, and what to use instead
        flags syscmd
        6.0.0 `KEEPTTL`                 what a later version has changed

The syntax is that of a usage line, with the names and types that clients see:

    <name:type@spec/shown>   an argument. Without a type it is a string, or a key if it has the
                             index of a key spec; "shown" is what hints display, if not the name
    WORD  "word"             a word as it is, named like itself in lower case
    WORD<...>                an argument after a word; WORD(...) and WORD{...} likewise
    name=(a | b)             one of several
    name={a b}               several in a row
    name=WORD                a name for a word that is not its own
    [a]                      may be left out
    a...   a+...             may be repeated; with "+" together with its word
    a^1.2.3   a!1.2.3        is there since a version; is deprecated since a version
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

from protocol.commands import Command, F
from protocol.reply import Reply

FOLDER: Final = Path(__file__).with_name("docs")
TYPES: Final = frozenset(
    {"string", "integer", "double", "key", "pattern", "unix-time", "pure-token"}
)

SYNTAX = re.compile(
    r"""\s*(?:
        (?P<leaf> < (?P<name>[^:@/<>]+) (?::(?P<type>[a-z-]+))? (?:@(?P<spec>\d+))?
                    (?:/(?P<shown>[^<>]+))? > )
      | (?P<label> [a-z][a-z0-9-]* ) =
      | (?P<word> "[^"]*" | [A-Z0-9][A-Z0-9_-]* ) (?P<binds> (?=[<({]) )?
      | (?P<repeat> \+?\.\.\. )
      | \^ (?P<since> [\d.]+ )
      | ! (?P<deprecated> [\d.]+ )
      | (?P<mark> [][(){}|] )
    )""",
    re.VERBOSE,
)
DETAIL = re.compile(r"(?P<what>since|cost|deprecated|flags|\d+\.\d+\.\d+) (?P<text>.*)")
CONTINUED = " " * 8
CLOSING: Final = {"[": "]", "(": ")", "{": "}"}


class DocsError(Exception):
    """A file of the documentation is written wrongly: our own mistake, found by the tests."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command, in the terms of COMMAND DOCS."""

    name: str
    kind: str  # one of TYPES, "oneof" or "block"
    shown: str = ""  # display_text, if it is not the name
    key_spec: int | None = None  # index of the key spec it belongs to
    token: str | None = None  # the word before it, or that it is
    since: str = ""
    deprecated_since: str = ""
    optional: bool = False
    multiple: bool = False
    multiple_token: bool = False
    arguments: tuple[Argument, ...] = ()

    @property
    def flags(self) -> list[str]:
        named = {
            "optional": self.optional,
            "multiple": self.multiple,
            "multiple_token": self.multiple_token,
        }
        return [flag for flag, holds in named.items() if holds]


@dataclass(frozen=True, slots=True)
class Docs:
    """The documentation of one command or subcommand."""

    name: str  # upper case; a subcommand is "CONTAINER|NAME"
    group: str
    summary: str
    since: str
    complexity: str = ""
    flags: tuple[str, ...] = ()
    deprecated_since: str = ""
    replaced_by: str = ""
    history: tuple[tuple[str, str], ...] = ()
    arguments: tuple[Argument, ...] = ()


def parse_syntax(text: str) -> tuple[Argument, ...]:
    """The arguments of a usage line. O(length). Raises DocsError."""
    parser = _Parser(text)
    arguments = tuple(parser.row())
    if parser.current is not None:
        raise DocsError(f"{parser.current[0]!r} has no beginning: {text}")
    return arguments


class _Parser:
    """Recursive descent over the pieces of a usage line."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.current: re.Match[str] | None = None
        self._advance()

    def row(self) -> Iterator[Argument]:
        """Arguments up to a closing mark or the end."""
        while self.current is not None and self.current["mark"] not in ("]", ")", "}", "|"):
            yield self._argument()

    def _argument(self) -> Argument:
        if self._take("["):
            inner = self._argument()
            self._close("[")
            return replace(inner, optional=True)
        found = self._take_group("label")
        label = found["label"] if found else ""
        found = self._take_group("word")
        token = found["word"].strip('"') if found else None
        if found is not None and found["binds"] is None:
            argument = Argument(label or found["word"].strip('"').lower(), "pure-token")
        else:
            argument = self._body(label)
        return self._suffixes(replace(argument, token=token))

    def _body(self, label: str) -> Argument:
        leaf = self._take_group("leaf")
        if leaf is not None:
            if label:
                raise DocsError(f"{leaf[0]} has two names: {self._text}")
            kind = leaf["type"] or ("key" if leaf["spec"] else "string")
            if kind not in TYPES:
                raise DocsError(f"no type {kind!r}: {self._text}")
            spec = int(leaf["spec"]) if leaf["spec"] else None
            return Argument(leaf["name"], kind, leaf["shown"] or "", spec)
        if not label:
            raise DocsError(f"a name is missing before character {self._at}: {self._text}")
        if self._take("("):
            members = [self._argument()]
            while self._take("|"):
                members.append(self._argument())
            self._close("(")
            return Argument(label, "oneof", arguments=tuple(members))
        if self._take("{"):
            members = list(self.row())
            self._close("{")
            return Argument(label, "block", arguments=tuple(members))
        raise DocsError(f"{label!r} names nothing: {self._text}")

    def _suffixes(self, argument: Argument) -> Argument:
        while (found := self.current) is not None:
            if found["repeat"]:
                argument = replace(
                    argument, multiple=True, multiple_token=found["repeat"].startswith("+")
                )
            elif found["since"]:
                argument = replace(argument, since=found["since"])
            elif found["deprecated"]:
                argument = replace(argument, deprecated_since=found["deprecated"])
            else:
                break
            self._advance()
        return argument

    def _take(self, mark: str) -> bool:
        if self.current is None or self.current["mark"] != mark:
            return False
        self._advance()
        return True

    def _take_group(self, group: str) -> re.Match[str] | None:
        found = self.current
        if found is None or found[group] is None:
            return None
        self._advance()
        return found

    def _close(self, opened: str) -> None:
        if not self._take(CLOSING[opened]):
            raise DocsError(f"{opened!r} is not closed at character {self._at}: {self._text}")

    def _advance(self) -> None:
        if not self._text[self._at :].strip():
            self.current = None
            return
        self.current = SYNTAX.match(self._text, self._at)
        if self.current is None:
            raise DocsError(f"cannot read {self._text[self._at :]!r}")
        self._at = self.current.end()


def read_entries(text: str) -> Iterator[tuple[str, list[str]]]:
    """Name and lines of each entry of a file, continued lines joined. Raises DocsError."""
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith(CONTINUED) and lines:
            lines[-1] += " " + line.strip()
        elif line.startswith("    ") and lines:
            lines.append(line.strip())
        elif line[0] != " ":
            if lines:
                yield lines[0].partition(" ")[0], lines
            lines = [line]
        else:
            raise DocsError(f"line {number} belongs to no entry: {line}")
    if lines:
        yield lines[0].partition(" ")[0], lines


def parse_entry(group: str, lines: list[str]) -> Docs:
    """The documentation in the lines of one entry. Raises DocsError."""
    name, _, syntax = lines[0].partition(" ")
    if len(lines) < 2:
        raise DocsError(f"{name} has no summary")
    details: dict[str, str] = {}
    history: list[tuple[str, str]] = []
    for line in lines[2:]:
        found = DETAIL.fullmatch(line)
        if found is None or found["what"] in details:
            raise DocsError(f"{name}: cannot read {line!r}")
        if found["what"][0].isdigit():
            history.append((found["what"], found["text"]))
        else:
            details[found["what"]] = found["text"]
    if "since" not in details:
        raise DocsError(f"{name}: the version it came with is missing")
    deprecated_since, _, replaced_by = details.get("deprecated", "").partition(" ")
    flags = details.get("flags", "").split()
    return Docs(
        name=name,
        group=group,
        summary=lines[1],
        since=details["since"],
        complexity=details.get("cost", ""),
        flags=(*(["deprecated"] if deprecated_since else []), *flags),
        deprecated_since=deprecated_since,
        replaced_by=replaced_by,
        history=tuple(history),
        arguments=parse_syntax(syntax),
    )


@cache
def _entries() -> dict[str, tuple[str, list[str]]]:
    """Group and lines of every entry. Reads the files when it is first called."""
    found: dict[str, tuple[str, list[str]]] = {}
    for path in sorted(FOLDER.glob("*.txt")):
        for name, lines in read_entries(path.read_text(encoding="utf-8")):
            if name in found:
                raise DocsError(f"{name} is described in {found[name][0]} and in {path.stem}")
            found[name] = (path.stem, lines)
    return found


def documented() -> Iterable[str]:
    """The names of all commands and subcommands that the files describe."""
    return _entries().keys()


@cache
def docs_of(name: str) -> Docs | None:
    """What the files say about a command, by its name in upper case. O(its entry), once."""
    entry = _entries().get(name)
    return None if entry is None else parse_entry(*entry)


def write_command_docs(reply: Reply, command: Command) -> None:
    """The description of one command in COMMAND DOCS, its subcommands in it.

    Fields are in Redis's order; those without a value are left out. O(arguments). Raises DocsError
    for a command that no file describes.
    """
    docs = docs_of(command.name)
    if docs is None:
        raise DocsError(f"{command.name} is not described")
    subcommands = [one for one in command.subcommands if F.INTERNAL not in one.flags]
    texts = {
        "summary": docs.summary,
        "since": docs.since,
        "group": docs.group,
        "complexity": docs.complexity,
    }
    advice = {"deprecated_since": docs.deprecated_since, "replaced_by": docs.replaced_by}
    texts = {name: text for name, text in texts.items() if text}
    advice = {name: text for name, text in advice.items() if text}
    collections = (docs.flags, docs.history, docs.arguments, subcommands)
    reply.map(len(texts) + len(advice) + sum(map(bool, collections)))
    _write_texts(reply, texts)
    if docs.flags:
        reply.bulk(b"doc_flags")
        _write_statuses(reply, docs.flags)
    _write_texts(reply, advice)
    if docs.history:
        reply.bulk(b"history")
        reply.set(len(docs.history))
        for change in docs.history:
            reply.bulks([text.encode() for text in change])
    if docs.arguments:
        _write_arguments(reply, docs.arguments)
    if subcommands:
        reply.bulk(b"subcommands")
        reply.map(len(subcommands))
        for subcommand in subcommands:
            reply.bulk(subcommand.name.lower().encode())
            write_command_docs(reply, subcommand)


def _write_arguments(reply: Reply, arguments: tuple[Argument, ...]) -> None:
    reply.bulk(b"arguments")
    reply.array(len(arguments))
    for argument in arguments:
        group = argument.kind in ("oneof", "block")
        texts = {"name": argument.name, "type": argument.kind}
        if not group:
            texts["display_text"] = argument.shown or argument.name
        versions = {"since": argument.since, "deprecated_since": argument.deprecated_since}
        versions = {name: text for name, text in versions.items() if text}
        keyed, worded = argument.key_spec is not None, argument.token is not None
        flags = argument.flags
        reply.map(len(texts) + keyed + worded + len(versions) + bool(flags) + group)
        _write_texts(reply, texts)
        if argument.key_spec is not None:
            reply.bulk(b"key_spec_index")
            reply.integer(argument.key_spec)
        if argument.token is not None:  # an empty one is a word too: MIGRATE's ""
            _write_texts(reply, {"token": argument.token})
        _write_texts(reply, versions)
        if flags:
            reply.bulk(b"flags")
            _write_statuses(reply, flags)
        if group:
            _write_arguments(reply, argument.arguments)


def _write_texts(reply: Reply, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        reply.bulk(name.encode())
        reply.bulk(text.encode())


def _write_statuses(reply: Reply, names: Iterable[str]) -> None:
    names = list(names)
    reply.set(len(names))
    for name in names:
        reply.status(name.encode())
