"""How a server is, read from its INFO; what counts up becomes a rate between two of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from shardctl.client import Client, ProtocolError

Process = dict[str, Any]
"""The fields of a process in INFO, its kind and index, and two rates: `cpu_percent` (of a core)
and `ops_per_second`, None without an earlier sample of the same process."""


SERVING = ("up", "busy")
"""States of a process that answers, at once or when a long command is done."""


@dataclass(slots=True)
class Status:
    """What `status` shows, and what its --json prints."""

    redis_version: str
    shardis_version: str
    process_id: int
    uptime_seconds: int
    clients: int
    used_memory: int
    used_memory_human: str
    maxmemory: int
    operations_per_second: int
    keys: int
    router: Process
    workers: list[Process]
    shards: list[Process]
    slots: list[dict[str, int]]  # ranges: first, last, shard
    commands: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    taken: float = field(default_factory=time.monotonic, repr=False)

    @property
    def processes(self) -> list[Process]:
        return [self.router, *self.workers, *self.shards]

    @property
    def healthy(self) -> bool:
        return all(process["state"] in SERVING for process in self.processes)

    @property
    def owned(self) -> int:
        """How many slots have an owner."""
        return sum(one["last"] - one["first"] + 1 for one in self.slots)


def parse_info(text: str) -> dict[str, str]:
    """INFO's fields by name; sections and empty lines are left out."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition(":") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def parse_fields(value: str) -> dict[str, Any]:
    """A value like "state=up,pid=12" by name, numbers as numbers."""
    return {
        name: _number(text) for name, _, text in (item.partition("=") for item in value.split(","))
    }


def _number(text: str) -> Any:
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def status_from(text: str, now: float | None = None) -> Status:
    """The status in the text of INFO everything. Raises ProtocolError for another server's."""
    info = parse_info(text)
    if "shardis_version" not in info:
        raise ProtocolError("the server there is not shardis")
    try:
        shards, workers = (
            [_process(kind, index, info[f"{kind}{index}"]) for index in range(int(info[many]))]
            for kind, many in (("shard", "shards"), ("worker", "workers"))
        )
        return Status(
            redis_version=info["redis_version"],
            shardis_version=info["shardis_version"],
            process_id=int(info["process_id"]),
            uptime_seconds=int(info["uptime_in_seconds"]),
            clients=int(info["connected_clients"]),
            used_memory=int(info["used_memory"]),
            used_memory_human=info["used_memory_human"],
            maxmemory=int(info["maxmemory"]),
            operations_per_second=int(info["instantaneous_ops_per_sec"]),
            keys=sum(shard["keys"] for shard in shards),
            router=_process("router", 0, info["router"]),
            workers=workers,
            shards=shards,
            slots=_slots(info),
            commands={
                name.removeprefix("cmdstat_"): parse_fields(value)
                for name, value in info.items()
                if name.startswith("cmdstat_")
            },
            taken=time.monotonic() if now is None else now,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ProtocolError(f"INFO lacks or garbles {error}") from None


def _process(kind: str, index: int, value: str) -> Process:
    fields = parse_fields(value)
    for needed in ("state", "pid", "rss", "commands", "cpu"):
        if needed not in fields:
            raise KeyError(f"{needed} of {kind} {index}")
    rates = {"cpu_percent": None, "ops_per_second": None}
    return {"kind": kind, "index": index, **fields, **rates}


def _slots(info: dict[str, str]) -> list[dict[str, int]]:
    found = []
    for name, value in info.items():
        if name.startswith("slots_"):
            first, _, last = name.removeprefix("slots_").partition("-")
            found.append({"first": int(first), "last": int(last), **parse_fields(value)})
    return sorted(found, key=lambda one: one["first"])


def take_status(client: Client) -> Status:
    """The status now. Raises ServerError, ProtocolError, OSError."""
    text = client.call("INFO", "everything")
    if not isinstance(text, str):
        raise ProtocolError("the answer to INFO is not a text")
    return status_from(text)


def add_rates(status: Status, earlier: Status) -> None:
    """Give the processes of a status their rates since an earlier one.

    A process that was started anew between them (another pid), or whose figures were reset, has
    none: what it counts has begun at 0.
    """
    seconds = status.taken - earlier.taken
    if seconds <= 0:
        return
    before = {(one["kind"], one["index"]): one for one in earlier.processes}
    for process in status.processes:
        old = before.get((process["kind"], process["index"]))
        if old is None or old["pid"] != process["pid"] or process["state"] not in SERVING:
            continue
        cpu = process["cpu"] - old["cpu"]
        commands = process["commands"] - old["commands"]
        if cpu >= 0:
            process["cpu_percent"] = round(cpu * 100 / seconds, 1)
        if commands >= 0:
            process["ops_per_second"] = round(commands / seconds, 1)


def busiest_commands(status: Status, earlier: Status, count: int) -> list[dict[str, Any]]:
    """The commands called most since an earlier status, with rate and mean time."""
    seconds = status.taken - earlier.taken
    found = []
    for name, figures in status.commands.items():
        old = earlier.commands.get(name, {})
        calls = figures.get("calls", 0) - old.get("calls", 0)
        microseconds = figures.get("usec", 0) - old.get("usec", 0)
        if calls > 0 and seconds > 0 and microseconds >= 0:
            found.append(
                {
                    "command": name,
                    "calls_per_second": round(calls / seconds, 1),
                    "microseconds_per_call": round(microseconds / calls, 2),
                }
            )
    found.sort(key=lambda one: (-one["calls_per_second"], one["command"]))
    return found[:count]
