"""The configuration: one table of directives, and where their values come from.

A directive is one line of DIRECTIVES: name, kind of value, default, who acts on it. Its kind
parses and prints; nothing else needs to be written to add one. Values are Python values (bool,
int, str); a str holds bytes that are not UTF-8 as surrogates, so that nothing is lost.

A directive that promises safety and is not acted on yet has a `refuse`: the server does not
start with it, and CONFIG SET answers with the reason, rather than to pretend.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Any, Final, Protocol

from protocol.patterns import glob_match
from protocol.version import REDIS_VERSION

INT_MAX: Final = 2**31 - 1
UINT_MAX: Final = 2**32 - 1
LONG_MAX: Final = 2**63 - 1
ULLONG_MAX: Final = 2**64 - 1
LINE_BYTES_MAX: Final = 64 * 1024
PROCESSES_MAX: Final = 1024
BIND_ADDRESSES_MAX: Final = 16


class Scope(Flag):
    """Who acts on a directive, and therefore is told when it changes."""

    NONE = 0  # accepted and shown, without effect so far
    ROUTER = auto()
    WORKER = auto()
    SHARD = auto()


class ValueRefused(Exception):
    """A value does not fit its directive; the text is Redis's."""


class Kind(Protocol):
    """How the values of a directive are read and printed."""

    @property
    def several(self) -> bool:
        """Whether a configuration line may have several arguments."""

    def parse(self, arguments: Sequence[str], current: Any) -> Any:
        """The value of these arguments. Raises ValueRefused."""

    def show(self, value: Any) -> str:
        """The value as CONFIG GET prints it."""


@dataclass(frozen=True, slots=True)
class Bool:
    several: bool = False

    def parse(self, arguments: Sequence[str], current: Any) -> bool:
        word = arguments[0].lower()
        if word not in ("yes", "no"):
            raise ValueRefused("argument must be 'yes' or 'no'")
        return word == "yes"

    def show(self, value: Any) -> str:
        return "yes" if value else "no"


@dataclass(frozen=True, slots=True)
class Integer:
    """A number between two bounds; with units (memory), as a percentage, or octal."""

    low: int = 0
    high: int = INT_MAX
    memory: bool = False
    percent: bool = False  # a percentage is stored negative
    octal: bool = False
    several: bool = False

    def parse(self, arguments: Sequence[str], current: Any) -> int:
        value = self._number(arguments[0])
        if self.percent and value < 0:
            if value < self.low:
                raise ValueRefused(f"percentage argument must be less or equal to {-self.low}")
        elif not self.low <= value <= self.high:
            low, high = (f"{self.low:o}", f"{self.high:o}") if self.octal else (self.low, self.high)
            raise ValueRefused(f"argument must be between {low} and {high} inclusive")
        return value

    def _number(self, text: str) -> int:
        if self.memory:
            value = memory_bytes(text)
            if value is not None:
                return value
            if self.percent and text.endswith("%"):
                share = _decimal(text[:-1])
                if share is not None and share >= 0:
                    return -share
            kinds = "memory or percent" if self.percent else "memory"
            raise ValueRefused(f"argument must be a {kinds} value")
        if self.octal:
            try:
                return int(text, 8) if text.isascii() and text.isdigit() else int("x")
            except ValueError:
                raise ValueRefused("argument couldn't be parsed as an octal number") from None
        number = _decimal(text)
        if number is None:
            raise ValueRefused("argument couldn't be parsed into an integer")
        return number

    def show(self, value: Any) -> str:
        if self.percent and value < 0:
            return f"{-value}%"
        return f"{value:o}" if self.octal else str(value)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words, whatever their case."""

    words: tuple[str, ...]
    several: bool = False

    def parse(self, arguments: Sequence[str], current: Any) -> str:
        word = arguments[0].lower()
        if word not in self.words:
            names = ", ".join(self.words)
            raise ValueRefused(f"argument(s) must be one of the following: {names}")
        return word

    def show(self, value: Any) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Text:
    several: bool = False

    def parse(self, arguments: Sequence[str], current: Any) -> str:
        return arguments[0]

    def show(self, value: Any) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses to listen on; a leading dash makes one optional."""

    several: bool = True

    def parse(self, arguments: Sequence[str], current: Any) -> str:
        if len(arguments) > BIND_ADDRESSES_MAX:
            raise ValueRefused("Too many bind addresses specified.")
        # A single empty address means none, as in Redis.
        return " ".join(argument for argument in arguments if argument)

    def show(self, value: Any) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class SavePoints:
    """Pairs of seconds and changes; an empty string means never."""

    several: bool = True

    def parse(self, arguments: Sequence[str], current: Any) -> str:
        if len(arguments) == 1 and not arguments[0]:
            return ""
        numbers = [_decimal(argument) for argument in arguments]
        if len(numbers) % 2 or any(number is None or number < 0 for number in numbers):
            raise ValueRefused("Invalid save parameters")
        if any(not seconds for seconds in numbers[::2]):
            raise ValueRefused("Invalid save parameters")
        return " ".join(str(number) for number in numbers)

    def show(self, value: Any) -> str:
        return str(value)


