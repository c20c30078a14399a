"""LATENCY: slow events of all processes, and how long commands take. See sessions/slowlog.py."""

from __future__ import annotations

import asyncio
import time
from math import inf
from typing import TYPE_CHECKING, Any

from protocol.commands import F, Place, Request, Response, command
from protocol.errors import CommandError
from protocol.help import help_reply
from router.stats import Histogram, merged_histograms
from sessions.slowlog import SAMPLES_MAX

if TYPE_CHECKING:
    from protocol.reply import Reply
    from router.admin import Admin, Caller

ADMIN = F.ADMIN | F.NOSCRIPT | F.LOADING | F.STALE
SERVER: dict[str, Any] = {"group": "server", "place": Place.ADMIN}
GATHERED: dict[str, Any] = {
    "request": Request.ALL_NODES,
    "response": Response.SPECIAL,
    "tips": ("nondeterministic_output",),
}
GRAPH_COLUMNS = 80
GRAPH_ROWS = 4
GRAPH_MARKS = "_o#"
FIRST_STEP_NS = 1024
HELP = (
    b"DOCTOR",
    b"    Explain in words what was slow, and what to do about it.",
    b"GRAPH <event>",
    b"    Draw the samples of <event>.",
    b"HISTORY <event>",
    b"    Show the samples of <event>, each with its time.",
    b"LATEST",
    b"    Show the newest sample of each event.",
    b"RESET [<event> ...]",
    b"    Forget the samples of these events, or of all.",
    b"HISTOGRAM [<command> ...]",
    b"    Show how many calls of these commands, or of all, took at most how many microseconds.",
)

Samples = list[tuple[int, int]]


class Event:
    """What all processes have seen of one event."""

    def __init__(self) -> None:
        self.highest = 0
        self.by_second: dict[int, int] = {}

    def add(self, highest: int, samples: Samples) -> None:
        """Take in what one process has seen."""
        self.highest = max(self.highest, highest)
        for second, milliseconds in samples:
            self.by_second[second] = max(self.by_second.get(second, 0), milliseconds)

    @property
    def samples(self) -> Samples:
        """(time in s, ms) of the newest seconds, oldest first."""
        return sorted(self.by_second.items())[-SAMPLES_MAX:]


async def gathered(admin: Admin) -> dict[str, Event]:
    """The slow events of the server. O(N) for N samples of all processes"""
    request = {"op": "latency"}
    workers, shards = await asyncio.gather(admin.ask_workers(request), admin.ask_shards(request))
    events: dict[str, Event] = {}
    for answer in (*workers, *shards, admin.monitor.latency.figures()):
        for name, (highest, samples) in (answer or {}).items():
            events.setdefault(name, Event()).add(highest, samples)
    return events


