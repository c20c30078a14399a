"""shardctl status: how a running server is, process by process."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import click

from shardctl import render
from shardctl.client import Client, Target
from shardctl.figures import Status, add_rates, take_status
from shardctl.options import EXIT_NO, print_json, server_command

SAMPLE_SECONDS = 0.5


def as_json_object(status: Status) -> dict[str, Any]:
    """What --json prints of a status; `top` adds its commands."""
    found = asdict(status)
    del found["taken"], found["commands"]
    return {**found, "healthy": status.healthy}


@click.command()
@click.option(
    "--sample",
    "sample_seconds",
    default=SAMPLE_SECONDS,
    show_default=True,
    type=click.FloatRange(0, 60),
    help="Seconds between the two looks that give cpu and ops/s; 0 for one look without them.",
)
@server_command
def status(target: Target, as_json: bool, sample_seconds: float) -> None:
    """Show the processes of a running server.

    Exits with 0 when all of them are up, with 1 when one is down.
    """
    with Client(target) as client:
        found = take_status(client)
        if sample_seconds:
            time.sleep(sample_seconds)
            earlier, found = found, take_status(client)
            add_rates(found, earlier)
    if as_json:
        print_json(as_json_object(found))
    else:
        render.show(render.screen(target, found))
    click.get_current_context().exit(0 if found.healthy else EXIT_NO)