OUTPUT_CLASSES: Final = ("normal", "slave", "pubsub")


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """Hard limit, soft limit and seconds, for each class of clients; unnamed classes keep theirs.

    The value is a list of [hard bytes, soft bytes, soft seconds] in the order of OUTPUT_CLASSES.
    """

    several: bool = True

    def parse(self, arguments: Sequence[str], current: Any) -> list[list[int]]:
        if not arguments or len(arguments) % 4:
            raise ValueRefused("Wrong number of arguments in buffer limit configuration.")
        limits = [list(limit) for limit in current or [[0, 0, 0]] * len(OUTPUT_CLASSES)]
        for start in range(0, len(arguments), 4):
            name, hard, soft, seconds = arguments[start : start + 4]
            name = "slave" if name.lower() == "replica" else name.lower()
            if name not in OUTPUT_CLASSES:
                raise ValueRefused("Invalid client class specified in buffer limit configuration.")
            figures = (memory_bytes(hard), memory_bytes(soft), _decimal(seconds))
            hard_bytes, soft_bytes, soft_seconds = figures
            if hard_bytes is None or soft_bytes is None or soft_seconds is None or soft_seconds < 0:
                raise ValueRefused(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration."
                )
            limits[OUTPUT_CLASSES.index(name)] = [hard_bytes, soft_bytes, soft_seconds]
        return limits

    def show(self, value: Any) -> str:
        return " ".join(
            f"{name} {hard} {soft} {seconds}"
            for name, (hard, soft, seconds) in zip(OUTPUT_CLASSES, value, strict=True)
        )


EVENT_CLASSES: Final = "g$lshzxetd"  # what A stands for
EVENT_LETTERS: Final = "g$lshzxetdKEmn"


@dataclass(frozen=True, slots=True)
class Events:
    """Letters of keyspace event classes, printed in Redis's order."""

    several: bool = False

    def parse(self, arguments: Sequence[str], current: Any) -> str:
        letters = set(arguments[0])
        if not letters <= {*EVENT_LETTERS, "A"}:
            raise ValueRefused("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
        if "A" in letters:
            letters |= set(EVENT_CLASSES)
        if letters.issuperset(EVENT_CLASSES):
            shown = "A"
        else:
            shown = "".join(letter for letter in EVENT_CLASSES if letter in letters)
        return shown + "".join(letter for letter in "KEmn" if letter in letters)

    def show(self, value: Any) -> str:
        return str(value)


UNITS: Final = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1 << 10,
    "m": 1000**2,
    "mb": 1 << 20,
    "g": 1000**3,
    "gb": 1 << 30,
}


def memory_bytes(text: str) -> int | None:
    """The bytes that a size like "64mb" means; None when it is none."""
    digits = text.rstrip("kmgbKMGB")
    unit = UNITS.get(text[len(digits) :].lower())
    if unit is None or not (digits.isascii() and digits.isdigit()) or len(digits) > 20:
        return None
    return int(digits) * unit


