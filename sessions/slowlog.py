"""The slow log and the latency monitor of one process; the router puts those of all together.

Contract
1. A process calls `Monitor.note` for each command that took at least `Monitor.least_us`; nothing
   else on the hot path knows of slow logs. Events that are no commands call `latency.add`.
2. Ids come from a counter that all processes share, so that a merged log is in the order of time.
3. Both are bounded: `slowlog-max-len` entries, and SAMPLES_MAX samples of each event.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

ARGUMENTS_MAX = 32
ARGUMENT_BYTES_MAX = 128
SAMPLES_MAX = 160
NEVER_US = 1 << 62
REDACTED = b"(redacted)"
DIRECTIVES = (
    "slowlog-log-slower-than",
    "slowlog-max-len",
    "latency-monitor-threshold",
)
OPERATIONS = frozenset({"slowlog", "slowlog-reset", "latency", "latency-reset"})
"""The control messages that a process's monitor answers."""
Entry = list[Any]
"""[id, time (s), microseconds, arguments, client id, address, name]"""


def shown(args: Sequence[bytes], lengths: Sequence[int] | None = None) -> list[bytes]:
    """The arguments of a command as the log shows them: cut, and without passwords.

    `lengths`: of all arguments, when `args` are only the beginnings of the first. O(shown bytes)
    """
    if lengths is None:
        lengths = [len(argument) for argument in args]
    count = len(lengths)
    kept = count if count <= ARGUMENTS_MAX else ARGUMENTS_MAX - 1
    result = [
        argument
        if argument is REDACTED or length <= ARGUMENT_BYTES_MAX
        else b"%b... (%d more bytes)" % (argument[:ARGUMENT_BYTES_MAX], length - ARGUMENT_BYTES_MAX)
        for argument, length in zip(redacted(args[:kept]), lengths, strict=False)
    ]
    if kept < count:
        result.append(b"... (%d more arguments)" % (count - kept))
    return result


def redacted(args: Sequence[bytes]) -> list[bytes]:
    """A command without the passwords in it; those of CONFIG SET the router takes out."""
    result = list(args)
    name = args[0].lower()
    if name == b"auth":
        result[1:] = [REDACTED] * (len(result) - 1)
    elif name == b"hello":
        for index, argument in enumerate(args):
            if index >= 2 and argument.lower() == b"auth":
                result[index + 1 : index + 3] = [REDACTED] * len(args[index + 1 : index + 3])
    elif name == b"acl" and len(args) > 2 and args[1].lower() == b"setuser":
        result[2:] = [REDACTED] * (len(result) - 2)
    return result


class Latency:
    """Samples of slow events by name, one for each second: the slowest."""

    def __init__(self) -> None:
        self.events: dict[str, deque[tuple[int, int]]] = {}  # (time in s, ms)
        self.highest: dict[str, int] = {}

    def add(self, event: str, milliseconds: int, now: int | None = None) -> None:
        """Note that an event took so long. O(1)"""
        now = int(time.time()) if now is None else now
        samples = self.events.setdefault(event, deque(maxlen=SAMPLES_MAX))
        self.highest[event] = max(self.highest.get(event, 0), milliseconds)
        if samples and samples[-1][0] == now:
            samples[-1] = now, max(samples[-1][1], milliseconds)
        else:
            samples.append((now, milliseconds))

    def figures(self) -> dict[str, Any]:
        """{event: [highest ms, [(time, ms), ...] oldest first]}"""
        return {
            event: [self.highest[event], list(samples)] for event, samples in self.events.items()
        }

    def reset(self, events: Sequence[str]) -> None:
        """Forget these events, or all if none is named."""
        for event in events or list(self.events):
            self.events.pop(event, None)
            self.highest.pop(event, None)


class Monitor:
    """What one process remembers of slow commands and events.

    `next_id` gives ids that no other process has.
    """

    def __init__(self, next_id: Callable[[], int]) -> None:
        self.next_id = next_id
        self.entries: deque[Entry] = deque(maxlen=128)
        self.latency = Latency()
        self.slower_than_us = -1
        self.threshold_ms = 0

    @property
    def least_us(self) -> int:
        """From how many microseconds on `note` has to be called."""
        slow = self.slower_than_us if self.slower_than_us >= 0 else NEVER_US
        late = self.threshold_ms * 1000 if self.threshold_ms > 0 else NEVER_US
        return min(slow, late)

    def apply(self, settings: dict[str, Any]) -> None:
        """Take over the values of DIRECTIVES."""
        self.slower_than_us = int(settings["slowlog-log-slower-than"])
        self.threshold_ms = int(settings["latency-monitor-threshold"])
        length = int(settings["slowlog-max-len"])
        if length != self.entries.maxlen:
            self.entries = deque(self.entries, maxlen=length)

    def answer(self, message: dict[str, Any]) -> Any:
        """The answer to a control message whose "op" is one of OPERATIONS."""
        match message["op"]:
            case "slowlog":
                return {"entries": list(self.entries)}
            case "slowlog-reset":
                self.entries.clear()
            case "latency":
                return self.latency.figures()
            case "latency-reset":
                self.latency.reset(message["events"])
        return None

    def note(
        self,
        args: Sequence[bytes],
        microseconds: int,
        client: int,
        address: str = "",
        name: bytes = b"",
        *,
        fast: bool = False,
        lengths: Sequence[int] | None = None,
    ) -> bool:
        """A command took so long; whether it is in the slow log now. O(shown arguments)"""
        if self.threshold_ms > 0 and microseconds >= self.threshold_ms * 1000:
            self.latency.add("fast-command" if fast else "command", microseconds // 1000)
        if self.slower_than_us < 0 or microseconds < self.slower_than_us:
            return False
        if args and args[0].lower() == b"exec":
            return False
        self.entries.append(
            [
                self.next_id(),
                int(time.time()),
                microseconds,
                shown(args, lengths),
                client,
                address,
                name,
            ]
        )
        return True
