"""shardctl status: how a running server is, from its INFO."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

import click

from shardctl.client import Client, ProtocolError, ServerError

EXIT_DEGRADED: Final = 1
EXIT_UNREACHABLE: Final = 2
TIMEOUT_SECONDS: Final = 5.0


@dataclass(slots=True)
class Status:
    """What `status` shows, and what --json prints."""

    redis_version: str
    shardis_version: str
    process_id: int
    uptime_seconds: int
    clients: int
    used_memory: int
    used_memory_human: str
    operations_per_second: int
    keys: int
    shards: list[dict[str, Any]]
    workers: list[dict[str, Any]]

    @property
    def healthy(self) -> bool:
        return all(process["state"] == "up" for process in (*self.shards, *self.workers))


def parse_info(text: str) -> dict[str, str]:
    """INFO's fields by name; sections and empty lines are left out."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition(":") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def parse_fields(value: str) -> dict[str, Any]:
    """A value like "state=up,pid=12" by name, numbers as numbers."""
    fields: dict[str, Any] = {}
    for item in value.split(","):
        name, _, text = item.partition("=")
        fields[name] = int(text) if text.isdigit() else text
    return fields


def status_from(text: str) -> Status:
    """The status in the text of INFO everything. Raises ProtocolError for another server's."""
    info = parse_info(text)
    if "shardis_version" not in info:
        raise ProtocolError("the server there is not shardis")
    try:
        groups = [
            [
                {"index": index, **parse_fields(info[f"{kind}{index}"])}
                for index in range(int(info[f"{kind}s"]))
            ]
            for kind in ("shard", "worker")
        ]
        return Status(
            redis_version=info["redis_version"],
            shardis_version=info["shardis_version"],
            process_id=int(info["process_id"]),
            uptime_seconds=int(info["uptime_in_seconds"]),
            clients=int(info["connected_clients"]),
            used_memory=int(info["used_memory"]),
            used_memory_human=info["used_memory_human"],
            operations_per_second=int(info["instantaneous_ops_per_sec"]),
            keys=sum(int(shard.get("keys", 0)) for shard in groups[0]),
            shards=groups[0],
            workers=groups[1],
        )
    except (KeyError, ValueError) as error:
        raise ProtocolError(f"INFO lacks or garbles {error}") from None


@click.command()
@click.option("-h", "--host", default="127.0.0.1", show_default=True, help="Where it listens.")
@click.option("-p", "--port", default=6379, show_default=True, type=click.IntRange(1, 65535))
@click.option("-s", "--socket", "path", default="", help="A unix socket instead.")
@click.option("--timeout", default=TIMEOUT_SECONDS, show_default=True, help="In seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def status(
    context: click.Context, host: str, port: int, path: str, timeout: float, as_json: bool
) -> None:
    """Show the processes of a running server.

    Exits with 0 when all are up, with 1 when one is down, with 2 when the server does not answer.
    """
    where = path or f"{host}:{port}"
    try:
        with Client(host, port, timeout, path) as client:
            found = status_from(client.call("INFO", "everything"))
    except (OSError, ProtocolError, ServerError) as error:
        if as_json:
            click.echo(json.dumps({"error": str(error)}))
        else:
            click.echo(f"{where}: {error}", err=True)
        context.exit(EXIT_UNREACHABLE)
    if as_json:
        click.echo(json.dumps({**asdict(found), "healthy": found.healthy}, indent=2))
    else:
        _print(where, found)
    context.exit(0 if found.healthy else EXIT_DEGRADED)


def _print(where: str, found: Status) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(
        f"[bold]{where}[/bold]  shardis {found.shardis_version} (Redis {found.redis_version}), "
        f"pid {found.process_id}, up {found.uptime_seconds} s"
    )
    console.print(
        f"{found.keys} keys, {found.used_memory_human} used, {found.clients} clients, "
        f"{found.operations_per_second} operations per second"
    )
    columns = {
        "shard": ("state", "pid", "epoch", "restarts", "slots", "keys", "used_memory", "rss"),
        "worker": ("state", "pid", "epoch", "restarts", "connections", "rss"),
    }
    for kind, processes in (("shard", found.shards), ("worker", found.workers)):
        table = Table(kind, *columns[kind])
        for process in processes:
            cells = [str(process.get(column, "")) for column in columns[kind]]
            style = None if process["state"] == "up" else "red"
            table.add_row(str(process["index"]), *cells, style=style)
        console.print(table)