def _decimal(text: str) -> int | None:
    """The number a text is, in the one way Redis's own integers are written."""
    if not text or len(text) > 20:
        return None
    digits = text[1:] if text[0] == "-" else text
    if not (digits.isascii() and digits.isdigit()):
        return None
    if digits[0] == "0" and text != "0":
        return None
    number = int(text)
    return number if -LONG_MAX - 1 <= number <= LONG_MAX else None


@dataclass(frozen=True, slots=True)
class Directive:
    """One line of the table."""

    name: str
    kind: Kind
    default: str
    scope: Scope = Scope.NONE
    mutable: bool = True
    alias: str = ""
    refuse: Callable[[Any], str | None] | None = None
    clamp: tuple[int, int] | None = None  # values beyond are accepted and moved, as Redis does


def _only(allowed: Any, reason: str) -> Callable[[Any], str | None]:
    return lambda value: None if value == allowed else reason


HOSTNAME_BYTES_MAX: Final = 255
HOSTNAME_SIGNS: Final = frozenset(string.ascii_letters + string.digits + "-_.")


def _no_hostname(value: str) -> str | None:
    if len(value) > HOSTNAME_BYTES_MAX:
        return "Hostnames must be less than 256 characters"
    if not HOSTNAME_SIGNS.issuperset(value):
        return "Hostnames may only contain alphanumeric characters, hyphens, underscores or dots"
    return None


NOT_DURABLE: Final = "this version keeps data in memory only; persistence is not supported yet"
_R, _W, _S = Scope.ROUTER, Scope.WORKER, Scope.SHARD