@command("LATENCY", arity=-2, **SERVER)
async def latency(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Look at what was slow; see its subcommands."""
    raise CommandError(b"ERR unknown subcommand '%s'. Try LATENCY HELP." % args[1][:128])


@command("LATENCY|LATEST", arity=2, flags=ADMIN, **GATHERED, **SERVER)
async def latency_latest(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Show the newest sample of each slow event."""
    events = await gathered(admin)
    reply.array(len(events))
    for name, event in events.items():
        second, milliseconds = event.samples[-1]
        reply.array(4)
        reply.bulk(name.encode())
        reply.integer(second)
        reply.integer(milliseconds)
        reply.integer(event.highest)


@command("LATENCY|HISTORY", arity=3, flags=ADMIN, **GATHERED, **SERVER)
async def latency_history(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Show all samples of one slow event."""
    event = (await gathered(admin)).get(args[2].decode("latin-1"))
    samples = event.samples if event else []
    reply.array(len(samples))
    for second, milliseconds in samples:
        reply.array(2)
        reply.integer(second)
        reply.integer(milliseconds)


@command(
    "LATENCY|RESET",
    arity=-2,
    flags=ADMIN,
    request=Request.ALL_NODES,
    response=Response.AGG_SUM,
    **SERVER,
)
async def latency_reset(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Forget the samples of some slow events, or of all."""
    known = await gathered(admin)
    named = [name.decode("latin-1") for name in args[2:]]
    gone = [name for name in known if name in named or not named]
    if gone:
        admin.monitor.latency.reset(gone)
        await admin.broadcast({"op": "latency-reset", "events": gone})
    reply.integer(len(gone))


@command("LATENCY|GRAPH", arity=3, flags=ADMIN, **GATHERED, **SERVER)
async def latency_graph(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Draw the samples of one slow event."""
    name = args[2].decode("latin-1")
    event = (await gathered(admin)).get(name)
    if event is None:
        raise CommandError(b"ERR No samples available for event '%s'" % args[2])
    reply.verbatim(graph(name, event, int(time.time())).encode("latin-1"), b"txt")


def graph(name: str, event: Event, now: int) -> str:
    """The samples as bars of GRAPH_ROWS lines, each labelled with its age from top to bottom."""
    samples = event.samples
    values = [milliseconds for _, milliseconds in samples]
    low, high = min(values), max(values)
    lines = [
        f"{name} - high {high} ms, low {low} ms (all time high {event.highest} ms)",
        "-" * GRAPH_COLUMNS,
    ]
    steps = GRAPH_ROWS * len(GRAPH_MARKS)
    for first in range(0, len(samples), GRAPH_COLUMNS):
        if first:
            lines.append("")
        part = samples[first : first + GRAPH_COLUMNS]
        heights = [
            min((value - low) * steps // ((high - low) or 1), steps - 1) for _, value in part
        ]
        for row in reversed(range(GRAPH_ROWS)):
            lines.append("".join(_mark(height - row * len(GRAPH_MARKS)) for height in heights))
        labels = [age(now - second) for second, _ in part]
        lines.append(" " * len(part))
        for position in range(max(map(len, labels))):
            lines.append("".join(label[position : position + 1] or " " for label in labels))
    return "\n".join(lines) + "\n"


def _mark(height: int) -> str:
    """What a bar shows in a line that it exceeds by so many steps."""
    if height < 0:
        return " "
    return GRAPH_MARKS[height] if height < len(GRAPH_MARKS) else "|"


def age(seconds: int) -> str:
    """A time span in its largest unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


ADVICE = {
    "command": "A slow command keeps the other clients of its shard waiting: see SLOWLOG GET.",
    "fast-command": "Commands that touch one key were slow: the machine is short of CPU or swaps.",
    "expire-cycle": "Many keys expire at once: spread their TTLs, or lower active-expire-effort.",
}


@command("LATENCY|DOCTOR", arity=2, flags=ADMIN, **GATHERED, **SERVER)
async def latency_doctor(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Explain in words what was slow, and what to do about it."""
    events = await gathered(admin)
    if not admin.config["latency-monitor-threshold"]:
        text = (
            "The latency monitor is off, so there is nothing to tell. Switch it on with CONFIG SET"
            " latency-monitor-threshold <milliseconds>.\n"
        )
    elif not events:
        text = "Nothing was slower than latency-monitor-threshold since it was set.\n"
    else:
        lines = [f"{len(events)} kinds of events were slow:", ""]
        for number, (name, event) in enumerate(events.items(), 1):
            values = [milliseconds for _, milliseconds in event.samples]
            average = sum(values) / len(values)
            lines.append(
                f"{number}. {name}: {len(values)} samples, average {average:.0f} ms,"
                f" worst {event.highest} ms."
            )
        lines += ["", *(f"- {text}" for name, text in ADVICE.items() if name in events)]
        text = "\n".join(lines) + "\n"
    reply.verbatim(text.encode("latin-1", "replace"), b"txt")


@command(
    "LATENCY|HISTOGRAM",
    arity=-2,
    flags=ADMIN,
    **GATHERED,
    **SERVER,
)
async def latency_histogram(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Show how long the calls of commands took, cumulatively."""
    histograms = await command_histograms(admin)
    chosen: dict[str, Histogram] = {}
    for argument in args[2:]:
        name = argument.decode("latin-1").lower()
        for full, histogram in histograms.items():
            if full == name or full.startswith(f"{name}|"):
                chosen[full] = histogram
    if len(args) == 2:
        chosen = histograms
    reply.map(len(chosen))
    for name, histogram in chosen.items():
        steps = cumulative(histogram)
        reply.bulk(name.encode())
        reply.map(2)
        reply.bulk(b"calls")
        reply.integer(sum(histogram.values()))
        reply.bulk(b"histogram_usec")
        reply.map(len(steps))
        for microseconds, count in steps:
            reply.integer(microseconds)
            reply.integer(count)


async def command_histograms(admin: Admin) -> dict[str, Histogram]:
    """Execution times of the commands of all processes, by full name."""
    request = {"op": "histograms"}
    workers, shards = await asyncio.gather(admin.ask_workers(request), admin.ask_shards(request))
    return merged_histograms([*workers, *shards, admin.histogram_figures()])


def cumulative(histogram: Histogram) -> list[tuple[int, int]]:
    """(microseconds, calls that took at most so long) at each power of two that adds calls."""
    total = sum(histogram.values())
    steps: list[tuple[int, int]] = []
    bound, count = FIRST_STEP_NS, 0
    waiting = sorted(histogram.items(), reverse=True)
    while count < total:
        # The counter that the bound itself falls into ends 1/128 above it.
        end = bound + (bound >> 7) - 1 if bound < inf else bound
        before = count
        while waiting and waiting[-1][0] <= end:
            count += waiting.pop()[1]
        if count > before:
            steps.append((end // 1000, count))
        bound *= 2
    return steps


@command("LATENCY|HELP", arity=2, flags=F.LOADING | F.STALE, **SERVER)
async def latency_help(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Describe the subcommands of LATENCY."""
    help_reply(reply, b"LATENCY", HELP)
