"""What people see: tables of processes, commands and slots. rich is imported only when needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from shardctl.client import Target
from shardctl.figures import Process, Status
from shardctl.key_slots import SLOTS

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

UNKNOWN: Final = "-"
PIPE_COLUMNS: Final = 160
COLUMNS: Final = (
    *(("process", "left"), ("state", "left"), ("pid", "right"), ("cpu %", "right")),
    *(("ops/s", "right"), ("memory", "right"), ("rss", "right"), ("keys", "right")),
    *(("slots", "right"), ("conns", "right"), ("restarts", "right")),
)


def human(size: int) -> str:
    """A size in the unit that keeps it short."""
    value = float(size)
    for unit in ("B", "K", "M", "G", "T"):
        if value < 1024 or unit == "T":
            break
        value /= 1024
    return f"{value:.0f}{unit}" if unit == "B" or value >= 100 else f"{value:.1f}{unit}"


def duration(seconds: int) -> str:
    """A time as days, hours, minutes or seconds, the two largest of them."""
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def number(value: float | None) -> str:
    """A figure with its thousands parted; a dash when it is not known."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}"


def short(value: float | None) -> str:
    """A figure in six characters at most, for tables that fit 80 columns."""
    if value is None or value < 100_000:
        return number(value)
    for unit in ("K", "M", "G", "T"):
        value /= 1000
        if value < 1000 or unit == "T":
            break
    return f"{value:.0f}{unit}" if value >= 100 else f"{value:.1f}{unit}"


def title(target: Target, status: Status) -> str:
    limit = f" of {human(status.maxmemory)}" if status.maxmemory else ""
    return (
        f"{target}  shardis {status.shardis_version} (Redis {status.redis_version}), "
        f"up {duration(status.uptime_seconds)}\n"
        f"{number(status.operations_per_second)} ops/s, {number(status.keys)} keys, "
        f"{human(status.used_memory)}{limit} used, {number(status.clients)} clients"
    )


def cells(process: Process) -> list[str]:
    """One row of the table of processes."""
    kind = process["kind"]
    name = kind if kind == "router" else f"{kind} {process['index']}"
    shard, worker = kind == "shard", kind == "worker"
    return [
        name,
        process["state"],
        str(process["pid"]),
        UNKNOWN if process["cpu_percent"] is None else f"{process['cpu_percent']:.1f}",
        short(process["ops_per_second"]),
        human(process["used_memory"]) if shard else "",
        human(process["rss"]),
        short(process["keys"]) if shard else "",
        short(process["slots"]) if shard else "",
        short(process["connections"]) if worker else "",
        "" if kind == "router" else str(process["restarts"]),
    ]


def process_table(status: Status) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name, justify in COLUMNS:
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for process in status.processes:
        table.add_row(*cells(process), style=None if process["state"] == "up" else "red")
    return table


def command_table(commands: Sequence[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("command", no_wrap=True)
    table.add_column("calls/s", justify="right", no_wrap=True)
    table.add_column("us/call", justify="right", no_wrap=True)
    for one in commands:
        table.add_row(
            one["command"],
            number(one["calls_per_second"]),
            f"{one['microseconds_per_call']:.2f}",
        )
    return table


def slot_table(status: Status) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("slots", no_wrap=True)
    for name in ("count", "share", "shard", "pid"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for one in status.slots:
        shard = status.shards[one["shard"]]
        count = one["last"] - one["first"] + 1
        table.add_row(
            f"{one['first']}-{one['last']}",
            number(count),
            f"{count * 100 / SLOTS:.1f}%",
            str(one["shard"]),
            str(shard["pid"]),
            shard["state"],
            style=None if shard["state"] == "up" else "red",
        )
    return table


def screen(
    target: Target, status: Status, commands: Sequence[dict[str, Any]] = ()
) -> RenderableType:
    """All of `status`, or of one picture of `top` with its busiest commands."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(title(target, status)), "", process_table(status)]
    if commands:
        parts += ["", command_table(commands)]
    return Group(*parts)


def show(*parts: RenderableType) -> None:
    """Print for people, to a terminal or a pipe; columns are never cut in a pipe."""
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, emoji=False, width=PIPE_COLUMNS)
    for part in parts:
        console.print(part)