DIRECTIVES: Final[tuple[Directive, ...]] = (
    # Network
    Directive("port", Integer(0, 65535), "6379", _R, mutable=False),
    # Redis without a file listens everywhere and relies on protected-mode; we begin with the
    # addresses that its shipped file has.
    Directive("bind", Addresses(), "127.0.0.1 -::1", _R, mutable=False),
    Directive("protected-mode", Bool(), "yes", _W),
    Directive("tcp-backlog", Integer(), "511", _R, mutable=False),
    Directive("unixsocket", Text(), "", _R, mutable=False),
    Directive("unixsocketperm", Integer(0, 0o777, octal=True), "0", _R, mutable=False),
    Directive("timeout", Integer(), "0"),
    Directive("tcp-keepalive", Integer(), "300", _W),
    Directive("maxclients", Integer(1, UINT_MAX), "10000", _W),
    Directive("client-query-buffer-limit", Integer(1 << 20, LONG_MAX, memory=True), "1gb", _W),
    Directive(
        "client-output-buffer-limit",
        OutputLimits(),
        "normal 0 0 0 slave 256mb 64mb 60 pubsub 32mb 8mb 60",
    ),
    Directive("proto-max-bulk-len", Integer(1 << 20, LONG_MAX, memory=True), "512mb", _W | _S),
    Directive("tls-port", Integer(0, 65535), "0", refuse=_only(0, "TLS is not supported yet")),
    # General
    Directive("daemonize", Bool(), "no", _R, mutable=False),
    Directive("pidfile", Text(), "", _R, mutable=False),
    Directive(
        "loglevel", Choice(("debug", "verbose", "notice", "warning", "nothing")), "notice", _R
    ),
    Directive("logfile", Text(), "", _R, mutable=False),
    Directive("always-show-logo", Bool(), "no", mutable=False),
    Directive("set-proc-title", Bool(), "yes", mutable=False),
    Directive("databases", Integer(1), "16", _R | _W | _S, mutable=False),
    Directive("dir", Text(), ".", _R, mutable=False),
    Directive("shutdown-timeout", Integer(), "10", _R),
    # Security
    Directive("requirepass", Text(), "", refuse=_only("", "authentication is not supported yet")),
    Directive(
        "aclfile", Text(), "", mutable=False, refuse=_only("", "ACL files are not supported yet")
    ),
    Directive("enable-debug-command", Choice(("no", "yes", "local")), "no", _W | _S, mutable=False),
    Directive("enable-protected-configs", Choice(("no", "yes", "local")), "no", _R, mutable=False),
    # Durability and replication: nothing of it may be promised before it is true
    Directive("save", SavePoints(), "", refuse=_only("", NOT_DURABLE)),
    Directive("appendonly", Bool(), "no", refuse=_only(False, NOT_DURABLE)),
    Directive("appendfsync", Choice(("everysec", "always", "no")), "everysec"),
    Directive("dbfilename", Text(), "dump.rdb"),
    Directive("appendfilename", Text(), "appendonly.aof", mutable=False),
    Directive("appenddirname", Text(), "appendonlydir", mutable=False),
    Directive("stop-writes-on-bgsave-error", Bool(), "yes"),
    Directive("rdbcompression", Bool(), "yes"),
    Directive("rdbchecksum", Bool(), "yes", mutable=False),
    Directive(
        "replicaof",
        Text(several=True),
        "",
        mutable=False,
        alias="slaveof",
        refuse=_only("", "replication is not supported yet"),
    ),
    Directive(
        "cluster-enabled",
        Bool(),
        "no",
        _R | _W | _S,
        mutable=False,
    ),
    Directive("cluster-config-file", Text(), "nodes.conf", _R, mutable=False),
    Directive("cluster-port", Integer(0, 65535), "0", _W | _S, mutable=False),
    Directive("cluster-node-timeout", Integer(0, LONG_MAX), "15000", _W | _S),
    Directive("cluster-require-full-coverage", Bool(), "yes", _W | _S),
    Directive("cluster-allow-reads-when-down", Bool(), "no", _W | _S),
    Directive("cluster-announce-ip", Text(), "", _W | _S),
    Directive("cluster-announce-port", Integer(0, 65535), "0", _W | _S),
    Directive("cluster-announce-bus-port", Integer(0, 65535), "0", _W | _S),
    Directive("cluster-announce-hostname", Text(), "", _W | _S, refuse=_no_hostname),
    Directive(
        "cluster-preferred-endpoint-type",
        Choice(("ip", "hostname", "unknown-endpoint")),
        "ip",
        _W | _S,
    ),
    # Memory
    Directive(
        "maxmemory",
        Integer(0, ULLONG_MAX, memory=True),
        "0",
        refuse=_only(0, "a memory limit is not supported yet"),
    ),
    Directive(
        "maxmemory-policy",
        Choice(
            (
                "volatile-lru",
                "volatile-lfu",
                "volatile-random",
                "volatile-ttl",
                "allkeys-lru",
                "allkeys-lfu",
                "allkeys-random",
                "noeviction",
            )
        ),
        "noeviction",
        _S,
    ),
    Directive("maxmemory-samples", Integer(1), "5"),
    Directive("maxmemory-clients", Integer(-100, LONG_MAX, memory=True, percent=True), "0"),
    Directive("lfu-log-factor", Integer(), "10", _S),
    Directive("lfu-decay-time", Integer(), "1", _S),
    Directive("lazyfree-lazy-eviction", Bool(), "no"),
    Directive("lazyfree-lazy-expire", Bool(), "no"),
    Directive("lazyfree-lazy-server-del", Bool(), "no"),
    Directive("lazyfree-lazy-user-del", Bool(), "no"),
    Directive("lazyfree-lazy-user-flush", Bool(), "no"),
    Directive("activerehashing", Bool(), "yes"),
    # Timers
    Directive("hz", Integer(0), "10", _S, clamp=(1, 500)),
    Directive("dynamic-hz", Bool(), "yes"),
    Directive("active-expire-effort", Integer(1, 10), "1", _S),
    # Diagnosis
    Directive("slowlog-log-slower-than", Integer(-1, LONG_MAX), "10000"),
    Directive("slowlog-max-len", Integer(0, LONG_MAX), "128"),
    Directive("latency-monitor-threshold", Integer(0, LONG_MAX), "0"),
    Directive("latency-tracking", Bool(), "yes"),
    Directive(
        "notify-keyspace-events",
        Events(),
        "",
        refuse=_only("", "keyspace notifications are not supported yet"),
    ),
    # Our own; configs/shardis.conf explains each
    Directive("io-workers", Integer(0, PROCESSES_MAX), "0", _R, mutable=False),
    Directive("shards", Integer(0, PROCESSES_MAX), "0", _R, mutable=False),
    Directive("native-lane", Bool(), "yes", _S),
    Directive("pipeline-order", Choice(("concurrent", "strict")), "concurrent", _W),
    Directive("sched-batch", Bool(), "no", _W | _S, mutable=False),
    Directive("worker-cpulist", Text(), "", _W, mutable=False),
    Directive("shard-cpulist", Text(), "", _S, mutable=False),
    Directive("spin-microseconds", Integer(0, 1_000_000), "0", _W, mutable=False),
)


