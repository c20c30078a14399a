"""The values of all directives, and the only ways to change them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocol.patterns import glob_match
from router.config.directives import (
    BY_NAME,
    DIRECTIVES,
    FORGOTTEN,
    LINES_ONLY,
    OWN,
    Directive,
    Mark,
)
from router.config.kinds import Directory, Rewritten, ValueRefused
from router.config.pending import NOT_ACTED_ON
from router.config.reader import read_lines
from router.config.rewriter import rewrite_file
from router.config.words import bytes_of, split_words, text_of

WRONG_NUMBER = "wrong number of arguments"


class SetError(Exception):
    """CONFIG SET is refused; `args[0]` is the reply without the dash."""


@dataclass(slots=True)
class Config:
    """The values of all directives.

    The file and the arguments load it before the start; afterwards only `prepare` and `commit`
    change it, so that what CONFIG SET changes is all or nothing.
    """

    file: str = ""  # absolute path of the configuration file, or ""
    values: dict[str, Any] = field(default_factory=dict)
    accepted: list[str] = field(default_factory=list)  # set, but without effect so far
    remarks: list[str] = field(default_factory=list)  # for the log, at the start
    lines: dict[str, list[list[str]]] = field(default_factory=dict)  # "user" etc.: arguments
    derived: dict[str, Any] = field(default_factory=dict)  # the values that `derive` replaced
    given: set[str] = field(default_factory=set)  # directives that were loaded

    def __post_init__(self) -> None:
        for directive in DIRECTIVES:
            if directive.name not in self.values:
                self.values[directive.name] = directive.default_value()

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def snapshot(self) -> dict[str, Any]:
        """All values, for a process that starts."""
        return dict(self.values)

    def derive(self, name: str, value: Any) -> None:
        """Put another value in force than the configured one, which CONFIG REWRITE keeps."""
        self.derived.setdefault(name, self.values[name])
        self.values[name] = value

    # Before the start

    def load(self, text: str) -> None:
        """Take over the lines of a configuration file. Raises ConfigError.

        `dir` takes effect at once: relative paths after it mean files there.
        """
        read_lines(text, self._load_words, self._check_all)

    def _load_words(self, words: list[str]) -> None:
        name, arguments = words[0], words[1:]
        directive = BY_NAME.get(name)
        if directive is None:
            self._load_line(name, arguments)
            return
        if not directive.kind.several and len(arguments) != 1:
            raise ValueRefused(WRONG_NUMBER)
        if directive.kind.several and len(arguments) == 1 and arguments[0]:
            # One argument may hold several words: --save "60 1". Unbalanced quotes make it none.
            arguments = split_words(arguments[0]) or []
        current = self.values[directive.name]
        if directive.kind.accumulates and directive.name not in self.given:
            current = ""
        value = directive.kind.parse(arguments, current)
        refusal = _refusal(directive, value)
        if refusal:
            raise ValueRefused(refusal)
        self.given.add(directive.name)
        self.values[directive.name] = value
        if isinstance(directive.kind, Directory):
            _enter(value)
        if directive.name in NOT_ACTED_ON and NOT_ACTED_ON[directive.name].taken:
            changed = value != directive.default_value()
            if changed and directive.name not in self.accepted:
                self.accepted.append(directive.name)

    def _load_line(self, name: str, arguments: list[str]) -> None:
        """A line that sets no value."""
        if name in FORGOTTEN and len(arguments) == 1:
            return
        fits = {
            "rename-command": len(arguments) == 2,
            "user": len(arguments) >= 1,
            "loadmodule": len(arguments) >= 1,
            "sentinel": True,
        }
        if not fits.get(name, False):
            if "." in name and name not in LINES_ONLY:
                raise ValueRefused(
                    "Module config specified without value"
                    if not arguments
                    else NOT_ACTED_ON["loadmodule"].reason
                )
            raise ValueRefused("Bad directive or wrong number of arguments")
        if name == "sentinel":
            if arguments:
                raise ValueRefused("sentinel directive while not in sentinel mode")
            return
        if name in NOT_ACTED_ON:
            raise ValueRefused(NOT_ACTED_ON[name].reason)
        self.lines.setdefault(name, []).append(arguments)

    def _check_all(self) -> None:
        """What concerns the values together; called after each file."""
        if self["logfile"]:
            try:
                os.close(os.open(self["logfile"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666))
            except OSError as error:
                raise ValueRefused(f"Can't open the log file: {error.strerror}") from None
        if self["cluster-enabled"] and self["replicaof"]:
            raise ValueRefused("replicaof directive not allowed in cluster mode")
        for directive in DIRECTIVES:
            if directive.clamp is not None:
                self.values[directive.name] = _clamped(directive, self.values[directive.name])

    # CONFIG GET and SET

    def show(self, name: str) -> str:
        """A value as CONFIG GET prints it."""
        directive = BY_NAME[name]
        return directive.kind.show(self.values[directive.name])

    def matching(self, patterns: Iterable[bytes]) -> dict[bytes, bytes]:
        """Names and values for CONFIG GET. O(patterns * directives).

        A name without a wildcard is printed as the client wrote it, as in Redis.
        """
        found: dict[bytes, bytes] = {}
        known: set[bytes] = set()
        for pattern in patterns:
            pattern = pattern.partition(b"\0")[0] if b"\0" in pattern else pattern
            if any(sign in pattern for sign in (b"*", b"?", b"[")):
                hits = [
                    (name.encode(), name)
                    for name, directive in BY_NAME.items()
                    if Mark.HIDDEN not in directive.marks
                    and glob_match(pattern, name.encode(), nocase=True)
                ]
            else:
                name = text_of(pattern).lower()
                hits = [(pattern, name)] if name in BY_NAME else []
            for shown, name in hits:
                if shown.lower() not in known:
                    known.add(shown.lower())
                    found[shown] = bytes_of(self.show(name))
        return found

    def prepare(self, pairs: Sequence[tuple[bytes, bytes]], local: bool = False) -> dict[str, Any]:
        """Check all pairs of a CONFIG SET; the new values by directive. Raises SetError.

        `local` says that the client is on this machine, for protected directives.
        """
        allowed = self["enable-protected-configs"]
        protected = (
            Mark.NONE if allowed == "yes" or (allowed == "local" and local) else (Mark.PROTECTED)
        )
        chosen: dict[str, tuple[Directive, str]] = {}
        for raw_name, raw_value in pairs:
            shown = text_of(raw_name)
            name = shown.lower()
            directive = BY_NAME.get(name)
            if directive is None:
                shown = shown.partition("\0")[0]
                raise SetError(
                    f"ERR Unknown option or number of arguments for CONFIG SET - '{shown}'"
                )
            if Mark.IMMUTABLE in directive.marks:
                if directive in OWN and text_of(raw_value) == self.show(name):
                    # Who sets all that CONFIG GET shows, skipping what he knows to be immutable
                    # in Redis, does not know ours.
                    continue
                raise set_failed(shown, "can't set immutable config")
            if directive.marks & protected:
                raise set_failed(shown, "can't set protected config")
            if name in chosen:
                raise set_failed(shown, "duplicate parameter")
            chosen[name] = directive, text_of(raw_value)
        changes: dict[str, Any] = {}
        for name, (directive, text) in chosen.items():
            kind = directive.kind
            # Unlike a file's, these words are simply what is between spaces.
            arguments = (text.split(" ") if text else []) if kind.several else [text]
            present = changes.get(directive.name, self.values[directive.name])
            try:
                value = kind.parse(arguments, "" if kind.accumulates else present)
            except ValueRefused as error:
                raise set_failed(name, str(error)) from None
            refusal = _refusal(directive, value)
            if refusal:
                raise set_failed(name, refusal)
            changes[directive.name] = _clamped(directive, value)
        return changes

    def commit(self, changes: dict[str, Any]) -> None:
        """Put prepared values in force here. Raises SetError, before it has changed anything."""
        for name, value in changes.items():
            if isinstance(BY_NAME[name].kind, Directory):
                try:
                    _enter(value)
                except ValueRefused as error:
                    raise set_failed(name, str(error)) from None
        self.values.update(changes)
        for name in changes:
            self.derived.pop(name, None)

    # CONFIG REWRITE

    def rewrite(self, all_values: bool = False) -> None:
        """Write the values into the file that was loaded. Raises OSError.

        With `all_values`, those that are the default and not in the file, too.
        """
        new = [
            (
                directive.name,
                directive.kind.rewrite(
                    directive.name,
                    self.derived.get(directive.name, self.values[directive.name]),
                    directive.default_value(),
                ),
            )
            for directive in DIRECTIVES
        ]
        if all_values:
            new = [(name, Rewritten(one.lines, (True,) * len(one.lines))) for name, one in new]
        rewrite_file(self.file, new)


def set_failed(name: str, reason: str) -> SetError:
    """The refusal of a CONFIG SET, on account of one directive."""
    return SetError(f"ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")


def _refusal(directive: Directive, value: Any) -> str:
    """Why nothing may pretend to act on this value, or ""."""
    pending = NOT_ACTED_ON.get(directive.name)
    if pending is None or pending.taken:
        return ""
    return "" if value in (directive.default_value(), *pending.allowed) else pending.reason


def _clamped(directive: Directive, value: Any) -> Any:
    if directive.clamp is None:
        return value
    return min(max(value, directive.clamp[0]), directive.clamp[1])


def _enter(directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        raise ValueRefused(error.strerror or str(error)) from None