class ConfigError(Exception):
    """A configuration the server cannot start with; the text says which line and why."""


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

    def __post_init__(self) -> None:
        for directive in DIRECTIVES:
            self.values.setdefault(directive.name, default_of(directive))

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def snapshot(self) -> dict[str, Any]:
        """All values, for a process that starts."""
        return dict(self.values)

    # Before the start

    def load(self, text: str) -> None:
        """Take over the lines of a configuration file. Raises ConfigError."""
        for number, line in enumerate(text.split("\n"), 1):
            stripped = line.strip(" \t\r\n\0")
            if not stripped or stripped.startswith("#"):
                continue
            try:
                words = split_words(stripped)
                if words is None:
                    raise ValueRefused("Unbalanced quotes in configuration line")
                if words:
                    self._load_words(words)
            except ValueRefused as error:
                raise ConfigError(
                    f"\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***\n"
                    f"Reading the configuration file, at line {number}\n"
                    f">>> '{stripped}'\n{error}"
                ) from None

    def _load_words(self, words: Sequence[str]) -> None:
        directive = BY_NAME.get(words[0].lower())
        arguments = words[1:]
        if directive is None or not arguments:
            raise ValueRefused("Bad directive or wrong number of arguments")
        if len(arguments) > 1 and not directive.kind.several:
            raise ValueRefused("wrong number of arguments")
        value = self._parse(directive, arguments)
        self.values[directive.name] = value
        changed = value != default_of(directive)
        if directive.scope is Scope.NONE and changed and directive.name not in self.accepted:
            self.accepted.append(directive.name)

    def _parse(self, directive: Directive, arguments: Sequence[str]) -> Any:
        value = directive.kind.parse(arguments, self.values[directive.name])
        reason = directive.refuse(value) if directive.refuse else None
        if reason is not None:
            raise ValueRefused(reason)
        if directive.clamp is not None:
            value = min(max(value, directive.clamp[0]), directive.clamp[1])
        return value

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
        for pattern in patterns:
            if any(sign in pattern for sign in (b"*", b"?", b"[")):
                names = [n for n in BY_NAME if glob_match(pattern, n.encode(), nocase=True)]
                hits = [(name.encode(), name) for name in names]
            else:
                name = _text(pattern).lower()
                hits = [(pattern, name)] if name in BY_NAME else []
            known = {shown.lower() for shown in found}
            for shown, name in hits:
                if shown.lower() not in known:
                    found[shown] = self.show(name).encode("utf-8", "surrogateescape")
        return found

    def prepare(self, pairs: Sequence[tuple[bytes, bytes]]) -> dict[str, Any]:
        """Check all pairs of a CONFIG SET; the new values by directive. Raises SetError."""
        chosen: list[tuple[Directive, str, str]] = []
        for raw_name, raw_value in pairs:
            shown = _text(raw_name)
            directive = BY_NAME.get(shown.lower())
            if directive is None:
                raise SetError(
                    f"ERR Unknown option or number of arguments for CONFIG SET - '{shown}'"
                )
            if not directive.mutable:
                raise _failed(shown, "can't set immutable config")
            if any(directive is other for other, _, _ in chosen):
                raise _failed(shown, "duplicate parameter")
            chosen.append((directive, shown, _text(raw_value)))
        changes: dict[str, Any] = {}
        for directive, _, text in chosen:
            arguments: list[str] | None = [text]
            if directive.kind.several and text:
                arguments = split_words(text)
            try:
                if not arguments:
                    raise ValueRefused("wrong number of arguments")
                changes[directive.name] = self._parse(directive, arguments)
            except ValueRefused as error:
                raise _failed(directive.name, str(error)) from None
        return changes

    def commit(self, changes: dict[str, Any]) -> None:
        """Put prepared values in force here."""
        self.values.update(changes)


def _failed(name: str, reason: str) -> SetError:
    return SetError(f"ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def default_of(directive: Directive) -> Any:
    """The value without any configuration."""
    several = directive.kind.several and directive.default
    words = directive.default.split() if several else [directive.default]
    return directive.kind.parse(words, None)


BY_NAME: Final[dict[str, Directive]] = {
    name: directive
    for directive in DIRECTIVES
    for name in (directive.name, directive.alias)
    if name
}

ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "a": "\a"}
SPACES: Final = " \t\n\r\v\f"


def split_words(line: str) -> list[str] | None:
    """The words of a line with Redis's quoting; None when quotes are unbalanced. O(line).

    Double quotes know \\n, \\r, \\t, \\b, \\a and \\xHH, single quotes only \\'; a closing quote
    must be followed by a space or the end.
    """
    words: list[str] = []
    at, end = 0, len(line)
    while True:
        while at < end and line[at] in SPACES:
            at += 1
        if at >= end:
            return words
        word: list[str] = []
        while at < end and line[at] not in SPACES:
            if line[at] in "\"'":
                closed = _quoted(line, at, word)
                if closed is None or (closed < end and line[closed] not in SPACES):
                    return None
                at = closed
            else:
                word.append(line[at])
                at += 1
        words.append("".join(word))


def _quoted(line: str, at: int, word: list[str]) -> int | None:
    """Append what a quotation at `at` holds; the index behind it, None when it does not end."""
    quote = line[at]
    at += 1
    while at < len(line):
        sign = line[at]
        following = line[at + 1 : at + 2]
        if sign == quote:
            return at + 1
        if sign == "\\" and following and (quote == '"' or following == "'"):
            digits = line[at + 2 : at + 4]
            if quote == '"' and following == "x" and _is_hex(digits):
                word.append(bytes([int(digits, 16)]).decode("utf-8", "surrogateescape"))
                at += 4
            else:
                word.append(ESCAPES.get(following, following) if quote == '"' else following)
                at += 2
        else:
            word.append(sign)
            at += 1
    return None


def _is_hex(text: str) -> bool:
    return len(text) == 2 and all(digit in "0123456789abcdefABCDEF" for digit in text)


def argument_lines(arguments: Sequence[str]) -> str:
    """Command line options as the configuration lines they stand for.

    "--" begins a directive, everything up to the next one is its value, quoted so that it
    reads back as the same word. Raises ConfigError for a value before any option.
    """
    lines: list[list[str]] = []
    for argument in arguments:
        # "--" starts an option, unless the option before still wants its value.
        if argument.startswith("--") and (not lines or len(lines[-1]) > 1 or len(argument) > 2):
            lines.append([argument[2:]])
        elif lines:
            lines[-1].append(quote_word(argument))
        else:
            raise ConfigError(f"'{argument}' is no option; options begin with --")
    return "\n".join(" ".join(words) for words in lines)


def quote_word(word: str) -> str:
    """The word in double quotes, so that `split_words` gives it back."""
    quoted: list[str] = []
    names = {value: key for key, value in ESCAPES.items()}
    for sign in word:
        if sign in '"\\':
            quoted.append("\\" + sign)
        elif sign in names:
            quoted.append("\\" + names[sign])
        elif sign < " ":
            quoted.append(f"\\x{ord(sign):02x}")
        else:
            quoted.append(sign)
    return '"' + "".join(quoted) + '"'
